"""Certificates against real descent, and mutants."""

import math
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import clusterable, descent, early_stopping, label_noise, spectrum
from theory.checks import InvalidInput
from theory.early_stopping import certificates
from theory.networks import TwoLayer

SMOOTH = ("softplus", "erf", "tanh", "gelu")


def worst_ratio(certificate, network, data, observed):
    """Largest measured/certified of the five quantities along real descent; over 1 refutes the certificate."""
    steps = max(1, len(certificate.bound) - 1)
    result = descent.train(network, data.X, observed, step=certificate.step, steps=steps, record=range(steps + 1),
                           truth=data.y, clusters=data.clusters)  # fmt: skip
    drift = spectrum.nuisance_projection((result.predictions - result.predictions[0]).T, data.clusters)
    pairs = [
        (result.residual_support, certificate.a),
        (result.residual_nuisance, certificate.spread),
        (np.linalg.norm(drift, axis=0), certificate.q),
        (result.path, certificate.path),
        (result.sup_error, certificate.bound),
    ]
    rounding = 1e-12 * (1 + np.abs(result.predictions).max())
    return max(float((measured[: len(bound)] / (bound + rounding)).max()) for measured, bound in pairs)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**20),
    activation=st.sampled_from(SMOOTH),
    width=st.sampled_from([2, 8, 64, 1000]),
    paired=st.booleans(),
    sizes=st.lists(st.integers(1, 5), min_size=2, max_size=3),
    radius=st.sampled_from([0.0, 0.001, 0.03, 0.3]),
    ball=st.floats(0.02, 2),
    slower=st.floats(0.05, 1),
)
def test_descent_never_leaves_its_certificate(seed, activation, width, paired, sizes, radius, ball, slower):
    data = clusterable.generate(clusters=len(sizes), classes=2, dimension=3, sizes=sizes, radius=radius, seed=seed)
    observed = label_noise.corrupt(data, 0.3, mode="flip", seed=seed).y
    network = TwoLayer.initialise(width, 3, activation, paired=paired, seed=seed)
    given_data = (data.X, data.clusters, data.y, observed, radius)
    start = early_stopping.measure_start(network, *given_data[:4])
    ball *= max(start.sigma, 0.05 * start.support) / start.lipschitz
    step = slower * early_stopping.certificate(network, *given_data, radii=[ball], steps=1).step
    certificate = early_stopping.certificate(network, *given_data, step, radii=[ball], steps=400)
    assert worst_ratio(certificate, network, data, observed) <= 1
    assert certificate.path[-1] <= ball and certificate.best_bounds[0] == certificate.bound.min()


def test_a_certificate_that_ignores_the_spread_of_clusters_fails(monkeypatch):
    data = clusterable.generate(clusters=2, classes=2, dimension=4, per_cluster=5, radius=0.3, seed=0)
    observed = label_noise.corrupt(data, 0.2, seed=0).y
    network = TwoLayer.initialise(2000, 4, paired=True)
    given_data = (network, data.X, data.clusters, data.y, observed, 0.3)
    assert worst_ratio(early_stopping.certificate(*given_data), network, data, observed) <= 1
    monkeypatch.setattr(certificates, "_cluster_radius", lambda *_: 0.0)
    assert worst_ratio(early_stopping.certificate(*given_data), network, data, observed) > 1


def test_a_certificate_with_a_quarter_of_the_lipschitz_constant_fails():
    class Optimistic(TwoLayer):
        def lipschitz(self, X):
            return super().lipschitz(X) / 4

    # one point at the steepest fall of erf', so that the Jacobian shrinks as fast as L allows
    data = types.SimpleNamespace(X=np.ones((1, 1)), clusters=np.zeros(1), y=np.array([0.9]))
    slope = 2 / math.sqrt(math.pi * math.e)
    for kind, fails in [(TwoLayer, False), (Optimistic, True)]:
        network = kind([[math.sqrt(0.5)]], [1.0], "erf")
        ball = 0.9 * (0.9 - math.erf(math.sqrt(0.5))) / slope
        certificate = early_stopping.certificate(
            network, data.X, data.clusters, data.y, data.y, 0.0, 1e-3, radii=[ball], delta=1.0
        )
        assert (worst_ratio(certificate, network, data, data.y) > 1) is fails


@pytest.mark.parametrize("rate", [0.0, 0.2])
def test_a_wide_network_is_certified_and_wider_ones_better(rate):
    data = clusterable.generate(clusters=2, classes=2, dimension=10, per_cluster=10, radius=0.01,
                                alphas=[-1.0, 1.0], placement="given", centres=np.eye(10)[:2], seed=0)  # fmt: skip
    observed = label_noise.corrupt(data, rate, seed=0).y
    bests = []
    for width in (400, 4000, 16000):
        network = TwoLayer.initialise(width, 10, paired=True)
        certificate = early_stopping.certificate(network, data.X, data.clusters, data.y, observed, 0.01)
        bests.append(certificate.bound.min())
    assert certificate.certified and certificate.delta == 2 and certificate.bound[certificate.best_tau] == bests[-1]
    assert bests[0] > bests[1] > bests[2] > 2 * rate
    alone = early_stopping.certificate(
        network, data.X, data.clusters, data.y, observed, 0.01, radii=[certificate.radius]
    )
    np.testing.assert_array_equal(alone.bound, certificate.bound)
    assert certificate.best_bounds.min() == bests[-1]
    measured = early_stopping.certificate(network, data.X, data.clusters, data.y, observed)
    assert measured.cluster_radius == pytest.approx(
        np.linalg.norm(spectrum.nuisance_projection(data.X, data.clusters), axis=1).max()
    )
    assert worst_ratio(certificate, network, data, observed) <= 1


def test_hopeless_noise_is_not_certified():
    data = clusterable.generate(clusters=2, classes=2, dimension=4, per_cluster=10, radius=0.0, alphas=[-1.0, 1.0])
    observed = label_noise.corrupt(data, 0.5, seed=0).y
    network = TwoLayer.initialise(20_000, 4, paired=True)
    certificate = early_stopping.certificate(network, data.X, data.clusters, data.y, observed, 0.0)
    assert not certificate.certified and certificate.bound.min() >= 1


def test_certificate_refusals():
    data = clusterable.generate(clusters=2, classes=2, dimension=3, per_cluster=3, radius=0.1, seed=0)
    good = {"network": TwoLayer.initialise(20, 3), "X": data.X, "clusters": data.clusters, "truth": data.y,
            "observed": data.y, "cluster_radius": 0.1}  # fmt: skip
    early_stopping.certificate(**good)
    for change, message in [
        ({"network": TwoLayer.initialise(20, 3, "relu")}, "smooth"),
        ({"truth": np.arange(6.0)}, "truth: expected one value per cluster"),
        ({"observed": data.y[:5]}, "observed: expected shape"),
        ({"X": data.X[:, :2]}, "X: expected shape"),
        ({"cluster_radius": 1e-4}, "cluster_radius"),
        ({"cluster_radius": -0.1}, "cluster_radius"),
        ({"step": 100.0}, "1/b_"),
        ({"step": 0.0}, "step"),
        ({"radii": [0.0, 1.0]}, "radii"),
        ({"delta": 0.0}, "delta"),
        ({"truth": np.zeros(6)}, "two distinct"),
        ({"steps": 0}, "steps"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            early_stopping.certificate(**good | change)
