"""Every metric of the daemon, in one list; labels are feed, modality, bank kind and fixed words, never a stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

from sanstream import __version__
from sanstream.modality import MODALITIES

PREFIX = "sanstream_"
OTHER = "other"
MAX_FEEDS = 64
"""Feeds with a series of their own; further ones share ``other``."""
WORDS = {
    "modality": frozenset(MODALITIES),
    "bank": frozenset({"shipped", "adapted"}),
    "place": frozenset({"state", "archive"}),
    "version": frozenset({__version__}),
    "series": frozenset({"phi", "bits"}),
    "outcome": frozenset({"adopted", "rejected", "shadow", "failed", "timed_out", "cancelled"}),
    "cause": frozenset(
        {
            *("start", "full_queue", "disk_full", "journal_full", "connection", "publisher", "restart", "source"),
            *("late", "clock_step", "session", "channels", "rate", "bank", "midnight", "gap", "size", "end", "moved"),
            "removed",
        }
    ),
}
"""Values that labels may have; any other becomes ``other``, so that no input can make series without end."""
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
PRDN = (0.25, 0.5, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 30, 50, 100)
PHI = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.25, 1.5, 2)


class _Bounded:
    """Keeps every label within :data:`WORDS`."""

    _labelnames: Sequence[str]

    def labels(self, *values: Any, **named: Any) -> Any:
        """Return the child for these label values."""
        given = dict(zip(self._labelnames, values, strict=False), **named)
        kept = {k: _bounded(self, k, str(v)) for k, v in given.items()}
        return super().labels(**kept)  # type: ignore[misc]


def _bounded(metric: Any, label: str, value: str) -> str:
    if label in WORDS:
        return value if value in WORDS[label] else OTHER
    feeds: set[str] = metric.__dict__.setdefault("_feeds", set())
    if value not in feeds and len(feeds) >= MAX_FEEDS:
        return OTHER
    feeds.add(value)
    return value


class BoundedCounter(_Bounded, Counter):
    """A counter with bounded labels."""


class BoundedGauge(_Bounded, Gauge):
    """A gauge with bounded labels."""


class BoundedHistogram(_Bounded, Histogram):
    """A histogram with bounded labels."""


M = TypeVar("M", BoundedCounter, BoundedGauge, BoundedHistogram)


class _Metric(Generic[M]):
    """One line of the list: built when a :class:`Telemetry` is, under the attribute's name."""

    def __init__(self, kind: type[M], text: str, labels: str = "", **more: Any) -> None:
        self.kind: type[M] = kind
        self.text, self.labels, self.more = text, labels.split(), more

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: object, owner: type | None = None) -> M:
        """Say what type an attribute has; instances have their own, which hides this."""
        raise AttributeError(f"{self.name} belongs to a Telemetry, not to its class")

    def build(self, registry: CollectorRegistry) -> M:
        """Register the metric."""
        make: Callable[..., M] = self.kind
        return make(PREFIX + self.name, self.text, self.labels, registry=registry, **self.more)


def _counter(text: str, labels: str = "") -> _Metric[BoundedCounter]:
    return _Metric(BoundedCounter, text, labels)


def _gauge(text: str, labels: str = "") -> _Metric[BoundedGauge]:
    return _Metric(BoundedGauge, text, labels)


def _histogram(text: str, buckets: Sequence[float], labels: str = "") -> _Metric[BoundedHistogram]:
    return _Metric(BoundedHistogram, text, labels, buckets=buckets)


