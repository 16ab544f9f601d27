"""What the runs of a margin ranking leave behind: margins, losses and logits of every sample at every epoch."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from theory import aum, minibatch, seeding
from theory.aum.training import perceptron
from theory.margin import margins

if TYPE_CHECKING:
    import pandas as pd


class MarginLog:
    """Train the runs of a ranking once, and rank by as many of their epochs as one likes.

    Args:
        X: examples (n, d), float32, features of order one.
        labels: assigned classes (n,).
        classes: c.
        epochs: to train, at least two.
        rules: of the method.
        seed: of threshold samples, weights and batches.
        **training: `learning_rate` and `batch` of `minibatch.epochs`.

    Attributes:
        sets: rows of the threshold samples of each run.
        labels: assigned classes in each run, the fake one among them, (runs, n).
        margins: (runs, epochs, n).
        losses: cross-entropy of the assigned class, (runs, epochs, n) [nats].
        logits: of the first run, (epochs, n, c + 1).
    """

    def __init__(
        self,
        X: np.ndarray,
        labels: np.ndarray,
        classes: int,
        epochs: int,
        rules: aum.Rules = aum.PAPER,
        seed: int = 0,
        **training: Any,
    ) -> None:
        n = len(labels)
        self.rules = rules
        self.sets = aum.draw(n, classes, rules, seed)
        self.labels = np.array([aum.relabel(labels, rows, classes) for rows in self.sets])
        self.margins = np.full((rules.runs, epochs, n), np.nan, np.float32)
        self.losses = np.full_like(self.margins, np.nan)
        self.counted = np.array([~np.isin(np.arange(n), rows) for rows in self.sets])
        for run, own in enumerate(self.labels):
            logits = self._train(
                X,
                own,
                classes + 1,
                epochs,
                int(seeding.numpy_generator(f"training run {run}", seed).integers(2**31)),
                training,
            )
            for epoch, scores in enumerate(logits):
                self.margins[run, epoch] = margins(scores, own)
                top = scores.max(axis=1, keepdims=True)
                partition = top[:, 0] + np.log(np.exp(scores - top).sum(axis=1))
                self.losses[run, epoch] = partition - scores[np.arange(n), own]
            if run == 0:
                self.logits = logits

    @staticmethod
    def _train(X: np.ndarray, y: np.ndarray, outputs: int, epochs: int, seed: int, training: Any) -> np.ndarray:
        """Logits of the training forward passes, (epochs, n, outputs)."""
        logits = np.full((epochs + 1, len(y), outputs), np.nan, np.float32)
        made = [0]

        def observe(scores: torch.Tensor, rows: torch.Tensor) -> None:
            logits[made[0], rows.numpy()] = scores.numpy()

        network = perceptron(X.shape[1], outputs, seed=seed)
        for now in minibatch.epochs(network, X, y, momentum=0.0, seed=seed, observe=observe, **training):
            made[0] = now.number
            if now.number == epochs:
                return logits[:epochs]
        return logits

    def run_areas(self, stop: int) -> np.ndarray:
        """AUM of every sample after `stop` epochs in each run, threshold samples too, (runs, n)."""
        return self.margins[:, self.rules.skip : stop].mean(axis=1, dtype=np.float64)

    def areas(self, stop: int) -> np.ndarray:
        """Mean AUM over the runs in which each sample was no threshold sample, (n,)."""
        return self._mean(self.run_areas(stop))

    def losses_at(self, stop: int) -> np.ndarray:
        """Loss of each sample in the last of `stop` epochs, mean over the same runs, (n,): the small-loss ranking."""
        return self._mean(self.losses[:, stop - 1].astype(np.float64))

    def mean_losses(self, stop: int) -> np.ndarray:
        """Loss of each sample, mean over `stop` epochs and the same runs, (n,)."""
        return self._mean(self.losses[:, :stop].mean(axis=1, dtype=np.float64))

    def ranking(self, stop: int) -> "pd.DataFrame":
        """The ranking after `stop` epochs, in the order of the samples."""
        runs = []
        for values in self.margins:
            record = aum.Accumulator(stop=stop, skip=self.rules.skip)
            for row in values[:stop]:  # two logits with the same margin
                record.update(np.column_stack([row, 0 * row]), np.zeros(len(row), int), np.arange(len(row)))
                record.end_epoch()
            runs.append(record)
        return aum.rank(runs, self.sets, self.rules).sort_values("id", ignore_index=True)

    def _mean(self, values: np.ndarray) -> np.ndarray:
        return np.where(self.counted, values, 0).sum(axis=0) / self.counted.sum(axis=0)
