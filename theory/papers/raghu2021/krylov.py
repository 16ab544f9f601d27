"""Conjugate gradients against the Neumann series, product for product (H8).

From p = 0 the relative H-norm error after K products is at most 1/T_K((kappa+1)/(kappa-1)), T_K Chebyshev's polynomial,
which some systems attain, and that is at most 2((sqrt kappa - 1)/(sqrt kappa + 1))^K. P_K v lies in the Krylov space of
step K+1, so one product more of conjugate gradients is never farther from H^{-1}v in the H-norm, for any step alpha.
Cf. Hestenes & Stiefel (1952), Greenbaum (1979); proofs in paper_notes/raghu2021.md.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import sympy as sp
import torch

from theory import checks, seeding
from theory.arrays import Array
from theory.claim import Family
from theory.estimate import Estimate
from theory.hypergradient import solvers
from theory.papers.raghu2021.claims import DEFINITE, K, L, derived, mu, symbol
from theory.papers.raghu2021.sweeps import add, of, untied
from theory.papers.raghu2021.systems import EPSILON, System, random_system
from theory.verdict import Verdicts

_SEEN = 1e-6
TOLERANCES = (1e-1, 1e-2, 1e-4)
relative, ours, theirs, products, t = (symbol(name) for name in ("relative", "ours", "theirs", "products", "t"))
_WORDS = {
    "relative": "||x_K - x||_H / ||x||_H after K products, x = H^{-1}v [1]",
    "ours": "||x_{K+1} - x||_H of conjugate gradients",
    "theirs": "||P_K v - x||_H of the Neumann series",
    "products": "fewest products after which the relative H-norm error is at most t",
    "t": "tolerance [1]",
    "K": "products",
}


def _q() -> Any:
    # |mu|: sides must be numbers where H is indefinite, too, for the verdict to say that this is out of scope
    return (sp.sqrt(L) - sp.sqrt(sp.Abs(mu))) / (sp.sqrt(L) + sp.sqrt(sp.Abs(mu)))


_SPREAD = ("kappa > 1", sp.Lt(mu, L))
CHEBYSHEV = derived(
    "H8.chebyshev",
    "conjugate gradients' error after K products: 1/T_K((kappa+1)/(kappa-1)) = 2/(q^K + q^-K)",
    lambda: sp.Le(relative, 2 / (_q() ** K + _q() ** (-K))),
    _WORDS,
    hypotheses=(*DEFINITE, _SPREAD),
)
GEOMETRIC = derived(
    "H8.geometric",
    "and simpler, 2 q^K with q = (sqrt kappa - 1)/(sqrt kappa + 1)",
    lambda: sp.Le(relative, 2 * _q() ** K),
    _WORDS,
    hypotheses=(*DEFINITE, _SPREAD),
)
ATTAINED = derived(
    "H8.attained",
    "a spectrum at Chebyshev's extrema, suitably weighted, attains it",
    lambda: sp.Eq(relative, 2 / (_q() ** K + _q() ** (-K))),
    _WORDS,
    kind="identity",
    tolerance=sp.Rational(1, 10**9),
    hypotheses=(*DEFINITE, _SPREAD),
)
NEVER_WORSE = derived(
    "H8.never_worse",
    "K+1 products of conjugate gradients are never farther from H^{-1}v in the H-norm than P_K v",
    lambda: sp.Le(ours, theirs),
    _WORDS,
    hypotheses=DEFINITE,
)
PRODUCTS = derived(
    "H8.products",
    "products until the relative H-norm error is t: at most arccosh(1/t)/arccosh((kappa+1)/(kappa-1)), rounded up",
    lambda: sp.Le((products - 1) * -sp.log(_q()), sp.log(1 / t + sp.sqrt(1 / t**2 - 1))),
    _WORDS,
    hypotheses=(*DEFINITE, _SPREAD),
)


def iterates(system: System, most: int) -> np.ndarray:
    """Conjugate gradients' iterates after 0..most products, (most + 1, p), by the solver that users get."""
    H, v = torch.from_numpy(system.H), torch.from_numpy(system.v)[None]
    found = [np.zeros_like(system.v)]
    for count in range(1, most + 1):
        found.append(solvers.conjugate_gradients(lambda rows: rows @ H, v, 1e-300, count).rows[0].numpy())
    return np.array(found)


