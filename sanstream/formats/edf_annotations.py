"""EDF+ annotation signals: TALs parsed to events, and formatted back byte for byte."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from sanstream.errors import InputError
from sanstream.signal import Annotations

_TAL = re.compile(rb"([+-]\d+(?:\.\d*)?)(?:\x15(\d*(?:\.\d*)?))?\x14")


@dataclass(frozen=True)
class Tal:
    """A time-stamped annotation list: onset and duration as written, and its texts."""

    onset: str
    duration: str | None
    texts: tuple[str, ...]

    def to_bytes(self) -> bytes:
        """Format as in the file: onset, 0x15, duration, 0x14, texts each ended by 0x14, 0x00."""
        head = self.onset if self.duration is None else f"{self.onset}\x15{self.duration}"
        return head.encode("ascii") + b"\x14" + b"".join(encode_text(t) + b"\x14" for t in self.texts) + b"\0"


@dataclass
class Events:
    """What the annotation signals say.

    Parameters
    ----------
    onsets : list of str
        Onset of each data record, as its time-keeping TAL writes it; empty when there is none.
    rows : list of tuple
        ``(record, signal, tal, onset, duration, text)`` per annotation, in file order. ``tal``
        counts the lists within record and signal.
    """

    onsets: list[str] = field(default_factory=list)
    rows: list[tuple[int, int, int, str, str | None, str]] = field(default_factory=list)


def decode_text(data: bytes) -> str:
    """Decode UTF-8, or latin-1 where it is not UTF-8 (marked by a private-use character)."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return "\ue000" + data.decode("latin-1")


def encode_text(text: str) -> bytes:
    """Undo :func:`decode_text`."""
    return text[1:].encode("latin-1") if text.startswith("\ue000") else text.encode("utf-8")


def parse_tals(data: bytes) -> list[Tal]:
    """Read one record's bytes of one annotation signal, passing over what is not well-formed."""
    tals = []
    for part in data.rstrip(b"\0").split(b"\0"):
        match = _TAL.match(part)
        if match is None or not part.endswith(b"\x14"):
            continue
        body = part[match.end() :]
        texts = tuple(decode_text(t) for t in body[:-1].split(b"\x14")) if body else ()
        duration = None if match[2] is None else match[2].decode("ascii")
        tals.append(Tal(match[1].decode("ascii"), duration, texts))
    return tals


def format_tals(tals: Sequence[Tal], size: int) -> bytes:
    """Format one record's bytes of one annotation signal.

    Raises
    ------
    InputError
        When they do not fit.
    """
    data = b"".join(tal.to_bytes() for tal in tals)
    if len(data) > size:
        raise InputError(f"annotations of one EDF data record need {len(data)} bytes, {size} are there")
    return data.ljust(size, b"\0")


def parse(records: Sequence[Sequence[bytes]]) -> tuple[Events, bool]:
    """Read all records of all annotation signals.

    Parameters
    ----------
    records : sequence (record) of sequence (signal) of bytes

    Returns
    -------
    events : Events
    exact : bool
        Whether formatting them again gives the same bytes.
    """
    events, exact = Events(), True
    for number, signals in enumerate(records):
        for signal, data in enumerate(signals):
            tals = parse_tals(data)
            exact = exact and b"".join(tal.to_bytes() for tal in tals).ljust(len(data), b"\0") == data
            for index, tal in enumerate(tals):
                texts = tal.texts
                if signal == index == 0 and tal.texts[:1] == ("",):
                    events.onsets.append(tal.onset)
                    exact = exact and tal.duration is None
                    texts = tal.texts[1:]
                elif not texts:
                    exact = False
                events.rows += [(number, signal, index, tal.onset, tal.duration, text) for text in texts]
    return events, exact and len(events.onsets) == len(records)


def onset_pattern(onsets: Sequence[str], duration: Fraction) -> dict[str, Any]:
    """Describe record onsets in few words: regular ones by the first and the number of decimals."""
    for decimals in (*range(10), None):
        if [format_onset(Fraction(onsets[0]) + i * duration, decimals) for i in range(len(onsets))] == list(onsets):
            return {"first": onsets[0], "decimals": decimals}
    return {"list": list(onsets)}


