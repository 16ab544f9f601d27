"""Functional entropy, Fisher information and the inequalities between them, for a function under a measure.

Ent(f) = E[f ln f] - E[f] ln E[f] of a function f >= 0 says how much f varies. Under N(m, S) it is at most half the
Fisher information E[<S grad f, grad f>/f] (log-Sobolev), as Var f is at most E<S grad f, grad f> (Poincare); under a
product measure it is at most the sum of the coordinates' expected entropies (tensorization), as Var f is
(Efron-Stein). Here both sides are measured, with intervals. Cf. Gat et al. (2020).

    >>> import numpy as np
    >>> plane = Gaussian(mean=[0.0, 0.0], covariance=[[1.0, 0.5], [0.5, 1.0]])
    >>> f = lambda x: np.exp(x.sum(axis=1) / 2)
    >>> entropy(f, plane, order=32)                                 # by quadrature
    Estimate(0.545622 [0.545622, 0.545622], Gauss-Hermite quadrature, 32 nodes per direction, size=0)
    >>> low, high = entropy(f, plane, draws=100_000).interval(0.99)     # by draws
    >>> bool(low < 0.545622 < high)
    True
    >>> bound = log_sobolev_bound(f, plane, order=32, gradient=lambda x: f(x)[:, None] * [0.5, 0.5])
    >>> print(f"{bound.value:.6f}")                  # equality: f is the exponential of a linear function
    0.545622

`evaluate` keeps the evaluations of f, so that several functionals come from the same points. `closed_forms` derives
expectations by sympy. `FunctionalEntropyRegulariser` puts the modalities' information into a training loop.
"""

import importlib
from typing import Any

from theory.entropy.evaluations import Evaluations
from theory.entropy.functionals import (
    entropy,
    evaluate,
    fisher_information,
    log_sobolev_bound,
    poincare_bound,
    variance,
)
from theory.entropy.measure import Gaussian, Sampler
from theory.entropy.tensorization import Terms, efron_stein, tensorization

_LATER = {"FunctionalEntropyRegulariser": "regulariser"}
_MODULES = ("closed_forms",)

__all__ = [
    "Evaluations",
    "FunctionalEntropyRegulariser",
    "Gaussian",
    "Sampler",
    "Terms",
    "efron_stein",
    "entropy",
    "evaluate",
    "fisher_information",
    "log_sobolev_bound",
    "poincare_bound",
    "tensorization",
    "variance",
]


def __getattr__(name: str) -> Any:
    """What needs torch loads when it is first used."""
    if name in _LATER:
        return getattr(importlib.import_module(f"theory.entropy.{_LATER[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"theory.entropy.{name}")
    raise AttributeError(f"module 'theory.entropy' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, *_MODULES])
