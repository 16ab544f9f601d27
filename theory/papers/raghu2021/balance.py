"""Weights of examples: the hypergradient of each, and an identity that ties them together (H9).

For L_T = sum lambda_i l_i + r/2 ||w||^2 with all of w regularised, g_i = -grad L_V' H^{-1} grad l_i and
<lambda, g> = r grad L_V' H^{-1} w*: without a ridge the weighted mean of the hypergradients vanishes. Weights divided
by their sum have <lambda, g> = 0, ridge or not; lambda = sigmoid(phi) has g_phi = lambda (1 - lambda) g. Derived;
proofs in paper_notes/raghu2021.md.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp
import torch
from torch import Tensor

from theory import checks, seeding
from theory.claim import Family
from theory.derivatives import Expansion, Flat
from theory.estimate import Estimate
from theory.hypergradient import hypergradient
from theory.papers.raghu2021.claims import derived, stationarity, symbol
from theory.papers.raghu2021.implicit import in_double, minimum
from theory.papers.raghu2021.logistic import random_logistic
from theory.verdict import Verdicts

Losses = Callable[[Tensor], Tensor]
g, formula, dot, pull, r, g_phi, lam = (symbol(n) for n in ("g", "formula", "dot", "pull", "r", "g_phi", "lam"))
_WORDS = {
    "g": "dL_V/dlambda_i",
    "formula": "-<grad L_V, H^{-1} grad l_i>",
    "dot": "<lambda, g>",
    "pull": "<grad L_V, H^{-1} w*>",
    "r": "ridge",
    "g_phi": "dL_V/dphi_i, lambda = sigmoid(phi)",
    "lam": "lambda_i, in (0, 1)",
    "stationarity": "||grad_w L_T|| over the norm of its two parts [1]",
}
_STATIONARY = (("w is a minimum of L_T, to 1e-10", sp.Le(stationarity, sp.Rational(1, 10**10))),)


def _identity(id: str, title: str, relation: Callable[[], Any], *hypotheses: Any) -> Any:
    options = {"kind": "identity", "tolerance": sp.Rational(1, 10**8), "hypotheses": hypotheses}
    return derived(f"H9.{id}", title, relation, _WORDS, **options)


ENTRIES = _identity("entries", "the hypergradient of an example's weight", lambda: sp.Eq(g, formula))
BALANCE = _identity("balance", "their weighted sum is the ridge's pull", lambda: sp.Eq(dot, r * pull), *_STATIONARY)
NORMALISED = _identity(
    "normalised", "weights divided by their sum: it vanishes, even with a ridge", lambda: sp.Eq(dot, 0), *_STATIONARY
)
SIGMOID = _identity("sigmoid", "weights sigmoid(phi): the chain rule", lambda: sp.Eq(g_phi, lam * (1 - lam) * g))


def check_balance(
    losses: Losses, outer: Callable[[Tensor], Tensor], weights: Tensor, ridge: float, w: Tensor, **record: Any
) -> Verdicts:
    """Judge H9 for a differentiable model; w is improved by Newton steps for the normalised weights only.

    Args:
        losses: w (p,) -> loss of each example (n,), without the ridge.
        outer: w -> validation loss.
        weights: lambda in (0, 1), (n,), float64.
        ridge: r >= 0, on all of w.
        w: a minimum of sum lambda_i l_i + r/2 ||w||^2, (p,); elsewhere the sums are out of scope.
        **record: `settings` and `seed` for the verdicts.

    Returns:
        H9.entries, H9.balance, H9.sigmoid at w; H9.normalised at the normalised problem's minimum, found from w.

    Raises:
        InvalidInput: weights outside (0, 1), shapes that do not match, a singular Hessian.
    """
    in_double(w=w, weights=weights)
    checks.vector("weights", weights)
    checks.vector("losses(w)", losses(w), len(weights))
    if float(weights.min()) <= 0 or float(weights.max()) >= 1:
        checks.fail("weights", "numbers in (0, 1)", (float(weights.min()), float(weights.max())), "use sigmoid(phi)")
    ridge = checks.number("ridge", ridge, 0)

    def inner(w: Tensor, lam: Tensor) -> Tensor:
        return (lam * losses(w)).sum() + ridge / 2 * w.square().sum()

    def shares(w: Tensor, lam: Tensor) -> Tensor:
        return (lam * losses(w)).sum() / lam.sum() + ridge / 2 * w.square().sum()

    def validation(w: Tensor, _: Tensor) -> Tensor:
        return outer(w)

    found = hypergradient(inner, validation, w, weights, "exact")
    H = Expansion(inner, Flat("w", w), Flat("lambda", weights)).dense()
    v = torch.func.grad(outer)(w)
    p = torch.linalg.solve(H, v)
    each = torch.func.jacrev(losses)(w)
    scale = float(found.gradient.abs().max()) + 1e-300
    total = float((weights * found.gradient.abs()).sum()) + abs(ridge * float(p @ w))
    phi = torch.logit(weights)
    sigmoid = hypergradient(lambda w, phi: inner(w, torch.sigmoid(phi)), validation, w, phi, "exact").gradient
    moving = _relative_slope(inner, losses, w, weights, 1.0, ridge)
    best = minimum(shares, w, weights)
    normalised = hypergradient(shares, validation, best, weights, "exact").gradient
    size = float((weights * normalised.abs()).sum())
    near = 1e-11

    def measure(value: Any, width: float) -> Estimate:
        return Estimate.computed(np.asarray(value.detach()) if isinstance(value, Tensor) else value, error=near * width)

    own, wanted = measure(found.gradient, scale), measure(-(each @ p), scale)
    sum_, pulled = measure(float(weights @ found.gradient), total), measure(float(p @ w), total / max(ridge, 1e-12))
    verdicts = Verdicts([ENTRIES.check(g=own, formula=wanted, scale=scale, **record)])
    exact = Estimate.exact(ridge)
    verdicts.append(BALANCE.check(dot=sum_, pull=pulled, r=exact, stationarity=moving, scale=total, **record))
    zero = measure(float(weights @ normalised), size)
    still = _relative_slope(shares, losses, best, weights, 1 / weights.sum(), ridge)
    verdicts.append(NORMALISED.check(dot=zero, stationarity=still, scale=size, **record))
    chain = {"g_phi": measure(sigmoid, scale), "lam": weights.numpy(), "g": own}
    verdicts.append(SIGMOID.check(**chain, scale=scale, **record))
    return verdicts


def experiment_balance(budget: str = "small", seed: int = 0) -> Verdicts:
    """H9 on random logistic problems with weights in (0, 1): 6 (small) or 100 (full)."""
    count = 6 if checks.choice("budget", budget, ("small", "full")) == "small" else 100
    draw = seeding.numpy_generator("problems for H9", seed)
    return Verdicts(row for _ in range(count) for row in check_balance(*logistic_problem(draw), seed=seed))


def logistic_problem(draw: np.random.Generator) -> tuple[Losses, Callable[[Tensor], Tensor], Tensor, float, Tensor]:
    """Arguments of `check_balance`: random logistic regression at its minimum."""
    data = random_logistic(draw)
    X, y, V, z = (torch.from_numpy(part) for part in (data.X, data.y, data.V, data.z))
    weights = torch.from_numpy(draw.uniform(0.05, 0.95, len(data.X)))

    def losses(w: Tensor) -> Tensor:
        return torch.logaddexp(torch.zeros_like(y), -y * (X @ w))

    def outer(w: Tensor) -> Tensor:
        return torch.logaddexp(torch.zeros_like(z), -z * (V @ w)).mean()

    def inner(w: Tensor, lam: Tensor) -> Tensor:
        return (lam * losses(w)).sum() + data.ridge / 2 * w.square().sum()

    return losses, outer, weights, data.ridge, minimum(inner, X.new_zeros(X.shape[1]), weights)


def _relative_slope(inner: Any, losses: Losses, w: Tensor, weights: Tensor, factor: Any, ridge: float) -> float:
    """||grad_w L_T|| over the sum of the norms of its terms: of rounding size at a minimum only."""
    gradient = Expansion(inner, Flat("w", w), Flat("lambda", weights)).gradient
    terms = (factor * weights * torch.linalg.vector_norm(torch.func.jacrev(losses)(w), dim=1)).sum()
    size = terms + torch.linalg.vector_norm(ridge * w)
    return float(torch.linalg.vector_norm(gradient) / size.clamp(min=1e-300))  # every loss may be at its minimum


H9 = Family(
    "H9",
    "the hypergradients of example weights balance",
    (ENTRIES, BALANCE, NORMALISED, SIGMOID),
    check_balance,
    experiment_balance,
)
