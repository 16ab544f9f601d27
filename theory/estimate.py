"""Estimates: a measured value with its interval, its method and its sample size.

Four families of interval, each recomputed at whatever level a table of verdicts asks for:
`enclosure` (certain: exact values and stated rounding errors), `student` (means and slopes), `binomial`
(Clopper-Pearson), `order` (distribution-free quantiles). Only an int, a Fraction or an enclosure is exact.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from theory import checks

ROUNDING = 1e-12
"""Relative error that a plain float is taken to carry when its maker stated none."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """A measured number, or array of numbers, with the interval that the measurement supports.

    Make one with `exact`, `computed`, `enclosure`, `mean`, `proportion`, `quantile` or `exponent`.

    Attributes:
        value: the point estimate; int, Fraction, float or float array.
        family: which interval: enclosure, student, binomial or order.
        parameters: what that interval is computed from.
        method: how the value was obtained, in words.
        size: number of draws behind each value; 0 for a deterministic computation.
    """

    value: Any
    family: str
    parameters: Mapping[str, Any]
    method: str
    size: int = 0

    @classmethod
    def exact(cls, value: Any, method: str = "exact") -> "Estimate":
        """An int, a Fraction, or floats that are exactly what they claim to be (settings, counts)."""
        _refuse_nan("exact value", value)
        return cls(value, "enclosure", {"low": value, "high": value}, method)

    @classmethod
    def computed(
        cls, value: Any, error: Any = None, relative: float = ROUNDING, method: str = "float64 computation"
    ) -> "Estimate":
        """A deterministic floating-point result with its stated error.

        Args:
            value: float or array.
            error: absolute error, broadcast against `value`; by default `relative * |value|`.
            relative: relative error, used where `error` is None.
            method: how it was computed.

        Raises:
            InvalidInput: NaN in the value, or a negative error.
        """
        value = _real("computed value", value)
        error = np.abs(np.where(np.isfinite(value), value, 0.0)) * relative if error is None else _real("error", error)
        if np.any(error < 0):
            checks.fail("error", "a non-negative number", float(np.min(error)), "state the absolute rounding error")
        low, high = np.nextafter(value - error, -np.inf), np.nextafter(value + error, np.inf)
        low, high = np.where(error == 0, value, low), np.where(error == 0, value, high)
        return cls(value, "enclosure", {"low": low, "high": high}, method)

    @classmethod
    def enclosure(cls, low: Any, high: Any, method: str = "enclosure") -> "Estimate":
        """A value known to lie in [low, high].

        Raises:
            InvalidInput: NaN, or low > high.
        """
        low, high = _real("low", low), _real("high", high)
        if np.any(low > high):
            checks.fail("enclosure", "low <= high", f"{low} > {high}", "swap the ends")
        with np.errstate(invalid="ignore"):
            middle = np.where(np.isfinite(low) & np.isfinite(high), low + (high - low) / 2, low)
        return cls(middle[()], "enclosure", {"low": low, "high": high}, method)

    @classmethod
    def mean(cls, sample: Any, axis: int = 0, method: str = "mean, Student's t") -> "Estimate":
        """The mean over `axis` of independent draws, with Student's t interval.

        Raises:
            InvalidInput: fewer than two draws, or NaN.
        """
        sample = _real("sample", sample)
        draws = sample.shape[axis] if sample.ndim else 0
        if draws < 2:
            checks.fail("sample", "at least 2 draws", draws, "an interval needs a measured spread: draw more")
        error = sample.std(axis=axis, ddof=1) / math.sqrt(draws)
        return cls(sample.mean(axis=axis), "student", {"error": error, "freedom": draws - 1}, method, draws)

    @classmethod
    def proportion(cls, successes: Any, trials: int, method: str = "proportion, Clopper-Pearson") -> "Estimate":
        """A probability from `successes` out of `trials` independent draws (Clopper & Pearson's exact interval).

        Example:
            >>> low, high = Estimate.proportion(0, 200).interval(0.99)
            >>> float(low), round(float(high), 4)
            (0.0, 0.0261)
        """
        trials = checks.integer("trials", trials, minimum=1)
        successes = _real("successes", successes)
        if np.any((successes < 0) | (successes > trials) | (successes != np.round(successes))):
            checks.fail("successes", f"whole numbers in [0, {trials}]", successes, "count the events")
        return cls(successes / trials, "binomial", {"successes": successes, "trials": trials}, method, trials)

    @classmethod
    def quantile(cls, sample: Any, q: float = 0.5, method: str | None = None) -> "Estimate":
        """The q-quantile of the distribution behind independent draws, with the order-statistics interval.

        Args:
            sample: (draws,) numbers.
            q: in (0, 1).
            method: how it was measured; a standard text by default.
        """
        sample = np.sort(_real("sample", sample))
        checks.vector("sample", sample)
        q = checks.number("q", q, 0, 1, open_low=True, open_high=True)
        value = float(np.quantile(sample, q))
        method = method or f"{q:g}-quantile, order statistics"
        return cls(value, "order", {"sample": sample, "q": q}, method, len(sample))

    @classmethod
    def exponent(cls, x: Any, y: Any, method: str = "log-log slope") -> "Estimate":
        """The exponent p of y ~ x^p: the least-squares slope of log y on log x.

        Args:
            x: (points,) positive abscissae, at least two distinct.
            y: (points,) or (replicates, points) positive ordinates. With one row the interval is the regression's
                (points - 2 degrees of freedom); with replicates it is Student's over the replicates' slopes.
            method: how it was measured.

        Raises:
            InvalidInput: non-positive data, fewer than three points in one row, shapes that do not match.
        """
        x, y = _real("x", x), _real("y", y)
        checks.vector("x", x)
        if y.ndim not in (1, 2) or y.shape[-1] != len(x):
            checks.fail("y", f"shape ({len(x)},) or (replicates, {len(x)})", y.shape, "one ordinate per abscissa")
        if np.any(x <= 0) or np.any(y <= 0):
            checks.fail("x and y", "positive numbers", "a zero or negative entry", "leave such points out, and say so")
        centred = np.log(x) - np.log(x).mean()
        if not centred @ centred > 0:
            checks.fail("x", "at least two distinct abscissae", x, "vary the parameter")
        slopes = np.log(y) @ centred / (centred @ centred)
        if y.ndim == 2 and len(y) > 1:
            spread = {"error": float(slopes.std(ddof=1) / math.sqrt(len(y))), "freedom": len(y) - 1}
            return cls(float(slopes.mean()), "student", spread, f"{method}, t over {len(y)} replicates", len(y))
        if len(x) < 3:
            checks.fail("points", "at least 3 for one replicate", len(x), "add points or replicates")
        slope, log_y = float(np.squeeze(slopes)), np.log(np.squeeze(y))
        residual = log_y - log_y.mean() - slope * centred
        error = float(np.sqrt(residual @ residual / (len(x) - 2) / (centred @ centred)))
        text = f"{method}, regression on {len(x)} points"
        return cls(slope, "student", {"error": error, "freedom": len(x) - 2}, text, len(x))

    @classmethod
    def of(cls, value: Any) -> "Estimate":
        """An Estimate from whatever a caller has: Estimates as they are, ints and Fractions exact, floats computed."""
        if isinstance(value, Estimate):
            return value
        if isinstance(value, (int, np.integer, Fraction)) and not isinstance(value, bool):
            return cls.exact(int(value) if isinstance(value, np.integer) else value)
        array = np.asarray(value)
        if array.dtype.kind in "bui":
            return cls.exact(array.astype(object))
        if array.dtype == object and all(isinstance(entry, (int, Fraction)) for entry in array.flat):
            return cls.exact(array)
        if array.dtype.kind != "f":
            checks.fail("value", "numbers", f"dtype {array.dtype}", "give floats, ints, Fractions or an Estimate")
        return cls.computed(array[()])

    @property
    def random(self) -> bool:
        """Whether the interval covers with a probability rather than with certainty."""
        return self.family != "enclosure"

    def interval(self, level: float = 0.99) -> tuple[Any, Any]:
        """The interval's ends, of the value's shape, each with coverage at least `level`.

        Raises:
            InvalidInput: level outside (0, 1).
        """
        level = checks.number("level", level, 0, 1, open_low=True, open_high=True)
        return _INTERVALS[self.family](self, level)

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary that `from_json` turns back into the same Estimate, bit for bit."""
        parameters = {name: encode(value) for name, value in self.parameters.items()}
        kept = {"value": encode(self.value), "parameters": parameters}
        return {"family": self.family, "method": self.method, "size": self.size, **kept}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Estimate":
        """The Estimate that `to_json` described. Text is never evaluated.

        Raises:
            InvalidInput: an unknown family.
        """
        checks.choice("family", data["family"], _INTERVALS)
        parameters = {name: decode(value) for name, value in data["parameters"].items()}
        return cls(decode(data["value"]), data["family"], parameters, data["method"], data["size"])

    def __repr__(self) -> str:
        if np.ndim(self.value):
            return f"Estimate({np.shape(self.value)} values, {self.method}, size={self.size})"
        low, high = self.interval()
        return (
            f"Estimate({float(self.value):.6g} [{float(low):.6g}, {float(high):.6g}], {self.method}, size={self.size})"
        )


def _enclosure(estimate: Estimate, level: float) -> tuple[Any, Any]:
    return estimate.parameters["low"], estimate.parameters["high"]


def _student(estimate: Estimate, level: float) -> tuple[Any, Any]:
    from scipy import special

    half = special.stdtrit(estimate.parameters["freedom"], (1 + level) / 2) * estimate.parameters["error"]
    return estimate.value - half, estimate.value + half


def _binomial(estimate: Estimate, level: float) -> tuple[Any, Any]:
    from scipy import stats

    hits, trials = estimate.parameters["successes"], estimate.parameters["trials"]
    tail = (1 - level) / 2
    low = np.where(hits == 0, 0.0, stats.beta.ppf(tail, np.maximum(hits, 1), trials - hits + 1))
    high = np.where(hits == trials, 1.0, stats.beta.isf(tail, hits + 1, np.maximum(trials - hits, 1)))
    return low[()], high[()]


def _order(estimate: Estimate, level: float) -> tuple[Any, Any]:
    from scipy import stats

    sample, q = estimate.parameters["sample"], estimate.parameters["q"]
    size, tail = len(sample), (1 - level) / 2
    # X_(j) <= quantile unless fewer than j draws fall at or below it: choose j by the binomial's tails
    below = int(stats.binom.ppf(tail, size, q))
    above = int(stats.binom.isf(tail, size, q)) + 1
    low = sample[below - 1] if below >= 1 else -np.inf
    high = sample[above - 1] if above <= size else np.inf
    return float(low), float(high)


_INTERVALS = {"enclosure": _enclosure, "student": _student, "binomial": _binomial, "order": _order}


def _real(name: str, value: Any) -> Any:
    array = np.asarray(value, dtype=float)
    _refuse_nan(name, array)
    return array if array.ndim else array[()]


def _refuse_nan(name: str, value: Any) -> None:
    array = np.asarray(value)
    if array.dtype.kind == "f" and np.isnan(array).any():
        checks.fail(name, "numbers", "NaN", "leave failed measurements out, and count them")


def encode(value: Any) -> Any:
    """Numbers, Fractions and arrays as JSON without loss: infinities and Fractions become tagged strings."""
    if isinstance(value, np.ndarray):
        return {"array": [encode(entry) for entry in value.ravel().tolist()], "shape": list(value.shape)}
    if isinstance(value, Fraction):
        return {"fraction": str(value)}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    return value


def decode(value: Any) -> Any:
    """The inverse of `encode`."""
    if not isinstance(value, dict):
        return value
    if "array" in value:
        entries = [decode(entry) for entry in value["array"]]
        exact = any(isinstance(entry, Fraction) for entry in entries)
        return np.array(entries, dtype=object if exact else None).reshape(value["shape"])
    return Fraction(value["fraction"]) if "fraction" in value else float(value["float"])
