"""Two clusters with noisy labels: descent fits the truth first and the noise last.

    python -m simulations.early_stopping --width 4096 --noise-rate 0.3 --seeds 5

Inputs lie in two balls of radius 1/2 around unit centres at least 1 apart; labels 0 and 1, of which `noise_rate` are
redrawn. True-label accuracy rises to one within a hundred steps, stays, and falls as the noise is fitted: the turn.
The theorems speak of unit inputs and small radii; here they are out of scope, and the effect is there all the same.
"""

import sys
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import sympy as sp
import xarray

from theory import activations, checks, descent, label_noise, networks, seeding
from theory.claim import Claim, symbols
from theory.estimate import Estimate
from theory.lab import figure
from theory.lab.command import main
from theory.lab.simulation import Simulation
from theory.verdict import Verdicts

_accuracy, _early, _steps = symbols("accuracy early steps")
_ACCURACY = {"accuracy": "share of true labels that the network reproduces [1]"}
_STEPS = {"steps": "gradient steps made [1]"}
_REFERENCE = "a regularity of this simulation, no theorem"
RISE = Claim(
    "turn.rise",
    "early stopping recovers at least 98% of the true labels",
    sp.Ge(_accuracy, sp.Rational(98, 100), evaluate=False),
    _ACCURACY,
    reference=_REFERENCE,
)
TURN = Claim(
    "turn.turn",
    "training on loses true labels again",
    sp.Lt(_accuracy, _early, evaluate=False),
    {**_ACCURACY, **_STEPS, "early": "the same share at the early stop [1]"},
    hypotheses=[("the run is at least 1500 steps long", sp.Ge(_steps, 1500, evaluate=False))],
    reference=_REFERENCE,
)
FALL = Claim(
    "turn.fall",
    "at most 90% of the true labels survive long training",
    sp.Le(_accuracy, sp.Rational(90, 100), evaluate=False),
    {**_ACCURACY, **_STEPS},
    hypotheses=[("the run is at least 4500 steps long", sp.Ge(_steps, 4500, evaluate=False))],
    reference=_REFERENCE,
)


