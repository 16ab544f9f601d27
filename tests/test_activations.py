"""Activations: constants against maximisation, closed forms against quadrature, integration and Monte Carlo."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from theory import activations
from theory.activations import Activation, dual_by_quadrature, dual_kernel, moment
from theory.checks import InvalidInput
from theory.estimate import Estimate

SMOOTH = ("softplus", "erf", "tanh", "gelu")
SEEDS = st.integers(0, 2**32 - 1)


def rows(seed: int, count: int, dimension: int, largest_norm: float = 1.0) -> np.ndarray:
    """Random directions; norms 1 if that is the largest, else between 0.05 and the largest."""
    generator = np.random.default_rng(seed)
    X = generator.standard_normal((count, dimension))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    return X * (1 if largest_norm == 1 else generator.uniform(0.05, largest_norm, (count, 1)))


def supremum(function: activations.Elementwise) -> float:
    """max |function| on [-40, 40]: a grid, then Brent's method round the best point."""

    def value(z: float) -> float:
        return float(function(torch.tensor([z], dtype=torch.float64)).abs())

    grid = torch.linspace(-40, 40, 80_001, dtype=torch.float64)
    best = float(grid[function(grid).abs().argmax()])
    bounds = (best - 1e-3, best + 1e-3)
    refined = scipy.optimize.minimize_scalar(lambda z: -value(z), bounds=bounds, method="bounded")
    return max(value(best), value(float(refined.x)))


def second_derivative(activation: Activation) -> activations.Elementwise:
    return torch.func.vmap(torch.func.grad(activation.derivative))


@pytest.mark.parametrize("name", activations.names())
def test_gamma1_is_the_supremum_of_the_slope(name):
    activation = activations.get(name)
    assert supremum(activation.derivative) == pytest.approx(activation.gamma1, rel=1e-12)


@pytest.mark.parametrize("name", SMOOTH)
def test_gamma2_is_the_supremum_of_the_second_derivative(name):
    activation = activations.get(name)
    assert supremum(second_derivative(activation)) == pytest.approx(activation.gamma2, rel=1e-12)


def test_the_tanh_form_of_gelu_has_another_gamma1():
    imitation = Activation(
        "tanh-gelu", lambda z: torch.nn.functional.gelu(z, approximate="tanh"), gamma1=2.0, gamma2=2.0
    )
    assert supremum(imitation.derivative) == pytest.approx(1.1289931, abs=1e-7)
    assert supremum(imitation.derivative) != pytest.approx(activations.get("gelu").gamma1, rel=1e-6)


@pytest.mark.parametrize("slope", [-2.0, -1.0, 0.0, 0.3, 1.5])
def test_leaky_relu_constants(slope):
    leaky = activations.leaky_relu(slope)
    z = torch.tensor([-2.0, 3.0], dtype=torch.float64)
    assert leaky.phi(z).tolist() == [-2 * slope, 3.0]
    assert leaky.derivative(z).tolist() == [slope, 1.0]
    assert supremum(leaky.derivative) == leaky.gamma1
    assert leaky.gamma2 == math.inf


