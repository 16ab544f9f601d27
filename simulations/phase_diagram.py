"""Where is early stopping certified, where does it work, and where can it not? A map in (noise rate, cluster radius).

    python -m simulations.phase_diagram --width 16384 --seeds 3

Three things on one picture, for two clusters with labels -1 and +1:
- the region that the a-posteriori bound certifies from the initial network alone (claim C9);
- the sharp threshold at radius zero: a cluster is lost iff its mean label changes sign (claim C1);
- what gradient descent does: at some recorded step every example is nearer its true label than delta/2.
"""

import sys
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import sympy as sp
import xarray

from theory import activations, checks, clusterable, descent, early_stopping, label_noise, networks
from theory.claim import Claim, symbols
from theory.estimate import Estimate
from theory.lab import figure
from theory.lab.command import main
from theory.lab.simulation import Simulation
from theory.verdict import Verdicts

_error, _bound, _half, _rate, _threshold, _rise = symbols("error bound half rate threshold rise")
_ERROR = {"error": "least sup error to the true labels along descent [label]"}
CERTIFIED = Claim(
    "phase.certified",
    "where recovery is certified for the wide network, descent recovers with the narrower one too",
    sp.Lt(_error, _half, evaluate=False),
    {**_ERROR, "bound": "certified sup error [label]", "half": "half the label separation [label]"},
    hypotheses=[("recovery is certified", sp.Lt(_bound, _half, evaluate=False))],
    reference="a regularity of this simulation; C9 itself speaks of one network",
)
LOST = Claim(
    "phase.lost",
    "above the sharp threshold perfect clusters are lost at every step",
    sp.Ge(_error, _half, evaluate=False),
    {
        **_ERROR,
        "half": "half the label separation [label]",
        "rate": "share of wrong labels in both clusters [1]",
        "threshold": "share at which the mean label leaves its own class [1]",
        "rise": "largest loss after the start, less that of the start [label^2]",
    },
    hypotheses=[
        ("the cap is reached or passed", sp.Ge(_rate, _threshold, evaluate=False)),
        ("the loss does not exceed that of the start", sp.Le(_rise, 0, evaluate=False)),
    ],
    reference="derived",
    proof="paper_notes/li2020.md#c1",
)


