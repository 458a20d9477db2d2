"""Waveforms and annotations out of an HL7 v2 message; the profile is described in :mod:`sanstream.feeds.mllp`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream.chunk import MAX_CHUNK_VALUES
from sanstream.errors import InputError
from sanstream.feeds.hl7_message import parsed, part, rows, time_ns, unit_of, whole

_NUMBER = re.compile(r"[+-]?(?:\d{1,18}(?:\.\d{0,18})?|\.\d{1,18})(?:[eE][+-]?\d{1,2})?")
_LABEL = re.compile(r"^MDC_(?:ECG_ELEC_POTL_|ECG_LEAD_|ECG_|PRESS_BLD_ART_|PULS_OXIM_|PRESS_BLD_)?")
_MOST_WAVES = 256
NUMBERS = "SANSTREAM_NUMBERS"
"""Facet of sanstream's own publisher: session, first sample, stream, gain, baseline, range, missing code."""


@dataclass(frozen=True, eq=False)
class Wave:
    """One channel's samples in one message.

    Parameters
    ----------
    label, unit : str
    rate : Fraction
    values : ndarray, shape (n_samples,), int64 or float64
        Counts, or physical values where the sender gives no scale. Empty components are -2^63 or NaN.
    gain, baseline : float
        Of counts.
    low, high : int or None
        Range of counts, when the sender says it.
    time_ns : int or None
    numbers : tuple of str
        What the private facet says; empty without one.
    """

    label: str
    unit: str
    rate: Fraction
    values: npt.NDArray[Any]
    gain: float = 1.0
    baseline: float = 0.0
    low: int | None = None
    high: int | None = None
    time_ns: int | None = None
    numbers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Note:
    """An annotation or alarm in a message."""

    time_ns: int | None
    kind: str
    text: str
    numbers: tuple[str, ...] = ()
    duration_ns: int = 0


@dataclass(frozen=True, eq=False)
class Observed:
    """What one message says.

    Parameters
    ----------
    control_id : str
        MSH-10.
    device : str
        Who measured; empty when nobody is named.
    sender : str
        MSH-3.
    patient, place : str
        PID-3 and PV1-3 as they stand, to be looked up and forgotten.
    waves : tuple of Wave
    notes : tuple of Note
    """

    control_id: str
    device: str
    sender: str
    patient: str = field(repr=False)
    place: str = field(repr=False)
    waves: tuple[Wave, ...] = ()
    notes: tuple[Note, ...] = ()


@dataclass
class _Group:
    """What the segments of one OBR say while they are read."""

    begin: int | None
    waves: list[tuple[str, Wave]] = field(default_factory=list)
    facets: dict[str, dict[str, Any]] = field(default_factory=dict)
    channels: list[Wave] = field(default_factory=list)


def observed(data: bytes, zone: timedelta = timedelta(0)) -> Observed:
    """Read a message.

    Parameters
    ----------
    data : bytes
        Without MLLP's frame.
    zone : timedelta
        Offset from UTC of times that name none.

    Raises
    ------
    InputError
        When it is no ORU message, or a waveform in it cannot be read. No value of the message is in the error.
    """
    message = parsed(data)
    head = message.segment("MSH")
    if part(head, 9, 1) != "ORU":
        raise InputError("message is no ORU", hint="send unsolicited observations, ORU^R01^ORU_R01")
    kind = "alarm" if part(head, 9, 2) == "R40" else "annotation"
    group, device = _Group(time_ns(part(head, 7), zone)), ""
    told: dict[str, str] = {}
    waves: list[Wave] = []
    notes: list[Note] = []
    for segment in message:
        name = str(segment[0])
        if name in ("PID", "PV1"):
            own = whole(segment, 3)
            if own and told.setdefault(name, own) != own:
                raise InputError("message of several patients or places", hint="send a message for each bed")
        elif name == "OBR":
            waves += _finished(group, message.unescape)
            group = _Group(time_ns(part(segment, 7), zone) or group.begin)
        elif name == "PRT":
            device = device or _named(segment, 10)
        elif name == "OBX":
            device = device or _named(segment, 18)
            note = _observation(segment, group, kind, zone)
            notes += [replace(note, text=str(message.unescape(note.text)))] if note else []
    waves += _finished(group, message.unescape)
    if len(waves) > _MOST_WAVES:
        raise InputError(f"message of {len(waves)} waveforms, at most {_MOST_WAVES}")
    patient, place = told.get("PID", ""), told.get("PV1", "")
    return Observed(part(head, 10), device, part(head, 3), patient, place, tuple(waves), tuple(notes))