@pytest.mark.parametrize("name", activations.names())
@given(z=st.floats(-30, 30).filter(lambda z: abs(z) > 1e-9))
def test_derivative_is_that_of_phi(name, z):
    activation = activations.get(name)
    point = torch.tensor([z], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(activation.phi(point).sum(), point)
    assert float(activation.derivative(point.detach())) == pytest.approx(float(slope), abs=1e-14)


@pytest.mark.parametrize("slope", [0.0, 0.2, -0.5])
def test_autograd_takes_the_same_slope_at_a_kink(slope):
    rectifier = activations.leaky_relu(slope)
    z = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(rectifier.phi(z).sum(), z)
    assert found.tolist() == rectifier.derivative(z.detach()).tolist() == [slope, slope, 1.0]


@pytest.mark.parametrize("z", [-30.0, -9.0, 0.0, 2.0, 9.0, 30.0])
def test_slope_of_tanh_keeps_its_digits(z):
    point = torch.tensor([z], dtype=torch.float64)
    exact, naive = math.cosh(z) ** -2, float(1 - torch.tanh(point).square())
    assert float(activations.get("tanh").derivative(point)) == pytest.approx(exact, rel=1e-14, abs=0)
    assert (abs(naive / exact - 1) > 1e-10) == (abs(z) >= 9)


@pytest.mark.parametrize("name", activations.names())
def test_odd_is_told_truly(name):
    z = torch.linspace(-5, 5, 101, dtype=torch.float64)
    phi = activations.get(name).phi
    assert torch.allclose(phi(-z), -phi(z), atol=1e-15) == activations.get(name).odd


def test_softplus_has_no_jump_at_20():
    z = torch.tensor([19.999, 20.0, 20.001, 30.0], dtype=torch.float64)
    exact = np.log1p(np.exp(-z.numpy()))  # softplus(z) - z
    assert np.abs((activations.get("softplus").phi(z) - z).numpy() - exact).max() < 1e-14
    assert np.abs((torch.nn.functional.softplus(z) - z).numpy() - exact).max() > 1e-9  # the one that is avoided


@pytest.mark.parametrize("name", ["erf", "gelu"])
@settings(max_examples=20)
@given(seed=SEEDS, count=st.integers(1, 5), dimension=st.integers(1, 6), norm=st.sampled_from([1.0, 2.0, 3.0]))
def test_closed_forms_agree_with_quadrature(name, seed, count, dimension, norm):
    X, Y = rows(seed, count, dimension, norm), rows(seed + 1, 3, dimension, norm)
    assert np.abs(dual_kernel(X, activation=name) - dual_by_quadrature(X, activation=name)).max() < 1e-12
    assert np.abs(dual_kernel(X, Y, activation=name) - dual_by_quadrature(X, Y, activation=name)).max() < 1e-12


def test_unit_rows_give_the_printed_forms():
    X = rows(0, 6, 3)
    r = np.clip(X @ X.T, -1, 1)
    gelu = 1 / 4 + (np.arcsin(r / 2) + r * (5 - r**2) / (4 - r**2) ** 1.5) / (2 * np.pi)
    assert np.abs(dual_kernel(X, activation="erf") - 4 / np.pi / np.sqrt(9 - 4 * r**2)).max() < 1e-14
    assert np.abs(dual_kernel(X, activation="gelu") - gelu).max() < 1e-14


@pytest.mark.parametrize("slope", [0.0, 0.2, -1.0])
@given(seed=SEEDS)
def test_rectifiers_agree_with_adaptive_integration(slope, seed):
    X = rows(seed, 2, 3, largest_norm=4.0)
    r = X[0] @ X[1] / np.linalg.norm(X[0]) / np.linalg.norm(X[1])

    def integrand(u: float) -> float:  # phi'(u) E[phi'(v) | u] under the density of u
        conditional = slope + (1 - slope) * ndtr(r * u / math.sqrt(1 - r**2))
        return (slope if u < 0 else 1.0) * conditional * math.exp(-u * u / 2) / math.sqrt(2 * math.pi)

    halves = [scipy.integrate.quad(integrand, *half, epsabs=1e-13, epsrel=1e-13)[0] for half in ((-12, 0), (0, 12))]
    assert dual_kernel(X, activation=activations.leaky_relu(slope))[0, 1] == pytest.approx(sum(halves), abs=1e-11)


@pytest.mark.parametrize("name", activations.names())
def test_dual_kernels_agree_with_monte_carlo(name):
    X, draws = rows(3, 2, 4, largest_norm=1.5), 200_000
    g = torch.from_numpy(np.random.default_rng(4).standard_normal((4, draws)))
    u, v = activations.get(name).derivative(torch.from_numpy(X) @ g)
    low, high = Estimate.mean((u * v).numpy()).interval(1 - 1e-6)
    assert low < dual_kernel(X, activation=name)[0, 1] < high
    assert high - low < 0.02
    assert not low < 1.1 * dual_kernel(X, activation=name)[0, 1] < high


@pytest.mark.parametrize("name", ["softplus", "tanh"])
@pytest.mark.parametrize("norm", [0.3, 1.0, 2.0, 4.0])
def test_quadrature_has_converged(name, norm):
    X = norm * rows(5, 3, 3)
    X = np.vstack([X, X[0], -X[0], X[0] / 2, X[0] + 1e-9, X[0] + 1e-4, 0 * X[0]])
    nodes = math.ceil(2.5 * activations.get(name).nodes * max(1, norm**2))
    finer = dual_by_quadrature(X, activation=name, nodes=nodes)
    assert np.abs(dual_kernel(X, activation=name) - finer).max() < 1e-12
    too_few = dual_by_quadrature(X, activation=name, nodes=activations.get(name).nodes // 16)
    assert norm < 1 or np.abs(too_few - finer).max() > 1e-9


@pytest.mark.parametrize("name", activations.names())
def test_coincident_and_antipodal_rows(name):
    x = rows(6, 1, 5)
    kernel = dual_kernel(np.vstack([x, x, -x]), activation=name)
    slope = activations.get(name).derivative

    def integrand(u: float, sign: int) -> float:
        pair = slope(torch.tensor([u, sign * u], dtype=torch.float64))
        return float(pair.prod()) * math.exp(-u * u / 2) / math.sqrt(2 * math.pi)

    for sign, entry in ((1, kernel[0, 1]), (-1, kernel[0, 2])):
        halves = [scipy.integrate.quad(integrand, *half, (sign,), epsabs=1e-13)[0] for half in ((-12, 0), (0, 12))]
        assert entry == pytest.approx(sum(halves), abs=1e-12)
    assert kernel[0, 0] == pytest.approx(kernel[0, 1], abs=1e-15)


def test_a_hexagon_keeps_its_rectifier_diagonal_exact():
    angles = np.arange(6) * np.pi / 3
    C = np.column_stack([np.cos(angles), np.sin(angles)])
    assert (np.diag(dual_kernel(C, activation="relu")) == 0.5).all()
    assert abs(np.linalg.eigvalsh(C @ C.T * dual_kernel(C, activation="relu"))[0]) < 1e-13
    naive = (np.pi - np.arccos(np.clip(C @ C.T - 1e-16, -1, 1))) / (2 * np.pi)
    assert np.linalg.eigvalsh(C @ C.T * naive)[0] < -1e-10  # what the cosine would cost


@pytest.mark.parametrize("slope", [0.0, 0.4])
def test_a_zero_row_never_switches_on(slope):
    leaky = activations.leaky_relu(slope)
    kernel = dual_kernel([[0.0, 0.0], [3.0, 4.0]], activation=leaky)
    at_zero = float(leaky.derivative(torch.zeros(1)))
    assert kernel[0] == pytest.approx([at_zero**2, at_zero * (1 + slope) / 2], abs=1e-7)


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("erf", 4 / (math.pi * math.sqrt(5)), 16 / (math.pi * 5**1.5)),
        ("gelu", 1 / 3 + 2 / (3 * math.sqrt(3) * math.pi), math.sqrt(3) / (2 * math.pi)),
        ("softplus", 0.2933790359, 0.0448362414),
        ("tanh", 0.4644029025, 0.3002038120),
    ],
)
def test_moments(name, first, second):
    assert moment(name) == pytest.approx(first, abs=6e-11)
    assert moment(name, 2) == pytest.approx(second, abs=6e-11)
    assert moment(name) != pytest.approx(moment(name, 2), abs=1e-3)


