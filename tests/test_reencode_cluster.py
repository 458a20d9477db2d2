"""Re-encoding on real worker processes: one or two give the same bytes, and a job that kills its workers is named."""

from __future__ import annotations

import os
import signal as signals
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import PACKAGE, Run
from reencode_cases import files, make, one, signal
from servers import HEARS

from sanstream.archive import verify
from sanstream.reencode import reencode
from sanstream.reencode_store import LocalCheckpoints, checkpoints_of

# of a process that is killed while it works, sockets and pipes may be left to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two recordings, of two segments and of one."""
    return make(tmp_path / "a.san", one(signal(400), at=(0, 20_000)), one(signal(200, seed=3), "bed2"))


def test_two_workers_make_what_this_process_makes(
    run: Run, tmp_path: Path, source: Path, request: pytest.FixtureRequest
) -> None:
    ended = run("reencode", source, "--to", tmp_path / "two.san", "--quality", "prdn=5", "--workers", "2")
    assert ended.code == 0, ended.err
    assert ended.err.count("\n") == 1, "Dask says nothing of its own"
    assert "3 encoded, 0 carried over" in ended.err
    request.getfixturevalue("inline")
    reencode(source, to=tmp_path / "one.san", quality="prdn=5")
    assert files(tmp_path / "two.san") == files(tmp_path / "one.san")
    assert verify(tmp_path / "two.san", deep=True) == []


def test_a_job_that_kills_its_workers_is_named_and_the_rest_is_kept(
    run: Run, tmp_path: Path, source: Path, request: pytest.FixtureRequest
) -> None:
    import dask

    preload = tmp_path / "preload.py"
    preload.write_text(KILLER)
    words = ("reencode", source, "--to", tmp_path / "b.san", "--quality", "prdn=5", "--workers", "2")
    with dask.config.set({"distributed.worker.preload": [str(preload)]}):
        ended = run(*words)
    assert ended.code == 1
    assert "workers died 3 times, alone, at: bed/100hz/20000, blocks 0 to 3" in ended.err
    assert "bed2" not in ended.err
    assert not (tmp_path / "b.san").exists()
    deaths = (tmp_path / "deaths").read_text().splitlines()
    assert 4 <= len(deaths) <= 6, "three in company, at most, and three alone"
    inline = request.getfixturevalue("inline")
    reencode(source, to=tmp_path / "b.san", quality="prdn=5")
    assert inline.ran == ["bed/100hz/20000, blocks 0 to 3"], "all else was kept"


def test_any_cluster_does_by_its_address(
    run: Run, tmp_path: Path, source: Path, request: pytest.FixtureRequest
) -> None:
    from distributed import LocalCluster

    own = {"n_workers": 1, "processes": False, "dashboard_address": "127.0.0.1:0", "protocol": "tcp://"}
    with LocalCluster(**own, silence_logs=50) as cluster:
        address = cluster.scheduler_address
        ended = run("reencode", source, "--to", tmp_path / "b.san", "--quality", "prdn=5", "--dask", address)
    assert ended.code == 0, ended.err
    request.getfixturevalue("inline")
    reencode(source, to=tmp_path / "one.san", quality="prdn=5")
    assert files(tmp_path / "b.san") == files(tmp_path / "one.san")


def test_threads_may_put_the_same_checkpoint_at_once(tmp_path: Path) -> None:
    store = LocalCheckpoints(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: store.put("plan/a", bytes([i % 8]) * 100_000), range(400)))
    assert store.keys() == ["plan/a"]
    kept = store.get("plan/a")
    assert kept is not None
    assert kept in [bytes([i]) * 100_000 for i in range(8)], "one whole put"
    assert [p.name for p in (tmp_path / "plan").iterdir()] == ["a"]


def test_an_address_where_no_scheduler_answers_is_named(run: Run, tmp_path: Path, source: Path) -> None:
    ended = run("reencode", source, "--to", tmp_path / "b.san", "--quality", "prdn=5", "--dask", "tcp://127.0.0.1:9")
    assert ended.code == 2
    assert "tcp://127.0.0.1:9: no scheduler answers there; start one with: dask scheduler" in ended.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.san"]


@pytest.mark.parametrize(
    ("wait_s", "again"),
    [(0.0, 0), (1.0, 0), (None, 0), (None, 2)],
    ids=["as workers start", "a second later", "while they work", "and twice more"],
)
def test_an_interrupt_at_the_terminal_ends_with_one_line(
    tmp_path: Path, source: Path, wait_s: float | None, again: int
) -> None:
    words = ["reencode", str(source), "--to", str(tmp_path / "b.san"), "--effort", "thorough", "--workers", "1"]
    process = subprocess.Popen(
        [sys.executable, "-c", HEARS, *words], start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 60
    beside = Path(checkpoints_of(tmp_path / "b.san"))
    while not (any(beside.glob("*/plan")) if wait_s is None else beside.exists()) and time.monotonic() < until:
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.2 + (wait_s or 0.0))
    os.killpg(process.pid, signals.SIGINT)
    for _ in range(again):
        time.sleep(0.3)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signals.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.splitlines() == [
        "error: interrupted; what is done so far is kept: the same command goes on where it was"
    ]


KILLER = """
import os, signal
from pathlib import Path
from sanstream import reencode_jobs

def killing(job, run=reencode_jobs.run_job):
    if job.where == "bed/100hz/20000, blocks 0 to 3":
        with open(Path(job.work.source).parent / "deaths", "a") as file:
            file.write("one\\n")
        os.kill(os.getpid(), signal.SIGKILL)
    return run(job)

reencode_jobs.run_job = killing
"""


def test_the_client_is_killed_and_the_same_command_goes_on(
    tmp_path: Path, source: Path, request: pytest.FixtureRequest
) -> None:
    code = "from sanstream.cli import main; main()"
    words = ["reencode", str(source), "--to", str(tmp_path / "b.san"), "--quality", "prdn=5", "--workers", "1"]
    env = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    process = subprocess.Popen([sys.executable, "-c", code, *words], env=env, stderr=subprocess.DEVNULL)
    beside = Path(checkpoints_of(tmp_path / "b.san"))
    until = time.monotonic() + 120
    while not any(beside.glob("*/plan")) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signals.SIGKILL)
    assert process.wait() == -signals.SIGKILL
    assert not (tmp_path / "b.san").exists()
    assert any(beside.glob("*/plan"))
    request.getfixturevalue("inline")
    reencode(source, to=tmp_path / "b.san", quality="prdn=5")
    reencode(source, to=tmp_path / "whole.san", quality="prdn=5")
    assert files(tmp_path / "b.san") == files(tmp_path / "whole.san")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.san", "b.san", "whole.san"]
