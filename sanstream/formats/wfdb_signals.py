"""WFDB signal files: one segment's samples read and written, raw (before skew is taken out)."""

from __future__ import annotations

import base64
import errno
import warnings
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream.errors import InputError, UnsupportedError
from sanstream.formats import wfdb_encode
from sanstream.formats.wfdb_header import Header, SignalLine

IntArray = npt.NDArray[np.integer[Any]]

RANGE = {
    "8": (-(2**31), 2**31 - 1, None),
    **dict.fromkeys(("80", "508"), (-(2**7), 2**7 - 1, -(2**7))),
    **dict.fromkeys(("310", "311"), (-(2**9), 2**9 - 1, -(2**9))),
    "212": (-(2**11), 2**11 - 1, -(2**11)),
    **dict.fromkeys(("16", "61", "160", "516"), (-(2**15), 2**15 - 1, -(2**15))),
    **dict.fromkeys(("24", "524"), (-(2**23), 2**23 - 1, -(2**23))),
    "32": (-(2**31), 2**31 - 1, -(2**31)),
}
"""Smallest and largest integer and missing code of each signal format (signal(5))."""

FLAC = ("508", "516", "524")
_MAX_PROLOG_BYTES = 4096


@dataclass(frozen=True)
class RawSegment:
    """Samples of one segment as its signal files hold them.

    Parameters
    ----------
    n_frames : int
        Length of the segment.
    samples : tuple of ndarray or None
        Per signal, shape (at least n_frames * samples_per_frame,); longer where the file goes on
        and the signal is skewed. None for a signal without a file (format 0).
    prologs : dict
        Per file, base64 of the bytes before the samples.
    file_frames : int
        Frames in the files, as far as they matter.
    longer : dict
        Frames of each file that goes on after the record and its skew.
    """

    n_frames: int
    samples: tuple[IntArray | None, ...]
    prologs: dict[str, str]
    file_frames: int
    longer: dict[str, int]


def groups(signals: tuple[SignalLine, ...]) -> dict[str, list[int]]:
    """Return the signal numbers of each signal file, in order."""
    out: dict[str, list[int]] = {}
    for number, line in enumerate(signals):
        if line.fmt != "0" and line.file != "~":
            out.setdefault(line.file, []).append(number)
    return out


def _bytes_needed(fmt: str, n: int) -> int:
    if fmt == "212":
        return ceil(n * 3 / 2)
    if fmt in ("310", "311"):
        return n // 3 * 4 + (0, 2, 4 if fmt == "310" else 3)[n % 3]
    return n * {"8": 1, "80": 1, "16": 2, "61": 2, "160": 2, "24": 3, "32": 4}[fmt]


def _frames_in(path: Path, lines: list[SignalLine]) -> int:
    """Return how many whole frames a signal file holds."""
    fmt, offset = lines[0].fmt, lines[0].offset
    per_frame = sum(line.samples_per_frame for line in lines)
    if fmt in FLAC:
        import soundfile

        try:
            length = int(soundfile.info(str(path)).frames)
        except (RuntimeError, OSError) as error:
            raise InputError(f"{path}: not a sound FLAC file: {error}", hint="fetch the file again") from error
        return max(0, length - offset) // lines[0].samples_per_frame
    size = max(0, path.stat().st_size - offset)
    frames = int(size / _bytes_needed(fmt, 6) * 6 / per_frame) + 1
    while frames and _bytes_needed(fmt, frames * per_frame) > size:
        frames -= 1
    return frames


def _check(header: Header, folder: Path, where: str) -> tuple[int, dict[str, int]]:
    """Check that all signal files are there and long enough; return record and file lengths in frames."""
    held = []
    for name, numbers in groups(header.signals).items():
        lines = [header.signals[i] for i in numbers]
        if lines[0].fmt not in RANGE:
            raise UnsupportedError(
                f"{where}: signal format {lines[0].fmt!r} of {name}", hint=f"known formats: {', '.join(RANGE)}"
            )
        if len({line.fmt for line in lines}) > 1 or len({line.offset for line in lines}) > 1:
            raise InputError(f"{where}: {name} has several formats or offsets", hint="repair the header")
        if not (folder / name).is_file():
            raise InputError(f"{where}: signal file {name} is not in {folder}", hint="fetch it beside the header")
        held.append((_frames_in(folder / name, lines), name))
    if not held:
        raise InputError(f"{where}: no signal has samples", hint="name a record with a signal file")
    shortest, name = min(held)
    n_frames = header.n_frames if header.n_frames is not None else shortest
    if shortest < n_frames:
        raise InputError(
            f"{where}: {n_frames} frames announced, {name} holds {shortest}",
            hint="the file is cut short; fetch it again",
        )
    if n_frames == 0:
        raise InputError(f"{where}: the record holds no samples", hint="name a record with samples")
    return n_frames, {name: frames for frames, name in held}


