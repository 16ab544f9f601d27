"""Jacobians, kernels and neural covariances against autograd, expectation and geometry; memory measured outside."""

import math
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import activations
from theory.activations import Activation
from theory.checks import InvalidInput
from theory.covariance import Jacobian, empirical_kernel, jacobian, least_eigenvalue, neural_covariance
from theory.networks import TwoLayer

SEEDS = st.integers(0, 10**6)
NAMES = st.sampled_from(activations.names())


def unit_rows(seed: int, count: int, dimension: int) -> np.ndarray:
    X = np.random.default_rng(seed).standard_normal((count, dimension))
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def autograd_jacobian(network: torch.nn.Module, X: np.ndarray) -> np.ndarray:
    """One backward pass per output: the slow road, which shares no code with ours."""
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    outputs = network(torch.from_numpy(X)).reshape(-1)
    rows = [torch.autograd.grad(output, weights, retain_graph=True) for output in outputs]
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows]).numpy()


def disagreement(ours: np.ndarray, reference: np.ndarray) -> float:
    return float(np.abs(ours - reference).max() / max(np.abs(reference).max(), 1e-300))


SHAPES = {
    "name": st.sampled_from(activations.names()),
    "seed": SEEDS,
    "half": st.integers(1, 8),
    "dimension": st.integers(1, 5),
    "count": st.integers(1, 6),
    "paired": st.booleans(),
}


def problem(name: str, seed: int, half: int, dimension: int, count: int, paired: bool) -> tuple[np.ndarray, TwoLayer]:
    """Inputs of any norm and a network, paired or with output weights of any size."""
    generator = np.random.default_rng(seed)
    X, W = 3 * generator.standard_normal((count, dimension)), generator.standard_normal((2 * half, dimension))
    v = generator.standard_normal(2 * half)
    return X, TwoLayer(W, np.concatenate([v[:half], -v[:half]]) if paired else v, name, paired)


class Convolutional(torch.nn.Module):
    """A network that no closed form covers: ten outputs, a frozen layer, a buffer, batch normalisation."""

    def __init__(self, outputs: int = 3):
        super().__init__()
        self.first = torch.nn.Conv2d(1, 2, 3)
        self.norm = torch.nn.BatchNorm2d(2)
        self.frozen = torch.nn.Conv2d(2, 2, 2).requires_grad_(False)
        self.last = torch.nn.Linear(8, outputs)
        self.register_buffer("shift", torch.tensor(0.5))

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(self.norm(self.first(X)))
        hidden = torch.nn.functional.gelu(self.frozen(hidden)) + self.shift
        return self.last(hidden.flatten(1))


@given(**SHAPES)
def test_kernel_and_jacobian_agree_with_autograd(**shapes):
    X, network = problem(**shapes)
    reference = autograd_jacobian(network, X)
    scale = network.jacobian_bound(X)  # where all units are saturated, autograd's 1 - tanh^2 has no digits of its own
    assert np.abs(jacobian(X, network).matrix() - reference).max() < 1e-14 * scale
    for kernel in (empirical_kernel(X, network.W, network.v, network.activation), empirical_kernel(X, network)):
        assert np.abs(kernel - reference @ reference.T).max() < 1e-13 * scale**2


@pytest.mark.parametrize("name", activations.names())
def test_kernel_agrees_with_autograd_at_a_real_size(name):
    network, X = TwoLayer.initialise(512, 10, name, seed=1), unit_rows(2, 30, 10)
    reference = autograd_jacobian(network, X)
    kernel = empirical_kernel(X, network, chunk_bytes=10_000)
    assert np.linalg.norm(kernel - reference @ reference.T, 2) < 1e-12 * np.linalg.norm(kernel, 2)
    assert np.array_equal(kernel, kernel.T)
    other = empirical_kernel(X, network.at(network.W + 0.01))
    assert disagreement(other, reference @ reference.T) > 1e-4  # the comparison can fail


@settings(max_examples=40)
@given(chunk_bytes=st.integers(1, 3000), columns=st.integers(1, 4), **SHAPES)
def test_products_are_those_of_the_matrix_whatever_the_chunk(chunk_bytes, columns, **shapes):
    X, network = problem(**shapes)
    J = jacobian(X, network, chunk_bytes=chunk_bytes)
    explicit, generator = J.matrix(), np.random.default_rng(0)
    B, U = generator.standard_normal((J.shape[1], columns)), generator.standard_normal((J.shape[0], columns))
    assert np.allclose(J @ B, explicit @ B, atol=1e-11)
    assert np.allclose(J.T @ U, explicit.T @ U, atol=1e-11)
    assert np.allclose(J @ B[:, 0], explicit @ B[:, 0], atol=1e-11)
    assert np.allclose(J.T @ U[:, 0], explicit.T @ U[:, 0], atol=1e-11)
    assert disagreement(empirical_kernel(X, network, chunk_bytes=chunk_bytes), explicit @ explicit.T) < 1e-12


