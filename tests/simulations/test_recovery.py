"""One training run: against a loop of its own, alone and together to the last bit, verdicts and their mutants."""

import dataclasses

import numpy as np
import pytest
import torch
import xarray

from simulations.recovery import Recovery
from theory import clusterable, label_noise, networks
from theory.checks import InvalidInput
from theory.descent import Diverged
from theory.lab.simulation import execute
from theory.verdict import Status

SMALL = Recovery(seeds=2, width=32, dimension=5, per_cluster=10, steps=60, records=12)
PERFECT = dataclasses.replace(SMALL, radius=0.0)
HOLDS, VIOLATED, OUT, OPEN = Status.HOLDS, Status.VIOLATED, Status.OUT_OF_SCOPE, Status.INCONCLUSIVE


def statuses(simulation: Recovery, results: xarray.Dataset) -> list[Status]:
    return [verdict.status for verdict in simulation.verdicts(results)]


def outcome(simulation: Recovery, seed: int) -> xarray.Dataset | Exception:
    try:
        return simulation.run(seed)
    except (Diverged, RuntimeError) as error:
        return error


def test_numbers_are_those_of_a_plain_loop() -> None:
    seed, found = 3, SMALL.run(3)
    data = clusterable.generate(
        2, 2, 5, per_cluster=10, radius=0.3, spread="boundary", minimum_separation=1, antipodal_separation=1, seed=seed
    )
    network = networks.TwoLayer.initialise(32, 5, "softplus", paired=True, seed=seed)
    X, truth = torch.from_numpy(data.X), torch.from_numpy(data.y)
    y = torch.from_numpy(label_noise.corrupt(data, 0.3, seed=seed).y)
    assert (y != truth).sum() == 6 and found.realised == 0.3
    W = network.W.detach().clone().requires_grad_()
    errors, distances, step = [], [], None
    for _ in range(61):
        f = torch.nn.functional.softplus(X @ W.T) @ network.v
        if step is None:
            rows = torch.stack([torch.autograd.grad(out, W, retain_graph=True)[0].ravel() for out in f])
            step = 0.9 / float(torch.linalg.eigvalsh(rows @ rows.T)[-1])
        errors.append(float((f - truth).detach().abs().max()))
        distances.append(float((W - network.W).detach().norm()))
        (gradient,) = torch.autograd.grad((f - y).square().sum() / 2, W)
        W = (W - step * gradient).detach().requires_grad_()
    recorded = found.step.values
    assert np.allclose(found.sup_error, np.array(errors)[recorded], rtol=1e-9)
    assert np.allclose(found.distance, np.array(distances)[recorded], rtol=1e-9, atol=1e-12)
    assert float(found.error) == found.sup_error[1:].min() == found.sup_error.sel(step=found["at"])
    assert bool(found.recovered) == (min(np.array(errors)[recorded[1:]]) < 1)


def test_numbers_do_not_depend_on_company_order_or_threads() -> None:
    """Different rates, radii, widths and lengths in one list; a run that diverges and one too large for any memory."""
    variants = [
        {},
        {"noise_rate": 0.1, "radius": 0.0},
        {"width": 64},
        {"steps": 30, "activation": "relu"},
        {"step_fraction": 1e6, "activation": "relu"},
        {"width": 2**61},
        {"radius": 0.9},
    ]
    cells = [(dataclasses.replace(SMALL, **settings), seed) for settings in variants for seed in (0, 1)]
    alone = [outcome(simulation, seed) for simulation, seed in cells]
    assert {type(alone[i]) for i in (8, 9, 10, 11)} == {Diverged, RuntimeError}
    before = torch.get_num_threads()
    try:
        for threads, order in ((1, list(range(len(cells)))), (3, list(range(len(cells)))[::-1])):
            torch.set_num_threads(threads)
            together = dict(Recovery.run_together([cells[i] for i in order]))
            assert sorted(together) == list(range(len(cells)))
            for place, i in enumerate(order):
                if isinstance(alone[i], Exception):
                    assert (type(together[place]), str(together[place])) == (type(alone[i]), str(alone[i]))
                else:
                    assert alone[i].identical(together[place])
                    assert all(v.dtype.kind in "fib" for v in together[place].variables.values())
    finally:
        torch.set_num_threads(before)


