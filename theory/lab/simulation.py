"""A simulation: settings (a frozen dataclass) -> run -> labelled results -> figure -> verdicts.

Subclass `Simulation` as a frozen dataclass, give it a `name`, add fields, write `run` (enough for a sweep), `figure`
and `verdicts`. `theory.lab.command.main(YourSimulation)` makes it a command with one flag per field; `execute` is what
that command and `python -m simulations` do.

    @dataclass(frozen=True)
    class Walk(Simulation):
        name: ClassVar[str] = "walk"
        steps: int = 100

        def run(self, seed, progress=None):
            return xarray.Dataset({"end": np.random.default_rng(seed).normal(size=self.steps).sum()})
"""

import dataclasses
import importlib
import importlib.metadata
import json
import math
import platform
import time
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from theory import checks
from theory.estimate import encode
from theory.files import replacing
from theory.lab import figure as figures
from theory.verdict import Verdicts

PACKAGES = ("theorycheck", "numpy", "scipy", "sympy", "torch", "xarray", "matplotlib", "scikit-learn")


@dataclass(frozen=True)
class Simulation:
    """Settings common to all simulations; the defaults of every subclass are its quick profile.

    Attributes:
        seeds: number of independent repetitions, seeded first_seed, first_seed + 1, ...
        first_seed: the first of them.
    """

    name: ClassVar[str]
    """File name of the figure."""
    quick_seconds: ClassVar[float] = math.nan
    """What the quick profile takes on two cores; stated so that a slow machine is recognised."""
    version: ClassVar[int] = 1
    """Raised whenever `run` gives other numbers for the same settings: stored cells of older versions are not used."""

    seeds: int = 2
    first_seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(getattr(self, "name", None), str):
            remedy = 'write name: ClassVar[str] = "..." into the class'
            checks.fail(f"{type(self).__name__}.name", "a name for its files", "none", remedy)
        checks.integer("seeds", self.seeds, minimum=1)
        checks.integer("first_seed", self.first_seed, minimum=0)
        self.validate()

    def validate(self) -> None:
        """Refuse impossible settings before anything runs. Override to check the fields a subclass adds.

        Raises:
            InvalidInput: naming the field.
        """

    @classmethod
    def full(cls) -> "Simulation":
        """The full profile: the settings of the paper's figure, or what shows the effect at its best."""
        return cls()

    def run(self, seed: int, progress: Any = None) -> Any:
        """One repetition: an `xarray.Dataset` with named dimensions.

        Args:
            seed: of this repetition.
            progress: called as progress(fraction) now and then, or None.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how to run")

    def shapes(self) -> Hashable:
        """What runs have in common that go together in `run_together`; None: they gain nothing by it."""
        return None

    @classmethod
    def run_together(cls, cells: Sequence["Cell"]) -> Iterator[tuple[int, Any]]:
        """What `run` says of each cell, (its number, results or the exception), in any order, as they end.

        Override where runs of equal `shapes` are faster together; the numbers must be those of `run`.
        """
        for number, (simulation, seed) in enumerate(cells):
            try:
                yield number, simulation.run(seed)
            except Exception as error:
                yield number, error

    def cost(self) -> "Cost | None":
        """What one repetition takes, as far as it is known; None: cells are taken to cost the same."""
        return None

    def figure(self, results: Any) -> Any:
        """A matplotlib figure of the results, which have the extra dimension `seed`."""
        raise NotImplementedError(f"{type(self).__name__} does not say what to draw")

    def verdicts(self, results: Any) -> Verdicts:
        """What the results say about the claims."""
        raise NotImplementedError(f"{type(self).__name__} does not say what to judge")

    def collect(self, progress: Any = None) -> Any:
        """All repetitions, joined along the dimension `seed`.

        Ctrl-C keeps the repetitions that are finished: they are returned with `attrs["interrupted"] = 1`. With none
        finished the KeyboardInterrupt goes through.

        Args:
            progress: called as progress(fraction of the whole), or None.
        """
        import xarray

        finished: dict[int, Any] = {}
        interrupted = 0
        for number in range(self.seeds):
            seed = self.first_seed + number
            report = None if progress is None else _shared(progress, number, self.seeds)
            try:
                finished[seed] = self.run(seed, report)
            except KeyboardInterrupt:
                if not finished:
                    raise
                interrupted = 1
                break
        results = xarray.concat(list(finished.values()), dim="seed").assign_coords(seed=list(finished))
        return results.assign_attrs(interrupted=interrupted)


Cell = tuple[Simulation, int]
"""One repetition: the settings, of which `seeds` and `first_seed` do not count, and its seed."""


@dataclass(frozen=True)
class Cost:
    """What one cell takes, up to a factor that a short run measures.

    Attributes:
        operations: arithmetic operations, or anything that the time is proportional to.
        bytes: of the largest arrays held at once.
    """

    operations: float
    bytes: float


@dataclass(frozen=True)
class Outcome:
    """What `execute` leaves behind.

    Attributes:
        results: the labelled results.
        verdicts: judged on them.
        files: written, the figure's first.
        seconds: spent.
        interrupted: whether Ctrl-C left repetitions out.
        trouble: why files are missing (a full disk, say); None when all were written.
    """

    results: Any
    verdicts: Verdicts
    files: list[Path]
    seconds: float
    interrupted: bool = False
    trouble: OSError | None = None


def execute(simulation: Simulation, output: Path = Path("figures"), progress: Any = None) -> Outcome:
    """Run a simulation and write its figure (PNG, PDF) and record (JSON) into `output`.

    A disk that fills up during the run costs files, not results: see `Outcome.trouble`.

    Raises:
        OSError: the folder can't be written; tried before the run starts.
        KeyboardInterrupt: before one repetition was finished.
    """
    started = time.perf_counter()
    output.mkdir(parents=True, exist_ok=True)
    with replacing(output / f"{simulation.name}.writable") as probe:
        probe.write_text("a folder that can't be written should say so before the run, not after")
    (output / f"{simulation.name}.writable").unlink()
    with one_thread():
        results = simulation.collect(progress)
        verdicts = simulation.verdicts(results)
    drawn = simulation.figure(results)
    seconds = time.perf_counter() - started
    interrupted = bool(results.attrs["interrupted"])
    record = {
        "simulation": simulation.name,
        "settings": {name: encode(value) for name, value in dataclasses.asdict(simulation).items()},
        "seeds": [int(seed) for seed in results.seed],
        "interrupted": interrupted,
        "seconds": round(seconds, 1),
        "versions": versions(),
        "counts": verdicts.counts(),
        "table": json.loads(verdicts.to_json()),
    }
    files: list[Path] = []
    trouble = None
    try:
        # what Ctrl-C left must not take the place of a complete result
        name = simulation.name + "_interrupted" * interrupted
        files = figures.save(drawn, output / name)
        with replacing(output / f"{name}.json") as part:
            lines = (f" {json.dumps(name)}: {json.dumps(value)}" for name, value in record.items())
            part.write_text("{\n" + ",\n".join(lines) + "\n}\n")  # a line per entry: short, and its diff is readable
        files.append(output / f"{name}.json")
    except OSError as error:
        files, trouble = [], error
    return Outcome(results, verdicts, files, seconds, interrupted, trouble)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread inside, and give the threads back after.

    The matrices here are small: a second thread gains little, and costs a multiple where another program wants the
    core. `python -m simulations` runs several simulations at once instead.
    """
    import threadpoolctl
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpoolctl.threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)


def versions() -> dict[str, str]:
    """Versions of Python and of every package that a result depends on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _shared(progress: Any, number: int, total: int) -> Any:
    return lambda fraction: progress((number + fraction) / total)
