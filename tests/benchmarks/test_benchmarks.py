"""The machinery of the benchmarks at tiny sizes: rounds in turns, the record, the table. No speed is measured here."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import gpu, report, targets
from benchmarks.harness import OURS, Bout, Missing, Record, Row, Workload, clock
from benchmarks.workloads import workloads

ROOT = Path(__file__).resolve().parents[2]
IDENTITY = {"tiny": True, "processor": "p", "cores": 1, "system": "s", "python": "3", "versions": {}, "code": "c"}


def test_a_round_is_ours_and_then_the_rival():
    called = []
    contenders = {name: lambda _, name=name: lambda: called.append(name) for name in (OURS, "rival")}
    workload = Workload("w", dict, contenders, rounds=4)
    bout = Bout(workload, "rival", {}, contenders[OURS]({}))
    assert bout.warm_up() == 4  # at most `rounds`
    called.clear()
    for _ in range(3):
        bout.our_turn()
        bout.theirs()
    assert called == [OURS, "rival"] * 3
    row = bout.finish([2.0, 2.0, 2.0], None)
    row.ours = [1.0, 0.5, 2.0]
    assert row.ratio == (2.0, 1.0, 4.0)


def test_the_clock_counts_what_a_peer_used_elsewhere_and_not_what_others_did(monkeypatch):
    began = clock()
    time.sleep(0.2)
    assert clock() - began < 0.1
    monkeypatch.setattr(clock, "elsewhere", clock.elsewhere + 5)
    assert 5 <= clock() - began < 5.1
    monkeypatch.setattr(clock, "wall", True)
    began = clock()
    time.sleep(0.2)
    assert clock() - began >= 0.2


def test_ours_needs_no_rival():
    called = []
    contenders = {OURS: lambda _: lambda: called.append(1)}
    ours = contenders[OURS]({})
    bout = Bout(Workload("w", dict, contenders), OURS, {}, ours)
    bout.warm_up()
    called.clear()
    bout.our_turn()
    assert not called
    assert bout.finish([1.0, 2.0], None).ratios == [1.0, 1.0]


def test_a_contender_that_is_too_slow_gets_one_cold_call():
    calls = []
    contenders = {OURS: lambda _: lambda: None, "slow": lambda _: lambda: calls.append(1)}
    bout = Bout(Workload("w", dict, contenders, once=frozenset({"slow"})), "slow", {}, lambda: None)
    assert bout.warm_up() == 1
    assert not calls
    bout.our_turn()
    row = bout.finish([1.0], None)
    assert row.first is None
    assert len(row.ours) == len(row.ratios) == 3


def test_an_interrupted_record_is_continued_and_a_finished_or_foreign_one_is_not(tmp_path):
    path = tmp_path / "results.json"
    first = Record.continued(path, IDENTITY, "monday")
    first.put("w", "rival", Row(ours=[1.0], theirs=[3.0]))
    second = Record.continued(path, IDENTITY, "tuesday")
    assert second.row("w", "rival").ratio == (3.0, 3.0, 3.0)
    assert second.sessions == ["monday", "tuesday"]
    assert Record.continued(path, {**IDENTITY, "code": "other"}, "x").row("w", "rival") is None
    second.finished = True
    second.write()
    assert Record.continued(path, IDENTITY, "x").row("w", "rival") is None


@pytest.mark.parametrize(("theirs", "verdict"), [(5.2, "pass, but not in every round"), (6.0, "pass"), (4.0, "SHORT")])
def test_the_verdict_goes_by_the_median_of_the_fastest_rival(tmp_path, theirs, verdict):
    target = targets.Target("work", "w", ("fast", "slow"), 5, "9x")
    record = Record(tmp_path / "results.json")
    record.identity = {**IDENTITY, "tiny": False}
    record.rows = {
        f"w | {OURS}": Row(ours=[1.0] * 3, theirs=[1.0] * 3, error=1e-7),
        "w | slow": Row(ours=[1.0] * 3, theirs=[90.0] * 3),
        "w | fast": Row(ours=[1.0, 1.1, 1.0], theirs=[theirs] * 3),
    }
    assert report.target_row(record, target)[-1] == verdict
    record.rows["w | fast"] = record.rows["w | slow"] = Row(missing="not installed: pip install it")
    assert report.target_row(record, target)[-1] == "not measured (not installed: pip install it)"


def test_a_share_of_the_peak_is_of_one_step_and_of_its_precision(tmp_path):
    record = Record(tmp_path / "results.json")
    record.notes = {"peaks": {"one": {"float32": 100.0, "float64": 50.0}}}
    row = Row(ours=[1.0], theirs=[4.0], calls=40, operations=2e9)  # 0.1 s a step: 20 GFLOP/s
    assert report.peak_share(record, "descent at width 64", row) == pytest.approx(0.2)
    assert report.peak_share(record, "kernel S1 relu float64", row) == pytest.approx(0.4)


def test_every_target_is_measured_by_a_workload():
    made = {workload.name: workload.contenders for workload in workloads(tiny=False)}
    for target in targets.TARGETS:
        assert set(target.rivals) <= set(made[target.workload]), target


SLOW_TO_START = ("jax", "nngeometry", "neural_tangents", "torch.func jacrev")  # `make bench` prints everybody's error


COMPARED = [
    w for w in workloads(tiny=True) if w.error is not None and "10^6" not in w.name
]  # the others in test_margin


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # torch's own, at its first jvp
@pytest.mark.parametrize("workload", COMPARED, ids=lambda w: w.name)
def test_every_contender_answers_the_same_question(workload):
    inputs = workload.inputs()
    for name, prepare in workload.contenders.items():
        if name.startswith(SLOW_TO_START):
            continue
        try:
            call = prepare(inputs)
        except Missing:
            continue
        assert workload.error(call(), inputs) < (1e-11 if "float64" in workload.name else 1e-5), name


def test_gpu_rows_that_nobody_measured_say_so(tmp_path):
    path = tmp_path / "results-gpu.json"
    text = "\n".join(report.gpu_table(path))
    assert "Not measured" in text
    assert text.count("calculated, not measured") == len(targets.GPU_TARGETS)
    assert {target.key for target in targets.GPU_TARGETS} == set(gpu.ROWS)
    values = gpu.row({"ours": [30.0, 31.0, 40.0], "eager fp32": [500.0]}, 1e-7)
    path.write_text(json.dumps({"device": "H200", "versions": "v", "session": "s", "rows": {"kernel d=128": values}}))
    assert "| 31 [30, 40] ms | eager fp32 500 | 1.0e-07 | pass |" in "\n".join(report.gpu_table(path))


def test_the_gpu_rows_answer_the_same_question_on_a_small_cpu(monkeypatch):
    def seconds(call):
        began = time.perf_counter()
        call()
        return time.perf_counter() - began

    small = {"DEVICE": "cpu", "N": 12, "WIDTH": 64, "CHUNK": 20, "RUNS": 3, "SMALL": (12, 3, 16), "MANY_STEPS": (2, 9)}
    for name, value in small.items():
        monkeypatch.setattr(gpu, name, value)
    monkeypatch.setattr(gpu, "milliseconds", seconds)
    for name, take in gpu.ROWS.items():
        row = take()
        assert row["error"] < 1e-4, name
        assert len(row["rivals"]) >= 1 and all(isinstance(value, float) for value in row["rivals"].values())


def test_the_command_measures_reports_and_draws(tmp_path):
    pytest.importorskip("pytest_benchmark")
    only = r"^kernel (S1 relu float32|at width 16) \| (theorycheck|numpy syrk|torch closed form)$"
    command = [sys.executable, "-m", "benchmarks", "--tiny", "--only", only, "--output", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    record = Record(tmp_path / "results.json")
    row = record.row("kernel S1 relu float32", "numpy syrk")
    assert len(row.ours) == len(row.theirs) >= 3
    assert record.notes["threads"]["one"]["torch"] == 1
    assert "tiny sizes, no verdict" in (tmp_path / "RESULTS.md").read_text()
    assert (tmp_path / "speed.png").exists() and json.loads((tmp_path / "speed.json").read_text())["points"]["kernel"]
