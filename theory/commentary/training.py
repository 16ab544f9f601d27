"""Learning a commentary on a validation loss: two algorithms, one record, checkpoints.

Both losses are functions of the trained weights and the commentary, `inner(w, commentary)` and `outer(w, commentary)`,
where `commentary(...)` is the module's forward: the same functions serve in a plain training loop, with the module.
"""

from collections.abc import Callable
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from theory import checks
from theory.commentary.checkpoint import Checkpoint
from theory.derivatives import Flat
from theory.hypergradient import Functional, Hypergradient, hypergradient
from theory.hypergradient.door import Method

Commented = Callable[..., Tensor]
"""(w, commentary) -> scalar tensor; with `batches` (w, commentary, batch)."""
Optimiser = Callable[[list[Tensor]], torch.optim.Optimizer]
Batches = Callable[[int], tuple[Any, Any]]
"""Number of the round, from 1 -> the inner loss's batch and the outer loss's."""


@dataclass(frozen=True)
class Round:
    """One hypergradient, and where it was taken.

    Attributes:
        number: of the round, from 1.
        of: rounds in all.
        inner: training loss.
        outer: validation loss, before the commentary's step.
        gradient: norm of the hypergradient.
        stationarity: norm of the inner loss's gradient in w: how far the weights lag behind the commentary.
        products: Hessian-vector products, those of Lanczos included.
        residual: of the linear solve, relative; NaN where there is none.
    """

    number: int
    of: int
    inner: float
    outer: float
    gradient: float
    stationarity: float
    products: int
    residual: float


@dataclass(frozen=True, eq=False)
class Learned:
    """What training a commentary gives; the commentary itself is trained in place.

    Attributes:
        w: the last weights, in the structure given: those that the last hypergradient was taken at.
        commentary: the module that was passed.
        history: a `Round` for each.
    """

    w: Any
    commentary: torch.nn.Module
    history: tuple[Round, ...]


ADAM: Optimiser = partial(torch.optim.Adam, lr=0.01)
FAST_ADAM: Optimiser = partial(torch.optim.Adam, lr=0.1)
"""For logits, which have to travel from 0 to 3 or so."""


def implicit(
    inner: Commented,
    outer: Commented,
    w: Any,
    commentary: torch.nn.Module,
    *,
    rounds: int,
    inner_steps: int = 1,
    inner_optimiser: Optimiser = ADAM,
    outer_optimiser: Optimiser = FAST_ADAM,
    method: Method = "cg",
    batches: Batches | None = None,
    progress: Callable[[Round], object] | None = None,
    checkpoint: str | Path | None = None,
    every: int = 50,
    **options: Any,
) -> Learned:
    """Warm-started descent on the inner loss, with a step of the commentary after every few of its steps.

    Each round takes `inner_steps` steps of w, which goes on from where it was, and then one step of the commentary
    along the implicit hypergradient at that w (cf. Raghu et al., 2021; Lorraine et al., 2020). The paper's setting is
    inner_steps=1, method="neumann", order=1, alpha=the inner rate, and minibatches.

    Args:
        inner: L_T(w, commentary) -> scalar, a minimum in w of which is sought.
        outer: L_V(w, commentary) -> scalar.
        w: first weights, a tensor or a tree of them; `theory.hypergradient.Functional(module).weights` for a module.
        commentary: trained in place.
        rounds: steps of the commentary, >= 1.
        inner_steps: steps of w before each, >= 0.
        inner_optimiser: [w as one vector] -> optimiser; Adam at rate 0.01 by default.
        outer_optimiser: the commentary's parameters -> optimiser; Adam at rate 0.1 by default.
        method: of `theory.hypergradient.hypergradient`, which also takes the options; not "unrolled", see `unrolled`.
        batches: what both losses get as third argument in each round; a function of the round's number only, so that
            a run that goes on from a checkpoint sees what it would have seen.
        progress: called after every round.
        checkpoint: a file that is written every few rounds and, if it is there already, gone on from: the result is
            that of an uninterrupted run.
        every: rounds between checkpoints, >= 1.
        **options: of the method: order, alpha, tolerance, iterations, verify, seed.

    Raises:
        InvalidInput: a loss that is not a finite scalar, shapes that do not match, what `hypergradient` refuses (an
            indefinite Hessian among it), a checkpoint of another run or a damaged one.

    Warns:
        Ignored: the inner loss does not use the commentary, so that the implicit part of the hypergradient is zero.
    """
    checks.choice("method", method, ("exact", "cg", "minres", "neumann", "one_step"))
    inner_steps = checks.integer("inner_steps", inner_steps, minimum=0)
    state = _State(w, commentary, outer_optimiser, inner_optimiser)

    def move(train: Commented, valid: Commented) -> Hypergradient:
        for _ in range(inner_steps):
            state.descend(train)
        return hypergradient(train, valid, state.weights, state.phi, method, **options)

    settings = {"algorithm": "implicit", "inner_steps": inner_steps, "method": method, **options}
    return _learn(state, move, inner, outer, rounds, batches, progress, _file(checkpoint, every, settings))


