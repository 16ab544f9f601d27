"""A Dask scheduler and three workers on loopback: the table is that of one process, whoever is killed."""

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dask
import pytest
from distributed import Client
from toys import Draws, image

from theory.checks import InvalidInput
from theory.lab import engine
from theory.lab.running import Report
from theory.lab.sweep import sweep

TESTS = Path(__file__).resolve().parents[1]
AXES = {"scale": (1.0, 2.0), "size": (2, 3, 4)}


class Cluster:
    """Programs as somebody would start them by hand."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        self._folder = folder
        port = self.address.rsplit(":", 1)[1]
        self.programs = [self._start("scheduler", "--host", "127.0.0.1", "--port", port, "--dashboard-address", ":0")]

    def work(self, *options: str) -> subprocess.Popen:
        here = ("--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard", "--no-nanny", "--death-timeout", "60")
        self.programs.append(self._start("worker", self.address, *here, *options))
        return self.programs[-1]

    def _start(self, what: str, *options: str) -> subprocess.Popen:
        environment = {**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "dask", what, *options]
        with (self._folder / "cluster.log").open("ab") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=self._folder)

    def stop(self) -> None:
        for program in reversed(self.programs):
            program.kill()
            program.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    running = Cluster(tmp_path_factory.mktemp("cluster"))
    for _ in range(3):
        running.work()
    yield running
    running.stop()


def calm(folder: Path, simulation: Draws) -> bytes:
    quick = dataclasses.replace(simulation, delay=0.0)  # no part of the table
    return image(sweep(quick, AXES, store=folder, workers=1).table)


def test_three_workers_give_the_table_of_one_process(cluster: Cluster, tmp_path: Path) -> None:
    simulation = Draws(seeds=3, failing=2)
    far = sweep(simulation, AXES, store=tmp_path / "far", engine="dask", scheduler=cluster.address)
    assert (far.report.computed, len(far.report.failed)) == (12, 6)
    assert image(far.table) == calm(tmp_path / "near", simulation)
    assert {record.made["host"] for record in far.records.values()}


def test_a_killed_worker_loses_nothing(cluster: Cluster, tmp_path: Path) -> None:
    simulation = Draws(seeds=6, delay=0.1)
    killed = []

    def kill_one(report: object, left: int) -> None:
        if left <= 30 and not killed:
            killed.append(cluster.programs[1])
            killed[0].send_signal(signal.SIGKILL)

    far = sweep(simulation, AXES, store=tmp_path / "far", engine="dask", scheduler=cluster.address, progress=kill_one)
    assert killed and killed[0].wait(10) == -signal.SIGKILL
    assert far.report.finished and not far.report.failed
    assert image(far.table) == calm(tmp_path / "near", simulation)


def test_a_gpu_cell_goes_to_the_worker_that_has_one(cluster: Cluster, tmp_path: Path) -> None:
    options = {"store": tmp_path, "engine": "dask", "scheduler": cluster.address}
    with pytest.raises(InvalidInput, match="--resources GPU=1"):
        sweep(Draws(device="cuda"), {}, **options)
    owner = cluster.work("--resources", "GPU=1")
    with Client(cluster.address) as client:
        client.wait_for_workers(3, timeout=60)  # one of the three before was killed
    done = sweep(Draws(seeds=6), {"device": ("cpu", "cuda")}, **options)
    assert done.report.computed == 12
    homes = {
        device: {done.records[i, seed].made["process"] for seed in range(6)} for i, device in enumerate(("cpu", "cuda"))
    }
    assert homes["cuda"] == {owner.pid} and homes["cpu"] != {owner.pid}


def test_a_cluster_of_its_own(tmp_path: Path) -> None:
    own = sweep(Draws(seeds=1), AXES, store=tmp_path / "own", engine="dask", workers=1)
    assert own.report.computed == 6 and image(own.table) == calm(tmp_path / "near", Draws(seeds=1))


def test_a_scheduler_that_is_gone(tmp_path: Path) -> None:
    own = Cluster(tmp_path)
    own.work()

    def kill(report: Report, left: int) -> None:
        if left <= 20 and own.programs[0].poll() is None:
            own.programs[0].kill()

    simulation = Draws(seeds=5, delay=0.1)
    with dask.config.set({"distributed.comm.timeouts.connect": "2s"}):
        lost = sweep(simulation, AXES, store=tmp_path / "s", engine="dask", scheduler=own.address, progress=kill)
    own.stop()
    assert isinstance(lost.report.trouble, ConnectionError) and not lost.report.finished and lost.report.computed >= 10
    again = sweep(simulation, AXES, store=tmp_path / "s", workers=1)
    assert again.report.found == lost.report.computed and image(again.table) == calm(tmp_path / "near", simulation)


def test_no_scheduler_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = time.monotonic()
    monkeypatch.setattr(engine, "PATIENCE", "1s")
    with pytest.raises(InvalidInput, match=r"scheduler: expected one at tcp://127.0.0.1:9, got"):
        sweep(Draws(), AXES, store=tmp_path, engine="dask", scheduler="tcp://127.0.0.1:9")
    assert time.monotonic() - started < 30
