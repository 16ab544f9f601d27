"""Threshold samples: how many, disjoint; the cut in integer arithmetic; the paper's rule and the released runner's."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from theory import aum
from theory.aum import PAPER, RELEASED, Rules, cut, cut_index, draw, relabel, suspected
from theory.checks import InvalidInput


def test_sizes_of_the_paper_and_of_the_released_runner():
    assert PAPER.threshold_size(1437, 10) == 130 and RELEASED.threshold_size(1437, 10) == 143
    assert Rules(size=7).threshold_size(1437, 10) == 7
    assert (RELEASED.strict, RELEASED.skip, RELEASED.combine) == (True, 1, "all")


@given(samples=st.integers(12, 400), classes=st.integers(2, 10), runs=st.integers(1, 3), seed=st.integers(0, 10**6))
def test_draws_are_disjoint_rows(samples, classes, runs, seed):
    rules = Rules(runs=runs, size=1 + samples // 20)
    sets = draw(samples, classes, rules, seed)
    every = np.concatenate(sets)
    assert [len(rows) for rows in sets] == [1 + samples // 20] * runs
    assert len(set(every.tolist())) == len(every) and every.min() >= 0 and every.max() < samples
    assert all(np.array_equal(a, b) for a, b in zip(sets, draw(samples, classes, rules, seed), strict=True))


def test_draws_depend_on_the_seed_and_reach_every_row():
    assert not np.array_equal(draw(1000, 9, seed=0)[0], draw(1000, 9, seed=1)[0])
    assert len({row for seed in range(60) for row in draw(30, 2, seed=seed)[0]}) == 30


def test_relabelled_rows_get_the_fake_class():
    y = torch.tensor([2, 0, 1, 2])
    assert relabel(y, [1, 3], 3).tolist() == [2, 3, 1, 3] and y.tolist() == [2, 0, 1, 2]
    for labels, rows in (([0, 3], [0]), ([0, 1], [2]), ([0, 1], [-1])):
        with pytest.raises(InvalidInput):
            relabel(labels, rows, 3)


@given(n=st.integers(1, 5000), per_mille=st.integers(1, 1000))
def test_the_index_is_exact(n, per_mille):
    """k is the least number with at most n (100 - q)/100 threshold samples above it."""
    q = Fraction(per_mille, 10)
    k = cut_index(n, q)
    assert 1 <= k <= n
    assert (n - k) * 100 <= n * (100 - q) < (n - k + 1) * 100
    assert cut_index(n, per_mille / 10) == k  # a float means the decimal that it prints as


@pytest.mark.parametrize(("n", "k"), [(1, 1), (99, 99), (100, 99), (101, 100), (199, 198), (200, 198), (130, 129)])
def test_known_indices(n, k):
    assert cut_index(n) == k == n - n // 100


def test_percentiles_of_any_kind():
    kinds = [torch.tensor(97.5), torch.tensor(97.5).double(), np.float32(97.5), np.array(97.5), Fraction(195, 2)]
    assert [cut_index(200, kind) for kind in kinds] == [195] * 5


def test_floating_point_would_miss_an_index():
    """One of ten threshold samples lies above the 90th percentile, but 10 (1 - .9) is below 1 in float64."""
    assert cut_index(10, 90) == cut_index(10, 90.0) == 9 and math.floor(10 * (1 - 0.9)) == 0


@given(
    values=st.lists(st.integers(-6, 6), min_size=1, max_size=30),
    threshold=st.lists(st.integers(-6, 6), min_size=1, max_size=220),
)
def test_both_rules_as_they_are_worded(values, threshold):
    areas, own = np.array(values, dtype=float), np.array(threshold, dtype=float)
    released = [100 * int((own > area).sum()) > len(own) for area in areas]  # more than 1% strictly higher
    assert suspected(areas, own, strict=True).tolist() == released
    limit = np.sort(own)[cut_index(len(own)) - 1]
    assert cut(own) == limit and suspected(areas, own).tolist() == (areas <= limit).tolist()


def test_never_an_interpolated_percentile():
    own = np.array([-5.0, -1.0, 3.0, 4.0])
    assert cut(own, 50) == -1.0 != np.percentile(own, 50)
    assert suspected(torch.tensor([-1.0, 0.0]), torch.from_numpy(own), 50).tolist() == [True, False]


@pytest.mark.parametrize("percentile", [0, -1, 100.5, float("nan"), float("inf"), "99", Fraction(0), Fraction(201, 2)])
def test_percentiles_out_of_range(percentile):
    for call in (
        lambda: cut([1.0], percentile),
        lambda: Rules(percentile=percentile),
        lambda: cut_index(3, percentile),
    ):
        with pytest.raises(InvalidInput, match="percentile"):
            call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: cut([]),
        lambda: cut([1.0, np.nan]),
        lambda: suspected([np.nan], [1.0]),
        lambda: suspected([[1.0]], [1.0]),
        lambda: cut(["a"]),
        lambda: cut_index(0),
        lambda: Rules(combine="most"),
        lambda: Rules(size="N/c"),
        lambda: Rules(size=0),
        lambda: Rules(skip=-1),
        lambda: Rules(runs=0),
        lambda: draw(10, 10),
        lambda: draw(10, 2, Rules(size=5)),
        lambda: aum.draw(10, 1),
    ],
)
def test_bad_input(call):
    with pytest.raises(InvalidInput):
        call()
