"""Rows drawn on the fly: published integers, the transform against mpmath, and that only the row's number matters."""

import math

import mpmath
import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from theory import InvalidInput, seeding
from theory.kernels import compiling
from theory.kernels.rows import Rows, normals, philox

# Random123 1.14, tests/kat_vectors: philox4x32 with 10 rounds (counter, key, output)
KNOWN = (
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((2**32 - 1,) * 4, (2**32 - 1,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
)
# where a logarithm or an angle could go wrong: both ends, each side of each octant, exponents' ends, sqrt(1/2) 2^32
EDGES = sorted(
    {
        integer % 2**32
        for centre in [*(octant * 2**29 for octant in range(8)), *(2**power for power in range(32)), 3_037_000_499]
        for integer in (centre - 1, centre, centre + 1)
    }
)

needs_numba = pytest.mark.skipif(not compiling.available(), reason="no numba")


def compiled_normals(words: np.ndarray) -> np.ndarray:
    from theory.kernels import compiled_rows

    flat = words.reshape(-1, 4).T.copy()
    out = np.empty(flat.shape)
    compiled_rows._normals(flat[0], flat[1], out[0], out[1])
    compiled_rows._normals(flat[2], flat[3], out[2], out[3])
    return out.T.reshape(words.shape)


def exact_normals(radius: list[int], angle: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """rho cos and rho sin for all pairs, each factor rounded once."""
    with mpmath.workdps(40):
        rho = [float(mpmath.sqrt(-2 * mpmath.log((mpmath.mpf(r) + 0.5) / 2**32))) for r in radius]
        turns = [2 * mpmath.pi * (mpmath.mpf(r) + 0.5) / 2**32 for r in angle]
        cosine, sine = ([float(function(turn)) for turn in turns] for function in (mpmath.cos, mpmath.sin))
    return np.outer(rho, cosine), np.outer(rho, sine)


@pytest.mark.parametrize("counter, key, output", KNOWN)
def test_philox_gives_the_published_integers(counter, key, output):
    found = philox(np.array([counter, (1, 2, 3, 4)]).T, key)
    assert tuple(found[:, 0]) == output
    assert tuple(found[:, 1]) != output


@needs_numba
@pytest.mark.parametrize("counter, key, output", [known for known in KNOWN if known[0][3] == 0])
def test_compiled_philox_gives_the_published_integers(counter, key, output):
    from theory.kernels import compiled_rows

    words = [np.full(16, word, np.uint32) for word in counter]
    compiled_rows._philox(*words, np.uint64(key[0]), np.uint64(key[1]))
    assert tuple(word[5] for word in words) == output


def test_integers_come_from_the_counters_in_the_contract():
    rows = Rows(width=2**40, dimension=10, seed=3)
    sequence = seeding.numpy_generator("rows of a wide layer", 3).bit_generator.seed_seq
    seed = int(sequence.generate_state(1, np.uint64)[0])
    for first in (0, 2**32 - 1, 5 * 2**32 + 7):
        found = rows.integers(first, first + 2)
        assert found.shape == (2, 3, 4) and found.dtype == np.uint32
        for row, block in np.ndindex(2, 3):
            number = first + row
            counter = np.array([[block], [number % 2**32], [number // 2**32], [0]])
            assert (found[row, block] == philox(counter, (seed % 2**32, seed // 2**32))[:, 0]).all()


@pytest.mark.parametrize("evaluate", [normals, pytest.param(compiled_normals, marks=needs_numba)])
def test_normals_are_the_transform_to_1e14_at_every_edge(evaluate):
    radius, angle = (grid.ravel().astype(np.uint32) for grid in np.meshgrid(EDGES, EDGES, indexing="ij"))
    found = evaluate(np.stack([radius, angle, angle, radius], axis=1))
    cosine, sine = exact_normals(EDGES, EDGES)
    np.testing.assert_allclose(found[:, 0], cosine.ravel(), rtol=0, atol=1e-14)
    np.testing.assert_allclose(found[:, 1], sine.ravel(), rtol=0, atol=1e-14)
    np.testing.assert_allclose(found[:, 2].reshape(cosine.shape).T, cosine, rtol=0, atol=1e-14)
    np.testing.assert_allclose(found[:, 3].reshape(sine.shape).T, sine, rtol=0, atol=1e-14)


@pytest.mark.parametrize("compiled", [pytest.param(True, marks=needs_numba), False])
@pytest.mark.parametrize("dimension", [1, 2, 3, 4, 5, 21, 130])
def test_a_block_is_the_transform_of_its_integers(monkeypatch, compiled, dimension):
    if not compiled:
        monkeypatch.setattr(compiling, "available", lambda: False)
    rows = Rows(2**33, dimension, 7)
    first = 2**32 - 40
    words = rows.integers(first, first + 90)
    expected = normals(words).reshape(90, -1)[:, :dimension]
    exact = rows.block(first, first + 90)
    np.testing.assert_allclose(exact.numpy(), expected, rtol=0, atol=1e-14)
    single = rows.block(first, first + 90, torch.float32)
    assert single.dtype == torch.float32 and torch.equal(single, exact.float())


@given(
    st.integers(1, 40),
    st.integers(0, 2**20),
    st.integers(1, 200),
    st.integers(0, 200),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_rows_do_not_depend_on_the_block_they_are_drawn_in(dimension, start, count, cut, dtype):
    rows = Rows(2**21, dimension, 1)
    whole = rows.block(start, start + count, dtype)
    cut = min(cut, count)
    parts = [rows.block(start, start + cut, dtype), rows.block(start + cut, start + count, dtype)]
    assert torch.equal(whole, torch.cat(parts))


def test_rows_do_not_depend_on_the_number_of_threads_nor_on_the_width():
    threads = torch.get_num_threads()
    try:
        drawn = []
        for number in (1, 3):
            torch.set_num_threads(number)
            drawn.append(Rows(20_000, 20, 5).matrix())
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*drawn)
    wide = Rows(10**9, 24, 5)
    assert torch.equal(wide.block(0, 20_000)[:, :20], drawn[0])
    assert wide.block(10**9 - 3, 10**9, torch.float32).shape == (3, 24) and len(wide) == 10**9
    assert wide.block(5, 5).shape == (0, 24)


def test_entries_are_normal():
    values = Rows(100_000, 10, 0).matrix().flatten().numpy()
    for power, moment in ((1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0)):
        deviation = abs((values**power).mean() - moment)
        spread = math.sqrt((math.prod(range(1, 2 * power, 2)) - moment**2) / len(values))
        assert deviation < scipy.stats.norm.isf(1e-7) * spread
    assert scipy.stats.kstest(values, scipy.stats.norm.cdf).pvalue > 1e-6
    assert scipy.stats.kstest(values[np.abs(values) > 3], tail).pvalue > 1e-6


def tail(x: np.ndarray) -> np.ndarray:
    """The distribution function of a normal that exceeds 3 in absolute value."""
    below = np.minimum(scipy.stats.norm.cdf(x), scipy.stats.norm.cdf(-3))
    return (below + np.maximum(scipy.stats.norm.cdf(x) - scipy.stats.norm.cdf(3), 0)) / (2 * scipy.stats.norm.cdf(-3))


def test_entries_rows_and_seeds_are_independent():
    first, second = Rows(50_000, 9, 1).matrix().numpy(), Rows(50_000, 9, 2).matrix().numpy()
    neighbours = np.hstack([first[:-1], first[1:], second[1:]])
    for values in (neighbours, neighbours**2, np.sign(neighbours), np.abs(neighbours) * np.roll(neighbours, 1, axis=1)):
        correlation = np.corrcoef(values.T) - np.eye(27)
        # of 351 correlations none beyond what one in a billion would reach, and no more of them than chance makes
        assert np.abs(correlation).max() < scipy.stats.norm.isf(1e-9) / math.sqrt(len(values))
    total = (np.triu(np.corrcoef(neighbours.T), 1) ** 2).sum() * len(neighbours)
    assert 1e-6 < scipy.stats.chi2.sf(total, 351) < 1 - 1e-6
    # a pair shares its radius: its direction is uniform
    turns = np.arctan2(first[:, 1], first[:, 0]) / (2 * math.pi) + 0.5
    assert scipy.stats.kstest(turns, "uniform").pvalue > 1e-6


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: Rows(0, 3, 0), "width: expected an integer"),
        (lambda: Rows(2.5, 3, 0), "width: expected an integer"),
        (lambda: Rows(3, 0, 0), "dimension: expected an integer"),
        (lambda: Rows(3, 3, -1), "seed: expected an integer"),
        (lambda: Rows(3, 3, 0).block(0, 4), "stop: expected an integer"),
        (lambda: Rows(3, 3, 0).block(2, 1), "stop: expected an integer"),
        (lambda: Rows(3, 3, 0).block(-1, 1), "start: expected an integer"),
        (lambda: Rows(3, 3, 0).integers(0, 4), "stop: expected an integer"),
        (lambda: Rows(3, 3, 0).block(0, 1, torch.float16), "dtype: expected torch.float32 or torch.float64"),
    ],
)
def test_bad_calls_say_what_is_wrong(call, message):
    with pytest.raises(InvalidInput, match=message):
        call()
