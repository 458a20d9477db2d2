"""Channels as compact JSON: what all share is written once, defaults not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any

from sanstream.block_coding import SegmentCoding
from sanstream.errors import CorruptError
from sanstream.signal import Channel

# the segment's coding holds it already
_IN_CODING = ("missing",)
_RANGE = ("digital_min", "digital_max")
_DEFAULTS = {f.name: f.default for f in fields(Channel) if f.name not in (*_IN_CODING, *_RANGE, "label", "header")}


def pack_channels(channels: Sequence[Channel]) -> dict[str, Any]:
    """Return channels as JSON values.

    Parameters
    ----------
    channels : sequence of Channel

    Returns
    -------
    dict
        ``all`` holds what every channel has in common, at any depth, ``each`` the rest, one object a
        channel. A key that stands nowhere has :class:`Channel`'s default. The missing
        code stands in the segment's coding.
    """
    rows = []
    for channel in channels:
        row = {
            k: v
            for k, v in channel.to_dict().items()
            if k in ("label", *_RANGE) or (k in _DEFAULTS and v != _DEFAULTS[k])
        }
        if channel.header:
            row["header"] = dict(channel.header)
        rows.append(row)
    shared, rest = _split(rows)
    return {"all": shared, "each": rest} if shared else {"each": rest}


def unpack_channels(packed: dict[str, Any], coding: SegmentCoding) -> tuple[Channel, ...]:
    """Build channels from :func:`pack_channels` output and the segment's coding.

    Raises
    ------
    CorruptError
        When their number differs from the coding's.
    """
    shared = packed.get("all", {})
    if len(packed["each"]) != coding.n_channels:
        raise CorruptError(
            f"segment {coding.segment_id}: {len(packed['each'])} channels described, {coding.n_channels} coded"
        )
    return _channels(json.dumps([shared, packed["each"]]), coding.missing)


@lru_cache(maxsize=256)
def _channels(text: str, missing: tuple[int | None, ...]) -> tuple[Channel, ...]:
    """Build channels; a recording's many segments share them."""
    shared, each = json.loads(text)
    return tuple(Channel(**_merge(shared, row), missing=missing[i]) for i, row in enumerate(each))


def _split(rows: list[dict[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Move what every row has, with one and the same value, into one shared row; objects are split in turn."""
    rest = [dict(row) for row in rows]
    shared: dict[str, Any] = {}
    if len(rows) < 2:
        return shared, rest
    for key in [k for k in rows[0] if all(k in row for row in rows)]:
        values = [row[key] for row in rows]
        if all(isinstance(v, dict) for v in values):
            shared[key], parts = _split(values)
            for row, part in zip(rest, parts, strict=True):
                row[key] = part
                if not part:
                    del row[key]
        elif all(type(v) is type(values[0]) and v == values[0] for v in values):
            shared[key] = values[0]
            for row in rest:
                del row[key]
    return shared, rest


def _merge(shared: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """Undo :func:`_split` for one row."""
    merged = dict(shared)
    for key, value in row.items():
        merged[key] = _merge(shared[key], value) if isinstance(shared.get(key), dict) else value
    return merged
