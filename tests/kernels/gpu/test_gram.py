"""The Triton slope Gram against float64 references, on a GPU or in Triton's interpreter.

Sizes are small for the interpreter, whose tiles are small too: each test meets several tiles, their edges, and several
chunks of the width.
"""

import pytest
import torch

from theory import activations
from theory.activations import Activation
from theory.kernels import gpu, gpu_gram, reference
from theory.kernels.rows import Rows

SMOOTH = ("softplus", "erf", "tanh", "gelu")
SWISH = Activation("swish", lambda z: z * torch.sigmoid(z), gamma1=1.1, gamma2=0.5)
SMALL_CHUNK = 2**15  # bytes: several chunks of the widths below


def normal(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def whole(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    """Entries in {-2, ..., 2}: pre-activations are exact in any order, and many are exactly zero."""
    return torch.randint(-2, 3, shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def exact(X, W, weights, activation, Y=None) -> torch.Tensor:
    """The definition in float64."""
    X, W = X.cpu().double(), W.cpu().double()
    Y = X if Y is None else Y.cpu().double()
    weights = weights.cpu().double() if isinstance(weights, torch.Tensor) else weights
    return (activation.derivative(X @ W.T) * weights) @ activation.derivative(Y @ W.T).T


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.cpu() - expected).norm() / expected.norm())


def run(device, X, W, weights, activation, Y=None, **options) -> torch.Tensor:
    given = [part.to(device) if isinstance(part, torch.Tensor) else part for part in (X, W, weights)]
    Y = None if Y is None else Y.to(device)
    found = gpu_gram.slope_gram(*given, activation, Y, **{"chunk_bytes": SMALL_CHUNK} | options)
    assert found.dtype == torch.float64 and found.device.type == device.type
    assert found.shape == (len(X), len(X if Y is None else Y))
    assert Y is not None or torch.equal(found, found.T)
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("slope", [0.0, -1.0, 0.25])
@pytest.mark.parametrize("symmetric", [True, False])
def test_rectifiers_are_exact(device, dtype, slope, symmetric):
    X, W, Y = whole(37, 5, dtype=dtype), whole(331, 5, dtype=dtype, seed=1), whole(18, 5, dtype=dtype, seed=2)
    X[3] = 0
    X[11] = X[4]
    Y = None if symmetric else Y
    activation = activations.leaky_relu(slope)
    assert torch.equal(run(device, X, W, 1.0, activation, Y).cpu(), exact(X, W, 1.0, activation, Y))


@pytest.mark.parametrize("shape", [(1, 1, 2), (1, 784, 3), (16, 11, 64), (17, 64, 65), (33, 22, 2)], ids=str)
def test_edges_of_tiles(device, shape):
    n, d, k = shape
    X, W = whole(n, d), whole(k, d, seed=1)
    for activation in (activations.get("relu"), activations.get("softplus")):
        assert error(run(device, X, W, 1 / k, activation), exact(X, W, 1 / k, activation)) < 1e-6


@pytest.mark.parametrize("layout", ["transposed", "sliced", "expanded"])
def test_any_strides(device, layout):
    X, W = whole(20, 6), whole(150, 6, seed=1)
    if layout == "transposed":
        X, W = X.T.contiguous().T, W.T.contiguous().T
    elif layout == "sliced":
        X, W = X.repeat_interleave(2, 1)[:, ::2], W.repeat_interleave(3, 0).repeat_interleave(2, 1)[1::3, ::2]
    else:
        X, W = X[:1].expand(20, -1), W[:1].expand(150, -1)
    X, W = X.to(device), W.to(device)
    relu = activations.get("relu")
    found = gpu_gram.slope_gram(X, W, 1.0, relu, chunk_bytes=SMALL_CHUNK)
    assert torch.equal(found.cpu(), exact(X, W, 1.0, relu))


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_activations(device, name):
    X, W = normal(35, 21), normal(300, 21, seed=1)
    activation = activations.get(name)
    assert error(run(device, X, W, 1 / 300, activation), exact(X, W, 1 / 300, activation)) < 1e-6


@pytest.mark.parametrize("name", ["softplus", pytest.param("gelu", marks=pytest.mark.slow)])
def test_smooth_activations_of_two_sets(device, name):
    X, W, Y = normal(20, 5), normal(150, 5, seed=1), normal(33, 5, seed=2)
    activation = activations.get(name)
    assert error(run(device, X, W, 1.0, activation, Y), exact(X, W, 1.0, activation, Y)) < 1e-6


@pytest.mark.parametrize("name", SMOOTH)
def test_float64_is_float64(device, name):
    X, W, Y = (normal(size, 7, dtype=torch.float64, seed=size) for size in (20, 150, 9))
    activation = activations.get(name)
    for others in (None, Y):
        assert error(run(device, X, W, 0.5, activation, others), exact(X, W, 0.5, activation, others)) < 1e-12


def test_an_activation_of_the_users(device):
    X, W, Y = normal(20, 5), normal(70, 5, seed=1), normal(10, 5, seed=2)
    for activation in (SWISH, Activation("big", lambda z: 1e6 * torch.sin(z), gamma1=1e6, gamma2=1e6)):
        for others in (None, Y):
            found, expected = run(device, X, W, 1.0, activation, others), exact(X, W, 1.0, activation, others)
            assert error(found, expected) < 2e-6  # the user's own derivative is evaluated in float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_few_distinct_weights_are_counted(device, dtype):
    X, W, Y = whole(20, 5, dtype=dtype), whole(150, 5, dtype=dtype, seed=1), whole(9, 5, dtype=dtype, seed=2)
    weights = torch.tensor([0.0, 0.25, 2.0], dtype=dtype)[torch.arange(150) % 3]
    for activation in (activations.get("relu"), activations.leaky_relu(0.5)):
        for others in (None, Y):
            found, expected = run(device, X, W, weights, activation, others), exact(X, W, weights, activation, others)
            assert torch.equal(found.cpu(), expected)


@pytest.mark.parametrize("name", ["relu", "leaky", "softplus", "swish"])
def test_many_distinct_weights(device, name):
    X, W = whole(20, 5), whole(150, 5, seed=1)
    weights = normal(150, seed=2).square()
    weights[:10] = 0
    activation = {"leaky": activations.leaky_relu(-3.0), "swish": SWISH}.get(name) or activations.get(name)
    assert error(run(device, X, W, weights, activation), exact(X, W, weights, activation)) < 1e-6


def test_weights_that_are_all_zero(device):
    X, W = normal(5, 3), normal(70, 3)
    for name in ("relu", "softplus"):
        for weights in (0.0, torch.zeros(70)):
            assert (run(device, X, W, weights, activations.get(name)) == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["relu", "softplus"])
def test_rows_on_the_fly_are_the_rows_as_a_matrix(device, dtype, name):
    X, rows, activation = normal(20, 6, dtype=dtype), Rows(300, 6, 3), activations.get(name)
    W = rows._drawn(0, 300, torch.float64)
    found, expected = run(device, X, rows, 1.0, activation), exact(X, W, 1.0, activation)
    if name == "relu":
        near = ((X.double() @ W.T).abs() < 1e-5 * X.double().norm(dim=1)[:, None] * W.norm(dim=1)).sum()
        assert (found.cpu() - expected).abs().max() <= near
    else:
        assert error(found, expected) < (1e-6 if dtype == torch.float32 else 1e-12)


def test_weighted_rows_on_the_fly(device):
    X, rows = whole(20, 6), Rows(300, 6, 3)
    W = rows._drawn(0, 300, torch.float64)
    weights = torch.tensor([0.5, 2.0])[torch.arange(300) % 2]
    relu = activations.get("relu")
    near = ((X.double() @ W.T).abs() < 1e-5 * W.norm(dim=1)).sum()
    expected = exact(X, W, weights, relu)
    assert (run(device, X, rows, weights, relu).cpu() - expected).abs().max() <= 2 * near
    assert expected.max() > 10


def test_only_near_zeros_may_flip(device):
    """Generic float32 data: a pattern differs only where the pre-activation is below its rounding."""
    for d in (3, 50):
        X, W = normal(20, d), normal(300, d, seed=1)
        z = X.double() @ W.double().T
        near = (z.abs() <= 6 * 2**-23 * (X.abs().double() @ W.abs().double().T)).sum(1)
        found, expected = (
            run(device, X, W, 1.0, activations.get("relu")).cpu(),
            exact(X, W, 1.0, activations.get("relu")),
        )
        assert ((found - expected).abs() <= near[:, None] + near).all()


def test_inputs_and_weights_of_any_scale(device):
    X, W = whole(20, 5) * 2.0 ** torch.arange(-50, 50, 5)[:, None], whole(150, 5, seed=1)
    W[::2] *= 2.0**-40
    W[::3] *= 2.0**60
    relu = activations.get("relu")
    assert torch.equal(run(device, X, W, 1.0, relu).cpu(), exact(X, W, 1.0, relu))
    X, W = normal(20, 5) * 2.0**-60, normal(150, 5, seed=1) * 2.0**60
    assert error(run(device, X, W, 1.0, activations.get("gelu")), exact(X, W, 1.0, activations.get("gelu"))) < 1e-6


def test_patterns_in_float16_where_integers_are_slow(device, monkeypatch):
    """The way of capability 10.0, on whatever runs this."""
    used = gpu_gram.settings(gpu.machine(device))
    monkeypatch.setattr(
        gpu_gram, "settings", lambda machine: gpu_gram.Settings(used.slopes, used.counts, used.sums, False)
    )
    X, W, Y = whole(20, 5), whole(331, 5, seed=1), whole(18, 5, seed=2)
    for others in (None, Y):
        activation = activations.leaky_relu(0.25)
        assert torch.equal(run(device, X, W, 1.0, activation, others).cpu(), exact(X, W, 1.0, activation, others))


def test_counts_beyond_an_int32_are_carried_over(device, monkeypatch):
    monkeypatch.setattr(gpu_gram, "MOST_COUNTS", 400)
    second_stage = gpu_gram._Run._second_stage
    most = []

    def watched(run, counts, *rest, **options):
        second_stage(run, counts, *rest, **options)
        most.append(int(counts.sum(0).max()))

    monkeypatch.setattr(gpu_gram._Run, "_second_stage", watched)
    X, W, relu = whole(20, 5).abs() + 1, whole(500, 5, seed=1).abs() + 1, activations.get("relu")  # all are on
    assert (run(device, X, W, 1.0, relu, chunk_bytes=2**13) == 500).all()
    assert len(most) > 1 and max(most) <= 400


def test_fast_is_less_accurate_and_says_how_much(device):
    X, W, activation = normal(20, 5), normal(150, 5, seed=1), activations.get("softplus")
    expected = exact(X, W, 1.0, activation)
    fast = error(run(device, X, W, 1.0, activation, precision="fast"), expected)
    assert 1e-7 < fast < 3e-5 and error(run(device, X, W, 1.0, activation), expected) < 2e-7
    relu = activations.get("relu")
    whole_X, whole_W = whole(20, 5), whole(400, 5, seed=1)
    assert torch.equal(
        run(device, whole_X, whole_W, 1.0, relu, precision="fast").cpu(), exact(whole_X, whole_W, 1.0, relu)
    )


def test_the_same_bits_again(device):
    X, W, activation = normal(20, 5), normal(150, 5, seed=1), activations.get("erf")
    assert torch.equal(run(device, X, W, 1.0, activation), run(device, X, W, 1.0, activation))


@pytest.mark.slow
@pytest.mark.parametrize("d", [784, 3072])
def test_wide_inputs(device, d):
    X, W = normal(20, d) / d**0.5, normal(130, d, seed=1)
    for name in ("relu", "tanh"):
        activation = activations.get(name)
        expected = exact(X, W, 1.0, activation)
        assert error(run(device, X, W, 1.0, activation, chunk_bytes=2**20), expected) < (
            1e-6 if name == "tanh" else 1e-3
        )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="sizes that only a GPU can do")
@pytest.mark.parametrize("name", ["relu", "softplus"])
def test_full_size_tiles(device, name):
    X, rows, activation = normal(1500, 20).to(device), Rows(2**18, 20, 0), activations.get(name)
    found = gpu_gram.slope_gram(X, rows, 1 / 2**18, activation)
    oracle = reference.slope_gram(X.double(), rows, 1 / 2**18, activation)
    assert float((found - oracle).norm() / oracle.norm()) < 1e-6
