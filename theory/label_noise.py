"""Label noise: corrupt the labels of a set cluster by cluster, and the rates that recovery can survive.

A set is (rho, epsilon_0, delta)-corrupted (cf. Li, Soltanolkotabi & Oymak, 2020) if in each cluster l at most rho n_l
labels are replaced by another class's value. "Corrupted" means that the value changed. With inputs on their centres,
gradient descent can at best learn the mean observed label of each cluster (derived; proof in paper_notes/li2020.md#c1),
so a cluster survives exactly if that mean stays nearest its own label; `class_thresholds` says up to which rate it
must.

Example:
    >>> noisy = corrupt([-1.0] * 5 + [1.0] * 5, rate=0.2)
    >>> noisy.counts.tolist(), noisy.realised, sorted(noisy.y.tolist()) == [-1.0] * 5 + [1.0] * 5
    ([1, 1], 0.2, True)
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from theory import arrays, checks, seeding
from theory.arrays import Array
from theory.clusterable import ClusterableData

MODES = ("exact", "flip", "redraw", "adversarial")
SLACK = 1e-9  # labels; rate * n_l is meant as a decimal: 0.3 of 10 labels are 3, whatever the rounding


@dataclass(frozen=True, eq=False, repr=False)
class CorruptedLabels:
    """Labels before and after corruption. `truth`, `y`, `noise` and `mask` have the kind of the labels given.

    Attributes:
        truth: (n,) true labels.
        y: (n,) observed labels.
        noise: (n,) e = y - truth.
        mask: (n,) bool, where the value changed.
        clusters: (n,) numpy int, the cluster of each label.
        alphas: (K_bar,) numpy float64, the label of each class.
        rate: asked, in [0, 1] (paper: rho).
        mode: one of `MODES`.
    """

    truth: Array
    y: Array
    noise: Array
    mask: Array
    clusters: Int[np.ndarray, " n"]
    alphas: Float[np.ndarray, " K_bar"]
    rate: float
    mode: str

    @property
    def sizes(self) -> Int[np.ndarray, " K"]:
        """Number of labels n_l of each cluster."""
        return np.bincount(self.clusters)

    @property
    def counts(self) -> Int[np.ndarray, " K"]:
        """Number of labels of each cluster that changed."""
        return np.bincount(self.clusters[_numpy(self.mask)], minlength=len(self.sizes))

    @property
    def shares(self) -> Float[np.ndarray, " K"]:
        """Share of the labels of each cluster that changed."""
        return self.counts / np.maximum(self.sizes, 1)

    @property
    def realised(self) -> float:
        """Largest share over the clusters: the rho that the set really has."""
        return float(self.shares.max())

    @property
    def obeys_cap(self) -> bool:
        """Whether no cluster has more than floor(rate n_l + 1e-9) changed labels; i.i.d. flips need not."""
        return bool(np.all(self.counts <= _cap(self.rate, self.sizes)))

    @property
    def mean_noise(self) -> Float[np.ndarray, " K"]:
        """Mean of e over each cluster; its largest size is ||Pi_+ e||_inf."""
        return np.bincount(self.clusters, weights=_numpy(self.noise)) / np.maximum(self.sizes, 1)

    @property
    def recoverable(self) -> Bool[np.ndarray, " K"]:
        """Whether each cluster's mean observed label is nearer its own label than any other, by more than 1e-12."""
        own = np.full(len(self.sizes), np.nan)
        own[self.clusters] = _numpy(self.truth)
        distances = np.abs((own + self.mean_noise)[:, None] - self.alphas)
        rivals = np.where(self.alphas == own[:, None], np.inf, distances)
        return (np.abs(self.mean_noise) < rivals.min(axis=1) - 1e-12) | (self.sizes == 0)

    def violations(self) -> tuple[str, ...]:
        """The promises that do not hold, one line each; empty for corrupted labels as `corrupt` makes them."""
        truth, y, noise, mask = (_numpy(values) for values in (self.truth, self.y, self.noise, self.mask))
        broken = []
        if not np.all(np.isin(y, self.alphas.astype(y.dtype))):
            broken.append("y: a label is no class's value")
        if not np.array_equal(noise, y - truth):
            broken.append("noise: is not y - truth")
        if not np.array_equal(mask, y != truth):
            broken.append("mask: does not mark exactly the labels that changed")
        if self.mode != "flip" and not self.obeys_cap:
            broken.append(f"counts: {self.counts.tolist()} of {self.sizes.tolist()} labels exceed the rate {self.rate}")
        if self.mode in ("exact", "adversarial") and np.any(self.counts < _cap(self.rate, self.sizes)):
            broken.append(f"counts: {self.counts.tolist()} of {self.sizes.tolist()} labels miss the rate {self.rate}")
        return tuple(broken)

    def __repr__(self) -> str:
        changed = f"{int(self.counts.sum())} of {len(self.clusters)} labels changed"
        return f"CorruptedLabels({changed}, rate={self.rate:g}, realised={self.realised:g}, mode={self.mode!r})"


