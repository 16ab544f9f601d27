"""F1 to F4: log-Sobolev, Poincare, tensorization, Efron-Stein; tight cases, controls, and what is out of scope."""

import numpy as np
import pytest
import torch
from judging import again, judged

from theory import seeding
from theory.checks import InvalidInput
from theory.entropy import Gaussian, Sampler, evaluate
from theory.papers.gat2020 import F1, F2, F3, F4
from theory.papers.gat2020.log_sobolev import (
    check_exponential,
    check_hermite,
    check_log_sobolev,
    check_poincare,
    random_case,
)
from theory.papers.gat2020.tensorization import (
    _TEX,
    TENSOR,
    check_bilinear,
    check_efron_stein,
    check_tensorization,
)
from theory.verdict import Status

HOLDS, VIOLATED, OUT_OF_SCOPE = Status.HOLDS, Status.VIOLATED, Status.OUT_OF_SCOPE
PLANE = Gaussian.standard(2)
SIGNS = Sampler(lambda number, generator: generator.choice([-1.0, 1.0], size=(number, 1)), 1)


def wave(x):
    return 1 + np.sin(np.pi * x[:, 0] / 2) / 2


def wave_slope(x):
    return np.pi / 4 * np.cos(np.pi * x / 2)


def network_case(draws=20_000):
    torch.manual_seed(1)
    network = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1)).double()
    S = torch.tensor([[1.0, 0.3, 0.0], [0.3, 0.5, 0.1], [0.0, 0.1, 2.0]], dtype=torch.float64)
    measure = Gaussian(torch.zeros(3, dtype=torch.float64), S)
    f = lambda z: torch.nn.functional.softplus(3 * network(z)[:, 0])  # noqa: E731
    return evaluate(f, measure, gradients=True, draws=draws), measure


def test_a_network_by_draws():
    found, measure = network_case()
    verdicts = check_log_sobolev(found, measure) + check_poincare(found, measure)
    assert judged(verdicts, "F1.log_sobolev") == judged(verdicts, "F2.poincare") == HOLDS
    assert judged(verdicts, "F1.unweighted") == OUT_OF_SCOPE  # an eigenvalue of 2
    half = verdicts[0].inputs["half"]
    assert again(verdicts, "F1.log_sobolev", Ent=half.value + 10 * half.parameters["error"]).status == VIOLATED
    assert again(verdicts, "F2.poincare", energy=1e-6).status == VIOLATED


def test_random_cases():  # 2,000 of them: tests/test_entropy_exact.py
    draw = seeding.numpy_generator("cases of a test", 0)
    found, measures = zip(*(random_case(draw) for _ in range(150)), strict=True)
    verdicts = check_log_sobolev(list(found), list(measures)) + check_poincare(list(found), list(measures))
    statuses = {verdict.claim.id: set(map(str, verdict.statuses)) for verdict in verdicts}
    assert statuses["F1.log_sobolev"] <= {"holds", "inconclusive"}  # nearly exponential ones are ties to rounding
    assert statuses["F2.poincare"] <= {"holds", "inconclusive"}
    assert statuses["F1.unweighted"] <= {"holds", "inconclusive", "out of scope"}
    for verdict in verdicts[:2]:
        assert (verdict.statuses == HOLDS).mean() > 0.3


def test_the_two_point_measure_is_out_of_scope_and_violates():
    found = evaluate(wave, SIGNS, gradient=wave_slope)
    verdicts = check_log_sobolev(found, SIGNS) + check_poincare(found, SIGNS)
    assert {str(verdict.status) for verdict in verdicts} == {"out of scope"}
    assert again(verdicts, "F1.log_sobolev", gaussian=1).status == VIOLATED
    assert again(verdicts, "F1.unweighted", gaussian=1).status == VIOLATED
    assert again(verdicts, "F2.poincare", gaussian=1).status == VIOLATED
    assert check_exponential([1.0], SIGNS)[0].status == OUT_OF_SCOPE


@pytest.mark.parametrize("size", [0.05, 1.0])
def test_exponentials_are_tight_and_break_the_unweighted_form(size):
    S = np.diag([0.5, 1.7, 1.0])
    measure = Gaussian([0.2, -0.1, 0.3], S)
    first = check_exponential([0.0, size, 0.0], measure)
    assert [str(verdict.status) for verdict in first] == ["holds", "holds", "violated"]
    other = check_exponential([size, 0.0, 0.0], measure)
    assert [verdict.claim.id for verdict in other] == ["F1.exponential", "F1.tight"]
    assert again(first, "F1.exponential", power=1.001 * 1.7 * size**2).status == VIOLATED
    assert again(first, "F1.tight", shift=0.1).status == VIOLATED
    narrow = check_exponential([size], Gaussian([0.0], [[0.9]]))
    assert narrow[2].status == OUT_OF_SCOPE  # below 1 nothing is claimed to fail
    mild = check_log_sobolev(evaluate(wave, Gaussian.standard(1), gradient=wave_slope, order=400), Gaussian.standard(1))
    assert judged(mild, "F1.unweighted") == HOLDS
    assert again(mild, "F1.unweighted", plain=0.01).status == VIOLATED
    both = evaluate(wave, PLANE, gradient=lambda x: wave_slope(x) * [1, 0], order=64)
    assert judged(check_log_sobolev(both, PLANE), "F1.unweighted") == HOLDS  # the largest eigenvalue counts, no sum


