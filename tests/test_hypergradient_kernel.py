"""The kernel form of a squared loss on piecewise-linear networks: the exact answer there, and refused elsewhere."""

import pytest
import torch

from theory import checks
from theory.activations import Activation
from theory.hypergradient import Ignored, SquaredLoss, hypergradient
from theory.networks import TwoLayer

DOUBLE = {"dtype": torch.float64}


def problem(activation="relu", n=15, d=3, width=10, ridge=0.01, seed=0, dtype=torch.float64, **options):
    """A squared loss on a two-layer network, an outer loss on other inputs, and weights of the examples."""
    torch.manual_seed(seed)
    X, V = torch.randn(n, d, **DOUBLE).to(dtype), torch.randn(8, d, **DOUBLE).to(dtype)
    network = TwoLayer.initialise(width, d, activation, seed=seed, dtype=dtype)
    inner = SquaredLoss(network, X, torch.randn(n, **DOUBLE).to(dtype), ridge, **options)
    target = torch.randn(8, **DOUBLE).to(dtype)

    def outer(w, phi):
        return (inner.model(w, V) - target).square().sum() / 2

    return inner, outer, inner.model.weights, torch.rand(n, **DOUBLE).to(dtype)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_exact_answer(activation, seed):
    leaky = Activation(
        "leaky", lambda z: torch.where(z > 0, z, 0.2 * z), gamma1=1.0, gamma2=float("inf"), rectifier=0.2
    )
    inner, outer, w, phi = problem("relu" if activation == "relu" else leaky, seed=seed)
    exact = hypergradient(inner, outer, w, phi, "exact")
    found = hypergradient(inner, outer, w, phi, "kernel")
    torch.testing.assert_close(found.gradient, exact.gradient, rtol=1e-10, atol=1e-12)
    assert (found.products, found.residual, found.solution) == (0, None, None)
    checked = hypergradient(inner, outer, w, phi, "kernel", verify=True)
    assert checked.products == 1 and checked.residual < 1e-10 and checked.converged
    torch.testing.assert_close(checked.solution["W"], exact.solution["W"], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("ridge", [1e-8, 1e3])
def test_any_ridge(ridge):
    """1e-8: what a Woodbury formula in weight space would cancel away."""
    inner, outer, w, phi = problem(ridge=ridge)
    exact = hypergradient(inner, outer, w, phi, "exact").gradient
    found = hypergradient(inner, outer, w, phi, "kernel").gradient
    assert float((found - exact).norm() / exact.norm()) < 1e-7


def test_examples_of_weight_zero():
    inner, outer, w, phi = problem()
    phi[:5] = 0
    exact = hypergradient(inner, outer, w, phi, "exact").gradient
    found = hypergradient(inner, outer, w, phi, "kernel").gradient
    torch.testing.assert_close(found, exact, rtol=1e-9, atol=1e-10)
    assert float(found[:5].abs().max()) > 0
    phi[:] = 0  # H = ridge I
    exact = hypergradient(inner, outer, w, phi, "exact").gradient
    torch.testing.assert_close(hypergradient(inner, outer, w, phi, "kernel").gradient, exact, rtol=1e-9, atol=1e-10)


def test_weights_that_are_functions_of_phi_and_a_direct_part():
    inner, plain, w, _ = problem(weights=lambda phi: torch.sigmoid(phi["a"]) * phi["b"])
    phi = {"a": torch.linspace(-3, 3, 15, **DOUBLE), "b": torch.tensor(2.0, **DOUBLE)}

    def outer(w, phi):
        return torch.stack([plain(w, phi) * phi["b"], w["W"].sum()])

    exact = hypergradient(inner, outer, w, phi, "exact").gradient
    found = hypergradient(inner, outer, w, phi, "kernel").gradient
    for name in phi:
        assert found[name].shape == (2, *phi[name].shape)
        torch.testing.assert_close(found[name], exact[name], rtol=1e-9, atol=1e-11)


def test_float32_is_solved_in_float64():
    single, single_outer, w, phi = problem(dtype=torch.float32, ridge=1e-3)
    found = hypergradient(single, single_outer, w, phi, "kernel").gradient
    assert found.dtype == torch.float32
    double, outer, _, _ = problem(ridge=1e-3)
    truth = hypergradient(double, outer, {"W": w["W"].double()}, phi.double(), "exact").gradient
    assert float((found.double() - truth).norm() / truth.norm()) < 1e-3


def test_the_residual_in_float32_is_that_of_float64():
    """A small ridge: rounding p to float32 left a residual that looked like a network with curvature."""
    inner, outer, w, phi = problem(n=30, d=5, width=200, ridge=1e-6, dtype=torch.float32)
    found = hypergradient(inner, outer, w, phi, "kernel", verify=True)
    assert found.converged and found.residual < 1e-6 and found.solution["W"].dtype == torch.float32


def test_other_modules_are_checked_by_a_product_with_the_hessian():
    torch.manual_seed(1)
    X = torch.randn(9, 3, **DOUBLE)
    last = torch.nn.Linear(6, 2).double().requires_grad_(False)
    module = torch.nn.Sequential(torch.nn.Linear(3, 6).double(), torch.nn.ReLU(), last)  # linear between its kinks
    inner = SquaredLoss(module, X, torch.randn(9, 2, **DOUBLE), 0.1)
    phi = torch.rand(9, **DOUBLE)

    def outer(w, phi):
        return inner.model(w, X[:4]).square().sum()

    found = hypergradient(inner, outer, inner.model.weights, phi, "kernel")
    exact = hypergradient(inner, outer, inner.model.weights, phi, "exact")
    torch.testing.assert_close(found.gradient, exact.gradient, rtol=1e-9, atol=1e-11)
    assert found.products == 1 and found.residual < 1e-9

    both = torch.nn.Sequential(torch.nn.Linear(3, 6), torch.nn.ReLU(), torch.nn.Linear(6, 2)).double()
    inner = SquaredLoss(both, X, torch.randn(9, 2, **DOUBLE), 0.1)
    with pytest.raises(checks.InvalidInput, match="piecewise linear"):
        hypergradient(inner, outer, inner.model.weights, phi, "kernel")


def test_smooth_networks_are_refused():
    inner, outer, w, phi = problem("softplus")
    with pytest.raises(checks.InvalidInput, match="piecewise linear"):
        hypergradient(inner, outer, w, phi, "kernel")


def test_a_zero_is_said_aloud():
    inner, outer, w, phi = problem(weights=torch.ones_like)
    with pytest.warns(Ignored, match="does not depend on phi"):
        found = hypergradient(inner, outer, w, phi, "kernel")
    assert not found.gradient.any() and "exactly zero" in found.message
    inner, _, w, phi = problem()
    assert "no gradient in w" in hypergradient(inner, lambda w, phi: phi.sum(), w, phi, "kernel").message


@pytest.mark.parametrize("pull", [1e-200, 1e200])
def test_outer_losses_of_any_size(pull):
    inner, outer, w, phi = problem()
    expected = hypergradient(inner, outer, w, phi, "kernel").gradient
    found = hypergradient(inner, lambda w, phi: pull * outer(w, phi), w, phi, "kernel", verify=True)
    torch.testing.assert_close(found.gradient / pull, expected)
    assert found.residual < 1e-10


def test_the_module_is_not_changed():
    inner, outer, w, phi = problem()
    before = inner.module.W.detach().clone()
    elsewhere = {"W": w["W"] + 0.1}
    found = hypergradient(inner, outer, elsewhere, phi, "kernel").gradient
    assert torch.equal(inner.module.W, before)
    torch.testing.assert_close(found, hypergradient(inner, outer, elsewhere, phi, "exact").gradient)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SquaredLoss(torch.nn.Linear(2, 1), torch.ones(3, 2), torch.ones(2, 1), 1.0), "y.*3 targets"),
        (lambda: SquaredLoss(torch.nn.Linear(2, 1), torch.ones(3, 2), torch.ones(3, 1), 0.0), "ridge"),
        (lambda: SquaredLoss(torch.nn.Linear(2, 1), torch.ones(3, 2) / 0, torch.ones(3, 1), 1.0), "X"),
    ],
)
def test_bad_losses(build, message):
    with pytest.raises(checks.InvalidInput, match=message):
        build()


def test_bad_points():
    inner, outer, w, phi = problem()
    with pytest.raises(checks.InvalidInput, match=">= 0"):
        hypergradient(inner, outer, w, phi - 0.9, "kernel")
    with pytest.raises(checks.InvalidInput, match=r"weights\(phi\)"):
        hypergradient(inner, outer, w, phi[:3], "kernel")
    with pytest.raises(checks.InvalidInput, match="dict of tensors"):
        hypergradient(inner, lambda w, phi: w.sum(), w["W"], phi, "kernel")
    with pytest.raises(checks.InvalidInput, match=r"example weights.*NaN"):
        hypergradient(problem(weights=lambda phi: phi / 0)[0], outer, w, 0 * phi, "kernel")
    alike = SquaredLoss(inner.module, inner.X[:1].expand(15, -1), inner.y, 1e-18)
    with pytest.raises(checks.InvalidInput, match="raise the ridge"):
        hypergradient(alike, outer, w, phi, "kernel")
    flat = SquaredLoss(torch.nn.Linear(2, 1), torch.ones(3, 2), torch.ones(3), 1.0)
    with pytest.raises(checks.InvalidInput, match="like the outputs"):
        flat(flat.model.weights, torch.ones(3))
