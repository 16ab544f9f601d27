"""Both sides of H1 in rational arithmetic: by python-flint where it is installed, by Fractions otherwise."""

import importlib.util
from fractions import Fraction
from typing import Any, NoReturn

import numpy as np

from theory import checks

Matrix = Any


def sides(H: np.ndarray, alpha: Fraction, order: int, flint: bool | None = None) -> tuple[np.ndarray, np.ndarray]:
    """H^{-1} - P_K and (I - alpha H)^{K+1} H^{-1}, each (p, p) of Fractions; P_K term by term.

    Args:
        H: square, of ints or Fractions, regular.
        alpha: the step.
        order: K.
        flint: whether to use python-flint; by default where it is installed.

    Raises:
        InvalidInput: H is singular.
    """
    H = np.array([Fraction(int(x) if isinstance(x, np.integer) else x) for x in H.ravel()], dtype=object).reshape(
        H.shape
    )
    use = importlib.util.find_spec("flint") is not None if flint is None else flint
    return (_by_flint if use else _by_fractions)(H, alpha, order)


def _by_flint(H: np.ndarray, alpha: Fraction, order: int) -> tuple[np.ndarray, np.ndarray]:
    import flint

    size = len(H)

    def rational(x: Any) -> Any:
        return flint.fmpq(x.numerator, x.denominator)

    A = flint.fmpq_mat(size, size, [rational(entry) for entry in H.ravel()])
    if A.det() == 0:
        _singular()
    eye = flint.fmpq_mat(size, size, [int(i == j) for i in range(size) for j in range(size)])
    inverse, step, a = A.inv(), eye - A * rational(alpha), rational(alpha)
    term, total = eye * a, eye * a
    for _ in range(order):
        term = term * step
        total = total + term
    power = eye
    for _ in range(order + 1):
        power = power * step

    def back(M: Any) -> np.ndarray:
        entries = [Fraction(int(entry.p), int(entry.q)) for entry in M.entries()]
        return np.array(entries, dtype=object).reshape(size, size)

    return back(inverse - total), back(power * inverse)


def _by_fractions(H: np.ndarray, alpha: Fraction, order: int) -> tuple[np.ndarray, np.ndarray]:
    eye = np.array([[Fraction(int(i == j)) for j in range(len(H))] for i in range(len(H))], dtype=object)
    inverse, step = _inverse(H), eye - alpha * H
    term, total = alpha * eye, alpha * eye
    for _ in range(order):
        term = term @ step
        total = total + term
    power = eye
    for _ in range(order + 1):
        power = power @ step
    return inverse - total, power @ inverse


def _inverse(A: np.ndarray) -> np.ndarray:
    """Gauss & Jordan."""
    size = len(A)
    eye = np.array([[Fraction(int(i == j)) for j in range(size)] for i in range(size)], dtype=object)
    work = np.concatenate([A, eye], axis=1)
    for column in range(size):
        pivot = next((row for row in range(column, size) if work[row, column] != 0), None)
        if pivot is None:
            _singular()
        work[[column, pivot]] = work[[pivot, column]]
        work[column] = work[column] / work[column, column]
        for row in range(size):
            if row != column:
                work[row] = work[row] - work[row, column] * work[column]
    return work[:, size:]


def _singular() -> NoReturn:
    checks.fail("H", "a regular matrix", "a singular one", "H1 needs an inverse")