def _named(segment: Any, field: int) -> str:
    """Return a device's identifier, else its universal one (EUI-64)."""
    return part(segment, field) or part(segment, field, 3)


def _observation(segment: Any, group: _Group, kind: str, zone: timedelta) -> Note | None:
    """Take one OBX into its group; return the annotation that it is."""
    form, sub = part(segment, 2), part(segment, 4)
    code, name, suffix = part(segment, 3), part(segment, 3, 2), part(segment, 3, 1, 2)
    when = time_ns(part(segment, 14), zone) or group.begin
    if name.startswith("MDC_ATTR_") or name == NUMBERS:
        group.facets.setdefault(sub.rpartition(".")[0], {})[name] = rows(segment, 5)
    elif suffix == "TIM" or (form in ("TS", "DTM") and suffix == "CHN"):
        group.begin = time_ns(part(segment, 5), zone) or group.begin
    elif suffix == "CHN" or form == "CD":
        group.channels += [_defined(cells) for cells in rows(segment, 5)]
    elif form in ("NA", "MA"):
        group.waves += _arrays(segment, form, sub, _label(name, code), when, group.channels)
    elif suffix == "ANO" or (kind == "alarm" and form in ("ST", "CE", "CWE", "TX", "FT")):
        told = rows(segment, 5)
        text = " ".join(c for c in (told[0] if told else [])[:2] if c) or name
        own = tuple(c for cells in told[1:2] for c in cells)
        duration = int(own[2]) if len(own) == 3 and own[2].isdigit() and len(own[2]) < 19 else 0
        word = name if name in ("annotation", "marker", "alarm", "gap") else kind
        return Note(when, word, text[:65536], own[:2] if len(own) == 3 else (), duration)
    return None


def _label(name: str, code: str) -> str:
    return (_LABEL.sub("", name) or code or "wave")[:80]


def _defined(cells: list[str]) -> Wave:
    """Read a channel definition (CD): name, source, sensitivity and unit, calibration, rate, range."""
    cells = cells + [""] * (6 - len(cells))
    ids, sensitivity, calibration = cells[0].split("&"), cells[2].split("&"), cells[3].split("&")
    step = _real(sensitivity[0], 1.0) * _real(calibration[0], 1.0)
    ends = [int(_real(e, 0.0)) for e in cells[5].split("&")] if "&" in cells[5] else [None, None]
    unit = next((s for s in sensitivity[1:3] if s), "")
    baseline = _real(calibration[1], 0.0) if len(calibration) > 1 else 0.0
    label = ids[1] if len(ids) > 1 and ids[1] else ids[0]
    return Wave(
        label[:80], unit[:16], _rate(cells[4]), np.empty(0), 1.0 / step if step else 1.0, baseline, ends[0], ends[1]
    )


