"""neural-tangents, which needs an older jax than ours, answers from an environment of its own through a pipe.

The near side: it writes the inputs as .npy files, starts `tangents.py` there and asks for one call at a time. So its
rounds alternate with ours like everybody's; the far side says what processor time a call took there.
"""

import atexit
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Missing, clock

IMPLEMENTATIONS = ("jacobian contraction", "vector products", "structured derivatives")
PYTHON = Path(os.environ.get("BENCHMARKS_PEERS", ".venv-peers")) / "bin" / "python"
REMEDY = "not installed: make bench-peers"


class _Peer:
    """One process on one set of inputs. `call()` runs it once and returns what loads its result."""

    def __init__(self, inputs: Any, implementation: str):
        if not PYTHON.exists():
            raise Missing(REMEDY)
        self.folder = tempfile.TemporaryDirectory(prefix="benchmarks-")
        atexit.register(self.close)
        for name in ("X", "W", "v"):
            np.save(Path(self.folder.name, name), getattr(inputs, name).numpy())
        command = [PYTHON, Path(__file__).with_name("tangents.py"), self.folder.name, implementation, inputs.activation]
        self.process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.extra = {"versions": self.answer()}

    def answer(self) -> str:
        """One line from the far side."""
        assert self.process.stdout is not None and self.process.stderr is not None
        line = self.process.stdout.readline().strip()
        if not line:
            lines = self.process.stderr.read().splitlines()
            self.close()
            raise Missing("stopped: " + next((line for line in lines if "Error" in line), "no message")[:200])
        return line

    def __call__(self) -> "_Peer":
        assert self.process.stdin is not None
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        clock.elsewhere += float(self.answer())
        return self

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        assert self.process.stdin is not None
        self.process.stdin.write("save\n")
        self.process.stdin.flush()
        self.answer()
        result = np.load(Path(self.folder.name, "K.npy"))
        self.close()
        return result

    def close(self) -> None:
        """End the far side and remove the files."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()


def tangents(inputs: Any, implementation: str) -> _Peer:
    """neural_tangents' empirical kernel by one of its implementations, W stored (d, k) as it likes it."""
    return _Peer(inputs, implementation)
