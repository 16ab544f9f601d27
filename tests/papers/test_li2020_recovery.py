"""C10, C11 and C12: bimodal residuals, the low-rank meta-theorem, and the exponents of recovery."""

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from theory import activations, checks, clusterable, covariance, early_stopping, label_noise
from theory.networks import TwoLayer
from theory.papers.li2020 import recovery
from theory.verdict import Status

HOLDS, VIOLATED, OUT_OF_SCOPE = Status.HOLDS, Status.VIOLATED, Status.OUT_OF_SCOPE
ALPHAS = np.array([-1, 0.1, 1])


def again(verdict, **changed):
    """The same measurement with some symbols replaced."""
    values = dict(verdict.inputs) | changed
    return verdict.claim.check(scale=verdict.scale, **values).status


def low_rank(activation="softplus", width=200, paired=True, radius=0.0, rate=0.2, seed=0, shorten=1.0, **options):
    """Descent on two orthogonal clusters with the step that C11 asks for, times `shorten`."""
    data = clusterable.generate(radius=radius, sizes=[5, 7], centres=np.eye(2, 3), classes=2, seed=seed)
    labels = label_noise.corrupt(data, rate, seed=seed)
    network = TwoLayer.initialise(width, 3, activation, paired=paired, seed=seed)
    start = early_stopping.measure_start(network, data.X, data.clusters, data.y, labels.y)
    size = math.hypot(start.residual_support, start.residual_nuisance)
    step = shorten / (2 * start.beta**2) * min(1, start.sigma / (2 * start.beta * size * start.lipschitz))
    options = {
        "step": step,
        "steps": min(400, math.ceil(8 / (step * start.sigma**2))),
        "clusters": data.clusters,
    } | options
    verdicts = recovery.check_low_rank(network, data.X, data.y, labels.y, **options)
    return {verdict.claim.id: verdict for verdict in verdicts}


def test_experiments_find_nothing_unexpected():
    verdicts = recovery.experiment_residuals() + recovery.experiment_low_rank()
    verdicts += recovery.experiment_scaling(seed=int(np.random.default_rng().integers(10**6)))
    ids = {verdict.claim.id for verdict in verdicts if verdict.status == HOLDS}
    assert ids == {claim.id for family in (recovery.C10, recovery.C11, recovery.C12) for claim in family.members}
    assert not [v.explain() for v in verdicts if v.status == VIOLATED]
    assert not [v.explain() for v in verdicts if v.status != HOLDS and not v.claim.id.startswith("C12")]


@pytest.mark.slow
def test_experiments_at_full_size():
    verdicts = recovery.experiment_residuals("full") + recovery.experiment_low_rank("full")
    verdicts += recovery.experiment_scaling("full")
    assert not [v.explain() for v in verdicts if v.status != HOLDS]


@settings(max_examples=60)
@given(n=st.integers(2, 30), share=st.floats(0.1, 0.9), reach=st.floats(0, 0.499), seed=st.integers(0, 10**6))
def test_near_outputs_are_always_told_apart(n, share, reach, seed):
    rng = np.random.default_rng(seed)
    truth = rng.choice(ALPHAS, n)
    observed = np.where(rng.random(n) < share, rng.choice(ALPHAS, n), truth)
    assume(0 < (truth != observed).sum() < n)
    outputs = truth + 0.9 * reach * rng.choice([-1, 1, 0.3], n)
    for verdict in recovery.check_residuals(outputs, truth, observed):
        assert verdict.status == HOLDS, verdict.explain()


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, 2.0]), st.booleans()), min_size=2, max_size=12))
def test_auc_counts_pairs(rows):
    residuals, mask = np.array([r for r, _ in rows]), np.array([m for _, m in rows])
    assume(0 < mask.sum() < len(mask))
    pairs = [(a > b) + Fraction(int(a == b), 2) for a in residuals[mask] for b in residuals[~mask]]
    assert recovery._auc(residuals, mask) == sum(pairs) / len(pairs)