def test_what_no_control_is_made_of():
    wide = Gaussian([0.0, 0.0], 2 * np.eye(2))
    assert [one.claim.id for one in check_exponential([0.0, 0.0], wide)] == ["F1.exponential", "F1.tight"]
    twins = Sampler(lambda number, generator: np.repeat(generator.normal(size=(number, 1)), 2, axis=1), 2)
    for check in (check_tensorization, check_efron_stein):  # nobody knows whether its coordinates are independent
        with pytest.raises(InvalidInput, match="a Gaussian"):
            check(lambda z: np.exp(z.sum(axis=1)), twins)


@pytest.mark.parametrize("size", [1e-180, 1e140])
def test_tiny_and_huge_functions(size):
    line = Gaussian.standard(1)
    found = evaluate(lambda z: size * wave(z), line, gradient=lambda z: size * wave_slope(z), order=400)
    assert judged(check_log_sobolev(found, line), "F1.log_sobolev") == HOLDS


def test_hermite_polynomials():
    verdicts = check_hermite(range(1, 7), mean=0.5, deviation=2.0)
    assert judged(verdicts, "F2.hermite") == HOLDS
    assert again(verdicts, "F2.hermite", n=2).status == VIOLATED
    assert check_hermite([0])[0].status == OUT_OF_SCOPE


def test_tensorization_of_a_network():
    W = np.random.default_rng(0).normal(size=(3, 6))
    f = lambda z: np.exp(np.tanh(z @ W).sum(axis=1) / 2)  # noqa: E731
    measure = Gaussian(np.zeros(3), np.diag([1.0, 0.5, 2.0]))
    how = {"draws": 4096, "method": "quasi"}
    verdicts = check_tensorization(f, measure, how=how, inner=16) + check_efron_stein(f, measure, how=how, inner=16)
    assert [str(verdict.status) for verdict in verdicts] == ["holds", "holds"]
    for name in ("F3.tensorization", "F4.efron_stein"):
        assert again(verdicts, name, total=1e-4).status == VIOLATED
        assert again(verdicts, name, dependence=0.5).status == OUT_OF_SCOPE
        assert again(verdicts, name, missing=1).status == OUT_OF_SCOPE
    pair = Gaussian([0.0, 0.0], [[1.0, 0.5], [0.5, 1.0]])
    both = lambda z: np.exp(z.sum(axis=1))  # noqa: E731
    assert check_tensorization(both, pair, how={"order": 48}, inner=48)[0].status == OUT_OF_SCOPE
    assert check_efron_stein(both, PLANE, blocks=[[1]], how={"order": 48})[0].status == OUT_OF_SCOPE
    together = check_tensorization(both, pair, blocks=[[0, 1]], how={"order": 32}, inner=24)[0]
    assert together.inputs["dependence"].value == 0  # correlation inside a block does no harm


def test_bilinear():
    verdicts = check_bilinear((0.1, 0.5))
    assert judged(verdicts, "F3.bilinear") == judged(verdicts, "F3.bilinear_total") == HOLDS
    assert judged(verdicts, "F3.tensorization") == HOLDS
    rows = {verdict.claim.id: verdict for verdict in verdicts}
    for name in ("F3.bilinear", "F3.bilinear_total"):
        verdict = rows[name]
        assert verdict.claim.check(**{**verdict.inputs, "t": 0.501}).status == VIOLATED
        assert verdict.claim.check(**{**verdict.inputs, "t": 2}).status == OUT_OF_SCOPE
    assert "rho" in _TEX["dependence"] and TENSOR.reference


@pytest.mark.parametrize("family", [F3, F4], ids=lambda family: family.id)
def test_controls_are_violated(family):
    verdicts = family.experiment(seed=2)
    assert not verdicts.unexpected()
    assert judged(verdicts, f"{family.id}.dependent") == judged(verdicts, f"{family.id}.frozen") == VIOLATED
    assert judged(verdicts, f"{family.id}.equal") == HOLDS
    equal = next(verdict for verdict in verdicts if verdict.claim.id == f"{family.id}.equal")
    assert equal.claim.check(**{**equal.inputs, "total": 2 * equal.inputs["total"].value}).status == VIOLATED
    assert equal.claim.check(**{**equal.inputs, "dependence": 0.1}).status == OUT_OF_SCOPE
    frozen = next(verdict for verdict in verdicts if verdict.claim.id == f"{family.id}.frozen")
    assert frozen.claim.check(**{**frozen.inputs, "missing": 0}).status == OUT_OF_SCOPE
    dependent = next(verdict for verdict in verdicts if verdict.claim.id == f"{family.id}.dependent")
    assert dependent.claim.check(**{**dependent.inputs, "R": 0}).status == OUT_OF_SCOPE


@pytest.mark.parametrize("family", [F1, F2, F3, F4], ids=lambda family: family.id)
def test_experiments_find_what_is_expected(family):
    table = family.experiment(seed=1)
    assert {verdict.claim for verdict in table} == set(family.members)
    assert not table.unexpected()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check_exponential([1.0, 2.0], Gaussian.standard(3)), "slope"),
        (lambda: check_hermite([1], deviation=0), "deviation"),
        (lambda: check_hermite([-1]), "degree"),
        (lambda: check_bilinear([1.0]), "t: expected"),
        (lambda: check_log_sobolev(evaluate(wave, SIGNS), SIGNS), "gradients"),
        (lambda: check_tensorization(lambda z: z[:, 0], PLANE), "f >= 0"),
        (lambda: F1.experiment("large"), "budget"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InvalidInput, match=message):
        call()
