"""Full-batch gradient descent on 1/2 sum (v^T phi(W x_i) - y_i)^2, ReLU, float32: one large run, and 64 small ones.

Everybody gets the same X, W0, v, y and step size, makes the same number of steps and returns the final weights. Times
are per step of all runs, with what start and end cost in them. The error is that of the way travelled, W - W0, against
the same steps in float64.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import OURS, Missing, Workload, relative
from theory import descent, ensemble, seeding
from theory.networks import TwoLayer

Call = Callable[[], Any]
L2_BLOCK = 64  # hidden units: with n = 1000 their float32 pre-activations take 256 KB


@dataclass(frozen=True)
class Problem:
    """Runs stacked along the first axis: X (r, n, d), W (r, k, d), y (r, n); v (k,) and the step size are shared."""

    X: Tensor
    W: Tensor
    v: Tensor
    y: Tensor
    step: float
    steps: int

    @cached_property
    def truth(self) -> np.ndarray:
        """The way travelled, in float64."""
        X, W0, v, y = (part.double().numpy() for part in (self.X, self.W, self.v, self.y))
        W = W0.copy()
        for run in range(len(X)):
            for _ in range(self.steps):
                Z = X[run] @ W[run].T
                residual = np.maximum(Z, 0) @ v - y[run]
                W[run] -= self.step * v[:, None] * ((Z > 0).T @ (residual[:, None] * X[run]))
        return W - W0


def problem(runs: int, size: tuple[int, int, int], steps: int) -> Problem:
    """Spherical inputs, labels of either sign, W0 standard normal, |v_j| = 1/sqrt(k); half the largest stable step."""
    n, d, k = size
    generator = seeding.torch_generator("benchmark descent", 0)
    X = torch.randn(runs, n, d, dtype=torch.float64, generator=generator)
    X /= torch.linalg.vector_norm(X, dim=2, keepdim=True)
    y = torch.randint(0, 2, (runs, n), generator=generator).double() * 2 - 1
    networks = [TwoLayer.initialise(k, d, "relu", seed=seed) for seed in range(runs)]
    slopes = (X[0] @ networks[0].W.detach().T > 0) * networks[0].v
    step = 1 / float(torch.linalg.eigvalsh((X[0] @ X[0].T) * (slopes @ slopes.T))[-1])
    W = torch.stack([network.W.detach() for network in networks])
    return Problem(X.float(), W.float(), networks[0].v.float(), y.float(), step, steps)


def error(W: Any, inputs: Problem) -> float:
    """Relative distance of the way travelled."""
    W = np.asarray(W, dtype=np.float64).reshape(inputs.W.shape)
    return relative(W - inputs.W.double().numpy(), inputs.truth)


def ours_one(inputs: Problem) -> Call:
    network = TwoLayer(inputs.W[0], inputs.v, "relu")

    def call() -> Tensor:
        trained = descent.train(
            network, inputs.X[0], inputs.y[0], step=inputs.step, steps=inputs.steps, record=[inputs.steps]
        )
        return trained.network.W.detach()

    return call


def ours_many(inputs: Problem) -> Call:
    networks = [TwoLayer(W, inputs.v, "relu") for W in inputs.W]
    return lambda: trained_together(networks, inputs.X, inputs.y, inputs.step, inputs.steps)


def trained_together(networks: list[TwoLayer], X: Tensor, y: Tensor, step: float, steps: int) -> Tensor:
    """The final weights of all runs."""
    runs = ensemble.train_many(networks, list(X), list(y), step=step, steps=steps, record=[steps])
    return torch.stack([run.network.W.detach() for run in runs])


def looped(one: Callable[..., Tensor], width_major: bool = False) -> Callable[[Problem], Call]:
    """A contender for any number of runs that takes them one after the other."""

    def prepare(inputs: Problem) -> Call:
        starts = inputs.W.transpose(1, 2).contiguous() if width_major else inputs.W

        def call() -> Tensor:
            runs = zip(inputs.X, starts, inputs.y, strict=True)
            ends = torch.stack([one(X, W.clone(), inputs.v, y, inputs.step, inputs.steps) for X, W, y in runs])
            return ends.transpose(1, 2) if width_major else ends

        return call

    return prepare


def autograd(X: Tensor, W: Tensor, v: Tensor, y: Tensor, step: float, steps: int) -> Tensor:
    W = W.requires_grad_()
    optimiser = torch.optim.SGD([W], lr=step)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = 0.5 * (torch.relu(X @ W.T) @ v - y).square().sum()
        loss.backward()
        optimiser.step()
    return W.detach()


def hand(X: Tensor, W: Tensor, v: Tensor, y: Tensor, step: float, steps: int) -> Tensor:
    Z, slopes = X.new_empty(len(X), len(W)), X.new_empty(len(X), len(W))
    gradient = torch.empty_like(W)
    for _ in range(steps):
        torch.mm(X, W.T, out=Z)
        torch.gt(Z, 0, out=slopes)
        residual = Z.clamp_(min=0) @ v - y
        torch.mm(slopes.T, X * residual[:, None], out=gradient)
        W.sub_(gradient.mul_(v[:, None]), alpha=step)
    return W


def hand_width_major(X: Tensor, W: Tensor, v: Tensor, y: Tensor, step: float, steps: int) -> Tensor:
    Z, slopes = X.new_empty(len(X), len(v)), X.new_empty(len(X), len(v))
    gradient = torch.empty_like(W)
    for _ in range(steps):
        torch.mm(X, W, out=Z)
        torch.gt(Z, 0, out=slopes)
        residual = Z.clamp_(min=0) @ v - y
        torch.mm((X * residual[:, None]).T, slopes, out=gradient)
        W.sub_(gradient.mul_(v), alpha=step)
    return W


def blocked(X: Tensor, W: Tensor, v: Tensor, y: Tensor, step: float, steps: int) -> Tensor:
    blocks = [W[:, a : a + L2_BLOCK].contiguous() for a in range(0, W.shape[1], L2_BLOCK)]
    signs = v.split(L2_BLOCK)
    Z, slopes = X.new_empty(len(X), L2_BLOCK), X.new_empty(len(blocks), len(X), L2_BLOCK)
    for _ in range(steps):
        residual = -y
        for W_block, v_block, slope in zip(blocks, signs, slopes, strict=True):
            torch.mm(X, W_block, out=Z)
            torch.gt(Z, 0, out=slope)
            residual = torch.addmv(residual, Z.clamp_(min=0), v_block)
        weighted = (X * residual[:, None]).T.contiguous()
        for W_block, v_block, slope in zip(blocks, signs, slopes, strict=True):
            W_block.sub_((weighted @ slope).mul_(v_block), alpha=step)
    return torch.cat(blocks, dim=1)


def stacked_autograd(inputs: Problem) -> Call:
    def call() -> Tensor:
        W = inputs.W.clone().requires_grad_()
        optimiser = torch.optim.SGD([W], lr=inputs.step)
        for _ in range(inputs.steps):
            optimiser.zero_grad()
            loss = 0.5 * (torch.relu(torch.bmm(inputs.X, W.mT)) @ inputs.v - inputs.y).square().sum()
            loss.backward()
            optimiser.step()
        return W.detach()

    return call


def stacked_by_hand(inputs: Problem) -> Call:
    X, v, y = inputs.X, inputs.v, inputs.y

    def call() -> Tensor:
        W = inputs.W.mT.contiguous()
        Z, slopes, gradient = X.new_empty(*y.shape, len(v)), X.new_empty(*y.shape, len(v)), torch.empty_like(W)
        for _ in range(inputs.steps):
            torch.bmm(X, W, out=Z)
            torch.gt(Z, 0, out=slopes)
            residual = Z.clamp_(min=0) @ v - y
            torch.bmm((X * residual[:, :, None]).mT, slopes, out=gradient)
            W.sub_(gradient.mul_(v), alpha=inputs.step)
        return W.mT

    return call


def vmapped(inputs: Problem) -> Call:
    def loss(W: Tensor, X: Tensor, y: Tensor) -> Tensor:
        return 0.5 * (torch.relu(X @ W.T) @ inputs.v - y).square().sum()

    gradient = torch.func.vmap(torch.func.grad(loss))

    def call() -> Tensor:
        W = inputs.W.clone()
        for _ in range(inputs.steps):
            W.sub_(gradient(W, inputs.X, inputs.y), alpha=inputs.step)
        return W

    return call


def jax_scan(inputs: Problem, stacked: bool) -> Call:
    """By hand, width-major, all steps in one compiled scan; many runs by vmap, or one after the other."""
    try:
        import jax
    except ImportError:
        raise Missing("not installed: pip install jax") from None

    def run(W: Any, X: Any, y: Any, v: Any) -> Any:
        def one(W: Any, _: None) -> tuple[Any, None]:
            Z = X @ W
            residual = jax.numpy.maximum(Z, 0) @ v - y
            return W - inputs.step * ((X * residual[:, None]).T @ (Z > 0).astype(X.dtype)) * v, None

        return jax.lax.scan(one, W, None, length=inputs.steps)[0]

    compiled = jax.jit(jax.vmap(run, (0, 0, 0, None)) if stacked else run)
    W, X, y, v = (jax.numpy.asarray(part.contiguous().numpy()) for part in (inputs.W.mT, inputs.X, inputs.y, inputs.v))
    single = [(W[i], X[i], y[i], v) for i in range(len(W))]

    def call() -> np.ndarray:
        ends = [compiled(W, X, y, v)] if stacked else [compiled(*parts) for parts in single]
        return np.stack([np.asarray(end) for end in ends]).reshape(W.shape).swapaxes(1, 2)

    return call


ONE = {
    "autograd + SGD": looped(autograd),
    "hand gradient": looped(hand),
    "hand gradient, width-major": looped(hand_width_major, True),
    "hand gradient, blocks in L2": looped(blocked, True),
    "jax scan by hand": partial(jax_scan, stacked=False),
}
MANY = {
    "loop of autograd + SGD": looped(autograd),
    "torch.func vmap": vmapped,
    "bmm autograd": stacked_autograd,
    "bmm by hand": stacked_by_hand,
    "loop by hand, width-major": looped(hand_width_major, True),
    "jax vmap of scan": partial(jax_scan, stacked=True),
    "jax loop of scans": partial(jax_scan, stacked=False),
}
SLOW = frozenset({"loop of autograd + SGD", "bmm autograd", "bmm by hand"})


def workloads(tiny: bool) -> list[Workload]:
    """One run of (1000, 20, 4096); 64 runs of (200, 20, 512), each with its own data and start."""
    found = []
    for name, runs, size, steps, ours, rivals in (
        ("descent", 1, (40, 3, 64) if tiny else (1000, 20, 4096), 3 if tiny else 40, ours_one, ONE),
        ("ensemble", 3 if tiny else 64, (20, 3, 16) if tiny else (200, 20, 512), 3 if tiny else 100, ours_many, MANY),
    ):
        operations = 4.0 * runs * math.prod(size)
        options = {"calls": steps, "operations": operations, "rounds": 7, "seconds": 3.0, "once": SLOW}
        contenders = {OURS: ours, **rivals}
        for cores in ("one", "all"):
            few = {key: contenders[key] for key in (OURS, list(rivals)[1], list(rivals)[-1])}
            found.append(
                Workload(
                    name if cores == "one" else f"{name}, all cores",
                    partial(problem, runs, size, steps),
                    contenders if cores == "one" else few,
                    error,
                    cores=cores,
                    **options,
                )
            )
    return found
