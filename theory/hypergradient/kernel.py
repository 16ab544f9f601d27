"""Hypergradients of a squared loss with a ridge on a piecewise-linear network: an n x n kernel and a Cholesky.

There H = J^T D J + r I exactly, with D the example weights and J the Jacobian of the outputs. Everything that the
implicit part needs is J p, p = H^{-1} v, and J (J^T D J + r I)^{-1} = (K D + r I)^{-1} J with K = J J^T: no system in
weight space is solved, and nothing cancels, however small the ridge. For a rectifier K is counted, not multiplied.
"""

import copy
from typing import Any

import torch
from torch import Tensor

from theory import checks, covariance
from theory.derivatives import Expansion, Flat
from theory.hypergradient.modules import SquaredLoss
from theory.hypergradient.solvers import Solution
from theory.networks import TwoLayer

_NEXT = "use method='cg'"
_AGREEMENT = 1e-6  # relative residual by true Hessian products, up to which a network counts as piecewise linear


def solve(loss: SquaredLoss, w: Flat, phi: Flat, v: Tensor, verify: bool) -> tuple[Tensor, Solution | None, int]:
    """-B^T H^{-1} v for each of the rows v (q, p), in float64.

    Args:
        loss: the inner loss.
        w: the weights' point.
        phi: likewise.
        v: gradients of the outer loss in w.
        verify: measure the residual by a product with the true Hessian; always done where the network is not known to
            be piecewise linear.

    Returns:
        Rows (q, m); the solutions in weight space, where they were needed; Hessian products spent.

    Raises:
        InvalidInput: negative example weights, a ridge lost in rounding, or a network that is not piecewise linear.
    """
    point = w.tree
    errors = loss.residuals(point).detach().double()  # (n, c)
    outputs = errors.shape[1]

    def spread(at: Tensor) -> Tensor:
        return loss.example_weights(phi.restore(at))

    recorded: Any = torch.func.vjp(spread, phi.vector)
    lam, pull = recorded[0].detach().double(), recorded[1]
    checks.finite("example weights", lam)
    if float(lam.min()) < 0:
        checks.fail("example weights", "numbers >= 0 (method='kernel')", float(lam.min()), _NEXT)
    root = lam.sqrt().repeat_interleave(outputs)  # the outputs of an example side by side, as in the kernel

    X = loss.X.double()
    network = _placed(loss, point)
    K = covariance.empirical_kernel(X, network)
    J = covariance.jacobian(X, network)
    projected = J.forward_product(v.double().T)  # J v, (n c, q)

    M = root[:, None] * K * root
    M.diagonal().add_(loss.ridge)
    factor, failed = torch.linalg.cholesky_ex(M)
    if int(failed) or not bool(factor.isfinite().all()):
        got = f"a ridge of {loss.ridge:.3g} beside entries up to {float(M.diagonal().max()):.3g}"
        checks.fail("weighted kernel + ridge", "a matrix that is positive definite in float64", got, "raise the ridge")
    u = torch.cholesky_solve(root[:, None] * projected, factor)
    positive = (root > 0)[:, None]
    moved = (projected - K @ (root[:, None] * u)) / loss.ridge if not bool(positive.all()) else projected
    Jp = torch.where(positive, u / root[:, None].where(positive, torch.ones_like(u[:, :1])), moved)
    by_weight = -(errors[:, :, None] * Jp.reshape(len(errors), outputs, -1)).sum(dim=1)  # (n, q)
    with torch.no_grad():
        implicit = torch.stack([pull(column.to(phi.vector.dtype))[0] for column in by_weight.T])

    if loss.closed_form and not verify:
        return implicit, None, 0
    v = v.double()
    p = ((v.T - J.adjoint_product(root[:, None] * u)) / loss.ridge).T
    precise = SquaredLoss(network.double(), X, loss.y.double(), loss.ridge, loss.weights)
    at = Expansion(precise, Flat("w", {name: weight.double() for name, weight in point.items()}), phi, "inner")
    residuals = torch.linalg.vector_norm(v - at.hessian(p), dim=1)
    sizes = torch.linalg.vector_norm(v, dim=1).clamp(min=torch.finfo(v.dtype).tiny)
    worst = float((residuals / sizes).max())
    if worst > _AGREEMENT and not loss.closed_form:
        got = f"a relative residual of {worst:.2g} by products with the Hessian itself"
        checks.fail("network", "one that is piecewise linear in its trained weights (method='kernel')", got, _NEXT)
    return implicit, Solution(p, residuals), at.products


def _placed(loss: SquaredLoss, point: dict[str, Tensor]) -> torch.nn.Module:
    """The module at these weights, as `theory.covariance` reads it."""
    if isinstance(loss.module, TwoLayer) and loss.closed_form:
        return loss.module.at(point["W"].double())
    module = copy.deepcopy(loss.module)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if name in point:
                weight.copy_(point[name])
    return module
