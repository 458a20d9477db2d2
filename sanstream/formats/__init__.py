"""Reading and writing recordings: WFDB, EDF and BDF, CSV, Parquet, NumPy. One module per format."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from types import ModuleType

from sanstream.errors import InputError, SanstreamError, UnsupportedError
from sanstream.formats.events import write_events
from sanstream.signal import Recording

FORMATS = ("wfdb", "edf", "bdf", "csv", "parquet", "npy")
"""Names of the formats that can be read and written."""

_SUFFIXES = {
    ".hea": "wfdb",
    ".edf": "edf",
    ".bdf": "bdf",
    ".rec": "edf",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".npy": "npy",
}
_MODULES = {"bdf": "edf"}
_INTEGERS = ("wfdb", "edf", "bdf")

__all__ = ["FORMATS", "detect", "distinct", "notes", "read", "write"]


def _module(name: str) -> ModuleType:
    return import_module(f"sanstream.formats.{_MODULES.get(name, name)}")


def detect(source: str | Path) -> str:
    """Name the format of a source, by its suffix, a header beside it, or its first bytes.

    Raises
    ------
    InputError
        When there is no such file, or it is none of the formats.
    """
    path = Path(source)
    if path.is_dir():
        raise InputError(f"{path} is a folder; a recording is a file", hint="name a record or file inside it")
    by_suffix = _SUFFIXES.get(path.suffix.lower())
    if by_suffix and by_suffix != "wfdb":
        if not path.exists():
            raise InputError(f"{path}: no such file", hint="check the path")
        return by_suffix
    header = path if path.suffix.lower() == ".hea" else Path(f"{path}.hea")
    if header.is_file() or path.with_suffix(".hea").is_file():
        return "wfdb"
    if not path.exists():
        raise InputError(f"{path}: no such file, and no header {header.name} beside it", hint="check the path")
    with path.open("rb") as file:
        start = file.read(8)
    for magic, name in ((b"\xffBIOSEMI", "bdf"), (b"\x93NUMPY", "npy"), (b"PAR1", "parquet"), (b"0       ", "edf")):
        if start.startswith(magic):
            return name
    raise UnsupportedError(
        f"{path}: unknown kind of file (first bytes {start!r})",
        hint="use a WFDB record with its .hea, or .edf, .bdf, .csv, .parquet or .npy",
    )


def distinct(sources: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Drop further files of a WFDB record that is there already, as ``record.*`` of a shell names them all."""
    kept: list[Path] = []
    for path in map(Path, sources):
        longer = Path(f"{path}.hea")
        header = longer if longer.is_file() else path.with_suffix(".hea")
        of_record = header.is_file() and detect(path) == "wfdb"
        if not of_record:
            kept.append(path)
        elif header not in kept:
            kept.append(header)
    return kept


def read(source: str | Path, *, rate: Fraction | None = None, unit: str | None = None) -> Recording:
    """Read a recording.

    Parameters
    ----------
    source : str or Path
        A WFDB record with or without extension, or an EDF, BDF, CSV, Parquet or ``.npy`` file.
    rate : Fraction, optional
        Samples per second, for CSV, Parquet and ``.npy`` files that do not say it themselves.
    unit : str, optional
        Physical unit, likewise.

    Returns
    -------
    Recording

    Raises
    ------
    InputError
        When the source is missing, truncated, or contradicts its header.
    UnsupportedError
        When it is sound but cannot be held exactly.
    """
    path = Path(source)
    name = detect(path)
    try:
        return _module(name).read(path, rate=rate, unit=unit)  # type: ignore[no-any-return]
    except SanstreamError:
        raise
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}", hint="check the path and its permissions") from error
    except MemoryError as error:
        raise InputError(f"{path}: needs more memory than there is", hint="split the recording") from error
    except ImportError as error:
        raise InputError(f"{path}: reading {name} needs a package: {error}", hint="install sanstream again") from error
    except (ValueError, KeyError, IndexError, TypeError, OverflowError, ArithmeticError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: not a sound {name} file: {reason}", hint="check the file at its source") from error


def notes(recording: Recording) -> list[str]:
    """Say what is odd about a source that was read, one line each; it is kept as it is."""
    found: list[str] = (
        import_module("sanstream.formats.wfdb").notes(recording) if "wfdb" in recording.attributes else []
    )
    return found


def write(recording: Recording, directory: str | Path, *, format: str) -> list[Path]:
    """Write a recording; on error nothing is left behind.

    Parameters
    ----------
    recording : Recording
    directory : str or Path
        Target folder; made when missing. Files already there are never overwritten.
    format : str
        One of :data:`FORMATS`.

    Returns
    -------
    list of Path
        The files written, the one to open first.

    Raises
    ------
    InputError
        On an unknown format, a file that exists already, or a full disk.
    UnsupportedError
        When the format cannot hold the recording exactly.
    """
    if format not in FORMATS:
        raise InputError(f"unknown format {format!r}", hint=f"use one of {', '.join(FORMATS)}")
    _check_integers(recording, format)
    target = Path(directory)
    made = not target.exists()
    scratch: Path | None = None
    placed: list[Path] = []
    try:
        target.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".sanstream-", dir=target))
        writer = _module(format).write if recording.streams or not recording.annotations else write_events
        names = [file.relative_to(scratch) for file in writer(recording, scratch, format)]
        for name in names:
            if (target / name).exists():
                raise InputError(f"{target / name} exists already", hint="choose an empty folder")
        for name in names:
            (target / name).parent.mkdir(exist_ok=True)
            os.replace(scratch / name, target / name)
            placed.append(target / name)
        return placed
    except BaseException as error:
        for file in placed:
            file.unlink(missing_ok=True)
            if file.parent != target and not any(file.parent.iterdir()):
                file.parent.rmdir()
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
        if made and target.is_dir() and not any(target.iterdir()):
            target.rmdir()
        if isinstance(error, OSError):
            raise InputError(f"{target}: {error.strerror or error}", hint="check space and permissions") from error
        raise
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def _check_integers(recording: Recording, format: str) -> None:
    if format not in _INTEGERS:
        return
    for channel in (c for s in recording.streams for g in s.segments for c in g.channels):
        if channel.holds_float_bits:
            raise UnsupportedError(
                f"recording {recording.name!r}: channel {channel.label!r} holds floats that lie on no step, kept bit "
                f"for bit; {format.upper()} holds integers",
                hint="restore as --format parquet, csv or npy",
            )
