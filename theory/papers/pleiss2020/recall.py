"""What a cut at the k-th threshold AUM catches, if wrong labels are exchangeable with threshold samples (A4).

Then only ranks matter, and all orders are equally likely: the expected recall is k/(n + 1), and of m wrong labels a
Beta-Binomial number is caught. Nothing else is assumed, so the claims are judged by trying every order, through the
very function that flags. Cf. Pleiss et al. (2020); derived, proof in paper_notes/pleiss2020.md.
"""

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import sympy as sp

from theory import aum, checks, seeding
from theory.claim import Claim, Family, symbols
from theory.estimate import Estimate
from theory.verdict import Status, Verdicts

Flag = Callable[[np.ndarray, np.ndarray, Any], np.ndarray]
"""(AUMs (m,), threshold AUMs (n,), percentile) -> which are flagged, bool (m,)."""

MEANINGS = {
    "recall": "share of wrong labels caught, over all orders of one wrong label and n threshold samples, exact [1]",
    "mean": "the same over random draws [1]",
    "caught": "probability that exactly j of m wrong labels are caught, over all orders, exact [1]",
    "law": "Beta-Binomial(m; k, n + 1 - k) at j, exact [1]",
    "n": "number of threshold samples",
    "k": "n - floor(n (100 - percentile)/100)",
    "ties": "number of equal AUMs, 0 almost surely for continuous ones",
}
recall, mean, caught, law, n, k, ties = symbols(" ".join(MEANINGS))
NO_TIES = ("no ties", sp.Eq(ties, 0, evaluate=False))


def _claim(id: str, title: str, relation: Any, **more: Any) -> Claim:
    hypotheses = more.get("hypotheses", ())
    used = {s.name for part in (relation, *(h for _, h in hypotheses)) for s in part.free_symbols}
    return Claim(
        f"A4.{id}",
        title,
        relation,
        {name: text for name, text in MEANINGS.items() if name in used},
        reference="derived; cf. Pleiss et al. (2020)",
        proof="paper_notes/pleiss2020.md#a4",
        **more,
    )


RECALL = _claim(
    "recall",
    "a cut at the k-th smallest threshold AUM catches k/(n + 1) of exchangeable wrong labels",
    sp.Eq(recall, k / (n + 1), evaluate=False),
    kind="identity",
    hypotheses=(NO_TIES,),
)
COUNT = _claim(
    "count",
    "of m wrong labels a Beta-Binomial number is caught",
    sp.Eq(caught, law, evaluate=False),
    kind="identity",
    hypotheses=(NO_TIES,),
)
DRAWS = _claim(
    "draws",
    "so it is in random draws from one continuous distribution, within one per cent",
    sp.Le(sp.Abs(mean - k / (n + 1), evaluate=False), sp.Rational(1, 100), evaluate=False),
    hypotheses=(NO_TIES,),
)
INTERPOLATED = _claim(
    "interpolated",
    "an interpolated 99th percentile catches as many",
    sp.Eq(recall, k / (n + 1), evaluate=False),
    kind="identity",
    hypotheses=(NO_TIES,),
    expected=Status.VIOLATED,
)


def interpolated(areas: np.ndarray, threshold: np.ndarray, percentile: Any) -> np.ndarray:
    """The rule that A4 refutes: at or below numpy's interpolated percentile, whatever the distribution in between.

    Example:
        >>> threshold = np.arange(99.0)
        >>> aum.suspected([97.5], threshold).tolist(), interpolated(np.array([97.5]), threshold, 99).tolist()
        ([True], [False])
    """
    return areas <= np.percentile(threshold, float(percentile))


