"""The same comparisons run on a GPU (marker `gpu`) and, from a process of their own, in Triton's interpreter."""

import importlib.util

import pytest
import torch

from theory.kernels import gpu

collect_ignore_glob = [] if importlib.util.find_spec("triton") else ["*.py"]


def _missing() -> str | None:
    """What keeps kernels from running here; None if nothing does."""
    if gpu.why_not(torch.device("cpu")) is None:
        return None  # interpreted
    return gpu.why_not(torch.device("cuda")) if torch.cuda.is_available() else "no CUDA device"


@pytest.fixture(autouse=True)
def _skipped_without_a_device(request: pytest.FixtureRequest) -> None:
    reason = request.node.get_closest_marker("gpu") and _missing()
    if reason:
        pytest.skip(reason)


@pytest.fixture
def device() -> torch.device:
    """The GPU; in the interpreter the CPU."""
    return torch.device("cpu" if gpu.interpreted() else "cuda")
