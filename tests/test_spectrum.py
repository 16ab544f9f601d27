"""Spectra: against numpy's own on explicit matrices, and the rules that projections and angles obey."""

import math

import numpy as np
import pytest
import scipy.sparse.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import activations, covariance, spectrum
from theory.checks import InvalidInput
from theory.networks import TwoLayer

SEEDS = st.integers(0, 10**6)
SIZES = st.integers(1, 7)


def matrix(seed: int, rows: int, columns: int, rank: int | None = None) -> np.ndarray:
    generator = np.random.default_rng(seed)
    if rank is None:
        return generator.standard_normal((rows, columns))
    return generator.standard_normal((rows, rank)) @ generator.standard_normal((rank, columns))


def clustered(seed: int, clusters: int, sizes: tuple[int, ...], dimension: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs exactly on their centres, in shuffled order, and the cluster of each."""
    generator = np.random.default_rng(seed)
    centres = matrix(seed, clusters, dimension)
    labels = generator.permutation(np.repeat(np.arange(clusters), sizes[:clusters]))
    return (centres / np.linalg.norm(centres, axis=1, keepdims=True))[labels], labels


@given(seed=SEEDS, rows=SIZES, columns=SIZES)
def test_singular_values_and_operator_norm(seed, rows, columns):
    A = matrix(seed, rows, columns)
    exact = np.linalg.svd(A, compute_uv=False)
    assert spectrum.singular_values(A) == pytest.approx(exact, rel=1e-12, abs=1e-13)
    assert spectrum.operator_norm(A) == pytest.approx(exact[0], rel=1e-12)
    assert spectrum.operator_norm(scipy.sparse.linalg.aslinearoperator(A)) == pytest.approx(exact[0], rel=1e-9)


def test_small_singular_values_keep_their_digits():
    A = np.linalg.qr(matrix(1, 2, 2))[0] * [1.0, 1e-10] @ np.linalg.qr(matrix(0, 50, 2))[0].T
    assert spectrum.singular_values(A)[1] == pytest.approx(1e-10, rel=1e-4)
    squared = np.sqrt(max(0, np.linalg.eigvalsh(A @ A.T)[0]))
    assert squared != pytest.approx(1e-10, rel=1e-4)  # what the Gram matrix would have given


def test_operator_norm_at_the_edges():
    assert spectrum.operator_norm(scipy.sparse.linalg.aslinearoperator(np.zeros((3, 4)))) == 0.0
    assert spectrum.operator_norm(np.zeros((3, 4))) == 0.0
    network = TwoLayer.initialise(40, 3, "gelu")
    X = matrix(0, 6, 3)
    J = covariance.jacobian(X, network)
    assert spectrum.operator_norm(J) == pytest.approx(np.linalg.norm(J.matrix(), 2), rel=1e-10)
    assert spectrum.operator_norm(X, network) == spectrum.operator_norm(J)


@given(seed=SEEDS, size=SIZES)
def test_condition_number(seed, size):
    K = matrix(seed, size, size + 3)
    K = K @ K.T
    values = np.linalg.eigvalsh(K)
    assert spectrum.condition_number(K) == pytest.approx(values[-1] / values[0], rel=1e-9)
    assert spectrum.condition_number(3 * K) == pytest.approx(spectrum.condition_number(K), rel=1e-9)


def test_singular_matrices_have_infinite_condition():
    rank_one = np.outer([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert spectrum.condition_number(rank_one) == math.inf
    assert spectrum.condition_number(np.zeros((2, 2))) == math.inf
    assert spectrum.condition_number(np.diag([1.0, 1e-14])) == pytest.approx(1e14)


def test_paper_condition():
    C = np.eye(4)[:3]
    least = 3 / (3 * 0.5)  # orthonormal centres: Sigma = I/2 under ReLU
    assert spectrum.paper_condition(C, "relu") == pytest.approx(math.sqrt(4 / 3) * least)
    assert spectrum.paper_condition([[1.0, 0.0], [-1.0, 0.0]], "erf") == math.inf
    close = [[1.0, 0.0], [math.cos(0.01), math.sin(0.01)]]
    assert 100 < spectrum.paper_condition(close, "erf") < math.inf


@given(seed=SEEDS, rows=SIZES, columns=SIZES, data=st.data())
def test_split_is_an_orthonormal_basis_cut_in_two(seed, rows, columns, data):
    A, rank = matrix(seed, rows, columns), data.draw(st.integers(0, rows))
    parts = spectrum.split(A, rank=rank)
    whole = np.hstack([parts.information, parts.nuisance])
    assert parts.information.shape == (rows, rank) and whole.shape == (rows, rows)
    assert np.allclose(whole.T @ whole, np.eye(rows), atol=1e-13)
    assert np.allclose(np.diag(whole.T @ A @ A.T @ whole), parts.values**2, atol=1e-11)
    assert np.allclose(parts.information.T @ A @ A.T @ parts.nuisance, 0, atol=1e-11)
    information, nuisance = parts.energy(A[:, 0])
    assert information + nuisance == pytest.approx(A[:, 0] @ A[:, 0], rel=1e-12)


@pytest.mark.parametrize("columns", [3, 8, 40])
def test_split_finds_the_largest_gap(columns):
    left, right = np.linalg.qr(matrix(0, 8, 8))[0], np.linalg.qr(matrix(1, columns, min(8, columns)))[0]
    values = np.array([90.0, 3.0, 2.0, 0.04, 0.03, 0.02, 0.01, 0.01])[: min(8, columns)]
    A = left[:, : len(values)] * values @ right.T
    parts = spectrum.split(A)
    assert parts.rank == 3  # by ratio; the largest difference is after the first
    assert spectrum.principal_angles(parts.information, left[:, :3]) == pytest.approx(np.zeros(3), abs=1e-12)
    assert parts.values[: len(values)] == pytest.approx(values)
    assert spectrum.split(A, cut=2.5).rank == 2 and spectrum.split(A, cut=100).rank == 0
    if columns == 40:
        kernel = spectrum.split(A @ A.T)
        assert kernel.values == pytest.approx(values**2)
        assert spectrum.principal_angles(kernel.information, parts.information) == pytest.approx(np.zeros(3), abs=1e-7)


def test_rounding_is_no_gap():
    assert spectrum.split(matrix(3, 9, 30, rank=4)).rank == 4
    assert spectrum.split(np.diag([1.0, 0.5, 0.25, 1e-17, 1e-40])).rank == 3
    assert spectrum.split(np.diag([1.0, 0.9, 0.1, 0.09])).rank == 2
    assert spectrum.split([[2.0]]).rank == 1


@settings(max_examples=40)
@given(seed=SEEDS, name=st.sampled_from(activations.names()), clusters=st.integers(1, 4))
def test_perfect_clusters_put_the_information_in_the_support(seed, name, clusters):
    X, labels = clustered(seed, clusters, (2, 3, 1, 4), 5)
    J = covariance.jacobian(X, TwoLayer.initialise(64, 5, name, seed=seed))
    parts = spectrum.split(J, rank=clusters)
    assert parts.values[clusters:] == pytest.approx(np.zeros(len(X) - clusters), abs=1e-13)
    assert np.abs(spectrum.nuisance_projection(J.matrix(), labels)).max() < 1e-14
    if parts.values[clusters - 1] > 1e-3:
        angles = spectrum.principal_angles(parts.information, spectrum.support_basis(labels))
        assert angles.max() < 1e-10
    moved = X + 0.1 * matrix(seed + 1, len(X), 5)
    outside = covariance.jacobian(moved, TwoLayer.initialise(64, 5, name, seed=seed)).matrix()
    assert len(X) == clusters or np.abs(spectrum.nuisance_projection(outside, labels)).max() > 1e-6


@given(seed=SEEDS, clusters=st.integers(1, 4), columns=st.sampled_from([None, 1, 3]))
def test_projections_are_those_of_the_dense_projector(seed, clusters, columns):
    labels = np.random.default_rng(seed).integers(0, clusters, 9) * 5 - 7  # any integers will do
    r = matrix(seed, 9, columns or 1) if columns else matrix(seed, 9, 1)[:, 0]
    basis = spectrum.support_basis(labels)
    projector = basis @ basis.T
    support, nuisance = spectrum.support_projection(r, labels), spectrum.nuisance_projection(r, labels)
    assert np.allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-15)
    assert support.shape == nuisance.shape == r.shape
    assert np.allclose(support, projector @ r, atol=1e-14)
    assert np.allclose(support + nuisance, r, atol=1e-15)
    assert np.allclose(spectrum.support_projection(support, labels), support, atol=1e-15)
    assert np.allclose(spectrum.support_projection(nuisance, labels), 0, atol=1e-15)
    assert np.linalg.norm(support) ** 2 + np.linalg.norm(nuisance) ** 2 == pytest.approx(np.linalg.norm(r) ** 2)


@pytest.mark.parametrize("angle", [1e-9, 1e-4, 1.0, math.pi / 2 - 1e-9, math.pi / 2])
def test_principal_angles(angle):
    U = np.eye(4)[:, :2]
    V = np.column_stack([U[:, 0], math.cos(angle) * U[:, 1] + math.sin(angle) * np.eye(4)[:, 2]])
    mixed = V @ np.array([[2.0, 1.0], [1.0, -3.0]])  # any basis of the same space
    assert spectrum.principal_angles(U, mixed) == pytest.approx([angle, 0], rel=1e-6, abs=1e-14)
    assert spectrum.principal_angles(mixed, np.hstack([U, U])) == pytest.approx([angle, 0], rel=1e-6, abs=1e-14)
    assert math.pi / 2 - spectrum.principal_angles(U, mixed)[0] == pytest.approx(math.pi / 2 - angle, abs=1e-15)
    assert spectrum.principal_angles(U, mixed[:, :1]).shape == (1,)


def test_own_module_and_a_batch():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()
    X = matrix(0, 3, 3)
    J = covariance.jacobian(X, network).matrix()
    assert spectrum.singular_values(X, network) == pytest.approx(np.linalg.svd(J, compute_uv=False))
    assert spectrum.condition_number(X, network) == pytest.approx(np.linalg.cond(J) ** 2, rel=1e-6)
    assert spectrum.split(X, network, rank=2).information.shape == (6, 2)


def test_kinds_and_dtypes():
    J, labels = matrix(0, 4, 6), [0, 0, 1, 1]
    single = torch.from_numpy(J).float()
    assert spectrum.singular_values(single).dtype == torch.float32
    assert spectrum.split(single).nuisance.dtype == torch.float32
    assert spectrum.support_projection(single, labels).dtype == torch.float32
    assert spectrum.principal_angles(single[:, :1], single[:, 1:2]).dtype == torch.float32
    assert spectrum.support_basis(torch.tensor(labels)).dtype == torch.float64
    assert isinstance(spectrum.support_projection([1, 2, 3, 4], labels), np.ndarray)
    assert spectrum.nuisance_projection(J[:, 0].astype(np.float32), labels).dtype == np.float32
    network = TwoLayer.initialise(4, 6)
    assert isinstance(spectrum.singular_values(covariance.jacobian(single, network)), torch.Tensor)
    assert isinstance(spectrum.operator_norm(single), float)
    needs_grad = torch.from_numpy(J @ J.T).requires_grad_()
    assert isinstance(spectrum.condition_number(needs_grad), float)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spectrum.singular_values([1.0, 2.0]), "J: expected shape"),
        (lambda: spectrum.singular_values([[1.0, math.nan]]), "J: expected finite entries"),
        (lambda: spectrum.singular_values(np.ones((0, 3))), "J: expected shape"),
        (lambda: spectrum.condition_number([[1.0, 2.0]]), "K: expected shape"),
        (lambda: spectrum.condition_number([1.0]), "K: expected shape"),
        (lambda: spectrum.condition_number([[1.0, 2.0], [0.0, 1.0]]), "K: expected a symmetric matrix"),
        (lambda: spectrum.condition_number([[1.0, 0.0], [0.0, -1.0]]), "K: expected no negative eigenvalue, got -1"),
        (lambda: spectrum.paper_condition([[1.0, 0.0]], "swish"), "softplus, erf, tanh, gelu, relu"),
        (lambda: spectrum.split(np.eye(2), cut=1.0, rank=1), "split: expected cut or rank, got both"),
        (lambda: spectrum.split(np.eye(2), rank=3), "rank: expected an integer in"),
        (lambda: spectrum.split(np.eye(2), cut=-1.0), "cut: expected a number"),
        (lambda: spectrum.split(np.zeros((2, 2))), "split: expected a nonzero matrix"),
        (lambda: spectrum.split(np.eye(2), rank=1).energy([1.0]), "residual: expected shape"),
        (lambda: spectrum.support_projection([1.0, 2.0], [0]), "r: expected shape"),
        (lambda: spectrum.support_projection(np.ones((2, 2, 2)), [0, 0]), "r: expected shape"),
        (lambda: spectrum.nuisance_projection([1.0, math.nan], [0, 0]), "r: expected finite entries"),
        (lambda: spectrum.nuisance_projection([1.0, 2.0], [0.5, 0.0]), "clusters: expected whole numbers"),
        (lambda: spectrum.support_basis([]), "clusters: expected shape"),
        (lambda: spectrum.principal_angles(np.eye(2), np.eye(3)), "V: expected shape"),
        (lambda: spectrum.principal_angles(np.zeros((2, 2)), np.eye(2)), "U: expected a nonzero matrix"),
        (lambda: spectrum.principal_angles(np.eye(2), np.ones((2, 0))), "V: expected shape"),
    ],
)
def test_bad_calls_are_refused_in_one_line(call, message):
    with pytest.raises(InvalidInput, match=message) as refusal:
        call()
    assert "\n" not in str(refusal.value) and "; " in str(refusal.value)
