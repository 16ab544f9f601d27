"""Confidence sequences: against their definition, and coverage over all sample sizes at once, exactly."""

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, optimize, stats

from theory import sequences
from theory.checks import InvalidInput
from theory.estimate import Estimate

N = 200


def ever_missed(p, covers, N=N):
    """Exact P(p is outside the set of some n <= N), S_n a sum of independent draws: (N,) running in n.

    The mass of every path that has not missed yet is pushed on, draw by draw; covers(n) says which S_n cover.
    """
    alive, missed = np.array([1.0]), []
    for n in range(1, N + 1):
        alive = np.append(alive * (1 - p), 0.0) + np.append(0.0, alive * p)
        kept = covers(n)
        missed.append(alive[~kept].sum())
        alive = np.where(kept, alive, 0.0)
    assert np.isclose(alive.sum() + sum(missed), 1)  # no path is lost
    return np.cumsum(missed)


@functools.cache
def all_intervals(alpha):
    """Ends for every S_n (column) after every n <= N (row)."""
    n, s = np.mgrid[: N + 1, : N + 1]
    return sequences.interval(np.minimum(s, n), n, alpha)


def in_sequence(p, alpha):
    low, high = all_intervals(alpha)
    return lambda n: (low[n, : n + 1] <= p) & (p <= high[n, : n + 1])


@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize("p", [0.0, 1e-3, 0.03, 0.2, 0.5, 0.9, 0.999, 1.0])
def test_coverage_over_all_sample_sizes_is_exact_and_sufficient(p, alpha):
    missed = ever_missed(p, in_sequence(p, alpha))
    assert missed[-1] <= alpha
    if p in (0.0, 1.0):
        assert missed[-1] == 0


def test_no_coverage_to_spare():
    """Ville's inequality is nearly an equality in the long run: a limit off by a factor 3 would show."""
    missed = ever_missed(0.5, lambda n: sequences.log_ratio(np.arange(n + 1), n, 0.5) < -np.log(0.2), 1000)
    assert 0.2 / 3 < missed[-1] <= 0.2


def test_a_fixed_sample_interval_fails_when_looked_at_each_time():
    """The control: Clopper-Pearson is exact at each n alone, and misses far too often somewhere."""
    alpha, p = 0.05, 0.5

    def covers(n):
        low, high = Estimate.proportion(np.arange(n + 1), n).interval(1 - alpha)
        return (low <= p) & (p <= high)

    missed = ever_missed(p, covers)
    assert missed[0] <= alpha < 3 * alpha < missed[-1]
    alone = [stats.binom.pmf(np.arange(n + 1), n, p)[~covers(n)].sum() for n in (1, 20, N)]
    assert max(alone) <= alpha


@pytest.mark.parametrize("prior", [(0.5, 0.5), (1.0, 1.0), (3.0, 1.5)])
@pytest.mark.parametrize(("s", "n"), [(0, 1), (0, 7), (3, 7), (7, 7), (1, 60), (450, 900)])
def test_interval_against_its_definition(s, n, prior):
    """The mixture by numerical integration in place of beta functions, the ends by a root finder of its own."""
    alpha, peak = 0.05, s * np.log(max(s, 1) / n) + (n - s) * np.log(max(n - s, 1) / n)

    def log_likelihood(q):
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(q > 0, s * np.log(q), -np.inf if s else 0) + np.where(
                q < 1, (n - s) * np.log1p(-q), -np.inf if n > s else 0
            )

    # q = sin^2 takes the endpoint singularities of the beta density away
    def integrand(angle):
        q = np.sin(angle) ** 2
        density = stats.beta.pdf(q, *prior) * 2 * np.sin(angle) * np.cos(angle)
        return np.exp(log_likelihood(q) - peak) * density

    cuts = np.linspace(0, np.pi / 2, 40)
    mixture = sum(integrate.quad(integrand, *ends, epsrel=1e-10, limit=200)[0] for ends in itertools.pairwise(cuts))

    def evidence(p):
        return float(np.log(mixture) + peak - log_likelihood(p))

    for p in (0.07, 0.5, 0.93):
        assert np.isclose(sequences.log_ratio(s, n, p, prior), evidence(p), rtol=1e-6, atol=1e-6)
    limit, centre, ends = -np.log(alpha), s / n, []
    for edge, impossible in ((1e-12, s > 0), (1 - 1e-12, s < n)):
        crosses = impossible and evidence(edge) > limit
        ends.append(optimize.brentq(lambda p: evidence(p) - limit, centre, edge) if crosses else round(edge))
    assert np.allclose(sequences.interval(s, n, alpha, prior), ends, rtol=0, atol=1e-6)


