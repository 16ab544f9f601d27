"""Coloured digits: pairing, what is perturbed, choice of the strength, verdicts that can fail."""

import numpy as np
import pytest
import torch
import xarray

from simulations.coloured_training import PARTS, label, parsed, see, tensors
from simulations.multimodal_bias import MultimodalBias
from theory import modalities
from theory.checks import InvalidInput
from theory.lab.simulation import execute
from theory.verdict import Status

ROWS = ("none", "information 0.01", "balance 0.1 cold kl", "oracle 1")
TINY = MultimodalBias(seeds=2, rows=ROWS, epochs=2, warm_up=1, width=16, batch=256, measured=2, draws=1)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    return execute(TINY, tmp_path_factory.mktemp("figure"))


@pytest.fixture(scope="module")
def data():
    return modalities.coloured_digits(0)


def test_run_writes_its_figure(outcome) -> None:
    assert {path.suffix for path in outcome.files} == {".png", ".pdf", ".json"}
    assert len(TINY.figure(outcome.results).axes) == 4
    assert len(TINY.figure(outcome.results.isel(seed=[0])).axes) == 4
    assert outcome.results.accuracy.shape == (2, 4, 2, 4) and (outcome.results.information > 0).all()


def test_short_runs_are_out_of_scope(outcome) -> None:
    assert {verdict.status for verdict in outcome.verdicts} == {Status.OUT_OF_SCOPE}


def test_rows_are_paired(outcome) -> None:
    """Before the regulariser is on, every row is the row without it; the cold one differs at once."""
    first = outcome.results.accuracy.isel(epoch=0)
    assert (first.sel(row="information 0.01") == first.sel(row="none")).all()
    assert (first.sel(row="oracle 1") == first.sel(row="none")).all()
    assert not (first.sel(row="balance 0.1 cold kl") == first.sel(row="none")).all()
    assert not (outcome.results.accuracy.isel(epoch=1).sel(row="oracle 1") == first.sel(row="none")).all()


def test_training_repeats_bit_for_bit(data) -> None:
    before = torch.get_rng_state()
    runs = [TINY.train(data, "information 0.01", 0)[0] for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*(run.parameters() for run in runs), strict=True))
    assert torch.equal(torch.get_rng_state(), before)  # the caller's own stream is left alone
    assert not torch.equal(TINY.network(0)[0].weight, TINY.network(1)[0].weight)


def test_each_modality_is_perturbed_alone(data) -> None:
    """A network of the colour alone has no information of the image, and conversely; its inputs are g (x) c."""
    part = data["validation"]
    grey, colour, _ = tensors(part)
    network = torch.nn.Identity()
    assert torch.allclose(see(network, grey, colour).double(), torch.from_numpy(part.X), atol=1e-6)
    tool = TINY.regulariser(data, "information 1", 4, 0)
    terms = tool.terms(lambda g, c: c, [grey, colour])
    assert float(terms[0]) == 0 and float(terms[1]) > 1e-6
    terms = tool.terms(lambda g, c: g, [grey, colour])
    assert float(terms[1]) == 0 and float(terms[0]) > 1e-6
    assert TINY.regulariser(data, "balance 0.1 kl", 1, 0).divergence == "kl"
    assert TINY.regulariser(data, "balance 0.1", 1, 0).divergence == "cross_entropy"


def painted(shift: dict[str, float], epochs: int = 30, rows: tuple[str, ...] | None = None) -> dict[str, list[Status]]:
    """Statuses by claim when the forms gain that much on every test set over .4 (.95 in the class's colour)."""
    rows = rows or ("none", "information 0.1", "information 1 cold", "balance 0.1", "balance 1", "oracle 1")
    simulation = MultimodalBias(seeds=8, rows=rows, epochs=epochs)
    scores = np.full((8, len(rows), 1, len(PARTS)), 0.4)
    scores[..., :2] = 0.95
    for number, row in enumerate(rows):
        form = "cold" if "cold" in row else parsed(row)[0]
        scores[:, number] += shift.get(form, 0.0)
    scores += 1e-3 * np.random.default_rng(0).normal(size=scores.shape)
    found: dict[str, list[Status]] = {}
    results = xarray.Dataset(
        {"accuracy": (("seed", "row", "epoch", "part"), scores), "loss": (("seed", "row"), np.ones((8, len(rows))))},
        {"row": list(rows), "part": list(PARTS), "seed": range(8)},
    )
    for verdict in simulation.verdicts(results):
        found.setdefault(verdict.claim.id.removeprefix("bias."), []).append(verdict.status)
    return found


