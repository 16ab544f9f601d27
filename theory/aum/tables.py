"""Tables on disk: parquet or CSV by the file's name, ids and floats as they were, bit for bit."""

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theory import checks
from theory.files import replacing

if TYPE_CHECKING:
    import pandas as pd

_SUFFIXES = (".parquet", ".csv")
_STRINGS = "id (string)"  # the header of a CSV file says that ids such as 7 are names
_WHOLE = re.compile(r"0|-?[1-9][0-9]*")  # what Python prints: 007, +7 and 1_0 are names


def write_table(table: "pd.DataFrame", path: str | Path) -> None:
    """Write a table with a column `id` to a .parquet or .csv file, whole or not at all.

    Raises:
        InvalidInput: another file name, or no pyarrow for parquet.
        OSError: the file can't be written.
    """
    path = _known(Path(path))
    if path.suffix == ".parquet":
        _parquet()
        with replacing(path) as part:
            table.to_parquet(part, index=False)
        return
    ids = table["id"].tolist()
    taken_for_numbers = isinstance(ids[0], str) and _names(ids) != ids
    with replacing(path) as part:
        table.rename(columns={"id": _STRINGS} if taken_for_numbers else {}).to_csv(part, index=False)


def read_table(path: str | Path, columns: Sequence[str] = ("id",), names: Sequence[str] = ("id",)) -> "pd.DataFrame":
    """The table that `write_table` wrote, or another, with at least these columns.

    In a CSV file the columns `names` are numbers only where every entry is a whole number as Python prints it, so that
    007 stays 007; other columns are truth values, numbers, or else strings.

    Raises:
        InvalidInput: no such file, another file name, a file that is no such table.
    """
    import pandas as pd

    path = _known(Path(path))
    if not path.is_file():
        checks.fail(str(path), "a file", "none", "correct the path")
    try:
        if path.suffix == ".parquet":
            _parquet()
            table = pd.read_parquet(path)
        else:
            words = pd.read_csv(path, dtype=str, keep_default_na=False)
            read = {name: _names if name in names else _column for name in words} | {_STRINGS: list}
            table = pd.DataFrame({name: read[name](words[name].tolist()) for name in words})
            table = table.rename(columns={_STRINGS: "id"})
    except (ValueError, OSError, UnicodeDecodeError) as error:  # pandas' and pyarrow's own errors are among them
        checks.fail(str(path), "a table", str(error).splitlines()[0], "the file is damaged, or of another kind")
    lacking = [name for name in columns if name not in table]
    if lacking or not len(table):
        got = f"no {' or '.join(lacking)} among {', '.join(map(str, table))}" if lacking else "no rows"
        checks.fail(str(path), f"the columns {', '.join(columns)}", got, "is it the right file?")
    return table


def _names(words: list[str]) -> Any:
    """Whole numbers where all of them are printed as such, else the strings."""
    return [int(word) for word in words] if all(map(_WHOLE.fullmatch, words)) else words


def _column(words: list[str]) -> Any:
    """A column of a CSV file: numbers by Python's own reading, which is exact; an empty entry is NaN."""
    if set(words) <= {"True", "False"}:
        return [word == "True" for word in words]
    if any("_" in word for word in words):  # 1_0 is a number to Python, and to nobody else
        return words
    for read in (int, lambda word: float(word or "nan")):
        try:
            return [read(word) for word in words]
        except ValueError:
            continue
    return words


def _known(path: Path) -> Path:
    if path.suffix not in _SUFFIXES:
        checks.fail("path", f"a name that ends in {' or '.join(_SUFFIXES)}", path.name, "rename it")
    return path


def _parquet() -> None:
    if importlib.util.find_spec("pyarrow") is None:
        checks.fail("parquet", "the package pyarrow", "none", "pip install pyarrow, or use a .csv file")
