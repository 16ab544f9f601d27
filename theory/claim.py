"""Claims: published or derived statements as data, each stated once, in sympy.

The one statement is evaluated on numpy arrays (a whole sweep at once), in interval arithmetic (the verdict), and
printed as text and LaTeX. A numbered claim of a paper with several relations is a `Family` of claims.
"""

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import sympy as sp

from theory import checks, interval
from theory.estimate import Estimate, decode
from theory.verdict import Side, Status, Verdict, Verdicts

KINDS = ("identity", "inequality", "tail bound", "rate")
IDENTITY_TOLERANCE = Fraction(1, 10**10)
_RESERVED = ("level", "scale", "settings", "seed")
_FAMILIES: dict[str, "Family"] = {}


def symbols(names: str) -> Any:
    """Real sympy symbols for a claim, e.g. `D, b = symbols("D b")`.

    Real and no more: a symbol declared positive would turn the hypothesis "b > 0" into the constant True.
    """
    return sp.symbols(names, real=True)


@dataclass(frozen=True, eq=False)
class Claim:
    """One relation that can be measured and refuted.

    Args:
        id: short unique name, `C6.quadratic`; part before the dot is the paper's claim.
        title: one line.
        relation: sympy <=, <, >=, > or = (build it with `evaluate=False` where sympy would reorder it), the measured
            side on the left. Constants are exact: integers, Rationals, pi, roots; never floats.
        meanings: symbol name -> what it means, with its unit; one entry per symbol used.
        kind: identity, inequality, tail bound or rate.
        hypotheses: (words, sympy relation) pairs; where one is surely false, the claim is out of scope.
        vacuous: sympy relation under which the bound says nothing (tail bounds: right side >= 1, by default).
        tolerance: identities: relative to `scale`, 1e-10 by default; rates: half-width of the accepted band, required.
        reference: the source.
        constants: "explicit", or "unnamed" (then only the kind `rate` is allowed).
        proof: where the proof stands.
        expected: what is known: HOLDS for proved claims, VIOLATED for refuted ones.
        notation: symbol name -> LaTeX, where the name itself is not enough.

    Raises:
        InvalidInput: any of the above is not kept.

    Example:
        >>> mean, largest = symbols("mean largest")
        >>> claim = Claim("demo", "a mean is at most the largest value", sp.Le(mean, largest),
        ...               {"mean": "mean [1]", "largest": "maximum [1]"})
        >>> print(claim)
        mean <= largest
        >>> str(claim.check(mean=1.5, largest=np.array([2.0, 1.0])).status)
        'violated'
    """

    id: str
    title: str
    relation: Any
    meanings: Mapping[str, str]
    kind: str = "inequality"
    hypotheses: Sequence[tuple[str, Any]] = ()
    vacuous: Any = None
    tolerance: Any = None
    reference: str = ""
    constants: str = "explicit"
    proof: str = ""
    expected: Status = Status.HOLDS
    notation: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checks.choice("kind", self.kind, KINDS)
        checks.choice("constants", self.constants, ("explicit", "unnamed"))
        if not isinstance(self.relation, (sp.Le, sp.Lt, sp.Ge, sp.Gt, sp.Eq)):
            remedy = "sympy may have evaluated it: build it with evaluate=False"
            checks.fail("relation", "one sympy relation (<=, <, >=, >, =)", self.relation, remedy)
        if self.is_equality != isinstance(self.relation, sp.Eq):
            checks.fail("relation", "= for identities and rates, an inequality otherwise", self.relation, "change one")
        if self.constants == "unnamed" and self.kind != "rate":
            checks.fail(self.id, "kind 'rate' where constants are unnamed", self.kind, "check the exponent instead")
        if self.kind == "rate" and self.tolerance is None:
            checks.fail(self.id, "a tolerance: the band around the exponent", None, "say how exact the rate must be")
        if self.vacuous is None and self.kind == "tail bound":
            object.__setattr__(self, "vacuous", sp.Ge(self.relation.rhs, 1, evaluate=False))
        names = {symbol.name for symbol in self._symbols}
        if names != set(self.meanings):
            checks.fail(f"{self.id} meanings", f"one for each of {sorted(names)}", sorted(self.meanings), "match them")
        if names & set(_RESERVED):
            checks.fail(f"{self.id} symbols", f"none of {_RESERVED}", sorted(names), "rename the symbol")
        if any(statement.atoms(sp.Float) for statement in self._statements()):
            checks.fail(self.id, "exact constants", "a float", "write sympy.Rational(1, 3), not 1/3")

    def __getstate__(self) -> dict[str, Any]:
        # compiled functions can't travel to another process; they are made again there
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def _statements(self) -> list[Any]:
        conditions = [relation for _, relation in self.hypotheses]
        return [self.relation, *conditions, *([] if self.vacuous is None else [self.vacuous])]

    @cached_property
    def _symbols(self) -> tuple[sp.Symbol, ...]:
        used = set().union(*(statement.free_symbols for statement in self._statements()))
        return tuple(sorted(used, key=lambda symbol: symbol.name))

    @cached_property
    def _on_numpy(self) -> Callable[..., Any]:
        return sp.lambdify(self._symbols, (self.relation.lhs, self.relation.rhs), ["numpy", "scipy"])

    @property
    def is_equality(self) -> bool:
        """Whether the relation is an equation (identities and rates)."""
        return self.kind in ("identity", "rate")

    def evaluate(self, **values: Any) -> tuple[Any, Any]:
        """Both sides on numbers or numpy arrays (broadcast): plain float64, no intervals.

        Raises:
            InvalidInput: a symbol is missing or unknown.
        """
        self._match(values)
        with np.errstate(all="ignore"):
            left, right = self._on_numpy(*(np.asarray(values[s.name], dtype=float) for s in self._symbols))
        return left, right

    def check(
        self,
        *,
        level: float = 0.99,
        scale: float | None = None,
        settings: Mapping[str, Any] | None = None,
        seed: int | None = None,
        **values: Any,
    ) -> Verdict:
        """Judge the claim on a measurement, or on a sweep of them at once.

        Args:
            level: confidence; over a sweep, and over several random symbols, the error is shared equally (Bonferroni).
            scale: magnitude that an identity's tolerance refers to; by default the larger side's.
            settings: what was run, for the record.
            seed: of the run, for the record.
            **values: by symbol name: an Estimate, an int or Fraction (exact), or floats (relative error 1e-12); arrays
                broadcast against each other.

        Raises:
            InvalidInput: a symbol is missing or unknown, NaN, shapes that do not broadcast.
        """
        level = checks.number("level", level, 0, 1, open_low=True, open_high=True)
        self._match(values)
        inputs = {s.name: Estimate.of(values[s.name]) for s in self._symbols}
        try:
            shape = np.broadcast_shapes(*(np.shape(estimate.value) for estimate in inputs.values()))
        except ValueError:
            shapes = {name: np.shape(estimate.value) for name, estimate in inputs.items()}
            checks.fail(f"{self.id} values", "shapes that broadcast", shapes, "one entry per point of the sweep")
        shares = sum(estimate.random for estimate in inputs.values()) * int(np.prod(shape))
        each = 1 - (1 - level) / max(1, shares)
        intervals = [estimate.interval(each) for estimate in inputs.values()]
        bounds = [(_objects(low, shape), _objects(high, shape)) for low, high in intervals]

        enclosed = interval.enclose([self.relation.lhs, self.relation.rhs], self._symbols, bounds)
        nominal = self.evaluate(**{name: estimate.value for name, estimate in inputs.items()})
        left, right = (
            Side(np.broadcast_to(np.asarray(value, dtype=float), shape), low.astype(float), high.astype(float))
            for value, (low, high) in zip(nominal, enclosed, strict=True)
        )
        largest = max(_largest(left.value), _largest(right.value))
        decided = self._decide(bounds, largest if scale is None else scale)

        statuses = np.empty(shape, dtype=object)
        statuses[decided == 0], statuses[decided == 1] = Status.INCONCLUSIVE, Status.HOLDS
        statuses[decided == -1] = Status.VIOLATED
        if self.vacuous is not None:
            statuses[interval.truth(self.vacuous, self._symbols, bounds) == 1] = Status.VACUOUS
        for _, hypothesis in self.hypotheses:
            met = interval.truth(hypothesis, self._symbols, bounds)
            statuses[(met == 0) & (statuses != Status.OUT_OF_SCOPE)] = Status.INCONCLUSIVE
            statuses[met == -1] = Status.OUT_OF_SCOPE
        return Verdict(self, inputs, statuses, left, right, level, scale, dict(settings or {}), seed)

    def _decide(self, bounds: list[Any], scale: float) -> np.ndarray:
        """1 where the relation surely holds, -1 where it surely fails, 0 between, over each box."""
        surely = interval.truth(self.relation, self._symbols, bounds)
        if not self.is_equality:
            return surely
        gap = sp.Abs(self.relation.lhs - self.relation.rhs, evaluate=False)
        [(low, high)] = interval.enclose([gap], self._symbols, bounds)
        if self.kind == "rate":
            allowed = float(self.tolerance)
        else:
            tolerance = IDENTITY_TOLERANCE if self.tolerance is None else self.tolerance
            allowed = float(tolerance) * checks.number("scale", scale, 0)
        within = np.asarray(high <= allowed, dtype=int) - np.asarray(low > allowed, dtype=int)
        exact = interval.exact(self.relation, self._symbols, bounds) & (self.kind == "identity")
        return np.where(exact, surely, within)  # exact numbers are given no tolerance

    def _match(self, values: Mapping[str, Any]) -> None:
        names = {symbol.name for symbol in self._symbols}
        if set(values) != names:
            got = f"missing {sorted(names - set(values))}, unknown {sorted(set(values) - names)}"
            checks.fail(f"{self.id} values", f"exactly {sorted(names)}", got, "see claim.meanings")

    def latex(self) -> str:
        """The relation as LaTeX, between dollar signs, in the order in which it was stated."""
        names = {symbol: self.notation[symbol.name] for symbol in self._symbols if symbol.name in self.notation}
        return f"${sp.latex(self.relation, symbol_names=names, order='none')}$"

    def __str__(self) -> str:
        operator = "=" if self.is_equality else self.relation.rel_op
        return f"{sp.sstr(self.relation.lhs, order='none')} {operator} {sp.sstr(self.relation.rhs, order='none')}"

    def __repr__(self) -> str:
        return f"Claim({self.id}: {self})"

    def _repr_latex_(self) -> str:
        return self.latex()

    def record(self) -> dict[str, Any]:
        """What there is to say about the claim, JSON-able."""
        return {
            "id": self.id,
            "title": self.title,
            "kind": self.kind,
            "statement": str(self),
            "latex": self.latex(),
            "symbols": dict(self.meanings),
            "hypotheses": [words for words, _ in self.hypotheses],
            "constants": self.constants,
            "reference": self.reference,
            "proof": self.proof,
            "expected": str(self.expected),
        }


