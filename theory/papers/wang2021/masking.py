"""Masking: outliers that are many, or that agree, hide in the covariance that they make themselves (U5).

Sigma is pooled over all views, outliers included. Views O that span few directions can't share more leverage than
those directions have: their mean distance is at most rank(Delta_O) over their share of the views. Beyond the share
rank(Delta_O)/rank(Delta) they lie nearer than the average view, and the weights favour them. In one dimension the
distances are a formula of the counts alone, free of how far the outliers lie; once outliers are the majority of an
image, its clean views look like outliers. Proofs in paper_notes/wang2021.md.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import sympy as sp
import torch

from theory import checks, outlier, seeding
from theory.arrays import Array
from theory.claim import Family, symbols
from theory.estimate import Estimate
from theory.papers.wang2021.distances import exact_distances, random_views, rounding
from theory.papers.wang2021.distances_claims import derived
from theory.verdict import Verdicts

mean, own, share, rank, k, M, d2, clean = symbols("mean own share rank k M d2 clean")

_SET = {
    "mean": "mean distance of the views in O [1]",
    "own": "rank of the deviations of the views in O [1]",
    "share": "share of all views that O holds [1]",
    "rank": "rank of all deviations, the mean distance of all views [1]",
}
_LINE = {
    "k": "shifted views of each contaminated image [1]",
    "M": "views of each image [1]",
    "share": "share of all views that are shifted [1]",
}

NOTATION = {
    "mean": r"\overline{d^2}_O",
    "own": r"\mathrm{rank}\,\Delta_O",
    "share": r"\pi",
    "rank": r"\mathrm{rank}\,\Delta",
    "d2": r"d^2_{\mathrm{shifted}}",
    "clean": r"d^2_{\mathrm{clean}}",
}

BOUND = derived(
    "U5.bound",
    "views that span few directions have a small mean distance",
    lambda: sp.Le(mean, own / share),
    _SET,
    hypotheses=(("O holds a view", sp.Gt(share, 0)),),
    notation=NOTATION,
)
BELOW = derived(
    "U5.below",
    "when they are many as well, they lie nearer than the average view",
    lambda: sp.Lt(mean, rank),
    _SET,
    hypotheses=(("share > rank(Delta_O)/rank(Delta)", sp.Gt(share * rank, own, evaluate=False)),),
    notation=NOTATION,
)
SHIFTED = derived(
    "U5.shifted",
    "one dimension, k views of some images shifted by the same: distance of a shifted view",
    lambda: sp.Eq(d2, (1 - k / M) / share),
    {**_LINE, "d2": "distance of a shifted view, the one farthest from the formula [1]"},
    kind="identity",
    hypotheses=(("some views are shifted", sp.Gt(k, 0)), ("not all of an image", sp.Lt(k, M))),
    notation=NOTATION,
)
CLEAN = derived(
    "U5.clean",
    "the same: distance of a clean view beside shifted ones",
    lambda: sp.Eq(d2, (k / M) ** 2 / (share * (1 - k / M))),
    {**_LINE, "d2": "distance of a clean view of a contaminated image, the one farthest from the formula [1]"},
    kind="identity",
    hypotheses=SHIFTED.hypotheses,
    notation={**NOTATION, "d2": NOTATION["clean"]},
)
REVERSED = derived(
    "U5.reversed",
    "shifted views that are the majority make the clean ones look like outliers",
    lambda: sp.Lt(d2, clean),
    {**_LINE, "d2": "distance of a shifted view [1]", "clean": "distance of a clean view of the same image [1]"},
    hypotheses=(("2k > M", sp.Gt(2 * k, M, evaluate=False)), ("not all of an image", sp.Lt(k, M))),
    notation=NOTATION,
)


def check_masking(
    views: Array | Sequence[Array], outliers: Array | Sequence[Array], *, centre: str = "all", **record: Any
) -> Verdicts:
    """Judge U5.bound and U5.below for any sets of views; exactly where all views are integers.

    Args:
        views: (N, M, d), or a list of such sets (a sweep).
        outliers: O, (N, M) bool, not empty, one for each set; nothing is assumed about them.
        centre: "all" or "global".
        **record: `settings` and `seed` for the verdicts.

    Raises:
        InvalidInput: wrong shapes, NaN, an empty O.
    """
    single = hasattr(views, "shape")
    sets = [views] if single else list(views)
    exact = all(_whole(z) for z in sets)
    rows = [
        _measure(z, which, centre, exact) for z, which in zip(sets, [outliers] if single else outliers, strict=True)
    ]
    means, errors, own_, rank_, share_ = zip(*rows, strict=True)
    values: dict[str, Any] = {
        name: Estimate.exact(np.array(column, dtype=object))
        for name, column in (("mean", means), ("own", own_), ("rank", rank_), ("share", share_))
    }
    if not exact:
        values["mean"] = Estimate.computed(means, error=errors)
    return Verdicts(
        claim.check(**{name: values[name] for name in claim.meanings}, **record) for claim in (BOUND, BELOW)
    )


def contaminated(images: int, views: int, outliers: int, contaminated: int, shift: int = 1) -> tuple[Any, Any]:
    """One-dimensional views: `outliers` views of each of the first `contaminated` images shifted by `shift`.

    Returns:
        Integer views (N, M, 1), and which are shifted, (N, M) bool.

    Raises:
        InvalidInput: more outliers than views, more contaminated images than images.
    """
    images, views = checks.integer("images", images, minimum=1), checks.integer("views", views, minimum=2)
    which = np.zeros((images, views), dtype=bool)
    rows, columns = (
        checks.integer("contaminated", contaminated, 1, images),
        checks.integer("outliers", outliers, 1, views),
    )
    which[:rows, :columns] = True
    level = np.arange(images)[:, None]  # an image's own place says nothing, U3
    return (level + checks.integer("shift", shift) * which)[..., None], which


def check_line(z: Array, outliers: Array, **record: Any) -> Verdicts:
    """Judge the one-dimensional statements of U5 on views (N, M, 1) of which the same number is shifted by the same.

    Args:
        z: as `contaminated` makes them; integers are judged exactly.
        outliers: (N, M) bool, in every image either none or k.
        **record: `settings` and `seed` for the verdicts.

    Returns:
        U5.shifted, and where an image keeps a clean view U5.clean and U5.reversed.

    Raises:
        InvalidInput: wrong shapes, NaN, no outliers, images with different numbers of them.
    """
    values, error = _distances(z, "all", _whole(z))
    inside = _inside(outliers, values.shape)
    counts = inside.sum(axis=1)
    k_ = int(counts.max())
    if not np.isin(counts, (0, k_)).all():
        checks.fail("outliers", "none or k in every image", np.unique(counts).tolist(), "make the numbers equal")
    beside = ~inside & (counts > 0)[:, None]
    common: dict[str, Any] = {"k": k_, "M": inside.shape[1], "share": Fraction(int(inside.sum()), inside.size)}
    shifted = values[inside]
    formula = (1 - Fraction(k_, inside.shape[1])) / common["share"]
    rows = [(SHIFTED, {"d2": _farthest(shifted, formula, error)})]
    if beside.any():
        other = Fraction(k_, inside.shape[1]) ** 2 / (common["share"] * (1 - Fraction(k_, inside.shape[1])))
        rows.append((CLEAN, {"d2": _farthest(values[beside], other, error)}))
        rows.append((REVERSED, {"d2": _value(shifted.max(), error), "clean": _value(values[beside].min(), error)}))
    return Verdicts(
        claim.check(**{name: {**common, **mine}[name] for name in claim.meanings}, **record) for claim, mine in rows
    )


def experiment_masking(budget: str = "small", seed: int = 0) -> Verdicts:
    """U5 on random sets of random views, on outliers that agree, and on all small one-dimensional cases.

    Random sets are unsaturated: at saturation whole images attain the bound, which only exact arithmetic can tell.

    Args:
        budget: "small" (60 random sets) or "full" (2,000).
        seed: of the draws.
    """
    checks.choice("budget", budget, ("small", "full"))
    draw = seeding.numpy_generator("views for U5", seed)
    drawn = [random_views(draw) for _ in range(60 if budget == "small" else 2000)]
    found = [outlier.measure(z) for z in drawn]
    sets = [z for z, one in zip(drawn, found, strict=True) if int(one.rank) < one.saturation]
    which = [draw.random(z.shape[:2]) < draw.uniform(0.05, 0.9) for z in sets]
    for inside in which:
        inside.flat[0], inside[-1] = True, False  # neither nothing nor everything, which attains the bound
    verdicts = check_masking(sets, which, settings={"views": "random", "sets": len(sets)}, seed=seed)
    shares = [0.1, 0.2, 0.4, 0.5]
    agree = [agreeing(share_, draw) for share_ in shares]
    record: dict[str, Any] = {"settings": {"views": "outliers on one line", "shares": str(shares)}, "seed": seed}
    verdicts += check_masking([z for z, _ in agree], [inside for _, inside in agree], **record)
    lines = []
    for views in (3, 4, 5):
        for outliers in range(1, views):
            lines.append(contaminated(4, views, outliers, contaminated=3, shift=-7))
            verdicts += check_line(*lines[-1], settings={"M": views, "k": outliers})
    lines.append((lines[0][0], np.ones_like(lines[0][1])))  # O = all views attains the bound
    settings = {"views": "one dimension, integers"}
    verdicts += check_masking([z for z, _ in lines], [inside for _, inside in lines], settings=settings)
    return verdicts


def agreeing(share: float, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """60 images, 5 views, 4 dimensions: outliers shifted along one direction, in images that do not vary otherwise.

    Three of five views of each contaminated image are outliers; the other images vary in all directions.

    Returns:
        Views (60, 5, 4), and which are outliers, about `share` of all of them, at most 3/5.
    """
    z = draw.normal(size=(60, 5, 4))
    which = np.zeros((60, 5), dtype=bool)
    which[: round(60 * share * 5 / 3), :3] = True
    hit = which.any(axis=1)
    z[hit] = z[hit][:, :1]
    z[which] += draw.normal(size=(int(which.sum()), 1)) * np.eye(4)[0] * 100
    return z, which


def _measure(z: Any, outliers: Any, centre: str, exact: bool) -> tuple[Any, float, int, int, Fraction]:
    """Mean distance over O with its error, rank of O's deviations, rank of all, share of the views that are in O."""
    values, error = _distances(z, centre, exact)
    inside = _inside(outliers, values.shape)
    views = torch.from_numpy(np.asarray(z, dtype=float))
    delta = outlier.deviations(views, centre)[torch.from_numpy(inside)]
    cut = outlier.RELATIVE_CUT * np.finfo(float).eps * float(views.norm())
    own_ = int((torch.linalg.svdvals(delta) > cut).sum())
    rank_ = int(outlier.measure(views, centre=centre).rank)
    size = int(inside.sum())
    return values[inside].sum() / size, error, own_, rank_, Fraction(size, inside.size)


