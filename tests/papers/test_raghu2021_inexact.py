"""H6 and H7: the hypergradient away from w*, bounded; misused on example weights H6 is false, H7 is not."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import again, judged

from theory.checks import InvalidInput
from theory.papers.raghu2021.certificate import H7, check_certificate, experiment_certificate
from theory.papers.raghu2021.inexact import H6, check_inexact, experiment_inexact, linear_in_phi
from theory.papers.raghu2021.logistic import Logistic, random_logistic
from theory.verdict import Status

HOLDS, VIOLATED, OUT_OF_SCOPE = Status.HOLDS, Status.VIOLATED, Status.OUT_OF_SCOPE


def linear(seed=0, far=1.0):
    draw = np.random.default_rng(seed)
    inner, outer, lipschitz, p, phi = linear_in_phi(draw)
    return inner, outer, torch.from_numpy(far * draw.standard_normal((4, p))), phi, lipschitz


@settings(max_examples=8)
@given(seed=st.integers(0, 10**6), far=st.floats(1e-3, 100))
def test_inexact_solutions(seed, far):
    for verdict in check_inexact(*linear(seed, far)):
        assert verdict.status == HOLDS, verdict.explain()


def test_broken_constants_are_caught():
    verdicts = check_inexact(*linear())
    for name in ("H6.distance", "H6.spectral", "H6.slope"):
        assert again(verdicts, name, Lv=0.0).status == VIOLATED
        assert again(verdicts, name, moved=1e9).status == VIOLATED
        assert again(verdicts, name, direct=0.1).status == OUT_OF_SCOPE
        assert again(verdicts, name, mu=-1.0).status == OUT_OF_SCOPE
    inner, outer, points, phi, lipschitz = linear()

    def direct(w, phi):
        return outer(w, phi) + phi.sum()

    assert check_inexact(inner, direct, points, phi, lipschitz)[0].status == OUT_OF_SCOPE


def test_all_three_are_attained():
    """H = 4 I, B = -I, L_V = ||w||^2/2: what is a millionth longer is too long."""
    points, phi = torch.randn(3, 2, generator=torch.Generator().manual_seed(0)).double(), torch.ones(2).double()
    verdicts = check_inexact(lambda w, p: 2 * w @ w - p @ w, lambda w, p: w @ w / 2, points, phi, 1.0)
    moved = verdicts[0].inputs["moved"].value
    for name in ("H6.distance", "H6.spectral", "H6.slope"):
        assert again(verdicts, name, moved=moved * (1 - 1e-6)).status == HOLDS
        assert set(again(verdicts, name, moved=moved * (1 + 1e-6)).statuses) == {VIOLATED}


@pytest.mark.parametrize(
    ("constants", "moved"),
    [
        ({"l_phiw": 3.0}, 3.0),  # L_V = 3 phi w: the direct part moves
        ({"m": 5.0, "l_ww": 7.0}, 5 * 7 / 2),  # quadratic losses
        ({"rho_wphi": 3.0, "V": 5.0}, 3 * 5 / 2),  # M = 3 w, H and grad L_V constant
        ({"m": 3.0, "rho_ww": 5.0, "V": 7.0}, 3 * 5 * 7 / 4),  # H = 2 + 5 w: M V (1/H(0) - 1/H(d)), d to 0
        ({"m": 3.0, "miss": 5.0, "distance": 0.0, "slope": 0.0}, 15.0),
    ],
)
def test_every_term_is_needed(constants, moved):
    """One-dimensional problems with mu = 2 that attain one term of C each, at distance 1."""
    words = {name for claim in H7.members for name in claim.meanings} - {"moved"}
    given = dict.fromkeys(words, 0.0) | {"mu": 2.0, "least": 2.0, "distance": 1.0, "slope": 2.0} | constants
    for claim in H7.members:
        values = {name: given[name] for name in claim.meanings if name != "moved"}
        if "miss" not in constants or "miss" in values:
            assert claim.check(moved=moved * (1 - 1e-9), **values).status == HOLDS
            assert claim.check(moved=moved * (1 + 1e-9), **values).status == VIOLATED


def test_the_constants_are_attained():
    """One example: sigma' is largest at margin 0, |sigma''| at log(2 + sqrt 3)."""
    problem = Logistic(*(np.full(shape, 1.0) for shape in ((1, 1), 1, (1, 1), 1, 1)), 1.0)
    c, h = problem.constants(), 1e-4

    def slope(function, w):
        return abs(float(np.squeeze(function(np.array([w + h])) - function(np.array([w - h]))))) / (2 * h)

    steep = float(np.log(2 + 3**0.5))
    found = [slope(problem.mixed, 0.0), slope(problem.hessian, steep), slope(problem.outer_gradient, 0.0)]
    np.testing.assert_allclose(found, [c["rho_wphi"], c["rho_ww"], c["l_ww"]], rtol=1e-6)
    assert np.linalg.norm(problem.mixed(np.array([-30.0]))) == pytest.approx(c["m"])