@dataclass(frozen=True)
class PhaseDiagram(Simulation):
    """Recovery over noise rate and cluster radius: certified, possible, measured."""

    name: ClassVar[str] = "phase_diagram"
    quick_seconds: ClassVar[float] = 25

    width: int = 16384
    """number of hidden units, even (the initialisation is paired); the certificate needs it"""
    trained_width: int = 1024
    """width of the networks that are trained to the end of `steps`"""
    dimension: int = 10
    """of the inputs"""
    per_cluster: int = 20
    """points in each of the two clusters: noise rates are multiples of its inverse"""
    activation: str = "softplus"
    """a smooth one: the certificate needs a bounded second derivative"""
    noise_rates: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.45, 0.55)
    """exact share of wrong labels in each cluster"""
    radii: tuple[float, ...] = (0.0, 0.01, 0.03, 0.1, 0.3, 0.6, 1.0)
    """largest distance of a point from its centre; points lie on that boundary"""
    minimum_separation: float = 1.0
    """least distance of the two centres, and of each from the other's antipode"""
    steps: int = 300
    """last step of gradient descent, at 0.9/lambda_max of the initial kernel"""

    def validate(self) -> None:
        """Refuse what the run could not do."""
        checks.even("width", self.width)
        checks.even("trained_width", self.trained_width)
        checks.integer("per_cluster", self.per_cluster, minimum=1)
        checks.integer("steps", self.steps, minimum=1)
        for rate in self.noise_rates:
            checks.number("noise_rates", rate, 0, 1)
        for radius in self.radii:
            checks.number("radii", radius, 0, 2)
        if not np.isfinite(activations.get(self.activation).gamma2):
            checks.fail("activation", "a smooth one", self.activation, "the certificate needs a finite Gamma2")

    @classmethod
    def full(cls) -> "PhaseDiagram":
        """Ten seeds, every attainable noise rate, finer radii, a wider certificate."""
        rates, radii = (0.0, *np.arange(0.05, 0.46, 0.05), 0.55), np.geomspace(1e-3, 1, 19)
        return cls(
            seeds=10, width=65536, noise_rates=tuple(np.round(rates, 2)), radii=(0.0, *radii.round(4)), steps=1000
        )

    def run(self, seed: int, progress: Any = None) -> xarray.Dataset:
        """Certified bound and least sup error of a trained network for every (noise rate, radius)."""
        shape = (len(self.noise_rates), len(self.radii))
        certified, measured, realised, rise = (np.full(shape, np.inf) for _ in range(4))
        wide, trained = (
            networks.TwoLayer.initialise(width, self.dimension, self.activation, paired=True, seed=seed)
            for width in (self.width, self.trained_width)
        )
        for column, radius in enumerate(self.radii):
            data = clusterable.generate(
                2,
                2,
                self.dimension,
                per_cluster=self.per_cluster,
                radius=radius,
                spread="boundary",
                minimum_separation=self.minimum_separation,
                antipodal_separation=self.minimum_separation,
                seed=seed,
            )
            step = 0.45 * descent.largest_step(trained, data.X)
            for row, rate in enumerate(self.noise_rates):
                labels = label_noise.corrupt(data, rate, "exact", seed=seed)
                along = descent.train(trained, data.X, labels.y, step=step, steps=self.steps, record=80, truth=data.y)
                bounds = early_stopping.certificate(wide, data.X, data.clusters, data.y, labels.y, radius, steps=3000)
                measured[row, column] = along.sup_error[1:].min()  # f_0 = 0 is at delta/2 for every rate
                certified[row, column] = bounds.bound.min()
                realised[row, column] = labels.shares.min()
                rise[row, column] = along.loss[1:].max() - along.loss[0]
            if progress:
                progress((column + 1) / len(self.radii))
        dims = ("noise_rate", "radius")
        arrays = {"bound": certified, "error": measured, "realised": realised, "rise": rise}
        return xarray.Dataset(
            {name: (dims, values) for name, values in arrays.items()},
            {"noise_rate": list(self.noise_rates), "radius": list(self.radii)},
        )

    @figure.style()
    def figure(self, results: xarray.Dataset) -> Any:
        """Share of seeds that recover, the certified cells, and the threshold at radius zero."""
        fig, axis = figure.subplots(aspect=0.85)
        recovered = (results.error < 1.0).mean("seed").transpose("noise_rate", "radius")
        certified = (results.bound < 1.0).mean("seed").transpose("noise_rate", "radius")
        rates, radii = np.array(self.noise_rates), np.arange(len(self.radii))
        middles = (rates[1:] + rates[:-1]) / 2
        edges = np.concatenate([[1.5 * rates[0] - rates[1] / 2], middles, [1.5 * rates[-1] - rates[-2] / 2]])
        grid = (np.arange(len(radii) + 1) - 0.5, edges)
        mesh = axis.pcolormesh(*grid, recovered, cmap="cividis", vmin=0, vmax=1, edgecolors="white", linewidth=0.3)
        bar = fig.colorbar(mesh, ax=axis, label=f"share of seeds that recover (of {results.sizes['seed']})")
        bar.ax.tick_params(labelsize="x-small")
        everywhere = np.argwhere(certified.values == 1)
        axis.plot(radii[everywhere[:, 1]], rates[everywhere[:, 0]], "o", color="white", mec="black", ms=4,
                  label=f"certified at width {self.width} (C9), all seeds")  # fmt: skip
        rows = (recovered.values >= 0.5).sum(axis=0)  # recovery is monotone in the noise rate up to chance
        axis.stairs(edges[rows], grid[0], baseline=None, color=figure.COLOURS[2], linewidth=2,
                    label="measured frontier (half of the seeds)")  # fmt: skip
        sharp = label_noise.sharp_threshold([-1.0, 1.0])
        axis.axhline(sharp, color=figure.COLOURS[1], linestyle="--", label="sharp threshold at radius 0 (C1)")
        axis.set_xticks(radii, [f"{radius:g}" for radius in self.radii])
        axis.tick_params(axis="x", labelrotation=45)
        axis.set(xlabel=r"cluster radius $\varepsilon_0$ [input norm]", ylabel=r"noise rate $\rho$ [share of labels]")
        axis.spines[:].set_visible(False)
        fig.legend(loc="outside upper left", ncols=1)
        return fig

    def verdicts(self, results: xarray.Dataset) -> Verdicts:
        """Certified cells recover; perfect clusters at the threshold are lost. Every cell and seed is a point."""
        half = 1  # labels -1 and +1
        error = Estimate.computed(results.error.values, relative=1e-9, method="float64 gradient descent")
        bound = Estimate.computed(results.bound.values, relative=1e-9, method="float64 recursion")
        perfect = results.sel(radius=results.radius == 0)
        lost = Estimate.computed(perfect.error.values, relative=1e-9, method="float64 gradient descent")
        rate = Estimate.exact(perfect.realised.values)
        rise = Estimate.computed(perfect.rise.values, error=1e-9, method="float64 gradient descent")
        settings = {"width": self.width, "trained_width": self.trained_width, "seeds": results.seed.values}
        return Verdicts(
            [
                CERTIFIED.check(error=error, bound=bound, half=half, settings=settings),
                LOST.check(
                    error=lost,
                    half=half,
                    rate=rate,
                    rise=rise,
                    threshold=Estimate.exact(label_noise.sharp_threshold([-1.0, 1.0])),
                    settings=settings,
                ),
            ]
        )


SIMULATION = PhaseDiagram
if __name__ == "__main__":
    sys.exit(main(PhaseDiagram))
