"""The commentaries: weights, blends and masks as torch modules with values in (0, 1), sigmoids of what is learned."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from theory import checks


class ExampleWeights(torch.nn.Module):
    """A weight in (0, 1) for each example: one learned logit each, or those of a network that sees the example.

    Args:
        source: number of examples, or a network inputs -> logits (m,) or (m, 1).
        start: weight of every example at first, of a table of logits.

    Raises:
        InvalidInput: no examples, a start outside (0, 1).

    Example:
        >>> weights = ExampleWeights(3, start=0.25)
        >>> weights().detach(), weights(torch.tensor([2, 0])).shape
        (tensor([0.2500, 0.2500, 0.2500]), torch.Size([2]))
        >>> ExampleWeights(torch.nn.Linear(4, 1))(torch.zeros(5, 4)).shape
        torch.Size([5])
    """

    def __init__(self, source: int | torch.nn.Module, start: float = 0.5) -> None:
        super().__init__()
        self.count = None if isinstance(source, torch.nn.Module) else checks.integer("examples", source, minimum=1)
        if isinstance(source, torch.nn.Module):
            self.network = source
        else:
            self.logits = _logits((source,), start)

    def forward(self, which: Tensor | None = None) -> Tensor:
        """Weights (m,) of the examples with row numbers `which` (m,), all by default; with a network, of these inputs.

        Raises:
            InvalidInput: row numbers that are no integers in range; a network that gives another shape; no inputs.
        """
        if self.count is not None:
            if which is None:
                return torch.sigmoid(self.logits)
            return torch.sigmoid(self.logits[_numbers("rows", which, self.count)])
        if which is None:
            checks.fail("inputs", "the examples that the network weighs", "None", "call it with a batch")
        logits = self.network(which)
        if logits.shape not in ((len(which),), (len(which), 1)):
            checks.fail("logits", f"shape ({len(which)},)", tuple(logits.shape), "one logit per example")
        return torch.sigmoid(logits.reshape(-1))


class Blends(torch.nn.Module):
    """c_ij in (0, 1) for each ordered pair of classes: the share of an example of class i, beside one of class j.

    See `blend` for what to do with them. Mixup (Zhang et al., 2018) has random ones, the same for all pairs.

    Args:
        classes: their number.
        start: of all coefficients.

    Example:
        >>> blends = Blends(3, start=0.8)
        >>> blends(torch.tensor([0, 2]), torch.tensor([1, 1])).detach()
        tensor([0.8000, 0.8000])
    """

    def __init__(self, classes: int, start: float = 0.5) -> None:
        super().__init__()
        self.classes = checks.integer("classes", classes, minimum=2)
        self.logits = _logits((self.classes, self.classes), start)

    def forward(self, labels: Tensor, partners: Tensor) -> Tensor:
        """Coefficients (m,) of pairs of examples, by their classes (m,) and (m,).

        Raises:
            InvalidInput: labels that are no classes, or not one partner per label.
        """
        first, second = (_numbers(n, a, self.classes) for n, a in (("labels", labels), ("partners", partners)))
        if first.shape != second.shape:
            checks.fail("partners", f"shape {tuple(first.shape)}, like the labels", tuple(second.shape), "pair them")
        return torch.sigmoid(self.logits[first, second])


def blend(first: Tensor, second: Tensor, coefficients: Tensor) -> Tensor:
    """c * first + (1 - c) * second, row by row: of inputs (m, ...), and of targets as probabilities (m, classes).

    Raises:
        InvalidInput: shapes that do not match.

    Example:
        >>> blend(torch.ones(2, 3), torch.zeros(2, 3), torch.tensor([0.9, 0.5]))[:, 0]
        tensor([0.9000, 0.5000])
    """
    if first.shape != second.shape:
        checks.fail("second", f"shape {tuple(first.shape)}, like the first", tuple(second.shape), "pair them")
    checks.vector("coefficients", coefficients, len(first))
    c = coefficients.reshape(-1, *[1] * (first.ndim - 1))
    return c * first + (1 - c) * second


class Masks(torch.nn.Module):
    """Images times a mask in (0, 1): one learned mask for all images, or that of a network that sees the image.

    Args:
        source: shape of an image, or a network images (m, ...) -> logits of the same shape.
        start: of the mask's entries at first, of a learned mask.

    Example:
        >>> Masks((2, 2), start=0.5)(torch.ones(3, 2, 2)).detach().sum()
        tensor(6.)
    """

    def __init__(self, source: Sequence[int] | torch.nn.Module, start: float = 0.5) -> None:
        super().__init__()
        if isinstance(source, torch.nn.Module):
            self.network = source
        else:
            if isinstance(source, int):
                checks.fail(
                    "shape of an image", "one number per side", source, f"write ({source},) for a row of pixels"
                )
            sides = tuple(checks.integer("side of an image", side, minimum=1) for side in source)
            self.logits = _logits(sides, start)

    def forward(self, images: Tensor) -> Tensor:
        """The masked images (m, ...)."""
        return self.mask(images) * images

    def mask(self, images: Tensor) -> Tensor:
        """The masks of these images (m, ...), or the one mask of all (...).

        Raises:
            InvalidInput: no tensor, images of another shape, or a network that gives one.
        """
        if not isinstance(images, Tensor):
            checks.fail("images", "a tensor", type(images).__name__, "convert them with torch.as_tensor")
        learned = hasattr(self, "logits")
        logits = self.logits if learned else self.network(images)
        shape = images.shape[1:] if learned else images.shape
        if logits.shape != shape:
            what, other = ("images", logits.shape) if learned else ("logits", images.shape)
            got = tuple(images.shape[1:] if learned else logits.shape)
            checks.fail(what, f"shape {tuple(other)}" + " after the first axis" * learned, got, "match them")
        return torch.sigmoid(logits)


def _logits(shape: tuple[int, ...], start: float) -> torch.nn.Parameter:
    start = checks.number("start", start, 0, 1, open_low=True, open_high=True)
    return torch.nn.Parameter(torch.full(shape, math.log(start / (1 - start))))


def _numbers(name: str, values: Tensor, count: int) -> Tensor:
    """Integers from 0 to count - 1, a vector."""
    if not isinstance(values, Tensor):
        checks.fail(name, "a tensor of integers", type(values).__name__, "convert them with torch.as_tensor")
    checks.vector(name, values)
    if values.dtype not in (torch.int64, torch.int32):
        checks.fail(name, "integers", values.dtype, "convert them with .long()")
    if int(values.min()) < 0 or int(values.max()) >= count:
        got = f"{int(values.min())} to {int(values.max())}"
        checks.fail(name, f"numbers from 0 to {count - 1}", got, "count from 0, and make the table large enough")
    return values.long()
