"""The clusterable model: its picture, its promises, and data that break each of them."""

import numpy as np
import pytest
import xarray

from simulations.clusters import Clusters
from theory.checks import InvalidInput
from theory.lab.simulation import execute
from theory.verdict import Status

SMALL = Clusters(seeds=3)


def statuses(simulation: Clusters, results: xarray.Dataset) -> dict[str, Status]:
    return {verdict.claim.id: verdict.status for verdict in simulation.verdicts(results)}


def test_quick_profile_keeps_every_promise_and_writes_its_files(tmp_path) -> None:
    outcome = execute(SMALL, tmp_path)
    assert {path.suffix for path in outcome.files} == {".png", ".pdf", ".json"}
    assert outcome.results.X.shape == (3, 30, 2)
    assert outcome.verdicts.counts()["holds"] == len(outcome.verdicts) == 10


@pytest.mark.parametrize(
    "settings",
    [
        {"clusters": 5, "size": 32, "radius": 0.0, "noise_rate": 0.0},
        {"alphas": (-1.0, -0.2, 0.1, 0.9), "label_separation": 0.3, "clusters": 8, "minimum_separation": 0.3},
        {"radius": 0.24, "noise_rate": 0.9, "mode": "adversarial"},
    ],
)
def test_other_settings_keep_their_promises_too(settings: dict) -> None:
    simulation = Clusters(seeds=2, **settings)
    results = simulation.collect()
    judged = statuses(simulation, results)
    judged.pop("C1.sharp"), judged.pop("C1.sufficient")
    assert set(judged.values()) == {Status.HOLDS}
    simulation.figure(results)


def test_labels_survive_only_below_the_sharp_share() -> None:
    above = Clusters(seeds=2, noise_rate=0.4, mode="adversarial")
    assert statuses(above, above.collect())["C1.sufficient"] == Status.VACUOUS


def move(results: xarray.Dataset, name: str, change) -> xarray.Dataset:
    values = results[name].values.copy()
    change(values)
    return results.assign({name: (results[name].dims, values)})


def scale(values: np.ndarray) -> None:
    values[1, 0] *= 1 + 1e-14


def swap_members(values: np.ndarray) -> None:
    values[0, [0, -1]] = values[0, [-1, 0]]


def coincide(values: np.ndarray) -> None:
    values[2, 1] = values[2, 0]


def corrupt_more(values: np.ndarray) -> None:
    values[0, values[0] == 1.0] = -1.0


def stranger(values: np.ndarray) -> None:
    values[0, 3] = 0.3


def one_cluster_less(values: np.ndarray) -> None:
    values[1, 0] = 5


@pytest.mark.parametrize(
    ("name", "change", "broken"),
    [
        ("X", scale, {"clusters.unit"}),
        ("centres", scale, {"clusters.unit"}),
        ("member", swap_members, {"clusters.radius", "clusters.class"}),
        ("centres", coincide, {"clusters.centres", "clusters.radius"}),
        ("truth", stranger, {"clusters.labels", "clusters.class"}),
        ("observed", corrupt_more, {"clusters.share"}),
        ("member", one_cluster_less, {"clusters.sizes", "clusters.radius"}),
    ],
)
def test_each_broken_promise_is_seen(name: str, change, broken: set[str]) -> None:
    judged = statuses(SMALL, move(SMALL.collect(), name, change))
    assert all(judged[claim] == Status.VIOLATED for claim in broken), judged


def test_too_few_corrupted_labels_are_seen() -> None:
    results = SMALL.collect()
    judged = statuses(SMALL, results.assign(observed=results.truth))
    assert judged["clusters.count"] == Status.VIOLATED
    assert judged["clusters.share"] == Status.HOLDS


def test_a_different_promise_is_judged_by_what_was_asked() -> None:
    results = SMALL.collect()
    assert statuses(Clusters(seeds=3, radius=0.1), results)["clusters.radius"] == Status.VIOLATED
    assert statuses(Clusters(seeds=3, noise_rate=0.1), results)["clusters.share"] == Status.VIOLATED


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"alphas": (-1.0, 0.0, 0.5)}, "alphas"),
        ({"radius": -0.1}, "radius"),
        ({"noise_rate": 1.2}, "rate"),
        ({"clusters": 40, "size": 80}, "minimum_separation"),
        ({"clusters": 2}, "classes"),
        ({"size": 3}, "size"),
        ({"mode": "flip"}, "mode"),
        ({"label_separation": 3.0}, "label_separation"),
        ({"seeds": 0}, "seeds"),
    ],
)
def test_bad_settings(settings: dict, word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        Clusters(**settings)
