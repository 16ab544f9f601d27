"""What compiled descent works on: how `theory.kernels.fused` lays out a problem, and what both kinds of descent share.

Hidden units are the lanes of vectors. A *tile* is 3 vectors of units, a *group* 4 examples; a product of the two, 12
vectors, fits into registers. All arrays begin at a cache line, and are padded with zeros: units that have no output
weight, examples that have no weight.

Numba is imported here: import this module inside functions, after `compiling.available`.
"""

import hashlib
import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from theory.kernels.compiling import compiled
from theory.kernels.vectors import GROUP, TILE, VECTOR_BYTES

PART = 2**24  # multiply-adds that are worth a thread
MOST_PARTS = 64  # of the width; a property of the problem, not of the threads, so that these do not change results

inlined = compiled(inline="always", cache=False)
leaf = compiled(no_cpython_wrapper=True, no_cfunc_wrapper=True, cache=False)  # part of what the entry keeps on disk


def entry(function: Callable) -> Any:
    """Decorator: `compiled`, and compiled anew when any file of compiled descent has changed.

    Numba's disk cache only looks at the function's own file, but it goes by names: this one gets the files' digest.
    """
    folder = Path(__file__).parent
    names = ("vectors", "elementary", "fused_layout", "fused_rectifier", "fused_smooth", "fused_tiles")
    digest = hashlib.sha256(b"".join((folder / f"{name}.py").read_bytes() for name in names)).hexdigest()
    function = inspect.unwrap(function)
    function.__qualname__ = f"{function.__name__}_{digest[:12]}"
    return compiled(function)


class Problem(NamedTuple):
    """What a step only reads, in floats of the descent's dtype.

    Attributes:
        groups: the inputs, (groups, d, GROUP).
        rows: the inputs as the gradient wants them: see `fused_rectifier` and `fused_smooth`.
        y: labels, (n,).
        counts: weights n_i of the examples, (n,).
        v: output weights of the first half, (tiles * tile,); those of a second half are -v.
        kind: which activation; see `fused_smooth`.
        slope: left of zero; 0 for a smooth activation.
        step: the step size.
    """

    groups: np.ndarray
    rows: np.ndarray
    y: np.ndarray
    counts: np.ndarray
    v: np.ndarray
    kind: int
    slope: Any
    step: Any


class State(NamedTuple):
    """What a step changes. A paired network has two halves.

    Attributes:
        W: hidden weights, (halves, tiles, d, tile).
        slopes: phi' of every unit at every example: see `fused_rectifier` and `fused_smooth`.
        residual: f - y, (n,).
        outputs: each part's share of f, without its linear part, (parts, n).
        linear: each part's share of v^T W, (parts, d).
        squares: each part's share of the squared length of the last gradient, (parts,).
    """

    W: np.ndarray
    slopes: np.ndarray
    residual: np.ndarray
    outputs: np.ndarray
    linear: np.ndarray
    squares: np.ndarray


class Scratch(NamedTuple):
    """What a thread needs for its part of a step.

    Attributes:
        weighted: the inputs times (1 - slope) n_i r_i, like `Problem.rows`.
        linear: slope sum_i n_i r_i x_i, (1, columns).
        outputs: the part's outputs, lane by lane, (GROUP groups, lanes).
        gradient: of some units over v_j: see `fused_rectifier` and `fused_smooth`.
        table: sums of subsets of examples: see `fused_rectifier`.
    """

    weighted: np.ndarray
    linear: np.ndarray
    outputs: np.ndarray
    gradient: np.ndarray
    table: np.ndarray


def aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Zeros that begin at a cache line, so that no vector lies across two."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


def lanes(dtype: Any) -> int:
    """Numbers in a vector."""
    return VECTOR_BYTES // np.dtype(dtype).itemsize


def grouped(X: np.ndarray) -> np.ndarray:
    """X (n, d) as (groups, d, GROUP)."""
    n, d = X.shape
    groups = aligned((-(-n // GROUP), d, GROUP), X.dtype)
    for i in range(GROUP):
        some = X[i::GROUP]
        groups[: len(some), :, i] = some
    return groups


def tiled(W: np.ndarray) -> np.ndarray:
    """W (halves, h, d) as (halves, tiles, d, tile)."""
    halves, h, d = W.shape
    tile = TILE * lanes(W.dtype)
    tiles = aligned((halves, -(-h // tile), d, tile), W.dtype)
    for t in range(tiles.shape[1]):
        some = W[:, t * tile : (t + 1) * tile]
        tiles[:, t, :, : some.shape[1]] = some.transpose(0, 2, 1)
    return tiles


def untiled(W: np.ndarray, h: int) -> np.ndarray:
    """W (halves, tiles, d, tile) as (halves, h, d), a copy."""
    halves, _, d, _ = W.shape
    return W.transpose(0, 1, 3, 2).copy(order="C").reshape(halves, -1, d)[:, :h]


def parts(n: int, W: np.ndarray) -> int:
    """Into how many parts the width is cut, for n examples and W as `tiled` has it."""
    return max(1, min(n * W.size // PART, MOST_PARTS, W.shape[1]))


@inlined
def settle(problem, state):  # type: ignore[no-untyped-def]
    """The residual from the parts' outputs; returns the loss and the length of the step that led here."""
    loss, squares, slope = 0.0, 0.0, np.float64(problem.slope)
    for i in range(len(problem.y)):
        f = 0.0
        for part in range(len(state.outputs)):
            f += state.outputs[part, i]
        if slope != 0.0:
            along = 0.0
            for z in range(state.linear.shape[1]):
                total = 0.0
                for part in range(len(state.linear)):
                    total += state.linear[part, z]
                along += total * problem.groups[i // GROUP, z, i % GROUP]
            f = slope * along + (1.0 - slope) * f
        state.residual[i] = f - problem.y[i]
        loss += np.float64(problem.counts[i]) * np.float64(state.residual[i]) ** 2
    for part in range(len(state.squares)):
        squares += state.squares[part]
    return loss / 2, np.float64(problem.step) * math.sqrt(squares)


@inlined
def summed(state, outputs, part):  # type: ignore[no-untyped-def]
    """A part's outputs (examples, lanes), lane by lane, into the state."""
    for i in range(state.outputs.shape[1]):
        total = 0.0
        for lane in range(outputs.shape[1]):
            total += outputs[i, lane]
        state.outputs[part, i] = total


@inlined
def clear(matrix):  # type: ignore[no-untyped-def]
    """Zeros; matrix[:] = 0 takes numba ten times as long to compile."""
    for i in range(matrix.shape[0]):
        for j in range(matrix.shape[1]):
            matrix[i, j] = 0