def check_recall(
    n: int, m: int = 1, percentile: Any = 99, flag: Flag = aum.suspected, strict: bool = False, **record: Any
) -> Verdicts:
    """Judge A4 by all orders of n threshold samples and m wrong labels.

    Args:
        n: threshold samples, >= 1.
        m: wrong labels, >= 1; there are C(n + m, m) orders.
        percentile: of the cut.
        flag: the rule; `aum.suspected` by default.
        strict: flag below the cut only; without ties it is the same.
        **record: `settings` and `seed` for the verdicts.

    Returns:
        A4.recall, and A4.count with a point for each number of catches, where `flag` is ours; A4.interpolated for
        another rule.

    Raises:
        InvalidInput: more than a million orders.
    """
    n, m = checks.integer("n", n, minimum=1), checks.integer("m", m, minimum=1)
    if math.comb(n + m, m) > 10**6:
        checks.fail("orders", "at most a million", math.comb(n + m, m), "lower n or m")
    ours = flag is aum.suspected
    options = {"strict": strict} if ours else {}
    index = aum.cut_index(n, percentile)
    tally = np.zeros(m + 1, dtype=object)
    places = np.arange(n + m, dtype=float)
    for wrong in itertools.combinations(range(n + m), m):
        rest = np.delete(places, wrong)
        tally[int(np.sum(flag(places[list(wrong)], rest, percentile, **options)))] += 1
    orders = math.comb(n + m, m)
    shares = [Fraction(int(count), orders) for count in tally]
    average = sum((Fraction(j, m) * share for j, share in enumerate(shares)), Fraction(0))
    record["settings"] = {"percentile": str(percentile), "m": m, "rule": flag.__name__, **record.get("settings", {})}
    common: dict[str, Any] = {"n": n, "k": index, "ties": 0}
    if not ours:
        return Verdicts([INTERPOLATED.check(recall=average, **common, **record)])
    laws = np.array([beta_binomial(j, m, index, n) for j in range(m + 1)], dtype=object)
    counted = COUNT.check(caught=Estimate.exact(np.array(shares, dtype=object)), law=laws, ties=0, **record)
    return Verdicts([RECALL.check(recall=average, **common, **record), counted])


def check_draws(wrong: Any, threshold: Any, percentile: Any = 99, **record: Any) -> Verdicts:
    """Judge A4.draws on random draws: in each, one wrong label's AUM (draws,) and n threshold AUMs (draws, n).

    Draws of several wrong labels share their cut, and are no independent trials; that is why there is one in each.

    Raises:
        InvalidInput: shapes that do not match, NaN.
    """
    areas, thresholds = np.asarray(wrong, dtype=float), np.asarray(threshold, dtype=float)
    checks.vector("wrong labels' AUMs", areas)
    checks.matrix("threshold AUMs", thresholds, rows=len(areas))
    size = thresholds.shape[1]
    index = aum.cut_index(size, percentile)
    hits = int(np.sum(areas <= np.sort(thresholds, axis=1)[:, index - 1]))
    every = np.sort(np.column_stack([areas, thresholds]), axis=1)
    measured = {"mean": Estimate.proportion(hits, len(areas)), "n": size, "k": index}
    return Verdicts([DRAWS.check(ties=int((np.diff(every, axis=1) == 0).sum()), **measured, **record)])


def beta_binomial(j: int, m: int, k: int, n: int) -> Fraction:
    """Probability that j of m wrong labels rank below the k-th of n threshold samples, all orders equally likely.

    C(j + k - 1, j) C(m - j + n - k, m - j) / C(n + m, m), the Beta-Binomial law with parameters k and n + 1 - k.

    Example:
        >>> sum(beta_binomial(j, 3, 5, 9) for j in range(4)), beta_binomial(1, 1, 99, 99)
        (Fraction(1, 1), Fraction(99, 100))
    """
    return Fraction(math.comb(j + k - 1, j) * math.comb(m - j + n - k, m - j), math.comb(n + m, m))


def experiment_recall(budget: str = "small", seed: int = 0) -> Verdicts:
    """A4 over all orders for several n, m and percentiles, and on normal draws; the interpolated rule at n = 99.

    Args:
        budget: "small" or "full" (n up to 400, m up to 4, 100,000 draws).
        seed: of the draws.
    """
    small = checks.choice("budget", budget, ("small", "full")) == "small"
    verdicts = Verdicts()
    for size in (1, 20, 99, 100, 101) if small else (*range(1, 130), 199, 200, 201, 299, 300, 400):
        verdicts += check_recall(size)
    for size, several, percentile in itertools.product(*((7, 12), (2, 3) if small else (2, 3, 4), (50, 80, 99))):
        verdicts += check_recall(size, several, percentile)
    verdicts += check_recall(99, flag=interpolated)
    draws, size = (20_000, 99) if small else (100_000, 100)
    rng = seeding.numpy_generator("exchangeable AUMs", seed)
    normal = rng.standard_normal((draws, size + 1))
    verdicts += check_draws(normal[:, 0], normal[:, 1:], settings={"law": "normal", "n": size}, seed=seed)
    return verdicts


A4 = Family(
    "A4",
    "what a cut at the k-th threshold AUM catches, if wrong labels and threshold samples are exchangeable",
    (RECALL, COUNT, DRAWS, INTERPOLATED),
    check_recall,
    experiment_recall,
)
