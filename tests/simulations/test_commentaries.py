"""Commentaries on digits: what each row trains on, separation over four seeds, verdicts that can fail."""

import numpy as np
import pytest
import torch
import xarray

from simulations import commentary_training as training
from simulations.commentaries import RIVALS, Commentaries
from simulations.commentary_training import Part, beside, losses, parts, score
from theory.aum import auc
from theory.checks import InvalidInput
from theory.lab.simulation import execute
from theory.verdict import Status

TINY = Commentaries(
    seeds=2, noises=(0.2, 0.4), depths=(0, 2), depth=2, train=100, mask_train=50, blend_train=50, rounds=2,
    inner_steps=2, constants=(0.8, 1.0),
)  # fmt: skip
SHUFFLED = np.random.default_rng(0).permutation(training.IMAGES)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    return execute(TINY, tmp_path_factory.mktemp("figure"))


def test_run_writes_its_figure(outcome) -> None:
    assert {path.suffix for path in outcome.files} == {".png", ".pdf", ".json"}
    assert len(TINY.figure(outcome.results.isel(seed=[0])).axes) == 7  # six panels and a colour bar


def test_every_baseline_is_in_the_table(outcome) -> None:
    assert set(RIVALS) <= set(outcome.results.row.values)
    rows = [row["settings"] for row in outcome.verdicts.rows() if row["claim"] == "commentary.separate"]
    assert len(rows) == 3
    for words in rows:
        assert all(f"{rival}=0." in words for rival in RIVALS)
    assert {"learned", "uniform", "validation", "both", "oracle"} <= set(outcome.results.mask_row.values)
    assert {"learned", "uniform", "constant", "validation", "both"} <= set(outcome.results.blend_row.values)


def test_short_runs_are_out_of_scope(outcome) -> None:
    assert {verdict.status for verdict in outcome.verdicts} == {Status.OUT_OF_SCOPE}


def test_runs_repeat_and_seeds_differ(outcome) -> None:
    told: list[float] = []
    again = TINY.run(0, told.append)
    xarray.testing.assert_equal(again, outcome.results.isel(seed=0).drop_vars("seed"))
    assert told == sorted(told) and told[-1] == pytest.approx(1)
    assert not again.accuracy.equals(outcome.results.accuracy.isel(seed=1).drop_vars("seed"))


def test_depths_are_compared_at_one_noise_only(outcome) -> None:
    auc = outcome.results.auc.isel(seed=0)
    assert np.isnan(auc.sel(noise=0.2, depth=0)) and auc.sel(noise=0.4).notnull().all()


def test_parts_are_disjoint() -> None:
    sizes = [len(part.X) for part in parts(SHUFFLED, 200, 1000)]
    assert sizes == [1000, 200, 597]
    together = torch.cat([part.X for part in parts(SHUFFLED, 200, 1000)])
    everything = parts(np.arange(training.IMAGES), 0, 1200)
    assert torch.allclose(together.sum(dim=0), everything[0].X.sum(dim=0) + everything[2].X.sum(dim=0))


