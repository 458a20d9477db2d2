"""What the viewer keeps is never shown for what stands there now: recordings that begin anew, holes that are filled."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from asgi import Client
from live_cases import RATE, Ward, chunk, feed_seconds
from live_cases import samples as live_samples
from view_cases import all_figures, drawn, make

import sanstream
from sanstream.archive import ArchiveWriter
from sanstream.archive import open as open_archive
from sanstream.signal import Recording, Segment, Stream
from sanstream.view.app import make_viewer
from sanstream.view.library import Library


@pytest.fixture(autouse=True)
def always_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sanstream.view.library._LOCAL_S", 0.0)
    monkeypatch.setattr("sanstream.view.library._SHARE", 0)


def extremes_of(place: Path, recording: str, head: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest of the archive's samples per drawn value."""
    with sanstream.open(place) as archive:
        x = archive.recordings[recording].streams["250hz"].read(head["first"], physical=True).astype(np.float32)
    at = np.arange(0, len(x), head["step"])
    return np.fmin.reduceat(x, at).T, np.fmax.reduceat(x, at).T


def assert_drawn_as_read(client: Client, place: Path, recording: str) -> None:
    head, low, high = drawn(client, recording=recording, width=100)
    assert head["step"] > 64, "from kept tiles"
    want_low, want_high = extremes_of(place, recording, head)
    np.testing.assert_array_equal(low, want_low)
    np.testing.assert_array_equal(high, want_high)


@pytest.mark.parametrize("change", ["another signal", "another quality"])
def test_a_recording_that_took_anothers_name_is_drawn_as_itself(tmp_path: Path, change: str) -> None:
    one = make().streams[0]
    turned = [np.where(s.samples == -32768, -32768, -s.samples) for s in one.segments]
    flipped = tuple(Segment(s.start_sample, s.channels, x) for s, x in zip(one.segments, turned, strict=True))
    other = Stream("250hz", Fraction(RATE), flipped) if change == "another signal" else one
    quality = "prdn=5" if change == "another signal" else "prdn=30"
    link = tmp_path / "a.san"
    for name, stream, asked in (("before", one, "prdn=5"), ("after", other, quality)):
        with ArchiveWriter(tmp_path / name) as writer:
            writer.add(Recording("bed", (stream,), 1_700_000_000 * 10**9, "utc"), [asked], effort="fast")
            writer.commit()
    link.symlink_to(tmp_path / "before")
    client = Client(make_viewer(Library(str(link))))
    assert_drawn_as_read(client, link, "bed")
    bits = all_figures(client)["bits"]
    link.unlink()
    link.symlink_to(tmp_path / "after")
    assert_drawn_as_read(client, link, "bed")
    assert all_figures(client)["bits"] != bits


def test_a_hole_that_was_filled_is_drawn_filled(tmp_path: Path) -> None:
    ward, x = Ward(tmp_path), live_samples(55)
    feed_seconds(ward, x[: 20 * RATE])
    feed_seconds(ward, x[25 * RATE :], first=25 * RATE)
    client = Client(make_viewer(Library(str(ward.url))))
    assert np.isnan(drawn(client, recording="bed1", width=100)[1]).any()
    ward.give(chunk(x[20 * RATE : 25 * RATE], 20 * RATE))
    ward.turn()
    assert_drawn_as_read(client, ward.url, "bed1")
    assert not np.isnan(drawn(client, recording="bed1", width=100)[1]).any()
    ward.stop()
    assert_drawn_as_read(client, ward.url, "bed1")


def test_of_what_is_not_sealed_only_the_recording_that_is_looked_at_is_read(tmp_path: Path) -> None:
    ward, x = Ward(tmp_path), live_samples(20)
    for name in ("bed1", "bed2", "bed3"):
        feed_seconds(ward, x, recording=name, session=name)
    with open_archive(ward.url, only="bed2") as archive:
        assert sorted(archive.recordings) == ["bed1", "bed2", "bed3"]
        np.testing.assert_array_equal(archive.recordings["bed2"].streams["250hz"].read(), x)
        assert not archive.recordings["bed1"].streams
    library = Library(str(ward.url))
    assert sorted(library.names()["names"]) == ["bed1", "bed2", "bed3"]
    for name in ("bed1", "bed3", "bed1"):
        assert library.recording(name).streams["250hz"].n_samples == len(x)
    ward.stop()
