"""Triton: the rows of `theory.kernels.rows` drawn on a GPU, and rows as pairs of float16 numbers for its matrix units.

A float32 number, scaled by a power of two, is a float16 number `high` plus a float16 number `low` but for 2^-22 of it.
Matrix units multiply float16 at their full rate and add in float32, so x y = high high' + high low' + low high' has the
digits of a tf32x3 product (both formats carry 11 bits) at half its cost. The three products are one: a left row is
stored as [low, high, high], a right row as [high, low, high], the small products first.

Triton is imported here: import this module inside functions, after `gpu.available`.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
# (a kernel's arguments are Triton's own tensors and pointers, known when it is compiled)

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from theory.kernels import gpu
from theory.kernels.gpu_products import kernel
from theory.kernels.rows import Rows

TERMS = 3  # products, hence copies of a row
NORMALS_SCALE = tl.constexpr(2048.0)  # normals are below 6.8: below 13,900 of float16's 65,504

_LN2_HIGH, _LN2_LOW = tl.constexpr(6.93147180369123816490e-01), tl.constexpr(1.90821492927058770002e-10)
_ONE = tl.constexpr(0x3FF0000000000000)
_SHIFT = tl.constexpr(0x3FF0000000000000 - 0x3FE6A09E667F3BCD)
_FRACTION = tl.constexpr(0x000FFFFFFFFFFFFF)
_STEP = tl.constexpr(math.pi / 2**31)


@kernel
def words(row, block, key):
    """The four integers of a counter, as uint32: Philox4x32-10."""
    low = (row & 0xFFFFFFFF).to(tl.uint32)
    high = (row >> 32).to(tl.uint32)
    return tl.philox(key, block.to(tl.uint32) + low * 0, low, high, low * 0)


@kernel
def normals(radius, angle):
    """The two float64 normals of two integers, as in `theory.kernels.compiled_rows`, where the polynomials are told."""
    bits = (radius.to(tl.float64) + 0.5).to(tl.int64, bitcast=True) + _SHIFT
    exponent = ((bits >> 52) - (1023 + 32)).to(tl.float64)
    f = ((bits & _FRACTION) + (_ONE - _SHIFT)).to(tl.float64, bitcast=True) - 1.0
    s = f / (f + 2.0)
    z = s * s
    p = z * 1.479819860510658591e-01 + 1.531383769920937332e-01
    p = z * (z * p + 1.818357216161805012e-01) + 2.222219843214978396e-01
    p = z * (z * p + 2.857142874366239149e-01) + 3.999999999940941908e-01
    p = z * (z * p + 6.666666666666735130e-01)
    half = 0.5 * f * f
    log = exponent * _LN2_HIGH + (f - (half - (s * (half + p) + exponent * _LN2_LOW)))
    rho = tl.sqrt(-2.0 * log)

    turned = angle + (1 << 29)
    quarter = turned >> 30
    x = ((turned & ((1 << 30) - 1)).to(tl.float64) + (0.5 - 536870912.0)) * _STEP
    z = x * x
    p = z * 1.58969099521155010221e-10 - 2.50507602534068634195e-08
    p = z * (z * p + 2.75573137070700676789e-06) - 1.98412698298579493134e-04
    p = z * (z * p + 8.33333333332248946124e-03) - 1.66666666666666324348e-01
    short = x + x * z * p
    p = z * -1.13596475577881948265e-11 + 2.08757232129817482790e-09
    p = z * (z * p - 2.75573143513506633035e-07) + 2.48015872894767294178e-05
    p = z * (z * p - 1.38888888888741095749e-03) + 4.16666666666666019037e-02
    long = 1.0 - (0.5 * z - z * z * p)
    odd = (quarter & 1) == 1
    c, s = tl.where(odd, short, long), tl.where(odd, long, short)
    return rho * tl.where((quarter + 1) & 2 != 0, -c, c), rho * tl.where(quarter & 2 != 0, -s, s)


@kernel
def store_halves(out, where, x, mask, gap):
    """float32 x as [high, low, high], the copies `gap` entries apart."""
    high = x.to(tl.float16)
    low = (x - high.to(tl.float32)).to(tl.float16)
    tl.store(out + where, high, mask=mask)
    tl.store(out + where + gap, low, mask=mask)
    tl.store(out + where + 2 * gap, high, mask=mask)


@kernel
def draw(rows, out, key, count, dimension, stride, HALVES: tl.constexpr, BR: tl.constexpr, BB: tl.constexpr):
    """Rows of standard normals by their numbers: floats, or scaled and as a right factor's halves."""
    row = tl.program_id(0) * BR + tl.arange(0, BR)
    block = tl.program_id(1) * BB + tl.arange(0, BB)
    number = tl.load(rows + row, mask=row < count, other=0)
    a, b, c, d = words(number[:, None], block[None, :], key)
    x0, x1 = normals(a, b)
    x2, x3 = normals(c, d)
    x = tl.interleave(tl.interleave(x0, x2), tl.interleave(x1, x3))
    column = tl.program_id(1) * (4 * BB) + tl.arange(0, 4 * BB)
    mask = (row < count)[:, None] & (column < dimension)[None, :]
    where = row[:, None].to(tl.int64) * stride + column[None, :]
    if HALVES:
        store_halves(out, where, x.to(tl.float32) * NORMALS_SCALE, mask, dimension)
    else:
        tl.store(out + where, x.to(out.dtype.element_ty), mask=mask)


