"""AUM is at most the margin of the mean logits (A2).

A mean of maxima is at least the maximum of the means. Equality holds if and only if one and the same class attains the
largest other logit at every epoch, so always for two classes: there, and only there, AUM can be had from averaged
logits. Cf. Pleiss et al. (2020); derived, proof in paper_notes/pleiss2020.md.
"""

from fractions import Fraction
from typing import Any

import numpy as np
import sympy as sp

from theory import arrays, checks, seeding
from theory.arrays import Array
from theory.claim import Claim, Family, symbols
from theory.estimate import Estimate
from theory.margin import class_numbers
from theory.verdict import Verdicts

MEANINGS = {
    "A": "AUM of an example, exact [logit]",
    "M": "margin of its mean logits, exact [logit]",
    "share": "largest share of the epochs at which one class attains the largest other logit, ties counting for each",
}
A, M, share = symbols(" ".join(MEANINGS))


def _claim(id: str, title: str, relation: Any, **more: Any) -> Claim:
    hypotheses = more.get("hypotheses", ())
    used = {s.name for part in (relation, *(h for _, h in hypotheses)) for s in part.free_symbols}
    return Claim(
        f"A2.{id}",
        title,
        relation,
        {name: text for name, text in MEANINGS.items() if name in used},
        reference="derived; cf. Pleiss et al. (2020)",
        proof="paper_notes/pleiss2020.md#a2",
        **more,
    )


BOUND = _claim("bound", "AUM is at most the margin of the mean logits", sp.Le(A, M, evaluate=False))
EQUAL = _claim(
    "equal",
    "the two are equal where one class is the runner-up at every epoch",
    sp.Eq(A, M, evaluate=False),
    kind="identity",
    hypotheses=(("one class is the runner-up at every epoch", sp.Ge(share, 1)),),
)
STRICT = _claim(
    "strict",
    "and only there: otherwise AUM is smaller",
    sp.Lt(A, M, evaluate=False),
    hypotheses=(("no class is the runner-up at every epoch", sp.Lt(share, 1)),),
)


def check_mean_margin(logits: Array, labels: Array, **record: Any) -> Verdicts:
    """Judge A2 on logits of several epochs, in exact arithmetic: floats are binary fractions, so ties are ties.

    Args:
        logits: (E, n, c) finite numbers.
        labels: assigned classes (n,).
        **record: `settings` and `seed` for the verdicts.

    Returns:
        A2.bound, A2.equal and A2.strict, a point per example.

    Raises:
        InvalidInput: wrong shapes, NaN, labels that are no classes.
    """
    values = logits.detach().cpu().double().numpy() if arrays.is_tensor(logits) else np.asarray(logits)
    if values.ndim != 3 or 0 in values.shape or values.shape[2] < 2:
        checks.fail("logits", "shape (epochs, n, classes), classes >= 2", values.shape, "stack the epochs")
    checks.finite("logits", values)
    epochs, n, classes = values.shape
    own = class_numbers("labels", labels, n, classes)
    exact = np.frompyfunc(lambda value: Fraction(value), 1, 1)(values.astype(object))
    rows = np.arange(n)
    assigned = exact[:, rows, own]
    others = np.array([np.delete(exact[:, row], own[row], axis=1) for row in rows])  # (n, epochs, c - 1)
    top = others.max(axis=2)
    runner_up = (others == top[:, :, None]).sum(axis=1).max(axis=1)
    measured: dict[str, Any] = {
        "A": Estimate.exact((assigned.sum(axis=0) - top.sum(axis=1)) / epochs),
        "M": Estimate.exact((assigned.sum(axis=0) - others.sum(axis=1).max(axis=1)) / epochs),
        "share": Estimate.exact(np.array([Fraction(int(count), epochs) for count in runner_up], dtype=object)),
    }
    return Verdicts(
        claim.check(**{name: measured[name] for name in claim.meanings}, **record) for claim in (BOUND, EQUAL, STRICT)
    )


def experiment_mean_margin(budget: str = "small", seed: int = 0) -> Verdicts:
    """A2 on random walks of logits, with two to five classes, rounded coarsely so that ties occur.

    Args:
        budget: "small" (240 examples) or "full" (4,000).
        seed: of the logits.
    """
    small = checks.choice("budget", budget, ("small", "full")) == "small"
    rng = seeding.numpy_generator("logits of a walk", seed)
    verdicts = Verdicts()
    for classes in (2, 3, 4, 5):
        count = 60 if small else 1000
        walk = rng.standard_normal((count, 1, classes)) * 2 + rng.standard_normal((count, 6, classes)).cumsum(axis=1)
        logits = np.round(walk, 1).transpose(1, 0, 2)
        own = rng.integers(0, classes, count)
        verdicts += check_mean_margin(logits, own, settings={"classes": classes}, seed=seed)
    return verdicts


A2 = Family(
    "A2",
    "AUM is at most the margin of the mean logits, with equality iff one class is always the runner-up",
    (BOUND, EQUAL, STRICT),
    check_mean_margin,
    experiment_mean_margin,
)
