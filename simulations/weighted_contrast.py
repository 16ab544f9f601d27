"""Contrastive learning with outlier views: where weights help, and where they do not.

    python -m simulations.weighted_contrast --profile full
    python -m simulations.weighted_contrast --scenarios nuisance swap --temperature 10

A small network is trained on views of digits by InfoNCE. Its weights are uniform; exp(-d2/tau) about the mean of all
views, or of the two global views as in the released code; 0 for outliers (an oracle); exp(-d2/tau) on the wrong views;
or the mean of exp(-d2/tau) for each kind of view, which keeps the preference for global views and nothing else.
Differences from uniform weights are paired: same seed, same first weights, same views. Weights can help where outlier
views leave a shortcut (nuisance that all views of an image share). The other kinds of outliers are the null cases:
plain digits, and outliers that agree, showing digits of a partner class. OUTSIDE THE THEOREMS: none speaks of training.
"""

import sys
import textwrap
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import sympy as sp
import xarray

from simulations.contrast_views import RULES, SCENARIOS, ContrastViews
from simulations.noisy_images import over_seeds
from theory.claim import Claim, symbols
from theory.lab import figure
from theory.lab.command import main
from theory.verdict import Verdicts

TITLES = {
    "all": "centre of all views",
    "global": "centre of global views",
    "kinds": "mean weight of its kind",
    "oracle": "oracle",
    "permuted": "permuted weights",
}
JUDGED = ("all", "global")
_REFERENCE = "a regularity of this simulation, no theorem"

_gain, _steps = symbols("gain steps")
_STEPS = {"steps": "gradient steps [1]"}
_LONG = (("at least 300 steps", sp.Ge(_steps, 300, evaluate=False)),)
_FEW = "accuracy of a probe with ten labels of each digit"
GAIN = Claim(
    "contrast.gain",
    "beside nuisance, the weights help",
    sp.Gt(_gain, 0, evaluate=False),
    {"gain": f"{_FEW}, weights minus uniform, mean over seeds [1]", **_STEPS},
    hypotheses=_LONG,
    reference=_REFERENCE,
)
PLACED = Claim(
    "contrast.placed",
    "and they do so by which views they fall on: neither permuted weights nor the mean weight of each kind do as well",
    sp.Gt(_gain, 0, evaluate=False),
    {"gain": f"{_FEW}, weights minus those that replace them, mean over seeds [1]", **_STEPS},
    hypotheses=_LONG,
    reference=_REFERENCE,
)
NULL = Claim(
    "contrast.null",
    "on plain digits the weights gain no more than a point",
    sp.Le(_gain, sp.Rational(1, 100), evaluate=False),
    {"gain": f"{_FEW}, weights minus uniform, mean over seeds [1]", **_STEPS},
    hypotheses=_LONG,
    reference=_REFERENCE,
)
PAIRS = Claim(
    "contrast.pairs",
    "outliers of the partner class: uniform weights are better",
    sp.Lt(_gain, 0, evaluate=False),
    {"gain": f"{_FEW}, weights minus uniform, mean over seeds [1]", **_STEPS},
    hypotheses=_LONG,
    reference=_REFERENCE,
)