@pytest.mark.parametrize(
    ("outputs", "truth", "observed"),
    [
        ([0.6, 0.0, 1.0], [0, 0, 1], [0, 1, 1]),  # an output farther than delta/2
        ([0.5, 0.0, 1.0], [0, 0, 1], [0, 1, 1]),  # exactly at delta/2
        ([0.1, 0.0, 1.0], [0, 0, 1], [0, 0, 1]),  # nothing corrupted
        ([0.1, 0.9], [0, 1], [1, 0]),  # nothing clean
    ],
)
def test_residuals_out_of_scope(outputs, truth, observed):
    for verdict in recovery.check_residuals(outputs, truth, observed):
        assert verdict.status in (OUT_OF_SCOPE, Status.INCONCLUSIVE) and verdict.status != HOLDS
        if 0.5 not in outputs:
            assert verdict.status == OUT_OF_SCOPE


def test_broken_residuals_violate_c10():
    clean, corrupted, auc = recovery.check_residuals(torch.tensor([0.2, -0.1, 0.9]), [0, 0, 1], [0, 1, 1])
    assert {clean.status, corrupted.status, auc.status} == {HOLDS}
    assert again(clean, clean=1.1) == VIOLATED  # the groups swapped
    assert again(corrupted, corrupted=0.2) == VIOLATED
    assert again(auc, auc=Fraction(1, 2)) == VIOLATED


def test_a_run_is_judged_at_every_moment():
    truth, observed = np.array([0.0, 0, 1]), np.array([0.0, 1, 1])
    run = np.array([[0.0, 0.0, 0.0], [0.1, 0.3, 0.8], [0.0, 1.0, 1.0]])
    for verdict in recovery.check_residuals(run, truth, observed):
        assert verdict.statuses.tolist() == [OUT_OF_SCOPE, HOLDS, OUT_OF_SCOPE]


@settings(max_examples=6)
@given(
    name=st.sampled_from(["softplus", "gelu", "erf", "tanh"]),
    paired=st.booleans(),
    rate=st.sampled_from([0.2, 0.4]),
    seed=st.integers(0, 10**6),
)
def test_low_rank_jacobians_recover(name, paired, rate, seed):
    verdicts = low_rank(name, 100, paired, rate=rate, seed=seed)
    for verdict in verdicts.values():
        assert verdict.status in (HOLDS, OUT_OF_SCOPE), verdict.explain()
    assert verdicts["C11.path"].status == verdicts["C11.rate"].status


def test_low_rank_holds_and_catches_what_is_broken():
    verdicts = low_rank()
    assert {verdict.status for verdict in verdicts.values()} == {HOLDS}
    path, rate, near = (verdicts[f"C11.{name}"] for name in ("path", "rate", "recovery"))
    assert again(path, path=3 * float(path.inputs["path"].value)) == VIOLATED
    assert again(rate, next=rate.inputs["now"].value) == VIOLATED  # no contraction
    assert again(near, E=3 * near.inputs["nu"].value) == VIOLATED
    assert again(near, nu=near.inputs["noise"].value / 2) == OUT_OF_SCOPE  # nu_e below the noise
    early = near.statuses[: int(0.1 * len(near.statuses))]
    assert set(early) == {OUT_OF_SCOPE}  # too few steps


def test_the_constants_matter():
    """With the least singular value overstated fourfold the promised contraction is false."""
    rate = low_rank(width=2000)["C11.rate"]
    assert again(rate, a=4 * rate.inputs["a"].value) == VIOLATED


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"radius": 0.01}, "the range of J leaves S+"),
        ({"shorten": 4.0}, "step too long"),
        ({"lipschitz": 1e3}, "step too long for L"),
    ],
)
def test_low_rank_out_of_scope(options, why):
    assert {verdict.status for verdict in low_rank(**options).values()} == {OUT_OF_SCOPE}, why


def test_relu_is_out_of_scope():
    data = clusterable.generate(radius=0, per_cluster=4, centres=np.eye(2), classes=2)
    labels, network = label_noise.corrupt(data, 0.25), TwoLayer.initialise(100, 2, "relu")
    run = recovery.check_low_rank(network, data.X, data.y, labels.y, step=0.01, steps=5, clusters=data.clusters)
    assert {verdict.status for verdict in run} == {OUT_OF_SCOPE}


def test_no_noise_needs_a_level_to_be_named():
    assert low_rank(rate=0.0)["C11.recovery"].status == OUT_OF_SCOPE  # nu_e = 0
    assert low_rank(rate=0.0, nu=0.1)["C11.recovery"].status == HOLDS


def test_a_linear_model_needs_no_clusters():
    for verdict in recovery._linear_model(seed=3):
        assert verdict.status == HOLDS