def pattern_onsets(pattern: dict[str, Any], n: int, duration: Fraction) -> list[str]:
    """Undo :func:`onset_pattern`."""
    if "list" in pattern:
        return [str(o) for o in pattern["list"]]
    return [format_onset(Fraction(pattern["first"]) + i * duration, pattern["decimals"]) for i in range(n)]


def format_onset(time: Fraction, decimals: int | None = None) -> str:
    """Write an onset with a sign; ``decimals=None`` writes as many as needed, at most nine."""
    digits = 9 if decimals is None else decimals
    scaled = round(abs(time) * 10**digits)
    text = str(scaled).rjust(digits + 1, "0")
    if digits:
        text = f"{text[:-digits]}.{text[-digits:]}"
    if decimals is None:
        text = text.rstrip("0").rstrip(".")
    return f"{'-' if time < 0 else '+'}{text}"


def to_annotations(events: Events, start: Fraction, name: str, attributes: dict[str, Any]) -> Annotations:
    """Turn events into a set.

    Parameters
    ----------
    events : Events
    start : Fraction
        Onset of the first record in seconds: the zero of ``time_ns``.
    name : str
    attributes : dict
    """
    rows = events.rows
    times = [int((Fraction(row[3]) - start) * 10**9) for row in rows]
    durations = [float(row[4]) if row[4] else 0.0 for row in rows]
    columns = {
        "time_ns": np.array(times, dtype=np.int64),
        "duration_s": np.array(durations, dtype=np.float64),
        "text": np.array([row[5] for row in rows], dtype=object),
        "record": np.array([row[0] for row in rows], dtype=np.int64),
        "signal": np.array([row[1] for row in rows], dtype=np.int64),
        "tal": np.array([row[2] for row in rows], dtype=np.int64),
        "onset": np.array([row[3] for row in rows], dtype=object),
        "duration": np.array(["none" if row[4] is None else row[4] for row in rows], dtype=object),
    }
    return Annotations(name, columns, attributes)


def restore_tals(annotations: Annotations, onsets: Sequence[str], n_signals: int) -> list[list[list[Tal]]]:
    """Rebuild the TALs of each record and annotation signal from a set that is whole."""
    out: list[list[dict[int, Tal]]] = [[{} for _ in range(n_signals)] for _ in onsets]
    for record, onset in enumerate(onsets):
        out[record][0][0] = Tal(onset, None, ("",))
    names = ("record", "signal", "tal", "onset", "duration", "text")
    for record, signal, tal, onset, duration, text in zip(
        *(annotations.columns[k].tolist() for k in names), strict=True
    ):
        slot = out[record][signal]
        old = slot.get(tal)
        texts = (*old.texts, text) if old else (text,)
        slot[tal] = Tal(str(onset), None if duration == "none" else str(duration), texts)
    return [[[slot[k] for k in sorted(slot)] for slot in signals] for signals in out]


def foreign_tals(sets: Sequence[Annotations], start: Fraction, n_records: int, duration: Fraction) -> list[list[Tal]]:
    """Place events of any origin in the records that they fall into.

    Parameters
    ----------
    sets : sequence of Annotations
    start : Fraction
        Onset of the first record in seconds.
    n_records : int
    duration : Fraction
        Seconds per record.
    """
    out = [[Tal(format_onset(start + i * duration), None, ("",))] for i in range(n_records)]
    for events in sets:
        columns, n = events.columns, len(events)
        texts = columns.get("text", columns.get("symbol", np.array([events.name] * n, dtype=object)))
        notes = columns.get("aux_note", np.array([""] * n, dtype=object))
        lengths = columns.get("duration_s", np.zeros(n))
        for i in range(n):
            time = Fraction(int(columns["time_ns"][i]), 10**9)
            note = str(notes[i]).rstrip("\0")
            text = re.sub(r"[\x00\x14\x15]", " ", f"{texts[i]} {note}" if note else str(texts[i])) or " "
            length = format_onset(Fraction(float(lengths[i])))[1:] if lengths[i] else None
            record = min(max(int(time / duration), 0), n_records - 1)
            out[record].append(Tal(format_onset(start + time), length, (text,)))
    return out
