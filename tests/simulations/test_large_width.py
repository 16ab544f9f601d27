"""Large widths: exponents that hold, controls that break each of them, cells that are the table's entries."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import xarray

from simulations.large_width import LIMIT, LargeWidth
from theory import covariance
from theory.checks import InvalidInput
from theory.estimate import Estimate
from theory.lab.simulation import one_thread
from theory.papers.li2020 import concentration
from theory.verdict import Status

KERNELS = LargeWidth(seeds=16, trained_width=0)
TRAINED = LargeWidth(seeds=10, width=4096, points=4, steps=30)
RATES = ("C4.rate", "C7.gap_paired", "C7.gap_ones_centred", "large_width.limit")


class WronglyNormalised(LargeWidth):
    """Output weights 1.1/sqrt(k): the kernel concentrates round another matrix."""

    def kernel(self, centres: np.ndarray, seed: int) -> np.ndarray:
        return 1.21 * super().kernel(centres, seed)


@pytest.fixture(scope="module")
def kernels() -> xarray.Dataset:
    with one_thread():
        return KERNELS.collect()


@pytest.fixture(scope="module")
def trained() -> xarray.Dataset:
    with one_thread():
        return TRAINED.collect()


def test_the_kernel_concentrates_as_one_over_the_root_of_the_width(kernels: xarray.Dataset) -> None:
    assert kernels.width.values.tolist() == [64, 256, 1024, 4096, 16384, 65536]
    verdicts = KERNELS.verdicts(kernels)
    assert [verdict.claim.id for verdict in verdicts] == ["C4.rate"]  # nothing was trained, so nothing else is judged
    assert verdicts.family("C4.rate") == Status.HOLDS
    assert (kernels.deviation.median("seed") < KERNELS.bernstein(kernels.width.values)).all()


def test_a_wrong_normalisation_is_found(kernels: xarray.Dataset) -> None:
    # the error of the mean adds to every deviation: the same draws, round the wrong matrix
    far = [[WronglyNormalised(width=int(k), trained_width=0).run(s).deviation for k in kernels.width] for s in range(6)]
    wrong = kernels.isel(seed=slice(6)).assign(deviation=(("seed", "width"), np.array(far)))
    assert KERNELS.verdicts(wrong).family("C4.rate") == Status.VIOLATED


def test_exponents_of_trained_networks(trained: xarray.Dataset) -> None:
    verdicts = TRAINED.verdicts(trained)
    for name in (*RATES[1:], "large_width.near"):
        assert verdicts.family(name) == Status.HOLDS, name
    assert (trained.gap < trained.gap_one_sign).all()


@pytest.mark.parametrize(
    ("corrupt", "claims"),
    [
        (lambda r: r.assign(gap=r.gap + 0.05), ["C7.gap_paired"]),
        (lambda r: r.assign(gap_one_sign=r.gap_one_sign + 0.1), ["C7.gap_ones_centred"]),
        (lambda r: r.assign(gap=r.gap_one_sign, gap_one_sign=r.gap), ["C7.gap_paired", "C7.gap_ones_centred"]),
        (lambda r: r.assign(departure=r.departure + 0.2), ["large_width.limit"]),
        (lambda r: r.assign(departure=r.departure**2), ["large_width.limit"]),
        (lambda r: r.assign(error=r.error + r.departure + 1e-6 + abs(r.limit - r.error)), ["large_width.near"]),
    ],
    ids=["floor", "floor, one sign", "swapped", "floor under the limit", "too fast", "error apart"],
)
def test_controls_come_out_violated(trained: xarray.Dataset, corrupt: Any, claims: list[str]) -> None:
    verdicts = TRAINED.verdicts(corrupt(trained))
    for name in claims:
        assert verdicts.family(name) == Status.VIOLATED, name


def test_an_activation_with_a_kink_is_out_of_scope() -> None:
    half = Estimate.exponent([1.0, 4.0, 16.0], [[1.0, 0.5, 0.25]] * 2)
    assert LIMIT.check(exponent=half, G2=0.25).status == Status.HOLDS
    assert LIMIT.check(exponent=half, G2=math.inf).status == Status.OUT_OF_SCOPE


def test_the_limit_is_kernel_descent(trained: xarray.Dataset) -> None:
    data, labels = TRAINED.data()
    Sigma = covariance.neural_covariance(data.X, TRAINED.activation)
    step = 0.99 / np.linalg.norm(data.X, 2) ** 2  # softplus: Gamma1 = 1
    f, errors = np.zeros(data.n), []
    for _ in range(TRAINED.steps + 1):
        errors.append(np.abs(f - data.y).max())
        f = f - step * Sigma @ (f - labels.y)
    assert np.allclose(trained.limit, min(errors), rtol=1e-10)


def test_a_cell_is_an_entry_of_the_table(trained: xarray.Dataset) -> None:
    with one_thread():
        cell = LargeWidth(width=256, steps=30).run(3)
    assert not cell.dims
    assert cell.equals(trained.sel(width=256, seed=3, drop=True))
    cells = TRAINED.ladder()
    assert [type(cell) for cell in cells] == [LargeWidth] * 4
    narrow, wide = (cell.kernel(np.eye(10), 0) for cell in cells[:2])
    assert not np.allclose(16 * narrow, 4 * wide)  # nor does a width contain the rows of another


def test_the_table_of_a_sweep_will_do(trained: xarray.Dataset) -> None:
    shuffled = trained.transpose("width", "seed").isel(width=[2, 0, 3, 1])
    assert TRAINED.verdicts(shuffled).to_json() == TRAINED.verdicts(trained).to_json()
    holed = shuffled.where((shuffled.seed != 4) | (shuffled.width != 256))  # a cell that failed costs its seed
    [size] = {v.inputs["p"].size for v in TRAINED.verdicts(holed) if v.claim.id == "C7.gap_paired"}
    assert size == 9
    assert len(TRAINED.figure(holed).axes) == 4
    alone = trained.sel(width=256, drop=True)  # nothing but the seed varies
    assert [verdict.claim.id for verdict in LargeWidth(width=256).verdicts(alone)] == ["large_width.near"]
    with pytest.raises(InvalidInput, match="radius too"):
        TRAINED.verdicts(trained.expand_dims(radius=[0.1, 0.2]))


def test_figures_of_little(kernels: xarray.Dataset, trained: xarray.Dataset) -> None:
    assert len(KERNELS.figure(kernels).axes) == 4
    assert len(TRAINED.figure(trained.isel(seed=[0])).axes) == 4
    few = trained.isel(width=[0, 1])
    assert len(TRAINED.figure(few).axes) == 4
    assert [verdict.claim.id for verdict in TRAINED.verdicts(few)] == ["large_width.near"]


def test_a_million_rows() -> None:
    wide = LargeWidth(width=10**6, points=1)
    found = wide.run(0)
    assert np.isnan(found.gap)
    centres = wide.data()[0].centres
    top = np.linalg.norm(covariance.neural_covariance(centres, "softplus"), 2)
    known = {"size": np.linalg.norm(centres, 2), "K": 4, "Gamma1": 1, "spread": 0, "k": 10**6, "failure": 0}
    assert concentration.DEVIATION.evaluate(s=0.01, top=top, **known)[1] < 1e-9  # so far away once in 10^9 seeds
    assert 0 < found.deviation < 0.01
    (level,) = wide.bernstein(np.array([10**6]))
    assert concentration.DEVIATION.evaluate(s=level, top=top, **known)[1] == pytest.approx(0.5)


def test_no_gpu_is_said_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(LargeWidth, "data", lambda self: pytest.fail("worked before it checked"))
    with pytest.raises(InvalidInput, match="no CUDA device"):
        LargeWidth(device="cuda").collect()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_adds_up_the_same_rows() -> None:
    there, here = (LargeWidth(width=2**20, trained_width=0, device=device).run(0) for device in ("cuda", "cpu"))
    assert float(there.deviation) == pytest.approx(float(here.deviation), abs=1e-6)


def test_cost() -> None:
    costs = [LargeWidth(width=width, trained_width=10**5).cost() for width in (2**14, 2**15, 2**16)]
    assert np.diff(np.log2([cost.operations for cost in costs])) == pytest.approx([1, 1], abs=0.1)
    untrained = LargeWidth(width=10**8, trained_width=0).cost()
    assert untrained.bytes < 1e8  # the rows are never stored
    assert untrained.operations < LargeWidth(width=10**8, trained_width=10**8).cost().operations / 100


def test_progress_reaches_the_end() -> None:
    seen: list[float] = []
    LargeWidth(seeds=2, width=256, points=2, steps=2).collect(seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"width": 65}, "width"),
        ({"narrowest": 5}, "narrowest"),
        ({"points": 0}, "points"),
        ({"activation": "relu"}, "smooth"),
        ({"clusters": 1}, "clusters"),
        ({"noise_rate": 1.5}, "noise_rate"),
        ({"steps": 0}, "steps"),
        ({"device": "tpu"}, "device"),
    ],
)
def test_bad_settings(settings: dict, word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        LargeWidth(**settings)


def test_a_kink_is_welcome_where_nothing_is_trained() -> None:
    relu = LargeWidth(seeds=2, width=4096, points=3, activation="relu", trained_width=0)
    found = relu.collect()
    assert (found.deviation < 0.5).all()
    assert len(relu.figure(found).axes) == 4
