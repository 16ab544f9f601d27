"""One call, seven methods: they agree with a dense solve, with each other, with an independent package; bad input."""

import numpy as np
import pytest
import torch

from theory import checks, seeding
from theory.hypergradient import (
    METHODS,
    Diverging,
    Functional,
    Ignored,
    IndefiniteHessian,
    Unconverged,
    hypergradient,
)

DOUBLE = {"dtype": torch.float64}


def logistic(n=60, p=12, seed=0, ridge=0.05):
    """Weighted logistic regression with a ridge, as (inner, outer, w*, phi), and the dense answer by hand."""
    rng = seeding.numpy_generator("logistic problem", seed)
    X, V = torch.from_numpy(rng.standard_normal((n, p))), torch.from_numpy(rng.standard_normal((40, p)))
    truth = torch.from_numpy(rng.standard_normal(p))
    y, z = torch.sign(X @ truth + torch.from_numpy(rng.standard_normal(n))), torch.sign(V @ truth)
    phi = torch.from_numpy(rng.uniform(0.2, 1.0, n))

    def inner(w, phi):
        return (phi * torch.nn.functional.softplus(-y * (X @ w))).mean() + ridge / 2 * w.square().sum()

    def outer(w, phi):
        return torch.nn.functional.softplus(-z * (V @ w)).mean()

    w = torch.zeros(p, **DOUBLE)
    for _ in range(30):  # Newton
        s = torch.sigmoid(-y * (X @ w))
        H = X.T @ ((phi * s * (1 - s))[:, None] * X) / n + ridge * torch.eye(p, **DOUBLE)
        w = w - torch.linalg.solve(H, -X.T @ (phi * y * s) / n + ridge * w)
    s = torch.sigmoid(-y * (X @ w))
    H = X.T @ ((phi * s * (1 - s))[:, None] * X) / n + ridge * torch.eye(p, **DOUBLE)
    v = -V.T @ (z * torch.sigmoid(-z * (V @ w))) / len(V)
    B = -(X * (y * s)[:, None]).T / n
    return inner, outer, w, phi, -B.T @ torch.linalg.solve(H, v)


def test_all_methods_agree_with_a_dense_solve():
    inner, outer, w, phi, expected = logistic()
    close = {"rtol": 1e-7, "atol": 1e-10}
    for method, options in {
        "exact": {},
        "cg": {"tolerance": 1e-10},
        "minres": {"tolerance": 1e-10},
        "neumann": {"order": 400},
        "unrolled": {"steps": 400},
    }.items():
        found = hypergradient(inner, outer, w, phi, method, **options)
        torch.testing.assert_close(found.gradient, expected, **close)
        assert found.method == method and not found.message
        assert found.stationarity < 1e-12
        if method != "unrolled":
            assert found.converged and found.residual <= 1e-8


def test_the_record_counts_products():
    inner, outer, w, phi, _ = logistic()
    assert hypergradient(inner, outer, w, phi, "exact").products == 12
    assert hypergradient(inner, outer, w, phi).products <= 12 + 2  # a Krylov space of 12 dimensions
    assert hypergradient(inner, outer, w, phi, "minres").products <= 12 + 2
    for order in (0, 1, 5):
        found = hypergradient(inner, outer, w, phi, "neumann", order=order)
        assert (found.products, found.spectral_products) == (order, 12)
        assert found.alpha == pytest.approx(1 / found.largest) and found.least < found.largest
    steps = hypergradient(inner, outer, w, phi, "unrolled", steps=6)
    assert steps.products == 5 and steps.residual is None
    one = hypergradient(inner, outer, w, phi, "one_step", alpha=0.5)
    assert (one.products, one.residual, one.converged) == (0, None, None)
    checked = hypergradient(inner, outer, w, phi, "one_step", alpha=0.5, verify=True)
    assert checked.products == 0 and checked.residual > 0 and checked.converged is False


