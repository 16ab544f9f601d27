"""Early stopping, AUM and the kernel: three predictions made without training, set beside trained networks.

    python -m simulations.aum_link
    python -m simulations.aum_link --profile full

From the infinitely wide kernel of the inputs, the observed labels and the step size: (i) when to stop, (ii) how well
the area under the margin separates wrong labels from right ones after each epoch, (iii) until when it does. Measured on
two-layer networks that are trained by full-batch descent, on clusters with noisy labels and on digits (even against
odd). Claim A5 in paper_notes/pleiss2020.md; cf. Pleiss et al. (2020), Li, Soltanolkotabi & Oymak (2020).
"""

import sys
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import sympy as sp
import xarray

from simulations.noisy_images import over_seeds
from theory import activations, checks, clusterable, covariance, datasets, label_noise
from theory.claim import Claim, symbols
from theory.estimate import Estimate
from theory.lab import figure
from theory.lab.command import main
from theory.lab.simulation import Simulation
from theory.networks import TwoLayer
from theory.papers.pleiss2020 import link
from theory.verdict import Verdicts

Case = Literal["clusters", "digits"]
_REFERENCE = "a regularity of this simulation, no theorem"
_off, _ratio = symbols("off ratio")


def _within(id: str, title: str, what: str) -> Claim:
    relation = sp.Le(sp.Abs(sp.log(_ratio), evaluate=False), sp.log(sp.Rational(5, 4)), evaluate=False)
    return Claim(f"aum_link.{id}", title, relation, {"ratio": what}, reference=_REFERENCE)


WINDOW = _within(
    "window",
    "(i) the kernel predicts the end of the stopping window, within a quarter",
    "last step at which every output is within 1 of its true label, measured over predicted, geometric mean [1]",
)
STOP = _within(
    "stop",
    "(i) it predicts when to stop where there is no such window, within a quarter",
    "last step at which most training labels are recovered, measured over predicted, geometric mean over seeds [1]",
)
AUC = Claim(
    "aum_link.auc",
    "(ii) the kernel predicts the AUC of AUM after every epoch, within .03",
    sp.Le(_off, sp.Rational(3, 100), evaluate=False),
    {"off": "largest |AUC - predicted AUC| over the epochs, mean over seeds [1]"},
    reference=_REFERENCE,
)
UNTIL = _within(
    "until",
    "(iii) the kernel predicts the epoch beyond which AUM no longer separates, within a quarter",
    "last epoch at which the AUC is at least the level, measured over predicted, geometric mean over seeds [1]",
)


