"""When large information of both modalities helps, when equal information does, and when they hurt: a map.

    python -m simulations.modality_map --profile full
    python -m simulations.modality_map --hidden 0 --seeds 12

A label is seen through two Gaussian modalities (`theory.modalities.TwoGaussians`). Together they tell the same in every
problem; the first dial is the second modality's share of the squared separation. The second dial is the share of test
samples whose second modality belongs to a fresh label. A small network learns without shift, with no regulariser, with
the paper's (1/I) or with the balance form; gains are paired over seeds. Bayes accuracy and mutual informations are
known.

What to expect: the best linear rule weighs t_i by s_i. A rule of equal information weighs them about equally, whatever
they tell; its accuracy against the best rule's is known in closed form and drawn beside the measured gains. It helps
where the misleading modality is the one that told most, and hurts where it told least. Both forms push that way.
"""

import math
import sys
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import sympy as sp
import torch
import xarray

from simulations.noisy_images import over_seeds
from simulations.side_by_side import Networks, by_problem, stacked
from theory import checks, seeding
from theory.claim import Claim, symbols
from theory.entropy.regulariser import FunctionalEntropyRegulariser
from theory.estimate import Estimate
from theory.lab import figure
from theory.lab.command import main
from theory.lab.simulation import Simulation
from theory.modalities import TwoGaussians
from theory.verdict import Verdicts

FORMS = ("none", "information", "balance")
NAMES = {"none": "none", "information": "1/I", "balance": "balance"}
_COLOURS = dict(zip(FORMS, (figure.COLOURS[k] for k in (6, 1, 0)), strict=True))
_STYLES = dict(zip(FORMS, ("-", "--", "-."), strict=True))

_accuracy, _bayes, _gain, _predicted = symbols("accuracy bayes gain predicted")
_LEAST = sp.Rational(3, 100)
_GAIN = "accuracy minus that without regulariser, mean over a region of the map and over seeds [1]"
_PREDICTED = "the same of the linear rule of equal information over the best one without shift, closed form [1]"


def _claim(id: str, title: str, relation: Any, gain: str, hypothesis: tuple[str, Any] | None = None) -> Claim:
    meanings = {"gain": gain} | ({"predicted": _PREDICTED} if hypothesis else {})
    hypotheses = (hypothesis,) if hypothesis else ()
    reference = "a regularity of this simulation, no theorem"
    return Claim(f"map.{id}", title, relation, meanings, hypotheses=hypotheses, reference=reference)


OPTIMUM = Claim(
    "map.optimum",
    "no rule is better than the Bayes rule, which knows the shift",
    sp.Le(_accuracy, _bayes, evaluate=False),
    {"accuracy": "of trained networks, mean over the map and seeds [1]", "bayes": "the Bayes rule's, mean [1]"},
    reference="definition of the Bayes rule",
)
HELPS = _claim(
    "helps",
    "a regulariser helps where the rule of equal information gains three points or more",
    sp.Gt(_gain, 0, evaluate=False),
    _GAIN,
    ("at least three points of gain predicted", sp.Ge(_predicted, _LEAST, evaluate=False)),
)
HURTS = _claim(
    "hurts",
    "a regulariser hurts where the rule of equal information loses three points or more",
    sp.Lt(_gain, 0, evaluate=False),
    _GAIN,
    ("at least three points of loss predicted", sp.Le(_predicted, -_LEAST, evaluate=False)),
)
LESS = _claim(
    "less",
    "where they help, large information of both modalities (1/I) helps less than equal information",
    sp.Gt(_gain, 0, evaluate=False),
    "accuracy with the balance form minus that with 1/I, mean over the region and seeds [1]",
)


