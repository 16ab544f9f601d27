"""Images with noisy labels, learned by two networks: the experiment that `corruption` and `distance` draw.

The two-layer network of the theorems learns parity (even digits -1, odd digits +1) by full-batch descent on squares;
its clusters are found by k-means inside each parity. A convolutional network learns the ten digits by minibatch descent
on the cross-entropy; it is OUTSIDE THE THEOREMS. Both are measured along the way on observed and true training labels,
on clean test images, and on held-out images whose labels are as noisy as the training labels: what an early stopper
without true labels can see.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import xarray

from theory import activations, checks, clusterable, datasets, descent, label_noise, minibatch, seeding
from theory.convolutional import Convolutional
from theory.estimate import Estimate
from theory.lab.simulation import Simulation
from theory.networks import TwoLayer

TITLES = {"two-layer": "two-layer network", "convolutional": "convolutional net (outside the theorem)"}
KINDS = ("observed", "true", "test")
"""Labels that an accuracy refers to: observed and true ones of the training images, those of clean test images."""
CLASSES = 10
RULE = "early stop, where the loss on held-out images with equally noisy labels is least"
"""How the early stop is chosen: without true labels."""
_ALPHAS = {"two-layer": [-1.0, 1.0], "convolutional": list(range(CLASSES))}
_DIGITS = 1797


@dataclass(frozen=True)
class NoisyImages(Simulation):
    """Two networks trained on images with corrupted labels, measured along the way."""

    data: Literal["digits", "mnist", "cifar10"] = "digits"
    """digits come with scikit-learn; the others are read from the files in `data_root`"""
    data_root: str | None = None
    """folder with the IDX files of MNIST or the binary version of CIFAR-10"""
    networks: tuple[Literal["two-layer", "convolutional"], ...] = ("two-layer", "convolutional")
    """which to train; the convolutional one is outside the theorem"""
    train_size: int = 300
    """training images"""
    validation_size: int = 150
    """held-out images with labels as noisy as the training labels: they alone decide when to stop"""
    test_size: int = 500
    """clean images, for the figure only"""
    mode: Literal["exact", "redraw", "flip", "adversarial"] = "exact"
    """exact: the rate's share of each cluster's labels changes; redraw: that share is redrawn from all classes"""
    rates: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4)
    """corruption of the two classes; half corrupted is chance"""
    class_rates: tuple[float, ...] = (0.0, 0.15, 0.3, 0.45, 0.6)
    """corruption of the ten classes, as many as `rates`; nine tenths corrupted is chance"""
    centred: bool = True
    """subtract the training images' mean before scaling to norm 1: the kernel is better conditioned then"""
    clusters_per_class: int = 5
    """k-means clusters inside each parity, one for each of its five digits by default"""
    width: int = 200
    """hidden units of the two-layer network, even (the initialisation is paired)"""
    activation: str = "erf"
    """of the two-layer network; smooth, so that the theorems' constants are finite"""
    step_fraction: float = 0.9
    """step size as a share of 1/lambda_max of the initial kernel"""
    steps: int = 300
    """full-batch steps of the two-layer network"""
    channels: tuple[int, int] = (16, 32)
    """filters of the two convolutional layers; the paper has 64 and 128"""
    dense: int = 128
    """units of the dense layer; the paper has 256"""
    learning_rate: float = 0.05
    """of the convolutional network, momentum 0.9"""
    batch: int = 50
    """images per step of the convolutional network"""
    epochs: int = 40
    """passes of the convolutional network through its training images"""
    records: int = 18
    """measurements along each run, the start and the end among them"""
    device: str = "cpu"
    """where the networks are trained, cpu or cuda"""

    def validate(self) -> None:
        """Refuse what the run could not do, before any file is read."""
        checks.choice("data", self.data, datasets.NAMES)
        if not self.networks:
            checks.fail("networks", f"at least one of {list(TITLES)}", "none", "name one")
        for network in self.networks:
            checks.choice("networks", network, TITLES)
        sizes = [checks.integer(f"{name}_size", getattr(self, f"{name}_size"), minimum=CLASSES) for name in _PARTS]
        if self.data == "digits" and sum(sizes) > _DIGITS:
            checks.fail("train, validation and test size", f"at most {_DIGITS} digits in all", sum(sizes), "lower one")
        checks.choice("mode", self.mode, label_noise.MODES)
        for name in ("rates", "class_rates"):
            rates = [checks.number(name, rate, 0, 1) for rate in getattr(self, name)]
            if not rates or sorted(set(rates)) != rates:
                checks.fail(name, "increasing numbers in [0, 1]", rates, "sort them")
        if len(self.rates) != len(self.class_rates):
            checks.fail("class_rates", f"{len(self.rates)} levels, as rates", len(self.class_rates), "make them equal")
        checks.integer("clusters_per_class", self.clusters_per_class, minimum=1)
        checks.even("width", self.width)
        activations.get(self.activation)
        checks.number("step_fraction", self.step_fraction, 0, 2, open_low=True)
        checks.number("learning_rate", self.learning_rate, 0, open_low=True)
        for name in ("batch", "dense"):
            checks.integer(name, getattr(self, name), minimum=1)
        if [checks.integer("channels", filters, minimum=1) for filters in self.channels][2:] or len(self.channels) < 2:
            checks.fail("channels", "filters of two layers", self.channels, "give two numbers")
        checks.integer("records", self.records, minimum=2)
        for name in ("steps", "epochs"):
            checks.integer(name, getattr(self, name), minimum=self.records - 1)
        if self.device != "cpu" and not torch.cuda.is_available():
            checks.fail("device", "cpu, where torch finds no CUDA device", self.device, "leave the flag out")

    @classmethod
    def full_size(cls) -> dict[str, Any]:
        """Settings that the full profiles share: redrawn labels and the paper's convolutional network."""
        sizes = {"train_size": 1000, "validation_size": 300, "test_size": 497, "mode": "redraw", "records": 40}
        return sizes | {"width": 1000, "steps": 4000, "channels": (64, 128), "dense": 256, "epochs": 100}

    def images(self, seed: int) -> dict[str, datasets.Dataset]:
        """Training, validation and test images of one repetition; test images are of the published test set if any.

        Raises:
            InvalidInput: files that are missing or damaged; the message says which, and where to put them.
        """
        train, validation, test = (getattr(self, f"{name}_size") for name in _PARTS)
        if self.data == "digits":
            known = datasets.load("digits", size=train + validation + test, seed=seed)
            unseen = known.subset(np.arange(train + validation, len(known.labels)))
        else:
            known = datasets.load(self.data, self.data_root, split="train", size=train + validation, seed=seed)
            unseen = datasets.load(self.data, self.data_root, split="test", size=test, seed=seed)
        rows = np.arange(train + validation)
        return {"train": known.subset(rows[:train]), "validation": known.subset(rows[train:]), "test": unseen}

    def inputs(self, images: dict[str, datasets.Dataset]) -> dict[str, np.ndarray]:
        """Unit rows (n, d) for the two-layer network, less the training images' mean if `centred`."""
        rows = {name: part.images.reshape(len(part.labels), -1) for name, part in images.items()}
        mean = rows["train"].mean(axis=0) if self.centred else 0.0
        return {name: _unit(part - mean) for name, part in rows.items()}

    def clusters(self, images: dict[str, datasets.Dataset], seed: int) -> clusterable.ClusterableData:
        """The training images as a clusterable set: k-means inside each parity."""
        return clusterable.measure(
            self.inputs(images)["train"], images["train"].parity, self.clusters_per_class, seed=seed
        )

    def labels(
        self, network: str, rate: float, images: dict[str, datasets.Dataset], seed: int
    ) -> tuple[label_noise.CorruptedLabels, label_noise.CorruptedLabels]:
        """Corrupted labels of the training images, by cluster, and of the validation images, by class."""
        held_out = int(seeding.numpy_generator("validation labels", seed).integers(2**31))
        truth = {name: _truth(network, part) for name, part in images.items()}
        corrupt = label_noise.corrupt
        if network == "two-layer":
            train = corrupt(self.clusters(images, seed), rate, self.mode, seed=seed)
        else:
            train = corrupt(truth["train"], rate, self.mode, alphas=_ALPHAS[network], seed=seed)
        return train, corrupt(truth["validation"], rate, self.mode, alphas=_ALPHAS[network], seed=held_out)

    def two_layer(self, seed: int) -> TwoLayer:
        """The two-layer network of one repetition, at W0."""
        dimension = {"digits": 64, "mnist": 784, "cifar10": 3072}[self.data]
        return TwoLayer.initialise(self.width, dimension, self.activation, paired=True, seed=seed, device=self.device)

    def run(self, seed: int, progress: Any = None) -> xarray.Dataset:
        """Both networks at every level of corruption: accuracies, held-out loss and distance at the recorded times."""
        images = self.images(seed)
        cells: list[xarray.Dataset] = []
        total = len(self.networks) * len(self.rates)
        for network in self.networks:
            levels = []
            for rate in self.rates if network == "two-layer" else self.class_rates:
                levels.append(self.train(network, rate, images, seed).assign_coords(rate=rate))
                if progress is not None:
                    progress((len(cells) * len(self.rates) + len(levels)) / total)
            cells.append(xarray.concat(levels, dim="level").assign(time=levels[0].time))
        return xarray.concat(cells, dim="network").assign_coords(network=list(self.networks))

    def train(self, network: str, rate: float, images: dict[str, datasets.Dataset], seed: int) -> xarray.Dataset:
        """One network at one level of corruption."""
        train, held_out = self.labels(network, rate, images, seed)
        last = self.steps if network == "two-layer" else self.epochs
        times = _schedule(last, self.records)
        follow = self._descend if network == "two-layer" else self._epochs
        shown = {"observed": train.y, "true": train.truth, "test": _truth(network, images["test"])}
        accuracy, loss, distance = [], [], []
        for moved, outputs in follow(images, train.y, times, seed):
            guesses = {name: _guess(network, outputs[name]) for name in _PARTS}
            guesses |= {"observed": guesses["train"], "true": guesses["train"]}
            accuracy.append([float(np.mean(guesses[kind] == shown[kind])) for kind in KINDS])
            loss.append(_LOSSES[network](outputs["validation"], held_out.y))
            distance.append(moved)
        return xarray.Dataset(
            {
                "accuracy": (("kind", "record"), np.array(accuracy).T),
                "validation_loss": ("record", np.array(loss)),
                "distance": ("record", np.array(distance)),
                "corrupted": float(np.mean(train.mask)),
                "time": ("record", times),
            },
            {"kind": list(KINDS)},
        )

    def _descend(
        self, images: dict[str, datasets.Dataset], y: np.ndarray, times: np.ndarray, seed: int
    ) -> Iterator[tuple[float, dict[str, np.ndarray]]]:
        """Relative distance and outputs of the two-layer network at the recorded steps."""
        network = self.two_layer(seed)
        inputs = {name: torch.from_numpy(part).to(network.W) for name, part in self.inputs(images).items()}
        step = self.step_fraction * descent.largest_step(network, inputs["train"]) / 2
        start = network.W.detach().clone()
        for now in descent.descend(network, inputs["train"], y, step):
            if now.tau in times:
                outputs = _outputs(network.at(now.W), inputs)
                yield float((now.W - start).norm() / start.norm()), outputs
            if now.tau == times[-1]:
                return

    def _epochs(
        self, images: dict[str, datasets.Dataset], y: np.ndarray, times: np.ndarray, seed: int
    ) -> Iterator[tuple[float, dict[str, np.ndarray]]]:
        """Relative distance and outputs of the convolutional network at the recorded epochs."""
        shape = images["train"].pixels.shape[1:]
        network = Convolutional(shape, self.channels, self.dense, CLASSES, seed).to(self.device)
        inputs = {name: torch.from_numpy(part.images).to(self.device, torch.float32) for name, part in images.items()}
        start = _weights(network)
        passes = minibatch.epochs(
            network, inputs["train"], y, learning_rate=self.learning_rate, batch=self.batch, seed=seed
        )
        for now in passes:
            if now.number in times:
                yield float((_weights(now.network) - start).norm() / start.norm()), _outputs(now.network, inputs)
            if now.number == times[-1]:
                return


