"""Certificates of recovery from label noise: bounds on descent from measurements at W0 alone; claim C9."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float

from theory import arrays, checks, spectrum
from theory.arrays import Array
from theory.early_stopping.start import Start, measure_start
from theory.networks import TwoLayer

Radii = Float[np.ndarray, " M"]  # one number for each of the balls that are followed at once


@dataclass(frozen=True, eq=False)
class Certificate:
    """Bounds on gradient descent that hold at every step until its path may leave a ball round W0; claim C9.

    Attributes:
        radius: R, of the ball in Frobenius norm; the best of those tried.
        step: eta that the certificate is for.
        delta: label separation.
        a: bound on ||Pi_+ r_tau||_2, at tau = 0 ... T - 1, (T,).
        q: bound on ||Pi_- (f_tau - f_0)||_2, (T,).
        path: bound on the length of the path, (T,).
        bound: certified bound on ||f_tau - truth||_inf, (T,).
        start: what was measured at W0.
        cluster_radius: eps0.
        contraction: a_, at most the least singular value of Pi_+ J(W) in the ball.
        support: b_, at least ||Pi_+ J(W)||_op in the ball.
        nuisance: e_, at least ||Pi_- J(W)||_op in the ball.
        radii: all R tried, (M,).
        best_bounds: least bound on the sup error for each; infinite where the step exceeds 1/b_^2, (M,).
    """

    radius: float
    step: float
    delta: float
    a: Float[np.ndarray, " T"]
    q: Float[np.ndarray, " T"]
    path: Float[np.ndarray, " T"]
    bound: Float[np.ndarray, " T"]
    start: Start
    cluster_radius: float
    contraction: float
    support: float
    nuisance: float
    radii: Float[np.ndarray, " M"]
    best_bounds: Float[np.ndarray, " M"]

    @property
    def best_tau(self) -> int:
        """The step with the least bound."""
        return int(self.bound.argmin())

    @property
    def certified(self) -> bool:
        """Whether every example is certified nearer its true label than delta/2 at `best_tau`."""
        return bool(self.bound.min() < self.delta / 2)

    @property
    def spread(self) -> Float[np.ndarray, " T"]:
        """Bound on ||Pi_- r_tau||_2."""
        return self.start.residual_nuisance + self.q


def certificate(
    network: TwoLayer,
    X: Array,
    clusters: Array,
    truth: Array,
    observed: Array,
    cluster_radius: float | None = None,
    step: float | None = None,
    *,
    radii: Array | None = None,
    steps: int = 10_000,
    delta: float | None = None,
) -> Certificate:
    """Certify, from measurements at W0 alone, that descent recovers the true labels of imperfect clusters; claim C9.

    Args:
        network: at W0, smooth activation.
        X: inputs, (n, d).
        clusters: cluster of each input, (n,), integers.
        truth: true labels, (n,), one value per cluster.
        observed: observed labels, (n,), the ones trained on.
        cluster_radius: eps0, largest distance of an input to its cluster's centre; left out: to its cluster's mean.
        step: eta; left out: the largest that the best ball admits, 1/b_^2.
        radii: radii R > 0 of balls round W0 to try, (M,); left out: 200 of them up to sigma/L.
        steps: most steps to follow.
        delta: label separation; left out: the least distance of two distinct true labels.

    Returns:
        A `Certificate`, whether or not it certifies.

    Raises:
        InvalidInput: what `measure_start` refuses, a step that no ball admits, points of a cluster farther than twice
            `cluster_radius` from each other, a single label without `delta`.

    Example:
        >>> net = TwoLayer.initialise(2000, 2, paired=True)
        >>> found = certificate(net, [[1.0, 0.0], [0.0, 1.0]], [0, 1], truth=[-1.0, 1.0], observed=[-1.0, 1.0])
        >>> found.certified, bool(found.bound[found.best_tau] < 0.01)
        (True, True)
    """
    steps = checks.integer("steps", steps, minimum=1)
    start = measure_start(network, X, clusters, truth, observed)
    cluster_radius, delta = _cluster_radius(X, clusters, cluster_radius), _separation(truth, delta)
    L, R = start.lipschitz, _radii(start, radii)
    size = float(torch.linalg.matrix_norm(network.W.detach().double(), 2))
    turn = network.activation.gamma2 * float(network.v.abs().max()) * (size + R) * _longest(X)
    perturbed = math.sqrt(len(X)) * cluster_radius * (network.activation.gamma1 * float(network.v.norm()) + turn)
    a_, b_ = np.maximum(0, start.sigma - L * R), start.support + L * R
    e_ = np.minimum(start.nuisance + L * R, perturbed)
    eta = b_**-2 if step is None else np.full_like(b_, checks.number("step", step, low=0, open_low=True))
    admitted = eta <= b_**-2
    if not admitted.any():
        checks.fail("step", f"at most 1/b_^2 = {b_.min() ** -2:.6g}", step, "lower it, or leave it out")
    least = np.full_like(R, math.inf)
    for a, q, _, inside in _recursion(start, R, a_, b_, e_, eta, admitted, steps):
        least = np.where(inside, np.minimum(least, _sup_bound(start, a, q)), least)
    one = slice(i := int(least.argmin()), i + 1)
    rows = _recursion(start, R[one], a_[one], b_[one], e_[one], eta[one], admitted[one], steps)
    a, q, path = np.array([(a[0], q[0], path[0]) for a, q, path, _ in rows]).T
    return Certificate(
        radius=float(R[i]),
        step=float(eta[i]),
        delta=delta,
        a=a,
        q=q,
        path=path,
        bound=_sup_bound(start, a, q),
        start=start,
        cluster_radius=cluster_radius,
        contraction=float(a_[i]),
        support=float(b_[i]),
        nuisance=float(e_[i]),
        radii=R,
        best_bounds=least,
    )


def _recursion(
    start: Start, R: Radii, a_: Radii, b_: Radii, e_: Radii, eta: Radii, inside: Bool[np.ndarray, " M"], steps: int
) -> Iterator[tuple[Radii, Radii, Radii, Bool[np.ndarray, " M"]]]:
    """Claim C9's recursion for M balls at once: (a, q, path, inside) at tau = 0, 1, ... until all are left."""
    a, q, path = np.full_like(R, start.residual_support), np.zeros_like(R), np.zeros_like(R)
    for _ in range(steps + 1):
        yield a, q, path, inside
        spread = start.residual_nuisance + q
        g = b_ * a + e_ * spread  # bounds the gradient's norm
        farther = path + eta * g
        # before the step: is its whole segment in the ball? And does it still move anything in float64?
        inside = inside & (farther <= R) & (farther > path)
        if not inside.any():
            return
        contracted = (1 - eta * a_**2) * a + eta * b_ * e_ * spread + start.lipschitz * (eta * g) ** 2 / 2
        a, q = np.where(inside, contracted, a), np.where(inside, q + eta * e_ * g, q)
        path = np.where(inside, farther, path)


