"""Stored cells as one labelled data set: a dimension for each setting that varies, `seed`, and the cells' own.

Cells need not agree in their dimensions' labels (the recorded steps of a longer run, say): the table has all labels,
and NaN (or an empty string) where a cell has none, or is missing. Integers become floats where that happens.
"""

import dataclasses
import json
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray

from theory import checks
from theory.lab.store import Damaged, Record, Store, plain

LARGEST_HOLE = 50
"""A table of everything in a store may be this many times as large as the cells that there are."""

Index = tuple[int, ...]


def assemble(
    cells: Mapping[Index, Record], axes: Mapping[str, Sequence[Any]], about: Mapping[str, np.ndarray] | None = None
) -> xarray.Dataset:
    """The table of these cells.

    Args:
        cells: place in the grid -> record; places without one are missing.
        axes: name -> values, in the order of the places. An axis named like a cell's own variable becomes `swept_NAME`.
        about: further variables over the grid.

    Raises:
        InvalidInput: no cells, or a variable has other dimensions in another cell.

    Example:
        >>> from theory.lab.store import Record
        >>> cell = lambda seed: Record("toy", 1, {}, seed, {"x": (("n",), np.arange(2.0) + seed)}, (), {}, {})
        >>> assemble({(0,): cell(5), (1,): cell(6)}, {"seed": [5, 6]}).x.values
        array([[5., 6.],
               [6., 7.]])
    """
    if not cells:
        checks.fail("cells", "at least one", 0, "run the sweep first")
    shape = tuple(len(values) for values in axes.values())
    dims = _dimensions(cells.values())
    cells = {index: _with_dimensions(record, dims) for index, record in cells.items()}
    places = {dim: _Labels(dim, cells.values(), dims) for dim in dict.fromkeys(d for ds in dims.values() for d in ds)}
    names = {axis: f"swept_{axis}" if axis in dims or axis in places else axis for axis in axes}
    variables: dict[str, Any] = {name: (tuple(names.values()), values) for name, values in (about or {}).items()}
    coordinates: dict[str, Any] = {names[axis]: (names[axis], labels(values)) for axis, values in axes.items()}
    known_coordinates = {name for record in cells.values() for name in record.coordinates}
    for name, own in dims.items():
        having = {index: record for index, record in cells.items() if name in record.arrays}
        if own == (name,):
            coordinates[name] = (own, places[name].union)
        elif name in known_coordinates and (shared := _shared(name, having.values(), own, places)) is not None:
            coordinates[name] = (own, shared)
        else:
            target = coordinates if name in known_coordinates else variables
            target[name] = (tuple(names.values()) + own, _filled(name, own, having, shape, places))
    table = xarray.Dataset(variables, coordinates)
    return table.assign_attrs(_common([record.attributes for record in cells.values()]))


def labels(values: Sequence[Any]) -> np.ndarray:
    """Values of a setting as an index: as they are where they are all of one kind, otherwise as text."""
    if all(isinstance(value, bool | np.bool_) for value in values):
        return np.array(values, dtype=bool)
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return np.array(values)
    return np.array([value if isinstance(value, str) else json.dumps(value, default=str) for value in values])


def everything(store: Store, name: str, where: Mapping[str, Any] | None = None) -> tuple[xarray.Dataset, list[Damaged]]:
    """The table of all cells of a simulation, those of its newest version; what varies becomes a dimension.

    Args:
        store: to read.
        name: of the simulation.
        where: field -> value, to take only the cells with these settings.

    Returns:
        The table, with `cell_status` and with the settings that do not vary as attributes; and a complaint for each
        damaged file, which is left out.

    Raises:
        InvalidInput: no such cells, or settings so diverse that their product is mostly empty.
    """
    found = [one for _, one in store.records(name)]
    damaged = [one for one in found if isinstance(one, Damaged)]
    records = [one for one in found if isinstance(one, Record)]
    newest = max((record.version for record in records), default=0)
    wanted = {key: plain(key, value) for key, value in (where or {}).items()}
    records = [record for record in records if record.version == newest]
    fields = dict.fromkeys(field for record in records for field in record.settings)
    if records and (unknown := set(wanted) - set(fields)):
        checks.fail("where", f"fields of {name}", ", ".join(sorted(unknown)), f"known: {', '.join(fields)}")
    records = [r for r in records if all(_same(r.settings.get(key), value) for key, value in wanted.items())]
    if not records:
        known = ", ".join(store.names()) or "nothing"
        checks.fail("cells", f"some of {name}{' with these settings' * bool(wanted)}", f"none in {store.folder}",
                    f"it holds {known}; see `theory sweeps list`")  # fmt: skip
    axes = varying([{**record.settings, "seed": record.seed} for record in records])
    size = math.prod(len(values) for values in axes.values())
    if size > LARGEST_HOLE * len(records):
        counts = ", ".join(f"{len(values)} of {axis}" for axis, values in axes.items())
        remedy = "take part of it (--where FIELD=VALUE), or keep sweeps apart with --store"
        checks.fail(name, f"a table of at most {LARGEST_HOLE} times its {len(records)} cells", counts, remedy)
    place = {axis: {json.dumps(value): i for i, value in enumerate(values)} for axis, values in axes.items()}
    cells = {}
    status = np.full([len(values) for values in axes.values()], "missing")
    for record in records:
        known_by = {**record.settings, "seed": record.seed}
        index = tuple(place[axis][json.dumps(known_by.get(axis))] for axis in axes)
        cells[index], status[index] = record, "done"
    constant = {key: value for key, value in records[0].settings.items() if key not in axes}
    said = {key: value if isinstance(value, int | float | str) and not isinstance(value, bool) else json.dumps(value)
            for key, value in constant.items()}  # fmt: skip
    about = {"simulation": name, "version": newest, **said}
    table = assemble(cells, axes, {"cell_status": status})
    return table.assign_attrs({**about, **table.attrs}), damaged


