"""Overfitting must travel: weights that tell close inputs apart lie far from where they started.

A network that gives two inputs at distance eps0 different outputs is steep between them, and steepness costs distance:
at least of the order delta/eps0, cf. Li, Soltanolkotabi & Oymak (2020). Early stopping works because gradient descent
has to pay this price before it can memorise a wrong label. The bounds hold for any weights, however they were found,
exact fit or not. Many pairs cost sqrt(s) times more when their differences are spread; C6.parallel is the refuted claim
that they always do. The relations stand in `overfitting_claims`, their measurement in `overfitting_symbols`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theory import checks, descent, two_points
from theory.arrays import Array
from theory.claim import Family
from theory.estimate import Estimate
from theory.networks import TwoLayer
from theory.papers.li2020.overfitting_claims import (
    OF_A_PAIR,
    OF_A_SUBSPACE,
    OF_PAIRS,
    PARALLEL,
    QUADRATIC,
    RATE,
    TIGHTNESS,
)
from theory.papers.li2020.overfitting_symbols import Measured, measure, stack
from theory.two_points import TwoPointFit
from theory.verdict import Verdicts

SMALL = (1.0, 0.3, 0.2, 0.14, 0.02)
FULL = (1.0, 0.7, 0.5, 0.3, 0.25, 0.2, 0.17, 0.14, 0.12, 0.1, 0.085, 0.07, 0.05, 0.03, 0.02)


def check_overfitting(
    network0: TwoLayer,
    W: Array | TwoLayer,
    x1: Array,
    x2: Array,
    *,
    basis: Array | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int | None = None,
) -> Verdicts:
    """Judge weights W, whatever they are, by every bound of C6; nothing is assumed about how they were found.

    Args:
        network0: the network at W0.
        W: other weights (k, d), or the network that has them.
        x1: an input (d,), or the first members of s pairs (s, d); of any norm.
        x2: the other input (d,), or the second members (s, d).
        basis: orthonormal columns (2s, r) that span the range of the projector P, acting on the outputs at x1 and
            then x2; by default the differences of the pairs.
        settings: for the record.
        seed: for the record.

    Returns:
        C6.quadratic, linear, slope and norm with one point per pair, then projector, pairs, pairs_distance and
        pairs_linear.

    Raises:
        InvalidInput: wrong shapes, NaN, a pair of equal inputs, a basis that is not orthonormal.
    """
    return _judge([measure(network0, W, x1, x2, basis)], settings, seed)


def check_parallel(network: TwoLayer, X1: Array, X2: Array, *, settings: Mapping[str, Any] | None = None) -> Verdicts:
    """Judge the refuted C6.parallel on the weights of a network and s >= 2 pairs (s, d) with parallel differences."""
    measured = measure(network, network, X1, X2)["pairs"]
    values: dict[str, Any] = {name: measured[name] for name in PARALLEL.meanings}
    return Verdicts([PARALLEL.check(settings=settings, **values)])


def parallel_counterexample(
    pairs: int, separation: float = 0.02, width: int = 4
) -> tuple[TwoLayer, Float[Tensor, "s d"], Float[Tensor, "s d"]]:
    """Weights that tell any number of parallel pairs apart at the price of one; against C6.parallel.

    Orthogonal centres c_i, one direction u orthogonal to all of them, x_i and x_i' = a c_i -/+ (separation/2) u, tanh,
    and w_j = sign(v_j) t u: the outputs are -1 and +1 on every pair and ||W||_F = 2 sqrt(k) artanh(1/sqrt(k)) /
    separation, whatever the number of pairs.

    Returns:
        The network and the two matrices of unit members (pairs, pairs + 1).

    Example:
        >>> network, first, _ = parallel_counterexample(3)
        >>> float(network.W.detach().norm()), network(first).tolist()
        (109.861, [-1.0, -1.0, -1.0])
    """
    half = checks.number("separation", separation, 0, 2, open_low=True) / 2
    width = checks.integer("width", width, minimum=2)
    pairs = checks.integer("pairs", pairs, minimum=1)
    centres = torch.eye(pairs, pairs + 1, dtype=torch.float64) * math.sqrt((1 - half) * (1 + half))
    direction = torch.eye(pairs + 1, dtype=torch.float64)[pairs]
    v = TwoLayer.initialise(width, 1, "tanh").v
    W = v.sign()[:, None] * direction * (math.atanh(1 / math.sqrt(width)) / half)
    return TwoLayer(W, v, "tanh"), centres - half * direction, centres + half * direction


def check_fits(fits: Sequence[TwoPointFit], *, largest: float = 0.3) -> Verdicts:
    """Judge two-point fits of one activation and width: every bound on every fit, then C6.rate and C6.tightness.

    Args:
        fits: from `theory.two_points.fits`: every seed at the same separations.
        largest: the separations up to this one count for the rate, where also Gamma2 ||v||_inf D / 2 <
            Gamma1 ||v||_2 / 10 for every seed; the settings of its verdict list them.

    Returns:
        One point per seed and separation for the bounds; C6.rate over seeds, left out with fewer than two separations
        in its range; C6.tightness over seeds.

    Raises:
        InvalidInput: seeds with different separations.
    """
    separations, seeds = (sorted({getattr(fit, name) for fit in fits}) for name in ("separation", "seed"))
    table = {(fit.seed, fit.separation): fit for fit in fits}
    if len(table) != len(seeds) * len(separations):
        checks.fail("fits", "every seed at every separation", f"{len(table)} fits", "make them by two_points.fits")
    ordered = [table[seed, apart] for seed in seeds for apart in separations]
    network = ordered[0].network0
    settings = {"activation": network.activation.name, "width": network.width, "seeds": len(seeds)}
    verdicts = _judge([measure(fit.network0, fit.network, fit.X[0], fit.X[1]) for fit in ordered], settings, None)
    quadratic = next(verdict for verdict in verdicts if verdict.claim is QUADRATIC)
    distances = np.array([fit.distance for fit in ordered]).reshape(len(seeds), len(separations))
    shares = quadratic.right.value.reshape(distances.shape) / distances

    curvature = network.activation.gamma2 * float(network.v.abs().max()) * distances / 2
    bend = float(curvature.max() / (network.activation.gamma1 * float(network.v.norm())))
    verdicts.append(TIGHTNESS.check(settings=settings, ratio=Estimate.quantile(shares.min(axis=1)), bend=bend))
    linear = (curvature < network.activation.gamma1 * float(network.v.norm()) / 10).all(axis=0)
    used = linear & (np.array(separations) <= largest)
    if used.sum() >= (2 if len(seeds) > 1 else 3):
        inverse = 1 / np.array(separations)[used]
        record = settings | {"points": int(used.sum()), "separations": np.array(separations)[used]}
        verdicts.append(RATE.check(settings=record, p=Estimate.exponent(inverse, distances[:, used])))
    return verdicts


def experiment_overfitting(budget: str = "small", seed: int = 0) -> Verdicts:
    """Two-point fits by Gauss-Newton and by descent, pairs with spread differences, and the counterexample.

    Args:
        budget: "small" (width 4096, 14 seeds) or "full" (width 16384, 20 seeds, more separations).
        seed: of the first initialisation.
    """
    small = checks.choice("budget", budget, ("small", "full")) == "small"
    width, draws = (4096, 14) if small else (16384, 20)
    verdicts = Verdicts()
    for activation in ("softplus", "erf", "tanh"):
        fits = two_points.fits(
            activation, SMALL if small else FULL, width=width, seeds=range(draws * seed, draws * (seed + 1))
        )
        verdicts += check_fits(fits)
        if activation == "softplus" or not small:
            verdicts += compare_with_descent(activation, width=512 if small else width, seed=seed)
    verdicts += _spread_pairs(width // 8, seed)
    for pairs in (2, 16):
        network, first, second = parallel_counterexample(pairs)
        verdicts += check_parallel(network, first, second, settings={"pairs": pairs})
    return verdicts


def compare_with_descent(
    activation: str, separation: float = 0.3, *, width: int = 4096, tolerance: float = 1e-3, seed: int = 0
) -> Verdicts:
    """The same fit by gradient descent, judged by every bound; the settings hold its distance over Gauss-Newton's."""
    fit = two_points.fit(activation, separation, width=width, seed=seed)
    step = descent.largest_step(fit.network0, fit.X) / 2
    for now in descent.descend(fit.network0, fit.X, fit.y, step):
        if float(now.residual.abs().max()) <= tolerance:
            break
    ratio = float((now.W - fit.network0.W.detach()).norm()) / fit.distance
    settings = {"activation": activation, "width": width, "separation": separation, "fit": "gradient descent"}
    settings |= {"steps": now.tau, "distance over Gauss-Newton's": ratio}
    return check_overfitting(fit.network0, now.W, fit.X[0], fit.X[1], settings=settings, seed=seed)


