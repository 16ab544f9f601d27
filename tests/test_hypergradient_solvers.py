"""Solvers on rows of right-hand sides: against dense algebra, on definite, indefinite and singular matrices."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import checks
from theory.hypergradient import Diverging, IndefiniteHessian, solvers

DOUBLE = {"dtype": torch.float64}


def system(p, q, seed, indefinite=False, condition=100.0):
    generator = torch.Generator().manual_seed(seed)
    Q = torch.linalg.qr(torch.randn(p, p, generator=generator, **DOUBLE))[0]
    values = torch.logspace(0, -float(torch.log10(torch.tensor(condition))), p, **DOUBLE)
    if indefinite:
        values[::2] *= -1
    H = (Q * values) @ Q.T
    return (H + H.T) / 2, torch.randn(q, p, generator=generator, **DOUBLE)


class Counted:
    def __init__(self, H):
        self.H, self.vectors = H, 0

    def __call__(self, rows):
        self.vectors += len(rows)
        return rows @ self.H


@settings(max_examples=25)
@given(p=st.integers(1, 12), q=st.integers(1, 4), seed=st.integers(0, 10**6), indefinite=st.booleans())
def test_krylov_solvers(p, q, seed, indefinite):
    H, v = system(p, q, seed, indefinite)
    names = ("minres",) if indefinite else ("minres", "conjugate_gradients")
    for name in names:
        found = getattr(solvers, name)(Counted(H), v, 1e-10, 500)
        true = torch.linalg.vector_norm(v - found.rows @ H, dim=1)
        size = torch.linalg.vector_norm(v, dim=1)
        assert bool((true <= 2e-10 * size).all()), name
        torch.testing.assert_close(found.residuals, true, rtol=1e-2, atol=1e-11)


def test_converged_rows_cost_nothing_more():
    H = torch.diag(torch.linspace(1, 30, 30, **DOUBLE))
    v = torch.ones(3, 30, **DOUBLE)
    v[1] = torch.eye(30, **DOUBLE)[4]  # an eigenvector: one product
    v[2] = 0  # none
    for solve in (solvers.conjugate_gradients, solvers.minres):
        many, alone = Counted(H), Counted(H)
        solve(many, v, 1e-10, 100)
        solve(alone, v[:1], 1e-10, 100)
        assert many.vectors == alone.vectors + 1


def test_minres_takes_a_singular_system_it_can_solve():
    H = torch.diag(torch.tensor([1.0, -2.0, 0.0], **DOUBLE))
    found = solvers.minres(Counted(H), torch.tensor([[1.0, 1.0, 0.0]], **DOUBLE), 1e-12, 50)
    torch.testing.assert_close(found.rows, torch.tensor([[1.0, -0.5, 0.0]], **DOUBLE))
    stuck = solvers.minres(Counted(H), torch.tensor([[1.0, 1.0, 1.0]], **DOUBLE), 1e-12, 50)
    assert float(stuck.residuals) == pytest.approx(1.0)  # what no p removes


def test_negative_curvature_is_an_error_with_a_remedy():
    with pytest.raises(IndefiniteHessian, match=r"product 1.*ridge.*minres"):
        solvers.conjugate_gradients(Counted(-torch.eye(3, **DOUBLE)), torch.ones(1, 3, **DOUBLE), 1e-8, 10)
    H = torch.diag(torch.tensor([1.0, 1.0, -0.1], **DOUBLE))
    with pytest.raises(IndefiniteHessian, match="product 2"):
        solvers.conjugate_gradients(Counted(H), torch.ones(1, 3, **DOUBLE), 1e-8, 10)


def test_growing_remainders_stop():
    H = torch.diag(torch.tensor([1.0, 3.0], **DOUBLE))
    v = torch.tensor([[1.0, 0.0], [1.0, 1e-6]], **DOUBLE)
    counted = Counted(H)
    with pytest.raises(Diverging, match="2 over the largest eigenvalue"):
        solvers.neumann(counted, v, 0.9, 200)
    assert counted.vectors < 60


def test_zero_curvature_neither_shrinks_nor_grows():
    H = torch.diag(torch.tensor([1.0, 0.0], **DOUBLE))
    found = solvers.neumann(Counted(H), torch.tensor([[1.0, 1.0]], **DOUBLE), 1.0, 9)
    torch.testing.assert_close(found.rows, torch.tensor([[1.0, 10.0]], **DOUBLE))


def test_lanczos_is_within_the_spectrum_and_gets_there():
    H, start = system(40, 1, 0, condition=50)
    values = torch.linalg.eigvalsh(H)
    previous = 0.0
    for steps in (1, 2, 5, 10, 40, 60):
        least, largest = solvers.lanczos(Counted(H), start[0], steps)
        assert values[0] * (1 - 1e-12) <= least <= largest <= values[-1] * (1 + 1e-12)
        assert largest >= previous * (1 - 1e-12)
        previous = largest
    assert (least, largest) == (pytest.approx(float(values[0])), pytest.approx(float(values[-1])))


def test_lanczos_on_a_multiple_of_the_identity():
    assert solvers.lanczos(Counted(3 * torch.eye(5, **DOUBLE)), torch.ones(5, **DOUBLE), 9) == (
        pytest.approx(3),
        pytest.approx(3),
    )


def test_dense():
    H, v = system(8, 3, 0)
    found, least, largest = solvers.dense(H, v)
    torch.testing.assert_close(found.rows @ H, v)
    assert (least, largest) == (pytest.approx(0.01), pytest.approx(1.0)) and not found.message
    H, v = system(8, 3, 0, indefinite=True)
    found, least, _ = solvers.dense(H, v)
    torch.testing.assert_close(found.rows @ H, v)
    assert least < 0 and "no minimum" in found.message
    with pytest.raises(checks.InvalidInput, match="invertible"):
        solvers.dense(torch.ones(2, 2, **DOUBLE), torch.ones(1, 2, **DOUBLE))
