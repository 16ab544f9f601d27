"""Overfitting must travel: two points eps0 apart with labels -1 and +1, and how far the weights go to fit them.

    python -m simulations.two_points --width 16384 --seeds 20

Networks are fitted exactly (Gauss-Newton) at every separation; their distance from initialisation is drawn against
1/eps0 with the bound of claim C6, which knows nothing of how the weights were found. The distance grows as 1/eps0 while
the quadratic term of the bound is small, and as its square root beyond.
"""

import sys
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import xarray

from theory import activations, checks, two_points
from theory.lab import figure
from theory.lab.command import main
from theory.lab.simulation import Simulation
from theory.papers.li2020 import overfitting
from theory.verdict import Verdicts


@dataclass(frozen=True)
class TwoPoints(Simulation):
    """Distance of exact fits of two close points against their separation, with the bound."""

    name: ClassVar[str] = "two_points"
    quick_seconds: ClassVar[float] = 15

    seeds: int = 14
    """number of initialisations: the fewest whose median has a 99% interval"""
    width: int = 4096
    """number of hidden units, even (the initialisation is paired)"""
    activations: tuple[str, ...] = ("softplus", "erf", "tanh")
    """smooth ones; one panel each"""
    separations: tuple[float, ...] = (1.0, 0.6, 0.3, 0.25, 0.2, 0.14, 0.1, 0.05, 0.02)
    """distances eps0 of the two unit inputs"""

    def validate(self) -> None:
        """Refuse what the run could not do."""
        checks.even("width", self.width)
        for separation in self.separations:
            checks.number("separations", separation, 0, 2, open_low=True)
        for name in self.activations:
            if not np.isfinite(activations.get(name).gamma2):
                checks.fail("activations", "smooth ones", name, "the bound needs a finite Gamma2")

    @classmethod
    def full(cls) -> "TwoPoints":
        """Width 16,384, twenty seeds, all separations of claim C6's full check."""
        return cls(seeds=20, width=16384, separations=overfitting.FULL)

    def fits(self, activation: str, seed: int) -> list[two_points.TwoPointFit]:
        """The fits of one activation and initialisation, one per separation."""
        return two_points.fits(activation, self.separations, width=self.width, seeds=[seed])

    def run(self, seed: int, progress: Any = None) -> xarray.Dataset:
        """Distance and bound for every activation and separation."""
        distances, bounds = [], []
        for number, activation in enumerate(self.activations):
            fits = self.fits(activation, seed)
            judged = [overfitting.check_overfitting(fit.network0, fit.network, *fit.X)[0] for fit in fits]
            distances.append([fit.distance for fit in fits])
            bounds.append([verdict.right.value.item() for verdict in judged])  # the first relation is C6.quadratic
            if progress:
                progress((number + 1) / len(self.activations))
        dims = ("activation", "separation")
        return xarray.Dataset(
            {"distance": (dims, np.array(distances)), "bound": (dims, np.array(bounds))},
            {"activation": list(self.activations), "separation": list(self.separations)},
        )

    @figure.style()
    def figure(self, results: xarray.Dataset) -> Any:
        """One panel per activation: measured distance and bound against 1/eps0, with a reference slope."""
        fig, panels = figure.subplots(1, len(self.activations), sharey=True, squeeze=False, aspect=0.95)
        inverse = 1 / results.separation.values
        for panel, activation in zip(panels[0], self.activations, strict=True):
            shown = results.sel(activation=activation).transpose("seed", "separation")
            figure.band(panel, inverse, shown.distance.values, "exact fits", geometric=True, marker="o", ms=3)
            figure.band(panel, inverse, shown.bound.values, "bound (C6)", geometric=True, linestyle="--")
            guide = float(shown.distance.values[:, 0].mean()) * inverse / inverse[0]
            panel.plot(inverse, guide, ":", color="0.5", linewidth=0.9, label=r"slope 1")
            panel.set(xscale="log", yscale="log", xlabel=r"$1/\varepsilon_0$ [1/input norm]", title=activation)
        panels[0][0].set_ylabel(r"distance $\|W - W_0\|_F$")
        panels[0][0].legend(loc="upper left")
        note = figure.seeds_note(results.sizes["seed"])
        fig.suptitle(f"two points, labels -1 and +1, width {self.width}; geometric {note}", fontsize="small")
        return fig

    def verdicts(self, results: xarray.Dataset) -> Verdicts:
        """Every relation of claim C6 that two points can speak of, all seeds at once."""
        verdicts = Verdicts()
        for activation in self.activations:
            fits = [fit for seed in results.seed.values.tolist() for fit in self.fits(activation, seed)]
            verdicts += overfitting.check_fits(fits)
        return verdicts


SIMULATION = TwoPoints
if __name__ == "__main__":
    sys.exit(main(TwoPoints))
