"""Ahead-of-time compilation of the Triton kernels, for GPUs that are not there.

`recorded` collects the launches that a function makes, with the launch settings of a GPU that this machine does not
have; `compile` turns one of them into machine code, as Triton would have for these arguments; `check` is the gate.
Compiled code comes from Triton's cache on disk when nothing has changed.
"""

import contextlib
import functools
import inspect
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from theory.kernels import gpu

SHARED_BYTES = {80: 166_912, 90: 232_448, 100: 232_448, 120: 101_376}  # what one program may have, by capability
TENSOR_COLUMNS = 512  # of the tensor memory of capability 100
PROCESSORS = {80: 108, 90: 132, 100: 148, 120: 170}

_TYPES = {
    torch.int8: "i8",
    torch.int32: "i32",
    torch.int64: "i64",
    torch.uint8: "u8",
    torch.uint32: "u32",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.float32: "fp32",
    torch.float64: "fp64",
}
_OPTIONS = ("num_warps", "num_stages", "num_ctas", "maxnreg", "enable_fp_fusion")
_CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"


@dataclass(frozen=True)
class Launch:
    """One launch: the kernel, and its arguments by name (constants included)."""

    kernel: Any
    arguments: dict[str, Any]
    options: dict[str, int]

    @property
    def name(self) -> str:
        """The kernel's name."""
        return self.kernel.fn.__name__


@dataclass(frozen=True)
class Compiled:
    """What a kernel needs on one capability: registers of a thread, bytes of stack (spills), of shared memory."""

    capability: int
    registers: int
    stack: int
    shared: int
    tensor_columns: int
    instructions: tuple[str, ...]
    ptx: str
    ttgir: str


@contextlib.contextmanager
def recorded(monkeypatch: Any, capability: int):
    """The launches made within, none of which runs, as on a GPU of that capability; results are not to be used."""
    launches: list[Launch] = []

    def record(kernel: Any, grid: tuple[int, ...], *arguments: Any, **settings: Any) -> None:
        options = {name: settings.pop(name) for name in _OPTIONS if name in settings}
        bound = inspect.signature(kernel.fn).bind(*arguments, **settings)
        bound.apply_defaults()
        launches.append(Launch(kernel, dict(bound.arguments), options))

    machine = gpu.Machine(capability, PROCESSORS[capability])
    with monkeypatch.context() as patch:
        patch.setattr(gpu, "launch", record)
        patch.setattr(gpu, "machine", lambda device: machine)
        yield launches


def different(launches: list[Launch]) -> list[Launch]:
    """One launch of each specialisation."""
    return list({_source(launch).hash() + repr(launch.options): launch for launch in launches}.values())


def compile(launch: Launch, capability: int) -> Compiled:
    """The launch's kernel, compiled for a GPU of that capability."""
    return _compile(_Key(launch, capability))


def check(compiled: Compiled, instruction: str | None = None) -> None:
    """The gate: nothing spilled, no more shared and tensor memory than there is, and the matrix instruction expected.

    Args:
        compiled: from `compile`.
        instruction: a regular expression that one of its matrix instructions matches; None if it multiplies nothing.
    """
    assert compiled.stack == 0, f"{compiled.stack} bytes of stack a thread: registers are spilled"
    assert compiled.shared <= SHARED_BYTES[compiled.capability]
    assert compiled.tensor_columns <= TENSOR_COLUMNS
    if instruction is None:
        assert not compiled.instructions
    else:
        found = [name for name in compiled.instructions if re.search(instruction, name)]
        assert found, f"no {instruction} among {compiled.instructions}"


def matrix_instruction(capability: int, kind: str, legacy: bool = False) -> str:
    """The matrix instruction of that capability, as a regular expression, for operands of a kind: "s8", "f16", "bf16".

    Args:
        capability: 80, 90, 100 or 120.
        kind: of both operands.
        legacy: capability 100 through mma.sync, where Triton knows no tcgen05 for the kind.
    """
    if capability == 90:
        return rf"^wgmma\.mma_async.*\.{kind}\.{kind}"
    if capability == 100 and not legacy:
        return r"^tcgen05\.mma.*kind::" + {"f16": "f16", "bf16": "f16", "tf32": "tf32"}[kind]
    return rf"^mma\.sync.*\.{kind}\.{kind}"


class _Key:
    """Launches that compile to the same code are one entry of the cache of this process."""

    def __init__(self, launch: Launch, capability: int) -> None:
        self.launch, self.capability = launch, capability
        self.text = f"{_source(launch).hash()} {launch.options} {capability}"

    def __hash__(self) -> int:
        return hash(self.text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.text == self.text


def _source(launch: Launch) -> ASTSource:
    """Arguments as Triton specialises them: an integer 1 is a constant, multiples of 16 are known as such."""
    signature, constants, attributes = {}, {}, {}
    for position, (parameter, value) in enumerate(zip(launch.kernel.params, launch.arguments.values(), strict=True)):
        name, aligned = parameter.name, False
        if parameter.is_constexpr or value is None or (type(value) is int and value == 1):
            signature[name], constants[name] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            signature[name], aligned = "*" + _TYPES[value.dtype], value.data_ptr() % 16 == 0
        elif isinstance(value, bool):
            signature[name] = "u1"
        elif isinstance(value, int):
            small, large = -(2**31) <= value < 2**31, value >= 2**63
            signature[name], aligned = "i32" if small else "u64" if large else "i64", value % 16 == 0
        else:
            signature[name] = "fp32"
        if aligned:
            attributes[(position,)] = [["tt.divisibility", 16]]
    return ASTSource(launch.kernel, signature, constants, attributes)


@functools.cache
def _compile(key: _Key) -> Compiled:
    target = GPUTarget("cuda", key.capability, 32)
    built = triton.compile(_source(key.launch), target=target, options=dict(key.launch.options))
    with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
        cubin.write(built.asm["cubin"])
        cubin.flush()
        command = [str(_CUOBJDUMP), "-res-usage", cubin.name]
        usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+) .*?LOCAL:(\d+)", usage)
    assert found, usage
    ptx = built.asm["ptx"]
    return Compiled(
        capability=key.capability,
        registers=int(found[1]),
        stack=int(found[2]) + int(found[3]),
        shared=built.metadata.shared,
        tensor_columns=getattr(built.metadata, "tmem_size", None) or 0,
        instructions=tuple(sorted(set(re.findall(r"\b(?:wgmma\.mma_async|mma\.sync|tcgen05\.mma)[\w.:]*", ptx)))),
        ptx=ptx,
        ttgir=built.asm["ttgir"],
    )