def test_order_zero_is_one_step_and_matches_one_unrolled_step():
    inner, outer, w, phi, _ = logistic()
    zero = hypergradient(inner, outer, w, phi, "neumann", order=0, alpha=1.0).gradient
    torch.testing.assert_close(zero, hypergradient(inner, outer, w, phi, "one_step", alpha=1.0).gradient)
    torch.testing.assert_close(zero, hypergradient(inner, outer, w, phi, "unrolled", steps=1, alpha=1.0).gradient)


def test_neumann_is_the_sum_of_its_terms():
    inner, outer, w, phi, _ = logistic()
    v = torch.func.grad(outer)(w, phi)
    H, alpha = torch.func.jacrev(torch.func.grad(inner))(w, phi), 0.7
    terms = [alpha * torch.linalg.matrix_power(torch.eye(12, **DOUBLE) - alpha * H, j) @ v for j in range(6)]
    found = hypergradient(inner, outer, w, phi, "neumann", order=5, alpha=alpha, verify=True)
    torch.testing.assert_close(found.solution, sum(terms), rtol=1e-12, atol=1e-14)
    assert found.residual == pytest.approx(float((v - H @ sum(terms)).norm() / v.norm()), rel=1e-9)
    free = hypergradient(inner, outer, w, phi, "neumann", order=5, alpha=alpha).residual
    assert free == pytest.approx(float((v - H @ sum(terms[:-1])).norm() / v.norm()), rel=1e-9)
    assert found.residual < free


def test_several_outer_losses_at_once():
    inner, outer, w, phi, _ = logistic()

    def several(w, phi):
        return torch.stack([outer(w, phi), (phi * w.sum()).sum(), w[0] * w[1]])

    for method, options in {
        "exact": {},
        "cg": {},
        "minres": {},
        "neumann": {"order": 7},
        "unrolled": {"steps": 3},
    }.items():
        together = hypergradient(inner, several, w, phi, method, **options).gradient
        assert together.shape == (3, 60)
        for row in range(3):
            alone = hypergradient(
                inner, lambda w, phi, row=row: several(w, phi)[row], w, phi, method, **options
            ).gradient
            torch.testing.assert_close(together[row], alone, rtol=1e-6, atol=1e-9)


def test_trees_and_modules():
    torch.manual_seed(0)
    X, V = torch.randn(30, 4, **DOUBLE), torch.randn(20, 4, **DOUBLE)
    y, z = torch.randint(0, 3, (30,)), torch.randint(0, 3, (20,))
    model = Functional(torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3)).double())
    phi = {"weights": torch.zeros(30, **DOUBLE), "decay": torch.tensor([0.4], **DOUBLE)}

    def inner(w, phi):
        each = torch.nn.functional.cross_entropy(model(w, X), y, reduction="none")
        return (torch.sigmoid(phi["weights"]) * each).mean() + phi["decay"][0] * sum(
            p.square().sum() for p in w.values()
        )

    def outer(w, phi):
        return torch.nn.functional.cross_entropy(model(w, V), z)

    exact = hypergradient(inner, outer, model.weights, phi, "exact")
    iterated = hypergradient(inner, outer, model.weights, phi, "cg")
    assert exact.least > 0 and set(iterated.gradient) == {"weights", "decay"}
    assert {name: tuple(p.shape) for name, p in iterated.solution.items()}["0.weight"] == (5, 4)
    for name in phi:
        assert iterated.gradient[name].shape == phi[name].shape
        torch.testing.assert_close(iterated.gradient[name], exact.gradient[name], rtol=1e-6, atol=1e-9)


def test_direct_part():
    found = hypergradient(
        lambda w, phi: ((w - phi) ** 2).sum() / 2, lambda w, phi: (w * phi).sum(), torch.ones(2), torch.ones(2) * 3
    )
    torch.testing.assert_close(found.direct, torch.ones(2))
    torch.testing.assert_close(found.gradient, torch.ones(2) * 4)
    assert found.stationarity == pytest.approx(8**0.5)  # of (-2, -2): w is no minimum here


