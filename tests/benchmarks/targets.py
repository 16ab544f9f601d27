"""What must be reached and what is aimed at, row by row, and the rows of the record that show it."""

from dataclasses import dataclass
from typing import Literal

from benchmarks.entropy import LOOP
from benchmarks.harness import OURS
from benchmarks.hypergradient import DENSE, FUNC, JAX, TORCHOPT
from benchmarks.kernel_matrix import DTYPES, SMOOTH, TANGENTS
from benchmarks.margin import MAXIMUM
from benchmarks.million import ROWS
from benchmarks.sweeps import LOOP as SWEEP_LOOP

TORCH = ("torch closed form", "torch closed form, chunks")
Kind = Literal["ratio", "share of the peak", "megabytes"]


@dataclass(frozen=True)
class Target:
    """One row of the table.

    Attributes:
        work: in words.
        workload: of the record.
        rivals: the fastest of these counts; for the other kinds, the one whose row is read.
        must: reached or the row is short; None where only an aim is set.
        aim: the figure printed beside the achieved one.
        kind: what is compared: our speed over the rival's, our share of the measured peak, our extra memory.
    """

    work: str
    workload: str
    rivals: tuple[str, ...]
    must: float | None
    aim: str
    kind: Kind = "ratio"


@dataclass(frozen=True)
class GpuTarget:
    """One row of the H200 table: milliseconds, or millions of run-steps a second.

    Attributes:
        work: in words.
        key: in the GPU record.
        must: at most so many ms, or at least so many M/s.
        aim: likewise.
        unit: "ms" or "M run-steps/s".
        floor: what arithmetic from two measured rates allows, and the eager rival by the same arithmetic.
    """

    work: str
    key: str
    must: float
    aim: float
    unit: str
    floor: str


TARGETS = (
    *(
        Target(f"kernel, ReLU, {size}, against torch closed form fp32", f"kernel {size} relu float32", TORCH, must, aim)
        for size, must, aim in (("S1", 5, "15-35x"), ("S2", 3, "7x"), ("S3", 5, "15-35x"))
    ),
    Target("kernel, ReLU, S1, against nngeometry", "kernel S1 relu float32", ("nngeometry FMatDense",), 7, "19-59x"),
    Target("kernel, ReLU, S1, against neural_tangents, best", "kernel S1 relu float32", tuple(TANGENTS), 4, "19-59x"),
    *(
        Target(
            f"kernel, {activation}, {size}, {dtype}, against torch closed form",
            f"kernel {size} {activation} {dtype}",
            TORCH,
            1.5,
            "2.5x",
        )
        for size in ("S1", "S2", "S3")
        for activation in SMOOTH
        for dtype in DTYPES
        if size != "S3" or (activation, dtype) == ("softplus", "float32")
    ),
    Target("GD step against autograd + SGD", "descent", ("autograd + SGD",), 4, "8x"),
    Target("GD step against jax by hand", "descent", ("jax scan by hand",), 1.8, "3.5x"),
    Target("GD step, share of the multiply-add peak", "descent", (OURS,), None, "70%", "share of the peak"),
    Target("64 runs against a loop of autograd", "ensemble", ("loop of autograd + SGD",), 4, "8x"),
    Target("64 runs against torch.func vmap", "ensemble", ("torch.func vmap",), 5, "10x"),
    Target("sweep of small runs, ReLU, against a loop of autograd", "sweep, relu, float64", (SWEEP_LOOP,), 4, "8x"),
    Target("sweep of small runs, softplus, likewise", "sweep, softplus, float64", (SWEEP_LOOP,), None, "-"),
    Target("hypergradient against the best correct peer", "hypergradient", (TORCHOPT, FUNC), 10, "25x"),
    Target("hypergradient, logistic, 2,000 weights", "hypergradient, logistic", (TORCHOPT, JAX, DENSE, FUNC), 1, "-"),
    Target("singular values against svdvals(J)", "singular values relu float64", ("svdvals(J)",), 100, "200x"),
    Target("singular values against eigvalsh(J J^T)", "singular values relu float64", ("eigvalsh(J J^T)",), 8, "15x"),
    *(
        Target(f"AUM, ids {ids}, against a maximum per row", f"AUM, 1,000,000 x 100, ids {ids}", (MAXIMUM,), must, "-")
        for ids, must in (("in order", 0.5), ("shuffled", 0.5), ("strings", None))
    ),
    Target(
        "functional entropy against one gradient per draw",
        "functional entropy, 2,000 draws, 64-128-1 network",
        (LOOP,),
        5,
        "-",
    ),
    Target("width 10^6 against torch closed form in chunks", "kernel 10^6 relu float32", TORCH[1:], 5, "-"),
    Target("width 10^6, extra memory", "kernel 10^6 relu float32", (OURS,), 300, "-", "megabytes"),
    Target(
        "width 10^6, rows drawn on the fly, extra memory", "kernel 10^6 relu float32", (ROWS,), 300, "-", "megabytes"
    ),
)

GPU_TARGETS = (
    GpuTarget("kernel, n 4096, d 128, width 2^20", "kernel d=128", 32, 23, "ms", "19-20 ms; eager fp32 564, tf32 95"),
    GpuTarget("GD step, n 4096, d 128, width 2^20", "descent d=128", 20, 14, "ms", "12-13 ms; eager fp32 61"),
    GpuTarget("GD step, n 4096, d 20, width 2^20", "descent d=20", 6, 4.5, "ms", "about 4 ms; eager 36"),
    GpuTarget("ensemble of (200, 20, 512)", "ensemble", 4, 12, "M run-steps/s", "8-20; bmm 1.2, loop 0.01-0.02"),
)
