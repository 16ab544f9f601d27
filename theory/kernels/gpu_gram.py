"""The slope Gram on a GPU: two stages over chunks of the width, in Triton (`theory.kernels.gpu_tiles`).

Rectifiers: pre-activations in float32 quality, patterns of zeros and ones, and their Gram in integers: exact. Smooth
activations of float32 data: slopes as pairs of float16 numbers, their products in matrix units, float64 across chunks.
float64 data: pre-activations in float64 by cuBLAS; patterns as above; smooth activations wholly by cuBLAS, which has
float64 matrix units, as the reference path.

Triton is imported here: import this module inside functions, after `gpu.available`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from theory.activations import Activation
from theory.kernels import gpu, gpu_products, gpu_rows, gpu_tiles, reference
from theory.kernels.gpu import Tile
from theory.kernels.rows import Rows

MOST_GROUPS = 8  # distinct weights of a rectifier that are counted one by one; more of them weigh slopes instead
MOST_COLUMNS = 2**20  # of a chunk: keeps the kernels' offsets within 32 bits
MOST_COUNTS = 2**31 - 1  # what an int32 holds
_LARGEST = 2.0**13  # of a stored slope: float16 ends at 65,504, and its small numbers keep all bits down to 2^-14


@dataclass(frozen=True)
class Settings:
    """How the two stages are cut on a machine; `integers`: patterns are int8, else float16, added in float32."""

    slopes: Tile
    counts: Tile
    sums: Tile
    integers: bool = True


def settings(machine: gpu.Machine) -> Settings:
    """Launch settings: they compile without spills, into the matrix instructions of each generation.

    Capability 9.0 has 227 KB of shared memory and holds the wide integer tile. On 10.0 Triton has no integer product
    in tensor memory, so that patterns are float16 there: 0 and 1 are exact, and so are counts below 2^24.
    """
    if machine.interpreted:  # small: every tile's edge is met by small inputs
        return Settings(Tile(16, 128, 32, 1, 1), Tile(16, 32, 64, 1, 1), Tile(16, 16, 64, 1, 1))
    slopes = Tile(128, 128, 64, warps=8, stages=3)
    if machine.capability // 10 == 9:
        return Settings(slopes, Tile(128, 256, 128, warps=8, stages=3), Tile(128, 128, 64, warps=8, stages=3))
    integers = machine.capability // 10 not in (10, 11)
    return Settings(slopes, Tile(128, 256, 64, warps=8, stages=4), Tile(128, 128, 32, warps=8, stages=3), integers)


def slope_gram(
    X: Tensor,
    W: Tensor | Rows,
    weights: Tensor | float,
    activation: Activation,
    Y: Tensor | None = None,
    *,
    chunk_bytes: int = 2**26,
    precision: str = "exact",
) -> Tensor:
    """S_il = sum_j weights_j phi'(<w_j, x_i>) phi'(<w_j, y_l>), streamed over the width, in fixed order: no atomics.

    Arguments as for `theory.kernels.gram`, which checks them; weights (k,), >= 0, or one number for all rows.

    Returns:
        (n, m) in float64, on the device of X; exactly symmetric when Y is left out. Counts of a rectifier are exact
        in both precisions; "fast" keeps one float16 number of each slope of a smooth activation.
    """
    groups = None if activation.rectifier is None else _groups(weights, len(W))
    if groups is not None:
        run = _Run(X, Y, W, activation, chunk_bytes, patterns=True)
        gram = X.new_zeros(run.shape, dtype=torch.float64)
        for weight, members in groups:
            gram += weight * _counted(run, members, activation.rectifier or 0.0)
        return gram
    if X.dtype == torch.float64:
        gram = reference.slope_gram(X, W, weights, activation, Y, chunk_bytes=chunk_bytes)
        return _mirrored(gram) if Y is None else gram
    return _Run(X, Y, W, activation, chunk_bytes, patterns=False).summed(weights, low=precision == "exact")


def _groups(weights: Tensor | float, width: int) -> list[tuple[float, Tensor | range]] | None:
    """(weight, the rows that have it) for the distinct weights > 0; None if they are too many."""
    if not isinstance(weights, Tensor):
        return [(weights, range(width))]
    values = weights.unique()
    values = values[values > 0]
    if len(values) > MOST_GROUPS:
        return None
    return [(value, torch.nonzero(weights == value)[:, 0]) for value in values.tolist()]


def _counted(run: "_Run", members: Tensor | range, slope: float) -> Tensor:
    """The slope Gram of these rows, each of weight 1, for phi' = slope + (1 - slope) 1[z > 0]: from counts alone."""
    both, left, right = run.counted(members, singles=slope != 0)
    if slope == 0:
        return both
    either = left[:, None] + right - both
    return both + slope * (either - both) + slope**2 * (len(members) - either)  # units on at both, at one, at neither


