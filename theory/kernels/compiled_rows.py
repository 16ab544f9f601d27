"""The compiled path of `theory.kernels.rows`: Philox4x32-10 and the Box-Muller transform, many counters at a time.

Loops over short arrays, without branches, so that the compiler turns each into vector instructions. The logarithm, sine
and cosine are the polynomials of fdlibm (Sun Microsystems, 1993), since libm would be called number by number.
"""

import math

import numpy as np

from theory.kernels.compiling import compiled

_TILE = 1024  # counters at a time: their integers and normals stay in the L1 and L2 caches
_LANES = 16  # loops run over a multiple of it: the rest of a vector loop may round its last digit differently

_WORD, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_FIRST, _SECOND = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_LOW_STEP, _HIGH_STEP = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)

_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10  # k * _LN2_HIGH is exact
_ONE = np.int64(0x3FF0000000000000)
_SHIFT = _ONE - np.int64(0x3FE6A09E667F3BCD)  # brings [sqrt(1/2), sqrt(2)) under one exponent
_FRACTION, _FRACTION_BITS = np.int64(0x000FFFFFFFFFFFFF), np.int64(52)
_STEP = math.pi / 2**31  # the angle of one of the 2^32 steps of a turn
_QUARTER, _EIGHTH = np.uint32(2**30), np.uint32(2**29)


def fill(out: np.ndarray, first: int, key: tuple[int, int]) -> None:
    """Write rows first, first + 1, ... into `out` (rows, dimension), float32 or float64, contiguous."""
    _fill(out, np.int64(first), np.uint64(key[0]), np.uint64(key[1]))


@compiled(error_model="numpy", fastmath={"contract"})
def _fill(out: np.ndarray, first: np.int64, low_key: np.uint64, high_key: np.uint64) -> None:
    rows, dimension = out.shape
    full, blocks = dimension // 4, (dimension + 3) // 4
    words = np.empty((4, _TILE), np.uint32)
    values = np.empty((4, _TILE), np.float64)
    row, block = 0, 0
    for start in range(0, rows * blocks, _TILE):
        count = min(_TILE, rows * blocks - start)
        padded = (count + _LANES - 1) // _LANES * _LANES
        a, b, c, d = words[0][:padded], words[1][:padded], words[2][:padded], words[3][:padded]  # known contiguous
        _count(a, b, c, first + row, block, blocks)
        _philox(a, b, c, d, low_key, high_key)
        _normals(a, b, values[0][:padded], values[1][:padded])
        _normals(c, d, values[2][:padded], values[3][:padded])
        for i in range(count):
            column = 4 * block
            if block < full:
                for lane in range(4):
                    out[row, column + lane] = values[lane, i]
            else:
                for lane in range(dimension - column):
                    out[row, column + lane] = values[lane, i]
            block += 1
            if block == blocks:
                block = 0
                row += 1


@compiled(error_model="numpy")
def _count(first: np.ndarray, second: np.ndarray, third: np.ndarray, row: np.int64, block: int, blocks: int) -> None:
    """The counters that begin with this block of this row."""
    for i in range(len(first)):
        first[i], second[i], third[i] = block, row & _WORD, row >> 32
        block += 1
        if block == blocks:
            block = 0
            row += 1


@compiled(error_model="numpy")
def _philox(
    first: np.ndarray,
    second: np.ndarray,
    third: np.ndarray,
    fourth: np.ndarray,
    low_key: np.uint64,
    high_key: np.uint64,
) -> None:
    """Counters (the fourth word counts as 0) become random integers, in place."""
    for i in range(len(first)):
        a, b, c, d = np.uint64(first[i]), np.uint64(second[i]), np.uint64(third[i]), np.uint64(0)
        low, high = low_key, high_key
        for _ in range(10):
            p, q = _FIRST * a, _SECOND * c
            a, b, c, d = (q >> _HALF) ^ b ^ low, q & _WORD, (p >> _HALF) ^ d ^ high, p & _WORD
            low, high = (low + _LOW_STEP) & _WORD, (high + _HIGH_STEP) & _WORD
        first[i], second[i], third[i], fourth[i] = a, b, c, d


@compiled(error_model="numpy", fastmath={"contract"})
def _normals(radius: np.ndarray, angle: np.ndarray, cosine: np.ndarray, sine: np.ndarray) -> None:
    """The two float64 arrays of normals that two arrays of uint32 stand for."""
    for i in range(len(radius)):
        # log of radius + 1/2, less that of 2^32: 2^exponent (1 + f), 1 + f in [sqrt(1/2), sqrt(2))
        bits = np.float64(np.float64(radius[i]) + 0.5).view(np.int64) + _SHIFT
        exponent = np.float64(np.int32(bits >> _FRACTION_BITS) - np.int32(1023 + 32))
        f = np.int64((bits & _FRACTION) + _ONE - _SHIFT).view(np.float64) - 1.0
        s = f / (2.0 + f)
        z = s * s
        p = 1.531383769920937332e-01 + z * 1.479819860510658591e-01
        p = 2.222219843214978396e-01 + z * (1.818357216161805012e-01 + z * p)
        p = 3.999999999940941908e-01 + z * (2.857142874366239149e-01 + z * p)
        p = z * (6.666666666666735130e-01 + z * p)
        half = 0.5 * f * f
        log = exponent * _LN2_HIGH + (f - (half - (s * (half + p) + exponent * _LN2_LOW)))
        rho = math.sqrt(-2.0 * log)

        # sine and cosine of what is left of the angle within pi/4 of a multiple of pi/2
        turned = angle[i] + _EIGHTH
        quarter = np.uint32(turned) // _QUARTER
        x = (np.float64(np.int32(turned & (_QUARTER - np.uint32(1))) - np.int32(_EIGHTH)) + 0.5) * _STEP
        z = x * x
        p = -2.50507602534068634195e-08 + z * 1.58969099521155010221e-10
        p = -1.98412698298579493134e-04 + z * (2.75573137070700676789e-06 + z * p)
        p = -1.66666666666666324348e-01 + z * (8.33333333332248946124e-03 + z * p)
        short = x + x * z * p
        p = 2.08757232129817482790e-09 + z * -1.13596475577881948265e-11
        p = 2.48015872894767294178e-05 + z * (-2.75573143513906633035e-07 + z * p)
        p = 4.16666666666666019037e-02 + z * (-1.38888888888741095749e-03 + z * p)
        long = 1.0 - (0.5 * z - z * z * p)
        c, s = (short, long) if quarter & 1 else (long, short)
        cosine[i] = rho * (-c if (quarter + 1) & 2 else c)
        sine[i] = rho * (-s if quarter & 2 else s)
