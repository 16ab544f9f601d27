"""What a truncated Neumann series leaves out, exactly (H1): H^{-1} - P_K = (I - alpha H)^{K+1} H^{-1}.

P_K = alpha sum_{j=0..K} (I - alpha H)^j, any regular H, symmetric or not, any step, convergent or not. Over the
rationals there is no tolerance. Cf. Lorraine et al. (2020); proof in paper_notes/raghu2021.md.
"""

from fractions import Fraction
from typing import Any

import numpy as np
import sympy as sp

from theory import arrays, checks, seeding
from theory.arrays import Array
from theory.claim import Family
from theory.estimate import Estimate
from theory.papers.raghu2021 import rational
from theory.papers.raghu2021.claims import derived, symbol
from theory.papers.raghu2021.systems import growth
from theory.verdict import Verdicts

_EPS = float(np.finfo(float).eps)
gap, rest = symbol("gap"), symbol("rest")
IDENTITY = derived(
    "H1.remainder",
    "what K+1 terms leave out of the inverse is the next power, times the inverse",
    lambda: sp.Eq(gap, rest),
    {"gap": "entry of H^{-1} - P_K [1/curvature]", "rest": "the same entry of (I - alpha H)^{K+1} H^{-1}"},
    kind="identity",
    tolerance=sp.Rational(1, 10**12),
)


def check_identity(H: Array, alpha: Any, order: int, **record: Any) -> Verdicts:
    """Judge H1 on a regular matrix: exactly for ints and Fractions, to 1e-12 for floats.

    Args:
        H: (p, p); integers or Fractions with a rational `alpha` are computed without rounding.
        alpha: an int, a Fraction or a float, any value.
        order: K >= 0.
        **record: `settings` and `seed` for the verdicts.

    Returns:
        One row, an entry per entry of H. Float entries are compared on the scale cond(H) ||H^{-1}|| times the growth
        max(1, ||I - alpha H||)^{K+1}: no computed inverse is better than that. From cond(H) = 1e9 or so on the verdict
        is inconclusive; use Fractions.

    Raises:
        InvalidInput: H is singular or not square, order < 0, alpha is not finite or its powers leave float range.
    """
    order = checks.integer("order", order, minimum=0)
    raw = np.asarray(H)
    exact = isinstance(alpha, (int, Fraction)) and raw.dtype.kind in "iuO"
    if exact:
        checks.matrix("H", raw, columns=len(raw))
        left, right = rational.sides(raw, Fraction(alpha), order)
        return Verdicts([IDENTITY.check(gap=left, rest=right, **record)])
    (tensor,), _ = arrays.tensors(H=H)
    alpha = checks.number("alpha", alpha)
    A = tensor.double().numpy(force=True)
    checks.matrix("H", A, columns=len(A))
    values = np.linalg.svd(A, compute_uv=False)
    if values[-1] <= len(A) * _EPS * values[0]:
        checks.fail("H", "a regular matrix", f"singular values from {values[0]:.3g} to {values[-1]:.3g}", "add a ridge")
    step = np.eye(len(A)) - alpha * A
    inverse, term = np.linalg.inv(A), alpha * np.eye(len(A))
    total = term.copy()
    for _ in range(order):
        term = term @ step
        total += term
    scale = float(1 / values[-1]) * growth(float(np.linalg.norm(step, 2)), order)
    condition = float(values[0] / values[-1])
    noise = 4 * _EPS * (order + len(A)) * condition * scale
    scale *= min(condition, 1e6)  # beyond, the tolerance would swallow P_K: rounding leaves the verdict open instead
    remainder = np.linalg.matrix_power(step, order + 1) @ inverse
    sides = {"gap": inverse - total, "rest": remainder}
    measured: dict[str, Any] = {name: Estimate.computed(side, error=noise * 0.05) for name, side in sides.items()}
    return Verdicts([IDENTITY.check(**measured, scale=scale, **record)])


def experiment_identity(budget: str = "small", seed: int = 0) -> Verdicts:
    """H1 on random integer matrices (regular, not symmetric), exactly, and on random float matrices.

    Args:
        budget: "small" (40 and 40 matrices) or "full" (500 and 500).
        seed: of the draws.
    """
    count = 40 if checks.choice("budget", budget, ("small", "full")) == "small" else 500
    draw = seeding.numpy_generator("matrices for H1", seed)
    verdicts = Verdicts()
    while len(verdicts) < count:
        size = int(draw.integers(1, 6))
        H = draw.integers(-4, 5, (size, size))
        alpha = Fraction(int(draw.integers(-9, 10)), int(draw.integers(1, 10)))
        if round(float(np.linalg.det(H))) != 0:
            settings = {"arithmetic": "rational", "alpha": str(alpha)}
            verdicts += check_identity(H, alpha, int(draw.integers(0, 9)), settings=settings, seed=seed)
    while len(verdicts) < 2 * count:
        A = draw.standard_normal((int(draw.integers(1, 9)),) * 2)
        if np.linalg.cond(A) < 1e6:
            step = float(draw.uniform(-1, 2) / np.linalg.norm(A, 2))
            settings = {"arithmetic": "float64"}
            verdicts += check_identity(A, step, int(draw.integers(0, 9)), settings=settings, seed=seed)
    return verdicts


H1 = Family("H1", "the remainder of the Neumann series", (IDENTITY,), check_identity, experiment_identity)
