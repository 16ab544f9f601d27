"""The area under the margin after kernel gradient descent, in closed form; claim A1.

Full-batch gradient descent on 1/2 ||F - Y||^2 with the kernel K moves the outputs by F_{t+1} = F_t - eta K (F_t - Y),
as a wide network does, or a linear model. (Where the loss is averaged over the n examples, put K/n for K.) With
K = U diag(lambda) U^T the mean of F_1 ... F_T is Y - U diag(g) U^T (Y - F_0); see `mean_decay` for g. For two classes
AUM is linear in the outputs and follows at once; for more it is the mean of margins, summed epoch by epoch (A2).
"""

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from theory import arrays, checks
from theory.arrays import Array
from theory.margin import class_numbers

Convention = Literal["post", "pre"]
"""post: epoch t logs F_t, after its step. pre: it logs F_{t-1}, as a full-batch training forward pass does. Logging pre
over E epochs and skipping the first is post over E - 1."""

Coding = Literal["one-hot", "signs"]
"""one-hot: Y has one column per class. signs: one output on labels -1, +1, read as the logits (-f, f)."""

_SERIES = 30  # terms: each is at most a third of the one before, and 3^-30 is below float64


def mean_decay(x: Array, epochs: Array, convention: Convention = "post") -> tuple[Array, Array]:
    """Mean over the epochs of (1 - x)^t, x = eta lambda, and its distance from 1; both to nearly full precision.

    post: g = (1 - x)(1 - (1 - x)^T) / (T x), the mean over t = 1 ... T; pre: the same without the factor 1 - x, the
    mean over t = 0 ... T - 1; g = 1 at x = 0.

    Args:
        x: eta times eigenvalues, any real numbers, (m,).
        epochs: numbers of epochs T >= 1, (E,).
        convention: "post" or "pre".

    Returns:
        g and 1 - g, both (E, m), in the kind of x, float64.

    Raises:
        InvalidInput: NaN, epochs that are not whole numbers from 1, growth beyond float64.

    Example:
        >>> g, complement = mean_decay([0.0, 0.5, 1e-12], [2])
        >>> g
        array([[1.   , 0.375, 1.   ]])
        >>> float(complement[0, 2])
        1.5e-12
    """
    (x,), back = arrays.tensors(x=x)
    checks.vector("x", x)
    checks.choice("convention", convention, ("post", "pre"))
    x, T = x.double(), _counts(epochs)[:, None]
    near = torch.where((x > 1) & (x <= 2), 2 - x, x)  # |1 - x| = 1 - near
    slow = near <= 0.5  # there the power comes from logarithms, which keeps the digits of a small distance from 0 or 2
    fall, odd = torch.log1p(-near.clamp(max=0.5)), (x > 1) & (T % 2 == 1)
    power = torch.where(slow, torch.where(odd, -1.0, 1.0) * (T * fall).exp(), (1 - x) ** T)
    lost = torch.where(slow & ~odd, -torch.expm1(T * fall), 1 - power)
    mean = torch.where(x == 0, 1.0, lost / torch.where(x == 0, 1.0, T * x))
    complement = torch.where((T * x).abs() < 1, _series(x, T), 1 - mean)
    if convention == "post":
        mean, complement = (1 - x) * mean, complement + x * mean
    if not bool(mean.isfinite().all()):
        checks.fail("step", "descent that stays within float64", "growth beyond it", "lower the step or the epochs")
    return back(mean), back(complement)


def linearised_logits(
    K: Array,
    labels: Array,
    step: float,
    epochs: Array,
    *,
    coding: Coding = "one-hot",
    classes: int | None = None,
    convention: Convention = "post",
    start: Array | None = None,
) -> Array:
    """Mean outputs over the epochs of kernel gradient descent, for several numbers of epochs at once.

    Args:
        K: symmetric kernel (n, n), singular or not.
        labels: one-hot: classes (n,) from 0; signs: -1 or +1 (n,).
        step: eta, any real number.
        epochs: numbers of epochs, >= 1, (E,).
        coding: "one-hot" or "signs".
        classes: c of one-hot labels; left out: the largest label + 1, at least 2.
        convention: "post" or "pre".
        start: outputs F_0, (n, c) or (n,); zero if left out.

    Returns:
        (E, n, c), or (E, n) for signs, in the kind of K.

    Raises:
        InvalidInput: wrong shapes, NaN, K not symmetric, labels that don't fit the coding, growth beyond float64.

    Example:
        >>> linearised_logits([[1.0]], [1], 0.5, [1, 2])
        array([[[0.   , 0.5  ]],
        <BLANKLINE>
               [[0.   , 0.625]]])
    """
    K, Y, F0, back = _problem(K, labels, coding, classes, start)
    means = _means(K, Y, F0, step, epochs, convention)
    return back(means[..., 0] if coding == "signs" else means)


