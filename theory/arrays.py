"""One rule for arrays: results have the kind, device and floating dtype of the caller's first array.

The numerics are written once, in torch. A public door turns its arguments into tensors with `tensors` and its results
back with the function that `tensors` returns.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from theory import checks

Array = Any
"""A numpy array, a torch tensor, or nested lists of numbers; the docstring states its shape."""


def is_tensor(value: Any) -> bool:
    """Whether `value` is a torch tensor, decided without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def tensors(**named: Any) -> tuple[tuple[Any, ...], Callable[[Any], Any]]:
    """Turn the arguments of a public door into tensors of one dtype on one device.

    The first argument that is not None decides: a tensor keeps its kind, device and floating dtype, anything else
    counts as numpy (integers and lists as float64). `None` stays None.

    Results carry no gradients: the doors are for measuring.

    Args:
        **named: arrays by the name that errors should use, in the order of the door's signature.

    Returns:
        The tensors in that order, and `back`, which gives a result tensor the caller's kind (0-d tensors become Python
        floats for numpy callers).

    Raises:
        InvalidInput: tensors on different devices, entries that are not real numbers, half precision, NaN or infinity.

    Example:
        >>> (x, y), back = tensors(x=[1, 2], y=[3.0, 4.0])
        >>> back(x + y)
        array([4., 6.])
    """
    import torch

    present = {name: value for name, value in named.items() if value is not None}
    if not present:
        checks.fail("arrays", "at least one array", "none", "pass the data")
    first_name, first = next(iter(present.items()))
    found = {
        name: value.detach() if is_tensor(value) else torch.from_numpy(_as_numpy(name, value))
        for name, value in present.items()
    }
    lead = found[first_name]
    dtype = lead.dtype if lead.dtype.is_floating_point else torch.float64
    for name, tensor in found.items():
        if tensor.device != lead.device:
            wanted = f"everything on {lead.device}, where {first_name} is"
            checks.fail(name, wanted, f"a tensor on {tensor.device}", "move them to one device with .to()")
        if tensor.dtype.is_complex or (tensor.dtype.is_floating_point and tensor.dtype.itemsize < 4):
            checks.fail(name, "float32, float64 or integers", str(tensor.dtype), "convert it with .double()")
    converted = {name: tensor.to(dtype) for name, tensor in found.items()}
    for name, tensor in converted.items():
        checks.finite(name, tensor)

    def back(result: Any) -> Any:
        if is_tensor(first):
            return result
        result = result.detach().cpu()
        return result.item() if result.ndim == 0 else result.numpy()

    return tuple(converted.get(name) for name in named), back


def _as_numpy(name: str, value: Any) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError:
        checks.fail(name, "a rectangular array of numbers", "rows of different lengths", "pad or split it")
    if array.dtype.kind in "bui":
        return array.astype(np.float64)
    if array.dtype.kind != "f":
        checks.fail(name, "an array of real numbers", f"dtype {array.dtype}", "convert it to floats")
    if array.dtype not in (np.float16, np.float32, np.float64):  # torch knows no extended precision
        return array.astype(np.float64)
    # torch can share neither read-only memory nor reversed views; anything else is used in place
    return array if array.flags.writeable and min(array.strides, default=0) >= 0 else array.copy()
