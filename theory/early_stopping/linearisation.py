"""Linearised descent in closed form, and the window of steps in which stopping recovers every true label; claim C7."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from theory import arrays, checks, decomposition
from theory.arrays import Array


class Linearisation:
    """Linearised descent with one kernel, at any steps and from any start, from one eigendecomposition; claim C7.

    It is made when first needed; eigenvalues below the rounding floor n eps lambda_max count as 0. Results have the
    kind of the kernel.

    Args:
        K0: kernel J J^T at the start, (n, n).

    Raises:
        InvalidInput: wrong shape, NaN, K0 not symmetric; later, K0 not positive semidefinite.

    Example:
        >>> descent = Linearisation([[1.0, 0.0], [0.0, 3.0]])
        >>> descent.residuals([1.0, 1.0], 0.5, [0, 1, 2])
        array([[ 1.  ,  1.  ],
               [ 0.5 , -0.5 ],
               [ 0.25,  0.25]])
        >>> descent.distance([1.0, 0.0], 0.5, [0, 1, 2])
        array([0.  , 0.5 , 0.75])
    """

    def __init__(self, K0: Array):
        (self._kernel,), self._back = arrays.tensors(K0=K0)
        checks.matrix("K0", self._kernel)
        checks.matrix("K0", self._kernel, columns=len(self._kernel))
        self._rounding = len(self._kernel) * torch.finfo(self._kernel.dtype).eps
        asymmetry = float((self._kernel - self._kernel.T).abs().max())
        if asymmetry > 100 * self._rounding * float(self._kernel.abs().max()):
            checks.fail("K0", "a symmetric matrix", "an asymmetric one", "pass a kernel J J^T")

    @cached_property
    def eigen(self) -> tuple[Float[Tensor, " n"], Float[Tensor, "n n"]]:
        """Eigenvalues, increasing, (n,), and eigenvectors (n, n), in float64."""
        double = self._kernel.double()
        values, vectors = decomposition.eigenvectors((double + double.T) / 2)
        floor = self._rounding * float(values.abs().max())
        if float(values[0]) < -100 * floor:
            checks.fail("K0", "no negative eigenvalue", f"{float(values[0]):.3g}", "pass a kernel J J^T")
        return torch.where(values > floor, values, 0.0), vectors

    def residuals(self, r0: Array, step: float, taus: Array) -> Array:
        """(I - eta K0)^tau r0, (T, n); arguments and errors as for `linearised`."""
        [start] = self._columns(r0=r0)
        power, _ = self._powers(step, taus)
        return self._result(power * (self.eigen[1].T @ start) @ self.eigen[1].T)

    def errors(self, f0: Array, truth: Array, noise: Array, step: float, taus: Array) -> Array:
        """f_tau - truth, (T, n); arguments and errors as for `linearised_error`."""
        outputs, target, wrong = self._columns(f0=f0, truth=truth, noise=noise)
        power, complement = self._powers(step, taus)
        vectors = self.eigen[1]
        return self._result((power * (vectors.T @ (outputs - target)) + complement * (vectors.T @ wrong)) @ vectors.T)

    def distance(self, r0: Array, step: float, taus: Array) -> Array:
        """||W_tau - W_0||_F, (T,); arguments and errors as for `linearised_distance`."""
        [start] = self._columns(r0=r0)
        _, complement = self._powers(step, taus)
        values, vectors = self.eigen
        moved = complement * (vectors.T @ start) / torch.where(values > 0, values, math.inf).sqrt()
        return self._result(torch.linalg.vector_norm(moved, dim=1))

    def _columns(self, **named: Array) -> tuple[Tensor, ...]:
        (_, *columns), _ = arrays.tensors(K0=self._kernel, **named)
        for name, column in zip(named, columns, strict=True):
            checks.vector(name, column, length=len(self._kernel))
        return tuple(column.double() for column in columns)

    def _powers(self, step: float, taus: Array) -> tuple[Tensor, Tensor]:
        """(1 - x)^tau and 1 - (1 - x)^tau for x = step * values >= 0, (T, n): accurate for tiny x and x beyond 1."""
        step, steps = checks.number("step", step, low=0, open_low=True), _taus(taus)
        x = step * self.eigen[0]
        tau = torch.from_numpy(steps).to(x)[:, None]
        log_size = torch.where(x < 1, torch.log1p(-x), torch.log1p(x - 2))  # log|1 - x|
        exponent = torch.where(tau > 0, tau * log_size, 0.0)
        flipped = (x > 1) & (tau % 2 == 1)
        power = torch.where(flipped, -1.0, 1.0) * exponent.exp()
        return power, torch.where(flipped, 1 + exponent.exp(), -torch.expm1(exponent))

    def _result(self, result: Tensor) -> Array:
        return self._back(result.to(self._kernel.dtype))


def linearised(K0: Array, r0: Array, step: float, taus: Array) -> Array:
    """Residuals (I - eta K0)^tau r0 of linearised descent, claim C7; `Linearisation` answers more questions at once.

    Eigenvalues below the rounding floor n eps lambda_max count as 0.

    Args:
        K0: kernel J J^T at the start, (n, n).
        r0: residual f_0 - y at the start, (n,).
        step: eta > 0; beyond 2/lambda_max the result grows, as descent does.
        taus: numbers of steps, integers >= 0, (T,).

    Returns:
        (T, n), in the kind of K0.

    Raises:
        InvalidInput: wrong shapes, NaN, K0 not symmetric positive semidefinite, taus not whole.

    Example:
        >>> linearised([[1.0, 0.0], [0.0, 3.0]], [1.0, 1.0], 0.5, [0, 1, 2])
        array([[ 1.  ,  1.  ],
               [ 0.5 , -0.5 ],
               [ 0.25,  0.25]])
    """
    return Linearisation(K0).residuals(r0, step, taus)


def linearised_error(K0: Array, f0: Array, truth: Array, noise: Array, step: float, taus: Array) -> Array:
    """f_tau - truth = (I - eta K0)^tau (f_0 - truth) + [I - (I - eta K0)^tau] noise, claim C7.

    Args:
        K0: kernel at the start, (n, n).
        f0: outputs at the start, (n,).
        truth: true labels, (n,).
        noise: observed minus true labels, (n,).
        step: eta > 0.
        taus: numbers of steps, integers >= 0, (T,).

    Returns:
        (T, n), in the kind of K0. Errors as for `linearised`.

    Example:
        >>> linearised_error([[1.0]], [0.0], [1.0], [-2.0], 0.5, [0, 1, 2])
        array([[-1. ],
               [-1.5 ],
               [-1.75]])
    """
    return Linearisation(K0).errors(f0, truth, noise, step, taus)


def linearised_distance(K0: Array, r0: Array, step: float, taus: Array) -> Array:
    """||W_tau - W_0||_F of linearised descent, claim C7: the root of
    sum over lam_i > 0 of (1 - (1 - eta lam_i)^tau)^2 (u_i^T r0)^2 / lam_i, accurate for any small eta lam_i.

    Arguments and errors as for `linearised`; returns (T,).

    Example:
        >>> linearised_distance([[4.0]], [2.0], 0.125, [0, 1, 2])
        array([0.  , 0.5 , 0.75])
    """
    return Linearisation(K0).distance(r0, step, taus)


@dataclass(frozen=True, eq=False)
class Window:
    """The steps, among those given, at which every example is nearer its true label than delta/2.

    Attributes:
        taus: the steps given, increasing, (T,).
        inside: whether each is in the window, (T,).
    """

    taus: Int[np.ndarray, " T"]
    inside: Bool[np.ndarray, " T"]

    @property
    def first(self) -> int | None:
        """First step inside; None if there is none."""
        return int(self.taus[self.inside][0]) if self.inside.any() else None

    @property
    def last(self) -> int | None:
        """Last step inside; None if there is none."""
        return int(self.taus[self.inside][-1]) if self.inside.any() else None

    @property
    def is_interval(self) -> bool:
        """Whether no step between first and last, among those given, lies outside."""
        return int(np.diff(self.inside.astype(int), prepend=0).clip(min=0).sum()) <= 1


def stopping_window(errors: Array, taus: Array, delta: float) -> Window:
    """The steps with ||f_tau - truth||_inf < delta/2, which need not be an interval; claim C7.

    Args:
        errors: f_tau - truth (T, n), or their largest absolute values (T,).
        taus: the steps they belong to, (T,), increasing.
        delta: label separation, > 0.

    Raises:
        InvalidInput: wrong lengths, NaN, delta not positive.

    Example:
        >>> window = stopping_window([0.9, 0.2, 0.6, 0.3], [0, 10, 20, 30], 1.0)
        >>> window.first, window.last, window.is_interval
        (10, 30, False)
    """
    delta = checks.number("delta", delta, low=0, open_low=True)
    (error_values,), _ = arrays.tensors(errors=errors)
    largest = error_values.abs().reshape(len(error_values), -1).amax(dim=1).numpy(force=True)
    steps = _taus(taus)
    checks.vector("taus", steps, length=len(largest))
    if (np.diff(steps) <= 0).any():
        checks.fail("taus", "increasing steps", "another order", "sort them, and the errors with them")
    return Window(steps, largest < delta / 2)


def _taus(taus: Array) -> Int[np.ndarray, " T"]:
    (tensor,), _ = arrays.tensors(taus=taus)
    checks.vector("taus", tensor)
    if not bool(((tensor >= 0) & (tensor == tensor.round())).all()):
        checks.fail("taus", "whole numbers >= 0", "others", "count steps from 0")
    return tensor.numpy(force=True).astype(np.int64)
