"""A folder of finished cells: each is one repetition of a simulation, in a file that is there whole or not at all.

    store/
      store.json                        format of the store
      early_stopping/
        5f2c.../7.npz                   settings (with the simulation's version) as a digest, seed 7
        5f2c.../9.failed.json           seed 9 raised; the traceback

A cell is an ordinary .npz file, arrays and a `header.json`, whose last 64 bytes (the comment of the zip archive) are a
BLAKE2 digest of all bytes before: a truncated file or a flipped bit is noticed. `numpy.load` reads it.
"""

import dataclasses
import hashlib
import io
import json
import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from theory import checks
from theory.files import PART, replacing
from theory.lab.simulation import Cell, Simulation

FORMAT = 1
_DIGEST = 64  # hexadecimal digits at the end of a file
_HEADER = "header.json"


class Damaged(Exception):
    """A cell's file is not what was written."""


@dataclass(frozen=True, eq=False)
class Record:
    """One cell as it was stored.

    Attributes:
        simulation: its name.
        version: of the simulation.
        settings: all fields but `seeds` and `first_seed`.
        seed: of the repetition.
        arrays: name -> (dimensions, values); coordinates among them.
        coordinates: which of the arrays are coordinates.
        attributes: of the data set.
        made: seconds, host, time, versions: never part of a table that is compared.
    """

    simulation: str
    version: int
    settings: dict[str, Any]
    seed: int
    arrays: dict[str, tuple[tuple[str, ...], np.ndarray]]
    coordinates: tuple[str, ...]
    attributes: dict[str, Any]
    made: dict[str, Any]


def settings_of(simulation: Simulation) -> dict[str, Any]:
    """The fields that a cell depends on, as JSON holds them; whole floats as integers, so that 1 and 1.0 are the same.

    Raises:
        InvalidInput: a value that JSON can't hold.
    """
    fields = dataclasses.asdict(simulation)
    return {name: plain(name, value) for name, value in fields.items() if name not in ("seeds", "first_seed")}


