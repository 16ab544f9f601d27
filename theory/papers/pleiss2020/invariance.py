"""What AUM does not see, and what scales it (A6).

A constant added to all logits of a sample (at each epoch another one) changes no margin, nor do classes renumbered
together with the labels; multiplying all logits by s >= 0 multiplies AUM by s. With s < 0 the least other logit becomes
the largest, so for three classes or more it does not. Cf. Pleiss et al. (2020); derived, proof in
paper_notes/pleiss2020.md.
"""

from typing import Any

import numpy as np
import sympy as sp

from theory import aum, checks, seeding
from theory.arrays import Array
from theory.claim import Claim, Family, symbols
from theory.estimate import Estimate
from theory.margin import class_numbers
from theory.verdict import Verdicts

_EPSILON = float(np.finfo(float).eps)
MEANINGS = {
    "A": "AUM of a sample [logit]",
    "B": "its AUM after the change [logit]",
    "s": "factor of all logits [1]",
    "c": "number of classes",
}
A, B, s, c = symbols(" ".join(MEANINGS))


def _claim(id: str, title: str, relation: Any, *hypotheses: tuple[str, Any]) -> Claim:
    used = {symbol.name for part in (relation, *(h for _, h in hypotheses)) for symbol in part.free_symbols}
    return Claim(
        f"A6.{id}",
        title,
        relation,
        {name: text for name, text in MEANINGS.items() if name in used},
        kind="identity",
        hypotheses=hypotheses,
        reference="derived; cf. Pleiss et al. (2020)",
        proof="paper_notes/pleiss2020.md#a6",
    )


SHIFT = _claim(
    "shift", "a constant added per sample and epoch to all logits changes nothing", sp.Eq(B, A, evaluate=False)
)
CLASSES = _claim("classes", "classes renumbered together with the labels change nothing", sp.Eq(B, A, evaluate=False))
SCALE = _claim(
    "scale",
    "multiplying all logits by s multiplies AUM by s",
    sp.Eq(B, s * A, evaluate=False),
    ("s >= 0, or two classes", sp.Ge(s * (c - 2), 0, evaluate=False)),
)


def check_invariance(
    logits: Array, labels: Array, *, shift: Array, order: Array, factor: float, **record: Any
) -> Verdicts:
    """Change logits in the three ways, and judge A6 with a point per sample.

    Args:
        logits: (E, n, c), finite.
        labels: assigned classes (n,).
        shift: what is added, (E, n).
        order: new number of each class, a permutation (c,).
        factor: s.
        **record: `settings` and `seed` for the verdicts.

    Raises:
        InvalidInput: wrong shapes, NaN, an order that is no permutation.
    """
    Z = np.asarray(logits, dtype=float)
    if Z.ndim != 3:
        checks.fail("logits", "shape (epochs, n, classes)", Z.shape, "stack the epochs")
    epochs, n, classes = Z.shape
    own = class_numbers("labels", labels, n, classes)
    new = class_numbers("order", order, classes, classes)
    if len(set(new.tolist())) < classes:
        checks.fail("order", f"a permutation of 0 to {classes - 1}", new.tolist(), "give each class its own number")
    added = np.asarray(shift, dtype=float)
    checks.matrix("shift", added, rows=epochs, columns=n)
    factor = checks.number("factor", factor)
    renumbered = np.empty_like(Z)
    renumbered[:, :, new] = Z
    before, size = _areas(Z, own), float(np.abs(Z).max())
    rounding, shifted = 4 * _EPSILON * size, 4 * _EPSILON * (size + float(np.abs(added).max()))
    areas = Estimate.computed(before, error=rounding)
    moved = Estimate.computed(_areas(Z + added[:, :, None], own), error=shifted)
    scaled = Estimate.computed(_areas(factor * Z, own), error=rounding * abs(factor))
    renamed = Estimate.exact(_areas(renumbered, new[own]))
    return Verdicts(
        [
            SHIFT.check(A=areas, B=moved, scale=size, **record),
            CLASSES.check(A=Estimate.exact(before), B=renamed, scale=size, **record),
            SCALE.check(
                A=areas, B=scaled, s=Estimate.exact(factor), c=classes, scale=size * max(1.0, abs(factor)), **record
            ),
        ]
    )


def experiment_invariance(budget: str = "small", seed: int = 0) -> Verdicts:
    """A6 on random logits: 20 sets of samples ("small") or 300 ("full"), two to five classes, factors of either sign.

    Args:
        budget: "small" or "full".
        seed: of the logits.
    """
    small = checks.choice("budget", budget, ("small", "full")) == "small"
    rng, verdicts = seeding.numpy_generator("invariances", seed), Verdicts()
    for draw in range(20 if small else 300):
        epochs, n, classes = (int(rng.integers(low, high)) for low, high in ((1, 6), (1, 8), (2, 6)))
        verdicts += check_invariance(
            rng.standard_normal((epochs, n, classes)),
            rng.integers(0, classes, n),
            shift=rng.standard_normal((epochs, n)) * 100,
            order=rng.permutation(classes),
            factor=float(rng.uniform(-2, 4)),
            settings={"draw": draw},
            seed=seed,
        )
    return verdicts


def _areas(Z: np.ndarray, own: np.ndarray) -> np.ndarray:
    record = aum.Accumulator(stop=len(Z))
    for logits in Z:
        record.update(logits, own, np.arange(len(own)))
        record.end_epoch()
    return record.table().set_index("id")["aum"].sort_index().to_numpy()


A6 = Family(
    "A6",
    "what changes AUM and what does not: shifts, renumbered classes, scale",
    (SHIFT, CLASSES, SCALE),
    check_invariance,
    experiment_invariance,
)
