"""What the geometry of the cluster centres does to the neural covariance, and how fast the kernel concentrates there.

lambda(C), the least eigenvalue of Sigma(C) = (C C^T) * E phi'(Cg) phi'(Cg)^T, is what a wide network has to tell K
centres apart. Two centres at distance nu leave it about nu/(2 pi) for ReLU but only (E phi'^2 + E phi''^2) nu^2/2 for a
smooth phi. Opposite centres can destroy it: a regular hexagon has separated centres and lambda(C) = 0 under ReLU, so
the separation that counts is that of the lines through the centres, and with it lambda(C) >= nu/(100 K^2) is true
(C3). At width k the kernel at the centres is near its mean Sigma(C), the nearer the more independent rows W0 has (C4).
Cf. Li, Soltanolkotabi & Oymak (2020); proofs in paper_notes/li2020.md.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import sympy as sp
import torch

from theory import activations, arrays, checks, clusterable, covariance, seeding
from theory.activations import Activation
from theory.arrays import Array
from theory.claim import Claim, Family, symbols
from theory.estimate import Estimate
from theory.networks import TwoLayer
from theory.verdict import Status, Verdicts

PAPER = "cf. Li, Soltanolkotabi & Oymak (2020)"
_PROOF3, _PROOF4 = "paper_notes/li2020.md#c3", "paper_notes/li2020.md#c4"
_ROUNDING = 1e-15  # per centre: of an entry of Sigma in closed form, of a distance of unit vectors
_QUADRATURE = 1e-12  # per centre: of an entry of Sigma where phi' needs quadrature
_GRID = torch.linspace(0.01, 12, 1200, dtype=torch.float64)  # where the symmetries of phi' are measured

lam, nu, K, theta = symbols("lam nu K theta")
M1, M2, M3, exponent, order = symbols("M1 M2 M3 exponent order")
gap, pairs, span, flaw, least = symbols("gap pairs span flaw least")
failure, t, s, k, Gamma1, size, top, spread = symbols("failure t s k Gamma1 size top spread")

_NOTATION = {
    "lam": r"\lambda",
    "nu": r"\nu",
    "theta": r"\theta",
    "M1": r"\mathbb{E}\phi'^2",
    "M2": r"\mathbb{E}\phi''^2",
    "M3": r"\mathbb{E}\phi'''^2",
    "least": r"\lambda_{\min}(K_C(W))",
    "failure": "p",
    "Gamma1": r"\Gamma_1",
    "size": r"\|C\|",
    "top": r"\|\Sigma\|",
    "k": r"k_{\mathrm{ind}}",
}
_LAM = "lambda(C), least eigenvalue of the neural covariance of the centres [1]"
_NU = "least distance of two centres [1]"
_NU_LINES = "least of ||c_l - c_m|| and ||c_l + c_m|| over l != m [1]"
_RELU = ("phi is ReLU: phi' is the unit step", sp.Eq(flaw, 0))
_STEP = "largest |phi'(z) - 1[z > 0]| on a grid [1]"
_CLOSE = ("the centres are at most a right angle apart", sp.Le(nu**2, 2))
_MOMENTS = {"M1": "E phi'(g)^2 [1]", "M2": "E phi''(g)^2 [1]"}
# Both symmetries enter the least eigenvalue squared, so 1e-6 is below an identity's tolerance of 1e-10.
_NEGLIGIBLE = sp.Le(flaw, sp.Rational(1, 10**6))


def _derived(id: str, title: str, relation: Any, meanings: dict[str, str], **more: Any) -> Claim:
    common = {"reference": "derived", "proof": _PROOF3 if id.startswith("C3") else _PROOF4, "notation": _NOTATION}
    return Claim(id, title, relation, meanings, **{**common, **more})


RELU_PAIR = _derived(
    "C3.relu_pair",
    "two centres at an angle theta, ReLU: lambda(C) in closed form",
    sp.Eq(lam, (sp.pi - (sp.pi - theta) * sp.Abs(sp.cos(theta))) / (2 * sp.pi), evaluate=False),
    {"lam": _LAM, "theta": "angle between the two centres [rad]", "flaw": _STEP},
    kind="identity",
    hypotheses=(_RELU,),
)
RELU_LOWER = _derived(
    "C3.relu_lower",
    "two centres at a distance nu, ReLU: lambda(C) is at least its limit nu/(2 pi)",
    sp.Ge(lam, nu / (2 * sp.pi), evaluate=False),
    {"lam": _LAM, "nu": _NU, "flaw": _STEP},
    hypotheses=(_RELU,),
)
RELU_UPPER = _derived(
    "C3.relu_upper",
    "two centres at a small distance nu, ReLU: lambda(C) exceeds nu/(2 pi) by at most nu^2/4",
    sp.Le(lam, nu / (2 * sp.pi) + nu**2 / 4, evaluate=False),
    {"lam": _LAM, "nu": _NU, "flaw": _STEP},
    hypotheses=(_RELU, _CLOSE),
)
SMOOTH_UPPER = _derived(
    "C3.smooth_upper",
    "two centres at a distance nu, smooth phi: lambda(C) is at most quadratic in nu",
    sp.Le(lam, (M1 + M2) * nu**2 / 2, evaluate=False),
    {"lam": _LAM, "nu": _NU, **_MOMENTS},
    hypotheses=(_CLOSE,),
)
SMOOTH_LOWER = _derived(
    "C3.smooth_lower",
    "two centres at a distance nu, smooth phi: the quadratic term is right up to nu^4",
    sp.Ge(lam, (M1 + M2) * nu**2 / 2 - (2 * M2 + M3) * nu**4 / 8, evaluate=False),
    {"lam": _LAM, "nu": _NU, **_MOMENTS, "M3": "E phi'''(g)^2 [1]"},
    hypotheses=(_CLOSE,),
    vacuous=sp.Le((M1 + M2) * nu**2 / 2 - (2 * M2 + M3) * nu**4 / 8, 0),
)
PAIR_RATE = _derived(
    "C3.rate",
    "lambda(C) of two centres at a distance nu -> 0 falls as nu with a kink in phi, as nu^2 without",
    sp.Eq(exponent, order, evaluate=False),
    {"exponent": "slope of log lambda(C) on log nu [1]", "order": "1 with a kink in phi, 2 without [1]"},
    kind="rate",
    tolerance=sp.Rational(1, 50),
)
ANTIPODAL_ODD = _derived(
    "C3.antipodal_odd",
    "odd phi: two opposite centres make lambda(C) zero",
    sp.Eq(lam, 0, evaluate=False),
    {"lam": _LAM, "gap": "least ||c_l + c_m|| [1]", "flaw": "largest |phi'(z) - phi'(-z)| on a grid [1]"},
    kind="identity",
    hypotheses=(("two centres are opposite", sp.Eq(gap, 0)), ("phi is odd up to a constant, to 1e-6", _NEGLIGIBLE)),
)
_PAIRS = ("there are more opposite pairs than dimensions they span", sp.Gt(pairs, span))
_COUNTS = {"pairs": "number of opposite pairs of centres [1]", "span": "dimension of the span of the centres [1]"}
ANTIPODAL_PAIRS = _derived(
    "C3.antipodal_pairs",
    "phi(z) - phi(-z) linear (ReLU, softplus, GELU): more opposite pairs than dimensions make lambda(C) zero",
    sp.Eq(lam, 0, evaluate=False),
    {"lam": _LAM, **_COUNTS, "flaw": "spread of phi'(z) + phi'(-z) on a grid [1]"},
    kind="identity",
    hypotheses=(_PAIRS, ("phi'(z) + phi'(-z) is constant, to 1e-6", _NEGLIGIBLE)),
)
SINGULAR = _derived(
    "C3.singular",
    "phi(z) - phi(-z) linear: more opposite pairs than dimensions make K_C(W) singular for EVERY W",
    sp.Eq(least, 0, evaluate=False),
    {
        "least": "least eigenvalue of K_C(W) = J(W, C) J(W, C)^T [1]",
        **_COUNTS,
        "flaw": "spread of phi'(z) + phi'(-z) over the pre-activations z = <w_j, c_l> [1]",
    },
    kind="identity",
    hypotheses=(_PAIRS, ("phi'(z) + phi'(-z) is constant there, to 1e-6", _NEGLIGIBLE)),
)
REMARK = Claim(
    "C3.remark",
    "refuted: separated centres, ReLU, have lambda(C) >= nu/(100 K^2); a regular hexagon has 0",
    sp.Ge(lam, nu / (100 * K**2), evaluate=False),
    {"lam": _LAM, "nu": _NU, "K": "number of centres [1]", "flaw": _STEP},
    hypotheses=(_RELU,),
    reference=f"{PAPER}, a remark as recalled",
    proof=_PROOF3,
    expected=Status.VIOLATED,
    notation=_NOTATION,
)
_LINES = {"lam": _LAM, "nu": _NU_LINES, "K": "number of centres, at least 2 [1]", "flaw": _STEP}
_APART = ("no two centres are equal or opposite", sp.Gt(nu, 0))
REPAIRED = _derived(
    "C3.repaired",
    "centres separated up to sign, ReLU: lambda(C) >= nu/(100 K^2), the remark repaired",
    sp.Ge(lam, nu / (100 * K**2), evaluate=False),
    _LINES,
    hypotheses=(_RELU, _APART),
)
SEPARATED = _derived(
    "C3.separated",
    "centres separated up to sign, ReLU: lambda(C) is linear in nu and all but independent of K",
    sp.Ge(lam, nu / (4 * sp.pi ** sp.Rational(3, 2) * sp.sqrt(sp.log(2 * (K - 1)) + nu**2 / 2)), evaluate=False),
    _LINES,
    hypotheses=(_RELU, _APART),
)

_TAIL = {
    "failure": "probability of the event, over W0 [1]",
    "K": "number of centres [1]",
    "k": "independent rows of W0: the width, half of it when paired [1]",
    "Gamma1": "sup|phi'| [1]",
    "size": "||C||_op [1]",
    "spread": "largest |k v_j^2 - 1| [1]",
}
_OUTPUT = ("|v_j| = 1/sqrt(k), to 1e-9", sp.Le(spread, sp.Rational(1, 10**9)))
LEAST = _derived(
    "C4.least",
    "matrix Chernoff: lambda_min(K_C(W0)) <= (1 - t) lambda(C) is unlikely",
    sp.Le(failure, K * sp.exp(-(t**2) * k * lam / (2 * Gamma1**2 * size**2)), evaluate=False),
    {**_TAIL, "t": "relative shortfall [1]", "lam": _LAM},
    kind="tail bound",
    hypotheses=(("t >= 0", sp.Ge(t, 0)), ("t < 1", sp.Lt(t, 1)), _OUTPUT),
    reference="cf. Tropp (2012), matrix Chernoff",
)
DEVIATION = _derived(
    "C4.deviation",
    "matrix Bernstein: ||K_C(W0) - Sigma(C)|| >= s is unlikely",
    sp.Le(
        failure,
        2 * K * sp.exp(-(k * s**2 / 2) / (Gamma1**2 * size**2 * top + Gamma1**2 * size**2 * s / 3)),
        evaluate=False,
    ),
    {**_TAIL, "s": "deviation in operator norm [1]", "top": "||Sigma(C)||_op [1]"},
    kind="tail bound",
    hypotheses=(("s >= 0", sp.Ge(s, 0)), _OUTPUT),
    reference="cf. Tropp (2012), matrix Bernstein",
)
CONCENTRATION_RATE = _derived(
    "C4.rate",
    "||K_C(W0) - Sigma(C)|| falls as width^(-1/2)",
    sp.Eq(exponent, sp.Rational(-1, 2), evaluate=False),
    {"exponent": "slope of log ||K_C(W0) - Sigma(C)|| on log width [1]"},
    kind="rate",
    tolerance=sp.Rational(1, 10),
)


def check_geometry(centres: Any, activation: str | Activation, **record: Any) -> Verdicts:
    """Judge C3 on one set of centres, or on a whole sweep of sets: every member whose symbols can be measured.

    Args:
        centres: (K, d) unit rows, K >= 2, or a sequence of such arrays (each with its own K and d).
        activation: a name or an `Activation`.
        **record: `settings` and `seed` for the verdicts.

    Returns:
        Members about two centres judge the sets that have two. The refuted remark is judged on the given sets and,
        as the last point, on the regular hexagon.

    Raises:
        InvalidInput: rows that are not unit vectors (to 1e-12), fewer than two centres, NaN, unknown activation.
    """
    activation = activations.get(activation)
    if not len(centres):
        checks.fail("centres", "at least one set", "none", "pass a (K, d) array, or several")
    single = arrays.is_tensor(centres) or np.ndim(centres[0]) < 2
    sets = [_centres(C) for C in ([centres] if single else centres)]
    checks.integer("fewest centres of a set", min(len(C) for C in sets), minimum=2)
    measured = [_measure(C, activation) for C in sets]
    value = _columns(measured)
    step = (activation.derivative(_GRID) - 1).abs().max() + activation.derivative(-_GRID).abs().max()
    odd = (activation.derivative(_GRID) - activation.derivative(-_GRID)).abs().max()
    even = _evenness(activation, _GRID)
    diagonal = activations.moment(activation, 1)
    relu, verdicts = Estimate.exact(float(step)), Verdicts()

    if two := [row for row in measured if row["K"] == 2]:
        pair = _columns(two)
        near = {"lam": pair["lam"], "nu": pair["nu"]}
        verdicts.append(RELU_PAIR.check(lam=pair["lam"], theta=_angles(two), flaw=relu, scale=diagonal, **record))
        verdicts += [claim.check(**near, flaw=relu, **record) for claim in (RELU_LOWER, RELU_UPPER)]
        if math.isfinite(activation.gamma2):
            near |= {"M1": diagonal, "M2": activations.moment(activation, 2)}
            verdicts.append(SMOOTH_UPPER.check(**near, **record))
            verdicts.append(SMOOTH_LOWER.check(**near, M3=_third_moment(activation), **record))
    opposite = {"gap": value["gap"], "flaw": float(odd)}
    crowd = {"pairs": value["pairs"], "span": value["span"], "flaw": float(even)}
    verdicts.append(ANTIPODAL_ODD.check(lam=value["lam"], **opposite, scale=diagonal, **record))
    verdicts.append(ANTIPODAL_PAIRS.check(lam=value["lam"], **crowd, scale=diagonal, **record))
    lines = {"lam": value["lam"], "nu": value["lines"], "K": value["K"], "flaw": relu}
    verdicts += [claim.check(**lines, **record) for claim in (REPAIRED, SEPARATED)]
    beside = _columns([*measured, _measure(hexagon(), activation)])
    verdicts.append(REMARK.check(lam=beside["lam"], nu=beside["nu"], K=beside["K"], flaw=relu, **record))
    return verdicts


def check_singular(centres: Array, weights: Sequence[Array], activation: str | Activation, **record: Any) -> Verdicts:
    """Judge C3.singular: K_C(W) at every W of `weights`, with output weights 1/sqrt(k).

    Args:
        centres: (K, d) unit rows.
        weights: hidden weights, each (k, d) with its own k.
        activation: a name or an `Activation`.
        **record: `settings` and `seed` for the verdict.
    """
    activation, C = activations.get(activation), _centres(centres)
    row = _measure(C, activation)
    values, scales, flaws = [], [], []
    for W in weights:
        W = torch.as_tensor(W, dtype=torch.float64)
        kernel = covariance.empirical_kernel(torch.from_numpy(C), W, torch.ones(len(W)) / math.sqrt(len(W)), activation)
        spectrum = torch.linalg.eigvalsh(kernel)
        values.append(float(spectrum[0]))
        scales.append(float(spectrum[-1]))
        flaws.append(_evenness(activation, W @ torch.from_numpy(C).T))
    error = _ROUNDING * len(C) * np.array(scales)
    measured = Estimate.computed(np.array(values), error=error, method="eigenvalue of the kernel")
    return Verdicts(
        [
            SINGULAR.check(
                least=measured, pairs=row["pairs"], span=row["span"], flaw=np.array(flaws), scale=min(scales), **record
            )
        ]
    )


def check_pair_rate(nus: Array, values: Array, activation: str | Activation, **record: Any) -> Verdicts:
    """Judge C3.rate on lambda(C) measured at small distances of two centres.

    Args:
        nus: distances, (T,), at least three.
        values: lambda(C) at each, (T,).
        activation: a name or an `Activation`; it decides the predicted order.
        **record: `settings` and `seed` for the verdict.
    """
    predicted = 2 if math.isfinite(activations.get(activation).gamma2) else 1
    measured = Estimate.exponent(nus, values, method="slope of log lambda(C) on log nu")
    return Verdicts([PAIR_RATE.check(exponent=measured, order=predicted, **record)])


def check_concentration(
    centres: Array, networks: Iterable[TwoLayer], *, t: Array | None = None, s: Array | None = None, **record: Any
) -> Verdicts:
    """Judge C4 on many draws of W0, at every width; the rate too if there are at least three widths.

    Args:
        centres: (K, d) unit rows.
        networks: networks at independent initialisations (one activation), consumed one by one. Several widths may
            come in any order; of each, as many draws count as there are of the rarest.
        t: shortfalls in [0, 1), (T,); left out: those at which the bound is 1/2, 1/5 and 1/10 at each width.
        s: deviations >= 0, (S,); left out: likewise.
        **record: `settings` and `seed` for the verdicts.

    Returns:
        One row per member, each a sweep over widths and t or s.

    Raises:
        InvalidInput: no network, networks with different activations.
    """
    C = _centres(centres)
    draws: dict[int, list[tuple[float, float, int, float]]] = {}
    activation: Activation | None = None
    for network in networks:
        if activation is None:
            activation = network.activation
            Sigma = torch.from_numpy(covariance.neural_covariance(C, activation))
        if network.activation != activation:
            checks.fail("networks", f"all with {activation.name}", network.activation.name, "check them separately")
        draws.setdefault(network.width, []).append(_concentration(C, Sigma, network))
    if activation is None:
        checks.fail("networks", "at least one", "none", "pass TwoLayer.initialise(..., seed=i) for many i")
    count, widths = min(len(rows) for rows in draws.values()), np.array(sorted(draws))
    table = np.array([draws[width][:count] for width in widths])  # (widths, draws, measurements)
    least_values, deviations = table[:, :, 0], table[:, :, 1]
    independent = table[:, :, 2].min(axis=1).astype(int)[:, None]
    eigenvalues = torch.linalg.eigvalsh(Sigma).numpy()
    error = _error(len(C), activation)
    low, high = (float(eigenvalues[0]) if eigenvalues[0] > error else 0.0), float(eigenvalues[-1])
    norm = float(np.linalg.norm(C, 2))
    common = {"K": len(C), "Gamma1": activation.gamma1, "size": norm, "k": independent, **record}
    common["spread"] = table[:, :, 3].max(axis=1)[:, None]

    weight = 2 * (activation.gamma1 * norm) ** 2 / independent
    shortfalls = _levels(weight * np.log(len(C) / _TARGETS), low) if t is None else _vector("t", t)
    excess = weight * np.log(2 * len(C) / _TARGETS)  # s^2 = excess (||Sigma|| + s/3)
    sizes = excess / 6 + np.sqrt(excess**2 / 36 + excess * high) if s is None else _vector("s", s)
    # rounding is counted as failure: that can only make a tail bound look worse
    short = (least_values[:, :, None] <= (1 - shortfalls)[..., None, :] * low + _QUADRATURE).sum(axis=1)
    far = (deviations[:, :, None] >= sizes[..., None, :] - _QUADRATURE).sum(axis=1)
    smallest = Estimate.computed(float(eigenvalues[0]), error=error)
    verdicts = Verdicts()
    verdicts.append(
        LEAST.check(failure=Estimate.proportion(short, count), t=Estimate.exact(shortfalls), lam=smallest, **common)
    )
    verdicts.append(
        DEVIATION.check(failure=Estimate.proportion(far, count), s=Estimate.exact(sizes), top=high, **common)
    )
    if len(widths) >= 3:
        slope = Estimate.exponent(widths, deviations.T, method="slope of log error on log width")
        verdicts.append(CONCENTRATION_RATE.check(exponent=slope, **record))
    return verdicts


def hexagon() -> np.ndarray:
    """The regular hexagon's vertices (6, 2): separated by 1, yet three opposite pairs in two dimensions."""
    return clusterable.generate(6, 1, 2, placement="polygon").centres


