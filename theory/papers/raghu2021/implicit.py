"""Two checks on the implicit gradient itself: unrolled descent from w* is the Neumann series (H4), and on a quadratic
inner problem it is the derivative that finite differences see (H5).

Cf. Lorraine et al. (2020); proofs in paper_notes/raghu2021.md.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp
import torch
from torch import Tensor

from theory import checks, seeding
from theory.claim import Family
from theory.derivatives import Expansion, Flat, Loss, scalar
from theory.estimate import Estimate
from theory.hypergradient import hypergradient
from theory.papers.raghu2021.claims import derived, stationarity, symbol
from theory.verdict import Verdicts

unrolled, series, implicit, differences, bend = (
    symbol(name) for name in ("unrolled", "series", "implicit", "differences", "bend")
)
UNROLLED = derived(
    "H4.unrolled",
    "differentiating K+1 steps of descent from w*, held constant, is the Neumann series of order K",
    lambda: sp.Eq(unrolled, series),
    {
        "unrolled": "entry of the gradient through K+1 steps",
        "series": "the same entry of the hypergradient with P_K",
        "stationarity": "||grad_w L_T|| at w over ||H|| (1 + ||w||) [1]",
    },
    kind="identity",
    tolerance=sp.Rational(1, 10**12),
    hypotheses=(("w is stationary, to 1e-14", sp.Le(stationarity, sp.Rational(1, 10**14))),),
)
DIFFERENCES = derived(
    "H5.differences",
    "on a quadratic inner problem the implicit gradient is what central differences of L_V(w*(phi), phi) tend to",
    lambda: sp.Eq(implicit, differences),
    {
        "implicit": "entry of the hypergradient",
        "differences": "central difference in that entry, extrapolated once",
        "bend": "relative change of the Hessian from w over a step of length 1, and to w* [1]",
    },
    kind="identity",
    tolerance=sp.Rational(1, 10**8),
    hypotheses=(("the inner loss is quadratic in w", sp.Le(bend, sp.Rational(1, 10**9))),),
)


def check_unrolled(
    inner: Loss, outer: Loss, w: Any, phi: Any, order: int, *, alpha: float | None = None, **record: Any
) -> Verdicts:
    """Judge H4 at a minimum w of a smooth inner loss, in float64.

    Args:
        inner: L_T(w, phi) -> scalar.
        outer: L_V(w, phi) -> scalar.
        w: where descent starts: in scope if it is stationary.
        phi: likewise as for `hypergradient`.
        order: K >= 0.
        alpha: the step; 1/L_hat by default.
        **record: `settings` and `seed` for the verdicts.

    Returns:
        One row, an entry per entry of phi, compared on the scale of the largest.

    Raises:
        InvalidInput: as `hypergradient` does.
    """
    order = checks.integer("order", order, minimum=0)
    in_double(w=w, phi=phi)
    one = hypergradient(inner, outer, w, phi, "neumann", order=order, alpha=alpha)
    other = hypergradient(inner, outer, w, phi, "unrolled", steps=order + 1, alpha=one.alpha)
    sides = [Flat("gradient", found.gradient).vector.double().numpy(force=True) for found in (other, one)]
    scale = float(np.abs(sides[1]).max())
    assert one.largest is not None and one.stationarity is not None
    moving = one.stationarity / (one.largest * (1 + float(torch.linalg.vector_norm(Flat("w", w).vector))))
    measured: dict[str, Any] = {
        name: Estimate.computed(side, error=1e-14 * scale)
        for name, side in zip(("unrolled", "series"), sides, strict=True)
    }
    return Verdicts([UNROLLED.check(**measured, stationarity=moving, scale=scale, **record)])


def check_differences(inner: Loss, outer: Loss, w: Any, phi: Any, *, step: float = 1e-3, **record: Any) -> Verdicts:
    """Judge H5: re-solve the inner problem at phi +- step along every coordinate, by one Newton step from w.

    Args:
        inner: L_T(w, phi), quadratic in w with a regular Hessian: a dense one is formed at every point.
        outer: L_V(w, phi) -> scalar.
        w: any point.
        phi: of a few entries, each of order 1.
        step: of the differences; theirs and half of it are extrapolated to an error of order step^4.
        **record: `settings` and `seed` for the verdicts.

    Raises:
        InvalidInput: as `hypergradient` does.
    """
    checks.number("step", step, 0, open_low=True)
    in_double(w=w, phi=phi)
    flat_w, flat_phi = Flat("w", w), Flat("phi", phi)

    def solved(at: Tensor) -> Tensor:
        expansion = Expansion(inner, flat_w, Flat("phi", flat_phi.restore(at)), "inner")
        return flat_w.vector - solve(expansion.dense(), expansion.gradient)

    def value(at: Tensor) -> float:
        return float(scalar(outer, flat_w, flat_phi, solved(at), at, "outer"))

    best = flat_w.restore(solved(flat_phi.vector))
    gradient = Flat("gradient", hypergradient(inner, outer, best, phi, "exact").gradient).vector.numpy(force=True)
    found = np.array([_extrapolated(value, flat_phi.vector, i, step) for i in range(flat_phi.size)])
    H = Expansion(inner, flat_w, flat_phi, "inner").dense()
    away = flat_w.restore(flat_w.vector + torch.ones_like(flat_w.vector) / flat_w.size**0.5)
    there = [Expansion(inner, Flat("w", point), flat_phi, "inner").dense() for point in (away, best)]
    change = max(float(torch.linalg.matrix_norm(other - H) / torch.linalg.matrix_norm(H)) for other in there)
    scale = float(np.abs(gradient).max())
    measured: dict[str, Any] = {
        "implicit": Estimate.computed(gradient, error=1e-12 * scale),
        "differences": Estimate.computed(found, error=1e-12 * scale),
        "bend": change,
    }
    return Verdicts([DIFFERENCES.check(**measured, scale=scale, **record)])


def quadratic(draw: np.random.Generator, p: int = 6, m: int = 4) -> tuple[Loss, Loss, Tensor, Tensor]:
    """A ridge regression with weighted examples, decay exp(phi_0), a validation loss: (inner, outer, w, phi)."""
    X, V = (torch.from_numpy(draw.standard_normal((rows, p))) for rows in (m + 5, 7))
    y, z = torch.from_numpy(draw.standard_normal(m + 5)), torch.from_numpy(draw.standard_normal(7))
    phi = torch.from_numpy(draw.uniform(0.5, 1.5, m))

    def inner(w: Tensor, phi: Tensor) -> Tensor:
        weights = torch.cat([phi[1:], phi.new_ones(len(y) - len(phi) + 1)])
        return (weights * (X @ w - y) ** 2).sum() / 2 + torch.exp(phi[0]) / 2 * (w**2).sum()

    def outer(w: Tensor, phi: Tensor) -> Tensor:
        return torch.logaddexp(torch.zeros_like(z), -z * (V @ w)).sum() + phi[0] * w[0] / 10

    return inner, outer, torch.from_numpy(draw.standard_normal(p)), phi


def experiment_unrolled(budget: str = "small", seed: int = 0) -> Verdicts:
    """H4 at the minima of random weighted ridge regressions, K from 0 to 20.

    Args:
        budget: "small" (15 problems) or "full" (300).
        seed: of the draws.
    """
    count = 15 if checks.choice("budget", budget, ("small", "full")) == "small" else 300
    draw = seeding.numpy_generator("problems for H4", seed)
    verdicts = Verdicts()
    for _ in range(count):
        inner, outer, w, phi = quadratic(draw)
        order = int(draw.integers(0, 21))
        best = minimum(inner, w, phi)
        verdicts += check_unrolled(inner, outer, best, phi, order, settings={"K": order}, seed=seed)
    return verdicts


def experiment_differences(budget: str = "small", seed: int = 0) -> Verdicts:
    """H5 on random weighted ridge regressions: 10 problems (small) or 200 (full)."""
    count = 10 if checks.choice("budget", budget, ("small", "full")) == "small" else 200
    draw = seeding.numpy_generator("problems for H5", seed)
    return Verdicts(row for _ in range(count) for row in check_differences(*quadratic(draw), seed=seed))


def minimum(inner: Loss, w: Tensor, phi: Tensor, steps: int = 60) -> Tensor:
    """w* by damped Newton steps from w, until the gradient stops falling; for small, strongly convex inner losses."""
    flat_phi = Flat("phi", phi)
    at = Expansion(inner, Flat("w", w), flat_phi, "inner")
    for _ in range(steps):
        move, norm, length = solve(at.dense(), at.gradient), torch.linalg.vector_norm(at.gradient), 1.0
        while length > 1e-6:
            there = Expansion(inner, Flat("w", w - length * move), flat_phi, "inner")
            if bool(torch.linalg.vector_norm(there.gradient) < norm):
                break
            length /= 2
        else:
            return w
        w, at = there.w.vector, there
    return w


def solve(H: Tensor, right: Tensor) -> Tensor:
    """H^{-1} times a vector or columns.

    Raises:
        InvalidInput: H is singular.
    """
    found, failed = torch.linalg.solve_ex(H, right)
    if int(failed):
        checks.fail("Hessian", "an invertible matrix", "a singular one", "add a ridge to the inner loss")
    return found


def in_double(**given: Any) -> None:
    """Refuse other tensors than float64: tolerances are those of its rounding.

    Raises:
        InvalidInput: a tensor of another type, or none.
    """
    for name, tree in given.items():
        dtype = Flat(name, tree).vector.dtype
        if dtype != torch.float64:
            checks.fail(
                name, "float64: a claim is judged to its rounding", dtype, "convert all, losses too, by .double()"
            )


def _extrapolated(value: Callable[[Tensor], float], phi: Tensor, i: int, step: float) -> float:
    def difference(h: float) -> float:
        moved = torch.zeros_like(phi)
        moved[i] = h
        return (value(phi + moved) - value(phi - moved)) / (2 * h)

    return (4 * difference(step / 2) - difference(step)) / 3


H4 = Family("H4", "unrolled descent from w* is the Neumann series", (UNROLLED,), check_unrolled, experiment_unrolled)
H5 = Family("H5", "the implicit gradient is a derivative", (DIFFERENCES,), check_differences, experiment_differences)
