"""The relations of C1 and C2, perfect clusters: the only place where they are written.

All inputs of a cluster coincide; S+ holds the vectors that are constant on clusters, Pi_+ and Pi_- project on it and
off it. Proofs: paper_notes/li2020.md, sections C1 and C2.
"""

from collections.abc import Sequence
from typing import Any

import sympy as sp

from theory.claim import Claim, symbols

MEANINGS = {
    "eps0": "largest distance of an input to the first one of its cluster [input]",
    "rank": "eigenvalues of J J^T above 1e-10 of the largest [1]",
    "K": "number of clusters [1]",
    "most": "min(n, number of weights), the rank that J could have [1]",
    "s2": "squared singular values of J, the K largest [input^2]",
    "m2": "eigenvalues of D^(1/2) K_C(W) D^(1/2), D = diag(n_l), K_C = J(W, C) J(W, C)^T [input^2]",
    "off": "||Pi_- r_tau + Pi_- y||_inf [label]",
    "gap": "largest difference of the outputs of descent on n points and weighted descent on K points [label]",
    "E": "||f_tau - truth||_inf [label]",
    "noise": "||Pi_+ e||_inf, the largest |mean label noise of a cluster| [label]",
    "rest": "||Pi_+ r_tau||_inf, what is left to learn, over the largest label or output [1]",
    "rise": "largest Loss_{t+1} - Loss_t + ||W_{t+1} - W_t||^2 / (2 eta) up to tau, over the initial loss [1]",
    "remainder": "n_l delta modulo 2 span, in units of the labels' common denominator [1]",
    "won": "1 if all outputs on the cluster are nearest its own label, else 0 [1]",
    "near": "1 if the cluster's mean observed label is nearest its own label, else 0 [1]",
    "left": "largest distance of an output on the cluster to its mean observed label [label]",
    "margin": "distance of the mean observed label from the nearest point that ties its own label, < 0 beyond [label]",
    "rho": "share of the cluster's labels that are corrupted [1]",
    "delta": "label separation [label]",
    "span": "largest minus smallest label [label]",
    "first": "least share of corrupted labels that can make a cluster's mean tie with another label, or worse [1]",
    "end": "the smaller of the gaps next to the smallest and to the largest label [label]",
    "sigma": "sigma_0, least singular value of J(W0)^T on S+ [input]",
    "L": "Lipschitz constant of the Jacobian [input]",
    "beta": "bound on ||J(W)||_op [input]",
    "eta": "step size [1/input^2]",
    "r0": "||Pi_+ r_0||_2 [label]",
    "r": "||Pi_+ r_tau||_2 [label]",
    "tau": "number of steps, >= 1 [1]",
    "path": "length of the path W_0, W_1, ..., W_tau [1]",
    "smallest": "size of the smallest cluster [1]",
    "fail": "probability over W0 that 9 L ||Pi_+ r_0|| > sigma_0^2 [1]",
    "p": "part of the failure probability granted to f(W0) [1]",
    "k": "width [1]",
    "lam": "lambda(C), least eigenvalue of the neural covariance of the centres [1]",
    "C": "||C||_op of the centres [1]",
    "G1": "Gamma1 = sup|phi'| [1]",
    "G2": "Gamma2 = sup|phi''| [1]",
    "sum": "number of positive minus number of negative output weights [1]",
    "flat": "max_j |k v_j^2 - 1| [1]",
    "lag": "size of the largest minus size of the smallest cluster [1]",
    "top": "largest |mean observed label| of a cluster [label]",
}
NOTATION = {
    "eps0": r"\epsilon_0",
    "rho": r"\rho",
    "delta": r"\delta",
    "sigma": r"\sigma_0",
    "beta": r"\beta",
    "eta": r"\eta",
    "r0": r"\|\Pi_+ r_0\|",
    "r": r"\|\Pi_+ r_\tau\|",
    "tau": r"\tau",
    "noise": r"\|\Pi_+ e\|_\infty",
    "E": r"\|f_\tau - \tilde y\|_\infty",
    "smallest": r"n_{\min}",
    "lam": r"\lambda",
    "C": r"\|C\|",
    "G1": r"\Gamma_1",
    "G2": r"\Gamma_2",
    "s2": r"\sigma(J)^2",
}

eps0, rank, K, most, s2, m2, off, gap, E, noise = symbols("eps0 rank K most s2 m2 off gap E noise")
rest, rise, won, near, left, margin, rho, delta, span, first, end, remainder = symbols(
    "rest rise won near left margin rho delta span first end remainder"
)
sigma, L, beta, eta, r0, r, tau, path, smallest = symbols("sigma L beta eta r0 r tau path smallest")
fail, p, k, lam, C, G1, G2, total, flat, lag, top = symbols("fail p k lam C G1 G2 sum flat lag top")

PERFECT = ("inputs of a cluster coincide", sp.Eq(eps0, 0))


def _claim(
    id: str,
    title: str,
    relation: Any,
    hypotheses: Sequence[tuple[str, Any]] = (PERFECT,),
    vacuous: Any = None,
    kind: str = "inequality",
) -> Claim:
    statements = [relation, *(condition for _, condition in hypotheses), *([] if vacuous is None else [vacuous])]
    used = {symbol.name for statement in statements for symbol in statement.free_symbols}
    return Claim(
        id,
        title,
        relation,
        {name: text for name, text in MEANINGS.items() if name in used},
        kind,
        hypotheses,
        vacuous,
        notation={
            name: NOTATION.get(name, rf"\mathrm{{{name}}}") for name in used if len(name) > 1 or name in NOTATION
        },
        reference="derived; cf. Li, Soltanolkotabi & Oymak (2020)",
        proof=f"paper_notes/li2020.md#{id[:2].lower()}",
    )


