"""Compiled descent with a rectifier: one sweep over the width per step; see `theory.kernels.fused_layout`.

For a block of hidden units a step reads which of them were on for which example (one bit each), sums up the gradient,
moves the weights, and evaluates the block at its new weights. Floats of all pairs (example, unit) are never stored.

Layout. `Problem.rows` is (GROUP groups, columns), d rounded up to whole vectors. `State.slopes` is (chunks, units), a
32-bit word for a unit and a *chunk* of 8 groups, whose examples follow one another from the highest bit used down.
`Scratch.gradient` is (units of a block, width) and `Scratch.table` (16 CHUNK, width), at most WIDEST vectors wide.

The gradient sum_i on_ij r_i x_i needs no multiplication. For each group the 16 sums of its subsets are tabulated, and
four bits of a unit's word pick the one to add: a quarter of the additions (the "method of the four Russians", Arlazarov
et al. 1970). So a step costs little more than its n k d multiply-adds for the pre-activations.

A leaky rectifier costs the same: phi(z) = s z + (1 - s) max(z, 0), and the linear part is one vector for all units.
"""

import numpy as np

from theory.kernels.fused_layout import (
    Problem,
    Scratch,
    State,
    aligned,
    clear,
    entry,
    grouped,
    inlined,
    lanes,
    leaf,
    parts,
    settle,
    summed,
    tiled,
)
from theory.kernels.fused_tiles import (
    CHUNK,
    WIDEST,
    add_rows_1,
    add_rows_2,
    add_rows_3,
    add_rows_4,
    evaluate_1,
    evaluate_2,
    move_tile,
    tabulate,
)
from theory.kernels.vectors import GROUP, TILE

BLOCK = 504  # units whose gradient is in work at once, so that it stays in the second cache


