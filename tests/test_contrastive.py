"""Weighted losses against loops over their definitions, their gradients, and what is refused."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import outlier
from theory.checks import InvalidInput
from theory.contrastive import info_nce, info_nce_terms, sinkhorn_codes, swapped_prediction


def drawn(images=5, views=4, dimension=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(images, views, dimension, dtype=torch.float64, generator=generator)
    return z.requires_grad_(), torch.rand(images, views, dtype=torch.float64, generator=generator)


def info_nce_by_loops(z, w, T, targets):
    N, M, _ = z.shape
    z = z / z.norm(dim=-1, keepdim=True)
    total, pairs = 0.0, 0
    for i in range(N):
        for j in range(M):
            rest = sum(torch.exp(z[i, j] @ z[k, m] / T) for k in range(N) for m in range(M) if k != i)
            for t in range(M if targets == "all" else 2):
                if t != j:
                    mine = torch.exp(z[i, j] @ z[i, t] / T)
                    total, pairs = total - w[i, j] * torch.log(mine / (mine + rest)), pairs + 1
    return total / pairs


def swapped_by_loops(scores, w, T, epsilon, iterations):
    """The released loop: for each global crop, Sinkhorn codes, then every other crop predicts them."""
    N, M, K = scores.shape
    total = 0.0
    for g in (0, 1):
        Q = torch.exp(scores[:, g].detach() / epsilon).T
        Q = Q / Q.sum()
        for _ in range(iterations):
            Q = Q / Q.sum(dim=1, keepdim=True) / K
            Q = Q / Q.sum(dim=0, keepdim=True) / N
        q = (Q / Q.sum(dim=0, keepdim=True)).T
        part = 0.0
        for v in range(M):
            if v != g:
                part = part - ((q * torch.log(torch.softmax(scores[:, v] / T, dim=1))).sum(dim=1) * w[:, v]).mean()
        total = total + part / (M - 1)
    return total / 2


@pytest.mark.parametrize("targets", ["all", "global"])
@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), T=st.sampled_from([0.1, 0.5, 2.0]))
def test_info_nce_is_its_definition(targets, seed, T):
    z, w = drawn(seed=seed)
    expected = info_nce_by_loops(z, w, T, targets)
    ours = info_nce(z, w, temperature=T, targets=targets)
    assert ours.item() == pytest.approx(expected.item(), rel=1e-10)
    mine, other = (torch.autograd.grad(loss, z)[0] for loss in (ours, expected))
    assert torch.allclose(mine, other, rtol=1e-8, atol=1e-12)


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), iterations=st.integers(1, 4))
def test_swapped_prediction_is_the_released_loss(seed, iterations):
    scores, w = drawn(seed=seed)
    expected = swapped_by_loops(scores, w, 0.3, 0.4, iterations)
    ours = swapped_prediction(scores, w, temperature=0.3, sharpness=0.4, iterations=iterations)
    assert ours.item() == pytest.approx(expected.item(), rel=1e-9)
    mine, other = (torch.autograd.grad(loss, scores)[0] for loss in (ours, expected))
    assert torch.allclose(mine, other, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("loss", [info_nce, swapped_prediction])
def test_weights_scale_terms_and_carry_no_gradient(loss):
    z, w = drawn()
    w = w.requires_grad_()
    assert loss(z).item() == pytest.approx(loss(z, torch.ones(5, 4, dtype=torch.float64)).item())
    assert loss(z, 2 * w).item() == pytest.approx(2 * loss(z, w).item())
    assert torch.autograd.grad(loss(z, w), w, allow_unused=True)[0] is None


def test_a_view_with_weight_zero_still_is_a_target_but_does_not_predict():
    z, _ = drawn()
    w = torch.ones(5, 4, dtype=torch.float64)
    w[0, 1] = 0
    terms = info_nce_terms(z)
    assert info_nce(z, w).item() == pytest.approx(((terms.sum() - terms[0, 1]) / 20).item())


def test_no_overflow_and_no_lost_digits_at_small_temperatures():
    z = torch.eye(4, dtype=torch.float64)[:, None].repeat(1, 3, 1)
    terms = info_nce_terms(z, temperature=1e-3)
    assert torch.isfinite(terms).all()
    far = info_nce_terms(z, temperature=0.05)  # exactly log(1 + 9 exp(-20)) each
    assert far.numpy() == pytest.approx(np.full((4, 3), math.log1p(9 * math.exp(-20))), rel=1e-12)


def test_codes_are_balanced_and_certain():
    scores = drawn(40, 3, 4)[0][:, 0]
    codes = sinkhorn_codes(scores, iterations=200)
    assert torch.allclose(codes.sum(dim=1), torch.ones(40, dtype=torch.float64))
    assert torch.allclose(codes.sum(dim=0), torch.full((4,), 10.0, dtype=torch.float64), rtol=1e-3)
    assert not codes.requires_grad


def test_both_losses_train():
    """A training loop as in the docstring, with weights: both losses fall by a tenth and more."""
    torch.manual_seed(0)
    inputs = torch.randn(32, 1, 10) + 0.3 * torch.randn(32, 4, 10)
    for loss in ("info_nce", "swapped"):
        encoder, prototypes = torch.nn.Linear(10, 4), torch.nn.Linear(4, 6, bias=False)
        optimiser = torch.optim.Adam([*encoder.parameters(), *prototypes.parameters()], lr=0.02)
        values = []
        for _ in range(60):
            z = torch.nn.functional.normalize(encoder(inputs), dim=-1)
            w = outlier.weights(z, normalise="batch")
            value = info_nce(z, w) if loss == "info_nce" else swapped_prediction(prototypes(z), w)
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            values.append(float(value.detach()))
        assert values[-1] < 0.9 * values[0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z, w: info_nce(z[0]), "images, views, dimension"),
        (lambda z, w: info_nce(z[:, :1]), "at least 2 views"),
        (lambda z, w: info_nce(z[:1]), "two images"),
        (lambda z, w: info_nce(z.detach().numpy()), "a torch tensor"),
        (lambda z, w: info_nce(z, w[:, :2]), "shape"),
        (lambda z, w: info_nce(z, w.numpy()), "a torch tensor"),
        (lambda z, w: info_nce(z, -w), "non-negative"),
        (lambda z, w: info_nce(z, 0 * w), "not all 0"),
        (lambda z, w: info_nce(z, w * float("nan")), "NaN"),
        (lambda z, w: info_nce(z, temperature=0), "temperature"),
        (lambda z, w: info_nce(z, targets="local"), "all, global"),
        (lambda z, w: swapped_prediction(z[:, :1]), "at least 2 views"),
        (lambda z, w: swapped_prediction(z, temperature=-1), "temperature"),
        (lambda z, w: swapped_prediction(z, sharpness=0), "sharpness"),
        (lambda z, w: swapped_prediction(z, iterations=0), "iterations"),
        (lambda z, w: swapped_prediction(z, w[:2]), "shape"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InvalidInput, match=message):
        call(*drawn())
