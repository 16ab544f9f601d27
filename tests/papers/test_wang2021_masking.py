"""U5: outliers that are many or agree hide; the one-dimensional case is exact and free of the shift."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from judging import again, judged

from theory.checks import InvalidInput
from theory.papers.wang2021.masking import (
    U5,
    agreeing,
    check_line,
    check_masking,
    contaminated,
    experiment_masking,
)
from theory.verdict import Status

HOLDS, VIOLATED, OUT_OF_SCOPE = Status.HOLDS, Status.VIOLATED, Status.OUT_OF_SCOPE


@given(seed=st.integers(0, 10**6), centre=st.sampled_from(["all", "global"]), share=st.floats(0, 1))
def test_any_set_of_integer_views_keeps_its_bound(seed, centre, share):
    draw = np.random.default_rng(seed)
    z = draw.integers(-2, 3, size=(3, 4, 3)) * draw.integers(0, 2, size=3)
    which = draw.random((3, 4)) < share
    which[0, 0] = True
    verdicts = check_masking(z, which, centre=centre)
    assert judged(verdicts, "U5.bound") == HOLDS
    assert judged(verdicts, "U5.below") in (HOLDS, OUT_OF_SCOPE)


def test_all_views_attain_the_bound():
    z = np.random.default_rng(0).integers(-3, 4, size=(3, 4, 2))
    verdicts = check_masking(z, np.ones((3, 4), dtype=bool))
    assert verdicts[0].tightest == 1 and verdicts[0].status == HOLDS
    assert again(verdicts, "U5.bound", own=1).status == VIOLATED


def test_outliers_on_one_line_hide_when_they_are_many():
    draw = np.random.default_rng(0)
    few, many = (check_masking(*agreeing(share, draw)) for share in (0.1, 0.4))
    assert judged(few, "U5.below") == OUT_OF_SCOPE
    assert float(few[0].left.value[0]) > 4  # few: far from the centre, as outliers should be
    assert judged(many, "U5.below") == HOLDS
    assert float(many[0].left.value[0]) < 4
    assert again(many, "U5.below", mean=few[0].inputs["mean"]).status == VIOLATED


@given(
    views=st.integers(2, 6),
    outliers=st.integers(1, 5),
    rows=st.integers(1, 5),
    shift=st.integers(-50, 50).filter(bool),
)
def test_the_line_is_a_formula_of_counts(views, outliers, rows, shift):
    if outliers >= views:
        outliers = views - 1
    verdicts = check_line(*contaminated(5, views, outliers, rows, shift))
    assert judged(verdicts, "U5.shifted") == judged(verdicts, "U5.clean") == HOLDS
    majority = 2 * outliers > views
    assert judged(verdicts, "U5.reversed") == (HOLDS if majority else OUT_OF_SCOPE)


def test_the_line_in_floats_and_what_breaks_it():
    z, which = contaminated(6, 5, 2, 4, shift=3)
    verdicts = check_line(z / 7, which)
    assert {verdict.status for verdict in verdicts} == {HOLDS, OUT_OF_SCOPE}
    z = z.astype(float)
    z[0, 0] += 1  # not the same shift any more
    broken = check_line(z, which)
    assert judged(broken, "U5.shifted") == judged(broken, "U5.clean") == VIOLATED
    assert again(verdicts, "U5.shifted", k=3).status == VIOLATED
    clean = next(verdict for verdict in verdicts if verdict.claim.id == "U5.reversed")
    assert U5["reversed"].check(d2=clean.inputs["d2"], clean=clean.inputs["clean"], k=4, M=5).status == VIOLATED


def test_images_of_nothing_but_outliers_are_out_of_scope():
    z = np.array([[[0], [0], [0]], [[0], [5], [5]]])
    which = np.array([[True] * 3, [False] * 3])
    assert {verdict.status for verdict in check_line(z, which)} == {OUT_OF_SCOPE}


def test_distances_by_hand():
    """Half of the images contaminated by one of three views: outliers at 4, clean neighbours at 1, others at 0."""
    verdicts = check_line(*contaminated(4, 3, 1, 2))
    assert verdicts[0].inputs["d2"].value == Fraction(4) and verdicts[1].inputs["d2"].value == Fraction(1)


def test_experiment_finds_what_is_expected():
    table = experiment_masking()
    assert {verdict.claim for verdict in table} == set(U5.members)
    assert {verdict.status for verdict in table} == {HOLDS, OUT_OF_SCOPE}
    assert all(table.family(member.id) == HOLDS for member in U5.members)


@pytest.mark.slow
def test_experiment_at_full_size():
    assert not experiment_masking("full", seed=1).unexpected()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check_masking(np.zeros((2, 3, 1)), np.zeros((2, 3), dtype=bool)), "at least one view"),
        (lambda: check_masking(np.zeros((2, 3, 1)), np.ones((3, 2), dtype=bool)), "shape"),
        (lambda: check_line(np.zeros((2, 3, 1)), np.array([[1, 0, 0], [1, 1, 0]], dtype=bool)), "none or k"),
        (lambda: contaminated(2, 3, 4, 1), "outliers"),
        (lambda: contaminated(2, 3, 1, 3), "contaminated"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InvalidInput, match=message):
        call()
