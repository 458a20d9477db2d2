"""The engine's side of drift and retraining: what it tells the adaptation, and what it asks of it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Self

from sanstream.config import Settings
from sanstream.daemon.lanes import MAIN, Block, Lane
from sanstream.daemon.streams import StreamState
from sanstream.durable import Disk
from sanstream.encode_live import LiveStart, shipped_start

Key = tuple[str, str]


class Adapting:
    """Passes blocks on to an adaptation; without one, every segment starts from the shipped bank.

    Parameters
    ----------
    adaptation : sanstream.daemon.adaptation.Adaptation or None
    """

    def __init__(self, adaptation: Any) -> None:
        self._adaptation = adaptation

    @classmethod
    def for_settings(cls, settings: Settings, disk: Disk) -> Self:
        """Return one with the adaptation that the settings ask for."""
        if settings.retrain.mode == "off":
            return cls(None)
        from sanstream.daemon.adaptation import Adaptation

        return cls(Adaptation(settings.retrain, settings.archive.state_dir, disk, time.time_ns))

    def observe(self, stream: StreamState, block: Block, n_bytes: int) -> None:
        """Let the drift watch see a committed block of a stream's main lane."""
        lane = block.lane
        if self._adaptation is None or lane.kind != MAIN or lane.plan is None:
            return
        from sanstream.daemon.adaptation import ObservedBlock

        self._adaptation.observe(
            stream.key,
            ObservedBlock(
                samples=block.samples,
                channels=lane.channels,
                rate=lane.rate,
                qualities=lane.qualities,
                time_ns=stream.time_ns(block.start),
                payload_bits=8 * n_bytes,
                window_samples=lane.plan.coding.window_samples,
                plan=lane.plan,
            ),
        )

    def start(self, stream: StreamState, lane: Lane) -> LiveStart:
        """Return what a lane's segment starts from."""
        if self._adaptation is None:
            return shipped_start(lane.channels)
        start: LiveStart = self._adaptation.start_for(stream.key, lane.channels, lane.rate, lane.qualities)
        return start

    def poll(self) -> list[tuple[Key, str]]:
        """Return the streams whose next block should open a new segment, and why."""
        if self._adaptation is None:
            return []
        return [(adopted.key, "bank") for adopted in self._adaptation.poll()]

    def news(self) -> list[tuple[Key, str, str]]:
        """Return what happened since the last call: (stream, ``"alarm"`` or ``"retraining"``, series or outcome)."""
        return [] if self._adaptation is None else list(self._adaptation.news())

    def state(self, key: Key) -> dict[str, Any]:
        """Return what the status says of a stream's drift."""
        return {"drift": "off", "phi": None} if self._adaptation is None else dict(self._adaptation.state(key))

    def changed(self, keys: Iterable[Key]) -> list[Key]:
        """Return the streams among these whose signal changed and for which no training has ended since."""
        return [] if self._adaptation is None else [key for key in keys if self._adaptation.has_changed(key)]

    def retain(self, until_ns: int) -> None:
        """Forget raw windows older than a time."""
        if self._adaptation is not None:
            self._adaptation.retain(until_ns)

    def forget(self, recording: str, from_ns: int | None = None, until_ns: int | None = None) -> None:
        """Forget a recording, or its raw windows of a stretch of time."""
        if self._adaptation is not None:
            self._adaptation.forget(recording, from_ns, until_ns)

    def close(self) -> None:
        """End a training that runs."""
        if self._adaptation is not None:
            self._adaptation.close()
