"""Residuals tell corrupted labels from clean ones, once a network is near its true labels (C10).

If every output is within delta/2 of its true label, the residuals to the observed labels split: all clean ones are
below delta/2, all corrupted ones above. Where early stopping has recovered the true labels, the wrong ones can be found
and mended. Cf. Li, Soltanolkotabi & Oymak (2020); proof in paper_notes/li2020.md.
"""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import sympy as sp
from jaxtyping import Bool, Float

from theory import activations, arrays, checks, clusterable, descent, label_noise
from theory.arrays import Array
from theory.claim import Claim, Family, symbols
from theory.networks import TwoLayer
from theory.verdict import Verdicts

MEANINGS = {
    "E": "||f - truth||_inf [label]",
    "delta": "least distance of two labels, true or observed [label]",
    "clean": "largest |f_i - y_i| over the clean labels [label]",
    "corrupted": "smallest |f_i - y_i| over the corrupted labels [label]",
    "auc": "probability that a random corrupted |r_i| exceeds a random clean one, ties counted half [1]",
    "right": "number of clean labels [1]",
    "wrong": "number of corrupted labels [1]",
}
NOTATION = {"E": r"\|f_\tau - \tilde y\|_\infty", "delta": r"\delta"}
NOTATION |= {name: rf"\mathrm{{{name}}}" for name in ("clean", "corrupted", "auc", "right", "wrong")}
E, delta, clean, corrupted, auc, right, wrong = symbols(" ".join(MEANINGS))

NEAR = (
    ("every output is within delta/2 of its true label", sp.Lt(E, delta / 2, evaluate=False)),
    ("some labels are clean", sp.Ge(right, 1)),
    ("some labels are corrupted", sp.Ge(wrong, 1)),
)


def _claim(id: str, title: str, relation: Any, kind: str = "inequality") -> Claim:
    statements = (relation, *(condition for _, condition in NEAR))
    used = {symbol.name for statement in statements for symbol in statement.free_symbols}
    return Claim(
        f"C10.{id}",
        title,
        relation,
        {name: text for name, text in MEANINGS.items() if name in used},
        kind,
        NEAR,
        notation={name: text for name, text in NOTATION.items() if name in used},
        reference="derived; cf. Li, Soltanolkotabi & Oymak (2020)",
        proof="paper_notes/li2020.md#c10",
    )


CLEAN = _claim("clean", "every clean residual is below delta/2", sp.Lt(clean, delta / 2, evaluate=False))
CORRUPTED = _claim(
    "corrupted", "every corrupted residual is above delta/2", sp.Gt(corrupted, delta / 2, evaluate=False)
)
AUC = _claim("auc", "the residuals tell corrupted labels from clean ones", sp.Eq(auc, 1), kind="identity")


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
    return Verdicts(
        claim.check(**{name: measured[name] for name in claim.meanings}, **record) for claim in (CLEAN, CORRUPTED, AUC)
    )


def experiment_residuals(budget: str = "small", seed: int = 0) -> Verdicts:
    """C10 along descent on imperfect clusters, from start to overfitting.

    Args:
        budget: "small" (softplus and ReLU) or "full" (all activations, five draws, wider).
        seed: of the first draw.
    """
    small = checks.choice("budget", budget, ("small", "full")) == "small"
    verdicts = Verdicts()
    draws = 1 if small else 5
    for draw in range(draws * seed, draws * (seed + 1)):
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


def _auc(residuals: Float[np.ndarray, " n"], mask: Bool[np.ndarray, " n"]) -> Fraction:
    """The area under the ROC curve as an exact fraction; 0 if a group is empty."""
    clean_, corrupted_ = np.sort(residuals[~mask]), residuals[mask]
    below = np.searchsorted(clean_, corrupted_, "left").sum() + np.searchsorted(clean_, corrupted_, "right").sum()
    return Fraction(int(below), 2 * max(1, len(clean_) * len(corrupted_)))


C10 = Family(
    "C10",
    "near the true labels, residuals to the observed labels are bimodal: small if clean, large if corrupted",
    (CLEAN, CORRUPTED, AUC),
    check_residuals,
    experiment_residuals,
)
