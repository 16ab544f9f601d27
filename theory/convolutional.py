"""The convolutional network of the paper's experiments. It is OUTSIDE THE THEOREMS, which speak of `TwoLayer`.

Cf. Li, Soltanolkotabi & Oymak (2020): two convolutional layers, a dense one and one output per class, 4.8 million
parameters on MNIST. Kernels of 3 x 3 without padding and one 2 x 2 maximum before the dense layer give that number.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from theory import checks, seeding


class Convolutional(nn.Module):
    """Convolution, convolution, 2 x 2 maximum, dense, output; ReLU between; all weights trained. Outside the theorems.

    Weights start as independent normal numbers of variance 2/fan-in (He et al., 2015), biases at zero.

    Attributes:
        shape: (channels, height, width) of an image.
        layers: what it is made of.

    Args:
        shape: of an image; height and width at least 6.
        channels: filters of the two convolutional layers.
        dense: units of the dense layer.
        classes: number of outputs.
        seed: of the stream "convolutional weights", >= 0.

    Raises:
        InvalidInput: an image too small for the kernels, a layer without units.

    Example:
        >>> paper = Convolutional((1, 28, 28), channels=(64, 128), dense=256)
        >>> paper.size
        4795914
        >>> Convolutional((1, 8, 8), channels=(4, 8), dense=16)(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 10])
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        channels: tuple[int, ...] = (64, 128),
        dense: int = 256,
        classes: int = 10,
        seed: int = 0,
    ):
        super().__init__()
        if len(shape) != 3 or len(channels) != 2:
            got = f"{tuple(shape)} and {tuple(channels)}"
            checks.fail("shape and channels", "(channels, height, width) and two layers' filters", got, "pass 3 and 2")
        depth, height, width = (checks.integer("shape", length, minimum=1) for length in shape)
        first, second = (checks.integer("channels", count, minimum=1) for count in channels)
        dense = checks.integer("dense", dense, minimum=1)
        classes = checks.integer("classes", classes, minimum=2)
        if min(height, width) < 6:
            checks.fail(
                "shape", "images of at least 6 x 6", f"{height} x {width}", "the kernels and the maximum need it"
            )
        self.shape = (depth, height, width)
        skip_init = nn.utils.skip_init  # no draws from the global generator
        self.layers = nn.Sequential(
            skip_init(nn.Conv2d, depth, first, 3),
            nn.ReLU(),
            skip_init(nn.Conv2d, first, second, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            skip_init(nn.Linear, second * ((height - 4) // 2) * ((width - 4) // 2), dense),
            nn.ReLU(),
            skip_init(nn.Linear, dense, classes),
        )
        generator = seeding.torch_generator("convolutional weights", seed)
        with torch.no_grad():
            for weight in self.parameters():
                scale = math.sqrt(2 / weight[0].numel()) if weight.ndim > 1 else 0.0
                weight.copy_(torch.randn(weight.shape, generator=generator, dtype=torch.float64) * scale)

    @property
    def size(self) -> int:
        """Number of parameters."""
        return sum(weight.numel() for weight in self.parameters())

    def forward(self, images: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n classes"]:
        """Scores of the classes, one row per image."""
        return self.layers(images)
