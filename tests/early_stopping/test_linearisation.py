"""Closed forms of linearised descent against explicit powers and real descent."""

import math

import mpmath
import numpy as np
import pytest
import torch

from theory import decomposition, descent, early_stopping
from theory.checks import InvalidInput


def kernel(n=6, rank=4, seed=0):
    draw = np.random.default_rng(seed)
    J = draw.normal(size=(n, rank))
    return J @ J.T, draw.normal(size=n), draw.normal(size=n), draw.normal(size=n)


@pytest.mark.parametrize("share", [0.01, 0.4, 0.5, 0.9, 1.0, 1.05])  # of 2/lambda_max: from monotone to growing
def test_linearised_descent_is_powers_of_a_matrix(share):
    K, r0, truth, noise = kernel()
    step = share * 2 / np.linalg.eigvalsh(K)[-1]
    M, taus = np.eye(6) - step * K, [0, 1, 2, 3, 10, 31]
    powers = [np.linalg.matrix_power(M, tau) for tau in taus]
    residuals = early_stopping.linearised(K, r0, step, taus)
    np.testing.assert_allclose(residuals, [power @ r0 for power in powers], rtol=1e-11, atol=1e-12)
    errors = early_stopping.linearised_error(K, r0, truth, noise, step, taus)
    wanted = [power @ (r0 - truth) + (np.eye(6) - power) @ noise for power in powers]
    np.testing.assert_allclose(errors, wanted, rtol=1e-11, atol=1e-11)
    J = np.linalg.svd(K)[0][:, :4] * np.sqrt(np.linalg.svd(K)[1][:4])
    moved = [
        step * np.linalg.norm(J.T @ sum((np.linalg.matrix_power(M, s) @ r0 for s in range(tau)), 0 * r0))
        for tau in taus
    ]
    np.testing.assert_allclose(early_stopping.linearised_distance(K, r0, step, taus), moved, rtol=1e-11, atol=1e-13)


def test_linearised_descent_is_descent_on_a_linear_model():
    draw = np.random.default_rng(1)
    X, truth, noise = draw.normal(size=(7, 4)), draw.normal(size=7), draw.normal(size=7)
    model = torch.nn.Linear(4, 1, bias=False).double()
    f0 = model(torch.from_numpy(X)).detach().numpy()[:, 0]
    K, step = X @ X.T, 0.6 * descent.largest_step(model, X)
    result = descent.train(model, X, truth + noise, step=step, steps=500, record=40)
    wanted = early_stopping.linearised(K, f0 - truth - noise, step, result.steps)
    np.testing.assert_allclose(wanted, result.residuals, atol=1e-11)
    errors = early_stopping.linearised_error(K, f0, truth, noise, step, result.steps)
    np.testing.assert_allclose(errors, result.predictions - truth, atol=1e-11)
    distance = early_stopping.linearised_distance(K, f0 - truth - noise, step, result.steps)
    np.testing.assert_allclose(distance, result.distance, atol=1e-11)
    off = early_stopping.linearised(K, f0 - truth - noise, 1.01 * step, result.steps)
    assert np.abs(off - result.residuals).max() > 1e-4


@pytest.mark.parametrize("x", [1e-18, 1e-12, 1e-3, 1 - 2**-40, 1.0, 1 + 2**-40, 1.5, 2 - 2**-40, 2.0])
@pytest.mark.parametrize("tau", [0, 1, 2, 7, 1000, 1001, 10**6])
def test_the_distance_keeps_all_its_digits(x, tau):
    with mpmath.workdps(60):
        wanted = abs(1 - (1 - mpmath.mpf(x)) ** tau) / mpmath.sqrt(x)
    got = early_stopping.linearised_distance([[x]], [1.0], 1.0, [tau])[0]
    assert got == pytest.approx(float(wanted), rel=1e-12)


def test_linearised_kinds_and_refusals():
    K, r0, *_ = kernel()
    single = torch.from_numpy(K).float()
    result = early_stopping.linearised(single, r0, 0.01, [0, 3])
    assert result.dtype == torch.float32 and result.shape == (2, 6)
    for arguments, message in [
        ((K[:5], r0, 0.1, [1]), "K0: expected shape"),
        ((K, r0[:5], 0.1, [1]), "expected shape"),
        ((K + np.triu(np.ones((6, 6)), 1), r0, 0.1, [1]), "symmetric"),
        ((-K, r0, 0.1, [1]), "no negative"),
        ((K, r0, 0.0, [1]), "step"),
        ((K, r0, 0.1, [-1]), "taus"),
        ((K, r0, 0.1, [0.5]), "taus"),
        ((K * math.nan, r0, 0.1, [1]), "K0: expected finite"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            early_stopping.linearised(*arguments)


def test_one_eigendecomposition_answers_everything(monkeypatch):
    made, eigenvectors = [], decomposition.eigenvectors
    monkeypatch.setattr(decomposition, "eigenvectors", lambda K: made.append(K.shape) or eigenvectors(K))
    K, r0, truth, noise = kernel()
    linear = early_stopping.Linearisation(K)
    for call in (
        lambda: linear.residuals(r0[:5], 0.1, [1]),
        lambda: linear.errors(r0, truth, noise[:5], 0.1, [1]),
        lambda: linear.distance(r0, -1.0, [1]),
        lambda: linear.distance(r0, 0.1, [0.5]),
        lambda: early_stopping.Linearisation(K + np.triu(np.ones((6, 6)), 1)),
    ):
        with pytest.raises(InvalidInput):
            call()
    assert not made  # a bad call costs nothing
    for taus in ([0, 1], [0, 4, 9]):
        assert np.array_equal(linear.residuals(r0, 0.01, taus), early_stopping.linearised(K, r0, 0.01, taus))
        wanted = early_stopping.linearised_error(K, r0, truth, noise, 0.01, taus)
        assert np.array_equal(linear.errors(r0, truth, noise, 0.01, taus), wanted)
        wanted = early_stopping.linearised_distance(K, r0, 0.01, taus)
        assert np.array_equal(linear.distance(r0, 0.01, taus), wanted)
    assert len(made) == 1 + 6
    values, vectors = linear.eigen
    assert (values >= 0).all() and torch.allclose(vectors * values @ vectors.T, torch.from_numpy(K), atol=1e-12)
    single = early_stopping.Linearisation(torch.from_numpy(K).float())
    assert single.distance(r0, 0.01, [3]).dtype == torch.float32


def test_stopping_window():
    errors = np.array([[0.9, 0.1], [0.2, -0.3], [0.1, -0.5], [0.4, 0.4]])
    window = early_stopping.stopping_window(errors, [0, 1, 5, 9], 1.0)
    assert window.inside.tolist() == [False, True, False, True]  # the window is open: 0.5 is outside
    assert (window.first, window.last, window.is_interval) == (1, 9, False)
    assert early_stopping.stopping_window(errors, [0, 1, 5, 9], 1.01).is_interval
    empty = early_stopping.stopping_window(errors, [0, 1, 5, 9], 0.1)
    assert (empty.first, empty.last, empty.is_interval) == (None, None, True)
    for taus, delta in [([0, 1, 5], 1.0), ([0, 5, 1, 9], 1.0), ([0, 1, 5, 9], 0.0)]:
        with pytest.raises(InvalidInput):
            early_stopping.stopping_window(errors, taus, delta)