def test_truth_off_the_support_costs_what_it_measures():
    """A linear model, labels with a part that X cannot express: the bound grows by exactly that part."""
    X = np.eye(3)[:, :1].repeat(2, axis=1) + 0.5 * np.eye(3, 2)
    truth, observed = np.array([1.0, 0.0, 0.3]), np.array([-1.0, 0.0, 0.3])
    model = torch.nn.Linear(2, 1, bias=False).double()
    basis = np.linalg.qr(X)[0]
    options = {"step": 0.1, "steps": 60, "basis": basis, "lipschitz": 0}
    verdict = recovery.check_low_rank(model, X, truth, observed, **options)[2]
    assert float(verdict.inputs["off"].value) == pytest.approx(0.3)
    assert verdict.status in (HOLDS, OUT_OF_SCOPE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clusters": None}, "neither"),
        ({"basis": np.eye(12, 2)}, "both"),
        ({"clusters": None, "basis": np.ones((12, 2))}, "orthonormal"),
        ({"steps": 0}, "steps"),
        ({"nu": 0.0}, "nu"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(checks.InvalidInput, match=message):
        low_rank(**options)


def test_more_bad_input():
    with pytest.raises(checks.InvalidInput, match="at least two"):
        recovery.check_residuals([0.1, 0.2], [1, 1], [1, 1])
    with pytest.raises(checks.InvalidInput, match="one output per label"):
        recovery.check_residuals([0.1, 0.2, 0.3], [0, 1], [1, 1])
    with pytest.raises(checks.InvalidInput, match="lipschitz"):
        module = torch.nn.Linear(2, 1, bias=False).double()
        recovery.check_low_rank(module, np.eye(2), [0, 1], [1, 1], step=0.1, steps=2, clusters=[0, 1])


@pytest.fixture(scope="module")
def orthogonal():
    return recovery.sweep([np.eye(K) for K in (2, 4, 8)], "gelu", width=2048, seeds=range(4))


def test_scaling_with_orthogonal_centres(orthogonal):
    steps, distance = recovery.check_scaling(orthogonal)
    assert steps.claim is recovery.STEPS_SPREAD
    assert VIOLATED not in (steps.status, distance.status)


@pytest.mark.parametrize(
    "centres", [[recovery.pair(a) for a in (1.4, 1.0, 0.7, 0.5)], [recovery.cone(K) for K in (2, 4, 8)]]
)
def test_scaling_holds_and_other_laws_are_caught(centres):
    measured = recovery.sweep(centres, width=2048, seeds=range(3))
    steps, distance = recovery.check_scaling(measured)
    assert steps.claim is recovery.STEPS and VIOLATED not in (steps.status, distance.status)
    cost = measured.size**2 / measured.least
    slower = dataclasses.replace(measured, steps=measured.steps * cost**0.5, distance=measured.distance * cost)
    assert [verdict.status for verdict in recovery.check_scaling(slower)] == [VIOLATED, VIOLATED]


def test_steps_that_grow_with_k_are_caught(orthogonal):
    growing = dataclasses.replace(orthogonal, steps=orthogonal.steps * orthogonal.clusters)
    assert recovery.check_scaling(growing)[0].status == VIOLATED


def test_radius():
    least, rng = np.array([0.5, 0.3, 0.1]), np.random.default_rng(0)
    wobble = rng.uniform(0.95, 1.05, (5, 3))
    assert recovery.check_radius(least, least**0.5 * wobble)[0].status == HOLDS
    assert recovery.check_radius(least, least**3 * wobble)[0].status == VIOLATED
    assert recovery.check_radius(least, least**2 * wobble)[0].status == Status.INCONCLUSIVE


def test_largest_radius_grows_with_the_angle():
    near, far = (recovery.largest_radius(angle, "erf", seed=1) for angle in (0.4, 1.4))
    assert 0 < near < far < 2


def test_families_of_centres():
    for K in (2, 5):
        C = recovery.cone(K)
        assert np.allclose(np.linalg.norm(C, axis=1), 1)
        assert np.linalg.norm(C, 2) ** 2 == pytest.approx(0.49 + 0.51 * K)
    values = [covariance.least_eigenvalue(recovery.cone(K), activations.get("gelu")) for K in (2, 5)]
    assert values[0] == pytest.approx(values[1])
