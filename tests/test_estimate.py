"""Intervals cover at their level, exact stays exact, and JSON loses nothing."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from theory.checks import InvalidInput
from theory.estimate import Estimate
from theory.seeding import numpy_generator


def coverage(hits: int, draws: int, level: float) -> bool:
    """Whether `hits` out of `draws` is consistent with a coverage of at least `level` (one error in a million)."""
    return bool(stats.binom.cdf(hits, draws, level) > 1e-6)


def test_intervals_cover_at_their_level_and_a_narrowed_one_does_not() -> None:
    draw, repeats, level = numpy_generator("coverage", 0), 1000, 0.95
    samples = draw.normal(2.0, 3.0, size=(repeats, 12))
    inside = {"mean": 0, "narrowed": 0, "median": 0, "proportion": 0, "slope": 0}
    x = np.geomspace(1, 10, 8)
    for sample in samples:
        low, high = Estimate.mean(sample).interval(level)
        inside["mean"] += low <= 2.0 <= high
        half = (high - low) / 2
        inside["narrowed"] += low + 0.25 * half <= 2.0 <= high - 0.25 * half
        low, high = Estimate.quantile(sample, 0.5).interval(level)
        inside["median"] += low <= 2.0 <= high
        low, high = Estimate.proportion(int(draw.binomial(30, 0.1)), 30).interval(level)
        inside["proportion"] += low <= 0.1 <= high
        low, high = Estimate.exponent(x, x**-1.5 * np.exp(draw.normal(0, 0.3, size=8))).interval(level)
        inside["slope"] += low <= -1.5 <= high
    narrowed = inside.pop("narrowed")
    assert all(coverage(hits, repeats, level) for hits in inside.values()), inside
    assert not coverage(narrowed, repeats, level)


def test_regression_has_two_degrees_of_freedom_fewer_than_points() -> None:
    x, y = np.array([1.0, 2.0, 4.0, 8.0]), np.array([1.0, 2.2, 3.9, 8.1])
    line = stats.linregress(np.log(x), np.log(y))
    half = stats.t.ppf(0.995, 2) * line.stderr
    assert Estimate.exponent(x, y).interval(0.99) == pytest.approx((line.slope - half, line.slope + half), rel=1e-9)


def test_a_computed_value_is_rounded_outward() -> None:
    low, high = Estimate.computed(1.0, error=2.0**-60).interval()
    assert low < 1.0 < high  # 1 - 2^-60 rounds to 1: without outward rounding the interval would be a point


def test_replicated_slopes_use_the_replicates_spread() -> None:
    x = np.array([1.0, 2.0, 4.0])
    slopes = np.array([0.9, 1.0, 1.2])
    estimate = Estimate.exponent(x, x ** slopes[:, None])
    assert estimate.value == pytest.approx(slopes.mean(), abs=1e-12)
    assert estimate.size == 3
    expected = stats.t.interval(0.99, 2, slopes.mean(), stats.sem(slopes))
    assert estimate.interval(0.99) == pytest.approx(expected)


@given(st.integers(0, 40), st.floats(0.5, 0.999))
def test_proportion_is_clopper_pearson(hits: int, level: float) -> None:
    expected = stats.binomtest(hits, 40).proportion_ci(level, "exact")
    assert Estimate.proportion(hits, 40).interval(level) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_quantile_interval_is_infinite_where_the_sample_cannot_say() -> None:
    low, high = Estimate.quantile(np.arange(3.0), 0.5).interval(0.99)
    assert (low, high) == (-math.inf, math.inf)


def test_only_exact_things_are_exact() -> None:
    assert Estimate.of(3).interval() == (3, 3)
    assert Estimate.of(Fraction(1, 3)).interval() == (Fraction(1, 3), Fraction(1, 3))
    assert Estimate.of(np.array([1, 2])).interval()[0].tolist() == [1, 2]
    low, high = Estimate.of(0.5).interval()
    assert low < 0.5 < high and high - low < 2e-12
    assert Estimate.of(0.0).interval() == (0.0, 0.0)
    low, high = Estimate.computed(1.0, error=0.25).interval()
    assert low < 0.75 + 1e-15 and high > 1.25 - 1e-15
    assert Estimate.of(math.inf).interval() == (math.inf, math.inf)


ESTIMATES = [
    Estimate.exact(3), Estimate.exact(Fraction(2, 7)), Estimate.exact(np.array([Fraction(1, 3), 2], dtype=object)),
    Estimate.exact(2**80 + 1), Estimate.computed(np.array([[0.1, -math.inf], [1e-300, 3.0]])),
    Estimate.enclosure(0.1, math.inf), Estimate.mean(np.array([[0.1, 2.0], [0.3, 1.0], [0.2, 5.0]])),
    Estimate.proportion(np.array([0, 5, 20]), 20), Estimate.quantile(np.array([3.0, 1.0, 0.1]), 0.25),
    Estimate.exponent([1, 2, 4], [1.0, 2.1, 3.9]),
]  # fmt: skip


@pytest.mark.parametrize("estimate", ESTIMATES, ids=lambda e: e.method)
def test_json_loses_nothing(estimate: Estimate) -> None:
    text = json.dumps(estimate.to_json(), allow_nan=False)
    again = Estimate.from_json(json.loads(text))
    assert json.dumps(again.to_json(), allow_nan=False) == text
    assert np.array_equal(np.asarray(again.value), np.asarray(estimate.value))
    for mine, theirs in zip(again.interval(0.9), estimate.interval(0.9), strict=True):
        assert np.array_equal(np.asarray(mine), np.asarray(theirs))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Estimate.mean([1.0]), "at least 2 draws"),
        (lambda: Estimate.mean([1.0, math.nan]), "NaN"),
        (lambda: Estimate.proportion(5, 4), "successes"),
        (lambda: Estimate.proportion(0.5, 4), "successes"),
        (lambda: Estimate.proportion(0, 0), "trials"),
        (lambda: Estimate.quantile([], 0.5), "not empty"),
        (lambda: Estimate.quantile([1.0], 0.0), "q: "),
        (lambda: Estimate.exponent([1, 2], [1, 2]), "at least 3"),
        (lambda: Estimate.exponent([1, 2, 3], [1, 2]), "one ordinate per abscissa"),
        (lambda: Estimate.exponent([1, 2, 3], [1, 0, 2]), "positive"),
        (lambda: Estimate.exponent([2, 2, 2], [1, 1, 2]), "distinct"),
        (lambda: Estimate.enclosure(2.0, 1.0), "low <= high"),
        (lambda: Estimate.computed(1.0, error=-1.0), "non-negative"),
        (lambda: Estimate.exact(math.nan), "NaN"),
        (lambda: Estimate.of(["a"]), "could not|numbers"),
        (lambda: Estimate.exact(1).interval(1.5), "level"),
        (lambda: Estimate.from_json({"family": "magic"}), "family"),
    ],
)
def test_bad_input(make: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        make()  # type: ignore[operator]
