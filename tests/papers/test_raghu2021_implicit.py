"""H4 and H5: unrolled descent is the Neumann series, and the implicit gradient is a derivative."""

import numpy as np
import pytest
import torch
from judging import again, judged

from theory.checks import InvalidInput
from theory.hypergradient import hypergradient
from theory.papers.raghu2021.implicit import (
    H4,
    H5,
    check_differences,
    check_unrolled,
    experiment_differences,
    experiment_unrolled,
    minimum,
    quadratic,
)
from theory.verdict import Status

HOLDS, VIOLATED, OUT_OF_SCOPE = Status.HOLDS, Status.VIOLATED, Status.OUT_OF_SCOPE


def solved(seed=0):
    inner, outer, w, phi = quadratic(np.random.default_rng(seed))
    return inner, outer, minimum(inner, w, phi), phi


@pytest.mark.parametrize("order", [0, 1, 7, 40])
def test_unrolled_is_neumann(order):
    for seed in range(3):
        assert check_unrolled(*solved(seed), order)[0].status == HOLDS


def test_smooth_inner_losses_too():
    """A tanh model: at w* only first derivatives of descent's map count, so the inner loss need not be quadratic."""
    draw = np.random.default_rng(1)
    X, y = torch.from_numpy(draw.standard_normal((12, 3))), torch.from_numpy(draw.standard_normal(12))

    def inner(w, phi):
        return (torch.sigmoid(phi) * (torch.tanh(X @ w) - y) ** 2).sum() / 2 + (w**2).sum()

    phi = torch.from_numpy(draw.standard_normal(12))
    w = minimum(inner, torch.zeros(3).double(), phi)
    [verdict] = check_unrolled(inner, lambda w, phi: (w**3).sum(), w, phi, 9)
    assert verdict.status == HOLDS


def test_off_by_one_is_caught():
    inner, outer, w, phi = solved()
    [verdict] = check_unrolled(inner, outer, w, phi, 3)
    wrong = hypergradient(inner, outer, w, phi, "unrolled", steps=3).gradient.numpy()
    broken = again([verdict], "H4.unrolled", unrolled=wrong)
    assert broken.status == VIOLATED
    assert np.abs(broken.slack).max() > 1e-6


def test_descent_that_moves_is_out_of_scope():
    inner, outer, w, phi = solved()
    assert check_unrolled(inner, outer, w + 0.1, phi, 3)[0].status == OUT_OF_SCOPE


def test_differences():
    for seed in range(3):
        assert check_differences(*quadratic(np.random.default_rng(seed)))[0].status == HOLDS


def test_wrong_gradients_are_caught():
    inner, outer, w, phi = solved()
    [verdict] = check_differences(inner, outer, w, phi)
    truncated = hypergradient(inner, outer, w, phi, "neumann", order=2).gradient.numpy()
    assert again([verdict], "H5.differences", implicit=truncated).status == VIOLATED
    direct = hypergradient(inner, outer, w, phi, "exact").direct.numpy()
    assert again([verdict], "H5.differences", implicit=direct).status == VIOLATED


def test_other_inner_losses_are_out_of_scope():
    inner, outer, w, phi = solved()

    def quartic(w, phi):
        return inner(w, phi) + (w**4).sum()

    assert check_differences(quartic, outer, w, phi)[0].status == OUT_OF_SCOPE

    def wave(w, phi):  # of the period of the step that looks for curvature
        return ((w - phi) ** 2).sum() + 1e-3 * torch.sin(2 * torch.pi * w * 2**0.5).sum()

    start = torch.zeros(2).double()
    assert check_differences(wave, lambda w, phi: (w**3).sum(), start, start + 0.3)[0].status == OUT_OF_SCOPE


def test_experiments_find_what_is_expected():
    for experiment, family in ((experiment_unrolled, H4), (experiment_differences, H5)):
        table = experiment()
        assert {verdict.claim for verdict in table} == set(family.members)
        assert judged(table, family.members[0].id) == HOLDS


@pytest.mark.slow
def test_experiments_at_full_size():
    for experiment in (experiment_unrolled, experiment_differences):
        assert {verdict.status for verdict in experiment("full", seed=1)} == {HOLDS}


def test_bad_input():
    inner, outer, w, phi = solved()
    with pytest.raises(InvalidInput, match="order"):
        check_unrolled(inner, outer, w, phi, -1)
    for check in (lambda *given: check_unrolled(*given, 3), check_differences):
        with pytest.raises(InvalidInput, match="w: expected float64"):  # its rounding would be a violation
            check(inner, outer, w.float(), phi.float())
    with pytest.raises(InvalidInput, match="scalar"):
        check_differences(inner, lambda w, phi: w, w, phi)
    with pytest.raises(InvalidInput, match="invertible"):
        check_differences(lambda w, phi: (w.sum() - phi.sum()) ** 2, outer, w, phi)
    with pytest.raises(InvalidInput, match="step"):
        check_differences(inner, outer, w, phi, step=0.0)
