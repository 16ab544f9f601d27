"""A sweep: the cells of a grid that a store lacks are computed and stored as they end; what is there is never redone.

The parent writes, workers compute. Whatever ends a sweep (Ctrl-C, a killed worker or parent, a full disk), the cells
stored so far stay, and the same call goes on from there. A cell's numbers depend on its settings and seed alone.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray

from theory.lab import engine as engines
from theory.lab.engine import Engine, Pool, Result
from theory.lab.grid import Grid
from theory.lab.simulation import Cell, Simulation
from theory.lab.store import Damaged, Record, Store
from theory.lab.table import assemble

TOGETHER = {False: 8, True: 64}
"""The largest batch of cells that share their shapes, on a CPU and on a GPU: what a worker that is killed can lose."""

DEATHS = 2
"""A cell whose worker dies this often, with no other cell under way, has failed; one death may be somebody's `kill`."""

Progress = Callable[["Report", int], object]


@dataclass
class Report:
    """What a sweep did.

    Attributes:
        wanted: cells asked for.
        found: of these in the store before, whole.
        computed: and stored.
        failed: cells that raised, with the error in one line; the traceback is in the store.
        damaged: files that were not what was written, and why; they were computed again.
        unwritten: cells that were computed and could not be stored.
        trouble: why the sweep ended early: a full disk, a scheduler that is gone; None if it did not.
        interrupted: by Ctrl-C.
        seconds: spent.
    """

    wanted: int = 0
    found: int = 0
    computed: int = 0
    failed: list[tuple[Cell, str]] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    unwritten: int = 0
    trouble: OSError | None = None
    interrupted: bool = False
    seconds: float = 0.0

    @property
    def finished(self) -> bool:
        """Whether every cell has its results."""
        return self.found + self.computed == self.wanted


@dataclass(frozen=True)
class Sweep:
    """A grid, and where its cells are.

    Attributes:
        grid: what was asked for.
        store: where the cells are.
        report: what the last run did.
    """

    grid: Grid
    store: Store
    report: Report

    @cached_property
    def records(self) -> dict[tuple[int, ...], Record]:
        """Place in the grid (the seed's last) -> cell, of those that are there."""
        found = {}
        for place, cell in self.grid.cells():
            try:
                found[place] = self.store.read(self.store.path(cell))
            except (FileNotFoundError, Damaged):
                continue
        return found

    @cached_property
    def table(self) -> xarray.Dataset:
        """All cells, with a dimension for each axis and `seed`; `cell_status` and `cell_error` tell what is missing."""
        axes = self.grid.all_axes
        shape = tuple(len(values) for values in axes.values())
        status = np.full(shape, "missing")
        error = np.full(shape, "", dtype=object)
        for place, cell in self.grid.cells():
            if place in self.records:
                status[place] = "done"
            elif failure := self.store.failure(self.store.path(cell)):
                status[place], error[place] = "failed", failure["error"]
        about = {"cell_status": status, "cell_error": error.astype(str)}
        if not self.records:
            return xarray.Dataset({name: (tuple(axes), values) for name, values in about.items()})
        return assemble(self.records, axes, about)

    def points(self) -> Iterator[tuple[tuple[int, ...], Simulation, xarray.Dataset | None]]:
        """Place, settings, and the results of all seeds there as `Simulation.collect` gives them; None without any."""
        by_place: dict[tuple[int, ...], list[Record]] = {}
        for place, record in self.records.items():
            by_place.setdefault(place[:-1], []).append(record)
        for place, simulation in self.grid.points.items():
            found = by_place.get(place, [])
            cells: dict[tuple[int, ...], Record] = {(i,): record for i, record in enumerate(found)}
            seeds = [record.seed for record in found]
            yield place, simulation, assemble(cells, {"seed": seeds}).assign_attrs(interrupted=0) if cells else None


