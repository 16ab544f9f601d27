"""A certificate for the hypergradient of an inexact inner solution, where H and B move with w (H7).

g(w) = d_phi L_V - M^T H^{-1} grad_w L_V. On a convex set with H >= mu I and Lipschitz derivatives
||g(w) - g(w*)|| <= C ||w - w*|| <= C ||grad_w L_T(w)||/mu, with
C = l_phiw + m l_ww/mu + V (rho_wphi/mu + m rho_ww/mu^2) and V = ||grad_w L_V|| at w* or at w: the second can be
computed without w*. An inexact solve p adds m ||p - H^{-1} grad L_V||. Derived; proofs in paper_notes/raghu2021.md.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import sympy as sp

from theory import checks, seeding
from theory.arrays import Array
from theory.claim import Family
from theory.estimate import Estimate
from theory.papers.raghu2021.claims import POSITIVE, derived, mu, symbol
from theory.papers.raghu2021.logistic import Logistic, random_logistic
from theory.verdict import Verdicts

_EPS = float(np.finfo(float).eps)
CONSTANTS = ("mu", "m", "rho_wphi", "rho_ww", "l_ww", "l_phiw")
moved, distance, slope, V, miss, least, m, rho_wphi, rho_ww, l_ww, l_phiw = (
    symbol(name)
    for name in ("moved", "distance", "slope", "V", "miss", "least", "m", "rho_wphi", "rho_ww", "l_ww", "l_phiw")
)
_WORDS = {
    "mu": "H >= mu I on the set",
    "m": "bound on ||M||_op on the set",
    "rho_wphi": "Lipschitz constant of M in w, operator norm",
    "rho_ww": "Lipschitz constant of H in w, operator norm",
    "l_ww": "Lipschitz constant of grad_w L_V in w",
    "l_phiw": "Lipschitz constant of d_phi L_V in w",
    "moved": "||g(w) - g(w*)||",
    "distance": "||w - w*||",
    "slope": "||grad_w L_T(w)||",
    "V": "||grad_w L_V||, at w* or at w",
    "miss": "||p - H^{-1} grad_w L_V|| of an approximate solve p at w",
    "least": "lower bound of H's eigenvalues between w and w*",
}
_NOTATION = {
    "rho_wphi": r"\rho_{w\varphi}",
    "rho_ww": r"\rho_{ww}",
    "l_ww": r"\ell_{ww}",
    "l_phiw": r"\ell_{\varphi w}",
}
_SCOPE = (POSITIVE, ("H >= mu I between w and w*", sp.Ge(least, mu * (1 - sp.Rational(1, 10**9)), evaluate=False)))


def _C() -> Any:
    return l_phiw + m * l_ww / mu + V * (rho_wphi / mu + m * rho_ww / mu**2)


def _claim(id: str, title: str, relation: Any) -> Any:
    return derived(f"H7.{id}", title, relation, _WORDS, hypotheses=_SCOPE, notation=_notation(relation))


def _notation(relation: Any) -> dict[str, str]:
    with sp.evaluate(False):
        used = {one.name for one in relation().free_symbols} | {"mu"}
    known = {**_NOTATION, "moved": r"\|g(w)-g(w^*)\|", "distance": r"\|w-w^*\|", "slope": r"\|\nabla_w L_T(w)\|"}
    return {name: text for name, text in {**known, "mu": r"\mu"}.items() if name in used}


DISTANCE = _claim("distance", "the hypergradient at w, by the distance from w*", lambda: sp.Le(moved, _C() * distance))
SLOPE = _claim("slope", "and by the inner gradient: computable, with V at w", lambda: sp.Le(moved, _C() * slope / mu))
SOLVE = _claim(
    "solve",
    "with an inexact solve of the linear system as well",
    lambda: sp.Le(moved, _C() * slope / mu + m * miss),
)


def check_certificate(
    problem: Logistic, points: Array, *, constants: Mapping[str, float] | None = None, **record: Any
) -> Verdicts:
    """Judge H7 on weighted logistic regression with a ridge, phi the weights, at points away from w*.

    Args:
        problem: the two data sets, weights and ridge.
        points: inner weights w, (points, p).
        constants: mu, m, rho_wphi, rho_ww, l_ww and l_phiw in place of the problem's closed forms.
        **record: `settings` and `seed` for the verdicts.

    Returns:
        H7.distance and H7.slope with V at w* and at w (settings say which), H7.solve for p after one Neumann term.

    Raises:
        InvalidInput: wrong shapes, NaN, a constant that is missing.
    """
    points = np.asarray(points, dtype=float)
    checks.matrix("points", points, columns=problem.X.shape[1])
    checks.finite("points", points)
    given = dict(problem.constants() if constants is None else constants)
    if set(given) != set(CONSTANTS):
        checks.fail("constants", f"exactly {CONSTANTS}", tuple(given), "see `Logistic.constants`")
    best = problem.minimum()
    g = problem.hypergradient(best)
    moves, solves, misses, lowest = [], [], [], [problem.least(w, best) for w in points]
    for w in points:
        H, v = problem.hessian(w), problem.outer_gradient(w)
        p, one = np.linalg.solve(H, v), v / np.linalg.norm(H, 2)
        moves.append(float(np.linalg.norm(-problem.mixed(w).T @ p - g)))
        solves.append(float(np.linalg.norm(-problem.mixed(w).T @ one - g)))
        misses.append(float(np.linalg.norm(one - p)))
    noise = 1e4 * _EPS * (1 + float(np.linalg.norm(g)) + max(moves)) / given["mu"]
    shared: dict[str, Any] = {name: Estimate.computed(value, relative=1e-12) for name, value in given.items()}
    shared |= {
        "distance": Estimate.computed(np.linalg.norm(points - best, axis=1), relative=1e-9),
        "slope": Estimate.computed([float(np.linalg.norm(problem.gradient(w))) for w in points], relative=1e-9),
        "least": Estimate.computed(np.array(lowest), relative=1e-10),
    }
    at_w = np.array([float(np.linalg.norm(problem.outer_gradient(w))) for w in points])
    settings = record.pop("settings", {})
    verdicts = Verdicts()
    for where, sizes in (("w*", float(np.linalg.norm(problem.outer_gradient(best)))), ("w", at_w)):
        measured = {**shared, "V": sizes, "moved": Estimate.computed(np.array(moves), error=noise)}
        named = {**settings, "V at": where}
        verdicts += [_judge(claim, measured, named, record) for claim in (DISTANCE, SLOPE)]
        measured |= {"moved": Estimate.computed(np.array(solves), error=noise), "miss": np.array(misses)}
        verdicts.append(_judge(SOLVE, measured, named, record))
    return verdicts


def _judge(claim: Any, measured: dict[str, Any], settings: dict[str, Any], record: dict[str, Any]) -> Any:
    return claim.check(**{name: measured[name] for name in claim.meanings}, settings=settings, **record)


def experiment_certificate(budget: str = "small", seed: int = 0) -> Verdicts:
    """H7 on random weighted logistic problems, ridge .01 to 10, at points from near to far.

    Args:
        budget: "small" (12 problems) or "full" (500).
        seed: of the draws.
    """
    count = 12 if checks.choice("budget", budget, ("small", "full")) == "small" else 500
    draw = seeding.numpy_generator("problems for H7", seed)
    verdicts = Verdicts()
    for _ in range(count):
        problem = random_logistic(draw)
        away = draw.standard_normal((5, 4)) * 10.0 ** draw.uniform(-3, 1, (5, 1))
        verdicts += check_certificate(problem, problem.minimum() + away, seed=seed)
    return verdicts


H7 = Family(
    "H7",
    "a certificate for the hypergradient of an inexact inner solution",
    (DISTANCE, SLOPE, SOLVE),
    check_certificate,
    experiment_certificate,
)
