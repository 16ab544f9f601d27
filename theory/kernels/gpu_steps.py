"""The two Triton kernels of a step of gradient descent of a two-layer network (`theory.kernels.gpu_descent`).

`sweep`, a program per block of hidden units: reads which units were on for which example (one bit each; for a smooth
activation the slopes), sums up the block's gradient, moves its weights, evaluates it at the new ones, and leaves new
marks and its share of the outputs. Floats of all pairs (example, unit) are never stored for a rectifier, and weights
pass through memory once a step. `settle`, a program per block of examples: adds up the shares in a fixed order, in
float64, and prepares n_i r_i x_i. No atomics: the same bits in every run.

The slopes of a smooth activation are stored, 4 bytes a pair: to write and read them takes as long as the six products
of d = 120 that would recompute them, and recomputing would hold pre-activations and gradient in registers together.

Shapes: UNITS x EXAMPLES pairs at a time, and COLUMNS of the inputs, which may be the WHOLE of them. All is padded with
zeros to whole tiles, so that no access to a tile has a mask. W is (programs UNITS, depth), and X and R, which holds
n_i r_i x_i, (rows, depth), in planes of pieces; marks are (programs, rows, UNITS / 32 words or UNITS slopes), shares
(programs, rows), totals (groups, depth).

Triton is imported here: import this module inside functions, after `gpu.available`.
"""

# mypy: disable-error-code="no-untyped-def"
# (a kernel's arguments are Triton's own tensors and pointers, known when it is compiled)

import triton.language as tl

from theory.kernels.gpu_products import (
    LEAKY,
    chosen,
    evaluate,
    kernel,
    load,
    pack,
    pieces,
    product,
    store,
    unpack,
    whole,
)

_BATCH = tl.constexpr(64)  # shares that are added at a time


