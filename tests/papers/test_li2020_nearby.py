import dataclasses
import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import clusterable, descent, label_noise, spectrum
from theory.checks import InvalidInput
from theory.estimate import Estimate
from theory.networks import TwoLayer
from theory.papers.li2020 import nearby
from theory.papers.li2020.nearby import C5, C8, C9
from theory.verdict import Status, combine

SMOOTH = ("softplus", "erf", "tanh", "gelu")


def judged(verdicts, name):
    """The statuses of one member, all its rows together."""
    rows = [verdict for verdict in verdicts if verdict.claim.id == name]
    assert rows, f"{name} was not judged"
    return combine(status for row in rows for status in row.statuses.flat)


def again(verdicts, name, **changed):
    """One member judged on the same measurements but for those given."""
    [row] = [verdict for verdict in verdicts if verdict.claim.id == name]
    return row.claim.check(**{**row.inputs, **changed})


def sweep(radii, seed=0, spread="boundary", **shape):
    shape = {"clusters": 3, "classes": 3, "dimension": 6, "per_cluster": 5, **shape}
    return [clusterable.generate(radius=radius, spread=spread, seed=seed, **shape) for radius in radii]


# --- C5 -------------------------------------------------------------------------------------------------------------


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


# --- C8 -------------------------------------------------------------------------------------------------------------


@functools.cache
def paths(rate, seed, taus=(50, 100, 200), radii=(5e-4, 2e-3, 6e-3)):
    """Paths at width 200 and the usual step; far enough from each other's centres to be fitted at step 50."""
    shape = {"clusters": 2, "classes": 2, "dimension": 8, "per_cluster": 6, "antipodal_separation": 1.2}
    sets = sweep(radii, seed, **shape)
    network = TwoLayer.initialise(200, 8, "tanh", paired=True, seed=seed)
    y = label_noise.corrupt(sets[0], rate, seed=seed).y
    step = 1 / network.jacobian_bound(sets[0].centred) ** 2
    return nearby.compare_paths(sets, y, network, step=step, taus=taus)


def test_corrupted_labels_drift_away_at_constant_speed():
    verdicts = nearby.check_paths(*(paths(0.34, seed) for seed in range(4)))
    assert judged(verdicts, "C8.radius") == judged(verdicts, "C8.time") == Status.HOLDS
    assert judged(verdicts, "C8.clean_radius") == judged(verdicts, "C8.clean_time") == Status.OUT_OF_SCOPE


def test_clean_labels_stay_beside_the_perfect_path():
    verdicts = nearby.check_paths(*(paths(0.0, seed) for seed in range(4)))
    assert judged(verdicts, "C8.clean_radius") == judged(verdicts, "C8.clean_time") == Status.HOLDS
    assert judged(verdicts, "C8.radius") == judged(verdicts, "C8.time") == Status.OUT_OF_SCOPE


def test_the_two_kinds_of_labels_are_told_apart():
    noisy = nearby.check_paths(*(paths(0.34, seed) for seed in range(4)))
    clean = nearby.check_paths(*(paths(0.0, seed) for seed in range(4)))
    assert again(noisy, "C8.clean_time", mixed=0).status == Status.VIOLATED  # corrupted labels taken for clean ones
    assert again(clean, "C8.time", mixed=2).status == Status.VIOLATED


@pytest.mark.parametrize("rate", [0.0, 0.34])
def test_another_initialisation_is_caught(rate):
    """The gap of two paths from different W0 does not shrink with the radius."""
    apart = [dataclasses.replace(paths(rate, seed), gaps=20 + paths(rate, seed).gaps) for seed in range(4)]
    verdicts = nearby.check_paths(*apart)
    assert judged(verdicts, "C8.clean_radius" if rate == 0 else "C8.radius") == Status.VIOLATED


@pytest.mark.parametrize(
    "changed", [{"step": 1e-6}, {"radii": np.array([0.1, 0.2, 0.4])}], ids=["not fitted", "too far"]
)
def test_outside_the_regime_nothing_is_said(changed):
    for rate in (0.0, 0.34):
        verdicts = nearby.check_paths(dataclasses.replace(paths(rate, 0), **changed))
        assert {verdict.status for verdict in verdicts} == {Status.OUT_OF_SCOPE}


def test_the_creep_of_clean_labels_is_out_of_scope():
    """At a fixed eta tau n eps0^2 a smaller radius leaves more time to creep: the gap grows, and the claim says so."""
    late = paths(0.0, 0, taus=(500, 1000, 2000), radii=(1e-3, 2e-3, 3e-3))
    assert late.step * 2000 * late.n * 3e-3**2 < 1 / 20
    verdicts = nearby.check_paths(late)
    assert judged(verdicts, "C8.clean_time") == Status.OUT_OF_SCOPE
    assert float(np.polyfit(np.log(late.taus), np.log(late.gaps[-1]), 1)[0]) > 0.1


def test_sweeps_that_c8_cannot_compare_are_refused():
    first, other = sweep([0.01], seed=0)[0], sweep([0.02], seed=1)[0]
    network = TwoLayer.initialise(10, 6)
    with pytest.raises(InvalidInput, match="same centres"):
        nearby.compare_paths([first, other], first.y, network, step=0.1, taus=[1])
    with pytest.raises(InvalidInput, match="taus"):
        nearby.compare_paths([first], first.y, network, step=0.1, taus=[2, 1])
    with pytest.raises(InvalidInput, match="as many radii"):
        nearby.check_paths()


# --- C9 -------------------------------------------------------------------------------------------------------------


