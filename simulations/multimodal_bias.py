"""Coloured digits: does functional entropy keep a network from reading the colour instead of the digit?

    python -m simulations.multimodal_bias --profile full
    python -m simulations.multimodal_bias --rows none "variance 0.001" "balance 0.1 kl" --seeds 4 --epochs 30

The colour gives the class away in training; test images are grey, or in another class's colour. Rows are regularisers
with their strengths: the paper's, which makes the information of both modalities large ("information", "variance"), one
that makes it equal ("balance"), and a penalty on the information of the colour, for which the biased modality must be
known ("oracle"). How it is trained, and what "perturbing the colour" means: `simulations.coloured_training`. All
differences are paired over seeds. OUTSIDE THE THEOREMS: none speaks of training.
"""

import sys
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import sympy as sp
import xarray

from simulations.coloured_training import SIGNS, ColouredTraining, label, parsed
from simulations.noisy_images import over_seeds
from theory.claim import Claim, symbols
from theory.lab import figure
from theory.lab.command import main
from theory.verdict import Verdicts

_COLOURS = dict(zip(SIGNS, (figure.COLOURS[k] for k in (6, 1, 4, 0, 2)), strict=True))
_gain, _epochs = symbols("gain epochs")
_OVER = "accuracy on test images minus that without regulariser, mean over seeds [1]"


def _claim(id: str, title: str, relation: Any, gain: str = _OVER) -> Claim:
    meanings = {"gain": gain, "epochs": "passes through the training images [1]"}
    hypotheses = (("at least 10 epochs", sp.Ge(_epochs, 10, evaluate=False)),)
    reference = "a regularity of this simulation, no theorem"
    return Claim(f"bias.{id}", title, relation, meanings, hypotheses=hypotheses, reference=reference)


BIAS = _claim(
    "present",
    "without regulariser the network reads the colour: on grey images 30 points are lost",
    sp.Ge(_gain, sp.Rational(3, 10), evaluate=False),
    "accuracy on coloured test images minus that on grey ones, mean over seeds [1]",
)
INFORMATION = _claim(
    "information",
    "large information of both modalities, 1/I or 1/V in the loss, gains no more than ten points",
    sp.Le(_gain, sp.Rational(1, 10), evaluate=False),
)
BALANCE = _claim("balance", "equal information of both modalities helps", sp.Gt(_gain, 0, evaluate=False))
ORACLE = _claim("oracle", "a penalty on the information of the colour helps", sp.Gt(_gain, 0, evaluate=False))
ORDER = _claim(
    "order",
    "equal information is better than large information, strengths chosen on validation images",
    sp.Gt(_gain, 0, evaluate=False),
    "accuracy on test images, balance form minus 1/I form, mean over seeds [1]",
)
COLD = _claim(
    "cold",
    "1/I from the first step keeps the network from learning: 30 points are lost on coloured images",
    sp.Le(_gain, sp.Rational(-3, 10), evaluate=False),
)
JUDGED = {"information": INFORMATION, "variance": INFORMATION, "balance": BALANCE, "oracle": ORACLE}
CHOSEN = ("balance", "information")


