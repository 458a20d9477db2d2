"""From checkpoints to an archive: shards in order, then the manifest of each recording."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Decimal
from fractions import Fraction
from typing import Any

from sanstream.archive_convert import sound_blocks
from sanstream.archive_folder import RecordingFolder
from sanstream.archive_manifest import Manifest, SegmentEntry, StreamEntry
from sanstream.archive_reached import Reached
from sanstream.archive_read import StreamReader
from sanstream.archive_recording import RecordingReader, cut_annotations
from sanstream.errors import InputError
from sanstream.reencode_jobs import Job, KeptPlan, Work, job_done, jobs_of, kept_plan
from sanstream.reencode_request import implies, is_lossy, stored_qualities, wanted_qualities
from sanstream.reencode_store import Checkpoints
from sanstream.reencode_targets import Target, clock_of, moved_entry
from sanstream.shard import shard_samples


@dataclass(frozen=True)
class Assembly:
    """What a recording is made from.

    Parameters
    ----------
    reader : RecordingReader
        Of the source.
    targets : mapping of str to list of Target
        By stream.
    works : mapping of Target's place (stream, number) to Work
        Of those that were encoded.
    store : Checkpoints or None
        None where nothing was encoded.
    shift : Fraction
        Seconds by which it starts later than the source's.
    until : Fraction or None
        Seconds from the source's start at which its events end, when only a part of the time is wanted.
    shard_s : float or None
    parent : mapping
        See :class:`~sanstream.archive_manifest.Manifest`.
    """

    reader: RecordingReader
    targets: Mapping[str, list[Target]]
    works: Mapping[tuple[str, int], Work]
    store: Checkpoints | None
    shift: Fraction
    until: Fraction | None
    shard_s: float | None
    parent: Mapping[str, Any]

    @property
    def head(self) -> Manifest:
        """What is known before."""
        manifest = self.reader.manifest
        start = None if manifest.start_ns is None else manifest.start_ns + int(self.shift * 10**9)
        return replace(manifest, start_ns=start, parent=dict(self.parent))


def assemble(assembly: Assembly, folder: RecordingFolder) -> Manifest:
    """Write a recording.

    Returns
    -------
    Manifest
    """
    streams = []
    for name, targets in assembly.targets.items():
        stream = assembly.reader.streams[name]
        entries = tuple(
            _segment(folder, assembly, stream, t, assembly.works.get((name, i))) for i, t in enumerate(targets)
        )
        end = max((e.stop_sample for e in entries), default=0)
        streams.append(StreamEntry(name, stream.rate, stream.n_samples if assembly.until is None else end, entries))
    annotations = assembly.reader.annotations
    if assembly.until is not None:
        rate = next(s.rate for s in assembly.reader.streams.values())
        annotations = tuple(cut_annotations(a, assembly.shift, assembly.until, rate) for a in annotations)
    parent = dict(assembly.parent)
    if not any(_is_encoded(assembly, stream) for stream in streams):
        parent |= {"effort": None, "bank": None}  # nothing has either
    return folder.finish(tuple(streams), annotations, parent=parent)


def _is_encoded(assembly: Assembly, stream: StreamEntry) -> bool:
    """Tell whether some segment is not one that was carried over."""
    targets = assembly.targets[stream.name]
    return any(
        entry.coding.segment_id != target.pieces[0].entry.coding.segment_id
        for entry, target in zip(stream.segments, targets, strict=True)
    )


def _segment(
    folder: RecordingFolder, assembly: Assembly, stream: StreamReader, target: Target, work: Work | None
) -> SegmentEntry:
    kept = None if work is None or assembly.store is None else kept_plan(work, assembly.store)
    if work is not None and kept is None:
        raise _gone(target)
    if work is None or kept is None or _gains_nothing(assembly, target, work, kept):
        source = target.pieces[0].entry
        entry = moved_entry(target, stream)
        entry = replace(entry, shard_samples=_shard(assembly, entry) if assembly.shard_s else entry.shard_samples)
        return folder.add_segment(stream.name, stream.rate, entry, stream.bank(source), sound_blocks(stream, source))
    coding = kept.plan.coding
    reached = Reached(coding, kept.plan.bank, kept.wanted)
    original: list[list[float | None]] = []
    blocks = _blocks(assembly, target, work, kept, reached, original)
    first = target.pieces[0].entry
    entry = SegmentEntry(
        target.name,
        target.start_sample,
        target.n_samples,
        0,
        target.channels,
        coding,
        tuple(str(q) for q in kept.wanted),
        flags=first.flags,
        clock=clock_of(target),
    )
    entry = replace(entry, shard_samples=_shard(assembly, entry))
    entry = folder.add_segment(stream.name, stream.rate, entry, kept.plan.bank, blocks)
    return replace(
        entry,
        n_windows=reached.n_windows,
        reached=reached.figures(),
        samples_crc=reached.samples_crc,
        original=tuple((_up(p), _up(r) or 0.0, _up(m) or 0.0) for p, r, m in original),
    )


def _shard(assembly: Assembly, entry: SegmentEntry) -> int:
    block = entry.coding.block_samples
    rate = float(entry.coding.rate)
    if assembly.shard_s is None:
        return shard_samples(rate, entry.coding.n_channels, block)
    return max(1, int(assembly.shard_s * rate) // block) * block


def _gains_nothing(assembly: Assembly, target: Target, work: Work, kept: KeptPlan) -> bool:
    """Tell whether a lossy segment, which keeps what is wanted already, would not get smaller: it is carried over."""
    source = target.pieces[0].entry
    wanted = wanted_qualities(target.qualities, target.channels)
    if len(target.pieces) > 1 or not is_lossy(source):
        return False
    if not all(implies(a, b) for a, b in zip(stored_qualities(source), wanted, strict=True)):
        return False
    size = len(kept.plan.coding.bank_delta)
    for job in jobs_of(work, kept.plan):
        done = _done(assembly, job)
        size += sum(map(len, done[1]))
    return size >= source.coded_bytes


def _blocks(
    assembly: Assembly,
    target: Target,
    work: Work,
    kept: KeptPlan,
    reached: Reached,
    original: list[list[float | None]],
) -> Iterator[bytes]:
    """Yield a segment's payloads, adding up what they reached."""
    size = kept.plan.coding.block_samples
    for job in jobs_of(work, kept.plan):
        done = _done(assembly, job)
        for number, state, payload in zip(range(job.first, job.stop), *done, strict=True):
            n = min(size, target.n_samples - number * size)
            reached.merge(state, 4 * n * len(target.channels))
            if "original" in state:
                original[:] = _worst(original, state["original"])
            yield payload


def _done(assembly: Assembly, job: Job) -> tuple[list[dict[str, Any]], list[bytes]]:
    done = None if assembly.store is None else job_done(job, assembly.store)
    if done is None:
        raise _gone(job.work.target)
    return done


def _worst(a: list[list[float | None]], b: list[list[float | None]]) -> list[list[float | None]]:
    """Join bounds: the greater ones, None (unknown) above all."""
    if not a:
        return b
    return [
        [None if x is None or y is None else max(x, y) for x, y in zip(p, q, strict=True)]
        for p, q in zip(a, b, strict=True)
    ]


def _up(value: float | None) -> float | None:
    """Round up to four digits."""
    if value is None or value == 0:
        return value
    step = Decimal(value).adjusted() - 3
    return float(Decimal(value).quantize(Decimal(1).scaleb(step), ROUND_CEILING))


def _gone(target: Target) -> InputError:
    return InputError(f"{target.where}: a checkpoint is missing or has changed", hint="run the command again")
