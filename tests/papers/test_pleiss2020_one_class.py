"""A3, one class with wrong labels: exact in fractions, the rate on whole kernels, and where each part stops."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import again, judged

from theory.aum import linearised, mean_decay
from theory.checks import InvalidInput
from theory.papers.pleiss2020.one_class import (
    A3,
    check_one_class,
    check_rate,
    experiment_one_class,
    measured_rate,
    random_problem,
)
from theory.verdict import Status

HOLDS, VIOLATED, OUT_OF_SCOPE = Status.HOLDS, Status.VIOLATED, Status.OUT_OF_SCOPE
F = Fraction


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_exact_on_random_problems(seed):
    for verdict in check_one_class(**random_problem(np.random.default_rng(seed))):
        assert set(verdict.statuses.flat) <= {HOLDS, OUT_OF_SCOPE}, verdict.explain()


@settings(max_examples=150)
@given(st.integers(0, 2**32 - 1))
def test_the_closed_form_agrees_with_the_whole_kernel(seed):
    """The same formula in floats beside descent with the (n, n) matrix: many more problems, longer runs."""
    rng = np.random.default_rng(seed)
    problem = random_problem(rng, kd_zero=0)
    counts, T = problem["counts"], int(rng.integers(1, 400))
    ks, kd, eta, n = float(problem["ks"]), float(problem["kd"]), float(problem["step"]), sum(problem["counts"])
    y = np.repeat(np.arange(len(counts)), counts)
    K = ks * np.ones((n, n)) + kd * np.eye(n)
    areas = linearised(K, y, eta, [T], classes=len(counts), convention=problem["convention"])[0]

    def g(lam):
        r = 1 - eta * lam
        return (r if problem["convention"] == "post" else 1) * (1 - r**T) / (T * eta * lam)

    shares = np.array(counts) / n
    for label in np.unique(y):
        other = np.delete(shares, label).max()
        wanted = (1 - g(kd)) + (g(kd) - g(n * ks + kd)) * (shares[label] - other)
        np.testing.assert_allclose(areas[y == label], wanted, atol=1e-11)


def test_every_member_is_judged_and_holds():
    verdicts = experiment_one_class(seed=int(np.random.default_rng().integers(10**6)))
    assert not [v.explain() for v in verdicts if v.status not in (HOLDS, OUT_OF_SCOPE)]
    named = {"counts": [3, 1], "ks": F(1, 2), "kd": F(1, 3), "step": F(1, 9), "epochs": 4}
    verdicts += check_one_class(**named)
    verdicts += check_one_class(**{**named, "counts": [1, 3]}, convention="pre")
    verdicts += check_one_class(**{**named, "kd": 0})
    held = {v.claim for v in verdicts if v.status == HOLDS}
    assert held == set(A3.members)


@pytest.mark.slow
def test_experiment_at_full_size():
    assert not [v.explain() for v in experiment_one_class("full") if v.status not in (HOLDS, OUT_OF_SCOPE)]


def test_wrong_measurements_are_caught():
    verdicts = check_one_class([4, 1], F(1, 2), F(1, 3), F(1, 9), 5)
    for name in ("A3.post", "A3.gap"):
        symbol = "A" if name == "A3.post" else "gap"
        [row] = [v for v in verdicts if v.claim.id == name]
        value = row.inputs[symbol].value
        assert row.status == HOLDS
        assert again(verdicts, name, **{symbol: value + F(1, 10**30)}).status == VIOLATED  # no tolerance at all
    assert again(verdicts, "A3.separates", gap=F(-1, 9)).status == VIOLATED
    assert again(verdicts, "A3.separates", gap=F(0)).status == VIOLATED
    assert again(verdicts, "A3.decay", gap=F(3)).status == VIOLATED
    many = check_one_class([1, 4], F(1, 2), F(1, 3), F(1, 9), 5)
    assert judged(many, "A3.fails") == HOLDS and again(many, "A3.fails", gap=F(1, 9)).status == VIOLATED
    even = check_one_class([2, 2, 2], F(1, 2), F(1, 3), F(1, 9), 5)  # p = (c - 1)/c: no gap at all
    assert judged(even, "A3.fails") == HOLDS and judged(even, "A3.separates") == OUT_OF_SCOPE
    assert again(even, "A3.fails", gap=F(1, 10**9)).status == VIOLATED
    alone = check_one_class([4, 1], F(1, 2), 0, F(1, 9), 5)
    assert [v.claim.id for v in alone] == ["A3.keeps"] and alone[0].status == HOLDS
    assert again(alone, "A3.keeps", gap=F(1, 9)).status == VIOLATED


def test_the_decay_bound_is_reached():
    verdicts = check_one_class([4, 1], F(1, 10), 2, F(2, 5), 30)
    [row] = [v for v in verdicts if v.claim.id == "A3.decay"]
    gap = row.inputs["gap"].value
    assert row.status == HOLDS and again(verdicts, "A3.decay", gap=gap * F(10**6 + 1, 10**6)).status == VIOLATED


def test_out_of_scope():
    verdicts = check_one_class([4, 1], F(1, 2), F(1, 3), F(2), 3)  # eta > 1/lambda1
    assert {v.status for v in verdicts} == {OUT_OF_SCOPE}
    assert {v.status for v in check_one_class([4, 1], 0, F(1, 3), F(1, 9), 3)} == {OUT_OF_SCOPE}  # ks = 0
    three = check_one_class([4, 1, 1], F(1, 2), F(1, 3), F(1, 9), 3)
    assert judged(three, "A3.decay") == OUT_OF_SCOPE


def test_long_steps_can_turn_the_gap_round():
    """Why eta <= 1/lambda1 is there: beyond it right labels can have the smaller AUM."""
    n, y = 10, np.array([0] * 8 + [1] * 2)
    K = 0.02 + np.eye(n)
    areas = linearised(K, y, 1.6, [2])[0]  # below 2/lambda1 = 1.67: descent converges
    assert areas[0] < areas[-1]


def test_the_gap_formula_needs_few_wrong_labels_for_three_classes():
    """With p > (c - 1)/c the runner-up of a wrong label is another wrong label: the gap is half of the formula's."""
    verdicts = check_one_class([1, 4, 4], F(1, 2), F(1, 3), F(1, 20), 4)
    assert judged(verdicts, "A3.gap") == OUT_OF_SCOPE and judged(verdicts, "A3.fails") == HOLDS
    [row] = [v for v in verdicts if v.claim.id == "A3.gap"]
    assert float(row.right.value) == pytest.approx(2 * float(row.inputs["gap"].value), rel=1e-12)