def sweep(
    simulation: Simulation,
    axes: Mapping[str, Sequence[Any]],
    *,
    store: Path | str = "sweeps",
    engine: Engine = "local",
    workers: int | None = None,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> Sweep:
    """Compute what the store lacks of the product of `axes` and the simulation's seeds.

    Args:
        simulation: the settings that do not vary, and the seeds.
        axes: field -> values.
        store: folder; made if need be.
        engine: "local" or "dask".
        workers: processes of this machine, each computing on one thread; by default one for each core, and with 1 the
            cells are computed in this process.
        scheduler: address of a Dask scheduler.
        progress: called after every batch with the report so far and the number of cells still to do.

    Returns:
        The sweep; `.table` has the results and `.report` what was done. After Ctrl-C too.

    Raises:
        InvalidInput: before anything is computed.

    Example:
        >>> import tempfile
        >>> from simulations.clusters import Clusters
        >>> folder = tempfile.mkdtemp()
        >>> done = sweep(Clusters(seeds=2), {"radius": [0.1, 0.2]}, store=folder, workers=1)
        >>> done.report.computed, dict(done.table.cell_status.sizes)
        (4, {'radius': 2, 'seed': 2})
        >>> again = sweep(Clusters(seeds=3), {"radius": [0.1, 0.2]}, store=folder, workers=1)
        >>> again.report.found, again.report.computed
        (4, 2)
    """
    grid = Grid(simulation, axes)
    kept = Store(store)
    kept.refuse_newer(simulation)
    cells = [cell for _, cell in grid.cells()]
    with engines.executor(engine, workers, scheduler) as pool:
        report = run(cells, kept, pool, progress)
    return Sweep(grid, kept, report)


def run(cells: Sequence[Cell], store: Store, pool: Pool, progress: Progress | None = None) -> Report:
    """Compute and store the cells that the store lacks; see `Report`."""
    started = time.perf_counter()
    report = Report(wanted=len(cells))
    missing = []
    for cell in cells:
        try:
            store.read(store.path(cell))
            report.found += 1
        except FileNotFoundError:
            missing.append(cell)
        except Damaged as error:
            report.damaged.append(f"{store.path(cell)}: {error}")
            store.path(cell).unlink(missing_ok=True)
            missing.append(cell)
    work = _Work(store, pool, report, progress, missing)
    try:
        work.go()
    except KeyboardInterrupt:
        report.interrupted = True
        work.save_what_is_done()
        pool.close(at_once=True)
    except OSError as error:  # the pool's; those of the store are kept in the report
        report.trouble = ConnectionError(f"the scheduler is gone ({error})")
        work.save_what_is_done()
    work.write_the_rest()
    report.seconds = time.perf_counter() - started
    return report


class _Work:
    """The cells that are waiting, under way, and computed but not written."""

    def __init__(
        self, store: Store, pool: Pool, report: Report, progress: Progress | None, cells: Sequence[Cell]
    ) -> None:
        self._store, self._pool, self._report, self._progress = store, pool, report, progress
        self._waiting = deque(_batches(cells, pool.size))
        self._suspects: deque[list[Cell]] = deque()  # their worker may have died of them: each goes alone
        self._flying: dict[Future[list[Result]], list[Cell]] = {}
        self._deaths: Counter[Path] = Counter()
        self._unwritten: list[tuple[Path, bytes]] = []
        self._left = len(cells)

    def go(self) -> None:
        self._tell()
        while self._waiting or self._suspects or self._flying:
            self._launch()
            for future in wait(self._flying, return_when=FIRST_COMPLETED).done:
                if future in self._flying:
                    self._land(future)

    def save_what_is_done(self) -> None:
        self._waiting.clear()
        self._suspects.clear()
        for future in [future for future in self._flying if future.done() and not future.cancelled()]:
            if future.exception() is None:
                self._land(future)

    def write_the_rest(self) -> None:
        """Try once more what did not go onto the disk."""
        trouble = None
        for path, content in self._unwritten:
            try:
                self._store.write(path, content)
                self._report.computed += 1
            except OSError as error:
                trouble = error
                self._report.unwritten += 1
        if self._unwritten:  # then what was in the way may be gone
            self._report.trouble = trouble

    def _launch(self) -> None:
        while True:
            alone = bool(self._suspects)
            queue = self._suspects or self._waiting
            if not queue or len(self._flying) >= (1 if alone else self._room(queue[0])):
                return
            batch = []
            for cell in queue.popleft():
                if self._store.path(cell).exists():  # another sweep was faster
                    self._report.found += 1
                    self._left -= 1
                else:
                    batch.append(cell)
            if not batch:
                continue
            try:
                self._flying[self._pool.submit(batch)] = batch
            except BrokenProcessPool:  # a worker died this moment; what is under way will say so
                queue.appendleft(batch)
                if self._flying:
                    return
                self._pool.restart()

    def _room(self, batch: Sequence[Cell]) -> int:
        if self._pool.size == 1 or (engines.on_gpu(batch) and not self._pool.places_gpus):
            return 1
        return 2 * self._pool.size  # one waits at each worker, so that none is idle

    def _land(self, future: "Future[list[Result]]") -> None:
        batch = self._flying.pop(future)
        try:
            results = future.result()
        except KeyboardInterrupt:
            raise
        except (BrokenProcessPool, CancelledError) as error:
            return self._died([batch, *self._lost()], error)
        except Exception as error:
            if type(error).__name__ == "KilledWorker":  # Dask's: it has retried elsewhere, and lost those workers too
                return self._died([batch], error)
            results = [engines.failed(error)] * len(batch)  # it never got to the cells: they can't travel, say
        for cell, result in zip(batch, results, strict=True):
            self._keep(cell, result)

    def _died(self, batches: list[list[Cell]], error: BaseException) -> None:
        if isinstance(error, CancelledError) and not self._pool.alive():
            raise ConnectionError("it does not answer")
        if len(batches) == len(batches[0]) == 1:
            cell = batches[0][0]
            self._deaths[self._store.path(cell)] += 1
            if self._deaths[self._store.path(cell)] == DEATHS:
                words = f"the worker died {DEATHS} times of this cell alone: killed, or out of memory?"
                self._keep(cell, Result(None, words, str(error)))
                batches = []
        if isinstance(error, BrokenProcessPool):
            self._pool.restart()
        self._suspects.extend([cell] for batch in batches for cell in batch)

    def _lost(self) -> list[list[Cell]]:
        """The batches under way that went down with the workers; those that had ended still have their results."""
        lost = [future for future in self._flying if not future.done() or future.cancelled() or future.exception()]
        return [self._flying.pop(future) for future in lost]

    def _keep(self, cell: Cell, result: Result) -> None:
        path = self._store.path(cell)
        self._left -= 1
        try:
            if result.content is None:
                self._report.failed.append((cell, result.error))
                self._store.write_failure(path, cell, result.error, result.traceback)
            else:
                self._store.write(path, result.content)
                self._report.computed += 1
        except OSError as error:  # no space: compute nothing more, but let what is under way end
            self._report.trouble = error
            self._waiting.clear()
            self._suspects.clear()
            if result.content is not None:
                self._unwritten.append((path, result.content))
        self._tell()

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(self._report, self._left)


def _batches(cells: Sequence[Cell], workers: int) -> list[list[Cell]]:
    """Cells that gain by going together, in batches; the others alone. In the order of their first cells."""
    groups: dict[Any, list[Cell]] = {}
    for number, cell in enumerate(cells):
        shapes = cell[0].shapes()
        groups.setdefault((number,) if shapes is None else (type(cell[0]), shapes), []).append(cell)
    batches = []
    for group in groups.values():
        fair = -(-len(group) // (4 * workers))  # so that no worker ends long before the others
        size = max(1, min(TOGETHER[engines.on_gpu(group)], fair))
        batches += [group[i : i + size] for i in range(0, len(group), size)]
    return batches
