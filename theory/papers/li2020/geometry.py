"""What the geometry of the cluster centres does to the neural covariance (C3).

lambda(C), the least eigenvalue of Sigma(C) = (C C^T) * E phi'(Cg) phi'(Cg)^T, is what a wide network has to tell K
centres apart. Two centres at distance nu leave it about nu/(2 pi) for ReLU but only (E phi'^2 + E phi''^2) nu^2/2 for a
smooth phi. Opposite centres can destroy it: a regular hexagon has separated centres and lambda(C) = 0 under ReLU, so
the separation that counts is that of the lines through the centres, and with it lambda(C) >= nu/(100 K^2) is true.
The relations stand in `geometry_claims`. Cf. Li, Soltanolkotabi & Oymak (2020); proofs in paper_notes/li2020.md.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from theory import activations, arrays, checks, clusterable, covariance, seeding
from theory.activations import Activation
from theory.arrays import Array
from theory.claim import Family
from theory.estimate import Estimate
from theory.papers.li2020.geometry_claims import (
    ANTIPODAL_ODD,
    ANTIPODAL_PAIRS,
    MEMBERS,
    PAIR_RATE,
    RELU_LOWER,
    RELU_PAIR,
    RELU_UPPER,
    REMARK,
    REPAIRED,
    SEPARATED,
    SINGULAR,
    SMOOTH_LOWER,
    SMOOTH_UPPER,
)
from theory.verdict import Status, Verdicts

_SMOOTH = ("softplus", "erf", "tanh", "gelu")
# where the symmetries of phi' are measured: also next to 0, where a shifted kink could hide
_GRID = torch.cat(
    [torch.logspace(-9, -2, 60, dtype=torch.float64), torch.linspace(0.01, 12, 1200, dtype=torch.float64)]
)
_ROUNDING = 1e-15  # per centre: of an entry of Sigma in closed form, of a distance of unit vectors
_QUADRATURE = 1e-12  # per centre: of an entry of Sigma where phi' needs quadrature


def check_geometry(centres: Any, activation: str | Activation, **record: Any) -> Verdicts:
    """Judge C3 on one set of centres, or on a whole sweep of sets: every member whose symbols can be measured.

    Args:
        centres: (K, d) unit rows, K >= 2, or a sequence of such arrays (each with its own K and d).
        activation: a name or an `Activation`.
        **record: `settings` and `seed` for the verdicts.

    Returns:
        Members about two centres judge the sets that have two. The refuted remark is judged on the given sets and,
        as the last point, on the regular hexagon.

    Raises:
        InvalidInput: rows that are not unit vectors (to 1e-12), fewer than two centres, NaN, unknown activation.
    """
    activation = activations.get(activation)
    if not len(centres):
        checks.fail("centres", "at least one set", "none", "pass a (K, d) array, or several")
    single = arrays.is_tensor(centres) or np.ndim(centres[0]) < 2
    sets = [unit_rows(C) for C in ([centres] if single else centres)]
    checks.integer("fewest centres of a set", min(len(C) for C in sets), minimum=2)
    measured = [_measure(C, activation) for C in sets]
    value = _columns(measured)
    step = (activation.derivative(_GRID) - 1).abs().max() + activation.derivative(-_GRID).abs().max()
    odd = (activation.derivative(_GRID) - activation.derivative(-_GRID)).abs().max()
    even = _evenness(activation, _GRID)
    diagonal = activations.moment(activation, 1)
    relu, verdicts = Estimate.exact(float(step)), Verdicts()

    if two := [row for row in measured if row["K"] == 2]:
        pair = _columns(two)
        near = {"lam": pair["lam"], "nu": pair["nu"]}
        verdicts.append(RELU_PAIR.check(lam=pair["lam"], theta=_angles(two), flaw=relu, scale=diagonal, **record))
        verdicts += [claim.check(**near, flaw=relu, **record) for claim in (RELU_LOWER, RELU_UPPER)]
        if math.isfinite(activation.gamma2):
            near |= {"M1": diagonal, "M2": activations.moment(activation, 2)}
            verdicts.append(SMOOTH_UPPER.check(**near, **record))
            verdicts.append(SMOOTH_LOWER.check(**near, M3=_third_moment(activation), **record))
    opposite = {"gap": value["gap"], "flaw": float(odd)}
    crowd = {"pairs": value["pairs"], "span": value["span"], "flaw": float(even)}
    verdicts.append(ANTIPODAL_ODD.check(lam=value["lam"], **opposite, scale=diagonal, **record))
    verdicts.append(ANTIPODAL_PAIRS.check(lam=value["lam"], **crowd, scale=diagonal, **record))
    lines = {"lam": value["lam"], "nu": value["lines"], "K": value["K"], "flaw": relu}
    verdicts += [claim.check(**lines, **record) for claim in (REPAIRED, SEPARATED)]
    beside = _columns([*measured, _measure(hexagon(), activation)])
    verdicts.append(REMARK.check(lam=beside["lam"], nu=beside["nu"], K=beside["K"], flaw=relu, **record))
    return verdicts


def check_singular(centres: Array, weights: Sequence[Array], activation: str | Activation, **record: Any) -> Verdicts:
    """Judge C3.singular: K_C(W) at every W of `weights`, with output weights 1/sqrt(k).

    Args:
        centres: (K, d) unit rows.
        weights: hidden weights, each (k, d) with its own k.
        activation: a name or an `Activation`.
        **record: `settings` and `seed` for the verdict.
    """
    activation, C = activations.get(activation), unit_rows(centres)
    row = _measure(C, activation)
    values, scales, flaws = [], [], []
    for W in weights:
        W = torch.as_tensor(W, dtype=torch.float64)
        kernel = covariance.empirical_kernel(torch.from_numpy(C), W, torch.ones(len(W)) / math.sqrt(len(W)), activation)
        spectrum = torch.linalg.eigvalsh(kernel)
        values.append(float(spectrum[0]))
        scales.append(float(spectrum[-1]))
        flaws.append(_evenness(activation, W @ torch.from_numpy(C).T))
    error = _ROUNDING * len(C) * np.array(scales)
    measured = Estimate.computed(np.array(values), error=error, method="eigenvalue of the kernel")
    return Verdicts(
        [
            SINGULAR.check(
                least=measured, pairs=row["pairs"], span=row["span"], flaw=np.array(flaws), scale=min(scales), **record
            )
        ]
    )


def check_pair_rate(nus: Array, values: Array, activation: str | Activation, **record: Any) -> Verdicts:
    """Judge C3.rate on lambda(C) measured at small distances of two centres.

    Args:
        nus: distances, (T,), at least three.
        values: lambda(C) at each, (T,).
        activation: a name or an `Activation`; it decides the predicted order.
        **record: `settings` and `seed` for the verdict.
    """
    predicted = 2 if math.isfinite(activations.get(activation).gamma2) else 1
    measured = Estimate.exponent(nus, values, method="slope of log lambda(C) on log nu")
    return Verdicts([PAIR_RATE.check(exponent=measured, order=predicted, **record)])


def hexagon() -> np.ndarray:
    """The regular hexagon's vertices (6, 2): separated by 1, yet three opposite pairs in two dimensions."""
    return clusterable.generate(6, 1, 2, placement="polygon").centres


