"""Sweeps end to end in this process and on two workers: what is there is not redone, what fails does not spread."""

import dataclasses
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import xarray
from toys import Draws, image

from simulations.recovery import Recovery
from theory.checks import InvalidInput
from theory.lab import engine, frontier, running
from theory.lab.grid import Grid
from theory.lab.running import Report
from theory.lab.store import Store
from theory.lab.sweep import fetch, sweep

AXES = {"scale": (1.0, 2.0), "size": (2, 3)}


def test_only_what_is_missing_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = sweep(Draws(seeds=3), AXES, store=tmp_path, workers=1)
    assert (first.report.wanted, first.report.computed, first.report.finished) == (12, 12, True)
    ran = []
    run = Draws.run
    monkeypatch.setattr(
        Draws, "run", lambda self, seed, progress=None: ran.append((self.scale, seed)) or run(self, seed)
    )
    again = sweep(Draws(seeds=3), AXES, store=tmp_path, workers=1)
    assert not ran and again.report.found == 12 and image(again.table) == image(first.table)
    wider = sweep(Draws(seeds=4), {**AXES, "scale": (1.0, 2.0, 3.0)}, store=tmp_path, workers=1)
    assert wider.report.found == 12 and wider.report.computed == len(ran) == 12
    assert wider.table.total.sizes == {"scale": 3, "size": 2, "seed": 4}
    np.testing.assert_array_equal(wider.table.total.values[:2, :, :3], first.table.total.values)


def test_a_table_is_the_product_of_single_runs(tmp_path: Path) -> None:
    table = sweep(Draws(seeds=2), AXES, store=tmp_path, workers=1).table
    for scale in AXES["scale"]:
        for size in AXES["size"]:
            single = Draws(seeds=2, scale=scale, size=size).collect()
            part = table.sel(scale=scale, size=size)
            np.testing.assert_array_equal(part.draw.values[:, :size], single.draw.transpose("seed", "number").values)
            np.testing.assert_array_equal(part.trace, single.trace)
    for _, simulation, results in sweep(Draws(seeds=2), AXES, store=tmp_path, workers=1).points():
        xarray.testing.assert_identical(results.transpose("seed", ...), simulation.collect().transpose("seed", ...))


def test_workers_order_and_groups_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = Recovery(seeds=2, width=64, per_cluster=10, steps=40)
    axes = {"noise_rate": (0.0, 0.6), "width": (32, 64)}
    tables = []
    for number, (workers, together, backwards) in enumerate([(1, 1, False), (1, 64, True), (2, 2, False)]):
        monkeypatch.setattr(running, "TOGETHER", {False: together, True: together})
        monkeypatch.setattr(running, "_batches", batches(backwards))
        tables.append(sweep(small, axes, store=tmp_path / str(number), workers=workers).table)
    assert (tables[0].cell_status == "done").all() and tables[0].error.std() > 0
    assert image(tables[0]) == image(tables[1]) == image(tables[2])


def batches(backwards: bool):
    original = running._batches
    original = getattr(original, "original", original)

    def chosen(cells, workers):
        return original(cells[::-1] if backwards else cells, 1 if backwards else workers)

    chosen.original = original
    return chosen


def test_a_cell_that_fails_keeps_its_traceback_and_the_rest_goes_on(tmp_path: Path) -> None:
    done = sweep(Draws(seeds=3, failing=1), AXES, store=tmp_path, workers=1)
    assert (done.report.computed, len(done.report.failed), done.report.finished) == (8, 4, False)
    status, error = done.table.cell_status, done.table.cell_error
    assert (status.sel(seed=[0, 2]) == "done").all() and (status.sel(seed=1) == "failed").all()
    assert (
        set(error.sel(seed=1).values.ravel()) == {"ArithmeticError: seed 1 is no good"}
        and np.isnan(done.table.total.sel(seed=1)).all()
    )
    failures = list(Store(tmp_path).failures("draws"))
    assert len(failures) == 4 and "tests/toys.py" in failures[0]["traceback"]
    again = sweep(Draws(seeds=3, failing=1), AXES, store=tmp_path, workers=1)
    assert again.report.found == 8 and len(again.report.failed) == 4


def test_a_failure_is_forgotten_when_the_cell_succeeds(tmp_path: Path) -> None:
    only = sweep(Draws(seeds=1, failing=0), {}, store=tmp_path, workers=1)
    assert only.table.cell_status.values.tolist() == ["failed"] and not only.records
    store, path = only.store, only.store.path((Draws(seeds=1, failing=0), 0))
    (fine,) = engine.compute([(Draws(), 0)])
    store.write(path, fine.content)
    assert store.failure(path) is None


