"""Tables: Holm over the random rows, families, what contradicts what is known, and what people see."""

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from theory.claim import Claim, load_table, symbols
from theory.estimate import Estimate
from theory.seeding import numpy_generator
from theory.verdict import ClaimUndecided, ClaimViolated, Status, Verdicts, combine

m, limit = symbols("m limit")
MEANINGS = {"m": "mean [1]", "limit": "bound [1]"}
BELOW = Claim("T.below", "mean below", sp.Le(m, limit, evaluate=False), MEANINGS)
ABOVE = Claim("T.above", "mean above", sp.Ge(m, limit, evaluate=False), MEANINGS, expected=Status.VIOLATED)


@given(st.lists(st.sampled_from(list(Status))))
def test_combine_never_hides_a_violation_and_never_passes_on_nothing(statuses: list[Status]) -> None:
    whole = combine(statuses)
    assert (whole == Status.VIOLATED) == (Status.VIOLATED in statuses)
    if whole == Status.HOLDS:
        assert Status.HOLDS in statuses and Status.INCONCLUSIVE not in statuses


def test_require() -> None:
    BELOW.check(m=0.5, limit=1).require()
    with pytest.raises(ClaimViolated, match=r"T\.below violated: 2 <= 1.*width=8; seed 3"):
        BELOW.check(m=2.0, limit=1, settings={"width": 8}, seed=3).require()
    with pytest.raises(ClaimUndecided, match="inconclusive"):
        BELOW.check(m=1.0, limit=1.0).require()
    with pytest.raises(ClaimUndecided, match="no measurements"):
        BELOW.check(m=np.zeros(0), limit=1.0).require()


def test_holm_keeps_the_error_of_a_whole_table() -> None:
    """Means of pure noise around the bound: at level .9 a table of 30 is wrong in at most one of ten."""
    draw, tables, wrong, naive = numpy_generator("holm", 0), 60, 0, 0
    for _ in range(tables):
        rows = [BELOW.check(m=Estimate.mean(draw.normal(size=10)), limit=0, level=0.9) for _ in range(30)]
        wrong += any(s in (Status.HOLDS, Status.VIOLATED) for s in Verdicts(rows, level=0.9).statuses())
        naive += any(v.status in (Status.HOLDS, Status.VIOLATED) for v in rows)
    assert wrong <= 15  # P(Binomial(60, .1) > 15) < 5e-4
    assert naive > 40  # the same rows judged one by one are wrong most of the time


def test_holm_still_decides_what_is_clear_and_leaves_certain_rows_alone() -> None:
    clear = BELOW.check(m=Estimate.proportion(0, 2000), limit=0.5)
    marginal = BELOW.check(m=Estimate.proportion(35, 100), limit=0.5)
    certain = BELOW.check(m=2.0, limit=1)
    assert marginal.status == Status.HOLDS
    table = Verdicts([clear, certain, *[marginal] * 8])
    assert table.statuses() == [Status.HOLDS, Status.VIOLATED, *[Status.INCONCLUSIVE] * 8]
    assert clear.significance() < 1e-10 < 1e-3 < marginal.significance() < 1e-2


def test_holm_is_more_than_bonferroni() -> None:
    """A row that a hundredth split over all rows would not decide is decided once a clearer row is out of the way."""
    clear = BELOW.check(m=Estimate.proportion(0, 2000), limit=0.5)
    middling = BELOW.check(m=Estimate.proportion(36, 100), limit=0.5)
    significance = middling.significance()
    assert 0.005 < significance < 0.01
    assert Verdicts([clear, middling]).statuses() == [Status.HOLDS, Status.HOLDS]
    assert Verdicts([middling, middling]).statuses() == [Status.INCONCLUSIVE] * 2


def test_family_and_unexpected() -> None:
    good, bad = BELOW.check(m=0.5, limit=1), BELOW.check(m=2.0, limit=1)
    refuted, surviving = ABOVE.check(m=0.5, limit=1), ABOVE.check(m=2.0, limit=1)
    assert Verdicts([good, refuted]).family("T.below") == Status.HOLDS
    assert Verdicts([good, bad]).family("T") == Status.VIOLATED
    assert Verdicts([good]).family("T2") == Status.OUT_OF_SCOPE
    assert Verdicts([good, refuted]).family("T") == Status.HOLDS
    assert Verdicts([good, refuted]).family("T.above") == Status.VIOLATED
    assert not Verdicts([good, refuted]).unexpected()
    assert [v.claim.id for v in Verdicts([good, bad, refuted, surviving]).unexpected()] == ["T.below", "T.above"]


def test_tables_are_read_back() -> None:
    table = Verdicts([BELOW.check(m=Estimate.mean([0.1, 0.2]), limit=1), ABOVE.check(m=2.0, limit=1)], level=0.95)
    again = load_table(table.to_json(), [BELOW, ABOVE])
    assert again.to_json() == table.to_json() and again.level == 0.95


def test_what_people_see() -> None:
    table = Verdicts([BELOW.check(m=np.array([0.5, 0.9]), limit=1), ABOVE.check(m=0.5, limit=1)])
    frame = table.to_pandas()
    assert frame.status.tolist() == ["holds", "violated"]
    assert frame.points.tolist() == ["2/2", "0/1"]
    assert frame.tightness[0] == pytest.approx(0.9)
    page = table._repr_html_()
    assert page.count("<tr>") == 3 and "&lt;=" in page
    assert table[0]._repr_latex_().count("$") == 2
    assert "no verdicts" in Verdicts()._repr_html_()
    assert table.counts() == {"holds": 1, "violated": 1, "inconclusive": 0, "out of scope": 0, "vacuous": 0}
