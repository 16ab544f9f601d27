"""The Jacobian of clusterable data is bimodal, and that is where early stopping lives.

    python -m simulations.spectrum --width 4096 --radii 0 0.02 0.1 --seeds 5

Left: singular values of the Jacobian at initialisation: K large ones, the rest of the order of the cluster radius.
Middle: how much of the true labels and of the label noise lies in the information space (the K leading left singular
vectors), at initialisation and after training. Right: the residual's energy in both spaces along descent: the
information part is gone in a few steps, the nuisance part, which is mostly noise, stays for thousands.
"""

import sys
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import sympy as sp
import xarray

from theory import activations, checks, clusterable, descent, label_noise, networks, spectrum
from theory.claim import Claim, symbols
from theory.covariance import empirical_kernel, jacobian
from theory.estimate import Estimate
from theory.lab import figure
from theory.lab.command import main
from theory.lab.simulation import Simulation
from theory.papers.li2020 import nearby
from theory.verdict import Verdicts

_truth, _noise = symbols("truth noise")
ALIGNED = Claim(
    "spectrum.aligned",
    "the true labels lie in the information space more than the noise does",
    sp.Gt(_truth, _noise, evaluate=False),
    {
        "truth": "share of the true labels' energy in the information space [1]",
        "noise": "share of the label noise's energy there [1]",
    },
    reference="a regularity of this simulation, no theorem",
)


