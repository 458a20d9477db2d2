"""Private by default: what the daemon writes is its owner's alone, says nobody's name, and is gone when deleted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live_cases import CHANNELS, RATE, Clock, Ward, chunk, samples

from sanstream.chunk import Delivery, Event
from sanstream.config import RetrainSettings
from sanstream.daemon.adaptation import Adaptation
from sanstream.daemon.adapting import Adapting
from sanstream.daemon.delete import delete, delete_here
from sanstream.daemon.home import Home
from sanstream.daemon.pins import pin
from sanstream.daemon.state_files import save_status
from sanstream.durable import Disk

NAME, SESSION, TEXT, LABEL = "zzmuster-max", "zzsession", "zztext", "zzlabel"


def files_of(*folders: Path) -> list[Path]:
    return [path for folder in folders for path in sorted(folder.rglob("*"))]


def holding(pattern: bytes, *folders: Path) -> list[str]:
    """Name the files that hold a pattern, in what they say or how they are called."""
    return [
        str(path)
        for path in files_of(*folders)
        if pattern in os.fsencode(path.name) or (path.is_file() and pattern in path.read_bytes())
    ]


def patterned(seconds: int) -> np.ndarray:
    """Return a signal of which eight samples in the middle of every second are nobody else's."""
    x = samples(seconds)
    x[RATE // 2 :: RATE, :] = 0x7A7A
    for second in range(seconds):
        x[second * RATE + RATE // 2 : second * RATE + RATE // 2 + 8] = 0x2A2A
    return x


PATTERNS = [NAME.encode(), SESSION.encode(), TEXT.encode(), LABEL.encode(), b"\x2a" * 16, b"\x2a\x2a\0\0" * 8]


def fill(ward: Ward) -> None:
    """Bring a patient's samples wherever the daemon puts samples, another's beside them."""
    x, y = patterned(150), samples(150, seed=1)
    from dataclasses import replace

    named = [replace(CHANNELS[0], label=LABEL), CHANNELS[1]]
    for at in range(0, 150, 5):
        part = slice(at * RATE, (at + 5) * RATE)
        ward.give(chunk(x[part], at * RATE, recording=NAME, session=SESSION, channels=named))
        ward.give(chunk(y[part], at * RATE, recording="other"))
        ward.clock.pass_s(5)
        ward.turn()
    contradiction = x[: 5 * RATE].copy()
    contradiction[0] += 1
    ward.give(chunk(contradiction, 0, recording=NAME, session=SESSION, channels=named))
    ward.give(
        Event(NAME, SESSION, 0, ward.clock(), "alarm", TEXT), Event("other", "s1", 0, ward.clock(), "alarm", "VT")
    )
    # a set of channels that ended just now still waits for what may come in another order
    ward.give(chunk(x[: 5 * RATE, :1], 150 * RATE, recording=NAME, session=SESSION, channels=named[:1]))
    ward.inbox.put(Delivery((), 100, poison=b'{"bed": "%s"' % NAME.encode(), reason="not whole"))
    ward.inbox.put(Delivery((), 100, poison=b'{"bed": "other"', reason="not whole"))
    ward.turn(2)
    save_status(ward.folder / "state", ward.engine.status())


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    disk, clock, state = Disk(), Clock(), tmp_path / "state"
    with Home(state, disk) as home:
        ward = Ward(tmp_path, clock)
        home.remember(ward.engine.settings)
        ward.engine.adapting = Adapting(Adaptation(RetrainSettings(), state, disk, clock, inline=True))
        ward.engine.writer._start_for = ward.engine.adapting.start
        fill(ward)
        adaptation = ward.engine.adapting._adaptation
        adaptation._save()
        for name in (NAME, "other"):
            pin(state, f"{name}/250hz", "current")
        ward.clock.pass_s(2)
        ward.turn()
        yield ward
        ward.engine.close()


def test_what_is_to_be_deleted_was_everywhere(ward: Ward) -> None:
    """What the tests below look for would be found."""
    found = [Path(p).relative_to(ward.folder / "state").parts[0] for p in holding(NAME.encode(), ward.folder / "state")]
    places = {
        "adaptation.json",
        "aside",
        "audit.jsonl",
        "journal",
        "ledger.log",
        "pins.json",
        "reservoir",
        "status.json",
    }
    assert places <= set(found)
    for pattern in PATTERNS[1:5]:
        assert holding(pattern, ward.folder)
    assert any("reservoir" in p for p in holding(PATTERNS[4], ward.folder))


def test_a_deleted_recording_leaves_no_byte(ward: Ward) -> None:
    delete_here(ward.engine, NAME, None, None, dry_run=False)
    for pattern in PATTERNS:
        assert holding(pattern, ward.folder) == []
    ward.turn(3)
    save_status(ward.folder / "state", ward.engine.status())
    ward.stop()
    for pattern in PATTERNS:
        assert holding(pattern, ward.folder) == []
    assert np.array_equal(ward.read("other"), samples(150, seed=1))


def test_what_is_set_aside_obeys_retention_also_while_its_file_is_open(tmp_path: Path) -> None:
    ward = Ward(tmp_path, keep_s=3600.0)
    for text in (b"zzfirst", b"zzsecond"):
        ward.inbox.put(Delivery((), 100, poison=text, reason="unreadable"))
        ward.turn(2)
        ward.clock.pass_s(2300)
    ward.turn(2)
    assert [r.body() for r in ward.engine.aside.records()] == [b"zzsecond"]
    assert not holding(b"zzfirst", tmp_path)
    ward.clock.pass_s(3600)
    ward.turn(2)
    assert not holding(b"zzsecond", tmp_path)
    ward.stop()


def test_a_recording_deleted_while_no_daemon_runs_leaves_no_byte(tmp_path: Path, ward: Ward) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(ward.url, copied / "live.san")
    shutil.copytree(tmp_path / "state", copied / "state")
    delete(str(copied / "live.san"), NAME, state_dir=copied / "state")
    for pattern in PATTERNS:
        assert holding(pattern, copied) == []


PATIENT = (b"SECRET42", b"Muster", b"zz-password", b"zz-token")
OUTSIDE = (*PATIENT, b"zz", b"BED7", b"://", b"Bettnachbar")
"""What no log line, metric or health page may say: patients, secrets, names, places, texts."""
WAVE = (
    "OBR|1|||69121^MDC_OBS_WAVE_CTS^MDC|||20240501120000.000+0000",
    "OBX|1|NA|131330^MDC_ECG_ELEC_POTL_II^MDC|1.1.1.1|"
    + "^".join(map(str, range(250)))
    + "|266418^MDC_DIM_MILLI_VOLT^MDC"
    "|||||F|||20240501120000.000+0000||||BED7^^ABC^EUI-64",
    "OBX|2|NM|67981^MDC_ATTR_SAMP_RATE^MDC|1.1.1.1.1|250|264608^MDC_DIM_HZ^MDC",
    "OBX|3|NM|68162^MDC_ATTR_NU_MSMT_RES^MDC|1.1.1.1.2|0.005|266418^MDC_DIM_MILLI_VOLT^MDC",
    "NTE|1||Bettnachbar: Muster",
)
CONFIG = """
[archive]
url = "{folder}/live.san"
effort = "fast"
[quality]
default = "lossless"
[retrain]
mode = "shadow"
[http]
listen = "127.0.0.1:0"
token_env = "ZZ_TOKEN"
[[feed]]
name = "hl7"
url = "mllp://127.0.0.1:{port}"
[[feed]]
name = "m"
url = "mqtt://zzbroker.invalid:1"
user = "zzuser"
password_env = "ZZ_PASSWORD"
streams = "zzward/#"
[[feed]]
name = "n"
url = "nats://zzbroker.invalid:1"
password_env = "ZZ_PASSWORD"
streams = "zzward.>"
[[feed]]
name = "k"
url = "kafka://zzbroker.invalid:1"
streams = "zzward"
[[feed]]
name = "f"
url = "file://{folder}/zzpatient.csv"
tail = true
"""


def hl7(*segments: str) -> bytes:
    head = ("MSH|^~\\&|zzapp|zzward|||20240501120000||ORU^R01^ORU_R01|1|P|2.6", "PID|1||SECRET42^^^H^MR||Muster^Max")
    return ("\r".join([*head, *segments]) + "\r").encode()


def say(port: int, data: bytes) -> bytes:
    """Send an HL7 message as monitors do; the answer says whether it is safe."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
        line.sendall(b"\x0b" + data + b"\x1c\r")
        got = b""
        while not got.endswith(b"\x1c\r"):
            part = line.recv(65536)
            if not part:
                break
            got += part
        return got


def until(ask: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            found = ask()
        except (OSError, KeyError, ValueError):
            found = None
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"never: {what}")


def page(url: str, token: str = "") -> bytes:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return str(error.code).encode() + error.read()


def test_a_daemon_in_trouble_says_nobodys_name(tmp_path: Path) -> None:
    """The program itself, permissive umask, unreachable brokers, broken messages: files, logs and pages."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "zzpatient.csv").write_bytes(b"zztime,zzlead\nzz,1\n")
    (tmp_path / "ingest.toml").write_text(CONFIG.format(folder=tmp_path, port=port), encoding="utf-8")
    secrets = {"ZZ_TOKEN": "zz-token-0123456789abcdef", "ZZ_PASSWORD": "zz-password"}
    daemon = subprocess.Popen(
        [sys.executable, "-m", "sanstream", "ingest", "--config", str(tmp_path / "ingest.toml")],
        env={**os.environ, **secrets}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, umask=0,
    )  # fmt: skip
    archive, state = tmp_path / "live.san", tmp_path / "live.san.state"
    try:
        url = until(lambda: json.loads((state / "http.json").read_text())["url"], "an address")
        assert b"MSA|AA" in until(lambda: say(port, hl7(*WAVE)), "an answer")
        assert b"MSA|AE" in say(port, hl7("OBX|1|NA|SECRET42|Muster|Bettnachbar^1|zz||||||F", *WAVE[:1]))
        assert b"MSA|AE" in say(port, hl7()[4:])
        say(port, b"zz" * 3000)
        token = secrets["ZZ_TOKEN"]
        assert b"BED7" in until(lambda: b"BED7" in (p := page(f"{url}/streams", token)) and p, "the stream")
        shown = [page(url + path, token) for path in ("/metrics", "/healthz", "/readyz", "/")]
        assert b"sanstream_" in shown[0]
        assert [page(url + path)[:3] for path in ("/metrics", "/healthz", "/readyz", "/streams")] == [b"401"] * 4
    finally:
        daemon.send_signal(signal.SIGTERM)
        logged = daemon.communicate(timeout=60)[0]
    assert daemon.returncode == 2, logged  # the followed file does not say its rate
    assert b"do not say their sampling rate" in logged
    for pattern in OUTSIDE:
        assert not [text for text in (logged, *shown) if pattern.lower() in text.lower()], pattern
    for pattern in PATIENT:
        assert holding(pattern, archive, state) == []
    assert any("aside" in str(p) for p in files_of(state))
    for path in (archive, state, *files_of(archive, state)):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode & 0o077 == 0, f"{path} has mode {mode:o}"
    assert b"BED7" in b"".join(p.read_bytes() for p in files_of(archive) if p.is_file())
