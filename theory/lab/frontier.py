"""Where an outcome stops happening, found with few runs: bisection, with a sequential test at each point.

A row of a `Grid` is what all its axes but the last fix; along the last axis, whose values are in order, the outcome is
likely at first and unlikely at the end. The frontier is where its probability falls below 1/2. At each point that the
bisection visits, seeds are added until a confidence sequence (`theory.sequences`) puts the probability on one side of
1/2, or the grid's seeds are used up; most points are settled by few. Points of all rows go to the computer together.

What is stated. Every point of the grid has the level alpha / (number of points), so with probability at least 1 - alpha
no point of any row is settled on the wrong side (Bonferroni). This holds whichever points are visited, and although
points share their seeds: which point is asked next may depend on results that are correlated with its own, so that a
union over the visited points alone would promise too much. Where the probability falls along the row, the frontier
then lies between the last column settled as likely and the first settled as unlikely. Columns in between that are not
settled are on the frontier, as far as the seeds tell.

When it pays. A grid whose points all get the most seeds that bisection gives one states as much, with several times the
runs: the narrower the fall and the more the columns, the more are saved. Where the fall takes several columns, many
points stay open; then a grid with few seeds a point estimates the frontier as well with no more runs, but states
nothing.

Bisection takes the fall for granted and sees few columns. What it can notice (a likely column to the right of an
unlikely one, among those settled) is reported as a contradiction; `ends=True` also looks at the first and the last
column of every row, which finds rows that rise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from theory import checks, sequences
from theory.lab.grid import Grid
from theory.lab.simulation import Cell

Compute = Callable[[Sequence[Cell]], Sequence[Any]]

MORE = 4
"""A point starts with the fewest seeds that can settle it; left open, it gets one more for each so many it has."""


@dataclass
class Point:
    """What is known of one setting.

    Attributes:
        successes: seeds with the outcome.
        seeds: that were run: the first of the grid's.
        side: "above" or "below" 1/2, or None: not settled.
    """

    successes: int = 0
    seeds: int = 0
    side: str | None = None


@dataclass(frozen=True)
class Row:
    """The frontier of one row.

    Attributes:
        place: numbers of the row's values on all axes but the last.
        last_likely: number of the last column of those settled as likely up to which bisection got; -1: none.
        first_unlikely: number of the first column settled as unlikely; the number of columns: none.
        points: what was found, by number of the column.
        contradiction: why the row does not fall; None where nothing was noticed.
    """

    place: tuple[int, ...]
    last_likely: int
    first_unlikely: int
    points: dict[int, Point]
    contradiction: str | None

    @property
    def crossing(self) -> float:
        """How many columns come before the frontier, as `border` estimates it, within what is settled."""
        columns = range(max(self.points) + 1)
        points = [self.points.get(column, Point()) for column in columns]
        found = border([point.successes for point in points], [point.seeds for point in points])
        return min(max(found, self.last_likely + 1), self.first_unlikely)


@dataclass(frozen=True)
class Frontier:
    """The frontier of every row.

    Attributes:
        grid: in which it was sought.
        rows: one for each combination of values of all axes but the last.
        alpha: probability that any point may be settled on the wrong side.
        rounds: how often `compute` was called.
    """

    grid: Grid
    rows: tuple[Row, ...]
    alpha: float
    rounds: int

    @property
    def runs(self) -> int:
        """How many cells were computed."""
        return sum(point.seeds for row in self.rows for point in row.points.values())

    @property
    def runs_of_grid(self) -> int:
        """How many cells the whole grid has."""
        return len(self.grid.points) * len(self.grid.seeds)

    @property
    def contradictions(self) -> tuple[str, ...]:
        """Of all rows."""
        return tuple(row.contradiction for row in self.rows if row.contradiction)


def border(successes: Sequence[int], seeds: Sequence[int]) -> float:
    """How many columns of a row come before the frontier: the step that disagrees with the fewest runs.

    Left of the step every run should have the outcome, right of it none. Where several steps are as good, as with
    columns that were not run, their middle.

    Args:
        successes: runs with the outcome in each column.
        seeds: runs in each column, 0 where there were none.

    Example:
        >>> border([5, 5, 3, 0], [5, 5, 5, 5]), border([5, 0, 0, 0], [5, 0, 0, 5])
        (3.0, 2.0)
    """
    hits, missed = np.asarray(successes), np.asarray(seeds) - np.asarray(successes)
    against = np.append(0, np.cumsum(missed)) + np.append(np.cumsum(hits[::-1])[::-1], 0)
    return float(np.flatnonzero(against == against.min()).mean())


def trace(
    grid: Grid,
    outcome: Callable[[Any], bool],
    compute: Compute,
    *,
    alpha: float = 0.05,
    ends: bool = False,
) -> Frontier:
    """Find the frontier of every row of a grid.

    Args:
        grid: its last axis has the columns in order; its seeds are the most that a point gets.
        outcome: results of a cell -> whether it happened.
        compute: cells -> their results in the same order. It is called once a round, with what all rows want.
        alpha: probability that any point of the grid may be settled on the wrong side.
        ends: whether to look at the first and last column of every row as well.

    Raises:
        InvalidInput: no axis, alpha outside (0, 1), or fewer seeds than can settle a point; before anything runs.
        RuntimeError: a cell that failed; what it raised is the cause.

    Example:
        >>> from simulations.clusters import Clusters
        >>> grid = Grid(Clusters(seeds=20), {"radius": (0.0, 0.1, 0.2, 0.3, 0.4)})
        >>> found = trace(grid, lambda radius: radius < 0.25, lambda cells: [cell.radius for cell, _ in cells])
        >>> found.rows[0].last_likely, found.rows[0].first_unlikely, found.runs, found.runs_of_grid
        (2, 3, 20, 100)
    """
    if not grid.axes:
        checks.fail("grid", "an axis along which the outcome falls", "none", "give a setting several values in order")
    each = checks.number("alpha", alpha, 0, 1, open_low=True, open_high=True) / len(grid.points)
    first, most = sequences.fewest(alpha=each), len(grid.seeds)
    if most < first:
        checks.fail("seeds", f"at least {first}, so that a point can be settled", most, "add seeds or raise alpha")
    *others, columns = [len(values) for values in grid.axes.values()]
    searches = [_Search(place, columns, ends) for place in _places(others)]
    rounds = 0
    while wanted := [(search, column) for search in searches for column in search.wanted()]:
        points = [search.points.setdefault(column, Point()) for search, column in wanted]
        counts = [min(-(-point.seeds // MORE) or first, most - point.seeds) for point in points]
        cells = [
            (grid.points[*search.place, column], grid.seeds[point.seeds + i])
            for (search, column), point, count in zip(wanted, points, counts, strict=True)
            for i in range(count)
        ]
        happened = iter(_outcomes(cells, compute, outcome))
        for (search, column), point, count in zip(wanted, points, counts, strict=True):
            point.successes += sum(next(happened) for _ in range(count))
            point.seeds += count
            point.side = sequences.decide(point.successes, point.seeds, alpha=each)
            if point.side or point.seeds == most:
                search.settled.add(column)
        rounds += 1
    return Frontier(grid, tuple(search.row() for search in searches), alpha, rounds)


class _Search:
    """Two bisections in one row that share their points: for the last likely column and the first unlikely one."""

    def __init__(self, place: tuple[int, ...], columns: int, ends: bool):
        self.place, self.columns = place, columns
        self.extra = {0, columns - 1} if ends else set()
        self.points: dict[int, Point] = {}
        self.settled: set[int] = set()  # or all seeds used

    def bisect(self, left: Callable[[Point], bool]) -> tuple[int, int, int | None]:
        """Columns (a, b, c): a is left of the border and b right of it; c is asked next, None where b = a + 1."""
        low, high = -1, self.columns
        while high - low > 1:
            middle = (low + high) // 2
            if middle not in self.settled:
                return low, high, middle
            low, high = (middle, high) if left(self.points[middle]) else (low, middle)
        return low, high, None

    def borders(self) -> list[tuple[int, int, int | None]]:
        return [self.bisect(lambda point: point.side == "above"), self.bisect(lambda point: point.side != "below")]

    def wanted(self) -> list[int]:
        asked = {column for *_, column in self.borders() if column is not None}
        return sorted(asked | (self.extra - self.settled))

    def row(self) -> Row:
        (last_likely, *_), (_, first_unlikely, _) = self.borders()
        likely = [column for column, point in self.points.items() if point.side == "above"]
        unlikely = [column for column, point in self.points.items() if point.side == "below"]
        contradiction = None
        if likely and unlikely and max(likely) > min(unlikely):
            contradiction = (
                f"row {self.place}: the outcome is likely at column {max(likely)} and unlikely at column "
                f"{min(unlikely)} before it; it does not fall along the row"
            )
        return Row(self.place, last_likely, first_unlikely, dict(sorted(self.points.items())), contradiction)


def _places(sizes: Sequence[int]) -> list[tuple[int, ...]]:
    places: list[tuple[int, ...]] = [()]
    for size in sizes:
        places = [(*place, i) for place in places for i in range(size)]
    return places


def _outcomes(cells: Sequence[Cell], compute: Compute, outcome: Callable[[Any], bool]) -> list[bool]:
    results = compute(cells)
    if len(results) != len(cells):
        checks.fail("compute", f"{len(cells)} results", len(results), "give one for each cell, in order")
    for (simulation, seed), result in zip(cells, results, strict=True):
        if isinstance(result, Exception):
            raise RuntimeError(f"no outcome at {simulation} with seed {seed}: {result}") from result
    return [bool(outcome(result)) for result in results]
