"""An engine that says what a test wants it to say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class FakeEngine:
    found: dict[str, Any] = field(default_factory=lambda: {"streams": [], "phi": float("nan")})
    why: list[str] = field(default_factory=list)
    hangs: bool = False

    def status(self) -> dict[str, Any]:
        return self.found

    def causes(self) -> list[str]:
        return self.why

    def stuck(self) -> bool:
        return self.hangs


def stream(recording: str, **changes: Any) -> dict[str, Any]:
    """Return one stream's row, well unless changed."""
    row = {"recording": recording, "stream": "250hz", "feed": "icu-a", "modality": "ecg", "rate_hz": 250.0}
    row |= {"n_channels": 2, "last_sample_age_s": 0.4, "lag_s": 0.2, "n_samples": 75000, "gaps": 0, "gap_samples": 0}
    row |= {"late_samples": 0, "conflicts": 0, "bits_per_sample": 1.25, "phi": 0.31, "bank": "9f" * 32}
    row |= {"bank_kind": "shipped", "drift": "quiet", "segment": "0", "sessions": 1}
    return {**row, **changes}


def status(*streams: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return what a daemon says of itself, well unless changed."""
    feed = {"name": "icu-a", "scheme": "nats", "connected": True, "error": "", "queue_depth": 3, "queue_s": 0.5}
    found = {"version": "0.1.0", "uptime_s": 3600.0, "feeds": [{**feed, "dropped": 0, "lag_s": 0.2}]}
    found |= {"streams": [*streams], "journal_bytes": 3 << 20, "ledger_bytes": 1 << 20, "disk_free_bytes": 5 << 30}
    return {**found, "disk_full": False, "causes": [], **changes}
