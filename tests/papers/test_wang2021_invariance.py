"""U3: invertible maps and shifts of each image; normalising afterwards, or shifting views apart, breaks it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import outlier
from theory.checks import InvalidInput
from theory.papers.wang2021.invariance import U3, check_invariance, experiment_invariance, random_map
from theory.verdict import Status


@given(
    seed=st.integers(0, 10**6),
    centre=st.sampled_from(outlier.CENTRES),
    rank=st.integers(1, 4),
    shape=st.tuples(st.integers(3, 12), st.integers(3, 6)),
)
def test_random_maps_change_no_distance(seed, centre, rank, shape):
    draw = np.random.default_rng(seed)
    z = draw.normal(size=(*shape, rank)) @ draw.normal(size=(rank, 4))
    maps = [random_map(draw, 4), draw.normal(size=(4, 4)) + 3 * np.eye(4), np.eye(4)[::-1] * 1e-3]
    shifts = [draw.normal(size=(shape[0], 4)) for _ in maps]
    [verdict] = check_invariance(z, maps, shifts, centre=centre)
    assert verdict.status in (Status.HOLDS, Status.INCONCLUSIVE)
    well = verdict.inputs["least"].value > 1e-2
    gap = np.abs(verdict.left.value - verdict.right.value)
    assert (gap[well] <= 1e-8).all()


def test_a_thousand_maps():
    draw = np.random.default_rng(5)
    z = draw.normal(size=(10, 5, 5))
    maps = [random_map(draw, 5) for _ in range(1000)]
    [verdict] = check_invariance(z, maps)
    assert verdict.status == Status.HOLDS
    assert np.abs(verdict.left.value - verdict.right.value).max() < 1e-10


def test_rounding_that_hides_the_views_decides_nothing():
    """A shift that drowns the views, and a map that nearly drops the one direction they have: no verdict, no alarm."""
    draw = np.random.default_rng(1)
    z = draw.normal(size=(20, 5, 4))
    for size in (1e10, 1e14, 1e20):
        [verdict] = check_invariance(z, [np.eye(4)], [size * draw.normal(size=(20, 4))])
        assert verdict.status == Status.INCONCLUSIVE
    left, right = (np.linalg.qr(draw.normal(size=(4, 4)))[0] for _ in range(2))
    line = draw.normal(size=(20, 5, 1)) * right[:, 3]
    for least in (1e-3, 1e-4, 2e-6):
        [verdict] = check_invariance(line, [left * np.array([1, 1, 1, least]) @ right.T])
        assert verdict.status == Status.INCONCLUSIVE


def renormalised(z):
    return z / np.linalg.norm(z, axis=-1, keepdims=True)


def test_normalising_again_breaks_it():
    draw = np.random.default_rng(0)
    z = renormalised(draw.normal(size=(20, 5, 3)) + 2)
    before = outlier.mahalanobis(z)
    after = outlier.mahalanobis(renormalised(z @ random_map(draw, 3).T))
    assert U3["invariance"].check(moved=after, d2=before, least=1.0).status == Status.VIOLATED


def test_shifting_views_apart_breaks_it():
    draw = np.random.default_rng(0)
    z = draw.normal(size=(20, 5, 3))
    moved = outlier.mahalanobis(z + draw.normal(size=(1, 5, 1)))
    assert U3["invariance"].check(moved=moved, d2=outlier.mahalanobis(z), least=1.0).status == Status.VIOLATED


def test_a_singular_map_is_out_of_scope():
    z = np.random.default_rng(0).normal(size=(20, 5, 3))
    [verdict] = check_invariance(z, [np.diag([1.0, 1.0, 0.0]), np.zeros((3, 3))])
    assert verdict.statuses.tolist() == [Status.OUT_OF_SCOPE] * 2


def test_experiment_finds_what_is_expected():
    table = experiment_invariance()
    assert {verdict.status for verdict in table} == {Status.HOLDS} and len(table) == 4


def test_bad_input():
    with pytest.raises(InvalidInput, match="map"):
        check_invariance(np.zeros((3, 3, 2)), [np.eye(3)])
