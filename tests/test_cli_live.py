"""The live commands: what the operator sees, and what is handed to the daemon."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import PACKAGE, Run
from fake_engine import FakeEngine, status, stream

import sanstream.daemon.check as checks
from sanstream.config import ArchiveSettings, HttpSettings, Settings
from sanstream.config_read import load_settings
from sanstream.daemon.http import Server
from sanstream.daemon.judge import worst_first
from sanstream.daemon.run import ingest
from sanstream.daemon.state_files import save_json, save_status
from sanstream.errors import InputError
from sanstream.feeds import FeedState
from sanstream.telemetry import Telemetry

Serve = Callable[..., Server]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Serve a status from a state folder ``tmp_path / "state"``."""
    made = []
    (tmp_path / "state").mkdir()

    def call(found: dict[str, Any], **http: Any) -> Server:
        archive = ArchiveSettings(str(tmp_path / "live"), tmp_path / "state")
        settings = Settings(archive, http=HttpSettings(**{"listen": "127.0.0.1:0", **http}))
        made.append(Server(settings, FakeEngine(found), Telemetry()))
        return made[-1]

    yield call
    for server in made:
        server.stop()


WARD = (
    stream("bed-1"),
    stream("bed-2", gap_samples=500, gaps=2),
    stream("bed-3", last_sample_age_s=31.0),
    stream("bed-4", lag_s=12.0),
    stream("bed-5", last_sample_age_s=4000.0),
    stream("bed-6", drift="alarmed"),
    stream("bed-7", conflicts=1),
)


def test_the_silent_bed_stands_first(serve: Serve, run: Run, tmp_path: Path) -> None:
    serve(status(*WARD))
    ended = run("status", "--state", tmp_path / "state")
    beds = [line.split()[0] for line in ended.out.splitlines() if line.startswith("bed-")]
    assert beds == ["bed-5", "bed-3", "bed-4", "bed-2", "bed-7", "bed-6", "bed-1"]
    assert ended.out.startswith("2 streams are silent for more than 30 s\n")
    assert ended.code == 1
    assert "\x1b" not in ended.out


def test_all_well_ends_with_0(serve: Serve, run: Run, tmp_path: Path) -> None:
    server = serve(status(stream("bed-1"), stream("bed-2")))
    for where in (("--state", str(tmp_path / "state")), ("--url", server.url)):
        ended = run("status", *where)
        assert (ended.code, ended.err) == (0, "")
        assert "journal 3.0 MiB, ledger 1.0 MiB, 5.0 GiB free; all is well" in ended.out


def test_only_the_worst_are_shown_when_asked(serve: Serve, run: Run, tmp_path: Path) -> None:
    serve(status(*WARD))
    ended = run("status", "--state", tmp_path / "state", "--top", "1")
    assert "bed-5" in ended.out
    assert "bed-3" not in ended.out
    assert "and 6 more" in ended.out


def test_json_is_what_the_daemon_says_with_what_is_wrong(serve: Serve, run: Run, tmp_path: Path) -> None:
    serve(status(*WARD))
    ended = run("status", "--state", tmp_path / "state", "--json")
    found = json.loads(ended.out)
    assert ended.code == 1
    assert found["problems"] == ["2 streams are silent for more than 30 s"]
    assert (found["running"], found["age_s"]) == (True, 0.0)
    assert {k: found[k] for k in status()} == status(*WARD)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (status(causes=["a disk is full"], disk_full=True), "not ready: a disk is full"),
        (status(disk_full=True), "a disk is full"),
        (
            status(feeds=[{"name": "icu-a", "connected": False, "error": "refused"}]),
            "feed icu-a is not connected: refused",
        ),
        (status(stream("b", last_sample_age_s=31)), "1 stream is silent"),
    ],
)
def test_what_is_wrong_is_said_first_and_ends_with_1(
    serve: Serve, run: Run, tmp_path: Path, found: dict[str, Any], said: str
) -> None:
    serve(found)
    ended = run("status", "--state", tmp_path / "state")
    assert ended.code == 1
    assert said in ended.out.splitlines()[0]


