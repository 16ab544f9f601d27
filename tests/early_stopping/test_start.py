"""What is measured at W0 against plain linear algebra, and recovery from perfect clusters by real descent."""

import math

import numpy as np
import pytest

from theory import activations, clusterable, covariance, descent, early_stopping, label_noise, spectrum
from theory.checks import InvalidInput
from theory.networks import TwoLayer

SMOOTH = ("softplus", "erf", "tanh", "gelu")


def perfect(width, activation="softplus", seed=0):
    data = clusterable.generate(centres=np.eye(4)[:2], placement="given", classes=2, alphas=[-1.0, 1.0],
                                per_cluster=10, radius=0.0, seed=seed)  # fmt: skip
    observed = label_noise.corrupt(data, 0.3, seed=seed).y
    return data, observed, TwoLayer.initialise(width, 4, activation, paired=True, seed=seed)


def test_the_width_of_the_guarantee_suffices_and_a_tiny_one_does_not():
    width = early_stopping.recovery_width(np.eye(4)[:2], "softplus", failure=0.2, paired=True)
    for seed in range(5):
        data, observed, network = perfect(width, seed=seed)
        start = early_stopping.measure_start(network, data.X, data.clusters, data.y, observed)
        assert start.recovers(start.step_limit) and not start.recovers(1.01 * start.step_limit)
        result = descent.train(network, data.X, observed, step=start.step_limit, steps=200, truth=data.y,
                               clusters=data.clusters)  # fmt: skip
        rate = 1 - start.step_limit * start.sigma**2 / 9
        assert (result.residual_support <= start.residual_support * rate**result.steps + 1e-12).all()
        assert result.path[-1] <= 4.5 * start.residual_support / start.sigma
        assert result.sup_error[-1] == pytest.approx(start.noise_limit, abs=0.05) and start.noise_limit == 0.6
    data, observed, network = perfect(8)
    start = early_stopping.measure_start(network, data.X, data.clusters, data.y, observed)
    assert not start.recovers(start.step_limit)


def test_recovery_width_follows_its_formula():
    C = clusterable.generate(clusters=3, classes=3, dimension=5, per_cluster=1, seed=0).centres
    K, d = C.shape
    for activation in ("erf", "gelu"):
        known, failure = activations.get(activation), 0.05
        m = 1 + known.gamma1 * math.sqrt(2 * math.log(2 * K / failure))
        kappa = spectrum.paper_condition(C, activation)
        least = 324 * known.gamma2**2 * m**2 * kappa**2 * K**2 / d
        assert 0 <= early_stopping.recovery_width(C, activation, failure=failure) - least < 2
        assert early_stopping.recovery_width(C, activation, failure=failure, paired=True) < least
    for arguments, message in [(("relu", 0.1), "smooth"), (("erf", 0.0), "failure"), (("erf", 1.5), "failure")]:
        with pytest.raises(InvalidInput, match=message):
            early_stopping.recovery_width(C, arguments[0], failure=arguments[1])
    with pytest.raises(InvalidInput, match="no width"):
        early_stopping.recovery_width([[1.0, 0.0], [-1.0, 0.0]], "tanh", failure=0.1)


@pytest.mark.parametrize("activation", SMOOTH)
def test_start_measures_the_projected_jacobian(activation):
    data = clusterable.generate(clusters=3, classes=2, dimension=4, sizes=[2, 3, 4], radius=0.2, seed=1)
    observed = label_noise.corrupt(data, 0.4, seed=1).y
    network = TwoLayer.initialise(30, 4, activation, seed=1)
    start = early_stopping.measure_start(network, data.X, data.clusters, data.y, observed)
    Q = spectrum.support_basis(data.clusters)
    J, r0 = covariance.jacobian(data.X, network).matrix(), network(data.X) - observed
    support = np.linalg.svd(Q.T @ J, compute_uv=False)
    off = np.eye(9) - Q @ Q.T
    assert start.sigma == pytest.approx(support[-1], rel=1e-6) and start.sigma <= support[-1]
    assert start.support == pytest.approx(support[0]) and start.support >= support[0] * (1 - 1e-15)
    assert start.nuisance == pytest.approx(np.linalg.norm(off @ J, 2)) and start.support <= start.beta
    assert start.residual_support == pytest.approx(np.linalg.norm(Q.T @ r0))
    assert start.residual_nuisance == pytest.approx(np.linalg.norm(off @ r0))
    assert start.noise_limit == pytest.approx(np.abs(Q @ Q.T @ (observed - data.y)).max())
    assert start.output_nuisance == pytest.approx(np.abs(off @ network(data.X)).max())
    assert start.smallest_cluster == 2
