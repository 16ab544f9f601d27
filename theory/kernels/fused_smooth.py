"""Compiled descent with a smooth activation: one sweep over the width per step; see `theory.kernels.fused_layout`.

For a tile of hidden units a step multiplies the stored slopes by the weighted inputs, moves the weights, evaluates the
pre-activations at the new ones, and turns them into outputs and new slopes while they are in the cache.

Layout. `State.slopes` is (halves * tiles, GROUP groups, tile). `Problem.rows` is (d / GROUP, GROUP groups, GROUP):
columns in fours, so that the gradient is the same product as the pre-activations, of 4 columns and a tile of units.
`Scratch.gradient` is (d, tile), d rounded up to fours.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from theory import activations
from theory.activations import Activation
from theory.kernels import elementary
from theory.kernels.compiling import intrinsic
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
from theory.kernels.vectors import GROUP, TILE, Emitter, Vector

SPAN = 32  # groups in work at once: their slopes stay in the first cache

_KINDS = {activations.get(name): kind for kind, name in enumerate(("softplus", "tanh", "erf", "gelu"))}


def kind(activation: Activation) -> int | None:
    """The number of an activation that is compiled here; None: not one of them."""
    return _KINDS.get(activation)


def prepare(
    X: np.ndarray, W: np.ndarray, v: np.ndarray, y: np.ndarray, counts: np.ndarray, kind: int, step: float
) -> tuple[Problem, State]:
    """The problem and its state, as `fused_rectifier.prepare` has them, with an activation that `kind` knows."""
    n, dtype, real = len(X), X.dtype, X.dtype.type
    groups, W = grouped(X), tiled(W)
    halves, tiles, d, tile = W.shape
    examples, count = len(groups) * GROUP, parts(n, W)
    rows = aligned((-(-d // GROUP), examples, GROUP), dtype)
    rows[:, :n] = grouped(X.T)
    padded = aligned((tiles * tile,), dtype)
    padded[: len(v)] = v
    slopes = aligned((halves * tiles, examples, tile), dtype)
    state = State(W, slopes, np.zeros(n, dtype), np.zeros((count, n)), np.zeros((count, d)), np.zeros(count))
    return Problem(groups, rows, y.copy(), counts.copy(), padded, kind, real(0), real(step)), state


def scratch(problem: Problem, state: State) -> Scratch:
    """Room for one thread."""
    columns, examples, _ = problem.rows.shape
    dtype, tile = problem.rows.dtype, state.W.shape[3]
    shapes = (problem.rows.shape, (1, 1), (examples, lanes(dtype)), (columns * GROUP, tile), (1, 1))
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
    W, slopes, outputs, gradient = state.W, state.slopes, scratch.outputs, scratch.gradient
    halves, tiles, _, _ = W.shape
    parts = len(state.squares)
    if learn:
        weigh(problem, state, scratch.weighted)
    for part in range(first, last):
        clear(outputs)
        state.squares[part] = 0
        for t in range(part * tiles // parts, (part + 1) * tiles // parts):
            for half in range(halves if learn else 0):
                clear(gradient)
                collect(slopes, scratch.weighted, gradient, half * tiles + t)
                state.squares[part] += move(W, problem.v, problem.step, gradient, half, t)
            evaluate(W, problem.groups, problem.v, problem.kind, outputs, slopes, t)
        summed(state, outputs, part)


@inlined
def weigh(problem, state, weighted):  # type: ignore[no-untyped-def]
    """weighted_i = n_i r_i x_i."""
    for column in range(len(weighted)):
        for i in range(len(problem.y)):
            share = problem.counts[i] * state.residual[i]
            for c in range(GROUP):
                weighted[column, i, c] = share * problem.rows[column, i, c]


@leaf
def collect(slopes, weighted, gradient, tile):  # type: ignore[no-untyped-def]
    """gradient[c, unit] += sum_i weighted[i, c] slopes[i, unit], the gradient of a tile of W over v."""
    examples = slopes.shape[1]
    for first in range(0, examples, GROUP * SPAN):
        for column in range(len(weighted)):
            accumulate(slopes, weighted, gradient, tile, first, min(GROUP * SPAN, examples - first), column, examples)


@leaf
def move(W, v, step, gradient, half, t):  # type: ignore[no-untyped-def]
    """W -= step v_j gradient_j for a tile; returns the squared length of v_j gradient_j."""
    _, _, d, tile = W.shape
    total, squares = 0.0, np.zeros(tile, W.dtype)
    signed = step if half == 1 else -step
    for c in range(d):
        for lane in range(tile):
            W[half, t, c, lane] += signed * v[t * tile + lane] * gradient[c, lane]
            squares[lane] += gradient[c, lane] * gradient[c, lane]
    for lane in range(tile):
        total += np.float64(v[t * tile + lane]) ** 2 * squares[lane]
    return total


@leaf
def evaluate(W, groups, v, kind, outputs, slopes, t):  # type: ignore[no-untyped-def]
    """outputs[i, lane] += v_j phi(z_ij) over tile t, a unit j adding to its lane; and the tile's slopes."""
    halves, tiles, d, tile = W.shape
    for first in range(0, len(groups), SPAN):
        count = min(SPAN, len(groups) - first)
        for half in range(halves):
            project(W, groups, slopes, half * tiles + t, d, first, count, slopes.shape[1])
        place, other = (t * slopes.shape[1] + first * GROUP) * tile, tiles * slopes.shape[1] * tile
        if halves == 1:
            if kind == 0:
                softplus_1(slopes, outputs, v, place, other, t, first * GROUP, count * GROUP)
            elif kind == 1:
                tanh_1(slopes, outputs, v, place, other, t, first * GROUP, count * GROUP)
            elif kind == 2:
                erf_1(slopes, outputs, v, place, other, t, first * GROUP, count * GROUP)
            else:
                gelu_1(slopes, outputs, v, place, other, t, first * GROUP, count * GROUP)
        elif kind == 0:
            softplus_2(slopes, outputs, v, place, other, t, first * GROUP, count * GROUP)
        elif kind == 1:
            tanh_2(slopes, outputs, v, place, other, t, first * GROUP, count * GROUP)
        elif kind == 2:
            erf_2(slopes, outputs, v, place, other, t, first * GROUP, count * GROUP)
        else:
            gelu_2(slopes, outputs, v, place, other, t, first * GROUP, count * GROUP)


