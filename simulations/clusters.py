"""The clusterable model, in the plane: points in small balls round centres on the circle, with corrupted labels.

    python -m simulations.clusters
    python -m simulations.clusters --clusters 8 --radius 0.1 --noise-rate 0.4 --mode adversarial

K = 6 clusters belong to three classes with real labels -1, 0.1 and 1; in each cluster the same share of labels takes
another class's value. The paper's picture (cf. Li, Soltanolkotabi & Oymak, 2020). The picture shows the first data set;
the promises of the definition are judged on all of them, in exact arithmetic where they can be.
"""

import itertools
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, Literal

import numpy as np
import sympy as sp
import xarray

from theory import checks, clusterable, label_noise
from theory.claim import Claim, symbols
from theory.estimate import Estimate
from theory.lab import figure
from theory.lab.command import main
from theory.lab.simulation import Simulation
from theory.papers.li2020 import perfect_clusters
from theory.verdict import Verdicts

_off, _reach, _eps0, _gap, _delta, _apart, _asked = symbols("off reach eps0 gap delta apart asked")
_share, _rho, _changed, _size, _n, _K, _kinds = symbols("share rho changed size n K kinds")
_REFERENCE = "the definition of clusterable and corrupted data; cf. Li, Soltanolkotabi & Oymak (2020)"
_CLUSTER = {"share": "share of a cluster's labels that differ from the true one [1]", "rho": "noise rate asked [1]"}
UNIT = Claim(
    "clusters.unit",
    "inputs and centres are unit vectors",
    sp.Le(_off, sp.Rational(1, 10**15), evaluate=False),
    {"off": "largest | ||x|| - 1 | over inputs and centres [1]"},
    reference=_REFERENCE,
)
RADIUS = Claim(
    "clusters.radius",
    "every input lies within eps0 of its centre",
    sp.Le(_reach, _eps0, evaluate=False),
    {"reach": "largest distance of an input to its centre [input]", "eps0": "radius asked [input]"},
    notation={"eps0": r"\epsilon_0"},
    reference=_REFERENCE,
)
CENTRES = Claim(
    "clusters.centres",
    "any two centres are as far apart as asked",
    sp.Ge(_apart, _asked, evaluate=False),
    {"apart": "least distance of two centres [input]", "asked": "distance asked [input]"},
    reference=_REFERENCE,
)
LABELS = Claim(
    "clusters.labels",
    "labels of different classes are at least delta apart",
    sp.Ge(_gap, _delta, evaluate=False),
    {"gap": "least distance of two labels that occur [label]", "delta": "label separation asked [label]"},
    notation={"delta": r"\delta"},
    reference=_REFERENCE,
)
CLASS = Claim(
    "clusters.class",
    "all true labels of a cluster are the same",
    sp.Eq(_kinds, 1, evaluate=False),
    {"kinds": "number of different true labels in a cluster"},
    kind="identity",
    reference=_REFERENCE,
)
SIZES = Claim(
    "clusters.sizes",
    "cluster sizes are as equal as whole numbers can be",
    sp.Lt(sp.Abs(_size - _n / _K), 1, evaluate=False),
    {"size": "points of a cluster", "n": "points", "K": "clusters"},
    reference=_REFERENCE,
)
SHARE = Claim(
    "clusters.share",
    "at most the share rho of every cluster's labels is corrupted",
    sp.Le(_share, _rho, evaluate=False),
    _CLUSTER,
    notation={"rho": r"\rho"},
    reference=_REFERENCE,
)
COUNT = Claim(
    "clusters.count",
    "with clusters.share: exactly floor(rho n_l) labels of every cluster are corrupted",
    sp.Gt(_changed, _rho * _size - 1, evaluate=False),
    {"changed": "number of a cluster's labels that differ from the true one", "size": "points of the cluster"}
    | {"rho": _CLUSTER["rho"]},
    notation={"rho": r"\rho"},
    reference=_REFERENCE,
)


