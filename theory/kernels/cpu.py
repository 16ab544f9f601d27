"""The slope Gram on a CPU, streamed over the width: counted from bits for rectifiers, by matrix products otherwise.

phi' of a rectifier of slope s is 1 where z > 0 and s elsewhere. With c_il the weight of the units that are on at both
x_i and y_l, and c_i, c_l that of the units on at one of them, S_il = c_il + s (c_i + c_l - 2 c_il) +
s^2 (sum weights - c_i - c_l + c_il): units on at both, at one, at neither, so that a large s cancels nothing.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from theory.activations import Activation
from theory.kernels import compiling
from theory.kernels.rows import Rows

_UNITS = 128  # units to a weight, from which on counting each weight's units beats one product of them all
_WEIGHTS = 8  # distinct weights that are counted in any case, because counts are exact
_PIECE = 2**16  # pre-activations that a thread turns into slopes at once: the temporaries of phi' stay in its cache
_PRODUCT = 4096  # units of one product: float32 loses digits in a longer sum, before float64 adds the products up

Blocks = Callable[[int], Iterator[tuple[float, Tensor]]]
"""From the most rows of a block to all rows of W, in blocks of one weight: (weight, (rows, d))."""


def slope_gram(
    X: Tensor,
    W: Tensor | Rows,
    weights: Tensor | float,
    activation: Activation,
    Y: Tensor | None = None,
    *,
    chunk_bytes: int = 2**26,
    precision: str = "exact",
) -> Tensor:
    """S_il = sum_j weights_j phi'(<w_j, x_i>) phi'(<w_j, y_l>), in memory O(n m + chunk) beside the arguments.

    Arguments as for `theory.kernels.gram`, which checks them; weights (k,) >= 0, or one number for all rows. Rectifiers
    with few distinct weights are counted, which is exact but for pre-activations that rounding puts on the other side
    of 0; all else is multiplied in the dtype of X and added up in float64. `precision` changes nothing here.

    Returns:
        (n, m) in float64; exactly symmetric when Y is left out.
    """
    if not isinstance(weights, Tensor):  # a common weight multiplies at the end, which rounds once
        return _gram(X, W, None, activation, Y, chunk_bytes).mul_(weights)
    return _gram(X, W, weights, activation, Y, chunk_bytes)


def _gram(
    X: Tensor, W: Tensor | Rows, weights: Tensor | None, activation: Activation, Y: Tensor | None, chunk_bytes: int
) -> Tensor:
    """The slope Gram; weights None: all 1."""
    sides = [X] if Y is None else [X, Y]
    gram = np.zeros((len(X), len(sides[-1])))
    chunk_bytes = max(chunk_bytes, gram.nbytes // 4)  # each chunk passes over the gram: a small one would not pay
    slope = activation.rectifier
    groups = None if slope is None else _groups(weights, len(W))
    if slope is None or groups is None:
        _multiply(gram, sides, W, weights, activation, chunk_bytes)
        return torch.from_numpy(gram)
    count = _count_bits if compiling.available() else _count_by_products
    singles = [np.zeros(len(side)) for side in sides] if slope else []
    count(gram, singles, sides, lambda step: _blocks(W, X.dtype, *groups, step), chunk_bytes)
    if slope:
        total = len(W) if weights is None else float(weights.double().sum())
        either = np.add.outer(singles[0], singles[-1]) - gram
        gram += slope * (either - gram) + slope**2 * (total - either)
    return torch.from_numpy(gram)


def _groups(weights: Tensor | None, units: int) -> tuple[list[float], Tensor | None] | None:
    """The distinct weights and which of them each unit has, or None if they are many; all one: None in its place."""
    if weights is None:
        return [1.0], None
    values, labels = torch.unique(weights, return_inverse=True)
    if len(values) > max(_WEIGHTS, units // _UNITS):
        return None
    return values.tolist(), labels if len(values) > 1 else None


def _chunks(W: Tensor | Rows, dtype: torch.dtype, step: int) -> Iterator[tuple[slice, Tensor]]:
    for start in range(0, len(W), step):
        units = slice(start, min(start + step, len(W)))
        yield units, W.block(units.start, units.stop, dtype) if isinstance(W, Rows) else W[units]


def _blocks(
    W: Tensor | Rows, dtype: torch.dtype, values: list[float], labels: Tensor | None, step: int
) -> Iterator[tuple[float, Tensor]]:
    for units, rows in _chunks(W, dtype, step):
        if labels is None:
            yield values[0], rows
            continue
        for label, value in enumerate(values):
            chosen = labels[units] == label
            if value and chosen.any():
                yield value, rows[chosen]


def _count_bits(
    gram: np.ndarray, singles: list[np.ndarray], sides: list[Tensor], blocks: Blocks, chunk_bytes: int
) -> None:
    """Add to gram (n, m) the weight of the units on at both inputs, and to `singles`, if any, of those on at one."""
    from theory.kernels import bits

    symmetric = len(sides) == 1
    inputs = [bits.panels(side.numpy()) for side in sides]
    # per unit: its bits, and its row twice, should W have to be drawn or copied
    bytes_per_unit = sum(bits.row_bytes(len(side)) + side.shape[1] * side.element_size() for side in sides)
    step = bits.UNITS * max(1, chunk_bytes // (bytes_per_unit * bits.UNITS))
    room = [bits.patterns(len(side), step) for side in sides]
    for weight, rows in blocks(step):
        units = rows.contiguous().numpy()
        patterns = [bits.cleared(pattern, len(units)) for pattern in room]
        for side, pattern in zip(inputs, patterns, strict=True):
            compiling.share(partial(bits.pack, side, units, pattern), _spans(len(units), bits.PART))
        both = partial(bits.add_counts, patterns[0], patterns[-1], gram, weight, len(units), symmetric)
        compiling.share(both, _spans(len(gram), 8))
        if not symmetric:
            for single, pattern in zip(singles, patterns, strict=False):  # no singles: none are wanted
                single += weight * bits.totals(pattern, len(units))[: len(single)]
    if symmetric:
        compiling.share(partial(bits.mirror, gram), _spans(len(gram), 32))
        for single in singles:
            single[:] = gram.diagonal()


def _count_by_products(
    gram: np.ndarray, singles: list[np.ndarray], sides: list[Tensor], blocks: Blocks, chunk_bytes: int
) -> None:
    """The same as `_count_bits` without a compiler: float32 products of patterns, exact for chunks below 2^24 units."""
    per_unit = (4 + 2 * sides[0].element_size()) * sum(map(len, sides))
    for weight, rows in blocks(max(1, min(2**24 - 1, chunk_bytes // per_unit))):
        on = [(side @ rows.T > 0).float().numpy() for side in sides]
        gram += np.multiply(on[0] @ on[-1].T, weight, dtype=np.float64)
        for single, pattern in zip(singles, on, strict=False):  # no singles: none are wanted
            single += weight * pattern.sum(1, dtype=np.float64)


def _multiply(
    gram: np.ndarray,
    sides: list[Tensor],
    W: Tensor | Rows,
    weights: Tensor | None,
    activation: Activation,
    chunk_bytes: int,
) -> None:
    """Add to gram (n, m) the products of slopes over the width; numpy's product with its own transpose is a syrk."""
    roots = None if weights is None else weights.sqrt()
    step = max(1, min(_PRODUCT, chunk_bytes // (2 * sides[0].element_size() * sum(map(len, sides)))))
    product = np.empty(gram.shape, sides[0].numpy().dtype)
    for units, rows in _chunks(W, sides[0].dtype, step):
        slopes = [_to_slopes(side @ rows.T, activation) for side in sides]
        if roots is not None:
            slopes = [slope.mul_(roots[units]) for slope in slopes]
        left, right = slopes[0].numpy(), slopes[-1].numpy()
        gram += np.matmul(left, right.T, out=product)


def _to_slopes(z: Tensor, activation: Activation) -> Tensor:
    """phi'(z) in the memory of z, compiled or else by torch, a few rows at a time."""
    if compiling.available():
        from theory.kernels import slopes

        if slopes.known(activation):
            slopes.turn(activation, z.view(-1).numpy())
            return z
    for piece in z.split(max(1, _PIECE * torch.get_num_threads() // z.shape[1])):
        piece.copy_(activation.derivative(piece))
    return z


def _spans(length: int, unit: int) -> list[tuple[int, int]]:
    """About equal parts (start, stop) of range(length), one or eight for each thread; starts are multiples of unit."""
    threads = torch.get_num_threads()
    parts = 1 if threads == 1 else 8 * threads
    step = unit * max(1, -(-length // (unit * parts)))
    return [(start, min(start + step, length)) for start in range(0, length, step)]
