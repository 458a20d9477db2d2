"""What a commit changes of one recording: segments and events added to its manifest, or dropped from it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from sanstream.archive_annotations import pack_annotations
from sanstream.archive_grow_events import (
    EVENTS,
    belongs,
    ends_before,
    event_columns,
    identities,
    join_events,
    part_key,
    part_keys,
    part_number,
    read_part,
)
from sanstream.archive_grow_folder import Place
from sanstream.archive_manifest import Manifest, SegmentEntry, StreamEntry
from sanstream.archive_zarr import GROUP, META, array_meta, recording_group
from sanstream.bank import Bank
from sanstream.chunk import Event
from sanstream.errors import InputError
from sanstream.shard import pack_shard
from sanstream.signal import Annotations


class Changes:
    """A manifest in the making; objects that it names are on the disk.

    Parameters
    ----------
    manifest : Manifest
        As committed, or of a new recording.
    folder : Place
    clock : callable
        Returns nanoseconds since 1970 (UTC).
    """

    def __init__(self, manifest: Manifest, folder: Place, clock: Callable[[], int]) -> None:
        self.manifest = manifest
        self.clock = clock
        self._folder = folder
        self._before = frozenset(manifest.objects)
        self._objects = dict(manifest.objects)

    def put(self, key: str, data: bytes, what: str, *, once: bool = False) -> None:
        """Write an object, unless the manifest names it as it is already.

        Raises
        ------
        InputError
            When it is to be written once, and the manifest names another.
        """
        held = (len(data), hashlib.sha256(data).hexdigest())
        if once and self._objects.get(key, held) != held:
            raise InputError(f"{self.manifest.name}/{key}: is committed with other bytes", hint="report this as a bug")
        if self._objects.get(key) != held:
            self._folder.put(f"{self.manifest.name}/{key}", data, what)
            self._objects[key] = held
            self.set(objects=self._objects)

    def put_part(self, number: int, data: bytes, what: str) -> bool:
        """Write a part of the events; tells whether its number was free."""
        key = part_key(number)
        held = (len(data), hashlib.sha256(data).hexdigest())
        if self._objects.get(key) == held:
            return True
        if key in self._objects or not self._folder.put_unlike(f"{self.manifest.name}/{key}", data, what):
            return False
        self._objects[key] = held
        self.set(objects=self._objects)
        return True

    def keep_bank(self, bank: Bank) -> None:
        """Keep a copy of a bank."""
        key = f"banks/{bank.id}.sanbank"
        if bank.id not in self.manifest.banks or not self._folder.exists(key):
            self._folder.put_shared(key, bank.data, "bank")
            self.set(banks={**self.manifest.banks, bank.id: len(bank.data)})

    def drop(self, keys: Iterable[str]) -> None:
        """Name objects no more."""
        for key in list(keys):
            self._objects.pop(key, None)
        self.set(objects=self._objects)

    def let_go(self) -> list[str]:
        """Return the objects that were named before and are no more."""
        return sorted(self._before - self._objects.keys())

    def read(self, key: str) -> bytes:
        """Read an object."""
        return self._folder.read(f"{self.manifest.name}/{key}")

    def set(self, **values: Any) -> None:
        """Change fields of the manifest."""
        self.manifest = replace(self.manifest, **values)


def add_segment(
    changes: Changes,
    stream: str,
    rate: Fraction,
    entry: SegmentEntry,
    bank: Bank,
    first_block: int,
    blocks: Sequence[bytes],
) -> None:
    """Write the shards of a segment and its longer array, and put it into the manifest.

    Raises
    ------
    InputError
        When the blocks do not follow those that are there, differ from them, or are no whole shards.
    """
    held = next((s for s in changes.manifest.streams if s.name == stream), StreamEntry(stream, rate, 0, ()))
    old = next((e for e in held.segments if e.name == entry.name), None)
    where = f"segment {changes.manifest.name}/{stream}/{entry.name}"
    _check_fit(where, held, rate, old, entry, first_block, len(blocks))
    changes.keep_bank(bank)
    per_shard, step = entry.shard_samples // entry.coding.block_samples, entry.coding.block_samples
    for at in range(0, len(blocks), per_shard):
        first = first_block + at
        key = f"{stream}/{entry.name}/c/{first // per_shard}/0"
        data = pack_shard(
            blocks[at : at + per_shard],
            first_block=first,
            n_samples=min(entry.n_samples - first * step, entry.shard_samples),
            coding=entry.coding,
        )
        changes.put(key, data, "shard", once=True)
    if old is not None and old.n_samples >= entry.n_samples:
        return
    coded = len(entry.coding.bank_delta) + sum(
        changes.manifest.objects[f"{stream}/{entry.name}/c/{n}/0"][0] for n in range(-(-entry.n_blocks // per_shard))
    )
    entry = replace(entry, coded_bytes=coded, has_delta=False, committed_ns=entry.committed_ns or changes.clock())
    changes.put(f"{stream}/{entry.name}/{META}", array_meta(entry), "meta")
    changes.put(f"{stream}/{META}", GROUP, "meta")
    changes.put(META, recording_group(changes.manifest), "meta")
    _place(changes, replace(held, segments=_in_order([e for e in held.segments if e is not old] + [entry])))


def add_events(changes: Changes, events: Sequence[Event]) -> None:
    """Add the events that are not there yet as one more part, or into the last one while it has room."""
    start = changes.manifest.start_ns or 0
    last = part_keys(changes.manifest.objects)[-2:]
    parts = [read_part(changes.read(key)) for key in last]
    known: set[tuple[str, int]] = set().union(*map(identities, parts))
    new = join_events([event_columns([e for e in events if (e.session, e.number) not in known], start)])
    if not len(new):
        return
    if parts and belongs(parts[-1], new):
        new = join_events([parts[-1], new])
        changes.drop(last[-1:])
    number = part_number(last[-1]) + 1 if last else 0
    data = pack_annotations(Annotations(EVENTS, new.columns))
    while not changes.put_part(number, data, "events"):
        number += 1
    changes.set(annotations=(EVENTS,))


def drop_segments(changes: Changes, segments: Sequence[tuple[str, str]]) -> None:
    """Take segments out of the manifest, with what only they use."""
    gone = set(segments)
    for stream in changes.manifest.streams:
        names = [e.name for e in stream.segments if (stream.name, e.name) in gone]
        if not names:
            continue
        kept = tuple(e for e in stream.segments if e.name not in names)
        heads = tuple(f"{stream.name}/{name}/" for name in names) if kept else f"{stream.name}/"
        changes.drop(k for k in changes.manifest.objects if k.startswith(heads))
        _place(changes, replace(stream, segments=kept))
    used = {e.coding.bank_base for s in changes.manifest.streams for e in s.segments}
    changes.set(banks={b: n for b, n in changes.manifest.banks.items() if b in used})


def drop_events(changes: Changes, until_ns: int) -> None:
    """Take the parts that lie wholly before a time, nanoseconds since 1970, out of the manifest, oldest first."""
    until = until_ns - (changes.manifest.start_ns or 0)
    for key in part_keys(changes.manifest.objects):
        if not ends_before(read_part(changes.read(key)), until):
            break
        changes.drop([key])
    if not part_keys(changes.manifest.objects):
        changes.set(annotations=())


def _check_fit(
    where: str,
    stream: StreamEntry,
    rate: Fraction,
    old: SegmentEntry | None,
    entry: SegmentEntry,
    first_block: int,
    n_blocks: int,
) -> None:
    per_shard = entry.shard_samples // entry.coding.block_samples
    stop, problem = first_block + n_blocks, ""
    if stream.rate != rate:
        problem = f"its stream has {stream.rate} Hz, not {rate}"
    elif old is not None and (old.coding, old.start_sample) != (entry.coding, entry.start_sample):
        problem = "a segment of other coding or place has its name"
    elif not n_blocks or first_block % per_shard:
        problem = f"{n_blocks} blocks from {first_block} on are no shards of {per_shard}"
    elif entry.n_blocks != stop:
        problem = f"blocks up to {stop} are given for {entry.n_samples} samples in {entry.n_blocks}"
    elif first_block > (old.n_samples // entry.coding.block_samples if old else 0):
        problem = f"blocks from {first_block} on would leave a hole after {old.n_samples if old else 0} samples"
    elif old and old.n_samples % entry.shard_samples and old.n_samples < entry.n_samples:
        problem = f"it was finished after {old.n_samples} samples"
    if problem:
        raise InputError(f"{where}: {problem}", hint="report this as a bug")


def _place(changes: Changes, stream: StreamEntry) -> None:
    """Put a stream into the manifest in place of its former self; one without segments goes."""
    stream = replace(stream, n_samples=max((e.stop_sample for e in stream.segments), default=0))
    streams = [s for s in changes.manifest.streams if s.name != stream.name or stream.segments]
    places = [i for i, s in enumerate(streams) if s.name == stream.name]
    if places:
        streams[places[0]] = stream
    elif stream.segments:
        streams.append(stream)
    changes.set(streams=tuple(streams))


def _in_order(segments: list[SegmentEntry]) -> tuple[SegmentEntry, ...]:
    """By place; those that came late after all others, in the order of their coming."""
    return tuple(sorted(segments, key=lambda e: (e.late, 0 if e.late else e.start_sample)))
