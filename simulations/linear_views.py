"""Views of digits beside nuisance, some of them outliers, and a linear encoder in closed form.

The experiment that `outlier_views` draws. Inputs are digits (whitened principal components) beside nuisance coordinates
that are constant within an image. An outlier view shows noise instead of the digit. The encoder is what the views of an
image agree on most: the solution of an eigenproblem, so that nothing depends on training. Images, not labels, of the
training set decide the encoder; a least-squares probe learns the labels from encodings of undisturbed training inputs
and is scored on test images.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import xarray

from theory import checks, datasets, importance, outlier, seeding
from theory.lab.simulation import Simulation

CONTROLS = ("uniform", "oracle", "permuted")
"""Weights to compare with: all equal; 0 for outliers; the weights of `shown` on the wrong views."""
PROBABILITIES = np.linspace(0.005, 0.995, 100)
"""At which quantiles of weights and distances are kept."""
_PARTS = ("train", "test")


@dataclass(frozen=True)
class LinearViews(Simulation):
    """A closed-form linear encoder on digits beside nuisance, with a share of outlier views."""

    seeds: int = 8
    shares: tuple[float, ...] = (0.1, 0.3)
    """shares of views whose digit is replaced by noise; one panel each for accuracy and weights"""
    temperatures: tuple[float, ...] = (2.0, 4.0, 9.0, 16.0, 36.0, 80.0, 180.0, 350.0, 1000.0)
    """of the weights, increasing"""
    shown: float = 36.0
    """the temperature of the weights that are drawn, and permuted: one of `temperatures`"""
    warm: float = 350.0
    """one of `temperatures` that is far too high: the released code's"""
    views: int = 6
    """of each image"""
    components: int = 20
    """whitened principal components of the digits"""
    nuisance: int = 16
    """coordinates constant within an image"""
    nuisance_scale: float = 0.7
    """their deviation over that of a digit's components: below 1, so that undisturbed digits agree better"""
    noise: float = 0.3
    """deviation of the noise that every coordinate of every view gets"""
    outlier_scale: float = 2.0
    """deviation of what an outlier shows, over that of a digit's components"""
    outputs: int = 10
    """of the encoder: as many as there are digits, fewer than nuisance coordinates"""
    test_share: float = 0.2
    """of the images, for the probe only"""

    def validate(self) -> None:
        """Refuse what the run could not do."""
        for name in ("shares", "temperatures"):
            values = getattr(self, name)
            if not values or sorted(set(values)) != list(values):
                checks.fail(name, "increasing numbers", values, "sort them")
        for share in self.shares:
            checks.number("shares", share, 0, 1, open_low=True, open_high=True)
        for temperature in self.temperatures:
            checks.number("temperatures", temperature, 0, open_low=True)
        for name in ("shown", "warm"):
            if getattr(self, name) not in self.temperatures:
                wanted = f"one of the temperatures {self.temperatures}"
                checks.fail(name, wanted, getattr(self, name), "choose one of these")
        checks.integer("views", self.views, minimum=3)
        checks.integer("components", self.components, minimum=1, maximum=50)
        checks.integer("nuisance", self.nuisance, minimum=0)
        checks.integer("outputs", self.outputs, minimum=1, maximum=self.dimension)
        checks.number("nuisance_scale", self.nuisance_scale, 0)
        checks.number("outlier_scale", self.outlier_scale, 0)
        checks.number("noise", self.noise, 0, open_low=True)
        checks.number("test_share", self.test_share, 0, 1, open_low=True, open_high=True)

    @property
    def dimension(self) -> int:
        """Of the inputs."""
        return self.components + self.nuisance

    def inputs(self, seed: int) -> dict[str, np.ndarray]:
        """Clean inputs (n, d) and digits (n,): `train`, `train_labels`, `test`, `test_labels`."""
        train, test = datasets.load("digits", unit_rows=False).split(self.test_share, seed)
        mean = train.X.mean(axis=0)
        _, s, directions = np.linalg.svd(train.X - mean, full_matrices=False)
        whiten = (directions[: self.components] / s[: self.components, None]).T * np.sqrt(len(train.X))
        draw = seeding.numpy_generator("nuisance", seed)
        found: dict[str, np.ndarray] = {}
        for name, part in (("train", train), ("test", test)):
            nuisance = self.nuisance_scale * draw.normal(size=(len(part.X), self.nuisance))
            found |= {name: np.hstack([(part.X - mean) @ whiten, nuisance]), f"{name}_labels": part.labels}
        return found

    def see(self, inputs: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Noisy views (N, M, d) of the inputs, and which are outliers, (N, M) bool: each with chance `share`."""
        draw = seeding.numpy_generator("views", seed)
        z = np.repeat(inputs[:, None], self.views, axis=1)
        which = draw.random(z.shape[:2]) < share
        z[which, : self.components] = self.outlier_scale * draw.normal(size=(int(which.sum()), self.components))
        return z + self.noise * draw.normal(size=z.shape), which

    def run(self, seed: int, progress: Any = None) -> xarray.Dataset:
        """Probe accuracies for every share and temperature, beside the controls; quantiles of weights and distances."""
        inputs = self.inputs(seed)
        shape = (len(self.shares), len(self.temperatures))
        accuracy, ess, controls, quantiles = np.empty(shape), np.empty(shape), [], []
        for row, share in enumerate(self.shares):
            z, which = self.see(inputs["train"], share, seed)
            for column, temperature in enumerate(self.temperatures):
                w = outlier.weights(z, temperature)
                ess[row, column] = importance.effective_share(w)
                accuracy[row, column] = self.probe(inputs, z, w)
                if temperature == self.shown:
                    shuffled = seeding.numpy_generator("permuted weights", seed).permutation(w.ravel())
                    quantiles.append([np.quantile(w[mask], PROBABILITIES) for mask in (~which, which)])
            permuted = shuffled.reshape(w.shape)
            controls.append([self.probe(inputs, z, w) for w in (np.ones_like(w), 1.0 - which, permuted)])
            if progress:
                progress((row + 1) / len(self.shares))
        clean = outlier.mahalanobis(self.see(inputs["train"], 0.0, seed)[0], centre="global")
        pair = outlier.GLOBAL_VIEWS
        artefact = [np.quantile(part, PROBABILITIES) for part in (clean[:, :pair], clean[:, pair:])]
        return xarray.Dataset(
            {
                "accuracy": (("share", "temperature"), accuracy),
                "ess": (("share", "temperature"), ess),
                "control": (("share", "rule"), np.array(controls)),
                "weight": (("share", "kind", "probability"), np.array(quantiles)),
                "distance": (("view", "probability"), np.array(artefact)),
            },
            {
                "share": list(self.shares),
                "temperature": list(self.temperatures),
                "rule": list(CONTROLS),
                "kind": ["clean", "outlier"],
                "view": ["global", "other"],
                "probability": PROBABILITIES,
            },
        )

    def probe(self, inputs: dict[str, np.ndarray], z: np.ndarray, w: np.ndarray) -> float:
        """Accuracy of least squares on the encodings of the clean inputs, trained with labels, on test images."""
        encoder = linear_encoder(z, w, self.outputs)
        train, test = (np.column_stack([inputs[name] @ encoder, np.ones(len(inputs[name]))]) for name in _PARTS)
        classes = np.unique(inputs["train_labels"])
        targets = inputs["train_labels"][:, None] == classes
        solution = np.linalg.lstsq(train, targets.astype(float), rcond=None)[0]
        return float((classes[(test @ solution).argmax(axis=1)] == inputs["test_labels"]).mean())


def linear_encoder(z: np.ndarray, w: np.ndarray, outputs: int) -> np.ndarray:
    """The linear map whose outputs vary least within images, at unit variance over all views, (d, outputs).

    It minimises sum_ij w_ij |W^T (z_ij - m_i)|^2 subject to W^T C W = I, m_i the weighted mean of the views of image i
    and C the covariance of all views, unweighted: a generalised eigenproblem.
    """
    total = w.sum(axis=1, keepdims=True)
    mean = (w[..., None] * z).sum(axis=1, keepdims=True) / np.where(total > 0, total, 1)[..., None]
    deviation = (np.sqrt(w)[..., None] * (z - mean)).reshape(-1, z.shape[2])
    flat = (z - z.mean(axis=(0, 1))).reshape(-1, z.shape[2])
    within, overall = deviation.T @ deviation / w.sum(), flat.T @ flat / len(flat)
    return scipy.linalg.eigh(within, overall, subset_by_index=(0, outputs - 1))[1]