def test_a_daemon_that_does_not_run_left_its_last_words(run: Run, tmp_path: Path) -> None:
    save_status(tmp_path, status(stream("bed-1")))
    save_json(tmp_path / "http.json", {"url": "http://127.0.0.1:9", "pid": 2**22 + 1})
    os.utime(tmp_path / "status.json", (0, 0))
    ended = run("status", "--state", tmp_path)
    assert ended.code == 1
    assert ended.out.splitlines()[0] == "the daemon does not run"
    assert "this is what it last said" in ended.out
    assert "bed-1" in ended.out
    assert json.loads(run("status", "--state", tmp_path, "--json").out)["running"] is False


def test_a_daemon_that_left_no_word_is_no_error_of_ours(run: Run, tmp_path: Path) -> None:
    ended = run("status", "--state", tmp_path)
    assert (ended.code, ended.err) == (1, "")
    assert "no word" in ended.out


def test_one_that_listens_nowhere_is_seen_by_what_it_writes(run: Run, tmp_path: Path) -> None:
    save_status(tmp_path, status(stream("bed-1")))
    assert run("status", "--state", tmp_path).code == 0


def test_one_that_serves_only_metrics_is_seen_by_what_it_writes(serve: Serve, run: Run, tmp_path: Path) -> None:
    server = serve(status(stream("bed-1")), listen="0.0.0.0:0", open_metrics=True)
    config = tmp_path / "ingest.toml"
    config.write_text(f'[archive]\nurl = "{tmp_path}/live"\nstate_dir = "{tmp_path}/state"\n')
    for arguments in (("--config", config), ("--url", server.url)):
        ended = run("status", *arguments)
        assert ended.code == 2
        assert "it serves only metrics; use --state DIR" in ended.err
    save_status(tmp_path / "state", status(stream("bed-1")))
    ended = run("status", "--config", config)
    assert (ended.code, ended.err) == (0, "")
    assert "bed-1" in ended.out


def test_nobody_at_an_address_is_a_daemon_that_does_not_run(run: Run) -> None:
    ended = run("status", "--url", "http://127.0.0.1:9")
    assert (ended.code, ended.err) == (1, "")
    assert ended.out == "no daemon answers at http://127.0.0.1:9\ngive --state DIR or --url URL\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--state", "nowhere"), "nowhere is no state folder"),
        (("--url", "ftp://127.0.0.1"), "is no address"),
        (("--url", "foo"), "'foo' is no address; write http://"),
        (("--url", "127.0.0.1:9464"), "is no address"),
        (("--url", "http://[::1"), "is no address"),
        (("--url", "http://a:b"), "is no address"),
        (("--url", "http://"), "is no address"),
        (("--url", "http://a b"), "is no sanstream daemon"),
    ],
)
def test_a_wrong_address_is_a_usage_error(run: Run, arguments: tuple[str, ...], said: str) -> None:
    ended = run("status", *arguments)
    assert ended.code == 2
    assert said in ended.err


