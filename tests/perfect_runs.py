"""Perfectly clustered sets with corrupted labels and descent on them, as the tests of C1 and C2 want them."""

import numpy as np

from theory import clusterable, descent, label_noise
from theory.networks import TwoLayer


def problem(radius=0.0, rate=0.2, seed=0):
    """Two orthogonal centres, ten points each, two classes; of the labels a share `rate` is corrupted."""
    data = clusterable.generate(centres=np.eye(2, 3), per_cluster=10, classes=2, radius=radius, seed=seed)
    return data, label_noise.corrupt(data, rate, seed=seed)


def trained(data, labels, activation="softplus", width=512, paired=True, steps=120, factor=0.9, seed=0):
    """Descent with a step of `factor` times the largest that C2 allows."""
    network = TwoLayer.initialise(width, data.dimension, activation, paired=paired, seed=seed)
    step = factor / network.jacobian_bound(data.X) ** 2
    return descent.train(network, data.X, labels.y, step=step, steps=steps, record=12)


def judge(check, run, data, labels):
    """The verdicts of `check_perfect_clusters` or `check_exact_recovery` on a run."""
    return check(run, data.X, data.clusters, data.y, labels.y)
