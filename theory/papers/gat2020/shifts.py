"""What adding a constant to f does to its entropy (F5), and how far a smooth f >= 0 can be steep (F6).

A floor under f takes entropy away: the cross-entropy against soft labels has one, their own entropy. And a smooth
non-negative function has small gradients where it is small. Both hold for any law of f. Proofs in
paper_notes/gat2020.md.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import sympy as sp

from theory import arrays, checks, seeding
from theory.arrays import Array
from theory.claim import Family, symbols
from theory.estimate import Estimate
from theory.papers.gat2020.claims import Ent, Var, law_entropy, mean, stated
from theory.verdict import Verdicts

_LARGEST = 1e60
factor, scaled, sooner, later, step, left, right, c, slope2, L, f, least = symbols(
    "factor scaled sooner later step left right c slope2 L f least"
)
_OWN = {
    "factor": "c >= 0, what f is multiplied with [1]",
    "scaled": "Ent(c f) [unit of f]",
    "sooner": "Ent(f + c) at the smaller c [unit of f]",
    "later": "Ent(f + c) at the larger c [unit of f]",
    "step": "difference of the two c [unit of f]",
    "left": "Ent(f + c) one step below [unit of f]",
    "right": "Ent(f + c) one step above [unit of f]",
    "c": "what is added to f [unit of f]",
    "slope2": "squared norm of grad f at a point [squared unit of f per squared unit of z]",
    "L": "Lipschitz constant of grad f on all of R^d [unit of f per squared unit of z]",
    "f": "f at that point [unit of f]",
    "least": "smallest value of f [unit of f]",
}
_TEX = {"scaled": r"\mathrm{Ent}(cf)", "factor": "c", "slope2": r"\|\nabla f\|^2", "least": r"\min f"}
_TEX |= {"sooner": r"\mathrm{Ent}(f+c)", "later": r"\mathrm{Ent}(f+c')", "step": "c'-c"}

SCALING = stated(
    "F5.scaling",
    "entropy is homogeneous of degree 1",
    lambda: sp.Eq(scaled, factor * Ent),
    _OWN,
    notation=_TEX,
    kind="identity",
    hypotheses=(("c >= 0", sp.Ge(factor, 0)),),
)
DECREASING = stated(
    "F5.decreasing",
    "a larger floor, less entropy, unless f is constant",
    lambda: sp.Lt(later, sooner),
    _OWN,
    notation=_TEX,
    hypotheses=(("c' > c", sp.Gt(step, 0)), ("f is not constant", sp.Gt(Var, 0))),
)
CONVEX = stated(
    "F5.convex",
    "and it falls ever more slowly: convex in the floor",
    lambda: sp.Le(Ent, (left + right) / 2),
    _OWN,
)
BOUND = stated(
    "F5.bound",
    "at most the variance over the mean",
    lambda: sp.Le(Ent, Var / (mean + c)),
    {**_OWN, "Ent": "Ent(f + c) [unit of f]"},
    notation={"Ent": r"\mathrm{Ent}(f+c)"},
    hypotheses=(("E f + c > 0", sp.Gt(mean + c, 0)),),
)
SMOOTH = stated(
    "F6",
    "an L-smooth f >= 0 is nowhere steeper than its height allows",
    lambda: sp.Le(slope2, 2 * L * f),
    _OWN,
    notation=_TEX,
    hypotheses=(("f >= 0 everywhere", sp.Ge(least, 0)), ("L > 0", sp.Gt(L, 0))),
)


def check_shifts(
    values: Array, weights: Array | None = None, *, shifts: Sequence[float] = (0.0, 0.5, 1.0, 2.0), **record: Any
) -> Verdicts:
    """Judge F5 for f >= 0 under a finite law: your draws (each with the same weight), or nodes with weights.

    Args:
        values: f, (n,).
        weights: probabilities, (n,); equal ones by default.
        shifts: the constants c >= -min f, increasing, at least two; as multiples of E f.
        **record: `settings` and `seed` for the verdicts.

    Raises:
        InvalidInput: f < 0, f = 0 everywhere, shifts that are not increasing or make f + c negative.
    """
    v, w = law(values, weights)
    average = float(v @ w)
    c_ = np.array([checks.number("shifts", one) for one in shifts]) * average
    if len(c_) < 2 or (np.diff(c_) <= 0).any() or v.min() + c_[0] < 0:
        checks.fail("shifts", "at least two, increasing, f + c >= 0", list(shifts), "sort them, start at 0")
    at = [law_entropy(v + one, w) for one in c_]
    entropies, errors = np.array(at).T
    middle = (c_[:-1] + c_[1:]) / 2
    between = np.array([law_entropy(v + one, w) for one in middle])
    whole = law_entropy(v, w)
    centred = v - average
    variance = float(centred**2 @ w)
    lost = 0.0 if not np.ptp(v) else 8 * np.finfo(float).eps ** 2 * float(v.max() + c_[-1])  # f + c is rounded

    def estimate(value: Any, error: Any) -> Estimate:
        return Estimate.computed(value, error=error + lost)

    low, high = estimate(entropies[:-1], errors[:-1]), estimate(entropies[1:], errors[1:])
    multiples = np.array([0.5, 3.0])
    products = np.array([law_entropy(v * one, w) for one in multiples])
    return Verdicts(
        [
            SCALING.check(
                scaled=estimate(*products.T), factor=Estimate.exact(multiples), Ent=estimate(*whole), **record
            ),
            DECREASING.check(sooner=low, later=high, step=np.diff(c_), Var=variance, **record),
            CONVEX.check(Ent=estimate(*between.T), left=low, right=high, **record),
            BOUND.check(Ent=estimate(entropies, errors), Var=variance, mean=average, c=c_, **record),
        ]
    )


def check_smooth(values: Array, gradients: Array, smoothness: Any, **record: Any) -> Verdicts:
    """Judge F6 where f is steepest for its height.

    Args:
        values: f at points of yours, (n,).
        gradients: (n, d).
        smoothness: L, a Lipschitz constant of grad f.
        **record: `settings` and `seed` for the verdicts.

    Returns:
        F6 at the point of largest |grad f|^2/f. A negative f is out of scope. Integers are judged exactly.

    Raises:
        InvalidInput: shapes that do not match, NaN.
    """
    exact = all(np.asarray(one).dtype.kind in "iuO" for one in (values, gradients))
    v, g = np.asarray(values), np.asarray(gradients)
    if not exact:
        v, g = (np.asarray(arrays.tensors(f=one)[0][0].double()) for one in (values, gradients))
    checks.vector("values", v)
    checks.matrix("gradients", g, rows=len(v))
    squares = (g**2).sum(axis=1)
    floats, heights = squares.astype(float), v.astype(float)
    steep = np.where(floats > 0, np.divide(floats, heights, out=np.full(len(v), np.inf), where=heights > 0), 0.0)
    worst = int(np.argmax(steep))

    def one(value: Any) -> Any:
        return Fraction(int(value)) if exact else float(value)

    return Verdicts(
        [SMOOTH.check(slope2=one(squares[worst]), f=one(v[worst]), least=one(v.min()), L=smoothness, **record)]
    )


def experiment_shifts(budget: str = "small", seed: int = 0) -> Verdicts:
    """F5 on random finite laws: gamma, log-normal, two-valued, with 0 among the values or not.

    Args:
        budget: "small" (20 laws) or "full" (500).
        seed: of the draws.
    """
    draw = seeding.numpy_generator("laws for F5", seed)
    verdicts = Verdicts()
    for number in range(20 if checks.choice("budget", budget, ("small", "full")) == "small" else 500):
        verdicts += check_shifts(*random_law(draw), settings={"law": number}, seed=seed)
    return verdicts


def experiment_smooth(budget: str = "small", seed: int = 0) -> Verdicts:
    """F6 on cross-entropies of random linear classifiers, and exactly on parabolas, where it is an equality.

    Args:
        budget: "small" (1,000 points) or "full" (100,000).
        seed: of the draws.
    """
    from scipy.special import log_softmax

    points = 1000 if checks.choice("budget", budget, ("small", "full")) == "small" else 100_000
    draw = seeding.numpy_generator("classifiers for F6", seed)
    verdicts = Verdicts()
    for classes in (2, 5):
        W, p = draw.normal(size=(classes, 3)), draw.dirichlet(np.ones(classes))
        z = 3 * draw.normal(size=(points, 3))
        log_q = log_softmax(z @ W.T, axis=1)
        relative = (p * np.log(p)).sum() - log_q @ p
        L_ = float(np.linalg.norm(W, 2)) ** 2 / 2
        settings = {"f": "KL(p, softmax(W z))", "classes": classes}
        verdicts += check_smooth(relative, (np.exp(log_q) - p) @ W, L_, settings=settings, seed=seed)
    x = np.arange(-5, 6)
    verdicts += check_smooth(2 * x**2, 4 * x[:, None], 4, settings={"f": "2 x^2", "by": "integers"})
    return verdicts


def law(values: Array, weights: Array | None) -> tuple[np.ndarray, np.ndarray]:
    """Values and probabilities of a finite law of f >= 0, as float64.

    Raises:
        InvalidInput: shapes that do not match, f < 0, f = 0 everywhere, f whose cubes leave the range of float64,
            weights that are not probabilities.
    """
    (tensor, given), _ = arrays.tensors(values=values, weights=weights)
    checks.vector("values", tensor)
    v = tensor.double().numpy(force=True)
    w = np.full(len(v), 1 / len(v)) if given is None else given.double().numpy(force=True)
    checks.vector("weights", w, length=len(v))
    single = "float32" in str(getattr(weights, "dtype", ""))
    if w.min() < 0 or abs(w.sum() - 1) > (1e-5 if single else 1e-9):
        checks.fail("weights", "probabilities that sum to 1", f"sum {w.sum()}", "normalise them")
    w = w / w.sum()
    if v.min() < 0 or not v @ w > 0:
        checks.fail("values", "f >= 0, not 0 everywhere", f"between {v.min():.3g} and {v.max():.3g}", "check f")
    if not v @ w > 1 / _LARGEST or not v.max() < _LARGEST:
        wanted = f"a mean and a maximum between {1 / _LARGEST:g} and {_LARGEST:g}"
        checks.fail("values", wanted, f"{v @ w:.3g} and {v.max():.3g}", "divide f by its mean: Ent(c f) = c Ent(f)")
    return v, w


def random_law(draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Values and probabilities: gamma, log-normal, or two values of which one may be 0."""
    kind, n = int(draw.integers(3)), int(draw.integers(2, 40))
    values = (
        draw.gamma(draw.uniform(0.1, 3), size=n),
        np.exp(draw.normal(size=n) * draw.uniform(0.1, 3)),
        np.array([draw.integers(2) * draw.random(), 1.0 + draw.random()]),
    )[kind]
    return values, draw.dirichlet(np.ones(len(values)))


F5 = Family(
    "F5",
    "entropy and a floor under f",
    (SCALING, DECREASING, CONVEX, BOUND),
    check_shifts,
    experiment_shifts,
)
F6 = Family("F6", "smooth non-negative functions", (SMOOTH,), check_smooth, experiment_smooth)
