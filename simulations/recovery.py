"""One training run: does gradient descent pass by the true labels before it fits the wrong ones?

    python -m simulations.recovery --radius 0.3 --noise-rate 0.4 --seeds 8

Two clusters with labels -1 and +1. A run recovers if at some recorded step after the start every output is nearer its
true label than delta/2 = 1. Every setting is a number, so that a sweep can vary each of them; `theory.lab.frontier`
finds where recovery ends.
"""

import sys
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import sympy as sp
import torch
import xarray

from theory import activations, checks, clusterable, descent, ensemble, label_noise, networks
from theory.claim import Claim, symbols
from theory.estimate import Estimate
from theory.lab import figure
from theory.lab.command import main
from theory.lab.simulation import Cost, Simulation
from theory.trajectory import Trajectory, schedule
from theory.verdict import Verdicts

HALF = 1.0
"""delta/2 for labels -1 and +1"""
_TIE = 1e-9  # labels; at exactly half wrong labels the outputs stay at zero, a tie up to rounding
# what else takes time, in operations that take as long: measured, float64 on a CPU
_PER_UNIT = {"relu": 27, "tanh": 170, "softplus": 310, "gelu": 320, "erf": 370}
_PER_RUN, _PER_RECORD, _PER_ENTRY = 3e8, 6e6, 400  # the last for each weight
_SOON = 4e9  # operations, a tenth of a second: results may wait so long for others that share the start of a thread

_error, _half, _radius, _rate, _threshold = symbols("error half radius rate threshold")
_rise, _last, _time = symbols("rise last time")
_ERROR = {"error": "least sup error to the true labels after the start [label]"}
_AT_ZERO = {"radius": "of the clusters [input norm]", "rate": "least share of wrong labels in a cluster [1]"}
_SHARP = {"half": "half the label separation [label]", "threshold": "share at which a mean label changes sign [1]"}
_PERFECT = ("inputs of a cluster coincide", sp.Eq(_radius, 0))
LOST = Claim(
    "recovery.lost",
    "perfect clusters with at least the sharp share of wrong labels are lost at every step",
    sp.Ge(_error, _half, evaluate=False),
    {
        **_ERROR,
        **_AT_ZERO,
        **_SHARP,
        "rise": "largest loss after the start, less that of the start [label^2]",
    },
    hypotheses=[
        _PERFECT,
        ("the share is reached or passed in each", sp.Ge(_rate, _threshold, evaluate=False)),
        ("the loss does not exceed that of the start", sp.Le(_rise, 0, evaluate=False)),
    ],
    reference="derived",
    proof="paper_notes/li2020.md#c1",
)
KEPT = Claim(
    "recovery.kept",
    "perfect clusters below the sharp share are recovered",
    sp.Lt(_error, _half, evaluate=False),
    {**_ERROR, **_AT_ZERO, **_SHARP},
    hypotheses=[_PERFECT, ("the share is not reached", sp.Lt(_rate, _threshold, evaluate=False))],
    reference="a regularity of this simulation; C1 speaks of the limit, C2 of networks wide enough",
)
AWAY = Claim(
    "recovery.away",
    "clusters with a radius: long descent learns their noise, and ends farther from the true labels than it was",
    sp.Gt(_last, _error, evaluate=False),
    {**_ERROR, **_AT_ZERO, "last": "sup error at the last step [label]", "time": "steps, times eta lambda_max [1]"},
    hypotheses=[
        ("the clusters have a radius", sp.Ge(_radius, sp.Rational(1, 10), evaluate=False)),
        ("some labels are wrong", sp.Gt(_rate, 0, evaluate=False)),
        ("descent is long", sp.Ge(_time, 200, evaluate=False)),
    ],
    reference="a regularity of this simulation, no theorem",
)


