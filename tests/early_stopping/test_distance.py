"""Bounds on the distance travelled against real networks, and mutants."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from theory import covariance, early_stopping
from theory.checks import InvalidInput
from theory.networks import TwoLayer
from theory.papers.li2020 import overfitting

SMOOTH = ("softplus", "erf", "tanh", "gelu")


def moved_pair(seed, activation, pairs):
    """A small network, a move of its weights towards telling `pairs` pairs apart, and both weights' difference."""
    draw = np.random.default_rng(seed)
    k, d = 2 * draw.integers(1, 6), draw.integers(1, 4)
    W0 = draw.normal(size=(k, d)) * 10 ** draw.uniform(-3, 0.7)
    v = draw.choice([-1.0, 1.0], size=k) * draw.uniform(0.3, 1, size=k) ** draw.integers(0, 2)
    X1 = draw.normal(size=(pairs, d))
    X2 = X1 + 10 ** draw.uniform(-2, 0.3) * draw.normal(size=(pairs, d))
    move = np.outer(np.sign(v), X2[0] - X1[0]) if draw.random() < 0.6 else draw.normal(size=(k, d))
    move *= 10 ** draw.uniform(-3, 1) / np.linalg.norm(move)
    network = TwoLayer(W0, v, activation)
    after = network.at(W0 + move)
    return network, after, X1, X2, after(X2) - after(X1)


@settings(max_examples=150)
@given(seed=st.integers(0, 2**32), activation=st.sampled_from([*SMOOTH, "relu"]), pairs=st.integers(1, 4))
def test_no_weights_come_nearer_than_the_distance_bounds(seed, activation, pairs):
    network, after, X1, X2, gaps = moved_pair(seed, activation, pairs)
    assume(np.linalg.norm(X2 - X1, axis=1).min() > 1e-6)
    move = (after.W - network.W).detach().numpy()
    bounds = early_stopping.pair_distance_bounds(network, X1, X2, gaps)
    assert bounds.largest <= np.linalg.norm(move) * (1 + 1e-9) + 1e-12
    assert bounds.norm <= np.linalg.norm(after.W.detach().numpy()) * (1 + 1e-9) + 1e-12
    one = early_stopping.distance_bound(network, X1[0], X2[0], gaps[0])
    assert one.largest <= np.linalg.norm(move, 2) * (1 + 1e-9) + 1e-12
    assert one.norm <= np.linalg.norm(after.W.detach().numpy(), 2) * (1 + 1e-9) + 1e-12
    if activation == "relu":
        assert bounds.quadratic == bounds.linear == 0


def test_the_distance_bounds_are_nearly_attained_so_no_larger_ones_hold():
    tightest = {"quadratic": 0.0, "linear": 0.0, "slope": 0.0, "norm": 0.0}
    for seed in range(300):
        network, after, X1, X2, gaps = moved_pair(seed, SMOOTH[seed % 4], 1)
        size = {name: (after.W - network.W).detach().norm().item() for name in tightest}
        size["norm"] = after.W.detach().norm().item()
        bounds = early_stopping.distance_bound(network, X1[0], X2[0], gaps[0])
        tightest = {name: max(tightest[name], getattr(bounds, name) / size[name]) for name in tightest}
    assert all(0.95 < ratio <= 1 + 1e-9 for ratio in tightest.values()), tightest


@given(seed=st.integers(0, 2**32), gap=st.floats(-5, 5), activation=st.sampled_from(SMOOTH))
def test_for_a_pair_of_unit_vectors_the_linear_bound_is_the_better_one(seed, gap, activation):
    X = np.random.default_rng(seed).normal(size=(2, 3))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    network = TwoLayer.initialise(16, 3, activation, paired=True, seed=seed)
    bounds = early_stopping.distance_bound(network, X[0], X[1], gap)
    assert bounds.linear >= bounds.quadratic * (1 - 1e-12)


