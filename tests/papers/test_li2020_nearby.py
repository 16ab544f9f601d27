import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import again, judged

from theory import clusterable, spectrum
from theory.checks import InvalidInput
from theory.estimate import Estimate
from theory.networks import TwoLayer
from theory.papers.li2020 import nearby
from theory.papers.li2020.nearby import C5
from theory.strategies import SMOOTH
from theory.verdict import Status


def sweep(radii, seed=0, spread="boundary", **shape):
    shape = {"clusters": 3, "classes": 3, "dimension": 6, "per_cluster": 5, **shape}
    return [clusterable.generate(radius=radius, spread=spread, seed=seed, **shape) for radius in radii]


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    name=st.sampled_from(SMOOTH),
    width=st.integers(2, 40),
    radius=st.floats(1e-4, 0.3),
    scale=st.sampled_from([0.1, 1.0, 5.0]),
    spread=st.sampled_from(["ball", "boundary"]),
)
def test_nearby_clusters_move_everything_a_little(seed, name, width, radius, scale, spread):
    [data] = sweep([radius], seed, spread)
    network = TwoLayer.initialise(2 * width, 6, name, seed=seed)
    verdicts = nearby.check_nearby(data, network.at(scale * network.W.detach()))
    for member in ("C5.frobenius", "C5.weyl", "C5.nuisance"):
        assert judged(verdicts, member) == Status.HOLDS, member
    assert judged(verdicts, "C5.angle") in (Status.HOLDS, Status.VACUOUS)
    assert judged(verdicts, "C5.angle_apriori") in (Status.HOLDS, Status.VACUOUS, Status.OUT_OF_SCOPE)


def test_a_kink_leaves_only_what_needs_no_second_derivative():
    [data] = sweep([0.01])
    verdicts = nearby.check_nearby(data, TwoLayer.initialise(400, 6, "relu"))
    assert {verdict.claim.id for verdict in verdicts} == {"C5.weyl", "C5.nuisance", "C5.angle", "C5.angle_apriori"}
    assert all(verdict.status != Status.VIOLATED for verdict in verdicts)


def test_perfect_clusters_are_out_of_scope():
    [data] = sweep([0.0])
    verdicts = nearby.check_nearby(data, TwoLayer.initialise(50, 6, "gelu"))
    assert {verdict.status for verdict in verdicts} == {Status.OUT_OF_SCOPE}


def test_far_clusters_put_the_a_priori_angle_out_of_scope():
    verdicts = nearby.check_nearby(sweep([1.2])[0], TwoLayer.initialise(50, 6, "tanh"))
    assert judged(verdicts, "C5.angle_apriori") == Status.OUT_OF_SCOPE


def test_centres_off_the_sphere_put_the_frobenius_bound_out_of_scope():
    [data] = sweep([0.1])
    inner = dataclasses.replace(data, centres=0.9 * data.centres, radius=0.3)
    verdicts = nearby.check_nearby(inner, TwoLayer.initialise(50, 6, "tanh"))
    assert judged(verdicts, "C5.frobenius") == Status.OUT_OF_SCOPE
    assert judged(verdicts, "C5.weyl") == Status.HOLDS


def test_the_mean_radius_in_place_of_the_largest_is_caught():
    [data] = sweep([0.1], clusters=1, classes=1, per_cluster=60)
    X = data.centred.copy()
    X[0] = data.X[0]
    one_out = dataclasses.replace(data, X=X)
    verdicts = nearby.check_nearby(one_out, TwoLayer.initialise(100, 6, "softplus"))
    assert judged(verdicts, "C5.frobenius") == Status.HOLDS
    assert again(verdicts, "C5.frobenius", eps0=float(one_out.distances.mean())).status == Status.VIOLATED


def test_wrong_spectra_are_caught():
    [data] = sweep([0.02])
    network = TwoLayer.initialise(100, 6, "erf")
    verdicts = nearby.check_nearby(data, network)
    values, centred = (spectrum.singular_values(X, network) for X in (data.X, data.centred))
    assert again(verdicts, "C5.weyl", sigma=values, sigma_c=centred).status == Status.HOLDS
    elsewhere = spectrum.singular_values(data.centred, TwoLayer.initialise(100, 6, "erf", seed=1))
    assert again(verdicts, "C5.weyl", sigma_c=elsewhere).status == Status.VIOLATED  # two different networks
    assert again(verdicts, "C5.nuisance", sigma=values[2]).status == Status.VIOLATED  # K in place of K + 1
    other = dataclasses.replace(data, clusters=np.roll(data.clusters, 2))
    sine = nearby._jacobians(other, network)["sine"]
    assert again(verdicts, "C5.angle", sine=sine).status == Status.VIOLATED  # the wrong clusters
    assert again(verdicts, "C5.angle_apriori", sine=sine).status == Status.VIOLATED
    near = nearby._jacobians(sweep([0.002])[0], network)
    assert again(verdicts, "C5.angle_apriori", E=near["op"]).status == Status.VIOLATED  # another set's move


def test_the_move_is_linear_in_the_radius():
    sets, network = sweep(np.geomspace(1e-4, 3e-2, 5)), TwoLayer.initialise(100, 6, "softplus")
    verdicts = nearby.check_nearby(sets, network, settings={"width": 100})
    rates = [verdict for verdict in verdicts if verdict.claim.id == "C5.rate"]
    assert [rate.settings["quantity"] for rate in rates] == ["move of the Jacobian", "singular value K+1", "sine"]
    assert all(rate.require() and rate.settings["width"] == 100 for rate in rates)
    squares = Estimate.exponent(np.geomspace(1e-4, 3e-2, 5), np.geomspace(1e-4, 3e-2, 5) ** 2)
    assert C5["rate"].check(exponent=squares).status == Status.VIOLATED


def test_sets_that_c5_cannot_compare_are_refused():
    lonely = clusterable.generate(3, 3, 6, per_cluster=1, radius=0.1)
    with pytest.raises(InvalidInput, match="one with two points"):
        nearby.check_nearby(lonely, TwoLayer.initialise(10, 6))


def test_experiment_finds_what_is_expected():
    table = C5.experiment()
    assert {verdict.claim.id for verdict in table} == {member.id for member in C5.members}
    assert all(verdict.status in (Status.HOLDS, Status.INCONCLUSIVE) for verdict in table)
    assert all(verdict.status == Status.HOLDS for verdict in table if not verdict.random)


@pytest.mark.slow
def test_full_experiment():
    assert not C5.experiment("full", seed=1).unexpected()
