"""Hypergradients against what they cost: terms, products, an inner problem that was stopped early, a warm start.

    python -m simulations.hypergradients --seeds 8

Weighted logistic regression with a ridge; phi is the weight of each training example, and everything is known exactly.
Panels: the error of the Neumann series against its order beside its bound (H2) and that of conjugate gradients (H8);
products until the error is a millionth against the condition number, for Neumann, conjugate gradients and unrolled
descent, with the predicted curves; the error of the hypergradient at inexact inner solutions beside the certificate
(H7); and how far the inner weights lag behind when phi moves and each round takes one inner step only.
"""

import math
import sys
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import sympy as sp
import torch
import xarray

from simulations import hypergradient_figure as pictures
from simulations.hypergradient_figure import SOLVERS
from theory import checks, seeding
from theory.claim import Claim, symbols
from theory.estimate import Estimate
from theory.hypergradient import hypergradient, solvers
from theory.lab import figure
from theory.lab.command import main
from theory.lab.simulation import Simulation
from theory.papers.raghu2021.certificate import check_certificate
from theory.papers.raghu2021.logistic import Logistic
from theory.papers.raghu2021.series import check_series
from theory.verdict import Verdicts

_LONGEST = 100.0
"""Condition number up to which descent is unrolled here: beyond, it takes tens of thousands of steps."""
_EARLY = slice(10, 40)
"""Rounds in which the lag is judged: phi has moved little, and the Hessian is what it was."""

_REFERENCE = "a regularity of this simulation, no theorem"
_exponent, _lag = symbols("exponent lag")
_SLOPE = "slope of log products on log condition number [1]"
NEUMANN_RATE = Claim(
    "hypergradients.neumann",
    "the products that a Neumann series needs grow as the condition number",
    sp.Eq(_exponent, 1, evaluate=False),
    {"exponent": f"Neumann: {_SLOPE}"},
    kind="rate",
    tolerance=sp.Rational(1, 10),
    reference="derived from H2",
)
CG_RATE = Claim(
    "hypergradients.cg",
    "those of conjugate gradients grow at most as its root",
    sp.Le(_exponent, sp.Rational(1, 2), evaluate=False),
    {"exponent": f"conjugate gradients: {_SLOPE}"},
    reference="derived from H8",
)
LAG = Claim(
    "hypergradients.lag",
    "warm starts: the lag of the inner weights is proportional to the outer step, in early rounds",
    sp.Eq(_exponent, 1, evaluate=False),
    {"exponent": "slope of log lag (mean over rounds 10 to 40) on log outer step [1]"},
    kind="rate",
    tolerance=sp.Rational(1, 10),
    reference=_REFERENCE,
)


