"""Log lines: one each, on stderr, in words or JSON; no stream, patient or URL in them, repeats counted."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO

OWN = "sanstream"
EVERY_S = 60.0
"""The same warning of the same feed is written once in this time."""
MAX_KEYS = 1024
MAX_CHARACTERS = 1000
FIELDS = ("feed", "modality", "cause", "count", "seconds", "bytes")
"""What a line may carry beside its text: ``log.warning("...", extra={"feed": name})``."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S*")


def private_text(record: logging.LogRecord) -> str:
    """Return a record's text without what may name somebody.

    URLs are cut; other libraries' texts too, as they promise nothing; of an exception its type and place stay.
    """
    if record.name != OWN and not record.name.startswith(OWN + "."):
        text = f"a message of {record.name.partition('.')[0]} (its text is not logged)"
    else:
        try:
            text = record.getMessage()
        except (TypeError, ValueError, KeyError):
            text = "a message that could not be put together"
    if record.exc_info:
        text += _where(record)
    text = _URL.sub("(URL)", " ".join(text.split()))[:MAX_CHARACTERS]
    held = getattr(record, "held", 0)
    return "".join(c if c.isprintable() else "?" for c in text) + (f" ({held} more like it)" if held else "")


def _where(record: logging.LogRecord) -> str:
    """Say where an exception came from: its type and line, as its own words may hold anything."""
    kind, _, trace = record.exc_info or (None, None, None)
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if kind is None or trace is None:
        return ""
    file = trace.tb_frame.f_code.co_filename.rpartition("/")[2]
    return f" ({kind.__name__} at {file}:{trace.tb_lineno})"


class Rarely(logging.Filter):
    """Lets the same warning through once a minute, with the number that was held back.

    Parameters
    ----------
    clock : callable
        Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._seen: dict[tuple[str, str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record may be written now."""
        if record.levelno < logging.WARNING:
            return True
        # the place in the source, not the text: numbers in it change
        key = (record.pathname, str(record.lineno), str(getattr(record, "feed", "")))
        now = self._clock()
        last, held = self._seen.get(key, (None, 0))
        if last is not None and now - last < EVERY_S:
            self._seen[key] = (last, held + 1)
            return False
        if len(self._seen) >= MAX_KEYS:
            self._seen = {k: v for k, v in self._seen.items() if now - v[0] < EVERY_S}
            if len(self._seen) >= MAX_KEYS:
                self._seen.clear()
        self._seen[key] = (now, 0)
        record.held = held
        return True


class Lines(logging.Formatter):
    """Time, level and text; or the same as JSON."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        stamp = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        fields = {k: getattr(record, k) for k in FIELDS if isinstance(getattr(record, k, None), str | int | float)}
        level, text = record.levelname.lower(), private_text(record)
        if self._as_json:
            return json.dumps({"time": stamp, "level": level, "message": text, **fields}, ensure_ascii=False)
        return " ".join([stamp, level, text, *(f"{k}={v}" for k, v in fields.items())])


def set_up_logs(*, as_json: bool = False, stream: TextIO | None = None) -> logging.Handler:
    """Send every log line of the process to stderr and return the handler; a second call replaces the first."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Lines(as_json=as_json))
    handler.addFilter(Rarely())
    handler.set_name(OWN)
    root = logging.getLogger()
    for old in [h for h in root.handlers if h.get_name() == OWN]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(OWN).setLevel(logging.INFO)
    return handler
