"""The page that `mislabeled` draws: histograms, trajectories, curves against the stopping epoch, the lowest ranks."""

from typing import Any

import numpy as np
import xarray

from simulations import image_sheet
from theory.lab import figure

_KINDS = (("right labels", 0), ("wrong labels", 1), ("threshold samples", 2))
_EXAMPLES = ("easy", "hard", "mislabeled")


def page(simulation: Any, results: xarray.Dataset) -> Any:
    """One page of four rows. Histograms, trajectories and images are of the first seed and the first level."""
    import matplotlib.pyplot as plt

    fig = plt.figure(figsize=(6.75, 7.9), layout="constrained")
    rows: Any = fig.subfigures(4, 1, height_ratios=[1, 1, 1.15, 0.4])
    _histograms(rows[0], results)
    _trajectories(rows[1], results)
    _curves(rows[2], simulation, results)
    _images(rows[3], simulation, results)
    note = figure.seeds_note(results.sizes["seed"])
    fig.suptitle(
        f"{simulation.train_size} digits, a perceptron, AUM of {simulation.stop} epochs; {note}", fontsize="small"
    )
    return fig


def _histograms(part: Any, results: xarray.Dataset) -> None:
    panels = part.subplots(1, results.sizes["level"], squeeze=False)[0]
    for panel, level in zip(panels, results.level.values, strict=True):
        cells = results.sel(level=level).isel(seed=0)
        areas, kinds = cells.run_area.values, cells.kind.values
        bins = np.linspace(areas.min(), areas.max(), 40)
        for name, number in _KINDS:
            chosen = areas[kinds == number]
            style: dict[str, Any] = {"histtype": "stepfilled", "alpha": 0.6, "color": figure.COLOURS[number]}
            style = style if number < 2 else {"histtype": "step", "color": "black"}
            panel.hist(chosen, bins, density=True, label=name, **style)
        panel.axvline(float(cells.cut), color="black", linewidth=0.8, linestyle="--", label="cut")
        panel.set(title=f"{level} noise", xlabel="AUM, first run [logit]", yticks=[])
    panels[0].set_ylabel("density")
    panels[0].set_ylim(0, 1.35 * panels[0].get_ylim()[1])  # room for the legend
    panels[0].legend(loc="upper left", fontsize="x-small")


def _trajectories(part: Any, results: xarray.Dataset) -> None:
    panels = part.subplots(1, 3, sharey=True)
    cells = results.isel(level=0, seed=0)
    epochs = 1 + np.arange(cells.sizes["epoch_to_stop"])
    for number, (panel, name) in enumerate(zip(panels, _EXAMPLES, strict=True)):
        shown = cells.isel(example=number)
        label, truth = int(shown.example_label), int(shown.example_truth)
        logits = shown.trajectory.values[:, :-1]  # the fake class is left out
        others = np.delete(logits, sorted({label, truth}), axis=1)
        panel.plot(epochs, others, color="0.8", linewidth=0.6)
        if truth != label:
            panel.plot(epochs, logits[:, truth], color=figure.COLOURS[0], label=f"true class {truth}")
        panel.plot(epochs, logits[:, label], color=figure.COLOURS[1], label=f"assigned class {label}")
        panel.set(title=f"{name} example", xlabel="epoch")
        panel.legend(loc="upper left", fontsize="x-small")
    panels[0].set_ylabel("logit (grey: other classes)")


def _curves(part: Any, simulation: Any, results: xarray.Dataset) -> None:
    left, middle, right = part.subplots(1, 3)
    shown = results.transpose("seed", ...)
    for number, level in enumerate(results.level.values):
        cells = shown.sel(level=level)
        known = np.isfinite(cells.auc_by_epoch.values[0])
        epochs = results.epoch.values[known]
        colour, dash = figure.COLOURS[number], ("-", "--", "-.", ":")[number % 4]
        figure.band(left, epochs, cells.auc_by_epoch.values[:, known], f"{level}", color=colour, linestyle=dash)
        left.plot(epochs, cells.auc_loss_by_epoch.values[:, known].mean(axis=0), color=colour, linewidth=0.7, alpha=0.6)
        passes = results.passes.values
        figure.band(middle, passes, cells.curve_noisy.values, f"{level}", color=colour, linestyle=dash)
    left.plot([], [], color="0.4", linewidth=0.7, label="by the loss, thin")
    left.axvline(simulation.stop, color="0.6", linewidth=0.8)
    left.set(xlabel="stopping epoch", ylabel="AUC of the ranking", xscale="log")
    left.legend(loc="lower center", fontsize="x-small")
    middle.set(xlabel="stopping epoch", ylabel="test accuracy, all labels")
    middle.legend(loc="lower right", fontsize="x-small")
    _bars(right, results)


def _bars(panel: Any, results: xarray.Dataset) -> None:
    names = [("noisy", "all labels"), ("cleaned", "without suspects"), ("oracle", "without wrong ones")]
    names += [("long", "without suspects of too long runs")] if "accuracy_long" in results else []
    for number, (name, words) in enumerate(names):
        draws = results[f"accuracy_{name}"].transpose("seed", "level").values
        at = np.arange(draws.shape[1]) + 0.18 * (number - 1)
        mean = draws.mean(axis=0)
        panel.plot(at, mean, figure.MARKERS[number], color=figure.COLOURS[number + 3], markersize=5, label=words)
        panel.plot(np.repeat(at[None], len(draws), axis=0), draws, ".", color="black", markersize=1.5)
    panel.set_xticks(
        np.arange(results.sizes["level"]), [str(level).replace(" ", "\n") for level in results.level.values]
    )
    panel.set_ylabel("test accuracy at the end")
    low, high = panel.get_ylim()
    panel.set_ylim(low - 0.45 * (high - low), high)  # room for the legend
    panel.legend(loc="lower left", fontsize="x-small")


def _images(part: Any, simulation: Any, results: xarray.Dataset) -> None:
    cells = results.isel(level=0, seed=0)
    rows = cells.lowest.values.astype(int)
    pixels = simulation.images(int(results.seed[0]))[0].images[rows, 0]
    pairs = zip(cells.lowest_label.values, cells.lowest_truth.values, strict=True)
    captions = [f"{int(label)}" + (f" ({int(truth)})" if label != truth else " right") for label, truth in pairs]
    image_sheet.draw(part.subplots(), pixels, captions, len(rows))
    part.suptitle("the lowest AUMs: assigned label, true one in brackets", fontsize="small")
