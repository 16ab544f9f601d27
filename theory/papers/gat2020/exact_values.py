"""Values in closed form or to 20 digits, and the warning that they hold (F8): the bound grows while the entropy stays.

1 + sin(k x)/2 under N(0, 1) has entropy below .065 for every k, and half its Fisher information grows as k^2: whoever
maximises the information may leave the entropy where it was. Reference values come from the trapezoidal rule in 30
digits, which converges exponentially for these functions; the library's are Gauss-Hermite in float64.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import mpmath
import numpy as np
import sympy as sp

from theory import checks
from theory.claim import Family, symbols
from theory.entropy import Evaluations, Gaussian, closed_forms, evaluate
from theory.estimate import Estimate
from theory.papers.gat2020.claims import Ent, Var, energy, half, stated
from theory.verdict import Verdicts

reference, reference_half, variance_, energy_, k, exponent = symbols(
    "reference reference_half variance_ energy_ k exponent"
)
_OWN = {
    "reference": "Ent(f) to 20 digits [unit of f]",
    "reference_half": "half the Fisher information to 20 digits [unit of f]",
    "variance_": "variance in closed form [squared unit of f]",
    "energy_": "Dirichlet energy in closed form [squared unit of f]",
    "k": "frequency in 1 + sin(k x)/2 [1]",
    "exponent": "exponent p in half the Fisher information ~ k^p [1]",
}
_TEX = {"reference": r"\mathrm{Ent}_{\mathrm{exact}}", "reference_half": r"\frac{1}{2}I_{\mathrm{exact}}"}
_TEX |= {"variance_": r"\mathrm{Var}_{\mathrm{exact}}", "energy_": r"\mathcal{E}_{\mathrm{exact}}", "exponent": "p"}

ENTROPY = stated(
    "F8.entropy", "entropy by quadrature", lambda: sp.Eq(Ent, reference), _OWN, notation=_TEX, kind="identity"
)
HALF = stated(
    "F8.information",
    "half the Fisher information by quadrature",
    lambda: sp.Eq(half, reference_half),
    _OWN,
    notation=_TEX,
    kind="identity",
)
VARIANCE = stated(
    "F8.variance", "variance by quadrature", lambda: sp.Eq(Var, variance_), _OWN, notation=_TEX, kind="identity"
)
ENERGY = stated(
    "F8.energy", "Dirichlet energy by quadrature", lambda: sp.Eq(energy, energy_), _OWN, notation=_TEX, kind="identity"
)
FLAT = stated(
    "F8.flat",
    "1 + sin(k x)/2: the entropy is at most 1/8, whatever the frequency",
    lambda: sp.Le(Ent, sp.Rational(1, 8)),
    _OWN,
    hypotheses=(("k > 0", sp.Gt(k, 0)),),
)
GROWS = stated(
    "F8.grows",
    "while its bound grows as the square of the frequency",
    lambda: sp.Eq(exponent, 2),
    _OWN,
    notation=_TEX,
    kind="rate",
    tolerance=sp.Rational(1, 5),
)

x = sp.Symbol("x", real=True)


@dataclass(frozen=True)
class Example:
    """A function of one standard normal variable: sympy expression, and nodes that quadrature needs for it."""

    expression: Any
    order: int


EXAMPLES = {
    "1 + x^2": Example(1 + x**2, 400),
    "cosh(x)": Example(sp.cosh(x), 100),
    **{f"1 + sin({j}x)/2": Example(1 + sp.sin(j * x) / 2, 400 if j < 2 else 4000) for j in range(1, 7)},
}


@lru_cache
def digits(name: str) -> tuple[float, float]:
    """Entropy and half the Fisher information of an example, to double precision.

    The trapezoidal rule with step 1/32 on [-13, 13]: its error is about exp(-64 pi d), d the distance of the nearest
    complex singularity, at least .21 here; the tail beyond 13 weighs 1e-37.
    """
    f, slope = (sp.lambdify(x, one, "mpmath") for one in _pair(name))
    with mpmath.workdps(30):
        nodes = [mpmath.mpf(j) / 32 for j in range(-13 * 32, 13 * 32 + 1)]
        weights = [mpmath.exp(-z * z / 2) / mpmath.sqrt(2 * mpmath.pi) / 32 for z in nodes]
        at = [f(z) for z in nodes]
        mean = mpmath.fdot(weights, at)
        entropy = mpmath.fdot(weights, [value * mpmath.log(value / mean) for value in at])
        information = mpmath.fdot(weights, [slope(z) ** 2 / value for z, value in zip(nodes, at, strict=True)])
    return float(entropy), float(information) / 2


def measured(name: str) -> Evaluations:
    """An example by Gauss-Hermite quadrature in float64."""
    example = EXAMPLES[checks.choice("example", name, EXAMPLES)]
    f, slope = (sp.lambdify(x, one, "numpy") for one in _pair(name))
    gradient: Callable[..., Any] = slope
    return evaluate(lambda z: f(z[:, 0]), Gaussian.standard(1), gradient=gradient, order=example.order)


def check_values(name: str, found: Evaluations | None = None, **record: Any) -> Verdicts:
    """Judge F8's values on evaluations of one of `EXAMPLES` under N(0, 1).

    Args:
        name: of the example.
        found: evaluations with gradients; by quadrature by default. From draws an identity stays inconclusive: whether
            the value lies in the interval is then the question, not whether they are equal to ten digits.
        **record: `settings` and `seed` for the verdicts.

    Raises:
        InvalidInput: another name.
    """
    checks.choice("example", name, EXAMPLES)
    found = measured(name) if found is None else found
    exact, exact_half = (Estimate.computed(value) for value in digits(name))
    expression = EXAMPLES[name].expression
    closed = [float(one(expression, [x])) for one in (closed_forms.variance, closed_forms.poincare_bound)]
    return Verdicts(
        [
            ENTROPY.check(Ent=found.entropy(), reference=exact, **record),
            HALF.check(half=found.log_sobolev_bound(), reference_half=exact_half, **record),
            VARIANCE.check(Var=found.variance(), variance_=closed[0], **record),
            ENERGY.check(energy=found.poincare_bound(), energy_=closed[1], **record),
        ]
    )


def check_waves(frequencies: Any, **record: Any) -> Verdicts:
    """Judge F8.flat and F8.grows on 1 + sin(k x)/2, by quadrature.

    Args:
        frequencies: the k, at least three.
        **record: `settings` and `seed` for the verdicts.
    """
    chosen = np.array([checks.number("frequency", one) for one in frequencies])
    line = Gaussian.standard(1)
    several = []
    for j in chosen:

        def f(z: Any, j: float = j) -> Any:
            return 1 + np.sin(j * z[:, 0]) / 2

        def slope(z: Any, j: float = j) -> Any:
            return j * np.cos(j * z) / 2

        several.append(evaluate(f, line, gradient=slope, order=4000))
    entropies = [one.entropy() for one in several]
    halves = np.array([float(one.log_sobolev_bound().value) for one in several])
    verdicts = Verdicts(FLAT.check(Ent=one, k=float(j), **record) for one, j in zip(entropies, chosen, strict=True))
    verdicts.append(GROWS.check(exponent=Estimate.exponent(chosen, halves), **record))
    return verdicts


def experiment(budget: str = "small", seed: int = 0) -> Verdicts:
    """F8 on all examples; deterministic.

    Args:
        budget: "small" (three examples, frequencies 2 to 6) or "full" (all; 2 to 8).
        seed: not used.
    """
    small = checks.choice("budget", budget, ("small", "full")) == "small"
    verdicts = Verdicts()
    for name in list(EXAMPLES)[: 3 if small else None]:
        verdicts += check_values(name, settings={"f": name})
    verdicts += check_waves(range(2, 7 if small else 9), settings={"f": "1 + sin(k x)/2"}, seed=seed)
    return verdicts


def _pair(name: str) -> tuple[Any, Any]:
    expression = EXAMPLES[checks.choice("example", name, EXAMPLES)].expression
    return expression, sp.diff(expression, x)


F8 = Family(
    "F8",
    "values in closed form; a bound that grows while the entropy stays",
    (ENTROPY, HALF, VARIANCE, ENERGY, FLAT, GROWS),
    check_values,
    experiment,
)
