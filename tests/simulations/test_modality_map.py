"""The map over what a modality tells and its shift: networks side by side, closed forms, verdicts that can fail."""

import numpy as np
import pytest
import torch
import xarray

from simulations.modality_map import FORMS, HELPS, HURTS, ModalityMap
from simulations.side_by_side import Networks, by_problem
from theory.checks import InvalidInput
from theory.entropy.regulariser import FunctionalEntropyRegulariser
from theory.lab.simulation import execute
from theory.seeding import torch_generator
from theory.verdict import Status

TINY = ModalityMap(
    seeds=2, shares=(0.2, 0.8), shifts=(0.0, 1.0), steps=20, warm_up=10, count=60, test_count=500, hidden=4, draws=1
)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    return execute(TINY, tmp_path_factory.mktemp("figure"))


def test_run_writes_its_figure(outcome) -> None:
    assert {path.suffix for path in outcome.files} == {".png", ".pdf", ".json"}
    assert len(TINY.figure(outcome.results).axes) == 7  # six panels and the colours' scale
    assert len(TINY.figure(outcome.results.isel(seed=[0])).axes) == 7
    assert outcome.results.accuracy.dims == ("seed", "form", "share", "shift")
    assert (outcome.results.accuracy > 0.3).all() and (outcome.results.information > 0).all()


def inputs(problems: int, count: int) -> tuple[list[torch.Tensor], torch.Tensor]:
    draw = torch_generator("inputs", 0)
    labels = torch.randint(2, (problems, count), generator=draw)
    return [torch.randn(problems, count, 4, generator=draw) + labels[..., None] for _ in (0, 1)], labels


@pytest.mark.parametrize("form", FORMS)
def test_side_by_side_is_one_by_one(form: str) -> None:
    """Without the perturbations' randomness (none, or one problem) a network learns the same beside others."""
    simulation = ModalityMap(shares=(0.2, 0.5, 0.8), steps=15, warm_up=5, hidden=3, count=30)
    views, labels = inputs(3, 30)
    together = simulation.train(views, labels, form, 0)
    alone = ModalityMap(shares=(0.4, 0.6), steps=15, warm_up=5, hidden=3, count=30).train(
        [view[:2] for view in views], labels[:2], form, 0
    )
    same = [torch.allclose(a[:2], b, atol=1e-5) for a, b in zip(together.parameters(), alone.parameters(), strict=True)]
    assert all(same) == (form == "none")  # the perturbations of the regularised ones are other draws


def test_terms_by_problem() -> None:
    """The library sees all problems as one batch; each problem's terms are those it has on its own."""
    views, _ = inputs(3, 20)
    networks = Networks(3, 8, 5, seed=1)
    with torch.no_grad():
        for weight in networks.weights:
            weight += torch.randn(weight.shape, generator=torch_generator("weights", 0))

        def tool(seed: int) -> FunctionalEntropyRegulariser:
            generator = torch_generator("perturbations", seed)
            return FunctionalEntropyRegulariser(
                "information", strength=1, draws=3000, covariance=[np.ones(4)] * 2, generator=generator
            )

        together = by_problem(tool(0), networks, views)
        assert together.shape == (2, 3)
        for k in range(3):
            parts = [view[k] for view in views]

            def head(first: torch.Tensor, second: torch.Tensor, k: int = k) -> torch.Tensor:
                hidden = torch.relu(torch.cat([first, second], dim=1) @ networks.weights[0][k] + networks.biases[0][k])
                return hidden @ networks.weights[1][k] + networks.biases[1][k]

            assert torch.allclose(tool(1 + k).terms(head, parts), together[:, k], rtol=0.06)


def test_first_weights() -> None:
    one, two = Networks(3, 8, 5, seed=1), Networks(3, 8, 5, seed=2)
    assert torch.equal(one.weights[0][0], one.weights[0][2]) and not torch.equal(one.weights[0], two.weights[0])
    assert [tuple(weight.shape) for weight in Networks(2, 8, 0, seed=0).weights] == [(2, 8, 2)]


