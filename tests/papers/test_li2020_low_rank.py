"""C11, the low-rank meta-theorem: runs in scope recover, broken ones are caught, constants are measured."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import again, judged

from theory import checks, clusterable, early_stopping, label_noise
from theory.networks import TwoLayer
from theory.papers.li2020 import low_rank
from theory.papers.li2020.low_rank import C11, check_low_rank, experiment_low_rank
from theory.verdict import Status

HOLDS, VIOLATED, OUT_OF_SCOPE = Status.HOLDS, Status.VIOLATED, Status.OUT_OF_SCOPE


def descended(activation="softplus", width=200, paired=True, radius=0.0, rate=0.2, seed=0, shorten=1.0, **options):
    """Descent on two orthogonal clusters with the step that C11 asks for, times `shorten`, judged."""
    data = clusterable.generate(radius=radius, sizes=[5, 7], centres=np.eye(2, 3), classes=2, seed=seed)
    labels = label_noise.corrupt(data, rate, seed=seed)
    network = TwoLayer.initialise(width, 3, activation, paired=paired, seed=seed)
    start = early_stopping.measure_start(network, data.X, data.clusters, data.y, labels.y)
    size = math.hypot(start.residual_support, start.residual_nuisance)
    step = shorten / (2 * start.beta**2) * min(1, start.sigma / (2 * start.beta * size * start.lipschitz))
    steps = min(400, math.ceil(8 / (step * start.sigma**2)))
    options = {"step": step, "steps": steps, "clusters": data.clusters} | options
    return check_low_rank(network, data.X, data.y, labels.y, **options)


def test_experiment_finds_nothing_unexpected():
    verdicts = experiment_low_rank()
    assert {verdict.claim for verdict in verdicts} == set(C11.members)
    assert not [v.explain() for v in verdicts if v.status != HOLDS]


@pytest.mark.slow
def test_experiment_at_full_size():
    assert not [v.explain() for v in experiment_low_rank("full") if v.status != HOLDS]


@settings(max_examples=6)
@given(
    name=st.sampled_from(["softplus", "gelu", "erf", "tanh"]),
    paired=st.booleans(),
    rate=st.sampled_from([0.2, 0.4]),
    seed=st.integers(0, 10**6),
)
def test_low_rank_jacobians_recover(name, paired, rate, seed):
    verdicts = descended(name, 100, paired, rate=rate, seed=seed)
    for verdict in verdicts:
        assert verdict.status in (HOLDS, OUT_OF_SCOPE), verdict.explain()
    assert judged(verdicts, "C11.path") == judged(verdicts, "C11.rate")


def test_holds_and_catches_what_is_broken():
    verdicts = descended()
    assert {verdict.status for verdict in verdicts} == {HOLDS}
    path, rate, near = (verdict.inputs for verdict in verdicts)
    assert again(verdicts, "C11.path", path=3 * float(path["path"].value)).status == VIOLATED
    assert again(verdicts, "C11.rate", next=rate["now"].value).status == VIOLATED  # no contraction
    assert again(verdicts, "C11.recovery", E=3 * near["nu"].value).status == VIOLATED
    assert again(verdicts, "C11.recovery", nu=near["noise"].value / 2).status == OUT_OF_SCOPE  # below the noise
    recovery = verdicts[2].statuses
    assert set(recovery[: int(0.1 * len(recovery))]) == {OUT_OF_SCOPE}  # too few steps


def test_the_constants_matter():
    """With the least singular value overstated fourfold the promised contraction is false."""
    verdicts = descended(width=2000)
    assert again(verdicts, "C11.rate", a=4 * verdicts[1].inputs["a"].value).status == VIOLATED


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"radius": 0.01}, "the range of J leaves S+"),
        ({"shorten": 4.0}, "step too long"),
        ({"lipschitz": 1e3}, "step too long for L"),
    ],
)
def test_out_of_scope(options, why):
    assert {verdict.status for verdict in descended(**options)} == {OUT_OF_SCOPE}, why


def test_relu_is_out_of_scope():
    data = clusterable.generate(radius=0, per_cluster=4, centres=np.eye(2), classes=2)
    labels, network = label_noise.corrupt(data, 0.25), TwoLayer.initialise(100, 2, "relu")
    run = check_low_rank(network, data.X, data.y, labels.y, step=0.01, steps=5, clusters=data.clusters)
    assert {verdict.status for verdict in run} == {OUT_OF_SCOPE}


def test_no_noise_needs_a_level_to_be_named():
    assert judged(descended(rate=0.0), "C11.recovery") == OUT_OF_SCOPE  # nu_e = 0
    assert judged(descended(rate=0.0, nu=0.1), "C11.recovery") == HOLDS


def test_a_linear_model_needs_no_clusters():
    for verdict in low_rank._linear_model(seed=3):
        assert verdict.status == HOLDS


def test_the_network_passed_in_is_not_modified():
    network = TwoLayer.initialise(20, 2, "softplus")
    before = network.W.detach().clone()
    check_low_rank(network, np.eye(2), [0, 1], [1, 1], step=0.1, steps=3, clusters=[0, 1])
    assert torch.equal(network.W, before)


def test_truth_off_the_support_costs_what_it_measures():
    """A linear model, labels with a part that X cannot express: the bound grows by exactly that part."""
    X = np.eye(3)[:, :1].repeat(2, axis=1) + 0.5 * np.eye(3, 2)
    truth, observed = np.array([1.0, 0.0, 0.3]), np.array([-1.0, 0.0, 0.3])
    model = torch.nn.Linear(2, 1, bias=False).double()
    options = {"step": 0.1, "steps": 60, "basis": np.linalg.qr(X)[0], "lipschitz": 0}
    verdict = check_low_rank(model, X, truth, observed, **options)[2]
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
        descended(**options)


def test_another_network_needs_its_lipschitz_constant():
    module = torch.nn.Linear(2, 1, bias=False).double()
    with pytest.raises(checks.InvalidInput, match="lipschitz"):
        check_low_rank(module, np.eye(2), [0, 1], [1, 1], step=0.1, steps=2, clusters=[0, 1])
