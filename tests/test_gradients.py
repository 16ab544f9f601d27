"""The engines of descent: which one is chosen, and that those of torch agree with autograd and with compiled code."""

import copy
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

from theory import activations, descent, gradients
from theory.activations import Activation
from theory.checks import InvalidInput
from theory.kernels import compiling, fused
from theory.networks import TwoLayer

SWISH = Activation("swish", lambda z: z * torch.sigmoid(z), gamma1=1.0999, gamma2=0.5)
EVERY = [*activations.names(), activations.leaky_relu(-0.1), SWISH]


@pytest.fixture
def without_numba(monkeypatch):
    monkeypatch.setattr(compiling, "available", lambda: False)


def problem(n=7, d=3, dtype=torch.float64):
    draw = torch.Generator().manual_seed(0)
    X, y = torch.randn(n, d, generator=draw, dtype=dtype), torch.randn(n, generator=draw, dtype=dtype)
    return X, y, torch.rand(n, generator=draw, dtype=dtype) + 0.5


def by_autograd(network, X, y, counts, step, steps):
    """Losses after each step, lengths of the steps, the parameters as one vector and the residual."""
    network = copy.deepcopy(network)
    parameters, losses, moves = [p for p in network.parameters() if p.requires_grad], [], []
    for s in range(steps + 1):
        residual = network(X).reshape(-1) - y
        loss = (counts * residual.square()).sum() / 2
        losses.append(loss.item())
        if s < steps:
            slopes = torch.autograd.grad(loss, parameters)
            moves.append(step * float(torch.cat([slope.reshape(-1) for slope in slopes]).norm()))
            with torch.no_grad():
                for p, slope in zip(parameters, slopes, strict=True):
                    p -= step * slope
    return losses[1:], moves, torch.cat([p.detach().reshape(-1) for p in parameters]), residual.detach()


@pytest.mark.parametrize("activation", EVERY, ids=lambda a: getattr(a, "name", a))
@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("block", [1, 2**19])  # 1: blocks of 64 hidden units, so several and a short last one
def test_torch_in_closed_form_agrees_with_autograd(activation, paired, block, monkeypatch, without_numba):
    monkeypatch.setattr(gradients, "_BLOCK_ENTRIES", block)
    X, y, counts = problem()
    network = TwoLayer.initialise(150, 3, activation, paired=paired, seed=1)
    run = gradients.engine(network, X, y, counts, 0.02)
    assert isinstance(run, gradients.TwoLayerDescent)
    if paired:
        assert torch.equal(run.residual, -y)
    losses, moves, W, residual = by_autograd(network, X, y, counts, 0.02, 12)
    after, lengths = run.advance(12)
    np.testing.assert_allclose(after, losses, rtol=1e-12)
    np.testing.assert_allclose(lengths, moves, rtol=1e-12)
    assert run.loss == after[-1]
    torch.testing.assert_close(run.weights(), W.view(150, 3), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(run.residual, residual, rtol=1e-12, atol=1e-13)


@pytest.mark.skipif(not compiling.available(), reason="numba is not installed")
@pytest.mark.parametrize("activation", EVERY[:-1], ids=lambda a: getattr(a, "name", a))
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-11), (torch.float32, 1e-4)])
def test_compiled_and_torch_agree(activation, dtype, tolerance):
    X, y, counts = problem(dtype=dtype)
    network = TwoLayer.initialise(50, 3, activation, paired=True, dtype=dtype)
    runs = [kind(network, X, y, counts, 0.05) for kind in (fused.Descent, gradients.TwoLayerDescent)]
    for compiled, torches in zip(*(run.advance(100) for run in runs), strict=True):
        np.testing.assert_allclose(compiled, torches, rtol=tolerance)
    torch.testing.assert_close(runs[0].weights(), runs[1].weights(), rtol=tolerance, atol=tolerance)


