"""Files that are there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary path beside `target` that takes its place when the block ends well, and is removed otherwise.

    Whatever interrupts the writing (a full disk, Ctrl-C), an older file stays as it was.

    Raises:
        OSError: the temporary file can't take the target's place.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with replacing(folder / "note.txt") as part:
        ...     _ = part.write_text("whole")
        >>> [path.name for path in folder.iterdir()]
        ['note.txt']
    """
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
