"""Clusterable data: unit inputs in small balls round few centres, one real label per class of clusters.

The definition (cf. Li, Soltanolkotabi & Oymak, 2020): n unit vectors x_i in R^d lie within `radius` (paper: epsilon_0)
of K distinct unit centres; every cluster belongs to one of K_bar classes; the labels of the classes are real numbers
alpha_r in [-1, 1], at least `label_separation` (paper: delta) apart. `generate` draws such a set and keeps every
promise exactly or refuses with a reason; `measure` finds the least radius for which a real set is clusterable.

Example, the paper's picture:
    >>> data = generate(clusters=6, classes=3, size=30, alphas=[-1, 0.1, 1], label_separation=0.9)
    >>> data.X.shape, data.sizes.tolist(), data.label_separation
    ((30, 10), [5, 5, 5, 5, 5, 5], 0.9)
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from theory import checks, seeding, sphere
from theory.arrays import Array, is_tensor


@dataclass(frozen=True, eq=False, repr=False)
class ClusterableData:
    """A data set together with the clusters, classes and radius that make it clusterable.

    Attributes:
        X: (n, d) float64, unit rows.
        y: (n,) float64, the true real labels, `alphas[classes[clusters]]`.
        clusters: (n,) int, the cluster of each row, 0 to K - 1.
        centres: (K, d) float64, distinct unit rows.
        classes: (K,) int, the class of each cluster, 0 to K_bar - 1.
        alphas: (K_bar,) float64, the label of each class, in [-1, 1].
        radius: promised bound on ||x_i - c_l|| (Euclidean, no unit), in [0, 2].

    Raises:
        InvalidInput: shapes that do not fit together or indices out of range. Whether the promises hold is asked of
            `violations`, so that a broken set can be looked at.
    """

    X: Float[np.ndarray, "n d"]
    y: Float[np.ndarray, " n"]
    clusters: Int[np.ndarray, " n"]
    centres: Float[np.ndarray, "K d"]
    classes: Int[np.ndarray, " K"]
    alphas: Float[np.ndarray, " K_bar"]
    radius: float

    def __post_init__(self) -> None:
        checks.matrix("X", self.X)
        checks.matrix("centres", self.centres, columns=self.X.shape[1])
        checks.vector("y", self.y, length=len(self.X))
        checks.vector("alphas", self.alphas)
        _indices("clusters", self.clusters, length=len(self.X), below=len(self.centres))
        _indices("classes", self.classes, length=len(self.centres), below=len(self.alphas))

    @property
    def n(self) -> int:
        """Number of points."""
        return len(self.X)

    @property
    def dimension(self) -> int:
        """Input dimension d."""
        return int(self.X.shape[1])

    @property
    def sizes(self) -> Int[np.ndarray, " K"]:
        """Number of points n_l of each cluster."""
        return np.bincount(self.clusters, minlength=len(self.centres))

    @property
    def size_bounds(self) -> tuple[float, float]:
        """(c_low, c_up) with c_low n/K <= n_l <= c_up n/K, both attained."""
        return float(self.sizes.min() / self.sizes.mean()), float(self.sizes.max() / self.sizes.mean())

    @property
    def centred(self) -> Float[np.ndarray, "n d"]:
        """Each row's own centre: the perfectly clustered inputs (radius zero) that go with X."""
        return self.centres[self.clusters]

    @property
    def distances(self) -> Float[np.ndarray, " n"]:
        """Distance of each row to its centre, measured."""
        return sphere.norms(self.X - self.centred).astype(np.float64)

    @property
    def label_separation(self) -> float:
        """Least |alpha_r - alpha_s| over r != s (paper: delta); infinite for one class."""
        return _least_gap(self.alphas)

    @property
    def delta(self) -> float:
        """The paper's symbol for `label_separation`."""
        return self.label_separation

    @property
    def separation(self) -> float:
        """Least distance of two centres, measured; infinite for one cluster."""
        return sphere.least_distance(self.centres, -1)

    @property
    def antipodal_separation(self) -> float:
        """Least of ||c_l - c_m|| and ||c_l + c_m|| over l != m, measured: zero if two centres are opposite."""
        return min(self.separation, sphere.least_distance(self.centres, +1))

    @property
    def disjoint(self) -> bool:
        """Whether the closed balls of the promised radius round the centres are disjoint (overlap is allowed)."""
        return self.separation > 2 * self.radius

    def violations(self) -> tuple[str, ...]:
        """The promises that do not hold, one line each; empty for a clusterable set. Distances up to rounding."""
        broken = []
        for name, rows in (("X", self.X), ("centres", self.centres)):
            excess = float(np.abs(sphere.norms(rows) - 1).max())
            if not excess <= sphere.UNIT:
                broken.append(f"{name}: a row's norm is {excess:.3g} off 1")
        if not 0 <= self.radius <= 2:
            broken.append(f"radius: {self.radius} is not in [0, 2]")
        farthest = float(self.distances.max())
        if not farthest <= self.radius * (1 + sphere.ROUNDING):
            broken.append(f"radius: a point lies {farthest!r} from its centre, promised {self.radius!r}")
        if not self.separation > sphere.COINCIDENT:
            broken.append(f"centres: two are {self.separation:.3g} apart, not distinct")
        if not np.all(np.abs(self.alphas) <= 1) or not self.label_separation > 0:
            broken.append(f"alphas: {self.alphas.tolist()} are not distinct numbers in [-1, 1]")
        if not np.array_equal(self.y, self.alphas[self.classes[self.clusters]]):
            broken.append("y: a label is not the alpha of its cluster's class")
        if len(empty := np.flatnonzero(self.sizes == 0)):
            broken.append(f"clusters: {empty.tolist()} hold no point")
        if len(missing := np.setdiff1d(np.arange(len(self.alphas)), self.classes)):
            broken.append(f"classes: {missing.tolist()} own no cluster")
        return tuple(broken)

    def report(self) -> dict[str, float | int | bool]:
        """Everything measured about the set by name: sizes, radius promised and achieved, separations."""
        median, most, farthest = np.quantile(self.distances, [0.5, 0.9, 1.0]).tolist()
        return {
            "points": self.n,
            "dimension": self.dimension,
            "clusters": len(self.centres),
            "classes": len(self.alphas),
            "smallest_cluster": int(self.sizes.min()),
            "largest_cluster": int(self.sizes.max()),
            "radius": self.radius,
            "distance_median": median,
            "distance_90_percent": most,
            "distance_largest": farthest,
            "separation": self.separation,
            "antipodal_separation": self.antipodal_separation,
            "label_separation": self.label_separation,
            "disjoint": self.disjoint,
        }

    def _shown(self) -> dict[str, str]:
        return {name: f"{v:.4g}" if isinstance(v, float) else str(v) for name, v in self.report().items()}

    def __repr__(self) -> str:
        return f"ClusterableData({', '.join(f'{name}={value}' for name, value in self._shown().items())})"

    def _repr_html_(self) -> str:
        rows = (f"<tr><th>{name.replace('_', ' ')}</th><td>{value}</td></tr>" for name, value in self._shown().items())
        return f"<table><caption>clusterable data</caption>{''.join(rows)}</table>"