def _spread_pairs(width: int, seed: int, pairs: int = 4, separation: float = 0.2) -> Verdicts:
    """Orthogonal centres, each with a pair along a direction of its own, fitted to -1 and +1."""
    axes = torch.eye(2 * pairs, dtype=torch.float64)
    half = separation / 2
    first, second = (math.sqrt(1 - half**2) * axes[:pairs] + sign * half * axes[pairs:] for sign in (-1, 1))
    network0 = TwoLayer.initialise(width, 2 * pairs, "tanh", paired=True, seed=seed)
    labels = torch.ones(pairs, dtype=torch.float64)
    network = two_points.interpolate(network0, torch.cat([first, second]), torch.cat([-labels, labels]))
    settings = {"pairs": pairs, "separation": separation, "width": width}
    return check_overfitting(network0, network, first, second, settings=settings, seed=seed)


def _judge(measured: Sequence[Measured], settings: Mapping[str, Any] | None, seed: int | None) -> Verdicts:
    """Judge a sweep of measurements with the same number of pairs each; the sweep is the first axis."""
    verdicts = Verdicts()
    groups = (("pair", OF_A_PAIR), ("subspace", OF_A_SUBSPACE), ("pairs", OF_PAIRS))
    for group, claims in groups if len(measured) == 1 else groups[:2]:  # for one pair the last group says the same
        for claim in claims:
            values: dict[str, Any] = {name: stack([one[group][name] for one in measured]) for name in claim.meanings}
            verdicts.append(claim.check(settings=settings, seed=seed, **values))
    return verdicts


C6 = Family(
    "C6",
    "overfitting must travel: the distance from initialisation that close inputs with different outputs cost",
    (*OF_A_PAIR, *OF_A_SUBSPACE, *OF_PAIRS, PARALLEL, RATE, TIGHTNESS),
    check_overfitting,
    experiment_overfitting,
)
