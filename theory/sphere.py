"""Points on the unit sphere: centres with stated separations, and points within a stated distance of them.

Every promise is kept in the arithmetic that a user would check it with, or refused: by packing bounds before any draw,
or after `attempts` candidates of rejection sampling.
"""

import math
from typing import Any

import numpy as np
from scipy.special import betainc

from theory import checks, seeding

PLACEMENTS = ("uniform", "polygon", "antipodal", "angles", "given")
SPREADS = ("ball", "boundary")
ROUNDING = 2.0**-50  # relative: four units in the last place, more than measuring a distance in float64 can err
COINCIDENT = 1e-12  # centres nearer than this differ by rounding only
PATIENCE = 500  # candidates refused in a row before random placement starts again
UNIT = 1e-15  # promised | ||x|| - 1 |


def place(
    K: int, d: int, placement: str, given: Any, angles: Any, plain: float, antipodal: float, attempts: int, seed: int
) -> np.ndarray:
    """K distinct unit centres in R^d with the separations asked, (K, d).

    Args:
        K: number of centres.
        d: dimension, >= 2.
        placement: one of `PLACEMENTS`.
        given: (K, d) unit rows, for "given"; None otherwise.
        angles: (K,) radians, for "angles"; None otherwise.
        plain: least distance of two centres.
        antipodal: least distance of two centres up to sign.
        attempts: candidates to draw before random placement gives up.
        seed: of the stream "cluster centres".

    Raises:
        InvalidInput: separations that no packing allows, or that were not reached; centres that coincide.
    """
    plain = checks.number("minimum_separation", plain, 0, 2)
    antipodal = checks.number("antipodal_separation", antipodal, 0, 2)
    attempts = checks.integer("attempts", attempts, minimum=1)
    for name, value, needed in (("centres", given, "given"), ("angles", angles, "angles")):
        if (value is not None) != (placement == needed):
            checks.fail("placement", f"{needed!r} exactly when {name} are passed", repr(placement), "pass both or none")
    for name, asked, room in (
        (
            "minimum_separation",
            plain,
            2 * room_for_lines(d, plain) if placement == "antipodal" else room_for_points(d, plain),
        ),
        ("antipodal_separation", antipodal, room_for_lines(d, antipodal)),
    ):
        if room < K:
            wanted = f"room for {K} centres in dimension {d}"
            remedy = "lower it, ask fewer clusters or raise the dimension"
            checks.fail(name, wanted, f"{asked}, which leaves room for at most {room:.0f}", remedy)

    rng = seeding.numpy_generator("cluster centres", seed)
    if placement == "uniform":
        centres = _scatter(K, d, plain, antipodal, attempts, rng)
    elif placement == "antipodal":
        if K % 2:
            checks.fail("clusters", "an even number for antipodal pairs", K, "add or drop one")
        lines = _scatter(K // 2, d, plain, plain, attempts, rng)
        centres = np.stack([lines, -lines], axis=1).reshape(K, d)
    elif placement == "given":
        excess = np.abs(norms(given) - 1)
        if excess.max() > COINCIDENT:
            checks.fail("centres", "unit rows", f"a norm {excess.max():.3g} off 1", "divide each row by its norm")
        centres = np.where((excess > UNIT)[:, None], unit_rows(given), given)
    else:
        turns = 2 * np.pi * np.arange(K) / K if placement == "polygon" else angles
        centres = np.zeros((K, d))
        centres[:, 0], centres[:, 1] = np.cos(turns), np.sin(turns)
        if placement == "polygon" and K % 2 == 0:
            centres[K // 2 :] = -centres[: K // 2]
    for name, asked, sign in (("minimum", plain, -1), ("antipodal", antipodal, -1), ("antipodal", antipodal, +1)):
        least = least_distance(centres, sign)
        if least < asked * (1 - ROUNDING):
            checks.fail(f"{name}_separation", f"at most {least:.6g} for placement {placement!r}", asked, "lower it")
    if not least_distance(centres, -1) > COINCIDENT:
        checks.fail("centres", "distinct", "two that coincide", "move or drop one")
    return centres


def _scatter(K: int, d: int, plain: float, antipodal: float, attempts: int, rng: np.random.Generator) -> np.ndarray:
    """K uniform unit vectors, by rejection: keep a candidate that is far enough from those kept."""
    if plain == 0 and antipodal == 0:
        return unit_rows(rng.standard_normal((K, d)))
    kept, count, refused, most = np.empty((K, d)), 0, 0, 0
    for _ in range(attempts):
        candidate = unit_rows(rng.standard_normal((1, d)))
        near = norms(kept[:count] - candidate) < max(plain, antipodal) * (1 + ROUNDING)
        if antipodal > 0:
            near |= norms(kept[:count] + candidate) < antipodal * (1 + ROUNDING)
        if near.any():
            refused += 1
            if refused == PATIENCE:  # unlucky first centres can leave no room: start again
                count = refused = 0
            continue
        kept[count] = candidate
        count, refused, most = count + 1, 0, max(most, count + 1)
        if count == K:
            return kept
    got = f"at most {most} in {attempts} attempts"
    checks.fail("placement", f"{K} uniform centres with the separations asked", got, "lower them or raise attempts")


def points_near(centred: np.ndarray, radius: float, spread: str, rng: np.random.Generator) -> np.ndarray:
    """Unit rows, each within `radius` of its row of `centred`; (n, d).

    Args:
        centred: each point's centre, unit rows, (n, d).
        radius: in [0, 2]; 0 copies the centres.
        spread: "ball" or "boundary", see `theory.clusterable.generate`.
        rng: the generator to draw from.
    """
    n, d = centred.shape
    directions = rng.standard_normal((n, d))
    shares = rng.random(n) ** (1 / (d - 1))
    for _ in range(2):  # once leaves a component along the centre of the size of rounding
        directions = unit_rows(directions - np.sum(directions * centred, axis=1, keepdims=True) * centred)
    limit = radius * (1 - ROUNDING)  # so that no way to compute the distance finds it beyond the radius
    chords = limit * (np.ones(n) if spread == "boundary" else shares)
    pull = 2.0**-53
    while True:
        along, across = 1 - chords**2 / 2, chords * np.sqrt(1 - chords**2 / 4)
        rows = unit_rows(along[:, None] * centred + across[:, None] * directions)
        rows = np.where((chords > 0)[:, None], rows, centred)
        outside = norms(rows - centred) > limit
        if not outside.any():
            return rows
        chords[outside] = np.maximum(chords[outside] - pull, 0)  # rounding pushed it out; at zero it is the centre
        pull *= 2


def room_for_points(d: int, separation: float) -> float:
    """An upper bound on the number of points of the sphere in R^d that are pairwise `separation` apart.

    Half-way caps are disjoint and a cap of chord radius s has a share I(s^2/4; (d-1)/2, 1/2)/2 of the sphere; beyond
    sqrt(2), Rankin's bound s^2/(s^2 - 2) and d + 1.
    """
    share = betainc((d - 1) / 2, 0.5, separation**2 / 4) / 2
    room = 1 / share if share > 1e-300 else math.inf
    excess = separation**2 - 2
    return _whole(room if excess < 1e-9 else min(room, d + 1, (excess + 2) / excess))


def room_for_lines(d: int, separation: float) -> float:
    """The same for K lines, as +/- pairs: 2K caps, and Welch's bound K <= d (1 - m^2)/(1 - d m^2), m = 1 - s^2/2."""
    if separation**2 > 2 + 1e-9:
        return 1.0
    m = max(0.0, 1 - separation**2 / 2)
    welch = d * (1 - m**2) / (1 - d * m**2) if d * m**2 < 1 else math.inf
    return _whole(min(welch, room_for_points(d, separation) / 2))


def _whole(bound: float) -> float:
    """The largest whole number within a bound that rounding may have lowered."""
    return bound if math.isinf(bound) else float(math.floor(bound + 1e-9))


def norms(rows: np.ndarray) -> np.ndarray:
    """Row norms, summed in extended precision: right to half a unit in the last place of float64."""
    return np.sqrt(np.sum(np.square(rows), axis=1, dtype=np.longdouble))


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """The rows (n, d), none of them zero, divided by their norms."""
    return rows / norms(rows).astype(np.float64)[:, None]


def least_distance(points: np.ndarray, sign: int) -> float:
    """Least ||p_i + sign p_j|| over i < j, from differences (an inner product would lose half the digits)."""
    nearest = (float(norms(points[i + 1 :] + sign * points[i]).min()) for i in range(len(points) - 1))
    return min(nearest, default=math.inf)
