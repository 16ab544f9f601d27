"""Area under the margin (AUM): which labels of a training set are probably wrong.

The margin of a sample is its assigned logit minus the largest other one; AUM is its mean over the epochs of training up
to the first drop of the learning rate. Samples of the same class pull a wrongly labelled one towards its true class, so
its AUM is low; a cut comes from threshold samples, which get a fake class of their own. Cf. Pleiss et al. (2020).

In a training loop of your own (two lines):
    >>> record = Accumulator(stop=1)
    >>> for logits, labels, ids in [([[3.0, 1.0]], [0], [7]), ([[3.0, 1.0]], [1], [8])]:   # your batches
    ...     record.update(logits, labels, ids)
    >>> record.end_epoch()
    >>> record.table()["aum"].tolist()
    [-2.0, 2.0]

`watch` does the same for a DataLoader, `rank_labels` runs the whole procedure with threshold samples, `MarginRanking`
wraps it in scikit-learn's manner, and `linearised` is the closed form under kernel gradient descent.
"""

import importlib
from typing import Any

from theory.aum.accumulator import Accumulator
from theory.aum.ranking import Train, auc, load, rank, rank_labels, save
from theory.aum.threshold import PAPER, RELEASED, Rules, cut, cut_index, draw, relabel, suspected

_LATER = {
    "watch": "watching",
    "Watch": "watching",
    "perceptron": "training",
    "trainer": "training",
    "MarginRanking": "estimator",
}
_LATER |= {name: "kernel_descent" for name in ("linearised", "linearised_logits", "mean_decay")}

__all__ = [
    "PAPER",
    "RELEASED",
    "Accumulator",
    "MarginRanking",
    "Rules",
    "Train",
    "Watch",
    "auc",
    "cut",
    "cut_index",
    "draw",
    "linearised",
    "linearised_logits",
    "load",
    "mean_decay",
    "perceptron",
    "rank",
    "rank_labels",
    "relabel",
    "save",
    "suspected",
    "trainer",
    "watch",
]


def __getattr__(name: str) -> Any:
    """What needs torch or scikit-learn loads when it is first used."""
    if name in _LATER:
        return getattr(importlib.import_module(f"theory.aum.{_LATER[name]}"), name)
    raise AttributeError(f"module 'theory.aum' has no attribute {name!r}")
