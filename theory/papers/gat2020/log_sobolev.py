"""Gaussian measures: half the Fisher information bounds the entropy (F1), the Dirichlet energy the variance (F2).

Gradients are weighted with the covariance. Without the weight the bounds hold for every f exactly if no eigenvalue of
the covariance exceeds 1. Proofs and references in paper_notes/gat2020.md.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import sympy as sp

from theory import checks, seeding
from theory.arrays import Array
from theory.claim import Family, symbols
from theory.entropy import Evaluations, Gaussian, evaluate
from theory.entropy.measure import Measure
from theory.estimate import Estimate
from theory.papers.gat2020.claims import GAUSSIAN, USED, Ent, Var, energy, flags, half, stated, sweep, together
from theory.verdict import Status, Verdicts

plain, largest, power, shift, n = symbols("plain largest power shift n")
_OWN = {
    "plain": "half the Fisher information without weight, E[|grad f|^2/f]/2 [unit of f per squared unit of z]",
    "largest": "largest eigenvalue of the covariance S [squared unit of z]",
    "power": "<S a, a> [1]",
    "shift": "<a, m> [1]",
    "n": "degree of the Hermite polynomial [1]",
}
_TEX = {"plain": r"\frac{1}{2}E\|\nabla f\|^2/f", "largest": r"\lambda_{\max}(S)"}
_TEX |= {"power": r"\langle Sa,a\rangle", "shift": r"\langle a,m\rangle"}

SOBOLEV = stated(
    "F1.log_sobolev",
    "log-Sobolev inequality: entropy is at most half the weighted Fisher information",
    lambda: sp.Le(Ent, half),
    hypotheses=(GAUSSIAN,),
    reference=f"Gross (1975); {USED}",
)
EXPONENTIAL = stated(
    "F1.exponential",
    "f = exp<a, z>: the entropy in closed form",
    lambda: sp.Eq(Ent, power / 2 * sp.exp(shift + power / 2)),
    _OWN,
    notation=_TEX,
    kind="identity",
    hypotheses=(GAUSSIAN,),
)
TIGHT = stated(
    "F1.tight",
    "f = exp<a, z>: half the Fisher information is the same number, so the inequality is tight",
    lambda: sp.Eq(half, power / 2 * sp.exp(shift + power / 2)),
    _OWN,
    notation=_TEX,
    kind="identity",
    hypotheses=(GAUSSIAN,),
)
UNWEIGHTED = stated(
    "F1.unweighted",
    "without the weight it holds while no eigenvalue of S exceeds 1",
    lambda: sp.Le(Ent, plain),
    _OWN,
    notation=_TEX,
    hypotheses=(GAUSSIAN, ("no eigenvalue of S exceeds 1", sp.Le(largest, 1))),
)
BEYOND = stated(
    "F1.beyond",
    "control: the same beyond 1, for the exponential along the first eigenvector",
    lambda: sp.Le(Ent, plain),
    _OWN,
    notation=_TEX,
    hypotheses=(("an eigenvalue of S exceeds 1", sp.Gt(largest, 1)),),
    expected=Status.VIOLATED,
)
POINCARE = stated(
    "F2.poincare",
    "Poincare inequality: the variance is at most the weighted Dirichlet energy",
    lambda: sp.Le(Var, energy),
    hypotheses=(GAUSSIAN,),
    reference=f"Nash (1958); {USED}",
)
HERMITE = stated(
    "F2.hermite",
    "Hermite polynomials of degree n: energy n times the variance, so affine f are tight",
    lambda: sp.Eq(energy, n * Var),
    _OWN,
    kind="identity",
    hypotheses=(("n >= 1", sp.Ge(n, 1)),),
)


def check_log_sobolev(
    found: Evaluations | Sequence[Evaluations], measure: Measure | Sequence[Measure], **record: Any
) -> Verdicts:
    """Judge F1 on evaluations of functions f >= 0 of yours.

    Args:
        found: `theory.entropy.evaluate(f, measure, gradients=True, ...)`, or several (a sweep), all by draws or all by
            quadrature.
        measure: what each was evaluated under.
        **record: `settings` and `seed` for the verdicts.

    Returns:
        F1.log_sobolev and F1.unweighted.

    Raises:
        InvalidInput: no gradients, f < 0 somewhere, f = 0 everywhere.
    """
    several, measures = sweep(found), sweep(measure)
    entropies = together(one.entropy() for one in several)
    gaussian = flags(measures)
    weighted = together(one.log_sobolev_bound() for one in several)
    bare = together(one.log_sobolev_bound(weighted=False) for one in several)
    return Verdicts(
        [
            SOBOLEV.check(Ent=entropies, half=weighted, gaussian=gaussian, **record),
            UNWEIGHTED.check(Ent=entropies, plain=bare, gaussian=gaussian, largest=_largest(measures), **record),
        ]
    )


def check_exponential(slope: Array, measure: Measure, *, order: int = 100, **record: Any) -> Verdicts:
    """Judge F1's equality, and its failure without the weight, on f = exp<a, z>, by quadrature along a.

    Args:
        slope: a, (d,).
        measure: Gaussian; for another one by draws, and then out of scope.
        order: nodes.
        **record: `settings` and `seed` for the verdicts.

    Returns:
        F1.exponential, F1.tight, and F1.beyond if a is not 0 and the direction in which S stretches most.

    Raises:
        InvalidInput: a of another length than the measure's dimension.
    """
    a = np.asarray(slope, dtype=float)
    checks.vector("slope", a, length=measure.dimension)
    found, p, s = _along(a, measure, order)
    values: dict[str, Any] = {"power": p, "shift": s, "gaussian": int(isinstance(measure, Gaussian))}
    verdicts = Verdicts(
        [
            EXPONENTIAL.check(Ent=found.entropy(), **values, **record),
            TIGHT.check(half=found.log_sobolev_bound(), **values, **record),
        ]
    )
    top = float(np.linalg.eigvalsh(measure.metric)[-1])
    if a.any() and a @ measure.metric @ a >= top * (a @ a) * (1 - 1e-9):
        scale = float(a @ a) / p if p else 0.0  # <S grad f, grad f> = <S a, a> f^2, and without S it is |a|^2 f^2
        bare = found.log_sobolev_bound()
        plain_ = Estimate.computed(float(bare.value) * scale, relative=1e-10, method=bare.method)
        verdicts.append(BEYOND.check(Ent=found.entropy(), plain=plain_, largest=_largest([measure]), **record))
    return verdicts


def check_poincare(
    found: Evaluations | Sequence[Evaluations], measure: Measure | Sequence[Measure], **record: Any
) -> Verdicts:
    """Judge F2.poincare on evaluations of functions of yours, of any sign; arguments as for `check_log_sobolev`."""
    several, measures = sweep(found), sweep(measure)
    variances, bounds = (together(getattr(one, name)() for one in several) for name in ("variance", "poincare_bound"))
    return Verdicts([POINCARE.check(Var=variances, energy=bounds, gaussian=flags(measures), **record)])


def check_hermite(degrees: Sequence[int], *, mean: float = 0.0, deviation: float = 1.0, **record: Any) -> Verdicts:
    """Judge F2.hermite on He_n((z - mean)/deviation), by quadrature that is exact for them.

    Raises:
        InvalidInput: a deviation that is not positive, a negative degree.
    """
    from scipy.special import eval_hermitenorm

    s = checks.number("deviation", deviation, 0, open_low=True)
    line = Gaussian([checks.number("mean", mean)], [[s * s]])
    several = []
    for degree in degrees:
        k = checks.integer("degree", degree, minimum=0)

        def f(z: Any, k: int = k) -> Any:
            return eval_hermitenorm(k, (z[:, 0] - mean) / s)

        def slope(z: Any, k: int = k) -> Any:
            return k / s * eval_hermitenorm(max(k - 1, 0), (z - mean) / s)

        several.append(evaluate(f, line, gradient=slope, order=2 * k + 6))  # its coarser rule is exact too
    variances, energies = (together(getattr(one, name)() for one in several) for name in ("variance", "poincare_bound"))
    counted = Estimate.exact(np.array(list(degrees), dtype=object))
    return Verdicts([HERMITE.check(Var=variances, energy=energies, n=counted, **record)])


def experiment_log_sobolev(budget: str = "small", seed: int = 0) -> Verdicts:
    """F1 on random functions and measures by quadrature, on exponentials in 1 to 20 dimensions, and its control.

    Args:
        budget: "small" (60 random cases) or "full" (2,000).
        seed: of the draws.
    """
    draw = seeding.numpy_generator("functions for F1", seed)
    cases = [random_case(draw) for _ in range(_count(budget))]
    settings = {"cases": len(cases), "by": "quadrature"}
    found, measures = zip(*cases, strict=True)
    verdicts = check_log_sobolev(list(found), list(measures), settings=settings, seed=seed)
    for dimension in (1, 3, 20):
        root = draw.normal(size=(dimension, dimension)) / np.sqrt(dimension)
        S = root @ root.T + 1.5 * np.eye(dimension)
        measure = Gaussian(draw.normal(size=dimension), S)
        first = np.linalg.eigh(S)[1][:, -1]
        verdicts += check_exponential(first / 2, measure, settings={"dimension": dimension}, seed=seed)
    return verdicts


def experiment_poincare(budget: str = "small", seed: int = 0) -> Verdicts:
    """F2 on random functions and measures by quadrature, and on Hermite polynomials up to degree 8.

    Args:
        budget: "small" (60 random cases) or "full" (2,000).
        seed: of the draws.
    """
    draw = seeding.numpy_generator("functions for F2", seed)
    found, measures = zip(*(random_case(draw) for _ in range(_count(budget))), strict=True)
    verdicts = check_poincare(list(found), list(measures), settings={"cases": len(found)}, seed=seed)
    for mean, deviation in ((0.0, 1.0), (0.7, 0.3)):
        settings = {"mean": mean, "deviation": deviation}
        verdicts += check_hermite(range(1, 9), mean=mean, deviation=deviation, settings=settings, seed=seed)
    return verdicts


def random_case(draw: np.random.Generator) -> tuple[Evaluations, Gaussian]:
    """A random f > 0 of one or two variables under a random Gaussian measure, by quadrature.

    A sum of exponentials, a sum of squares, or the exponential of a wave on a linear function.
    """
    d = int(draw.integers(1, 3))
    root = draw.normal(size=(d, d)) * 10 ** draw.uniform(-1, 0)
    measure = Gaussian(draw.normal(size=d), root @ root.T)
    A, b, c = draw.normal(size=(3, d)) / d, draw.normal(size=3), np.abs(draw.normal(size=3))
    kind = int(draw.integers(3))

    def parts(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        t = z @ A.T + b
        if kind == 0:
            value = np.exp(t[:, 0] + np.sin(t[:, 1]))
            return value, value[:, None] * (A[0] + np.cos(t[:, [1]]) * A[1])
        if kind == 1:
            return c[0] + (t**2).sum(axis=1), 2 * t @ A
        value = np.exp(t) * c
        return value.sum(axis=1), value @ A

    return evaluate(lambda z: parts(z)[0], measure, gradient=lambda z: parts(z)[1], order=48 if d == 1 else 32), measure


def _along(a: np.ndarray, measure: Measure, order: int) -> tuple[Evaluations, float, float]:
    """exp<a, z> with its gradient along a, <S a, a> and <a, m>."""
    if not isinstance(measure, Gaussian):
        gradient = lambda z: np.exp(z @ a)[:, None] * a  # noqa: E731
        found = evaluate(lambda z: np.exp(z @ a), measure, gradient=gradient)
        return found, float(a @ measure.metric @ a), 0.0
    p, s = float(a @ measure.metric @ a), float(a @ measure.mean)
    line = Gaussian([s], [[p]])
    return evaluate(lambda t: np.exp(t[:, 0]), line, gradient=np.exp, order=order), p, s


def _largest(measures: Sequence[Measure]) -> Estimate:
    rows = []
    for one in measures:
        S = one.metric
        # of a diagonal matrix the largest entry, exactly: N(0, I) is a tie
        diagonal = not (S - np.diag(np.diag(S))).any()
        rows.append((S.max(), 0.0) if diagonal else (float(np.linalg.eigvalsh(S)[-1]), 1e-12 * float(S.max())))
    values, errors = np.array(rows).T
    return Estimate.computed(values, error=errors)


def _count(budget: str) -> int:
    return 60 if checks.choice("budget", budget, ("small", "full")) == "small" else 2000


F1 = Family(
    "F1",
    "log-Sobolev: entropy is at most half the Fisher information",
    (SOBOLEV, EXPONENTIAL, TIGHT, UNWEIGHTED, BEYOND),
    check_log_sobolev,
    experiment_log_sobolev,
)
F2 = Family("F2", "Poincare: variance and Dirichlet energy", (POINCARE, HERMITE), check_poincare, experiment_poincare)
