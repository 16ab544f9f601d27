"""The four panels of `simulations.hypergradients`."""

from typing import Any

import numpy as np
import xarray

from theory.lab import figure

SOLVERS = ("neumann", "cg", "unrolled")
NAMES = {"neumann": "Neumann", "cg": "conjugate gradients", "unrolled": "unrolled descent from 0"}


def draw_terms(panel: Any, results: xarray.Dataset, settings: Any) -> None:
    """Relative error against the number of terms."""
    x = results.order.values + 1
    lines = (("gradient_bound", "bound (H2)", "--"), ("gradient_error", "Neumann", "-"))
    for name, label, dashes in lines:
        figure.band(panel, x, results[name].values, label, geometric=True, linestyle=dashes)
    errors = results.cg_error.values
    shown = int((errors.min(axis=0) > 1e-10).sum())
    figure.band(panel, x[:shown], errors[:, :shown], "conjugate gradients", geometric=True)
    panel.set(xscale="log", yscale="log", ylim=(1e-9, None), xlabel="terms, K + 1 (products, for CG)")
    panel.set(ylabel="relative error", title=f"hypergradient, condition {settings.condition:g}")
    panel.legend(loc="lower left")


def draw_products(panel: Any, results: xarray.Dataset, settings: Any) -> None:
    """Products to the tolerance against the condition number."""
    x = results.kappa.values.mean(axis=0)
    for name, marker in zip(SOLVERS, "os^", strict=True):
        cells = results.products.sel(solver=name).values
        shown = np.isfinite(cells).all(axis=0)
        options = {"marker": marker, "ms": 3, "linestyle": ""}
        line = figure.band(panel, x[shown], cells[:, shown], NAMES[name], geometric=True, **options)
        prediction = results.predicted.sel(solver=name).values.mean(axis=0)
        panel.plot(x, prediction, "--", color=line.get_color(), linewidth=0.9)
    panel.plot([], [], "k--", linewidth=0.9, label="predicted (H2, H8)")
    panel.set(xscale="log", yscale="log", xlabel="condition number of the Hessian")
    panel.set(ylabel=f"products to {settings.tolerance:g}", title="products to a tolerance")
    panel.legend(loc="upper left")


def draw_inexact(panel: Any, results: xarray.Dataset, settings: Any) -> None:
    """Error at inexact inner solutions, and the certificate."""
    for seed in range(results.sizes["seed"]):
        slope = results.slope.values[seed]
        label = seed == 0
        panel.plot(slope, results.certificate.values[seed], "--", color="C0", label="certificate (H7)" * label)
        panel.plot(slope, results.inexact_error.values[seed], color="C1", label="measured, each seed" * label)
    panel.set(xscale="log", yscale="log", xlabel=r"inner gradient $\|\nabla_w L_T\|$")
    panel.set(ylabel=r"$\|g(w)-g(w^*)\|$", title="inner problem stopped early")
    panel.legend(loc="upper left")


def draw_lag(panel: Any, results: xarray.Dataset, settings: Any) -> None:
    """Lag of the inner weights by round and outer step."""
    for step in settings.outer_steps:
        x, cells = results["round"].values + 1, results.lag.sel(outer_step=step).values
        line = figure.band(panel, x, cells, f"{step:g}", geometric=True)
        linear = np.exp(np.log(results.predicted_lag.sel(outer_step=step).values).mean(axis=0))
        panel.plot(x, linear, "--", color=line.get_color(), linewidth=0.9)
    panel.plot([], [], "k--", linewidth=0.9, label="linear theory")
    panel.set(yscale="log", xlabel="round (one inner step each)", ylabel=r"lag $\|w-w^*(\varphi)\|$")
    panel.set_title("warm start, by outer step in 10 rounds")
    panel.legend(ncols=2, loc="lower right")
