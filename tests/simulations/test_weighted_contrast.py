"""Contrastive training: pairing, what each kind of outlier shows, weights of each rule, verdicts that can fail."""

import numpy as np
import pytest
import torch
import xarray

from simulations.contrast_views import RULES, SCENARIOS, _corners
from simulations.weighted_contrast import WeightedContrast
from theory import datasets
from theory.checks import InvalidInput
from theory.importance import effective_share
from theory.lab.simulation import execute
from theory.verdict import Status

TINY = WeightedContrast(seeds=2, scenarios=("nuisance", "crop"), epochs=2, width=16, repeats=1, test_share=0.7)
DIGITS = datasets.load("digits", unit_rows=False).split(0.2, 0)[0]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    return execute(TINY, tmp_path_factory.mktemp("figure"))


def test_run_writes_its_figure(outcome) -> None:
    assert {path.suffix for path in outcome.files} == {".png", ".pdf", ".json"}
    assert len(TINY.figure(outcome.results).axes) == 4
    assert len(TINY.figure(outcome.results.isel(seed=[0])).axes) == 4


def test_probes_learn_digits(outcome) -> None:
    accuracy = outcome.results.accuracy
    assert (accuracy > 0.2).all() and (accuracy.sel(probe="all") > accuracy.sel(probe="few")).mean() > 0.9


def test_short_runs_are_out_of_scope(outcome) -> None:
    assert {verdict.status for verdict in outcome.verdicts} == {Status.OUT_OF_SCOPE}


def test_rules_are_paired() -> None:
    """Same first weights and, batch by batch, the same views, whatever the rule; other seeds see others."""
    first = [TINY.viewer(DIGITS, "nuisance", 3)(torch.arange(8)) for _ in range(2)]
    assert torch.equal(first[0][0], first[1][0]) and torch.equal(first[0][1], first[1][1])
    assert not torch.equal(TINY.viewer(DIGITS, "nuisance", 4)(torch.arange(8))[0], first[0][0])
    before = torch.get_rng_state()
    networks = [TINY.network(67, seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), before)  # the caller's own stream is left alone
    assert torch.equal(networks[0][0].weight, networks[1][0].weight)
    assert not torch.equal(networks[0][0].weight, networks[2][0].weight)


def test_training_repeats_bit_for_bit() -> None:
    runs = [TINY.train(DIGITS, "noise", "all", 0)[0] for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(runs[0].parameters(), runs[1].parameters(), strict=True))


def test_weights_of_each_rule() -> None:
    z = torch.randn(64, 6, 4, generator=torch.Generator().manual_seed(0))
    which = torch.rand(64, 6, generator=torch.Generator().manual_seed(1)) < 0.3
    w = {rule: TINY.weights(z, which, rule, torch.Generator().manual_seed(2)) for rule in RULES}
    for rule, values in w.items():
        assert float(values.mean()) == pytest.approx(1, rel=1e-5), rule
    assert (w["uniform"] == 1).all() and (w["oracle"][which] == 0).all()
    assert torch.allclose(w["permuted"].flatten().sort().values, w["global"].flatten().sort().values)
    assert effective_share(w["permuted"]) == pytest.approx(effective_share(w["global"]))
    assert not torch.equal(w["permuted"], w["global"]) and not torch.equal(w["all"], w["global"])
    assert torch.allclose(w["global"][:, 0], w["global"][:, 1]) and not torch.allclose(w["all"][:, 0], w["all"][:, 1])
    kinds = w["kinds"]
    assert kinds.unique().numel() == 2 and float(kinds[0, 0]) == pytest.approx(float(w["global"][:, :2].mean()))
    assert float(kinds[0, 2]) == pytest.approx(float(w["global"][:, 2:].mean()))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_what_outliers_show(scenario: str) -> None:
    simulation = WeightedContrast(scenarios=(scenario,), share=1.0, pixel_noise=0.0, nuisance_noise=0.0)
    rows = torch.arange(40)
    views, which = simulation.viewer(DIGITS, scenario, 0)(rows)
    X, labels = torch.from_numpy(DIGITS.X).float(), torch.from_numpy(DIGITS.labels)
    assert not which[:, :2].any() and which[:, 2:].all()
    pixels = views[..., :64]
    assert torch.allclose(pixels[:, :2], X[rows][:, None].expand(-1, 2, -1))
    assert not torch.allclose(pixels[:, 2:], X[rows][:, None].expand(-1, 4, -1))
    if scenario == "nuisance":
        assert views.shape[-1] == 67
        assert torch.equal(views[:, 0, 64:], views[:, 5, 64:]) and not torch.equal(views[0, 0, 64:], views[1, 0, 64:])
    if scenario == "pair":
        nearest = torch.cdist(pixels[:, 2:].reshape(-1, 64), X).argmin(dim=1)
        assert torch.equal(labels[nearest] ^ 1, labels[rows].repeat_interleave(4))
    if scenario == "swap":
        assert float(torch.cdist(pixels[:, 2:].reshape(-1, 64), X).min(dim=1).values.max()) < 1e-3
    if scenario == "crop":
        assert ((pixels[:, 2:] == 0) | (pixels[:, 2:] == X[rows][:, None])).all()


