"""The relations of C6, overfitting must travel: the only place where they are written.

D is the distance that weights W have travelled from W0. Proofs: paper_notes/li2020.md, section C6.
"""

from collections.abc import Mapping
from typing import Any

import sympy as sp

from theory.claim import Claim, symbols
from theory.verdict import Status

NETWORK = {
    "G1": "Gamma1 = sup|phi'| [1]",
    "G2": "Gamma2 = sup|phi''| [1]",
    "v2": "||v||_2, output weights [1]",
    "vm": "||v||_inf, output weights [1]",
}
PAIR = NETWORK | {
    "D": "||W - W0||_op, so the bound holds for the Frobenius norm too [1]",
    "N": "||W||_op [1]",
    "y": "f(W, x2) - f(W, x1) [label]",
    "c": "change of that gap: [f(W, x2) - f(W, x1)] - [f(W0, x2) - f(W0, x1)] [label]",
    "z": "||x2 - x1|| [input]",
    "w": "||W0 u||, u = (x2 - x1)/||x2 - x1|| [1]",
    "r1": "||x1|| [input]",
    "r2": "||x2|| [input]",
}
SUBSPACE = NETWORK | {
    "D": "||W - W0||_F [1]",
    "b": "||P (f(W, X) - f(W0, X))||_2, P an orthogonal projector [label]",
    "e": "||P J(W0)||_op [input]",
    "X": "||X||_op of the inputs [input]",
    "r1": "largest norm of an input [input]",
}
PAIRS = NETWORK | {
    "D": "||W - W0||_F [1]",
    "N": "||W||_F [1]",
    "s": "number of pairs (x_i, x_i')",
    "delta": "min_i |f(W, x_i') - f(W, x_i)| [label]",
    "b": "norm over the pairs of the changes of the gap f(., x_i') - f(., x_i) from W0 to W [label]",
    "Z": "||Z||_op of the differences z_i = x_i' - x_i [input]",
    "z": "max_i ||z_i|| [input]",
    "w": "max_i ||W0 z_i|| [input]",
    "X1": "||X1||_op of the first members x_i [input]",
    "X2": "||X2||_op of the second members x_i' [input]",
    "r1": "max_i ||x_i|| [input]",
}
FITS = {
    "p": "exponent of ||W - W0||_F in 1/eps0 over two-point fits [1]",
    "bend": "largest Gamma2 ||v||_inf D / 2 over Gamma1 ||v||_2, among these fits [1]",
    "ratio": "median over initialisations of the least bound / ||W - W0||_F over eps0 [1]",
}
NOTATION = {"G1": r"\Gamma_1", "G2": r"\Gamma_2", "v2": r"\|v\|_2", "vm": r"\|v\|_\infty", "delta": r"\delta"}
NOTATION |= {"X": r"\|X\|", "Z": r"\|Z\|", "X1": r"\|X_1\|", "X2": r"\|X_2\|", "z": r"\|z\|"}

D, N, y, c, z, w, G1, G2, v2, vm, r1, r2, b, e, X, Z, X1, X2, s, delta, p, ratio, bend = symbols(
    "D N y c z w G1 G2 v2 vm r1 r2 b e X Z X1 X2 s delta p ratio bend"
)
SMOOTH = (("phi'' is bounded: 1/Gamma2 > 0", sp.Gt(1 / G2, 0)),)


def _claim(id: str, title: str, relation: Any, words: Mapping[str, str], **rest: Any) -> Claim:
    statements = [relation, *(condition for _, condition in rest.get("hypotheses", ()))]
    used = {symbol.name for statement in statements for symbol in statement.free_symbols}
    return Claim(
        f"C6.{id}",
        title,
        relation,
        {name: text for name, text in words.items() if name in used},
        notation={name: text for name, text in NOTATION.items() if name in used},
        proof="paper_notes/li2020.md#c6",
        **({"reference": "derived; cf. Li, Soltanolkotabi & Oymak (2020)"} | rest),
    )


def _root(A: Any, B: Any, target: Any) -> Any:
    """The D >= 0 with A D^2 + B D = target, in the form that does not cancel."""
    return 2 * target / (B + sp.sqrt(B**2 + 4 * A * target))


