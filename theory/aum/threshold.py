"""Threshold samples: examples with a class of their own, whose AUMs say how low a wrong label's AUM is.

Some training samples, chosen at random, are assigned to a fake class c that no example belongs to, so that all of them
are mislabeled for sure. A high percentile of *their* AUMs (not of the data's) is the cut, and whatever lies at or below
it is suspected. Cf. Pleiss et al. (2020); what the released runner does otherwise is a named option of `Rules`.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from theory import arrays, checks, seeding
from theory.arrays import Array
from theory.margin import class_numbers


def cut_index(count: int, percentile: float | Fraction = 99) -> int:
    """k such that the k-th smallest of `count` threshold AUMs is the cut: count - floor(count (100 - percentile)/100).

    In integer arithmetic, never an interpolated percentile: the cut is one of the AUMs, and the expected share of wrong
    labels at or below it is k/(count + 1), if they and the threshold samples are exchangeable (claim A4).

    Args:
        count: number of threshold samples, >= 1.
        percentile: in (0, 100]; a float is taken for the decimal number that it prints as.

    Raises:
        InvalidInput: out of range.

    Example:
        >>> cut_index(99), cut_index(100), cut_index(250, 97.5)
        (99, 99, 244)
    """
    count = checks.integer("threshold samples", count, minimum=1)
    if not isinstance(percentile, Fraction):
        checks.number("percentile", percentile, 0, 100, open_low=True)
        given: Any = percentile
        percentile = Fraction(str(given.item() if arrays.is_tensor(given) else given))
    elif not 0 < percentile <= 100:
        checks.fail("percentile", "a number in (0, 100]", percentile, "choose a value in that range")
    return count - math.floor(count * (100 - percentile) / 100)


def cut(threshold: Array, percentile: float | Fraction = 99) -> float:
    """The cut: the `cut_index`-th smallest AUM of the threshold samples (n,).

    Raises:
        InvalidInput: no AUM, NaN, a percentile out of range.

    Example:
        >>> cut([-3.0, -1.0, -2.0], percentile=50)
        -2.0
    """
    areas = _areas("threshold samples' AUMs", threshold)
    return float(np.partition(areas, (k := cut_index(len(areas), percentile)) - 1)[k - 1])


def suspected(areas: Array, threshold: Array, percentile: float | Fraction = 99, strict: bool = False) -> np.ndarray:
    """Which AUMs (m,) lie at or below the cut of the threshold samples' AUMs (n,), or below it if `strict`; bool.

    Raises:
        InvalidInput: no AUM, NaN, a percentile out of range.

    Example:
        >>> suspected([-1.0, 2.0], [-3.0, -1.0]).tolist(), suspected([-1.0, 2.0], [-3.0, -1.0], strict=True).tolist()
        ([True, False], [False, False])
    """
    values, limit = _areas("AUMs", areas), cut(threshold, percentile)
    return values < limit if strict else values <= limit


@dataclass(frozen=True)
class Rules:
    """The choices that a ranking by AUM leaves open; `PAPER` and `RELEASED` are two sets of them.

    Attributes:
        percentile: of the threshold samples' AUMs at which the cut lies, in (0, 100].
        strict: suspect what lies below the cut (released runner: more than 1% of the threshold samples must have a
            strictly higher AUM) rather than at or below it (paper).
        skip: how many of the first epochs to leave out (released runner: 1).
        size: how many threshold samples: "N/(c+1)" (paper), "N//c" (released runner), or a number.
        combine: what several runs must say of a sample: "all" runs in which it was no threshold sample suspect it
            (released runner), or "any" one does.
        runs: how many training runs, each with threshold samples of its own, disjoint from the others'.

    Raises:
        InvalidInput: a percentile out of range, an unknown option.
    """

    percentile: float | Fraction = 99
    strict: bool = False
    skip: int = 0
    size: Literal["N/(c+1)", "N//c"] | int = "N/(c+1)"
    combine: Literal["all", "any"] = "all"
    runs: int = 2

    def __post_init__(self) -> None:
        cut_index(1, self.percentile)
        checks.integer("skip", self.skip, minimum=0)
        if isinstance(self.size, str):
            checks.choice("size", self.size, ("N/(c+1)", "N//c"))
        else:
            checks.integer("size", self.size, minimum=1)
        checks.choice("combine", self.combine, ("all", "any"))
        checks.integer("runs", self.runs, minimum=1)

    def threshold_size(self, samples: int, classes: int) -> int:
        """Number of threshold samples of each run.

        Raises:
            InvalidInput: none, or more in all runs together than there are samples.

        Example:
            >>> PAPER.threshold_size(100, 10), RELEASED.threshold_size(100, 10)
            (9, 10)
        """
        samples = checks.integer("samples", samples, minimum=1)
        classes = checks.integer("classes", classes, minimum=2)
        known = {"N/(c+1)": samples // (classes + 1), "N//c": samples // classes}
        size = known[self.size] if isinstance(self.size, str) else self.size
        if not 1 <= size * self.runs < samples:
            got = f"{self.runs} x {size} among {samples} samples"
            checks.fail("threshold samples", "some in each run, and samples left to rank", got, "choose another size")
        return size


PAPER = Rules()
"""At or below the 99th percentile, every epoch, N/(c+1) threshold samples."""

RELEASED = Rules(strict=True, skip=1, size="N//c")
"""What the released runner does: below, the first epoch skipped, N//c threshold samples, suspected in all runs."""


def draw(samples: int, classes: int, rules: Rules = PAPER, seed: int = 0) -> list[np.ndarray]:
    """Rows of the threshold samples of each run, drawn at random, no row twice.

    Args:
        samples: N.
        classes: c, without the fake class.
        rules: how many runs, and how many rows in each.
        seed: of the stream "threshold samples", >= 0.

    Example:
        >>> first, second = draw(100, 10)
        >>> len(first), len(second), len(set(first) | set(second))
        (9, 9, 18)
    """
    size = rules.threshold_size(samples, classes)
    order = seeding.numpy_generator("threshold samples", seed).permutation(samples)
    return [np.sort(order[run * size : (run + 1) * size]) for run in range(rules.runs)]


def relabel(labels: Array, rows: Array, classes: int) -> np.ndarray:
    """The labels (n,) with the fake class, number `classes`, at the given rows; train on c + 1 outputs with them.

    Raises:
        InvalidInput: labels that are no classes, rows that are none.

    Example:
        >>> relabel([0, 1, 1], [2], classes=2)
        array([0, 1, 2])
    """
    count = len(labels)
    changed = class_numbers("labels", labels, count, checks.integer("classes", classes, minimum=2)).copy()
    chosen = class_numbers("rows", rows, len(rows), count)
    changed[chosen] = classes
    return changed


def _areas(name: str, values: Any) -> np.ndarray:
    areas = values.detach().cpu().numpy() if arrays.is_tensor(values) else np.asarray(values)
    checks.vector(name, areas)
    if areas.dtype.kind not in "fiu":
        checks.fail(name, "real numbers", f"dtype {areas.dtype}", "pass the AUMs")
    checks.finite(name, areas)
    return areas