def pair(nu: float, dimension: int = 2) -> np.ndarray:
    """Two unit centres (2, dimension) at a distance nu in (0, 2], not exactly opposite at 2.

    Example:
        >>> float(np.linalg.norm(np.diff(pair(0.25), axis=0)))
        0.25
    """
    nu = checks.number("nu", nu, 0, 2, open_low=True)
    angles = 2 * math.asin(nu / 2) * np.arange(2)
    return clusterable.generate(2, 1, dimension, angles=angles).centres


def experiment_geometry(budget: str = "small", seed: int = 0) -> Verdicts:
    """C3 on pairs at many distances, on the sets with opposite centres, and on a random search for violations.

    Args:
        budget: "small" (60 sets in the search, 3 s) or "full" (6000 sets, 30 s).
        seed: of the random sets.
    """
    checks.choice("budget", budget, ("small", "full"))
    record: dict[str, Any] = {"seed": seed}
    count = 60 if budget == "small" else 6000
    sets = [pair(nu) for nu in np.geomspace(1e-3, 1.99, 12)] + random_centres(count, seed)
    verdicts = check_geometry(sets, "relu", settings={"activation": "relu", "random sets": count}, **record)
    for name in ("relu", *_SMOOTH):
        settings = {"activation": name}
        nus = np.geomspace(1e-4, 1e-2, 7) if name == "relu" else np.geomspace(1e-2, 1e-1, 7)
        values = np.array([covariance.least_eigenvalue(pair(nu), name) for nu in nus])
        verdicts += check_pair_rate(nus, values, name, settings=settings, **record)
        crowded = [hexagon(), clusterable.generate(10, 1, 4, placement="antipodal", seed=seed).centres]
        crowded.append(clusterable.generate(2, 1, 2, placement="antipodal", seed=seed).centres)
        wide = [pair(nu) for nu in np.geomspace(0.05, 1.99, 7)]
        verdicts += check_geometry([*crowded, *wide], name, settings=settings, **record)
        if name not in ("erf", "tanh"):
            draw = seeding.numpy_generator("weights for C3", seed)
            weights = [draw.normal(size=(50, 2)), 100 * draw.normal(size=(9, 2)), draw.standard_cauchy((7, 2))]
            verdicts += check_singular(hexagon(), weights, name, settings=settings, **record)
    # a softplus network has nothing to say about ReLU's bounds: such rows would only fill the table
    return Verdicts(verdict for verdict in verdicts if verdict.status != Status.OUT_OF_SCOPE)


