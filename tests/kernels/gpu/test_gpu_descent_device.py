"""Gradient descent on the GPU against a hand gradient in float64; in Triton's interpreter the same, on CPU tensors."""

import itertools
import math

import numpy as np
import pytest
import torch

from theory import activations
from theory.activations import Activation
from theory.checks import InvalidInput
from theory.kernels import gpu
from theory.networks import TwoLayer

if gpu.why_not(torch.device("cuda" if torch.cuda.is_available() else "cpu")):
    pytest.skip("neither a GPU nor Triton's interpreter", allow_module_level=True)

import triton.language as tl

from theory.kernels import gpu_descent, gpu_ensemble, gpu_products

pytestmark = pytest.mark.gpu

RELU, LEAKY, SOFTPLUS = activations.get("relu"), activations.leaky_relu(0.1), activations.get("softplus")
EVERY = [*map(activations.get, activations.names()), LEAKY]
DTYPES = [torch.float32, torch.float64]
# a few roundings, relative to the terms of which a residual is the sum: |y_i| + sum_j |v_j phi_ij|
CLOSE = {torch.float32: 4e-7, torch.float64: 1e-15}
STEP = 0.125  # the same number in both types


def named(one) -> str:
    return getattr(one, "name", str(one))


def slow(*case):
    return pytest.param(*case, marks=pytest.mark.slow)


FAST = [(RELU, torch.float32), (LEAKY, torch.float32), (SOFTPLUS, torch.float32), (RELU, torch.float64)]
OTHERS = [slow(*case) for case in itertools.product(EVERY, DTYPES) if case not in FAST]
EVERY_KIND = pytest.mark.parametrize(("activation", "dtype"), [*FAST, *OTHERS], ids=named)


def problem(n, d, k, activation, dtype, device, paired=False, seed=0):
    """A network, inputs, labels and weights n_i."""
    draw = torch.Generator().manual_seed(seed)
    X, y = torch.randn(n, d, generator=draw), torch.randn(n, generator=draw)
    weights = 0.5 + torch.rand(n, generator=draw)
    network = TwoLayer.initialise(k, d, activation, paired=paired, seed=seed, dtype=torch.float32)
    network = TwoLayer(network.W.detach().to(device, dtype), network.v.to(device, dtype), activation, paired)
    return network, X.div(math.sqrt(d)).to(device, dtype), y.to(device, dtype), weights.to(device, dtype)


def by_hand(network, X, y, weights, step, steps):
    """The oracle, in float64: W, residual and gradient at each step, and how far the residual's terms exceed it."""
    W, v, X, y, weights = (tensor.detach().double().cpu() for tensor in (network.W, network.v, X, y, weights))
    for _ in range(steps + 1):
        z = X @ W.T
        terms = network.activation.phi(z) * v
        residual = terms.sum(1) - y
        gradient = v[:, None] * (network.activation.derivative(z).T @ ((weights * residual)[:, None] * X))
        yield W, residual, gradient, float((terms.abs().sum(1) + y.abs()).norm() / residual.norm())
        W = W - step * gradient


def agree(run, made, network, X, y, weights, step):
    """`made`: what `advance` returned for the first steps of a run."""
    close, states = CLOSE[X.dtype], list(by_hand(network, X, y, weights, step, len(made[0])))
    for loss, moved, (_, _, gradient, before), (_, residual, _, after) in zip(*made, states, states[1:], strict=False):
        expected = float((weights.double().cpu() * residual.square()).sum()) / 2
        assert loss == pytest.approx(expected, rel=2 * close * after)
        assert moved == pytest.approx(step * float(gradient.norm()), rel=2 * close * before)
    W, residual, _, excess = states[-1]
    assert run.loss == made[0][-1]
    assert float((run.residual.double().cpu() - residual).norm()) <= close * excess * float(residual.norm())
    rounding = torch.finfo(X.dtype).eps * len(made[0]) * float(W.abs().max())
    tolerance = rounding + 2 * close * max(state[3] for state in states) * float(made[1].sum())
    torch.testing.assert_close(run.weights().double().cpu(), W, rtol=0, atol=tolerance)


def loss_at_first(network, X, y, weights):
    """In float64, and its tolerance."""
    (_, residual, _, excess), *_ = by_hand(network, X, y, weights, 0.0, 0)
    expected = float((weights.double().cpu() * residual.square()).sum()) / 2
    return pytest.approx(expected, rel=2 * CLOSE[X.dtype] * excess)


