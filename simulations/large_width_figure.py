"""The page that `large_width` draws: kernel, linearisation and recovery against the width, each with its exponent."""

from typing import Any

import numpy as np
import xarray

from theory.estimate import Estimate
from theory.lab import figure

RECOVERY = ("error", "limit", "departure")
"""What is known of networks that were trained; NaN for the others."""
_LEVEL = 0.99  # of the intervals
_POINTS: dict[str, Any] = {"linestyle": "", "ms": 2, "alpha": 0.6, "markeredgewidth": 0}


def page(table: xarray.Dataset, activation: str, bound: np.ndarray, enough: int | None) -> Any:
    """Three panels, the third of two floors: the error is linear, its distance from the limit logarithmic.

    Args:
        table: results, dimensions seed and width.
        activation: its name.
        bound: deviation that C4 allows at each width.
        enough: width that C2 asks for; None where nothing is trained.
    """
    fig, panels = figure.subplots(2, 3, aspect=0.68)
    grid = panels[0, 0].get_gridspec()
    for panel in panels[:, :2].flat:
        panel.remove()
    left, middle, (above, below) = fig.add_subplot(grid[:, 0]), fig.add_subplot(grid[:, 1]), panels[:, 2]
    widths = table.width.values

    left.plot(widths, bound, "--", color="0.5", linewidth=0.9, label="bound of C4, probability 1/2")
    _power(left, table.deviation, "kernel at the centres", 0)
    left.set(ylabel=r"$\|K_C(W_0) - \Sigma(C)\|$ [1]", yscale="log")
    _power(middle, table.gap_one_sign, "output weights of one sign", 1)
    _power(middle, table.gap, "signs cancel (paired)", 0)
    middle.set(ylabel=r"$\sup_\tau\,\|f_\tau - f_\tau^{\,lin}\|_2$ [label]", yscale="log")
    _errors(above, measured(table[list(RECOVERY)]), enough)
    _power(below, table.departure, "distance from infinite width", 0)
    below.set(ylabel=r"$\sup\,|f_\tau - f_\tau^{\,\infty}|$ [label]", yscale="log")
    for panel in (left, middle, above, below):
        panel.set(xscale="log", xlim=(widths[0] / 1.5, widths[-1] * 1.5))
        if panel.get_legend_handles_labels()[0]:
            panel.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, handlelength=1.4)
        else:
            panel.text(0.5, 0.5, "not trained", transform=panel.transAxes, ha="center", color="0.4")
        if panel is not above:
            panel.set_xlabel("width (hidden units)")
    note = f"{table.sizes['seed']} networks at each width, all shown; exponents with {_LEVEL:.0%} intervals"
    fig.suptitle(f"{activation}; {note}", fontsize="small")
    return fig


def measured(draws: Any) -> Any:
    """The widths that were measured, and of the seeds those that have all of them."""
    return draws.dropna("width", how="all").dropna("seed", how="any")


def _errors(panel: Any, trained: xarray.Dataset, enough: int | None) -> None:
    panel.set(ylabel="error [label]")
    if not trained.sizes["width"]:
        return
    look = {**_POINTS, "marker": "^", "color": figure.COLOURS[2]}
    panel.plot(trained.width, trained.error.T, **look)
    panel.plot([], [], **look, label="least error to true labels")
    panel.axhline(float(trained.limit[0, 0]), color="black", linewidth=0.9, label="at infinite width")
    if enough is not None:
        panel.axvline(enough, color="0.5", linestyle=":", label="enough at radius 0 (C2)")


def _power(panel: Any, draws: xarray.DataArray, label: str, number: int) -> None:
    """Every seed as a point, and the fitted power law with its exponent; nothing where no width was measured."""
    draws = measured(draws)
    widths, values, colour = draws.width.values, draws.values, figure.COLOURS[number]
    if not values.size:
        return
    panel.plot(widths, values.T, marker=figure.MARKERS[number], color=colour, **_POINTS)
    if len(widths) < 3:
        panel.plot([], [], marker=figure.MARKERS[number], color=colour, label=label, **_POINTS)
        return
    exponent = Estimate.exponent(widths, values)
    low, high = exponent.interval(_LEVEL)
    centre, level = np.exp(np.log(widths).mean()), np.exp(np.log(values).mean())
    fitted = f"{label}:\n${exponent.value:.3f}$ [${low:.3f}$, ${high:.3f}$]"
    panel.plot(widths, level * (widths / centre) ** exponent.value, color=colour, linewidth=1, label=fitted)
