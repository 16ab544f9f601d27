"""H1, the remainder of the Neumann series: no tolerance over the rationals, 1e-12 in float64, caught where wrong."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import again, judged

from theory.checks import InvalidInput
from theory.papers.raghu2021 import rational
from theory.papers.raghu2021.identity import H1, check_identity, experiment_identity
from theory.verdict import Status

HOLDS, VIOLATED = Status.HOLDS, Status.VIOLATED


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    size=st.integers(1, 4),
    alpha=st.fractions(-3, 3, max_denominator=20),
    order=st.integers(0, 8),
)
def test_exact_over_the_rationals(seed, size, alpha, order):
    H = np.random.default_rng(seed).integers(-5, 6, (size, size))
    if round(np.linalg.det(H)) == 0:
        return
    [verdict] = check_identity(H, alpha, order)
    assert verdict.status == HOLDS
    assert all(isinstance(entry, Fraction) for entry in verdict.inputs["gap"].value.flat)
    # the smallest corruption there is: zero tolerance means that it shows
    off = verdict.inputs["gap"].value + Fraction(1, 10**40)
    assert again([verdict], "H1.remainder", gap=off).status == VIOLATED


def test_both_rational_arithmetics_agree():
    pytest.importorskip("flint")
    H = np.array([[2, 1, 0], [1, 3, -1], [4, 0, 1]])
    for alpha, order in ((Fraction(1, 3), 0), (Fraction(-2, 7), 5)):
        one, other = (rational.sides(H, alpha, order, flint=flint) for flint in (True, False))
        for left, right in zip(one, other, strict=True):
            assert (left == right).all()


def test_fractions_alone():
    left, right = rational.sides(np.array([[0, 1], [2, 5]]), Fraction(1, 2), 3, flint=False)  # a zero pivot
    assert (left == right).all() and left.shape == (2, 2)


def test_one_term_more_or_fewer_is_caught():
    H = np.array([[2.0, 0.3], [0.1, 1.0]])
    [verdict] = check_identity(H, 0.4, 3)
    assert verdict.status == HOLDS
    [next_] = check_identity(H, 0.4, 4)
    assert again([verdict], "H1.remainder", rest=next_.inputs["rest"].value).status == VIOLATED


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 8), alpha=st.floats(-2, 2), order=st.integers(0, 12))
def test_float64(seed, size, alpha, order):
    H = np.random.default_rng(seed).standard_normal((size, size))
    if np.linalg.cond(H) > 1e6:
        return
    assert check_identity(H, alpha, order)[0].status == HOLDS


def test_well_conditioned_matrices_to_one_in_a_trillion_of_their_own_entries():
    draw = np.random.default_rng(0)
    for _ in range(60):
        A = np.eye(5) + 0.1 * draw.standard_normal((5, 5))
        [verdict] = check_identity(A, 0.5, 6)
        assert np.abs(verdict.slack).max() < 1e-12


def test_experiment_finds_what_is_expected():
    table = experiment_identity()
    assert judged(table, "H1.remainder") == HOLDS and len(table) == 80
    assert {verdict.claim for verdict in table} == set(H1.members)


@pytest.mark.slow
def test_experiment_at_full_size():
    assert {verdict.status for verdict in experiment_identity("full", seed=1)} == {HOLDS}


def test_an_ill_conditioned_matrix_is_left_open():
    """Where the tolerance exceeded H^{-1} itself, no matrix at all would have been refuted."""
    H = np.diag([1.0, 1e-11])
    [verdict] = check_identity(H, 0.3, 3)
    assert verdict.status == Status.INCONCLUSIVE
    assert again([verdict], "H1.remainder", gap=np.zeros((2, 2))).status == VIOLATED


@pytest.mark.parametrize(
    ("H", "alpha", "order", "message"),
    [
        (np.ones((2, 2), int), Fraction(1, 2), 1, "singular"),
        (np.ones((2, 2)), 0.5, 1, "regular"),
        (np.ones((2, 3)), 0.5, 1, "shape"),
        (np.eye(2), 0.5, -1, "order"),
        (np.eye(2) * np.nan, 0.5, 1, "NaN"),
        (np.eye(2), np.inf, 1, "alpha"),
        (np.eye(2), 1e30, 9, "lower alpha or the order"),
    ],
)
def test_bad_input(H, alpha, order, message):
    with pytest.raises(InvalidInput, match=message):
        check_identity(H, alpha, order)
