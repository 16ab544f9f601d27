"""Vectors in compiled functions: the few LLVM instructions of which `theory.kernels` makes its hot loops.

Numba's own loops leave it to LLVM to find vectors and to keep sums in registers, which it does not do for products of
small tiles. An intrinsic emits them itself, through an `Emitter`. No instruction is tied to a machine: LLVM splits or
joins vectors where registers differ, and fuses multiply-adds where it can.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils


def _widest() -> int:
    """Bytes of the widest vectors that the machine multiplies: LLVM can do with others, but not as fast."""
    try:
        return 64 if binding.get_host_cpu_features().get("avx512f") else 32
    except RuntimeError:  # llvmlite does not know the features of every machine
        return 32


VECTOR_BYTES = _widest()
TILE, GROUP = 3, 4  # vectors of hidden units times examples: 12 sums, 3 weights and an input fill 16 registers


class Emitter:
    """Emits into one compiled function, on vectors of the floating type of `array`, an argument's numba type.

    Attributes:
        b: llvmlite's builder.
        bytes: of a number.
        lanes: numbers in a vector.
        V: the type of a vector.
        zero: the vector of zeros.
    """

    def __init__(self, context: Any, builder: Any, array: Any):
        self.context, self.b, self.bytes = context, builder, array.dtype.bitwidth // 8
        self.lanes = VECTOR_BYTES // self.bytes
        self.V = ir.VectorType(context.get_value_type(array.dtype), self.lanes)
        self.zero = ir.Constant(self.V, [0.0] * self.lanes)
        suffix = f"v{self.lanes}f{8 * self.bytes}"
        kind = ir.FunctionType(self.V, [self.V] * 3)
        builder.function.attributes.add("noinline")  # keeps its registers to itself, and the next line in force
        builder.function.attributes.alignstack = 64  # a spilled vector that lies across two cache lines costs twice
        self._fma = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.{suffix}")

    def start(self, kind: Any, array: Any) -> Any:
        """Pointer to the first number of an array argument."""
        return self.context.make_array(kind)(self.context, self.b, array).data

    def at(self, pointer: Any, *factors: Any) -> Any:
        """pointer + the product of the factors, in entries."""
        offset = ir.IntType(64)(1)
        for factor in factors:
            offset = self.b.mul(offset, ir.IntType(64)(factor) if isinstance(factor, int) else factor)
        return self.b.gep(pointer, [offset])

    def load(self, pointer: Any) -> Any:
        """The vector at a pointer."""
        return self.b.load(self.b.bitcast(pointer, self.V.as_pointer()), align=self.bytes)

    def store(self, vector: Any, pointer: Any, align: int) -> None:
        """Write a vector of whatever type; its entries are aligned to `align` bytes."""
        self.b.store(vector, self.b.bitcast(pointer, vector.type.as_pointer()), align=align)

    def spread(self, number: Any) -> Any:
        """The number in all lanes."""
        nothing, where = ir.Constant(self.V, ir.Undefined), ir.VectorType(ir.IntType(32), self.lanes)
        first = self.b.insert_element(nothing, number, ir.IntType(32)(0))
        return self.b.shuffle_vector(first, nothing, ir.Constant(where, [0] * self.lanes))

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """a b + c."""
        return self.b.call(self._fma, [a, b, c])

    def repeat(self, count: Any, carried: list[Any], body: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
        """for i in range(count), count >= 1: carried = body(i, carried), in registers."""
        before, inside, after = self.b.block, self.b.append_basic_block(), self.b.append_basic_block()
        self.b.branch(inside)
        self.b.position_at_end(inside)
        phis = [self.b.phi(x.type) for x in (count, *carried)]
        i, *values = phis
        new = [None, *body(i, values)]
        new[0] = self.b.add(i, ir.IntType(64)(1))
        for phi, first, later in zip(phis, (ir.IntType(64)(0), *carried), new, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(later, self.b.block)
        self.b.cbranch(self.b.icmp_signed("<", new[0], count), inside, after)
        self.b.position_at_end(after)
        return new[1:]

    def products(self, rows: Any, columns: Any, count: Any, sums: list[Any] | None = None) -> list[Any]:
        """sums[i, m] + sum_c columns[c, i] rows[c, m] for GROUP numbers i and TILE vectors m, in registers.

        rows is (count, TILE lanes), columns (count, GROUP); without sums, zeros.
        """

        def add(c: Any, sums: list[Any]) -> list[Any]:
            row = self.at(rows, c, TILE * self.lanes)
            vectors, new = [self.load(self.at(row, m * self.lanes)) for m in range(TILE)], []
            for i in range(GROUP):  # in this order LLVM needs the 16 registers of AVX2 and no more
                number = self.spread(self.b.load(self.at(self.at(columns, c, GROUP), i)))
                new += [self.fma(number, vectors[m], sums[i * TILE + m]) for m in range(TILE)]
            return new

        return self.repeat(count, [self.zero] * (GROUP * TILE) if sums is None else sums, add)


class Vector:
    """A vector with the operators of arithmetic; the other operand may be a Python number.

    Attributes:
        e: the `Emitter` of the function that it belongs to.
        x: llvmlite's value.
    """

    def __init__(self, e: Emitter, x: Any):
        self.e, self.x = e, x

    def like(self, number: Any) -> Any:
        """llvmlite's value of a vector, or of a number in every lane."""
        if isinstance(number, Vector):
            return number.x
        rounded = float(np.float32(number)) if self.e.bytes == 4 else float(number)
        return ir.Constant(self.e.V, [rounded] * self.e.lanes)

    def __add__(self, other: Any) -> "Vector":
        return Vector(self.e, self.e.b.fadd(self.x, self.like(other)))

    def __sub__(self, other: Any) -> "Vector":
        return Vector(self.e, self.e.b.fsub(self.x, self.like(other)))

    def __rsub__(self, other: Any) -> "Vector":
        return Vector(self.e, self.e.b.fsub(self.like(other), self.x))

    def __mul__(self, other: Any) -> "Vector":
        return Vector(self.e, self.e.b.fmul(self.x, self.like(other)))

    def __rtruediv__(self, other: Any) -> "Vector":
        return Vector(self.e, self.e.b.fdiv(self.like(other), self.x))

    __radd__, __rmul__ = __add__, __mul__

    def fma(self, factor: Any, summand: Any) -> "Vector":
        """self factor + summand, with one rounding where the machine can."""
        return Vector(self.e, self.e.fma(self.x, self.like(factor), self.like(summand)))

    def below(self, bound: float, then: Any, otherwise: Any) -> "Vector":
        """`then` in the lanes below the bound, `otherwise` in the others; a NaN is not below."""
        under = self.e.b.fcmp_ordered("<", self.x, self.like(bound))
        return Vector(self.e, self.e.b.select(under, self.like(then), self.like(otherwise)))

    def magnitude(self) -> "Vector":
        """|self|."""
        return self._bits(lambda bits, sign: self.e.b.and_(bits, self.e.b.not_(sign)))

    def signed(self, other: "Vector") -> "Vector":
        """The sign of `other` on a vector that has no minus of its own."""
        return self._bits(lambda bits, sign: self.e.b.or_(bits, self.e.b.and_(other.bits(), sign)))

    def bits(self) -> Any:
        """The lanes as integers."""
        return self.e.b.bitcast(self.x, self.integers)

    @property
    def integers(self) -> Any:
        """The type of a vector of integers of the lanes' size."""
        return ir.VectorType(ir.IntType(8 * self.e.bytes), self.e.lanes)

    def _bits(self, change: Callable[[Any, Any], Any]) -> "Vector":
        sign = ir.Constant(self.integers, [1 << (8 * self.e.bytes - 1)] * self.e.lanes)
        return Vector(self.e, self.e.b.bitcast(change(self.bits(), sign), self.e.V))
