"""What the engine says of itself: status, causes of not being ready, gauges."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sanstream import __version__
from sanstream.daemon.judge import SILENT_S
from sanstream.modality import MODALITIES

if TYPE_CHECKING:
    from sanstream.daemon.engine import Engine
    from sanstream.daemon.inbox import FeedLink
    from sanstream.daemon.streams import StreamState


_DAY_S = 86400.0


def causes(engine: Engine) -> list[str]:
    """Return why the daemon is not ready, one short line each; empty when it is."""
    out = [f"feed {name}: not connected" for name, link in engine.feeds.items() if not _is_up(link)]
    if engine.disk_full:
        out.append(f"{waits_for(engine)}: nothing is acknowledged")
    if engine.journal.size_bytes > engine.settings.limits.journal_bytes:
        out.append("journal at its limit: nothing is taken")
    if engine.holding.is_full:
        out.append(f"{engine.holding.n_held} messages wait for the archive: nothing more is taken")
    if engine.sealer.refused:
        out.append(refused_by_archive(engine))
    return out


def refused_by_archive(engine: Engine) -> str:
    """Say how many recordings the archive does not take now, and why."""
    return f"archive: {len(engine.sealer.refused)} recordings cannot be written, {engine.sealer.cause}"


def free_bytes(folder: Path | None) -> int | None:
    """Return the free space of a folder's disk; None where it cannot be told."""
    usage = _usage(folder)
    return None if usage is None else usage[1]


def _usage(folder: Path | None) -> tuple[int, int] | None:
    """Return size and free space of a folder's disk, in bytes."""
    try:
        found = None if folder is None else shutil.disk_usage(folder)
    except OSError:
        return None
    return None if found is None else (found.total, found.free)


def waits_for(engine: Engine) -> str:
    """Name the passing trouble that lets nothing be acknowledged."""
    if engine.no_handles:
        return "too many open files"
    return "the archive's store cannot be reached" if engine.store_down else "disk full"


def status(engine: Engine, began_ns: int) -> dict[str, Any]:
    """Return what ``/streams`` and ``sanstream status`` show."""
    now = engine.clock()
    folder = engine.settings.archive.state_dir
    streams = [_stream(engine, s, now) for s in list(engine.state.streams.values())]
    return {
        "version": __version__,
        "uptime_s": (now - began_ns) / 1e9,
        "feeds": [_feed(engine, link, now) for link in engine.feeds.values()],
        "streams": streams,
        "held_messages": engine.holding.n_held,
        "journal_bytes": engine.journal.size_bytes,
        "ledger_bytes": engine.ledger.size_bytes,
        "disk_free_bytes": free_bytes(folder),
        "archive_free_bytes": free_bytes(_archive_folder(engine)),
        "disk_full": engine.disk_full,
        "causes": causes(engine),
    }


def set_gauges(engine: Engine) -> None:
    """Bring the gauges up to date."""
    telemetry, now = engine.telemetry, engine.clock()
    for name, link in engine.feeds.items():
        engine.counts.child("queue_messages", name).set(len(link.inbox))
        engine.counts.child("queue_seconds", name).set(link.inbox.seconds)
        engine.counts.child("connected", name).set(_is_up(link))
        ages = _ages(engine, name, now)
        engine.counts.child("lag_seconds", name).set(max(ages, default=0.0))
        engine.counts.child("silent_streams", name).set(sum(SILENT_S < age < _DAY_S for age in ages))
        if link.state.partitions is not None:
            engine.counts.child("partitions", name).set(link.state.partitions)
    engine.counts.child("build_info", __version__).set(1)
    telemetry.ready.set(not causes(engine))
    telemetry.streams.set(len(engine.state.streams))
    changed = Counter(engine.state.streams[key].modality for key in engine.adapting.changed(engine.state.streams))
    for modality in MODALITIES:
        engine.counts.child("changed_streams", modality).set(changed[modality])
    telemetry.held_messages.set(engine.holding.n_held)
    telemetry.journal_bytes.set(engine.journal.size_bytes)
    telemetry.journal_limit_bytes.set(engine.settings.limits.journal_bytes)
    telemetry.ledger_bytes.set(engine.ledger.size_bytes)
    for place, folder in (("state", engine.settings.archive.state_dir), ("archive", _archive_folder(engine))):
        usage = _usage(folder)
        if usage is not None:
            engine.counts.child("disk_size_bytes", place).set(usage[0])
            engine.counts.child("disk_free_bytes", place).set(usage[1])
    telemetry.disk_full.set(engine.disk_full)
    sums: dict[str, tuple[float, float]] = {}
    for stream in engine.state.streams.values():
        a, b = sums.get(stream.modality, (0.0, 0.0))
        figures = stream.figures
        sums[stream.modality] = (a + 2 * figures.get("values", 0), b + figures.get("bytes", 0))
    for modality, (raw, stored) in sums.items():
        if stored:
            engine.counts.child("ratio", modality).set(raw / stored)


def _archive_folder(engine: Engine) -> Path | None:
    return None if engine.archive.is_remote else engine.archive.root


def _is_up(link: FeedLink) -> bool:
    return link.state.connected or link.inbox.ended


def _ages(engine: Engine, feed: str, now: int) -> list[float]:
    """Return for how many seconds each stream of a feed has got nothing."""
    streams = list(engine.state.streams.values())
    return [max(0.0, (now - s.last_arrival_ns) / 1e9) for s in streams if s.feed == feed and s.last_arrival_ns]


def _feed(engine: Engine, link: FeedLink, now: int) -> dict[str, Any]:
    refused = dict(engine.counts.refused.get(link.name, {}))
    return {
        "name": link.name,
        "scheme": link.scheme,
        "connected": _is_up(link),
        "error": link.state.error,
        "queue_depth": len(link.inbox),
        "queue_s": link.inbox.seconds,
        "dropped": link.n_dropped,
        "refused": sum(refused.values()),
        "refused_for": refused,
        "lag_s": max(_ages(engine, link.name, now), default=0.0),
        "warnings": dict(link.state.n_warnings),
        "partitions": link.state.partitions,
    }


def _stream(engine: Engine, stream: StreamState, now: int) -> dict[str, Any]:
    lane = stream.main
    adapting = engine.adapting.state(stream.key)
    bank = lane.plan.bank.name if lane is not None and lane.plan is not None else ""
    adapted = lane is not None and lane.plan is not None and lane.plan.kernels is not None
    last = stream.last_arrival_ns
    return {
        "recording": stream.recording.name,
        "stream": stream.name,
        "feed": stream.feed,
        "modality": stream.modality,
        "rate_hz": float(stream.rate),
        "n_channels": stream.n_channels,
        "n_samples": stream.end,
        "last_sample_age_s": (now - last) / 1e9 if last else None,
        "lag_s": max(0.0, (last - stream.time_ns(stream.end)) / 1e9) if last else None,
        "gaps": int(stream.figures.get("gaps", 0)),
        "gap_samples": int(stream.figures.get("gap_samples", 0)),
        "late_samples": int(stream.figures.get("late_samples", 0)),
        "conflicts": int(stream.figures.get("conflicts", 0)),
        "bits_per_sample": stream.figures.get("bits"),
        "phi": adapting.get("phi"),
        "bank": bank,
        "bank_kind": "adapted" if adapted else "shipped",
        "drift": adapting.get("drift", "off"),
        "segment": lane.name if lane is not None else "",
        "sessions": len(stream.sessions),
    }
