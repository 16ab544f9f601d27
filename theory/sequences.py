"""Confidence sequences: intervals for a probability that one may look at after every draw.

A fixed-sample interval (Clopper-Pearson, `Estimate.proportion`) is right at one sample size chosen beforehand; looked
at after every draw, until it says what one hopes for, it misses far more often than stated. The sequence here covers at
all sample sizes at once, with the stated probability, so that one may stop as soon as it settles a question.

Construction (Robbins, 1970). X_1, X_2, ... are draws of 0 or 1 with P(X_n = 1 | X_1, ..., X_(n-1)) = p, S_n is their
sum, and a, b > 0. The mixture likelihood ratio

    M_n(p) = B(a + S_n, b + n - S_n) / B(a, b) / (p^S_n (1-p)^(n-S_n))

is the integral of q^S_n (1-q)^(n-S_n) / (p^S_n (1-p)^(n-S_n)) over q ~ Beta(a, b). For each fixed q that ratio is a
non-negative martingale which starts at 1, since its next factor has the mean p (q/p) + (1-p) (1-q)/(1-p) = 1; hence so
is M_n(p), by Tonelli. Ville's inequality: P(M_n(p) >= 1/alpha for some n) <= alpha. So the sets
{p : M_n(p) < 1/alpha} contain p for all n at once with probability at least 1 - alpha. They are intervals about S_n/n,
because log M_n is convex in p with its minimum there. A side of a threshold t is settled once M_n(t) >= 1/alpha; it is
the wrong one with probability at most alpha, whenever and why ever the draws end.
"""

from typing import Any, Literal

import numpy as np

from theory import checks

PRIOR = (0.5, 0.5)
"""(a, b) of the mixture: Jeffreys', which is quick with probabilities near 0 and 1, as most of a phase diagram has."""
_HALVINGS = 60  # of an interval no longer than 1: below the spacing of floats at its ends


def log_ratio(successes: Any, trials: Any, p: Any, prior: tuple[float, float] = PRIOR) -> Any:
    """Logarithm of M_n(p), the evidence against the probability p (see the module); arguments are broadcast.

    Args:
        successes: S_n, whole numbers.
        trials: n >= S_n, whole numbers.
        p: probabilities in [0, 1].
        prior: (a, b) > 0, chosen before the first draw.

    Returns:
        Float or array; infinite where p = 0 or 1 is impossible.

    Raises:
        InvalidInput: counts that are none, a probability outside [0, 1], a prior that is not positive.

    Example:
        >>> float(np.exp(log_ratio(2, 2, 0.5, prior=(1, 1))))  # (1/3) / (1/4)
        1.3333333333333333
    """
    hits, trials = _counts(successes, trials)
    p = np.asarray(p, dtype=float)
    if not np.all((p >= 0) & (p <= 1)):
        checks.fail("p", "probabilities in [0, 1]", p, "give probabilities")
    return (_log_mixture(hits, trials, prior) - _log_likelihood(hits, trials, p))[()]


def interval(
    successes: Any, trials: Any, alpha: float = 0.01, prior: tuple[float, float] = PRIOR
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of {p : M_n(p) < 1/alpha}: over all n at once, all these sets hold p with probability >= 1 - alpha.

    Args:
        successes: S_n, whole numbers, broadcast with `trials`.
        trials: n, whole numbers; 0 gives [0, 1].
        alpha: probability that any of the intervals may miss.
        prior: see `log_ratio`.

    Returns:
        (low, high), float64 arrays, rounded outward.

    Raises:
        InvalidInput: as `log_ratio`, or alpha outside (0, 1).

    Example:
        >>> low, high = interval(0, [0, 10, 200])
        >>> low.tolist(), high.round(3).tolist()
        ([0.0, 0.0, 0.0], [1.0, 0.47, 0.038])
    """
    limit = -np.log(_alpha(alpha))
    hits, trials = np.broadcast_arrays(*_counts(successes, trials))
    least = _log_mixture(hits, trials, prior) - limit  # the likelihood of whatever is inside is higher
    centre = np.where(trials == 0, 0.5, hits / np.maximum(trials, 1))
    ends = []
    for edge in (0.0, 1.0):
        outside = np.full(centre.shape, edge)  # here the evidence is strong enough, unless the edge itself is inside
        inside = centre.copy()
        whole = _log_likelihood(hits, trials, outside) > least
        for _ in range(_HALVINGS):
            middle = (outside + inside) / 2
            within = _log_likelihood(hits, trials, middle) > least
            inside, outside = np.where(within, middle, inside), np.where(within, outside, middle)
        ends.append(np.where(whole, edge, outside))
    return ends[0], ends[1]


def decide(
    successes: int,
    trials: int,
    threshold: float = 0.5,
    alpha: float = 0.01,
    prior: tuple[float, float] = PRIOR,
) -> Literal["above", "below"] | None:
    """On which side of a threshold the probability lies, as far as the draws settle it.

    One may ask after every draw and stop at the first answer: it is wrong with probability at most alpha. Where the
    probability is the threshold itself, either answer is wrong.

    Args:
        successes: S_n.
        trials: n.
        threshold: in (0, 1).
        alpha: probability that the answer, ever given, may be wrong.
        prior: see `log_ratio`.

    Returns:
        "above", "below", or None: not settled.

    Raises:
        InvalidInput: as `interval`, or a threshold outside (0, 1).

    Example:
        >>> decide(9, 9), decide(10, 10), decide(2, 30)
        (None, 'above', 'below')
    """
    threshold = checks.number("threshold", threshold, 0, 1, open_low=True, open_high=True)
    trials = checks.integer("trials", trials, minimum=0)
    successes = checks.integer("successes", successes, minimum=0, maximum=trials)
    if log_ratio(successes, trials, threshold, prior) < -np.log(_alpha(alpha)):
        return None
    return "above" if successes > threshold * trials else "below"


def fewest(threshold: float = 0.5, alpha: float = 0.01, prior: tuple[float, float] = PRIOR) -> int:
    """The least number of draws after which `decide` can answer: all of them alike.

    Raises:
        InvalidInput: as `decide`.

    Example:
        >>> fewest()
        10
    """
    trials = 1
    while not any(decide(hits, trials, threshold, alpha=alpha, prior=prior) for hits in (0, trials)):
        trials += 1
    return trials


def _log_mixture(hits: Any, trials: Any, prior: tuple[float, float]) -> Any:
    from scipy import special

    for name, value in zip("ab", prior, strict=True):
        checks.number(f"prior {name}", value, low=0, open_low=True)
    a, b = prior
    return special.betaln(a + hits, b + trials - hits) - special.betaln(a, b)


def _log_likelihood(hits: Any, trials: Any, p: Any) -> Any:
    from scipy import special

    return special.xlogy(hits, p) + special.xlog1py(trials - hits, -p)


def _counts(successes: Any, trials: Any) -> tuple[np.ndarray, np.ndarray]:
    hits, trials = np.asarray(successes, dtype=float), np.asarray(trials, dtype=float)
    if not np.all((hits >= 0) & (hits <= trials) & (hits == np.round(hits)) & (trials == np.round(trials))):
        checks.fail("successes", "whole numbers from 0 to trials", f"{hits} of {trials}", "count the events")
    return hits, trials


def _alpha(alpha: float) -> float:
    return checks.number("alpha", alpha, 0, 1, open_low=True, open_high=True)
