"""F11 and F12: a cross-entropy behind a softmax, and the balance form."""

import numpy as np
import pytest
import torch
from judging import again, judged

from theory.checks import InvalidInput
from theory.entropy import Gaussian, Sampler
from theory.papers.gat2020 import F11, F12
from theory.papers.gat2020.softmax import check_balance, check_softmax, loss
from theory.verdict import Status

HOLDS, VIOLATED, OUT_OF_SCOPE = Status.HOLDS, Status.VIOLATED, Status.OUT_OF_SCOPE
W = np.array([[1.0, -0.5], [0.2, 0.8], [-1.0, 0.3]])
MEASURE = Gaussian([0.3, -0.2], [[0.5, 0.2], [0.2, 0.4]])
BIAS, TARGET = np.array([0.1, 0.0, -0.3]), np.array([0.6, 0.3, 0.1])


def test_a_classifier_of_yours():
    verdicts = check_softmax(W, BIAS, TARGET, MEASURE, how={"order": 60})
    assert {str(verdict.status) for verdict in verdicts} == {"holds"}
    assert again(verdicts, "F11.entropy", Ent=5.0).status == VIOLATED
    [first, _] = [verdict for verdict in verdicts if verdict.claim.id == "F11.weights"]
    assert first.claim.check(**{**first.inputs, "stretch": 0.01}).status == VIOLATED
    assert first.claim.check(**{**first.inputs, "gaussian": 0}).status == OUT_OF_SCOPE
    assert again(verdicts, "F11.floor", relative=0.0).status == VIOLATED
    hard = check_softmax(W, BIAS, [1.0, 0.0, 0.0], MEASURE, how={"order": 60})
    assert judged(hard, "F11.floor") == OUT_OF_SCOPE  # no floor: CE and KL are the same function
    torch.manual_seed(0)
    single = torch.softmax(torch.randn(3), 0)
    assert judged(check_softmax(W, BIAS, single, MEASURE, how={"order": 60}), "F11.floor") == HOLDS
    coins = Sampler(lambda number, generator: generator.choice([-1.0, 1.0], size=(number, 2)), 2)
    judged_ = check_softmax(W, BIAS, TARGET, coins, how={"draws": 1000})
    assert judged(judged_, "F11.entropy") == judged(judged_, "F11.weights") == OUT_OF_SCOPE


def test_gradients_by_finite_differences():
    z = MEASURE.sample(5)
    found = loss(W, BIAS, TARGET, MEASURE, draws=5)

    def value(z):
        logits = z @ W.T + BIAS
        return np.log(np.exp(logits).sum(axis=1)) - logits @ TARGET

    np.testing.assert_allclose(found.values, value(z), rtol=1e-12)
    step = 1e-5
    numeric = [(value(z + step * e) - value(z - step * e)) / (2 * step) for e in np.eye(2)]
    np.testing.assert_allclose(found.gradients, np.transpose(numeric), atol=1e-9)


def test_divergence_makes_the_smoothness_bound_tight():
    """Two classes, p = (1/2, 1/2), KL from W = (w, -w), narrow noise about z = 0: |grad f|^2/f tends to 2 L."""
    narrow = Gaussian([0.0], [[1e-4]])
    for floor, low, high in ((False, 0.999, 1 + 1e-9), (True, 0, 1e-3)):
        found = loss(np.array([[1.0], [-1.0]]), np.zeros(2), np.array([0.5, 0.5]), narrow, floor=floor, order=40)
        ratio = float(found.log_sobolev_bound().value) / (2 * 1e-4 / 2)
        assert low < ratio < high
    verdicts = check_softmax([[1.0], [-1.0]], [0.0, 0.0], [0.5, 0.5], narrow, how={"order": 40})
    nearly = [verdict for verdict in verdicts if verdict.claim.id == "F11.weights"][1]
    shorter = 0.5 * nearly.inputs["stretch"].value  # at z = 0 f is 0/0, which rules with a node there see otherwise
    assert nearly.claim.check(**{**nearly.inputs, "stretch": shorter}).status == VIOLATED


def test_larger_weights_give_more_information_without_end():
    halves = [float(loss(s * W, BIAS, TARGET, MEASURE, order=60).log_sobolev_bound().value) for s in (1, 2, 4, 8)]
    assert (np.diff(halves) > 0).all()


def test_balance():
    verdicts = check_balance([0.1, 2.0, 1.0])
    assert [str(verdict.status) for verdict in verdicts] == ["holds", "holds"]
    for name in ("F12.balance", "F12.unequal"):
        assert again(verdicts, name, balance=3.0).status == VIOLATED
        assert again(verdicts, name, least=0).status == OUT_OF_SCOPE
    equal = check_balance([0.7, 0.7])
    assert judged(equal, "F12.equal") == HOLDS
    assert again(equal, "F12.equal", balance=1.4).status == VIOLATED
    assert again(equal, "F12.equal", unequal=0.1).status == OUT_OF_SCOPE
    assert {verdict.status for verdict in check_balance([0.0, 1.0])} == {OUT_OF_SCOPE}
    assert judged(check_balance([1e308, 1e308]), "F12.equal") == HOLDS


@pytest.mark.parametrize("family", [F11, F12], ids=lambda family: family.id)
@pytest.mark.parametrize("seed", [0, 1])
def test_experiments_find_what_is_expected(family, seed):
    table = family.experiment(seed=seed)
    assert {verdict.claim for verdict in table} == set(family.members)
    assert not table.unexpected()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: loss(W, BIAS, TARGET, Gaussian.standard(3)), "W: expected"),
        (lambda: loss(W, BIAS[:2], TARGET, MEASURE), "b: expected"),
        (lambda: loss(W, BIAS, [0.5, 0.6, 0.1], MEASURE), "sum to 1"),
        (lambda: check_balance([1.0]), "two or more"),
        (lambda: check_balance([1.0, -1.0]), "none negative"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InvalidInput, match=message):
        call()
