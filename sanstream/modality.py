"""What kind of signal a channel carries, told by its label and unit: ``ecg``, ``eeg``, ``ppg`` and so on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from sanstream.signal import TRIGGER, Channel

MODALITIES = ("ecg", "eeg", "emg", "ppg", "pressure", "respiration", "trigger", "other")

_TEN_TWENTY = r"(?:fp|af|f|fc|ft|c|cp|tp|p|po|o|t|a|m|iz|i|nz)(?:z|[0-9]{1,2})"
_PATTERNS = (
    (
        "ecg",
        r"e[ck]g\b|e[ck]g[ _0-9-]|ml?(?:i|ii|iii|cl[0-9]?)\b|i{1,3}\b|av[rlf]\b|v(?:[1-9]r?\b|$)|lead ?[0-9ivx]+",
    ),
    ("eeg", rf"eeg|(?:{_TEN_TWENTY})(?:[ .:-]+(?:{_TEN_TWENTY}|ref|le|re|ar|avg))?\.*$"),
    ("emg", r"emg"),
    ("ppg", r"ppg|pleth|spo2 ?wave|red\b|ir\b|infrared"),
    ("pressure", r"abp|art\b|p?icp|cvp|pap\b|bp\b|ibp|press"),
    ("respiration", r"resp|rr\b|airflow|flow|thorax|abdomen|chest|co2|capno|imp"),
)
_COMPILED = tuple((name, re.compile(pattern, re.IGNORECASE)) for name, pattern in _PATTERNS)


def modality_of(channel: Channel) -> str:
    """Return one of :data:`MODALITIES` for a channel, by its kind, its label and, failing that, its unit."""
    if channel.kind == TRIGGER:
        return "trigger"
    label = channel.label.strip()
    for name, pattern in _COMPILED:
        if pattern.match(label):
            return name
    if channel.unit.lower() in ("mmhg", "kpa"):
        return "pressure"
    return "other"


def modality_of_all(channels: Sequence[Channel]) -> str:
    """Return the modality that most channels share; the first of them on a tie."""
    found = [m for m in map(modality_of, channels) if m != "trigger"]
    return Counter(found).most_common(1)[0][0] if found else "trigger"
