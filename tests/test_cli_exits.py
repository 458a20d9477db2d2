"""Exit codes and the one line that every error is."""

from __future__ import annotations

import errno
import subprocess
import sys
import time

import click
import pytest
from conftest import Run

from sanstream import errors
from sanstream.cli import root


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> dict[str, BaseException]:
    """A command ``fail`` that raises what stands under ``error``."""
    holder: dict[str, BaseException] = {}

    @click.command()
    def fail() -> None:
        raise holder["error"]

    monkeypatch.setitem(root.commands, "fail", fail)
    return holder


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.CorruptError("segment 1, block 2: checksum differs"), 1),
        (errors.BoundError("window 3: 6 %, asked 5 %"), 1),
        (errors.InputError("no such record"), 2),
        (errors.UnsupportedError("EDF holds 16 bits", hint="use --format bdf"), 2),
        (errors.BankError("bank 12 is missing", hint="run: sanstream banks install ARCHIVE"), 2),
        (OSError(errno.ENOSPC, "No space left on device", "/full/archive"), 2),
        (PermissionError(errno.EACCES, "Permission denied", "/root/x"), 2),
        (MemoryError(), 2),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, BaseException) else str(v),
)
def test_every_error_is_one_line_and_a_code(
    run: Run, failing: dict[str, BaseException], error: BaseException, code: int
) -> None:
    failing["error"] = error
    ended = run("fail")
    assert ended.code == code
    assert ended.out == ""
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert "Traceback" not in ended.err
    if isinstance(error, errors.SanstreamError):
        assert str(error) in ended.err


def test_a_full_disk_says_so(run: Run, failing: dict[str, BaseException]) -> None:
    failing["error"] = OSError(errno.ENOSPC, "No space left on device", "/full/archive")
    assert run("fail").err == (
        "error: /full/archive: No space left on device; "
        "free some space or choose another target; nothing was left behind\n"
    )


def test_a_message_of_several_lines_becomes_one(run: Run, failing: dict[str, BaseException]) -> None:
    failing["error"] = errors.InputError("first\nsecond\n  third")
    assert run("fail").err == "error: first second third\n"


def test_a_defect_of_sanstream_is_no_verdict_on_the_archive(run: Run, failing: dict[str, BaseException]) -> None:
    failing["error"] = ZeroDivisionError("division by zero")
    ended = run("fail")
    assert ended.code == 70
    assert ended.err.splitlines()[-1].startswith("error: sanstream has a defect: ZeroDivisionError")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["archive", "x"], "Missing option '--to'; see: sanstream archive --help"),
        (["archive", "--to", "y"], "Missing argument 'SOURCE...'; see: sanstream archive --help"),
        (["archive", "x", "--to", "y", "--effort", "huge"], "'huge' is not one of 'fast', 'default', 'thorough'"),
        (["restore", "x", "--to", "y", "--format", "mp3"], "'mp3' is not one of 'wfdb', 'edf', 'bdf'"),
        (["info"], "Missing argument 'ARCHIVE'; see: sanstream info --help"),
        (["records", "x"], "Missing option '--to'; see: sanstream records --help"),
        (["evaluate", "x"], "Missing argument 'ARCHIVE'; see: sanstream evaluate --help"),
        (["banks", "show"], "Missing argument 'BANK'; see: sanstream banks show --help"),
        (["train", "x"], "Missing option '--to'; see: sanstream train --help"),
        (["simulate", "emg", "--to", "x"], "'emg' is not one of 'ecg', 'eeg', 'ppg'"),
        (["compress"], "No such command 'compress'"),
        (["info", "x", "--jason"], "No such option"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_a_usage_error_shows_a_way_out(run: Run, arguments: list[str], says: str) -> None:
    ended = run(*arguments)
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err.count("\n") == 1
    assert says in ended.err
    assert "--help" in ended.err


def test_no_arguments_prints_the_help(run: Run) -> None:
    ended = run()
    assert ended.code == 2
    assert "Commands:" in ended.err


def test_help_and_version_are_data(run: Run) -> None:
    assert run("--help").code == 0
    assert "Commands:" in run("-h").out
    assert run("--version").out.startswith("sanstream ")


def test_help_answers_in_under_half_a_second() -> None:
    def once() -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "sanstream", "--help"], check=True, capture_output=True)
        return time.perf_counter() - began

    assert min(once() for _ in range(3)) < 0.5


def test_help_loads_nothing_heavy() -> None:
    heavy = {"numpy", "torch", "zarr", "numba", "scipy", "pyarrow", "matplotlib", "wfdb"}
    code = f"import sys, sanstream.cli as c; c.run(['--help']); print(sorted(sys.modules.keys() & {heavy}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_closed_pipe_is_no_error() -> None:
    code = "import sys; from sanstream.cli import run; sys.exit(run(['--help']))"
    shell = f'{sys.executable} -c "{code}"; echo code $? >&2'
    done = subprocess.run(["bash", "-c", f"( {shell} ) | true"], capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr
    assert done.stderr.strip() in ("code 0", "code 141")
