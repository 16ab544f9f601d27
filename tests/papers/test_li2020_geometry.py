import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import judged

from theory import activations, clusterable, covariance
from theory.checks import InvalidInput
from theory.estimate import Estimate
from theory.papers.li2020 import geometry
from theory.papers.li2020.geometry import C3
from theory.strategies import SMOOTH
from theory.verdict import Status

LINEAR_PART = ("softplus", "gelu", "relu")  # phi(z) - phi(-z) = z


def planar(angles):
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


# --- two centres ----------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(nu=st.floats(1e-3, 1.9999), dimension=st.integers(2, 6))
def test_two_centres_under_relu(nu, dimension):
    verdicts = geometry.check_geometry(geometry.pair(nu, dimension), "relu")
    for name in ("C3.relu_pair", "C3.relu_lower", "C3.repaired", "C3.separated"):
        assert judged(verdicts, name) == Status.HOLDS, name
    expected = Status.HOLDS if nu**2 < 2 else Status.OUT_OF_SCOPE
    if abs(nu**2 - 2) > 1e-9:
        assert judged(verdicts, "C3.relu_upper") == expected


@settings(max_examples=12)
@given(nu=st.floats(0.05, 1.41), name=st.sampled_from(SMOOTH))
def test_two_centres_under_a_smooth_activation(nu, name):
    verdicts = geometry.check_geometry(geometry.pair(nu), name)
    assert judged(verdicts, "C3.smooth_upper") == Status.HOLDS
    assert judged(verdicts, "C3.smooth_lower") in (Status.HOLDS, Status.VACUOUS)
    assert judged(verdicts, "C3.relu_pair") == Status.OUT_OF_SCOPE  # phi' is no step
    assert judged(verdicts, "C3.relu_lower") == Status.OUT_OF_SCOPE


def test_smooth_bounds_are_out_of_scope_beyond_a_right_angle():
    verdicts = geometry.check_geometry(geometry.pair(1.7), "gelu")
    assert judged(verdicts, "C3.smooth_upper") == judged(verdicts, "C3.smooth_lower") == Status.OUT_OF_SCOPE


def test_moments_match_the_closed_forms():
    gelu, erf = activations.get("gelu"), activations.get("erf")
    # E phi'''^2 of erf: phi'' = -4 z exp(-z^2)/sqrt(pi), phi''' = (8 z^2 - 4) exp(-z^2)/sqrt(pi), Gaussian integrals
    exact = 16 / math.pi * (12 / 5**2.5 - 4 / 5**1.5 + 1 / 5**0.5)
    assert float(geometry._third_moment(erf).value) == pytest.approx(exact, rel=1e-10)
    z = np.linspace(-12, 12, 200_001)
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    third = (z**3 - 4 * z) * density  # GELU'' = (2 - z^2) times the density
    numeric = np.trapezoid(third**2 * density, z)
    assert float(geometry._third_moment(gelu).value) == pytest.approx(numeric, rel=1e-9)


@pytest.mark.parametrize("name", SMOOTH)
def test_forgetting_a_term_of_the_smooth_bounds_is_caught(name):
    nu = 0.5
    lam = float(covariance.least_eigenvalue(geometry.pair(nu), name))
    m1, m2 = (activations.moment(name, order) for order in (1, 2))
    m3 = float(geometry._third_moment(activations.get(name)).value)
    near = {"lam": lam, "nu": nu, "M1": m1}
    assert C3["smooth_upper"].check(**near, M2=m2).status == Status.HOLDS
    assert C3["smooth_upper"].check(**near, M2=0).status == Status.VIOLATED
    assert C3["smooth_lower"].check(**near, M2=m2, M3=m3).status == Status.HOLDS
    assert C3["smooth_lower"].check(**near, M2=m2, M3=-2 * m2).status == Status.VIOLATED


def test_wrong_measurements_of_two_centres_are_caught():
    nu, angle = 1e-2, 2 * math.asin(5e-3)
    lam = float(covariance.least_eigenvalue(geometry.pair(nu), "relu"))
    assert C3["relu_pair"].check(lam=lam, theta=angle, flaw=0).status == Status.HOLDS
    assert C3["relu_pair"].check(lam=lam, theta=nu, flaw=0).status == Status.VIOLATED  # the chord is not the angle
    assert C3["relu_lower"].check(lam=0.81 * lam, nu=nu, flaw=0).status == Status.VIOLATED  # centres of norm 0.9
    assert C3["relu_upper"].check(lam=1.21 * lam, nu=nu, flaw=0).status == Status.VIOLATED  # centres of norm 1.1


@pytest.mark.parametrize("name", ("relu", *SMOOTH))
def test_rate_of_two_close_centres(name):
    nus = np.geomspace(1e-2, 1e-1, 6) if name != "relu" else np.geomspace(1e-4, 1e-2, 6)
    values = np.array([covariance.least_eigenvalue(geometry.pair(nu), name) for nu in nus])
    geometry.check_pair_rate(nus, values, name)[0].require()
    other = "gelu" if name == "relu" else "relu"
    assert geometry.check_pair_rate(nus, values, other)[0].status == Status.VIOLATED


# --- opposite centres -----------------------------------------------------------------------------------------------


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), name=st.sampled_from(("erf", "tanh")), others=st.integers(0, 3))
def test_opposite_centres_and_an_odd_activation(seed, name, others):
    generator = np.random.default_rng(seed)
    C = generator.normal(size=(1 + others, 4))
    C /= np.linalg.norm(C, axis=1, keepdims=True)
    C = np.concatenate([C, -C[:1]])
    assert judged(geometry.check_geometry(C, name), "C3.antipodal_odd") == Status.HOLDS
    assert judged(geometry.check_geometry(C[:-1] if others else geometry.pair(1.0), name), "C3.antipodal_odd") == (
        Status.OUT_OF_SCOPE
    )  # without the opposite centre


