"""Re-encode yesterday's segments of a live archive, join them, and verify what came of it.

Usage: python -m pipelines.nightly NIGHTLY.toml [--day 2026-11-26]

Each day (UTC) becomes an archive of its own: segments that began on it, those of the same channels joined over short
gaps, at another effort and, where asked, quality. It appears whole or not at all; killed at any moment, the same
command goes on where it was, and a day that is done is only verified; one whose segments changed since (some came late)
is said to be so, and stays. Nothing is removed from the source: its own
retention does that. Ends with 1 when a day is not sound, with 2 when it could not be made.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from sanstream.archive import verify
from sanstream.archive_manifest import CONTAINERS
from sanstream.cli.output import progress_bar
from sanstream.config_quality import check_quality
from sanstream.errors import CorruptError, InputError, JobError, SanstreamError, UnsupportedError
from sanstream.quality import KINDS
from sanstream.reencode import EFFORTS, ChangedError, NothingError, reencode


@dataclass(frozen=True)
class Nightly:
    """What ``nightly.toml`` says; the file that lies beside this one explains every key."""

    source: str
    target: str
    effort: str = "thorough"
    bank: str = "retrain"
    quality: tuple[str, ...] = ()
    container: str = "parquet"
    workers: int = 2
    dask: str = ""
    days_back: int = 1


def load(file: Path) -> Nightly:
    """Read a configuration.

    Raises
    ------
    InputError
        On a file that cannot be read, on a key that is unknown, missing or of another type, and on a value that is not
        allowed.
    """
    try:
        values: Mapping[str, Any] = tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{file}: cannot be read ({error})") from error
    known = {f.name: f for f in fields(Nightly)}
    for key, value in values.items():
        if key not in known:
            near = get_close_matches(key, known, n=1)
            raise InputError(f"{file}: {key} is unknown", hint=f"did you mean {near[0]}?" if near else None)
        kind = {"quality": list, "workers": int, "days_back": int}.get(key, str)
        if type(value) is not kind:
            raise InputError(f"{file}: {key} = {value!r} is of type {type(value).__name__}, allowed is {kind.__name__}")
    for key in ("source", "target"):
        if not values.get(key):
            raise InputError(f"{file}: {key} is missing", hint=f'write {key} = "..."')
    settings = Nightly(**{**values, "quality": tuple(values.get("quality", ()))})
    _check(settings, file)
    return settings


def _check(settings: Nightly, file: Path) -> None:
    """Refuse values that would fail at the first day."""
    for key, allowed in (("effort", EFFORTS), ("container", CONTAINERS)):
        value = getattr(settings, key)
        if value not in allowed:
            raise InputError(f"{file}: {key} = {value!r} is unknown", hint=f"use {', '.join(allowed)}")
    for key in ("workers", "days_back"):
        if getattr(settings, key) < 1:
            raise InputError(f"{file}: {key} = {getattr(settings, key)} is too small", hint="use 1 or more")
    for request in settings.quality:
        try:
            head, equals, tail = str(request).partition("=")
            # a label and a unit are the recordings' matter
            check_quality(tail if equals and head not in KINDS else request)
        except UnsupportedError:
            pass  # bits: a stored segment is whole
        except InputError as error:
            raise InputError(f"{file}: quality: {request!r}: {error}") from None


def place_of(settings: Nightly, day: date) -> str:
    """Return a day's archive."""
    return f"{settings.target.rstrip('/')}/{day.isoformat()}.san"


def make_day(settings: Nightly, day: date) -> int:
    """Make one day, or find it made; returns the exit code."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    begin_ns = round(start.timestamp()) * 10**9
    target = place_of(settings, day)
    try:
        with progress_bar(f"nightly {day}") as progress:
            done = reencode(
                settings.source,
                to=target,
                quality=settings.quality,
                effort=settings.effort,
                bank=settings.bank or None,
                container=settings.container,
                join=True,
                between=(begin_ns, begin_ns + 86_400 * 10**9),
                workers=settings.workers,
                dask=settings.dask or None,
                progress=progress,
            )
    except NothingError:
        print(f"{day}: no segment began on this day", file=sys.stderr)
        return 0
    except ChangedError:
        why = "made as asked, but before the source changed: segments of this day came late, or were deleted"
        hint = "remove it, and the same command makes it anew; or leave it as it is"
        print(f"error: {day}: {target}: {why}; {hint}", file=sys.stderr)
        return 2
    except SanstreamError as error:
        print(f"error: {day}: {error}", file=sys.stderr)
        return 1 if isinstance(error, CorruptError | JobError) else 2
    problems = verify(target, deep=True)
    for problem in problems[:10]:
        print(f"error: {target}: {problem}", file=sys.stderr)
    if problems:
        return 1
    counts, rate = done["segments"], 8 * done["coded_bytes"] / max(1, done["n_samples"])
    what = "was there already" if done["already"] else f"{counts['encoded']} encoded, {counts['moved']} carried over"
    print(f"{target}: {done['n_samples']:,} samples, {rate:.3f} bit/sample; segments: {what}; sound", file=sys.stderr)
    return 0


def main() -> int:
    """Make the days that are due, the oldest first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configuration", type=Path)
    parser.add_argument("--day", type=date.fromisoformat, help="this day (UTC) instead of those before today")
    options = parser.parse_args()
    try:
        settings = load(options.configuration)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    today = datetime.now(UTC).date()
    if options.day is not None and options.day >= today:
        print(f"error: {options.day} is not over; days end at 00:00 UTC, give one before {today}", file=sys.stderr)
        return 2
    days = [options.day] if options.day else [today - timedelta(n) for n in range(settings.days_back, 0, -1)]
    return max(make_day(settings, day) for day in days)


if __name__ == "__main__":
    sys.exit(main())
