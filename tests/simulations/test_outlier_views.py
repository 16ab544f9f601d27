"""The closed-form experiment: its accuracies over eight seeds, where it fails, its controls, verdicts that can fail."""

import numpy as np
import pytest
import xarray

from simulations.linear_views import linear_encoder
from simulations.outlier_views import OutlierViews
from theory import outlier
from theory.checks import InvalidInput
from theory.lab.simulation import execute
from theory.verdict import Status

PAPER = OutlierViews(seeds=8, temperatures=(9.0, 36.0, 350.0))
TINY = {"temperatures": (9.0, 36.0, 350.0), "shares": (0.3,)}


@pytest.fixture(scope="module")
def results() -> xarray.Dataset:
    return PAPER.collect()


@pytest.mark.parametrize(("rule", "expected"), [("uniform", 0.11), ("oracle", 0.67)])
def test_controls_at_ten_per_cent(results: xarray.Dataset, rule: str, expected: float) -> None:
    assert float(results.control.sel(share=0.1, rule=rule).mean()) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(
    ("share", "temperature", "expected"), [(0.1, 36.0, 0.67), (0.3, 9.0, 0.667), (0.3, 350.0, 0.106)]
)
def test_weights_help_or_fail_by_their_temperature(
    results: xarray.Dataset, share: float, temperature: float, expected: float
) -> None:
    accuracy = results.accuracy.sel(share=share, temperature=temperature)
    assert float(accuracy.mean()) == pytest.approx(expected, abs=0.05)


def test_permuted_weights_do_nothing(results: xarray.Dataset) -> None:
    gain = results.control.sel(rule="permuted") - results.control.sel(rule="uniform")
    assert float(abs(gain.mean("seed")).max()) < 0.02


def test_weights_tell_outliers_apart_even_where_they_do_not_help(results: xarray.Dataset) -> None:
    cells = results.weight.sel(share=0.3)
    assert float(cells.sel(kind="outlier").isel(probability=90).max()) < float(
        cells.sel(kind="clean").isel(probability=10).min()
    )
    assert float(results.accuracy.sel(share=0.3, temperature=36.0).mean()) < 0.2


def test_the_global_centre_makes_clean_views_look_far(results: xarray.Dataset) -> None:
    means = results.distance.mean(["probability", "seed"])
    assert float(means.sel(view="other") / means.sel(view="global")) == pytest.approx(3, rel=0.02)


def test_verdicts(results: xarray.Dataset) -> None:
    verdicts = PAPER.verdicts(results)
    assert not verdicts.unexpected()
    for name in ("views.cost", "views.control", "views.restored", "views.warm", "U1.mean", "U4.global_others"):
        assert verdicts.family(name) == Status.HOLDS, name


def test_verdicts_follow_the_accuracies(results: xarray.Dataset) -> None:
    """Painted results: uniform weights do well, weights fail where they should help and help where they should fail."""
    jitter = 1e-3 * xarray.DataArray(np.arange(8) % 2, dims="seed")
    control = xarray.zeros_like(results.control) + xarray.DataArray([0.5, 0.7, 0.7], dims="rule") + jitter
    few = xarray.DataArray([0.5, 0.5, 0.5], dims="temperature")
    many = xarray.DataArray([0.7, 0.7, 0.7], dims="temperature")
    accuracy = xarray.zeros_like(results.accuracy) + xarray.concat([few, many], dim="share") + 2 * jitter
    painted = results.assign(control=control.transpose("seed", ...), accuracy=accuracy.transpose("seed", ...))
    verdicts = PAPER.verdicts(painted)
    statuses = {verdict.claim.id: verdict.status for verdict in (*verdicts[:3], verdicts[7])}
    assert statuses == {
        name: Status.VIOLATED for name in ("views.cost", "views.control", "views.restored", "views.warm")
    }


def test_one_seed_is_inconclusive() -> None:
    simulation = OutlierViews(seeds=1, **TINY)
    verdicts = simulation.verdicts(simulation.collect())
    assert {v.status for v in verdicts if v.claim.id in ("views.cost", "views.warm")} == {Status.INCONCLUSIVE}


def test_run_writes_its_figure(tmp_path) -> None:
    outcome = execute(OutlierViews(seeds=2, **TINY), tmp_path)
    assert {path.suffix for path in outcome.files} == {".png", ".pdf", ".json"}


def test_six_panels(results: xarray.Dataset) -> None:
    assert len(PAPER.figure(results).axes) == 6


def test_the_encoder_is_the_best_of_its_kind() -> None:
    """Unit variance over all views, and no random encoder varies less within images."""
    draw = np.random.default_rng(0)
    z = draw.normal(size=(60, 1, 5)) * np.array([3, 1, 1, 1, 0.1]) + draw.normal(size=(60, 4, 5))
    w = draw.random((60, 4))
    W = linear_encoder(z, w, 2)
    flat = (z - z.mean(axis=(0, 1))).reshape(-1, 5)

    def within(V: np.ndarray) -> float:
        mean = (w[..., None] * z).sum(axis=1, keepdims=True) / w.sum(axis=1)[:, None, None]
        return float((w[..., None] * ((z - mean) @ V) ** 2).sum() / w.sum())

    assert W.T @ (flat.T @ flat / len(flat)) @ W == pytest.approx(np.eye(2), abs=1e-10)
    assert abs(W[0, 0]) > 3 * abs(W[4, 0])
    whiten = np.linalg.inv(np.linalg.cholesky(flat.T @ flat / len(flat))).T
    for _ in range(50):
        assert within(whiten @ np.linalg.qr(draw.normal(size=(5, 2)))[0]) >= within(W) * (1 - 1e-9)


def test_images_of_outliers_only_do_not_break_the_oracle() -> None:
    z, w = np.random.default_rng(0).normal(size=(20, 3, 4)), np.ones((20, 3))
    w[0] = 0
    assert np.isfinite(linear_encoder(z, w, 2)).all()


def test_the_weights_of_a_linear_encoding_are_those_of_its_inputs() -> None:
    """U3: why the simulation weighs the inputs themselves."""
    simulation = OutlierViews(seeds=1)
    z, which = simulation.see(simulation.inputs(0)["train"][:200], 0.3, 0)
    encoding = z @ linear_encoder(z, 1.0 - which, simulation.dimension)
    assert outlier.weights(encoding, 16.0) == pytest.approx(outlier.weights(z, 16.0), rel=1e-8)


def test_the_full_profile_can_be_made() -> None:
    assert OutlierViews.full().seeds == 20


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"shares": (0.3, 0.1)}, "shares"),
        ({"shares": ()}, "shares"),
        ({"shares": (0.0,)}, "shares"),
        ({"temperatures": (0.0, 36.0, 350.0)}, "temperatures"),
        ({"shown": 5.0}, "shown"),
        ({"warm": 5.0}, "warm"),
        ({"views": 2}, "views"),
        ({"outputs": 40}, "outputs"),
        ({"noise": 0.0}, "noise"),
        ({"components": 0}, "components"),
    ],
)
def test_bad_settings(settings: dict, word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        OutlierViews(**settings)
