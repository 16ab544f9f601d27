"""Weights that are nearly uniform: one minus a centred, scaled distance, with an explicit remainder (U6).

With a temperature far above the distances, batch-normalised weights are 1 - (d2 - mean)/tau up to second order: the
loss then differs from the unweighted one by a penalty of order 1/tau. Holds for any non-negative numbers in place of
the distances. Proof in paper_notes/wang2021.md.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import sympy as sp

from theory import arrays, checks, outlier, seeding
from theory.arrays import Array
from theory.claim import Family, symbols
from theory.estimate import Estimate
from theory.papers.wang2021.distances import random_views
from theory.papers.wang2021.distances_claims import derived
from theory.verdict import Verdicts

_EPS = float(np.finfo(float).eps)

MULTIPLES = tuple(np.geomspace(0.1, 1000, 9).tolist())
"""Temperatures over the mean distance: from hard weights to nearly uniform ones."""

w, x, s2, b, least = symbols("w x s2 b least")

EXPANSION = derived(
    "U6.expansion",
    "batch-normalised weights are 1 - x up to second order in x = (d2 - mean)/tau",
    lambda: sp.Le(sp.Abs(w - 1 + x), sp.Rational(1, 2) * sp.exp(b) * (x**2 + sp.Abs(1 - x) * s2)),
    {
        "w": "weight of a view, of mean 1 over the batch [1]",
        "x": "(d2 - mean of d2)/tau of that view [1]",
        "s2": "mean of x^2 over the batch [1]",
        "b": "mean of d2, over tau [1]",
        "least": "smallest d2 [1]",
    },
    hypotheses=(("no distance is negative", sp.Ge(least, 0, evaluate=False)),),
    notation={"s2": "s^2"},
)


def check_expansion(
    distances: Array | Sequence[Array], temperatures: Sequence[float] = MULTIPLES, **record: Any
) -> Verdicts:
    """Judge U6 on any distances (or other numbers): at the views where the remainder is largest beside its bound.

    Args:
        distances: d2 of all views of a batch, of any shape with at least two entries; or a list of batches.
        temperatures: > 0, in units of each batch's mean distance, a sweep.
        **record: `settings` and `seed` for the verdicts.

    Returns:
        U6.expansion: for each batch and temperature the nearest, the farthest and the tightest view.

    Raises:
        InvalidInput: fewer than two distances, NaN, a mean of 0, a temperature that is not positive.
    """
    rows = []
    for batch in [distances] if hasattr(distances, "shape") else distances:
        (tensor,), _ = arrays.tensors(distances=batch)
        d2 = tensor.double().numpy(force=True).ravel()
        if len(d2) < 2 or not d2.mean() > 0:
            checks.fail("distances", "at least two, of positive mean", d2, "give those of a whole batch")
        for temperature in temperatures:
            tau = d2.mean() * checks.number("temperatures", temperature, 0, open_low=True)
            rows += [(*row, d2.min()) for row in _extremes(d2, tau)]
    *columns, smallest = np.array(rows).T
    # exponentials and means are exact to a few units in the last place of the numbers that they are made of
    size = np.maximum(1, np.abs(columns[1]) + columns[3])
    errors = (columns[0] * size, size, columns[2], columns[3])
    values: dict[str, Any] = {
        name: Estimate.computed(column, error=16 * _EPS * error)
        for name, column, error in zip(("w", "x", "s2", "b"), columns, errors, strict=True)
    }
    return Verdicts([EXPANSION.check(**values, least=Estimate.exact(smallest), **record)])


def _extremes(d2: np.ndarray, tau: float) -> list[tuple[float, float, float, float]]:
    """(w, x, s2, b) of the nearest, the farthest and the tightest view."""
    x_ = (d2 - d2.mean()) / tau
    weight = np.exp(x_.min() - x_)  # at most 1: no overflow, whatever the temperature
    weight /= weight.mean()
    s2_, b_ = float(np.mean(x_**2)), float(d2.mean() / tau)
    bound = (x_**2 + np.abs(1 - x_) * s2_) / 2  # over exp(b), which may overflow
    share = np.divide(np.abs(weight - 1 + x_) * np.exp(-b_), bound, out=np.zeros_like(x_), where=bound > 0)
    return [(weight[i], x_[i], s2_, b_) for i in (x_.argmin(), x_.argmax(), share.argmax())]


def experiment_expansion(budget: str = "small", seed: int = 0) -> Verdicts:
    """U6 on the distances of random views (saturated ones left out) at temperatures from .1 to 1000 times their mean.

    Args:
        budget: "small" (20 sets of views) or "full" (2,000).
        seed: of the draws.
    """
    checks.choice("budget", budget, ("small", "full"))
    draw = seeding.numpy_generator("views for U6", seed)
    found = [outlier.measure(random_views(draw)) for _ in range(20 if budget == "small" else 2000)]
    batches = [one.values for one in found if int(one.rank) < one.saturation]
    return check_expansion(batches, settings={"batches": len(batches)}, seed=seed)


U6 = Family("U6", "nearly uniform weights, to first order", (EXPANSION,), check_expansion, experiment_expansion)
