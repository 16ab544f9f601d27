"""The strategies keep their promises, and `check` turns verdicts into test results."""

from typing import Any

import numpy as np
import pytest
import sympy as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

from theory import strategies
from theory.checks import InvalidInput
from theory.claim import Claim, symbols
from theory.estimate import Estimate
from theory.verdict import ClaimViolated

length, size = symbols("length size")
SHORT = Claim(
    "mine.short",
    "the mean of unit vectors is at most one long",
    sp.Le(length, 1),
    {"length": "norm of the mean row [1]", "size": "number of rows [1]"},
    hypotheses=[("more than one row", sp.Gt(size, 1, evaluate=False))],
)


@given(strategies.clustered(max_radius=0.3, min_per_cluster=2, max_clusters=4))
def test_clustered_keeps_its_ranges(data: strategies.ClusterableData) -> None:
    assert not data.violations()
    assert 2 <= len(data.centres) <= 4 and data.radius <= 0.3 and data.sizes.min() >= 2
    strategies.check(SHORT, length=float(np.linalg.norm(data.X.mean(axis=0))), size=data.n)


@given(strategies.corrupted(max_rate=0.5))
def test_corrupted_pairs_fit(pair: Any) -> None:
    data, labels = pair
    assert labels.y.shape == data.y.shape and labels.rate <= 0.5
    assert np.array_equal(labels.mask, labels.y != data.y)


@given(strategies.two_layer(dimension=st.integers(1, 4), max_width=10, smooth=True))
def test_two_layer_ranges(network: strategies.TwoLayer) -> None:
    assert 2 <= network.width <= 10 and 1 <= network.dimension <= 4
    assert np.isfinite(network.activation.gamma2)


def test_a_violated_claim_fails_the_property_test() -> None:
    @given(strategies.clustered())
    @settings(database=None, max_examples=20)
    def wrong(data: strategies.ClusterableData) -> None:
        strategies.check(SHORT, length=2 * float(np.linalg.norm(data.X[0])), size=2)

    with pytest.raises(ClaimViolated, match="2 <= 1"):
        wrong()


def test_out_of_scope_is_discarded_never_passed() -> None:
    @given(st.floats(0, 1))
    @settings(database=None, max_examples=20, suppress_health_check=[HealthCheck.filter_too_much])
    def empty(value: float) -> None:
        strategies.check(SHORT, length=value, size=1)

    with pytest.raises(Unsatisfiable):
        empty()


def test_the_level_is_split_over_the_examples_of_the_running_test() -> None:
    levels = set()

    @given(st.integers(1, 5))
    @settings(database=None, max_examples=37)
    def running(value: int) -> None:
        levels.add(strategies.check(SHORT, length=Estimate.mean([0.1, 0.2]), size=2 * value, level=0.9).level)

    running()
    assert levels == {1 - 0.1 / 37}


def test_inconclusive_passes_and_can_be_refused() -> None:
    @given(st.just(1.0))
    def tie(value: float) -> None:
        verdict = strategies.check(SHORT, length=value, size=2)
        with pytest.raises(AssertionError, match="inconclusive"):
            verdict.require()

    tie()


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        (strategies.clustered(min_clusters=1), "min_clusters"),
        (strategies.clustered(min_clusters=4, max_clusters=3), "max_clusters"),
        (strategies.clustered(max_radius=3.0), "max_radius"),
        (strategies.clustered(minimum_separation=1.0), "minimum_separation"),
        (strategies.corrupted(max_rate=1.5), "max_rate"),
        (strategies.two_layer(min_width=9, max_width=4), "max_width"),
    ],
)
def test_bad_ranges_are_refused_when_drawn(strategy: Any, message: str) -> None:
    @given(strategy)
    @settings(database=None, max_examples=3)
    def draw(_: Any) -> None:
        pass

    with pytest.raises(InvalidInput, match=message):
        draw()
