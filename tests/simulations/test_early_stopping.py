"""The two-cluster turn: settings, a small run, the figure, and verdicts that can fail."""

import numpy as np
import pytest
import xarray

from simulations.early_stopping import EarlyStopping
from theory.checks import InvalidInput
from theory.verdict import Status

SMALL = EarlyStopping(seeds=2, width=100, per_cluster=30, steps=40, early=10, activations=("erf",))


def test_data_are_exactly_two_balls() -> None:
    X, truth, clusters = SMALL.data(seed=3)
    assert np.bincount(clusters).tolist() == [30, 30]
    assert set(truth) == {0.0, 1.0}
    for cluster in (0, 1):
        ball = X[clusters == cluster]
        spread = np.linalg.norm(ball[:, None] - ball[None], axis=-1).max()
        assert spread <= 2 * SMALL.ball + 1e-12


def test_small_run_is_labelled_repeatable_and_drawn() -> None:
    results = SMALL.collect()
    assert results.accuracy_true.dims == ("seed", "activation", "step")
    assert results.accuracy_true.isel(step=-1).min() > 0.9
    assert SMALL.collect().equals(results)
    assert len(SMALL.figure(results).axes) == 1


def test_verdicts_follow_the_accuracies() -> None:
    results = SMALL.collect()
    statuses = {verdict.claim.id: verdict.status for verdict in SMALL.verdicts(results)}
    assert statuses["turn.turn"] == statuses["turn.fall"] == Status.OUT_OF_SCOPE  # 40 steps decide nothing
    long = results.assign_coords(step=results.step * 200)
    shown = EarlyStopping(seeds=2, activations=("erf",), early=2000, steps=8000)
    unturned = long.assign(accuracy_true=long.accuracy_true * 0 + 1.0)
    statuses = {verdict.claim.id: verdict.status for verdict in shown.verdicts(unturned)}
    assert statuses == {"turn.rise": Status.HOLDS, "turn.turn": Status.VIOLATED, "turn.fall": Status.VIOLATED}
    lost = long.assign(accuracy_true=long.accuracy_true * 0 + 0.5)
    statuses = {verdict.claim.id: verdict.status for verdict in shown.verdicts(lost)}
    assert statuses == {"turn.rise": Status.VIOLATED, "turn.turn": Status.VIOLATED, "turn.fall": Status.HOLDS}


def test_a_share_at_the_bound_is_decided_exactly() -> None:
    simulation = EarlyStopping(seeds=1, activations=("erf",), early=80, steps=8000)
    steps, accuracies = [0, 80, 8000], [[[0.5, 392 / 400, 360 / 400]]]
    results = xarray.Dataset(
        {"accuracy_true": (("seed", "activation", "step"), np.array(accuracies))},
        {"seed": [0], "activation": ["erf"], "step": steps},
    )
    assert [verdict.status for verdict in simulation.verdicts(results)] == [Status.HOLDS] * 3


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"width": 11}, "even"),
        ({"noise_rate": 1.5}, "noise_rate"),
        ({"ball": -1.0}, "ball"),
        ({"early": 5000}, "early"),
        ({"seeds": 0}, "seeds"),
        ({"activations": ("sigmoid",)}, "sigmoid"),
        ({"centre_distance": 2.5}, "centre_distance"),
    ],
)
def test_bad_settings(settings: dict, word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        EarlyStopping(**settings)


@pytest.mark.slow
def test_full_profile_shows_the_turn() -> None:
    simulation = EarlyStopping.full()
    assert simulation.seeds == 5 and simulation.steps == 4500 and simulation.per_cluster == 200
    verdicts = simulation.verdicts(simulation.collect())
    assert [verdict.status for verdict in verdicts] == [Status.HOLDS] * 6, "\n".join(v.explain() for v in verdicts)
