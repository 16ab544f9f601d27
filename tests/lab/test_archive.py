"""`theory sweeps`: what is listed, shown, exported and pruned."""

import os
import time
from pathlib import Path

import numpy as np
import pandas
import pytest
import xarray
from toys import Draws

from theory.checks import InvalidInput
from theory.cli import main
from theory.lab import archive
from theory.lab.store import Store, pack
from theory.lab.sweep import Sweep, sweep
from theory.lab.table import everything


@pytest.fixture
def swept(tmp_path: Path) -> Sweep:
    return sweep(Draws(seeds=3, failing=2), {"scale": (1.0, 2.0)}, store=tmp_path / "store", workers=1)


def command(capsys: pytest.CaptureFixture, sweep: Sweep, *words: str) -> tuple[int, str]:
    status = main(["sweeps", *words, "--store", str(sweep.store.folder)])
    caught = capsys.readouterr()
    return status, " ".join((caught.out + caught.err).split())


def test_list_and_show(swept: Sweep, capsys: pytest.CaptureFixture) -> None:
    (found,) = archive.contents(swept.store)
    assert (found.name, found.version, found.cells, found.failed) == ("draws", 1, 4, 2)
    assert found.varying == {"scale": [1, 2], "seed": [0, 1]}
    status, said = command(capsys, swept)
    assert status == 0 and "draws" in said and "scale: 1 2; seed: 0 1" in said
    status, said = command(capsys, swept, "show", "draws", "--where", "scale=2.0")
    assert status == 0 and "total" in said and "failed: seed=2" in said and "ArithmeticError: seed 2 is no good" in said


def test_netcdf_holds_the_whole_table(swept: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert command(capsys, swept, "export", "draws", str(tmp_path / "t.nc"))[0] == 0
    table, _ = everything(swept.store, "draws")
    with xarray.open_dataset(tmp_path / "t.nc") as read:
        xarray.testing.assert_equal(read.load(), table)
    part = ("--variables", "draw", "--where", "scale=1")
    assert command(capsys, swept, "export", "draws", str(tmp_path / "part.nc"), *part)[0] == 0
    with xarray.open_dataset(tmp_path / "part.nc") as read:
        np.testing.assert_array_equal(read.draw.values, table.draw.sel(scale=1).values)
        assert list(read.data_vars) == ["draw"]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_rows_are_cells(suffix: str, swept: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    target = tmp_path / f"t.{suffix}"
    assert command(capsys, swept, "export", "draws", str(target))[0] == 0
    frame = pandas.read_csv(target) if suffix == "csv" else pandas.read_parquet(target)
    assert (frame["height"] == 1).all() and (frame["simulation"] == "draws").all()  # what did not vary is said too
    assert len(frame) == 4 and {"scale", "seed", "total", "trace"} <= set(frame)
    np.testing.assert_allclose(frame.total, everything(swept.store, "draws")[0].total.values.ravel(), rtol=1e-15)
    assert command(capsys, swept, "export", "draws", str(target), "--variables", "draw")[0] == 0
    frame = pandas.read_csv(target) if suffix == "csv" else pandas.read_parquet(target)
    assert len(frame) == 12 and "number" in frame


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["export", "draws"], "file: expected a name that ends in .nc"),
        (["export", "draws", "t.xlsx"], "file: expected one of .nc, .parquet, .csv"),
        (["export", "draws", "no/such/folder/t.csv"], "expected files that can be read and written"),
        (["export", "draws", "t.csv", "--variables", "colour"], "variables: expected some of"),
        (["export"], "name: expected of a simulation, got none; say which: draws"),
        (["show", "nothing"], "it holds draws"),
        (["show", "draws", "--where", "scale"], "where: expected FIELD=VALUE"),
        (["show", "draws", "--where", "scale=7"], "none in"),
        (["prune", "nothing"], "simulation: expected one of draws"),
        (["prune", "--all"], "name: expected of a simulation, with --all"),
    ],
)
def test_bad_calls(words: list[str], message: str, swept: Sweep, capsys: pytest.CaptureFixture) -> None:
    failed = [failure["path"] for failure in swept.store.failures("draws")]
    if words == ["show", "draws", "--where", "scale=7"]:
        for path in failed:
            path.unlink()
    status, said = command(capsys, swept, *words)
    assert status == 2 and message in said


def test_a_store_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["sweeps", "--store", str(tmp_path / "none")]) == 2 and not (tmp_path / "none").exists()
    assert "run a sweep first" in capsys.readouterr().err
    Store(tmp_path / "empty")
    assert main(["sweeps", "--store", str(tmp_path / "empty")]) == 0
    assert "the store is empty" in capsys.readouterr().out


def test_prune_takes_what_is_no_use_and_nothing_else(swept: Sweep, capsys: pytest.CaptureFixture) -> None:
    store = swept.store
    good, damaged, *_ = store.paths("draws")
    damaged.write_bytes(b"")
    old, fresh = (good.parent / f".9.npz.{name}.part" for name in ("old", "fresh"))
    for path in (old, fresh):
        path.write_bytes(b"x")
    os.utime(old, (0, time.time() - 2 * archive.ABANDONED))
    kept = set(store.paths("draws")) - {damaged}
    status, said = command(capsys, swept, "prune", "--keep")
    assert status == 0 and "2 would be removed" in said and old.exists() and damaged.exists()
    assert "2 removed" in command(capsys, swept, "prune")[1]
    assert not old.exists() and not damaged.exists() and fresh.exists() and set(store.paths("draws")) == kept
    newer = type("Draws", (Draws,), {"version": 2})()
    path = store.path((newer, 0))
    store.write(path, pack((newer, 0), newer.run(0), {}))
    assert command(capsys, swept, "prune", "draws")[0] == 0
    assert store.paths("draws") == [path] and not list(store.failures("draws"))
    assert command(capsys, swept, "prune", "draws", "--all")[0] == 0 and store.names() == []
    with pytest.raises(InvalidInput):
        archive.prune(store, "draws")


class Odd(Draws):
    """A result that is no number, and one that is complex."""

    def run(self, seed: int, progress: object = None) -> xarray.Dataset:
        return xarray.Dataset({"total": np.nan if seed else 1.0, "wave": 1j})


def test_a_finished_cell_is_a_row_whatever_it_says(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    done = sweep(Odd(seeds=2), {"scale": (1.0, 2.0)}, store=tmp_path / "store", workers=1)
    done.store.path((Odd(scale=2.0), 0)).unlink()
    target = tmp_path / "t.csv"
    assert command(capsys, done, "export", "draws", str(target), "--variables", "total")[0] == 0
    frame = pandas.read_csv(target).sort_values(["scale", "seed"])
    assert frame[["scale", "seed"]].values.tolist() == [[1, 0], [1, 1], [2, 1]]
    assert np.isnan(frame.total.values).tolist() == [False, True, True]
    status, said = command(capsys, done, "export", "draws", str(tmp_path / "t.parquet"))
    assert status == 2 and "file: expected variables that .parquet can hold" in said
    assert not list(tmp_path.glob("*.parquet")) and not list(tmp_path.glob(".*.part"))


def test_pruning_all_spares_what_is_being_written(swept: Sweep) -> None:
    path = swept.store.paths("draws")[0]
    fresh = path.with_name(f".{path.name}.0123456789ab.part")
    fresh.write_bytes(b"")
    archive.prune(swept.store, "draws", whole=True)
    assert fresh.exists() and not swept.store.paths("draws")