@dataclass(frozen=True)
class Spectrum(Simulation):
    """Singular values of the Jacobian, and the energy of labels and residual in its two spaces."""

    name: ClassVar[str] = "spectrum"
    quick_seconds: ClassVar[float] = 15

    seeds: int = 4
    """number of data sets and networks"""
    width: int = 2000
    """number of hidden units, even (the initialisation is paired)"""
    dimension: int = 20
    """of the inputs"""
    clusters: int = 6
    """number K of clusters: so many singular values should be large"""
    classes: int = 3
    """number of label values"""
    per_cluster: int = 15
    """points in each cluster"""
    noise_rate: float = 0.2
    """exact share of wrong labels in each cluster"""
    radii: tuple[float, ...] = (0.0, 0.03, 0.3)
    """cluster radii of the left panel; the other panels use the last one"""
    minimum_separation: float = 0.8
    """least distance of two centres, and of each from the others' antipodes"""
    activation: str = "softplus"
    """of the hidden units"""
    steps: int = 1500
    """of gradient descent, at 0.9/lambda_max of the initial kernel"""

    def validate(self) -> None:
        """Refuse what the run could not do."""
        checks.even("width", self.width)
        checks.integer("per_cluster", self.per_cluster, minimum=2)
        checks.integer("clusters", self.clusters, minimum=2)
        checks.integer("classes", self.classes, minimum=2, maximum=self.clusters)
        checks.integer("steps", self.steps, minimum=1)
        checks.number("noise_rate", self.noise_rate, 0, 1)
        for radius in self.radii:
            checks.number("radii", radius, 0, 2)
        activations.get(self.activation)

    @classmethod
    def full(cls) -> "Spectrum":
        """Wider, longer, more seeds."""
        return cls(seeds=10, width=16384, steps=20_000)

    def data(self, radius: float, seed: int) -> clusterable.ClusterableData:
        """The clusterable set of one radius; the centres depend on the seed alone."""
        return clusterable.generate(
            self.clusters,
            self.classes,
            self.dimension,
            per_cluster=self.per_cluster,
            radius=radius,
            minimum_separation=self.minimum_separation,
            antipodal_separation=self.minimum_separation,
            seed=seed,
        )

    def network(self, seed: int) -> networks.TwoLayer:
        """The network at initialisation."""
        return networks.TwoLayer.initialise(self.width, self.dimension, self.activation, paired=True, seed=seed)

    def run(self, seed: int, progress: Any = None) -> xarray.Dataset:
        """Singular values for every radius; energies for the last one."""
        network = self.network(seed)
        values = []
        for radius in self.radii:
            data = self.data(radius, seed)
            values.append(spectrum.singular_values(jacobian(data.X, network)))
        labels = label_noise.corrupt(data, self.noise_rate, "exact", seed=seed)
        along = descent.train(
            network,
            data.X,
            labels.y,
            step=0.45 * descent.largest_step(network, data.X),
            steps=self.steps,
            record=60,
            progress=progress and (lambda tau, _: progress(tau / self.steps)),
        )
        shares = np.empty((2, 2))
        for column, at in enumerate((network, along.network)):
            parts = spectrum.split(empirical_kernel(data.X, at), rank=self.clusters)
            for row, vector in enumerate((labels.truth, labels.noise)):
                inside, outside = parts.energy(vector)
                shares[row, column] = inside / (inside + outside)
            if column == 0:
                energies = np.array([parts.energy(residual) for residual in along.residuals])
        return xarray.Dataset(
            {
                "singular": (("radius", "index"), np.array(values)),
                "share": (("part", "time"), shares),
                "energy": (("step", "space"), energies / energies[0].sum()),
            },
            {
                "radius": list(self.radii),
                "index": np.arange(1, len(values[0]) + 1),
                "part": ["true labels", "label noise"],
                "time": ["start", "end"],
                "step": along.steps,
                "space": ["information", "nuisance"],
            },
        )

    @figure.style()
    def figure(self, results: xarray.Dataset) -> Any:
        """Three panels: singular values, label energy, residual energy."""
        fig, (left, middle, right) = figure.subplots(1, 3, aspect=1.0)
        for number, radius in enumerate(self.radii):
            draws = results.singular.sel(radius=radius).transpose("seed", "index").values
            label = rf"$\varepsilon_0$ = {radius:g}" + (" (rest: 0)" if radius == 0 else "")
            draws = np.where(draws > 1e-10 * draws.max(), draws, np.nan)  # zero but for rounding
            left.plot(results.index, np.median(draws, axis=0), figure.MARKERS[number], ms=2.5, label=label)
        left.axvline(self.clusters + 0.5, color="0.6", linewidth=0.8)
        left.annotate(f"K = {self.clusters}", (self.clusters + 3, 0.95), xycoords=("data", "axes fraction"),
                      color="0.4", fontsize="x-small")  # fmt: skip
        left.set(yscale="log", xlabel="index", ylabel="singular value of J(W₀)", title="Jacobian (median of seeds)")
        left.legend(loc="lower right", markerscale=1.5)
        left.set_ylim(bottom=1e-5)

        positions = np.arange(2)
        for number, time in enumerate(("start", "end")):
            draws = results.share.sel(time=time).transpose("seed", "part").values
            mean = draws.mean(axis=0)
            errors = None
            if len(draws) > 1:
                low, high = Estimate.mean(draws).interval(figure.BAND_LEVEL)
                errors = np.array([mean - low, high - mean])
            middle.bar(positions + 0.36 * (number - 0.5), mean, 0.34, yerr=errors, capsize=2, label=f"at the {time}",
                       color=figure.COLOURS[number], error_kw={"linewidth": 0.8})  # fmt: skip
        middle.set_xticks(positions, results.part.values)
        middle.set(ylabel="share of energy in the\ninformation space", ylim=(0, 1.35), title="labels")
        middle.legend(loc="upper right", ncols=2, columnspacing=0.8)

        for number, space in enumerate(("information", "nuisance")):
            shown = results.energy.sel(space=space, step=results.step > 0).transpose("seed", "step")
            figure.band(right, shown.step.values, shown.values, space, geometric=True, linestyle=("-", "--")[number])
        right.set(xscale="log", yscale="log", xlabel="gradient steps", ylabel="residual energy / initial",
                  title="residual (geometric mean)")  # fmt: skip
        right.legend(loc="center right")
        fig.suptitle(
            figure.seeds_note(results.sizes["seed"]) + rf"; middle and right: $\varepsilon_0$ = {self.radii[-1]:g}",
            fontsize="small",
        )
        return fig

    def verdicts(self, results: xarray.Dataset) -> Verdicts:
        """Claim C5 at every radius and seed, measured afresh; the labels' alignment at the start."""
        verdicts = Verdicts()
        for seed in results.seed.values.tolist():
            sets = [self.data(radius, seed) for radius in self.radii if radius > 0]  # C5 asks for a positive radius
            if sets:
                settings = {"radii": [data.radius for data in sets], "width": self.width}
                verdicts += nearby.C5.check(sets, self.network(seed), settings=settings, seed=seed)
        start = results.share.sel(time="start")
        truth, noise = (
            Estimate.computed(start.sel(part=part).values, relative=1e-9) for part in ("true labels", "label noise")
        )
        settings = {"width": self.width, "seeds": results.seed.values}
        verdicts.append(ALIGNED.check(truth=truth, noise=noise, settings=settings))
        return verdicts


SIMULATION = Spectrum
if __name__ == "__main__":
    sys.exit(main(Spectrum))
