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
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

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
        checks.integer("sheet", self.sheet, minimum=1)
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
        ranked, found = self.from_logits() if self.data is None else self.from_features()
        self.output.mkdir(parents=True, exist_ok=True)
        path = self.output / f"suspects.{self.table}"
        aum.save(ranked, path)
        files = [path]
        images = self._images(found) if self.data is not None else None
        if images is not None:
            files += figure.save(self._sheet(ranked, found, images), self.output / "suspects")
        self._say(ranked, files, images is not None)
        return files

    def from_features(self) -> tuple["pd.DataFrame", LabelledData]:
        """Train and rank."""
        assert self.data is not None and self.epochs is not None
        found = read_features(self.data, self.label, self.id)
        outputs = len(found.classes)
        total = np.zeros((len(found.labels), outputs + 1))

        def observe(run: int, epoch: int, scores: np.ndarray, rows: np.ndarray) -> None:
            total[rows] += scores

        options: dict[str, Any] = {"learning_rate": self.learning_rate, "batch": self.batch, "seed": self.seed}
        train = aum.trainer(self._scaled(found), observe=observe, **options)
        with one_thread():
            table = aum.rank_labels(train, found.labels, outputs, stop=self.epochs, rules=self.chosen, seed=self.seed)
        return _named(table, found, total[:, :-1]), found

    def from_logits(self) -> tuple["pd.DataFrame", LabelledData]:
        """Rank by saved logits."""
        assert self.logits is not None and self.epochs is not None
        found = read_logits(self.logits)
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
        return _named(table, found, means), found

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
            if int(np.prod(self.image_shape)) != size or len(self.image_shape) not in (2, 3):
                remedy = "give height and width, perhaps 3"
                checks.fail("image_shape", f"two or three numbers with product {size}", self.image_shape, remedy)
            return found.values.reshape(-1, *self.image_shape)
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
        captions = [f"{label}, {like}?" for label, like in zip(top["label"], top["looks_like"], strict=True)]
        title = "lowest AUM first: label given, and the class that the networks prefer"
        return image_sheet.sheet(pixels, captions, title=title)

    def _say(self, ranked: "pd.DataFrame", files: list[Path], images: bool) -> None:
        console = report.terminal()
        cuts = [f"{ranked[name].iloc[0]:.4g}" for name in ranked if str(name).startswith("cut_")]
        console.print(
            f"{len(ranked)} labels, {int(ranked['suspect'].sum())} suspects, cut {' and '.join(cuts) or 'none'}"
        )
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
        0; 2 for files or settings that can't be used.
    """
    import tyro

    try:
        tyro.cli(SuspectLabels, args=arguments, prog="python -m simulations.suspect_labels").run()
    except checks.InvalidInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: output: expected a folder that can be written, got {error}; choose another", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(command())
