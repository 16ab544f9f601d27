"""The machine under the numbers: processor, versions, threads, and its measured peaks."""

import hashlib
import importlib.metadata
import os
import platform
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import clock

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("theorycheck", "torch", "numpy", "numba", "triton", "jax", "nngeometry", "pytest-benchmark")


def identity(tiny: bool) -> dict[str, Any]:
    """What must be the same for two sessions to belong to one record."""
    return {
        "tiny": tiny,
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE", "not set"),
        "code": digest(),
    }


def processor() -> str:
    """The processor's name with the vector units that matter here."""
    information = Path("/proc/cpuinfo")
    if not information.exists():
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in information.read_text().splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    flags = fields.get("flags", "").split()
    wide = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_vpopcntdq", "avx512_bf16") if flag in flags]
    family = f"family {fields.get('cpu family', '?')} model {fields.get('model', '?')}"
    return f"{fields.get('model name', platform.machine())} ({family}, {', '.join(wide) or 'no avx2'})"


def version(name: str) -> str:
    """The installed version, or "not installed"."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def digest() -> str:
    """Of the code that is measured and the code that measures: rows of two different ones never share a record."""
    files = sorted([*(ROOT / "theory").rglob("*.py"), *Path(__file__).parent.glob("*.py")])
    passive = {"report.py", "targets.py", "chart.py"}  # these only read the record
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files if file.name not in passive)).hexdigest()[:16]


def threads() -> dict[str, Any]:
    """How many threads each library will use, asked of the libraries themselves."""
    import threadpoolctl
    import torch

    np.ones((2, 2)) @ np.ones((2, 2))
    pools = {
        f"{pool['internal_api']} ({pool.get('architecture', '-')})": pool["num_threads"]
        for pool in threadpoolctl.threadpool_info()
    }
    affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else "not on this system"
    return {"held on cores": affinity, "torch": torch.get_num_threads(), **pools}


def peaks(tiny: bool) -> dict[str, float]:
    """The best square product that any BLAS here reaches, in GFLOP/s, and the best copy of memory, in GB/s."""
    import torch

    size, length = (64, 2**12) if tiny else (1536, 2**26)
    best: dict[str, float] = {}
    for name, dtype in (("float32", torch.float32), ("float64", torch.float64)):
        A, B, out = (torch.randn(size, size, dtype=dtype) for _ in range(3))
        products: dict[str, Callable[[], Any]] = {
            "torch": partial(torch.mm, A, B, out=out),
            "numpy": partial(np.matmul, A.numpy(), B.numpy(), out=out.numpy()),
        }
        for library, product in products.items():
            best[f"{library} {name}"] = 2 * size**3 / fastest(product) / 1e9
        best[name] = max(best[f"{library} {name}"] for library in products)
    source = np.ones(length)
    target = np.zeros(length)
    best["memory"] = 2 * source.nbytes / fastest(partial(np.copyto, target, source)) / 1e9  # read once, written once
    return best


def fastest(call: Callable[[], Any], rounds: int = 7) -> float:
    """Seconds of the fastest of several calls: a peak is a maximum."""
    seconds = []
    for _ in range(rounds):
        began = clock()
        call()
        seconds.append(clock() - began)
    return min(seconds)
