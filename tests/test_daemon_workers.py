"""Daemons that share recordings: whoever goes on with a session puts its samples where the first would have."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from live_cases import RATE, START_NS, Clock, Ward, chunk, feed_seconds, samples

import sanstream
from sanstream import durable
from sanstream.archive import verify
from sanstream.archive_grow import GrowingArchive
from sanstream.archive_growth import Growth
from sanstream.archive_places import PLACES, Places
from sanstream.archive_store import RemoteObjects
from sanstream.chunk import Delivery, Event
from sanstream.config import ArchiveSettings, HttpSettings, Settings
from sanstream.daemon import check as checks
from sanstream.daemon.run import recover
from sanstream.durable_power import PowerLost
from sanstream.errors import InputError, SanstreamError

X = samples(100)
_NUMBERS = count()


@pytest.fixture(params=["folder", "store"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "shared.san") if request.param == "folder" else f"memory://workers{next(_NUMBERS)}"


class Worker(Ward):
    """One of several daemons with one archive."""

    def __init__(self, folder: Path, url: str, clock: Clock, **changes: object) -> None:
        folder.mkdir(exist_ok=True)
        self.address = url
        self.tenure = ""
        super().__init__(folder, clock, url=url, shared=True, **changes)

    @property
    def url(self) -> str:  # type: ignore[override]
        return self.address

    def give(self, *items: object, tag: object = None) -> None:
        found = Delivery(tuple(items), 100, lambda: self.acknowledged.append(tag or items[0]), tenure=self.tenure)  # type: ignore[arg-type]
        self.inbox.put(found)

    def lose(self) -> None:
        """The broker gives what it has to another."""
        self.inbox.put(Delivery((), tenure=self.tenure, ends=True))
        self.turn()

    def die(self) -> None:
        """Kill it: nothing is sealed."""
        self.engine.close()

    def revive(self) -> None:
        """Seal what it had, as its return or `recover` does."""
        self.engine.home = None  # type: ignore[attr-defined]
        type(self)(self.folder, self.address, self.clock).stop()


def workers(tmp_path: Path, url: str, n: int = 2) -> list[Worker]:
    clock = Clock()
    return [Worker(tmp_path / f"w{i}", url, clock) for i in range(n)]


def held(url: str, recording: str = "bed1", stream: str = "250hz") -> np.ndarray:
    """All samples that are there, in order; what is missing is left out."""
    assert verify(url, deep=True) == []
    with sanstream.open(url) as archive:
        x = archive.recordings[recording].streams[stream].read()
    return x[(x != -32768).any(axis=1)]


@pytest.mark.parametrize("device", [True, False])
def test_a_dead_workers_session_goes_on_elsewhere_in_its_place(tmp_path: Path, url: str, device: bool) -> None:
    """Nothing of it is sealed yet, and what was not acknowledged comes again."""
    one, two = workers(tmp_path, url)
    feed_seconds(one, X[:5000], device=device)
    one.die()
    two.clock.pass_s(7.3)  # without a device's clock, arrival says nothing of the place
    feed_seconds(two, X[4000:], first=4000, device=device, start_s=0.0 if device else 7.3)
    two.stop()
    assert len(held(url)) == len(X) - 4000
    one.revive()
    assert np.array_equal(held(url), X)


def test_a_worker_that_dies_as_places_are_agreed_on_leaves_one_place(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = workers(tmp_path, url)

    def die(point: str) -> None:
        if point == "seal.places":
            raise PowerLost(point)

    monkeypatch.setattr(durable, "watcher", die)
    with pytest.raises(PowerLost):
        feed_seconds(one, X[:1000], device=False)
    monkeypatch.setattr(durable, "watcher", None)
    assert one.acknowledged == []
    one.die()
    two.clock.pass_s(9.1)
    feed_seconds(two, X, device=False, start_s=9.1)
    two.stop()
    one.revive()
    assert np.array_equal(held(url), X)


def test_what_was_sealed_and_comes_again_is_not_moved(tmp_path: Path, url: str) -> None:
    one, two = workers(tmp_path, url)
    feed_seconds(one, X[:5000])
    one.stop()
    feed_seconds(two, X[3000:], first=3000)
    two.stop()
    assert np.array_equal(held(url), X)


def test_what_comes_again_fills_what_the_dead_worker_lacked(tmp_path: Path, url: str) -> None:
    """Its segment covers the place, but has a hole there: the sample must not be taken for a repetition."""
    one, two = workers(tmp_path, url)
    feed_seconds(one, X[:1000])
    feed_seconds(one, X[1250:3000], first=1250)
    one.stop()
    feed_seconds(two, X[1000:1250], first=1000)
    feed_seconds(two, X[3000:], first=3000)
    two.stop()
    assert np.array_equal(held(url), X)


def test_a_stream_that_comes_back_goes_on_in_a_new_segment(tmp_path: Path, url: str) -> None:
    one, two = workers(tmp_path, url)
    one.tenure = "p1@1"
    feed_seconds(one, X[:5000])
    one.lose()
    one.clock.pass_s(10)
    one.turn(3)  # what ended is sealed without waiting for an hour
    assert len(held(url)) == 5000
    two.tenure = "p1@7"
    feed_seconds(two, X[5000:10000], first=5000)
    two.lose()
    one.tenure = "p1@2"
    feed_seconds(one, X[10000:], first=10000)
    one.stop()
    two.stop()
    assert np.array_equal(held(url), X)
    with sanstream.open(url) as archive:
        assert len(archive.recordings["bed1"].streams["250hz"].entry.segments) == 3


def test_a_paused_worker_that_wakes_does_no_harm(tmp_path: Path, url: str) -> None:
    """Both take the same samples for a while."""
    one, two = workers(tmp_path, url)
    feed_seconds(one, X[:5000])
    feed_seconds(two, X[4500:15000], first=4500)
    feed_seconds(one, X[5000:9000], first=5000)
    feed_seconds(two, X[15000:], first=15000)
    one.stop()
    two.stop()
    assert np.array_equal(held(url), X)


def test_a_step_of_the_clock_is_taken_over_once(tmp_path: Path, url: str) -> None:
    """Samples before and after it come again to a worker that did not see it happen."""
    one, two = workers(tmp_path, url)
    feed_seconds(one, X[:5000])
    feed_seconds(one, X[5000:8000], first=5000, start_s=60.0)
    one.die()
    feed_seconds(two, X[4000:5000], first=4000)
    feed_seconds(two, X[5000:], first=5000, start_s=60.0)
    two.stop()
    one.revive()
    assert np.array_equal(held(url), X)
    with sanstream.open(url) as archive:
        x = archive.recordings["bed1"].streams["250hz"].read()
    assert len(x) == len(X) + 60 * RATE


def test_two_that_see_a_step_agree_on_it(tmp_path: Path, url: str) -> None:
    """The second knew the session before, and has to learn of the step from the archive."""
    one, two = workers(tmp_path, url)
    feed_seconds(one, X[:5000])
    feed_seconds(two, X[4000:5000], first=4000)
    feed_seconds(one, X[5000:8000], first=5000, start_s=60.0)
    feed_seconds(two, X[6000:], first=6000, start_s=60.0)
    one.stop()
    two.stop()
    assert np.array_equal(held(url), X)


def test_a_worker_that_returns_learns_of_a_step_that_it_did_not_see(tmp_path: Path, url: str) -> None:
    one, two = workers(tmp_path, url)
    one.tenure, two.tenure = "p1@1", "p1@2"
    feed_seconds(one, X[:5000])
    feed_seconds(two, X[5000:5250], first=5000)
    feed_seconds(two, X[5250:8000], first=5250, start_s=60.0)
    one.tenure = "p1@3"
    feed_seconds(one, X[8000:], first=8000, start_s=60.0, device=False)
    one.stop()
    two.stop()
    assert np.array_equal(held(url), X)
    with sanstream.open(url) as archive:
        assert archive.recordings["bed1"].streams["250hz"].n_samples == len(X) + 60 * RATE


def test_a_clock_that_drifted_elsewhere_is_no_step_on_return(tmp_path: Path, url: str) -> None:
    one, two = workers(tmp_path, url)
    one.tenure, two.tenure = "p1@1", "p1@2"
    feed_seconds(one, X[:5000])
    for at in range(5000, 15000, RATE):
        feed_seconds(two, X[at : at + RATE], first=at, start_s=(at - 5000) / RATE * 0.05)
    one.tenure = "p1@3"
    feed_seconds(one, X[15000:], first=15000, start_s=2.0)
    one.stop()
    two.stop()
    with sanstream.open(url) as archive:
        assert np.array_equal(archive.recordings["bed1"].streams["250hz"].read(), X)


def test_how_far_another_worker_got_is_not_known_and_no_jump(tmp_path: Path) -> None:
    url, days = f"memory://workers{next(_NUMBERS)}", 2 * 86400 * RATE
    one, two = workers(tmp_path, url)
    one.tenure, two.tenure = "p1@1", "p1@2"
    feed_seconds(one, X[:1000], device=False)
    two.clock.pass_s(2 * 86400)
    feed_seconds(two, X[1000:2000], first=days, device=False)
    one.tenure = "p1@3"
    feed_seconds(one, X[2000:3000], first=days + 1000, device=False)
    one.stop()
    two.stop()
    with sanstream.open(url) as archive:
        x = archive.recordings["bed1"].streams["250hz"].read(days, days + 2000)
    assert np.array_equal(x, X[1000:3000])


def test_of_two_that_meet_a_session_at_once_one_places_it(tmp_path: Path, url: str) -> None:
    one, two = workers(tmp_path, url)
    feed_seconds(one, X[:1000])
    feed_seconds(two, X[1000:2000], first=1000)
    y = X[2000:]
    feed_seconds(one, y[:2000], session="s2", start_s=10.0)
    feed_seconds(two, y[1000:], first=1000, session="s2", start_s=10.02)  # five samples beside
    one.stop()
    two.stop()
    assert np.array_equal(held(url), X)


def test_a_new_tenure_begins_a_segment_also_where_the_end_of_the_last_was_not_told(tmp_path: Path, url: str) -> None:
    (one,) = workers(tmp_path, url, 1)
    for n in range(2):
        one.tenure = f"p1@{n}"
        feed_seconds(one, X[n * 5000 : n * 5000 + 5000], first=n * 5000)
    one.stop()
    assert np.array_equal(held(url), X[:10000])
    with sanstream.open(url) as archive:
        segments = archive.recordings["bed1"].streams["250hz"].entry.segments
    assert [e.start_sample for e in segments] == [0, 5000]
    assert segments[1].flags == ("moved",)


def test_a_new_session_stays_off_what_was_sealed_since_its_stream_was_met(tmp_path: Path, url: str) -> None:
    one, two = workers(tmp_path, url)
    feed_seconds(two, X[:250])
    feed_seconds(one, X[250:5000], first=250)
    one.stop()
    feed_seconds(two, X[5000:], session="s2", start_s=15.0)
    two.stop()
    assert np.array_equal(held(url), X)


def test_a_new_session_stays_off_what_another_worker_sealed(tmp_path: Path, url: str) -> None:
    one, two = workers(tmp_path, url)
    feed_seconds(one, X[:5000])
    one.stop()
    # its publisher began again with a clock that is five seconds behind
    feed_seconds(two, X[5000:], session="s2", start_s=15.0)
    two.stop()
    assert np.array_equal(held(url), X)


def test_streams_of_one_name_and_two_rates_do_not_meet(tmp_path: Path, url: str) -> None:
    one, two = workers(tmp_path, url)
    feed_seconds(one, X[:5000])
    one.die()
    for n in range(4):
        two.give(replace(chunk(X[n * 500 : n * 500 + 500], n * 500, rate=500), stream="250hz"))
        two.turn()
    two.stop()
    one.revive()
    assert np.array_equal(held(url), X[:5000])
    assert np.array_equal(held(url, stream="250hz.500hz"), X[:2000])


def test_events_of_both_stand_once(tmp_path: Path, url: str) -> None:
    one, two = workers(tmp_path, url)
    at = chunk(X[:1]).device_ns or 0
    notes = [Event("bed1", "s1", n, at + n * 10**9, "note", f"note {n}") for n in range(6)]
    one.give(*notes[:4])
    feed_seconds(one, X[:1000])
    two.give(*notes[2:])
    feed_seconds(two, X[1000:2000], first=1000)
    two.stop()
    one.stop()
    with sanstream.open(url) as archive:
        (found,) = archive.recordings["bed1"].annotations
    assert list(found.columns["text"]) == [f"note {n}" for n in range(6)]
    assert list(found.columns["time_ns"]) == [n * 10**9 for n in range(6)]


def test_daemons_that_add_events_in_turn_see_each_others(tmp_path: Path, url: str) -> None:
    """A commit replaces the last part of the events, which the other's manifest still names."""
    archives = [GrowingArchive(url, shared=True) for _ in range(2)]
    for n in range(6):
        event = Event("bed1", "s1", n, START_NS + n, "note", f"note {n}")
        archives[n % 2].commit(Growth("bed1", START_NS, events=(event,)))
    with sanstream.open(url) as archive:
        (found,) = archive.recordings["bed1"].annotations
    assert list(found.columns["text"]) == [f"note {n}" for n in range(6)]
    assert verify(url) == []