def generate(
    clusters: int | None = None,
    classes: int | None = None,
    dimension: int | None = None,
    *,
    size: int | None = None,
    per_cluster: int | None = None,
    sizes: Array | None = None,
    imbalance: float = 1.0,
    radius: float = 0.1,
    spread: str = "ball",
    alphas: Array | None = None,
    label_separation: float | None = None,
    cluster_classes: Array | None = None,
    placement: str | None = None,
    centres: Array | None = None,
    angles: Array | None = None,
    minimum_separation: float = 0.0,
    antipodal_separation: float = 0.0,
    attempts: int = 100_000,
    seed: int = 0,
) -> ClusterableData:
    """Draw a clusterable set (cf. Li, Soltanolkotabi & Oymak, 2020), rows in the order of their clusters.

    Centres and points come from streams of their own, so that with one seed a sweep over the radius keeps the centres,
    and each point moves along one arc from its centre.

    Args:
        clusters: K. Default: as many as `centres`, `angles`, `sizes` or `cluster_classes` have, else 6.
        classes: K_bar <= K. Default: as many as `alphas` or `cluster_classes` have, else min(3, K).
        dimension: d >= 2. Default: the columns of `centres`, else 10.
        size: total number of points n, shared out as evenly as `imbalance` allows.
        per_cluster: n / K instead of n; 5 if nothing is given.
        sizes: (K,) integers, number of points of each cluster instead.
        imbalance: >= 1; cluster sizes proportional to K equally spaced weights from 1 to this, rounded to sum to n.
        radius: epsilon_0 in [0, 2]; 0 copies the centres bit for bit.
        spread: "ball" draws the distance to the centre as radius * U^(1/(d-1)), the law of a uniform point of a small
            cap; "boundary" puts every point at the radius, less rounding (at most 4e-15).
        alphas: (K_bar,) distinct labels in [-1, 1]. Default: equally spaced from -1 to 1.
        label_separation: least distance of two labels (paper: delta) to insist on; decimal labels may miss it by the
            rounding of one subtraction.
        cluster_classes: (K,) class index of each cluster. Default: 0, 1, ..., K_bar - 1, 0, 1, ...
        placement: "uniform" on the sphere; a regular "polygon" in the first two coordinates (opposite vertices exactly
            opposite); "antipodal" pairs (c, -c) next to each other; "angles" in the first two coordinates; "given".
            Default: what `centres` or `angles` imply, else "uniform".
        centres: (K, d) unit rows (to 1e-12), for "given".
        angles: (K,) radians, for "angles".
        minimum_separation: least distance of two centres to insist on.
        antipodal_separation: least distance of +/- centres to insist on.
        attempts: candidate centres to draw before random placement gives up.
        seed: >= 0.

    Returns:
        ClusterableData with rows unit to 1e-15 and ||x_i - c_l|| <= radius without allowance for rounding.

    Raises:
        InvalidInput: arguments that contradict each other or the definition, separations that cannot be had (packing
            bounds), or that random placement did not reach within `attempts`.
    """
    given = None if centres is None else _array("centres", centres, 2)
    turns = None if angles is None else _array("angles", angles, 1)
    members = None if sizes is None else _integers("sizes", sizes, 1)
    of_cluster = None if cluster_classes is None else _integers("cluster_classes", cluster_classes, 0)
    K = _agree("clusters", clusters, 6, centres=given, angles=turns, sizes=members, cluster_classes=of_cluster)
    d = _agree("dimension", dimension, 10, centres=None if given is None else given[0])
    checks.integer("dimension", d, minimum=2)
    radius = checks.number("radius", radius, 0, 2)
    checks.choice("spread", spread, sphere.SPREADS)
    if placement is None:
        placement = "given" if given is not None else "angles" if turns is not None else "uniform"
    checks.choice("placement", placement, sphere.PLACEMENTS)
    labels, of_cluster = _labels(K, classes, alphas, label_separation, of_cluster)
    members = _cluster_sizes(K, size, per_cluster, members, imbalance)

    placed = sphere.place(K, d, placement, given, turns, minimum_separation, antipodal_separation, attempts, seed)
    assignment = np.repeat(np.arange(K), members)
    X = sphere.points_near(placed[assignment], radius, spread, seeding.numpy_generator("clusterable points", seed))
    return ClusterableData(X, labels[of_cluster[assignment]], assignment, placed, of_cluster, labels, radius)


