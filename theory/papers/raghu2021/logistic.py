"""Weighted logistic regression with a ridge: L_T = (1/n) sum phi_i log(1 + exp(-y_i x_i'w)) + r/2 ||w||^2, explicitly.

What H7 needs of it in closed form: derivatives, w* by Newton's method, and the Lipschitz constants of the example
weights' hypergradient. Derived; proofs in paper_notes/raghu2021.md#h7.
"""

from dataclasses import dataclass

import numpy as np

from theory import checks


@dataclass(frozen=True, eq=False)
class Logistic:
    """A training set, a validation set, weights of the examples.

    Attributes:
        X: (n, p).
        y: signs (n,).
        V: validation inputs (m, p).
        z: their signs (m,).
        phi: weights >= 0, (n,).
        ridge: r > 0.

    Raises:
        InvalidInput: wrong shapes, NaN, labels other than signs, negative weights, a ridge that is not positive.
    """

    X: np.ndarray
    y: np.ndarray
    V: np.ndarray
    z: np.ndarray
    phi: np.ndarray
    ridge: float

    def __post_init__(self) -> None:
        checks.matrix("X", self.X)
        checks.matrix("V", self.V, columns=self.X.shape[1])
        for name, vector, length in (("y", self.y, len(self.X)), ("z", self.z, len(self.V))):
            checks.vector(name, vector, length=length)
            if not np.isin(vector, (-1, 1)).all():
                checks.fail(name, "labels -1 and +1", np.unique(vector), "code the classes as signs")
        checks.vector("phi", self.phi, length=len(self.X))
        checks.finite("phi", self.phi)
        if self.phi.min() < 0:
            checks.fail("phi", "weights >= 0", self.phi.min(), "a negative weight makes L_T lose convexity")
        checks.number("ridge", self.ridge, 0, open_low=True)

    def chances(self, w: np.ndarray) -> np.ndarray:
        """sigmoid(-y_i x_i'w), (n,)."""
        return _sigmoid(-self.y * (self.X @ w))

    def gradient(self, w: np.ndarray) -> np.ndarray:
        """grad_w L_T, (p,)."""
        pull: np.ndarray = -self.X.T @ (self.phi * self.y * self.chances(w)) / len(self.X) + self.ridge * w
        return pull

    def hessian(self, w: np.ndarray) -> np.ndarray:
        """H, (p, p)."""
        s = self.chances(w)
        curved: np.ndarray = (self.X.T * (self.phi * s * (1 - s))) @ self.X / len(self.X)
        return curved + self.ridge * np.eye(len(w))

    def least(self, w: np.ndarray, other: np.ndarray) -> float:
        """A lower bound of H's eigenvalues all the way from w to `other`.

        An example's curvature s(1 - s) rises and then falls with its margin, so on a segment it is least at an end.
        """
        ends = [s * (1 - s) for s in (self.chances(w), self.chances(other))]
        curved = (self.X.T * (self.phi * np.minimum(*ends))) @ self.X / len(self.X)
        return self.ridge + max(0.0, float(np.linalg.eigvalsh(curved)[0]))

    def mixed(self, w: np.ndarray) -> np.ndarray:
        """M = d2_{w phi} L_T, (p, n)."""
        found: np.ndarray = -self.X.T * (self.y * self.chances(w)) / len(self.X)
        return found

    def outer_gradient(self, w: np.ndarray) -> np.ndarray:
        """grad_w L_V, L_V the mean logistic loss on the validation set, (p,)."""
        found: np.ndarray = -self.V.T @ (self.z * _sigmoid(-self.z * (self.V @ w))) / len(self.V)
        return found

    def hypergradient(self, w: np.ndarray) -> np.ndarray:
        """g(w) = -M^T H^{-1} grad L_V, (n,)."""
        found: np.ndarray = -self.mixed(w).T @ np.linalg.solve(self.hessian(w), self.outer_gradient(w))
        return found

    def minimum(self) -> np.ndarray:
        """w*, by damped Newton steps until the gradient stops falling."""
        w = np.zeros(self.X.shape[1])
        norm = float(np.linalg.norm(self.gradient(w)))
        for _ in range(100):
            step, length = np.linalg.solve(self.hessian(w), self.gradient(w)), 1.0
            while length > 1e-6 and np.linalg.norm(self.gradient(w - length * step)) >= norm:
                length /= 2
            if length <= 1e-6:
                break
            w = w - length * step
            norm = float(np.linalg.norm(self.gradient(w)))
        return w

    def constants(self) -> dict[str, float]:
        """mu, m, rho_wphi, rho_ww and l_ww of H7, valid everywhere; the direct part is 0."""
        n = len(self.X)
        norm, longest = float(np.linalg.norm(self.X, 2)), float(np.linalg.norm(self.X, axis=1).max())
        weighted = float(np.linalg.norm(self.X * np.sqrt(self.phi)[:, None], 2)) ** 2
        return {
            "mu": self.ridge,
            "m": norm / n,
            "rho_wphi": norm * longest / (4 * n),
            "rho_ww": longest * weighted / (6 * 3**0.5 * n),
            "l_ww": float(np.linalg.norm(self.V, 2)) ** 2 / (4 * len(self.V)),
            "l_phiw": 0.0,
        }


def random_logistic(draw: np.random.Generator, n: int = 20, p: int = 4, ridge: float | None = None) -> Logistic:
    """Gaussian inputs, labels of a linear rule with noise, weights uniform on [0, 1]."""
    X, V, truth = draw.standard_normal((n, p)), draw.standard_normal((15, p)), draw.standard_normal(p)
    y, z = (np.where(A @ truth + draw.standard_normal(len(A)) > 0, 1.0, -1.0) for A in (X, V))
    return Logistic(X, y, V, z, draw.random(n), float(10 ** draw.uniform(-2, 1)) if ridge is None else ridge)


def _sigmoid(u: np.ndarray) -> np.ndarray:
    from scipy import special

    found: np.ndarray = special.expit(u)
    return found
