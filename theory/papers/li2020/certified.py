"""A certificate of recovery for clusters of positive radius, from measurements at W0 alone (C9).

A recursion bounds the residual on the cluster space, its drift off it and the length of the path, as long as the path
is sure to stay in a ball round W0; together they bound the distance to the true labels. Where that is below delta/2,
every true label is recovered. The recursion is `theory.early_stopping.certificate`; here it is held against descent.
Cf. Li, Soltanolkotabi & Oymak (2020); proofs in paper_notes/li2020.md.
"""

import math
import operator
from typing import Any

import numpy as np
import sympy as sp

from theory import checks, clusterable, descent, early_stopping, label_noise, spectrum
from theory.claim import Claim, Family, symbols
from theory.clusterable import ClusterableData
from theory.descent import Trajectory
from theory.early_stopping import Certificate
from theory.early_stopping.start import two_layer
from theory.estimate import Estimate
from theory.label_noise import CorruptedLabels
from theory.networks import TwoLayer
from theory.verdict import Verdicts

support, drift, path, error = symbols("support drift path error")
a, q, reach, ball, eta, low, high = symbols("a q reach ball eta low high")
noise, start, n_min, delta = symbols("noise start n_min delta")

_NOTATION = {
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


def _derived(id: str, title: str, relation: Any, meanings: dict[str, str], hypotheses: Any) -> Claim:
    common: dict[str, Any] = {"reference": "derived", "proof": "paper_notes/li2020.md#c9", "notation": _NOTATION}
    return Claim(f"C9.{id}", title, relation, meanings, hypotheses=hypotheses, **common)


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
SUPPORT = _derived(
    "support",
    "certificate: the residual on the cluster space",
    sp.Le(support, a, evaluate=False),
    {"support": "||Pi_+ r_tau||_2 [1]", "a": _TERMS["a"], **_BALL},
    hypotheses=_SCOPE,
)
DRIFT = _derived(
    "nuisance",
    "certificate: the drift of the residual off the cluster space",
    sp.Le(drift, q, evaluate=False),
    {"drift": "||Pi_-(r_tau - r_0)||_2 [1]", "q": _TERMS["q"], **_BALL},
    hypotheses=_SCOPE,
)
PATH = _derived(
    "path",
    "certificate: the length of the path",
    sp.Le(path, reach, evaluate=False),
    {"path": "sum of ||W_{s+1} - W_s||_F over s < tau [1]", **_BALL},
    hypotheses=_SCOPE,
)
RECOVERY = _derived(
    "recovery",
    "certificate: the distance to the true labels",
    sp.Le(error, _BOUND, evaluate=False),
    {"error": _ERROR, **_TERMS, **_BALL},
    hypotheses=_SCOPE,
)
CERTIFIED = _derived(
    "certified",
    "where the certificate is below delta/2, every true label is recovered",
    sp.Lt(error, delta / 2, evaluate=False),
    {"error": _ERROR, "delta": "label separation [1]", **_TERMS, **_BALL},
    hypotheses=(*_SCOPE, ("the certificate is below delta/2", sp.Lt(_BOUND, delta / 2))),
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

    start = early_stopping.measure_start(two_layer(trajectory.network0), data.X, data.clusters, data.y, y)
    of_network = operator.attrgetter("sigma", "support", "nuisance", "lipschitz")
    if not np.allclose(of_network(start), of_network(certificate.start), rtol=1e-6):
        wanted = "for this network at W0 on these data"
        checks.fail("certificate", wanted, "another start", "certify the network that you train")

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
    radius = float(data.distances.max())
    return early_stopping.certificate(
        two_layer(network), data.X, data.clusters, data.y, labels.y, radius, step, delta=data.label_separation
    )


C9 = Family(
    "C9",
    "a certificate of recovery for clusters of positive radius",
    (SUPPORT, DRIFT, PATH, RECOVERY, CERTIFIED),
    check_certificate,
    experiment_certificate,
)
