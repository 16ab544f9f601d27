"""Commentaries: what a training set says beside its labels, learned so that training on it generalises.

Weights of examples, blends of pairs and masks of images (`ExampleWeights`, `Blends`, `Masks`) are small torch modules
for any training loop. Two algorithms learn them on a validation loss: `implicit`, by warm-started descent and implicit
hypergradients, and `unrolled`, by differentiating through a short training from the same start each time. Cf. Raghu et
al. (2021).

Example, two examples of which the second misleads:
    >>> import torch
    >>> from theory.commentary import ExampleWeights, implicit
    >>> targets = torch.tensor([1.0, -1.0])
    >>> def inner(w, weights):
    ...     return (weights() * (w - targets).square()).sum() / 2
    >>> def outer(w, weights):
    ...     return (w - 1).square().sum()
    >>> weights = ExampleWeights(2)
    >>> learned = implicit(inner, outer, torch.zeros(1), weights, rounds=200, inner_steps=5)
    >>> bool(weights()[0] > 0.9), bool(weights()[1] < 0.1)
    (True, True)
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from theory.commentary.modules import Blends, ExampleWeights, Masks, blend
    from theory.commentary.training import Learned, Round, implicit, unrolled

_HOMES = {name: "modules" for name in ("Blends", "ExampleWeights", "Masks", "blend")}
_HOMES |= {name: "training" for name in ("Learned", "Round", "implicit", "unrolled")}

__all__ = ["Blends", "ExampleWeights", "Learned", "Masks", "Round", "blend", "implicit", "unrolled"]


def __getattr__(name: str) -> Any:
    """All of it needs torch, and loads when it is first used."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"theory.commentary.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'theory.commentary' has no attribute {name!r}")
