"""Minibatch stochastic gradient descent on the cross-entropy, for networks OUTSIDE THE THEOREMS.

The theorems speak of full-batch descent on squares (`theory.descent`). The paper's experiments with convolutional
networks (cf. Li, Soltanolkotabi & Oymak, 2020) minimise the cross-entropy in small batches, as practice does.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from theory import arrays, checks, seeding
from theory.arrays import Array


@dataclass(frozen=True)
class Epoch:
    """Minibatch descent after a number of passes through the data.

    Attributes:
        number: of passes made so far, 0 before the first.
        loss: mean cross-entropy [nats] over the batches of the last pass, each taken before its step; NaN at 0.
        network: the network as it is now. It goes on being trained: measure it, or copy it, before the next pass.
    """

    number: int
    loss: float
    network: torch.nn.Module


def epochs(
    network: torch.nn.Module,
    images: Array,
    labels: Array,
    *,
    learning_rate: float,
    batch: int,
    momentum: float = 0.9,
    seed: int = 0,
    observe: Callable[[Tensor, Tensor], object] | None = None,
) -> Iterator[Epoch]:
    """Minibatch descent on the mean cross-entropy from the present weights, as an endless iterator of `Epoch`.

    The network passed in is not modified. Every pass takes the examples in a new random order, in as few batches as
    `batch` allows and of nearly equal size: a last batch of one example would be one step at the full rate, and can
    undo a pass.

    Args:
        network: with one score per class, (n, classes); it sets dtype and device.
        images: (n, ...) as the network wants them.
        labels: class of each example, (n,) integers from 0.
        learning_rate: > 0.
        batch: most examples per step, >= 1.
        momentum: of Polyak's heavy ball, in [0, 1).
        seed: of the stream "order of the batches", >= 0.
        observe: called with each batch's scores (m, classes), which carry no gradient, and row numbers (m,), before
            its step.

    Raises:
        InvalidInput: at once, for labels that are no classes, wrong lengths, NaN, settings out of range; on the way, if
            the loss is no longer finite.

    Example:
        >>> linear = torch.nn.Linear(2, 2)
        >>> run = epochs(linear, [[0.0, 1.0], [1.0, 0.0]], [0, 1], learning_rate=0.5, batch=1)
        >>> losses = [now.loss for now, _ in zip(run, range(30))]
        >>> losses[-1] < 0.1
        True
    """
    home = next(iter(network.parameters()))
    (X,), _ = arrays.tensors(images=images)
    (classes,), _ = arrays.tensors(labels=labels)
    X = X.detach().to(home)
    checks.vector("labels", classes, length=len(X))
    with torch.no_grad():
        scores = network(X[:1])
    if scores.ndim != 2:
        checks.fail("network", "one row of scores per example", f"shape {tuple(scores.shape)}", "return (n, classes)")
    if not torch.equal(classes, classes.round()) or classes.min() < 0 or classes.max() >= scores.shape[1]:
        wanted = f"whole numbers from 0 to {scores.shape[1] - 1}, one per score"
        checks.fail("labels", wanted, sorted(set(classes.tolist()))[-3:], "number the classes from 0")
    learning_rate = checks.number("learning_rate", learning_rate, low=0, open_low=True)
    batch = checks.integer("batch", batch, minimum=1)
    momentum = checks.number("momentum", momentum, 0, 1)
    if momentum == 1:
        checks.fail("momentum", "a number below 1", momentum, "0.9 is common")
    order = seeding.torch_generator("order of the batches", seed)
    moved = copy.deepcopy(network)
    return _passes(moved, X, classes.to(home.device).long(), learning_rate, batch, momentum, order, observe)


def _passes(
    network: torch.nn.Module,
    X: Float[Tensor, "n ..."],
    classes: Tensor,
    learning_rate: float,
    batch: int,
    momentum: float,
    order: torch.Generator,
    observe: Callable[[Tensor, Tensor], object] | None,
) -> Iterator[Epoch]:
    weights = list(network.parameters())
    velocities = [torch.zeros_like(weight) for weight in weights]
    number, loss = 0, float("nan")
    while True:
        yield Epoch(number, loss, network)
        total = X.new_zeros(())
        for rows in torch.randperm(len(X), generator=order).to(X.device).tensor_split(-(-len(X) // batch)):
            with torch.enable_grad():
                scores = network(X[rows])
                entropy = torch.nn.functional.cross_entropy(scores, classes[rows])
                gradients = torch.autograd.grad(entropy, weights)
            if observe is not None:
                observe(scores.detach(), rows)
            with torch.no_grad():  # five lines of arithmetic; torch.optim would take two seconds to import
                for weight, velocity, gradient in zip(weights, velocities, gradients, strict=True):
                    velocity.mul_(momentum).add_(gradient)
                    weight.sub_(velocity, alpha=learning_rate)
            total += entropy.detach() * len(rows)
        number, loss = number + 1, float(total) / len(X)
        if not loss < float("inf"):
            checks.fail("learning_rate", "one at which the loss stays finite", learning_rate, "try a tenth of it")
