"""Weighting views is importance sampling from what one has: how biased the self-normalised estimate is (U7).

Weights proportional to p/q turn a mean over draws of q into one over p: with w = exp(-d2/tau), p is q tilted towards
views near their image's centre. Dividing by the sum of the weights makes the estimate biased by order 1/n. Judged on
finite spaces, where the bias is a finite sum. Proofs in paper_notes/wang2021.md.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import sympy as sp

from theory import arrays, checks, importance, seeding
from theory.arrays import Array
from theory.claim import Family, symbols
from theory.estimate import Estimate
from theory.papers.wang2021.distances_claims import derived
from theory.verdict import Verdicts

bias, D, v, n, lost, exponent, settling = symbols("bias D v n lost exponent settling")

BOUND = derived(
    "U7.bound",
    "for every n the self-normalised estimate is biased by at most this",
    lambda: sp.Le(sp.Abs(bias), D * sp.sqrt(v) * (sp.sqrt(v) + sp.sqrt(1 + v)) / n),
    {
        "bias": "E_q[sum r f / sum r] - E_p f, r = p/q [unit of f]",
        "D": "max f - min f [unit of f]",
        "v": "Var_q(p/q) [1]",
        "n": "number of draws [1]",
        "lost": "probability under p of what q never draws [1]",
    },
    hypotheses=(("q draws whatever p does", sp.Le(lost, 0, evaluate=False)),),
    notation={"bias": r"\mathbb{E}\hat\mu-\mu"},
)
RATE = derived(
    "U7.rate",
    "n times the bias tends to -E_q[r^2 (f - E_p f)]; the difference falls as 1/n",
    lambda: sp.Eq(exponent, -1),
    {
        "exponent": "slope of log |n bias + E_q[r^2 (f - E_p f)]| on log n [1]",
        "settling": "largest of max(p/q) max(1, D v/|next_term|), over the smallest n [1]",
    },
    kind="rate",
    tolerance=sp.Rational(1, 10),
    hypotheses=(
        (
            "the 1/n term is not 0, and n is far beyond where it rules",
            sp.Le(settling, sp.Rational(1, 50), evaluate=False),
        ),
    ),
    notation={"exponent": "p"},
)
Problem = tuple[Array, Array, Array]


def leading_bias(p: Array, q: Array, f: Array) -> float:
    """-E_q[r^2 (f - E_p f)], the limit of n times the bias, on a finite space: p, q, f of shape (k,)."""
    p, q, f = (np.asarray(values, dtype=float) for values in (p, q, f))
    seen = q > 0
    return float(-(p[seen] ** 2 / q[seen]) @ (f[seen] - p @ f))


def next_term(p: Array, q: Array, f: Array) -> float:
    """E_q[r (r - 1)^2 (f - E_p f)] - 3 Var_q(r) E_q[r^2 (f - E_p f)]: the limit of n (n bias - its limit); as above."""
    p, q, f = (np.asarray(values, dtype=float) for values in (p, q, f))
    seen = q > 0
    r, centred = p[seen] / q[seen], f[seen] - p @ f
    v_ = q[seen] @ (r - 1) ** 2
    return float(q[seen] @ (r * (r - 1) ** 2 * centred) + 3 * v_ * leading_bias(p, q, f))


def settling_draws(p: Array, q: Array, f: Array) -> float:
    """max(p/q) max(1, D v/|next_term|), which n must exceed by far for U7.rate; infinite where the term is 0."""
    p, q, f = (np.asarray(values, dtype=float) for values in (p, q, f))
    seen, term = q > 0, abs(next_term(p, q, f))
    r = p[seen] / q[seen]
    scale = float(np.ptp(f[seen]) * (q[seen] @ (r - 1) ** 2))
    return float(r.max()) * max(1.0, scale / term) if term > 1e-12 * scale else math.inf


def check_bias(problems: Sequence[Problem], draws: Sequence[int], **record: Any) -> Verdicts:
    """Judge U7 on finite spaces: every problem at every number of draws.

    Args:
        problems: (p, q, f), each (k,): probabilities of the target and of the proposal, and a function.
        draws: numbers n of draws; the rate is judged on them if there are at least three.
        **record: `settings` and `seed` for the verdicts.

    Returns:
        U7.bound, one point per problem and n; U7.rate, Student's over problems (or by regression for one), left out for
        problems whose n bias is exactly its limit.

    Raises:
        InvalidInput: not probabilities, wrong shapes, too many outcomes.
    """
    counts = [checks.integer("draws", count, minimum=1) for count in draws]
    rows, gaps, reached = [], [], []
    for p_, q_, f_ in problems:
        p, q, f = (np.asarray(arrays.tensors(x=values)[0][0], dtype=float) for values in (p_, q_, f_))
        checks.vector("q", q, length=len(p))
        seen = q > 0
        lost_ = float(p[~seen].sum())
        # what q never draws, no weight brings back: the estimate is then one of p restricted to the rest
        target = np.where(seen, p, 0.0) / (1 - lost_) if lost_ < 1 else q
        missing = float(target @ f - p @ f)
        biases = np.array([importance.exact_bias(target, q, f, count) + missing for count in counts])
        v_ = float((target[seen] ** 2 / q[seen]).sum() - 1)
        spread = float(np.ptp(f[seen | (p > 0)]))
        rows += [(one, spread, max(v_, 0.0), lost_, float(np.abs(f).max())) for one in biases]
        gap = np.abs(np.array(counts) * biases - leading_bias(p, q, f))
        if lost_ == 0 and gap.min() > 1e-10 * spread * max(counts):
            gaps.append(gap)
            reached.append(settling_draws(p, q, f) / min(counts))
    bias_, D_, v_all, lost_all, size = np.array(rows).T
    v_error = 1e-13 * (1 + v_all)
    verdicts = Verdicts(
        [
            BOUND.check(
                bias=Estimate.computed(bias_, error=1e-12 * size),
                D=Estimate.computed(D_),
                v=Estimate.enclosure(np.maximum(v_all - v_error, 0), v_all + v_error),
                n=np.tile(counts, len(problems)),
                lost=Estimate.exact(lost_all),
                **record,
            )
        ]
    )
    if len(counts) >= 3 and gaps:
        slope = Estimate.exponent(counts, np.array(gaps))
        verdicts.append(RATE.check(exponent=slope, settling=min(max(reached), 1e9), **record))
    return verdicts


def random_problem(draw: np.random.Generator, values: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Dirichlet p and q on that many values, the density of p/q unbounded over draws, and a normal f."""
    return draw.dirichlet(np.ones(values)), draw.dirichlet(np.ones(values)), draw.normal(size=values)


