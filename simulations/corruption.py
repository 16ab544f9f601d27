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

import numpy as np
import sympy as sp
import xarray

from simulations.noisy_images import RULE, TITLES, NoisyImages, ended, over_seeds, stopped
from theory import checks, clusterable, covariance, descent, label_noise
from theory.claim import Claim, symbols
from theory.estimate import Estimate
from theory.lab import figure
from theory.lab.command import main
from theory.networks import TwoLayer
from theory.papers.li2020 import certified, exact_recovery, nearby
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
    theorem_width: int = 65536
    """width of the network on which C2 is judged for the images moved to their centres; even"""

    def validate(self) -> None:
        """Refuse what the run could not do, before any file is read."""
        super().validate()
        checks.even("theorem_width", self.theorem_width)

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
        fig, panels = figure.subplots(len(self.networks), 2, sharey=True, squeeze=False, aspect=0.66)
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
                panel.set(title=f"{TITLES[network]}\n{words}", ylim=(0, 1.05))
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
            settings = {"network": TITLES[network], "data": self.data, "stop": "held-out noisy loss"}
            on_much: dict[str, Any] = {"corrupted": Estimate.computed(float(share[much].mean())), "settings": settings}
            on_clean: dict[str, Any] = {"corrupted": Estimate.exact(float(share[clean].mean())), "settings": settings}
            observed = last.accuracy.sel(kind="observed").min("level")
            verdicts += [
                FIT.check(observed=over_seeds(observed), settings=settings),
                GAIN.check(gain=over_seeds(gain[:, much.values].mean("level")), **on_much),
                CORRECT.check(excess=over_seeds(excess[:, much.values].mean("level")), **on_much),
                CLEAN.check(cost=over_seeds(-gain[:, clean.values].mean("level")), **on_clean),
            ]
        if "two-layer" in self.networks:
            verdicts += self.theorem(int(results.seed[0]))
        return verdicts

    def theorem(self, seed: int) -> Verdicts:
        """What C2, C5 and C9 say about the training images as a clusterable set; hypotheses are measured, not assumed.

        C2 asks for inputs that coincide within clusters. It is judged on the images as they are, and on the images
        moved to their centres with a network wide enough; there five copies of each centre stand for the clusters, in
        the coordinates of their span (the initial weights are Gaussian, so the rest of the space says nothing).
        """
        images, rate = self.images(seed), self.rates[len(self.rates) // 2]
        data, network = self.clusters(images, seed), self.two_layer(seed).cpu()
        labels = label_noise.corrupt(data, rate, "exact", seed=seed)
        perfect = _at_the_centres(data)
        wide = TwoLayer.initialise(self.theorem_width, perfect.dimension, self.activation, paired=True, seed=seed)
        clean = label_noise.corrupt(perfect, rate, "exact", seed=seed)
        least = covariance.least_eigenvalue(data.centres, self.activation)
        found = f"K {len(data.centres)}, radius {data.radius:.3g}, lambda(C) {float(least):.2g}"
        settings, centred = {"inputs": f"images: {found}"}, {"inputs": f"images moved to their centres: {found}"}

        run = _descend(network, data, labels)
        verdicts = Verdicts(nearby.check_nearby(data, network, settings=settings, seed=seed))
        verdicts += certified.check_certificate(data, labels, run, settings={**settings, "rate": rate}, seed=seed)[-2:]
        for inputs, noisy, descended, words in (
            (data, labels, run, {**settings, "width": self.width}),
            (perfect, clean, _descend(wide, perfect, clean), {**centred, "width": self.theorem_width}),
        ):
            judged = exact_recovery.check_exact_recovery(
                descended, inputs.X, inputs.clusters, inputs.y, noisy.y, settings={**words, "rate": rate}, seed=seed
            )
            verdicts += [verdict for verdict in judged if verdict.claim.id == "C2.recovery"]
        return verdicts


def _at_the_centres(data: clusterable.ClusterableData, copies: int = 5) -> clusterable.ClusterableData:
    """Each centre so many times, in coordinates of the centres' span: a perfectly clustered set, C C^T unchanged."""
    basis, _ = np.linalg.qr(data.centres.T)
    centres = data.centres @ basis
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    members = np.repeat(np.arange(len(centres)), copies)
    alphas, classes = data.alphas, data.classes
    return clusterable.ClusterableData(
        centres[members], alphas[classes[members]], members, centres, classes, alphas, 0.0
    )


def _descend(
    network: TwoLayer, data: clusterable.ClusterableData, labels: label_noise.CorruptedLabels, steps: int = 20
) -> descent.Trajectory:
    """A short run with the step that C2 asks for, less a hundredth so that it is surely met."""
    step = 0.99 / network.jacobian_bound(data.X) ** 2
    return descent.train(network, data.X, labels.y, step=step, steps=steps, record=range(steps + 1))


def _classes(network: str) -> str:
    return "two" if network == "two-layer" else "ten"


SIMULATION = Corruption
if __name__ == "__main__":
    sys.exit(main(Corruption))