def test_a_module_goes_through_autograd_and_is_left_alone():
    X, y, counts = problem()
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1)).double()
    network[0].bias.requires_grad_(False)
    initial = copy.deepcopy(network.state_dict())
    run = gradients.engine(network, X, y, counts, 0.02)
    assert isinstance(run, gradients.ModuleDescent)
    losses, moves, W, residual = by_autograd(network, X, y, counts, 0.02, 20)
    pieces = [run.advance(steps) for steps in (1, 19)]
    for got, wanted in zip(map(np.concatenate, zip(*pieces, strict=True)), (losses, moves), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-12)
    torch.testing.assert_close(run.weights(), W, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(run.residual, residual, rtol=1e-12, atol=1e-13)
    assert all(torch.equal(value, initial[name]) for name, value in network.state_dict().items())
    assert not run.residual.requires_grad and not run.weights().requires_grad


def test_which_engine():
    class Doubled(TwoLayer):
        def forward(self, X):
            return 2 * super().forward(X)

    class Named(TwoLayer):
        pass

    X, y, counts = problem()
    W, v = torch.ones(2, 3, dtype=torch.float64), torch.ones(2, dtype=torch.float64)

    def kind(network):
        return type(gradients.engine(network, X, y, counts, 0.1))

    assert kind(Doubled(W, v, "relu")) is gradients.ModuleDescent
    assert kind(TwoLayer(W, v, SWISH)) is gradients.TwoLayerDescent
    if compiling.available():
        assert kind(TwoLayer(W, v, "relu")) is kind(Named(W, v, "gelu")) is fused.Descent
    with pytest.raises(InvalidInput, match="one real output"):
        gradients.engine(torch.nn.Linear(3, 2).double(), X, y, counts, 0.1)


@pytest.mark.parametrize("kind", [gradients.TwoLayerDescent, gradients.ModuleDescent, fused.Descent])
@pytest.mark.parametrize("d", [1, 3])
def test_what_an_engine_has_handed_out_stays(kind, d):
    if kind is fused.Descent and not compiling.available():
        pytest.skip("numba is not installed")
    X, y, counts = problem(d=d)
    network = TwoLayer.initialise(10, d, "erf")
    initial = network.W.detach().clone()
    run = kind(network, X, y, counts, 0.1)
    first, moments = run.weights(), []
    for _ in range(3):
        moments.append((run.weights(), run.weights().clone()))
        run.advance(1)
    assert all(torch.equal(*pair) for pair in moments) and torch.equal(first.reshape(initial.shape), initial)
    assert torch.equal(network.W, initial) and not torch.equal(run.weights().reshape(initial.shape), initial)


def test_bursts_take_about_their_time_and_never_too_many_steps(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(gradients.time, "perf_counter", lambda: clock[0])
    pace, counts = gradients.Pace(), []

    def advance(steps):
        counts.append(steps)
        clock[0] += 0.001 * steps if len(counts) < 6 else 1.0 * steps  # then each step takes a second
        return np.empty(steps), np.empty(steps)

    for _ in range(8):
        pace.burst(advance, 10**6)
    assert counts[:2] == [1, 10] and 95 <= counts[3] <= 105 and counts[6:] == [1, 1]
    pace.burst(advance, 0)
    assert counts[-1] == 0


def test_importing_and_running_without_numba():
    program = """
        import sys
        sys.modules["numba"] = None  # as if it were not installed
        import numpy as np, theory.ensemble
        from theory.networks import TwoLayer
        network = TwoLayer.initialise(20, 3, "relu", paired=True)
        X, y = np.eye(3), np.array([1.0, -1.0, 0.5])
        print(theory.descent.train(network, X, y, step=0.1, steps=50).loss[-1])
        print(theory.ensemble.train_many([network] * 2, X, y, step=0.1, steps=50)[1].loss[-1])
        assert "llvmlite" not in sys.modules
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    alone, together = map(float, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    from theory import descent

    network = TwoLayer.initialise(20, 3, "relu", paired=True)
    here = descent.train(network, np.eye(3), np.array([1.0, -1.0, 0.5]), step=0.1, steps=50).loss[-1]
    assert alone == together == pytest.approx(here, rel=1e-12)


def test_importing_theory_compiles_nothing():
    program = "import sys, theory.descent, theory.ensemble; print([m for m in ('numba', 'triton') if m in sys.modules])"
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() == "[]"


class _Tripled(TwoLayer):
    def _outputs(self, X, W, v):
        return 3 * super()._outputs(X, W, v)


def _hooked(network):
    network.register_forward_hook(lambda module, inputs, outputs: 3 * outputs)
    return network


@pytest.mark.parametrize("alter", [lambda net: _Tripled(net.W, net.v, "relu"), _hooked])
def test_altered_outputs_are_trained_as_they_are(alter):
    X, network = torch.eye(3, dtype=torch.float64), TwoLayer.initialise(20, 3, "relu", seed=1)
    altered = alter(network)
    with torch.no_grad():
        expected = float((altered(X) - 1).square().sum() / 2)
    assert descent.train(altered, X, torch.ones(3), step=1e-3, steps=1).loss[0] == pytest.approx(expected, rel=1e-12)
