"""Entropy and variance, one block of coordinates at a time: tensorization and the Efron-Stein inequality.

Under a product measure Ent f <= sum_b E Ent_b f and Var f <= sum_b E Var_b f, where Ent_b and Var_b see f as a function
of block b alone, given the rest. Inner averages are over the block's law given the rest: by quadrature where that has
rank at most 2, else by draws, with the jackknife against their bias.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from theory import arrays, checks, seeding
from theory.entropy.evaluations import Evaluations, bregman
from theory.entropy.functionals import CHUNK, Function, coarser, evaluate
from theory.entropy.measure import Gaussian, Measure, hermite_grid
from theory.estimate import Estimate

Blocks = Sequence[Sequence[int]]


@dataclass(frozen=True, eq=False)
class Terms:
    """What each block of coordinates contributes.

    Attributes:
        terms: E Ent_b f (or E Var_b f), one per block.
        total: their sum; its interval takes into account that the blocks share outer draws.
    """

    terms: Estimate
    total: Estimate


def tensorization(f: Function, measure: Measure, *, blocks: Blocks | None = None, inner: int = 32, **how: Any) -> Terms:
    """E Ent_b f for every block, and their sum: at least Ent f if the blocks are independent and cover all coordinates.

    Args:
        f: (n, d) -> (n,), f >= 0.
        measure: what to average over. Of dependent blocks the law given the rest is used, and the sum bounds nothing.
        blocks: of coordinates, disjoint, e.g. one of each modality: [range(0, 3), range(3, 8)]; every coordinate by
            itself by default.
        inner: nodes per direction; for a block of rank above 2 and for a `Sampler` half the number of draws.
        **how: of `evaluate`, for the outer points: draws, seed, method, order, log.

    Raises:
        InvalidInput: as `evaluate`; blocks that are not disjoint sets of coordinates.

    Example:
        >>> plane = Gaussian.standard(2)
        >>> f = lambda x: np.exp(x[:, 0] * x[:, 1] / 2)
        >>> round(float(tensorization(f, plane, order=64, inner=64).total.value), 6)
        0.3849
    """
    return _terms("entropy", f, measure, blocks, inner, how)


def efron_stein(f: Function, measure: Measure, *, blocks: Blocks | None = None, inner: int = 32, **how: Any) -> Terms:
    """E Var_b f for every block, and their sum: at least Var f if the blocks are independent and cover all coordinates.

    Arguments and errors as for `tensorization`; f may have any sign.

    Example:
        >>> round(float(efron_stein(lambda x: x[:, 0] * x[:, 1], Gaussian.standard(2), order=8).total.value), 6)
        2.0
    """
    return _terms("variance", f, measure, blocks, inner, how)


def partition(measure: Measure, blocks: Blocks | None) -> list[np.ndarray]:
    """The blocks as index arrays; every coordinate by itself by default.

    Raises:
        InvalidInput: an empty block, a coordinate that does not exist or is in two blocks.
    """
    d = measure.dimension
    chosen = [np.asarray(block) for block in ([[i] for i in range(d)] if blocks is None else blocks)]
    proper = all(block.ndim == 1 and block.size and block.dtype.kind in "iu" for block in chosen)
    all_of = np.concatenate(chosen) if chosen and proper else np.zeros(0)
    if not len(all_of) or len(set(all_of.tolist())) < len(all_of) or all_of.min() < 0 or all_of.max() >= d:
        remedy = "e.g. [range(0, 2), range(2, 4)]; see the measure's dimension"
        checks.fail("blocks", f"disjoint lists of coordinates below {d}", blocks, remedy)
    return chosen


def _terms(kind: str, f: Function, measure: Measure, blocks: Blocks | None, inner: int, how: dict[str, Any]) -> Terms:
    chosen = partition(measure, blocks)
    inner = checks.integer("inner", inner, minimum=2)
    signed = kind == "variance"
    outer = evaluate(f, measure, signed=signed, **how)
    if not signed:
        outer.entropy()  # refuses f = 0 everywhere
    log, order, seed = how.get("log", False), how.get("order"), how.get("seed", 0)
    x = _points(measure, how, order)
    found = [_inner(kind, f, measure, block, x, inner, log, outer.shift, seed) for block in chosen]
    per_point = np.stack([values for values, _ in found])
    scale = outer._scale(2 if signed else 1)
    words = f"{outer.method}; inside " + ", ".join(dict.fromkeys(text for _, text in found))
    both = np.concatenate([per_point, per_point.sum(axis=0, keepdims=True)]) * scale
    if order is None:
        units = both.reshape(len(both), -1, outer.group).mean(axis=2)
        return Terms(Estimate.mean(units[:-1], axis=1, method=words), Estimate.mean(units[-1], method=words))
    assert outer.weights is not None
    value, fine = both @ outer.weights, per_point @ outer.weights
    inside = [(x, outer.weights, max(2, fewer)) for fewer in coarser(inner)]
    outside = [(*measure.quadrature(fewer), inner) for fewer in coarser(order)]  # type: ignore[union-attr]
    error = 1e-13 * np.abs(value[:-1])
    for rules in (inside, outside):
        changes = [
            np.stack([_inner(kind, f, measure, block, z, nodes, log, outer.shift, seed)[0] for block in chosen]) @ w
            - fine
            for z, w, nodes in rules
        ]
        error = error + 2 * scale * np.max(np.abs(changes), axis=0)
    return Terms(
        Estimate.computed(value[:-1], error=error, method=words),
        Estimate.computed(value[-1], error=error.sum(), method=words),
    )


def _points(measure: Measure, how: dict[str, Any], order: int | None) -> Any:
    if order is not None:
        return measure.quadrature(order)[0]  # type: ignore[union-attr]
    return measure.sample(how.get("draws", 10_000), how.get("seed", 0), how.get("method", "plain"))


def _inner(
    kind: str, f: Function, measure: Measure, block: np.ndarray, x: Any, inner: int, log: bool, shift: float, seed: int
) -> tuple[np.ndarray, str]:
    """Ent_b f or Var_b f at each outer point, (n,), and how."""
    generator = seeding.numpy_generator(f"inner draws of block {block.tolist()}", seed)
    gain = root = None
    weights = None
    if isinstance(measure, Gaussian):
        gain, root = measure.conditional(block)
        if root.shape[1] <= 2:
            nodes, weights = hermite_grid(root.shape[1], inner)
            steps = nodes @ root.T  # (k, |b|)
    number = inner * 2 if weights is None else len(weights)
    rows = max(1, CHUNK // number)
    parts = []
    for start in range(0, len(x), rows):
        kept = x[start : start + rows]
        flat = kept.double().numpy(force=True) if arrays.is_tensor(kept) else kept
        moved = np.repeat(flat[:, None, :], number, axis=1)
        if isinstance(measure, Gaussian):
            rest = np.setdiff1d(np.arange(measure.dimension), block)
            centre = measure.mean[block] + (flat[:, rest] - measure.mean[rest]) @ gain.T  # type: ignore[union-attr]
            if weights is None:
                steps = generator.normal(size=(len(flat), number, root.shape[1])) @ root.T  # type: ignore[union-attr]
            moved[:, :, block] = centre[:, None] + steps
        else:
            fresh = measure.draw(len(flat) * number, generator)
            fresh = fresh.double().numpy(force=True) if arrays.is_tensor(fresh) else np.asarray(fresh, dtype=float)
            moved[:, :, block] = fresh.reshape(len(flat), number, -1)[:, :, block]
        points = moved.reshape(-1, moved.shape[2])
        if arrays.is_tensor(kept):
            import torch

            with torch.no_grad():
                values = f(torch.from_numpy(points).to(kept)).double().numpy(force=True)
        else:
            values = np.asarray(f(points), dtype=float)
        values = values.reshape(len(flat), number)
        checks.finite("values of f", values)
        parts.append(_value(kind, np.exp(values - shift) if log else values, weights))
    words = f"{number} draws with jackknife" if weights is None else f"{number} quadrature nodes"
    return np.concatenate(parts), words


def _value(kind: str, values: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    if kind == "entropy" and values.min() < 0:
        checks.fail("f", "f >= 0", f"{values.min():.3g}", "entropy is for non-negative f")
    if weights is None:
        found = np.zeros(len(values))
        kept = values.max(axis=1) > 0 if kind == "entropy" else np.ones(len(values), dtype=bool)
        if kept.any():
            evaluations = Evaluations(values[kept])
            found[kept] = (evaluations.entropy() if kind == "entropy" else evaluations.variance()).value
        return found
    mean = values @ weights
    if kind == "variance":
        return (values - mean[:, None]) ** 2 @ weights
    ratio = np.divide(values, mean[:, None], out=np.ones_like(values), where=mean[:, None] > 0)
    return mean * (bregman(ratio - 1) @ weights)
