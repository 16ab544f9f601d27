"""The `theory` command: list the claims, explain one, verify them; say which fast paths this machine has.

    theory claims                 every claim: id, kind, where its constants come from, title
    theory claims C6              statement, symbols, hypotheses, reference, place of the proof
    theory verify C1 C6           run the checks of these families on objects that they make themselves
    theory verify --budget full   all of them, at full size
    theory kernels --compile      the fast paths that this machine has; compile them ahead of their first use
    theory sweeps                 what sweeps have stored (--store, `sweeps` by default)
    theory sweeps show NAME       the table of a simulation's cells, and the tracebacks of those that failed
    theory sweeps export NAME results.nc|.parquet|.csv [--where width=256] [--variables loss]
    theory sweeps prune [NAME]    remove unfinished, damaged and outdated files (--all: all of NAME; --keep: only say)

`--json` prints the same as JSON.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from theory import checks
from theory.claim import Claim, Family, families
from theory.lab import report
from theory.verdict import Verdicts


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 1 when a proved claim is violated or a refuted one holds; 2 for bad arguments; 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(prog="theory", description=__doc__, formatter_class=_Verbatim)
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("claims", help="list the claims, or explain some")
    listing.add_argument("ids", nargs="*", metavar="ID", help="C6 or C6.quadratic")
    verify = commands.add_parser("verify", help="run checks and print verdicts")
    verify.add_argument("ids", nargs="*", metavar="ID", help="families or members; all by default")
    verify.add_argument("--budget", choices=("small", "full"), default="small", help="small: seconds; full: minutes")
    verify.add_argument("--seed", type=int, default=0)
    paths = commands.add_parser("kernels", help="which fast paths this machine has")
    paths.add_argument("--compile", action="store_true", help="compile them now; later processes find them on the disk")
    for command in (listing, verify, paths):
        command.add_argument("--json", action="store_true", help="print JSON")
    sweeps = commands.add_parser("sweeps", help="list, show, export and prune what sweeps have stored")
    sweeps.add_argument("action", nargs="?", choices=("list", "show", "export", "prune"), default="list")
    sweeps.add_argument("name", nargs="?", help="of a simulation")
    sweeps.add_argument("file", nargs="?", type=Path, help="to export to: .nc, .parquet or .csv")
    sweeps.add_argument("--store", type=Path, default=Path("sweeps"), help="folder of the store")
    sweeps.add_argument("--where", nargs="+", default=[], metavar="FIELD=VALUE", help="only cells with these settings")
    sweeps.add_argument("--variables", nargs="+", default=[], metavar="NAME", help="only these, to export")
    sweeps.add_argument("--all", action="store_true", help="prune: everything of NAME")
    sweeps.add_argument("--keep", action="store_true", help="prune: only say what would be removed")
    options = parser.parse_args(arguments)
    if options.command == "kernels":
        return _kernels(options.compile, options.json)
    if options.command == "sweeps":
        from theory.lab import archive_command

        return archive_command.run(options)
    try:
        chosen = [_select(id) for id in options.ids] or [(family, family.members) for family in families()]
        if options.command == "claims":
            return _claims(chosen, bool(options.ids), options.json)
        checks.integer("seed", options.seed, minimum=0)
        return _verify(chosen, options.budget, options.seed, options.json)
    except checks.InvalidInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


class _Verbatim(argparse.RawDescriptionHelpFormatter):
    pass


Selection = tuple[Family, tuple[Claim, ...]]


def _select(id: str) -> Selection:
    """The family that `id` names with all its members, or with the one member that it names."""
    for family in families():
        if family.id == id:
            return family, family.members
        for member in family.members:
            if member.id == id:
                return family, (member,)
    known = ", ".join(family.id for family in families())
    checks.fail("claim id", f"one of {known}, or a member such as C6.quadratic", repr(id), "see `theory claims`")


def _claims(chosen: Sequence[Selection], explain: bool, as_json: bool) -> int:
    members = [member for _, members in chosen for member in members]
    if as_json:
        print(json.dumps([member.record() for member in members], indent=1))
        return 0
    console = report.terminal()
    if not explain:
        table = Table(show_edge=False, pad_edge=False)
        for name in ("id", "kind", "constants", "expected", "reference", "title"):
            table.add_column(name)
        for member in members:
            cells = (member.kind, member.constants, str(member.expected), member.reference, member.title)
            table.add_row(member.id, *cells)
        console.print(table)
        return 0
    for member in members:
        console.print(f"[bold]{member.id}[/]  {member.title}")
        console.print(f"  {member}", markup=False)
        for name, meaning in member.meanings.items():
            console.print(f"    {name}: {meaning}", markup=False)
        for words, relation in member.hypotheses:
            console.print(f"  if {words}: {relation}", markup=False)
        console.print(f"  {member.kind}; constants {member.constants}; expected: {member.expected}", markup=False)
        console.print(f"  {member.reference}; {member.proof or 'no proof in the notes'}\n", markup=False)
    return 0


def _verify(chosen: Sequence[Selection], budget: str, seed: int, as_json: bool) -> int:
    console = report.terminal(stderr=as_json)
    verdicts = Verdicts()
    interrupted = False
    wanted: dict[str, set[str]] = {}
    for family, members in chosen:
        wanted.setdefault(family.id, set()).update(member.id for member in members)
    for family in families():
        if family.id not in wanted:
            continue
        try:
            with console.status(f"{family.id}: {family.title}"):
                found = family.experiment(budget=budget, seed=seed)
        except KeyboardInterrupt:
            interrupted = True
            break
        verdicts.extend(verdict for verdict in found if verdict.claim.id in wanted[family.id])
    if as_json:
        print(verdicts.to_json())
    elif verdicts:
        console.print(report.table(verdicts))
    status = report.conclude(verdicts, console)
    if interrupted:
        console.print("interrupted: what was finished is above")
        return 130
    return status


def _kernels(compile_now: bool, as_json: bool) -> int:
    from theory import kernels  # these three import torch, which the other commands can do without
    from theory.kernels import compiling

    console = report.terminal(stderr=as_json)
    if compile_now and compiling.available():
        with console.status("compiling"):
            _use_every_door()
    paths = [{"path": path.name, "available": path.available, "what": path.note} for path in kernels.paths()]
    calls = compiling.first_calls()
    if as_json:
        compiled = {name: {"seconds": call.seconds, "cached": call.cached} for name, call in calls.items()}
        print(json.dumps({"paths": paths, "compiled": compiled}, indent=1))
        return 0
    table = Table(show_edge=False, pad_edge=False)
    for name in ("path", "available", "what"):
        table.add_column(name)
    for row in paths:
        table.add_row(str(row["path"]), "yes" if row["available"] else "no", str(row["what"]))
    console.print(table)
    for name, call in calls.items():
        origin = " (from the disk)" if call.cached else ""
        console.print(f"{name}: ready after {call.seconds:.2f} s{origin}", markup=False)
    if compile_now and not compiling.available():
        console.print("nothing to compile: numba is not installed, or switched off")
    return 0


def _use_every_door() -> None:
    """Call whatever has a compiled path once in each dtype, at the least size that takes it."""
    import torch

    from theory import covariance, descent, kernels
    from theory.networks import TwoLayer

    for dtype in (torch.float32, torch.float64):
        X = torch.ones(300, 8, dtype=dtype)
        for paired in (False, True):
            network = TwoLayer.initialise(1024, 8, "relu", paired=paired, dtype=dtype)
            descent.train(network, X, X[:, 0], step=1e-6, steps=2)
        covariance.empirical_kernel(X, network)
        covariance.empirical_kernel(X, kernels.Rows(width=1024, dimension=8, seed=0), activation="relu", other=X)


if __name__ == "__main__":
    sys.exit(main())
