"""What becomes of a network as its width grows: the kernel, the linearisation and recovery, each with its exponent.

    python -m simulations.large_width --width 1000000 --trained-width 65536 --seeds 20

Left: the kernel at the cluster centres nears the neural covariance as width^(-1/2), with the bound of claim C4; its
rows are drawn when needed and never stored, so that a million cost seconds and no memory. Middle: how far descent is
from its own linearisation, 1/width if the signs of the output weights cancel and width^(-1/2) if not (C7). Right: the
least error to the true labels along descent, and how far descent is from kernel descent at infinite width.

One cell is one network: `run` measures the one `width` of the settings, so that a sweep over `--width` is a table of
cells that are kept and extended one by one. The figure takes that table, dimensions `seed` and `width`, and `collect`
makes it for the widths of `ladder`.
"""

import dataclasses
import sys
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import sympy as sp
import torch
import xarray
from scipy import optimize

from simulations import large_width_figure
from theory import activations, checks, clusterable, covariance, descent, early_stopping, label_noise, networks, seeding
from theory.claim import Claim, symbols
from theory.estimate import Estimate
from theory.kernels import CHUNK_BYTES, Rows
from theory.lab import figure
from theory.lab.command import main
from theory.lab.simulation import Cost, Simulation
from theory.papers.li2020 import concentration, linearised, linearised_claims
from theory.verdict import Verdicts

_exponent, _curvature, _error, _limit, _departure = symbols("exponent G2 error limit departure")
_PROOF = "paper_notes/li2020.md#large-widths"
LIMIT = Claim(
    "large_width.limit",
    "descent on labels nears kernel descent at infinite width as width^(-1/2)",
    sp.Eq(_exponent, sp.Rational(-1, 2), evaluate=False),
    {
        "exponent": "exponent, in the width, of the largest |f_tau(x_i) - infinitely wide f_tau(x_i)| [1]",
        "G2": "Gamma2 = sup|phi''| [1]",
    },
    kind="rate",
    hypotheses=(("phi'' is bounded: 1/Gamma2 > 0", sp.Gt(1 / _curvature, 0)),),
    tolerance=sp.Rational(1, 4),  # half way to the next exponents: 0, a floor, and -1
    reference="derived",
    proof=_PROOF,
)
NEAR = Claim(
    "large_width.near",
    "the least error along descent is as near its limit as the whole run is",
    sp.Le(sp.Abs(_error - _limit), _departure, evaluate=False),
    {
        "error": "least sup error to the true labels at the recorded steps [label]",
        "limit": "the same of kernel descent at infinite width [label]",
        "departure": "largest |f_tau(x_i) - infinitely wide f_tau(x_i)| at these steps [label]",
    },
    reference="derived",
    proof=_PROOF,
)
_SIGNS = {"gap": "paired", "gap_one_sign": "ones_centred"}  # result -> its member of C7
_RECOVERY = large_width_figure.RECOVERY
_DRAWN, _EVALUATED = 60, 40  # operations of a normal number, and of an activation or its derivative
_RECORDED, _FIXED = 20_000, 3e8  # of drawing, recording and linearising, for each hidden unit; of the infinite width
_COPIES = 6  # of the weights that descent, its record and its engine hold


