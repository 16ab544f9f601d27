"""The area under the margin of kernel gradient descent, in closed form (A1).

Descent on 1/2 ||F - Y||^2 with the kernel K shrinks the residual along each eigenvector by 1 - eta lambda per step, so
its mean over the epochs is a geometric sum. For two classes AUM is linear in the outputs and follows; for more it is
the mean of margins. Cf. Pleiss et al. (2020); derived, proof in paper_notes/pleiss2020.md.
"""

from typing import Any

import numpy as np
import sympy as sp
import torch

from theory import aum, checks, seeding
from theory.arrays import Array
from theory.aum.kernel_descent import Coding, Convention
from theory.claim import Claim, Family, symbols
from theory.estimate import Estimate
from theory.verdict import Verdicts

EPSILON = float(np.finfo(float).eps)
MEANINGS = {
    "m": "component along an eigenvector u of K of the mean over the epochs of the residual F_t - Y [label]",
    "r0": "the same component of F_0 - Y [label]",
    "eta": "step size [1/kernel]",
    "lam": "eigenvalue of K that belongs to u [kernel]",
    "T": "number of epochs",
    "A": "AUM of an example, from descent step by step [logit]",
    "B": "the same by theory.aum.linearised [logit]",
}
NOTATION = {"eta": r"\eta", "lam": r"\lambda", "r0": "r_0", "m": r"\bar r"}
m, r0, eta, lam, T, A, B = symbols(" ".join(MEANINGS))


def _claim(id: str, title: str, relation: Any) -> Claim:
    used = {symbol.name for symbol in relation.free_symbols}
    return Claim(
        f"A1.{id}",
        title,
        relation,
        {name: text for name, text in MEANINGS.items() if name in used},
        kind="identity",
        notation={name: text for name, text in NOTATION.items() if name in used},
        reference="derived; cf. Pleiss et al. (2020)",
        proof="paper_notes/pleiss2020.md#a1",
    )


# multiplied out, so that they say something true at lambda = 0 as well
POST = _claim(
    "post",
    "the mean residual after the steps, along each eigenvector",
    sp.Eq(T * eta * lam * m, (1 - eta * lam) * (1 - (1 - eta * lam) ** T) * r0, evaluate=False),
)
PRE = _claim(
    "pre",
    "the mean residual before the steps (what a training forward pass logs), along each eigenvector",
    sp.Eq(T * eta * lam * m, (1 - (1 - eta * lam) ** T) * r0, evaluate=False),
)
NULL = _claim(
    "null",
    "along the kernel's null space nothing is learnt: the mean residual is the first one",
    sp.Eq(m, r0, evaluate=False),
)
AUM = _claim("aum", "AUM in closed form", sp.Eq(A, B, evaluate=False))


def check_kernel_descent(
    K: Array,
    labels: Array,
    step: float,
    epochs: int,
    *,
    coding: Coding = "one-hot",
    classes: int | None = None,
    convention: Convention = "post",
    start: Array | None = None,
    **record: Any,
) -> Verdicts:
    """Descend step by step in float64, record the margins with an `Accumulator`, and judge the closed forms.

    Args:
        K: symmetric kernel (n, n), singular or not.
        labels: classes from 0, or -1 and +1 with coding="signs", (n,).
        step: eta, any real number whose descent stays within float64.
        epochs: T >= 1.
        coding: "one-hot" or "signs".
        classes: c of one-hot labels.
        convention: "post" or "pre".
        start: F_0, (n, c) or (n,); zero if left out.
        **record: `settings` and `seed` for the verdicts.

    Returns:
        A1.post or A1.pre for the eigenvectors of eigenvalue other than 0, A1.null for the rest (those at the level of
        rounding), where there are any; A1.aum for every example.

    Raises:
        InvalidInput: what `aum.linearised` refuses.
    """
    epochs = checks.integer("epochs", epochs, minimum=1)
    options: dict[str, Any] = {"coding": coding, "convention": convention, "start": start}
    options |= {"classes": classes} if coding == "one-hot" else {}
    closed = np.asarray(aum.linearised(K, labels, step, [epochs], **options))[0]
    K64, Y, F, own = _problem(K, labels, coding, classes, start)
    accumulator, total = aum.Accumulator(stop=epochs), np.zeros_like(Y)
    first = F.copy()
    for _ in range(epochs):
        moved = F - step * (K64 @ (F - Y))
        F, seen = moved, moved if convention == "post" else F
        logits = np.column_stack([-seen, seen]) if coding == "signs" else seen
        accumulator.update(logits, own, np.arange(len(Y)))
        accumulator.end_epoch()
        total += seen
    areas = accumulator.table().set_index("id")["aum"].sort_index().to_numpy()

    values, vectors = np.linalg.eigh(K64)
    growth = max(1.0, float(np.abs(1 - step * values).max())) ** epochs
    size = float(np.linalg.norm(Y) + np.linalg.norm(first))
    rounding = EPSILON * (epochs + 10) * len(Y) * growth * size
    null = np.abs(values) <= EPSILON * len(Y) * float(np.abs(values).max(initial=0.0))
    record = {"scale": growth * size, **record}  # of the outputs on the way; components may vanish
    shared: dict[str, Any] = {"eta": Estimate.exact(step), "T": epochs}

    def parts(matrix: np.ndarray, chosen: np.ndarray, error: float) -> Estimate:
        return Estimate.computed(vectors.T[chosen] @ matrix, error=error)

    verdicts, measured = Verdicts(), dict[str, Any]()
    mean = total / epochs - Y
    if not null.all():
        spread = EPSILON * (len(Y) + 16) * float(np.abs(values).max())
        eigenvalues = Estimate.computed(values[~null][:, None], error=spread)
        claim = POST if convention == "post" else PRE
        measured = {"m": parts(mean, ~null, rounding), "r0": parts(first - Y, ~null, 100 * EPSILON * size)}
        verdicts.append(claim.check(lam=eigenvalues, **measured, **shared, **record))
    if null.any():
        measured = {"m": parts(mean, null, rounding), "r0": parts(first - Y, null, 100 * EPSILON * size)}
        verdicts.append(NULL.check(**measured, **record))
    errors: dict[str, Any] = {
        "A": Estimate.computed(areas, error=rounding),
        "B": Estimate.computed(closed, error=rounding),
    }
    verdicts.append(AUM.check(**errors, **record))
    return verdicts


