"""The frontier of toys whose probabilities are known: found, with few runs; what it can't find it says."""

import functools
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import xarray
from scipy import stats

from theory import sequences
from theory.checks import InvalidInput
from theory.lab import engine, sweep
from theory.lab.frontier import border, trace
from theory.lab.grid import Grid
from theory.lab.simulation import Simulation
from theory.lab.store import Store

COLUMNS = 24


@dataclass(frozen=True)
class Toy(Simulation):
    """A coin that falls on heads with a probability that falls along the columns."""

    name: ClassVar[str] = "toy"
    quick_seconds: ClassVar[float] = 1

    place: float = 10.5
    """of the frontier"""
    column: int = 0
    slope: float = 1e-3
    """columns over which the probability falls"""
    stream: int = 0

    @property
    def chance(self) -> float:
        return 1 / (1 + math.exp(min(max((self.column - self.place) / self.slope, -300), 300)))

    def run(self, seed, progress=None):
        return xarray.Dataset({"heads": flip([(self, seed)])[0]})


def flip(cells):
    return [np.random.default_rng([seed, toy.column, toy.stream]).random() < toy.chance for toy, seed in cells]


def grid(rows=(3.5, 10.5, 18.5), seeds=40, **settings):
    return Grid(Toy(seeds=seeds, **settings), {"place": rows, "column": tuple(range(COLUMNS))})


@functools.cache
def several(slope, seeds):
    """Frontiers of ten independent streams: estimates less the truth, what the interval says of it, runs."""
    rows, found = (2.3, 7.9, 11.6, 15.2, 19.7), []
    for stream in range(10):
        result = trace(grid(rows, seeds, slope=slope, stream=stream), bool, flip)
        assert not result.contradictions
        for row, place in zip(result.rows, rows, strict=True):
            before = math.ceil(place)
            off = row.crossing - before
            found.append((off, row.last_likely < before <= row.first_unlikely, result.runs, result.runs_of_grid))
    return np.array(found, dtype=float)


def test_a_sharp_frontier_is_found_exactly_with_a_share_of_the_runs():
    found = trace(grid((-1.0, 0.5, 3.5, 10.5, 22.5, 30.0)), bool, flip)
    crossings = [0, 1, 4, 11, 23, 24]
    assert [row.crossing for row in found.rows] == crossings
    assert [(row.last_likely + 1, row.first_unlikely) for row in found.rows] == [(c, c) for c in crossings]
    assert found.runs < found.runs_of_grid / 10 and found.runs_of_grid == 6 * COLUMNS * 40
    fewest = sequences.fewest(alpha=0.05 / (6 * COLUMNS))
    assert {point.seeds for row in found.rows for point in row.points.values()} == {fewest}
    most = math.ceil(math.log2(COLUMNS + 1))
    assert all(len(row.points) <= most for row in found.rows) and found.rounds <= most


def test_every_round_is_one_call_with_the_first_seeds_of_each_point():
    calls = []
    found = trace(grid(slope=2.0), bool, lambda cells: calls.append(list(cells)) or flip(cells))
    assert len(calls) == found.rounds and sum(map(len, calls)) == found.runs
    assert len({toy.place for toy, _ in calls[0]}) == 3  # all rows at once
    everything = [(found.grid.axes["place"].index(toy.place), toy.column, seed) for call in calls for toy, seed in call]
    assert len(set(everything)) == len(everything)  # nothing twice
    for number, row in enumerate(found.rows):
        for column, point in row.points.items():
            assert sorted(s for r, c, s in everything if (r, c) == (number, column)) == list(range(point.seeds))
    cells = {cell for _, cell in found.grid.cells()}
    assert all(cell in cells for call in calls for cell in call)  # those of the whole grid


@pytest.mark.parametrize("slope", [0.3, 1.0, 2.0])
def test_blurred_frontiers_lie_where_it_says(slope):
    """P(any of a frontier's points on the wrong side) <= .05: four or more of ten come once in a thousand."""
    off, inside, runs, whole = several(slope, 40).T
    wrong = sum(not block.all() for block in inside.reshape(10, 5))
    assert stats.binom.sf(3, 10, 0.05) < 2e-3 and wrong <= 3
    assert np.abs(off).mean() < max(0.5, slope / 2) and np.all(runs < whole / 3)


@pytest.mark.parametrize(("slope", "pays"), [(0.3, True), (2.0, False)])
def test_at_as_many_runs_a_full_grid_is_worse_unless_the_fall_takes_several_columns(slope, pays):
    off, _, runs, _ = several(slope, 40).T
    seeds = math.ceil(runs.mean() / (5 * COLUMNS))
    errors = []
    for stream in range(10):
        for place in (2.3, 7.9, 11.6, 15.2, 19.7):
            toys = [Toy(place=place, column=c, slope=slope, stream=100 + stream) for c in range(COLUMNS)]
            hits = [sum(flip([(toy, seed) for seed in range(seeds)])) for toy in toys]
            errors.append(border(hits, [seeds] * COLUMNS) - math.ceil(place))
    assert (np.abs(off).mean() < np.abs(errors).mean()) == pays


