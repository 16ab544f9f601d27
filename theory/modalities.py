"""Inputs of two modalities, of which one can mislead: coloured digits, and two Gaussians with a known optimum.

`coloured_digits`: a grey digit g (64,) and a colour c (3,), seen as the pixels x = g (x) c, each pixel in the colour.
In training and validation images the colour gives the class away; in test images it is grey, or another class's.

`TwoGaussians`: the label y = +-1 is seen through two Gaussians whose separations are the dials for how much each tells;
a third dial shuffles the second modality of the test data. Every accuracy and mutual information is known.

Example:
    >>> digits = coloured_digits(seed=0)
    >>> digits["train"].X.shape, sorted(digits)
    ((1151, 192), ['coloured', 'grey', 'train', 'validation', 'wrong'])
    >>> problem = TwoGaussians((1.0, 3.0), shift=0.5)
    >>> round(problem.bayes_accuracy(shift=0.0), 4), round(problem.linear_accuracy((1.0, 3.0)), 4)
    (0.9431, 0.733)
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int

from theory import checks, datasets, seeding

CLASSES = 10
KINDS = ("class", "grey", "wrong")
"""Colours of an image: its class's, none, or that of another class drawn at random."""
PALETTES = ("random", "hues")
_REACH = 12.0


@dataclass(frozen=True, eq=False)
class Coloured:
    """Coloured images as their two modalities.

    Attributes:
        grey: (n, 64) pixels in [0, 1].
        colour: (n, 3) red, green and blue, about [0, 1]; noise may lead outside.
        labels: (n,) classes, 0 to 9.
    """

    grey: Float[np.ndarray, "n pixels"]
    colour: Float[np.ndarray, "n 3"]
    labels: Int[np.ndarray, " n"]

    @cached_property
    def X(self) -> Float[np.ndarray, "n inputs"]:
        """What a network sees: g (x) c, (n, 192), the three channels of a pixel side by side."""
        return (self.grey[:, :, None] * self.colour[:, None]).reshape(len(self.labels), -1)


def palette(seed: int, kind: str = "random") -> Float[np.ndarray, "10 3"]:
    """A colour for each class.

    Args:
        seed: of the draw, >= 0.
        kind: "random", red, green and blue uniform on [0, 1]; or "hues", the ten saturated hues 36 degrees apart, in
            random order: farther from grey, and from each other.

    Raises:
        InvalidInput: another kind, a negative seed.
    """
    import colorsys

    checks.choice("palette", kind, PALETTES)
    draw = seeding.numpy_generator("palette", seed)
    if kind == "random":
        return draw.random((CLASSES, 3))
    return draw.permutation([colorsys.hsv_to_rgb(k / CLASSES, 1, 1) for k in range(CLASSES)])


def paint(
    digits: datasets.Dataset,
    colours: np.ndarray,
    kind: str,
    *,
    noise: float = 0.05,
    stream: str = "paint",
    seed: int = 0,
) -> Coloured:
    """Colour images: `kind` of colour, plus noise unless it is grey.

    Args:
        digits: images of one channel.
        colours: (10, 3), one for each class.
        kind: "class"; "grey", white (1, 1, 1) times the image; "wrong", of a class drawn from the nine others.
        noise: standard deviation of the colour's normal noise, >= 0, one draw for each image and channel.
        stream: name of the random stream.
        seed: of it, >= 0.

    Raises:
        InvalidInput: an unknown kind, negative noise, images of several channels, colours of another shape.
    """
    checks.choice("kind", kind, KINDS)
    noise = checks.number("noise", noise, 0)
    checks.matrix("colours", colours, rows=CLASSES, columns=3)
    if digits.images.shape[1] != 1:
        checks.fail("digits", "images of one channel", digits.images.shape, "colours are put on grey images")
    draw = seeding.numpy_generator(f"{stream}, {kind}", seed)
    labels = digits.labels
    other = (labels + draw.integers(1, CLASSES, size=len(labels))) % CLASSES
    clean = {"class": colours[labels], "grey": np.ones((len(labels), 3)), "wrong": colours[other]}[kind]
    grey = digits.images.reshape(len(labels), -1)
    spread = noise * draw.normal(size=clean.shape) if kind != "grey" else 0.0
    return Coloured(grey, clean + spread, labels)


