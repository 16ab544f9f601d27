"""U1 and U2: distances are leverages. Exact where integers allow, attained, broken, out of scope."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from judging import again, judged

from theory import outlier
from theory.checks import InvalidInput
from theory.papers.wang2021.distances import (
    U1,
    U2,
    attained,
    check_mean,
    check_range,
    exact_distances,
    experiment_mean,
    experiment_range,
    random_views,
)
from theory.verdict import Status

HOLDS, VIOLATED, OUT_OF_SCOPE = Status.HOLDS, Status.VIOLATED, Status.OUT_OF_SCOPE
CENTRES = outlier.CENTRES


@pytest.mark.parametrize("centre", CENTRES)
def test_many_random_sets(centre):
    draw = np.random.default_rng(7)
    sets = [random_views(draw) for _ in range(500)]
    verdicts = check_mean(sets[:200], centre=centre) + check_range(sets, centre=centre)
    for verdict in verdicts:
        assert verdict.status == HOLDS, verdict.explain()
    assert np.abs(verdicts[0].left.value / verdicts[0].right.value - 1).max() < 1e-13


@given(seed=st.integers(0, 10**6), centre=st.sampled_from(CENTRES), dimension=st.integers(1, 5))
def test_integer_views_are_judged_exactly(seed, centre, dimension):
    z = np.random.default_rng(seed).integers(-3, 4, size=(2, 4, dimension))
    verdicts = check_mean(z, centre=centre) + check_range(z, centre=centre)
    assert judged(verdicts, "U1.mean") == HOLDS
    bounds = ("U2.all",) if centre == "all" else ("U2.pair", "U2.others")
    for name in (*bounds, "U2.rank", "U2.nonnegative"):
        assert judged(verdicts, name) == HOLDS
    assert isinstance(verdicts[0].inputs["mean"].value[0], Fraction)


@pytest.mark.parametrize(("centre", "names"), [("all", ["U2.all"]), ("global", ["U2.pair", "U2.others"])])
def test_bounds_are_attained(centre, names):
    verdicts = check_range(attained(3, 4, centre), centre=centre)
    for name in names:
        assert judged(verdicts, name) == HOLDS
        [row] = [verdict for verdict in verdicts if verdict.claim.id == name]
        assert row.tightest == 1
        value = row.inputs["d2"].value[0]
        assert again(verdicts, name, d2=value + Fraction(1, 10**12)).status == VIOLATED


def test_a_hair_less_than_the_bound_is_violated():
    """The bound N(M-1) with M-2 in place of M-1, and NM/2 for views that are not global, are too small."""
    [row] = [v for v in check_range(attained(3, 4)) if v.claim.id == "U2.all"]
    assert again([row], "U2.all", M=3).status == VIOLATED
    others = [v for v in check_range(attained(3, 4, "global"), centre="global") if v.claim.id == "U2.others"]
    as_pair = U2["pair"].check(d2=others[0].inputs["d2"], N=3, M=4)
    assert as_pair.status == VIOLATED


def test_saturation_makes_every_distance_the_bound():
    z = np.random.default_rng(0).integers(-9, 10, size=(2, 3, 5))
    verdicts = check_range(z)
    assert judged(verdicts, "U2.saturated") == HOLDS
    assert again(verdicts, "U2.saturated", d2=Fraction(39, 10)).status == VIOLATED
    assert judged(check_range(z[..., :3]), "U2.saturated") == OUT_OF_SCOPE  # rank 3 of 4
    about_pair, _ = exact_distances(z, "global")
    assert (about_pair == np.array([3, 3, 6])).all()  # constants too: NM/2 and NM


def test_saturated_floats_do_not_decide_ties():
    z = np.random.default_rng(0).normal(size=(2, 3, 5))
    verdicts = check_range(z)
    assert judged(verdicts, "U2.saturated") == HOLDS
    assert judged(verdicts, "U2.all") == OUT_OF_SCOPE


@pytest.mark.parametrize("centre", CENTRES)
def test_corrupted_means_are_caught(centre):
    z = np.random.default_rng(1).normal(size=(10, 4, 3))
    verdicts = check_mean(z, centre=centre)
    assert judged(verdicts, "U1.mean") == judged(verdicts, "U1.ridge") == HOLDS
    mean = verdicts[0].inputs["mean"].value
    assert again(verdicts, "U1.mean", mean=mean * (1 + 1e-8)).status == VIOLATED
    assert again(verdicts, "U1.mean", rank=4).status == VIOLATED  # the dimension, or the rank of the views themselves
    totals = verdicts[1].inputs["total"].value
    assert again(verdicts, "U1.ridge", mean=np.full(3, 3.0)).status == VIOLATED  # the rank, as if there were no ridge
    assert again(verdicts, "U1.ridge", ridge=0 * totals).status == OUT_OF_SCOPE


def test_other_centres_break_the_mean():
    """Distances by a covariance about the wrong centre (the mean of all images) do not average to its rank."""
    z = np.random.default_rng(1).normal(size=(10, 4, 3)) + 5 * np.random.default_rng(2).normal(size=(10, 1, 3))
    delta = (z - z.mean(axis=1, keepdims=True)).reshape(-1, 3)
    Sigma = np.cov(z.reshape(-1, 3).T)
    mean = np.einsum("ni,ij,nj->n", delta, np.linalg.inv(Sigma), delta).mean()
    assert U1["mean"].check(mean=mean, rank=3).status == VIOLATED


def test_exact_distances_by_hand():
    """One dimension, one image, views 0, 0, 3: deviations -1, -1, 2, variance 2, distances 1/2, 1/2, 2."""
    values, rank = exact_distances(np.array([[[0], [0], [3]]]))
    assert values.tolist() == [[Fraction(1, 2), Fraction(1, 2), Fraction(2)]] and rank == 1
    about_pair, _ = exact_distances(np.array([[[0], [2], [4]]]), "global")  # -1, 1, 3: variance 11/3
    assert about_pair.tolist() == [[Fraction(3, 11), Fraction(3, 11), Fraction(27, 11)]]
    nothing, rank = exact_distances(np.ones((2, 3, 2), dtype=int))
    assert rank == 0 and (nothing == 0).all()


def test_experiments_find_nothing_unexpected():
    for family, experiment in ((U1, experiment_mean), (U2, experiment_range)):
        table = experiment()
        assert {verdict.claim for verdict in table} == set(family.members)
        assert {verdict.status for verdict in table} == {HOLDS}


@pytest.mark.slow
def test_experiments_at_full_size():
    for experiment in (experiment_mean, experiment_range):
        assert not experiment("full", seed=1).unexpected()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: exact_distances(np.full((2, 3, 1), 0.5)), "integers"),
        (lambda: exact_distances(np.zeros((2, 3), dtype=int)), "integers"),
        (lambda: check_range(np.zeros((2, 1, 3))), "two views"),
        (lambda: check_mean(np.full((2, 3, 3), np.nan)), "NaN"),
        (lambda: check_mean(np.zeros((2, 3, 3)), centre="median"), "centre"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InvalidInput, match=message):
        call()