def random_centres(count: int, seed: int = 0) -> list[np.ndarray]:
    """`count` sets of 2 to 30 unit centres in 2 to 11 dimensions: spread out, bunched together, or along an arc.

    The last two are where a bound in terms of the separation is put to the test. Used to search for violations of C3.
    """
    generator = seeding.numpy_generator("centres for C3", seed)
    sets = []
    for index in range(checks.integer("count", count, minimum=1)):
        clusters, dimension = int(generator.integers(2, 31)), int(generator.integers(2, 12))
        C = generator.normal(size=(clusters, dimension))
        if index % 3 == 1:
            C = np.eye(dimension)[0] + 10 ** generator.uniform(-2, 0) * C
        if index % 3 == 2:
            turns = np.arange(clusters) * math.pi / clusters * generator.uniform(0.1, 1)
            C = np.stack([np.cos(turns), np.sin(turns)], axis=1)
        sets.append(C / np.linalg.norm(C, axis=1, keepdims=True))
    return sets


def unit_rows(centres: Array) -> Float[np.ndarray, "K d"]:
    """Centres (K, d) of any kind as float64 numpy rows.

    Raises:
        InvalidInput: a row whose norm is not 1 to 1e-12, NaN, no rows.
    """
    (tensor,), _ = arrays.tensors(centres=centres)
    checks.matrix("centres", tensor)
    rows: np.ndarray = tensor.detach().double().numpy(force=True)
    excess = float(np.abs(np.linalg.norm(rows, axis=1) - 1).max())
    if excess > 1e-12:
        checks.fail("centres", "unit rows", f"a norm {excess:.3g} off 1", "divide each row by its norm")
    return rows


def eigenvalue_rounding(clusters: int, activation: Activation) -> float:
    """A bound on the error of an eigenvalue of Sigma(C): an entry's, times the number of centres."""
    return clusters * (_ROUNDING if activation.dual is not None else _QUADRATURE)


def _measure(C: np.ndarray, activation: Activation) -> dict[str, Any]:
    first, second = np.triu_indices(len(C), 1)
    apart = np.linalg.norm(C[first] - C[second], axis=1)
    sums = np.linalg.norm(C[first] + C[second], axis=1)
    return {
        "C": C,
        "K": len(C),
        "lam": float(covariance.least_eigenvalue(C, activation)),
        "error": eigenvalue_rounding(len(C), activation),
        "nu": float(apart.min()),
        "lines": float(min(apart.min(), sums.min())),
        "gap": float(sums.min()),
        "pairs": int((sums == 0).sum()),
        "span": int(np.linalg.matrix_rank(C)),
    }


def _columns(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The measurements of many sets of centres, one Estimate per symbol, each an array over the sets."""
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0] if name != "C"}
    exactly = {"method": "counted"}
    return {
        "lam": Estimate.computed(columns["lam"], error=columns["error"], method="eigenvalue of the neural covariance"),
        **{name: Estimate.exact(columns[name].astype(object), **exactly) for name in ("K", "pairs", "span")},
        **{
            # a sum of two floats is zero only if they are exactly opposite
            name: Estimate.computed(columns[name], error=np.where(columns[name] == 0, 0, _ROUNDING))
            for name in ("nu", "lines", "gap")
        },
    }


def _angles(rows: list[dict[str, Any]]) -> Estimate:
    angles = [2 * math.atan2(np.linalg.norm(C[0] - C[1]), np.linalg.norm(C[0] + C[1])) for C in (r["C"] for r in rows)]
    return Estimate.computed(np.array(angles), error=_ROUNDING, method="angle from the rhombus's diagonals")


def _third_moment(activation: Activation) -> Estimate:
    """E phi'''(g)^2, by one-dimensional Gauss-Hermite quadrature of derivatives of phi' taken by autograd."""
    from scipy.special import roots_hermitenorm

    points, weights = roots_hermitenorm(4 * activation.nodes)

    def slope(z: torch.Tensor) -> torch.Tensor:
        return torch.func.grad(lambda u: activation.derivative(u).sum())(z)

    third = torch.func.grad(lambda z: slope(z).sum())(torch.from_numpy(points))
    value = float(weights @ third.square().numpy() / math.sqrt(2 * math.pi))
    return Estimate.computed(value, relative=1e-9, method="Gauss-Hermite quadrature")


def _evenness(activation: Activation, z: torch.Tensor) -> float:
    total = activation.derivative(z) + activation.derivative(-z)
    return float(total.max() - total.min())


C3 = Family("C3", "what separates the centres for a wide network", MEMBERS, check_geometry, experiment_geometry)
