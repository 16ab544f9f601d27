"""Margins of classifiers: the assigned class' logit minus the largest other logit, before any softmax.

A positive margin means that the network agrees with the label. Its mean over the epochs of training is the area under
the margin (`theory.aum`). This is not the "normalised margin" of confident learning, which compares probabilities of a
network that has not seen the example. Cf. Pleiss et al. (2020).
"""

from typing import Any

import numpy as np

from theory import arrays, checks
from theory.arrays import Array

_CHUNK_BYTES = 2**20
"""Rows are copied this many bytes at a time: masking and maximum work in the cache, and the input is read once."""


def margins(logits: Array, labels: Array) -> Array:
    """z_y - max over j != y of z_j for each row z of the logits and its label y.

    The input is read once and never copied whole. Half precision is computed in float32; nothing is rounded to it.

    Args:
        logits: (n, c) floats, c >= 2, or integers; -inf marks a class that can't be chosen.
        labels: assigned classes (n,), whole numbers from 0 to c - 1.

    Returns:
        (n,) in the kind of the logits, on their device; float32 for half and single precision, else float64. Carries no
        gradient.

    Raises:
        InvalidInput: wrong shapes, fewer than two classes, labels that are no classes, NaN or +inf among the logits.

    Example:
        >>> margins([[2.0, 5.0, 1.0], [2.0, 5.0, 1.0]], [1, 0])
        array([ 3., -3.])
    """
    if arrays.is_tensor(logits) and (logits.device.type != "cpu" or logits.dtype.itemsize < 4):
        return _on_device(logits.detach(), labels)
    table = logits.detach().numpy() if arrays.is_tensor(logits) else np.asarray(logits)
    _shape(table)
    if table.dtype.kind not in "fbui":
        checks.fail("logits", "an array of real numbers", f"dtype {table.dtype}", "convert them to floats")
    found = _on_cpu(table, class_numbers("labels", labels, *table.shape))
    if not arrays.is_tensor(logits):
        return found
    import torch

    return torch.from_numpy(found)


def class_numbers(name: str, labels: Array, rows: int, classes: int | None) -> np.ndarray:
    """Labels (rows,) as int64, each a whole number from 0 to `classes` - 1 (None: any number from 0).

    Raises:
        InvalidInput: another length, fractions, NaN, numbers that are no classes; the message counts them.

    Example:
        >>> class_numbers("labels", [0.0, 2.0], 2, 3)
        array([0, 2])
    """
    values = labels.detach().cpu().numpy() if arrays.is_tensor(labels) else np.asarray(labels)
    if values.shape != (rows,):
        checks.fail(name, f"shape ({rows},), one per row", f"shape {values.shape}", "give each example its class")
    whole = values.dtype.kind in "bui" or (values.dtype.kind == "f" and bool((values == np.round(values)).all()))
    if not whole:
        checks.fail(name, "whole numbers", f"some others, dtype {values.dtype}", "number the classes from 0")
    with np.errstate(invalid="ignore"):  # what int64 can't hold becomes a negative number, and is refused
        numbers = values.astype(np.int64, copy=False)
    top = np.inf if classes is None else classes
    if rows and not (numbers.min() >= 0 and numbers.max() < top):
        bad = (numbers < 0) | (numbers >= top)
        wanted = "classes from 0" if classes is None else f"classes from 0 to {classes - 1}"
        got = f"{int(bad.sum())} others, e.g. {int(numbers[bad][0])}"
        checks.fail(name, wanted, got, "number the classes from 0, one logit each")
    return numbers


def numbered(name: str, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """The distinct labels, sorted, and the number of each label among them; labels may be strings.

    Returns:
        (c,) and (n,) int64.

    Raises:
        InvalidInput: no, missing or fractional labels, or one class only.

    Example:
        >>> classes, numbers = numbered("labels", ["cat", "dog", "cat", "dog", "cat"])
        >>> numbers
        array([0, 1, 0, 1, 0])
    """
    values = labels.detach().cpu().numpy() if arrays.is_tensor(labels) else np.asarray(labels)
    checks.vector(name, values)
    import pandas as pd  # it knows every way to say that a value is missing

    missing = pd.isna(values) | np.array([label in ("", "nan") for label in values.tolist()])
    if missing.any():
        got = f"none in {int(missing.sum())} rows, e.g. row {int(np.flatnonzero(missing)[0])}"
        checks.fail(name, "a label for each sample", got, "leave such samples out")
    if values.dtype.kind == "f" and not bool((values == np.round(values)).all()):
        got = f"fractions, e.g. {values[values != np.round(values)][0]}"
        checks.fail(name, "classes", got, "is it the right column?")
    classes, numbers = np.unique(values.astype(str) if values.dtype.kind in "OT" else values, return_inverse=True)
    if len(classes) < 2:
        checks.fail(name, "at least two classes", classes.tolist(), "a margin compares classes")
    return classes, numbers


def _on_cpu(table: np.ndarray, labels: np.ndarray) -> np.ndarray:
    import torch  # its maximum along short rows is several times faster than numpy's

    n, c = table.shape
    exact = np.float32 if table.dtype in (np.float16, np.float32) else np.float64
    found = np.empty(n, exact)
    rows = max(1, min(n, _CHUNK_BYTES // (c * found.itemsize)))
    buffer = np.empty((rows, c), exact)
    shared, starts = torch.from_numpy(buffer), np.arange(rows) * c
    for first in range(0, n, rows):
        size = min(rows, n - first)
        np.copyto(buffer[:size], table[first : first + size])
        own = starts[:size] + labels[first : first + size]
        flat = buffer.reshape(-1)
        assigned = flat[own]
        flat[own] = -np.inf
        with np.errstate(invalid="ignore"):  # inf - inf is refused below
            np.subtract(assigned, shared[:size].amax(1).numpy(), out=found[first : first + size])
    _finite(bool(np.isfinite(found).all()), table, found)
    return found


def _on_device(table: Any, labels: Array) -> Any:
    import torch

    _shape(table)
    numbers = class_numbers("labels", labels, *table.shape)
    columns = torch.from_numpy(numbers).to(table.device)[:, None]
    if not table.is_floating_point():
        table = table.double()
    table = table.float() if table.dtype.itemsize < 4 else table
    others = table.scatter(1, columns, -torch.inf).amax(1)
    found = table.gather(1, columns)[:, 0] - others
    _finite(bool(found.isfinite().all()), table, found)
    return found


def _shape(table: Any) -> None:
    checks.matrix("logits", table)
    if table.shape[1] < 2:
        checks.fail("logits", "at least two classes", "one column", "a margin compares classes: pass all logits")


def _finite(fine: bool, table: Any, found: Any) -> None:
    if fine:
        return
    finite = np.isfinite(np.asarray(found.cpu() if arrays.is_tensor(found) else found))
    row = int(np.flatnonzero(~finite)[0])
    got = f"{int((~finite).sum())} rows without one, e.g. row {row}: {np.asarray(table[row].tolist())[:5]}"
    checks.fail("logits", "numbers, of which a margin can be taken", got, "NaN or inf: lower the learning rate?")
