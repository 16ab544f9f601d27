"""Minibatch descent: the arithmetic of its steps, its batches, what it leaves alone and what it refuses."""

from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import minibatch
from theory.checks import InvalidInput

X = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, -1.0], [0.5, 0.5, 0.0], [-1.0, 2.0, 1.0]], dtype=torch.float64)
Y = np.array([0, 1, 1, 0])


def linear() -> torch.nn.Linear:
    network = torch.nn.Linear(3, 2, dtype=torch.float64)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[0.1, -0.2, 0.3], [0.0, 0.4, -0.1]]))
        network.bias.zero_()
    return network


class Listener(torch.nn.Module):
    """A linear network that notes which rows each of its calls has seen."""

    def __init__(self, rows: int):
        super().__init__()
        self.inner = torch.nn.Linear(rows, 2)
        self.seen: list[list[int]] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(images.argmax(dim=1).tolist())
        return self.inner(images)


def test_one_batch_of_everything_is_full_batch_descent_with_a_heavy_ball() -> None:
    rate, momentum = 0.3, 0.5
    weight, bias = linear().weight.detach().numpy(), np.zeros(2)
    velocity = [np.zeros_like(weight), np.zeros_like(bias)]
    for now in islice(minibatch.epochs(linear(), X, Y, learning_rate=rate, batch=4, momentum=momentum), 5):
        np.testing.assert_allclose(now.network.weight.detach().numpy(), weight, atol=1e-14)
        np.testing.assert_allclose(now.network.bias.detach().numpy(), bias, atol=1e-14)
        scores = X.numpy() @ weight.T + bias
        shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        slope = (shares - np.eye(2)[Y]) / len(Y)  # of the mean cross-entropy, in closed form
        velocity = [momentum * velocity[0] + slope.T @ X.numpy(), momentum * velocity[1] + slope.sum(axis=0)]
        weight, bias = weight - rate * velocity[0], bias - rate * velocity[1]


def test_the_reported_loss_is_the_mean_cross_entropy_before_the_steps() -> None:
    passes = minibatch.epochs(linear(), X, Y, learning_rate=1e-12, batch=3)
    assert np.isnan(next(passes).loss)
    wanted = torch.nn.functional.cross_entropy(linear()(X), torch.from_numpy(Y))
    assert next(passes).loss == pytest.approx(wanted.item(), abs=1e-9)


@settings(max_examples=20)
@given(rows=st.integers(2, 9), batch=st.integers(1, 10), seed=st.integers(0, 5))
def test_every_pass_takes_each_example_once(rows: int, batch: int, seed: int) -> None:
    passes = minibatch.epochs(Listener(rows), np.eye(rows), [0, 1] * (rows // 2) + [0] * (rows % 2), learning_rate=0.1,
                              batch=batch, seed=seed)  # fmt: skip
    for _ in range(3):
        network = next(passes).network
    calls = network.seen[1:]  # the first call is the look at the scores' shape
    assert all(len(call) <= batch for call in calls)
    flat = [row for call in calls for row in call]
    assert sorted(flat[:rows]) == sorted(flat[rows:]) == list(range(rows))


def test_runs_repeat_by_seed_and_leave_the_network_and_the_global_generator_alone() -> None:
    network, state = linear(), torch.get_rng_state()

    def last(seed: int) -> torch.Tensor:
        *_, now = islice(minibatch.epochs(network, X, Y, learning_rate=0.5, batch=1, seed=seed), 4)
        return now.network.weight.detach()

    assert torch.equal(last(0), last(0))
    assert not torch.equal(last(0), last(1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(network.weight, linear().weight)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"labels": [0, 1, 2, 0]}, "labels"),
        ({"labels": [0, 1, 0.5, 0]}, "labels"),
        ({"labels": [0, -1, 1, 0]}, "labels"),
        ({"labels": [0, 1]}, "labels"),
        ({"images": X * float("nan")}, "images"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"batch": 0}, "batch"),
        ({"momentum": 1.0}, "momentum"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_arguments_are_refused_at_once(changes: dict, word: str) -> None:
    arguments = {"images": X, "labels": Y, "learning_rate": 0.1, "batch": 2} | changes
    with pytest.raises(InvalidInput, match=word):
        minibatch.epochs(linear(), arguments.pop("images"), arguments.pop("labels"), **arguments)


def test_a_rate_that_diverges_says_so() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    with pytest.raises(InvalidInput, match="tenth"):
        for _ in islice(minibatch.epochs(network, X, Y, learning_rate=1e30, batch=1), 20):
            pass


def test_scores_must_be_one_row_per_example() -> None:
    with pytest.raises(InvalidInput, match="scores"):
        minibatch.epochs(
            torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Flatten(0)), X.float(), Y, learning_rate=1, batch=1
        )
