"""Figures as a referee wants them: column width, readable type, colour-blind safe, bands that are intervals."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from theory import checks
from theory.estimate import Estimate
from theory.files import replacing

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe & Ito's palette, safe for the common colour deficiencies; used in this order."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
BAND_LEVEL = 0.95
FEWEST_FOR_A_BAND = 4
"""With two seeds Student's interval is 12.7 standard errors wide: the seeds themselves say more."""


def subplots(rows: int = 1, columns: int = 1, *, aspect: float = 0.75, **options: Any) -> tuple[Any, Any]:
    """A figure in the house style: one panel is a column wide (3.25 in), more share a page's width (6.75 in).

    Args:
        rows: of panels.
        columns: of panels.
        aspect: height of a panel over its width.
        **options: passed to `matplotlib.pyplot.subplots`.
    """
    import matplotlib.pyplot as plt

    width = 3.25 if columns == 1 else 6.75
    size = (width, rows * width / columns * aspect)
    return plt.subplots(rows, columns, figsize=size, layout="constrained", **options)


@contextmanager
def style() -> Iterator[None]:
    """The house style for everything drawn inside: type of 7 to 8 points, as in a two-column paper.

    Every simulation's `figure` wears it as a decorator, `@figure.style()`, so that notebooks get the same picture.
    """
    import matplotlib.pyplot as plt
    from cycler import cycler
    from tueplots import axes, fontsizes

    settings = {
        **fontsizes.icml2022(),
        **axes.lines(),
        "axes.prop_cycle": cycler(color=COLOURS),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "axes.titlesize": "medium",
        "legend.fontsize": "small",
        "savefig.dpi": 200,
        "pdf.fonttype": 42,
    }
    with plt.rc_context(settings):
        yield


def band(axis: Any, x: Any, draws: Any, label: str, geometric: bool = False, **options: Any) -> Any:
    """Draw the mean over seeds with Student's 95% interval for that mean as a band; two or three seeds as thin lines.

    Args:
        axis: matplotlib axes.
        x: (points,) abscissae.
        draws: (seeds, points) one row per seed; with one seed the line has no band.
        label: of the line; the number of seeds belongs in the caption (`seeds_note`).
        geometric: mean and interval of the logarithms, for positive draws on a logarithmic axis.
        **options: passed to `axis.plot`.

    Returns:
        The line.
    """
    draws = np.atleast_2d(np.asarray(draws, dtype=float))
    if draws.shape[1] != len(x):
        checks.fail("draws", f"shape (seeds, {len(x)})", draws.shape, "one row per seed")
    forward, inverse = (np.log, np.exp) if geometric else (np.asarray, np.asarray)
    (line,) = axis.plot(x, inverse(forward(draws).mean(axis=0)), label=label, **options)
    if len(draws) >= FEWEST_FOR_A_BAND:
        low, high = Estimate.mean(forward(draws)).interval(BAND_LEVEL)
        axis.fill_between(x, inverse(low), inverse(high), color=line.get_color(), alpha=0.2, linewidth=0)
    elif len(draws) > 1:
        axis.plot(x, draws.T, color=line.get_color(), alpha=0.5, linewidth=0.5)
    return line


def seeds_note(seeds: int) -> str:
    """What the lines and bands of `band` are, in words, for a title or caption."""
    if seeds == 1:
        return "one seed, no interval"
    return (
        f"mean and {BAND_LEVEL:.0%} t-interval, {seeds} seeds"
        if seeds >= FEWEST_FOR_A_BAND
        else (f"mean, and thin lines for each of {seeds} seeds")
    )


def save(figure: Any, path: Path) -> list[Path]:
    """Write `path`.png and `path`.pdf, each whole or not at all, and close the figure.

    Raises:
        OSError: the disk is full or the folder can't be written; no half-written file is left.
    """
    import matplotlib.pyplot as plt

    written = []
    path.parent.mkdir(parents=True, exist_ok=True)
    with style():
        for suffix, metadata in ((".png", {"Software": None}), (".pdf", {"CreationDate": None})):
            target = path.with_name(path.name + suffix)
            with replacing(target) as part:
                figure.savefig(part, format=suffix[1:], metadata=metadata)
            written.append(target)
    plt.close(figure)
    return written
