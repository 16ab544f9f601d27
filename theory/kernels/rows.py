"""Standard normal rows drawn on the fly: the hidden weights of a layer so wide that they are never stored.

Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3") maps a counter to four
random integers, so that any row is drawn without the rows before it: in any order, in chunks of any size, on a CPU or
in a GPU kernel, always the same. Box and Muller (1958) turn two integers into two normals.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theory import checks, seeding
from theory.kernels import compiling, gpu

_STREAM = "rows of a wide layer"
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_WORD = 2**32
_ROUNDS = 10
_JOB = 2**15  # counters of one job (1 MB of float64 normals): thousands of them keep the threads busy


@dataclass(frozen=True)
class Rows:
    """The rows of a (width, dimension) matrix of independent N(0, 1) entries, drawn where they are asked for.

    Entries 4b to 4b + 3 of row r come from the counter (b, r mod 2^32, r div 2^32, 0) and a key made of the seed. They
    are evaluated in float64, to about 1e-15; the float32 entries are these, rounded.

    Attributes:
        width: number of rows, >= 1.
        dimension: entries of a row, >= 1.
        seed: >= 0; other streams of `theory.seeding` with this seed are independent of these rows.

    Raises:
        InvalidInput: an attribute that is not an integer, or out of range.

    Example:
        >>> rows = Rows(width=10**9, dimension=3, seed=0)
        >>> last = rows.block(10**9 - 2, 10**9)
        >>> last.shape
        torch.Size([2, 3])
        >>> bool((last[1:] == rows.block(10**9 - 1, 10**9)).all())
        True
    """

    width: int
    dimension: int
    seed: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "width", checks.integer("width", self.width, 1, 2**62))
        object.__setattr__(self, "dimension", checks.integer("dimension", self.dimension, 1, 2**32))
        object.__setattr__(self, "seed", checks.integer("seed", self.seed, 0))

    def __len__(self) -> int:
        return self.width

    @property
    def shape(self) -> tuple[int, int]:
        """(width, dimension)."""
        return self.width, self.dimension

    @functools.cached_property
    def key(self) -> tuple[int, int]:
        """The two 32-bit halves of Philox's key, the low one first."""
        sequence = seeding.numpy_generator(_STREAM, self.seed).bit_generator.seed_seq
        state = int(sequence.generate_state(1, np.uint64)[0])
        return state % _WORD, state // _WORD

    def integers(self, start: int, stop: int) -> np.ndarray:
        """The integers behind rows start to stop - 1: uint32, (stop - start, ceil(dimension / 4), 4).

        Raises:
            InvalidInput: not 0 <= start <= stop <= width.
        """
        start, stop = self._span(start, stop)
        blocks = -(-self.dimension // 4)
        row = np.repeat(np.arange(start, stop, dtype=np.uint64), blocks)
        block = np.tile(np.arange(blocks, dtype=np.uint64), stop - start)
        counters = np.stack([block, row % _WORD, row // _WORD, np.zeros_like(row)])
        return philox(counters, self.key).T.reshape(stop - start, blocks, 4)

    def block(
        self, start: int, stop: int, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
    ) -> Float[Tensor, "rows dimension"]:
        """Rows start to stop - 1, (stop - start, dimension), on `device`; compiled where numba is, by torch's threads.

        The entries do not depend on the other rows asked for, nor on the number of threads; those of a GPU, or of
        this machine without numba, may differ in the last digits: by 1e-14 in float64, 5e-7 in float32.

        Raises:
            InvalidInput: not 0 <= start <= stop <= width, or a dtype other than float32 and float64.
        """
        start, stop = self._span(start, stop)
        if dtype not in (torch.float32, torch.float64):
            checks.fail("dtype", "torch.float32 or torch.float64", str(dtype), "draw float32 and convert it with .to()")
        device = torch.device(device)
        if device.type != "cuda" or gpu.why_not(device):
            return self._drawn(start, stop, dtype).to(device)
        from theory.kernels import gpu_rows

        out = torch.empty(stop - start, self.dimension, dtype=dtype, device=device)
        gpu_rows.draw_rows(self, torch.arange(start, stop, device=device), out)
        return out

    def matrix(
        self, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
    ) -> Float[Tensor, "width dimension"]:
        """All rows at once: width * dimension numbers of memory.

        Example:
            >>> rows = Rows(width=5, dimension=2, seed=1)
            >>> bool((rows.matrix()[3:] == rows.block(3, 5)).all())
            True
        """
        return self.block(0, self.width, dtype, device)

    def _drawn(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        out = torch.empty(stop - start, self.dimension, dtype=dtype)
        step = max(1, _JOB * 4 // self.dimension)
        jobs = [(first, min(first + step, stop)) for first in range(start, stop, step)]
        if compiling.available():
            from theory.kernels import compiled_rows

            fill = compiled_rows.fill
        else:
            fill = self._fill
        compiling.share(lambda job: fill(out.numpy()[job[0] - start : job[1] - start], job[0], self.key), jobs)
        return out

    def _span(self, start: int, stop: int) -> tuple[int, int]:
        start = checks.integer("start", start, 0, self.width)
        return start, checks.integer("stop", stop, start, self.width)

    def _fill(self, out: np.ndarray, first: int, key: tuple[int, int]) -> None:
        values = normals(self.integers(first, first + len(out)))
        out[:] = values.reshape(len(out), -1)[:, : self.dimension]


def philox(counters: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Philox4x32-10 of every column of `counters`, the four 32-bit words of a counter, the first word first.

    Args:
        counters: (4, any), integers in [0, 2^32).
        key: two integers in [0, 2^32).

    Returns:
        uint32, (4, any).

    Example:
        >>> [f"{word:08x}" for word in philox(np.zeros((4, 1)), (0, 0))[:, 0]]
        ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    a, b, c, d = np.asarray(counters).astype(np.uint64)
    low, high = key
    for _ in range(_ROUNDS):
        first, second = a * _MULTIPLIERS[0], c * _MULTIPLIERS[1]  # 32 bits times 32 bits fit into 64
        a, b, c, d = (second >> 32) ^ b ^ low, second % _WORD, (first >> 32) ^ d ^ high, first % _WORD
        low, high = (low + _KEY_STEPS[0]) % _WORD, (high + _KEY_STEPS[1]) % _WORD
    return np.stack([a, b, c, d]).astype(np.uint32)


def normals(words: np.ndarray) -> np.ndarray:
    """The normals of random integers, (..., 4): of the first two integers the first two normals, and so on.

    Of r and s: sqrt(-2 log u) times cos and sin of 2 pi v, with u = (r + 1/2) / 2^32 and v = (s + 1/2) / 2^32.

    Returns:
        float64, (..., 4).

    Example:
        >>> normals(np.array([2**32 - 1, 0, 0, 2**31], dtype=np.uint32)).round(4)
        array([ 0.    ,  0.    , -6.7637, -0.    ])
    """
    radius, angle = (words[..., 0::2] + 0.5) / _WORD, (words[..., 1::2] + 0.5) / _WORD
    radius, angle = np.sqrt(-2 * np.log(radius)), 2 * math.pi * angle
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    return pairs.reshape(words.shape)
