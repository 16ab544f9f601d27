"""Outlier views and a linear encoder in closed form: what weights save, and at which temperature they stop.

    python -m simulations.outlier_views --shares 0.1 0.3 0.5 --seeds 8

Inputs are digits (whitened principal components) beside nuisance coordinates that are constant within an image. A share
of the views shows noise instead of the digit. Self-supervised learning looks for what the views of an image agree on:
without weights that is the nuisance, and a probe of the encoding finds no digits. The encoder is the solution of an
eigenproblem, so nothing depends on training. By claim U3 a full-rank linear encoder does not change the distances: the
weights are computed on the inputs. Permuted weights (the same numbers on the wrong views) and an oracle that knows the
outliers are always in the picture; so is the centre="global" artefact, where no view is an outlier.
"""

import sys
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import sympy as sp
import xarray

from simulations.linear_views import CONTROLS, PROBABILITIES, LinearViews
from simulations.noisy_images import over_seeds
from theory import outlier
from theory.claim import Claim, symbols
from theory.estimate import Estimate
from theory.lab import figure
from theory.lab.command import main
from theory.papers.wang2021.distances import check_mean, check_range
from theory.papers.wang2021.gaussian import check_global
from theory.verdict import Verdicts

NAMES = {"uniform": "uniform", "oracle": "oracle", "permuted": "permuted weights"}
_DASHES = {"uniform": "--", "oracle": "-.", "permuted": ":"}
_REFERENCE = "a regularity of this simulation, no theorem"

_gain, _restored, _tau, _d, _share = symbols("gain restored tau d share")
_GAIN = "probe accuracy minus that with uniform weights, mean over seeds [1]"
_SETTING = {
    "share": "share of outlier views [1]",
    "tau": "temperature of the weights [1]",
    "d": "dimension of the inputs [1]",
}
COST = Claim(
    "views.cost",
    "outlier views hide the digits from an unweighted encoder: knowing them is worth 30 points",
    sp.Ge(_gain, sp.Rational(3, 10), evaluate=False),
    {"gain": f"oracle weights: {_GAIN}"},
    reference=_REFERENCE,
)
RESTORED = Claim(
    "views.restored",
    "few outliers: the weights restore three quarters of what an oracle does",
    sp.Ge(_restored, sp.Rational(3, 4), evaluate=False),
    {
        "restored": "gain of the weights over uniform, over that of an oracle, mean over seeds [1]",
        **_SETTING,
    },
    hypotheses=(
        ("at most 15% of the views are outliers", sp.Le(_share, sp.Rational(3, 20), evaluate=False)),
        ("the temperature is at most the dimension", sp.Le(_tau, _d, evaluate=False)),
    ),
    reference=_REFERENCE,
)
CONTROL = Claim(
    "views.control",
    "the same weights on the wrong views gain nothing (5 points at most)",
    sp.Le(_gain, sp.Rational(1, 20), evaluate=False),
    {"gain": f"permuted weights: {_GAIN}"},
    reference=_REFERENCE,
)
WARM = Claim(
    "views.warm",
    "many outliers, a temperature far above the dimension: the weights gain nothing (5 points at most)",
    sp.Le(_gain, sp.Rational(1, 20), evaluate=False),
    {"gain": f"weights: {_GAIN}", **_SETTING},
    hypotheses=(
        ("at least a quarter of the views are outliers", sp.Ge(_share, sp.Rational(1, 4), evaluate=False)),
        ("the temperature is at least nine times the dimension", sp.Ge(_tau, 9 * _d, evaluate=False)),
    ),
    reference=_REFERENCE,
)


