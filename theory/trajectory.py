"""What gradient descent leaves behind: the `Trajectory` of its measurements, and the ledger that collects them."""

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from theory import arrays, checks, spectrum
from theory.arrays import Array
from theory.networks import TwoLayer

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


@dataclass(frozen=True, eq=False, repr=False)
class Trajectory:
    """Gradient descent measured at T steps; every array has one entry (or row) per recorded step.

    Attributes:
        steps: numbers tau of the recorded steps, (T,).
        loss: 1/2 sum_i n_i (f - y)_i^2.
        residuals: f(W_tau) - y, (T, n).
        predictions: f(W_tau), (T, n).
        distance: ||W_tau - W_0||_F.
        distance_op: ||W_tau - W_0||_op; NaN unless the network is a `TwoLayer`.
        path: length of the path so far, the sum of ||W_{s+1} - W_s||_F over all steps s < tau, recorded or not.
        worst_decrease: largest Loss_{s+1} - Loss_s + ||W_{s+1} - W_s||^2 / (2 eta) over s < tau. If it is <= 0, every
            step lowered the loss by at least that square; cf. claim C13 in paper_notes/li2020.md. Step 0: -inf.
        accuracy_true: share of examples whose nearest alpha is their true label's; NaN without labels' values.
        accuracy_observed: share of examples whose nearest alpha is their observed label's; NaN likewise.
        residual_support: ||Pi_+ r||_2, the residual's part constant on clusters; NaN without clusters.
        residual_nuisance: ||Pi_- r||_2, the rest; NaN without clusters.
        sup_error: max_i |f_i - truth_i|; NaN without truth.
        network0: the network at W_0, a copy.
        network: the network at the last recorded step, a copy.
        step: the step size eta.
    """

    steps: Int[np.ndarray, " T"]
    loss: Float[np.ndarray, " T"]
    residuals: Float[np.ndarray, "T n"]
    predictions: Float[np.ndarray, "T n"]
    distance: Float[np.ndarray, " T"]
    distance_op: Float[np.ndarray, " T"]
    path: Float[np.ndarray, " T"]
    worst_decrease: Float[np.ndarray, " T"]
    accuracy_true: Float[np.ndarray, " T"]
    accuracy_observed: Float[np.ndarray, " T"]
    residual_support: Float[np.ndarray, " T"]
    residual_nuisance: Float[np.ndarray, " T"]
    sup_error: Float[np.ndarray, " T"]
    network0: torch.nn.Module
    network: torch.nn.Module
    step: float

    def at(self, step: int) -> dict[str, float | int]:
        """The measurements at one recorded step, by name.

        Raises:
            InvalidInput: that step was not recorded.
        """
        index = np.flatnonzero(self.steps == step)
        if not len(index):
            near = int(self.steps[np.abs(self.steps - step).argmin()])
            checks.fail("step", "a recorded one", step, f"the nearest is {near}; ask for yours by train(record=[...])")
        return {name: getattr(self, name)[index[0]].item() for name in ("steps", *_MEASURES)}

    def final(self) -> dict[str, float | int]:
        """The measurements at the last recorded step."""
        return self.at(int(self.steps[-1]))

    def best(self) -> dict[str, float | int]:
        """The recorded step of highest accuracy on true labels, among equals that of the least sup error.

        Raises:
            InvalidInput: trained without `truth`.
        """
        if np.isnan(self.sup_error).any():
            checks.fail("best step", "true labels to judge by", "none", "pass truth= to train")
        return self.at(int(self.steps[np.lexsort((self.sup_error, -self.accuracy_true))[0]]))

    def summary(self, stop: int | None = None) -> "pd.DataFrame":
        """Best (if truth is known), stopped (at the recorded step `stop`, if given) and final, one row each.

        Raises:
            InvalidInput: `stop` was not recorded.
        """
        import pandas as pd

        rows = {} if np.isnan(self.sup_error).any() else {"best": self.best()}
        if stop is not None:
            rows["stopped"] = self.at(stop)
        return pd.DataFrame.from_dict(rows | {"final": self.final()}, orient="index")

    def to_xarray(self) -> "xr.Dataset":
        """All measurements as an `xarray.Dataset` over `step` and `example`; the step size is an attribute."""
        import xarray as xr

        data: dict[str, Any] = {name: ("step", getattr(self, name)) for name in _MEASURES}
        data |= {name: (("step", "example"), getattr(self, name)) for name in ("residuals", "predictions")}
        return xr.Dataset(data, coords={"step": self.steps}, attrs={"step_size": self.step})

    def __repr__(self) -> str:
        last = self.final()
        shares = {kind: last[f"accuracy_{kind}"] for kind in ("true", "observed")}
        known = [f"on {kind} labels {share:.4g}" for kind, share in shares.items() if not math.isnan(share)]
        accuracies = f", accuracy {', '.join(known)}" if known else ""
        return (
            f"Trajectory({len(self.steps)} steps recorded, last {last['steps']}: "
            f"loss {last['loss']:.4g}, distance {last['distance']:.4g}{accuracies})"
        )

    def _repr_html_(self) -> str:
        title = f"gradient descent, {len(self.steps)} steps recorded, step size {self.step:.4g}"
        return f"<p>{title}</p>{self.summary().to_html(float_format=lambda x: f'{x:.4g}')}"


