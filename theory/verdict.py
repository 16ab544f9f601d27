"""Verdicts: a claim set beside a measurement, and tables of them judged together.

*Violated* only if the whole interval lies beyond the bound, *holds* only if it lies within; in between the verdict is
*inconclusive*. A hypothesis that is not met puts the row *out of scope*; a bound that says nothing is *vacuous*.
"""

import html
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from theory.estimate import Estimate, encode


class Status(StrEnum):
    """What a measurement says about a claim."""

    HOLDS = "holds"
    VIOLATED = "violated"
    INCONCLUSIVE = "inconclusive"
    OUT_OF_SCOPE = "out of scope"
    VACUOUS = "vacuous"


DECIDED = (Status.HOLDS, Status.VIOLATED)


def combine(statuses: Iterable[Status]) -> Status:
    """One status for many rows: violated if any is, holds iff every row in scope does, never by having no rows.

    Vacuous rows and rows out of scope neither help nor hurt, unless there is nothing else.

    Example:
        >>> str(combine([Status.HOLDS, Status.OUT_OF_SCOPE]))
        'holds'
        >>> str(combine([]))
        'out of scope'
    """
    counts = Counter(statuses)
    order = (Status.VIOLATED, Status.INCONCLUSIVE, Status.HOLDS, Status.VACUOUS)
    return next((status for status in order if counts[status]), Status.OUT_OF_SCOPE)


class ClaimViolated(AssertionError):
    """A measurement contradicts a claim; the message holds both sides, the settings and the seed."""


class ClaimUndecided(AssertionError):
    """A measurement that was required to confirm a claim is inconclusive, vacuous or out of the claim's scope."""


