"""The CPU path against integers counted one by one and against float64 closed forms; memory measured from outside."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from theory import activations
from theory.activations import Activation
from theory.kernels import Rows, compiling, cpu, reference

DTYPES = (torch.float32, torch.float64)
SMOOTH = ("softplus", "erf", "tanh", "gelu")
ALL = 2**26
compiled_only = pytest.mark.skipif(not compiling.available(), reason="needs numba")

# around the sizes at which the compiled loops change: 8 inputs, 256 inputs; 6, 8, 16, 512, 8192 units
INPUTS = st.sampled_from([1, 2, 7, 8, 9, 17, 31, 255, 256, 257, 300])
UNITS = st.sampled_from([1, 2, 5, 6, 7, 15, 16, 17, 63, 64, 65, 127, 511, 512, 513, 4097, 8191, 8192, 8193])
LAYOUTS = st.sampled_from(["contiguous", "transposed", "sliced", "expanded", "part of a wider one"])


def laid_out(matrix: torch.Tensor, layout: str) -> torch.Tensor:
    """The same numbers in another layout of memory; "expanded" repeats the first row without copying it."""
    rows, columns = matrix.shape
    if layout == "transposed":
        return matrix.T.contiguous().T
    if layout == "sliced":
        wide = matrix.new_full((2 * rows, 3 * columns), 7.0)
        wide[::2, ::3] = matrix
        return wide[::2, ::3]
    if layout == "expanded":
        return matrix[:1].expand(rows, columns)
    if layout == "part of a wider one":
        wide = matrix.new_full((rows, columns + 5), 7.0)
        wide[:, 2 : 2 + columns] = matrix
        return wide[:, 2 : 2 + columns]
    return matrix


def whole_numbers(generator: np.random.Generator, rows: int, columns: int, dtype: torch.dtype) -> torch.Tensor:
    """Entries in {-2, ..., 2}, some rows zero: pre-activations are exact in any order, and often exactly 0."""
    numbers = generator.integers(-2, 3, (rows, columns))
    numbers[generator.random(rows) < 0.1] = 0
    return torch.from_numpy(numbers).to(dtype)


def weights_of(kind: str, units: int, generator: np.random.Generator, dtype: torch.dtype) -> torch.Tensor | float:
    if kind == "one number":
        return 1.0
    values = {
        "few rounded": [0.1, 0.3],
        "equal": [0.25],
        "few": [1.0, 4.0, 0.25],
        "some zero": [0.0, 1.0],
        "all zero": [0.0],
    }.get(kind)
    drawn = generator.choice(values, units) if values else generator.integers(1, 1000, units) ** 2.0  # exact roots
    return torch.from_numpy(drawn).to(dtype)


def counted(X, W, weights, slope, Y=None) -> np.ndarray:
    """The slope Gram of a rectifier in integers (times a dyadic number), one unit after another."""
    gram = np.zeros((len(X), len(X if Y is None else Y)))
    left, right = (np.rint(side.double().numpy()).astype(np.int64) for side in (X, X if Y is None else Y))
    slopes = [np.where(side @ W.double().numpy().astype(np.int64).T > 0, 1.0, slope) for side in (left, right)]
    factors = weights.double().numpy() if isinstance(weights, torch.Tensor) else np.full(len(W), weights)
    for j, factor in enumerate(factors):
        gram += factor * np.outer(slopes[0][:, j], slopes[1][:, j])
    return gram


@settings(max_examples=60)
@given(
    n=INPUTS,
    m=st.none() | INPUTS,
    d=st.sampled_from([1, 2, 3, 20]),
    k=UNITS,
    dtype=st.sampled_from(DTYPES),
    slope=st.sampled_from([0.0, 0.5, -1.0, 1.0]),
    kind=st.sampled_from(["one number", "equal", "few", "some zero", "all zero"]),
    layouts=st.tuples(LAYOUTS, LAYOUTS, LAYOUTS),
    chunk_bytes=st.sampled_from([1, 2**20, ALL]),
    entropy=st.integers(0, 2**32 - 1),
)
def test_rectifiers_are_counted_exactly(n, m, d, k, dtype, slope, kind, layouts, chunk_bytes, entropy):
    generator = np.random.default_rng(entropy)
    X, W = (laid_out(whole_numbers(generator, rows, d, dtype), to) for rows, to in ((n, layouts[0]), (k, layouts[1])))
    Y = None if m is None else laid_out(whole_numbers(generator, m, d, dtype), layouts[2])
    weights = weights_of(kind, k, generator, dtype)
    given = [tensor.clone() for tensor in (X, W)]
    gram = cpu.slope_gram(X, W, weights, activations.leaky_relu(slope), Y, chunk_bytes=chunk_bytes)
    assert gram.dtype == torch.float64
    np.testing.assert_array_equal(gram.numpy(), counted(X, W, weights, slope, Y))
    assert torch.equal(X, given[0]) and torch.equal(W, given[1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [1, 4096, 8191, 8192, 8193, 20_000])
def test_every_unit_on_fills_every_slice_of_a_count(dtype, k):
    X, W = torch.ones(9, 2, dtype=dtype), torch.ones(k, 2, dtype=dtype)
    X[3], X[4, 0] = -1, 0
    off = torch.arange(9) != 3
    expected = k * torch.outer(off, off).double()
    assert torch.equal(cpu.slope_gram(X, W, 1.0, activations.get("relu")), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cross", [False, True])
def test_normal_data_flip_no_sign_but_those_that_rounding_may(dtype, cross):
    generator = torch.Generator().manual_seed(5)
    X, W, Y = (torch.randn(rows, 30, dtype=dtype, generator=generator) for rows in (263, 9000, 70))
    Y = Y if cross else X
    near, on = [], []
    for side in (X, Y):
        z = side.double() @ W.double().T
        bound = 30 * torch.finfo(dtype).eps * torch.outer(side.double().norm(dim=1), W.double().norm(dim=1))
        near.append((z.abs() <= bound).sum(1))
        on.append((z > 0).double())
    gram = cpu.slope_gram(X, W, 1.0, activations.get("relu"), Y if cross else None)
    assert ((gram - on[0] @ on[1].T).abs() <= near[0][:, None] + near[1]).all()
    if dtype == torch.float64:
        assert torch.equal(gram, on[0] @ on[1].T)


def test_many_distinct_weights_are_multiplied_to_the_same_sum():
    generator = np.random.default_rng(0)
    X, W = (whole_numbers(generator, rows, 4, torch.float64) for rows in (40, 700))
    weights = weights_of("all different", 700, generator, torch.float64)
    gram = cpu.slope_gram(X, W, weights, activations.leaky_relu(0.5))
    np.testing.assert_array_equal(gram.numpy(), counted(X, W, weights, 0.5))


@pytest.mark.parametrize("slope", [0.0, -1.0, 0.3])
@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("kind", ["one number", "few", "few rounded"])
def test_without_numba_the_counts_are_the_same(monkeypatch, slope, cross, kind):
    generator = np.random.default_rng(1)
    X, W, Y = (whole_numbers(generator, rows, 3, torch.float32) for rows in (50, 9000, 20))
    weights = weights_of(kind, 9000, generator, torch.float32)
    arguments = (X, W, weights, activations.leaky_relu(slope), Y if cross else None)
    gram = cpu.slope_gram(*arguments)
    monkeypatch.setitem(sys.modules, "numba", None)
    assert not compiling.available()
    tolerance = 1e-13 if kind == "few rounded" else 0.0
    torch.testing.assert_close(cpu.slope_gram(*arguments, chunk_bytes=2**18), gram, rtol=tolerance, atol=0.0)


def smooth_gram(X, W, weights, activation, Y=None) -> torch.Tensor:
    left, right = (activation.derivative(side.double() @ W.double().T) for side in (X, X if Y is None else Y))
    return (left * (weights.double() if isinstance(weights, torch.Tensor) else weights)) @ right.T


SINE = Activation("sine", torch.sin, gamma1=1.0, gamma2=1.0)
BENT = Activation("bent", lambda z: z.abs() + z**2, gamma1=9.0, gamma2=float("inf"))
IMPOSTOR = Activation("tanh", torch.sin, torch.cos, gamma1=1.0, gamma2=1.0)


@settings(max_examples=40)
@given(
    activation=st.sampled_from([*map(activations.get, SMOOTH), SINE, BENT, IMPOSTOR]),
    n=st.integers(1, 70),
    m=st.none() | st.integers(1, 70),
    d=st.integers(1, 12),
    k=UNITS,
    dtype=st.sampled_from(DTYPES),
    weighted=st.booleans(),
    layouts=st.tuples(LAYOUTS, LAYOUTS, LAYOUTS),
    chunk_bytes=st.sampled_from([1, 2**16, ALL]),
    hidden=st.booleans(),
    entropy=st.integers(0, 2**32 - 1),
)
@example(IMPOSTOR, 5, None, 2, 7, torch.float64, False, ("contiguous",) * 3, ALL, False, 0)
def test_smooth_slopes_are_multiplied(activation, n, m, d, k, dtype, weighted, layouts, chunk_bytes, hidden, entropy):
    generator = torch.Generator().manual_seed(entropy)
    X, W, Y = (
        laid_out(torch.randn(rows, d, dtype=dtype, generator=generator), layout)
        for rows, layout in zip((n, k, m or 1), layouts, strict=True)
    )
    Y = None if m is None else Y
    weights = torch.rand(k, dtype=dtype, generator=generator) if weighted else 0.7
    with pytest.MonkeyPatch.context() as patch:
        if hidden:
            patch.setitem(sys.modules, "numba", None)
        gram = cpu.slope_gram(X, W, weights, activation, Y, chunk_bytes=chunk_bytes)
    truth = smooth_gram(X, W, weights, activation, Y)
    # a single entry may cancel: errors are measured against what is added up
    size = smooth_gram(X, W, weights, absolute(activation), Y).norm()
    assert (gram - truth).norm() <= {torch.float32: 1e-6, torch.float64: 1e-14}[dtype] * size * d**0.5
    assert Y is not None or torch.equal(gram, gram.T)


def absolute(activation: Activation) -> Activation:
    """With |phi'| + |phi''| for phi': what the terms of the sum, and the rounding of z, can come to."""

    def bound(z):
        slope = activation.derivative(z).abs()
        return slope + (activation.derivative(z + 1e-3) - activation.derivative(z - 1e-3)).abs() / 2e-3

    return Activation("bound", torch.tanh, bound, gamma1=1.0, gamma2=1.0)


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_smooth_kernels_keep_their_digits_over_a_wide_layer(name, dtype, tolerance):
    generator = torch.Generator().manual_seed(0)
    X, W = (torch.randn(rows, 20, dtype=dtype, generator=generator) for rows in (100, 60_000))
    X /= X.norm(dim=1, keepdim=True)
    truth = smooth_gram(X, W, 1 / len(W), activations.get(name))
    gram = cpu.slope_gram(X, W, 1 / len(W), activations.get(name))
    assert (gram - truth).norm() <= tolerance / 2 * truth.norm()


@compiled_only
@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("dtype", DTYPES)
def test_compiled_slopes_at_every_length_and_size(name, dtype):
    from theory.kernels import slopes

    points = torch.cat([torch.linspace(-12, 12, 4001), torch.tensor([0.0, 1e-30, -1e-30, 60, -60, 1e4, -1e4])]).to(
        dtype
    )
    activation = activations.get(name)
    truth = activation.derivative(points.double())
    z = points.clone()
    slopes.turn(activation, z.numpy())
    assert (z.double() - truth).abs().max() <= 4 * torch.finfo(dtype).eps
    for length in range(1, 40):
        short = points[:length].clone()
        slopes.turn(activation, short.numpy())
        assert torch.equal(short, z[:length])
    assert not slopes.known(IMPOSTOR) and not slopes.known(activations.get("relu"))


@pytest.mark.parametrize("name", ["relu", "softplus", "gelu", "sine"])
@pytest.mark.parametrize("cross", [False, True])
def test_any_number_of_threads_gives_the_same_result(name, cross):
    generator = torch.Generator().manual_seed(0)
    X, W, Y = (torch.randn(rows, 5, generator=generator) for rows in (300, 9001, 70))
    activation = SINE if name == "sine" else activations.get(name)
    threads, grams = torch.get_num_threads(), []
    try:
        for number in (1, 2, 5):
            torch.set_num_threads(number)
            grams.append(cpu.slope_gram(X, W, 0.5, activation, Y if cross else None))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(grams[0], grams[1]) and torch.equal(grams[0], grams[2])


@pytest.mark.parametrize("name", ["relu", "erf"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_drawn_on_the_fly_are_those_of_their_matrix(name, dtype):
    rows, X = Rows(width=9000, dimension=6, seed=3), torch.randn(30, 6, dtype=dtype)
    weights = torch.arange(9000) % 3
    for weight in (0.5, weights.to(dtype)):
        drawn = cpu.slope_gram(X, rows, weight, activations.get(name), chunk_bytes=2**18)
        stored = cpu.slope_gram(X, rows.matrix(dtype), weight, activations.get(name), chunk_bytes=2**18)
        assert torch.equal(drawn, stored)


PEAK = """
import resource, sys, torch
from theory import activations
from theory.kernels import Rows, cpu

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)

