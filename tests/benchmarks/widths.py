"""Time against width, for the chart: the kernel matrix and a step of descent at n = 500, d = 20, ReLU, float32."""

from functools import partial

from benchmarks import gradient_descent, kernel_matrix
from benchmarks.harness import OURS, Workload

WIDTHS = (256, 1024, 4096, 16384, 65536)
TINY = (16, 64)
N, D = 500, 20
KERNEL_LIMITS = {"torch.func jacrev": 4096, kernel_matrix.FASTEST_TANGENTS: 16384}
DESCENT_LIMITS = {"autograd + SGD": 16384, "hand gradient": 16384}


def name(question: str, width: int) -> str:
    """Of the workload of one point of the chart."""
    return f"{question} at width {width}"


def workloads(tiny: bool) -> list[Workload]:
    """Few rounds each: a chart on logarithmic axes. Slow contenders stop at the width in the limits above."""
    n, d = (12, 3) if tiny else (N, D)
    kernels = {
        **kernel_matrix.CLOSED,
        "jax jit closed form": kernel_matrix.jax_closed_form,
        "torch int8 patterns": partial(kernel_matrix.torch_int8, patience=3),
        "nngeometry FMatDense": kernel_matrix.nngeometry,
        "torch.func jacrev": kernel_matrix.torch_func,
        kernel_matrix.FASTEST_TANGENTS: kernel_matrix.TANGENTS[kernel_matrix.FASTEST_TANGENTS],
    }
    del kernels["torch closed form, chunks"]
    options = {"rounds": 5, "seconds": 0.5}
    found = []
    for width in TINY if tiny else WIDTHS:
        rivals = {key: kernels[key] for key in kernels if width <= KERNEL_LIMITS.get(key, width)}
        inputs = partial(kernel_matrix.problem, (n, d, width), "relu", "float32")
        found.append(
            Workload(
                name("kernel", width), inputs, {OURS: kernel_matrix.ours, **rivals}, kernel_matrix.error, **options
            )
        )
        steps = 3 if tiny else 20
        chosen = {
            key: gradient_descent.ONE[key] for key in gradient_descent.ONE if key != "hand gradient, blocks in L2"
        }
        rivals = {key: chosen[key] for key in chosen if width <= DESCENT_LIMITS.get(key, width)}
        inputs = partial(gradient_descent.problem, 1, (n, d, width), steps)
        found.append(
            Workload(
                name("descent", width),
                inputs,
                {OURS: gradient_descent.ours_one, **rivals},
                gradient_descent.error,
                calls=steps,
                **options,
            )
        )
    return found
