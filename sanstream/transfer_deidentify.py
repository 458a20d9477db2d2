"""Leaving out of a recording what names its patient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sanstream.signal import Annotations, Channel, Recording, Stream

_DAY_NS = 86_400 * 10**9
# header fields that hold no identity whatever a source writes into them
_SAFE_HEADER = frozenset(
    {
        "adc_gain", "adc_res", "adc_zero", "baseline", "block_size", "byte_offset", "checksum", "digital_max",
        "digital_min", "file_name", "filename", "fmt", "init_value", "physical_max", "physical_min",
        "physical_dimension",
        "prefilter", "prefiltering", "samples_per_data_record", "samples_per_record", "samps_per_frame", "skew",
        "transducer", "transducer_type", "units",
    }
)  # fmt: skip
_SAFE_ATTRIBUTES = frozenset(
    {
        "base_counter", "counter_freq", "data_record_duration", "dialect", "dtype", "fs", "lattice", "n_sig", "order",
        "record_duration", "sig_len", "variant",
    }
)  # fmt: skip
# free text of annotations may hold anything
_TEXT_COLUMNS = frozenset({"aux", "aux_note", "text", "note", "comment", "description"})


def deidentify(recording: Recording, *, name: str) -> Recording:
    """Return the recording without what may name its patient.

    Kept: samples, rates, labels, units, gains, technical header fields, annotation times and codes,
    and the time of day. Dropped: the recording's name, the date (the start becomes 1970-01-01 at the
    same time of day), comments, patient and recording fields, every header field that is not known to
    be technical, and free text of annotations.

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
        attributes=_keep(recording.attributes, _SAFE_ATTRIBUTES),
    )


def _stream(stream: Stream) -> Stream:
    segments = tuple(replace(g, channels=tuple(_channel(c) for c in g.channels)) for g in stream.segments)
    return replace(stream, segments=segments)


def _channel(channel: Channel) -> Channel:
    return replace(channel, header=_keep(channel.header, _SAFE_HEADER))


def _annotations(annotations: Annotations) -> Annotations:
    columns = dict(annotations.columns)
    for key in _TEXT_COLUMNS & columns.keys():
        columns[key] = columns[key].copy()
        columns[key][:] = ""
    return Annotations(annotations.name, columns, {})


def _keep(values: Mapping[str, Any], safe: frozenset[str]) -> dict[str, Any]:
    return {k: v for k, v in values.items() if k.lower() in safe}
