import dataclasses
import functools

import numpy as np
import pytest
from judging import again, judged

from theory import clusterable, label_noise
from theory.checks import InvalidInput
from theory.networks import TwoLayer
from theory.papers.li2020 import nearby_path
from theory.papers.li2020.nearby_path import C8
from theory.verdict import Status


@functools.cache
def paths(rate, seed, taus=(50, 100, 200), radii=(5e-4, 2e-3, 6e-3)):
    """Paths at width 200 and the usual step; far enough from each other's centres to be fitted at step 50."""
    shape = {"per_cluster": 6, "spread": "boundary", "antipodal_separation": 1.2}
    sets = [clusterable.generate(2, 2, 8, radius=radius, seed=seed, **shape) for radius in radii]
    network = TwoLayer.initialise(200, 8, "tanh", paired=True, seed=seed)
    y = label_noise.corrupt(sets[0], rate, seed=seed).y
    step = 1 / network.jacobian_bound(sets[0].centred) ** 2
    return nearby_path.compare_paths(sets, y, network, step=step, taus=taus)


def test_corrupted_labels_drift_away_at_constant_speed():
    verdicts = nearby_path.check_paths(*(paths(0.34, seed) for seed in range(4)))
    assert judged(verdicts, "C8.radius") == judged(verdicts, "C8.time") == Status.HOLDS
    assert judged(verdicts, "C8.clean_radius") == judged(verdicts, "C8.clean_time") == Status.OUT_OF_SCOPE


def test_clean_labels_stay_beside_the_perfect_path():
    verdicts = nearby_path.check_paths(*(paths(0.0, seed) for seed in range(4)))
    assert judged(verdicts, "C8.clean_radius") == judged(verdicts, "C8.clean_time") == Status.HOLDS
    assert judged(verdicts, "C8.radius") == judged(verdicts, "C8.time") == Status.OUT_OF_SCOPE


def test_the_two_kinds_of_labels_are_told_apart():
    noisy = nearby_path.check_paths(*(paths(0.34, seed) for seed in range(4)))
    clean = nearby_path.check_paths(*(paths(0.0, seed) for seed in range(4)))
    assert again(noisy, "C8.clean_time", mixed=0).status == Status.VIOLATED  # corrupted labels taken for clean ones
    assert again(clean, "C8.time", mixed=2).status == Status.VIOLATED


@pytest.mark.parametrize("rate", [0.0, 0.34])
def test_another_initialisation_is_caught(rate):
    """The gap of two paths from different W0 does not shrink with the radius."""
    apart = [dataclasses.replace(paths(rate, seed), gaps=20 + paths(rate, seed).gaps) for seed in range(4)]
    verdicts = nearby_path.check_paths(*apart)
    assert judged(verdicts, "C8.clean_radius" if rate == 0 else "C8.radius") == Status.VIOLATED


@pytest.mark.parametrize(
    "changed", [{"step": 1e-6}, {"radii": np.array([0.1, 0.2, 0.4])}], ids=["not fitted", "too far"]
)
def test_outside_the_regime_nothing_is_said(changed):
    for rate in (0.0, 0.34):
        verdicts = nearby_path.check_paths(dataclasses.replace(paths(rate, 0), **changed))
        assert {verdict.status for verdict in verdicts} == {Status.OUT_OF_SCOPE}


def test_the_creep_of_clean_labels_is_out_of_scope():
    """At a fixed eta tau n eps0^2 a smaller radius leaves more time to creep: the gap grows, and the claim says so."""
    late = paths(0.0, 0, taus=(500, 1000, 2000), radii=(1e-3, 2e-3, 3e-3))
    assert late.step * 2000 * late.n * 3e-3**2 < 1 / 20
    verdicts = nearby_path.check_paths(late)
    assert judged(verdicts, "C8.clean_time") == Status.OUT_OF_SCOPE
    assert float(np.polyfit(np.log(late.taus), np.log(late.gaps[-1]), 1)[0]) > 0.1


def test_sweeps_that_c8_cannot_compare_are_refused():
    first, other = (clusterable.generate(3, 3, 6, per_cluster=5, seed=seed) for seed in (0, 1))
    network = TwoLayer.initialise(10, 6)
    with pytest.raises(InvalidInput, match="same centres"):
        nearby_path.compare_paths([first, other], first.y, network, step=0.1, taus=[1])
    with pytest.raises(InvalidInput, match="taus"):
        nearby_path.compare_paths([first], first.y, network, step=0.1, taus=[2, 1])
    with pytest.raises(InvalidInput, match="as many radii"):
        nearby_path.check_paths()


def test_experiment_finds_what_is_expected():
    table = C8.experiment()
    assert {verdict.claim.id for verdict in table} == {member.id for member in C8.members}
    assert all(verdict.status in (Status.HOLDS, Status.INCONCLUSIVE) for verdict in table)
    assert all(verdict.status == Status.HOLDS for verdict in table if not verdict.random)


@pytest.mark.slow
def test_full_experiment():
    assert not C8.experiment("full", seed=1).unexpected()
