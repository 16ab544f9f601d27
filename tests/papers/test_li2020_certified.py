import dataclasses
import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import again, judged

from theory import clusterable, descent, label_noise
from theory.checks import InvalidInput
from theory.networks import TwoLayer
from theory.papers.li2020 import certified
from theory.papers.li2020.certified import C9
from theory.strategies import SMOOTH
from theory.verdict import Status


@functools.cache
def run(rate, seed=0, width=4000, name="softplus", radius=0.01, further=0):
    """Two clusters, corrupted labels, their certificate, and descent for as many steps as it covers, and some more."""
    data = clusterable.generate(2, 2, 8, per_cluster=5, radius=radius, antipodal_separation=1.2, seed=seed)
    labels = label_noise.corrupt(data, rate, seed=seed)
    network = TwoLayer.initialise(width, 8, name, paired=True, seed=seed)
    found = certified._certify(network, data, labels, None)
    steps = min(len(found.a) - 1, 200) + further
    trajectory = descent.train(network, data.X, labels.y, step=found.step, steps=max(1, steps), record=range(steps + 1))
    return data, labels, trajectory, found


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    name=st.sampled_from(SMOOTH),
    width=st.sampled_from([200, 1000, 4000]),
    rate=st.sampled_from([0.0, 0.2, 0.4]),
    radius=st.floats(1e-3, 0.1),
)
def test_the_certificate_covers_the_trajectory(seed, name, width, rate, radius):
    data, labels, trajectory, found = run.__wrapped__(rate, seed, width, name, radius)
    verdicts = certified.check_certificate(data, labels, trajectory, found)
    for member in ("C9.support", "C9.nuisance", "C9.path", "C9.recovery"):
        assert judged(verdicts, member) in (Status.HOLDS, Status.OUT_OF_SCOPE), member
    assert judged(verdicts, "C9.certified") in (Status.HOLDS, Status.OUT_OF_SCOPE)


@pytest.mark.parametrize("rate", [0.0, 0.2])
def test_the_certificate_says_something(rate):
    data, labels, trajectory, found = run(rate)
    verdicts = certified.check_certificate(data, labels, trajectory)  # its own certificate, for the step trained with
    assert found.certified
    for verdict in verdicts:
        verdict.require()
    best = trajectory.predictions[trajectory.steps == found.best_tau]
    assert np.array_equal(np.sign(best[0]), data.y)  # labels -1 and +1: the certified step does recover them


def test_each_part_of_the_certificate_matters():
    data, labels, trajectory, found = run(0.2)
    taus = np.arange(len(found.a))

    def mutant(**changed):
        return certified.check_certificate(data, labels, trajectory, dataclasses.replace(found, **changed))

    fast = found.a[0] * (1 - found.step * found.support**2) ** taus  # contracts at the largest singular value
    assert judged(mutant(a=fast), "C9.support") == Status.VIOLATED
    assert judged(mutant(q=0 * found.q), "C9.nuisance") == Status.VIOLATED  # nothing leaks off the cluster space
    assert judged(mutant(path=found.path / 5), "C9.path") == Status.VIOLATED
    silent = dataclasses.replace(found.start, noise_limit=0.0)  # the labels' mean error left out
    assert judged(mutant(start=silent), "C9.recovery") == Status.VIOLATED


def test_too_much_noise_is_not_certified_and_pretending_is_caught():
    data, labels, trajectory, found = run(0.8)
    verdicts = certified.check_certificate(data, labels, trajectory, found)
    assert judged(verdicts, "C9.certified") == Status.OUT_OF_SCOPE and not found.certified
    silent = dataclasses.replace(found, start=dataclasses.replace(found.start, noise_limit=0.0))
    assert judged(certified.check_certificate(data, labels, trajectory, silent), "C9.certified") == Status.VIOLATED


def test_beyond_the_ball_nothing_is_certified():
    data, labels, trajectory, found = run(0.2, further=5)
    verdicts = certified.check_certificate(data, labels, trajectory, found)
    for verdict in verdicts[:4]:
        assert [str(status) for status in verdict.statuses[-5:]] == ["out of scope"] * 5
        assert verdict.status == Status.HOLDS
    assert again(verdicts, "C9.support", eta=3 / found.support**2).status == Status.OUT_OF_SCOPE
    assert again(verdicts, "C9.path", ball=0.0).status == Status.OUT_OF_SCOPE


def test_trajectories_that_c9_cannot_judge_are_refused():
    data, labels, trajectory, found = run(0.2)
    elsewhere = dataclasses.replace(found, start=dataclasses.replace(found.start, sigma=2 * found.start.sigma))
    with pytest.raises(InvalidInput, match="the network that you train"):
        certified.check_certificate(data, labels, trajectory, elsewhere)
    clean = label_noise.corrupt(data, 0.0)
    with pytest.raises(InvalidInput, match="labels that it was trained on"):
        certified.check_certificate(data, clean, trajectory)
    with pytest.raises(InvalidInput, match="certify the step"):
        certified.check_certificate(data, labels, trajectory, dataclasses.replace(found, step=found.step / 2))
    fast = descent.train(trajectory.network0, data.X, labels.y, step=3 * found.step, steps=2)
    with pytest.raises(InvalidInput, match="step"):
        certified.check_certificate(data, labels, fast)


def test_experiment_finds_what_is_expected():
    table = C9.experiment()
    assert {verdict.claim.id for verdict in table} == {member.id for member in C9.members}
    assert all(verdict.status in (Status.HOLDS, Status.INCONCLUSIVE) for verdict in table)
    assert all(verdict.status == Status.HOLDS for verdict in table if not verdict.random)


@pytest.mark.slow
def test_full_experiment():
    table = C9.experiment("full", seed=1)
    assert not table.unexpected()
    certain = [verdict for verdict in table if verdict.claim.id == "C9.certified"]
    assert {verdict.settings["width"] for verdict in certain} == {4_000, 16_000, 64_000}
    for verdict in certain:
        if verdict.settings["certified error"] < 1:  # labels -1 and +1: every one is certified to be recovered
            verdict.require()
    clean = [verdict.settings["certified error"] for verdict in certain if verdict.settings["noise rate"] == 0]
    assert max(clean) < 1  # not vacuous anywhere on clean labels
