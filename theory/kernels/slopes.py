"""phi' of the library's smooth activations, compiled: `theory.kernels.elementary` on whole arrays, in place.

Numba is imported here: import this module inside functions, after `compiling.available`. Numba's disk cache does not
notice a change of an intrinsic: after one, delete the __pycache__ beside this file.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types

from theory import activations
from theory.activations import Activation
from theory.kernels import compiling, elementary
from theory.kernels.compiling import compiled, intrinsic
from theory.kernels.vectors import VECTOR_BYTES, Emitter, Vector

_PART = 2**16  # numbers that are worth a thread


def known(activation: Activation) -> bool:
    """Whether its slopes are compiled here.

    Example:
        >>> known(activations.get("erf")), known(activations.get("relu"))
        (True, False)
    """
    return activation.name in _COMPILED and activation is activations.get(activation.name)


def turn(activation: Activation, z: np.ndarray) -> None:
    """z = phi'(z) in place, for a contiguous vector z of float32 or float64; by torch's threads.

    Example:
        >>> z = np.zeros(3)
        >>> turn(activations.get("softplus"), z)
        >>> z
        array([0.5, 0.5, 0.5])
    """
    function, lanes = _COMPILED[activation.name], VECTOR_BYTES // z.itemsize
    whole = len(z) // lanes
    step = max(_PART // lanes, 1)
    compiling.share(lambda first: function(z, first * lanes, min(step, whole - first)), range(0, whole, step))
    if whole * lanes < len(z):
        last = np.zeros(lanes, z.dtype)
        rest = z[whole * lanes :]
        last[: len(rest)] = rest
        function(last, 0, 1)
        rest[:] = last[: len(rest)]


def _vectors(function: Callable[[Vector], elementary.Pair]) -> Any:
    def turn_vectors(typing, z, first, count):  # type: ignore[no-untyped-def]
        """phi' of `count` >= 1 vectors of z, from entry `first` on."""

        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            e = Emitter(context, builder, signature.args[0])
            start = e.at(e.start(signature.args[0], arguments[0]), arguments[1])

            def vector(i: Any, _: list[Any]) -> list[Any]:
                place = e.at(start, i, e.lanes)
                e.store(function(Vector(e, e.load(place)))[1].x, place, e.bytes)
                return []

            e.repeat(arguments[2], [], vector)
            return context.get_dummy_value()

        return types.none(z, first, count), emit

    return intrinsic(turn_vectors)


_softplus, _tanh, _erf, _gelu = map(_vectors, (elementary.softplus, elementary.tanh, elementary.erf, elementary.gelu))


@compiled
def softplus(z, first, count):  # type: ignore[no-untyped-def]
    """phi' of `count` >= 1 vectors of z, from entry `first` on."""
    _softplus(z, first, count)


@compiled
def tanh(z, first, count):  # type: ignore[no-untyped-def]
    """The same for tanh."""
    _tanh(z, first, count)


@compiled
def erf(z, first, count):  # type: ignore[no-untyped-def]
    """The same for erf."""
    _erf(z, first, count)


@compiled
def gelu(z, first, count):  # type: ignore[no-untyped-def]
    """The same for gelu."""
    _gelu(z, first, count)


_COMPILED = {"softplus": softplus, "tanh": tanh, "erf": erf, "gelu": gelu}
