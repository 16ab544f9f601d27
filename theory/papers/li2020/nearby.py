"""Clusters of positive radius: how far Jacobian, spectrum and information space move from perfect clusters (C5).

Moving every input by at most eps0 from its centre moves the Jacobian by O(sqrt(n) eps0), hence its singular values and
the information space by as much: beside the K large singular values of perfect clusters stand small ones, and along
their directions the network learns, slowly, what tells the inputs of one cluster apart. Descent over time is the matter
of `nearby_path` and `certified`. Cf. Li, Soltanolkotabi & Oymak (2020); proofs in paper_notes/li2020.md.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import sympy as sp
import torch

from theory import checks, clusterable, covariance, descent, spectrum
from theory.claim import Claim, Family, symbols
from theory.clusterable import ClusterableData
from theory.estimate import Estimate
from theory.networks import TwoLayer
from theory.verdict import Verdicts

_EPS = float(np.finfo(float).eps)

E, n, eps0, Gamma1, Gamma2, v2, v_max, W, excess = symbols("E n eps0 Gamma1 Gamma2 v2 v_max W excess")
sigma, sigma_c, off, sine, exponent = symbols("sigma sigma_c off sine exponent")

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
}


def _derived(id: str, title: str, relation: Any, meanings: dict[str, str], **more: Any) -> Claim:
    common: dict[str, Any] = {"reference": "derived", "proof": "paper_notes/li2020.md#c5", "notation": _NOTATION}
    return Claim(f"C5.{id}", title, relation, meanings, **common, **more)


_OP = "||J(W, X) - J(W, X_c)||_op, X_c the inputs moved to their centres [1]"
_POSITIVE = ("clusters of positive radius: eps0 > 0", sp.Gt(eps0, 0))
_RADIUS = "largest distance of an input to its centre [1]"

FROBENIUS = _derived(
    "frobenius",
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
WEYL = _derived(
    "weyl",
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
NUISANCE = _derived(
    "nuisance",
    "singular value K + 1, zero for perfect clusters, is at most the move of the Jacobian",
    sp.Le(sigma, E, evaluate=False),
    {"sigma": "(K+1)-th singular value of J(W, X), K clusters [1]", "E": _OP, "eps0": _RADIUS},
    hypotheses=(_POSITIVE,),
)
_ANGLE = {"sine": "sine of the largest angle between the K leading left singular vectors and S+ [1]", "eps0": _RADIUS}
ANGLE = _derived(
    "angle",
    "the information space is near the cluster space S+: measured Jacobian",
    sp.Le(sine, off / sigma, evaluate=False),
    {**_ANGLE, "off": "||Pi_- J(W, X)||_op [1]", "sigma": "K-th singular value of J(W, X) [1]"},
    hypotheses=(_POSITIVE, ("J has rank at least K", sp.Gt(sigma, 0))),
    vacuous=sp.Ge(off, sigma),
)
ANGLE_A_PRIORI = _derived(
    "angle_apriori",
    "the information space is near S+: Jacobian at the centres, and how far it moves",
    sp.Le(sine, E / (sigma_c - E), evaluate=False),
    {**_ANGLE, "E": _OP, "sigma_c": "K-th singular value of J(W, X_c) [1]"},
    hypotheses=(_POSITIVE, ("the Jacobian moves by less than sigma_K at the centres", sp.Gt(sigma_c, E))),
    vacuous=sp.Ge(2 * E, sigma_c),
)
NEARBY_RATE = _derived(
    "rate",
    "the move of the Jacobian, singular value K + 1 and the angle to S+ are linear in eps0",
    sp.Eq(exponent, 1, evaluate=False),
    {"exponent": "log-log slope in eps0 of ||E||, of singular value K + 1, or of the sine [1]"},
    kind="rate",
    tolerance=sp.Rational(1, 20),
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
    if len(sets) >= 3 and all(np.array_equal(one.centres, sets[0].centres) for one in sets):
        radii = np.array([one.distances.max() for one in sets])
        for words, name in (("move of the Jacobian", "op"), ("singular value K+1", "next"), ("sine", "sine")):
            quantity = _column(rows, name).reshape(len(networks), len(sets))
            slope = Estimate.exponent(radii, quantity, method=f"slope of log {words} on log eps0")
            settings = {**record.get("settings", {}), "quantity": words}
            verdicts.append(NEARBY_RATE.check(exponent=slope, **{**record, "settings": settings}))
    return verdicts


def experiment_nearby(budget: str = "small", seed: int = 0) -> Verdicts:
    """C5 on a sweep over the radius, at W0 and after 20 steps, for four activations: width 64 (small), 1024 (full)."""
    checks.choice("budget", budget, ("small", "full"))
    width, names = 64 if budget == "small" else 1024, ("softplus", "erf", "tanh", "gelu")
    sweep = [
        # one seed: the same centres, every point on one arc from its centre
        clusterable.generate(3, 3, 8, per_cluster=6, radius=radius, spread="boundary", seed=seed)
        for radius in np.geomspace(1e-4, 0.03, 6)
    ]
    networks, data = [], sweep[-1]
    for name in names:
        network = TwoLayer.initialise(width, 8, name, seed=seed)
        step = 1 / network.jacobian_bound(data.X) ** 2
        later = next(itertools.islice(descent.descend(network, data.X, data.y, step), 20, None))
        networks += [network, network.at(later.W)]
    settings = {"activations": ", ".join(names), "width": width, "steps": "0 and 20"}
    return check_nearby(sweep, networks, settings=settings, seed=seed)


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
    U = spectrum.split(J, rank=K, method="direct").information
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


def _column(rows: list[dict[str, Any]], name: str) -> np.ndarray:
    return np.array([row[name] for row in rows])


def _measured(rows: list[dict[str, Any]], name: str) -> Estimate:
    return Estimate.computed(_column(rows, name), error=_column(rows, "rounding"), method="float64 linear algebra")


def _radius(rows: list[dict[str, Any]]) -> Estimate:
    radii = _column(rows, "eps0")  # inputs that are their centres bit for bit are at distance 0 without error
    return Estimate.computed(radii, error=np.where(radii == 0, 0, 4 * _EPS), method="largest distance")


C5 = Family(
    "C5",
    "clusters of positive radius: Jacobian, spectrum and information space",
    (FROBENIUS, WEYL, NUISANCE, ANGLE, ANGLE_A_PRIORI, NEARBY_RATE),
    check_nearby,
    experiment_nearby,
)
