"""What the distances are, whatever the views: their mean (U1) and their range (U2).

Write the deviations as rows of Delta. Then d2 is NM times the diagonal of the projector on Delta's columns: the
leverages of regression. The projector's trace is the rank, and no view has more leverage than the centring projector
gives it. So d2 says how much a direction of the sample belongs to one view alone, not how far away the view is. Proofs
in paper_notes/wang2021.md.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import sympy as sp
import torch

from theory import arrays, checks, outlier, seeding
from theory.arrays import Array
from theory.claim import Claim, Family
from theory.estimate import Estimate
from theory.outlier import Distances
from theory.papers.wang2021.distances_claims import (
    ALL,
    MEAN,
    NONNEGATIVE,
    OTHERS,
    PAIR,
    RANK,
    RIDGE,
    SATURATED,
    U1_MEMBERS,
    U2_MEMBERS,
)
from theory.verdict import Verdict, Verdicts

RIDGES = (1e-3, 0.03, 1.0)
"""Relative to the sum of the eigenvalues: far above their rounding errors. Smaller ones are for exact arithmetic."""
_EPS = float(np.finfo(float).eps)

Views = Array | Sequence[Array]


def exact_distances(z: Array, centre: str = "all") -> tuple[np.ndarray, int]:
    """Distances (N, M) as Fractions, and the rank of Sigma, of views with integer entries.

    Projects on linearly independent columns of the deviations, in rational arithmetic: for small examples.

    Raises:
        InvalidInput: entries that are not integers, a wrong shape.
    """
    views = np.asarray(arrays.tensors(z=z)[0][0])
    checks.choice("centre", centre, outlier.CENTRES)
    if views.ndim != 3 or (views != np.round(views)).any():
        checks.fail("z", "integers, (images, views, dimension)", f"shape {views.shape}", "scale the views to integers")
    images, per_image, dimension = views.shape
    members = per_image if centre == "all" else outlier.GLOBAL_VIEWS
    whole = views.astype(int)
    delta = members * whole - whole[:, :members].sum(axis=1, keepdims=True)  # a common factor moves no column space
    Delta = sp.Matrix(delta.reshape(images * per_image, dimension).tolist())
    columns = Delta.rref()[1]
    if not columns:
        return np.full((images, per_image), Fraction(0), dtype=object), 0
    independent = Delta[:, list(columns)]
    solved = (independent.T * independent).LUsolve(independent.T)
    count = images * per_image
    leverages = [sum(independent[i, k] * solved[k, i] for k in range(len(columns))) for i in range(count)]
    values = [count * Fraction(int(h.p), int(h.q)) for h in map(sp.Rational, leverages)]
    return np.array(values, dtype=object).reshape(images, per_image), len(columns)


def rounding(found: Distances, z: np.ndarray) -> float:
    """A bound on the error of the distances in `found`, for views z (N, M, d) taken as exact.

    Rounding and centring move Delta by a few eps ||z||_F, and its column space by that over its least singular value.
    Never more than NM, the range of all distances.

    Args:
        found: of the views.
        z: the views, or larger numbers that were rounded on the way to them.
    """
    count = z.shape[0] * z.shape[1]
    counted = found.eigenvalues[: int(found.rank)]
    if not len(counted):
        return 0.0
    error, least_value = 64 * _EPS * float(np.linalg.norm(z)), float((counted[-1] * count).sqrt())
    return count * (error / least_value if error < least_value else 1.0)


def check_mean(views: Views, *, centre: str = "all", **record: Any) -> Verdicts:
    """Judge U1 on any views; U1.mean in exact arithmetic where they are integers.

    Args:
        views: (N, M, d) with M >= 2, or a list of such sets (a sweep). If all are integers: small ones, please.
        centre: "all" or "global".
        **record: `settings` and `seed` for the verdicts.

    Returns:
        U1.mean, one point per set; U1.ridge, one per set and ridge.

    Raises:
        InvalidInput: wrong shapes, NaN.
    """
    sets, rows, exact = _measured(views, centre)
    # the trace of the computed projector is exact to a few units in the last place, however ill-conditioned Delta is
    means = _estimate([(values.sum() / values.size, 64 * _EPS * values.size) for values, _, _ in rows], exact)
    ranks = Estimate.exact(np.array([rank for _, rank, _ in rows], dtype=object))
    return Verdicts([MEAN.check(mean=means, rank=ranks, **record), _ridges(sets, centre, record)])


def check_range(views: Views, *, centre: str = "all", **record: Any) -> Verdicts:
    """Judge U2 on any views; in exact arithmetic where they are integers, so that attained bounds are decided.

    Args:
        views: as in `check_mean`.
        centre: "all" or "global".
        **record: `settings` and `seed` for the verdicts.

    Returns:
        U2.nonnegative and U2.rank; then U2.all and U2.saturated, or U2.pair and U2.others (left out where a set has two
        views), as the centre has it. One point per set; but saturated sets, whose distances are the bounds themselves,
        count for the bounds in exact arithmetic only: no rounded number can decide a tie.

    Raises:
        InvalidInput: wrong shapes, NaN.
    """
    sets, rows, exact = _measured(views, centre)
    below = [exact or rank < len(z) * (z.shape[1] - 1) for z, (_, rank, _) in zip(sets, rows, strict=True)]
    pair = outlier.GLOBAL_VIEWS
    of: dict[Claim, Callable[[np.ndarray], Any]] = {NONNEGATIVE: np.min, RANK: np.max}
    if centre == "all":
        of |= {ALL: np.max, SATURATED: _farthest}
    else:
        of |= {PAIR: lambda values: values[:, :pair].max()}
        if all(z.shape[1] > pair for z in sets):
            of |= {OTHERS: lambda values: values[:, pair:].max()}
    verdicts = Verdicts()
    for claim, pick in of.items():
        chosen = [i for i in range(len(sets)) if below[i] or claim not in (ALL, PAIR, OTHERS)]
        measured: dict[str, Any] = {
            name: Estimate.exact(np.array([sets[i].shape[axis] for i in chosen], dtype=object))
            for axis, name in enumerate(("N", "M", "d"))
        }
        measured["rank"] = Estimate.exact(np.array([rows[i][1] for i in chosen], dtype=object))
        measured["d2"] = _estimate([(pick(rows[i][0]), rows[i][2]) for i in chosen], exact)
        verdicts.append(claim.check(**{name: measured[name] for name in claim.meanings}, **record))
    return verdicts


def attained(images: int = 3, views: int = 4, centre: str = "all") -> np.ndarray:
    """Integer views (N, M, 2) that attain the bounds of U2: a direction of the embedding that few views use.

    About the mean of all views one view of image 0 leaves the others alone in coordinate 0. About the global mean, the
    global views of image 0 part along coordinate 0, and one other view goes alone along coordinate 1.
    """
    checks.choice("centre", centre, outlier.CENTRES)
    z = np.zeros((images, views, 2), dtype=int)
    if centre == "all":
        z[0, 0] = 1, 0
        z[1:, :, 1] = np.arange(views) ** 2  # the rest varies too, elsewhere
    else:
        z[0, :2, 0] = 1, -1
        z[0, 2, 1] = 1
    return z


def experiment_mean(budget: str = "small", seed: int = 0) -> Verdicts:
    """U1 on random views of many shapes, some singular, some saturated, and on integer ones exactly.

    Args:
        budget: "small" (40 sets for each centre) or "full" (2,000).
        seed: of the draws.
    """
    return _experiment(check_mean, budget, seed)


def experiment_range(budget: str = "small", seed: int = 0) -> Verdicts:
    """U2 on the views of `experiment_mean`, and on integer ones that attain its bounds.

    Args:
        budget: "small" (40 sets for each centre) or "full" (2,000).
        seed: of the draws.
    """
    return _experiment(check_range, budget, seed)


def _experiment(check: Callable[..., Verdicts], budget: str, seed: int) -> Verdicts:
    checks.choice("budget", budget, ("small", "full"))
    draw = seeding.numpy_generator("views for U1 and U2", seed)
    verdicts = Verdicts()
    for centre in outlier.CENTRES:
        sets = [random_views(draw) for _ in range(40 if budget == "small" else 2000)]
        verdicts += check(sets, centre=centre, settings={"centre": centre, "sets": len(sets)}, seed=seed)
        whole = [attained(2, 3, centre), attained(3, 4, centre), draw.integers(-5, 6, size=(2, 3, 4))]
        verdicts += check(whole, centre=centre, settings={"centre": centre, "sets": "integers"}, seed=seed)
    return verdicts


def random_views(draw: np.random.Generator) -> np.ndarray:
    """Views (N, M, d) of random small shape and scales; every third set has a singular Sigma."""
    images, views, dimension = draw.integers(2, 9), draw.integers(3, 7), draw.integers(1, 9)
    z = draw.normal(size=(images, views, dimension)) * 10 ** draw.uniform(-1, 1, size=dimension)
    z += 3 * draw.normal(size=(images, 1, dimension))
    if draw.random() < 1 / 3 and dimension > 1:
        z[..., -1] = z[..., 0]
    if draw.random() < 1 / 2:  # one view far away
        z[draw.integers(images), draw.integers(views)] += 10 ** draw.uniform(0, 3)
    return z


Row = tuple[np.ndarray, int, float]  # distances, rank, error of a distance


def _measured(views: Views, centre: str) -> tuple[list[np.ndarray], list[Row], bool]:
    sets = [np.asarray(one) for one in ([views] if hasattr(views, "shape") else views)]
    exact = all(one.dtype.kind in "iu" for one in sets)
    rows: list[Row] = []
    for z in sets:
        if exact:
            rows.append((*exact_distances(z, centre), 0.0))
        else:
            found = outlier.measure(z, centre=centre)
            rows.append((found.values.numpy(), int(found.rank), rounding(found, z)))
    return sets, rows, exact


def _farthest(values: np.ndarray) -> Any:
    """The distance that is farthest from the constant N(M-1)."""
    constant = values.shape[0] * (values.shape[1] - 1)
    return values.flat[int(np.argmax(np.abs((values - constant).astype(float))))]


def _estimate(rows: list[tuple[Any, float]], exact: bool) -> Estimate:
    values, errors = np.array(rows, dtype=object).reshape(-1, 2).T
    return Estimate.exact(values) if exact else Estimate.computed(values.astype(float), error=errors.astype(float))


def _ridges(sets: list[np.ndarray], centre: str, record: dict[str, Any]) -> Verdict:
    rows = []
    for z in sets:
        z = z.astype(float)
        flat = outlier.deviations(torch.from_numpy(z), centre).reshape(-1, z.shape[2]).numpy()
        eigenvalues = np.linalg.eigvalsh(flat.T @ flat / len(flat)).clip(0)
        for share in RIDGES:
            epsilon = share * (float(eigenvalues.sum()) or 1.0)
            mean = float(outlier.measure(z, centre=centre, ridge=epsilon).values.mean())
            # an eigenvalue is exact to a few eps of the largest
            rows.append(
                (mean, float((eigenvalues / (eigenvalues + epsilon)).sum()), epsilon, 16 * _EPS / share * z.shape[2])
            )
    means, totals, ridges, errors = np.array(rows).T
    return RIDGE.check(
        mean=Estimate.computed(means, error=errors),
        total=Estimate.computed(totals, error=errors),
        ridge=ridges,
        **record,
    )


U1 = Family("U1", "the mean distance is the rank of Sigma", U1_MEMBERS, check_mean, experiment_mean)
U2 = Family("U2", "distances are leverages, and bounded as such", U2_MEMBERS, check_range, experiment_range)
