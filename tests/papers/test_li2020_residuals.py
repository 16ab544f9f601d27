"""C10, bimodal residuals: near the true labels clean and corrupted ones are told apart, elsewhere nothing is said."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from judging import again

from theory import checks
from theory.papers.li2020 import residuals
from theory.papers.li2020.residuals import C10, check_residuals, experiment_residuals
from theory.verdict import Status

HOLDS, VIOLATED, OUT_OF_SCOPE = Status.HOLDS, Status.VIOLATED, Status.OUT_OF_SCOPE
ALPHAS = np.array([-1, 0.1, 1])


def test_experiment_finds_nothing_unexpected():
    verdicts = experiment_residuals()
    assert {verdict.claim for verdict in verdicts} == set(C10.members)
    assert not [v.explain() for v in verdicts if v.status != HOLDS]


@pytest.mark.slow
def test_experiment_at_full_size():
    assert not [v.explain() for v in experiment_residuals("full") if v.status != HOLDS]


@settings(max_examples=60)
@given(n=st.integers(2, 30), share=st.floats(0.1, 0.9), reach=st.floats(0, 0.499), seed=st.integers(0, 10**6))
def test_near_outputs_are_always_told_apart(n, share, reach, seed):
    rng = np.random.default_rng(seed)
    truth = rng.choice(ALPHAS, n)
    observed = np.where(rng.random(n) < share, rng.choice(ALPHAS, n), truth)
    assume(0 < (truth != observed).sum() < n)
    outputs = truth + 0.9 * reach * rng.choice([-1, 1, 0.3], n)
    for verdict in check_residuals(outputs, truth, observed):
        assert verdict.status == HOLDS, verdict.explain()


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, 2.0]), st.booleans()), min_size=2, max_size=12))
def test_auc_counts_pairs(rows):
    sizes, mask = np.array([r for r, _ in rows]), np.array([m for _, m in rows])
    assume(0 < mask.sum() < len(mask))
    pairs = [(a > b) + Fraction(int(a == b), 2) for a in sizes[mask] for b in sizes[~mask]]
    assert residuals._auc(sizes, mask) == sum(pairs) / len(pairs)


@pytest.mark.parametrize(
    ("outputs", "truth", "observed"),
    [
        ([0.6, 0.0, 1.0], [0, 0, 1], [0, 1, 1]),  # an output farther than delta/2
        ([0.5, 0.0, 1.0], [0, 0, 1], [0, 1, 1]),  # exactly at delta/2
        ([0.1, 0.0, 1.0], [0, 0, 1], [0, 0, 1]),  # nothing corrupted
        ([0.1, 0.9], [0, 1], [1, 0]),  # nothing clean
    ],
)
def test_out_of_scope(outputs, truth, observed):
    tie = 0.5 in outputs
    for verdict in check_residuals(outputs, truth, observed):
        assert verdict.status == OUT_OF_SCOPE or (tie and verdict.status == Status.INCONCLUSIVE)


def test_broken_residuals_are_caught():
    verdicts = check_residuals(torch.tensor([0.2, -0.1, 0.9]), [0, 0, 1], [0, 1, 1])
    assert {verdict.status for verdict in verdicts} == {HOLDS}
    assert again(verdicts, "C10.clean", clean=1.1).status == VIOLATED  # the groups swapped
    assert again(verdicts, "C10.corrupted", corrupted=0.2).status == VIOLATED
    assert again(verdicts, "C10.auc", auc=Fraction(1, 2)).status == VIOLATED


def test_a_run_is_judged_at_every_moment():
    truth, observed = np.array([0.0, 0, 1]), np.array([0.0, 1, 1])
    run = np.array([[0.0, 0.0, 0.0], [0.1, 0.3, 0.8], [0.0, 1.0, 1.0]])
    for verdict in check_residuals(run, truth, observed):
        assert verdict.statuses.tolist() == [OUT_OF_SCOPE, HOLDS, OUT_OF_SCOPE]


def test_bad_input():
    with pytest.raises(checks.InvalidInput, match="at least two"):
        check_residuals([0.1, 0.2], [1, 1], [1, 1])
    with pytest.raises(checks.InvalidInput, match="one output per label"):
        check_residuals([0.1, 0.2, 0.3], [0, 1], [1, 1])
