"""What it costs to stop the inner problem early: the hypergradient at w instead of w* (H6).

For L_T = w'Hw/2 - b(phi)'w, with H free of phi and B = d2_{w phi} L_T free of w, and an outer loss free of phi with
an Lv-Lipschitz gradient, g(w) = -B^T H^{-1} grad L_V(w) errs by at most ||B|| Lv ||grad_w L_T(w)||/mu^2. Weights of
examples and masks move H: they need H7 (`certificate`). Derived; proofs in paper_notes/raghu2021.md.
"""

from typing import Any

import numpy as np
import sympy as sp
import torch
from torch import Tensor

from theory import checks, seeding
from theory.claim import Family
from theory.derivatives import Expansion, Flat, Loss, rows, scalar
from theory.estimate import Estimate
from theory.papers.raghu2021.claims import POSITIVE, derived, mu, symbol
from theory.papers.raghu2021.implicit import in_double, minimum, solve
from theory.verdict import Verdicts

_EPS = float(np.finfo(float).eps)
moved, distance, slope, Lv, solved, size, drift, direct = (
    symbol(name) for name in ("moved", "distance", "slope", "Lv", "solved", "size_B", "drift", "direct")
)
_WORDS = {
    "moved": "||g(w) - g(w*)||",
    "distance": "||w - w*||",
    "slope": "||grad_w L_T(w)||",
    "Lv": "Lipschitz constant of grad L_V",
    "solved": "||H^{-1} B||_op",
    "size_B": "||B||_op",
    "drift": "largest relative change of H and B between w and w*, and of H as phi moves [1]",
    "direct": "||d_phi L_V|| at w and w*",
}
_FIXED = (
    POSITIVE,
    ("H is free of phi and of w, B is free of w", sp.Le(drift, sp.Rational(1, 10**9))),
    ("L_V is free of phi", sp.Eq(direct, 0)),
)
DISTANCE = derived(
    "H6.distance",
    "an inexact inner solution, by its distance",
    lambda: sp.Le(moved, solved * Lv * distance),
    _WORDS,
    hypotheses=_FIXED,
)
SPECTRAL = derived(
    "H6.spectral",
    "and with ||B||/mu in place of ||H^{-1}B||",
    lambda: sp.Le(moved, size * Lv * distance / mu),
    _WORDS,
    hypotheses=_FIXED,
)
SLOPE = derived(
    "H6.slope",
    "and by the inner gradient, which is known without w*",
    lambda: sp.Le(moved, size * Lv * slope / mu**2),
    _WORDS,
    hypotheses=_FIXED,
)


def check_inexact(inner: Loss, outer: Loss, points: Tensor, phi: Tensor, lipschitz: float, **record: Any) -> Verdicts:
    """Judge H6 at points w away from w*; everything is formed explicitly, in float64.

    Args:
        inner: L_T(w, phi), with a regular Hessian at the points.
        outer: L_V(w, phi) -> scalar.
        points: inner weights, (points, p).
        phi: (m,).
        lipschitz: of grad L_V in w, yours to know: ||X_v||^2/(4 n_v) for a mean logistic loss.
        **record: `settings` and `seed` for the verdicts.

    Returns:
        H6.distance, H6.spectral and H6.slope, a row each.

    Raises:
        InvalidInput: wrong shapes, a loss that is not finite, a Lipschitz constant that is negative.
    """
    constant = checks.number("lipschitz", lipschitz, 0)
    in_double(points=points, phi=phi)
    checks.matrix("points", points)
    scalar(outer, Flat("w", points[0]), Flat("phi", phi), points[0], phi.reshape(-1), "outer")
    best = minimum(inner, points[0], phi)
    H, B, g, direct_part = _parts(inner, outer, best, phi)
    values = torch.linalg.eigvalsh(H)
    drifts = [_change(H, _hessian(inner, best, phi * 1.5 + 0.5))]
    moves, distances, slopes = [], [], []
    for w in points:
        H_, B_, g_, direct_ = _parts(inner, outer, w, phi)
        drifts += [_change(H, H_), _change(B, B_)]
        direct_part = max(direct_part, direct_)
        moves.append(float(torch.linalg.vector_norm(g_ - g)))
        distances.append(float(torch.linalg.vector_norm(w - best)))
        slopes.append(float(torch.linalg.vector_norm(Expansion(inner, Flat("w", w), Flat("phi", phi)).gradient)))
    noise = (
        1e3 * _EPS * float(values.abs().max() / values.abs().min()) * (float(torch.linalg.vector_norm(g)) + max(moves))
    )
    measured: dict[str, Any] = {
        "moved": Estimate.computed(np.array(moves), error=noise),
        "distance": Estimate.computed(np.array(distances), relative=1e-9),
        "slope": Estimate.computed(np.array(slopes), relative=1e-9),
        "Lv": Estimate.exact(constant),
        "solved": Estimate.computed(float(torch.linalg.matrix_norm(solve(H, B), 2)), relative=1e-9),
        "size_B": Estimate.computed(float(torch.linalg.matrix_norm(B, 2)), relative=1e-12),
        "mu": Estimate.computed(float(values[0]), relative=1e-9),
        "drift": max(drifts),
        "direct": Estimate.exact(direct_part),
    }
    return Verdicts(
        claim.check(**{name: measured[name] for name in claim.meanings}, **record)
        for claim in (DISTANCE, SPECTRAL, SLOPE)
    )


