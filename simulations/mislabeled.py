"""Wrong labels found by the area under the margin: digits, a perceptron, threshold samples, two runs.

    python -m simulations.mislabeled
    python -m simulations.mislabeled --profile full
    python -m simulations.mislabeled --data labels.csv --epochs 30     # your own labels: see suspect_labels

Labels are corrupted, two networks with disjoint threshold samples are trained, every sample gets its AUM, and what lies
below the cut in both runs is removed before a last training. One level of noise is trained on far beyond the stop, to
show that the ranking is lost then. Beside it: the small-loss ranking on the same runs, and confident learning
(cleanlab) on cross-validated probabilities, if that package is installed. Cf. Pleiss et al. (2020).
"""

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, Literal

import numpy as np
import sympy as sp
import torch
import xarray

from simulations import mislabeled_figure
from simulations.margin_log import MarginLog
from simulations.noisy_images import over_seeds
from theory import aum, checks, datasets, minibatch, seeding
from theory.aum.training import perceptron
from theory.claim import Claim, symbols
from theory.lab import figure
from theory.lab.command import main
from theory.lab.simulation import Simulation
from theory.verdict import Verdicts

Noise = Literal["uniform", "flip"]
CLASSES = 10
_DIGITS = 1797
SHOWN = 14
"""Images of the sheet."""
LAST = 5
"""Passes at the end over which an accuracy is averaged: single ones differ by a per cent or two."""
_REFERENCE = "a regularity of this simulation, no theorem"
_auc, _noise, _recall, _gain, _lost, _loss = symbols("auc noise recall gain lost loss")
_NOISE = {"noise": "share of labels that are wrong, as set [1]"}
AUC = Claim(
    "mislabeled.auc",
    "AUM ranks wrong labels below right ones: AUC at least .98 with a fifth of the labels wrong, uniformly",
    sp.Ge(_auc, sp.Rational(98, 100), evaluate=False),
    {"auc": "share of (wrong, right) pairs in order, mean over seeds [1]", **_NOISE},
    hypotheses=[("at most a fifth is wrong", sp.Le(_noise, sp.Rational(1, 5), evaluate=False))],
    reference=_REFERENCE,
)
RECALL = Claim(
    "mislabeled.recall",
    "the cut at the 99th percentile, in both runs, catches four of five wrong labels",
    sp.Ge(_recall, sp.Rational(8, 10), evaluate=False),
    {"recall": "share of the wrong labels that are suspected, mean over seeds [1]"},
    reference=_REFERENCE,
)
GAIN = Claim(
    "mislabeled.gain",
    "training without the suspects gains test accuracy",
    sp.Gt(_gain, 0, evaluate=False),
    {"gain": "accuracy without the suspects less that with all labels, mean over seeds [1]"},
    reference=_REFERENCE,
)
LOST = Claim(
    "mislabeled.lost",
    "training on beyond the stop loses the ranking",
    sp.Gt(_lost, 0, evaluate=False),
    {"lost": "AUC at the stop less AUC after long training, mean over seeds [1]"},
    reference=_REFERENCE,
)
SMALL_LOSS = Claim(
    "mislabeled.small_loss",
    "AUM ranks better than the loss at the stop",
    sp.Gt(_loss, 0, evaluate=False),
    {"loss": "AUC of AUM less AUC of the loss at the stop, same runs, mean over seeds [1]"},
    reference=_REFERENCE,
)