def test_row_layout():
    X, W, v = unit_rows(0, 3, 2), unit_rows(1, 4, 2), np.array([1.0, -2.0, 3.0, 0.5])
    slopes = activations.get("gelu").derivative(torch.from_numpy(X @ W.T)).numpy()
    expected = v[None, :, None] * slopes[:, :, None] * X[:, None, :]
    assert np.allclose(jacobian(X, W, v, "gelu").matrix().reshape(3, 4, 2), expected, atol=1e-15)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("chunk_bytes", [1, 2**26])
def test_any_module(outputs, chunk_bytes):
    torch.manual_seed(0)
    network = Convolutional(outputs).double().eval()
    network.norm.running_mean.fill_(0.3)
    X = np.random.default_rng(0).standard_normal((5, 1, 5, 5))
    reference = autograd_jacobian(network, X)
    J = jacobian(X, network, chunk_bytes=chunk_bytes)
    assert J.shape == reference.shape == (5 * outputs, sum(p.numel() for p in network.parameters() if p.requires_grad))
    assert disagreement(J.matrix(), reference) < 1e-12
    assert disagreement(empirical_kernel(X, network, chunk_bytes=chunk_bytes), reference @ reference.T) < 1e-10
    generator = np.random.default_rng(1)
    B, U = generator.standard_normal((J.shape[1], 2)), generator.standard_normal((J.shape[0], 2))
    assert np.allclose(J @ B, reference @ B, atol=1e-11) and np.allclose(J.T @ U, reference.T @ U, atol=1e-11)


def test_any_module_in_the_dtype_of_the_inputs():
    network = Convolutional().eval()  # float32
    X = np.random.default_rng(0).standard_normal((3, 1, 5, 5))
    kernel = empirical_kernel(X, network)
    reference = autograd_jacobian(network.double(), X)
    assert kernel.dtype == np.float64 and disagreement(kernel, reference @ reference.T) < 1e-10


def test_a_two_layer_network_is_also_a_module():
    class Shifted(TwoLayer):
        def forward(self, X):
            return super().forward(X) * 2

    start = TwoLayer.initialise(6, 3, "tanh", paired=True)
    X, shifted = unit_rows(0, 4, 3), Shifted(start.W, start.v, "tanh", paired=True)
    assert disagreement(empirical_kernel(X, shifted), 4 * empirical_kernel(X, start)) < 1e-13


def test_own_activation_without_a_derivative():
    swish = Activation("swish", lambda z: z * torch.sigmoid(z), gamma1=1.0999, gamma2=0.5)
    network, X = TwoLayer.initialise(8, 3, swish), unit_rows(0, 4, 3)
    reference = autograd_jacobian(network, X)
    assert disagreement(empirical_kernel(X, network), reference @ reference.T) < 1e-12


def test_weights_of_any_strides():
    generator = np.random.default_rng(0)
    X, v, tall = unit_rows(0, 4, 3), np.ones(50), generator.standard_normal((3, 100))
    for W in (tall[:, ::2].T, np.asfortranarray(tall[:, :50].T), tall[:, :50].T[::-1]):
        expected = empirical_kernel(X, np.ascontiguousarray(W), v, "erf")
        assert disagreement(empirical_kernel(X, W, v, "erf"), expected) < 1e-14
    strided = torch.from_numpy(tall)[:, ::2].T
    assert disagreement(empirical_kernel(X, strided, v, "erf"), empirical_kernel(X, strided.numpy(), v, "erf")) < 1e-14
    repeated = torch.ones(1, 3, dtype=torch.float64).expand(50, 3)
    assert (
        disagreement(empirical_kernel(X, repeated, v, "erf"), 50 * empirical_kernel(X, repeated[:1], [1], "erf"))
        < 1e-14
    )


def test_the_jacobian_is_a_scipy_operator_and_a_numpy_array():
    network, X = TwoLayer.initialise(40, 5, "erf"), unit_rows(0, 6, 5)
    J = jacobian(X, network)
    assert isinstance(J, scipy.sparse.linalg.LinearOperator) and isinstance(J, Jacobian)
    exact = np.linalg.svd(np.asarray(J), compute_uv=False)
    assert scipy.sparse.linalg.svds(J, k=3, return_singular_vectors=False) == pytest.approx(exact[2::-1], rel=1e-9)
    assert np.asarray(J, dtype=np.float32).dtype == np.float32
    assert J.T.shape == (200, 6) and np.allclose(J.T @ np.eye(6), np.asarray(J).T)