@dataclass(frozen=True)
class ModalityMap(Simulation):
    """Gain of the 1/I and of the balance form over no regulariser, by what the second modality tells and its shift."""

    name: ClassVar[str] = "modality_map"
    quick_seconds: ClassVar[float] = 15

    seeds: int = 5
    separation: float = 3.0
    """of both modalities together, in deviations of the noise"""
    shares: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
    """the second modality's parts of the squared separation"""
    shifts: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    """parts of the test samples whose second modality belongs to a fresh label"""
    information: float = 0.01
    """strength of the 1/I form"""
    balance: float = 0.1
    """strength of the balance form"""
    hidden: int = 16
    """units of the hidden layer; 0: no hidden layer, logistic regression"""
    dimension: int = 4
    """of each modality"""
    count: int = 150
    """training samples"""
    test_count: int = 4000
    """test samples for each shift"""
    steps: int = 120
    """of Adam, on all training samples"""
    warm_up: int = 40
    """steps before the regulariser is switched on"""
    draws: int = 3
    """perturbations of each sample and modality"""
    learning_rate: float = 0.02
    """of Adam"""

    def validate(self) -> None:
        """Refuse what the run could not do."""
        for name in ("shares", "shifts"):
            values = getattr(self, name)
            if len(values) < 2 or list(values) != sorted(set(values)):
                checks.fail(name, "at least two increasing numbers", values, "a map needs both of its axes")
        for share in self.shares:
            checks.number("shares", share, 0, 1, open_low=True, open_high=True)
        for shift in self.shifts:
            checks.number("shifts", shift, 0, 1)
        for name in ("separation", "learning_rate"):
            checks.number(name, getattr(self, name), 0, open_low=True)
        for name in ("information", "balance"):
            checks.number(name, getattr(self, name), 0)
        for name in ("dimension", "count", "test_count", "steps", "draws"):
            checks.integer(name, getattr(self, name), minimum=1)
        checks.integer("hidden", self.hidden, minimum=0)
        checks.integer("warm_up", self.warm_up, 0, self.steps)

    @classmethod
    def full(cls) -> "ModalityMap":
        """Twenty-four paired seeds, a finer map, longer training, more test samples."""
        shares, shifts = (tuple(round(k / 10, 1) for k in range(first, 11 - first)) for first in (1, 0))
        return cls(seeds=24, shares=shares, shifts=shifts, count=200, steps=200, warm_up=60, test_count=10_000)

    def problem(self, share: float, shift: float = 0.0) -> TwoGaussians:
        """The problem at a point of the map."""
        separation = tuple(self.separation * math.sqrt(part) for part in (1 - share, share))
        return TwoGaussians((separation[0], separation[1]), shift, self.dimension)

    def run(self, seed: int, progress: Any = None) -> xarray.Dataset:
        """Test accuracy at every point of the map, and the information of each modality, for every form."""
        problems = [self.problem(share) for share in self.shares]
        drawn = [problem.draw(self.count, seed) for problem in problems]
        inputs = [stacked([draws[i] for draws in drawn]) for i in (0, 1)]
        labels = torch.from_numpy(np.stack([draws[2] for draws in drawn]))
        tests = []
        for shift in self.shifts:
            shifted = [self.problem(share, shift).draw(self.test_count, seed, test=True) for share in self.shares]
            views = [stacked([draws[i] for draws in shifted]) for i in (0, 1)]
            tests.append((views, torch.from_numpy(np.stack([draws[2] for draws in shifted]))))
        accuracy = np.empty((len(FORMS), len(self.shares), len(self.shifts)))
        information = np.empty((len(FORMS), 2, len(self.shares)))
        for number, form in enumerate(FORMS):
            networks = self.train(inputs, labels, form, seed)
            with torch.no_grad():
                ruler = self.regulariser("information", seed, draws=30)
                information[number] = by_problem(ruler, networks, inputs).numpy()
                for column, (views, y) in enumerate(tests):
                    right = networks(*views).argmax(dim=-1) == y
                    accuracy[number, :, column] = right.double().mean(dim=1).numpy()
            if progress:
                progress((number + 1) / len(FORMS))
        return xarray.Dataset(
            {
                "accuracy": (("form", "share", "shift"), accuracy),
                "information": (("form", "modality", "share"), information),
            },
            {"form": list(FORMS), "share": list(self.shares), "shift": list(self.shifts), "modality": [1, 2]},
        )

    def regulariser(self, form: str, seed: int, draws: int) -> FunctionalEntropyRegulariser:
        """The library's; modalities are perturbed by the covariance of their noise, the identity."""
        return FunctionalEntropyRegulariser(
            form,
            strength=getattr(self, form),
            draws=draws,
            covariance=[np.ones(self.dimension)] * 2,
            generator=seeding.torch_generator("perturbations", seed),
        )

    def train(self, inputs: list[torch.Tensor], labels: torch.Tensor, form: str, seed: int) -> Networks:
        """One network for each problem, side by side: no loss term mixes them, and Adam works entry by entry."""
        networks = Networks(len(self.shares), 2 * self.dimension, self.hidden, seed)
        optimiser = torch.optim.Adam(networks.parameters(), lr=self.learning_rate)
        penalty = None if form == "none" else self.regulariser(form, seed, self.draws)
        for step in range(self.steps):
            logits = networks(*inputs)
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten()) * len(labels)
            if penalty is not None and step >= self.warm_up:
                loss = loss + penalty.strength * penalty.penalty(by_problem(penalty, networks, inputs)).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return networks

    def predicted(self, share: float, shift: float) -> float:
        """Gain of the linear rule of equal information over the best one without shift, in closed form."""
        problem = self.problem(share, shift)
        return problem.linear_accuracy((1, 1)) - problem.linear_accuracy(problem.separation)

    def verdicts(self, results: xarray.Dataset) -> Verdicts:
        """The Bayes rule's bound over the map, then this simulation's regularities in two regions of it."""
        accuracy = results.accuracy.transpose("seed", "form", "share", "shift")
        score = {form: accuracy.sel(form=form).values for form in FORMS}
        points = [[(share, shift) for shift in self.shifts] for share in self.shares]
        bayes = np.mean([[self.problem(*point).bayes_accuracy() for point in row] for row in points])
        predicted = np.array([[self.predicted(*point) for point in row] for row in points])
        settings = {"seeds": results.sizes["seed"], "hidden": self.hidden}
        verdicts = Verdicts()
        for form in FORMS:
            measured = over_seeds(score[form].mean(axis=(1, 2)), low=0.0)
            known = Estimate.computed(bayes, relative=1e-9)
            verdicts.append(OPTIMUM.check(accuracy=measured, bayes=known, settings={**settings, "form": form}))
        gain = {form: score[form] - score["none"] for form in FORMS[1:]}
        for claim, inside in ((HELPS, predicted >= float(_LEAST)), (HURTS, predicted <= -float(_LEAST))):
            if not inside.any():
                continue
            record = {**settings, "region": claim.id.partition(".")[2], "points": int(inside.sum())}
            mean = {form: values[:, inside].mean(axis=1) for form, values in gain.items()}
            closed = float(predicted[inside].mean())
            for form, values in mean.items():
                at: dict[str, Any] = {"gain": over_seeds(values), "predicted": closed}
                verdicts.append(claim.check(**at, settings={"form": form, **record}))
            if claim is HELPS:
                verdicts.append(LESS.check(gain=over_seeds(mean["balance"] - mean["information"]), settings=record))
        return verdicts

    @figure.style()
    def figure(self, results: xarray.Dataset) -> Any:
        """Gains over the map, measured and in closed form; what the modalities tell; accuracy and information."""
        fig, panels = figure.subplots(2, 3, aspect=0.95)
        self._map(fig, panels[0], results)
        self._telling(panels[1][0])
        self._accuracy(panels[1][1], results)
        self._ratio(panels[1][2], results)
        marks = "on the map, dots: interval without 0; line: where the closed form changes sign"
        fig.suptitle(f"{figure.seeds_note(results.sizes['seed'])}; {marks}", fontsize="small")
        return fig

    def _map(self, fig: Any, panels: Any, results: xarray.Dataset) -> None:
        accuracy = results.accuracy.transpose("seed", "form", "shift", "share")
        gains = {form: (accuracy.sel(form=form) - accuracy.sel(form="none")).values for form in FORMS[1:]}
        closed = np.array([[self.predicted(share, shift) for share in self.shares] for shift in self.shifts])
        means = [gain.mean(axis=0) for gain in gains.values()]
        limit = 100 * float(max(np.abs(values).max() for values in (*means, closed)))
        titles = ["1/I", "balance", "equal information, closed form"]
        fine = np.linspace(self.shares[0], self.shares[-1], 41), np.linspace(self.shifts[0], self.shifts[-1], 41)
        line = [[self.predicted(share, shift) for share in fine[0]] for shift in fine[1]]
        for panel, values, title in zip(panels, (*means, closed), titles, strict=True):
            colours = panel.pcolormesh(
                self.shares, self.shifts, 100 * values, cmap="RdBu", vmin=-limit, vmax=limit, rasterized=True
            )
            panel.contour(*fine, line, levels=[0], colors="black", linewidths=0.8)
            panel.set(xlabel="share of the second modality [1]", title=title)
            panel.spines[["left", "bottom"]].set_visible(False)
        if results.sizes["seed"] >= figure.FEWEST_FOR_A_BAND:
            for panel, gain in zip(panels, gains.values(), strict=False):
                low, high = over_seeds(gain).interval(figure.BAND_LEVEL)
                rows, columns = np.nonzero((low > 0) | (high < 0))
                panel.plot(np.array(self.shares)[columns], np.array(self.shifts)[rows], "k.", markersize=2)
        panels[0].set_ylabel("shift of the second modality [1]")
        fig.colorbar(colours, ax=list(panels), label="accuracy gained [points]", aspect=30, pad=0.01)

    def _telling(self, panel: Any) -> None:
        fine = np.linspace(self.shares[0], self.shares[-1], 41)
        problems = [self.problem(float(share)) for share in fine]
        for modality, words, dashes in ((1, "first", "-"), (2, "second", "--"), (None, "both", ":")):
            nats = [problem.mutual_information(modality) for problem in problems]
            panel.plot(fine, nats, dashes, label=words, color=figure.COLOURS[4])
        shifted = [problem.mutual_information(2, shift=0.5) for problem in problems]
        panel.plot(fine, shifted, "-.", label="second, half shifted", color=figure.COLOURS[3])
        panel.axhline(math.log(2), color="0.6", linewidth=0.8)
        panel.annotate("ln 2", (fine[0], math.log(2)), va="bottom", color="0.4", fontsize="x-small")
        panel.set(xlabel="share of the second modality [1]", ylabel="nats", ylim=(0, 1.15))
        panel.set_title("mutual information with the label")
        panel.legend(loc="upper center", ncols=2, columnspacing=0.8, fontsize="x-small")

    def _accuracy(self, panel: Any, results: xarray.Dataset) -> None:
        share = self.shares[-1]
        fine = np.linspace(self.shifts[0], self.shifts[-1], 41)
        best = [self.problem(share, float(shift)).bayes_accuracy() for shift in fine]
        panel.plot(fine, best, color="0.4", linestyle=":", label="Bayes, knows the shift")
        for form in FORMS:
            draws = results.accuracy.sel(form=form, share=share).transpose("seed", "shift").values
            figure.band(panel, self.shifts, draws, NAMES[form], color=_COLOURS[form], linestyle=_STYLES[form])
        panel.set(xlabel="shift of the second modality [1]", ylabel="accuracy [1]", ylim=(0.2, 1))
        panel.set_title(f"share of the second modality {share:g}")
        panel.legend(loc="lower left")

    def _ratio(self, panel: Any, results: xarray.Dataset) -> None:
        for form in FORMS:
            values = results.information.sel(form=form).transpose("modality", "seed", "share").values
            options = {"color": _COLOURS[form], "linestyle": _STYLES[form]}
            figure.band(panel, self.shares, values[1] / values[0], NAMES[form], geometric=True, **options)
        panel.axhline(1, color="0.6", linewidth=0.8)
        panel.set(xlabel="share of the second modality [1]", yscale="log", ylabel="$I_2/I_1$ [1]")
        panel.minorticks_off()
        panel.set_yticks([0.25, 0.5, 1, 2, 4], ["1/4", "1/2", "1", "2", "4"])
        panel.set_title("information, second over first")
        panel.legend(loc="upper left")


SIMULATION = ModalityMap
if __name__ == "__main__":
    sys.exit(main(ModalityMap))
