"""Margins and their accumulation: one epoch of many samples, against one maximum per row of the same array.

A maximum per row is the least that a margin can cost, as every logit must be read once. The released package aum works
row by row in Python; it gets the ids that it was made for.
"""

import importlib.util
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.harness import OURS, Missing, Workload
from theory import seeding
from theory.aum import Accumulator
from theory.margin import margins

SIZE, TINY = (1_000_000, 100), (60, 5)
MAXIMUM = "logits.max(axis=1)"

Call = Callable[[], Any]


@dataclass(frozen=True)
class Epoch:
    """Logits (n, c) float32, labels (n,), and ids of three kinds."""

    logits: np.ndarray
    labels: np.ndarray
    ids: dict[str, Any]


def epoch(size: tuple[int, int]) -> Epoch:
    """Random logits in memory; ids in order, shuffled, and as strings."""
    rng = seeding.numpy_generator("benchmark logits", 0)
    n, classes = size
    shuffled = rng.permutation(n)
    ids = {"in order": np.arange(n), "shuffled": shuffled, "strings": [f"sample {id}" for id in shuffled.tolist()]}
    return Epoch(rng.standard_normal(size, dtype=np.float32), rng.integers(0, classes, n), ids)


def accumulate(kind: str) -> Callable[[Epoch], Call]:
    """One epoch into a new accumulator."""

    def prepare(given: Epoch) -> Call:
        def call() -> Accumulator:
            record = Accumulator(stop=1)
            record.update(given.logits, given.labels, given.ids[kind])
            record.end_epoch()
            return record

        return call

    return prepare


def released(kind: str) -> Callable[[Epoch], Call]:
    """The same with the package aum; ids are Python's, as it asks."""

    def prepare(given: Epoch) -> Call:
        if importlib.util.find_spec("aum") is None:
            raise Missing("the package aum is not installed")
        import torch
        from aum import AUMCalculator

        ids = given.ids[kind]
        ids = ids if isinstance(ids, list) else ids.tolist()
        logits, labels = torch.from_numpy(given.logits), torch.from_numpy(given.labels)
        return lambda: AUMCalculator(tempfile.gettempdir()).update(logits, labels, ids)

    return prepare


def maximum(given: Epoch) -> Call:
    """One maximum per row, by numpy."""
    return lambda: given.logits.max(axis=1)


def margins_alone(given: Epoch) -> Call:
    """Margins without ids."""
    return lambda: margins(given.logits, given.labels)


def workloads(tiny: bool) -> list[Workload]:
    """One epoch for each kind of id."""
    size = TINY if tiny else SIZE
    n, classes = size
    return [
        Workload(
            f"AUM, {n:,} x {classes}, ids {kind}",
            lambda: epoch(size),
            {
                OURS: accumulate(kind),
                MAXIMUM: maximum,
                "margins alone": margins_alone,
                "released aum": released(kind),
            },
            once=frozenset({"released aum"}),
        )
        for kind in ("in order", "shuffled", "strings")
    ]
