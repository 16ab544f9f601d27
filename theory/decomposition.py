"""Singular values and left singular vectors of J from J J^T where its digits suffice, and from J itself otherwise.

J J^T is small and cheap, but it squares the values. Its computed eigenvalues differ from the exact ones by at most
f = eps ((n + 8) lambda_max + m tr(J J^T)): the eigensolver is backward stable (Golub & Van Loan, 8.3; LAPACK Users'
Guide, 4.7), and an entry that takes m roundings of eps errs by m eps |J_i| |J_l|, hence the matrix by m eps tr(J J^T)
(Higham, Accuracy and Stability of Numerical Algorithms, 3.5 and 4.2); m stays small because products are summed in
blocks, where a BLAS may sum an entry in one chain. By Weyl the value s errs by s - sqrt(s^2 - f),
about f/2s, and up to sqrt(f) it is not told from 0. J itself, by Householder QR in a tree of blocks and an SVD of the
triangle, gives every value to (n + 8) eps s_max; what is below that is hidden by J's own rounding.

All of it in float64, whatever the dtype of J. The doors are in `theory.singular` and `theory.spectrum`.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theory import arrays, checks, covariance, operators
from theory.arrays import Array
from theory.kernels import symmetric

Method = Literal["auto", "gram", "direct"]
EPSILON = torch.finfo(torch.float64).eps
EXPLICIT_BYTES = 2**31  # the largest J that is ever formed
_SMALL = 2**24  # multiply-adds: below, J itself takes milliseconds and nothing is to be gained by squaring
_NOTHING = math.sqrt(torch.finfo(torch.float64).tiny)  # smaller values have squares that underflow


@dataclass(frozen=True, eq=False)
class Matrix:
    """J as it was given: an operator in float64 or a tensor (n, p), and what is known of it without computing.

    Attributes:
        J: the operator or tensor.
        back: turns a float64 result into the caller's kind and dtype.
        rank: an upper bound on J's rank: equal inputs have equal rows.
        roundings: of a diagonal entry of J J^T, in units of eps; see the module's text.
    """

    J: Any
    back: Callable[[Tensor], Array]
    rank: int
    roundings: float

    @property
    def shape(self) -> tuple[int, int]:
        """(n, p)."""
        n, p = self.J.shape
        return n, p


@dataclass(frozen=True, eq=False)
class Parts:
    """What `decompose` found, in float64 and padded with zeros to n.

    Attributes:
        values: singular values, decreasing, (n,).
        errors: a bound on the error of each, (n,).
        left: left singular vectors, (n, n) or the leading min(n, p); None if they were not asked for.
        floor: values up to here are not told from 0.
        rounding: what `floor` is for J itself.
        method: "gram" or "direct".
    """

    values: Float[Tensor, " n"]
    errors: Float[Tensor, " n"]
    left: Float[Tensor, "n m"] | None
    floor: float
    rounding: float
    method: str

    def accurate(self, relative: float, count: int | None = None) -> bool:
        """Whether each value, or each of the leading `count`, errs by no more than that or than J itself would."""
        bound = (relative * self.values).clamp(min=max(self.rounding, _NOTHING))
        return bool((self.errors <= bound)[:count].all())


def eigenvalues(K: Tensor) -> Tensor:
    """Eigenvalues of a symmetric matrix, increasing; on the CPU by numpy, whose LAPACK is the faster one off Intel."""
    return torch.linalg.eigvalsh(K) if K.is_cuda else torch.from_numpy(np.linalg.eigvalsh(K.numpy(force=True)))


def eigenvectors(K: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues of a symmetric matrix, increasing, and orthonormal eigenvectors; see `eigenvalues`."""
    if K.is_cuda:
        values, vectors = torch.linalg.eigh(K)
        return values, vectors
    values, vectors = np.linalg.eigh(K.numpy(force=True))
    return torch.from_numpy(values), torch.from_numpy(vectors)


