"""Behind a softmax the information is bounded by the weights alone (F11), and how a balance form weighs it (F12).

f(z) = CE(p, softmax(W z + b)) with fixed p and z ~ N(m, S) is smooth, with a constant that does not depend on p, b, m:
half its Fisher information is at most ||W S^(1/2)||^2/2. Whoever maximises the information can always do so by larger
weights. Proofs in paper_notes/gat2020.md.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import sympy as sp

from theory import arrays, checks, seeding
from theory.arrays import Array
from theory.claim import Family, symbols
from theory.entropy import Evaluations, Gaussian, evaluate
from theory.entropy.measure import Measure
from theory.estimate import Estimate
from theory.papers.gat2020.claims import GAUSSIAN, Ent, flags, half, stated
from theory.verdict import Verdicts

stretch, relative, floor_, least, balance, m, unequal = symbols("stretch relative floor_ least balance m unequal")
_OWN = {
    "stretch": "largest singular value of W S^(1/2) [1]",
    "relative": "entropy of KL(p, softmax(W z + b)), the cross-entropy less its floor H(p) [nat]",
    "floor_": "H(p), the least cross-entropy [nat]",
    "least": "smallest information of a modality [1]",
    "balance": "-sum_i ln(I_i/sum_j I_j) [1]",
    "m": "number of modalities [1]",
    "unequal": "largest less smallest information [1]",
}
_TEX = {"stretch": r"\|WS^{1/2}\|", "relative": r"\mathrm{Ent}(\mathrm{KL})", "least": r"\min_i I_i"}
_TEX |= {"floor_": "H(p)", "balance": r"-\textstyle\sum_i\ln(I_i/\sum_j I_j)", "unequal": r"\max I_i-\min I_i"}
_POSITIVE = ("every modality has information", sp.Gt(least, 0))

ENTROPY = stated(
    "F11.entropy",
    "the entropy of a cross-entropy behind a softmax is at most half its Fisher information",
    lambda: sp.Le(Ent, half),
    _OWN,
    notation=_TEX,
    hypotheses=(GAUSSIAN,),
)
WEIGHTS = stated(
    "F11.weights",
    "which is at most half the squared norm of the weights, whatever p, b and m",
    lambda: sp.Le(half, stretch**2 / 2),
    _OWN,
    notation=_TEX,
    hypotheses=(GAUSSIAN,),
)
FLOOR = stated(
    "F11.floor",
    "the floor H(p) of a cross-entropy takes entropy away: KL has more",
    lambda: sp.Le(Ent, relative),
    _OWN,
    notation=_TEX,
    hypotheses=(("p is not a hard label", sp.Gt(floor_, 0)),),
)
BALANCE = stated(
    "F12.balance",
    "the balance form is at least m ln m",
    lambda: sp.Ge(balance, m * sp.log(m)),
    _OWN,
    notation=_TEX,
    hypotheses=(_POSITIVE,),
)
EQUAL = stated(
    "F12.equal",
    "with equality where all modalities have the same information",
    lambda: sp.Eq(balance, m * sp.log(m)),
    _OWN,
    notation=_TEX,
    kind="identity",
    hypotheses=(_POSITIVE, ("all informations are equal", sp.Eq(unequal, 0))),
)
UNEQUAL = stated(
    "F12.unequal",
    "and only there",
    lambda: sp.Gt(balance, m * sp.log(m)),
    _OWN,
    notation=_TEX,
    hypotheses=(_POSITIVE, ("two informations differ", sp.Gt(unequal, 0))),
)


def loss(
    W: np.ndarray, b: np.ndarray, p: np.ndarray, measure: Measure, *, floor: bool = True, **how: Any
) -> Evaluations:
    """CE(p, softmax(W z + b)), or with `floor=False` KL(p, .), and its gradients under a measure.

    Args:
        W: (classes, d).
        b: (classes,).
        p: (classes,) probabilities.
        measure: of z.
        floor: keep H(p).
        **how: of `theory.entropy.evaluate`.

    Raises:
        InvalidInput: shapes that do not match, p not probabilities.
    """
    from scipy.special import log_softmax, xlogy

    single = "float32" in str(getattr(p, "dtype", ""))
    tensors, _ = arrays.tensors(W=W, b=b, p=p)
    W, b, p = (one.double().numpy(force=True) for one in tensors)
    checks.matrix("W", W, columns=measure.dimension)
    for name, one in (("b", b), ("p", p)):
        checks.vector(name, one, length=len(W))
    if p.min() < 0 or abs(p.sum() - 1) > (1e-5 if single else 1e-9):
        checks.fail("p", "probabilities that sum to 1", f"sum {p.sum()}", "normalise it")
    p = p / p.sum()
    bottom = 0.0 if floor else float(-xlogy(p, p).sum())

    def value(z: np.ndarray) -> np.ndarray:
        # KL is 0 at its minimum, where rounding may leave a little less
        return np.maximum(-(log_softmax(np.asarray(z) @ W.T + b, axis=1) @ p) - bottom, 0.0)

    def gradient(z: np.ndarray) -> np.ndarray:
        slopes = (np.exp(log_softmax(np.asarray(z) @ W.T + b, axis=1)) - p) @ W
        return np.where(value(z)[:, None] > 0, slopes, 0.0)

    return evaluate(value, measure, gradient=gradient, **how)


def check_softmax(W: Array, b: Array, p: Array, measure: Measure, *, how: Any = None, **record: Any) -> Verdicts:
    """Judge F11 for a linear classifier of yours.

    Args:
        W: (classes, d).
        b: (classes,).
        p: (classes,) probabilities that do not depend on z.
        measure: of z, numpy; Gaussian, or out of scope.
        how: options of `theory.entropy.evaluate` as a dictionary: draws, seed, method, order.
        **record: `settings` and `seed` for the verdicts.

    Raises:
        InvalidInput: as `loss`.
    """
    from scipy.special import entr

    full, bare = (loss(W, b, p, measure, floor=floor, **dict(how or {})) for floor in (True, False))
    (weights, probabilities), _ = arrays.tensors(W=W, p=p)
    bottom = float(entr(probabilities.double().numpy(force=True)).sum())
    root = measure.root if isinstance(measure, Gaussian) else np.eye(measure.dimension)
    norm = float(np.linalg.norm(weights.double().numpy(force=True) @ root, 2)) if root.size else 0.0
    gaussian = int(flags([measure]).value[0])
    return Verdicts(
        [
            ENTROPY.check(Ent=full.entropy(), half=full.log_sobolev_bound(), gaussian=gaussian, **record),
            WEIGHTS.check(half=full.log_sobolev_bound(), stretch=norm, gaussian=gaussian, **record),
            WEIGHTS.check(half=bare.log_sobolev_bound(), stretch=norm, gaussian=gaussian, **record),
            FLOOR.check(Ent=full.entropy(), relative=bare.entropy(), floor_=bottom, **record),
        ]
    )


def check_balance(informations: Sequence[float] | Array, **record: Any) -> Verdicts:
    """Judge F12 on the informations of your modalities.

    Args:
        informations: I_i >= 0, (m,), m >= 2; a 0 is out of scope.
        **record: `settings` and `seed` for the verdicts.

    Returns:
        F12.balance and F12.unequal, or F12.equal where all are equal (a tie, which no rounded number can decide as an
        inequality).

    Raises:
        InvalidInput: fewer than two modalities, negative informations.
    """
    (tensor,), _ = arrays.tensors(informations=informations)
    values = tensor.double().numpy(force=True)
    checks.vector("informations", values)
    if len(values) < 2 or values.min() < 0:
        checks.fail("informations", "two or more, none negative", values.tolist(), "one for each modality")
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = values / values.max()  # their sum does not overflow
        sum_ = float(-np.log(shares / shares.sum()).sum()) if values.any() else np.inf
    measured: dict[str, Any] = {
        "balance": Estimate.computed(sum_, error=1e-14 * len(values) * max(1.0, min(abs(sum_), 1e6)))
    }
    common: dict[str, Any] = {"m": len(values), "least": float(values.min())}
    if np.ptp(values) == 0 and values.min() > 0:
        return Verdicts([EQUAL.check(**measured, **common, unequal=0, **record)])
    return Verdicts(
        [
            BALANCE.check(**measured, **common, **record),
            UNEQUAL.check(**measured, **common, unequal=float(np.ptp(values)), **record),
        ]
    )


def experiment_softmax(budget: str = "small", seed: int = 0) -> Verdicts:
    """F11 on random linear classifiers: by quadrature in 2 dimensions, by quasi-random draws in 8.

    Args:
        budget: "small" (6 classifiers of each) or "full" (300).
        seed: of the classifiers.
    """
    count = 6 if checks.choice("budget", budget, ("small", "full")) == "small" else 300
    draw = seeding.numpy_generator("classifiers for F11", seed)
    verdicts = Verdicts()
    for dimension, how in ((2, {"order": 60}), (8, {"draws": 2**12, "method": "quasi", "seed": seed})):
        for number in range(count):
            classes = int(draw.integers(2, 6))
            W, b = draw.normal(size=(classes, dimension)) / 2, draw.normal(size=classes)
            root = draw.normal(size=(dimension, dimension)) / np.sqrt(2 * dimension)
            measure = Gaussian(draw.normal(size=dimension), root @ root.T)
            settings = {"d": dimension, "classifier": number}
            p = draw.dirichlet(np.ones(classes))
            verdicts += check_softmax(W, b, p, measure, how=how, settings=settings, seed=seed)
    return verdicts


def experiment_balance(budget: str = "small", seed: int = 0) -> Verdicts:
    """F12 on random informations of 2 to 8 modalities, and on equal ones.

    Args:
        budget: "small" (20 sets) or "full" (1,000).
        seed: of the draws.
    """
    draw = seeding.numpy_generator("informations for F12", seed)
    verdicts = Verdicts()
    for number in range(20 if checks.choice("budget", budget, ("small", "full")) == "small" else 1000):
        modalities = int(draw.integers(2, 9))
        drawn = 10 ** draw.uniform(-3, 3, size=modalities)
        verdicts += check_balance(drawn, settings={"set": number, "m": modalities}, seed=seed)
    for modalities in (2, 3, 5):
        verdicts += check_balance(np.full(modalities, 0.3), settings={"set": "equal", "m": modalities})
    return verdicts


F11 = Family(
    "F11",
    "behind a softmax the weights bound the information",
    (ENTROPY, WEIGHTS, FLOOR),
    check_softmax,
    experiment_softmax,
)
F12 = Family("F12", "the balance form", (BALANCE, EQUAL, UNEQUAL), check_balance, experiment_balance)