@EVERY_KIND
def test_steps_are_those_of_the_hand_gradient(activation, dtype, device):
    data = problem(19, 5, 40, activation, dtype, device)
    run = gpu_descent.Descent(*data, STEP)
    assert run.loss == loss_at_first(*data)
    agree(run, run.advance(3), *data, STEP)


@pytest.mark.parametrize("shape", [(1, 1, 2), (32, 16, 64), (33, 17, 34), (7, 40, 66)], ids=str)
@pytest.mark.parametrize("activation", [RELU, slow(LEAKY), slow(SOFTPLUS)], ids=named)
def test_edges_of_the_tiles(activation, shape, device):
    """One of each; whole tiles; one more than whole tiles; columns in three chunks."""
    data = problem(*shape, activation, torch.float32, device)
    run = gpu_descent.Descent(*data, STEP)
    agree(run, run.advance(2), *data, STEP)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("activation", [RELU, slow(LEAKY), slow(SOFTPLUS)], ids=named)
def test_a_paired_network_starts_at_zero_exactly(activation, dtype, device):
    data = problem(18, 20, 50, activation, dtype, device, paired=True)
    run = gpu_descent.Descent(*data, STEP)
    assert torch.equal(run.residual, -data[2])
    agree(run, run.advance(2), *data, STEP)


