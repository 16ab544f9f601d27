"""Distances and weights against exact rational arithmetic, their bounds at the public door, what is refused."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from theory import outlier
from theory.checks import InvalidInput
from theory.importance import effective_share
from theory.outlier import mahalanobis, measure, temperature_for, weights
from theory.papers.wang2021.distances import exact_distances


def views(images=20, per_image=5, dimension=4, seed=0):
    return np.random.default_rng(seed).normal(size=(images, per_image, dimension))


def by_definition(z, centre, ridge=0.0):
    """delta^T Sigma^+ delta, image by image, with numpy's pseudo-inverse of Sigma itself."""
    N, M, d = z.shape
    Sigma = np.zeros((d, d))
    deltas = []
    for image in z:
        mu = image.mean(axis=0) if centre == "all" else image[:2].mean(axis=0)
        deltas.append(image - mu)
        Sigma += sum(np.outer(delta, delta) for delta in image - mu) / (N * M)
    inverse = np.linalg.inv(Sigma + ridge * np.eye(d)) if ridge else np.linalg.pinv(Sigma, hermitian=True, rcond=1e-12)
    return np.array([[delta @ inverse @ delta for delta in image] for image in deltas])


@given(
    seed=st.integers(0, 10**6),
    images=st.integers(2, 6),
    per_image=st.integers(3, 6),
    dimension=st.integers(1, 7),
    centre=st.sampled_from(outlier.CENTRES),
)
def test_distances_are_their_definition(seed, images, per_image, dimension, centre):
    z = views(images, per_image, dimension, seed) + 3 * np.random.default_rng(seed).normal(size=(images, 1, dimension))
    found = measure(z, centre=centre).values.numpy()
    assert found == pytest.approx(by_definition(z, centre), rel=1e-8, abs=1e-8)
    ridged = measure(z, centre=centre, ridge=0.1).values.numpy()
    assert ridged == pytest.approx(by_definition(z, centre, 0.1), rel=1e-8, abs=1e-8)


@given(seed=st.integers(0, 10**6), centre=st.sampled_from(outlier.CENTRES), singular=st.booleans())
def test_distances_are_exact_to_1e_8_whatever_the_rank(seed, centre, singular):
    z = np.random.default_rng(seed).integers(-9, 10, size=(3, 4, 4))
    if singular:
        z[..., 3] = 2 * z[..., 0] - z[..., 1]
    exact, rank = exact_distances(z, centre)
    found = measure(z, centre=centre)
    assert found.values.numpy() == pytest.approx(exact.astype(float), rel=1e-8, abs=1e-8)
    assert int(found.rank) == rank


def test_a_wrong_cut_is_seen():
    """Without the cut, a direction that holds nothing but rounding counts as much as any other."""
    z = views()
    z[..., 3] = z[..., 0] / 3 + z[..., 1] / 7
    assert int(measure(z).rank) == 3
    assert int(measure(z, cut=0.0).rank) == 4
    assert int(measure(z, cut=10.0).rank) == 0


def test_rounding_of_float32_views_is_not_a_direction():
    z = views()
    z[..., 3] = z[..., 0] / 3 + z[..., 1] / 7
    single = torch.from_numpy(z).float()
    assert int(measure(single).rank) == 3
    assert int(measure(single.double()).rank) == 4  # a caller who hides where the digits end gets them back as data
    assert measure(single).values.numpy() == pytest.approx(measure(z).values.numpy(), rel=1e-4, abs=1e-4)


def test_an_outlier_gets_the_smallest_weight_and_no_hard_zero():
    z = views(images=100)
    z[3, 2] += 8
    for centre in outlier.CENTRES:
        w = weights(z, centre=centre)
        assert divmod(int(w.argmin()), 5) == (3, 2) and w.min() > 0 and w.max() <= 1


@pytest.mark.parametrize("centre", outlier.CENTRES)
def test_the_global_views_tie_when_they_are_the_centre(centre):
    d2 = mahalanobis(views(seed=3), centre=centre)
    assert np.allclose(d2[:, 0], d2[:, 1], rtol=1e-12, atol=0) == (centre == "global")


def test_normalisations():
    z = views()
    plain, batch, image = (weights(z, 2.0, normalise=name) for name in outlier.NORMALISATIONS)
    assert plain == pytest.approx(np.exp(-mahalanobis(z) / 2))
    assert batch == pytest.approx(plain / plain.mean())
    assert image == pytest.approx(plain / plain.mean(axis=1, keepdims=True))


def test_normalised_weights_survive_a_tiny_temperature():
    w = weights(views(), 1e-4, normalise="batch")
    assert np.isfinite(w).all() and w.mean() == pytest.approx(1)


@pytest.mark.parametrize("normalise", outlier.NORMALISATIONS)
def test_weights_at_the_ends_of_float64(normalise):
    z = views()
    nearest = weights(z, 1e-320, normalise=normalise)
    expected = {"none": 0, "batch": 1, "image": 20}[normalise]  # with a weight: the nearest of all, of each image
    assert np.isfinite(nearest).all() and np.count_nonzero(nearest) == expected
    assert (weights(z, 1e300, normalise=normalise) == 1).all()


@pytest.mark.parametrize("scale", [1e-290, 1e-200, 1e-100, 1e160, 1e300])
@pytest.mark.parametrize("centre", outlier.CENTRES)
def test_the_scale_of_the_views_is_invisible(scale, centre):
    z = views()
    z[..., 3] = z[..., 0] / 3 + z[..., 1] / 7  # singular: the cut moves with the scale
    assert mahalanobis(z * scale, centre=centre) == pytest.approx(mahalanobis(z, centre=centre), rel=1e-9)


