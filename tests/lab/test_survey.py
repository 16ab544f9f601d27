"""The claims over a grid: which verdict where, judged as one table, and the map of it."""

from pathlib import Path

import numpy as np
import pytest
from toys import Draws

from theory.checks import InvalidInput
from theory.lab.command import main
from theory.lab.survey import draw, outcomes, record, survey
from theory.lab.sweep import sweep
from theory.verdict import Status


def test_statuses_stand_where_they_belong(tmp_path: Path) -> None:
    found = survey(sweep(Draws(seeds=3), {"scale": (0.5, 1.0, 30.0), "size": (2, 4)}, store=tmp_path, workers=1))
    statuses = found.statuses
    assert statuses.dims == ("claim", "scale", "size") and statuses.claim.values.tolist() == ["draws.bounded"]
    assert (statuses.sel(scale=[0.5, 1.0]) == "holds").all() and (statuses.sel(scale=30.0) == "violated").all()
    assert found.verdicts.counts()["violated"] == 2 and not found.unjudged
    assert record(found)["statuses"]["draws.bounded"] == ["holds"] * 4 + ["violated"] * 2
    assert record(found)["axes"] == {"scale": [0.5, 1.0, 30.0], "size": [2, 4]}


def test_points_without_results_are_named(tmp_path: Path) -> None:
    found = survey(sweep(Draws(seeds=2, failing=1), {"scale": (1.0, 2.0)}, store=tmp_path, workers=1))
    assert list(found.unjudged) == [(0,), (1,)] and "seeds: expected two" in found.unjudged[(0,)]
    assert not found.verdicts and [axis.get_title() for axis in draw(found).axes][:1] == ["large"]
    with pytest.raises(InvalidInput, match="several values of a setting"):
        draw(survey(sweep(Draws(seeds=2), {}, store=tmp_path, workers=1)))


def test_the_share_of_the_seeds_with_an_outcome(tmp_path: Path) -> None:
    done = sweep(Draws(seeds=20), {"scale": (1.0, 4.0), "height": (1.0, 3.0)}, store=tmp_path, workers=1)
    (share,) = outcomes(done).values()
    expected = (done.table.total > 1.5).mean("seed")
    np.testing.assert_array_equal(share.transpose(*expected.dims), expected)
    assert 0 < float(share.sel(scale=1.0).mean()) < float(share.sel(scale=4.0).mean())
    titles = {axis.get_title() for axis in draw(survey(done)).axes}
    assert {"large", "draws.bounded"} <= titles


def test_the_map(tmp_path: Path) -> None:
    axes = {"scale": tuple(np.linspace(0.5, 3, 8)), "size": (2, 4), "kind": ("a", "b")}
    fig = draw(survey(sweep(Draws(seeds=2), axes, store=tmp_path, workers=1)))
    (panel,) = [axis for axis in fig.axes if axis.get_title() == "draws.bounded"]
    (mesh,) = panel.collections
    codes = np.asarray(mesh.get_array()).reshape(4, 8)
    assert (codes[:, 0] == list(Status).index(Status.HOLDS)).all()
    assert (codes[:, -1] == list(Status).index(Status.VIOLATED)).all()
    assert [label.get_text() for label in fig.axes[0].get_yticklabels()] == ["2, a", "2, b", "4, a", "4, b"]
    assert "2 seeds at each point" in fig.get_suptitle()


def test_a_point_whose_judge_raises_does_not_cost_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = Draws.verdicts
    monkeypatch.setattr(Draws, "verdicts", lambda self, results: judge(self, results) if self.scale < 2 else 1 / 0)
    words = ["--scale", "0.5", "2", "--seeds", "2", "--workers", "1", "--store", str(tmp_path / "s")]
    assert main(Draws, [*words, "--output", str(tmp_path)]) == 2
    found = survey(sweep(Draws(seeds=2), {"scale": (0.5, 2.0)}, store=tmp_path / "s", workers=1))
    assert found.verdicts and found.broken == 1 and found.unjudged == {(1,): "ZeroDivisionError: division by zero"}