QUADRATIC = _claim(
    "quadratic",
    "telling two inputs apart costs distance",
    sp.Ge(D, _root(G2 * vm * r1 / 2, G1 * v2 + G2 * vm * r1 * w, sp.Abs(c) / z), evaluate=False),
    PAIR,
    hypotheses=SMOOTH,
    vacuous=sp.Eq(c, 0),
)
LINEAR = _claim(
    "linear",
    "the same with no quadratic term: integrated from x1 to x2, not from W0 to W",
    sp.Ge(D, (sp.Abs(c) / z) / (G1 * v2 + G2 * vm * w * (r1 + r2) / 2), evaluate=False),
    PAIR,
    hypotheses=SMOOTH,
    vacuous=sp.Eq(c, 0),
)
SLOPE = _claim(
    "slope",
    "the slope that W needs, less what W0 has; any activation with bounded slope",
    sp.Ge(D, sp.Abs(y) / (G1 * v2 * z) - w, evaluate=False),
    PAIR,
    vacuous=sp.Le(sp.Abs(y) / (G1 * v2 * z), w),
)
NORM = _claim(
    "norm",
    "weights that tell close inputs apart are large",
    sp.Ge(N, sp.Abs(y) / (G1 * v2 * z), evaluate=False),
    PAIR,
    vacuous=sp.Eq(y, 0),
)
PROJECTOR = _claim(
    "projector",
    "moving the outputs where the Jacobian is weak costs distance",
    sp.Ge(D, _root(G2 * vm * X * r1 / 2, e, b), evaluate=False),
    SUBSPACE,
    hypotheses=SMOOTH,
    vacuous=sp.Eq(b, 0),
)
SPREAD = _claim(
    "pairs",
    "s pairs with spread differences need weights sqrt(s) times larger",
    sp.Ge(N, sp.sqrt(s) * delta / (G1 * v2 * Z), evaluate=False),
    PAIRS,
    vacuous=sp.Eq(delta, 0),
)
PAIRS_DISTANCE = _claim(
    "pairs_distance",
    "telling s pairs apart at once costs distance",
    sp.Ge(D, _root(G2 * vm * Z * r1 / 2, G1 * v2 * Z + G2 * vm * w * X1, b), evaluate=False),
    PAIRS,
    hypotheses=SMOOTH,
    vacuous=sp.Eq(b, 0),
)
PAIRS_LINEAR = _claim(
    "pairs_linear",
    "the same with no quadratic term",
    sp.Ge(D, b / (G1 * v2 * Z + G2 * vm * w * (X1 + X2) / 2), evaluate=False),
    PAIRS,
    hypotheses=SMOOTH,
    vacuous=sp.Eq(b, 0),
)
PARALLEL = _claim(
    "parallel",
    "refuted: s >= 2 pairs with parallel differences need weights sqrt(s) times larger",
    sp.Ge(N, sp.sqrt(s) * delta / (G1 * v2 * z), evaluate=False),
    PAIRS,
    hypotheses=(("at least two pairs", sp.Ge(s, 2)),),
    expected=Status.VIOLATED,
)
RATE = _claim(
    "rate",
    "the distance of two-point fits grows as 1/eps0 while Gamma2 ||v||_inf D / 2 < Gamma1 ||v||_2 / 10",
    # 1 in the limit; in that range the root of C6.quadratic has an exponent between 11/12 and 1, so the band is lower
    sp.Eq(p, sp.Rational(39, 40)),
    FITS,
    kind="rate",
    tolerance=sp.Rational(3, 40),
)
TIGHTNESS = _claim(
    "tightness",
    "the bound C6.quadratic is at least 3/10 of the distance of two-point fits",
    sp.Ge(ratio, sp.Rational(3, 10)),
    FITS,
    hypotheses=(("the quadratic term is no larger than the linear one", sp.Le(bend, 1, evaluate=False)),),
    reference="measured",
)

OF_A_PAIR = (QUADRATIC, LINEAR, SLOPE, NORM)
OF_A_SUBSPACE = (PROJECTOR,)
OF_PAIRS = (SPREAD, PAIRS_DISTANCE, PAIRS_LINEAR)