def test_indefinite_hessians():
    signs = torch.tensor([1.0, -2.0, 3.0], **DOUBLE)

    def inner(w, phi):
        return (signs * w * w).sum() / 2 - (phi * w).sum()

    def outer(w, phi):
        return w.sum()

    phi = torch.ones(3, **DOUBLE)
    for method, options in {"cg": {}, "neumann": {"order": 3}, "unrolled": {"steps": 3}}.items():
        with pytest.raises(IndefiniteHessian, match="minres"):
            hypergradient(inner, outer, phi / signs, phi, method, **options)
    for method in ("minres", "exact"):
        found = hypergradient(inner, outer, phi / signs, phi, method)
        torch.testing.assert_close(found.gradient, 1 / signs)
        assert ("indefinite" in found.message) == (method == "exact")


def test_singular_hessians():
    def inner(w, phi):
        return (w.sum() - phi) ** 2 / 2

    with pytest.raises(checks.InvalidInput, match="invertible"):
        hypergradient(inner, lambda w, phi: w[0], torch.ones(2, **DOUBLE), torch.tensor(2.0, **DOUBLE), "exact")
    found = hypergradient(inner, lambda w, phi: w.sum(), torch.ones(2, **DOUBLE), torch.tensor(2.0, **DOUBLE))
    assert float(found.gradient) == pytest.approx(1)  # v in the range: conjugate gradients need no more


def test_too_long_a_step_is_refused():
    inner, outer, w, phi, _ = logistic()
    largest = float(torch.linalg.eigvalsh(torch.func.jacrev(torch.func.grad(inner))(w, phi))[-1])
    for alpha in (2.0 / largest * 1.001, 100.0):
        with pytest.raises(checks.InvalidInput, match="less than 2/L_hat"):
            hypergradient(inner, outer, w, phi, "neumann", order=3, alpha=alpha)


def test_a_step_that_the_screen_misses_stops_at_its_growing_remainder():
    """12 Lanczos steps see less than the largest eigenvalue, and let an alpha between the two pass."""
    scale = torch.ones(400, **DOUBLE)
    scale[:200] = torch.linspace(0.01, 1, 200, **DOUBLE)
    scale[200:] = torch.linspace(1, 1.6, 200, **DOUBLE)

    def inner(w, phi):
        return (scale * w * w).sum() / 2 - (phi * w).sum()

    def outer(w, phi):
        return w[-1]

    phi = torch.ones(400, **DOUBLE)
    found = hypergradient(inner, outer, phi, phi, "one_step")
    assert found.largest < 1.6  # from below
    with pytest.raises(Diverging, match="remainders that shrink"):
        hypergradient(inner, outer, phi, phi, "neumann", order=50, alpha=(2 / 1.6 + 2 / found.largest) / 2)


def test_phi_that_the_inner_loss_ignores_is_said_aloud():
    inner, outer, w, phi, _ = logistic()
    with pytest.warns(Ignored, match="does not depend on phi"):
        found = hypergradient(lambda w, _: inner(w, phi) + _.sum(), outer, w, phi)
    assert float(found.gradient.abs().max()) == 0 and "exactly zero" in found.message
    with pytest.warns(Ignored):
        hypergradient(lambda w, _: inner(w, phi), outer, w, phi, "unrolled", steps=2)


def test_an_outer_loss_without_w_is_a_message_only():
    inner, _, w, phi, _ = logistic()
    found = hypergradient(inner, lambda w, phi: phi.sum(), w, phi)
    assert "no gradient in w" in found.message and found.products == 0
    torch.testing.assert_close(found.gradient, torch.ones_like(phi))


