"""Cells put together: labels, holes, dtypes, order."""

import dataclasses
import time
from pathlib import Path

import numpy as np
import pytest
import xarray
from toys import Draws, image

from theory.checks import InvalidInput
from theory.lab.grid import Grid
from theory.lab.running import Report
from theory.lab.store import Damaged, Record, Store, pack, unpack
from theory.lab.sweep import Sweep
from theory.lab.table import assemble, everything, varying


def record(dataset: xarray.Dataset, seed: int = 0) -> Record:
    return unpack(pack((Draws(), seed), dataset, {}))


def test_it_says_what_xarray_would_say() -> None:
    sets = [Draws().run(seed) for seed in range(5)]
    expected = xarray.concat(sets, dim="seed").assign_coords(seed=range(5))
    found = assemble({(seed,): record(one) for seed, one in enumerate(sets)}, {"seed": range(5)})
    xarray.testing.assert_identical(found, expected.transpose("seed", ...))


def test_labels_that_differ_are_joined_and_holes_show() -> None:
    short = xarray.Dataset({"loss": ("step", [1.0, 2.0]), "count": 3, "name": "ab"}, {"step": [0, 10]})
    long = xarray.Dataset({"loss": ("step", [5.0, 6.0, 7.0]), "count": 4, "name": "c"}, {"step": [0, 5, 20]})
    table = assemble({(0, 0): record(short), (1, 1): record(long)}, {"width": [8, 16], "seed": [3, 4]})
    assert table.step.values.tolist() == [0, 5, 10, 20]
    np.testing.assert_array_equal(table.loss.sel(width=8, seed=3), [1, np.nan, 2, np.nan])
    np.testing.assert_array_equal(table.loss.sel(width=16, seed=4), [5, 6, np.nan, 7])
    assert np.isnan(table.loss.sel(width=8, seed=4)).all()
    np.testing.assert_array_equal(table["count"], [[3, np.nan], [np.nan, 4]])
    assert table.name.values.tolist() == [["ab", ""], ["", "c"]]


def test_the_same_labels_in_another_order() -> None:
    one = xarray.Dataset({"v": ("k", [1.0, 2.0])}, {"k": ["a", "b"]})
    two = xarray.Dataset({"v": ("k", [2.0, 1.0])}, {"k": ["b", "a"]})
    table = assemble({(0,): record(one), (1,): record(two)}, {"seed": [0, 1]})
    np.testing.assert_array_equal(table.v.values, [[1, 2], [1, 2]])


def test_axes_named_like_a_variable_and_odd_settings() -> None:
    cells = {(i, 0): record(xarray.Dataset({"scale": 1.0})) for i in range(2)}
    assert assemble(cells, {"scale": [1, 2], "seed": [0]}).scale.dims == ("swept_scale", "seed")
    lists = assemble(cells, {"shares": [(0.5,), (0.5, 0.6)], "seed": [0]})
    assert lists.shares.values.tolist() == ["[0.5]", "[0.5, 0.6]"]
    assert assemble(cells, {"flag": [True, False], "seed": [0]}).flag.dtype == bool


def test_a_variable_with_a_dimension_more_in_some_cells() -> None:
    one = xarray.Dataset({"rate": ("k", [1.0, 2.0]), "loss": (("net", "k"), np.zeros((3, 2)))})
    two = xarray.Dataset(
        {"rate": (("net", "k"), [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), "loss": (("net", "k"), np.ones((3, 2)))}
    )
    table = assemble({(0,): record(one), (1,): record(two)}, {"seed": [0, 1]})
    expected = xarray.concat([one, two], dim="seed").transpose("seed", "net", "k").assign_coords(seed=[0, 1])
    xarray.testing.assert_identical(table, expected)


def test_dimensions_in_another_order() -> None:
    one = xarray.Dataset({"loss": (("net", "k"), np.arange(6.0).reshape(3, 2))})
    table = assemble({(0,): record(one), (1,): record(one.transpose("k", "net"))}, {"seed": [0, 1]})
    np.testing.assert_array_equal(table.loss[0], table.loss[1])
    assert table.loss.dims == ("seed", "net", "k")


def test_refusals() -> None:
    with pytest.raises(InvalidInput, match="at least one"):
        assemble({}, {"seed": [0]})
    one, two = xarray.Dataset({"v": ("k", [1.0])}), xarray.Dataset({"v": ("j", [1.0])})
    with pytest.raises(InvalidInput, match="dimensions that can be matched"):
        assemble({(0,): record(one), (1,): record(two)}, {"seed": [0, 1]})


def filled(folder: Path, axes: dict, seeds: int) -> Sweep:
    grid, store = Grid(Draws(seeds=seeds), axes), Store(folder)
    results = Draws().run(0)
    for _, cell in grid.cells():
        path = store.path(cell)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pack(cell, results, {}))
    return Sweep(grid, store, Report())


