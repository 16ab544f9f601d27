"""The command of a simulation: one flag for each setting. Several values make a sweep.

`python -m simulations.recovery --width 256 1024 --noise-rate 0:0.5:11 --seeds 20`
"""

import dataclasses
import importlib
import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from theory import checks
from theory.lab import grid, report, sweep_report
from theory.lab.simulation import Simulation


@dataclass(frozen=True)
class SweepOptions:
    """A sweep: taken where a setting has several values, or one of these is set. It can be killed and goes on."""

    store: Path = Path("sweeps")
    """folder of finished cells; what is there is not computed again"""
    engine: Literal["local", "dask"] = "local"
    """processes of this machine, or a Dask cluster"""
    workers: int | None = None
    """how many processes of this machine; one for each core by default"""
    scheduler: str | None = None
    """address of a running Dask scheduler, tcp://HOST:8786"""
    dry_run: bool = False
    """print the number of cells, time and memory from one trial cell, and stop"""


SEVERAL = (
    "Several values of a setting make a sweep, and the grid is their product: --width 256 1024 --noise-rate 0:0.5:11 "
    "(eleven values), --width 256:65536:9:log (equal ratios); of a setting that is a list, with a slash between: "
    "--radii 0 0.1 / 0 0.2; of a switch both words: --centred --no-centred."
)


def main(kind: type[Simulation], arguments: list[str] | None = None) -> int:
    """The command of one simulation: a flag per setting, `--profile quick|full`, `--output DIR`; `SweepOptions`.

    Returns:
        0; 1 when a verdict contradicts what is known; 2 for settings that can't be run, or cells that failed; 130 after
        Ctrl-C.
    """
    import tyro

    main_module = sys.modules["__main__"]
    if kind.__module__ == "__main__" and main_module.__spec__ is not None:
        # run by `python -m`: workers need the class by a name that they can import
        kind = getattr(importlib.import_module(main_module.__spec__.name), kind.__name__)
    arguments = sys.argv[1:] if arguments is None else arguments
    words = " ".join(arguments).replace("--profile=", "--profile ").split()
    full = [after for flag, after in itertools.pairwise(words) if flag == "--profile"][-1:] == ["full"]
    command = dataclasses.make_dataclass(
        "Command",
        [
            ("settings", kind, dataclasses.field(default=kind.full() if full else kind())),
            ("profile", Literal["quick", "full"], dataclasses.field(default="quick")),
            ("output", Path, dataclasses.field(default=Path("figures"))),
            ("sweep", SweepOptions, dataclasses.field(default=SweepOptions())),
        ],
    )

    def single(words: Sequence[str]) -> Any:
        return tyro.cli(
            command,
            args=list(words),
            prog=f"python -m {kind.__module__}" if kind.__module__ != "__main__" else None,
            description=f"{kind.__doc__}\n\n{SEVERAL}",
            config=(tyro.conf.OmitArgPrefixes,),
        )

    try:
        options, axes = grid.parse(kind, arguments, single)
        how = options.sweep
        if not axes and how == SweepOptions():
            return report.run([options.settings], options.output)
        points = grid.Grid(options.settings, axes)
        if how.dry_run:
            return sweep_report.dry_run(points, how.store, how.workers)
        return sweep_report.run(points, how.store, options.output, how.engine, how.workers, how.scheduler)
    except checks.InvalidInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"error: output: expected a folder that can be written, got {error}; choose another --output",
            file=sys.stderr,
        )
        return 2
