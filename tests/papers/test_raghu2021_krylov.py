"""H8: conjugate gradients within Chebyshev's bound, on it where it is attained, never behind the Neumann series."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import again, judged

from theory.checks import InvalidInput
from theory.papers.raghu2021.krylov import (
    H8,
    check_attained,
    check_krylov,
    experiment_krylov,
    iterates,
    worst_system,
)
from theory.papers.raghu2021.systems import System, random_system
from theory.verdict import Status

HOLDS, VIOLATED, OUT_OF_SCOPE = Status.HOLDS, Status.VIOLATED, Status.OUT_OF_SCOPE


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), size=st.integers(3, 20), share=st.floats(0.05, 3))
def test_any_system(seed, size, share):
    H, v, _, high = random_system(np.random.default_rng(seed), condition=200.0, size=size)
    for verdict in check_krylov([(H, v, share / high, 7)]):
        assert verdict.status == HOLDS, verdict.explain()


@pytest.mark.parametrize("order", [1, 2, 3, 6, 10])
@pytest.mark.parametrize("condition", [1.5, 20.0, 1000.0])
def test_chebyshev_is_attained(order, condition):
    [verdict] = check_attained(1.0, condition, order)
    assert verdict.status == HOLDS
    assert again([verdict], "H8.attained", K=order + 1).status == VIOLATED


def test_the_bounds_are_no_wider_than_that():
    [verdict] = check_attained(1.0, 121 / 81, 3)  # q = 1/10, and the simpler bound is within a millionth
    given = {**verdict.inputs, "relative": verdict.inputs["relative"].value * 1.001}
    for member in (H8["chebyshev"], H8["geometric"]):
        assert member.check(**given).status == VIOLATED
    spectrum = {"mu": 1.0, "L": 121 / 81, "asymmetry": 0.0, "t": 0.1}
    for products, status in ((2, HOLDS), (3, VIOLATED)):  # arccosh(10)/log(10) = 1.3, rounded up
        assert H8["products"].check(products=products, **spectrum).status == status


def test_the_series_compared_is_that_of_one_product_fewer():
    H, v, _, high = random_system(np.random.default_rng(3), condition=100.0, size=9)
    alpha, x = 0.9 / high, np.linalg.solve(H, v)
    never = next(row for row in check_krylov([(H, v, alpha, 3)]) if row.claim.id == "H8.never_worse")
    total, term, found = alpha * v, alpha * v, []
    for _ in range(3):  # P_0, P_1, P_2 beside one, two, three products
        found.append(np.sqrt((total - x) @ H @ (total - x) / (x @ H @ x)))
        term = term - alpha * H @ term
        total = total + term
    np.testing.assert_allclose(never.inputs["theirs"].value, found)


def test_broken_measurements_are_caught():
    draw = np.random.default_rng(0)
    H, v, low, high = random_system(draw, condition=100.0, size=15)
    verdicts = check_krylov([(H, v, 1 / high, 14)])
    rows = {verdict.claim.id: verdict for verdict in verdicts}
    for name in ("H8.chebyshev", "H8.geometric"):
        assert again(verdicts, name, L=2 * low).status == VIOLATED  # a condition number understated
        assert again(verdicts, name, mu=-low).status == OUT_OF_SCOPE
    assert again(verdicts, "H8.products", products=1000).status == VIOLATED
    never = rows["H8.never_worse"]
    swapped = {"ours": never.inputs["theirs"], "theirs": never.inputs["ours"]}
    assert again(verdicts, "H8.never_worse", **swapped).status == VIOLATED
    assert again(verdicts, "H8.never_worse", asymmetry=0.1).status == OUT_OF_SCOPE


def test_not_one_product_earlier_nor_in_the_two_norm():
    """Why the claim says K+1 and the H-norm: counterexamples to both stronger statements."""
    found = {"earlier": 0, "two-norm": 0}
    draw = np.random.default_rng(1)
    for _ in range(100):
        H, v, low, high = random_system(draw, condition=50.0, size=6)
        system = System.of(H, v)
        alpha = 2 / (high + low)
        summed = system.errors(alpha, 4)
        errors = iterates(system, 5) - system.x
        for k in range(5):
            found["earlier"] += system.norms(errors[k])[1] > system.norms(summed[k])[1] * (1 + 1e-6)
            found["two-norm"] += system.norms(errors[k + 1])[0] > system.norms(summed[k])[0] * (1 + 1e-6)
    assert found["earlier"] > 0 and found["two-norm"] > 0


def test_worst_systems_are_definite():
    H, v = worst_system(2.0, 8.0, 3)
    values = np.diag(H)
    assert values.min() == pytest.approx(2) and values.max() == pytest.approx(8) and np.abs(v).min() > 0


def test_experiment_finds_what_is_expected():
    table = experiment_krylov()
    assert {verdict.claim for verdict in table} == set(H8.members)
    for member in H8.members:
        assert judged(table, member.id) == HOLDS


@pytest.mark.slow
def test_experiment_at_full_size():
    table = experiment_krylov("full", seed=1)
    for member in H8.members:
        assert judged(table, member.id) == HOLDS


@pytest.mark.parametrize(
    ("system", "message"),
    [
        ((np.eye(2), np.ones(2), 0.5, 0), "order"),
        ((np.eye(2), np.ones(2), 0.5, 3), "solved at once"),
        ((np.ones((2, 2)), np.ones(2), 0.5, 3), "regular"),
        ((np.diag([-0.01, 2.0]), np.ones(2), 0.5, 1), "positive definite"),  # not met by the first product
    ],
)
def test_bad_input(system, message):
    with pytest.raises(InvalidInput, match=message):
        check_krylov([system])


@pytest.mark.parametrize("arguments", [(0.0, 1.0, 2), (2.0, 1.0, 2), (1.0, 2.0, 0)])
def test_bad_spectra(arguments):
    with pytest.raises(InvalidInput):
        worst_system(*arguments)
