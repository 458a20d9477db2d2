"""Stopping the daemon's process: a signal may come at any moment, also while the loop holds a lock."""

from __future__ import annotations

import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from live_cases import settings

from sanstream.config import FeedSettings, HttpSettings
from sanstream.daemon.look import look
from sanstream.daemon.run import ingest


class Caught(threading.Event):
    """The loop's alarm clock; the signal comes while the loop is inside of it."""

    def wait(self, timeout: float | None = None) -> bool:
        with self._cond:  # type: ignore[attr-defined]
            signal.raise_signal(signal.SIGTERM)
        return False


@pytest.mark.timeout(60)
def test_a_signal_while_the_loop_holds_its_lock_does_not_hang_it(tmp_path: Path) -> None:
    feed = FeedSettings("sim", "sim://ecg?streams=1&seconds=3600&speed=1")
    told = replace(settings(tmp_path), feeds=(feed,), http=HttpSettings(listen=""))
    assert ingest(told, wake=Caught()) == 0


def test_the_last_words_of_a_short_run_are_those_of_its_end(tmp_path: Path) -> None:
    feed = FeedSettings("sim", "sim://ecg?streams=1&seconds=20&speed=0")
    told = replace(settings(tmp_path), feeds=(feed,), http=HttpSettings(listen=""))
    assert ingest(told) == 0
    status = look(state_dir=told.archive.state_dir).status
    (stream,) = status["streams"]
    assert stream["n_samples"] == 20 * stream["rate_hz"]
    assert stream["n_channels"] > 0
    assert status["journal_bytes"] < 1000
