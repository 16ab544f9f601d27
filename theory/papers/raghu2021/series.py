"""How fast the Neumann series converges, and how it diverges (H2, H3).

For symmetric positive definite H with extreme eigenvalues mu and L, ||(H^{-1} - P_K) v|| <= rho^{K+1} ||H^{-1} v|| in
the 2-norm and the H-norm, rho = max(|1 - alpha mu|, |1 - alpha L|), attained by the extremal eigenvectors. Beyond
alpha = 2/L every further term makes it worse. Cf. Lorraine et al. (2020); proofs in paper_notes/raghu2021.md.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from theory import checks, seeding
from theory.arrays import Array
from theory.claim import Family
from theory.estimate import Estimate
from theory.papers.raghu2021.series_claims import (
    ATTAINED,
    BEST,
    BOUND,
    CONTRACTS,
    FLOOR,
    GROWING,
    LIMIT,
    NECESSARY,
    PRODUCTS,
)
from theory.papers.raghu2021.sweeps import add, of, pick, untied
from theory.papers.raghu2021.systems import System, random_system
from theory.verdict import Verdicts

_EPS = float(np.finfo(float).eps)
_SEEN = 1e-6  # errors below that share of H^{-1}v are left to rounding
TOLERANCES = (1e-1, 1e-2, 1e-4)


def check_series(systems: Iterable[tuple[Array, Array, float, Sequence[int]]], **record: Any) -> Verdicts:
    """Judge H2 on systems (H, v, alpha, orders), in both norms.

    Args:
        systems: H (p, p), v (p,), alpha > 0, and the orders K >= 0 to look at; errors below a millionth of H^{-1}v are
            left out, as rounding hides them.
        **record: `settings` and `seed` for the verdicts.

    Returns:
        H2.bound for every order and both norms; H2.attained instead where H^{-1}v lies in the eigenspaces that attain
        rho, with norms in units of H^{-1}v's; H2.contracts, H2.necessary and H2.best (for steps other than the best)
        once per system; H2.products for tolerances 1e-1 to 1e-4.

    Raises:
        InvalidInput: wrong shapes, NaN, a singular H, alpha <= 0, no system, no order.
    """
    rates, rows, counts = _tables(systems)
    common = _constants(rates)
    verdicts = Verdicts(claim.check(**of(claim, common), **record) for claim in (CONTRACTS, NECESSARY))
    ends = np.array(rates["mu"]) + np.array(rates["L"])
    others = np.abs(np.array(rates["alpha"]) * ends - 2) > 1e-6  # at the best step both sides are equal
    if others.any():
        picked = {name: pick(value, others) for name, value in common.items()}
        verdicts.append(BEST.check(**of(BEST, picked), **record))
    verdicts += _judge_errors(rows, record)
    if counts:
        measured = _constants(counts) | {"t": Estimate.exact(np.array(counts["t"]))}
        verdicts.append(PRODUCTS.check(**of(PRODUCTS, measured | {"products": np.array(counts["products"])}), **record))
    return verdicts


def check_bound(systems: Iterable[tuple[Array, Array, float, Sequence[int]]], **record: Any) -> Verdicts:
    """Judge H2.bound and H2.attained alone, on many systems: a third of the time. Arguments as for `check_series`."""
    return _judge_errors(_tables(systems)[1], record)


def _tables(systems: Iterable[tuple[Array, Array, float, Sequence[int]]]) -> tuple[dict[str, list[Any]], ...]:
    """Columns of constants once per system, of errors, and of products to a tolerance."""
    rates: dict[str, list[Any]] = {}
    rows: dict[str, list[Any]] = {}
    counts: dict[str, list[Any]] = {}
    for H, v, alpha, orders in systems:
        system, alpha = System.of(H, v), checks.number("alpha", alpha, 0, open_low=True)
        shared = {"mu": system.values[0], "L": system.values[-1], "asymmetry": system.asymmetry, "alpha": alpha}
        width = 8 * len(system.v) * _EPS * float(np.abs(system.values).max())
        orders = np.atleast_1d(orders).tolist()
        if not orders:
            checks.fail("orders", "at least one", "none", "pass (H, v, alpha, orders)")
        most = max(checks.integer("orders", order, minimum=0) for order in orders)
        errors, noise = system.errors(alpha, most), system.rounding(alpha, most)
        sizes = system.norms(system.x)
        lift = (1.0, math.sqrt(float(np.abs(system.values).max())))
        outside = _outside(system, alpha)
        for order in orders:
            for size, error, factor in zip(sizes, system.norms(errors[order]), lift, strict=True):
                if error >= _SEEN * size:
                    row = {**shared, "K": order, "size": size, "error": error, "noise": noise * factor}
                    add(rows, {**row, "outside": outside, "width": width})
        add(rates, {**shared, "width": width})
        for tolerance in TOLERANCES:
            first = np.flatnonzero(np.linalg.norm(errors, axis=1) <= tolerance * sizes[0] * (1 - 1e-9))
            if len(first):
                add(counts, {**shared, "width": width, "t": tolerance, "products": int(first[0])})
    if not rates:
        checks.fail("systems", "at least one", "none", "pass (H, v, alpha, orders)")
    return rates, rows, counts


def _judge_errors(rows: dict[str, list[Any]], record: dict[str, Any]) -> Verdicts:
    verdicts = Verdicts()
    if not rows:
        return verdicts
    extremal = np.array(rows["outside"]) < 1e-6  # equality there: judged to a tolerance, not as a bound
    unit = np.where(extremal, rows["size"], 1.0)  # a tolerance relative to each H^{-1}v, not to the longest of all
    noise = np.array(rows["noise"]) / unit
    measured = _constants(rows) | {
        "K": np.array(rows["K"]),
        "size": Estimate.computed(np.array(rows["size"]) / unit, error=noise),
        "error": Estimate.computed(np.array(rows["error"]) / unit, error=noise),
        "outside": np.array(rows["outside"]),
    }
    if not extremal.all():
        verdicts.append(untied(BOUND, {name: pick(value, ~extremal) for name, value in measured.items()}, **record))
    if extremal.any():
        picked = {name: pick(value, extremal) for name, value in measured.items()}
        verdicts.append(ATTAINED.check(**of(ATTAINED, picked), scale=1.0, **record))
    return verdicts


def check_divergence(systems: Iterable[tuple[Array, Array, float, int]], **record: Any) -> Verdicts:
    """Judge H3 on systems (H, v, alpha, order): what terms do beyond alpha = 2/L.

    Args:
        systems: H (p, p), v (p,), alpha > 0, and the largest order K >= 2.
        **record: `settings` and `seed` for the verdicts.

    Returns:
        H3.growing for successive ratios ||e_{K+1}||/||e_K||, H3.limit for each of them, H3.floor for each error. Pairs
        that differ by less than rounding are left out.

    Raises:
        InvalidInput: as for `check_series`.
    """
    pairs: dict[str, list[Any]] = {}
    floors: dict[str, list[Any]] = {}
    for H, v, alpha, order in systems:
        system, alpha = System.of(H, v), checks.number("alpha", alpha, 0, open_low=True)
        order = checks.integer("order", order, minimum=2)
        width = 8 * len(system.v) * _EPS * float(np.abs(system.values).max())
        shared = {"mu": system.values[0], "L": system.values[-1], "asymmetry": system.asymmetry, "alpha": alpha}
        shared |= {"width": width, "share": abs(float(system.vectors[:, -1] @ system.v))}
        sizes = np.linalg.norm(system.errors(alpha, order), axis=1)
        ratios = sizes[1:] / sizes[:-1]
        noise = [2 * system.rounding(alpha, k + 1) / sizes[k] * (1 + ratios[k]) for k in range(order)]
        for k in range(order - 1):
            limit = alpha * system.values[-1] - 1
            if abs(ratios[k + 1] - ratios[k]) > 4 * noise[k + 1] and abs(limit - ratios[k]) > 4 * noise[k]:
                add(pairs, {**shared, "ratio": ratios[k], "later": ratios[k + 1], "noise": noise[k + 1]})
        for k in range(order + 1):
            add(floors, {**shared, "K": k, "error": sizes[k], "noise": system.rounding(alpha, k)})
    if not floors:
        checks.fail("systems", "at least one", "none", "pass (H, v, alpha, order)")
    verdicts = Verdicts()
    if pairs:
        noises = np.array(pairs["noise"])
        measured = _constants(pairs) | {
            name: Estimate.computed(np.array(pairs[name]), error=noises) for name in ("ratio", "later")
        }
        verdicts += [untied(claim, measured, **record) for claim in (GROWING, LIMIT)]
    measured = _constants(floors) | {
        "K": np.array(floors["K"]),
        "error": Estimate.computed(np.array(floors["error"]), error=np.array(floors["noise"])),
    }
    verdicts.append(untied(FLOOR, measured, **record))
    return verdicts


def experiment_series(budget: str = "small", seed: int = 0) -> Verdicts:
    """H2 on random systems of condition up to 1e4, on extremal eigenvectors (1e2), at any step below 2/L.

    Args:
        budget: "small" (100 systems) or "full" (3,000).
        seed: of the draws.
    """
    count = 100 if checks.choice("budget", budget, ("small", "full")) == "small" else 3000
    draw = seeding.numpy_generator("systems for H2", seed)
    systems: list[Any] = []
    for number in range(count):
        extremal = number % 5 == 0
        # of condition up to 100: beyond 1e4, rounding exceeds the tolerance of an equality
        H, v, low, high = random_system(draw, float(10 ** draw.uniform(0.2, 2)) if extremal else None)
        alpha = float(draw.choice([1 / high, 2 / (high + low), draw.uniform(0.05, 1.95) / high]))
        if extremal:  # attained: by the eigenvector whose factor is the largest in modulus
            values, vectors = np.linalg.eigh(H)
            v = vectors[:, int(np.abs(1 - alpha * values).argmax())]
            systems.append((H, v, alpha, (0, 1, 3)))
        else:
            systems.append((H, v, alpha, (0, 1, int(draw.integers(2, 60)))))
    common = [system for i, system in enumerate(systems) if i % 5]
    for _ in range(10):  # out of the bound's scope, in that of its converse
        H, v, _, high = random_system(draw)
        common.append((H, v, float(draw.uniform(2, 4)) / high, (0,)))
    verdicts = check_series(common, seed=seed)
    verdicts += check_series(systems[::5], seed=seed, settings={"v": "extremal"})
    return verdicts


def experiment_divergence(budget: str = "small", seed: int = 0) -> Verdicts:
    """H3 on random systems at steps from 2/L to 4/L.

    Args:
        budget: "small" (40 systems) or "full" (1,000).
        seed: of the draws.
    """
    count = 40 if checks.choice("budget", budget, ("small", "full")) == "small" else 1000
    draw = seeding.numpy_generator("systems for H3", seed)
    found = [random_system(draw, condition=float(10 ** draw.uniform(0.2, 2))) for _ in range(count)]
    return check_divergence([(H, v, float(draw.uniform(2.01, 4)) / high, 12) for H, v, _, high in found], seed=seed)


def _outside(system: System, alpha: float) -> float:
    """Share of H^{-1}v that lies outside the eigenspaces whose factor |1 - alpha lambda| is rho."""
    factors = np.abs(1 - alpha * system.values)
    parts = system.vectors.T @ system.x
    return float(np.linalg.norm(parts[factors < factors.max() * (1 - 1e-9)]) / np.linalg.norm(parts))


def _constants(rows: dict[str, list[Any]]) -> dict[str, Any]:
    width = np.array(rows["width"])
    measured: dict[str, Any] = {
        name: Estimate.computed(np.array(rows[name]), error=width) for name in ("mu", "L") if name in rows
    }
    measured["alpha"] = Estimate.exact(np.array(rows["alpha"]))
    measured["asymmetry"] = np.array(rows["asymmetry"])
    if "share" in rows:
        measured["share"] = Estimate.computed(np.array(rows["share"]), relative=1e-9)
    return measured


H2 = Family(
    "H2",
    "the Neumann series converges geometrically, at a rate that the extreme eigenvalues set",
    (BOUND, ATTAINED, CONTRACTS, NECESSARY, BEST, PRODUCTS),
    check_series,
    experiment_series,
)
H3 = Family(
    "H3",
    "beyond alpha = 2/L every term makes it worse",
    (GROWING, LIMIT, FLOOR),
    check_divergence,
    experiment_divergence,
)
