"""`python -m benchmarks`: measure, print the table, write RESULTS.md and the chart. See the package's docstring."""

import argparse
import datetime
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from benchmarks import chart, machine, report
from benchmarks.harness import Record
from benchmarks.workloads import chosen

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SCRATCH = ROOT / "build" / "benchmarks"  # for parts and tiny sizes, which are no record
CORES = ("one", "all")
INTERRUPTED = 130


def main() -> int:
    """Measure on one core, then on all cores, then report; what an interrupted run finished is reported too."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", default="", help="a regular expression: measure anew the rows whose name it finds")
    parser.add_argument("--tiny", action="store_true", help="shrink every size: tests the machinery, not the machine")
    parser.add_argument(
        "--output", type=Path, help="folder of results.json, RESULTS.md and speed.png (default: in place)"
    )
    parser.add_argument("--report", action="store_true", help="measure nothing, write the table of the record again")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(INTERRUPTED))  # so that `session` takes its process along
    partial = asked.only or asked.tiny
    asked.figures = asked.output or (SCRATCH if partial else ROOT / "figures")
    asked.output = asked.output or (SCRATCH if partial else HERE)
    if not any(chosen(asked.tiny, cores, asked.only) for cores in CORES):
        parser.error(f"--only: expected to find a row, got {asked.only!r}; rows are named 'workload | contender'")
    status = 0
    if not asked.report:
        if asked.only:
            (asked.output / "results.json").unlink(missing_ok=True)
        identity = json.dumps(machine.identity(asked.tiny))
        began = datetime.datetime.now().strftime("%Y-%m-%d %H:%M")
        for cores in CORES:
            if status != INTERRUPTED and chosen(asked.tiny, cores, asked.only):
                status = session(asked, cores, began, identity) or status
    record = Record(asked.output / "results.json")
    if not asked.report and not asked.only and status == 0:
        record.finished = True
        record.write()
    print(report.write(record, asked.output))
    chart.write(record, asked.figures)
    return status


def session(asked: argparse.Namespace, cores: str, began: str, identity: str) -> int:
    """One pytest-benchmark session in a process whose threads are set before any library is loaded."""
    # pytest-benchmark measures nothing where it believes to be one of several workers
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(HERE.parent), environment.get("PYTHONPATH", "")])
    environment["BENCHMARKS_RECORD"] = str(asked.output.resolve() / "results.json")
    environment["BENCHMARKS_SESSION"], environment["BENCHMARKS_IDENTITY"] = began, identity
    environment["BENCHMARKS_TINY"] = str(int(asked.tiny))
    environment["BENCHMARKS_ONLY"], environment["BENCHMARKS_CORES"] = asked.only, cores
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        environment.pop(variable, None)
        if cores == "one":
            environment[variable] = "1"
    command = [sys.executable, "-m", "pytest", str(HERE / "bench.py"), "-c", os.devnull, "--rootdir", str(HERE)]
    command += ["--confcutdir", str(HERE), "-p", "no:cacheprovider", "-p", "no:xdist", "-v", "--no-header"]
    command += ["--benchmark-enable", "--benchmark-disable-gc", "--benchmark-columns=min,median,max,rounds"]
    command += ["--benchmark-sort=name", "--benchmark-group-by=group", "--import-mode=importlib"]

    def hold() -> None:
        if available and cores == "one":
            os.sched_setaffinity(0, {available[-1]})

    process = subprocess.Popen(command, env=environment, cwd=ROOT, preexec_fn=hold)
    try:
        return process.wait()
    except KeyboardInterrupt:  # the session got it too, and has written every finished row
        process.wait()
        return INTERRUPTED
    finally:
        process.terminate()


if __name__ == "__main__":
    sys.exit(main())
