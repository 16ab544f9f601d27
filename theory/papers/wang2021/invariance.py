"""What leaves every distance unchanged: invertible maps of the embedding space, and shifts of each image (U3).

Neither moves the column space of the deviations, of which d2 is the leverage. So the scale of an embedding, its
correlations and everything that the views of an image share are invisible to the weights, and a linear encoder of full
rank gives the weights of its inputs. Normalising to unit length afterwards is no linear map: it is out of scope. Proof
in paper_notes/wang2021.md.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from theory import arrays, checks, outlier, seeding
from theory.arrays import Array
from theory.claim import Family
from theory.estimate import Estimate
from theory.papers.wang2021.distances import rounding
from theory.papers.wang2021.distances_claims import INVARIANCE
from theory.verdict import Verdicts


def check_invariance(
    z: Array, maps: Sequence[Array], shifts: Sequence[Array] | None = None, *, centre: str = "all", **record: Any
) -> Verdicts:
    """Judge U3: the distances of z against those of A z_ij + b_i, for every map A; one point for each map.

    Args:
        z: views (N, M, d).
        maps: matrices (d, d).
        shifts: b_i of every image (N, d), one array for each map; none by default.
        centre: "all" or "global".
        **record: `settings` and `seed` for the verdicts.

    Returns:
        U3.invariance at the view whose distance moved most.

    Raises:
        InvalidInput: wrong shapes, NaN.
    """
    (views,), _ = arrays.tensors(z=z)
    views = views.double().numpy(force=True)
    before = outlier.measure(views, centre=centre)
    error = rounding(before, views)
    rows = []
    for number, A in enumerate(maps):
        A = np.asarray(A, dtype=float)
        checks.matrix("map", A, rows=views.shape[2], columns=views.shape[2])
        shift = np.zeros(views[:, 0].shape) if shifts is None else np.asarray(shifts[number], dtype=float)
        mapped = views @ A.T + shift[:, None]
        after = outlier.measure(mapped, centre=centre)
        worst = int((after.values - before.values).abs().argmax())
        values = np.linalg.svd(A, compute_uv=False)
        # each mapped entry is rounded once per term of its sum, in proportion to the terms, which may cancel
        further = views.shape[2] * rounding(after, np.abs(views) @ np.abs(A).T + np.abs(shift)[:, None])
        if int(after.rank) != int(before.rank):  # no invertible map changes it: rounding hides or adds a direction
            further = float(before.values.numel())
        pair = (float(after.values.flatten()[worst]), float(before.values.flatten()[worst]))
        rows.append((*pair, further, float(values[-1] / values[0]) if values[0] > 0 else 0.0))
    now, then, further_, least_ = np.array(rows).T
    return Verdicts(
        [
            INVARIANCE.check(
                moved=Estimate.computed(now, error=further_),
                d2=Estimate.computed(then, error=error),
                least=Estimate.computed(least_, error=1e-14),
                **record,
            )
        ]
    )


def experiment_invariance(budget: str = "small", seed: int = 0) -> Verdicts:
    """U3 over random invertible maps and shifts, both centrings, full-rank and singular Sigma.

    Args:
        budget: "small" (20 maps) or "full" (500).
        seed: of the draws.
    """
    checks.choice("budget", budget, ("small", "full"))
    draw = seeding.numpy_generator("views and maps for U3", seed)
    verdicts = Verdicts()
    for centre in outlier.CENTRES:
        for singular in (False, True):
            z = draw.normal(size=(12, 5, 6))
            z[..., 4:] *= not singular
            maps = [random_map(draw, 6) for _ in range(20 if budget == "small" else 500)]
            shifts = [10 * draw.normal(size=(12, 6)) for _ in maps]
            record: dict[str, Any] = {"settings": {"centre": centre, "singular": str(singular)}, "seed": seed}
            verdicts += check_invariance(z, maps, shifts, centre=centre, **record)
    return verdicts


def random_map(draw: np.random.Generator, dimension: int) -> np.ndarray:
    """A matrix with random singular vectors and singular values between 1/30 and 30."""
    left, right = (np.linalg.qr(draw.normal(size=(dimension, dimension)))[0] for _ in range(2))
    return left * 30 ** draw.uniform(-1, 1, size=dimension) @ right


U3 = Family(
    "U3",
    "invertible maps and shifts of each image change no distance",
    (INVARIANCE,),
    check_invariance,
    experiment_invariance,
)
