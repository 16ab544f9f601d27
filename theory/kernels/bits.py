"""Activation patterns as bits, and the counts of their Gram matrix: on how many units two inputs are on together.

`pack` computes 1[<w_j, x_l> > 0] and keeps the bit, 256 inputs l side by side in a row for each unit j. `add_counts`
takes one input i after another, lists the units that are on at i, and adds up their rows of bits: 256 counts at once
in binary, bit k of all of them in one vector, a "slice". A full adder takes three vectors to two with five logical
operations, so a unit that is on costs five operations on a vector and one that is off none (Harley & Seal's tree;
Warren, Hacker's Delight, 5-1); AND and popcount of patterns would cost eight for each.

The innermost loops are LLVM vectors of a fixed length, which LLVM splits into what the processor has. Numba is imported
here, and nothing compiled: import this module inside functions, after `compiling.available`.
"""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from theory.kernels.compiling import compiled, intrinsic

INPUTS = 256  # a row of bits: one AVX2 register, two of Arm's
UNITS = 8192  # units of a chunk: four times their number fits into 16 bits, and their counts into 14 slices
LANE_BYTES = 64  # inputs of `pack` at once: 16 in float32, 8 in float64
_ROW = INPUTS // 8
_SLICES = 14
_NUMBER = 16 * _ROW  # room for a sum of rows: four times four slices
PART = 512  # units whose rows of bits, 16 kB, stay in a first-level cache while they are added up for eight inputs
_WEIGHTS = 6  # units of `pack` at once: with 64 bytes of inputs they fill AVX2's registers, and Arm's
_LIST = UNITS + 16
_GROUPS = UNITS // 16
_IDENTITY = (4 * np.arange(_GROUPS)).astype(np.uint16)
# for every byte the sums of its bits that are on, times 4
_PLACES = [[4 * k for k in range(8) if byte >> k & 1] + [0] * (8 - byte.bit_count()) for byte in range(256)]


