"""Engines of gradient descent on 1/2 sum_i n_i (f(W, x_i) - y_i)^2: what makes the steps of `theory.descent`.

`engine` chooses. A `TwoLayer` with an activation of the library goes through compiled code, on the CPU
(`theory.kernels.fused`) or a GPU (`theory.kernels.gpu_descent`); elsewhere it has a closed form in torch, and any other
module with one real output goes through autograd.
"""

import copy
import math
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeGuard

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theory import activations, checks
from theory.activations import Activation
from theory.kernels import fused, gpu
from theory.networks import TwoLayer, unaltered

_BLOCK_ENTRIES = 2**19  # pre-activations in work at once: 4 MB in float64, so that a block stays in cache


_BURST = 0.1  # seconds

Moved = tuple[Float[np.ndarray, " steps"], Float[np.ndarray, " steps"]]


class Engine(Protocol):
    """One run of gradient descent and its present state. Nothing checks here whether it diverges: the losses tell.

    Attributes:
        residual: f(W) - y, (n,), in the network's dtype and on its device; the next `advance` overwrites it.
        loss: 1/2 sum_i n_i residual_i^2.
    """

    @property
    def residual(self) -> Float[Tensor, " n"]: ...  # noqa: D102

    @property
    def loss(self) -> float: ...  # noqa: D102

    def advance(self, steps: int) -> Moved:
        """Make steps; returns the loss after each and the length ||W' - W||_F of each."""
        ...

    def weights(self) -> Float[Tensor, "..."]:
        """A copy of W as the network has it, or of all trainable parameters of a module as one vector."""
        ...


class Pace:
    """Lets an engine make as many steps at a time as take about a tenth of a second: Ctrl-C works in between."""

    def __init__(self) -> None:
        self._steps = 1

    def burst(self, advance: Callable[[int], Any], most: int) -> Any:
        """What `advance` returns, called once with at most `most` steps."""
        count, started = min(self._steps, most), time.perf_counter()
        moved = advance(count)
        fitting = count * _BURST / max(time.perf_counter() - started, 1e-9)
        self._steps = max(1, min(10 * self._steps, int(fitting)))
        return moved


def engine(network: torch.nn.Module, X: Tensor, y: Tensor, weights: Tensor, step: float) -> Engine:
    """Descent of a network from its present weights on inputs X (n, ...), labels y and weights n_i (n,).

    The tensors must have the network's dtype and device; `theory.descent` sees to that. A subclass of `TwoLayer` with
    outputs of its own is a module like any other. The network is never modified.

    Raises:
        InvalidInput: for a module that has not one real output per example.

    Example:
        >>> X = torch.eye(2, dtype=torch.float64)
        >>> run = engine(TwoLayer([[1.0, 2.0]], [1.0], "relu"), X, X.new_zeros(2), X.new_ones(2), step=0.5)
        >>> run.residual.tolist(), run.loss
        ([1.0, 2.0], 2.5)
        >>> losses, moves = run.advance(1)
        >>> run.weights().tolist(), losses.tolist()
        ([[0.5, 1.0]], [0.625])
    """
    if not two_layer(network):
        return ModuleDescent(network, X, y, weights, step)
    if fused.supports(network):
        return fused.Descent(network, X, y, weights, step)
    if X.is_cuda and gpu.available(X.device):
        from theory.kernels import gpu_descent

        if gpu_descent.supports(network, X):
            return gpu_descent.Descent(network, X, y, weights, step)
    return TwoLayerDescent(network, X, y, weights, step)


def two_layer(network: torch.nn.Module) -> TypeGuard[TwoLayer]:
    """Whether a network is a `TwoLayer` that computes as the class does and trains W alone.

    Example:
        >>> two_layer(TwoLayer([[1.0]], [1.0], "relu")), two_layer(torch.nn.Linear(1, 1))
        (True, False)
    """
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    return unaltered(network) and len(trained) == 1 and trained[0] is network.W


