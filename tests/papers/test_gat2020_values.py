"""F8 and F10: numbers to ten digits, and the laws that break log-Sobolev."""

import numpy as np
import pytest
from judging import again, judged

from theory.checks import InvalidInput
from theory.entropy import Gaussian, evaluate
from theory.papers.gat2020 import F8, F10
from theory.papers.gat2020.exact_values import EXAMPLES, check_values, check_waves, digits
from theory.papers.gat2020.other_laws import LAPLACE, LAWS, TWO_POINTS, UNIFORM, Law, check_law, check_stein, wave
from theory.verdict import Status

HOLDS, VIOLATED, OUT_OF_SCOPE = Status.HOLDS, Status.VIOLATED, Status.OUT_OF_SCOPE
PAGE = {"1 + x^2": (0.369253, 0.688641), "cosh(x)": (0.269020, 0.453728)}


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_values(name):
    verdicts = check_values(name)
    assert {str(verdict.status) for verdict in verdicts} == {"holds"}
    assert digits(name) == pytest.approx(PAGE.get(name, digits(name)), abs=6e-7)
    for claim, symbol in (("entropy", "reference"), ("information", "reference_half"), ("variance", "variance_")):
        [verdict] = [one for one in verdicts if one.claim.id == f"F8.{claim}"]
        assert again(verdicts, f"F8.{claim}", **{symbol: verdict.inputs[symbol].value * (1 + 1e-8)}).status == VIOLATED
    assert again(verdicts, "F8.energy", energy_=1.0).status == VIOLATED


@pytest.mark.parametrize("name", ["1 + x^2", "cosh(x)", "1 + sin(3x)/2"])
def test_values_inside_monte_carlo_intervals(name):
    import sympy as sp

    from theory.papers.gat2020.exact_values import x

    f, slope = (
        sp.lambdify(x, one, "numpy") for one in (EXAMPLES[name].expression, sp.diff(EXAMPLES[name].expression, x))
    )
    found = evaluate(lambda z: f(z[:, 0]), Gaussian.standard(1), gradient=slope, draws=100_000, seed=1)
    for estimate, truth in zip((found.entropy(), found.log_sobolev_bound()), digits(name), strict=True):
        low, high = estimate.interval(0.99)
        assert low <= truth <= high
    verdicts = check_values(name, found)
    assert {str(verdict.status) for verdict in verdicts} <= {"inconclusive"}  # an interval settles no identity


def test_waves():
    verdicts = check_waves(range(1, 7))
    assert judged(verdicts, "F8.flat") == judged(verdicts, "F8.grows") == HOLDS
    assert again(verdicts, "F8.grows", exponent=1.0).status == VIOLATED
    [first, *_] = verdicts
    assert first.claim.check(**{**first.inputs, "Ent": 0.2}).status == VIOLATED
    assert first.claim.check(**{**first.inputs, "k": 0}).status == OUT_OF_SCOPE


def test_laws_have_their_variances():
    for name, law in LAWS.items():
        assert law.weights.sum() == pytest.approx(1, abs=1e-13)
        assert law.variance == pytest.approx(1, abs=1e-12) or name == "truncated"
    assert LAWS["truncated"].variance == pytest.approx(0.291125, abs=1e-6)


def test_exhibits():
    def sides(verdicts):
        return tuple(float(verdicts[0].inputs[name].value) for name in ("Ent", "half"))

    coins = check_law(LAWS["two points"], *wave(1), TWO_POINTS)
    assert sides(coins) == pytest.approx((0.130812, 0), abs=6e-7)
    a, M = 1.0, 2.0
    laplace = check_law(LAWS["Laplace"], np.exp, np.exp, LAPLACE)
    assert sides(laplace) == pytest.approx((M * (a * a * M - np.log(M)), a * a * M / 2), abs=1e-10)
    assert sides(laplace) == pytest.approx((2.613706, 1), abs=6e-7)
    uniform = check_law(LAWS["uniform"], *wave(np.sqrt(3)), UNIFORM)
    assert sides(uniform) == pytest.approx((0.064638, 0.055095), abs=6e-7)
    for one in (coins, laplace, uniform):
        assert one[0].status == VIOLATED and not one.unexpected()
    assert check_law(LAWS["truncated"], *wave(1), TWO_POINTS)[0].status == OUT_OF_SCOPE


def test_the_positive_control():
    verdicts = check_law(LAWS["truncated"], *wave(1))
    assert verdicts[0].status == HOLDS
    assert again(verdicts, "F10.truncated", half=0.0).status == VIOLATED
    # a small variance is not enough: half the coins, where no gradient sees f
    coins = Law(LAWS["two points"].nodes / 2, LAWS["two points"].weights)
    assert check_law(coins, *wave(0.5))[0].status == OUT_OF_SCOPE
    assert again(check_law(coins, *wave(0.5)), "F10.truncated", convex=1).status == VIOLATED
    assert check_law(LAWS["normal"], *wave(2))[0].status == HOLDS


@pytest.mark.parametrize("name", ["two points", "Laplace", "uniform"])
@pytest.mark.parametrize("g", ["tanh", "sin"])
def test_steins_construction(name, g):
    pair = {"tanh": (np.tanh, lambda x: np.cosh(x) ** -2.0), "sin": (np.sin, np.cos)}[g]
    verdicts = check_stein(LAWS[name], *pair)
    assert [str(verdict.status) for verdict in verdicts] == ["holds", "holds"]
    for claim in ("F10.poincare", "F10.log_sobolev"):
        assert again(verdicts, claim, spread=2.0).status == OUT_OF_SCOPE
    assert again(verdicts, "F10.poincare", energy=10.0).status == VIOLATED
    assert again(verdicts, "F10.log_sobolev", half=10.0).status == VIOLATED


def test_the_normal_law_gives_steins_construction_nothing():
    verdicts = check_stein(LAWS["normal"], np.sin, np.cos)
    assert [str(verdict.status) for verdict in verdicts] == ["out of scope", "out of scope"]
    half = LAWS["normal"]
    narrow = Law(half.nodes / 2, half.weights)
    assert check_stein(narrow, np.sin, np.cos)[0].status == OUT_OF_SCOPE


@pytest.mark.parametrize("family", [F8, F10], ids=lambda family: family.id)
def test_experiments_find_what_is_expected(family):
    table = family.experiment(seed=1)
    assert {verdict.claim for verdict in table} == set(family.members)
    assert not table.unexpected()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check_values("x"), "example"),
        (lambda: check_waves([np.inf]), "frequency"),
        (lambda: check_law(LAWS["uniform"], lambda x: x, np.ones_like), "f >= 0"),
        (lambda: F10.experiment("tiny"), "budget"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InvalidInput, match=message):
        call()
