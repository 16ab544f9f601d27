"""One statement, four uses: numpy, intervals, text, LaTeX; verdicts that say neither more nor less than is known."""

import json
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from theory import claim as claims
from theory.checks import InvalidInput
from theory.claim import Claim, Family, load, symbols
from theory.estimate import Estimate
from theory.verdict import Status, Verdicts

D, b, A, B, p, t, slope = symbols("D b A B p t slope")
MEANINGS = {"A": "curvature", "B": "slope", "D": "distance", "b": "gap"}
QUADRATIC = Claim(
    "test.quadratic",
    "a gap needs a distance",
    sp.Ge(A * D**2 / 2 + B * D, b, evaluate=False),
    MEANINGS,
    hypotheses=[("the gap is positive", sp.Gt(b, 0, evaluate=False))],
)
TAIL = Claim("test.tail", "a tail", sp.Le(p, sp.exp(-t), evaluate=False), {"p": "failures", "t": "t"}, "tail bound")
RATE = Claim("test.rate", "a rate", sp.Eq(slope, -1), {"slope": "exponent"}, "rate", tolerance=Fraction(1, 10))
IDENTITY = Claim("test.identity", "an identity", sp.Eq(A, B), {"A": "left", "B": "right"}, "identity")


def status(claim: Claim, **values: object) -> Status:
    return claim.check(**values).status


def test_statement_keeps_its_order_and_prints() -> None:
    assert str(QUADRATIC) == "B*D + A*D**2/2 >= b" or str(QUADRATIC) == "A*D**2/2 + B*D >= b"
    assert r"\geq b" in QUADRATIC.latex()
    assert str(RATE) == "slope = -1"


@given(st.floats(0, 3), st.floats(0, 3), st.floats(0, 3), st.floats(0, 3))
def test_numpy_and_verdict_agree(D: float, A: float, B: float, b: float) -> None:
    left, right = QUADRATIC.evaluate(A=A, B=B, D=D, b=b)
    found = status(QUADRATIC, A=A, B=B, D=D, b=b)
    if b == 0:
        assert found == Status.OUT_OF_SCOPE
    elif abs(left - right) > 1e-9:
        assert found == (Status.HOLDS if left >= right else Status.VIOLATED)
    else:
        assert found in (Status.HOLDS, Status.VIOLATED, Status.INCONCLUSIVE)


def test_ties_are_decided_only_where_the_inputs_are_exact() -> None:
    assert status(QUADRATIC, A=1, B=1, D=1, b=Fraction(3, 2)) == Status.HOLDS
    assert status(QUADRATIC, A=1, B=1, D=1, b=Fraction(3, 2) + Fraction(1, 10**40)) == Status.VIOLATED
    assert status(QUADRATIC, A=1.0, B=1.0, D=1.0, b=1.5) == Status.INCONCLUSIVE
    root = Claim("test.root", "", sp.Le(A, sp.sqrt(2) * sp.sqrt(3)), {"A": ""})
    assert status(root, A=Fraction(5, 2)) == Status.VIOLATED
    square = Claim("test.square", "", sp.Eq(sp.sqrt(A), B), {"A": "", "B": ""}, "identity")
    assert status(square, A=2, B=Fraction(3, 2)) == Status.VIOLATED
    assert status(square, A=Fraction(9, 4), B=Fraction(3, 2)) == Status.HOLDS


def test_interval_must_lie_wholly_on_one_side() -> None:
    for low, high, expected in ((0.1, 0.2, Status.HOLDS), (0.3, 0.5, Status.INCONCLUSIVE), (0.4, 0.5, Status.VIOLATED)):
        assert status(TAIL, p=Estimate.enclosure(low, high), t=1) == expected


def test_tail_bound_above_one_is_vacuous() -> None:
    assert status(TAIL, p=Estimate.proportion(90, 100), t=0) == Status.VACUOUS
    assert status(TAIL, p=Estimate.proportion(90, 100), t=1) == Status.VIOLATED
    assert status(TAIL, p=Estimate.proportion(0, 3), t=1) == Status.INCONCLUSIVE
    assert status(TAIL, p=Estimate.proportion(0, 100), t=1) == Status.HOLDS