def test_solutions_are_minima() -> None:
    train, _, test = parts(SHUFFLED, 200, 150)
    weights = torch.rand(150, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    w = TINY.solve(train, weights).requires_grad_()
    loss = (weights * losses(w, train.X, train.targets)).mean() + TINY.ridge / 2 * w.square().sum()
    (slope,) = torch.autograd.grad(loss, w)
    assert float(slope.norm()) < 1e-5
    ones = TINY.solve(train, torch.ones(150, dtype=torch.float64))
    assert torch.equal(ones, TINY.solve(train)) and score(ones, test)[0] > 0.8


def test_the_digit_is_left_and_another_image_beside_it() -> None:
    part = parts(SHUFFLED, 200, 60)[0]
    both = beside(part, 0)
    images = both.X[:, :-1].reshape(-1, *training.SIDES)
    own = part.X[:, :-1].reshape(-1, 8, 8)
    assert torch.equal(images[:, :, :8], own) and torch.equal(both.targets, part.targets)
    assert (both.X[:, -1] == 1).all() and not (images[:, :, 8:] == own).flatten(1).all(dim=1).any()


def areas(simulation: Commentaries, seed: int) -> tuple[xarray.Dataset, float]:
    """Of one seed at 40% wrong labels, and the AUC of the last weights against a shuffled truth."""
    blind: list[float] = []

    def spied(weights: np.ndarray, wrong: np.ndarray):
        blind.append(float(auc(weights, np.random.default_rng(seed).permutation(wrong))))
        return auc(weights, wrong)

    order = np.random.default_rng(seed).permutation(training.IMAGES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "auc", spied)
        return simulation.weights(order, 0.4, seed, lambda: None), blind[-1]


def test_learned_weights_find_wrong_labels() -> None:
    """Four seeds with the paper's order; a shuffled truth must come out at a half."""
    cells, blind = zip(*(areas(Commentaries(depths=(1,), depth=1), seed) for seed in range(4)), strict=True)
    found = [float(cell.auc[0]) for cell in cells]
    assert np.mean(found) >= 0.93, found
    assert abs(np.mean(blind) - 0.5) < 0.05, blind
    for cell in cells:
        learned, uniform, validation, _, oracle = cell.accuracy.values
        assert learned > uniform and oracle > max(uniform, validation)


@pytest.mark.slow
def test_every_depth_finds_them() -> None:
    simulation = Commentaries(depths=(0, 1, 20, 100), rounds=100)
    found = np.array([areas(simulation, seed)[0].auc.values for seed in range(4)])
    assert (found.mean(axis=0) >= 0.93).all(), found


def painted(**changes: float) -> dict[str, set[Status]]:
    """Statuses by claim where learned commentaries separate and gain as told."""
    told = {"auc": 0.97, "deep": -0.02, "gain": 0.03, "mask": 0.5, "mask_gain": 0.02, "blend": 0.0, "nll": 0.03}
    told |= changes
    simulation = Commentaries(seeds=6, depths=(0, 20))
    noise = 1e-4 * np.random.default_rng(0).normal(size=(6, 50))
    rows = ["learned, K=0", "learned, K=20", *RIVALS]
    accuracy = 0.9 + noise[:, : len(rows)]
    accuracy[:, :2] += told["gain"]
    accuracy[:, -1] += 0.05
    areas = told["auc"] + noise[:, 10:12]
    areas[:, 1] += told["deep"]
    mass = 0.3 + noise[:, 12:14]
    mass[:, 0] += told["mask"]
    masks, blends, likelihoods = 0.9 + noise[:, 14:19], 0.9 + noise[:, 20:25], 0.2 + noise[:, 25:30]
    masks[:, 0] += told["mask_gain"]
    masks[:, 3] += 0.02
    blends[:, 0] += told["blend"]
    likelihoods[:, 0] += told["nll"]
    results = xarray.Dataset(
        {
            "auc": (("seed", "noise", "depth"), areas[:, None]),
            "accuracy": (("seed", "noise", "row"), accuracy[:, None]),
            "mask_mass": (("seed", "side"), mass),
            "mask_accuracy": (("seed", "mask_row"), masks),
            "blend_accuracy": (("seed", "blend_row"), blends),
            "blend_nll": (("seed", "blend_row"), likelihoods),
        },
        {
            "noise": [0.4],
            "depth": [0, 20],
            "row": rows,
            "side": ["digit", "distractor"],
            "mask_row": ["learned", *RIVALS],
            "blend_row": ["learned", "uniform", "hindsight", "validation", "both"],
        },
    )
    found: dict[str, set[Status]] = {}
    verdicts = simulation.verdicts(results)
    for verdict, status in zip(verdicts, verdicts.statuses(), strict=True):
        found.setdefault(verdict.claim.id.removeprefix("commentary."), set()).add(status)
    return found


def test_verdicts_follow_what_was_measured() -> None:
    assert set().union(*painted().values()) == {Status.HOLDS}
    for change, claims in (
        ({"auc": 0.9}, {"separate"}),
        ({"gain": 0.07}, {"oracle"}),
        ({"deep": 0.02}, {"shallow"}),
        ({"gain": -0.01}, {"gain", "alone", "together"}),
        ({"mask": 0.1}, {"mask"}),
        ({"mask_gain": -0.01}, {"mask_gain"}),
        ({"mask_gain": 0.05}, {"mask_both"}),
        ({"blend": 0.03}, {"blend"}),
        ({"nll": -0.02}, {"blend_both"}),
    ):
        violated = {id for id, statuses in painted(**change).items() if statuses == {Status.VIOLATED}}
        assert violated == claims, change


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"noises": ()}, "noises"),
        ({"noises": (0.4, 0.4)}, "noises"),
        ({"noises": (1.0,)}, "noises"),
        ({"depths": (0,)}, "depths"),
        ({"depths": (-1, 20)}, "depths"),
        ({"train": 1100}, "train"),
        ({"valid": 10}, "valid"),
        ({"rounds": 0}, "rounds"),
        ({"ridge": 0.0}, "ridge"),
        ({"constants": ()}, "constants"),
        ({"constants": (1.5,)}, "constants"),
    ],
)
def test_bad_settings(settings: dict, word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        Commentaries(**settings)


def test_blends_of_an_image_with_nothing_are_that_image() -> None:
    """The row "constant" at 1 is uniform training: what learned blends are compared with is no straw man."""
    cell = Commentaries(rounds=1, inner_steps=1, blend_train=100, constants=(1.0,)).blends(SHUFFLED, 0, lambda: None)
    accuracy = cell.blend_accuracy
    assert float(accuracy.sel(blend_row="constant")) == pytest.approx(
        float(accuracy.sel(blend_row="uniform")), abs=0.002
    )


def test_targets_are_probabilities() -> None:
    part = Part.of(np.zeros((3, 4)), np.array([0, 9, 4]))
    assert part.labels.tolist() == [0, 9, 4] and part.targets.sum(dim=1).tolist() == [1, 1, 1]
    assert (part.X[:, -1] == 1).all() and len((part + part).X) == 6
