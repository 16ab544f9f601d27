"""Several values of several settings, from Python and from a command line."""

from types import SimpleNamespace
from typing import Any

import pytest
from toys import Draws

from theory.checks import InvalidInput
from theory.lab import sweep_report
from theory.lab.command import main
from theory.lab.grid import Grid


def test_the_product_of_the_axes_seed_by_seed() -> None:
    grid = Grid(Draws(seeds=2, first_seed=5), {"size": (1, 2), "scale": (0.5, 1.0, 2.0)})
    cells = list(grid.cells())
    assert len(grid.points) == 6 and len(cells) == 12
    assert [seed for _, (_, seed) in cells] == [5] * 6 + [6] * 6
    assert cells[1] == ((0, 1, 0), (Draws(seeds=2, first_seed=5, size=1, scale=1.0), 5))
    assert grid.all_axes == {"size": (1, 2), "scale": (0.5, 1.0, 2.0), "seed": [5, 6]}


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"colour": (1,)}, "axes: expected fields of draws"),
        ({"seeds": (1, 2)}, "seeds are set on the simulation"),
        ({"size": 64}, r"size: expected a list of values, got 64; write \[64\]"),
        ({"kind": "tanh"}, "kind: expected a list of values"),
        ({"size": ()}, "size: expected at least one value"),
        ({"size": (1, 2, 1)}, "size: expected different values"),
        ({"scale": (1, 2, 1.0)}, "scale: expected different values"),
        ({"scale": (0.0, -0.0)}, "scale: expected different values"),
        ({"size": (1, 0), "scale": (1.0, 2.0)}, r"at {'size': 0, 'scale': 1.0}: size: expected an integer >= 1, got 0"),
    ],
)
def test_impossible_grids_are_refused_before_anything_runs(axes: dict, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Grid(Draws(), axes)


def test_a_class_is_no_settings() -> None:
    with pytest.raises(InvalidInput, match="make an instance"):
        Grid(Draws, {})


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What the command would sweep."""
    seen = SimpleNamespace(grid=None, options=None)

    def run(grid: Grid, *options: Any) -> int:
        seen.grid, seen.options = grid, options
        return 0

    monkeypatch.setattr(sweep_report, "run", run)
    monkeypatch.setattr(sweep_report, "dry_run", run)
    return seen


@pytest.mark.parametrize(
    ("words", "axes"),
    [
        ("--size 1 2 3", {"size": (1, 2, 3)}),
        ("--size=1 2", {"size": (1, 2)}),
        ("--scale=0:1:3", {"scale": (0.0, 0.5, 1.0)}),
        ("--scale 0:1:4", {"scale": (0.0, 1 / 3, 2 / 3, 1.0)}),
        ("--failing 1000000000001:1000000000003:3", {"failing": tuple(10**12 + i for i in (1, 2, 3))}),
        ("--failing -1:1:3", {"failing": (-1, 0, 1)}),
        ("--scale 1e-3:1e-1:3:log", {"scale": (0.001, 0.01, 0.1)}),
        ("--centred --no_centred", {"centred": (True, False)}),
        ("--scale 0:0.5:11", {"scale": tuple(i / 20 for i in range(11))}),
        ("--size 2:32:5:log", {"size": (2, 4, 8, 16, 32)}),
        ("--scale 0:1:2 5 --size 7", {"scale": (0.0, 1.0, 5.0)}),
        ("--shares 0.1 0.2 / 0.3", {"shares": ((0.1, 0.2), (0.3,))}),
        ("--kind a b --failing -1 7", {"kind": ("a", "b"), "failing": (-1, 7)}),
        ("--centred --no-centred --size 1 2", {"centred": (True, False), "size": (1, 2)}),
        ("--no-centred --dry-run", {}),
        ("--once x --store somewhere", {}),
        ("--size 3 --dry-run", {}),
    ],
)
def test_command_lines(words: str, axes: dict, swept: SimpleNamespace) -> None:
    assert main(Draws, [*words.split(), "--seeds", "4"]) == 0
    assert swept.grid.axes == axes and swept.grid.base.seeds == 4


def test_the_other_settings_are_the_first_values_and_the_profile_s(swept: SimpleNamespace) -> None:
    assert main(Draws, ["--size", "4", "--scale", "2", "3", "--height", "9", "--workers", "3"]) == 0
    assert (swept.grid.base.size, swept.grid.base.height) == (4, 9.0)
    assert swept.options[3] == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--size 1 0", "size: expected an integer"),
        ("--size 1 1", "size: expected different values"),
        ("--scale 0:1:3:log", "positive ends"),
        ("--scale 0:1:0", "0:1:0: expected an integer >= 1"),
        ("--size 1 x", "size"),
        ("--size 1:2:4", "1:2:4: expected whole numbers"),
        ("--size=1,2", "size"),
        ("--size 1 2 --size 3", "size: expected its values after one flag, got --size several times"),
        ("--size 1 --size=2", "size: expected its values after one flag"),
        ("--size 1 2 --profile quick full", "full"),
        ("--size 1 2 --dry-run --workers 0", "workers: expected an integer >= 1"),
        ("--colour 1 2", "colour"),
        ("--seeds 1 2", "seeds: expected one number, got 1 2"),
        ("--scale 0:0.5", "0:0.5: expected FROM:TO:COUNT"),
        ("--scale 0:0.5:2.5", "0:0.5:2.5: expected FROM:TO:COUNT"),
        ("--size 1 2 --workers 0", "workers: expected an integer >= 1"),
        ("--size 1 2 --scheduler tcp://127.0.0.1:1", "scheduler: expected engine dask"),
    ],
)
def test_bad_command_lines(words: str, message: str, tmp_path: Any, capsys: pytest.CaptureFixture) -> None:
    try:
        assert main(Draws, [*words.split(), "--store", str(tmp_path / "s"), "--output", str(tmp_path)]) == 2
    except SystemExit as refused:  # tyro's
        assert refused.code == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.glob("s/draws"))


def test_an_empty_word_is_a_value(swept: SimpleNamespace) -> None:
    assert main(Draws, ["--kind", "a", "", "--once", ""]) == 0
    assert swept.grid.axes == {"kind": ("a", "")}