def coloured_digits(
    seed: int,
    *,
    colours: str = "random",
    noise: float = 0.05,
    test_share: float = 0.2,
    validation_share: float = 0.2,
) -> dict[str, Coloured]:
    """scikit-learn's digits, coloured by class to learn from, and three test sets of the same digits in other colours.

    Args:
        seed: of the split, of which class has which colour, and of the noise, >= 0.
        colours: kind of `palette`.
        noise: as in `paint`.
        test_share: of all images.
        validation_share: of those left.

    Returns:
        "train" and "validation", coloured by class; "coloured" by class, "grey" and "wrong" of the test images.

    Raises:
        InvalidInput: an unknown kind of palette, shares outside (0, 1), negative noise.
    """
    rest, test = datasets.load("digits", unit_rows=False).split(test_share, seed)
    train, validation = rest.split(validation_share, seed)
    hues = palette(seed, colours)
    kinds = {"train": (train, "class"), "validation": (validation, "class"), "coloured": (test, "class")}
    kinds |= {"grey": (test, "grey"), "wrong": (test, "wrong")}
    return {name: paint(part, hues, kind, noise=noise, stream=name, seed=seed) for name, (part, kind) in kinds.items()}


@dataclass(frozen=True)
class TwoGaussians:
    """y = +-1, equally likely; x_i = y (s_i/2) u_i + N(0, I) in R^d, u_i = (1, ..., 1)/sqrt(d), i = 1, 2.

    Given y the modalities are independent. t_i = <u_i, x_i> ~ N(y s_i/2, 1) is sufficient; s_i t_i is the modality's
    log-likelihood ratio. With probability `shift` the second modality of a test sample belongs to a fresh label: it is
    as likely to mislead as to help.

    Attributes:
        separation: (s_1, s_2) >= 0: distance between the class means, in deviations of the noise.
        shift: in [0, 1], of test data; training data have none.
        dimension: d >= 1 of each modality; only the training sample's noise depends on it.

    Raises:
        InvalidInput: out of range.
    """

    separation: tuple[float, float]
    shift: float = 0.0
    dimension: int = 1

    def __post_init__(self) -> None:
        if len(self.separation) != 2:
            checks.fail("separation", "two numbers", self.separation, "one for each modality")
        for value in self.separation:
            checks.number("separation", value, 0)
        checks.number("shift", self.shift, 0, 1)
        checks.integer("dimension", self.dimension, minimum=1)

    def draw(
        self, count: int, seed: int, *, test: bool = False
    ) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n d"], Int[np.ndarray, " n"]]:
        """x_1, x_2 and labels 0 (y = -1) or 1; test data are shifted.

        The stream depends on the seed, the count, the dimension and `test`, not on separation or shift: problems with
        one seed have common random numbers.
        """
        checks.integer("count", count, minimum=1)
        draw = seeding.numpy_generator("two Gaussians, test" if test else "two Gaussians, training", seed)
        y, fresh = draw.integers(2, size=(2, count))
        misled = draw.random(count) < (self.shift if test else 0.0)
        seen = (y, np.where(misled, fresh, y))
        step = np.array(self.separation) / (2 * math.sqrt(self.dimension))
        x1, x2 = (
            draw.normal(size=(count, self.dimension)) + (2 * s - 1)[:, None] * h
            for s, h in zip(seen, step, strict=True)
        )
        return x1, x2, y

    def bayes_accuracy(self, shift: float | None = None) -> float:
        """The best accuracy of any rule that knows the separations and the shift (by default, that of the test data).

        Closed form without shift: Phi(sqrt(s_1^2 + s_2^2)/2). With shift r the second log-likelihood ratio s_2 t_2 = L
        becomes ln((1-r/2) e^L + r/2) - ln((1-r/2) + (r/2) e^L), and one integral over t_2 is left (absolute error below
        1e-10).
        """
        from scipy import special

        shift = self.shift if shift is None else checks.number("shift", shift, 0, 1)
        s1, s2 = self.separation
        if shift == 0:
            return float(special.ndtr(math.hypot(s1, s2) / 2))
        if s1 == 0:  # the ratio has the sign of t_2
            return self.linear_accuracy((0, 1), shift)

        def correct(t: float) -> float:
            return float(special.ndtr(s1 / 2 + _mixed(s2 * t, shift) / s1))  # P(s_1 t_1 + ratio > 0 | y = 1)

        return _expectation(correct, s2, shift)

    def linear_accuracy(self, weights: Sequence[float], shift: float | None = None) -> float:
        """Accuracy of the rule sign(w_1 t_1 + w_2 t_2), in closed form; w = (s_1, s_2) is the optimum without shift.

        (1 - r/2) Phi((w_1 s_1 + w_2 s_2)/(2|w|)) + (r/2) Phi((w_1 s_1 - w_2 s_2)/(2|w|)) at shift r.

        Raises:
            InvalidInput: weights that are both 0, a shift outside [0, 1].
        """
        from scipy import special

        shift = self.shift if shift is None else checks.number("shift", shift, 0, 1)
        w1, w2 = (checks.number("weight", weight) for weight in weights)
        size = 2 * math.hypot(w1, w2)
        if size == 0:
            checks.fail("weights", "one that is not 0", tuple(weights), "the rule looks at nothing")
        helped, misled = (
            special.ndtr((w1 * self.separation[0] + sign * w2 * self.separation[1]) / size) for sign in (1, -1)
        )
        return float((1 - shift / 2) * helped + shift / 2 * misled)

    def mutual_information(self, modality: int | None = None, shift: float = 0.0) -> float:
        """I(Y; X_1), I(Y; X_2) (modality 1, 2) or, without shift, I(Y; X_1, X_2) (None), in nats, at most ln 2.

        With separation s (for both together sqrt(s_1^2 + s_2^2)) it is ln 2 - E ln(1 + e^-L), L ~ N(s^2/2, s^2) given
        y = 1: one integral, by quadrature. The second modality can be shifted.

        Raises:
            InvalidInput: another modality; a shift of anything but the second modality.
        """
        shift = checks.number("shift", shift, 0, 1)
        if modality not in (None, 1, 2):
            checks.fail("modality", "1, 2 or None for both", modality, "choose one of these")
        if shift and modality != 2:
            checks.fail("shift", "0 for all but the second modality", shift, "only the second modality is shifted")
        s = math.hypot(*self.separation) if modality is None else self.separation[modality - 1]
        return math.log(2) - _expectation(lambda t: float(np.logaddexp(0, -_mixed(s * t, shift))), s, shift)


def _expectation(function: Callable[[float], float], s: float, shift: float) -> float:
    """E function(t) over t ~ (1 - shift/2) N(s/2, 1) + (shift/2) N(-s/2, 1), by adaptive quadrature."""
    from scipy import integrate

    def weighted(t: float) -> float:
        return function(t) * ((1 - shift / 2) * _normal(t - s / 2) + shift / 2 * _normal(t + s / 2))

    ends = (-_REACH - s / 2, 0.0, _REACH + s / 2)  # in the middle the ratio changes its sign, perhaps abruptly
    parts = [integrate.quad(weighted, a, b, epsabs=1e-12, epsrel=1e-12, limit=200)[0] for a, b in pairwise(ends)]
    return float(sum(parts))


def _mixed(L: float, shift: float) -> float:
    """Log-likelihood ratio when, with chance `shift`, the sample with ratio L belongs to a fresh label."""
    if shift == 0:
        return L
    keep, swap = math.log1p(-shift / 2), math.log(shift / 2)
    return float(np.logaddexp(keep + L, swap) - np.logaddexp(keep, swap + L))


def _normal(t: float) -> float:
    return math.exp(-t * t / 2) / math.sqrt(2 * math.pi)
