"""Batched gradients: the loop's values, at least five times as fast, medians of rounds in turns."""

import time

import numpy as np
import pytest
import torch

from benchmarks.entropy import LOOP, workloads
from benchmarks.harness import OURS

LEAST = 5.0


def test_contenders_do_the_same_work() -> None:
    [tiny] = workloads(tiny=True)
    inputs = tiny.inputs()
    ours, theirs = (tiny.contenders[name](inputs)() for name in (OURS, LOOP))
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)


@pytest.mark.slow
def test_at_least_five_times_a_loop() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        [workload] = workloads(tiny=False)
        inputs = workload.inputs()
        calls = [workload.contenders[name](inputs) for name in (OURS, LOOP)]
        np.testing.assert_allclose(calls[0](), calls[1](), rtol=1e-10)
        spent = np.array([[seconds(call) for call in calls] for _ in range(7)])
    finally:
        torch.set_num_threads(threads)
    ratios = spent[:, 1] / spent[:, 0]
    low, middle, high = ratios.min(), np.median(ratios), ratios.max()
    print(f"ours {np.median(spent[:, 0]):.4f} s; loop: {middle:.1f} [{low:.1f}, {high:.1f}] times as long")
    assert middle >= LEAST


def seconds(call) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began
