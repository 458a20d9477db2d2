"""Why messages were refused, as fixed words: a reason itself may quote what somebody sent."""

from __future__ import annotations

import re

OTHER = "other"
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
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
