"""Singular values of matrices that have known ones: error bounds that hold, and a switch that fires when needed."""

import dataclasses
import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.linalg import hadamard

from theory import covariance, decomposition, spectrum
from theory.checks import InvalidInput
from theory.networks import TwoLayer

SEEDS = st.integers(0, 10**6)
METHODS = ("gram", "direct")


@pytest.fixture(autouse=True, scope="module")
def squaring():
    """Small matrices are never squared; here they stand for large ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decomposition, "_SMALL", 0)
        yield


def known(rows: int, columns: int, values: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A float64 matrix whose singular values are exactly those returned (`values`, rounded to multiples of 2^-47), and
    its left singular vectors: from Hadamard matrices, of which all sums here are exact."""
    draw = np.random.default_rng(seed)
    exponent = (round(math.log2(rows)) + round(math.log2(columns))) / 2
    assert exponent == int(exponent) and rows <= columns and len(values) == rows
    whole = np.sort(np.round(np.asarray(values) * 2.0**47))[::-1]
    assert whole.sum() <= 2**53
    left = hadamard(rows)[draw.permutation(rows)] * draw.choice([-1, 1], rows)[:, None]
    right = hadamard(columns)[:rows, draw.permutation(columns)] * draw.choice([-1, 1], columns)
    matrix = np.ldexp((left * whole) @ right.astype(float), -47 - int(exponent))
    return matrix, np.ldexp(whole, -47), left / math.sqrt(rows)


def spread(condition: float, rows: int = 64) -> np.ndarray:
    return np.geomspace(1.0, 1 / condition, rows)


def clustered(network: TwoLayer, points: int, seed: int = 0) -> np.ndarray:
    """120 inputs at few points."""
    draw = np.random.default_rng(seed)
    return draw.standard_normal((points, network.W.shape[1]))[draw.integers(0, points, 120)]


@pytest.mark.parametrize("exponent", range(1, 15))
def test_the_switch_fires_when_the_gram_matrix_has_lost_the_digits(exponent):
    J, exact, _ = known(64, 4096, spread(10.0**exponent))
    # f is about 1e-13 here, and a value of 1/condition errs by f/2 condition: 1e-6 of it at a condition of 3e3
    for relative, last in ((1e-6, 3), (1e-2, 5)):
        parts = spectrum.svd(J, relative=relative)
        assert parts.method == ("gram" if exponent <= last else "direct")
        assert (np.abs(parts.values - exact) <= np.maximum(relative * exact, 1e-14)).all()
        assert (np.abs(parts.values - exact) <= parts.errors).all()
        assert np.array_equal(parts.resolved, exact > parts.floor)
        alone = spectrum.singular_values(J, relative=relative)
        assert np.abs(alone - parts.values).max() < 1e-13 or parts.method == "gram"
    squared = spectrum.svd(J, method="gram")
    assert (np.abs(squared.values - exact) <= squared.errors).all()
    if exponent >= 9:
        assert abs(squared.values[-1] / exact[-1] - 1) > 0.3 and not squared.resolved[-1]  # what the switch prevents


