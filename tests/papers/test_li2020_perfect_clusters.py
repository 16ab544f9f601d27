"""C1 and C2, perfect clusters: each relation holds in scope, is caught when broken, and knows its limits."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import activations, checks, clusterable, covariance, descent, early_stopping, label_noise, spectrum
from theory.networks import TwoLayer
from theory.papers.li2020 import perfect_clusters as pc
from theory.verdict import Status

HOLDS, VIOLATED, OUT_OF_SCOPE, VACUOUS = Status.HOLDS, Status.VIOLATED, Status.OUT_OF_SCOPE, Status.VACUOUS


def problem(clusters=2, radius=0.0, rate=0.2, seed=0, **options):
    data = clusterable.generate(
        centres=np.eye(clusters, clusters + 1), per_cluster=10, classes=2, radius=radius, seed=seed, **options
    )
    return data, label_noise.corrupt(data, rate, seed=seed)


def trained(data, labels, activation="softplus", width=512, paired=True, steps=120, factor=0.9, seed=0):
    network = TwoLayer.initialise(width, data.dimension, activation, paired=paired, seed=seed)
    step = factor / network.jacobian_bound(data.X) ** 2
    return descent.train(network, data.X, labels.y, step=step, steps=steps, record=12)


def judged(check, run, data, labels, **options):
    verdicts = check(run, data.X, data.clusters, data.y, labels.y, **options)
    return {verdict.claim.id: verdict for verdict in verdicts}


def again(verdict, **changed):
    """The same measurement with some symbols replaced."""
    values = dict(verdict.inputs) | changed
    return verdict.claim.check(scale=verdict.scale, **values).status


@pytest.fixture(scope="module")
def run():
    data, labels = problem()
    return trained(data, labels, steps=400), data, labels


def test_experiments_find_nothing_unexpected():
    verdicts = pc.experiment_perfect_clusters() + pc.experiment_exact_recovery()
    ids = {verdict.claim.id for verdict in verdicts if verdict.status == HOLDS}
    assert ids == {claim.id for claim in (*pc.C1.members, *pc.C2.members)}
    assert not [v for v in verdicts if v.status in (VIOLATED, Status.INCONCLUSIVE)]
    lost = [v for v in verdicts if v.claim is pc.RECOVERY and v.settings["noise_rate"] == 0.25]
    assert lost and all(0 in v.inputs["won"].value and v.status == HOLDS for v in lost)
    narrow = [v for v in verdicts if v.claim is pc.RATE and v.settings["width"] == 32]
    relu = [v for v in verdicts if v.claim is pc.RATE and v.settings["activation"] == "relu"]
    assert {v.status for v in narrow + relu} == {OUT_OF_SCOPE}


@pytest.mark.slow
def test_experiments_at_full_size():
    verdicts = pc.experiment_perfect_clusters("full", seed=100) + pc.experiment_exact_recovery("full", seed=100)
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
    verdicts = judged(pc.check_perfect_clusters, trajectory, data, labels)
    for id in ("C1.spectrum", "C1.nuisance_residual", "C1.weighted_descent"):
        assert verdicts[id].status == HOLDS, verdicts[id].explain()
    assert verdicts["C1.rank"].status in (HOLDS, VACUOUS)
    assert verdicts["C1.recovery"].status != VIOLATED  # undecided where f = 0 ties two labels, as with dead units
    assert verdicts["C1.sufficient"].status in (HOLDS, VACUOUS)


def test_identities_hold_for_a_network_of_the_users_own():
    data, labels = problem()
    torch.manual_seed(0)
    layers = torch.nn.Linear(3, 20), torch.nn.Tanh(), torch.nn.Linear(20, 20), torch.nn.ReLU(), torch.nn.Linear(20, 1)
    trajectory = descent.train(torch.nn.Sequential(*layers).double(), data.X, labels.y, step=0.02, steps=60)
    verdicts = judged(pc.check_perfect_clusters, trajectory, data, labels)
    assert [str(verdicts[f"C1.{name}"].status) for name in ("rank", "spectrum", "nuisance_residual")] == ["holds"] * 3
    assert verdicts["C1.weighted_descent"].status == HOLDS
    with pytest.raises(checks.InvalidInput, match="a TwoLayer"):
        judged(pc.check_exact_recovery, trajectory, data, labels)


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
    trajectory = trained(data, labels)
    perfect, exact = (judged(c, trajectory, data, labels) for c in (pc.check_perfect_clusters, pc.check_exact_recovery))
    del perfect["C1.sufficient"]  # about labels alone
    assert {verdict.status for verdict in (perfect | exact).values()} == {OUT_OF_SCOPE}


def test_broken_runs_violate_c1(run):
    trajectory, data, labels = run
    slower = judged(
        pc.check_perfect_clusters, dataclasses.replace(trajectory, step=0.8 * trajectory.step), data, labels
    )
    assert slower["C1.weighted_descent"].status == VIOLATED
    bump = 1e-6 * np.arange(len(data.y))
    bent = dataclasses.replace(
        trajectory, residuals=trajectory.residuals + bump, predictions=trajectory.predictions + bump
    )
    assert judged(pc.check_perfect_clusters, bent, data, labels)["C1.nuisance_residual"].status == VIOLATED


def test_broken_measurements_violate_c1(run):
    trajectory, data, labels = run
    verdicts = judged(pc.check_perfect_clusters, trajectory, data, labels)
    assert all(verdict.status == HOLDS for verdict in verdicts.values())
    assert again(verdicts["C1.rank"], rank=3) == VIOLATED
    unweighted = np.linalg.eigvalsh(covariance.empirical_kernel(data.centres, trajectory.network0))
    assert again(verdicts["C1.spectrum"], m2=unweighted) == VIOLATED
    assert again(verdicts["C1.limit"], noise=float(np.abs(labels.noise).max())) == VIOLATED
    assert again(verdicts["C1.recovery"], won=np.array([1, 0])) == VIOLATED
    assert again(verdicts["C1.sufficient"], rho=Fraction(1, 10), margin=Fraction(1, 2)) == VIOLATED


def test_a_full_rank_jacobian_is_no_evidence(run):
    """With as many clusters as points the rank cannot exceed K: vacuous, not a pass."""
    data = clusterable.generate(centres=np.eye(3), per_cluster=1, classes=2, radius=0)
    labels = label_noise.corrupt(data, 0.0)
    assert judged(pc.check_perfect_clusters, trained(data, labels), data, labels)["C1.rank"].status == VACUOUS


def test_limit_waits_for_convergence():
    data, labels = problem()
    early = judged(pc.check_perfect_clusters, trained(data, labels, steps=3), data, labels)
    assert early["C1.limit"].status == OUT_OF_SCOPE


@pytest.mark.parametrize(
    ("alphas", "share"),
    [([-1, 1], Fraction(1, 2)), ([-1, 0.1, 1], Fraction(9, 40)), ([-1, 0, 1], Fraction(1, 4)), ([0, 0.25], 1 / 2)],
)
def test_sharp_share(alphas, share):
    assert pc.first_failing_share(alphas) == share == pytest.approx(label_noise.sharp_threshold(alphas))
    (verdict,) = pc.check_sharp(alphas)
    assert verdict.status == HOLDS
    assert again(verdict, first=share * 2) == VIOLATED


@settings(max_examples=30)
@given(st.sets(st.integers(-10, 10), min_size=2, max_size=4))
def test_brute_force_agrees_with_the_formula_of_every_class(values):
    alphas = sorted(Fraction(value, 10) for value in values)
    predicted = label_noise.sharp_threshold([float(alpha) for alpha in alphas])
    size = Fraction(predicted).limit_denominator(400).denominator
    assert float(pc.first_failing_share(alphas, size)) == pytest.approx(predicted)
    assert pc.check_sharp(alphas)[0].status in (HOLDS, OUT_OF_SCOPE)


def test_sharp_share_with_the_least_gap_inside_is_out_of_scope():
    assert pc.check_sharp([-1, 0, 0.1, 1])[0].status == OUT_OF_SCOPE
    assert pc.first_failing_share([-1, 0, 0.1, 1], 20) == Fraction(1, 20) > Fraction(1, 40)


@settings(max_examples=12)
@given(
    name=st.sampled_from(["softplus", "gelu", "erf", "tanh"]),
    paired=st.booleans(),
    width=st.sampled_from([64, 256, 1024]),
    rate=st.sampled_from([0.0, 0.2, 0.4]),
    seed=st.integers(0, 10**6),
)
def test_recovery_is_never_violated_and_holds_when_met(name, paired, width, rate, seed):
    data, labels = problem(rate=rate, seed=seed)
    trajectory = trained(data, labels, name, width, paired, seed=seed)
    start = early_stopping.measure_start(trajectory.network0, data.X, data.clusters, data.y, labels.y)
    expected = HOLDS if start.recovers(trajectory.step) else OUT_OF_SCOPE
    for verdict in judged(pc.check_exact_recovery, trajectory, data, labels).values():
        assert verdict.status == expected, verdict.explain()


def test_recovery_stays_decided_below_rounding():
    data, labels = problem()
    for verdict in judged(pc.check_exact_recovery, trained(data, labels, steps=1500), data, labels).values():
        assert verdict.status == HOLDS, verdict.explain()


@pytest.mark.parametrize(
    ("options", "why"),
    [({"width": 32}, "too narrow"), ({"activation": "relu"}, "L infinite"), ({"factor": 1.2}, "step beyond 1/beta^2")],
)
def test_recovery_out_of_scope(options, why):
    data, labels = problem()
    statuses = {
        v.status for v in judged(pc.check_exact_recovery, trained(data, labels, **options), data, labels).values()
    }
    assert statuses == {OUT_OF_SCOPE}, why


def test_broken_runs_violate_c2(run):
    trajectory, data, labels = run
    verdicts = judged(pc.check_exact_recovery, trajectory, data, labels)
    assert all(verdict.status == HOLDS for verdict in verdicts.values())
    detour = dataclasses.replace(trajectory, path=20 * trajectory.path)
    broken = judged(pc.check_exact_recovery, detour, data, labels)
    assert broken["C2.path"].status == broken["C2.half"].status == VIOLATED
    frozen = np.tile(trajectory.residuals[0], (len(trajectory.steps), 1))
    stuck = dataclasses.replace(trajectory, residuals=frozen, predictions=frozen + labels.y)
    broken = judged(pc.check_exact_recovery, stuck, data, labels)
    assert broken["C2.rate"].status == broken["C2.recovery"].status == VIOLATED


def test_without_its_hypothesis_c2_is_false():
    """Labels that a narrow tanh network cannot reach: out of scope; a mutant with L = 0 would promise recovery."""
    data, labels = problem(rate=0.0)
    far = dataclasses.replace(labels, y=6 * labels.y)
    trajectory = trained(data, far, "tanh", width=2, paired=False, steps=2000, factor=0.5)
    rate = judged(pc.check_exact_recovery, trajectory, data, far)["C2.rate"]
    assert rate.status == OUT_OF_SCOPE
    assert again(rate, L=0.0) == VIOLATED


def draws(width, count=60, shift=0.0, paired=False, output="balanced"):
    for seed in range(count):
        network = TwoLayer.initialise(width, 2, "softplus", paired=paired, output=output, seed=seed)
        yield network.at(network.W.detach() + shift)


WIDTH = 5594  # of `early_stopping.recovery_width(np.eye(2), "softplus", failure=0.2)`


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
    (verdict,) = pc.check_width(networks, np.eye(2), **({"means": [-1.0, 1.0], "failure": 0.2} | options))
    assert verdict.status == status, verdict.explain()


def test_the_width_is_the_one_that_recovery_width_computes():
    assert early_stopping.recovery_width(np.eye(2), "softplus", failure=0.2) == WIDTH
    (met,) = pc.check_width(draws(WIDTH, 3), np.eye(2), [-1, 1])
    below = met.claim.check(**dict(met.inputs) | {"k": WIDTH - 2})
    assert met.status != OUT_OF_SCOPE and below.status == OUT_OF_SCOPE


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t, d, y: pc.check_perfect_clusters(t, d.X, d.clusters, d.y, -y), "trained on"),
        (lambda t, d, y: pc.check_perfect_clusters(t, d.X, d.clusters, y, y), "one value per cluster"),
        (lambda t, d, y: pc.check_perfect_clusters(t, d.X[:5], d.clusters, d.y, y), "shape"),
        (lambda t, d, y: pc.first_failing_share([1, 1]), "at least two"),
        (lambda t, d, y: pc.check_width([], np.eye(2), [0, 0]), "at least one"),
        (lambda t, d, y: pc.check_width(draws(8), 2 * np.eye(2), [0, 0]), "unit rows"),
        (lambda t, d, y: pc.check_width([*draws(8, 1), *draws(10, 1)], np.eye(2), [0, 0]), "one width"),
        (lambda t, d, y: pc.check_width(draws(8), np.eye(2), [0, 0], failure=0), "failure"),
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
        judged(pc.check_perfect_clusters, trajectory, data, labels)


def test_a_perfect_start_leaves_nothing_to_judge():
    """f(W_0) = y: no step, no residual; nothing is claimed to be confirmed."""
    data, labels = problem(rate=0.0)
    zeros = dataclasses.replace(labels, y=0 * labels.y)
    verdicts = judged(pc.check_exact_recovery, trained(data, zeros), data, zeros)
    assert verdicts["C2.rate"].status == OUT_OF_SCOPE
    assert verdicts["C2.path"].status != VIOLATED
    assert spectrum.support_projection(zeros.y, data.clusters).max() == 0