def unrolled(
    inner: Commented,
    outer: Commented,
    w: Any,
    commentary: torch.nn.Module,
    *,
    rounds: int,
    steps: int = 100,
    alpha: float | None = None,
    outer_optimiser: Optimiser = FAST_ADAM,
    batches: Batches | None = None,
    progress: Callable[[Round], object] | None = None,
    checkpoint: str | Path | None = None,
    every: int = 50,
    seed: int = 0,
) -> Learned:
    """Differentiate through a whole short training, from the same first weights in every round; for small problems.

    The hypergradient is exact for T steps of gradient descent, not for the minimum. Memory and time grow with `steps`.

    Args:
        inner: as in `implicit`, and so are all arguments not named here.
        outer: L_V(w, commentary) -> scalar.
        w: first weights, of every round.
        commentary: trained in place.
        rounds: steps of the commentary.
        steps: T >= 1, of gradient descent on the inner loss.
        alpha: their size; by default, in every round, 1/L_hat at the first weights (12 Lanczos steps).
        outer_optimiser: as in `implicit`.
        batches: as in `implicit`; one batch serves all steps of a round.
        progress: called after every round.
        checkpoint: as in `implicit`.
        every: rounds between checkpoints.
        seed: of Lanczos' start.

    Raises:
        InvalidInput: as `implicit`; descent that leaves float range; alpha >= 2/L_hat.

    Example:
        >>> from theory.commentary import ExampleWeights
        >>> inner = lambda w, weights: (weights() * (w - torch.tensor([1.0, -1.0])).square()).sum() / 2
        >>> outer = lambda w, weights: (w - 1).square().sum()
        >>> learned = unrolled(inner, outer, torch.zeros(1), ExampleWeights(2), rounds=30, steps=20)
        >>> learned.history[-1].outer < 0.1 * learned.history[0].outer
        True
    """
    state = _State(w, commentary, outer_optimiser, None)

    def move(train: Commented, valid: Commented) -> Hypergradient:
        found = hypergradient(train, valid, w, state.phi, "unrolled", steps=steps, alpha=alpha, seed=seed)
        state.vector = Flat("w", found.w).vector
        return found

    settings = {"algorithm": "unrolled", "steps": steps, "alpha": alpha, "seed": seed}
    return _learn(state, move, inner, outer, rounds, batches, progress, _file(checkpoint, every, settings))


