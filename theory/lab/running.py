"""Cells that a store lacks are sent to workers, and stored by the parent as they come back.

Whatever ends this early (Ctrl-C, a killed worker, a full disk, a scheduler that is gone), what is stored stays whole,
and the report says what is missing.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from theory.lab import engine as engines
from theory.lab.engine import Pool, Result
from theory.lab.simulation import Cell
from theory.lab.store import Damaged, Store

TOGETHER = {False: 8, True: 64}
"""The largest batch of cells that share their shapes, on a CPU and on a GPU: what a worker that is killed can lose."""

SHORT = 4e9
"""Operations, about a tenth of a second: on a CPU only cells that are shorter together go together."""

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
        size = max(1, min(TOGETHER[engines.on_gpu(group)], fair, _short(group)))
        batches += [group[i : i + size] for i in range(0, len(group), size)]
    return batches


def _short(group: Sequence[Cell]) -> int:
    cost = group[0][0].cost()
    if engines.on_gpu(group):
        return len(group)
    return 1 if cost is None else max(1, int(SHORT / max(cost.operations, 1.0)))
