"""Jacobians of networks, and second derivatives of losses, as scipy LinearOperators: matrix-free products.

Of a Jacobian also J J^T, without ever holding J whole; `theory.covariance.jacobian` and `empirical_kernel` are its
doors and check the arguments. `Hessian`, `GaussNewton` and `MixedDerivative` are doors themselves.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

from theory import arrays, checks, kernels
from theory.activations import Activation
from theory.arrays import Array
from theory.derivatives import Expansion, Flat, Tree, pulled
from theory.kernels import Precision, symmetric

_MATRIX_BYTES = 2**31


class Jacobian(LinearOperator):
    """A Jacobian (n, k d) as a scipy LinearOperator: products are matrix-free and numpy.asarray makes it explicit.

    Products take and return numpy arrays, as scipy's solvers do; `matrix` keeps the kind of the caller's X.
    """

    def __init__(self, X: Tensor, rows: int, columns: int, back: Callable[[Tensor], Array], chunk_bytes: int):
        self.X = X
        self.back = back
        self.chunk_bytes = checks.integer("chunk_bytes", chunk_bytes, minimum=1)
        super().__init__(dtype=X.new_empty(0).numpy(force=True).dtype, shape=(rows, columns))

    def matrix(self, *, limit_bytes: int = _MATRIX_BYTES) -> Array:
        """J as an explicit matrix (n, k d), in the kind of X.

        Raises:
            InvalidInput: it would take more than `limit_bytes`.
        """
        size = self.shape[0] * self.shape[1] * self.X.element_size()
        if size > limit_bytes:
            remedy = "use the products J @ x and J.T @ u, or empirical_kernel, or raise limit_bytes"
            checks.fail(f"explicit Jacobian {self.shape}", f"at most {limit_bytes:.3g} bytes", f"{size:.3g}", remedy)
        return self.back(self.explicit())

    @abstractmethod
    def explicit(self) -> Float[Tensor, "n p"]:
        """J as a tensor, however large."""

    @abstractmethod
    def kernel(self, other: Tensor | None = None, precision: Precision = "exact") -> Float[Tensor, "n m"]:
        """J J^T as a tensor, exactly symmetric; with the inputs of another batch, J times that batch's J^T.

        `precision` is that of `theory.kernels.gram`; only a two-layer network knows more than one.
        """

    @abstractmethod
    def forward_product(self, directions: Float[Tensor, "p q"]) -> Float[Tensor, "n q"]:
        """J times q directions in weight space."""

    @abstractmethod
    def adjoint_product(self, weights: Float[Tensor, "n q"]) -> Float[Tensor, "p q"]:
        """J^T times q weightings of the outputs."""

    def _matmat(self, B: np.ndarray) -> np.ndarray:
        return self.forward_product(self._tensor(B)).numpy(force=True)

    def _rmatmat(self, B: np.ndarray) -> np.ndarray:
        return self.adjoint_product(self._tensor(B)).numpy(force=True)

    def _matvec(self, x: np.ndarray) -> np.ndarray:
        return self._matmat(np.reshape(x, (-1, 1)))[:, 0]

    def _rmatvec(self, x: np.ndarray) -> np.ndarray:
        return self._rmatmat(np.reshape(x, (-1, 1)))[:, 0]

    def _tensor(self, B: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(B, dtype=self.dtype)).to(self.X.device)  # a copy: B may be read-only

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        matrix = self.matrix()
        return np.asarray(matrix.numpy(force=True) if arrays.is_tensor(matrix) else matrix, dtype=dtype)


class TwoLayerJacobian(Jacobian):
    """In closed form, streamed over the width: row i is (v * phi'(W x_i)) (x) x_i."""

    def __init__(self, X: Tensor, W: Tensor, v: Tensor, activation: Activation, back: Callable, chunk_bytes: int):
        super().__init__(X, len(X), W.numel(), back, chunk_bytes)
        self.W, self.v, self.activation = W, v, activation

    def explicit(self) -> Tensor:
        """J as a tensor, however large."""
        return (self._slopes(slice(None))[:, :, None] * self.X[:, None, :]).flatten(1)

    def kernel(self, other: Tensor | None = None, precision: Precision = "exact") -> Tensor:
        """J J^T, exactly symmetric; with another batch (m, d), J times that batch's J^T."""
        return kernels.gram(
            self.X, self.W, self.v, self.activation, other, precision=precision, chunk_bytes=self.chunk_bytes
        )

    def forward_product(self, directions: Tensor) -> Tensor:
        """J times q directions in weight space, (p, q) -> (n, q)."""
        n, q = len(self.X), directions.shape[1]
        directions = directions.reshape(*self.W.shape, q)
        product = self.X.new_zeros(n, q)
        for units in self._chunks(q):
            moved = self.X @ directions[units].transpose(0, 1).flatten(1)  # (n, units q): each <direction_j, x_i>
            product += torch.einsum("nj,njq->nq", self._slopes(units), moved.reshape(n, -1, q))
        return product

    def adjoint_product(self, weights: Tensor) -> Tensor:
        """J^T times q weightings of the outputs, (n, q) -> (p, q)."""
        q = weights.shape[1]
        product = self.X.new_empty(*self.W.shape, q)
        for units in self._chunks(q):
            weighted = self._slopes(units)[:, :, None] * weights[:, None, :]  # (n, units, q)
            product[units] = (weighted.flatten(1).T @ self.X).reshape(-1, q, self.X.shape[1]).transpose(1, 2)
        return product.flatten(0, 1)

    def _slopes(self, units: slice) -> Float[Tensor, "n units"]:
        return self.activation.derivative(self.X @ self.W[units].T) * self.v[units]

    def _chunks(self, columns: int = 1) -> Iterator[slice]:
        # about four arrays of that size are alive while a derivative is evaluated
        step = max(1, self.chunk_bytes // (4 * self.X.element_size() * len(self.X) * max(1, columns)))
        return (slice(start, start + step) for start in range(0, len(self.W), step))


class ModuleJacobian(Jacobian):
    """By torch.func: rows from per-example gradients, products by reverse mode."""

    def __init__(self, X: Tensor, module: torch.nn.Module, back: Callable, chunk_bytes: int, copy: bool):
        def read(tensor: Tensor) -> Tensor:
            tensor = tensor.detach().to(X.dtype) if tensor.is_floating_point() else tensor.detach()
            return tensor.clone() if copy else tensor

        self.module = module
        self.weights = {name: read(weight) for name, weight in module.named_parameters() if weight.requires_grad}
        frozen = {name: read(weight) for name, weight in module.named_parameters() if not weight.requires_grad}
        self.fixed = frozen | {name: read(buffer).clone() for name, buffer in module.named_buffers()}
        with torch.no_grad():
            self.outputs = self._evaluate(self.weights, X[:2]).shape[1]
        parameters = sum(weight.numel() for weight in self.weights.values())
        super().__init__(X, len(X) * self.outputs, parameters, back, chunk_bytes)

    def explicit(self) -> Tensor:
        """J as a tensor, however large."""
        return torch.cat([self._rows(self.X[examples]) for examples in self._chunks(len(self.X))])

    def kernel(self, other: Tensor | None = None, precision: Precision = "exact") -> Tensor:
        """J J^T, exactly symmetric; with another batch (m, ...), J times that batch's J^T."""
        X, Y = self.X, self.X if other is None else other
        kernel = X.new_empty(len(X) * self.outputs, len(Y) * self.outputs)
        chunks = list(self._chunks(len(Y)))
        for i, left in enumerate(self._chunks(len(X))):
            rows = self._rows(X[left])
            for right in chunks[i:] if other is None else chunks:
                block = _products(rows, rows if other is None and right == left else self._rows(Y[right]))
                kernel[self._place(left), self._place(right)] = block
                if other is None:
                    kernel[self._place(right), self._place(left)] = block.T
        return symmetric(kernel) if other is None else kernel

    def forward_product(self, directions: Tensor) -> Tensor:
        """J times q directions in weight space, (p, q) -> (n, q)."""
        # J is the adjoint of the linear map u -> J^T u: reverse mode twice, which more layers support than forward mode
        pull = torch.func.vjp(self._pull, self.X.new_zeros(self.shape[0]))[1]
        return torch.stack([pull(self._split(one))[0] for one in directions.T], dim=1)

    def adjoint_product(self, weights: Tensor) -> Tensor:
        """J^T times q weightings of the outputs, (n, q) -> (p, q)."""
        gradients = [self._pull(one).values() for one in weights.T]
        return torch.stack([torch.cat([part.flatten() for part in parts]) for parts in gradients], dim=1)

    def _pull(self, weights: Tensor) -> dict[str, Tensor]:
        return torch.func.vjp(lambda parameters: self._evaluate(parameters, self.X).flatten(), self.weights)[1](
            weights
        )[0]

    def _evaluate(self, weights: dict[str, Tensor], X: Tensor) -> Float[Tensor, "n outputs"]:
        result = torch.func.functional_call(self.module, self.fixed | weights, (X,))
        shape = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
        if not isinstance(shape, tuple) or (shape[:1] != (len(X),) and len(X) > 1):
            checks.fail("module's output", f"one row per example ({len(X)}, ...)", shape, "return a tensor of outputs")
        return result.reshape(len(X), -1)

    def _rows(self, X: Tensor) -> Tensor:
        def one(weights: dict[str, Tensor], x: Tensor) -> Tensor:
            return self._evaluate(weights, x[None])[0]

        parts = torch.func.vmap(torch.func.jacrev(one), in_dims=(None, 0))(self.weights, X)
        return torch.cat([part.flatten(0, 1).flatten(1) for part in parts.values()], dim=1)

    def _split(self, direction: Tensor) -> dict[str, Tensor]:
        sizes = [weight.numel() for weight in self.weights.values()]
        parts = zip(self.weights.items(), direction.split(sizes), strict=True)
        return {name: part.reshape(weight.shape) for (name, weight), part in parts}

    def _chunks(self, examples: int) -> Iterator[slice]:
        # two blocks of rows and the gradients they are gathered from are alive at once
        step = max(1, self.chunk_bytes // (4 * self.X.element_size() * self.outputs * self.shape[1]))
        return (slice(start, start + step) for start in range(0, examples, step))

    def _place(self, examples: slice) -> slice:
        return slice(examples.start * self.outputs, examples.stop * self.outputs)


class _Curvature(LinearOperator):
    """Products with one of the second derivatives of L(w, phi) at a point, in numpy as scipy's solvers like it."""

    def __init__(self, loss: Callable[..., Tensor], w: Tree, phi: Tree = ()) -> None:
        at = Flat("w", w)
        if phi == ():  # a loss of w alone
            self.at = Expansion(lambda w, _: loss(w), at, Flat("phi", at.vector.new_zeros(1)))
        else:
            self.at = Expansion(loss, at, Flat("phi", phi))
        super().__init__(dtype=at.vector.new_empty(0).numpy(force=True).dtype, shape=self._sizes())

    def _sizes(self) -> tuple[int, int]:
        return self.at.w.size, self.at.w.size

    def _rows(self, rows: Tensor) -> Tensor:
        return self.at.hessian(rows)

    def _adjoint_rows(self, rows: Tensor) -> Tensor:
        return self._rows(rows)

    def _matmat(self, B: np.ndarray) -> np.ndarray:
        return self._rows(self._tensor(B)).numpy(force=True).T

    def _rmatmat(self, B: np.ndarray) -> np.ndarray:
        return self._adjoint_rows(self._tensor(B)).numpy(force=True).T

    def _matvec(self, x: np.ndarray) -> np.ndarray:
        return self._matmat(np.reshape(x, (-1, 1)))[:, 0]

    def _rmatvec(self, x: np.ndarray) -> np.ndarray:
        return self._rmatmat(np.reshape(x, (-1, 1)))[:, 0]

    def _tensor(self, B: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(B.T, dtype=self.dtype)).to(self.at.gradient.device)


class Hessian(_Curvature):
    """H = d2_ww L (p, p) of a loss `L(w)`, or `L(w, phi)`, at a point; w and phi are tensors or trees of them.

    Raises:
        InvalidInput: the loss is not finite, no scalar, or does not take these shapes.

    Example:
        >>> H = Hessian(lambda w: w[0] ** 2 * w[1], torch.tensor([1.0, 2.0]))
        >>> H @ np.eye(2)
        array([[4., 2.],
               [2., 0.]], dtype=float32)
    """


class MixedDerivative(_Curvature):
    """B = d2_{w phi} L (p, m) at a point: row i is the derivative of dL/dw_i in phi.

    Raises:
        InvalidInput: as for `Hessian`.

    Example:
        >>> B = MixedDerivative(lambda w, phi: (w * phi).sum() ** 2, torch.ones(2), torch.tensor([1.0, 0.0]))
        >>> B @ np.eye(2)
        array([[4., 2.],
               [0., 2.]], dtype=float32)
    """

    def _sizes(self) -> tuple[int, int]:
        return self.at.w.size, self.at.phi.size

    def _rows(self, rows: Tensor) -> Tensor:
        return self.at.mixed(rows)

    def _adjoint_rows(self, rows: Tensor) -> Tensor:
        return self.at.mixed_adjoint(rows)


class GaussNewton(_Curvature):
    """G = J^T (d2 loss) J (p, p), J the derivative of `outputs(w)`: what stays of the Hessian of loss(outputs(w)).

    Positive semidefinite where the loss is convex in the outputs; the Hessian itself where outputs are linear in w.

    Raises:
        InvalidInput: as for `Hessian`; outputs that are no tensor.

    Example:
        >>> G = GaussNewton(lambda w: w**2, lambda f: (f - 5).square().sum() / 2, torch.tensor([1.0, 2.0]))
        >>> G @ np.eye(2)
        array([[ 4.,  0.],
               [ 0., 16.]], dtype=float32)
    """

    def __init__(self, outputs: Callable[[Any], Tensor], loss: Callable[[Tensor], Tensor], w: Tree) -> None:
        flat = Flat("w", w)
        shapes: list[torch.Size] = []

        def flattened(one: Tensor) -> Tensor:
            found: Any = outputs(flat.restore(one))
            if not isinstance(found, Tensor):
                checks.fail("outputs(w)", "a tensor", type(found).__name__, "concatenate them to one")
            shapes.append(found.shape)
            return found.reshape(-1)

        recorded: Any = torch.func.vjp(flattened, flat.vector)
        here, self.pull = recorded[0].detach(), recorded[1]
        self.push: Any = torch.func.vjp(lambda one: self.pull(one)[0], torch.zeros_like(here))[1]  # J = (J^T)^T

        def of_outputs(outputs: Any) -> Tensor:
            return loss(outputs.reshape(shapes[0]))

        super().__init__(of_outputs, here)
        self.shape = (flat.size, flat.size)

    def _rows(self, rows: Tensor) -> Tensor:
        return pulled(self.pull, self.at.hessian(pulled(self.push, rows)))


def _products(left: Tensor, right: Tensor) -> Tensor:
    """left @ right.T in blocks of columns: a BLAS may sum an entry in one chain, whose error grows with its length."""
    result = left.new_zeros(len(left), len(right))
    for one, other in zip(left.split(1024, dim=1), right.split(1024, dim=1), strict=True):
        result.addmm_(one, other.T)
    return result