def experiment_bias(budget: str = "small", seed: int = 0) -> Verdicts:
    """U7 on random finite spaces: the bound from one draw on, the rate where draws abound.

    Args:
        budget: "small" (60 problems for the bound, 12 for the rate) or "full" (2,000 and 40).
        seed: of the draws.
    """
    small = checks.choice("budget", budget, ("small", "full")) == "small"
    draw = seeding.numpy_generator("problems for U7", seed)
    problems = [random_problem(draw, int(draw.integers(2, 5))) for _ in range(60 if small else 2000)]
    settings = {"values": "2 to 4", "problems": len(problems)}
    verdicts = check_bias(problems, (1, 2), settings=settings, seed=seed)
    verdicts += check_bias(problems[::4], (5, 20), settings={**settings, "problems": len(problems[::4])}, seed=seed)
    mild: list[Problem] = []
    while len(mild) < (12 if small else 40):
        problem = random_problem(draw, 2)
        if settling_draws(*problem) <= 8:
            mild.append(problem)
    settings = {"values": "2, in scope from 400 draws on", "problems": len(mild)}
    verdicts += check_bias(mild, (400, 800, 1600, 3200), settings=settings, seed=seed)
    return verdicts


U7 = Family(
    "U7", "the bias of the self-normalised importance-sampling estimate", (BOUND, RATE), check_bias, experiment_bias
)
