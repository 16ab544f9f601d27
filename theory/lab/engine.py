"""Where cells are computed: in this process, in others on this machine, or on a Dask cluster. One thread for each cell.

Every engine is a `concurrent.futures.Executor`, so a sweep needs to know no more about it.
"""

import math
import os
import platform
import resource
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from theory import checks
from theory.lab.simulation import Cell, one_thread, versions
from theory.lab.store import pack

Engine = Literal["local", "dask"]

PATIENCE = "20s"
"""How long a scheduler may take to answer."""

SINGLE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
"""Environment of a worker: no library starts threads that would compete with the other workers."""


@dataclass(frozen=True)
class Result:
    """What became of a cell: its file, or why there is none.

    Attributes:
        content: of the file, see `theory.lab.store.pack`; None if the cell failed.
        error: one line; empty if it did not fail.
        traceback: whole.
    """

    content: bytes | None
    error: str = ""
    traceback: str = ""


def work(cells: Sequence[Cell]) -> list[Result]:
    """`compute` in a process that is a worker: from its first batch on it computes on one thread."""
    _bind()
    return compute(cells)


@cache
def _bind() -> None:
    import threadpoolctl
    import torch

    torch.set_num_threads(1)
    threadpoolctl.threadpool_limits(1)


def _leave_with(parent: int) -> None:
    """End this worker soon after its parent, which may have been killed; it would go on computing for nobody."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def compute(cells: Sequence[Cell]) -> list[Result]:
    """Run cells that go together, and pack what they give; one that stops its batch leaves the others to run alone."""
    results: dict[int, Result] = {}
    started = time.perf_counter()
    trouble: Exception | SystemExit = RuntimeError("run_together says nothing of this cell")
    try:
        for number, outcome in type(cells[0][0]).run_together(cells):
            now = time.perf_counter()
            results[number] = _packed(cells[number], outcome, now - started)
            started = now
    except (Exception, SystemExit) as error:
        trouble = error
    if len(cells) == 1:
        return [results.get(0) or failed(trouble)]
    return [results.get(number) or compute([cell])[0] for number, cell in enumerate(cells)]


def _packed(cell: Cell, outcome: Any, seconds: float) -> Result:
    if isinstance(outcome, Exception):
        return failed(outcome)
    made = {
        "seconds": round(seconds, 4),
        "host": platform.node(),
        "process": os.getpid(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": _versions(),
    }
    if not hasattr(outcome, "variables"):
        return failed(TypeError(f"run: expected an xarray.Dataset, got {type(outcome).__name__}"))
    try:
        return Result(pack(cell, outcome, made))
    except Exception as error:
        return failed(error)


@cache
def _versions() -> dict[str, str]:
    return versions()


def peak_bytes() -> int:
    """The most memory that this process has held."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def failed(error: Exception | SystemExit) -> Result:
    """The result of a cell that raised."""
    try:
        words = str(error).split("\n")[0]
    except Exception:
        words = "(it can't say what it is)"
    return Result(None, f"{type(error).__name__}: {words}", "".join(traceback.format_exception(error)))


@contextmanager
def executor(engine: Engine = "local", workers: int | None = None, scheduler: str | None = None) -> Iterator["Pool"]:
    """Workers, until the block ends.

    Args:
        engine: "local" (processes of this machine; with one worker, this process) or "dask".
        workers: how many; by default as many as this process may use cores. Not with `scheduler`.
        scheduler: address of a Dask scheduler, as in "tcp://10.0.0.1:8786"; without it "dask" starts a local cluster.

    Raises:
        InvalidInput: an impossible combination, no Dask, or a scheduler that does not answer.
    """
    if workers is not None:
        checks.integer("workers", workers, minimum=1)
    if scheduler is not None and (engine != "dask" or workers is not None):
        remedy = "use --engine dask --scheduler ADDRESS; its workers are started with `dask worker ADDRESS`"
        checks.fail("scheduler", "engine dask, and no number of workers", f"{engine}, workers {workers}", remedy)
    if engine == "local":
        pool: Pool = _Local(workers or cores())
    elif engine == "dask":
        pool = _Dask(workers or cores(), scheduler)
    else:
        checks.fail("engine", "local or dask", repr(engine), "choose one of them")
    try:
        yield pool
    except BaseException:
        pool.close(at_once=True)
        raise
    pool.close()


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Pool:
    """Workers that take batches of cells.

    Attributes:
        size: how many there are now.
        places_gpus: whether a batch for a GPU finds a worker that has one; otherwise one such batch at a time.
    """

    size: int
    places_gpus = False

    def submit(self, cells: Sequence[Cell]) -> "Future[list[Result]]":
        """Have a batch computed. Its future fails if its worker died."""
        raise NotImplementedError

    def restart(self) -> None:
        """Get ready again after a worker died."""

    def alive(self) -> bool:
        """Whether new batches have a chance."""
        return True

    def close(self, at_once: bool = False) -> None:
        """Let the workers go; at once, without waiting for what they do."""


