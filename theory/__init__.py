"""theorycheck: the claims of machine-learning papers as objects that can be measured, and refuted.

The names below, and every module of the package, load when they are first used: `import theory` itself costs nothing.

Example:
    >>> import theory
    >>> data = theory.clusterable.generate(clusters=2, classes=2, dimension=5, size=10, radius=0.1, seed=0)
    >>> data.X.shape
    (10, 5)
"""

import importlib
from typing import Any

_HOMES = {
    "Claim": "claim",
    "Family": "claim",
    "find": "claim",
    "load": "claim",
    "load_table": "claim",
    "symbols": "claim",
    "Estimate": "estimate",
    "ClaimUndecided": "verdict",
    "ClaimViolated": "verdict",
    "Status": "verdict",
    "Verdict": "verdict",
    "Verdicts": "verdict",
    "InvalidInput": "checks",
}
_MODULES = (
    "activations",
    "arrays",
    "aum",
    "checks",
    "claim",
    "clusterable",
    "commentary",
    "contrastive",
    "convolutional",
    "covariance",
    "datasets",
    "decomposition",
    "derivatives",
    "descent",
    "early_stopping",
    "ensemble",
    "entropy",
    "estimate",
    "files",
    "gradients",
    "hypergradient",
    "importance",
    "interval",
    "kernels",
    "lab",
    "label_noise",
    "margin",
    "minibatch",
    "modalities",
    "networks",
    "operators",
    "outlier",
    "papers",
    "seeding",
    "sequences",
    "singular",
    "spectrum",
    "sphere",
    "strategies",
    "trajectory",
    "two_points",
    "verdict",
)

__all__ = [*sorted(_HOMES), *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"theory.{_HOMES[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"theory.{name}")
    raise AttributeError(f"module 'theory' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