@dataclass(frozen=True)
class OutlierViews(LinearViews):
    """Probe accuracy of a closed-form encoder against the temperature of the weights, with outlier views."""

    name: ClassVar[str] = "outlier_views"
    quick_seconds: ClassVar[float] = 12

    @classmethod
    def full(cls) -> "OutlierViews":
        """More seeds, more outliers, more temperatures."""
        return cls(seeds=20, shares=(0.05, 0.1, 0.2, 0.3), temperatures=_FULL)

    @figure.style()
    def figure(self, results: xarray.Dataset) -> Any:
        """Accuracy against temperature for two shares, effective sample size; the weights; the global artefact."""
        fig, panels = figure.subplots(2, 3, aspect=0.95)
        ends = [results.isel(share=0), results.isel(share=-1)]
        for panel, cells in zip(panels[0], ends, strict=False):
            self._accuracies(panel, cells)
        panels[0][1].legend(loc="lower left", bbox_to_anchor=(0.38, 0.17))
        self._sizes(panels[0][2], results)
        for panel, cells in zip(panels[1], ends, strict=False):
            self._weights(panel, cells)
        self._artefact(panels[1][2], results)
        fig.suptitle(figure.seeds_note(results.sizes["seed"]), fontsize="small")
        return fig

    def verdicts(self, results: xarray.Dataset) -> Verdicts:
        """This simulation's regularities for each share, then U1, U2 on its views and U4 on those without outliers."""
        verdicts = Verdicts()
        for share in self.shares:
            cells = results.sel(share=share).transpose("seed", ...)
            control = {name: cells.control.sel(rule=name).values for name in CONTROLS}
            uniform, shown = control["uniform"], cells.accuracy.sel(temperature=self.shown).values
            settings = {"share": str(share), "seeds": results.sizes["seed"]}
            worth = control["oracle"] - uniform
            at: dict[str, Any] = {
                "share": Estimate.exact(share),
                "d": self.dimension,
                "tau": Estimate.exact(self.shown),
            }
            verdicts += [
                COST.check(gain=over_seeds(worth), settings=settings),
                CONTROL.check(gain=over_seeds(control["permuted"] - uniform), settings=settings),
            ]
            if (worth > 0).all():
                restored = over_seeds((shown - uniform) / worth, low=-np.inf, high=np.inf)
                verdicts.append(RESTORED.check(restored=restored, settings={**settings, "tau": str(self.shown)}, **at))
            at["tau"] = Estimate.exact(self.warm)
            gain = over_seeds(cells.accuracy.sel(temperature=self.warm).values - uniform)
            verdicts.append(WARM.check(gain=gain, settings={**settings, "tau": str(self.warm)}, **at))
        seed = int(results.seed[0])
        train = self.inputs(seed)["train"]
        z = self.see(train, self.shares[-1], seed)[0]
        for centre in outlier.CENTRES:
            settings = {"centre": centre, "share": str(self.shares[-1])}
            verdicts += check_mean(z, centre=centre, settings=settings, seed=seed)
            verdicts += check_range(z, centre=centre, settings=settings, seed=seed)
        if results.sizes["seed"] > 1:
            clean = np.stack([self.see(self.inputs(s)["train"], 0.0, s)[0] for s in results.seed.values.tolist()])
            verdicts += check_global(clean, settings={"views": "no outliers", "centre": "global"})
        return verdicts

    def _accuracies(self, panel: Any, cells: xarray.Dataset) -> None:
        x = cells.temperature.values
        draws = cells.accuracy.transpose("seed", "temperature").values
        figure.band(panel, x, draws, r"$\exp(-d^2/\tau)$", marker="o", ms=2)
        for method in CONTROLS:
            level = np.repeat(cells.control.sel(rule=method).values[:, None], len(x), axis=1)
            figure.band(panel, x, level, NAMES[method], linestyle=_DASHES[method])
        self._default(panel)
        share = float(cells.share)
        panel.set(xscale="log", ylim=(0, 1), xlabel=r"temperature $\tau$ [1]", ylabel="probe accuracy")
        panel.set_title(f"{share:.0%} outlier views")

    def _sizes(self, panel: Any, results: xarray.Dataset) -> None:
        x = results.temperature.values
        for share in self.shares:
            figure.band(panel, x, results.ess.sel(share=share).transpose("seed", ...).values, f"{share:.0%} outliers")
        fine = np.geomspace(x[0], x[-1], 200)
        gaussian = ((1 + 4 / fine) / (1 + 2 / fine) ** 2) ** (self.dimension / 2)
        panel.plot(fine, gaussian, "k:", linewidth=0.9, label="Gaussian, none (U4)")
        self._default(panel)
        panel.set(xscale="log", ylim=(0, 1.05), xlabel=r"temperature $\tau$ [1]", title="effective sample size")
        panel.set_ylabel("share of the views")
        panel.legend(loc="lower right")

    def _default(self, panel: Any) -> None:
        at = outlier.temperature_for(0.8, self.dimension)
        panel.axvline(at, color="0.6", linewidth=0.8)
        panel.annotate(
            "default", (at, 0.98), xycoords=("data", "axes fraction"),
            rotation=90, ha="right", va="top", color="0.4", fontsize="x-small",
        )  # fmt: skip

    def _weights(self, panel: Any, cells: xarray.Dataset) -> None:
        for kind in ("clean", "outlier"):
            draws = cells.weight.sel(kind=kind).transpose("seed", "probability").values
            line = panel.plot(draws.mean(axis=0), cells.probability.values)[0]
            panel.annotate(f"  {kind}", (float(np.median(draws)), 0.5), color=line.get_color(), fontsize="small")
            panel.plot(draws.T, cells.probability.values, color=line.get_color(), alpha=0.25, linewidth=0.4)
        panel.set(xlabel=rf"weight at $\tau$ = {self.shown:g} [1]", ylabel="share of views below", ylim=(0, 1))
        panel.set_title(f"weights, {float(cells.share):.0%} outliers")

    def _artefact(self, panel: Any, results: xarray.Dataset) -> None:
        from scipy import stats

        for view, factor in (("global", 1), ("other", 3)):
            draws = results.distance.sel(view=view).transpose("seed", "probability").values
            line = panel.plot(draws.mean(axis=0), results.probability.values)[0]
            law = stats.chi2.ppf(PROBABILITIES, self.dimension) * factor * self.views / (3 * self.views - 4)
            panel.plot(
                law,
                PROBABILITIES,
                ":",
                color="black",
                linewidth=0.9,
                label="chi-square (U4)" if view == "other" else None,
            )
            words = f"   {view}s,\n   mean {draws.mean():.0f}"
            panel.annotate(words, (draws.mean(), 0.38), color=line.get_color(), fontsize="small")
        panel.set(xlabel=r"$d^2$ about the global mean [1]", ylabel="share of views below", ylim=(0, 1))
        panel.set_title("no outliers at all, global centre")
        panel.legend(loc="lower right")


_FULL = (1.0, 2.0, 4.0, 6.0, 9.0, 12.0, 16.0, 24.0, 36.0, 54.0, 80.0, 120.0, 180.0, 250.0, 350.0, 1000.0)


SIMULATION = OutlierViews
if __name__ == "__main__":
    sys.exit(main(OutlierViews))
