"""Leaving out of a recording what names its patient."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from sanstream.signal import Annotations, Channel, Recording, Stream

_DAY_NS = 86_400 * 10**9
# header fields of channels that say how, never who
_TECHNICAL = frozenset(
    "adc_zero block_size digital_max digital_min dimension dtype edf format label lattice physical_max physical_min "
    "position prefilter samples_per_frame samples_per_record skew".split()
)
_SET_FIELDS = frozenset(("format", "fs", "frame_rate"))
# columns of annotations that may hold free text, and the texts that are codes
_TEXT_COLUMNS = frozenset("aux aux_note text note comment description".split())
_CODE = re.compile(
    r"\([A-Za-z0-9]{1,6}|[A-Z][0-9]{1,3}|Sleep stage [A-Z0-9?]|Movement time|Lights (on|off)|Recording (starts|ends)"
)


def deidentify(recording: Recording, *, name: str) -> Recording:
    """Return the recording without what may name its patient.

    Kept: samples, rates, labels, units, gains, technical header fields, annotation times and codes,
    and the time of day. Dropped: the recording's name, the date (the start becomes 1970-01-01 at the
    same time of day), all header fields of the recording (patient, recording, comments), those of
    channels that are not known to be technical, and texts of annotations other than rhythm, event and
    sleep stage codes. Channel labels stay: look at them.

    Parameters
    ----------
    recording : Recording
    name : str
        The name to give it.

    Returns
    -------
    Recording
    """
    return replace(
        recording,
        name=name,
        streams=tuple(_stream(s) for s in recording.streams),
        start_ns=None if recording.start_ns is None else recording.start_ns % _DAY_NS,
        annotations=tuple(_annotations(a) for a in recording.annotations),
        attributes={},
    )


def _stream(stream: Stream) -> Stream:
    segments = tuple(replace(g, channels=tuple(_channel(c) for c in g.channels)) for g in stream.segments)
    return replace(stream, segments=segments)


def _channel(channel: Channel) -> Channel:
    return replace(channel, header=_keep(channel.header, _TECHNICAL))


def _annotations(annotations: Annotations) -> Annotations:
    columns = dict(annotations.columns)
    for name in _TEXT_COLUMNS & columns.keys():
        kept = [t if _CODE.fullmatch(t.rstrip("\0")) else "" for t in columns[name].tolist()]
        columns[name] = np.array(kept, dtype=columns[name].dtype)
    return Annotations(annotations.name, columns, _keep(annotations.attributes, _SET_FIELDS))


def _keep(values: Mapping[str, Any], wanted: frozenset[str]) -> dict[str, Any]:
    kept = {k: v for k, v in values.items() if k in wanted}
    return {k: _keep(v, wanted) if k == "edf" and isinstance(v, Mapping) else v for k, v in kept.items()}
