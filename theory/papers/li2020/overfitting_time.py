"""Overfitting takes time: gradient descent needs of the order eps0^-2 steps to tell inputs at distance eps0 apart.

A step of size eta that lowers the loss as it should, by at least ||W_{t+1} - W_t||^2 / (2 eta), can only go far if the
loss has far to fall. Together with C6 (weights that overfit lie far away) this bounds the number of steps from below,
for the nonlinear network, with no kernel approximation. This is the theorem's reason to stop early.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import sympy as sp
import torch

from theory import checks, descent, two_points
from theory.arrays import Array
from theory.claim import Claim, Family, symbols
from theory.descent import Trajectory
from theory.estimate import Estimate
from theory.networks import TwoLayer
from theory.papers.li2020.overfitting_claims import LINEAR, SLOPE
from theory.papers.li2020.overfitting_symbols import EPSILON, measure, output_rounding, stack
from theory.verdict import Verdict, Verdicts

DESCENT = {
    "T": "number of steps made",
    "eta": "step size [1/kernel]",
    "F": "Loss_0 - Loss_T [loss]",
    "Q": "max over steps of Loss_{t+1} - Loss_t + ||W_{t+1} - W_t||_F^2 / (2 eta) [loss]",
    "R": "rounding allowed per step [loss]",
}
NOTATION = {"eta": r"\eta"}
T, eta, F, Q, R, d, p = symbols("T eta F Q R d p")
DECREASE = (
    ("each step lowers the loss by ||W_{t+1} - W_t||^2 / (2 eta), within rounding", sp.Le(Q, R)),
    ("the loss has fallen", sp.Gt(F, 0)),
)
RECORD: dict[str, Any] = {"reference": "derived", "proof": "paper_notes/li2020.md#c13", "hypotheses": DECREASE}

DISPLACEMENT = Claim(
    "C13.displacement",
    "going far takes steps: T >= D_T^2 / (2 eta (Loss_0 - Loss_T))",
    sp.Ge(T, d**2 / (2 * eta * (F + T * R)), evaluate=False),
    DESCENT | {"d": "||W_T - W0||_F [1]"},
    notation=NOTATION | {"d": "D_T"},
    **RECORD,
)
# C6's best lower bound on the distance, as it stands there
_least = sp.Max(LINEAR.relation.rhs, SLOPE.relation.rhs)
GAP = Claim(
    "C13.gap",
    "telling two inputs apart takes steps: the same with C6's least distance for their gap",
    sp.Ge(T, _least**2 / (2 * eta * (F + T * R)), evaluate=False),
    DESCENT | {name: text for name, text in (*LINEAR.meanings.items(), *SLOPE.meanings.items()) if name != "D"},
    notation=NOTATION | dict(LINEAR.notation),
    **(RECORD | {"hypotheses": (*DECREASE, *LINEAR.hypotheses), "vacuous": LINEAR.vacuous}),
)
RATE = Claim(
    "C13.rate",
    "the steps until the outputs at two inputs with labels -1 and +1 are 1 apart grow as eps0^-2",
    sp.Eq(p, 2),
    {"p": "exponent of the number of steps in 1/eps0 [1]"},
    kind="rate",
    tolerance=sp.Rational(1, 10),
    reference="derived",
    proof="paper_notes/li2020.md#c13",
)


def check_overfitting_time(
    trajectory: Trajectory,
    X: Array,
    pairs: Sequence[tuple[int, int]] | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    seed: int | None = None,
) -> Verdicts:
    """Judge every recorded step of a run of gradient descent, on any labels, that started at W0 with T = 0.

    Args:
        trajectory: from `theory.descent.train`.
        X: the inputs that it was trained on, (n, d).
        pairs: indices (i, j) of inputs; by default the pair that the last weights tell apart most steeply.
        settings: for the record.
        seed: for the record.

    Returns:
        C13.displacement with one point per recorded step after the first; C13.gap, one verdict per pair, for a
        `TwoLayer`. Where some step did not lower the loss as it should, the rest of the run is out of scope.

    Raises:
        InvalidInput: wrong shapes, indices out of range, a trajectory that records no step after the first.
    """
    later = trajectory.steps > 0
    if not later.any():
        checks.fail("trajectory", "a recorded step after the first", "none", "train longer or record more")
    settings = dict(settings or {}) | {"step size": trajectory.step}
    points = torch.as_tensor(X).detach().cpu()
    if len(points) != trajectory.predictions.shape[1]:
        checks.fail(
            "X", f"the {trajectory.predictions.shape[1]} inputs of the run", len(points), "pass the same inputs"
        )
    rounding = _loss_rounding(trajectory, points)
    shared: dict[str, Any] = {
        "T": Estimate.exact(trajectory.steps[later].astype(object)),
        "eta": Estimate.exact(trajectory.step),
        "F": Estimate.computed(trajectory.loss[0] - trajectory.loss[later], error=rounding),
        "Q": Estimate.computed(trajectory.worst_decrease[later], error=rounding),
        "R": Estimate.exact(2 * rounding),
    }
    distance = Estimate.computed(trajectory.distance[later])
    verdicts = Verdicts([DISPLACEMENT.check(settings=settings, seed=seed, d=distance, **shared)])
    if not isinstance(trajectory.network0, TwoLayer):
        return verdicts
    for first, second in [_steepest(trajectory, points)] if pairs is None else pairs:
        for index in (first, second):
            checks.integer("pairs", index, minimum=0, maximum=len(points) - 1)
        verdicts.append(_check_gap(trajectory, points, first, second, later, shared, settings, seed))
    return verdicts


def steps_until_apart(network: TwoLayer, X: Array, y: Array, step: float, gap: float = 1.0, most: int = 10**6) -> int:
    """Steps of gradient descent until |f(x2) - f(x1)| >= gap for two inputs X (2, d) with labels y.

    Raises:
        InvalidInput: not two inputs, or not reached within `most` steps.
    """
    target = checks.number("gap", gap, low=0, open_low=True)
    for now in islice(descent.descend(network, X, y, step), checks.integer("most", most, minimum=1) + 1):
        outputs = now.residual.tolist()
        if len(outputs) != 2:
            checks.fail("X", "two inputs", len(outputs), "choose a pair")
        if abs(outputs[1] + float(y[1]) - outputs[0] - float(y[0])) >= target:
            return now.tau
    checks.fail("gap", f"reached within {most} steps", "never", "ask a smaller gap or more steps")


def experiment_overfitting_time(budget: str = "small", seed: int = 0) -> Verdicts:
    """Gradient descent on two points: every recorded step of a few runs, and the eps0^-2 law over initialisations.

    Args:
        budget: "small" (softplus, width 2048, 6 seeds) or "full" (softplus and erf, width 16384, 10 seeds).
        seed: of the first initialisation.
    """
    small = checks.choice("budget", budget, ("small", "full")) == "small"
    width, draws = (2048, 6) if small else (16384, 10)
    separations = np.array([0.3, 0.2, 0.14, 0.1] if small else [0.3, 0.2, 0.14, 0.1, 0.07, 0.05])
    labels, verdicts = [-1.0, 1.0], Verdicts()
    for activation in ("softplus",) if small else ("softplus", "erf"):
        settings = {"activation": activation, "width": width, "separations": separations, "seeds": draws}
        counts = np.empty((draws, len(separations)))
        for row in range(draws):
            network = TwoLayer.initialise(width, 2, activation, paired=True, seed=seed + row)
            step = descent.largest_step(network, two_points.pair(0.1)) / 2
            for column, apart in enumerate(separations):
                X = two_points.pair(float(apart))
                counts[row, column] = steps_until_apart(network, X, labels, step)
                if row == 0:
                    run = descent.train(network, X, labels, step=step, steps=int(2 * counts[0, column]), record=12)
                    record = {"activation": activation, "width": width, "separation": float(apart)}
                    verdicts += check_overfitting_time(run, X, settings=record, seed=seed)
        exponent = Estimate.exponent(1 / separations, counts)
        verdicts.append(RATE.check(settings=settings, seed=seed, p=exponent))
    return verdicts


def _check_gap(
    trajectory: Trajectory,
    X: torch.Tensor,
    first: int,
    second: int,
    later: np.ndarray,
    shared: dict[str, Any],
    settings: Mapping[str, Any],
    seed: int | None,
) -> Verdict:
    """C13.gap for one pair: the gap from the recorded predictions, the rest from the network at W0."""
    pair = X[[first, second]]
    network0 = trajectory.network0
    assert isinstance(network0, TwoLayer)
    fixed = measure(network0, network0, pair[0], pair[1])["pair"]
    gaps = trajectory.predictions[:, second] - trajectory.predictions[:, first]
    error = _output_rounding(trajectory, pair).sum()
    values: dict[str, Any] = {name: stack([fixed[name]]) for name in GAP.meanings if name in fixed}
    values |= shared | {
        "y": Estimate.computed(gaps[later], error=error),
        "c": Estimate.computed(gaps[later] - gaps[0], error=2 * error),
    }
    return GAP.check(settings={**settings, "pair": f"{first}, {second}"}, seed=seed, **values)


def _steepest(trajectory: Trajectory, X: torch.Tensor) -> tuple[int, int]:
    """The two different inputs with the largest slope |f_j - f_i| / ||x_j - x_i|| at the last step."""
    outputs = torch.from_numpy(trajectory.predictions[-1]).to(X)
    apart = torch.cdist(X, X, compute_mode="donot_use_mm_for_euclid_dist")
    slopes = (outputs[:, None] - outputs).abs() / torch.where(apart > 0, apart, torch.inf)
    index = int(slopes.argmax())
    if not float(slopes.flatten()[index]) > 0:
        return 0, int(apart[0].argmax())
    return index // len(X), index % len(X)


def _output_rounding(trajectory: Trajectory, X: torch.Tensor) -> np.ndarray:
    """Rounding errors of the recorded predictions: the larger of those at both ends of the run, in its precision."""
    ends = [end for end in (trajectory.network0, trajectory.network) if isinstance(end, TwoLayer)]
    bounds = [output_rounding(end, X.to(end.W.device)).numpy(force=True) for end in ends]
    if not ends:  # another module: about a thousand roundings of its largest output
        bounds = [np.full(len(X), 1e3 * EPSILON * max(1.0, float(np.abs(trajectory.predictions).max())))]
    return np.max(bounds, axis=0) * torch.finfo(_dtype(trajectory)).eps / EPSILON


def _loss_rounding(trajectory: Trajectory, X: torch.Tensor) -> float:
    """Rounding of one loss, and so of one step's decrease: sqrt(2 N Loss) max error of an output + (n + 16) eps Loss.

    N is the total weight of the examples, n times the average weight that the first loss shows.
    """
    largest, first = float(trajectory.loss.max()), float(np.square(trajectory.residuals[0]).sum())
    weight = len(X) * max(1.0, 2 * float(trajectory.loss[0]) / first if first > 0 else 1.0)
    error = float(_output_rounding(trajectory, X).max())
    precision = torch.finfo(_dtype(trajectory)).eps
    return float(2 * np.sqrt(2 * weight * largest) * error + weight * error**2 + (len(X) + 16) * precision * largest)


def _dtype(trajectory: Trajectory) -> torch.dtype:
    return next(parameter.dtype for parameter in trajectory.network0.parameters() if parameter.requires_grad)


C13 = Family(
    "C13",
    "overfitting takes time: the number of steps that a distance, or a gap between close inputs, costs at least",
    (DISPLACEMENT, GAP, RATE),
    check_overfitting_time,
    experiment_overfitting_time,
)