@functools.cache
def run(rate, seed=0, width=4000, name="softplus", radius=0.01, further=0):
    """Two clusters, corrupted labels, their certificate, and descent for as many steps as it covers, and some more."""
    data = clusterable.generate(2, 2, 8, per_cluster=5, radius=radius, antipodal_separation=1.2, seed=seed)
    labels = label_noise.corrupt(data, rate, seed=seed)
    network = TwoLayer.initialise(width, 8, name, paired=True, seed=seed)
    found = nearby._certify(network, data, labels, None)
    steps = min(len(found.a) - 1, 200) + further
    trajectory = descent.train(network, data.X, labels.y, step=found.step, steps=max(1, steps), record=range(steps + 1))
    return data, labels, trajectory, found


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    name=st.sampled_from(SMOOTH),
    width=st.sampled_from([200, 1000, 4000]),
    rate=st.sampled_from([0.0, 0.2, 0.4]),
    radius=st.floats(1e-3, 0.1),
)
def test_the_certificate_covers_the_trajectory(seed, name, width, rate, radius):
    data, labels, trajectory, found = run.__wrapped__(rate, seed, width, name, radius)
    verdicts = nearby.check_certificate(data, labels, trajectory, found)
    for member in ("C9.support", "C9.nuisance", "C9.path", "C9.recovery"):
        assert judged(verdicts, member) in (Status.HOLDS, Status.OUT_OF_SCOPE), member
    assert judged(verdicts, "C9.certified") in (Status.HOLDS, Status.OUT_OF_SCOPE)


@pytest.mark.parametrize("rate", [0.0, 0.2])
def test_the_certificate_says_something(rate):
    data, labels, trajectory, found = run(rate)
    verdicts = nearby.check_certificate(data, labels, trajectory)  # its own certificate, for the step trained with
    assert found.certified
    for verdict in verdicts:
        verdict.require()
    best = trajectory.predictions[trajectory.steps == found.best_tau]
    assert np.array_equal(np.sign(best[0]), data.y)  # labels -1 and +1: the certified step does recover them


def test_each_part_of_the_certificate_matters():
    data, labels, trajectory, found = run(0.2)
    taus = np.arange(len(found.a))

    def mutant(**changed):
        return nearby.check_certificate(data, labels, trajectory, dataclasses.replace(found, **changed))

    fast = found.a[0] * (1 - found.step * found.support**2) ** taus  # contracts at the largest singular value
    assert judged(mutant(a=fast), "C9.support") == Status.VIOLATED
    assert judged(mutant(q=0 * found.q), "C9.nuisance") == Status.VIOLATED  # nothing leaks off the cluster space
    assert judged(mutant(path=found.path / 5), "C9.path") == Status.VIOLATED
    silent = dataclasses.replace(found.start, noise_limit=0.0)  # the labels' mean error left out
    assert judged(mutant(start=silent), "C9.recovery") == Status.VIOLATED


def test_too_much_noise_is_not_certified_and_pretending_is_caught():
    data, labels, trajectory, found = run(0.8)
    verdicts = nearby.check_certificate(data, labels, trajectory, found)
    assert judged(verdicts, "C9.certified") == Status.OUT_OF_SCOPE and not found.certified
    silent = dataclasses.replace(found, start=dataclasses.replace(found.start, noise_limit=0.0))
    assert judged(nearby.check_certificate(data, labels, trajectory, silent), "C9.certified") == Status.VIOLATED


def test_beyond_the_ball_nothing_is_certified():
    data, labels, trajectory, found = run(0.2, further=5)
    verdicts = nearby.check_certificate(data, labels, trajectory, found)
    for verdict in verdicts[:4]:
        assert [str(status) for status in verdict.statuses[-5:]] == ["out of scope"] * 5
        assert verdict.status == Status.HOLDS
    assert again(verdicts, "C9.support", eta=3 / found.support**2).status == Status.OUT_OF_SCOPE
    assert again(verdicts, "C9.path", ball=0.0).status == Status.OUT_OF_SCOPE


def test_trajectories_that_c9_cannot_judge_are_refused():
    data, labels, trajectory, found = run(0.2)
    clean = label_noise.corrupt(data, 0.0)
    with pytest.raises(InvalidInput, match="labels that it was trained on"):
        nearby.check_certificate(data, clean, trajectory)
    with pytest.raises(InvalidInput, match="certify the step"):
        nearby.check_certificate(data, labels, trajectory, dataclasses.replace(found, step=found.step / 2))
    fast = descent.train(trajectory.network0, data.X, labels.y, step=3 * found.step, steps=2)
    with pytest.raises(InvalidInput, match="step"):
        nearby.check_certificate(data, labels, fast)


# --- experiments ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [C5, C8, C9], ids=lambda family: family.id)
def test_experiments_find_what_is_expected(family):
    table = family.experiment()
    assert {verdict.claim.id for verdict in table} == {member.id for member in family.members}
    assert all(verdict.status in (Status.HOLDS, Status.INCONCLUSIVE) for verdict in table)
    assert all(verdict.status == Status.HOLDS for verdict in table if not verdict.random)


@pytest.mark.slow
@pytest.mark.parametrize("family", [C5, C8, C9], ids=lambda family: family.id)
def test_full_experiments(family):
    table = family.experiment("full", seed=1)
    assert not table.unexpected()
    if family is C9:  # labels -1 and +1: below 1 the certificate says that every label is recovered
        certified = [verdict for verdict in table if verdict.claim.id == "C9.certified"]
        assert {verdict.settings["width"] for verdict in certified} == {4_000, 16_000, 64_000}
        for verdict in certified:
            if verdict.settings["certified error"] < 1:
                verdict.require()
        clean = [v.settings["certified error"] for v in certified if v.settings["noise rate"] == 0]
        assert max(clean) < 1  # not vacuous anywhere on clean labels
