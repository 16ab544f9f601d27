"""The product of several values of several settings, from Python or from the words of a command line.

On the command line every flag of a simulation takes several values. `--noise-rate 0:0.5:11` stands for eleven values
from 0 to 0.5, `--width 256:65536:9:log` for nine with equal ratios; where a setting is itself a list, ` / ` separates
its values: `--activations relu / relu erf`; of a switch both words are given: `--centred --no-centred`.
"""

import dataclasses
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from theory import checks
from theory.lab.simulation import Cell, Simulation
from theory.lab.store import plain

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER}):({_NUMBER}):(\d+)(:log)?")


@dataclass(frozen=True)
class Grid:
    """A simulation's settings, several values of some of them, and its seeds.

    Attributes:
        base: the other settings, and the seeds of every point.
        axes: field -> its values.

    Raises:
        InvalidInput: a field that the simulation has not, `seeds` or `first_seed`, no values, values twice, or a
            combination that the simulation refuses (named).

    Example:
        >>> from simulations.clusters import Clusters
        >>> grid = Grid(Clusters(seeds=2), {"radius": (0.1, 0.2), "size": (30, 60, 90)})
        >>> len(grid.points), len(list(grid.cells()))
        (6, 12)
    """

    base: Simulation
    axes: Mapping[str, Sequence[Any]]

    def __post_init__(self) -> None:
        if not isinstance(self.base, Simulation):
            checks.fail(
                "simulation", "settings, as in Recovery(seeds=20)", repr(self.base), "make an instance of the class"
            )
        fields = {field.name for field in dataclasses.fields(self.base)} - {"seeds", "first_seed"}
        for name, values in self.axes.items():
            if name not in fields:
                known = ", ".join(sorted(fields))
                checks.fail("axes", f"fields of {self.base.name} ({known})", name, "seeds are set on the simulation")
            if isinstance(values, str) or not hasattr(values, "__len__"):
                checks.fail(name, "a list of values", repr(values), f"write [{values!r}]")
            if not len(values):
                checks.fail(name, "at least one value", "none", "list the values")
            if len({json.dumps(plain(name, value)) for value in values}) < len(values):
                checks.fail(name, "different values", list(values), "name each once")
        scalars = {name: tuple(map(_scalar, values)) for name, values in self.axes.items()}
        object.__setattr__(self, "axes", scalars)
        self.points  # noqa: B018 - refuses before anything runs

    @cached_property
    def points(self) -> dict[tuple[int, ...], Simulation]:
        """The simulation at every place of the grid."""
        found = {}
        sizes = [range(len(values)) for values in self.axes.values()]
        for place in itertools.product(*sizes):
            changes = {name: values[i] for (name, values), i in zip(self.axes.items(), place, strict=True)}
            try:
                found[place] = dataclasses.replace(self.base, **changes)
            except checks.InvalidInput as error:
                raise checks.InvalidInput(f"at {changes}: {error}") from error
        return found

    @property
    def seeds(self) -> range:
        """Of every point."""
        return range(self.base.first_seed, self.base.first_seed + self.base.seeds)

    def cells(self) -> Iterator[tuple[tuple[int, ...], Cell]]:
        """Place (the seed's last) and cell: first every point at the first seed, so that the picture is whole early."""
        points = self.points
        for number, seed in enumerate(self.seeds):
            for place, simulation in points.items():
                yield (*place, number), (simulation, seed)

    @property
    def all_axes(self) -> dict[str, Sequence[Any]]:
        """The axes, and the seeds as the last."""
        return {**self.axes, "seed": list(self.seeds)}


