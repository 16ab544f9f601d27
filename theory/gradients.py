"""The residual f - y and the gradient of 1/2 sum_i n_i (f(W, x_i) - y_i)^2, which `theory.descent` wants at every step.

`engine` chooses: closed-form and in place for a `TwoLayer`, autograd for any other module with one real output.
"""

import copy
import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from theory import activations, checks
from theory.activations import Activation
from theory.networks import TwoLayer

_BLOCK_ENTRIES = 2**19  # pre-activations in work at once: 4 MB in float64, so that a block stays in cache


def engine(network: torch.nn.Module, X: Tensor, y: Tensor, weights: Tensor) -> "TwoLayerGradient | ModuleGradient":
    """What computes W -> (f(W) - y, gradient) for a network on inputs X (n, ...), labels y and weights n_i (n,).

    The tensors must have the network's dtype and device; `theory.descent` sees to that. A subclass of `TwoLayer` with
    outputs of its own is a module like any other.

    Raises:
        InvalidInput: when called, for a module that has not one real output per example.

    Example:
        >>> X = torch.eye(2, dtype=torch.float64)
        >>> compute = engine(TwoLayer([[1.0, 2.0]], [1.0], "relu"), X, X.new_zeros(2), X.new_ones(2))
        >>> residual, gradient = compute(compute.start)
        >>> residual.tolist(), compute.unfold(gradient).tolist()
        ([1.0, 2.0], [[1.0, 2.0]])
    """
    if isinstance(network, TwoLayer) and type(network).forward is TwoLayer.forward:
        return TwoLayerGradient(network, X, y, weights)
    return ModuleGradient(network, X, y, weights)


class TwoLayerGradient:
    """f - y and the gradient of the loss for a `TwoLayer`, in closed form and in blocks over the width.

    The weights are kept as (halves, d, h), two halves for a paired network: X W with W (d, h) is the fast product in
    BLAS, about twice as fast as W X^T with W (k, d), and so is its gradient (r X)^T phi'.

    Attributes:
        start: the network's present weights in that layout.
        y: labels, (n,).
    """

    def __init__(self, network: TwoLayer, X: Tensor, y: Tensor, weights: Tensor):
        halves = 2 if network.paired else 1
        self.width = network.width // halves
        self.start = (
            network.W.detach().view(halves, self.width, -1).transpose(1, 2).clone(memory_format=torch.contiguous_format)
        )
        self.v = network.v.view(halves, 1, self.width)
        self.X, self.y, self.weighted = X, y, (weights[:, None] * X).T.contiguous()
        self.evaluate = _IN_PLACE.get(network.activation) or _by_copying(network.activation)
        block = max(64, _BLOCK_ENTRIES // len(X))
        self.blocks = [slice(a, min(a + block, self.width)) for a in range(0, self.width, block)]
        self.slopes = [[X.new_empty(len(X), b.stop - b.start) for _ in range(halves)] for b in self.blocks]
        self.scratch = [torch.empty_like(slope) for slope in self.slopes[0]]

    @torch.no_grad()
    def __call__(self, W: Float[Tensor, "halves d h"]) -> tuple[Float[Tensor, " n"], Float[Tensor, "halves d h"]]:
        """f(W) - y and the gradient in the layout of W, both new tensors."""
        outputs = torch.zeros_like(self.y)
        for block, slopes in zip(self.blocks, self.slopes, strict=True):
            z, *second = (scratch[:, : block.stop - block.start] for scratch in self.scratch)
            torch.mm(self.X, W[0, :, block], out=z)
            if second:  # from z by the difference of the halves: at W0 that is zero, and f(W0) = 0 to the last bit
                torch.addmm(z, self.X, W[1, :, block] - W[0, :, block], out=second[0])
                self.evaluate(second[0], slopes[1])
            self.evaluate(z, slopes[0])
            outputs.addmv_(z.sub_(second[0]) if second else z, self.v[0, 0, block])
        residual = outputs - self.y
        weighted, gradient = self.weighted * residual, torch.empty_like(W)
        for block, slopes in zip(self.blocks, self.slopes, strict=True):
            for half, slope in enumerate(slopes):
                torch.mm(weighted, slope, out=gradient[half, :, block])
        return residual, gradient.mul_(self.v)

    def unfold(self, W: Float[Tensor, "halves d h"]) -> Float[Tensor, "k d"]:
        """W as the network has it."""
        return W.transpose(1, 2).reshape(-1, W.shape[1])


class ModuleGradient:
    """The same for any module with one real output per example, by autograd.

    Attributes:
        start: the module's present trainable parameters as one vector, (p,). A copy computes; the module is left alone.
        y: labels, (n,).
    """

    def __init__(self, network: torch.nn.Module, X: Tensor, y: Tensor, weights: Tensor):
        self.network = copy.deepcopy(network)
        trained = [(name, p) for name, p in self.network.named_parameters() if p.requires_grad]
        self.shapes = {name: p.shape for name, p in trained}
        self.start = torch.cat([p.detach().reshape(-1) for _, p in trained])
        self.X, self.y, self.weights = X, y, weights

    def __call__(self, W: Float[Tensor, " p"]) -> tuple[Float[Tensor, " n"], Float[Tensor, " p"]]:
        """f(W) - y and the gradient, both new tensors."""
        with torch.enable_grad():
            W = W.detach().requires_grad_()
            pieces = W.split([shape.numel() for shape in self.shapes.values()])
            named = {name: piece.view(shape) for (name, shape), piece in zip(self.shapes.items(), pieces, strict=True)}
            outputs = torch.func.functional_call(self.network, named, (self.X,))
            if outputs.shape not in ((len(self.y),), (len(self.y), 1)):
                got = f"shape {tuple(outputs.shape)} for {len(self.y)} examples"
                checks.fail("network", "one real output per example", got, "select or sum the outputs in a wrapper")
            residual = outputs.reshape(-1) - self.y
            (gradient,) = torch.autograd.grad(self.weights @ residual.square() / 2, W)
        return residual.detach(), gradient

    def unfold(self, W: Float[Tensor, " p"]) -> Float[Tensor, " p"]:
        """W itself: all trainable parameters in one vector."""
        return W


def _relu(z: Tensor, slope: Tensor) -> None:
    torch.gt(z, 0, out=slope)
    z.clamp_(min=0)


def _erf(z: Tensor, slope: Tensor) -> None:
    torch.mul(z, z, out=slope).neg_().exp_().mul_(2 / math.sqrt(math.pi))
    z.erf_()


def _tanh(z: Tensor, slope: Tensor) -> None:
    z.tanh_()
    torch.mul(z, z, out=slope).neg_().add_(1)


def _softplus(z: Tensor, slope: Tensor) -> None:
    torch.sigmoid(z, out=slope)
    torch.logaddexp(z, z.new_zeros(()), out=z)


def _by_copying(activation: Activation) -> Callable[[Tensor, Tensor], None]:
    def evaluate(z: Tensor, slope: Tensor) -> None:
        slope.copy_(activation.derivative(z))
        z.copy_(activation.phi(z))

    return evaluate


# (z, slope) -> None: overwrites slope with phi'(z) and z with phi(z); any other activation goes through copies.
_IN_PLACE = {
    activations.get(name): evaluate
    for name, evaluate in {"relu": _relu, "erf": _erf, "tanh": _tanh, "softplus": _softplus}.items()
}
