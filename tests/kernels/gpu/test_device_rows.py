"""Rows drawn by Triton: the integers of the CPU, its normals, and rows as pairs of float16 numbers."""

import numpy as np
import pytest
import torch
import triton
import triton.language as tl

from theory.kernels import gpu, gpu_rows, rows
from theory.kernels.gpu_products import kernel
from theory.kernels.rows import Rows

EDGES = sorted(
    {
        (centre + step) % 2**32
        for centre in [i * 2**29 for i in range(8)] + [2**i for i in range(32)]
        for step in (-1, 0, 1)
    }
)


@kernel
def store_words(numbers, out, key, count, BLOCK: tl.constexpr, BR: tl.constexpr):
    row = tl.arange(0, BR)
    number = tl.load(numbers + row, mask=row < count, other=0)
    a, b, c, d = gpu_rows.words(number[:, None], tl.zeros((1, 1), tl.int32) + BLOCK, key)
    where = out + row[:, None] * 4
    tl.store(where, a, mask=(row < count)[:, None])
    tl.store(where + 1, b, mask=(row < count)[:, None])
    tl.store(where + 2, c, mask=(row < count)[:, None])
    tl.store(where + 3, d, mask=(row < count)[:, None])


@kernel
def store_normals(radius, angle, cosine, sine, count, BR: tl.constexpr):
    i = tl.program_id(0) * BR + tl.arange(0, BR)
    r, s = tl.load(radius + i, mask=i < count, other=0), tl.load(angle + i, mask=i < count, other=0)
    x, y = gpu_rows.normals(r.to(tl.uint32, bitcast=True), s.to(tl.uint32, bitcast=True))
    tl.store(cosine + i, x, mask=i < count)
    tl.store(sine + i, y, mask=i < count)


@pytest.mark.parametrize("large", [False, True])
def test_integers_are_those_of_the_cpu(device, large):
    # a key on each side of the sign bit, since Triton types it by its size
    source = next(rows for seed in range(99) if ((rows := Rows(2**40, 10, seed)).key[1] >= 2**31) == large)
    low, high = source.key
    numbers = [0, 1, 7, 2**31, 2**32 - 1, 2**32, 5 * 2**32 + 7]
    for block in (0, 2):
        found = torch.zeros(len(numbers), 4, dtype=torch.int32, device=device)
        given = torch.tensor(numbers, device=device)
        gpu.launch(store_words, (1,), given, found, low + (high << 32), len(numbers), BLOCK=block, BR=8)
        for number, integers in zip(numbers, found.cpu().numpy().view(np.uint32), strict=True):
            assert (integers == source.integers(number, number + 1)[0, block]).all()


def test_normals_are_those_of_the_cpu_at_every_edge(device):
    r, s = (grid.ravel().astype(np.uint32) for grid in np.meshgrid(EDGES, EDGES, indexing="ij"))
    radius, angle = (torch.from_numpy(part.view(np.int32)).to(device) for part in (r, s))
    cosine, sine = torch.zeros(2, len(r), dtype=torch.float64, device=device)
    gpu.launch(store_normals, (triton.cdiv(len(r), 4096),), radius, angle, cosine, sine, len(r), BR=4096)
    expected = rows.normals(np.stack([r, s, r, s], axis=1))
    np.testing.assert_allclose(cosine.cpu(), expected[:, 0], rtol=0, atol=1e-14)
    np.testing.assert_allclose(sine.cpu(), expected[:, 1], rtol=0, atol=1e-14)


@pytest.mark.parametrize("dimension", [1, 6, 21])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-14), (torch.float32, 1e-6)])
def test_rows_are_those_of_the_cpu(device, dimension, dtype, tolerance):
    source = Rows(2**34, dimension, 2)
    numbers = torch.arange(2**32 - 40, 2**32 + 30, device=device)
    out = torch.full((72, dimension + 3), 9.0, dtype=dtype, device=device)  # a border that must stay as it is
    gpu_rows.draw_rows(source, numbers, out)
    expected = source._drawn(2**32 - 40, 2**32 + 30, torch.float64)
    np.testing.assert_allclose(out[:70, :dimension].cpu().double(), expected, rtol=0, atol=tolerance)
    assert (out[70:] == 9).all() and (out[:, dimension:] == 9).all()


def test_drawn_halves_add_up_to_the_float32_rows(device):
    source, numbers = Rows(1000, 6, 0), torch.arange(100, 170, device=device)
    out = torch.zeros(70, 32, dtype=torch.float16, device=device)
    gpu_rows.draw_rows(source, numbers, out)
    high, low, again = out[:, :6].double(), out[:, 6:12].double(), out[:, 12:18].double()
    assert torch.equal(high, again) and (out[:, 18:] == 0).all()
    expected = source._drawn(100, 170, torch.float64)
    error = ((high + low).cpu() / gpu_rows.NORMALS_SCALE.value - expected).abs()
    assert (error <= 2**-22 * expected.abs() + 2e-7).all()


@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("columns", [1, 7, 150])
def test_halves_keep_22_bits_of_every_scale(device, left, columns):
    generator = torch.Generator().manual_seed(columns)
    magnitudes = torch.tensor([1e-38, 1e-30, 1e-3, 1.0, 77.0, 1e20, 3e38, 0.0])
    matrix = torch.rand(8, columns, generator=generator).sub_(0.5).mul_(2) * magnitudes[:, None]
    matrix[3] *= 2.0 ** -torch.arange(columns).remainder(14)
    matrix = matrix.T.contiguous().T.to(device)
    numbers = torch.tensor([7, 6, 5, 4, 3, 2, 1, 0], device=device)
    out, units = torch.zeros(8, 3 * columns + 2, dtype=torch.float16, device=device), torch.ones(8, device=device)
    gpu_rows.halve_rows(matrix, numbers, out, units, left=left)
    parts = out[:, : 3 * columns].double().cpu().reshape(8, 3, columns)
    low, high, again = parts.unbind(1) if left else parts[:, [1, 0, 2]].unbind(1)
    assert torch.equal(high, again) and (out[:, 3 * columns :] == 0).all()
    given = matrix.cpu().double().flip(0)
    found = (high + low) * units.cpu().double()[:, None]
    assert ((found - given).abs() <= 2**-22 * given.abs() + 2**-150).all()
    assert torch.equal(torch.frexp(units.cpu())[0], torch.full((8,), 0.5))