class Telemetry:
    """The daemon's metrics: ``telemetry.gaps.labels("icu-a", "full_queue").inc()``.

    Parameters
    ----------
    registry : CollectorRegistry, optional
        Default: one of its own, with what the process takes (memory, processor, open files) beside.
    """

    samples = _counter("Samples journalled, all channels.", "feed modality")
    windows = _counter("Windows stored.", "modality bank")
    received_bytes = _counter("Bytes of messages received.", "feed")
    raw_bytes = _counter("Bytes of samples before coding, 2 or 4 each.", "modality")
    stored_bytes = _counter("Bytes of coded blocks.", "modality")
    blocks = _counter("Blocks encoded.", "modality")
    fallback_windows = _counter(
        "Windows of a channel that were stored without loss although loss was allowed, constant ones aside.", "modality"
    )
    gaps = _counter("Gaps recorded.", "feed cause")
    gap_samples = _counter("Samples that gaps lack, all channels.", "feed cause")
    duplicates = _counter("Samples that came again, equal, all channels.", "feed")
    conflicts = _counter("Chunks that contradict what is stored, set aside.", "feed")
    late_samples = _counter("Samples that came after their block was closed, all channels.", "feed")
    poison = _counter("Messages that could not be read, set aside.", "feed")
    dropped_messages = _counter("Messages dropped because a queue was full and the feed cannot wait.", "feed")
    events = _counter("Events journalled.", "feed")
    segments = _counter("Segments begun.", "cause")
    seals = _counter("Shards brought to the archive.")
    drift_alarms = _counter("Changes found in a series of a stream.", "modality series")
    retrainings = _counter("Trainings ended.", "outcome")
    retention_deleted_segments = _counter("Segments deleted because of age or size.")

    queue_messages = _gauge("Messages in the feed's queue.", "feed")
    queue_seconds = _gauge("Signal in the feed's queue.", "feed")
    lag_seconds = _gauge("Age of the newest journalled sample of the feed's slowest stream.", "feed")
    connected = _gauge("1 while the feed is connected.", "feed")
    partitions = _gauge("Partitions that this daemon has, of a feed that daemons share.", "feed")
    build_info = _gauge("1, with the version that runs.", "version")
    ready = _gauge("1 while nothing keeps samples from being stored; as /readyz says.")
    streams = _gauge("Streams being archived.")
    silent_streams = _gauge("Streams that got nothing for 30 s, but something within the last day.", "feed")
    changed_streams = _gauge("Streams of changed signal for which no training has ended since.", "modality")
    journal_bytes = _gauge("Size of the raw journal.")
    journal_limit_bytes = _gauge("Size of the raw journal at which nothing more is taken.")
    ledger_bytes = _gauge("Size of the ledger.")
    disk_free_bytes = _gauge("Free space where the state folder and a local archive are.", "place")
    disk_size_bytes = _gauge("Size of these disks.", "place")
    disk_full = _gauge("1 while nothing is acknowledged because a disk is full.")
    ratio = _gauge("Bytes of samples before coding per byte of coded blocks.", "modality")

    prdn = _histogram("PRDN of stored windows, per cent.", PRDN, "modality")
    phi = _histogram("Flithos of stored windows.", PHI, "modality")
    acknowledge_seconds = _histogram("From a message's arrival to its acknowledgement.", SECONDS, "feed")
    held_messages = _gauge("Messages that wait for the archive to be acknowledged (durability remote).")
    journal_to_commit_seconds = _histogram(
        "From a block's last sample in the journal to its record in the ledger.", SECONDS
    )
    step_seconds = _histogram("One turn of the daemon's loop.", SECONDS)
    encode_seconds = _histogram("Encoding one batch of blocks.", SECONDS)
    seal_seconds = _histogram("Bringing shards and manifest to the archive.", SECONDS)

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        # the time at which each series was made doubles their number and tells nothing
        disable_created_metrics()  # type: ignore[no-untyped-call]
        if registry is None:
            registry = CollectorRegistry()
            ProcessCollector(registry=registry)
        self.registry = registry
        for name, metric in metrics().items():
            self.__dict__[name] = metric.build(registry)


def metrics() -> dict[str, _Metric[Any]]:
    """Return the list: attribute name to description."""
    return {name: m for name, m in vars(Telemetry).items() if isinstance(m, _Metric)}
