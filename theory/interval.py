"""Interval arithmetic over sympy expressions: what a formula can be when its inputs are only known to lie in intervals.

`mpmath.iv` does the arithmetic at 113 bits with outward rounding: exact ends stay exact. Claims with special functions
that it lacks (erf, gamma, inverse trigonometric) go to python-flint's arb, the extra `certified`. Both give enclosures:
the true value is inside, always.
"""

import functools
import importlib.util
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import sympy as sp
from mpmath.ctx_iv import MPIntervalContext

from theory import checks

BITS = 113
_SPECIAL = (
    "erf",
    "erfc",
    "erfi",
    "gamma",
    "tan",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
    "tanh",
    "asinh",
    "acosh",
    "atanh",
)


@dataclass(frozen=True)
class Arithmetic:
    """One implementation of interval numbers.

    Attributes:
        name: of the library behind it.
        enclose: (low, high) -> the interval; both ends int, Fraction, float or mpmath number, taken exactly.
        low: interval -> a lower end, as mpmath number.
        high: interval -> an upper end, as mpmath number.
        functions: what sympy's printed code calls, by name.
        precision: makes a context in which the arithmetic has `BITS` bits, whatever its library is set to outside.
    """

    name: str
    enclose: Callable[[Any, Any], Any]
    low: Callable[[Any], Any]
    high: Callable[[Any], Any]
    functions: dict[str, Any]
    precision: Callable[[], AbstractContextManager]


def _mpmath_arithmetic() -> Arithmetic:
    context = MPIntervalContext()  # our own: the shared mpmath.iv keeps its user's precision
    context.prec = BITS

    def point(x: Any) -> Any:
        return context.mpf(x.numerator) / x.denominator if isinstance(x, Fraction) else context.mpf(x)

    def hull(*intervals: Any, pick: Callable[..., Any]) -> Any:
        intervals = tuple(context.convert(x) for x in intervals)
        return context.mpf([pick(x.a for x in intervals), pick(x.b for x in intervals)])

    return Arithmetic(
        name="mpmath",
        enclose=lambda low, high: context.mpf([point(low).a, point(high).b]),
        low=lambda x: mpmath.mp.make_mpf(context.convert(x).a._mpi_[0]),
        high=lambda x: mpmath.mp.make_mpf(context.convert(x).b._mpi_[1]),
        functions={
            "mpf": context.mpf,
            "sqrt": context.sqrt,
            "exp": context.exp,
            "log": context.log,
            "cos": context.cos,
            "sin": context.sin,
            "pi": context.pi,
            "Abs": abs,
            "Max": lambda *x: hull(*x, pick=max),
            "Min": lambda *x: hull(*x, pick=min),
        },
        precision=nullcontext,
    )


def _flint_arithmetic() -> Arithmetic:
    import flint

    arb = flint.arb
    with flint.ctx.workprec(BITS):
        pi = arb.pi()

    def point(x: Any) -> Any:
        return arb(flint.fmpq(x.numerator, x.denominator)) if isinstance(x, Fraction) else arb(x)

    def enclose(low: Any, high: Any) -> Any:
        return point(low) if low == high else point(low).union(point(high))

    def end(x: Any, which: str) -> Any:
        ball = getattr(arb(x), which)()
        if not ball.is_finite():
            return mpmath.mpf("-inf") if which == "lower" else mpmath.mpf("inf")
        mantissa, exponent = ball.man_exp()
        return mpmath.ldexp(mpmath.mpf(int(mantissa)), int(exponent))

    def fold(name: str) -> Callable[..., Any]:
        def apply(first: Any, *rest: Any) -> Any:
            result = arb(first)
            for other in rest:
                result = getattr(result, name)(arb(other))
            return result

        return apply

    def method(name: str) -> Callable[[Any], Any]:
        return lambda x: getattr(arb(x), name)()

    return Arithmetic(
        name="python-flint",
        enclose=enclose,
        low=lambda x: end(x, "lower"),
        high=lambda x: end(x, "upper"),
        functions={
            "mpf": arb,
            **{name: method(name) for name in ("sqrt", "exp", "log", "cos", "sin")},
            "pi": pi,
            "Abs": abs,
            "Max": fold("max"),
            "Min": fold("min"),
            **{name: method(name) for name in _SPECIAL},
        },
        precision=lambda: flint.ctx.workprec(BITS),
    )


_MPMATH = _mpmath_arithmetic()
_flint = functools.cache(_flint_arithmetic)  # made on first use: python-flint may be missing


@functools.lru_cache(maxsize=1024)
def _compile(expression: sp.Expr, symbols: tuple[sp.Symbol, ...], arithmetic: str) -> Callable[..., Any]:
    """Turning sympy into Python costs more than all interval operations of a typical claim: once is enough."""
    functions = (_MPMATH if arithmetic == _MPMATH.name else _flint()).functions
    return sp.lambdify(symbols, expression, [functions, "mpmath"])


