"""Perfect clusters: where all inputs of a cluster coincide, a network can only learn the cluster's mean label.

The Jacobian then has rank at most K with its range in S+, the vectors that are constant on clusters: what the labels do
inside a cluster is never touched, descent on n points is descent on K weighted points, and a cluster is recovered
exactly if its mean observed label stays nearest its own label (C1: identities, for every W and any activation). That a
smooth, wide network gets there, fast and on a short path, is C2, `exact_recovery`. The relations stand in
`perfect_clusters_claims`. Cf. Li, Soltanolkotabi & Oymak (2020); proofs in paper_notes/li2020.md.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from theory import activations, arrays, checks, clusterable, covariance, descent, label_noise, spectrum
from theory.arrays import Array
from theory.claim import Family
from theory.descent import Trajectory
from theory.estimate import Estimate
from theory.networks import TwoLayer
from theory.papers.li2020.perfect_clusters_claims import (
    LIMIT,
    NUISANCE,
    RANK,
    RECOVERY,
    SHARP,
    SPECTRUM,
    SUFFICIENT,
    WEIGHTED,
)
from theory.verdict import Verdict, Verdicts

_CUT = 1e-10  # eigenvalues of J J^T below this share of the largest count as zero


@dataclass(frozen=True, eq=False)
class ClusteredRun:
    """A trajectory with its data in float64, one row per cluster where the name says so."""

    trajectory: Trajectory
    X: Float[np.ndarray, "n d"]
    members: Int[np.ndarray, " n"]
    firsts: Int[np.ndarray, " K"]
    sizes: Int[np.ndarray, " K"]
    truth: Float[np.ndarray, " n"]
    observed: Float[np.ndarray, " n"]

    @property
    def C(self) -> Float[np.ndarray, "K d"]:
        """Centres: the first input of each cluster."""
        return self.X[self.firsts]

    @property
    def means(self) -> Float[np.ndarray, " K"]:
        """Mean observed label of each cluster."""
        return np.bincount(self.members, weights=self.observed) / self.sizes

    @property
    def noise(self) -> float:
        """||Pi_+ e||_inf, the largest |mean label noise of a cluster|."""
        return float(np.abs(self.means - self.truth[self.firsts]).max())

    @property
    def spread(self) -> float:
        """Largest distance of an input to the first one of its cluster."""
        return float(np.linalg.norm(self.X - self.C[self.members], axis=1).max())

    @property
    def error(self) -> Float[np.ndarray, " T"]:
        """||f_tau - truth||_inf at each recorded step."""
        return np.asarray(np.abs(self.trajectory.predictions - self.truth).max(axis=1))

    @property
    def on_support(self) -> Float[np.ndarray, "T n"]:
        """Pi_+ r_tau at each recorded step."""
        return np.asarray(spectrum.support_projection(self.trajectory.residuals.T, self.members).T)

    def kernel(self, network: torch.nn.Module) -> Float[np.ndarray, "K K"]:
        """D^(1/2) K_C(W) D^(1/2), which is J J^T on S+ where the inputs of a cluster coincide."""
        roots = np.sqrt(self.sizes)
        return np.asarray(roots[:, None] * covariance.empirical_kernel(self.C, network) * roots)


def check_perfect_clusters(
    trajectory: Trajectory,
    X: Array,
    clusters: Array,
    truth: Array,
    observed: Array,
    *,
    alphas: Array | None = None,
    **record: Any,
) -> Verdicts:
    """Judge C1 on a run of descent: rank and spectrum at its first and last step, the dynamics at all recorded ones.

    Weighted descent on one point per cluster is run here, from the same weights with the same step.

    Args:
        trajectory: from `theory.descent.train` on (X, observed), without weights, in float64; any network, any step.
        X: inputs, (n, d); in scope are those that coincide, bit for bit, within clusters.
        clusters: cluster of each input, (n,), integers.
        truth: true labels, (n,), one value per cluster.
        observed: labels trained on, (n,).
        alphas: the values that a label can have, at least two; left out: those that occur.
        **record: `settings` and `seed` for the verdicts.

    Returns:
        C1.rank to C1.sufficient; the last two have one point per cluster.

    Raises:
        InvalidInput: wrong shapes, NaN, true labels that differ inside a cluster, labels other than those trained on,
            a network of less than float64, fewer than two values of labels.
    """
    run = read_run(trajectory, X, clusters, truth, observed)
    network0, K_ = trajectory.network0, len(run.sizes)
    kernels = [(covariance.empirical_kernel(run.X, net), run.kernel(net)) for net in (network0, trajectory.network)]
    full, few = (np.array([np.linalg.eigvalsh(pair[i])[::-1] for pair in kernels]) for i in (0, 1))
    few_points = descent.train(
        network0,
        run.C,
        run.means,
        step=trajectory.step,
        steps=int(trajectory.steps[-1]),
        record=trajectory.steps.tolist(),
        weights=run.sizes,
    )
    fixed = spectrum.nuisance_projection((trajectory.residuals + run.observed).T, run.members)
    difference = trajectory.predictions - few_points.predictions[:, run.members]
    rise = trajectory.worst_decrease / (trajectory.loss[0] or 1.0)
    parameters = sum(weight.numel() for weight in network0.parameters() if weight.requires_grad)
    perfect = {"eps0": Estimate.of(run.spread)} | record
    scaled = perfect | {"scale": float(max(np.abs(run.observed).max(), np.abs(trajectory.predictions).max()))}
    return Verdicts(
        [
            RANK.check(rank=(full > _CUT * full[:, :1]).sum(1), K=K_, most=min(len(run.X), parameters), **perfect),
            SPECTRUM.check(s2=full[:, :K_], m2=few, **perfect),
            NUISANCE.check(off=np.abs(fixed).max(0), **scaled),
            WEIGHTED.check(gap=np.abs(difference).max(1), rise=np.maximum(rise, 0), **scaled),
            LIMIT.check(E=run.error, noise=run.noise, rest=np.abs(run.on_support).max(1) / scaled["scale"], **scaled),
            *_check_labels(run, _fractions(alphas if alphas is not None else [*run.truth, *run.observed]), record),
        ]
    )


def first_failing_share(alphas: Sequence[Any], size: int | None = None) -> Fraction:
    """The least share of corrupted labels that can bring a cluster's mean label as near to another as to its own.

    Exact, by trying for every class all ways to corrupt m of `size` labels, m = 1, 2, ...; no formula is used.

    Args:
        alphas: at least two labels: ints, Fractions, or floats (taken as the decimals that they print).
        size: points of the cluster; left out: the least with which the share delta/(2 span) can be met.

    Example:
        >>> first_failing_share([-1, 0.1, 1])
        Fraction(9, 40)
    """
    labels = _fractions(alphas)
    size = _least_size(labels) if size is None else size
    size = checks.integer("size", size, minimum=1)
    failing = []
    for own in labels:
        sums = {Fraction(0)}
        for corrupted in range(1, size + 1):
            sums = {total + other for total in sums for other in labels if other != own}
            if any(_margin((total + (size - corrupted) * own) / size, own, labels) <= 0 for total in sums):
                failing.append(Fraction(corrupted, size))
                break
    return min(failing)


def _least_size(labels: Sequence[Fraction]) -> int:
    return (min(_gaps(labels)) / (2 * (labels[-1] - labels[0]))).denominator


def check_sharp(alphas: Sequence[Any], size: int | None = None, **record: Any) -> Verdicts:
    """Judge C1.sharp on labels by `first_failing_share`, which says what the arguments are; labels in exact units.

    The least gap must be next to the smallest or the largest label, or the claim is out of scope: for -1, 0, 1/10, 1
    the sharp share is 1/20, not 1/40.
    """
    first_ = first_failing_share(alphas, size)
    labels = _fractions(alphas)
    unit = math.lcm(*(label.denominator for label in labels))  # integers: hypotheses are decided by intervals
    gaps = [int(gap * unit) for gap in _gaps(labels)]
    ends: dict[str, Any] = {"delta": min(gaps), "span": sum(gaps), "end": min(gaps[0], gaps[-1])}
    ends["remainder"] = (_least_size(labels) if size is None else size) * min(gaps) % (2 * sum(gaps))
    return Verdicts([SHARP.check(first=first_, **ends, **record)])


def read_run(trajectory: Trajectory, X: Array, clusters: Array, truth: Array, observed: Array) -> ClusteredRun:
    """Check a run and its data; arguments and errors as for `check_perfect_clusters`."""
    (X, clusters, truth, observed), _ = arrays.tensors(X=X, clusters=clusters, truth=truth, observed=observed)
    n = trajectory.residuals.shape[1]
    checks.matrix("X", X, rows=n)
    for name, column in (("clusters", clusters), ("truth", truth), ("observed", observed)):
        checks.vector(name, column, length=n)
    if any(weight.dtype != torch.float64 for weight in trajectory.network0.parameters()):
        checks.fail("network", "float64 weights", "others", "identities to 1e-10 need it: initialise it in float64")
    X, truth, observed = (values.detach().cpu().double().numpy() for values in (X, truth, observed))
    trained_on = trajectory.predictions - trajectory.residuals
    if np.abs(trained_on - observed).max() > 1e-9 * (1 + np.abs(trajectory.predictions).max()):
        checks.fail("observed", "the labels that the trajectory was trained on", "others", "pass these")
    plain = (trajectory.residuals[0] ** 2).sum() / 2
    if abs(trajectory.loss[0] - plain) > 1e-9 * (1 + plain):
        checks.fail("trajectory", "descent without weights", "weighted descent", "train without weights=")
    _, firsts, members, sizes = np.unique(
        clusters.cpu().numpy(), return_index=True, return_inverse=True, return_counts=True
    )
    if (truth != truth[firsts][members]).any():
        checks.fail("truth", "one value per cluster", "several in one cluster", "give each cluster one class")
    return ClusteredRun(trajectory, X, members, firsts, sizes, truth, observed)


def experiment_perfect_clusters(budget: str = "small", seed: int = 0) -> Verdicts:
    """C1 on descent to its limit for several activations, noise below and above the sharp share, and labels alone.

    Args:
        budget: "small" (ReLU and softplus) or "full" (all five activations, wider networks, three draws).
        seed: of the first draw.
    """
    small = checks.choice("budget", budget, ("small", "full")) == "small"
    verdicts = Verdicts()
    draws = 1 if small else 3
    for draw in range(draws * seed, draws * (seed + 1)):
        for activation in ("softplus", "relu") if small else activations.names():
            for rate in (0.2, 0.25):  # the sharp share of the labels -1, .1, 1 is .225
                data = clusterable.generate(
                    4, 3, 8, sizes=[40, 20, 40, 60], radius=0, alphas=[-1, 0.1, 1], antipodal_separation=0.9, seed=draw
                )
                network = TwoLayer.initialise(200 if small else 1000, 8, activation, seed=draw)
                labels = label_noise.corrupt(data, rate, "adversarial", seed=draw)
                step = 0.45 * descent.largest_step(network, data.X)
                steps = _steps_to_limit(network, data, step)
                run = descent.train(network, data.X, labels.y, step=step, steps=steps, record=12)
                settings = {"activation": activation, "width": network.width, "noise_rate": rate, "steps": steps}
                arguments = (data.X, data.clusters, data.y, labels.y)
                verdicts += check_perfect_clusters(run, *arguments, settings=settings, seed=draw)
    for alphas in ([-1, 1], [-1, 0.1, 1], [-1, -0.2, 0.5, 1]):
        verdicts += check_sharp(alphas, settings={"alphas": str(alphas)})
    return verdicts


def _check_labels(run: ClusteredRun, labels: list[Fraction], record: Mapping[str, Any]) -> list[Verdict]:
    """C1.recovery at the last recorded step and C1.sufficient, cluster by cluster, labels in exact arithmetic."""
    strangers = {_fraction(y) for y in [*run.truth.tolist(), *run.observed.tolist()]} - set(labels)
    if strangers:
        named = ", ".join(sorted(str(float(label)) for label in strangers))
        checks.fail("labels", "values among alphas", named, "add them to alphas, or leave alphas out")
    won, left, margins, shares = [], [], [], []
    for cluster, size in enumerate(run.sizes.tolist()):
        mine = run.members == cluster
        observed, own = [_fraction(y) for y in run.observed[mine].tolist()], _fraction(run.truth[mine][0].item())
        outputs, mean = [Fraction(f) for f in run.trajectory.predictions[-1, mine].tolist()], sum(observed) / size
        won.append(int(all(_margin(f, own, labels) > 0 for f in outputs)))
        left.append(float(max(abs(f - mean) for f in outputs)))
        margins.append(_margin(mean, own, labels))
        shares.append(Fraction(sum(y != own for y in observed), size))
    margin = np.array(margins, dtype=object)
    near, share = (margin > 0).astype(int), np.array(shares, dtype=object)
    reach: dict[str, Any] = {"delta": min(_gaps(labels)), "span": labels[-1] - labels[0]}
    return [
        RECOVERY.check(won=np.array(won), near=near, left=np.array(left), margin=margin, eps0=run.spread, **record),
        SUFFICIENT.check(margin=margin, rho=share, **reach, **record),
    ]


def _margin(mean: Fraction, own: Fraction, labels: Sequence[Fraction]) -> Fraction:
    """How far a mean label is on its own label's side of the nearest midpoint to another; <= 0: no longer nearest."""
    return min((abs(own - other) / 2 - (mean - own) * (1 if other > own else -1)) for other in labels if other != own)


