"""A sweep of many small runs, stored cell by cell, against a plain loop of autograd + SGD on the same problems.

Ours includes drawing the data, the step size, 60 records a run and the disk; the loop is given data and step, and looks
at its outputs once, at the end.
"""

import itertools
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import OURS, Workload
from simulations.recovery import Recovery
from theory.lab.sweep import sweep

LOOP = "loop of autograd + SGD"
RUNS = 8  # of the 64 that the requirement speaks of: all are alike, and the loop is slow

Call = Callable[[], np.ndarray]


def swept(simulation: Recovery) -> Call:
    """Every call sweeps into a store of its own; the sup errors at the last step."""
    folder = Path(tempfile.mkdtemp())
    number = itertools.count()

    def call() -> np.ndarray:
        store = folder / str(next(number))
        ends = sweep(simulation, {}, store=store, workers=1).table.sup_error.isel(step=-1).values
        shutil.rmtree(store)
        return ends

    return call


def loop(simulation: Recovery) -> Call:
    """The same runs by torch alone."""
    problems = [simulation._problem(seed) for seed in range(simulation.seeds)]

    def call() -> np.ndarray:
        ends = []
        for problem in problems:
            X, y = torch.from_numpy(problem.X), torch.from_numpy(problem.labels.y)
            network = torch.nn.Sequential(
                torch.nn.Linear(simulation.dimension, simulation.width, bias=False),
                ACTIVATIONS[simulation.activation](),
            ).double()
            v = problem.network.v.detach()
            with torch.no_grad():
                network[0].weight.copy_(problem.network.W)
            descent = torch.optim.SGD(network.parameters(), lr=problem.step)
            for _ in range(simulation.steps):
                descent.zero_grad()
                (0.5 * (network(X) @ v - y).square().sum()).backward()
                descent.step()
            with torch.no_grad():
                f = network(X) @ v
            ends.append(float((f - torch.from_numpy(problem.labels.truth)).abs().max()))
        return np.array(ends)

    return call


ACTIVATIONS = {"relu": torch.nn.ReLU, "softplus": torch.nn.Softplus}


def difference(found: Any, simulation: Recovery) -> float:
    """Largest distance from the loop's sup errors, in labels."""
    return float(np.abs(np.asarray(found) - truth(simulation)).max())


def truth(simulation: Recovery) -> np.ndarray:
    """The loop's, kept."""
    key = repr(simulation)
    if key not in _known:
        _known[key] = loop(simulation)()
    return _known[key]


_known: dict[str, np.ndarray] = {}


def workloads(tiny: bool) -> list[Workload]:
    """Runs of (200, 20, 512) in float64, 1,000 steps each."""
    small = {"width": 16, "dimension": 3, "per_cluster": 5, "steps": 20, "seeds": 2} if tiny else {"seeds": RUNS}
    contenders = {OURS: swept, LOOP: loop}
    return [
        Workload(
            f"sweep, {activation}, float64",
            partial(replace, Recovery(**small), activation=activation),
            contenders,
            difference,
            calls=small["seeds"],
            once=frozenset({LOOP}),
            seconds=3.0,
        )
        for activation in ACTIVATIONS
    ]
