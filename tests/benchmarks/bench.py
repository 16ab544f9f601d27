"""The pytest-benchmark session: one test per workload and contender, started by `python -m benchmarks`."""

import json
import os
from functools import cache
from pathlib import Path

import pytest

from benchmarks import first_calls, machine
from benchmarks.harness import OURS, Bout, Missing, Record, Row, Workload, clock
from benchmarks.workloads import chosen

TINY = os.environ.get("BENCHMARKS_TINY") == "1"


@cache
def record() -> Record:
    """The record of this session, continued where an interrupted one stopped."""
    cores = os.environ["BENCHMARKS_CORES"]
    kept = Record.continued(
        Path(os.environ["BENCHMARKS_RECORD"]),
        json.loads(os.environ["BENCHMARKS_IDENTITY"]),
        os.environ["BENCHMARKS_SESSION"],
    )
    kept.notes.setdefault("threads", {})[cores] = machine.threads()
    kept.notes.setdefault("peaks", {}).setdefault(cores, machine.peaks(TINY))
    return kept


def pairs() -> list:
    """What this session measures; nothing when doctests are collected here."""
    if "BENCHMARKS_ONLY" not in os.environ:
        return []
    found = chosen(TINY, os.environ["BENCHMARKS_CORES"], os.environ["BENCHMARKS_ONLY"])
    return [pytest.param(workload, name, id=f"{workload.name} | {name}") for workload, name in found]


_prepared: dict[str, tuple] = {}


def prepared(workload: Workload) -> tuple:
    """Inputs and our call, warmed up, for the workload at hand only: those before it are let go."""
    if workload.name not in _prepared:
        _prepared.clear()
        inputs = workload.inputs()
        ours = workload.contenders[OURS](inputs)
        ours()
        _prepared[workload.name] = inputs, ours
    return _prepared[workload.name]


@pytest.mark.benchmark(timer=clock)
@pytest.mark.parametrize(("workload", "rival"), pairs())
def test_bout(benchmark, workload, rival):
    if record().row(workload.name, rival) is not None:
        pytest.skip("measured before the interruption")
    benchmark.group = workload.name
    try:
        bout = Bout(workload, rival, *prepared(workload))
        rounds = bout.warm_up()
        result = benchmark.pedantic(bout.theirs, setup=bout.our_turn, rounds=rounds, iterations=1)
    except Missing as reason:
        record().put(workload.name, rival, Row(missing=str(reason)))
        pytest.skip(str(reason))
    row = bout.finish(list(benchmark.stats.stats.data), result)
    benchmark.extra_info.update(ratio=row.ratio, error=row.error)
    record().put(workload.name, rival, row)


@pytest.mark.skipif(bool(os.environ.get("BENCHMARKS_ONLY")), reason="a part was asked for")
@pytest.mark.skipif(os.environ.get("BENCHMARKS_CORES") == "all", reason="measured on one core")
def test_first_calls():
    if "first calls" not in record().notes:
        record().notes["first calls"] = first_calls.measure()
        record().write()


def test_peaks_once_more():
    """A peak is a maximum, and the first time something else may have been running."""
    if record().rows:
        peaks, again = record().notes["peaks"][os.environ["BENCHMARKS_CORES"]], machine.peaks(TINY)
        peaks.update({name: max(peaks[name], value) for name, value in again.items()})
        record().write()
