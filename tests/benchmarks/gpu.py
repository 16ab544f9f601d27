"""The GPU rows: `python -m benchmarks.gpu` (`make bench-gpu`). Without a GPU it prints what was calculated.

Public doors on CUDA tensors, eager torch as the rival, on the same inputs and in turns; times by CUDA events, so what
the host adds between launches counts. A step of descent is the difference of two lengths of run over the difference of
their steps: what the start and the recordings cost drops out. Accuracy is against float64 on the same device. Each
finished row is written to results-gpu.json at once.
"""

import argparse
import datetime
import json
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import gradient_descent, machine, report
from benchmarks.harness import Record
from theory import covariance, descent
from theory.lab.figure import replacing
from theory.networks import TwoLayer

HERE = Path(__file__).resolve().parent
DEVICE = "cuda"
N, WIDTH = 4096, 2**20
RUNS, SMALL = 528, (200, 20, 512)  # four runs for each multiprocessor of an H200
STEPS, MANY_STEPS = (4, 24), (100, 5100)  # two lengths of a run, large and small
CHUNK = 8192  # hidden units at a time, for the eager rivals: 128 MB of float32 pre-activations
ROUNDS = 7


def milliseconds(call: Callable[[], Any]) -> float:
    """Of one call, between two CUDA events."""
    began, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    began.record()
    call()
    ended.record()
    torch.cuda.synchronize()
    return began.elapsed_time(ended)


def in_turns(calls: dict[str, Callable], measure: Callable[[Any], float] | None = None) -> dict[str, list[float]]:
    """What `measure` (left out: milliseconds) says in every round of everybody, ours first; two calls to warm up."""
    measure = measure or milliseconds
    for call in calls.values():
        measure(call)
        measure(call)
    rounds = [{name: measure(call) for name, call in calls.items()} for _ in range(ROUNDS)]
    return {name: [each[name] for each in rounds] for name in calls}


def inputs(n: int, d: int, width: int) -> tuple[Tensor, TwoLayer, Tensor]:
    """X (n, d) on the sphere, a network drawn on the device (2^27 weights take a CPU long), labels of either sign."""
    generator = torch.Generator(DEVICE).manual_seed(0)
    X = torch.nn.functional.normalize(torch.randn(n, d, device=DEVICE, generator=generator))
    W = torch.randn(width, d, device=DEVICE, generator=generator)
    v = torch.full((width,), 1 / math.sqrt(width), device=DEVICE)
    v[::2] *= -1
    return X, TwoLayer(W, v, "relu"), torch.randint(0, 2, (n,), device=DEVICE, generator=generator) * 2.0 - 1


def eager_kernel(X: Tensor, W: Tensor, v: Tensor, tf32: bool = False) -> Tensor:
    torch.backends.cuda.matmul.allow_tf32 = tf32
    K = X.new_zeros(len(X), len(X))
    for a in range(0, len(W), CHUNK):
        slopes = (X @ W[a : a + CHUNK].T > 0).to(X.dtype).mul_(v[a : a + CHUNK])
        K.addmm_(slopes, slopes.T)
    torch.backends.cuda.matmul.allow_tf32 = False
    return K.mul_(X @ X.T)


def eager_descent(X: Tensor, W: Tensor, v: Tensor, y: Tensor, step: float, steps: int) -> Tensor:
    W = W.clone()
    for _ in range(steps):
        residual, patterns = -y, []
        for a in range(0, len(W), CHUNK):
            Z = X @ W[a : a + CHUNK].T
            patterns.append(Z > 0)
            residual = torch.addmv(residual, Z.clamp_(min=0), v[a : a + CHUNK])
        weighted = X * residual[:, None]
        for a, pattern in zip(range(0, len(W), CHUNK), patterns, strict=True):
            W[a : a + CHUNK].addcmul_(pattern.to(X.dtype).T @ weighted, v[a : a + CHUNK, None], value=-step)
    return W


def stacked(X: Tensor, W: Tensor, v: Tensor, y: Tensor, step: float, steps: int) -> Tensor:
    W = W.mT.contiguous()
    for _ in range(steps):
        Z = torch.bmm(X, W)
        residual = Z.clamp(min=0) @ v - y
        W.sub_(torch.bmm((X * residual[:, :, None]).mT, (Z > 0).to(X.dtype)).mul_(v), alpha=step)
    return W.mT


def kernel(d: int) -> dict[str, Any]:
    """The kernel matrix at n 4096, width 2^20."""
    X, network, _ = inputs(N, d, WIDTH)
    W, v = network.W.detach(), network.v
    times = in_turns(
        {
            "ours": lambda: covariance.empirical_kernel(X, W, v, "relu"),
            "eager fp32": lambda: eager_kernel(X, W, v),
            "eager tf32": lambda: eager_kernel(X, W, v, tf32=True),
        }
    )
    truth = eager_kernel(X.double(), W.double(), v.double())
    return row(times, distance(covariance.empirical_kernel(X, W, v, "relu"), truth))


