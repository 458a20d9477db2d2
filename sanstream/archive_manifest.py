"""The manifest of a recording (its commit point) and the catalog of an archive, as checksummed JSON."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

from sanstream.archive_channels import pack_channels, unpack_channels
from sanstream.archive_kept import Memo
from sanstream.archive_sealed import FORMAT_VERSION, open_json, seal_json
from sanstream.block_coding import SegmentCoding
from sanstream.errors import CorruptError
from sanstream.signal import Channel

MANIFEST = "manifest.json"
CATALOG = "catalog.json"
LIVE = "live.json"
CONTAINERS = ("zarr", "parquet")
LATE = "late"
"""Flag of a segment that came after its time: it may overlap others, and fills only what they lack."""
RAW = "raw"
"""Flag of a segment of a daemon's journal, which no manifest on a disk has: it is not coded yet and has no blocks."""
FIGURES = ("prdn_mean", "prdn_max", "rmse_adu", "max_error_adu", "phi_mean")


@dataclass(frozen=True)
class SegmentEntry:
    """One segment as the manifest describes it.

    Parameters
    ----------
    name : str
        Name of its array: the first sample's place on the stream's grid.
    start_sample, n_samples : int
    shard_samples : int
        Samples of a full shard.
    channels : tuple of Channel
    coding : SegmentCoding
        Its bank delta may be left out (``has_delta``); the container then fetches it.
    qualities : tuple of str
        What was asked, per channel.
    n_windows, coded_bytes : int
    reached : tuple of tuple of float
        Per channel the five :data:`FIGURES`.
    samples_crc : int
        CRC32C of the decoded samples, int32, little-endian, time first.
    has_delta : bool
        Whether the coding lacks a delta that the container holds.
    flags : tuple of str
        Why a live segment began: ``"late"``, ``"clock_step"``, ``"session"``, ``"channels"``, ``"bank"``,
        ``"midnight"``, ``"gap"``, ``"size"``, ``"moved"``.
    clock : tuple of (int, int or None, int)
        Anchors of a live segment: sample of the segment, device's and our clock at it, nanoseconds since 1970 (UTC).
    committed_ns : int
        When a live segment last grew, nanoseconds since 1970 (UTC); 0 for others.
    original : tuple of (float or None, float, float)
        Of a segment encoded from samples that had lost something: per channel the largest PRDN (None: unknown), RMSE
        and error of any window against the samples before the first loss; ``reached`` is against those encoded.
    """

    name: str
    start_sample: int
    n_samples: int
    shard_samples: int
    channels: tuple[Channel, ...]
    coding: SegmentCoding
    qualities: tuple[str, ...]
    n_windows: int = 0
    coded_bytes: int = 0
    reached: tuple[tuple[float, ...], ...] = ()
    samples_crc: int = 0
    has_delta: bool = False
    flags: tuple[str, ...] = ()
    clock: tuple[tuple[int, int | None, int], ...] = ()
    committed_ns: int = 0
    original: tuple[tuple[float | None, float, float], ...] = ()

    @cached_property
    def places(self) -> Mapping[str, int]:
        """Place of each channel by label."""
        return {c.label: i for i, c in enumerate(self.channels)}

    @property
    def late(self) -> bool:
        """Whether it came after its time, and fills only what other segments lack."""
        return LATE in self.flags

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return self.coding.n_blocks(self.n_samples)

    @property
    def stop_sample(self) -> int:
        """One past the last sample's place on the stream's grid."""
        return self.start_sample + self.n_samples

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as JSON values; equal values in a row are written once."""
        coding = self.coding.to_dict()
        if self.has_delta:
            coding["bank"] = {**coding["bank"], "delta": ""}
        return {
            "name": self.name,
            "start_sample": self.start_sample,
            "n_samples": self.n_samples,
            "shard_samples": self.shard_samples,
            "channels": pack_channels(self.channels),
            "coding": coding,
            "quality": _once(self.qualities),
            "n_windows": self.n_windows,
            "coded_bytes": self.coded_bytes,
            "reached": _once(self.reached),
            "samples_crc": self.samples_crc,
            **({"has_delta": True} if self.has_delta else {}),
            **({"flags": list(self.flags)} if self.flags else {}),
            **({"clock": [list(a) for a in self.clock]} if self.clock else {}),
            **({"committed_ns": self.committed_ns} if self.committed_ns else {}),
            **({"original": _once(self.original)} if self.original else {}),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SegmentEntry:
        """Build an entry from :meth:`to_dict` output."""
        coding = SegmentCoding.from_dict(data["coding"])
        n = coding.n_channels
        return cls(
            name=data["name"],
            start_sample=data["start_sample"],
            n_samples=data["n_samples"],
            shard_samples=data["shard_samples"],
            channels=unpack_channels(data["channels"], coding),
            coding=coding,
            qualities=tuple(_each(data["quality"], n)),
            n_windows=data["n_windows"],
            coded_bytes=data["coded_bytes"],
            reached=tuple(tuple(r) for r in _each(data["reached"], n)),
            samples_crc=data["samples_crc"],
            has_delta=data.get("has_delta", False),
            flags=tuple(data.get("flags", ())),
            clock=tuple((int(s), None if d is None else int(d), int(a)) for s, d, a in data.get("clock", ())),
            committed_ns=int(data.get("committed_ns", 0)),
            original=tuple(tuple(r) for r in _each(data.get("original", ()), n)),
        )


@dataclass(frozen=True)
class StreamEntry:
    """One stream as the manifest describes it."""

    name: str
    rate: Fraction
    n_samples: int
    segments: tuple[SegmentEntry, ...]

    @cached_property
    def layered(self) -> bool:
        """Whether any segment came late, or overlaps another: they fill what others lack."""
        end = 0
        for segment in self.segments:
            if segment.late or segment.start_sample < end:
                return True
            end = segment.stop_sample
        return False

    @cached_property
    def channels(self) -> tuple[Channel, ...]:
        """Every channel of any segment, in order of first appearance."""
        found: dict[str, Channel] = {}
        for segment in self.segments:
            for channel in segment.channels:
                found.setdefault(channel.label, channel)
        return tuple(found.values())

    @cached_property
    def places(self) -> Mapping[str, int]:
        """Place in :attr:`channels` by label."""
        return {c.label: i for i, c in enumerate(self.channels)}


@dataclass(frozen=True)
class Manifest:
    """Everything that an archive says of one recording.

    Parameters
    ----------
    name, start_ns, timezone, source_format, attributes
        As in :class:`~sanstream.signal.Recording`.
    container : str
        ``"zarr"`` or ``"parquet"``.
    streams : tuple of StreamEntry
    annotations : tuple of str
        Names of the annotation sets.
    objects : mapping of str to (int, str)
        Size and SHA-256 of every other object of the recording, by key below its folder.
    banks : mapping of str to int
        Size of every bank in use, by its SHA-256.
    grows : bool
        Whether a daemon wrote it, segment by segment.
    parent : mapping
        What a recording made from another archive's says of that (FORMAT.md 12.4); empty for others.
    digest : str
        The ``sha256`` of the file that it was read from.
    """

    name: str
    start_ns: int | None
    timezone: str
    source_format: str
    attributes: Mapping[str, Any]
    container: str
    streams: tuple[StreamEntry, ...]
    annotations: tuple[str, ...] = ()
    objects: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    banks: Mapping[str, int] = field(default_factory=dict)
    grows: bool = False
    parent: Mapping[str, Any] = field(default_factory=dict)
    digest: str = field(default="", compare=False)

    @cached_property
    def memo(self) -> Memo:
        """What was read of its objects."""
        return Memo()

    def to_bytes(self) -> bytes:
        """Return the manifest's file."""
        streams = [
            {
                "name": s.name,
                "rate": str(s.rate),
                "n_samples": s.n_samples,
                "segments": [e.to_dict() for e in s.segments],
            }
            for s in self.streams
        ]
        return seal_json(
            {
                "format_version": FORMAT_VERSION,
                "container": self.container,
                "name": self.name,
                "start_ns": self.start_ns,
                "timezone": self.timezone,
                "source_format": self.source_format,
                "attributes": dict(self.attributes),
                "streams": streams,
                "annotations": list(self.annotations),
                "objects": {k: list(v) for k, v in sorted(self.objects.items())},
                "banks": dict(sorted(self.banks.items())),
                **({"grows": True} if self.grows else {}),
                **({"parent": dict(self.parent)} if self.parent else {}),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Manifest:
        """Read a manifest's file.

        Raises
        ------
        CorruptError
            When a byte has changed.
        UnsupportedError
            When a newer sanstream wrote it.
        """
        on = gc.isenabled()
        gc.disable()  # of what is read nothing is garbage, and to look for it takes as long as to read
        try:
            return cls._read(data, where)
        finally:
            if on:
                gc.enable()

    @classmethod
    def _read(cls, data: bytes, where: str) -> Manifest:
        values = open_json(data, where)
        try:
            streams = tuple(
                StreamEntry(
                    s["name"],
                    Fraction(s["rate"]),
                    s["n_samples"],
                    tuple(SegmentEntry.from_dict(e) for e in s["segments"]),
                )
                for s in values["streams"]
            )
            return cls(
                name=values["name"],
                start_ns=values["start_ns"],
                timezone=values["timezone"],
                source_format=values["source_format"],
                attributes=values["attributes"],
                container=values["container"],
                streams=streams,
                annotations=tuple(values["annotations"]),
                objects={k: (int(v[0]), str(v[1])) for k, v in values["objects"].items()},
                banks=values["banks"],
                grows=values.get("grows", False),
                parent=dict(values.get("parent", {})),
                digest=values["sha256"],
            )
        except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
            raise CorruptError(f"{where}: not a manifest ({error!r})") from error


def catalog_bytes(container: str, recordings: list[str]) -> bytes:
    """Return the catalog's file: the names of the recordings, in order of arrival."""
    return seal_json({"format_version": FORMAT_VERSION, "container": container, "recordings": recordings})


def read_catalog(data: bytes, where: str) -> tuple[str, list[str]]:
    """Read a catalog's file.

    Returns
    -------
    container : str
    recordings : list of str

    Raises
    ------
    CorruptError, UnsupportedError
    """
    values = open_json(data, where)
    container, names = values.get("container"), values.get("recordings")
    if container not in CONTAINERS or not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise CorruptError(f"{where}: not a catalog")
    return container, names


def _once(values: tuple[Any, ...]) -> Any:
    """Write a tuple of equal values as ``{"all": value}``."""
    return {"all": values[0]} if len(values) > 1 and len(set(values)) == 1 else list(values)


def _each(values: Any, n: int) -> list[Any]:
    return [values["all"]] * n if isinstance(values, dict) else list(values)
