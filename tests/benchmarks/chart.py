"""figures/speed.png: time against width for all contenders, and speed.json, what it was drawn from."""

import json
from pathlib import Path
from typing import Any

from benchmarks import widths
from benchmarks.harness import OURS, Record
from theory.files import replacing
from theory.lab import figure

QUESTIONS = {"kernel": "kernel matrix [ms]", "descent": "one step of gradient descent [ms]"}


def write(record: Record, folder: Path) -> list[Path]:
    """Draw what the record holds; nothing is written while it holds no point of the chart."""
    points = {question: curves(record, question) for question in QUESTIONS}
    if not any(points.values()):
        return []
    written = figure.save(draw(points, record.identity), folder / "speed")
    content = {"identity": record.identity, "sessions": record.sessions, "notes": record.notes, "points": points}
    with replacing(folder / "speed.json") as part:
        part.write_text(json.dumps(content, indent=1) + "\n")
    return [*written, folder / "speed.json"]


def curves(record: Record, question: str) -> dict[str, list[tuple[int, float, float, float]]]:
    """By contender: width, median, least and largest milliseconds over the rounds."""
    found: dict[str, list[tuple[int, float, float, float]]] = {}
    for width in sorted({*widths.WIDTHS, *widths.TINY}):
        prefix = widths.name(question, width) + " | "
        for key, row in record.rows.items():
            if key.startswith(prefix) and row.theirs:
                scale = 1e3 / row.calls
                spread = (width, row.milliseconds, min(row.theirs) * scale, max(row.theirs) * scale)
                found.setdefault(key.removeprefix(prefix), []).append(spread)
    return found


@figure.style()
def draw(points: dict[str, dict[str, list[tuple[int, float, float, float]]]], identity: dict[str, Any]) -> Any:
    """Two panels on logarithmic axes: medians as lines, least to largest of the rounds as bars."""
    canvas, axes = figure.subplots(1, 2, aspect=1.15)
    for axis, (question, title) in zip(axes, QUESTIONS.items(), strict=True):
        for number, (name, curve) in enumerate(points[question].items()):
            width, middle, low, high = zip(*curve, strict=True)
            below = [m - a for m, a in zip(middle, low, strict=True)]
            above = [b - m for m, b in zip(middle, high, strict=True)]
            axis.errorbar(
                width,
                middle,
                [below, above],
                label=name,
                color=figure.COLOURS[-1] if name == OURS else figure.COLOURS[(number - 1) % (len(figure.COLOURS) - 1)],
                marker=figure.MARKERS[number % len(figure.MARKERS)],
                markersize=3,
                linewidth=1.8 if name == OURS else 1.0,
                linestyle="--" if number >= len(figure.COLOURS) else "-",
            )
        axis.set(xscale="log", yscale="log", xlabel="width k", title=title)
        axis.legend(fontsize=5, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    canvas.suptitle(
        f"ReLU, float32, n = {widths.N}, d = {widths.D}, one core of {identity['processor'].split(' (')[0]}; "
        "median and range of the rounds",
        fontsize=7,
    )
    return canvas
