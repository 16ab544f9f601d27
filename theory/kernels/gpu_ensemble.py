"""Gradient descent of many small two-layer networks on a GPU: one launch, a program a run, as many steps as wanted.

A program keeps its run's weights as bfloat16 pieces in shared memory and the gradient in registers. For a few examples
at a time it evaluates all units, so that it knows their residuals at once, and adds their share of the gradient:
pre-activations, patterns and slopes never leave the multiprocessor, whatever the activation. Runs do not touch one
another, and there are no atomics: the same bits in every run, and a run that diverges disturbs no other.

Triton is imported here: import this module inside functions, after `gpu.available`.
"""

# mypy: disable-error-code="no-untyped-def"
# (a kernel's arguments are Triton's own tensors and pointers, known when it is compiled)

from collections.abc import Sequence

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from theory import checks
from theory.kernels import gpu
from theory.kernels.gpu import Tile
from theory.kernels.gpu_products import LEAKY, chosen, evaluate, kernel, kind, load, pieces, product, split, whole
from theory.networks import TwoLayer


@kernel(do_not_specialize=["steps"])
def run(
    W,
    v,
    X,
    y,
    counts,
    residual,
    gradient,
    numbers,
    losses,
    moves,
    rows,
    steps,
    apart,
    plane,
    KIND: tl.constexpr,
    HALVES: tl.constexpr,
    UNITS: tl.constexpr,
    EXAMPLES: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """`steps` times: move by the gradient, then evaluate the run and its new gradient."""
    own = tl.program_id(0).to(tl.int64)
    FLOAT: tl.constexpr = v.dtype.element_ty
    ALL: tl.constexpr = HALVES * UNITS
    i, j, c = tl.arange(0, EXAMPLES), tl.arange(0, ALL), tl.arange(0, COLUMNS)
    place = j[:, None] * COLUMNS + c[None, :]
    W += own * ALL * COLUMNS
    gradient += own * ALL * COLUMNS
    X += own * apart
    y += own * rows
    counts += own * rows
    residual += own * rows
    v += own * ALL + j
    step, slope = tl.load(numbers + 2 * own), tl.load(numbers + 2 * own + 1).to(FLOAT)
    g = tl.load(gradient + place)
    for at in range(steps):
        tl.store(moves + at * tl.num_programs(0) + own, step * tl.sqrt(tl.sum(g * g).to(tl.float64)))
        tl.store(W + place, tl.load(W + place) - step.to(FLOAT) * g)
        tl.debug_barrier()  # read again, by other threads: from registers the pieces would stay in registers, and spill
        w0, w1, w2 = pieces(tl.load(W + place))
        g = tl.zeros((ALL, COLUMNS), FLOAT)
        total = tl.zeros((COLUMNS,), FLOAT)
        loss = tl.zeros((), tl.float64)
        for start in range(0, rows, EXAMPLES):
            x0, x1, x2 = load(X + (start + i[:, None]) * COLUMNS + c[None, :], plane)
            z = product(w0, w1, w2, tl.trans(x0), tl.trans(x1), tl.trans(x2), FLOAT)
            phi, slopes = evaluate(z, slope, KIND)
            halves = tl.sum(tl.reshape(phi * tl.load(v)[:, None], (HALVES, UNITS, EXAMPLES)), axis=1)
            r = tl.sum(halves, axis=0) - tl.load(y + start + i)  # equal halves cancel
            tl.store(residual + start + i, r)
            weighted = r * tl.load(counts + start + i)
            loss += tl.sum(weighted.to(tl.float64) * r.to(tl.float64))
            scaled = weighted[:, None] * whole(x0, x1, x2)
            r0, r1, r2 = pieces(scaled)
            if KIND <= LEAKY:
                g += chosen(tl.where(z > 0, 1.0, 0.0).to(r0.dtype), r0, r1, r2, FLOAT)
            else:
                s0, s1, s2 = pieces(slopes)
                g += product(s0, s1, s2, r0, r1, r2, FLOAT)
            if KIND == LEAKY:
                total += tl.sum(scaled, axis=0)
        if KIND == LEAKY:  # phi' = slope + (1 - slope) on
            g = (1 - slope) * g + slope * total[None, :]
        g *= tl.load(v)[:, None]
        tl.store(losses + at * tl.num_programs(0) + own, loss / 2)
    tl.store(gradient + place, g)


def supports(network: TwoLayer, X: Tensor) -> bool:
    """Whether `Ensemble` runs networks like this one on inputs like X (n, d), on a GPU that `gpu` allows.

    It is a matter of registers: on a Hopper GPU 512 units in d <= 32, or 256 in d <= 64; half of that in float64's
    place of float32 and less on others. A loop of `gpu_descent.Descent` runs what does not fit.
    """
    activation, machine = kind(network.activation), gpu.machine(network.W.device)
    if activation is None:
        return False
    (units, columns), halves = _shape(network), 1 + network.paired
    most_units, most = _room(machine, network.W.dtype, activation, columns)
    return halves * units <= most_units and halves * units * columns <= most and columns <= 64


def _shape(network: TwoLayer) -> tuple[int, int]:
    """Units of a half and columns of the inputs, padded to powers of two; the matrix units want 64 rows."""
    k, d = network.W.shape
    halves = 1 + network.paired
    return max(64 // halves, triton.next_power_of_2(k // halves)), max(16, triton.next_power_of_2(d))


def _room(machine: gpu.Machine, dtype: torch.dtype, activation: int, columns: int) -> tuple[int, int]:
    """The most units, and units times columns, for which `run` compiles without spills."""
    generation, smooth = machine.capability // 10, activation > LEAKY.value
    if dtype == torch.float64:
        return (128, 4096) if generation < 10 else (0, 0)
    if generation in (10, 11):  # sums lie in tensor memory, 512 columns of it
        return (128 if smooth else 256), 8192
    if generation != 9 and (columns > 32 or activation == LEAKY.value):
        return 512, 8192
    return 512, 16384


def tile(machine: gpu.Machine, dtype: torch.dtype, activation: int, units: int, columns: int) -> Tile:
    """How `run` is cut: rows are all units of a run, columns examples, depth columns of the inputs."""
    if machine.interpreted:
        return Tile(units, 16, columns, 1, 1)
    if machine.capability // 10 == 9 and dtype == torch.float32 and activation <= LEAKY.value:
        return Tile(units, 32, columns, warps=min(16, max(4, units // 32)), stages=1)
    return Tile(units, 16, columns, warps=8 if units > 64 else 4, stages=1)


class Ensemble:
    """Gradient descent of R networks of one shape, each with its own examples and step size, held on the GPU.

    Args:
        networks: equal in shape, dtype, device, activation and pairing; `supports` them.
        Xs: inputs of each run, (n, d); the same tensor R times is stored once.
        ys: labels of each run, (n,).
        weights: n_i of each run, (n,).
        steps: step size of each run.

    Raises:
        InvalidInput: networks that are not supported.

    Attributes:
        residual: f(W_tau) - y of each run, (R, n); the next call of `advance` overwrites it.
        loss: 1/2 sum_i n_i residual_i^2 of each run, (R,), float64.
    """

    def __init__(
        self,
        networks: Sequence[TwoLayer],
        Xs: Sequence[Tensor],
        ys: Sequence[Tensor],
        weights: Sequence[Tensor],
        steps: Sequence[float],
    ):
        first, X = networks[0], Xs[0]
        activation = kind(first.activation)
        if activation is None or not supports(first, X):
            wanted = "small networks with an activation of the library"
            checks.fail("ensemble on a GPU", wanted, repr(first), "ask gpu_ensemble.supports first")
        self.runs, (self.n, d), self.halves = len(networks), X.shape, 1 + first.paired
        units, columns = _shape(first)
        self.h = len(first.W) // self.halves
        self.tile = tile(gpu.machine(X.device), X.dtype, activation, self.halves * units, columns)
        rows = triton.cdiv(self.n, self.tile.columns) * self.tile.columns

        self.W, self.v = X.new_zeros(self.runs, self.halves, units, columns), X.new_zeros(self.runs, self.halves, units)
        self.y, self.counts, self.d = X.new_zeros(self.runs, rows), X.new_zeros(self.runs, rows), d
        shared = all(other is X for other in Xs)
        inputs = X.new_zeros(1 if shared else self.runs, rows, columns)
        for r, network in enumerate(networks):
            self.W[r, :, : self.h, :d] = network.W.detach().view(self.halves, self.h, d)
            self.v[r, :, : self.h] = network.v.view(self.halves, self.h)
            self.y[r, : self.n], self.counts[r, : self.n] = ys[r], weights[r]
            if r < len(inputs):
                inputs[r, : self.n, :d] = Xs[r]
        self.X, self.apart = split(inputs), 0 if shared else rows * columns
        slope = first.activation.rectifier or 0.0
        numbers = [[step, slope] for step in steps]
        self.numbers = torch.tensor(numbers, dtype=torch.float64, device=X.device)
        self.gradient, self._residual = torch.zeros_like(self.W), torch.empty_like(self.y)
        self.residual = self._residual[:, : self.n]
        self._cut = {"KIND": activation, "HALVES": self.halves, "UNITS": units, "COLUMNS": columns}
        self.loss = self.advance(1)[0][0]  # by a gradient of zero: evaluates the start

    def advance(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Make steps, in one launch: (loss after each, length of each), (steps, R) in float64."""
        losses, moves = (self.numbers.new_empty(steps, self.runs) for _ in range(2))
        gpu.launch(
            run,
            (self.runs,),
            *(self.W, self.v, self.X, self.y, self.counts, self._residual, self.gradient, self.numbers, losses, moves),
            *(self.y.shape[1], steps, self.apart, self.X[0].numel()),
            EXAMPLES=self.tile.columns,
            **self._cut,
            **self.tile.options,
            enable_fp_fusion=self.halves == 1,  # else the two halves' sums might be fused differently, and not cancel
        )
        after = losses.cpu().numpy()
        self.loss = after[-1] if steps else self.loss
        return after, moves.cpu().numpy()

    def weights(self) -> Tensor:
        """W_tau of each run as its network has it, (R, k, d), a new tensor."""
        return self.W[:, :, : self.h, : self.d].reshape(self.runs, self.halves * self.h, self.d).clone()
