"""Symmetric linear systems H p = v by products with H, for several right-hand sides (rows) at once.

Every solver takes `product`: rows (q, p) -> rows (q, p), and gives back the solutions with the norms of the residuals
v - H p. A row that has converged is left alone, and no further products are spent on it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor

from theory import checks

Product = Callable[[Tensor], Tensor]
_RESTS = "descend further, add a ridge to the inner loss, or use method='minres' or 'exact'"


class IndefiniteHessian(checks.InvalidInput):
    """The method needs a positive definite Hessian, and a direction of negative (or no) curvature was met."""


class Diverging(checks.InvalidInput):
    """The remainders of the Neumann series grow: alpha is 2/L or more, or the Hessian is indefinite."""


@dataclass(frozen=True, eq=False)
class Solution:
    """Of q systems.

    Attributes:
        rows: p, (q, p).
        residuals: ||v - H p||_2, (q,); see the solver for which p.
        message: what the caller should know; empty when there is nothing.
    """

    rows: Tensor
    residuals: Tensor
    message: str = ""


def unit(rows: Tensor) -> Tensor:
    """The power of two (q, 1) that takes the largest entry of each row into [1, 2): squares stay in float range."""
    top = rows.abs().amax(dim=1, keepdim=True)
    return (top / (2 * torch.frexp(top).mantissa)).where(top > 0, torch.ones_like(top))


def conjugate_gradients(product: Product, v: Tensor, tolerance: float, iterations: int) -> Solution:
    """Conjugate gradients from 0 until ||v - H p|| <= tolerance ||v||, by the recurrence's residual.

    Source: Hestenes & Stiefel (1952).

    Raises:
        IndefiniteHessian: a search direction d with <d, H d> <= 0.
        InvalidInput: a product that is not finite; so do all solvers here.
    """
    if len(v) == 1:
        return _one_system(product, v[0], tolerance, iterations)
    p, r = torch.zeros_like(v), v.clone()
    square = (r * r).sum(dim=1)
    goal = tolerance**2 * square
    d = r.clone()
    active = torch.nonzero(square > goal).flatten()
    for step in range(iterations):
        if not len(active):
            break
        on: Any = slice(None) if len(active) == len(v) else active  # views, not copies, while all rows go on
        ahead, before = d[on], square[on]
        moved = product(ahead)
        curvature = torch.linalg.vecdot(ahead, moved)
        _positive(curvature, ahead, step + 1)
        length = (before / curvature)[:, None]
        p[on] += length * ahead
        r[on] -= length * moved
        left = r[on]
        fresh = torch.linalg.vecdot(left, left)
        d[on] = left + (fresh / before)[:, None] * ahead
        square[on] = fresh
        unsolved = fresh > goal[on]
        if not bool(unsolved.all()):
            active = active[unsolved]
    return Solution(p, square.sqrt())


def minres(product: Product, v: Tensor, tolerance: float, iterations: int) -> Solution:
    """The least residual in the Krylov space, for any symmetric H; stops as `conjugate_gradients` does.

    Source: Paige & Saunders (1975), Lanczos and Givens rotations.
    """
    size = _lengths(v)
    p, residuals = torch.zeros_like(v), size.clone()
    active = torch.nonzero(size > 0).flatten()
    q, before = v[active] / size[active, None], torch.zeros_like(v[active])
    w1, w2 = torch.zeros_like(q), torch.zeros_like(q)
    beta, eta = torch.zeros_like(size[active]), size[active]
    c0, c1 = torch.ones_like(eta), torch.ones_like(eta)
    s0, s1 = torch.zeros_like(eta), torch.zeros_like(eta)
    norm, eps = torch.zeros_like(eta), torch.finfo(v.dtype).eps
    for _ in range(iterations):
        if not len(active):
            break
        u = product(q)
        alpha = (q * u).sum(dim=1)
        u = u - alpha[:, None] * q - beta[:, None] * before
        next_beta = _lengths(u)
        if not bool((alpha.isfinite() & next_beta.isfinite()).all()):
            _not_finite()
        norm = torch.maximum(norm, alpha.abs() + beta + next_beta)  # of H, from below
        delta = c1 * alpha - c0 * s1 * beta
        top = torch.hypot(delta, next_beta)
        sound = top > 64 * eps * norm  # else H is singular on the Krylov space: what is left can't be removed
        top = top.where(sound, torch.ones_like(top))
        w0 = (q - (s0 * beta)[:, None] * w2 - (s1 * alpha + c0 * c1 * beta)[:, None] * w1) / top[:, None]
        c, s = (delta / top).where(sound, torch.zeros_like(top)), (next_beta / top).where(sound, torch.ones_like(top))
        p[active] += (c * eta)[:, None] * w0
        eta = -s * eta
        residuals[active] = eta.abs()
        # a vanishing next_beta means that the Krylov space is exhausted: nothing more can be gained
        on = sound & (eta.abs() > tolerance * size[active]) & (next_beta > 64 * eps * norm)
        scaled = u / next_beta.clamp(min=torch.finfo(v.dtype).tiny)[:, None]
        kept = (active, scaled, q, w0, w1, next_beta, eta, c1, c, s1, s, norm)
        active, q, before, w1, w2, beta, eta, c0, c1, s0, s1, norm = (part[on] for part in kept)
    return Solution(p, residuals)


def neumann(product: Product, v: Tensor, alpha: float, order: int) -> Solution:
    """P_K v = alpha sum_{j=0..K} (I - alpha H)^j v: K+1 terms, K = `order` products. Source: Lorraine et al. (2020).

    The residual stated is that of one term fewer, ||(I - alpha H)^K v||, which is free; where the series converges
    that of P_K v is no larger.

    Raises:
        Diverging: a remainder is longer than the one before.
    """
    remainder, total = v.clone(), v.clone()
    size = torch.linalg.vector_norm(v, dim=1)
    for step in range(order):
        remainder -= alpha * product(remainder)
        fresh = torch.linalg.vector_norm(remainder, dim=1)
        # where nothing shrinks (zero curvature) rounding alone may lengthen it
        grown = ~(fresh <= size * (1 + 64 * torch.finfo(v.dtype).eps))
        if grown.any():
            if not bool(fresh.isfinite().all()):
                _not_finite()
            row = int(torch.nonzero(grown)[0])
            raise Diverging(
                f"Neumann series: expected remainders that shrink, got {float(size[row]):.3g} then "
                f"{float(fresh[row]):.3g} at term {step + 2}; make alpha smaller than 2 over the largest "
                f"eigenvalue; if the Hessian is indefinite, {_RESTS}"
            )
        total += remainder
        size = fresh
    return Solution(alpha * total, size)


def dense(H: Tensor, v: Tensor) -> tuple[Solution, float, float]:
    """A direct solve, with the least and the largest eigenvalue of H: Cholesky if it is definite, else by eigenvectors.

    Raises:
        InvalidInput: H is singular to working precision.
    """
    if not bool(H.isfinite().all()):
        _not_finite()
    values, vectors = torch.linalg.eigh(H)
    least, largest = float(values[0]), float(values[-1])
    floor = len(H) * torch.finfo(H.dtype).eps * float(values.abs().max())
    if float(values.abs().min()) <= floor:
        got = f"an eigenvalue {float(values[values.abs().argmin()]):.3g} beside {largest:.3g}"
        checks.fail("Hessian", "an invertible matrix", got, "add a ridge to the inner loss")
    p = torch.cholesky_solve(v.T, torch.linalg.cholesky(H)).T if least > 0 else (v @ vectors / values) @ vectors.T
    message = "" if least > 0 else f"the Hessian is indefinite (least eigenvalue {least:.3g}): w is no minimum"
    residuals = torch.linalg.vector_norm(v - p @ H, dim=1)
    return Solution(p.contiguous(), residuals, message), least, largest


def lanczos(product: Product, start: Tensor, steps: int) -> tuple[float, float]:
    """Least and largest Ritz value of H after `steps` products; they lie within the spectrum, up to rounding.

    Full orthogonalisation, so that rounding makes no copies of eigenvalues. Source: Golub & Van Loan, 10.1.

    Args:
        product: with H.
        start: (p,).
        steps: >= 1; fewer are taken where the Krylov space ends.
    """
    basis = [start / torch.linalg.vector_norm(start)]
    diagonal: list[float] = []
    beside: list[float] = []
    for _ in range(min(steps, len(start))):
        u = product(basis[-1][None])[0]
        diagonal.append(float(u @ basis[-1]))
        held = torch.stack(basis)
        for _ in range(2):  # twice is enough (Kahan, Parlett)
            u = u - (held @ u) @ held
        length = float(_lengths(u[None]))
        if not math.isfinite(diagonal[-1] + length):
            _not_finite()
        if not length > 1e-10 * max(map(abs, diagonal)):
            break
        beside.append(length)
        basis.append(u / length)
    size = len(diagonal)
    T = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    for i, entry in enumerate(beside[: size - 1]):
        T[i, i + 1] = T[i + 1, i] = entry
    values = torch.linalg.eigvalsh(T)
    return float(values[0]), float(values[-1])


def _one_system(product: Product, v: Tensor, tolerance: float, iterations: int) -> Solution:
    """The same for one right-hand side, in place: without the bookkeeping of rows."""
    p, r, d = torch.zeros_like(v), v.clone(), v.clone()
    square = float(v @ v)
    goal = tolerance**2 * square
    for step in range(iterations):
        if square <= goal:
            break
        moved = product(d[None])[0]
        curvature = float(d @ moved)
        if not 0 < curvature < math.inf:
            _indefinite(curvature / float(d @ d), step + 1)
        p.add_(d, alpha=square / curvature)
        r.sub_(moved, alpha=square / curvature)
        fresh = float(r @ r)
        d.mul_(fresh / square).add_(r)
        square = fresh
    return Solution(p[None], v.new_tensor([square**0.5]))


def _positive(curvature: Tensor, directions: Tensor, step: int) -> None:
    good = (curvature > 0) & curvature.isfinite()
    if not bool(good.all()):
        row = int(torch.nonzero(~good)[0])
        _indefinite(float(curvature[row] / directions[row].square().sum()), step)


def _indefinite(value: float, step: int) -> NoReturn:
    if not math.isfinite(value):
        _not_finite()
    raise IndefiniteHessian(
        f"Hessian: expected positive curvature (conjugate gradients), got {value:.3g} "
        f"along the direction of product {step}; {_RESTS}"
    )


def _lengths(rows: Tensor) -> Tensor:
    scale = unit(rows)
    return torch.linalg.vector_norm(rows / scale, dim=1) * scale[:, 0]


def _not_finite() -> NoReturn:
    remedy = "the inner loss may lack a second derivative at this w (a root at 0), or overflow: move w, or rescale"
    checks.fail("products with the Hessian", "finite numbers", "NaN or infinity", remedy)
