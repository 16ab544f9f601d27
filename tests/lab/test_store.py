"""Cells on the disk: whole, checked, told apart by their settings."""

import dataclasses
import json
import os
import shutil
import zipfile
from pathlib import Path
from stat import S_ISDIR

import numpy as np
import pytest
import xarray
from toys import Draws

from theory.checks import InvalidInput
from theory.files import PART
from theory.lab.store import FORMAT, Damaged, Store, digest, pack, settings_of, unpack


def stored(folder: Path, *, seed: int = 0, simulation: Draws | None = None) -> tuple[Store, Path]:
    simulation = simulation or Draws()
    store = Store(folder)
    path = store.path((simulation, seed))
    store.write(path, pack((simulation, seed), simulation.run(seed), {"seconds": 1.0}))
    return store, path


def test_what_comes_back_is_what_went_in(tmp_path: Path) -> None:
    results = xarray.Dataset(
        {"a": (("x", "y"), np.arange(6.0).reshape(2, 3).T.copy().T), "b": True, "c": ("x", ["one", "three"])},
        {"x": [10, 20], "label": ("y", np.array([1 + 2j, 3, 4]))},
        {"note": "text", "count": 3},
    )
    record = unpack(pack((Draws(size=7), 5), results, {"seconds": 2.5}))
    assert (record.simulation, record.version, record.seed, record.made) == ("draws", 1, 5, {"seconds": 2.5})
    assert record.settings["size"] == 7 and record.attributes == {"note": "text", "count": 3}
    assert set(record.coordinates) == {"x", "label"}
    for name, variable in results.variables.items():
        dims, values = record.arrays[name]
        assert dims == variable.dims
        np.testing.assert_array_equal(values, variable.values, strict=True)


def test_numpy_and_unzip_read_a_cell(tmp_path: Path) -> None:
    _, path = stored(tmp_path)
    with np.load(path, allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["draw"], Draws().run(0).draw.values)
    assert json.loads(zipfile.ZipFile(path).read("header.json"))["settings"]["size"] == 3


def test_every_flipped_bit_and_every_truncation_is_noticed(tmp_path: Path) -> None:
    _, path = stored(tmp_path)
    content = path.read_bytes()
    unpack(content)
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        with pytest.raises(Damaged):
            unpack(bytes(flipped))
    for length in range(0, len(content), 7):
        with pytest.raises(Damaged):
            unpack(content[:length])


def test_cells_are_told_apart_by_value_not_by_spelling() -> None:
    same = [Draws(scale=2), Draws(scale=2.0), Draws(scale=np.float64(2)), Draws(scale=2, seeds=9, first_seed=4)]
    assert len({digest(simulation) for simulation in same}) == 1
    other = dataclasses.make_dataclass("Draws", [], bases=(Draws,), frozen=True, namespace={"version": 2})
    named = type("Named", (Draws,), {"name": "another"})
    different = [Draws(), Draws(scale=2), Draws(shares=(0.5, 0.6)), Draws(kind="a"), other(), named()]
    assert len({digest(simulation) for simulation in different}) == len(different)
    assert "seeds" not in settings_of(Draws())
    with pytest.raises(InvalidInput, match="height: expected a finite number, got inf"):
        digest(Draws(height=np.inf))


def test_objects_are_refused() -> None:
    with pytest.raises(InvalidInput, match="variable a: expected numbers, got dtype object"):
        pack((Draws(), 0), xarray.Dataset({"a": ("x", np.array([1, None], dtype=object))}), {})


def test_a_full_disk_leaves_the_older_cell_and_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, path = stored(tmp_path)
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        store.write(path, b"something else")
    assert path.read_bytes() == before and not list(tmp_path.rglob(f"*{PART}"))


def test_contents_reach_the_disk_before_the_name_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, path = stored(tmp_path)
    happened, replace = [], os.replace
    monkeypatch.setattr("os.fsync", lambda f: happened.append("folder" if S_ISDIR(os.fstat(f).st_mode) else "file"))
    monkeypatch.setattr("os.replace", lambda *paths: happened.append("name") or replace(*paths))
    store.write(path, b"something")
    assert happened == ["file", "name", "folder"]


def test_stores_of_newer_versions_are_refused(tmp_path: Path) -> None:
    store, _ = stored(tmp_path / "a")
    newer = type("Draws", (Draws,), {"version": 3})
    stored(tmp_path / "a", simulation=newer())
    store.refuse_newer(newer())
    with pytest.raises(InvalidInput, match=r"version 1 or older, got cells of version 3.*newer theorycheck"):
        store.refuse_newer(Draws())
    (tmp_path / "a" / "store.json").write_text(json.dumps({"format": FORMAT + 1}))
    with pytest.raises(InvalidInput, match=f"expected format {FORMAT}, got {FORMAT + 1}.*newer theorycheck"):
        Store(tmp_path / "a")
    (tmp_path / "a" / "store.json").write_text("{")
    with pytest.raises(InvalidInput, match=r"store\.json"):
        Store(tmp_path / "a")


def test_other_peoples_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InvalidInput, match="with other files; name another folder"):
        Store(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_store_that_another_sweep_is_just_making(tmp_path: Path) -> None:
    """Or whose maker was killed before it was done."""
    (tmp_path / f".store.json.0123456789ab{PART}").write_text("")
    Store(tmp_path)
    assert (tmp_path / "store.json").exists()


def test_a_store_that_was_deleted_is_not_half_made_again(tmp_path: Path) -> None:
    """Cells without the mark of a store could not be read by the next sweep."""
    store, path = stored(tmp_path / "store")
    shutil.rmtree(tmp_path / "store")
    with pytest.raises(FileNotFoundError):
        store.write(path, b"")
    with pytest.raises(FileNotFoundError):
        store.write_failure(path, (Draws(), 0), "error", "traceback")
    assert not (tmp_path / "store").exists()


def test_a_failure_beside_results_is_none(tmp_path: Path) -> None:
    """A writer that was killed at its last step leaves one, or another sweep that had less memory."""
    store, path = stored(tmp_path)
    store.write_failure(path, (Draws(), 0), "error", "traceback")
    store.write_failure(store.path((Draws(), 1)), (Draws(), 1), "error", "traceback")
    assert [failure["seed"] for failure in store.failures("draws")] == [1]


def test_cells_that_vanish_while_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, path = stored(tmp_path)
    stored(tmp_path, seed=1)
    monkeypatch.setattr(store, "paths", lambda name: [path.with_name("7.npz"), path])
    assert [found for found, _ in store.records("draws")] == [path]


@pytest.mark.parametrize("place", ["/dev/null/store", "/proc/store"])
def test_a_store_where_none_can_be(place: str) -> None:
    with pytest.raises(InvalidInput, match=r"store: expected a folder that can be written.*name another --store"):
        Store(place)
