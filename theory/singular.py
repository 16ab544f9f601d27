"""Singular values of a Jacobian to the accuracy that is wanted, its singular vectors, information and nuisance space.

`theory.spectrum` is the door; how it is computed, and the errors, stand in `theory.decomposition`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from theory import arrays, checks, decomposition
from theory.arrays import Array
from theory.decomposition import Method, Parts


@dataclass(frozen=True, eq=False)
class Singular:
    """Singular values and left singular vectors of J (n, p), and how far they can be trusted.

    Attributes:
        values: the min(n, p) singular values, decreasing.
        left: the left singular vectors, orthonormal columns, (n, min(n, p)).
        errors: a bound on the error of each value, in the same unit.
        floor: values up to here are not told from 0.
        method: "gram", by eigenvectors of J J^T; or "direct", from J itself.
    """

    values: Array
    left: Array
    errors: Array
    floor: float
    method: str
    _right: Callable[[Any], Array] = field(repr=False)

    @property
    def resolved(self) -> Array:
        """Whether each value is told from 0, (min(n, p),)."""
        return self.values > self.floor

    def right(self, columns: int | slice | Sequence[int] | None = None) -> Array:
        """Right singular vectors J^T u / s, (p, number of columns), without an explicit J.

        J^T u = s v to the rounding of one product. J v = s u, and two of them are orthonormal, to floor^2/s and
        floor^2/(s s') for "gram", and to floor (1 + s_max/s) and floor (1/s + 1/s') for "direct".

        Args:
            columns: how many of the leading ones, or which, as a slice or indices; left out: all resolved ones.

        Raises:
            InvalidInput: a value among them is not resolved, so that its vector is noise.

        Example:
            >>> svd([[3.0, 0.0, 0.0], [0.0, 0.0, 4.0]]).right(1)
            array([[0.],
                   [0.],
                   [1.]])
        """
        resolved = self.resolved.numpy(force=True) if arrays.is_tensor(self.resolved) else self.resolved
        if columns is None:
            columns = int(resolved.sum())
        if isinstance(columns, int | np.integer):
            columns = slice(checks.integer("columns", columns, minimum=0, maximum=len(resolved)))
        chosen = np.arange(len(resolved))[columns]
        if not resolved[chosen].all():
            got = f"column {int(chosen[~resolved[chosen]][0])}"
            checks.fail("columns", f"values above the floor {self.floor:.3g}", got, "ask for fewer")
        return self._right(torch.from_numpy(chosen))


@dataclass(frozen=True)
class Split:
    """Left singular vectors of a Jacobian (or eigenvectors of its kernel), cut in two.

    Attributes:
        values: all singular values, decreasing, padded with zeros to n, (n,).
        information: orthonormal basis of the information space, (n, rank).
        nuisance: orthonormal basis of the nuisance space, (n, n - rank).
        rank: dimension of the information space.
        errors: a bound on the error of each value, (n,).
    """

    values: Array
    information: Array
    nuisance: Array
    rank: int
    errors: Array

    def energy(self, residual: Array) -> tuple[float, float]:
        """Squared norms of a vector (n,) on the information and on the nuisance space; they add up to its own.

        Raises:
            InvalidInput: wrong length, NaN.
        """
        (residual, information, nuisance), _ = arrays.tensors(
            residual=residual, information=self.information, nuisance=self.nuisance
        )
        checks.vector("residual", residual, length=len(information))
        residual = residual.detach()
        return float((information.T @ residual).square().sum()), float((nuisance.T @ residual).square().sum())


def singular_values(
    J: Array, network: torch.nn.Module | None = None, *, relative: float = 1e-6, method: Method = "auto"
) -> Array:
    """All min(n, p) singular values of J (n, p), decreasing, each to a relative accuracy or to J's own rounding.

    They come from J J^T if its digits suffice, and from J itself otherwise; `svd` says which, and bounds the errors.

    Args:
        J: an array, a `Jacobian`, or, with `network`, a batch of inputs.
        network: any torch.nn.Module.
        relative: the accuracy wanted of each value; 0 for all the digits there are.
        method: "gram" or "direct" to decide for yourself: then whatever accuracy that has.

    Raises:
        InvalidInput: wrong shape, NaN, J too large to be explicit where J itself is needed.

    Example:
        >>> singular_values([[3.0, 0.0, 0.0], [0.0, 0.0, 4.0]])
        array([4., 3.])
    """
    matrix = decomposition.read(J, network)
    relative = checks.number("relative", relative, low=0)
    parts = decomposition.decompose(matrix, lambda parts: parts.accurate(relative), method=method, vectors=False)
    return matrix.back(parts.values[: min(matrix.shape)])


def svd(
    J: Array, network: torch.nn.Module | None = None, *, relative: float = 1e-6, method: Method = "auto"
) -> Singular:
    """Singular values with bounds on their errors, left singular vectors, and right ones on demand.

    Arguments as for `singular_values`. If J itself is needed but too large to be explicit, the result is that of
    J J^T, and `errors` and `resolved` say what it lacks.

    Raises:
        InvalidInput: wrong shape, NaN.

    Example:
        >>> parts = svd([[3.0, 0.0, 0.0], [0.0, 0.0, 4.0]])
        >>> parts.values, parts.method, bool(parts.errors.max() < 1e-14)
        (array([4., 3.]), 'direct', True)
        >>> abs(parts.left)
        array([[0., 1.],
               [1., 0.]])
    """
    matrix = decomposition.read(J, network)
    relative = checks.number("relative", relative, low=0)
    parts = decomposition.decompose(
        matrix, lambda parts: parts.accurate(relative), method=method, thin=True, insist=False
    )
    rank, left = min(matrix.shape), parts.left
    assert left is not None
    values = matrix.back(parts.values[:rank])
    kept = torch.finfo(arrays.tensors(values=values)[0][0].dtype).eps
    return Singular(
        values=values,
        left=matrix.back(left[:, :rank]),
        errors=matrix.back((parts.errors + kept * parts.values)[:rank]),
        floor=parts.floor,
        method=parts.method,
        _right=lambda columns: matrix.back(decomposition.adjoint(matrix.J, left[:, columns] / parts.values[columns])),
    )


def split(
    J: Array,
    network: torch.nn.Module | None = None,
    *,
    cut: float | None = None,
    rank: int | None = None,
    method: Method = "auto",
) -> Split:
    """Information and nuisance space of a Jacobian J (n, p), or of a kernel K (n, n), which has the same ones.

    They come from J J^T where it decides the rank as J itself would and gives the spaces to 1e-9 radians (or as well as
    J would); from J itself otherwise.

    Args:
        J: the matrix; or a batch of inputs, with `network`.
        network: any torch.nn.Module.
        cut: singular values of the matrix above it count as information.
        rank: how many do. With neither, the largest ratio of neighbours decides, values at the level of rounding
            counting as that level.
        method: "gram" or "direct" to decide for yourself.

    Raises:
        InvalidInput: both cut and rank, a rank beyond n, a zero matrix without either, J too large to be explicit where
            J itself is needed.

    Example:
        >>> split([[5.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 0.1]]).rank
        2
    """
    if cut is not None and rank is not None:
        checks.fail("split", "cut or rank", "both", "leave one out")
    matrix = decomposition.read(J, network)
    if rank is not None:
        rank = checks.integer("rank", rank, minimum=0, maximum=matrix.shape[0])
    if cut is not None:
        cut = checks.number("cut", cut, low=0)

    def leading(parts: Parts) -> tuple[int, bool]:
        if rank is not None:
            return rank, True
        return _largest_gap(parts) if cut is None else _above(cut, parts)

    def enough(parts: Parts) -> bool:
        count, certain = leading(parts)
        return certain and _spaces_are_known(parts, count)

    parts = decomposition.decompose(matrix, enough, method=method)
    assert parts.left is not None
    count, _ = leading(parts)
    values, basis, errors = (matrix.back(result) for result in (parts.values, parts.left, parts.errors))
    return Split(values, basis[:, :count], basis[:, count:], count, errors)


def _above(cut: float, parts: Parts) -> tuple[int, bool]:
    """How many values are above the cut, and whether none is too near to tell, or no nearer than J's own rounding."""
    certain = (parts.values - cut).abs() >= parts.errors
    return int((parts.values > cut).sum()), bool((certain | (parts.errors <= parts.rounding)).all())