def pair(nu: float, dimension: int = 2) -> np.ndarray:
    """Two unit centres (2, dimension) at a distance nu in (0, 2], not exactly opposite at 2.

    Example:
        >>> float(np.linalg.norm(np.diff(pair(0.25), axis=0)))
        0.25
    """
    nu = checks.number("nu", nu, 0, 2, open_low=True)
    angles = 2 * math.asin(nu / 2) * np.arange(2)
    return clusterable.generate(2, 1, dimension, angles=angles).centres


def experiment_geometry(budget: str = "small", seed: int = 0) -> Verdicts:
    """C3 on pairs at many distances, on the sets with opposite centres, and on a random search for violations.

    Args:
        budget: "small" (60 sets in the search, 3 s) or "full" (6000 sets, 30 s).
        seed: of the random sets.
    """
    checks.choice("budget", budget, ("small", "full"))
    record: dict[str, Any] = {"seed": seed}
    count = 60 if budget == "small" else 6000
    sets = [pair(nu) for nu in np.geomspace(1e-3, 1.99, 12)] + random_centres(count, seed)
    verdicts = check_geometry(sets, "relu", settings={"activation": "relu", "random sets": count}, **record)
    for name in ("relu", *_SMOOTH):
        settings = {"activation": name}
        nus = np.geomspace(1e-4, 1e-2, 7) if name == "relu" else np.geomspace(1e-2, 1e-1, 7)
        values = np.array([covariance.least_eigenvalue(pair(nu), name) for nu in nus])
        verdicts += check_pair_rate(nus, values, name, settings=settings, **record)
        crowded = [hexagon(), clusterable.generate(10, 1, 4, placement="antipodal", seed=seed).centres]
        crowded.append(clusterable.generate(2, 1, 2, placement="antipodal", seed=seed).centres)
        wide = [pair(nu) for nu in np.geomspace(0.05, 1.99, 7)]
        verdicts += check_geometry([*crowded, *wide], name, settings=settings, **record)
        if name not in ("erf", "tanh"):
            draw = seeding.numpy_generator("weights for C3", seed)
            weights = [draw.normal(size=(50, 2)), 100 * draw.normal(size=(9, 2)), draw.standard_cauchy((7, 2))]
            verdicts += check_singular(hexagon(), weights, name, settings=settings, **record)
    # a softplus network has nothing to say about ReLU's bounds: such rows would only fill the table
    return Verdicts(verdict for verdict in verdicts if verdict.status != Status.OUT_OF_SCOPE)


