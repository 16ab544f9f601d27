"""Activations with what the theory asks of them: Gamma1 = sup|phi'|, Gamma2 = sup|phi''| and the dual kernel of phi'.

The dual kernel of phi' at vectors x, y is E phi'(<x,g>) phi'(<y,g>) for standard normal g; times <x,y> it is the neural
covariance (`theory.covariance`). Closed forms: rectifiers, cf. Cho & Saul (2009); erf, cf. Williams (1997); GELU,
derived. Softplus and tanh have none that is known and use Gauss-Hermite quadrature.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import scipy.special
import torch
from jaxtyping import Float
from torch import Tensor

from theory import arrays, checks
from theory.arrays import Array

Elementwise = Callable[[Tensor], Tensor]
DualKernel = Callable[[Float[Tensor, "n d"], Float[Tensor, "m d"]], Float[Tensor, "n m"]]

_DROPPED_WEIGHT = 1e-17  # total weight of the quadrature nodes left out: below the rounding of float64
_MOST_NODES = 20_000
_CHUNK_BYTES = 2**25


@dataclass(frozen=True)
class Activation:
    """A scalar function, applied to every pre-activation, with the constants that the bounds need.

    Attributes:
        name: what errors and figures call it.
        phi: tensor -> tensor of the same shape, elementwise.
        derivative: phi', likewise, with some value at a kink. Left out: taken by autograd.
        gamma1: sup|phi'| or an upper bound on it, finite, > 0.
        gamma2: sup|phi''| or an upper bound on it, > 0; `math.inf` where phi has a kink.
        dual: closed form (X (n, d), Y (m, d)) -> E phi'(Xg) phi'(Yg)^T (n, m). Left out: quadrature.
        nodes: Gauss-Hermite nodes per axis that the quadrature needs for 1e-12 on unit vectors.
        odd: phi(-z) = -phi(z), so that antipodal centres make the neural covariance singular.
        rectifier: s where phi(z) = max(z, 0) + s min(z, 0), which `theory.kernels` computes by counting; or None.

    Raises:
        InvalidInput: no name, phi or its derivative not callable, a constant not positive.

    Example:
        >>> swish = Activation("swish", lambda z: z * torch.sigmoid(z), gamma1=1.0999, gamma2=0.5)
        >>> swish.derivative(torch.zeros(1))
        tensor([0.5000])
    """

    name: str
    phi: Elementwise
    derivative: Elementwise = None  # type: ignore[assignment]  # None becomes autograd below
    gamma1: float = field(kw_only=True)
    gamma2: float = field(kw_only=True)
    dual: DualKernel | None = field(default=None, kw_only=True)
    nodes: int = field(default=80, kw_only=True)
    odd: bool = field(default=False, kw_only=True)
    rectifier: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            checks.fail("activation name", "a non-empty string", repr(self.name), "name it, for errors and figures")
        given: object = self.derivative
        if given is None:
            object.__setattr__(self, "derivative", functools.partial(_slope, self.phi))
        functions: dict[str, object] = {"phi": self.phi, "derivative": self.derivative}
        for what, function in functions.items():
            if not callable(function):
                checks.fail(f"{self.name}'s {what}", "a function of a tensor", repr(function), "pass a callable")
        if self.gamma2 != math.inf:
            checks.number(f"{self.name}'s gamma2", self.gamma2, low=0.0, open_low=True)
        checks.number(f"{self.name}'s gamma1", self.gamma1, low=0.0, open_low=True)
        checks.integer(f"{self.name}'s nodes", self.nodes, minimum=1)


def get(activation: str | Activation) -> Activation:
    """The activation of that name (see `names`); an `Activation` is returned as it is.

    Raises:
        InvalidInput: unknown name, or a bare function, whose Gamma1 and Gamma2 nobody knows.

    Example:
        >>> get("softplus").gamma2
        0.25
    """
    if isinstance(activation, Activation):
        return activation
    if not isinstance(activation, str) or activation not in _BY_NAME:
        remedy = "or use leaky_relu(slope), or Activation(name, phi, gamma1=..., gamma2=...) for your own"
        checks.fail("activation", "one of " + ", ".join(names()), repr(activation), remedy)
    return _BY_NAME[activation]


def names() -> tuple[str, ...]:
    """The names that `get` knows.

    Example:
        >>> names()
        ('softplus', 'erf', 'tanh', 'gelu', 'relu')
    """
    return tuple(_BY_NAME)


def leaky_relu(slope: float) -> Activation:
    """max(z, 0) + slope min(z, 0); slope 0 is ReLU, -1 is |z|. Gamma1 = max(1, |slope|), Gamma2 infinite.

    Raises:
        InvalidInput: the slope is not a finite number.
    """
    slope = checks.number("slope", slope)
    return Activation(
        f"leaky_relu({slope:g})",
        functools.partial(_rectify, slope=slope),
        functools.partial(_rectified_slope, slope=slope),
        gamma1=max(1.0, abs(slope)),
        gamma2=math.inf,
        dual=functools.partial(_rectified_dual, slope=slope),
        rectifier=slope,
    )


def dual_kernel(X: Array, Y: Array | None = None, *, activation: str | Activation) -> Array:
    """E phi'(Xg) phi'(Yg)^T for g ~ N(0, I_d): in closed form if there is one, else by quadrature to about 1e-12.

    Computed in float64 whatever the dtype of X, rounded at the end.

    Args:
        X: (n, d), rows of any norm.
        Y: (m, d); left out: X.
        activation: a name or an `Activation`.

    Returns:
        (n, m), in the kind of X.

    Raises:
        InvalidInput: wrong shapes, NaN, unknown activation, or no closed form and unfit for quadrature (a kink).

    Example:
        >>> dual_kernel([[1.0, 0.0], [0.0, 1.0]], activation="relu")
        array([[0.5 , 0.25],
               [0.25, 0.5 ]])
    """
    activation = get(activation)
    if activation.dual is None:
        return dual_by_quadrature(X, Y, activation=activation)
    X, Y, back = _read(X, Y)
    return back(activation.dual(X, Y))


def dual_by_quadrature(
    X: Array, Y: Array | None = None, *, activation: str | Activation, nodes: int | None = None
) -> Array:
    """E phi'(Xg) phi'(Yg)^T by two-dimensional Gauss-Hermite quadrature; the oracle of the closed forms.

    Memory: the result plus chunks of about 32 MB. Args, returns and errors as for `dual_kernel`, and:

    Args:
        nodes: nodes per axis. Left out: the activation's own, times the largest squared norm if that exceeds 1 (the
            singularities of z -> phi'(sz) come closer as 1/s, and the error is exp(-const sqrt(nodes)/s)).
    """
    activation = get(activation)
    X, Y, back = _read(X, Y)
    if activation.gamma2 == math.inf:
        what, remedy = f"quadrature for {activation.name}", "give the activation its dual=, e.g. an adaptive integral"
        checks.fail(what, "a smooth phi'", "a kink (gamma2 infinite), where Gauss-Hermite errs by 1e-2", remedy)
    norms = torch.linalg.vector_norm(X, dim=1)
    if nodes is None:
        largest = max(1.0, float(norms.max()), float(torch.linalg.vector_norm(Y, dim=1).max()))
        nodes = math.ceil(activation.nodes * min(largest**2, 1e9))
        if nodes > _MOST_NODES:
            got, remedy = f"rows of norm {largest:.3g}", "normalise the rows, or choose nodes= yourself"
            checks.fail(f"quadrature for {activation.name}", f"at most {_MOST_NODES} nodes", got, remedy)
    nodes = checks.integer("nodes", nodes, minimum=1, maximum=_MOST_NODES)
    return back(_dual_by_quadrature(X, Y, norms, activation.derivative, nodes))


def moment(activation: str | Activation, order: int = 1) -> float:
    """E phi'(g)^2 (order 1) or E phi''(g)^2 (order 2) for g ~ N(0, 1), to about 1e-12.

    Their sum times nu^2 / 2 is lambda(C) of two centres at a small distance nu; paper_notes/li2020.md, claim C3.

    Raises:
        InvalidInput: another order, or order 2 of an activation with a kink.

    Example:
        >>> abs(moment("gelu", 2) - math.sqrt(3) / (2 * math.pi)) < 1e-12
        True
    """
    activation, order = get(activation), checks.integer("order", order, minimum=1, maximum=2)
    if order == 1:
        return float(dual_kernel(torch.ones(1, 1, dtype=torch.float64), activation=activation))
    if activation.gamma2 == math.inf:
        remedy = "lambda(C) of near centres is then linear in their distance: use neural_covariance itself"
        checks.fail(f"second moment of {activation.name}", "a phi'' everywhere", "a kink (gamma2 infinite)", remedy)
    points, weights = _hermite(4 * activation.nodes)  # one axis only, so nodes are free
    return float(weights @ _slope(activation.derivative, points).square())


def _read(X: Array, Y: Array | None) -> tuple[Tensor, Tensor, Callable[[Tensor], Array]]:
    """X and Y in float64 (the same object if Y is left out), and the way back to the kind and dtype of X."""
    (X, Y), back = arrays.tensors(X=X, Y=Y)
    checks.matrix("X", X)
    rows = X.detach().double()
    if Y is None:
        return rows, rows, lambda dual: back(dual.to(X.dtype))
    checks.matrix("Y", Y, columns=X.shape[1])
    return rows, Y.detach().double(), lambda dual: back(dual.to(X.dtype))


def _slope(phi: Elementwise, z: Tensor) -> Tensor:
    return torch.func.grad(lambda points: phi(points).sum())(z)


@functools.lru_cache(maxsize=8)
def _hermite(nodes: int) -> tuple[Tensor, Tensor]:
    points, weights = scipy.special.roots_hermitenorm(nodes)
    return torch.from_numpy(points), torch.from_numpy(weights / math.sqrt(2 * math.pi))


@functools.lru_cache(maxsize=8)
def _hermite_plane(nodes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes (g, h) and weights of the product rule, less those too light to matter (nine in ten of 160 x 160)."""
    points, weights = _hermite(nodes)
    least = _DROPPED_WEIGHT / nodes**2
    points, weights = points[weights > least], weights[weights > least]
    product = torch.outer(weights, weights)
    first, second = torch.nonzero(product > least, as_tuple=True)
    return points[first], points[second], product[first, second]


