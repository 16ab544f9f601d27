"""Looking after a store: what is in it, its tables as files for other programs, and what can go (`theory sweeps`)."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from theory import checks
from theory.files import PART, replacing
from theory.lab.store import Damaged, Store
from theory.lab.table import everything, varying

SUFFIXES = (".nc", ".parquet", ".csv")

ABANDONED = 3600.0
"""Seconds after which an unfinished file is nobody's: a sweep that is under way writes one in much less."""


@dataclass(frozen=True)
class Contents:
    """What a store holds of one version of a simulation.

    Attributes:
        name: of the simulation.
        version: of it.
        cells: how many.
        failed: how many.
        varying: settings that have several values -> these, and the seeds.
        bytes: on the disk.
        damaged: files that are not what was written, with why.
    """

    name: str
    version: int
    cells: int
    failed: int
    varying: Mapping[str, Sequence[Any]]
    bytes: int
    damaged: Sequence[str]


def contents(store: Store) -> list[Contents]:
    """Every simulation and version in a store."""
    found = []
    for name in store.names():
        by_version: dict[int, list[dict[str, Any]]] = {}
        sizes: dict[int, int] = {}
        damaged = []
        for path, record in store.records(name):
            if isinstance(record, Damaged):
                damaged.append(str(record))
                continue
            by_version.setdefault(record.version, []).append({**record.settings, "seed": record.seed})
            sizes[record.version] = sizes.get(record.version, 0) + path.stat().st_size
        failures = [failure["version"] for failure in store.failures(name)]
        for version in sorted({*by_version, *failures}):
            cells = by_version.get(version, [])
            axes = varying(cells) if cells else {}
            size = sizes.get(version, 0)
            found.append(Contents(name, version, len(cells), failures.count(version), axes, size, damaged))
            damaged = []
        if damaged:
            found.append(Contents(name, 0, 0, 0, {}, 0, damaged))
    return found


def export(
    store: Store, name: str, target: Path, where: Mapping[str, Any] | None = None, variables: Sequence[str] = ()
) -> list[str]:
    """Write the table of a simulation's cells: .nc (all of it), or .parquet or .csv (a row for each cell).

    Args:
        store: to read.
        name: of the simulation.
        target: file, named after its format.
        where: field -> value, to take only those cells.
        variables: to take. By default all of a .nc file; in rows those with one value for each cell. Other variables
            make a row for each of their own entries.

    Returns:
        What was left out: damaged cells, and variables that rows have no place for.

    Raises:
        InvalidInput: an unknown format or variable, no cells.
        OSError: the file can't be written.
    """
    checks.choice("file", target.suffix, SUFFIXES)
    table, damaged = everything(store, name, where)
    if unknown := [variable for variable in variables if variable not in table]:
        checks.fail("variables", f"some of {', '.join(map(str, table))}", ", ".join(unknown), "choose from these")
    if target.suffix == ".nc":
        chosen = table[list(variables)] if variables else table
        write = chosen.to_netcdf
    else:
        frame = _rows(table, variables)
        write = partial(frame.to_csv if target.suffix == ".csv" else frame.to_parquet, index=False)
    with replacing(target) as part:
        try:
            write(part)
        except (ValueError, TypeError, NotImplementedError) as error:  # complex numbers, a name with a slash
            remedy = "choose others with --variables, or another kind of file"
            checks.fail("file", f"variables that {target.suffix} can hold", str(error), remedy)
    more = [f"{name} (several values for each cell: --variables)" for name in left_out(table, target.suffix, variables)]
    return [*map(str, damaged), *more]


def left_out(table: Any, suffix: str, variables: Sequence[str]) -> list[str]:
    """The variables that rows have no place for, as they have several values for each cell."""
    axes = set(table.cell_status.dims)
    return [] if variables or suffix == ".nc" else [str(name) for name in table if set(table[name].dims) > axes]


def _rows(table: Any, variables: Sequence[str]) -> Any:
    axes = set(table.cell_status.dims)
    single = [str(name) for name in table if set(table[name].dims) == axes and name != "cell_status"]
    if not (variables or single):
        remedy = "name some with --variables; each of their entries becomes a row"
        checks.fail("table", "variables with one value for each cell", ", ".join(map(str, table)), remedy)
    chosen = list(variables) or single
    frame = table[list(dict.fromkeys([*chosen, "cell_status"]))].to_dataframe()
    frame = frame[frame["cell_status"] == "done"]
    if "cell_status" not in chosen:
        frame = frame.drop(columns="cell_status")
    if any(set(table[name].dims) > axes for name in chosen):
        frame = frame.dropna(how="all", subset=chosen)  # labels that a cell has not
    return frame.reset_index().assign(**{name: value for name, value in table.attrs.items() if name not in frame})


def prune(store: Store, name: str | None = None, *, whole: bool = False, keep: bool = False) -> list[Path]:
    """Remove unfinished and damaged files, and cells of versions of a simulation older than the newest in the store.

    Args:
        store: to clean.
        name: of a simulation, to clean its part only.
        whole: all of it goes.
        keep: only say what would go.

    Returns:
        What was removed.

    Raises:
        InvalidInput: a name that is not in the store.
    """
    names = store.names()
    if name is not None:
        names = [checks.choice("simulation", name, names)]
    gone = [path for path in store.leftovers() if time.time() - path.stat().st_mtime > ABANDONED]
    for one in names:
        files = (path for path in sorted((store.folder / one).glob("*/*")) if not path.name.endswith(PART))
        gone += files if whole else _useless(store, one)
    for path in [] if keep else gone:
        path.unlink(missing_ok=True)
    return gone


def _useless(store: Store, name: str) -> Iterator[Path]:
    newest = max((found.version for found in contents(store) if found.name == name), default=0)
    for path, record in store.records(name):
        if isinstance(record, Damaged) or record.version < newest:
            yield path
    for failure in store.failures(name):
        if failure["version"] < newest:
            yield failure["path"]
