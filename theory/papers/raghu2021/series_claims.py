"""The relations of H2 and H3; their measurement stands in `series`."""

import sympy as sp

from theory.papers.raghu2021.claims import DEFINITE, SHORT, STEPS, K, L, alpha, derived, error, mu, size, symbol

later, ratio, share, outside, products, t = (
    symbol(name) for name in ("later", "ratio", "share", "outside", "products", "t")
)


def _rho() -> sp.Expr:
    return sp.Max(sp.Abs(1 - alpha * mu), sp.Abs(1 - alpha * L))


BOUND = derived(
    "H2.bound",
    "the error of P_K v, in the 2-norm and the H-norm",
    lambda: sp.Le(error, _rho() ** (K + 1) * size),
    hypotheses=(*DEFINITE, STEPS, SHORT),
)
ATTAINED = derived(
    "H2.attained",
    "equality where H^{-1}v lies in the eigenspaces that attain rho",
    lambda: sp.Eq(error, _rho() ** (K + 1) * size),
    {"outside": "share of H^{-1}v outside these eigenspaces [1]"},
    kind="identity",
    tolerance=sp.Rational(1, 10**10),
    hypotheses=(
        *DEFINITE,
        STEPS,
        ("H^{-1}v lies in the extremal eigenspaces", sp.Le(outside, sp.Rational(1, 10**10))),
    ),
)
CONTRACTS = derived(
    "H2.contracts",
    "0 < alpha < 2/L is enough for rho < 1",
    lambda: sp.Lt(_rho(), 1),
    hypotheses=(*DEFINITE, STEPS, SHORT),
)
NECESSARY = derived(
    "H2.necessary",
    "and needed: otherwise rho >= 1",
    lambda: sp.Ge(_rho(), 1),
    hypotheses=(*DEFINITE, STEPS, ("alpha >= 2/L", sp.Ge(alpha * L, 2, evaluate=False))),
)
BEST = derived(
    "H2.best",
    "no step has a smaller rho than (kappa - 1)/(kappa + 1), that of 2/(L + mu)",
    lambda: sp.Ge(_rho() * (L + mu), L - mu),
    hypotheses=DEFINITE,
)
PRODUCTS = derived(
    "H2.products",
    "products until the error is a share t of the solution",
    lambda: sp.Le((products - 1) * sp.log(1 / _rho()), sp.log(1 / t) - sp.log(1 / _rho())),
    {"products": "fewest products after which ||e_K|| <= t ||H^{-1}v||", "t": "tolerance [1]"},
    hypotheses=(*DEFINITE, STEPS, SHORT, ("it takes a product", sp.Ge(products, 1))),
)
BEYOND = (*DEFINITE, ("alpha > 2/L", sp.Gt(alpha * L, 2, evaluate=False)))
SEEN = ("v has a part along the top eigenvector", sp.Gt(share, 0))
_RATIOS = {
    "ratio": "||e_{K+1}||/||e_K|| [1]",
    "later": "||e_{K+2}||/||e_{K+1}|| [1]",
    "share": "|<u_L, v>|, u_L a unit eigenvector of L",
}
GROWING = derived(
    "H3.growing",
    "the ratio of successive errors never falls",
    lambda: sp.Ge(later, ratio),
    _RATIOS,
    hypotheses=(*BEYOND, SEEN),
)
LIMIT = derived(
    "H3.limit",
    "and never exceeds alpha L - 1, to which it tends",
    lambda: sp.Le(ratio, alpha * L - 1),
    _RATIOS,
    hypotheses=(*BEYOND, SEEN),
)
FLOOR = derived(
    "H3.floor",
    "the error grows at least as a geometric series",
    lambda: sp.Ge(error, (alpha * L - 1) ** (K + 1) * share / L),
    _RATIOS,
    hypotheses=(*BEYOND, SEEN),
)
