"""The first array decides kind, device and floating dtype; everything else follows or is refused."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from theory import arrays
from theory.checks import InvalidInput


@given(st.sampled_from([np.float32, np.float64, np.int32, np.bool_]), st.booleans())
def test_numpy_first_gives_numpy(dtype: type, other_is_tensor: bool) -> None:
    first = np.array([0, 1], dtype=dtype)
    second = torch.tensor([1.0, 2.0]) if other_is_tensor else [1, 2]
    (x, y), back = arrays.tensors(x=first, y=second)
    total = back(x + y)
    assert isinstance(total, np.ndarray)
    assert total.dtype == (dtype if dtype in (np.float32, np.float64) else np.float64)
    assert total.tolist() == [1.0, 3.0]
    assert isinstance(back(x.sum()), float)


@pytest.mark.parametrize(("dtype", "kept"), [(torch.float32, torch.float32), (torch.int64, torch.float64)])
def test_torch_first_gives_torch(dtype: torch.dtype, kept: torch.dtype) -> None:
    (x, y), back = arrays.tensors(x=torch.tensor([1, 2], dtype=dtype), y=np.array([1.0, 2.0]))
    assert x.dtype == y.dtype == kept
    assert isinstance(back(x.sum()), torch.Tensor)


def test_none_stays_none_and_views_are_taken_as_they_are() -> None:
    base = np.arange(12.0).reshape(3, 4)
    base.flags.writeable = False
    for view in (base, base[::-1], base.T, base[:, ::2], np.asfortranarray(base), base.astype(">f8")):
        (x, missing), back = arrays.tensors(x=view, missing=None)
        assert missing is None
        assert np.array_equal(back(x), view)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([[1, 2], [3]], "rectangular"),
        (["a"], "real numbers"),
        ([1j], "real numbers"),
        ([1.0, float("nan")], "NaN"),
        (torch.tensor([float("inf")]), "infinite"),
        (torch.zeros(2, dtype=torch.float16), "half|float32"),
        (np.zeros(2, dtype=np.float16), "float32"),
        (torch.zeros(2, dtype=torch.complex64), "float32"),
    ],
)
def test_refusals(value: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        arrays.tensors(X=value)


def test_nothing_given_and_mixed_devices_are_refused() -> None:
    with pytest.raises(InvalidInput, match="at least one array"):
        arrays.tensors(X=None)
    with pytest.raises(InvalidInput, match="meta"):
        arrays.tensors(X=np.zeros(2), y=torch.zeros(2, device="meta"))


def test_results_carry_no_gradients() -> None:
    (x,), back = arrays.tensors(x=torch.ones(2, requires_grad=True))
    assert not back(2 * x).requires_grad


def test_a_first_array_elsewhere_is_compared_before_it_is_read() -> None:
    with pytest.raises(InvalidInput, match="everything on meta"):
        arrays.tensors(X=torch.zeros(2, device="meta"), y=torch.zeros(2))


def test_import_theory_is_light() -> None:
    heavy = ("torch", "xarray", "matplotlib", "scipy", "sympy", "numpy")
    code = f"import sys, theory; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
