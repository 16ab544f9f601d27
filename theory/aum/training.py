"""A trainer for `rank_labels`: minibatch descent on the cross-entropy, on a multilayer perceptron by default."""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from theory import arrays, checks, minibatch, seeding
from theory.arrays import Array
from theory.aum.accumulator import Accumulator
from theory.aum.ranking import Train


def perceptron(inputs: int, outputs: int, hidden: Sequence[int] = (128, 128), seed: int = 0) -> nn.Sequential:
    """A float32 multilayer perceptron with ReLU; weights and biases uniform within 1/sqrt(fan-in), as torch draws them.

    Args:
        inputs: features of an example, all axes together.
        outputs: logits.
        hidden: units of each hidden layer.
        seed: of the stream "perceptron weights", >= 0.

    Raises:
        InvalidInput: a layer without units.

    Example:
        >>> perceptron(64, 11)(torch.zeros(5, 8, 8)).shape
        torch.Size([5, 11])
    """
    sizes = [checks.integer("units", size, minimum=1) for size in (inputs, *hidden, outputs)]
    generator = seeding.torch_generator("perceptron weights", seed)
    layers: list[nn.Module] = [nn.Flatten()]
    for number, (before, after) in enumerate(itertools.pairwise(sizes)):
        layer = nn.utils.skip_init(nn.Linear, before, after)  # no draws from the global generator
        with torch.no_grad():
            for weight in (layer.weight, layer.bias):
                weight.copy_((2 * torch.rand(weight.shape, generator=generator) - 1) / math.sqrt(before))
        layers += [nn.ReLU(), layer] if number else [layer]
    return nn.Sequential(*layers)


def trainer(
    X: Array,
    network: Callable[[int, int], nn.Module] | None = None,
    *,
    learning_rate: float = 0.1,
    batch: int = 32,
    momentum: float = 0.0,
    seed: int = 0,
    observe: Callable[[int, int, np.ndarray, np.ndarray], object] | None = None,
) -> Train:
    """A `Train` for `rank_labels` on the examples X; run i draws weights and batches with streams of its own.

    Args:
        X: examples (n, ...), features of order one (scale them first).
        network: (outputs, seed) -> a fresh network with (n, outputs) logits; a `perceptron` if left out.
        learning_rate: constant, since AUM ends where it would drop.
        batch: examples per step.
        momentum: in [0, 1).
        seed: >= 0.
        observe: called with run, epoch (from 0), logits (m, outputs) and rows (m,) of each batch.

    Raises:
        InvalidInput: at once for X, during training for what `minibatch.epochs` refuses.
    """
    (examples,), _ = arrays.tensors(X=X)
    features = math.prod(examples.shape[1:])
    seed = checks.integer("seed", seed, minimum=0)
    make = network or (lambda outputs, seed: perceptron(features, outputs, seed=seed))

    def train(labels: np.ndarray, outputs: int, record: Accumulator, run: int) -> None:
        own = int(seeding.numpy_generator(f"training run {run}", seed).integers(2**31))

        def seen(scores: torch.Tensor, rows: torch.Tensor) -> None:
            chosen = rows.cpu().numpy()
            record.update(scores, labels[chosen], chosen)
            if observe is not None:
                observe(run, record.epochs, scores.cpu().numpy(), chosen)

        passes = minibatch.epochs(
            make(outputs, own),
            examples,
            labels,
            learning_rate=learning_rate,
            batch=batch,
            momentum=momentum,
            seed=own,
            observe=seen,
        )
        for now in passes:
            if now.number:
                record.end_epoch()
            if record.done:
                return

    return train
