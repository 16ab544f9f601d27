"""The fast path of the empirical kernel K(X, Y) = (X Y^T) * S, S_il = sum_j v_j^2 phi'(<w_j, x_i>) phi'(<w_j, y_l>).

Three paths compute the slope Gram S: `reference` (plain torch, any device, the oracle), `cpu` (bit patterns and
popcount for rectifiers, half-work products streamed over the width otherwise; compiled by numba where it is installed)
and `gpu` (Triton). `gram` chooses; `theory.covariance.empirical_kernel` is the door that users want.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from theory import checks
from theory.activations import Activation
from theory.kernels.rows import Rows

__all__ = ["CHUNK_BYTES", "Path", "Precision", "Rows", "choose", "gram", "paths", "symmetric"]

CHUNK_BYTES = 2**26
_SMALL = 2**24  # multiply-adds that plain torch does in about a millisecond: not worth compiling or launching anything

Name = Literal["reference", "cpu", "gpu"]
Precision = Literal["exact", "fast"]


def gram(
    X: Tensor,
    W: Tensor | Rows,
    v: Tensor | None,
    activation: Activation,
    Y: Tensor | None = None,
    *,
    path: Name | None = None,
    precision: Precision = "exact",
    chunk_bytes: int = CHUNK_BYTES,
) -> Tensor:
    """K(X, Y) of f(W, x) = v^T phi(W x), streamed over the width: memory O(n m + chunk), whatever the width.

    Args:
        X: inputs, (n, d), float32 or float64.
        W: hidden weights, (k, d), any strides; or `Rows`, drawn on the fly and never stored.
        v: output weights, (k,); None: all 1/sqrt(k).
        activation: an `Activation`.
        Y: other inputs, (m, d); None: X.
        path: "reference", "cpu" or "gpu"; None: what `choose` says.
        precision: "exact", or "fast": on a GPU smooth activations then err by about 1e-5 instead of 1e-7.
        chunk_bytes: about the memory of one chunk.

    Returns:
        (n, m) in the dtype and on the device of X; exactly symmetric when Y is left out.

    Raises:
        InvalidInput: an unknown path or precision, or a path that this machine or device does not have.

    Example:
        >>> from theory import activations
        >>> rows = Rows(width=10**5, dimension=3, seed=0)
        >>> K = gram(torch.eye(3, dtype=torch.float64), rows, None, activations.get("relu"))
        >>> bool((K - torch.eye(3) / 2).abs().max() < 0.02)
        True
    """
    checks.choice("precision", precision, ("exact", "fast"))
    chosen = choose(X, W, activation, Y) if path is None else checks.choice("path", path, ("reference", "cpu", "gpu"))
    X, W, v, Y = _alike(X, W, v, Y)
    weights = 1 / len(W) if v is None else _shared(v.double().square(), X.dtype)
    chunk_bytes = checks.integer("chunk_bytes", chunk_bytes, minimum=1)
    if chosen == "gpu":
        from theory.kernels import gpu, gpu_gram

        gpu.require(X.device)
        slopes = gpu_gram.slope_gram(X, W, weights, activation, Y, chunk_bytes=chunk_bytes, precision=precision)
    elif chosen == "cpu":
        from theory.kernels import cpu

        if X.device.type != "cpu":
            checks.fail(
                "path", "one for tensors on " + str(X.device), "cpu", "leave path out, or move them with .cpu()"
            )
        slopes = cpu.slope_gram(X, W, weights, activation, Y, chunk_bytes=chunk_bytes, precision=precision)
    else:
        from theory.kernels import reference

        slopes = reference.slope_gram(X, W, weights, activation, Y, chunk_bytes=chunk_bytes, precision=precision)
    inner = X.double() @ (X if Y is None else Y).double().T
    kernel = slopes.mul_(inner)
    return (symmetric(kernel) if Y is None else kernel).to(X.dtype)


def choose(X: Tensor, W: Tensor | Rows, activation: Activation, Y: Tensor | None = None) -> Name:
    """The path that `gram` takes: by device first, then plain torch for what is too small to be worth more."""
    if X.device.type == "cuda":
        from theory.kernels import gpu

        return "gpu" if gpu.available(X.device) else "reference"
    work = len(X) * len(X if Y is None else Y) * len(W)
    return "cpu" if X.device.type == "cpu" and work > _SMALL else "reference"


class Path(NamedTuple):
    """One way to compute: its name, whether this machine has it, and what it is or what it lacks."""

    name: Name
    available: bool
    note: str


def paths() -> tuple[Path, ...]:
    """The three paths on this machine.

    Example:
        >>> [path.name for path in paths() if path.name != "gpu"]
        ['reference', 'cpu']
    """
    from theory.kernels import compiling, gpu

    found = compiling.available()
    cpu = "compiled by numba" if found else 'torch and BLAS alone; pip install "theorycheck[fast]" for compiled kernels'
    lacking = gpu.why_not(torch.device("cuda")) if torch.cuda.is_available() else "no CUDA device"
    return (
        Path("reference", True, "plain torch, any device"),
        Path("cpu", True, cpu),
        Path("gpu", lacking is None, lacking or torch.cuda.get_device_name()),
    )


def symmetric(K: Tensor) -> Tensor:
    """The mean of a square K and its transpose: matrix products round the two triangles differently."""
    return (K + K.T).mul_(0.5)


def _alike(
    X: Tensor, W: Tensor | Rows, v: Tensor | None, Y: Tensor | None
) -> tuple[Tensor, Tensor | Rows, Tensor | None, Tensor | None]:
    """The arguments without gradients, refused if compiled code would read past their ends or misread their numbers."""
    X, v, Y = X.detach(), None if v is None else v.detach(), None if Y is None else Y.detach()
    W = W.detach() if isinstance(W, Tensor) else W
    checks.matrix("X", X, columns=W.shape[1])
    if v is not None:
        checks.vector("v", v, length=len(W))
    if Y is not None:
        checks.matrix("Y", Y, columns=W.shape[1])
    if X.dtype not in (torch.float32, torch.float64):
        checks.fail("X", "float32 or float64", str(X.dtype), "convert it with .double()")
    for name, tensor in (("W", W), ("v", v), ("Y", Y)):
        if isinstance(tensor, Tensor) and (tensor.dtype, tensor.device) != (X.dtype, X.device):
            got, remedy = f"{tensor.dtype} on {tensor.device}", "convert one with .to()"
            checks.fail(name, f"{X.dtype} on {X.device}, like X", got, remedy)
    return X, W, v, Y


def _shared(weights: Tensor, dtype: torch.dtype) -> Tensor | float:
    """One number if all weights are that number: then patterns can be counted, and no product needs weighting."""
    return float(weights[0]) if bool((weights == weights[0]).all()) else weights.to(dtype)
