"""A simulation that can be made to misbehave, in a module that workers can import."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import sympy as sp
import xarray

from theory import checks
from theory.claim import Claim, symbols
from theory.lab import figure
from theory.lab.simulation import Cost, Simulation
from theory.verdict import Verdicts

largest, height = symbols("largest height")
BOUNDED = Claim(
    "draws.bounded", "a toy bound", sp.Le(largest, height, evaluate=False), {"largest": "maximum", "height": "bound"}
)


@dataclass(frozen=True)
class Draws(Simulation):
    """Uniform numbers below a scale, and what a product of matrices makes of them."""

    name: ClassVar[str] = "draws"
    quick_seconds: ClassVar[float] = 1

    size: int = 3
    """how many"""
    scale: float = 1.0
    """of the numbers"""
    height: float = 1.0
    """bound that is claimed"""
    kind: str = "uniform"
    """name of nothing"""
    centred: bool = True
    """a switch"""
    shares: tuple[float, ...] = (0.5,)
    """a setting that is a list"""
    delay: float = 0.0
    """seconds that a cell takes"""
    failing: int = -1
    """seed that raises"""
    deadly: int = -1
    """seed whose worker dies"""
    device: str = "cpu"
    """where it would run"""
    once: str = ""
    """file that says that it has died already"""

    def validate(self) -> None:
        checks.integer("size", self.size, minimum=1)
        checks.number("scale", self.scale, 0, 100)

    def cost(self) -> Cost:
        return Cost(operations=self.size, bytes=self.size**2 * 8)

    def run(self, seed: int, progress: Any = None) -> xarray.Dataset:
        time.sleep(self.delay)
        if seed == self.failing:
            raise ArithmeticError(f"seed {seed} is no good")
        if seed == self.deadly and not (self.once and Path(self.once).exists()):
            if self.once:
                Path(self.once).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        draws = np.random.default_rng(seed).uniform(size=self.size) * self.scale
        matrix = np.random.default_rng(seed).normal(size=(200, 200))
        return xarray.Dataset(
            {
                "draw": ("number", draws),
                "total": draws.sum(),
                "large": draws.sum() > 1.5,
                "trace": np.trace(matrix @ matrix @ matrix),
            },
            {"number": np.arange(self.size), "unit": "m"},
        )

    @figure.style()
    def figure(self, results: xarray.Dataset) -> Any:
        fig, axis = figure.subplots()
        axis.plot(results.draw.transpose("number", "seed").values)
        return fig

    def verdicts(self, results: xarray.Dataset) -> Verdicts:
        if results.sizes["seed"] < 2:
            checks.fail("seeds", "two", 1, "take more")
        return Verdicts([BOUNDED.check(largest=float(results.draw.max()), height=self.height)])


def image(table: xarray.Dataset) -> bytes:
    """Every byte of a table that a reader could see."""
    parts = [repr(sorted(map(str, table.variables))).encode(), repr(sorted(table.attrs.items())).encode()]
    for name in sorted(map(str, table.variables)):
        variable = table[name].variable
        parts += [name.encode(), repr(variable.dims).encode(), str(variable.dtype).encode(), variable.values.tobytes()]
    return b"\0".join(parts)
