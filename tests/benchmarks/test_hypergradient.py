"""Contenders of the hypergradient benchmark agree; at equal accuracy nobody needs fewer products than we do."""

import warnings

import pytest

from benchmarks import hypergradient
from benchmarks.harness import OURS, Missing


@pytest.mark.parametrize("workload", hypergradient.workloads(tiny=True), ids=lambda workload: workload.name)
def test_contenders_agree_and_need_no_fewer_products(workload) -> None:
    inputs = workload.inputs()
    spent = {}
    for name, prepare in workload.contenders.items():
        try:
            call = prepare(inputs)
        except Missing:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch's forward mode
            assert workload.error(call(), inputs) < 1e-6, name
        spent[name] = getattr(call, "extra", {}).get("products")
    assert len(spent) >= 2
    assert all(spent[OURS] <= count for count in spent.values() if count is not None)
