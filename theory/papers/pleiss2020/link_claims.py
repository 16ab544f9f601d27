"""The relations of A5, the link between early stopping and AUM: the only place where they are written.

Labels are -1 and +1 (delta = 2), one output f read as the logits (-f, f), epochs logged after their step. The window is
the set of steps at which every output is within 1 of its true label. Proofs: paper_notes/pleiss2020.md, A5.
"""

from typing import Any

import sympy as sp

from theory.claim import Claim, symbols

MEANINGS = {
    "E": "largest |f_t - truth| of the network at step t [label]",
    "e": "the same by linearised descent with a kernel [label]",
    "gap": "largest |f_t - linearised f_t| over the examples at that step [label]",
    "N": "AUC of the network's AUM after T epochs: P(mislabeled below clean), ties half, exact [1]",
    "P": "the same of the linearised AUM [1]",
    "close": "share of (mislabeled, clean) pairs whose linearised AUMs differ by at most 2 max|AUM - linearised AUM|",
    "inside": "number of the steps 1 ... T at which every output is within 1 of its true label",
    "T": "number of epochs",
    "D": "T (1 - AUM/2) of an example under kernel descent [1]",
    "L": "its limit y_i [((eta K)^-1 - I) y]_i [1]",
    "n": "number of examples",
    "eta": "step size [1/kernel]",
    "lam": "least eigenvalue of the kernel [kernel]",
    "top": "largest eigenvalue of the kernel [kernel]",
    "q": "exponent, in the width k, of the largest |AUM - linearised AUM| [1]",
}
NOTATION = {"eta": r"\eta", "lam": r"\lambda_{\min}", "top": r"\lambda_{\max}"}
NOTATION |= {name: rf"\mathrm{{{name}}}" for name in ("gap", "close", "inside")}
E, e, gap, N, P, close, inside, T, D, L, n, eta, lam, top, q = symbols(" ".join(MEANINGS))


def _claim(id: str, title: str, relation: Any, **more: Any) -> Claim:
    hypotheses = more.get("hypotheses", ())
    used = {symbol.name for part in (relation, *(h for _, h in hypotheses)) for symbol in part.free_symbols}
    return Claim(
        f"A5.{id}",
        title,
        relation,
        {name: text for name, text in MEANINGS.items() if name in used},
        notation={name: text for name, text in NOTATION.items() if name in used},
        reference="derived; cf. Pleiss et al. (2020) and Li, Soltanolkotabi & Oymak (2020)",
        proof="paper_notes/pleiss2020.md#a5",
        **more,
    )


WINDOW = _claim(
    "window",
    "the network's error to the true labels is the kernel's, within the gap of their outputs",
    sp.Le(sp.Abs(E - e, evaluate=False), gap, evaluate=False),
)
AUC = _claim(
    "auc",
    "the network's AUC is the kernel's, within the share of pairs that the kernel leaves close",
    sp.Le(sp.Abs(N - P, evaluate=False), close, evaluate=False),
)
SEPARATES = _claim(
    "separates",
    "as long as every epoch lies in the stopping window, AUM separates all wrong labels from all right ones",
    sp.Ge(N, 1, evaluate=False),
    hypotheses=(("every step up to T is in the window", sp.Ge(inside, T, evaluate=False)),),
)
LIMIT = _claim(
    "limit",
    "trained on and on, AUM differs from its end by y_i [K^-1 y]_i/(eta T): a leave-one-out error ranks the labels",
    sp.Le(sp.Abs(D - L, evaluate=False), sp.sqrt(n) * (1 - eta * lam) ** (T + 1) / (eta * lam), evaluate=False),
    hypotheses=(
        ("the kernel is definite: lambda_min > 0", sp.Gt(lam, 0)),
        ("0 < eta <= 1/lambda_max", sp.Le(eta * top, 1, evaluate=False)),
        ("eta > 0", sp.Gt(eta, 0)),
    ),
)


# the bands reach half way to the next exponent that a gap could have
def _rate(id: str, title: str, exponent: Any) -> Claim:
    tolerance = sp.Rational(1, 4)
    return _claim(id, title, sp.Eq(q, exponent, evaluate=False), kind="rate", tolerance=tolerance)


WIDTH = _rate("width", "with the kernel at W0 the prediction of AUM errs by order 1/k (paired start)", -1)
WIDTH_LIMIT = _rate("width_limit", "with the infinitely wide kernel it errs by order 1/sqrt(k)", -sp.Rational(1, 2))