def measure(X: Array, y: Array, clusters_per_class: int | Array = 1, seed: int = 0) -> ClusterableData:
    """See a real labelled set as clusterable: k-means inside each class, on rows scaled to norm 1.

    Args:
        X: (n, d) inputs, no zero row; scaled to unit rows, kept in order.
        y: (n,) real labels in [-1, 1]; each distinct value is a class (digits by parity: even -1, odd +1).
        clusters_per_class: number of clusters of every class, or one number per class, smallest label first.
        seed: of k-means, >= 0.

    Returns:
        ClusterableData whose centres are the k-means centres scaled to norm 1 and whose `radius` is the achieved one:
        the largest distance of a row to its centre. Its `report()` has the quantiles and separations.

    Raises:
        InvalidInput: zero rows, labels outside [-1, 1], too few distinct points for the clusters asked, a cluster
            whose mean is zero, or clusters whose centres coincide.

    Example:
        >>> measure([[3.0, 0.1], [2.0, 0.0], [0.0, 1.0]], [-1, -1, 1]).report()["clusters"]
        2
    """
    from sklearn.cluster import KMeans  # two seconds to import, and only real data needs it

    inputs, labels = _array("X", X, 2), _array("y", y, 1)
    checks.vector("y", labels, length=len(inputs))
    lengths = sphere.norms(inputs)
    if not lengths.min() > 0:
        checks.fail("X", "rows with a direction", f"{int((lengths == 0).sum())} zero rows", "remove them")
    alphas, class_of = np.unique(labels, return_inverse=True)
    if np.abs(alphas).max() > 1:
        checks.fail("y", "labels in [-1, 1]", f"up to {np.abs(alphas).max():g}", "rescale them, e.g. even -1, odd +1")
    counts = _integers("clusters_per_class", np.atleast_1d(clusters_per_class), 1)
    asked = np.resize(counts, len(alphas)) if np.ndim(clusters_per_class) == 0 else counts
    _agree("clusters_per_class", len(alphas), 1, clusters_per_class=asked)
    rows, rng = sphere.unit_rows(inputs), seeding.numpy_generator("clusterable k-means", seed)
    clusters = np.empty(len(rows), dtype=np.int64)
    for index, count in enumerate(asked.tolist()):
        mine = np.flatnonzero(class_of == index)
        distinct = len(np.unique(rows[mine], axis=0))
        checks.integer(f"clusters_per_class for label {alphas[index]:g}", count, 1, distinct)
        fit = KMeans(n_clusters=count, n_init=4, random_state=int(rng.integers(2**31))).fit(rows[mine])
        clusters[mine] = fit.labels_ + asked[:index].sum()
    means = np.stack([rows[clusters == cluster].mean(axis=0) for cluster in range(asked.sum())])
    if not sphere.norms(means).min() > sphere.COINCIDENT:
        checks.fail("clusters", "means with a direction", "a cluster with mean zero", "ask more clusters per class")
    centres = sphere.unit_rows(means)
    if not sphere.least_distance(centres, -1) > sphere.COINCIDENT:
        checks.fail("centres", "distinct", "two that coincide", "ask fewer clusters, or drop points with two labels")
    radius = float(sphere.norms(rows - centres[clusters]).max()) * (1 + sphere.ROUNDING)
    classes = np.repeat(np.arange(len(alphas)), asked)
    return ClusterableData(rows, alphas[class_of], clusters, centres, classes, alphas, min(radius, 2.0))


