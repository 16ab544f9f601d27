"""The empirical kernel K = (X X^T) * (phi'(X W^T) diag(v^2) phi'(X W^T)^T): workloads and rivals.

Everybody gets the same X (n, d) on the sphere, W (k, d) standard normal and v (k,), and returns K (n, n).
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import scipy.special
import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.harness import OURS, Missing, Workload, relative
from theory import covariance, seeding
from theory.networks import TwoLayer

SIZES = {"S1": (1000, 20, 4096), "S2": (500, 64, 16384), "S3": (2000, 20, 100_000)}
TINY = {"S1": (12, 3, 40), "S2": (9, 5, 64), "S3": (14, 2, 100)}
SMOOTH = ("softplus", "erf", "tanh", "gelu")
DTYPES = {"float32": torch.float32, "float64": torch.float64}
WHOLE_TRUTH = 2e10  # n^2 k beyond which the float64 truth is computed for the first 64 rows only
CHUNK_BYTES = 2**26

Call = Callable[[], Any]


@dataclass(frozen=True)
class Problem:
    """The inputs that all contenders share."""

    X: Tensor
    W: Tensor
    v: Tensor
    activation: str

    @cached_property
    def truth(self) -> np.ndarray:
        """K in float64 from these very inputs; its first 64 rows if it is large."""
        X, W, v = (part.double().numpy() for part in (self.X, self.W, self.v))
        rows = len(X) if len(X) ** 2 * len(W) <= WHOLE_TRUTH else 64
        K = np.zeros((rows, len(X)))
        for a in range(0, len(W), 4096):
            slopes = NUMPY[self.activation](X @ W[a : a + 4096].T) * v[a : a + 4096]
            K += slopes[:rows] @ slopes.T
        return K * (X[:rows] @ X.T)


def problem(size: tuple[int, int, int], activation: str, dtype: str, output: str = "balanced") -> Problem:
    """Inputs of a size (n, d, k); `output` as for `TwoLayer`, or "normal" for output weights that all differ."""
    n, d, k = size
    X = torch.randn(n, d, dtype=torch.float64, generator=seeding.torch_generator("benchmark inputs", 0))
    X = X / torch.linalg.vector_norm(X, dim=1, keepdim=True)
    network = TwoLayer.initialise(k, d, activation, output="balanced" if output == "normal" else output)
    v = network.v
    if output == "normal":
        v = torch.randn(k, dtype=v.dtype, generator=seeding.torch_generator("benchmark outputs", 0)) / math.sqrt(k)
    X, W, v = (part.detach().to(DTYPES[dtype]).contiguous() for part in (X, network.W, v))
    return Problem(X, W, v, activation)


def error(K: Any, inputs: Problem) -> float:
    """Relative Frobenius distance from the float64 truth."""
    return relative(np.asarray(K)[: len(inputs.truth)], inputs.truth)


def ours(inputs: Problem) -> Call:
    return lambda: covariance.empirical_kernel(inputs.X, inputs.W, inputs.v, inputs.activation)


def torch_whole(inputs: Problem) -> Call:
    def call() -> Tensor:
        slopes = TORCH[inputs.activation](inputs.X @ inputs.W.T).mul_(inputs.v)
        return (slopes @ slopes.T).mul_(inputs.X @ inputs.X.T)

    return call


def torch_chunks(inputs: Problem) -> Call:
    X, W, v = inputs.X, inputs.W, inputs.v
    step = max(1, CHUNK_BYTES // (len(X) * X.element_size()))

    def call() -> Tensor:
        K = X.new_zeros(len(X), len(X))
        for a in range(0, len(W), step):
            slopes = TORCH[inputs.activation](X @ W[a : a + step].T).mul_(v[a : a + step])
            K.addmm_(slopes, slopes.T)
        return K.mul_(X @ X.T)

    return call


def torch_func(inputs: Problem) -> Call:
    size = len(inputs.X) * inputs.W.numel() * inputs.X.element_size()
    if size > 4e9:
        raise Missing(f"out of memory: the explicit Jacobian takes {size / 1e9:.0f} GB, and reverse mode a copy")
    phi = getattr(torch.nn.functional, inputs.activation)

    def call() -> Tensor:
        jacobian = torch.func.vmap(torch.func.jacrev(lambda W, x: phi(W @ x) @ inputs.v), (None, 0))
        J = jacobian(inputs.W, inputs.X).flatten(1)
        return J @ J.T

    return call


def torch_int8(inputs: Problem, patience: float = 30.0) -> Call:
    product = getattr(torch, "_int_mm", None)
    if product is None:
        raise Missing("this torch has no integer matrix product")
    scale, n = float(inputs.v[0] ** 2), len(inputs.X)
    sample = torch.ones(256, 1024, dtype=torch.int8)
    product(sample, sample.T)
    began = time.perf_counter()
    product(sample, sample.T)
    expected = (time.perf_counter() - began) * n**2 * len(inputs.W) / (256**2 * 1024)
    if expected > patience:  # without the processor's int8 instructions torch multiplies entry by entry
        raise Missing(f"about {expected:.0f} s, by a product of (256, 1024): left out")

    def call() -> Tensor:
        patterns = (inputs.X @ inputs.W.T > 0).to(torch.int8)
        return product(patterns, patterns.T).to(inputs.X.dtype).mul_(inputs.X @ inputs.X.T).mul_(scale)

    return call


def numpy_syrk(inputs: Problem) -> Call:
    X, W, v = (part.numpy() for part in (inputs.X, inputs.W, inputs.v))

    def call() -> np.ndarray:
        slopes = NUMPY[inputs.activation](X @ W.T)
        slopes *= v
        return (slopes @ slopes.T) * (X @ X.T)  # numpy sees A A^T and calls syrk: half the work

    return call


def nngeometry(inputs: Problem) -> Call:
    try:
        from nngeometry.gram import GramMatrix
        from nngeometry.layercollection import LayerCollection
        from nngeometry.object import FMatDense
    except ImportError:
        raise Missing("not installed: pip install --no-deps nngeometry") from None
    n, (k, d) = len(inputs.X), inputs.W.shape
    phi = {"relu": torch.nn.ReLU, "softplus": torch.nn.Softplus}[inputs.activation]()
    model = torch.nn.Sequential(torch.nn.Linear(d, k, bias=False), phi, torch.nn.Linear(k, 1, bias=False))
    model = model.to(inputs.X.dtype)
    model[0].weight.data, model[2].weight.data = inputs.W.clone(), inputs.v.clone()[None]
    layers = LayerCollection()
    layers.add_layer_from_model(model, model[0])
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs.X), batch_size=n)
    return lambda: GramMatrix(model, loader, layer_collection=layers, representation=FMatDense).data.view(n, n)


def jax_closed_form(inputs: Problem) -> Call:
    try:
        import jax
    except ImportError:
        raise Missing("not installed: pip install jax") from None
    wide = partial(jax.enable_x64, inputs.X.dtype == torch.float64)
    derivative = JAX[inputs.activation]

    @jax.jit
    def kernel(X: Any, W: Any, v: Any) -> Any:
        slopes = derivative(jax, X @ W.T) * v
        return (slopes @ slopes.T) * (X @ X.T)

    with wide():
        arrays = [jax.numpy.asarray(part.numpy()) for part in (inputs.X, inputs.W, inputs.v)]

    def call() -> Any:
        with wide():
            return kernel(*arrays).block_until_ready()

    return call


def _erf_slope(exp: Callable, z: Any) -> Any:
    return (2 / math.sqrt(math.pi)) * exp(-z * z)


def _gelu_slope(exp: Callable, ndtr: Callable, z: Any) -> Any:
    return ndtr(z) + z * exp(-z * z / 2) * (1 / math.sqrt(2 * math.pi))


TORCH: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": lambda z: (z > 0).to(z.dtype),
    "softplus": torch.sigmoid,
    "erf": partial(_erf_slope, torch.exp),
    "tanh": lambda z: 1 - torch.tanh(z) ** 2,
    "gelu": partial(_gelu_slope, torch.exp, torch.special.ndtr),
}
NUMPY: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda z: (z > 0).astype(z.dtype),
    "softplus": scipy.special.expit,
    "erf": partial(_erf_slope, np.exp),
    "tanh": lambda z: 1 - np.tanh(z) ** 2,
    "gelu": partial(_gelu_slope, np.exp, scipy.special.ndtr),
}
JAX: dict[str, Callable[[Any, Any], Any]] = {
    "relu": lambda jax, z: (z > 0).astype(z.dtype),
    "softplus": lambda jax, z: jax.nn.sigmoid(z),
    "erf": lambda jax, z: _erf_slope(jax.numpy.exp, z),
    "tanh": lambda jax, z: 1 - jax.numpy.tanh(z) ** 2,
    "gelu": lambda jax, z: _gelu_slope(jax.numpy.exp, jax.scipy.special.ndtr, z),
}

CLOSED = {"torch closed form": torch_whole, "torch closed form, chunks": torch_chunks, "numpy syrk": numpy_syrk}
TANGENTS = {f"neural_tangents {name}": partial(peers.tangents, implementation=name) for name in peers.IMPLEMENTATIONS}
FASTEST_TANGENTS = f"neural_tangents {peers.IMPLEMENTATIONS[-1]}"


def workloads(tiny: bool) -> list[Workload]:
    """Every activation and dtype at S1 and S2; at S3 ReLU and softplus."""
    sizes = TINY if tiny else SIZES
    found = []

    def add(size: str, activation: str, dtype: str, rivals: dict[str, Any], output: str = "balanced", **options: Any):
        n, d, k = sizes[size]
        name = f"kernel {size} {activation} {dtype}" + (f", {output} v" if output != "balanced" else "")
        name += ", all cores" if options.get("cores") == "all" else ""
        inputs = partial(problem, sizes[size], activation, dtype, output)
        work = 2 * n * k * d + n * n * k  # the forward product, and the half of S that symmetry leaves
        found.append(Workload(name, inputs, {OURS: ours, **rivals}, error, operations=work, **options))

    compiled, integers = {"jax jit closed form": jax_closed_form}, {"torch int8 patterns": torch_int8}
    automatic = {"torch.func jacrev": torch_func, "nngeometry FMatDense": nngeometry}
    slow = frozenset({"torch.func jacrev", "torch int8 patterns", f"neural_tangents {peers.IMPLEMENTATIONS[0]}"})
    relu = {**CLOSED, **compiled, **integers, **automatic}
    add("S1", "relu", "float32", {**relu, **TANGENTS}, once=slow)
    add("S2", "relu", "float32", {**relu, FASTEST_TANGENTS: TANGENTS[FASTEST_TANGENTS]}, once=slow)
    add("S3", "relu", "float32", relu, once=frozenset(relu))
    for size in ("S1", "S2"):
        add(size, "relu", "float64", CLOSED)
        for activation in SMOOTH:
            for dtype in DTYPES:
                add(size, activation, dtype, {**CLOSED, **compiled} if activation == "softplus" else CLOSED)
    add("S3", "softplus", "float32", CLOSED, once=frozenset(CLOSED))
    add("S1", "relu", "float32", CLOSED, output="normal")
    for activation in ("relu", "softplus"):
        add("S1", activation, "float32", {**CLOSED, **compiled}, cores="all")
    return found
