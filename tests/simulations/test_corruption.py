"""Accuracy against corrupted labels: the experiment on images, its early stop, its verdicts, and users' own files."""

import gzip
import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import xarray

from simulations.corruption import Corruption
from simulations.noisy_images import ended, stopped
from theory.checks import InvalidInput
from theory.convolutional import Convolutional
from theory.lab.command import main
from theory.lab.simulation import execute
from theory.verdict import Status

TINY = {"train_size": 60, "validation_size": 40, "test_size": 50, "clusters_per_class": 2, "width": 40, "steps": 60}
TINY |= {"channels": (4, 8), "dense": 16, "epochs": 12, "records": 8, "batch": 10}
SMALL = Corruption(seeds=2, rates=(0.0, 0.4), class_rates=(0.0, 0.5), **TINY)


@pytest.fixture(scope="module")
def results() -> xarray.Dataset:
    return SMALL.collect()


def statuses(results: xarray.Dataset, network: str, simulation: Corruption = SMALL) -> dict[str, Status]:
    shown = [v for v in simulation.verdicts(results) if network in v.settings.get("network", "")]
    return {verdict.claim.id.removeprefix("corruption."): verdict.status for verdict in shown}


def test_images_are_disjoint_and_inputs_are_unit_rows() -> None:
    images = SMALL.images(seed=1)
    assert [len(images[name].labels) for name in ("train", "validation", "test")] == [60, 40, 50]
    seen = [row.tobytes() for part in images.values() for row in part.pixels]
    assert len(set(seen)) == len(seen)
    for rows in SMALL.inputs(images).values():
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-12)
    assert np.abs(SMALL.inputs(images)["train"].mean(axis=0)).max() < 0.1  # centred before scaling
    assert Corruption(centred=False, **TINY).inputs(images)["train"].min() == 0


def test_labels_are_corrupted_cluster_by_cluster_and_the_held_out_ones_as_much() -> None:
    images = SMALL.images(seed=0)
    train, held_out = SMALL.labels("two-layer", 0.4, images, seed=0)
    assert len(train.sizes) == 4 and not train.violations()
    assert train.counts.tolist() == np.floor(0.4 * train.sizes + 1e-9).astype(int).tolist()
    assert set(train.y) == {-1.0, 1.0} and np.array_equal(train.truth, images["train"].parity)
    assert abs(np.mean(held_out.mask) - 0.4) < 0.05
    train, held_out = SMALL.labels("convolutional", 0.5, images, seed=0)
    assert np.array_equal(train.truth, images["train"].labels) and len(train.alphas) == 10
    redrawn = Corruption(mode="redraw", **TINY).labels("two-layer", 0.4, images, seed=0)[0]
    assert 0.05 < np.mean(redrawn.mask) < 0.35  # about half of what is redrawn changes


def test_small_run_is_labelled_and_repeatable(results: xarray.Dataset) -> None:
    assert results.accuracy.dims == ("seed", "network", "level", "kind", "record")
    assert results.sizes["record"] == 8 and results.time.isel(record=-1).values.tolist() == [[60, 12]] * 2
    assert ((results.accuracy >= 0) & (results.accuracy <= 1)).all()
    assert (results.distance.isel(record=0) == 0).all() and (results.distance.isel(record=-1) > 0).all()
    assert (results.corrupted.isel(level=0) == 0).all() and (results.corrupted.isel(level=1) > 0.3).all()
    assert {"radius", "separation", "least_eigenvalue"} <= set(results)
    assert SMALL.run(0).equals(results.sel(seed=0, drop=True))


def test_both_networks_memorise(results: xarray.Dataset) -> None:
    last = ended(results).accuracy.sel(kind="observed")
    assert (last.sel(network="two-layer") > 0.85).all() and (last.sel(network="convolutional") > 0.4).all()


def test_the_early_stop_sees_the_held_out_loss_and_nothing_else(results: xarray.Dataset) -> None:
    early = stopped(results)
    assert (early.validation_loss == results.validation_loss.min("record")).all()
    scrambled = results.assign(accuracy=results.accuracy.isel(record=slice(None, None, -1)), distance=-results.distance)
    assert (stopped(scrambled).time == early.time).all()


def test_figure_and_record(tmp_path: Path) -> None:
    outcome = execute(SMALL, tmp_path)
    assert len(SMALL.figure(outcome.results).axes) == 4
    record = json.loads((tmp_path / "corruption.json").read_text())
    assert record["settings"]["mode"] == "exact" and record["seeds"] == [0, 1]
    networks = {row["settings"].get("network") for row in record["table"]["verdicts"]}
    assert "convolutional net (outside the theorem)" in networks
    one = Corruption(seeds=1, networks=("two-layer",), rates=(0.0, 0.4), class_rates=(0.0, 0.5), **TINY)
    assert len(one.figure(outcome.results.sel(network=["two-layer"]).isel(seed=[0])).axes) == 2


