"""Spectra of Jacobians and kernels: conditioning, information and nuisance space, and the support of the clusters.

The information space of a Jacobian is spanned by the left singular vectors above a cut, the nuisance space by the rest.
The support subspace S+ holds the vectors that are constant on clusters, S- is its orthogonal complement; with perfect
clusters the range of J lies in S+. Cf. Li, Soltanolkotabi & Oymak (2020); Oymak, Fabian, Li & Soltanolkotabi (2019).

A matrix argument J may be an array, a `Jacobian`, or, with `network`, a batch of inputs of any torch.nn.Module.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, svds
from torch import Tensor

from theory import arrays, checks, covariance, operators, seeding
from theory.activations import Activation
from theory.arrays import Array


@dataclass(frozen=True)
class Split:
    """Left singular vectors of a Jacobian (or eigenvectors of its kernel), cut in two.

    Attributes:
        values: all singular values, decreasing, padded with zeros to n, (n,).
        information: orthonormal basis of the information space, (n, rank).
        nuisance: orthonormal basis of the nuisance space, (n, n - rank).
        rank: dimension of the information space.
    """

    values: Array
    information: Array
    nuisance: Array
    rank: int

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


def singular_values(J: Array, network: torch.nn.Module | None = None) -> Array:
    """All min(n, p) singular values of J (n, p), decreasing, from J itself and not from J J^T, which squares them.

    Raises:
        InvalidInput: wrong shape, NaN, a Jacobian too large to be explicit.

    Example:
        >>> singular_values([[3.0, 0.0, 0.0], [0.0, 0.0, 4.0]])
        array([4., 3.])
    """
    J, back = _explicit(J, network)
    return back(torch.linalg.svdvals(_compressed(J)))


def operator_norm(A: Array, network: torch.nn.Module | None = None) -> float:
    """||A||_op, the largest singular value of a matrix (n, p); of a scipy LinearOperator without making it explicit.

    Raises:
        InvalidInput: wrong shape, NaN.

    Example:
        >>> operator_norm([[3.0, 0.0], [0.0, -4.0]])
        4.0
    """
    if network is not None:
        A = covariance.jacobian(A, network)
    if isinstance(A, LinearOperator):
        if min(A.shape) > 1:
            # the same start each time, so that results repeat; random, so that only A = 0 maps it to 0
            start = seeding.numpy_generator("start of the power method", 0).standard_normal(min(A.shape))
            image = (A.T if A.shape[0] <= A.shape[1] else A) @ start
            return float(svds(A, k=1, v0=start, tol=1e-12, return_singular_vectors=False)[0]) if image.any() else 0.0
        A = A @ np.ones((1, 1)) if A.shape[1] == 1 else A.T @ np.ones((1, 1))  # svds wants two rows and two columns
    A, _ = _explicit(A, None)
    return float(torch.linalg.svdvals(_compressed(A))[0])


def condition_number(K: Array, network: torch.nn.Module | None = None) -> float:
    """lambda_max / lambda_min of a symmetric positive semidefinite matrix (n, n); infinite if singular to rounding.

    With `network`, K is a batch of inputs and the matrix its empirical kernel.

    Raises:
        InvalidInput: not square, not symmetric, NaN, or a negative eigenvalue beyond rounding.

    Example:
        >>> condition_number([[2.0, 0.0], [0.0, 0.5]])
        4.0
    """
    if network is not None:
        K = covariance.empirical_kernel(K, network)
    (K,), _ = arrays.tensors(K=K)
    checks.matrix("K", K)
    checks.matrix("K", K, columns=len(K))
    K = K.detach()
    rounding = len(K) * torch.finfo(K.dtype).eps
    if float((K - K.T).abs().max()) > 100 * rounding * float(K.abs().max()):
        checks.fail("K", "a symmetric matrix", "an asymmetric one", "pass a kernel J J^T, or use singular_values(J)")
    values = torch.linalg.eigvalsh(K)
    least, largest = float(values[0]), float(values[-1])
    floor = rounding * float(values.abs().max())
    if least < -100 * floor:
        checks.fail("K", "no negative eigenvalue", f"{least:.3g}", "pass a kernel J J^T, or use singular_values(J)")
    return largest / least if least > floor else math.inf


def paper_condition(C: Array, activation: str | Activation) -> float:
    """kappa(C) = sqrt(d/K) ||C||_op / lambda(C) of K centres (K, d); infinite where lambda(C) is 0 to rounding.

    Cf. Li, Soltanolkotabi & Oymak (2020). It differs from `condition_number` of the neural covariance.

    Raises:
        InvalidInput: wrong shape, NaN, unknown activation.
    """
    (C,), _ = arrays.tensors(C=C)
    C = C.detach().double()
    values = torch.linalg.eigvalsh(covariance.neural_covariance(C, activation))
    least, floor = float(values[0]), len(C) * torch.finfo(C.dtype).eps * float(values[-1])
    return math.sqrt(C.shape[1] / len(C)) * operator_norm(C) / least if least > floor else math.inf


def split(
    J: Array, network: torch.nn.Module | None = None, *, cut: float | None = None, rank: int | None = None
) -> Split:
    """Information and nuisance space of a Jacobian J (n, p), or of a kernel K (n, n), which has the same ones.

    Args:
        J: the matrix; or a batch of inputs, with `network`.
        network: any torch.nn.Module.
        cut: singular values of the matrix above it count as information.
        rank: how many do. With neither, the largest ratio of neighbours decides, values at the level of rounding
            counting as that level.

    Raises:
        InvalidInput: both cut and rank, a rank beyond n, a zero matrix without either.

    Example:
        >>> split([[5.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 0.1]]).rank
        2
    """
    J, back = _explicit(J, network)
    if cut is not None and rank is not None:
        checks.fail("split", "cut or rank", "both", "leave one out")
    n = len(J)
    compressed = _compressed(J)
    basis, values, _ = torch.linalg.svd(compressed, full_matrices=compressed.shape[1] < n)
    values = torch.cat([values, values.new_zeros(n - len(values))])
    if rank is not None:
        rank = checks.integer("rank", rank, minimum=0, maximum=n)
    elif cut is not None:
        rank = int((values > checks.number("cut", cut, low=0)).sum())
    else:
        rank = _largest_gap(values, max(J.shape))
    return Split(back(values), back(basis[:, :rank]), back(basis[:, rank:]), rank)


def support_projection(r: Array, clusters: Array) -> Array:
    """Pi_+ r: each entry replaced by the mean of its cluster, column by column. O(n), no dense projector.

    Args:
        r: a vector (n,) or columns (n, m).
        clusters: the cluster of each example, (n,), integers.

    Returns:
        The shape and kind of r.

    Raises:
        InvalidInput: wrong lengths, NaN, clusters that are not whole numbers.

    Example:
        >>> support_projection([1.0, 3.0, 5.0], [0, 0, 1])
        array([2., 2., 5.])
    """
    r, means, back = _cluster_means(r, clusters)
    return back(means)


def nuisance_projection(r: Array, clusters: Array) -> Array:
    """Pi_- r = r - Pi_+ r, the deviation from the cluster means; arguments and errors as for `support_projection`.

    Example:
        >>> nuisance_projection([1.0, 3.0, 5.0], [0, 0, 1])
        array([-1.,  1.,  0.])
    """
    r, means, back = _cluster_means(r, clusters)
    return back(r - means)


def support_basis(clusters: Array) -> Array:
    """Orthonormal basis of S+, (n, K): column l is 1/sqrt(n_l) on cluster l, clusters in increasing order.

    Raises:
        InvalidInput: clusters that are not a vector of whole numbers.

    Example:
        >>> support_basis([7, 7, 7, 7, 9])
        array([[0.5, 0. ],
               [0.5, 0. ],
               [0.5, 0. ],
               [0.5, 0. ],
               [0. , 1. ]])
    """
    (clusters,), back = arrays.tensors(clusters=clusters)
    index, sizes = _membership(clusters)
    indicators = torch.nn.functional.one_hot(index, len(sizes)).to(clusters.dtype)
    return back(indicators / sizes.to(clusters.dtype).sqrt())


def principal_angles(U: Array, V: Array) -> Array:
    """Angles between the column spaces of U (n, p) and V (n, q) in radians, decreasing; any bases will do.

    Accurate at both ends: cosines lose small angles and sines lose right ones, so each angle comes from both; cf.
    Bjorck & Golub (1973). scipy.linalg.subspace_angles picks one of the two and errs by 1e-8 where sizes are mixed.

    Returns:
        min(rank U, rank V) angles, in the kind of U.

    Raises:
        InvalidInput: wrong shapes, an empty space, NaN.

    Example:
        >>> principal_angles([[1.0], [0.0]], [[1.0], [1.0]]) / np.pi
        array([0.25])
    """
    (U, V), back = arrays.tensors(U=U, V=V)
    checks.matrix("U", U)
    checks.matrix("V", V, rows=len(U))
    large, small = sorted((_orthonormal("U", U), _orthonormal("V", V)), key=lambda basis: -basis.shape[1])
    shadow = large.T @ small
    cosines, sines = torch.linalg.svdvals(shadow), torch.linalg.svdvals(small - large @ shadow)
    return back(torch.atan2(sines, cosines.flip(0)))


def _explicit(J: Any, network: torch.nn.Module | None) -> tuple[Tensor, Callable[[Tensor], Array]]:
    if network is not None:
        J = covariance.jacobian(J, network)
    if isinstance(J, operators.Jacobian):
        J = J.matrix()
    (J,), back = arrays.tensors(J=J)
    checks.matrix("J", J)
    return J.detach(), back


def _compressed(J: Tensor) -> Tensor:
    """A square matrix with the singular values and left singular vectors of a wide J (J^T = QR gives J J^T = R^T R)."""
    return torch.linalg.qr(J.T, mode="r").R.T if J.shape[1] > J.shape[0] else J


def _orthonormal(name: str, A: Tensor) -> Tensor:
    basis, values, _ = torch.linalg.svd(A.detach(), full_matrices=False)
    kept = values > max(A.shape) * torch.finfo(A.dtype).eps * values[0]
    if not kept.any():
        checks.fail(name, "a nonzero matrix", "zeros", "give a basis of the space")
    return basis[:, kept]


def _largest_gap(values: Tensor, size: int) -> int:
    floor = size * torch.finfo(values.dtype).eps * values[0]
    if floor == 0:
        checks.fail("split", "a nonzero matrix", "zeros", "give rank= or cut=")
    values = values.clamp(min=float(floor))
    return int(torch.argmax(values[:-1] / values[1:])) + 1 if len(values) > 1 else 1


def _membership(clusters: Tensor) -> tuple[Tensor, Tensor]:
    checks.vector("clusters", clusters)
    if not torch.equal(clusters, clusters.round()):
        checks.fail("clusters", "whole numbers", "fractions", "give each example the number of its cluster")
    _, index, sizes = torch.unique(clusters, return_inverse=True, return_counts=True)
    return index, sizes


def _cluster_means(r: Array, clusters: Array) -> tuple[Tensor, Tensor, Callable[[Tensor], Array]]:
    (r, clusters), back = arrays.tensors(r=r, clusters=clusters)
    index, sizes = _membership(clusters)
    if r.ndim not in (1, 2) or len(r) != len(clusters):
        wanted = f"shape ({len(clusters)},) or ({len(clusters)}, m)"
        checks.fail("r", wanted, f"shape {tuple(r.shape)}", "one entry, or one row, per example")
    columns = r.reshape(len(r), -1)
    sums = columns.new_zeros(len(sizes), columns.shape[1]).index_add(0, index, columns)
    return r, (sums / sizes[:, None])[index].reshape(r.shape), back
