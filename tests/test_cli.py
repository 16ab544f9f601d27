"""The command: lists, explains, verifies; exit codes; JSON that is read back."""

import json
from typing import Any

import pytest
import torch

from theory import claim, cli
from theory.checks import InvalidInput
from theory.claim import Family, load_table
from theory.kernels import compiling
from theory.verdict import Status, Verdicts


def test_list_names_every_claim(capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["claims"]) == 0
    out = capsys.readouterr().out
    for number in range(1, 14):
        assert f"C{number}" in out


def test_explain_one(capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["claims", "C6.norm"]) == 0
    out = capsys.readouterr().out
    assert "Gamma1" in out and "paper_notes/li2020.md" in out and ">=" in out


def test_every_claim_is_documented(capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["claims", "--json"]) == 0
    for record in json.loads(capsys.readouterr().out):
        assert record["title"] and record["reference"], record["id"]
        assert all(meaning for meaning in record["symbols"].values()), record["id"]
        assert record["latex"].startswith("$")


def test_unknown_id(capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["claims", "C99"]) == 2
    assert "C1, C2" in capsys.readouterr().err
    assert cli.main(["verify", "C1", "--seed", "-1"]) == 2
    assert "seed" in capsys.readouterr().err


def test_verify_prints_json_that_is_read_back(capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["verify", "C10", "--json"]) == 0
    captured = capsys.readouterr()
    table = load_table(captured.out)
    assert len(table) > 0 and table.family("C10") == Status.HOLDS
    assert "holds" in captured.err


def test_verify_fails_on_the_unexpected_and_keeps_what_ctrl_c_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    good, other = claim.families()[:2]

    def experiment(budget: str, seed: int) -> Verdicts:
        assert (budget, seed) == ("small", 3)
        return found

    def interrupted(**_: Any) -> Verdicts:
        raise KeyboardInterrupt

    member = claim.Claim("X.one", "one", claim.sp.Le(claim.symbols("a"), 1), {"a": "a"}, reference="none")
    found = Verdicts([member.check(a=2.0)])
    mine = Family("X", "mine", (member,), experiment, experiment)
    after = Family("Y", "after", (), interrupted, interrupted)
    monkeypatch.setattr(claim, "_FAMILIES", {"X": mine, "Y": after})
    assert cli.main(["verify", "X", "--seed", "3"]) == 1
    assert "unexpected" in capsys.readouterr().out
    assert cli.main(["verify", "--seed", "3"]) == 130
    assert "X.one" in capsys.readouterr().out
    assert good is not other


def test_kernels_says_what_this_machine_has(capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["kernels", "--compile", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [path["path"] for path in found["paths"]] == ["reference", "cpu", "gpu"]
    assert found["paths"][0]["available"]
    assert found["paths"][2]["available"] == torch.cuda.is_available()
    assert bool(found["compiled"]) == compiling.available()
    assert cli.main(["kernels"]) == 0
    assert "plain torch" in capsys.readouterr().out


def test_find_loads_the_papers() -> None:
    assert claim.find("C6.norm").id == "C6.norm"
    with pytest.raises(InvalidInput, match="claim id"):
        claim.find("C6.nothing")
