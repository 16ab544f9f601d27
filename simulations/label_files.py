"""A user's own labels from files: features and labels, or logits saved at every epoch; .npz, .csv or .parquet.

    features   npz: arrays `features` (n, ...) and `labels` (n,), perhaps `ids` (n,)
               table: a column `label`, perhaps `id`, every other column a numeric feature
    logits     npz: arrays `logits` (epochs, n, classes) and `labels` (n,), perhaps `ids` (n,)
               table: columns `epoch`, `id`, `label`, `logit_0`, `logit_1`, ...; one row per epoch and sample

Labels may be numbers or words. No pickle is ever loaded.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from theory import checks
from theory.aum import tables
from theory.margin import numbered

if TYPE_CHECKING:
    import pandas as pd

_NAMES = {"features": ("features", "X", "x", "images"), "labels": ("labels", "label", "y"), "ids": ("ids", "id")}
_NAMES |= {"logits": ("logits",)}
_LOGIT = re.compile(r"logit_(\d+)")


@dataclass(frozen=True)
class LabelledData:
    """Labels with features or logits.

    Attributes:
        values: features (n, ...), float32; or logits (epochs, n, classes).
        classes: the distinct labels as given, sorted, (c,).
        labels: number of each label among `classes`, (n,).
        ids: of the samples (n,): integers or strings; row numbers from 0 where the file has none.
    """

    values: np.ndarray
    classes: np.ndarray
    labels: np.ndarray
    ids: np.ndarray


def read_features(path: str | Path, label: str = "label", id: str = "id") -> LabelledData:
    """Features and labels from a file.

    Args:
        path: .npz, .csv or .parquet.
        label: column of the labels in a table.
        id: column of the ids in a table, if it has one.

    Raises:
        InvalidInput: a missing, foreign or damaged file; missing labels, one class only; features that are missing, no
            numbers, or not finite; ids that repeat. The message names the file and the column.
    """
    path = Path(path)
    if path.suffix == ".npz":
        values, labels, ids = _arrays(path, "features")
    else:
        table = _table(path, label, id)
        ids = table[id].to_numpy() if id in table else None
        labels = table[label].to_numpy()
        columns = [name for name in table if name not in (label, id)]
        if not columns:
            checks.fail(str(path), "columns of features", f"only {list(table)}", "add what the network should see")
        for name in columns:
            if table[name].dtype.kind not in "fiub":
                remedy = f"leave it out, or encode it; --id {name} if it names the samples"
                checks.fail(f"{path}, column {name!r}", "numbers", f"e.g. {table[name].iloc[0]!r}", remedy)
        values = table[columns].to_numpy(dtype=np.float64)
    if values.ndim < 2 or values.dtype.kind not in "fiub":
        got = f"shape {values.shape}, dtype {values.dtype}"
        checks.fail(f"{path}, features", "numbers of shape (n, ...)", got, "one row per sample")
    found = _checked(path, values.astype(np.float32), labels, ids, len(values))
    if len(found.classes) > max(2, len(values) // 2):
        got = f"{len(found.classes)} distinct ones among {len(values)}"
        checks.fail(f"{path}, labels", "classes that occur more than once", got, "name the column: --label")
    return found


def read_logits(path: str | Path) -> LabelledData:
    """Logits of every epoch and labels from a file.

    Labels are numbers of columns: whole, from 0; threshold samples carry that of the fake class.

    Raises:
        InvalidInput: as `read_features`; epochs that do not show the same samples; labels without a logit.
    """
    path = Path(path)
    if path.suffix == ".npz":
        logits, labels, ids = _arrays(path, "logits")
        if logits.ndim != 3 or logits.dtype.kind != "f":
            got = f"shape {logits.shape}, dtype {logits.dtype}"
            checks.fail(f"{path}, logits", "floats of shape (epochs, n, classes)", got, "stack the epochs")
    else:
        logits, labels, ids = _from_rows(path, _table(path, "label", "id"))
    found = _checked(path, logits, labels, ids, logits.shape[1])
    numbers = found.classes[found.labels]
    whole = numbers.dtype.kind in "iu" or (numbers.dtype.kind == "f" and bool(np.all(numbers == np.round(numbers))))
    if not whole or numbers.min() < 0 or numbers.max() >= logits.shape[2]:
        wanted = f"columns of the logits, whole numbers from 0 to {logits.shape[2] - 1}"
        checks.fail(f"{path}, labels", wanted, found.classes.tolist()[-3:], "number the classes as the logits are")
    return LabelledData(logits, np.arange(logits.shape[2]), numbers.astype(np.int64), found.ids)


def _arrays(path: Path, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    if not path.is_file():
        checks.fail(str(path), "a file", "none", "correct the path")
    try:
        with np.load(path, allow_pickle=False) as file:
            every = {name: file[name] for name in file.files}
    except Exception as error:  # zip, header and pickle errors come as many types
        remedy = "save arrays of numbers or strings with numpy.savez; no pickle is loaded"
        checks.fail(str(path), "an .npz file of plain arrays", str(error).splitlines()[0], remedy)
    found = []
    for wanted in (kind, "labels", "ids"):
        present = [name for name in _NAMES[wanted] if name in every]
        if not present and wanted != "ids":
            got = f"arrays {sorted(every)}"
            checks.fail(str(path), f"an array named {' or '.join(_NAMES[wanted])}", got, "name it so in numpy.savez")
        found.append(every[present[0]] if present else None)
    values, labels, ids = found
    assert values is not None and labels is not None
    return values, labels, ids


def _table(path: Path, label: str, id: str) -> "pd.DataFrame":
    if path.suffix not in (".csv", ".parquet"):
        checks.fail("file", "a name that ends in .npz, .csv or .parquet", str(path), "convert it")
    return tables.read_table(path, (label,), names=(label, id))


def _from_rows(path: Path, table: "pd.DataFrame") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    columns = sorted((name for name in table if _LOGIT.fullmatch(str(name))), key=lambda name: int(str(name)[6:]))
    if [str(name) for name in columns] != [f"logit_{number}" for number in range(len(columns))] or len(columns) < 2:
        checks.fail(str(path), "columns logit_0, logit_1, ...", list(table), "one column per class, in order")
    lacking = [name for name in ("epoch", "id") if name not in table]
    if lacking:
        checks.fail(str(path), "columns epoch and id", f"none called {lacking}", "one row per epoch and sample")
    table = table.sort_values(["epoch", "id"], ignore_index=True)
    groups = [group for _, group in table.groupby("epoch")]
    first = groups[0]
    for group in groups:
        same = len(group) == len(first) and (group["id"].to_numpy() == first["id"].to_numpy()).all()
        if not same or not (group["label"].to_numpy() == first["label"].to_numpy()).all():
            got = f"others in epoch {group['epoch'].iloc[0]}"
            checks.fail(str(path), "every epoch to hold each sample once, with its label", got, "save all of them")
    logits = np.array([group[columns].to_numpy(dtype=np.float64) for group in groups])
    return logits, first["label"].to_numpy(), first["id"].to_numpy()


def _checked(path: Path, values: np.ndarray, labels: np.ndarray, ids: Any, rows: int) -> LabelledData:
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        got = f"{len(bad)} NaN, infinite or missing, e.g. at {tuple(bad[0].tolist())}, rows and columns from 0"
        checks.fail(f"{path}, numbers", "finite ones", got, "remove or impute them first")
    if labels.shape != (rows,):
        checks.fail(f"{path}, labels", f"{rows} of them", f"shape {labels.shape}", "one per sample")
    classes, numbers = numbered(f"{path}, labels", labels)
    names = np.arange(rows) if ids is None else np.asarray(ids)
    names = names.astype(str) if names.dtype.kind in "OUT" else names
    if names.shape != (rows,) or len(np.unique(names)) < rows or names.dtype.kind not in "iuU":
        distinct, times = np.unique(names, return_counts=True)
        got = f"{len(distinct)} distinct, dtype {names.dtype}, e.g. {distinct[times.argmax()]!s} {times.max()} times"
        checks.fail(f"{path}, ids", f"{rows} different whole numbers or strings", got, "give each sample its own")
    return LabelledData(values, classes, numbers, names)
