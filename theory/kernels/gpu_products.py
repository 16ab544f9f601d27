"""What the Triton kernels share: float32 products from bfloat16 pieces, patterns as bits, and the activations.

A float32 number is the exact sum of three bfloat16 numbers, each the leading 8 bits of what is left. Six of the nine
products of two numbers' pieces are kept; the others are below 2^-23 of the product, where float32 itself rounds. A 0/1
pattern is one piece already and needs three products. Matrix units do bfloat16 at twice the rate of tf32, so this costs
what three tf32 products cost and keeps two bits more; and numbers that are stored as pieces (`split`) need no
arithmetic where they are used. float64 has matrix products of its own: one plane, one product.

The matrix unit rounds its sums towards zero: long sums are made of short ones, which are added with the usual rounding.

Triton is imported here: import this module inside functions, after `gpu.available`.
"""

# mypy: disable-error-code="no-untyped-def"
# (a kernel's arguments are Triton's own tensors and pointers, known when it is compiled)

import inspect

import torch
import triton
import triton.language as tl
from torch import Tensor

from theory.activations import Activation, get

RELU, LEAKY, SOFTPLUS, ERF, TANH, GELU = (tl.constexpr(kind) for kind in range(6))  # rectifiers first

# The interpreter keeps bfloat16 as integers and would multiply those: there, pieces are multiplied in float32.
EMULATED = tl.constexpr(bool(triton.knobs.runtime.interpret))
_TOP = tl.constexpr(0xFFFF0000)  # sign, exponent and the 8 leading bits of a float32: those of a bfloat16


def kernel(function=None, **options):
    """Decorator: triton.jit of a function as it was written, without what an import hook may have put around it."""
    if function is None:
        return lambda function: kernel(function, **options)
    return triton.jit(inspect.unwrap(function), **options)


def kind(activation: Activation) -> int | None:
    """Which of the activations below it is; None for one that the kernels do not know.

    Example:
        >>> from theory import activations
        >>> kind(activations.leaky_relu(0.1)), kind(activations.get("gelu"))
        (1, 5)
    """
    if activation.rectifier is not None:
        return LEAKY.value if activation.rectifier else RELU.value
    smooth = {"softplus": SOFTPLUS, "erf": ERF, "tanh": TANH, "gelu": GELU}
    return next((number.value for name, number in smooth.items() if get(name) is activation), None)


def split(numbers: Tensor) -> Tensor:
    """float32 (...) as three exact bfloat16 pieces (3, ...); float64 as it is, (1, ...).

    Example:
        >>> split(torch.tensor([1 / 3])).double().sum(0) - torch.tensor([1 / 3])
        tensor([0.], dtype=torch.float64)
    """
    if numbers.dtype == torch.float64:
        return numbers[None].contiguous()
    planes, rest = [], numbers.contiguous()
    for _ in range(3):
        top = (rest.view(torch.int32) & -0x10000).view(torch.float32)
        planes.append(top.to(torch.bfloat16))
        rest = rest - top
    return torch.stack(planes)


def merge(planes: Tensor) -> Tensor:
    """The inverse of `split`."""
    return planes[0].clone() if len(planes) == 1 else (planes[0].float() + planes[1].float()) + planes[2].float()


@kernel
def load(pointer, plane):
    """The pieces of a tile whose planes lie `plane` entries apart; float64: the tile, three times."""
    a0 = tl.load(pointer)
    if pointer.dtype.element_ty == tl.float64:
        a1, a2 = a0, a0
    else:
        a1, a2 = tl.load(pointer + plane), tl.load(pointer + 2 * plane)
    return a0, a1, a2


@kernel
def store(pointer, plane, a0, a1, a2):
    """The inverse of `load`."""
    tl.store(pointer, a0)
    if a0.dtype != tl.float64:
        tl.store(pointer + plane, a1)
        tl.store(pointer + 2 * plane, a2)


@kernel
def whole(a0, a1, a2):
    """The numbers of which these are the pieces."""
    return a0 if a0.dtype == tl.float64 else (a0.to(tl.float32) + a1.to(tl.float32)) + a2.to(tl.float32)


