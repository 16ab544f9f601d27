"""Entropy between multiples of the variance (F9): half the variance over the mean, up to the third moment.

For f that varies little the entropy is half the variance over the mean, so the two forms of the regulariser agree; for
large peaks it is anything between that and the variance over the mean. Proofs in paper_notes/gat2020.md.
"""

from typing import Any

import numpy as np
import sympy as sp

from theory import checks, seeding
from theory.arrays import Array
from theory.claim import Family, symbols
from theory.estimate import Estimate
from theory.papers.gat2020.claims import Ent, Var, law_entropy, mean, stated
from theory.papers.gat2020.shifts import law, random_law
from theory.verdict import Verdicts

gap, third, least, largest = symbols("gap third least largest")
_OWN = {
    "gap": "|Ent(f) - Var f/(2 E f)| [unit of f]",
    "third": "E|f - E f|^3 [cubed unit of f]",
    "least": "min f [unit of f]",
    "largest": "max f [unit of f]",
}
_TEX = {"gap": r"|\mathrm{Ent}(f)-\mathrm{Var}f/(2Ef)|", "third": r"E|f-Ef|^3", "least": r"(\min f)"}
_TEX |= {"largest": r"\max f"}
_MEAN = ("E f > 0", sp.Gt(mean, 0))

TAYLOR = stated(
    "F9.taylor",
    "half the variance over the mean, up to the third moment",
    lambda: sp.Le(gap, third / (6 * least**2)),
    _OWN,
    notation=_TEX,
    hypotheses=(_MEAN, ("f > 0", sp.Gt(least, 0))),
)
LOWER = stated(
    "F9.lower",
    "from below",
    lambda: sp.Le(3 * Var / (2 * mean * (2 + largest / mean)), Ent),
    _OWN,
    notation=_TEX,
    hypotheses=(_MEAN, ("f >= 0", sp.Ge(least, 0))),
)
UPPER = stated(
    "F9.upper",
    "from above",
    lambda: sp.Le(Ent, Var / mean),
    _OWN,
    notation=_TEX,
    hypotheses=(_MEAN, ("f >= 0", sp.Ge(least, 0))),
)


def check_two_sided(values: Array, weights: Array | None = None, **record: Any) -> Verdicts:
    """Judge F9 for f >= 0 under a finite law: your draws (each with the same weight), or nodes with weights.

    Args:
        values: f, (n,).
        weights: probabilities, (n,); equal ones by default.
        **record: `settings` and `seed` for the verdicts.

    Raises:
        InvalidInput: f < 0, f = 0 everywhere, shapes that do not match.
    """
    v, w = law(values, weights)
    average = float(v @ w)
    centred = v - average
    variance, cubed = float(centred**2 @ w), float(np.abs(centred) ** 3 @ w)
    value, error = law_entropy(v, w)
    apart = Estimate.computed(abs(value - variance / (2 * average)), error=error + 1e-13 * variance / average)
    estimate = Estimate.computed(value, error=error)
    common: dict[str, Any] = {"mean": average, "least": float(v.min())}
    return Verdicts(
        [
            TAYLOR.check(gap=apart, third=cubed, **common, **record),
            LOWER.check(Ent=estimate, Var=variance, largest=float(v.max()), **common, **record),
            UPPER.check(Ent=estimate, Var=variance, **common, **record),
        ]
    )


def experiment(budget: str = "small", seed: int = 0) -> Verdicts:
    """F9 on random finite laws, and on laws that vary by a thousandth.

    Args:
        budget: "small" (40 laws) or "full" (2,000).
        seed: of the draws.
    """
    draw = seeding.numpy_generator("laws for F9", seed)
    verdicts = Verdicts()
    for number in range(40 if checks.choice("budget", budget, ("small", "full")) == "small" else 2000):
        values, weights = random_law(draw)
        if number % 4 == 0:
            values = 1 + 1e-3 * values / values.max()
        verdicts += check_two_sided(values, weights, settings={"law": number}, seed=seed)
    return verdicts


F9 = Family("F9", "entropy between multiples of the variance", (TAYLOR, LOWER, UPPER), check_two_sided, experiment)