def test_ctrl_c_keeps_what_is_finished(tmp_path: Path) -> None:
    def interrupt(report: Report, left: int) -> None:
        if report.computed == 5:
            raise KeyboardInterrupt

    stopped = sweep(Draws(seeds=3), AXES, store=tmp_path, workers=1, progress=interrupt)
    assert stopped.report.interrupted and stopped.report.computed == 5
    assert int((stopped.table.cell_status == "done").sum()) == 5
    again = sweep(Draws(seeds=3), AXES, store=tmp_path, workers=1)
    assert again.report.found == 5 and again.report.finished


def test_overhead_of_a_cell(tmp_path: Path) -> None:
    """Under 10 ms: planning, computing (nothing), packing, the disk."""
    grid = {"scale": tuple(np.linspace(1, 2, 100)), "delay": (0.0,)}
    seconds = []
    for number in range(3):
        started = time.perf_counter()
        done = sweep(Nothing(seeds=2), grid, store=tmp_path / str(number), workers=1)
        seconds.append((time.perf_counter() - started) / done.report.wanted)
    print(f"{1e3 * min(seconds):.2f} ms a cell")
    assert done.report.computed == 200 and min(seconds) < 0.01


@pytest.mark.slow
def test_two_workers_are_not_slower_than_one(tmp_path: Path) -> None:
    """On two cores: threads that fought over them would show here. Starting the workers is counted."""
    simulation = Recovery(seeds=32)
    seconds = [
        sweep(simulation, {}, store=tmp_path / str(workers), workers=workers).report.seconds for workers in (1, 2)
    ]
    print(f"32 cells: {seconds[0]:.1f} s with one worker, {seconds[1]:.1f} s with two")
    assert seconds[1] < seconds[0]


def test_fetching_cells_for_a_search(tmp_path: Path) -> None:
    cells = [(Draws(scale=2.0), 1), (Draws(failing=0), 0), (Draws(scale=2.0), 0)]
    first, failed, other = fetch(cells, store=tmp_path, workers=1)
    xarray.testing.assert_identical(first, Draws(scale=2.0).run(1))
    xarray.testing.assert_identical(other, Draws(scale=2.0).run(0))
    assert isinstance(failed, RuntimeError) and "seed 0 is no good" in str(failed)
    assert sweep(Draws(scale=2.0, seeds=2), {}, store=tmp_path, workers=1).report.found == 2
    (tmp_path / "store.json").write_text('{"format": 99}')
    with pytest.raises(InvalidInput, match="newer"):
        fetch(cells, store=tmp_path, workers=1)


def test_a_frontier_and_a_sweep_share_their_cells(tmp_path: Path) -> None:
    grid = Grid(Draws(seeds=12), {"scale": tuple(0.1 * i for i in range(1, 20))})
    found = frontier.trace(grid, lambda cell: bool(cell.draw[0] < 0.5), partial(fetch, store=tmp_path, workers=1))
    assert 0 < found.runs < found.runs_of_grid
    assert sweep(grid.base, grid.axes, store=tmp_path, workers=1).report.found == found.runs


def test_only_short_cells_of_equal_shapes_go_together() -> None:
    short, long = (
        Recovery(seeds=1, steps=1, width=2, per_cluster=1, dimension=2, records=2),
        Recovery(seeds=1, steps=10**6),
    )
    lengths = [len(batch) for batch in running._batches([(short, seed) for seed in range(100)], workers=2)]
    assert sum(lengths) == 100 and max(lengths) == running.TOGETHER[False]
    assert {len(batch) for batch in running._batches([(long, seed) for seed in range(9)], workers=2)} == {1}
    assert {len(batch) for batch in running._batches([(Draws(), seed) for seed in range(9)], workers=2)} == {1}
    on_gpu = [(dataclasses.replace(long, device="cuda"), seed) for seed in range(1000)]
    assert max(len(batch) for batch in running._batches(on_gpu, workers=1)) == running.TOGETHER[True]


@dataclasses.dataclass(frozen=True)
class Nothing(Draws):
    """Takes no time."""

    def run(self, seed: int, progress: object = None) -> xarray.Dataset:
        return xarray.Dataset({"total": float(seed)})