def experiment_concentration(budget: str = "small", seed: int = 0) -> Verdicts:
    """C4 on i.i.d. and paired draws of W0 at widths 64, 512 and 2048: 200 draws each (small, 3 s) or 2000 (full)."""
    checks.choice("budget", budget, ("small", "full"))
    draws, widths = 200 if budget == "small" else 2000, (64, 512, 2048)
    C = clusterable.generate(3, 1, 5, antipodal_separation=0.8, seed=seed).centres
    verdicts = Verdicts()
    for name, paired in (("softplus", False), ("relu", True)):
        networks = (
            TwoLayer.initialise(width, 5, name, paired=paired, seed=draws * seed + draw)
            for width in widths
            for draw in range(draws)
        )
        settings = {"activation": name, "paired": paired, "draws": draws, "widths": str(widths)}
        verdicts += check_concentration(C, networks, settings=settings, seed=seed)
    return verdicts


def random_centres(count: int, seed: int = 0) -> list[np.ndarray]:
    """`count` sets of 2 to 30 unit centres in 2 to 11 dimensions: spread out, bunched together, or along an arc.

    The last two are where a bound in terms of the separation is put to the test. Used to search for violations of C3.
    """
    generator = seeding.numpy_generator("centres for C3", seed)
    sets = []
    for index in range(checks.integer("count", count, minimum=1)):
        clusters, dimension = int(generator.integers(2, 31)), int(generator.integers(2, 12))
        C = generator.normal(size=(clusters, dimension))
        if index % 3 == 1:
            C = np.eye(dimension)[0] + 10 ** generator.uniform(-2, 0) * C
        if index % 3 == 2:
            turns = np.arange(clusters) * math.pi / clusters * generator.uniform(0.1, 1)
            C = np.stack([np.cos(turns), np.sin(turns)], axis=1)
        sets.append(C / np.linalg.norm(C, axis=1, keepdims=True))
    return sets


