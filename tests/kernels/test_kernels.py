"""The dispatcher: every path computes the same kernel, whatever the shape, dtype and layout of what it is given."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import InvalidInput, activations, kernels
from theory.covariance import empirical_kernel
from theory.networks import TwoLayer

LAYOUTS = ("contiguous", "transposed", "sliced", "expanded")


def laid_out(matrix: torch.Tensor, layout: str) -> torch.Tensor:
    """The same numbers in another layout of memory; "expanded" repeats the first row without copying it."""
    if layout == "transposed":
        return matrix.T.contiguous().T
    if layout == "sliced":
        return torch.repeat_interleave(torch.repeat_interleave(matrix, 2, 0), 3, 1)[::2, ::3]
    if layout == "expanded":
        return matrix[:1].expand(len(matrix), -1)
    return matrix


def whole_numbers(shape: tuple[int, ...], generator: np.random.Generator, dtype: torch.dtype) -> torch.Tensor:
    """Entries in {-2, ..., 2}: every product is exact in any order, zeros and ties included."""
    return torch.from_numpy(generator.integers(-2, 3, shape)).to(dtype)


def oracle(X, W, v, activation, Y=None):
    """The kernel entry by entry from the definition, in float64."""
    Y = X if Y is None else Y
    X, W, v, Y = (tensor.double() for tensor in (X, W, v, Y))
    left, right = activation.derivative(X @ W.T) * v, activation.derivative(Y @ W.T) * v
    return (X @ Y.T) * (left @ right.T)


PROBLEMS = dict(
    n=st.integers(1, 70),
    m=st.none() | st.integers(1, 40),
    d=st.integers(1, 9),
    k=st.integers(1, 130),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    layouts=st.tuples(*[st.sampled_from(LAYOUTS)] * 3),
    output=st.sampled_from(["same size", "few sizes", "all sizes", "some zero"]),
    entropy=st.integers(0, 2**32 - 1),
)


def problem(n, m, d, k, dtype, layouts, output, entropy, numbers=whole_numbers):
    generator = np.random.default_rng(entropy)
    X, W = numbers((n, d), generator, dtype), numbers((k, d), generator, dtype)
    X[generator.integers(n)] = 0
    Y = None if m is None else laid_out(numbers((m, d), generator, dtype), layouts[2])
    sizes = {"same size": [3.0], "few sizes": [0.5, 1.0, 2.0], "some zero": [0.0, 1.0]}.get(output)
    sizes = generator.normal(size=k) if sizes is None else generator.choice(sizes, k)
    v = torch.from_numpy(sizes * generator.choice([-1.0, 1.0], k)).to(dtype)
    return laid_out(X, layouts[0]), laid_out(W, layouts[1]), v, Y


@settings(max_examples=60)
@given(slope=st.sampled_from([0.0, 0.25, -1.0, 1.0]), path=st.sampled_from(["reference", "cpu"]), **PROBLEMS)
def test_rectifiers_are_exact_on_whole_numbers(slope, path, output, **given):
    output = output if output != "all sizes" else "few sizes"  # sums of arbitrary squares round
    X, W, v, Y = problem(output=output, **given)
    activation = activations.leaky_relu(slope)
    kernel = kernels.gram(X, W, v, activation, Y, path=path, chunk_bytes=2**14)
    assert kernel.dtype == X.dtype and torch.equal(kernel.double(), oracle(X, W, v, activation, Y))
    if Y is None:
        assert torch.equal(kernel, kernel.T)


def short(shape: tuple[int, ...], generator: np.random.Generator, dtype: torch.dtype) -> torch.Tensor:
    """Normal entries cut to a few bits: no pre-activation is rounded, none changes its sign with the order."""
    return torch.from_numpy(np.round(32 * generator.normal(size=shape)) / 32).to(dtype)


@settings(max_examples=60)
@given(name=st.sampled_from(activations.names()), path=st.sampled_from([None, "reference", "cpu"]), **PROBLEMS)
def test_paths_agree_with_the_definition(name, path, **given):
    X, W, v, Y = problem(**given, numbers=short)
    activation = activations.get(name)
    expected = oracle(X, W, v, activation, Y)
    tolerance = 1e-12 if X.dtype == torch.float64 else 1e-6
    kernel = kernels.gram(X, W, v, activation, Y, path=path, chunk_bytes=2**14).double()
    assert (kernel - expected).norm() <= tolerance * max(expected.norm(), 1e-30)


@pytest.mark.parametrize("path", ["reference", "cpu"])
def test_the_comparison_can_fail(path):
    X, W, v, _ = problem(9, None, 4, 60, torch.float64, ("contiguous",) * 3, "all sizes", 0, short)
    activation = activations.get("relu")
    W_moved = W.clone()
    W_moved[0] = -W[0]  # one unit of sixty
    moved = kernels.gram(X, W_moved, v, activation, path=path)
    assert (moved - oracle(X, W, v, activation)).norm() > 1e-4 * moved.norm()


def test_rows_on_the_fly_are_the_rows_of_their_matrix():
    rows, X = kernels.Rows(width=3000, dimension=5, seed=1), np.random.default_rng(0).normal(size=(40, 5))
    W, v = rows.matrix(), torch.full((3000,), 3000**-0.5, dtype=torch.float64)
    for name in ("relu", "tanh"):
        expected = empirical_kernel(X, W, v, name)
        assert np.allclose(empirical_kernel(X, rows, activation=name), expected, rtol=1e-12)
        assert np.allclose(empirical_kernel(X, rows, 2 * v, name), 4 * expected, rtol=1e-12)
        assert np.allclose(empirical_kernel(X, TwoLayer(W, v, name)), expected, rtol=1e-12)
        assert not np.allclose(
            empirical_kernel(X, kernels.Rows(width=3000, dimension=5, seed=2), activation=name), expected, rtol=1e-3
        )
    assert empirical_kernel(torch.from_numpy(X).float(), rows, activation="erf").dtype == torch.float32


def test_the_cross_kernel_is_a_block_of_the_whole():
    network, X = TwoLayer.initialise(200, 6, "gelu"), np.random.default_rng(0).normal(size=(30, 6))
    whole = empirical_kernel(X, network)
    assert np.allclose(empirical_kernel(X[:20], network, other=X[20:]), whole[:20, 20:], rtol=1e-12)
    module = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()
    whole = empirical_kernel(X, module)
    for chunk_bytes in (1, 2**26):
        crossed = empirical_kernel(X[:20], module, other=X[20:], chunk_bytes=chunk_bytes)
        assert np.allclose(crossed, whole[:40, 40:], rtol=1e-12)


def test_the_width_only_lengthens_the_stream():
    """K / k of fresh rows tends to the neural covariance; its error falls as the root of the width."""
    X = np.array([[1.0, 0.0], [0.6, 0.8]])
    exact = np.array([[0.5, 0.6 * (0.5 - math.acos(0.6) / (2 * math.pi))], [0.0, 0.5]])
    exact[1, 0] = exact[0, 1]
    wide = empirical_kernel(X, kernels.Rows(width=2 * 10**6, dimension=2, seed=0), activation="relu")
    assert np.abs(wide - exact).max() < 6 * 0.5 / math.sqrt(2e6)  # six standard deviations of a mean of such rows
    assert np.abs(wide - exact).max() > 0


def test_what_is_too_small_to_compile_for_stays_in_torch():
    relu, small = activations.get("relu"), torch.ones(4, 3)
    assert kernels.choose(small, torch.ones(10, 3), relu) == "reference"
    assert kernels.choose(torch.ones(1000, 3), torch.ones(4096, 3), relu) == "cpu"


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(path="fpga"), "path: expected one of reference, cpu, gpu"),
        (dict(path="gpu"), "path gpu: expected tensors on an NVIDIA GPU"),
        (dict(precision="half"), "precision: expected one of exact, fast"),
        (dict(chunk_bytes=0), "chunk_bytes: expected an integer >= 1"),
    ],
)
def test_bad_settings(change, message):
    X = torch.eye(3)
    with pytest.raises(InvalidInput, match=message):
        kernels.gram(X, X, torch.ones(3), activations.get("relu"), **change)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda X, rows: empirical_kernel(X, rows), "activation: expected"),
        (lambda X, rows: empirical_kernel(X[:, :2], rows, activation="relu"), "X: expected shape"),
        (lambda X, rows: empirical_kernel(X, rows, np.ones(3), "relu"), "v: expected shape"),
        (lambda X, rows: empirical_kernel(X, rows, activation="relu", other=X[:, :2]), "other: expected shape"),
        (lambda X, rows: empirical_kernel(X, rows.matrix(), np.ones(50), "relu", other=X[:, :2]), "other: expected"),
    ],
)
def test_bad_arguments_of_the_door(call, message):
    with pytest.raises(InvalidInput, match=message):
        call(np.eye(3), kernels.Rows(width=50, dimension=3, seed=0))


def test_importing_the_package_compiles_nothing_and_loads_no_compiler():
    code = (
        "import sys, theory, theory.covariance, theory.descent, theory.kernels\n"
        "assert not {'numba', 'triton'} & set(sys.modules), 'a compiler was imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("path", [None, "reference", "cpu"])
@pytest.mark.parametrize(
    "change, message",
    [
        (lambda X, W, v: (X, W.float(), v, None), "W: expected torch.float64"),
        (lambda X, W, v: (X, W, v, X.float()), "Y: expected torch.float64"),
        (lambda X, W, v: (X[:, :2], W, v, None), "X: expected shape"),
        (lambda X, W, v: (X, W, v[1:], None), "v: expected shape"),
        (lambda X, W, v: (X.int(), W, v, None), "X: expected float32 or float64"),
    ],
)
def test_tensors_that_do_not_fit_together(change, message, path):
    X, W, v = torch.ones(40, 3).double(), torch.ones(20000, 3).double(), torch.ones(20000).double()
    X, W, v, Y = change(X, W, v)
    with pytest.raises(InvalidInput, match=message):
        kernels.gram(X, W, v, activations.get("relu"), Y, path=path)


def test_squares_of_tiny_output_weights_do_not_vanish():
    X, W, v = torch.full((40, 2), 1e25), torch.ones(20000, 2), torch.full((20000,), 1e-25)
    kernel = kernels.gram(X, W, v, activations.get("relu"))
    assert torch.allclose(kernel, torch.full_like(kernel, 20000 * 2.0), rtol=1e-5)
