"""The relations of U1, U2 and U3; their measurement stands in `distances` and `invariance`."""

from collections.abc import Callable, Mapping
from typing import Any

import sympy as sp

from theory.claim import Claim, symbols

REFERENCE = "derived; cf. Wang et al. (2021)"

d2, N, M, d, rank, mean, total, ridge = symbols("d2 N M d rank mean total ridge")
moved, least = symbols("moved least")

_OF = {"N": "number of images [1]", "M": "views of each image [1]"}
NOTATION = {"d2": "d^2", "mean": r"\overline{d^2}", "total": r"\textstyle\sum_l\lambda_l/(\lambda_l+\epsilon)"}
NOTATION |= {"rank": r"\mathrm{rank}\,\Sigma", "moved": r"d^2(Az+b)", "least": r"\sigma_{\min}/\sigma_{\max}(A)"}
NOTATION |= {"ridge": r"\epsilon"}


def derived(
    id: str,
    title: str,
    relation: Callable[[], Any],
    meanings: Mapping[str, str],
    *,
    notation: Mapping[str, str] = NOTATION,
    **more: Any,
) -> Claim:
    """A claim of this paper's room.

    Args:
        id: of the claim.
        title: one line.
        relation: makes the sympy relation; called without evaluation, so that it is printed as it stands here.
        meanings: of symbols; kept for those that the claim uses, N and M have theirs.
        notation: likewise.
        **more: of `Claim`.
    """
    with sp.evaluate(False):
        statement = relation()
    conditions = [condition for _, condition in more.get("hypotheses", ())]
    used = {symbol.name for one in (statement, *conditions) for symbol in one.free_symbols}
    kept = ({name: words for name, words in one.items() if name in used} for one in ({**_OF, **meanings}, notation))
    own, written = kept
    proof = f"paper_notes/wang2021.md#{id.split('.')[0].lower()}"
    return Claim(id, title, statement, own, reference=REFERENCE, proof=proof, notation=written, **more)


MEAN = derived(
    "U1.mean",
    "the mean distance is the rank of Sigma, whatever the views",
    lambda: sp.Eq(mean, rank),
    {"mean": "mean of d2 over all views [1]", "rank": "rank of Sigma [1]"},
    kind="identity",
)
RIDGE = derived(
    "U1.ridge",
    "with a ridge the mean distance is sum l/(l + ridge) over the eigenvalues l of Sigma",
    lambda: sp.Eq(mean, total),
    {
        "mean": "mean of delta^T (Sigma + ridge I)^(-1) delta over all views [1]",
        "total": "sum of l/(l + ridge) over the eigenvalues l of Sigma [1]",
        "ridge": "epsilon [squared unit of the views]",
    },
    kind="identity",
    hypotheses=(("ridge > 0", sp.Gt(ridge, 0)),),
)
NONNEGATIVE = derived(
    "U2.nonnegative",
    "no distance is negative",
    lambda: sp.Ge(d2, 0),
    {"d2": "smallest distance of a view [1]"},
)
ALL = derived(
    "U2.all",
    "about the mean of all views, no distance exceeds N(M-1)",
    lambda: sp.Le(d2, N * (M - 1)),
    {"d2": "largest distance of a view [1]"},
)
PAIR = derived(
    "U2.pair",
    "about the mean of the global views, no global view's distance exceeds NM/2",
    lambda: sp.Le(d2, N * M / 2),
    {"d2": "largest distance of a global view [1]"},
)
OTHERS = derived(
    "U2.others",
    "about the mean of the global views, no distance exceeds NM",
    lambda: sp.Le(d2, N * M),
    {"d2": "largest distance of a view that is not global [1]"},
)
RANK = derived(
    "U2.rank",
    "centring leaves N(M-1) dimensions",
    lambda: sp.Le(rank, sp.Min(d, N * (M - 1))),
    {"rank": "rank of Sigma [1]", "d": "dimension of the embedding [1]"},
)
SATURATED = derived(
    "U2.saturated",
    "when the deviations fill those dimensions every distance is N(M-1)",
    lambda: sp.Eq(d2, N * (M - 1)),
    {
        "d2": "distance of a view about the mean of all views, the one farthest from N(M-1) [1]",
        "rank": "rank of Sigma [1]",
    },
    kind="identity",
    tolerance=sp.Rational(1, 10**8),
    hypotheses=(("rank Sigma = N(M-1)", sp.Ge(rank, N * (M - 1), evaluate=False)),),
)
INVARIANCE = derived(
    "U3.invariance",
    "an invertible map of the embedding space and a shift of each image change no distance",
    lambda: sp.Eq(moved, d2),
    {
        "moved": "distance of a view after z -> A z + b_i, not normalised again [1]",
        "d2": "its distance before [1]",
        "least": "least over largest singular value of A [1]",
    },
    kind="identity",
    tolerance=sp.Rational(1, 10**8),
    hypotheses=(("A is invertible, with a condition number below 10^6", sp.Gt(least, sp.Rational(1, 10**6))),),
)

U1_MEMBERS = (MEAN, RIDGE)
U2_MEMBERS = (NONNEGATIVE, ALL, PAIR, OTHERS, RANK, SATURATED)