def plain(name: str, value: Any) -> Any:
    """A setting as JSON holds it.

    Raises:
        InvalidInput: it can't.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, list | tuple):
        return [plain(name, entry) for entry in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, float) and not math.isfinite(value):
        checks.fail(name, "a finite number", value, "a sweep's cells are told apart by their settings")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    checks.fail(name, "a number, a string, or a tuple of these", type(value).__name__, "only those can be swept")


def digest(simulation: Simulation) -> str:
    """Of name, version and settings: the folder of the cells that differ in their seed only."""
    return _digest(simulation.name, simulation.version, settings_of(simulation))


def _digest(name: str, version: int, settings: dict[str, Any]) -> str:
    text = json.dumps([name, version, settings], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def pack(cell: Cell, results: Any, made: dict[str, Any]) -> bytes:
    """The file of a cell.

    Args:
        cell: settings and seed.
        results: the `xarray.Dataset` that `run` returned.
        made: JSON-able, see `Record`.

    Raises:
        InvalidInput: arrays of objects, or attributes that JSON can't hold.
    """
    simulation, seed = cell
    arrays, dims = {}, {}
    for name, variable in results.variables.items():
        values = np.asarray(variable.values)
        if values.dtype.kind not in "biufcUS":
            remedy = "store numbers, booleans or strings of fixed width"
            checks.fail(f"{simulation.name}, variable {name}", "numbers", f"dtype {values.dtype}", remedy)
        arrays[str(name)], dims[str(name)] = values, list(variable.dims)
    header = {
        "simulation": simulation.name,
        "version": simulation.version,
        "settings": settings_of(simulation),
        "seed": seed,
        "dims": dims,
        "coordinates": [str(name) for name in results.coords],
        "attributes": {str(name): plain(str(name), value) for name, value in results.attrs.items()},
        "made": made,
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo(_HEADER), json.dumps(header))
        for name, values in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w") as member:
                flat = np.ascontiguousarray(values).reshape(values.shape)
                np.lib.format.write_array(member, flat, version=(1, 0), allow_pickle=False)
        archive.comment = b"0" * _DIGEST
    content = buffer.getvalue()[:-_DIGEST]
    return content + _checksum(content)


def unpack(content: bytes) -> Record:
    """What `pack` put together.

    Raises:
        Damaged: the checksum does not fit.
    """
    if len(content) <= _DIGEST or _checksum(content[:-_DIGEST]) != content[-_DIGEST:]:
        raise Damaged("the checksum does not fit: truncated, or changed after it was written")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        header = json.loads(archive.read(_HEADER))
        arrays = {name: (tuple(dims), _array(archive.read(f"{name}.npy"))) for name, dims in header["dims"].items()}
    rest = {key: header[key] for key in ("simulation", "version", "settings", "seed", "attributes", "made")}
    return Record(arrays=arrays, coordinates=tuple(header["coordinates"]), **rest)


def _checksum(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST // 2).hexdigest().encode()


def _array(content: bytes) -> np.ndarray:
    start = 10 + int.from_bytes(content[8:10], "little")
    dtype, shape = _layout(content[:start])
    return np.frombuffer(content, dtype, offset=start).reshape(shape)


@lru_cache(maxsize=4096)  # thousands of cells share a few layouts, and parsing one takes longer than reading the cell
def _layout(header: bytes) -> tuple[np.dtype, tuple[int, ...]]:
    stream = io.BytesIO(header)
    np.lib.format.read_magic(stream)
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    return dtype, shape


class Store:
    """A folder of cells.

    Args:
        folder: made if need be.

    Raises:
        InvalidInput: a folder that can't be written or has other files, or a store written by a newer version.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._groups: dict[int, tuple[Simulation, Path]] = {}  # holds the simulation, so that its id stays its own
        mark = self.folder / "store.json"
        try:
            self._open(mark)
        except OSError as error:
            remedy = "name another --store"
            raise checks.InvalidInput(f"store: expected a folder that can be written, got {error}; {remedy}") from error
        try:
            found = checks.integer("format", json.loads(mark.read_text())["format"], minimum=1)
        except (ValueError, KeyError, TypeError) as error:
            remedy = f'write {{"format": {FORMAT}}} there if the cells are worth keeping'
            raise checks.InvalidInput(f"{mark}: expected the format of a store, got {error}; {remedy}") from error
        if found > FORMAT:
            remedy = "update theorycheck, or name another folder"
            checks.fail("store", f"format {FORMAT}", f"{found} in {folder}, written by a newer theorycheck", remedy)

    def _open(self, mark: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        others = any(not path.name.endswith(PART) for path in self.folder.iterdir())  # first: a sweep may start beside
        if not mark.exists():
            if others:
                got = f"{self.folder} with other files"
                checks.fail("store", "a store, or an empty folder", got, "name another folder")
            with replacing(mark) as part:
                part.write_text(json.dumps({"format": FORMAT}) + "\n")

    def refuse_newer(self, simulation: Simulation) -> None:
        """Refuse a store that holds cells of a newer version of this simulation.

        Raises:
            InvalidInput: it does.
        """
        newest = max((record.version for record in self.samples(simulation.name)), default=0)
        if newest > simulation.version:
            got = f"cells of version {newest}, written by a newer theorycheck"
            remedy = "update theorycheck, or name another --store"
            checks.fail(f"store, {simulation.name}", f"version {simulation.version} or older", got, remedy)

    def path(self, cell: Cell) -> Path:
        """Where a cell is, or would be."""
        simulation, seed = cell
        known = self._groups.get(id(simulation))
        if known is None:  # thousands of cells share a few settings
            known = self._groups[id(simulation)] = (simulation, self.folder / simulation.name / digest(simulation))
        return known[1] / f"{seed}.npz"

    def write(self, path: Path, content: bytes) -> None:
        """Keep the file of a cell, on the disk when this returns.

        Raises:
            OSError: the disk is full, or the store is gone, say; what was there before stays.
        """
        self._make(path.parent)
        with replacing(path) as part:
            part.write_bytes(content)
        _failure(path).unlink(missing_ok=True)

    def write_failure(self, path: Path, cell: Cell, error: str, traceback: str) -> None:
        """Keep why a cell has no results.

        Raises:
            OSError: likewise.
        """
        simulation, seed = cell
        about = {"simulation": simulation.name, "version": simulation.version, "settings": settings_of(simulation)}
        self._make(path.parent)
        with replacing(_failure(path)) as part:
            part.write_text(
                json.dumps({**about, "seed": seed, "error": error, "traceback": traceback}, indent=1) + "\n"
            )

    def _make(self, group: Path) -> None:
        for folder in (group.parent, group):  # not the store: cells in a folder without its mark would be lost
            folder.mkdir(exist_ok=True)

    def read(self, path: Path) -> Record:
        """A cell's record.

        Raises:
            FileNotFoundError: not there.
            Damaged: not what was written, or written for another place.
        """
        record = unpack(path.read_bytes())
        if (_digest(record.simulation, record.version, record.settings), str(record.seed)) != (
            path.parent.name,
            path.stem,
        ):
            raise Damaged(f"it holds seed {record.seed} of {record.simulation} with other settings: moved by hand?")
        return record

    def failure(self, path: Path) -> dict[str, Any] | None:
        """Why the cell at `path` has no results: error, traceback and the rest; None if nothing is known."""
        try:
            found: dict[str, Any] = json.loads(_failure(path).read_text())
            return found
        except (OSError, ValueError):
            return None

    def names(self) -> list[str]:
        """Of the simulations that have cells here."""
        return sorted({path.parents[1].name for path in self.folder.glob("*/*/*") if not path.name.endswith(PART)})

    def paths(self, name: str) -> list[Path]:
        """The cells of a simulation."""
        return sorted((self.folder / name).glob("*/*.npz"))

    def failures(self, name: str) -> Iterator[dict[str, Any]]:
        """Of cells without results: simulation, version, settings, seed, error, traceback, and the path of the file."""
        for path in sorted((self.folder / name).glob("*/*.failed.json")):
            found = self.failure(_results(path))
            if found is not None and not _results(path).exists():
                yield {**found, "path": path}

    def samples(self, name: str) -> Iterator[Record]:
        """One readable cell for each group of cells of `name` that differ in their seed only."""
        for group in sorted((self.folder / name).glob("*")):
            for path in sorted(group.glob("*.npz")):
                try:
                    yield self.read(path)
                    break
                except (Damaged, FileNotFoundError):
                    continue

    def records(self, name: str) -> Iterator[tuple[Path, Record | Damaged]]:
        """The cells of a simulation, or what is wrong with them; what is pruned at this moment is left out."""
        for path in self.paths(name):
            try:
                yield path, self.read(path)
            except Damaged as error:
                yield path, Damaged(f"{path}: {error}")
            except FileNotFoundError:
                continue

    def leftovers(self) -> list[Path]:
        """Files that were never finished, because their program was killed."""
        return sorted(self.folder.glob(f"**/.*{PART}"))


def _failure(path: Path) -> Path:
    return path.with_name(f"{path.stem}.failed.json")


def _results(failure: Path) -> Path:
    return failure.with_name(failure.name.replace(".failed.json", ".npz"))
