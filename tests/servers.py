"""Programs that tests start: a missing one skips its tests here and fails them in CI."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")
HEARS = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever these tests run under
from sanstream.cli import main
main()
"""
"""A program for ``python -c`` that is the command, and hears interrupts."""


def program(name: str) -> str:
    """Return the path of a program that a test needs."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{name} is not installed")
    assert found is not None
    return found


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


def wait_for(ask: Callable[[], T], *, seconds: float = 30.0) -> T:
    """Ask until the answer is true, and return it."""
    end = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)
    return answer
