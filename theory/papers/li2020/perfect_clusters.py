"""Perfect clusters: where all inputs of a cluster coincide, a network can only learn the cluster's mean label.

The Jacobian then has rank at most K with its range in S+, the vectors that are constant on clusters: what the labels do
inside a cluster is never touched, descent on n points is descent on K weighted points, and a cluster is recovered
exactly if its mean observed label stays nearest its own label (C1: identities, for every W and any activation). If the
network is smooth and wide enough, descent provably gets there, fast and on a short path (C2).
Cf. Li, Soltanolkotabi & Oymak (2020); proofs in paper_notes/li2020.md.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import sympy as sp
import torch
from jaxtyping import Float, Int

from theory import activations, arrays, checks, clusterable, covariance, descent, early_stopping, label_noise, spectrum
from theory.activations import Activation
from theory.arrays import Array
from theory.claim import Claim, Family, symbols
from theory.descent import Trajectory
from theory.estimate import Estimate
from theory.networks import TwoLayer
from theory.papers.li2020.overfitting_symbols import output_rounding
from theory.verdict import Verdict, Verdicts

_EPSILON = float(np.finfo(np.float64).eps)
_CUT = 1e-10  # eigenvalues of J J^T below this share of the largest count as zero
_DECIDABLE = 4  # a bound within this many rounding errors of zero is left out of a sweep

MEANINGS = {
    "eps0": "largest distance of an input to the first one of its cluster [input]",
    "rank": "eigenvalues of J J^T above 1e-10 of the largest [1]",
    "K": "number of clusters [1]",
    "most": "min(n, number of weights), the rank that J could have [1]",
    "s2": "squared singular values of J, the K largest [input^2]",
    "m2": "eigenvalues of D^(1/2) K_C(W) D^(1/2), D = diag(n_l), K_C = J(W, C) J(W, C)^T [input^2]",
    "off": "||Pi_- r_tau + Pi_- y||_inf [label]",
    "gap": "largest difference of the outputs of descent on n points and weighted descent on K points [label]",
    "E": "||f_tau - truth||_inf [label]",
    "noise": "||Pi_+ e||_inf, the largest |mean label noise of a cluster| [label]",
    "rest": "||Pi_+ r_tau||_inf, what is left to learn [label]",
    "won": "1 if all outputs on the cluster are nearest its own label, else 0 [1]",
    "near": "1 if the cluster's mean observed label is nearest its own label, else 0 [1]",
    "left": "largest distance of an output on the cluster to its mean observed label [label]",
    "margin": "distance of the mean observed label from the nearest point that ties its own label, < 0 beyond [label]",
    "rho": "share of the cluster's labels that are corrupted [1]",
    "delta": "label separation [label]",
    "span": "largest minus smallest label [label]",
    "first": "least share of corrupted labels that can make a cluster's mean tie with another label, or worse [1]",
    "end": "the smaller of the gaps next to the smallest and to the largest label [label]",
    "sigma": "sigma_0, least singular value of J(W0)^T on S+ [input]",
    "L": "Lipschitz constant of the Jacobian [input]",
    "beta": "bound on ||J(W)||_op [input]",
    "eta": "step size [1/input^2]",
    "r0": "||Pi_+ r_0||_2 [label]",
    "r": "||Pi_+ r_tau||_2 [label]",
    "tau": "number of steps, >= 1 [1]",
    "path": "length of the path W_0, W_1, ..., W_tau [1]",
    "smallest": "size of the smallest cluster [1]",
    "fail": "probability over W0 that 9 L ||Pi_+ r_0|| > sigma_0^2 [1]",
    "p": "part of the failure probability granted to f(W0) [1]",
    "k": "width [1]",
    "lam": "lambda(C), least eigenvalue of the neural covariance of the centres [1]",
    "C": "||C||_op of the centres [1]",
    "G1": "Gamma1 = sup|phi'| [1]",
    "G2": "Gamma2 = sup|phi''| [1]",
    "sum": "number of positive minus number of negative output weights [1]",
    "flat": "max_j |k v_j^2 - 1| [1]",
    "lag": "size of the largest minus size of the smallest cluster [1]",
    "top": "largest |mean observed label| of a cluster [label]",
}
NOTATION = {
    "eps0": r"\epsilon_0",
    "rho": r"\rho",
    "delta": r"\delta",
    "sigma": r"\sigma_0",
    "beta": r"\beta",
    "eta": r"\eta",
    "r0": r"\|\Pi_+ r_0\|",
    "r": r"\|\Pi_+ r_\tau\|",
    "tau": r"\tau",
    "noise": r"\|\Pi_+ e\|_\infty",
    "E": r"\|f_\tau - \tilde y\|_\infty",
    "smallest": r"n_{\min}",
    "lam": r"\lambda",
    "C": r"\|C\|",
    "G1": r"\Gamma_1",
    "G2": r"\Gamma_2",
    "s2": r"\sigma(J)^2",
}

_NAMES = "eps0 rank K most s2 m2 off gap E noise rest won near left margin rho delta span first end"
eps0, rank, K, most, s2, m2, off, gap, E, noise, rest, won, near, left, margin, rho, delta, span, first, end = symbols(
    _NAMES
)
sigma, L, beta, eta, r0, r, tau, path, smallest = symbols("sigma L beta eta r0 r tau path smallest")
fail, p, k, lam, C, G1, G2, total, flat, lag, top = symbols("fail p k lam C G1 G2 sum flat lag top")

PERFECT = ("inputs of a cluster coincide", sp.Eq(eps0, 0))


def _claim(
    id: str, title: str, relation: Any, hypotheses: Sequence[tuple[str, Any]] = (PERFECT,), **rest: Any
) -> Claim:
    used = {s.name for statement in (relation, *(h for _, h in hypotheses)) for s in statement.free_symbols}
    used |= {s.name for s in getattr(rest.get("vacuous"), "free_symbols", ())}
    return Claim(
        id,
        title,
        relation,
        {name: text for name, text in MEANINGS.items() if name in used},
        hypotheses=hypotheses,
        notation={
            name: NOTATION.get(name, rf"\mathrm{{{name}}}") for name in used if len(name) > 1 or name in NOTATION
        },
        proof=f"paper_notes/li2020.md#{id[:2].lower()}",
        **({"reference": "derived; cf. Li, Soltanolkotabi & Oymak (2020)"} | rest),
    )


RANK = _claim(
    "C1.rank", "the Jacobian has rank at most K", sp.Le(rank, K, evaluate=False), vacuous=sp.Le(most, K, evaluate=False)
)
SPECTRUM = _claim(
    "C1.spectrum", "its nonzero singular values are those of K weighted points", sp.Eq(s2, m2), kind="identity"
)
NUISANCE = _claim(
    "C1.nuisance_residual", "inside a cluster the residual never moves", sp.Eq(off, 0, evaluate=False), kind="identity"
)
WEIGHTED = _claim(
    "C1.weighted_descent",
    "descent on n points is weighted descent on K points with mean labels: the same outputs",
    sp.Eq(gap, 0, evaluate=False),
    kind="identity",
)
LIMIT = _claim(
    "C1.limit",
    "the limit error is the largest mean label noise of a cluster",
    sp.Eq(E, noise),
    (PERFECT, ("descent has come within 1e-11 of its limit on S+", sp.Le(rest, sp.Rational(1, 10**11)))),
    kind="identity",
)
RECOVERY = _claim(
    "C1.recovery",
    "a cluster is recovered if and only if its mean observed label is nearest its own label",
    sp.Eq(won, near),
    (PERFECT, ("the outputs are nearer to that mean than it is to a tie", sp.Lt(left, sp.Abs(margin)))),
    kind="identity",
)
SUFFICIENT = _claim(
    "C1.sufficient",
    "a share rho < delta/(2 span), so rho < delta/4, leaves a cluster's mean label nearest its own label",
    sp.Ge(margin, delta / 2 - rho * span, evaluate=False),
    (),
    vacuous=sp.Ge(rho * span, delta / 2, evaluate=False),
)
SHARP = _claim(
    "C1.sharp",
    "the share delta/(2 span) is sharp: 1/2 for two labels, 9/40 for -1, 1/10, 1",
    sp.Eq(first, delta / (2 * span)),
    (("the least gap of the labels is at an end, as with two or three labels", sp.Eq(end, delta)),),
    kind="identity",
)

IN_REACH = ("9 L ||Pi_+ r_0|| <= sigma_0^2", sp.Le(9 * L * r0, sigma**2, evaluate=False))
SHORT_STEP = ("eta <= 1/beta^2", sp.Le(eta * beta**2, 1))
_C2 = (PERFECT, IN_REACH, SHORT_STEP)
_CONTRACTION = (1 - eta * sigma**2 / 9) ** tau  # 1 - (4/9) eta a^2 with a = sigma_0 / 2
RATE = _claim("C2.rate", "the residual on S+ contracts geometrically", sp.Le(r, _CONTRACTION * r0, evaluate=False), _C2)
PATH = _claim("C2.path", "descent takes a short path", sp.Le(path, sp.Rational(9, 2) * r0 / sigma, evaluate=False), _C2)
HALF = _claim(
    "C2.half",
    "the path stays where the least singular value is at least sigma_0/2",
    sp.Le(path, sigma / (2 * L), evaluate=False),
    _C2,
)
ERRORS = _claim(
    "C2.recovery",
    "every output comes near its true label, up to the mean label noise of a cluster",
    sp.Le(E, noise + _CONTRACTION * r0 / sp.sqrt(smallest), evaluate=False),
    _C2,
)
_SETTING = (
    ("as many positive as negative output weights", sp.Eq(total, 0)),
    ("|v_j| = 1/sqrt(k), to 1e-12", sp.Le(flat, sp.Rational(1, 10**12))),
    ("equal clusters", sp.Eq(lag, 0)),
    ("labels in [-1, 1]", sp.Le(top, 1)),
)


def _wide(m: Any) -> tuple[str, Any]:
    return "k d >= 324 Gamma2^2 m^2 kappa(C)^2 K^2", sp.Ge(k * lam**2, 324 * G2**2 * m**2 * K * C**2, evaluate=False)


WIDTH = _claim(
    "C2.width",
    "an a-priori width meets the hypothesis of C2, but for a small probability; independent initialisation",
    sp.Le(fail, p + K * sp.exp(-k * lam / (8 * G1**2 * C**2)), evaluate=False),
    (_wide(1 + G1 * sp.sqrt(2 * sp.log(2 * K / p))), *_SETTING),
    kind="tail bound",
)
WIDTH_PAIRED = _claim(
    "C2.width_paired",
    "an a-priori width meets the hypothesis of C2, but for a small probability; paired initialisation",
    # k/2 rows are independent, and f(W0) = 0 costs nothing
    sp.Le(fail, K * sp.exp(-k * lam / (16 * G1**2 * C**2)), evaluate=False),
    (_wide(1), *_SETTING),
    kind="tail bound",
)


@dataclass(frozen=True, eq=False)
class _Run:
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
        return self.X[self.firsts]

    @property
    def means(self) -> Float[np.ndarray, " K"]:
        return np.bincount(self.members, weights=self.observed) / self.sizes

    @property
    def noise(self) -> float:
        return float(np.abs(self.means - self.truth[self.firsts]).max())

    @property
    def spread(self) -> float:
        return float(np.linalg.norm(self.X - self.C[self.members], axis=1).max())

    @property
    def error(self) -> Float[np.ndarray, " T"]:
        return np.asarray(np.abs(self.trajectory.predictions - self.truth).max(axis=1))

    @property
    def on_support(self) -> Float[np.ndarray, "T n"]:
        return np.asarray(spectrum.support_projection(self.trajectory.residuals.T, self.members).T)


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
    run = _read(trajectory, X, clusters, truth, observed)
    network0, K_ = trajectory.network0, len(run.sizes)
    kernels = [(covariance.empirical_kernel(run.X, net), _weighted(run, net)) for net in (network0, trajectory.network)]
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
    parameters = sum(weight.numel() for weight in network0.parameters() if weight.requires_grad)
    perfect = {"eps0": Estimate.of(run.spread)} | record
    scaled = perfect | {"scale": float(max(np.abs(run.observed).max(), np.abs(trajectory.predictions).max()))}
    return Verdicts(
        [
            RANK.check(rank=(full > _CUT * full[:, :1]).sum(1), K=K_, most=min(len(run.X), parameters), **perfect),
            SPECTRUM.check(s2=full[:, :K_], m2=few, **perfect),
            NUISANCE.check(off=np.abs(fixed).max(0), **scaled),
            WEIGHTED.check(gap=np.abs(difference).max(1), **scaled),
            LIMIT.check(E=run.error, noise=run.noise, rest=np.abs(run.on_support).max(1), **scaled),
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
    if size is None:
        size = (min(_gaps(labels)) / (2 * (labels[-1] - labels[0]))).denominator
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
    return Verdicts([SHARP.check(first=first_, **ends, **record)])


def check_exact_recovery(
    trajectory: Trajectory, X: Array, clusters: Array, truth: Array, observed: Array, **record: Any
) -> Verdicts:
    """Judge C2 on a run of descent by a `TwoLayer`: hypotheses measured at W_0, conclusions at all recorded steps.

    Left out of the sweep are step 0, where every bound is an equation, and the steps at which a bound has sunk below
    the rounding error of what it bounds. A step of exactly 1/beta^2 is undecided: take a little less.

    Args and errors: as for `check_perfect_clusters`, and InvalidInput if the network is no `TwoLayer`.

    Returns:
        C2.rate, C2.path, C2.half and C2.recovery, one point per step.
    """
    run = _read(trajectory, X, clusters, truth, observed)
    network0, steps = trajectory.network0, trajectory.steps
    if not isinstance(network0, TwoLayer) or not isinstance(trajectory.network, TwoLayer):
        checks.fail("network", "a TwoLayer", type(network0).__name__, "its Lipschitz constant is known for it only")
    inputs = torch.from_numpy(run.X)
    of_outputs = torch.stack([output_rounding(net, inputs) for net in (network0, trajectory.network)]).max().item()
    rounding = math.sqrt(len(inputs)) * (of_outputs + _EPSILON * float(np.abs(run.observed).max()))
    sizes = np.linalg.norm(run.on_support, axis=1)
    start: dict[str, Any] = {
        "eps0": run.spread,
        "sigma": _least_singular_value(_weighted(run, network0), network0.width),
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


def experiment_perfect_clusters(budget: str = "small", seed: int = 0) -> Verdicts:
    """C1 on descent to its limit for several activations, noise below and above the sharp share, and labels alone.

    Args:
        budget: "small" (ReLU and softplus) or "full" (all five activations, wider networks, three draws).
        seed: of the first draw.
    """
    small = checks.choice("budget", budget, ("small", "full")) == "small"
    verdicts = Verdicts()
    for draw in range(seed, seed + (1 if small else 3)):
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
        for draw in range(seed, seed + (1 if small else 10)):
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


def _read(trajectory: Trajectory, X: Array, clusters: Array, truth: Array, observed: Array) -> _Run:
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
    _, firsts, members, sizes = np.unique(
        clusters.cpu().numpy(), return_index=True, return_inverse=True, return_counts=True
    )
    if (truth != truth[firsts][members]).any():
        checks.fail("truth", "one value per cluster", "several in one cluster", "give each cluster one class")
    return _Run(trajectory, X, members, firsts, sizes, truth, observed)


def _weighted(run: _Run, network: torch.nn.Module) -> Float[np.ndarray, "K K"]:
    """D^(1/2) K_C(W) D^(1/2), which is J J^T on S+ where the inputs of a cluster coincide."""
    roots = np.sqrt(run.sizes)
    return np.asarray(roots[:, None] * covariance.empirical_kernel(run.C, network) * roots)


def _least_singular_value(kernel: Float[np.ndarray, "K K"], width: int) -> Estimate:
    error = (width + 4 * len(kernel)) * _EPSILON * float(np.trace(kernel))
    least = float(np.linalg.eigvalsh(kernel)[0])
    return Estimate.enclosure(math.sqrt(max(0.0, least - error)), math.sqrt(max(0.0, least + error)))


def _check_labels(run: _Run, labels: list[Fraction], record: Mapping[str, Any]) -> list[Verdict]:
    """C1.recovery at the last recorded step and C1.sufficient, cluster by cluster, labels in exact arithmetic."""
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
C2 = Family(
    "C2",
    "perfect clusters: a smooth, wide network provably recovers the true labels on a short path",
    (RATE, PATH, HALF, ERRORS, WIDTH, WIDTH_PAIRED),
    check_exact_recovery,
    experiment_exact_recovery,
)