@dataclass(frozen=True, eq=False)
class Family:
    """A numbered claim of a paper: its relations, how to check them on objects, and an experiment that does so.

    Attributes:
        id: `C6`; every member's id is `C6` or starts with `C6.`.
        title: one line.
        members: the relations.
        check: objects (data, network, trajectory) -> Verdicts; its docstring says which.
        experiment: (budget, seed) -> Verdicts, on objects that it makes itself; budget "small" or "full".
    """

    id: str
    title: str
    members: tuple[Claim, ...]
    check: Callable[..., Verdicts]
    experiment: Callable[..., Verdicts]

    def __getitem__(self, name: str) -> Claim:
        for member in self.members:
            if member.id in (name, f"{self.id}.{name}"):
                return member
        checks.fail(f"member of {self.id}", f"one of {[m.id for m in self.members]}", name, "choose one of these")


def register(*families: Family) -> None:
    """Make families and their members findable by id; an id can be taken once.

    Raises:
        InvalidInput: the family's or a member's id is taken, or a member's id does not belong to the family.
    """
    for family in families:
        taken = {id for known in _FAMILIES.values() for id in (known.id, *(m.id for m in known.members))}
        mine = [member.id for member in family.members]
        clash = taken & {family.id, *mine}
        if clash or len(set(mine)) < len(mine):
            checks.fail("claim id", "ids not taken yet", sorted(clash) or mine, "rename the claim")
        if not all(id == family.id or id.startswith(family.id + ".") for id in mine):
            checks.fail(f"members of {family.id}", f"ids that start with {family.id}.", mine, "rename them")
        _FAMILIES[family.id] = family