@pytest.mark.parametrize("activation", [RELU, LEAKY], ids=named)
def test_the_derivative_at_the_kink_is_the_left_one(activation, device):
    network, X, y, weights = problem(5, 3, 6, activation, torch.float64, device)
    network = network.at(torch.zeros_like(network.W))
    run = gpu_descent.Descent(network, X, y, weights, STEP)
    run.advance(1)
    expected = STEP * activation.rectifier * network.v[:, None] * ((weights * y) @ X)
    torch.testing.assert_close(run.weights(), expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("activation", [RELU, slow(SOFTPLUS)], ids=named)
def test_equal_runs_have_equal_bits_however_the_steps_are_grouped(activation, device):
    data = problem(20, 4, 40, activation, torch.float32, device)
    one, other = (gpu_descent.Descent(*data, STEP) for _ in range(2))
    made, first, rest = one.advance(3), other.advance(1), other.advance(2)
    assert all(np.array_equal(made[i], np.concatenate([first[i], rest[i]])) for i in range(2))
    assert torch.equal(one.weights(), other.weights()) and torch.equal(one.residual, other.residual)


@pytest.mark.parametrize("activation", EVERY, ids=named)
def test_not_a_number_stays_one(activation, device):
    network, X, y, weights = problem(3, 2, 4, activation, torch.float32, device)
    network = network.at(torch.cat([network.W.detach()[:3], network.W.new_zeros(1, 2)]))
    network.W.data[1] = math.nan
    assert math.isnan(gpu_descent.Descent(network, X, y, weights, STEP).loss)
    assert math.isnan(gpu_ensemble.Ensemble([network], [X], [y], [weights], [STEP]).loss[0])


def runs(count, activation, dtype, device, paired=False, shared=False):
    """Networks, inputs, labels, weights and step sizes of an ensemble."""
    parts = [problem(19, 5, 40, activation, dtype, device, paired, seed) for seed in range(count)]
    networks, Xs, ys, weights = (list(column) for column in zip(*parts, strict=True))
    return networks, Xs[:1] * count if shared else Xs, ys, weights, [STEP / (1 + r) for r in range(count)]


@EVERY_KIND
def test_each_run_of_an_ensemble_is_its_own_descent(activation, dtype, device):
    data = runs(2, activation, dtype, device, shared=activation is LEAKY)
    ensemble = gpu_ensemble.Ensemble(*data)
    assert all(ensemble.loss[r] == loss_at_first(*one[:4]) for r, one in enumerate(zip(*data, strict=True)))
    losses, moves = ensemble.advance(2)
    for r, one in enumerate(zip(*data, strict=True)):
        agree(One(ensemble, r), (losses[:, r], moves[:, r]), *one)


class One:
    """One run of an ensemble, as a descent shows itself."""

    def __init__(self, ensemble, r):
        self.residual, self.loss, self.weights = ensemble.residual[r], ensemble.loss[r], lambda: ensemble.weights()[r]


@pytest.mark.parametrize("activation", [RELU, slow(LEAKY), slow(SOFTPLUS)], ids=named)
def test_paired_runs_start_at_zero(activation, device):
    data = runs(2, activation, torch.float32, device, paired=True)
    ensemble = gpu_ensemble.Ensemble(*data)
    labels = torch.stack(data[2])
    if device.type == "cuda":
        assert torch.equal(ensemble.residual, -labels)
    torch.testing.assert_close(ensemble.residual, -labels, rtol=0, atol=1e-6)  # numpy rounds equal rows differently
    losses, moves = ensemble.advance(2)
    for r, one in enumerate(zip(*data, strict=True)):
        agree(One(ensemble, r), (losses[:, r], moves[:, r]), *one)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the interpreter's numpy sees the overflow
def test_a_diverging_run_disturbs_no_other(device):
    networks, Xs, ys, weights, steps = runs(3, RELU, torch.float32, device)
    calm = gpu_ensemble.Ensemble(networks[:1], Xs[:1], ys[:1], weights[:1], steps[:1]).advance(4)
    mixed = gpu_ensemble.Ensemble(networks, Xs, ys, weights, [steps[0], 1e20, math.nan]).advance(4)
    assert all(np.array_equal(alone[:, 0], among[:, 0]) for alone, among in zip(calm, mixed, strict=True))
    assert not np.isfinite(mixed[0][-1, 1:]).any()


def test_what_does_not_fit_is_refused(device):
    swish = Activation("swish", lambda z: z * torch.sigmoid(z), gamma1=1.1, gamma2=0.5)
    network, X, y, weights = problem(3, 2, 4, swish, torch.float32, device)
    assert not gpu_descent.supports(network, X) and not gpu_ensemble.supports(network, X)
    with pytest.raises(InvalidInput, match="supports"):
        gpu_descent.Descent(network, X, y, weights, STEP)
    network, X, y, weights = problem(3, 65, 4, RELU, torch.float32, device)
    assert gpu_descent.supports(network, X) and not gpu_ensemble.supports(network, X)
    with pytest.raises(InvalidInput, match="supports"):
        gpu_ensemble.Ensemble([network], [X], [y], [weights], [STEP])


@gpu_products.kernel
def both(z, phi, slopes, slope, KIND: tl.constexpr, SIZE: tl.constexpr):
    i = tl.arange(0, SIZE)
    a, b = gpu_products.evaluate(tl.load(z + i), slope, KIND)
    tl.store(phi + i, a)
    tl.store(slopes + i, b)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("activation", EVERY, ids=named)
def test_activations(activation, dtype, device):
    grid = torch.linspace(-9, 9, 509, dtype=torch.float64)
    z = torch.cat([grid, torch.tensor([0.0, 1e-30, -40.0], dtype=torch.float64)]).to(device, dtype)
    phi, slopes = torch.empty_like(z), torch.empty_like(z)
    slope = 0.125 if activation is LEAKY else 0.0  # a number in both types: Triton passes floats as float32
    exact = activations.leaky_relu(slope) if activation is LEAKY else activation
    gpu.launch(both, (1,), z, phi, slopes, slope, KIND=gpu_products.kind(activation), SIZE=512)
    wide, eps = z.double().cpu(), torch.finfo(dtype).eps
    torch.testing.assert_close(phi.double().cpu(), exact.phi(wide), rtol=8 * eps, atol=8 * eps)
    torch.testing.assert_close(slopes.double().cpu(), exact.derivative(wide), rtol=8 * eps, atol=8 * eps)
    if activation.name == "tanh":
        torch.testing.assert_close(phi.double().cpu(), exact.phi(wide), rtol=8 * eps, atol=0)


def test_pieces_are_exact(device):
    draw = torch.Generator().manual_seed(0)
    numbers = torch.randn(1000, generator=draw) * torch.exp(20 * torch.randn(1000, generator=draw))
    numbers = torch.cat([numbers, torch.tensor([0.0, 1.0, -(2.0**24 - 1)])]).to(device)
    planes = gpu_products.split(numbers)
    assert planes.dtype == torch.bfloat16 and torch.equal(planes.double().sum(0), numbers.double())
    assert torch.equal(gpu_products.merge(planes), numbers)
    assert torch.equal(gpu_products.merge(gpu_products.split(numbers.double())), numbers.double())
