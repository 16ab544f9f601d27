"""The one way this package uses numba: `compiled` functions, what their first calls cost, and work shared by threads.

A module with compiled functions imports numba, so it is imported inside the functions that need it, after `available`.
Nothing is compiled at import: numba compiles at the first call with new types and keeps the machine code on disk.
"""

import inspect
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class FirstCall:
    """What it took to make a compiled function ready for its argument types, in this process.

    Attributes:
        seconds: wall clock, all type combinations so far; contains the functions that it calls.
        cached: whether all machine code came from the disk.
    """

    seconds: float
    cached: bool


_first_calls: dict[str, FirstCall] = {}
_compiling = threading.RLock()


def available() -> bool:
    """Whether numba is there and may compile (NUMBA_DISABLE_JIT unset).

    Example:
        >>> available() in (True, False)
        True
    """
    try:
        import numba
    except ImportError:
        return False
    return not getattr(numba.config, "DISABLE_JIT", False)  # numba sets its settings at run time


def compiled(function: Callable | None = None, /, **options: Any) -> Any:
    """Decorator: numba.njit, nogil, with a disk cache, its first calls timed; without numba the function itself.

    The result is numba's own dispatcher, so that compiled functions can call one another. Numba renews its disk cache
    when the file of a function changes, not when that of a function it calls does: keep the two in one file.

    Args:
        function: a function of arrays and numbers.
        **options: more options of numba.njit, e.g. fastmath=True, or inline="always" for a helper.

    Returns:
        The dispatcher, or `function` where `available()` is false; a decorator if only options are given.

    Example:
        >>> @compiled(cache=False)
        ... def double(x):
        ...     return 2 * x
        >>> double(3)
        6
    """
    if function is None:
        return lambda function: compiled(function, **options)
    function = inspect.unwrap(function)  # numba reads bytecode: take off what an import hook has put around it
    if not available():
        return function
    import numba

    try:
        dispatcher = numba.njit(**({"nogil": True, "cache": True} | options))(function)
    except RuntimeError:  # no directory for the cache: neither beside the source nor in the user's cache
        dispatcher = numba.njit(**({"nogil": True} | options | {"cache": False}))(function)
    return _timed(dispatcher, f"{function.__module__.rpartition('.')[2]}.{function.__name__}")


def intrinsic(function: Callable) -> Any:
    """Decorator: numba.extending.intrinsic; the function itself where `available()` is false."""
    function = inspect.unwrap(function)
    if not available():
        return function
    import numba.extending

    return numba.extending.intrinsic(function)


def first_calls() -> dict[str, FirstCall]:
    """The first calls of this process so far, by the function's name.

    Example:
        >>> all(call.seconds >= 0 for call in first_calls().values())
        True
    """
    return dict(_first_calls)


def share(work: Callable[[Any], Any], jobs: Iterable[Any]) -> list[Any]:
    """[work(job) for job in jobs], by torch.get_num_threads() threads; in this thread if that is one.

    Only work that releases the GIL (a `compiled` function, numpy, torch) gains. An exception of a job is raised here.

    Example:
        >>> share(lambda job: job + 1, range(3))
        [1, 2, 3]
    """
    jobs = list(jobs)
    threads = min(torch.get_num_threads(), len(jobs))
    if threads <= 1:
        return [work(job) for job in jobs]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, jobs))


def _timed(dispatcher: Any, name: str) -> Any:
    """The dispatcher, whose `compile` (numba calls it once per combination of types) leaves a record."""
    compile_types = dispatcher.compile

    def compile_and_record(types: Any) -> Any:
        with _compiling:  # a thread that finds another one compiling does not count its waiting
            started, ready = time.perf_counter(), len(dispatcher.signatures)
            missed = sum(dispatcher.stats.cache_misses.values())
            entry_point = compile_types(types)
            if len(dispatcher.signatures) > ready:
                before = _first_calls.get(name, FirstCall(0.0, True))
                cached = before.cached and sum(dispatcher.stats.cache_misses.values()) == missed
                _first_calls[name] = FirstCall(before.seconds + time.perf_counter() - started, cached)
            return entry_point

    dispatcher.compile = compile_and_record
    return dispatcher
