"""From sample ids, whole numbers or strings, to positions in arrays.

Small non-negative integers are their own positions, so that a million of them cost no dictionary. Anything else gets
positions in order of arrival.
"""

from typing import Any

import numpy as np

from theory import arrays, checks

_SPARE = 2**20  # positions that direct addressing may waste whatever the number of ids: 17 MB, untouched until used


class Identifiers:
    """The ids of one run and their positions.

    Attributes:
        kind: "int" or "str", set by whoever accepts the first ids; None before.
        capacity: number of positions, used or not.
    """

    def __init__(self) -> None:
        self.kind: str | None = None
        self.capacity = 0
        self._places: dict[Any, int] | None = None

    @property
    def direct(self) -> bool:
        """Whether every id is its own position."""
        return self._places is None

    def names(self, positions: np.ndarray) -> Any:
        """The ids at these positions: an integer array, or a list of strings."""
        if self._places is None:
            return positions
        every = list(self._places)
        found = [every[place] for place in positions.tolist()]
        return found if kind_of(found) == "str" else np.array(found, dtype=np.int64)

    def read(self, ids: Any, rows: int) -> Any:
        """Ids (rows,) as an int64 array or a list of strings.

        Raises:
            InvalidInput: another length, an id that is neither a whole number nor a string, both kinds in one run.
        """
        if arrays.is_tensor(ids):
            ids = ids.detach().cpu().numpy()
        if isinstance(ids, str) or not hasattr(ids, "__len__"):
            checks.fail("ids", f"{rows} of them, one per row", repr(ids), "pass a list, an array or a tensor")
        if np.shape(ids)[:1] != (rows,) if isinstance(ids, np.ndarray) else len(ids) != rows:
            checks.fail("ids", f"{rows} of them, one per row", len(ids), "give each row its sample's id")
        found = _read(ids)
        kind = kind_of(found)
        if self.kind not in (None, kind):
            checks.fail("ids", f"ids of one kind, {self.kind} so far", kind, "use whole numbers or strings, not both")
        return found

    def locate(self, ids: Any) -> np.ndarray | slice:
        """Positions of known ids; a slice where they are consecutive numbers. A position may never have been used.

        Raises:
            InvalidInput: an id that has no position.
        """
        if self._places is None and isinstance(ids, np.ndarray):
            low, high = int(ids.min()), int(ids.max())
            if low < 0 or high >= self.capacity:
                unknown(ids[(ids < 0) | (ids >= self.capacity)])
            return _slice(ids, low, high)
        names = ids.tolist() if isinstance(ids, np.ndarray) else ids
        places = [(self._places or {}).get(name, -1) for name in names]
        if -1 in places:
            unknown([name for name, place in zip(names, places, strict=True) if place < 0])
        return np.array(places, dtype=np.int64)

    def take_in(self, ids: Any, used: np.ndarray) -> np.ndarray | slice:
        """Positions of ids, new ones among them.

        Args:
            ids: from `read`.
            used: the positions in use so far, bool (capacity,). If `direct` turns False, position i is from now on what
                the i-th used one was.
        """
        if self._places is None and isinstance(ids, np.ndarray):
            low, high = int(ids.min()), int(ids.max())
            if low >= 0 and high < max(self.capacity, _SPARE + 8 * (len(ids) + int(np.count_nonzero(used)))):
                if high >= self.capacity:
                    self.capacity = max(high + 1, 2 * self.capacity)
                return _slice(ids, low, high)
        if self._places is None:
            self._places = {int(id): place for place, id in enumerate(np.flatnonzero(used))}
        names = ids.tolist() if isinstance(ids, np.ndarray) else ids
        places = np.array([self._places.setdefault(name, len(self._places)) for name in names], dtype=np.int64)
        self.capacity = len(self._places)
        return places


def kind_of(ids: Any) -> str:
    """ "int" or "str", for ids that `Identifiers.read` returned.

    Example:
        >>> kind_of(["a.png"])
        'str'
    """
    return "str" if len(ids) and isinstance(ids[0], str) else "int"


def unknown(ids: Any) -> None:
    """Refuse ids that the first epoch did not have.

    Raises:
        InvalidInput: always.
    """
    got = f"{len(ids)} new ones, e.g. {_plain(ids[0])!r}"
    checks.fail("ids", "ids of the first epoch", got, "every epoch must pass through the same samples")


def _plain(id: Any) -> Any:
    return id.item() if isinstance(id, np.generic) else id


def _slice(ids: np.ndarray, low: int, high: int) -> np.ndarray | slice:
    consecutive = high - low == len(ids) - 1 and ids[0] == low and bool((ids[1:] > ids[:-1]).all())
    return slice(low, high + 1) if consecutive else ids


def _read(ids: Any) -> Any:
    if not isinstance(ids, np.ndarray):
        ids = list(ids)
        if all(isinstance(id, str) for id in ids):
            return ids
        if arrays.is_tensor(ids[0]):
            ids = [id.item() if arrays.is_tensor(id) else id for id in ids]
        if any(isinstance(id, (str, bool)) for id in ids):
            checks.fail("ids", "whole numbers or strings", "a mixture, or truth values", "use one kind")
        try:
            ids = np.array(ids)
        except (ValueError, OverflowError):
            checks.fail("ids", "whole numbers or strings", "nested lists", "give each row one id")
    if ids.ndim != 1:
        checks.fail("ids", "one per row", f"shape {ids.shape}", "flatten them")
    if ids.dtype.kind in "iu" and not (ids.dtype == np.uint64 and ids.max(initial=0) > np.iinfo(np.int64).max):
        return ids.astype(np.int64, copy=False)
    if ids.dtype.kind == "U" or (ids.dtype.kind == "O" and all(isinstance(id, str) for id in ids)):
        return ids.tolist()
    checks.fail("ids", "64-bit whole numbers or strings", f"dtype {ids.dtype}", "number the samples, or name them")
