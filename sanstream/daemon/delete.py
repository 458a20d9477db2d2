"""Deleting a recording, or whole segments of it, everywhere: archive, ledger, journal, set-aside, reservoir."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from sanstream.archive_grow import ALL_EVENTS, GrowingArchive
from sanstream.archive_manifest import Manifest
from sanstream.archive_objects import local_path
from sanstream.archive_store import remote_scheme
from sanstream.config import HttpSettings, RetrainSettings, Settings
from sanstream.daemon.adapting import Adapting
from sanstream.daemon.engine import Engine
from sanstream.daemon.home import Home, is_locked, read_version, remembered_settings
from sanstream.daemon.keeping import free_journal
from sanstream.daemon.pins import forget_pins
from sanstream.daemon.requests import ask
from sanstream.daemon.sealing import pending_events
from sanstream.daemon.sessions import ns_of
from sanstream.daemon.state import State
from sanstream.daemon.state_files import forget_in_status
from sanstream.durable import Disk
from sanstream.errors import InputError, UnsupportedError
from sanstream.times import parse_time

_NANOSECONDS = Fraction(10**9)
"""Taken as a rate, a time's sample is its nanosecond."""


def delete(
    archive: str, recording: str, *, state_dir: Path | None = None, start: str | None = None, until: str | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Delete a recording from a live archive and from all that a daemon keeps of it.

    A running daemon does it itself, between two turns; else it is done here.

    Parameters
    ----------
    archive : str
    recording : str
    state_dir : Path, optional
        Default: the one that the archive names.
    start, until : str, optional
        Only whole segments that lie within; a time as all commands take it.
    dry_run : bool
        Only say what would go.

    Returns
    -------
    dict of str to int
        Segments, samples (all channels), coded bytes and, of a daemon's state, set-aside messages. With ``dry_run``
        coded bytes are those of what is coded so far; everything else is what the deletion would say now.

    Raises
    ------
    InputError
        When there is no such recording, or nothing lies within the times.
    """
    remote = remote_scheme(archive) is not None
    state_dir = state_dir or (None if remote else _named_state(local_path(archive)))
    if state_dir is not None and is_locked(state_dir):
        return ask(
            state_dir,
            {"what": "delete", "recording": recording, "from": start, "until": until, "dry_run": dry_run},
        )
    if state_dir is None or not read_version(state_dir):
        try:
            return _from_archive(GrowingArchive(archive), recording, start, until, dry_run=dry_run)
        except UnsupportedError:
            raise UnsupportedError(
                f"{archive}: recordings that were archived from files are not deleted one by one",
                hint="make the archive anew without it, as docs/privacy.md shows",
            ) from None
    settings = _with_reservoir(remembered_settings(state_dir, archive))
    disk = Disk()
    with Home(state_dir, disk):
        engine = Engine(
            _with_reservoir(settings), disk=disk, adapting=Adapting.for_settings(_with_reservoir(settings), disk)
        )
        try:
            return delete_here(engine, recording, start, until, dry_run=dry_run)
        finally:
            engine.close()


def delete_here(
    engine: Engine, recording: str, start: str | None, until: str | None, *, dry_run: bool
) -> dict[str, Any]:
    """Delete in an engine that nobody else drives meanwhile; as :func:`delete`."""
    whole = start is None and until is None
    state = engine.state
    engine.sealer.settle()
    known = recording in state.recordings or bool(pending_events(state, recording))
    if known and not dry_run:
        # what is refused ends no segment
        _from_archive(engine.archive, recording, start, until, dry_run=True, missing_ok=whole, state=state)
        _flush(engine, recording)
    found = _from_archive(
        engine.archive, recording, start, until, dry_run=dry_run, missing_ok=known and whole, state=state
    )
    if not known:
        return found
    first, last = _span(engine.state.recordings.get(recording), start, until)
    if dry_run:
        return {**found, "set_aside": engine.aside.count(recording, first, last)}
    # the ledger forgets it last: until then a deletion that was cut off can be asked for again
    found["set_aside"] = engine.aside.forget(recording, first, last)
    engine.adapting.forget(recording, first, last)
    if whole:
        for stream, lane in engine.state.lanes():
            if stream.recording.name == recording:
                lane.waiting.clear()  # else it would be carried on into a newer file
    # what still lies in files that are shared with other recordings
    engine.journal.roll()
    free_journal(engine.state, engine.journal, everything=True)
    engine.journal.roll()  # its fsync of the folder keeps the removed files from coming back
    if whole:
        forget_pins(engine.settings.archive.state_dir, recording)
        forget_in_status(engine.settings.archive.state_dir, recording)
        _forget(engine, recording)
    engine.compactor.all()
    engine.writer.know_all()
    return found


def _flush(engine: Engine, recording: str) -> None:
    """Bring everything of one recording to the archive, its open segments ended."""
    engine.acknowledge()
    for stream, lane in engine.state.lanes():
        if stream.recording.name == recording:
            lane.closing_ns = 0
    engine.writer.look_at_all()
    while engine.commit():
        pass
    while any(s.recording.name == recording and lane.closed for s, lane in engine.state.lanes()):
        if not engine.sealer.run(most=1 << 30) + engine.sealer.settle():
            break


def _forget(engine: Engine, recording: str) -> None:
    """Drop all that ledger and state say of a recording; what comes later begins it anew."""
    engine.ledger.append("forgotten", {"recording": recording})
    engine.ledger.sync()
    engine.state.forget(recording)
    engine.writer.forget(recording)
    engine.intake.forget(recording)
    engine.keeper.forget(recording)
    engine.holding.note(recording)


def _span(recording: Any, start: str | None, until: str | None) -> tuple[int | None, int | None]:
    if recording is None or (start is None and until is None):
        return None, None

    def at(text: str | None) -> int | None:
        return None if text is None else recording.start_ns + _offset_ns(text, recording.start_ns)

    return at(start), at(until)


def _offset_ns(text: str, start_ns: int) -> int:
    """Return a time as nanoseconds from the recording's start."""
    return parse_time(text, start_ns, "utc").to_sample(_NANOSECONDS)


@dataclass(frozen=True)
class _Piece:
    """A segment as far as a deletion looks at it; times from the recording's start."""

    first_ns: int
    stop_ns: int
    samples: int
    coded_bytes: int


def _from_archive(
    archive: GrowingArchive, recording: str, start: str | None, until: str | None, *, dry_run: bool,
    missing_ok: bool = False, state: State | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Remove what lies in the archive; ``state`` is of a daemon whose open segments a dry run counts, too."""
    manifest = archive.manifest(recording)
    gone: dict[str, Any] = {"segments": 0, "samples": 0, "coded_bytes": 0}
    held = state.recordings.get(recording) if state is not None else None
    if manifest is None and not (held is not None and dry_run):
        if missing_ok:
            return gone
        names = {*archive.recordings(), *(state.recordings if state is not None else ())}
        raise InputError(
            f"{archive.name}: no recording {recording!r:.80}",
            hint=f"it has {', '.join(sorted(names)[:10]) or 'none'}",
        )
    begin = (held.start_ns if held is not None else 0) if manifest is None else manifest.start_ns or 0
    low = None if start is None else _offset_ns(start, begin)
    high = None if until is None else _offset_ns(until, begin)
    pieces = {} if manifest is None else _sealed(manifest)
    if dry_run and state is not None:
        pieces |= _growing(state, recording, pieces)
    chosen, left = [], []
    for key, piece in pieces.items():
        if (low is None or piece.first_ns >= low) and (high is None or piece.stop_ns <= high):
            chosen.append(key)
            gone["segments"] += 1
            gone["samples"] += piece.samples
            gone["coded_bytes"] += piece.coded_bytes
        else:
            left.append(begin + piece.first_ns)
    whole = start is None and until is None
    if not chosen and not missing_ok and not whole:
        raise InputError(
            f"{archive.name}: no whole segment of {recording!r:.80} lies within these times",
            hint="segments end at 00:00 UTC; widen --from and --until, or leave them out",
        )
    if not dry_run and (chosen or whole):
        archive.remove(recording, chosen, events_until_ns=min(left) if left else ALL_EVENTS)
    return gone


def _sealed(manifest: Manifest) -> dict[tuple[str, str], _Piece]:
    """Return the archive's segments by stream and name."""
    return {
        (stream.name, entry.name): _Piece(
            ns_of(entry.start_sample, stream.rate),
            ns_of(entry.stop_sample, stream.rate),
            entry.n_samples * len(entry.channels),
            entry.coded_bytes,
        )
        for stream in manifest.streams
        for entry in stream.segments
    }


def _growing(state: State, recording: str, sealed: Mapping[tuple[str, str], _Piece]) -> dict[tuple[str, str], _Piece]:
    """Return the segments that are not in the archive whole, as they would be if they ended now."""
    found = {}
    for number, (stream, lane) in enumerate(state.lanes()):
        if stream.recording.name != recording or lane.end <= lane.start:
            continue
        key = stream.name, lane.name or f"\0{number}"  # what has no name yet is nowhere else
        coded = sum(place.length for place, _ in lane.places)
        found[key] = _Piece(
            ns_of(lane.start, lane.rate),
            ns_of(lane.end, lane.rate),
            (lane.end - lane.start) * len(lane.channels),
            coded + (sealed[key].coded_bytes if key in sealed else 0),
        )
    return found


def _named_state(root: Path) -> Path | None:
    try:
        return Path(json.loads((root / "live.json").read_text(encoding="utf-8"))["state_dir"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _with_reservoir(settings: Settings) -> Settings:
    return Settings(settings.archive, settings.quality, retrain=RetrainSettings(), http=HttpSettings(listen=""))
