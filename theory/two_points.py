"""Two close inputs with opposite labels: the smallest instance of overfitting, fitted exactly.

A network that tells apart two inputs at distance eps0 must be steep between them, so its weights must travel about
1/eps0 (claim C6). `fit` produces such networks by Gauss-Newton, in a few steps where gradient descent takes eps0^-2.

Only the span of the inputs matters, exactly. The outputs depend on W through W x_i alone, and row i of the Jacobian is
(v * phi'(W x_i)) (x) x_i: gradient descent, Gauss-Newton and the straight line to the nearest interpolant all move W by
matrices whose rows lie in span{x_i}. With an orthonormal basis Q of the span, W and its coordinates W Q therefore give
the same outputs, the same W - W0 and the same W0 z for differences z of inputs. Standard normal W0 has standard normal
coordinates, so `fit` draws those and works in two dimensions, whatever the dimension. (||W||_op can only shrink.)
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from theory import arrays, checks, covariance
from theory.activations import Activation
from theory.arrays import Array
from theory.networks import TwoLayer

_SHORTEST = 2.0**-20  # share of a Gauss-Newton step below which the fit is given up


class NotInterpolated(RuntimeError):
    """Gauss-Newton did not reach the tolerance; the message says how near it came."""


@dataclass(frozen=True)
class TwoPointFit:
    """A network before and after it was fitted to two points.

    Attributes:
        network0: at W0, in coordinates of the two inputs' span.
        network: the same network fitted.
        X: the inputs in these coordinates, unit rows, (2, 2).
        y: their labels, (2,).
        separation: ||x2 - x1|| as asked for.
        seed: of W0.
    """

    network0: TwoLayer = field(repr=False)
    network: TwoLayer = field(repr=False)
    X: Float[Tensor, "2 2"] = field(repr=False)
    y: Float[Tensor, "2"] = field(repr=False)
    separation: float
    seed: int

    @property
    def error(self) -> float:
        """max_i |f(W, x_i) - y_i|."""
        with torch.no_grad():
            return float((self.network(self.X) - self.y).abs().max())

    @property
    def distance(self) -> float:
        """||W - W0||_F."""
        return float((self.network.W - self.network0.W).detach().double().norm())


def pair(separation: float, dimension: int = 2) -> Float[Tensor, "2 d"]:
    """Two unit vectors at the given distance, mirror images of each other in the first axis, float64.

    Raises:
        InvalidInput: separation outside (0, 2], or fewer than two dimensions.

    Example:
        >>> pair(1.2)
        tensor([[ 0.8000, -0.6000],
                [ 0.8000,  0.6000]], dtype=torch.float64)
    """
    half = checks.number("separation", separation, 0, 2, open_low=True) / 2
    X = torch.zeros(2, checks.integer("dimension", dimension, minimum=2), dtype=torch.float64)
    X[:, 0] = math.sqrt((1 - half) * (1 + half))
    X[0, 1], X[1, 1] = -half, half
    return X


def fit(
    activation: str | Activation,
    separation: float,
    *,
    width: int = 16384,
    paired: bool = True,
    labels: tuple[float, float] = (-1.0, 1.0),
    tolerance: float = 1e-3,
    seed: int = 0,
) -> TwoPointFit:
    """Draw a network and fit it to `labels` on two unit inputs at distance `separation`.

    Args:
        activation: a name or an `Activation`.
        separation: eps0 in (0, 2].
        width: k, even.
        paired: start at f(W0) = 0.
        labels: y1, y2.
        tolerance: largest |f(W, x_i) - y_i| accepted.
        seed: of W0; the same for every separation.

    Raises:
        InvalidInput: separation or width out of range, unknown activation.
        NotInterpolated: the tolerance was not reached, e.g. by a narrow network with a bounded activation.

    Example:
        >>> trained = fit("tanh", 0.5, width=256)
        >>> trained.error <= 1e-3, trained.network0(trained.X).tolist()
        (True, [0.0, 0.0])
    """
    X = pair(separation)
    network0 = TwoLayer.initialise(width, 2, activation, paired=paired, seed=seed)
    y = torch.tensor(labels, dtype=torch.float64)
    return TwoPointFit(network0, interpolate(network0, X, y, tolerance=tolerance), X, y, float(separation), seed)


def fits(
    activation: str | Activation, separations: Iterable[float], *, width: int, seeds: Iterable[int], paired: bool = True
) -> list[TwoPointFit]:
    """`fit` for every seed (slowest) and separation (fastest), with labels -1 and +1."""
    separations = list(separations)
    return [fit(activation, apart, width=width, seed=s, paired=paired) for s in seeds for apart in separations]


def interpolate(network: TwoLayer, X: Array, y: Array, *, tolerance: float = 1e-3, most_steps: int = 200) -> TwoLayer:
    """Fit n inputs by Gauss-Newton: each step is the shortest that would fit exactly if the network were linear.

    Steps that do not lower the residual are halved. Computed in float64.

    Args:
        network: where to start; it is not modified.
        X: inputs (n, d), linearly independent Jacobian rows.
        y: labels (n,).
        tolerance: largest |f(W, x_i) - y_i| accepted, > 0.
        most_steps: number of steps after which to give up.

    Returns:
        The network with W - W0 in the span of the inputs.

    Raises:
        InvalidInput: wrong shapes, NaN, more inputs than weights.
        NotInterpolated: the tolerance was not reached.

    Example:
        >>> net = TwoLayer.initialise(64, 3, "erf", paired=True)
        >>> fitted = interpolate(net, [[1.0, 0.0, 0.0], [0.8, 0.6, 0.0]], [-0.5, 0.5])
        >>> bool(abs(fitted([[0.8, 0.6, 0.0]]) - 0.5)[0] <= 1e-3)
        True
    """
    tolerance = checks.number("tolerance", tolerance, low=0, open_low=True)
    most_steps = checks.integer("most_steps", most_steps, minimum=1)
    small, X, basis = restrict(network, X)
    (X, y), _ = arrays.tensors(X=X, y=y)
    checks.vector("y", y, length=len(X))
    if len(X) > small.W.numel():
        checks.fail("inputs", f"at most {small.W.numel()}, one per weight", len(X), "widen the network")
    start = small.W.detach()
    with torch.no_grad():
        for _ in range(most_steps):
            residual = y - small(X)
            if float(residual.abs().max()) <= tolerance:
                return network.at(network.W.detach() + ((small.W - start) @ basis.T).to(network.W.dtype))
            shorter = _shorter(small, X, y, residual)
            if shorter is None:
                break
            small = shorter
        left = float((y - small(X)).abs().max())
    raise NotInterpolated(
        f"interpolation: expected |f - y| <= {tolerance:g} within {most_steps} Gauss-Newton steps, got {left:.3g}; "
        "widen the network or move the inputs apart"
    )


def restrict(network: TwoLayer, X: Array) -> tuple[TwoLayer, Float[Tensor, "n r"], Float[Tensor, "d r"]]:
    """The network and the inputs in an orthonormal basis of the inputs' span (r <= min(n, d)), float64.

    Outputs, W - W0 along the span and W0 z for differences z of inputs stay the same; see the module's text.

    Returns:
        The network on R^r with weights W Q, the coordinates X Q, and the basis Q.

    Raises:
        InvalidInput: wrong shape, NaN, only zero inputs.

    Example:
        >>> net = TwoLayer.initialise(8, 5, "tanh")
        >>> small, coordinates, _ = restrict(net, [[1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0, 0.0]])
        >>> small.dimension
        2
    """
    (W, v, X), _ = arrays.tensors(W=network.W, v=network.v, X=X)
    checks.matrix("X", X, columns=network.dimension)
    X, W, v = X.detach().double(), W.detach().double(), v.double()
    basis = torch.eye(network.dimension).to(X)  # fewer dimensions than inputs: nothing to gain
    if len(X) < network.dimension:
        _, values, right = torch.linalg.svd(X, full_matrices=False)
        basis = right[values > values[0] * max(X.shape) * torch.finfo(X.dtype).eps].T
    if basis.shape[1] == 0:
        checks.fail("X", "a nonzero input", "only zeros", "pass the inputs to fit")
    return TwoLayer(W @ basis, v, network.activation, network.paired), X @ basis, basis


def _shorter(network: TwoLayer, X: Tensor, y: Tensor, residual: Tensor) -> TwoLayer | None:
    """One Gauss-Newton step, halved until it lowers the residual; None if none does."""
    # J^T = QR: the shortest solution of J step = residual is Q R^-T residual. J J^T would square the condition number.
    Q, R = torch.linalg.qr(covariance.jacobian(X, network).explicit().T)
    step = Q @ torch.linalg.solve_triangular(R.T, residual[:, None], upper=False)
    if not bool(step.isfinite().all()):
        return None
    share, step = 1.0, step.reshape(network.W.shape)
    while share >= _SHORTEST:
        moved = network.at(network.W.detach() + share * step)
        if float((y - moved(X)).norm()) <= (1 - share / 10) * float(residual.norm()):
            return moved
        share /= 2
    return None
