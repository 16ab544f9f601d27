"""What the first call of each door costs: with nothing compiled yet, and in a later process, which loads from the disk.

`python -m benchmarks.first_calls` calls every door twice in this process and prints the seconds. `measure` runs that in
two processes that share an empty folder for compiled code, so that nothing in the user's own is touched.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from benchmarks import gradient_descent, kernel_matrix

SIZE = (300, 10, 1024)  # small, but worth the fast path


def doors() -> dict[str, Callable[[], Any]]:
    """Ours, one call each."""
    found = {
        f"kernel, {activation}": kernel_matrix.ours(kernel_matrix.problem(SIZE, activation, "float32"))
        for activation in ("relu", "softplus")
    }
    found["descent, 2 steps"] = gradient_descent.ours_one(gradient_descent.problem(1, SIZE, 2))
    found["ensemble of 2, 2 steps"] = gradient_descent.ours_many(gradient_descent.problem(2, SIZE, 2))
    return found


def measure() -> dict[str, dict[str, float]]:
    """By door: seconds of its first call with an empty cache, of that in the next process, and of a second call."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        command = [sys.executable, "-m", "benchmarks.first_calls"]
        cold, loaded = (
            json.loads(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout)
            for _ in range(2)
        )
    return {name: {"empty": cold[name][0], "loaded": loaded[name][0], "again": loaded[name][1]} for name in cold}


def main() -> None:
    """Seconds of a first and a second call of every door, as JSON."""
    seconds: dict[str, list[float]] = {}
    for name, call in doors().items():
        for _ in range(2):
            began = time.perf_counter()
            call()
            seconds.setdefault(name, []).append(time.perf_counter() - began)
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
