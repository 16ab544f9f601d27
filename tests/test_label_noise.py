"""Label noise: the counts promised per cluster, what may change, and the sharp rates of recovery."""

import itertools
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from theory.checks import InvalidInput
from theory.clusterable import generate
from theory.label_noise import MODES, class_thresholds, corrupt, sharp_threshold

PICTURE = np.array([-1.0, 0.1, 1.0])


def _tied(rate: float, size: int) -> int:
    """floor(rate n + 1e-9), independently, in exact arithmetic."""
    return math.floor(Fraction(rate) * size + Fraction(1, 10**9))


hundredths = st.integers(0, 100).map(lambda percent: percent / 100)
label_sets = st.lists(st.integers(-20, 20), min_size=2, max_size=5, unique=True).map(lambda ls: np.array(ls) / 20.0)


@settings(max_examples=150)
@given(
    st.sampled_from(MODES),
    hundredths,
    label_sets,
    st.lists(st.integers(1, 30), min_size=5, max_size=8),
    st.integers(0, 10**6),
)
def test_corruption_keeps_its_promises(mode, rate, alphas, sizes, seed):
    data = generate(alphas=alphas, sizes=sizes, seed=seed)
    noisy = corrupt(data, rate, mode, seed=seed)
    assert noisy.violations() == ()
    assert np.array_equal(noisy.truth, data.y) and np.array_equal(noisy.clusters, data.clusters)
    assert np.allclose(noisy.y, noisy.truth + noisy.noise, rtol=0, atol=1e-15)
    counts = [int((noisy.y != data.y)[data.clusters == cluster].sum()) for cluster in range(len(sizes))]
    caps = [_tied(rate, size) for size in sizes]
    if mode in ("exact", "adversarial"):
        assert counts == caps
    if mode == "redraw":
        assert all(count <= cap for count, cap in zip(counts, caps, strict=True))
    assert noisy.counts.tolist() == counts
    assert noisy.realised == max(count / size for count, size in zip(counts, sizes, strict=True))
    assert np.allclose(
        noisy.mean_noise, [noisy.noise[data.clusters == c].mean() for c in range(len(sizes))], atol=1e-14
    )


