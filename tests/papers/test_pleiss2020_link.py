"""A5, the link: a trained network within what its kernel predicts, the window, the limit, the rates; broken ones."""

import dataclasses

import numpy as np
import pytest
import torch
from judging import again, judged

from theory import aum, clusterable, covariance, descent, label_noise
from theory.checks import InvalidInput
from theory.estimate import Estimate
from theory.networks import TwoLayer
from theory.papers.pleiss2020 import link, link_claims
from theory.papers.pleiss2020.link import (
    A5,
    Course,
    check_limit,
    check_link,
    experiment_link,
    follow,
    limit_auc,
    predict,
)
from theory.verdict import Status

HOLDS, VIOLATED, OUT_OF_SCOPE = Status.HOLDS, Status.VIOLATED, Status.OUT_OF_SCOPE


@pytest.fixture(scope="module")
def case():
    """A noisy clusterable set, a trained network, its kernel's prediction: 200 steps."""
    data = clusterable.generate(2, 2, 6, per_cluster=15, radius=0.4, minimum_separation=0.8, seed=3)
    noisy = label_noise.corrupt(data, 0.2, seed=3)
    network = TwoLayer.initialise(512, 6, "erf", paired=True, seed=3)
    K = covariance.empirical_kernel(data.X, network)
    step = 0.9 / float(np.linalg.eigvalsh(K)[-1])
    return data, noisy, K, step, network


@pytest.fixture(scope="module")
def courses(case):
    data, noisy, K, step, network = case
    options = {"step": step, "steps": 200}
    return follow(network, data.X, data.y, noisy.y, **options), predict(K, data.y, noisy.y, **options)


def test_a_network_keeps_to_its_prediction(courses):
    network, linear = courses
    verdicts = check_link(network, linear)
    assert judged(verdicts, "A5.window") == judged(verdicts, "A5.auc") == HOLDS
    assert judged(verdicts, "A5.separates") in (HOLDS, OUT_OF_SCOPE)
    epochs = np.array([1, 5, 20, 80, 200])
    np.testing.assert_allclose(network.aucs(epochs), linear.aucs(epochs), atol=0.03)
    assert np.abs(network.areas(epochs) - linear.areas(epochs)).max() < 0.3


def test_the_course_is_what_the_library_says_elsewhere(case, courses):
    data, noisy, K, step, start = case
    network, linear = courses
    run = descent.train(start, data.X, noisy.y, step=step, steps=200, record=[7])
    np.testing.assert_allclose(network.outputs[7], run.predictions[list(run.steps).index(7)], atol=1e-12)
    np.testing.assert_allclose(
        linear.areas([7, 200]), aum.linearised(K, noisy.y, step, [7, 200], coding="signs"), atol=1e-10
    )
    record = aum.Accumulator(stop=5)
    for t in range(1, 6):
        f = network.outputs[t]
        record.update(np.column_stack([-f, f]), (noisy.y > 0).astype(int), np.arange(len(f)))
        record.end_epoch()
    by_hand = record.table().set_index("id")["aum"].sort_index().to_numpy()
    np.testing.assert_allclose(network.areas([5])[0], by_hand, atol=1e-12)


def test_inside_the_window_aum_separates():
    """Perfectly tight clusters keep the window open from the first step; broken outputs are caught."""
    data = clusterable.generate(2, 2, 5, per_cluster=10, radius=0.01, minimum_separation=1.0, seed=1)
    noisy = label_noise.corrupt(data, 0.2, seed=1)
    K = covariance.neural_covariance(data.X, "erf")
    linear = predict(K, data.y, noisy.y, step=0.5 / float(np.linalg.eigvalsh(K)[-1]), steps=60)
    assert linear.window.inside[1:].all() and set(linear.aucs([1, 10, 60])) == {1.0}
    verdicts = check_link(linear, linear)
    assert judged(verdicts, "A5.separates") == HOLDS
    assert again(verdicts, "A5.separates", N=0.99).status == VIOLATED
    assert again(verdicts, "A5.separates", inside=0).status == OUT_OF_SCOPE


def test_a_network_that_is_not_the_kernels_is_caught(courses):
    network, linear = courses
    verdicts = check_link(network, linear)
    small = Estimate.computed(np.full(verdicts[0].statuses.shape, 1e-9), error=0)
    assert again(verdicts, "A5.window", gap=small).status == VIOLATED
    wrong = np.flatnonzero(network.mislabeled)
    scrambled = network.outputs.copy()
    scrambled[:, wrong] = 5 * network.observed[wrong]  # what is mislabeled is learnt at once
    broken = dataclasses.replace(network, outputs=scrambled)
    rows = check_link(broken, linear)
    assert judged(rows, "A5.auc") == HOLDS  # the gap has grown with it: the bound knows
    honest = verdicts[1].inputs["close"]
    assert again(rows, "A5.auc", close=honest).status == VIOLATED


