"""Tables on disk: parquet or CSV by the file's name, ids and floats as they were, bit for bit."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theory import checks

if TYPE_CHECKING:
    import pandas as pd

_SUFFIXES = (".parquet", ".csv")
_STRINGS = "id (string)"  # the header of a CSV file says that ids such as 007 are no numbers


def write_table(table: "pd.DataFrame", path: str | Path) -> None:
    """Write a table with a column `id` to a .parquet or .csv file.

    Raises:
        InvalidInput: another file name, or no pyarrow for parquet.
        OSError: the file can't be written.
    """
    path = _known(Path(path))
    if path.suffix == ".parquet":
        _parquet()
        table.to_parquet(path, index=False)
        return
    ids = table["id"].tolist()
    taken_for_numbers = isinstance(ids[0], str) and _column("id", ids) != ids
    table.rename(columns={"id": _STRINGS} if taken_for_numbers else {}).to_csv(path, index=False)


def read_table(path: str | Path, columns: Sequence[str] = ("id",)) -> "pd.DataFrame":
    """The table that `write_table` wrote, with at least these columns.

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
            table = pd.DataFrame({name: _column(str(name), words[name].tolist()) for name in words})
            table = table.rename(columns={_STRINGS: "id"})
    except (ValueError, OSError, UnicodeDecodeError) as error:  # pandas' and pyarrow's own errors are among them
        checks.fail(str(path), "a table", str(error).splitlines()[0][:80], "the file is damaged: write it again")
    lacking = [name for name in columns if name not in table]
    if lacking or not len(table):
        got = f"none of {lacking}" if lacking else "no rows"
        checks.fail(str(path), f"the columns {', '.join(columns)}", got, "is it the right file?")
    return table


def _column(name: str, words: list[str]) -> Any:
    """A column of a CSV file: numbers by Python's own reading, which is exact; an empty entry is NaN."""
    if name == _STRINGS:
        return words
    if set(words) <= {"True", "False"}:
        return [word == "True" for word in words]
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
