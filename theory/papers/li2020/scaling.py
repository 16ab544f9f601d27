"""How fast descent recovers, and how far it goes for that: exponents in lambda(C), ||C|| and K (C12).

With a step of order K/(n ||C||^2) recovery takes about ||C||^2/lambda(C) steps and a distance of about
sqrt(K/lambda(C)), and clusters may be the wider the larger lambda(C) is. The source leaves the constants unnamed, so
exponents are fitted over families of centres in which these quantities vary, and nothing else is judged.
Cf. Li, Soltanolkotabi & Oymak (2020), and paper_notes/li2020.md.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp
from jaxtyping import Float

from theory import activations, checks, clusterable, covariance, descent, early_stopping, label_noise, spectrum
from theory.activations import Activation
from theory.arrays import Array
from theory.claim import Claim, Family, symbols
from theory.estimate import Estimate
from theory.networks import TwoLayer
from theory.verdict import Verdicts

_PAPER = "cf. Li, Soltanolkotabi & Oymak (2020)"
_COMMON: dict[str, Any] = {"meanings": {"p": "fitted exponent, log-log [1]"}, "proof": "paper_notes/li2020.md#c12"}

p = symbols("p")


def _exponent(id: str, title: str, value: Any, tolerance: Any) -> Claim:
    relation = sp.Eq(p, value, evaluate=False)
    rate: dict[str, Any] = {"kind": "rate", "tolerance": tolerance, "constants": "unnamed", "reference": _PAPER}
    return Claim(f"C12.{id}", title, relation, **_COMMON, **rate)


# Bands: steps are those of the slowest of K clusters, and at finite width the slowest of more is slower.
STEPS = _exponent("steps", "steps to recovery grow as ||C||^2/lambda(C)", sp.Integer(1), sp.Rational(1, 10))
STEPS_SPREAD = _exponent(
    "steps_spread",
    "with orthogonal centres, where ||C||^2/lambda(C) is constant, steps to recovery do not grow with K",
    sp.Integer(0),
    sp.Rational(1, 10),
)
DISTANCE = _exponent(
    "distance", "the distance up to recovery grows as sqrt(K/lambda(C))", sp.Rational(1, 2), sp.Rational(1, 20)
)
RADIUS = Claim(
    "C12.radius",
    "the largest cluster radius that can be recovered falls no faster than lambda(C)^2",
    sp.Le(p, 2, evaluate=False),
    reference=f"a consequence of the sufficient radius; {_PAPER}",
    **_COMMON,
)


@dataclass(frozen=True, eq=False)
class Sweep:
    """Steps and distance up to recovery over a family of centre sets and several initialisations.

    Attributes:
        clusters: K of each set, (S,).
        least: lambda(C) of each set, (S,).
        size: ||C||_op of each set, (S,).
        steps: first tau with ||Pi_+ r_tau||_inf <= delta/8, interpolated between two steps, (seeds, S).
        distance: ||W_tau - W_0||_F then, (seeds, S).
        settings: what was run.
    """

    clusters: Float[np.ndarray, " S"]
    least: Float[np.ndarray, " S"]
    size: Float[np.ndarray, " S"]
    steps: Float[np.ndarray, "seeds S"]
    distance: Float[np.ndarray, "seeds S"]
    settings: Mapping[str, Any]


def sweep(
    sets: Sequence[np.ndarray],
    activation: str | Activation = "softplus",
    *,
    width: int = 4096,
    seeds: Sequence[int] = range(5),
    **settings: Any,
) -> Sweep:
    """Run descent from paired initialisations to recovery, on perfect clusters with labels -1, +1 in turn (delta = 2).

    The step is K/(4 n ||C||^2). Recovery is ||Pi_+ r||_inf <= delta/8: a share rho <= delta/8 of corrupted labels moves
    a mean label by at most delta/4, so every output is then within 3 delta/8 of its true label. The labels are those
    means: with perfect clusters the K weighted centres are the whole problem (C1).

    Args:
        sets: centres, each (K, d) with an even K and unit rows.
        activation: a name or an `Activation`.
        width: of the networks.
        seeds: of the initialisations.
        **settings: for the record.
    """
    phi = activations.get(activation)
    norms = [spectrum.operator_norm(C) for C in sets]
    taus, distances = np.empty((len(seeds), len(sets))), np.empty((len(seeds), len(sets)))
    for column, (C, norm) in enumerate(zip(sets, norms, strict=True)):
        labels = np.where(np.arange(len(C)) % 2, -1.0, 1.0)
        for row, seed in enumerate(seeds):
            network = TwoLayer.initialise(width, C.shape[1], phi, paired=True, seed=seed)
            before = math.inf
            for now_ in descent.descend(network, C, labels, 0.25 / norm**2):
                left = float(now_.residual.abs().max())
                if left <= 0.25:
                    break
                before = left
            # between two steps the residual is taken to fall geometrically: whole steps would round the exponent
            taus[row, column] = now_.tau - math.log(0.25 / left) / math.log(before / left)
            distances[row, column] = float((now_.W - network.W.detach()).norm())
    return Sweep(
        clusters=np.array([float(len(C)) for C in sets]),
        least=np.array([float(covariance.least_eigenvalue(C, phi)) for C in sets]),
        size=np.array(norms),
        steps=taus,
        distance=distances,
        settings={"activation": phi.name, "width": width, "seeds": len(seeds), **settings},
    )


def check_scaling(sweep: Sweep, **record: Any) -> Verdicts:
    """Judge C12.steps and C12.distance on a sweep, intervals over its initialisations; at least two centre sets.

    Where ||C||^2/lambda(C) is the same for all sets and K is not, C12.steps_spread takes the place of C12.steps.
    """
    cost = sweep.size**2 / sweep.least
    settings = {**sweep.settings, **(record.pop("settings", None) or {})}
    constant = np.ptp(cost) <= 1e-9 * cost.max()
    abscissa, claim = (sweep.clusters, STEPS_SPREAD) if constant else (cost, STEPS)
    reach = sweep.clusters / sweep.least
    return Verdicts(
        [
            claim.check(p=Estimate.exponent(abscissa, sweep.steps), settings=settings, **record),
            DISTANCE.check(p=Estimate.exponent(reach, sweep.distance), settings=settings, **record),
        ]
    )


def check_radius(least: Array, radii: Array, **record: Any) -> Verdicts:
    """Judge C12.radius on the largest recovered radius (replicates, S) at each lambda(C), (S,)."""
    return Verdicts([RADIUS.check(p=Estimate.exponent(least, radii), **record)])


def largest_radius(
    separation: float, activation: str | Activation, *, noise_rate: float = 0.2, ratio: float = 1.25, seed: int = 0
) -> float:
    """The largest cluster radius up to which linearised descent at infinite width recovers two clusters at some step.

    Two centres at `separation` radians in R^5, ten points each, labels -1 and +1 (delta = 2), kernel Sigma(X), step
    1/lambda_max, steps up to a million. Radii grow by `ratio` from separation/100; points move along fixed arcs.
    """
    separation = checks.number("separation", separation, 0, math.pi, open_low=True)
    centres = np.zeros((2, 5))
    centres[:, :2] = pair(separation)
    taus = np.unique(np.geomspace(1, 1e6, 150).astype(int))
    radius = separation / 100
    while radius <= 2:
        data = clusterable.generate(2, 2, 5, per_cluster=10, radius=radius, centres=centres, seed=seed)
        labels = label_noise.corrupt(data, noise_rate, seed=seed)
        kernel = covariance.neural_covariance(data.X, activation)
        step = 1 / float(np.linalg.eigvalsh(kernel)[-1])
        start = np.zeros(len(data.y))
        errors = early_stopping.linearised_error(kernel, start, data.y, labels.noise, step, taus)
        if early_stopping.stopping_window(errors, taus, delta=2.0).first is None:
            break
        radius *= ratio
    return radius / ratio


def experiment_scaling(budget: str = "small", seed: int = 0) -> Verdicts:
    """C12 over two centres that close in, a cone of K centres, and K orthogonal ones; radii at infinite width.

    Args:
        budget: "small" (softplus, width 2048) or "full" (four activations, width 32768, more seeds and centres).
        seed: of the first initialisation.
    """
    small = checks.choice("budget", budget, ("small", "full")) == "small"
    width, seeds = (2048, range(6 * seed, 6 * seed + 6)) if small else (32768, range(8 * seed, 8 * seed + 8))
    angles = (1.4, 1.0, 0.7, 0.5) if small else (1.4, 1.0, 0.7, 0.4)
    counts = (2, 4, 8, 16)
    families = {
        "two centres, angle": [pair(angle) for angle in angles],
        "cone": [cone(K) for K in counts],
        "orthogonal": [np.eye(K) for K in counts],
    }
    verdicts = Verdicts()
    for activation in ("softplus",) if small else ("softplus", "gelu", "tanh", "erf"):
        for name, sets in families.items():
            verdicts += check_scaling(sweep(sets, activation, width=width, seeds=seeds, centres=name))
    for activation in ("erf",) if small else ("erf", "gelu", "relu"):
        least = [float(covariance.least_eigenvalue(pair(angle), activation)) for angle in angles]
        count = 4 if small else 20
        draws = range(count * seed, count * (seed + 1))
        radii = np.array([[largest_radius(angle, activation, seed=draw) for angle in angles] for draw in draws])
        verdicts += check_radius(least, radii, settings={"activation": activation, "draws": len(radii)})
    return verdicts


def pair(angle: float) -> Float[np.ndarray, "2 2"]:
    """Two unit centres at `angle` radians.

    Example:
        >>> pair(math.pi / 2).round(6).tolist()
        [[0.707107, 0.707107], [0.707107, -0.707107]]
    """
    half = angle / 2
    return np.array([[math.cos(half), math.sin(half)], [math.cos(half), -math.sin(half)]])


def cone(K: int, opening: float = 0.7) -> Float[np.ndarray, "K K+1"]:
    """K unit centres sqrt(1 - s^2) e_0 + s e_l, s = `opening`: lambda(C) is one for all K, ||C||^2 grows as K.

    Example:
        >>> (cone(4) @ cone(4).T)[0].round(2).tolist()
        [1.0, 0.51, 0.51, 0.51]
    """
    centres = np.zeros((K, K + 1))
    centres[:, 0], centres[:, 1:] = math.sqrt(1 - opening**2), opening * np.eye(K)
    return centres


C12 = Family(
    "C12",
    "how steps, distance and radius of recovery scale with lambda(C), ||C|| and K: exponents",
    (STEPS, STEPS_SPREAD, DISTANCE, RADIUS),
    check_scaling,
    experiment_scaling,
)