def test_the_jacobian_is_a_snapshot():
    network, X = TwoLayer.initialise(4, 2, "tanh"), unit_rows(0, 3, 2)
    plain = torch.nn.Linear(2, 1).double()
    operators = jacobian(X, network), jacobian(X, torch.nn.Sequential(plain, torch.nn.Tanh()))
    before = [operator.matrix() for operator in operators]
    with torch.no_grad():
        network.W.mul_(2)
        plain.weight.mul_(2)
    X *= 2
    for operator, matrix in zip(operators, before, strict=True):
        assert np.array_equal(operator.matrix(), matrix)
    assert not np.allclose(jacobian(X, network).matrix(), before[0])


def test_kinds_and_dtypes():
    network, X = TwoLayer.initialise(6, 2, "softplus"), unit_rows(0, 3, 2)
    exact, batch = empirical_kernel(X, network), torch.from_numpy(X)
    for kernel in (
        empirical_kernel(batch.float(), network),
        empirical_kernel(batch.float(), network.W, network.v, "softplus"),
    ):
        assert isinstance(kernel, torch.Tensor) and kernel.dtype == torch.float32 and not kernel.requires_grad
        assert np.abs(kernel.numpy() - exact).max() < 1e-6
    assert empirical_kernel(X.astype(np.float32), network).dtype == np.float32
    assert jacobian(batch.float(), network).matrix().dtype == torch.float32
    assert (jacobian(batch.float(), network) @ np.ones(12)).dtype == np.float32
    assert neural_covariance(batch.float(), "relu").dtype == torch.float32
    assert least_eigenvalue(batch, "relu").ndim == 0
    assert isinstance(least_eigenvalue(X.tolist(), "relu"), float)


@pytest.mark.parametrize("name", activations.names())
def test_the_empirical_kernel_tends_to_the_neural_covariance(name):
    X, errors = unit_rows(0, 5, 4), []
    for width in (2**8, 2**18):
        network = TwoLayer.initialise(width, 4, name, seed=3)
        errors.append(np.abs(empirical_kernel(X, network) - neural_covariance(X, name)).max())
    assert errors[1] < 0.01 and errors[1] < errors[0] / 4


@given(name=NAMES, seed=SEEDS, count=st.integers(1, 6), dimension=st.integers(1, 5))
@settings(max_examples=40)
def test_neural_covariance_is_a_covariance(name, seed, count, dimension):
    C = unit_rows(seed, count, dimension)
    C = np.vstack([C, C[0]])  # a repeated centre: singular
    sigma = neural_covariance(C, name)
    assert np.array_equal(sigma, sigma.T)
    assert np.trace(sigma) == pytest.approx(len(C) * activations.moment(name), rel=1e-11)
    assert abs(least_eigenvalue(C, name)) < 1e-12


def test_a_hexagon_is_singular_under_relu_and_under_every_weight():
    angles = np.arange(6) * np.pi / 3
    hexagon = np.column_stack([np.cos(angles), np.sin(angles)])
    assert abs(least_eigenvalue(hexagon, "relu")) < 1e-13
    for seed in range(5):
        values = np.linalg.eigvalsh(empirical_kernel(hexagon, TwoLayer.initialise(50, 2, "relu", seed=seed)))
        assert abs(values[0]) < 1e-14
    triangle, pair = hexagon[::2], hexagon[::3]
    assert least_eigenvalue(triangle, "relu") > 0.1  # no antipodal pairs: out of reach of that argument
    for name in activations.names():  # one pair is singular exactly under the odd ones
        assert (abs(least_eigenvalue(pair, name)) < 1e-13) == activations.get(name).odd


@pytest.mark.parametrize("name", activations.names())
def test_two_close_centres(name):
    nu = 1e-3
    half = math.asin(nu / 2)
    C = [[math.cos(half), math.sin(half)], [math.cos(half), -math.sin(half)]]
    smooth = name != "relu" and (activations.moment(name) + activations.moment(name, 2)) * nu**2 / 2
    expected = nu / (2 * math.pi) if name == "relu" else smooth
    assert least_eigenvalue(C, name) == pytest.approx(expected, rel=2e-3)
    assert least_eigenvalue(C, name) != pytest.approx(1.1 * expected, rel=2e-3)


