"""Spectra of Jacobians and kernels: conditioning, information and nuisance space, and the support of the clusters.

The information space of a Jacobian is spanned by the left singular vectors above a cut, the nuisance space by the rest.
The support subspace S+ holds the vectors that are constant on clusters, S- is its orthogonal complement; with perfect
clusters the range of J lies in S+. Cf. Li, Soltanolkotabi & Oymak (2020); Oymak, Fabian, Li & Soltanolkotabi (2019).

A matrix argument J may be an array, a `Jacobian`, or, with `network`, a batch of inputs of any torch.nn.Module.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, svds
from torch import Tensor

from theory import arrays, checks, covariance, decomposition, operators, seeding
from theory.activations import Activation
from theory.arrays import Array
from theory.singular import Singular, Split, singular_values, split, svd

__all__ = [
    "Singular",
    "Split",
    "condition_number",
    "nuisance_projection",
    "operator_norm",
    "paper_condition",
    "principal_angles",
    "singular_values",
    "split",
    "support_basis",
    "support_projection",
    "svd",
]

_ROWS = 4096  # beyond, eigenvalues of J J^T cost more than a few dozen products with J


def operator_norm(A: Array, network: torch.nn.Module | None = None) -> float:
    """||A||_op, the largest singular value of a matrix (n, p), from the matrix itself.

    Of a `Jacobian` with at most 4096 rows it comes from J J^T, with a relative error below 1e-9 and nearer 1e-14; of a
    larger one, and of any other scipy LinearOperator, from products alone.

    Raises:
        InvalidInput: wrong shape, NaN.

    Example:
        >>> operator_norm([[3.0, 0.0], [0.0, -4.0]])
        4.0
    """
    if network is not None:
        A = covariance.jacobian(A, network)
    if isinstance(A, operators.Jacobian) and A.shape[0] <= _ROWS:
        matrix = decomposition.read(A, None)
        parts = decomposition.decompose(matrix, lambda parts: parts.accurate(1e-9, 1), vectors=False, insist=False)
        return float(parts.values[0])
    if isinstance(A, LinearOperator):
        if min(A.shape) > 1:
            # the same start each time, so that results repeat; random, so that only A = 0 maps it to 0
            start = seeding.numpy_generator("start of the power method", 0).standard_normal(min(A.shape))
            image = (A.T if A.shape[0] <= A.shape[1] else A) @ start
            return float(svds(A, k=1, v0=start, tol=1e-12, return_singular_vectors=False)[0]) if image.any() else 0.0
        A = A @ np.ones((1, 1)) if A.shape[1] == 1 else A.T @ np.ones((1, 1))  # svds wants two rows and two columns
    return float(decomposition.directly(decomposition.read(A, None), vectors=False).values[0])


def condition_number(K: Array, network: torch.nn.Module | None = None) -> float:
    """lambda_max / lambda_min of a symmetric positive semidefinite matrix (n, n); infinite if singular to rounding.

    With `network`, K is a batch of inputs and the matrix its empirical kernel; the result is then (s_max / s_min)^2 of
    the Jacobian, to 2e-6, and infinite only where that is singular to rounding: up to about 1e28.

    Raises:
        InvalidInput: not square, not symmetric, NaN, or a negative eigenvalue beyond rounding.

    Example:
        >>> condition_number([[2.0, 0.0], [0.0, 0.5]])
        4.0
    """
    if network is not None:
        parts = decomposition.decompose(
            decomposition.read(K, network), lambda parts: parts.accurate(1e-6), vectors=False, insist=False
        )
        largest, least = float(parts.values[0]), float(parts.values[-1])
        return (largest / least) ** 2 if least > parts.floor else math.inf
    (K,), _ = arrays.tensors(K=K)
    checks.matrix("K", K)
    checks.matrix("K", K, columns=len(K))
    K = K.detach()
    rounding = len(K) * torch.finfo(K.dtype).eps
    if float((K - K.T).abs().max()) > 100 * rounding * float(K.abs().max()):
        checks.fail("K", "a symmetric matrix", "an asymmetric one", "pass a kernel J J^T, or use singular_values(J)")
    values = decomposition.eigenvalues(K)
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
    values = decomposition.eigenvalues(covariance.neural_covariance(C, activation))
    least, floor = float(values[0]), len(C) * torch.finfo(C.dtype).eps * float(values[-1])
    return math.sqrt(C.shape[1] / len(C)) * operator_norm(C) / least if least > floor else math.inf


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


def _orthonormal(name: str, A: Tensor) -> Tensor:
    basis, values, _ = torch.linalg.svd(A.detach(), full_matrices=False)
    kept = values > max(A.shape) * torch.finfo(A.dtype).eps * values[0]
    if not kept.any():
        checks.fail(name, "a nonzero matrix", "zeros", "give a basis of the space")
    return basis[:, kept]


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
