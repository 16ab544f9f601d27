"""C1, perfect clusters: each relation holds in scope, is caught when broken, and knows its limits."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import again, judged
from perfect_runs import judge, problem, trained

from theory import activations, checks, clusterable, covariance, descent, label_noise
from theory.networks import TwoLayer
from theory.papers.li2020 import perfect_clusters as pc
from theory.verdict import Status

HOLDS, VIOLATED, OUT_OF_SCOPE, VACUOUS = Status.HOLDS, Status.VIOLATED, Status.OUT_OF_SCOPE, Status.VACUOUS


@pytest.fixture(scope="module")
def run():
    data, labels = problem()
    return trained(data, labels, steps=400), data, labels


def test_experiment_finds_nothing_unexpected():
    verdicts = pc.experiment_perfect_clusters()
    assert {verdict.claim for verdict in verdicts if verdict.status == HOLDS} == set(pc.C1.members)
    assert not [v.explain() for v in verdicts if v.status in (VIOLATED, Status.INCONCLUSIVE)]
    lost = [v for v in verdicts if v.claim is pc.RECOVERY and v.settings["noise_rate"] == 0.25]
    assert lost and all(0 in v.inputs["won"].value and v.status == HOLDS for v in lost)


@pytest.mark.slow
def test_experiment_at_full_size():
    verdicts = pc.experiment_perfect_clusters("full", seed=100)
    assert not [v.explain() for v in verdicts if v.status in (VIOLATED, Status.INCONCLUSIVE)]


@settings(max_examples=25)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    name=st.sampled_from(activations.names()),
    scale=st.sampled_from([0.1, 1.0, 5.0]),
    seed=st.integers(0, 10**6),
)
def test_identities_hold_for_every_weight_and_activation(sizes, name, scale, seed):
    data = clusterable.generate(dimension=3, classes=2, sizes=sizes, radius=0, seed=seed)
    labels = label_noise.corrupt(data, 0.4, "flip", seed=seed)
    start = TwoLayer.initialise(10, 3, name, output="random", seed=seed)
    network = start.at(scale * start.W.detach())
    step = 0.5 * descent.largest_step(network, data.X)
    trajectory = descent.train(network, data.X, labels.y, step=step, steps=20, record=5)
    verdicts = judge(pc.check_perfect_clusters, trajectory, data, labels)
    for relation in ("spectrum", "nuisance_residual", "weighted_descent"):
        assert judged(verdicts, f"C1.{relation}") == HOLDS, [v.explain() for v in verdicts]
    assert judged(verdicts, "C1.rank") in (HOLDS, VACUOUS)
    assert judged(verdicts, "C1.recovery") != VIOLATED  # undecided where f = 0 ties two labels, as with dead units
    assert judged(verdicts, "C1.sufficient") in (HOLDS, VACUOUS)


def test_identities_hold_for_a_network_of_the_users_own():
    data, labels = problem()
    torch.manual_seed(0)
    layers = torch.nn.Linear(3, 20), torch.nn.Tanh(), torch.nn.Linear(20, 20), torch.nn.ReLU(), torch.nn.Linear(20, 1)
    trajectory = descent.train(torch.nn.Sequential(*layers).double(), data.X, labels.y, step=0.02, steps=60)
    verdicts = judge(pc.check_perfect_clusters, trajectory, data, labels)
    for name in ("rank", "spectrum", "nuisance_residual", "weighted_descent"):
        assert judged(verdicts, f"C1.{name}") == HOLDS


def test_the_weights_of_both_descents_agree(run):
    trajectory, data, labels = run
    means = labels.mean_noise + data.y[np.unique(data.clusters, return_index=True)[1]]
    few = descent.train(
        trajectory.network0, data.centres, means, step=trajectory.step, steps=400, weights=data.sizes.astype(float)
    )
    moved = (trajectory.network.W - trajectory.network0.W).detach().norm()
    assert float((few.network.W - trajectory.network.W).detach().norm() / moved) < 1e-10


def test_inputs_that_differ_within_clusters_are_out_of_scope():
    data, labels = problem(radius=0.01)
    verdicts = judge(pc.check_perfect_clusters, trained(data, labels), data, labels)
    about_descent = [verdict for verdict in verdicts if verdict.claim is not pc.SUFFICIENT]  # that is about labels
    assert len(about_descent) == 6
    assert {verdict.status for verdict in about_descent} == {OUT_OF_SCOPE}


def test_broken_runs_are_caught(run):
    trajectory, data, labels = run
    slower = dataclasses.replace(trajectory, step=0.8 * trajectory.step)
    assert judged(judge(pc.check_perfect_clusters, slower, data, labels), "C1.weighted_descent") == VIOLATED
    bump = 1e-6 * np.arange(len(data.y))
    moved = trajectory.residuals + bump
    bent = dataclasses.replace(
        trajectory, residuals=moved, predictions=trajectory.predictions + bump, loss=(moved**2).sum(axis=1) / 2
    )
    assert judged(judge(pc.check_perfect_clusters, bent, data, labels), "C1.nuisance_residual") == VIOLATED


def test_an_unstable_step_and_a_weighted_run_are_not_judged(run):
    trajectory, data, labels = run
    verdicts = judge(pc.check_perfect_clusters, trajectory, data, labels)
    assert again(verdicts, "C1.weighted_descent", gap=1.0, rise=1.0).status == OUT_OF_SCOPE
    weighted = dataclasses.replace(trajectory, loss=3 * trajectory.loss)
    with pytest.raises(checks.InvalidInput, match="without weights"):
        judge(pc.check_perfect_clusters, weighted, data, labels)
    with pytest.raises(checks.InvalidInput, match="alphas"):
        pc.check_perfect_clusters(trajectory, data.X, data.clusters, data.y, labels.y, alphas=[5.0, 6.0])


def test_sharpness_needs_a_size_that_can_show_it():
    [verdict] = pc.check_sharp([-1, 0.1, 1], size=7)  # 9/40 of 7 points is no whole number
    assert verdict.status == OUT_OF_SCOPE


def test_broken_measurements_are_caught(run):
    trajectory, data, labels = run
    verdicts = judge(pc.check_perfect_clusters, trajectory, data, labels)
    assert {verdict.status for verdict in verdicts} == {HOLDS}
    assert again(verdicts, "C1.rank", rank=3).status == VIOLATED
    unweighted = np.linalg.eigvalsh(covariance.empirical_kernel(data.centres, trajectory.network0))
    assert again(verdicts, "C1.spectrum", m2=unweighted).status == VIOLATED
    assert again(verdicts, "C1.limit", noise=float(np.abs(labels.noise).max())).status == VIOLATED
    assert again(verdicts, "C1.recovery", won=np.array([1, 0])).status == VIOLATED
    assert again(verdicts, "C1.sufficient", rho=Fraction(1, 10), margin=Fraction(1, 2)).status == VIOLATED


def test_a_full_rank_jacobian_is_no_evidence():
    """With as many clusters as points the rank cannot exceed K: vacuous, not a pass."""
    data = clusterable.generate(centres=np.eye(3), per_cluster=1, classes=2, radius=0)
    labels = label_noise.corrupt(data, 0.0)
    assert judged(judge(pc.check_perfect_clusters, trained(data, labels), data, labels), "C1.rank") == VACUOUS


def test_limit_waits_for_convergence():
    data, labels = problem()
    early = judge(pc.check_perfect_clusters, trained(data, labels, steps=3), data, labels)
    assert judged(early, "C1.limit") == OUT_OF_SCOPE


@pytest.mark.parametrize(
    ("alphas", "share"),
    [([-1, 1], Fraction(1, 2)), ([-1, 0.1, 1], Fraction(9, 40)), ([-1, 0, 1], Fraction(1, 4)), ([0, 0.25], 1 / 2)],
)
def test_sharp_share(alphas, share):
    assert pc.first_failing_share(alphas) == share == pytest.approx(label_noise.sharp_threshold(alphas))
    verdicts = pc.check_sharp(alphas)
    assert judged(verdicts, "C1.sharp") == HOLDS
    assert again(verdicts, "C1.sharp", first=share * 2).status == VIOLATED


@settings(max_examples=30)
@given(st.sets(st.integers(-10, 10), min_size=2, max_size=4))
def test_brute_force_agrees_with_the_formula_of_every_class(values):
    alphas = sorted(Fraction(value, 10) for value in values)
    predicted = label_noise.sharp_threshold([float(alpha) for alpha in alphas])
    size = Fraction(predicted).limit_denominator(400).denominator
    assert float(pc.first_failing_share(alphas, size)) == pytest.approx(predicted)
    assert judged(pc.check_sharp(alphas), "C1.sharp") in (HOLDS, OUT_OF_SCOPE)


def test_sharp_share_with_the_least_gap_inside_is_out_of_scope():
    assert judged(pc.check_sharp([-1, 0, 0.1, 1]), "C1.sharp") == OUT_OF_SCOPE
    assert pc.first_failing_share([-1, 0, 0.1, 1], 20) == Fraction(1, 20) > Fraction(1, 40)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t, d, y: pc.check_perfect_clusters(t, d.X, d.clusters, d.y, -y), "trained on"),
        (lambda t, d, y: pc.check_perfect_clusters(t, d.X, d.clusters, y, y), "one value per cluster"),
        (lambda t, d, y: pc.check_perfect_clusters(t, d.X[:5], d.clusters, d.y, y), "shape"),
        (lambda t, d, y: pc.first_failing_share([1, 1]), "at least two"),
        (lambda t, d, y: pc.experiment_perfect_clusters("huge"), "budget"),
    ],
)
def test_bad_input(run, call, message):
    trajectory, data, labels = run
    with pytest.raises(checks.InvalidInput, match=message):
        call(trajectory, data, labels.y)


def test_float32_is_refused():
    data, labels = problem()
    network = TwoLayer.initialise(64, 3, dtype=torch.float32)
    trajectory = descent.train(network, data.X, labels.y, step=0.01, steps=3)
    with pytest.raises(checks.InvalidInput, match="float64"):
        judge(pc.check_perfect_clusters, trajectory, data, labels)
