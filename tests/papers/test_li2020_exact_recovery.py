"""C2, exact recovery from perfect clusters: it holds in scope, is caught when broken, and knows its limits."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import again, judged
from perfect_runs import judge, problem, trained

from theory import checks, descent, early_stopping
from theory.networks import TwoLayer
from theory.papers.li2020.exact_recovery import C2, RATE, check_exact_recovery, check_width, experiment_exact_recovery
from theory.verdict import Status

HOLDS, VIOLATED, OUT_OF_SCOPE, VACUOUS = Status.HOLDS, Status.VIOLATED, Status.OUT_OF_SCOPE, Status.VACUOUS
WIDTH = 5594  # of `early_stopping.recovery_width(np.eye(2), "softplus", failure=0.2)`


def statuses(verdicts):
    return {verdict.status for verdict in verdicts}


def test_experiment_finds_nothing_unexpected():
    verdicts = experiment_exact_recovery()
    assert {verdict.claim for verdict in verdicts if verdict.status == HOLDS} == set(C2.members)
    assert not [v.explain() for v in verdicts if v.status in (VIOLATED, Status.INCONCLUSIVE)]
    narrow = [v for v in verdicts if v.claim is RATE and v.settings["width"] == 32]
    relu = [v for v in verdicts if v.claim is RATE and v.settings["activation"] == "relu"]
    assert narrow and relu and statuses(narrow + relu) == {OUT_OF_SCOPE}


@pytest.mark.slow
def test_experiment_at_full_size():
    verdicts = experiment_exact_recovery("full", seed=100)
    assert not [v.explain() for v in verdicts if v.status in (VIOLATED, Status.INCONCLUSIVE)]


@settings(max_examples=12)
@given(
    name=st.sampled_from(["softplus", "gelu", "erf", "tanh"]),
    paired=st.booleans(),
    width=st.sampled_from([64, 256, 1024]),
    rate=st.sampled_from([0.0, 0.2, 0.4]),
    seed=st.integers(0, 10**6),
)
def test_never_violated_and_holds_when_its_hypotheses_are_met(name, paired, width, rate, seed):
    data, labels = problem(rate=rate, seed=seed)
    trajectory = trained(data, labels, name, width, paired, seed=seed)
    start = early_stopping.measure_start(trajectory.network0, data.X, data.clusters, data.y, labels.y)
    expected = HOLDS if start.recovers(trajectory.step) else OUT_OF_SCOPE
    for verdict in judge(check_exact_recovery, trajectory, data, labels):
        assert verdict.status == expected, verdict.explain()


def test_stays_decided_below_rounding():
    data, labels = problem()
    for verdict in judge(check_exact_recovery, trained(data, labels, steps=1500), data, labels):
        assert verdict.status == HOLDS, verdict.explain()


@pytest.mark.parametrize(
    ("options", "why"),
    [({"width": 32}, "too narrow"), ({"activation": "relu"}, "L infinite"), ({"factor": 1.2}, "step beyond 1/beta^2")],
)
def test_out_of_scope(options, why):
    data, labels = problem()
    assert statuses(judge(check_exact_recovery, trained(data, labels, **options), data, labels)) == {OUT_OF_SCOPE}, why


def test_inputs_that_differ_within_clusters_are_out_of_scope():
    data, labels = problem(radius=0.01)
    assert statuses(judge(check_exact_recovery, trained(data, labels), data, labels)) == {OUT_OF_SCOPE}


def test_broken_runs_are_caught():
    data, labels = problem()
    trajectory = trained(data, labels, steps=400)
    assert statuses(judge(check_exact_recovery, trajectory, data, labels)) == {HOLDS}
    detour = dataclasses.replace(trajectory, path=20 * trajectory.path)
    broken = judge(check_exact_recovery, detour, data, labels)
    assert judged(broken, "C2.path") == judged(broken, "C2.half") == VIOLATED
    frozen = np.tile(trajectory.residuals[0], (len(trajectory.steps), 1))
    stuck = dataclasses.replace(trajectory, residuals=frozen, predictions=frozen + labels.y)
    broken = judge(check_exact_recovery, stuck, data, labels)
    assert judged(broken, "C2.rate") == judged(broken, "C2.recovery") == VIOLATED


def test_false_without_its_hypothesis():
    """Labels that a narrow tanh network cannot reach: out of scope; a mutant with L = 0 would promise recovery."""
    data, labels = problem(rate=0.0)
    far = dataclasses.replace(labels, y=6 * labels.y)
    trajectory = trained(data, far, "tanh", width=2, paired=False, steps=2000, factor=0.5)
    verdicts = judge(check_exact_recovery, trajectory, data, far)
    assert judged(verdicts, "C2.rate") == OUT_OF_SCOPE
    assert again(verdicts, "C2.rate", L=0.0).status == VIOLATED


def test_a_perfect_start_leaves_nothing_to_judge():
    """f(W_0) = y: no step, no residual; nothing is claimed to be confirmed."""
    data, labels = problem(rate=0.0)
    zeros = dataclasses.replace(labels, y=0 * labels.y)
    verdicts = judge(check_exact_recovery, trained(data, zeros), data, zeros)
    assert judged(verdicts, "C2.rate") == OUT_OF_SCOPE
    assert judged(verdicts, "C2.path") != VIOLATED


def draws(width, count=60, shift=0.0, paired=False, output="balanced"):
    for seed in range(count):
        network = TwoLayer.initialise(width, 2, "softplus", paired=paired, output=output, seed=seed)
        yield network.at(network.W.detach() + shift)


@pytest.mark.parametrize(
    ("networks", "options", "status"),
    [
        (draws(WIDTH), {}, HOLDS),
        (draws(WIDTH, shift=-9.0), {}, VIOLATED),  # no unit is active: sigma_0 = 0, which no hypothesis sees
        (draws(WIDTH - 2), {}, OUT_OF_SCOPE),
        (draws(WIDTH, output="ones"), {}, OUT_OF_SCOPE),
        (draws(WIDTH), {"sizes": [3, 4]}, OUT_OF_SCOPE),
        (draws(WIDTH), {"means": [-1.5, 1.0]}, OUT_OF_SCOPE),
        (draws(WIDTH, count=5), {"failure": 1.0}, VACUOUS),
        (draws(400, paired=True), {}, OUT_OF_SCOPE),
        (draws(2000, count=3, paired=True, shift=-9.0), {}, VIOLATED),
    ],
)
def test_width(networks, options, status):
    (verdict,) = check_width(networks, np.eye(2), **({"means": [-1.0, 1.0], "failure": 0.2} | options))
    assert verdict.status == status, verdict.explain()


def test_the_width_is_the_one_that_recovery_width_computes():
    assert early_stopping.recovery_width(np.eye(2), "softplus", failure=0.2) == WIDTH
    met = check_width(draws(WIDTH, 3), np.eye(2), [-1, 1])
    assert judged(met, "C2.width") != OUT_OF_SCOPE
    assert again(met, "C2.width", k=WIDTH - 2).status == OUT_OF_SCOPE


@pytest.mark.parametrize(
    ("networks", "centres", "options", "message"),
    [
        ([], np.eye(2), {}, "at least one"),
        (draws(8), 2 * np.eye(2), {}, "unit rows"),
        ([*draws(8, 1), *draws(10, 1)], np.eye(2), {}, "one width"),
        (draws(8), np.eye(2), {"failure": 0}, "failure"),
    ],
)
def test_bad_input_for_the_width(networks, centres, options, message):
    with pytest.raises(checks.InvalidInput, match=message):
        check_width(networks, centres, [0, 0], **options)


def test_bad_input():
    data, labels = problem()
    other = descent.train(torch.nn.Linear(3, 1).double(), data.X, labels.y, step=0.02, steps=2)
    with pytest.raises(checks.InvalidInput, match="a TwoLayer"):
        judge(check_exact_recovery, other, data, labels)
    with pytest.raises(checks.InvalidInput, match="budget"):
        experiment_exact_recovery("huge")