def _fraction(label: Any) -> Fraction:
    return label if isinstance(label, Fraction) else Fraction(str(label))  # 0.1 means 1/10


def _fractions(alphas: Iterable[Any]) -> list[Fraction]:
    values = alphas.tolist() if hasattr(alphas, "tolist") else alphas
    labels = sorted({_fraction(alpha) for alpha in values})
    if len(labels) < 2:
        checks.fail("labels", "at least two values", len(labels), "pass the values that a label can have as alphas=")
    return labels


def _gaps(labels: Sequence[Fraction]) -> list[Fraction]:
    return [high - low for low, high in itertools.pairwise(labels)]


def _steps_to_limit(network: TwoLayer, data: clusterable.ClusterableData, step: float) -> int:
    """Steps after which linearised descent has left e^-32 of the residual on S+."""
    values = np.linalg.eigvalsh(covariance.empirical_kernel(data.X, network))[-len(data.centres)]
    return math.ceil(-32 / math.log1p(-step * values))


C1 = Family(
    "C1",
    "perfect clusters: a network learns the mean label of each cluster, and nothing else",
    (RANK, SPECTRUM, NUISANCE, WEIGHTED, LIMIT, RECOVERY, SUFFICIENT, SHARP),
    check_perfect_clusters,
    experiment_perfect_clusters,
)
