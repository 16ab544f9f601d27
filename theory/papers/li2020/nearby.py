"""Clusters of positive radius: how far everything moves from the case of perfect clusters, and what can be certified.

Moving every input by at most eps0 from its centre moves the Jacobian by O(sqrt(n) eps0), hence its singular values and
the information space by as much (C5). The weights of gradient descent stay within O(eps0) of those of perfect clusters
on clean labels, but drift away from them at a constant speed, proportional to eps0, where labels inside a cluster
differ: this is the slow memorisation that early stopping cuts off (C8). A recursion over bounds certifies, from
measurements at W0 alone, that the true labels are recovered (C9). Cf. Li, Soltanolkotabi & Oymak (2020); proofs in
paper_notes/li2020.md.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp
import torch
from jaxtyping import Float, Int

from theory import checks, clusterable, covariance, descent, early_stopping, label_noise, spectrum
from theory.arrays import Array
from theory.claim import Claim, Family, symbols
from theory.clusterable import ClusterableData
from theory.descent import Trajectory
from theory.early_stopping import Certificate
from theory.estimate import Estimate
from theory.label_noise import CorruptedLabels
from theory.networks import TwoLayer
from theory.verdict import Verdicts

_EPS = float(np.finfo(float).eps)

E, n, eps0, Gamma1, Gamma2, v2, v_max, W, excess = symbols("E n eps0 Gamma1 Gamma2 v2 v_max W excess")
sigma, sigma_c, off, sine, exponent = symbols("sigma sigma_c off sine exponent")
clock, creep, fitted, mixed = symbols("clock creep fitted mixed")
support, drift, path, error = symbols("support drift path error")
a, q, reach, ball, eta, low, high = symbols("a q reach ball eta low high")
noise, start, n_min, delta = symbols("noise start n_min delta")

_NOTATION = {
    "E": r"\|E\|",
    "eps0": r"\varepsilon_0",
    "Gamma1": r"\Gamma_1",
    "Gamma2": r"\Gamma_2",
    "v2": r"\|v\|_2",
    "v_max": r"\|v\|_\infty",
    "W": r"\|W\|",
    "sigma": r"\sigma",
    "sigma_c": r"\sigma^c",
    "off": r"\|\Pi_- J\|",
    "sine": r"\|\sin\Theta(U_K, S_+)\|",
    "support": r"\|\Pi_+ r_\tau\|",
    "drift": r"\|\Pi_-(r_\tau - r_0)\|",
    "error": r"\|f_\tau - \tilde y\|_\infty",
    "noise": r"\|\Pi_+ e\|_\infty",
    "start": r"\|\Pi_- f_0\|_\infty",
    "n_min": r"n_{\min}",
    "low": r"\underline{a}",
    "high": r"\overline{b}",
    "ball": "R",
}


def _claim(id: str, title: str, relation: Any, meanings: dict[str, str], **more: Any) -> Claim:
    proof = f"paper_notes/li2020.md#{id[:2].lower()}"
    common = {"reference": "derived", "proof": proof, "notation": _NOTATION}
    return Claim(id, title, relation, meanings, **{**common, **more})


_OP = "||J(W, X) - J(W, X_c)||_op, X_c the inputs moved to their centres [1]"
_POSITIVE = ("clusters of positive radius: eps0 > 0", sp.Gt(eps0, 0))
_RADIUS = "largest distance of an input to its centre [1]"
_UNSURE = "sin of an angle is at most 1 anyway"

FROBENIUS = _claim(
    "C5.frobenius",
    "the Jacobian moves by at most order sqrt(n) eps0",
    sp.Le(E, sp.sqrt(n) * eps0 * (Gamma1 * v2 + Gamma2 * v_max * W), evaluate=False),
    {
        "E": "||J(W, X) - J(W, X_c)||_F, X_c the inputs moved to their centres [1]",
        "n": "number of inputs [1]",
        "eps0": _RADIUS,
        "Gamma1": "sup|phi'| [1]",
        "Gamma2": "sup|phi''|, finite [1]",
        "v2": "||v||_2 [1]",
        "v_max": "||v||_inf [1]",
        "W": "||W||_op [1]",
        "excess": "largest | ||c_l|| - 1 | [1]",
    },
    hypotheses=(_POSITIVE, ("unit centres, to 1e-12", sp.Le(excess, sp.Rational(1, 10**12)))),
)
WEYL = _claim(
    "C5.weyl",
    "no singular value moves by more than the Jacobian",
    sp.Le(sp.Abs(sigma - sigma_c), E, evaluate=False),
    {
        "sigma": "i-th singular value of J(W, X) [1]",
        "sigma_c": "i-th singular value of J(W, X_c) [1]",
        "E": _OP,
        "eps0": _RADIUS,
    },
    hypotheses=(_POSITIVE,),
)
NUISANCE = _claim(
    "C5.nuisance",
    "singular value K + 1, zero for perfect clusters, is at most the move of the Jacobian",
    sp.Le(sigma, E, evaluate=False),
    {"sigma": "(K+1)-th singular value of J(W, X), K clusters [1]", "E": _OP, "eps0": _RADIUS},
    hypotheses=(_POSITIVE,),
)
_ANGLE = {"sine": "sine of the largest angle between the K leading left singular vectors and S+ [1]", "eps0": _RADIUS}
ANGLE = _claim(
    "C5.angle",
    "the information space is near the cluster space S+: measured Jacobian",
    sp.Le(sine, off / sigma, evaluate=False),
    {**_ANGLE, "off": "||Pi_- J(W, X)||_op [1]", "sigma": "K-th singular value of J(W, X) [1]"},
    hypotheses=(_POSITIVE, ("J has rank at least K", sp.Gt(sigma, 0))),
    vacuous=sp.Ge(off, sigma),
)
ANGLE_A_PRIORI = _claim(
    "C5.angle_apriori",
    "the information space is near S+: Jacobian at the centres, and how far it moves",
    sp.Le(sine, E / (sigma_c - E), evaluate=False),
    {**_ANGLE, "E": _OP, "sigma_c": "K-th singular value of J(W, X_c) [1]"},
    hypotheses=(_POSITIVE, ("the Jacobian moves by less than sigma_K at the centres", sp.Gt(sigma_c, E))),
    vacuous=sp.Ge(2 * E, sigma_c),
)
NEARBY_RATE = _claim(
    "C5.rate",
    "the move of the Jacobian, singular value K + 1 and the angle to S+ are linear in eps0",
    sp.Eq(exponent, 1, evaluate=False),
    {"exponent": "log-log slope in eps0 of ||E||, of singular value K + 1, or of the sine [1]"},
    kind="rate",
    tolerance=sp.Rational(1, 20),
)

_SLOW = ("labels inside a cluster are far from fitted: eta tau n eps0^2 <= 1/20", sp.Le(clock, sp.Rational(1, 20)))
_FITTED = ("the clusters are fitted: eta tau sigma_K^2 >= 4", sp.Ge(fitted, 4))
_MIXED = (_SLOW, _FITTED, ("labels differ inside a cluster", sp.Gt(mixed, 0)))
# with clean labels the residual inside a cluster is itself of order eps0, which makes the gap creep by eta tau eps0^2
_FLAT = ("the creep of second order is small: eta tau n eps0 <= 4", sp.Le(creep, 4))
_CLEAN = (_SLOW, _FITTED, _FLAT, ("every cluster has one label", sp.Eq(mixed, 0)))


def _path_claim(id: str, title: str, slope: int, hypotheses: tuple[tuple[str, Any], ...]) -> Claim:
    variable = "eps0" if id.endswith("radius") else "tau"
    meanings = {
        "exponent": f"slope of log ||W_tau - W_tau^c||_F on log {variable}, W^c descending on the centres [1]",
        "clock": "largest eta tau n eps0^2 [1]",
        "fitted": "least eta tau sigma_K(J(W0, X_c))^2 [1]",
        "mixed": "largest difference of two labels in a cluster [1]",
    }
    if hypotheses is _CLEAN:
        meanings["creep"] = "largest eta tau n eps0 [1]"
    rate: dict[str, Any] = {"kind": "rate", "tolerance": sp.Rational(1, 10), "constants": "unnamed"}
    reference = "cf. Li, Soltanolkotabi & Oymak (2020)"
    relation = sp.Eq(exponent, slope, evaluate=False)
    return _claim(id, title, relation, meanings, hypotheses=hypotheses, reference=reference, **rate)


RADIUS = _path_claim("C8.radius", "corrupted labels: the gap to the perfect-cluster path is linear in eps0", 1, _MIXED)
TIME = _path_claim("C8.time", "corrupted labels: the gap to the perfect-cluster path is linear in time", 1, _MIXED)
CLEAN_RADIUS = _path_claim("C8.clean_radius", "clean labels: the gap is linear in eps0 too", 1, _CLEAN)
CLEAN_TIME = _path_claim("C8.clean_time", "clean labels: the gap does not grow with time", 0, _CLEAN)

_SCOPE = (
    ("the step contracts: eta (a_^2 + b_^2) <= 2", sp.Le(eta * (low**2 + high**2), 2)),
    ("the path is certified to stay in the ball", sp.Le(reach, ball)),
)
_BALL = {
    "eta": "step size [1]",
    "low": "a_, at most the least singular value of Pi_+ J(W) on S+ in the ball [1]",
    "high": "b_, at least ||Pi_+ J(W)||_op in the ball [1]",
    "reach": "certified length of the path up to tau [1]",
    "ball": "radius R of the ball round W0 [1]",
}
_BOUND = noise + a / sp.sqrt(n_min) + start + q
_TERMS = {
    "noise": "||Pi_+ e||_inf, largest |mean label error of a cluster| [1]",
    "a": "certified bound on ||Pi_+ r_tau||_2 [1]",
    "n_min": "size of the smallest cluster [1]",
    "start": "||Pi_- f_0||_inf [1]",
    "q": "certified bound on ||Pi_-(r_tau - r_0)||_2 [1]",
}
_ERROR = "||f_tau - y~||_inf, largest distance of an output to its true label [1]"
SUPPORT = _claim(
    "C9.support",
    "certificate: the residual on the cluster space",
    sp.Le(support, a, evaluate=False),
    {"support": "||Pi_+ r_tau||_2 [1]", "a": _TERMS["a"], **_BALL},
    hypotheses=_SCOPE,
)
DRIFT = _claim(
    "C9.nuisance",
    "certificate: the drift of the residual off the cluster space",
    sp.Le(drift, q, evaluate=False),
    {"drift": "||Pi_-(r_tau - r_0)||_2 [1]", "q": _TERMS["q"], **_BALL},
    hypotheses=_SCOPE,
)
PATH = _claim(
    "C9.path",
    "certificate: the length of the path",
    sp.Le(path, reach, evaluate=False),
    {"path": "sum of ||W_{s+1} - W_s||_F over s < tau [1]", **_BALL},
    hypotheses=_SCOPE,
)
RECOVERY = _claim(
    "C9.recovery",
    "certificate: the distance to the true labels",
    sp.Le(error, _BOUND, evaluate=False),
    {"error": _ERROR, **_TERMS, **_BALL},
    hypotheses=_SCOPE,
)
CERTIFIED = _claim(
    "C9.certified",
    "where the certificate is below delta/2, every true label is recovered",
    sp.Lt(error, delta / 2, evaluate=False),
    {"error": _ERROR, "delta": "label separation [1]", **_TERMS, **_BALL},
    hypotheses=(*_SCOPE, ("the certificate is below delta/2", sp.Lt(_BOUND, delta / 2))),
)


def check_nearby(
    data: ClusterableData | Sequence[ClusterableData], network: TwoLayer | Sequence[TwoLayer], **record: Any
) -> Verdicts:
    """Judge C5: every network given at every set of inputs given.

    Args:
        data: inputs and centres; for the rate, at least three sets of different radii with the same centres.
        network: at any weights, not only at W0. Networks with a kink are left out of C5.frobenius, which has Gamma2 in
            it. With several networks the exponents' intervals are Student's over them.
        **record: `settings` and `seed` for the verdicts.

    Returns:
        One row per member, each a sweep over sets and networks (and, for C5.weyl, over singular values).

    Raises:
        InvalidInput: inputs of the wrong dimension, fewer weights than clusters, no cluster with two points.
    """
    sets = [data] if isinstance(data, ClusterableData) else list(data)
    networks = [network] if isinstance(network, TwoLayer) else list(network)
    rows = [_jacobians(one, net) for net in networks for one in sets]
    smooth = [row for row in rows if math.isfinite(row["Gamma2"])]
    verdicts = Verdicts()
    if smooth:
        names = ("n", "Gamma1", "Gamma2", "v2", "v_max", "W", "excess")
        constants: dict[str, Any] = {name: _column(smooth, name) for name in names}
        entire = _measured(smooth, "frobenius")
        verdicts.append(FROBENIUS.check(E=entire, eps0=_radius(smooth), **constants, **record))
    each = [{**row, "i": i, "ic": ic} for row in rows for i, ic in zip(row["values"], row["centred"], strict=True)]
    shifted: dict[str, Any] = {"sigma": _measured(each, "i"), "sigma_c": _measured(each, "ic")}
    verdicts.append(WEYL.check(**shifted, E=_measured(each, "op"), eps0=_radius(each), **record))
    moved, radius = _measured(rows, "op"), _radius(rows)
    verdicts.append(NUISANCE.check(sigma=_measured(rows, "next"), E=moved, eps0=radius, **record))
    # U_K is exact for a Jacobian within rounding of ours, so the sine needs no error in proportion to 1/gap
    sine_ = Estimate.computed(_column(rows, "sine"), error=8 * _EPS * _column(rows, "n"))
    angle: dict[str, Any] = {"sine": sine_, "eps0": radius}
    verdicts.append(ANGLE.check(off=_measured(rows, "off"), sigma=_measured(rows, "last"), **angle, **record))
    verdicts.append(ANGLE_A_PRIORI.check(E=moved, sigma_c=_measured(rows, "last_centred"), **angle, **record))
    if len(sets) >= 3:
        radii = np.array([one.distances.max() for one in sets])
        for words, name in (("move of the Jacobian", "op"), ("singular value K+1", "next"), ("sine", "sine")):
            sweeps = list(_column(rows, name).reshape(len(networks), len(sets)))
            slope = _slope([radii] * len(networks), sweeps, f"{words} on log eps0")
            settings = {**record.get("settings", {}), "quantity": words}
            verdicts.append(NEARBY_RATE.check(exponent=slope, **{**record, "settings": settings}))
    return verdicts


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


def check_certificate(
    data: ClusterableData,
    labels: CorruptedLabels,
    trajectory: Trajectory,
    certificate: Certificate | None = None,
    **record: Any,
) -> Verdicts:
    """Judge C9 along a trajectory: each bound of the certificate, at every recorded step after the start.

    Args:
        data: inputs, true labels and clusters.
        labels: what was trained on.
        trajectory: of a `TwoLayer` with a smooth activation, from its start, unweighted.
        certificate: `theory.early_stopping.certificate` for the same start, labels and step; left out: made here.
        **record: `settings` and `seed` for the verdicts.

    Returns:
        One row per member; steps at which the path may have left the ball are out of scope.

    Raises:
        InvalidInput: a trajectory on other labels or with another step, or that records no step but the first.
    """
    y, taus = np.asarray(labels.y, dtype=float), trajectory.steps[1:]
    trained_on = trajectory.predictions[0] - trajectory.residuals[0]
    if trained_on.shape != y.shape or np.abs(trained_on - y).max() > 1e-9:
        checks.fail("trajectory", "descent on these labels", "other labels", "pass the labels that it was trained on")
    if not len(taus):
        checks.fail("trajectory", "a step after the start", "none", "train for at least one step")
    if certificate is None:
        certificate = _certify(trajectory.network0, data, labels, trajectory.step)
    if certificate.step != trajectory.step:
        wanted = f"for the step {trajectory.step}"
        checks.fail("certificate", wanted, certificate.step, "certify the step that you train with")

    # beyond the last step that stays in the ball nothing is certified: infinite bounds put it out of scope
    beyond = taus >= len(certificate.a)
    inside = np.minimum(taus, len(certificate.a) - 1)
    bounds = {
        name: Estimate.computed(np.where(beyond, math.inf, values[inside]), relative=1e-10, method="recursion")
        for name, values in (("a", certificate.a), ("q", certificate.q), ("reach", certificate.path))
    }
    scope = {
        "reach": bounds["reach"],
        "eta": certificate.step,
        "low": certificate.contraction,
        "high": certificate.support,
        "ball": certificate.radius,
        **record,
    }
    terms = {
        "noise": certificate.start.noise_limit,
        "a": bounds["a"],
        "n_min": certificate.start.smallest_cluster,
        "start": certificate.start.output_nuisance,
        "q": bounds["q"],
        **scope,
    }
    moved = (trajectory.residuals - trajectory.residuals[0])[1:]
    rounding = 1e-12 * math.sqrt(data.n) * (1 + float(np.abs(trajectory.predictions).max()))

    def measured(values: np.ndarray) -> Estimate:
        return Estimate.computed(values, error=rounding, method="measured along the trajectory")

    on_clusters = np.linalg.norm(spectrum.support_projection(trajectory.residuals[1:].T, data.clusters), axis=0)
    off_clusters = np.linalg.norm(spectrum.nuisance_projection(moved.T, data.clusters), axis=0)
    distance = measured(np.abs(trajectory.predictions[1:] - data.y).max(axis=1))
    return Verdicts(
        [
            SUPPORT.check(support=measured(on_clusters), a=bounds["a"], **scope),
            DRIFT.check(drift=measured(off_clusters), q=bounds["q"], **scope),
            PATH.check(path=Estimate.computed(trajectory.path[1:], relative=1e-10), **scope),
            RECOVERY.check(error=distance, **terms),
            CERTIFIED.check(error=distance, delta=certificate.delta, **terms),
        ]
    )


def experiment_nearby(budget: str = "small", seed: int = 0) -> Verdicts:
    """C5 on a sweep over the radius, at W0 and after 20 steps, for four activations: width 64 (small), 1024 (full)."""
    checks.choice("budget", budget, ("small", "full"))
    width, names = 64 if budget == "small" else 1024, ("softplus", "erf", "tanh", "gelu")
    sweep = _sweep(np.geomspace(1e-4, 0.03, 6), seed, clusters=3, classes=3, dimension=8, per_cluster=6)
    networks, data = [], sweep[-1]
    for name in names:
        network = TwoLayer.initialise(width, 8, name, seed=seed)
        step = 1 / network.jacobian_bound(data.X) ** 2
        [trained] = _weights(network, data.X, data.y, step, np.array([20]))
        networks += [network, network.at(trained)]
    settings = {"activations": ", ".join(names), "width": width, "steps": "0 and 20"}
    return check_nearby(sweep, networks, settings=settings, seed=seed)


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


def experiment_certificate(budget: str = "small", seed: int = 0) -> Verdicts:
    """C9 where it says something: two clusters, ten points each, paired softplus, radius .01, noise rates 0 and .2.

    Args:
        budget: "small" (width 4,000, 2 seeds, 2 s) or "full" (widths 4,000, 16,000 and 64,000, 5 seeds, 1 min).
        seed: of data, labels and weights.
    """
    checks.choice("budget", budget, ("small", "full"))
    widths, seeds = ((4_000,), 2) if budget == "small" else ((4_000, 16_000, 64_000), 5)
    verdicts = Verdicts()
    for width in widths:
        for number in range(seeds * seed, seeds * (seed + 1)):
            data = clusterable.generate(2, 2, 10, per_cluster=10, radius=0.01, antipodal_separation=1.0, seed=number)
            network = TwoLayer.initialise(width, 10, "softplus", paired=True, seed=number)
            for rate in (0.0, 0.2):
                labels = label_noise.corrupt(data, rate, seed=number)
                found = _certify(network, data, labels, None)
                steps = len(found.a) - 1
                run = descent.train(network, data.X, labels.y, step=found.step, steps=steps, record=range(steps + 1))
                settings = {"width": width, "noise rate": rate, "certified error": float(found.bound.min())}
                verdicts += check_certificate(data, labels, run, found, settings=settings, seed=number)
    return verdicts


def _certify(network: Any, data: ClusterableData, labels: CorruptedLabels, step: float | None) -> Certificate:
    if not isinstance(network, TwoLayer):
        checks.fail("network", "a TwoLayer", type(network).__name__, "no other network's constants are known here")
    radius = float(data.distances.max())
    return early_stopping.certificate(
        network, data.X, data.clusters, data.y, labels.y, radius, step, delta=data.label_separation
    )


def _jacobians(data: ClusterableData, network: TwoLayer) -> dict[str, Any]:
    """What C5 compares: the Jacobian at the inputs and at their centres."""
    K, n_ = len(np.unique(data.clusters)), data.n
    if n_ <= K:
        checks.fail("clusters", "one with two points at least", f"{n_} points in {K} clusters", "add points")
    J = np.asarray(covariance.jacobian(data.X, network))
    at_centres = np.asarray(covariance.jacobian(data.centred, network))
    if min(J.shape) < K:
        checks.fail("weights", f"at least {K}, the number of clusters", J.shape[1], "use a wider network")
    values, centred = np.linalg.svd(J, compute_uv=False), np.linalg.svd(at_centres, compute_uv=False)
    padded = np.append(values, 0.0)
    U = spectrum.split(J, rank=K).information
    return {
        "Gamma1": network.activation.gamma1,
        "Gamma2": network.activation.gamma2,
        "v2": float(network.v.norm()),
        "v_max": float(network.v.abs().max()),
        "W": float(torch.linalg.matrix_norm(network.W.detach(), 2)),
        "values": values,
        "centred": centred,
        "n": n_,
        "eps0": float(data.distances.max()),
        "excess": float(np.abs(np.linalg.norm(data.centres, axis=1) - 1).max()),
        "op": spectrum.operator_norm(J - at_centres),
        "frobenius": float(np.linalg.norm(J - at_centres)),
        "off": spectrum.operator_norm(spectrum.nuisance_projection(J, data.clusters)),
        "next": float(padded[K]),
        "last": float(values[K - 1]),
        "last_centred": float(centred[K - 1]),
        "sine": spectrum.operator_norm(spectrum.nuisance_projection(U, data.clusters)),
        # entries are exact to a few units in the last place, and so is the SVD relative to the whole matrix
        "rounding": 8 * _EPS * math.sqrt(n_) * float(np.linalg.norm(J)),
    }


def _weights(network: TwoLayer, X: np.ndarray, y: np.ndarray, step: float, taus: np.ndarray) -> list[torch.Tensor]:
    kept = []
    for now in descent.descend(network, X, y, step):
        if now.tau in taus:
            kept.append(now.W)
        if now.tau == taus[-1]:
            break
    return kept


def _column(rows: list[dict[str, Any]], name: str) -> np.ndarray:
    return np.array([row[name] for row in rows])


def _measured(rows: list[dict[str, Any]], name: str) -> Estimate:
    return Estimate.computed(_column(rows, name), error=_column(rows, "rounding"), method="float64 linear algebra")


def _radius(rows: list[dict[str, Any]]) -> Estimate:
    radii = _column(rows, "eps0")  # inputs that are their centres bit for bit are at distance 0 without error
    return Estimate.computed(radii, error=np.where(radii == 0, 0, 4 * _EPS), method="largest distance")


def _slope(abscissae: list[np.ndarray], ordinates: list[np.ndarray], what: str) -> Estimate:
    """The exponent over several sweeps, each with its own abscissae: Student's interval over their slopes."""
    if len(abscissae) == 1:
        return Estimate.exponent(abscissae[0], ordinates[0], method=f"slope of log {what}")
    slopes = [Estimate.exponent(x, values).value for x, values in zip(abscissae, ordinates, strict=True)]
    return Estimate.mean(slopes, method=f"slope of log {what}, mean over {len(slopes)} sweeps")


def _sweep(radii: Sequence[float] | np.ndarray, seed: int, **shape: Any) -> list[ClusterableData]:
    """One set per radius: the same centres, every point on one arc from its centre, at the radius."""
    return [clusterable.generate(radius=float(radius), spread="boundary", seed=seed, **shape) for radius in radii]


C5 = Family(
    "C5",
    "clusters of positive radius: Jacobian, spectrum and information space",
    (FROBENIUS, WEYL, NUISANCE, ANGLE, ANGLE_A_PRIORI, NEARBY_RATE),
    check_nearby,
    experiment_nearby,
)
C8 = Family(
    "C8",
    "the path beside that of perfect clusters",
    (RADIUS, TIME, CLEAN_RADIUS, CLEAN_TIME),
    check_paths,
    experiment_paths,
)
C9 = Family(
    "C9",
    "a certificate of recovery for clusters of positive radius",
    (SUPPORT, DRIFT, PATH, RECOVERY, CERTIFIED),
    check_certificate,
    experiment_certificate,
)
