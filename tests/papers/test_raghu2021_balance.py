"""H9: hypergradients of example weights, their balance, its failure away from w* and without the whole ridge."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import again, judged

from theory.checks import InvalidInput
from theory.papers.raghu2021.balance import H9, check_balance, experiment_balance, logistic_problem
from theory.verdict import Status

HOLDS, VIOLATED, OUT_OF_SCOPE = Status.HOLDS, Status.VIOLATED, Status.OUT_OF_SCOPE


@settings(max_examples=3)
@given(seed=st.integers(0, 10**6))
def test_any_problem(seed):
    for verdict in check_balance(*logistic_problem(np.random.default_rng(seed))):
        assert verdict.status == HOLDS, verdict.explain()


def test_away_from_the_minimum_the_sums_are_out_of_scope_and_false():
    losses, outer, weights, ridge, w = logistic_problem(np.random.default_rng(0))
    verdicts = check_balance(losses, outer, weights, ridge, w + 0.5)
    assert judged(verdicts, "H9.balance") == OUT_OF_SCOPE
    assert again(verdicts, "H9.balance", stationarity=0.0).status == VIOLATED
    assert judged(verdicts, "H9.entries") == HOLDS  # an algebraic identity at any w
    assert judged(verdicts, "H9.normalised") == HOLDS  # it finds its own minimum


def test_a_ridge_on_a_part_of_the_weights_breaks_the_balance():
    losses, outer, weights, ridge, w = logistic_problem(np.random.default_rng(1))
    verdicts = check_balance(losses, outer, weights, ridge, w)
    pull = verdicts[1].inputs["pull"].value
    assert again(verdicts, "H9.balance", pull=pull * 0.9).status == VIOLATED
    assert again(verdicts, "H9.balance", r=2 * ridge).status == VIOLATED


def test_without_a_ridge_the_weighted_mean_vanishes():
    draw = np.random.default_rng(2)
    X, y = torch.from_numpy(draw.standard_normal((30, 3))), torch.from_numpy(draw.standard_normal(30))
    weights = torch.from_numpy(draw.uniform(0.1, 0.9, 30))
    w = torch.linalg.solve((X.T * weights) @ X, X.T @ (weights * y))

    def losses(w):
        return (X @ w - y) ** 2 / 2

    verdicts = check_balance(losses, lambda w: (w**3).sum(), weights, 0.0, w)
    assert judged(verdicts, "H9.balance") == HOLDS
    assert abs(float(verdicts[1].inputs["dot"].value)) < 1e-12


@pytest.mark.filterwarnings("ignore:the inner loss's gradient")
def test_losses_that_are_all_at_their_minimum():
    w = torch.ones(2).double()
    for verdict in check_balance(lambda w: (w - 1) ** 2, lambda w: (w**3).sum(), w / 4, 0.0, w):
        assert verdict.status == HOLDS


def test_wrong_gradients_are_caught():
    verdicts = check_balance(*logistic_problem(np.random.default_rng(3)))
    for name, side in (("H9.entries", "formula"), ("H9.sigmoid", "g_phi")):
        [row] = [verdict for verdict in verdicts if verdict.claim.id == name]
        assert again(verdicts, name, **{side: row.inputs[side].value * 1.01}).status == VIOLATED
    normalised = next(verdict for verdict in verdicts if verdict.claim.id == "H9.normalised")
    broken = normalised.claim.check(dot=normalised.scale * 1e-3, stationarity=0.0, scale=normalised.scale)
    assert broken.status == VIOLATED
    assert again(verdicts, "H9.normalised", stationarity=0.1).status == OUT_OF_SCOPE


def test_experiment_finds_what_is_expected():
    table = experiment_balance()
    assert {verdict.claim for verdict in table} == set(H9.members)
    for member in H9.members:
        assert judged(table, member.id) == HOLDS


@pytest.mark.slow
def test_experiment_at_full_size():
    assert {verdict.status for verdict in experiment_balance("full", seed=1)} == {HOLDS}


def test_bad_input():
    losses, outer, weights, ridge, w = logistic_problem(np.random.default_rng(0))
    with pytest.raises(InvalidInput, match=r"\(0, 1\)"):
        check_balance(losses, outer, weights + 1, ridge, w)
    with pytest.raises(InvalidInput, match="w: expected float64"):
        check_balance(losses, outer, weights, ridge, w.float())
    with pytest.raises(InvalidInput, match="losses"):
        check_balance(lambda w: losses(w).sum(), outer, weights, ridge, w)
    with pytest.raises(InvalidInput, match="ridge"):
        check_balance(losses, outer, weights, -1.0, w)
