"""What f is averaged over: a Gaussian measure with any covariance, or draws from a sampler of the user's.

A measure decides the kind of array that f receives: built from tensors it draws tensors (gradients then come by
autograd), otherwise numpy arrays.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from theory import arrays, checks, seeding
from theory.arrays import Array

METHODS = ("plain", "antithetic", "quasi")
REPLICATES = 16
"""Independent scramblings of the Sobol sequence: enough for a t-interval, few enough to leave each its evenness."""
_LARGEST_GRID = 4_000_000


class Gaussian:
    """N(mean, covariance); the covariance may be singular.

    Args:
        mean: (d,).
        covariance: (d, d), symmetric and positive semidefinite.

    Attributes:
        dimension: d.
        metric: the covariance S in float64: the weight of gradients in log-Sobolev's and Poincare's inequality.
        root: (d, rank) with root root^T = S.

    Raises:
        InvalidInput: shapes that do not match, NaN, a covariance that is not symmetric or has a negative eigenvalue.

    Example:
        >>> measure = Gaussian([1.0, 0.0], [[4.0, 0.0], [0.0, 0.0]])
        >>> measure.sample(3, seed=0).shape, measure.root.shape
        ((3, 2), (2, 1))
    """

    def __init__(self, mean: Array, covariance: Array) -> None:
        (m, S), _ = arrays.tensors(mean=mean, covariance=covariance)
        checks.vector("mean", m)
        checks.matrix("covariance", S, rows=len(m), columns=len(m))
        unit = 64 * float(np.finfo(str(S.dtype).removeprefix("torch.")).eps)
        self.like = m if arrays.is_tensor(mean) else None
        self.mean = m.double().numpy(force=True)
        self.metric = S.double().numpy(force=True)
        self.dimension = len(self.mean)
        self.root = square_root(self.metric, unit)
        self._unit = max(unit, 1e-10)

    @classmethod
    def standard(cls, dimension: int) -> "Gaussian":
        """N(0, I) for numpy callables.

        Raises:
            InvalidInput: dimension < 1.
        """
        dimension = checks.integer("dimension", dimension, minimum=1)
        return cls(np.zeros(dimension), np.eye(dimension))

    def sample(self, draws: int, seed: int = 0, method: str = "plain") -> Any:
        """Draws, (draws, d), of the kind of the mean.

        Args:
            draws: how many; even for "antithetic", 16 times a power of two for "quasi".
            seed: of the stream.
            method: "plain": independent. "antithetic": rows 2i and 2i + 1 mirror each other about the mean. "quasi":
                16 independently scrambled Sobol sequences one after the other, each pushed through the normal quantile.

        Raises:
            InvalidInput: an unknown method, or a number of draws that it can't serve.
        """
        return self.cast(self.mean + self._normals(draws, seed, method) @ self.root.T)

    def _normals(self, draws: int, seed: int, method: str) -> np.ndarray:
        draws = checks.integer("draws", draws, minimum=1)
        group = group_size(draws, method)
        generator = seeding.numpy_generator(f"{method} draws of a Gaussian", seed)
        rank = self.root.shape[1]
        if method == "plain" or not rank:
            return generator.normal(size=(draws, rank))
        if method == "antithetic":
            half = generator.normal(size=(draws // 2, rank))
            return np.stack([half, -half], axis=1).reshape(draws, rank)
        from scipy.special import ndtri
        from scipy.stats import qmc

        bits = group.bit_length() - 1
        cubes = [qmc.Sobol(rank, scramble=True, seed=generator).random_base2(bits) for _ in range(REPLICATES)]
        # a scrambled point is a multiple of 2^-30: the middle of its cell keeps clear of 0, where the quantile is -inf
        return ndtri(np.concatenate(cubes) + 2.0**-31)

    def quadrature(self, order: int) -> tuple[Any, np.ndarray]:
        """Gauss-Hermite nodes, (order^rank, d), of the kind of the mean, and weights that sum to 1.

        Exact for polynomials of degree below 2 order along each principal direction.

        Raises:
            InvalidInput: a covariance of rank above 2, or more than four million nodes.
        """
        nodes, weights = hermite_grid(self.root.shape[1], order)
        return self.cast(self.mean + nodes @ self.root.T), weights

    def conditional(self, block: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Regression on the other coordinates, (|block|, d - |block|), and root of the covariance given them."""
        inside = np.asarray(block)
        rest = np.setdiff1d(np.arange(self.dimension), inside)
        scale = _scales(self.metric)
        C = self.metric / np.outer(scale, scale)
        gain = C[np.ix_(inside, rest)] @ np.linalg.pinv(C[np.ix_(rest, rest)], rcond=self._unit, hermitian=True)
        left = C[np.ix_(inside, inside)] - gain @ C[np.ix_(rest, inside)]
        root = _root((left + left.T) / 2, self._unit * self.dimension)
        return scale[inside, None] * gain / scale[rest], scale[inside, None] * root

    def cast(self, x: np.ndarray) -> Any:
        """An array of float64 in the kind, dtype and device of the mean."""
        if self.like is None:
            return x
        import torch

        return torch.from_numpy(x).to(self.like)

    def __repr__(self) -> str:
        return f"Gaussian(dimension={self.dimension}, rank={self.root.shape[1]})"