def test_prediction_in_known_cases() -> None:
    """No gain where both tell the same; a loss without shift; at full shift a gain iff the second told more."""
    simulation = ModalityMap()
    assert simulation.predicted(0.5, 0.7) == pytest.approx(0, abs=1e-12)
    assert (
        simulation.predicted(0.9, 0.0) == pytest.approx(simulation.predicted(0.1, 0.0))
        and simulation.predicted(0.9, 0.0) < 0
    )
    assert simulation.predicted(0.9, 1.0) > 0.03 > -0.03 > simulation.predicted(0.1, 1.0)
    assert simulation.problem(0.36).separation == pytest.approx((2.4, 1.8))


def painted(balance: float, information: float, level: float = 0.7) -> dict[str, list[Status]]:
    """Statuses by claim when the forms gain that much where equal information would, and lose it elsewhere."""
    simulation = ModalityMap(seeds=8)
    sign = np.sign([[simulation.predicted(a, b) for b in simulation.shifts] for a in simulation.shares])
    scores = np.full((8, 3, *sign.shape), level) + 1e-4 * np.random.default_rng(0).normal(size=(8, 3, *sign.shape))
    scores[:, 1] += information * sign
    scores[:, 2] += balance * sign
    dims = ("seed", "form", "share", "shift")
    coordinates = {"form": list(FORMS), "share": list(simulation.shares), "shift": list(simulation.shifts)}
    found: dict[str, list[Status]] = {}
    for verdict in simulation.verdicts(xarray.Dataset({"accuracy": (dims, scores)}, coordinates)):
        found.setdefault(verdict.claim.id.removeprefix("map."), []).append(verdict.status)
    return found


def test_verdicts_follow_the_scores() -> None:
    good = {"optimum": 3, "helps": 2, "less": 1, "hurts": 2}
    assert painted(0.03, 0.01) == {name: [Status.HOLDS] * count for name, count in good.items()}
    bad = painted(-0.03, -0.01, level=0.99)
    assert bad["optimum"] == [Status.VIOLATED] * 3
    assert bad["helps"] == bad["hurts"] == [Status.VIOLATED] * 2 and bad["less"] == [Status.VIOLATED]
    assert (
        HELPS.check(gain=0.1, predicted=0.02).status
        == Status.OUT_OF_SCOPE
        == HURTS.check(gain=-0.1, predicted=0.02).status
    )


def test_a_map_without_regions() -> None:
    """Where equal information predicts no three points, nothing is claimed but the Bayes rule's bound."""
    simulation = ModalityMap(seeds=2, shares=(0.48, 0.52), shifts=(0.0, 1.0))
    scores = xarray.DataArray(
        0.7 + 1e-4 * np.random.default_rng(0).normal(size=(2, 3, 2, 2)),
        {"form": list(FORMS), "share": [0.48, 0.52], "shift": [0.0, 1.0]},
        ("seed", "form", "share", "shift"),
    )
    verdicts = simulation.verdicts(xarray.Dataset({"accuracy": scores}))
    assert [verdict.claim.id for verdict in verdicts] == ["map.optimum"] * 3


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"shares": (0.5,)}, "shares"),
        ({"shares": (0.5, 0.4)}, "shares"),
        ({"shares": (0.0, 0.4)}, "shares"),
        ({"shifts": (0.0, 1.2)}, "shifts"),
        ({"shifts": (0.2, 0.2)}, "shifts"),
        ({"separation": 0.0}, "separation"),
        ({"information": -1.0}, "information"),
        ({"hidden": -1}, "hidden"),
        ({"count": 0}, "count"),
        ({"warm_up": 9999}, "warm_up"),
        ({"learning_rate": 0.0}, "learning_rate"),
    ],
)
def test_bad_settings(settings: dict, word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        ModalityMap(**settings)
