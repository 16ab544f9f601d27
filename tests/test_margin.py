"""Margins: against a plain loop, in every kind, dtype and layout; what they refuse; the input stays as it is."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from theory import margin
from theory.checks import InvalidInput
from theory.margin import margins, numbered


def plain(logits, labels):
    return np.array([row[y] - max(np.delete(row, y)) for row, y in zip(logits, labels, strict=True)])


@given(
    n=st.integers(1, 40),
    c=st.integers(2, 12),
    dtype=st.sampled_from([np.float16, np.float32, np.float64, np.int64]),
    layout=st.sampled_from(["plain", "fortran", "strided", "reversed", "read-only"]),
    kind=st.sampled_from(["numpy", "torch", "list"]),
    chunk=st.sampled_from([1, 64, 2**20]),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_a_plain_loop(n, c, dtype, layout, kind, chunk, seed):
    rng = np.random.default_rng(seed)
    Z = (rng.standard_normal((n, c)) * 5).astype(dtype)
    if layout == "fortran":
        Z = np.asfortranarray(Z)
    elif layout == "strided":
        Z = np.repeat(np.repeat(Z, 2, axis=0), 3, axis=1)[::2, ::3]
    elif layout == "reversed" and kind != "torch":
        Z = Z[::-1, ::-1]
    Z.flags.writeable = layout != "read-only" or kind == "torch"
    y, before = rng.integers(0, c, n), Z.copy()
    wanted = plain(Z.astype(np.float64), y)
    given_ = {"numpy": Z, "torch": torch.from_numpy(np.ascontiguousarray(Z).copy()), "list": Z.tolist()}[kind]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(margin, "_CHUNK_BYTES", chunk)
        found = margins(given_, torch.from_numpy(y) if kind == "torch" else y)
    assert isinstance(found, torch.Tensor) == (kind == "torch") and tuple(found.shape) == (n,)
    half = dtype in (np.float16, np.float32) and kind != "list"
    assert np.asarray(found).dtype == (np.float32 if half else np.float64)
    np.testing.assert_allclose(np.asarray(found), wanted, rtol=1e-6 if half else 1e-14, atol=1e-5 if half else 1e-13)
    assert np.array_equal(Z, before)


def test_bfloat16_and_gradients():
    Z = torch.tensor([[1.0, 3.0, 2.0]], dtype=torch.bfloat16, requires_grad=True)
    found = margins(Z, [1])
    assert found.dtype == torch.float32 and found.tolist() == [1.0] and not found.requires_grad
    assert margins(torch.tensor([[1.0, 3.0]], requires_grad=True), torch.tensor([0])).tolist() == [-2.0]


def test_half_precision_is_not_rounded_to():
    Z = np.array([[2048.0, 0.0], [1.0, 1 - 2**-12]], dtype=np.float32)
    assert margins(Z, [0, 0]).tolist() == [2048.0, 2.0**-12]  # in half precision 1 - 2^-12 is 1
    found = margins(torch.tensor([[2048.0, -1.0]], dtype=torch.float16), [0])
    assert found.tolist() == [2049.0]  # no half


def test_ties_masked_classes_and_labels_as_floats_or_tensors():
    assert margins([[1.0, 1.0, -np.inf]], [0]).tolist() == [0.0]
    assert margins([[1.0, 2.0]], np.array([1.0])).tolist() == [1.0]
    assert margins(np.array([[1.0, 2.0]]), torch.tensor([1])).tolist() == [1.0]


def test_a_meta_device_goes_the_other_way():
    """What runs on an accelerator, here on half-precision tensors of the CPU, agrees with the chunks."""
    Z = torch.randn(50, 7)
    y = torch.arange(50) % 7
    assert torch.equal(margin._on_device(Z, y), margins(Z, y))
    for dtype in (torch.int64, torch.int32, torch.int8, torch.float64):
        whole = (10 * Z).to(dtype)
        found = margin._on_device(whole, y)
        assert found.dtype == torch.float64 and torch.equal(found, margins(whole, y))


@pytest.mark.parametrize("tensor", [False, True])
@pytest.mark.parametrize(
    ("logits", "labels", "words"),
    [
        ([[1.0, np.nan]], [0], "logits: .*1 rows without one, e.g. row 0"),
        ([[np.nan, 1.0]], [0], "logits"),
        ([[1.0, 2.0], [np.inf, 0.0]], [0, 0], "row 1"),
        ([[np.inf, np.inf]], [0], "logits"),
        ([[-np.inf, 0.0]], [0], "logits"),
        ([[1.0, 2.0]], [2], "labels: expected classes from 0 to 1, got 1 others, e.g. 2"),
        ([[1.0, 2.0]], [-1], "labels"),
        ([[1.0, 2.0]], [0.5], "labels: expected whole numbers"),
        ([[1.0, 2.0]], [np.nan], "labels"),
        ([[1.0, 2.0]], [1e300], "labels: expected classes from 0 to 1"),
        ([[1.0, 2.0]], [0, 1], r"labels: expected shape \(1,\)"),
        ([[1.0, 2.0]], [[0]], "labels"),
        ([[1.0]], [0], "at least two classes"),
        ([1.0, 2.0], [0], "logits: expected shape"),
        (np.zeros((0, 3)), [], "logits: expected shape"),
    ],
)
def test_bad_input(logits, labels, words, tensor):
    values = torch.tensor(np.array(logits)) if tensor else np.array(logits)
    for half in (False, True) if tensor else (False,):
        with pytest.raises(InvalidInput, match=words):
            margins(values.half() if half else values, labels)


def test_logits_must_be_numbers():
    with pytest.raises(InvalidInput, match="real numbers"):
        margins([["a", "b"]], [0])
    with pytest.raises(InvalidInput, match="whole numbers"):
        margins([[1.0, 2.0]], ["a"])


@pytest.mark.parametrize(
    "labels", [[1.5, 2.0, 1.0], [np.nan, 1.0, 2.0], [None, "a", "b"], ["", "a", "b"], [1, 1, 1], []]
)
def test_labels_that_can_not_be_numbered(labels) -> None:
    with pytest.raises(InvalidInput, match="y: expected"):
        numbered("y", np.array(labels))
