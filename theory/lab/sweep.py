"""A sweep: the cells of a grid that a store lacks are computed and stored as they end; what is there is never redone.

A cell's numbers depend on its settings and seed alone: not on the workers, the order, or what was there before.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray

from theory.lab import engine as engines
from theory.lab.engine import Engine
from theory.lab.grid import Grid
from theory.lab.running import Progress, Report, run
from theory.lab.simulation import Cell, Simulation
from theory.lab.store import Damaged, Record, Store
from theory.lab.table import assemble


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


def fetch(
    cells: Sequence[Cell],
    *,
    store: Path | str = "sweeps",
    engine: Engine = "local",
    workers: int | None = None,
    scheduler: str | None = None,
) -> list[Any]:
    """The results of these cells in order, from the store or computed now; a RuntimeError for each that failed.

    What an adaptive search asks for, round by round: `frontier.trace(grid, outcome, fetch)`. Arguments are `sweep`'s.

    Raises:
        InvalidInput: before anything is computed.
        OSError: the store could not be written; what is in it stays.
        KeyboardInterrupt: likewise.
    """
    kept = Store(store)
    for simulation in {type(simulation): simulation for simulation, _ in cells}.values():
        kept.refuse_newer(simulation)
    with engines.executor(engine, workers, scheduler) as pool:
        report = run(cells, kept, pool)
    if report.interrupted:
        raise KeyboardInterrupt
    if report.trouble:
        raise report.trouble
    return [_result(kept, cell) for cell in cells]


def _result(store: Store, cell: Cell) -> Any:
    path = store.path(cell)
    try:
        return assemble({(): store.read(path)}, {})
    except FileNotFoundError:
        return RuntimeError((store.failure(path) or {"error": "not computed"})["error"])
