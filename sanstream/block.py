"""Scaffold of block.py."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any


@dataclass(frozen=True)
class Group:
    """Channels coded together."""

    channels: tuple[int, ...]
    parent: int = -1


@dataclass(frozen=True)
class SegmentCoding:
    """All that a decoder needs besides block bytes."""

    segment_id: str
    rate: Fraction
    digital_min: tuple[int, ...]
    digital_max: tuple[int, ...]
    missing: tuple[int | None, ...]
    window_samples: int
    block_samples: int
    groups: tuple[Group, ...]
    bank_base: str
    bank_delta: bytes = b""

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return len(self.digital_min)

    def n_blocks(self, n_samples: int) -> int:
        """Blocks in a segment of ``n_samples``."""
        return -(-n_samples // self.block_samples)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "segment_id": self.segment_id,
            "rate": str(self.rate),
            "digital_min": list(self.digital_min),
            "digital_max": list(self.digital_max),
            "missing": list(self.missing),
            "window_samples": self.window_samples,
            "block_samples": self.block_samples,
            "groups": [[list(g.channels), g.parent] for g in self.groups],
            "bank": {"base": self.bank_base, "delta": base64.b64encode(self.bank_delta).decode()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SegmentCoding:
        """From :meth:`to_dict`."""
        return cls(
            data["segment_id"],
            Fraction(data["rate"]),
            tuple(data["digital_min"]),
            tuple(data["digital_max"]),
            tuple(data["missing"]),
            data["window_samples"],
            data["block_samples"],
            tuple(Group(tuple(c), p) for c, p in data["groups"]),
            data["bank"]["base"],
            base64.b64decode(data["bank"]["delta"]),
        )
