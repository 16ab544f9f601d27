"""The claims over a sweep: every point of the grid judged, all in one table, and drawn as a map of verdicts."""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from theory import checks
from theory.lab import figure
from theory.lab.sweep import Sweep
from theory.verdict import Status, Verdicts, combine

SHADES = {
    Status.HOLDS: "#0072B2",
    Status.VIOLATED: "#D55E00",
    Status.INCONCLUSIVE: "#F0E442",
    Status.OUT_OF_SCOPE: "#BBBBBB",
    Status.VACUOUS: "#EEEEEE",
}
"""Okabe & Ito's blue, vermilion and yellow, and two greys."""

MOST_PANELS = 9
EMPTY = "no results"


@dataclass(frozen=True)
class Survey:
    """What a sweep says about the claims.

    Attributes:
        sweep: it.
        verdicts: of all points, judged together (Holm over the random rows of the whole sweep).
        places: in the grid, of each verdict.
        unjudged: place -> why its results could not be judged.
        broken: how many of these raised anything but InvalidInput.
    """

    sweep: Sweep
    verdicts: Verdicts
    places: Sequence[tuple[int, ...]]
    unjudged: Mapping[tuple[int, ...], str]
    broken: int = 0

    @property
    def statuses(self) -> Any:
        """A status for each claim and point, "" where there is none: an `xarray.DataArray` of strings."""
        import xarray

        from theory.lab.table import labels

        axes = self.sweep.grid.axes
        ids = list(dict.fromkeys(verdict.claim.id for verdict in self.verdicts))
        found: dict[tuple[str, tuple[int, ...]], list[Status]] = {}
        for verdict, status, place in zip(self.verdicts, self.verdicts.statuses(), self.places, strict=True):
            found.setdefault((verdict.claim.id, place), []).append(status)
        values = np.full((len(ids), *map(len, axes.values())), "", dtype="<U12")
        for (id, place), statuses in found.items():
            values[(ids.index(id), *place)] = str(combine(statuses))
        coordinates = {"claim": ids, **{name: labels(entries) for name, entries in axes.items()}}
        return xarray.DataArray(values, coordinates, ["claim", *axes])


def survey(sweep: Sweep) -> Survey:
    """Judge every point that has results."""
    verdicts, places, unjudged, broken = Verdicts(), [], {}, 0
    for place, simulation, results in sweep.points():
        if results is None:
            unjudged[place] = EMPTY
            continue
        try:
            found = simulation.verdicts(results)
        except NotImplementedError:  # a simulation without claims
            continue
        except checks.InvalidInput as error:  # too few seeds for an exponent, say
            unjudged[place] = str(error)
            continue
        except Exception as error:  # one point's trouble must not cost the verdicts of the others
            unjudged[place] = f"{type(error).__name__}: {error}"
            broken += 1
            continue
        for verdict in found:
            verdicts.append(verdict)
            places.append(place)
    return Survey(sweep, verdicts, places, unjudged, broken)


