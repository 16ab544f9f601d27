"""The schedule of recordings; what the measurements mean is tested with `theory.descent`."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.checks import InvalidInput
from theory.trajectory import schedule


@given(steps=st.integers(1, 10**6), count=st.integers(2, 200))
def test_a_number_of_recordings_is_spread_in_log(steps, count):
    taus = schedule(count, steps)
    assert taus[0] == 0 and taus[-1] == steps and len(taus) <= count
    assert all(b > a for a, b in itertools.pairwise(taus))
    if steps < count:
        assert taus[:2] == [0, 1]


@given(steps=st.integers(1, 1000), data=st.data())
def test_chosen_steps_come_in_order_with_both_ends(steps, data):
    chosen = data.draw(st.lists(st.integers(0, steps)))
    assert schedule(iter(chosen), steps) == sorted({0, steps, *chosen})


@pytest.mark.parametrize("record", [[11], [-1], [0.5], 1, 2.5])
def test_what_cannot_be_recorded_is_refused(record):
    with pytest.raises(InvalidInput, match="record"):
        schedule(record, 10)
