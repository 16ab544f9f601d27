"""Two-point fits: exact interpolation, and nothing but the span of the inputs matters."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import covariance, descent, two_points
from theory.checks import InvalidInput
from theory.networks import TwoLayer


@given(st.floats(1e-6, 2.0), st.integers(2, 9))
def test_pair_is_two_unit_vectors_at_the_distance_asked(separation: float, dimension: int) -> None:
    X = two_points.pair(separation, dimension)
    assert X.shape == (2, dimension)
    assert torch.allclose(X.norm(dim=1), torch.ones(2, dtype=X.dtype), rtol=0, atol=4e-16)
    assert float((X[1] - X[0]).norm()) == pytest.approx(separation, rel=1e-15)


@pytest.mark.parametrize("activation", ["softplus", "erf", "tanh", "gelu"])
@pytest.mark.parametrize("separation", [1.0, 0.1, 0.02])
def test_fit_interpolates_and_starts_at_zero(activation: str, separation: float) -> None:
    fit = two_points.fit(activation, separation, width=4096, seed=3)
    assert fit.error <= 1e-3
    assert torch.equal(fit.network0(fit.X), torch.zeros(2, dtype=torch.float64))
    assert fit.distance > 0.5 / separation


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.integers(3, 7), st.sampled_from(["softplus", "erf", "tanh"]))
def test_restriction_changes_nothing_that_matters(seed: int, dimension: int, activation: str) -> None:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((2, dimension))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    network = TwoLayer.initialise(200, dimension, activation, seed=seed)
    small, coordinates, basis = two_points.restrict(network, X)
    points = torch.from_numpy(X)
    assert small.dimension == 2
    assert torch.allclose(small(coordinates), network(points), rtol=0, atol=1e-12)
    assert torch.allclose(basis.T @ basis, torch.eye(2, dtype=basis.dtype), atol=1e-14)
    # W0 z for the difference of the inputs, and the whole path of gradient descent
    difference, reduced = points[1] - points[0], coordinates[1] - coordinates[0]
    assert torch.allclose(network.W @ difference, small.W @ reduced, atol=1e-13)
    labels = [-1.0, 1.0]
    step = descent.largest_step(network, X) / 2
    wide = descent.train(network, X, labels, step=step, steps=20)
    narrow = descent.train(small, coordinates, labels, step=step, steps=20)
    np.testing.assert_allclose(wide.distance, narrow.distance, atol=1e-11)
    moved = wide.network.W.detach() - network.W.detach()
    np.testing.assert_allclose(moved @ basis @ basis.T, moved, atol=1e-13)


def test_interpolation_stays_in_the_span_and_first_step_is_the_shortest() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((3, 8)), np.array([0.3, -0.2, 0.5])
    network = TwoLayer.initialise(20000, 8, "softplus", paired=True, seed=1)
    fitted = two_points.interpolate(network, X, y, tolerance=1e-9)
    assert np.abs(fitted(X) - y).max() <= 1e-9
    moved = (fitted.W - network.W).detach().numpy()
    outside = moved - moved @ np.linalg.pinv(X) @ X
    assert np.abs(outside).max() < 1e-14
    # at this width the network is nearly linear, and the shortest solution of the linear problem is J^+ y
    shortest = np.linalg.pinv(np.asarray(covariance.jacobian(X, network))) @ y
    assert np.linalg.norm(moved.ravel() - shortest) < 0.02 * np.linalg.norm(shortest)


def test_more_inputs_than_dimensions_and_other_precision() -> None:
    rng = np.random.default_rng(1)
    X = rng.standard_normal((5, 2))
    network = TwoLayer.initialise(500, 2, "tanh", dtype=torch.float32)
    fitted = two_points.interpolate(network, X, np.array([0.1, -0.1, 0.2, 0.0, 0.3]))
    assert fitted.W.dtype == torch.float32
    assert np.abs(fitted(X.astype(np.float32)) - [0.1, -0.1, 0.2, 0.0, 0.3]).max() < 2e-3


def test_what_cannot_be_fitted_is_said() -> None:
    with pytest.raises(two_points.NotInterpolated, match=r"expected \|f - y\| <= 0.001 .* got .*; widen"):
        two_points.fit("tanh", 0.5, width=4, labels=(-50.0, 50.0))  # |f| <= 2
    with pytest.raises(two_points.NotInterpolated):
        two_points.interpolate(TwoLayer.initialise(8, 2), [[1.0, 0.0], [1.0, 0.0]], [0.0, 1.0])


@pytest.mark.parametrize(
    "call",
    [
        lambda: two_points.pair(0.0),
        lambda: two_points.pair(2.1),
        lambda: two_points.pair(math.nan),
        lambda: two_points.pair(1.0, 1),
        lambda: two_points.fit("swish", 0.1),
        lambda: two_points.fit("tanh", 0.1, width=7),
        lambda: two_points.interpolate(TwoLayer.initialise(4, 2), [[1.0, 0.0]], [1.0, 2.0]),
        lambda: two_points.interpolate(TwoLayer.initialise(4, 2), [[1.0, math.nan]], [1.0]),
        lambda: two_points.interpolate(TwoLayer.initialise(4, 2), [[1.0, 0.0, 0.0]], [1.0]),
        lambda: two_points.interpolate(TwoLayer.initialise(4, 2), [[1.0, 0.0]], [1.0], tolerance=0.0),
        lambda: two_points.interpolate(TwoLayer.initialise(2, 1), [[1.0], [0.5], [0.2]], [0.0, 1.0, 0.0]),
        lambda: two_points.restrict(TwoLayer.initialise(4, 3), [[0.0, 0.0, 0.0]]),
    ],
)
def test_bad_input_is_a_one_line_error_with_a_remedy(call: object) -> None:
    with pytest.raises(InvalidInput, match=r"^.*expected .*, got .*; .*$"):
        call()  # type: ignore[operator]
