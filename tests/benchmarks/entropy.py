"""Entropy, information and variance of a network from draws, against a loop that takes one gradient per draw.

The loop is how autograd is used when a gradient per sample is wanted and nothing is known about batching: forward and
backward, draw by draw, on the same draws. The batched values are compared to the loop's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.harness import OURS, Workload
from theory import seeding
from theory.entropy import Gaussian, evaluate

SIZE, TINY = (2_000, 64, 128), (12, 3, 4)
LOOP = "one gradient per draw"
SEED = 0

Call = Callable[[], Any]


@dataclass(frozen=True)
class Problem:
    """A network's softplus output, positive, and the Gaussian measure of its inputs."""

    f: Callable[[torch.Tensor], torch.Tensor]
    measure: Gaussian
    draws: int


def problem(size: tuple[int, int, int]) -> Problem:
    """A random network of one hidden layer in float64.

    Args:
        size: draws, dimension, hidden units.
    """
    draws, dimension, width = size
    generator = seeding.torch_generator("benchmark network", SEED)
    U = torch.randn(dimension, width, generator=generator, dtype=torch.float64) / dimension**0.5
    v = torch.randn(width, generator=generator, dtype=torch.float64) / width**0.5
    root = torch.randn(dimension, dimension, generator=generator, dtype=torch.float64) / dimension**0.5
    measure = Gaussian(torch.zeros(dimension, dtype=torch.float64), root @ root.T)
    return Problem(lambda z: torch.nn.functional.softplus(torch.tanh(z @ U) @ v), measure, draws)


def batched(given: Problem) -> Call:
    """Entropy, half information, variance with their intervals."""

    def call() -> tuple[float, float, float]:
        found = evaluate(given.f, given.measure, gradients=True, draws=given.draws, seed=SEED)
        estimates = found.entropy(corrected=False), found.log_sobolev_bound(), found.variance()
        return tuple(float(one.value) for one in estimates)  # type: ignore[return-value]

    return call


def loop(given: Problem) -> Call:
    """The three values alone, draw by draw."""
    S = torch.from_numpy(given.measure.metric)

    def call() -> tuple[float, float, float]:
        values, informations = [], []
        for z in given.measure.sample(given.draws, SEED):
            point = z[None].requires_grad_()
            value = given.f(point)[0]
            (gradient,) = torch.autograd.grad(value, point)
            values.append(value.detach())
            informations.append((gradient[0] @ S @ gradient[0] / value).detach())
        f = torch.stack(values)
        entropy = (f * f.log()).mean() - f.mean() * f.mean().log()
        return float(entropy), float(torch.stack(informations).mean() / 2), float(f.var())

    return call


def workloads(tiny: bool) -> list[Workload]:
    """One network."""
    size = TINY if tiny else SIZE
    draws, dimension, width = size
    name = f"functional entropy, {draws:,} draws, {dimension}-{width}-1 network"
    return [Workload(name, lambda: problem(size), {OURS: batched, LOOP: loop}, once=frozenset({LOOP}))]