@dataclass(frozen=True, eq=False)
class Side:
    """One side of a relation over a sweep: float arrays of one shape; `low` and `high` enclose `value`."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def at(self, index: tuple[int, ...]) -> str:
        """The entry at `index` in words: the value, and its interval where that is visible."""
        value, low, high = (float(x[index]) for x in (self.value, self.low, self.high))
        visible = high - low > 1e-6 * max(abs(value), 1e-300)
        return f"{value:.6g} [{low:.4g}, {high:.4g}]" if visible else f"{value:.6g}"


@dataclass(frozen=True, eq=False)
class Verdict:
    """A claim judged on one measurement, or on a whole sweep of them.

    Attributes:
        claim: the `theory.claim.Claim`.
        inputs: the Estimate of every symbol.
        statuses: array of `Status`, one per point of the sweep (shape () for a single measurement).
        left, right: the relation's two sides as measured.
        level: confidence that everything random in this verdict is right together.
        scale: magnitude that an identity's tolerance refers to.
        settings: what was run, for the record.
        seed: of the run, for the record.
    """

    claim: Any
    inputs: Mapping[str, Estimate]
    statuses: np.ndarray
    left: Side
    right: Side
    level: float
    scale: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None

    @property
    def status(self) -> Status:
        """One status for the sweep, by `combine`."""
        return combine(self.statuses.flat)

    @property
    def random(self) -> bool:
        """Whether any input's interval covers only with a probability."""
        return any(estimate.random for estimate in self.inputs.values())

    @property
    def slack(self) -> np.ndarray:
        """How far each point is inside its bound, in the relation's unit; negative beyond it."""
        gap = self.right.value - self.left.value
        if self.claim.is_equality:
            return -np.abs(gap)
        return gap if self.claim.relation.rel_op in ("<=", "<") else -gap

    @property
    def tightness(self) -> np.ndarray:
        """Smaller side over larger side, in [0, 1], where the claim holds; NaN elsewhere, for identities and rates."""
        smaller, larger = np.minimum(self.left.value, self.right.value), np.maximum(self.left.value, self.right.value)
        defined = (self.statuses == Status.HOLDS) & (smaller >= 0) & (larger > 0) & np.isfinite(larger)
        defined &= not self.claim.is_equality
        return np.divide(smaller, larger, out=np.full(self.statuses.shape, np.nan), where=defined)

    @property
    def tightest(self) -> float:
        """The largest tightness in the sweep; NaN where it is undefined."""
        known = self.tightness[np.isfinite(self.tightness)]
        return float(known.max()) if known.size else float("nan")

    def worst(self) -> tuple[int, ...]:
        """Index of the point that decides the status: of those with that status, the one of least slack."""
        candidates = np.where(self.statuses == self.status, self.slack, np.inf)
        if not candidates.size:
            return ()
        usable = np.where(np.isnan(candidates), np.inf, candidates)
        return tuple(int(i) for i in np.unravel_index(int(np.argmin(usable)), candidates.shape))

    def at_level(self, level: float) -> "Verdict":
        """The same measurement judged at another confidence level."""
        context = {"scale": self.scale, "settings": self.settings, "seed": self.seed}
        verdict: Verdict = self.claim.check(level=level, **context, **self.inputs)
        return verdict

    def significance(self) -> float:
        """The smallest error probability at which the verdict is still decided; 0 if certain, 1 if never decided."""
        if not self.random:
            return 0.0
        if self.at_level(0.5).status not in DECIDED and self.status not in DECIDED:
            return 1.0
        low, high = -14.0, np.log10(0.5)
        for _ in range(20):  # bisection in log10: intervals are nested in the level
            middle = (low + high) / 2
            decided = self.at_level(1 - 10**middle).status in DECIDED
            low, high = (low, middle) if decided else (middle, high)
        return float(10**high)

    def explain(self) -> str:
        """One line: id, status, both sides at the deciding point, settings and seed."""
        if not self.statuses.size:
            return f"{self.claim.id} {self.status}: no measurements"
        index = self.worst()
        where = f" at point {index} of {self.statuses.shape}" if self.statuses.ndim else ""
        sides = f"{self.left.at(index)} {self.claim.relation.rel_op} {self.right.at(index)}"
        record = "".join(
            [f"; {k}={v}" for k, v in self.settings.items()],
        )
        seed = "" if self.seed is None else f"; seed {self.seed}"
        return f"{self.claim.id} {self.status}{where}: {sides} ({self.claim.title}){record}{seed}"

    def require(self) -> "Verdict":
        """Return self if the claim holds here; otherwise raise, so that a verdict can fail a test.

        Raises:
            ClaimViolated: the measurement contradicts the claim.
            ClaimUndecided: inconclusive, vacuous or out of scope; unmet hypotheses are never a pass.
        """
        if self.status == Status.HOLDS:
            return self
        raise (ClaimViolated if self.status == Status.VIOLATED else ClaimUndecided)(self.explain())

    def to_json(self) -> str:
        """JSON text from which `theory.claim.load` rebuilds this verdict, bit for bit."""
        return json.dumps(self.record(), allow_nan=False)

    def record(self) -> dict[str, Any]:
        """The verdict as a JSON-able dictionary: claim by id, inputs in full, statuses and sides for readers."""
        return {
            "claim": self.claim.id,
            "statement": str(self.claim),
            "status": str(self.status),
            "statuses": [str(status) for status in self.statuses.flat],
            "left": encode(self.left.value),
            "right": encode(self.right.value),
            "level": self.level,
            "scale": self.scale,
            "settings": {name: encode(value) for name, value in self.settings.items()},
            "seed": self.seed,
            "inputs": {name: estimate.to_json() for name, estimate in self.inputs.items()},
        }

    def row(self) -> dict[str, Any]:
        """What a table shows of this verdict."""
        sizes = {estimate.size for estimate in self.inputs.values() if estimate.random}
        index = self.worst()
        known = self.statuses.size > 0
        return {
            "claim": self.claim.id,
            "title": self.claim.title,
            "status": str(self.status),
            "points": f"{int(np.sum(self.statuses == Status.HOLDS))}/{self.statuses.size}",
            "measured": self.left.at(index) if known else "",
            "relation": "=" if self.claim.is_equality else self.claim.relation.rel_op,
            "bound": self.right.at(index) if known else "",
            "tightness": self.tightest,
            "draws": max(sizes, default=0),
            "seed": self.seed,
            "settings": ", ".join(f"{k}={v}" for k, v in self.settings.items() if isinstance(v, (str, int))),
        }

    def __repr__(self) -> str:
        return f"Verdict({self.explain()})"

    def _repr_html_(self) -> str:
        return Verdicts([self])._repr_html_()

    def _repr_latex_(self) -> str:
        sides = f"{self.left.at(self.worst())}", f"{self.right.at(self.worst())}"
        return rf"{self.claim.latex()[:-1]} \quad \text{{{self.status}: {sides[0]} against {sides[1]}}}$"


