"""Every refusal names what was expected, what came, and the remedy, in one line."""

from typing import Any

import numpy as np
import pytest
import torch

from theory import checks
from theory.checks import InvalidInput

BAD = [
    (lambda: checks.integer("width", 1.5, 1), "width: expected an integer >= 1, got 1.5; "),
    (lambda: checks.integer("width", True), "width: expected an integer, got True; "),
    (lambda: checks.integer("width", 0, 1, 9), r"width: expected an integer in \[1, 9\], got 0; "),
    (lambda: checks.integer("width", float("nan")), "got nan"),
    (lambda: checks.number("rate", 1.5, 0, 1), r"rate: expected a number in \[0, 1\], got 1.5; "),
    (lambda: checks.number("step", 0, 0, open_low=True), "step: expected a number > 0, got 0; "),
    (lambda: checks.number("step", float("inf")), "finite number, got inf"),
    (lambda: checks.number("step", "1"), "got '1'"),
    (lambda: checks.number("level", 1, 0, 1, open_low=True, open_high=True), r"in \(0, 1\), got 1"),
    (lambda: checks.even("width", 7), "width: expected an even number, got 7; use 8"),
    (lambda: checks.number("step", False), "got False"),
    (lambda: checks.choice("mode", "swap", ("exact", "flip")), "one of exact, flip, got 'swap'"),
    (lambda: checks.finite("X", np.array([1.0, np.nan])), "X: expected finite entries, got 1 NaN or infinite; "),
    (lambda: checks.finite("X", torch.tensor([np.inf, np.nan])), "got 2 NaN"),
    (lambda: checks.matrix("X", np.zeros(3)), r"shape \(any, any\), not empty, got shape \(3,\)"),
    (lambda: checks.matrix("X", np.zeros((0, 2))), r"got shape \(0, 2\)"),
    (lambda: checks.matrix("X", np.zeros((2, 3)), columns=4), r"shape \(any, 4\)"),
    (lambda: checks.vector("y", torch.zeros(3), 4), r"y: expected shape \(4,\), not empty, got shape \(3,\)"),
    (lambda: checks.vector("y", np.zeros(0)), r"got shape \(0,\)"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_refusals(call: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_accepted_values_come_back_converted() -> None:
    assert checks.integer("n", np.int64(3), 1) == 3
    assert checks.integer("n", 4.0) == 4
    assert checks.integer("n", torch.tensor(5)) == 5
    assert checks.number("x", np.float32(0.5), 0, 1) == 0.5
    assert checks.number("x", torch.tensor(0.25)) == 0.25
    assert checks.choice("mode", "flip", ("exact", "flip")) == "flip"
    checks.finite("X", np.zeros((2, 2)))
    checks.matrix("X", np.zeros((2, 3)), 2, 3)
    checks.vector("y", torch.zeros(2), 2)