def test_recover_seals_a_dead_workers_journal_into_the_archive_it_is_told(
    tmp_path: Path, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    one, two = workers(tmp_path, url)
    feed_seconds(one, X[:5000])
    one.engine.journal.sync()
    from sanstream.daemon.home import Home
    from sanstream.durable import Disk

    with Home(tmp_path / "w0" / "state", Disk()) as home:
        home.remember(one.engine.settings)
        with pytest.raises(InputError, match="another sanstream uses this state folder"):
            recover(tmp_path / "w0" / "state", url)
    one.die()
    feed_seconds(two, X[5000:], first=5000)
    if "://" not in url:  # in the memory of this process anyway
        (tmp_path / "w0" / "state").rename(tmp_path / "carried")  # to another machine
    state = tmp_path / "carried" if "://" not in url else tmp_path / "w0" / "state"
    wrong = f"{url}-lief"
    with pytest.raises(InputError, match="check --to; if it is right, add --elsewhere"):
        recover(state, wrong)
    for told in ("recovered: what was left of 1 recordings", "nothing was left to recover"):
        caplog.clear()
        assert recover(state, url) == 0
        assert told in caplog.text
    two.stop()
    assert np.array_equal(held(url), X)


def test_who_does_not_share_is_kept_out_of_a_shared_folder(tmp_path: Path) -> None:
    url = str(tmp_path / "shared.san")
    (one,) = workers(tmp_path, url, 1)
    feed_seconds(one, X[:1000])
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="daemons share it") as refused:
        Ward(tmp_path / "other", url=url)
    assert "shared = true" in (refused.value.hint or "")
    one.stop()
    assert np.array_equal(held(url), X[:1000])


