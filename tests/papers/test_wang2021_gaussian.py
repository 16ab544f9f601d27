"""U4: the laws of distances and weights on Gaussian views; other laws are caught, few images are out of scope."""

import mpmath
import numpy as np
import pytest
from judging import again, judged

from theory import outlier
from theory.checks import InvalidInput
from theory.papers.wang2021.gaussian import (
    U4,
    check_gaussian,
    check_global,
    expected_weight,
    experiment_gaussian,
    gaussian_views,
)
from theory.verdict import Status

HOLDS, VIOLATED, OUT_OF_SCOPE = Status.HOLDS, Status.VIOLATED, Status.OUT_OF_SCOPE
EXACT = ("U4.law", "U4.variance", "U4.weight", "U4.weight_square")
LIMITS = ("U4.limit_weight", "U4.limit_share", "U4.tilt")
COVARIANCE = np.array([[2.0, 0.5], [0.5, 1.0]])


def test_the_expected_weight_against_thirty_digits_and_against_draws():
    assert expected_weight(5, 5, 4, 3) == pytest.approx(0.39149, abs=5e-6)
    large = ((4.28, 86, 7325, 4, 2), (0.98, 1, 2059, 7, 1))  # scipy's hyp1f1 gives NaN, and eleven digits
    full = ((1.5, 314, 315, 2, 1), (0.01, 7, 4, 3, 1))  # nu = d + 1
    for tau, d, N, M, power in ((5, 5, 4, 3, 1), (2, 3, 10, 4, 2), (30, 16, 40, 6, 1), *large, *full):
        nu = N * (M - 1)
        with mpmath.workdps(30):
            x = -mpmath.mpf(power * nu) / tau
            digits = mpmath.hyp1f1(mpmath.mpf(d) / 2, mpmath.mpf(nu) / 2, x, maxterms=10**6)
        assert expected_weight(tau, d, N, M, power) == pytest.approx(float(digits), rel=1e-12, abs=0)
        if digits < 0.01:
            continue
        beta = np.random.default_rng(0).beta(d / 2, (nu - d) / 2, size=400_000)
        assert expected_weight(tau, d, N, M, power) == pytest.approx(np.exp(-power * nu * beta / tau).mean(), rel=0.01)
    assert expected_weight(1.0, 4, 10_000, 5) == pytest.approx(3.0**-2, rel=1e-3)  # exp(40,000) would overflow


@pytest.mark.parametrize(("images", "views"), [(3, 3), (2, 5)])
def test_few_images(images, views):
    z = gaussian_views(20_000, images, views, COVARIANCE, seed=images)
    verdicts = check_gaussian(z, COVARIANCE, temperatures=(3.0, 10.0))
    for name in EXACT:
        assert judged(verdicts, name) == HOLDS, name
    for name in LIMITS:
        assert judged(verdicts, name) == OUT_OF_SCOPE, name


@pytest.fixture(scope="module")
def many():
    return gaussian_views(250, 130, 4, COVARIANCE, seed=1)


def test_many_images(many):
    verdicts = check_gaussian(many, COVARIANCE, temperatures=(2.0, 8.0))
    for name in (*EXACT, "U4.covariance", *LIMITS):
        assert judged(verdicts, name) in (HOLDS, Status.INCONCLUSIVE), name
    assert judged(verdicts, "U4.limit_weight") == HOLDS
    assert again(verdicts, "U4.limit_weight", d=3, nu=450).status == VIOLATED
    assert again(verdicts, "U4.limit_share", d=3, nu=450).status == VIOLATED
    assert again(verdicts, "U4.tilt", tau=4).status == VIOLATED
    assert again(verdicts, "U4.covariance", M=400).status == VIOLATED  # S itself, without 1 - 1/M
    assert again(verdicts, "U4.variance", d=3, nu=many.shape[1] * 3).status == VIOLATED


