"""Width 10^6, n = 1000, d = 20, ReLU, float32: time, and the memory taken beside the inputs.

Memory is measured in a process of its own, `python -m benchmarks.million CONTENDER`: the resident peak of a first call,
loading compiled code included, less what was resident before it.
"""

import dataclasses
import functools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks import kernel_matrix
from benchmarks.harness import OURS, Workload
from theory import covariance, kernels

SIZE, TINY = (1000, 20, 1_000_000), (12, 3, 50)
ROWS = "theorycheck, rows drawn on the fly"


def problem(size: tuple[int, int, int]) -> kernel_matrix.Problem:
    """The kernel's inputs with counter-based rows as W, so that those who draw them on the fly get the same kernel."""
    n, d, k = size
    inputs = kernel_matrix.problem((n, d, 2), "relu", "float32")
    W = kernels.Rows(k, d, 0).matrix(dtype=torch.float32)
    return dataclasses.replace(inputs, W=W, v=torch.full((k,), k**-0.5))


def rows_on_the_fly(inputs: kernel_matrix.Problem) -> Callable[[], Any]:
    """The same question without W."""
    rows = kernels.Rows(*inputs.W.shape, 0)
    return lambda: covariance.empirical_kernel(inputs.X, rows, activation="relu")


CONTENDERS = {
    OURS: kernel_matrix.ours,
    ROWS: rows_on_the_fly,
    "torch closed form, chunks": kernel_matrix.torch_chunks,
}


def workloads(tiny: bool) -> list[Workload]:
    """One workload; what ours takes is in `extra`."""
    size = TINY if tiny else SIZE

    def prepare(name: str, inputs: kernel_matrix.Problem) -> Callable[[], Any]:
        call = functools.partial(CONTENDERS[name](inputs))
        if name in (OURS, ROWS):  # the rival's is that of K and of the chunk that it is told to take
            call.extra = memory(name, tiny)  # type: ignore[attr-defined]
        return call

    return [
        Workload(
            "kernel 10^6 relu float32",
            functools.partial(problem, size),
            {name: functools.partial(prepare, name) for name in CONTENDERS},
            kernel_matrix.error,
            once=frozenset({"torch closed form, chunks"}),
            operations=2 * size[0] * size[1] * size[2] + size[0] ** 2 * size[2],
        )
    ]


def memory(name: str, tiny: bool) -> dict[str, Any]:
    """Megabytes that a first call takes beside its inputs, in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.million", name, "tiny" if tiny else "full"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return {"memory": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def resident(what: str) -> float:
    """VmRSS, or VmHWM, its peak, of this process in MB (Linux only)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(what)) / 1024


def measure(name: str, tiny: bool) -> dict[str, float]:
    """The peak of the first call less what was resident before it."""
    torch.set_num_threads(1)
    inputs = problem(TINY if tiny else SIZE)
    call = CONTENDERS[name](inputs)
    warm = inputs.X[:2] @ inputs.W[:2].T  # BLAS allocates its buffers on the first product, whoever asks
    Path("/proc/self/clear_refs").write_text("5")  # lets the peak start anew
    before = resident("VmRSS")
    result = call()
    return {
        "megabytes": resident("VmHWM") - before,
        "inputs": before,
        "checked": float(result[0, 0]) + 0 * float(warm[0, 0]),
    }


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2] == "tiny")))