def parse(
    kind: type[Simulation], arguments: Sequence[str], single: Callable[[Sequence[str]], Any]
) -> tuple[Any, dict[str, tuple[Any, ...]]]:
    """What a command line says, when some flags have several values.

    Args:
        kind: of simulation.
        arguments: words.
        single: reads a command line in which every flag has one value; its result has `.settings`.

    Returns:
        What `single` makes of the first value of each flag, and the values of those that have several.
    """
    chunks = _flags(arguments)
    fields = {field.name: field for field in dataclasses.fields(kind) if field.name not in ("seeds", "first_seed")}
    several: dict[str, list[list[str]]] = {}
    for i, (flag, given_values) in enumerate(chunks):
        if _name(flag) in ("seeds", "first_seed") and len(given_values) > 1:
            checks.fail(_name(flag), "one number", " ".join(given_values), "--seeds 20 --first-seed 0 takes 0 to 19")
        field = fields.get(_name(flag))
        if field is None:
            continue
        if [known for known, _ in chunks].count(flag) > 1:
            checks.fail(field.name, "its values after one flag", f"{flag} several times", f"write {flag} ONE ANOTHER")
        values = [word for value in given_values for word in _spread(value, whole=field.type is int)]
        chunks[i] = (flag, values)
        choices = _split(values) if _is_list(field.type) else [[value] for value in values]
        if len(choices) > 1:
            several[field.name] = choices
            chunks[i] = (flag, choices[0])
    axes: dict[str, tuple[Any, ...]] = {}
    given = {flag for flag, _ in chunks}
    for name, field in fields.items():
        yes, no = f"--{name.replace('_', '-')}", f"--no-{name.replace('_', '-')}"
        if field.type is bool and {yes, no} <= given:
            axes[name] = (True, False)
            chunks = [(flag, values) for flag, values in chunks if flag != no]
    first = [word for flag, values in chunks for word in ((flag, *values) if flag else values)]
    options = single(first)
    for name, choices in several.items():
        flag = next(f for f, _ in chunks if _name(f) == name)
        chosen = [getattr(single([*first, flag, *choice]).settings, name) for choice in choices[1:]]
        axes[name] = (getattr(options.settings, name), *chosen)
    return options, axes


def _flags(words: Sequence[str]) -> list[tuple[str, list[str]]]:
    chunks: list[tuple[str, list[str]]] = [("", [])]
    for word in words:
        if word.startswith("--"):
            flag, equals, value = word.partition("=")
            chunks.append((flag.replace("_", "-"), [value] if equals else []))
        else:
            chunks[-1][1].append(word)
    return chunks


def _name(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


def _split(values: Sequence[str]) -> list[list[str]]:
    groups: list[list[str]] = [[]]
    for value in values:
        if value == "/":
            groups.append([])
        else:
            groups[-1].append(value)
    return groups


def _is_list(annotation: Any) -> bool:
    return getattr(annotation, "__origin__", None) is tuple


def _spread(word: str, whole: bool) -> list[str]:
    """`0:0.5:3` as 0, 0.25, 0.5; `whole` where the setting is an integer.

    Equal steps are exact before they are rounded: 0.15, not 0.15000000000000002, so that a value is the same however
    it was asked for. Of equal ratios twelve digits are kept.
    """
    found = _RANGE.fullmatch(word)
    if found is None:
        if re.fullmatch(rf"{_NUMBER}(:[^:]+)+", word):
            checks.fail(
                word, "FROM:TO:COUNT, or FROM:TO:COUNT:log", "something else", "as in 0:0.5:11 or 64:1024:5:log"
            )
        return [word]
    low, high, count = float(found[1]), float(found[2]), checks.integer(word, int(found[3]), minimum=1)
    if found[4] and not (low > 0 and high > 0):
        checks.fail(word, "positive ends", f"{low:g} and {high:g}", "a range with equal ratios has no zero")
    if found[4]:
        values = [Fraction(f"{value:.12g}") for value in np.geomspace(low, high, count)]
    else:
        start, length = Fraction(found[1]), Fraction(found[2]) - Fraction(found[1])
        values = [start + length * i / max(1, count - 1) for i in range(count)]
    if whole and any(value.denominator > 1 for value in values):
        got = ", ".join(f"{float(value):g}" for value in values)
        checks.fail(word, "whole numbers", got, "choose another count, or list the values")
    return [str(int(value)) if value.denominator == 1 else repr(float(value)) for value in values]


def _scalar(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
