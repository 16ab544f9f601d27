"""Coloured digits and the two-Gaussian problem: what is drawn, and its known accuracies and mutual informations."""

import math

import numpy as np
import pytest
from scipy import integrate, special

from theory import datasets
from theory.checks import InvalidInput
from theory.modalities import KINDS, TwoGaussians, coloured_digits, paint, palette

DIGITS = datasets.load("digits", size=200, unit_rows=False)


@pytest.fixture(scope="module")
def parts():
    return coloured_digits(seed=3, colours="hues")


def test_parts_are_disjoint_and_share_test_images(parts) -> None:
    counts = {name: len(part.labels) for name, part in parts.items()}
    assert counts["train"] + counts["validation"] + counts["grey"] == 1797
    assert counts["grey"] == counts["wrong"] == counts["coloured"]
    for name in ("grey", "wrong"):
        assert np.array_equal(parts[name].grey, parts["coloured"].grey)
        assert np.array_equal(parts[name].labels, parts["coloured"].labels)


def test_colours(parts) -> None:
    """The class's nearest palette colour in training; exact grey; never the class's own in `wrong`, every other one."""
    colours, others = palette(3, "hues"), palette(4, "hues")
    assert sorted(colours.tolist()) == sorted(others.tolist()) and not np.array_equal(colours, others)

    def nearest(part) -> np.ndarray:
        return np.square(part.colour[:, None] - colours).sum(axis=2).argmin(axis=1)

    for name in ("train", "validation", "coloured"):
        assert np.array_equal(nearest(parts[name]), parts[name].labels)
        assert (parts[name].colour - colours[parts[name].labels]).std() == pytest.approx(0.05, rel=0.1)
    assert (parts["grey"].colour == 1).all()
    shift = (nearest(parts["wrong"]) - parts["wrong"].labels) % 10
    assert set(shift.tolist()) == set(range(1, 10))


def test_pixels_are_the_product(parts) -> None:
    part = parts["wrong"]
    pixels = part.X.reshape(-1, 64, 3)
    assert np.allclose(pixels[5, 20], part.grey[5, 20] * part.colour[5])
    assert np.linalg.matrix_rank(pixels[5]) == 1
    assert np.allclose(parts["grey"].X.reshape(-1, 64, 3), parts["grey"].grey[..., None])


def test_streams(parts) -> None:
    again = coloured_digits(seed=3, colours="hues")
    assert all(np.array_equal(parts[name].X, again[name].X) for name in parts)
    assert not np.array_equal(
        parts["coloured"].colour[:5], coloured_digits(seed=4, colours="hues")["coloured"].colour[:5]
    )
    quiet = paint(DIGITS, palette(0), "class", noise=0.0)
    assert np.array_equal(quiet.colour, palette(0)[DIGITS.labels])


def test_random_colours() -> None:
    colours = palette(0)
    assert colours.min() >= 0 and colours.max() <= 1 and not np.array_equal(colours, palette(1))
    part = coloured_digits(seed=0)["train"]
    assert np.allclose(part.colour, colours[part.labels], atol=0.3)
    assert not np.allclose(part.colour, palette(0, "hues")[part.labels], atol=0.3)


PROBLEM = TwoGaussians((1.0, 2.5), shift=0.4, dimension=3)


def test_draws_have_the_stated_law() -> None:
    """Means and covariance given the label; the second modality of test data disagrees with chance shift/2."""
    for test, agree in ((False, 1.0), (True, 0.8)):
        *views, y = PROBLEM.draw(40_000, 0, test=test)
        assert abs(y.mean() - 0.5) < 0.01
        for x, s, share in zip(views, PROBLEM.separation, (1.0, agree), strict=True):
            sign = (2 * y - 1)[:, None]
            mean = s / 2 / math.sqrt(3) * (2 * share - 1)
            assert np.allclose((x * sign).mean(axis=0), mean, atol=0.03)
            spread = 1 + s**2 / 12 - mean**2
            assert np.allclose((x * sign).var(axis=0), spread, rtol=0.03)


def test_common_random_numbers() -> None:
    one, two = TwoGaussians((1.0, 1.0)), TwoGaussians((2.0, 0.5), shift=0.9)
    assert np.array_equal(one.draw(50, 7)[2], two.draw(50, 7)[2])
    assert np.allclose(two.draw(50, 7)[0] - one.draw(50, 7)[0], 0.5 * (2 * one.draw(50, 7)[2] - 1)[:, None])
    assert not np.array_equal(one.draw(50, 7)[2], one.draw(50, 8)[2])
    assert not np.array_equal(one.draw(50, 7)[0], one.draw(50, 7, test=True)[0])


@pytest.mark.parametrize("shift", [0.0, 0.3, 1.0])
def test_accuracies_against_draws(shift: float) -> None:
    """Each rule, applied to 200,000 draws, within 4.5 deviations; the Bayes rule from the densities themselves."""
    problem = TwoGaussians((1.2, 2.0), shift)
    x1, x2, y = problem.draw(200_000, 1, test=True)
    t1, t2 = x1[:, 0], x2[:, 0]

    def normal(t: np.ndarray, mean: float) -> np.ndarray:
        return np.exp(-((t - mean) ** 2) / 2)

    one = normal(t1, 0.6) * ((1 - shift / 2) * normal(t2, 1.0) + shift / 2 * normal(t2, -1.0))
    zero = normal(t1, -0.6) * ((1 - shift / 2) * normal(t2, -1.0) + shift / 2 * normal(t2, 1.0))
    rules = {problem.bayes_accuracy(): one > zero}
    rules |= {problem.linear_accuracy(w): w[0] * t1 + w[1] * t2 > 0 for w in ((1.2, 2.0), (1, 1), (1, 0), (-1, 3))}
    for known, decision in rules.items():
        assert abs((decision == y).mean() - known) < 4.5 * math.sqrt(0.25 / 200_000)
        assert known <= problem.bayes_accuracy() + 1e-12