def experiment_inexact(budget: str = "small", seed: int = 0) -> Verdicts:
    """H6 on random quadratics with linear b(phi) and a logistic outer loss: 10 problems (small) or 300 (full)."""
    count = 10 if checks.choice("budget", budget, ("small", "full")) == "small" else 300
    draw = seeding.numpy_generator("problems for H6", seed)
    verdicts = Verdicts()
    for _ in range(count):
        inner, outer, lipschitz, p, phi = linear_in_phi(draw)
        points = torch.from_numpy(draw.standard_normal((6, p)) * 10.0 ** draw.uniform(-3, 1, (6, 1)))
        verdicts += check_inexact(inner, outer, points, phi, lipschitz, seed=seed)
    return verdicts


def linear_in_phi(draw: np.random.Generator) -> tuple[Loss, Loss, float, int, Tensor]:
    """(inner, outer, Lipschitz constant of grad L_V, p, phi) of H6's form."""
    p, m = int(draw.integers(2, 8)), int(draw.integers(1, 6))
    root = torch.from_numpy(draw.standard_normal((p, p + 2)))
    H = root @ root.T / (p + 2) + float(10 ** draw.uniform(-2, 0)) * torch.eye(p, dtype=torch.float64)
    B, V = torch.from_numpy(draw.standard_normal((p, m))), torch.from_numpy(draw.standard_normal((5, p)))

    def inner(w: Tensor, phi: Tensor) -> Tensor:
        return w @ H @ w / 2 - (B @ phi) @ w

    def outer(w: Tensor, phi: Tensor) -> Tensor:
        return torch.nn.functional.softplus(V @ w).mean()

    lipschitz = float(torch.linalg.matrix_norm(V, 2)) ** 2 / (4 * len(V))
    return inner, outer, lipschitz, p, torch.from_numpy(draw.standard_normal(m))


def _hessian(inner: Loss, w: Tensor, phi: Tensor) -> Tensor:
    return Expansion(inner, Flat("w", w), Flat("phi", phi), "inner").dense()


def _parts(inner: Loss, outer: Loss, w: Tensor, phi: Tensor) -> tuple[Tensor, Tensor, Tensor, float]:
    """H, B (p, m), the implicit gradient g (m,) and the norm of the direct one, at w."""
    flat_w, flat_phi = Flat("w", w), Flat("phi", phi)
    at = Expansion(inner, flat_w, flat_phi, "inner")
    H = at.dense()
    B = at.mixed_adjoint(torch.eye(len(w), dtype=w.dtype))
    _, v, by_phi, _ = rows(outer, flat_w, flat_phi, "outer")
    return H, B, -B.T @ solve(H, v[0]), float(torch.linalg.vector_norm(by_phi))


def _change(before: Tensor, after: Tensor) -> float:
    return float(torch.linalg.norm(after - before) / torch.linalg.norm(before).clamp(min=1e-300))


H6 = Family(
    "H6",
    "an inexact inner solution, where only a linear term depends on phi",
    (DISTANCE, SPECTRAL, SLOPE),
    check_inexact,
    experiment_inexact,
)