@dataclass(frozen=True)
class Clusters(Simulation):
    """The clusterable model with corrupted labels, and the promises of its definition."""

    name: ClassVar[str] = "clusters"
    quick_seconds: ClassVar[float] = 3

    seeds: int = 10
    clusters: int = 6
    """number K of clusters"""
    alphas: tuple[float, ...] = (-1.0, 0.1, 1.0)
    """labels of the classes, in [-1, 1]"""
    size: int = 30
    """number n of points"""
    radius: float = 0.15
    """eps0: largest distance of a point to its centre"""
    label_separation: float = 0.9
    """delta: least distance of two labels"""
    minimum_separation: float = 0.5
    """least distance of two centres; above twice the radius the balls are disjoint"""
    noise_rate: float = 0.2
    """rho: largest share of corrupted labels in a cluster"""
    mode: Literal["exact", "adversarial"] = "exact"
    """which labels are put in: any other class's, or in every cluster those that do most harm"""

    def validate(self) -> None:
        """Refuse what no data set could keep."""
        checks.choice("mode", self.mode, ("exact", "adversarial"))
        checks.number("noise_rate", self.noise_rate, 0, 1)
        self.data(self.first_seed)

    @classmethod
    def full(cls) -> "Clusters":
        """The same picture; the promises are judged on a thousand data sets."""
        return cls(seeds=1000)

    def data(self, seed: int) -> tuple[clusterable.ClusterableData, label_noise.CorruptedLabels]:
        """Inputs on the circle and their labels, true and observed."""
        data = clusterable.generate(
            clusters=self.clusters,
            alphas=self.alphas,
            dimension=2,
            size=self.size,
            radius=self.radius,
            label_separation=self.label_separation,
            minimum_separation=self.minimum_separation,
            seed=seed,
        )
        return data, label_noise.corrupt(data, self.noise_rate, self.mode, seed=seed)

    def run(self, seed: int, progress: Any = None) -> xarray.Dataset:
        """One data set: inputs, centres, the cluster of each point, true and observed labels."""
        data, labels = self.data(seed)
        return xarray.Dataset(
            {
                "X": (("point", "axis"), data.X),
                "centres": (("cluster", "axis"), data.centres),
                "member": ("point", data.clusters),
                "truth": ("point", labels.truth),
                "observed": ("point", labels.y),
            },
            {"axis": ["x", "y"]},
        )

    @figure.style()
    def figure(self, results: xarray.Dataset) -> Any:
        """Left the inputs in their balls, coloured by true label; right true and observed labels against the angle."""
        shown = results.isel(seed=0)
        fig, (plane, labels) = figure.subplots(1, 2, aspect=0.92, width_ratios=[1, 1.25])
        X, centres = shown.X.values, shown.centres.values
        truth, observed, member = shown.truth.values, shown.observed.values, shown.member.values
        wrong = observed != truth
        turn = np.linspace(0, 2 * np.pi, 400)
        plane.plot(np.cos(turn), np.sin(turn), color="0.85", linewidth=0.8, zorder=0)
        for centre in centres:
            plane.plot(*(centre[:, None] + self.radius * np.array([np.cos(turn), np.sin(turn)])), **_BALL)
        angles = np.degrees(np.arctan2(*X[:, ::-1].T)) % 360
        for number, alpha in enumerate(self.alphas):
            style = {"color": figure.COLOURS[number % 7], "marker": figure.MARKERS[number % 7], "linestyle": "none"}
            mine = truth == alpha
            plane.plot(*X[mine].T, markersize=3.5, markeredgewidth=0, alpha=0.75, **style)
            labels.plot(angles[mine], truth[mine], markersize=3.5, label=rf"true label $\alpha = {alpha:g}$", **style)
        plane.plot(*centres.T, color="black", marker="+", linestyle="none", markersize=4, label="centre, with its ball")
        plane.plot(*X[wrong].T, label="input with a corrupted label", **_RING)
        labels.vlines(angles[wrong], truth[wrong], observed[wrong], color="0.6", linewidth=0.7, zorder=0)
        labels.plot(angles[wrong], observed[wrong], label="corrupted label, observed", **_WRONG)
        for cluster in range(len(centres)):
            around = np.degrees(np.arctan2(*centres[cluster, ::-1])) % 360
            mean = observed[member == cluster].mean()
            label = "cluster's mean observed label" if cluster == 0 else None
            labels.plot([around - 12, around + 12], [mean, mean], color="black", linewidth=1.4, label=label)
        for number, middle in enumerate(np.diff(np.sort(self.alphas)) / 2 + np.sort(self.alphas)[:-1]):
            label = "midpoint of two labels" if number == 0 else None
            labels.axhline(middle, color="0.6", linewidth=0.8, linestyle=":", label=label, zorder=0)
        plane.set(aspect="equal", xlabel="$x_1$ [1]", ylabel="$x_2$ [1]", title="inputs, centres and their balls")
        labels.set(xlabel="angle of the input [degrees]", ylabel="label [1]", title="true and observed labels")
        labels.set(xticks=range(0, 361, 90))
        fig.legend(loc="outside lower center", ncols=3)
        words = rf"$K={self.clusters}$, $n={self.size}$, $\epsilon_0={self.radius:g}$, $\rho={self.noise_rate:g}$"
        fig.suptitle(f"one data set (seed {int(shown.seed)}): {words}", fontsize="small")
        return fig

    def verdicts(self, results: xarray.Dataset) -> Verdicts:
        """The definition's promises, one point per data set (and cluster); then what the labels can survive (C1)."""
        X, centres = results.X.transpose("seed", "point", "axis").values, results.centres.values
        own = np.take_along_axis(centres, results.member.values[:, :, None], axis=1)
        norms = np.concatenate([_lengths(X), _lengths(centres)], axis=1)
        between = _lengths(centres[:, :, None] - centres[:, None]) + 3 * np.eye(centres.shape[1])
        truth, observed, member = (results[name].values for name in ("truth", "observed", "member"))
        inside = [[row == cluster for cluster in range(centres.shape[1])] for row in member]
        by_cluster = _Labels(truth, observed, inside)
        rho, delta = _exact(self.noise_rate), _exact(self.label_separation)
        settings = {"clusters": self.clusters, "radius": self.radius, "noise_rate": self.noise_rate, "mode": self.mode}
        settings["data_sets"] = results.sizes["seed"]
        promised: dict[Claim, dict[str, Any]] = {
            UNIT: {"off": Estimate.computed(np.abs(norms - 1).max(axis=1).astype(float), error=_ROUNDING)},
            RADIUS: {
                "reach": Estimate.computed(_lengths(X - own).max(axis=1).astype(float), relative=1e-15),
                "eps0": Estimate.exact(self.radius),
            },
            CENTRES: {
                "apart": Estimate.computed(between.min(axis=(1, 2)).astype(float), relative=1e-15),
                "asked": Estimate.exact(self.minimum_separation),
            },
            LABELS: {"gap": by_cluster.gaps, "delta": delta},
            CLASS: {"kinds": by_cluster.kinds},
            SIZES: {"size": by_cluster.sizes, "n": results.sizes["point"], "K": self.clusters},
            SHARE: {"share": by_cluster.changed / by_cluster.sizes, "rho": rho},
            COUNT: {"changed": by_cluster.changed, "size": by_cluster.sizes, "rho": rho},
        }
        verdicts = Verdicts(claim.check(settings=settings, **values) for claim, values in promised.items())
        labels = sorted(_exact(alpha) for alpha in self.alphas)
        verdicts.append(
            perfect_clusters.C1["sufficient"].check(
                margin=by_cluster.margins(labels),
                rho=by_cluster.changed / by_cluster.sizes,
                delta=_least_gap(labels),
                span=labels[-1] - labels[0],
                settings=settings,
            )
        )
        verdicts += perfect_clusters.check_sharp(self.alphas, settings={"alphas": str(self.alphas)})
        return verdicts