@given(st.integers(0, 400), st.integers(1, 400), st.floats(0.001, 0.2))
def test_interval_holds_the_share_narrows_and_mirrors(s, n, alpha):
    s = min(s, n)
    low, high = sequences.interval(s, n, alpha)
    assert 0 <= low <= s / n <= high <= 1
    mirrored = sequences.interval(n - s, n, alpha)
    assert np.allclose([low, high], [1 - mirrored[1], 1 - mirrored[0]], atol=1e-9)
    wider = sequences.interval(s, n, alpha / 2)
    assert wider[0] <= low and high <= wider[1]
    four = sequences.interval(4 * s, 4 * n, alpha)
    assert four[1] - four[0] < high - low


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.05, 0.95))
def test_decision_says_what_the_interval_says(s, n, threshold):
    s = min(s, n)
    low, high = sequences.interval(s, n, 0.05)
    if min(abs(low - threshold), abs(high - threshold)) > 1e-9:
        side = {(True, False): "above", (False, True): "below"}.get((low > threshold, high < threshold))
        assert sequences.decide(s, n, threshold, 0.05) == side


def test_before_the_first_draw_nothing_is_known():
    assert [float(end) for end in sequences.interval(0, 0)] == [0, 1]
    assert sequences.decide(0, 0) is None


def test_wrong_decisions_are_as_rare_as_stated_and_right_ones_come():
    """Exactly: the test of p > 1/2 where p is .5, .45 or .7, looked at after each of N draws."""
    alpha = 0.05

    def without(answers):
        return lambda n: ~np.isin([sequences.decide(s, n, 0.5, alpha) or "" for s in range(n + 1)], answers)

    assert ever_missed(0.5, without(["above", "below"]), 60)[-1] <= alpha
    assert ever_missed(0.45, without(["above"]), 40)[-1] <= alpha / 2
    assert ever_missed(0.8, without(["above"]), 40)[-1] > 0.8


@pytest.mark.parametrize("alpha", [0.2, 0.05, 1e-3])
def test_fewest_draws_that_can_settle(alpha):
    n = sequences.fewest(0.5, alpha)
    assert sequences.decide(n, n, 0.5, alpha) == "above" and sequences.decide(0, n, 0.5, alpha) == "below"
    assert all(sequences.decide(s, m, 0.5, alpha) is None for m in range(n) for s in range(m + 1))


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: sequences.interval(3, 2), "successes"),
        (lambda: sequences.interval(-1, 2), "successes"),
        (lambda: sequences.interval(0.5, 2), "successes"),
        (lambda: sequences.interval(np.nan, 2), "successes"),
        (lambda: sequences.interval(1, 2, alpha=0), "alpha"),
        (lambda: sequences.interval(1, 2, alpha=1.0), "alpha"),
        (lambda: sequences.interval(1, 2, prior=(0, 1)), "prior a"),
        (lambda: sequences.log_ratio(1, 2, 1.5), "p"),
        (lambda: sequences.log_ratio(1, 2, np.nan), "p"),
        (lambda: sequences.decide(1, 2, threshold=1), "threshold"),
        (lambda: sequences.decide(3, 2), "successes"),
        (lambda: sequences.decide(1, 2.5), "trials"),
        (lambda: sequences.fewest(alpha=2), "alpha"),
    ],
)
def test_bad_input(call, word):
    with pytest.raises(InvalidInput, match=word):
        call()
