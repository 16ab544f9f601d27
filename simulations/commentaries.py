"""Commentaries on digits: learned weights, masks and blends, beside everything that they have to beat.

    python -m simulations.commentaries --profile full
    python -m simulations.commentaries --noises 0.2 0.6 --depths 0 20 --seeds 4

Always in the picture: training on the noisy or plain images ("uniform"), on the 200 clean validation images alone, on
both together, and an oracle (right labels only; a mask of exactly the digit; the constant blend that is best on the
test images). A commentary sees the validation images too, so that beating "uniform" alone says little. How all of it
is trained: `simulations.commentary_training`. Differences are paired over seeds. OUTSIDE THE THEOREMS: none speaks of
what a hypergradient is good for.
"""

import sys
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import sympy as sp
import xarray

from simulations.commentary_training import CommentaryTraining
from simulations.noisy_images import over_seeds
from theory.claim import Claim, symbols
from theory.lab import figure
from theory.lab.command import main
from theory.verdict import Verdicts

TITLES = {
    "uniform": "uniform",
    "learned": "learned",
    "validation": "validation images only",
    "both": "uniform, with validation images",
    "oracle": "oracle (blends: best constant on test)",
    "constant": "best constant on validation images",
    "hindsight": "",
}
_COLOURS = dict(zip(TITLES, (figure.COLOURS[k] for k in (1, 0, 3, 4, 2, 5, 2)), strict=True))
LEAST_ROUNDS = 40

_x, _noise, _rounds = symbols("x noise rounds")
_ENOUGH = (f"at least {LEAST_ROUNDS} rounds", sp.Ge(_rounds, LEAST_ROUNDS, evaluate=False))
_ACCURACY = "accuracy on test images, learned minus {}, mean over seeds [1]"
_NLL = "cross-entropy on test images, learned minus {}, mean over seeds [nat]"


def _claim(id: str, title: str, relation: Any, measured: str, *hypotheses: Any) -> Claim:
    meanings = {"x": measured, "rounds": "steps of the commentary [1]"}
    if hypotheses:
        meanings["noise"] = "share of wrong labels [1]"
    reference = "a regularity of this simulation, no theorem"
    return Claim(f"commentary.{id}", title, relation, meanings, hypotheses=(_ENOUGH, *hypotheses), reference=reference)


def _above(bound: Any) -> Any:
    return sp.Gt(_x, bound, evaluate=False)


def _atmost(bound: Any) -> Any:
    return sp.Le(_x, bound, evaluate=False)


_FORTY = (
    ("about 40% wrong labels", sp.Ge(_noise, sp.Rational(39, 100), evaluate=False)),
    ("about 40% wrong labels", sp.Le(_noise, sp.Rational(41, 100), evaluate=False)),
)
_MANY = (("at least 39% wrong labels", sp.Ge(_noise, sp.Rational(39, 100), evaluate=False)),)
_SOME = (("at least 10% wrong labels", sp.Ge(_noise, sp.Rational(1, 10), evaluate=False)),)
_AUC = "share of pairs of a wrong and a right label in which the wrong one weighs less, {}, mean over seeds [1]"

SEPARATE = _claim(
    "separate",
    "learned weights tell wrong labels from right ones",
    sp.Ge(_x, sp.Rational(93, 100), evaluate=False),
    _AUC.format("learned weights"),
    *_FORTY,
)
SHALLOW = _claim(
    "shallow",
    "a longer Neumann series does not tell them better than its first term",
    _atmost(0),
    _AUC.format("order K minus order 0"),
    *_FORTY,
)
GAIN = _claim("gain", "the weights beat none", _above(0), _ACCURACY.format("uniform"), *_SOME)
ALONE = _claim("alone", "they beat the validation images alone", _above(0), _ACCURACY.format("validation only"), *_SOME)
TOGETHER = _claim(
    "together",
    "from 40% wrong labels they beat uniform training on all images, validation images included",
    _above(0),
    _ACCURACY.format("uniform on both"),
    *_MANY,
)
ORACLE = _claim(
    "oracle", "and fall short of the oracle", sp.Lt(_x, 0, evaluate=False), _ACCURACY.format("oracle"), *_SOME
)
MASK = _claim(
    "mask",
    "a mask lets the digit through and dims the distractor",
    sp.Ge(_x, sp.Rational(3, 10), evaluate=False),
    "mean of the mask over lit pixels, digit minus distractor, mean over seeds [1]",
)
MASK_GAIN = _claim("mask_gain", "the mask beats none", _above(0), _ACCURACY.format("uniform"))
MASK_BOTH = _claim(
    "mask_both",
    "but not by a point uniform training on all images, validation images included",
    _atmost(sp.Rational(1, 100)),
    _ACCURACY.format("uniform on both"),
)
BLEND = _claim(
    "blend",
    "learned blends gain no point over the best constant, no blending included",
    _atmost(sp.Rational(1, 100)),
    _ACCURACY.format("best constant on test images"),
)
BLEND_BOTH = _claim(
    "blend_both",
    "as images to train on, the validation images are worth more",
    _above(0),
    _NLL.format("uniform on both"),
)


