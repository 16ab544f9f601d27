"""Linearised dynamics: what gradient descent does to a network that is linear in its weights, and how near ours is.

With K0 = J0 J0^T the residual of the linear model is (I - eta K0)^tau r0: large eigenvalues, the clusters, are fitted
soon and small ones, the deviations inside clusters, late, of order eps0^-2 steps later. Between the two lies the window
in which to stop. A network of width k follows this at a gap of order 1/k when the signs of its output weights cancel,
and only 1/sqrt(k) when they do not: the curvature terms sum v_j^3 phi'' then add up. Cf. Li, Soltanolkotabi & Oymak
(2020). The relations stand in
`linearised_claims`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator

from theory import arrays, checks, clusterable, covariance, descent, early_stopping, label_noise, seeding
from theory.arrays import Array
from theory.claim import Family
from theory.descent import Trajectory
from theory.early_stopping import Window
from theory.estimate import Estimate
from theory.networks import Output, TwoLayer
from theory.papers.li2020.linearised_claims import DISTANCE, ERROR, FINITE_WIDTH, GAPS, RESIDUAL, WINDOW
from theory.papers.li2020.overfitting_symbols import EPSILON, output_rounding
from theory.verdict import Verdicts

RUNS: dict[str, dict[str, Any]] = {
    "balanced": {"output": "balanced"},
    "paired": {"output": "balanced", "paired": True},
    "random": {"output": "random"},
    "ones_centred": {"output": "ones", "centred": True},
    "ones": {"output": "ones"},
    "ones_odd": {"output": "ones", "activation": "erf"},
}
# Networks per replicate, by their root mean square: the leading coefficient, e.g. sum v_j^3 of random signs, has random
# sign and can be near 0 in one draw.
DRAWS = {"balanced": 2, "paired": 2, "random": 12, "ones_centred": 1, "ones": 1, "ones_odd": 2}


def check_linearised(
    network: torch.nn.Module,
    X: Array,
    y: Array,
    *,
    step: float,
    taus: Sequence[int] = (1, 2, 5, 10, 20, 50, 100),
    truth: Array | None = None,
    W: Array | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int | None = None,
) -> Verdicts:
    """Descend on the linear model of any network, in its weights, and judge the closed forms at the steps `taus`.

    Args:
        network: at W0, float64, with one real output; a `TwoLayer`, or any module.
        X: inputs (n, d), or as the module wants them.
        y: observed labels (n,).
        step: eta > 0.
        taus: increasing numbers of steps.
        truth: true labels (n,), to judge C7.error too.
        W: weights (k, d) of a `TwoLayer`, to judge C7.finite_width too, with one point per input.
        settings: for the record.
        seed: for the record.

    Raises:
        InvalidInput: wrong shapes, NaN, taus that do not increase, W for a module that is no `TwoLayer`.
    """
    step = checks.number("step", step, low=0, open_low=True)
    counts = [checks.integer("taus", count, minimum=0) for count in taus]
    if not counts or sorted(set(counts)) != counts:
        checks.fail("taus", "increasing numbers of steps", counts, "sort them")
    (points, labels, true), _ = arrays.tensors(X=X, y=y, truth=truth)
    points, labels = points.detach().double(), labels.detach().double().numpy(force=True)
    checks.vector("y", labels, length=len(points))
    with torch.no_grad():
        start = network(points).reshape(-1).numpy(force=True)
    J = covariance.jacobian(points, network)
    outputs, distances = _descend_linearly(J, start, labels, step, counts)

    K0 = covariance.empirical_kernel(points, network).numpy(force=True)
    values, vectors = np.linalg.eigh(K0)
    size = float(np.linalg.norm(start - labels) + np.linalg.norm(labels))
    # each step rounds sums over n examples and, blocked, over the weights
    rounding = EPSILON * (np.array(counts) + 10.0) * np.sqrt(sum(J.shape)) * size
    shared: dict[str, Any] = {
        "eta": Estimate.exact(step),
        "tau": Estimate.exact(np.array(counts, dtype=object)[:, None]),
        "lam": Estimate.computed(values, error=EPSILON * (len(K0) + 16) * float(np.trace(K0))),
    }
    record: dict[str, Any] = {"settings": dict(settings or {}) | {"step size": step}, "seed": seed}

    def along(vector: np.ndarray, error: Any = EPSILON * 100 * size) -> Any:
        return Estimate.computed(vector @ vectors, error=error)

    moving = rounding[:, None]
    verdicts = Verdicts(
        [RESIDUAL.check(r=along(outputs - labels, moving), r0=along(start - labels), **shared, **record)]
    )
    if true is not None:
        real = true.detach().double().numpy(force=True)
        checks.vector("truth", real, length=len(points))
        parts: dict[str, Any] = {
            "g": along(outputs - real, moving),
            "g0": along(start - real),
            "q": along(labels - real),
        }
        verdicts.append(ERROR.check(**parts, **shared, **record))
    closed = early_stopping.linearised_distance(K0, start - labels, step, counts)
    travelled: dict[str, Any] = {
        "D": Estimate.computed(distances, relative=1e-11),
        "S": Estimate.computed(closed, relative=1e-11),
    }
    verdicts.append(DISTANCE.check(**travelled, **record))
    if W is not None:
        verdicts += check_finite_width(network, W, points, **record)
    return verdicts


def check_finite_width(
    network0: torch.nn.Module,
    W: Array,
    X: Array,
    *,
    settings: Mapping[str, Any] | None = None,
    seed: int | None = None,
) -> Verdicts:
    """Judge C7.finite_width on any weights W (k, d) and inputs X (n, d), one point per input; `network0` is at W0.

    Raises:
        InvalidInput: wrong shapes, NaN, a network that is no `TwoLayer`.
    """
    if not isinstance(network0, TwoLayer):
        checks.fail("network0", "a TwoLayer", type(network0).__name__, "the bound needs Gamma2 and v")
    (points, W0, v, W), _ = arrays.tensors(X=X, W0=network0.W.detach(), v=network0.v, W=W)
    points, W0, v, W = (tensor.detach().double() for tensor in (points, W0, v, W))
    before, after = (TwoLayer(weights, v, network0.activation, network0.paired) for weights in (W0, W))
    moved, phi = W - W0, network0.activation
    with torch.no_grad():
        linear = torch.from_numpy(covariance.jacobian(points, before).matvec(moved.numpy(force=True).ravel()))
        gaps = after(points) - before(points) - linear.to(points)
    rows = [torch.linalg.vector_norm(matrix, dim=1) for matrix in (W0, moved, points)]
    curvature = phi.gamma2 if np.isfinite(phi.gamma2) else 0.0
    terms = v.abs() * rows[1] * (phi.gamma1 + curvature * rows[0] * float(rows[2].max()))
    rounding = (network0.width + network0.dimension + 16) * EPSILON * float(terms.sum()) * rows[2]
    rounding = rounding + output_rounding(before, points) + output_rounding(after, points)
    verdict = FINITE_WIDTH.check(
        E=Estimate.computed(gaps.abs().numpy(force=True), error=rounding.numpy(force=True)),
        G2=float(phi.gamma2),
        vm=Estimate.exact(float(v.abs().max())),
        m=torch.linalg.vector_norm(points @ moved.T, dim=1).numpy(force=True),
        settings=settings,
        seed=seed,
    )
    return Verdicts([verdict])


def linearisation_gap(trajectory: Trajectory, X: Array) -> float:
    """The largest ||f_tau - linearised f_tau||_2 over the recorded steps of a run on inputs X, from the same start."""
    K0 = covariance.empirical_kernel(X, trajectory.network0)
    linear = early_stopping.linearised(K0, trajectory.residuals[0], trajectory.step, trajectory.steps)
    if arrays.is_tensor(linear):
        linear = linear.numpy(force=True)
    return float(np.linalg.norm(trajectory.residuals - linear, axis=1).max())


def measure_gap(
    width: int,
    *,
    output: Output = "balanced",
    paired: bool = False,
    activation: str = "softplus",
    centred: bool = False,
    steps: int = 6,
    seed: int = 0,
) -> float:
    """`linearisation_gap` of one network on ten random unit inputs in R^4 with random labels +-1, at 0.9/lambda_max.

    Args:
        width: k.
        output: as for `TwoLayer.initialise`.
        paired: likewise.
        activation: likewise.
        centred: train f - f0 in place of f.
        steps: number of steps.
        seed: of weights and data.
    """
    rng = seeding.numpy_generator("inputs of a linearisation gap", seed)
    X = rng.standard_normal((10, 4))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    y = rng.choice([-1.0, 1.0], len(X))
    network = TwoLayer.initialise(width, 4, activation, output=output, paired=paired, seed=seed)
    target = y + network(X) if centred else y
    step = 0.45 * descent.largest_step(network, X)
    return linearisation_gap(descent.train(network, X, target, step=step, steps=steps, record=range(steps + 1)), X)


def experiment_linearised(budget: str = "small", seed: int = 0) -> Verdicts:
    """The identities on a small set, the curvature bound, the window's end against eps0, the gap against the width.

    Args:
        budget: "small" (widths 64 and 4096, 12 replicates) or "full" (five widths to 16384, 24 replicates).
        seed: of the first replicate.
    """
    small = checks.choice("budget", budget, ("small", "full")) == "small"
    widths, replicates = ((64, 4096), 12) if small else ((128, 512, 2048, 8192, 16384), 24)
    verdicts = _identities(512 if small else 4096, seed)
    verdicts += _windows(np.array([0.2, 0.1, 0.05] if small else [0.2, 0.14, 0.1, 0.07, 0.05, 0.03]), replicates, seed)
    for name, run in RUNS.items():
        seeds = (seed + np.arange(replicates * DRAWS[name])).tolist()
        gaps = np.array([[measure_gap(width, seed=one, **run) for width in widths] for one in seeds])
        gaps = np.sqrt(np.square(gaps).reshape(replicates, DRAWS[name], len(widths)).mean(axis=1))
        settings = {"widths": np.array(widths), "replicates": replicates, "draws per replicate": DRAWS[name], **run}
        exponent = Estimate.exponent(np.array(widths), gaps)
        verdicts.append(GAPS[name].check(p=exponent, settings=settings, seed=seed))
    return verdicts


def noisy_window(radius: float, *, activation: str = "erf", rate: float = 0.2, seed: int = 0) -> Window:
    """The stopping window of infinitely wide linearised descent on a clusterable set with label noise.

    Two clusters of five points on the boundary of their balls in R^5, labels -1 and +1, one label in each flipped at
    the default rate; step 1/lambda_max of the neural covariance, f0 = 0; steps to 1e8, one per cent apart.
    """
    data = clusterable.generate(2, 2, 5, per_cluster=5, radius=radius, spread="boundary", seed=seed)
    noisy = label_noise.corrupt(data, rate, seed=seed)
    K0 = covariance.neural_covariance(data.X, activation)
    step = 1 / float(np.linalg.eigvalsh(K0)[-1])
    taus = np.unique(np.geomspace(1, 1e8, 2000).round().astype(int))
    errors = early_stopping.linearised_error(K0, np.zeros(data.n), noisy.truth, noisy.noise, step, taus)
    return early_stopping.stopping_window(errors, taus, data.label_separation)


def _windows(radii: np.ndarray, replicates: int, seed: int) -> Verdicts:
    windows = [[noisy_window(float(radius), seed=seed + i) for radius in radii] for i in range(replicates)]
    ends = [[window.last for window in row] for row in windows]
    kept = np.array([row for row in ends if None not in row], dtype=float)
    settings = {"radii": radii, "replicates": replicates, "without a window": replicates - len(kept)}
    return Verdicts([WINDOW.check(a=Estimate.exponent(1 / radii, kept), settings=settings, seed=seed)])


def _identities(width: int, seed: int) -> Verdicts:
    data = clusterable.generate(3, 3, 5, per_cluster=4, radius=0.3, seed=seed)
    noisy = label_noise.corrupt(data, 0.25, seed=seed)
    network = TwoLayer.initialise(width, 5, "softplus", seed=seed)
    step = 0.45 * descent.largest_step(network, data.X)
    run = descent.train(network, data.X, noisy.y, step=step, steps=100)
    settings = {"width": width, "examples": data.n}
    trained = dict(run.network.named_parameters())["W"].detach()
    return check_linearised(
        network, data.X, noisy.y, step=step, truth=noisy.truth, W=trained, settings=settings, seed=seed
    )


def _descend_linearly(
    J: LinearOperator, start: np.ndarray, y: np.ndarray, step: float, taus: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Outputs (T, n) and ||W - W0|| (T,) of descent on f0 + J (W - W0), step by step in the weights."""
    moved, kept = np.zeros(J.shape[1]), {}
    for count in range(max(taus) + 1):
        outputs = start + J @ moved
        if count in taus:
            kept[count] = (outputs, float(np.linalg.norm(moved)))
        moved = moved - step * (J.T @ (outputs - y))
    return np.array([kept[count][0] for count in taus]), np.array([kept[count][1] for count in taus])


C7 = Family(
    "C7",
    "linearised dynamics: closed forms, the stopping window, and how far a network of finite width is from them",
    (RESIDUAL, ERROR, DISTANCE, FINITE_WIDTH, WINDOW, *GAPS.values()),
    check_linearised,
    experiment_linearised,
)