def test_verdicts_follow_the_scores() -> None:
    good = painted({"information": -0.05, "balance": 0.3, "oracle": 0.4, "cold": -0.5})
    holds = {"present": 1, "information": 2, "cold": 1, "balance": 4, "oracle": 2, "order": 2}
    assert good == {name: [Status.HOLDS] * count for name, count in holds.items()}
    bad = painted({"information": 0.3, "balance": -0.1, "oracle": -0.1, "cold": 0.0, "none": 0.0})
    assert bad == {
        **{name: [Status.VIOLATED] * count for name, count in holds.items()},
        "present": [Status.HOLDS],
    }
    assert {status for statuses in painted({}, epochs=9).values() for status in statuses} == {Status.OUT_OF_SCOPE}
    assert "order" not in painted({}, rows=("none", "balance 0.1"))


def test_no_bias_is_seen() -> None:
    simulation = MultimodalBias(seeds=8, rows=("none",))
    scores = 0.9 + 1e-3 * np.random.default_rng(0).normal(size=(8, 1, 1, 4))
    dims = ("seed", "row", "epoch", "part")
    results = xarray.Dataset({"accuracy": (dims, scores)}, {"row": ["none"], "part": list(PARTS)})
    assert [verdict.status for verdict in simulation.verdicts(results)] == [Status.VIOLATED]


def test_strength_is_chosen_on_validation_images() -> None:
    """By accuracy, then by cross-entropy; never by test images, never a row with flags."""
    rows = ("none", "balance 0.1", "balance 1", "balance 10", "balance 2 cold")
    scores = np.zeros((2, 5, 1, 4))
    scores[0, :, 0, 0] = [1.0, 0.9, 0.9, 0.8, 1.0]
    scores[1, :, 0, 0] = [1.0, 0.7, 0.8, 0.9, 1.0]
    scores[:, 3, 0, 1:] = 1.0
    losses = np.array([[0.0, 0.2, 0.1, 0.0, 0.0], [0.0, 0.1, 0.2, 0.3, 0.0]])
    dims = ("seed", "row", "epoch", "part")
    data = {"accuracy": (dims, scores), "loss": (("seed", "row"), losses)}
    results = xarray.Dataset(data, {"row": list(rows), "part": list(PARTS)})
    assert MultimodalBias(rows=rows).chosen(results, "balance") == ["balance 1", "balance 10"]


def test_rows_are_read() -> None:
    assert parsed("none") == ("none", 0.0, frozenset())
    assert parsed("information 1e-3 cold kl") == ("information", 0.001, frozenset({"cold", "kl"}))
    assert label("information 1e-3 kl cold") == "1/I 0.001 cold kl" and label("none") == "none"


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"rows": ("balance 0.1",)}, "rows"),
        ({"rows": ("none", "none")}, "rows"),
        ({"rows": ("none", "")}, "form of a row"),
        ({"rows": ("none", "entropy 1")}, "form of a row"),
        ({"rows": ("none", "balance")}, "strength"),
        ({"rows": ("none", "balance much")}, "strength"),
        ({"rows": ("none", "balance -1")}, "strength"),
        ({"rows": ("none", "none 1")}, "strength"),
        ({"rows": ("none", "balance 1 warm")}, "flag"),
        ({"epochs": 0}, "epochs"),
        ({"warm_up": 99}, "warm_up"),
        ({"draws": 0}, "draws"),
        ({"batch": 1}, "batch"),
        ({"noise": -0.1}, "noise"),
        ({"colours": "blue"}, "colours"),
        ({"learning_rate": 0.0}, "learning_rate"),
    ],
)
def test_bad_settings(settings: dict, word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        MultimodalBias(**settings)


def test_full_profile_is_the_table() -> None:
    full = MultimodalBias.full()
    assert full.seeds == 8 and full.epochs == 30 and full.draws == 3 and full.width == 96
    assert {"none", "information 0.001", "information 0.01", "balance 0.1", "oracle 0.1"} <= set(full.rows)