@dataclass(frozen=True)
class Recovery(Simulation):
    """Sup error to the true labels along gradient descent on two noisy clusters, one run for each seed."""

    name: ClassVar[str] = "recovery"
    quick_seconds: ClassVar[float] = 6

    seeds: int = 4
    width: int = 512
    """number of hidden units, even (the initialisation is paired)"""
    dimension: int = 20
    """of the inputs"""
    per_cluster: int = 100
    """points in each of the two clusters"""
    noise_rate: float = 0.3
    """exact share of wrong labels in each cluster, rounded down to whole points"""
    radius: float = 0.3
    """distance of every point from its centre"""
    minimum_separation: float = 1.0
    """least distance of the two centres, and of each from the other's antipode"""
    activation: str = "softplus"
    step_fraction: float = 0.9
    """step size as a share of 1/lambda_max of the initial kernel"""
    steps: int = 1000
    """the last step"""
    records: int = 60
    """how many steps are recorded, evenly in log(1 + step)"""
    device: str = "cpu"
    """cpu or cuda; the data are the same, the numbers differ in their last digits"""

    def validate(self) -> None:
        """Refuse what the run could not do."""
        checks.even("width", self.width)
        checks.integer("dimension", self.dimension, minimum=2)
        checks.integer("per_cluster", self.per_cluster, minimum=1)
        checks.number("noise_rate", self.noise_rate, 0, 1)
        checks.number("radius", self.radius, 0, 2)
        checks.number("minimum_separation", self.minimum_separation, 0, 2**0.5)
        checks.number("step_fraction", self.step_fraction, 0, open_low=True)
        schedule(self.records, checks.integer("steps", self.steps, minimum=1))
        activations.get(self.activation)
        checks.choice("device", self.device.partition(":")[0], ("cpu", "cuda"))

    @classmethod
    def full(cls) -> "Recovery":
        """Twenty seeds."""
        return cls(seeds=20)

    def run(self, seed: int, progress: Any = None) -> xarray.Dataset:
        """One run: sup error and distance at the recorded steps, the least of that error and its step.

        Raises:
            Diverged: the step was too long.
        """
        problem = self._problem(seed)
        report = None if progress is None else lambda tau, _: progress(tau / self.steps)
        along = descent.train(**problem.alone, **self._schedule, progress=report)
        return self._results(problem, along)

    def shapes(self) -> Hashable:
        """Runs that share these can go in one launch on a GPU."""
        network = (self.width, self.dimension, self.activation)
        return (*network, self.per_cluster, self.steps, self.records, self.device)

    @classmethod
    def run_together(cls, cells: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """A run for each of torch's threads at a time, more if they are short; on a GPU, all of equal `shapes`."""
        groups: dict[Hashable, list[int]] = {}
        for number, (simulation, _) in enumerate(cells):
            groups.setdefault(simulation.shapes(), []).append(number)
        for numbers in groups.values():
            simulation, _ = cells[numbers[0]]
            at_once = len(numbers)
            if simulation.device == "cpu":
                at_once = max(torch.get_num_threads(), int(_SOON / simulation.cost().operations))
            for first in range(0, len(numbers), at_once):
                yield from _side_by_side({i: cells[i] for i in numbers[first : first + at_once]})

    def cost(self) -> Cost:
        """Operations of the descent, and what the activation, records and start take; float64 arrays."""
        n, k, d = 2 * self.per_cluster, self.width, self.dimension
        descended = self.steps * n * k * (4 * d + _PER_UNIT.get(self.activation, 310))
        recorded = self.records * (_PER_RECORD + k * d * (2 * d + _PER_ENTRY))
        started = _PER_RUN + 4 * _PER_ENTRY * k * d + n**2 * (2 * k + 5 * n)
        held = 8 * (6 * k * d + n * k + 4 * n**2 + 4 * self.records * n)
        return Cost(descended + recorded + started, held)

    @property
    def _schedule(self) -> dict[str, Any]:
        return {"steps": self.steps, "record": self.records}

    def _problem(self, seed: int) -> "_Problem":
        """Data, labels, network and step. On one thread: the step's last bit may not depend on how many there are."""
        if self.device != "cpu" and not torch.cuda.is_available():
            checks.fail("device", "cpu on this machine, which has no CUDA device", self.device, "leave --device out")
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            separation = self.minimum_separation
            data = clusterable.generate(
                2,
                2,
                self.dimension,
                per_cluster=self.per_cluster,
                radius=self.radius,
                spread="boundary",
                minimum_separation=separation,
                antipodal_separation=separation,
                seed=seed,
            )
            labels = label_noise.corrupt(data, self.noise_rate, "exact", seed=seed)
            network = networks.TwoLayer.initialise(self.width, self.dimension, self.activation, paired=True, seed=seed)
            step = self.step_fraction * descent.largest_step(network, data.X) / 2
        finally:
            torch.set_num_threads(threads)
        return _Problem(network.to(self.device), data.X, labels, step)

    def _results(self, problem: "_Problem", along: Trajectory) -> xarray.Dataset:
        later = along.sup_error[1:]  # f_0 = 0 is at delta/2 from every label
        best = int(later.argmin()) + 1
        scalars = {
            "error": later.min(),
            "recovered": later.min() < HALF - _TIE,
            "at": along.steps[best],
            "realised": problem.labels.shares.min(),
        }
        curves = {"sup_error": along.sup_error, "loss": along.loss, "distance": along.distance}
        return xarray.Dataset(
            {**scalars, **{name: ("step", curve) for name, curve in curves.items()}}, {"step": along.steps}
        )

    @figure.style()
    def figure(self, results: xarray.Dataset) -> Any:
        """Sup error along descent, a line for each seed, its least value marked, and delta/2."""
        fig, axis = figure.subplots()
        steps, curves = results.step.values, results.sup_error.transpose("seed", "step").values
        axis.axhline(HALF, color="black", linestyle="--", label=r"$\delta/2$: below it every label is recovered")
        for number, curve in enumerate(curves):
            axis.plot(steps[1:], curve[1:], color=figure.COLOURS[0], linewidth=0.8, alpha=0.7,
                      label="each seed" if number == 0 else None)  # fmt: skip
        axis.plot(results["at"], results.error, figure.MARKERS[0], color=figure.COLOURS[1], markersize=3.5,
                  label="least")  # fmt: skip
        axis.set_xscale("log")
        axis.set_ylim(0, 1.05 * max(curves[:, 1:].max(), HALF))
        axis.set(xlabel=r"gradient step $\tau$", ylabel=r"sup error $\|f_\tau-\tilde y\|_\infty$ [label]")
        count, seeds = int(results.recovered.sum()), results.sizes["seed"]
        axis.set_title(
            rf"$\rho={self.noise_rate:g}$, $\epsilon_0={self.radius:g}$, width {self.width}: "
            f"recovered with {count} of {seeds} seeds",
            fontsize="small",
        )
        fig.legend(loc="outside lower center", ncols=2)
        return fig

    def verdicts(self, results: xarray.Dataset) -> Verdicts:
        """The sharp share at radius zero, and the noise learned elsewhere. Every seed is a point."""
        descended: dict[str, Any] = {"relative": 1e-9, "method": "float64 gradient descent"}
        error = Estimate.computed(results.error.values, **descended)
        last = Estimate.computed(results.sup_error.isel(step=-1).values, **descended)
        given: dict[str, Any] = {"radius": Estimate.exact(self.radius), "rate": Estimate.exact(results.realised.values)}
        sharp: dict[str, Any] = {
            "half": Estimate.exact(HALF),
            "threshold": Estimate.exact(label_noise.sharp_threshold([-1.0, 1.0])),
        }
        settings = {"width": self.width, "noise_rate": self.noise_rate, "radius": self.radius}
        loss, first = results.loss.isel(step=slice(1, None)).max("step").values, results.loss.isel(step=0).values
        rise = Estimate.computed(loss - first, error=1e-12 * first, method="float64 gradient descent")
        return Verdicts(
            [
                LOST.check(error=error, **given, **sharp, rise=rise, settings=settings),
                KEPT.check(error=error, **given, **sharp, settings=settings),
                AWAY.check(error=error, **given, last=last, time=self.steps * self.step_fraction, settings=settings),
            ]
        )


@dataclass(frozen=True, eq=False)
class _Problem:
    """What a run starts from."""

    network: networks.TwoLayer
    X: np.ndarray
    labels: label_noise.CorruptedLabels
    step: float

    @property
    def alone(self) -> dict[str, Any]:
        """For `descent.train`."""
        labels = self.labels
        return {"network": self.network, "X": self.X, "y": labels.y, "truth": labels.truth, "step": self.step}


def _side_by_side(cells: dict[int, Any]) -> Iterator[tuple[int, Any]]:
    """What becomes of cells of equal shapes that are trained at the same time."""
    problems: dict[int, _Problem] = {}
    for number, (simulation, seed) in cells.items():
        try:
            problems[number] = simulation._problem(seed)
        except Exception as error:
            yield number, error
    if not problems:
        return
    simulation, _ = cells[next(iter(problems))]
    rows = [problem.alone for problem in problems.values()]
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
    runs: Sequence[Trajectory | None]
    lost: dict[int, descent.Diverged] = {}
    try:
        runs = ensemble.train_many(columns.pop("network"), **columns, **simulation._schedule)
    except ensemble.SomeDiverged as some:
        runs, lost = some.trajectories, some.diverged
    for place, (number, problem) in enumerate(problems.items()):
        simulation, _ = cells[number]
        yield number, lost[place] if place in lost else simulation._results(problem, runs[place])


SIMULATION = Recovery
if __name__ == "__main__":
    sys.exit(main(Recovery))