def test_hypotheses() -> None:
    assert status(QUADRATIC, A=1.0, B=1.0, D=0.0, b=-1.0) == Status.OUT_OF_SCOPE
    assert status(QUADRATIC, A=1.0, B=1.0, D=0.0, b=Estimate.enclosure(-1.0, 1.0)) == Status.INCONCLUSIVE
    third = {"A": 1.0, "B": 1.0, "D": 1.0}
    at = Claim("test.at", "", sp.Le(B, 1), {"A": "", "B": ""}, hypotheses=[("A is 1/3", sp.Eq(3 * A, 1))])
    assert status(at, A=Fraction(1, 3), B=0.5) == Status.HOLDS  # exact, though no binary fraction
    assert status(at, A=1 / 3, B=0.5) == Status.INCONCLUSIVE
    assert status(QUADRATIC, b=Fraction(-1, 3), **third) == Status.OUT_OF_SCOPE
    relu = status(QUADRATIC, A=np.inf, B=1.0, D=1.0, b=1.0)
    assert relu == Status.HOLDS


def test_a_sweep_is_judged_point_by_point_and_as_a_whole() -> None:
    verdict = QUADRATIC.check(A=1.0, B=1.0, D=np.array([0.1, 1.0, 2.0]), b=np.array([[1.0], [-1.0]]))
    assert verdict.statuses.shape == (2, 3)
    assert [str(s) for s in verdict.statuses.flat] == ["violated", "holds", "holds"] + ["out of scope"] * 3
    assert verdict.status == Status.VIOLATED
    assert verdict.worst() == (0, 0)
    assert "point (0, 0)" in verdict.explain()
    assert np.nanmax(verdict.tightness) == pytest.approx(1.0 / 1.5)


def test_random_sweep_shares_its_error_over_the_points() -> None:
    hits = Estimate.proportion(np.full(50, 1), 20)
    alone = TAIL.check(p=Estimate.proportion(1, 20), t=1)
    many = TAIL.check(p=hits, t=1)
    assert many.left.high.max() > alone.left.high.max()


def test_two_random_symbols_share_the_error() -> None:
    both = Claim("test.both", "", sp.Le(A, B), {"A": "", "B": ""})
    sample = [0.0, 1.0, 0.5, 0.2]
    together = both.check(A=Estimate.mean(sample), B=Estimate.mean(sample), level=0.9)
    alone = both.check(A=Estimate.mean(sample), B=9.0, level=0.95)
    assert together.left.high == pytest.approx(alone.left.high, rel=1e-12)  # .1 split in two is .05 each


def test_identity_tolerance_is_relative_to_the_scale() -> None:
    assert status(IDENTITY, A=1.0, B=1.0 + 1e-11) == Status.HOLDS
    assert status(IDENTITY, A=1.0, B=1.0 + 1e-9) == Status.VIOLATED
    assert status(IDENTITY, A=1, B=1) == Status.HOLDS
    assert status(IDENTITY, A=Fraction(1, 3), B=Fraction(1, 3) + Fraction(1, 10**30)) == Status.VIOLATED
    small = {"A": Estimate.computed(1e-17, error=1e-15), "B": Estimate.exact(0)}
    assert status(IDENTITY, **small) == Status.VIOLATED or status(IDENTITY, **small) == Status.INCONCLUSIVE
    assert IDENTITY.check(scale=1.0, **small).status == Status.HOLDS


def test_rates_need_the_whole_interval_inside_the_band() -> None:
    x = np.geomspace(1, 10, 6)
    assert status(RATE, slope=Estimate.exponent(x, 1 / x)) == Status.HOLDS
    assert status(RATE, slope=Estimate.exponent(x, x**-0.5)) == Status.VIOLATED
    noisy = 1 / x * np.array([1, 1.5, 0.8, 1.4, 0.7, 1.3])
    assert status(RATE, slope=Estimate.exponent(x, noisy)) == Status.INCONCLUSIVE


