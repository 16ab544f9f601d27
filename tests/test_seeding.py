"""Streams repeat for one (name, seed) and differ between names and between seeds."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from theory import seeding
from theory.checks import InvalidInput


@given(st.text(), st.integers(0, 2**63))
def test_streams_repeat(name: str, seed: int) -> None:
    first, second = (seeding.numpy_generator(name, seed).normal(size=4) for _ in range(2))
    assert np.array_equal(first, second)
    one, two = (torch.rand(4, generator=seeding.torch_generator(name, seed)) for _ in range(2))
    assert torch.equal(one, two)


def test_streams_are_independent_of_each_other_and_of_global_state() -> None:
    names, seeds = ("labels", "weights", "inputs"), range(4)
    draws = {(n, s): seeding.numpy_generator(n, s).normal(size=2000) for n in names for s in seeds}
    stacked = np.corrcoef(list(draws.values()))
    off = np.abs(stacked - np.eye(len(stacked))).max()
    assert off < 5.5 / np.sqrt(2000)  # 66 pairs, each N(0, 1/2000): 5.5 sigma
    torch.manual_seed(1)
    before = torch.rand(3, generator=seeding.torch_generator("labels", 0))
    torch.manual_seed(2)
    assert torch.equal(before, torch.rand(3, generator=seeding.torch_generator("labels", 0)))


@pytest.mark.parametrize("seed", [-1, 0.5, "0", None])
def test_bad_seeds(seed: object) -> None:
    with pytest.raises(InvalidInput, match="seed"):
        seeding.numpy_generator("labels", seed)  # type: ignore[arg-type]
