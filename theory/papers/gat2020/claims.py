"""What the claims of this room share: how they are written, and how several estimates become one sweep."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import sympy as sp

from theory.claim import Claim, symbols
from theory.entropy import Gaussian
from theory.entropy.evaluations import bregman
from theory.entropy.measure import Measure
from theory.estimate import Estimate

REFERENCE = "derived; cf. Gat et al. (2020)"
USED = "used by Gat et al. (2020)"

Ent, half, Var, energy, gaussian, mean = symbols("Ent half Var energy gaussian mean")

MEANINGS = {
    "Ent": "functional entropy E[f ln f] - E f ln E f [unit of f]",
    "half": "half the Fisher information, E[<S grad f, grad f>/f]/2 [unit of f]",
    "Var": "variance of f [squared unit of f]",
    "energy": "Dirichlet energy E<S grad f, grad f> [squared unit of f]",
    "gaussian": "1 if the measure is Gaussian, else 0 [1]",
    "mean": "E f [unit of f]",
}
NOTATION = {
    "Ent": r"\mathrm{Ent}(f)",
    "half": r"\frac{1}{2}I(f)",
    "Var": r"\mathrm{Var}(f)",
    "energy": r"E\langle S\nabla f,\nabla f\rangle",
    "gaussian": r"1_{\mathrm{Gaussian}}",
    "mean": r"E f",
}
GAUSSIAN = ("the measure is Gaussian", sp.Eq(gaussian, 1))


def stated(
    id: str,
    title: str,
    relation: Callable[[], Any],
    meanings: Mapping[str, str] | None = None,
    *,
    notation: Mapping[str, str] | None = None,
    reference: str = REFERENCE,
    **more: Any,
) -> Claim:
    """A claim of this room.

    Args:
        id: of the claim.
        title: one line.
        relation: makes the sympy relation; called without evaluation, so that it is printed as it stands there.
        meanings: of symbols beyond MEANINGS; those that the claim does not use are dropped.
        notation: likewise, beyond NOTATION.
        reference: the source.
        **more: of `Claim`.
    """
    with sp.evaluate(False):
        statement = relation()
    used = {
        symbol.name for one in (statement, *(c for _, c in more.get("hypotheses", ()))) for symbol in one.free_symbols
    }
    own = {name: words for name, words in {**MEANINGS, **(meanings or {})}.items() if name in used}
    written = {name: tex for name, tex in {**NOTATION, **(notation or {})}.items() if name in used}
    proof = f"paper_notes/gat2020.md#{id.split('.')[0].lower()}"
    return Claim(id, title, statement, own, reference=reference, proof=proof, notation=written, **more)


def together(estimates: Iterable[Estimate]) -> Estimate:
    """Scalar estimates of one kind as one array of them, a sweep."""
    several = list(estimates)
    method, size = several[0].method, several[0].size
    value = np.array([float(one.value) for one in several])
    if all(not one.random for one in several):
        ends = [np.array([float(one.parameters[end]) for one in several]) for end in ("low", "high")]
        return Estimate(value, "enclosure", {"low": ends[0], "high": ends[1]}, method)
    parameters = {name: np.array([float(one.parameters[name]) for one in several]) for name in ("error", "freedom")}
    return Estimate(value, "student", parameters, method, size)


def sweep(given: Any) -> list[Any]:
    """One object or a sequence of them, as a list."""
    return list(given) if isinstance(given, Sequence) else [given]


def flags(measures: Sequence[Measure]) -> Estimate:
    """1 for Gaussian measures, 0 for others."""
    return Estimate.exact(np.array([int(isinstance(one, Gaussian)) for one in measures], dtype=object))


def law_entropy(f: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Ent f under a finite law, and a bound on its rounding error."""
    average = float(f @ weights)
    delta = f / average - 1
    value = average * float(bregman(delta) @ weights)
    return value, 1e-14 * value + 8 * float(np.finfo(float).eps) * average * float(np.abs(delta) @ weights)