def _labels(
    K: int, classes: int | None, alphas: Any, wanted: float | None, of_cluster: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """(K_bar,) labels and the (K,) class of each cluster."""
    labels = None if alphas is None else _array("alphas", alphas, 1)
    default = min(3, K) if of_cluster is None else int(of_cluster.max()) + 1
    K_bar = checks.integer("classes", _agree("classes", classes, default, alphas=labels), 1, K)
    if wanted is not None:
        checks.number("label_separation", wanted, 0, 2, open_low=True)
        if (K_bar - 1) * wanted > 2 + sphere.UNIT:
            most = f"(classes - 1) * label_separation <= 2, the length of [-1, 1], for {K_bar} classes"
            checks.fail("label_separation", most, wanted, f"ask at most {2 / (K_bar - 1):.6g} or fewer classes")
    if labels is None:
        labels = np.linspace(-1.0, 1.0, K_bar)
    if np.abs(labels).max() > 1 or not _least_gap(labels) > 0:
        checks.fail("alphas", "distinct numbers in [-1, 1]", labels.tolist(), "rescale the labels")
    if (
        wanted is not None and _least_gap(labels) < wanted - sphere.UNIT / 2
    ):  # the rounding of one difference in [-2, 2]
        checks.fail("alphas", f"labels at least {wanted} apart", _least_gap(labels), "spread them or ask less")
    if of_cluster is None:
        of_cluster = np.arange(K) % K_bar
    _indices("cluster_classes", of_cluster, length=K, below=K_bar)
    if len(np.unique(of_cluster)) < K_bar:
        checks.fail("cluster_classes", f"all of 0 to {K_bar - 1}", of_cluster.tolist(), "give every class a cluster")
    return labels, of_cluster


def _cluster_sizes(K: int, size: Any, per_cluster: Any, sizes: np.ndarray | None, imbalance: float) -> np.ndarray:
    """(K,) points of each cluster, at least one."""
    checks.number("imbalance", imbalance, low=1)
    ways = sum(way is not None for way in (size, per_cluster, sizes))
    if ways > 1:
        checks.fail("sizes", "at most one of size, per_cluster, sizes", ways, "keep one")
    if sizes is not None:
        if imbalance != 1:
            checks.fail("imbalance", "1 beside explicit sizes", imbalance, "drop one of the two")
        return sizes
    each = checks.integer("per_cluster", 5 if per_cluster is None else per_cluster, minimum=1)
    total = K * each if size is None else checks.integer("size", size, minimum=K)
    weights = np.linspace(1.0, imbalance, K)
    quotas = total * weights / weights.sum()
    members = np.floor(quotas + 1e-9).astype(np.int64)
    members[np.argsort(members - quotas, kind="stable")[: total - members.sum()]] += 1  # largest remainders first
    if members.min() < 1:
        checks.fail("imbalance", f"a point for each of {K} clusters", f"{imbalance} with n = {total}", "raise the size")
    return members


def _least_gap(labels: np.ndarray) -> float:
    return float(np.diff(np.sort(labels)).min()) if len(labels) > 1 else math.inf


def _indices(name: str, values: np.ndarray, length: int, below: int) -> None:
    checks.vector(name, values, length=length)
    if values.dtype.kind not in "iu" or values.min() < 0 or values.max() >= below:
        checks.fail(name, f"integers from 0 to {below - 1}", np.unique(values).tolist(), "number them from 0")


def _array(name: str, value: Any, ndim: int) -> np.ndarray:
    try:
        array = np.array(value.detach().cpu().numpy() if is_tensor(value) else value, dtype=np.float64)
    except (TypeError, ValueError):
        checks.fail(name, "an array of numbers", type(value).__name__, "give rows of numbers, of equal length")
    (checks.matrix if ndim == 2 else checks.vector)(name, array)
    checks.finite(name, array)
    return array


def _integers(name: str, values: Any, minimum: int) -> np.ndarray:
    if np.ndim(values) != 1 or len(values) == 0:
        checks.fail(name, "a list with one integer per cluster", repr(values), "one entry per cluster")
    return np.array([checks.integer(name, value, minimum) for value in values], dtype=np.int64)


def _agree(what: str, asked: int | None, default: int, **found: np.ndarray | None) -> int:
    """The number asked, or the length on which the arguments agree."""
    for source, values in found.items():
        if values is not None and asked is not None and len(values) != asked:
            checks.fail(what, f"{len(values)}, as {source} say", asked, "make them agree")
        asked = len(values) if asked is None and values is not None else asked
    return checks.integer(what, default if asked is None else asked, minimum=1)