@dataclass(frozen=True)
class AumLink(Simulation):
    """Stopping, AUC of AUM and its end, predicted from the kernel and measured on trained networks."""

    name: ClassVar[str] = "aum_link"
    quick_seconds: ClassVar[float] = 20

    seeds: int = 4
    cases: tuple[Case, ...] = ("clusters", "digits")
    """clusterable data as in the theorems; digits, even against odd, which they do not cover"""
    noise_rate: float = 0.2
    """share of each cluster's (each class') labels that are wrong"""
    width: int = 1000
    """hidden units, even (the initialisation is paired, so that training starts at zero)"""
    activation: str = "erf"
    """of the network"""
    step_fraction: float = 0.9
    """step size as a share of 1/lambda_max of the infinitely wide kernel"""
    steps: int = 1500
    """epochs on the clusters; training is full-batch, so an epoch is a step"""
    digit_steps: int = 500
    """epochs on the digits"""
    records: int = 40
    """epochs at which the curves are drawn"""
    level: float = 0.99
    """AUM separates while its AUC is at least this share of the largest predicted one"""
    recovery: float = 0.98
    """a step is good to stop at while the share of recovered labels is at least this share of the largest predicted"""
    clusters: int = 4
    """clusters of the clusterable set"""
    per_cluster: int = 25
    """their points"""
    dimension: int = 10
    """of their inputs"""
    radius: float = 0.4
    """of the clusters"""
    digits: int = 200
    """training images"""

    def validate(self) -> None:
        """Refuse what the run could not do."""
        if not self.cases:
            checks.fail("cases", "clusters, digits, or both", "none", "name one")
        for case in self.cases:
            checks.choice("cases", case, ("clusters", "digits"))
        checks.number("noise_rate", self.noise_rate, 0, 0.5, open_low=True, open_high=True)
        checks.even("width", self.width)
        activations.get(self.activation)
        checks.number("step_fraction", self.step_fraction, 0, 2, open_low=True)
        checks.integer("records", self.records, minimum=2)
        for name in ("steps", "digit_steps"):
            checks.integer(name, getattr(self, name), minimum=self.records)
        for name in ("level", "recovery"):
            checks.number(name, getattr(self, name), 0, 1, open_low=True)
        checks.even("clusters", self.clusters)
        checks.integer("per_cluster", self.per_cluster, minimum=2)
        checks.integer("dimension", self.dimension, minimum=2)
        checks.number("radius", self.radius, 0, 2)
        checks.integer("digits", self.digits, 20, 1797)

    @classmethod
    def full(cls) -> "AumLink":
        """Wider networks, longer runs, more digits, eight seeds."""
        return cls(seeds=8, width=4000, steps=5000, digit_steps=1500, digits=400)

    def problem(self, case: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Inputs (n, d) of unit rows, true and observed labels -1, +1, (n,)."""
        if case == "clusters":
            data = clusterable.generate(
                self.clusters,
                2,
                self.dimension,
                per_cluster=self.per_cluster,
                radius=self.radius,
                minimum_separation=0.8,
                antipodal_separation=0.8,
                seed=seed,
            )
            return data.X, data.y, label_noise.corrupt(data, self.noise_rate, seed=seed).y
        images = datasets.load("digits", size=self.digits, seed=seed)
        rows = images.images.reshape(self.digits, -1)
        rows = rows - rows.mean(axis=0)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows, images.parity, label_noise.corrupt(images.parity, self.noise_rate, seed=seed).y

    def run(self, seed: int, progress: Any = None) -> xarray.Dataset:
        """Predicted and measured courses of every case: AUC and recovered share at the recorded epochs."""
        cells = []
        for number, case in enumerate(self.cases):
            X, truth, observed = self.problem(case, seed)
            kernel = covariance.neural_covariance(X, self.activation)
            step = self.step_fraction / float(np.linalg.eigvalsh(kernel)[-1])
            options: dict[str, Any] = {"step": step, "steps": self.length(case)}
            network = TwoLayer.initialise(self.width, X.shape[1], self.activation, paired=True, seed=seed)
            courses = [
                link.predict(kernel, truth, observed, **options),
                link.follow(network, X, truth, observed, **options),
            ]
            cells.append(self.compare(courses).assign(limit=link.limit_auc(kernel, truth, observed)))
            if progress is not None:
                progress((number + 1) / len(self.cases))
        return xarray.concat(cells, dim="case").assign_coords(case=list(self.cases))

    def length(self, case: str) -> int:
        """Number of epochs."""
        return self.digit_steps if case == "digits" else self.steps

    def compare(self, courses: list[link.Course]) -> xarray.Dataset:
        """A predicted and a measured course side by side."""
        epochs = spaced(courses[0].steps, self.records)
        every = np.arange(1, courses[0].steps + 1)
        recovered = [np.mean(course.outputs * course.truth > 0, axis=1) for course in courses]
        aucs = [course.aucs(epochs) for course in courses]
        # the level refers to what the kernel promises at its best, so that it can be asked of any data
        enough = self.level * float(aucs[0].max())
        stops = [
            float(np.max(every[share[1:] >= self.recovery * recovered[0].max()], initial=0)) for share in recovered
        ]
        until = [float(link.last_epoch(every, course.aucs(every), enough) or 0) for course in courses]
        windows = [[course.window.first or 0, course.window.last or 0] for course in courses]
        return xarray.Dataset(
            {
                "auc": (("source", "record"), np.array(aucs)),
                "recovered": (("source", "record"), np.array(recovered)[:, epochs]),
                "epoch": ("record", epochs),
                "stop": ("source", stops),
                "until": ("source", until),
                "window": (("source", "end"), np.array(windows, dtype=float)),
            },
            {"source": ["predicted", "measured"], "end": ["first", "last"]},
        )

    @figure.style()
    def figure(self, results: xarray.Dataset) -> Any:
        """One column per case: AUC of AUM above, recovered labels below; lines are predictions, dots networks."""
        fig, panels = figure.subplots(2, len(self.cases), sharex="col", squeeze=False, aspect=0.66)
        for column, case in enumerate(self.cases):
            shown = results.sel(case=case).transpose("seed", ...)
            epochs = shown.epoch.values[0]
            for row, (quantity, colour) in enumerate((("auc", 0), ("recovered", 1))):
                panel = panels[row][column]
                predicted, measured = (shown[quantity].sel(source=name).values for name in ("predicted", "measured"))
                figure.band(panel, epochs, predicted, "predicted from the kernel", color=figure.COLOURS[colour])
                panel.plot(epochs, measured.mean(axis=0), ".", color="black", markersize=3, label="networks, mean")
                mark = "until" if quantity == "auc" else "stop"
                for name, style in (("predicted", "-"), ("measured", ":")):
                    at = _geometric(shown[mark].sel(source=name).values)
                    panel.axvline(at, color="0.6" if name == "predicted" else "black", linewidth=0.8, linestyle=style)
                panel.set_xscale("log")
            limit = float(shown.limit.mean())
            panels[0][column].axhline(
                limit, color=figure.COLOURS[2], linewidth=0.8, linestyle="--", label="predicted, trained for ever"
            )
            panels[0][column].set(title=f"{case}, width {self.width}", ylim=(None, 1.005))
            panels[1][column].set_ylim(None, 1.01)
            panels[1][column].set_xlabel("epochs (full-batch steps)")
        panels[0][0].set_ylabel("AUC of AUM")
        panels[1][0].set_ylabel("training labels recovered")
        panels[0][0].legend(loc="center left")
        seeds = figure.seeds_note(results.sizes["seed"])
        note = f"{self.noise_rate:.0%} of labels wrong; line and band: prediction, {seeds}"
        rules = (
            "vertical lines: end of separation (top), last good step to stop (bottom), grey predicted, dotted measured"
        )
        fig.suptitle(f"{note}\n{rules}", fontsize="small")
        return fig

    def verdicts(self, results: xarray.Dataset) -> Verdicts:
        """The three predictions for every case, then claim A5 itself on the first seed."""
        verdicts = Verdicts()
        for case in self.cases:
            cells = results.sel(case=case).transpose("seed", ...)
            off = np.abs(cells.auc.sel(source="measured") - cells.auc.sel(source="predicted")).max("record")
            settings = {"case": case, "width": self.width, "noise": self.noise_rate}
            windows = cells.window.sel(end="last")
            if bool((windows > 0).any()):
                verdicts.append(WINDOW.check(ratio=self.ratio(windows, self.length(case)), settings=settings))
            verdicts += [
                STOP.check(ratio=self.ratio(cells.stop, self.length(case)), settings=settings),
                AUC.check(off=over_seeds(off.values, low=0.0), settings=settings),
                UNTIL.check(ratio=self.ratio(cells.until, self.length(case)), settings=settings),
            ]
            verdicts += self.theorem(case, int(results.seed[0]))
        return verdicts

    def ratio(self, steps: xarray.DataArray, last: int) -> Estimate:
        """Measured over predicted step, geometric mean over seeds with the t interval of the logarithms.

        Seeds on which the run ended first, or never got there, can't be compared and are left out.
        """
        measured, predicted = (steps.sel(source=name).values for name in ("measured", "predicted"))
        known = (np.minimum(measured, predicted) > 0) & (np.maximum(measured, predicted) < last)
        if known.sum() < 2:
            return Estimate.enclosure(0.0, np.inf, method="fewer than two seeds to compare: no interval")
        logs = np.log(measured[known] / predicted[known])
        if np.ptp(logs) == 0:
            return Estimate.computed(float(np.exp(logs[0])))
        low, high = Estimate.mean(logs).interval(0.995)
        method = f"t interval of logarithms at level .995, {known.sum()} of {len(known)} seeds"
        return Estimate.enclosure(float(np.exp(low)), float(np.exp(high)), method=method)

    def theorem(self, case: Case, seed: int) -> Verdicts:
        """A5 on one network, predicted with its own kernel at W0, for the first 200 steps."""
        X, truth, observed = self.problem(case, seed)
        network = TwoLayer.initialise(self.width, X.shape[1], self.activation, paired=True, seed=seed)
        kernel = covariance.empirical_kernel(X, network)
        step = self.step_fraction / float(np.linalg.eigvalsh(kernel)[-1])
        options: dict[str, Any] = {"step": step, "steps": min(200, self.length(case))}
        course = link.follow(network, X, truth, observed, **options)
        settings = {"case": case, "width": self.width, "kernel": "at W0"}
        return link.check_link(course, link.predict(kernel, truth, observed, **options), settings=settings, seed=seed)


def spaced(last: int, count: int) -> np.ndarray:
    """(count,) distinct whole numbers from 1 to `last`, about evenly spaced in their logarithm.

    Example:
        >>> spaced(100, 5).tolist()
        [1, 3, 10, 32, 100]
    """
    ideal, place = np.geomspace(1, last, count).round().astype(int), np.arange(count)
    return np.minimum(np.maximum.accumulate(ideal - place) + place, last - place[::-1])


def _geometric(values: np.ndarray) -> float:
    return float(np.exp(np.log(np.maximum(values, 1)).mean()))


SIMULATION = AumLink
if __name__ == "__main__":
    sys.exit(main(AumLink))