def test_opposite_centres_need_an_odd_activation():
    opposite = clusterable.generate(2, 1, 3, placement="antipodal").centres
    assert judged(geometry.check_geometry(opposite, "softplus"), "C3.antipodal_odd") == Status.OUT_OF_SCOPE
    lam = float(covariance.least_eigenvalue(opposite, "softplus"))
    assert C3["antipodal_odd"].check(lam=lam, gap=0, flaw=0).status == Status.VIOLATED  # were softplus odd


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), name=st.sampled_from(LINEAR_PART), dimension=st.integers(2, 4))
def test_more_opposite_pairs_than_dimensions(seed, name, dimension):
    C = clusterable.generate(2 * (dimension + 1), 1, dimension, placement="antipodal", seed=seed).centres
    assert judged(geometry.check_geometry(C, name), "C3.antipodal_pairs") == Status.HOLDS
    draw = np.random.default_rng(seed)
    weights = [draw.normal(size=(20, dimension)), draw.standard_cauchy((3, dimension)), np.ones((1, dimension))]
    assert judged(geometry.check_singular(C, weights, name), "C3.singular") == Status.HOLDS


def test_one_pair_fewer_is_out_of_scope_and_not_singular():
    C = geometry.hexagon()[[0, 3, 1, 4]]  # two pairs span two dimensions
    assert judged(geometry.check_geometry(C, "relu"), "C3.antipodal_pairs") == Status.OUT_OF_SCOPE
    lam = float(covariance.least_eigenvalue(C, "relu"))
    assert C3["antipodal_pairs"].check(lam=lam, pairs=3, span=2, flaw=0).status == Status.VIOLATED  # miscounted


def test_singular_needs_the_linear_part_at_the_preactivations():
    W = np.random.default_rng(0).normal(size=(40, 2))
    [erf] = geometry.check_singular(geometry.hexagon(), [W], "erf")
    assert erf.status == Status.OUT_OF_SCOPE
    # ReLU at a pre-activation that is exactly 0, where phi'(0) = 0 breaks phi'(z) + phi'(-z) = 1
    centres = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0], [0.6, 0.8], [-0.6, -0.8]])
    [kink] = geometry.check_singular(centres, [np.eye(2)], "relu")
    assert kink.status == Status.OUT_OF_SCOPE
    least = np.linalg.eigvalsh(covariance.empirical_kernel(geometry.hexagon(), W, np.ones(40), "erf"))[0]
    assert C3["singular"].check(least=least, pairs=3, span=2, flaw=0).status == Status.VIOLATED


def test_the_hexagon_refutes_the_remark():
    verdicts = geometry.check_geometry(geometry.hexagon(), "relu")
    [remark] = [verdict for verdict in verdicts if verdict.claim.id == "C3.remark"]
    assert remark.status == Status.VIOLATED and remark.claim.expected == Status.VIOLATED
    assert float(remark.left.high[0]) < 1e-13 and float(remark.right.low[0]) > 2e-4
    assert judged(verdicts, "C3.repaired") == judged(verdicts, "C3.separated") == Status.OUT_OF_SCOPE
    assert not verdicts.unexpected()
    # on separated lines the remark's inequality does hold: the counterexample beside them is what refutes it
    [beside] = [v for v in geometry.check_geometry(geometry.pair(1.0), "relu") if v.claim.id == "C3.remark"]
    assert [str(status) for status in beside.statuses] == ["holds", "violated"]
    [smooth] = [v for v in geometry.check_geometry(geometry.pair(1.0), "gelu") if v.claim.id == "C3.remark"]
    assert smooth.status == Status.OUT_OF_SCOPE


@settings(max_examples=30)
@given(angles=st.lists(st.floats(0, math.pi, exclude_max=True), min_size=2, max_size=12))
def test_separated_lines_in_the_plane(angles):
    C = planar(np.array(angles))
    verdicts = geometry.check_geometry(C, "relu")
    apart = min(min(np.linalg.norm(C[i] - C[j]), np.linalg.norm(C[i] + C[j])) for i in range(len(C)) for j in range(i))
    if apart > 1e-8:  # below, rounding of an eigenvalue hides the bound
        assert judged(verdicts, "C3.separated") == judged(verdicts, "C3.repaired") == Status.HOLDS


@pytest.mark.parametrize("member", ["C3.repaired", "C3.separated"])
def test_separation_must_be_that_of_the_lines(member):
    lam = float(covariance.least_eigenvalue(geometry.hexagon(), "relu"))
    wrong = {"lam": Estimate.computed(lam, error=1e-14), "nu": 1, "K": 6, "flaw": 0}
    assert C3[member].check(**wrong).status == Status.VIOLATED


def test_bad_centres_are_refused():
    for centres in ([[1.0, 1.0], [1.0, 0.0]], [[1.0, 0.0]], [], [[math.nan, 0.0], [1.0, 0.0]]):
        with pytest.raises(InvalidInput):
            geometry.check_geometry(centres, "relu")


# --- experiments ----------------------------------------------------------------------------------------------------


def test_experiment_finds_what_is_expected():
    table = C3.experiment()
    assert not table.unexpected()
    assert {verdict.claim.id for verdict in table} == {member.id for member in C3.members}
    assert table.family("C3.remark") == Status.VIOLATED
    for member in C3.members:
        if member.id != "C3.remark":
            assert table.family(member.id) == Status.HOLDS, member.id


@pytest.mark.slow
def test_full_experiment():
    assert not C3.experiment("full", seed=1).unexpected()