def test_two_thousand_cells_load_in_two_seconds(tmp_path: Path) -> None:
    sweep = filled(tmp_path, {"scale": range(10), "size": range(1, 11)}, 20)
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        table = Sweep(sweep.grid, sweep.store, Report()).table
        seconds.append(time.perf_counter() - started)
    assert table.total.sizes == {"scale": 10, "size": 10, "seed": 20} and (table.cell_status == "done").all()
    print(f"2000 cells: {min(seconds):.2f} s")
    assert min(seconds) < 2


def test_everything_finds_out_what_varies(tmp_path: Path) -> None:
    filled(tmp_path, {"scale": [2.5, 1.0], "kind": ["a", "b"]}, 3)
    store = Store(tmp_path)
    table, damaged = everything(store, "draws")
    assert table.attrs["version"] == 1 and table.attrs["size"] == 3 and table.attrs["centred"] == "true"
    assert "scale" not in table.attrs
    assert table.total.sizes == {"scale": 2, "kind": 2, "seed": 3} and not damaged
    assert table.scale.values.tolist() == [1.0, 2.5]
    part, _ = everything(store, "draws", {"scale": 1})
    assert part.total.dims == ("kind", "seed")
    filled(tmp_path, {"shares": [(0.1,), (0.2,)]}, 1)
    diverse, _ = everything(store, "draws")
    assert set(diverse.total.dims) == {"scale", "kind", "shares", "seed"}
    path = store.paths("draws")[0]
    path.write_bytes(path.read_bytes()[:-1])
    _, damaged = everything(store, "draws")
    assert len(damaged) == 1 and isinstance(damaged[0], Damaged) and str(path) in str(damaged[0])


def test_what_everything_refuses(tmp_path: Path) -> None:
    filled(tmp_path, {"scale": [1, 2]}, 1)
    store = Store(tmp_path)
    for where, message in (({"scale": 7}, "none in"), ({"colour": 1}, "colour")):
        with pytest.raises(InvalidInput, match=message):
            everything(store, "draws", where)
    with pytest.raises(InvalidInput, match="it holds draws"):
        everything(store, "nothing")
    for number in range(150):  # a diagonal: 150 x 150 places for 150 cells
        filled(tmp_path, {"scale": [number / 10], "height": [number + 1.0]}, 1)
    with pytest.raises(InvalidInput, match="--where"):
        everything(store, "draws")


def test_images_tell_tables_apart() -> None:
    table = assemble({(0,): record(Draws().run(0))}, {"seed": [0]})
    changed = table.copy(deep=True)
    changed["draw"][0, 0] = np.nextafter(float(changed["draw"][0, 0]), 2)
    assert image(table) == image(table.copy(deep=True)) and image(table) != image(changed)


def test_labels_twice_in_a_cell_are_never_merged() -> None:
    one = xarray.Dataset({"v": ("k", [1.0, 2.0, 3.0])}, {"k": [0, 0, 1]})
    two = xarray.Dataset({"v": ("k", [1.0, 2.0])}, {"k": [0, 1]})
    assert assemble({(0,): record(one), (1,): record(one)}, {"seed": [0, 1]}).k.values.tolist() == [0, 0, 1]
    with pytest.raises(InvalidInput, match="coordinate k: expected each label once where cells differ"):
        assemble({(0,): record(one), (1,): record(two)}, {"seed": [0, 1]})


def test_settings_that_sort_badly_or_came_later() -> None:
    assert varying([{"limit": value, "seed": 0} for value in (3, None, "a", 1.5, [2])])["limit"] == [
        1.5, 3, None, [2], "a"]  # fmt: skip
    assert varying([{"seed": 0}, {"new": 1, "seed": 0}]) == {"new": [1, None], "seed": [0]}


def test_cells_from_before_a_field_was_added(tmp_path: Path) -> None:
    filled(tmp_path, {"scale": [1, 2]}, 1)
    grid = Grid(dataclasses.make_dataclass("Later", [("later", int, 5)], bases=(Draws,), frozen=True)(seeds=1), {})
    store = Store(tmp_path)
    ((_, cell),) = grid.cells()
    path = store.path(cell)
    store.write(path, pack(cell, Draws(scale=2.0).run(1), {}))
    table, _ = everything(store, "draws")
    assert table.later.values.tolist() == ["5", "null"] and int((table.cell_status == "done").sum()) == 3
    assert everything(store, "draws", {"later": 5})[0].total.size == 1


def test_where_is_by_value(tmp_path: Path) -> None:
    filled(tmp_path, {"scale": [1, 2]}, 1)
    for value in (2, 2.0, np.int64(2)):
        assert everything(Store(tmp_path), "draws", {"scale": value})[0].total.size == 1
