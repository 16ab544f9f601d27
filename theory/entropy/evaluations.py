"""f and its gradients at draws or quadrature nodes, and the functionals of f that they estimate, with intervals.

Every functional is a smooth function of a few means. Its interval is Student's over the jackknife's pseudo-values, one
per independent unit (a draw, an antithetic pair, a scrambled Sobol sequence): the delta method, with the plug-in's bias
of order 1/n removed. Under quadrature the error is what a coarser rule would have changed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from theory import checks, seeding
from theory.estimate import Estimate

STATISTICS = ("entropy", "variance", "fisher_information", "log_sobolev_bound", "poincare_bound")
_SERIES = 1e-3
_ROUNDING = 1e-13
_COUNTING = 10  # of a hundred draws or more, so many must share the weight of f: else an interval means nothing
Moments = tuple[list[np.ndarray], Callable[..., np.ndarray], Any]


def bregman(delta: Any) -> np.ndarray:
    """(1 + x) ln(1 + x) - x for x >= -1, without cancellation near 0; 1 at x = -1.

    The entropy of f is E f times the mean of this at f/E f - 1: no term is negative.
    """
    from scipy.special import xlogy

    x = np.asarray(delta, dtype=float)
    near = np.abs(x) < _SERIES
    small = np.where(near, x, 0.0)
    series = small**2 * (0.5 - small * (1 / 6 - small * (1 / 12 - small * (1 / 20 - small / 30))))
    return np.where(near, series, xlogy(1 + x, 1 + x) - x)


@dataclass(frozen=True, eq=False)
class Evaluations:
    """f at points, and what it says about entropy, variance and information.

    Made by `theory.entropy.evaluate`, or from values of your own. Leading dimensions are independent repetitions.

    Attributes:
        values: (..., n) f, or with `log` f e^(-shift).
        gradients: (..., n, d) of f, or with `log` of log f; None: not computed.
        metric: (d, d) the S in <S grad f, grad f>.
        shift: see `values`.
        log: whether f was given as its logarithm.
        group: consecutive points in one independent unit.
        weights: (n,) of a quadrature rule; None: draws.
        coarse: the same under coarser quadrature rules, for the error: twice the largest change.
        method: in words.

    Example:
        >>> loss = Evaluations(np.array([1.0, 2.0, 3.0, 2.0]))
        >>> round(float(loss.entropy(corrected=False).value), 4), float(loss.variance().value)
        (0.1308, 0.666...)
    """

    values: np.ndarray
    gradients: np.ndarray | None = None
    metric: np.ndarray | None = None
    shift: float = 0.0
    log: bool = False
    group: int = 1
    weights: np.ndarray | None = None
    coarse: "tuple[Evaluations, ...]" = ()
    method: str = "plain draws"

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", np.asarray(self.values, dtype=float))
        if self.values.ndim < 1 or self.values.shape[-1] < 1:
            checks.fail("values", "shape (..., n)", self.values.shape, "one value per point")
        checks.finite("values of f", self.values)
        n = self.values.shape[-1]
        if self.gradients is not None:
            object.__setattr__(self, "gradients", np.asarray(self.gradients, dtype=float))
            if self.gradients.shape[:-1] != self.values.shape:
                checks.fail("gradients", f"shape {(*self.values.shape, 'd')}", self.gradients.shape, "one per value")
            checks.finite("gradients of f", self.gradients)
        if self.weights is not None:
            checks.vector("weights", self.weights, length=n)
        if n % checks.integer("group", self.group, minimum=1):
            checks.fail("group", f"a divisor of the {n} points", self.group, "units of equal size")

    def entropy(self, corrected: bool = True, normalised: bool = False) -> Estimate:
        """Ent(f) = E[f ln f] - E[f] ln E[f], f >= 0.

        Args:
            corrected: remove the plug-in's bias, -Var f/(2 n E f) to first order, by the jackknife.
            normalised: Ent(f)/E f instead: the Kullback-Leibler divergence of f mu/E f from mu. Never overflows.

        Raises:
            InvalidInput: f < 0 somewhere, f = 0 everywhere, one draw; the result overflows.
        """
        return self._estimate("entropy", corrected, normalised)

    def variance(self, corrected: bool = True) -> Estimate:
        """Var f; unbiased, or with `corrected=False` the plug-in, for any f.

        Raises:
            InvalidInput: one draw; the result overflows.
        """
        return self._estimate("variance", corrected)

    def fisher_information(self, weighted: bool = True, normalised: bool = False, corrected: bool = True) -> Estimate:
        """I(f) = E[<S grad f, grad f>/f], f >= 0, with 0/0 := 0.

        Args:
            weighted: with the measure's S; False: S = I, which bounds nothing where S has an eigenvalue above 1.
            normalised: I(f)/E f.
            corrected: of the ratio's bias, where normalised.

        Raises:
            InvalidInput: no gradients; f < 0 somewhere, f = 0 everywhere or where its gradient is not; one draw.
        """
        return self._estimate("fisher_information", corrected, normalised, weighted)

    def log_sobolev_bound(self, weighted: bool = True, normalised: bool = False, corrected: bool = True) -> Estimate:
        """I(f)/2, the right side of the log-Sobolev inequality Ent(f) <= I(f)/2 of Gaussian measures (see above)."""
        return self._estimate("log_sobolev_bound", corrected, normalised, weighted)

    def poincare_bound(self, weighted: bool = True) -> Estimate:
        """E<S grad f, grad f>, the Dirichlet energy: the right side of Poincare's inequality for Var f.

        Raises:
            InvalidInput: no gradients, one draw; the result overflows.
        """
        return self._estimate("poincare_bound", True, False, weighted)

    def bootstrap(
        self, statistic: str = "entropy", level: float = 0.95, resamples: int = 2000, seed: int = 0, **options: Any
    ) -> tuple[float, float]:
        """Interval of a statistic by the bootstrap, bias-corrected and accelerated (BCa; Efron 1987).

        Args:
            statistic: one of STATISTICS.
            level: nominal coverage.
            resamples: number of bootstrap samples.
            seed: of the resampling.
            **options: `normalised`, `weighted`.

        Raises:
            InvalidInput: quadrature, repetitions, fewer than 10 independent units, as the statistic.
        """
        from scipy.special import ndtr, ndtri

        checks.choice("statistic", statistic, STATISTICS)
        level = checks.number("level", level, 0, 1, open_low=True, open_high=True)
        resamples = checks.integer("resamples", resamples, minimum=100)
        if self.weights is not None or self.values.ndim > 1:
            checks.fail("evaluations", "one set of draws", "quadrature or repetitions", "there is nothing to resample")
        moments, h, scale = self._moments(statistic, **options)
        x = np.stack([self._units(m) for m in moments])
        units = x.shape[1]
        if units < 10:
            checks.fail("draws", "at least 10 independent units", units, "draw more")
        generator = seeding.numpy_generator("bootstrap", seed)
        with np.errstate(invalid="ignore"):  # a resample may hold zeros only
            found = np.concatenate(
                [
                    h(*(x @ generator.multinomial(units, np.full(units, 1 / units), size=size).T / units))
                    for size in np.diff([*range(0, resamples, 100), resamples])
                ]
            )
            left_out = _leave_one_out(x, h)
        if not (np.isfinite(found).all() and np.isfinite(left_out).all()):
            checks.fail("f", "more draws that count", "resamples in which f = 0 everywhere", "draw more")
        spread = left_out.mean() - left_out
        acceleration = float((spread**3).sum() / (6 * (spread**2).sum() ** 1.5)) if spread.any() else 0.0
        below = np.clip((found < h(*x.mean(axis=1))).mean(), 1 / resamples, 1 - 1 / resamples)
        centre = ndtri(below)
        z = centre + ndtri([(1 - level) / 2, (1 + level) / 2])
        low, high = np.quantile(found, ndtr(centre + z / (1 - acceleration * z))) * scale
        return float(low), float(high)

    def running(
        self, statistic: str = "entropy", level: float = 0.95, first: int = 100, points: int = 50, **options: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Intervals after more and more draws that all hold together: look as often as you like, stop when you like.

        An asymptotic confidence sequence (Waudby-Smith et al. 2024): valid at all times from `first` on, as that grows,
        for whatever rule of stopping. It is wider than an interval for one look, by about a half.

        Args:
            statistic: one of STATISTICS.
            level: of all intervals together.
            first: independent units before the first look; large enough for the central limit theorem.
            points: number of looks, from `first` to all units at equal ratios.
            **options: `normalised`, `weighted`.

        Returns:
            Number of units at each look, lower ends, upper ends.

        Raises:
            InvalidInput: quadrature, repetitions, quasi-random draws, fewer units than `first`; as the statistic.
        """
        checks.choice("statistic", statistic, STATISTICS)
        alpha = 1 - checks.number("level", level, 0, 1, open_low=True, open_high=True)
        units, first = self.values.shape[-1] // self.group, checks.integer("first", first, minimum=10)
        if self.weights is not None or self.values.ndim > 1 or self.group > 2 or units < first:
            wanted = f"one set of at least {first} plain or antithetic units"
            checks.fail("evaluations", wanted, f"{units} units, {self.method}", "draw more of these")
        looks = np.unique(np.geomspace(first, units, checks.integer("points", points, minimum=1)).astype(int))
        # the mixture's variance that makes the boundary tightest at the first look
        spread = (-2 * np.log(alpha) + np.log(1 - 2 * np.log(alpha))) / first
        seen = [self._first(look)._estimate(statistic, True, **options) for look in looks * self.group]
        t = looks * spread + 1
        half = np.sqrt(2 * t / (t - 1) * np.log(np.sqrt(t) / alpha)) * [one.parameters["error"] for one in seen]
        values = np.array([float(one.value) for one in seen])
        return looks, values - half, values + half

    def _first(self, draws: int) -> "Evaluations":
        gradients = None if self.gradients is None else self.gradients[:draws]
        return replace(self, values=self.values[:draws], gradients=gradients)

    def _estimate(self, statistic: str, corrected: bool, normalised: bool = False, weighted: bool = True) -> Estimate:
        moments, h, scale = self._moments(statistic, normalised=normalised, weighted=weighted)
        if self.weights is not None:
            exact = float(scale * h(*(m @ self.weights for m in moments)))
            bound: float = _ROUNDING * float(scale * sum(np.abs(m) @ self.weights for m in moments))
            changes = [
                exact - float(rule._estimate(statistic, True, normalised, weighted).value) for rule in self.coarse
            ]
            bound += 2 * max(map(abs, changes), default=0.0)
            return Estimate.computed(exact, error=bound, method=self.method)
        x = np.stack([self._units(m) for m in moments])
        units = x.shape[-1]
        if units < 2:
            checks.fail("draws", "at least 2 independent units", units, "an interval needs a spread: draw more")
        whole = h(*x.mean(axis=-1))
        pseudo = units * whole[..., None] - (units - 1) * _leave_one_out(x, h)
        value = pseudo.mean(axis=-1) if corrected else whole
        error = pseudo.std(axis=-1, ddof=1) / np.sqrt(units)
        text = f"{self.method}, {'jackknife' if corrected else 'plug-in'}, Student's t over {units} units"
        parameters = {"error": (scale * error)[()], "freedom": _freedom(pseudo)}
        return Estimate((scale * value)[()], "student", parameters, text, self.values.shape[-1])

    def _units(self, moment: np.ndarray) -> np.ndarray:
        return moment.reshape(*moment.shape[:-1], -1, self.group).mean(axis=-1)

    def _moments(self, statistic: str, normalised: bool = False, weighted: bool = True) -> Moments:
        """What to average (each (..., n)), the function of the averages, and the factor in front of it."""
        f = self.values
        if statistic in ("variance", "poincare_bound"):
            if statistic == "poincare_bound":
                slopes = self._slopes() * (f[..., None] if self.log else 1.0)
                slopes, size = _in_units(slopes, float(np.abs(slopes).max(initial=0.0)))
                return [self._energy(slopes, weighted)], lambda e: e, self._scale(2, size)
            centred = f - self._mean(f)[..., None]
            reach = float(np.abs(centred).max()) or 1.0
            centred, size = _in_units(centred, reach * float(np.sqrt(self._mean((centred / reach) ** 2).max())))
            return [centred**2, centred], lambda square, mean: square - mean**2, self._scale(2, size)
        mean = self._positive_mean()
        if self.weights is None:
            self._counting(f)
        u = f / mean[..., None]
        scale = 1.0 if normalised else self._scale(1) * mean
        over = (lambda value, average: value / (1 + average)) if normalised else (lambda value, average: value)
        if statistic == "entropy":
            return [bregman(u - 1), u - 1], lambda b, average: over(b - bregman(average), average), scale
        if self.log:
            information = self._energy(self._slopes(), weighted) * u
        else:
            energy = self._energy(self._slopes() / mean[..., None, None], weighted)
            rounding = 1e-20 * energy.max(initial=0.0)  # where f is 0 but for rounding, so is its gradient
            if ((f == 0) & (energy > rounding)).any():
                checks.fail("f", "a zero gradient where f = 0", "another", "a smooth f >= 0 has it: check the gradient")
            information = np.divide(energy, u, out=np.zeros_like(energy), where=f > 0)
        half = 0.5 if statistic == "log_sobolev_bound" else 1.0
        return [half * information, u - 1], over, scale

    def _counting(self, f: np.ndarray) -> None:
        """Refuse draws of which a few carry all of E f: from n draws no entropy above E f ln n can be seen."""
        n, share = f.shape[-1], f / f.max(axis=-1, keepdims=True)
        effective = float(np.median(share.sum(axis=-1) ** 2 / (share**2).sum(axis=-1)))
        if effective < min(_COUNTING, n / 100) or (n > 1 and effective <= 1 + 1e-9):
            remedy = "shrink f or its perturbation, or use quadrature (order=)"
            checks.fail("f", f"{_COUNTING} draws or more that count", f"{effective:.3g} of {n} (effective)", remedy)

    def _mean(self, f: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            mean = np.asarray(f.mean(axis=-1) if self.weights is None else f @ self.weights)
        if not np.isfinite(mean).all():
            checks.fail("f", "a mean that float64 holds", "overflow", "divide f by a constant: Ent(c f) = c Ent(f)")
        return mean

    def _positive_mean(self) -> np.ndarray:
        if self.values.min() < 0:
            checks.fail("f", "f >= 0", f"{self.values.min():.3g}", "entropy and information are for non-negative f")
        mean = self._mean(self.values)
        if not (mean > 0).all():
            checks.fail("f", "f > 0 somewhere", "0 at every point", "there is nothing to measure")
        return mean

    def _scale(self, power: int, size: float = 1.0) -> float:
        exponent = power * (self.shift + float(np.log(size)))
        if max(exponent, self.shift) > 700:
            remedy = "ask for normalised=True, or shift log f (divide f by a constant): Ent(c f) = c Ent(f)"
            checks.fail("f", "values below e^700 (variance: e^350)", f"e^{exponent / power:.4g}", remedy)
        return float((np.exp(self.shift) * size) ** power)

    def _slopes(self) -> np.ndarray:
        if self.gradients is None:
            checks.fail("evaluations", "gradients", "none", "evaluate(..., gradients=True)")
        return self.gradients

    def _energy(self, slopes: np.ndarray, weighted: bool) -> np.ndarray:
        if weighted and self.metric is not None:
            return ((slopes @ self.metric) * slopes).sum(axis=-1)
        return (slopes**2).sum(axis=-1)


def _in_units(x: np.ndarray, size: float) -> tuple[np.ndarray, float]:
    """x/size, and size or 1 for 0: squares of what is tiny or huge keep their digits."""
    return (x / size, size) if size else (x, 1.0)


def _freedom(pseudo: np.ndarray) -> Any:
    """Degrees of freedom of the spread of pseudo-values, (..., units): 2 s^4/Var(s^2), from their kurtosis.

    For Gaussian ones about units - 1. Entropies have heavy tails, and a spread measured on a few large values is worth
    fewer degrees of freedom: the interval says so (Satterthwaite 1946).
    """
    units = pseudo.shape[-1]
    centred = pseudo - pseudo.mean(axis=-1, keepdims=True)
    second = (centred**2).mean(axis=-1)
    fourth = (centred**4).mean(axis=-1)
    kurtosis = np.divide(fourth, second**2, out=np.full_like(second, 3.0), where=second > 0)
    excess = np.maximum(kurtosis - (units - 3) / (units - 1), 2.0)
    return np.clip(2 * units / excess - 1, 1, units - 1)[()]


def _leave_one_out(x: np.ndarray, h: Callable[..., np.ndarray]) -> np.ndarray:
    """h of the averages without unit i, for every i; x is (moments, ..., units)."""
    units = x.shape[-1]
    return h(*((x.sum(axis=-1, keepdims=True) - x) / (units - 1)))