def _sup_bound(start: Start, a: Float[np.ndarray, " T"], q: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
    return start.noise_limit + a / math.sqrt(start.smallest_cluster) + start.output_nuisance + q


def _radii(start: Start, radii: Array | None) -> Radii:
    if radii is not None:
        (tensor,), _ = arrays.tensors(radii=radii)
        checks.vector("radii", tensor)
        if not bool((tensor > 0).all()):
            checks.fail("radii", "radii > 0", f"{float(tensor.min()):g}", "a ball needs a positive radius")
        return tensor.double().numpy(force=True)
    shortest = start.residual_support / start.support
    longest = start.sigma / start.lipschitz if start.sigma > 0 else shortest
    return np.geomspace(min(0.1 * shortest, 0.01 * longest) or longest or 1.0, longest or 1.0, 200)


def _cluster_radius(X: Array, clusters: Array, cluster_radius: float | None) -> float:
    (X, clusters), _ = arrays.tensors(X=X, clusters=clusters)
    X = X.double()
    if cluster_radius is None:
        return float(spectrum.nuisance_projection(X, clusters).norm(dim=1).max())
    cluster_radius = checks.number("cluster_radius", cluster_radius, low=0)
    for cluster in torch.unique(clusters):
        points = X[clusters == cluster]
        apart = float(torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist").max())
        if apart > 2 * cluster_radius + 1e-12:
            got = f"points {apart:.3g} apart in cluster {int(cluster)}"
            checks.fail("cluster_radius", f"{apart / 2:.3g} or more, for {got}", f"{cluster_radius:g}", "raise it")
    return cluster_radius


def _separation(truth: Array, delta: float | None) -> float:
    if delta is not None:
        return checks.number("delta", delta, low=0, open_low=True)
    (labels,), _ = arrays.tensors(truth=truth)
    distinct = torch.unique(labels.double())
    if len(distinct) < 2:
        checks.fail("truth", "two distinct labels", "one", "pass delta=, the label separation")
    return float(distinct.diff().min())


def _longest(X: Array) -> float:
    (X,), _ = arrays.tensors(X=X)
    return float(X.double().norm(dim=1).max())
