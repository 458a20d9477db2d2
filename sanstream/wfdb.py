"""Archives read as the ``wfdb`` package reads records: ``import sanstream.wfdb as wfdb``.

A record is named ``ARCHIVE/RECORDING``, or ``ARCHIVE`` alone where it holds one; archives may stand in object stores.
What comes back are ``wfdb``'s own ``Record`` and ``Annotation`` objects.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from wfdb import Annotation, Record
from wfdb import rdann as _rdann

from sanstream.archive import Archive
from sanstream.archive import open as open_archive
from sanstream.archive_manifest import CATALOG
from sanstream.archive_recording import RecordingReader
from sanstream.archive_store import remote_scheme
from sanstream.errors import InputError, UnsupportedError
from sanstream.formats import wfdb_annotations
from sanstream.wfdb_records import NAME, header_of, header_text, one_calibration, physical_of, samples_of

__all__ = ["rdann", "rdheader", "rdrecord", "rdsamp"]


def rdheader(record_name: str, pn_dir: str | None = None, rd_segments: bool = False) -> Record:
    """Read a record's header.

    Parameters
    ----------
    record_name : str
        ``ARCHIVE/RECORDING`` or ``ARCHIVE``.
    pn_dir : str, optional
        Refused: archives are not on PhysioNet.
    rd_segments : bool
        Without effect: several segments are one record here.

    Returns
    -------
    wfdb.Record
        Of a recording that was one WFDB record of one segment the header is the source's; of any other it is made:
        signal formats ``16`` or ``32``, no file names, no checksums.

    Raises
    ------
    InputError
        When there is no such archive or recording.
    """
    with _recording(record_name, pn_dir) as recording:
        return header_of(recording)[0]


def rdrecord(
    record_name: str,
    sampfrom: int = 0,
    sampto: int | None = None,
    channels: Sequence[int] | None = None,
    physical: bool = True,
    pn_dir: str | None = None,
    m2s: bool = True,
    smooth_frames: bool = True,
    ignore_skew: bool = False,
    return_res: int = 64,
    force_channels: bool = True,
    channel_names: Sequence[str] | None = None,
    warn_empty: bool = False,
) -> Record:
    """Read a record, or a stretch of it; only the blocks and channels asked for are decoded.

    Parameters
    ----------
    record_name : str
        ``ARCHIVE/RECORDING`` or ``ARCHIVE``.
    sampfrom, sampto : int
        First frame, and one past the last.
    channels, channel_names
        Numbers or names of the signals wanted, as ``wfdb`` takes them; names take precedence.
    physical : bool
        Fill ``p_signal`` (physical units, NaN where missing) rather than ``d_signal``.
    pn_dir : str, optional
        Refused: archives are not on PhysioNet.
    m2s, force_channels : bool
        Without effect: several segments are one record here, which has all signals.
    smooth_frames : bool
        Average the samples of a frame; else ``e_p_signal`` and ``e_d_signal`` have them all.
    ignore_skew : bool
        Refused where a signal has skew: archives hold signals aligned.
    return_res : int
        8, 16, 32 or 64.
    warn_empty : bool
        Say on stdout, as ``wfdb`` does, when no such signal is there.

    Returns
    -------
    wfdb.Record
        What ``wfdb.rdrecord`` gives for the source, as far as the quality allows.

    Raises
    ------
    InputError
        When there is no such archive, recording or stretch.
    CorruptError
        When something read has changed.
    UnsupportedError
        When samples are asked for as they are stored, and a signal's gain or baseline change between segments.
    """
    with _recording(record_name, pn_dir) as recording:
        record, columns = header_of(recording)
        length = int(record.sig_len)
        stop = length if sampto is None else sampto
        if not 0 <= sampfrom <= stop <= length or (sampfrom == stop and length):
            raise InputError(
                f"{record_name}: frames {sampfrom} to {stop} of {length}", hint="use 0 <= sampfrom < sampto"
            )
        wanted = _wanted(record, record_name, channels, channel_names)
        if ignore_skew and any(record.skew[c] for c in wanted):
            raise UnsupportedError(f"{record_name}: signals are aligned in archives", hint="leave ignore_skew out")
        record.check_read_inputs(sampfrom, stop, wanted, physical, smooth_frames, return_res)
        if not wanted:
            if warn_empty:
                print("None of the specified signals were contained in the record")
            return _without_signals(record)
        own = [columns[c] for c in wanted]
        changing = {i for i, (stream, label) in enumerate(own) if not one_calibration(stream, label)}
        if changing and not physical:
            raise UnsupportedError(
                f"{record_name}: gain or baseline of {own[min(changing)][1]!r} change between segments",
                hint="read it with physical=True; a header has one of each",
            )
        record.e_d_signal = samples_of(record, own, wanted, sampfrom, stop)
        values = {i: physical_of(record, *own[i], wanted[i], sampfrom, stop) for i in changing}
    if not physical and return_res < 64:
        record.e_d_signal = [_narrowed(x, return_res, record_name) for x in record.e_d_signal]
    record._arrange_fields(channels=wanted, sampfrom=sampfrom, smooth_frames=smooth_frames)
    if physical:
        record.dac(expanded=not smooth_frames, return_res=return_res, inplace=True)
        for i, x in values.items():
            if smooth_frames:
                record.p_signal[:, i] = x.reshape(len(record.p_signal), -1).mean(axis=1)
            else:
                record.e_p_signal[i] = x.astype(record.e_p_signal[i].dtype)
    record.convert_dtype(physical, return_res, smooth_frames)
    return record


def rdsamp(
    record_name: str,
    sampfrom: int = 0,
    sampto: int | None = None,
    channels: Sequence[int] | None = None,
    pn_dir: str | None = None,
    channel_names: Sequence[str] | None = None,
    warn_empty: bool = False,
    return_res: int = 64,
) -> tuple[npt.NDArray[Any], dict[str, Any]]:
    """Read physical signals and the fields that most scripts want.

    Parameters
    ----------
    record_name, sampfrom, sampto, channels, pn_dir, channel_names, warn_empty, return_res
        As for :func:`rdrecord`.

    Returns
    -------
    signals : ndarray, shape (n_frames, n_signals)
    fields : dict
        ``fs, sig_len, n_sig, base_date, base_time, units, sig_name, comments``.
    """
    record = rdrecord(
        record_name, sampfrom, sampto, channels, True, pn_dir, return_res=return_res, channel_names=channel_names,
        warn_empty=warn_empty,
    )  # fmt: skip
    names = ("fs", "sig_len", "n_sig", "base_date", "base_time", "units", "sig_name", "comments")
    return record.p_signal, {name: getattr(record, name) for name in names}


def rdann(
    record_name: str,
    extension: str,
    sampfrom: int = 0,
    sampto: int | None = None,
    shift_samps: bool = False,
    pn_dir: str | None = None,
    return_label_elements: Sequence[str] = ("symbol",),
    summarize_labels: bool = False,
) -> Annotation:
    """Read the annotations of one annotator.

    Parameters
    ----------
    record_name : str
        ``ARCHIVE/RECORDING`` or ``ARCHIVE``.
    extension : str
        Annotator, such as ``"atr"``; the set's name in the archive.
    sampfrom, sampto, shift_samps, return_label_elements, summarize_labels
        As ``wfdb.rdann`` takes them.
    pn_dir : str, optional
        Refused: archives are not on PhysioNet.

    Returns
    -------
    wfdb.Annotation

    Raises
    ------
    InputError
        When there is no such archive, recording or annotator.
    """
    with _recording(record_name, pn_dir) as recording, tempfile.TemporaryDirectory() as folder:
        sets = {a.name: a for a in recording.annotations}
        if extension not in sets:
            held = f"it has {', '.join(sets)}" if sets else "it has none"
            raise InputError(f"{record_name}: no annotations {extension!r}", hint=held)
        text, rate, _ = header_text(recording)
        data = wfdb_annotations.to_bytes(sets[extension], rate)
        (Path(folder) / f"{NAME}.{extension}").write_bytes(data)
        (Path(folder) / f"{NAME}.hea").write_text(text, encoding="utf-8")
        found = _rdann(
            str(Path(folder) / NAME), extension, sampfrom=sampfrom, sampto=sampto, shift_samps=shift_samps,
            return_label_elements=list(return_label_elements), summarize_labels=summarize_labels,
        )  # fmt: skip
        found.record_name = recording.name
        return found


@contextmanager
def _recording(record_name: str, pn_dir: str | None) -> Iterator[RecordingReader]:
    """Open the archive that a record name begins with; it is closed afterwards."""
    if pn_dir is not None:
        raise UnsupportedError(
            f"pn_dir={pn_dir!r}: archives are not on PhysioNet", hint="use wfdb.dl_database, then archive"
        )
    place, name = _split(os.fspath(record_name).rstrip("/"))
    with open_archive(place) as archive:
        yield _named(archive, place, name)


def _split(text: str) -> tuple[str, str]:
    """Return the archive's place, and the recording's name or nothing."""
    parent, _, name = text.rpartition("/")
    if remote_scheme(text):
        if parent.endswith(("/", ":")):
            return text, ""
        with open_archive(parent) as archive:
            try:
                return (parent, name) if name in archive.recordings else (text, "")
            except InputError:
                return text, ""
    here = text.removeprefix("file://")
    if (Path(here) / CATALOG).is_file() or not (Path(here).parent / CATALOG).is_file():
        return text, ""
    return parent or ".", name


def _named(archive: Archive, place: str, name: str) -> RecordingReader:
    names = list(archive.recordings)
    if not name and len(names) == 1:
        name = names[0]
    if name not in names:
        some = ", ".join(f"{place}/{n}" for n in names[:3])
        what = f"no recording {name!r}" if name else f"{len(names)} recordings"
        raise InputError(f"{place}: {what}", hint=f"name one, such as {some}")
    return archive.recordings[name]


def _wanted(
    record: Record, name: str, channels: Sequence[int] | None, channel_names: Sequence[str] | None
) -> list[int]:
    if channel_names is not None:
        first = {label: i for i, label in reversed(list(enumerate(record.sig_name)))}
        return [first[label] for label in channel_names if label in first]
    if channels is None:
        return list(range(record.n_sig))
    if any(not 0 <= c < record.n_sig for c in channels):
        raise InputError(f"{name}: channels {list(channels)}", hint=f"it has 0 to {record.n_sig - 1}")
    return list(channels)


def _without_signals(record: Record) -> Record:
    empty = Record()
    for name in ("record_name", "fs", "counter_freq", "base_counter", "base_time", "base_date", "base_datetime"):
        setattr(empty, name, getattr(record, name, None))
    empty.comments = record.comments
    empty.n_sig = empty.sig_len = 0
    return empty


def _narrowed(samples: npt.NDArray[Any], bits: int, name: str) -> npt.NDArray[Any]:
    info = np.iinfo(f"int{bits}")
    if len(samples) and not info.min <= samples.min() <= samples.max() <= info.max:
        raise InputError(f"{name}: samples do not fit {bits} bits", hint="use return_res=64")
    return samples.astype(info.dtype)
