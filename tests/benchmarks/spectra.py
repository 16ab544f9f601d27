"""Singular values of a Jacobian, and the trajectory of linearised descent.

The rivals get what ours has to make first: the explicit J is theirs for free, and its forming is not timed.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import scipy.linalg
import torch

from benchmarks import kernel_matrix
from benchmarks.harness import OURS, Workload, relative
from theory import early_stopping, spectrum
from theory.networks import TwoLayer

Call = Callable[[], Any]
TIMES = 200  # of the linearised trajectory that are asked for
LAST = 2000


class WithJacobian(kernel_matrix.Problem):
    """The kernel's inputs with the explicit Jacobian and its singular values."""

    def __init__(self, problem: kernel_matrix.Problem):
        super().__init__(problem.X, problem.W, problem.v, problem.activation)
        slopes = kernel_matrix.TORCH[self.activation](self.X @ self.W.T) * self.v
        J = (slopes[:, :, None] * self.X[:, None, :]).flatten(1)
        object.__setattr__(self, "J", J)
        triangle = np.linalg.qr(J.T.numpy(), mode="r")  # backward stable, and far cheaper than the SVD of a wide J
        object.__setattr__(self, "values", scipy.linalg.svdvals(triangle))


def with_jacobian(size: tuple[int, int, int]) -> WithJacobian:
    """Inputs of the singular values: ReLU, float64."""
    return WithJacobian(kernel_matrix.problem(size, "relu", "float64"))


def worst(values: Any, inputs: WithJacobian) -> float:
    """The largest relative error of any singular value, the least one included."""
    values = np.sort(np.asarray(values))[::-1]
    return float(np.max(np.abs(values - inputs.values) / inputs.values))


def ours(inputs: WithJacobian) -> Call:
    network = TwoLayer(inputs.W, inputs.v, inputs.activation)
    return lambda: spectrum.singular_values(inputs.X, network)


def of_jacobian(inputs: WithJacobian) -> Call:
    return lambda: torch.linalg.svdvals(inputs.J)


def of_product(inputs: WithJacobian) -> Call:
    return lambda: torch.linalg.eigvalsh(inputs.J @ inputs.J.T).clamp(min=0).sqrt()


class Linear:
    """A kernel, a residual, a step below the stable one, times, and the truth: that many steps in float64."""

    def __init__(self, size: tuple[int, int, int]):
        problem = kernel_matrix.problem(size, "relu", "float64")
        slopes = kernel_matrix.TORCH["relu"](problem.X @ problem.W.T) * problem.v
        self.K = (problem.X @ problem.X.T) * (slopes @ slopes.T)
        self.r = torch.ones(len(self.K), dtype=torch.float64)
        self.r[::2] = -1
        self.step = 1 / float(torch.linalg.eigvalsh(self.K)[-1])
        self.taus = np.unique(np.geomspace(1, LAST, TIMES).round().astype(int))
        self.truth = by_steps(self)().numpy()


def by_eigenvectors(inputs: Linear) -> Call:
    return lambda: early_stopping.linearised(inputs.K, inputs.r, inputs.step, inputs.taus)


def by_steps(inputs: Linear) -> Call:
    wanted = frozenset(inputs.taus.tolist())

    def call() -> torch.Tensor:
        r, kept = inputs.r.clone(), []
        for tau in range(1, LAST + 1):
            r = torch.addmv(r, inputs.K, r, alpha=-inputs.step)
            if tau in wanted:
                kept.append(r)
        return torch.stack(kept)

    return call


def workloads(tiny: bool) -> list[Workload]:
    """Singular values at (500, 20, 4096), the trajectory at n = 1000."""
    size, large = ((12, 3, 40), (20, 3, 40)) if tiny else ((500, 20, 4096), (1000, 20, 4096))
    return [
        Workload(
            "singular values relu float64",
            partial(with_jacobian, size),
            {OURS: ours, "svdvals(J)": of_jacobian, "eigvalsh(J J^T)": of_product},
            worst,
            once=frozenset({"svdvals(J)"}),
        ),
        Workload(
            f"linearised trajectory to tau = {LAST}",
            partial(Linear, large),
            {OURS: by_eigenvectors, "step by step": by_steps},
            lambda path, inputs: relative(path, inputs.truth),
            rounds=5,
        ),
    ]
