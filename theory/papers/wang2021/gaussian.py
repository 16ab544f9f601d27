"""Gaussian views without outliers: the exact law of the distances and weights, and their limits (U4).

Views z_ij = m_i + N(0, S), not normalised. About the mean of all views a distance is N(M-1) times a Beta variable,
exactly, for any number of images: the column space of centred Gaussian views is a uniformly random one. About the mean
of the two global views it is not: there the other views have three times the mean distance of the global ones, with no
outlier in sight. Monte Carlo, over independent batches; proofs in paper_notes/wang2021.md.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from theory import arrays, checks, outlier, seeding
from theory.arrays import Array
from theory.claim import Claim, Family
from theory.estimate import Estimate
from theory.papers.wang2021.gaussian_claims import (
    BETA,
    COVARIANCE,
    GLOBAL_LAW,
    GLOBAL_OTHERS,
    GLOBAL_PAIR,
    LIMIT_SHARE,
    LIMIT_WEIGHT,
    OF_ALL,
    OF_GLOBAL,
    TILT,
    VARIANCE,
    WEIGHT,
    WEIGHT_SQUARE,
)
from theory.verdict import Verdicts

CHANCES = (0.1, 0.5, 0.9)
"""Where the laws are judged: the quantiles of these probabilities."""


def expected_weight(temperature: float, dimension: int, images: int, views: int, power: int = 1) -> float:
    """E exp(-power d2/tau) = 1F1(d/2; nu/2; -power nu/tau), nu = N(M-1) > d, for Gaussian views about their mean.

    Relative error below 1e-12 against 40 digits, for d to 300, nu to 10^5 and tau from .001 to 10^5. By quadrature, as
    library routines for 1F1 lose digits at large nu, some all of them.

    Raises:
        InvalidInput: a temperature that is not positive, N(M-1) <= d.

    Example:
        >>> round(expected_weight(5, dimension=5, images=4, views=3), 5)
        0.39149
    """
    temperature = checks.number("temperature", temperature, 0, open_low=True)
    dimension = checks.integer("dimension", dimension, minimum=1)
    nu = checks.integer("images", images, minimum=1) * (checks.integer("views", views, minimum=2) - 1)
    if nu <= dimension:
        checks.fail("images (views - 1)", f"more than the dimension, {dimension}", nu, "at saturation d2 is constant")
    power = checks.integer("power", power, minimum=1)
    a, b = dimension / 2, nu / 2
    return math.exp(_log_tilted_beta(a, b, power * nu / temperature) - _log_tilted_beta(a, b, 0.0))


def _log_tilted_beta(a: float, b: float, x: float) -> float:
    """log of the integral of t^(a-1) (1-t)^(b-a-1) exp(-x t) over (0, 1), up to a factor that depends on a and b only.

    The trapezoidal rule in s = log(t/(1-t)), on both sides of the peak: it converges exponentially.
    """
    peak = 2 * a / (b + x + math.sqrt((b - x) ** 2 + 4 * x * (b - a)))
    step, wide = 0.1 / math.sqrt(1 + a), 12 / math.sqrt(min(a, b - a))
    below, above = int((wide + 40 / a) / step), int((wide + 12 + 40 / (b - a)) / step)
    s = math.log(peak) - math.log1p(-peak) + step * np.arange(-below, above + 1)
    left, right = np.logaddexp(0, -s), np.logaddexp(0, s)  # -log t, -log(1 - t)
    logs = -a * left - (b - a) * right - x * np.exp(-left)
    return float(logs.max() + np.log(np.exp(logs - logs.max()).sum()))


def gaussian_views(
    draws: int, images: int, views: int, covariance: Array, *, centres: float = 3.0, seed: int = 0
) -> np.ndarray:
    """Independent batches of views m_i + N(0, S), (draws, N, M, d); the m_i are normal with deviation `centres`.

    Raises:
        InvalidInput: a covariance that is not symmetric and positive definite.
    """
    S = _covariance(covariance)
    draw = seeding.numpy_generator("Gaussian views", seed)
    dimension = len(S)
    noise = draw.normal(size=(draws, images, views, dimension)) @ np.linalg.cholesky(S).T
    return noise + centres * draw.normal(size=(draws, images, 1, dimension))


def check_gaussian(z: Array, covariance: Array, *, temperatures: Sequence[float] = (5.0,), **record: Any) -> Verdicts:
    """Judge U4 about the mean of all views, on independent batches of views drawn from N(m_i, S).

    Args:
        z: (draws, N, M, d) with at least two draws; N(M-1) > d for the exact laws, >= 150 d for the limits.
        covariance: S, (d, d), positive definite.
        temperatures: tau > 0, a sweep.
        **record: `settings` and `seed` for the verdicts.

    Returns:
        U4.law (three quantiles), variance, weight and weight_square (one point per temperature), covariance (one point
        per entry), limit_weight, limit_share, and tilt at the first temperature. The exact laws are left out where
        N(M-1) <= d.

    Raises:
        InvalidInput: wrong shapes, NaN, fewer than two draws.
    """
    from scipy import stats

    views, images, per_image, dimension, common = _batches(z)
    S = _covariance(covariance)
    checks.matrix("covariance", S, rows=dimension)
    taus = np.array([checks.number("temperatures", tau, 0, open_low=True) for tau in temperatures])
    nu = images * (per_image - 1)
    d2 = outlier.measure(views).values.numpy().reshape(len(views), -1)
    w = np.exp(-d2[:, None] / taus[:, None])  # (draws, temperatures, views)
    moments = [Estimate.mean((w**power).mean(axis=2)) for power in (1, 2)]
    whitened = outlier.deviations(arrays.tensors(z=views)[0][0]).numpy() @ np.linalg.inv(np.linalg.cholesky(S)).T
    whitened = whitened.reshape(len(views), -1, dimension)
    tilted = np.einsum("rn,rni,rnj->rij", w[:, 0] / w[:, 0].sum(axis=1, keepdims=True), whitened, whitened)
    same = np.eye(dimension, dtype=int)

    judged: list[tuple[Claim, dict[str, Any]]] = []
    if nu > dimension:
        quantiles = nu * stats.beta.ppf(CHANCES, dimension / 2, (nu - dimension) / 2)
        judged.append((BETA, _shares(d2, quantiles)))
        judged.append((VARIANCE, {"square": Estimate.mean(((d2 - dimension) ** 2).mean(axis=1))}))
        for power, claim, name in ((1, WEIGHT, "weight"), (2, WEIGHT_SQUARE, "squared")):
            law = np.array([expected_weight(tau, dimension, images, per_image, power) for tau in taus])
            predicted = Estimate.computed(law, relative=1e-10)
            judged.append((claim, {name: moments[power - 1], "predicted": predicted}))
    judged += [
        (COVARIANCE, {"entry": Estimate.mean(whitened.mT @ whitened / whitened.shape[1]), "same": same, "scale": 1}),
        (LIMIT_WEIGHT, {"weight": moments[0]}),
        (LIMIT_SHARE, {"share": Estimate.mean(w.mean(axis=2) ** 2 / (w**2).mean(axis=2))}),
        (TILT, {"entry": Estimate.mean(tilted), "same": same, "scale": 1, "tau": Estimate.exact(taus[0])}),
    ]
    return _judge(judged, {**common, "tau": Estimate.exact(taus)}, record)


def check_global(z: Array, **record: Any) -> Verdicts:
    """Judge U4 about the mean of the two global views, on independent batches of Gaussian views without outliers.

    Args:
        z: (draws, N, M, d) with at least two draws, M > 2; N(M-1) >= 150 d and N >= 10 d.
        **record: `settings` and `seed` for the verdicts.

    Returns:
        U4.global_pair, U4.global_others, and U4.global_law once for each kind of view.

    Raises:
        InvalidInput: wrong shapes, NaN, fewer than two draws or three views.
    """
    from scipy import stats

    views, _, per_image, dimension, common = _batches(z, least=3)
    d2 = outlier.measure(views, centre="global").values.numpy()
    pair = d2[:, :, : outlier.GLOBAL_VIEWS].reshape(len(d2), -1)
    others = d2[:, :, outlier.GLOBAL_VIEWS :].reshape(len(d2), -1)
    quantiles = stats.chi2.ppf(CHANCES, dimension) * per_image / (3 * per_image - 4)
    judged: list[tuple[Claim, dict[str, Any]]] = [
        (GLOBAL_PAIR, {"mean": Estimate.mean(pair.mean(axis=1))}),
        (GLOBAL_OTHERS, {"mean": Estimate.mean(others.mean(axis=1))}),
        (GLOBAL_LAW, _shares(pair, quantiles)),
        (GLOBAL_LAW, _shares(others, 3 * quantiles)),
    ]
    return _judge(judged, common, record)


def experiment_gaussian(budget: str = "small", seed: int = 0) -> Verdicts:
    """U4 for few images (N = 4, M = 3, d = 5) and for many, both centrings, a random covariance.

    Args:
        budget: "small" (40,000 batches of few images, 600 or 800 of many) or "full" (ten times that).
        seed: of the draws.
    """
    times = 1 if checks.choice("budget", budget, ("small", "full")) == "small" else 10
    draw = seeding.numpy_generator("covariance for U4", seed)
    verdicts = Verdicts()
    for images, views, dimension, draws in ((4, 3, 5, 40_000), (300, 4, 3, 600), (150, 9, 3, 800)):
        root = draw.normal(size=(dimension, dimension))
        S = root @ root.T + np.eye(dimension)
        z = gaussian_views(draws * times, images, views, S, seed=seed)
        settings = {"N": images, "M": views, "d": dimension, "batches": len(z)}
        temperatures = (dimension, 4 * dimension)
        verdicts += check_gaussian(z, S, temperatures=temperatures, settings=settings, seed=seed)
        if images > 4:
            verdicts += check_global(z, settings={**settings, "centre": "global"}, seed=seed)
    return verdicts


def _shares(d2: np.ndarray, quantiles: np.ndarray) -> dict[str, Any]:
    """The share of distances (draws, views) below each quantile, beside its probability."""
    below = (d2[:, None] <= quantiles[:, None]).mean(axis=2)
    return {"below": Estimate.mean(below), "chance": Estimate.computed(np.array(CHANCES)), "scale": 1}


def _judge(judged: list[tuple[Claim, dict[str, Any]]], common: dict[str, Any], record: dict[str, Any]) -> Verdicts:
    verdicts = Verdicts()
    for claim, own in judged:
        values = {name: {**common, **own}[name] for name in claim.meanings}
        verdicts.append(claim.check(scale=own.get("scale"), **values, **record))
    return verdicts


def _batches(z: Array, least: int = 2) -> tuple[np.ndarray, int, int, int, dict[str, Any]]:
    (tensor,), _ = arrays.tensors(z=z)
    views = tensor.double().numpy(force=True)
    if views.ndim != 4 or len(views) < 2 or views.shape[2] < least:
        wanted = f"shape (draws, images, views, dimension), at least 2 draws and {least} views"
        checks.fail("z", wanted, f"shape {views.shape}", "draw independent batches, see gaussian_views")
    _, images, per_image, dimension = views.shape
    norms = np.linalg.norm(views, axis=-1)
    spread = float(np.ptp(norms) / norms.max()) if norms.any() else 0.0
    common = {"M": per_image, "d": dimension, "nu": images * (per_image - 1), "spread": spread}
    return views, images, per_image, dimension, common


def _covariance(covariance: Array) -> np.ndarray:
    (tensor,), _ = arrays.tensors(covariance=covariance)
    S = tensor.double().numpy(force=True)
    checks.matrix("covariance", S, columns=len(S) if S.ndim else None)
    if not np.allclose(S, S.T, rtol=0, atol=1e-12 * np.abs(S).max()) or np.linalg.eigvalsh(S)[0] <= 0:
        checks.fail("covariance", "a symmetric positive definite matrix", "another", "add a little to its diagonal")
    return S


U4 = Family(
    "U4",
    "Gaussian views without outliers: exact laws, limits, and what a centre of global views does to them",
    (*OF_ALL, *OF_GLOBAL),
    check_gaussian,
    experiment_gaussian,
)
