"""The relations of C3, what separates the centres for a wide network: the only place where they are written.

lam is lambda(C), the least eigenvalue of the centres' neural covariance. Proofs: paper_notes/li2020.md, section C3.
"""

from typing import Any

import sympy as sp

from theory.claim import Claim, symbols
from theory.verdict import Status

_PROOF = "paper_notes/li2020.md#c3"

lam, nu, K, theta = symbols("lam nu K theta")
M1, M2, M3, exponent, order = symbols("M1 M2 M3 exponent order")
gap, pairs, span, flaw, least = symbols("gap pairs span flaw least")

_NOTATION = {
    "lam": r"\lambda",
    "nu": r"\nu",
    "theta": r"\theta",
    "M1": r"\mathbb{E}\phi'^2",
    "M2": r"\mathbb{E}\phi''^2",
    "M3": r"\mathbb{E}\phi'''^2",
    "least": r"\lambda_{\min}(K_C(W))",
}
_LAM = "lambda(C), least eigenvalue of the neural covariance of the centres [1]"
_NU = "least distance of two centres [1]"
_NU_LINES = "least of ||c_l - c_m|| and ||c_l + c_m|| over l != m [1]"
_RELU = ("phi is ReLU: phi' is the unit step", sp.Eq(flaw, 0))
_STEP = "largest |phi'(z) - 1[z > 0]| on a grid [1]"
_CLOSE = ("the centres are at most a right angle apart", sp.Le(nu**2, 2))
_MOMENTS = {"M1": "E phi'(g)^2 [1]", "M2": "E phi''(g)^2 [1]"}
# Both symmetries enter the least eigenvalue squared, so 1e-6 is below an identity's tolerance of 1e-10.
_NEGLIGIBLE = sp.Le(flaw, sp.Rational(1, 10**6))


def _derived(id: str, title: str, relation: Any, meanings: dict[str, str], **more: Any) -> Claim:
    common: dict[str, Any] = {"reference": "derived", "proof": _PROOF, "notation": _NOTATION}
    return Claim(f"C3.{id}", title, relation, meanings, **common, **more)


