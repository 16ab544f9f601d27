"""H10: one-step directions within Kantorovich's bound, tight; after B^T nothing of it is left."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import again, judged

from theory.checks import InvalidInput
from theory.papers.raghu2021.direction import (
    H10,
    attained,
    check_after,
    check_direction,
    experiment_direction,
    opposed,
)
from theory.papers.raghu2021.systems import random_system
from theory.verdict import Status

HOLDS, VIOLATED, OUT_OF_SCOPE = Status.HOLDS, Status.VIOLATED, Status.OUT_OF_SCOPE
BEFORE = ("H10.one_step", "H10.series")


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), share=st.floats(0.01, 1), order=st.integers(0, 30))
def test_any_system(seed, share, order):
    H, v, _, high = random_system(np.random.default_rng(seed), condition=500.0)
    for verdict in check_direction([(H, v, share / high, order)]):
        assert verdict.status in (HOLDS, Status.INCONCLUSIVE), verdict.explain()


@pytest.mark.parametrize("condition", [2.0, 10.0, 1000.0])
def test_both_are_tight(condition):
    values = np.array([1.0, np.sqrt(condition), condition])
    [one, _] = check_direction([(np.diag(values), attained(values), 0.5 / condition, 0)])
    assert one.left.value == pytest.approx(one.right.value, rel=1e-12)
    alpha, order = 0.7 / condition, 4
    shares = 1 - (1 - alpha * values) ** (order + 1)  # P_K H has these eigenvalues, and x is its worst vector
    x = np.array([shares[-1] ** 0.5, 0, shares[0] ** 0.5])
    series = check_direction([(np.diag(values), values * x, alpha, order)])[1]
    assert series.left.value == pytest.approx(series.right.value, rel=1e-12)


def test_broken_measurements_are_caught():
    values = np.array([1.0, 3.0, 10.0])
    verdicts = check_direction([(np.diag(values), np.ones(3), 0.05, 2)])
    assert {verdict.status for verdict in verdicts} == {HOLDS}
    for name in BEFORE:
        assert again(verdicts, name, cosine=0.1).status == VIOLATED
        assert again(verdicts, name, mu=-1.0).status == OUT_OF_SCOPE
    assert again(verdicts, "H10.series", alpha=0.11).status == OUT_OF_SCOPE
    [one, _] = check_direction([(np.diag(values), attained(values), 0.05, 2)])
    assert again([one], "H10.one_step", mu=2.0).status == VIOLATED  # the condition number understated


def test_longer_steps_break_the_second_bound():
    """Beyond alpha = 1/L P_K H is no longer monotone in lambda, and chi is not its condition number."""
    H, v = np.diag([1.0, 0.5]), np.array([1.0, 1.0])
    verdicts = check_direction([(H, v, 1.5, 1)])
    assert judged(verdicts, "H10.series") == OUT_OF_SCOPE


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), angle=st.floats(1e-4, 1.0))
def test_after_the_mixed_derivative_any_angle_can_be_had(seed, angle):
    H, v, _, _ = random_system(np.random.default_rng(seed), condition=50.0)
    B = opposed(H, v, angle)
    assert np.linalg.matrix_rank(B) == len(v)
    x = np.linalg.solve(H, v)
    a, b = B.T @ v, B.T @ x
    assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) == pytest.approx(-1 / np.sqrt(1 + angle**2), abs=1e-6)
    [verdict] = check_after(H, v, B)
    assert verdict.status == VIOLATED and verdict.claim.expected == VIOLATED


def test_an_innocent_mixed_derivative_does_no_harm():
    H, v, _, _ = random_system(np.random.default_rng(0), condition=5.0)
    assert check_after(H, v, np.eye(len(v)))[0].status == HOLDS
    assert check_after(-H, v, np.eye(len(v)))[0].status == OUT_OF_SCOPE


def test_experiment_finds_what_is_expected():
    table = experiment_direction()
    assert {verdict.claim for verdict in table} == set(H10.members)
    assert not table.unexpected()
    assert {judged(table, name) for name in BEFORE} == {HOLDS} and judged(table, "H10.after") == VIOLATED


@pytest.mark.slow
def test_experiment_at_full_size():
    table = experiment_direction("full", seed=1)
    assert not table.unexpected() and {judged(table, name) for name in BEFORE} == {HOLDS}


def test_bad_input():
    with pytest.raises(InvalidInput, match="eigenvector"):
        opposed(np.diag([1.0, 2.0]), np.array([1.0, 0.0]))
    with pytest.raises(InvalidInput, match="at least one"):
        check_direction([])
    with pytest.raises(InvalidInput, match="order"):
        check_direction([(np.eye(2), np.ones(2), 0.1, -1)])
    with pytest.raises(InvalidInput, match="B"):
        check_after(np.diag([1.0, 2.0]), np.ones(2), np.ones((3, 1)))
    with pytest.raises(InvalidInput, match=r"B: .*NaN"):
        check_after(np.diag([1.0, 2.0]), np.ones(2), np.full((2, 2), np.nan))
    with pytest.raises(InvalidInput, match="no angle"):
        check_after(np.diag([1.0, 2.0]), np.ones(2), np.zeros((2, 2)))
