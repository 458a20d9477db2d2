"""Finding every changed, truncated, missing or extra file of an archive."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import google_crc32c
import numpy as np

from sanstream.archive_descriptors import descriptor_key, is_descriptor_key
from sanstream.archive_manifest import CATALOG, FIGURES, LIVE, MANIFEST, Manifest, SegmentEntry, read_catalog
from sanstream.archive_objects import Objects
from sanstream.archive_pending import is_ahead, is_growing_key
from sanstream.archive_places import PLACES, Places
from sanstream.archive_read import StreamReader
from sanstream.archive_recording import RecordingReader
from sanstream.archive_sealed import is_sealed
from sanstream.archive_store import RemoteObjects
from sanstream.archive_zarr import ROOT_GROUP
from sanstream.bank import Bank, find_bank, read_bank
from sanstream.decode import decode_block, read_figures
from sanstream.errors import BankError, CorruptError, SanstreamError, UnsupportedError
from sanstream.wire_channels import digest_of

# the figures of blocks stand on a log scale, rounded up; those of the manifest have four digits
_ROUNDING = 1.001
_FINISH = "run: sanstream recover STATE_DIR --to ARCHIVE"


@dataclass(frozen=True)
class Problem:
    """Something in an archive that is not as it was written.

    Parameters
    ----------
    path : str
        Key of the object below the archive's folder.
    what : str
        What is wrong with it.
    """

    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


def find_problems(objects: Objects, *, deep: bool = False, contents: bool = True) -> list[Problem]:
    """Compare an archive with its manifests.

    Parameters
    ----------
    objects : Objects
    deep : bool
        Decode everything as well; compare samples and figures with the manifests.
    contents : bool
        Whether to read what the manifests name; without, only what stands beside the recordings is checked, and
        :func:`find_recording_problems` has the rest.

    Returns
    -------
    list of Problem

    Raises
    ------
    UnsupportedError
        When a newer sanstream wrote the catalog or a manifest.
    """
    problems: list[Problem] = []
    container, names = _catalog(objects, problems)
    present = set(objects.keys())
    here = sorted(k.partition("/")[0] for k in present if k.count("/") == 1 and k.endswith(f"/{MANIFEST}"))
    known = {CATALOG, "zarr.json"} if container != "parquet" else {CATALOG}
    live = _is_live(objects)
    known.update({LIVE} if objects.exists(LIVE) else ())
    fixed = {"banks"}
    banks: dict[str, int] = {}
    problems += _places(objects, present, known)
    for name in dict.fromkeys([*names, *here]):
        known.add(f"{name}/{MANIFEST}")
        found, manifest = _recording(objects, name, container, live, deep=deep, contents=contents)
        problems += found
        if manifest is None:
            known.update(k for k in present if k.startswith(f"{name}/"))
            continue
        fixed.update(() if manifest.grows else (name,))
        banks.update(manifest.banks)
        known.update(f"{name}/{key}" for key in manifest.objects)
    known.update(f"banks/{bank}.sanbank" for bank in banks)
    problems += _banks(objects, banks)
    # without a sound manifest no one can say which banks are in use
    if any(p.path.endswith(f"/{MANIFEST}") for p in problems) or not names:
        known.update(k for k in present if k.startswith("banks/"))
    problems += [
        Problem(key, "no manifest names it")
        for key in sorted(present - known)
        if not _spare(objects, key) and not (live and _is_under_way(key, fixed))
    ]
    return problems


def find_recording_problems(
    objects: Objects, name: str, container: str = "", *, deep: bool = False
) -> tuple[list[Problem], Manifest | None]:
    """Compare one recording with its manifest.

    Parameters
    ----------
    objects : Objects
    name : str
    container : str
        The archive's, where it is known.
    deep : bool
        As for :func:`find_problems`.

    Returns
    -------
    problems : list of Problem
    manifest : Manifest or None
        What was compared with; None where it cannot be read.

    Raises
    ------
    UnsupportedError
        When a newer sanstream wrote the manifest.
    """
    return _recording(objects, name, container, _is_live(objects), deep=deep, contents=True)


def _is_live(objects: Objects) -> bool:
    """Tell whether a daemon may be writing: in an object store, what one that was killed left may be another's."""
    return isinstance(objects, RemoteObjects) or objects.exists(LIVE)