def test_bayes_accuracy_in_known_cases() -> None:
    for s1, s2 in ((1.0, 3.0), (0.0, 2.0), (0.0, 0.0)):
        problem = TwoGaussians((s1, s2))
        assert problem.bayes_accuracy() == pytest.approx(special.ndtr(math.hypot(s1, s2) / 2), abs=1e-12)
        assert problem.bayes_accuracy(shift=1.0) == pytest.approx(special.ndtr(s1 / 2), abs=1e-12)
    # no jump where shift or the first separation vanishes
    assert TwoGaussians((1.0, 3.0), 1e-9).bayes_accuracy() == pytest.approx(
        TwoGaussians((1.0, 3.0)).bayes_accuracy(), abs=1e-8
    )
    assert TwoGaussians((1e-6, 3.0), 0.5).bayes_accuracy() == pytest.approx(
        TwoGaussians((0, 3.0), 0.5).bayes_accuracy(), abs=1e-6
    )
    best = [TwoGaussians((1.0, 3.0), shift).bayes_accuracy() for shift in np.linspace(0, 1, 9)]
    assert (np.diff(best) < 0).all()


def test_mutual_information_against_entropies() -> None:
    """h(X) - h(X | Y) from the mixture's density, an integral of another form; the joint one in two dimensions."""

    def entropy(density) -> float:
        return -integrate.quad(lambda t: special.xlogy(density(t), density(t)), -15, 15, limit=400)[0]

    def mixture(t: float, mean: float, weight: float = 0.5) -> float:
        return sum(w * math.exp(-((t - m) ** 2) / 2) for w, m in ((weight, mean), (1 - weight, -mean))) / math.sqrt(
            2 * math.pi
        )

    problem = TwoGaussians((1.0, 2.5))
    noise = 0.5 * math.log(2 * math.pi * math.e)
    for modality, s in ((1, 1.0), (2, 2.5)):
        known = entropy(lambda t, s=s: mixture(t, s / 2)) - noise
        assert problem.mutual_information(modality) == pytest.approx(known, abs=1e-8)
    given = entropy(lambda t: mixture(t, 1.25, 0.8))
    known = entropy(lambda t: mixture(t, 1.25)) - given
    assert problem.mutual_information(2, shift=0.4) == pytest.approx(known, abs=1e-8)
    x1, x2, y = problem.draw(400_000, 0)
    L = (2 * y - 1) * (1.0 * x1[:, 0] + 2.5 * x2[:, 0])
    loss = np.logaddexp(0, -L)
    assert abs(math.log(2) - loss.mean() - problem.mutual_information()) < 4.5 * loss.std() / math.sqrt(400_000)


def test_mutual_information_laws() -> None:
    problem = TwoGaussians((1.0, 2.5))
    one, two, both = (problem.mutual_information(which) for which in (1, 2, None))
    assert max(one, two) < both < one + two and both < math.log(
        2
    )  # independent given the label: redundant, not synergic
    assert problem.mutual_information(2, shift=1.0) == pytest.approx(0, abs=1e-12)
    assert TwoGaussians((0.0, 0.0)).mutual_information() == pytest.approx(0, abs=1e-12)
    assert TwoGaussians((0.0, 40.0)).mutual_information(2) == pytest.approx(math.log(2), abs=1e-12)
    # I = s^2/8 - s^4/64 + ... for small separations
    assert TwoGaussians((0.05, 0.0)).mutual_information(1) == pytest.approx(0.05**2 / 8 - 0.05**4 / 64, rel=1e-5)


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: paint(DIGITS, palette(0), "blue"), "kind"),
        (lambda: paint(DIGITS, palette(0), KINDS[0], noise=-1), "noise"),
        (lambda: paint(DIGITS, palette(0)[:3], KINDS[0]), "colours"),
        (lambda: palette(0, "blue"), "palette"),
        (lambda: coloured_digits(0, colours="blue"), "palette"),
        (lambda: coloured_digits(0, test_share=0.0), "test_share"),
        (lambda: coloured_digits(0, validation_share=1.5), "test_share|validation_share"),
        (lambda: coloured_digits(-1), "seed"),
        (lambda: TwoGaussians((1.0,)), "separation"),  # type: ignore[arg-type]
        (lambda: TwoGaussians((1.0, -1.0)), "separation"),
        (lambda: TwoGaussians((1.0, 1.0), shift=1.1), "shift"),
        (lambda: TwoGaussians((1.0, 1.0), dimension=0), "dimension"),
        (lambda: PROBLEM.draw(0, 0), "count"),
        (lambda: PROBLEM.linear_accuracy((0, 0)), "weights"),
        (lambda: PROBLEM.linear_accuracy((1, float("nan"))), "weight"),
        (lambda: PROBLEM.bayes_accuracy(shift=2.0), "shift"),
        (lambda: PROBLEM.mutual_information(3), "modality"),
        (lambda: PROBLEM.mutual_information(1, shift=0.5), "shift"),
    ],
)
def test_bad_input(call, word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        call()


def test_images_of_several_channels_are_refused() -> None:
    colour = datasets.Dataset(np.zeros((2, 3, 4, 4), dtype=np.uint8), np.array([0, 1]), "cifar10", 255)
    with pytest.raises(InvalidInput, match="one channel"):
        paint(colour, palette(0), "class")