@dataclass(frozen=True)
class MultimodalBias(ColouredTraining):
    """Accuracy on digits in other colours than those learned, and information of both modalities, by regulariser."""

    name: ClassVar[str] = "multimodal_bias"
    quick_seconds: ClassVar[float] = 20

    @classmethod
    def full(cls) -> "MultimodalBias":
        """Eight paired seeds, thirty epochs, several strengths to choose from on the validation images."""
        forms = {"information": (0.001, 0.01, 0.1), "variance": (0.001, 0.01), "balance": (0.01, 0.1, 1.0)}
        rows = [f"{form} {strength:g}" for form, several in forms.items() for strength in several]
        cold = ["information 0.001 cold", "information 0.01 cold", "information 0.01 cold kl", "balance 0.1 cold"]
        return cls(seeds=8, epochs=30, warm_up=10, rows=("none", *rows, *cold, "oracle 0.1", "oracle 1"))

    def verdicts(self, results: xarray.Dataset) -> Verdicts:
        """This simulation's regularities, on grey images and on those in another class's colour."""
        last = results.accuracy.isel(epoch=-1).transpose("seed", "row", "part")
        verdicts = Verdicts()

        def judge(claim: Claim, gain: xarray.DataArray, **settings: str) -> None:
            record = {**settings, "seeds": results.sizes["seed"]}
            verdicts.append(claim.check(gain=over_seeds(gain.values), epochs=self.epochs, settings=record))

        plain = last.sel(row="none")
        judge(BIAS, plain.sel(part="coloured") - plain.sel(part="grey"))
        for row in self.rows:
            form, _, flags = parsed(row)
            gain = last.sel(row=row) - plain
            if form == "information" and "cold" in flags:
                judge(COLD, gain.sel(part="coloured"), row=row, test="coloured")
            elif form in JUDGED:
                for part in ("grey", "wrong"):
                    judge(JUDGED[form], gain.sel(part=part), row=row, test=part)
        if all(candidates(self.rows, form) for form in CHOSEN):
            picks = [last.sel(row=xarray.DataArray(self.chosen(results, form), dims="seed")) for form in CHOSEN]
            balance, information = (
                pick.isel(seed=xarray.DataArray(range(len(pick.seed)), dims="seed")) for pick in picks
            )
            for part in ("grey", "wrong"):
                judge(ORDER, balance.sel(part=part) - information.sel(part=part), test=part)
        return verdicts

    def chosen(self, results: xarray.Dataset, form: str) -> list[str]:
        """For each seed the candidate row of this form that is best on validation images.

        Ties in accuracy, which are common, are broken by the cross-entropy.
        """
        rows = candidates(self.rows, form)
        cells = results.sel(row=rows).transpose("seed", "row", ...)
        accuracy = cells.accuracy.sel(part="validation").isel(epoch=-1).values
        return [rows[np.lexsort((b, -a))[0]] for a, b in zip(accuracy, cells.loss.values, strict=True)]

    @figure.style()
    def figure(self, results: xarray.Dataset) -> Any:
        """Some images; accuracy by row; accuracy while training; information of both modalities."""
        fig, panels = figure.subplots(2, 2, aspect=0.85)
        self._sheet(panels[0][0], results)
        self._accuracies(panels[0][1], results)
        self._curves(panels[1][0], results)
        self._information(panels[1][1], results)
        fig.suptitle(figure.seeds_note(results.sizes["seed"]), fontsize="small")
        return fig

    def _sheet(self, panel: Any, results: xarray.Dataset) -> None:
        images = results.sheet.isel(seed=0).transpose("shown", "y", "image", "x", "channel").values
        shown, height, count, width, _ = images.shape
        panel.imshow(images.reshape(shown * height, count * width, 3))
        words = ["its class's", "none", "another's"]
        panel.set_yticks([height * (k + 0.5) - 0.5 for k in range(shown)], words)
        panel.set(xticks=[], ylabel="colour", title="test images; in training, the colour is the class's")
        panel.tick_params(length=0)
        for spine in panel.spines.values():
            spine.set_visible(False)

    def _accuracies(self, panel: Any, results: xarray.Dataset) -> None:
        last = results.accuracy.isel(epoch=-1).transpose("seed", "row", "part")
        for place, row in enumerate(self.rows):
            colour = _COLOURS[parsed(row)[0]]
            for part, marker, face in (("coloured", "|", colour), ("grey", "o", colour), ("wrong", "s", "white")):
                draws = last.sel(row=row, part=part).values
                low, high = over_seeds(draws).interval(figure.BAND_LEVEL) if len(draws) > 1 else (0.0, 0.0)
                panel.errorbar(
                    draws.mean(), place, xerr=(high - low) / 2, fmt=marker, color=colour, markerfacecolor=face,
                    markersize=3.5 if part != "coloured" else 7, capsize=1.5, elinewidth=0.8,
                )  # fmt: skip
        for name, marker, face in (
            ("its class's colour", "|", "0.3"),
            ("grey", "o", "0.3"),
            ("another's", "s", "white"),
        ):
            panel.plot([], [], marker, color="0.3", markerfacecolor=face, markersize=4, label=name)
        panel.legend(loc="lower center", bbox_to_anchor=(0.5, 0.99), ncols=3, handletextpad=0.1, columnspacing=0.8)
        panel.set_yticks(range(len(self.rows)), [label(row) for row in self.rows], fontsize="x-small")
        panel.set(xlim=(0, 1.03), ylim=(len(self.rows) - 0.5, -0.5), xlabel="accuracy on test images [1]")

    def _curves(self, panel: Any, results: xarray.Dataset) -> None:
        for form in ("none", "information", "balance", "oracle"):
            rows = [row for row in self.rows if parsed(row)[0] == form and not parsed(row)[2]]
            for row in rows[(len(rows) - 1) // 2 :][:1]:
                for part, dashes, name in (("validation", ":", "_"), ("grey", "-", label(row))):
                    draws = results.accuracy.sel(row=row, part=part).transpose("seed", "epoch").values
                    figure.band(panel, results.epoch.values, draws, name, color=_COLOURS[form], linestyle=dashes)
        if 0 < self.warm_up < self.epochs:
            panel.axvline(self.warm_up, color="0.6", linewidth=0.8)
            panel.annotate(" regulariser on", (self.warm_up, 0.03), fontsize="x-small", color="0.4")
        panel.set(xlabel="epoch", ylabel="accuracy [1]", ylim=(0, 1.03), title="grey test images; dotted: validation")
        panel.legend(loc="lower right")

    def _information(self, panel: Any, results: xarray.Dataset) -> None:
        values = results.information.transpose("modality", "seed", "row")
        for form in SIGNS:
            for marker, row in zip(figure.MARKERS, candidates(self.rows, form), strict=False):
                image, colour = values.sel(row=row).values
                options = {"color": _COLOURS[form], "alpha": 0.6, "markersize": 3, "markeredgewidth": 0}
                panel.plot(colour, image, marker, label=SIGNS[form] if marker == "o" else None, **options)
        panel.axline((1, 1), slope=1, color="0.6", linewidth=0.8, zorder=0)
        panel.set(xscale="log", yscale="log", xlabel="information of the colour [1]")
        several = any(len(candidates(self.rows, form)) > 1 for form in SIGNS)
        words = "validation images" + ("; square, triangle: stronger" if several else "")
        panel.set(ylabel="information of the image [1]", title=words)
        shown = values.sel(row=[row for form in SIGNS for row in candidates(self.rows, form)]).values
        for set_limits, found in ((panel.set_ylim, shown[0]), (panel.set_xlim, shown[1])):
            low, high = np.floor(np.log10(found.min())), np.ceil(np.log10(found.max()))
            set_limits(10**low, 10**high)  # whole decades: every labelled tick is one
        panel.legend(loc="upper left", handletextpad=0.1)


def candidates(rows: tuple[str, ...], form: str) -> list[str]:
    """The rows among which the strength of a form is chosen: those without flags."""
    return [row for row in rows if parsed(row)[0] == form and not parsed(row)[2]]


SIMULATION = MultimodalBias
if __name__ == "__main__":
    sys.exit(main(MultimodalBias))