def _dual_by_quadrature(X: Tensor, Y: Tensor, norms: Tensor, derivative: Elementwise, nodes: int) -> Tensor:
    g, h, weights = (part.to(X.device) for part in _hermite_plane(nodes))
    step = max(1, _CHUNK_BYTES // (4 * 8 * len(g)))
    dual = X.new_empty(len(X), len(Y))
    for i, (x, norm) in enumerate(zip(X, norms, strict=True)):
        along = Y @ (x / norm if norm > 0 else x)
        # parallel rows leave +/-1e-16 here; its square root of 1e-8 is harmless, as only even powers of it count
        across = (Y.square().sum(1) - along.square()).clamp(min=0).sqrt()
        left = weights * derivative(norm * g)
        for start in range(i if Y is X else 0, len(Y), step):
            part = slice(start, start + step)
            dual[i, part] = derivative(torch.outer(along[part], g) + torch.outer(across[part], h)) @ left
        if Y is X:
            dual[i + 1 :, i] = dual[i, i + 1 :]
    return dual


def _second_moments(X: Tensor, Y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """var <x,g> (n, 1), var <y,g> (1, m) and their covariance (n, m)."""
    return X.square().sum(1, keepdim=True), Y.square().sum(1)[None, :], X @ Y.T


def _softplus(z: Tensor) -> Tensor:
    return torch.logaddexp(z, z.new_zeros(()))  # torch's softplus turns linear above 20, a jump of 2e-9


def _erf_slope(z: Tensor) -> Tensor:
    return 2 / math.sqrt(math.pi) * torch.exp(-z.square())


def _erf_dual(X: Tensor, Y: Tensor) -> Tensor:
    a, b, c = _second_moments(X, Y)
    return 4 / math.pi / torch.sqrt((1 + 2 * a) * (1 + 2 * b) - 4 * c.square())


def _tanh_slope(z: Tensor) -> Tensor:
    return 4 * torch.sigmoid(2 * z) * torch.sigmoid(-2 * z)  # 1 - tanh^2 would lose the digits of a saturated unit


def _normal_share(z: Tensor) -> Tensor:
    return 0.5 * torch.erfc(-z / math.sqrt(2))  # torch's ndtr loses the digits of the left tail


def _gelu(z: Tensor) -> Tensor:
    return z * _normal_share(z)


def _gelu_slope(z: Tensor) -> Tensor:
    return _normal_share(z) + z * torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)


def _gelu_dual(X: Tensor, Y: Tensor) -> Tensor:
    a, b, c = _second_moments(X, Y)
    a, b = 1 + a, 1 + b
    determinant = a * b - c.square()
    density = 1 / (2 * math.pi * determinant.sqrt())
    orthant = 1 / 4 + torch.asin(c / (a * b).sqrt()) / (2 * math.pi)
    return orthant + c * density * (1 / a + 1 / b + 1 / determinant)


def _rectify(z: Tensor, slope: float) -> Tensor:
    return torch.nn.functional.leaky_relu(z, slope)  # autograd's slope at 0 is the derivative's: that of the left


def _rectified_slope(z: Tensor, slope: float) -> Tensor:
    on = (z > 0).to(z.dtype)
    return on + slope * (1 - on)


def _rectified_dual(X: Tensor, Y: Tensor, slope: float) -> Tensor:
    """phi' is 1 or slope, so the kernel needs P(u > 0), P(v > 0) and P(u > 0, v > 0)."""
    x_norm, y_norm = (torch.linalg.vector_norm(A, dim=1, keepdim=True) for A in (X, Y))
    x, y = X / x_norm.clamp(min=1e-300), Y / y_norm.clamp(min=1e-300)
    # arccos of the cosine loses half the digits near 1: the angle comes from the two diagonals of the rhombus instead
    distance = functools.partial(torch.cdist, compute_mode="donot_use_mm_for_euclid_dist")
    angle = 2 * torch.atan2(distance(x, y), distance(x, -y))
    x_on, y_on = (x_norm > 0).to(X.dtype), (y_norm.T > 0).to(X.dtype)  # a zero row never switches on
    both = x_on * y_on * (math.pi - angle) / (2 * math.pi)
    either = (x_on + y_on) / 2 - both
    return both + slope * (either - both) + slope**2 * (1 - either)


_BY_NAME = {
    "softplus": Activation("softplus", _softplus, torch.sigmoid, gamma1=1.0, gamma2=0.25),
    "erf": Activation(
        "erf",
        torch.erf,
        _erf_slope,
        gamma1=2 / math.sqrt(math.pi),
        gamma2=2 * math.sqrt(2 / (math.pi * math.e)),
        dual=_erf_dual,
        nodes=160,
        odd=True,
    ),
    "tanh": Activation("tanh", torch.tanh, _tanh_slope, gamma1=1.0, gamma2=4 / (3 * math.sqrt(3)), nodes=160, odd=True),
    "gelu": Activation(
        "gelu",
        _gelu,
        _gelu_slope,
        gamma1=float(scipy.special.ndtr(math.sqrt(2))) + math.exp(-1) / math.sqrt(math.pi),
        gamma2=math.sqrt(2 / math.pi),
        dual=_gelu_dual,
    ),
    "relu": Activation(
        "relu",
        functools.partial(_rectify, slope=0.0),
        functools.partial(_rectified_slope, slope=0.0),
        gamma1=1.0,
        gamma2=math.inf,
        dual=functools.partial(_rectified_dual, slope=0.0),
        rectifier=0.0,
    ),
}
