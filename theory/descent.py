"""Full-batch gradient descent on 1/2 sum_i n_i (f(W, x_i) - y_i)^2 with a fixed step.

`descend` is the iterator, one `Step` after the other; `train` makes many steps at a time and returns a `Trajectory` of
measurements (`theory.trajectory`); `theory.ensemble` trains many networks side by side. An engine of `theory.gradients`
makes the steps: compiled code for a `TwoLayer`, autograd for any other module with one real output. The network passed
in is never modified.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theory import arrays, checks, covariance, gradients
from theory.arrays import Array
from theory.gradients import Engine, Pace
from theory.networks import TwoLayer
from theory.trajectory import Ledger, Trajectory, schedule

__all__ = ["Diverged", "Step", "Trajectory", "descend", "largest_step", "train"]

_BLOWN_UP = 1e6  # times the initial loss: no return from there
_STUCK, _PATIENCE = 10.0, 100  # a saturated activation bounds its loss: above 10 times for 100 steps is diverged too


@dataclass(frozen=True)
class Step:
    """Gradient descent at W_tau, with the length of the move that it makes next.

    Attributes:
        tau: number of steps made so far.
        W: weights W_tau: (k, d) for a `TwoLayer`, otherwise all trainable parameters as one vector. Never overwritten.
        residual: f(W_tau) - y, (n,).
        loss: 1/2 sum_i n_i residual_i^2.
        movement: ||W_{tau+1} - W_tau||_F, the step size times the gradient's norm.
    """

    tau: int
    W: Float[Tensor, "..."]
    residual: Float[Tensor, " n"]
    loss: float
    movement: float


class Diverged(RuntimeError):
    """The loss grew without bound. `trajectory` keeps what `train` had recorded (None from `descend`)."""

    trajectory: Trajectory | None = None


def descend(network: torch.nn.Module, X: Array, y: Array, step: float, weights: Array | None = None) -> Iterator[Step]:
    """Full-batch gradient descent from the network's present weights, as an endless iterator of `Step`.

    It computes in the dtype and on the device of the network.

    Args:
        network: a `TwoLayer`, or any module with outputs (n,) or (n, 1).
        X: inputs (n, d), or (n, ...) as the module wants them.
        y: real labels (n,).
        step: step size eta > 0; below `largest_step` the loss falls at first.
        weights: how often each example counts (n,), > 0; left out: once. Descent on n points that coincide in clusters
            is descent on one point per cluster with its mean label and the cluster's size as weight.

    Raises:
        InvalidInput: at once, for wrong shapes, NaN, a step or weight that is not positive.
        Diverged: on the way; the message names 2/lambda_max of the initial kernel.

    Example:
        >>> from theory.networks import TwoLayer
        >>> net = TwoLayer([[1.0]], [1.0], "relu")
        >>> [now.loss for now, _ in zip(descend(net, [[1.0]], [2.0], step=0.5), range(3))]
        [0.5, 0.125, 0.03125]
    """
    step = checks.number("step", step, low=0, open_low=True)
    return _steps(_start(network, *data(network, X, y, weights), step))


def train(
    network: torch.nn.Module,
    X: Array,
    y: Array,
    *,
    step: float,
    steps: int,
    record: int | Iterable[int] = 60,
    truth: Array | None = None,
    clusters: Array | None = None,
    alphas: Array | None = None,
    weights: Array | None = None,
    progress: Callable[[int, float], object] | None = None,
) -> Trajectory:
    """Run full-batch gradient descent and measure it at chosen steps; only those cost more than the descent itself.

    Args:
        network: a `TwoLayer`, or any module with one real output per example; it is not modified.
        X: inputs (n, d), or (n, ...) as the module wants them.
        y: observed real labels (n,), perhaps corrupted.
        step: step size eta > 0.
        steps: number of steps, >= 1.
        record: how many steps to record, evenly in log(1 + tau), or which; the first and the last are always there.
        truth: true labels (n,): gives the accuracies and the sup error.
        clusters: cluster of each example (n,), integers: gives the residual on the support subspace and off it.
        alphas: the values that a label can have; left out: those that occur in `truth`.
        weights: how often each example counts in the loss (n,), > 0.
        progress: called with (tau, loss) at each recorded step.

    Returns:
        A `Trajectory`.

    Raises:
        InvalidInput: before any step, for what `descend` refuses and for wrong truth, clusters, alphas or record.
        Diverged: with `.trajectory`, the results so far. A KeyboardInterrupt carries them too.

    Example:
        >>> from theory.networks import TwoLayer
        >>> net = TwoLayer([[1.0]], [1.0], "relu")
        >>> train(net, [[1.0]], [2.0], step=0.5, steps=2, record=[1]).loss
        array([0.5    , 0.125  , 0.03125])
    """
    steps = checks.integer("steps", steps, minimum=1)
    taus = schedule(record, steps)
    step = checks.number("step", step, low=0, open_low=True)
    X, y, weights = data(network, X, y, weights)
    ledger = Ledger(network, y, truth, clusters, alphas)
    return measure(lambda: _start(network, X, y, weights, step), taus, ledger, step, progress)


def largest_step(network: torch.nn.Module, X: Array, weights: Array | None = None) -> float:
    """2/lambda_max of the kernel at the present weights: above it even linearised descent diverges.

    Args:
        network: a `TwoLayer`, or any module with one real output per example.
        X: inputs (n, d), or (n, ...) as the module wants them.
        weights: how often each example counts (n,), > 0.

    Raises:
        InvalidInput: wrong shapes, NaN, or a network whose gradient is zero on all of X.

    Example:
        >>> from theory.networks import TwoLayer
        >>> largest_step(TwoLayer([[1.0]], [1.0], "relu"), [[2.0]])
        0.5
    """
    X, _, weights = data(network, X, None, weights)
    root = weights.sqrt()
    top = float(torch.linalg.eigvalsh(root[:, None] * covariance.empirical_kernel(X, network) * root)[-1])
    if not top > 0:
        checks.fail("initial kernel", "lambda_max > 0", top, "check the inputs: no output moves with any weight")
    return 2 / top


class Run:
    """Descent under way: an engine that makes the steps, and what the losses on the way say about them.

    Args:
        engine: at step 0.
        network: see `descend`.
        X: inputs as `data` returns them, like y and weights.
        y: labels.
        weights: how often each example counts.
        step: the step size.

    Attributes:
        engine: at step tau.
        tau: steps made so far.
        path: see `Trajectory`.
        worst: see `Trajectory.worst_decrease`.

    Raises:
        Diverged: the loss is no number at the start.
    """

    def __init__(self, engine: Engine, network: torch.nn.Module, X: Tensor, y: Tensor, weights: Tensor, step: float):
        self.engine = engine
        self.tau, self.path, self.worst = 0, 0.0, -math.inf
        self._start, self._step, self._above, self._pace = (network, X, weights), step, 0, Pace()
        self._reference = max(float(weights @ y.square()) / 2, engine.loss)  # that of the network that is zero, or ours
        self.judge(math.inf, np.array([engine.loss]), np.empty(0))

    def follow(self, tau: int, stopped: Callable[[], bool] = lambda: False) -> None:
        """Make steps until `tau`, in bursts after each of which Ctrl-C works.

        Args:
            tau: where to stop.
            stopped: asked after each burst; True has the effect of Ctrl-C.

        Raises:
            Diverged: the loss grew without bound on the way.
        """
        while self.tau < tau:
            before = self.engine.loss
            self.judge(before, *self._pace.burst(self.engine.advance, tau - self.tau))
            if stopped():
                raise KeyboardInterrupt

    def judge(self, before: float, losses: np.ndarray, moves: np.ndarray) -> None:
        """Take note of what the engine has just done.

        Args:
            before: the loss before it.
            losses: the loss after each step.
            moves: the length of each step; empty at the start, where `losses` is the loss of step 0.

        Raises:
            Diverged: after one of the steps the loss had grown without bound.
        """
        if losses.max() <= _STUCK * self._reference:  # not so of a NaN
            self._above = 0
        else:
            self._look_closely(losses, len(moves[:1]))
        if len(moves):
            with np.errstate(over="ignore"):
                change = losses - np.append(before, losses[:-1]) + np.square(moves) / (2 * self._step)
            self.worst = max(self.worst, float(change.max()))
            self.path = float(np.add.accumulate(np.append(self.path, moves))[-1])  # one by one, however long the burst
            self.tau += len(moves)

    def record(self, ledger: Ledger) -> None:
        """Write the present step down."""
        W, residual = self.engine.weights(), self.engine.residual.clone()
        ledger.write(self.tau, W, residual, self.engine.loss, self.path, self.worst)

    def _look_closely(self, losses: np.ndarray, first: int) -> None:
        """At losses some of which are high; they begin `first` steps from now."""
        index = np.arange(len(losses))
        low = np.where(losses > _STUCK * self._reference, -1 - self._above, index)
        above = index - np.maximum.accumulate(low)  # consecutive high losses up to each
        gone = ~(losses <= _BLOWN_UP * self._reference) | (above >= _PATIENCE)
        if gone.any():
            self._diverged(self.tau + first + int(gone.argmax()), float(losses[gone.argmax()]))
        self._above = int(above[-1])

    def _diverged(self, tau: int, loss: float) -> NoReturn:
        (network, X, weights), step = self._start, self._step
        try:
            limit = largest_step(network, X, weights)
        except checks.InvalidInput:  # e.g. batch normalisation, which has no kernel between examples
            limit = math.nan
        raise Diverged(
            f"step: expected well below 2/lambda_max = {limit:.6g} of the initial kernel, got {step:.6g} and after "
            f"{tau} steps a loss of {loss:.3g} (at first {self._reference:.3g}); try {min(step, limit) / 2:.3g}"
        )


def measure(
    start: Callable[[], Run],
    taus: Iterable[int],
    ledger: Ledger,
    step: float,
    progress: Callable[[int, float], object] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Trajectory:
    """Follow a run and write down the steps `taus`; arguments and exceptions are those of `train` and `Run`."""
    try:
        run = start()
        for tau in taus:
            run.follow(tau, stopped)
            run.record(ledger)
            if progress is not None:
                progress(tau, run.engine.loss)
    except (Diverged, KeyboardInterrupt) as stop:
        stop.trajectory = ledger.trajectory(step) if ledger.rows else None  # type: ignore[union-attr]
        raise
    return ledger.trajectory(step)


def _start(network: torch.nn.Module, X: Tensor, y: Tensor, weights: Tensor, step: float) -> Run:
    return Run(gradients.engine(network, X, y, weights, step), network, X, y, weights, step)


def _steps(run: Run) -> Iterator[Step]:
    while True:
        tau, W, residual, loss = run.tau, run.engine.weights(), run.engine.residual.clone(), run.engine.loss
        losses, moves = run.engine.advance(1)
        yield Step(tau, W, residual, loss, float(moves[0]))
        run.judge(loss, losses, moves)


def data(network: torch.nn.Module, X: Array, y: Array | None, weights: Array | None) -> tuple[Tensor, Tensor, Tensor]:
    """X, y (left out: zeros) and weights (left out: ones), checked, in the dtype and on the device of the network.

    Raises:
        InvalidInput: as `descend`.
    """
    home = next((p for p in network.parameters() if p.requires_grad), None)
    if home is None:
        checks.fail("network", "a trainable parameter", "none", "set requires_grad on what should be trained")
    if arrays.is_tensor(X) and X.device != home.device:
        checks.fail("X", f"a tensor on {home.device}", f"one on {X.device}", "move X or the network with .to()")
    (X, y, weights), _ = arrays.tensors(X=X, y=y, weights=weights)
    if isinstance(network, TwoLayer):
        checks.matrix("X", X, columns=network.dimension)
    n = len(X) if X.ndim else checks.fail("X", "one entry per example", "a number", "pass (n, d)")
    for name, column in (("y", y), ("weights", weights)):
        if column is not None:
            checks.vector(name, column, length=n)
    if weights is not None and not bool((weights > 0).all()):
        checks.fail("weights", "entries > 0", f"{float(weights.min()):g}", "leave out what should not count")
    y, weights = X.new_zeros(n) if y is None else y, X.new_ones(n) if weights is None else weights
    X, y, weights = (tensor.detach().to(home) for tensor in (X, y, weights))
    return X, y, weights