def paint(results: xarray.Dataset, kind: str, early: float, late: float) -> xarray.Dataset:
    """The results with one accuracy set by hand, and the early stop at record 2; seeds differ by a hair."""
    accuracy, loss = results.accuracy.copy(deep=True), results.validation_loss.copy(deep=True)
    hair = xarray.DataArray([0.0, 1e-5], dims="seed")
    accuracy.loc[{"kind": kind}] = early + hair
    accuracy.loc[{"kind": kind, "record": accuracy.sizes["record"] - 1}] = late + hair
    loss[{"record": 2}] = -1.0
    return results.assign(accuracy=accuracy, validation_loss=loss)


@pytest.mark.parametrize("network", ["two-layer", "convolutional"])
@pytest.mark.parametrize(
    ("kind", "early", "late", "wanted"),
    [
        ("observed", 0.6, 0.95, {"fit": Status.HOLDS}),
        ("observed", 0.6, 0.5, {"fit": Status.VIOLATED}),
        ("test", 0.9, 0.6, {"gain": Status.HOLDS, "clean": Status.HOLDS}),
        ("test", 0.5, 0.9, {"gain": Status.VIOLATED, "clean": Status.VIOLATED}),
        ("true", 0.95, 0.5, {"correct": Status.HOLDS}),
        ("true", 0.2, 0.9, {"correct": Status.VIOLATED}),
    ],
)
def test_verdicts_follow_the_accuracies(
    results: xarray.Dataset, network: str, kind: str, early: float, late: float, wanted: dict[str, Status]
) -> None:
    simulation = Corruption(seeds=2, networks=(network,), rates=(0.0, 0.4), class_rates=(0.0, 0.5), **TINY)
    simulation = simulation if network == "convolutional" else _without_theorem(simulation)
    judged = statuses(paint(results, kind, early, late), network, simulation)
    assert {name: judged[name] for name in wanted} == wanted


def test_little_noise_one_seed_and_no_clean_level_decide_nothing(results: xarray.Dataset) -> None:
    simulation = _without_theorem(Corruption(networks=("two-layer",), **TINY))
    little = statuses(paint(results, "test", 0.9, 0.6).assign(corrupted=results.corrupted / 2), "two-layer", simulation)
    assert little["gain"] == little["correct"] == Status.OUT_OF_SCOPE
    noisy = paint(results, "test", 0.9, 0.6).isel(level=[1])
    assert statuses(noisy, "two-layer", simulation)["clean"] == Status.OUT_OF_SCOPE
    single = statuses(paint(results, "test", 0.9, 0.6).isel(seed=[0]), "two-layer", simulation)
    assert single["gain"] == single["fit"] == Status.INCONCLUSIVE


def _without_theorem(simulation: Corruption) -> Corruption:
    object.__setattr__(simulation, "theorem", lambda seed: [])  # judged in a test of its own
    return simulation


def test_what_the_theorems_say_about_the_images() -> None:
    simulation = Corruption(seeds=1, rates=(0.0, 0.2), class_rates=(0.0, 0.2), **TINY, theorem_width=65536)
    verdicts = {(v.claim.id, v.settings["inputs"].split(":")[0]): v for v in simulation.theorem(seed=0)}
    assert verdicts["C5.frobenius", "images"].status == verdicts["C5.weyl", "images"].status == Status.HOLDS
    assert verdicts["C2.recovery", "images"].status == Status.OUT_OF_SCOPE
    assert verdicts["C9.certified", "images"].status == Status.OUT_OF_SCOPE
    assert verdicts["C2.recovery", "images moved to their centres"].status == Status.HOLDS
    assert "radius" in verdicts["C5.weyl", "images"].settings["inputs"]
    narrow = Corruption(seeds=1, rates=(0.0, 0.2), class_rates=(0.0, 0.2), **TINY, theorem_width=64).theorem(seed=0)
    assert {v.status for v in narrow if v.claim.id == "C2.recovery"} == {Status.OUT_OF_SCOPE}


def write_mnist(folder: Path, counts: dict[str, int]) -> None:
    """Tiny IDX files: ten classes of blurred stripes."""
    draw = np.random.default_rng(0)
    for part, count in counts.items():
        labels = np.arange(count) % 10
        images = np.zeros((count, 28, 28))
        images[np.arange(count), 4 + 2 * labels] = 200
        images = (images + draw.integers(0, 50, images.shape)).astype(np.uint8)
        header = struct.pack(">HBBIII", 0, 8, 3, count, 28, 28)
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + images.tobytes()))
        header = struct.pack(">HBBI", 0, 8, 1, count)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(header + labels.astype(np.uint8).tobytes())