@dataclass(frozen=True)
class EarlyStopping(Simulation):
    """The two-cluster turn: accuracy on true and on observed labels along gradient descent."""

    name: ClassVar[str] = "early_stopping"
    quick_seconds: ClassVar[float] = 25

    width: int = 1000
    """number of hidden units, even (the initialisation is paired)"""
    dimension: int = 20
    """of the inputs"""
    per_cluster: int = 200
    """points in each of the two clusters"""
    noise_rate: float = 0.3
    """share of labels redrawn uniformly from {0, 1}: about half of them change"""
    ball: float = 0.5
    """radius of the clusters, not normalised to the sphere"""
    centre_distance: float = 1.0
    """least distance of the two unit centres"""
    activations: tuple[str, ...] = ("relu", "erf")
    """one panel each"""
    step_fraction: float = 0.9
    """step size as a share of 1/lambda_max of the initial kernel"""
    early: int = 80
    """the step at which an early stopper stops"""
    steps: int = 1500
    """the last step"""

    def validate(self) -> None:
        """Refuse what the run could not do."""
        checks.even("width", self.width)
        checks.integer("dimension", self.dimension, minimum=2)
        checks.integer("per_cluster", self.per_cluster, minimum=2)
        checks.number("noise_rate", self.noise_rate, 0, 1)
        checks.number("ball", self.ball, 0)
        checks.number("centre_distance", self.centre_distance, 0, 2)
        checks.number("step_fraction", self.step_fraction, 0, 2, open_low=True)
        checks.integer("steps", self.steps, minimum=1)
        checks.integer("early", self.early, minimum=1, maximum=self.steps)
        for name in self.activations:
            activations.get(name)

    @classmethod
    def full(cls) -> "EarlyStopping":
        """Five seeds, until the noise is fitted."""
        return cls(seeds=5, steps=4500)

    def data(self, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Inputs (n, d), true labels (n,) in {0, 1} and clusters (n,): exactly `per_cluster` points each."""
        draw = seeding.numpy_generator("two clusters", seed)
        while True:
            centres = _unit(draw.normal(size=(2, self.dimension)))
            if np.linalg.norm(centres[0] - centres[1]) >= self.centre_distance:
                break
        clusters = np.repeat([0, 1], self.per_cluster)
        X = centres[clusters] + self.ball * _unit(draw.normal(size=(len(clusters), self.dimension)))
        return X, clusters.astype(float), clusters

    def run(self, seed: int, progress: Any = None) -> xarray.Dataset:
        """One data set, one network per activation: accuracies and distance at the recorded steps."""
        X, truth, clusters = self.data(seed)
        labels = label_noise.corrupt(truth, self.noise_rate, "redraw", clusters=clusters, alphas=[0.0, 1.0], seed=seed)
        record = sorted({self.early, *np.unique(np.geomspace(1, self.steps, 80).astype(int))})
        curves: dict[str, list[np.ndarray]] = {"accuracy_true": [], "accuracy_observed": [], "distance": []}
        for number, activation in enumerate(self.activations):
            network = networks.TwoLayer.initialise(self.width, self.dimension, activation, paired=True, seed=seed)
            trajectory = descent.train(
                network,
                X,
                labels.y,
                step=self.step_fraction * descent.largest_step(network, X) / 2,
                steps=self.steps,
                record=record,
                truth=truth,
                clusters=clusters,
                alphas=[0.0, 1.0],
                progress=progress and _share(progress, number, len(self.activations), self.steps),
            )
            for name, rows in curves.items():
                rows.append(getattr(trajectory, name))
        return xarray.Dataset(
            {name: (("activation", "step"), np.array(rows)) for name, rows in curves.items()},
            {"activation": list(self.activations), "step": trajectory.steps},
        ).assign(changed=float(np.mean(labels.mask)))

    @figure.style()
    def figure(self, results: xarray.Dataset) -> Any:
        """One panel per activation: both accuracies against the step, the early stop marked."""
        fig, panels = figure.subplots(1, len(self.activations), sharey=True, squeeze=False)
        for panel, activation in zip(panels[0], self.activations, strict=True):
            shown = results.sel(activation=activation, step=results.step > 0).transpose("seed", "step", ...)
            figure.band(panel, shown.step.values, shown.accuracy_true.values, "true labels")
            figure.band(panel, shown.step.values, shown.accuracy_observed.values, "observed labels", linestyle="--")
            panel.axvline(self.early, color="0.6", linewidth=0.8)
            panel.annotate(
                f"stop at {self.early}", (self.early, 0.03), xycoords=("data", "axes fraction"),
                rotation=90, ha="right", va="bottom", color="0.4", fontsize="x-small",
            )  # fmt: skip
            panel.set(xscale="log", xlabel="gradient steps", title=f"{activation}, width {self.width}")
        panels[0][0].set(ylabel="training accuracy", ylim=(0.45, 1.03))
        panels[0][0].legend(loc="lower left")
        note = figure.seeds_note(results.sizes["seed"])
        fig.suptitle(f"{float(results.changed.mean()):.0%} of labels wrong; {note}", fontsize="small")
        return fig

    def verdicts(self, results: xarray.Dataset) -> Verdicts:
        """Accuracy at the early stop and at the end, every seed a point; accuracies are exact fractions of n."""
        verdicts = Verdicts()
        for activation in self.activations:
            curves = results.accuracy_true.sel(activation=activation)
            early = self._exact(curves.sel(step=self.early).values)
            last, steps = self._exact(curves.isel(step=-1).values), int(results.step[-1])
            settings = {"activation": activation, "width": self.width, "seeds": results.seed.values}
            verdicts += [
                RISE.check(accuracy=early, settings={**settings, "step": self.early}),
                TURN.check(accuracy=last, early=early, steps=steps, settings=settings),
                FALL.check(accuracy=last, steps=steps, settings=settings),
            ]
        return verdicts

    def _exact(self, accuracies: np.ndarray) -> Estimate:
        n = 2 * self.per_cluster
        return Estimate.exact(np.array([Fraction(round(value * n), n) for value in accuracies], dtype=object))


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _share(progress: Any, number: int, total: int, steps: int) -> Any:
    return lambda tau, _: progress((number + tau / steps) / total)


SIMULATION = EarlyStopping
if __name__ == "__main__":
    sys.exit(main(EarlyStopping))
