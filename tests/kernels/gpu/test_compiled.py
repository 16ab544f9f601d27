"""Every Triton kernel of the kernel matrix, compiled ahead of time for four generations of GPUs.

With the launch settings that each would use: nothing is spilled, shared memory stays within the limit, and the expected
matrix instruction is there.
"""

import re
import struct

import pytest
import torch
from kernels.gpu import aot

from theory import activations
from theory.kernels import gpu_gram, gpu_rows
from theory.kernels.rows import Rows

SWISH = activations.Activation("swish", lambda z: z * torch.sigmoid(z), gamma1=1.1, gamma2=0.5)
SMOOTH = ("softplus", "erf", "tanh", "gelu")
CAPABILITIES = tuple(aot.SHARED_BYTES)

# (activation, dtype, drawn rows, symmetric, precision, weighted); between them both stages, for each kind of slope
MAIN = (
    ("relu", torch.float32, False, True, "exact", False),
    ("softplus", torch.float32, True, True, "exact", False),
)
ALL = (
    *((name, torch.float32, False, True, "exact", False) for name in ("relu", *SMOOTH)),
    ("leaky", torch.float32, True, False, "exact", False),
    ("softplus", torch.float32, True, False, "exact", True),
    ("softplus", torch.float32, False, True, "fast", False),
    ("softplus", torch.float32, False, False, "fast", False),
    ("relu", torch.float32, False, True, "exact", True),
    ("leaky", torch.float32, False, True, "exact", True),
    ("swish", torch.float32, False, True, "exact", False),
    ("relu", torch.float64, True, True, "exact", False),
)


def launches(monkeypatch, capability, name, dtype, drawn, symmetric, precision, weighted) -> list[aot.Launch]:
    special = {"leaky": activations.leaky_relu(0.1), "swish": SWISH}
    activation = special.get(name) or activations.get(name)
    X, Y = torch.zeros(300, 20, dtype=dtype), None if symmetric else torch.zeros(200, 20, dtype=dtype)
    W = Rows(5000, 20, 0) if drawn else torch.zeros(5000, 20, dtype=dtype)
    weights = torch.linspace(0, 1, 5000, dtype=dtype) if weighted else 1.0
    with aot.recorded(monkeypatch, capability) as found:
        gpu_gram.slope_gram(X, W, weights, activation, Y, chunk_bytes=2**22, precision=precision)
    return aot.different(found)


def expected(launch: aot.Launch, capability: int) -> str | None:
    """The matrix instruction that the kernel is written for."""
    kinds = {"slope_tile": "f16", "sum_tile": "f16", "count_tile": "s8"}
    return aot.matrix_instruction(capability, kinds[launch.name]) if launch.name in kinds else None


def gate(monkeypatch, capability: int, case: tuple) -> None:
    found = launches(monkeypatch, capability, *case)
    assert {launch.name for launch in found} & {"count_tile", "sum_tile"}
    for launch in found:
        compiled = aot.compile(launch, capability)
        aot.check(compiled, expected(launch, capability))
        if launch.name == "sum_tile":  # not added up in the matrix unit, which rounds towards zero
            sizes = "x".join(str(launch.arguments[name]) for name in ("BM", "BN"))
            assert re.search(rf"arith\.(addf|subf) .*tensor<{sizes}xf32", compiled.ttgir)


@pytest.mark.parametrize("case", MAIN, ids=lambda case: case[0])
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_main_kernels_fit_each_generation(monkeypatch, capability, case):
    gate(monkeypatch, capability, case)


@pytest.mark.slow
@pytest.mark.parametrize("case", ALL, ids=lambda case: "-".join(map(str, case)))
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_all_kernels_fit_all_generations(monkeypatch, capability, case):
    gate(monkeypatch, capability, case)


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_the_smallest_input_compiles(monkeypatch, capability):
    """Sizes and strides of 1 are constants to Triton."""
    with aot.recorded(monkeypatch, capability) as found:
        gpu_gram.slope_gram(torch.zeros(1, 1), torch.zeros(1, 1), 1.0, activations.get("relu"))
    rows = [launch for launch in found if launch.name == "halve"]
    assert rows and all(launch.arguments["dimension"] == 1 for launch in rows)
    for launch in aot.different(rows):
        aot.check(aot.compile(launch, capability))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_drawing_fits_and_keeps_the_digits_of_its_constants(monkeypatch, capability, dtype):
    with aot.recorded(monkeypatch, capability) as found:
        gpu_rows.draw_rows(Rows(100, 20, 0), torch.arange(100), torch.empty(100, 20, dtype=dtype))
    (launch,) = found
    compiled = aot.compile(launch, capability)
    aot.check(compiled)
    for constant in (6.93147180369123816490e-01, 1.479819860510658591e-01, 1.58969099521155010221e-10):
        assert "0d" + struct.pack(">d", constant).hex().upper() in compiled.ptx