RANK = _claim(
    "C1.rank", "the Jacobian has rank at most K", sp.Le(rank, K, evaluate=False), vacuous=sp.Le(most, K, evaluate=False)
)
SPECTRUM = _claim(
    "C1.spectrum", "its nonzero singular values are those of K weighted points", sp.Eq(s2, m2), kind="identity"
)
NUISANCE = _claim(
    "C1.nuisance_residual", "inside a cluster the residual never moves", sp.Eq(off, 0, evaluate=False), kind="identity"
)
WEIGHTED = _claim(
    "C1.weighted_descent",
    "descent on n points is weighted descent on K points with mean labels: the same outputs",
    sp.Eq(gap, 0, evaluate=False),
    # exact arithmetic needs no more than PERFECT; an unstable step multiplies rounding errors without bound
    (PERFECT, ("every step lowers the loss by ||W_{t+1} - W_t||^2 / (2 eta)", sp.Le(rise, sp.Rational(1, 10**10)))),
    kind="identity",
)
LIMIT = _claim(
    "C1.limit",
    "the limit error is the largest mean label noise of a cluster",
    sp.Eq(E, noise),
    (PERFECT, ("descent has come within 1e-11 of its limit on S+", sp.Le(rest, sp.Rational(1, 10**11)))),
    kind="identity",
)
RECOVERY = _claim(
    "C1.recovery",
    "a cluster is recovered if and only if its mean observed label is nearest its own label",
    sp.Eq(won, near),
    (PERFECT, ("the outputs are nearer to that mean than it is to a tie", sp.Lt(left, sp.Abs(margin)))),
    kind="identity",
)
SUFFICIENT = _claim(
    "C1.sufficient",
    "a share rho < delta/(2 span) leaves a cluster's mean label nearest its own label",
    sp.Ge(margin, delta / 2 - rho * span, evaluate=False),
    (),
    vacuous=sp.Ge(rho * span, delta / 2, evaluate=False),
)
SHARP = _claim(
    "C1.sharp",
    "the share delta/(2 span) is sharp: 1/2 for two labels, 9/40 for -1, 1/10, 1",
    sp.Eq(first, delta / (2 * span)),
    (
        ("the least gap of the labels is at an end, as with two or three labels", sp.Eq(end, delta)),
        ("the cluster has a size at which that share is a whole number of points", sp.Eq(remainder, 0)),
    ),
    kind="identity",
)

IN_REACH = ("9 L ||Pi_+ r_0|| <= sigma_0^2", sp.Le(9 * L * r0, sigma**2, evaluate=False))
SHORT_STEP = ("eta <= 1/beta^2", sp.Le(eta * beta**2, 1))
_C2 = (PERFECT, IN_REACH, SHORT_STEP)
_CONTRACTION = (1 - eta * sigma**2 / 9) ** tau  # 1 - (4/9) eta a^2 with a = sigma_0 / 2
RATE = _claim("C2.rate", "the residual on S+ contracts geometrically", sp.Le(r, _CONTRACTION * r0, evaluate=False), _C2)
PATH = _claim("C2.path", "descent takes a short path", sp.Le(path, sp.Rational(9, 2) * r0 / sigma, evaluate=False), _C2)
HALF = _claim(
    "C2.half",
    "the path stays where the least singular value is at least sigma_0/2",
    sp.Le(path, sigma / (2 * L), evaluate=False),
    _C2,
)
ERRORS = _claim(
    "C2.recovery",
    "every output comes near its true label, up to the mean label noise of a cluster",
    sp.Le(E, noise + _CONTRACTION * r0 / sp.sqrt(smallest), evaluate=False),
    _C2,
)
_SETTING = (
    ("as many positive as negative output weights", sp.Eq(total, 0)),
    ("|v_j| = 1/sqrt(k), to 1e-12", sp.Le(flat, sp.Rational(1, 10**12))),
    ("equal clusters", sp.Eq(lag, 0)),
    ("labels in [-1, 1]", sp.Le(top, 1)),
)


def _wide(m: Any) -> tuple[str, Any]:
    return "k d >= 324 Gamma2^2 m^2 kappa(C)^2 K^2", sp.Ge(k * lam**2, 324 * G2**2 * m**2 * K * C**2, evaluate=False)


WIDTH = _claim(
    "C2.width",
    "an a-priori width meets the hypothesis of C2, but for a small probability; independent initialisation",
    sp.Le(fail, p + K * sp.exp(-k * lam / (8 * G1**2 * C**2)), evaluate=False),
    (_wide(1 + G1 * sp.sqrt(2 * sp.log(2 * K / p))), *_SETTING),
    kind="tail bound",
)
WIDTH_PAIRED = _claim(
    "C2.width_paired",
    "an a-priori width meets the hypothesis of C2, but for a small probability; paired initialisation",
    # k/2 rows are independent, and f(W0) = 0 costs nothing
    sp.Le(fail, K * sp.exp(-k * lam / (16 * G1**2 * C**2)), evaluate=False),
    (_wide(1), *_SETTING),
    kind="tail bound",
)
