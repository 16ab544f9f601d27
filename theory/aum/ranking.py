"""From runs with threshold samples to one ranking of the labels, the most suspicious first."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from theory import checks
from theory.arrays import Array
from theory.aum.accumulator import Accumulator
from theory.aum.tables import read_table, write_table
from theory.aum.threshold import PAPER, Rules, cut, draw, relabel, suspected
from theory.margin import class_numbers

if TYPE_CHECKING:
    import pandas as pd

Train = Callable[[np.ndarray, int, Accumulator, int], object]
"""train(labels, outputs, record, run): trains a fresh network with so many outputs on these labels, showing every batch
of every epoch to `record.update` and each epoch's end to `record.end_epoch`, until `record.done`. Runs count from 0."""


def rank(runs: Sequence[Accumulator], threshold: Sequence[Any], rules: Rules = PAPER) -> "pd.DataFrame":
    """Combine training runs on the same samples into one table.

    Args:
        runs: finished accumulators, one per run.
        threshold: ids of each run's threshold samples.
        rules: percentile, strictness, and how runs combine.

    Returns:
        One row per sample, lowest AUM first, equal AUMs by id: `id`; `aum`, its mean over the runs in which it was no
        threshold sample; `suspect`; `counted`, the number of those runs; `flagged`, how many of them suspect it; for
        each run i `aum_i` (NaN for its threshold samples) and `cut_i`. A sample that was a threshold sample in every
        run has no AUM (NaN), is no suspect, and comes last.

    Raises:
        InvalidInput: no run, different samples or numbers of threshold sets, threshold ids that no sample has.
    """
    import pandas as pd

    if not runs or len(runs) != len(threshold):
        got = f"{len(runs)} runs and {len(threshold)} sets of threshold samples"
        checks.fail("runs", "at least one, each with its threshold samples", got, "pass one set per run")
    tables = [run.table().set_index("id")["aum"] for run in runs]
    ids = tables[0].sort_index().index
    found: dict[str, Any] = {}
    areas, flags = [], []
    for number, (table, own) in enumerate(zip(tables, threshold, strict=True), start=1):
        if len(table) != len(ids) or not table.index.isin(ids).all():
            checks.fail(f"run {number}", "the samples of run 1", "others", "rank runs on one data set")
        marked = ids.isin(pd.Index(_plain(own)))
        if len(own) == 0 or marked.sum() != len(own):
            got = f"{int(marked.sum())} of {len(own)} known"
            checks.fail(f"threshold samples of run {number}", "ids of the run, each once", got, "pass their ids")
        values = table.loc[ids].to_numpy()
        limit = cut(values[marked], rules.percentile)
        flags.append(suspected(values, values[marked], rules.percentile, rules.strict) & ~marked)
        areas.append(np.where(marked, np.nan, values))
        found |= {f"aum_{number}": areas[-1], f"cut_{number}": limit}
    counted = np.isfinite(areas).sum(axis=0)
    flagged = np.sum(flags, axis=0)
    suspect = (flagged == counted) & (counted > 0) if rules.combine == "all" else flagged > 0
    total = np.nansum(areas, axis=0)
    mean = np.divide(total, counted, out=np.full(len(ids), np.nan), where=counted > 0)
    summary = {"id": ids, "aum": mean, "suspect": suspect, "counted": counted, "flagged": flagged}
    return pd.DataFrame(summary | found).sort_values(["aum", "id"], ignore_index=True)


def rank_labels(
    train: Train, labels: Array, classes: int, *, stop: int, rules: Rules = PAPER, seed: int = 0
) -> "pd.DataFrame":
    """The whole procedure: threshold samples for each run, training, ranking. Rows of `labels` are the ids.

    Args:
        train: trains one network, see `Train`; called once per run.
        labels: assigned classes (n,), from 0.
        classes: c, their number.
        stop: the last epoch that counts: where the learning rate would drop for the first time. Required, because
            training on destroys the ranking.
        rules: what the method leaves open.
        seed: of the threshold samples.

    Returns:
        As `rank`, with the column `label` after `id`.

    Raises:
        InvalidInput: labels that are no classes; a training that left an epoch unfinished, or ended before `stop`.
    """
    assigned = class_numbers("labels", labels, len(labels), classes)
    sets = draw(len(assigned), classes, rules, seed)
    runs = []
    for run, rows in enumerate(sets):
        record = Accumulator(stop=stop, skip=rules.skip)
        train(relabel(assigned, rows, classes), classes + 1, record, run)
        if not record.done:
            checks.fail("training", f"{stop} epochs shown to the record", record.epochs, "call end_epoch() after each")
        runs.append(record)
    table = rank(runs, sets, rules)
    table.insert(1, "label", assigned[table["id"].to_numpy()])
    return table


def auc(areas: Array, mislabeled: Array) -> Fraction:
    """Share of (mislabeled, clean) pairs in which the mislabeled sample has the lower AUM, ties counting half; exact.

    1 means that AUM separates them wholly, 1/2 that it says nothing.

    Args:
        areas: AUM of each sample (n,).
        mislabeled: whether its label is wrong, (n,) bool; both kinds must be there.

    Raises:
        InvalidInput: different lengths, NaN, one kind only.

    Example:
        >>> auc([-1.0, 0.5, 0.0, 2.0], [True, True, False, False])
        Fraction(3, 4)
    """
    from scipy import stats

    values, wrong = np.asarray(areas, dtype=float), np.asarray(mislabeled, dtype=bool)
    checks.vector("AUMs", values)
    checks.finite("AUMs", values)
    checks.vector("mislabeled", wrong, length=len(values))
    bad, good = int(wrong.sum()), int((~wrong).sum())
    if not bad or not good:
        checks.fail("mislabeled", "wrong and right labels", f"{bad} and {good}", "nothing to tell apart")
    twice = round(2 * float(stats.rankdata(values)[wrong].sum())) - bad * (bad + 1)  # ranks are halves of integers
    return 1 - Fraction(twice, 2 * bad * good)


def save(table: "pd.DataFrame", path: str | Path) -> None:
    """Write a ranking to a .parquet or .csv file; `load` gives it back.

    Raises:
        InvalidInput: another file name.
        OSError: the file can't be written.
    """
    write_table(table, path)


def load(path: str | Path) -> "pd.DataFrame":
    """The ranking that `save` wrote.

    Raises:
        InvalidInput: no such file, or no table of AUMs.
    """
    return read_table(path, ("id", "aum"))


def _plain(ids: Any) -> list[Any]:
    return np.asarray(ids).tolist() if not isinstance(ids, list) else ids