MEASURE = """
    import sys
    import torch
    from theory import activations, kernels
    from theory.covariance import empirical_kernel, jacobian

    def peak():  # of this process alone: resource.ru_maxrss starts from the parent's
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024

    work, n, width, d = sys.argv[1], *map(int, sys.argv[2:])
    X, W = torch.randn(n, d, dtype=torch.float64), torch.randn(d, width, dtype=torch.float64).T
    v = torch.full((width,), width**-0.5, dtype=torch.float64)
    kernels.gram(X[:9], W[:999], v[:999], activations.get("erf"), path="cpu")  # libraries, and what is compiled
    print(peak())
    if "kernel" in work:
        empirical_kernel(X, W, v, "erf", chunk_bytes=2**24)
        print(peak())
    if "products" in work:
        J = jacobian(X, W, v, "erf", chunk_bytes=2**24)
        J.T @ (J @ torch.ones(width * d, dtype=torch.float64).numpy())
        print(peak())
    if "whole" in work:
        torch.special.erf(X @ W.T)
        print(peak())
"""


def peaks(work: str, *sizes: int) -> list[int]:
    """Peak bytes of a fresh process before and after each piece of work."""
    if not Path("/proc/self/status").exists():
        pytest.skip("peak memory is read from /proc")
    command = [sys.executable, "-c", textwrap.dedent(MEASURE), work, *map(str, sizes)]
    environment, root = os.environ | {"OMP_NUM_THREADS": "1"}, Path(__file__).parents[1]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root, env=environment)
    return [int(line) for line in answer.stdout.split()]


def test_memory_is_that_of_a_chunk():
    n, width, d = 400, 50_000, 10
    start, kernel, products, whole = peaks("kernel products whole", n, width, d)
    hidden = n * width * 8  # bytes of one (n, k) array: 160 MB; J itself takes 1.6 GB
    assert kernel - start < hidden / 2
    assert products - start < hidden
    assert whole - start > hidden  # all pre-activations at once: the measurement can tell


@pytest.mark.slow
def test_memory_of_the_kernel_at_full_size():
    assert peaks("kernel", 2000, 200_000, 20)[-1] < 1.5e9


X2 = np.eye(2)
DROPOUT = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Dropout())
BATCHED = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.BatchNorm1d(1, track_running_stats=False)).eval()


class Summed(torch.nn.Linear):
    def forward(self, X):
        return super().forward(X).sum()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: empirical_kernel([[1.0, math.nan]], X2, [1, 1], "relu"), "X: expected finite entries"),
        (lambda: empirical_kernel(X2, [[math.inf, 0.0]], [1.0], "relu"), "W: expected finite entries"),
        (lambda: empirical_kernel(X2, np.ones((3, 3)), [1, 1, 1], "relu"), "W: expected shape"),
        (lambda: empirical_kernel(X2, X2, [1, 1, 1], "relu"), "v: expected shape"),
        (lambda: empirical_kernel(X2[:0], X2, [1, 1], "relu"), "X: expected shape"),
        (lambda: empirical_kernel(X2, X2, [1, 1], "swish"), "softplus, erf, tanh, gelu, relu"),
        (lambda: empirical_kernel(X2, X2, [1, 1]), "arguments: expected .*no activation"),
        (lambda: empirical_kernel(X2, X2), "arguments: expected .*no v"),
        (lambda: empirical_kernel(X2, DROPOUT.eval(), [1, 1], "relu"), "leave v, activation out"),
        (lambda: empirical_kernel(X2, DROPOUT.train()), "module: .*Dropout in training mode; call module.eval"),
        (lambda: empirical_kernel(X2, BATCHED), "module: .*BatchNorm1d"),
        (lambda: empirical_kernel(X2, Summed(2, 1)), "module's output: expected one row per example"),
        (lambda: empirical_kernel(X2, torch.nn.LSTM(2, 1)), "module's output: .*tuple"),
        (lambda: empirical_kernel(X2[:0], Summed(2, 1)), "X: expected at least one example"),
        (lambda: empirical_kernel(X2, torch.nn.Tanh()), "module: expected trainable parameters"),
        (lambda: empirical_kernel(X2, torch.nn.Linear(2, 1, device="meta")), "module: expected parameters on cpu"),
        (lambda: empirical_kernel(torch.eye(2), torch.eye(2, device="meta"), torch.ones(2), "relu"), "W: .*cpu.*meta"),
        (lambda: empirical_kernel(X2, X2, [1, 1], "relu", chunk_bytes=0), "chunk_bytes"),
        (lambda: jacobian(X2, X2, [1, 1], "relu").matrix(limit_bytes=10), r"explicit Jacobian \(2, 4\): .*limit_bytes"),
        (lambda: neural_covariance([1.0, 2.0], "relu"), "C: expected shape"),
        (lambda: neural_covariance([[math.nan]], "relu"), "C: expected finite entries"),
        (lambda: least_eigenvalue(X2, "swish"), "softplus, erf, tanh, gelu, relu"),
    ],
)
def test_bad_calls_are_refused_in_one_line(call, message):
    with pytest.raises(InvalidInput, match=message) as refusal:
        call()
    assert "\n" not in str(refusal.value) and "; " in str(refusal.value)
