"""Plans: what a trial cell says about a sweep that has not started."""

from pathlib import Path

import pytest
from toys import Draws

from theory.lab import plan as plans
from theory.lab.grid import Grid
from theory.lab.plan import Plan, Trial, lines, plan
from theory.lab.store import Store
from theory.lab.sweep import sweep


def test_costs_scale_with_the_operations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def trial(cell, patience):
        seen.append(cell)
        return Trial(cell, seconds=2.0, start_seconds=5.0, peak_bytes=1000, stored_bytes=50)

    monkeypatch.setattr(plans, "_trial", trial)
    found = plan(Grid(Draws(seeds=2), {"size": (100, 10, 50)}), Store(tmp_path), workers=4)
    assert seen == [(Draws(seeds=2, size=10), 0)]  # the cheapest
    assert (found.cells, found.missing, found.scaled) == (6, 6, True)
    assert found.seconds == pytest.approx(5.0 + 2.0 * 2 * (100 + 10 + 50) / 10 / 4)
    assert found.bytes == pytest.approx(4 * (1000 + 8 * 100**2 - 8 * 10**2)) and found.stored_bytes == 300


def test_a_real_trial_is_near_what_the_sweep_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid(Draws(seeds=4, delay=0.1), {"scale": (1.0, 2.0)})
    store = Store(tmp_path)
    planned = plan(grid, store, workers=1)
    assert planned.missing == 8 and planned.trial is not None and not list(tmp_path.glob("draws/*"))
    assert 50e6 < planned.bytes < 4e9
    done = sweep(grid.base, grid.axes, store=tmp_path, workers=1)
    assert planned.seconds / 3 < done.report.seconds < 3 * planned.seconds
    size = sum(path.stat().st_size for path in store.paths("draws"))
    assert planned.stored_bytes == pytest.approx(size, rel=0.05)
    monkeypatch.setattr(plans, "_trial", lambda cell, patience: planned.trial)
    after = plan(Grid(Draws(seeds=5, delay=0.1), grid.axes), store, workers=1)
    assert (after.cells, after.missing) == (10, 2)
    assert plan(grid, store).missing == 0 and lines(plan(grid, store), grid) == [
        "cells: 2 scale x 4 seeds = 8; 8 stored, 0 to do"
    ]


def test_trials_that_fail_or_never_end(tmp_path: Path) -> None:
    store = Store(tmp_path)
    grid = Grid(Draws(failing=0), {})
    failed = plan(grid, store)
    assert "ArithmeticError" in failed.error and "the trial cell failed" in lines(failed, grid)[1]
    died = plan(Grid(Draws(deadly=0), {}), store)
    assert "its process died" in died.error and "the trial cell failed" in lines(died, grid)[1]
    endless = Grid(Draws(delay=100.0), {"scale": (1.0, 2.0)})
    found = plan(endless, store, workers=2, patience=1.0)
    assert found.trial is None and found.seconds == pytest.approx(2.0)  # 4 cells of at least a second on 2 workers
    assert "so at least" in lines(found, endless)[1]


def test_more_memory_than_there_is_is_said() -> None:
    trial = Trial((Draws(), 0), 0.01, 1.0, 20, 30)
    found = Plan(8, 8, 2, trial, True, 100_000.0, 3e9, 240.0)
    said = " ".join(lines(found, Grid(Draws(), {}), available=1e9))
    assert "memory: 3 GB on 2 workers; more than the 1 GB that are free" in said
    assert "27.8 h" in said and "10 ms" in said and "240 B" in said
