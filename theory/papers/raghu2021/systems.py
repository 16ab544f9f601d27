"""Linear systems H p = v with what the claims on solvers need of them, and random ones."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from theory import arrays, checks
from theory.arrays import Array
from theory.estimate import Estimate

EPSILON = float(np.finfo(float).eps)


@dataclass(frozen=True, eq=False)
class System:
    """H p = v in the eigenbasis: what the claims need, measured without using them.

    Attributes:
        H: symmetric part, (p, p).
        v: (p,).
        values: eigenvalues, increasing.
        vectors: columns.
        x: H^{-1} v.
        asymmetry: ||H - H^T||_F / ||H||_F.
    """

    H: np.ndarray
    v: np.ndarray
    values: np.ndarray
    vectors: np.ndarray
    x: np.ndarray
    asymmetry: float

    @classmethod
    def of(cls, H: Array, v: Array) -> "System":
        """Raises InvalidInput: wrong shapes, NaN, a singular H."""
        (A, b), _ = arrays.tensors(H=H, v=v)
        matrix, vector = A.double().numpy(force=True), b.double().numpy(force=True)
        checks.matrix("H", matrix, columns=len(matrix))
        checks.vector("v", vector, length=len(matrix))
        if not np.any(vector):
            checks.fail("v", "a vector other than 0", "0", "there is nothing to solve")
        off = float(np.linalg.norm(matrix - matrix.T) / np.linalg.norm(matrix))
        values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
        if np.abs(values).min() <= len(matrix) * EPSILON * np.abs(values).max():
            checks.fail("H", "a regular matrix", f"an eigenvalue {np.abs(values).min():.3g}", "add a ridge")
        return cls(matrix, vector, values, vectors, np.linalg.solve(matrix, vector), off)

    @property
    def condition(self) -> float:
        """|lambda|_max / |lambda|_min."""
        return float(np.abs(self.values).max() / np.abs(self.values).min())

    def constants(self) -> dict[str, Any]:
        """mu, L and the asymmetry, with the eigensolver's error."""
        spread = 8 * len(self.v) * EPSILON * float(np.abs(self.values).max())
        return {
            "mu": Estimate.computed(self.values[0], error=spread),
            "L": Estimate.computed(self.values[-1], error=spread),
            "asymmetry": self.asymmetry,
        }

    def norms(self, vector: np.ndarray) -> tuple[float, float]:
        """||.||_2 and ||.||_H."""
        return float(np.linalg.norm(vector)), math.sqrt(max(0.0, float(vector @ self.H @ vector)))

    def errors(self, alpha: float, order: int) -> np.ndarray:
        """H^{-1}v - P_K v for K = 0..order, (order + 1, p): the series summed as an algorithm sums it."""
        growth(float(np.abs(1 - alpha * self.values).max()), order)
        term, total, found = self.v.copy(), self.v.copy(), []
        for step in range(order + 1):
            found.append(self.x - alpha * total)
            if step < order:
                term = term - alpha * (self.H @ term)
                total = total + term
        return np.array(found)

    def rounding(self, alpha: float, order: int) -> float:
        """By how much the 2-norm of a computed error may be off: the solve's rounding, and the sum's."""
        grown = growth(float(np.abs(1 - alpha * self.values).max()), order)
        summed = alpha * float(np.linalg.norm(self.v)) * (order + 1) * grown
        return 4 * EPSILON * (len(self.v) + order) * (self.condition * float(np.linalg.norm(self.x)) + summed)


def growth(factor: float, order: int) -> float:
    """max(1, factor)^(order + 1): by how much the terms of a series may grow.

    Raises:
        InvalidInput: beyond 1e100, squares would leave float range.
    """
    power = (order + 1) * math.log10(max(1.0, factor))
    if power > 100:
        checks.fail("(I - alpha H)^(K+1)", "norm up to 1e100", f"about 1e{power:.0f}", "lower alpha or the order")
    return max(1.0, factor) ** (order + 1)


def random_system(draw: np.random.Generator, condition: float | None = None, size: int | None = None) -> Any:
    """A symmetric positive definite H with log-uniform spectrum, exact extremes, and a v: (H, v, mu, L)."""
    p = int(draw.integers(3, 9)) if size is None else size
    kappa = float(10 ** draw.uniform(0.2, 4)) if condition is None else condition
    largest = float(10 ** draw.uniform(-2, 2))
    values = largest * kappa ** -np.sort(np.concatenate([[0, 1], draw.random(p - 2)]))
    Q = np.linalg.qr(draw.standard_normal((p, p)))[0]
    H = (Q * values) @ Q.T
    return (H + H.T) / 2, draw.standard_normal(p), float(values[-1]), float(values[0])
