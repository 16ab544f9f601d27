"""The hot loops of `theory.kernels.fused_rectifier`, as intrinsics, each for a tile of units or a chunk of examples.

The layouts are those of that module.
"""

from typing import Any

from llvmlite import ir
from numba import types

from theory.kernels.compiling import intrinsic
from theory.kernels.vectors import GROUP, TILE, Emitter

CHUNK = 8  # groups: 32 examples, one word
WIDEST = 4  # vectors of a unit's gradient that are summed up together, in registers


def _evaluate(halves: int) -> Any:
    def kernel(typing, W, X, v, outputs, on, t, tiles, d, chunk, first, count):  # type: ignore[no-untyped-def]
        """Tile t against `count` groups of X, from `first` on: outputs += v phi, and the tile's words of the chunk."""

        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            e, b = Emitter(context, builder, signature.args[0]), builder
            W, X, v, outputs, on = map(e.start, signature.args[:5], arguments[:5])
            t, tiles, d, chunk, first, count = arguments[5:]
            tile = TILE * e.lanes
            integers = ir.VectorType(ir.IntType(8 * e.bytes), e.lanes)
            v_tile = [e.load(e.at(e.at(v, t, tile), m * e.lanes)) for m in range(TILE)]
            weights = [e.at(e.at(W, t, d, tile), half, tiles, d, tile) for half in range(halves)]

            def group(g: Any, patterns: list[Any]) -> list[Any]:
                patterns, phi, g = list(patterns), [], b.add(first, g)
                for half in range(halves):
                    phi.append(e.products(weights[half], e.at(X, g, d, GROUP), d))
                    for s, z in enumerate(phi[half]):
                        on, m = (
                            b.fcmp_unordered(">", z, e.zero),
                            half * TILE + s % TILE,
                        )  # a NaN is on, so that it shows
                        patterns[m] = b.sub(b.add(patterns[m], patterns[m]), b.sext(on, integers))  # 2 pattern + on
                        phi[half][s] = b.select(on, z, e.zero)
                for i in range(GROUP):
                    place = e.at(e.at(outputs, g, GROUP * e.lanes), i * e.lanes)
                    total = e.load(place)
                    for m in range(TILE):
                        plus, *minus = (values[i * TILE + m] for values in phi)
                        total = e.fma(b.fsub(plus, minus[0]) if minus else plus, v_tile[m], total)
                    e.store(total, place, e.bytes)
                return patterns

            patterns = e.repeat(count, [ir.Constant(integers, [0] * e.lanes)] * (TILE * halves), group)
            words = e.at(e.at(on, chunk, halves, tiles, tile), t, tile)
            for m, pattern in enumerate(patterns):
                place = e.at(e.at(words, m // TILE, tiles, tile), m % TILE * e.lanes)
                e.store(b.trunc(pattern, ir.VectorType(ir.IntType(32), e.lanes)) if e.bytes == 8 else pattern, place, 4)
            return context.get_dummy_value()

        return types.none(W, X, v, outputs, on, *[types.intp] * 6), emit

    return intrinsic(kernel)


def _add_rows(vectors: int) -> Any:
    def kernel(typing, on, table, gradient, words, first, units, groups):  # type: ignore[no-untyped-def]
        """gradient[first + j] += the rows of the table that the bits of on[words + j] pick, for j < units."""

        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            e, b = Emitter(context, builder, signature.args[1]), builder
            on, table, gradient = map(e.start, signature.args[:3], arguments[:3])
            words, first, units, groups = arguments[3:]
            row = WIDEST * e.lanes

            def unit(j: Any, _: list[Any]) -> list[Any]:
                place = e.at(gradient, b.add(first, j), row)

                def group(g: Any, carried: list[Any]) -> list[Any]:
                    *totals, word = carried  # the last group has the lowest bits
                    sums = e.at(table, b.sub(b.sub(groups, g), ir.IntType(64)(1)), 16 * row)
                    picked = e.at(sums, b.and_(word, ir.IntType(64)(15)), row)
                    totals = [b.fadd(total, e.load(e.at(picked, m * e.lanes))) for m, total in enumerate(totals)]
                    return [*totals, b.lshr(word, ir.IntType(64)(GROUP))]

                word = b.zext(b.load(e.at(on, b.add(words, j))), ir.IntType(64))
                start = [e.load(e.at(place, m * e.lanes)) for m in range(vectors)]
                for m, total in enumerate(e.repeat(groups, [*start, word], group)[:-1]):
                    e.store(total, e.at(place, m * e.lanes), e.bytes)
                return []

            e.repeat(units, [], unit)
            return context.get_dummy_value()

        return types.none(on, table, gradient, *[types.intp] * 4), emit

    return intrinsic(kernel)


@intrinsic
def tabulate(typing, weighted, table, i, columns, z, group, vectors):  # type: ignore[no-untyped-def]
    """table[16 group + subset] = the sum of a subset of the rows from i on; the first row is the highest bit."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        e = Emitter(context, builder, signature.args[0])
        weighted, table = map(e.start, signature.args[:2], arguments[:2])
        i, columns, z, group, vectors = arguments[2:]
        source, target = e.at(e.at(weighted, i, columns), z), e.at(table, group, 16 * WIDEST * e.lanes)

        def vector(m: Any, _: list[Any]) -> list[Any]:
            sums = [e.zero]
            for bit in range(GROUP):
                row = e.load(e.at(e.at(source, columns, GROUP - 1 - bit), m, e.lanes))
                sums += [builder.fadd(total, row) for total in sums]
            for subset, total in enumerate(sums):
                e.store(total, e.at(e.at(target, subset * WIDEST * e.lanes), m, e.lanes), e.bytes)
            return []

        e.repeat(vectors, [], vector)
        return context.get_dummy_value()

    return types.none(weighted, table, *[types.intp] * 5), emit


@intrinsic
def move_tile(typing, W, v, step, gradient, w, t, unit, d, z, columns):  # type: ignore[no-untyped-def]
    """Tile w of W += step v_t gradient over `columns` columns from z on; the squared length of v_t gradient."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        e, b = Emitter(context, builder, signature.args[0]), builder
        W, v, gradient = (e.start(signature.args[i], arguments[i]) for i in (0, 1, 3))
        step, (w, t, unit, d, z, columns) = arguments[2], arguments[4:]
        tile, row, double = TILE * e.lanes, WIDEST * e.lanes, ir.DoubleType()
        target, source = e.at(e.at(W, w, d, tile), z, tile), e.at(gradient, unit, row)
        v_tile = [e.load(e.at(e.at(v, t, tile), m * e.lanes)) for m in range(TILE)]
        factors = [b.fmul(e.spread(step), some) for some in v_tile]

        def column(c: Any, squares: list[Any]) -> list[Any]:
            new = []
            for m in range(TILE):
                slopes = e.zero
                for lane in range(e.lanes):
                    entry = b.load(e.at(e.at(source, c), (m * e.lanes + lane) * row))
                    slopes = b.insert_element(slopes, entry, ir.IntType(32)(lane))
                place = e.at(e.at(target, c, tile), m * e.lanes)
                e.store(e.fma(factors[m], slopes, e.load(place)), place, e.bytes)
                new.append(e.fma(slopes, slopes, squares[m]))
            return new

        total = double(0.0)
        for some, squares in zip(v_tile, e.repeat(columns, [e.zero] * TILE, column), strict=True):
            for lane in range(e.lanes):
                pair = [b.extract_element(x, ir.IntType(32)(lane)) for x in (some, squares)]
                factor, square = (b.fpext(x, double) if e.bytes == 4 else x for x in pair)
                total = b.fadd(total, b.fmul(b.fmul(factor, factor), square))
        return total

    return types.float64(W, v, step, gradient, *[types.intp] * 6), emit


evaluate_1, evaluate_2 = _evaluate(1), _evaluate(2)
add_rows_1, add_rows_2, add_rows_3, add_rows_4 = map(_add_rows, range(1, WIDEST + 1))
