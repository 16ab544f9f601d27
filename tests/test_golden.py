"""Numbers of a simulation change only with its version: stored cells of an older one are then not used."""

import json

import pytest

from simulations import all_simulations
from tests import golden
from theory.lab.simulation import Simulation

KINDS = all_simulations()
KNOWN = json.loads(golden.FILE.read_text())


def test_every_simulation_is_here() -> None:
    assert set(KNOWN) == set(golden.SMALL) == {kind.name for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_numbers_change_only_with_the_version(kind: type[Simulation]) -> None:
    known = KNOWN[kind.name]
    assert known["version"] == kind.version, "write the numbers of the new version: python -m tests.golden"
    changed = golden.differences(known["numbers"], golden.numbers(golden.small(kind)))
    assert not changed, (
        f"{kind.name} gives other numbers for {', '.join(changed)}: raise its `version`, then python -m tests.golden"
    )


def test_a_change_is_noticed() -> None:
    known = {"loss": [3.0, 0.5, 0.1, 0.2]}
    assert not golden.differences(known, {"loss": [3.0, 0.5 + 1e-9, 0.1, 0.2]})
    assert golden.differences(known, {"loss": [3.0, 0.5001, 0.1, 0.2]}) == ["loss"]
    assert golden.differences(known, {"cost": [3.0, 0.5, 0.1, 0.2]}) == ["cost", "loss"]
