"""Entropy, variance and information of a function under a measure: by draws with intervals, or by quadrature.

Each function evaluates f and estimates one functional; `evaluate` keeps the evaluations, so that several functionals
come from the same points.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from theory import arrays, checks
from theory.entropy.evaluations import Evaluations
from theory.entropy.measure import Gaussian, Measure, group_size
from theory.estimate import Estimate

CHUNK = 2**16
"""Points in one call of f: its intermediate results stay small."""
PROBE = 64

Function = Callable[[Any], Any]


def evaluate(
    f: Function,
    measure: Measure,
    *,
    draws: int = 10_000,
    seed: int = 0,
    method: str = "plain",
    order: int | None = None,
    gradient: Function | None = None,
    gradients: bool = False,
    log: bool = False,
    signed: bool = True,
) -> Evaluations:
    """f, and where asked its gradients, at draws from the measure or at quadrature nodes.

    Args:
        f: (n, d) -> (n,), row by row; of tensors where the measure was built from tensors, else of numpy arrays.
        measure: `Gaussian` or `Sampler`.
        draws: how many.
        seed: of the draws.
        method: "plain", "antithetic" or "quasi", see `Gaussian.sample`.
        order: take Gauss-Hermite quadrature with so many nodes per direction instead (rank at most 2). For smooth f:
            the error is judged by two coarser rules, which a kink or a step can deceive; draw then.
        gradient: (n, d) -> (n, d), of f, or of log f where `log`; for tensors autograd finds it by default.
        gradients: whether they are wanted.
        log: f returns log f; nothing overflows on the way.
        signed: whether f < 0 is allowed.

    Raises:
        InvalidInput: all of it before long work, on a few points: f not (n, d) -> (n,), NaN, values that depend on
            other rows, f < 0 where not allowed, a numpy f without `gradient`. Fewer than two draws.

    Example:
        >>> found = evaluate(lambda x: 1 + x[:, 0] ** 2, Gaussian.standard(1), order=200)
        >>> found.entropy()
        Estimate(0.369253 [0.369253, 0.369253], Gauss-Hermite quadrature, 200 nodes per direction, size=0)
    """
    coarse: tuple[Evaluations, ...] = ()
    if order is not None:
        if not isinstance(measure, Gaussian):
            checks.fail("measure", "a Gaussian for quadrature", type(measure).__name__, "draw instead: order=None")
        x, weights = measure.quadrature(checks.integer("order", order, minimum=2))
        group, words = 1, f"Gauss-Hermite quadrature, {order} nodes per direction"
    else:
        draws = checks.integer("draws", draws, minimum=2)
        x = measure.sample(draws, seed, method)
        group, words, weights = group_size(draws, method), f"{method} draws", None
    gradients = gradients or gradient is not None
    if gradients and gradient is None and not arrays.is_tensor(x):
        remedy = "pass gradient=, or build the measure from tensors and write f in torch"
        checks.fail("gradient", "a function (n, d) -> (n, d) for a numpy f", None, remedy)
    if not callable(f):
        checks.fail("f", "a function (n, d) -> (n,)", type(f).__name__, "pass a function")
    _probe(f, gradient, x[:PROBE], gradients, log, signed)
    parts = [_at(f, gradient, x[i : i + CHUNK], gradients) for i in range(0, len(x), CHUNK)]
    values = np.concatenate([part[0] for part in parts])
    slopes = np.concatenate([part[1] for part in parts]) if gradients else None
    shift = float(values.max()) if log else 0.0
    if order is not None and isinstance(measure, Gaussian):
        how: dict[str, Any] = {"gradient": gradient, "gradients": gradients, "log": log, "signed": signed}
        coarse = tuple(_once(f, measure.quadrature(fewer), measure.metric, how) for fewer in coarser(order))
    if log:
        values = np.exp(values - shift)
    elif not signed:
        _nonnegative(values)
    return Evaluations(values, slopes, measure.metric, shift, log, group, weights, coarse, words)


def coarser(order: int) -> tuple[int, int]:
    """Two coarser rules, one of the other parity: even rules alone see a step at 0 alike.

    Example:
        >>> coarser(20)
        (16, 19)
    """
    return max(1, order * 4 // 5), max(1, order - 1)


def _once(f: Function, rule: tuple[Any, np.ndarray], metric: np.ndarray, how: dict[str, Any]) -> Evaluations:
    x, weights = rule
    values, slopes = _at(f, how["gradient"], x, how["gradients"])
    shift = float(values.max()) if how["log"] else 0.0
    values = np.exp(values - shift) if how["log"] else values
    return Evaluations(values, slopes, metric, shift, how["log"], 1, weights)


def _probe(f: Function, gradient: Function | None, x: Any, gradients: bool, log: bool, signed: bool) -> None:
    values, _ = _at(f, gradient, x, gradients)
    if not log and not signed:
        _nonnegative(values)
    if gradients and gradient is not None and not arrays.is_tensor(x):
        _compare(f, gradient, x)
    few, _ = _at(f, None, x[:2], False)
    if np.abs(few - values[:2]).max() > 1e-4 * np.abs(values).max():
        remedy = "put the network into eval mode, and do not average over the batch"
        checks.fail("f", "values that depend on their own row only", "values that change with the batch", remedy)


def _compare(f: Function, gradient: Function, x: np.ndarray) -> None:
    """Refuse a gradient that is far from the slopes of f at most of the points, along one direction."""
    along = np.random.default_rng(0).normal(size=x.shape[1])
    step = 1e-5 * max(1.0, float(np.abs(x).max())) / float(np.linalg.norm(along))
    slopes = (np.asarray(f(x + step * along), float) - np.asarray(f(x - step * along), float)) / (2 * step)
    stated = np.asarray(gradient(x), float) @ along
    rounding = 1e-9 * float(np.abs(np.asarray(f(x), float)).max())
    off = np.abs(slopes - stated) > 1e-2 * (np.abs(slopes) + np.abs(stated)) + rounding
    if off.mean() > 0.5:
        row = int(np.flatnonzero(off)[0])
        got = f"{stated[row]:.4g} where f changes by {slopes[row]:.4g} per unit"
        checks.fail("gradient", "the gradient of f (of log f with log=True)", got, "check its formula")


def _nonnegative(values: np.ndarray) -> None:
    if values.min() < 0:
        checks.fail("f", "f >= 0", f"{values.min():.3g}", "entropy and information are for non-negative f")


def _at(f: Function, gradient: Function | None, x: Any, gradients: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Values (n,) and gradients (n, d) in float64."""
    if arrays.is_tensor(x):
        import torch

        automatic = gradients and gradient is None
        with torch.inference_mode(False), torch.set_grad_enabled(automatic):  # callers may sit inside either
            points = (x.clone() if x.is_inference() else x.detach()).requires_grad_(automatic)
            values = f(points)
            if not arrays.is_tensor(values):
                checks.fail("f", "a tensor for tensors", type(values).__name__, "build the measure from numpy arrays")
            values = _shaped("f", values, (len(x),))
            if automatic and not values.requires_grad:
                checks.fail("f", "values that autograd can follow", "none that depend on x", "write f in torch")
            slopes = torch.autograd.grad(values.sum(), points, materialize_grads=True)[0] if automatic else None
        values = values.detach()
    else:
        values, slopes = _shaped("f", f(x), (len(x),)), None
    if gradients and gradient is not None:
        slopes = _shaped("gradient", gradient(x), tuple(x.shape))
    found = _array("values of f", values)
    return found, None if slopes is None else _array("gradients of f", slopes)