class _Labels:
    """Labels cluster by cluster in exact arithmetic: (seeds, K) arrays of Fractions or ints."""

    def __init__(self, truth: np.ndarray, observed: np.ndarray, inside: list[list[np.ndarray]]):
        self.cells = [
            [([_exact(y) for y in t[mine]], [_exact(y) for y in o[mine]]) for mine in row]
            for t, o, row in zip(truth, observed, inside, strict=True)
        ]
        self.gaps = np.array([_least_gap({_exact(y) for y in t}) for t in truth])

    def _array(self, measure: Any) -> np.ndarray:
        return np.array([[measure(*cell) for cell in row] for row in self.cells], dtype=object)

    @property
    def kinds(self) -> np.ndarray:
        return self._array(lambda truth, observed: len(set(truth)))

    @property
    def sizes(self) -> np.ndarray:
        return self._array(lambda truth, observed: Fraction(len(truth)))

    @property
    def changed(self) -> np.ndarray:
        return self._array(lambda truth, observed: sum(t != o for t, o in zip(truth, observed, strict=True)))

    def margins(self, labels: list[Fraction]) -> np.ndarray:
        """How far each mean observed label is on its own label's side of the nearest midpoint to another label."""

        def margin(truth: list[Fraction], observed: list[Fraction]) -> Fraction:
            mean, mine = sum(observed, Fraction(0)) / len(observed), truth[0]
            others = [other for other in labels if other != mine]
            return min(abs(mine - other) / 2 - (mean - mine) * (1 if other > mine else -1) for other in others)

        return self._array(margin)


_ROUNDING = 8 * float(np.finfo(np.longdouble).eps)  # a norm near 1 in extended precision
_BALL: dict[str, Any] = {"color": "0.5", "linewidth": 0.7, "zorder": 0}
_WRONG: dict[str, Any] = {"marker": "x", "color": "black", "linestyle": "none", "markersize": 5, "markeredgewidth": 0.9}
_RING = {**_WRONG, "marker": "o", "markerfacecolor": "none", "markersize": 6.5}


def _lengths(rows: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(rows.astype(np.longdouble)).sum(axis=-1))


def _least_gap(labels: Iterable[Fraction]) -> Fraction:
    """Least distance of two labels; of a single one nothing is asked: 2, the length of [-1, 1]."""
    ordered = sorted(labels)
    return min((high - low for low, high in itertools.pairwise(ordered)), default=Fraction(2))


def _exact(value: Any) -> Fraction:
    """A setting or label as the decimal that it prints: 0.1 means 1/10."""
    return Fraction(str(value))


SIMULATION = Clusters
if __name__ == "__main__":
    sys.exit(main(Clusters))