def prepare(
    X: np.ndarray, W: np.ndarray, v: np.ndarray, y: np.ndarray, counts: np.ndarray, slope: float, step: float
) -> tuple[Problem, State]:
    """The problem and its state at W (halves, h, d) with v (h,), not yet evaluated: `advance` by 0 steps does that.

    All arrays have one dtype, float32 or float64; X is (n, d), y and counts are (n,). Everything is copied.
    """
    (n, d), dtype, real = X.shape, X.dtype, X.dtype.type
    groups, W = grouped(X), tiled(W)
    halves, tiles, _, tile = W.shape
    rows = aligned((len(groups) * GROUP, -(-d // lanes(dtype)) * lanes(dtype)), dtype)
    rows[:n, :d] = X
    padded = aligned((tiles * tile,), dtype)
    padded[: len(v)] = v
    count = parts(n, W)
    words = aligned((-(-len(groups) // CHUNK), halves * tiles * tile), np.uint32)
    state = State(W, words, np.zeros(n, dtype), np.zeros((count, n)), np.zeros((count, d)), np.zeros(count))
    return Problem(groups, rows, y.copy(), counts.copy(), padded, -1, real(slope), real(step)), state


def scratch(problem: Problem, state: State) -> Scratch:
    """Room for one thread."""
    (examples, columns), dtype = problem.rows.shape, problem.rows.dtype
    halves, tiles, _, tile = state.W.shape
    width, units = WIDEST * lanes(dtype), halves * tile * min(tiles, max(1, BLOCK // (halves * tile)))
    shapes = ((examples, columns), (1, columns), (examples, lanes(dtype)), (units, width), (16 * CHUNK, width))
    return Scratch(*(aligned(shape, dtype) for shape in shapes))


@entry
def advance(problem, state, scratch, steps, first, last, settled, losses, moves):  # type: ignore[no-untyped-def]
    """Make steps (0: only evaluate) with parts first to last of the width; returns the present loss.

    Where not all parts are done in one call, the steps are made one by one, and a last call that has no parts settles
    the outcome. Any step needs the state evaluated.

    Args:
        problem: a `Problem`.
        state: a `State`, overwritten.
        scratch: a `Scratch`, no other thread's.
        steps: how many.
        first: first part.
        last: the part after the last.
        settled: whether to add up the parts after each step.
        losses: takes the loss after each step, (steps,).
        moves: takes the length of each step, (steps,).
    """
    loss = 0.0
    for s in range(max(steps, 1)):
        if last > first:
            sweep(problem, state, scratch, first, last, steps > 0)
        if settled:
            loss, move = settle(problem, state)
            if steps > 0:
                losses[s], moves[s] = loss, move
    return loss


@inlined
def sweep(problem, state, scratch, first, last, learn):  # type: ignore[no-untyped-def]
    """For parts first to last of the width: a gradient step (if `learn`), then the outputs."""
    W, on, outputs, gradient = state.W, state.slopes, scratch.outputs, scratch.gradient
    halves, tiles, d, tile = W.shape
    columns, lanes, parts = problem.rows.shape[1], tile // TILE, len(state.squares)
    if learn:
        weigh(problem, state, scratch.weighted, scratch.linear)
    tasks = -(-columns // (WIDEST * lanes))  # at most WIDEST vectors of columns each
    units = len(gradient) // (tile * halves)
    for part in range(first, last):
        begin, end = part * tiles // parts, (part + 1) * tiles // parts
        clear(outputs)
        state.squares[part] = 0
        for z in range(d):
            state.linear[part, z] = 0
        for a in range(begin, end, units):
            b = min(a + units, end)
            for task in range(tasks if learn else 0):
                z = task * (columns // lanes) // tasks * lanes
                stop = (task + 1) * (columns // lanes) // tasks * lanes
                vectors = (stop - z) // lanes
                collect(scratch, on, z, vectors, lanes, a * tile, b * tile, halves)
                state.squares[part] += move(W, problem.v, problem.step, gradient, z, min(stop, d), a, b)
            if problem.slope != 0:
                follow(W, problem.v, state.linear, part, a, b)
            evaluate(W, problem.groups, problem.v, outputs, on, a, b)
        summed(state, outputs, part)


@inlined
def weigh(problem, state, weighted, linear):  # type: ignore[no-untyped-def]
    """weighted_i = (1 - slope) n_i r_i x_i, and linear = slope sum_i n_i r_i x_i."""
    rows, slope = problem.rows, problem.slope
    clear(linear)
    for i in range(len(rows)):
        share = problem.counts[i] * state.residual[i] if i < len(problem.y) else rows.dtype.type(0)
        for z in range(rows.shape[1]):
            weighted[i, z] = share * rows[i, z]
    if slope != 0:
        for i in range(len(rows)):
            for z in range(rows.shape[1]):
                linear[0, z] += slope * weighted[i, z]
                weighted[i, z] -= slope * weighted[i, z]


@leaf
def collect(scratch, on, z, vectors, lanes, first, last, halves):  # type: ignore[no-untyped-def]
    """gradient[unit] = sum over the examples for which the unit is on, of `vectors` vectors of columns from z on.

    The units are first to last of each half; the gradient is that of W over v_j, without the sign of the half.
    """
    weighted, gradient, table = scratch.weighted, scratch.gradient, scratch.table
    units, width = last - first, vectors * lanes
    for j in range(halves * units):
        for column in range(width):
            gradient[j, column] = scratch.linear[0, z + column]
    for chunk in range(len(on)):
        groups = min(CHUNK, len(weighted) // GROUP - chunk * CHUNK)
        for group in range(groups):
            tabulate(weighted, table, (chunk * CHUNK + group) * GROUP, weighted.shape[1], z, group, vectors)
        for half in range(halves):
            words = chunk * on.shape[1] + half * (on.shape[1] // halves) + first
            if vectors == 1:
                add_rows_1(on, table, gradient, words, half * units, units, groups)
            elif vectors == 2:
                add_rows_2(on, table, gradient, words, half * units, units, groups)
            elif vectors == 3:
                add_rows_3(on, table, gradient, words, half * units, units, groups)
            else:
                add_rows_4(on, table, gradient, words, half * units, units, groups)


@leaf
def move(W, v, step, gradient, z, stop, a, b):  # type: ignore[no-untyped-def]
    """W -= step v_j gradient_j for tiles a to b and columns z to stop; returns the squared length of v_j gradient_j."""
    halves, tiles, d, tile = W.shape
    total = 0.0
    for half in range(halves):
        for t in range(a, b):
            signed = step if half == 1 else -step
            total += move_tile(
                W, v, signed, gradient, half * tiles + t, t, (half * (b - a) + t - a) * tile, d, z, stop - z
            )
    return total


@leaf
def follow(W, v, linear, part, a, b):  # type: ignore[no-untyped-def]
    """linear[part] += v^T W over tiles a to b; differences of the halves first: equal halves give exactly zero."""
    halves, _, d, tile = W.shape
    for t in range(a, b):
        for z in range(d):
            total = 0.0
            for lane in range(tile):
                w = np.float64(W[0, t, z, lane])
                if halves == 2:
                    w -= np.float64(W[1, t, z, lane])
                total += np.float64(v[t * tile + lane]) * w
            linear[part, z] += total


@leaf
def evaluate(W, groups, v, outputs, on, a, b):  # type: ignore[no-untyped-def]
    """outputs[i, lane] += v_j max(z_ij, 0) over tiles a to b, a unit j adding to its lane; and the words of `on`."""
    for chunk in range(len(on)):
        group = chunk * CHUNK
        some = min(CHUNK, len(groups) - group)
        for t in range(a, b):
            if len(W) == 1:
                evaluate_1(W, groups, v, outputs, on, t, W.shape[1], W.shape[2], chunk, group, some)
            else:
                evaluate_2(W, groups, v, outputs, on, t, W.shape[1], W.shape[2], chunk, group, some)
