"""U7: the bias of the self-normalised estimate, bounded for every n, of order 1/n; broken without the chi-square."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from judging import again, judged

from theory.checks import InvalidInput
from theory.importance import bias_bound
from theory.papers.wang2021.importance import (
    U7,
    check_bias,
    experiment_bias,
    leading_bias,
    next_term,
    random_problem,
    settling_draws,
)
from theory.verdict import Status


@given(seed=st.integers(0, 10**6), values=st.integers(2, 4), draws=st.integers(1, 15))
def test_any_problem_keeps_its_bound(seed, values, draws):
    problem = random_problem(np.random.default_rng(seed), values)
    verdicts = check_bias([problem], [draws])
    assert judged(verdicts, "U7.bound") == Status.HOLDS
    assert verdicts[0].tightest < 0.5  # no search has come nearer
    spread, chi_square = (float(verdicts[0].inputs[name].value.item()) for name in ("D", "v"))
    assert float(verdicts[0].right.value.item()) == pytest.approx(bias_bound(spread, chi_square, draws))


def test_the_bias_is_of_order_one_over_n():
    problems = [([p, 1 - p], [q, 1 - q], [0.0, 1.0]) for p, q in ((0.3, 0.6), (0.5, 0.2), (0.8, 0.7), (0.2, 0.5))]
    verdicts = check_bias(problems, (400, 800, 1600, 3200))
    assert judged(verdicts, "U7.rate") == Status.HOLDS
    biases = verdicts[0].inputs["bias"].value.reshape(4, 4)
    for row, problem in zip(biases, problems, strict=True):
        assert 3200 * row[-1] == pytest.approx(leading_bias(*problem), rel=0.01)
    assert again(verdicts, "U7.bound", v=0.0).status == Status.VIOLATED
    assert again(verdicts, "U7.bound", n=10**6).status == Status.VIOLATED
    assert again(verdicts, "U7.rate", exponent=-0.5).status == Status.VIOLATED


def test_what_q_never_draws_is_out_of_scope_and_does_not_fade():
    problem = ([0.5, 0.3, 0.2], [0.6, 0.4, 0.0], [0.0, 1.0, 50.0])
    verdicts = check_bias([problem], (1, 10, 100))
    assert {verdict.claim.id for verdict in verdicts} == {"U7.bound"}
    assert verdicts[0].status == Status.OUT_OF_SCOPE
    assert np.abs(verdicts[0].inputs["bias"].value).min() > 5


def test_few_draws_put_the_rate_out_of_scope():
    problem = ([0.9, 0.1], [0.01, 0.99], [0.0, 1.0])
    assert judged(check_bias([problem], (10, 20, 40)), "U7.rate") == Status.OUT_OF_SCOPE


def test_where_the_next_term_vanishes_the_rate_is_another():
    """p = .4, q = .2 of one of two values: n bias is off its limit by order 1/n^2."""
    problem = ([0.4, 0.6], [0.2, 0.8], [0.0, 1.0])
    assert next_term(*problem) == pytest.approx(0, abs=1e-12) and settling_draws(*problem) == np.inf
    rate = check_bias([problem], (100, 200, 400, 800))[1]
    assert rate.status == Status.OUT_OF_SCOPE
    assert rate.claim.check(**{**rate.inputs, "settling": 0.01}).status == Status.VIOLATED


@given(seed=st.integers(0, 10**6))
def test_the_next_term(seed):
    problem = random_problem(np.random.default_rng(seed), 2)
    settling = settling_draws(*problem)
    if settling > 30:
        return
    n = int(100 * settling)
    bias = check_bias([problem], [n])[0].inputs["bias"].value[0]
    assert n * (n * bias - leading_bias(*problem)) == pytest.approx(next_term(*problem), rel=0.1)


def test_equal_p_and_q_have_no_bias():
    verdicts = check_bias([([0.4, 0.6], [0.4, 0.6], [0.0, 1.0])], (1, 2, 3))
    assert np.abs(verdicts[0].inputs["bias"].value).max() < 1e-15
    assert {verdict.claim.id for verdict in verdicts} == {"U7.bound"}


def test_experiment_finds_what_is_expected():
    table = experiment_bias()
    assert {verdict.claim for verdict in table} == set(U7.members)
    assert all(verdict.status == Status.HOLDS for verdict in table if verdict.claim.id == "U7.bound")
    assert not table.unexpected()


@pytest.mark.slow
def test_experiment_at_full_size():
    assert not experiment_bias("full", seed=1).unexpected()


@pytest.mark.parametrize(
    ("problem", "draws", "message"),
    [
        (([0.5, 0.5], [0.5], [0.0, 1.0]), [1], "q"),
        (([0.5, 0.6], [0.5, 0.5], [0.0, 1.0]), [1], "probabilities"),
        (([0.5, 0.5], [0.5, 0.5], [0.0, 1.0]), [0], "draws"),
    ],
)
def test_bad_input(problem, draws, message):
    with pytest.raises(InvalidInput, match=message):
        check_bias([problem], draws)