def stopped(results: xarray.Dataset) -> xarray.Dataset:
    """The results at the early stop: where the loss on held-out, equally noisy labels is least. No peeking."""
    return results.isel(record=results.validation_loss.argmin("record"))


def ended(results: xarray.Dataset) -> xarray.Dataset:
    """The results at the end of training."""
    return results.isel(record=-1)


def over_seeds(draws: Any, low: float = -1.0, high: float = 1.0) -> Estimate:
    """The mean over seeds (axis 0) with Student's interval; one seed says no more than [low, high]."""
    sample = np.asarray(draws, dtype=float)
    if len(sample) > 1:
        return Estimate.mean(sample, method="mean over seeds, Student's t")
    shape = sample.shape[1:]
    return Estimate.enclosure(np.full(shape, low), np.full(shape, high), method="one seed: no interval")


_PARTS = ("train", "validation", "test")
_LOSSES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "two-layer": lambda outputs, y: float(np.square(outputs - y).mean()),
    "convolutional": lambda scores, y: float(
        torch.nn.functional.cross_entropy(torch.from_numpy(scores), torch.from_numpy(y).long())
    ),
}


def _truth(network: str, part: datasets.Dataset) -> np.ndarray:
    return part.parity if network == "two-layer" else part.labels.astype(float)


def _guess(network: str, outputs: np.ndarray) -> np.ndarray:
    return np.where(outputs > 0, 1.0, -1.0) if network == "two-layer" else outputs.argmax(axis=1).astype(float)


@torch.no_grad()
def _outputs(network: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {
        name: torch.cat([network(rows) for rows in part.split(1000)]).double().numpy(force=True)
        for name, part in inputs.items()
    }


def _weights(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in network.parameters()])


def _schedule(last: int, records: int) -> np.ndarray:
    """(records,) distinct whole numbers from 0 to `last`, about evenly spaced in their logarithm."""
    ideal = np.expm1(np.linspace(0, np.log1p(last), records)).round().astype(int)
    position = np.arange(records)
    return np.minimum(np.maximum.accumulate(ideal - position) + position, last - position[::-1])


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
