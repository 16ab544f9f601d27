"""Compilation: lazy, timed, cached on disk, and dispensable."""

import os
import subprocess
import sys

import pytest
import torch

from theory.kernels import compiling

needs_numba = pytest.mark.skipif(not compiling.available(), reason="needs numba")

MODULE = """
from theory.kernels.compiling import compiled

@compiled
def one(x):
    return x + 1

@compiled(fastmath=True)
def two(x):
    return one(one(x))
"""
CALL = """
import sys
sys.path.insert(0, sys.argv[1])
import steps
from theory.kernels import compiling
assert compiling.first_calls() == {}
assert steps.two(1) == 3 and steps.two(2) == 4
call = compiling.first_calls()["steps.two"]
seconds = call.seconds
assert steps.two(3) == 5 and compiling.first_calls()["steps.two"].seconds == seconds
assert steps.two(1.5) == 3.5 and compiling.first_calls()["steps.two"].seconds > seconds
print(call.cached, 0 < call.seconds < 600)
"""


@needs_numba
def test_the_first_call_is_timed_and_the_next_process_finds_the_machine_code(tmp_path):
    (tmp_path / "steps.py").write_text(MODULE)
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-c", CALL, str(tmp_path)]
    answers = [
        subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.split()
        for _ in range(2)
    ]
    assert answers == [["False", "True"], ["True", "True"]]


@needs_numba
@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_without_a_directory_to_write_in_it_compiles_all_the_same(tmp_path):
    (tmp_path / "steps.py").write_text(MODULE)
    tmp_path.chmod(0o500)
    environment = os.environ | {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "none")}
    command = [sys.executable, "-c", CALL, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, env=environment).stdout.split() == ["False", "True"]


@pytest.mark.parametrize("how", ["missing", "switched off"])
def test_without_a_compiler_functions_stay_as_they_are(monkeypatch, how):
    if how == "missing":
        monkeypatch.setitem(sys.modules, "numba", None)
    else:
        monkeypatch.setattr(pytest.importorskip("numba").config, "DISABLE_JIT", 1)

    def double(x):
        return 2 * x

    assert not compiling.available()
    assert compiling.compiled(double) is double and compiling.compiled(fastmath=True)(double) is double
    assert compiling.intrinsic(double) is double


def test_importing_theory_brings_no_compiler():
    code = "import sys, theory.kernels.cpu; print([m for m in ('numba', 'llvmlite', 'triton') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("threads", [1, 3])
def test_shared_work_keeps_its_order_and_its_errors(threads):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        assert compiling.share(lambda job: job**2, range(20)) == [job**2 for job in range(20)]
        assert compiling.share(lambda job: job, []) == []
        with pytest.raises(ZeroDivisionError):
            compiling.share(lambda job: 1 / job, [1, 0, 2])
    finally:
        torch.set_num_threads(before)