@kernel
def pieces(a):
    """The pieces of a tile. They are cut off, not rounded, so that every conversion is exact."""
    if a.dtype == tl.float64:
        a0, a1, a2 = a, a, a
    else:
        top = (a.to(tl.uint32, bitcast=True) & _TOP).to(tl.float32, bitcast=True)
        rest = a - top
        middle = (rest.to(tl.uint32, bitcast=True) & _TOP).to(tl.float32, bitcast=True)
        a0, a1, a2 = top.to(tl.bfloat16), middle.to(tl.bfloat16), (rest - middle).to(tl.bfloat16)
    return a0, a1, a2


@kernel
def dot(a, b, total):
    """total + a b, one product of the matrix unit."""
    if EMULATED and a.dtype == tl.bfloat16:
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, total, out_dtype=total.dtype)


@kernel
def product(a0, a1, a2, b0, b1, b2, FLOAT: tl.constexpr):
    """a b from pieces, the small products first."""
    total = tl.zeros((a0.shape[0], b0.shape[1]), FLOAT)
    if a0.dtype != tl.float64:
        total = dot(a2, b0, total)
        total = dot(a0, b2, total)
        total = dot(a1, b1, total)
        total = dot(a1, b0, total)
        total = dot(a0, b1, total)
    return dot(a0, b0, total)


@kernel
def chosen(on, b0, b1, b2, FLOAT: tl.constexpr):
    """on b for a pattern of zeros and ones, in the type of the pieces."""
    total = tl.zeros((on.shape[0], b0.shape[1]), FLOAT)
    if on.dtype != tl.float64:
        total = dot(on, b2, total)
        total = dot(on, b1, total)
    return dot(on, b0, total)


@kernel
def pack(z, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Where z > 0, as words (rows, columns / 32), the first column in the lowest bit."""
    on = tl.reshape(z, (ROWS, COLUMNS // 32, 32)) > 0
    return tl.sum(tl.where(on, (1 << tl.arange(0, 32))[None, None, :], 0), axis=2)


@kernel
def unpack(words, FLOAT: tl.constexpr, COLUMNS: tl.constexpr, ROWS: tl.constexpr):
    """Such words, transposed to (columns / 32, rows), as zeros and ones (columns, rows)."""
    bits = (words[:, None, :] >> tl.arange(0, 32)[None, :, None]) & 1
    return tl.where(tl.reshape(bits, (COLUMNS, ROWS)) != 0, 1.0, 0.0).to(FLOAT)


@kernel
def evaluate(z, slope, KIND: tl.constexpr):
    """phi(z) and phi'(z); a NaN stays a NaN. `slope` is a leaky rectifier's, left of zero.

    Accurate to a few roundings of max(|phi|, 1) (tanh: of phi itself), from functions that the interpreter has too.
    """
    if KIND == RELU:
        phi, slopes = tl.maximum(z, 0.0, propagate_nan=tl.PropagateNan.ALL), tl.where(z > 0, 1.0, 0.0).to(z.dtype)
    elif KIND == LEAKY:
        phi, slopes = tl.where(z > 0, z, slope * z), tl.where(z > 0, 1.0, slope).to(z.dtype)
    elif KIND == SOFTPLUS:
        e = tl.exp(-tl.abs(z))
        phi, slopes = tl.where(z <= 0, 0.0, z) + tl.log(1 + e), tl.where(z >= 0, 1.0, e) / (1 + e)
    elif KIND == ERF:
        phi, slopes = tl.erf(z), 1.1283791670955126 * tl.exp(-z * z)
    elif KIND == TANH:
        q = z * z
        # continued fraction of tanh: relative error 2e-16 at 1/2, below which 1 - e would cancel
        near = z * (135135 + q * (17325 + q * (378 + q))) / (135135 + q * (62370 + q * (3150 + q * 28)))
        e = tl.exp(-2 * tl.abs(z))
        far = (1 - e) / (1 + e)
        phi = tl.where(tl.abs(z) < 0.5, near, tl.where(z < 0, -far, far))
        slopes = 4 * e / ((1 + e) * (1 + e))
    else:
        normal = 0.5 + 0.5 * tl.erf(z * 0.7071067811865476)
        phi, slopes = z * normal, normal + z * 0.3989422804014327 * tl.exp(-0.5 * z * z)
    return phi, slopes
