"""The two-layer network: initialisation, exact pairing, gradients, and the constants beta and L."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import activations, covariance
from theory.checks import InvalidInput
from theory.networks import TwoLayer

SEEDS = st.integers(0, 10**6)
NAMES = st.sampled_from(activations.names())
SMOOTH = ("softplus", "erf", "tanh", "gelu")


def inputs(seed: int, count: int, dimension: int, norm: float = 1.0) -> np.ndarray:
    X = np.random.default_rng(seed).standard_normal((count, dimension))
    return norm * X / np.linalg.norm(X, axis=1, keepdims=True)


def operator_norm(matrix: np.ndarray) -> float:
    return float(np.linalg.norm(matrix, 2))


@given(name=NAMES, seed=SEEDS, width=st.integers(1, 20), dimension=st.integers(1, 6), count=st.integers(1, 6))
def test_forward_is_the_formula(name, seed, width, dimension, count):
    network = TwoLayer.initialise(2 * width, dimension, name, seed=seed)
    X, W = torch.from_numpy(inputs(seed, count, dimension)), network.W.detach()
    hidden = [[float(network.activation.phi(w @ x)) for w in W] for x in X]
    expected = [sum(v * h for v, h in zip(network.v.tolist(), row, strict=True)) for row in hidden]
    assert network(X).tolist() == pytest.approx(expected, abs=1e-12)


@settings(max_examples=50)
@given(name=NAMES, seed=SEEDS, half=st.sampled_from([1, 7, 500, 16_000]), dimension=st.integers(1, 20))
def test_paired_networks_start_at_exactly_zero(name, seed, half, dimension):
    network = TwoLayer.initialise(2 * half, dimension, name, paired=True, seed=seed)
    assert not network(inputs(seed, 5, dimension)).any()
    assert torch.equal(network.W[:half], network.W[half:])
    assert network.independent_rows == half


@pytest.mark.parametrize("name", activations.names())
def test_paired_networks_leave_zero_when_they_move(name):
    network = TwoLayer.initialise(20, 3, name, paired=True)
    moved = network.at(network.W.detach() + torch.arange(20.0)[:, None])
    assert moved(inputs(0, 5, 3)).any()


def test_unpaired_networks_of_the_same_weights_round():
    paired = TwoLayer.initialise(32_000, 20, paired=True)
    plain = TwoLayer(paired.W, paired.v, "softplus")
    assert 0 < np.abs(plain(inputs(0, 50, 20))).max() < 1e-12
    assert plain.independent_rows == 32_000


@given(name=NAMES, seed=SEEDS, half=st.integers(1, 12))
def test_pairing_changes_no_output_and_no_gradient(name, seed, half):
    start = TwoLayer.initialise(2 * half, 3, name, paired=True, seed=seed)
    W = start.W.detach() + torch.from_numpy(np.random.default_rng(seed).standard_normal((2 * half, 3)))
    paired, plain = start.at(W), TwoLayer(W, start.v, name)
    X = torch.from_numpy(inputs(seed, 4, 3))
    paired(X).square().sum().backward()
    plain(X).square().sum().backward()
    assert torch.allclose(paired(X), plain(X), atol=1e-13)
    assert torch.allclose(paired.W.grad, plain.W.grad, atol=1e-12)


@pytest.mark.parametrize("output", ["balanced", "ones", "random"])
def test_output_weights(output):
    network = TwoLayer.initialise(400, 3, output=output, seed=5)
    assert torch.equal(network.v.abs(), torch.full((400,), 1 / 20, dtype=torch.float64))
    positive = int((network.v > 0).sum())
    assert {"balanced": positive == 200, "ones": positive == 400, "random": 150 < positive < 250}[output]
    assert output != "balanced" or bool((network.v[:200] > 0).all())


def test_initial_weights_are_standard_normal_and_follow_the_seed():
    W = TwoLayer.initialise(20_000, 5, seed=1).W.detach()
    assert abs(float(W.mean())) < 5 / math.sqrt(W.numel())
    assert abs(float(W.square().mean()) - 1) < 5 * math.sqrt(2 / W.numel())
    assert torch.equal(W, TwoLayer.initialise(20_000, 5, seed=1).W)
    assert not torch.equal(W, TwoLayer.initialise(20_000, 5, seed=2).W)
    single = TwoLayer.initialise(20_000, 5, seed=1, dtype=torch.float32).W
    assert torch.equal(single, W.float())  # a seed is one network, in any dtype


@settings(max_examples=60)
@given(name=NAMES, seed=SEEDS, width=st.integers(1, 12), count=st.integers(1, 6), norm=st.sampled_from([0.3, 1.0, 5.0]))
def test_beta_bounds_the_jacobian(name, seed, width, count, norm):
    generator = np.random.default_rng(seed)
    v = generator.standard_normal(width) ** 3  # spiky
    network = TwoLayer(generator.standard_normal((width, 3)) * 3, v, name)
    X = inputs(seed, count, 3, norm)
    assert operator_norm(covariance.jacobian(X, network).matrix()) <= network.jacobian_bound(X) * (1 + 1e-12)


@settings(max_examples=60)
@given(
    name=st.sampled_from(SMOOTH),
    seed=SEEDS,
    width=st.integers(1, 12),
    count=st.integers(1, 6),
    norm=st.sampled_from([0.3, 1.0, 5.0]),
    step=st.sampled_from([1e-4, 0.1, 3.0]),
)
def test_lipschitz_bounds_the_change_of_the_jacobian(name, seed, width, count, norm, step):
    generator = np.random.default_rng(seed)
    W, change = generator.standard_normal((2, width, 3))
    network = TwoLayer(W, generator.standard_normal(width), name)
    X = inputs(seed, count, 3, norm) * generator.uniform(0.2, 1, (count, 1))
    J, K = (covariance.jacobian(X, network.at(weights)).matrix() for weights in (W, W + step * change))
    assert operator_norm(K - J) <= network.lipschitz(X) * step * operator_norm(change) * (1 + 1e-9) + 1e-13


def test_both_constants_are_attained_and_need_the_row_norms():
    network, x, step = TwoLayer([[0.0]], [2.0], "softplus"), np.array([[3.0]]), 1e-5
    ends = [covariance.jacobian(x, network.at([[w]])).matrix()[0, 0] for w in (-step / 2, step / 2)]
    assert abs(ends[1] - ends[0]) / step == pytest.approx(network.lipschitz(x), rel=1e-6)
    for_unit_rows = network.activation.gamma2 * 2.0 * operator_norm(x)
    assert abs(ends[1] - ends[0]) / step > 2.9 * for_unit_rows
    steep = covariance.jacobian(x, network.at([[50.0]])).matrix()
    assert operator_norm(steep) == pytest.approx(network.jacobian_bound(x), rel=1e-12)


def test_constants_at_the_edges():
    X = inputs(0, 3, 2)
    assert TwoLayer.initialise(4, 2, "relu").lipschitz(X) == math.inf
    assert TwoLayer.initialise(4, 2, "relu").lipschitz(0 * X) == 0.0
    balanced = TwoLayer.initialise(64, 2, "erf")
    assert balanced.lipschitz(X) == pytest.approx(balanced.activation.gamma2 * operator_norm(X) / 8)
    assert balanced.jacobian_bound(X) == pytest.approx(balanced.activation.gamma1 * operator_norm(X))


def test_forward_keeps_kind_and_dtype():
    network, X = TwoLayer.initialise(6, 2, "gelu"), inputs(1, 3, 2)
    assert isinstance(network(X), np.ndarray) and network(X).shape == (3,)
    assert network(X.astype(np.float32)).dtype == np.float32
    assert network(X.tolist()).dtype == np.float64
    outputs = network(torch.from_numpy(X).float())
    assert outputs.dtype == torch.float32 and outputs.requires_grad
    assert network(torch.ones(1, 2, dtype=torch.int64)).dtype == torch.float64


def test_weights_are_copied():
    W = np.ones((2, 2))
    network = TwoLayer(W, [1.0, 1.0], "relu")
    W[:] = 0
    other = network.at(2 * network.W)
    assert network.W.tolist() == [[1, 1], [1, 1]] and other.W.tolist() == [[2, 2], [2, 2]]
    assert "width=2, dimension=2, activation=relu" in repr(network)


NETWORK = TwoLayer.initialise(4, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TwoLayer.initialise(5, 2), "width with a balanced output: expected an even number, got 5; use 6"),
        (lambda: TwoLayer.initialise(5, 2, paired=True), "width of a paired network: expected an even number"),
        (lambda: TwoLayer.initialise(4, 2, paired=True, output="ones"), "output of a paired network"),
        (lambda: TwoLayer.initialise(4, 2, paired=True, output="random"), "output of a paired network"),
        (lambda: TwoLayer.initialise(0, 2), "width: expected an integer >= 1"),
        (lambda: TwoLayer.initialise(2, 0), "dimension"),
        (lambda: TwoLayer.initialise(2, 2, "swish"), "softplus, erf, tanh, gelu, relu"),
        (lambda: TwoLayer.initialise(2, 2, seed=-1), "seed"),
        (lambda: TwoLayer([[1.0, 2.0]], [1.0, 1.0], "relu"), r"v: expected shape \(1,\), got shape \(2,\)"),
        (lambda: TwoLayer([1.0, 2.0], [1.0, 1.0], "relu"), "W: expected shape"),
        (lambda: TwoLayer([[math.nan]], [1.0], "relu"), "W: expected finite entries"),
        (lambda: TwoLayer([[1.0], [1.0]], [1.0, 1.0], "relu", paired=True), r"v: expected \(u, -u\)"),
        (lambda: TwoLayer([[1.0]], [1.0], "relu", paired=True), r"v: expected \(u, -u\)"),
        (lambda: NETWORK([[1.0, 2.0, 3.0]]), "X: expected shape"),
        (lambda: NETWORK(torch.ones(3, 3)), "X: expected shape"),
        (lambda: NETWORK([[1.0, math.nan]]), "X: expected finite entries"),
        (lambda: NETWORK(torch.ones(1, 2, device="meta")), "X: expected a tensor on cpu"),
        (lambda: NETWORK.at([[1.0, 2.0]]), "W: expected shape"),
        (lambda: NETWORK.lipschitz([[1.0]]), "X: expected shape"),
        (lambda: NETWORK.jacobian_bound([[math.inf, 0.0]]), "X: expected finite entries"),
    ],
)
def test_bad_calls_are_refused_in_one_line(call, message):
    with pytest.raises(InvalidInput, match=message) as refusal:
        call()
    assert "\n" not in str(refusal.value) and "; " in str(refusal.value)
