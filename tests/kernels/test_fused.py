"""Compiled descent against autograd, against exact arithmetic, and against itself in other pieces."""

import copy
import math
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import activations
from theory.activations import Activation
from theory.kernels import compiling, fused
from theory.networks import TwoLayer

pytestmark = pytest.mark.skipif(not compiling.available(), reason="numba is not installed")

SMOOTH = ("softplus", "tanh", "erf", "gelu")
EVERY = ["relu", *(activations.leaky_relu(slope) for slope in (0.1, 1.0, -1.0, 3.0)), *SMOOTH]
DTYPES = [torch.float64, torch.float32]


def strided(matrix, layout):
    """The same numbers, in memory of another order."""
    if layout == "transposed":
        return matrix.T.contiguous().T
    if layout == "sliced":
        wide = torch.full((2 * matrix.shape[0], 2 * matrix.shape[1]), math.nan, dtype=matrix.dtype)
        wide[::2, ::2] = matrix
        return wide[::2, ::2]
    return matrix


def problem(n, d, half, activation, paired, seed=0, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    X, W = (torch.randn(rows, d, generator=draw, dtype=torch.float64) / d**0.5 for rows in (n, 2 * half))
    y, v = (torch.randn(size, generator=draw, dtype=torch.float64) for size in (n, half if paired else 2 * half))
    counts = torch.rand(n, generator=draw, dtype=torch.float64) + 0.5
    X[n // 2] = 0  # a zero row: no gradient, and slopes at a kink
    W = torch.cat([W[:half], W[:half]]) if paired else W
    v = torch.cat([v, -v]) if paired else v
    network = TwoLayer(W.to(dtype), (v / half**0.5).to(dtype), activation, paired)
    return network, *(tensor.to(dtype) for tensor in (X, y, counts))


def by_autograd(network, X, y, counts, step, steps):
    """Losses at steps 0 to `steps`, lengths of the steps, and the last W and residual."""
    network, losses, moves = copy.deepcopy(network), [], []
    for s in range(steps + 1):
        network.zero_grad()
        residual = network(X) - y
        loss = (counts * residual.square()).sum() / 2
        losses.append(loss.item())
        if s < steps:
            loss.backward()
            moves.append(step * network.W.grad.norm().item())
            with torch.no_grad():
                network.W -= step * network.W.grad
    return np.array(losses), np.array(moves), network.W.detach(), residual.detach()


@settings(max_examples=60)
@given(
    n=st.sampled_from([1, 2, 4, 5, 31, 32, 33, 70]),
    d=st.sampled_from([1, 2, 7, 8, 9, 33]),
    half=st.sampled_from([1, 2, 11, 12, 13, 60]),
    activation=st.sampled_from(EVERY),
    paired=st.booleans(),
    layout=st.sampled_from(["plain", "transposed", "sliced"]),
    seed=st.integers(0, 2**20),
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_steps_are_those_of_autograd(n, d, half, activation, paired, layout, seed, dtype):
    network, X, y, counts = problem(n, d, half, activation, paired, seed, dtype)
    step, tolerance = 0.05 / n, 1e-11 if dtype == torch.float64 else 1e-4
    losses, moves, W, residual = by_autograd(network, X, y, counts, step, 4)
    run = fused.Descent(network, strided(X, layout), y, counts, step)
    if paired:
        assert torch.equal(run.residual, -y)  # f(W0) = 0 to the last bit
    assert run.loss == pytest.approx(losses[0], rel=tolerance)
    after, lengths = run.advance(4)
    np.testing.assert_allclose(after, losses[1:], rtol=tolerance, atol=1e-30)
    summands = step * float((counts * y.abs()) @ X.norm(dim=1) * network.v.norm())  # which may cancel in a gradient
    np.testing.assert_allclose(lengths, moves, rtol=tolerance, atol=tolerance * summands)
    assert run.loss == after[-1] and run.residual.dtype == run.weights().dtype == dtype
    torch.testing.assert_close(run.weights(), W, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(run.residual, residual, rtol=tolerance, atol=tolerance)


@settings(max_examples=60)
@given(data=st.data(), slope=st.sampled_from([0.0, 0.5, -0.25, 1.0, 2.0]), paired=st.booleans())
@pytest.mark.parametrize("dtype", DTYPES)
def test_whole_numbers_give_exact_steps_kinks_included(data, slope, paired, dtype):
    n, d, half = (data.draw(st.integers(1, most)) for most in (9, 4, 30))
    small = st.integers(-2, 2)

    def draw(*shape):
        size = math.prod(shape)
        return torch.tensor(data.draw(st.lists(small, min_size=size, max_size=size)), dtype=dtype).reshape(shape)

    W, v = draw(half if paired else 2 * half, d), draw(half if paired else 2 * half)
    W, v = (torch.cat([W, W]), torch.cat([v, -v])) if paired else (W, v)
    network = TwoLayer(W, v, activations.leaky_relu(slope), paired)
    X, y, counts = draw(n, d), draw(n), draw(n).abs() + 1
    run = fused.Descent(network, X, y, counts, 2.0**-4)
    first = run.residual.clone()
    run.advance(1)
    z = X @ W.T  # every sum of a few eighths is exact, in any order
    residual = network.activation.phi(z) @ v - y
    gradient = v[:, None] * (network.activation.derivative(z).T @ (X * (counts * residual)[:, None]))
    assert torch.equal(first, residual)
    assert torch.equal(run.weights(), W - 2.0**-4 * gradient)


@pytest.mark.parametrize("activation", ["relu", "softplus"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_thousand_steps_stay_with_autograd(activation, dtype):
    network = TwoLayer.initialise(200, 10, activation, paired=True, dtype=dtype)
    _, X, y, counts = problem(40, 10, 3, "relu", False, dtype=dtype)
    step = 0.2 / float(torch.linalg.matrix_norm(X, 2)) ** 2
    losses, moves, W, residual = by_autograd(network, X, y, counts, step, 1000)
    run = fused.Descent(network, X, y, counts, step)
    after, lengths = run.advance(1000)
    bound = 1e-10 if dtype == torch.float64 else 1e-5
    assert float((run.weights() - W).norm() / W.norm()) < bound
    assert float((run.residual - residual).norm() / y.norm()) < bound
    assert np.abs(after - losses[1:]).max() < bound * losses[0]
    assert lengths.sum() == pytest.approx(moves.sum(), rel=10 * bound) and after[-1] < losses[0] / 2


@pytest.mark.parametrize("activation", ["relu", activations.leaky_relu(0.5), "erf"], ids=["relu", "leaky", "erf"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_neither_bursts_nor_threads_show(activation, dtype, monkeypatch):
    from theory.kernels import fused_layout

    monkeypatch.setattr(fused_layout, "PART", 2**10)  # parts of a few tiles
    network, X, y, counts = problem(33, 9, 200, activation, True, dtype=dtype)
    results = []
    for threads, bursts in ((1, [12]), (1, [1, 4, 7]), (2, [12]), (3, [5, 7])):
        run = fused.Descent(network, X, y, counts, 0.01)
        run.threads = threads
        losses, moves = (np.concatenate(parts) for parts in zip(*map(run.advance, bursts), strict=True))
        results.append((losses.tolist(), moves.tolist(), run.weights().tolist(), run.residual.tolist(), run.loss))
    assert len(run._state.squares) > 3
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_overflow_shows_in_the_loss(activation, dtype):
    network, X, y, counts = problem(20, 3, 30, activation, False, dtype=dtype)
    largest = torch.finfo(dtype).max
    run = fused.Descent(network, X, y, counts, 1.0)
    run._state.W[:] = largest
    losses, _ = run.advance(3)
    assert not np.isfinite(losses[-1]) or activation == "tanh"
    run._state.W[0, 0, 0, 0] = math.nan
    losses, _ = run.advance(1)
    assert np.isnan(losses).all()


def test_nothing_of_the_caller_is_touched():
    network, X, y, counts = problem(7, 3, 10, "relu", True)
    before = [tensor.detach().clone() for tensor in (network.W, network.v, X, y, counts)]
    run = fused.Descent(network, X, y, counts, 0.1)
    held = run.weights()
    first = held.clone()
    run.advance(3)
    assert torch.equal(held, first) and not torch.equal(run.weights(), first)
    assert all(torch.equal(*pair) for pair in zip(before, (network.W, network.v, X, y, counts), strict=True))
    X.zero_()
    y.zero_()
    losses, _ = run.advance(1)
    assert losses[0] == pytest.approx(by_autograd(network, *before[2:], 0.1, 4)[0][-1])


ORACLES = {  # phi and phi' with as many digits as asked for
    "softplus": (lambda z: mpmath.log1p(mpmath.exp(z)), lambda z: 1 / (1 + mpmath.exp(-z))),
    "tanh": (mpmath.tanh, lambda z: mpmath.sech(z) ** 2),
    "erf": (mpmath.erf, lambda z: 2 / mpmath.sqrt(mpmath.pi) * mpmath.exp(-z * z)),
    "gelu": (lambda z: z * mpmath.ncdf(z), lambda z: mpmath.ncdf(z) + z * mpmath.npdf(z)),
}


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-15), (torch.float32, 3e-7)])
def test_activations_and_slopes_keep_their_digits(name, dtype, tolerance):
    grid = np.concatenate([np.linspace(-45, 45, 1500), np.geomspace(1e-30, 1, 100), np.linspace(-0.7, 0.7, 200)])
    z = torch.tensor([*grid, *-grid[1500:1600], 0.0, 1e4, -1e4, 1e15, -1e15], dtype=dtype)
    one = torch.ones(1, 1, dtype=dtype)
    network = TwoLayer(one, one[0], name)
    run = fused.Descent(network, z[:, None], torch.zeros_like(z), torch.ones_like(z), 1.0)
    phi, slope = run.residual.double(), torch.from_numpy(run._state.slopes[0, : len(z), 0]).double()
    with mpmath.workdps(40):
        exact = [[function(mpmath.mpf(at)) for at in z.tolist()] for function in ORACLES[name]]
        for values, oracle in zip((phi.tolist(), slope.tolist()), exact, strict=True):
            errors = [float(abs(value - true) / max(1, abs(true))) for value, true in zip(values, oracle, strict=True)]
            assert max(errors) < tolerance
    if name in ("tanh", "erf"):
        near = z.abs() < 1e-3
        assert float((phi / (z.double() * float(exact[1][-5])) - 1)[near & (z != 0)].abs().max()) < 1e-6
        assert phi[z == 0].eq(0).all()


def test_what_it_supports():
    assert all(fused.supports(TwoLayer.initialise(4, 2, activation)) for activation in EVERY)
    swish = Activation("swish", lambda z: z * torch.sigmoid(z), gamma1=1.0999, gamma2=0.5)
    named = Activation("tanh", lambda z: 2 * torch.tanh(z), gamma1=2.0, gamma2=2.0)  # a name is not enough
    assert not any(fused.supports(TwoLayer.initialise(4, 2, activation)) for activation in (swish, named))


def test_a_change_of_any_file_renews_what_is_on_disk(tmp_path):
    program = """
        import torch
        from theory.kernels import compiling, fused
        from theory.networks import TwoLayer
        one = torch.ones(1)
        loss = fused.Descent(TwoLayer(one[None], one, "relu"), one[None], one * 3, one, 0.1).loss
        print(loss, compiling.first_calls()["fused_rectifier.advance"].cached)
    """
    package = Path(fused.__file__).parents[1]
    shutil.copytree(package, tmp_path / "theory", ignore=shutil.ignore_patterns("__pycache__", "papers", "lab"))
    command = [sys.executable, "-c", textwrap.dedent(program)]

    def run():
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        done = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
        return done.stdout.split()

    assert run() == ["2.0", "False"] and run() == ["2.0", "True"]
    tiles = tmp_path / "theory" / "kernels" / "fused_tiles.py"
    changed = tiles.read_text().replace("select(on, z, e.zero)", "select(on, e.zero, z)")
    assert changed != tiles.read_text()
    tiles.write_text(changed)
    assert run() == ["4.5", "False"]


def test_first_calls_leave_a_record():
    network, X, y, counts = problem(3, 2, 2, "relu", False)
    fused.Descent(network, X, y, counts, 0.1)
    assert compiling.first_calls()["fused_rectifier.advance"].seconds > 0
