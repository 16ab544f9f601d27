"""A6, what AUM does not see: shifts, renumbered classes, scale; and a negative scale, which it does see."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import again, judged

from theory.checks import InvalidInput
from theory.estimate import Estimate
from theory.papers.pleiss2020.invariance import A6, check_invariance, experiment_invariance
from theory.verdict import Status

HOLDS, VIOLATED, OUT_OF_SCOPE = Status.HOLDS, Status.VIOLATED, Status.OUT_OF_SCOPE


def changed(seed=0, classes=3, factor=2.0, size=1.0):
    rng = np.random.default_rng(seed)
    Z, y = rng.standard_normal((4, 6, classes)), rng.integers(0, classes, 6)
    shift, order = size * rng.standard_normal((4, 6)), rng.permutation(classes)
    return check_invariance(Z, y, shift=shift, order=order, factor=factor)


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.floats(0, 1e6), st.floats(0, 1e4))
def test_holds(seed, classes, factor, size):
    assert {verdict.status for verdict in changed(seed, classes, factor, size)} == {HOLDS}


def test_a_negative_factor():
    assert judged(changed(factor=-1.0, classes=2), "A6.scale") == HOLDS
    verdicts = changed(factor=-1.0)
    assert judged(verdicts, "A6.scale") == OUT_OF_SCOPE
    [row] = [v for v in verdicts if v.claim.id == "A6.scale"]
    assert np.abs(row.left.value - row.right.value).max() > 0.1  # and rightly so: it does fail


def test_other_areas_are_caught():
    verdicts = changed()
    for name in ("A6.shift", "A6.classes", "A6.scale"):
        [row] = [v for v in verdicts if v.claim.id == name]
        assert row.status == HOLDS
        assert again(verdicts, name, B=np.asarray(row.inputs["B"].value) + 1e-6).status == VIOLATED
    last_bit = Estimate.exact(np.nextafter(verdicts[1].left.value, np.inf))
    assert again(verdicts, "A6.classes", B=last_bit).status == VIOLATED  # bit for bit


def test_experiment():
    verdicts = experiment_invariance(seed=int(np.random.default_rng().integers(10**6)))
    assert {v.claim for v in verdicts} == set(A6.members)
    assert {v.status for v in verdicts} <= {HOLDS, OUT_OF_SCOPE}


@pytest.mark.parametrize(
    "changes",
    [{"order": [0, 0, 1]}, {"order": [0, 1]}, {"shift": np.zeros((2, 3))}, {"factor": np.nan}, {"logits": np.zeros(3)}],
)
def test_bad_input(changes):
    good = {
        "logits": np.zeros((2, 4, 3)),
        "labels": [0] * 4,
        "shift": np.zeros((2, 4)),
        "order": [0, 1, 2],
        "factor": 1.0,
    }
    with pytest.raises(InvalidInput):
        check_invariance(**good | changes)