@dataclass(frozen=True)
class WeightedContrast(ContrastViews):
    """Paired gains of weights, oracle and permuted weights over uniform ones, for several kinds of outlier views."""

    name: ClassVar[str] = "weighted_contrast"
    quick_seconds: ClassVar[float] = 25

    @classmethod
    def full(cls) -> "WeightedContrast":
        """Twelve paired seeds, every kind of outlier, larger batches, longer training."""
        return cls(seeds=12, scenarios=tuple(SCENARIOS), batch=128, epochs=30)

    @figure.style()
    def figure(self, results: xarray.Dataset) -> Any:
        """Views of some images in the order of their weights; paired gains of both probes; weights by kind of view."""
        fig, panels = figure.subplots(2, 2, aspect=0.72)
        self._sheet(panels[0][0], results.isel(seed=0))
        self._weights(panels[0][1], results)
        for panel, probe in zip(panels[1], ("few", "all"), strict=True):
            self._gains(panel, results, probe)
        handles, words = panels[1][0].get_legend_handles_labels()
        fig.legend(handles, words, loc="outside lower center", ncols=len(words))
        seeds = results.sizes["seed"]
        note = "mean and 95% t-interval" if seeds > 1 else "no interval"
        fig.suptitle(f"{note}, {seeds} paired seeds; dots are seeds", fontsize="small")
        return fig

    def verdicts(self, results: xarray.Dataset) -> Verdicts:
        """This simulation's regularities, for the probe with few labels; paired over seeds."""
        verdicts = Verdicts()
        steps = self.epochs * (round((1 - self.test_share) * 1797) // self.batch)
        for scenario in self.scenarios:
            scores = {rule: results.accuracy.sel(scenario=scenario, rule=rule, probe="few").values for rule in RULES}
            claim = {"nuisance": GAIN, "pair": PAIRS}.get(scenario, NULL)
            settings = {"outliers": scenario, "seeds": results.sizes["seed"]}
            for rule in JUDGED:
                gain = over_seeds(scores[rule] - scores["uniform"])
                verdicts.append(claim.check(gain=gain, steps=steps, settings={**settings, "centre": rule}))
            if scenario == "nuisance":
                for control in ("permuted", "kinds"):
                    gain = over_seeds(scores["global"] - scores[control])
                    verdicts.append(PLACED.check(gain=gain, steps=steps, settings={**settings, "control": control}))
        return verdicts

    def _sheet(self, panel: Any, results: xarray.Dataset) -> None:
        """One row per image, its views from the heaviest to the lightest, outliers framed."""
        side, across, columns = results.sheet.shape[-1], 10, 2
        for number in range(results.sizes["image"]):
            cells = results.isel(image=number)
            for place, view in enumerate(np.argsort(-cells.sheet_weight.values)):
                left = (place + (self.views + 0.6) * (number % columns)) * across
                top = number // columns * (side + 5)
                box = (left, left + side, top + side, top)
                pixels = np.clip(cells.sheet.values[view], 0, 1)
                panel.imshow(pixels, cmap="gray", vmin=0, vmax=1, extent=box)
                colour = figure.COLOURS[int(cells.sheet_outlier.values[view])]
                panel.plot(np.array(box)[[0, 1, 1, 0, 0]], np.array(box)[[3, 3, 2, 2, 3]], color=colour, linewidth=1.2)
                panel.annotate(
                    f"{float(cells.sheet_weight.values[view]):.2f}", (left + side / 2, top + side + 0.5),
                    ha="center", va="top", fontsize="xx-small", color=colour,
                )  # fmt: skip
        panel.set(xlim=(-1, left + side + 1), ylim=(top + side + 4, -1), xticks=[], yticks=[])
        panel.set_title("views by weight, heaviest left; outliers orange")
        for spine in panel.spines.values():
            spine.set_visible(False)

    def _weights(self, panel: Any, results: xarray.Dataset) -> None:
        for place, scenario in enumerate(self.scenarios):
            for kind, shift, colour in (("clean", -0.12, 0), ("outlier", 0.12, 1)):
                draws = results.weight.sel(scenario=scenario, rule="global", kind=kind).values
                self._mean(panel, place + shift, draws, figure.COLOURS[colour], kind if place == 0 else None)
        panel.axhline(1, color="0.6", linewidth=0.8)
        self._named(panel)
        panel.set(ylabel="mean weight of local views [1]", title="last weights, centre of global views", ylim=(0, 1.3))
        panel.legend(loc="upper center", ncols=2)

    def _gains(self, panel: Any, results: xarray.Dataset, probe: str) -> None:
        scores = results.accuracy.sel(probe=probe).transpose("seed", "scenario", "rule")
        for place, scenario in enumerate(self.scenarios):
            for number, rule in enumerate(TITLES):
                gain = scores.sel(scenario=scenario, rule=rule) - scores.sel(scenario=scenario, rule="uniform")
                label = TITLES[rule] if place == 0 else None
                self._mean(panel, place + (number - 2) * 0.16, 100 * gain.values, figure.COLOURS[number], label)
        panel.axhline(0, color="0.6", linewidth=0.8)
        self._named(panel)
        words = f"{self.shots} labels of each digit" if probe == "few" else "all labels"
        panel.set(ylabel="accuracy minus uniform [points]", title=f"probe with {words}")

    def _mean(self, panel: Any, x: float, draws: np.ndarray, colour: str, label: str | None) -> None:
        panel.plot(np.full(len(draws), x), draws, "o", color=colour, alpha=0.3, markersize=2.5, markeredgewidth=0)
        half = 0.0
        if len(draws) > 1:
            low, high = over_seeds(draws).interval(figure.BAND_LEVEL)
            half = (high - low) / 2
        panel.errorbar(x, draws.mean(), yerr=half, fmt="o", color=colour, markersize=3, capsize=2, label=label)

    def _named(self, panel: Any) -> None:
        words = [textwrap.fill(SCENARIOS[name], 14) for name in self.scenarios]
        panel.set_xticks(range(len(words)), words, fontsize="x-small")
        panel.set_xlim(-0.5, len(words) - 0.5)


SIMULATION = WeightedContrast
if __name__ == "__main__":
    sys.exit(main(WeightedContrast))
