"""The Jacobian J of a network's outputs in its weights, its kernel J J^T, and the neural covariance that they tend to.

For f(W, x) = v^T phi(W x) row i of J is (v * phi'(W x_i)) (x) x_i, so that
J J^T = (X X^T) * (phi'(X W^T) diag(v^2) phi'(X W^T)^T), and with |v_j| = 1/sqrt(k) and standard normal W its mean is
the neural covariance Sigma(X) = (X X^T) * E phi'(Xg) phi'(Xg)^T. Cf. Li, Soltanolkotabi & Oymak (2020).
"""

from typing import Any

import torch
from torch import Tensor

from theory import activations, arrays, checks, kernels
from theory.activations import Activation
from theory.arrays import Array
from theory.kernels import CHUNK_BYTES, Precision, Rows, symmetric
from theory.networks import unaltered
from theory.operators import Jacobian, ModuleJacobian, TwoLayerJacobian


def neural_covariance(C: Array, activation: str | Activation) -> Array:
    """Sigma(C) = (C C^T) * E phi'(Cg) phi'(Cg)^T for standard normal g, computed in float64.

    Args:
        C: cluster centres or inputs (n, d), of any norm.
        activation: a name or an `Activation`.

    Returns:
        (n, n), symmetric, in the kind of C.

    Raises:
        InvalidInput: wrong shape, NaN, unknown activation.

    Example:
        >>> neural_covariance([[1.0, 0.0], [0.6, 0.8]], "relu")
        array([[0.5       , 0.21144983],
               [0.21144983, 0.5       ]])
    """
    (C,), back = arrays.tensors(C=C)
    return back(_neural_covariance(C, activation).to(C.dtype))


def least_eigenvalue(C: Array, activation: str | Activation) -> float | Tensor:
    """lambda(C), the least eigenvalue of the neural covariance of C (n, d); its rounding error is about 1e-16 n.

    Zero means that the wide network cannot tell the centres apart, e.g. d + 1 antipodal pairs under ReLU.

    Raises:
        InvalidInput: wrong shape, NaN, unknown activation.

    Example:
        >>> least_eigenvalue([[1.0, 0.0], [0.0, 1.0]], "relu")
        0.5
    """
    (C,), back = arrays.tensors(C=C)
    return back(torch.linalg.eigvalsh(_neural_covariance(C, activation))[0].to(C.dtype))


def empirical_kernel(
    X: Array,
    W: Array | torch.nn.Module | Rows,
    v: Array | None = None,
    activation: str | Activation | None = None,
    *,
    other: Array | None = None,
    precision: Precision = "exact",
    chunk_bytes: int = CHUNK_BYTES,
) -> Array:
    """K = J J^T, the empirical neural tangent kernel, as `empirical_kernel(X, W, v, activation)` or `(X, network)`.

    Beside its arguments it needs memory for K and one chunk: a two-layer network is streamed over its width
    (`theory.kernels`), any other module over the examples, so neither phi' (n, k) nor J (n, k d) is ever whole.

    Args:
        X: inputs (n, d), or (n, ...) as the module wants them.
        W: hidden weights (k, d), any strides; `theory.kernels.Rows`, standard normal rows that are drawn when they are
            needed and never stored; or a torch.nn.Module with outputs (n,) or (n, outputs).
        v: output weights (k,); left out with a module, and with `Rows` if all are 1/sqrt(k).
        activation: a name or an `Activation`; left out with a module.
        other: a second batch X' (m, ...), for the cross-kernel K(X, X') = J(X) J(X')^T.
        precision: "exact", or "fast": on a GPU smooth activations then err by about 1e-5 instead of 1e-7.
        chunk_bytes: about the memory of one chunk.

    Returns:
        (n, n), or (n outputs, n outputs) with the outputs of one example side by side; symmetric, in the kind of X.
        With `other` (n, m), or (n outputs, m outputs).

    Raises:
        InvalidInput: wrong shapes, NaN, mixed devices, or a module that mixes or randomises the examples of a batch.

    Example:
        >>> empirical_kernel([[1.0, 0.0], [0.6, 0.8]], [[1.0, 1.0]], [2.0], "relu")
        array([[4. , 2.4],
               [2.4, 4. ]])
        >>> empirical_kernel([[1.0]], Rows(width=10**6, dimension=1, seed=0), activation="erf")  # E phi'(g)^2 = .569
        array([[0.569]])
    """
    (X, other), back = arrays.tensors(X=X, other=other)
    if isinstance(W, Rows):
        (X, v), _ = arrays.tensors(X=X, v=v)
        checks.matrix("X", X, columns=W.dimension)
        if v is not None:
            checks.vector("v", v, length=len(W))
        if activation is None:
            checks.fail("activation", "a name or an Activation", "none", "rows alone are no network")
        activation = activations.get(activation)
        if other is not None:
            checks.matrix("other", other, columns=W.dimension)
        return back(kernels.gram(X, W, v, activation, other, precision=precision, chunk_bytes=chunk_bytes))
    operator = _jacobian(X, W, v, activation, chunk_bytes, copy=False)
    if other is not None and other.shape[1:] != X.shape[1:]:
        wanted = f"examples of shape {tuple(X.shape[1:])}, like those of X"
        checks.fail("other", wanted, f"shape {tuple(other.shape)}", "one entry of the first axis per example")
    return back(operator.kernel(other, precision))