@figure.style()
def draw(found: Survey) -> Any:
    """A panel for each yes-or-no result of the cells (share of the seeds), and for each claim whose verdict varies.

    The axis with the most values goes to the right, the others upwards.

    Raises:
        InvalidInput: no axes, or nothing to show.
    """
    axes = found.sweep.grid.axes
    statuses, shares = found.statuses, outcomes(found.sweep)
    if not axes or not (found.verdicts or shares):
        checks.fail("sweep", "several values of a setting, and verdicts", "none", "draw the simulation's own figure")
    along = max(axes, key=lambda name: len(axes[name]))
    others = [name for name in axes if name != along]
    alike = {id: len(np.unique(statuses.sel(claim=id))) == 1 for id in statuses.claim.values}
    claims = [id for id in alike if not alike[id]] or ([] if shares else list(alike)[:1])
    names = [*shares, *claims][:MOST_PANELS]
    rows = list(itertools.product(*(axes[name] for name in others)))
    columns = min(3, len(names))
    lines = math.ceil(len(names) / columns)
    least = 0.7 if columns == 1 else 0.35 * columns  # so that titles, ticks and legend leave room for a panel
    aspect = float(np.clip(0.3 + 0.06 * len(rows), least, 1.2))
    fig, panels = figure.subplots(lines, columns, aspect=aspect, squeeze=False, sharey=True)
    for panel in panels.flat[len(names) :]:
        panel.set_visible(False)
    for number, (panel, name) in enumerate(zip(panels.flat, names, strict=False)):
        values = shares[name] if name in shares else statuses.sel(claim=name)
        flat = values.transpose(*others, along).values.reshape(len(rows), len(axes[along]))
        mesh = _paint_shares(panel, flat) if name in shares else _paint(panel, flat)
        panel.set_title(name)
        panel.set_xticks(*_ticks([_words(value) for value in axes[along]]), rotation=45)
        panel.set_yticks(*_ticks([", ".join(map(_words, row)) for row in rows]))
        if number >= len(names) - columns:
            panel.set_xlabel(along)
        if number % columns == 0:
            panel.set_ylabel(", ".join(others))
        if name in shares:
            fig.colorbar(mesh, ax=panel, label="share of the seeds")
    if set(names) - set(shares):
        _legend(fig, {str(status) for status in np.unique(statuses)})
    seeds, left = len(found.sweep.grid.seeds), len(alike) + len(shares) - len(names)
    words = f"{found.sweep.grid.base.name}, {seeds} seed{'s' * (seeds > 1)} at each point"
    if left:
        words += f"\n{left} claim{'s' * (left > 1)} not shown: one verdict everywhere" + ", or no room" * (
            len(names) == MOST_PANELS
        )
    fig.suptitle(words, size="small")
    return fig


def outcomes(sweep: Sweep) -> dict[str, Any]:
    """The share of the seeds at each point, of every result that is one yes or no for each cell."""
    first = next(iter(sweep.records.values()), None)
    if first is None:
        return {}
    found = [name for name, (dims, values) in first.arrays.items() if values.dtype == bool and not dims]
    return {name: sweep.table[name].astype(float).mean("seed") for name in found}


def record(found: Survey) -> dict[str, Any]:
    """Axes, and for each claim its statuses in the order of the points, for the figure's JSON file."""
    axes = {name: json.loads(json.dumps(list(values), default=str)) for name, values in found.sweep.grid.axes.items()}
    statuses = found.statuses
    return {
        "axes": axes,
        "statuses": {str(id): statuses.sel(claim=id).values.ravel().tolist() for id in statuses.claim.values},
        "unjudged": {str(place): why for place, why in found.unjudged.items()},
    }


def _paint_shares(panel: Any, values: np.ndarray) -> Any:
    panel.spines[:].set_visible(False)
    return panel.pcolormesh(values, cmap="cividis", vmin=0, vmax=1, edgecolors="white", linewidth=0.3)


def _paint(panel: Any, values: np.ndarray) -> Any:
    from matplotlib.colors import ListedColormap

    codes = np.full(values.shape, np.nan)
    for number, status in enumerate(SHADES):
        codes[values == status] = number
    mesh = panel.pcolormesh(codes, cmap=ListedColormap(list(SHADES.values())), vmin=-0.5, vmax=len(SHADES) - 0.5,
                     edgecolors="white", linewidth=0.3)  # fmt: skip
    row, column = np.nonzero(values == Status.VIOLATED)
    panel.plot(column + 0.5, row + 0.5, "x", color="white", markersize=3, linestyle="none")  # visible without colour
    panel.spines[:].set_visible(False)
    return mesh


def _legend(fig: Any, present: set[str]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=shade, label=str(status)) for status, shade in SHADES.items() if status in present]
    handles += [Patch(facecolor="white", edgecolor="0.6", label=EMPTY)] * ("" in present)
    fig.legend(handles=handles, loc="outside lower center", ncols=3)


def _ticks(words: list[str]) -> tuple[np.ndarray, list[str]]:
    every = math.ceil(len(words) / 12)
    return np.arange(len(words))[::every] + 0.5, words[::every]


def _words(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