def test_unconverged_is_said_aloud():
    inner, outer, w, phi, _ = logistic()
    for method in ("cg", "minres"):
        with pytest.warns(Unconverged, match="raise iterations"):
            found = hypergradient(inner, outer, w, phi, method, iterations=2)
        assert not found.converged and found.products == 2


def test_float32():
    inner, outer, w, phi, expected = logistic()

    def single(w, phi):
        return inner(w.double(), phi.double()).float()

    found = hypergradient(single, lambda w, phi: outer(w.double(), phi).float(), w.float(), phi.float())
    assert found.gradient.dtype == torch.float32 and found.converged
    torch.testing.assert_close(found.gradient.double(), expected, rtol=1e-3, atol=1e-5)


EVERY = {"exact": {}, "cg": {}, "minres": {}, "neumann": {"order": 200}, "unrolled": {"steps": 200}}
CURVES = torch.tensor([1.0, 2.0, 5.0], **DOUBLE)


@pytest.mark.parametrize("method", EVERY)
@pytest.mark.parametrize(("curvature", "pull"), [(1e-200, 1.0), (1e200, 1.0), (1.0, 1e-200), (1.0, 1e200), (1e9, 1e-9)])
def test_losses_of_any_size(method, curvature, pull):
    """Squares of these leave float range: an answer of 0 that is called converged, or NaN, was the result."""

    def inner(w, phi):
        return curvature * ((CURVES * w * w).sum() / 2 - (phi * w).sum())

    def outer(w, phi):
        return pull * torch.stack([w.sum(), -w[2]])

    ones = torch.ones(3, **DOUBLE)
    for loss, expected in ((outer, [1 / CURVES, -ones * (CURVES == 5) / 5]), (lambda w, p: outer(w, p)[0], 1 / CURVES)):
        found = hypergradient(inner, loss, ones / CURVES, ones, method, **EVERY[method])
        wanted = torch.stack(expected) if isinstance(expected, list) else expected
        torch.testing.assert_close(found.gradient / pull, wanted, rtol=1e-8, atol=1e-12)
        assert found.residual is None or (found.converged and found.residual <= 1e-8)


def test_small_gradients_in_float32():
    for pull in (1e-30, 1e30):
        found = hypergradient(
            lambda w, phi: ((w - phi) ** 2).sum() / 2,
            lambda w, phi, pull=pull: pull * w.sum(),
            torch.ones(2),
            torch.ones(2),
        )
        torch.testing.assert_close(found.gradient / pull, torch.ones(2))


@pytest.mark.parametrize("method", EVERY)
@pytest.mark.parametrize("rows", [1, 2])
def test_second_derivatives_that_are_not_finite(method, rows):
    """The losses and their gradients are; H, or B, is not: w^(3/2) and the root of phi at 0."""
    zero, ones = torch.zeros(2, **DOUBLE), torch.ones(2, **DOUBLE)

    def outer(w, phi):
        return w.sum() if rows == 1 else w

    with pytest.raises(checks.InvalidInput, match="Hessian: expected finite"):
        hypergradient(lambda w, phi: (w**1.5).sum() - (w * phi).sum(), outer, zero, ones, method, **EVERY[method])
    with pytest.raises(checks.InvalidInput, match="implicit part: expected finite"):
        hypergradient(lambda w, phi: w @ w / 2 - (w * phi.sqrt()).sum(), outer, zero, zero, method, **EVERY[method])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "newton"}, "one of exact"),
        ({"method": "neumann"}, "order"),
        ({"method": "neumann", "order": -1}, "order.*>= 0"),
        ({"method": "neumann", "order": 1.5}, "order"),
        ({"method": "neumann", "order": 2, "alpha": 0.0}, "alpha"),
        ({"order": 3}, "belongs to neumann"),
        ({"method": "unrolled"}, "steps"),
        ({"method": "unrolled", "steps": 0}, "steps"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"iterations": 0}, "iterations"),
        ({"inner": lambda w, phi: w.sum() * torch.inf}, "inner loss.*finite"),
        ({"outer": lambda w, phi: w.sum() * torch.nan}, "outer loss.*finite"),
        ({"inner": lambda w, phi: w * 2}, "scalar"),
        ({"outer": lambda w, phi: torch.ones(2, 2) * w.sum()}, "several losses"),
        ({"w": torch.zeros(5, **DOUBLE)}, r"w \(5,\).*make the shapes match"),
        ({"phi": torch.zeros(5, **DOUBLE)}, r"phi \(5,\).*make the shapes match"),
        ({"w": np.zeros(12)}, "tensor"),
        ({"method": "kernel"}, "SquaredLoss"),
    ],
)
def test_bad_input(changes, message):
    inner, outer, w, phi, _ = logistic()
    arguments = {"inner": inner, "outer": outer, "w": w, "phi": phi} | changes
    with pytest.raises(checks.InvalidInput, match=message):
        hypergradient(**arguments)