def linearised(
    K: Array,
    labels: Array,
    step: float,
    epochs: Array,
    *,
    coding: Coding = "one-hot",
    classes: int | None = None,
    convention: Convention = "post",
    start: Array | None = None,
) -> Array:
    """AUM of every example under kernel gradient descent, for several numbers of epochs at once; claim A1.

    For two classes (either coding) a closed form: with s = -1, +1, F_0 = 0 and one-hot labels,
    AUM_i = s_i [s - U diag(g) U^T s]_i; signs give twice that. For more classes the margins are summed over the epochs.
    Arguments and errors as for `linearised_logits`.

    Returns:
        (E, n), in the kind of K.

    Example:
        >>> linearised([[2.0, 1.0], [1.0, 2.0]], [0, 1], 0.25, [1, 10])
        array([[0.25 , 0.25 ],
               [0.717, 0.717]])
    """
    K, Y, F0, back = _problem(K, labels, coding, classes, start)
    if Y.shape[1] > 2:
        return back(_summed(K, Y, F0, checks.number("step", step), _counts(epochs), convention))
    signs = 2 * Y if coding == "signs" else 2 * Y - 1
    return back((signs * _means(K, Y, F0, step, epochs, convention)).sum(-1))


def _means(K: Tensor, Y: Tensor, F0: Tensor, step: float, epochs: Array, convention: Convention) -> Tensor:
    values, vectors = torch.linalg.eigh(K)
    _, gained = mean_decay(checks.number("step", step) * values, epochs, convention)
    return F0 + vectors @ (gained[:, :, None] * (vectors.T @ (Y - F0)))


def _summed(K: Tensor, Y: Tensor, F0: Tensor, step: float, counts: Tensor, convention: Convention) -> Tensor:
    """Mean margins of the logits epoch by epoch, each from its own power (no error is carried along)."""
    values, vectors = torch.linalg.eigh(K)
    R0, own = vectors.T @ (Y - F0), Y.bool()
    total, found = Y.new_zeros(len(Y)), {}
    wanted = {int(count) for count in counts}
    for epoch in range(1, max(wanted) + 1):
        t = epoch if convention == "post" else epoch - 1
        logits = Y - vectors @ ((1 - step * values)[:, None] ** t * R0)
        total = total + logits[own] - logits.masked_fill(own, -torch.inf).amax(1)
        if epoch in wanted:
            found[epoch] = total / epoch
    means = torch.stack([found[int(count)] for count in counts])
    if not bool(means.isfinite().all()):
        checks.fail("step", "descent that stays within float64", "growth beyond it", "lower the step or the epochs")
    return means


def _problem(
    K: Array, labels: Array, coding: Coding, classes: int | None, start: Array | None
) -> tuple[Tensor, Tensor, Tensor, Any]:
    """K, Y and F_0 in float64, (n, n), (n, c) and (n, c), with c = 1 for signs."""
    checks.choice("coding", coding, ("one-hot", "signs"))
    (given, start), back = arrays.tensors(K=K, start=start)
    checks.matrix("K", given)
    checks.matrix("K", given, columns=len(given))
    rounding = len(given) * torch.finfo(given.dtype).eps
    if float((given - given.T).abs().max()) > 100 * rounding * float(given.abs().max()):
        checks.fail("K", "a symmetric matrix", "an asymmetric one", "pass a kernel J J^T")
    K64 = (given.double() + given.double().T) / 2
    if coding == "signs":
        (signs,), _ = arrays.tensors(labels=labels)
        checks.vector("labels", signs, length=len(given))
        if not bool((signs.abs() == 1).all()):
            checks.fail("labels", "-1 or +1 with coding='signs'", "others", "use coding='one-hot' for class numbers")
        Y = signs.to(K64)[:, None]
    else:
        numbers = class_numbers("labels", labels, len(given), classes)
        count = checks.integer("classes", classes or max(2, int(numbers.max()) + 1), minimum=2)
        Y = torch.nn.functional.one_hot(torch.from_numpy(numbers), count).to(K64)
    flat = coding == "signs" and start is not None and start.ndim == 1
    if start is not None and start.shape != (Y.shape[:1] if flat else Y.shape):
        checks.fail("start", f"shape {tuple(Y.shape)}", f"shape {tuple(start.shape)}", "one output per label entry")
    F0 = torch.zeros_like(Y) if start is None else start.double().reshape(Y.shape)
    return K64, Y, F0, lambda result: back(result.to(given.dtype))


def _series(x: Tensor, T: Tensor) -> Tensor:
    """1 - mean over t = 0 ... T - 1 of (1 - x)^t for |T x| < 1, by its binomial series: no cancellation."""
    term = (T - 1) / 2 * x
    total = term
    for j in range(2, _SERIES):
        term = term * -(T - j) / (j + 1) * x
        total = total + term
    return total


def _counts(epochs: Array) -> Tensor:
    (counts,), _ = arrays.tensors(epochs=np.atleast_1d(epochs) if not arrays.is_tensor(epochs) else epochs)
    checks.vector("epochs", counts)
    if not bool(((counts >= 1) & (counts == counts.round())).all()):
        checks.fail("epochs", "whole numbers from 1", "others", "count the epochs from 1")
    return counts.double()