@dataclass(frozen=True)
class Commentaries(CommentaryTraining):
    """Learned weights, masks and blends on digits, with every baseline."""

    name: ClassVar[str] = "commentaries"
    quick_seconds: ClassVar[float] = 20

    rounds: int = 40
    partners: int = 2

    @classmethod
    def full(cls) -> "Commentaries":
        """Twelve paired seeds, other than the eight on which the claims were found; three noises, four depths."""
        return cls(seeds=12, first_seed=10, noises=(0.2, 0.4, 0.6), depths=(0, 1, 20, 100), rounds=100, partners=4)

    def verdicts(self, results: xarray.Dataset) -> Verdicts:
        """This simulation's regularities, paired over seeds; beside each AUC the accuracies of all rows (settings)."""
        verdicts = Verdicts()
        seeds = results.sizes["seed"]

        def judge(claim: Claim, draws: xarray.DataArray, noise: float | None = None, **settings: Any) -> None:
            measured: dict[str, Any] = {"x": over_seeds(draws.values), "rounds": self.rounds}
            if noise is not None:
                measured["noise"] = noise
                settings = {"wrong": f"{noise:.0%}", **settings}
            verdicts.append(claim.check(settings={**settings, "seeds": seeds}, **measured))

        for noise in self.noises:
            cell = results.sel(noise=noise)
            accuracy = cell.accuracy.transpose("seed", "row")
            for order in self.orders(noise):
                learned = accuracy.sel(row=f"learned, K={order}")
                beside = {
                    "learned": learned,
                    **{row: accuracy.sel(row=row) for row in ("validation", "oracle", "both", "uniform")},
                }
                shown = {row: f"{float(draws.mean()):.3f}" for row, draws in beside.items()}
                judge(SEPARATE, cell.auc.sel(depth=order), noise, K=order, **shown)
                if order and 0 in self.orders(noise):
                    judge(SHALLOW, cell.auc.sel(depth=order) - cell.auc.sel(depth=0), noise, K=order)
            learned = accuracy.sel(row=f"learned, K={self.depth}")
            for claim, row in zip((GAIN, ALONE, TOGETHER, ORACLE), RIVALS, strict=True):
                judge(claim, learned - accuracy.sel(row=row), noise, K=self.depth)
        judge(MASK, results.mask_mass.sel(side="digit") - results.mask_mass.sel(side="distractor"))
        for claim, name, row in (
            (MASK_GAIN, "mask", "uniform"),
            (MASK_BOTH, "mask", "both"),
            (BLEND, "blend", "hindsight"),
        ):
            scores = results[f"{name}_accuracy"].rename({f"{name}_row": "row"})
            judge(claim, scores.sel(row="learned") - scores.sel(row=row))
        judge(BLEND_BOTH, results.blend_nll.sel(blend_row="learned") - results.blend_nll.sel(blend_row="both"))
        return verdicts

    @figure.style()
    def figure(self, results: xarray.Dataset) -> Any:
        """Above: weights by right and wrong labels, a mask, coefficients; below: accuracies with every baseline."""
        fig, panels = figure.subplots(2, 3, aspect=1.0)
        self._separation(panels[0][0], results)
        self._mask(panels[0][1], results)
        self._coefficients(fig, panels[0][2], results)
        self._noises(panels[1][0], results)
        for panel, name, title in ((panels[1][1], "mask", "masks"), (panels[1][2], "blend", "blends")):
            self._rows(panel, results, name, title)
        handles = [
            panels[1][0].plot([], [], "o", color=_COLOURS[row], label=TITLES[row])[0] for row in TITLES if TITLES[row]
        ]
        fig.legend(handles=handles, loc="outside lower center", ncols=3)
        seeds = results.sizes["seed"]
        note = "mean and 95% t-interval" if seeds >= figure.FEWEST_FOR_A_BAND else "mean"
        fig.suptitle(f"{note}, {seeds} seeds; dots are seeds; accuracies on test images", fontsize="small")
        return fig

    def _separation(self, panel: Any, results: xarray.Dataset) -> None:
        shift = 0.14
        for number, noise in enumerate(self.noises):
            for order in self.orders(noise):
                draws = results.auc.sel(noise=noise, depth=order).values
                place = self.depths.index(order) + (number - (len(self.noises) - 1) / 2) * shift
                label = f"{noise:.0%} wrong labels" if order == self.depth else None
                _dots(panel, place, draws, figure.COLOURS[6 - number], label, figure.MARKERS[number])
        claimed = float(SEPARATE.relation.rhs)
        panel.axhline(claimed, color="0.6", linewidth=0.8)
        panel.annotate("claimed at 40% ", (len(self.depths) - 0.5, claimed), ha="right", va="top", fontsize="x-small")
        panel.set_xticks(range(len(self.depths)), [str(order) for order in self.depths])
        panel.set(xlim=(-0.5, len(self.depths) - 0.5), xlabel="order K of the Neumann series")
        lowest = min(0.9, float(results.auc.min()))
        panel.set(ylabel="AUC of learned weights [1]", ylim=(lowest - 0.03, 1.0))
        panel.set_title("weights: wrong against right labels")
        panel.legend(loc="lower left", handletextpad=0.1, borderaxespad=0.1)

    def _mask(self, panel: Any, results: xarray.Dataset) -> None:
        first = results.isel(seed=0)
        mean = results["mask"].mean("seed").values
        gap = np.full((1, mean.shape[1]), np.nan)
        image = first.example.values / first.example.values.max()
        panel.imshow(np.vstack([image, gap, mean]), cmap="gray", vmin=0, vmax=1)
        mass = results.mask_mass.mean("seed")
        words = [f"{side}: {float(mass.sel(side=side)):.2f}" for side in ("digit", "distractor")]
        panel.set_xticks([3.5, 11.5], words)
        panel.set_yticks([3.5, 12.5], ["an image", "mask, mean"])
        panel.tick_params(length=0)
        panel.set(title="masks: mean over lit pixels")
        for spine in panel.spines.values():
            spine.set_visible(False)

    def _coefficients(self, fig: Any, panel: Any, results: xarray.Dataset) -> None:
        shown = panel.imshow(results.coefficient.mean("seed").values, vmin=0, vmax=1, cmap="cividis")
        bar = fig.colorbar(shown, ax=panel, shrink=0.8)
        bar.set_label("share of the first [1]")
        panel.set(xticks=range(0, 10, 3), yticks=range(0, 10, 3), xlabel="class of the second", ylabel="of the first")
        panel.set_title("blends: mean over seeds")

    def _noises(self, panel: Any, results: xarray.Dataset) -> None:
        rows = {"learned": f"learned, K={self.depth}", **{row: row for row in RIVALS}}
        for number, (name, row) in enumerate(rows.items()):
            for place, noise in enumerate(self.noises):
                _dots(panel, place + (number - 2) * 0.13, results.accuracy.sel(noise=noise, row=row), _COLOURS[name])
        panel.set_xticks(range(len(self.noises)), [f"{noise:.0%}" for noise in self.noises])
        panel.set(xlim=(-0.5, len(self.noises) - 0.5), xlabel="wrong labels")
        panel.set(ylabel="accuracy [1]", title=f"weights, K = {self.depth}")

    def _rows(self, panel: Any, results: xarray.Dataset, name: str, title: str) -> None:
        names = results[f"{name}_row"].values.tolist()
        for place, row in enumerate(names):
            _dots(panel, place, results[f"{name}_accuracy"].sel({f"{name}_row": row}), _COLOURS[row])
            loss = float(results[f"{name}_nll"].sel({f"{name}_row": row}).mean())
            panel.annotate(
                f"{loss:.3f}", (place, 0.01), xycoords=("data", "axes fraction"), ha="center", fontsize="x-small"
            )
        panel.set(xlim=(-0.5, len(names) - 0.5), xticks=[], title=title, ylabel="accuracy [1]")
        panel.set_xlabel("number: mean cross-entropy [nat]")
        panel.margins(y=0.15)


RIVALS = ("uniform", "validation", "both", "oracle")


def _dots(panel: Any, x: float, draws: Any, colour: str, label: str | None = None, marker: str = "o") -> None:
    values = np.asarray(draws, dtype=float)
    panel.plot(np.full(len(values), x), values, "o", color=colour, alpha=0.3, markersize=2, markeredgewidth=0)
    half = 0.0
    if len(values) >= figure.FEWEST_FOR_A_BAND:
        low, high = over_seeds(values).interval(figure.BAND_LEVEL)
        half = (high - low) / 2
    panel.errorbar(x, values.mean(), yerr=half, fmt=marker, color=colour, markersize=3.5, capsize=1.5, label=label)


SIMULATION = Commentaries
if __name__ == "__main__":
    sys.exit(main(Commentaries))
