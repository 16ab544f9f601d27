"""All workloads, in the order in which they are measured."""

import re

from benchmarks import entropy, gradient_descent, hypergradient, kernel_matrix, margin, million, spectra, sweeps, widths
from benchmarks.harness import Workload

PARTS = (kernel_matrix, gradient_descent, sweeps, spectra, margin, entropy, hypergradient, million, widths)


def workloads(tiny: bool) -> list[Workload]:
    """Those of every kind; `tiny` keeps the questions and shrinks the sizes, to test the machinery."""
    return [workload for part in PARTS for workload in part.workloads(tiny)]


def chosen(tiny: bool, cores: str, only: str) -> list[tuple[Workload, str]]:
    """Workload and contender of one session, those whose "workload | contender" the expression finds."""
    pairs = [
        (workload, name) for workload in workloads(tiny) if workload.cores == cores for name in workload.contenders
    ]
    return [(workload, name) for workload, name in pairs if re.search(only, f"{workload.name} | {name}")]
