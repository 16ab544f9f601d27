"""Files that are there whole or not at all."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PART = ".part"
"""How the names of unfinished files end."""


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary path beside `target` that takes its place when the block ends well, and is removed otherwise.

    Whatever interrupts the writing (a full disk, Ctrl-C, loss of power), an older file stays as it was; several
    programs may write one target, and the last one wins.

    Raises:
        OSError: the temporary file can't be written to the disk, or can't take the target's place.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with replacing(folder / "note.txt") as part:
        ...     _ = part.write_text("whole")
        >>> [path.name for path in folder.iterdir()]
        ['note.txt']
    """
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}{PART}")
    try:
        yield part
        _to_disk(part)  # else the name could reach the disk before the contents do
        os.replace(part, target)
        _to_disk(target.parent)
    finally:
        part.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