@given(
    seed=SEEDS,
    shape=st.sampled_from([(1, 1), (1, 256), (4, 4), (4, 1024), (16, 64), (64, 256), (16, 4096)]),
    condition=st.floats(0, 14),
    kind=st.sampled_from(["spread", "bimodal", "random", "rank one", "flat"]),
    scale=st.integers(-300, 300),
)
def test_no_error_is_beyond_its_bound(seed, shape, condition, kind, scale):
    n, draw = shape[0], np.random.default_rng(seed)
    smallest = 10.0**-condition
    values = {
        "spread": spread(1 / smallest, n),
        "bimodal": np.where(np.arange(n) < max(1, n // 8), 1.0, smallest),
        "random": 10 ** draw.uniform(-condition, 0, n),
        "rank one": np.where(np.arange(n) == 0, 1.0, 0.0),
        "flat": np.full(n, 1 - smallest / 2),
    }[kind]
    J, exact, _ = known(*shape, values, seed)
    J, exact = np.ldexp(J, scale), np.ldexp(exact, scale)
    for method in METHODS:
        for matrix in (J, J.T):
            assert (np.abs(spectrum.singular_values(matrix, method=method) - exact) <= bounds(J, method)).all()
        parts = spectrum.svd(J, method=method)
        assert (np.abs(parts.values - exact) <= parts.errors).all()
        assert parts.errors[exact > 1e-3 * exact[0]].max() < 1e-9 * exact[0]  # a bound that says something
        assert np.abs(parts.left.T @ parts.left - np.eye(n)).max() < 1e-13
        assert parts.method == method


def bounds(J: np.ndarray, method: str) -> np.ndarray:
    return spectrum.svd(J, method=method).errors


@settings(max_examples=25)
@given(seed=SEEDS, rows=st.integers(1, 5), columns=st.integers(1, 9), grading=st.integers(0, 9))
def test_the_bounds_hold_on_matrices_without_structure(seed, rows, columns, grading):
    draw = np.random.default_rng(seed)
    J = draw.standard_normal((rows, columns)) * 10.0 ** -draw.uniform(0, grading, (rows, 1))
    with mpmath.workdps(50):
        exact = sorted(mpmath.svd_r(mpmath.matrix(J.tolist()), compute_uv=False), reverse=True)
    for method in METHODS:
        parts = spectrum.svd(J, method=method)
        errors = [abs(mpmath.mpf(value) - wanted) for value, wanted in zip(parts.values.tolist(), exact, strict=True)]
        assert all(error <= bound for error, bound in zip(errors, parts.errors.tolist(), strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_a_thousandth_of_the_bound_is_violated(method, monkeypatch):
    monkeypatch.setattr(decomposition, "EPSILON", decomposition.EPSILON / 1000)
    broken = 0
    for seed in range(10):
        J, exact, _ = known(16, 1024, np.random.default_rng(seed).uniform(0.1, 1, 16), seed)
        parts = spectrum.svd(J, method=method)
        broken += bool((np.abs(parts.values - exact) > parts.errors).any())
    assert broken > 5


@pytest.mark.parametrize("columns", [3000, 10**6])
def test_sums_of_equal_terms_do_not_drift(columns):
    J = np.full((2, columns), 0.1)  # in one chain, every partial sum would be rounded in the same direction
    exact = math.sqrt(2 * columns) * 0.1
    for method in METHODS:
        parts = spectrum.svd(J, method=method)
        assert abs(parts.values[0] - exact) <= parts.errors[0] < 1e-12 * exact
        assert parts.values[1] <= parts.errors[1] and not parts.resolved[1]
    units = torch.ones(columns // 3, 3, dtype=torch.float64) / 7
    X, v = np.array([[0.3, 0.2, 0.1], [0.1, 0.5, -0.4]]), torch.full((len(units),), 0.1, dtype=torch.float64)
    slopes = 1 - np.tanh(X @ np.full(3, 1 / 7)) ** 2
    exact = np.linalg.svd(slopes[:, None] * X, compute_uv=False) * math.sqrt(len(units)) * 0.1
    for J in (covariance.jacobian(X, units, v, "tanh"), covariance.jacobian(X, Hidden(units, v))):
        parts = spectrum.svd(J, method="gram")
        assert (np.abs(parts.values - exact) <= parts.errors).all()
        assert parts.errors[0] < 1e-12 * exact[0]


class Hidden(torch.nn.Module):
    """A two-layer network that the library does not recognise as one."""

    def __init__(self, W: torch.Tensor, v: torch.Tensor):
        super().__init__()
        self.W, self.v = torch.nn.Parameter(W), v

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return torch.tanh(X @ self.W.T) @ self.v


def test_a_tall_matrix_needs_no_square_basis():
    parts = spectrum.svd(np.full((10**6, 1), 0.1))
    assert abs(parts.values[0] - 100) <= parts.errors[0] < 1e-10 and parts.left.shape == (10**6, 1)


def test_the_zero_matrix():
    for method in ("auto", *METHODS):
        for shape in ((1, 1), (3, 5), (5, 3), (300, 300)):
            parts = spectrum.svd(np.zeros(shape), method=method)
            assert not parts.values.any() and parts.errors.max() < 1e-150 and not parts.resolved.any()
            assert parts.right().shape == (shape[1], 0)
    assert not spectrum.singular_values(np.zeros((70, 5000))).any()
    assert spectrum.split(np.zeros((70, 5000)), rank=2).nuisance.shape == (70, 68)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (3, 8), (8, 3), (5, 5), (60, 5000), (400, 60), (400, 1)])
def test_shapes(shape):
    J = np.random.default_rng(1).standard_normal(shape)
    U, exact, Vt = np.linalg.svd(J, full_matrices=False)
    for method in ("auto", *METHODS):
        parts = spectrum.svd(J, method=method)
        assert parts.values == pytest.approx(exact, rel=1e-9) and parts.left.shape == U.shape
        V = parts.right()
        assert np.abs(V.T @ V - np.eye(len(exact))).max() < 1e-9
        assert np.abs(parts.left * parts.values @ V.T - J).max() < 1e-9
        assert np.abs(np.abs((U * parts.left).sum(axis=0)) - 1).max() < 1e-9
        assert np.abs(np.abs((Vt.T * V).sum(axis=0)) - 1).max() < 1e-9
        assert spectrum.singular_values(J, method=method) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_right_vectors_are_as_good_as_stated(method):
    J, _, _ = known(64, 1024, spread(1e6))
    parts = spectrum.svd(J, method=method)
    count = int(parts.resolved.sum())
    assert count == 64 or method == "gram"
    V, s, eps = parts.right(), parts.values[:count], 1e-14
    residual = np.linalg.norm(J @ V - parts.left[:, :count] * s, axis=0)
    gram = parts.floor**2 / s
    assert (residual <= eps + (gram if method == "gram" else parts.floor * (1 + s[0] / s))).all()
    assert np.abs(J.T @ parts.left[:, :count] - s * V).max() < eps
    overlap = np.abs(V.T @ V - np.eye(count))
    limit = gram[:, None] / s if method == "gram" else parts.floor * np.add.outer(1 / s, 1 / s)
    assert (overlap <= limit + eps).all()
    for columns, index in ((3, slice(3)), (slice(1, 9, 2), slice(1, 9, 2)), ([5, 0], [5, 0]), (np.int64(2), slice(2))):
        assert parts.right(columns) == pytest.approx(V[:, np.arange(count)[index]], abs=1e-12)


def test_right_vectors_of_unresolved_values_are_refused():
    parts = spectrum.svd(known(64, 256, spread(1e14))[0], method="gram")
    count = int(parts.resolved.sum())
    assert 0 < count < 64 and parts.right().shape == (256, count)
    for columns, message in ((count + 1, f"got column {count}"), ([0, 63], "got column 63"), (65, "an integer")):
        with pytest.raises(InvalidInput, match=message):
            parts.right(columns)


@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_perfect_clusters_need_no_more_than_the_gram_matrix(name, monkeypatch):
    network = TwoLayer.initialise(600, 8, name)
    X = clustered(network, 6)
    J = covariance.jacobian(X, network)
    monkeypatch.setattr(type(J), "explicit", None)
    parts = spectrum.svd(J)
    assert parts.method == "gram" and parts.resolved.sum() == 6
    assert not parts.values[6:].any() and not parts.errors[6:].any()  # known, not measured
    assert spectrum.split(J).rank == 6 and spectrum.condition_number(X, network) == math.inf
    assert (spectrum.singular_values(X, network)[:6] > 0.01).all()
    monkeypatch.undo()
    V = parts.right()
    assert np.abs(J.matrix() - parts.left[:, :6] * parts.values[:6] @ V.T).max() < 1e-12


def test_equal_inputs_count_once_for_each_output():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 40), torch.nn.Tanh(), torch.nn.Linear(40, 2)).double()
    X = np.repeat(np.random.default_rng(0).standard_normal((3, 3)), [20, 1, 20], axis=0)
    J = covariance.jacobian(X, network)
    for method in METHODS:
        parts = spectrum.svd(J, method=method)
        assert parts.resolved.sum() == 6 and not parts.values[6:].any()
        exact = np.linalg.svd(J.matrix(), compute_uv=False)
        assert parts.values == pytest.approx(exact, rel=1e-9, abs=1e-13)


def test_a_rank_that_is_not_known_beforehand_is_measured_on_j_itself():
    draw = np.random.default_rng(0)
    J = draw.standard_normal((80, 5)) @ draw.standard_normal((5, 4000))
    squared, parts = spectrum.svd(J, method="gram"), spectrum.svd(J)
    assert parts.method == "direct" and parts.resolved.sum() == squared.resolved.sum() == 5
    assert parts.values[5:].max() < 1e-13 * parts.values[0] < squared.errors[5:].min()
    # few enough units span less than all examples, too: what is left is below J's own rounding
    X = draw.standard_normal((300, 3))
    few = TwoLayer.initialise(20, 3, "tanh")
    assert spectrum.svd(X, few).values.shape == (60,) and spectrum.condition_number(X, few) == math.inf


@pytest.mark.parametrize("name", ["relu", "softplus"])
def test_a_jacobian_that_is_never_explicit(name, monkeypatch):
    X, network = np.random.default_rng(0).standard_normal((100, 5)), TwoLayer.initialise(400, 5, name)
    J = covariance.jacobian(X, network)
    exact = np.linalg.svd(J.matrix(), compute_uv=False)
    monkeypatch.setattr(type(J), "explicit", None)  # not callable
    parts = spectrum.svd(J)
    assert parts.method == "gram" and (np.abs(parts.values - exact) <= parts.errors + 1e-13 * exact[0]).all()
    assert spectrum.operator_norm(J) == pytest.approx(exact[0], rel=1e-12)
    assert spectrum.condition_number(X, network) == pytest.approx((exact[0] / exact[-1]) ** 2, rel=2e-6)
    V = parts.right(10)
    assert np.abs(V.T @ V - np.eye(10)).max() < 1e-9


def test_a_jacobian_too_large_to_be_explicit(monkeypatch):
    close = np.random.default_rng(0).standard_normal((100, 5))
    close[1] = close[0] + 1e-9
    network = TwoLayer.initialise(400, 5, "softplus")
    J = covariance.jacobian(close, network)
    exact = np.linalg.svd(J.matrix(), compute_uv=False)
    parts = spectrum.svd(J)
    assert parts.method == "direct" and parts.resolved.all()
    assert np.abs(parts.values - exact).max() < 1e-13 * exact[0]
    assert spectrum.condition_number(close, network) == pytest.approx((exact[0] / exact[-1]) ** 2, rel=1e-2)
    monkeypatch.setattr(decomposition, "EXPLICIT_BYTES", 8 * 100 * 2000 - 1)
    parts = spectrum.svd(J)
    assert parts.method == "gram" and parts.resolved.tolist() == [True] * 99 + [False]
    assert (np.abs(parts.values - exact) <= parts.errors).all()
    assert spectrum.condition_number(close, network) == math.inf
    for options in ({"method": "gram"}, {"relative": 1e300}):
        assert spectrum.singular_values(J, **options) == pytest.approx(parts.values, abs=1e-6)
    for call in (lambda: spectrum.singular_values(J), lambda: spectrum.split(J), lambda: spectrum.split(J, rank=99)):
        with pytest.raises(InvalidInput, match=r"explicit Jacobian .* method='gram'"):
            call()
    assert spectrum.split(J, rank=3).rank == 3  # whose space the Gram matrix knows


def test_single_precision_is_computed_in_double():
    draw = np.random.default_rng(0)
    network = TwoLayer.initialise(400, 5, "softplus", dtype=torch.float32)
    X = torch.from_numpy(draw.standard_normal((100, 5))).float()
    X[1] = X[0] + 1e-4
    wide = TwoLayer(network.W.detach().double(), network.v.double(), "softplus")
    exact = spectrum.singular_values(X.double(), wide, method="direct")
    for method in ("auto", *METHODS):
        parts = spectrum.svd(X, network, method=method)
        assert parts.values.dtype == parts.left.dtype == parts.errors.dtype == parts.right(2).dtype == torch.float32
        assert ((parts.values - exact).abs() <= parts.errors).all()
        assert parts.resolved.all() and spectrum.singular_values(X, network, method=method).dtype == torch.float32
    assert torch.linalg.eigvalsh(covariance.empirical_kernel(X, network))[0] < 0.9 * exact[-1] ** 2  # in single
    J = known(64, 256, spread(1e5))[0]
    exact = np.linalg.svd(J.astype(np.float32).astype(float), compute_uv=False)
    parts = spectrum.svd(J.astype(np.float32))
    assert parts.values.dtype == np.float32 and isinstance(parts.right(2), np.ndarray)
    assert parts.values == pytest.approx(exact, rel=1e-6)


def test_a_module_with_a_constant_of_its_own_in_single_precision():
    torch.manual_seed(0)

    class Mixed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.mix = torch.nn.Linear(3, 4), torch.randn(4, 2)

        def forward(self, X):
            return torch.tanh(self.layer(X)) @ self.mix

    X = torch.randn(30, 3)
    J = covariance.jacobian(X, Mixed())
    parts = spectrum.svd(J)
    exact = torch.linalg.svdvals(J.matrix().double())
    assert parts.values.dtype == torch.float32 and parts.values.numpy() == pytest.approx(exact.numpy(), abs=1e-6)


def test_split_takes_from_the_gram_matrix_what_it_knows():
    bimodal, exact, left = known(64, 4096, np.r_[1.0, 0.9, 0.8, np.full(61, 1e-3)])
    parts = spectrum.split(bimodal)
    assert parts.rank == 3 and parts.errors[-1] > 1e-12  # J itself has 2e-14
    assert (np.abs(parts.values - exact) <= parts.errors).all()
    assert spectrum.principal_angles(parts.information, left[:, :3]).max() < 1e-9
    tiny, exact, left = known(64, 4096, np.r_[1.0, 0.9, 0.8, np.full(61, 1e-10)])
    for options in ({"rank": 3}, {"cut": 1e-3}):  # no need to know the tail
        parts = spectrum.split(tiny, **options)
        assert parts.rank == 3 and parts.errors[-1] > 1e-8
        assert spectrum.principal_angles(parts.information, left[:, :3]).max() < 1e-9
    for options in ({}, {"cut": 1e-9}):  # among the tail, which the Gram matrix does not know, might be a larger gap
        parts = spectrum.split(tiny, **options)
        assert parts.rank == 3 and parts.errors[-1] < 1e-13
    hidden, exact, left = known(64, 4096, np.r_[1.0, 1e-4, 1e-5, np.full(61, 1e-12)])
    assert spectrum.split(hidden, method="gram").rank == 1  # the gap that the Gram matrix shows is another
    parts = spectrum.split(hidden)
    assert parts.rank == 3 and parts.errors[-1] < 1e-13
    near, exact, left = known(64, 4096, np.r_[1.0, 1e-4, 2e-6, np.full(61, 1e-6)])
    errors = {}
    for method in ("auto", *METHODS):
        parts = spectrum.split(near, rank=3, method=method)
        errors[method] = spectrum.principal_angles(parts.information, left[:, :3]).max()
    assert errors["auto"] == errors["direct"] < 1e-9 < errors["gram"]


def test_spaces_that_no_method_tells_apart_do_not_force_the_switch():
    J, _, _ = known(64, 4096, np.r_[np.full(10, 1.0), np.full(54, 0.25)])
    own = decomposition.directly(decomposition.read(J, None)).errors[0]
    assert spectrum.split(J, rank=5).errors[0] > 1.1 * own  # five of ten equal ones
    assert spectrum.split(J, rank=10).errors[0] > 1.1 * own


def test_what_is_enough():
    J, _, _ = known(64, 4096, spread(10))
    parts = decomposition.decompose(decomposition.read(J, None), lambda parts: True)
    assert parts.method == "gram" and parts.accurate(1e-9) and not parts.accurate(1e-16)
    off = dataclasses.replace(parts, errors=parts.errors * torch.where(torch.arange(64) == 63, 1e9, 1.0))
    assert off.accurate(1e-9, 63) and not off.accurate(1e-9)


@given(seed=SEEDS, size=st.integers(1, 9))
def test_a_symmetric_matrix_is_not_squared(seed, size):
    draw = np.random.default_rng(seed)
    K = draw.standard_normal((size, size))
    K = np.diag(10.0 ** -draw.uniform(0, 9, size)) if seed % 2 else K + K.T
    parts = spectrum.svd(K)
    exact = np.linalg.svd(K, compute_uv=False)
    assume(exact[-1] > 1e-12)
    assert parts.method == "direct" and (np.abs(parts.values - exact) <= 2 * parts.errors).all()
    assert np.abs(parts.left * parts.values @ parts.right().T - K).max() < 1e-12 * (1 + exact[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spectrum.svd([[1.0]], method="qr"), "method: expected one of auto, gram, direct"),
        (lambda: spectrum.singular_values([[1.0]], relative=-1.0), "relative: expected a number >= 0"),
        (lambda: spectrum.svd([[1.0]], relative=math.nan), "relative: expected a finite number"),
        (lambda: spectrum.svd([1.0]), "J: expected shape"),
        (lambda: spectrum.svd([[1e200, 1e180]], method="gram"), "J J\\^T: expected entries below 1e308"),
        (lambda: spectrum.svd([[1.0, 2.0]]).right(2), "columns: expected an integer in"),
    ],
)
def test_bad_calls_are_refused_in_one_line(call, message):
    with pytest.raises(InvalidInput, match=message) as refusal:
        call()
    assert "\n" not in str(refusal.value) and "; " in str(refusal.value)


def test_small_matrices_are_not_squared(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(decomposition, "_SMALL", 2**24)
    assert spectrum.svd(np.diag([1.0, 2.0])).method == spectrum.svd([[1.0, 2.0]]).method == "direct"
    large = np.random.default_rng(0).standard_normal((100, 2000))
    assert spectrum.svd(large).method == "gram" and spectrum.svd(large[:, :1600]).method == "direct"
