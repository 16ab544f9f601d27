"""Hypergradients against their cost: the curves of the figure, verdicts that can fail, files."""

import numpy as np
import pytest
import xarray

from simulations.hypergradients import Hypergradients
from theory.checks import InvalidInput
from theory.lab.simulation import execute
from theory.verdict import Status

SMALL = Hypergradients(
    seeds=4,
    size=80,
    dimension=20,
    orders=60,
    conditions=(10.0, 30.0, 90.0),
    rounds=45,
    outer_steps=(0.001, 0.003, 0.01),
)


@pytest.fixture(scope="module")
def results() -> xarray.Dataset:
    return SMALL.collect().transpose("seed", ...)


def test_errors_stay_below_their_bounds(results: xarray.Dataset) -> None:
    assert (results.solution_error <= results.solution_bound * (1 + 1e-9)).all()
    assert (results.gradient_error <= results.gradient_bound * (1 + 1e-9)).all()
    assert (results.inexact_error <= results.certificate).all()


def test_conditions_are_those_asked_for(results: xarray.Dataset) -> None:
    np.testing.assert_allclose(results.kappa.values, np.array([[10, 30, 90]] * 4), rtol=0.02)


def test_products_by_method(results: xarray.Dataset) -> None:
    spent = {name: results.products.sel(solver=name).values for name in ("neumann", "cg", "unrolled")}
    assert (spent["neumann"] <= results.predicted.sel(solver="neumann").values + 1).all()
    assert (spent["cg"] <= results.predicted.sel(solver="cg").values + 1).all()
    assert (spent["cg"] <= 20 + 2).all() and (spent["neumann"] > 5 * spent["cg"]).all()
    assert (spent["unrolled"] > 0.5 * spent["neumann"]).all()


def test_the_lag_follows_linear_theory_while_it_is_small(results: xarray.Dataset) -> None:
    small = results.sel(outer_step=0.001)
    np.testing.assert_allclose(small.lag.values, small.predicted_lag.values, rtol=0.1)


def test_verdicts(results: xarray.Dataset) -> None:
    verdicts = SMALL.verdicts(results)
    assert not verdicts.unexpected()
    for name in ("hypergradients.neumann", "hypergradients.cg", "hypergradients.lag", "H2", "H7"):
        assert verdicts.family(name) == Status.HOLDS, name


def test_verdicts_follow_the_results(results: xarray.Dataset) -> None:
    """Painted: products that grow as the square of the condition number, a lag that ignores the outer step."""
    painted = results.assign(
        products=results.products**2, lag=results.lag * 0 + results.lag.isel(outer_step=0, drop=True)
    )
    painted["products"].loc[{"solver": "cg"}] = results.kappa.values
    statuses = {verdict.claim.id: verdict.status for verdict in SMALL.verdicts(painted)[:3]}
    assert set(statuses.values()) == {Status.VIOLATED}


def test_run_writes_its_figure(tmp_path) -> None:
    outcome = execute(Hypergradients(**{**vars(SMALL), "seeds": 1}), tmp_path)
    assert {path.suffix for path in outcome.files} == {".png", ".pdf", ".json"}


def test_four_panels(results: xarray.Dataset) -> None:
    assert len(SMALL.figure(results).axes) == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"conditions": (3.0, 1.0, 2.0)}, "increasing"),
        ({"conditions": (1.0, 2.0, 3.0)}, "condition"),
        ({"outer_steps": (0.0, 0.1, 0.2)}, "outer_steps"),
        ({"rounds": 5}, "rounds"),
        ({"tolerance": 0.5}, "tolerance"),
    ],
)
def test_bad_settings(settings: dict, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Hypergradients(**settings)
