"""The smooth activations and their slopes on vectors, z -> (phi(z), phi'(z)), for the hot loops of `theory.kernels`.

Exponentials: z = n log 2 + r, a Taylor polynomial in r, and n added to the exponent. Everything else is made of
exp(-|z|) or exp(-z^2), so that nothing overflows and a saturated unit keeps the digits of its slope. Errors stay within
1e-15 (float64) and 3e-7 (float32) of max(1, |phi|), and phi(0) = 0 exactly for odd phi. A NaN stays one.
"""

import math
from collections.abc import Sequence

from theory.kernels.vectors import Vector

Pair = tuple[Vector, Vector]

# e^(x^2) erfc(x) (x + shift) for x >= 0 as a polynomial in u = (x - shift) / (x + shift), which lies in [-1, 1): its
# Chebyshev series, taken with 60 digits, up to u^22 or u^10 (the rest is 2e-16 or 2e-8).
_SHIFT = 2.5
_TAIL = {
    8: [
        1.054031820305718, -0.8046518494391484, 0.4539141166480569, -0.17125114524610233, 0.02836155013385942,
        0.008393044304327133, -0.004818785558012908, -0.00043920829488536836, 0.0007026940589974427,
        5.830802393238057e-05, -0.00011260673400217951, -1.9533196714725822e-05, 1.825119436280564e-05,
        6.757009847837595e-06, -2.348338605847622e-06, -1.9675019135766307e-06, 1.9132189761527793e-08,
        4.5355299406372847e-07, 1.1214944382197203e-07, -7.37011235544665e-08, -3.574319190813427e-08,
        6.2626646817483435e-09, 4.525062915294823e-09,
    ],
    4: [
        1.054031815, -0.8046519288, 0.4539145262, -0.1712494874, 0.02835667618, 0.008383131874, -0.004797361166,
        -0.000413924985, 0.0006592908095, 2.700712982e-05, -7.016012918e-05,
    ],
}  # fmt: skip


def softplus(z: Vector) -> Pair:
    """log(1 + e^z)."""
    t = _exp(-1.0 * z.magnitude())
    inverse = 1.0 / (1.0 + t)
    s = t * (1.0 / (2.0 + t))  # log(1 + t) = 2 artanh s with s <= 1/3
    degree = 15 if z.e.bytes == 8 else 6
    logarithm = s * _polynomial(s * s, [2 / (2 * k + 1) for k in range(degree + 1)])
    return z.below(0, 0, z) + logarithm, z.below(0, t * inverse, inverse)


def tanh(z: Vector) -> Pair:
    """tanh, through exp(-2|z|) - 1."""
    p, scale = _exp_parts(-2.0 * z.magnitude())
    t, less = p.fma(scale, scale), p.fma(scale, scale - 1.0)
    inverse = 1.0 / (1.0 + t)
    return ((0.0 - less) * inverse).signed(z), 4.0 * t * inverse * inverse


def erf(z: Vector) -> Pair:
    """erf: its Taylor series near 0, 1 - exp(-z^2) erfcx(|z|) elsewhere."""
    x, square = z.magnitude(), z * z
    t = _exp(0.0 - square)
    degree = 13 if z.e.bytes == 8 else 6
    near = [2 / math.sqrt(math.pi) * (-1) ** k / (math.factorial(k) * (2 * k + 1)) for k in range(degree + 1)]
    return x.below(0.6, x * _polynomial(square, near), 1.0 - t * _erfcx(x)).signed(z), 2 / math.sqrt(math.pi) * t


def gelu(z: Vector) -> Pair:
    """z times the normal distribution function."""
    t = _exp(-0.5 * z * z)
    tail = 0.5 * t * _erfcx(math.sqrt(0.5) * z.magnitude())
    below = z.below(0, tail, 1.0 - tail)
    return z * below, (z * t).fma(1 / math.sqrt(2 * math.pi), below)


def _exp(x: Vector) -> Vector:
    """e^x for x <= 0; 0 where a float of the dtype would lose digits."""
    p, scale = _exp_parts(x)
    return x.below(-708.0 if x.e.bytes == 8 else -87.0, 0, p.fma(scale, scale))


def _exp_parts(x: Vector) -> Pair:
    """(p, s) with e^x = s + s p, s a power of 2, |p| < 1/2, for x <= 0; x is held where e^x is still a normal float."""
    double = x.e.bytes == 8
    mantissa, bias, lowest = (52, 1023, -708.0) if double else (23, 127, -87.0)
    x = x.below(lowest, lowest, x)
    rounder = 1.5 * 2.0**mantissa  # a number so large that adding it rounds to integers, n in its lowest bits
    shifted = x.fma(math.log2(math.e), rounder)
    n = shifted - rounder
    high = 6.93147180369123816490e-01 if double else 0.693359375  # the first digits of log 2: n high is exact
    low = 1.90821492927058770002e-10 if double else -2.12194440e-4
    r = n.fma(-low, n.fma(-high, x))
    p = r * _polynomial(r, [1 / math.factorial(k) for k in range(1, 14 if double else 8)])
    b, integers = x.e.b, x.integers
    exponent = b.add(shifted.bits(), integers([bias] * x.e.lanes))
    return p, Vector(x.e, b.bitcast(b.shl(exponent, integers([mantissa] * x.e.lanes)), x.e.V))


def _erfcx(x: Vector) -> Vector:
    """e^(x^2) erfc(x) for x >= 0."""
    inverse = 1.0 / (x + _SHIFT)
    return inverse * _polynomial(1.0 - 2 * _SHIFT * inverse, _TAIL[x.e.bytes])


def _polynomial(x: Vector, coefficients: Sequence[float]) -> Vector:
    """Horner's rule; the lowest coefficient comes first."""
    total: Vector = Vector(x.e, x.like(coefficients[-1]))
    for coefficient in coefficients[-2::-1]:
        total = total.fma(x, coefficient)
    return total
