"""Learning weights, masks and blends on digits, with the trainings that they have to beat.

The experiments that `commentaries` draws. Inner problem: multinomial logistic regression on 8 x 8 digits, mean
cross-entropy plus ridge/2 ||w||^2 on all of w; outer loss: mean cross-entropy on 200 clean validation images.
Commentaries are learned by `theory.commentary.implicit`; then every row, learned or not, is trained to its minimum
by L-BFGS from zero. The rows of a seed share all data: differences are paired.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import xarray
from torch import Tensor

from theory import checks, datasets, label_noise, seeding
from theory.aum import auc
from theory.commentary import Blends, ExampleWeights, Masks, Round, blend, implicit
from theory.lab.simulation import Simulation

CLASSES = 10
IMAGES = 1797
TEST = 597
"""All digits beyond 200 for validation and 1,000 for training."""
SIDES = (8, 16)
"""Of an image with a distractor."""
BLEND_START = 0.8
SEPARATION = ("auc", "weight_wrong", "weight_right")


@dataclass(frozen=True, eq=False)
class Part:
    """Images with a constant feature (n, d + 1) and class probabilities (n, 10)."""

    X: Tensor
    targets: Tensor

    @classmethod
    def of(cls, images: np.ndarray, labels: np.ndarray) -> "Part":
        """From images (n, d) and classes (n,)."""
        X = torch.from_numpy(np.ascontiguousarray(images, dtype=float))
        return cls(constant(X), one_hot(torch.from_numpy(labels)))

    @property
    def labels(self) -> Tensor:
        """Classes (n,)."""
        return self.targets.argmax(dim=1)

    def __add__(self, other: "Part") -> "Part":
        return Part(torch.cat([self.X, other.X]), torch.cat([self.targets, other.targets]))

    def rows(self, which: Any) -> "Part":
        """A subset."""
        return Part(self.X[which], self.targets[which])


@dataclass(frozen=True)
class CommentaryTraining(Simulation):
    """Weights, masks and blends learned on a few clean images, beside every training that they have to beat."""

    noises: tuple[float, ...] = (0.4,)
    """shares of wrong labels"""
    depths: tuple[int, ...] = (20,)
    """orders K of the Neumann series, compared at the noise `compared`; elsewhere, and for all else, `depth`"""
    compared: float = 0.4
    depth: int = 20
    train: int = 1000
    """images with noisy labels"""
    mask_train: int = 200
    """images beside a distractor"""
    blend_train: int = 400
    """images to blend"""
    valid: int = 200
    """clean images for the outer loss"""
    ridge: float = 1e-3
    """factor of ||w||^2 / 2"""
    rounds: int = 60
    """steps of the commentary: Adam on its logits"""
    inner_steps: int = 10
    """of Adam on w, before each of them"""
    inner_rate: float = 0.05
    outer_rate: float = 0.1
    partners: int = 4
    """blends that each image takes part in as the first"""
    constants: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    """coefficients, the same for all pairs, to choose from on the validation images"""

    def validate(self) -> None:
        """Refuse what the run could not do."""
        if not self.noises or len(set(self.noises)) < len(self.noises):
            checks.fail("noises", "different shares", self.noises, "name each once")
        if self.depth not in self.depths or len(set(self.depths)) < len(self.depths):
            checks.fail("depths", f"different orders with depth={self.depth} among them", self.depths, "add it")
        for noise in self.noises:
            checks.number("noises", noise, 0.01, 0.85)
        for order in self.depths:
            checks.integer("depths", order, minimum=0)
        checks.integer("valid", self.valid, 50, IMAGES - TEST - 50)
        for name in ("train", "mask_train", "blend_train"):
            checks.integer(name, getattr(self, name), 50, IMAGES - TEST - self.valid)
        for name in ("rounds", "inner_steps", "partners"):
            checks.integer(name, getattr(self, name), minimum=1)
        for name in ("ridge", "inner_rate", "outer_rate"):
            checks.number(name, getattr(self, name), 0, open_low=True)
        for value in self.constants or ("none",):
            checks.number("constants", value, 0, 1)

    def run(self, seed: int, progress: Any = None) -> xarray.Dataset:
        """Everything of one seed; what was not asked for at some noise is NaN."""
        done, jobs = 0.0, sum(len(self.orders(noise)) for noise in self.noises) + 2

        def job() -> Callable[[Round], None]:
            nonlocal done
            start, done = done, done + 1 / jobs
            return lambda now: progress(start + now.number / now.of / jobs) if progress else None

        shuffled = seeding.numpy_generator("images of commentaries", seed).permutation(IMAGES)
        cells = [self.weights(shuffled, noise, seed, job) for noise in self.noises]
        joined = xarray.concat(cells, dim="noise").assign_coords(noise=list(self.noises))
        return xarray.merge([joined, self.masks(shuffled, seed, job), self.blends(shuffled, seed, job)])

    def orders(self, noise: float) -> tuple[int, ...]:
        """The Neumann orders for this noise."""
        return self.depths if noise == self.compared else (self.depth,)

    def learn(self, inner: Any, outer: Any, module: torch.nn.Module, features: int, order: int, told: Any) -> None:
        """Train a commentary in place, on logits' weights (features, 10) from zero."""
        implicit(
            inner,
            outer,
            torch.zeros(features, CLASSES, dtype=torch.float64),
            module,
            rounds=self.rounds,
            inner_steps=self.inner_steps,
            inner_optimiser=partial(torch.optim.Adam, lr=self.inner_rate),
            outer_optimiser=partial(torch.optim.Adam, lr=self.outer_rate),
            method="neumann",
            order=order,
            progress=told,
        )

    def weights(self, shuffled: np.ndarray, noise: float, seed: int, job: Any) -> xarray.Dataset:
        """Weights of examples where a share of the labels is wrong."""
        train, valid, test = parts(shuffled, self.valid, self.train)
        noisy = label_noise.corrupt(train.labels.numpy(), noise, alphas=np.arange(CLASSES), seed=seed)
        wrong = np.asarray(noisy.mask)
        told = Part(train.X, one_hot(torch.from_numpy(np.asarray(noisy.y)).long()))
        found = np.full((3, len(self.depths)), np.nan)
        scores: dict[str, tuple[float, float]] = {}

        def inner(w: Tensor, commentary: Any) -> Tensor:
            return (commentary() * losses(w, told.X, told.targets)).mean() + self.penalty(w)

        def outer(w: Tensor, commentary: Any) -> Tensor:
            return losses(w, valid.X, valid.targets).mean()

        for order in self.orders(noise):
            module = ExampleWeights(self.train).double()
            self.learn(inner, outer, module, train.X.shape[1], order, job())
            weights = module().detach()
            values = weights.numpy()
            column = self.depths.index(order)
            found[:, column] = float(auc(values, wrong)), values[wrong].mean(), values[~wrong].mean()
            scores[f"learned, K={order}"] = score(self.solve(told, weights), test)
        rivals = {"uniform": told, "validation": valid, "both": told + valid, "oracle": told.rows(~wrong)}
        scores |= {name: score(self.solve(part), test) for name, part in rivals.items()}
        rows = [*(f"learned, K={order}" for order in self.depths), *rivals]
        table = np.array([scores.get(row, (np.nan, np.nan)) for row in rows])
        variables: dict[str, Any] = {name: (("depth",), row) for name, row in zip(SEPARATION, found, strict=True)}
        variables |= {"accuracy": (("row",), table[:, 0]), "nll": (("row",), table[:, 1])}
        return xarray.Dataset(variables, {"depth": list(self.depths), "row": rows})

    def masks(self, shuffled: np.ndarray, seed: int, job: Any) -> xarray.Dataset:
        """A mask over images with the digit on the left and any other beside it."""
        train, valid, test = (beside(part, seed) for part in parts(shuffled, self.valid, self.mask_train))
        module = Masks(SIDES).double()

        def seen(commentary: Any, part: Part) -> Tensor:
            return constant(commentary(part.X[:, :-1].reshape(-1, *SIDES)).flatten(1))

        def inner(w: Tensor, commentary: Any) -> Tensor:
            return losses(w, seen(commentary, train), train.targets).mean() + self.penalty(w)

        def outer(w: Tensor, commentary: Any) -> Tensor:
            return losses(w, seen(commentary, valid), valid.targets).mean()

        self.learn(inner, outer, module, train.X.shape[1], self.depth, job())
        mask = module.mask(torch.zeros(1, *SIDES)).detach()
        half = torch.zeros(SIDES, dtype=torch.float64)
        half[:, : SIDES[1] // 2] = 1

        def masked(values: Tensor) -> tuple[float, float]:
            shown = torch.cat([values.flatten(), torch.ones(1, dtype=torch.float64)])
            return score(self.solve(Part(train.X * shown, train.targets)), Part(test.X * shown, test.targets))

        scores = {"learned": masked(mask), "uniform": score(self.solve(train), test)}
        scores |= {"validation": score(self.solve(valid), test), "both": score(self.solve(train + valid), test)}
        scores["oracle"] = masked(half)
        lit = test.X[:, :-1].mean(dim=0).reshape(SIDES)  # dark pixels don't matter and don't move
        shares = [float((mask * lit * side).sum() / (lit * side).sum()) for side in (half, 1 - half)]
        return xarray.Dataset(
            {
                "mask": (("y", "x"), mask.numpy()),
                "mask_mass": (("side",), shares),
                "mask_accuracy": (("mask_row",), [a for a, _ in scores.values()]),
                "mask_nll": (("mask_row",), [b for _, b in scores.values()]),
                "example": (("y", "x"), test.X[0, :-1].reshape(SIDES).numpy()),
            },
            {"side": ["digit", "distractor"], "mask_row": list(scores)},
        )

    def blends(self, shuffled: np.ndarray, seed: int, job: Any) -> xarray.Dataset:
        """Blend coefficients by pair of classes, and the same for all pairs."""
        train, valid, test = parts(shuffled, self.valid, self.blend_train)
        generator = seeding.torch_generator("partners", seed)
        others = torch.cat([torch.randperm(self.blend_train, generator=generator) for _ in range(self.partners)])
        first, second = train.rows(torch.arange(self.blend_train).repeat(self.partners)), train.rows(others)
        pairs = (first.labels, second.labels)
        module = Blends(CLASSES, start=BLEND_START).double()

        def blended(c: Tensor) -> Part:
            return Part(blend(first.X, second.X, c), blend(first.targets, second.targets, c))

        def inner(w: Tensor, commentary: Any) -> Tensor:
            part = blended(commentary(*pairs))
            return losses(w, part.X, part.targets).mean() + self.penalty(w)

        def outer(w: Tensor, commentary: Any) -> Tensor:
            return losses(w, valid.X, valid.targets).mean()

        self.learn(inner, outer, module, train.X.shape[1], self.depth, job())
        solved = [self.solve(blended(torch.full((len(others),), c, dtype=torch.float64))) for c in self.constants]
        best = int(np.argmin([score(w, valid)[1] for w in solved]))
        scores = {"learned": score(self.solve(blended(module(*pairs).detach())), test)}
        scores |= {"uniform": score(self.solve(train), test), "constant": score(solved[best], test)}
        scores["hindsight"] = max(score(w, test) for w in solved)
        scores |= {"validation": score(self.solve(valid), test), "both": score(self.solve(train + valid), test)}
        return xarray.Dataset(
            {
                "coefficient": (("i", "j"), torch.sigmoid(module.logits).detach().numpy()),
                "constant": ((), self.constants[best]),
                "blend_accuracy": (("blend_row",), [a for a, _ in scores.values()]),
                "blend_nll": (("blend_row",), [b for _, b in scores.values()]),
            },
            {"blend_row": list(scores)},
        )

    def penalty(self, w: Tensor) -> Tensor:
        """ridge/2 ||w||^2."""
        return self.ridge / 2 * w.square().sum()

    def solve(self, part: Part, weights: Tensor | None = None) -> Tensor:
        """The minimum over w of the mean of (weighted) losses plus the ridge, by L-BFGS from zero."""
        w = torch.zeros(part.X.shape[1], CLASSES, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.LBFGS(
            [w], max_iter=300, tolerance_grad=1e-6, tolerance_change=1e-12, line_search_fn="strong_wolfe"
        )

        def closure() -> float:
            optimiser.zero_grad()
            each = losses(w, part.X, part.targets)
            loss = (each if weights is None else weights * each).mean() + self.penalty(w)
            loss.backward()
            return float(loss.detach())

        optimiser.step(closure)
        return w.detach()


def one_hot(labels: Tensor) -> Tensor:
    """Classes (n,) as probabilities (n, 10), float64."""
    return torch.nn.functional.one_hot(labels, CLASSES).double()


def constant(X: Tensor) -> Tensor:
    """With a feature that is always 1."""
    return torch.cat([X, torch.ones(len(X), 1, dtype=X.dtype)], dim=1)


def losses(w: Tensor, X: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy (n,) of logits X w against probabilities."""
    return -(targets * torch.log_softmax(X @ w, dim=1)).sum(dim=1)


def score(w: Tensor, part: Part) -> tuple[float, float]:
    """Accuracy, and mean cross-entropy [nats]."""
    right = ((part.X @ w).argmax(dim=1) == part.labels).double().mean()
    return float(right), float(losses(w, part.X, part.targets).mean())


def parts(shuffled: np.ndarray, valid: int, train: int) -> tuple[Part, Part, Part]:
    """Training, validation and test images, from the digits in this order."""
    digits = datasets.load("digits", unit_rows=False)
    images, labels = digits.images.reshape(IMAGES, -1), digits.labels
    ends = [slice(valid, valid + train), slice(0, valid), slice(IMAGES - TEST, IMAGES)]
    train_part, valid_part, test_part = (Part.of(images[shuffled[end]], labels[shuffled[end]]) for end in ends)
    return train_part, valid_part, test_part


def beside(part: Part, seed: int) -> Part:
    """Each image with another of the same part, of any class, on its right; labels are those of the left one."""
    generator = seeding.torch_generator("distractors", seed)
    turn = 1 + torch.randint(len(part.X) - 1, (len(part.X),), generator=generator)
    other = (torch.arange(len(part.X)) + turn) % len(part.X)
    left, right = (X[:, :-1].reshape(-1, 8, 8) for X in (part.X, part.X[other]))
    return Part(constant(torch.cat([left, right], dim=2).flatten(1)), part.targets)
