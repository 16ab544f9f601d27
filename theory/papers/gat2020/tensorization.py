"""One coordinate at a time: entropies (F3) and variances (F4) of a product measure, and why it must be one.

The sum over blocks of the expected entropy inside the block bounds the whole entropy from above: an inequality, with
the expectation over the other coordinates. Proofs in paper_notes/gat2020.md.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import sympy as sp

from theory import checks, seeding
from theory.claim import Claim, Family, symbols
from theory.entropy import Gaussian, efron_stein, entropy, tensorization, variance
from theory.entropy.functionals import Function
from theory.entropy.measure import Measure
from theory.entropy.tensorization import Blocks, partition
from theory.papers.gat2020.claims import USED, Ent, Var, stated
from theory.verdict import Status, Verdicts

total, dependence, missing, t, R = symbols("total dependence missing t R")
_OWN = {
    "total": "sum over the blocks of the expected entropy (F4: variance) given the others [unit of the left side]",
    "dependence": "largest |correlation| between coordinates of different blocks [1]",
    "missing": "coordinates of the measure that are in no block [1]",
    "t": "the exponent in exp(t x y) [1]",
    "R": "correlation of the pair [1]",
}
_TEX = {"total": r"\textstyle\sum_b E\,\mathrm{Ent}_b", "dependence": r"\max|\rho|"}
_TEX_VAR = {**_TEX, "total": r"\textstyle\sum_b E\,\mathrm{Var}_b"}
PRODUCT = ("the blocks are independent", sp.Eq(dependence, 0))
WHOLE = ("the blocks cover all coordinates", sp.Eq(missing, 0))
DEPENDENT = ("the pair is positively correlated", sp.Gt(R, 0))
LEFT_OUT = ("a coordinate is left out", sp.Gt(missing, 0))


def _four(family: str, left: Any, name: str, equal: str, tex: dict[str, str], source: str) -> tuple[Claim, ...]:
    return (
        stated(
            f"{family}.{name}",
            f"{source}: at most the sum of the blocks' expected ones",
            lambda: sp.Le(left, total),
            _OWN,
            notation=tex,
            hypotheses=(PRODUCT, WHOLE),
            reference=f"Boucheron, Lugosi & Massart (2013); {USED}",
        ),
        stated(
            f"{family}.equal",
            f"equality where f is a {equal} of functions of one block each",
            lambda: sp.Eq(left, total),
            _OWN,
            notation=tex,
            kind="identity",
            hypotheses=(PRODUCT, WHOLE),
        ),
        stated(
            f"{family}.dependent",
            f"control: the same for a positively correlated Gaussian pair, f = {'exp(x+y)' if left == Ent else 'x+y'}",
            lambda: sp.Le(left, total),
            _OWN,
            notation=tex,
            hypotheses=(DEPENDENT,),
            expected=Status.VIOLATED,
        ),
        stated(
            f"{family}.frozen",
            f"control: the same with a coordinate left out of the sum, f = {'exp(x+y)' if left == Ent else 'x+y'}",
            lambda: sp.Le(left, total),
            _OWN,
            notation=tex,
            hypotheses=(LEFT_OUT,),
            expected=Status.VIOLATED,
        ),
    )


TENSOR, TENSOR_EQUAL, TENSOR_DEPENDENT, TENSOR_FROZEN = _four(
    "F3", Ent, "tensorization", "product", _TEX, "tensorization of entropy"
)
STEIN, STEIN_EQUAL, STEIN_DEPENDENT, STEIN_FROZEN = _four("F4", Var, "efron_stein", "sum", _TEX_VAR, "Efron-Stein")
with sp.evaluate(False):
    _REST = sp.Abs(1 - t**2)  # the modulus only matters out of scope, where a logarithm would have no value
_BOUND = ("|t| < 1", sp.Lt(sp.Abs(t), 1))
BILINEAR = stated(
    "F3.bilinear",
    "f = exp(t x y), independent standard normal x, y: the entropy",
    lambda: sp.Eq(Ent, t**2 * _REST ** sp.Rational(-3, 2) + sp.log(_REST) / (2 * sp.sqrt(_REST))),
    _OWN,
    kind="identity",
    hypotheses=(_BOUND,),
)
BILINEAR_TOTAL = stated(
    "F3.bilinear_total",
    "the same: sum of the coordinates' expected entropies",
    lambda: sp.Eq(total, t**2 * _REST ** sp.Rational(-3, 2)),
    _OWN,
    notation=_TEX,
    kind="identity",
    hypotheses=(_BOUND,),
)

Ways = tuple[Callable[..., Any], Callable[..., Any], str]
ENTROPIES: Ways = (entropy, tensorization, "Ent")
VARIANCES: Ways = (variance, efron_stein, "Var")
"""How to measure the whole, its parts, and the symbol of the whole in the claim."""


def check_tensorization(
    f: Function, measure: Gaussian, *, blocks: Blocks | None = None, inner: int = 32, how: Any = None, **record: Any
) -> Verdicts:
    """Judge F3.tensorization for your f >= 0.

    Args:
        f: (n, d) -> (n,).
        measure: Gaussian; its covariance tells whether the blocks are independent.
        blocks: of coordinates; one each by default.
        inner: nodes or draws inside a block, see `theory.entropy.tensorization`.
        how: options of `theory.entropy.evaluate` as a dictionary: draws, seed, method, order.
        **record: `settings` and `seed` for the verdicts.

    Raises:
        InvalidInput: as `theory.entropy.tensorization`.
    """
    return _check(TENSOR, ENTROPIES, f, measure, blocks, inner, how, record)


def check_efron_stein(
    f: Function, measure: Gaussian, *, blocks: Blocks | None = None, inner: int = 32, how: Any = None, **record: Any
) -> Verdicts:
    """Judge F4.efron_stein for your f, of any sign; arguments as for `check_tensorization`."""
    return _check(STEIN, VARIANCES, f, measure, blocks, inner, how, record)


def _check(
    claim: Claim,
    ways: Ways,
    f: Function,
    measure: Measure,
    blocks: Blocks | None,
    inner: int,
    how: Any,
    record: dict[str, Any],
) -> Verdicts:
    if not isinstance(measure, Gaussian):
        remedy = "its covariance tells whether the blocks are independent; compare theory.entropy's values yourself"
        checks.fail("measure", "a Gaussian", type(measure).__name__, remedy)
    whole, parts, left = ways
    options = dict(how or {})
    summed = parts(f, measure, blocks=blocks, inner=inner, **options).total
    values = {left: whole(f, measure, **options), "total": summed}
    own = {"dependence": _dependence(measure, blocks), "missing": _missing(measure, blocks)}
    if claim in (TENSOR_DEPENDENT, STEIN_DEPENDENT):
        own = {"R": own["dependence"]}
    if claim in (TENSOR_FROZEN, STEIN_FROZEN):
        own = {"missing": own["missing"]}
    return Verdicts([claim.check(**values, **own, **record)])


def check_bilinear(exponents: Sequence[float], *, order: int = 100, **record: Any) -> Verdicts:
    """Judge F3's closed forms for exp(t x y), and F3.tensorization, by quadrature.

    Args:
        exponents: the t; converges well for |t| <= 1/2, and E f^2 is finite only below that.
        order: nodes per direction.
        **record: `settings` and `seed` for the verdicts.
    """
    plane = Gaussian.standard(2)
    verdicts = Verdicts()
    for one in exponents:
        value = checks.number("t", one, -1, 1, open_low=True, open_high=True)
        f = lambda z, value=value: np.exp(value * z[:, 0] * z[:, 1])  # noqa: E731
        Ent_ = entropy(f, plane, order=order)
        summed = tensorization(f, plane, order=order, inner=order).total
        verdicts.append(BILINEAR.check(Ent=Ent_, t=value, **record))
        verdicts.append(BILINEAR_TOTAL.check(total=summed, t=value, **record))
        verdicts.append(TENSOR.check(Ent=Ent_, total=summed, dependence=0, missing=0, **record))
    return verdicts


def experiment_tensorization(budget: str = "small", seed: int = 0) -> Verdicts:
    """F3 on exp(t x y), on a network of four inputs in two blocks, on a product, and its two controls.

    Args:
        budget: "small" (4,096 quasi-random draws) or "full" (65,536).
        seed: of the draws.
    """
    verdicts = check_bilinear((0.1, 0.25, 0.5), settings={"f": "exp(t x y)"}, seed=seed)
    product = lambda z: np.exp(np.sin(z[:, 0]) + np.cos(z[:, 1]) / 2)  # noqa: E731
    verdicts += _controls(
        (TENSOR, TENSOR_EQUAL, TENSOR_DEPENDENT, TENSOR_FROZEN),
        ENTROPIES,
        (product, lambda z: np.exp(z.sum(axis=1))),
        budget,
        seed,
    )
    return verdicts


def experiment_efron_stein(budget: str = "small", seed: int = 0) -> Verdicts:
    """F4 on a network of four inputs in two blocks, on a sum, and its two controls.

    Args:
        budget: "small" (4,096 quasi-random draws) or "full" (65,536).
        seed: of the draws.
    """
    return _controls(
        (STEIN, STEIN_EQUAL, STEIN_DEPENDENT, STEIN_FROZEN),
        VARIANCES,
        (lambda z: np.sin(z[:, 0]) + z[:, 1] ** 3, lambda z: z.sum(axis=1)),
        budget,
        seed,
    )


def _controls(claims: Any, ways: Ways, functions: Any, budget: str, seed: int) -> Verdicts:
    draws = 2**12 if checks.choice("budget", budget, ("small", "full")) == "small" else 2**16
    bound, equal, dependent, frozen = claims
    tight, together_ = functions
    plane = Gaussian.standard(2)
    exact = {"order": 64}
    verdicts = Verdicts()
    W = seeding.numpy_generator("network for F3 and F4", seed).normal(size=(4, 8))
    network = lambda z: np.log1p(np.exp(np.tanh(z @ W).sum(axis=1)))  # noqa: E731
    how = {"draws": draws, "method": "quasi", "seed": seed}
    settings: dict[str, Any] = {"f": "softplus of a network", "blocks": "two and two"}
    record: dict[str, Any] = {"settings": settings, "seed": seed}
    square = Gaussian.standard(4)
    verdicts += _check(bound, ways, network, square, [[0, 1], [2, 3]], 12, how, record)
    verdicts += _check(equal, ways, tight, plane, None, 64, exact, {"settings": {"f": "tight"}})
    for correlation in (0.2, 0.9):
        pair = Gaussian([0.0, 0.0], [[1.0, correlation], [correlation, 1.0]])
        verdicts += _check(dependent, ways, together_, pair, None, 64, exact, {"settings": {"R": correlation}})
    verdicts += _check(frozen, ways, together_, plane, [[0]], 64, exact, {"settings": {"blocks": "x only"}})
    return verdicts


def _dependence(measure: Gaussian, blocks: Blocks | None) -> Any:
    deviations = np.sqrt(np.diag(measure.metric))
    scale = np.outer(deviations, deviations)
    correlations = np.divide(measure.metric, scale, out=np.zeros_like(scale), where=scale > 0)
    same = np.zeros_like(scale, dtype=bool)
    for block in partition(measure, blocks):
        same[np.ix_(block, block)] = True
    np.fill_diagonal(same, True)
    largest = float(np.abs(np.where(same, 0, correlations)).max())
    return largest if largest > 1e-15 else 0


def _missing(measure: Gaussian, blocks: Blocks | None) -> int:
    return measure.dimension - sum(len(block) for block in partition(measure, blocks))


F3 = Family(
    "F3",
    "tensorization of entropy under a product measure",
    (TENSOR, TENSOR_EQUAL, BILINEAR, BILINEAR_TOTAL, TENSOR_DEPENDENT, TENSOR_FROZEN),
    check_tensorization,
    experiment_tensorization,
)
F4 = Family(
    "F4",
    "the Efron-Stein inequality",
    (STEIN, STEIN_EQUAL, STEIN_DEPENDENT, STEIN_FROZEN),
    check_efron_stein,
    experiment_efron_stein,
)