def test_moment_of_relu():
    assert moment("relu") == 0.5
    with pytest.raises(InvalidInput, match="kink"):
        moment("relu", 2)


def test_kind_and_dtype_follow_the_first_argument():
    X = rows(7, 3, 2)
    exact = dual_kernel(X, activation="tanh")
    single = dual_kernel(torch.from_numpy(X).float(), activation="tanh")
    assert isinstance(single, torch.Tensor) and single.dtype == torch.float32
    assert np.abs(single.numpy() - exact).max() < 1e-6
    assert dual_kernel(X.astype(np.float32), activation="relu").dtype == np.float32
    assert dual_kernel([[1, 0], [0, 1]], activation="erf").dtype == np.float64


def test_own_activation_by_autograd_or_by_hand():
    def slope(z: torch.Tensor) -> torch.Tensor:
        s = torch.sigmoid(z)
        return s * (1 + z * (1 - s))

    automatic = Activation("swish", lambda z: z * torch.sigmoid(z), gamma1=1.0999, gamma2=0.5)
    by_hand = Activation("swish", lambda z: z * torch.sigmoid(z), slope, gamma1=1.0999, gamma2=0.5)
    X = rows(8, 4, 3)
    assert activations.get(automatic) is automatic
    assert np.abs(dual_kernel(X, activation=automatic) - dual_kernel(X, activation=by_hand)).max() < 1e-14
    with torch.no_grad():  # autograd is switched on inside
        assert automatic.derivative(torch.zeros(2)).tolist() == [0.5, 0.5]
    assert supremum(automatic.derivative) <= automatic.gamma1 < 1.001 * supremum(automatic.derivative)


