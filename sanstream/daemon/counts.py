"""What the engine counts, as metrics; label children are looked up once."""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import cache
from typing import Any

import numpy as np

from sanstream.archive_reached import ReachedWindow
from sanstream.chunk import Chunk
from sanstream.daemon.lanes import Block, Lane
from sanstream.daemon.refusals import word_of
from sanstream.daemon.streams import StreamState
from sanstream.modality import MODALITIES
from sanstream.quality import LOSSLESS
from sanstream.telemetry import WORDS, Telemetry

_OF_FEEDS = (
    "received_bytes duplicates conflicts late_samples poison dropped_messages events acknowledge_seconds".split()
)


class Counts:
    """Counts into a :class:`~sanstream.telemetry.Telemetry`.

    Parameters
    ----------
    telemetry : Telemetry

    Attributes
    ----------
    refused : dict of str to Counter
        Per feed, how many messages and chunks were set aside, by :func:`~sanstream.daemon.refusals.word_of` the reason.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self.telemetry = telemetry
        self.child = cache(self._child)
        self.refused: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for outcome in sorted(WORDS["outcome"]):
            self.child("retrainings", outcome)
        for modality in MODALITIES:
            self.child("changed_streams", modality)
            for series in sorted(WORDS["series"]):
                self.child("drift_alarms", modality, series)

    def begin(self, feed: str) -> None:
        """Let a feed's series begin at zero: one that begins with its first incident shows no increase of it."""
        for metric in _OF_FEEDS:
            self.child(metric, feed)
        for cause in ("full_queue", "disk_full", "gap"):
            self.child("gaps", feed, cause)

    def _child(self, metric: str, *labels: str) -> Any:
        return getattr(self.telemetry, metric).labels(*labels)

    def received(self, feed: str, modality: str, chunk: Chunk) -> None:
        """Count a chunk that was taken."""
        self.child("samples", feed, modality).inc(chunk.samples.size)

    def duplicate(self, feed: str) -> None:
        """Count a chunk, or a part of one, that came before."""
        self.child("duplicates", feed).inc()

    def conflict(self, feed: str, reason: str) -> None:
        """Count a chunk that contradicts what came before, or has no place."""
        self.child("conflicts", feed).inc()
        self.refused[feed][word_of(reason)] += 1

    def poison(self, feed: str, reason: str) -> None:
        """Count a message that could not be read."""
        self.child("poison", feed).inc()
        self.refused[feed][word_of(reason)] += 1

    def late(self, feed: str, n: int) -> None:
        """Count samples that came after their block."""
        self.child("late_samples", feed).inc(n)

    def event(self, feed: str) -> None:
        """Count an event."""
        self.child("events", feed).inc()

    def acknowledged(self, feed: str, arrival_ns: int | None, now_ns: int) -> None:
        """Count a message that was acknowledged, when samples came with it."""
        if arrival_ns is not None:
            self.child("acknowledge_seconds", feed).observe(max(0.0, (now_ns - arrival_ns) / 1e9))

    def began(self, lane: Lane) -> None:
        """Count a segment that began."""
        self.child("segments", lane.flags[0] if lane.flags else "start").inc()

    def committed(self, stream: StreamState, block: Block, n_bytes: int, windows: list[ReachedWindow]) -> None:
        """Count a block that is in the ledger."""
        lane, modality = block.lane, stream.modality
        raw = block.samples.size * (2 if np.iinfo(np.int16).max >= max(c.digital_max for c in lane.channels) else 4)
        self.child("blocks", modality).inc()
        self.child("raw_bytes", modality).inc(raw)
        self.child("stored_bytes", modality).inc(n_bytes)
        kind = "adapted" if lane.plan is not None and lane.plan.kernels is not None else "shipped"
        self.child("windows", modality, kind).inc(-(-len(block.samples) // self._window(lane)))
        lossy = [q.kind != LOSSLESS for q in lane.qualities]
        fallback = 0
        prdn, phi = self.child("prdn", modality), self.child("phi", modality)
        for window in windows:
            prdn.observe(window.prdn)
            phi.observe(window.phi)
            fallback += lossy[window.channel] and window.exact and not window.constant
        self.child("fallback_windows", modality).inc(fallback)
        holes = sum(b - a for a, b in block.runs.holes)
        if holes:
            self.child("gaps", stream.feed, "gap").inc(len(block.runs.holes))
            self.child("gap_samples", stream.feed, "gap").inc(holes * len(lane.channels))
            stream.figures["gaps"] = stream.figures.get("gaps", 0) + len(block.runs.holes)
            stream.figures["gap_samples"] = stream.figures.get("gap_samples", 0) + holes
        stream.figures["bytes"] = stream.figures.get("bytes", 0) + n_bytes
        stream.figures["values"] = stream.figures.get("values", 0) + block.samples.size
        share = 0.2
        bits = 8 * n_bytes / max(1, block.samples.size)
        before = stream.figures.get("bits", bits)
        stream.figures["bits"] = before + share * (bits - before)

    @staticmethod
    def _window(lane: Lane) -> int:
        return lane.plan.coding.window_samples if lane.plan is not None else lane.block_samples
