"""Which views are outliers: Mahalanobis distances from the image's centre, and weights exp(-d2/temperature).

Unsupervised outlier arbitration, Wang et al. (2021): N images, M views each, embedded as z_ij in R^d. Deviations
delta_ij = z_ij - mu_i from the image's centre share one covariance Sigma = (1/NM) sum delta delta^T, pooled over images
and views; d2_ij = delta^T Sigma^+ delta. The weight multiplies the loss term of the view that predicts
(`theory.contrastive`). It is no hard filter: every view keeps a positive weight.

- centre="all": mu_i is the mean of the M views.
- centre="global": mu_i is the mean of views 0 and 1, the global crops, as in the released code. These two then lie at
  the same distance for every M, on opposite sides of their own mean, and with no outliers at all the other views have
  three times their expected distance: a mean of two views is nearer to its members than to anything else.

With two views both lie at one distance whatever they show, so M = 2 is refused. So is saturation: when the deviations
span all N(M-1) dimensions that centred views have, as they do for N(M-1) <= d in general position, each distance is the
same constant and says nothing.

Example:
    >>> import numpy as np
    >>> z = np.random.default_rng(0).normal(size=(50, 6, 4))
    >>> z[7, 3] += 10
    >>> w = weights(z, normalise="batch")
    >>> divmod(int(w.argmin()), 6), round(float(w.mean()), 12)
    ((7, 3), 1.0)
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from theory import arrays, checks
from theory.arrays import Array

CENTRES = ("all", "global")
NORMALISATIONS = ("none", "batch", "image")
GLOBAL_VIEWS = 2
RELATIVE_CUT = 32
"""In units in the last place: rounding the views and centring them moves singular values by less than this."""


@dataclass(frozen=True, eq=False)
class Distances:
    """Squared Mahalanobis distances with what decides whether they say anything. Leading axes: independent batches.

    Attributes:
        values: d2, (..., N, M) float64.
        eigenvalues: of Sigma, largest first, (..., min(NM, d)) float64.
        rank: number of directions that count, (...) int64: those in which the views' root mean square deviation
            exceeds the cut.
    """

    values: Float[Tensor, "*draws N M"]
    eigenvalues: Float[Tensor, "*draws r"]
    rank: Tensor

    @property
    def saturation(self) -> int:
        """N(M-1): at this rank all distances are constants."""
        images, views = self.values.shape[-2:]
        return images * (views - 1)


def deviations(z: Float[Tensor, "*draws N M d"], centre: str = "all") -> Float[Tensor, "*draws N M d"]:
    """delta_ij = z_ij - mu_i, mu_i the mean of all views of image i, or of its first two."""
    checks.choice("centre", centre, CENTRES)
    members = z if centre == "all" else z[..., :GLOBAL_VIEWS, :]
    return z - members.mean(dim=-2, keepdim=True)


def measure(z: Array, *, centre: str = "all", ridge: float = 0.0, cut: float | None = None) -> Distances:
    """Distances of any views, constant ones too: for measuring. `mahalanobis` refuses what carries no information.

    Computed in float64 by a singular value decomposition of the deviations, never of Sigma, which would square their
    condition number.

    Args:
        z: views, (N, M, d), or (..., N, M, d) for many batches, each with a Sigma of its own; M >= 2.
        centre: "all" or "global".
        ridge: epsilon >= 0; above 0 the distances use (Sigma + epsilon I)^(-1), as the released code does (1e-8).
        cut: directions in which the root mean square deviation is at most `cut` times the root mean square norm of the
            views count as rounding, and are left out of Sigma^+ (the ridge needs no such cut); 32 units in the last
            place of z's dtype by default.

    Raises:
        InvalidInput: wrong shape, NaN, an unknown centre, a negative ridge or cut.
    """
    (views,), _ = arrays.tensors(z=z)
    checks.choice("centre", centre, CENTRES)
    ridge = checks.number("ridge", ridge, 0)
    cut = RELATIVE_CUT * torch.finfo(views.dtype).eps if cut is None else checks.number("cut", cut, 0)
    if views.ndim < 3 or 0 in views.shape or views.shape[-2] < 2:
        wanted = "shape (images, views, dimension), not empty, at least two views"
        checks.fail("z", wanted, f"shape {tuple(views.shape)}", "stack the views of each image along axis 1")
    views = views.double()
    # by a power of two, which rounds nothing: squares of the views neither overflow nor vanish
    unit = 2.0 ** (views.abs().amax((-3, -2, -1), keepdim=True).frexp().exponent - 1).double()
    views = views / unit
    images, per_image, dimension = views.shape[-3:]
    count = images * per_image
    delta = deviations(views, centre).reshape(*views.shape[:-3], count, dimension)
    U, s, _ = torch.linalg.svd(delta, full_matrices=False)
    size = views.flatten(-3).norm(dim=-1, keepdim=True)
    counts = s > cut * size
    # without a ridge d2 is NM times the leverage of the view; a ridge damps what rounding makes, so it needs no cut
    unit = unit[..., 0, 0]
    shrinkage = s**2 / (s**2 + count * (ridge / unit / unit)) if ridge else counts.double()
    d2 = count * (U**2 @ shrinkage[..., None]).squeeze(-1)
    return Distances(d2.reshape(views.shape[:-1]), (s * unit) ** 2 / count, counts.sum(dim=-1))


def mahalanobis(z: Array, *, centre: str = "all", ridge: float = 0.0, cut: float | None = None) -> Array:
    """d2_ij, the squared Mahalanobis distance of every view from its image's centre, (N, M).

    Args:
        z: views, (N, M, d), M >= 3, numpy or torch; no gradient flows through the result.
        centre: "all" or "global"; see the module's docstring.
        ridge: as in `measure`.
        cut: as in `measure`.

    Raises:
        InvalidInput: wrong shape, NaN, M = 2, views that do not deviate at all, saturation.

    Example:
        >>> import numpy as np
        >>> z = np.random.default_rng(0).normal(size=(50, 6, 4))
        >>> d2 = mahalanobis(z)
        >>> d2.shape, round(float(d2.mean()), 10)       # the mean is the rank of Sigma, whatever the views
        ((50, 6), 4.0)
    """
    (views,), back = arrays.tensors(z=z)
    return back(_informative(views, centre, ridge, cut)[0].to(views.dtype))


def weights(
    z: Array,
    temperature: float | None = None,
    *,
    share: float = 0.8,
    centre: str = "all",
    normalise: str = "none",
    ridge: float = 0.0,
    cut: float | None = None,
) -> Array:
    """exp(-d2/temperature), (N, M): small for views that look unlike the other views of their image.

    Args:
        z: views, (N, M, d), M >= 3, numpy or torch; no gradient flows through the weights.
        temperature: tau > 0; by default `temperature_for(share, rank)`. The mean distance is the rank of Sigma, so a
            temperature far above it gives nearly uniform weights.
        share: effective sample size to aim at, as a share of all views, in (0, 1); used without a temperature.
        centre: "all" or "global".
        normalise: "none"; "batch" (mean 1 over all views, as the released code does); "image" (mean 1 over the views of
            each image: every image keeps its say).
        ridge: as in `measure`.
        cut: as in `measure`.

    Raises:
        InvalidInput: as `mahalanobis`; a temperature that is not a positive number; an unknown normalisation.
    """
    checks.choice("normalise", normalise, NORMALISATIONS)
    if temperature is not None:
        temperature = checks.number("temperature", temperature, 0, open_low=True)
    checks.number("share", share, 0, 1, open_low=True, open_high=True)
    (views,), back = arrays.tensors(z=z)
    d2, rank = _informative(views, centre, ridge, cut)
    temperature = temperature_for(share, rank) if temperature is None else temperature
    if normalise == "none":
        return back((-d2 / temperature).exp().to(views.dtype))
    rows = d2.reshape(1, -1) if normalise == "batch" else d2
    beyond = rows - rows.amin(dim=1, keepdim=True)  # the nearest view keeps its weight at any temperature
    relative = (-beyond / temperature).softmax(dim=1) * rows.shape[1]
    return back(relative.reshape(d2.shape).to(views.dtype))


def temperature_for(share: float, dimension: int) -> float:
    """The temperature at which Gaussian views keep this share of the effective sample size.

    tau = 2(1 - s)/s with s = sqrt(1 - share^(2/d)), about sqrt(2d/log(1/share)) for large d: it inverts
    ((1 + 4/tau)/(1 + 2/tau)^2)^(d/2), exact as N -> infinity (paper_notes/wang2021.md). Outliers lower the share.

    Args:
        share: in (0, 1).
        dimension: d, the rank of Sigma, >= 1.

    Raises:
        InvalidInput: out of range.

    Example:
        >>> [round(temperature_for(0.8, d), 1) for d in (16, 36, 128)]
        [10.1, 16.0, 31.9]
    """
    share = checks.number("share", share, 0, 1, open_low=True, open_high=True)
    exponent = 2 * math.log(share) / checks.integer("dimension", dimension, minimum=1)
    s = math.sqrt(-math.expm1(exponent))
    return 2 * math.exp(exponent) / (s * (1 + s))  # (1 - s)/s without cancellation


def _informative(views: Tensor, centre: str, ridge: float, cut: float | None) -> tuple[Tensor, int]:
    """The distances in float64 and the rank, refused where the distances are constants."""
    if views.ndim != 3 or 0 in views.shape or views.shape[1] < 3:
        two = views.ndim == 3 and views.shape[1] == 2
        remedy = "two views always tie: add a third" if two else "stack the views of each image along axis 1"
        wanted = "shape (images, views, dimension), at least 3 views"
        checks.fail("z", wanted, f"shape {tuple(views.shape)}", remedy)
    found = measure(views, centre=centre, ridge=ridge, cut=cut)
    rank = int(found.rank)
    if rank == 0:
        checks.fail("z", "views that deviate from their centre", "no deviation", "the embedding may have collapsed")
    if rank == found.saturation:
        wanted = f"deviations of rank below N(M-1) = {rank}"
        remedy = "every distance is then a constant: use more images, or fewer dimensions"
        checks.fail("z", wanted, f"rank {rank} (dimension {views.shape[2]})", remedy)
    return found.values, rank