def test_the_rate_and_other_rates():
    verdicts = measured_rate(6, seed=int(np.random.default_rng().integers(10**6)))
    assert verdicts[0].status == HOLDS and abs(float(verdicts[0].inputs["q"].value) + 1) < 1e-3
    epochs = np.array([1500, 3000, 6000])
    rows = {"ks": [0.01, 0.02], "kd": [0.02, 0.03], "p": [0.2, 0.3], "step": [0.5, 0.4], "epochs": epochs, "n": 50}

    def judge(law, **changes):
        gaps = np.array([law(epochs), 1.0001 * law(epochs * 1.0)])
        return check_rate(**{**rows, **changes}, gaps=gaps)[0].status

    assert judge(lambda T: 1 / T) == HOLDS
    assert judge(lambda T: 1 / T**0.9) == judge(lambda T: T**-2.0) == VIOLATED
    assert judge(lambda T: 1 / T, step=[0.5, 0.001]) == OUT_OF_SCOPE  # one of them has not learnt its labels yet
    assert judge(lambda T: 1 / T, p=[0.2, 0.6]) == OUT_OF_SCOPE
    assert judge(lambda T: 1 / T, step=[0.5, 5.0]) == OUT_OF_SCOPE


def test_the_rate_starts_where_its_hypothesis_says():
    """The local exponent is farthest from -1 for small ks and steps: within .005 from T = 10/(eta kd), not from 8."""
    ks, kd, n, step = np.array([1e-5, 2e-5, 3e-5]), 1.0, 100, 1e-3

    def judge(z):
        epochs = (z / (step * kd) * np.linspace(1, 1.01, 4)).round().astype(int)
        gaps = [1.2 * np.subtract(*mean_decay([step * kd, step * (n * k + kd)], epochs)[0].T) for k in ks]
        [verdict] = check_rate(ks, [kd] * 3, [0.2] * 3, [step] * 3, epochs, np.array(gaps), n)
        return verdict

    assert judge(10.001).status == HOLDS and abs(float(judge(10.001).inputs["q"].value) + 1) < 0.005
    assert judge(8.001).status == OUT_OF_SCOPE
    assert judge(8.001).claim.check(**{**judge(8.001).inputs, "reach": 10}).status == VIOLATED


def test_early_on_the_rate_is_not_there():
    n, y = 100, np.where(np.arange(100) < 20, 1, 0)
    K, epochs = 0.01 + 0.02 * np.eye(n), np.array([2, 8, 32])
    areas = linearised(K, y, 0.5 / 1.02, epochs)
    gaps = areas[:, -1] - areas[:, 0]
    early = check_rate([0.01] * 2, [0.02] * 2, [0.2] * 2, [0.49] * 2, epochs, np.array([gaps, gaps * 1.001]), n)
    assert early[0].status == OUT_OF_SCOPE and abs(float(early[0].inputs["q"].value) + 1) > 0.5


@pytest.mark.parametrize("counts", [[4], [0, 3], [3, -1], [2.5, 1]])
def test_bad_input(counts):
    with pytest.raises(InvalidInput):
        check_one_class(counts, 1, 1, F(1, 100), 2)