def arithmetic_for(expressions: Sequence[sp.Expr]) -> Arithmetic:
    """The arithmetic that knows every function in the expressions.

    Raises:
        InvalidInput: a special function without python-flint installed, or one that neither knows.
    """
    needed = {
        type(atom).__name__ for expression in expressions for atom in expression.atoms(sp.Function, sp.Max, sp.Min)
    }
    unknown = needed - set(_MPMATH.functions)
    if not unknown:
        return _MPMATH
    if unknown - set(_SPECIAL):
        checks.fail("formula", f"functions among {sorted({*_MPMATH.functions, *_SPECIAL})}", unknown, "rewrite it")
    if importlib.util.find_spec("flint") is None:
        checks.fail("formula", "python-flint for special functions", unknown, 'pip install "theorycheck[certified]"')
    return _flint()


def enclose(
    expressions: Sequence[sp.Expr],
    symbols: Sequence[sp.Symbol],
    bounds: Sequence[tuple[np.ndarray, np.ndarray]],
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Enclose each expression, entry by entry, over the box in which the symbols lie.

    Args:
        expressions: sympy expressions in `symbols`; their constants are enclosed too (1/3 is not rounded).
        symbols: their free symbols.
        bounds: for each symbol its lower and upper ends, object arrays of one common shape.

    Returns:
        For each expression its lower and upper ends as object arrays of mpmath numbers, of the common shape.

    Raises:
        InvalidInput: a function that interval arithmetic does not know.
    """
    arithmetic = arithmetic_for(expressions)
    shape = bounds[0][0].shape if bounds else ()
    compiled = [_compile(expression, tuple(symbols), arithmetic.name) for expression in expressions]
    results = [(np.empty(shape, dtype=object), np.empty(shape, dtype=object)) for _ in expressions]
    with arithmetic.precision():
        for index in np.ndindex(shape):
            box = [arithmetic.enclose(low[index], high[index]) for low, high in bounds]
            for function, (low, high) in zip(compiled, results, strict=True):
                value = function(*box)
                low[index], high[index] = arithmetic.low(value), arithmetic.high(value)
    return results


def exact(
    relation: sp.Basic, symbols: Sequence[sp.Symbol], bounds: Sequence[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    """Whether the symbols that a relation contains are known exactly, at each point of the sweep (bool)."""
    shape = bounds[0][0].shape if bounds else ()
    pairs = zip(symbols, bounds, strict=True)
    points = [np.asarray(low == high, dtype=bool) for symbol, (low, high) in pairs if symbol in relation.free_symbols]
    return np.logical_and.reduce([np.ones(shape, dtype=bool), *points])


def truth(
    relation: sp.Basic, symbols: Sequence[sp.Symbol], bounds: Sequence[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    """Whether a relation is surely true (1), surely false (-1) or neither (0) over each box of the sweep.

    Ties of exact inputs, which no interval can settle, are settled symbolically.

    Args:
        relation: sympy <=, <, >=, >, = or !=, or True / False.
        symbols: at least its free symbols.
        bounds: as for `enclose`.

    Returns:
        Integer array of the boxes' common shape.

    Raises:
        InvalidInput: any other kind of relation.
    """
    shape = bounds[0][0].shape if bounds else ()
    if relation in (sp.true, sp.false):
        return np.full(shape, 1 if relation == sp.true else -1)
    if not isinstance(relation, sp.core.relational.Relational):
        checks.fail("condition", "one sympy relation, True or False", relation, "split a conjunction into its parts")
    own = [number for number, symbol in enumerate(symbols) if symbol in relation.free_symbols]
    names, ends = [symbols[number] for number in own], [bounds[number] for number in own]
    (low, high), (other_low, other_high) = enclose([relation.lhs, relation.rhs], names, ends)
    apart = (high < other_low) | (low > other_high)
    equal = (low == high) & (other_low == other_high) & (low == other_low)
    surely = {
        sp.Le: (high <= other_low, low > other_high),
        sp.Lt: (high < other_low, low >= other_high),
        sp.Ge: (low >= other_high, high < other_low),
        sp.Gt: (low > other_high, high <= other_low),
        sp.Eq: (equal, apart),
        sp.Ne: (apart, equal),
    }
    yes, no = (np.asarray(mask, dtype=bool).astype(int) for mask in surely[type(relation)])
    decided = np.array(np.broadcast_to(yes - no, shape))
    for index in zip(*np.nonzero(np.atleast_1d((decided == 0) & exact(relation, symbols, bounds))), strict=True):
        place = index if shape else ()
        decided[place] = _symbolically(
            relation, {s: _rational(low[place]) for s, (low, _) in zip(names, ends, strict=True)}
        )
    return decided


def _symbolically(relation: Any, point: dict[sp.Symbol, Any]) -> int:
    difference = sp.simplify((relation.lhs - relation.rhs).subs(point))
    if difference.is_zero:
        return 1 if isinstance(relation, (sp.Le, sp.Ge, sp.Eq)) else -1
    verdict = relation.func(difference, 0)
    return 0 if verdict not in (sp.true, sp.false) else (1 if verdict == sp.true else -1)


def _rational(value: Any) -> sp.Expr:
    if isinstance(value, float) and not np.isfinite(value):
        return sp.oo if value > 0 else -sp.oo
    number = Fraction(value)
    return sp.Rational(number.numerator, number.denominator)
