"""Overfitting must travel: how far weights must lie from W0 to tell neighbours apart; claim C6."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from theory import arrays, checks
from theory.arrays import Array
from theory.early_stopping.start import two_layer
from theory.networks import TwoLayer


@dataclass(frozen=True)
class DistanceBounds:
    """Lower bounds on how far weights lie from W0, from how far they tear neighbours apart; claim C6. 0 says nothing.

    Attributes:
        quadratic: on the distance: the root of A D^2 + B D = ||b||.
        linear: on the distance: ||b|| / B', never below `quadratic` for a single pair of unit vectors.
        slope: on the distance: norm - ||W0 Z^T||_F / ||Z||_op.
        norm: on ||W|| itself: ||gaps|| / (Gamma1 ||v||_2 ||Z||_op).
    """

    quadratic: float
    linear: float
    slope: float
    norm: float

    @property
    def largest(self) -> float:
        """The best of the three bounds on the distance."""
        return max(self.quadratic, self.linear, self.slope)


def distance_bound(network: TwoLayer, x1: Array, x2: Array, gap: float) -> DistanceBounds:
    """Bounds on ||W - W0||_op (so on the Frobenius norm too) for weights with f(W, x2) - f(W, x1) = gap; claim C6.

    Args:
        network: at W0. For an activation with a kink only `slope` and `norm` say something.
        x1: an input, (d,), of any norm.
        x2: another input, (d,), other than x1.
        gap: f(W, x2) - f(W, x1), for an exact fit the difference of the labels.

    Raises:
        InvalidInput: wrong shapes, NaN, equal inputs.

    Example:
        >>> net = TwoLayer.initialise(4, 2, "tanh", paired=True)
        >>> round(distance_bound(net, [1.0, 0.0], [0.8, 0.6], 2.0).norm, 6)  # 2 / ||x2 - x1||
        3.162278
    """
    (x1, x2), _ = arrays.tensors(x1=x1, x2=x2)
    return pair_distance_bounds(network, x1[None], x2[None], [checks.number("gap", gap)])


def pair_distance_bounds(network: TwoLayer, X1: Array, X2: Array, gaps: Array) -> DistanceBounds:
    """Bounds on ||W - W0||_F for weights with f(W, X2) - f(W, X1) = gaps on s pairs at once; claim C6.

    They grow as sqrt(s) for spread differences Z = X2 - X1, not for parallel ones. With z_i the rows of Z, h0 the gaps
    at W0 and b = gaps - h0, L1 = Gamma1 ||v||_2 and L2 = Gamma2 ||v||_inf:
    A = L2 ||Z||_op max||x1_i|| / 2, B = L1 ||Z||_op + L2 max||W0 z_i|| ||X1||_op by integrating along W0 -> W, and
    B' = L1 ||Z||_op + L2 max||W0 z_i|| (||X1||_op + ||X2||_op) / 2 by integrating along x1 -> x2.

    Args:
        network: at W0.
        X1: first members, (s, d).
        X2: second members, (s, d).
        gaps: differences of the outputs, (s,).

    Raises:
        InvalidInput: wrong shapes, NaN, only equal pairs.
    """
    two_layer(network)
    (X1, X2, gaps), _ = arrays.tensors(X1=X1, X2=X2, gaps=gaps)
    X1, X2, gaps = X1.double(), X2.double(), gaps.double()
    checks.matrix("first members", X1, columns=network.dimension)
    checks.matrix("second members", X2, rows=len(X1), columns=network.dimension)
    checks.vector("gaps", gaps, length=len(X1))
    Z, W0, v = X2 - X1, network.W.detach().double(), network.v.double()
    spread = _norm(Z)
    if spread == 0:
        checks.fail("pairs", "two different inputs", "equal ones", "no weights can tell equal inputs apart")
    with torch.no_grad():
        b = float((gaps - (network(X2) - network(X1))).norm())
    L1, L2 = network.activation.gamma1 * float(v.norm()), network.activation.gamma2 * float(v.abs().max())
    moved = Z @ W0.T
    norm = float(gaps.norm()) / (L1 * spread)
    slope = max(0.0, norm - float(moved.norm()) / spread)
    if not math.isfinite(L2):
        return DistanceBounds(0.0, 0.0, slope, norm)
    turn = L2 * float(moved.norm(dim=1).max())
    A = L2 * spread * float(X1.norm(dim=1).max()) / 2
    B = L1 * spread + turn * _norm(X1)
    linear = b / (L1 * spread + turn * (_norm(X1) + _norm(X2)) / 2)
    return DistanceBounds(quadratic_root(A, B, b), linear, slope, norm)


def subspace_distance_bound(K0: Array, basis: Array, change: Array, lipschitz: float) -> float:
    """D >= 2b / (e + sqrt(e^2 + 2 L b)): what moving the outputs within a subspace costs; claim C6, projector form.

    Args:
        K0: kernel J J^T at W0, (n, n).
        basis: orthonormal basis of the subspace, (n, r).
        change: f(W) - f(W0), (n,); b is the norm of its projection, e that of the projected Jacobian at W0.
        lipschitz: L of `TwoLayer.lipschitz`, or any other Lipschitz constant of the Jacobian.

    Raises:
        InvalidInput: wrong shapes, NaN, a basis that is not orthonormal.
    """
    (K0, basis, change), _ = arrays.tensors(K0=K0, basis=basis, change=change)
    K0, basis, change = K0.double(), basis.double(), change.double()
    checks.vector("change", change, length=len(K0))
    checks.matrix("basis", basis, rows=len(K0))
    if float((basis.T @ basis - torch.eye(basis.shape[1]).to(basis)).abs().max()) > 1e-8:
        checks.fail("basis", "orthonormal columns", "others", "take the Q of its QR decomposition")
    e = math.sqrt(max(0.0, float(torch.linalg.eigvalsh(basis.T @ K0 @ basis)[-1])))
    return quadratic_root(checks.number("lipschitz", lipschitz, low=0) / 2, e, float((basis.T @ change).norm()))


def quadratic_root(A: float, B: float, b: float) -> float:
    """The D >= 0 with A D^2 + B D = b, for A, B, b >= 0, as 2b / (B + sqrt(B^2 + 4 A b)): no cancellation.

    Raises:
        InvalidInput: a coefficient that is negative or not finite, or A = B = 0 < b.

    Example:
        >>> quadratic_root(1.0, 2.0, 3.0)
        1.0
    """
    A, B, b = (checks.number(name, value, low=0) for name, value in (("A", A), ("B", B), ("b", b)))
    if b > 0 and A == B == 0:
        checks.fail("A and B", "one of them > 0", "both 0", "a constant network cannot move its outputs")
    return 2 * b / (B + math.sqrt(B * B + 4 * A * b)) if b > 0 else 0.0


def _norm(matrix: Tensor) -> float:
    return float(torch.linalg.matrix_norm(matrix.detach().double(), 2))