def _arrays(
    segment: Any, form: str, sub: str, label: str, when: int | None, channels: list[Wave]
) -> list[tuple[str, Wave]]:
    """Return the channels of a numeric array; with channel definitions there may be several."""
    table = rows(segment, 5)
    if sum(map(len, table)) > MAX_CHUNK_VALUES:
        raise InputError(f"waveform of more than {MAX_CHUNK_VALUES} values")
    if form == "MA":  # a repetition is a moment, its components the channels
        width = max(map(len, table), default=0)
        table = [[row[k] if k < len(row) else "" for row in table] for k in range(width)]
    elif len(channels) <= 1 or len(table) != len(channels):
        table = [[cell for row in table for cell in row]]
    if channels and len(channels) != len(table):
        raise InputError(f"waveform of {len(table)} channels, {len(channels)} are defined")
    unit = unit_of(segment, 6)
    bare = channels or [Wave(label if len(table) == 1 else f"{label} {k + 1}", unit, Fraction(0), np.empty(0))
                        for k in range(len(table))]  # fmt: skip
    return [
        (sub, replace(wave, values=_values(row), time_ns=when, unit=wave.unit or unit))
        for wave, row in zip(bare, table, strict=True)
    ]


def _values(cells: Sequence[str]) -> npt.NDArray[Any]:
    """Read numbers: int64 where all are whole, else float64; what is empty is missing."""
    cells = [cell.strip() for cell in cells]
    bad = [cell for cell in cells if cell and cell != '""' and not _NUMBER.fullmatch(cell)]
    if bad:
        raise InputError(f"waveform holds {len(bad)} values that are no numbers")
    absent = np.array([cell in ("", '""') for cell in cells], dtype=np.bool_)
    filled = ["0" if a else cell for cell, a in zip(cells, absent.tolist(), strict=True)]
    if all(cell.lstrip("+-").isdigit() for cell in filled):
        return np.where(absent, np.iinfo(np.int64).min, np.array([int(c) for c in filled], dtype=np.int64))
    return np.where(absent, np.nan, np.array(filled, dtype=np.float64))


def _finished(group: _Group, unescape: Callable[[str], str]) -> list[Wave]:
    """Give the group's waves what its facets say of them."""
    out = []
    for sub, wave in group.waves:
        facets = group.facets.get(sub, {})
        first = {name: value[0] for name, value in facets.items() if value}
        rate = wave.rate
        if "MDC_ATTR_SAMP_RATE" in first:
            rate = _rate(first["MDC_ATTR_SAMP_RATE"][0])
        elif "MDC_ATTR_TIME_PD_SAMP" in first:
            period = _rate(first["MDC_ATTR_TIME_PD_SAMP"][0])
            rate = 1000 / period if period else rate
        if not 0 < rate <= 10**6:
            raise InputError("waveform has no sampling rate", hint="send MDC_ATTR_SAMP_RATE as a facet, or a CD")
        if not wave.values.size:
            continue
        numbers = tuple(map(unescape, first.get(NUMBERS, ())))
        label, unit = unescape(wave.label)[:80], unescape(wave.unit)[:16]
        out.append(_scaled(replace(wave, rate=rate, numbers=numbers, label=label, unit=unit), first))
    return out


def _scaled(wave: Wave, facets: dict[str, list[str]]) -> Wave:
    """Apply the facets that say what a count is worth."""
    scale, data = (_ends(facets.get(f"MDC_ATTR_{name}_RANGE", [])) for name in ("SCALE", "DATA"))
    if scale and data and data[0] != data[1] and scale[0] != scale[1]:
        gain = (scale[1] - scale[0]) / (data[1] - data[0])
        low, high = sorted((int(scale[0]), int(scale[1])))
        return replace(wave, gain=gain, baseline=scale[0] - data[0] * gain, low=low, high=high)
    step = _real(facets.get("MDC_ATTR_NU_MSMT_RES", [""])[0], 0.0)
    if step > 0 and wave.values.dtype != np.float64:
        return replace(wave, gain=float(f"{1.0 / step:.12g}"))
    return wave


def _ends(cells: list[str]) -> tuple[float, float] | None:
    if len(cells) < 2 or not all(_NUMBER.fullmatch(c) for c in cells[:2]):
        return None
    return float(cells[0]), float(cells[1])


def _real(text: str, default: float) -> float:
    return float(text) if _NUMBER.fullmatch(text.strip()) else default


def _rate(text: str) -> Fraction:
    return Fraction(text.strip()) if _NUMBER.fullmatch(text.strip()) else Fraction(0)
