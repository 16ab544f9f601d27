"""A million samples of a hundred classes: at most twice one maximum per row of the same array, medians of rounds."""

import time

import numpy as np
import pytest
import torch

from benchmarks.harness import OURS, Missing
from benchmarks.margin import MAXIMUM, epoch, workloads
from theory.aum import Accumulator


@pytest.mark.parametrize("tiny", workloads(tiny=True), ids=lambda workload: workload.name)
def test_contenders_do_the_same_work(tiny) -> None:
    inputs = tiny.inputs()
    ours = tiny.contenders[OURS](inputs)()
    assert isinstance(ours, Accumulator) and ours.done
    table = ours.table().set_index("id")["aum"]
    kind = tiny.name.removeprefix("AUM, 60 x 5, ids ")
    ids = [id if isinstance(id, str) else int(id) for id in inputs.ids[kind]]
    np.testing.assert_array_equal(table.loc[ids].to_numpy(), tiny.contenders["margins alone"](inputs)())
    try:
        theirs = tiny.contenders["released aum"](inputs)()
    except Missing as reason:
        pytest.skip(str(reason))
    np.testing.assert_allclose([theirs[id].aum for id in ids], table.loc[ids].to_numpy(), rtol=1e-15)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "most"), [("in order", 2.0), ("shuffled", 2.0), ("strings", None)])
def test_a_million_samples(kind: str, most: float | None) -> None:
    """Rounds in turns, processor seconds of one thread: what else runs on the machine counts little."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        [workload] = [one for one in workloads(tiny=False) if one.name.endswith(kind)]
        inputs = workload.inputs()
        calls = [workload.contenders[name](inputs) for name in (OURS, MAXIMUM)]
        spent = np.array([[seconds(call) for call in calls] for _ in range(12)])[1:]
    finally:
        torch.set_num_threads(threads)
    ratios = spent[:, 0] / spent[:, 1]
    low, middle, high = ratios.min(), np.median(ratios), ratios.max()
    print(f"ids {kind}: {np.median(spent[:, 0]):.3f} s, {middle:.2f} [{low:.2f}, {high:.2f}] of one maximum per row")
    assert most is None or middle <= most


def seconds(call) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def test_memory_beside_the_logits_is_linear_in_the_samples() -> None:
    import tracemalloc

    given = epoch((100_000, 100))
    tracemalloc.start()
    record = Accumulator(stop=1)
    record.update(given.logits, given.labels, given.ids["shuffled"])
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 40 * 100_000 + 2**21 and peak < 100 * 100_000 + 2**22 < given.logits.nbytes
