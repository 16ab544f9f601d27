"""C12, the exponents of recovery: measured ones are within their bands, other laws are caught."""

import dataclasses

import numpy as np
import pytest

from theory import activations, covariance
from theory.papers.li2020 import scaling
from theory.papers.li2020.scaling import (
    C12,
    check_radius,
    check_scaling,
    cone,
    experiment_scaling,
    largest_radius,
    pair,
    sweep,
)
from theory.verdict import Status

HOLDS, VIOLATED = Status.HOLDS, Status.VIOLATED


def test_experiment_finds_nothing_unexpected():
    verdicts = experiment_scaling(seed=int(np.random.default_rng().integers(10**6)))
    assert {verdict.claim for verdict in verdicts if verdict.status == HOLDS} == set(C12.members)
    assert not [v.explain() for v in verdicts if v.status == VIOLATED]


@pytest.mark.slow
def test_experiment_at_full_size():
    assert not [v.explain() for v in experiment_scaling("full") if v.status != HOLDS]


@pytest.fixture(scope="module")
def orthogonal():
    return sweep([np.eye(K) for K in (2, 4, 8)], "gelu", width=2048, seeds=range(4))


def test_orthogonal_centres(orthogonal):
    steps, distance = check_scaling(orthogonal)
    assert steps.claim is scaling.STEPS_SPREAD
    assert VIOLATED not in (steps.status, distance.status)


@pytest.mark.parametrize("centres", [[pair(a) for a in (1.4, 1.0, 0.7, 0.5)], [cone(K) for K in (2, 4, 8)]])
def test_scaling_holds_and_other_laws_are_caught(centres):
    measured = sweep(centres, width=2048, seeds=range(3))
    steps, distance = check_scaling(measured)
    assert steps.claim is scaling.STEPS and VIOLATED not in (steps.status, distance.status)
    cost = measured.size**2 / measured.least
    slower = dataclasses.replace(measured, steps=measured.steps * cost**0.5, distance=measured.distance * cost)
    assert [verdict.status for verdict in check_scaling(slower)] == [VIOLATED, VIOLATED]


def test_steps_that_grow_with_k_are_caught(orthogonal):
    growing = dataclasses.replace(orthogonal, steps=orthogonal.steps * orthogonal.clusters)
    assert check_scaling(growing)[0].status == VIOLATED


def test_radius():
    least, rng = np.array([0.5, 0.3, 0.1]), np.random.default_rng(0)
    wobble = rng.uniform(0.95, 1.05, (5, 3))
    assert check_radius(least, least**0.5 * wobble)[0].status == HOLDS
    assert check_radius(least, least**3 * wobble)[0].status == VIOLATED
    assert check_radius(least, least**2 * wobble)[0].status == Status.INCONCLUSIVE


def test_largest_radius_grows_with_the_angle():
    near, far = (largest_radius(angle, "erf", seed=1) for angle in (0.4, 1.4))
    assert 0 < near < far < 2


def test_cones_of_centres():
    for K in (2, 5):
        C = cone(K)
        assert np.allclose(np.linalg.norm(C, axis=1), 1)
        assert np.linalg.norm(C, 2) ** 2 == pytest.approx(0.49 + 0.51 * K)
    values = [covariance.least_eigenvalue(cone(K), activations.get("gelu")) for K in (2, 5)]
    assert values[0] == pytest.approx(values[1])
