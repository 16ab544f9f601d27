"""A4, what the cut catches: every order tried through the rule itself; other rules are caught."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from judging import again, judged
from scipy import stats

from theory import aum
from theory.checks import InvalidInput
from theory.papers.pleiss2020.recall import (
    A4,
    beta_binomial,
    check_draws,
    check_recall,
    experiment_recall,
    interpolated,
)
from theory.verdict import Status

HOLDS, VIOLATED, OUT_OF_SCOPE = Status.HOLDS, Status.VIOLATED, Status.OUT_OF_SCOPE


@given(n=st.integers(1, 150), percentile=st.integers(1, 100), strict=st.booleans())
def test_one_wrong_label_in_every_order(n, percentile, strict):
    verdicts = check_recall(n, 1, percentile, strict=strict)
    assert [v.status for v in verdicts] == [HOLDS, HOLDS]
    assert verdicts[0].inputs["recall"].value == Fraction(aum.cut_index(n, percentile), n + 1)


@given(n=st.integers(1, 9), m=st.integers(1, 4), percentile=st.sampled_from([25, 50, 80, 99, 100]))
def test_several_wrong_labels_in_every_order(n, m, percentile):
    assert {v.status for v in check_recall(n, m, percentile)} == {HOLDS}


@given(n=st.integers(1, 60), m=st.integers(1, 20), k=st.integers(1, 60))
def test_the_law_is_the_known_one(n, m, k):
    k = min(k, n)
    masses = [beta_binomial(j, m, k, n) for j in range(m + 1)]
    assert sum(masses) == 1
    np.testing.assert_allclose(
        [float(x) for x in masses], stats.betabinom(m, k, n + 1 - k).pmf(range(m + 1)), atol=1e-9
    )


def test_ninety_nine_samples_catch_99_per_cent_and_interpolation_98():
    assert check_recall(99)[0].inputs["recall"].value == Fraction(99, 100)
    [verdict] = check_recall(99, flag=interpolated)
    assert verdict.claim.id == "A4.interpolated" and verdict.status == VIOLATED
    assert verdict.inputs["recall"].value == Fraction(98, 100)


def test_an_index_that_is_off_by_one_is_caught():
    def off(areas, threshold, percentile):
        return areas <= np.sort(threshold)[aum.cut_index(len(threshold), percentile) - 2]

    [verdict] = check_recall(50, flag=off)
    assert verdict.status == VIOLATED
    good = check_recall(50)
    assert again(good, "A4.recall", recall=Fraction(49, 51)).status == VIOLATED
    assert again(good, "A4.count", caught=Fraction(1, 2)).status == VIOLATED


def test_draws():
    rng = np.random.default_rng()
    normal = rng.standard_normal((20_000, 31))
    assert check_draws(normal[:, 0], normal[:, 1:])[0].status == HOLDS
    lower = check_draws(normal[:, 0] - 3, normal[:, 1:], percentile=50)[0]  # easier to catch: not exchangeable
    assert lower.status == VIOLATED
    rounded = check_draws(normal[:, 0].round(), normal[:, 1:].round())[0]
    assert rounded.status == OUT_OF_SCOPE  # ties
    assert check_draws(normal[:50, 0], normal[:50, 1:])[0].status == Status.INCONCLUSIVE


def test_experiment():
    verdicts = experiment_recall(seed=int(np.random.default_rng().integers(10**6)))
    assert {v.claim for v in verdicts} == set(A4.members) and not verdicts.unexpected()
    assert judged(verdicts, "A4.recall") == judged(verdicts, "A4.count") == HOLDS


@pytest.mark.slow
def test_experiment_at_full_size():
    verdicts = experiment_recall("full")
    assert not verdicts.unexpected() and judged(verdicts, "A4.draws") == HOLDS


def test_bad_input():
    for call in (
        lambda: check_recall(0),
        lambda: check_recall(50, 6),
        lambda: check_recall(5, percentile=0),
        lambda: check_draws([1.0], [[1.0], [2.0]]),
    ):
        with pytest.raises(InvalidInput):
            call()
