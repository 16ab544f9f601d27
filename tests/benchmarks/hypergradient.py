"""Hypergradients of example weights: the kernel form at 40,960 weights, conjugate gradients at 2,000, and their peers.

Everybody gets the same losses and weights and returns dL_V/dphi (n,), in float64, at 1e-6 of the exact answer. Correct
peers only: hand-written conjugate gradients on torch.func's forward-over-reverse products, torchopt's (its Neumann
series is off by one and diverges by default), jax's, and a dense solve. `extra` says how many products each one took.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import OURS, Missing, Workload, relative
from theory import seeding
from theory.hypergradient import SquaredLoss, hypergradient
from theory.networks import TwoLayer

WIDE, LOGISTIC = (500, 20, 2048), (1000, 2000)
TINY_WIDE, TINY_LOGISTIC = (30, 5, 40), (40, 12)
RIDGE = 1e-2
TOLERANCE = 1e-7  # of the residual, for an error of 1e-6 in the gradient
DENSE = "dense solve"
TORCHOPT = "torchopt conjugate gradients"
FUNC = "torch.func conjugate gradients"
JAX = "jax conjugate gradients"

Call = Callable[[], Any]


@dataclass(frozen=True)
class Problem:
    """(inner, outer, w, phi) as functions of tensors; `logistic` holds X, y, V, z where there is a closed form."""

    inner: Any
    outer: Any
    w: Any
    phi: Tensor
    method: str
    logistic: tuple[Tensor, ...] = ()

    @cached_property
    def flat(self) -> tuple[Any, Any, Tensor]:
        """The losses of one vector, for peers that want vectors."""
        if isinstance(self.w, Tensor):
            return self.inner, self.outer, self.w
        [(name, weight)] = self.w.items()

        def shaped(loss: Any) -> Any:
            return lambda w, phi: loss({name: w.reshape(weight.shape)}, phi)

        return shaped(self.inner), shaped(self.outer), weight.reshape(-1)

    @cached_property
    def truth(self) -> np.ndarray:
        """By our conjugate gradients to 1e-12, or a dense solve where it can be afforded."""
        if self.logistic:
            return dense(self)().numpy()
        return hypergradient(self.inner, self.outer, self.w, self.phi, "cg", tolerance=1e-12).gradient.numpy()


def wide(size: tuple[int, int, int]) -> Problem:
    """Squared loss with a ridge on a ReLU network of (n, d, width)."""
    n, d, width = size
    random = seeding.torch_generator("benchmark hypergradient", 0)
    X, V = (torch.randn(rows, d, dtype=torch.float64, generator=random) for rows in (n, n // 5))
    X, V = (part / torch.linalg.vector_norm(part, dim=1, keepdim=True) for part in (X, V))
    y, z = (torch.randn(rows, dtype=torch.float64, generator=random).sign() for rows in (n, n // 5))
    inner = SquaredLoss(TwoLayer.initialise(width, d, "relu"), X, y, RIDGE)

    def outer(w: Any, phi: Tensor) -> Tensor:
        return (inner.model(w, V) - z).square().sum() / 2

    return Problem(inner, outer, inner.model.weights, torch.rand(n, dtype=torch.float64, generator=random), "kernel")


def logistic(size: tuple[int, int]) -> Problem:
    """Logistic regression with a ridge, (n, weights)."""
    n, p = size
    random = seeding.torch_generator("benchmark hypergradient", 1)
    X, V = (torch.randn(rows, p, dtype=torch.float64, generator=random) for rows in (n, n // 5))
    y, z = (torch.randn(rows, dtype=torch.float64, generator=random).sign() for rows in (n, n // 5))
    w = 0.01 * torch.randn(p, dtype=torch.float64, generator=random)
    softplus = torch.nn.functional.softplus

    def inner(w: Tensor, phi: Tensor) -> Tensor:
        return (phi * softplus(-y * (X @ w))).mean() + RIDGE / 2 * w.square().sum()

    def outer(w: Tensor, phi: Tensor) -> Tensor:
        return softplus(-z * (V @ w)).mean()

    return Problem(inner, outer, w, torch.rand(n, dtype=torch.float64, generator=random), "cg", (X, y, V, z))


def error(result: Any, problem: Problem) -> float:
    """Relative distance from the truth."""
    return relative(np.asarray(result), problem.truth)


def ours(problem: Problem) -> Call:
    """One call of the library."""
    options = {} if problem.method == "kernel" else {"tolerance": TOLERANCE}

    def call() -> Tensor:
        found = hypergradient(problem.inner, problem.outer, problem.w, problem.phi, problem.method, **options)
        call.extra = {"products": found.products}
        return found.gradient

    return call


def torch_func(problem: Problem) -> Call:
    """Textbook conjugate gradients, each product by jvp of grad, at 1e-7 as ours."""
    inner, outer, w = problem.flat

    def call() -> Tensor:
        gradient = torch.func.grad(inner)
        count = [0]

        def product(x: Tensor) -> Tensor:
            count[0] += 1
            return torch.func.jvp(lambda w: gradient(w, problem.phi), (w,), (x,))[1]

        p = _conjugate(product, torch.func.grad(outer)(w, problem.phi))
        call.extra = {"products": count[0]}
        return -torch.func.vjp(lambda phi: gradient(w, phi), problem.phi)[1](p)[0]

    return call


def torchopt(problem: Problem) -> Call:
    """torchopt's solver on autograd's products of a kept graph."""
    try:
        from torchopt import linear_solve
    except ImportError:
        raise Missing("not installed: pip install torchopt") from None
    inner, outer, start = problem.flat

    def call() -> Tensor:
        w, phi, count = start.clone().requires_grad_(), problem.phi.clone().requires_grad_(), [0]
        gradient = torch.autograd.grad(inner(w, phi), w, create_graph=True)[0]

        def product(x: Tensor) -> Tensor:
            count[0] += 1
            return torch.autograd.grad(gradient, w, x, retain_graph=True)[0]

        v = torch.autograd.grad(outer(w, phi), w)[0]
        p = linear_solve.solve_cg(rtol=TOLERANCE, atol=0.0, maxiter=1000)(product, v)
        call.extra = {"products": count[0]}
        return -torch.autograd.grad(gradient, phi, p.detach())[0]

    return call


def jax_cg(problem: Problem) -> Call:
    """jax, everything compiled; logistic regression only."""
    try:
        import jax
    except ImportError:
        raise Missing("not installed: pip install jax") from None

    def solve(X: Any, y: Any, V: Any, z: Any, w: Any, phi: Any) -> Any:
        def inner(w: Any, phi: Any) -> Any:
            return (phi * jax.nn.softplus(-y * (X @ w))).mean() + RIDGE / 2 * (w @ w)

        gradient = jax.grad(inner)
        v = jax.grad(lambda w: jax.nn.softplus(-z * (V @ w)).mean())(w)
        linear = jax.linearize(lambda w: gradient(w, phi), w)[1]
        p = jax.scipy.sparse.linalg.cg(linear, v, tol=TOLERANCE, maxiter=1000)[0]
        return -jax.vjp(lambda phi: gradient(w, phi), phi)[1](p)[0]

    with jax.enable_x64(True):
        arrays = [jax.numpy.asarray(part.numpy()) for part in (*problem.logistic, problem.w, problem.phi)]
        compiled = jax.jit(solve)

    def call() -> Any:
        with jax.enable_x64(True):
            return np.asarray(compiled(*arrays))

    return call


def dense(problem: Problem) -> Call:
    """The Hessian written out and solved by Cholesky; logistic regression only."""
    X, y, V, z = problem.logistic

    def call() -> Tensor:
        w, n = problem.w, len(X)
        s, u = torch.sigmoid(-y * (X @ w)), torch.sigmoid(-z * (V @ w))
        H = X.T @ ((problem.phi * s * (1 - s) / n)[:, None] * X)
        H.diagonal().add_(RIDGE)
        p = torch.cholesky_solve((-V.T @ (z * u) / len(V))[:, None], torch.linalg.cholesky(H))[:, 0]
        return (X @ p) * y * s / n

    return call


def workloads(tiny: bool) -> list[Workload]:
    """Both sizes."""
    first, second = (TINY_WIDE, TINY_LOGISTIC) if tiny else (WIDE, LOGISTIC)
    automatic = {TORCHOPT: torchopt, FUNC: torch_func}
    return [
        Workload(
            "hypergradient", lambda: wide(first), {OURS: ours, **automatic}, error, once=frozenset({FUNC, TORCHOPT})
        ),
        Workload(
            "hypergradient, logistic",
            lambda: logistic(second),
            {OURS: ours, JAX: jax_cg, DENSE: dense, **automatic},
            error,
        ),
    ]


def _conjugate(product: Callable[[Tensor], Tensor], v: Tensor) -> Tensor:
    p, r = torch.zeros_like(v), v.clone()
    d, square = r.clone(), r @ r
    goal = TOLERANCE**2 * square
    while square > goal:
        moved = product(d)
        length = square / (d @ moved)
        p, r = p + length * d, r - length * moved
        square, last = r @ r, square
        d = r + square / last * d
    return p
