"""Argument checks: one exception class and one message shape, "what: expected ..., got ...; remedy".

Every public function validates its arguments here before it does any long work, so that a bad call costs nothing.
Nothing in this room imports torch: tensors are recognised by what they can do.
"""

import math
import numbers
from collections.abc import Iterable
from typing import Any, NoReturn

import numpy as np


class InvalidInput(ValueError):
    """An argument that the mathematics or the method cannot accept. The message names the remedy."""


def fail(what: str, expected: str, got: Any, remedy: str) -> NoReturn:
    """Raise `InvalidInput` with the house's message shape.

    Example:
        >>> fail("noise rate", "a number in [0, 1]", 1.5, "give a fraction of the labels")
        Traceback (most recent call last):
        ...
        theory.checks.InvalidInput: noise rate: expected a number in [0, 1], got 1.5; give a fraction of the labels
    """
    raise InvalidInput(f"{what}: expected {expected}, got {got}; {remedy}")


def integer(name: str, value: Any, minimum: int | None = None, maximum: int | None = None) -> int:
    """Return `value` as an int within [minimum, maximum]; refuse bools, fractions and NaN.

    Raises:
        InvalidInput: not a whole number, or out of range.
    """
    bounds = _range_in_words(minimum, maximum)
    if getattr(value, "ndim", None) == 0:
        value = value.item()
    whole = _is_real(value) and float(value).is_integer()
    if not whole:
        fail(name, f"an integer{bounds}", repr(value), "give a whole number")
    if (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
        fail(name, f"an integer{bounds}", value, "choose a value in that range")
    return int(value)


def even(name: str, value: Any, minimum: int = 2) -> int:
    """Return `value` as an even int, >= minimum.

    Raises:
        InvalidInput: not a whole number, too small, or odd.
    """
    value = integer(name, value, minimum)
    if value % 2:
        fail(name, "an even number", value, f"use {value + 1}: a paired or balanced network has two equal halves")
    return value


def number(
    name: str,
    value: Any,
    low: float | None = None,
    high: float | None = None,
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    """Return `value` as a finite float within [low, high], without the ends that are called open.

    Raises:
        InvalidInput: not a finite real number, or out of range.
    """
    bounds = _range_in_words(low, high, open_low, open_high)
    if getattr(value, "ndim", None) == 0:
        value = value.item()
    if not _is_real(value) or not math.isfinite(value):
        fail(name, f"a finite number{bounds}", repr(value), "give one real number")
    below = low is not None and (value <= low if open_low else value < low)
    above = high is not None and (value >= high if open_high else value > high)
    if below or above:
        fail(name, f"a number{bounds}", value, "choose a value in that range")
    return float(value)


def choice(name: str, value: Any, options: Iterable[str]) -> str:
    """Return `value` if it is one of `options`.

    Raises:
        InvalidInput: any other value; the message lists the options.
    """
    options = tuple(options)
    if value not in options:
        fail(name, "one of " + ", ".join(options), repr(value), "choose one of these")
    return str(value)


def finite(name: str, array: Any) -> None:
    """Refuse an array or tensor (any shape) that holds NaN or infinity, and say how many entries do.

    Raises:
        InvalidInput: some entry is not finite.
    """
    finite_entries = np.isfinite(array) if isinstance(array, np.ndarray) else array.isfinite()
    bad = int((~finite_entries).sum())
    if bad:
        fail(name, "finite entries", f"{bad} NaN or infinite", "remove or impute them first")


def matrix(name: str, array: Any, rows: int | None = None, columns: int | None = None) -> None:
    """Refuse anything but a non-empty two-dimensional array or tensor of the given shape (None: any size).

    Raises:
        InvalidInput: wrong number of dimensions, wrong size, or no entries.
    """
    wanted = f"shape ({rows or 'any'}, {columns or 'any'}), not empty"
    shape = tuple(array.shape)
    fits = len(shape) == 2 and 0 not in shape and rows in (None, shape[0]) and columns in (None, shape[1])
    if not fits:
        fail(name, wanted, f"shape {shape}", "one row per example, one column per coordinate")


def vector(name: str, array: Any, length: int | None = None) -> None:
    """Refuse anything but a non-empty one-dimensional array or tensor of the given length (None: any).

    Raises:
        InvalidInput: wrong number of dimensions, wrong length, or no entries.
    """
    shape = tuple(array.shape)
    if len(shape) != 1 or shape[0] == 0 or length not in (None, shape[0]):
        wanted = f"shape ({'any' if length is None else length},), not empty"
        fail(name, wanted, f"shape {shape}", "one entry per example")


def _is_real(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, numbers.Real)


def _range_in_words(low: float | None, high: float | None, open_low: bool = False, open_high: bool = False) -> str:
    if low is not None and high is not None:
        return f" in {'(' if open_low else '['}{low}, {high}{')' if open_high else ']'}"
    if low is not None:
        return f" {'>' if open_low else '>='} {low}"
    return f" {'<' if open_high else '<='} {high}" if high is not None else ""