class Verdicts(list[Verdict]):
    """A table of verdicts, judged together: Holm's step-down over its random rows at the table's level.

    Args:
        verdicts: the rows.
        level: confidence that no decided random row of the table is wrong.
    """

    def __init__(self, verdicts: Iterable[Verdict] = (), level: float = 0.99) -> None:
        super().__init__(verdicts)
        self.level = level

    def statuses(self) -> list[Status]:
        """The status of every row; a random row that Holm's level does not decide is inconclusive."""
        adjusted = [verdict.status for verdict in self]
        tested = [i for i, verdict in enumerate(self) if verdict.random and verdict.status in (*DECIDED,)]
        hypotheses = sum(verdict.random for verdict in self)
        order = sorted((self[i].significance(), i) for i in tested)
        rejecting = True
        for rank, (significance, i) in enumerate(order):
            rejecting = rejecting and significance <= (1 - self.level) / (hypotheses - rank)
            if not rejecting:
                adjusted[i] = Status.INCONCLUSIVE
        return adjusted

    def family(self, id: str) -> Status:
        """The status of a numbered claim: `C6` holds iff every row of `C6` or `C6.*` in scope does.

        Refuted members, kept for their counterexamples, count only when they are asked for by their own id.
        """
        mine = (
            status
            for verdict, status in zip(self, self.statuses(), strict=True)
            if verdict.claim.id == id
            or (verdict.claim.id.startswith(id + ".") and verdict.claim.expected == Status.HOLDS)
        )
        return combine(mine)

    def unexpected(self) -> "Verdicts":
        """Rows that contradict what is known: a proved claim violated, or a refuted one that holds."""
        opposite = {Status.HOLDS: Status.VIOLATED, Status.VIOLATED: Status.HOLDS}
        rows = zip(self, self.statuses(), strict=True)
        return Verdicts([v for v, status in rows if status == opposite.get(v.claim.expected)], self.level)

    def counts(self) -> dict[str, int]:
        """How many rows have each status, every status named."""
        counts = Counter(self.statuses())
        return {str(status): counts[status] for status in Status}

    def rows(self) -> Iterator[dict[str, Any]]:
        """The table's rows as dictionaries, with Holm's statuses and what was expected."""
        for verdict, status in zip(self, self.statuses(), strict=True):
            yield {**verdict.row(), "status": str(status), "expected": str(verdict.claim.expected)}

    def to_pandas(self) -> Any:
        """The table as a pandas DataFrame."""
        import pandas

        return pandas.DataFrame(list(self.rows()))

    def to_json(self) -> str:
        """JSON text of all rows, read back by `theory.claim.load_table`."""
        return json.dumps({"level": self.level, "verdicts": [v.record() for v in self]}, allow_nan=False)

    def _repr_html_(self) -> str:
        rows = list(self.rows())
        if not rows:
            return "<p>no verdicts</p>"
        names = [name for name in rows[0] if name not in ("seed", "expected")]
        head = "".join(f"<th>{name}</th>" for name in names)
        body = "".join("<tr>" + "".join(f"<td>{_cell(row[name])}</td>" for name in names) + "</tr>" for row in rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.3g}"
    return html.escape(str(value))