def corrupt(
    data: ClusterableData | Array,
    rate: float,
    mode: str = "exact",
    *,
    clusters: Array | None = None,
    alphas: Array | None = None,
    seed: int = 0,
) -> CorruptedLabels:
    """Replace labels by other classes' values (cf. Li, Soltanolkotabi & Oymak, 2020).

    For one seed and mode the draws do not depend on the rate: a label corrupted at some rate is corrupted at every
    higher one, to the same value, so that a sweep over the rate is smooth.

    Args:
        data: a `ClusterableData`, or (n,) labels (numpy, torch or a list).
        rate: in [0, 1] (paper: rho).
        mode: "exact": floor(rate n_l + 1e-9) labels of each cluster, each to another class's value, uniformly;
            "flip": every label on its own with probability `rate`, which does NOT obey the cap (see `realised`);
            "redraw": floor(rate n_l + 1e-9) labels of each cluster drawn anew, uniformly over ALL classes, so that on
            average only (1 - 1/K_bar) of them change; "adversarial": floor(rate n_l + 1e-9) labels of each cluster, all
            to the one value that first brings the cluster's mean nearer another label than its own.
        clusters: (n,) integers from 0 for plain labels, each cluster of one class. Default: each class is one cluster.
        alphas: (K_bar,) labels of the classes for plain labels. Default: the distinct labels, sorted.
        seed: >= 0.

    Raises:
        InvalidInput: a rate outside [0, 1], a single class, labels that are no alpha, clusters of mixed classes, or
            `clusters`/`alphas` beside a ClusterableData, which has its own.
    """
    rate = checks.number("rate", rate, 0, 1)
    checks.choice("mode", mode, MODES)
    if isinstance(data, ClusterableData):
        for name, value in (("clusters", clusters), ("alphas", alphas)):
            if value is not None:
                checks.fail(name, "none beside a ClusterableData", "an array", "drop it, or pass data.y")
        given, clusters, alphas = data.y, data.clusters, data.alphas
    else:
        given = data
    (labels, values), back = arrays.tensors(labels=given, alphas=alphas)
    truth = _numpy(labels)
    checks.vector("labels", truth)
    values = np.unique(truth) if values is None else _numpy(values)
    _thresholds_and_worst_class(values)  # refuses a single class
    classes = np.argmax(truth[:, None] == values, axis=1)
    if not np.array_equal(values[classes], truth):
        stranger = truth[values[classes] != truth][0]
        checks.fail("labels", f"values among the alphas {values.tolist()}", stranger, "pass the alphas of these labels")
    of_label = classes if clusters is None else _cluster_numbers(clusters, classes)
    observed = values[_observed_classes(classes, of_label, values, rate, mode, seed)]

    results = (truth, observed, observed - truth, observed != truth)
    before, after, noise, mask = (back(torch.from_numpy(result).to(labels.device)) for result in results)
    return CorruptedLabels(before, after, noise, mask, of_label, values.astype(np.float64), rate, mode)


def class_thresholds(alphas: Array) -> Array:
    """The sharp rate of each class: below it, no corruption moves a cluster's mean label nearer to another label.

    Derivation. Let a share p of a cluster of class r take other values, with mean b. The mean observed label is
    alpha_r + p (b - alpha_r), and b is any average of other labels. It stays nearest alpha_r exactly if it lies between
    the midpoints to the two neighbouring labels. The furthest it can go up is p (max alpha - alpha_r), when all p go
    to the largest label, so the upper midpoint is safe iff p < (gap above) / (2 (max alpha - alpha_r)); likewise below.
    The smaller of the two is the threshold, and at it the worst corruption ties. Gaps are at least delta and reaches
    at most max alpha - min alpha, so rho < delta / (2 (max alpha - min alpha)) suffices for every class, and delta / 4
    always does (derived; cf. paper_notes/li2020.md#c1).

    Args:
        alphas: (K_bar,) distinct labels, at least two.

    Returns:
        (K_bar,) shares in (0, 1/2], of the kind of `alphas`.

    Example:
        >>> class_thresholds([-1, 0.1, 1]).round(12).tolist()
        [0.275, 0.5, 0.225]
    """
    (labels,), back = arrays.tensors(alphas=alphas)
    shares, _ = _thresholds_and_worst_class(_numpy(labels))
    return back(torch.from_numpy(shares).to(labels))