@kernel
def halve(
    source,
    rows,
    out,
    units,
    count,
    dimension,
    row_stride,
    column_stride,
    stride,
    LEFT: tl.constexpr,
    BR: tl.constexpr,
    BC: tl.constexpr,
):
    """Rows of a float32 matrix, each scaled to a largest entry in [2^14, 2^15), as halves; units: what a row's 1 is."""
    row = tl.program_id(0) * BR + tl.arange(0, BR)
    number = tl.load(rows + row, mask=row < count, other=0)
    column = tl.arange(0, BC)
    source += number[:, None] * row_stride
    largest = tl.zeros((BR,), tl.float32)
    for start in range(0, dimension, BC):
        mask = (row < count)[:, None] & (start + column < dimension)[None, :]
        x = tl.load(source + (start + column)[None, :].to(tl.int64) * column_stride, mask=mask, other=0.0)
        largest = tl.maximum(largest, tl.max(tl.abs(x), axis=1))
    exponent = largest.to(tl.int32, bitcast=True) >> 23
    exponent = tl.minimum(268 - exponent, 253)  # 253: rows of tiny numbers, whose unit 2^-126 is the least normal one
    scale = (exponent << 23).to(tl.float32, bitcast=True)
    tl.store(units + row, ((254 - exponent) << 23).to(tl.float32, bitcast=True), mask=row < count)
    for start in range(0, dimension, BC):
        mask = (row < count)[:, None] & (start + column < dimension)[None, :]
        x = tl.load(source + (start + column)[None, :].to(tl.int64) * column_stride, mask=mask, other=0.0)
        where = row[:, None].to(tl.int64) * stride + (start + column)[None, :]
        if LEFT:
            high = (x * scale[:, None]).to(tl.float16)
            low = (x * scale[:, None] - high.to(tl.float32)).to(tl.float16)
            tl.store(out + where, low, mask=mask)
            tl.store(out + where + dimension, high, mask=mask)
            tl.store(out + where + 2 * dimension, high, mask=mask)
        else:
            store_halves(out, where, x * scale[:, None], mask, dimension)


def draw_rows(source: Rows, numbers: Tensor, out: Tensor) -> None:
    """The rows with these numbers (int64) into `out`: float32 or float64, (count, d); or float16 halves, scaled."""
    blocks = triton.cdiv(source.dimension, 4)
    columns = min(triton.next_power_of_2(blocks), 32)
    rows = (2048 if gpu.machine(out.device).interpreted else 128) // columns
    grid = (triton.cdiv(len(numbers), rows), triton.cdiv(blocks, columns))
    key = source.key[0] + (source.key[1] << 32)
    settings = {"HALVES": out.dtype == torch.float16, "BR": rows, "BB": columns, "num_warps": 4}
    gpu.launch(draw, grid, numbers, out, key, len(numbers), source.dimension, out.stride(0), **settings)


def halve_rows(source: Tensor, numbers: Tensor, out: Tensor, units: Tensor, left: bool) -> None:
    """The rows of a float32 matrix (any strides) with these numbers as halves into `out`, and their units."""
    rows, columns = (256, 32) if gpu.machine(out.device).interpreted else (8, 128)
    gpu.launch(
        halve,
        (triton.cdiv(len(numbers), rows),),
        source,
        numbers,
        out,
        units,
        len(numbers),
        source.shape[1],
        *source.stride(),
        out.stride(0),
        LEFT=left,
        BR=rows,
        BC=columns,
        num_warps=4,
    )
