"""Contrastive training on views of digits, some of them outliers, under six rules for the weights.

The experiment that `weighted_contrast` draws. Each image has two global views, never outliers, and local ones, of which
a share shows something else. A small network is trained by weighted InfoNCE; probes learn the digits from its
embeddings of clean images. Within a seed all rules start at the same weights and see the same views: they are paired.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray

from theory import checks, contrastive, datasets, importance, outlier, seeding
from theory.lab.simulation import Simulation

RULES = ("uniform", "all", "global", "kinds", "oracle", "permuted")
"""Weights: all equal; exp(-d2/tau) about the mean of all views; about the mean of the two global views; of the latter
the batch's mean for each kind of view, global or local, which knows nothing of outliers; 0 for outliers; those of
`global` on the wrong views of the batch."""
SCENARIOS = {
    "nuisance": "noise for the digit, beside nuisance",
    "noise": "noise for the digit",
    "swap": "another image",
    "crop": "a corner of the image",
    "pair": "a digit of the partner class",
}
"""What an outlier view shows. Only the first has inputs beside the pixels: noisy copies of numbers of the image."""
PROBES = ("few", "all")
"""Probes: trained on `shots` labels of each digit, or on all training labels."""
SHEET = 6
"""Images of which all views are kept, for the figure."""
_SIDE = 8


@dataclass(frozen=True)
class ContrastViews(Simulation):
    """A small network trained by weighted InfoNCE on digits, with outlier views of several kinds."""

    seeds: int = 3
    scenarios: tuple[str, ...] = ("nuisance", "swap", "pair")
    """what outliers show, see `SCENARIOS`"""
    share: float = 0.7
    """chance of a local view to be an outlier"""
    views: int = 6
    """of each image; the first two are global, never outliers"""
    nuisance: int = 3
    """inputs beside the pixels in the scenario `nuisance`, standard normal, one draw for an image"""
    nuisance_noise: float = 0.5
    """deviation of their noise from view to view"""
    pixel_noise: float = 0.3
    """deviation of the noise of each pixel (0 to 1) from view to view"""
    temperature: float = 4.0
    """of the weights"""
    contrast: float = 0.2
    """temperature of the InfoNCE softmax"""
    dimension: int = 16
    """of the embedding"""
    width: int = 128
    """of the hidden layer"""
    batch: int = 64
    """images per step"""
    epochs: int = 3
    """passes through the training images"""
    learning_rate: float = 1e-3
    """of Adam"""
    shots: int = 10
    """labels of each digit for the probe with few"""
    repeats: int = 5
    """draws of those labels, whose accuracies are averaged"""
    test_share: float = 0.2
    """of the images, for the probes only"""

    def validate(self) -> None:
        """Refuse what the run could not do."""
        if not self.scenarios:
            checks.fail("scenarios", f"at least one of {list(SCENARIOS)}", "none", "name one")
        for scenario in self.scenarios:
            checks.choice("scenarios", scenario, SCENARIOS)
        checks.number("share", self.share, 0, 1)
        checks.number("test_share", self.test_share, 0, 1, open_low=True, open_high=True)
        checks.integer("views", self.views, minimum=3)
        checks.integer("batch", self.batch, minimum=2, maximum=1000)
        for name in ("nuisance", "dimension", "width", "epochs", "shots", "repeats"):
            checks.integer(name, getattr(self, name), minimum=1)
        for name in ("temperature", "contrast", "learning_rate"):
            checks.number(name, getattr(self, name), 0, open_low=True)
        for name in ("nuisance_noise", "pixel_noise"):
            checks.number(name, getattr(self, name), 0)

    def run(self, seed: int, progress: Any = None) -> xarray.Dataset:
        """Probe accuracies of every scenario and rule, the last mean weights of local views, some images."""
        train, test = datasets.load("digits", unit_rows=False).split(self.test_share, seed)
        shape = (len(self.scenarios), len(RULES))
        sheet: dict[str, Any] = {}
        accuracy, sizes, kept = np.empty((*shape, len(PROBES))), np.empty(shape), np.empty((*shape, 2))
        for row, scenario in enumerate(self.scenarios):
            for column, rule in enumerate(RULES):
                network, w, which = self.train(train, scenario, rule, seed)
                if rule == "global" and not sheet:
                    sheet = self.sheet(network, train, scenario, seed)
                accuracy[row, column] = self.probe(network, train, test, scenario, seed)
                sizes[row, column] = importance.effective_share(w)
                local = w[:, outlier.GLOBAL_VIEWS :], which[:, outlier.GLOBAL_VIEWS :]
                kept[row, column] = [_mean(local[0][local[1] == kind]) for kind in (False, True)]
                if progress:
                    progress((row * len(RULES) + column + 1) / (shape[0] * shape[1]))
        return xarray.Dataset(
            {
                "accuracy": (("scenario", "rule", "probe"), accuracy),
                "ess": (("scenario", "rule"), sizes),
                "weight": (("scenario", "rule", "kind"), kept),
                **sheet,
            },
            {
                "scenario": list(self.scenarios),
                "rule": list(RULES),
                "probe": list(PROBES),
                "kind": ["clean", "outlier"],
            },
        )

    def train(
        self, images: datasets.Dataset, scenario: str, rule: str, seed: int
    ) -> tuple[torch.nn.Module, np.ndarray, np.ndarray]:
        """The trained network, and the weights and outliers (batches of the last epoch, M) that it was trained with."""
        checks.choice("rule", rule, RULES)
        X = torch.from_numpy(images.X).float()
        views = self.viewer(images, scenario, seed)
        network = self.network(X.shape[1] + self.nuisance * (scenario == "nuisance"), seed)
        optimiser = torch.optim.Adam(network.parameters(), lr=self.learning_rate)
        order = seeding.torch_generator("batches", seed)
        shuffle = seeding.torch_generator("permuted weights", seed)
        for epoch in range(self.epochs):
            seen = []
            for rows in torch.randperm(len(X), generator=order).split(self.batch):
                if len(rows) < self.batch:  # a smaller batch would have another number of negatives
                    continue
                inputs, which = views(rows)
                z = network(inputs)
                w = self.weights(z.detach(), which, rule, shuffle)
                optimiser.zero_grad()
                contrastive.info_nce(z, w, temperature=self.contrast).backward()
                optimiser.step()
                if epoch == self.epochs - 1:
                    seen.append((w, which))
        last, outliers = (torch.cat(parts).numpy() for parts in zip(*seen, strict=True))
        return network, last, outliers

    def sheet(self, network: torch.nn.Module, images: datasets.Dataset, scenario: str, seed: int) -> dict[str, Any]:
        """Views of a few images of one more batch: their pixels, which are outliers, and the weights (of mean 1)."""
        inputs, which = self.viewer(images, scenario, seed + 1)(torch.arange(self.batch))
        with torch.no_grad():
            w = self.weights(network(inputs), which, "global", seeding.torch_generator("unused", seed))
        pixels = inputs[..., : _SIDE**2].reshape(self.batch, self.views, _SIDE, _SIDE)
        shown = {"sheet": (("image", "view", "row", "column"), pixels), "sheet_weight": (("image", "view"), w)}
        shown["sheet_outlier"] = (("image", "view"), which)
        return {name: (dims, values[:SHEET].numpy()) for name, (dims, values) in shown.items()}

    def weights(self, z: torch.Tensor, which: torch.Tensor, rule: str, shuffle: torch.Generator) -> torch.Tensor:
        """The weights of a batch (N, M), of mean 1."""
        if rule == "uniform":
            return torch.ones(z.shape[:2])
        if rule == "oracle":
            clean = (~which).float()
            return clean / clean.mean()
        unit = torch.nn.functional.normalize(z, dim=-1)
        centre = "all" if rule == "all" else "global"
        w: torch.Tensor = outlier.weights(unit, self.temperature, centre=centre, normalise="batch")
        if rule == "kinds":
            halves = w[:, : outlier.GLOBAL_VIEWS], w[:, outlier.GLOBAL_VIEWS :]
            return torch.cat([half.mean().expand_as(half) for half in halves], dim=1)
        if rule == "permuted":
            w = w.flatten()[torch.randperm(w.numel(), generator=shuffle)].reshape(w.shape)
        return w

    def network(self, inputs: int, seed: int) -> torch.nn.Module:
        """A network with one hidden layer; its first weights depend on the seed alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeding.torch_generator("first weights", seed).initial_seed())
            return torch.nn.Sequential(
                torch.nn.Linear(inputs, self.width), torch.nn.ReLU(), torch.nn.Linear(self.width, self.dimension)
            )

    def viewer(self, images: datasets.Dataset, scenario: str, seed: int) -> Any:
        """A function from row numbers (N,) to views (N, M, inputs) and outliers (N, M), which draws on at each call."""
        X, labels = torch.from_numpy(images.X).float(), torch.from_numpy(images.labels)
        draw = seeding.torch_generator(f"views of the scenario {scenario}", seed)
        of_class = [torch.nonzero(labels == digit).flatten() for digit in range(10)]

        def shown(rows: torch.Tensor) -> torch.Tensor:
            """What the outlier views (n, M, pixels) of these images would show."""
            size = (len(rows), self.views)
            if scenario in ("nuisance", "noise"):
                return torch.rand(*size, X.shape[1], generator=draw)
            if scenario == "swap":
                return X[torch.randint(len(X), size, generator=draw)]
            if scenario == "crop":
                return _corners(X[rows], torch.randint(4, size, generator=draw))
            places = torch.rand(size, generator=draw)
            partners = [of_class[int(label) ^ 1] for label in labels[rows]]  # 0 and 1, 2 and 3, ...
            return torch.stack([X[own[(place * len(own)).long()]] for own, place in zip(partners, places, strict=True)])

        def views(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            which = torch.rand(len(rows), self.views, generator=draw) < self.share
            which[:, : outlier.GLOBAL_VIEWS] = False
            pixels = torch.where(which[..., None], shown(rows), X[rows][:, None])
            pixels = pixels + self.pixel_noise * torch.randn(pixels.shape, generator=draw)
            if scenario != "nuisance":
                return pixels, which
            own = torch.randn(len(rows), 1, self.nuisance, generator=draw)
            noise = torch.randn(len(rows), self.views, self.nuisance, generator=draw)
            return torch.cat([pixels, own + self.nuisance_noise * noise], dim=-1), which

        return views

    def probe(
        self, network: torch.nn.Module, train: datasets.Dataset, test: datasets.Dataset, scenario: str, seed: int
    ) -> list[float]:
        """Test accuracies of logistic regression on embeddings of clean images, with few and with all labels."""
        from sklearn.linear_model import LogisticRegression

        draw = seeding.torch_generator("nuisance of the probe", seed)
        features = []
        for part in (train, test):
            X = torch.from_numpy(part.X).float()
            if scenario == "nuisance":
                X = torch.cat([X, torch.randn(len(X), self.nuisance, generator=draw)], dim=1)
            with torch.no_grad():
                features.append(torch.nn.functional.normalize(network(X), dim=1).double().numpy())
        pick = seeding.numpy_generator("labels of the probe", seed)
        few = [self.drawn(train.labels, pick) for _ in range(self.repeats)]
        scores = []
        for rows in (*few, np.arange(len(train.labels))):
            model = LogisticRegression(C=10, max_iter=1000).fit(features[0][rows], train.labels[rows])
            scores.append(float(model.score(features[1], test.labels)))
        return [float(np.mean(scores[:-1])), scores[-1]]

    def drawn(self, labels: np.ndarray, pick: np.random.Generator) -> np.ndarray:
        """Row numbers of `shots` images of each digit, drawn at random: the stored order follows the writers."""
        order = pick.permutation(len(labels))
        return np.concatenate([order[labels[order] == digit][: self.shots] for digit in range(10)])


def _corners(images: torch.Tensor, corner: torch.Tensor) -> torch.Tensor:
    """A quarter of each image (n, 64), the rest black, for each view: corners (n, M) -> (n, M, 64)."""
    half = torch.arange(_SIDE) < _SIDE // 2
    quarters = torch.stack([torch.outer(a, b) for a in (half, ~half) for b in (half, ~half)]).reshape(4, -1)
    return images[:, None] * quarters[corner]


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
