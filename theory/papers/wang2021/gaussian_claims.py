"""The relations of U4: what weights do to Gaussian views without any outliers."""

from collections.abc import Callable
from typing import Any

import sympy as sp

from theory.claim import Claim, symbols
from theory.papers.wang2021.distances_claims import derived

weight, predicted, tau, d, M, nu, spread = symbols("weight predicted tau d M nu spread")
below, chance, entry, same, share, mean, square, squared = symbols("below chance entry same share mean square squared")

NOTATION = {
    "weight": r"\mathbb{E}\,w",
    "squared": r"\mathbb{E}\,w^2",
    "predicted": r"{}_1F_1",
    "below": r"\Pr[d^2\leq q]",
    "chance": "F(q)",
    "square": r"\mathbb{E}(d^2-d)^2",
    "share": r"\mathrm{ESS}/n",
    "mean": r"\mathbb{E}\,d^2",
    "entry": "A_{kl}",
    "same": r"\delta_{kl}",
}
_LAW = {
    "nu": "N(M-1), dimensions that centred views have [1]",
    "d": "dimension, S being regular [1]",
    "M": "views of each image [1]",
    "tau": "temperature of the weights [1]",
    "spread": "relative spread of the norms of the views [1]",
}
_RAW = ("the views are not scaled to one norm", sp.Gt(spread, sp.Rational(1, 10**6)))
_REGULAR = ("N(M-1) > d", sp.Gt(nu, d))
_MANY = ("N(M-1) >= 150 d, near the limit", sp.Ge(nu, 150 * d, evaluate=False))
_MILD = ("2 tau >= d: the limit is reached later for smaller temperatures", sp.Ge(2 * tau, d, evaluate=False))
_HALF = sp.Rational(1, 2)
_TIGHT, _WIDE = sp.Rational(1, 100), sp.Rational(1, 50)


def _law(
    id: str,
    title: str,
    relation: Callable[[], Any],
    meanings: dict[str, str],
    *more: tuple[str, Any],
    tolerance: Any = _TIGHT,
) -> Claim:
    options = {"kind": "identity", "tolerance": tolerance, "hypotheses": (_RAW, *more), "notation": NOTATION}
    return derived(f"U4.{id}", title, relation, {**_LAW, **meanings}, **options)


_MEAN = {"weight": "mean of exp(-d2/tau) over all views, expected [1]"}
BETA = _law(
    "law",
    "a distance is N(M-1) times a Beta(d/2, (N(M-1)-d)/2) variable, for every N and M",
    lambda: sp.Eq(below, chance),
    {
        "below": "share of views with d2 at most q, expected [1]",
        "chance": "probability that N(M-1) Beta(d/2, (N(M-1)-d)/2) is at most q [1]",
    },
    _REGULAR,
)
VARIANCE = _law(
    "variance",
    "its variance is 2d(nu - d)/(nu + 2)",
    lambda: sp.Eq(square, 2 * d * (nu - d) / (nu + 2)),
    {"square": "mean of (d2 - d)^2 over all views, expected [1]"},
    _REGULAR,
    tolerance=_WIDE,
)
WEIGHT = _law(
    "weight",
    "the expected weight is 1F1(d/2; nu/2; -nu/tau)",
    lambda: sp.Eq(weight, predicted),
    {**_MEAN, "predicted": "1F1(d/2; nu/2; -nu/tau) [1]"},
    _REGULAR,
)
WEIGHT_SQUARE = _law(
    "weight_square",
    "the expected squared weight is 1F1(d/2; nu/2; -2nu/tau)",
    lambda: sp.Eq(squared, predicted),
    {
        "squared": "mean of exp(-2 d2/tau) over all views, expected [1]",
        "predicted": "1F1(d/2; nu/2; -2nu/tau) [1]",
    },
    _REGULAR,
)
COVARIANCE = _law(
    "covariance",
    "M enters the pooled covariance only as (1 - 1/M) S",
    lambda: sp.Eq(entry, (1 - 1 / M) * same),
    {
        "entry": "entry of S^(-1/2) Sigma S^(-1/2), expected [1]",
        "same": "1 on the diagonal, 0 elsewhere [1]",
    },
    tolerance=_WIDE,
)
LIMIT_WEIGHT = _law(
    "limit_weight",
    "for many images the expected weight is (1 + 2/tau)^(-d/2), whatever M",
    lambda: sp.Eq(weight, (1 + 2 / tau) ** (-d * _HALF)),
    _MEAN,
    _MANY,
    _MILD,
)
LIMIT_SHARE = _law(
    "limit_share",
    "for many images the effective sample size is this share of the views",
    lambda: sp.Eq(share, ((1 + 4 / tau) / (1 + 2 / tau) ** 2) ** (d * _HALF)),
    {"share": "effective sample size of the weights over the number of views, expected [1]"},
    _MANY,
    _MILD,
)
TILT = _law(
    "tilt",
    "weighted Gaussian views are Gaussian views of covariance Sigma tau/(tau + 2)",
    lambda: sp.Eq(entry, (1 - 1 / M) * tau / (tau + 2) * same),
    {
        "entry": "entry of S^(-1/2) (sum w delta delta^T / sum w) S^(-1/2), expected [1]",
        "same": "1 on the diagonal, 0 elsewhere [1]",
    },
    _MANY,
    _MILD,
    tolerance=_WIDE,
)
_THREE = ("more than two views", sp.Gt(M, 2))
# the centres are views too: whatever M is, it takes many images to average over them
_IMAGES = ("N >= 10 d, near the limit", sp.Ge(nu, 10 * d * (M - 1), evaluate=False))
GLOBAL_PAIR = _law(
    "global_pair",
    "about the mean of the global views, these have the mean distance d M/(3M - 4), for many images",
    lambda: sp.Eq(mean, d * M / (3 * M - 4)),
    {"mean": "mean distance of the global views, expected [1]"},
    _MANY,
    _IMAGES,
    _THREE,
    tolerance=_WIDE,
)
GLOBAL_OTHERS = _law(
    "global_others",
    "and the other views, no outliers among them, three times that",
    lambda: sp.Eq(mean, 3 * d * M / (3 * M - 4)),
    {"mean": "mean distance of the other views, expected [1]"},
    _MANY,
    _IMAGES,
    _THREE,
    tolerance=_WIDE,
)
GLOBAL_LAW = _law(
    "global_law",
    "both are chi-square of d degrees of freedom, scaled, for many images",
    lambda: sp.Eq(below, chance),
    {
        "below": "share of global (other) views with d2 at most q, expected [1]",
        "chance": "probability that M/(3M-4) (3M/(3M-4)) times chi-square of d degrees is at most q [1]",
    },
    _MANY,
    _IMAGES,
    _THREE,
    tolerance=_WIDE,
)

OF_ALL = (BETA, VARIANCE, WEIGHT, WEIGHT_SQUARE, COVARIANCE, LIMIT_WEIGHT, LIMIT_SHARE, TILT)
OF_GLOBAL = (GLOBAL_PAIR, GLOBAL_OTHERS, GLOBAL_LAW)