def test_the_whole_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    from theory.lab.command import main

    words = ["--scale", "0.5", "1", "2", "--size", "2", "5", "--seeds", "2", "--workers", "1"]
    places = ["--store", str(tmp_path / "store"), "--output", str(tmp_path / "figures")]
    assert main(Draws, [*words, "--dry-run", *places]) == 0
    planned = " ".join(capsys.readouterr().out.split())
    assert "3 scale x 2 size x 2 seeds = 12; 0 stored, 12 to do" in planned and "memory:" in planned
    assert not list((tmp_path / "store").glob("draws/*"))  # a trial is not kept
    assert main(Draws, [*words, *places]) == 1  # the bound of 1 is violated at scale 2
    out = " ".join(capsys.readouterr().out.split())
    assert "12 computed, 0 found" in out and "unexpected" in out
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        f"draws_sweep.{s}" for s in ("png", "pdf", "json")
    }
    assert main(Draws, [*words, *places, "--height", "3"]) == 0
    assert main(Draws, [*words, *places, "--height", "3", "--failing", "1"]) == 2
    out = " ".join(capsys.readouterr().out.split())
    assert "failed: scale=0.5, size=2 seed=1: ArithmeticError: seed 1 is no good" in out
    assert "not judged" in out  # one seed is too few for this simulation's verdicts
    assert main(Draws, ["--seeds", "2", *places, "--workers", "1"]) == 0  # one setting, resumable: its own figure
    (tmp_path / "file").write_text("")
    assert main(Draws, [*words, "--store", str(tmp_path / "file")]) == 2


@dataclasses.dataclass(frozen=True)
class Misbehaving(Draws):
    """Seed 1 does it, the others are well."""

    def run(self, seed: int, progress: object = None) -> xarray.Dataset:
        if seed != 1:
            return super().run(seed)
        if self.kind == "exits":
            sys.exit(3)
        if self.kind == "speechless":
            raise Speechless
        return {"total": 1.0}  # no data set

    def shapes(self) -> str | None:
        return "all together" if self.kind == "stops its batch" else None

    @classmethod
    def run_together(cls, cells: list) -> Iterator:
        for number, (simulation, seed) in enumerate(cells):
            if simulation.kind == "stops its batch" and seed == 1:
                raise MemoryError("too many at once")
            yield number, simulation.run(seed)


class Speechless(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("exits", "SystemExit: 3"),
        ("speechless", "Speechless: (it can't say what it is)"),
        ("returns", "TypeError: run: expected an xarray.Dataset, got dict"),
        ("stops its batch", "MemoryError: too many at once"),
    ],
)
def test_a_cell_that_misbehaves_fails_alone(kind: str, error: str, tmp_path: Path) -> None:
    done = sweep(Misbehaving(seeds=8, kind=kind), {}, store=tmp_path, workers=1)
    assert done.report.computed == 7 and [said for _, said in done.report.failed] == [error]
    (failure,) = done.store.failures("draws")
    assert failure["seed"] == 1 and failure["traceback"]


def test_values_may_be_numpy_s(tmp_path: Path) -> None:
    numpy = sweep(Draws(seeds=1), {"size": np.array([2, 3])}, store=tmp_path, workers=1)
    plain = sweep(Draws(seeds=1), {"size": (2, 3)}, store=tmp_path, workers=1)
    assert plain.report.found == 2 and image(numpy.table) == image(plain.table)


def test_cells_of_a_newer_version_are_refused_before_anything_runs(tmp_path: Path) -> None:
    newer = type("Draws", (Draws,), {"version": 2})
    sweep(newer(seeds=1), {}, store=tmp_path, workers=1)
    with pytest.raises(InvalidInput, match="newer theorycheck"):
        sweep(Draws(seeds=1), {}, store=tmp_path, workers=1)
    with pytest.raises(InvalidInput, match="newer theorycheck"):
        fetch([(Draws(), 0)], store=tmp_path, workers=1)
    assert len(Store(tmp_path).paths("draws")) == 1


def test_workers_of_one_machine_take_turns_at_its_gpu(tmp_path: Path) -> None:
    class Counting(engine.Pool):
        size, most, waiting = 3, 0, ()

        def submit(self, cells: list) -> Future:
            self.waiting = [future for future in self.waiting if not future.done()]
            future: Future = Future()
            self.waiting.append(future)
            self.most = max(self.most, len(self.waiting))
            threading.Timer(0.02, lambda: future.set_result(engine.compute(cells))).start()
            return future

    for device, most in (("cpu", 6), ("cuda", 1)):
        pool = Counting()
        report = running.run([(Draws(device=device), seed) for seed in range(8)], Store(tmp_path), pool)
        assert report.finished and pool.most == most
