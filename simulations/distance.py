"""Accuracy against the distance from initialisation, for several shares of corrupted labels.

    python -m simulations.distance
    python -m simulations.distance --data mnist --data-root PATH --profile full

The true labels are learned close to the initial weights; to reproduce the corrupted ones the weights must travel, the
farther the more there are, and on that way test accuracy is lost. Cf. Li, Soltanolkotabi & Oymak (2020), the figure of
accuracy against ||W - W0|| / ||W0||. The convolutional network is OUTSIDE THE THEOREMS; for the two-layer one the
distance is judged by C6, the price of telling close inputs apart, which holds for any weights on any inputs.
"""

import sys
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import sympy as sp
import xarray

from simulations.noisy_images import RULE, TITLES, NoisyImages, ended, over_seeds, stopped
from theory import checks, descent
from theory.claim import Claim, symbols
from theory.lab import figure
from theory.lab.command import main
from theory.papers.li2020.overfitting import check_overfitting
from theory.verdict import Verdicts

_REFERENCE = "a regularity of this simulation, no theorem"
_ratio, _share, _observed = symbols("ratio share observed")
MEMORISED = Claim(
    "distance.memorised",
    "the runs end where nine in ten observed labels are reproduced, corrupted ones included",
    sp.Ge(_observed, sp.Rational(9, 10), evaluate=False),
    {"observed": "accuracy on observed training labels at the end, least over the levels, mean over seeds [1]"},
    reference=_REFERENCE,
)
FARTHER = Claim(
    "distance.farther",
    "the more labels are corrupted, the farther training to the end travels",
    sp.Gt(_ratio, 1, evaluate=False),
    {"ratio": "||W - W0|| at the end, over that at the next lower share of corrupted labels, mean over seeds [1]"},
    reference=_REFERENCE,
)
NEARER = Claim(
    "distance.nearer",
    "with the most labels corrupted, the early stop lies within half the distance of the end",
    sp.Le(_share, sp.Rational(1, 2), evaluate=False),
    {"share": "||W - W0|| at the early stop over that at the end, mean over seeds [1]"},
    reference=_REFERENCE,
)


