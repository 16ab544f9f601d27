"""Contenders, workloads, rounds in turns, and a record on disk that an interruption leaves whole."""

import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from theory.lab.figure import replacing

OURS = "theorycheck"
SLOW = 4.0


class Clock:
    """Seconds of processor time, of this process and of peers in others; of wall-clock where all cores are used.

    On one core the two agree on an idle machine; on a busy one processor time hardly notices, and wall-clock favours
    short calls, which fit between two interruptions. Peers say what they used, and it is added here.

    Attributes:
        elsewhere: seconds of processor time that peers have reported.
        wall: whether to go by wall-clock.
    """

    def __init__(self) -> None:
        self.elsewhere = 0.0
        self.wall = os.environ.get("BENCHMARKS_CORES") == "all"

    def __call__(self) -> float:
        return time.perf_counter() if self.wall else time.process_time() + self.elsewhere


clock = Clock()


class Missing(Exception):
    """This contender can't run here; the message says why, and goes into the table."""


@dataclass(frozen=True)
class Workload:
    """One question, its inputs, and those who answer it.

    Attributes:
        name: unique; what the record calls it.
        inputs: makes the inputs, seeded.
        contenders: name -> prepare(inputs) -> call; only `call` is timed. Must contain `OURS`.
        error: (result, inputs) -> distance from the float64 truth. None: nothing to compare.
        calls: what one call does that many times (steps, say); times are stated per one of them.
        rounds: at most so many.
        seconds: what the rounds of one rival may take; 3 rounds are made whatever they take, 1 beyond `SLOW` seconds.
        once: contenders known to be so slow: one round without warming up, which is their first call.
        operations: multiply-adds of the textbook method in one of `calls`, twice; for the fraction of the peak.
        cores: "one", or "all" for a row that is not held on one core.
    """

    name: str
    inputs: Callable[[], Any]
    contenders: dict[str, Callable[[Any], Callable[[], Any]]]
    error: Callable[[Any, Any], float] | None = None
    calls: int = 1
    rounds: int = 15
    seconds: float = 1.5
    once: frozenset[str] = frozenset()
    operations: float | None = None
    cores: str = "one"


@dataclass
class Row:
    """What is kept of one contender of one workload: seconds of each round of ours and of the rival, in turns.

    Beside the single round of a slow rival there are three of ours, two before it and one after.
    """

    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    first: float | None = None
    error: float | None = None
    calls: int = 1
    operations: float | None = None
    missing: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def ratios(self) -> list[float]:
        """How many times faster we were, round by round."""
        theirs = self.theirs * (len(self.ours) if len(self.theirs) == 1 else 1)
        return [theirs / ours for ours, theirs in zip(self.ours, theirs, strict=True)]

    @property
    def ratio(self) -> tuple[float, float, float]:
        """Median, least, largest."""
        return statistics.median(self.ratios), min(self.ratios), max(self.ratios)

    @property
    def milliseconds(self) -> float:
        """The contender's median for one of `calls`."""
        return statistics.median(self.theirs) / self.calls * 1e3


class Record:
    """Rows by "workload | contender", written to one JSON file after each, whole or not at all.

    An unfinished record made by the same code on the same machine is continued; any other is begun anew.

    Attributes:
        identity: what two sessions must share to share a record; `machine.identity`.
        sessions: when each of those that measured began. A ratio never mixes two of them.
        notes: peaks and threads, by "one" or "all" cores.
        finished: nothing is left to measure.
    """

    def __init__(self, path: Path):
        self.path, self.finished = path, False
        self.identity: dict[str, Any] = {}
        self.sessions: list[str] = []
        self.notes: dict[str, Any] = {}
        self.rows: dict[str, Row] = {}
        if path.exists():
            kept = json.loads(path.read_text())
            self.identity, self.sessions, self.notes = kept["identity"], kept["sessions"], kept["notes"]
            self.finished, self.rows = kept["finished"], {key: Row(**row) for key, row in kept["rows"].items()}

    @classmethod
    def continued(cls, path: Path, identity: dict[str, Any], session: str) -> "Record":
        """The record to write into."""
        record = cls(path)
        if record.finished or record.identity != identity:
            record.identity, record.sessions, record.notes, record.rows = identity, [], {}, {}
            record.finished = False
        if session not in record.sessions:
            record.sessions.append(session)
        return record

    def row(self, workload: str, contender: str) -> Row | None:
        """The row, if it is there."""
        return self.rows.get(f"{workload} | {contender}")

    def put(self, workload: str, contender: str, row: Row) -> None:
        """Keep a row, now and on disk."""
        self.rows[f"{workload} | {contender}"] = row
        self.write()

    def write(self) -> None:
        """Replace the file."""
        content = {key: value for key, value in vars(self).items() if key != "path"}
        content["rows"] = {key: vars(row) for key, row in self.rows.items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path) as part:
            part.write_text(json.dumps(content, indent=1) + "\n")


class Bout:
    """One rival against ours on prepared inputs; `ours` has been warmed up."""

    def __init__(self, workload: Workload, rival: str, inputs: Any, ours: Callable[[], Any]):
        self.workload, self.inputs, self.ours = workload, inputs, ours
        self.alone = rival == OURS
        self.theirs = ours if self.alone else workload.contenders[rival](inputs)
        self.row = Row(calls=workload.calls, operations=workload.operations)
        self.single = rival in workload.once

    def warm_up(self) -> int:
        """First calls, untimed but for the record; how many rounds fit into the time that the workload grants."""
        if self.single:
            self.our_turn()
            return 1
        began = clock()
        self.theirs()
        self.row.first = clock() - began
        if self.row.first > SLOW:
            self.our_turn()
            return 1
        began = clock()
        if not self.alone:
            self.ours()
        self.theirs()
        return int(np.clip(self.workload.seconds / (clock() - began), 3, self.workload.rounds))

    def our_turn(self) -> None:
        """One timed call of ours, to be followed at once by the rival's; none if ours is what is measured."""
        if self.alone:
            return
        began = clock()
        self.ours()
        self.row.ours.append(clock() - began)

    def finish(self, seconds: list[float], result: Any) -> Row:
        """The row, with the distance from the truth."""
        self.row.theirs = seconds
        if self.alone:
            self.row.ours = list(seconds)
        elif len(seconds) == 1:
            self.our_turn()
        self.row.extra = getattr(self.theirs, "extra", {})
        if self.workload.error is not None:
            self.row.error = self.workload.error(result, self.inputs)
        return self.row


def relative(result: Any, truth: Any) -> float:
    """||result - truth||_F / ||truth||_F in float64."""
    result, truth = np.asarray(result, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    return float(np.linalg.norm(result - truth) / np.linalg.norm(truth))