def _shaped(name: str, values: Any, shape: tuple[int, ...]) -> Any:
    if not arrays.is_tensor(values):
        values = np.asarray(values)
    if tuple(values.shape) != shape:
        remedy = "one value per row" if len(shape) == 1 else "one gradient per row"
        checks.fail(name, f"shape {shape}", f"shape {tuple(values.shape)}", remedy)
    return values


def _array(name: str, values: Any) -> np.ndarray:
    array = values.detach().double().numpy(force=True) if arrays.is_tensor(values) else np.asarray(values, dtype=float)
    checks.finite(name, array)
    return array


def entropy(f: Function, measure: Measure, *, normalised: bool = False, corrected: bool = True, **how: Any) -> Estimate:
    """Functional entropy Ent(f) = E[f ln f] - E[f] ln E[f] of f >= 0.

    Args:
        f: (n, d) -> (n,).
        measure: what to average over.
        normalised: Ent(f)/E f, the Kullback-Leibler divergence of f mu/E f from mu.
        corrected: remove the plug-in's bias.
        **how: of `evaluate`: draws, seed, method, order, log.

    Raises:
        InvalidInput: as `evaluate`; f < 0 somewhere, f = 0 everywhere.

    Example:
        >>> import numpy as np
        >>> round(float(entropy(lambda x: np.exp(x[:, 0]), Gaussian.standard(1), order=64).value), 6)
        0.824361
    """
    return evaluate(f, measure, signed=False, **how).entropy(corrected, normalised)


def variance(f: Function, measure: Measure, *, corrected: bool = True, **how: Any) -> Estimate:
    """Var f; the sample variance with an interval that does not take f for Gaussian.

    Args:
        f: (n, d) -> (n,).
        measure: what to average over.
        corrected: divide by n - 1.
        **how: of `evaluate`.

    Raises:
        InvalidInput: as `evaluate`.
    """
    return evaluate(f, measure, **how).variance(corrected)


def fisher_information(
    f: Function, measure: Measure, *, weighted: bool = True, normalised: bool = False, **how: Any
) -> Estimate:
    """Fisher information I(f) = E[<S grad f, grad f>/f] = 4 E<S grad sqrt f, grad sqrt f>, S the measure's covariance.

    Args:
        f: (n, d) -> (n,), f >= 0.
        measure: what to average over.
        weighted: False: S = I.
        normalised: I(f)/E f.
        **how: of `evaluate`; `gradient` where f is written in numpy.

    Raises:
        InvalidInput: as `evaluate`; f < 0 somewhere, f = 0 everywhere or where its gradient is not.
    """
    return evaluate(f, measure, gradients=True, signed=False, **how).fisher_information(weighted, normalised)


def log_sobolev_bound(
    f: Function, measure: Measure, *, weighted: bool = True, normalised: bool = False, **how: Any
) -> Estimate:
    """I(f)/2, which Ent(f) does not exceed under a Gaussian measure (Gross 1975); arguments of `fisher_information`.

    Example:
        >>> import torch
        >>> line = Gaussian(torch.zeros(1, dtype=torch.float64), torch.eye(1, dtype=torch.float64))
        >>> round(float(log_sobolev_bound(lambda x: torch.exp(x[:, 0]), line, order=64).value), 6)
        0.824361
    """
    return evaluate(f, measure, gradients=True, signed=False, **how).log_sobolev_bound(weighted, normalised)


def poincare_bound(f: Function, measure: Measure, *, weighted: bool = True, **how: Any) -> Estimate:
    """Dirichlet energy E<S grad f, grad f>, which Var f does not exceed under a Gaussian measure.

    Args:
        f: (n, d) -> (n,), of any sign.
        measure: what to average over.
        weighted: False: S = I.
        **how: of `evaluate`.

    Raises:
        InvalidInput: as `evaluate`.
    """
    return evaluate(f, measure, gradients=True, **how).poincare_bound(weighted)