def as_losses(problem: Logistic):
    """The problem's two losses as torch functions of (w, phi)."""
    X, y, V, z = (torch.from_numpy(part) for part in (problem.X, problem.y, problem.V, problem.z))

    def inner(w, phi):
        return (phi * torch.logaddexp(torch.zeros_like(y), -y * (X @ w))).mean() + problem.ridge / 2 * (w @ w)

    def outer(w, phi):
        return torch.logaddexp(torch.zeros_like(z), -z * (V @ w)).mean()

    return inner, outer


def test_example_weights_are_out_of_scope_of_h6_and_would_violate_it():
    worst = 0.0
    for seed in range(4):
        problem = random_logistic(np.random.default_rng(seed), ridge=0.01)
        inner, outer = as_losses(problem)
        points = problem.minimum() + np.random.default_rng(seed).standard_normal((8, 4)) * 3
        lipschitz = problem.constants()["l_ww"]
        verdicts = check_inexact(inner, outer, torch.from_numpy(points), torch.from_numpy(problem.phi), lipschitz)
        assert {verdict.status for verdict in verdicts} == {OUT_OF_SCOPE}
        misused = again(verdicts, "H6.distance", drift=0.0)
        assert misused.status == VIOLATED
        worst = max(worst, float((misused.left.value / misused.right.value).max()))
        if seed < 3:
            assert {v.status for v in check_certificate(problem, points)} == {HOLDS}
    assert worst > 1.5


@settings(max_examples=8)
@given(seed=st.integers(0, 10**6), far=st.floats(1e-3, 30))
def test_certificates(seed, far):
    draw = np.random.default_rng(seed)
    problem = random_logistic(draw)
    for verdict in check_certificate(problem, problem.minimum() + far * draw.standard_normal((4, 4))):
        assert verdict.status == HOLDS, verdict.explain()


def test_the_closed_forms_are_the_derivatives():
    problem = random_logistic(np.random.default_rng(3))
    inner, outer = as_losses(problem)
    w, phi = torch.from_numpy(problem.minimum() + 0.3), torch.from_numpy(problem.phi)
    gradient = torch.func.grad(inner)
    assert np.linalg.norm(problem.gradient(problem.minimum())) < 1e-12
    pairs = [
        (problem.gradient(w.numpy()), gradient(w, phi)),
        (problem.hessian(w.numpy()), torch.func.jacrev(gradient)(w, phi)),
        (problem.mixed(w.numpy()), torch.func.jacrev(gradient, argnums=1)(w, phi)),
        (problem.outer_gradient(w.numpy()), torch.func.grad(outer)(w, phi)),
    ]
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-10, atol=1e-13)


@given(seed=st.integers(0, 10**6))
def test_the_constants_are_lipschitz_constants(seed):
    draw = np.random.default_rng(seed)
    problem = random_logistic(draw)
    c, (a, b) = problem.constants(), 2 * draw.standard_normal((2, 4))
    moved = np.linalg.norm(a - b) * (1 + 1e-9)
    assert np.linalg.norm(problem.mixed(a), 2) <= c["m"] * (1 + 1e-9)
    assert np.linalg.norm(problem.mixed(a) - problem.mixed(b), 2) <= c["rho_wphi"] * moved
    assert np.linalg.norm(problem.hessian(a) - problem.hessian(b), 2) <= c["rho_ww"] * moved
    assert np.linalg.norm(problem.outer_gradient(a) - problem.outer_gradient(b)) <= c["l_ww"] * moved


def test_every_constant_counts():
    problem = random_logistic(np.random.default_rng(0), ridge=0.05)
    points = problem.minimum() + 0.01 * np.random.default_rng(0).standard_normal((6, 4))
    verdicts = check_certificate(problem, points)
    assert judged(verdicts, "H7.distance") == HOLDS
    none = dict.fromkeys(("m", "rho_wphi", "rho_ww", "l_ww", "l_phiw"), 0.0)
    broken = check_certificate(problem, points, constants={"mu": 0.05, **none})
    assert {v.status for v in broken} == {VIOLATED}
    overstated = check_certificate(problem, points, constants={**problem.constants(), "mu": 10.0})
    assert {v.status for v in overstated} == {OUT_OF_SCOPE}
    rows = [verdict for verdict in verdicts if verdict.claim.id == "H7.slope"]
    assert {row.settings["V at"] for row in rows} == {"w", "w*"}