def one_run(d: int) -> dict[str, Any]:
    """A step of descent at n 4096, width 2^20."""
    X, network, y = inputs(N, d, WIDTH)
    W, v = network.W.detach(), network.v
    eta = 1 / float(torch.linalg.eigvalsh(covariance.empirical_kernel(X, network))[-1])

    def ours(steps: int) -> Tensor:
        return descent.train(network, X, y, step=eta, steps=steps, record=[steps]).network.W.detach()

    def eager(steps: int) -> Tensor:
        return eager_descent(X, W, v, y, eta, steps)

    times = in_turns({"ours": ours, "eager fp32": eager}, per_step(*STEPS))
    truth = eager_descent(X.double(), W.double(), v.double(), y.double(), eta, STEPS[0])
    return row(times, distance(ours(STEPS[0]).double() - W.double(), truth - W.double()))


def per_step(short: int, long: int) -> Callable[[Callable[[int], Any]], float]:
    """Milliseconds that one more step takes, from runs of two lengths."""
    return lambda run: (milliseconds(lambda: run(long)) - milliseconds(lambda: run(short))) / (long - short)


def many_runs() -> dict[str, Any]:
    """Millions of run-steps a second for an ensemble of small runs."""
    problem = gradient_descent.problem(RUNS, SMALL, MANY_STEPS[0])
    X, W, v, y = (part.to(DEVICE) for part in (problem.X, problem.W, problem.v, problem.y))
    networks = [TwoLayer(start, v, "relu") for start in W]

    def ours(steps: int) -> Tensor:
        return gradient_descent.trained_together(networks, X, y, problem.step, steps)

    def eager(steps: int) -> Tensor:
        return stacked(X, W, v, y, problem.step, steps)

    times = in_turns({"ours": ours, "bmm by hand": eager}, per_step(*MANY_STEPS))
    rates = {name: [RUNS / value / 1e3 for value in values] for name, values in times.items()}
    few = [part[:16].double() for part in (X, W)]
    truth = stacked(few[0], few[1], v.double(), y[:16].double(), problem.step, MANY_STEPS[0])
    return row(rates, distance(ours(MANY_STEPS[0])[:16].double() - few[1], truth - few[1]))


def row(values: dict[str, list[float]], error: float) -> dict[str, Any]:
    """Medians, and the spread of ours."""
    mine = values.pop("ours")
    rivals = {name: statistics.median(each) for name, each in values.items()}
    return {"ours": statistics.median(mine), "low": min(mine), "high": max(mine), "rivals": rivals, "error": error}


def distance(result: Tensor, truth: Tensor) -> float:
    """Relative Frobenius distance."""
    return float((result.double() - truth).norm() / truth.norm())


ROWS: dict[str, Callable[[], dict[str, Any]]] = {
    "kernel d=128": lambda: kernel(128),
    "descent d=128": lambda: one_run(128),
    "descent d=20": lambda: one_run(20),
    "ensemble": many_runs,
}


def main() -> None:
    """Measure what is not in the record yet, print the table, put it into RESULTS.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--output", type=Path, default=HERE, help="folder of results-gpu.json and RESULTS.md")
    folder = parser.parse_args().output
    path = folder / "results-gpu.json"
    if torch.cuda.is_available():
        measure(path)
    print("\n".join(report.gpu_table(path)))
    if (folder / "results.json").exists():
        report.write(Record(folder / "results.json"), folder)


def measure(path: Path) -> None:
    """Row by row; rows of another device, other versions or other code are measured anew."""
    identity = {
        "device": torch.cuda.get_device_name(),
        "versions": ", ".join(f"{name} {machine.version(name)}" for name in ("torch", "triton")),
        "code": machine.digest(),
    }
    kept = json.loads(path.read_text()) if path.exists() else {}
    if any(kept.get(key) != value for key, value in identity.items()):
        kept = {**identity, "session": datetime.date.today().isoformat(), "rows": {}}
    for name, take in ROWS.items():
        if name not in kept["rows"]:
            try:
                kept["rows"][name] = take()
            except torch.cuda.OutOfMemoryError:
                kept["rows"][name] = {"missing": "out of memory on this GPU"}
            torch.cuda.empty_cache()
            with replacing(path) as part:
                part.write_text(json.dumps(kept, indent=1) + "\n")
            print(name, kept["rows"][name], flush=True)


if __name__ == "__main__":
    main()
