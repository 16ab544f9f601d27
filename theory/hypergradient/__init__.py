"""Hypergradients: how a validation loss changes with what training depends on (weights of examples, ridges, masks).

w*(phi) = argmin_w L_T(w, phi); the hypergradient is the derivative of L_V(w*(phi), phi),
d_phi L_V - (d_w L_V) [d2_ww L_T]^{-1} d2_{w phi} L_T. One call computes it in seven ways (`hypergradient`), for plain
functions of tensors and, by `Functional`, for torch modules. Cf. Raghu et al. (2021), Lorraine et al. (2020).

Example, the weight decay of ridge regression:
    >>> import torch
    >>> from theory.hypergradient import hypergradient
    >>> X, y = torch.eye(2, dtype=torch.float64), torch.tensor([2.0, 4.0], dtype=torch.float64)
    >>> def train(w, decay):
    ...     return (X @ w - y).square().sum() / 2 + decay / 2 * w.square().sum()
    >>> def valid(w, decay):
    ...     return (X @ w).sum()
    >>> decay = torch.tensor(1.0, dtype=torch.float64)
    >>> found = hypergradient(train, valid, y / 2, decay)     # w* = y/(1 + decay)
    >>> found.gradient, found.products
    (tensor(-1.5000, dtype=torch.float64), 1)
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from theory.hypergradient.door import METHODS, Hypergradient, Ignored, Unconverged, hypergradient
    from theory.hypergradient.modules import Functional, SquaredLoss
    from theory.hypergradient.solvers import Diverging, IndefiniteHessian

_HOMES = {name: "door" for name in ("METHODS", "Hypergradient", "Ignored", "Unconverged", "hypergradient")}
_HOMES |= {name: "modules" for name in ("Functional", "SquaredLoss")}
_HOMES |= {name: "solvers" for name in ("Diverging", "IndefiniteHessian")}

__all__ = [
    "METHODS",
    "Diverging",
    "Functional",
    "Hypergradient",
    "Ignored",
    "IndefiniteHessian",
    "SquaredLoss",
    "Unconverged",
    "hypergradient",
]


def __getattr__(name: str) -> Any:
    """All of it needs torch, and loads when it is first used."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"theory.hypergradient.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'theory.hypergradient' has no attribute {name!r}")
