"""Gradient descent in Triton without a GPU: the device tests in the interpreter, and every kernel compiled ahead of
time for four generations of GPUs as each would launch it: no spills, memory within limits, matrix instructions.
"""

import itertools

import pytest
import torch
from kernels.gpu import aot, interpret

from theory import activations
from theory.kernels import gpu, gpu_descent, gpu_ensemble
from theory.networks import TwoLayer

NARROW, WIDE = 512, 40_000  # hidden units: few blocks and small tiles; blocks for every processor
RELU, LEAKY = activations.get("relu"), activations.leaky_relu(0.1)
EVERY = [*map(activations.get, activations.names()), LEAKY]
SINGLE, DOUBLE = torch.float32, torch.float64
CAPABILITIES = tuple(aot.SHARED_BYTES)


def slow(cases):
    return [pytest.param(*case, marks=pytest.mark.slow) for case in cases]


def data(activation, dtype, d, k, paired=False):
    network = TwoLayer(torch.zeros(k, d, dtype=dtype), torch.zeros(k, dtype=dtype), activation, paired)
    return network, torch.zeros(100, d, dtype=dtype), torch.zeros(100, dtype=dtype), torch.ones(100, dtype=dtype)


def gate(launches, capability, dtype):
    """Compile and check one launch of each kind; `settle` has no matrix product."""
    found = {launch.name: launch for launch in launches}  # the last one of each, a step
    for launch in found.values():
        instruction = aot.matrix_instruction(capability, "bf16") if dtype == SINGLE else r"^mma\.sync.*f64\.f64"
        aot.check(aot.compile(launch, capability), None if launch.name == "settle" else instruction)
    return set(found)


# one of the generation that matters most with each tile, and the main case of the others
MAIN = [(90, RELU, SINGLE, 20, WIDE), (90, RELU, SINGLE, 128, WIDE), (90, activations.get("gelu"), SINGLE, 20, NARROW)]
MAIN += [(capability, RELU, SINGLE, 20, NARROW) for capability in CAPABILITIES if capability != 90]
REST = [*itertools.product(CAPABILITIES, EVERY, [SINGLE], [20, 64, 784], [NARROW])]
REST += itertools.product([90], [RELU, LEAKY], [SINGLE], [10, 20, 64, 784], [WIDE])
REST += itertools.product([80, 90], EVERY, [DOUBLE], [20, 784], [NARROW])


@pytest.mark.parametrize(
    ("capability", "activation", "dtype", "d", "k"),
    [*MAIN, *slow(case for case in REST if case not in MAIN)],
    ids=lambda part: getattr(part, "name", str(part)),
)
def test_a_step_compiles_without_spills(monkeypatch, capability, activation, dtype, d, k):
    with aot.recorded(monkeypatch, capability) as launches:
        network, X, *labels = data(activation, dtype, d, k)
        assert gpu_descent.supports(network, X)
        gpu_descent.Descent(network, X, *labels, 0.1).advance(1)
    assert gate(launches, capability, dtype) == {"sweep", "settle"}


@pytest.mark.slow
@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("d", [20, 784])
def test_evaluating_the_start_compiles_without_spills(monkeypatch, capability, d):
    with aot.recorded(monkeypatch, capability) as launches:
        gpu_descent.Descent(*data(RELU, SINGLE, d, NARROW), 0.1)
    gate(launches, capability, SINGLE)


# d and k: the most units that fit, the most columns, and few of both
MAIN = [(90, RELU, SINGLE, 20, 512, True), (90, activations.get("gelu"), SINGLE, 20, 512, False)]
REST = [
    (capability, activation, SINGLE, d, k, paired)
    for capability, activation, (d, k), paired in itertools.product(
        CAPABILITIES, EVERY, [(20, 512), (64, 256), (20, 100)], [False, True]
    )
]
REST += itertools.product([80, 90], EVERY, [DOUBLE], [20], [100], [False, True])


@pytest.mark.parametrize(
    ("capability", "activation", "dtype", "d", "k", "paired"),
    [*MAIN, *slow(case for case in REST if case not in MAIN)],
    ids=lambda part: getattr(part, "name", str(part)),
)
def test_an_ensemble_compiles_without_spills_where_it_is_supported(
    monkeypatch, capability, activation, dtype, d, k, paired
):
    with aot.recorded(monkeypatch, capability) as launches:
        network, X, *labels = data(activation, dtype, d, k, paired)
        fits = gpu_ensemble.supports(network, X)
        if fits:
            gpu_ensemble.Ensemble([network] * 2, [X] * 2, *([label] * 2 for label in labels), [0.1] * 2)
    assert fits or not (dtype == SINGLE and k <= 100)
    assert not fits or gate(launches, capability, dtype) == {"run"}


@pytest.mark.slow
def test_the_gate_sees_a_tile_that_spills(monkeypatch):
    """All of d = 128 in one tile, which needs more registers than there are."""
    monkeypatch.setattr(gpu_descent, "tile", lambda *_: gpu.Tile(128, 64, 128, warps=4, stages=2))
    with aot.recorded(monkeypatch, 80) as launches:
        gpu_descent.Descent(*data(RELU, SINGLE, 128, NARROW), 0.1).advance(1)
    with pytest.raises(AssertionError, match="spilled"):
        gate(launches, 80, SINGLE)


def test_where_the_target_runs_fit(monkeypatch):
    """(200, 20, 512) on each generation but that of tensor memory; float64 nowhere, as it needs twice the registers."""
    network, X, *_ = data(RELU, SINGLE, 20, 512)
    fits = {}
    for capability in CAPABILITIES:
        with aot.recorded(monkeypatch, capability):
            fits[capability] = gpu_ensemble.supports(network, X)
            assert not gpu_ensemble.supports(*data(RELU, DOUBLE, 20, 512)[:2])
            assert gpu_descent.supports(*data(RELU, DOUBLE, 20, 512)[:2]) == (capability < 100)
    assert fits == {80: True, 90: True, 100: False, 120: True}


def test_in_the_interpreter():
    interpret.run("test_gpu_descent_device.py")


@pytest.mark.slow
def test_more_in_the_interpreter():
    interpret.run("test_gpu_descent_device.py", slow=True)
