"""The accumulator: margins of every batch of every epoch in, the area under the margin of every sample out."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from theory import checks
from theory.arrays import Array
from theory.aum.identifiers import Identifiers, kind_of, unknown
from theory.aum.tables import read_table, write_table
from theory.margin import margins

if TYPE_CHECKING:
    import pandas as pd

_SCALARS = ("samples", "stop", "skip", "done", "measured")


class Accumulator:
    """Mean margin of every sample over the epochs of one training run, in memory of O(samples).

    Two lines in a training loop: `update` after each forward pass, `end_epoch` after each pass through the data. The
    first epoch says which samples there are; every later one must show each of them exactly once. Sums are kept to
    twice the precision of float64, so neither the order of the batches nor that of merges shows in a table (as long as
    the margins of one sample do not differ by a factor of 2^50). Logits are not rounded to half precision, as the
    released runner does before it accumulates.

    Args:
        stop: number of epochs, the skipped ones included, after which nothing is counted any more: where the learning
            rate drops for the first time. It has no default, because training on destroys the ranking.
        skip: how many of the first epochs to leave out (released runner: 1; paper: 0).

    Attributes:
        stop, skip: as given.
        epochs: complete epochs seen, up to `stop`.
        measured: those of them that count.

    Raises:
        InvalidInput: stop not above skip.

    Example:
        >>> record = Accumulator(stop=2)
        >>> for logits in ([[2.0, 1.0], [0.0, 4.0]], [[4.0, 1.0], [0.0, 1.0]]):
        ...     record.update(logits, labels=[0, 0], ids=["cat.png", "dog.png"])
        ...     record.end_epoch()
        >>> record.table()
                id  aum  epochs
        0  dog.png -2.5       2
        1  cat.png  2.0       2
    """

    def __init__(self, *, stop: int, skip: int = 0) -> None:
        self.skip = checks.integer("skip", skip, minimum=0)
        self.stop = checks.integer("stop", stop, minimum=1)
        if self.stop <= self.skip:
            checks.fail("stop", f"more than the {self.skip} epochs that are skipped", self.stop, "raise it")
        self.epochs = 0
        self.measured = 0
        self._ids = Identifiers()
        self._known = self._seen = np.zeros(0, dtype=bool)  # in the first epoch, known is what was seen
        self._sums, self._rests = np.zeros(0), np.zeros(0)

    def __len__(self) -> int:
        return int(np.count_nonzero(self._known))

    @property
    def done(self) -> bool:
        """Whether `stop` epochs are complete; `update` and `end_epoch` do nothing from then on."""
        return self.epochs >= self.stop

    @property
    def between_epochs(self) -> bool:
        """Whether no epoch is under way."""
        return not self._seen.any()

    def update(self, logits: Array, labels: Array, ids: Any) -> None:
        """Take in one batch of the training forward pass. A batch that is refused changes nothing.

        Args:
            logits: (m, c), before any softmax; numpy, or torch on any device.
            labels: assigned classes (m,).
            ids: of the samples (m,): whole numbers or strings in a list, an array or a tensor; one kind per run.

        Raises:
            InvalidInput: what `margins` refuses; ids repeated within the epoch; ids that the first epoch did not have.
        """
        if self.done:
            return
        values = margins(logits, labels)
        values = values if isinstance(values, np.ndarray) else values.cpu().numpy()
        names = self._ids.read(ids, len(values))
        places = self._place(names)
        before = np.count_nonzero(self._seen)
        fresh = not self._seen[places].any()
        if fresh:
            self._seen[places] = True
        if np.count_nonzero(self._seen) != before + len(values):
            if fresh:
                self._seen[places] = False
            self._repeated(names, places)
        self._ids.kind = kind_of(names)
        if self.epochs >= self.skip:
            self._add(places, values)

    def end_epoch(self) -> None:
        """Close an epoch.

        Raises:
            InvalidInput: a sample is missing in it, or there was no sample at all.
        """
        if self.done:
            return
        missing = np.flatnonzero(self._known & ~self._seen)
        if len(missing) or not len(self):
            got = f"{len(missing)} missing, e.g. {list(self._ids.names(missing[:1]))}" if len(missing) else "none"
            checks.fail("epoch", "every sample of the first one", got, "with a DataLoader, leave drop_last=False")
        self._known, self._seen = self._known.copy(), np.zeros_like(self._seen)
        self.measured += self.epochs >= self.skip
        self.epochs += 1

    def table(self) -> "pd.DataFrame":
        """Columns id, aum and epochs (how many are in the mean), the most suspicious first; equal AUMs by id.

        Raises:
            InvalidInput: an epoch is under way, or none was counted yet.
        """
        import pandas as pd

        if not self.between_epochs:
            checks.fail("epoch", "a complete one", f"{int(self._seen.sum())} samples of a new one", "call end_epoch()")
        if not self.measured:
            checks.fail("epochs", f"at least one after the {self.skip} skipped", self.epochs, "train on")
        places = np.flatnonzero(self._known)
        areas = (self._sums[places] + self._rests[places]) / self.measured
        found = pd.DataFrame({"id": self._ids.names(places), "aum": areas, "epochs": self.measured})
        return found.sort_values(["aum", "id"], ignore_index=True)

    def save(self, path: str | Path) -> None:
        """Write the whole state, also in mid-epoch, to a .parquet or .csv file that `load` turns back, bit for bit.

        An older file of that name stays as it was until the new one is complete.

        Raises:
            InvalidInput: another file name, or no sample yet.
            OSError: the file can't be written.
        """
        import pandas as pd

        if not len(self):
            checks.fail("accumulator", "at least one sample", "none", "update it first")
        places = np.flatnonzero(self._known)
        state = {"sum": self._sums[places], "rest": self._rests[places], "seen": self._seen[places]}
        scalars = dict(zip(_SCALARS, (len(self), self.stop, self.skip, self.epochs, self.measured), strict=True))
        write_table(pd.DataFrame({"id": self._ids.names(places), **state, **scalars}), path)

    @classmethod
    def load(cls, path: str | Path) -> "Accumulator":
        """The accumulator that `save` wrote, ready for the next batch.

        Raises:
            InvalidInput: no such file, another file name, or a file that `save` did not write.
        """
        state = read_table(path, ("id", "sum", "rest", "seen", *_SCALARS))
        whole = not state.isna().any(axis=None) and (state[list(_SCALARS)].nunique() == 1).all()
        if not whole or state["samples"][0] != len(state) or state["seen"].dtype != bool:
            checks.fail(str(path), "the whole state of an accumulator", "a part", "the file is cut off: use another")
        record = cls(stop=int(state["stop"][0]), skip=int(state["skip"][0]))
        record.epochs, record.measured = int(state["done"][0]), int(state["measured"][0])
        places = record._start(record._ids.read(state["id"].to_numpy(), len(state)))
        record._sums[places], record._rests[places] = state["sum"].to_numpy(), state["rest"].to_numpy()
        if record.epochs:
            record._seen = np.zeros_like(record._known)
            record._seen[places] = state["seen"].to_numpy(dtype=bool)
        return record

    @staticmethod
    def merge(records: Sequence["Accumulator"]) -> "Accumulator":
        """One accumulator over the epochs of several, all of the same samples: other runs, or parts of one run.

        Its table equals that of one accumulator that saw all the epochs, whatever the order of `records`.

        Raises:
            InvalidInput: none, an epoch under way in one of them, or different samples.
        """
        if not records:
            checks.fail("records", "at least one accumulator", "none", "pass those of the runs")
        for record in records:
            if not record.between_epochs or not record.epochs:
                checks.fail("records", "accumulators with complete epochs only", "an unfinished one", "end the epoch")
        first, *others = records
        merged = Accumulator(stop=sum(record.epochs for record in records))
        merged.epochs, merged.measured = merged.stop, sum(record.measured for record in records)
        mine = np.flatnonzero(first._known)
        names = first._ids.names(mine)
        places = merged._start(names)
        merged._sums[places], merged._rests[places] = first._sums[mine], first._rests[mine]
        for other in others:
            if len(other) != len(first) or other._ids.kind != first._ids.kind:
                got = f"{len(first)} and {len(other)} of kinds {first._ids.kind} and {other._ids.kind}"
                checks.fail("records", "runs on the same samples", got, "merge runs of one data set")
            theirs = other._place(names)
            merged._rests[places] += other._rests[theirs]
            merged._add(places, other._sums[theirs])
        merged._seen = np.zeros_like(merged._known)
        return merged

    def _start(self, names: Any) -> np.ndarray | slice:
        """Positions of the first samples, known and seen from now on."""
        places = self._room(names)
        self._known[places] = True
        self._ids.kind = kind_of(names)
        return places

    def _place(self, names: Any) -> np.ndarray | slice:
        if self.epochs == 0:
            return self._room(names)
        places = self._ids.locate(names)
        if not self._known[places].all():
            unknown(self._ids.names(np.arange(len(self._known))[places][~self._known[places]]))
        return places

    def _room(self, names: Any) -> np.ndarray | slice:
        """Positions of samples that may be new, with room for them in every array."""
        used, was_direct = np.flatnonzero(self._known), self._ids.direct
        places = self._ids.take_in(names, self._known)
        moved, size = was_direct and not self._ids.direct, self._ids.capacity
        if moved or len(self._known) < size:
            for name in ("_known", "_sums", "_rests"):
                old = getattr(self, name)[used] if moved else getattr(self, name)
                larger = np.zeros(size, dtype=old.dtype)
                larger[: len(old)] = old
                setattr(self, name, larger)
            self._seen = self._known
        return places

    def _repeated(self, names: Any, places: np.ndarray | slice) -> None:
        import pandas as pd

        again = pd.Index(names).duplicated()
        again |= self._seen[places]
        example = pd.Index(names)[again][:1].tolist()
        got = f"{int(again.sum())} again, e.g. {example}"
        remedy = "call end_epoch() after each pass through the data, and draw without replacement"
        checks.fail("ids", "each sample once in an epoch", got, remedy)

    def _add(self, places: np.ndarray | slice, values: np.ndarray) -> None:
        """Add values to the sums; what rounding takes from a sum goes into its rest (Knuth's two-sum)."""
        if not isinstance(places, slice) and 2 * len(values) > len(self._sums):
            spread = np.zeros(len(self._sums), dtype=values.dtype)  # one scattered write, and the rest runs in order
            spread[places] = values
            places, values = slice(None), spread
        old = self._sums[places]
        new = old + values
        part = new - old
        rest = (old - (new - part)) + (values - part)
        self._sums[places] = new
        self._rests[places] += rest
