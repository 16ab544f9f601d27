"""Kill the parent or a worker, fill the disk, damage files, sweep twice at once: the table is that of a calm sweep."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from toys import Draws, image

from theory.lab.running import DEATHS
from theory.lab.store import Store
from theory.lab.sweep import Sweep, sweep

TESTS = Path(__file__).resolve().parents[1]
AXES = {"scale": (1.0, 2.0), "size": (2, 3, 4)}


def calm(folder: Path, simulation: Draws, axes: dict = AXES) -> bytes:
    quick = dataclasses.replace(simulation, delay=0.0)  # no part of the table
    return image(sweep(quick, axes, store=folder, workers=1).table)


def program(store: Path, simulation: Draws, workers: int) -> subprocess.Popen:
    """A sweep in a program of its own, in a process group of its own."""
    code = f"""
from toys import Draws
from theory.lab.sweep import sweep
if __name__ == "__main__":
    sweep({simulation!r}, {AXES!r}, store={str(store)!r}, workers={workers})
"""
    environment = {**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, start_new_session=True)


def cells(store: Path) -> list[Path]:
    return sorted(store.glob("draws/*/*.npz"))


def wait_for(condition: Any, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the other program did not get that far"
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_kill_9_of_the_parent(tmp_path: Path) -> None:
    slow = Draws(seeds=4, delay=0.1)
    parent = program(tmp_path / "store", slow, workers=2)
    wait_for(lambda: len(cells(tmp_path / "store")) >= 5)
    workers_of_it = children(parent.pid)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    wait_for(lambda: not any(map(alive, workers_of_it)), seconds=30)
    finished = len(cells(tmp_path / "store"))
    assert 5 <= finished < 24
    again = sweep(slow, AXES, store=tmp_path / "store", workers=1)
    # a worker may have been in the middle of a cell, but only the parent writes
    assert again.report.found == finished and again.report.computed == 24 - finished and not again.report.damaged
    assert image(again.table) == calm(tmp_path / "calm", slow)


def test_a_worker_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    once = str(tmp_path / "died")
    simulation = Draws(seeds=3, deadly=1, once=once)
    survived = sweep(simulation, AXES, store=tmp_path / "store", workers=2)
    assert Path(once).exists() and survived.report.finished and not survived.report.failed
    assert image(survived.table) == calm(tmp_path / "calm", simulation)
    alone = Draws(seeds=1, deadly=0, once=str(tmp_path / "died once more"))
    assert sweep(alone, {}, store=tmp_path / "store", workers=2).report.finished  # one death is no verdict


def test_a_cell_that_kills_its_workers_fails_alone(tmp_path: Path) -> None:
    done = sweep(Draws(seeds=3, deadly=1), {"scale": (1.0,)}, store=tmp_path, workers=2)
    assert (done.report.computed, len(done.report.failed)) == (2, 1)
    assert (done.table.cell_status.sel(seed=1) == "failed").all() and (
        done.table.cell_status.sel(seed=[0, 2]) == "done"
    ).all()
    assert f"the worker died {DEATHS} times" in str(done.table.cell_error.sel(seed=1, scale=1.0).values)


def test_no_space_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    from theory.lab.command import main

    write, room = Store.write, [5]

    def full(self: Store, path: Path, content: bytes) -> None:
        room[0] -= 1
        if room[0] < 0:
            raise OSError(28, "No space left on device")
        write(self, path, content)

    words = [
        "--scale",
        "1",
        "2",
        "--size",
        "2",
        "3",
        "4",
        "--seeds",
        "2",
        "--workers",
        "1",
        "--store",
        str(tmp_path / "store"),
    ]
    with monkeypatch.context() as disk:
        disk.setattr(Store, "write", full)
        assert main(Draws, [*words, "--output", str(tmp_path / "figures")]) == 2
    out = " ".join(capsys.readouterr().out.split())
    assert "No space left on device; mend that" in out and "5 computed" in out and "1 not stored" in out
    assert len(cells(tmp_path / "store")) == 5
    again = sweep(Draws(seeds=2), AXES, store=tmp_path / "store", workers=1)
    assert (again.report.found, again.report.computed) == (5, 7)
    assert image(again.table) == calm(tmp_path / "calm", Draws(seeds=2))


def test_space_that_comes_back_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, refused = Store.write, []

    def once(self: Store, path: Path, content: bytes) -> None:
        if not refused:
            refused.append(path)
            raise OSError(28, "No space left on device")
        write(self, path, content)

    monkeypatch.setattr(Store, "write", once)
    done = sweep(Draws(seeds=1), AXES, store=tmp_path, workers=1)
    assert refused[0].exists() and done.report.unwritten == 0 and done.report.trouble is None


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small file system can't be mounted here")
    try:
        done = sweep(Draws(seeds=20), AXES, store=disk / "store", workers=1)
        assert done.report.trouble is not None and done.report.trouble.errno == 28 and not done.report.finished
        kept = {path.relative_to(disk): path.read_bytes() for path in cells(disk / "store")}
        assert len(kept) == done.report.computed > 0 and not list(disk.rglob(".*.part"))
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
        again = sweep(Draws(seeds=20), AXES, store=disk / "store", workers=1)
        assert again.report.found == len(kept) and again.report.finished
        assert image(again.table) == calm(tmp_path / "calm", Draws(seeds=20))
    finally:
        subprocess.run(["umount", str(disk)], check=False)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "another cell's header"])
def test_damaged_cells_are_named_and_computed_again(damage: str, tmp_path: Path) -> None:
    expected = calm(tmp_path / "store", Draws(seeds=2))
    chosen = random.Random(damage).sample(cells(tmp_path / "store"), 3)
    for path in chosen:
        content = bytearray(path.read_bytes())
        if damage == "flipped":
            content[len(content) // 2] ^= 4
        elif damage == "another cell's header":
            other = next(cell for cell in cells(tmp_path / "store") if cell not in chosen).read_bytes()
            content[:300] = other[:300]
        path.write_bytes({"truncated": bytes(content[:-20]), "empty": b""}.get(damage, bytes(content)))
    again = sweep(Draws(seeds=2), AXES, store=tmp_path / "store", workers=1)
    assert again.report.computed == len(again.report.damaged) == 3
    assert {line.split(": ")[0] for line in again.report.damaged} == {str(path) for path in chosen}
    assert image(again.table) == expected


def test_a_cell_of_another_place_is_not_taken_for_this_one(tmp_path: Path) -> None:
    """A file that was copied or renamed by hand has a good checksum and the wrong contents."""
    expected = calm(tmp_path / "store", Draws(seeds=2))
    one, other, *_ = cells(tmp_path / "store")
    one.write_bytes(other.read_bytes())
    again = sweep(Draws(seeds=2), AXES, store=tmp_path / "store", workers=1)
    assert len(again.report.damaged) == again.report.computed == 1 and image(again.table) == expected


def test_two_sweeps_into_one_store_at_once(tmp_path: Path) -> None:
    slow = Draws(seeds=4, delay=0.05)
    both = [program(tmp_path / "store", slow, workers=1) for _ in range(2)]
    assert [one.wait(timeout=200) for one in both] == [0, 0]
    together = sweep(slow, AXES, store=tmp_path / "store", workers=1)
    assert together.report.found == 24 and not together.report.damaged
    assert image(together.table) == calm(tmp_path / "calm", slow)


def test_leftovers_of_a_killed_writer_do_no_harm(tmp_path: Path) -> None:
    expected = calm(tmp_path / "store", Draws(seeds=1))
    path = cells(tmp_path / "store")[0]
    (path.parent / f".{path.name}.0123456789ab.part").write_bytes(b"half a cell")
    (path.parent / "7.failed.json").write_text("{half")
    again = sweep(Draws(seeds=1), AXES, store=tmp_path / "store", workers=1)
    assert again.report.found == 6 and image(again.table) == expected
    assert len(Store(tmp_path / "store").leftovers()) == 1


def test_threads_do_not_show(tmp_path: Path) -> None:
    """Matrix products on two threads round otherwise than on one; a cell computes on one whatever it is told."""
    programs = []
    for threads in ("1", "2"):
        environment = {**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"}
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads)
        code = f"""
from simulations.recovery import Recovery
from theory.lab.sweep import sweep
from toys import image
import hashlib
table = sweep(Recovery(seeds=2, width=64, per_cluster=60, steps=30, activation="softplus"), {{"radius": (0.0, 0.2)}},
              store={str(tmp_path / threads)!r}, workers=1).table
print(hashlib.sha256(image(table)).hexdigest())
"""
        programs.append(subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE))
    found = [program.communicate(timeout=200)[0] for program in programs]
    assert found[0] == found[1] and len(found[0]) == 65


def test_a_sweep_can_be_looked_at_while_it_runs(tmp_path: Path) -> None:
    seen = []
    store = tmp_path / "store"

    def look(report: Any, left: int) -> None:
        seen.append(len(cells(store)))

    done = sweep(Draws(seeds=2), AXES, store=store, workers=1, progress=look)
    assert seen == list(range(13)) and isinstance(done, Sweep)
    assert json.loads((store / "store.json").read_text()) == {"format": 1}