def varying(settings: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The fields that have several values, with their values in order, and `seed` as the last.

    A field that came later than some cells is None in these.
    """
    values: dict[str, dict[str, Any]] = {name: {} for one in settings for name in one}
    for one in settings:
        for name, found_here in values.items():
            found_here.setdefault(json.dumps(one.get(name)), one.get(name))
    axes = {name: list(found.values()) for name, found in values.items() if len(found) > 1 and name != "seed"}
    axes["seed"] = list(values["seed"].values())
    return {name: _ordered(found) for name, found in axes.items()}


def _ordered(values: list[Any]) -> list[Any]:
    numbers = sorted(value for value in values if isinstance(value, int | float))
    return numbers + sorted((value for value in values if not isinstance(value, int | float)), key=str)


def _same(one: Any, other: Any) -> bool:
    return json.dumps(one) == json.dumps(other)  # True is not 1


def _dimensions(records: Iterable[Record]) -> dict[str, tuple[str, ...]]:
    """Of every variable; where cells differ, of the cell in which it has most."""
    dims: dict[str, tuple[str, ...]] = {}
    for record in records:
        for name, (own, _) in record.arrays.items():
            if len(own) > len(dims.setdefault(name, own)):
                dims[name] = own
    return dims


def _with_dimensions(record: Record, dims: Mapping[str, tuple[str, ...]]) -> Record:
    """The cell, its variables repeated along the dimensions that they have in other cells."""
    if all(own == dims[name] for name, (own, _) in record.arrays.items()):
        return record
    sizes = {dim: n for own, values in record.arrays.values() for dim, n in zip(own, values.shape, strict=True)}
    arrays = {}
    for name, (own, values) in record.arrays.items():
        target = dims[name]
        if not set(own) <= set(target) or not set(target) <= set(sizes):
            got, remedy = f"{own} in one cell and {target} in another", "take part of the cells (--where FIELD=VALUE)"
            checks.fail(f"{record.simulation}, variable {name}", "dimensions that can be matched", got, remedy)
        moved = values.transpose([own.index(dim) for dim in target if dim in own])
        spread = moved[tuple(slice(None) if dim in own else None for dim in target)]
        arrays[name] = target, np.broadcast_to(spread, [sizes[dim] for dim in target])
    return dataclasses.replace(record, arrays=arrays)


class _Labels:
    """The labels that a dimension has in all cells together, and where a cell's own are among them."""

    def __init__(self, dim: str, records: Iterable[Record], dims: Mapping[str, tuple[str, ...]]) -> None:
        self._dim, self._labelled = dim, dims.get(dim) == (dim,)
        found = [own for record in records if (own := self._own(record)) is not None]
        distinct = {_identity(own): own for own in found}
        if len(distinct) > 1 and any(len(np.unique(own)) < len(own) for own in distinct.values()):
            remedy = "make it a variable of its own, beside a dimension without labels"
            checks.fail(f"coordinate {dim}", "each label once where cells differ in them", "one twice", remedy)
        self.union = found[0] if len(distinct) == 1 else np.unique(np.concatenate(list(distinct.values())))
        self._positions = {key: np.searchsorted(self.union, own) for key, own in distinct.items()}
        self.same = len(distinct) == 1

    def of(self, record: Record) -> np.ndarray:
        """Positions of a cell's labels in the union."""
        return self._positions[_identity(self._own(record))]

    def _own(self, record: Record) -> Any:
        if self._labelled and self._dim in record.arrays:
            return record.arrays[self._dim][1]
        for own, values in record.arrays.values():
            if self._dim in own:
                return np.arange(values.shape[own.index(self._dim)])
        return None


def _identity(values: np.ndarray) -> Hashable:
    return values.dtype.str, values.shape, values.tobytes()


def _shared(name: str, having: Iterable[Record], own: tuple[str, ...], places: Mapping[str, _Labels]) -> Any:
    """The values that a coordinate has in every cell; None if it depends on the place in the grid."""
    distinct = {_identity(record.arrays[name][1]): record.arrays[name][1] for record in having}
    values = next(iter(distinct.values()))
    whole = values.shape == tuple(len(places[dim].union) for dim in own)
    return values if len(distinct) == 1 and whole else None


def _filled(
    name: str, own: tuple[str, ...], having: Mapping[Index, Record], shape: Index, places: Mapping[str, _Labels]
) -> np.ndarray:
    """The values of one variable over the grid."""
    size = tuple(len(places[dim].union) for dim in own)
    found = {index: record.arrays[name][1] for index, record in having.items()}
    whole = len(found) == math.prod(shape) and all(values.shape == size for values in found.values())
    dtype = np.result_type(*{values.dtype for values in found.values()})
    if not whole and dtype.kind in "biu":
        dtype = np.dtype(float)
    blank: Any = "" if dtype.kind in "US" else np.nan if dtype.kind in "fc" else 0
    values = np.full(shape + size, blank, dtype)
    for index, record in having.items():
        if all(places[dim].same for dim in own):
            values[index] = found[index]
        else:
            values[index][np.ix_(*(places[dim].of(record) for dim in own))] = found[index]
    return values


def _common(attributes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first = attributes[0]
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in attributes)}