def test_more_seeds_narrow_what_is_possible():
    widths = []
    for seeds in (20, 80, 320):
        found = trace(grid(slope=1.0, seeds=seeds), bool, flip)
        widths.append(sum(row.first_unlikely - row.last_likely for row in found.rows))
        for row, place in zip(found.rows, found.grid.axes["place"], strict=True):
            assert row.last_likely < place < row.first_unlikely
            open_points = [point for point in row.points.values() if point.side is None]
            assert all(point.seeds == seeds for point in open_points)
    assert widths == sorted(widths, reverse=True) and widths[-1] < widths[0] / 2


def test_a_coin_is_never_settled_and_never_wrong():
    found = trace(grid(seeds=60, slope=1e9), bool, flip)  # every chance is a half
    assert all(row.last_likely == -1 and row.first_unlikely == COLUMNS for row in found.rows)


def test_another_threshold_is_another_frontier(monkeypatch):
    """The control: three columns of chance .75 are likely; asked for .9, they are not."""

    def three(cells):
        chances = [1.0] * 5 + [0.75] * 3 + [0.0] * (COLUMNS - 8)
        return [np.random.default_rng([seed, toy.column]).random() < chances[toy.column] for toy, seed in cells]

    (row,) = trace(grid((0.0,), seeds=200), bool, three).rows
    assert (row.last_likely, row.first_unlikely, row.crossing) == (7, 8, 8)
    decide = sequences.decide
    monkeypatch.setattr(sequences, "decide", lambda hits, n, threshold=0, **options: decide(hits, n, 0.9, **options))
    (row,) = trace(grid((0.0,), seeds=200), bool, three).rows
    assert (row.last_likely, row.first_unlikely) == (4, 5)


def test_rows_that_do_not_fall_are_named():
    def rising(cells):
        return [toy.column > toy.place for toy, _ in cells]

    def island(cells):
        return [toy.column < 5 or toy.column > 20 for toy, _ in cells]

    for wrong in (rising, island):
        found = trace(grid((7.5, 8.5)), bool, wrong, ends=True)
        assert (
            len(found.contradictions) == 2 and "row (1,): the outcome is likely at column 23" in found.contradictions[1]
        )
    assert not trace(grid(), bool, flip, ends=True).contradictions
    assert not trace(grid((7.5,)), bool, island).contradictions  # what bisection does not visit it can't know

    def undecided(cells):  # seen without looking at the ends: the two bisections part at an open point
        chances = {11: 0.5, 17: 1.0, 20: 0.0, 18: 0.0, 5: 0.0, 2: 1.0, 3: 0.0}
        return [np.random.default_rng(seed).random() < chances.get(toy.column, 1.0) for toy, seed in cells]

    assert trace(grid((7.5,)), bool, undecided).contradictions


def test_rows_of_several_axes_and_of_none():
    axes = {"stream": (0, 1), "place": (3.5, 8.5), "column": tuple(range(12))}
    found = trace(Grid(Toy(seeds=30), axes), bool, flip)
    assert [(row.place, row.crossing) for row in found.rows] == [((0, 0), 4), ((0, 1), 9), ((1, 0), 4), ((1, 1), 9)]
    alone = trace(Grid(Toy(seeds=30), {"column": tuple(range(12))}), bool, flip)
    assert [(row.place, row.crossing) for row in alone.rows] == [((), 11)]
    single = trace(Grid(Toy(seeds=30), {"column": (3,)}), bool, flip)
    assert single.rows[0].crossing == 1 and single.runs == sequences.fewest(alpha=0.05)


def test_over_a_store_it_goes_on_where_it_stopped(tmp_path):
    store, reports = Store(tmp_path), []

    def stored(cells):
        reports.append(sweep.run(cells, store, pool))
        return [store.read(store.path(cell)) for cell in cells]

    with engine.executor("local", 1) as pool:
        for seeds, computed, found in ((20, True, False), (20, False, True), (40, True, True)):
            reports.clear()
            result = trace(grid((5.5,), seeds, slope=1.0), lambda record: bool(record.arrays["heads"][1]), stored)
            done, there = (sum(getattr(report, name) for report in reports) for name in ("computed", "found"))
            assert done + there == result.runs and (done > 0, there > 0) == (computed, found)
    assert result == trace(grid((5.5,), 40, slope=1.0), bool, flip)


def test_border():
    assert border([4, 4, 4], [4, 4, 4]) == 3 and border([0, 0, 0], [4, 4, 4]) == 0
    assert border([4, 1, 3, 0], [4, 4, 4, 4]) == 2
    brute = [sum(4 - h for h in [4, 1, 3, 0][:b]) + sum([4, 1, 3, 0][b:]) for b in range(5)]
    assert np.flatnonzero(np.array(brute) == min(brute)).mean() == 2


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: trace(Grid(Toy(), {}), bool, flip), "axis"),
        (lambda: trace(grid(), bool, flip, alpha=0), "alpha"),
        (lambda: trace(grid(seeds=13), bool, flip), "at least"),
        (lambda: trace(grid(), bool, lambda cells: [True]), "compute"),
    ],
)
def test_bad_input(call, word):
    with pytest.raises(InvalidInput, match=word):
        call()


def test_a_failed_cell_is_named():
    def broken(cells):
        return [ValueError("the disk") if toy.column == 11 else True for toy, _ in cells]

    with pytest.raises(RuntimeError, match=r"column=11.*seed 0: the disk") as error:
        trace(grid(), bool, broken)
    assert isinstance(error.value.__cause__, ValueError)