def test_a_decimal_rate_means_the_decimal():
    for size, percent in itertools.product(range(1, 201), range(101)):
        labels = np.repeat([-1.0, 1.0], size)
        if size in (10, 100, 200):
            assert corrupt(labels, percent / 100).counts.tolist() == [percent * size // 100] * 2
        assert _tied(percent / 100, size) == percent * size // 100


@pytest.mark.parametrize(
    ("break_it", "named"),
    [
        (lambda c: replace(c, y=np.where(c.mask, 0.5, c.y)), "y: a label is no class's value"),
        (lambda c: replace(c, noise=-c.noise), "noise: is not"),
        (lambda c: replace(c, mask=~c.mask), "mask: does not mark"),
        (lambda c: replace(c, mask=np.ones_like(c.mask)), "exceed the rate"),
        (lambda c: replace(c, rate=c.rate - 0.01), "exceed the rate"),
        (lambda c: replace(c, rate=c.rate + 0.1), "miss the rate"),
        (lambda c: replace(c, clusters=np.arange(len(c.clusters)) % 7), "exceed the rate"),
    ],
)
def test_each_broken_promise_is_found(break_it, named):
    noisy = corrupt(generate(per_cluster=10), 0.2)
    assert noisy.violations() == ()
    assert any(named in line for line in break_it(noisy).violations())


def test_flips_do_not_obey_the_cap_and_say_so():
    data = generate(6, per_cluster=20)
    noisy = [corrupt(data, 0.2, "flip", seed=seed) for seed in range(50)]
    over = [flips for flips in noisy if not flips.obeys_cap]
    assert over and all(flips.realised > 0.2 for flips in over)
    assert all(flips.violations() == () for flips in noisy)
    changed = sum(int(flips.counts.sum()) for flips in noisy)
    assert stats.binomtest(changed, 50 * data.n, 0.2).pvalue > 1e-4
    assert stats.binomtest(changed, 50 * data.n, 0.25).pvalue < 1e-4  # the test can fail


def test_redrawing_changes_fewer_labels_than_it_draws():
    data = generate(3, alphas=PICTURE, per_cluster=2000)
    changed = int(corrupt(data, 0.3, "redraw").counts.sum())
    assert stats.binomtest(changed, 3 * 600, 2 / 3).pvalue > 1e-4
    assert stats.binomtest(changed, 3 * 600, 0.75).pvalue < 1e-4


@pytest.mark.parametrize("mode", ["exact", "flip"])
def test_replacements_are_uniform_over_the_other_classes(mode):
    noisy = corrupt(generate(4, alphas=[-1, -0.5, 0.5, 1], per_cluster=3000), 0.5, mode)
    for own in noisy.alphas:
        taken = noisy.y[noisy.mask & (noisy.truth == own)]
        observed = [np.sum(taken == other) for other in noisy.alphas if other != own]
        assert stats.chisquare(observed).pvalue > 1e-4 and len(observed) == 3


@given(st.sampled_from(MODES), hundredths, hundredths, st.integers(0, 10**6))
def test_corruption_is_nested_in_the_rate(mode, one, other, seed):
    data = generate(per_cluster=9, seed=1)
    less, more = (corrupt(data, rate, mode, seed=seed) for rate in sorted((one, other)))
    assert np.all(more.mask[less.mask]) and np.array_equal(more.y[less.mask], less.y[less.mask])
    assert np.array_equal(more.y, corrupt(data, max(one, other), mode, seed=seed).y)


def test_another_seed_corrupts_other_labels():
    data = generate(per_cluster=30)
    masks = {corrupt(data, 0.3, seed=seed).mask.tobytes() for seed in range(10)}
    assert len(masks) == 10


def test_the_pictures_sharp_rate_comes_out_of_its_labels():
    assert np.allclose(class_thresholds(PICTURE), [0.275, 0.5, 0.225], rtol=1e-15)
    assert sharp_threshold(PICTURE) == pytest.approx(0.9 / 4)  # delta / 4, as max - min = 2
    assert sharp_threshold([-1, 1]) == 0.5
    assert sharp_threshold([1.0, -1.0, 0.1]) == sharp_threshold(PICTURE)  # whatever the order
    assert class_thresholds([1.0, -1.0, 0.1]).tolist() == class_thresholds(PICTURE)[[2, 0, 1]].tolist()


@given(label_sets)
def test_the_sharp_rate_is_at_least_the_simple_one(alphas):
    gap, reach = np.diff(np.sort(alphas)).min(), np.ptp(alphas)
    assert sharp_threshold(alphas) >= gap / (2 * reach) - 1e-15 >= gap / 4 - 2e-15
    assert sharp_threshold(alphas) <= 0.5 + 1e-15


def _every_mean(alphas: np.ndarray, own: int, size: int, changed: int):
    """The mean observed label for every way to change `changed` of `size` labels of one cluster."""
    others = np.delete(alphas, own)
    for values in itertools.combinations_with_replacement(others, changed):
        yield alphas[own] + sum(value - alphas[own] for value in values) / size


def _is_lost(mean: float, alphas: np.ndarray, own: int, tolerance: float) -> bool:
    return np.delete(np.abs(mean - alphas), own).min() < abs(mean - alphas[own]) + tolerance


@settings(max_examples=80)
@given(label_sets, st.integers(1, 6), st.data())
def test_no_corruption_is_worse_than_the_adversary_and_the_rate_is_sharp(alphas, size, data):
    """Against enumeration: the adversary loses the cluster if anything does, and that is exactly beyond the rate."""
    own, changed = data.draw(st.integers(0, len(alphas) - 1)), data.draw(st.integers(0, size))
    share, threshold = changed / size, class_thresholds(alphas)[own]
    assume(abs(share - threshold) > 1e-9)  # at the threshold itself the worst mean ties
    anything = any(_is_lost(mean, alphas, own, -1e-12) for mean in _every_mean(alphas, own, size, changed))
    noisy = corrupt(np.full(size, alphas[own]), share, "adversarial", alphas=alphas)
    assert noisy.counts[own] == changed
    assert anything == (share > threshold) == (not noisy.recoverable[own])


def test_the_furthest_value_is_not_always_the_worst():
    """Labels -1, .1, .2, 1: from .1, moving down moves the mean further, moving up flips the cluster first."""
    alphas = [-1, 0.1, 0.2, 1]
    noisy = corrupt(np.full(10, 0.1), 0.1, "adversarial", alphas=alphas)
    assert noisy.y[noisy.mask].tolist() == [1.0] and not noisy.recoverable[1]
    assert abs(0.1 * (-1 - 0.1)) > abs(noisy.mean_noise[1])


def test_recovery_fails_first_just_beyond_the_sharp_rate():
    data = generate(6, alphas=PICTURE, per_cluster=1000)
    assert corrupt(data, 0.224, "adversarial").recoverable.all()
    beyond = corrupt(data, 0.226, "adversarial").recoverable
    assert np.array_equal(beyond, data.alphas[data.classes] != 1.0)
    assert not corrupt(data, 0.225, "adversarial").recoverable.all()  # at the rate, a tie: not recovered


@pytest.mark.parametrize("mode", MODES)
def test_results_have_the_kind_of_the_labels(mode):
    floats = torch.tensor([-1.0, -1.0, 0.1, 0.1], dtype=torch.float32, requires_grad=True)
    noisy = corrupt(floats, 0.5, mode, alphas=[-1, 0.1, 1])
    for values in (noisy.truth, noisy.y, noisy.noise):
        assert isinstance(values, torch.Tensor) and values.dtype == torch.float32
    assert noisy.mask.dtype == torch.bool and noisy.violations() == ()
    ids = corrupt([0, 1, 2, 2], 0.5, mode)
    assert isinstance(ids.y, np.ndarray) and ids.y.dtype == np.float64 and ids.mask.dtype == bool
    assert isinstance(class_thresholds(floats[1:3]), torch.Tensor)
    assert np.array_equal(corrupt(np.array([0, 1, 2, 2]), 0.5, mode).y, ids.y)


def test_plain_labels_make_each_class_a_cluster_unless_told():
    labels = np.array([1.0, -1.0, 1.0, -1.0, 1.0, 1.0])
    assert corrupt(labels, 0.5).counts.tolist() == [1, 2]
    assert corrupt(labels, 0.5, clusters=[0, 1, 0, 1, 2, 2]).counts.tolist() == [1, 1, 1]
    data = generate(per_cluster=7)
    plain = corrupt(data.y, 0.4, clusters=data.clusters, alphas=data.alphas)
    assert np.array_equal(plain.y, corrupt(data, 0.4).y)
    assert repr(plain).startswith("CorruptedLabels(12 of 42 labels changed, rate=0.4")


def test_nothing_changes_at_rate_zero_and_everything_at_rate_one():
    data = generate()
    for mode in MODES:
        assert not corrupt(data, 0.0, mode).mask.any()
        assert corrupt(data, 1.0, mode).mask.all() or mode == "redraw"


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([-1.0, 1.0], 1.5), {}, r"rate: expected a number in \[0, 1\], got 1.5"),
        (([-1.0, 1.0], -0.1), {}, "rate"),
        (([-1.0, 1.0], math.nan), {}, "rate"),
        (([-1.0, 1.0], 0.1, "random"), {}, "mode: expected one of exact, flip, redraw, adversarial"),
        (([1.0, 1.0], 0.1), {}, "alphas: expected at least two distinct"),
        (([1.0, 1.0], 0.1), {"alphas": [1, 1]}, "alphas: expected at least two distinct"),
        (([1.0, 0.5], 0.1), {"alphas": [-1, 1]}, "labels: expected values among the alphas"),
        (([1.0, math.nan], 0.1), {}, "finite"),
        (([[1.0, -1.0]], 0.1), {}, "labels: expected shape"),
        (([1.0, -1.0], 0.1), {"clusters": [0, 0]}, "clusters: expected labels of one class"),
        (([1.0, -1.0], 0.1), {"clusters": [0, 1, 2]}, "clusters: expected shape"),
        (([1.0, -1.0], 0.1), {"clusters": [0.5, 1]}, "clusters: expected integers"),
        (([1.0, -1.0], 0.1), {"clusters": [-1, 1]}, "clusters: expected integers"),
        (([1.0, -1.0], 0.1), {"seed": -1}, "seed"),
        ((generate(), 0.1), {"clusters": [0] * 30}, "clusters: expected none beside a ClusterableData"),
        ((generate(), 0.1), {"alphas": [-1, 1]}, "alphas: expected none beside"),
        ((generate(classes=1), 0.1), {}, "alphas: expected at least two distinct"),
    ],
)
def test_what_cannot_be_corrupted_is_refused_in_one_line(arguments, options, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        corrupt(*arguments, **options)
    assert "\n" not in str(caught.value)
    assert "; " in str(caught.value)
