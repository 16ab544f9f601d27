"""How fast the kernel at the cluster centres concentrates round the neural covariance (C4).

The kernel K_C(W0) at the centres is near its mean Sigma(C), the nearer the more independent rows W0 has: its width, or
half of it in a paired network, where each row occurs twice. Where its least eigenvalue is near lambda(C), which the
centres' `geometry` decides, descent fits every cluster. The tail bounds are matrix Chernoff and matrix Bernstein with
their constants, cf. Tropp (2012); proofs in paper_notes/li2020.md.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import sympy as sp
import torch

from theory import arrays, checks, clusterable, covariance
from theory.activations import Activation
from theory.arrays import Array
from theory.claim import Claim, Family, symbols
from theory.estimate import Estimate
from theory.networks import TwoLayer
from theory.papers.li2020.geometry import eigenvalue_rounding, unit_rows
from theory.verdict import Verdicts

_PROOF = "paper_notes/li2020.md#c4"
_TARGETS = np.array([1 / 2, 1 / 5, 1 / 10])  # tail bounds at which C4 is judged unless the caller says where
_ROUNDING = 1e-12  # of an eigenvalue of the kernel, with room to spare

failure, K, k, lam, t, s = symbols("failure K k lam t s")
Gamma1, size, top, spread, exponent = symbols("Gamma1 size top spread exponent")

_NOTATION = {
    "lam": r"\lambda",
    "failure": "p",
    "Gamma1": r"\Gamma_1",
    "size": r"\|C\|",
    "top": r"\|\Sigma\|",
    "k": r"k_{\mathrm{ind}}",
}
_TAIL = {
    "failure": "probability of the event, over W0 [1]",
    "K": "number of centres [1]",
    "k": "independent rows of W0: the width, half of it when paired [1]",
    "Gamma1": "sup|phi'| [1]",
    "size": "||C||_op [1]",
    "spread": "largest |k v_j^2 - 1| [1]",
}
_OUTPUT = ("|v_j| = 1/sqrt(k), to 1e-9", sp.Le(spread, sp.Rational(1, 10**9)))
LEAST = Claim(
    "C4.least",
    "matrix Chernoff: lambda_min(K_C(W0)) <= (1 - t) lambda(C) is unlikely",
    sp.Le(failure, K * sp.exp(-(t**2) * k * lam / (2 * Gamma1**2 * size**2)), evaluate=False),
    {
        **_TAIL,
        "t": "relative shortfall [1]",
        "lam": "lambda(C), least eigenvalue of the neural covariance of the centres [1]",
    },
    kind="tail bound",
    hypotheses=(("t >= 0", sp.Ge(t, 0)), ("t < 1", sp.Lt(t, 1)), _OUTPUT),
    reference="cf. Tropp (2012), matrix Chernoff",
    proof=_PROOF,
    notation=_NOTATION,
)
DEVIATION = Claim(
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
    proof=_PROOF,
    notation=_NOTATION,
)
CONCENTRATION_RATE = Claim(
    "C4.rate",
    "||K_C(W0) - Sigma(C)|| falls as width^(-1/2)",
    sp.Eq(exponent, sp.Rational(-1, 2), evaluate=False),
    {"exponent": "slope of log ||K_C(W0) - Sigma(C)|| on log width [1]"},
    kind="rate",
    tolerance=sp.Rational(1, 10),
    reference="derived",
    proof=_PROOF,
)


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
    C = unit_rows(centres)
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
    error = eigenvalue_rounding(len(C), activation)
    low, high = (float(eigenvalues[0]) if eigenvalues[0] > error else 0.0), float(eigenvalues[-1])
    norm = float(np.linalg.norm(C, 2))
    common = {"K": len(C), "Gamma1": activation.gamma1, "size": norm, "k": independent, **record}
    common["spread"] = table[:, :, 3].max(axis=1)[:, None]

    weight = 2 * (activation.gamma1 * norm) ** 2 / independent
    shortfalls = _levels(weight * np.log(len(C) / _TARGETS), low) if t is None else _vector("t", t)
    excess = weight * np.log(2 * len(C) / _TARGETS)  # s^2 = excess (||Sigma|| + s/3)
    sizes = excess / 6 + np.sqrt(excess**2 / 36 + excess * high) if s is None else _vector("s", s)
    # rounding is counted as failure: that can only make a tail bound look worse
    short = (least_values[:, :, None] <= (1 - shortfalls)[..., None, :] * low + _ROUNDING).sum(axis=1)
    far = (deviations[:, :, None] >= sizes[..., None, :] - _ROUNDING).sum(axis=1)
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


def _levels(excess: np.ndarray, low: float) -> np.ndarray:
    """Shortfalls t with t^2 lambda = excess; 1/2 where lambda is 0 and no t makes the bound say anything."""
    return np.sqrt(excess / low) if low > 0 else np.full_like(excess, 0.5)


def _vector(name: str, values: Array) -> np.ndarray:
    (tensor,), _ = arrays.tensors(**{name: values})
    checks.vector(name, tensor)
    return tensor.double().numpy(force=True)


C4 = Family(
    "C4",
    "the kernel at the centres concentrates, by the number of independent rows",
    (LEAST, DEVIATION, CONCENTRATION_RATE),
    check_concentration,
    experiment_concentration,
)
