"""Enclosures enclose, exact ends stay exact, and relations are decided only when they are certain."""

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from theory import interval
from theory.checks import InvalidInput

x, y = sp.symbols("x y", real=True)
EXPRESSIONS = [
    x + y, x * y - y**3, x / (1 + y**2), sp.sqrt(1 + x**2) * sp.exp(-y), sp.log(2 + sp.Abs(x)), sp.Max(x, y, 0),
    sp.Min(x, sp.Rational(1, 3)), sp.pi * x - y, sp.cos(x) * sp.sin(y), (1 - x / 10) ** 3,
    sp.erf(x) - y, sp.atan(x * y),
]  # fmt: skip
finite = st.floats(-5, 5)


def box(*pairs: tuple[object, object]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(np.array(low, dtype=object), np.array(high, dtype=object)) for low, high in pairs]


@given(st.sampled_from(EXPRESSIONS), finite, finite, finite, finite, st.floats(0, 1), st.floats(0, 1))
def test_enclosure_contains_the_value(
    expression: sp.Expr, a: float, b: float, c: float, d: float, s: float, t: float
) -> None:
    (a, b), (c, d) = sorted((a, b)), sorted((c, d))
    [(low, high)] = interval.enclose([expression], [x, y], box((a, b), (c, d)))
    point = {x: min(max(a + s * (b - a), a), b), y: min(max(c + t * (d - c), c), d)}
    value = sp.lambdify([x, y], expression, "mpmath")(*(mpmath.mpf(v) for v in point.values()))
    slack = 1e-12 * (1 + abs(value))  # the reference is rounded at 15 digits
    assert low[()] - slack <= value <= high[()] + slack


def test_a_mutant_without_rounding_is_seen() -> None:
    """1/3 is enclosed, not rounded: the enclosure of 3 * (1/3) - 1 has zero inside but is not a point."""
    [(low, high)] = interval.enclose([x / 3 - sp.Rational(1, 3)], [x], box((1, 1)))
    assert low[()] <= 0 <= high[()] and low[()] != high[()] and high[()] < 1e-30


def test_exact_ends_stay_exact() -> None:
    [(low, high)] = interval.enclose([x], [x], box((0, 0.1)))
    assert low[()] == 0 and high[()] == 0.1
    [(low, high)] = interval.enclose([x], [x], box((Fraction(1, 3), Fraction(1, 3))))
    assert low[()] < Fraction(1, 3).numerator / mpmath.mpf(3) * (1 + mpmath.mpf(10) ** -14)
    assert high[()] - low[()] < 1e-30


@pytest.mark.parametrize(
    ("relation", "low", "high", "expected"),
    [
        (sp.Le(x, 1), 0, 1, 1), (sp.Le(x, 1), 0, 2, 0), (sp.Le(x, 1), 1.5, 2, -1), (sp.Lt(x, 1), 0, 1, 0),
        (sp.Lt(x, 1), 1, 2, -1), (sp.Ge(x, 1), 1, 2, 1), (sp.Gt(x, 1), 1, 2, 0), (sp.Gt(x, 1), 0, 1, -1),
        (sp.Eq(x, 1), 1, 1, 1), (sp.Eq(x, 1), 0, 2, 0), (sp.Eq(x, 1), 2, 3, -1), (sp.Ne(x, 1), 2, 3, 1),
        (sp.Le(x, 1), -math.inf, 0, 1), (sp.Le(x, 1), math.inf, math.inf, -1), (sp.true, 0, 1, 1), (sp.false, 0, 1, -1),
    ],
)  # fmt: skip
def test_truth(relation: sp.Basic, low: float, high: float, expected: int) -> None:
    assert interval.truth(relation, [x], box((low, high))) == expected


def test_unknown_functions_are_refused_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="besselj"):
        interval.enclose([sp.besselj(0, x)], [x], box((0, 1)))
    monkeypatch.setattr(interval.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InvalidInput, match=r"theorycheck\[certified\]"):
        interval.enclose([sp.erf(x)], [x], box((0, 1)))


def test_the_callers_precision_is_left_alone() -> None:
    before = (mpmath.mp.prec, mpmath.iv.prec)
    interval.enclose([sp.erf(x), sp.sqrt(x)], [x], box((1, 2)))
    assert (mpmath.mp.prec, mpmath.iv.prec) == before
