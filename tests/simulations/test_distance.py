"""Accuracy against distance from initialisation: the curves, the pairs that C6 is judged on, verdicts that can fail."""

import numpy as np
import pytest
import xarray

from simulations.distance import Distance, _close_pairs
from theory.checks import InvalidInput
from theory.lab.simulation import execute
from theory.verdict import Status

TINY = {"train_size": 60, "validation_size": 40, "test_size": 50, "clusters_per_class": 2, "width": 40, "steps": 60}
TINY |= {"channels": (4, 8), "dense": 16, "epochs": 12, "records": 8, "batch": 10, "pairs": 5}
SMALL = Distance(seeds=2, rates=(0.0, 0.4), class_rates=(0.0, 0.5), **TINY)


@pytest.fixture(scope="module")
def results() -> xarray.Dataset:
    return SMALL.collect()


def test_run_writes_its_figure(tmp_path) -> None:
    outcome = execute(SMALL, tmp_path)
    assert {path.suffix for path in outcome.files} == {".png", ".pdf", ".json"}
    axes = SMALL.figure(outcome.results).axes
    assert len(axes) == 4
    assert [line.get_label() for line in axes[0].lines if "%" in str(line.get_label())] == [
        f"{share:.0%} corrupted"
        for share in outcome.results.corrupted.sel(network="two-layer").mean("seed").values
    ]  # fmt: skip


def test_corrupted_labels_cost_distance(results: xarray.Dataset) -> None:
    end = results.distance.sel(network="two-layer").isel(record=-1)  # the other one has not memorised in 12 epochs
    assert (end.isel(level=1) > end.isel(level=0)).all()


@pytest.mark.parametrize("network", ["two-layer", "convolutional"])
def test_verdicts_follow_the_distances(results: xarray.Dataset, network: str) -> None:
    simulation = Distance(seeds=2, networks=(network,), rates=(0.0, 0.4), class_rates=(0.0, 0.5), **TINY)
    object.__setattr__(simulation, "price", lambda seed: [])  # judged below

    def judge(end: list[float], early: float, observed: float) -> dict[str, Status]:
        distance = results.distance.copy(deep=True)
        hair = xarray.DataArray([1.0, 1 + 1e-6], dims="seed")
        distance[{"record": slice(1, None)}] = early * hair
        distance[{"record": -1}] = xarray.DataArray(end, dims="level") * hair
        loss = results.validation_loss.copy(deep=True)
        loss[{"record": 1}] = -1.0
        painted = results.assign(distance=distance, validation_loss=loss, accuracy=results.accuracy * 0 + observed)
        return {verdict.claim.id: verdict.status for verdict in simulation.verdicts(painted)}

    good = judge([0.2, 0.4], early=0.1, observed=0.95)
    assert set(good.values()) == {Status.HOLDS} and len(good) == 3
    bad = judge([0.4, 0.2], early=0.15, observed=0.5)
    assert set(bad.values()) == {Status.VIOLATED} and len(bad) == 3


def test_one_seed_is_inconclusive(results: xarray.Dataset) -> None:
    simulation = Distance(networks=("convolutional",), rates=(0.0, 0.4), class_rates=(0.0, 0.5), **TINY)
    assert {v.status for v in simulation.verdicts(results.isel(seed=[0]))} == {Status.INCONCLUSIVE}


def test_one_level_has_nothing_to_compare(results: xarray.Dataset) -> None:
    simulation = Distance(networks=("convolutional",), rates=(0.4,), class_rates=(0.5,), **TINY)
    judged = [verdict.claim.id for verdict in simulation.verdicts(results.isel(level=[1]))]
    assert judged == ["distance.memorised", "distance.nearer"]


def test_the_price_of_telling_pairs_apart_holds() -> None:
    verdicts = SMALL.price(seed=1)
    assert {verdict.claim.id for verdict in verdicts} >= {"C6.quadratic", "C6.slope", "C6.pairs"}
    assert verdicts.family("C6") == Status.HOLDS


def test_pairs_are_disjoint_differ_in_label_and_come_nearest_first() -> None:
    draw = np.random.default_rng(0)
    X, y = draw.normal(size=(30, 4)), draw.choice([-1.0, 1.0], 30)
    X[5], y[5], y[7] = X[7], 1.0, -1.0  # equal inputs cannot be told apart at any price: left out
    first, second = _close_pairs(X, y, 8)
    lengths = np.linalg.norm(X[first] - X[second], axis=1)
    assert len(set(first) | set(second)) == 16 and (y[first] != y[second]).all()
    assert (np.diff(lengths) >= 0).all() and lengths[0] > 0
    everything = np.linalg.norm(X[:, None] - X[None], axis=-1)
    assert lengths[0] == pytest.approx(everything[(y[:, None] != y) & (everything > 1e-6)].min())
    assert len(_close_pairs(X, y, 100)[0]) <= 15


def test_full_profile_can_be_made() -> None:
    assert Distance.full().channels == (64, 128)


@pytest.mark.parametrize(
    ("settings", "word"),
    [({"pairs": 0}, "pairs"), ({"pairs": 200}, "pairs"), ({"rates": (0.1,)}, "class_rates"), ({"width": 7}, "even")],
)
def test_bad_settings(settings: dict, word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        Distance(**settings)


@pytest.mark.slow
def test_quick_profile_shows_that_noise_travels() -> None:
    simulation = Distance()
    verdicts = simulation.verdicts(simulation.collect())
    ours = [verdict for verdict in verdicts if verdict.claim.id.startswith("distance.")]
    assert [verdict.status for verdict in ours] == [Status.HOLDS] * 6, "\n".join(v.explain() for v in ours)
    assert not verdicts.unexpected()
