"""AUM in scikit-learn's manner: `fit` trains and ranks, `score_samples` gives the AUMs of the training samples."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator

from theory import checks
from theory.arrays import Array
from theory.aum.ranking import rank_labels
from theory.aum.threshold import PAPER, Rules
from theory.aum.training import trainer
from theory.margin import numbered


class MarginRanking(BaseEstimator):
    """Rank training labels by their area under the margin.

    Args:
        stop: the last epoch that counts, where the learning rate would drop for the first time; required, because
            training on destroys the ranking.
        network: (outputs, seed) -> a fresh torch network; a perceptron with two hidden layers of 128 if left out.
        learning_rate: constant.
        batch: examples per step.
        rules: what the method leaves open: `PAPER`, `RELEASED`, or `Rules` of your own.
        seed: of threshold samples, weights and batches.

    Attributes:
        ranking_: the table of `rank_labels`, with the labels as given.
        aum_: AUM of each sample, in the order of `fit` (NaN where it was a threshold sample in every run), (n,).
        suspect_: which labels are suspected, bool (n,).
        classes_: the distinct labels, (c,).
        n_features_in_: features of an example.

    Example:
        >>> X = np.repeat(np.eye(3), 40, axis=0) + 0.01 * np.arange(120)[:, None] % 0.1
        >>> y = np.repeat(["a", "b", "c"], 40)
        >>> y[5] = "b"
        >>> found = MarginRanking(stop=10).fit(X, y)
        >>> int(found.score_samples(X).argmin())
        5
    """

    def __init__(
        self,
        *,
        stop: int,
        network: Callable[[int, int], torch.nn.Module] | None = None,
        learning_rate: float = 0.1,
        batch: int = 32,
        rules: Rules = PAPER,
        seed: int = 0,
    ) -> None:
        self.stop = stop
        self.network = network
        self.learning_rate = learning_rate
        self.batch = batch
        self.rules = rules
        self.seed = seed

    def fit(self, X: Array, y: Any) -> "MarginRanking":
        """Train one network per run on examples X (n, ...) and their labels y (n,), of any kind, and rank the labels.

        Raises:
            InvalidInput: different lengths, one class only, NaN, settings out of range.
        """
        labels = np.asarray(y)
        checks.vector("y", labels, length=len(X))
        classes, numbers = numbered("y", labels)
        train = trainer(X, self.network, learning_rate=self.learning_rate, batch=self.batch, seed=self.seed)
        table = rank_labels(train, numbers, len(classes), stop=self.stop, rules=self.rules, seed=self.seed)
        rows = table["id"].to_numpy()
        table["label"] = classes[table["label"]]
        self.ranking_, self.classes_ = table, classes
        self.aum_, self.suspect_ = np.empty(len(labels)), np.empty(len(labels), dtype=bool)
        self.aum_[rows], self.suspect_[rows] = table["aum"], table["suspect"]
        self.n_features_in_ = int(np.prod(np.shape(X)[1:]))
        self._fitted = np.array(X, copy=True)
        return self

    def score_samples(self, X: Array) -> np.ndarray:
        """AUM of each training sample (n,); the lower, the more suspicious. X must be that of `fit`, row by row.

        AUM belongs to a sample that the network was trained on, so other samples have none.

        Raises:
            InvalidInput: not fitted, or other samples.
        """
        if not hasattr(self, "aum_"):
            checks.fail("estimator", "a fitted one", "one that is not", "call fit(X, y)")
        if not np.array_equal(np.asarray(X), self._fitted):
            checks.fail("X", "the samples of fit", "others", "AUM is recorded while training: fit them")
        return self.aum_

    def fit_predict(self, X: Array, y: Any) -> np.ndarray:
        """Fit, and return -1 for suspected labels, 1 for the others, (n,); scikit-learn's convention for outliers."""
        return np.where(self.fit(X, y).suspect_, -1, 1)
