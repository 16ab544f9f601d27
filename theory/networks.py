"""The network that the theorems are about: two layers, only the first one trained, one real output.

f(W, x) = v^T phi(W x) with W in R^{k x d} trained and v fixed. Cf. Li, Soltanolkotabi & Oymak (2020): half the output
weights are +1/sqrt(k), half are -1/sqrt(k), and W0 has independent standard normal entries.
"""

import math
from typing import Literal, TypeGuard

import torch
from torch import Tensor
from torch.nn.utils.parametrize import is_parametrized

from theory import activations, arrays, checks, seeding
from theory.activations import Activation
from theory.arrays import Array

Output = Literal["balanced", "ones", "random"]


class TwoLayer(torch.nn.Module):
    """f(W, x) = v^T phi(W x), optionally paired so that it starts at zero.

    A paired network starts with equal halves of W and opposite halves of v. Its hidden differences are formed before
    they are summed, so f(W0) is 0 exactly and not 1e-14.

    Attributes:
        W: hidden weights, trained, (k, d).
        v: output weights, a buffer, (k,).
        activation: an `Activation`.
        paired: whether the second half of v is minus the first, and the outputs are computed pair by pair.

    Raises:
        InvalidInput: wrong shapes, NaN, unknown activation, or paired with output weights that are no pairs.

    Example:
        >>> network = TwoLayer([[1.0, 0.0], [0.0, 1.0]], [1.0, -1.0], "relu")
        >>> network([[3.0, 1.0]])
        array([2.])
    """

    W: torch.nn.Parameter
    v: Tensor

    def __init__(self, W: Array, v: Array, activation: str | Activation, paired: bool = False):
        super().__init__()
        (W, v), _ = arrays.tensors(W=W, v=v)
        checks.matrix("W", W)
        if v.shape != W.shape[:1]:
            checks.fail("v", f"shape ({len(W)},)", f"shape {tuple(v.shape)}", "one output weight per row of W")
        half = len(v) // 2
        if paired and (len(v) % 2 or not torch.equal(v[half:], -v[:half])):
            checks.fail(
                "v", "(u, -u) for a paired network", "other output weights", "use TwoLayer.initialise(paired=True)"
            )
        self.W = torch.nn.Parameter(W.detach().clone())
        self.register_buffer("v", v.detach().clone())
        self.activation = activations.get(activation)
        self.paired = bool(paired)

    @classmethod
    def initialise(
        cls,
        width: int,
        dimension: int,
        activation: str | Activation = "softplus",
        *,
        output: Output = "balanced",
        paired: bool = False,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
        device: str | torch.device = "cpu",
    ) -> "TwoLayer":
        """Draw W0 with independent N(0, 1) entries; |v_j| = 1/sqrt(width).

        The numbers are drawn in float64 on the CPU, so that a seed means one network in every dtype, on any device.

        Args:
            width: k, the number of hidden units.
            dimension: d, of the inputs.
            activation: a name or an `Activation`.
            output: signs of v: "balanced" (first half +, second half -), or the controls "ones" and "random".
            paired: repeat the first half of W0 in the second, so that f(W0) = 0.
            seed: of the streams "initial weights" and "output signs".
            dtype: float32 or float64.
            device: where the network lives.

        Raises:
            InvalidInput: odd width with a balanced or paired output, paired with another output, unknown names.
        """
        width = checks.integer("width", width, minimum=1)
        dimension = checks.integer("dimension", dimension, minimum=1)
        checks.choice("output", output, ("balanced", "ones", "random"))
        if dtype not in (torch.float32, torch.float64):
            checks.fail("dtype", "torch.float32 or torch.float64", str(dtype), "use one of them")
        if paired and output != "balanced":
            checks.fail("output of a paired network", "balanced", output, "drop paired=True, or output=")
        if width % 2 and output == "balanced":
            what = "width of a paired network" if paired else "width with a balanced output"
            checks.fail(what, "an even number", width, f"use {width + 1}, or an unpaired network with output='ones'")
        rows = width // 2 if paired else width
        W = torch.randn(
            rows, dimension, dtype=torch.float64, generator=seeding.torch_generator("initial weights", seed)
        )
        signs = torch.ones(width, dtype=torch.float64)
        if output == "balanced":
            signs[width // 2 :] = -1
        elif output == "random":
            signs -= 2 * torch.randint(0, 2, (width,), generator=seeding.torch_generator("output signs", seed))
        W = torch.cat([W, W]) if paired else W
        return cls(W.to(device, dtype), (signs / math.sqrt(width)).to(device, dtype), activation, paired)

    @property
    def width(self) -> int:
        """Number k of hidden units."""
        return self.W.shape[0]

    @property
    def dimension(self) -> int:
        """Dimension d of the inputs."""
        return self.W.shape[1]

    @property
    def independent_rows(self) -> int:
        """Rows of W0 that were drawn independently: k, or k/2 when paired. Concentration bounds count these."""
        return self.width // 2 if self.paired else self.width

    def forward(self, X: Array) -> Array:
        """Outputs (n,) of inputs X (n, d), in the kind and dtype of X; differentiable when X is a tensor.

        Raises:
            InvalidInput: wrong shape or device; NaN in an array that is not a tensor (a tensor passes NaN on).
        """
        if not isinstance(X, Tensor):
            (X, W, v), back = arrays.tensors(X=X, W=self.W, v=self.v)
            checks.matrix("X", X, columns=self.dimension)
            return back(self._outputs(X, W, v))
        # No look at the values here: torch.func cannot trace it, and training calls this at every step.
        checks.matrix("X", X, columns=self.dimension)
        if X.device != self.W.device:
            checks.fail(
                "X", f"a tensor on {self.W.device}", f"a tensor on {X.device}", "move X or the network with .to()"
            )
        X = X if X.is_floating_point() else X.to(self.W.dtype)
        return self._outputs(X, self.W.to(X.dtype), self.v.to(X.dtype))

    def at(self, W: Array) -> "TwoLayer":
        """The same network with other hidden weights W (k, d).

        Raises:
            InvalidInput: wrong shape, NaN.
        """
        (W,), _ = arrays.tensors(W=W)
        checks.matrix("W", W, rows=self.width, columns=self.dimension)
        return type(self)(W, self.v, self.activation, self.paired)

    def jacobian_bound(self, X: Array) -> float:
        """beta = Gamma1 ||v||_2 ||X||_op, at least ||J(W)||_op for every W; X (n, d).

        Source: derived; proof in paper_notes/li2020.md.

        Raises:
            InvalidInput: wrong shape, NaN.
        """
        X = self._inputs(X)
        return _product(self.activation.gamma1, torch.linalg.vector_norm(self.v), torch.linalg.matrix_norm(X, 2))

    def lipschitz(self, X: Array) -> float:
        """L with ||J(W) - J(W')||_op <= L ||W - W'||_op; X (n, d). Infinite for an activation with a kink.

        L = Gamma2 ||v||_inf ||X||_op max_i ||x_i||, where the last factor is 1 for unit rows. Source: derived; proof in
        paper_notes/li2020.md.

        Raises:
            InvalidInput: wrong shape, NaN.
        """
        X = self._inputs(X)
        longest = torch.linalg.vector_norm(X, dim=1).max()
        return _product(self.activation.gamma2, self.v.abs().max(), torch.linalg.matrix_norm(X, 2), longest)

    def extra_repr(self) -> str:
        """The settings that torch prints."""
        paired = ", paired" if self.paired else ""
        return f"width={self.width}, dimension={self.dimension}, activation={self.activation.name}{paired}"

    def _outputs(self, X: Tensor, W: Tensor, v: Tensor) -> Tensor:
        phi = self.activation.phi
        if not self.paired:
            return phi(X @ W.T) @ v
        half = self.width // 2
        first = X @ W[:half].T
        # Two products of equal matrices may round differently; X times a zero difference is zero on every machine.
        second = first + X @ (W[half:] - W[:half]).T
        return (phi(first) - phi(second)) @ v[:half]

    def _inputs(self, X: Array) -> Tensor:
        (X,), _ = arrays.tensors(X=X)
        checks.matrix("X", X, columns=self.dimension)
        return X.detach().double()


def unaltered(network: object) -> TypeGuard[TwoLayer]:
    """Whether a network is a `TwoLayer` that computes as the class does: no subclass with outputs of its own, no hooks.

    Only then do its closed forms hold; anything else is a module like any other.

    Example:
        >>> unaltered(TwoLayer([[1.0]], [1.0], "relu")), unaltered(torch.nn.Linear(1, 1))
        (True, False)
    """
    if not isinstance(network, TwoLayer) or "forward" in vars(network) or is_parametrized(network):
        return False
    hooks = getattr(network, "_forward_hooks", None) or getattr(network, "_forward_pre_hooks", None)
    kind = type(network)
    return not hooks and kind.forward is TwoLayer.forward and kind._outputs is TwoLayer._outputs


def _product(*factors: float | Tensor) -> float:
    """Product in which 0 wins over infinity: no inputs or no output weights mean a constant network."""
    values = [float(factor) for factor in factors]
    return 0.0 if 0.0 in values else math.prod(values)
