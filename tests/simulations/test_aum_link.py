"""The three predictions: small runs, verdicts that can fail, runs that end too early, the figure."""

import numpy as np
import pytest
import xarray

from simulations.aum_link import AumLink, spaced
from theory.checks import InvalidInput
from theory.lab.simulation import execute
from theory.verdict import Status

TINY = {"width": 60, "steps": 60, "digit_steps": 40, "records": 8, "clusters": 2, "per_cluster": 10, "digits": 30}
SMALL = AumLink(seeds=2, **TINY)


@pytest.fixture(scope="module")
def results() -> xarray.Dataset:
    return SMALL.collect()


def test_predictions_and_measurements_stand_side_by_side(results: xarray.Dataset) -> None:
    assert results.auc.dims == ("seed", "case", "source", "record") and results.case.values.tolist() == list(
        SMALL.cases
    )
    assert ((results.auc >= 0) & (results.auc <= 1)).all() and (
        (results.recovered >= 0) & (results.recovered <= 1)
    ).all()
    assert results.epoch.isel(seed=0, record=-1).values.tolist() == [60, 40]
    off = np.abs(results.auc.sel(source="measured") - results.auc.sel(source="predicted"))
    assert float(off.sel(case="clusters").mean()) < 0.1  # width 60: a narrow network, and it still follows
    assert SMALL.run(0).equals(results.sel(seed=0, drop=True))


def test_the_prediction_knows_no_network(results: xarray.Dataset) -> None:
    other = AumLink(seeds=1, **TINY | {"width": 20}).run(0)
    mine = results.sel(seed=0, drop=True)
    assert other.sel(source="predicted").auc.equals(mine.sel(source="predicted").auc)
    assert not other.sel(source="measured").auc.equals(mine.sel(source="measured").auc)


def test_figure(tmp_path) -> None:
    outcome = execute(SMALL, tmp_path)
    assert len(SMALL.figure(outcome.results).axes) == 4
    one = AumLink(seeds=1, cases=("digits",), **TINY)
    assert len(one.figure(outcome.results.sel(case=["digits"]).isel(seed=[0])).axes) == 2


def judge(results: xarray.Dataset, **painted: tuple[float, float]) -> dict[str, Status]:
    """Verdicts on the first case with quantities set by hand, (predicted, measured); seeds differ by a hair."""
    simulation = AumLink(seeds=2, cases=("clusters",), **TINY)
    object.__setattr__(simulation, "theorem", lambda case, seed: [])  # judged below
    cells = results.sel(case=["clusters"]).copy(deep=True)
    for name, values in painted.items():
        for source, value in zip(("predicted", "measured"), values, strict=True):
            hair = xarray.DataArray([1.0, 1 + 1e-6], dims="seed")
            cells[name].loc[{"source": source}] = value * hair
    return {v.claim.id.removeprefix("aum_link."): v.status for v in simulation.verdicts(cells)}


def test_verdicts_follow_the_predictions(results: xarray.Dataset) -> None:
    good = {"auc": (0.97, 0.98), "stop": (20, 22), "until": (30, 28), "window": (20, 19)}
    assert set(judge(results, **good).values()) == {Status.HOLDS}
    bad = {"auc": (0.97, 0.5), "stop": (20, 40), "until": (30, 15), "window": (20, 41)}
    assert set(judge(results, **bad).values()) == {Status.VIOLATED}


def test_runs_that_end_first_or_never_separate_decide_nothing(results: xarray.Dataset) -> None:
    found = judge(results, stop=(60, 60), until=(0, 0), window=(0, 0))
    assert found["stop"] == found["until"] == Status.INCONCLUSIVE and "window" not in found
    one = AumLink(seeds=1, cases=("clusters",), **TINY)
    object.__setattr__(one, "theorem", lambda case, seed: [])
    assert {v.status for v in one.verdicts(results.sel(case=["clusters"]).isel(seed=[0]))} == {Status.INCONCLUSIVE}


def test_the_claims_hold_on_every_case() -> None:
    for case in SMALL.cases:
        verdicts = SMALL.theorem(case, seed=1)
        found = {v.claim.id: v.status for v in verdicts}
        assert found["A5.window"] == found["A5.auc"] == Status.HOLDS
        assert found["A5.separates"] in (Status.HOLDS, Status.OUT_OF_SCOPE)


@pytest.mark.parametrize(("last", "count"), [(8, 8), (100, 5), (5000, 40), (3, 2)])
def test_spaced_numbers_are_distinct_and_reach_both_ends(last: int, count: int) -> None:
    numbers = spaced(last, count)
    assert len(set(numbers.tolist())) == count and numbers[-1] == last and (np.diff(numbers) > 0).all()
    assert numbers[0] == 1 or count == last


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"cases": ()}, "cases"),
        ({"cases": ("faces",)}, "cases"),
        ({"width": 11}, "even"),
        ({"clusters": 3}, "even"),
        ({"noise_rate": 0.5}, "noise_rate"),
        ({"steps": 5}, "steps"),
        ({"digit_steps": 5}, "digit_steps"),
        ({"records": 1}, "records"),
        ({"level": 0.0}, "level"),
        ({"recovery": 1.5}, "recovery"),
        ({"digits": 5}, "digits"),
        ({"radius": 3.0}, "radius"),
        ({"activation": "sigmoid"}, "sigmoid"),
        ({"step_fraction": 3.0}, "step_fraction"),
    ],
)
def test_bad_settings(settings: dict, word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        AumLink(**settings)


@pytest.mark.slow
def test_full_profile_confirms_the_three_predictions_on_clusters() -> None:
    simulation = AumLink.full()
    verdicts = simulation.verdicts(simulation.collect())
    assert not verdicts.unexpected()
    held = {v.claim.id for v in verdicts if v.settings["case"] == "clusters" and v.status == Status.HOLDS}
    assert held >= {"aum_link.window", "aum_link.auc", "aum_link.until"}