def read_segment(header: Header, folder: Path, stem: str) -> RawSegment:
    """Read all signals of a segment through ``wfdb`` (format 61 aside).

    Raises
    ------
    InputError
        When a file is missing or cut short.
    UnsupportedError
        On an unknown signal format.
    """
    where = str(folder / f"{stem}.hea")
    n_frames, held = _check(header, folder, where)
    file_frames = min(held.values())
    samples: list[IntArray | None] = [None] * len(header.signals)
    by_library: list[int] = []
    skew = max(line.skew for line in header.signals)
    for name, numbers in groups(header.signals).items():
        if header.signals[numbers[0]].fmt == "61":
            parts = _read_61(folder / name, [header.signals[i] for i in numbers], min(file_frames, n_frames + skew))
            for number, part in zip(numbers, parts, strict=True):
                samples[number] = part
        else:
            by_library += numbers
    by_library.sort()
    raw = _rdrecord(folder / stem, by_library, where, ignore_skew=True) if by_library else []
    if by_library and skew and file_frames > n_frames:
        aligned = _rdrecord(folder / stem, by_library, where, ignore_skew=False)
        for k, number in enumerate(by_library):
            line = header.signals[number]
            first = (n_frames - min(line.skew, n_frames)) * line.samples_per_frame
            more = min(file_frames - n_frames, line.skew) * line.samples_per_frame
            raw[k] = np.concatenate([raw[k], aligned[k][first : first + more]])
    for number, part in zip(by_library, raw, strict=True):
        samples[number] = part
    prologs = {}
    for name, numbers in groups(header.signals).items():
        line = header.signals[numbers[0]]
        if line.fmt not in FLAC and 0 < line.offset <= _MAX_PROLOG_BYTES:
            with (folder / name).open("rb") as file:
                prologs[name] = base64.b64encode(file.read(line.offset)).decode("ascii")
    longer = {name: n for name, n in held.items() if header.n_frames is not None and n > n_frames + skew}
    return RawSegment(n_frames, tuple(samples), prologs, min(file_frames, n_frames + skew), longer)


def _read_61(path: Path, lines: list[SignalLine], n_frames: int) -> list[IntArray]:
    """Read a file of format 61, on whose byte order ``wfdb`` 4.3.1 stumbles when it returns integers."""
    counts = [line.samples_per_frame for line in lines]
    data = np.fromfile(path, dtype=">i2", offset=lines[0].offset, count=n_frames * sum(counts))
    frames = data.astype(np.int64).reshape(n_frames, sum(counts))
    return [part.reshape(-1) for part in np.split(frames, np.cumsum(counts)[:-1], axis=1)]


def _rdrecord(stem: Path, wanted: list[int], where: str, *, ignore_skew: bool) -> list[IntArray]:
    import wfdb

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            record = wfdb.rdrecord(
                str(stem), physical=False, smooth_frames=False, ignore_skew=ignore_skew, channels=wanted
            )
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{where}: wfdb cannot read it: {reason}", hint="check the record at its source") from error
    return [np.asarray(signal) for signal in record.e_d_signal]


def fitting_format(fmt: str, signals: list[IntArray]) -> str:
    """Return ``fmt`` when it can hold the samples exactly, else the smallest plain format that can."""
    low = min((int(s.min()) for s in signals if s.size), default=0)
    high = max((int(s.max()) for s in signals if s.size), default=0)
    if fmt in RANGE and RANGE[fmt][0] <= low and high <= RANGE[fmt][1]:
        return fmt
    for candidate in ("80", "212", "16", "24", "32"):
        bottom, top, _ = RANGE[candidate]
        if bottom < low and high <= top:
            return candidate
    return "32"


def write_file(path: Path, fmt: str, signals: list[IntArray], per_frame: list[int], initial: list[int]) -> None:
    """Write one signal file.

    Parameters
    ----------
    path : Path
    fmt : str
        Signal format; 8, 61, 160, 310 and 311 are written here, all others by ``wfdb``.
    signals : list of ndarray
        Per signal, shape (n_frames * samples per frame,).
    per_frame : list of int
        Samples per frame of each signal.
    initial : list of int
        Value before the first sample of each signal, used by format 8.

    Raises
    ------
    OSError
        When the disk refuses.
    """
    if fmt in wfdb_encode.OWN:
        path.write_bytes(wfdb_encode.encode(fmt, signals, per_frame, initial))
        return
    import wfdb

    n = len(signals)
    record = wfdb.Record(
        record_name=path.stem,
        n_sig=n,
        fmt=[fmt] * n,
        samps_per_frame=per_frame,
        file_name=[path.name] * n,
        e_d_signal=[s.astype(np.int64) for s in signals],
    )
    try:
        record.wr_dat_files(expanded=True, write_dir=str(path.parent))
        if fmt in FLAC:
            whole = _flac_length(path) == signals[0].size
        else:
            whole = path.stat().st_size >= _bytes_needed(fmt, sum(s.size for s in signals))
    except RuntimeError as error:  # of libsndfile, which does not say what the system said
        raise OSError(errno.EIO, f"{path.name} cannot be written ({str(error).rstrip('.')})") from error
    if not whole:  # the libraries keep a full disk to themselves
        raise OSError(errno.ENOSPC, f"{path.name} cannot be written whole")


def _flac_length(path: Path) -> int:
    """Count the samples that a FLAC file gives; a full disk leaves a sound header before missing ones."""
    import soundfile

    with soundfile.SoundFile(str(path)) as file:
        return sum(len(block) for block in file.blocks(2**20, dtype="int32", always_2d=True))


def add_prolog(path: Path, prolog: bytes) -> None:
    """Put bytes before the samples of a signal file just written."""
    path.write_bytes(prolog + path.read_bytes())
