"""Two-point fits: distances above their bounds, in the order of the settings, judged as claim C6."""

import pytest
import xarray

from simulations.two_points import TwoPoints
from theory.checks import InvalidInput
from theory.verdict import Status

SMALL = TwoPoints(seeds=3, width=512, activations=("softplus",), separations=(0.6, 1.0, 0.3, 0.2))


@pytest.fixture(scope="module")
def results() -> xarray.Dataset:
    return SMALL.collect()


def test_every_bound_stands_beside_its_fit(results: xarray.Dataset) -> None:
    assert results.separation.values.tolist() == list(SMALL.separations)
    ratio = results.bound / results.distance
    assert ((ratio > 0.2) & (ratio < 1)).all()
    near, far = results.distance.sel(separation=0.2), results.distance.sel(separation=1.0)
    assert (near > 3 * far).all()


def test_figure_and_verdicts(results: xarray.Dataset) -> None:
    assert len(SMALL.figure(results).axes) == 1
    verdicts = SMALL.verdicts(results)
    assert all(verdict.status != Status.VIOLATED for verdict in verdicts)
    assert verdicts.family("C6.quadratic") == Status.HOLDS


@pytest.mark.parametrize(
    ("settings", "word"),
    [({"width": 5}, "even"), ({"separations": (0.0,)}, "separations"), ({"activations": ("relu",)}, "smooth")],
)
def test_bad_settings(settings: dict, word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        TwoPoints(**settings)
