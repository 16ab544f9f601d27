"""Directions instead of solutions (H10): how far v, or P_K v, points away from H^{-1} v, and that B^T ruins any bound.

cos(v, H^{-1}v) >= 2 sqrt(kappa)/(kappa + 1) is Kantorovich's inequality; for 0 < alpha <= 1/L P_K v does better, with
chi in place of kappa. The hypergradient is -B^T H^{-1} v, however, and after B^T no positive bound is left: `opposed`
makes a counterexample. Derived; proofs in paper_notes/raghu2021.md.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import sympy as sp

from theory import checks, seeding
from theory.arrays import Array
from theory.claim import Family
from theory.estimate import Estimate
from theory.papers.raghu2021.claims import DEFINITE, STEPS, K, L, alpha, derived, mu, symbol
from theory.papers.raghu2021.sweeps import add, untied
from theory.papers.raghu2021.systems import EPSILON, System, random_system
from theory.verdict import Status, Verdicts

cosine, implicit_cosine = symbol("cosine"), symbol("implicit_cosine")
_WORDS = {"cosine": "cosine of the angle between P_K v (v itself for H10.one_step) and H^{-1}v [1]"}
ONE_STEP = derived(
    "H10.one_step",
    "v points at most so far away from H^{-1}v",
    lambda: sp.Ge(cosine * (mu + L), 2 * sp.sqrt(sp.Abs(mu * L))),
    _WORDS,
    hypotheses=DEFINITE,
)


def _share(value: Any) -> Any:
    return 1 - (1 - alpha * value) ** (K + 1)


SERIES = derived(
    "H10.series",
    "P_K v likewise, with chi in place of kappa",
    # sqrt(chi) (1 + chi)^{-1} multiplied out, with the shares 1 - (1 - alpha lambda)^{K+1}
    lambda: sp.Ge(cosine * (_share(mu) + _share(L)), 2 * sp.sqrt(sp.Abs(_share(mu) * _share(L)))),
    _WORDS,
    hypotheses=(*DEFINITE, STEPS, ("alpha <= 1/L", sp.Le(alpha * L, 1, evaluate=False))),
)
AFTER = derived(
    "H10.after",
    "(refuted) after B^T the directions are still less than a right angle apart",
    lambda: sp.Gt(implicit_cosine, 0),
    {"implicit_cosine": "cosine of the angle between B^T v and B^T H^{-1}v, the gradients in phi [1]"},
    hypotheses=DEFINITE,
    expected=Status.VIOLATED,
)


def check_direction(systems: Iterable[tuple[Array, Array, float, int]], **record: Any) -> Verdicts:
    """Judge H10.one_step and H10.series on systems (H, v, alpha, order).

    Args:
        systems: H (p, p) symmetric positive definite, v (p,), alpha in (0, 1/L] for the second, order K >= 0.
        **record: `settings` and `seed` for the verdicts.

    Raises:
        InvalidInput: wrong shapes, NaN, a singular H, no system.
    """
    rows: dict[str, list[Any]] = {}
    for H, v, step, order in systems:
        system, step = System.of(H, v), checks.number("alpha", step, 0, open_low=True)
        order = checks.integer("order", order, minimum=0)
        summed = system.x - system.errors(step, order)[-1]
        width = 8 * len(system.v) * EPSILON * float(np.abs(system.values).max())
        add(rows, {"mu": system.values[0], "L": system.values[-1], "asymmetry": system.asymmetry, "width": width})
        add(rows, {"alpha": step, "K": order, "one": _cosine(system.v, system.x), "sum": _cosine(summed, system.x)})
        add(rows, {"noise": 64 * EPSILON * len(system.v) * system.condition})
    if not rows:
        checks.fail("systems", "at least one", "none", "pass (H, v, alpha, order)")
    measured: dict[str, Any] = {
        name: Estimate.computed(np.array(rows[name]), error=np.array(rows["width"])) for name in ("mu", "L")
    }
    measured |= {"asymmetry": np.array(rows["asymmetry"]), "K": np.array(rows["K"])}
    measured |= {"alpha": Estimate.exact(np.array(rows["alpha"]))}
    noise = np.array(rows["noise"])
    one, several = (Estimate.computed(np.array(rows[name]), error=noise) for name in ("one", "sum"))
    return Verdicts(
        [
            untied(ONE_STEP, {**measured, "cosine": one}, **record),
            untied(SERIES, {**measured, "cosine": several}, **record),
        ]
    )


def check_after(H: Array, v: Array, B: Array, **record: Any) -> Verdicts:
    """Judge the refuted statement H10.after: the cosine of B^T v and B^T H^{-1}v.

    Args:
        H: (p, p), symmetric positive definite.
        v: (p,).
        B: mixed derivative (p, m).
        **record: `settings` and `seed` for the verdicts.

    Raises:
        InvalidInput: wrong shapes, NaN, a singular H, B^T v or B^T H^{-1}v = 0.
    """
    system = System.of(H, v)
    mixed = np.asarray(B, dtype=float)
    checks.matrix("B", mixed, rows=len(system.v))
    checks.finite("B", mixed)
    images = mixed.T @ system.v, mixed.T @ system.x
    if not all(np.any(image) for image in images):
        checks.fail("B^T v and B^T H^{-1}v", "vectors other than 0", "0", "there is no angle; take another B or v")
    value = _cosine(*images)
    error = min(1.0, 64 * EPSILON * len(mixed) * system.condition * float(np.linalg.cond(mixed)))
    measured: dict[str, Any] = {
        "implicit_cosine": Estimate.computed(value, error=error),
        "mu": Estimate.computed(system.values[0]),
    }
    return Verdicts([AFTER.check(**measured, asymmetry=system.asymmetry, **record)])


def opposed(H: Array, v: Array, angle: float = 1e-3) -> np.ndarray:
    """A regular B (p, p) after which B^T v and B^T H^{-1}v point almost opposite ways: cosine -1/sqrt(1 + angle^2).

    v and H^{-1}v are independent unless v is an eigenvector, so a regular B^T can send them anywhere independent.

    Raises:
        InvalidInput: v is an eigenvector of H.
    """
    system = System.of(H, v)
    pair = np.column_stack([system.v, system.x])
    if np.linalg.cond(pair / np.linalg.norm(pair, axis=0)) > 1e8:
        checks.fail("v", "no eigenvector of H", "one", "v and H^{-1}v are parallel: B^T cannot part them")
    basis = np.linalg.qr(np.column_stack([pair, np.eye(len(pair))]))[0][:, : len(pair)]
    inside = basis.T @ pair  # its rows beyond the second are 0
    wanted = np.zeros_like(inside)
    wanted[:, 0] = np.eye(len(pair))[0]
    wanted[:2, 1] = -1, angle
    move = np.eye(len(pair))
    move[:2, :2] = wanted[:2] @ np.linalg.inv(inside[:2])
    return (move @ basis.T).T


def experiment_direction(budget: str = "small", seed: int = 0) -> Verdicts:
    """H10 on random systems, on those that attain both bounds, and the counterexample after B^T.

    Args:
        budget: "small" (150 systems) or "full" (3,000).
        seed: of the draws.
    """
    count = 150 if checks.choice("budget", budget, ("small", "full")) == "small" else 3000
    draw = seeding.numpy_generator("systems for H10", seed)
    systems = []
    for _ in range(count):
        H, v, _, high = random_system(draw)
        systems.append((H, v, float(draw.uniform(0.02, 1)) / high, int(draw.integers(0, 30))))
    verdicts = check_direction(systems, seed=seed)
    H, v = systems[0][:2]
    verdicts += check_after(H, v, opposed(H, v), settings={"B": "made to oppose"}, seed=seed)
    return verdicts


def attained(values: Array) -> np.ndarray:
    """v for diagonal H of these eigenvalues (increasing) whose one-step cosine is 2 sqrt(kappa)/(kappa + 1)."""
    spectrum = np.asarray(values, dtype=float)
    v = np.zeros(len(spectrum))
    v[0], v[-1] = np.sqrt(spectrum[0]), np.sqrt(spectrum[-1])  # of H^{-1}v: mu^{-1/2}, L^{-1/2}
    return v


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


H10 = Family(
    "H10",
    "one-step directions, before and after the mixed derivative",
    (ONE_STEP, SERIES, AFTER),
    check_direction,
    experiment_direction,
)
