"""The relations of C7, linearised dynamics: the only place where they are written.

K0 = J0 J0^T is the kernel at W0, (lam, u) an eigenpair of it, eta the step size. Proofs: paper_notes/li2020.md, C7.
"""

from typing import Any

import sympy as sp

from theory.claim import Claim, symbols

WORDS = {
    "r": "component of the residual f_tau - y of the linear model along an eigenvector u of K0 [label]",
    "r0": "the same at W0 [label]",
    "g": "component of the error f_tau - truth of the linear model along u [label]",
    "g0": "the same at W0 [label]",
    "q": "component of the noise y - truth along u [label]",
    "eta": "step size [1/kernel]",
    "lam": "eigenvalue of K0 that belongs to u [kernel]",
    "tau": "number of steps",
    "D": "||W_tau - W0||_F of the linear model [1]",
    "S": "root of the sum over lam > 0 of (1 - (1 - eta lam)^tau)^2 r0^2 / lam, by early_stopping.linearised_distance",
    "E": "|f(W, x) - f(W0, x) - J(W0, x) (W - W0)| [label]",
    "G2": "Gamma2 = sup|phi''| [1]",
    "vm": "||v||_inf, output weights [1]",
    "m": "||(W - W0) x|| [input]",
    "p": "exponent, in the width k, of the largest ||f_tau - linearised f_tau|| over the run [1]",
    "a": "exponent, in 1/eps0, of the last step in the window [1]",
}
NOTATION = {"eta": r"\eta", "lam": r"\lambda", "tau": r"\tau", "G2": r"\Gamma_2", "vm": r"\|v\|_\infty", "r0": "r_0"}
NOTATION |= {"m": r"\|(W - W_0) x\|", "g0": "g_0"}
r, r0, g, g0, q, eta, lam, tau, D, S, E, G2, vm, m, p, a = symbols(" ".join(WORDS))


def _claim(id: str, title: str, relation: Any, **rest: Any) -> Claim:
    used = {symbol.name for symbol in relation.free_symbols}
    return Claim(
        f"C7.{id}",
        title,
        relation,
        {name: text for name, text in WORDS.items() if name in used},
        notation={name: text for name, text in NOTATION.items() if name in used},
        reference="derived; cf. Li, Soltanolkotabi & Oymak (2020)",
        proof="paper_notes/li2020.md#c7",
        **rest,
    )


RESIDUAL = _claim(
    "residual",
    "the linear model's residual decays by 1 - eta lambda per step along each eigenvector",
    sp.Eq(r, (1 - eta * lam) ** tau * r0),
    kind="identity",
)
ERROR = _claim(
    "error",
    "its error to the true labels: the start is forgotten at the rate at which the noise is learnt",
    sp.Eq(g, (1 - eta * lam) ** tau * g0 + (1 - (1 - eta * lam) ** tau) * q),
    kind="identity",
)
DISTANCE = _claim("distance", "the distance that it travels, in closed form", sp.Eq(D, S), kind="identity")
FINITE_WIDTH = _claim(
    "finite_width",
    "a network differs from its linearisation by its curvature",
    sp.Le(E, G2 * vm * m**2 / 2, evaluate=False),
    hypotheses=(("phi'' is bounded: 1/Gamma2 > 0", sp.Gt(1 / G2, 0)),),
    vacuous=sp.Eq(m, 0),
)
WINDOW = _claim(
    "window",
    "the last step at which all labels are recovered grows as eps0^-2",
    sp.Eq(a, 2),
    kind="rate",
    tolerance=sp.Rational(1, 10),
)


# the band reaches half way to the next exponent that a gap could have
def _gap(id: str, title: str, exponent: Any) -> Claim:
    return _claim(f"gap_{id}", title, sp.Eq(p, exponent), kind="rate", tolerance=sp.Rational(1, 4))


HALF = sp.Rational(1, 2)
GAPS = {
    "balanced": _gap("balanced", "half + and half - output weights: gap of order 1/k", -1),
    "paired": _gap("paired", "paired initialisation: gap of order 1/k", -1),
    "random": _gap("random", "random signs of the output weights: gap of order 1/k", -1),
    "ones_centred": _gap("ones_centred", "control: all +, phi not odd, training f - f0: only 1/sqrt(k)", -HALF),
    "ones": _gap("ones", "control: all +, phi not odd, f0 of size sqrt(k): the gap grows as sqrt(k)", HALF),
    "ones_odd": _gap("ones_odd", "control: all +, phi odd: 1/k again", -1),
}
