"""Functional entropy and its bounds: how far apart they are, what a few draws see, and what maximising a bound does.

    python -m simulations.entropy_bounds --dimension 16 --seeds 8

f is the cross-entropy between a small network's clean and perturbed softmax, as in Gat et al. (2020). Its entropy by
Monte Carlo stands beside half its Fisher information over the variance of the perturbation and over the dimension, with
the sum of the coordinates' entropies between them; beside those, the bias of few draws and the error of three ways to
draw; the tightness of the bound over random networks; and a family in which the bound grows while the entropy stays.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import xarray

from theory import checks, seeding
from theory.entropy import Evaluations, Gaussian, entropy, evaluate, tensorization
from theory.estimate import Estimate
from theory.lab import figure
from theory.lab.command import main
from theory.lab.simulation import Simulation
from theory.papers.gat2020.claims import together
from theory.papers.gat2020.exact_values import check_waves, measured
from theory.papers.gat2020.log_sobolev import SOBOLEV, check_log_sobolev
from theory.papers.gat2020.plug_in import BOUND, UPPER
from theory.papers.gat2020.tensorization import TENSOR
from theory.verdict import Verdicts

WAYS = ("plain", "antithetic", "quasi")
TRUE = (float(np.exp(0.5) / 2), float(np.exp(2) - np.e), float(np.exp(0.5)))
"""Entropy, variance and mean of exp(z), z standard normal."""
WAVES = (1, 2, 3, 4, 5, 6)
CLASSES, WIDTH = 4, 32

Loss = Callable[[torch.Tensor], torch.Tensor]


def network_loss(dimension: int, generator: torch.Generator, *, gain: float = 2.0, floor: bool = True) -> Loss:
    """CE(p, softmax(net(z))), or KL without `floor`: a random network of one hidden layer, p its softmax at z = 0."""
    U = torch.randn(dimension, WIDTH, generator=generator, dtype=torch.float64) / dimension**0.5
    b = torch.randn(WIDTH, generator=generator, dtype=torch.float64) / 2
    V = gain * torch.randn(WIDTH, CLASSES, generator=generator, dtype=torch.float64) / WIDTH**0.5

    def log_softmax(z: torch.Tensor) -> torch.Tensor:
        return torch.log_softmax(torch.tanh(z @ U + b) @ V, dim=1)

    clean = log_softmax(torch.zeros(1, dimension, dtype=torch.float64))[0]
    bottom = 0.0 if floor else float((clean.exp() * clean).sum())

    def loss(z: torch.Tensor) -> torch.Tensor:
        return (bottom - log_softmax(z) @ clean.exp()).clamp_min(0)

    return loss


def isotropic(dimension: int, variance: float) -> Gaussian:
    """N(0, variance I) for torch."""
    eye = torch.eye(dimension, dtype=torch.float64)
    return Gaussian(torch.zeros(dimension, dtype=torch.float64), variance * eye)


@dataclass(frozen=True)
class EntropyBounds(Simulation):
    """Entropy, its bounds and its estimates over perturbation variance, dimension, draws and random networks."""

    name: ClassVar[str] = "entropy_bounds"
    quick_seconds: ClassVar[float] = 15

    seeds: int = 6
    """independent networks and draws"""
    dimension: int = 8
    """of the perturbation, where it is not varied"""
    variances: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
    """of the perturbation, in squared units of z"""
    dimensions: tuple[int, ...] = (1, 2, 4, 8, 16)
    """of the perturbation, at variance 1"""
    draws: int = 4096
    """Monte Carlo draws of each value, 16 times a power of two"""
    few: tuple[int, ...] = (2, 3, 5, 10, 30, 100)
    """numbers of draws whose bias is shown, f = exp(z)"""
    repetitions: int = 4000
    """samples behind each bias, for one seed"""
    sizes: tuple[int, ...] = (64, 256, 1024, 4096)
    """numbers of draws whose error is shown, 16 times powers of two"""
    networks: int = 8
    """random networks for each seed and size of the last layer"""
    gains: tuple[float, ...] = (0.5, 2.0, 8.0)
    """sizes of the last layer"""

    def validate(self) -> None:
        """Refuse what the run could not do."""
        checks.integer("seeds", self.seeds, minimum=2)
        for name in ("dimension", "networks"):
            checks.integer(name, getattr(self, name), minimum=1)
        checks.integer("repetitions", self.repetitions, minimum=2)
        for name in ("variances", "gains"):
            for value in getattr(self, name):
                checks.number(name, value, 0, open_low=True)
        for number in self.few:
            checks.integer("few", number, minimum=2)
        for number in (self.draws, *self.sizes):
            per = number // 16
            if number % 16 or per < 2 or per & (per - 1):
                checks.fail("draws and sizes", "16 times a power of two", number, "quasi-random draws need it")

    @classmethod
    def full(cls) -> "EntropyBounds":
        """More seeds, draws and dimensions."""
        return cls(
            seeds=12, dimensions=(1, 2, 4, 8, 16, 32, 64), draws=2**14, repetitions=40_000, networks=60,
            sizes=(64, 256, 1024, 4096, 16384),
        )  # fmt: skip

    def run(self, seed: int, progress: Any = None) -> xarray.Dataset:
        """All panels of one seed."""
        parts = (self._over_variance, self._over_dimension, self._bias, self._errors, self._tightness)
        found: dict[str, Any] = {}
        for number, part in enumerate(parts):
            found |= part(seed)
            if progress:
                progress((number + 1) / len(parts))
        coordinates = {
            "variance": list(self.variances), "dimension": list(self.dimensions), "n": list(self.few),
            "size": list(self.sizes), "way": list(WAYS), "gain": list(self.gains), "loss": ["CE", "KL"],
        }  # fmt: skip
        return xarray.Dataset(found, coordinates)

    def over_variance(self, seed: int) -> tuple[list[Evaluations], list[Gaussian]]:
        """One network under perturbations of every variance."""
        f = network_loss(self.dimension, _stream("variance", seed))
        measures = [isotropic(self.dimension, variance) for variance in self.variances]
        how: dict[str, Any] = {"draws": self.draws, "method": "quasi", "seed": seed}
        return [evaluate(f, measure, gradients=True, **how) for measure in measures], measures

    def over_dimension(self, seed: int) -> list[tuple[Estimate, Estimate, Estimate]]:
        """Entropy, sum of the coordinates' expected ones, half the information: a network of every dimension."""
        stream = _stream("dimension", seed)
        rows = []
        for dimension in self.dimensions:
            f, measure = network_loss(dimension, stream), isotropic(dimension, 1.0)
            how: dict[str, Any] = {"method": "quasi", "seed": seed}
            found = evaluate(f, measure, gradients=True, draws=self.draws, **how)
            parts = tensorization(f, measure, inner=32, draws=max(64, self.draws // 8), **how)
            rows.append((found.entropy(), parts.total, found.log_sobolev_bound()))
        return rows

    def _over_variance(self, seed: int) -> dict[str, Any]:
        several, _ = self.over_variance(seed)
        return {
            "entropy": ("variance", [float(one.entropy().value) for one in several]),
            "half": ("variance", [float(one.log_sobolev_bound().value) for one in several]),
            "unweighted": ("variance", [float(one.log_sobolev_bound(weighted=False).value) for one in several]),
        }

    def _over_dimension(self, seed: int) -> dict[str, Any]:
        rows = [[float(one.value) for one in row] for row in self.over_dimension(seed)]
        names = ("entropy_d", "parts_d", "half_d")
        return {name: ("dimension", column) for name, column in zip(names, np.transpose(rows), strict=True)}

    def _bias(self, seed: int) -> dict[str, Any]:
        draw = seeding.numpy_generator("few draws", seed)
        rows = []
        for number in self.few:
            sample = Evaluations(np.exp(draw.normal(size=(self.repetitions, number))))
            plug_in, corrected = (Estimate.mean(sample.entropy(corrected=one).value) for one in (False, True))
            rows.append((float(plug_in.value), float(plug_in.parameters["error"]), float(corrected.value)))
        names = ("plug_in", "plug_in_error", "corrected")
        return {name: ("n", column) for name, column in zip(names, np.transpose(rows), strict=True)}

    def _errors(self, seed: int) -> dict[str, Any]:
        f, measure = network_loss(2, _stream("ways to draw", seed)), isotropic(2, 1.0)
        exact = float(entropy(f, measure, order=200).value)
        found = np.empty((len(WAYS), len(self.sizes), 8))
        for i, way in enumerate(WAYS):
            for j, size in enumerate(self.sizes):
                for k in range(8):
                    estimate = entropy(f, measure, draws=size, method=way, seed=100 * seed + k)
                    found[i, j, k] = float(estimate.value) / exact - 1
        return {"rms": (("way", "size"), np.sqrt((found**2).mean(axis=2)))}

    def _tightness(self, seed: int) -> dict[str, Any]:
        measure, stream = isotropic(2, 1.0), _stream("tightness", seed)
        found = np.empty((2, len(self.gains), self.networks, 2))
        for i, floor in enumerate((True, False)):
            for j, gain in enumerate(self.gains):
                for k in range(self.networks):
                    f = network_loss(2, stream, gain=gain, floor=floor)
                    one = evaluate(f, measure, gradients=True, order=48)
                    found[i, j, k] = float(one.entropy().value), float(one.log_sobolev_bound().value)
        dims = ("loss", "gain", "network")
        return {"entropy_net": (dims, found[..., 0]), "half_net": (dims, found[..., 1])}

    @figure.style()
    def figure(self, results: xarray.Dataset) -> Any:
        """Six panels: variance, dimension, few draws; ways to draw, tightness, waves."""
        fig, panels = figure.subplots(2, 3, aspect=0.95)
        first, second, third, fourth, fifth, sixth = panels.flat
        x = results.variance.values
        figure.band(first, x, results.half.values, "half information", geometric=True, marker="s", ms=3)
        figure.band(first, x, results.entropy.values, "entropy", geometric=True, marker="o", ms=3)
        unweighted = results.unweighted.values
        figure.band(first, x, unweighted, "unweighted form", geometric=True, linestyle="--", color=figure.COLOURS[3])
        first.axvline(1, color="0.7", linewidth=0.8, zorder=0)
        first.set(xscale="log", yscale="log", xlabel="perturbation variance [unit of z]$^2$", ylabel="nat")
        first.set_title(f"bound and value, d = {self.dimension}")

        x = results.dimension.values
        for number, (name, label) in enumerate((("half_d", "half information"), ("parts_d", "sum of parts"))):
            shown = (results[name] / results.entropy_d).transpose("seed", "dimension").values
            style: dict[str, Any] = {"marker": "s^"[number], "ms": 3, "color": figure.COLOURS[2 * number]}
            figure.band(second, x, shown, label, geometric=True, **style)
        second.axhline(1, color=figure.COLOURS[1], linewidth=0.9, label="entropy")
        second.set(xscale="log", xlabel="dimension of z", ylabel="multiple of the entropy", ylim=(0, None))
        second.set_title("tensorization, variance 1")
        second.set_xticks(x, [str(value) for value in x])
        second.minorticks_off()

        x = results.n.values
        figure.band(third, x, results.plug_in.values, "plug-in", marker="o", ms=3)
        figure.band(third, x, results.corrected.values, "jackknife", marker="s", ms=3)
        third.axhline(TRUE[0], color="black", linewidth=0.9, label="exact")
        floor = TRUE[0] - TRUE[1] / (x * TRUE[2])
        third.plot(x[floor > 0], floor[floor > 0], ":", color="black", linewidth=0.9, label="at least (F7)")
        third.axvspan(3, 10, color="0.92", zorder=0)
        third.annotate("paper's n", (5.5, 0.02), ha="center", fontsize="x-small", color="0.4")
        third.set(xscale="log", ylim=(0, 0.9), xlabel="draws n", ylabel="mean entropy", title=r"few draws, $f=e^z$")

        x = results["size"].values
        for number, way in enumerate(WAYS):
            shown = results.rms.sel(way=way).transpose("seed", "size").values
            figure.band(fourth, x, shown, way, geometric=True, marker=figure.MARKERS[number], ms=3)
        fourth.set(xscale="log", yscale="log", xlabel="draws", ylabel="relative RMS error", title="ways to draw, d = 2")

        ratio = results.entropy_net / results.half_net
        for number, gain in enumerate(self.gains):
            for loss, line in (("CE", "-"), ("KL", "--")):
                values = np.sort(ratio.sel(gain=gain, loss=loss).values.ravel())
                steps = np.arange(1, len(values) + 1) / len(values)
                label = f"gain {gain:g}" if loss == "CE" else ""
                fifth.step(values, steps, line, where="post", color=figure.COLOURS[number], label=label)
        fifth.set(xlabel="entropy / half information", ylabel="share of networks", ylim=(0, 1.02), xlim=(0, 1))
        fifth.set_title("tightness (CE solid, KL dashed)")

        several = [measured(f"1 + sin({k}x)/2") for k in WAVES]
        sixth.plot(
            WAVES, [float(one.log_sobolev_bound().value) for one in several], "s-", ms=3, label="half information"
        )
        sixth.plot(WAVES, [float(one.entropy().value) for one in several], "o-", ms=3, label="entropy")
        sixth.set(yscale="log", xlabel="frequency k", ylabel="value (exact)", title=r"$f=1+\frac{1}{2}\sin(kx)$")
        for panel in panels.flat:
            panel.legend(fontsize="x-small")
        seeds = results.sizes["seed"]
        fig.suptitle(f"{figure.seeds_note(seeds)}; geometric where logarithmic", fontsize="small")
        return fig

    def verdicts(self, results: xarray.Dataset) -> Verdicts:
        """F1 and F3 on every network by its own interval, F1 on random ones exactly, F7 on few draws, F8 on waves."""
        seeds = results.seed.values.tolist()
        record: dict[str, Any] = {"settings": {"seeds": len(seeds)}}
        cases = [case for seed in seeds for case in zip(*self.over_variance(seed), strict=True)]
        rows = [
            row for seed in seeds for row, d in zip(self.over_dimension(seed), self.dimensions, strict=True) if d > 1
        ]
        sides = [Estimate.computed(results[name].values.ravel(), relative=1e-6) for name in ("entropy_net", "half_net")]
        verdicts = Verdicts()
        verdicts += check_log_sobolev([found for found, _ in cases], [measure for _, measure in cases], **record)
        if rows:  # in one dimension the part is the whole
            whole, parts = (together(row[i] for row in rows) for i in (0, 1))
            verdicts.append(TENSOR.check(Ent=whole, total=parts, dependence=0, missing=0, **record))
        verdicts.append(
            SOBOLEV.check(Ent=sides[0], half=sides[1], gaussian=1, settings={"networks": sides[0].value.size})
        )
        few = Estimate.exact(np.array(self.few, dtype=object))
        plug_in = results.plug_in.transpose("seed", "n").values.mean(axis=0)
        error = np.sqrt((results.plug_in_error.transpose("seed", "n").values ** 2).sum(axis=0)) / len(seeds)
        spread = {"error": error, "freedom": len(seeds) * (self.repetitions - 1)}
        text, size = "mean over all samples, Student's t", len(seeds) * self.repetitions
        seen = Estimate(plug_in, "student", spread, text, size)
        missing = Estimate(TRUE[0] - plug_in, "student", spread, text, size)
        verdicts.append(UPPER.check(expected=seen, Ent=TRUE[0], settings={"f": "exp(z)"}))
        verdicts.append(BOUND.check(missing=missing, n=few, Var=TRUE[1], mean=TRUE[2], settings={"f": "exp(z)"}))
        verdicts += check_waves(WAVES[1:], settings={"f": "1 + sin(k x)/2"})
        return verdicts


def _stream(name: str, seed: int) -> torch.Generator:
    return seeding.torch_generator(f"networks of entropy bounds, {name}", seed)


SIMULATION = EntropyBounds
if __name__ == "__main__":
    sys.exit(main(EntropyBounds))
