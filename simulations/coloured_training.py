"""Training on coloured digits with and without a regulariser by functional entropy.

The experiment that `multimodal_bias` draws. A network sees x = g (x) c: a grey digit g in a colour c, which gives the
class away while it learns and misleads after. The two modalities are g in R^64 and c in R^3, known from the generator:
to perturb the image is to show (g + S_g^(1/2) e) (x) c with the colour held, to perturb the colour is to show
g (x) (c + S_c^(1/2) e), where S_g and S_c are the variances of each feature over the training images. The rows of a
seed share data, first weights and order of batches: differences are paired.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import xarray

from theory import checks, modalities, seeding
from theory.entropy.regulariser import FORMS, FunctionalEntropyRegulariser
from theory.lab.simulation import Simulation

PARTS = ("validation", "coloured", "grey", "wrong")
"""Validation images; test images in their class's colour, in none, and in that of another class."""
MODALITIES = ("image", "colour")
SIGNS = {"none": "none", "information": "1/I", "variance": "1/V", "balance": "balance", "oracle": "oracle"}
"""Forms of the regulariser and what figures call them; "oracle" adds the information of the colour to the loss."""
FLAGS = ("cold", "kl")
SHEET = 8
"""Images of each test set that are kept, for the figure."""


@dataclass(frozen=True)
class ColouredTraining(Simulation):
    """A network trained on digits whose colour gives the class away, with several regularisers."""

    seeds: int = 4
    rows: tuple[str, ...] = ("none", "information 0.01", "balance 0.1", "oracle 0.1")
    """forms with strengths; then perhaps "cold", without warm-up, and "kl", of that instead of the cross-entropy"""
    epochs: int = 10
    """passes through the training images"""
    warm_up: int = 3
    """epochs before the regulariser is switched on"""
    draws: int = 3
    """perturbations of each sample and modality in training"""
    measured: int = 30
    """perturbations of each validation image for the information shown"""
    colours: str = "random"
    """of the classes: "random" or "hues", see `theory.modalities.palette`"""
    noise: float = 0.05
    """deviation of the colour's noise"""
    width: int = 96
    """of the two hidden layers"""
    batch: int = 64
    """images per step"""
    learning_rate: float = 1e-3
    """of Adam"""

    def validate(self) -> None:
        """Refuse what the run could not do."""
        if "none" not in self.rows or len(set(self.rows)) < len(self.rows):
            checks.fail("rows", "different rows with 'none' among them", self.rows, "'none' is what they are paired to")
        for row in self.rows:
            parsed(row)
        for name in ("epochs", "draws", "measured", "width"):
            checks.integer(name, getattr(self, name), minimum=1)
        checks.integer("warm_up", self.warm_up, 0, self.epochs)
        checks.integer("batch", self.batch, minimum=2, maximum=1000)
        checks.choice("colours", self.colours, modalities.PALETTES)
        checks.number("noise", self.noise, 0)
        checks.number("learning_rate", self.learning_rate, 0, open_low=True)

    def run(self, seed: int, progress: Any = None) -> xarray.Dataset:
        """Accuracy after every epoch on every part, validation loss and information at the end, some images."""
        data = modalities.coloured_digits(seed, colours=self.colours, noise=self.noise)
        accuracy = np.empty((len(self.rows), self.epochs, len(PARTS)))
        loss, information = np.empty(len(self.rows)), np.empty((len(self.rows), len(MODALITIES)))
        for number, row in enumerate(self.rows):
            network, accuracy[number] = self.train(data, row, seed)
            loss[number], information[number] = self.measure(network, data, seed)
            if progress:
                progress((number + 1) / len(self.rows))
        sheet = np.stack([data[part].X[:SHEET].reshape(SHEET, 8, 8, 3) for part in PARTS[1:]])
        return xarray.Dataset(
            {
                "accuracy": (("row", "epoch", "part"), accuracy),
                "loss": (("row",), loss),
                "information": (("row", "modality"), information),
                "sheet": (("shown", "image", "y", "x", "channel"), np.clip(sheet, 0, 1)),
            },
            {
                "row": list(self.rows),
                "epoch": np.arange(1, self.epochs + 1),
                "part": list(PARTS),
                "modality": list(MODALITIES),
                "shown": list(PARTS[1:]),
            },
        )

    def train(self, data: dict[str, modalities.Coloured], row: str, seed: int) -> tuple[torch.nn.Module, np.ndarray]:
        """The trained network, and the accuracy (epochs, parts) after every epoch."""
        form, strength, flags = parsed(row)
        grey, colour, labels = tensors(data["train"])
        network = self.network(seed)
        penalty = self.regulariser(data, row, self.draws, seed)
        head = partial(see, network)
        optimiser = torch.optim.Adam(network.parameters(), lr=self.learning_rate)
        order = seeding.torch_generator("batches", seed)
        accuracy = np.empty((self.epochs, len(PARTS)))
        for epoch in range(self.epochs):
            regularised = form != "none" and ("cold" in flags or epoch >= self.warm_up)
            for rows in torch.randperm(len(labels), generator=order).split(self.batch):
                seen = [grey[rows], colour[rows]]
                loss = torch.nn.functional.cross_entropy(head(*seen), labels[rows])
                if regularised:
                    loss = loss + (strength * penalty.terms(head, seen)[1] if form == "oracle" else penalty(head, seen))
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            accuracy[epoch] = [score(network, data[part]) for part in PARTS]
        return network, accuracy

    def measure(
        self, network: torch.nn.Module, data: dict[str, modalities.Coloured], seed: int
    ) -> tuple[float, np.ndarray]:
        """Cross-entropy of the validation images, and I_image and I_colour over them."""
        grey, colour, labels = tensors(data["validation"])
        ruler = self.regulariser(data, "information 1", self.measured, seed)
        with torch.no_grad():
            loss = float(torch.nn.functional.cross_entropy(see(network, grey, colour), labels))
            terms = ruler.terms(partial(see, network), [grey, colour])
        return loss, terms.numpy()

    def regulariser(
        self, data: dict[str, modalities.Coloured], row: str, draws: int, seed: int
    ) -> FunctionalEntropyRegulariser:
        """The library's, with the training images' variances."""
        form, strength, flags = parsed(row)
        return FunctionalEntropyRegulariser(
            form if form in FORMS else "information",
            strength=strength,
            draws=draws,
            divergence="kl" if "kl" in flags else "cross_entropy",
            covariance=[data["train"].grey.var(axis=0), data["train"].colour.var(axis=0)],
            generator=seeding.torch_generator("perturbations", seed),
        )

    def network(self, seed: int) -> torch.nn.Module:
        """192 inputs, two hidden layers, ten classes; its first weights depend on the seed alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeding.torch_generator("first weights", seed).initial_seed())
            hidden = [torch.nn.Linear(192, self.width), torch.nn.ReLU(), torch.nn.Linear(self.width, self.width)]
            return torch.nn.Sequential(*hidden, torch.nn.ReLU(), torch.nn.Linear(self.width, modalities.CLASSES))


def parsed(row: str) -> tuple[str, float, frozenset[str]]:
    """Form, strength and flags of a row: "balance 0.1", "information 0.01 cold kl" or "none".

    Raises:
        InvalidInput: another form or flag, a strength that is not a number >= 0.
    """
    form, *rest = row.split() or [""]
    checks.choice("form of a row", form, SIGNS)
    if form == "none" and not rest:
        return form, 0.0, frozenset()
    for flag in rest[1:]:
        checks.choice(f"flag of row {row!r}", flag, FLAGS)
    try:
        strength = float(rest[0]) if form != "none" else float("nan")
    except (ValueError, IndexError):
        strength = float("nan")
    return form, checks.number(f"strength in {row!r}", strength, 0), frozenset(rest[1:])


def label(row: str) -> str:
    """A row as figures show it."""
    form, strength, flags = parsed(row)
    return SIGNS[form] if form == "none" else " ".join([SIGNS[form], f"{strength:g}", *sorted(flags)])


def tensors(part: modalities.Coloured) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Grey images, colours and labels for the network."""
    return torch.from_numpy(part.grey).float(), torch.from_numpy(part.colour).float(), torch.from_numpy(part.labels)


def see(network: torch.nn.Module, grey: torch.Tensor, colour: torch.Tensor) -> torch.Tensor:
    """Logits of x = g (x) c."""
    return network((grey[:, :, None] * colour[:, None]).flatten(1))


def score(network: torch.nn.Module, part: modalities.Coloured) -> float:
    """Share of images classified rightly."""
    grey, colour, labels = tensors(part)
    with torch.no_grad():
        return float((see(network, grey, colour).argmax(dim=1) == labels).double().mean())