def _recording(
    objects: Objects, name: str, container: str, live: bool, *, deep: bool, contents: bool
) -> tuple[list[Problem], Manifest | None]:
    key = f"{name}/{MANIFEST}"
    try:
        manifest = Manifest.from_bytes(objects.read(key), MANIFEST)
    except SanstreamError as error:
        return [_unreadable(error, objects, key)], None
    problems = []
    if manifest.name != name or (container and manifest.container != container):
        problems.append(Problem(key, f"describes {manifest.container} recording {manifest.name!r}"))
    if contents:
        wrong = list(_objects(objects, manifest, name))
        before = manifest
        if wrong and manifest.grows:
            manifest, wrong = _again(objects, name, live)
        problems += wrong
        if deep:
            problems += _decoded(objects, manifest)
        manifest = replace(manifest, objects={**before.objects, **manifest.objects})
    return problems, manifest


def _catalog(objects: Objects, problems: list[Problem]) -> tuple[str, list[str]]:
    container, names = "", list[str]()
    try:
        container, names = read_catalog(objects.read(CATALOG), CATALOG)
    except SanstreamError as error:
        problems.append(_unreadable(error, objects, CATALOG))
    if container != "parquet" and not objects.exists("zarr.json"):
        if container or not problems:
            problems.append(Problem("zarr.json", "is missing"))
    elif container == "zarr" and objects.read("zarr.json") != ROOT_GROUP:
        problems.append(Problem("zarr.json", "has changed"))
    return container, names


def _places(objects: Objects, present: set[str], known: set[str]) -> Iterator[Problem]:
    """Read what daemons agreed on, also of recordings of which nothing is sealed yet."""
    for key in sorted(filter(is_descriptor_key, present)):
        known.add(key)
        if descriptor_key(digest_of(objects.read(key))) != key:
            yield Problem(key, "has changed (its name is its hash)")
    for key in sorted(k for k in present if k.count("/") == 1 and k.endswith(f"/{PLACES}")):
        known.add(key)
        try:
            Places.from_bytes(objects.read(key), PLACES)
        except SanstreamError as error:
            yield _unreadable(error, objects, key)


def _objects(objects: Objects, manifest: Manifest, name: str) -> Iterator[Problem]:
    for key, (size, digest) in manifest.objects.items():
        yield from _object(objects, f"{name}/{key}", size, digest)


def _again(objects: Objects, name: str, live: bool) -> tuple[Manifest, list[Problem]]:
    """Look again at a growing recording: its daemon may have committed meanwhile, or may be about to."""
    manifest = Manifest.from_bytes(objects.read(f"{name}/{MANIFEST}"), MANIFEST)
    wrong = []
    for problem in _objects(objects, manifest, name):
        if not is_ahead(objects, manifest, problem.path):
            wrong.append(problem)
        elif not live:
            wrong.append(Problem(problem.path, f"is ahead of {MANIFEST}: a commit was cut off; {_FINISH}"))
    return manifest, wrong


def _banks(objects: Objects, banks: dict[str, int]) -> Iterator[Problem]:
    for bank, size in sorted(banks.items()):
        yield from _object(objects, f"banks/{bank}.sanbank", size, bank)


def _object(objects: Objects, key: str, size: int, digest: str) -> Iterator[Problem]:
    try:
        data = objects.read(key)
    except CorruptError:
        yield Problem(key, "is missing")
        return
    if len(data) != size:
        yield Problem(key, f"has {len(data)} bytes, {size} were written")
    elif hashlib.sha256(data).hexdigest() != digest:
        yield Problem(key, "has changed (SHA-256 differs)")