_MEASURES = (
    "loss",
    "distance",
    "distance_op",
    "path",
    "worst_decrease",
    "accuracy_true",
    "accuracy_observed",
    "residual_support",
    "residual_nuisance",
    "sup_error",
)


class Ledger:
    """Collects what only the running descent knows; everything else follows from the residuals at the end.

    Its arguments are those of `theory.descent.train`, which it checks; y is a tensor already.

    Raises:
        InvalidInput: wrong truth, clusters or alphas.
    """

    def __init__(self, network: torch.nn.Module, y: Tensor, truth: Array, clusters: Array, alphas: Array):
        given = {name: labels for name, labels in (("truth", truth), ("alphas", alphas)) if labels is not None}
        for name, labels in given.items():
            (tensor,), _ = arrays.tensors(**{name: labels})
            checks.vector(name, tensor, length=len(y) if name == "truth" else None)
            given[name] = _numpy(tensor)
        self.observed, self.truth, self.clusters = _numpy(y), given.get("truth"), clusters
        self.alphas = np.unique(given["alphas"] if "alphas" in given else given.get("truth", np.array([])))
        if clusters is not None:
            spectrum.support_projection(self.observed, clusters)  # refuses what is no clustering of the examples
        self.network0 = copy.deepcopy(network)
        self.rows: list[tuple[float, ...]] = []
        self.residuals: list[Float[np.ndarray, " n"]] = []

    def write(
        self, tau: int, W: Float[Tensor, "..."], residual: Float[Tensor, " n"], loss: float, path: float, worst: float
    ) -> None:
        """Record step tau; the first one recorded is W_0. The tensors are kept, so they must not be overwritten."""
        if not self.rows:
            self.W0 = W
        self.W = W
        moved = (W - self.W0).double()
        self.rows.append((tau, loss, float(moved.norm()), _operator_norm(moved), path, worst))
        self.residuals.append(_numpy(residual))

    def trajectory(self, step: float) -> Trajectory:
        """All that was recorded, at least one step; `step` is the step size."""
        steps, loss, distance, distance_op, path, worst = np.array(self.rows).T
        residuals = np.array(self.residuals)
        predictions, nothing = residuals + self.observed, np.full(len(steps), math.nan)
        support = residuals if self.clusters is None else spectrum.support_projection(residuals.T, self.clusters).T
        return Trajectory(
            steps=steps.astype(int),
            loss=loss,
            residuals=residuals,
            predictions=predictions,
            distance=distance,
            distance_op=distance_op,
            path=path,
            worst_decrease=worst,
            accuracy_true=nothing if self.truth is None else self._accuracy(predictions, self.truth),
            accuracy_observed=self._accuracy(predictions, self.observed),
            residual_support=nothing if self.clusters is None else np.linalg.norm(support, axis=1),
            residual_nuisance=nothing if self.clusters is None else np.linalg.norm(residuals - support, axis=1),
            sup_error=nothing if self.truth is None else np.abs(predictions - self.truth).max(axis=1),
            network0=self.network0,
            network=_with_weights(self.network0, self.W),
            step=step,
        )

    def _accuracy(self, predictions: Float[np.ndarray, "T n"], labels: Float[np.ndarray, " n"]) -> np.ndarray:
        if not len(self.alphas):
            return np.full(len(predictions), math.nan)
        halfway = (self.alphas[1:] + self.alphas[:-1]) / 2
        return (np.searchsorted(halfway, predictions) == np.searchsorted(halfway, labels)).mean(axis=1)


def schedule(record: int | Iterable[int], steps: int) -> list[int]:
    """The steps that `train` records, in order.

    Raises:
        InvalidInput: a step that is not made, or fewer than two.

    Example:
        >>> schedule(4, 100), schedule([7], 100)
        ([0, 4, 21, 100], [0, 7, 100])
    """
    if isinstance(record, Iterable):
        chosen = [checks.integer("record", tau, minimum=0, maximum=steps) for tau in record]
    else:
        count = checks.integer("record", record, minimum=2)
        chosen = np.expm1(np.linspace(0, math.log1p(steps), count)).round().astype(int).tolist()
    return sorted({0, *chosen, steps})


def _with_weights(network: torch.nn.Module, W: Tensor) -> torch.nn.Module:
    if isinstance(network, TwoLayer) and W.ndim == 2:
        return network.at(W)
    network = copy.deepcopy(network)
    torch.nn.utils.vector_to_parameters(W, [p for p in network.parameters() if p.requires_grad])
    return network


def _operator_norm(matrix: Tensor) -> float:
    if matrix.ndim == 1:
        return math.nan
    gram = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    if not bool(gram.isfinite().all()):
        return math.inf  # descent is about to say that it diverged
    return math.sqrt(max(0.0, float(torch.linalg.eigvalsh(gram)[-1])))


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()