_SMOOTH = ("softplus", "erf", "tanh", "gelu")
_TARGETS = np.array([1 / 2, 1 / 5, 1 / 10])  # tail bounds at which C4 is judged unless the caller says where


def _measure(C: np.ndarray, activation: Activation) -> dict[str, Any]:
    first, second = np.triu_indices(len(C), 1)
    apart = np.linalg.norm(C[first] - C[second], axis=1)
    sums = np.linalg.norm(C[first] + C[second], axis=1)
    return {
        "C": C,
        "K": len(C),
        "lam": float(covariance.least_eigenvalue(C, activation)),
        "error": _error(len(C), activation),
        "nu": float(apart.min()),
        "lines": float(min(apart.min(), sums.min())),
        "gap": float(sums.min()),
        "pairs": int((sums == 0).sum()),
        "span": int(np.linalg.matrix_rank(C)),
    }


def _columns(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The measurements of many sets of centres, one Estimate per symbol, each an array over the sets."""
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0] if name != "C"}
    exactly = {"method": "counted"}
    return {
        "lam": Estimate.computed(columns["lam"], error=columns["error"], method="eigenvalue of the neural covariance"),
        **{name: Estimate.exact(columns[name].astype(object), **exactly) for name in ("K", "pairs", "span")},
        **{
            # a sum of two floats is zero only if they are exactly opposite
            name: Estimate.computed(columns[name], error=np.where(columns[name] == 0, 0, _ROUNDING))
            for name in ("nu", "lines", "gap")
        },
    }


def _angles(rows: list[dict[str, Any]]) -> Estimate:
    angles = [2 * math.atan2(np.linalg.norm(C[0] - C[1]), np.linalg.norm(C[0] + C[1])) for C in (r["C"] for r in rows)]
    return Estimate.computed(np.array(angles), error=_ROUNDING, method="angle from the rhombus's diagonals")


def _third_moment(activation: Activation) -> Estimate:
    """E phi'''(g)^2, by one-dimensional Gauss-Hermite quadrature of derivatives of phi' taken by autograd."""
    from scipy.special import roots_hermitenorm

    points, weights = roots_hermitenorm(4 * activation.nodes)

    def slope(z: torch.Tensor) -> torch.Tensor:
        return torch.func.grad(lambda u: activation.derivative(u).sum())(z)

    third = torch.func.grad(lambda z: slope(z).sum())(torch.from_numpy(points))
    value = float(weights @ third.square().numpy() / math.sqrt(2 * math.pi))
    return Estimate.computed(value, relative=1e-9, method="Gauss-Hermite quadrature")


def _evenness(activation: Activation, z: torch.Tensor) -> float:
    total = activation.derivative(z) + activation.derivative(-z)
    return float(total.max() - total.min())


def _concentration(C: np.ndarray, Sigma: torch.Tensor, network: TwoLayer) -> tuple[float, float, int, float]:
    """lambda_min(K_C), ||K_C - Sigma||_op, independent rows of W0 (never more than distinct ones), output spread.

    Rows are told apart by their first entry: equal rows share it, and different Gaussian rows do not.
    """
    kernel = covariance.empirical_kernel(torch.from_numpy(C), network)
    distinct = len(torch.unique(network.W.detach()[:, 0]))
    least_value = float(torch.linalg.eigvalsh(kernel)[0])
    deviation = float(torch.linalg.eigvalsh(kernel - Sigma).abs().max())
    spread = float((network.width * network.v.square() - 1).abs().max())
    return least_value, deviation, min(network.independent_rows, distinct), spread


def _error(clusters: int, activation: Activation) -> float:
    return clusters * (_ROUNDING if activation.dual is not None else _QUADRATURE)


def _levels(excess: np.ndarray, low: float) -> np.ndarray:
    """Shortfalls t with t^2 lambda = excess; 1/2 where lambda is 0 and no t makes the bound say anything."""
    return np.sqrt(excess / low) if low > 0 else np.full_like(excess, 0.5)


def _centres(C: Array) -> np.ndarray:
    (tensor,), _ = arrays.tensors(centres=C)
    checks.matrix("centres", tensor)
    rows: np.ndarray = tensor.detach().double().numpy(force=True)
    excess = float(np.abs(np.linalg.norm(rows, axis=1) - 1).max())
    if excess > 1e-12:
        checks.fail("centres", "unit rows", f"a norm {excess:.3g} off 1", "divide each row by its norm")
    return rows


def _vector(name: str, values: Array) -> np.ndarray:
    (tensor,), _ = arrays.tensors(**{name: values})
    checks.vector(name, tensor)
    return tensor.double().numpy(force=True)


C3 = Family(
    "C3",
    "what separates the centres for a wide network",
    (
        RELU_PAIR,
        RELU_LOWER,
        RELU_UPPER,
        SMOOTH_UPPER,
        SMOOTH_LOWER,
        PAIR_RATE,
        ANTIPODAL_ODD,
        ANTIPODAL_PAIRS,
        SINGULAR,
        REMARK,
        REPAIRED,
        SEPARATED,
    ),
    check_geometry,
    experiment_geometry,
)
C4 = Family(
    "C4",
    "the kernel at the centres concentrates, by the number of independent rows",
    (LEAST, DEVIATION, CONCENTRATION_RATE),
    check_concentration,
    experiment_concentration,
)
