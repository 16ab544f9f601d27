"""The bimodal spectrum: shapes, energies that add up, and verdicts that fail on corrupted measurements."""

import numpy as np
import pytest
import xarray

from simulations.spectrum import Spectrum
from theory.checks import InvalidInput
from theory.verdict import Status

SMALL = Spectrum(seeds=2, width=300, dimension=8, clusters=3, classes=3, per_cluster=5, radii=(0.0, 0.1), steps=60)


@pytest.fixture(scope="module")
def results() -> xarray.Dataset:
    return SMALL.collect()


def test_perfect_clusters_have_rank_k(results: xarray.Dataset) -> None:
    values = results.singular.sel(radius=0.0)
    assert (values.sel(index=3) > 0.1).all()
    assert (values.sel(index=[4, 5]) < 1e-12).all()
    assert (results.singular.sel(radius=0.1, index=4) > 1e-4).all()


def test_energies_are_shares(results: xarray.Dataset) -> None:
    start = results.energy.isel(step=0).sum("space")
    assert np.allclose(start, 1.0)
    assert ((results.share >= 0) & (results.share <= 1)).all()
    assert len(SMALL.figure(results).axes) == 3


def test_verdicts_and_a_mutant(results: xarray.Dataset) -> None:
    verdicts = SMALL.verdicts(results)
    assert verdicts.family("C5") == Status.HOLDS
    assert verdicts.family("spectrum.aligned") == Status.HOLDS
    swapped = results.assign_coords(part=results.part.values[::-1])
    assert SMALL.verdicts(swapped).family("spectrum.aligned") == Status.VIOLATED


@pytest.mark.parametrize(
    ("settings", "word"),
    [({"width": 5}, "even"), ({"classes": 9}, "classes"), ({"radii": (3.0,)}, "radii"), ({"steps": 0}, "steps")],
)
def test_bad_settings(settings: dict, word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        Spectrum(**settings)