class _State:
    """Weights, commentary and their optimisers: all that a run needs to go on."""

    def __init__(self, w: Any, commentary: torch.nn.Module, outer: Optimiser, inner: Optimiser | None) -> None:
        self.flat, self.functional = Flat("w", w), Functional(commentary)
        self.vector = self.flat.vector.clone()
        self.parameters: dict[str, Tensor] = {name: p for name, p in commentary.named_parameters() if p.requires_grad}
        self.optimisers = {"outer": outer(list(self.parameters.values()))}
        if inner is not None:
            self.optimisers["inner"] = inner([self.vector])

    @property
    def weights(self) -> Any:
        """The weights in the structure given."""
        return self.flat.restore(self.vector.detach())

    @property
    def phi(self) -> dict[str, Tensor]:
        """The commentary's parameters, detached copies."""
        return {name: parameter.detach().clone() for name, parameter in self.parameters.items()}

    def descend(self, train: Commented) -> None:
        """One step of w on the inner loss, the commentary held."""
        phi = self.phi

        def closure() -> float:
            leaf = self.vector.detach().requires_grad_()
            loss = _scalar("inner", train(self.flat.restore(leaf), phi))
            (self.vector.grad,) = torch.autograd.grad(loss, leaf)
            return float(loss.detach())

        self.optimisers["inner"].step(closure)

    def step(self, found: Hypergradient) -> None:
        """One step of the commentary along the hypergradient."""
        for name, parameter in self.parameters.items():
            parameter.grad = found.gradient[name]
        self.optimisers["outer"].step()
        self.optimisers["outer"].zero_grad()


def _learn(
    state: _State,
    move: Callable[[Commented, Commented], Hypergradient],
    inner: Commented,
    outer: Commented,
    rounds: int,
    batches: Batches | None,
    progress: Callable[[Round], object] | None,
    kept: Checkpoint | None,
) -> Learned:
    rounds = checks.integer("rounds", rounds, minimum=1)
    history: list[Round] = []
    if kept is not None:
        table: list[Any] = kept.load(state.flat.vector, state.vector, state.parameters, state.optimisers)
        if len(table) > rounds:
            checks.fail("rounds", f"at least the {len(table)} of {kept.path}", rounds, "remove the file to begin anew")
        history = [Round(number, rounds, *row) for number, row in enumerate(table, 1)]
    for number in range(len(history) + 1, rounds + 1):
        given = batches(number) if batches is not None else None
        train, valid = (
            _bound(name, loss, state.functional, () if given is None else (given[which],))
            for which, (name, loss) in enumerate((("inner", inner), ("outer", outer)))
        )
        found = move(train, valid)
        with torch.no_grad():
            values = [
                float(_scalar(name, loss(found.w, state.phi))) for name, loss in (("inner", train), ("outer", valid))
            ]
        gradient = Flat("hypergradient", found.gradient).vector
        residual = float("nan") if found.residual is None else found.residual
        assert found.stationarity is not None
        size, products = float(gradient.norm()), found.products + found.spectral_products
        history.append(Round(number, rounds, values[0], values[1], size, found.stationarity, products, residual))
        state.step(found)
        if kept is not None and (number % kept.every == 0 or number == rounds):
            rows = [astuple(row)[2:] for row in history]
            kept.save(state.flat.vector, state.vector, state.parameters, state.optimisers, rows)
        if progress is not None:
            progress(history[-1])
    return Learned(state.weights, state.functional.module, tuple(history))


def _bound(name: str, loss: Commented, functional: Functional, batch: tuple[Any, ...]) -> Commented:
    def evaluated(w: Any, phi: dict[str, Tensor]) -> Tensor:
        try:
            return loss(w, partial(functional, phi), *batch)
        except (RuntimeError, IndexError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            shapes = f"{Flat('w', w).shapes()}; {Flat('commentary', phi).shapes()}"
            got = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            raise checks.InvalidInput(
                f"{name}(w, commentary): expected a scalar from {shapes}, got {got}; make the shapes match"
            ) from error

    return evaluated


def _scalar(name: str, value: Any) -> Tensor:
    """A loss, refused unless it is one finite number."""
    if not isinstance(value, Tensor) or value.numel() != 1:
        got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        checks.fail(f"{name}(w, commentary)", "a scalar tensor", got, "sum or average it")
    if not bool(value.isfinite().all()):
        found = float(value.detach())
        checks.fail(f"{name} loss", "a finite number", found, "lower the learning rates, or look at the data")
    return value.reshape(())


def _file(path: str | Path | None, every: int, settings: dict[str, Any]) -> Checkpoint | None:
    every = checks.integer("every", every, minimum=1)
    return None if path is None else Checkpoint(Path(path), every, settings)
