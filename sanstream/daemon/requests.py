"""What other processes of the same user ask of a running daemon: small files in ``requests/`` of its state folder."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sanstream.daemon.state_files import read_json, save_json
from sanstream.durable import DiskFull
from sanstream.errors import InputError, SanstreamError

if TYPE_CHECKING:
    from sanstream.daemon.engine import Engine

_FOLDER = "requests"
_ASKED, _ANSWERED = ".ask.json", ".answer.json"
WAIT_S = 60.0


def ask(state_dir: Path, request: Mapping[str, Any], *, wait_s: float = WAIT_S) -> dict[str, Any]:
    """Ask a running daemon, and wait for its answer.

    Parameters
    ----------
    state_dir : Path
    request : mapping
        JSON values.
    wait_s : float

    Returns
    -------
    dict

    Raises
    ------
    InputError
        When it refuses, or does not answer.
    """
    folder = state_dir / _FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    name = secrets.token_hex(8)
    asked, answered = folder / f"{name}{_ASKED}", folder / f"{name}{_ANSWERED}"
    save_json(asked, request)
    until = time.monotonic() + wait_s
    try:
        while time.monotonic() < until:
            answer = read_json(answered)
            if answer is not None:
                if "error" in answer:
                    raise InputError(str(answer["error"]))
                return answer
            time.sleep(0.05)
    finally:
        asked.unlink(missing_ok=True)
        answered.unlink(missing_ok=True)
    raise InputError(f"{state_dir}: the daemon did not answer in {wait_s:g} s", hint="look at sanstream status")


def answer_requests(engine: Engine) -> int:
    """Answer what is asked of an engine, between its turns; returns how many."""
    folder = engine.settings.archive.state_dir / _FOLDER
    n = 0
    for path in sorted(folder.glob(f"*{_ASKED}")) if folder.is_dir() else ():
        try:
            answer = _answer(engine, json.loads(path.read_text(encoding="utf-8")))
        except (SanstreamError, DiskFull) as error:
            answer = {"error": str(error)}
        except (OSError, ValueError, KeyError, TypeError) as error:
            answer = {"error": f"the request cannot be read ({type(error).__name__})"}
        save_json(path.with_name(path.name.removesuffix(_ASKED) + _ANSWERED), answer)
        path.unlink(missing_ok=True)
        n += 1
    return n


def _answer(engine: Engine, request: Mapping[str, Any]) -> dict[str, Any]:
    from sanstream.daemon.delete import delete_here

    if request["what"] == "delete":
        return delete_here(
            engine, request["recording"], request.get("from"), request.get("until"), dry_run=bool(request["dry_run"])
        )
    raise InputError(f"the daemon knows no request {request['what']!r}", hint="it knows delete")
