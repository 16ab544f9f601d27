"""The phase diagram: small grid, figure, and verdicts that fail on corrupted measurements."""

import pytest
import xarray

from simulations.phase_diagram import PhaseDiagram
from theory.checks import InvalidInput
from theory.verdict import Status

SMALL = PhaseDiagram(
    seeds=2, width=2048, trained_width=128, per_cluster=10, noise_rates=(0.0, 0.3, 0.6), radii=(0.0, 0.3), steps=120
)


@pytest.fixture(scope="module")
def results() -> xarray.Dataset:
    return SMALL.collect()


def test_recovery_depends_on_the_side_of_the_threshold(results: xarray.Dataset) -> None:
    perfect = results.sel(radius=0.0)
    assert (perfect.error.sel(noise_rate=[0.0, 0.3]) < 1).all()
    assert (perfect.error.sel(noise_rate=0.6) > 1).all()
    assert (perfect.bound.sel(noise_rate=0.0) < 1).all()
    assert (results.realised.isel(seed=0, radius=0) == [0.0, 0.3, 0.6]).all()


def test_verdicts_and_their_mutants(results: xarray.Dataset) -> None:
    assert [verdict.status for verdict in SMALL.verdicts(results)] == [Status.HOLDS, Status.HOLDS]
    failed = results.assign(error=results.error + 1.5)
    certified, lost = SMALL.verdicts(failed)
    assert certified.status == Status.VIOLATED and lost.status == Status.HOLDS
    recovered = results.assign(error=results.error * 0 + 0.1)
    assert SMALL.verdicts(recovered)[1].status == Status.VIOLATED
    hopeless = results.assign(bound=results.bound + 2)
    assert SMALL.verdicts(hopeless)[0].status == Status.OUT_OF_SCOPE


def test_figure_shows_three_things(results: xarray.Dataset) -> None:
    fig = SMALL.figure(results)
    labels = [text.get_text() for text in fig.legends[0].get_texts()]
    assert len(labels) == 3 and any("C9" in text for text in labels) and any("C1" in text for text in labels)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"width": 3}, "width"),
        ({"noise_rates": (0.1, 1.2)}, "noise_rates"),
        ({"radii": (-0.1,)}, "radii"),
        ({"activation": "relu"}, "smooth"),
        ({"activation": "swish"}, "swish"),
        ({"per_cluster": 0}, "per_cluster"),
    ],
)
def test_bad_settings(settings: dict, word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        PhaseDiagram(**settings)