def jacobian(
    X: Array,
    W: Array | torch.nn.Module,
    v: Array | None = None,
    activation: str | Activation | None = None,
    *,
    chunk_bytes: int = CHUNK_BYTES,
) -> Jacobian:
    """J, the derivative of the outputs in the weights, as `jacobian(X, W, v, activation)` or `jacobian(X, network)`.

    Arguments, order of rows and errors as for `empirical_kernel`; the weights are copied, so later training does not
    change J. For a two-layer network J.reshape(n, k, d)[i, j] = v_j phi'(<w_j, x_i>) x_i; for a module the columns are
    its trainable parameters, flattened, in the order of `named_parameters`.

    Returns:
        A `Jacobian` of shape (n, k d): a scipy LinearOperator, explicit on demand.

    Example:
        >>> import numpy as np
        >>> J = jacobian([[1.0, 2.0]], [[1.0, 1.0], [-1.0, 0.0]], [3.0, 3.0], "relu")
        >>> J.matrix(), J @ np.ones(4)
        (array([[3., 6., 0., 0.]]), array([9.]))
    """
    return _jacobian(X, W, v, activation, chunk_bytes, copy=True)


def _jacobian(X: Array, W: Any, v: Any, activation: Any, chunk_bytes: int, copy: bool) -> Jacobian:
    if isinstance(W, torch.nn.Module):
        if v is not None or activation is not None:
            checks.fail("arguments", "jacobian(X, network)", "a network and v or activation", "leave v, activation out")
        if not unaltered(W):
            return _module_jacobian(X, W, chunk_bytes, copy)
        W, v, activation = W.W, W.v, W.activation
    if v is None or activation is None:
        checks.fail("arguments", "(X, W, v, activation)", "no v or no activation", "pass both, or (X, network)")
    activation = activations.get(activation)
    (X, W, v), back = arrays.tensors(X=X, W=W, v=v)
    checks.matrix("X", X)
    checks.matrix("W", W, columns=X.shape[1])
    if v.shape != W.shape[:1]:
        checks.fail("v", f"shape ({len(W)},)", f"shape {tuple(v.shape)}", "one output weight per row of W")
    X, W, v = (tensor.detach().clone() if copy else tensor.detach() for tensor in (X, W, v))
    return TwoLayerJacobian(X, W, v, activation, back, chunk_bytes)


def _module_jacobian(X: Array, module: torch.nn.Module, chunk_bytes: int, copy: bool) -> Jacobian:
    (X,), back = arrays.tensors(X=X)
    if 0 in X.shape or X.ndim == 0:
        checks.fail("X", "at least one example", f"shape {tuple(X.shape)}", "one entry of the first axis per example")
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    if not weights:
        checks.fail("module", "trainable parameters", "none", "set requires_grad on those to differentiate in")
    if weights[0].device != X.device:
        checks.fail("module", f"parameters on {X.device}, where X is", f"on {weights[0].device}", "move one with .to()")
    for layer in module.modules():
        mixes = isinstance(layer, torch.nn.modules.batchnorm._BatchNorm) and (
            layer.training or layer.running_mean is None
        )
        if mixes or (isinstance(layer, torch.nn.modules.dropout._DropoutNd) and layer.training):
            got, remedy = f"{type(layer).__name__} in training mode", "call module.eval(), or use another normalisation"
            checks.fail("module", "outputs that depend on one example each", got, remedy)
    X = X.detach().clone() if copy else X.detach()
    return ModuleJacobian(X, module, back, chunk_bytes, copy)


def _neural_covariance(C: Tensor, activation: str | Activation) -> Tensor:
    checks.matrix("C", C)
    C = C.detach().double()
    return symmetric((C @ C.T).mul_(activations.dual_kernel(C, activation=activation)))