def test_a_folder_that_a_running_daemon_has_for_itself_is_not_shared(tmp_path: Path) -> None:
    url = str(tmp_path / "own.san")
    (tmp_path / "own").mkdir()
    alone = Ward(tmp_path / "own", url=url)
    from sanstream.daemon.home import Home
    from sanstream.durable import Disk

    with Home(tmp_path / "own" / "state", Disk()), pytest.raises(InputError, match="has it for itself") as refused:
        workers(tmp_path, url, 1)
    assert "shared = true" in (refused.value.hint or "")
    alone.stop()
    workers(tmp_path, url, 1)[0].stop()  # once it is gone


@pytest.mark.parametrize(("kind", "state"), [("ext4", "ok"), ("nfs4", "failed")])
def test_check_tries_the_lock_of_a_shared_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, state: str
) -> None:
    monkeypatch.setattr(checks, "file_system", lambda folder: kind)
    archive = ArchiveSettings(str(tmp_path / "a"), tmp_path / "s", shared=True)
    found = [f for f in checks.check(Settings(archive, http=HttpSettings(listen=""))) if "share" in f.text]
    assert [f.state for f in found] == [state]


def test_places_are_sealed_json_that_verify_reads(tmp_path: Path) -> None:
    url = f"memory://workers{next(_NUMBERS)}"
    (one,) = workers(tmp_path, url, 1)
    feed_seconds(one, X[:1000])
    objects = RemoteObjects(url)
    data = objects.read(f"bed1/{PLACES}")
    places = Places.from_bytes(data, PLACES)
    assert places.to_bytes() == data
    assert places.streams["250hz"].sessions == {"s1": ((0, 0, ""),)}
    assert verify(url) == []
    one.stop()
    for at in range(len(data)):
        with pytest.raises(SanstreamError):
            Places.from_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], PLACES)
    objects.put(f"bed1/{PLACES}", data[:-1])
    assert [p.path for p in verify(url)] == [f"bed1/{PLACES}"]


def test_a_damaged_place_holds_up_its_recording_and_loses_nothing(tmp_path: Path) -> None:
    url = f"memory://workers{next(_NUMBERS)}"
    one, two = workers(tmp_path, url)
    feed_seconds(one, X[:1000])
    objects = RemoteObjects(url)
    data = objects.read(f"bed1/{PLACES}")
    objects.put(f"bed1/{PLACES}", data[:-1])
    two.give(chunk(X[1000:1250], 1000))
    two.turn(3)
    assert two.engine.store_down
    assert not two.acknowledged
    objects.put(f"bed1/{PLACES}", data)
    two.turn(3)
    assert two.acknowledged
    one.stop()
    two.stop()
    assert np.array_equal(held(url), X[:1250])