def check_krylov(systems: Iterable[tuple[Array, Array, float, int]], **record: Any) -> Verdicts:
    """Judge H8 on systems (H, v, alpha, order).

    Args:
        systems: H (p, p) symmetric positive definite, v (p,), the Neumann step alpha > 0, and the most products >= 1.
        **record: `settings` and `seed` for the verdicts.

    Returns:
        H8.chebyshev, H8.geometric and H8.never_worse after each product as long as the error is above a millionth;
        H8.products for tolerances 1e-1 to 1e-4.

    Raises:
        InvalidInput: wrong shapes, NaN, a singular H, no system; `IndefiniteHessian`.
    """
    rows: dict[str, list[Any]] = {}
    counts: dict[str, list[Any]] = {}
    for H, v, alpha, order in systems:
        system, order = System.of(H, v), checks.integer("order", order, minimum=1)
        if system.values[0] <= 0:
            got = f"an eigenvalue {system.values[0]:.3g}"
            raise solvers.IndefiniteHessian(f"H: expected a positive definite matrix, got {got}; add a ridge")
        width = 8 * len(system.v) * EPSILON * float(np.abs(system.values).max())
        shared = {"mu": system.values[0], "L": system.values[-1], "asymmetry": system.asymmetry, "width": width}
        size = system.norms(system.x)[1]
        errors = np.array([system.norms(one - system.x)[1] for one in iterates(system, order)]) / size
        summed = np.array([system.norms(one)[1] for one in system.errors(alpha, order - 1)]) / size
        noise = 64 * EPSILON * len(system.v) * system.condition
        for count in range(1, order + 1):
            if errors[count] > max(_SEEN, 1e3 * noise):
                row = {"K": count, "relative": errors[count], "theirs": summed[count - 1], "noise": noise}
                add(rows, {**shared, **row})
        for tolerance in TOLERANCES:
            first = np.flatnonzero(errors <= tolerance * (1 - 1e-9))
            if len(first) and tolerance > 1e3 * noise:
                add(counts, {**shared, "t": tolerance, "products": int(first[0])})
    if not rows:
        checks.fail("systems", "one that is not solved at once", "none", "pass (H, v, alpha, order), v no eigenvector")
    measured = _constants(rows) | {"K": np.array(rows["K"])}
    noise_ = np.array(rows["noise"])
    measured["relative"] = Estimate.computed(np.array(rows["relative"]), error=noise_)
    measured["ours"], measured["theirs"] = (
        measured["relative"],
        Estimate.computed(np.array(rows["theirs"]), error=noise_),
    )
    verdicts = Verdicts(untied(claim, measured, **record) for claim in (CHEBYSHEV, GEOMETRIC, NEVER_WORSE))
    if counts:
        asked = {"t": Estimate.exact(np.array(counts["t"])), "products": np.array(counts["products"])}
        verdicts.append(PRODUCTS.check(**of(PRODUCTS, _constants(counts) | asked), **record))
    return verdicts


def check_attained(mu: float, L: float, order: int, **record: Any) -> Verdicts:
    """Judge H8.attained: conjugate gradients on the system that is worst for K = `order` products."""
    system = System.of(*worst_system(mu, L, order))
    error = system.norms(iterates(system, order)[order] - system.x)[1] / system.norms(system.x)[1]
    noise = 64 * EPSILON * len(system.v) * system.condition
    measured: dict[str, Any] = {
        "mu": mu,
        "L": L,
        "asymmetry": 0.0,
        "K": order,
        "relative": Estimate.computed(error, error=noise),
    }
    return Verdicts([ATTAINED.check(**measured, scale=1.0, **record)])


def worst_system(mu: float, L: float, order: int) -> tuple[np.ndarray, np.ndarray]:
    """(H, v), H diagonal with order + 1 eigenvalues from mu to L, on which CG attains Chebyshev's bound at that order.

    Raises:
        InvalidInput: not 0 < mu < L, order < 1.
    """
    order = checks.integer("order", order, minimum=1)
    low = checks.number("mu", mu, 0, open_low=True)
    high = checks.number("L", L, low, open_low=True)
    values = (high + low) / 2 - (high - low) / 2 * np.cos(np.pi * np.arange(order + 1) / order)
    gaps = values[:, None] - values
    np.fill_diagonal(gaps, 1.0)
    # T_K alternates there; these weights lambda x^2 make it orthogonal to every lambda q(lambda), deg q < K
    weights = 1 / (np.abs(np.prod(gaps, axis=1)) * values)
    x = np.sqrt(weights / weights.max() / values)
    return np.diag(values), values * x


def experiment_krylov(budget: str = "small", seed: int = 0) -> Verdicts:
    """H8 on random systems and on those that attain the bound, condition up to 1e3.

    Args:
        budget: "small" (40 systems) or "full" (1,000).
        seed: of the draws.
    """
    count = 40 if checks.choice("budget", budget, ("small", "full")) == "small" else 1000
    draw = seeding.numpy_generator("systems for H8", seed)
    systems = []
    for _ in range(count):
        H, v, low, high = random_system(draw, float(10 ** draw.uniform(0.2, 3)), size=int(draw.integers(3, 25)))
        alpha = float(draw.choice([1 / high, 2 / (high + low), draw.uniform(0.1, 2.5) / high]))
        systems.append((H, v, alpha, 8))
    verdicts = check_krylov(systems, seed=seed)
    for order in (1, 2, 5, 9):
        verdicts += check_attained(1.0, float(10 ** draw.uniform(0.5, 3)), order, settings={"K": order}, seed=seed)
    return verdicts


def _constants(rows: dict[str, list[Any]]) -> dict[str, Any]:
    width = np.array(rows["width"])
    found: dict[str, Any] = {name: Estimate.computed(np.array(rows[name]), error=width) for name in ("mu", "L")}
    return found | {"asymmetry": np.array(rows["asymmetry"])}


H8 = Family(
    "H8",
    "conjugate gradients against the Neumann series, product for product",
    (CHEBYSHEV, GEOMETRIC, ATTAINED, NEVER_WORSE, PRODUCTS),
    check_krylov,
    experiment_krylov,
)