def test_own_closed_form_is_used():
    linear = Activation("identity", lambda z: z, gamma1=1.0, gamma2=1.0, dual=lambda X, Y: X.new_ones(len(X), len(Y)))
    assert (dual_kernel(rows(9, 2, 2), activation=linear) == 1).all()


PHI = {"phi": torch.tanh, "gamma1": 1.0, "gamma2": 1.0}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: activations.get("swish"), r"activation: .*softplus, erf, tanh, gelu, relu.*'swish'; .*leaky_relu"),
        (lambda: activations.leaky_relu(math.nan), "slope: expected a finite number"),
        (lambda: Activation("", **PHI), "activation name"),
        (lambda: Activation("mine", **PHI | {"gamma1": 0.0}), "mine's gamma1: expected a number > 0"),
        (lambda: Activation("mine", **PHI | {"gamma1": math.inf}), "mine's gamma1"),
        (lambda: Activation("mine", **PHI | {"gamma2": -1.0}), "mine's gamma2"),
        (lambda: Activation("mine", **PHI | {"gamma2": math.nan}), "mine's gamma2"),
        (lambda: Activation("mine", **PHI, nodes=0), "mine's nodes"),
        (lambda: moment("tanh", 3), "order"),
        (lambda: dual_kernel([[1.0, math.nan]], activation="erf"), "X: expected finite entries"),
        (lambda: dual_kernel([1.0, 2.0], activation="erf"), "X: expected shape"),
        (lambda: dual_kernel(np.ones((0, 2)), activation="erf"), "X: expected shape"),
        (lambda: dual_kernel([[1.0, 2.0]], [[1.0]], activation="erf"), "Y: expected shape"),
        (lambda: dual_kernel([[1e4]], activation="tanh"), "normalise the rows"),
        (lambda: dual_by_quadrature([[1.0]], activation="relu"), "quadrature for relu: .*kink"),
        (lambda: dual_by_quadrature([[1.0]], activation="tanh", nodes=0), "nodes"),
    ],
)
def test_bad_calls_are_refused_in_one_line(call, message):
    with pytest.raises(InvalidInput, match=message) as refusal:
        call()
    assert "\n" not in str(refusal.value) and "; " in str(refusal.value)
