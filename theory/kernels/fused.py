"""Compiled gradient descent of a two-layer network on the CPU, for rectifiers and the smooth activations.

One sweep over the width per step, the weights touched once; `fused_rectifier` and `fused_smooth` say how. Many steps
are made in one call, which does not hold the interpreter's lock. Numba is imported when the first `Descent` is made.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theory.activations import Activation
from theory.kernels import compiling
from theory.networks import TwoLayer

_NOTHING = np.empty(0)


def supports(network: TwoLayer) -> bool:
    """Whether `Descent` can be had: numba is there, and it knows the device and the activation.

    Example:
        >>> supports(TwoLayer([[1.0]], [1.0], "relu")) == compiling.available()
        True
    """
    if network.W.device.type != "cpu" or not compiling.available():
        return False
    return network.activation.rectifier is not None or _kind(network.activation) is not None


class Descent:
    """Gradient descent on 1/2 sum_i n_i (f(W, x_i) - y_i)^2 from a network's present weights, in its dtype.

    Results do not depend on the number of threads.

    Args:
        network: one that `supports` accepts; not modified.
        X: inputs, (n, d), on the CPU and in the network's dtype like the other tensors.
        y: labels, (n,).
        weights: n_i, (n,).
        step: step size.

    Attributes:
        residual: f(W) - y, (n,); the next `advance` overwrites it.
        loss: 1/2 sum_i n_i residual_i^2.
        threads: how many may share a step.

    Example:
        >>> one = torch.ones(1, dtype=torch.float64)
        >>> if compiling.available():
        ...     run = Descent(TwoLayer([[1.0]], [1.0], "relu"), one[:, None], 2 * one, one, step=0.5)
        ...     assert run.advance(2)[0].tolist() == [0.125, 0.03125]
    """

    def __init__(self, network: TwoLayer, X: Tensor, y: Tensor, weights: Tensor, step: float):
        from theory.kernels import fused_rectifier, fused_smooth

        self.shape = network.W.shape
        halves = 2 if network.paired else 1
        h = network.width // halves
        W, v = network.W.detach().view(halves, h, -1), network.v.detach()[:h]
        arrays = [tensor.detach().numpy() for tensor in (X, W, v, y, weights)]
        slope, kind = network.activation.rectifier, _kind(network.activation)
        self._module: Any = fused_smooth if slope is None else fused_rectifier
        self._problem, self._state = self._module.prepare(*arrays, kind if slope is None else slope, step)
        self._scratch = [self._module.scratch(self._problem, self._state)]
        self.residual: Float[Tensor, " n"] = torch.from_numpy(self._state.residual)
        self.threads = torch.get_num_threads()
        self.loss = float(self._call(0, 0, len(self._state.squares), True))

    def advance(self, steps: int) -> tuple[Float[np.ndarray, " steps"], Float[np.ndarray, " steps"]]:
        """Make steps. Returns the loss after each and the length of each, in float64."""
        losses, moves, parts = np.empty(steps), np.empty(steps), len(self._state.squares)
        threads = min(self.threads, parts)
        if threads == 1:
            self.loss = float(self._call(steps, 0, parts, True, losses, moves))
            return losses, moves
        while len(self._scratch) < threads:
            self._scratch.append(self._module.scratch(self._problem, self._state))
        bounds = [parts * thread // threads for thread in range(threads + 1)]
        shares = list(zip(range(threads), bounds, bounds[1:], strict=False))
        with ThreadPoolExecutor(threads - 1) as pool:
            for s in range(steps):
                others = [pool.submit(self._call, 1, a, b, False, thread=thread) for thread, a, b in shares[1:]]
                self._call(1, 0, bounds[1], False)
                for other in others:
                    other.result()
                self.loss = float(self._call(1, 0, 0, True, losses[s:], moves[s:]))
        return losses, moves

    def weights(self) -> Float[Tensor, "k d"]:
        """W as the network has it, a copy."""
        from theory.kernels.fused_layout import untiled

        halves = len(self._state.W)
        return torch.from_numpy(untiled(self._state.W, self.shape[0] // halves)).reshape(self.shape)

    def _call(self, steps: int, first: int, last: int, settled: bool, *results: Any, thread: int = 0) -> float:
        losses, moves = results or (_NOTHING, _NOTHING)
        scratch = self._scratch[thread]
        return self._module.advance(self._problem, self._state, scratch, steps, first, last, settled, losses, moves)


def _kind(activation: Activation) -> int | None:
    from theory.kernels import fused_smooth

    return fused_smooth.kind(activation)