class _Run:
    """The buffers of one call, and its stages."""

    def __init__(
        self, X: Tensor, Y: Tensor | None, W: Tensor | Rows, activation: Activation, chunk_bytes: int, patterns: bool
    ) -> None:
        self.machine, self.W, self.activation = gpu.machine(X.device), W, activation
        self.settings, self.patterns = settings(self.machine), patterns
        self.kind = gpu_products.kind(activation)
        self.symmetric, self.shape = Y is None, (len(X), len(X if Y is None else Y))
        self.tile = self.settings.counts if patterns and self.settings.integers else self.settings.sums
        sides = [X] if Y is None else [X, Y]

        # whole tiles of both stages
        both = math.lcm(self.tile.rows, self.tile.columns, self.settings.slopes.rows)
        self.sides, self.padded = sides, [_up(len(side), both) for side in sides]
        tiles = len(sides) * (self.padded[0] // self.tile.rows) * (self.padded[-1] // self.tile.columns)
        # few tiles: parts of the chunk keep two waves of programs busy, each of them with some way to go
        self.parts = max(1, min(4 * self.machine.processors // tiles, len(W) // (2 * self.tile.depth)))
        unit = self.parts * math.lcm(self.tile.depth, self.settings.slopes.columns)
        # half of the bytes for the chunk: by default 32 MB, so that patterns stay in the L2 cache of a large GPU
        most = chunk_bytes // 2 // (sum(self.padded) * self._bytes(X.dtype))
        self.columns = max(1, min(most, MOST_COLUMNS, _up(len(W), unit)) // unit) * unit

        empty = X.new_zeros
        stored = torch.int8 if patterns and self.settings.integers else torch.float16
        self.slopes = [empty(rows, self.columns, dtype=stored) for rows in self.padded]
        self.lows = self.slopes if patterns else [torch.zeros_like(slopes) for slopes in self.slopes]
        if X.dtype == torch.float32:
            depth = _up(gpu_rows.TERMS * X.shape[1], self.settings.slopes.depth)
            self.halves = [empty(rows, depth, dtype=torch.float16) for rows in self.padded]
            self.units = [empty(rows) for rows in self.padded]
            for side, halves, units in zip(sides, self.halves, self.units, strict=True):
                numbers = torch.arange(len(side), device=X.device)
                gpu_rows.halve_rows(side, numbers, halves, units, left=True)
            self.w_halves = empty(self.columns, depth, dtype=torch.float16)
            self.w_units = X.new_full((self.columns,), 1 / gpu_rows.NORMALS_SCALE.value)

    def _bytes(self, dtype: torch.dtype) -> int:
        """Memory of one input at one hidden unit of a chunk."""
        if self.patterns:
            return (1 if self.settings.integers else 2) + (9 if dtype == torch.float64 else 0)
        return 4 if self.kind is not None else 16

    def counted(self, members: Tensor | range, singles: bool) -> tuple[Tensor, Tensor, Tensor]:
        """How many of these rows are on for both of two inputs (n, m), for each of X (n,), for each of Y (m,)."""
        total, recent = self.sides[0].new_zeros(self.shape, dtype=torch.float64), 0
        counts = self._accumulator(torch.int32 if self.settings.integers else torch.float64)
        ons = [side.new_zeros(len(side), dtype=torch.float64) for side in self.sides]
        for numbers in self._chunks(members):
            if recent + self.columns > MOST_COUNTS:
                total += self._assembled(counts)
                counts.zero_()
                recent = 0
            self._patterns(numbers)
            if singles:
                for on, slopes in zip(ons, self.slopes, strict=True):
                    on += slopes[: len(on)].sum(1, dtype=torch.float64)
            self._second_stage(counts, 1.0, low=False)
            recent += self.columns
        total += self._assembled(counts)
        return total, ons[0], ons[-1]

    def summed(self, weights: Tensor | float, low: bool) -> Tensor:
        """The slope Gram of all rows from the products of their slopes."""
        largest = float(weights.max()) if isinstance(weights, Tensor) else weights
        sums = self._accumulator(torch.float64)
        roots = self.sides[0].new_ones(self.columns)
        for numbers in self._chunks(range(len(self.W))):
            if isinstance(weights, Tensor) and largest > 0:
                roots[: len(numbers)] = (weights[numbers] / largest).sqrt()
            scale = self._smooth(numbers, roots)
            self._second_stage(sums, scale**-2, low)
        return self._assembled(sums).mul_(largest)

    def _chunks(self, members: Tensor | range) -> Iterator[Tensor]:
        for start in range(0, len(members), self.columns):
            chunk = members[start : start + self.columns]
            if isinstance(chunk, range):
                chunk = torch.arange(chunk.start, chunk.stop, device=self.sides[0].device)
            yield chunk

    def _patterns(self, numbers: Tensor) -> None:
        """Stage one, for a rectifier."""
        if self.sides[0].dtype == torch.float32:
            self._first_stage(numbers, self.w_units, gpu_tiles.PATTERN.value, self.slopes, self.lows)
            return
        rows = self._rows(numbers)
        for side, slopes in zip(self.sides, self.slopes, strict=True):
            slopes[: len(side), : len(numbers)] = side @ rows.T > 0
            slopes[:, len(numbers) :] = 0

    def _smooth(self, numbers: Tensor, roots: Tensor) -> float:
        """Stage one for slopes, in float32; returns the power of two that they are stored times."""
        if self.kind is not None:
            scale = _scale(max(1.0, self.activation.gamma1))
            self._first_stage(numbers, roots * scale, gpu_tiles.SLOPES.value, self.slopes, self.lows)
            return scale
        slopes = [torch.empty_like(low, dtype=torch.float32) for low in self.lows]
        self._first_stage(numbers, roots, gpu_tiles.PREACTIVATIONS.value, slopes, slopes)
        for side, z in zip(self.sides, slopes, strict=True):
            inside = z[: len(side), : len(numbers)].contiguous()
            z.zero_()[: len(side), : len(numbers)] = self.activation.derivative(inside) * roots[: len(numbers)]
        scale = _scale(max(float(part.abs().max()) for part in slopes))
        for part, high, low in zip(slopes, self.slopes, self.lows, strict=True):
            part.mul_(scale)
            high.copy_(part)
            low.copy_(part.sub_(high))
        return scale

    def _first_stage(self, numbers: Tensor, roots: Tensor, output: int, outs: list[Tensor], lows: list[Tensor]) -> None:
        if isinstance(self.W, Rows):
            gpu_rows.draw_rows(self.W, numbers, self.w_halves)
        else:
            gpu_rows.halve_rows(self.W, numbers, self.w_halves, self.w_units, left=False)
        tile, slope = self.settings.slopes, self.activation.rectifier
        constants = {"KIND": 0 if self.kind is None else self.kind, "OUTPUT": output}
        for halves, units, out, low in zip(self.halves, self.units, outs, lows, strict=True):
            gpu.launch(
                gpu_tiles.slope_tile,
                (len(halves) // tile.rows, _up(self.columns, tile.columns) // tile.columns),
                halves,
                self.w_halves,
                units,
                self.w_units,
                roots,
                out,
                low,
                len(numbers),
                halves.shape[1],
                self.columns,
                0.0 if slope is None else slope,
                **constants,
                **_blocks(tile),
            )

    def _second_stage(self, accumulator: Tensor, factor: float, low: bool) -> None:
        parts, tall, wide = accumulator.shape[:3]
        shared: dict[str, Any] = {"SYMMETRIC": self.symmetric, **_blocks(self.tile)}
        sizes = (self.columns // parts, self.columns)
        P, Q = self.slopes[0], self.slopes[-1]
        if accumulator.dtype == torch.int32:
            gpu.launch(gpu_tiles.count_tile, (wide, tall, parts), P, Q, accumulator, *sizes, **shared)
        else:
            four = (P, self.lows[0], Q, self.lows[-1])
            gpu.launch(gpu_tiles.sum_tile, (wide, tall, parts), *four, accumulator, *sizes, factor, LOW=low, **shared)

    def _accumulator(self, dtype: torch.dtype) -> Tensor:
        tall, wide = self.padded[0] // self.tile.rows, self.padded[-1] // self.tile.columns
        return self.sides[0].new_zeros(self.parts, tall, wide, self.tile.rows, self.tile.columns, dtype=dtype)

    def _assembled(self, tiles: Tensor) -> Tensor:
        """The parts added, in order, and the tiles laid side by side, in float64."""
        total = tiles[0].double()
        for part in tiles[1:]:
            total += part
        tall, wide, rows, columns = total.shape
        matrix = total.transpose(1, 2).reshape(tall * rows, wide * columns)[: self.shape[0], : self.shape[1]]
        return _mirrored(matrix) if self.symmetric else matrix.contiguous()

    def _rows(self, numbers: Tensor) -> Tensor:
        if not isinstance(self.W, Rows):
            return self.W[numbers]
        rows = self.sides[0].new_empty(len(numbers), self.W.dimension)
        gpu_rows.draw_rows(self.W, numbers, rows)
        return rows


def _mirrored(matrix: Tensor) -> Tensor:
    """The symmetric matrix with this lower triangle."""
    return matrix.tril() + matrix.tril(-1).T


def _scale(largest: float) -> float:
    """The power of two that brings numbers up to `largest` near float16's middle."""
    return 2.0 ** math.floor(math.log2(_LARGEST / largest)) if 0 < largest < math.inf else 1.0


def _up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def _blocks(tile: Tile) -> dict[str, int]:
    return {"BM": tile.rows, "BN": tile.columns, "BK": tile.depth, **tile.options}
