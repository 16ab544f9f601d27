"""What a person sees of a run: progress, the table of verdicts, the files written, the exit status."""

import dataclasses
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from theory.lab.simulation import Outcome, Simulation, execute
from theory.verdict import Status, Verdicts

STYLES = {
    Status.HOLDS: "green",
    Status.VIOLATED: "bold red",
    Status.INCONCLUSIVE: "yellow",
    Status.OUT_OF_SCOPE: "dim",
    Status.VACUOUS: "dim",
}

# Least widths: on a narrow terminal the settings give way first.
_COLUMNS = {"claim": 18, "status": 12, "points": 7, "measured": 11, "bound": 13, "tightness": 9, "draws": 5}
_COLUMNS |= {"settings": 0}


def table(verdicts: Verdicts, title: str = "") -> Table:
    """The verdicts as a rich table: measured side, relation, bound, tightness, draws, settings."""
    shown = Table(title=title or None, show_edge=False, pad_edge=False)
    for name, least in _COLUMNS.items():
        numeric = name in ("points", "tightness", "draws")
        shown.add_column(name, justify="right" if numeric else "left", no_wrap=True, min_width=least, max_width=44)
    for row in verdicts.rows():
        status = Status(row["status"])
        known = row["expected"] == status and status != Status.HOLDS
        words = f"{status} (as known)" if known else str(status)
        tightness = "" if row["tightness"] != row["tightness"] else f"{row['tightness']:.3f}"
        draws = str(row["draws"] or "")
        cells = (row["points"], row["measured"], f"{row['relation']} {row['bound']}", tightness, draws, row["settings"])
        shown.add_row(row["claim"], f"[{STYLES[status]}]{words}[/]", *map(escape, cells))
    return shown


def terminal(stderr: bool = False) -> Console:
    """A console as wide as the terminal, or wide enough for a table where the output goes to a file or a pipe."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=160)


def conclude(verdicts: Verdicts, console: Console) -> int:
    """Print the counts of all statuses and the rows that contradict what is known.

    Returns:
        0, or 1 where there are such rows.
    """
    unexpected = verdicts.unexpected()
    known = " (all as known)" if verdicts.counts()["violated"] and not unexpected else ""
    console.print(", ".join(f"{n} {status}{known * (status == 'violated')}" for status, n in verdicts.counts().items()))
    for verdict in unexpected:
        console.print(f"[bold red]unexpected[/]: {verdict.explain()}", highlight=False)
    return 1 if unexpected else 0


def run(simulations: Sequence[Simulation], output: Path = Path("figures"), jobs: int = 1) -> int:
    """Execute simulations, then print their verdicts as one table.

    Args:
        simulations: what to run.
        output: folder for figures and records.
        jobs: how many to run at once, each in a process of its own, on one thread; with 1 they run here.

    Returns:
        Exit status: 0; 1 when a proved claim is violated or a refuted one holds; 2 when files could not be written; 130
        after Ctrl-C. What was finished is judged, and written where possible, before any of these.
    """
    console = terminal()
    outcomes: list[Outcome] = []
    interrupted = False
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        running = _here(simulations, output, progress) if jobs == 1 else _aside(simulations, output, progress, jobs)
        try:
            for simulation, outcome in running:
                outcomes.append(outcome)
                stated = f" (quick profile: {simulation.quick_seconds:.0f} s)" * (simulation == type(simulation)())
                files = ", ".join(str(path) for path in outcome.files) or f"not written: {outcome.trouble}"
                console.print(f"{simulation.name}: {outcome.seconds:.1f} s{stated} -> {files}", highlight=False)
                interrupted |= outcome.interrupted
        except KeyboardInterrupt:
            interrupted = True
    verdicts = Verdicts(verdict for outcome in outcomes for verdict in outcome.verdicts)
    if verdicts:
        console.print(table(verdicts))
    status = conclude(verdicts, console)
    if interrupted:
        console.print("interrupted: finished repetitions were kept and written, the others were not")
        return 130
    if any(outcome.trouble for outcome in outcomes):
        console.print("[bold red]some files were not written[/]: free some space, or choose another --output")
        return 2
    return status


Running = Iterator[tuple[Simulation, Outcome]]


def _here(simulations: Sequence[Simulation], output: Path, progress: Progress) -> Running:
    for simulation in simulations:
        task = progress.add_task(simulation.name, total=1.0)
        outcome = execute(simulation, output, _advance(progress, task))
        progress.remove_task(task)
        yield simulation, outcome
        if outcome.interrupted:
            return


def _aside(simulations: Sequence[Simulation], output: Path, progress: Progress, jobs: int) -> Running:
    task = progress.add_task(f"{len(simulations)} simulations", total=len(simulations))
    # spawned, not forked: a forked copy of a threaded BLAS can hang
    left, running = list(simulations), dict[Future[Outcome], Simulation]()
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        try:
            while left or running:
                while left and len(running) < jobs:  # none waits in the pool, where Ctrl-C could not reach it
                    simulation = left.pop(0)
                    running[pool.submit(_without_results, simulation, output)] = simulation
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    progress.advance(task)
                    yield running.pop(done), done.result()
        except KeyboardInterrupt:  # the workers got it too, and return what they have finished
            for future, simulation in running.items():
                if future.exception() is None:
                    yield simulation, future.result()
            raise


def _without_results(simulation: Simulation, output: Path) -> Outcome:
    return dataclasses.replace(
        execute(simulation, output), results=None
    )  # they are on disk as a figure: spare the pipe


def _advance(progress: Progress, task: Any) -> Any:
    return lambda fraction: progress.update(task, completed=fraction)
