"""Gradient descent of many networks side by side: `train_many` is `theory.descent.train` for each of them.

On the CPU one run after the other goes through compiled code, its weights in the cache of one core, and as many runs
are under way as torch has threads. On a GPU the runs that share their shapes go together, one launch for all. Either
way a run neither knows nor disturbs the others.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from theory import checks, descent, gradients
from theory.arrays import Array
from theory.descent import Diverged, Run
from theory.gradients import Pace
from theory.kernels import fused, gpu
from theory.trajectory import Ledger, Trajectory, schedule

__all__ = ["SomeDiverged", "train_many"]

_AWAKE = 0.1  # seconds between looks at Ctrl-C

Progress = Callable[[int, Trajectory | Diverged], object]


class SomeDiverged(Diverged):
    """Some of many runs diverged; the others were finished.

    Attributes:
        trajectories: of every run, in order; of one that diverged, what it had recorded, or None.
        diverged: what it raised, by the number of the run.
    """

    def __init__(self, trajectories: list[Trajectory | None], diverged: dict[int, Diverged]):
        first, *others = diverged
        also = f"; likewise runs {', '.join(map(str, others))}" if others else ""
        super().__init__(f"run {first}: {diverged[first]}{also}")
        self.trajectories, self.diverged = trajectories, diverged


def train_many(
    networks: Sequence[torch.nn.Module],
    X: Array,
    y: Array,
    *,
    step: float | Sequence[float],
    steps: int,
    record: int | Iterable[int] = 60,
    truth: Array | None = None,
    clusters: Array | None = None,
    alphas: Array | None = None,
    weights: Array | None = None,
    progress: Progress | None = None,
) -> list[Trajectory]:
    """Train each network as `theory.descent.train` does; on the CPU with the same results to the last bit.

    X, y, step, truth, clusters, alphas and weights are for all runs, unless they are a list or a tuple: that has one
    entry for each run.

    Args:
        networks: one for each run.
        X: inputs, (n, d), an array or a tensor, or a list of these; likewise in what follows.
        y: observed labels, (n,).
        step: step size.
        steps: number of steps of every run.
        record: how many steps to record, or which, of every run.
        truth: true labels, (n,).
        clusters: cluster of each example, (n,).
        alphas: the values that a label can have.
        weights: how often each example counts, (n,).
        progress: called in this thread when a run has ended, with its number and its trajectory or what it raised.

    Returns:
        A trajectory for each run.

    Raises:
        InvalidInput: before any step, what `train` refuses, with the number of the run; a list of the wrong length.
        SomeDiverged: at the end, with the trajectories of all runs. A KeyboardInterrupt has `.trajectories` too: what
            each run had recorded, or None.

    Example:
        >>> from theory.networks import TwoLayer
        >>> networks = [TwoLayer([[1.0]], [1.0], "relu"), TwoLayer([[2.0]], [1.0], "relu")]
        >>> runs = train_many(networks, torch.ones(1, 1), 2 * torch.ones(1), step=[0.5, 0.1], steps=1)
        >>> [run.loss.tolist() for run in runs]
        [[0.5, 0.125], [0.0, 0.0]]
    """
    taus = schedule(record, checks.integer("steps", steps, minimum=1))
    given = {"X": X, "y": y, "step": step, "truth": truth, "clusters": clusters, "alphas": alphas, "weights": weights}
    columns = {name: _column(name, value, len(networks)) for name, value in given.items()}
    shared: dict[Any, Tensor] = {}
    cells = [_cell(i, net, {name: c[i] for name, c in columns.items()}, shared) for i, net in enumerate(networks)]
    outcomes = _Outcomes(progress)
    try:
        for group in _groups(cells):
            _together(group, taus, outcomes)
        left = [cell for cell in cells if cell.number not in outcomes.kept]
        compiled = [cell for cell in left if gradients.two_layer(cell.network) and fused.supports(cell.network)]
        _apart(compiled, torch.get_num_threads(), taus, outcomes)
        _apart([cell for cell in left if cell not in compiled], 1, taus, outcomes)  # BLAS uses all threads
    except KeyboardInterrupt as interrupt:
        interrupt.trajectories = [outcomes.kept.get(i) for i in range(len(cells))]  # type: ignore[attr-defined]
        raise
    trajectories = [outcomes.kept[i] for i in range(len(cells))]
    if outcomes.diverged:
        raise SomeDiverged(trajectories, dict(sorted(outcomes.diverged.items())))
    return [trajectory for trajectory in trajectories if trajectory is not None]


class _Outcomes:
    """What has become of the runs that ended."""

    def __init__(self, progress: Progress | None):
        self._progress = progress
        self.kept: dict[int, Trajectory | None] = {}
        self.diverged: dict[int, Diverged] = {}

    def add(self, number: int, outcome: Trajectory | Diverged) -> None:
        self.kept[number] = outcome if isinstance(outcome, Trajectory) else outcome.trajectory
        if isinstance(outcome, Diverged):
            self.diverged[number] = outcome
        if self._progress is not None:
            self._progress(number, outcome)


@dataclass(frozen=True, eq=False)
class _Cell:
    """A run before its first step: what `train` has made of its arguments by then."""

    number: int
    network: torch.nn.Module
    tensors: tuple[Tensor, Tensor, Tensor]
    step: float
    ledger: Ledger

    def run(self, engine: Any) -> Run:
        return Run(engine, self.network, *self.tensors, self.step)

    def start(self) -> Run:
        engine = gradients.engine(self.network, *self.tensors, self.step)
        if isinstance(engine, fused.Descent):
            engine.threads = 1  # the other threads have runs of their own
        return self.run(engine)

    def follow(self, taus: Iterable[int], stopped: Callable[[], bool]) -> Trajectory | Diverged:
        try:
            return descent.measure(self.start, taus, self.ledger, self.step, stopped=stopped)
        except Diverged as diverged:
            return diverged

    def recorded(self) -> Trajectory | None:
        return self.ledger.trajectory(self.step) if self.ledger.rows else None


def _column(name: str, value: Any, count: int) -> list[Any]:
    if not isinstance(value, list | tuple):
        return [value] * count
    if len(value) != count:
        remedy = "give one entry for each network, or an array for all"
        checks.fail(name, f"a list of {count}", f"one of {len(value)}", remedy)
    return list(value)


def _cell(number: int, network: torch.nn.Module, given: dict[str, Any], shared: dict[Any, Tensor]) -> _Cell:
    try:
        step = checks.number("step", given["step"], low=0, open_low=True)
        X, y, weights = descent.data(network, given["X"], given["y"], given["weights"])
        ledger = Ledger(network, y, given["truth"], given["clusters"], given["alphas"])
    except checks.InvalidInput as bad:
        raise checks.InvalidInput(f"run {number}: {bad}") from bad
    X = shared.setdefault((id(given["X"]), X.dtype, X.device), X)  # one copy of inputs that runs have in common
    return _Cell(number, network, (X, y, weights), step, ledger)


def _apart(cells: list[_Cell], threads: int, taus: list[int], outcomes: _Outcomes) -> None:
    """Each in its own engine, in other threads than this one: Ctrl-C need not wait for a burst to end."""
    stop = threading.Event()
    with ThreadPoolExecutor(threads) as pool:
        futures = {pool.submit(cell.follow, taus, stop.is_set): cell for cell in cells}
        left = set(futures)
        try:
            while left:
                done, left = wait(left, _AWAKE, FIRST_COMPLETED)
                for future in done:
                    outcomes.add(futures[future].number, future.result())
        except BaseException:
            stop.set()  # a run looks at it after every burst
            pool.shutdown(cancel_futures=True)
            for cell in cells:
                outcomes.kept.setdefault(cell.number, cell.recorded())
            raise


def _groups(cells: list[_Cell]) -> list[list[_Cell]]:
    """The runs on GPUs that can go together."""
    groups: dict[Any, list[_Cell]] = {}
    for cell in cells:
        network, X = cell.network, cell.tensors[0]
        if X.is_cuda and gradients.two_layer(network) and gpu.available(X.device):
            from theory.kernels import gpu_ensemble

            if gpu_ensemble.supports(network, X):
                key = (X.shape, X.dtype, X.device, network.width, network.paired, network.activation)
                groups.setdefault(key, []).append(cell)
    return [group for group in groups.values() if len(group) > 1]


def _ensemble(cells: list[_Cell]) -> Any:
    """The engine of all these runs."""
    from theory.kernels.gpu_ensemble import Ensemble

    Xs, ys, weights = map(list, zip(*(cell.tensors for cell in cells), strict=True))
    networks: list[Any] = [cell.network for cell in cells]
    return Ensemble(networks, Xs, ys, weights, [cell.step for cell in cells])


@dataclass
class _Place:
    """One run of an ensemble, as `Run` wants an engine."""

    whole: Any
    place: int
    W: Any = None

    @property
    def residual(self) -> Tensor:
        return self.whole.residual[self.place]

    @property
    def loss(self) -> float:
        return float(self.whole.loss[self.place])

    def weights(self) -> Tensor:
        return self.W


def _together(cells: list[_Cell], taus: list[int], outcomes: _Outcomes) -> None:
    """All in one engine."""
    whole, pace, now = _ensemble(cells), Pace(), 0
    places, runs = [_Place(whole, i) for i in range(len(cells))], dict[int, Run]()

    def lost(i: int, diverged: Diverged) -> None:
        runs.pop(i, None)
        diverged.trajectory = cells[i].recorded()
        outcomes.add(cells[i].number, diverged)

    try:
        for i, cell in enumerate(cells):
            try:
                runs[i] = cell.run(places[i])
            except Diverged as diverged:
                lost(i, diverged)
        for tau in taus:
            while now < tau and runs:
                before = {i: places[i].loss for i in runs}
                losses, moves = pace.burst(whole.advance, tau - now)
                now += len(losses)
                for i, run in list(runs.items()):
                    try:
                        run.judge(before[i], losses[:, i], moves[:, i])
                    except Diverged as diverged:
                        lost(i, diverged)
            W = whole.weights()
            for i, run in runs.items():
                places[i].W = W[i]
                run.record(cells[i].ledger)
        for i in runs:
            outcomes.add(cells[i].number, cells[i].ledger.trajectory(cells[i].step))
    except KeyboardInterrupt:
        for cell in cells:
            outcomes.kept.setdefault(cell.number, cell.recorded())
        raise
