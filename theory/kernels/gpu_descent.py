"""Gradient descent of a two-layer network on a GPU, in Triton (`theory.kernels.gpu_steps`): two launches a step.

Triton is imported here: import this module inside functions, after `gpu.available`.
"""

import numpy as np
import torch
import triton
from torch import Tensor

from theory import checks
from theory.kernels import gpu, gpu_steps
from theory.kernels.gpu import Tile
from theory.kernels.gpu_products import LEAKY, kind, merge, split
from theory.networks import TwoLayer

SETTLED = 32  # examples a program of `settle`
_ROOM = 2**30  # inputs, padded: keeps the kernels' offsets within 32 bits


def supports(network: TwoLayer, X: Tensor) -> bool:
    """Whether `Descent` knows the activation and has matrix products for the dtype, on a GPU that `gpu` allows.

    float64 only up to capability 9.x: later GPUs have no such products that Triton reaches.
    """
    wide = network.W.dtype == torch.float64 and gpu.machine(network.W.device).capability >= 100
    return kind(network.activation) is not None and not wide and len(X) * max(64, X.shape[1]) <= _ROOM


def tile(machine: gpu.Machine, dtype: torch.dtype, activation: int, dimension: int, width: int) -> Tile:
    """How `sweep` is cut: rows are hidden units, columns examples, depth columns of the inputs.

    Each compiles without spills into the matrix instructions of its generation. All columns at once, if they fit, keep
    a block's weights in shared memory while the examples pass.
    """
    if machine.interpreted:  # small: every tile's edge is met by small inputs
        return Tile(32, 16, 16, 1, 1)
    smooth, generation = activation > LEAKY.value, machine.capability // 10
    depth = max(16, triton.next_power_of_2(min(dimension, 64)))
    if dtype == torch.float64:
        return Tile(64, 32 if smooth else 64, min(depth, 32), warps=8, stages=2)
    if generation == 9 and not smooth and width >= 128 * machine.processors:  # a block for each processor
        return Tile(128, 64, depth, warps=4, stages=2) if dimension <= 64 else Tile(128, 128, 64, warps=8, stages=2)
    if generation in (10, 11) and dimension > 64:
        return Tile(64, 64, 32, warps=8, stages=2)
    if generation not in (9, 10, 11) and dimension > (32 if smooth else 64):
        return Tile(64, 32, 32, warps=4, stages=2)
    return Tile(64, 64, depth, warps=4, stages=2)


class Descent:
    """Gradient descent on 1/2 sum_i n_i (f(W, x_i) - y_i)^2 from a network's present weights, held on the GPU.

    Args:
        network: on the device of the other tensors and in their dtype; `supports` it.
        X: inputs (n, d).
        y: labels (n,).
        weights: n_i (n,).
        step: step size.

    Raises:
        InvalidInput: an activation that is not supported.

    Attributes:
        residual: f(W_tau) - y, (n,); the next call of `advance` overwrites it.
        loss: 1/2 sum_i n_i residual_i^2.
    """

    def __init__(self, network: TwoLayer, X: Tensor, y: Tensor, weights: Tensor, step: float):
        known = kind(network.activation)
        if known is None:
            what, remedy = "activation on a GPU", "ask gpu_descent.supports first"
            checks.fail(what, "one of the library's", network.activation.name, remedy)
        self.shape, self.kind = tuple(network.W.shape), known
        self.halves = 2 if network.paired else 1
        h, (n, d), device = len(network.W) // self.halves, X.shape, X.device
        self.tile = tile(gpu.machine(device), X.dtype, self.kind, d, len(network.W))
        self.blocks = triton.cdiv(h, self.tile.rows)
        common = max(self.tile.columns, SETTLED)
        self.rows, columns = triton.cdiv(n, common) * common, triton.cdiv(d, self.tile.depth) * self.tile.depth
        programs, groups = self.halves * self.blocks, self.rows // SETTLED

        W = X.new_zeros(self.halves, self.blocks * self.tile.rows, columns)
        W[:, :h, :d] = network.W.detach().view(self.halves, h, d)
        self.W, self.v = split(W), X.new_zeros(W.shape[:2])
        self.v[:, :h] = network.v.view(self.halves, h)
        inputs = X.new_zeros(self.rows, columns)
        inputs[:n, :d] = X
        self.X, self.y, self.counts = split(inputs), X.new_zeros(self.rows), X.new_zeros(self.rows)
        self.y[:n], self.counts[:n] = y, weights

        self.numbers = torch.tensor([step, network.activation.rectifier or 0.0], dtype=torch.float64, device=device)
        self.R, self.totals = torch.zeros_like(self.X), X.new_zeros(groups, columns)
        self.shares, self.squares = X.new_empty(programs, self.rows), self.numbers.new_zeros(programs)
        if self.kind <= LEAKY.value:
            self.marks = torch.empty(programs, self.rows, self.tile.rows // 32, dtype=torch.int32, device=device)
        else:
            self.marks = X.new_empty(programs, self.rows, self.tile.rows)
        self._residual = torch.empty_like(self.y)
        self.residual = self._residual[:n]
        self._cut = {"KIND": self.kind, "COLUMNS": self.tile.depth}
        losses, moves = self._logs(1)
        self._evaluate(losses, moves, 0, MOVE=False)
        self.loss = float(losses.sum())

    def advance(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Make steps, with one synchronisation at the end: (loss after each, length of each), (steps,) in float64."""
        losses, moves = self._logs(steps)
        for at in range(steps):
            self._evaluate(losses, moves, at, MOVE=True)
        after = losses.sum(1).cpu().numpy()
        self.loss = float(after[-1]) if steps else self.loss
        return after, moves.cpu().numpy()

    def weights(self) -> Tensor:
        """W_tau as the network has it, (k, d), a new tensor."""
        k, d = self.shape
        return merge(self.W)[:, : k // self.halves, :d].reshape(k, d)

    def _logs(self, steps: int) -> tuple[Tensor, Tensor]:
        return self.numbers.new_empty(steps, self.rows // SETTLED), self.numbers.new_empty(steps)

    def _evaluate(self, losses: Tensor, moves: Tensor, at: int, MOVE: bool) -> None:
        gpu.launch(
            gpu_steps.sweep,
            (self.halves * self.blocks,),
            *(self.W, self.v, self.X, self.R, self.totals, self.marks, self.shares, self.squares, self.numbers),
            *(self.rows, self.rows // SETTLED, self.W.shape[-1], self.W[0].numel()),
            MOVE=MOVE,
            WHOLE=self.W.shape[-1] == self.tile.depth,
            UNITS=self.tile.rows,
            EXAMPLES=self.tile.columns,
            **self._cut,
            **self.tile.options,
        )
        gpu.launch(
            gpu_steps.settle,
            (self.rows // SETTLED,),
            *(self.shares, self.y, self.counts, self.X, self.R, self._residual, self.totals, self.squares),
            *(losses, moves, self.numbers, at, self.rows, self.blocks, self.W.shape[-1]),
            HALVES=self.halves,
            EXAMPLES=SETTLED,
            **self._cut,
            num_warps=4,
        )
