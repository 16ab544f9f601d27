"""A sheet of small images with captions, for figures and for reports on suspect labels."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from theory import checks
from theory.lab import figure

_CAPTION = 0.32  # room above an image, in heights of an image


def sheet(images: np.ndarray, captions: Sequence[str], *, columns: int = 10, title: str = "") -> Any:
    """A matplotlib figure of images (m, height, width) or (m, height, width, 3), in rows, each with its caption.

    Raises:
        InvalidInput: other shapes, another number of captions.
    """
    if images.ndim not in (3, 4) or not len(images) or len(captions) != len(images):
        got = f"{images.shape} and {len(captions)} captions"
        checks.fail("images", "shape (m, height, width) or (m, height, width, 3), a caption each", got, "reshape them")
    import matplotlib.pyplot as plt

    with figure.style():
        columns = min(columns, len(images))
        rows = math.ceil(len(images) / columns)
        fig, panel = plt.subplots(figsize=(0.675 * columns, 0.9 * rows + 0.3), layout="constrained")
        draw(panel, images, captions, columns)
        if title:
            fig.suptitle(title, fontsize="small")
    return fig


def draw(panel: Any, images: np.ndarray, captions: Sequence[str], columns: int) -> None:
    """Draw images into one matplotlib axes, row by row, dark on white where they have one channel."""
    height = images.shape[1] / images.shape[2]
    rows = math.ceil(len(images) / columns)
    for number, (image, caption) in enumerate(zip(images, captions, strict=True)):
        x, y = number % columns, -(number // columns) * height * (1 + _CAPTION)
        extent = (x + 0.04, x + 0.96, y - height * 0.96, y - height * 0.04)
        panel.imshow(image, cmap="gray_r", interpolation="nearest", extent=extent, vmin=images.min(), vmax=images.max())
        panel.text(x + 0.5, y, caption, ha="center", va="bottom", fontsize="xx-small")
    panel.set(xlim=(0, columns), ylim=(-rows * height * (1 + _CAPTION), _CAPTION * height), aspect="equal")
    panel.set_axis_off()
