"""Which of your labels are probably wrong: a ranked table, and a sheet of images where rows are images.

    python -m simulations.suspect_labels --data labels.csv --epochs 30
    python -m simulations.suspect_labels --data images.npz --epochs 30 --output suspects
    python -m simulations.suspect_labels --logits logits.npz --epochs 30 --threshold-class 10

`--data` trains small perceptrons on your features (`simulations.label_files` says what a file holds), with threshold
samples and in two runs, and ranks the labels by their area under the margin. `--logits` ranks by logits that your own
training saved at every epoch; the cut then needs threshold samples of yours, which carry the fake class. The number of
epochs is part of the method and has no default: stop where the learning rate would first drop, since longer training
learns the wrong labels too. `python -m simulations.mislabeled --data ...` is the same command. Cf. Pleiss et al.
(2020).
"""

import dataclasses
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from rich.progress import Progress

from simulations import image_sheet
from simulations.label_files import LabelledData, read_features, read_logits
from theory import aum, checks
from theory.lab import figure, report
from theory.lab.simulation import one_thread

if TYPE_CHECKING:
    import pandas as pd

RULES = {"paper": aum.PAPER, "released": aum.RELEASED}


@dataclass(frozen=True)
class SuspectLabels:
    """Rank labels by their area under the margin and write the suspects."""

    data: Path | None = None
    """features and labels, .npz, .csv or .parquet"""
    logits: Path | None = None
    """logits saved at every epoch, and labels, instead"""
    epochs: int | None = None
    """the last epoch that counts; required, because training on destroys the ranking"""
    threshold_class: int | None = None
    """with --logits: the fake class of your threshold samples; without it there is no cut"""
    label: str = "label"
    """column of the labels in a table"""
    id: str = "id"
    """column of the ids, if there is one"""
    image_shape: tuple[int, ...] = ()
    """height and width (and channels) of a row that is an image; found by itself for square grey ones and arrays"""
    scale: Literal["auto", "columns", "whole", "none"] = "auto"
    """standardise each feature, or all of them together (auto: together for images, each otherwise)"""
    rules: Literal["paper", "released"] = "paper"
    """choices that the method leaves open; see theory.aum.Rules"""
    percentile: float = 99.0
    """of the threshold samples' AUMs, at which the cut lies"""
    combine: Literal["all", "any"] = "all"
    """suspected in all runs, or in any"""
    learning_rate: float = 0.1
    """of the perceptrons, constant"""
    batch: int = 32
    """examples per step"""
    seed: int = 0
    """of threshold samples, weights and batches"""
    sheet: int = 60
    """images on the sheet"""
    table: Literal["csv", "parquet"] = "csv"
    """format of the table"""
    output: Path = Path("suspects")
    """folder for the table and the sheet"""

    def validate(self) -> None:
        """Refuse settings that can't be used, before any file is read.

        Raises:
            InvalidInput: naming the setting.
        """
        if (self.data is None) == (self.logits is None):
            checks.fail("input", "--data FILE or --logits FILE", "both" if self.data else "neither", "give one of them")
        if self.epochs is None:
            remedy = "give --epochs, e.g. 30: the epoch at which the learning rate would first drop"
            checks.fail("epochs", "the stopping epoch", "none", remedy)
        checks.integer("epochs", self.epochs, minimum=1 + RULES[self.rules].skip)
        checks.integer("sheet", self.sheet, minimum=1, maximum=300)  # the table has them all
        _ = self.chosen  # checks the percentile

    @property
    def chosen(self) -> aum.Rules:
        """The rules with this command's percentile and combination."""
        return dataclasses.replace(RULES[self.rules], percentile=self.percentile, combine=self.combine)

    def run(self) -> list[Path]:
        """Rank, write the table and, where rows are images, the sheet; print a summary.

        Raises:
            InvalidInput: files or settings that can't be used.
            OSError: the output can't be written.
        """
        self.validate()
        found = read_logits(self.logits) if self.logits else read_features(self.data or "", self.label, self.id)
        images = None if self.logits else self._images(found)
        if not self.logits:
            self.chosen.threshold_size(len(found.labels), len(found.classes))  # refuses what is too small
        self.output.mkdir(parents=True, exist_ok=True)
        if not os.access(self.output, os.W_OK):
            raise PermissionError(f"{self.output} can't be written")
        ranked = self.from_logits(found) if self.logits else self.from_features(found)
        path = self.output / f"suspects.{self.table}"
        aum.save(ranked, path)
        files = [path]
        if images is not None:
            files += figure.save(self._sheet(ranked, found, images), self.output / "suspects")
        for suffix in ("csv", "parquet", "png", "pdf"):  # an older run's would be taken for this one's
            if (stale := self.output / f"suspects.{suffix}") not in files:
                stale.unlink(missing_ok=True)
        self._say(ranked, files, images is not None)
        return files

    def from_features(self, found: LabelledData) -> "pd.DataFrame":
        """Train and rank."""
        assert self.epochs is not None
        outputs, whole = len(found.classes), self.chosen.runs * self.epochs
        total = np.zeros((len(found.labels), outputs + 1))
        progress = Progress(console=report.terminal(), transient=True)
        task = progress.add_task("training", total=whole)

        def observe(run: int, epoch: int, scores: np.ndarray, rows: np.ndarray) -> None:
            total[rows] += scores
            progress.update(task, completed=run * whole // self.chosen.runs + epoch)

        options: dict[str, Any] = {"learning_rate": self.learning_rate, "batch": self.batch, "seed": self.seed}
        train = aum.trainer(self._scaled(found), observe=observe, **options)
        with one_thread(), progress:
            table = aum.rank_labels(train, found.labels, outputs, stop=self.epochs, rules=self.chosen, seed=self.seed)
        return _named(table, found, total[:, :-1])

    def from_logits(self, found: LabelledData) -> "pd.DataFrame":
        """Rank by saved logits."""
        assert self.epochs is not None
        if len(found.values) < self.epochs:
            checks.fail("epochs", f"at most {len(found.values)}, as many as were saved", self.epochs, "lower it")
        record = aum.Accumulator(stop=self.epochs, skip=self.chosen.skip)
        for logits in found.values[: self.epochs]:
            record.update(logits, found.labels, np.arange(len(found.labels)))
            record.end_epoch()
        means, fake = found.values[: self.epochs].mean(axis=0), self.threshold_class
        if fake is None:
            table = record.table().rename(columns={"epochs": "counted"}).assign(suspect=False)
        else:
            own = np.flatnonzero(found.labels == fake)
            if not len(own):
                checks.fail("threshold_class", "the label of some samples", fake, "leave it out for a ranking alone")
            table = aum.rank([record], [own], self.chosen)
            table = table[~table["id"].isin(own)]
            means = np.delete(means, fake, axis=1) if fake == means.shape[1] - 1 else means
        table.insert(1, "label", found.labels[table["id"].to_numpy()])
        return _named(table, found, means)

    def _scaled(self, found: LabelledData) -> np.ndarray:
        X = found.values.astype(np.float64)
        how = self.scale if self.scale != "auto" else ("columns" if self._images(found) is None else "whole")
        if how == "none":
            return found.values
        axis = 0 if how == "columns" else None
        spread = X.std(axis=axis)
        return ((X - X.mean(axis=axis)) / np.where(spread > 0, spread, 1)).astype(np.float32)

    def _images(self, found: LabelledData) -> np.ndarray | None:
        """The rows as images (n, height, width) or (n, height, width, 3), None where they are none."""
        rows = found.values.shape[1:]
        size = int(np.prod(rows))
        side = round(size**0.5)
        if self.image_shape:
            colours = self.image_shape[2:]
            if int(np.prod(self.image_shape)) != size or len(self.image_shape) < 2 or colours not in ((), (1,), (3,)):
                remedy = "give height and width, and 3 for colours"
                checks.fail("image_shape", f"two or three numbers with product {size}", self.image_shape, remedy)
            return found.values.reshape(-1, *self.image_shape[:2], *((3,) if colours == (3,) else ()))
        if len(rows) == 3 and rows[0] in (1, 3):  # channels first
            return np.moveaxis(found.values, 1, -1) if rows[0] == 3 else found.values[:, 0]
        if len(rows) == 2 or (len(rows) == 3 and rows[2] == 3):
            return found.values
        return found.values.reshape(-1, side, side) if len(rows) == 1 and side >= 5 and side**2 == size else None

    def _sheet(self, ranked: "pd.DataFrame", found: LabelledData, images: np.ndarray) -> Any:
        top = ranked[: self.sheet]
        place = {name: row for row, name in enumerate(found.ids.tolist())}
        pixels = images[[place[name] for name in top["id"].tolist()]].astype(np.float64)
        pixels = (pixels - images.min()) / max(float(np.ptp(images)), 1e-12)
        rows = zip(top["id"], top["label"], top["looks_like"], strict=True)
        captions = [f"{id}\n{label}, {like}?" for id, label, like in rows]
        title = f"lowest AUM first, {len(top)} of {int(ranked['suspect'].sum())} suspects"
        title += "\nid; label given, and the class that the networks prefer"
        return image_sheet.sheet(pixels, captions, title=title)

    def _say(self, ranked: "pd.DataFrame", files: list[Path], images: bool) -> None:
        console = report.terminal()
        cuts = [f"{ranked[name].iloc[0]:.4g}" for name in ranked if str(name).startswith("cut_")]
        console.print(
            f"{len(ranked)} labels, {int(ranked['suspect'].sum())} suspects ({ranked['suspect'].mean():.0%}), "
            f"cut {' and '.join(cuts) or 'none'}"
        )
        threshold = int(ranked["aum_1"].isna().sum()) if "aum_1" in ranked else 0
        if threshold and threshold * (100 - self.percentile) < 100:
            words = f"the cut is the largest of {threshold} threshold samples' AUMs: trust the order more than the cut"
            console.print(f"{words}, or lower --percentile", highlight=False)
        if not cuts:
            console.print("no threshold samples: the order is meaningful, but no label is called suspect")
        if self.data is not None and not images:
            console.print("no image sheet: rows are no images (--image-shape says how they are)")
        shown = ranked[[name for name in ("id", "label", "looks_like", "aum", "suspect") if name in ranked]]
        console.print(shown.head(10).to_string(index=False), highlight=False, markup=False)
        console.print("-> " + ", ".join(str(path) for path in files), highlight=False)


def _named(table: "pd.DataFrame", found: LabelledData, logits: np.ndarray) -> "pd.DataFrame":
    """The table with the ids and labels of the file, and the class that the networks prefer to the label given."""
    rows = table["id"].to_numpy()
    others = logits[rows]
    own = found.labels[rows]
    inside = own < others.shape[1]
    others[np.flatnonzero(inside), own[inside]] = -np.inf
    table = table.assign(id=found.ids[rows], label=found.classes[own])
    table.insert(2, "looks_like", found.classes[others.argmax(axis=1)])
    return table.reset_index(drop=True)


def command(arguments: list[str] | None = None) -> int:
    """The command: a flag per setting.

    Returns:
        0; 2 for files or settings that can't be used; 130 after Ctrl-C.
    """
    import tyro

    try:
        tyro.cli(SuspectLabels, args=arguments, prog="python -m simulations.suspect_labels").run()
    except checks.InvalidInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: output: could not be written: {error}; choose another --output, or make room", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(command())
