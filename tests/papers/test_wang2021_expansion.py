"""U6: the remainder of the linear expansion, tight for few far views, broken by weights of another mean."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from judging import again, judged

from theory.checks import InvalidInput
from theory.papers.wang2021.expansion import U6, check_expansion, experiment_expansion
from theory.verdict import Status


@given(
    st.lists(st.floats(0, 1e3), min_size=2, max_size=30).filter(lambda d2: np.ptp(d2) > 1e-3),
    st.floats(0.02, 1e3),
)
def test_any_distances(d2, temperature):
    [verdict] = check_expansion(np.array(d2), [temperature])
    assert verdict.status in (Status.HOLDS, Status.INCONCLUSIVE), verdict.explain()


def test_many_temperatures_hold_and_come_near_the_bound():
    d2 = np.random.default_rng(0).chisquare(4, size=300)
    [verdict] = check_expansion(d2, np.geomspace(0.1, 1000, 20).tolist())
    assert verdict.status == Status.HOLDS
    assert verdict.tightest > 0.99


def test_weights_of_the_nearest_view_alone():
    """Temperatures at which exp(b) is beyond float64."""
    [verdict] = check_expansion(np.random.default_rng(0).chisquare(4, size=50), [1e-3, 1e-5])
    assert verdict.status == Status.HOLDS


def test_wrong_expansions_are_caught():
    d2 = np.random.default_rng(0).chisquare(4, size=300)
    verdicts = check_expansion(d2, [5.0, 50.0])
    plus = -verdicts[0].inputs["x"].value
    assert again(verdicts, "U6.expansion", x=plus).status == Status.VIOLATED  # the sign
    raw = np.exp(-verdicts[0].inputs["x"].value - verdicts[0].inputs["b"].value)  # exp(-d2/tau), not normalised
    assert again(verdicts, "U6.expansion", w=raw).status == Status.VIOLATED
    assert again(verdicts, "U6.expansion", s2=0.0).status == Status.VIOLATED


def test_negative_numbers_are_out_of_scope():
    [verdict] = check_expansion(np.array([-3.0, 1.0, 5.0]), [1.0])
    assert verdict.status == Status.OUT_OF_SCOPE


def test_experiment_finds_what_is_expected():
    table = experiment_expansion()
    assert judged(table, "U6.expansion") == Status.HOLDS and {v.claim for v in table} == set(U6.members)


@pytest.mark.slow
def test_experiment_at_full_size():
    assert judged(experiment_expansion("full", seed=1), "U6.expansion") == Status.HOLDS


@pytest.mark.parametrize(
    ("distances", "temperatures", "message"),
    [
        (np.ones(1), [1.0], "at least two"),
        (np.zeros(3), [1.0], "positive mean"),
        (np.arange(3.0), [0.0], "temperatures"),
        (np.array([1.0, np.nan]), [1.0], "NaN"),
    ],
)
def test_bad_input(distances, temperatures, message):
    with pytest.raises(InvalidInput, match=message):
        check_expansion(distances, temperatures)