class TwoLayerDescent:
    """A `TwoLayer` in closed form, in place and in blocks over the width; its arguments are those of `engine`.

    The weights are kept as (halves, d, h), two halves for a paired network: X W with W (d, h) is the fast product in
    BLAS, about twice as fast as W X^T with W (k, d), and so is its gradient (r X)^T phi'.

    Attributes:
        residual: see `Engine`.
        loss: see `Engine`.
    """

    def __init__(self, network: TwoLayer, X: Tensor, y: Tensor, weights: Tensor, step: float):
        self._halves = 2 if network.paired else 1
        h = network.width // self._halves
        W = network.W.detach().view(self._halves, h, -1).transpose(1, 2)
        self._X, self._y, self._weights = X, y, weights
        self._columns = (weights[:, None] * X).T.contiguous()
        self._weighted = torch.empty_like(self._columns)
        self._evaluate = _IN_PLACE.get(network.activation) or _by_copying(network.activation)
        block = max(64, _BLOCK_ENTRIES // len(X))
        cuts = [slice(a, min(a + block, h)) for a in range(0, h, block)]
        self._W = [[W[half, :, cut].contiguous().clone() for half in range(self._halves)] for cut in cuts]
        self._v = [network.v[:h][cut] for cut in cuts]
        self._v_step = [v * step for v in self._v]
        self._slopes = [[X.new_empty(len(X), len(v)) for _ in range(self._halves)] for v in self._v]
        self._z = [torch.empty_like(slope) for slope in self._slopes[0]]
        self._gradient = torch.empty_like(self._W[0][0])
        self.residual = torch.empty_like(y)
        self.loss = float(self._sweep(learn=False)[0])

    @torch.no_grad()
    def advance(self, steps: int) -> Moved:
        """See `Engine`."""
        squares = torch.empty(steps, 2, dtype=torch.float64, device=self._X.device)
        for s in range(steps):
            squares[s, 0], squares[s, 1] = self._sweep(learn=True)
        losses, moved = squares.cpu().numpy().T  # one synchronisation
        self.loss = float(losses[-1]) if steps else self.loss
        return losses.copy(), np.sqrt(moved)

    def weights(self) -> Float[Tensor, "k d"]:
        """See `Engine`."""
        return torch.cat([blocks[half].T for half in range(self._halves) for blocks in self._W])

    @torch.no_grad()
    def _sweep(self, learn: bool) -> tuple[Tensor, Tensor]:
        """A step, if `learn`, and the residual after it; returns the loss and the step's squared length."""
        outputs, squares = torch.zeros_like(self._y), self._y.new_zeros(())
        if learn:
            torch.mul(self._columns, self.residual, out=self._weighted)
        for W, v, v_step, slopes in zip(self._W, self._v, self._v_step, self._slopes, strict=True):
            width = len(v)
            gradient, (z, *second) = self._gradient[:, :width], (room[:, :width] for room in self._z)
            for half in range(self._halves if learn else 0):
                torch.mm(self._weighted, slopes[half], out=gradient)
                gradient.mul_(v_step)
                squares += torch.linalg.vector_norm(gradient).square()
                W[half].add_(gradient, alpha=2 * half - 1)  # the second half of v is minus the first
            torch.mm(self._X, W[0], out=z)
            if second:  # from z by the difference of the halves: at W0 that is zero, and f(W0) = 0 to the last bit
                torch.sub(W[1], W[0], out=gradient)
                torch.addmm(z, self._X, gradient, out=second[0])
                self._evaluate(second[0], slopes[1])
            self._evaluate(z, slopes[0])
            outputs.addmv_(z.sub_(second[0]) if second else z, v)
        torch.sub(outputs, self._y, out=self.residual)
        return torch.dot(self._weights, outputs.copy_(self.residual).square_()) / 2, squares


class ModuleDescent:
    """Any module with one real output per example, by autograd; its arguments are those of `engine`.

    All trainable parameters count as one vector. A copy computes; the module is left alone.

    Attributes:
        residual: see `Engine`.
        loss: see `Engine`.
    """

    def __init__(self, network: torch.nn.Module, X: Tensor, y: Tensor, weights: Tensor, step: float):
        self._network = copy.deepcopy(network)
        trained = [(name, p) for name, p in self._network.named_parameters() if p.requires_grad]
        self._shapes = {name: p.shape for name, p in trained}
        self._W = torch.cat([p.detach().reshape(-1) for _, p in trained]).requires_grad_()
        self._X, self._y, self._weights, self._step = X, y, weights, step
        self._evaluate()
        self.loss = float(self._objective.detach())

    def advance(self, steps: int) -> Moved:
        """See `Engine`."""
        squares = torch.empty(steps, 2, dtype=torch.float64, device=self._W.device)
        for s in range(steps):
            (gradient,) = torch.autograd.grad(self._objective, self._W)
            with torch.no_grad():
                self._W.sub_(gradient.mul_(self._step))
            self._evaluate()
            squares[s, 0], squares[s, 1] = self._objective.detach(), torch.linalg.vector_norm(gradient).square()
        losses, moved = squares.cpu().numpy().T  # one synchronisation
        self.loss = float(losses[-1]) if steps else self.loss
        return losses.copy(), np.sqrt(moved)

    def weights(self) -> Float[Tensor, " p"]:
        """See `Engine`."""
        return self._W.detach().clone()

    def _evaluate(self) -> None:
        with torch.enable_grad():
            pieces = self._W.split([shape.numel() for shape in self._shapes.values()])
            named = {name: piece.view(shape) for (name, shape), piece in zip(self._shapes.items(), pieces, strict=True)}
            outputs = torch.func.functional_call(self._network, named, (self._X,))
            if outputs.shape not in ((len(self._y),), (len(self._y), 1)):
                got = f"shape {tuple(outputs.shape)} for {len(self._y)} examples"
                checks.fail("network", "one real output per example", got, "select or sum the outputs in a wrapper")
            residual = outputs.reshape(-1) - self._y
            self._objective = self._weights @ residual.square() / 2
        self.residual = residual.detach()


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
    positive = z.clamp(min=0)
    z.abs_().neg_().exp_().log1p_().add_(positive)  # torch's logaddexp takes twice as long


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
