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
from live_cases import CHANNELS, RATE, Clock, Ward, chunk, feed_seconds, samples

from sanstream.chunk import Delivery, Event
from sanstream.config import LimitSettings, RetrainSettings
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
