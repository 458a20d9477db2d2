"""Archives of very many small segments, as a daemon leaves them after months: real blocks, real manifests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

import google_crc32c

from sanstream.archive_manifest import CATALOG, MANIFEST, Manifest, SegmentEntry, StreamEntry, catalog_bytes
from sanstream.archive_reached import Reached
from sanstream.archive_sealed import compact_json
from sanstream.archive_zarr import GROUP, META, ROOT_GROUP, array_meta, recording_group
from sanstream.encode_live import Part, encode_part, plan_live, shipped_start
from sanstream.encode_plan import Plan
from sanstream.quality import Quality, choose_qualities
from sanstream.shard import pack_shard
from sanstream.signal import Segment
from sanstream.simulate import simulate_ecg

RATE, SECONDS = Fraction(250), 10
STREAM = "250hz"
START_NS = 1_714_521_600 * 10**9
Put = Callable[[str, bytes], object]


@dataclass(frozen=True)
class Shape:
    """So many recordings of so many segments."""

    recordings: int
    segments: int

    @property
    def name(self) -> str:
        """For rows and folders."""
        return f"{self.recordings} x {self.segments}"

    def recording(self, number: int) -> str:
        """Return a recording's name."""
        return f"bed{number:05d}"


def build(shape: Shape, put: Put) -> int:
    """Write an archive; returns how many objects it has.

    Parameters
    ----------
    shape : Shape
    put : callable
        Takes a key and an object's bytes.
    """
    made = simulate_ecg(SECONDS, rate_hz=RATE, seed=1)
    (segment,) = made.streams[0].segments
    qualities = choose_qualities(["prdn=5"], segment.channels)
    start = shipped_start(segment.channels)
    plan = plan_live(
        segment.samples, segment.channels, qualities, RATE, segment_id="0" * 16, start=start, effort="fast"
    )
    n_objects = 2
    put("zarr.json", ROOT_GROUP)
    put(f"banks/{plan.bank.id}.sanbank", plan.bank.data)
    for number in range(shape.recordings):
        n_objects += _recording(shape, shape.recording(number), plan, qualities, segment, put)
    put(CATALOG, catalog_bytes("zarr", [shape.recording(n) for n in range(shape.recordings)]))
    return n_objects + 1


def manifest_bytes() -> tuple[float, float]:
    """Return what a segment of one shard, and every further shard, adds to a recording's manifest."""
    sizes = []
    for segments in (10, 20):
        held: dict[str, bytes] = {}
        build(Shape(1, segments), held.__setitem__)
        sizes.append(len(held[f"{Shape(1, 1).recording(0)}/{MANIFEST}"]))
    shard = compact_json({f"{STREAM}/1000000000/c/12/0": [100_000, "0" * 64]})
    return (sizes[1] - sizes[0]) / 10, len(shard) - 1.0


def _recording(shape: Shape, name: str, plan: Plan, qualities: tuple[Quality, ...], source: Segment, put: Put) -> int:
    objects: dict[str, tuple[int, str]] = {}

    def put_own(key: str, data: bytes) -> None:
        put(f"{name}/{key}", data)
        objects[key] = (len(data), hashlib.sha256(data).hexdigest())

    entries = []
    length = source.n_samples
    for number in range(shape.segments):
        at = number * length
        tag = f"{google_crc32c.value(f'{name}/{at}'.encode()):016x}"
        own = replace(plan, coding=replace(plan.coding, segment_id=tag))
        entries.append(_segment(f"{at}", at, own, qualities, source, put_own))
    n_samples = shape.segments * length
    streams = (StreamEntry(STREAM, RATE, n_samples, tuple(entries)),)
    manifest = Manifest(name, START_NS, "utc", "wfdb", {"feed": "ward"}, "zarr", streams, grows=True)
    put_own(f"{STREAM}/{META}", GROUP)
    put_own(META, recording_group(manifest))
    whole = replace(manifest, objects=objects, banks={plan.bank.id: len(plan.bank.data)})
    put(f"{name}/{MANIFEST}", whole.to_bytes())
    return len(objects) + 1


def _segment(
    name: str, start: int, plan: Plan, qualities: tuple[Quality, ...], source: Segment, put: Put
) -> SegmentEntry:
    """Write one segment of one block, with anchors of a device's clock."""
    samples = source.samples
    payload = encode_part(Part(plan, 0, samples))
    reached = Reached(plan.coding, plan.bank, qualities)
    reached.add(payload, 0, samples)
    data = pack_shard([payload], first_block=0, n_samples=len(samples), coding=plan.coding)
    clock = tuple((s, START_NS + s, START_NS + s + 7) for s in range(0, len(samples), 1000))
    entry = SegmentEntry(
        name, start, len(samples), 60 * plan.coding.block_samples, source.channels, plan.coding,
        tuple(map(str, qualities)), reached.n_windows, len(data) + len(plan.coding.bank_delta), reached.figures(),
        reached.samples_crc, flags=("session",), clock=clock, committed_ns=START_NS,
    )  # fmt: skip
    put(f"{STREAM}/{name}/c/0/0", data)
    put(f"{STREAM}/{name}/{META}", array_meta(entry))
    return entry
