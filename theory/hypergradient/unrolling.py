"""The hypergradient through T steps of gradient descent on the inner loss, by reverse mode."""

from dataclasses import dataclass

import torch
from torch import Tensor

from theory import checks
from theory.derivatives import Expansion, Flat, Loss, rows


@dataclass(frozen=True, eq=False)
class Unrolled:
    """What differentiating through descent gives.

    Attributes:
        gradient: rows (q, m), direct part included.
        w: the last iterate, where the outer loss was evaluated, (p,).
        stationarity: norm of the inner gradient there.
        products: with Hessians.
        scalar: whether the outer loss was one number.
    """

    gradient: Tensor
    w: Tensor
    stationarity: float
    products: int
    scalar: bool


def unroll(inner: Loss, outer: Loss, w: Flat, phi: Flat, alpha: float, steps: int) -> Unrolled:
    """d/dphi of L_V(w_T(phi), phi), w_{t+1} = w_t - alpha grad L_T(w_t, phi), with w_0 = w held constant.

    Raises:
        InvalidInput: descent leaves float range.
    """
    path: list[Expansion] = []
    now = w
    for step in range(steps):
        path.append(Expansion(inner, now, phi, "inner"))
        moved = now.vector - alpha * path[-1].gradient
        if not bool(moved.isfinite().all()):
            checks.fail("unrolled descent", "finite iterates", f"NaN or infinity at step {step + 1}", "lower alpha")
        now = Flat("w", w.restore(moved))
    _, p, gradient, scalar = rows(outer, now, phi, "outer")
    for at in reversed(path):
        gradient = gradient - alpha * at.mixed_adjoint(p)
        if at is not path[0]:  # nothing stands before w_0
            p = p - alpha * at.hessian(p)
    last = torch.linalg.vector_norm(Expansion(inner, now, phi, "inner").gradient)
    return Unrolled(gradient, now.vector, float(last), sum(at.products for at in path), scalar)