n, width, activation = int(sys.argv[1]), int(sys.argv[2]), activations.get(sys.argv[3])
W = Rows(width, 20, 0) if sys.argv[4] == "drawn" else torch.randn(width, 20)
X = torch.randn(n, 20)
cpu.slope_gram(X[:9], Rows(600, 20, 0), 1.0, activation)  # libraries and compiled code do not count
before = peak()
gram = cpu.slope_gram(X, W, 1.0, activation, chunk_bytes=int(sys.argv[5]))
print(peak() - before)
"""


def extra_megabytes(*arguments) -> float:
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


@pytest.mark.parametrize(("name", "most"), [("relu", 40), ("softplus", 60)])
@pytest.mark.parametrize("rows", ["stored", "drawn"])
def test_memory_does_not_grow_with_the_width(name, most, rows):
    assert extra_megabytes(600, 100_000, name, rows, 2**23) < most  # the patterns or slopes are 240 MB as floats


@pytest.mark.slow
@pytest.mark.parametrize("name", ["relu", "softplus"])
@pytest.mark.parametrize("rows", ["stored", "drawn"])
def test_a_million_units_take_less_than_300_megabytes(name, rows):
    assert extra_megabytes(1000, 10**6, name, rows, ALL) < 300


@pytest.mark.parametrize("slope", [-1e12, 1e3, 1e8])
def test_a_steep_slope_cancels_nothing(slope):
    generator = torch.Generator().manual_seed(0)
    X, W = (torch.randn(rows, 5, generator=generator, dtype=torch.float64) for rows in (30, 400))
    steep = activations.leaky_relu(slope)
    torch.testing.assert_close(
        cpu.slope_gram(X, W, 1.0, steep), reference.slope_gram(X, W, 1.0, steep), rtol=1e-13, atol=0
    )
