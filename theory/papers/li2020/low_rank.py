"""A low-rank Jacobian makes descent recover the true labels, whatever the model (C11).

If the Jacobian's range lies in a space S+ and J^T stays well conditioned on it along the iterates, descent contracts
the residual on S+ at every step, on a short path, and soon comes within twice the mean label noise of the true labels.
Clusters are one way to such a Jacobian, a linear model another. All constants are measured along the run, a posteriori.
Cf. Li, Soltanolkotabi & Oymak (2020); proof in paper_notes/li2020.md.
"""

import copy
import math
from typing import Any

import numpy as np
import sympy as sp
import torch
from jaxtyping import Float
from torch import Tensor

from theory import arrays, checks, clusterable, covariance, descent, early_stopping, label_noise, spectrum
from theory.arrays import Array
from theory.claim import Claim, Family, symbols
from theory.estimate import Estimate
from theory.networks import TwoLayer
from theory.papers.li2020.overfitting_symbols import EPSILON, output_rounding
from theory.verdict import Verdicts

_POINTS = 30  # of a sweep over steps
_DECIDABLE = 4  # a change of the residual within this many rounding errors is left out of a sweep

MEANINGS = {
    "E": "||f - truth||_inf [label]",
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
}
NOTATION = {
    "E": r"\|f_\tau - \tilde y\|_\infty",
    "beta": r"\beta",
    "eta": r"\eta",
    "all0": r"\|r_0\|",
    "r0": r"\|\Pi_+ r_0\|",
    "now": r"\|\Pi_+ r_t\|",
    "next": r"\|\Pi_+ r_{t+1}\|",
    "tau": r"\tau",
    "nu": r"\nu_e",
    "noise": r"\|\Pi_+ e\|_\infty",
}
NOTATION |= {name: rf"\mathrm{{{name}}}" for name in ("path", "off", "leak")}
E, a, beta, L, eta, all0, r0, now, next_, path, tau, nu, noise, off, leak = symbols(" ".join(MEANINGS))

LOW_RANK = (
    ("the range of J lies in S+, to 1e-12", sp.Le(leak, beta / 10**12, evaluate=False)),
    ("J^T is invertible on S+ along the iterates: a > 0", sp.Gt(a, 0)),
    ("eta <= 1/(2 beta^2)", sp.Le(2 * eta * beta**2, 1)),
    ("eta <= a/(2 beta L ||r_0||)", sp.Le(2 * eta * beta * L * all0, a, evaluate=False)),
)


def _claim(id: str, title: str, relation: Any, *more: tuple[str, Any]) -> Claim:
    hypotheses = (*LOW_RANK, *more)
    statements = (relation, *(condition for _, condition in hypotheses))
    used = {symbol.name for statement in statements for symbol in statement.free_symbols}
    return Claim(
        f"C11.{id}",
        title,
        relation,
        {name: text for name, text in MEANINGS.items() if name in used},
        hypotheses=hypotheses,
        notation={name: text for name, text in NOTATION.items() if name in used},
        reference="derived; cf. Li, Soltanolkotabi & Oymak (2020)",
        proof="paper_notes/li2020.md#c11",
    )