def test_corners() -> None:
    image = torch.ones(1, 64)
    quarters = _corners(image, torch.arange(4)[None]).reshape(4, 8, 8)
    assert quarters.sum(dim=(1, 2)).tolist() == [16] * 4 and (quarters.sum(dim=0) == 1).all()
    assert quarters[0, :4, :4].all()


def test_few_labels_are_drawn_from_all_images() -> None:
    rows = WeightedContrast().drawn(DIGITS.labels, np.random.default_rng(0))
    assert np.bincount(DIGITS.labels[rows]).tolist() == [10] * 10 and rows.max() > 1000


def painted(gain: float, scenario: str) -> dict[str, list[Status]]:
    """Statuses by claim when the weights, about either centre, gain that much over everything else."""
    simulation = WeightedContrast(seeds=8, scenarios=(scenario,), epochs=30)
    scores = np.full((8, 1, len(RULES), 2), 0.7)
    scores += 1e-3 * np.random.default_rng(0).normal(size=scores.shape)
    scores[:, :, 1:3] += gain
    dims = ("seed", "scenario", "rule", "probe")
    coordinates = {"scenario": [scenario], "rule": list(RULES), "probe": ["few", "all"]}
    found: dict[str, list[Status]] = {}
    for verdict in simulation.verdicts(xarray.Dataset({"accuracy": (dims, scores)}, coordinates)):
        found.setdefault(verdict.claim.id, []).append(verdict.status)
    return found


def test_verdicts_follow_the_gains() -> None:
    for gain, status in ((0.05, Status.HOLDS), (-0.05, Status.VIOLATED)):
        twice = [status, status]
        assert painted(gain, "nuisance") == {"contrast.gain": twice, "contrast.placed": twice}
        assert painted(-gain, "pair") == {"contrast.pairs": twice}
    for scenario in ("noise", "swap", "crop"):
        assert painted(0.05, scenario) == {"contrast.null": [Status.VIOLATED] * 2}
        assert painted(0.0, scenario) == {"contrast.null": [Status.HOLDS] * 2}


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"scenarios": ()}, "scenarios"),
        ({"scenarios": ("blur",)}, "scenarios"),
        ({"share": 1.2}, "share"),
        ({"views": 2}, "views"),
        ({"batch": 1}, "batch"),
        ({"temperature": 0.0}, "temperature"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"repeats": 0}, "repeats"),
        ({"pixel_noise": -1.0}, "pixel_noise"),
    ],
)
def test_bad_settings(settings: dict, word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        WeightedContrast(**settings)


@pytest.mark.slow
def test_full_size_on_eight_paired_seeds() -> None:
    simulation = WeightedContrast(seeds=8, scenarios=("nuisance",), batch=128, epochs=30)
    verdicts = simulation.verdicts(simulation.collect())
    assert not verdicts.unexpected()
    about_global = [verdict for verdict in verdicts if verdict.settings.get("centre") == "global"]
    assert [verdict.status for verdict in about_global] == [Status.HOLDS], about_global
