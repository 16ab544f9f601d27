"""Log-Sobolev with the constant of N(0, 1) fails for every other law of variance 1 (F10).

If Var f <= E f'^2 held for all f under a law of variance 1, then f = x + t g with small t of either sign gives
Cov(x, g) = E g' for all g, and by Stein's characterisation the law is N(0, 1). So for every other law some f violates
it, and (1 + s f)^2 with a small s violates log-Sobolev, which is the stronger inequality. Proofs in
paper_notes/gat2020.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp

from theory import checks, seeding
from theory.claim import Claim, Family, symbols
from theory.entropy import Evaluations
from theory.estimate import Estimate
from theory.papers.gat2020.claims import Ent, Var, energy, half, stated
from theory.verdict import Status, Verdicts

spread, discrepancy, convex = symbols("spread discrepancy convex")
_OWN = {
    "spread": "variance of the law [1]",
    "convex": "1 if the law is exp(-V) on an interval with V'' >= 1 there, else 0 [1]",
    "discrepancy": "|Cov(x, g) - E g'| [unit of g]",
}
_TEX = {"spread": r"\mathrm{Var}(x)", "discrepancy": r"|\mathrm{Cov}(x,g)-E g'|"}
_ONE = ("the law has variance 1", sp.Le(sp.Abs(spread - 1), sp.Rational(1, 10**9)))
_STEIN = ("Stein's identity fails for g", sp.Gt(discrepancy, 0))

POINCARE = stated(
    "F10.poincare",
    "some f = x + t g varies more than Poincare with constant 1 allows",
    lambda: sp.Gt(Var, energy),
    _OWN,
    notation=_TEX,
    hypotheses=(_ONE, _STEIN),
)
SOBOLEV = stated(
    "F10.log_sobolev",
    "and (1 + s f)^2 with a small s has more entropy than log-Sobolev with constant 1 allows",
    lambda: sp.Gt(Ent, half),
    _OWN,
    notation=_TEX,
    hypotheses=(_ONE, _STEIN),
)


def _refuted(name: str, words: str) -> Claim:
    return stated(
        f"F10.{name}",
        f"control: log-Sobolev with constant 1 under {words}",
        lambda: sp.Le(Ent, half),
        _OWN,
        notation=_TEX,
        hypotheses=(_ONE,),
        expected=Status.VIOLATED,
    )


TWO_POINTS = _refuted("two_points", "X = 1 or -1, f = 1 + sin(pi x/2)/2")
LAPLACE = _refuted("laplace", "Laplace's law, f = exp(a x)")
UNIFORM = _refuted("uniform", "the uniform law, f = 1 + sin(pi x/(2 sqrt 3))/2")
TRUNCATED = stated(
    "F10.truncated",
    "N(0, 1) restricted to [-1, 1] does satisfy it, its potential being as convex",
    lambda: sp.Le(Ent, half),
    _OWN,
    notation=_TEX,
    hypotheses=(("the law is exp(-V) on an interval, V'' >= 1", sp.Eq(convex, 1)),),
    reference="Bakry & Emery (1985)",
)


@dataclass(frozen=True)
class Law:
    """A law on the line as a quadrature rule.

    Attributes:
        nodes: (n,).
        weights: (n,), with sum 1.
        convex: whether the law has density exp(-V) on an interval with V'' >= 1, which nodes can't tell.
    """

    nodes: np.ndarray
    weights: np.ndarray
    convex: bool = False

    @property
    def variance(self) -> float:
        """Var x."""
        return float(self.weights @ (self.nodes - self.weights @ self.nodes) ** 2)


def _laws(order: int = 200) -> dict[str, Law]:
    from scipy.special import roots_hermitenorm, roots_laguerre, roots_legendre

    x, w = roots_legendre(order)
    y, v = roots_laguerre(order // 2)
    z, u = roots_hermitenorm(order)
    inside = np.exp(-x * x / 2) * w
    both = np.concatenate([y, -y]) / np.sqrt(2)
    return {
        "two points": Law(np.array([-1.0, 1.0]), np.array([0.5, 0.5])),
        "Laplace": Law(both, np.concatenate([v, v]) / (2 * v.sum())),
        "uniform": Law(np.sqrt(3) * x, w / 2),
        "truncated": Law(x, inside / inside.sum(), convex=True),
        "normal": Law(z, u / u.sum(), convex=True),
    }


LAWS = _laws()
"""Variance 1 each, but for the truncated normal law."""

Scalar = Callable[[np.ndarray], np.ndarray]


def wave(width: float) -> tuple[Scalar, Scalar]:
    """1 + sin(pi x/(2 width))/2 and its derivative: flat at both ends of [-width, width]."""
    rate = np.pi / (2 * width)
    return lambda x: 1 + np.sin(rate * x) / 2, lambda x: rate * np.cos(rate * x) / 2


def check_law(law: Law, f: Scalar, derivative: Scalar, claim: Claim = TRUNCATED, **record: Any) -> Verdicts:
    """Judge log-Sobolev with constant 1 for your f >= 0 under a law given by a quadrature rule.

    Args:
        law: nodes and weights; exact for f, or nearly.
        f: (n,) -> (n,).
        derivative: f', likewise.
        claim: which member of F10 to judge; all but F10.poincare and F10.log_sobolev read alike.
        **record: `settings` and `seed` for the verdicts.

    Raises:
        InvalidInput: f < 0 somewhere, shapes that do not match.
    """
    found = _evaluations(law, f, derivative)
    own: dict[str, Any] = {"convex": int(law.convex)}
    if claim is not TRUNCATED:
        own = {"spread": Estimate.computed(law.variance, error=1e-10)}
    return Verdicts([claim.check(Ent=found.entropy(), half=found.log_sobolev_bound(), **own, **record)])


def check_stein(law: Law, g: Scalar, derivative: Scalar, *, size: float = 1e-2, **record: Any) -> Verdicts:
    """Judge F10.poincare and F10.log_sobolev: from a g for which Stein's identity fails, make the violations.

    Args:
        law: of variance 1, as a quadrature rule; under a law of bounded support any g will do.
        g: bounded, (n,) -> (n,).
        derivative: g', likewise.
        size: s in (1 + s f)^2.
        **record: `settings` and `seed` for the verdicts.

    Returns:
        Both; out of scope where Cov(x, g) = E g' up to 1e-9 or the law's variance is not 1.
    """
    x, w = law.nodes, law.weights
    values, slopes = g(x), derivative(x)
    centred = values - w @ values
    gap = float(w @ (x * centred) - w @ slopes)
    curvature = float(w @ slopes**2 - w @ centred**2)
    # Var - energy = (Var x - 1) + 2 t gap - t^2 curvature: largest at t = gap/curvature, and at any t if that is < 0
    t = gap / curvature if curvature > 0 else np.sign(gap)
    excess = Estimate.computed(abs(gap) if abs(gap) > 1e-9 else 0.0, relative=1e-6)
    own: dict[str, Any] = {"spread": Estimate.computed(law.variance, error=1e-10), "discrepancy": excess}
    f, slope = (lambda y: y + t * g(y)), (lambda y: 1 + t * derivative(y))
    first = _evaluations(law, f, slope)
    second = _evaluations(law, lambda y: (1 + size * f(y)) ** 2, lambda y: 2 * size * (1 + size * f(y)) * slope(y))
    return Verdicts(
        [
            POINCARE.check(Var=first.variance(), energy=first.poincare_bound(), **own, **record),
            SOBOLEV.check(Ent=second.entropy(), half=second.log_sobolev_bound(), **own, **record),
        ]
    )


def experiment(budget: str = "small", seed: int = 0) -> Verdicts:
    """F10: the three exhibits, the positive control on waves of random frequency, and Stein's construction.

    Args:
        budget: "small" (10 waves) or "full" (1,000).
        seed: of the frequencies.
    """
    waves = 10 if checks.choice("budget", budget, ("small", "full")) == "small" else 1000
    verdicts = check_law(LAWS["two points"], *wave(1), TWO_POINTS, settings={"law": "two points"})
    for a in (0.5, 1.0):
        exponential = (lambda x, a=a: np.exp(a * x)), (lambda x, a=a: a * np.exp(a * x))
        verdicts += check_law(LAWS["Laplace"], *exponential, LAPLACE, settings={"law": "Laplace", "a": a})
    verdicts += check_law(LAWS["uniform"], *wave(np.sqrt(3)), UNIFORM, settings={"law": "uniform"})
    draw = seeding.numpy_generator("waves for F10", seed)
    for width in np.exp(draw.uniform(-1.5, 2, size=waves)):
        record: dict[str, Any] = {"settings": {"law": "truncated normal", "width": float(width)}, "seed": seed}
        verdicts += check_law(LAWS["truncated"], *wave(width), **record)
    for name in ("two points", "Laplace", "uniform"):
        verdicts += check_stein(LAWS[name], np.tanh, lambda x: np.cosh(x) ** -2.0, settings={"law": name, "g": "tanh"})
    return verdicts


def _evaluations(law: Law, f: Scalar, derivative: Scalar) -> Evaluations:
    return Evaluations(f(law.nodes), derivative(law.nodes)[:, None], np.eye(1), weights=law.weights)


F10 = Family(
    "F10",
    "other laws of variance 1 violate log-Sobolev with constant 1",
    (POINCARE, SOBOLEV, TWO_POINTS, LAPLACE, UNIFORM, TRUNCATED),
    check_law,
    experiment,
)
