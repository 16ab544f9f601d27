"""Exact recovery: on perfect clusters a smooth, wide network provably comes near the true labels on a short path.

Where all inputs of a cluster coincide, descent can only learn the clusters' mean labels (C1, `perfect_clusters`). If
the network is smooth and wide enough, its Jacobian stays well conditioned on S+ along the path, so that descent learns
them at a geometric rate and stays near W_0; a width known in advance makes that likely (C2). The relations stand in
`perfect_clusters_claims`. Cf. Li, Soltanolkotabi & Oymak (2020); proofs in paper_notes/li2020.md.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from theory import activations, arrays, checks, clusterable, covariance, descent, early_stopping, label_noise, spectrum
from theory.activations import Activation
from theory.arrays import Array
from theory.claim import Family
from theory.descent import Trajectory
from theory.estimate import Estimate
from theory.networks import TwoLayer
from theory.papers.li2020.overfitting_symbols import EPSILON, output_rounding
from theory.papers.li2020.perfect_clusters import read_run
from theory.papers.li2020.perfect_clusters_claims import ERRORS, HALF, PATH, RATE, WIDTH, WIDTH_PAIRED
from theory.verdict import Verdicts

_DECIDABLE = 4  # a bound within this many rounding errors of zero is left out of a sweep


def check_exact_recovery(
    trajectory: Trajectory, X: Array, clusters: Array, truth: Array, observed: Array, **record: Any
) -> Verdicts:
    """Judge C2 on a run of descent by a `TwoLayer`: hypotheses measured at W_0, conclusions at all recorded steps.

    Left out of the sweep are step 0, where every bound is an equation, and the steps at which a bound has sunk below
    the rounding error of what it bounds. A step of exactly 1/beta^2 is undecided: take a little less.

    Args and errors: as for `theory.papers.li2020.perfect_clusters.check_perfect_clusters`, and InvalidInput if the
    network is no `TwoLayer`.

    Returns:
        C2.rate, C2.path, C2.half and C2.recovery, one point per step.
    """
    run = read_run(trajectory, X, clusters, truth, observed)
    network0, steps = trajectory.network0, trajectory.steps
    if not isinstance(network0, TwoLayer) or not isinstance(trajectory.network, TwoLayer):
        checks.fail("network", "a TwoLayer", type(network0).__name__, "its Lipschitz constant is known for it only")
    inputs = torch.from_numpy(run.X)
    of_outputs = torch.stack([output_rounding(net, inputs) for net in (network0, trajectory.network)]).max().item()
    rounding = math.sqrt(len(inputs)) * (of_outputs + EPSILON * float(np.abs(run.observed).max()))
    sizes = np.linalg.norm(run.on_support, axis=1)
    start: dict[str, Any] = {
        "eps0": run.spread,
        "sigma": _least_singular_value(run.kernel(network0), network0.width),
        "L": network0.lipschitz(run.X),
        "beta": network0.jacobian_bound(run.X),
        "eta": Estimate.exact(trajectory.step),
        "r0": Estimate.computed(sizes[0], error=rounding),
    }
    plain = {name: Estimate.of(value).value for name, value in start.items()}
    # the same cut serves C2.recovery: its bound is at least 1/sqrt(n) of this one, as is its rounding error
    sunk = RATE.evaluate(**plain, tau=steps, r=sizes)[1] <= _DECIDABLE * rounding
    later, kept = steps > 0, (steps > 0) & ~sunk
    r_ = Estimate.computed(sizes[kept], error=rounding)
    E_ = Estimate.computed(run.error[kept], error=rounding / math.sqrt(len(inputs)))
    limit: dict[str, Any] = {"noise": run.noise, "smallest": int(run.sizes.min())}
    return Verdicts(
        [
            RATE.check(r=r_, tau=steps[kept], **start, **record),
            PATH.check(path=trajectory.path[later], **start, **record),
            HALF.check(path=trajectory.path[later], **start, **record),
            ERRORS.check(E=E_, tau=steps[kept], **limit, **start, **record),
        ]
    )


def check_width(
    networks: Iterable[TwoLayer],
    centres: Array,
    means: Array,
    *,
    sizes: Sequence[int] | None = None,
    failure: float = 0.2,
    **record: Any,
) -> Verdicts:
    """Judge C2's a-priori width on draws of W0: how often do they miss 9 L ||Pi_+ r_0|| <= sigma_0^2?

    Args:
        networks: independent draws of one width, activation and kind (paired or not), N(0, 1) entries, at least one;
            consumed one by one.
        centres: (K, d), unit rows.
        means: mean observed label of each cluster, (K,).
        sizes: points of each cluster, (K,); left out: one each (equal sizes cancel).
        failure: p, in (0, 1]; without effect if paired.
        **record: `settings` and `seed` for the verdict.

    Returns:
        C2.width, or C2.width_paired, with the interval of Clopper & Pearson over the draws.

    Raises:
        InvalidInput: no networks or mixed ones, centres that are not unit vectors (to 1e-12), wrong shapes, NaN.
    """
    failure = checks.number("failure", failure, 0, 1, open_low=True)
    (C, means), _ = arrays.tensors(centres=centres, means=means)
    C, means = C.double(), means.double()
    checks.vector("means", means, length=len(C))
    if float((C.norm(dim=1) - 1).abs().max()) > 1e-12:
        checks.fail("centres", "unit rows, to 1e-12", "others", "divide each row by its norm")
    counts = torch.as_tensor([1] * len(C) if sizes is None else [checks.integer("size", n, minimum=1) for n in sizes])
    checks.vector("sizes", counts, length=len(C))
    roots = counts.double().sqrt()
    length = spectrum.operator_norm(roots[:, None] * C)
    missed, kinds, uneven, signs = 0, [], 0.0, 0
    for network in networks:
        kinds.append((network.width, network.paired, network.activation))
        if kinds[-1] != kinds[0]:
            checks.fail("networks", "one width, activation and kind", "several", "check them separately")
        kernel = roots[:, None] * covariance.empirical_kernel(C, network) * roots
        with torch.no_grad():
            r0_ = float((roots * (network(C) - means)).norm())
        lipschitz = network.activation.gamma2 * float(network.v.abs().max()) * length
        missed += not (9 * lipschitz * r0_ <= float(torch.linalg.eigvalsh(kernel)[0]))
        uneven = max(uneven, float((network.width * network.v**2 - 1).abs().max()))
        signs = max(signs, abs(int(network.v.sign().sum())))
    if not kinds:
        checks.fail("networks", "at least one", "none", "draw some by TwoLayer.initialise")
    width, paired, activation = kinds[0]
    least = covariance.least_eigenvalue(C, activation)
    values: dict[str, Any] = {
        "fail": Estimate.proportion(missed, len(kinds)),
        "k": width,
        "lam": Estimate.computed(float(least), error=1e-12 * len(C)),
        "C": spectrum.operator_norm(C),
        "G2": activation.gamma2,
        "K": len(C),
        "sum": signs,
        "flat": uneven,
        "lag": int(counts.max() - counts.min()),
        "top": Estimate.exact(float(means.abs().max())),
        "G1": activation.gamma1,
    }
    if not paired:
        values["p"] = Estimate.exact(failure)
    claim = WIDTH_PAIRED if paired else WIDTH
    return Verdicts([claim.check(**values, **record)])


def experiment_exact_recovery(budget: str = "small", seed: int = 0) -> Verdicts:
    """C2 where its hypotheses are met, where they are not (narrow, ReLU), and its a-priori width.

    Args:
        budget: "small" or "full" (several draws of each setting, 2000 instead of 300 draws for the width).
        seed: of the first draw.
    """
    small = checks.choice("budget", budget, ("small", "full")) == "small"
    verdicts = Verdicts()
    met = (("softplus", 2, 512, True), ("gelu", 3, 2048, True), ("erf", 2, 1024, True), ("softplus", 2, 5594, False))
    for activation, clusters, width, paired in (*met, ("softplus", 2, 32, True), ("relu", 2, 512, True)):
        count = 1 if small else 10
        for draw in range(count * seed, count * (seed + 1)):
            data = clusterable.generate(per_cluster=10, radius=0, centres=np.eye(clusters, clusters + 1), classes=2)
            labels = label_noise.corrupt(data, 0.2, seed=draw)
            network = TwoLayer.initialise(width, clusters + 1, activation, paired=paired, seed=draw)
            step = 0.99 / network.jacobian_bound(data.X) ** 2
            run = descent.train(network, data.X, labels.y, step=step, steps=200, record=16)
            settings = {"activation": activation, "clusters": clusters, "width": width, "paired": paired}
            arguments = (data.X, data.clusters, data.y, labels.y)
            verdicts += check_exact_recovery(run, *arguments, settings=settings, seed=draw)
    gentle = Activation(
        "2 softplus(z/2)",
        lambda z: 2 * torch.logaddexp(z / 2, torch.zeros_like(z)),
        lambda z: torch.sigmoid(z / 2),
        gamma1=1.0,
        gamma2=0.125,
    )
    for phi, paired in ((activations.get("softplus"), False), (gentle, True)):
        width = early_stopping.recovery_width(np.eye(2), phi, failure=0.2, paired=paired)
        draws = range(300 if small else 2000)
        networks = (TwoLayer.initialise(width, 2, phi, paired=paired, seed=seed + draw) for draw in draws)
        settings = {"activation": phi.name, "width": width, "paired": paired}
        verdicts += check_width(networks, np.eye(2), [-1, 1], failure=0.2, settings=settings, seed=seed)
    return verdicts


def _least_singular_value(kernel: Float[np.ndarray, "K K"], width: int) -> Estimate:
    error = (width + 4 * len(kernel)) * EPSILON * float(np.trace(kernel))
    least = float(np.linalg.eigvalsh(kernel)[0])
    return Estimate.enclosure(math.sqrt(max(0.0, least - error)), math.sqrt(max(0.0, least + error)))


C2 = Family(
    "C2",
    "perfect clusters: a smooth, wide network provably recovers the true labels on a short path",
    (RATE, PATH, HALF, ERRORS, WIDTH, WIDTH_PAIRED),
    check_exact_recovery,
    experiment_exact_recovery,
)
