"""What the relations of H1 to H10 share: symbols with their meanings and LaTeX, and how a claim is made of them."""

from collections.abc import Callable
from typing import Any

import sympy as sp

from theory.claim import Claim, symbols

REFERENCE = "derived; cf. Lorraine et al. (2020), Raghu et al. (2021)"
MEANINGS = {
    "alpha": "step of the series [1/curvature]",
    "mu": "least eigenvalue of H [curvature]",
    "L": "largest eigenvalue of H [curvature]",
    "kappa": "condition number L/mu [1]",
    "K": "order: the series has K+1 terms and costs K products",
    "asymmetry": "||H - H^T||_F over ||H||_F [1]",
    "size": "norm of H^{-1}v",
    "error": "norm of H^{-1}v - P_K v",
    "stationarity": "||grad_w L_T|| at w",
}
NOTATION = {
    "alpha": r"\alpha",
    "mu": r"\mu",
    "kappa": r"\kappa",
    "rest": r"[(I-\alpha H)^{K+1}H^{-1}]_{ij}",
    "gap": "[H^{-1}-P_K]_{ij}",
    "size": r"\|H^{-1}v\|",
    "error": r"\|e_K\|",
    "ratio": r"\|e_{K+1}\|/\|e_K\|",
    "later": r"\|e_{K+2}\|/\|e_{K+1}\|",
    "share": r"|\langle u_L,v\rangle|",
    "outside": r"\mathrm{outside}",
    "distance": r"\|w-w^*\|",
    "slope": r"\|\nabla_w L_T\|",
    "Lv": "L_V",
    "moved": r"\|g(w)-g(w^*)\|",
    "cosine": r"\cos",
    "least_cosine": r"\cos",
}
_SYMBOLS: dict[str, sp.Symbol] = {}


def symbol(name: str) -> Any:
    """The one real symbol of that name."""
    return _SYMBOLS.setdefault(name, symbols(name))


alpha, mu, L, kappa, K = (symbol(name) for name in ("alpha", "mu", "L", "kappa", "K"))
asymmetry, size, error, stationarity = (symbol(name) for name in ("asymmetry", "size", "error", "stationarity"))

SYMMETRIC = ("H is symmetric", sp.Le(asymmetry, sp.Rational(1, 10**12)))
POSITIVE = ("H is positive definite: mu > 0", sp.Gt(mu, 0))
DEFINITE = (SYMMETRIC, POSITIVE)
STEPS = ("alpha > 0", sp.Gt(alpha, 0))
SHORT = ("alpha < 2/L", sp.Lt(alpha * L, 2, evaluate=False))


def derived(
    id: str, title: str, relation: Callable[[], Any], meanings: dict[str, str] | None = None, **more: Any
) -> Claim:
    """A claim of this room: its relation is made without evaluation, and is printed as it stands there.

    Args:
        id: "H2.bound".
        title: one line.
        relation: makes the sympy relation.
        meanings: of symbols that `MEANINGS` lacks.
        **more: of `Claim`.
    """
    with sp.evaluate(False):
        statement = relation()
    conditions = [condition for _, condition in more.get("hypotheses", ())]
    used = {one.name for part in (statement, *conditions) for one in part.free_symbols}
    words = {**MEANINGS, **(meanings or {})}
    proof = f"paper_notes/raghu2021.md#{id.split('.')[0].lower()}"
    notation = {name: text for name, text in NOTATION.items() if name in used}
    options = {"reference": REFERENCE, "proof": proof, "notation": notation, **more}
    return Claim(id, title, statement, {name: text for name, text in words.items() if name in used}, **options)
