"""Tests that take the fixture `device` run on a GPU (marker `gpu`) and, in a process of their own, interpreted."""

import importlib.util

import pytest
import torch

from theory.kernels import gpu

collect_ignore_glob = [] if importlib.util.find_spec("triton") else ["*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them, and say why they are skipped where there is no device."""
    interpreted = gpu.why_not(torch.device("cpu")) is None
    missing = gpu.why_not(torch.device("cuda")) if torch.cuda.is_available() else "no CUDA device"
    for item in items:
        if "device" in getattr(item, "fixturenames", ()):
            item.add_marker("gpu")
            if missing and not interpreted:
                item.add_marker(pytest.mark.skip(reason=missing))


@pytest.fixture
def device() -> torch.device:
    """The GPU; in the interpreter the CPU."""
    return torch.device("cpu" if gpu.interpreted() else "cuda")
