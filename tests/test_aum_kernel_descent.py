"""Closed forms of kernel descent: against descent, in 700 digits, in fractions; figures of the one-class model."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from theory.aum import linearised, linearised_logits, mean_decay
from theory.checks import InvalidInput
from theory.margin import margins
from theory.papers.pleiss2020.kernel_descent import random_problem


def descend(K, labels, step, epochs, coding, classes, convention, start=None):
    """Mean logits and AUM by descent, in plain numpy."""
    Y = labels[:, None] if coding == "signs" else np.eye(classes)[labels]
    F = np.zeros_like(Y, dtype=float) if start is None else start.copy()
    total, area = np.zeros_like(F), np.zeros(len(Y))
    for _ in range(epochs):
        moved = F - step * (K @ (F - Y))
        seen = moved if convention == "post" else F
        logits = np.hstack([-seen, seen]) if coding == "signs" else seen
        own = (labels > 0).astype(int) if coding == "signs" else labels
        total, area, F = total + seen, area + margins(logits, own), moved
    return total / epochs, area / epochs


@settings(max_examples=250)
@given(st.integers(0, 2**32 - 1))
def test_any_kernel_any_step(seed):
    problem = random_problem(np.random.default_rng(seed))
    means, areas = descend(**problem) if "start" in problem else descend(**problem, start=None)
    epochs, options = [1, problem.pop("epochs")], problem
    if options["coding"] == "signs":
        options.pop("classes")
    scale = max(1.0, np.abs(means).max(), np.abs(areas).max())
    found = linearised_logits(epochs=epochs, **options)[1]
    np.testing.assert_allclose(found.reshape(means.shape), means, atol=1e-10 * scale)
    np.testing.assert_allclose(linearised(epochs=epochs, **options)[1], areas, atol=1e-10 * scale)


@pytest.mark.parametrize("convention", ["post", "pre"])
@pytest.mark.parametrize("T", [1, 2, 7, 100, 10**6, 10**9])
def test_both_the_mean_and_its_complement_keep_their_digits(T, convention):
    x = [0.0, 1e-300, 1e-18, 1e-12, 1e-8, 1e-4, 0.1, 0.49, 0.51, 1 - 1e-12, 1.0, 1.2, 1.5, 1.9, 2.0, -1e-12, -1e-10 / T]
    x += [2 - 1e-13, 2 - 1e-9, 2 - 1e-4]  # the residual turns round at every step and hardly shrinks
    g, complement = mean_decay(x, [T], convention)
    for value, mean, rest in zip(x, g[0], complement[0], strict=True):
        with mpmath.workdps(700):
            r = 1 - mpmath.mpf(value)
            wanted = (1 - r**T) / (T * (1 - r)) if value else mpmath.mpf(1)
            wanted = r * wanted if convention == "post" else wanted
            left = 1 - wanted
        assert mean == pytest.approx(float(wanted), rel=1e-11, abs=1e-300), value
        assert rest == pytest.approx(float(left), rel=1e-11, abs=1e-300), value


def test_the_naive_form_loses_digits_where_ours_does_not():
    x, T = 1e-8, 50
    with mpmath.workdps(60):
        wanted = float((1 - (1 - mpmath.mpf(x)) ** T) / (T * mpmath.mpf(x)))
    naive = (1 - (1 - x) ** T) / (T * x)
    assert abs(naive / wanted - 1) > 1e-10 > 1e-14 > abs(mean_decay([x], [T], "pre")[0][0, 0] / wanted - 1)


@given(st.integers(0, 10**6), st.integers(1, 25), st.sampled_from(["post", "pre"]))
@settings(max_examples=40)
def test_exactly_in_fractions(seed, T, convention):
    """A kernel with rational eigenvectors (Cayley's transform): descent in fractions, and the closed form beside it."""
    rng = np.random.default_rng(seed)
    half = [[Fraction(0), Fraction(int(rng.integers(-4, 5)), 3)], [None, Fraction(0)]]
    t = half[0][1]
    Q = [[(1 - t * t) / (1 + t * t), -2 * t / (1 + t * t)], [2 * t / (1 + t * t), (1 - t * t) / (1 + t * t)]]
    lam = [Fraction(int(rng.integers(0, 9)), 4) for _ in range(2)]
    K = [[sum(Q[i][k] * lam[k] * Q[j][k] for k in range(2)) for j in range(2)] for i in range(2)]
    s, eta = [int(v) for v in rng.choice([-1, 1], 2)], Fraction(int(rng.integers(1, 6)), 7)
    f, total = [Fraction(0)] * 2, [Fraction(0)] * 2
    for _ in range(T):
        moved = [f[i] - eta * sum(K[i][j] * (f[j] - s[j]) for j in range(2)) for i in range(2)]
        seen = moved if convention == "post" else f
        total, f = [a + b for a, b in zip(total, seen, strict=True)], moved
    wanted = [float(2 * s[i] * total[i] / T) for i in range(2)]
    options = {"coding": "signs", "convention": convention}
    found = linearised(np.array(K, dtype=float), s, float(eta), [T], **options)[0]
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)