@intrinsic
def accumulate(typing, slopes, weighted, gradient, tile, first, count, column, examples):  # type: ignore[no-untyped-def]
    """The four rows of the gradient from `column` on += weighted^T slopes over `count` examples from `first` on."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        e = Emitter(context, builder, signature.args[0])
        slopes, weighted, gradient = map(e.start, signature.args[:3], arguments[:3])
        tile, first, count, column, examples = arguments[3:]
        width = TILE * e.lanes
        rows = e.at(e.at(slopes, tile, examples, width), first, width)
        columns = e.at(e.at(weighted, column, examples, GROUP), first, GROUP)
        places = [e.at(e.at(gradient, column, GROUP * width), s * e.lanes) for s in range(GROUP * TILE)]
        sums = e.products(rows, columns, count, [e.load(place) for place in places])
        for place, total in zip(places, sums, strict=True):
            e.store(total, place, e.bytes)
        return context.get_dummy_value()

    return types.none(slopes, weighted, gradient, *[types.intp] * 5), emit


@intrinsic
def project(typing, W, groups, slopes, tile, d, first, count, examples):  # type: ignore[no-untyped-def]
    """The pre-activations of a tile for `count` groups from `first` on, into the place of its slopes."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        e = Emitter(context, builder, signature.args[0])
        W, groups, slopes = map(e.start, signature.args[:3], arguments[:3])
        tile, d, first, count, examples = arguments[3:]
        width = TILE * e.lanes
        weights, place = e.at(W, tile, d, width), e.at(slopes, tile, examples, width)

        def group(g: Any, _: list[Any]) -> list[Any]:
            g = builder.add(first, g)
            for s, z in enumerate(e.products(weights, e.at(groups, g, d, GROUP), d)):
                e.store(z, e.at(e.at(place, g, GROUP * width), s * e.lanes), e.bytes)
            return []

        e.repeat(count, [], group)
        return context.get_dummy_value()

    return types.none(W, groups, slopes, *[types.intp] * 5), emit


def _activate(function: Callable[[Vector], elementary.Pair], halves: int) -> Any:
    def kernel(typing, slopes, outputs, v, place, other, t, first, count):  # type: ignore[no-untyped-def]
        """Pre-activations of `count` examples into slopes, and outputs += v phi; a second half lies `other` further."""

        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            e = Emitter(context, builder, signature.args[0])
            slopes, outputs, v = map(e.start, signature.args[:3], arguments[:3])
            place, other, t, first, count = arguments[3:]
            slopes, outputs, v = e.at(slopes, place), e.at(outputs, first, e.lanes), e.at(v, t, TILE * e.lanes)

            def example(i: Any, _: list[Any]) -> list[Any]:
                def vector(m: Any, sums: list[Any]) -> list[Any]:
                    phi = []
                    for half in range(halves):
                        at = e.at(e.at(slopes, i, TILE * e.lanes), m, e.lanes)
                        at = e.at(at, other) if half else at
                        value, slope = function(Vector(e, e.load(at)))
                        e.store(slope.x, at, e.bytes)
                        phi.append(value)
                    whole = phi[0] - phi[1] if halves == 2 else phi[0]  # equal halves: exactly zero
                    return [whole.fma(Vector(e, e.load(e.at(v, m, e.lanes))), Vector(e, sums[0])).x]

                output = e.at(outputs, i, e.lanes)
                (total,) = e.repeat(ir.IntType(64)(TILE), [e.load(output)], vector)
                e.store(total, output, e.bytes)
                return []

            e.repeat(count, [], example)
            return context.get_dummy_value()

        return types.none(slopes, outputs, v, *[types.intp] * 5), emit

    return intrinsic(kernel)


softplus_1, softplus_2 = (_activate(elementary.softplus, halves) for halves in (1, 2))
tanh_1, tanh_2 = (_activate(elementary.tanh, halves) for halves in (1, 2))
erf_1, erf_2 = (_activate(elementary.erf, halves) for halves in (1, 2))
gelu_1, gelu_2 = (_activate(elementary.gelu, halves) for halves in (1, 2))
