"""One call for every way to a hypergradient, with a record of what it cost and how far it can be trusted."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from theory import checks, seeding
from theory.derivatives import Expansion, Flat, Loss, rows
from theory.hypergradient import kernel, solvers, unrolling
from theory.hypergradient.modules import SquaredLoss

Method = Literal["exact", "cg", "minres", "neumann", "unrolled", "one_step", "kernel"]
METHODS: tuple[Method, ...] = ("exact", "cg", "minres", "neumann", "unrolled", "one_step", "kernel")
_OPTIONS = {
    "order": ("neumann",),
    "steps": ("unrolled",),
    "alpha": ("neumann", "unrolled", "one_step"),
    "tolerance": ("cg", "minres"),
    "iterations": ("cg", "minres"),
}
_DENSE_BYTES = 2**31
_LANCZOS_STEPS = 12


class Ignored(UserWarning):
    """The inner loss does not react to phi, so that the implicit part of the hypergradient is exactly zero."""


class Unconverged(UserWarning):
    """The solver stopped at its limit of products before it reached its tolerance."""


@dataclass(frozen=True, eq=False)
class Hypergradient:
    """dL_V/dphi, and what it rests on.

    Attributes:
        gradient: in the structure of phi; with an outer loss of q values every leaf has a leading axis of length q.
        method: how.
        products: Hessian-vector products that the method took, each right-hand side counted.
        spectral_products: those that Lanczos took beside them, for the default alpha.
        residual: ||v - H p|| / ||v||, v the outer gradient in w, the worst over right-hand sides; None where it was not
            measured. For neumann that of one term fewer, which is free, and no smaller where the series converges.
        converged: whether the residual is within the tolerance (the method's, or 1e-8; 1e-5 in float32); None where
            there is no residual.
        largest: estimate of the Hessian's largest eigenvalue: exact for "exact", else Lanczos' (from below); or None.
        least: likewise of the least (Lanczos': from above).
        alpha: the step that was used, or None.
        stationarity: ||grad_w L_T|| at w: the formula is that of w*, where it is 0. None for "kernel".
        direct: d_phi L_V alone, in the structure of `gradient`.
        solution: p = H^{-1} v, in the structure of w (leading axis as above); None where the method has none.
        w: where the outer loss was evaluated: the given weights, or the last iterate of "unrolled".
        message: what should be known before the numbers are used; "" if there is nothing.
    """

    gradient: Any
    method: str
    products: int
    residual: float | None
    converged: bool | None
    stationarity: float | None
    direct: Any = field(repr=False)
    solution: Any = field(repr=False)
    w: Any = field(repr=False)
    spectral_products: int = 0
    largest: float | None = None
    least: float | None = None
    alpha: float | None = None
    message: str = ""


def hypergradient(
    inner: Loss,
    outer: Callable[[Any, Any], Tensor],
    w: Any,
    phi: Any,
    method: Method = "cg",
    *,
    order: int | None = None,
    steps: int | None = None,
    alpha: float | None = None,
    tolerance: float | None = None,
    iterations: int | None = None,
    verify: bool = False,
    seed: int = 0,
) -> Hypergradient:
    """dL_V/dphi = d_phi L_V - B^T H^{-1} grad_w L_V, with H = d2_ww L_T and B = d2_{w phi} L_T, at w.

    At a stationary point w of L_T with regular H it is the derivative of L_V(w*(phi), phi), by the implicit function
    theorem. Elsewhere it errs, by claims H6 and H7 of `theory.papers.raghu2021`; `stationarity` says how far w is.

    Args:
        inner: L_T(w, phi) -> scalar tensor, smooth at this point.
        outer: L_V(w, phi) -> scalar, or (q,) for several losses at once.
        w: a tensor, or a dict, list or tuple of them; `Functional(module).weights` for a module.
        phi: likewise.
        method: "exact" (dense H), "cg", "minres" (H may be indefinite), "neumann" (P_K: K+1 terms, K products),
            "unrolled" (through T steps of descent from w, held constant), "one_step" (p = alpha v, no product),
            "kernel" (inner a `SquaredLoss`).
        order: K >= 0, of "neumann".
        steps: T >= 1, of "unrolled".
        alpha: step of "neumann", "unrolled" and "one_step"; 1/L_hat by default, L_hat from 12 Lanczos steps.
        tolerance: of "cg" and "minres", for ||v - H p|| / ||v||; 1e-8 by default, 1e-5 in float32.
        iterations: most products for each right-hand side, of "cg" and "minres"; 1000 by default.
        verify: spend a product on the true residual of the solution.
        seed: of Lanczos' start.

    Raises:
        InvalidInput: shapes that do not match, a loss or one of its derivatives that is not finite, an option of
            another method, order < 0, alpha >= 2/L_hat; `IndefiniteHessian` for negative curvature found by "cg" or
            Lanczos; `Diverging` for a Neumann series whose remainders grow; a singular H ("exact"); a network that
            "kernel" cannot treat.

    Warns:
        Ignored: phi has no effect on the inner loss's gradient.
        Unconverged: the limit of products was reached first.

    Example:
        >>> inner = lambda w, phi: (w * w * torch.tensor([1.0, 4.0])).sum() / 2 - phi * w.sum()   # w* = (phi, phi/4)
        >>> outer = lambda w, phi: (w - 1).square().sum() / 2
        >>> found = hypergradient(inner, outer, torch.tensor([2.0, 0.5]), torch.tensor(2.0))
        >>> found.gradient, found.products, found.converged     # (2 - 1) * 1 + (.5 - 1)/4
        (tensor(0.8750), 2, True)
    """
    checks.choice("method", method, METHODS)
    given = {"order": order, "steps": steps, "alpha": alpha, "tolerance": tolerance, "iterations": iterations}
    for name, value in given.items():
        if value is not None and method not in _OPTIONS[name]:
            checks.fail(
                name, f"it left out with method={method!r}", value, f"it belongs to {', '.join(_OPTIONS[name])}"
            )
    order = checks.integer("order", order, minimum=0) if method == "neumann" else 0
    count = checks.integer("steps", steps, minimum=1) if method == "unrolled" else 0
    limit = checks.integer("iterations", 1000 if iterations is None else iterations, minimum=1)
    alpha = None if alpha is None else checks.number("alpha", alpha, 0, open_low=True)
    at_w, at_phi = Flat("w", w), Flat("phi", phi)
    goal = 1e-8 if at_w.vector.dtype == torch.float64 else 1e-5
    goal = checks.number("tolerance", goal if tolerance is None else tolerance, 0, 1, open_low=True)

    if method == "kernel":
        return _by_kernel(inner, outer, at_w, at_phi, verify, goal)
    at = Expansion(inner, at_w, at_phi, "inner")
    screened = _Spectrum.screen(at, alpha, seed) if "alpha" in _options(method) else _Spectrum()
    if method == "unrolled":
        assert screened.alpha is not None
        return _by_unrolling(inner, outer, at_w, at_phi, screened, count)

    _, v, direct, scalar = rows(outer, at_w, at_phi, "outer")
    scale = solvers.unit(v)
    v = v / scale  # exactly; all that follows is linear in v, and its squares neither vanish nor overflow
    start = at.products
    if method == "exact":
        size = at_w.size**2 * v.element_size()
        if size > _DENSE_BYTES:
            checks.fail("dense Hessian", f"at most {_DENSE_BYTES:.3g} bytes", f"{size:.3g}", "use method='cg'")
        solved, least, largest = solvers.dense(at.dense(), v)
        screened = _Spectrum(largest=largest, least=least)
    elif method == "cg":
        solved = solvers.conjugate_gradients(at.hessian, v, goal, limit)
    elif method == "minres":
        solved = solvers.minres(at.hessian, v, goal, limit)
    else:
        assert screened.alpha is not None
        solved = solvers.neumann(at.hessian, v, screened.alpha, order)
    products = at.products - start
    sizes = torch.linalg.vector_norm(v, dim=1)
    residuals = solved.residuals
    if verify:
        residuals = torch.linalg.vector_norm(v - at.hessian(solved.rows), dim=1)
    measured = method != "one_step" or verify
    residual = float((residuals / sizes.clamp(min=torch.finfo(v.dtype).tiny)).max()) if measured else None
    message = solved.message
    if method in ("cg", "minres") and residual is not None and residual > goal:
        message = f"{method} stopped after {products} products at a relative residual of {residual:.2g}, above {goal:g}"
        warnings.warn(f"{message}; raise iterations=, or add a ridge", Unconverged, stacklevel=2)
    p = solved.rows * scale
    implicit = at.mixed_adjoint(p)
    _usable(implicit)
    message = _ignored(at, implicit, sizes) or message
    return Hypergradient(
        gradient=_shaped(at_phi, direct - implicit, scalar),
        method=method,
        products=products,
        residual=residual,
        converged=None if residual is None else residual <= goal,
        stationarity=float(torch.linalg.vector_norm(at.gradient)),
        direct=_shaped(at_phi, direct, scalar),
        solution=_shaped(at_w, p, scalar),
        w=w,
        spectral_products=screened.products,
        largest=screened.largest,
        least=screened.least,
        alpha=screened.alpha,
        message=message,
    )


@dataclass(frozen=True)
class _Spectrum:
    """What is known of H before a series is summed."""

    alpha: float | None = None
    largest: float | None = None
    least: float | None = None
    products: int = 0

    @classmethod
    def screen(cls, at: Expansion, alpha: float | None, seed: int) -> "_Spectrum":
        """Lanczos, and what it says about alpha and definiteness.

        L_hat <= L: a screen that lets some diverging series pass. Their residuals are watched as well.
        """
        generator = seeding.torch_generator("Lanczos start", seed)
        start = torch.randn(at.w.size, generator=generator, dtype=torch.float64).to(at.gradient)
        before = at.products
        least, largest = solvers.lanczos(at.hessian, start, _LANCZOS_STEPS)
        eps = torch.finfo(at.gradient.dtype).eps
        if least < -100 * eps * abs(largest) or largest <= 0:
            raise solvers.IndefiniteHessian(
                f"Hessian: expected positive definite (a Neumann series, or descent), got curvature {least:.3g} beside "
                f"{largest:.3g} (Lanczos); {solvers._RESTS}"
            )
        if alpha is not None and alpha >= 2 / largest:
            remedy = f"the series diverges: leave alpha out (1/L_hat = {1 / largest:.3g})"
            checks.fail("alpha", f"less than 2/L_hat = {2 / largest:.6g}", alpha, remedy)
        return cls(1 / largest if alpha is None else alpha, largest, least, at.products - before)


def _options(method: str) -> list[str]:
    return [name for name, methods in _OPTIONS.items() if method in methods]


def _by_unrolling(inner: Loss, outer: Loss, w: Flat, phi: Flat, screened: _Spectrum, steps: int) -> Hypergradient:
    assert screened.alpha is not None
    found = unrolling.unroll(inner, outer, w, phi, screened.alpha, steps)
    _usable(found.gradient)
    at = Flat("w", w.restore(found.w))
    direct = rows(outer, at, phi, "outer")[2]
    message = ""
    if torch.equal(found.gradient, direct):
        message = _say_ignored(phi)
    return Hypergradient(
        gradient=_shaped(phi, found.gradient, found.scalar),
        method="unrolled",
        products=found.products,
        residual=None,
        converged=None,
        stationarity=found.stationarity,
        direct=_shaped(phi, direct, found.scalar),
        solution=None,
        w=at.tree,
        spectral_products=screened.products,
        largest=screened.largest,
        least=screened.least,
        alpha=screened.alpha,
        message=message,
    )


def _by_kernel(inner: Loss, outer: Loss, w: Flat, phi: Flat, verify: bool, goal: float) -> Hypergradient:
    if not isinstance(inner, SquaredLoss):
        remedy = "wrap the network and its data in theory.hypergradient.SquaredLoss, or use method='cg'"
        checks.fail("inner loss", "a SquaredLoss (method='kernel')", type(inner).__name__, remedy)
    _, v, direct, scalar = rows(outer, w, phi, "outer")
    scale = solvers.unit(v)
    implicit, solved, products = kernel.solve(inner, w, phi, v / scale, verify)
    implicit = implicit * scale.to(implicit.dtype)
    _usable(implicit)
    sizes = torch.linalg.vector_norm(v / scale, dim=1)
    residual = None
    if solved is not None:
        residual = float((solved.residuals / sizes.clamp(min=torch.finfo(v.dtype).tiny)).max())
    message = "" if bool((implicit != 0).any()) else _ignored(Expansion(inner, w, phi, "inner"), implicit, sizes)
    return Hypergradient(
        gradient=_shaped(phi, direct + implicit, scalar),
        method="kernel",
        products=products,
        residual=residual,
        converged=None if residual is None else residual <= goal,
        stationarity=None,
        direct=_shaped(phi, direct, scalar),
        solution=None if solved is None else _shaped(w, (solved.rows * scale).to(v.dtype), scalar),
        w=w.tree,
        message=message,
    )


def _usable(implicit: Tensor) -> None:
    bad = int((~implicit.isfinite()).sum())
    if bad:
        remedy = (
            "the inner loss may lack a mixed derivative at this point (a root of phi at 0), or overflow: move, rescale"
        )
        checks.fail("implicit part", "finite numbers", f"{bad} NaN or infinite of {implicit.numel()}", remedy)


def _ignored(at: Expansion, implicit: Tensor, sizes: Tensor) -> str:
    """A message, and a warning, if a zero implicit part means that the inner loss does not see phi."""
    if bool((implicit != 0).any()):
        return ""
    if not bool((sizes > 0).any()):
        return "the outer loss has no gradient in w here: the implicit part is zero"
    generator = seeding.torch_generator("probe of the mixed derivative", 0)
    probe = torch.randn(at.w.size, generator=generator, dtype=torch.float64).to(at.gradient)
    return "" if bool((at.mixed_adjoint(probe) != 0).any()) else _say_ignored(at.phi)


def _say_ignored(phi: Flat) -> str:
    message = f"the inner loss's gradient does not depend on phi ({phi.shapes()}): the implicit part is exactly zero"
    warnings.warn(f"{message}; use phi inside the inner loss", Ignored, stacklevel=4)
    return message


def _shaped(flat: Flat, found: Tensor, scalar: bool) -> Any:
    return flat.restore(found[0] if scalar else found)
