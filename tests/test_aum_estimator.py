"""scikit-learn's manner: clone and parameters, any labels, scores of the samples that were fitted and no others."""

import numpy as np
import pytest
import torch
from sklearn.base import clone

from theory import aum
from theory.aum import MarginRanking, Rules
from theory.checks import InvalidInput


def data(seed=0, n=150):
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 3
    X = np.eye(3)[truth] + 0.1 * rng.standard_normal((n, 3))
    y = np.array(["ape", "bee", "cow"])[truth]
    y[:9] = np.array(["ape", "bee", "cow"])[(truth[:9] + 1) % 3]
    return X, y


def test_fit_and_score():
    X, y = data()
    found = MarginRanking(stop=10, seed=1).fit(X, y)
    scores = found.score_samples(X)
    assert scores.shape == (150,) and found.classes_.tolist() == ["ape", "bee", "cow"] and found.n_features_in_ == 3
    wrong = np.arange(150) < 9
    assert float(aum.auc(scores, wrong)) > 0.95
    table = found.ranking_.set_index("id").sort_index()
    assert (table["label"] == y).all() and np.array_equal(table["aum"], scores, equal_nan=True)
    assert np.array_equal(table["suspect"], found.suspect_)
    flags = MarginRanking(stop=10, seed=1).fit_predict(X, y)
    assert set(flags) == {-1, 1} and np.array_equal(flags == -1, found.suspect_)


def test_parameters():
    estimator = MarginRanking(stop=3, rules=Rules(runs=1), batch=8)
    assert clone(estimator).get_params() == estimator.get_params()
    assert estimator.set_params(stop=4).stop == 4
    with pytest.raises(TypeError, match="stop"):
        MarginRanking()


def test_a_network_of_ones_own_and_images():
    made = []

    def network(outputs, seed):
        made.append((outputs, seed))
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, outputs)).double()

    X = np.random.default_rng(0).standard_normal((60, 1, 4, 4))
    found = MarginRanking(stop=2, network=network).fit(X, np.arange(60) % 2)
    assert [outputs for outputs, _ in made] == [3, 3] and made[0] != made[1] and found.n_features_in_ == 16


def test_refusals():
    X, y = data()
    fitted = MarginRanking(stop=2).fit(X, y)
    for call, words in (
        (lambda: MarginRanking(stop=2).score_samples(X), "fitted"),
        (lambda: fitted.score_samples(X[::-1]), "samples of fit"),
        (lambda: fitted.score_samples(X[:5]), "samples of fit"),
        (lambda: MarginRanking(stop=2).fit(X, y[:5]), "y: expected shape"),
        (lambda: MarginRanking(stop=2).fit(X, np.zeros(150)), "at least two classes"),
        (lambda: MarginRanking(stop=0).fit(X, y), "stop"),
        (lambda: MarginRanking(stop=2).fit(X * np.nan, y), "X"),
        (lambda: MarginRanking(stop=2, learning_rate=0).fit(X, y), "learning_rate"),
    ):
        with pytest.raises(InvalidInput, match=words):
            call()
