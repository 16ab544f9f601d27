"""The run-time check behind jaxtyping's import hook: shapes and dtypes only.

Plain annotations (int, float, str) are left out: a public door answers a wrong one with its own error, and tests make
it do so.
"""

from collections.abc import Callable
from typing import Any, get_args

from beartype import beartype
from jaxtyping import AbstractArray


def check(function: Callable) -> Callable:
    """Check the annotations of `function` that state a shape; leave it alone if none does."""
    stated = {name: hint for name, hint in function.__annotations__.items() if states_shape(hint)}
    if not stated:
        return function
    function.__annotations__ = stated
    return beartype(function)


def states_shape(hint: Any) -> bool:
    """Whether `hint` is, or contains, a jaxtyping array."""
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return True
    return any(states_shape(part) for part in get_args(hint))
