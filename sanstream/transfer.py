"""The verbs that join formats and archive: archive(sources) and restore(archive)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from sanstream import formats
from sanstream.archive import Archive
from sanstream.archive import open as open_archive
from sanstream.archive_encode import Progress
from sanstream.archive_objects import local_path
from sanstream.archive_read import When
from sanstream.archive_recording import RecordingReader
from sanstream.archive_write import ArchiveWriter
from sanstream.bank_places import choose_bank
from sanstream.errors import InputError, RestoreError, SanstreamError
from sanstream.formats.labels import safe_name
from sanstream.quality import tightened
from sanstream.transfer_deidentify import deidentify as without_identity

EFFORTS = ("fast", "default", "thorough")


def archive(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    to: str | os.PathLike[str],
    quality: str | Sequence[str] = (),
    effort: str = "default",
    bank: str | None = None,
    container: str | None = None,
    append: bool = False,
    deidentify: bool = False,
    self_contained: bool = False,
    rate: Fraction | None = None,
    unit: str | None = None,
    device: str | None = None,
    progress: Progress | None = None,
    block_s: float | None = None,
    apart: bool = False,
) -> dict[str, Any]:
    """Archive recordings.

    Parameters
    ----------
    sources : path or sequence of paths
        Files of any format in :data:`sanstream.formats.FORMATS`; each becomes a recording.
    to : path
        The new archive; it appears whole, or not at all.
    quality : str or sequence of str
        ``"prdn=5"``, ``"PLETH=lossless"``; default ``"lossless"``.
    effort : str
        ``"fast"``, ``"default"`` or ``"thorough"``.
    bank : str, optional
        Name of a bank, the first digits of its SHA-256, or a ``.sanbank`` file. Default: chosen by the encoder.
    container : str, optional
        ``"zarr"`` (default) or ``"parquet"``.
    append : bool
        Add to the archive that stands at ``to``.
    deidentify : bool
        Leave out what names the patient: see :func:`sanstream.transfer_deidentify.deidentify`.
    self_contained : bool
        Put whole banks into the arrays' metadata.
    rate : Fraction, optional
        Samples per second of sources that do not say (CSV, NumPy).
    unit : str, optional
        Unit of sources that do not say.
    device : str, optional
        Torch device of the encoder.
    progress : callable, optional
        Takes a recording's name, the samples done and the samples in all.
    block_s : float, optional
        Block length in seconds, 1 to 60: a short read decodes whole blocks. Default: 60.
    apart : bool
        Let every channel decode alone, at the price of what channels tell about each other.

    Returns
    -------
    dict
        ``{"recordings": [names], "coded_bytes": int, "n_samples": int, "notes": [str]}`` of what was
        added; samples of all channels; notes say where a bound became lossless, and what is odd
        about a source.

    Raises
    ------
    InputError
        On a source that cannot be read, an unknown quality or effort, a target that is not empty, or
        a full disk. Nothing is left behind then.
    BankError
        When the bank is not there.

    Examples
    --------
    >>> sanstream.archive("100", to="100.san", quality="prdn=5")  # doctest: +SKIP
    """
    paths = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
    requests = [quality] if isinstance(quality, str) else list(quality)
    if effort not in EFFORTS:
        raise InputError(f"effort {effort!r} is unknown", hint=f"use {', '.join(EFFORTS)}")
    chosen = None if bank is None else choose_bank(bank).bank
    done: dict[str, Any] = {"recordings": [], "coded_bytes": 0, "n_samples": 0, "notes": []}
    with ArchiveWriter(to, container=container, append=append, self_contained=self_contained) as writer:
        for number, path in enumerate(formats.distinct(paths), start=1):
            recording = formats.read(Path(path), rate=rate, unit=unit)
            odd = formats.notes(recording)
            stem = Path(path).stem
            if stem != recording.name == safe_name(stem) and not deidentify:
                odd = [f"so named since {stem!r} is not of ASCII letters, digits and _.-", *odd]
            if not deidentify and writer.free_name(recording.name) != recording.name:
                raise InputError(
                    f"{path}: the archive holds a recording {recording.name!r} already",
                    hint="rename the file; of other letters than ASCII's a name keeps none",
                )
            if deidentify:
                recording = without_identity(recording, name=writer.free_name(f"recording{number}"))
            manifest = writer.add(
                recording,
                requests,
                effort=effort,
                bank=chosen,
                device=device,
                progress=progress,
                block_s=block_s,
                apart=apart,
            )
            segments = [g for s in manifest.streams for g in s.segments]
            notes = dict.fromkeys(n for g in segments for n in tightened(requests, g.channels))
            done["notes"] += [f"{manifest.name}, {note}" for note in [*odd, *notes]]
            done["recordings"].append(manifest.name)
            done["coded_bytes"] += sum(g.coded_bytes for g in segments)
            done["n_samples"] += sum(g.n_samples * g.coding.n_channels for g in segments)
        writer.commit()
    return done


def restore(
    archive: str | os.PathLike[str],
    *,
    to: str | os.PathLike[str],
    recording: str | None = None,
    format: str | None = None,
    t0: When = None,
    t1: When = None,
) -> list[Path]:
    """Write recordings of an archive back as files; one that cannot be written leaves none and holds up no other.

    Parameters
    ----------
    archive : path
    to : path
        Folder for the files; made when missing.
    recording : str, optional
        One of the archive's recordings; default: all.
    format : str, optional
        One of :data:`sanstream.formats.FORMATS`; default: the format that each came from.
    t0, t1 : float, Fraction, int, str or Time, optional
        Restore only ``[t0, t1)``: seconds from the start, a sample (int) of the first stream, or text.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    RestoreError
        When some of several recordings could not be written; it names them, and the files of all others.
    InputError
        On an unknown recording or format; for a single recording also on a time that is not there, or a full disk.
    CorruptError
        When the archive has changed.
    """
    if format is not None and format not in formats.FORMATS:
        raise InputError(f"format {format!r} is unknown", hint=f"use {', '.join(formats.FORMATS)}")
    folder = local_path(to)
    before = {folder, *folder.rglob("*")} if folder.exists() else set()
    written: list[Path] = []
    failures: dict[str, SanstreamError] = {}
    try:
        with open_archive(archive) as held:
            names = _choose(held, recording, archive)
            for name in names:
                try:
                    written += _restore_one(held.recordings[name], folder, format, t0, t1)
                except SanstreamError as error:
                    if len(names) == 1:
                        raise
                    failures[name] = error
    except BaseException:
        for path in [p for p in written if p not in before]:
            path.unlink(missing_ok=True)
        raise
    if failures:
        raise RestoreError(failures, written)
    return written


def convert(
    source: str | os.PathLike[str],
    *,
    to: str | os.PathLike[str],
    container: str,
    recording: str | None = None,
    append: bool = False,
    self_contained: bool = False,
) -> list[str]:
    """Copy an archive, or one of its recordings, into another container; blocks stay as they are.

    Parameters
    ----------
    source : path
        An archive.
    to : path
        The new archive.
    container : str
        ``"zarr"`` or ``"parquet"``.
    recording : str, optional
        One of the archive's recordings; default: all.
    append : bool
        Add to the archive that stands at ``to``.
    self_contained : bool
        Put whole banks into the arrays' metadata.

    Returns
    -------
    list of str
        The recordings copied.

    Raises
    ------
    InputError
        On an unknown recording, a target that is not empty, or a full disk.
    CorruptError
        When the source has changed.
    """
    with (
        open_archive(source, live=False) as held,
        ArchiveWriter(to, container=container, append=append, self_contained=self_contained) as writer,
    ):
        names = _choose(held, recording, source)
        for name in names:
            writer.copy(held.recordings[name])
        writer.commit()
    return names


def _choose(held: Archive, recording: str | None, where: str | os.PathLike[str]) -> list[str]:
    if recording is None:
        return list(held.recordings)
    if recording not in held.recordings:
        raise InputError(f"{where}: holds no recording {recording!r}", hint=f"it holds {_some(list(held.recordings))}")
    return [recording]


def _restore_one(reader: RecordingReader, to: Path, format: str | None, t0: When, t1: When) -> list[Path]:
    whole = reader.read(t0, t1)
    return formats.write(replace(whole, name=reader.name), to, format=format or reader.source_format)


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