@dataclass(frozen=True)
class Distance(NoisyImages):
    """Accuracy against ||W - W0|| / ||W0||, one curve per share of corrupted labels."""

    name: ClassVar[str] = "distance"
    quick_seconds: ClassVar[float] = 20

    seeds: int = 5
    rates: tuple[float, ...] = (0.0, 0.2, 0.4)
    """corruption of the two classes; half corrupted is chance"""
    class_rates: tuple[float, ...] = (0.0, 0.3, 0.6)
    """corruption of the ten classes, as many as `rates`; nine tenths corrupted is chance"""
    pairs: int = 20
    """close training images with different observed labels, on which C6 is judged"""

    @classmethod
    def full(cls) -> "Distance":
        """Five levels of redrawn labels; the convolutional network at the paper's size."""
        levels = (0.0, 0.25, 0.5, 0.75, 0.9)
        return cls(**cls.full_size(), seeds=5, rates=levels, class_rates=levels, pairs=50)

    def validate(self) -> None:
        """Refuse what the run could not do, before any file is read."""
        super().validate()
        checks.integer("pairs", self.pairs, minimum=1, maximum=self.train_size // 2)

    @figure.style()
    def figure(self, results: xarray.Dataset) -> Any:
        """One row per network: observed training labels on the left, clean test images on the right."""
        fig, panels = figure.subplots(len(self.networks), 2, sharex="row", squeeze=False, aspect=0.62)
        for row, network in zip(panels, self.networks, strict=True):
            cells = results.sel(network=network)
            stop = stopped(cells)
            for panel, kind, words in zip(
                row, ("observed", "test"), ("training images, observed labels", "test images, true labels"), strict=True
            ):
                for level, share in enumerate(cells.corrupted.mean("seed").values):
                    curve, dash = cells.isel(level=level), _DASHES[level % len(_DASHES)]
                    x = curve.distance.mean("seed").values
                    draws = curve.accuracy.sel(kind=kind).transpose("seed", "record").values
                    line = figure.band(panel, x, draws, f"{share:.0%} corrupted", linestyle=dash)
                    early = stop.isel(level=level)
                    at = float(early.distance.mean("seed")), float(early.accuracy.sel(kind=kind).mean("seed"))
                    marker = figure.MARKERS[level % len(figure.MARKERS)]
                    panel.plot(*at, marker=marker, color=line.get_color(), markersize=5, markeredgecolor="black")
                panel.set(title=f"{TITLES[network]}\n{words}", ylim=(0, 1.06))
                panel.set_xlabel(r"distance $\|W-W_0\|_F\,/\,\|W_0\|_F$ [1]")
            row[0].set_ylabel("accuracy")
            row[0].legend(loc="lower right")
        note = f"{figure.seeds_note(results.sizes['seed'])}, at equal numbers of steps"
        fig.suptitle(f"{self.data}; markers show the {RULE}\n{note}", fontsize="small")
        return fig

    def verdicts(self, results: xarray.Dataset) -> Verdicts:
        """This simulation's regularities for each network, then C6 on the two-layer network that fitted most noise."""
        verdicts = Verdicts()
        for network in self.networks:
            cells = results.sel(network=network)
            early, last = stopped(cells), ended(cells)
            lengths = last.distance.transpose("seed", "level")
            settings = {"network": TITLES[network], "data": self.data, "stop": "held-out noisy loss"}
            settings["corrupted"] = cells.corrupted.mean("seed").values
            verdicts += [
                MEMORISED.check(
                    observed=over_seeds(last.accuracy.sel(kind="observed").min("level")), settings=settings
                ),
                NEARER.check(share=over_seeds((early.distance / last.distance).isel(level=-1)), settings=settings),
            ]
            if lengths.sizes["level"] > 1:
                ratios = lengths.values[:, 1:] / lengths.values[:, :-1]
                verdicts.append(FARTHER.check(ratio=over_seeds(ratios, high=np.inf), settings=settings))
        if "two-layer" in self.networks:
            verdicts += self.price(int(results.seed[0]))
        return verdicts

    def price(self, seed: int) -> Verdicts:
        """C6 on one two-layer network trained to the end on the most corrupted labels.

        The pairs are disjoint training images with different observed labels, nearest first.
        """
        images = self.images(seed)
        X, network, rate = self.inputs(images)["train"], self.two_layer(seed), self.rates[-1]
        y = self.labels("two-layer", rate, images, seed)[0].y
        step = self.step_fraction * descent.largest_step(network, X) / 2
        trajectory = descent.train(network, X, y, step=step, steps=self.steps, record=2)
        first, second = _close_pairs(X, y, self.pairs)
        settings = {"network": TITLES["two-layer"], "data": self.data, "rate": rate, "pairs": len(first)}
        return check_overfitting(network, trajectory.network, X[first], X[second], settings=settings, seed=seed)


_DASHES = ("-", "--", "-.", ":")


def _close_pairs(X: np.ndarray, y: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers (s,), (s,) of at most `count` disjoint pairs with different labels and inputs, nearest first."""
    squares = np.square(X).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares - 2 * X @ X.T, 0)
    distances[(y[:, None] == y) | (distances < 1e-12)] = np.inf
    pairs: list[tuple[int, int]] = []
    while len(pairs) < count and np.isfinite(distances.min()):
        i, j = np.unravel_index(int(distances.argmin()), distances.shape)
        pairs.append((int(i), int(j)))
        distances[[i, j]] = distances[:, [i, j]] = np.inf
    first, second = np.array(pairs, dtype=int).reshape(-1, 2).T
    return first, second


SIMULATION = Distance
if __name__ == "__main__":
    sys.exit(main(Distance))
