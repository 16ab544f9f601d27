"""The estimate, an interval that covers, the exact bias against simulation, and what is refused."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from theory.checks import InvalidInput
from theory.estimate import Estimate
from theory.importance import bias_bound, effective_sample_size, effective_share, exact_bias, self_normalised


def test_effective_sample_size():
    assert effective_sample_size(np.ones((3, 4))) == 12
    assert effective_sample_size([5.0, 0, 0]) == 1
    assert effective_share(torch.tensor([1.0, 1.0, 0.0, 0.0])) == 0.5
    assert effective_sample_size([1e200, 1e200]) == 2  # squares that would overflow


def test_equal_weights_give_the_interval_of_a_mean():
    f = np.random.default_rng(0).normal(size=30)
    ours, plain = self_normalised(f, np.full(30, 7.0)), Estimate.mean(f)
    assert ours.value == pytest.approx(plain.value)
    assert ours.interval(0.95) == pytest.approx(plain.interval(0.95))
    assert ours.size == 30


def test_tensors_that_carry_gradients_are_taken():
    f, w = torch.arange(3.0, requires_grad=True), torch.ones(3, requires_grad=True)
    assert self_normalised(f, w).value == 1


def test_the_interval_covers_and_one_without_weights_does_not():
    """q = N(0, 1), p = N(.5, 1), f = x: 1,000 repetitions at 95%. Coverage of exactly .90 would fail."""
    draw = np.random.default_rng(1)
    inside = {"weighted": 0, "ignored": 0}
    for _ in range(1000):
        x = draw.normal(size=200)
        low, high = self_normalised(x, np.exp(0.5 * x)).interval(0.95)
        inside["weighted"] += low <= 0.5 <= high
        low, high = Estimate.mean(x).interval(0.95)
        inside["ignored"] += low <= 0.5 <= high
    assert inside["weighted"] > stats.binom.ppf(0.999, 1000, 0.90)
    assert inside["ignored"] < 10


def test_a_few_heavy_draws_widen_the_interval():
    f = np.random.default_rng(0).normal(size=100)
    heavy = np.where(np.arange(100) < 3, 1.0, 1e-9)
    narrow, wide = (np.ptp(self_normalised(f, w).interval(0.95)) for w in (np.ones(100), heavy))
    assert wide > 5 * narrow


@given(seed=st.integers(0, 10**6), draws=st.integers(1, 6))
def test_the_exact_bias_is_a_sum_over_all_sequences(seed, draws):
    import itertools

    draw = np.random.default_rng(seed)
    p, q, f = draw.dirichlet(np.ones(3)), draw.dirichlet(np.ones(3)), draw.normal(size=3)
    total = 0.0
    for sequence in itertools.product(range(3), repeat=draws):
        rows = np.array(sequence)
        r = (p / q)[rows]
        total += q[rows].prod() * (r @ f[rows]) / r.sum()
    assert exact_bias(p, q, f, draws) == pytest.approx(total - p @ f, abs=1e-9)


def test_one_draw_forgets_the_weights():
    assert exact_bias([0.2, 0.8], [0.7, 0.3], [0.0, 1.0], 1) == pytest.approx(0.3 - 0.8)


def test_values_that_neither_draws_and_draws_without_weight():
    assert exact_bias([0.5, 0.5, 0], [0.5, 0.5, 0], [0.0, 1.0, 9.0], 3) == pytest.approx(0)
    # p is one point, q two: the estimate is right unless no draw hits it, which counts as unbiased
    assert exact_bias([1.0, 0.0], [0.5, 0.5], [2.0, 5.0], 4) == 0


def test_the_bound_at_a_point():
    assert bias_bound(2.0, 3.0, 10) == pytest.approx(2 * math.sqrt(3) * (math.sqrt(3) + 2) / 10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: self_normalised([1.0, 2.0], [1.0]), "weights"),
        (lambda: self_normalised([1.0, 2.0], [1.0, 0.0]), "two draws with weight"),
        (lambda: self_normalised([1.0, 2.0], [1.0, 1e-20]), "two draws with weight"),  # one draw, to float64
        (lambda: self_normalised([1.0, 2.0], [1.0, -1.0]), "non-negative"),
        (lambda: self_normalised([1.0, np.nan], [1.0, 1.0]), "NaN"),
        (lambda: self_normalised(np.ones((2, 2)), np.ones((2, 2))), "not empty"),
        (lambda: effective_sample_size([0.0, 0.0]), "not all 0"),
        (lambda: effective_sample_size([np.inf]), "NaN or infinite"),
        (lambda: effective_sample_size([]), "not all 0"),
        (lambda: bias_bound(-1, 1, 1), "spread"),
        (lambda: bias_bound(1, -1, 1), "chi_square"),
        (lambda: bias_bound(1, 1, 0), "draws"),
        (lambda: exact_bias([1.0], [0.5], [0.0], 1), "probabilities"),
        (lambda: exact_bias([0.5, 0.5], [1.0, 0.0], [0.0, 1.0], 1), "0 where p > 0"),
        (lambda: exact_bias(np.ones(9) / 9, np.ones(9) / 9, np.ones(9), 99), "outcomes"),
        (lambda: exact_bias([0.5, 0.5], [0.5, 0.5], [0.0], 1), "f"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InvalidInput, match=message):
        call()