def test_the_gain_of_many_pairs_needs_spread_differences():
    s, d = 4, 16
    network = TwoLayer.initialise(200, d, "tanh", paired=True)
    X1, basis = np.eye(d)[:s], np.eye(d)[s:]
    spread = early_stopping.pair_distance_bounds(network, X1, X1 + 0.01 * basis[:s], np.full(s, 2.0))
    parallel = early_stopping.pair_distance_bounds(network, X1, X1 + 0.01 * basis[[0] * s], np.full(s, 2.0))
    one = early_stopping.distance_bound(network, X1[0], X1[0] + 0.01 * basis[0], 2.0)
    assert spread.norm == pytest.approx(2 * one.norm) and parallel.norm == pytest.approx(one.norm)
    assert spread.linear > 1.3 * one.linear


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), activation=st.sampled_from(SMOOTH), size=st.floats(-3, 1))
def test_moving_the_outputs_within_a_subspace_costs_the_projector_bound(seed, activation, size):
    draw = np.random.default_rng(seed)
    X, basis = draw.normal(size=(5, 3)), np.linalg.qr(draw.normal(size=(5, 2)))[0]
    network = TwoLayer.initialise(8, 3, activation, seed=seed)
    J, K0 = covariance.jacobian(X, network).matrix(), covariance.empirical_kernel(X, network)
    easiest = np.linalg.svd(basis.T @ J)[2][0].reshape(8, 3)  # the move that the subspace feels most
    move = 10**size * easiest
    change = network.at(network.W.detach() + torch.from_numpy(move))(X) - network(X)
    arguments = (basis, change, network.lipschitz(X))
    assert early_stopping.subspace_distance_bound(K0, *arguments) <= np.linalg.norm(move) * (1 + 1e-9)
    if network.lipschitz(X) * np.linalg.norm(move) < np.linalg.norm(basis.T @ J, 2) / 4:
        # mutant: half the Jacobian. The bound is tight for small moves, so this must fail
        assert early_stopping.subspace_distance_bound(K0 / 4, *arguments) > np.linalg.norm(move)


def test_quadratic_root_and_refusals():
    assert early_stopping.quadratic_root(1e-12, 1.0, 1e-6) == pytest.approx(1e-6, rel=1e-12)
    assert early_stopping.quadratic_root(2.0, 0.0, 8.0) == 2.0 and early_stopping.quadratic_root(0.0, 0.0, 0.0) == 0.0
    network = TwoLayer.initialise(4, 2)
    for call, message in [
        (lambda: early_stopping.quadratic_root(-1.0, 1.0, 1.0), "A: expected"),
        (lambda: early_stopping.quadratic_root(0.0, 0.0, 1.0), "A and B"),
        (lambda: early_stopping.distance_bound(network, [1.0, 0.0], [1.0, 0.0], 1.0), "pairs"),
        (lambda: early_stopping.distance_bound(network, [1.0], [2.0], 1.0), "first members"),
        (lambda: early_stopping.pair_distance_bounds(network, np.eye(2), -np.eye(2), [1.0]), "gaps"),
        (lambda: early_stopping.subspace_distance_bound(np.eye(2), [[1.0], [1.0]], [1.0, 1.0], 1.0), "orthonormal"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            call()


@pytest.mark.parametrize("seed", range(8))
def test_the_doors_say_what_claim_c6_says(seed):
    """One formula, two doors: these functions and the claims' sympy statements give the same numbers."""
    network, after, X1, X2, gaps = moved_pair(seed, SMOOTH[seed % 4], 1)
    stated = {
        verdict.claim.id: verdict.right.value.item()
        for verdict in overfitting.check_overfitting(network, after, X1[0], X2[0])
        if verdict.claim.id in ("C6.quadratic", "C6.linear", "C6.norm")
    }
    computed = early_stopping.distance_bound(network, X1[0], X2[0], gaps[0])
    for name in ("quadratic", "linear", "norm"):
        assert getattr(computed, name) == pytest.approx(stated[f"C6.{name}"], rel=1e-9)
