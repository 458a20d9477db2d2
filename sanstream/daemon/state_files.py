"""Two small files for whoever looks from outside: where the daemon answers, and what it last said."""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ADDRESS, STATUS = "http.json", "status.json"
_MAX_BYTES = 64 << 20


def finite(value: Any) -> Any:
    """Return a value with null where JSON cannot hold a number (infinite, not a number)."""
    if isinstance(value, Mapping):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def save_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a small file, mode 0600.

    It is written for people and may be lost with the power, so nothing is synced.

    Raises
    ------
    OSError
        When the disk refuses; the old file then stays.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps(finite(value), ensure_ascii=False))  # json.dump takes three times as long
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return what a small file holds; None when it is not there or holds something else."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            return None
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def save_status(state_dir: Path, status: Mapping[str, Any]) -> None:
    """Write what the daemon says of itself to ``status.json``; for when it no longer answers."""
    save_json(state_dir / STATUS, {**status, "pid": os.getpid()})


def forget_in_status(state_dir: Path, recording: str) -> None:
    """Take a recording that was deleted out of ``status.json``."""
    status = read_json(state_dir / STATUS)
    if status is None:
        (state_dir / STATUS).unlink(missing_ok=True)  # nobody can read it, and it may still name somebody
        return
    rows = status.get("streams")
    left = (
        [r for r in rows if not isinstance(r, dict) or r.get("recording") != recording]
        if isinstance(rows, list)
        else []
    )
    save_json(state_dir / STATUS, {**status, "streams": left})


def is_running(pid: object) -> bool:
    """Tell whether a process of that number exists."""
    if not isinstance(pid, int) or isinstance(pid, bool) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True