def test_logging_before_and_skipping_the_first_epoch_is_logging_after():
    rng = np.random.default_rng(0)
    J = rng.standard_normal((6, 4))
    K, y = J @ J.T, rng.integers(0, 3, 6)
    T = np.array([2, 5, 12])
    pre = linearised(K, y, 0.05, T, convention="pre", classes=3) * T[:, None]
    first = linearised(K, y, 0.05, [1], convention="pre", classes=3)
    post = linearised(K, y, 0.05, T - 1, convention="post", classes=3) * (T - 1)[:, None]
    np.testing.assert_allclose(pre - first, post, atol=1e-12)


def test_figures_of_the_one_class_model():
    """n = 100, p = .2, ks = .01, kd = .02, eta = .5/lambda1, outputs read as (f, -f)."""
    n, p, ks, kd = 100, 0.2, 0.01, 0.02
    y = np.where(np.arange(n) < 20, -1, 1)
    K, step = ks + kd * np.eye(n), 0.5 / (n * ks + kd)
    areas = linearised(K, y, step, [10, 100, 1000, 101, 102], coding="signs")
    gaps = areas[:, -1] - areas[:, 0]
    assert gaps[:3].round(2).tolist() == [2.03, 1.49, 0.24]
    assert areas[3, 0] < 0 < areas[4, 0]  # mislabeled AUM crosses 0 at T = 102
    hot = linearised(K, (y > 0).astype(int), step, [10, 100, 1000])
    np.testing.assert_allclose(gaps[:3], 2 * (hot[:, -1] - hot[:, 0]), rtol=1e-12)
    assert abs(p - np.mean(y < 0)) < 1e-12


def test_averaging_the_loss_divides_the_kernel_by_n():
    rng = np.random.default_rng(3)
    J, y = rng.standard_normal((5, 7)), rng.choice([-1.0, 1.0], 5)
    K, step = J @ J.T, 0.3
    w, total = np.zeros(7), np.zeros(5)
    for _ in range(9):
        w -= step * J.T @ (J @ w - y) / 5
        total += J @ w
    np.testing.assert_allclose(linearised(K / 5, y, step, [9], coding="signs")[0], 2 * y * total / 9, atol=1e-12)


@pytest.mark.parametrize("coding", ["one-hot", "signs"])
def test_single_precision_is_rounded_once(coding):
    """Not the outputs first and then their difference."""
    rng = np.random.default_rng(4)
    J, start = rng.standard_normal((6, 5)), rng.standard_normal((6, 2 if coding == "one-hot" else 1)) + 50
    K, y = (J @ J.T).astype(np.float32), rng.integers(0, 2, 6)
    options = {"coding": coding, "start": start.astype(np.float32).astype(float)}
    y = y if coding == "one-hot" else 2 * y - 1
    single, double = (linearised(kernel, y, 0.02, [1, 5], **options) for kernel in (K, K.astype(float)))
    assert single.dtype == np.float32 and np.array_equal(single, double.astype(np.float32))


def test_kinds():
    K = torch.eye(3)
    single = linearised(K, torch.tensor([0, 1, 1]), 0.5, [1, 4])
    assert single.dtype == torch.float32 and single.shape == (2, 3)
    assert linearised_logits(K, [0, 1, 2], 0.5, 3).shape == (1, 3, 3)
    assert linearised(K, torch.tensor([1.0, -1.0, 1.0]), 0.5, [2], coding="signs").shape == (1, 3)
    assert isinstance(linearised(np.eye(2), [1, -1], 0.5, [2], coding="signs"), np.ndarray)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"K": np.ones((2, 3))}, "K: expected shape"),
        ({"K": [[1.0, 0.5], [0.0, 1.0]]}, "symmetric"),
        ({"K": [[np.nan, 0.0], [0.0, 1.0]]}, "K"),
        ({"labels": [0, 2], "classes": 2}, "labels"),
        ({"labels": [0]}, "labels"),
        ({"labels": [0, 1], "coding": "signs"}, r"-1 or \+1"),
        ({"coding": "plus"}, "coding"),
        ({"convention": "after"}, "convention"),
        ({"step": np.nan}, "step"),
        ({"epochs": [0]}, "epochs"),
        ({"epochs": [1.5]}, "epochs"),
        ({"start": np.zeros((3, 2))}, "start"),
        ({"start": np.zeros((3, 2)), "labels": [0, 2]}, r"start: expected shape \(2, 3\)"),
        ({"start": np.zeros((1, 2)), "coding": "signs", "labels": [1, -1]}, "start"),
        ({"step": 100.0, "epochs": [1000]}, "within float64"),
        ({"step": 100.0, "epochs": [1000], "labels": [0, 2]}, "within float64"),
    ],
)
def test_bad_input(changes, words):
    arguments = {"K": np.eye(2), "labels": [0, 1], "step": 0.5, "epochs": [2]} | changes
    with pytest.raises(InvalidInput, match=words):
        linearised(**arguments)
