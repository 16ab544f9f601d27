"""Which GPUs the Triton kernels run on, how they are launched, and the one notice where they cannot run.

The kernels need an NVIDIA GPU of capability 8.0 (Ampere) or newer and Triton 3.6 or newer. Elsewhere tensors on a GPU
take the reference path, and the first of them gives a `ReferencePathWarning`. Triton itself is imported with the first
kernel; TRITON_INTERPRET=1, set before that, runs the kernels on CPU tensors in Triton's interpreter.
"""

import contextlib
import functools
import re
import warnings
from dataclasses import dataclass
from typing import Any

import torch

from theory import checks

MINIMUM_CAPABILITY = (8, 0)
MINIMUM_TRITON = (3, 6)


class ReferencePathWarning(UserWarning):
    """Tensors on a GPU are computed by plain torch, because the Triton kernels cannot run there."""


@dataclass(frozen=True)
class Machine:
    """What the launch settings depend on.

    Attributes:
        capability: compute capability, 10 * major + minor: 90 for an H100 or H200.
        processors: number of streaming multiprocessors.
        interpreted: Triton's interpreter, on CPU tensors.
    """

    capability: int
    processors: int
    interpreted: bool = False


@dataclass(frozen=True)
class Tile:
    """One program's share of a matrix product, and how Triton compiles it.

    Attributes:
        rows: rows of its output.
        columns: columns of its output.
        depth: length of the inner dimension that is loaded at a time.
        warps: warps of 32 threads.
        stages: loads in flight.
    """

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int

    @property
    def options(self) -> dict[str, int]:
        """Triton's compile options."""
        return {"num_warps": self.warps, "num_stages": self.stages}


def available(device: torch.device | str) -> bool:
    """Whether the kernels run on that device; the first False for a GPU comes with a `ReferencePathWarning`.

    Example:
        >>> available("cpu")
        False
    """
    device = torch.device(device)
    reason = why_not(device)
    if reason and device.type == "cuda":
        _notice(reason)
    return reason is None


def require(device: torch.device | str) -> None:
    """Refuse a device that the kernels cannot run on.

    Raises:
        InvalidInput: with the reason.

    Example:
        >>> require("cpu")
        Traceback (most recent call last):
        ...
        theory.checks.InvalidInput: path gpu: expected ... leave path out: it falls back by itself
    """
    reason = why_not(torch.device(device))
    if reason:
        wanted = "tensors on an NVIDIA GPU of capability 8.0 or newer, and Triton 3.6 or newer"
        checks.fail("path gpu", wanted, reason, "leave path out: it falls back by itself")


@functools.cache
def why_not(device: torch.device) -> str | None:
    """What keeps the kernels from running on that device; None if nothing does.

    Example:
        >>> why_not(torch.device("cpu"))
        'tensors on cpu'
    """
    found = _triton_version()
    if device.type != "cuda" and not (found and interpreted()):
        return f"tensors on {device}"
    if found is None:
        return "no Triton (pip install triton)"
    if found < MINIMUM_TRITON:
        return f"Triton {found[0]}.{found[1]}"
    if device.type == "cuda" and torch.version.hip is not None:
        return "an AMD GPU"
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < MINIMUM_CAPABILITY:
        return "a GPU of capability {}.{}".format(*torch.cuda.get_device_capability(device))
    return None


def interpreted() -> bool:
    """Whether Triton, which must be there, interprets its kernels instead of compiling them."""
    import triton

    return bool(triton.knobs.runtime.interpret)


@functools.cache
def machine(device: torch.device) -> Machine:
    """The machine behind a device that `available` allows."""
    if device.type != "cuda":
        return Machine(90, 4, interpreted=True)
    major, minor = torch.cuda.get_device_capability(device)
    return Machine(10 * major + minor, torch.cuda.get_device_properties(device).multi_processor_count)


def launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, **settings: Any) -> None:
    """Run a kernel where its tensors are: all launches go through here, so that tests can record them without a GPU."""
    device = next(argument.device for argument in arguments if isinstance(argument, torch.Tensor))
    # Triton launches on the current device, whatever the tensors say
    with torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext():
        kernel[grid](*arguments, **settings)


@functools.cache
def _notice(reason: str) -> None:
    warnings.warn(f"{reason}: computing with plain torch, which is slower", ReferencePathWarning, stacklevel=4)


@functools.cache
def _triton_version() -> tuple[int, int] | None:
    try:
        import triton
    except ImportError:
        return None
    found = re.match(r"(\d+)\.(\d+)", getattr(triton, "__version__", "0.0"))
    return (int(found[1]), int(found[2])) if found else (0, 0)
