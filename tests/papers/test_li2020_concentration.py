import math

import numpy as np
import pytest
import torch
from judging import judged

from theory import clusterable, covariance
from theory.activations import Activation
from theory.checks import InvalidInput
from theory.estimate import Estimate
from theory.networks import TwoLayer
from theory.papers.li2020 import concentration, geometry
from theory.papers.li2020.concentration import C4
from theory.verdict import Status


def drawn(draws, width, activation, dimension=3, **options):
    return [TwoLayer.initialise(width, dimension, activation, seed=seed, **options) for seed in range(draws)]


def centres(seed=0, K=3):
    return clusterable.generate(K, 1, 3, antipodal_separation=0.7, seed=seed).centres


@pytest.mark.parametrize(("activation", "paired"), [("softplus", False), ("erf", True), ("relu", True)])
def test_the_kernel_at_the_centres_concentrates(activation, paired):
    networks = [n for width in (64, 512, 2048) for n in drawn(80, width, activation, paired=paired)]
    verdicts = concentration.check_concentration(centres(), networks)
    assert [verdict.claim.id for verdict in verdicts] == ["C4.least", "C4.deviation", "C4.rate"]
    assert judged(verdicts, "C4.least") == judged(verdicts, "C4.deviation") == Status.HOLDS
    # a wrong exponent would be 0 or -1; the interval of 80 draws is about +/- .08
    assert judged(verdicts, "C4.rate") != Status.VIOLATED
    assert verdicts[0].inputs["k"].value.ravel().tolist() == ([32, 256, 1024] if paired else [64, 512, 2048])


def test_a_biased_kernel_is_caught():
    """Weights of standard deviation 1.5 leave every hypothesis as it is, and the mean of the kernel elsewhere."""
    networks = [network.at(1.5 * network.W.detach()) for network in drawn(60, 4096, "gelu")]
    verdicts = concentration.check_concentration(centres(), networks)
    assert judged(verdicts, "C4.deviation") == Status.VIOLATED


def test_a_kernel_that_collapses_is_caught():
    one_row = [network.at(network.W.detach()[:1].expand(512, 3)) for network in drawn(60, 512, "softplus")]
    wrong = concentration.check_concentration(
        centres(), one_row
    )  # one distinct row: the bound says nothing, and says so
    assert judged(wrong, "C4.least") in (Status.VACUOUS, Status.OUT_OF_SCOPE)
    kernels = [covariance.empirical_kernel(centres(), network) for network in one_row]
    failures = sum(bool(np.linalg.eigvalsh(kernel)[0] < 0.01) for kernel in kernels)
    lam = float(covariance.least_eigenvalue(centres(), "softplus"))
    t = 1 - 0.01 / lam
    size = float(np.linalg.norm(centres(), 2))
    rest = {"K": 3, "t": t, "lam": lam, "Gamma1": 1, "size": size, "spread": 0}
    assert C4["least"].check(failure=Estimate.proportion(failures, 60), k=512, **rest).status == Status.VIOLATED


def shifted_relu():
    """ReLU(z - 2), of use with one unit centre only: its dual kernel is then P(g > 2)."""
    chance = math.erfc(math.sqrt(2)) / 2
    return Activation(
        "relu(z - 2)",
        lambda z: (z - 2).clamp(min=0),
        lambda z: (z > 2).to(z.dtype),
        gamma1=1.0,
        gamma2=math.inf,
        dual=lambda X, Y: torch.full((len(X), len(Y)), chance, dtype=X.dtype),
    )


def test_counting_the_copies_of_a_paired_network_is_caught():
    """The bound with the width in place of the independent rows is false for paired networks."""
    width, t, activation, C = 4000, 0.4, shifted_relu(), np.array([[1.0]])
    lam = float(covariance.least_eigenvalue(C, activation))
    # With one centre the kernel is the share of rows beyond 2, so that many draws cost little.
    generator = np.random.default_rng(0)
    halves = (generator.normal(size=(1000, width // 2)) for _ in range(40))
    failures = sum(int(((half > 2).mean(axis=1) <= (1 - t) * lam).sum()) for half in halves)
    tail = {"failure": Estimate.proportion(failures, 40_000), "K": 1, "t": t, "lam": lam, "Gamma1": 1, "size": 1}
    assert C4["least"].check(k=width // 2, spread=0, **tail).status == Status.HOLDS
    assert C4["least"].check(k=width, spread=0, **tail).status == Status.VIOLATED

    networks = [TwoLayer.initialise(width, 1, activation, paired=True, seed=seed) for seed in range(20)]
    shares = [float((network.W > 2).double().mean()) for network in networks]
    kernels = [covariance.empirical_kernel(C, network).item() for network in networks]
    assert kernels == pytest.approx(shares, rel=1e-12)
    [least, _] = concentration.check_concentration(C, networks)
    assert least.inputs["k"].value.tolist() == [[width // 2]]


def test_tails_say_nothing_where_lambda_is_zero():
    networks = drawn(5, 64, "relu", dimension=2)
    verdicts = concentration.check_concentration(geometry.hexagon(), networks)
    assert judged(verdicts, "C4.least") == Status.VACUOUS


def test_tails_out_of_scope():
    networks = drawn(5, 64, "softplus")
    verdicts = concentration.check_concentration(centres(), networks, t=[1.0])
    assert judged(verdicts, "C4.least") == Status.OUT_OF_SCOPE
    loud = [TwoLayer(network.W.detach(), 2 * network.v, "softplus") for network in networks]
    verdicts = concentration.check_concentration(centres(), loud)
    assert judged(verdicts, "C4.least") == judged(verdicts, "C4.deviation") == Status.OUT_OF_SCOPE


def test_a_wrong_rate_is_caught():
    rng = np.random.default_rng(0)
    widths = np.array([64.0, 512.0, 4096.0])
    noise = np.exp(0.3 * rng.normal(size=(100, 3)))
    right = Estimate.exponent(widths, widths**-0.5 * noise)
    assert C4["rate"].check(exponent=right).status == Status.HOLDS
    assert C4["rate"].check(exponent=Estimate.exponent(widths, widths**-1 * noise)).status == Status.VIOLATED


def test_networks_must_share_an_activation():
    with pytest.raises(InvalidInput, match="networks: expected all with softplus, got erf"):
        concentration.check_concentration(centres(), [*drawn(2, 8, "softplus"), *drawn(1, 8, "erf")])
    with pytest.raises(InvalidInput, match="at least one"):
        concentration.check_concentration(centres(), [])


def test_experiment_finds_what_is_expected():
    table = C4.experiment()
    assert all(verdict.status in (Status.HOLDS, Status.INCONCLUSIVE) for verdict in table)
    assert {verdict.claim.id for verdict in table} == {member.id for member in C4.members}


@pytest.mark.slow
def test_full_experiment():
    assert not C4.experiment("full", seed=1).unexpected()
