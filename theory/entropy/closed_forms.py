"""Gaussian expectations in closed form, derived by sympy: polynomials times exponentials, sines, cosh, and their sums.

Under N(m, S) a factor e^{<a, z>} is a shift of the mean by S a (Cameron and Martin), and the expectation of a
polynomial is exp(<S D, D>/2) of it at the mean, D the gradient. Both are exact operations on sympy expressions.
"""

from collections.abc import Sequence
from typing import Any

import sympy as sp

from theory import checks


def expectation(expression: Any, variables: Sequence[Any], mean: Any = None, covariance: Any = None) -> Any:
    """E of an expression of z ~ N(mean, covariance): sums of polynomials times exp, sin, cos or cosh of linear ones.

    Args:
        expression: in sympy.
        variables: the components of z, symbols.
        mean: as many sympy numbers or symbols; 0 by default.
        covariance: sympy Matrix or nested lists; the identity by default.

    Raises:
        InvalidInput: an expression of another kind, shapes that do not match.

    Example:
        >>> x, k = sp.symbols("x k", real=True)
        >>> expectation(sp.sin(k * x) ** 2, [x])
        1/2 - exp(-2*k**2)/2
    """
    z, m, S = _measure(variables, mean, covariance)
    terms = sp.Add.make_args(sp.powsimp(sp.expand(sp.sympify(expression).rewrite(sp.exp))))
    return sp.simplify(sp.Add(*(_term(term, z, m, S) for term in terms)))


def variance(expression: Any, variables: Sequence[Any], mean: Any = None, covariance: Any = None) -> Any:
    """Var of an expression; arguments as for `expectation`.

    Example:
        >>> x = sp.Symbol("x", real=True)
        >>> variance(1 + x**2, [x])
        2
    """
    average = expectation(expression, variables, mean, covariance)
    return sp.simplify(expectation(sp.sympify(expression) ** 2, variables, mean, covariance) - average**2)


def poincare_bound(expression: Any, variables: Sequence[Any], mean: Any = None, covariance: Any = None) -> Any:
    """E<S grad f, grad f> of an expression f; a quarter of the Fisher information of f^2. Arguments as above.

    Example:
        >>> x = sp.Symbol("x", real=True)
        >>> poincare_bound(1 + x**2, [x])
        4
    """
    z, m, S = _measure(variables, mean, covariance)
    gradient = sp.Matrix([sp.diff(expression, one) for one in z])
    return expectation((gradient.T * S * gradient)[0], z, list(m), S)


def exponential_entropy(exponent: Any, variables: Sequence[Any], mean: Any = None, covariance: Any = None) -> Any:
    """Ent(e^g) for linear g, as E[g e^g] - E[e^g] ln E[e^g]. Arguments as above.

    Raises:
        InvalidInput: g is not linear.

    Example:
        >>> a, x = sp.symbols("a x", real=True)
        >>> exponential_entropy(a * x, [x])
        a**2*exp(a**2/2)/2
    """
    average = expectation(sp.exp(exponent), variables, mean, covariance)
    product = expectation(exponent * sp.exp(exponent), variables, mean, covariance)
    return sp.simplify(product - average * sp.expand_log(sp.log(average), force=True))


def _measure(variables: Sequence[Any], mean: Any, covariance: Any) -> tuple[list[Any], Any, Any]:
    z = list(variables)
    m = sp.Matrix([0] * len(z) if mean is None else list(mean))
    S = sp.eye(len(z)) if covariance is None else sp.Matrix(covariance)
    if len(m) != len(z) or S.shape != (len(z), len(z)) or S != S.T:
        wanted = f"{len(z)} entries and a symmetric matrix of that size"
        checks.fail("mean and covariance", wanted, f"{len(m)} and shape {S.shape}", "match the variables")
    return z, m, S


def _term(term: Any, z: list[Any], m: Any, S: Any) -> Any:
    factors = sp.Mul.make_args(term)
    exponent = sp.expand(sp.Add(*(factor.exp for factor in factors if isinstance(factor, sp.exp))))
    rest = sp.Mul(*(factor for factor in factors if not isinstance(factor, sp.exp)))
    a = sp.Matrix([sp.diff(exponent, one) for one in z])
    if a.free_symbols & set(z) or not rest.is_polynomial(*z):
        checks.fail("expression", "polynomials times exponentials of linear functions", term, "use quadrature")
    constant = exponent.subs(dict.fromkeys(z, 0))
    shifted = m + S * a
    p, total, order = sp.expand(rest), sp.Integer(0), 1
    while p != 0:  # the series of exp(<S D, D>/2) ends: every step lowers the degree by 2
        total += p
        hessian = sp.hessian(p, z)
        p = sp.expand(sum(S[i, j] * hessian[i, j] for i in range(len(z)) for j in range(len(z))) / (2 * order))
        order += 1
    at_mean = total.subs(dict(zip(z, shifted, strict=True)), simultaneous=True)
    return at_mean * sp.exp(constant + (a.T * m)[0] + (a.T * S * a)[0] / 2)
