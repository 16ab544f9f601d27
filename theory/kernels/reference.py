"""The slope Gram in plain torch: the oracle of the fast paths, on any device, and what runs where none of them can."""

import torch
from torch import Tensor

from theory.activations import Activation
from theory.kernels.rows import Rows


def slope_gram(
    X: Tensor,
    W: Tensor | Rows,
    weights: Tensor | float,
    activation: Activation,
    Y: Tensor | None = None,
    *,
    chunk_bytes: int = 2**26,
    precision: str = "exact",
) -> Tensor:
    """S_il = sum_j weights_j phi'(<w_j, x_i>) phi'(<w_j, y_l>), streamed over the width.

    Products are formed in the dtype of X and added up in float64, so that a million rows cost no digits. Arguments as
    for `theory.kernels.gram`, which checks them; weights (k,) or one number for all rows.

    Returns:
        (n, m) in float64, on the device of X; symmetric to rounding when Y is left out.
    """
    others = X if Y is None else Y
    gram = X.new_zeros(len(X), len(others), dtype=torch.float64)
    # about four arrays of one chunk are alive while a derivative is evaluated; and a BLAS may add up a whole chunk in
    # one chain, whose rounding errors grow with its length
    step = max(1, min(1024, chunk_bytes // (4 * X.element_size() * max(len(X), len(others)))))
    for start in range(0, len(W), step):
        units = slice(start, min(start + step, len(W)))
        rows = W.block(units.start, units.stop, X.dtype, X.device) if isinstance(W, Rows) else W[units]
        left = activation.derivative(X @ rows.T)
        right = left if Y is None else activation.derivative(Y @ rows.T)
        gram += (left * weights[units] if isinstance(weights, Tensor) else left) @ right.T
    return gram if isinstance(weights, Tensor) else gram.mul_(weights)