def families() -> list[Family]:
    """All registered families in the order of their papers (the papers are imported on the first call)."""
    importlib.import_module("theory.papers")  # by name: the papers stand above this room
    return list(_FAMILIES.values())


def find(id: str) -> Claim:
    """The registered claim with that id.

    Raises:
        InvalidInput: no such claim; the message lists those there are.
    """
    members = {member.id: member for family in families() for member in family.members}
    if id not in members:
        checks.fail("claim id", f"one of {', '.join(members)}", repr(id), "see `theory claims`")
    return members[id]


def load(text: str | Mapping[str, Any], claim: Claim | None = None) -> Verdict:
    """The verdict that `Verdict.to_json` wrote, judged again from its inputs. Text is never evaluated.

    Args:
        text: the JSON text, or the dictionary parsed from it.
        claim: the claim, where it is not a registered one.

    Raises:
        InvalidInput: not such JSON; the claim is unknown or stated differently now; the statuses do not come out again.
    """
    try:
        data = json.loads(text) if isinstance(text, str) else text
        claim = claim or find(data["claim"])
        inputs = {name: Estimate.from_json(entry) for name, entry in data["inputs"].items()}
        settings = {name: decode(value) for name, value in data["settings"].items()}
        statement, statuses = data["statement"], data["statuses"]
        context = {"level": data["level"], "scale": data["scale"], "seed": data["seed"]}
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        checks.fail(
            "verdict", "JSON written by Verdict.to_json", repr(error), "the file is damaged: run the check again"
        )
    if statement != str(claim):
        checks.fail(f"statement of {claim.id}", str(claim), statement, "it was saved by another version: check again")
    verdict: Verdict = claim.check(settings=settings, **{**context, **inputs})
    if [str(status) for status in verdict.statuses.flat] != statuses:
        checks.fail(
            f"verdict on {claim.id}", "the saved statuses", str(verdict.status), "the file was edited: check again"
        )
    return verdict


def load_table(text: str, claims: Sequence[Claim] = ()) -> Verdicts:
    """The table that `Verdicts.to_json` wrote; `claims` are the unregistered ones in it.

    Raises:
        InvalidInput: as `load`.
    """
    own = {claim.id: claim for claim in claims}
    try:
        data = json.loads(text)
        rows, level = data["verdicts"], data["level"]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        checks.fail(
            "table", "JSON written by Verdicts.to_json", repr(error), "the file is damaged: run the check again"
        )
    return Verdicts([load(row, own.get(row["claim"])) for row in rows], level)


def _largest(values: np.ndarray) -> float:
    return float(np.max(np.abs(values), initial=0.0))


def _objects(value: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(value)
    return np.broadcast_to(array.astype(object) if array.dtype != object else array, shape)