class Sampler:
    """A measure known by its draws only.

    Its gradients are not weighted (log-Sobolev's inequality need not hold for it at all). Tensorization takes the
    blocks of coordinates to be independent, and redraws a block from draws of its own.

    Args:
        draw: (number, numpy generator) -> (number, d) independent draws, array or tensor.
        dimension: d.

    Raises:
        InvalidInput: `draw` can't be called, dimension < 1.

    Example:
        >>> signs = Sampler(lambda number, generator: generator.choice([-1.0, 1.0], size=(number, 2)), dimension=2)
        >>> signs.sample(3).shape
        (3, 2)
    """

    def __init__(self, draw: Callable[[int, np.random.Generator], Any], dimension: int) -> None:
        if not callable(draw):
            checks.fail("draw", "a function of a number and a generator", type(draw).__name__, "pass a function")
        self.draw = draw
        self.dimension = checks.integer("dimension", dimension, minimum=1)
        self.metric = np.eye(self.dimension)

    def sample(self, draws: int, seed: int = 0, method: str = "plain") -> Any:
        """Independent draws, (draws, d).

        Raises:
            InvalidInput: a method other than "plain", draws of another shape or not finite.
        """
        checks.choice("method of a sampler", method, ("plain",))
        draws = checks.integer("draws", draws, minimum=1)
        x = self.draw(draws, seeding.numpy_generator("draws of a sampler", seed))
        if not arrays.is_tensor(x):
            x = np.asarray(x, dtype=float)
        if tuple(x.shape) != (draws, self.dimension):
            checks.fail("draw", f"shape {(draws, self.dimension)}", tuple(x.shape), "one row per draw")
        checks.finite("draw", x)
        return x


Measure = Gaussian | Sampler


def group_size(draws: int, method: str) -> int:
    """How many consecutive draws make one independent unit.

    Raises:
        InvalidInput: an unknown method, or a number of draws that it can't serve.
    """
    checks.choice("method", method, METHODS)
    if method == "plain":
        return 1
    if method == "antithetic":
        return 2 if checks.even("draws", draws) else 1
    per = draws // REPLICATES
    if draws % REPLICATES or per < 2 or per & (per - 1):
        nearest = REPLICATES * 2 ** max(1, round(np.log2(max(draws, 1) / REPLICATES)))
        checks.fail("draws", f"{REPLICATES} times a power of two", draws, f"use {nearest}: Sobol points need it")
    return per


def square_root(S: np.ndarray, unit: float) -> np.ndarray:
    """R, (d, rank), with R R^T = S; eigenvalues of the correlations below `unit` times d count as 0.

    Raises:
        InvalidInput: S is not symmetric, or has a negative eigenvalue.
    """
    scale = _scales(S)
    C = S / np.outer(scale, scale)
    if np.abs(C - C.T).max() > unit:
        checks.fail("covariance", "a symmetric matrix", "another", "use (S + S.T) / 2 if that is what you mean")
    return scale[:, None] * _root(C, unit * len(S))


def _scales(S: np.ndarray) -> np.ndarray:
    """Standard deviations, (d,): in these units what is small is rounding, not a coordinate in another unit."""
    variances = np.diag(S)
    largest = float(np.abs(S).max()) or 1.0
    return np.sqrt(np.where(variances > 0, variances, largest))


def _root(C: np.ndarray, cut: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(C)
    if values[0] < -cut:
        checks.fail("covariance", "a positive semidefinite matrix", f"eigenvalue {values[0]:.3g}", "check its source")
    kept = values > cut
    return vectors[:, kept] * np.sqrt(values[kept])


@functools.lru_cache(maxsize=16)
def hermite_grid(rank: int, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (order^rank, rank) and weights of the tensor Gauss-Hermite rule for N(0, I); read-only.

    Raises:
        InvalidInput: rank above 2, order below 1, more than four million nodes.
    """
    from scipy.special import roots_hermitenorm

    if rank > 2:
        checks.fail("rank of the covariance", "at most 2", rank, "quadrature is for low dimension: draw instead")
    order = checks.integer("order", order, minimum=1)
    if order ** max(rank, 1) > _LARGEST_GRID:
        checks.fail("order", f"at most {_LARGEST_GRID} nodes", order**rank, "lower the order")
    x, w = roots_hermitenorm(order)
    w = w / w.sum()
    grids = np.meshgrid(*[x] * rank, indexing="ij")
    nodes = np.stack([grid.ravel() for grid in grids], axis=1) if rank else np.zeros((1, 0))
    weights = np.ones(1)
    for _ in range(rank):
        weights = np.outer(weights, w).ravel()
    nodes.flags.writeable = weights.flags.writeable = False
    return nodes, weights
