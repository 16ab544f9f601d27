"""Recovery: what a network near its true labels looks like, when descent must get there, and how fast.

Once every output is within delta/2 of its true label, the residuals to the observed labels split: all clean ones below
delta/2, all corrupted ones above (C10). Descent reaches such weights whenever the Jacobian has an exactly low-rank
range on which it stays well conditioned along the iterates (C11, for any model; measured a posteriori). With
eta ~ K/(n ||C||^2) that takes about ||C||^2/lambda(C) steps and a distance of about sqrt(K/lambda(C)) (C12, exponents).
Cf. Li, Soltanolkotabi & Oymak (2020); proofs in paper_notes/li2020.md.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import sympy as sp
import torch
from jaxtyping import Float
from torch import Tensor

from theory import activations, arrays, checks, clusterable, covariance, descent, early_stopping, label_noise, spectrum
from theory.activations import Activation
from theory.arrays import Array
from theory.claim import Claim, Family, symbols
from theory.estimate import Estimate
from theory.networks import TwoLayer
from theory.papers.li2020.overfitting_symbols import output_rounding
from theory.verdict import Verdicts

_EPSILON = float(np.finfo(np.float64).eps)
_POINTS = 30  # of a sweep over steps
_DECIDABLE = 4  # a change of the residual within this many rounding errors is left out of a sweep

MEANINGS = {
    "E": "||f - truth||_inf [label]",
    "delta": "least distance of two labels, true or observed [label]",
    "clean": "largest |f_i - y_i| over the clean labels [label]",
    "corrupted": "smallest |f_i - y_i| over the corrupted labels [label]",
    "auc": "probability that a random corrupted |r_i| exceeds a random clean one, ties counted half [1]",
    "right": "number of clean labels [1]",
    "wrong": "number of corrupted labels [1]",
    "a": "least singular value of J(W_t)^T on S+, over the iterates t < T [1]",
    "beta": "largest ||J(W_t)||_op over the iterates t < T [1]",
    "L": "Lipschitz constant of the Jacobian on the ball of radius 4 ||r_0||/a round W_0 [1]",
    "eta": "step size [1]",
    "all0": "||r_0||_2 [label]",
    "r0": "||Pi_+ r_0||_2 [label]",
    "now": "||Pi_+ r_t||_2 [label]",
    "next": "||Pi_+ r_{t+1}||_2 [label]",
    "path": "length of the path W_0, W_1, ..., W_tau [1]",
    "tau": "number of steps [1]",
    "nu": "nu_e, a bound on ||Pi_+ e||_inf [label]",
    "noise": "||Pi_+ e||_inf, e the label noise [label]",
    "off": "||Pi_- (f_0 - truth)||_inf [label]",
    "leak": "largest ||Pi_- J(W_t)||_F over the iterates t < T [1]",
    "p": "fitted exponent, log-log [1]",
}
NOTATION = {
    "E": r"\|f_\tau - \tilde y\|_\infty",
    "delta": r"\delta",
    "beta": r"\beta",
    "eta": r"\eta",
    "nu": r"\nu_e",
    "tau": r"\tau",
    "all0": r"\|r_0\|",
    "r0": r"\|\Pi_+ r_0\|",
    "now": r"\|\Pi_+ r_t\|",
    "next": r"\|\Pi_+ r_{t+1}\|",
    "noise": r"\|\Pi_+ e\|_\infty",
}

E, delta, clean, corrupted, auc, right, wrong = symbols("E delta clean corrupted auc right wrong")
a, beta, L, eta, all0, r0, now, next_, path, tau = symbols("a beta L eta all0 r0 now next path tau")
nu, noise, off, leak, p = symbols("nu noise off leak p")


def _claim(id: str, title: str, relation: Any, hypotheses: Sequence[Any] = (), **rest: Any) -> Claim:
    statements = [relation, *(condition for _, condition in hypotheses)]
    used = {symbol.name for statement in statements for symbol in statement.free_symbols}
    return Claim(
        id,
        title,
        relation,
        {name: text for name, text in MEANINGS.items() if name in used},
        hypotheses=hypotheses,
        notation={
            name: NOTATION.get(name, rf"\mathrm{{{name}}}") for name in used if len(name) > 1 or name in NOTATION
        },
        proof=f"paper_notes/li2020.md#{id.split('.')[0].lower()}",
        **({"reference": "derived; cf. Li, Soltanolkotabi & Oymak (2020)"} | rest),
    )


_NEAR = (
    ("every output is within delta/2 of its true label", sp.Lt(E, delta / 2, evaluate=False)),
    ("some labels are clean", sp.Ge(right, 1)),
    ("some labels are corrupted", sp.Ge(wrong, 1)),
)
CLEAN = _claim("C10.clean", "every clean residual is below delta/2", sp.Lt(clean, delta / 2, evaluate=False), _NEAR)
CORRUPTED = _claim(
    "C10.corrupted", "every corrupted residual is above delta/2", sp.Gt(corrupted, delta / 2, evaluate=False), _NEAR
)
AUC = _claim("C10.auc", "the residuals tell corrupted labels from clean ones", sp.Eq(auc, 1), _NEAR, kind="identity")

_LOW_RANK = (
    ("the range of J lies in S+, to 1e-12", sp.Le(leak, beta / 10**12, evaluate=False)),
    ("J^T is invertible on S+ along the iterates: a > 0", sp.Gt(a, 0)),
    ("eta <= 1/(2 beta^2)", sp.Le(2 * eta * beta**2, 1)),
    ("eta <= a/(2 beta L ||r_0||)", sp.Le(2 * eta * beta * L * all0, a, evaluate=False)),
)
META_PATH = _claim("C11.path", "descent takes a short path", sp.Le(path, 2 * r0 / a, evaluate=False), _LOW_RANK)
META_RATE = _claim(
    "C11.rate",
    "every step contracts the residual on S+",
    sp.Le(next_, (1 - eta * a**2 / 2) * now, evaluate=False),
    _LOW_RANK,
)
META_RECOVERY = _claim(
    "C11.recovery",
    "after (2/(eta a^2)) log(||Pi_+ r_0||/nu_e) steps every output is within 2 nu_e of its true label",
    sp.Le(E, 2 * nu + off, evaluate=False),
    (
        *_LOW_RANK,
        ("nu_e > 0", sp.Gt(nu, 0)),
        ("nu_e >= ||Pi_+ e||_inf", sp.Ge(nu, noise, evaluate=False)),
        ("tau >= (2/(eta a^2)) log(||Pi_+ r_0||/nu_e)", sp.Ge(nu * sp.exp(eta * a**2 * tau / 2), r0, evaluate=False)),
    ),
)


def _exponent(id: str, title: str, value: Any, tolerance: Any) -> Claim:
    rest = {"kind": "rate", "tolerance": tolerance, "constants": "unnamed"}
    return _claim(id, title, sp.Eq(p, value, evaluate=False), reference=_PAPER, **rest)


_PAPER = "cf. Li, Soltanolkotabi & Oymak (2020)"
# Bands: steps are those of the slowest of K clusters, and at finite width the slowest of more is slower.
STEPS = _exponent("C12.steps", "steps to recovery grow as ||C||^2/lambda(C)", sp.Integer(1), sp.Rational(1, 10))
STEPS_SPREAD = _exponent(
    "C12.steps_spread",
    "with orthogonal centres, where ||C||^2/lambda(C) is constant, steps to recovery do not grow with K",
    sp.Integer(0),
    sp.Rational(1, 10),
)
DISTANCE = _exponent(
    "C12.distance", "the distance up to recovery grows as sqrt(K/lambda(C))", sp.Rational(1, 2), sp.Rational(1, 20)
)
RADIUS = _claim(
    "C12.radius",
    "the largest cluster radius that can be recovered falls no faster than lambda(C)^2",
    sp.Le(p, 2, evaluate=False),
    reference=f"a consequence of the sufficient radius; {_PAPER}",
)


def check_residuals(predictions: Array, truth: Array, observed: Array, **record: Any) -> Verdicts:
    """Judge C10 on the outputs of any model, at one moment or along a run.

    Args:
        predictions: outputs (n,), or (T, n) along a run (`Trajectory.predictions`).
        truth: true labels, (n,).
        observed: observed labels, (n,); those that differ from the truth are corrupted.
        **record: `settings` and `seed` for the verdicts.

    Returns:
        C10.clean, C10.corrupted and C10.auc, one point per moment; out of scope where some output is delta/2 or more
        from its true label. "Every" is judged by the largest clean and the smallest corrupted residual.

    Raises:
        InvalidInput: wrong shapes, NaN, fewer than two values of labels.

    Example:
        >>> [str(v.status) for v in check_residuals([0.2, -0.1, 0.9], [0, 0, 1], [0, 1, 1])]
        ['holds', 'holds', 'holds']
    """
    (outputs, truth, observed), _ = arrays.tensors(predictions=predictions, truth=truth, observed=observed)
    outputs, truth, observed = (x.detach().cpu().double().numpy() for x in (outputs, truth, observed))
    checks.vector("truth", truth)
    checks.vector("observed", observed, length=len(truth))
    values = np.unique(np.concatenate([truth, observed]))
    if len(values) < 2:
        checks.fail("labels", "at least two values", len(values), "C10 is about labels that can be confused")
    if outputs.ndim not in (1, 2) or outputs.shape[-1] != len(truth):
        wanted = f"shape ({len(truth)},) or (T, {len(truth)})"
        checks.fail("predictions", wanted, f"shape {outputs.shape}", "one output per label")
    mask = truth != observed
    residuals = np.abs(outputs - observed)
    # no label on one side: out of scope, with the values that the empty statement would allow
    measured: dict[str, Any] = {
        "E": np.abs(outputs - truth).max(axis=-1),
        "clean": residuals[..., ~mask].max(axis=-1, initial=0.0),
        "corrupted": residuals[..., mask].min(axis=-1, initial=math.inf),
        "auc": np.array([_auc(row, mask) for row in np.atleast_2d(residuals)]).reshape(outputs.shape[:-1]),
        "delta": float(np.diff(values).min()),
        "right": int((~mask).sum()),
        "wrong": int(mask.sum()),
    }
    return Verdicts([_check(claim, measured, record) for claim in (CLEAN, CORRUPTED, AUC)])


def check_low_rank(
    network: torch.nn.Module,
    X: Array,
    truth: Array,
    observed: Array,
    *,
    step: float,
    steps: int,
    clusters: Array | None = None,
    basis: Array | None = None,
    lipschitz: float | None = None,
    nu: float | None = None,
    **record: Any,
) -> Verdicts:
    """Judge C11: run descent, measure the Jacobian at every iterate, and hold the run against what that implies.

    Args:
        network: at W_0, float64; a `TwoLayer`, or any module with one real output. It is not modified.
        X: inputs, (n, d).
        truth: true labels, (n,).
        observed: labels to train on, (n,).
        step: eta.
        steps: T >= 1; the Jacobian, explicit, is computed T times.
        clusters: cluster of each input, (n,), integers: S+ holds the vectors constant on clusters.
        basis: orthonormal basis of S+, (n, r), instead.
        lipschitz: L, where the network is no `TwoLayer`; 0 for a linear model.
        nu: nu_e > 0; left out: ||Pi_+ e||_inf, raised by a millionth.
        **record: `settings` and `seed` for the verdicts.

    Returns:
        C11.path for the whole path; C11.rate for the 30 steps that contract least, of those whose promised contraction
        is larger than rounding; C11.recovery for 30 steps evenly from first to last, out of scope before its time.

    Raises:
        InvalidInput: wrong shapes, NaN, neither or both of clusters and basis, a basis that is not orthonormal, no
            `lipschitz` for another module, a network of less than float64.
        Diverged: the step is far too large.
    """
    steps = checks.integer("steps", steps, minimum=1)
    (X, truth, observed, basis), _ = arrays.tensors(X=X, truth=truth, observed=observed, basis=basis)
    if (clusters is None) == (basis is None):
        checks.fail("S+", "clusters or basis", "both" if basis is not None else "neither", "pass one of them")
    if any(weight.dtype != torch.float64 for weight in network.parameters()):
        checks.fail("network", "float64 weights", "others", "initialise it in float64")
    X, truth, observed = X.double(), truth.double(), observed.double()
    for name, column in (("truth", truth), ("observed", observed)):
        checks.vector(name, column, length=len(X))
    Q = torch.as_tensor(spectrum.support_basis(clusters)) if basis is None else basis
    Q = Q.double()
    checks.matrix("basis", Q, rows=len(X))
    if float((Q.T @ Q - torch.eye(Q.shape[1], dtype=Q.dtype)).abs().max()) > 1e-12:
        checks.fail("basis", "orthonormal columns, to 1e-12", "others", "orthonormalise it, e.g. by torch.linalg.qr")
    if lipschitz is None:
        if not isinstance(network, TwoLayer):
            checks.fail(
                "lipschitz", "given for a network other than TwoLayer", None, "bound ||J(W) - J(W')||/||W - W'||"
            )
        lipschitz = network.lipschitz(X)
    lipschitz = float(lipschitz)

    least, largest, leaks, on_support, errors, paths = [], [], [], [], [], [0.0]
    for now_ in descent.descend(network, X, observed, step):
        on_support.append(float((Q.T @ now_.residual).norm()))
        errors.append(float((now_.residual + observed - truth).abs().max()))
        if now_.tau == 0:
            first = now_.residual
        if now_.tau == steps:
            break
        paths.append(paths[-1] + now_.movement)
        J = covariance.jacobian(X, _at(network, now_.W)).matrix()
        inside = Q.T @ J
        values = torch.linalg.svdvals(inside)
        least.append(float(values[-1]) if len(values) == Q.shape[1] else 0.0)
        largest.append(float(torch.linalg.svdvals(J)[0]))
        leaks.append(float((J - Q @ inside).norm()))
    start = first + observed - truth
    noise_ = float((Q @ (Q.T @ (observed - truth))).abs().max())
    rounding = _rounding(network, X) + 8 * _EPSILON * math.sqrt(len(X)) * float(observed.norm() + first.norm())
    svd = 64 * _EPSILON * max(largest)
    before, after = np.array(on_support[:-1]), np.array(on_support[1:])
    seen = np.flatnonzero(step * min(least) ** 2 / 2 * before > _DECIDABLE * rounding)
    # one factor bounds all steps, so those that contract least decide for the rest
    seen = seen[np.argsort(before[seen] / after[seen])[:_POINTS]]
    taus = np.unique(np.linspace(1, steps, _POINTS).round().astype(int))
    measured: dict[str, Any] = {
        "a": Estimate.computed(min(least), error=min(svd, min(least))),
        "beta": Estimate.computed(max(largest), error=svd),
        "L": lipschitz,
        "eta": Estimate.exact(float(step)),
        "leak": max(leaks),
        "all0": Estimate.computed(float(first.norm()), error=rounding),
        "r0": Estimate.computed(on_support[0], error=rounding),
        "now": Estimate.computed(before[seen], error=rounding),
        "next": Estimate.computed(after[seen], error=rounding),
        "path": paths[-1],  # it only grows
        "tau": taus,
        "E": Estimate.computed(np.array(errors)[taus], error=rounding),
        "noise": noise_,
        "nu": Estimate.exact(noise_ * (1 + 1e-6) if nu is None else checks.number("nu", nu, 0, open_low=True)),
        "off": Estimate.computed(float((start - Q @ (Q.T @ start)).abs().max()), error=rounding),
    }
    return Verdicts([_check(claim, measured, record) for claim in (META_PATH, META_RATE, META_RECOVERY)])


@dataclass(frozen=True, eq=False)
class Sweep:
    """Steps and distance up to recovery over a family of centre sets and several initialisations.

    Attributes:
        clusters: K of each set, (S,).
        least: lambda(C) of each set, (S,).
        size: ||C||_op of each set, (S,).
        steps: first tau with ||Pi_+ r_tau||_inf <= delta/8, interpolated between two steps, (seeds, S).
        distance: ||W_tau - W_0||_F then, (seeds, S).
        settings: what was run.
    """

    clusters: Float[np.ndarray, " S"]
    least: Float[np.ndarray, " S"]
    size: Float[np.ndarray, " S"]
    steps: Float[np.ndarray, "seeds S"]
    distance: Float[np.ndarray, "seeds S"]
    settings: Mapping[str, Any]


def sweep(
    sets: Sequence[np.ndarray],
    activation: str | Activation = "softplus",
    *,
    width: int = 4096,
    seeds: Sequence[int] = range(5),
    **settings: Any,
) -> Sweep:
    """Run descent from paired initialisations to recovery, on perfect clusters with labels -1, +1 in turn (delta = 2).

    The step is K/(4 n ||C||^2). Recovery is ||Pi_+ r||_inf <= delta/8: a share rho <= delta/8 of corrupted labels moves
    a mean label by at most delta/4, so every output is then within 3 delta/8 of its true label. The labels are those
    means: with perfect clusters the K weighted centres are the whole problem (C1).

    Args:
        sets: centres, each (K, d) with an even K and unit rows.
        activation: a name or an `Activation`.
        width: of the networks.
        seeds: of the initialisations.
        **settings: for the record.
    """
    phi = activations.get(activation)
    norms = [spectrum.operator_norm(C) for C in sets]
    taus, distances = np.empty((len(seeds), len(sets))), np.empty((len(seeds), len(sets)))
    for column, (C, norm) in enumerate(zip(sets, norms, strict=True)):
        labels = np.where(np.arange(len(C)) % 2, -1.0, 1.0)
        for row, seed in enumerate(seeds):
            network = TwoLayer.initialise(width, C.shape[1], phi, paired=True, seed=seed)
            before = math.inf
            for now_ in descent.descend(network, C, labels, 0.25 / norm**2):
                left = float(now_.residual.abs().max())
                if left <= 0.25:
                    break
                before = left
            # between two steps the residual is taken to fall geometrically: whole steps would round the exponent
            taus[row, column] = now_.tau - math.log(0.25 / left) / math.log(before / left)
            distances[row, column] = float((now_.W - network.W.detach()).norm())
    return Sweep(
        clusters=np.array([float(len(C)) for C in sets]),
        least=np.array([float(covariance.least_eigenvalue(C, phi)) for C in sets]),
        size=np.array(norms),
        steps=taus,
        distance=distances,
        settings={"activation": phi.name, "width": width, "seeds": len(seeds), **settings},
    )


def check_scaling(sweep: Sweep, **record: Any) -> Verdicts:
    """Judge C12.steps and C12.distance on a sweep, intervals over its initialisations; at least two centre sets.

    Where ||C||^2/lambda(C) is the same for all sets and K is not, C12.steps_spread takes the place of C12.steps.
    """
    cost = sweep.size**2 / sweep.least
    settings = {**sweep.settings, **(record.pop("settings", None) or {})}
    constant = np.ptp(cost) <= 1e-9 * cost.max()
    abscissa, claim = (sweep.clusters, STEPS_SPREAD) if constant else (cost, STEPS)
    reach = sweep.clusters / sweep.least
    return Verdicts(
        [
            claim.check(p=Estimate.exponent(abscissa, sweep.steps), settings=settings, **record),
            DISTANCE.check(p=Estimate.exponent(reach, sweep.distance), settings=settings, **record),
        ]
    )


def check_radius(least: Array, radii: Array, **record: Any) -> Verdicts:
    """Judge C12.radius on the largest recovered radius (replicates, S) at each lambda(C), (S,)."""
    return Verdicts([RADIUS.check(p=Estimate.exponent(least, radii), **record)])


def largest_radius(
    separation: float, activation: str | Activation, *, noise_rate: float = 0.2, ratio: float = 1.25, seed: int = 0
) -> float:
    """The largest cluster radius up to which linearised descent at infinite width recovers two clusters at some step.

    Two centres at `separation` radians in R^5, ten points each, labels -1 and +1 (delta = 2), kernel Sigma(X), step
    1/lambda_max, steps up to a million. Radii grow by `ratio` from separation/100; points move along fixed arcs.
    """
    half = checks.number("separation", separation, 0, math.pi, open_low=True) / 2
    centres = np.zeros((2, 5))
    centres[:, 0], centres[:, 1] = math.cos(half), (math.sin(half), -math.sin(half))
    taus = np.unique(np.geomspace(1, 1e6, 150).astype(int))
    radius = separation / 100
    while radius <= 2:
        data = clusterable.generate(2, 2, 5, per_cluster=10, radius=radius, centres=centres, seed=seed)
        labels = label_noise.corrupt(data, noise_rate, seed=seed)
        kernel = covariance.neural_covariance(data.X, activation)
        step = 1 / float(np.linalg.eigvalsh(kernel)[-1])
        start = np.zeros(len(data.y))
        errors = early_stopping.linearised_error(kernel, start, data.y, labels.noise, step, taus)
        if early_stopping.stopping_window(errors, taus, delta=2.0).first is None:
            break
        radius *= ratio
    return radius / ratio


def experiment_residuals(budget: str = "small", seed: int = 0) -> Verdicts:
    """C10 along descent on imperfect clusters, from start to overfitting.

    Args:
        budget: "small" (softplus and ReLU) or "full" (all activations, five draws, wider).
        seed: of the first draw.
    """
    small = checks.choice("budget", budget, ("small", "full")) == "small"
    verdicts = Verdicts()
    for draw in range(seed, seed + (1 if small else 5)):
        for activation in ("softplus", "relu") if small else activations.names():
            data = clusterable.generate(
                3, 3, 6, per_cluster=10, radius=0.1, alphas=[-1, 0.1, 1], antipodal_separation=0.7, seed=draw
            )
            labels = label_noise.corrupt(data, 0.2, seed=draw)
            network = TwoLayer.initialise(400 if small else 4000, 6, activation, paired=True, seed=draw)
            step = 0.45 * descent.largest_step(network, data.X)
            run = descent.train(network, data.X, labels.y, step=step, steps=400, record=40)
            settings = {"activation": activation, "width": network.width, "noise_rate": 0.2, "radius": 0.1}
            verdicts += check_residuals(run.predictions, data.y, labels.y, settings=settings, seed=draw)
    return verdicts


def experiment_low_rank(budget: str = "small", seed: int = 0) -> Verdicts:
    """C11 on perfect clusters (paired and independent initialisation), and on a linear model without any clusters.

    Args:
        budget: "small" or "full" (ten draws of each setting).
        seed: of the first draw.
    """
    small = checks.choice("budget", budget, ("small", "full")) == "small"
    verdicts = Verdicts()
    for draw in range(seed, seed + (1 if small else 10)):
        for activation, width, paired in (("softplus", 200, True), ("tanh", 400, True), ("erf", 600, False)):
            data = clusterable.generate(radius=0, sizes=[5, 7], centres=np.eye(2, 3), classes=2, seed=draw)
            labels = label_noise.corrupt(data, 0.2, seed=draw)
            network = TwoLayer.initialise(width, 3, activation, paired=paired, seed=draw)
            start = early_stopping.measure_start(network, data.X, data.clusters, data.y, labels.y)
            # a guess of a and beta, both measured afterwards: sigma_0/2 and the global bound
            size = math.hypot(start.residual_support, start.residual_nuisance)
            step = min(1, start.sigma / (2 * start.beta * size * start.lipschitz)) * start.beta**-2 / 2
            settings = {"activation": activation, "width": width, "paired": paired}
            steps = math.ceil(12 / (step * start.sigma**2))
            options: dict[str, Any] = {"step": step, "steps": steps, "clusters": data.clusters}
            verdicts += check_low_rank(network, data.X, data.y, labels.y, **options, settings=settings, seed=draw)
        verdicts += _linear_model(draw)
    return verdicts


def _linear_model(seed: int) -> Verdicts:
    """C11 on f(w) = X w: its Jacobian is X, so S+ is the range of X, L = 0 and no cluster is needed."""
    X = torch.from_numpy(clusterable.generate(4, 2, 4, size=20, radius=0.5, seed=seed).X)
    model = torch.nn.Linear(4, 1, bias=False, dtype=torch.float64)
    torch.nn.init.zeros_(model.weight)
    truth = X @ torch.ones(4, dtype=torch.float64) / 2
    observed = truth.clone()
    observed[::7] *= -1
    step = float(0.49 / torch.linalg.matrix_norm(X, 2) ** 2)
    basis = torch.linalg.qr(X).Q
    settings = {"model": "linear"}
    return check_low_rank(
        model, X, truth, observed, step=step, steps=150, basis=basis, lipschitz=0, settings=settings, seed=seed
    )


def experiment_scaling(budget: str = "small", seed: int = 0) -> Verdicts:
    """C12 over two centres that close in, a cone of K centres, and K orthogonal ones; radii at infinite width.

    Args:
        budget: "small" (softplus, width 2048) or "full" (four activations, width 32768, more seeds and centres).
        seed: of the first initialisation.
    """
    small = checks.choice("budget", budget, ("small", "full")) == "small"
    width, seeds = (2048, range(seed, seed + 6)) if small else (32768, range(seed, seed + 8))
    angles = (1.4, 1.0, 0.7, 0.5) if small else (1.4, 1.0, 0.7, 0.4)
    counts = (2, 4, 8, 16)
    families = {
        "two centres, angle": [pair(angle) for angle in angles],
        "cone": [cone(K) for K in counts],
        "orthogonal": [np.eye(K) for K in counts],
    }
    verdicts = Verdicts()
    for activation in ("softplus",) if small else ("softplus", "gelu", "tanh", "erf"):
        for name, sets in families.items():
            verdicts += check_scaling(sweep(sets, activation, width=width, seeds=seeds, centres=name))
    for activation in ("erf",) if small else ("erf", "gelu", "relu"):
        least = [float(covariance.least_eigenvalue(pair(angle), activation)) for angle in angles]
        draws = range(seed, seed + (4 if small else 20))
        radii = np.array([[largest_radius(angle, activation, seed=draw) for angle in angles] for draw in draws])
        verdicts += check_radius(least, radii, settings={"activation": activation, "draws": len(radii)})
    return verdicts


def pair(angle: float) -> Float[np.ndarray, "2 2"]:
    """Two unit centres at `angle` radians.

    Example:
        >>> pair(math.pi / 2).round(6).tolist()
        [[0.707107, 0.707107], [0.707107, -0.707107]]
    """
    half = angle / 2
    return np.array([[math.cos(half), math.sin(half)], [math.cos(half), -math.sin(half)]])


def cone(K: int, opening: float = 0.7) -> Float[np.ndarray, "K K+1"]:
    """K unit centres sqrt(1 - s^2) e_0 + s e_l, s = `opening`: lambda(C) is one for all K, ||C||^2 grows as K.

    Example:
        >>> (cone(4) @ cone(4).T)[0].round(2).tolist()
        [1.0, 0.51, 0.51, 0.51]
    """
    centres = np.zeros((K, K + 1))
    centres[:, 0], centres[:, 1:] = math.sqrt(1 - opening**2), opening * np.eye(K)
    return centres


def _check(claim: Claim, measured: Mapping[str, Any], record: Mapping[str, Any]) -> Any:
    return claim.check(**{name: measured[name] for name in claim.meanings}, **record)


def _auc(residuals: Float[np.ndarray, " n"], mask: np.ndarray) -> Fraction:
    """The area under the ROC curve as an exact fraction; 0 if a group is empty."""
    clean_, corrupted_ = np.sort(residuals[~mask]), residuals[mask]
    below = np.searchsorted(clean_, corrupted_, "left").sum() + np.searchsorted(clean_, corrupted_, "right").sum()
    return Fraction(int(below), 2 * max(1, len(clean_) * len(corrupted_)))


def _at(network: torch.nn.Module, W: Tensor) -> torch.nn.Module:
    if isinstance(network, TwoLayer):
        return network.at(W)
    moved = copy.deepcopy(network)
    torch.nn.utils.vector_to_parameters(W, [weight for weight in moved.parameters() if weight.requires_grad])
    return moved


def _rounding(network: torch.nn.Module, X: Tensor) -> float:
    """A bound on the rounding error of ||f(W, X)||_2: stated for a `TwoLayer`, else 1e-13 of the outputs' own norm."""
    if isinstance(network, TwoLayer):
        return 2 * float(output_rounding(network, X).norm())
    with torch.no_grad():
        return 1e-13 * (1 + float(network(X).norm()))


C10 = Family(
    "C10",
    "near the true labels, residuals to the observed labels are bimodal: small if clean, large if corrupted",
    (CLEAN, CORRUPTED, AUC),
    check_residuals,
    experiment_residuals,
)
C11 = Family(
    "C11",
    "an exactly low-rank, well-conditioned Jacobian makes descent recover the true labels, whatever the model",
    (META_PATH, META_RATE, META_RECOVERY),
    check_low_rank,
    experiment_low_rank,
)
C12 = Family(
    "C12",
    "how steps, distance and radius of recovery scale with lambda(C), ||C|| and K: exponents",
    (STEPS, STEPS_SPREAD, DISTANCE, RADIUS),
    check_scaling,
    experiment_scaling,
)
