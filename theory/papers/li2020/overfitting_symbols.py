"""The symbols of C6 measured on a network, a pair (or several) of inputs and any weights, with their rounding errors.

Everything is computed in float64. Outputs carry the worst-case error of their sum over the width, so that a gap of the
size of rounding is never mistaken for one.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theory import arrays, checks, covariance
from theory.arrays import Array
from theory.estimate import Estimate
from theory.networks import TwoLayer

EPSILON = float(np.finfo(np.float64).eps)
Measured = dict[str, dict[str, Estimate]]


def measure(network0: TwoLayer, W: Array | TwoLayer, x1: Array, x2: Array, basis: Array | None = None) -> Measured:
    """The symbols in three groups: "pair" (arrays over the s pairs), "subspace" and "pairs".

    Arguments and errors as for `theory.papers.li2020.overfitting.check_overfitting`.
    """
    network0, network, first, second, Q = _read(network0, W, x1, x2, basis)
    W0, moved = network0.W.detach(), network.W.detach() - network0.W.detach()
    inputs, differences = torch.cat([first, second]), second - first
    with torch.no_grad():
        before, after = network0(inputs), network(inputs)
    rounding = output_rounding(network, inputs)
    drift = rounding + output_rounding(network0, inputs)
    if not bool(moved.any()):
        drift = torch.zeros_like(drift)  # the same numbers in, the same rounding out: nothing changed, exactly

    gaps, changes = (_over_pairs(values) for values in (after, after - before))
    gap_errors, change_errors = (_over_pairs(errors, +1) for errors in (rounding, drift))
    lengths, turned = _rows(differences), _rows(differences @ W0.T)
    turned_errors = lengths * float(W0.norm()) * EPSILON * (network0.dimension + 4)  # W0 z may cancel
    v, phi = network0.v, network0.activation
    shared = {
        "G1": Estimate.of(float(phi.gamma1)),
        "G2": Estimate.of(float(phi.gamma2)),
        "v2": Estimate.of(float(v.norm())),
        "vm": Estimate.exact(float(v.abs().max())),
    }
    pair = shared | {
        "D": Estimate.of(_operator(moved)),
        "N": Estimate.of(_operator(network.W.detach())),
        "y": _estimate(gaps, gap_errors),
        "c": _estimate(changes, change_errors),
        "z": _norm(lengths),
        "w": _norm(turned / lengths, turned_errors / lengths),
        "r1": _norm(_rows(first)),
        "r2": _norm(_rows(second)),
    }
    frobenius = shared | {
        "D": Estimate.of(float(moved.norm())),
        "N": Estimate.of(float(network.W.detach().norm())),
    }
    projected = torch.from_numpy(covariance.jacobian(inputs, network0).rmatmat(Q.numpy(force=True)))
    subspace = frobenius | {
        "b": _norm((Q.T @ (after - before)).norm(), drift.norm()),
        "e": _norm(torch.tensor(_operator(projected)), torch.tensor(_product_rounding(network0, inputs))),
        "X": Estimate.of(_operator(inputs)),
        "r1": _norm(_rows(inputs).max()),
    }
    pairs = frobenius | {
        "s": Estimate.exact(len(first)),
        "delta": _norm(gaps.abs().min(), gap_errors.max()),
        "b": _norm(changes.norm(), change_errors.norm()),
        "Z": Estimate.of(_operator(differences)),
        "z": _norm(lengths.max()),
        "w": _norm(turned.max(), turned_errors.max()),
        "X1": Estimate.of(_operator(first)),
        "X2": Estimate.of(_operator(second)),
        "r1": _norm(_rows(first).max()),
    }
    return {"pair": pair, "subspace": subspace, "pairs": pairs}


def output_rounding(network: TwoLayer, X: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """A bound on the float64 rounding error of f(W, x_i), i = 1..n.

    (k + d + 16) eps sum_j |v_j| (|phi(z_ij)| + Gamma1 ||w_j|| ||x_i||): the sum over k units, the inner products over
    d coordinates carried through phi, and a few ulp for phi itself.
    """
    W, v, X, phi = network.W.detach().double(), network.v.abs().double(), X.double(), network.activation
    sizes = phi.phi(X @ W.T).abs() @ v + phi.gamma1 * _rows(X) * float(_rows(W) @ v)
    return (network.width + network.dimension + 16) * EPSILON * sizes


def stack(estimates: Sequence[Estimate]) -> Estimate:
    """Deterministic estimates of one number each as a sweep over them; a single estimate, of any shape, as it is."""
    if len(estimates) == 1:
        return estimates[0]
    if all(isinstance(one.value, int) for one in estimates):
        return Estimate.exact(np.array([one.value for one in estimates], dtype=object))
    low, high = (np.array([float(np.squeeze(one.interval()[end])) for one in estimates]) for end in (0, 1))
    return Estimate.enclosure(low, high, method="float64 computation")


def _read(
    network0: TwoLayer, W: Any, x1: Array, x2: Array, basis: Any
) -> tuple[TwoLayer, TwoLayer, Tensor, Tensor, Tensor]:
    """Both networks, the two halves of the pairs and the basis, checked, in float64."""
    if not isinstance(network0, TwoLayer):
        checks.fail("network0", "a TwoLayer at W0", type(network0).__name__, "C6 needs Gamma1, Gamma2 and v")
    W = W.W.detach() if isinstance(W, TwoLayer) else W
    (W0, v, W, first, second, Q), _ = arrays.tensors(W0=network0.W, v=network0.v, W=W, x1=x1, x2=x2, basis=basis)
    first, second = (points[None] if points.ndim == 1 else points for points in (first, second))
    checks.matrix("x1", first, columns=network0.dimension)
    checks.matrix("x2", second, rows=len(first), columns=network0.dimension)
    checks.matrix("W", W, rows=network0.width, columns=network0.dimension)
    if bool((first == second).all(dim=1).any()):
        checks.fail("pairs", "two different inputs each", "equal ones", "no weights can tell equal inputs apart")
    W0, v, W, first, second = (tensor.detach().double() for tensor in (W0, v, W, first, second))
    if Q is None:
        half = torch.eye(len(first)).to(first) / np.sqrt(2)
        Q = torch.cat([-half, half])
    checks.matrix("basis", Q, rows=2 * len(first))
    Q = Q.detach().double()
    if float((Q.T @ Q - torch.eye(Q.shape[1]).to(Q)).abs().max()) > 1e-8:
        checks.fail("basis", "orthonormal columns", "others", "take the Q of its QR decomposition")
    Q = torch.linalg.qr(Q).Q  # orthonormal to the last bit
    starts, ends = (TwoLayer(weights, v, network0.activation, network0.paired) for weights in (W0, W))
    return starts, ends, first, second, Q


def _product_rounding(network: TwoLayer, X: Float[Tensor, "n d"]) -> float:
    """A bound on the rounding error of ||Q^T J||_op for orthonormal Q: that of phi', and of a product with n terms."""
    phi, v, norms = network.activation, network.v, _rows(network.W.detach())
    curvature = phi.gamma2 if np.isfinite(phi.gamma2) else 0.0  # a kink is out of scope there
    size = phi.gamma1 * float(v.norm()) + curvature * float((v * norms).norm()) * float(_rows(X).max())
    return (len(X) + network.dimension + 16) * EPSILON * size * float(X.norm())


