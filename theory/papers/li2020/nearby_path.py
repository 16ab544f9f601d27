"""The path of gradient descent beside the one that it would take on perfect clusters (C8).

On clean labels the weights stay within O(eps0) of those of perfect clusters. Where labels inside a cluster differ they
drift away at a constant speed, proportional to eps0: this is the slow memorisation that early stopping cuts off. Rates,
whose constants the paper leaves unnamed. Cf. Li, Soltanolkotabi & Oymak (2020); proofs in paper_notes/li2020.md.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp
import torch
from jaxtyping import Float, Int

from theory import checks, clusterable, descent, label_noise, spectrum
from theory.arrays import Array
from theory.claim import Claim, Family, symbols
from theory.clusterable import ClusterableData
from theory.estimate import Estimate
from theory.networks import TwoLayer
from theory.verdict import Verdicts

exponent, clock, creep, fitted, mixed = symbols("exponent clock creep fitted mixed")

_SLOW = ("labels inside a cluster are far from fitted: eta tau n eps0^2 <= 1/20", sp.Le(clock, sp.Rational(1, 20)))
_FITTED = ("the clusters are fitted: eta tau sigma_K^2 >= 4", sp.Ge(fitted, 4))
_MIXED = (_SLOW, _FITTED, ("labels differ inside a cluster", sp.Gt(mixed, 0)))
# with clean labels the residual inside a cluster is itself of order eps0, which makes the gap creep by eta tau eps0^2
_FLAT = ("the creep of second order is small: eta tau n eps0 <= 4", sp.Le(creep, 4))
_CLEAN = (_SLOW, _FITTED, _FLAT, ("every cluster has one label", sp.Eq(mixed, 0)))


def _rate(id: str, title: str, variable: str, slope: int, hypotheses: tuple[tuple[str, Any], ...]) -> Claim:
    meanings = {
        "exponent": f"slope of log ||W_tau - W_tau^c||_F on log {variable}, W^c descending on the centres [1]",
        "clock": "largest eta tau n eps0^2 [1]",
        "fitted": "least eta tau sigma_K(J(W0, X_c))^2 [1]",
        "mixed": "largest difference of two labels in a cluster [1]",
    }
    if hypotheses is _CLEAN:
        meanings["creep"] = "largest eta tau n eps0 [1]"
    return Claim(
        f"C8.{id}",
        title,
        sp.Eq(exponent, slope, evaluate=False),
        meanings,
        kind="rate",
        hypotheses=hypotheses,
        tolerance=sp.Rational(1, 10),
        reference="cf. Li, Soltanolkotabi & Oymak (2020)",
        constants="unnamed",
        proof="paper_notes/li2020.md#c8",
    )


RADIUS = _rate("radius", "corrupted labels: the gap to the perfect-cluster path is linear in eps0", "eps0", 1, _MIXED)
TIME = _rate("time", "corrupted labels: the gap to the perfect-cluster path is linear in time", "tau", 1, _MIXED)
CLEAN_RADIUS = _rate("clean_radius", "clean labels: the gap is linear in eps0 too", "eps0", 1, _CLEAN)
CLEAN_TIME = _rate("clean_time", "clean labels: the gap does not grow with time", "tau", 0, _CLEAN)


@dataclass(frozen=True, eq=False)
class Paths:
    """Gradient descent on clusters of several radii beside descent on their centres: same W0, labels and step.

    Attributes:
        radii: promised radii eps0 of the sets, (R,).
        taus: steps at which the paths are compared, (T,).
        gaps: ||W_tau - W_tau^c||_F, (R, T).
        step: step size eta.
        n: number of inputs.
        sigma: K-th singular value of J(W0, X_c).
        mixed: largest difference of two labels in a cluster.
    """

    radii: Float[np.ndarray, " R"]
    taus: Int[np.ndarray, " T"]
    gaps: Float[np.ndarray, "R T"]
    step: float
    n: int
    sigma: float
    mixed: float


def compare_paths(
    sweep: Sequence[ClusterableData], y: Array, network: TwoLayer, *, step: float, taus: Sequence[int]
) -> Paths:
    """Descend on each set of a sweep over the radius, and once on the centres that the sets share.

    Args:
        sweep: sets with the same centres and clusters, of different radii > 0.
        y: observed labels (n,), the same for all.
        network: at W0; it is not modified.
        step: step size eta.
        taus: increasing steps at which to compare, each >= 1.

    Raises:
        InvalidInput: sets with different centres or clusters, taus that do not increase.
    """
    first, counts = sweep[0], np.array([checks.integer("taus", tau, minimum=1) for tau in taus])
    if len(counts) == 0 or (np.diff(counts) <= 0).any():
        checks.fail("taus", "increasing steps", counts.tolist(), "sort them")
    for other in sweep:
        if not (np.array_equal(other.centres, first.centres) and np.array_equal(other.clusters, first.clusters)):
            checks.fail("sweep", "the same centres and clusters", "others", "generate it with one seed")
    labels = np.asarray(y, dtype=float)
    checks.vector("y", labels, length=first.n)
    ideal = _weights(network, first.centred, labels, step, counts)
    real = [_weights(network, data.X, labels, step, counts) for data in sweep]
    gaps = [[float((W - centre).norm()) for W, centre in zip(path, ideal, strict=True)] for path in real]
    clusters = np.unique(first.clusters)
    return Paths(
        radii=np.array([s.radius for s in sweep]),
        taus=counts,
        gaps=np.array(gaps),
        step=step,
        n=first.n,
        sigma=float(spectrum.singular_values(first.centred, network)[len(clusters) - 1]),
        mixed=float(max(np.ptp(labels[first.clusters == cluster]) for cluster in clusters)),
    )


def check_paths(*paths: Paths, **record: Any) -> Verdicts:
    """Judge C8: the exponent in eps0 at the last step, and that in time at the largest radius.

    Args:
        *paths: of one sweep, or of several (other centres, weights, labels) with as many radii and steps each; with
            several the interval is Student's over them.
        **record: `settings` and `seed` for the verdicts.

    Returns:
        The two members about corrupted labels and the two about clean ones; the labels put one pair out of scope.

    Raises:
        InvalidInput: no paths, or sweeps that cannot be compared.
    """
    if not paths or any(one.gaps.shape != paths[0].gaps.shape for one in paths):
        got = [one.gaps.shape for one in paths]
        checks.fail("paths", "at least one, all with as many radii and steps", got, "compare like with like")
    radius = _slope([one.radii for one in paths], [one.gaps[:, -1] for one in paths], "gap on log eps0")
    time = _slope([one.taus for one in paths], [one.gaps[np.argmax(one.radii)] for one in paths], "gap on log tau")
    regime: dict[str, Any] = {
        "clock": max(one.step * one.taus.max() * one.n * one.radii.max() ** 2 for one in paths),
        "fitted": min(one.step * one.taus.min() * one.sigma**2 for one in paths),
        **record,
    }
    noisy = {**regime, "mixed": min(one.mixed for one in paths)}
    clean = {**regime, "mixed": max(one.mixed for one in paths)}
    clean["creep"] = max(one.step * one.taus.max() * one.n * one.radii.max() for one in paths)
    return Verdicts(
        [
            RADIUS.check(exponent=radius, **noisy),
            TIME.check(exponent=time, **noisy),
            CLEAN_RADIUS.check(exponent=radius, **clean),
            CLEAN_TIME.check(exponent=time, **clean),
        ]
    )


def experiment_paths(budget: str = "small", seed: int = 0) -> Verdicts:
    """C8 with 30% of the labels corrupted and with none: 5 sweeps at width 300 (small, 4 s), 10 at 3000 (full)."""
    checks.choice("budget", budget, ("small", "full"))
    sweeps, width = (5, 300) if budget == "small" else (10, 3000)
    shape = {"clusters": 2, "classes": 2, "dimension": 10, "per_cluster": 10, "antipodal_separation": 1.0}
    noisy, clean = [], []
    for number in range(sweeps * seed, sweeps * (seed + 1)):
        network = TwoLayer.initialise(width, 10, "tanh", paired=True, seed=number)
        [data] = _sweep([0.01], number, **shape)
        step = 1 / network.jacobian_bound(data.centred) ** 2
        least = float(spectrum.singular_values(data.centred, network)[1])
        taus = [math.ceil(4.5 / (step * least**2)) * factor for factor in (1, 2, 4)]
        widest = math.sqrt(0.01 / (step * taus[-1] * data.n))
        sweep = _sweep([widest / 8, widest / 3, widest], number, **shape)
        y = label_noise.corrupt(data, 0.3, seed=number).y
        noisy.append(compare_paths(sweep, y, network, step=step, taus=taus))
        clean.append(compare_paths(sweep, data.y, network, step=step, taus=taus))
    settings = {"width": width, "sweeps": sweeps}
    verdicts = check_paths(*noisy, settings={**settings, "noise rate": 0.3}, seed=seed)[:2]
    # clean labels say nothing about the drift of corrupted ones, nor the other way round
    return Verdicts(verdicts + check_paths(*clean, settings={**settings, "noise rate": 0.0}, seed=seed)[2:])


def _weights(network: TwoLayer, X: np.ndarray, y: np.ndarray, step: float, taus: np.ndarray) -> list[torch.Tensor]:
    """W_tau at each of the steps."""
    kept = []
    for now in descent.descend(network, X, y, step):
        if now.tau in taus:
            kept.append(now.W)
        if now.tau == taus[-1]:
            break
    return kept


def _slope(abscissae: list[np.ndarray], ordinates: list[np.ndarray], what: str) -> Estimate:
    """The exponent over several sweeps, each with its own abscissae: Student's interval over their slopes."""
    if len(abscissae) == 1:
        return Estimate.exponent(abscissae[0], ordinates[0], method=f"slope of log {what}")
    slopes = [Estimate.exponent(x, values).value for x, values in zip(abscissae, ordinates, strict=True)]
    return Estimate.mean(slopes, method=f"slope of log {what}, mean over {len(slopes)} sweeps")


def _sweep(radii: Sequence[float], seed: int, **shape: Any) -> list[ClusterableData]:
    """One set per radius: the same centres, every point on one arc from its centre, at the radius."""
    return [clusterable.generate(radius=radius, spread="boundary", seed=seed, **shape) for radius in radii]


C8 = Family(
    "C8",
    "the path beside that of perfect clusters",
    (RADIUS, TIME, CLEAN_RADIUS, CLEAN_TIME),
    check_paths,
    experiment_paths,
)