def test_slack_and_tightness_follow_the_direction() -> None:
    verdict = QUADRATIC.check(A=0, B=1, D=4, b=1)
    assert (float(verdict.slack), float(verdict.tightness)) == (3.0, 0.25)
    assert np.isnan(IDENTITY.check(A=1, B=1).tightness)
    assert np.isnan(QUADRATIC.check(A=0, B=1, D=1, b=4).tightness)


JSON_CASES = [
    QUADRATIC.check(
        A=1.0, B=Fraction(1, 3), D=np.array([0.1, np.inf]), b=1, seed=7, settings={"width": 64, "eta": 0.1}
    ),
    TAIL.check(p=Estimate.proportion(np.array([1, 5]), 20), t=1.0, level=0.95),
    RATE.check(slope=Estimate.exponent([1, 2, 4], [1.0, 0.6, 0.2])),
    IDENTITY.check(A=np.array([1.0, 2.0]), B=np.array([1.0, 2.0]), scale=3.0),
]


@pytest.mark.parametrize("verdict", JSON_CASES, ids=lambda v: v.claim.id)
def test_json_loses_nothing(verdict: claims.Verdict) -> None:
    again = load(verdict.to_json(), verdict.claim)
    assert again.to_json() == verdict.to_json()
    assert again.explain() == verdict.explain()


def test_json_is_never_evaluated_and_must_fit() -> None:
    verdict = QUADRATIC.check(A=1, B=1, D=1, b=1)
    with pytest.raises(InvalidInput, match="claim id"):
        load(verdict.to_json())
    record = verdict.record()
    for change, message in (
        ({"statement": "__import__('os').system('true')"}, "another version"),
        ({"statuses": ["violated"]}, "edited"),
        ({"inputs": {}}, "exactly"),
    ):
        with pytest.raises(InvalidInput, match=message):
            load(json.dumps({**record, **change}), QUADRATIC)
    for text in ("{", "[]", "{}", '{"claim": 3}'):
        with pytest.raises(InvalidInput):
            load(text, QUADRATIC)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"relation": A + B}, "one sympy relation"),
        ({"relation": sp.Eq(A, B)}, "= for identities"),
        ({"kind": "theorem"}, "kind"),
        ({"constants": "unnamed"}, "rate"),
        ({"meanings": {"A": ""}}, "meanings"),
        ({"relation": sp.Le(A, 0.3 * B)}, "exact constants"),
        ({"relation": sp.Le(sp.Symbol("level"), A), "meanings": {"level": "", "A": ""}}, "symbols"),
        ({"kind": "rate", "relation": sp.Eq(A, B)}, "tolerance"),
    ],
)
def test_bad_claims(change: dict, message: str) -> None:
    settings = {"relation": sp.Le(A, B), "meanings": {"A": "", "B": ""}, **change}
    with pytest.raises(InvalidInput, match=message):
        Claim("test.bad", "", **settings)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"A": 1, "B": 1, "D": 1}, r"missing \['b'\]"),
        ({"A": 1, "B": 1, "D": 1, "b": 1, "c": 2}, r"unknown \['c'\]"),
        ({"A": 1, "B": 1, "D": float("nan"), "b": 1}, "NaN"),
        ({"A": np.zeros(2), "B": np.zeros(3), "D": 1, "b": 1}, "broadcast"),
    ],
)
def test_bad_measurements(values: dict, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        QUADRATIC.check(**values)


def test_families_register_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "_FAMILIES", {})
    family = Family("test", "", (QUADRATIC, TAIL), lambda: Verdicts(), lambda budget, seed: Verdicts())
    claims.register(family)
    assert family["tail"] is TAIL and family["test.tail"] is TAIL
    with pytest.raises(InvalidInput, match="member of test"):
        family["nothing"]
    with pytest.raises(InvalidInput, match="not taken"):
        claims.register(family)
    with pytest.raises(InvalidInput, match="start with"):
        claims.register(Family("other", "", (RATE,), family.check, family.experiment))
