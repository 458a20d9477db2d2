"""What a dry run says is what the deletion does, wherever the samples are."""

from __future__ import annotations

from pathlib import Path

import pytest
from live_cases import RATE, Clock, Ward, chunk, feed_seconds, samples

from sanstream.daemon.delete import delete, delete_here
from sanstream.daemon.home import Home
from sanstream.durable import Disk
from sanstream.errors import InputError


def said(ward: Ward, *, dry_run: bool, start: str | None = None, until: str | None = None) -> dict[str, int]:
    found = delete_here(ward.engine, "bed1", start, until, dry_run=dry_run)
    coded = found.pop("coded_bytes")
    assert coded >= 0
    return found


@pytest.mark.parametrize("seconds", [3, 70, 3800])
def test_a_dry_run_counts_what_journal_and_ledger_hold(tmp_path: Path, seconds: int) -> None:
    """Of seconds only the journal knows, of minutes the ledger; and hours are partly in the archive."""
    ward, x = Ward(tmp_path), samples(seconds)
    feed_seconds(ward, x, step=RATE * min(seconds, 200))
    ward.give(chunk(x[:RATE], 0, session="s2", start_s=9000.0))
    ward.give(chunk(x[: RATE * min(seconds, 200)] + 1, 0))  # a contradiction
    ward.turn()
    sealed = ward.engine.archive.manifest("bed1")
    assert (sealed is not None) == (seconds > 3600)
    before = said(ward, dry_run=True)
    assert before == {"segments": 2, "samples": 2 * (len(x) + RATE), "set_aside": 1}
    assert said(ward, dry_run=True, until="+2h") == {"segments": 1, "samples": 2 * len(x), "set_aside": 1}
    with pytest.raises(InputError, match="no whole segment"):
        said(ward, dry_run=True, until="+1s")
    assert said(ward, dry_run=False) == before
    ward.stop()


@pytest.mark.parametrize(("until", "says"), [("2020", "'2020' is not a time"), ("+1s", "no whole segment")])
def test_a_deletion_that_is_refused_ends_no_segment(tmp_path: Path, until: str, says: str) -> None:
    ward, x = Ward(tmp_path), samples(20)
    feed_seconds(ward, x[: 10 * RATE])
    with pytest.raises(InputError, match=says):
        delete_here(ward.engine, "bed1", None, until, dry_run=False)
    feed_seconds(ward, x[10 * RATE :], first=10 * RATE)
    assert said(ward, dry_run=True) == {"segments": 1, "samples": 2 * len(x), "set_aside": 0}
    ward.stop()


def test_a_recording_that_was_archived_from_files_is_not_deleted(tmp_path: Path) -> None:
    from archive_cases import tiny

    from sanstream.archive import ArchiveWriter, verify
    from sanstream.errors import UnsupportedError

    for container in ("zarr", "parquet"):
        path = tmp_path / container
        with ArchiveWriter(path, container=container) as writer:
            writer.add(tiny())
            writer.commit()
        with pytest.raises(UnsupportedError, match="not deleted one by one; make the archive anew"):
            delete(str(path), "t")
        assert verify(path, deep=True) == []


def test_a_dry_run_counts_what_a_killed_daemon_left(tmp_path: Path) -> None:
    with Home(tmp_path / "state", Disk()) as home:
        ward = Ward(tmp_path, Clock())
        home.remember(ward.engine.settings)
        feed_seconds(ward, samples(40))
    del ward
    url, state = str(tmp_path / "live.san"), tmp_path / "state"
    before = delete(url, "bed1", state_dir=state, dry_run=True)
    assert (before["segments"], before["samples"]) == (1, 2 * 40 * RATE)
    with pytest.raises(InputError, match="it has bed1"):
        delete(url, "nosuch", state_dir=state, dry_run=True)
    after = delete(url, "bed1", state_dir=state)
    assert (after["segments"], after["samples"]) == (1, 2 * 40 * RATE)