def test_only_what_changes_shapes_or_schedule_separates_runs() -> None:
    for field, value in (("noise_rate", 0.1), ("radius", 0.0), ("minimum_separation", 0.5), ("seeds", 9)):
        assert dataclasses.replace(SMALL, **{field: value}).shapes() == SMALL.shapes()
    for field, value in (("width", 34), ("per_cluster", 9), ("steps", 59), ("records", 9), ("device", "cuda")):
        assert dataclasses.replace(SMALL, **{field: value}).shapes() != SMALL.shapes()


def test_cost_grows_with_the_work() -> None:
    cost = Recovery().cost()
    for field, value in (("width", 1024), ("steps", 2000), ("per_cluster", 200)):
        double = dataclasses.replace(Recovery(), **{field: value}).cost()
        assert 1.5 < double.operations / cost.operations < 2.5 and double.bytes >= cost.bytes
    assert dataclasses.replace(Recovery(), activation="relu").cost().operations < cost.operations / 2


def test_sharp_share_at_radius_zero() -> None:
    """Lost from a half on, kept below; at a half the outputs never move and nothing is decided."""
    lost, kept, tie = (dataclasses.replace(PERFECT, noise_rate=rate) for rate in (0.6, 0.4, 0.5))
    found = lost.collect()
    assert not found.recovered.any() and (found.realised == 0.6).all()
    assert statuses(lost, found) == [HOLDS, OUT, OUT]
    assert statuses(lost, found.assign(error=found.error * 0 + 0.9)) == [VIOLATED, OUT, OUT]
    assert statuses(lost, found.assign(loss=found.loss + 1.0 * (found.step == 8)))[0] == OUT
    found = kept.collect()
    assert found.recovered.all()
    assert statuses(kept, found) == [OUT, HOLDS, OUT]
    assert statuses(kept, found.assign(error=found.error * 0 + 1.1)) == [OUT, VIOLATED, OUT]
    found = tie.collect()
    assert not found.recovered.any() and np.allclose(found.error, 1)
    assert statuses(tie, found)[:2] == [OPEN, OUT]


def test_noise_is_learned_where_clusters_have_a_radius() -> None:
    long = dataclasses.replace(SMALL, steps=300)
    found = long.collect()
    assert statuses(long, found) == [OUT, OUT, HOLDS]
    flat = found.assign(sup_error=found.sup_error * 0 + found.error)
    assert statuses(long, flat.assign(error=found.error + 0.1)) == [OUT, OUT, VIOLATED]
    for out in ({"noise_rate": 0.0}, {"radius": 0.05}, {"steps": 60}):
        other = dataclasses.replace(long, **out)
        assert statuses(other, other.collect()) == [OUT, OUT, OUT]


def test_files_and_figure(tmp_path) -> None:
    outcome = execute(dataclasses.replace(SMALL, seeds=3), tmp_path)
    assert {path.suffix for path in outcome.files} == {".png", ".pdf", ".json"}
    fig = SMALL.figure(outcome.results)
    count = int(outcome.results.recovered.sum())
    assert f"{count} of 3 seeds" in fig.axes[0].get_title() and len(fig.axes[0].lines) == 5
    told: list[float] = []
    SMALL.run(0, told.append)
    assert told[-1] == 1 and told == sorted(told)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"width": 3}, "width"),
        ({"dimension": 1}, "dimension"),
        ({"per_cluster": 0}, "per_cluster"),
        ({"noise_rate": 1.1}, "noise_rate"),
        ({"radius": -0.1}, "radius"),
        ({"minimum_separation": 1.5}, "minimum_separation"),
        ({"activation": "swish"}, "swish"),
        ({"step_fraction": 0.0}, "step_fraction"),
        ({"steps": 0}, "steps"),
        ({"records": 1}, "record"),
        ({"device": "tpu"}, "device"),
    ],
)
def test_bad_settings(settings: dict, word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        Recovery(**settings)
