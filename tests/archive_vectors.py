"""Golden archives, one per kind of container, each a zip with a listing of what it holds beside it.

Usage: ``python tests/archive_vectors.py`` writes those that are not there yet. The others are frozen (FORMAT.md clause
14): a reader that disagrees with one of them is wrong.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from archive_cases import patient, tiny, walk
from grow_cases import RATE, START_NS, STREAM, event, segment, ward

import sanstream
from sanstream.archive import ArchiveWriter
from sanstream.archive_grow import GrowingArchive, Growth
from sanstream.archive_manifest import SegmentEntry
from sanstream.archive_places import Places, StreamPlaces
from sanstream.reencode import reencode
from sanstream.signal import Annotations, Channel, Recording, Segment, Stream
from sanstream.simulate import simulate_ecg

FOLDER = Path(__file__).parent / "vectors" / "archives"
_EPOCH = (2026, 1, 1, 0, 0, 0)


def heart(name: str = "heart") -> Recording:
    """Two leads whose kernels repay their bytes."""
    return replace(simulate_ecg(240, rate_hz=100, n_leads=2, seed=3), name=name)


def wide() -> Recording:
    """A stream of 24 bits without a start, and a note that names no sample."""
    x = np.stack([walk(900, -(2**20), 2**20, seed=2) * 4099], axis=1)
    channel = Channel("Fp1", "uV", 31.25, 0.5, -(2**23), 2**23 - 1)
    notes = Annotations("notes", {"time_ns": np.array([0, 10**9]), "text": np.array(["Beginn", ""], object)})
    stream = Stream("100hz", Fraction(1000, 9), (Segment(0, (channel,), x),), 1000)
    return Recording("wide", (stream,), None, "unknown", (notes,), "bdf", {"patient": {"sex": "X"}})


def _whole(*recordings: Recording, container: str = "zarr", requests: tuple[str, ...] = (), **more: Any) -> Any:
    def write(path: Path) -> None:
        effort = more.pop("effort", "fast")
        with ArchiveWriter(path, container=container, **more) as writer:
            for recording in recordings:
                writer.add(recording, requests, effort=effort)
            writer.commit()

    return write


def _grown(path: Path) -> None:
    """What a daemon wrote: two commits, a hole, a late segment, events in two parts."""
    archive = GrowingArchive(path, clock=lambda: START_NS + 10**12)
    first, second = segment("0", 0, ward(5000, hole=(2100, 2400))), segment("8000", 8000, ward(3000, seed=5))
    late = segment("late-1", 1500, ward(1500, seed=8), flags=("late",))
    archive.commit(Growth("bed1", START_NS, "utc", {"feed": "icu"}, (first.grown(0, 1),), (event(0, 1.0, "asystole"),)))
    more = (first.grown(1, 9), second.grown(0, 9), late.grown(0, 9))
    archive.commit(Growth("bed1", START_NS, "utc", {}, more, (event(1, 50.0, "", "marker", 2.5),)))


def _shared(path: Path) -> None:
    """What two daemons wrote to one recording: both were sent the same 500 samples."""
    x = ward(6000, seed=11)
    first, second = segment("0-a", 0, x[:3500]), segment("3000-b", 3000, x[3000:], flags=("moved",))
    places = StreamPlaces(RATE, {"s1": ((0, 0, ""), (3000, 0, "moved"))})
    for part in (first, second):
        archive = GrowingArchive(path, shared=True, clock=lambda: START_NS + 10**12)
        archive.agree("bed1", lambda held: held or Places("bed1", START_NS, {STREAM: places}))
        archive.commit(Growth("bed1", START_NS, "utc", {}, (part.grown(0, 9),)))


def _reencoded(path: Path) -> None:
    """From samples that had lost something."""
    with tempfile.TemporaryDirectory() as scratch:
        _whole(heart(), requests=("prdn=3",))(Path(scratch) / "a")
        reencode(Path(scratch) / "a", to=path, quality="prdn=9", workers=1)


CASES: dict[str, Callable[[Path], None]] = {
    "zarr": _whole(patient(), tiny("Bett 2")),
    "parquet": _whole(patient(), tiny("Bett 2"), container="parquet"),
    "zarr_kernels": _whole(heart(), requests=("prdn=5",), effort="default"),
    "parquet_kernels": _whole(heart(), container="parquet", requests=("prdn=5",), effort="default"),
    "zarr_thorough": _whole(heart(), requests=("prdn=9",), effort="thorough"),
    "zarr_sparse": _whole(heart(), requests=("sparse",), effort="default"),
    "zarr_self_contained": _whole(tiny(), self_contained=True),
    "zarr_wide": _whole(wide(), requests=("max-error=200adu",)),
    "parquet_wide": _whole(wide(), container="parquet"),
    "grown": _grown,
    "shared": _shared,
    "reencoded": _reencoded,
}


def listing(path: Path) -> dict[str, Any]:
    """Return what an archive holds, as JSON values: samples and activations as checksums."""
    with sanstream.open(path) as archive:
        return {name: _recording(reader) for name, reader in archive.recordings.items()}


def _recording(reader: Any) -> dict[str, Any]:
    found = reader.read()
    return {
        "start_ns": found.start_ns,
        "timezone": found.timezone,
        "source_format": found.source_format,
        "attributes": dict(found.attributes),
        "streams": [
            _stream(s, reader.streams[s.name], e.segments)
            for s, e in zip(found.streams, reader.manifest.streams, strict=True)
        ],
        "annotations": [
            {"name": a.name, "attributes": dict(a.attributes), "sha256": _digest(a)} for a in found.annotations
        ],
        "parent": dict(reader.manifest.parent),
    }


def _stream(stream: Stream, reader: Any, segments: Sequence[SegmentEntry]) -> dict[str, Any]:
    records = reader.records()
    return {
        "name": stream.name,
        "rate": str(stream.rate),
        "n_samples": stream.n_samples,
        "segments": [
            {
                "start_sample": s.start_sample,
                "shape": list(s.samples.shape),
                "channels": [c.to_dict() for c in s.channels],
                "crc32c": google_crc32c.value(s.samples.astype("<i4").tobytes()),
            }
            for s in stream.segments
        ],
        "stored": [[list(e.qualities), list(e.flags), list(map(list, e.original))] for e in segments],
        "n_records": records.num_rows,
        "records_sha256": hashlib.sha256(json.dumps(records.to_pylist()).encode()).hexdigest(),
    }


def _digest(annotations: Annotations) -> str:
    columns = {k: [str(v.dtype), v.tolist()] for k, v in annotations.columns.items()}
    return hashlib.sha256(json.dumps(columns).encode()).hexdigest()


def pack(folder: Path, target: Path) -> None:
    """Zip a folder; the same files give the same bytes."""
    with zipfile.ZipFile(target, "w") as out:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            info = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _EPOCH)
            out.writestr(info, path.read_bytes(), zipfile.ZIP_DEFLATED)


def main() -> None:
    """Write the archives that are missing, and add them to the list of checksums."""
    FOLDER.mkdir(exist_ok=True)
    sums = FOLDER / "SHA256SUMS"
    lines = sums.read_text(encoding="ascii").splitlines() if sums.exists() else []
    for name, write in CASES.items():
        if (FOLDER / f"{name}.zip").exists():
            continue
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "archive"
            write(path)
            text = json.dumps(listing(path), ensure_ascii=False, indent=1, sort_keys=True)
            pack(path, FOLDER / f"{name}.zip")
        (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        for file in (f"{name}.json", f"{name}.zip"):
            lines.append(f"{hashlib.sha256((FOLDER / file).read_bytes()).hexdigest()}  {file}")
        print(f"wrote {name}", file=sys.stderr)
    sums.write_text("".join(line + "\n" for line in lines), encoding="ascii")


if __name__ == "__main__":
    main()
