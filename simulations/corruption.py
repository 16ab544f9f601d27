"""Accuracy against the share of corrupted labels, trained to the end and stopped early.

    python -m simulations.corruption
    python -m simulations.corruption --data mnist --data-root PATH --profile full

Trained to the end, both networks reproduce the corrupted labels and lose on clean test images; stopped early, they
reproduce the true labels, which they never saw. The stop is chosen without true labels: where the loss on held-out
images, whose labels are as noisy as the training labels, is least. Cf. Li, Soltanolkotabi & Oymak (2020), the figure of
accuracy against corruption. The convolutional network is OUTSIDE THE THEOREMS; for the two-layer one the training
images are measured as a clusterable set, and the theorems' hypotheses are judged as they are: mostly not met.
"""

import sys
from dataclasses import dataclass
from typing import Any, ClassVar

import sympy as sp
import xarray

from simulations.noisy_images import RULE, TITLES, NoisyImages, ended, over_seeds, stopped
from theory import covariance
from theory.claim import Claim, symbols
from theory.estimate import Estimate
from theory.lab import figure
from theory.lab.simulation import main
from theory.verdict import Verdicts

_REFERENCE = "a regularity of this simulation, no theorem"
_corrupted, _gain, _excess, _observed, _cost = symbols("corrupted gain excess observed cost")
_CORRUPTED = {"corrupted": "share of training labels that differ from the true ones, mean over the levels used [1]"}
_MUCH = [("at least a quarter of the labels are corrupted", sp.Ge(_corrupted, sp.Rational(1, 4), evaluate=False))]
FIT = Claim(
    "corruption.fit",
    "trained to the end, the network reproduces nine in ten observed labels, corrupted ones included",
    sp.Ge(_observed, sp.Rational(9, 10), evaluate=False),
    {"observed": "accuracy on observed training labels at the end, least over the levels, mean over seeds [1]"},
    reference=_REFERENCE,
)
GAIN = Claim(
    "corruption.gain",
    "stopping early gains test accuracy over training to the end",
    sp.Gt(_gain, 0, evaluate=False),
    {"gain": "test accuracy at the early stop less that at the end, mean over levels and seeds [1]", **_CORRUPTED},
    hypotheses=_MUCH,
    reference=_REFERENCE,
)
CORRECT = Claim(
    "corruption.correct",
    "stopped early, the network is right about its training images more often than the labels it saw",
    sp.Gt(_excess, 0, evaluate=False),
    {"excess": "accuracy on true training labels less the share of correct labels, mean over levels and seeds [1]"}
    | _CORRUPTED,
    hypotheses=_MUCH,
    reference=_REFERENCE,
)
CLEAN = Claim(
    "corruption.clean",
    "with clean labels the early stop costs at most five points of test accuracy",
    sp.Le(_cost, sp.Rational(1, 20), evaluate=False),
    {"cost": "test accuracy at the end less that at the early stop, mean over seeds [1]", **_CORRUPTED},
    hypotheses=[("no label is corrupted", sp.Le(_corrupted, 0, evaluate=False))],
    reference=_REFERENCE,
)
_LINES = {"observed": ("observed labels (training)", "s", "--"), "true": ("true labels (training)", "o", "-")}
_LINES |= {"test": ("test images", "^", "-.")}


@dataclass(frozen=True)
class Corruption(NoisyImages):
    """Accuracy against the share of corrupted labels: trained to the end, and stopped early."""

    name: ClassVar[str] = "corruption"
    quick_seconds: ClassVar[float] = 35

    seeds: int = 6

    @classmethod
    def full(cls) -> "Corruption":
        """Ten levels of redrawn labels, a wide network, and the convolutional network at the paper's size."""
        levels = tuple(level / 10 for level in range(10))
        return cls(**cls.full_size(), seeds=5, rates=levels, class_rates=levels)

    def run(self, seed: int, progress: Any = None) -> xarray.Dataset:
        """What `NoisyImages.run` measures, and the training images as a clusterable set."""
        results = super().run(seed, progress)
        if "two-layer" not in self.networks:
            return results
        measured = self.clusters(self.images(seed), seed)
        report = measured.report()
        names = ("radius", "distance_median", "separation", "antipodal_separation", "clusters", "smallest_cluster")
        least = covariance.least_eigenvalue(measured.centres, self.activation)
        return results.assign({"least_eigenvalue": float(least)} | {name: float(report[name]) for name in names})

    @figure.style()
    def figure(self, results: xarray.Dataset) -> Any:
        """One row per network; trained to the end on the left, stopped early on the right."""
        fig, panels = figure.subplots(len(self.networks), 2, sharey=True, squeeze=False, aspect=0.7)
        for row, network in zip(panels, self.networks, strict=True):
            cells = results.sel(network=network)
            for panel, (shown, words) in zip(
                row, ((ended(cells), "trained to the end"), (stopped(cells), "stopped early")), strict=True
            ):
                x = cells.corrupted.mean("seed").values
                panel.plot(x, 1 - x, color="0.6", linewidth=0.8, linestyle=":", label="share of correct labels")
                for kind, (label, marker, line) in _LINES.items():
                    draws = shown.accuracy.sel(kind=kind).transpose("seed", "level").values
                    figure.band(panel, x, draws, label, marker=marker, markersize=3, linestyle=line)
                panel.set(title=f"{TITLES[network]}, {words}", ylim=(0, 1.03))
                panel.set_xlabel(f"corrupted share of training labels ({_classes(network)} classes)")
            row[0].set_ylabel("accuracy")
        panels[0][0].legend(loc="lower left")
        fig.suptitle(f"{self.data}; {RULE}\n{figure.seeds_note(results.sizes['seed'])}", fontsize="small")
        return fig

    def verdicts(self, results: xarray.Dataset) -> Verdicts:
        """This simulation's regularities for each network, then what the theorems say about the images."""
        verdicts = Verdicts()
        for network in self.networks:
            cells = results.sel(network=network)
            early, last, share = stopped(cells), ended(cells), cells.corrupted.mean("seed")
            much = share >= 0.25 if (share >= 0.25).any() else share == share.max()
            clean = share == share.min()
            gain = (early.accuracy - last.accuracy).sel(kind="test")
            excess = early.accuracy.sel(kind="true") - (1 - cells.corrupted)
            settings = {"network": TITLES[network], "data": self.data, "rule": RULE}
            on_much = {"corrupted": Estimate.computed(float(share[much].mean())), "settings": settings}
            on_clean = {"corrupted": Estimate.exact(float(share[clean].mean())), "settings": settings}
            observed = last.accuracy.sel(kind="observed").min("level")
            verdicts += [
                FIT.check(observed=over_seeds(observed), settings=settings),
                GAIN.check(gain=over_seeds(gain[:, much.values].mean("level")), **on_much),
                CORRECT.check(excess=over_seeds(excess[:, much.values].mean("level")), **on_much),
                CLEAN.check(cost=over_seeds(-gain[:, clean.values].mean("level")), **on_clean),
            ]
        return verdicts


def _classes(network: str) -> str:
    return "two" if network == "two-layer" else "ten"


SIMULATION = Corruption
if __name__ == "__main__":
    sys.exit(main(Corruption))
