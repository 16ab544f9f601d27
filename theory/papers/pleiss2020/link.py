"""Early stopping, AUM and the neural covariance are one story (A5).

A kernel, the observed labels and a step size say without any training when to stop, how well AUM separates wrong labels
from right ones after each epoch, and until when. Inside the stopping window every wrongly labelled example has a
negative margin and every other one a positive margin, so AUM, a mean over epochs, separates them for as long as the
window is open and well beyond. Cf. Pleiss et al. (2020), Li, Soltanolkotabi & Oymak (2020); the relations stand in
`link_claims`.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from theory import arrays, aum, checks, clusterable, covariance, descent, early_stopping, label_noise
from theory.arrays import Array
from theory.claim import Family
from theory.early_stopping import Window
from theory.estimate import Estimate
from theory.networks import TwoLayer
from theory.papers.pleiss2020.link_claims import AUC, LIMIT, SEPARATES, WIDTH, WIDTH_LIMIT, WINDOW
from theory.verdict import Verdicts

_EPSILON = float(np.finfo(float).eps)
_POINTS = 30  # of a sweep over steps or epochs


@dataclass(frozen=True, eq=False)
class Course:
    """What becomes of noisy labels -1, +1 along descent: measured on a network, or predicted from a kernel.

    Attributes:
        outputs: f_t at the steps 0 ... T, (T + 1, n).
        truth: true labels (n,).
        observed: labels trained on (n,), some of them wrong.
    """

    outputs: Float[np.ndarray, "T1 n"]
    truth: Float[np.ndarray, " n"]
    observed: Float[np.ndarray, " n"]

    @property
    def mislabeled(self) -> np.ndarray:
        """Whether each observed label is wrong, bool (n,)."""
        return self.truth != self.observed

    @property
    def steps(self) -> int:
        """T."""
        return len(self.outputs) - 1

    @property
    def errors(self) -> Float[np.ndarray, " T1"]:
        """Largest |f_t - truth| at each step."""
        return np.abs(self.outputs - self.truth).max(axis=1)

    @property
    def window(self) -> Window:
        """The steps at which every output is within 1 of its true label."""
        return early_stopping.stopping_window(self.errors, np.arange(self.steps + 1), 2.0)

    def areas(self, epochs: Sequence[int] | np.ndarray) -> Float[np.ndarray, "E n"]:
        """AUM 2 y_i mean(f_1 ... f_T) of each example after so many epochs."""
        sums = np.cumsum(self.outputs[1:], axis=0)[np.asarray(epochs) - 1]
        return 2 * self.observed * sums / np.asarray(epochs)[:, None]

    def aucs(self, epochs: Sequence[int] | np.ndarray) -> Float[np.ndarray, " E"]:
        """AUC of AUM after so many epochs."""
        return np.array([float(aum.auc(area, self.mislabeled)) for area in self.areas(epochs)])

    def separates_until(self, epochs: Sequence[int] | np.ndarray, level: float = 0.99) -> int | None:
        """The last of these epochs after which the AUC is still at least `level`; None if it never is."""
        return last_epoch(np.asarray(epochs), self.aucs(epochs), level)


def last_epoch(epochs: Int[np.ndarray, " E"], aucs: Float[np.ndarray, " E"], level: float = 0.99) -> int | None:
    """The last epoch with an AUC of at least `level`; None if there is none.

    Example:
        >>> last_epoch(np.array([1, 10, 100]), np.array([0.97, 1.0, 0.9]))
        10
    """
    enough = np.flatnonzero(aucs >= checks.number("level", level, 0, 1))
    return int(epochs[enough[-1]]) if len(enough) else None


def predict(K: Array, truth: Array, observed: Array, *, step: float, steps: int, start: Array | None = None) -> Course:
    """The course of linearised descent with a kernel, without any training.

    Args:
        K: neural covariance of the inputs, or the empirical kernel of a network at W0, (n, n).
        truth: true labels -1, +1, (n,); they only say what the course is compared with.
        observed: labels to train on, (n,).
        step: eta > 0.
        steps: T >= 1.
        start: f_0 (n,), zero if left out.

    Raises:
        InvalidInput: other labels, no wrong or no right one, wrong shapes, NaN.
    """
    steps = checks.integer("steps", steps, minimum=1)
    (kernel, true, seen, first), _ = arrays.tensors(K=K, truth=truth, observed=observed, start=start)
    true, seen = _labels(true, seen)
    zero = np.zeros(len(seen)) if first is None else first.double().numpy(force=True)
    matrix = kernel.double().numpy(force=True)
    residuals = early_stopping.linearised(matrix, zero - seen, step, np.arange(steps + 1))
    return Course(residuals + seen, true, seen)


def follow(network: torch.nn.Module, X: Array, truth: Array, observed: Array, *, step: float, steps: int) -> Course:
    """Train a network, which is not modified, by full-batch descent, and keep its outputs after every step.

    Args:
        network: with one real output per example.
        X: inputs (n, d).
        truth: true labels -1, +1, (n,).
        observed: labels to train on, (n,).
        step: eta > 0.
        steps: T >= 1.

    Raises:
        InvalidInput: what `descent.descend` refuses, other labels than -1 and +1, no wrong or no right one.
        Diverged: the step is too large.
    """
    steps = checks.integer("steps", steps, minimum=1)
    (true, seen), _ = arrays.tensors(truth=truth, observed=observed)
    true, seen = _labels(true, seen)
    run = itertools.islice(descent.descend(network, X, seen, step), steps + 1)
    return Course(np.array([now.residual.double().numpy(force=True) + seen for now in run]), true, seen)


def check_link(network: Course, linear: Course, **record: Any) -> Verdicts:
    """Judge A5.window, A5.auc and A5.separates on a network's course beside the one predicted for it, at 30 steps.

    Args:
        network: measured.
        linear: predicted, for the same labels and as many steps.
        **record: `settings` and `seed` for the verdicts.

    Raises:
        InvalidInput: courses that do not belong together.
    """
    if network.outputs.shape != linear.outputs.shape or not np.array_equal(network.observed, linear.observed):
        checks.fail("courses", "the same labels and number of steps", "others", "predict what was trained")
    steps = np.unique(np.geomspace(1, network.steps, _POINTS).round().astype(int))
    gaps = np.abs(network.outputs - linear.outputs).max(axis=1)
    rounding = 64 * _EPSILON * (1 + np.abs(network.outputs).max())
    ours, theirs = network.areas(steps), linear.areas(steps)
    wrong = network.mislabeled
    aucs = [[aum.auc(area, wrong) for area in course] for course in (ours, theirs)]
    inside = np.cumsum(network.window.inside[1:])[steps - 1]
    close = [_close(a, b, wrong, rounding * T) for a, b, T in zip(ours, theirs, steps, strict=True)]
    return Verdicts(
        [
            WINDOW.check(
                E=Estimate.computed(network.errors[steps], error=0),
                e=Estimate.computed(linear.errors[steps], error=0),
                gap=Estimate.computed(gaps[steps] + rounding, error=0),  # the two subtractions are rounded
                **record,
            ),
            AUC.check(N=_exact(aucs[0]), P=_exact(aucs[1]), close=_exact(close), **record),
            SEPARATES.check(N=_exact(aucs[0]), inside=inside, T=steps, **record),
        ]
    )


def check_limit(K: Array, observed: Array, step: float, epochs: Sequence[int], **record: Any) -> Verdicts:
    """Judge A5.limit for kernel descent with a kernel (n, n) on labels -1, +1, a point per epoch count and example.

    Where the remainder is below rounding, or the kernel singular to rounding, the verdict is inconclusive.

    Raises:
        InvalidInput: wrong shapes, NaN, epochs that are not whole numbers from 1.
    """
    (kernel, seen), _ = arrays.tensors(K=K, observed=observed)
    matrix, y = kernel.double().numpy(force=True), seen.double().numpy(force=True)
    values, vectors = np.linalg.eigh(matrix)
    spread = _EPSILON * len(y) * float(np.abs(values).max())
    least = max(float(values[0]), spread)
    g, _ = aum.mean_decay(step * values, epochs)
    share = y * ((g * (vectors.T @ y)) @ vectors.T)  # 1 - AUM/2, not by subtraction
    end = y * (vectors @ ((1 / (step * np.where(np.abs(values) > spread, values, spread)) - 1) * (vectors.T @ y)))
    error = 10 * _EPSILON * len(y) ** 1.5 * float(np.abs(values).max()) / (abs(step) * least**2)
    measured: dict[str, Any] = {
        "D": Estimate.computed(np.array(epochs)[:, None] * share, error=error),
        "L": Estimate.computed(end, error=error),
        "lam": Estimate.computed(float(values[0]), error=spread),
        "top": Estimate.computed(float(values[-1]), error=spread),
        "eta": Estimate.exact(float(step)),
        "n": len(y),
        "T": np.array(epochs)[:, None],
    }
    return Verdicts([LIMIT.check(**measured, **record)])


def limit_auc(K: Array, truth: Array, observed: Array) -> float:
    """AUC to which that of AUM tends under kernel descent without end: of -y_i [K^-1 y]_i, by A5.limit.

    y_i [K^-1 y]_i is the leave-one-out error of kernel interpolation at example i, times [K^-1]_ii.

    Raises:
        InvalidInput: labels other than -1 and +1, a singular kernel.

    Example:
        >>> limit_auc([[2.0, 1.0, 1.0], [1.0, 2.0, 1.0], [1.0, 1.0, 2.0]], [1, 1, 1], [1, 1, -1])
        1.0
    """
    (kernel, true, seen), _ = arrays.tensors(K=K, truth=truth, observed=observed)
    true, seen = _labels(true, seen)
    matrix = kernel.double().numpy(force=True)
    if np.linalg.cond(matrix) * _EPSILON * len(seen) > 0.01:
        checks.fail("K", "an invertible kernel", "a singular one", "its null space never learns: there is no limit")
    return float(aum.auc(-seen * np.linalg.solve(matrix, seen), true != seen))


def prediction_errors(
    widths: Sequence[int], replicates: int, *, steps: int = 40, seed: int = 0, n: int = 24
) -> tuple[np.ndarray, np.ndarray]:
    """Largest |AUM - predicted AUM| of paired softplus networks, with their own kernel and with the limiting one.

    Each replicate has data, noise and weights of its own; a number is the root mean square over four networks.

    Returns:
        Two arrays (replicates, widths).
    """
    found = np.zeros((2, replicates, len(widths)))
    for replicate in range(replicates):
        data = clusterable.generate(2, 2, 4, size=n, radius=0.3, seed=seed + replicate)
        noisy = label_noise.corrupt(data, 0.25, seed=seed + replicate)
        limiting = covariance.neural_covariance(data.X, "softplus")
        step = 0.9 / float(np.linalg.eigvalsh(limiting)[-1])
        for column, width in enumerate(widths):
            for draw in range(4):
                network = TwoLayer.initialise(width, 4, "softplus", paired=True, seed=4 * (seed + replicate) + draw)
                area = follow(network, data.X, noisy.truth, noisy.y, step=step, steps=steps).areas([steps])
                for row, kernel in enumerate((covariance.empirical_kernel(data.X, network), limiting)):
                    linear = predict(kernel, noisy.truth, noisy.y, step=step, steps=steps).areas([steps])
                    found[row, replicate, column] += np.abs(area - linear).max() ** 2 / 4
    return np.sqrt(found[0]), np.sqrt(found[1])


def experiment_link(budget: str = "small", seed: int = 0) -> Verdicts:
    """A5 on noisy clusters with a trained network, predicted with its kernel and with the limiting one; the rates.

    Args:
        budget: "small" (widths 64 and 1024, 10 replicates) or "full" (four widths to 4096, 20 replicates).
        seed: of the data.
    """
    small = checks.choice("budget", budget, ("small", "full")) == "small"
    verdicts = Verdicts()
    for radius in (0.2, 0.5):
        data = clusterable.generate(2, 2, 8, per_cluster=20, radius=radius, minimum_separation=0.8, seed=seed)
        noisy = label_noise.corrupt(data, 0.2, seed=seed)
        network = TwoLayer.initialise(512, 8, "erf", paired=True, seed=seed)
        limiting = covariance.neural_covariance(data.X, "erf")
        step, steps = 0.9 / float(np.linalg.eigvalsh(limiting)[-1]), 300
        course = follow(network, data.X, data.y, noisy.y, step=step, steps=steps)
        for name, kernel in (("at W0", covariance.empirical_kernel(data.X, network)), ("infinite width", limiting)):
            linear = predict(kernel, data.y, noisy.y, step=step, steps=steps)
            settings = {"kernel": name, "radius": radius, "width": 512}
            verdicts += check_link(course, linear, settings=settings, seed=seed)
        slow = 1 / (step * float(np.linalg.eigvalsh(limiting)[0]))
        epochs = [math.ceil(times * slow) for times in (0.5, 1, 2, 4, 8)]
        verdicts += check_limit(limiting, noisy.y, step, epochs, settings={"radius": radius}, seed=seed)
    widths, replicates = ((64, 1024), 10) if small else ((64, 256, 1024, 4096), 20)
    settings = {"widths": np.array(widths), "replicates": replicates}
    found = prediction_errors(widths, replicates, seed=seed)
    for claim, errors in zip((WIDTH, WIDTH_LIMIT), found, strict=True):
        verdicts.append(claim.check(q=Estimate.exponent(np.array(widths), errors), settings=settings, seed=seed))
    return verdicts


def _close(ours: np.ndarray, theirs: np.ndarray, wrong: np.ndarray, rounding: float) -> Any:
    reach = 2 * float(np.abs(ours - theirs).max()) + rounding
    pairs = np.abs(theirs[wrong][:, None] - theirs[~wrong])
    return Fraction(int((pairs <= reach).sum()), pairs.size)


def _exact(values: Sequence[Any]) -> Estimate:
    return Estimate.exact(np.array(values, dtype=object))


def _labels(truth: Any, observed: Any) -> tuple[np.ndarray, np.ndarray]:
    for name, labels in (("truth", truth), ("observed", observed)):
        checks.vector(name, labels, length=len(truth))
        if not bool((labels.abs() == 1).all()):
            checks.fail(name, "labels -1 and +1", "others", "the window and the margins are those of two classes")
    true, seen = (labels.double().numpy(force=True) for labels in (truth, observed))
    wrong = int((true != seen).sum())
    if not 0 < wrong < len(true):
        checks.fail("observed", "wrong and right labels", f"{wrong} of {len(true)} wrong", "nothing to separate")
    return true, seen


A5 = Family(
    "A5",
    "stopping window and AUC of AUM, epoch by epoch, predicted from the kernel without training",
    (WINDOW, AUC, SEPARATES, LIMIT, WIDTH, WIDTH_LIMIT),
    check_link,
    experiment_link,
)
