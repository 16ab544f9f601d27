"""A sweep's cells are the runs of a plain loop, to 1e-10."""

import numpy as np
import pytest

from benchmarks.harness import OURS
from benchmarks.sweeps import LOOP, workloads


@pytest.mark.parametrize("workload", workloads(tiny=True), ids=lambda workload: workload.name)
def test_contenders_do_the_same_work(workload) -> None:
    inputs = workload.inputs()
    ours, theirs = (workload.contenders[name](inputs)() for name in (OURS, LOOP))
    assert ours.shape == (inputs.seeds,) and len(set(ours)) == inputs.seeds
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)
    assert workload.error(ours, inputs) < 1e-10 < workload.error(ours + 1e-6, inputs)
