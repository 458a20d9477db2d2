"""Why something was refused, in fixed words: a reason itself may name somebody, or quote what was sent."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sanstream.archive_store import StoreError
from sanstream.daemon.opening import StoreDown
from sanstream.durable import DiskFull, NoHandles
from sanstream.errors import InputError, SanstreamError

OTHER = "other"
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_UNTOLD = re.compile(r"(?<!\w)'[^']*'|\"[^\"]*\"|\S*[/\\]\S*[A-Za-z]\S*|\S*[A-Za-z]\S*[/\\]\S*")
_WORDS = (
    ("contradicts", "contradiction"),
    ("segments", "segments"),
    ("descriptor", "descriptor"),
    ("checksum", "checksum"),
    ("rate", "rate"),
    ("numbers jump", "numbers"),
    ("time", "time"),
    ("channel", "channels"),
    ("json", "json"),
    ("name", "name"),
    ("version", "version"),
    ("sample", "samples"),
    ("waveform", "waveform"),
    ("event", "event"),
    ("bytes", "layout"),
)
"""What stands in a reason, and its word; the first that is found counts."""


def word_of(reason: str) -> str:
    """Return the word for a reason; never a part of a message."""
    plain = _QUOTED.sub("", reason).lower()
    return next((word for found, word in _WORDS if found in plain), OTHER)


def plainly(error: SanstreamError, url: str) -> str:
    """Return an error's words for the log: without what is quoted, paths, and the file that a feed's URL names."""
    file = Path(unquote(urlsplit(url).path or url.partition(":")[2]))
    text = str(error)
    for name in filter(None, (file.name, file.stem)):
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "...", text)
    return _UNTOLD.sub("...", text)


def cause_of(error: InputError) -> str:
    """Say why a disk or an archive did not take something."""
    if isinstance(error, NoHandles):
        return "too many open files"
    if isinstance(error, StoreError | StoreDown):
        return "its store cannot be reached"
    if isinstance(error, DiskFull):
        return "no space left on its disk"
    return "its folder cannot be written to, or holds something else under that name"