def test_the_token_comes_from_the_daemons_own_variable(
    serve: Serve, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARD_TOKEN", "s3cret")
    server = serve(status(stream("bed-1")), token_env="WARD_TOKEN")
    assert run("status", "--state", tmp_path / "state").code == 0
    refused = run("status", "--url", server.url)
    assert (refused.code, refused.out) == (2, "")
    assert "export SANSTREAM_TOKEN" in refused.err
    monkeypatch.setenv("SANSTREAM_TOKEN", "s3cret")
    assert run("status", "--url", server.url).code == 0
    assert "s3cret" not in (tmp_path / "state" / "http.json").read_text()


def test_a_status_full_of_nonsense_is_still_shown(serve: Serve, run: Run, tmp_path: Path) -> None:
    nonsense = stream("\x1b[2Jbed", phi="x", bank=None, rate_hz=None, last_sample_age_s=[], lag_s=10**400, drift=3)
    serve({**status(nonsense, 3, "x"), "feeds": {"a": 1}, "causes": 7, "uptime_s": None})  # type: ignore[arg-type]
    ended = run("status", "--state", tmp_path / "state")
    assert (ended.code, ended.err) == (0, "")
    assert "?[2Jbed" in ended.out


def test_worst_first_does_not_shuffle_equals() -> None:
    rows = [stream(f"bed-{n}") for n in (3, 1, 2)]
    assert [s["recording"] for s in worst_first(status(*rows))] == ["bed-1", "bed-2", "bed-3"]


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stand in for what the commands call, and keep what they hand over."""
    handed: list[Any] = []
    made: Any = types.ModuleType("sanstream.daemon.run")
    made.ingest = lambda settings: handed.append((settings, _umask())) or 0
    made.recover = lambda *a, **k: handed.append((*a, k)) or 0
    gone: Any = types.ModuleType("sanstream.daemon.delete")
    gone.delete = lambda *a, **k: handed.append((a, k)) or {"segments": 3, "journal_files": 1}
    monkeypatch.setitem(sys.modules, "sanstream.daemon.run", made)
    monkeypatch.setitem(sys.modules, "sanstream.daemon.delete", gone)
    monkeypatch.setattr("sanstream.daemon.logs.set_up_logs", lambda **_: None)
    return handed


def _umask() -> int:
    now = os.umask(0o077)
    os.umask(now)
    return now


def test_ingest_runs_privately_on_what_was_asked(run: Run, daemon: list[Any], tmp_path: Path) -> None:
    before = _umask()
    ended = run("ingest", "sim://3", "--to", tmp_path / "live", "--quality", "prdn=5", "--name", "trial")
    assert (ended.code, ended.err) == (0, "")
    ((settings, umask),) = daemon
    assert settings == load_settings(urls=["sim://3"], to=str(tmp_path / "live"), qualities=["prdn=5"], name="trial")
    assert settings.feeds[0].name == "trial"
    assert umask == 0o077
    assert _umask() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ingest", "--to", "x"), "no feed"),
        (("ingest", "sim://3"), "no archive is named"),
        (("ingest", "sim://", "sim://", "--to", "x", "--name", "y"), "2 feeds"),
        (("ingest", "sim://", "--to", "x", "--quality", "prd=5"), "use prdn=5"),
        (("ingest", "--config", "missing.toml"), "missing.toml"),
        (("ingest", "sim://", "--to", "x", "--listen", "0.0.0.0:1"), "token or TLS"),
    ],
)
def test_a_wrong_ingest_is_one_line_and_2(run: Run, daemon: list[Any], arguments: tuple[str, ...], said: str) -> None:
    ended = run(*arguments)
    assert ended.code == 2
    assert said in ended.err
    assert len(ended.err.splitlines()) == 1
    assert daemon == []


def test_delete_says_what_goes(run: Run, daemon: list[Any]) -> None:
    ended = run("delete", "live", "bed-7", "--until", "+1h", "--dry-run")
    assert daemon == [(("live", "bed-7"), {"state_dir": None, "start": None, "until": "+1h", "dry_run": True})]
    assert ended.out == "would delete segments: 3\nwould delete journal files: 1\n"
    assert json.loads(run("delete", "live", "bed-7", "--json").out) == {"segments": 3, "journal_files": 1}


def test_recover_names_the_state(run: Run, daemon: list[Any], tmp_path: Path) -> None:
    assert run("recover", tmp_path, "--to", "live").code == 0
    assert daemon == [(tmp_path, "live", {"elsewhere": False})]


class FakeFeed:
    """A feed that finds what a test wants."""

    found: list[str] | Exception = ["2 streams"]  # noqa: RUF012
    state = FeedState()

    def check(self) -> list[str]:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch) -> FakeFeed:
    made = FakeFeed()
    monkeypatch.setattr(checks, "make_feed", lambda options: made)
    return made


def test_check_connects_writes_and_prints_what_is_in_force(
    run: Run, feed: FakeFeed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SANSTREAM_PASSWORD", "s3cret")
    feed.found = ["2 streams", "max_ack_pending will be 4096"]
    live = tmp_path / "live"
    ended = run("ingest", "nats://broker", "--to", live, "--check", "--listen", "127.0.0.1:0")
    assert (ended.code, ended.err) == (0, "")
    assert "ok: feed nats: max_ack_pending will be 4096" in ended.out
    assert f"ok: archive: {live} can be made, written and synced" in ended.out
    assert 'password_env = "SANSTREAM_PASSWORD"' in ended.out
    assert "# environment variable SANSTREAM_PASSWORD: set" in ended.out
    assert "s3cret" not in ended.out
    assert list(tmp_path.iterdir()) == []


def test_check_makes_folders_for_their_owner_alone_and_leaves_only_those_that_were_there(
    run: Run, feed: FakeFeed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    modes = {}

    def look() -> list[str]:
        modes.update({p.name: p.stat().st_mode & 0o777 for p in (tmp_path / "there").rglob("*")})
        return ["seen"]

    monkeypatch.setattr(feed, "check", look, raising=False)
    before = os.umask(0o022)
    try:
        live = tmp_path / "there" / "a" / "live"
        assert run("ingest", "nats://broker", "--to", live, "--check", "--listen", "").code == 0
    finally:
        os.umask(before)
    assert modes == {"a": 0o700, "live": 0o700, "live.state": 0o700}
    assert [p.name for p in tmp_path.rglob("*")] == ["there"]


def test_a_refused_start_leaves_nothing_of_its_own(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        for to in (tmp_path / "a" / "live", other):
            with pytest.raises(InputError, match="cannot listen"):
                ingest(load_settings(urls=["sim://ecg"], to=str(to), listen=listen))
            assert list(tmp_path.rglob("*")) == [other]


@pytest.mark.parametrize(
    "error", [InputError("refused", hint="start it"), OSError(111, "refused"), KeyError("refused")]
)
def test_a_feed_that_cannot_connect_fails_the_check(run: Run, feed: FakeFeed, tmp_path: Path, error: Exception) -> None:
    feed.found = error
    ended = run("ingest", "nats://broker", "--to", tmp_path / "live", "--check", "--listen", "")
    assert ended.code == 2
    assert "failed: feed nats: " in ended.out
    assert "refused" in ended.out
    assert "checks failed; see above" in ended.err


def test_a_folder_that_cannot_be_written_fails_the_check(run: Run, feed: FakeFeed, tmp_path: Path) -> None:
    (tmp_path / "live").write_text("a file")
    ended = run("ingest", "nats://broker", "--to", tmp_path / "live", "--check", "--listen", "")
    assert ended.code == 2
    assert "failed: archive: " in ended.out


def test_a_state_folder_on_the_network_or_in_memory_is_warned_of(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "rootfs / ext4 rw 0 0\nserver:/a /mnt/ward\\0407 nfs4 rw 0 0\n"
        "tmpfs /dev/shm tmpfs rw 0 0\nx /mnt/ward\\0407/in xfs rw 0 0\n"
    )
    kinds = {
        p: checks.file_system(Path(p), mounts) for p in ("/mnt/ward 7/s", "/mnt/ward 7/in/s", "/dev/shm", "/srv/s")
    }
    assert list(kinds.values()) == ["nfs4", "xfs", "tmpfs", "ext4"]
    assert checks.file_system(tmp_path, tmp_path / "nothing") == ""


def test_a_warning_names_what_is_wrong_with_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {}
    for kind in ("nfs4", "tmpfs", "overlay", "ext4"):
        monkeypatch.setattr(checks, "file_system", lambda folder, kind=kind: kind)
        (finding,) = checks._file_system("state folder", tmp_path, must_be_local=True)
        said[kind] = (finding.state, finding.text)
    assert [state for state, _ in said.values()] == ["warning", "warning", "warning", "ok"]
    assert "no local disk" in said["nfs4"][1]
    assert "power cut loses it" in said["tmpfs"][1]


@pytest.mark.parametrize("words", [["ingest", "sim://", "--to", "a"], ["ingest", "sim://", "--to", "a", "--check"]])
def test_without_what_the_daemon_needs_it_says_what_to_install(tmp_path: Path, words: list[str]) -> None:
    code = "import sys; sys.modules['uvicorn'] = None; from sanstream.cli.exits import main; main()"
    env = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=tmp_path, env=env, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].endswith(
        "uvicorn is missing, which the daemon needs; run: pip install 'sanstream[live]'"
    )
    assert "Traceback" not in done.stderr
