"""What a person sees of a sweep: the plan, progress, what failed, the claims over the grid, the files, the status."""

import json
import os
from collections import Counter
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from theory.files import replacing
from theory.lab import figure, report, survey
from theory.lab import plan as plans
from theory.lab.engine import Engine
from theory.lab.grid import Grid
from theory.lab.running import Report
from theory.lab.simulation import versions
from theory.lab.store import Store, settings_of
from theory.lab.sweep import Sweep, sweep

SHOWN = 5
"""Failed cells that are named one by one."""


def run(
    grid: Grid,
    store: Path,
    output: Path,
    engine: Engine = "local",
    workers: int | None = None,
    scheduler: str | None = None,
) -> int:
    """Sweep, judge, draw, and say so.

    Returns:
        0; 1 when a verdict contradicts what is known; 2 when cells failed, points could not be judged for an error in
        the simulation, or files could not be written; 130 after Ctrl-C.

    Raises:
        InvalidInput: before anything is computed.
        OSError: the store or the output can't be written; likewise.
    """
    console = report.terminal()
    output.mkdir(parents=True, exist_ok=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(grid.base.name, total=None)

        def progress(so_far: Report, left: int) -> None:
            failed = f", {len(so_far.failed)} failed" * bool(so_far.failed)
            bar.update(task, completed=so_far.wanted - left, total=so_far.wanted, description=grid.base.name + failed)

        options = {"store": store, "engine": engine, "workers": workers, "scheduler": scheduler}
        done = sweep(grid.base, grid.axes, progress=progress, **options)  # type: ignore[arg-type]
    _tell(done, console)
    status = _judge(done, output, console) if done.records else 0
    if done.report.interrupted:
        console.print("interrupted: what was finished is stored; the same command goes on from there")
        return 130
    if done.report.trouble:
        console.print(
            f"[bold red]stopped[/]: {done.report.trouble}; mend that, and the same command goes on from there"
        )
    return status if done.report.finished else 2


def dry_run(grid: Grid, store: Path, workers: int | None = None) -> int:
    """Print the plan.

    Returns:
        0; 2 when the trial cell failed.
    """
    kept = Store(store)
    kept.refuse_newer(grid.base)
    console = report.terminal()
    with console.status("one cell by way of trial"):
        found = plans.plan(grid, kept, workers)
    free = None
    with suppress(ValueError):  # not every system says
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for line in plans.lines(found, grid, free):
        console.print(line, markup=False, highlight=False)
    return 2 if found.error else 0


def _tell(done: Sweep, console: Console) -> None:
    said, store = done.report, done.store.folder
    parts = [f"{said.computed} computed", f"{said.found} found"]
    parts += [f"{len(said.failed)} failed"] * bool(said.failed)
    parts += [f"{said.unwritten} not stored"] * bool(said.unwritten)
    console.print(
        f"{done.grid.base.name}: {said.wanted} cells, {', '.join(parts)}, {said.seconds:.1f} s -> {store}",
        highlight=False,
    )
    for line in said.damaged:
        console.print(f"[yellow]damaged, computed again[/]: {escape(line)}", highlight=False)
    for (simulation, seed), error in said.failed[:SHOWN]:
        swept = ", ".join(f"{name}={getattr(simulation, name)}" for name in done.grid.axes)
        console.print(f"[red]failed[/]: {escape(swept)} seed={seed}: {escape(error)}", highlight=False)
    if said.failed:
        console.print(f"tracebacks: theory sweeps show {done.grid.base.name} --store {store}", highlight=False)


def _judge(done: Sweep, output: Path, console: Console) -> int:
    found = survey.survey(done)
    refused = {place: why for place, why in found.unjudged.items() if why != survey.EMPTY}
    for place, why in list(refused.items())[:SHOWN]:
        swept = ", ".join(f"{n}={v[i]}" for (n, v), i in zip(done.grid.axes.items(), place, strict=True))
        console.print(f"not judged: {escape(swept)}: {escape(why)}", highlight=False)
    if found.verdicts and done.grid.axes:
        console.print(_table(found))
    elif found.verdicts:
        console.print(report.table(found.verdicts))
    status = report.conclude(found.verdicts, console)
    name = f"{done.grid.base.name}_sweep" + "_interrupted" * done.report.interrupted
    try:
        shown = found.verdicts or (done.grid.axes and survey.outcomes(done))
        files = _files(done, found, output, name) if shown else []
    except OSError as error:
        console.print(f"[bold red]some files were not written[/]: {error}; free some space, or choose another --output")
        return 2
    table = f"theory sweeps export {done.grid.base.name} FILE --store {done.store.folder}"
    console.print("".join(f"-> {file}\n" for file in files) + f"the table: {table}", highlight=False)
    return 2 if found.broken else status


def _files(done: Sweep, found: survey.Survey, output: Path, name: str) -> list[Path]:
    if done.grid.axes:
        drawn = survey.draw(found)
    else:
        ((_, simulation, results),) = done.points()
        drawn = simulation.figure(results)
    files = figure.save(drawn, output / name)
    record = {
        "simulation": done.grid.base.name,
        "settings": settings_of(done.grid.base),
        "seeds": list(done.grid.seeds),
        "versions": versions(),
        "counts": found.verdicts.counts(),
        **survey.record(found),
    }
    with replacing(output / f"{name}.json") as part:
        lines = (f" {json.dumps(key)}: {json.dumps(value)}" for key, value in record.items())
        part.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    return [*files, output / f"{name}.json"]


def _table(found: survey.Survey) -> Table:
    """A row for each claim: how many points of the grid have each status."""
    statuses = found.statuses
    shown = Table(show_edge=False, pad_edge=False)
    shown.add_column("claim")
    present = [status for status in survey.SHADES if (statuses == str(status)).any()]
    for status in present:
        shown.add_column(str(status), justify="right", style=report.STYLES[status])
    for id in statuses.claim.values:
        counts = Counter(statuses.sel(claim=id).values.ravel().tolist())
        shown.add_row(str(id), *(str(counts[str(status)]) for status in present))
    return shown