@dataclass(frozen=True)
class Mislabeled(Simulation):
    """Wrong labels of digits found by AUM, removed, and what that gains; and how over-training loses them.

    With --data FILE or --logits FILE your own labels are ranked instead: python -m simulations.suspect_labels --help.
    """

    name: ClassVar[str] = "mislabeled"
    quick_seconds: ClassVar[float] = 25

    seeds: int = 4
    kinds: tuple[Noise, ...] = ("uniform", "uniform")
    """uniform: another class at random; flip: the next class"""
    rates: tuple[float, ...] = (0.2, 0.4)
    """probability that a label is wrong, one per kind"""
    train_size: int = 500
    """training images; the other digits test"""
    stop: int = 30
    """epochs that count: where the learning rate would drop"""
    long: int = 150
    """epochs of the run that goes on too long, 0 for none"""
    long_level: int = 1
    """which of the levels is trained on too long"""
    retrain: int = 30
    """epochs of the last training; the released runner takes twice the stop, which learns more of the noise"""
    learning_rate: float = 0.1
    """constant"""
    batch: int = 32
    """most images per step"""
    folds: int = 0
    """of the cross-validation for confident learning (cleanlab); 0 leaves it out"""

    def validate(self) -> None:
        """Refuse what the run could not do."""
        if not self.rates or len(self.kinds) != len(self.rates):
            got = f"{len(self.kinds)} kinds, {len(self.rates)} rates"
            checks.fail("kinds and rates", "as many of one as of the other", got, "give one rate per kind")
        for kind, rate in zip(self.kinds, self.rates, strict=True):
            checks.choice("kinds", kind, ("uniform", "flip"))
            checks.number("rates", rate, 0, 1, open_low=True, open_high=True)
        checks.integer("train_size", self.train_size, 10 * (CLASSES + 1), _DIGITS - 100)
        checks.integer("stop", self.stop, minimum=2)
        checks.integer("long", self.long, minimum=0)
        if 0 < self.long <= self.stop:
            checks.fail("long", f"more than {self.stop} epochs, or 0", self.long, "raise it")
        checks.integer("long_level", self.long_level, 0, len(self.rates) - 1)
        checks.integer("retrain", self.retrain, minimum=1)
        checks.number("learning_rate", self.learning_rate, 0, open_low=True)
        checks.integer("batch", self.batch, minimum=1)
        if self.folds:
            checks.integer("folds", self.folds, minimum=2)
            if importlib.util.find_spec("cleanlab") is None:
                checks.fail("folds", "0 without the package cleanlab", self.folds, "pip install cleanlab, or leave it")

    @classmethod
    def full(cls) -> "Mislabeled":
        """Three kinds of noise, 1437 images, confident learning where cleanlab is installed."""
        levels: dict[str, Any] = {"kinds": ("uniform", "uniform", "flip"), "rates": (0.2, 0.4, 0.2)}
        folds = 5 if importlib.util.find_spec("cleanlab") else 0
        return cls(**levels, train_size=1437, folds=folds)

    def images(self, seed: int) -> tuple[datasets.Dataset, datasets.Dataset]:
        """Training and test digits."""
        known = datasets.load("digits", size=_DIGITS, seed=seed)
        rows = np.arange(_DIGITS)
        return known.subset(rows[: self.train_size]), known.subset(rows[self.train_size :])

    def labels(self, level: int, truth: np.ndarray, seed: int) -> np.ndarray:
        """Corrupted labels (n,): every one on its own with the level's probability."""
        draw = seeding.numpy_generator(f"wrong labels {self.kinds[level]}", seed)
        wrong = draw.random(len(truth)) < self.rates[level]
        shift = draw.integers(1, CLASSES, len(truth)) if self.kinds[level] == "uniform" else 1
        return np.where(wrong, (truth + shift) % CLASSES, truth)

    def run(self, seed: int, progress: Any = None) -> xarray.Dataset:
        """Every level of noise: ranking, suspects, accuracies, rivals."""
        train, test = self.images(seed)
        cells = []
        for level in range(len(self.rates)):
            cells.append(self.level(level, train, test, seed))
            if progress is not None:
                progress((level + 1) / len(self.rates))
        names = [f"{rate:.0%} {kind}" for kind, rate in zip(self.kinds, self.rates, strict=True)]
        return xarray.concat(cells, dim="level").assign_coords(level=names)

    def level(self, level: int, train: datasets.Dataset, test: datasets.Dataset, seed: int) -> xarray.Dataset:
        """One level of noise."""
        grey, spread = train.images.mean(), train.images.std()  # one scale for all pixels, as suspect_labels does
        X, Xt = (
            ((part.images.reshape(len(part.labels), -1) - grey) / spread).astype(np.float32) for part in (train, test)
        )
        y = self.labels(level, train.labels, seed)
        wrong = y != train.labels
        last = max(self.long, self.stop)
        epochs = last if level == self.long_level else self.stop
        log = MarginLog(X, y, CLASSES, epochs, seed=seed, learning_rate=self.learning_rate, batch=self.batch)
        table = log.ranking(self.stop)
        found: dict[str, Any] = scores(table, wrong)
        keep = {"noisy": np.ones(len(y), bool), "cleaned": ~table["suspect"].to_numpy(), "oracle": ~wrong}
        for name, rows in keep.items():
            curve = self.accuracy(X[rows], y[rows], Xt, test.labels, seed)
            found |= {f"accuracy_{name}": curve[-LAST:].mean(), f"curve_{name}": ("passes", curve)}
        found |= {
            "auc_loss": float(aum.auc(-log.losses_at(self.stop), wrong)),
            "auc_mean_loss": float(aum.auc(-log.mean_losses(self.stop), wrong)),
        }
        if self.long and level == self.long_level:
            late = log.ranking(self.long)
            rows = ~late["suspect"].to_numpy()
            found |= {f"{name}_long": value for name, value in scores(late, wrong).items()}
            enough = rows.sum() >= self.batch
            curve = self.accuracy(X[rows], y[rows], Xt, test.labels, seed) if enough else np.array([np.nan])
            found |= {"accuracy_long": curve[-LAST:].mean()}
        elif self.long:
            found |= {f"{name}_long": np.nan for name in (*scores(table, wrong), "accuracy")}
        if self.folds:
            found |= self.confident(X, y, wrong, seed)
        aucs, loss_aucs = np.full((2, last), np.nan)
        for epoch in range(1, epochs + 1):
            aucs[epoch - 1] = float(aum.auc(log.areas(epoch), wrong))
            loss_aucs[epoch - 1] = float(aum.auc(-log.losses_at(epoch), wrong))
        found |= {"auc_by_epoch": ("epoch", aucs), "auc_loss_by_epoch": ("epoch", loss_aucs)}
        found |= self.shown(log, table, y, train.labels)
        return xarray.Dataset(found, {"epoch": 1 + np.arange(last), "passes": 1 + np.arange(self.retrain)})

    def shown(self, log: MarginLog, table: Any, y: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
        """What the figure draws of single samples: AUMs of the first run, three trajectories, the lowest ranks."""
        wrong, areas = y != truth, log.areas(self.stop)
        order = np.argsort(areas)
        right, mistaken = order[~wrong[order]], order[wrong[order]]
        examples = np.array([right[-1], right[0], mistaken[len(mistaken) // 2]])  # easy, hard, mislabeled
        return {
            "run_area": ("sample", log.run_areas(self.stop)[0]),
            "kind": ("sample", np.where(log.counted[0], wrong.astype(int), 2)),
            "cut": float(table["cut_1"][0]),
            "trajectory": (("example", "epoch_to_stop", "class"), log.logits[: self.stop, examples].transpose(1, 0, 2)),
            "example_label": ("example", y[examples]),
            "example_truth": ("example", truth[examples]),
            "lowest": ("rank", order[:SHOWN]),
            "lowest_label": ("rank", y[order[:SHOWN]]),
            "lowest_truth": ("rank", truth[order[:SHOWN]]),
        }

    def accuracy(self, X: Any, y: Any, Xt: Any, truth: Any, seed: int) -> np.ndarray:
        """Test accuracy of a fresh network after each of `retrain` passes."""
        own = int(seeding.numpy_generator("last training", seed).integers(2**31))
        images, found = torch.from_numpy(Xt), []
        for now in self._passes(X, y, own):
            if now.number:
                with torch.no_grad():
                    found.append(float(np.mean(now.network(images).argmax(1).numpy() == truth)))
            if now.number == self.retrain:
                break
        return np.array(found)

    def _passes(self, X: Any, y: Any, seed: int) -> Iterator[minibatch.Epoch]:
        network = perceptron(X.shape[1], CLASSES, seed=seed)
        options: dict[str, Any] = {"learning_rate": self.learning_rate, "batch": self.batch, "momentum": 0.0}
        return minibatch.epochs(network, X, y, seed=seed, **options)

    def confident(self, X: Any, y: Any, wrong: Any, seed: int) -> dict[str, float]:
        """Confident learning (Northcutt et al., 2021) by cleanlab: label quality and suspects from held-out logits."""
        pruning, ranking = (importlib.import_module(f"cleanlab.{name}") for name in ("filter", "rank"))
        fold = seeding.numpy_generator("folds", seed).permutation(len(y)) % self.folds
        shares = np.zeros((len(y), CLASSES))
        for number in range(self.folds):
            mine = fold != number
            for now in self._passes(X[mine], y[mine], seed * self.folds + number):
                if now.number == self.stop:
                    break
            with torch.no_grad():
                shares[~mine] = torch.softmax(now.network(torch.from_numpy(X[~mine])).double(), 1).numpy()
        quality = ranking.get_label_quality_scores(y, shares, method="normalized_margin")
        suspects = pruning.find_label_issues(y, shares, n_jobs=1)
        hits = float(np.sum(suspects & wrong))
        return {
            "auc_cleanlab": float(aum.auc(quality, wrong)),
            "precision_cleanlab": hits / max(1.0, float(suspects.sum())),
            "recall_cleanlab": hits / float(wrong.sum()),
        }

    @figure.style()
    def figure(self, results: xarray.Dataset) -> Any:
        """Histograms, trajectories, curves against the stop, the table, the sheet of images; on one page."""
        return mislabeled_figure.page(self, results)

    def verdicts(self, results: xarray.Dataset) -> Verdicts:
        """This simulation's regularities at every level; the numbers of the table stand among the settings."""
        verdicts = Verdicts()
        for level, (kind, rate) in enumerate(zip(self.kinds, self.rates, strict=True)):
            cells = results.isel(level=level)
            settings = {"noise": f"{rate:.0%} {kind}", "images": self.train_size, "found": in_words(cells)}
            if kind == "uniform":
                share = Fraction(str(rate))
                verdicts.append(AUC.check(auc=over_seeds(cells.auc), noise=share, settings=settings))
            verdicts += [
                RECALL.check(recall=over_seeds(cells.recall, low=0.0), settings=settings),
                GAIN.check(gain=over_seeds(cells.accuracy_cleaned - cells.accuracy_noisy), settings=settings),
                SMALL_LOSS.check(loss=over_seeds(cells.auc - cells.auc_loss), settings=settings),
            ]
            if self.long and level == self.long_level:
                settings = settings | {"found": in_words(cells, "_long")}
                verdicts.append(LOST.check(lost=over_seeds(cells.auc - cells.auc_long), settings=settings))
        return verdicts


def scores(table: Any, wrong: np.ndarray) -> dict[str, float]:
    """AUC, precision and recall ("all" runs and "any" run) and the removed share of a ranking in sample order."""
    suspect, any_run = table["suspect"].to_numpy(), table["flagged"].to_numpy() > 0
    found = {"auc": float(aum.auc(table["aum"], wrong)), "removed": float(suspect.mean())}
    for name, chosen in (("", suspect), ("_any", any_run)):
        found |= {f"precision{name}": float(wrong[chosen].mean()) if chosen.any() else np.nan}
        found |= {f"recall{name}": float(chosen[wrong].mean())}
    return found


def in_words(cells: xarray.Dataset, late: str = "") -> str:
    """One level's row of the table, means over seeds."""
    mean = {str(name): float(cells[name].mean()) for name in cells if cells[name].dims == ("seed",)}
    text = f"AUC {mean['auc' + late]:.3f}, precision {mean['precision' + late]:.2f}"
    text += f" (any {mean['precision_any' + late]:.2f}), recall {mean['recall' + late]:.2f}"
    text += f", removed {mean['removed' + late]:.0%}"
    cleaned = mean["accuracy_long" if late else "accuracy_cleaned"]
    text += f", accuracy {mean['accuracy_noisy']:.3f} -> {cleaned:.3f} ({mean['accuracy_oracle']:.3f})"
    rivals = {"loss": "loss", "mean_loss": "mean loss", "cleanlab": "cleanlab"}
    known = [f"{words} {mean[f'auc_{name}']:.3f}" for name, words in rivals.items() if f"auc_{name}" in mean]
    return text if late else f"{text}; AUC of rivals: {', '.join(known)}"


def command(arguments: list[str] | None = None) -> int:
    """The simulation's command; with --data or --logits the practitioner's, `simulations.suspect_labels`."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if any(word.split("=")[0] in ("--data", "--logits") for word in arguments):
        from simulations import suspect_labels

        return suspect_labels.command(arguments)
    return main(Mislabeled, arguments)


SIMULATION = Mislabeled
if __name__ == "__main__":
    sys.exit(command())