def write_cifar(folder: Path, count: int) -> None:
    draw = np.random.default_rng(0)
    for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
        labels = (np.arange(count) % 10).astype(np.uint8)
        records = [bytes([label]) + draw.integers(0, 256, 3072, dtype=np.uint8).tobytes() for label in labels]
        (folder / name).write_bytes(b"".join(records))


FLAGS = """
    --seeds 1 --train-size 40 --validation-size 20 --test-size 20 --clusters-per-class 2 --width 20 --steps 6
    --channels 2 3 --dense 8 --epochs 2 --records 3 --batch 20 --rates 0 0.4 --class-rates 0 0.5 --theorem-width 64
"""


def test_the_same_command_reads_mnist(tmp_path: Path) -> None:
    write_mnist(tmp_path, {"train": 80, "t10k": 30})
    output = tmp_path / "figures"
    assert (
        main(Corruption, ["--data", "mnist", "--data-root", str(tmp_path), "--output", str(output), *FLAGS.split()])
        == 0
    )
    record = json.loads((output / "corruption.json").read_text())
    assert record["settings"]["data"] == "mnist" and (output / "corruption.png").stat().st_size > 10_000


def test_the_same_settings_read_cifar10(tmp_path: Path) -> None:
    write_cifar(tmp_path, 20)
    tiny = {**TINY, "train_size": 40, "validation_size": 20, "test_size": 20, "steps": 7, "epochs": 7}
    simulation = Corruption(seeds=1, data="cifar10", data_root=str(tmp_path), rates=(0.0,), class_rates=(0.3,), **tiny)
    images = simulation.images(seed=0)
    assert images["train"].pixels.shape == (40, 3, 32, 32)
    assert simulation.run(0).accuracy.shape == (2, 1, 3, 8)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--data", "mnist"], "root: expected the folder that holds mnist.*train-images-idx3-ubyte"),
        (["--data", "mnist", "--data-root", "EMPTY"], "train-images-idx3-ubyte"),
        (["--data", "cifar10", "--data-root", "EMPTY"], "data_batch_1.bin"),
        (["--data", "cifar10", "--data-root", "nowhere"], "does not exist"),
    ],
)
def test_missing_files_are_said_in_one_line(
    flags: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    flags = [str(tmp_path / "empty") if flag == "EMPTY" else flag for flag in flags]
    assert main(Corruption, [*flags, "--output", str(tmp_path / "figures")]) == 2
    message = capsys.readouterr().err
    assert re.search(words, message) and len(message.strip().splitlines()) == 1


def test_full_profile_is_the_papers() -> None:
    full = Corruption.full()
    assert full.mode == "redraw" and full.rates[-1] == 0.9
    assert Convolutional((1, 28, 28), full.channels, full.dense).size == 4_795_914


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"width": 11}, "even"),
        ({"theorem_width": 11}, "even"),
        ({"rates": (0.0, 1.5), "class_rates": (0.0, 0.5)}, "rates"),
        ({"rates": (0.3, 0.1), "class_rates": (0.0, 0.5)}, "increasing"),
        ({"rates": (0.0,)}, "class_rates"),
        ({"networks": ()}, "networks"),
        ({"networks": ("recurrent",)}, "networks"),
        ({"data": "imagenet"}, "data"),
        ({"mode": "some"}, "mode"),
        ({"train_size": 5}, "train_size"),
        ({"test_size": 1500}, "1797"),
        ({"activation": "sigmoid"}, "sigmoid"),
        ({"step_fraction": 0.0}, "step_fraction"),
        ({"steps": 10}, "steps"),
        ({"epochs": 10}, "epochs"),
        ({"batch": 0}, "batch"),
        ({"channels": (0, 4)}, "channels"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"clusters_per_class": 0}, "clusters_per_class"),
        ({"seeds": 0}, "seeds"),
    ],
)
def test_bad_settings(settings: dict, word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        Corruption(**settings)


@pytest.mark.slow
def test_quick_profile_shows_what_early_stopping_gains() -> None:
    simulation = Corruption()
    verdicts = simulation.verdicts(simulation.collect())
    ours = [verdict for verdict in verdicts if verdict.claim.id.startswith("corruption.")]
    assert [verdict.status for verdict in ours] == [Status.HOLDS] * 8, "\n".join(v.explain() for v in ours)
    assert not verdicts.unexpected()