def experiment_kernel_descent(budget: str = "small", seed: int = 0) -> Verdicts:
    """A1 on random kernels, definite, singular and indefinite, both codings and conventions, any step, any start.

    Args:
        budget: "small" (12 kernels) or "full" (200).
        seed: of the kernels.
    """
    small = checks.choice("budget", budget, ("small", "full")) == "small"
    verdicts = Verdicts()
    for draw in range(12 if small else 200):
        rng = seeding.numpy_generator(f"kernel descent {draw}", seed)
        verdicts += check_kernel_descent(**random_problem(rng), seed=seed, settings={"draw": draw})
    return verdicts


def random_problem(rng: np.random.Generator) -> dict[str, Any]:
    """Arguments of `check_kernel_descent`, drawn: a kernel of any rank, any classes, a step that may be too long."""
    n, T_ = int(rng.integers(2, 9)), int(rng.integers(1, 41))
    root = rng.standard_normal((n, int(rng.integers(1, n + 2))))
    weights = rng.choice([-1.0, 1.0], root.shape[1]) if rng.random() < 0.2 else np.ones(root.shape[1])
    K = (root * weights) @ root.T
    coding: Coding = "signs" if rng.random() < 0.3 else "one-hot"
    c = 1 if coding == "signs" else int(rng.integers(2, 5))
    labels = rng.choice([-1.0, 1.0], n) if coding == "signs" else rng.integers(0, c, n)
    problem: dict[str, Any] = {"K": (K + K.T) / 2, "labels": labels, "coding": coding, "epochs": T_}
    problem |= {"step": float(rng.uniform(-0.2, 2.2) / np.abs(np.linalg.eigvalsh(K)).max())}
    problem |= {"convention": str(rng.choice(["post", "pre"])), "classes": c if coding == "one-hot" else None}
    return problem | ({"start": rng.standard_normal((n, c))} if rng.random() < 0.3 else {})


def _problem(
    K: Any, labels: Any, coding: str, classes: int | None, start: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """K, Y (n, c), F_0 (n, c) and the assigned class of each example, all numpy; without `aum.linearised`."""
    K64 = torch.as_tensor(K).double().numpy(force=True)
    given = torch.as_tensor(labels).numpy(force=True)
    if coding == "signs":
        Y, own = given.astype(float)[:, None], (given > 0).astype(int)
    else:
        own = given.astype(int)
        Y = np.eye(classes or max(2, own.max() + 1))[own]
    F = np.zeros_like(Y) if start is None else torch.as_tensor(start).double().numpy(force=True).reshape(Y.shape)
    return (K64 + K64.T) / 2, Y, F.copy(), own


A1 = Family(
    "A1",
    "AUM of kernel gradient descent in closed form, for any symmetric kernel and any step",
    (POST, PRE, NULL, AUM),
    check_kernel_descent,
    experiment_kernel_descent,
)
