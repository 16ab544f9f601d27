"""Triton: the tiles of a slope Gram, in two stages over a chunk of the width that stays in the L2 cache.

Stage one, `slope_tile`: pre-activations of some inputs at some hidden units, and what phi' makes of them: patterns
(int8 or float16, 0 or 1), or slopes as pairs of float16 numbers. Stage two: the Gram of the patterns (`count_tile`:
integers, exact) or of the slopes (`sum_tile`), a program per tile of the result, which goes through the chunk in a
fixed order; tiles above the diagonal of a symmetric result are left out. No atomics: the same bits in every run.

Everything is padded to whole tiles, so that only columns beyond the width are masked; results lie tile by tile.

Triton is imported here: import this module inside functions, after `gpu.available`.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
# (a kernel's arguments are Triton's own tensors and pointers, known when it is compiled)

import triton.language as tl

from theory.kernels.gpu_products import evaluate, kernel

PATTERN, SLOPES, PREACTIVATIONS = (tl.constexpr(output) for output in range(3))


@kernel
def slope_tile(
    X,
    W,
    x_units,
    w_units,
    roots,
    out,
    low,
    width,
    depth,
    stride,
    slope,
    KIND: tl.constexpr,
    OUTPUT: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    """Inputs (halves, `depth` long) times hidden units: patterns, phi' times `roots` as high and low, or z itself."""
    i, j = tl.program_id(0), tl.program_id(1)
    row, column, k = tl.arange(0, BM), tl.arange(0, BN), tl.arange(0, BK)
    X += i.to(tl.int64) * BM * depth
    W += j.to(tl.int64) * BN * depth
    left = row[:, None] * depth + k[None, :]
    right = column[None, :] * depth + k[:, None]
    z = tl.zeros((BM, BN), tl.float32)
    for start in range(0, depth, BK):
        z = tl.dot(tl.load(X + start + left), tl.load(W + start + right), z)
    first = i.to(tl.int64) * BM * stride + j * BN
    where = row[:, None] * stride + column[None, :]
    inside = (column < width - j * BN)[None, :]
    if OUTPUT == PATTERN:  # the units are positive: z has the sign that it has in them
        tl.store(out + first + where, ((z > 0) & inside).to(out.dtype.element_ty))
    else:
        z = z * (tl.load(x_units + i * BM + row)[:, None] * tl.load(w_units + j * BN + column)[None, :])
        if OUTPUT == PREACTIVATIONS:
            tl.store(out + first + where, z)
        else:
            _, slopes = evaluate(z, slope, KIND)
            slopes = tl.where(inside, slopes * tl.load(roots + j * BN + column)[None, :], 0.0)
            high = slopes.to(tl.float16)
            tl.store(out + first + where, high)
            tl.store(low + first + where, (slopes - high.to(tl.float32)).to(tl.float16))


@kernel
def count_tile(
    P,
    Q,
    out,
    columns,
    stride,
    SYMMETRIC: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    """out += P Q^T for int8 patterns, in int32: a part of the chunk's columns for each third program number."""
    i, j, part = tl.program_id(1), tl.program_id(0), tl.program_id(2)
    if SYMMETRIC and j * BN > i * BM + (BM - 1):
        return
    row, column, k = tl.arange(0, BM), tl.arange(0, BN), tl.arange(0, BK)
    P += i.to(tl.int64) * BM * stride + part * columns
    Q += j.to(tl.int64) * BN * stride + part * columns
    left = row[:, None] * stride + k[None, :]
    right = column[None, :] * stride + k[:, None]
    tile = (part * tl.num_programs(1) + i) * tl.num_programs(0) + j
    out += tile.to(tl.int64) * (BM * BN) + row[:, None] * BN + column[None, :]
    counts = tl.load(out)  # before the loop: adding at its end would hold two tiles, and spill
    for start in range(0, columns, BK):
        counts = tl.dot(tl.load(P + start + left), tl.load(Q + start + right), counts, out_dtype=tl.int32)
    tl.store(out, counts)


@kernel
def sum_tile(
    A,
    A_low,
    B,
    B_low,
    out,
    columns,
    stride,
    factor,
    SYMMETRIC: tl.constexpr,
    LOW: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    """out += factor * (A + A_low) (B + B_low)^T in float64, but for low times low; without LOW A B^T alone.

    The matrix unit rounds every partial sum towards zero, which would bias a long sum of positive slopes by more than
    1e-6: it adds up BK columns at a time, and their sums are added with the usual rounding.
    """
    i, j, part = tl.program_id(1), tl.program_id(0), tl.program_id(2)
    if SYMMETRIC and j * BN > i * BM + (BM - 1):
        return
    row, column, k = tl.arange(0, BM), tl.arange(0, BN), tl.arange(0, BK)
    above, beside = i.to(tl.int64) * BM * stride + part * columns, j.to(tl.int64) * BN * stride + part * columns
    left = row[:, None] * stride + k[None, :]
    right = column[None, :] * stride + k[:, None]
    total = tl.zeros((BM, BN), tl.float32)
    for start in range(0, columns, BK):
        a, b = tl.load(A + above + start + left), tl.load(B + beside + start + right)
        if LOW:
            few = tl.dot(tl.load(A_low + above + start + left), b)
            few = tl.dot(a, tl.load(B_low + beside + start + right), few)
            few = tl.dot(a, b, few)
            total += few
        else:
            total -= tl.dot(a, b)  # "+=" would be compiled into the matrix unit's own sum
    total = total if LOW else -total
    tile = (part * tl.num_programs(1) + i) * tl.num_programs(0) + j
    out += tile.to(tl.int64) * (BM * BN) + row[:, None] * BN + column[None, :]
    tl.store(out, tl.load(out) + total.to(tl.float64) * factor)
