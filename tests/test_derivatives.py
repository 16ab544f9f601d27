"""Products with second derivatives: against the explicit matrices, on trees, in batches; curvature operators."""

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import eigsh

from theory.checks import InvalidInput
from theory.derivatives import Expansion, Flat, rows
from theory.operators import GaussNewton, Hessian, MixedDerivative

W = torch.linspace(-1, 2, 6, dtype=torch.float64)
PHI = torch.linspace(0.5, 1.5, 3, dtype=torch.float64)


def loss(w, phi):
    return (torch.sin(w).reshape(3, 2).sum(dim=1) * phi).sum() ** 2 + (w**4).sum() * phi[0]


def tree_loss(w, phi):
    return loss(torch.cat([w["first"], w["rest"][0].reshape(-1)]), phi[0])


TREE = {"first": W[:2], "rest": (W[2:].reshape(2, 2),)}


@pytest.mark.parametrize(("function", "w", "phi"), [(loss, W, PHI), (tree_loss, TREE, [PHI])], ids=["vector", "tree"])
def test_products_are_those_of_the_matrices(function, w, phi):
    at = Expansion(function, Flat("w", w), Flat("phi", phi))
    H = torch.func.jacrev(torch.func.grad(loss))(W, PHI)
    B = torch.func.jacrev(torch.func.grad(loss), argnums=1)(W, PHI)
    vectors = torch.arange(12.0, dtype=torch.float64).reshape(2, 6)
    torch.testing.assert_close(at.hessian(vectors), vectors @ H, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(at.hessian(vectors[1]), H @ vectors[1], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(at.mixed_adjoint(vectors), vectors @ B, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(at.mixed(vectors[:, :3]), vectors[:, :3] @ B.T, rtol=1e-12, atol=1e-12)
    assert at.products == 3
    torch.testing.assert_close(at.dense(chunk=4), H, rtol=1e-12, atol=1e-12)


def test_several_losses_are_rows():
    def several(w, phi):
        return torch.stack([loss(w, phi), w.sum() * phi.sum()])

    values, in_w, in_phi, scalar = rows(several, Flat("w", W), Flat("phi", PHI), "outer")
    assert not scalar and values.shape == (2,) and in_phi.shape == (2, 3)
    torch.testing.assert_close(in_w[0], torch.func.grad(loss)(W, PHI))
    torch.testing.assert_close(in_w[1], torch.full((6,), float(PHI.sum()), dtype=torch.float64))


def test_curvature_operators():
    H = Hessian(tree_loss, TREE, [PHI])
    explicit = torch.func.jacrev(torch.func.grad(loss))(W, PHI).numpy()
    np.testing.assert_allclose(H @ np.eye(6), explicit, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(H.T @ np.eye(6), explicit, rtol=1e-12, atol=1e-12)
    largest = eigsh(H, k=1, return_eigenvectors=False, which="LA", v0=np.ones(6))[0]
    assert largest == pytest.approx(np.linalg.eigvalsh(explicit)[-1], rel=1e-9)
    B = MixedDerivative(loss, W, PHI)
    expected = torch.func.jacrev(torch.func.grad(loss), argnums=1)(W, PHI).numpy()
    assert B.shape == (6, 3)
    np.testing.assert_allclose(B @ np.eye(3), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(B.T @ np.eye(6), expected.T, rtol=1e-12, atol=1e-12)


def test_gauss_newton_drops_the_curvature_of_the_outputs():
    def outputs(w):
        return torch.tanh(w["a"].reshape(3, 2) @ w["b"])

    w = {"a": W, "b": torch.tensor([[1.0, 2.0], [0.5, -1.0]], dtype=torch.float64)}
    G = GaussNewton(outputs, lambda f: torch.nn.functional.softplus(f).sum(), w)
    flat = Flat("w", w)
    J = torch.func.jacrev(lambda one: outputs(flat.restore(one)).reshape(-1))(flat.vector)
    f = outputs(w).reshape(-1)
    expected = J.T @ (torch.sigmoid(f) * torch.sigmoid(-f) * torch.eye(6, dtype=torch.float64)) @ J
    np.testing.assert_allclose(G @ np.eye(10), expected.numpy(), rtol=1e-11, atol=1e-11)
    assert np.linalg.eigvalsh(G @ np.eye(10)).min() > -1e-12


def test_gauss_newton_of_one_number():
    """Outputs without an axis of their own, several vectors at once: J = 2 w, the loss's second derivative 2."""
    G = GaussNewton(lambda w: w @ w, lambda f: f**2, PHI)
    np.testing.assert_allclose(G @ np.eye(3), 8 * np.outer(PHI, PHI))
    with pytest.raises(InvalidInput, match="outputs"):
        GaussNewton(lambda w: (w, w), lambda f: f[0].sum(), PHI)


@pytest.mark.parametrize(
    ("function", "w", "message"),
    [
        (lambda w, phi: w, W, "a scalar tensor"),
        (lambda w, phi: w.sum() / 0, W, "finite"),
        (lambda w, phi: w.abs().sqrt().sum(), 0 * W, "gradient in w"),
        (lambda w, phi: (w @ phi).sum(), W, "make the shapes match"),
        (loss, [], "empty structure"),
        (loss, {"a": W, "b": W.float()}, "all alike"),
        (loss, W.long(), "float32 or float64"),
        (loss, "weights", "a tensor"),
        (loss, W * torch.nan, "NaN"),
    ],
)
def test_bad_input(function, w, message):
    with pytest.raises(InvalidInput, match=message):
        Expansion(function, Flat("w", w), Flat("phi", PHI))


def test_inference_mode_is_named():
    with torch.inference_mode(), pytest.raises(InvalidInput, match="inference_mode"):
        Expansion(loss, Flat("w", W), Flat("phi", PHI))