def test_curvature_is_bounded_all_the_way():
    """The slope's bound needs H >= mu I between w and w* as well; here it holds at both and fails between."""
    X = 10 * np.array([[-1.3, 1.0], [-0.7, 1.0], [0.7, 1.0], [1.3, 1.0]])
    problem = Logistic(X, np.ones(4), X, np.ones(4), np.ones(4), 0.01)
    path = [np.array([1.0, t]) for t in np.linspace(-1, 1, 9)]
    least = [np.linalg.eigvalsh(problem.hessian(w))[0] for w in path]
    assert problem.ridge <= problem.least(path[0], path[-1]) <= least[4] < 0.5 * min(least[0], least[-1])
    assert problem.least(path[0], path[0]) == pytest.approx(least[0])
    draw = np.random.default_rng(0)
    for _ in range(30):
        problem, (w, other) = random_logistic(draw), 3 * draw.standard_normal((2, 4))
        between = [np.linalg.eigvalsh(problem.hessian(w + t * (other - w)))[0] for t in (0, 0.2, 0.5, 1)]
        assert problem.ridge <= problem.least(w, other) <= min(between) * (1 + 1e-12)


def test_an_inexact_solve_needs_its_term():
    problem = random_logistic(np.random.default_rng(0), ridge=0.01)
    verdicts = check_certificate(problem, problem.minimum() + 1e-9 * np.ones((1, 4)))
    row = next(verdict for verdict in verdicts if verdict.claim.id == "H7.solve")
    assert row.status == HOLDS
    assert row.claim.check(**{**row.inputs, "miss": 0.0}).status == VIOLATED


def test_experiments_find_what_is_expected():
    for experiment, family in ((experiment_inexact, H6), (experiment_certificate, H7)):
        table = experiment()
        assert {verdict.claim for verdict in table} == set(family.members)
        for member in family.members:
            assert judged(table, member.id) == HOLDS


@pytest.mark.slow
def test_experiments_at_full_size():
    for experiment, family in ((experiment_inexact, H6), (experiment_certificate, H7)):
        table = experiment("full", seed=1)
        for member in family.members:
            assert judged(table, member.id) == HOLDS


def test_bad_input():
    inner, outer, points, phi, lipschitz = linear()
    with pytest.raises(InvalidInput, match="lipschitz"):
        check_inexact(inner, outer, points, phi, -1.0)
    with pytest.raises(InvalidInput, match="points"):
        check_inexact(inner, outer, points[0], phi, lipschitz)
    with pytest.raises(InvalidInput, match="points: expected float64"):
        check_inexact(inner, outer, points.float(), phi, lipschitz)
    with pytest.raises(InvalidInput, match="scalar"):
        check_inexact(inner, lambda w, phi: w, points, phi, lipschitz)
    with pytest.raises(InvalidInput, match="invertible"):
        check_inexact(lambda w, phi: w.sum() ** 2 - (w * phi[0]).sum(), outer, points, phi, lipschitz)
    falling = lambda w, phi: -w @ w - phi[0] * w.sum()  # noqa: E731
    assert {v.status for v in check_inexact(falling, outer, points, phi, lipschitz)} == {OUT_OF_SCOPE}
    problem = random_logistic(np.random.default_rng(0))
    with pytest.raises(InvalidInput, match="constants"):
        check_certificate(problem, np.zeros((1, 4)), constants={"mu": 1.0})
    with pytest.raises(InvalidInput, match="points"):
        check_certificate(problem, np.zeros(4))
    with pytest.raises(InvalidInput, match=r"points: .*NaN"):
        check_certificate(problem, np.full((1, 4), np.nan))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.zeros(20)}, "signs"),
        ({"phi": -np.ones(20)}, ">= 0"),
        ({"ridge": 0.0}, "ridge"),
        ({"V": np.ones((15, 3))}, "V"),
        ({"z": np.ones(3)}, "z"),
    ],
)
def test_bad_problems(change, message):
    problem = random_logistic(np.random.default_rng(0))
    with pytest.raises(InvalidInput, match=message):
        Logistic(**{**vars(problem), **change})