def _whole(z: Any) -> bool:
    return np.asarray(z).dtype.kind in "iu"


def _distances(z: Any, centre: str, exact: bool) -> tuple[np.ndarray, float]:
    """Distances with their error; Fractions without one where `exact`."""
    if exact:
        return exact_distances(z, centre)[0], 0.0
    views = np.asarray(z, dtype=float)
    found = outlier.measure(views, centre=centre)
    return found.values.numpy(), rounding(found, views)


def _inside(outliers: Any, shape: tuple[int, ...]) -> np.ndarray:
    inside = np.asarray(outliers, dtype=bool)
    if inside.shape != shape or not inside.any():
        wanted = f"booleans of shape {shape}, some True"
        checks.fail("outliers", wanted, f"shape {inside.shape}, {int(inside.sum())} True", "mark at least one view")
    return inside


def _value(value: Any, error: float) -> Estimate:
    return Estimate.exact(value) if isinstance(value, Fraction) else Estimate.computed(float(value), error=error)


def _farthest(values: np.ndarray, formula: Fraction, error: float) -> Estimate:
    return _value(max(values.tolist(), key=lambda value: abs(float(value - formula))), error)


U5 = Family(
    "U5",
    "masking: outliers that are many or agree do not look like outliers",
    (BOUND, BELOW, SHIFTED, CLEAN, REVERSED),
    check_masking,
    experiment_masking,
)
