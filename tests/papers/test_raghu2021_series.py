"""H2 and H3, convergence and divergence of the Neumann series: thousands of systems, equality, broken hypotheses."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import again, judged

from theory import checks
from theory.hypergradient import hypergradient
from theory.papers.raghu2021 import series_claims
from theory.papers.raghu2021.series import (
    H2,
    H3,
    check_bound,
    check_divergence,
    check_series,
    experiment_divergence,
    experiment_series,
)
from theory.papers.raghu2021.systems import random_system
from theory.verdict import Status

HOLDS, VIOLATED, OUT_OF_SCOPE = Status.HOLDS, Status.VIOLATED, Status.OUT_OF_SCOPE
DIAGONAL = np.diag([1.0, 2.0, 5.0, 10.0])
ONES = np.ones(4)


def test_never_violated_on_two_thousand_systems():
    draw = np.random.default_rng(0)
    systems = []
    for _ in range(2000):
        H, v, low, high = random_system(draw)
        alpha = float(draw.choice([1 / high, 2 / (high + low), draw.uniform(0.01, 1.99) / high]))
        systems.append((H, v, alpha, (int(draw.integers(0, 30)),)))
    [bound] = check_bound(systems)
    assert bound.claim.id == "H2.bound" and bound.status == HOLDS
    assert len(bound.statuses) > 3000 and 0.9999 < bound.tightest <= 1


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), share=st.floats(0.01, 1.99), order=st.integers(0, 6))
def test_equality_on_the_extremal_eigenvector(seed, share, order):
    H, _, _, high = random_system(np.random.default_rng(seed), condition=30.0)
    values, vectors = np.linalg.eigh(H)
    v = vectors[:, int(np.abs(1 - share / high * values).argmax())]
    verdicts = check_series([(H, v, share / high, (order,))])
    rows = [verdict for verdict in verdicts if verdict.claim.id == "H2.attained"]
    assert all(verdict.status == HOLDS for verdict in rows)  # none where the error is below rounding
    assert rows or np.abs(1 - share / high * values).max() ** (order + 1) < 1e-5


def test_equality_is_relative_to_each_system():
    """A long H^{-1}v beside it made the tolerance of a short one wide enough for anything."""
    top = np.eye(4)[0]
    verdicts = check_series([(DIAGONAL, top, 0.1, (2,)), (DIAGONAL, 1e12 * top, 0.1, (2,))])
    [row] = [verdict for verdict in verdicts if verdict.claim.id == "H2.attained"]
    wrong = row.inputs["error"].value * np.array([1.01, 1.01, 1, 1])
    assert row.status == HOLDS and again(verdicts, "H2.attained", error=wrong).status == VIOLATED
    assert [str(s) for s in row.claim.check(**{**row.inputs, "error": wrong}, scale=row.scale).statuses[:2]] == [
        "violated"
    ] * 2


def test_equality_is_caught_if_it_is_not_there():
    verdicts = check_series([(DIAGONAL, np.eye(4)[0], 0.1, (2,))])
    assert judged(verdicts, "H2.attained") == HOLDS
    [row] = [verdict for verdict in verdicts if verdict.claim.id == "H2.attained"]
    assert again(verdicts, "H2.attained", error=row.inputs["error"].value * (1 + 1e-8)).status == VIOLATED
    assert again(verdicts, "H2.attained", outside=0.1).status == OUT_OF_SCOPE


def test_broken_bounds_are_caught():
    verdicts = check_series([(DIAGONAL, ONES, 0.1, (0, 3, 40))])
    assert {verdict.status for verdict in verdicts} == {HOLDS, OUT_OF_SCOPE}
    [row] = [verdict for verdict in verdicts if verdict.claim.id == "H2.bound"]
    assert again(verdicts, "H2.bound", error=row.inputs["size"].value).status == VIOLATED
    assert again(verdicts, "H2.bound", K=row.inputs["K"].value + 1).status == VIOLATED  # K+2 terms promised
    np.testing.assert_allclose(row.inputs["size"].value[:2], [np.linalg.norm([1, 0.5, 0.2, 0.1]), 1.8**0.5])  # 2, H
    assert again(verdicts, "H2.products", products=500).status == VIOLATED
    halved = check_series([([[1.0]], [1.0], 0.5, (14,))])  # errors 1/2, 1/4, ...: the bound is the count, rounded up
    [count] = [verdict for verdict in halved if verdict.claim.id == "H2.products"]
    late = again(halved, "H2.products", products=count.inputs["products"].value + 1)
    assert count.status == HOLDS and set(late.statuses) == {VIOLATED}
    assert again(verdicts, "H2.best", mu=-3.0).status == OUT_OF_SCOPE


def test_too_long_a_step_is_out_of_scope_and_its_violation_shows():
    """alpha = 2.2/L: the series diverges; taken for convergent by an L that is too small, the bound is violated."""
    verdicts = check_series([(DIAGONAL, ONES, 0.22, (9, 14, 19))])
    assert judged(verdicts, "H2.bound") == OUT_OF_SCOPE
    assert judged(verdicts, "H2.contracts") == OUT_OF_SCOPE
    assert judged(verdicts, "H2.necessary") == HOLDS
    believed = again(verdicts, "H2.bound", L=7.0)  # what a short Lanczos run may say
    assert believed.status == VIOLATED
    [row] = [verdict for verdict in verdicts if verdict.claim.id == "H2.bound"]
    assert (np.diff(row.inputs["error"].value[::2]) > 0).all()  # every term makes it worse
    with pytest.raises(checks.InvalidInput, match="2/L_hat"):
        hypergradient(
            lambda w, phi: w @ torch.from_numpy(DIAGONAL) @ w / 2 - phi @ w,
            lambda w, phi: w.sum(),
            torch.zeros(4).double(),
            torch.ones(4).double(),
            "neumann",
            order=5,
            alpha=0.22,
        )


def test_other_matrices_are_out_of_scope():
    indefinite = np.diag([-1.0, 2.0, 3.0])
    skewed = np.array([[2.0, 0.5], [0.0, 1.0]])
    for H in (indefinite, skewed):
        verdicts = check_series([(H, np.ones(len(H)), 0.1, (0, 1))])
        assert judged(verdicts, "H2.bound") == OUT_OF_SCOPE
    grown = check_series([(indefinite, np.ones(3), 0.1, (0, 9))])
    assert again(grown, "H2.bound", mu=1.0).status == VIOLATED  # positive definiteness is needed


def test_the_best_step_is_tight_exactly():
    from fractions import Fraction

    assert series_claims.BEST.check(alpha=Fraction(1, 2), mu=1, L=3, asymmetry=0).status == HOLDS
    assert series_claims.BEST.check(alpha=Fraction(1, 4), mu=1, L=3, asymmetry=0).status == HOLDS


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), share=st.floats(2.02, 4), condition=st.floats(1.5, 100))
def test_divergence(seed, share, condition):
    H, v, _, high = random_system(np.random.default_rng(seed), condition=condition)
    verdicts = check_divergence([(H, v, share / high, 8)])
    for verdict in verdicts:
        assert verdict.status in (HOLDS, Status.INCONCLUSIVE), verdict.explain()


def test_divergence_is_caught_where_there_is_none():
    verdicts = check_divergence([(DIAGONAL, ONES, 0.25, 8)])
    assert {judged(verdicts, member.id) for member in H3.members} == {HOLDS}
    rows = {verdict.claim.id: verdict for verdict in verdicts}
    assert again(verdicts, "H3.growing", later=rows["H3.growing"].inputs["ratio"].value * 0.99).status == VIOLATED
    assert again(verdicts, "H3.limit", ratio=1.51).status == VIOLATED
    assert again(verdicts, "H3.floor", share=11.0).status == VIOLATED
    assert again(verdicts, "H3.floor", K=rows["H3.floor"].inputs["K"].value + 3).status == VIOLATED
    alone = check_divergence([(DIAGONAL, np.eye(4)[3], 0.25, 8)])  # equality: one factor more is too much
    [floor] = [verdict for verdict in alone if verdict.claim.id == "H3.floor"]
    assert set(again(alone, "H3.floor", K=floor.inputs["K"].value + 1).statuses) == {VIOLATED}
    short = check_divergence([(DIAGONAL, ONES, 0.15, 8)])
    assert {judged(short, verdict.claim.id) for verdict in short} == {OUT_OF_SCOPE}
    blind = check_divergence([(DIAGONAL, np.array([1.0, 1, 1, 0]), 0.25, 8)])
    assert judged(blind, "H3.floor") == OUT_OF_SCOPE  # v never excites the top eigenvector


def test_ratios_tend_to_the_limit():
    verdicts = check_divergence([(DIAGONAL, ONES, 0.25, 60)])
    [row] = [verdict for verdict in verdicts if verdict.claim.id == "H3.limit"]
    assert float(row.inputs["ratio"].value[-1]) == pytest.approx(1.5, rel=1e-9)


def test_experiments_find_what_is_expected():
    for experiment, family in ((experiment_series, H2), (experiment_divergence, H3)):
        table = experiment()
        assert {verdict.claim for verdict in table} == set(family.members)
        for member in family.members:
            assert judged(table, member.id) == HOLDS


@pytest.mark.slow
def test_experiments_at_full_size():
    for experiment, family in ((experiment_series, H2), (experiment_divergence, H3)):
        table = experiment("full", seed=1)
        for member in family.members:
            assert judged(table, member.id) == HOLDS


@pytest.mark.parametrize(
    ("system", "message"),
    [
        ((np.ones((2, 2)), np.ones(2), 0.1, (1,)), "regular"),
        ((np.eye(2), np.zeros(2), 0.1, (1,)), "other than 0"),
        ((np.eye(2), np.ones(3), 0.1, (1,)), "v"),
        ((np.eye(2), np.ones(2), 0.0, (1,)), "alpha"),
        ((np.eye(2), np.ones(2), 0.1, (-1,)), "orders"),
        ((np.eye(2), np.ones(2), 0.1, ()), "orders"),
        ((np.eye(2), np.ones(2), 1e30, (9,)), "lower alpha or the order"),
    ],
)
def test_bad_input(system, message):
    with pytest.raises(checks.InvalidInput, match=message):
        check_series([system])


def test_no_system_at_all():
    for check in (check_series, check_divergence):
        with pytest.raises(checks.InvalidInput, match="at least one"):
            check([])
