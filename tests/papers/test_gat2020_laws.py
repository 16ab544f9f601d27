"""F5, F6, F7, F9: what holds for any law of f; exactly where it can be."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from judging import again, judged

from theory import seeding
from theory.checks import InvalidInput
from theory.estimate import Estimate
from theory.papers.gat2020 import F5, F6, F7, F9
from theory.papers.gat2020.claims import law_entropy
from theory.papers.gat2020.plug_in import check_draws, check_law, missing_entropy
from theory.papers.gat2020.shifts import check_shifts, check_smooth, random_law
from theory.papers.gat2020.two_sided import check_two_sided
from theory.verdict import Status

HOLDS, VIOLATED, OUT_OF_SCOPE = Status.HOLDS, Status.VIOLATED, Status.OUT_OF_SCOPE
EXPONENTIAL = {2: 0.33196, 3: 0.46830, 10: 0.6988}


def ids(verdicts):
    return [str(verdict.status) for verdict in verdicts]


def test_shifts_of_your_own_values():
    f = np.random.default_rng(0).gamma(0.7, size=300)
    verdicts = check_shifts(f)
    assert ids(verdicts) == ["holds"] * 4
    assert again(verdicts, "F5.scaling", factor=2).status == VIOLATED
    assert again(verdicts, "F5.scaling", factor=-1).status == OUT_OF_SCOPE
    later, sooner = verdicts[1].inputs["later"], verdicts[1].inputs["sooner"]
    assert again(verdicts, "F5.decreasing", later=sooner, sooner=later).status == VIOLATED
    assert again(verdicts, "F5.decreasing", Var=0).status == OUT_OF_SCOPE
    assert again(verdicts, "F5.decreasing", step=-1).status == OUT_OF_SCOPE
    assert again(verdicts, "F5.convex", right=0, left=0).status == VIOLATED
    assert again(verdicts, "F5.decreasing", later=1, sooner=1).status == VIOLATED
    assert again(verdicts, "F5.convex", Ent=0.6, left=1, right=0).status == VIOLATED
    assert again(verdicts, "F5.bound", Var=1e-3).status == VIOLATED
    assert again(verdicts, "F5.bound", Ent=0.6, Var=1, mean=1, c=1).status == VIOLATED
    assert again(verdicts, "F5.bound", mean=-5).status == OUT_OF_SCOPE


def test_nearly_constant_functions_are_undecided_at_worst():
    for size in (1e-9, 1e-13, 2.3e-16):
        for verdicts in (check_shifts([1, 1 + size]), check_two_sided([1, 1 + size]), check_law([1, 1 + size])):
            assert "violated" not in ids(verdicts)
    late = check_law([1, 1 + 1e-8], [2.5e-15, 1 - 2.5e-15], draws=(50, 100, 200, 400))
    assert "F7.rate" not in {verdict.claim.id for verdict in late}  # rounding has no rate


def test_rare_values_have_no_rate_before_they_are_drawn():
    numbers = (50, 100, 200, 400)
    assert "F7.rate" not in {one.claim.id for one in check_law([0, 1], [0.9999, 0.0001], draws=numbers)}
    assert judged(check_law([0, 1], [0.6, 0.4], draws=numbers), "F7.rate") == HOLDS


def test_weights_in_single_precision():
    torch.manual_seed(0)
    weights = torch.softmax(torch.randn(50), 0)
    assert abs(float(weights.double().sum()) - 1) > 1e-9  # or nothing is tested
    assert ids(check_shifts(torch.rand(50).double(), weights)) == ["holds"] * 4


def test_a_constant_is_out_of_scope_for_strictness():
    verdicts = check_shifts(np.ones(4))
    assert judged(verdicts, "F5.decreasing") == OUT_OF_SCOPE


def test_smooth_functions():
    x = np.arange(-4, 5)
    exact = check_smooth(3 * x**2, 6 * x[:, None], 6)
    assert ids(exact) == ["holds"]  # a tie, in integers
    assert again(exact, "F6", L=Fraction(599, 100)).status == VIOLATED
    assert again(exact, "F6", L=-1).status == OUT_OF_SCOPE
    assert ids(check_smooth(3 * x**2 - 1, 6 * x[:, None], 6)) == ["out of scope"]
    assert ids(check_smooth(np.exp(x / 2.0), np.exp(x / 2.0)[:, None] / 2, 0.01)) == ["violated"]  # not so smooth
    assert ids(check_smooth(np.zeros(3), np.zeros((3, 2)), 1.0)) == ["holds"]  # 0/0 counts as 0


def test_missing_entropy_by_brute_force():
    draw = np.random.default_rng(3)
    for kinds, draws in ((2, 1), (2, 5), (3, 4), (4, 3)):
        values, weights = draw.gamma(0.5, size=kinds), draw.dirichlet(np.ones(kinds))
        average = 0.0
        for outcome in itertools.product(range(kinds), repeat=draws):
            drawn = values[list(outcome)]
            average += weights[list(outcome)].prod() * law_entropy(drawn, np.full(draws, 1 / draws))[0]
        truth = law_entropy(values, weights)[0] - average
        assert missing_entropy(values, weights, draws) == pytest.approx(truth, rel=1e-10)


def test_plug_in_exactly():
    verdicts = check_law([0.0, 1.0, 3.0], [0.5, 0.3, 0.2], draws=(1, 2, 10, 50, 100, 200, 400))
    assert ids(verdicts) == ["holds"] * len(verdicts)
    also = check_law([1.0, 3.0], draws=(2, 3))
    assert judged(also, "F7.nonnegative") == HOLDS
    assert again(also, "F7.nonnegative", expected=-1e-3).status == VIOLATED
    assert again(also, "F7.upper", Ent=0.0).status == VIOLATED
    assert again(verdicts, "F7.single", single=1e-6).status == VIOLATED
    assert again(verdicts, "F7.monotone", missing=1.0).status == VIOLATED
    assert again(verdicts, "F7.bound", Var=0.1).status == VIOLATED
    assert again(verdicts, "F7.bound", n=0).status == OUT_OF_SCOPE
    assert again(verdicts, "F7.rate", exponent=-1.5).status == VIOLATED
    assert again(verdicts, "F7.rate", Var=0).status == OUT_OF_SCOPE


def test_the_bound_for_every_n_is_nearly_attained():
    """One draw of a 0 or 1 that is nearly always 1: Ent over Var/E f tends to 1."""
    ratios = []
    for p in np.linspace(0.01, 0.99, 99):
        values, weights = np.array([0.0, 1.0]), np.array([1 - p, p])
        ratios.append(missing_entropy(values, weights, 1) / ((1 - p) * p / p))
    assert 0.9 < max(ratios) < 1
    verdicts = check_law([0.0, 1.0], [0.01, 0.99], draws=(1, 2))
    assert judged(verdicts, "F7.bound") == HOLDS
    assert again(verdicts, "F7.bound", Var=0.99 * 0.01 * 0.99).status == VIOLATED


@pytest.mark.parametrize("n", EXPONENTIAL)
def test_what_a_few_draws_see_of_the_exponential(n):
    sample = np.exp(seeding.numpy_generator("a few draws", n).normal(size=(400_000, n)))
    truth = (np.exp(0.5) / 2, np.exp(2) - np.e, np.exp(0.5))
    verdicts = check_draws(sample, *truth)
    assert ids(verdicts) == ["holds"] * 3
    seen = verdicts[1].inputs["expected"]
    low, high = seen.interval(0.999)
    assert low - 5e-5 <= EXPONENTIAL[n] <= high + 5e-5  # those numbers are rounded
    assert again(verdicts, "F7.upper", Ent=0.3).status == VIOLATED


def test_two_sided():
    draw = np.random.default_rng(1)
    worst = {"F9.taylor": 0.0, "F9.lower": 0.0, "F9.upper": 0.0}
    for number in range(200):
        values, weights = random_law(draw)
        if number % 3 == 0:
            values = 1 + 1e-2 * values / values.max()
        for verdict in check_two_sided(values, weights):
            assert verdict.status not in (VIOLATED, Status.INCONCLUSIVE), verdict
            if verdict.status == HOLDS:
                worst[verdict.claim.id] = max(worst[verdict.claim.id], float(verdict.left.value / verdict.right.value))
    print(worst)
    assert all(0.9 < ratio <= 1 for ratio in worst.values())
    verdicts = check_two_sided(np.array([0.5, 1.0, 2.0]))
    assert ids(verdicts) == ["holds"] * 3
    assert again(verdicts, "F9.taylor", gap=1.0).status == VIOLATED
    assert again(verdicts, "F9.lower", Ent=0.01).status == VIOLATED
    assert again(verdicts, "F9.upper", Ent=5.0).status == VIOLATED
    for name in ("F9.taylor", "F9.lower", "F9.upper"):
        assert again(verdicts, name, mean=-1.0).status == OUT_OF_SCOPE
        assert again(verdicts, name, least=-0.5).status == OUT_OF_SCOPE


@pytest.mark.parametrize("family", [F5, F6, F7, F9], ids=lambda family: family.id)
@pytest.mark.parametrize("seed", [0, 1])
def test_experiments_find_what_is_expected(family, seed):
    table = family.experiment(seed=seed)
    assert {verdict.claim for verdict in table} == set(family.members)
    assert not table.unexpected()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check_shifts([1.0, -1.0]), "f >= 0"),
        (lambda: check_shifts([0.0, 0.0]), "not 0 everywhere"),
        (lambda: check_shifts([1.0, 2.0], [0.5, 0.6]), "sum to 1"),
        (lambda: check_two_sided([1e-200, 2e-200]), "divide f by its mean"),
        (lambda: check_law([1e160, 2e160]), "divide f by its mean"),
        (lambda: check_draws([[1.0, 2.0], [2.0, 3.0]], Estimate.mean([0.1, 0.2]), 1.0, 1.0), "a known value"),
        (lambda: check_shifts([1.0, 2.0], [1.0]), "weights"),
        (lambda: check_shifts([1.0, 2.0], shifts=(1.0,)), "increasing"),
        (lambda: check_smooth([1.0, 2.0], [[1.0]], 1.0), "gradients"),
        (lambda: check_law([1.0, 2.0], draws=(3, 2)), "increasing"),
        (lambda: check_law([1.0, 2.0], draws=(0, 2)), "draws"),
        (lambda: missing_entropy(np.arange(1.0, 30.0), None, 30), "outcomes"),
        (lambda: check_draws(np.ones(4), 1.0, 1.0, 1.0), "values"),
        (lambda: check_two_sided([np.nan]), "NaN"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InvalidInput, match=message):
        call()