RELU_PAIR = _derived(
    "relu_pair",
    "two centres at an angle theta, ReLU: lambda(C) in closed form",
    sp.Eq(lam, (sp.pi - (sp.pi - theta) * sp.Abs(sp.cos(theta))) / (2 * sp.pi), evaluate=False),
    {"lam": _LAM, "theta": "angle between the two centres [rad]", "flaw": _STEP},
    kind="identity",
    hypotheses=(_RELU,),
)
RELU_LOWER = _derived(
    "relu_lower",
    "two centres at a distance nu, ReLU: lambda(C) is at least its limit nu/(2 pi)",
    sp.Ge(lam, nu / (2 * sp.pi), evaluate=False),
    {"lam": _LAM, "nu": _NU, "flaw": _STEP},
    hypotheses=(_RELU,),
)
RELU_UPPER = _derived(
    "relu_upper",
    "two centres at a small distance nu, ReLU: lambda(C) exceeds nu/(2 pi) by at most nu^2/4",
    sp.Le(lam, nu / (2 * sp.pi) + nu**2 / 4, evaluate=False),
    {"lam": _LAM, "nu": _NU, "flaw": _STEP},
    hypotheses=(_RELU, _CLOSE),
)
SMOOTH_UPPER = _derived(
    "smooth_upper",
    "two centres at a distance nu, smooth phi: lambda(C) is at most quadratic in nu",
    sp.Le(lam, (M1 + M2) * nu**2 / 2, evaluate=False),
    {"lam": _LAM, "nu": _NU, **_MOMENTS},
    hypotheses=(_CLOSE,),
)
SMOOTH_LOWER = _derived(
    "smooth_lower",
    "two centres at a distance nu, smooth phi: the quadratic term is right up to nu^4",
    sp.Ge(lam, (M1 + M2) * nu**2 / 2 - (2 * M2 + M3) * nu**4 / 8, evaluate=False),
    {"lam": _LAM, "nu": _NU, **_MOMENTS, "M3": "E phi'''(g)^2 [1]"},
    hypotheses=(_CLOSE,),
    vacuous=sp.Le((M1 + M2) * nu**2 / 2 - (2 * M2 + M3) * nu**4 / 8, 0),
)
PAIR_RATE = _derived(
    "rate",
    "lambda(C) of two centres at a distance nu -> 0 falls as nu with a kink in phi, as nu^2 without",
    sp.Eq(exponent, order, evaluate=False),
    {"exponent": "slope of log lambda(C) on log nu [1]", "order": "1 with a kink in phi, 2 without [1]"},
    kind="rate",
    tolerance=sp.Rational(1, 50),
)
ANTIPODAL_ODD = _derived(
    "antipodal_odd",
    "odd phi: two opposite centres make lambda(C) zero",
    sp.Eq(lam, 0, evaluate=False),
    {"lam": _LAM, "gap": "least ||c_l + c_m|| [1]", "flaw": "largest |phi'(z) - phi'(-z)| on a grid [1]"},
    kind="identity",
    hypotheses=(("two centres are opposite", sp.Eq(gap, 0)), ("phi is odd up to a constant, to 1e-6", _NEGLIGIBLE)),
)
_PAIRS = ("there are more opposite pairs than dimensions they span", sp.Gt(pairs, span))
_COUNTS = {"pairs": "number of opposite pairs of centres [1]", "span": "dimension of the span of the centres [1]"}
ANTIPODAL_PAIRS = _derived(
    "antipodal_pairs",
    "phi(z) - phi(-z) linear (ReLU, softplus, GELU): more opposite pairs than dimensions make lambda(C) zero",
    sp.Eq(lam, 0, evaluate=False),
    {"lam": _LAM, **_COUNTS, "flaw": "spread of phi'(z) + phi'(-z) on a grid [1]"},
    kind="identity",
    hypotheses=(_PAIRS, ("phi'(z) + phi'(-z) is constant, to 1e-6", _NEGLIGIBLE)),
)
SINGULAR = _derived(
    "singular",
    "phi(z) - phi(-z) linear: more opposite pairs than dimensions make K_C(W) singular for EVERY W",
    sp.Eq(least, 0, evaluate=False),
    {
        "least": "least eigenvalue of K_C(W) = J(W, C) J(W, C)^T [1]",
        **_COUNTS,
        "flaw": "spread of phi'(z) + phi'(-z) over the pre-activations z = <w_j, c_l> [1]",
    },
    kind="identity",
    hypotheses=(_PAIRS, ("phi'(z) + phi'(-z) is constant there, to 1e-6", _NEGLIGIBLE)),
)
REMARK = Claim(
    "C3.remark",
    "refuted: separated centres, ReLU, have lambda(C) >= nu/(100 K^2); a regular hexagon has 0",
    sp.Ge(lam, nu / (100 * K**2), evaluate=False),
    {"lam": _LAM, "nu": _NU, "K": "number of centres [1]", "flaw": _STEP},
    hypotheses=(_RELU,),
    reference="cf. Li, Soltanolkotabi & Oymak (2020), a remark as recalled",
    proof=_PROOF,
    expected=Status.VIOLATED,
    notation=_NOTATION,
)
_LINES = {"lam": _LAM, "nu": _NU_LINES, "K": "number of centres, at least 2 [1]", "flaw": _STEP}
_APART = ("no two centres are equal or opposite", sp.Gt(nu, 0))
REPAIRED = _derived(
    "repaired",
    "centres separated up to sign, ReLU: lambda(C) >= nu/(100 K^2), the remark repaired",
    sp.Ge(lam, nu / (100 * K**2), evaluate=False),
    _LINES,
    hypotheses=(_RELU, _APART),
)
SEPARATED = _derived(
    "separated",
    "centres separated up to sign, ReLU: lambda(C) is linear in nu and all but independent of K",
    sp.Ge(lam, nu / (4 * sp.pi ** sp.Rational(3, 2) * sp.sqrt(sp.log(2 * (K - 1)) + nu**2 / 2)), evaluate=False),
    _LINES,
    hypotheses=(_RELU, _APART),
)

MEMBERS = (
    RELU_PAIR,
    RELU_LOWER,
    RELU_UPPER,
    SMOOTH_UPPER,
    SMOOTH_LOWER,
    PAIR_RATE,
    ANTIPODAL_ODD,
    ANTIPODAL_PAIRS,
    SINGULAR,
    REMARK,
    REPAIRED,
    SEPARATED,
)