@kernel
def move(
    W,
    v,
    R,
    totals,
    marks,
    c,
    rows,
    groups,
    step,
    slope,
    depth,
    plane,
    KIND: tl.constexpr,
    UNITS: tl.constexpr,
    EXAMPLES: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """W -= step gradient for a block's units and some columns c: the new weights, and the gradient's square."""
    FLOAT: tl.constexpr = v.dtype
    i, j = tl.arange(0, EXAMPLES), tl.arange(0, UNITS)
    gradient = tl.zeros((UNITS, COLUMNS), FLOAT)
    for start in range(0, rows, EXAMPLES):
        r0, r1, r2 = load(R + (start + i[:, None]) * depth + c[None, :], rows.to(tl.int64) * depth)
        if KIND <= LEAKY:
            word = tl.arange(0, UNITS // 32)
            words = tl.load(marks + (start + i[None, :]) * (UNITS // 32) + word[:, None])
            gradient += chosen(unpack(words, r0.dtype, UNITS, EXAMPLES), r0, r1, r2, FLOAT)
        else:
            s0, s1, s2 = pieces(tl.load(marks + (start + i[:, None]) * UNITS + j[None, :]))
            gradient += product(tl.trans(s0), tl.trans(s1), tl.trans(s2), r0, r1, r2, FLOAT)
    if KIND == LEAKY:  # phi' = slope + (1 - slope) on
        total = tl.zeros((COLUMNS,), FLOAT)
        for start in range(0, groups, _BATCH):
            g = start + tl.arange(0, _BATCH)
            some = tl.load(totals + g[:, None] * depth + c[None, :], mask=g[:, None] < groups, other=0.0)
            total += tl.sum(some, axis=0)
        gradient = (1 - slope) * gradient + slope * total[None, :]
    gradient *= v[:, None]
    place = W + j[:, None] * depth + c[None, :]
    w0, w1, w2 = load(place, plane)
    w0, w1, w2 = pieces(whole(w0, w1, w2) - step * gradient)
    store(place, plane, w0, w1, w2)
    return w0, w1, w2, tl.sum(gradient * gradient).to(tl.float64)


@kernel(do_not_specialize=["groups"])
def sweep(
    W,
    v,
    X,
    R,
    totals,
    marks,
    shares,
    squares,
    numbers,
    rows,
    groups,
    depth,
    plane,
    MOVE: tl.constexpr,
    KIND: tl.constexpr,
    WHOLE: tl.constexpr,
    UNITS: tl.constexpr,
    EXAMPLES: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """A step of one block of units (if MOVE), then its marks and its share of the outputs."""
    own = tl.program_id(0).to(tl.int64)
    plane = plane.to(tl.int64)
    depth = COLUMNS if WHOLE else depth
    FLOAT: tl.constexpr = v.dtype.element_ty
    i, j, c = tl.arange(0, EXAMPLES), tl.arange(0, UNITS), tl.arange(0, COLUMNS)
    W += own * UNITS * depth
    shares += own * rows
    marks += own * rows * (UNITS // 32 if KIND <= LEAKY else UNITS)
    v = tl.load(v + own * UNITS + j)
    step, slope = tl.load(numbers).to(FLOAT), tl.load(numbers + 1).to(FLOAT)
    if MOVE:
        if WHOLE:
            w0, w1, w2, square = move(
                W, v, R, totals, marks, c, rows, groups, step, slope, depth, plane, KIND, UNITS, EXAMPLES, COLUMNS
            )
        else:
            square = tl.zeros((), tl.float64)
            for first in range(0, depth, COLUMNS):
                _, _, _, more = move(
                    W,
                    v,
                    R,
                    totals,
                    marks,
                    first + c,
                    rows,
                    groups,
                    step,
                    slope,
                    depth,
                    plane,
                    KIND,
                    UNITS,
                    EXAMPLES,
                    COLUMNS,
                )
                square += more
            tl.debug_barrier()  # other threads of the program read these weights below
        tl.store(squares + own, square)
    elif WHOLE:
        w0, w1, w2 = load(W + j[:, None] * depth + c[None, :], plane)
    if WHOLE:
        w0, w1, w2 = tl.trans(w0), tl.trans(w1), tl.trans(w2)
    for start in range(0, rows, EXAMPLES):
        x = X + (start + i[:, None]) * depth + c[None, :]
        if WHOLE:
            x0, x1, x2 = load(x, rows.to(tl.int64) * depth)
            z = product(x0, x1, x2, w0, w1, w2, FLOAT)
        else:
            z = tl.zeros((EXAMPLES, UNITS), FLOAT)
            for first in range(0, depth, COLUMNS):
                x0, x1, x2 = load(x + first, rows.to(tl.int64) * depth)
                u0, u1, u2 = load(W + j[None, :] * depth + first + c[:, None], plane)
                z += product(x0, x1, x2, u0, u1, u2, FLOAT)
        phi, slopes = evaluate(z, slope, KIND)
        if KIND <= LEAKY:
            word = tl.arange(0, UNITS // 32)
            tl.store(marks + (start + i[:, None]) * (UNITS // 32) + word[None, :], pack(z, EXAMPLES, UNITS))
        else:
            tl.store(marks + (start + i[:, None]) * UNITS + j[None, :], slopes)
        tl.store(shares + start + i, tl.sum(phi * v[None, :], axis=1))


@kernel(do_not_specialize=["at", "blocks"])
def settle(
    shares,
    y,
    counts,
    X,
    R,
    residual,
    totals,
    squares,
    losses,
    moves,
    numbers,
    at,
    rows,
    blocks,
    depth,
    HALVES: tl.constexpr,
    KIND: tl.constexpr,
    EXAMPLES: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Residuals of some examples, their part of the loss, n_i r_i x_i; in the first program the length of the step."""
    own = tl.program_id(0)
    FLOAT: tl.constexpr = y.dtype.element_ty
    i, b = own * EXAMPLES + tl.arange(0, EXAMPLES), tl.arange(0, _BATCH)
    outputs = tl.zeros((EXAMPLES,), tl.float64)
    for half in range(HALVES):  # apart, so that equal halves cancel
        total = tl.zeros((EXAMPLES,), tl.float64)
        for start in range(0, blocks, _BATCH):
            place = (half * blocks + start + b).to(tl.int64)[:, None] * rows + i[None, :]
            some = tl.load(shares + place, mask=(start + b < blocks)[:, None], other=0.0)
            total += tl.sum(some.to(tl.float64), axis=0)
        outputs += total
    r = (outputs - tl.load(y + i)).to(FLOAT)
    weighted = r * tl.load(counts + i)
    tl.store(residual + i, r)
    loss = tl.sum(weighted.to(tl.float64) * r.to(tl.float64)) / 2
    tl.store(losses + at * tl.num_programs(0) + own, loss)
    for start in range(0, depth, COLUMNS):
        c = start + tl.arange(0, COLUMNS)
        place = i[:, None] * depth + c[None, :]
        x0, x1, x2 = load(X + place, rows.to(tl.int64) * depth)
        scaled = weighted[:, None] * whole(x0, x1, x2)
        r0, r1, r2 = pieces(scaled)
        store(R + place, rows.to(tl.int64) * depth, r0, r1, r2)
        if KIND == LEAKY:
            tl.store(totals + own * depth + c, tl.sum(scaled, axis=0))
    if own == 0:
        square = tl.zeros((), tl.float64)
        for start in range(0, HALVES * blocks, _BATCH):
            square += tl.sum(tl.load(squares + start + b, mask=start + b < HALVES * blocks, other=0.0))
        tl.store(moves + at, tl.load(numbers) * tl.sqrt(square))