def _decoded(objects: Objects, manifest: Manifest) -> Iterator[Problem]:
    def own_bank(bank_id: str) -> Bank:
        try:
            return find_bank(bank_id)
        except BankError:
            return read_bank(objects.read(f"banks/{bank_id}.sanbank"), f"bank {bank_id[:12]}")

    reader = RecordingReader(manifest, objects, own_bank)
    try:
        for stream in reader.streams.values():
            for segment in stream.entry.segments:
                where = f"{manifest.name}/{stream.name}/{segment.name}"
                try:
                    yield from (Problem(where, what) for what in _segment(stream, segment))
                except SanstreamError as error:
                    yield Problem(where, str(error))
        try:
            _ = reader.annotations
        except SanstreamError as error:
            yield Problem(f"{manifest.name}/annotations", str(error))
    finally:
        reader.close()


def _segment(stream: StreamReader, segment: SegmentEntry) -> Iterator[str]:
    """Decode one segment block by block, and compare samples and figures with the manifest."""
    coding, bank = stream.coding(segment), stream.bank(segment)
    crc, windows, n_samples = 0, 0, 0
    worst = np.zeros(coding.n_channels)
    square, present = np.zeros(coding.n_channels), np.zeros(coding.n_channels)
    codes = np.array([np.iinfo(np.int64).max if m is None else m for m in coding.missing])
    for number in range(segment.n_blocks):
        payload = stream.blocks(segment, number, number + 1)[0]
        samples = decode_block(payload, number, coding, bank)
        figures = read_figures(payload, number, coding, bank)
        crc = google_crc32c.extend(crc, np.ascontiguousarray(samples, dtype="<i4").tobytes())
        windows += len(figures.rmse_adu)
        n_samples += len(samples)
        worst = np.maximum(worst, np.max(figures.max_error_adu, axis=0, initial=0))
        present += np.count_nonzero(samples != codes, axis=0)
        square += np.sum(np.square(figures.rmse_adu), axis=0) * coding.window_samples
        if figures.n_samples != len(samples):
            yield f"block {number}: {len(samples)} samples, its header says {figures.n_samples}"
    if (n_samples, windows) != (segment.n_samples, segment.n_windows):
        yield (
            f"{n_samples} samples in {windows} windows, the manifest says {segment.n_samples} in {segment.n_windows}"
        )
    if crc != segment.samples_crc:
        yield "decodes to other samples than it was written with"
    for place, row in enumerate(segment.reached):
        reached = dict(zip(FIGURES, row, strict=True))
        rms = (square[place] / max(1.0, present[place])) ** 0.5
        for name, found in (("max_error_adu", worst[place]), ("rmse_adu", rms)):
            if reached[name] > found * _ROUNDING:
                label = segment.channels[place].label
                yield f"channel {label!r}: {name} {reached[name]:g} in the manifest, at most {found:.4g} in its blocks"


def _is_under_way(key: str, fixed: set[str]) -> bool:
    """Tell whether a commit may have written an object that its recording's manifest does not name yet, or any more."""
    name, _, rest = key.partition("/")
    return name not in fixed and is_growing_key(rest)


def _spare(objects: Objects, key: str) -> bool:
    """Tell whether it is a sound bank that nothing uses, as an interrupted append leaves it."""
    folder, _, name = key.partition("/")
    if folder != "banks" or not name.endswith(".sanbank"):
        return False
    return hashlib.sha256(objects.read(key)).hexdigest() == name.removesuffix(".sanbank")


def _unreadable(error: SanstreamError, objects: Objects, key: str) -> Problem:
    """Name what is wrong with a catalog or manifest; one that is sound, but newer, is no problem of the archive."""
    if not objects.exists(key):
        return Problem(key, "is missing")
    if isinstance(error, UnsupportedError) and is_sealed(objects.read(key)):
        raise error
    return Problem(key, str(error).removeprefix(f"{key.rpartition('/')[2]}: "))