PATH = _claim("path", "descent takes a short path", sp.Le(path, 2 * r0 / a, evaluate=False))
RATE = _claim(
    "rate", "every step contracts the residual on S+", sp.Le(next_, (1 - eta * a**2 / 2) * now, evaluate=False)
)
RECOVERY = _claim(
    "recovery",
    "after (2/(eta a^2)) log(||Pi_+ r_0||/nu_e) steps every output is within 2 nu_e of its true label",
    sp.Le(E, 2 * nu + off, evaluate=False),
    ("nu_e > 0", sp.Gt(nu, 0)),
    ("nu_e >= ||Pi_+ e||_inf", sp.Ge(nu, noise, evaluate=False)),
    ("tau >= (2/(eta a^2)) log(||Pi_+ r_0||/nu_e)", sp.Ge(nu * sp.exp(eta * a**2 * tau / 2), r0, evaluate=False)),
)


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
    Q = _support(clusters, basis, len(X))
    if lipschitz is None or isinstance(network, TwoLayer):
        lipschitz = max(_lipschitz(network, X), lipschitz or 0.0)  # a TwoLayer's own constant is not to be undercut

    moved = copy.deepcopy(network)
    weights = [weight for weight in moved.parameters() if weight.requires_grad]
    least, largest, leaks, on_support, errors, paths = [], [], [], [], [], [0.0]
    for now_ in descent.descend(network, X, observed, step):
        on_support.append(float((Q.T @ now_.residual).norm()))
        errors.append(float((now_.residual + observed - truth).abs().max()))
        if now_.tau == 0:
            first = now_.residual
        if now_.tau == steps:
            break
        paths.append(paths[-1] + now_.movement)
        torch.nn.utils.vector_to_parameters(now_.W.reshape(-1), weights)
        J = covariance.jacobian(X, moved).matrix()
        inside = Q.T @ J
        values = torch.linalg.svdvals(inside)
        least.append(float(values[-1]) if len(values) == Q.shape[1] else 0.0)
        largest.append(float(torch.linalg.svdvals(J)[0]))
        leaks.append(float((J - Q @ inside).norm()))
    start = first + observed - truth
    noise_ = float((Q @ (Q.T @ (observed - truth))).abs().max())
    rounding = _rounding(network, X) + 8 * EPSILON * math.sqrt(len(X)) * float(observed.norm() + first.norm())
    svd = 64 * EPSILON * max(largest)
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
    return Verdicts(
        claim.check(**{name: measured[name] for name in claim.meanings}, **record) for claim in (PATH, RATE, RECOVERY)
    )


def experiment_low_rank(budget: str = "small", seed: int = 0) -> Verdicts:
    """C11 on perfect clusters (paired and independent initialisation), and on a linear model without any clusters.

    Args:
        budget: "small" or "full" (ten draws of each setting).
        seed: of the first draw.
    """
    small = checks.choice("budget", budget, ("small", "full")) == "small"
    verdicts = Verdicts()
    draws = 1 if small else 10
    for draw in range(draws * seed, draws * (seed + 1)):
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


def _support(clusters: Array | None, basis: Tensor | None, points: int) -> Float[Tensor, "n r"]:
    """An orthonormal basis of S+ in float64, from whichever of the two is given."""
    Q = torch.as_tensor(spectrum.support_basis(clusters)) if basis is None else basis
    Q = Q.double()
    checks.matrix("basis", Q, rows=points)
    if float((Q.T @ Q - torch.eye(Q.shape[1], dtype=Q.dtype)).abs().max()) > 1e-12:
        checks.fail("basis", "orthonormal columns, to 1e-12", "others", "orthonormalise it, e.g. by torch.linalg.qr")
    return Q


def _lipschitz(network: torch.nn.Module, X: Tensor) -> float:
    if not isinstance(network, TwoLayer):
        checks.fail("lipschitz", "given for a network other than TwoLayer", None, "bound ||J(W) - J(W')||/||W - W'||")
    return network.lipschitz(X)


def _rounding(network: torch.nn.Module, X: Tensor) -> float:
    """A bound on the rounding error of ||f(W, X)||_2: stated for a `TwoLayer`, else 1e-13 of the outputs' own norm."""
    if isinstance(network, TwoLayer):
        return 2 * float(output_rounding(network, X).norm())
    with torch.no_grad():
        return 1e-13 * (1 + float(network(X).norm()))


C11 = Family(
    "C11",
    "an exactly low-rank, well-conditioned Jacobian makes descent recover the true labels, whatever the model",
    (PATH, RATE, RECOVERY),
    check_low_rank,
    experiment_low_rank,
)
