"""Small networks trained side by side, one for each of many problems of one shape: those of `modality_map`."""

import itertools
import math

import numpy as np
import torch

from theory import seeding
from theory.entropy.regulariser import FunctionalEntropyRegulariser


class Networks(torch.nn.Module):
    """Independent networks of one shape, with two logits; their first weights depend on the seed alone and are equal.

    Args:
        count: of networks.
        inputs: of each.
        hidden: units of the hidden layer, 0 for none.
        seed: of the first weights.
    """

    def __init__(self, count: int, inputs: int, hidden: int, seed: int) -> None:
        super().__init__()
        draw = seeding.torch_generator("first weights", seed)
        sizes = [inputs, *([hidden] if hidden else []), 2]
        self.weights, self.biases = torch.nn.ParameterList(), torch.nn.ParameterList()
        for before, after in itertools.pairwise(sizes):
            weight = torch.randn(before, after, generator=draw) / math.sqrt(before)
            self.weights.append(weight.expand(count, -1, -1).clone())
            self.biases.append(torch.zeros(count, 1, after))

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Logits (..., networks, n, 2) of two modalities (..., networks, n, d)."""
        x = torch.cat([first, second], dim=-1)
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = (torch.relu(x) if number else x) @ weight + bias
        return x


def by_problem(
    regulariser: FunctionalEntropyRegulariser, networks: Networks, inputs: list[torch.Tensor]
) -> torch.Tensor:
    """The terms of every modality and problem, (2, problems): the samples of all problems are one batch to the library.

    Args:
        regulariser: of form, covariance and draws.
        networks: one for each problem.
        inputs: the two modalities (problems, n, d).
    """
    problems, count, dimension = inputs[0].shape

    def head(*rows: torch.Tensor) -> torch.Tensor:
        first, second = (part.reshape(-1, problems, count, dimension) for part in rows)
        return networks(first, second).reshape(-1, 2)

    samples = regulariser.per_sample(head, [part.reshape(-1, dimension) for part in inputs])
    return samples.reshape(2, problems, count).mean(dim=2)


def stacked(samples: list[np.ndarray]) -> torch.Tensor:
    """One modality of all problems, (problems, n, d) float32."""
    return torch.from_numpy(np.stack(samples)).float()
