"""Where does recovery end? The same frontier twice: by bisection with few runs, and on the full grid with many.

    python -m simulations.phase_boundary --runs-per-point 40 --seeds 3

Cells are runs of `simulations.recovery`: over noise rate and cluster radius, does gradient descent pass by the true
labels? `theory.lab.frontier` bisects each row and adds seeds to a point until a sequential test settles whether
recovery is likelier than not. The full grid runs every point with as many seeds as bisection gives a point at most, and
tests each at that fixed number (Clopper-Pearson), at the same total level: so both state, with probability .95, between
which columns each row's frontier lies. The two share no run, their seeds are different ones.

What is judged is a regularity, and its form was chosen after seeing the full profile: "within one column of the full
grid's frontier" failed there in 2 of 18 rows, where several columns are open. Repetition 3 was run after the choice.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import sympy as sp
import xarray

from simulations.recovery import Recovery
from theory import checks, sequences
from theory.claim import Claim, symbols
from theory.estimate import Estimate
from theory.lab import figure, frontier
from theory.lab.command import main
from theory.lab.grid import Grid
from theory.lab.simulation import Cell, Simulation
from theory.verdict import Verdicts

SEARCHES = ("bisection", "full grid")
_SEEDS_APART = 10_000  # from one repetition to the next, for all its runs

_off, _noticed, _open, _left, _runs, _whole = symbols("off noticed open left runs whole")
_REFERENCE = "a regularity of this simulation, no theorem"
AGREE = Claim(
    "boundary.agree",
    "bisection puts the frontier within one column of what the full grid leaves open, or of its frontier if it is sure",
    sp.Le(_off, 1, evaluate=False),
    {
        "off": "distance of bisection's frontier to that range, in a row [columns]",
        "noticed": "rows found not to fall [1]",
    },
    hypotheses=[("no row was found not to fall", sp.Le(_noticed, 0, evaluate=False))],
    reference=_REFERENCE,
)
OPEN = Claim(
    "boundary.open",
    "bisection leaves at most half as many columns more open than the full grid, and one, on average over the rows",
    sp.Le(_open, sp.Rational(3, 2) * _left + 1, evaluate=False),
    {
        "open": "columns between which bisection does not decide, mean over rows [columns]",
        "left": "the same for the full grid [columns]",
        "noticed": "rows found not to fall [1]",
    },
    hypotheses=[("no row was found not to fall", sp.Le(_noticed, 0, evaluate=False))],
    reference=_REFERENCE + ": a test for all sample sizes at once decides later than one for the last alone",
)
FEWER = Claim(
    "boundary.fewer",
    "bisection takes at most half the runs of the full grid",
    sp.Le(_runs, _whole / 2, evaluate=False),
    {"runs": "runs of the bisection [1]", "whole": "runs of the full grid [1]"},
    reference=_REFERENCE,
)


@dataclass(frozen=True)
class PhaseBoundary(Simulation):
    """The frontier of recovery over noise rate and radius, by bisection and by the full grid."""

    name: ClassVar[str] = "phase_boundary"
    quick_seconds: ClassVar[float] = 15

    seeds: int = 1
    """repetitions of the whole comparison"""
    width: int = 64
    """number of hidden units, even"""
    dimension: int = 10
    """of the inputs"""
    per_cluster: int = 20
    """points in each of the two clusters: noise rates are multiples of its inverse"""
    activation: str = "softplus"
    steps: int = 60
    """last step of gradient descent"""
    records: int = 12
    """how many steps are recorded"""
    minimum_separation: float = 1.35
    """least distance of the centres: nearly orthogonal, since their random angle would blur the frontier"""
    noise_rates: tuple[float, ...] = (0.1, 0.25, 0.4)
    """rows, increasing: exact share of wrong labels in each cluster"""
    radii: tuple[float, ...] = tuple(round(0.1 * i, 1) for i in range(1, 13))
    """columns, increasing: distance of the points from their centre"""
    runs_per_point: int = 20
    """seeds of each point of the full grid, and the most that bisection gives a point"""
    alpha: float = 0.05
    """probability that any point is settled on the wrong side, of bisection and of the full grid"""

    def validate(self) -> None:
        """Refuse what the runs could not do."""
        for name in ("noise_rates", "radii"):
            values = getattr(self, name)
            if len(values) < 2 or list(values) != sorted(set(values)):
                checks.fail(name, "at least two values, increasing", values, "sort them, and name each once")
        checks.number("alpha", self.alpha, 0, 1, open_low=True, open_high=True)
        fewest = sequences.fewest(alpha=self.alpha / (len(self.noise_rates) * len(self.radii)))
        checks.integer("runs_per_point", self.runs_per_point, minimum=fewest, maximum=_SEEDS_APART // 2)
        self._grid(0)

    @classmethod
    def full(cls) -> "PhaseBoundary":
        """Three repetitions on a grid three times as fine, wider networks, longer descent."""
        rates, radii = (round(0.05 * i, 2) for i in range(1, 10)), (round(0.04 * i, 2) for i in range(1, 33))
        return cls(seeds=3, width=128, steps=100, noise_rates=tuple(rates), radii=tuple(radii), runs_per_point=40)

    def run(self, seed: int, progress: Any = None) -> xarray.Dataset:
        """Both frontiers: `crossing` counts the columns before it, which lie between `after` and `before`."""
        first, whole = seed * _SEEDS_APART, len(self.noise_rates) * len(self.radii)
        found = frontier.trace(self._grid(first), _recovered, _compute, alpha=self.alpha)
        successes, seeds = np.zeros((2, len(self.noise_rates), len(self.radii)), dtype=int)
        for row in found.rows:
            for column, point in row.points.items():
                successes[*row.place, column], seeds[*row.place, column] = point.successes, point.seeds
        hits = self._full_grid(first + self.runs_per_point, progress)
        low, high = Estimate.proportion(hits, self.runs_per_point).interval(1 - self.alpha / whole)
        lines = {
            "crossing": ([row.crossing for row in found.rows], [self._border(row) for row in hits]),
            "after": ([row.last_likely + 1 for row in found.rows], [_last(row > 0.5) + 1 for row in low]),
            "before": ([row.first_unlikely for row in found.rows], [_first(row < 0.5) for row in high]),
        }
        plane = {"grid_successes": hits, "successes": successes, "runs_at": seeds}
        return xarray.Dataset(
            {
                **{name: (("noise_rate", "radius"), values) for name, values in plane.items()},
                **{name: (("search", "noise_rate"), np.array(values, dtype=float)) for name, values in lines.items()},
                "runs": ("search", [found.runs, found.runs_of_grid]),
                "noticed": len(found.contradictions),
            },
            {"search": list(SEARCHES), "noise_rate": list(self.noise_rates), "radius": list(self.radii)},
        )

    @figure.style()
    def figure(self, results: xarray.Dataset) -> Any:
        """The grid's shares, both frontiers, what bisection leaves open, and where it ran how much."""
        fig, axis = figure.subplots(aspect=0.9)
        hits = results.grid_successes.sum("seed").transpose("noise_rate", "radius")
        radii, rates = (_edges(np.array(values)) for values in (self.radii, self.noise_rates))
        runs = self.runs_per_point * results.sizes["seed"]
        mesh = axis.pcolormesh(radii, rates, hits / runs, cmap="cividis", vmin=0, vmax=1, ec="white", linewidth=0.2)
        fig.colorbar(mesh, ax=axis, label=f"share that recovers, of {runs} runs a point")
        spent = results.runs_at.mean("seed").transpose("noise_rate", "radius").values
        rows, columns = np.nonzero(spent)
        size = 300 / len(self.radii) * spent / self.runs_per_point  # the largest just fit their columns
        axis.scatter(np.array(self.radii)[columns], np.array(self.noise_rates)[rows], s=size[rows, columns],
                     color="white", edgecolors="black", linewidths=0.5, zorder=3,
                     label="bisection ran here (area: how often)")  # fmt: skip
        at, heights = np.arange(len(radii)), np.diff(rates)
        looks = {SEARCHES[1]: (1, "--", 2.4, -0.1), SEARCHES[0]: (2, "-", 1.4, 0.1)}
        for search, (colour, dashes, width, aside) in looks.items():
            for number in range(results.sizes["seed"]):
                one = results.sel(search=search).isel(seed=number)
                crossing, after, before = (np.interp(one[name], at, radii) for name in ("crossing", "after", "before"))
                axis.stairs(crossing, rates, orientation="horizontal", baseline=None, linestyle=dashes, linewidth=width,
                            color=figure.COLOURS[colour], label=None if number else f"frontier, {search}")  # fmt: skip
                axis.hlines(np.array(self.noise_rates) + aside * heights, after, before, linewidth=1.2, zorder=4,
                            color=figure.COLOURS[colour], label=None if number else f"left open, {search}")  # fmt: skip
        axis.set(xlabel=r"cluster radius $\epsilon_0$ [input norm]", ylabel=r"noise rate $\rho$ [share of labels]")
        axis.set_yticks(self.noise_rates)
        few, many = results.runs.mean("seed").values
        repeated = f", mean of {results.sizes['seed']} repetitions" if results.sizes["seed"] > 1 else ""
        numbers = f"{few:.0f} runs by bisection, {many:.0f} on the full grid"
        axis.set_title(f"{numbers}:\n{1 - few / many:.0%} saved{repeated}", fontsize="small")
        axis.spines[:].set_visible(False)
        fig.legend(loc="outside lower center", ncols=2)
        return fig

    def verdicts(self, results: xarray.Dataset) -> Verdicts:
        """Agreement in every row of every repetition, what each leaves open, and the number of runs."""
        ours, whole = (results.sel(search=search).transpose("seed", "noise_rate", ...) for search in SEARCHES)
        off = np.maximum(np.maximum(whole.after - ours.crossing, ours.crossing - whole.before), 0).values
        left, most = ((one.before - one.after).mean("noise_rate").values for one in (ours, whole))
        noticed = results.noticed.values
        settings = {"width": self.width, "runs_per_point": self.runs_per_point, "columns": len(self.radii)}
        exact = Estimate.exact
        return Verdicts(
            [
                AGREE.check(off=exact(off), noticed=exact(noticed[:, None]), settings=settings),
                OPEN.check(open=left, left=most, noticed=exact(noticed), settings=settings),
                FEWER.check(runs=exact(ours.runs.values), whole=exact(whole.runs.values), settings=settings),
            ]
        )

    def _full_grid(self, first: int, progress: Any) -> np.ndarray:
        """How many runs of each point recover, (rates, radii)."""
        hits = np.zeros((len(self.noise_rates), len(self.radii)), dtype=int)
        cells = list(self._grid(first).cells())
        for start in range(0, len(cells), 100):
            part = cells[start : start + 100]
            for (place, _), results in zip(part, _compute([cell for _, cell in part]), strict=True):
                hits[place[:2]] += _recovered(results)
            if progress:
                progress((start + len(part)) / len(cells))
        return hits

    def _border(self, hits: np.ndarray) -> float:
        return frontier.border(hits.tolist(), [self.runs_per_point] * len(hits))

    def _grid(self, first: int) -> Grid:
        same = ("width", "dimension", "per_cluster", "activation", "steps", "records", "minimum_separation")
        settings = {name: getattr(self, name) for name in same}
        base = Recovery(first_seed=first, seeds=self.runs_per_point, **settings)
        return Grid(base, {"noise_rate": self.noise_rates, "radius": self.radii})


def _recovered(results: Any) -> bool:
    return bool(results.recovered)


def _compute(cells: Sequence[Cell]) -> list[Any]:
    found = dict(Recovery.run_together(cells))
    return [found[number] for number in range(len(cells))]


def _last(true: np.ndarray) -> int:
    """Number of the last column where it is; -1: none."""
    return int(np.flatnonzero(true)[-1]) if true.any() else -1


def _first(true: np.ndarray) -> int:
    """Number of the first column where it is; the number of columns: none."""
    return int(np.flatnonzero(true)[0]) if true.any() else len(true)


def _edges(values: np.ndarray) -> np.ndarray:
    middles = (values[1:] + values[:-1]) / 2
    return np.concatenate([[2 * values[0] - middles[0]], middles, [2 * values[-1] - middles[-1]]])


SIMULATION = PhaseBoundary
if __name__ == "__main__":
    sys.exit(main(PhaseBoundary))
