"""One class, some labels of which are wrong: AUM and its gap between right and wrong labels, exactly (A3).

n samples of one true class see each other through K = ks 1 1^T + kd I: they share a direction (ks) and have one of
their own each (kd). Descent learns the shared direction first, and there the majority wins: right labels have large
AUMs and wrong ones small. Later every sample learns its own label and the gap dies out as 1/T: training on loses the
signal.
Cf. Pleiss et al. (2020); derived, proof in paper_notes/pleiss2020.md.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import sympy as sp

from theory import aum, checks, seeding
from theory.aum.kernel_descent import Convention
from theory.claim import Claim, Family, symbols
from theory.estimate import Estimate
from theory.verdict import Verdicts

MEANINGS = {
    "A": "AUM of a sample, one-hot labels, F_0 = 0 [logit]",
    "gap": "AUM of the rightly labelled samples less that of the wrongly labelled ones [logit]",
    "own": "share of the samples with the sample's own label [1]",
    "other": "largest share of another label [1]",
    "p": "share of wrong labels, spread evenly over the other classes [1]",
    "c": "number of classes",
    "n": "number of samples",
    "ks": "kernel between two samples [kernel]",
    "kd": "what the kernel of a sample with itself has beyond ks [kernel]",
    "eta": "step size [1/kernel]",
    "T": "number of epochs",
    "q": "exponent of the gap in the number of epochs [1]",
    "reach": "least eta kd T over the kernels and numbers of epochs of the fit [1]",
    "fast": "largest eta lambda1 over the kernels [1]",
    "most": "largest share of wrong labels over the kernels [1]",
}
NOTATION = {"ks": "k_s", "kd": "k_d", "eta": r"\eta", "own": r"\pi_y", "other": r"\max_{j \ne y} \pi_j"}
NOTATION |= {name: rf"\mathrm{{{name}}}" for name in ("gap", "reach", "fast", "most")}
A, gap, own, other, p, c, n, ks, kd, eta, T, q, reach, fast, most = symbols(" ".join(MEANINGS))

lam1, lam2 = n * ks + kd, kd  # once, and n - 1 times


def _post(lam: Any) -> Any:
    return (1 - eta * lam) * (1 - (1 - eta * lam) ** T) / (T * eta * lam)


def _pre(lam: Any) -> Any:
    return (1 - (1 - eta * lam) ** T) / (T * eta * lam)


KERNEL = (
    ("eta > 0", sp.Gt(eta, 0)),
    ("ks > 0: samples of a class share something", sp.Gt(ks, 0)),
    ("kd > 0: each has something of its own", sp.Gt(kd, 0)),
    ("eta <= 1/lambda1", sp.Le(eta * lam1, 1, evaluate=False)),
)
FEW = ("p <= (c - 1)/c, or two classes", sp.Le((c - 2) * (p * c - (c - 1)), 0, evaluate=False))


def _claim(id: str, title: str, relation: Any, *more: tuple[str, Any], kernel: Any = KERNEL, **rest: Any) -> Claim:
    hypotheses = (*kernel, *more)
    used = {s.name for part in (relation, *(h for _, h in hypotheses)) for s in part.free_symbols}
    return Claim(
        f"A3.{id}",
        title,
        relation,
        {name: text for name, text in MEANINGS.items() if name in used},
        hypotheses=hypotheses,
        notation={name: text for name, text in NOTATION.items() if name in used},
        reference="derived; cf. Pleiss et al. (2020)",
        proof="paper_notes/pleiss2020.md#a3",
        **rest,
    )


def _area(g: Any) -> Any:
    return sp.Eq(A, (1 - g(lam2)) + (g(lam2) - g(lam1)) * (own - other), evaluate=False)


def _gap(g: Any) -> Any:
    return sp.Eq(gap, 2 * (g(lam2) - g(lam1)) * (1 - p * c / (c - 1)), evaluate=False)


AREAS = {
    "post": _claim("post", "AUM of each sample, outputs logged after the step", _area(_post), kind="identity"),
    "pre": _claim("pre", "AUM of each sample, outputs logged before the step", _area(_pre), kind="identity"),
}
GAPS = {
    "post": _claim("gap", "the gap under uniform flips, logged after the step", _gap(_post), FEW, kind="identity"),
    "pre": _claim("gap_pre", "the gap under uniform flips, logged before", _gap(_pre), FEW, kind="identity"),
}
SEPARATES = _claim(
    "separates",
    "right labels have the larger AUM where fewer than (c - 1)/c of the labels are wrong",
    sp.Gt(gap, 0, evaluate=False),
    ("p < (c - 1)/c", sp.Lt(p * c, c - 1, evaluate=False)),
    ("T >= 2, as logs before the first step know nothing", sp.Ge(T, 2)),
)
FAILS = _claim(
    "fails",
    "and not where more are wrong",
    sp.Le(gap, 0, evaluate=False),
    ("p >= (c - 1)/c", sp.Ge(p * c, c - 1, evaluate=False)),
)
DECAY = _claim(
    "decay",
    "two classes: training on loses the gap, at every T",
    sp.Le(gap, 2 * (1 - 2 * p) * (1 / lam2 - 1 / lam1) * (1 - (1 - eta * lam2) ** T) / (eta * T), evaluate=False),
    ("two classes", sp.Eq(c, 2, evaluate=False)),
    ("p <= 1/2", sp.Le(2 * p, 1, evaluate=False)),
)
KEEPS = _claim(
    "keeps",
    "without directions of their own (kd = 0) wrong labels are never learnt, and the gap only grows",
    sp.Eq(gap, 2 * (1 - _post(n * ks)) * (1 - p * c / (c - 1)), evaluate=False),
    ("kd = 0", sp.Eq(kd, 0, evaluate=False)),
    FEW,
    kernel=(KERNEL[0], KERNEL[1], KERNEL[3]),
    kind="identity",
)
RATE = _claim(
    "rate",
    "the gap falls as 1/T once every sample has learnt its own label",
    sp.Eq(q, -1, evaluate=False),
    ("p < 1/2", sp.Lt(2 * most, 1, evaluate=False)),
    ("T >= 10/(eta kd) throughout the fit", sp.Ge(reach, 10, evaluate=False)),
    ("eta <= 1/lambda1", sp.Le(fast, 1, evaluate=False)),
    kernel=(),
    kind="rate",
    tolerance=sp.Rational(1, 50),
)


def check_one_class(
    counts: Sequence[int], ks: Any, kd: Any, step: Any, epochs: int, convention: Convention = "post", **record: Any
) -> Verdicts:
    """Descend step by step in rational arithmetic on one class, and judge A3 without any tolerance.

    Args:
        counts: how many samples carry each label, the true one first; at least two labels, one of them right.
        ks: kernel between two samples, an int or a Fraction (a float is taken for the binary fraction that it is).
        kd: what a sample has of its own, likewise.
        step: eta, likewise.
        epochs: T >= 1; numbers grow with it, 30 is plenty.
        convention: "post" or "pre".
        **record: `settings` and `seed` for the verdicts.

    Returns:
        A3.post or A3.pre for a sample of each label that occurs; and where wrong labels are spread evenly the gap:
        A3.gap or A3.gap_pre, A3.separates, A3.fails, A3.decay, and A3.keeps (post).

    Raises:
        InvalidInput: fewer than two labels, no right label.
    """
    counts = [checks.integer("counts", count, minimum=0) for count in counts]
    if len(counts) < 2 or not counts[0]:
        checks.fail("counts", "two labels or more, the true one first and present", counts, "count every label")
    epochs = checks.integer("epochs", epochs, minimum=1)
    exact: dict[str, Any] = {"ks": Fraction(ks), "kd": Fraction(kd), "eta": Fraction(step)}
    exact |= {"n": sum(counts), "T": epochs, "c": len(counts)}
    present = [label for label, count in enumerate(counts) if count]
    areas = _descend(counts, present, exact["ks"], exact["kd"], exact["eta"], epochs, convention)
    shares = [Fraction(count, exact["n"]) for count in counts]
    measured = exact | {
        "A": _exact([areas[label] for label in present]),
        "own": _exact([shares[label] for label in present]),
        "other": _exact([max(shares[:label] + shares[label + 1 :]) for label in present]),
    }
    verdicts = Verdicts([_judge(AREAS[convention], measured, record)])
    if len(set(counts[1:])) == 1 and counts[1]:
        measured |= {"gap": areas[0] - areas[1], "p": 1 - shares[0]}
        claims = [GAPS[convention], SEPARATES, FAILS, DECAY, *([KEEPS] if convention == "post" else [])]
        if exact["kd"] == 0:  # the others divide by it
            claims = [KEEPS] if convention == "post" else []
            verdicts = Verdicts()
        verdicts += [_judge(claim, measured, record) for claim in claims]
    return verdicts


def check_rate(ks: Any, kd: Any, p: Any, step: Any, epochs: Any, gaps: Any, n: int, **record: Any) -> Verdicts:
    """Judge A3.rate on gaps measured on several kernels, at least two; every one of them must be in scope.

    Args:
        ks: kernel between two samples, (replicates,).
        kd: what a sample has of its own, (replicates,).
        p: share of wrong labels, (replicates,).
        step: eta, (replicates,).
        epochs: numbers of epochs, (E,).
        gaps: AUM of right labels less that of wrong ones, (replicates, E), positive.
        n: number of samples.
        **record: `settings` and `seed` for the verdicts.
    """
    between, alone, rate = (np.asarray(value, dtype=float) for value in (ks, kd, step))
    if between.min() <= 0:
        checks.fail("ks", "kernels > 0", float(between.min()), "without a shared direction there is no gap")
    measured = {
        "q": Estimate.exponent(np.array(epochs, dtype=float), gaps),
        "reach": float(np.min(rate * alone)) * min(int(T) for T in epochs),
        "fast": float(np.max(rate * (n * between + alone))),
        "most": float(np.max(p)),
    }
    return Verdicts([_judge(RATE, measured, record)])


def experiment_one_class(budget: str = "small", seed: int = 0) -> Verdicts:
    """A3 on random counts, kernels and steps in rational arithmetic; the rate on full kernels of 100 samples.

    Args:
        budget: "small" (20 problems, 8 kernels) or "full" (300 and 40).
        seed: of the draws.
    """
    small = checks.choice("budget", budget, ("small", "full")) == "small"
    rng, verdicts = seeding.numpy_generator("one class", seed), Verdicts()
    for number in range(20 if small else 300):
        verdicts += check_one_class(**random_problem(rng), settings={"draw": number}, seed=seed)
    verdicts += measured_rate(8 if small else 40, seed)
    return verdicts


def random_problem(rng: np.random.Generator, kd_zero: float = 0.1) -> dict[str, Any]:
    """Arguments of `check_one_class`, drawn: two to four classes, even or uneven flips, eta <= 1/lambda1."""
    classes = int(rng.integers(2, 5))
    wrong = rng.integers(0, 5, classes - 1) if rng.random() < 0.4 else np.full(classes - 1, rng.integers(1, 5))
    counts = [int(rng.integers(1, 10)), *map(int, wrong)]
    ks, kd = Fraction(int(rng.integers(1, 20)), 10), Fraction(int(rng.integers(1, 20)), 10)
    kd = Fraction(0) if rng.random() < kd_zero and len(set(counts[1:])) == 1 else kd
    step = Fraction(int(rng.integers(1, 11)), 10) / (sum(counts) * ks + kd)
    convention = str(rng.choice(["post", "pre"]))
    return {"counts": counts, "ks": ks, "kd": kd, "step": step, "epochs": int(rng.integers(1, 9))} | {
        "convention": "post" if kd == 0 else convention
    }


def measured_rate(replicates: int, seed: int = 0, n: int = 100) -> Verdicts:
    """A3.rate by descent with the whole kernel matrix (n, n) on two classes, `replicates` kernels."""
    rng = seeding.numpy_generator("rate of the gap", seed)
    draws = {"ks": rng.uniform(0.005, 0.02, replicates), "kd": rng.uniform(0.01, 0.04, replicates)}
    flipped = rng.integers(n // 10, 2 * n // 5, replicates)
    steps = rng.uniform(0.3, 0.99, replicates) / (n * draws["ks"] + draws["kd"])
    slowest = float(np.min(steps * draws["kd"]))
    epochs = np.unique(np.geomspace(10 / slowest, 200 / slowest, 8).round().astype(int) + 1)
    gaps = []
    for ks_, kd_, wrong, step in zip(draws["ks"], draws["kd"], flipped, steps, strict=True):
        labels = np.where(np.arange(n) < wrong, 1, 0)
        K = ks_ * np.ones((n, n)) + kd_ * np.eye(n)
        areas = aum.linearised(K, labels, step, epochs)
        gaps.append(areas[:, -1] - areas[:, 0])
    settings = {"samples": n, "replicates": replicates, "epochs": epochs}
    return check_rate(**draws, p=flipped / n, step=steps, epochs=epochs, gaps=gaps, n=n, settings=settings, seed=seed)


def _descend(
    counts: Sequence[int], present: Sequence[int], ks: Any, kd: Any, step: Any, epochs: int, convention: str
) -> dict[int, Fraction]:
    """AUM of a sample of each label, by descent in fractions; samples of one label move together."""
    classes, zero = len(counts), Fraction(0)
    F = {label: [zero] * classes for label in present}
    totals = dict.fromkeys(present, zero)
    for _ in range(epochs):
        residual = {i: [F[i][j] - (i == j) for j in range(classes)] for i in present}
        pulled = [sum((counts[i] * residual[i][j] for i in present), zero) for j in range(classes)]
        moved = {i: [F[i][j] - step * (ks * pulled[j] + kd * residual[i][j]) for j in range(classes)] for i in present}
        seen = moved if convention == "post" else F
        for i in present:
            totals[i] += seen[i][i] - max(seen[i][:i] + seen[i][i + 1 :])
        F = moved
    return {label: total / epochs for label, total in totals.items()}


def _exact(values: Sequence[Fraction]) -> Estimate:
    return Estimate.exact(np.array(values, dtype=object))


def _judge(claim: Claim, measured: dict[str, Any], record: dict[str, Any]) -> Any:
    return claim.check(**{name: measured[name] for name in claim.meanings}, **record)


A3 = Family(
    "A3",
    "one class with wrong labels: AUM, its gap, when it separates, and how training on loses it",
    (*AREAS.values(), *GAPS.values(), SEPARATES, FAILS, DECAY, KEEPS, RATE),
    check_one_class,
    experiment_one_class,
)