@dataclass(frozen=True)
class LargeWidth(Simulation):
    """Kernel concentration (C4), linearisation gap (C7) and recovery (C2) against the width, with exponents."""

    name: ClassVar[str] = "large_width"
    quick_seconds: ClassVar[float] = 15

    seeds: int = 12
    """number of networks at each width; the data are the same for all"""
    width: int = 65536
    """number of hidden units, even: of the one network of a cell, and of the widest one in the figure"""
    narrowest: int = 64
    """width of the narrowest network in the figure, even"""
    points: int = 6
    """number of widths in the figure, evenly in the logarithm"""
    trained_width: int = 16384
    """wider networks are not trained: of these the kernel alone is measured"""
    activation: str = "softplus"
    """of the hidden units; a smooth one, unless trained_width is 0"""
    dimension: int = 10
    """of the inputs"""
    clusters: int = 4
    """number of clusters; their labels are -1 and +1 in turn"""
    per_cluster: int = 5
    """points in each cluster"""
    radius: float = 0.1
    """distance of every point from its centre; at 0 all widths that fit have one and the same limit (C1)"""
    noise_rate: float = 0.2
    """exact share of wrong labels in each cluster"""
    minimum_separation: float = 0.8
    """least distance of two centres, and of each from the others' antipodes"""
    data_seed: int = 0
    """of the data and the wrong labels"""
    steps: int = 100
    """of gradient descent, at 0.99/beta^2 with C2's bound beta on the Jacobian"""
    device: Literal["cpu", "cuda"] = "cpu"
    """where rows are drawn and the kernel is added up, on cuda in float32: to 1e-7; training is done on the CPU"""

    def validate(self) -> None:
        """Refuse what the run could not do."""
        for name in ("width", "narrowest"):
            checks.even(name, getattr(self, name))
        checks.integer("points", self.points, minimum=1)
        checks.integer("trained_width", self.trained_width, minimum=0)
        checks.integer("dimension", self.dimension, minimum=2)
        checks.integer("clusters", self.clusters, minimum=2)
        checks.integer("per_cluster", self.per_cluster, minimum=1)
        checks.number("radius", self.radius, 0, 2)
        checks.number("noise_rate", self.noise_rate, 0, 1)
        checks.integer("data_seed", self.data_seed, minimum=0)
        checks.integer("steps", self.steps, minimum=1)
        checks.choice("device", self.device, ("cpu", "cuda"))
        if self.trained_width and not np.isfinite(activations.get(self.activation).gamma2):
            remedy = "the rates of C7 need a finite Gamma2; with trained_width 0 the kernel alone is measured"
            checks.fail("activation", "a smooth one", self.activation, remedy)

    @classmethod
    def full(cls) -> "LargeWidth":
        """A million units, of which a quarter is trained too; twenty networks at each width."""
        return cls(seeds=20, width=10**6, points=8, trained_width=2**18)

    def ladder(self) -> list["LargeWidth"]:
        """The cells of the figure: these settings at each of its widths, the narrowest first."""
        widths = np.geomspace(min(self.narrowest, self.width), self.width, self.points)[:-1]
        even = {2 * round(float(width) / 2) for width in widths} | {self.width}
        return [dataclasses.replace(self, width=width) for width in sorted(even)]

    def data(self) -> tuple[clusterable.ClusterableData, label_noise.CorruptedLabels]:
        """Inputs near their centres, and labels of which some are wrong."""
        data = clusterable.generate(
            self.clusters,
            2,
            self.dimension,
            per_cluster=self.per_cluster,
            radius=self.radius,
            spread="boundary",
            minimum_separation=self.minimum_separation,
            antipodal_separation=self.minimum_separation,
            seed=self.data_seed,
        )
        return data, label_noise.corrupt(data, self.noise_rate, "exact", seed=self.data_seed)

    def kernel(self, centres: np.ndarray, seed: int) -> np.ndarray:
        """The kernel of one network at the centres, (K, K); no other width of this seed has its rows."""
        rows = Rows(self.width, self.dimension, self._seed("kernel", seed))
        dtype = torch.float64 if self.device == "cpu" else torch.float32
        inputs = torch.as_tensor(centres, dtype=dtype, device=self.device)
        return covariance.empirical_kernel(inputs, rows, activation=self.activation).double().numpy(force=True)

    def run(self, seed: int, progress: Any = None) -> xarray.Dataset:
        """One network of each kind, of width `width`: numbers without dimensions, NaN where it is not trained.

        Raises:
            InvalidInput: a GPU is asked for where there is none, before any work.
        """
        if self.device == "cuda" and not torch.cuda.is_available():
            checks.fail("device", "cpu on this machine, which has no CUDA device", "cuda", "leave --device out")
        data, labels = self.data()
        phi, centres = self.activation, data.centres
        far = self.kernel(centres, seed) - covariance.neural_covariance(centres, phi)
        found = {"deviation": float(np.abs(np.linalg.eigvalsh(far)).max())}
        found |= dict.fromkeys((*_SIGNS, *_RECOVERY), np.nan)
        if self.width <= self.trained_width:
            along = self._descend(data, labels, seed, paired=True)
            K, start = covariance.neural_covariance(data.X, phi), np.zeros(data.n)
            wide = early_stopping.linearised_error(K, start, data.y, labels.noise, along.step, along.steps)
            narrow = along.predictions - data.y
            found["gap"] = linearised.linearisation_gap(along, data.X)
            found["error"], found["limit"] = (float(np.abs(e).max(axis=1).min()) for e in (narrow, wide))
            found["departure"] = float(np.abs(narrow - wide).max())
            one_sign = self._descend(data, labels, seed, paired=False)
            found["gap_one_sign"] = linearised.linearisation_gap(one_sign, data.X)
        if progress:
            progress(1.0)
        return xarray.Dataset(found)

    def collect(self, progress: Any = None) -> xarray.Dataset:
        """All repetitions at every width of `ladder`: dimensions `seed` and `width`; Ctrl-C keeps whole repetitions."""
        return Simulation.collect(_Ladder(**vars(self)), progress)

    def cost(self) -> Cost:
        """Drawing rows, their slopes and Gram matrix; two networks descending, where they are trained."""
        k, d, n, K = self.width, self.dimension, self.clusters * self.per_cluster, self.clusters
        operations, held = float(k * (_DRAWN * d + K * (2 * d + _EVALUATED) + 2 * K**2)), float(CHUNK_BYTES)
        if k <= self.trained_width:
            operations += 2.0 * k * (self.steps * n * (4 * d + _EVALUATED) + _RECORDED) + _FIXED
            held += 8.0 * k * (_COPIES * d + n)
        return Cost(operations, held)

    @figure.style()
    def figure(self, results: xarray.Dataset) -> Any:
        """Three panels against the width: kernel, linearisation, recovery; every seed, and the fitted exponents."""
        table, centres = self.table(results), self.data()[0].centres
        enough = None
        if self.trained_width:
            enough = early_stopping.recovery_width(centres, self.activation, failure=0.01, paired=True)
        return large_width_figure.page(table, self.activation, self.bernstein(table.width.values), enough)

    def table(self, results: xarray.Dataset) -> xarray.Dataset:
        """Results of `collect`, or of a sweep over widths, as the fits want them: dimensions seed and width, in order.

        Raises:
            InvalidInput: more settings vary than the width.
        """
        results = results if "width" in results.dims else results.expand_dims(width=[self.width])
        if more := sorted(set(map(str, results.dims)) - {"seed", "width"}):
            checks.fail("results", "dimensions seed and width", f"{', '.join(more)} too", "choose one value by .sel()")
        return results.transpose("seed", "width").sortby("width")

    def bernstein(self, widths: np.ndarray) -> np.ndarray:
        """The deviation at which the bound of C4 is 1/2, for each width."""
        centres = self.data()[0].centres
        top = np.linalg.norm(covariance.neural_covariance(centres, self.activation), 2)
        phi = activations.get(self.activation)
        known = {"K": len(centres), "Gamma1": phi.gamma1, "size": np.linalg.norm(centres, 2), "top": top, "failure": 0}

        def excess(s: float, width: int) -> float:
            return float(concentration.DEVIATION.evaluate(s=s, k=width, spread=0, **known)[1]) - 1 / 2

        return np.array([optimize.brentq(excess, 0, 1e3 * top, args=(int(width),)) for width in widths])

    def verdicts(self, results: xarray.Dataset) -> Verdicts:
        """The exponents, where there are at least three widths; the least error and its limit, at every point."""
        table, verdicts = self.table(results), Verdicts()
        settings = {"activation": self.activation, "radius": self.radius, "seeds": table.seed.values}

        def rate(claim: Claim, name: str, symbol: str, **more: Any) -> None:
            measured = large_width_figure.measured(table[name])
            if measured.sizes["width"] >= 3:
                values = {symbol: Estimate.exponent(measured.width.values, measured.values), **more}
                verdicts.append(claim.check(settings=settings | {"widths": measured.width.values}, **values))

        rate(concentration.CONCENTRATION_RATE, "deviation", "exponent")
        for name, member in _SIGNS.items():
            rate(linearised_claims.GAPS[member], name, "p")
        rate(LIMIT, "departure", "exponent", G2=activations.get(self.activation).gamma2)
        trained = large_width_figure.measured(table[list(_RECOVERY)])
        if trained.sizes["width"]:
            found: dict[str, Any] = {name: Estimate.computed(trained[name].values, relative=1e-9) for name in _RECOVERY}
            verdicts.append(NEAR.check(settings=settings | {"widths": trained.width.values}, **found))
        return verdicts

    def _seed(self, what: str, seed: int) -> int:
        """Of one network: those of one seed at several widths shall not share rows, or their errors would be alike."""
        return int(seeding.numpy_generator(f"large width {self.width}: {what}", seed).integers(2**62))

    def _descend(self, data: Any, labels: Any, seed: int, paired: bool) -> descent.Trajectory:
        """A paired network on the labels, or one with v = 1/sqrt(k) in all places, of which f - f_0 is trained."""
        network = networks.TwoLayer.initialise(
            self.width,
            self.dimension,
            self.activation,
            output="balanced" if paired else "ones",
            paired=paired,
            seed=self._seed("descent", seed),
        )
        target = labels.y if paired else labels.y + network(data.X)
        step = 0.99 / network.jacobian_bound(data.X) ** 2
        return descent.train(network, data.X, target, step=step, steps=self.steps)


class _Ladder(LargeWidth):
    """The same settings, of which a repetition is a network at every width of the ladder."""

    def run(self, seed: int, progress: Any = None) -> xarray.Dataset:
        cells, found = self.ladder(), []
        done = np.cumsum([cell.width for cell in cells]) / sum(cell.width for cell in cells)
        for cell, share in zip(cells, done, strict=True):
            found.append(LargeWidth.run(cell, seed))
            if progress:
                progress(float(share))
        return xarray.concat(found, dim="width").assign_coords(width=[cell.width for cell in cells])


SIMULATION = LargeWidth
if __name__ == "__main__":
    sys.exit(main(LargeWidth))