def read(J: Any, network: torch.nn.Module | None) -> Matrix:
    """J as `decompose` takes it.

    Raises:
        InvalidInput: wrong shape, NaN.
    """
    if network is not None:
        J = covariance.jacobian(J, network)
    if isinstance(J, operators.Jacobian):
        inputs, dtype, back = J.X, J.X.dtype, J.back
        distinct = len({row.tobytes() for row in inputs.numpy(force=True)})
        rank = min(*J.shape, distinct * (J.shape[0] // len(inputs)))
        # a two-layer network's kernel is one sum over the units times one over the coordinates
        sums = J.W.shape if isinstance(J, operators.TwoLayerJacobian) else J.shape[1:]
        roundings = sum(_roundings(size) for size in sums)
        return Matrix(_double(J), lambda result: back(result.to(dtype)), rank, roundings)
    (J,), back_ = arrays.tensors(J=J)
    checks.matrix("J", J)
    dtype_ = J.dtype
    return Matrix(J, lambda result: back_(result.to(dtype_)), min(J.shape), _roundings(max(J.shape)))


def decompose(
    matrix: Matrix,
    enough: Callable[[Parts], bool],
    *,
    method: Method = "auto",
    vectors: bool = True,
    thin: bool = False,
    insist: bool = True,
) -> Parts:
    """The Gram matrix's decomposition if it is `enough`, otherwise that of J itself.

    Args:
        matrix: from `read`.
        enough: whether what the Gram matrix tells is enough.
        method: "gram" or "direct" leave no choice.
        vectors: whether left singular vectors are wanted.
        thin: whether the leading min(n, p) of them will do.
        insist: whether to refuse a J that is too large where it is needed; otherwise the Gram matrix has to do.

    Raises:
        InvalidInput: J is too large to be explicit, an unknown method.
    """
    checks.choice("method", method, ("auto", "gram", "direct"))
    small = min(matrix.shape) * math.prod(matrix.shape) < _SMALL
    itself = not isinstance(matrix.J, operators.Jacobian) and (  # what cannot gain by being squared
        (vectors and matrix.shape[0] > matrix.shape[1]) or _is_symmetric(matrix.J)
    )
    parts = None
    if method == "gram" or (method == "auto" and not small and not itself):
        parts = _by_gram(matrix, vectors)
        if method == "gram" or enough(parts):
            return parts
    size = 8 * math.prod(matrix.shape)
    if isinstance(matrix.J, operators.Jacobian) and size > EXPLICIT_BYTES:
        if parts is not None and not insist:
            return parts
        what, remedy = f"explicit Jacobian {matrix.shape}", "ask for less accuracy, or take J J^T's: method='gram'"
        checks.fail(what, f"at most {EXPLICIT_BYTES:.3g} bytes", f"{size:.3g}", remedy)
    return directly(matrix, vectors, thin)


def directly(matrix: Matrix, vectors: bool = True, thin: bool = False) -> Parts:
    """Decompose J itself, however large."""
    J, (n, p) = matrix.J, matrix.shape
    J = J.explicit() if isinstance(J, operators.Jacobian) else J
    left = None
    if _is_symmetric(J):
        values, left = eigenvectors(J.double())
        order = values.abs().argsort(descending=True)
        values, left = values.abs()[order], left[:, order]
    elif not vectors:
        values = torch.linalg.svdvals(_triangle(J.T if p > n else J))
    elif p > n:
        left, values, _ = torch.linalg.svd(_triangle(J.T).T)
    else:
        left, values = torch.linalg.svd(J.double(), full_matrices=not thin).U, torch.linalg.svdvals(_triangle(J))
    values = _padded(values, matrix)
    rounding = _rounding(matrix, float(values[0]))
    errors = torch.full_like(values, rounding)
    errors[matrix.rank :] = 0
    return Parts(values, errors, left, rounding, rounding, "direct")


def adjoint(J: Any, weights: Tensor) -> Tensor:
    """J^T times columns (n, q), in float64, for the J of a `Matrix`."""
    if isinstance(J, operators.Jacobian):
        return J.adjoint_product(weights)
    return torch.cat([part.T.double() @ weights for part in J.split(_block(J.shape[1]), dim=1)])


def _by_gram(matrix: Matrix, vectors: bool) -> Parts:
    J, (n, p) = matrix.J, matrix.shape
    K = J.kernel() if isinstance(J, operators.Jacobian) else _gram(J if vectors or n <= p else J.T)
    trace = float(K.trace())
    if not math.isfinite(trace):
        checks.fail("J J^T", "entries below 1e308", trace, "scale J down, or use method='direct'")
    values, left = eigenvectors(K) if vectors else (eigenvalues(K), None)
    values, left = _padded(values.flip(0), matrix), left if left is None else left.flip(1)
    top = max(0.0, float(values[0]))
    floor = EPSILON * ((len(K) + 8) * top + matrix.roundings * trace) + n * p * math.ulp(0.0)  # and underflow
    roots = values.clamp(min=0).sqrt()
    least, most = ((values + shift).clamp(min=0).sqrt() for shift in (-floor, floor))
    errors = torch.maximum(roots - least, most - roots)
    errors[matrix.rank :] = 0
    return Parts(roots, errors, left, math.sqrt(floor), _rounding(matrix, math.sqrt(top)), "gram")


def _padded(values: Tensor, matrix: Matrix) -> Tensor:
    """The values (decreasing) up to the rank that J can have, then zeros to n."""
    result = values.new_zeros(matrix.shape[0])
    result[: matrix.rank] = values[: matrix.rank]
    return result


def _rounding(matrix: Matrix, top: float) -> float:
    return EPSILON * (min(matrix.shape) + 8) * top


def _roundings(terms: int) -> float:
    """Of a sum in blocks of `_block` terms, in units of eps: half of what any order of summation may take."""
    block = _block(terms)
    return (min(block, terms) + terms / block) / 2


def _block(terms: int) -> int:
    return max(256, math.isqrt(terms))


def _gram(J: Tensor) -> Tensor:
    """J J^T in float64, a block of columns at a time: a plain product may sum one entry in a single chain."""
    K = J.new_zeros(len(J), len(J), dtype=torch.float64)
    for part in J.split(_block(J.shape[1]), dim=1):
        part = part.double()
        if part.is_cuda:
            K += part @ part.T
        else:
            columns = part.numpy(force=True)
            with np.errstate(over="ignore", invalid="ignore"):  # the caller looks at the trace
                K += torch.from_numpy(columns @ columns.T)  # numpy sees the symmetry and does half the work
    return symmetric(K)


def _triangle(A: Tensor) -> Tensor:
    """R of A = QR for a tall A, in float64, by a tree of blocks, cf. Demmel, Grigori, Hoemmen & Langou (2012).

    A column at a time, LAPACK sums over all rows, and rounding errors can grow with their number: a hundredfold at
    16,000 rows. A block also stays in the cache.
    """
    size = max(8 * A.shape[1], 128)
    while len(A) > size:
        A = torch.cat([torch.linalg.qr(part.double(), mode="r").R for part in A.split(size)])
    return torch.linalg.qr(A.double(), mode="r").R


def _is_symmetric(J: Any) -> bool:
    return J.shape[0] == J.shape[1] and torch.equal(J, J.T)


def _double(J: operators.Jacobian) -> Any:
    """The same Jacobian, at the same inputs and weights, evaluated in float64; explicit where a module cannot."""
    if J.X.dtype == torch.float64:
        return J

    def raised(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: raised(entry) for name, entry in value.items()}
        return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value

    twin = copy.copy(J)
    twin.__dict__.update(raised(vars(J)), dtype=np.dtype(np.float64))
    try:
        twin.adjoint_product(twin.X.new_zeros(J.shape[0], 1))
    except RuntimeError:  # a constant of its own in another dtype
        return torch.as_tensor(J.matrix(), device=J.X.device)
    return twin