def test_ridge_and_eigenvalues_have_the_units_of_the_views():
    z = views()
    one, thousand = measure(z, ridge=0.1), measure(1000 * z, ridge=1e5)
    assert torch.allclose(one.values, thousand.values, rtol=1e-12)
    assert torch.allclose(thousand.eigenvalues, 1e6 * one.eigenvalues, rtol=1e-12)
    delta = outlier.deviations(torch.from_numpy(z)).reshape(-1, 4)
    assert torch.allclose(one.eigenvalues.flip(0), torch.linalg.eigvalsh(delta.T @ delta / 100), rtol=1e-12)


@pytest.mark.parametrize("normalise", outlier.NORMALISATIONS)
def test_single_precision_views_are_rounded_once(normalise):
    """Far outliers have d2 in the hundreds: rounding them before the exponential would cost their weights digits."""
    z = views(images=200).astype(np.float32)
    z[3, 2] += 50
    single, double = (weights(one, 2.0, normalise=normalise, cut=1e-6) for one in (z, z.astype(np.float64)))
    assert single.dtype == np.float32 and np.array_equal(single, double.astype(np.float32))


def test_released_weights():
    """NM softmax(-delta^T (Sigma + 1e-8 I)^(-1) delta/tau) about the mean of the two global views."""
    z = torch.nn.functional.normalize(torch.from_numpy(views(30, 8, 16)), dim=-1)
    logits = -torch.from_numpy(by_definition(z.numpy(), "global", 1e-8)) / 350
    released = logits.flatten().softmax(0).reshape(logits.shape) * logits.numel()
    ours = weights(z, 350.0, centre="global", normalise="batch", ridge=1e-8)
    assert torch.allclose(ours, released, rtol=1e-10)


def test_the_released_temperature_is_nearly_uniform():
    z = np.random.default_rng(0).normal(size=(2000, 8, 128))
    shares = {tau: effective_share(weights(z, tau)) for tau in (350.0, 128.0, None)}
    assert shares[350.0] == pytest.approx(0.998, abs=5e-4)
    assert shares[128.0] == pytest.approx(0.985, abs=2e-3)
    assert shares[None] == pytest.approx(0.8, abs=0.01)  # the default


def test_default_temperature_uses_the_rank():
    z = views(200, 6, 3)
    wide = np.concatenate([z, z @ np.ones((3, 5))], axis=2)
    assert weights(wide) == pytest.approx(weights(z))
    assert weights(z, share=0.5) == pytest.approx(weights(z, temperature_for(0.5, 3)))


@given(share=st.floats(0.01, 0.999), dimension=st.integers(1, 500))
def test_temperature_inverts_the_share(share, dimension):
    tau = temperature_for(share, dimension)
    back = ((1 + 4 / tau) / (1 + 2 / tau) ** 2) ** (dimension / 2)
    assert back == pytest.approx(share, rel=1e-9)


@pytest.mark.parametrize("kind", [np.float32, np.float64, torch.float32, torch.float64])
def test_results_have_the_kind_of_the_views(kind):
    z = views().astype(kind) if kind in (np.float32, np.float64) else torch.from_numpy(views()).to(kind)
    for result in (mahalanobis(z), weights(z), weights(z, normalise="image")):
        assert type(result) is type(z) and result.dtype == z.dtype


def test_no_gradient_flows_through_weights():
    z = torch.from_numpy(views()).requires_grad_()
    assert not weights(z).requires_grad


def test_batches_are_measured_one_by_one():
    z = np.stack([views(seed=seed) for seed in range(3)])
    together = measure(z)
    for number, one in enumerate(z):
        assert torch.allclose(together.values[number], measure(one).values, rtol=1e-12)
    assert together.rank.tolist() == [4, 4, 4] and together.saturation == 80


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mahalanobis(views(per_image=2)), "two views always tie"),
        (lambda: mahalanobis(views(per_image=2), centre="global"), "two views always tie"),
        (lambda: mahalanobis(views(per_image=1)), "at least 3 views"),
        (lambda: mahalanobis(views()[0]), "images, views, dimension"),
        (lambda: mahalanobis(np.zeros((0, 3, 2))), "images, views, dimension"),
        (lambda: mahalanobis(views(4, 3, 8)), r"N\(M-1\) = 8.*every distance is then a constant"),
        (lambda: mahalanobis(views(4, 3, 80), centre="global"), "constant"),
        (lambda: mahalanobis(np.ones((4, 3, 2))), "collapsed"),
        (lambda: mahalanobis(np.full((4, 3, 2), np.nan)), "NaN"),
        (lambda: mahalanobis(views(), centre="mean"), "all, global"),
        (lambda: mahalanobis(views(), ridge=-1), "ridge"),
        (lambda: mahalanobis(views(), cut=-1), "cut"),
        (lambda: mahalanobis([["a"]]), "real numbers"),
        (lambda: weights(views(), 0.0), "temperature"),
        (lambda: weights(views(), -1.0), "temperature"),
        (lambda: weights(views(), float("nan")), "temperature"),
        (lambda: weights(views(), float("inf")), "temperature"),
        (lambda: weights(views(), share=1.0), "share"),
        (lambda: weights(views(), normalise="view"), "none, batch, image"),
        (lambda: temperature_for(0.8, 0), "dimension"),
        (lambda: temperature_for(0.0, 3), "share"),
        (lambda: measure(views(per_image=1)), "two views"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InvalidInput, match=message):
        call()


def test_rank_below_the_dimension_is_harmless_without_saturation():
    z = views(4, 3, 8)
    z[..., 3:] = 0
    assert mahalanobis(z).mean() == pytest.approx(3)
    assert np.ptp(mahalanobis(z)) > 0.1
