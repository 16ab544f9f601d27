"""What a sweep will take, before it starts: cells, time, memory and disk, from one cell run by way of trial.

A simulation that knows its cost (`Simulation.cost`) lets the trial stand for every other cell: time in proportion to
its operations, memory by its bytes. The others' cells are taken to cost what the trial did, and the plan says so.
"""

import time
from collections.abc import Sequence
from concurrent.futures import TimeoutError
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from theory import checks
from theory.lab import engine
from theory.lab.grid import Grid
from theory.lab.simulation import Cell
from theory.lab.store import Damaged, Store, unpack

PATIENCE = 30.0
"""Seconds that the trial may take."""


@dataclass(frozen=True)
class Trial:
    """One cell run in a process of its own.

    Attributes:
        cell: which.
        seconds: on one thread, without imports and compilation where it was short enough to be run twice.
        start_seconds: that a worker needs before, to start, to import and to compile.
        peak_bytes: the most memory that the process held, its libraries included.
        stored_bytes: size of the cell's file.
    """

    cell: Cell
    seconds: float
    start_seconds: float
    peak_bytes: int
    stored_bytes: int


@dataclass(frozen=True)
class Plan:
    """What a sweep will take.

    Attributes:
        cells: in the grid.
        missing: of these, not in the store.
        workers: computing at once.
        trial: what was measured; None where nothing is missing, or the trial was given up.
        scaled: whether the simulation states what a cell costs; otherwise all were taken to be like the trial.
        seconds: of all missing cells, on these workers; at least this much where the trial was given up.
        bytes: of memory, all workers together; None likewise.
        stored_bytes: on the disk, of the missing cells; None likewise.
        error: of a trial that failed.
    """

    cells: int
    missing: int
    workers: int
    trial: Trial | None
    scaled: bool
    seconds: float
    bytes: float | None
    stored_bytes: float | None
    error: str = ""


def plan(grid: Grid, store: Store, workers: int | None = None, patience: float = PATIENCE) -> Plan:
    """Run the cheapest missing cell by way of trial (nothing is stored), and reckon with it.

    Args:
        grid: the sweep.
        store: what is there already.
        workers: computing at once; by default one for each core.
        patience: seconds after which the trial is given up.

    Raises:
        InvalidInput: a bad number of workers.
    """
    workers = engine.cores() if workers is None else checks.integer("workers", workers, minimum=1)
    cells = [cell for _, cell in grid.cells()]
    missing = [cell for cell in cells if not _there(store, cell)]
    if not missing:
        return Plan(len(cells), 0, workers, None, True, 0.0, 0.0, 0.0)
    workers = min(workers, len(missing))
    operations = [_cost(cell)[0] for cell in missing]
    cheapest = missing[operations.index(min(operations))]
    scaled = cheapest[0].cost() is not None
    trial = _trial(cheapest, patience)
    if trial is None:
        least = patience * sum(operations) / min(operations) / workers
        return Plan(len(cells), len(missing), workers, None, scaled, least, None, None)
    if isinstance(trial, str):
        return Plan(len(cells), len(missing), workers, None, scaled, 0.0, None, None, trial)
    seconds = trial.seconds * sum(operations) / min(operations) / workers
    seconds += trial.start_seconds * (workers > 1)  # a single one is this process
    more = max(_cost(cell)[1] for cell in missing) - _cost(cheapest)[1]
    held = workers * (trial.peak_bytes + max(0.0, more))
    stored = trial.stored_bytes * len(missing)
    return Plan(len(cells), len(missing), workers, trial, scaled, seconds, held, stored)


def _there(store: Store, cell: Cell) -> bool:
    try:
        store.read(store.path(cell))
    except (FileNotFoundError, Damaged):
        return False
    return True


def _cost(cell: Cell) -> tuple[float, float]:
    cost = cell[0].cost()
    return (1.0, 1.0) if cost is None else (cost.operations, cost.bytes)


def _trial(cell: Cell, patience: float) -> Trial | str | None:
    from joblib.externals.loky import ProcessPoolExecutor

    pool = ProcessPoolExecutor(1, env=engine.SINGLE)  # a process of its own: its peak of memory is this cell's
    submitted = time.time()
    try:
        seconds, ended, peak, content, error = pool.submit(_measure, cell, patience / 4).result(timeout=patience)
    except TimeoutError:
        return None
    except BrokenProcessPool as error:
        return f"its process died: {str(error).splitlines()[0]}"
    finally:
        pool.shutdown(wait=True, kill_workers=True)
    return error if content is None else Trial(cell, seconds, max(0.0, ended - submitted - seconds), peak, len(content))


def _measure(cell: Cell, short: float) -> tuple[float, float, int, bytes | None, str]:
    """Seconds of the cell, and when it first ended; memory, the file, what went wrong."""
    started = time.perf_counter()
    (result,) = engine.work([cell])
    ended, long = time.time(), time.perf_counter() - started > short
    if result.content is not None and not long:
        (result,) = engine.work([cell])  # the first time compiled, and imported what it needs
    seconds = 0.0 if result.content is None else unpack(result.content).made["seconds"]
    return seconds, ended, engine.peak_bytes(), result.content, result.error


def lines(found: Plan, grid: Grid, available: float | None = None) -> Sequence[str]:
    """The plan in words.

    Args:
        found: it.
        grid: of the sweep.
        available: memory in bytes, to warn where the plan needs more.
    """
    sizes = [f"{len(values)} {name}" for name, values in grid.axes.items()] + [f"{len(grid.seeds)} seeds"]
    stored = found.cells - found.missing
    said = [f"cells: {' x '.join(sizes)} = {found.cells}; {stored} stored, {found.missing} to do"]
    if not found.missing:
        return said
    if found.error:
        return [*said, f"the trial cell failed: {found.error}"]
    on = f"on {found.workers} worker{'s' * (found.workers > 1)}"
    if found.trial is None:
        return [*said, f"time: a cell takes more than {PATIENCE:g} s, so at least {_time(found.seconds)} {on}"]
    how = "in proportion to each cell's operations" if found.scaled else "all cells taken to cost the same"
    one = found.trial
    said.append(f"time: {_time(found.seconds)} {on} ({how}; a trial cell took {_time(one.seconds)})")
    warning = ""
    if available is not None and found.bytes is not None and found.bytes > available:
        warning = f"; more than the {_size(available)} that are free: take fewer --workers"
    said.append(f"memory: {_size(found.bytes or 0)} {on}{warning}")
    said.append(f"disk: {_size(found.stored_bytes or 0)}")
    return said


def _time(seconds: float) -> str:
    for unit, length in (("days", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.2g} s" if seconds >= 0.1 else f"{1000 * seconds:.2g} ms"


def _size(count: float) -> str:
    for unit, length in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= length:
            return f"{count / length:.3g} {unit}"
    return f"{count:.0f} B"
