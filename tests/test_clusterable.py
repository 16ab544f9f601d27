"""Clusterable data: every promise is kept exactly, each check can fail, and what cannot be had is refused."""

import itertools
import math
from dataclasses import replace

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import pdist

from theory.checks import InvalidInput
from theory.clusterable import ClusterableData, generate, measure

SQUARE = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])


@pytest.fixture
def as_users_have_it(monkeypatch):
    """Shapes in signatures are checked at run time in tests only: see what a user sees."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@st.composite
def feasible_settings(draw) -> dict:
    clusters = draw(st.integers(1, 8))
    return {
        "clusters": clusters,
        "classes": draw(st.integers(1, min(4, clusters))),
        "dimension": draw(st.integers(2, 40)),
        "radius": draw(st.sampled_from([0.0, 1e-17, 1e-15, 1e-9, 0.01, 0.3, 1.0, 2.0]) | st.floats(0, 2)),
        "spread": draw(st.sampled_from(["ball", "boundary"])),
        "placement": draw(st.sampled_from(["uniform", "polygon"] + ["antipodal"] * (clusters % 2 == 0))),
        "size": draw(st.integers(3 * clusters, 60)),
        "imbalance": draw(st.floats(1, 2)),
        "seed": draw(st.integers(0, 10**6)),
    }


@settings(max_examples=200, deadline=None)
@given(feasible_settings())
def test_generated_sets_keep_every_promise(asked):
    data = generate(**asked)
    assert data.violations() == ()
    assert np.abs(np.linalg.norm(data.X, axis=1) - 1).max() <= 1e-15
    assert np.abs(np.linalg.norm(data.centres, axis=1) - 1).max() <= 1e-15
    distances = np.linalg.norm(data.X - data.centred, axis=1)
    assert np.all(distances <= asked["radius"])  # no allowance for rounding
    if asked["spread"] == "boundary":
        assert np.all(distances >= asked["radius"] - 4e-15)
    if asked["radius"] == 0:
        assert np.array_equal(data.X, data.centred)
    assert data.sizes.sum() == data.n == asked["size"]
    assert set(data.classes) == set(range(asked["classes"]))
    assert np.array_equal(data.y, data.alphas[data.classes][data.clusters])


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 6), st.integers(3, 12), st.floats(0.1, 0.9), st.integers(0, 1000))
def test_separations_asked_are_had_and_measured(clusters, dimension, separation, seed):
    plain = generate(clusters, dimension=dimension, minimum_separation=separation, seed=seed)
    assert pdist(plain.centres).min() >= separation
    assert plain.separation == pytest.approx(pdist(plain.centres).min(), rel=1e-14)
    both = generate(min(clusters, dimension), dimension=dimension, antipodal_separation=separation, seed=seed)
    signed = np.concatenate([both.centres, -both.centres])
    assert pdist(signed).min() >= separation
    assert both.antipodal_separation == pytest.approx(pdist(signed).min(), rel=1e-14)


def _moved(data: ClusterableData, **changes) -> ClusterableData:
    return replace(data, **changes)


def _with_row(array: np.ndarray, index: int, row) -> np.ndarray:
    changed = array.copy()
    changed[index] = row
    return changed


@pytest.mark.parametrize(
    ("break_it", "named"),
    [
        (lambda d: _moved(d, X=d.X * (1 + 4e-15)), "X: a row's norm"),
        (lambda d: _moved(d, centres=d.centres * (1 - 4e-15)), "centres: a row's norm"),
        (lambda d: _moved(d, X=_with_row(d.X, 0, -d.X[0])), "radius: a point lies"),
        (lambda d: _moved(d, radius=d.distances.max() * (1 - 1e-14)), "radius: a point lies"),
        (lambda d: _moved(d, radius=2.5), "radius: 2.5"),
        (lambda d: _moved(d, centres=_with_row(d.centres, 1, d.centres[0])), "centres: two"),
        (lambda d: _moved(d, alphas=d.alphas * 2), "alphas"),
        (lambda d: _moved(d, alphas=np.zeros(3)), "alphas"),
        (lambda d: _moved(d, y=_with_row(d.y, 3, 0.5)), "y: a label"),
        (lambda d: _moved(d, clusters=np.zeros_like(d.clusters)), "hold no point"),
        (lambda d: _moved(d, classes=np.zeros_like(d.classes)), "own no cluster"),
        (lambda d: _moved(d, X=d.X * np.nan), "X: a row's norm"),
    ],
)
def test_each_broken_promise_is_found(break_it, named):
    data = generate(placement="polygon", radius=0.2)
    assert data.violations() == ()
    assert any(line.startswith(named) or named in line for line in break_it(data).violations())


def test_the_papers_picture_is_one_call():
    data = generate(clusters=6, classes=3, size=30, alphas=[-1, 0.1, 1], label_separation=0.9)
    assert (data.n, len(data.centres), len(data.alphas), data.label_separation) == (30, 6, 3, 0.9)
    assert data.delta == 0.9 and data.sizes.tolist() == [5] * 6 and np.bincount(data.classes).tolist() == [2, 2, 2]
    assert "label separation" in data._repr_html_() and "points=30" in repr(data)


def test_placements():
    hexagon = generate(6, placement="polygon", radius=0.0).centres
    assert np.allclose(np.linalg.norm(hexagon - np.roll(hexagon, 1, axis=0), axis=1), 1, atol=1e-15)
    assert np.array_equal(hexagon[3:], -hexagon[:3])
    pairs = generate(6, placement="antipodal", minimum_separation=0.4).centres
    assert np.array_equal(pairs[::2], -pairs[1::2]) and pdist(pairs).min() >= 0.4
    turned = generate(angles=[0, 0.3, 1.0], dimension=4, minimum_separation=2 * math.sin(0.15)).centres
    assert np.allclose(turned[1], [math.cos(0.3), math.sin(0.3), 0, 0], atol=1e-16)
    assert np.array_equal(generate(centres=SQUARE, radius=0.0, per_cluster=1).X, SQUARE)
    assert np.array_equal(generate(centres=torch.tensor(SQUARE), radius=0.0, per_cluster=1).X, SQUARE)
    # the regular hexagon is the densest: its own separation can be asked, rounding or not
    assert generate(6, dimension=2, placement="polygon", minimum_separation=1.0).separation == pytest.approx(1)
    # the cross-polytope and the icosahedron's six lines meet the packing bounds exactly and are not refused
    cross = np.concatenate([np.eye(3), -np.eye(3)])
    assert len(generate(centres=cross, minimum_separation=math.sqrt(2)).centres) == 6
    golden = (1 + math.sqrt(5)) / 2
    ring = np.array([[0, 1, golden], [0, -1, golden]]) / math.sqrt(1 + golden**2)
    icosahedron = np.concatenate([np.roll(ring, shift, axis=1) for shift in range(3)])
    assert generate(centres=icosahedron, antipodal_separation=math.sqrt(2 - 2 / math.sqrt(5)) - 1e-15).n == 30
    with pytest.raises(InvalidInput, match="room for at most 6"):
        generate(7, dimension=3, antipodal_separation=math.sqrt(2 - 2 / math.sqrt(5)))


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({"size": 8}, [3, 3, 2]),
        ({"per_cluster": 200}, [200, 200, 200]),
        ({}, [5, 5, 5]),
        ({"sizes": [1, 7, 2]}, [1, 7, 2]),
        ({"size": 60, "imbalance": 3.0}, [10, 20, 30]),
        ({"size": 6, "imbalance": 3.0}, [1, 2, 3]),
    ],
)
def test_cluster_sizes(options, sizes):
    data = generate(3, **options)
    assert data.sizes.tolist() == sizes
    low, high = data.size_bounds
    assert low * data.n / 3 == pytest.approx(min(sizes)) and high * data.n / 3 == pytest.approx(max(sizes))


def test_overlap_is_allowed_and_said():
    assert generate(6, placement="polygon", radius=0.49).disjoint
    assert not generate(6, placement="polygon", radius=0.51).disjoint


@pytest.mark.parametrize("dimension", [2, 3, 8])
def test_ball_distances_have_the_stated_law(dimension):
    data = generate(1, dimension=dimension, radius=0.8, size=2000)
    shares = (data.distances / 0.8) ** (dimension - 1)
    assert stats.kstest(shares, "uniform").pvalue > 1e-4
    assert stats.kstest(data.distances / 0.8, "uniform").pvalue < 1e-4 or dimension == 2  # the test can fail


def test_one_seed_keeps_centres_and_directions_while_the_radius_changes():
    near, far = (generate(4, radius=radius, seed=5) for radius in (1e-3, 2e-3))
    assert np.array_equal(near.centres, far.centres)
    assert np.allclose(far.X - far.centred, 2 * (near.X - near.centred), atol=1e-5)
    assert not np.array_equal(generate(4, seed=6).centres, near.centres)
    assert np.array_equal(generate(4, radius=1e-3, seed=5).X, near.X)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 4, "label_separation": 0.7}, r"label_separation: .*for 4 classes, got 0.7; ask at most 0.66"),
        ({"alphas": [-1, 0.1, 1], "label_separation": 0.95}, "alphas: expected labels at least 0.95 apart"),
        ({"alphas": [-1, 1.5]}, r"alphas: expected distinct numbers in \[-1, 1\]"),
        ({"alphas": [0.5, 0.5]}, "alphas: expected distinct"),
        ({"alphas": [-1, 1], "classes": 3}, "classes: expected 2, as alphas say, got 3"),
        ({"alphas": [-1, math.nan]}, "alphas: expected finite"),
        ({"clusters": 2, "classes": 3}, "classes: expected an integer"),
        ({"cluster_classes": [0, 0, 2]}, "cluster_classes: expected all of 0 to 2"),
        ({"cluster_classes": [0, 0.5]}, "cluster_classes: expected an integer"),
        ({"cluster_classes": [0, 1], "classes": 1}, "cluster_classes: expected integers from 0 to 0"),
        ({"radius": -0.1}, r"radius: expected a number in \[0, 2\], got -0.1"),
        ({"radius": 2.1}, "radius"),
        ({"radius": math.nan}, "radius"),
        ({"spread": "gaussian"}, "spread: expected one of ball, boundary"),
        ({"placement": "grid"}, "placement: expected one of"),
        ({"dimension": 1}, "dimension: expected an integer >= 2"),
        ({"clusters": 0}, "clusters: expected an integer >= 1"),
        ({"clusters": 2.5}, "clusters: expected an integer"),
        ({"size": 5}, "size: expected an integer >= 6"),
        ({"size": 12, "per_cluster": 2}, "sizes: expected at most one"),
        ({"sizes": [3, 0]}, "sizes: expected an integer >= 1, got 0"),
        ({"sizes": 7}, "sizes: expected a list"),
        ({"sizes": [3, 3], "clusters": 3}, "clusters: expected 2, as sizes say, got 3"),
        ({"sizes": [3, 3], "imbalance": 2.0}, "imbalance: expected 1 beside explicit sizes"),
        ({"imbalance": 0.5}, "imbalance: expected a number >= 1"),
        ({"size": 8, "imbalance": 50.0}, "imbalance: expected a point for each of 6 clusters"),
        ({"centres": SQUARE * 1.1}, "centres: expected unit rows"),
        ({"centres": SQUARE[[0, 0, 1]]}, "centres: expected distinct, got two that coincide"),
        ({"centres": SQUARE * math.nan}, "centres: expected finite"),
        ({"centres": [[1, 0], [1]]}, "centres: expected an array of numbers"),
        ({"centres": SQUARE, "clusters": 3}, "clusters: expected 4, as centres say, got 3"),
        ({"centres": SQUARE, "dimension": 3}, "dimension: expected 2, as centres say, got 3"),
        ({"centres": SQUARE, "placement": "uniform"}, "placement: expected 'given' exactly when centres"),
        ({"centres": SQUARE, "minimum_separation": 1.42}, "minimum_separation"),
        ({"centres": SQUARE, "antipodal_separation": 0.1}, "antipodal_separation: expected at most 0"),
        ({"placement": "given"}, "placement: expected 'given' exactly when centres"),
        ({"placement": "angles"}, "placement: expected 'angles' exactly when angles"),
        ({"angles": [0, 2 * math.pi]}, "centres: expected distinct"),
        ({"placement": "antipodal", "clusters": 5}, "clusters: expected an even number"),
        ({"placement": "antipodal", "antipodal_separation": 0.1}, "antipodal_separation: expected at most 0"),
        ({"placement": "antipodal", "minimum_separation": 1.5}, "minimum_separation: expected room for 6"),
        ({"placement": "polygon", "minimum_separation": 1.1}, "minimum_separation: expected at most 1 "),
        ({"dimension": 2, "clusters": 7, "minimum_separation": 1.0}, "room for at most 6"),
        ({"dimension": 3, "clusters": 50, "minimum_separation": 0.9}, "room for 50 centres in dimension 3"),
        ({"clusters": 4, "minimum_separation": 1.7}, "room for at most 3"),
        ({"clusters": 2, "antipodal_separation": 1.5}, "room for at most 1"),
        ({"clusters": 4, "dimension": 3, "antipodal_separation": 1.2}, "room for at most 3"),
        ({"minimum_separation": -1.0}, "minimum_separation"),
        ({"dimension": 2, "minimum_separation": 0.99, "attempts": 200}, "placement: expected 6 uniform centres"),
        ({"attempts": 0}, "attempts"),
        ({"seed": -1}, "seed"),
    ],
)
def test_what_cannot_be_had_is_refused_in_one_line(options, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        generate(**options)
    assert "\n" not in str(caught.value) and "; " in str(caught.value)


def test_packing_bounds_refuse_nothing_that_exists():
    for dimension, clusters in itertools.product((2, 3, 5), (2, 3, 4, 6, 10)):
        found = generate(clusters, dimension=dimension, seed=clusters)
        again = generate(
            centres=found.centres,
            minimum_separation=found.separation,
            antipodal_separation=found.antipodal_separation,
        )
        assert np.array_equal(again.centres, found.centres)


def test_measure_sees_a_generated_set_as_it_was_made():
    made = generate(6, 2, 12, radius=0.1, minimum_separation=0.9, per_cluster=8, seed=3)
    order = np.random.default_rng(0).permutation(made.n)
    seen = measure(3.0 * made.X[order], made.y[order], clusters_per_class=3)
    assert seen.violations() == ()
    assert np.allclose(seen.X, made.X[order], atol=1e-15) and np.array_equal(seen.y, made.y[order])
    assert sorted(seen.sizes) == sorted(made.sizes) and seen.radius <= 0.2
    pairs = set(zip(seen.clusters.tolist(), made.clusters[order].tolist(), strict=True))
    assert len(pairs) == 6  # the same partition, up to names
    assert seen.radius == pytest.approx(seen.distances.max(), rel=1e-14)
    assert _moved(seen, radius=seen.radius * (1 - 1e-14)).violations()  # the radius achieved is the least


def test_digits_by_parity_are_clusterable_with_a_large_radius():
    from theory.datasets import load

    digits = load("digits")
    rough = measure(digits.X, digits.parity, 5)
    fine = measure(digits.X, digits.parity, [40, 40])
    for seen in (rough, fine):
        assert seen.violations() == () and seen.label_separation == 2 and 0 < seen.radius < 1
        report = seen.report()
        assert report["distance_median"] <= report["distance_90_percent"] <= report["distance_largest"] <= seen.radius
    assert fine.report()["distance_median"] < rough.report()["distance_median"]
    assert not rough.disjoint


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1.0, 0], [0, 0]], [-1, 1]), "X: expected rows with a direction, got 1 zero rows"),
        (([[1.0, 0], [0, math.nan]], [-1, 1]), "X: expected finite"),
        (([[1.0, 0], [0, 1]], [0, 3]), r"y: expected labels in \[-1, 1\], got up to 3"),
        (([[1.0, 0], [0, 1]], [0, 1, 1]), "y: expected shape"),
        (([[1.0, 0], [0, 1]], [0, 1], 2), "clusters_per_class for label 0: .*got 2"),
        (([[1.0, 0], [0, 1]], [0, 1], [1, 1, 1]), "clusters_per_class: expected 3"),
        (([[1.0, 0], [0, 1]], [0, 1], 0), "clusters_per_class"),
        (([[1.0, 0], [2, 0]], [-1, 1]), "centres: expected distinct"),
        (([[1.0, 0], [-1, 0], [0, 1]], [-1, -1, 1]), "clusters: expected means with a direction"),
    ],
)
def test_measure_refuses_what_has_no_clusters(arguments, message):
    with pytest.raises(InvalidInput, match=message):
        measure(*arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": np.zeros(3)}, "y: expected shape"),
        ({"clusters": np.full(30, 6)}, "clusters: expected integers from 0 to 5"),
        ({"clusters": np.zeros(30)}, "clusters: expected integers"),
        ({"classes": np.array([0, 1, 2, 3, 0, 1])}, "classes: expected integers from 0 to 2"),
        ({"centres": np.eye(6)}, "centres: expected shape"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes, message, as_users_have_it):
    with pytest.raises(InvalidInput, match=message):
        replace(generate(), **changes)
