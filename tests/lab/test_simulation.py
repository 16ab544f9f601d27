"""A toy simulation through the whole lab: files, exit codes, Ctrl-C, a full disk, bad settings."""

import dataclasses
import errno
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import sympy as sp
import xarray

from simulations.clusters import Clusters
from simulations.two_points import TwoPoints
from theory import checks
from theory.claim import Claim, load_table, symbols
from theory.lab import figure, report
from theory.lab.command import main
from theory.lab.simulation import Simulation, execute
from theory.verdict import Status, Verdicts

largest, height = symbols("largest height")
BOUNDED = Claim(
    "toy.bounded", "a toy bound", sp.Le(largest, height, evaluate=False), {"largest": "maximum", "height": "bound"}
)


@dataclass(frozen=True)
class Toy(Simulation):
    """Uniform numbers below a height."""

    name: ClassVar[str] = "toy"
    quick_seconds: ClassVar[float] = 1

    points: int = 5
    """how many"""
    height: float = 1.0
    """stated bound"""
    interrupt_at: int = -1
    """seed at which the user presses Ctrl-C"""

    def validate(self) -> None:
        checks.integer("points", self.points, minimum=1)

    @classmethod
    def full(cls) -> "Toy":
        return cls(points=50)

    def run(self, seed: int, progress: Any = None) -> xarray.Dataset:
        if seed == self.interrupt_at:
            raise KeyboardInterrupt
        if progress:
            progress(1.0)
        draws = np.random.default_rng(seed).uniform(size=self.points)
        return xarray.Dataset({"draw": ("point", draws)}, {"point": np.arange(self.points)})

    @figure.style()
    def figure(self, results: xarray.Dataset) -> Any:
        fig, axis = figure.subplots()
        figure.band(axis, results.point.values, results.draw.transpose("seed", "point").values, "draws")
        return fig

    def verdicts(self, results: xarray.Dataset) -> Verdicts:
        return Verdicts([BOUNDED.check(largest=float(results.draw.max()), height=self.height)])


def test_files_and_their_record(tmp_path: Path) -> None:
    outcome = execute(Toy(seeds=3, first_seed=4), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["toy.json", "toy.pdf", "toy.png"]
    record = json.loads((tmp_path / "toy.json").read_text())
    assert record["seeds"] == [4, 5, 6] and record["settings"]["points"] == 5 and not record["interrupted"]
    assert record["versions"]["numpy"] == np.__version__
    again = load_table(json.dumps(record["table"]), [BOUNDED])
    assert again.to_json() == outcome.verdicts.to_json()
    assert (tmp_path / "toy.png").read_bytes()[1:4] == b"PNG"


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(Toy, ["--seeds", "1", "--points", "3", "--output", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "toy.json").read_text())["settings"]["points"] == 3
    assert main(Toy, ["--profile", "full", "--seeds", "1", "--output", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "toy.json").read_text())["settings"]["points"] == 50
    assert main(Toy, ["--height", "0.1", "--output", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "toy.bounded" in out and "unexpected" in out and "1 violated" in out.replace("\n", " ")
    for bad in (["--points", "0"], ["--points", "x"], ["--seeds", "-1"], ["--nonsense", "1"]):
        with pytest.raises(SystemExit) as caught:
            main(Toy, bad)
        assert caught.value.code == 2
    assert "points: expected an integer" in " ".join(capsys.readouterr().err.split())


def test_ctrl_c_keeps_what_is_finished(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert report.run([Toy(seeds=5, interrupt_at=2), Toy(seeds=1)], tmp_path) == 130
    record = json.loads((tmp_path / "toy_interrupted.json").read_text())
    assert record["seeds"] == [0, 1] and record["interrupted"]
    assert not (tmp_path / "toy.json").exists()  # a complete result would still be there
    assert "interrupted" in capsys.readouterr().out
    assert report.run([Toy(seeds=5, interrupt_at=0)], tmp_path / "none") == 130
    assert list((tmp_path / "none").iterdir()) == []


def test_several_at_once_say_the_same(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Other processes, same numbers: the claims travel, the results stay there."""
    assert report.run([Clusters(seeds=1), TwoPoints(seeds=1, width=64, separations=(1.0, 0.5))], tmp_path, jobs=2) == 0
    parallel = {path.name: json.loads(path.read_text())["table"] for path in tmp_path.glob("*.json")}
    capsys.readouterr()
    assert report.run([Clusters(seeds=1), TwoPoints(seeds=1, width=64, separations=(1.0, 0.5))], tmp_path) == 0
    assert "C6.norm" in capsys.readouterr().out
    assert parallel == {path.name: json.loads(path.read_text())["table"] for path in tmp_path.glob("*.json")}
    assert len(parallel) == 2


def test_full_disk_leaves_no_half_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    execute(Toy(), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    assert main(Toy, ["--output", str(tmp_path)]) == 2
    out = " ".join(capsys.readouterr().out.split())
    assert "No space left" in out and "1 holds" in out  # the finished run is judged all the same
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_unwritable_folder_is_noticed_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    ran = []
    monkeypatch.setattr(Toy, "run", lambda *_: ran.append(1))
    with pytest.raises(OSError):
        execute(Toy(), tmp_path / "file")
    assert not ran


def test_settings_are_frozen_and_checked() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Toy().points = 3  # type: ignore[misc]
    with pytest.raises(checks.InvalidInput, match="seeds"):
        Toy(seeds=0)


def test_band_is_the_interval_of_the_mean() -> None:
    fig, axis = figure.subplots()
    draws = np.array([[0.0, 1.0], [2.0, 3.0], [1.0, 2.0], [1.0, 2.0]])
    figure.band(axis, np.array([0.0, 1.0]), draws, "x")
    low = axis.collections[0].get_paths()[0].vertices[:, 1].min()
    half = 3.182446 * np.sqrt(2 / 3) / 2  # t quantile with 3 degrees of freedom, standard error
    assert low == pytest.approx(1.0 - half, abs=1e-5)
    assert figure.seeds_note(4) == "mean and 95% t-interval, 4 seeds"
    assert figure.seeds_note(2) == "mean, and thin lines for each of 2 seeds"
    figure.band(axis, np.array([0.0, 1.0]), draws[:2], "two")
    assert len(axis.collections) == 1 and len(axis.lines) == 4  # no band for two seeds: both are drawn
    with pytest.raises(checks.InvalidInput, match="draws"):
        figure.band(axis, np.arange(3), draws, "x")
    fig.clear()


def test_statuses_that_contradict_what_is_known_set_the_exit_code(capsys: pytest.CaptureFixture) -> None:
    from rich.console import Console

    refuted = dataclasses.replace(BOUNDED, id="toy.refuted", expected=Status.VIOLATED)
    console = Console()
    assert report.conclude(Verdicts([refuted.check(largest=2.0, height=1)]), console) == 0
    assert report.conclude(Verdicts([refuted.check(largest=0.5, height=1)]), console) == 1
    assert report.conclude(Verdicts([BOUNDED.check(largest=1.0, height=1.0)]), console) == 0
    assert "1 inconclusive" in capsys.readouterr().out