def test_the_exact_law_is_not_the_limit():
    """For few images chi-square, and the limit's weight, are wrong by more than the tolerance."""
    z = gaussian_views(20_000, 4, 3, np.eye(5))
    verdicts = check_gaussian(z, np.eye(5))
    weight = next(verdict.inputs["weight"] for verdict in verdicts if verdict.claim.id == "U4.weight")
    assert again(verdicts, "U4.weight", predicted=(1 + 2 / 5) ** -2.5).status == VIOLATED
    assert U4["limit_weight"].check(weight=weight, tau=5, d=5, nu=8 * 10**6, spread=1.0).status == VIOLATED


def test_heavy_tails_are_caught():
    draw = np.random.default_rng(0)
    z = draw.standard_t(2.5, size=(3000, 6, 4, 2))
    verdicts = check_gaussian(z, np.eye(2), temperatures=(2.0,))
    for name in ("U4.law", "U4.variance", "U4.weight"):
        assert judged(verdicts, name) == VIOLATED, name


def test_normalised_views_are_out_of_scope(many):
    unit = many[:20] / np.linalg.norm(many[:20], axis=-1, keepdims=True)
    verdicts = check_gaussian(unit, COVARIANCE) + check_global(unit)
    assert {verdict.status for verdict in verdicts} == {OUT_OF_SCOPE}


def test_saturated_views_leave_only_the_rest():
    verdicts = check_gaussian(gaussian_views(10, 1, 3, np.eye(2)), np.eye(2))
    assert not {verdict.claim.id for verdict in verdicts} & set(EXACT)


def test_global_centre_makes_outliers_of_clean_views():
    z = gaussian_views(600, 130, 5, COVARIANCE, seed=2)
    verdicts = check_global(z)
    for name in ("U4.global_pair", "U4.global_others", "U4.global_law"):
        assert judged(verdicts, name) in (HOLDS, Status.INCONCLUSIVE), name
    assert judged(verdicts, "U4.global_others") == HOLDS
    pair, others = (float(verdict.left.value) for verdict in verdicts[:2])
    assert others / pair == pytest.approx(3, rel=0.02)
    assert U4["global_others"].check(**{**verdicts[1].inputs, "mean": verdicts[0].inputs["mean"]}).status == VIOLATED
    # about the mean of all views no view stands out
    d2 = outlier.measure(z).values.numpy()
    assert d2[..., :2].mean() == pytest.approx(d2[..., 2:].mean(), rel=0.02)


def test_few_images_of_many_views_are_not_many_images():
    """About the global mean the limit needs N: with one image of 151 views the pair's mean is a tenth off."""
    verdicts = check_global(gaussian_views(4000, 1, 151, np.eye(1), seed=3))
    assert {verdict.status for verdict in verdicts} == {OUT_OF_SCOPE}
    pair = verdicts[0]
    assert float(pair.left.value / pair.right.value) > 1.05


def test_experiment_finds_what_is_expected():
    table = experiment_gaussian(seed=1)
    assert {verdict.claim for verdict in table} == set(U4.members)
    assert not table.unexpected()
    few = [verdict for verdict in table if verdict.settings["N"] == 4 and verdict.claim.id in EXACT]
    assert [verdict.status for verdict in few] == [HOLDS] * 4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: expected_weight(0, 2, 4, 3), "temperature"),
        (lambda: expected_weight(1, 8, 4, 3), "saturation"),
        (lambda: check_gaussian(np.zeros((5, 3, 2)), np.eye(2)), "draws, images, views"),
        (lambda: check_gaussian(np.zeros((1, 5, 3, 2)), np.eye(2)), "2 draws"),
        (lambda: check_global(np.zeros((4, 5, 2, 2))), "3 views"),
        (lambda: gaussian_views(2, 3, 3, np.ones((2, 2))), "positive definite"),
        (lambda: gaussian_views(2, 3, 3, [[1.0, 0.5], [0.0, 1.0]]), "symmetric"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InvalidInput, match=message):
        call()
