"""torch modules as functions of their weights, and squared losses that `method="kernel"` can see through."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from theory import checks
from theory.networks import unaltered


class Functional:
    """A module as a function (weights, *inputs) -> outputs, and its trainable weights as the `w` of a hypergradient.

    Frozen parameters and buffers stay at the values that they have now. The module itself is not changed. Derivatives
    are those of one function: layers that draw at random or keep running statistics must be in evaluation mode.

    Attributes:
        module: as given.
        weights: name -> tensor, of the parameters that require gradients. They are copies, taken now: make the
            `Functional` after training, or the formula is asked at weights where it does not hold.

    Raises:
        InvalidInput: no module, one with nothing to train, or with dropout or running statistics in training mode.

    Example:
        >>> model = Functional(torch.nn.Linear(2, 1, bias=False))
        >>> model({"weight": torch.tensor([[1.0, 2.0]])}, torch.tensor([[3.0, 4.0]]))
        tensor([[11.]])
    """

    def __init__(self, module: torch.nn.Module) -> None:
        if not isinstance(module, torch.nn.Module):
            checks.fail("module", "a torch.nn.Module", type(module).__name__, "a plain function needs no adapter")
        self.module = module
        _steady(module)
        named = list(module.named_parameters())
        self.weights = {name: weight.detach().clone() for name, weight in named if weight.requires_grad}
        if not self.weights:
            checks.fail("module", "a parameter that requires gradients", "none", "call requires_grad_()")
        frozen = {name: weight.detach().clone() for name, weight in named if not weight.requires_grad}
        self.fixed = frozen | {name: buffer.clone() for name, buffer in module.named_buffers()}

    def __call__(self, weights: dict[str, Tensor], *inputs: Any) -> Any:
        """The module's outputs with these weights in place of its own.

        Raises:
            InvalidInput: other names than those of `weights`; a layer that was put in training mode, as above.
        """
        if not isinstance(weights, dict):
            checks.fail("weights", "a dict of tensors by name", type(weights).__name__, "start from .weights")
        _steady(self.module)
        if set(weights) != set(self.weights):
            checks.fail("weights", f"the names {sorted(self.weights)}", sorted(weights), "start from .weights")
        return torch.func.functional_call(self.module, {**self.fixed, **weights}, inputs)


def _steady(module: torch.nn.Module) -> None:
    """Refuse what makes two evaluations of the module differ."""
    for layer in module.modules():
        if not layer.training:
            continue
        drops = layer.p if isinstance(layer, torch.nn.modules.dropout._DropoutNd) else getattr(layer, "dropout", 0)
        random = isinstance(drops, int | float) and drops > 0
        if random or getattr(layer, "running_mean", None) is not None:
            got, remedy = f"{type(layer).__name__} in training mode", "call module.eval()"
            checks.fail("module", "the same outputs each time", got, remedy)


def _themselves(phi: Tensor) -> Tensor:
    return phi


@dataclass(frozen=True, eq=False)
class SquaredLoss:
    """1/2 sum_i weight_i ||f(w, x_i) - y_i||^2 + ridge/2 ||w||^2, an inner loss (w, phi) -> scalar.

    Where f is piecewise linear in the trained weights (ReLU-like activations, one trained layer) its Hessian is
    J^T diag(weight) J + ridge I exactly, away from kinks, and `hypergradient(..., method="kernel")` needs one n x n
    kernel and a Cholesky factorisation.

    Attributes:
        module: the network f, with outputs (n,) or (n, c).
        X: inputs (n, ...), a tensor.
        y: targets, of the outputs' shape.
        ridge: > 0, factor of ||w||^2 / 2.
        weights: phi -> weight of each example (n,); phi itself by default. `torch.sigmoid`, say.
        model: the module as a function of its weights.

    Raises:
        InvalidInput: a ridge that is not positive, as many targets as inputs are not given, NaN.

    Example:
        >>> from theory.networks import TwoLayer
        >>> loss = SquaredLoss(TwoLayer([[1.0]], [2.0], "relu"), torch.tensor([[1.0]]).double(), torch.zeros(1), 1.0)
        >>> loss(loss.model.weights, torch.ones(1).double())   # (2^2 + 1^2)/2
        tensor(2.5000, dtype=torch.float64)
    """

    module: torch.nn.Module
    X: Tensor
    y: Tensor
    ridge: float
    weights: Callable[[Tensor], Tensor] = _themselves
    model: Functional = field(init=False)

    def __post_init__(self) -> None:
        checks.number("ridge", self.ridge, 0, open_low=True)
        checks.finite("X", self.X)
        checks.finite("y", self.y)
        if len(self.X) != len(self.y):
            checks.fail("y", f"{len(self.X)} targets, one for each row of X", len(self.y), "match them")
        object.__setattr__(self, "model", Functional(self.module))

    def __call__(self, w: dict[str, Tensor], phi: Tensor) -> Tensor:
        """The loss, a scalar."""
        error = self.residuals(w)
        penalty = sum((weight.square().sum() for weight in w.values()), start=error.new_zeros(()))
        return (self.example_weights(phi) * error.square().sum(dim=1)).sum() / 2 + self.ridge / 2 * penalty

    def residuals(self, w: dict[str, Tensor]) -> Tensor:
        """f(w, x_i) - y_i, (n, c).

        Raises:
            InvalidInput: outputs and targets differ in shape.
        """
        outputs = self.model(w, self.X)
        if outputs.shape != self.y.shape:
            checks.fail("y", f"shape {tuple(outputs.shape)}, like the outputs", tuple(self.y.shape), "match them")
        return (outputs - self.y).reshape(len(self.X), -1)

    def example_weights(self, phi: Any) -> Tensor:
        """The weight of each example, (n,).

        Raises:
            InvalidInput: `weights` gives another shape.
        """
        found = self.weights(phi)
        if not isinstance(found, Tensor) or found.shape != self.X.shape[:1]:
            got = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            checks.fail("weights(phi)", f"a tensor of shape ({len(self.X)},)", got, "one weight per example")
        return found

    @property
    def closed_form(self) -> bool:
        """Whether the network is piecewise linear in its trained weights by construction."""
        return unaltered(self.module) and self.module.activation.rectifier is not None
