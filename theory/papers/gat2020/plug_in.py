"""The entropy of n draws, on average: too small, by at most the variance over n times the mean (F7).

The paper estimates with 3 to 10 draws. What they see of exp(z) is .468 to .699 of its .824. Exact by summing over all
outcomes where f takes few values; by draws otherwise. Proofs in paper_notes/gat2020.md.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import sympy as sp

from theory import checks, seeding
from theory.arrays import Array
from theory.claim import Family, symbols
from theory.entropy import Evaluations
from theory.entropy.evaluations import bregman
from theory.estimate import Estimate
from theory.papers.gat2020.claims import Ent, Var, law_entropy, mean, stated
from theory.papers.gat2020.shifts import law, random_law
from theory.verdict import Verdicts

_LARGEST_ENUMERATION = 500_000
expected, missing, fewer, n, exponent, single = symbols("expected missing fewer n exponent single")
_OWN = {
    "expected": "E Ent_n: expected entropy of n draws, each with weight 1/n [unit of f]",
    "missing": "Ent(f) - E Ent_n [unit of f]",
    "fewer": "Ent(f) - E Ent_k with k < n draws [unit of f]",
    "n": "number of draws [1]",
    "exponent": "exponent p in Ent(f) - E Ent_n ~ n^p [1]",
    "single": "E Ent_1 [unit of f]",
}
_TEX = {"expected": r"E\,\mathrm{Ent}_n", "missing": r"\mathrm{Ent}(f)-E\,\mathrm{Ent}_n", "exponent": "p"}
_TEX |= {"fewer": r"\mathrm{Ent}(f)-E\,\mathrm{Ent}_k", "single": r"E\,\mathrm{Ent}_1"}
_DRAWN = ("n >= 1", sp.Ge(n, 1))
_MEAN = ("E f > 0", sp.Gt(mean, 0))

SINGLE = stated("F7.single", "one draw has no entropy", lambda: sp.Eq(single, 0), _OWN, notation=_TEX, kind="identity")
NONNEGATIVE = stated(
    "F7.nonnegative", "n draws have a non-negative one", lambda: sp.Ge(expected, 0), _OWN, notation=_TEX
)
UPPER = stated(
    "F7.upper",
    "the entropy of n draws is too small on average",
    lambda: sp.Le(expected, Ent),
    _OWN,
    notation=_TEX,
)
MONOTONE = stated(
    "F7.monotone",
    "more draws, less missing",
    lambda: sp.Le(missing, fewer),
    _OWN,
    notation=_TEX,
)
BOUND = stated(
    "F7.bound",
    "for every n: what is missing is at most the variance over n times the mean",
    lambda: sp.Le(missing, Var / (n * mean)),
    _OWN,
    notation=_TEX,
    hypotheses=(_DRAWN, _MEAN),
)
RATE = stated(
    "F7.rate",
    "and falls as 1/n",
    lambda: sp.Eq(exponent, -1),
    _OWN,
    notation=_TEX,
    kind="rate",
    tolerance=sp.Rational(1, 20),
    hypotheses=(("f is not constant", sp.Gt(Var, 0)),),
)


def missing_entropy(values: Array, weights: Array | None, draws: int) -> float:
    """Ent(f) - E Ent_n under a law of k values, exactly, by summing over all outcomes of n draws.

    It equals E f times E[u ln u], u the mean of the draws over E f.

    Raises:
        InvalidInput: more than half a million outcomes; as `check_law`.

    Example:
        >>> round(missing_entropy([0.0, 2.0], None, 1), 6)     # ln 2: one draw sees nothing
        0.693147
    """
    from scipy.special import gammaln

    v, w = law(values, weights)
    v, w = v[w > 0], w[w > 0]
    draws, kinds = checks.integer("draws", draws, minimum=1), len(v)
    outcomes = math.comb(draws + kinds - 1, kinds - 1)
    if outcomes > _LARGEST_ENUMERATION:
        checks.fail("draws", f"at most {_LARGEST_ENUMERATION} outcomes", outcomes, "use fewer draws or values")
    bars = np.array(list(itertools.combinations(range(draws + kinds - 1), kinds - 1)), dtype=int).reshape(outcomes, -1)
    edges = np.concatenate([np.full((outcomes, 1), -1), bars, np.full((outcomes, 1), draws + kinds - 1)], axis=1)
    counts = np.diff(edges, axis=1) - 1
    chances = np.exp(gammaln(draws + 1) - gammaln(counts + 1).sum(axis=1) + counts @ np.log(w))
    average = float(v @ w)
    return average * float(chances @ bregman(counts @ (v / average - 1) / draws))


def check_law(
    values: Array, weights: Array | None = None, *, draws: Sequence[int] = (1, 2, 3, 5, 10), **record: Any
) -> Verdicts:
    """Judge F7 for f >= 0 under a law of few values, exactly.

    Args:
        values: of f, (k,); k of 2 or 3 leaves room for hundreds of draws.
        weights: probabilities, (k,); equal ones by default.
        draws: the n, increasing; F7.rate is judged where three of them are at least 50 and 20 max f/E f: before that
            rare values are not drawn, and there is no rate yet.
        **record: `settings` and `seed` for the verdicts.

    Raises:
        InvalidInput: f < 0, f = 0 everywhere, draws that are not increasing, too many outcomes.
    """
    v, w = law(values, weights)
    numbers = [checks.integer("draws", one, minimum=1) for one in draws]
    if len(numbers) < 2 or sorted(set(numbers)) != numbers:
        checks.fail("draws", "at least two, increasing", numbers, "sort them")
    average = float(v @ w)
    variance = float((v - average) ** 2 @ w)
    lacking = np.array([missing_entropy(v, w, one) for one in numbers])
    entropy_, error = law_entropy(v, w)
    errors = 1e-11 * lacking + error
    lacks = Estimate.computed(lacking, error=errors)
    have = Estimate.computed(entropy_ - lacking, error=errors + 1e-12 * entropy_)
    positive = Estimate.enclosure(np.maximum(have.parameters["low"], 0), np.maximum(have.parameters["high"], 0))
    alone = Estimate.computed(entropy_ - missing_entropy(v, w, 1), error=float(error + 1e-12 * entropy_))
    verdicts = Verdicts([SINGLE.check(single=alone, scale=entropy_, **record)])
    if numbers[0] > 1:  # one draw is exactly 0, which no rounded number can decide
        verdicts.append(NONNEGATIVE.check(expected=positive, **record))
    verdicts.append(UPPER.check(expected=have, Ent=Estimate.computed(entropy_, error=error), **record))
    before, after = (Estimate.computed(lacking[part], error=errors[part]) for part in (slice(-1), slice(1, None)))
    verdicts.append(MONOTONE.check(missing=after, fewer=before, **record))
    counted = Estimate.exact(np.array(numbers, dtype=object))
    verdicts.append(BOUND.check(missing=lacks, n=counted, Var=variance, mean=average, **record))
    # the next term of missing is at most max f/(2 n E f) of the first; rounding has no rate
    least = max(50, 20 * v.max() / average)
    large = [i for i, number in enumerate(numbers) if number >= least and lacking[i] > 1e3 * error]
    if len(large) > 2 and variance > 0:
        slope = Estimate.exponent(np.array(numbers, dtype=float)[large], lacking[large])
        verdicts.append(RATE.check(exponent=slope, Var=variance, **record))
    return verdicts


def check_draws(values: Array, entropy: Any, variance: Any, mean: Any, **record: Any) -> Verdicts:
    """Judge F7 on repeated samples of n draws, where the true entropy, variance and mean of f are known.

    Args:
        values: f >= 0 at independent draws, (repetitions, n).
        entropy: Ent f, a number or an Estimate by quadrature.
        variance: Var f, likewise.
        mean: E f, likewise.
        **record: `settings` and `seed` for the verdicts.

    Returns:
        F7.nonnegative, F7.upper and F7.bound.

    Raises:
        InvalidInput: f < 0 somewhere, an entropy that is itself an estimate by draws.
    """
    sample = np.asarray(values, dtype=float)
    checks.matrix("values", sample)
    plug_in = Evaluations(sample).entropy(corrected=False).value if sample.shape[1] > 1 else np.zeros(len(sample))
    average = Estimate.mean(np.asarray(plug_in))
    truth = Estimate.of(entropy)
    if truth.random:
        checks.fail("entropy", "a known value", truth.method, "compute it by quadrature or in closed form")
    spread = Estimate.mean(float(truth.value) - np.asarray(plug_in))
    counted = {"n": sample.shape[1], "Var": variance, "mean": mean}
    return Verdicts(
        [
            NONNEGATIVE.check(expected=average, **record),
            UPPER.check(expected=average, Ent=truth, **record),
            BOUND.check(missing=spread, **counted, **record),
        ]
    )


def experiment(budget: str = "small", seed: int = 0) -> Verdicts:
    """F7 on random laws of two or three values exactly, its rate, and exp(z) by draws for n = 2, 3, 10.

    Args:
        budget: "small" (20 laws, 40,000 repetitions) or "full" (300; 1,000,000).
        seed: of the draws.
    """
    small = checks.choice("budget", budget, ("small", "full")) == "small"
    draw = seeding.numpy_generator("laws for F7", seed)
    verdicts = Verdicts()
    for number in range(20 if small else 300):
        values, weights = (one[:3] for one in random_law(draw))
        values[0] += values.sum() == 0
        verdicts += check_law(values, weights / weights.sum(), settings={"law": number}, seed=seed)
    for few in ([0.0, 2.0], [1.0, 1.5, 4.0]):
        verdicts += check_law(few, draws=(2, 10, 50, 100, 200, 400), settings={"values": str(few)})
    for n_ in (2, 3, 10):
        sample = np.exp(draw.normal(size=(40_000 if small else 1_000_000, n_)))
        true = (math.exp(0.5) / 2, math.exp(2) - math.e, math.exp(0.5))
        verdicts += check_draws(sample, *true, settings={"f": "exp(z)", "n": n_}, seed=seed)
    return verdicts


F7 = Family(
    "F7",
    "the entropy of n draws is too small",
    (SINGLE, NONNEGATIVE, UPPER, MONOTONE, BOUND, RATE),
    check_law,
    experiment,
)