def _largest_gap(parts: Parts) -> tuple[int, bool]:
    """Where the ratio of neighbours is largest, and whether the errors leave no other place."""
    values, errors, rounding = parts.values, parts.errors, parts.rounding
    if not float(values[0]) > parts.floor:
        checks.fail("split", "a nonzero matrix", "zeros", "give rank= or cut=")
    if len(values) == 1:
        return 1, True
    clamped = values.clamp(min=parts.floor)
    gap = int(torch.argmax(clamped[:-1] / clamped[1:]))
    low, high = (values - errors).clamp(min=rounding), (values + errors).clamp(min=rounding)
    others = (high[:-1] / low[1:]).index_fill(0, torch.tensor([gap], device=values.device), 0.0)
    return gap + 1, bool(low[gap] / high[gap + 1] >= others.max())


def _spaces_are_known(parts: Parts, rank: int) -> bool:
    """Whether the leading `rank` vectors span their space to 1e-9 radians, or as well as those of J itself could.

    By Davis & Kahan (1970) with the eigenvalues of J J^T, against Wedin (1972) with the values of J, at their best. No
    method finds a space that stands out by less than a hundred times J's own rounding.
    """
    if rank == 0 or rank == len(parts.values) or float(parts.values[rank - 1] + parts.errors[rank - 1]) == 0:
        return True
    (above, below), (above_error, below_error) = parts.values[rank - 1 : rank + 1], parts.errors[rank - 1 : rank + 1]
    gap = float((above - below) * (above + below)) - parts.floor**2
    widest = float(above - below + above_error + below_error)
    at_best = parts.rounding / widest
    return at_best > 0.01 or (gap > 0 and parts.floor**2 / gap <= max(1e-9, at_best))
