"""Write a report as a folder that appears whole, or not at all."""

from __future__ import annotations

import json
import math
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sanstream.archive import Archive
from sanstream.archive import open as open_archive
from sanstream.archive_objects import local_path
from sanstream.errors import InputError
from sanstream.formats import read
from sanstream.report.findings import Findings, find
from sanstream.report.page import page
from sanstream.serves.pieces import MOST_S
from sanstream.signal import Recording

PAGE, DATA = "report.html", "report.json"


def report(
    source: str | os.PathLike[str] | Recording,
    archive: str | os.PathLike[str] | Archive,
    *,
    to: str | os.PathLike[str],
    recording: str | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    most_s: float = MOST_S,
) -> Findings:
    """Evaluate an archive and say whether its signals still serve, as ``report.html`` and ``report.json``.

    Parameters
    ----------
    source : path or Recording
        What was archived.
    archive : path or Archive
    to : path
        The folder to make.
    recording : str, optional
        Name in the archive; default: the source's.
    progress : callable, optional
        Takes a stream's name, the samples done and the samples in all.
    most_s : float
        Detectors and spectra see at most so many seconds of each channel, spread evenly.

    Returns
    -------
    Findings

    Raises
    ------
    InputError
        When the folder is there already or cannot be made, or source and archive are not of one recording.
    CorruptError
        When a block does not decode.
    """
    target = _new(to)
    original = source if isinstance(source, Recording) else read(Path(source))
    if isinstance(archive, Archive):
        found = find(original, archive, recording=recording, progress=progress, most_s=most_s)
    else:
        with open_archive(archive, live=False) as opened:
            found = find(original, opened, recording=recording, progress=progress, most_s=most_s)
    data = json.dumps(_finite(found.to_dict()), ensure_ascii=False, allow_nan=False)
    _write(target, {PAGE: page(found), DATA: data + "\n"})
    return found


def _new(to: str | os.PathLike[str]) -> Path:
    target = local_path(to)
    if target.exists():
        raise InputError(f"{target} exists already", hint="choose another name for the report's folder")
    if not target.parent.is_dir():
        raise InputError(f"{target.parent}: no such folder", hint="make it first")
    return target


def _finite(value: Any) -> Any:
    """Return a value as JSON can hold it: what is infinite or no number becomes null."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write(target: Path, texts: dict[str, str]) -> None:
    draft = target.with_name(f".{target.name}.partial-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        draft.mkdir()
        for name, text in texts.items():
            with (draft / name).open("x", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        _new(target)
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
