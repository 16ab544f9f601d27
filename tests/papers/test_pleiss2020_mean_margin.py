"""A2, AUM against the margin of the mean logits: never violated, equal exactly where it should be, broken ones."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import again, judged

from theory.aum import Accumulator
from theory.checks import InvalidInput
from theory.margin import margins
from theory.papers.pleiss2020.mean_margin import A2, check_mean_margin, experiment_mean_margin
from theory.verdict import Status

HOLDS, VIOLATED, OUT_OF_SCOPE = Status.HOLDS, Status.VIOLATED, Status.OUT_OF_SCOPE


def test_never_violated_over_four_thousand_examples():
    """In float64, with the library's own margins and accumulator, ties by integers."""
    rng = np.random.default_rng()
    for classes in (2, 3, 4, 10):
        Z = rng.integers(-3, 4, (6, 1000, classes)).astype(float) + 4 * rng.integers(-1, 2, (1, 1000, classes))
        y = rng.integers(0, classes, 1000)
        record = Accumulator(stop=6)
        for logits in Z:
            record.update(logits, y, np.arange(1000))
            record.end_epoch()
        areas = record.table().set_index("id")["aum"].sort_index().to_numpy()
        of_mean = margins(Z.sum(axis=0), y) / 6
        assert (areas <= of_mean + 1e-12).all()
        assert (np.abs(areas - of_mean) < 1e-12).all() == (classes == 2)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(1, 6), st.booleans())
def test_holds_exactly(seed, classes, epochs, ties):
    rng = np.random.default_rng(seed)
    Z = rng.integers(-2, 3, (epochs, 8, classes)) if ties else rng.standard_normal((epochs, 8, classes))
    y = rng.integers(0, classes, 8)
    verdicts = check_mean_margin(Z, y)
    areas = np.mean([margins(logits, y) for logits in Z], axis=0)
    np.testing.assert_allclose(verdicts[0].inputs["A"].value.astype(float), areas, atol=1e-12)
    of_mean = margins(Z.mean(axis=0), y)
    np.testing.assert_allclose(verdicts[0].inputs["M"].value.astype(float), of_mean, atol=1e-12)
    for verdict in verdicts:
        assert verdict.status in (HOLDS, OUT_OF_SCOPE), verdict.explain()
        assert set(verdict.statuses.flat) <= {HOLDS, OUT_OF_SCOPE}
    equal, strict = verdicts[1:]
    assert ((equal.statuses == HOLDS) == (strict.statuses == OUT_OF_SCOPE)).all()  # one or the other, for each
    if classes == 2 or epochs == 1:
        assert equal.status == HOLDS and strict.status == OUT_OF_SCOPE


def test_by_hand():
    Z = [[[0.0, 3.0, 1.0]], [[0.0, 1.0, 3.0]]]  # the runner-up changes: AUM -3, margin of the mean -2
    verdicts = check_mean_margin(Z, [0])
    assert [str(v.status) for v in verdicts] == ["holds", "out of scope", "holds"]
    assert verdicts[0].inputs["A"].value.tolist() == [Fraction(-3)]
    assert verdicts[0].inputs["M"].value.tolist() == [Fraction(-2)]
    assert judged(verdicts, "A2.equal") == OUT_OF_SCOPE


def test_averages_of_the_wrong_kind_are_caught():
    """The margin of the means taken for AUM, AUM of another sample, and a runner-up that was not there."""
    Z = [[[0.0, 3.0, 1.0]], [[0.0, 1.0, 3.0]]]
    verdicts = check_mean_margin(Z, [0])
    assert again(verdicts, "A2.strict", A=verdicts[0].inputs["M"]).status == VIOLATED
    assert again(verdicts, "A2.bound", A=Fraction(-1)).status == VIOLATED
    assert again(verdicts, "A2.equal", share=1).status == VIOLATED


def test_experiment_judges_every_member():
    verdicts = experiment_mean_margin(seed=int(np.random.default_rng().integers(10**6)))
    assert {verdict.claim for verdict in verdicts} == set(A2.members)
    assert all(verdict.status in (HOLDS, OUT_OF_SCOPE) for verdict in verdicts)


@pytest.mark.slow
def test_experiment_at_full_size():
    verdicts = experiment_mean_margin("full")
    assert all(verdict.status in (HOLDS, OUT_OF_SCOPE) for verdict in verdicts)


@pytest.mark.parametrize(
    "arguments",
    [(np.zeros((2, 3)), [0, 0]), (np.zeros((2, 3, 1)), [0] * 3), (np.full((1, 1, 2), np.nan), [0]),
     (np.zeros((2, 3, 2)), [0, 0, 2]), (np.zeros((0, 3, 2)), [0, 0, 0])],
)  # fmt: skip
def test_bad_input(arguments):
    with pytest.raises(InvalidInput):
        check_mean_margin(*arguments)
