"""Importance sampling with unnormalised weights: the self-normalised estimate, its interval, its bias on finite spaces.

Draws x_1 ... x_n from q, weights w_i proportional to p(x_i)/q(x_i), estimate sum w_i f(x_i) / sum w_i of E_p f. The
estimate has a bias of order 1/n: `bias_bound` bounds it for every n, `exact_bias` computes it where x takes few values.
"""

import math
from typing import Any

import numpy as np

from theory import arrays, checks
from theory.arrays import Array
from theory.estimate import Estimate

_LARGEST_ENUMERATION = 2_000_000
_LEAST_FREEDOM = 1e-9  # an effective sample size nearer to 1 is one draw and rounding


def effective_sample_size(weights: Array) -> float:
    """(sum w)^2 / sum w^2: how many equally weighted draws vary as much as these, in [1, n] (Kong 1992).

    Args:
        weights: of any shape, non-negative, not all 0.

    Raises:
        InvalidInput: negative or non-finite weights, or none that is positive.

    Example:
        >>> effective_sample_size([1.0, 1.0, 0.0])
        2.0
    """
    flat = _weights(weights)
    return float(flat.sum() ** 2 / (flat @ flat))


def effective_share(weights: Array) -> float:
    """The effective sample size over the number of weights, in (0, 1].

    Raises:
        InvalidInput: as `effective_sample_size`.
    """
    return effective_sample_size(weights) / int(np.prod(np.shape(weights)))


def self_normalised(values: Array, weights: Array) -> Estimate:
    """E_p f from draws of another distribution q: sum w f / sum w, with an interval.

    The interval is Student's with the delta method's standard error (Owen 2013) and ESS - 1 degrees of freedom,
    so that it widens as few draws come to carry the weight; with equal weights it is the interval of a plain mean. It
    knows nothing of regions that q never visited, and leaves out the bias (see `bias_bound`).

    Args:
        values: f at the draws, (n,).
        weights: proportional to p/q at the draws, (n,), non-negative.

    Raises:
        InvalidInput: shapes that do not match, NaN, negative weights, fewer than two draws with weight.

    Example:
        >>> self_normalised([0.0, 1.0, 2.0], [1.0, 1.0, 2.0]).value
        1.25
    """
    f = _column("values", values)
    w = _weights(_column("weights", weights))
    checks.vector("weights", w, length=len(f))
    size, share = effective_sample_size(w), w / w.sum()
    if not size - 1 > _LEAST_FREEDOM:
        got = f"effective sample size {size:.6g}"
        checks.fail("weights", "at least two draws with weight", got, "draw more, or temper the weights")
    value = float(share @ f)
    error = math.sqrt(float(share**2 @ (f - value) ** 2) / (1 - 1 / size))
    method = f"self-normalised importance sampling, effective sample size {size:.4g}"
    return Estimate(value, "student", {"error": error, "freedom": size - 1}, method, len(f))


def bias_bound(spread: float, chi_square: float, draws: int) -> float:
    """D sqrt(v) (sqrt(v) + sqrt(1 + v)) / n: the largest bias of the self-normalised estimate, for every n.

    Proof in paper_notes/wang2021.md.

    Args:
        spread: D = max f - min f.
        chi_square: v = Var_q(p/q), the chi-square divergence of p from q.
        draws: n >= 1.

    Raises:
        InvalidInput: negative or non-finite arguments.
    """
    spread = checks.number("spread", spread, 0)
    root = math.sqrt(checks.number("chi_square", chi_square, 0))
    draws = checks.integer("draws", draws, minimum=1)
    return spread * root * (root + math.hypot(1, root)) / draws


def exact_bias(p: Array, q: Array, f: Array, draws: int) -> float:
    """The bias of the self-normalised estimate where x takes k values, by summing over all outcomes of n draws.

    Where all draws have weight 0 the estimate counts as unbiased: any value between min f and max f is as good.

    Args:
        p: probabilities of the k values, (k,).
        q: probabilities of the proposal, (k,), positive wherever p is.
        f: the function at the k values, (k,).
        draws: n >= 1; there are C(n + k - 1, k - 1) outcomes.

    Returns:
        E_q[estimate] - E_p f, in float64, with an error of order 1e-13 max|f|.

    Raises:
        InvalidInput: not probabilities, q = 0 where p > 0, more than two million outcomes.

    Example:
        >>> round(exact_bias([0.5, 0.5], [0.5, 0.5], [0.0, 1.0], 3), 12)
        0.0
    """
    from scipy.special import gammaln

    p, q, f = (_column(name, value) for name, value in (("p", p), ("q", q), ("f", f)))
    draws = checks.integer("draws", draws, minimum=1)
    for name, column in (("q", q), ("f", f)):
        checks.vector(name, column, length=len(p))
    for name, column in (("p", p), ("q", q)):
        if column.min() < 0 or abs(column.sum() - 1) > 1e-12:
            checks.fail(name, "probabilities that sum to 1", f"sum {column.sum()}", "normalise it")
    if ((q == 0) & (p > 0)).any():
        checks.fail("q", "positive wherever p is", "0 where p > 0", "no weight can make up for what q never draws")
    p, q, f = (column[q > 0] for column in (p, q, f))
    outcomes = math.comb(draws + len(p) - 1, len(p) - 1)
    if outcomes > _LARGEST_ENUMERATION:
        checks.fail("draws", f"at most {_LARGEST_ENUMERATION} outcomes", outcomes, "use fewer draws or values")
    counts = _compositions(draws, len(p))
    chances = np.exp(gammaln(draws + 1) - gammaln(counts + 1).sum(axis=1) + counts @ np.log(q))
    weighted = counts * (p / q)
    total = weighted.sum(axis=1)
    error = weighted @ (f - p @ f)  # of the numerator: its mean is 0, so nothing cancels in the sum below
    return float(chances @ np.divide(error, total, out=np.zeros_like(error), where=total > 0))


def _compositions(total: int, parts: int) -> np.ndarray:
    """All ways to write `total` as an ordered sum of `parts` non-negative integers, one per row."""
    rows = np.zeros((1, 0), dtype=np.int64)
    left = np.array([total])
    for _ in range(parts - 1):
        repeats = left + 1
        ends = np.cumsum(repeats)
        chosen = np.arange(ends[-1]) - np.repeat(ends - repeats, repeats)
        rows = np.column_stack([np.repeat(rows, repeats, axis=0), chosen])
        left = np.repeat(left, repeats) - chosen
    return np.column_stack([rows, left])


def _column(name: str, values: Any) -> np.ndarray:
    (tensor,), _ = arrays.tensors(**{name: values})
    checks.vector(name, tensor)
    return tensor.double().numpy(force=True)


def _weights(weights: Any) -> np.ndarray:
    """The weights as a flat float64 array, scaled so that the largest is 1 (their squares can't overflow)."""
    (tensor,), _ = arrays.tensors(weights=weights)
    flat = tensor.double().numpy(force=True).ravel()
    largest = float(flat.max(initial=0.0))
    if not flat.size or flat.min() < 0 or not largest > 0:
        checks.fail("weights", "non-negative numbers, not all 0", "negative ones, or only zeros", "check their source")
    return flat / largest