@dataclass(frozen=True)
class Hypergradients(Simulation):
    """Error of hypergradients against terms, condition number, inner accuracy and the outer step."""

    name: ClassVar[str] = "hypergradients"
    quick_seconds: ClassVar[float] = 10

    seeds: int = 4
    size: int = 80
    """Training examples; 60 validation examples beside."""
    dimension: int = 20
    orders: int = 200
    """Largest order of the Neumann series."""
    condition: float = 30.0
    """Of the Hessian, for the error against terms."""
    conditions: tuple[float, ...] = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
    tolerance: float = 1e-6
    outer_steps: tuple[float, ...] = (0.001, 0.003, 0.01, 0.03)
    rounds: int = 300
    """Of warm-started training, one inner step each."""

    def validate(self) -> None:
        """See `Simulation.validate`."""
        checks.integer("size", self.size, minimum=10)
        checks.integer("dimension", self.dimension, minimum=2)
        checks.integer("orders", self.orders, minimum=2)
        checks.integer("rounds", self.rounds, minimum=_EARLY.stop)
        checks.number("tolerance", self.tolerance, 1e-10, 0.1)
        for name in ("conditions", "outer_steps"):
            values = getattr(self, name)
            if len(values) < 3 or list(values) != sorted(set(values)):
                checks.fail(name, "at least three numbers, increasing", values, "a slope needs them")
        for value in (self.condition, *self.conditions):
            checks.number("condition", value, 1, 1e5, open_low=True)
        for value in self.outer_steps:
            checks.number("outer_steps", value, 0, open_low=True)

    @classmethod
    def full(cls) -> "Hypergradients":
        """More seeds, a finer and wider sweep."""
        conditions = tuple(float(f"{c:.3g}") for c in np.geomspace(3, 1e4, 12))
        return cls(seeds=20, conditions=conditions, rounds=1000, orders=400)

    def problem(self, seed: int, condition: float) -> Logistic:
        """The data of a seed, with the ridge that gives the Hessian at w* (weights 1/2) that condition number."""
        draw = seeding.numpy_generator("data for hypergradients", seed)
        scales = np.geomspace(1, 0.003, self.dimension)
        X, V = (draw.standard_normal((n, self.dimension)) * scales for n in (self.size, 60))
        truth = draw.standard_normal(self.dimension) / scales / self.dimension**0.5
        y, z = (np.where(A @ truth + draw.standard_normal(len(A)) > 0, 1.0, -1.0) for A in (X, V))
        found = Logistic(X, y, V, z, np.full(len(X), 0.5), 1.0)
        for _ in range(20):  # w* moves with the ridge
            values = np.linalg.eigvalsh(found.hessian(found.minimum())) - found.ridge
            ridge = max((values[-1] - condition * values[0]) / (condition - 1), 1e-9)
            found = replace(found, ridge=float(np.sqrt(ridge * found.ridge)))  # the mean: it would swing
        return found

    def run(self, seed: int, progress: Any = None) -> xarray.Dataset:
        """One seed: all four experiments; see the module's text."""
        parts = [self._terms(seed), self._products(seed), self._inexact(seed), self._lag(seed)]
        if progress is not None:
            progress(1.0)
        return xarray.merge(parts, combine_attrs="drop")

    def _terms(self, seed: int) -> xarray.Dataset:
        problem = self.problem(seed, self.condition)
        w = problem.minimum()
        H, v, M = problem.hessian(w), problem.outer_gradient(w), problem.mixed(w)
        values = np.linalg.eigvalsh(H)
        truth, x = problem.hypergradient(w), np.linalg.solve(H, v)
        rows = torch.from_numpy(H)
        term, total, errors, solved = v.copy(), v.copy(), [], []
        alpha, rho = 1 / values[-1], 1 - values[0] / values[-1]
        for order in range(self.orders + 1):
            errors.append((np.linalg.norm(x - alpha * total), np.linalg.norm(M.T @ (x - alpha * total))))
            term = term - alpha * (H @ term)
            total = total + term
            if order > 2 * self.dimension:  # solved
                solved.append(np.nan)
                continue
            one = solvers.conjugate_gradients(lambda r: r @ rows, torch.from_numpy(v)[None], 1e-14, order + 1)
            solved.append(float(np.linalg.norm(M.T @ (x - one.rows[0].numpy()))))
        solution, gradient = np.array(errors).T
        bound = rho ** (np.arange(self.orders + 1) + 1)
        scale = np.linalg.norm(truth)
        order_axis = {"order": np.arange(self.orders + 1)}
        return xarray.Dataset(
            {
                "solution_error": ("order", solution / np.linalg.norm(x)),
                "gradient_error": ("order", gradient / scale),
                "gradient_bound": ("order", np.linalg.norm(M, 2) * np.linalg.norm(x) * bound / scale),
                "solution_bound": ("order", bound),
                "cg_error": ("order", np.array(solved) / scale),
            },
            coords=order_axis,
        )

    def _products(self, seed: int) -> xarray.Dataset:
        spent, predicted = np.zeros((len(self.conditions), 3)), np.zeros((len(self.conditions), 3))
        kappas = []
        for i, condition in enumerate(self.conditions):
            problem = self.problem(seed, condition)
            w = problem.minimum()
            H, v = problem.hessian(w), problem.outer_gradient(w)
            values, vectors = np.linalg.eigh(H)
            kappa, coordinates = values[-1] / values[0], vectors.T @ v / values
            kappas.append(float(kappa))
            rho = 1 - 1 / kappa
            spent[i] = (
                _fewest(lambda k, c=coordinates, s=values: _left(c, s, k + 1), self.tolerance, 10**7),
                _conjugate_products(H, v, self.tolerance),
                _unrolled_products(problem, w, self.tolerance, values[-1]) if condition <= _LONGEST else np.nan,
            )
            neumann = math.log(1 / self.tolerance) / math.log(1 / rho) - 1
            predicted[i] = neumann, math.acosh(1 / self.tolerance) / math.acosh((kappa + 1) / (kappa - 1)), neumann + 1
        axes = ("condition", "solver")
        return xarray.Dataset(
            {"products": (axes, spent), "predicted": (axes, predicted), "kappa": ("condition", kappas)},
            coords={"condition": list(self.conditions), "solver": list(SOLVERS)},
        )

    def _inexact(self, seed: int) -> xarray.Dataset:
        problem = self.problem(seed, self.condition)
        w = np.zeros(self.dimension)
        truth = problem.hypergradient(problem.minimum())
        c, length = problem.constants(), 1 / np.linalg.eigvalsh(problem.hessian(w))[-1]
        slopes, errors, bounds = list[float](), list[float](), list[float]()
        for _ in range(120):
            slope, size = (np.linalg.norm(g) for g in (problem.gradient(w), problem.outer_gradient(w)))
            C = c["m"] * c["l_ww"] / c["mu"] + size * (c["rho_wphi"] / c["mu"] + c["m"] * c["rho_ww"] / c["mu"] ** 2)
            slopes.append(float(slope))
            errors.append(float(np.linalg.norm(problem.hypergradient(w) - truth)))
            bounds.append(float(C * slope / c["mu"]))
            w = w - length * problem.gradient(w)
        columns = {"slope": slopes, "inexact_error": errors, "certificate": bounds}
        return xarray.Dataset(
            {name: ("step", np.array(column)) for name, column in columns.items()}, coords={"step": np.arange(120)}
        )

    def _lag(self, seed: int) -> xarray.Dataset:
        """Sign descent on phi: every entry moves by the outer step, so that the speed of phi is what is set."""
        lags, predicted = np.zeros((2, len(self.outer_steps), self.rounds))
        base = self.problem(seed, self.condition)
        X, y, V, z = (torch.from_numpy(part) for part in (base.X, base.y, base.V, base.z))

        def inner(w: torch.Tensor, phi: torch.Tensor) -> torch.Tensor:
            each = torch.nn.functional.softplus(-y * (X @ w))
            return (torch.sigmoid(phi) * each).mean() + base.ridge / 2 * w.square().sum()

        def outer(w: torch.Tensor, phi: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.softplus(-z * (V @ w)).mean()

        start = torch.from_numpy(base.minimum())
        H, M = base.hessian(start.numpy()), base.mixed(start.numpy()) / 4  # sigmoid' = 1/4 at weights of 1/2
        alpha = 1 / (2 * float(np.linalg.eigvalsh(H)[-1]))
        for i, outer_step in enumerate(self.outer_steps):
            phi, w, behind = X.new_zeros(self.size), start, np.zeros(self.dimension)
            for round_ in range(self.rounds):
                if round_ % 10 == 0:  # a direction is kept for ten rounds: the lag is steady within
                    direction = hypergradient(inner, outer, w, phi, "one_step", alpha=alpha).gradient.sign()
                phi = (phi - outer_step / 10 * direction).clamp(-4, 4)
                moved = outer_step / 10 * np.linalg.solve(H, M @ direction.numpy())  # of w*, to first order
                behind = (np.eye(len(H)) - alpha * H) @ (behind - moved)
                predicted[i, round_] = np.linalg.norm(behind)
                weights = torch.sigmoid(phi).numpy()
                now = Logistic(base.X, base.y, base.V, base.z, weights, base.ridge)
                w = w - alpha * torch.from_numpy(now.gradient(w.numpy()))
                # one Newton step tells the distance to w* up to second order
                lags[i, round_] = np.linalg.norm(np.linalg.solve(now.hessian(w.numpy()), now.gradient(w.numpy())))
        return xarray.Dataset(
            {"lag": (("outer_step", "round"), lags), "predicted_lag": (("outer_step", "round"), predicted)},
            coords={"outer_step": list(self.outer_steps), "round": np.arange(self.rounds)},
        )

    @figure.style()
    def figure(self, results: xarray.Dataset) -> Any:
        """Four panels: terms, products, inexact solutions, lag."""
        fig, panels = figure.subplots(2, 2, aspect=0.72)
        results = results.transpose("seed", ...)
        pictures.draw_terms(panels[0][0], results, self)
        pictures.draw_products(panels[0][1], results, self)
        pictures.draw_inexact(panels[1][0], results, self)
        pictures.draw_lag(panels[1][1], results, self)
        fig.suptitle(figure.seeds_note(results.sizes["seed"]), fontsize="small")
        return fig

    def verdicts(self, results: xarray.Dataset) -> Verdicts:
        """The exponents of this simulation, and H2 and H7 on its own problems."""
        results = results.transpose("seed", ...)
        verdicts = Verdicts()
        kappas = results.kappa.values.mean(axis=0)
        for name, claim in (("neumann", NEUMANN_RATE), ("cg", CG_RATE)):
            spent = results.products.sel(solver=name).values
            verdicts.append(claim.check(exponent=Estimate.exponent(kappas, spent)))
        early = results.lag.values[:, :, _EARLY].mean(axis=2)
        verdicts.append(LAG.check(exponent=Estimate.exponent(np.array(self.outer_steps), early)))
        for seed in results.seed.values.tolist():
            problem = self.problem(seed, self.condition)
            w = problem.minimum()
            H, v = problem.hessian(w), problem.outer_gradient(w)
            alpha = 1 / float(np.linalg.eigvalsh(H)[-1])
            verdicts += check_series([(H, v, alpha, (0, 1, 10, 50))], seed=seed)
            away = seeding.numpy_generator("inexact solutions", seed).standard_normal((3, self.dimension))
            verdicts += check_certificate(problem, w + np.array([[0.01], [0.1], [1.0]]) * away, seed=seed)
        return verdicts


def _left(coordinates: np.ndarray, values: np.ndarray, terms: int) -> float:
    """||(I - H/L)^terms x|| / ||x|| in the eigenbasis."""
    factors = (1 - values / values[-1]) ** terms
    return float(np.linalg.norm(factors * coordinates) / np.linalg.norm(coordinates))


def _fewest(error: Any, tolerance: float, most: int) -> int:
    """The fewest products with error(products) <= tolerance, for a falling error."""
    low, high = 0, 1
    while error(high) > tolerance and high < most:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if error(middle) <= tolerance else (middle, high)
    return 0 if error(0) <= tolerance else high


def _unrolled_products(problem: Logistic, best: np.ndarray, tolerance: float, largest: float) -> int:
    """Steps from w = 0 until the gradient through all of them is within the tolerance of the implicit one.

    Forward sensitivities of every step: the same number that reverse mode gives, at every T in one pass.
    """
    truth, alpha = problem.hypergradient(best), 1 / max(largest, np.linalg.eigvalsh(problem.hessian(0 * best))[-1])
    w, sensitivity = np.zeros_like(best), np.zeros((len(best), len(problem.X)))
    for steps in range(1, 200_000):  # noqa: B007  # returned
        H, M = problem.hessian(w), problem.mixed(w)
        w, sensitivity = w - alpha * problem.gradient(w), sensitivity - alpha * (H @ sensitivity + M)
        gradient = sensitivity.T @ problem.outer_gradient(w)
        if np.linalg.norm(gradient - truth) <= tolerance * np.linalg.norm(truth):
            break
    return steps


def _conjugate_products(H: np.ndarray, v: np.ndarray, tolerance: float) -> int:
    """Products of conjugate gradients until the relative H-norm error is within the tolerance."""
    rows, x = torch.from_numpy(H), np.linalg.solve(H, v)
    size = math.sqrt(x @ H @ x)
    for products in range(1, 4 * len(v)):
        one = solvers.conjugate_gradients(lambda r: r @ rows, torch.from_numpy(v)[None], 1e-14, products)
        off = one.rows[0].numpy() - x
        if math.sqrt(max(0.0, off @ H @ off)) <= tolerance * size:
            break
    return products


SIMULATION = Hypergradients
if __name__ == "__main__":
    sys.exit(main(Hypergradients))