def test_a_dense_hessian_has_a_limit():
    w = torch.zeros(20_000, **DOUBLE)
    with pytest.raises(checks.InvalidInput, match="bytes"):
        hypergradient(lambda w, phi: (w * w * phi).sum(), lambda w, phi: w.sum(), w, torch.ones(1, **DOUBLE), "exact")


def test_modules_need_weights():
    with pytest.raises(checks.InvalidInput, match="requires gradients"):
        Functional(torch.nn.ReLU())
    with pytest.raises(checks.InvalidInput, match=r"torch\.nn\.Module"):
        Functional(lambda x: x)
    with pytest.raises(checks.InvalidInput, match="names"):
        Functional(torch.nn.Linear(1, 1))({}, torch.ones(1, 1))
    with pytest.raises(checks.InvalidInput, match="dict"):
        Functional(torch.nn.Linear(1, 1))(torch.ones(1), torch.ones(1, 1))
    assert len(METHODS) == 7


@pytest.mark.parametrize(
    "layer", [torch.nn.Dropout(0.5), torch.nn.BatchNorm1d(2), torch.nn.TransformerEncoderLayer(2, 1, dropout=0.1)]
)
def test_modules_that_draw_or_remember_are_refused(layer):
    """A product with H would see another dropout mask than the gradient did."""
    module, X = torch.nn.Sequential(torch.nn.Linear(2, 2), layer), torch.ones(3, 2)
    with pytest.raises(checks.InvalidInput, match="in training mode"):
        Functional(module)
    model = Functional(module.eval())
    torch.testing.assert_close(model(model.weights, X), module(X))
    module.train()
    with pytest.raises(checks.InvalidInput, match=r"call module\.eval"):
        model(model.weights, X)


def test_batch_statistics_without_memory_are_taken():
    module = torch.nn.BatchNorm1d(2, track_running_stats=False)
    assert Functional(module)(dict(module.named_parameters()), torch.randn(3, 2)).shape == (3, 2)


def test_agreement_with_torchopt():
    """An independent package: its conjugate gradients, not its Neumann series (wrong step by default, one term off)."""
    torchopt = pytest.importorskip("torchopt")
    inner, outer, w, phi, expected = logistic()
    point = w.clone().requires_grad_()
    gradient = torch.autograd.grad(inner(point, phi), point, create_graph=True)[0]

    def product(x):
        return torch.autograd.grad(gradient, point, x, retain_graph=True)[0]

    v = torch.autograd.grad(outer(point, phi), point)[0]
    p = torchopt.linear_solve.solve_cg(rtol=1e-12, atol=0.0, maxiter=200)(product, v)
    B = torch.func.jacrev(torch.func.grad(inner), argnums=1)(w, phi)
    theirs = -B.T @ p.detach()
    ours = hypergradient(inner, outer, w, phi).gradient
    assert float((theirs - expected).norm() / expected.norm()) < 1e-6
    assert float((theirs - ours).norm() / expected.norm()) < 1e-6