def on_gpu(cells: Sequence[Cell]) -> bool:
    """Whether a batch wants a GPU: its simulation has a field `device` that is not "cpu"."""
    return getattr(cells[0][0], "device", "cpu") != "cpu"


class _Here(Executor):
    def __init__(self) -> None:
        self._bound = ExitStack()
        self._bound.enter_context(one_thread())

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._bound.close()

    def submit(self, function: Any, /, *arguments: Any, **options: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments, **options))
        except Exception as error:
            future.set_exception(error)
        return future


class _Local(Pool):
    def __init__(self, workers: int) -> None:
        self.size = workers
        self.restart()

    def restart(self) -> None:
        if self.size == 1:
            self._executor: Executor = _Here()
            return
        from joblib.externals.loky import get_reusable_executor

        self._executor = get_reusable_executor(
            self.size, timeout=30, env=SINGLE, initializer=_leave_with, initargs=(os.getpid(),)
        )

    def submit(self, cells: Sequence[Cell]) -> "Future[list[Result]]":
        return self._executor.submit(compute if self.size == 1 else work, cells)

    def close(self, at_once: bool = False) -> None:
        if self.size == 1:
            self._executor.shutdown()
        elif at_once:  # otherwise they stay for the next sweep, and leave when there is none for half a minute
            self._executor.shutdown(wait=True, kill_workers=True)  # type: ignore[call-arg]


class _Dask(Pool):
    places_gpus = True

    def __init__(self, workers: int, scheduler: str | None) -> None:
        try:
            from distributed import Client, LocalCluster
        except ImportError as error:
            raise checks.InvalidInput(
                "engine: expected Dask for 'dask', got none; install theorycheck[cluster]"
            ) from error
        self._cluster = None
        if scheduler is None:
            self._cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0")
        try:
            self._client = Client(self._cluster or scheduler, timeout=PATIENCE)
        except (OSError, ValueError) as error:
            remedy = "is `dask scheduler` running there, and can this machine reach it?"
            raise checks.InvalidInput(f"scheduler: expected one at {scheduler}, got {error}; {remedy}") from error
        self._size, self._counted = 1, -math.inf
        self._executors = {
            False: self._client.get_executor(pure=False),
            True: self._client.get_executor(pure=False, resources={"GPU": 1}),
        }

    @property
    def size(self) -> int:  # type: ignore[override]
        if time.monotonic() - self._counted > 5:  # workers come and go; asking costs a round trip
            self._size, self._counted = max(1, sum(self._client.nthreads().values())), time.monotonic()
        return self._size

    def submit(self, cells: Sequence[Cell]) -> "Future[list[Result]]":
        gpu = on_gpu(cells) and self._cluster is None  # workers of this machine share its GPUs
        if gpu and not self._has_gpu():
            remedy = "start one with `dask worker ADDRESS --resources GPU=1`"
            checks.fail("scheduler", "a worker with a GPU for these cells", "none that says so", remedy)
        future: Future[list[Result]] = self._executors[gpu].submit(work, cells)
        return future

    def _has_gpu(self) -> bool:
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        return any(worker["resources"].get("GPU") for worker in workers)

    def alive(self) -> bool:
        return bool(self._client.status == "running")

    def close(self, at_once: bool = False) -> None:
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()
