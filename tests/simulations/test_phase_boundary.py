"""Both frontiers of recovery: on small runs, against an answer put in place of the runs, verdicts and their mutants."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import xarray

from simulations import phase_boundary
from simulations.phase_boundary import PhaseBoundary
from simulations.recovery import Recovery
from theory import sequences
from theory.checks import InvalidInput
from theory.lab.simulation import execute
from theory.verdict import Status

TINY = {"width": 16, "dimension": 5, "per_cluster": 5, "steps": 20, "records": 5}
SMALL = PhaseBoundary(**TINY, noise_rates=(0.2, 0.4), radii=(0.1, 0.7, 1.3), runs_per_point=11)
HOLDS, VIOLATED, OUT = Status.HOLDS, Status.VIOLATED, Status.OUT_OF_SCOPE


def answered(monkeypatch: pytest.MonkeyPatch, ends: dict[float, float]) -> list[Any]:
    """Runs that recover up to a radius that belongs to their noise rate; the cells that were asked."""
    asked: list[Any] = []

    def compute(cells: Any) -> list[xarray.Dataset]:
        asked.extend(cells)
        return [xarray.Dataset({"recovered": cell.radius < ends[cell.noise_rate]}) for cell, _ in cells]

    monkeypatch.setattr(phase_boundary, "_compute", compute)
    return asked


@pytest.fixture(scope="module")
def results() -> xarray.Dataset:
    return SMALL.collect()


def test_points_are_runs_of_recovery(results: xarray.Dataset) -> None:
    """Every count again, run by run, from the settings and seeds that the text promises."""
    one = results.isel(seed=0)
    for row, rate in enumerate(SMALL.noise_rates):
        for column in (0, 2):
            radius, counted = SMALL.radii[column], int(one.runs_at[row, column])
            recovery = Recovery(**TINY, minimum_separation=1.35, noise_rate=rate, radius=radius)
            assert one.successes[row, column] == sum(bool(recovery.run(seed).recovered) for seed in range(counted))
            whole = sum(bool(recovery.run(11 + seed).recovered) for seed in range(11))
            assert one.grid_successes[row, column] == whole
    assert (one.runs.sel(search="bisection") == one.runs_at.sum()) and one.runs.sel(search="full grid") == 2 * 3 * 11
    assert all(values.dtype.kind in "fiU" for values in results.variables.values())


def test_known_frontiers_are_found_by_both(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = PhaseBoundary(noise_rates=(0.1, 0.2, 0.3), seeds=2)
    asked = answered(monkeypatch, {0.1: 0.95, 0.2: 0.35, 0.3: 5.0})
    found = simulation.collect()
    for search in phase_boundary.SEARCHES:
        for name in ("crossing", "after", "before"):
            assert (found.sel(search=search)[name] == [9, 3, 12]).all()
    assert [v.status for v in simulation.verdicts(found)] == [HOLDS] * 3
    each = [{seed for cell, seed in asked if seed // 10_000 == number} for number in (0, 1)]
    fewest = sequences.fewest(alpha=0.05 / 36)
    assert each[0] == {*range(fewest), *range(20, 40)} and each[1] == {seed + 10_000 for seed in each[0]}


def test_verdicts_and_their_mutants(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = PhaseBoundary(noise_rates=(0.1, 0.2), radii=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7))
    answered(monkeypatch, {0.1: 0.35, 0.2: 0.55})
    found = simulation.collect()
    bisection = xarray.DataArray([1, 0], dims="search")

    def judged(**changes: Any) -> list[Status]:
        return [verdict.status for verdict in simulation.verdicts(found.assign(changes))]

    assert judged() == [HOLDS] * 3
    assert judged(crossing=found.crossing + 1 * bisection) == [HOLDS] * 3
    assert judged(crossing=found.crossing + 1.5 * bisection) == [VIOLATED, HOLDS, HOLDS]
    assert judged(before=found.before + 2 * bisection) == [HOLDS, VIOLATED, HOLDS]
    assert judged(runs=found.runs * 0 + 10) == [HOLDS, HOLDS, VIOLATED]
    assert judged(noticed=found.noticed + 1) == [OUT, OUT, HOLDS]


def test_figure(tmp_path: Any, results: xarray.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "repetitions" not in SMALL.figure(results).axes[0].get_title()
    answered(monkeypatch, {0.2: 0.5, 0.4: 5.0})
    outcome = execute(dataclasses.replace(SMALL, seeds=2), tmp_path)
    assert {path.suffix for path in outcome.files} == {".png", ".pdf", ".json"}
    fig = SMALL.figure(outcome.results)
    assert len(fig.legends[0].get_texts()) == 5
    few, many = outcome.results.runs.mean("seed").values
    assert f"{1 - few / many:.0%} saved, mean of 2 repetitions" in fig.axes[0].get_title()


def test_a_run_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = dataclasses.replace(SMALL, activation="relu")
    monkeypatch.setattr(Recovery, "_problem", lambda self, seed: 1 / 0)
    with pytest.raises(RuntimeError, match="seed 0: division by zero"):
        broken.run(0)


def test_progress_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    answered(monkeypatch, {0.2: 0.5, 0.4: 0.5})
    told: list[float] = []
    SMALL.run(0, told.append)
    assert told[-1] == 1 and np.all(np.diff(told) > 0)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"noise_rates": (0.1,)}, "noise_rates"),
        ({"noise_rates": (0.2, 0.1)}, "noise_rates"),
        ({"radii": (0.1, 0.1)}, "radii"),
        ({"radii": (0.1, 3.0)}, "radius"),
        ({"alpha": 0.0}, "alpha"),
        ({"runs_per_point": 5}, "runs_per_point"),
        ({"runs_per_point": 20_000}, "runs_per_point"),
        ({"width": 3}, "width"),
        ({"activation": "swish"}, "swish"),
    ],
)
def test_bad_settings(settings: dict, word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        PhaseBoundary(**settings)
