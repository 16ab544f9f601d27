"""Rows of measurements as one sweep of a claim, without the points that rounding alone would decide."""

import dataclasses
from typing import Any

import numpy as np

from theory.claim import Claim
from theory.estimate import Estimate
from theory.verdict import Side, Status, Verdict

_TIE = 1e-6


def add(rows: dict[str, list[Any]], row: dict[str, Any]) -> None:
    """Append a measurement to columns."""
    for name, value in row.items():
        rows.setdefault(name, []).append(value)


def of(claim: Claim, measured: dict[str, Any]) -> dict[str, Any]:
    """Those that the claim asks for."""
    return {name: measured[name] for name in claim.meanings}


def pick(value: Any, chosen: np.ndarray) -> Any:
    """Some points of a deterministic measurement."""
    if isinstance(value, Estimate):
        ends = (np.broadcast_to(np.asarray(end), chosen.shape)[chosen] for end in value.interval())
        return Estimate.enclosure(*ends)
    return np.broadcast_to(np.asarray(value), chosen.shape)[chosen]


def untied(claim: Claim, measured: dict[str, Any], **record: Any) -> Verdict:
    """The claim on a sweep; undecided points whose sides agree to a millionth are left out if others remain.

    A bound that is attained is met there within rounding, from either side; what is violated stays.
    """
    verdict = claim.check(**of(claim, measured), **record)
    values = np.abs([verdict.left.value, verdict.right.value])
    tied = np.abs(verdict.left.value - verdict.right.value) <= _TIE * values.max(axis=0)
    tied &= verdict.statuses == Status.INCONCLUSIVE
    if not tied.any() or tied.all():
        return verdict
    left, right = (Side(*(end[~tied] for end in (s.value, s.low, s.high))) for s in (verdict.left, verdict.right))
    return dataclasses.replace(  # measurements without chance: each point's status stands for itself
        verdict,
        inputs={name: pick(value, ~tied) for name, value in verdict.inputs.items()},
        statuses=verdict.statuses[~tied],
        left=left,
        right=right,
        settings={**verdict.settings, "ties left out": int(tied.sum())},
    )
