"""Channels as compact JSON: what all share is written once, defaults not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from sanstream.block import SegmentCoding
from sanstream.errors import CorruptError
from sanstream.signal import Channel

# the segment's coding holds these already
_IN_CODING = ("digital_min", "digital_max", "missing")
_DEFAULTS = {f.name: f.default for f in fields(Channel) if f.name not in (*_IN_CODING, "label", "header")}


def pack_channels(channels: Sequence[Channel]) -> dict[str, Any]:
    """Return channels as JSON values.

    Parameters
    ----------
    channels : sequence of Channel

    Returns
    -------
    dict
        ``all`` holds what every channel has in common, ``each`` the rest, one object a channel; both
        may hold a ``header``. A key that stands nowhere has :class:`Channel`'s default. Digital range
        and missing code stand in the segment's coding.
    """
    rows = [{k: v for k, v in c.to_dict().items() if k not in _IN_CODING} for c in channels]
    headers = [row.pop("header") for row in rows]
    rows = [{k: v for k, v in row.items() if k == "label" or v != _DEFAULTS[k]} for row in rows]
    shared, rows = _split(rows)
    shared_header, headers = _split(headers)
    if shared_header:
        shared["header"] = shared_header
    for row, header in zip(rows, headers, strict=True):
        if header:
            row["header"] = header
    return {"all": shared, "each": rows} if shared else {"each": rows}


def unpack_channels(packed: dict[str, Any], coding: SegmentCoding) -> tuple[Channel, ...]:
    """Build channels from :func:`pack_channels` output and the segment's coding.

    Raises
    ------
    CorruptError
        When their number differs from the coding's.
    """
    shared = dict(packed.get("all", {}))
    shared_header = shared.pop("header", {})
    if len(packed["each"]) != coding.n_channels:
        raise CorruptError(
            f"segment {coding.segment_id}: {len(packed['each'])} channels described, {coding.n_channels} coded"
        )
    return tuple(
        Channel(
            **{**shared, **row, "header": {**shared_header, **row.get("header", {})}},
            digital_min=coding.digital_min[i],
            digital_max=coding.digital_max[i],
            missing=coding.missing[i],
        )
        for i, row in enumerate(packed["each"])
    )


def _split(rows: list[dict[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Move keys with one and the same value in every row into one shared row."""
    if len(rows) < 2:
        return {}, [dict(row) for row in rows]
    first = rows[0]
    shared = {k: v for k, v in first.items() if k != "label" and all(k in r and _same(r[k], v) for r in rows)}
    return shared, [{k: v for k, v in row.items() if k not in shared} for row in rows]


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(a == b)
