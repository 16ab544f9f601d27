"""Commentaries: values and shapes, both algorithms against closed forms, going on from checkpoints, bad input."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from theory.checks import InvalidInput
from theory.commentary import Blends, ExampleWeights, Masks, blend, implicit, unrolled
from theory.hypergradient import Functional, Ignored, IndefiniteHessian

SGD = partial(torch.optim.SGD, lr=1.0)
STILL = partial(torch.optim.SGD, lr=0.0)
NEWTON = partial(torch.optim.LBFGS, max_iter=50, tolerance_grad=1e-13, tolerance_change=0.0)
QUICK = {
    "inner_optimiser": partial(torch.optim.LBFGS, max_iter=10, tolerance_grad=1e-6),
    "outer_optimiser": partial(torch.optim.Adam, lr=0.3),
}
TARGETS = torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64)
ORIGIN = torch.zeros(1, dtype=torch.float64)


def toy_inner(w: Tensor, weights) -> Tensor:
    """Minimum at the weighted mean of the targets."""
    return (weights() * (w - TARGETS).square()).sum() / 2


def toy_outer(w: Tensor, weights) -> Tensor:
    return (w - 1).square().sum()


def toy_weights() -> ExampleWeights:
    weights = ExampleWeights(3).double()
    with torch.no_grad():
        weights.logits.copy_(torch.tensor([0.3, -0.2, 1.0]))
    return weights


def toy_hypergradient(logits: Tensor) -> Tensor:
    weights = torch.sigmoid(logits)
    mean = (weights * TARGETS).sum() / weights.sum()
    return 2 * (mean - 1) * (TARGETS - mean) / weights.sum() * weights * (1 - weights)


class TestModules:
    def test_values_at_first_and_where_they_come_from(self) -> None:
        weights = ExampleWeights(4, start=0.2)
        assert torch.allclose(weights(), torch.full((4,), 0.2)) and weights(torch.tensor([3])).shape == (1,)
        with torch.no_grad():
            weights.logits[2] = 50.0
        assert weights(torch.tensor([2, 1])).tolist() == pytest.approx([1.0, 0.2])
        blends = Blends(3, start=0.5)
        with torch.no_grad():
            blends.logits[0, 2] = 50.0
        found = blends(torch.tensor([0, 2]), torch.tensor([2, 0]))  # ordered pairs
        assert found.tolist() == pytest.approx([1.0, 0.5])
        masks = Masks((2, 3), start=0.25)
        assert torch.allclose(masks(2 * torch.ones(5, 2, 3)), torch.full((5, 2, 3), 0.5))

    def test_networks_in_place_of_tables(self) -> None:
        X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
        line = torch.nn.Linear(4, 1)
        assert torch.equal(ExampleWeights(line)(X), torch.sigmoid(line(X)[:, 0]))
        square = torch.nn.Linear(4, 4)
        assert torch.equal(Masks(square)(X), torch.sigmoid(square(X)) * X)

    def test_blend_is_convex_row_by_row(self) -> None:
        a, b = torch.randn(2, 5, 3, 3, generator=torch.Generator().manual_seed(0)).unbind()
        c = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])
        found = blend(a, b, c)
        assert torch.equal(found[0], b[0]) and torch.equal(found[4], a[4])
        assert torch.allclose(found[1], 0.25 * a[1] + 0.75 * b[1])

    @pytest.mark.parametrize(
        ("call", "word"),
        [
            (lambda: ExampleWeights(0), "examples"),
            (lambda: ExampleWeights(3, start=1.0), "start"),
            (lambda: ExampleWeights(3)(torch.tensor([3])), "rows: .*0 to 2"),
            (lambda: ExampleWeights(3)(torch.tensor([-1])), "rows"),
            (lambda: ExampleWeights(3)(torch.tensor([0.5])), "integers"),
            (lambda: ExampleWeights(3)([0, 1]), "rows: expected a tensor"),
            (lambda: ExampleWeights(torch.nn.Linear(2, 2))(torch.ones(3, 2)), "logits"),
            (lambda: ExampleWeights(torch.nn.Linear(2, 1))(), "inputs"),
            (lambda: Blends(1), "classes"),
            (lambda: Blends(3)(torch.tensor([0, 1]), torch.tensor([0])), "partners"),
            (lambda: Blends(3)(torch.tensor([0]), torch.tensor([3])), "partners"),
            (lambda: blend(torch.ones(2, 3), torch.ones(2, 4), torch.ones(2)), "second"),
            (lambda: blend(torch.ones(2, 3), torch.ones(2, 3), torch.ones(3)), "coefficients"),
            (lambda: Masks((2, 0)), "side"),
            (lambda: Masks(4), r"write \(4,\)"),
            (lambda: Masks((2,))(np.ones((3, 2))), "images: expected a tensor"),
            (lambda: Masks((2, 2))(torch.ones(3, 2, 3)), r"images: .*\(2, 2\).*\(2, 3\)"),
            (lambda: Masks(torch.nn.Linear(2, 3))(torch.ones(4, 2)), "logits"),
        ],
    )
    def test_bad_input(self, call, word: str) -> None:
        with pytest.raises(InvalidInput, match=word):
            call()


class TestImplicit:
    def test_a_step_goes_along_the_hypergradient_at_the_minimum(self) -> None:
        weights = toy_weights()
        before = weights.logits.detach().clone()
        learned = implicit(toy_inner, toy_outer, ORIGIN, weights, rounds=1, inner_optimiser=NEWTON, outer_optimiser=SGD)
        assert torch.allclose(weights.logits.detach() - before, -toy_hypergradient(before), atol=1e-10)
        assert learned.commentary is weights and learned.history[0].stationarity < 1e-9
        assert learned.history[0].gradient == pytest.approx(float(toy_hypergradient(before).norm()))
        assert ORIGIN == 0  # the caller's start is left alone

    def test_weights_start_warm(self) -> None:
        def lag(rounds: int, **options) -> float:
            learned = implicit(toy_inner, toy_outer, ORIGIN, toy_weights(), rounds=rounds, **options)
            return learned.history[-1].stationarity

        still = {"outer_optimiser": STILL, "inner_optimiser": partial(torch.optim.SGD, lr=0.1)}
        assert lag(8, **still) == pytest.approx(lag(1, inner_steps=8, **still))
        assert lag(8, **still) < 0.5 * lag(1, **still)

    def test_it_learns_to_ignore_what_misleads(self) -> None:
        weights = toy_weights()
        learned = implicit(toy_inner, toy_outer, ORIGIN, weights, rounds=60, **QUICK)
        assert learned.history[-1].outer < 0.01 * learned.history[0].outer
        assert weights()[0] > 0.9 > 0.1 > weights()[1]

    def test_masks_with_a_direct_part(self) -> None:
        """The outer loss sees the mask as well; only feature 0 tells anything."""
        generator = torch.Generator().manual_seed(0)
        X = torch.randn(30, 6, generator=generator, dtype=torch.float64)
        train, valid = slice(0, 12), slice(12, 30)

        def loss(which: slice, ridge: float):
            return lambda w, mask: (mask(X[which]) @ w - X[which, 0]).square().mean() + ridge * w.square().sum()

        masks = Masks((6,)).double()
        noisy = X[:, 0] + torch.randn(30, generator=generator, dtype=torch.float64)
        inner = lambda w, mask: (mask(X[train]) @ w - noisy[train]).square().mean() + 0.05 * w.square().sum()  # noqa: E731
        start = torch.zeros(6, dtype=torch.float64)
        learned = implicit(inner, loss(valid, 0.0), start, masks, rounds=60, **QUICK)
        mask = masks.mask(X).detach()
        assert learned.history[-1].outer < 0.5 * learned.history[0].outer and mask[0] > 0.5 > 0.2 > mask[1:].max()

    def test_networks_on_both_sides_in_float32(self) -> None:
        generator = torch.Generator().manual_seed(0)
        X = torch.randn(64, 3, generator=generator)
        y = (X[:, 0] > 0).long()
        told = torch.where(X[:, 1] > 0, 1 - y, y)  # wrong wherever feature 1 is positive
        model = Functional(torch.nn.Linear(3, 2))
        weights = ExampleWeights(torch.nn.Linear(3, 1))

        def inner(w, weigh) -> Tensor:
            each = torch.nn.functional.cross_entropy(model(w, X), told, reduction="none")
            return (weigh(X) * each).mean() + 0.01 * sum(part.square().sum() for part in w.values())

        def outer(w, weigh) -> Tensor:
            return torch.nn.functional.cross_entropy(model(w, X), y)

        implicit(inner, outer, model.weights, weights, rounds=80, inner_steps=5, method="neumann", order=5)
        found = weights(X).detach()
        assert found[told == y].mean() > found[told != y].mean() + 0.5

    def test_the_global_stream_is_left_alone(self) -> None:
        before = torch.get_rng_state()
        implicit(toy_inner, toy_outer, ORIGIN, toy_weights(), rounds=2, method="neumann", order=3)
        assert torch.equal(torch.get_rng_state(), before)


class TestUnrolled:
    def test_a_step_goes_along_the_derivative_of_descent(self) -> None:
        weights = toy_weights()
        before = weights.logits.detach().clone().requires_grad_()
        w = ORIGIN.clone()
        for _ in range(7):
            w = w - 0.2 * (torch.sigmoid(before) * (w - TARGETS)).sum()
        (expected,) = torch.autograd.grad(toy_outer(w, None), before)
        learned = unrolled(toy_inner, toy_outer, ORIGIN, weights, rounds=1, steps=7, alpha=0.2, outer_optimiser=SGD)
        assert torch.allclose(weights.logits.detach() - before.detach(), -expected, atol=1e-12)
        assert torch.allclose(learned.w, w.detach(), atol=1e-12)

    def test_every_round_starts_anew(self) -> None:
        found = unrolled(
            toy_inner, toy_outer, ORIGIN, toy_weights(), rounds=3, steps=2, alpha=0.1, outer_optimiser=STILL
        )
        assert len({(row.outer, row.gradient) for row in found.history}) == 1

    def test_long_training_gives_the_implicit_gradient(self) -> None:
        weights = toy_weights()
        before = weights.logits.detach().clone()
        unrolled(toy_inner, toy_outer, ORIGIN, weights, rounds=1, steps=200, outer_optimiser=SGD)
        assert torch.allclose(weights.logits.detach() - before, -toy_hypergradient(before), atol=1e-9)


def noisy_inner(w: Tensor, weights, batch: Tensor) -> Tensor:
    return (weights(batch) * (w - TARGETS[batch]).square()).sum() / 2 + 0.1 * w.square().sum()


def noisy_outer(w: Tensor, weights, shift: float) -> Tensor:
    return (w - 1 - shift).square().sum()


def batches(number: int) -> tuple[Tensor, float]:
    generator = torch.Generator().manual_seed(number)
    return torch.randperm(3, generator=generator)[:2], 0.1 * float(torch.rand(1, generator=generator))


ALGORITHMS = {"implicit": partial(implicit, inner_steps=2), "unrolled": partial(unrolled, steps=4, alpha=0.1)}


class TestCheckpoints:
    @pytest.mark.parametrize("name", ALGORITHMS)
    def test_an_interrupted_run_goes_on_to_the_same_result(self, name: str, tmp_path: Path) -> None:
        kept = tmp_path / "deep" / "run.npz"

        def run(weights: ExampleWeights, **options):
            return ALGORITHMS[name](
                noisy_inner, noisy_outer, ORIGIN, weights, rounds=17, batches=batches, every=5, **options
            )

        def stop(now) -> None:
            if now.number == 13:
                raise KeyboardInterrupt

        whole_weights, weights = toy_weights(), toy_weights()
        whole = run(whole_weights)
        with pytest.raises(KeyboardInterrupt):
            run(toy_weights(), checkpoint=kept, progress=stop)
        seen: list[int] = []
        learned = run(weights, checkpoint=kept, progress=lambda now: seen.append(now.number))
        assert seen == list(range(11, 18))
        assert torch.equal(learned.w, whole.w) and torch.equal(weights.logits, whole_weights.logits)
        assert str(learned.history) == str(whole.history)  # NaN is not equal to itself
        again = run(toy_weights(), checkpoint=kept)  # nothing is left to do
        assert str(again.history) == str(whole.history) and torch.equal(again.w, whole.w)
        assert [path.name for path in kept.parent.iterdir()] == ["run.npz"]

    @pytest.mark.parametrize("name", ALGORITHMS)
    def test_every_round_gets_its_own_batch(self, name: str, tmp_path: Path) -> None:
        numbers: list[int] = []

        def counted(number: int) -> tuple[Tensor, float]:
            numbers.append(number)
            return batches(number)

        run = partial(ALGORITHMS[name], noisy_inner, noisy_outer, ORIGIN, batches=counted, checkpoint=tmp_path / "run")
        for rounds in (3, 5):
            run(toy_weights(), rounds=rounds)
        assert numbers == [1, 2, 3, 4, 5]

    @pytest.mark.parametrize("optimiser", [torch.optim.Adam, torch.optim.NAdam, torch.optim.Rprop])
    def test_more_rounds_go_on(self, optimiser, tmp_path: Path) -> None:
        """NAdam keeps a float32 number beside float64 weights, which torch's own `load_state_dict` casts."""
        whole = toy_weights()
        run = partial(implicit, toy_inner, toy_outer, ORIGIN, inner_optimiser=partial(optimiser, lr=0.1))
        run(whole, rounds=9)
        weights = toy_weights()
        for rounds in (4, 9):
            run(weights, rounds=rounds, checkpoint=tmp_path / "run")
        assert torch.equal(weights.logits, whole.logits)

    def test_a_failed_write_leaves_the_last_one(self, tmp_path: Path, monkeypatch) -> None:
        kept = tmp_path / "run.npz"
        run = partial(implicit, toy_inner, toy_outer, ORIGIN, checkpoint=kept)
        run(toy_weights(), rounds=2)
        before = kept.read_bytes()

        def full(file, **arrays) -> None:
            file.write(b"half")
            raise OSError("no space left on device")

        monkeypatch.setattr(np, "savez", full)
        with pytest.raises(OSError, match="no space"):
            run(toy_weights(), rounds=4)
        assert kept.read_bytes() == before and len(list(tmp_path.iterdir())) == 1

    @pytest.mark.parametrize(
        ("change", "word"),
        [
            ({"inner_steps": 3}, "settings"),
            ({"method": "exact"}, "settings"),
            ({"outer_optimiser": partial(torch.optim.Adam, lr=0.2)}, "optimisers"),
            ({"inner_optimiser": SGD}, "optimisers"),
            ({"w": ORIGIN + 1}, "first weights"),
            ({"commentary": ExampleWeights(4).double()}, "shapes"),
            ({"commentary": ExampleWeights(3)}, "shapes.*float32"),
            ({"rounds": 2}, "rounds: expected at least the 3"),
        ],
    )
    def test_that_of_another_run_is_refused(self, change: dict, word: str, tmp_path: Path) -> None:
        settings = {"w": ORIGIN, "rounds": 3, "checkpoint": tmp_path / "run.npz"}
        implicit(toy_inner, toy_outer, commentary=toy_weights(), **settings)
        with pytest.raises(InvalidInput, match=word):
            implicit(toy_inner, toy_outer, **{"commentary": toy_weights(), **settings, **change})

    def test_a_damaged_one_is_refused(self, tmp_path: Path) -> None:
        kept = tmp_path / "run.npz"
        run = partial(implicit, toy_inner, toy_outer, ORIGIN, rounds=2, checkpoint=kept)
        run(toy_weights())
        whole = kept.read_bytes()
        for content in (b"", b"no archive", whole[: len(whole) // 2]):
            kept.write_bytes(content)
            with pytest.raises(InvalidInput, match="remove it to begin anew"):
                run(toy_weights())
        kept.write_bytes(whole)
        with np.load(kept) as file:
            arrays = dict(file)
        changes = [
            {"w": np.zeros(())},
            {"w": np.zeros(1, int)},
            {"phi/logits": np.zeros(1)},
            {"history": np.zeros((2, 3))},
        ]
        header = {"header": np.array("[1]")}
        for changed in (*changes, {"outer/0/exp_avg": np.zeros(7)}, header, *({name: None} for name in arrays)):
            np.savez(kept, **{name: array for name, array in (arrays | changed).items() if array is not None})
            weights = toy_weights()
            with pytest.raises(InvalidInput, match="remove it to begin anew"):
                run(weights)
            assert torch.equal(weights.logits, toy_weights().logits)  # nothing is half restored
        np.savez(kept, header=np.array([{"code": "run"}], dtype=object))
        with pytest.raises(InvalidInput, match="remove it to begin anew"):
            run(toy_weights())

    def test_an_optimiser_that_cannot_be_kept(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match="LBFGS"):
            implicit(
                toy_inner, toy_outer, ORIGIN, toy_weights(), rounds=1, inner_optimiser=NEWTON, checkpoint=tmp_path / "a"
            )


class TestBadInput:
    def run(self, inner=toy_inner, outer=toy_outer, **options) -> None:
        implicit(inner, outer, **{"w": ORIGIN, "commentary": toy_weights(), "rounds": 2, **options})

    @pytest.mark.parametrize(
        ("options", "word"),
        [
            ({"inner": lambda w, c: (c() * w).sum().log()}, "inner loss: expected a finite"),
            ({"outer": lambda w, c: (w * float("nan")).sum()}, "outer loss"),
            ({"inner": lambda w, c: c() * (w - TARGETS).square()}, r"inner\(w, commentary\): expected a scalar"),
            ({"inner": lambda w, c: 1.0}, "inner.*float"),
            ({"outer": lambda w, c: (w - torch.ones(2)).square()}, "outer"),
            ({"inner": lambda w, c: (c() * (w - torch.ones(2, 2))).sum()}, r"w \(1,\).*logits.*\(3,\)"),
            ({"rounds": 0}, "rounds"),
            ({"inner_steps": -1}, "inner_steps"),
            ({"every": 0}, "every"),
            ({"method": "unrolled"}, "method"),
            ({"method": "neumann", "order": -1}, "order"),
            ({"method": "neumann", "order": 1, "alpha": 100.0}, "alpha"),
            ({"w": ORIGIN * float("inf")}, "w"),
            ({"commentary": torch.nn.Identity()}, "module"),
            ({"commentary": ExampleWeights(torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Dropout()))}, "eval"),
        ],
    )
    def test_it_is_refused(self, options: dict, word: str) -> None:
        with pytest.raises(InvalidInput, match=word):
            self.run(**options)

    def test_diverging_descent(self) -> None:
        inner = lambda w, c: (c() * (w - TARGETS).exp()).sum() - w.sum()  # noqa: E731
        with pytest.raises(InvalidInput, match="finite"):
            self.run(inner, inner_optimiser=partial(torch.optim.SGD, lr=1e9), inner_steps=5)

    def test_an_ignored_commentary_is_said_aloud(self) -> None:
        for run in (self.run, lambda inner: unrolled(inner, toy_outer, ORIGIN, toy_weights(), rounds=1, steps=2)):
            with pytest.warns(Ignored, match="does not depend on phi"):
                run(lambda w, c: w.square().sum() / 2 + w.sum())

    def test_negative_curvature(self) -> None:
        with pytest.raises(IndefiniteHessian, match="ridge"):
            self.run(lambda w, c: -(c() * (w - TARGETS).square()).sum())
