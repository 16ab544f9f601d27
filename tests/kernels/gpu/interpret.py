"""Run test files in Triton's interpreter: another process, because Triton decides when it is imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent


def run(*files: str, slow: bool = False) -> None:
    """Run these files of this folder as tests, kernels interpreted on CPU tensors; fail with what failed there."""
    chosen = "slow" if slow else "not slow"
    options = ["-q", "-m", chosen, "-p", "no:cacheprovider", "-p", "no:xdist", "--durations=5", "--tb=short"]
    options += ["-W", "ignore:Conversion of an array:DeprecationWarning"]  # Triton 3.6's interpreter, numpy 2.3
    command = [sys.executable, "-m", "pytest", *options, *(str(FOLDER / file) for file in files)]
    done = subprocess.run(
        command, env={**os.environ, "TRITON_INTERPRET": "1"}, cwd=FOLDER.parents[2], capture_output=True, text=True
    )
    print(done.stdout[-3000:])
    if done.returncode:
        pytest.fail(f"{' '.join(files)} in Triton's interpreter:\n{done.stdout[-6000:]}\n{done.stderr[-2000:]}")