def test_one_pair_of_labels_by_hand():
    """AUMs 0 and 1.9 predicted, 1 and .9 measured: an error of 1 turns a pair round whose AUMs differ by 1.9."""
    truth, observed = np.ones(2), np.array([-1.0, 1.0])
    linear = Course(np.array([[0.0, 0.0], [0.0, 0.95]]), truth, observed)
    network = Course(np.array([[0.0, 0.0], [-0.5, 0.45]]), truth, observed)
    assert linear.areas([1]).tolist() == [[0.0, 1.9]] and network.areas([1]).tolist() == [[1.0, 0.9]]
    verdicts = check_link(network, linear)
    assert judged(verdicts, "A5.auc") == HOLDS
    values = {name: verdicts[1].inputs[name].value[0] for name in ("N", "P", "close")}
    assert values == {"N": 0, "P": 1, "close": 1}
    for output, inside in ((0.05, True), (-0.05, False)):  # within 1 of the true label 1
        assert Course(np.full((2, 2), output), truth, observed).window.inside.tolist() == [inside] * 2


def test_the_limit():
    rng = np.random.default_rng(4)
    J = rng.standard_normal((12, 14))
    K, y = J @ J.T / 14, rng.choice([-1.0, 1.0], 12)
    values = np.linalg.eigvalsh(K)
    step = 0.8 / values[-1]
    slow = 1 / (step * values[0])
    epochs = [int(slow * times) + 1 for times in (0.3, 1, 3)]
    verdicts = check_limit(K, y, step, epochs)
    assert verdicts[0].status == HOLDS and verdicts[0].statuses.shape == (3, 12)
    alone = check_limit([[2.0]], [1.0], 0.3, [1, 2, 5])[0]  # one example attains the bound at every T
    sides = np.abs(alone.inputs["D"].value - alone.inputs["L"].value), alone.right.value
    np.testing.assert_allclose(*sides, rtol=1e-9)
    off = Estimate.computed(np.asarray(verdicts[0].inputs["L"].value) * 1.5 + 1, error=1e-9)
    assert again(verdicts, "A5.limit", L=off).status == VIOLATED
    assert check_limit(K, y, 1.5 / values[-1], epochs)[0].status == OUT_OF_SCOPE
    assert check_limit(np.ones((3, 3)), [1.0, -1.0, 1.0], 0.2, [5])[0].status != HOLDS  # singular


def test_the_limiting_ranking_is_that_of_leave_one_out_errors():
    rng = np.random.default_rng(5)
    J = rng.standard_normal((20, 25))
    K = J @ J.T / 25
    truth = np.sign(J[:, 0])
    y = truth.copy()
    y[:5] *= -1
    left_out = []
    for i in range(20):
        rest = np.delete(np.arange(20), i)
        left_out.append(y[i] * (y[i] - K[i, rest] @ np.linalg.solve(K[np.ix_(rest, rest)], y[rest])))
    inverse = np.linalg.inv(K)
    np.testing.assert_allclose(y * np.linalg.solve(K, y), np.array(left_out) * np.diag(inverse), rtol=1e-8)
    late = aum.linearised(K, y, 1 / np.linalg.eigvalsh(K)[-1], [10**9], coding="signs")[0]
    # at T = 10^9 AUM is 2 to eight digits; what is left of its order is the limit's
    assert abs(float(aum.auc(late, truth != y)) - limit_auc(K, truth, y)) < 0.03
    with pytest.raises(InvalidInput, match="singular"):
        limit_auc(np.ones((20, 20)), truth, y)


def test_rates():
    own, limiting = link.prediction_errors((64, 512), 5, seed=int(np.random.default_rng().integers(10**5)))
    widths = np.array([64, 512])
    assert link_claims.WIDTH.check(q=Estimate.exponent(widths, own)).status != VIOLATED
    assert link_claims.WIDTH_LIMIT.check(q=Estimate.exponent(widths, limiting)).status != VIOLATED
    assert link_claims.WIDTH.check(q=Estimate.exponent(widths, np.array([widths**-0.5] * 3))).status == VIOLATED
    assert (own[:, 1] < limiting[:, 1]).all()


def test_experiment():
    verdicts = experiment_link(seed=int(np.random.default_rng().integers(10**5)))
    assert {verdict.claim for verdict in verdicts} == set(A5.members) and not verdicts.unexpected()
    for name in ("A5.window", "A5.auc", "A5.limit"):
        assert judged(verdicts, name) == HOLDS


@pytest.mark.slow
def test_experiment_at_full_size():
    verdicts = experiment_link("full")
    assert not verdicts.unexpected()
    for name in ("A5.window", "A5.auc", "A5.limit", "A5.width", "A5.width_limit"):
        assert judged(verdicts, name) == HOLDS


def test_last_epoch():
    assert link.last_epoch(np.array([1, 2, 4]), np.array([1.0, 0.98, 0.995])) == 4
    assert link.last_epoch(np.array([1, 2]), np.array([0.5, 0.6])) is None


def test_bad_input(case, courses):
    data, noisy, K, step, start = case
    network, _ = courses
    for call in (
        lambda: predict(K, data.y, data.y, step=step, steps=5),
        lambda: predict(K, data.y, noisy.y * 2, step=step, steps=5),
        lambda: predict(K, data.y, noisy.y, step=step, steps=0),
        lambda: predict(K, data.y, noisy.y, step=-1.0, steps=5),
        lambda: follow(start, data.X, data.y, data.y, step=0.1, steps=2),
        lambda: follow(start, data.X, data.y, noisy.y, step=0.1, steps=0),
        lambda: check_link(network, predict(K, data.y, noisy.y, step=step, steps=5)),
    ):
        with pytest.raises(InvalidInput):
            call()
    assert predict(torch.from_numpy(np.asarray(K)), data.y, noisy.y, step=step, steps=2).steps == 2
