"""``pins.json``: what an operator decided about a stream's kernels, written by a command, read by the daemon."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sanstream.bank import find_bank
from sanstream.chunk import check_name
from sanstream.durable import current_disk
from sanstream.errors import BankError, InputError

CURRENT, AUTO = "current", "auto"
_FILE, _STATE = "pins.json", "adaptation.json"


@dataclass(frozen=True)
class Pins:
    """What is asked.

    Parameters
    ----------
    banks : mapping
        ``"RECORDING/STREAM"`` to a bank's id, or ``"current"``: what runs now stays.
    rollbacks : mapping
        ``"RECORDING/STREAM"`` to how often a step back was asked for.
    """

    banks: Mapping[str, str] = field(default_factory=dict)
    rollbacks: Mapping[str, int] = field(default_factory=dict)


def read_pins(state_dir: Path) -> Pins:
    """Read the pins; none when there is no file or it is damaged (a command writes it whole)."""
    try:
        data = json.loads((state_dir / _FILE).read_text(encoding="utf-8"))
        banks = {str(k): str(v) for k, v in data["banks"].items()}
        return Pins(banks, {str(k): int(v) for k, v in data["rollbacks"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Pins()


def pins_stamp(state_dir: Path) -> tuple[int, int]:
    """Return what changes when the file does."""
    try:
        found = (state_dir / _FILE).stat()
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_ino)


def pin(state_dir: Path, name: str, bank: str) -> str:
    """Hold a stream to a bank, to what it runs now, or lift that.

    Parameters
    ----------
    state_dir : Path
        The daemon's state folder.
    name : str
        ``RECORDING/STREAM``.
    bank : str
        A bank's name, id or the first digits of it; ``"current"``; ``"auto"`` lifts the pin.

    Returns
    -------
    str
        What the stream is held to: an id, ``"current"`` or ``"auto"``.

    Raises
    ------
    InputError
        When the state folder knows no such stream.
    BankError
        When there is no such bank on this machine.
    """
    _known(state_dir, name)
    chosen = bank
    if bank not in (CURRENT, AUTO):
        from sanstream.bank_places import choose_bank

        chosen = choose_bank(bank).bank.id
        try:
            find_bank(chosen)
        except BankError as error:
            raise BankError(
                f"bank {bank!r} is a file that the daemon would not find", hint="run: sanstream banks install FILE"
            ) from error
    with _changed(state_dir) as (banks, _):
        banks.pop(name, None)
        if chosen != AUTO:
            banks[name] = chosen
    return chosen


def rollback(state_dir: Path, name: str) -> None:
    """Ask that a stream goes back to the kernels before its last adoption.

    Raises
    ------
    InputError
        When the state folder knows no such stream, or the stream has nothing to go back to.
    """
    known = _known(state_dir, name)
    if not known.get("previous"):
        raise InputError(
            f"{name}: there is nothing to roll back to, no kernels were adopted", hint="see audit.jsonl for decisions"
        )
    with _changed(state_dir) as (_, rollbacks):
        rollbacks[name] = max(rollbacks.get(name, 0), int(known.get("rolled", 0))) + 1


def forget_pins(state_dir: Path, recording: str) -> None:
    """Drop what was decided about the streams of a recording that was deleted."""
    if any(name.partition("/")[0] == recording for asked in vars(read_pins(state_dir)).values() for name in asked):
        with _changed(state_dir) as asked_for:
            for asked in asked_for:
                for name in [n for n in asked if n.partition("/")[0] == recording]:
                    del asked[name]


def _known(state_dir: Path, name: str) -> dict[str, Any]:
    recording, slash, stream = name.partition("/")
    if not slash:
        raise InputError(f"{name!r:.80} names no stream", hint="write RECORDING/STREAM, for example bed12/250hz")
    check_name("recording", recording), check_name("stream", stream)
    try:
        streams = json.loads((state_dir / _STATE).read_text(encoding="utf-8"))["streams"]
    except OSError:
        streams = {}
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{state_dir / _STATE}: cannot be read", hint="restart the daemon, which writes it") from None
    if name not in streams:
        close = [n for n in streams if n.partition("/")[0] == recording]
        hint = f"it knows {', '.join(close[:10])}" if close else "see: sanstream status"
        raise InputError(f"{state_dir}: no stream {name!r:.80} has been seen by the daemon", hint=hint)
    found: dict[str, Any] = streams[name]
    return found


@contextmanager
def _changed(state_dir: Path) -> Iterator[tuple[dict[str, str], dict[str, int]]]:
    """Give the pins to be changed, and write them whole; one command at a time."""
    lock = os.open(state_dir / "pins.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        old = read_pins(state_dir)
        banks, rollbacks = dict(old.banks), dict(old.rollbacks)
        yield banks, rollbacks
        data = json.dumps({"version": 1, "banks": banks, "rollbacks": rollbacks}, indent=1).encode()
        current_disk().replace(state_dir / _FILE, data, "pins.data", mode=0o600)
    finally:
        os.close(lock)