def sharp_threshold(alphas: Array) -> float:
    """The largest rate below which every cluster's mean label stays nearest its own, however labels are corrupted.

    The least of `class_thresholds` (derived there): 1/2 for two classes, .225 for -1, .1, 1.

    Example:
        >>> sharp_threshold([-1, 0.1, 1])
        0.225
    """
    return float(class_thresholds(alphas).min())


def _thresholds_and_worst_class(alphas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(K_bar,) sharp rates and (K_bar,) index of the value to which the worst corruption of each class goes.

    Why one extreme value is worst: for m of n_l labels, the reachable means fill at most the interval between "all m to
    the smallest" and "all m to the largest", so if any choice crosses a midpoint, one of these two does. Which of them
    crosses first is decided by reach / gap, not by reach: for labels -1, .1, .2, 1 the class .1 reaches further down
    (1.1 against .9), but its neighbour above is so near that going up flips it at a share of .056 against .5. Hence the
    side of the lower threshold; no other corruption of m labels flips a cluster that this one leaves. On a tie of the
    two, the longer reach, whose mean error is larger.
    """
    checks.vector("alphas", alphas)
    if len(np.unique(alphas)) < max(2, len(alphas)):
        checks.fail("alphas", "at least two distinct labels", alphas.tolist(), "another class must exist to corrupt to")
    order = np.argsort(alphas)
    ordered = alphas[order]
    gaps = np.diff(ordered)
    up, down = np.full(len(alphas), np.inf), np.full(len(alphas), np.inf)
    up[:-1] = gaps / (2 * (ordered[-1] - ordered[:-1]))
    down[1:] = gaps / (2 * (ordered[1:] - ordered[0]))
    longer_up = ordered[-1] - ordered > ordered - ordered[0]
    goes_up = np.where(np.isclose(up, down, rtol=1e-12, atol=0), longer_up, up < down)
    shares, worst = np.empty(len(alphas)), np.empty(len(alphas), dtype=np.int64)
    shares[order] = np.minimum(up, down)
    worst[order] = np.where(goes_up, order[-1], order[0])
    return shares, worst


def _observed_classes(
    classes: np.ndarray, clusters: np.ndarray, alphas: np.ndarray, rate: float, mode: str, seed: int
) -> np.ndarray:
    """(n,) class index of each observed label."""
    n, K_bar = len(classes), len(alphas)
    rng = seeding.numpy_generator("label noise", seed)
    luck = rng.random(n)  # drawn whatever the rate and the mode, and compared with the rate: this makes sweeps nested
    others = (classes + rng.integers(1, K_bar, n)) % K_bar
    anew = rng.integers(0, K_bar, n)
    if mode == "flip":
        return np.where(luck < rate, others, classes)
    sizes = np.bincount(clusters)
    order = np.lexsort((luck, clusters))
    place = np.empty(n, dtype=np.int64)  # of each label in its cluster, unluckiest first
    place[order] = np.arange(n) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    replacement = {"exact": others, "redraw": anew, "adversarial": _thresholds_and_worst_class(alphas)[1][classes]}
    return np.where(place < _cap(rate, sizes)[clusters], replacement[mode], classes)


def _cluster_numbers(clusters: Any, classes: np.ndarray) -> np.ndarray:
    numbers = _numpy(clusters)
    checks.vector("clusters", numbers, length=len(classes))
    if numbers.dtype.kind not in "iu" or numbers.min() < 0:
        checks.fail("clusters", "integers from 0", f"dtype {numbers.dtype}", "number the clusters from 0")
    owner = np.zeros(int(numbers.max()) + 1, dtype=np.int64)
    owner[numbers] = classes
    if not np.array_equal(owner[numbers], classes):
        mixed = int(numbers[owner[numbers] != classes][0])
        checks.fail("clusters", "labels of one class in each cluster", f"several in {mixed}", "split it by label")
    return numbers.astype(np.int64)


def _cap(rate: float, sizes: np.ndarray) -> np.ndarray:
    return np.floor(rate * sizes + SLACK).astype(np.int64)


def _numpy(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if arrays.is_tensor(values) else np.asarray(values)
