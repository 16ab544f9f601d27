"""Where the Triton kernels do not run: the reason, one notice, and no failure."""

import warnings

import pytest
import torch

from theory import InvalidInput
from theory.kernels import gpu

CUDA = torch.device("cuda:0")


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """A machine with a GPU of capability 9.0 and Triton 3.7, as far as the checks can see, never asked before."""
    monkeypatch.setattr(gpu, "_triton_version", lambda: (3, 7))
    monkeypatch.setattr(gpu, "interpreted", lambda: False)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    for cached in (gpu.why_not, gpu._notice):
        cached.cache_clear()
    yield
    for cached in (gpu.why_not, gpu._notice):
        cached.cache_clear()


def test_a_recent_gpu_is_used_without_a_word():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert gpu.available(CUDA)
        gpu.require(CUDA)


@pytest.mark.parametrize(
    "owner, name, value, reason",
    [
        (gpu, "_triton_version", lambda: None, "no Triton"),
        (gpu, "_triton_version", lambda: (3, 5), "Triton 3.5"),
        (torch.cuda, "get_device_capability", lambda device: (7, 5), "capability 7.5"),
        (torch.version, "hip", "6.2", "AMD"),
    ],
)
def test_other_gpus_take_the_reference_path_with_one_notice(monkeypatch, owner, name, value, reason):
    monkeypatch.setattr(owner, name, value)
    with pytest.warns(gpu.ReferencePathWarning, match=reason):
        assert not gpu.available(CUDA)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not gpu.available(CUDA)
    with pytest.raises(InvalidInput, match=reason):
        gpu.require(CUDA)


def test_a_cpu_is_no_gpu_and_needs_no_notice():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not gpu.available("cpu")
    with pytest.raises(InvalidInput, match="tensors on cpu"):
        gpu.require("cpu")


@pytest.mark.parametrize("version, parsed", [("3.7.1", (3, 7)), ("3.10.0+git12", (3, 10)), ("odd", (0, 0))])
def test_versions_are_read(monkeypatch, version, parsed):
    triton = pytest.importorskip("triton")
    monkeypatch.undo()
    gpu._triton_version.cache_clear()
    monkeypatch.setattr(triton, "__version__", version)
    assert gpu._triton_version() == parsed
    gpu._triton_version.cache_clear()


def test_without_triton_there_is_no_version(monkeypatch):
    monkeypatch.undo()
    gpu._triton_version.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "triton", None)
    assert gpu._triton_version() is None
    gpu._triton_version.cache_clear()
