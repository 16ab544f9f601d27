"""`theory sweeps`: list, show, export and prune in words."""

import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from theory import checks
from theory.lab import archive, report
from theory.lab.store import Store
from theory.lab.table import everything


def run(options: Any) -> int:
    """Run `theory sweeps`.

    Returns:
        0; 2 for a store, a name or a file that is no good.
    """
    try:
        return _run(options, report.terminal())
    except checks.InvalidInput as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        print(f"error: expected files that can be read and written, got {error}; check the paths", file=sys.stderr)
    return 2


def _run(options: Any, console: Console) -> int:
    if not options.store.is_dir():
        checks.fail("store", "a folder of a sweep", str(options.store), "name it with --store, or run a sweep first")
    store = Store(options.store)
    if options.action == "list":
        _list(store, console)
        return 0
    if options.action == "prune":
        if options.all and options.name is None:
            checks.fail("name", "of a simulation, with --all", "none", f"say which: {', '.join(store.names())}")
        removed = archive.prune(store, options.name, whole=options.all, keep=options.keep)
        for path in removed:
            console.print(f"{'would remove' if options.keep else 'removed'} {path}", markup=False, highlight=False)
        console.print(f"{len(removed)} {'would be ' * options.keep}removed", highlight=False)
        return 0
    if options.name is None:
        checks.fail("name", "of a simulation", "none", f"say which: {', '.join(store.names())}")
    where = dict(_pair(words) for words in options.where)
    if options.action == "show":
        _show(store, options.name, where, console)
        return 0
    if options.file is None:
        checks.fail(
            "file", f"a name that ends in {', '.join(archive.SUFFIXES)}", "none", "say where to write the table"
        )
    for complaint in archive.export(store, options.name, options.file, where, options.variables):
        console.print(f"left out: {complaint}", markup=False, highlight=False)
    console.print(f"-> {options.file}", markup=False, highlight=False)
    return 0


def _pair(words: str) -> tuple[str, Any]:
    name, equals, value = words.partition("=")
    if not equals:
        checks.fail("where", "FIELD=VALUE", words, "as in --where width=256 kind=a centred=true rates=[0.1,0.2]")
    try:
        return name, json.loads({"True": "true", "False": "false", "None": "null"}.get(value, value))
    except ValueError:
        return name, value  # a string


def _list(store: Store, console: Console) -> None:
    table = Table(show_edge=False, pad_edge=False)
    for name in ("simulation", "version", "cells", "failed", "size", "varying"):
        table.add_column(name, overflow="fold")
    found = archive.contents(store)
    for entry in found:
        axes = "; ".join(f"{name}: {_values(values)}" for name, values in entry.varying.items())
        cells = (str(entry.version), str(entry.cells), str(entry.failed), f"{entry.bytes / 1e6:.2f} MB", axes)
        table.add_row(entry.name, *cells)
    console.print(table if found else "the store is empty")
    for entry in found:
        for line in entry.damaged:
            console.print(f"damaged: {line}", markup=False, highlight=False)


def _values(values: Any) -> str:
    if len(values) > 6:
        return f"{len(values)} values from {values[0]} to {values[-1]}"
    return " ".join(str(value) for value in values)


def _show(store: Store, name: str, where: dict[str, Any], console: Console) -> None:
    failures = list(store.failures(name))
    try:
        table, damaged = everything(store, name, where)
        print(table)
    except checks.InvalidInput:
        if not failures:
            raise
        damaged = []
    for complaint in damaged:
        console.print(f"damaged: {complaint}", markup=False, highlight=False)
    for failure in failures:
        settings = ", ".join(f"{key}={value}" for key, value in failure["settings"].items())
        console.print(f"\nfailed: seed={failure['seed']}, {settings}", markup=False, highlight=False)
        console.print(failure["traceback"].rstrip(), markup=False, highlight=False)
