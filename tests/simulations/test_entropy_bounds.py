"""Entropy beside its bounds: ordered where they must be, judged as F1, F3, F7, F8."""

import numpy as np
import pytest
import torch
import xarray

from simulations.entropy_bounds import TRUE, EntropyBounds, isotropic, network_loss
from theory.checks import InvalidInput
from theory.entropy import entropy, evaluate
from theory.verdict import Status

SMALL = EntropyBounds(
    seeds=2, variances=(0.1, 1.0, 10.0), dimensions=(1, 3), draws=4096, few=(2, 10), repetitions=4000,
    sizes=(64, 1024), networks=3, gains=(0.5, 4.0),
)  # fmt: skip


@pytest.fixture(scope="module")
def results() -> xarray.Dataset:
    return SMALL.collect()


def test_values_and_bounds(results: xarray.Dataset) -> None:
    assert (results.entropy < results.half).all()
    np.testing.assert_allclose(results.unweighted * results.variance, results.half)
    wide = results.sel(variance=10.0)
    assert (wide.entropy > 0.8 * wide.unweighted).all()  # beyond variance 1 the unweighted form bounds nothing
    np.testing.assert_allclose(results.parts_d.sel(dimension=1), results.entropy_d.sel(dimension=1), rtol=0.1)
    assert (results.entropy_net < results.half_net).all()
    assert (results.plug_in < TRUE[0]).all() and (results.corrected > results.plug_in).all()
    assert (results.plug_in.sel(n=10) > results.plug_in.sel(n=2)).all()
    assert (results.rms.sel(way="quasi", size=1024) < results.rms.sel(way="plain", size=1024)).all()


def test_the_floor_of_the_cross_entropy_takes_entropy_away() -> None:
    both = [network_loss(2, torch.Generator().manual_seed(3), floor=floor) for floor in (True, False)]
    measure = isotropic(2, 0.5)
    least = [float(evaluate(f, measure, order=40).values.min()) for f in both]
    assert least[0] > 0.1 and 0 <= least[1] < 1e-2
    values = [float(entropy(f, measure, order=40).value) for f in both]
    assert values[0] < values[1]


def test_figure_and_verdicts(results: xarray.Dataset) -> None:
    assert len(SMALL.figure(results).axes) == 6
    verdicts = SMALL.verdicts(results)
    assert not verdicts.unexpected()
    assert {verdict.claim.id.split(".")[0] for verdict in verdicts} == {"F1", "F3", "F7", "F8"}
    assert verdicts.family("F1.log_sobolev") == Status.HOLDS
    assert verdicts.family("F8.grows") == Status.HOLDS
    only = EntropyBounds(seeds=2, dimensions=(1,), variances=(1.0,), draws=64, few=(2,), repetitions=100,
                         sizes=(64,), networks=1, gains=(1.0,))  # fmt: skip
    assert "F3.tensorization" not in {verdict.claim.id for verdict in only.verdicts(only.collect())}


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"seeds": 1}, "seeds"),
        ({"draws": 1000}, "power of two"),
        ({"sizes": (16,)}, "power of two"),
        ({"variances": (0.0,)}, "variances"),
        ({"few": (1,)}, "few"),
        ({"networks": 0}, "networks"),
    ],
)
def test_bad_settings(settings: dict, word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        EntropyBounds(**settings)


def test_the_full_profile_is_larger() -> None:
    assert EntropyBounds.full().networks > EntropyBounds().networks
