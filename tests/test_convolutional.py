"""The convolutional network: the paper's size, its initialisation, what it refuses."""

import pytest
import torch

from theory.checks import InvalidInput
from theory.convolutional import Convolutional


def test_the_papers_network_has_4_8_million_parameters() -> None:
    paper = Convolutional((1, 28, 28))
    by_layer = [64 * 9 + 64, 128 * 64 * 9 + 128, 256 * 128 * 12 * 12 + 256, 10 * 256 + 10]
    assert paper.size == sum(by_layer) == 4_795_914


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 7, 9)])
def test_one_score_per_class(shape: tuple[int, int, int]) -> None:
    network = Convolutional(shape, (3, 5), 7, classes=4)
    images = torch.rand(6, *shape)
    scores = network(images)
    assert scores.shape == (6, 4)
    assert torch.allclose(network(images[2:3])[0], scores[2], atol=1e-5)  # each image by itself


def test_layers_are_those_of_the_docstring() -> None:
    network = Convolutional((2, 9, 8), (3, 4), 6, classes=3, seed=1)
    functional = torch.nn.functional
    first, first_bias, second, second_bias, dense, dense_bias, last, last_bias = network.parameters()
    hidden = functional.conv2d(images := torch.rand(2, 2, 9, 8), first, first_bias).relu()
    hidden = functional.max_pool2d(functional.conv2d(hidden, second, second_bias).relu(), 2)
    assert hidden.shape == (2, 4, 2, 2)
    scores = functional.linear((hidden.flatten(1) @ dense.T + dense_bias).relu(), last, last_bias)
    assert torch.allclose(network(images), scores, atol=1e-5)


def test_weights_repeat_by_seed_and_leave_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    one, same, other = (Convolutional((1, 8, 8), seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(next(one.parameters()), next(other.parameters()))


def test_weights_have_variance_two_over_fan_in_and_biases_are_zero() -> None:
    for weight in Convolutional((1, 28, 28), (32, 64), 128).parameters():
        if weight.ndim == 1:
            assert not weight.any()
        else:
            wanted = (2 / weight[0].numel()) ** 0.5
            assert float(weight.detach().std()) == pytest.approx(wanted, rel=4 / (2 * weight.numel()) ** 0.5)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"shape": (1, 5, 8)}, "at least 6 x 6"),
        ({"shape": (8, 8)}, "shape"),
        ({"shape": (0, 8, 8)}, "shape"),
        ({"shape": (1, 8, 8), "channels": (4, 0)}, "channels"),
        ({"shape": (1, 8, 8), "channels": (4, 8, 8)}, "channels"),
        ({"shape": (1, 8, 8), "dense": 0}, "dense"),
        ({"shape": (1, 8, 8), "classes": 1}, "classes"),
        ({"shape": (1, 8, 8), "seed": -1}, "seed"),
    ],
)
def test_bad_settings(settings: dict, word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        Convolutional(**settings)