def _over_pairs(values: Float[Tensor, " n"], sign: int = -1) -> Float[Tensor, " s"]:
    """Second members minus (or plus) first members."""
    pairs = len(values) // 2
    return values[pairs:] + sign * values[:pairs]


def _estimate(value: Tensor, error: Tensor | None = None) -> Estimate:
    """A computed number or array; the relative error 1e-12 of every Estimate, plus `error`."""
    numbers = value.numpy(force=True)
    return Estimate.computed(numbers[()], error=_total(numbers, error)[()])


def _norm(value: Tensor, error: Tensor | None = None) -> Estimate:
    """The same for norms, which rounding does not make negative."""
    numbers = value.numpy(force=True)
    errors = _total(numbers, error)
    if (errors <= numbers).all():
        return Estimate.computed(numbers[()], error=errors[()])
    return Estimate.enclosure(np.maximum(numbers - errors, 0.0)[()], (numbers + errors)[()], "float64 computation")


def _total(numbers: np.ndarray, error: Tensor | None) -> np.ndarray:
    return np.asarray(1e-12 * np.abs(numbers) + (0.0 if error is None else error.numpy(force=True)))


def _rows(matrix: Tensor) -> Float[Tensor, " n"]:
    return torch.linalg.vector_norm(matrix, dim=1)


def _operator(matrix: Tensor) -> float:
    """The largest singular value; of a tall or wide matrix through its triangular factor."""
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    return float(torch.linalg.matrix_norm(torch.linalg.qr(tall, mode="r").R, 2))