def panels(X: np.ndarray) -> np.ndarray:
    """Inputs X (n, d) as `pack` reads them: (n / lanes, d, lanes), with zeros up to a multiple of 256 inputs."""
    n, d = X.shape
    lanes = LANE_BYTES // X.itemsize
    padded = np.zeros((-(-n // INPUTS) * INPUTS // lanes, lanes, d), X.dtype)
    padded.reshape(-1, d)[:n] = X
    return np.ascontiguousarray(padded.transpose(0, 2, 1))


def patterns(inputs: int, units: int) -> np.ndarray:
    """Room for the patterns of `inputs` on `units`: zeros, uint8, (chunks, blocks of 256 inputs, UNITS + 1, 32).

    The last unit of a chunk, and those that `pack` leaves out, stay off. Rows of bits are aligned to their length.
    """
    shape = (-(-units // UNITS), -(-inputs // INPUTS), UNITS + 1, _ROW)
    room = np.zeros(int(np.prod(shape)) + _ROW, np.uint8)
    start = -room.ctypes.data % _ROW
    return room[start : start + room.size - _ROW].reshape(shape)


def row_bytes(inputs: int) -> int:
    """Memory of one unit's bits in `patterns`.

    Example:
        >>> row_bytes(257)
        64
    """
    return -(-inputs // INPUTS) * _ROW


def cleared(bits: np.ndarray, units: int) -> np.ndarray:
    """The chunks of `bits`, from `patterns`, that so many units take up; the rest of the last one's part is off."""
    chunks, rest = -(-units // UNITS), units % UNITS
    if rest:
        bits[chunks - 1, :, rest : -(-rest // PART) * PART] = 0
    return bits[:chunks]


def totals(bits: np.ndarray, units: int) -> np.ndarray:
    """How many of the units are on at each input, with zeros up to a multiple of 256 inputs."""
    count = np.zeros((bits.shape[1], INPUTS))
    for chunk, first in zip(bits, range(0, units, UNITS), strict=True):
        for block, total in zip(chunk, count, strict=True):
            total += np.unpackbits(block[: units - first][:UNITS], axis=1, bitorder="little").sum(0)
    return count.ravel()


@compiled
def pack(X, W, bits, span):  # type: ignore[no-untyped-def]
    """Write the patterns of inputs X, from `panels`, on units of W (k, d) into bits, from `patterns`.

    W is C-contiguous and has the dtype of X. span: the units (start, stop), start a multiple of 512.
    """
    start, stop = span
    count, d, lanes = X.shape
    for first in range(start, stop, PART):
        last = min(stop, first + PART)
        for p in range(count):
            inputs = p * lanes
            row = (first // UNITS * bits.shape[1] + inputs // INPUTS) * (UNITS + 1) + first % UNITS
            at = row * _ROW + inputs % INPUTS // 8
            for unit in range(first, last, _WEIGHTS):
                used = min(_WEIGHTS, last - unit)
                _write_signs(X, p * d * lanes, W, unit * d, d, used, bits, at + (unit - first) * _ROW)


@compiled
def add_counts(left, right, S, scale, units, symmetric, span):  # type: ignore[no-untyped-def]
    """Add scale * #{units on at both i and l} to S[i, l].

    left and right are the `patterns` of the rows and of the columns of S on the same `units`, a number. If `symmetric`,
    they are the same array, and only l >= i is promised. span: the inputs i (start, stop), start a multiple of 8.
    """
    n, m = S.shape
    start, stop = span
    listed = np.empty((8, _LIST), np.uint16)
    ends = np.zeros((8, UNITS // PART + 1), np.int64)
    carries = np.empty(8 * _GROUPS * _ROW, np.uint8)
    sums = np.empty(8 * _NUMBER, np.uint8)
    counts = np.empty(INPUTS, np.uint16)
    for chunk in range(left.shape[0]):
        parts = (min(UNITS, units - chunk * UNITS) + PART - 1) // PART
        for i in range(start, stop, 8):
            _list_units(left, chunk, i, parts, listed, ends)
            for block in range(i // INPUTS if symmetric else 0, right.shape[1]):
                at = (chunk * right.shape[1] + block) * (UNITS + 1) * _ROW
                sums[:] = 0
                for part in range(parts):
                    for r in range(8):
                        first, groups = ends[r, part], ends[r, part + 1] - ends[r, part]
                        place = r * _LIST + first * 16
                        _add_rows(
                            right, at, listed, place, groups, sums, r * _NUMBER, carries, (r * _GROUPS + first) * _ROW
                        )
                for r in range(min(8, n - i)):
                    _add_carries(carries, r * _GROUPS, ends[r, parts], sums, r * _NUMBER)
                    _read(sums, r * _NUMBER, counts)
                    row = S[i + r, block * INPUTS : min(m, block * INPUTS + INPUTS)]
                    for k in range(row.size):
                        row[k] += scale * counts[k]


@compiled
def mirror(S, span):  # type: ignore[no-untyped-def]
    """Copy the upper triangle of S to the lower one, rows (start, stop) = span."""
    start, stop = span
    side = 32  # of a tile that stays in a first-level cache
    for i in range(start, stop, side):
        for j in range(0, i + 1, side):
            for a in range(i, min(i + side, stop)):
                for b in range(j, min(j + side, a)):
                    S[a, b] = S[b, a]


@compiled
def _list_units(bits, chunk, i, parts, listed, ends):  # type: ignore[no-untyped-def]
    """List the units that are on at each of the inputs i to i + 7, filled up with the unit that is always off.

    ends: after each part of 512 units, how many groups of 16 each list has.
    """
    length = np.zeros(8, np.int64)
    at = (chunk * bits.shape[1] + i // INPUTS) * (UNITS + 1) * _ROW + i % INPUTS // 8
    for part in range(parts):
        _append_units(bits, at, part * PART, listed, length)
        for r in range(8):
            ends[r, part + 1] = length[r] // 16
    for r in range(8):
        for k in range(length[r], length[r] + 15):
            listed[r, k] = 4 * UNITS
        ends[r, parts] = (length[r] + 15) // 16


@compiled
def _add_carries(carries, first, groups, sums, to):  # type: ignore[no-untyped-def]
    """Add rows of weight 16, carries[first : first + groups], to the number at byte `to`; the rows are used up."""
    weight = 4
    while groups > 1:
        again = (groups + 15) // 16
        for k in range((first + groups) * _ROW, (first + again * 16) * _ROW):
            carries[k] = 0
        # in place: a group of 16 rows is read before its carry is written, at or above it
        _add_rows(carries, first * _ROW, _IDENTITY, 0, again, sums, to + weight * _ROW, carries, first * _ROW)
        groups = again
        weight += 4
    if groups == 1 and weight < 16:
        for k in range(_ROW):
            sums[to + weight * _ROW + k] = carries[first * _ROW + k]


def _emitted(emit: Callable[..., None]) -> Any:
    """The intrinsic that emit(builder, *arguments) writes in LLVM; an array comes as the pointer to its first item."""
    emit = inspect.unwrap(emit)

    def typed(typing: Any, *kinds: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            arguments = [
                context.make_array(kind)(context, builder, value).data if isinstance(kind, types.Array) else value
                for kind, value in zip(kinds, values, strict=True)
            ]
            emit(builder, *arguments)
            return context.get_dummy_value()

        return types.void(*kinds), generate

    typed = inspect.unwrap(typed)  # like emit, without what an import hook has put around it
    typed.__signature__ = inspect.signature(emit)  # type: ignore[attr-defined]  # numba reads the arguments off it
    return intrinsic(typed)


_LONG, _INT, _SHORT = ir.IntType(64), ir.IntType(32), ir.IntType(16)
_BITS = ir.VectorType(_LONG, _ROW // 8)


@_emitted
def _write_signs(builder: Any, X: Any, x: Any, W: Any, w: Any, d: Any, used: Any, bits: Any, at: Any) -> None:
    """bits[at + 32 r] = 1[sum_c W[w + r d + c] X[x + lanes c + lane] > 0] over the lanes, for r < used <= 6."""
    lanes = LANE_BYTES // (8 if isinstance(X.type.pointee, ir.DoubleType) else 4)
    vector = ir.VectorType(X.type.pointee, lanes)
    # a unit beyond the last is the last one again, written to the same place
    last = builder.sub(used, _LONG(1))
    rows = [builder.select(builder.icmp_signed("<", _LONG(r), last), _LONG(r), last) for r in range(_WEIGHTS)]
    starts = [builder.add(w, builder.mul(row, d)) for row in rows]
    sums = [cgutils.alloca_once_value(builder, ir.Constant(vector, None)) for _ in rows]
    with cgutils.for_range(builder, d) as loop:
        column = _load(builder, X, builder.add(x, builder.mul(loop.index, _LONG(lanes))), vector)
        for start, total in zip(starts, sums, strict=True):
            weight = _load(builder, W, builder.add(start, loop.index), X.type.pointee)
            # "contract": one fused multiply-add where the processor has it
            product = builder.fmul(_everywhere(builder, weight, lanes), column, flags=("contract",))
            builder.store(builder.fadd(builder.load(total), product, flags=("contract",)), total)
    for row, total in zip(rows, sums, strict=True):
        on = builder.fcmp_ordered(">", builder.load(total), ir.Constant(vector, None))
        packed = builder.bitcast(on, ir.IntType(lanes))
        _store(builder, packed, bits, builder.add(at, builder.mul(row, _LONG(_ROW))))


@_emitted
def _append_units(builder: Any, bits: Any, at: Any, first: Any, listed: Any, length: Any) -> None:
    """Append those of the units first to first + 511 that are on to listed[r, length[r]:], for eight inputs r.

    Bit r of byte at + 32 u says whether unit u is on at input r.
    """
    vector = ir.VectorType(_SHORT, 8)
    table = ir.Constant(ir.ArrayType(vector, 256), [ir.Constant(vector, row) for row in _PLACES])
    places = cgutils.global_constant(builder, "places", table)
    ends = [cgutils.alloca_once_value(builder, _load(builder, length, _LONG(r), _LONG)) for r in range(8)]
    with cgutils.for_range(builder, _LONG(PART // 8)) as loop:
        unit = builder.add(first, builder.mul(loop.index, _LONG(8)))
        square = _LONG(0)
        for k in range(8):
            place = builder.add(at, builder.mul(builder.add(unit, _LONG(k)), _LONG(_ROW)))
            byte = builder.zext(_load(builder, bits, place, ir.IntType(8)), _LONG)
            square = builder.or_(square, builder.shl(byte, _LONG(8 * k)))
        # eight units by eight inputs becomes eight inputs by eight units (Hacker's Delight, 7-3)
        for step, mask in ((7, 0x00AA00AA00AA00AA), (14, 0x0000CCCC0000CCCC), (28, 0x00000000F0F0F0F0)):
            swap = builder.and_(builder.xor(square, builder.lshr(square, _LONG(step))), _LONG(mask))
            square = builder.xor(square, builder.xor(swap, builder.shl(swap, _LONG(step))))
        name = _everywhere(builder, builder.trunc(builder.mul(unit, _LONG(4)), _SHORT), 8)
        for r, end in enumerate(ends):
            on = builder.and_(builder.lshr(square, _LONG(8 * r)), _LONG(255))
            names = builder.add(builder.load(builder.gep(places, [_LONG(0), on])), name)
            # always eight names; the next ones overwrite those that do not count
            _store(builder, names, listed, builder.add(builder.load(end), _LONG(r * _LIST)))
            builder.store(builder.add(builder.load(end), builder.ctpop(on)), end)
    for r, end in enumerate(ends):
        _store(builder, builder.load(end), length, _LONG(r))


@_emitted
def _add_rows(
    builder: Any, bits: Any, at: Any, listed: Any, first: Any, groups: Any, sums: Any, low: Any, carries: Any, to: Any
) -> None:
    """Add 16 * groups rows of bits, those listed from `first` on, to the four slices that start at byte `low` of sums.

    A list names a row by its distance from byte `at`, in 8 bytes. Of each 16 rows the carry, a row of weight 16, goes
    to `carries`, from byte `to` on.
    """
    places = [builder.add(low, _LONG(k * _ROW)) for k in range(4)]
    slices = [cgutils.alloca_once_value(builder, _load(builder, sums, place, _BITS)) for place in places]

    def add(level: int, place: Any) -> Any:
        """Add 2^level rows; returns their carry, of that weight."""
        if level == 0:
            name = builder.zext(_load(builder, listed, place, _SHORT), _LONG)
            return _load(builder, bits, builder.add(at, builder.mul(name, _LONG(8))), _BITS)
        x, y = add(level - 1, place), add(level - 1, builder.add(place, _LONG(2 ** (level - 1))))
        total = builder.load(slices[level - 1])
        either = builder.xor(x, y)
        builder.store(builder.xor(either, total), slices[level - 1])
        return builder.or_(builder.and_(x, y), builder.and_(either, total))

    with cgutils.for_range(builder, groups) as loop:
        carry = add(4, builder.add(first, builder.mul(loop.index, _LONG(16))))
        _store(builder, carry, carries, builder.add(to, builder.mul(loop.index, _LONG(_ROW))))
    for place, total in zip(places, slices, strict=True):
        _store(builder, builder.load(total), sums, place)


@_emitted
def _read(builder: Any, sums: Any, at: Any, counts: Any) -> None:
    """counts[l] = sum_k 2^k (bit l of slice k of the sum at byte `at`)."""
    vector, flags = ir.VectorType(_SHORT, 16), ir.VectorType(ir.IntType(1), 16)
    with cgutils.for_range(builder, _LONG(INPUTS // 16)) as loop:
        count = ir.Constant(vector, None)
        place = builder.add(at, builder.mul(loop.index, _LONG(2)))
        for k in reversed(range(_SLICES)):
            bits = _load(builder, sums, builder.add(place, _LONG(k * _ROW)), _SHORT)
            # a set bit as -1, which is what a vector comparison gives
            bit = builder.sext(builder.bitcast(bits, flags), vector)
            count = builder.sub(builder.add(count, count), bit)
        _store(builder, count, counts, builder.mul(loop.index, _LONG(16)))


def _load(builder: Any, pointer: Any, place: Any, kind: Any) -> Any:
    """The value of that LLVM type at pointer[place], aligned to nothing."""
    return builder.load(builder.bitcast(builder.gep(pointer, [place]), kind.as_pointer()), align=1)


def _store(builder: Any, value: Any, pointer: Any, place: Any) -> None:
    builder.store(value, builder.bitcast(builder.gep(pointer, [place]), value.type.as_pointer()), align=1)


def _everywhere(builder: Any, value: Any, length: int) -> Any:
    """A vector of that value."""
    vector = ir.VectorType(value.type, length)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, _INT(0))
    return builder.shuffle_vector(
        first, ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(_INT, length), None)
    )
