"""sanstream.open shows all that a running daemon has: sealed, committed to its ledger, or only journalled."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import edfio
import numpy as np
import pytest
from grow_cases import LEADS, RATE, START_NS, STREAM, LiveSegment, event, segment, ward

import sanstream
from sanstream import archive_live_state
from sanstream.archive import open as open_archive
from sanstream.archive_grow import GrowingArchive
from sanstream.archive_growth import Growth
from sanstream.archive_objects import LocalObjects
from sanstream.archive_verify import find_problems
from sanstream.chunk import Chunk, Event
from sanstream.errors import CorruptError
from sanstream.journal import Journal
from sanstream.journal_records import Definition
from sanstream.ledger import Ledger
from sanstream.signal import Channel

WHOLE = ward(9000)
STEP = 1000


class State:
    """A daemon's state, written by hand."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.state.mkdir(mode=0o700)
        self.journal = Journal(self.state / "journal", file_bytes=20_000)
        self.ledger = Ledger(self.state / "ledger.log")
        self.archive = GrowingArchive(folder / "archive", state_dir=self.state, clock=lambda: 1)
        self.root = self.archive.root

    def raw(
        self, first: int, samples: np.ndarray, *, session: str = "s", base: int = 0, lane: str = "main", **more: object
    ) -> int:
        definition = Definition(
            str(more.get("recording", "bed1")), STREAM, session, base, START_NS, RATE, LEADS, "icu", lane
        )
        definition = replace(definition, **{k: v for k, v in more.items() if k in ("channels", "start_ns")})  # type: ignore[arg-type]
        chunk = Chunk(definition.recording, STREAM, session, first, samples, RATE, definition.channels, None, START_NS)
        number = self.journal.append_chunk(definition, chunk)
        self.journal.sync()
        return number

    def record(self, kind: str, head: dict[str, object], body: bytes = b"") -> None:
        self.ledger.append(kind, {"recording": "bed1", **head}, body)
        self.ledger.sync()

    def begin(self, of: LiveSegment) -> None:
        self.record("recording", {"start_ns": START_NS, "timezone": "utc", "feed": "icu"})
        entry = replace(of.entry, n_samples=0, flags=())
        lane = "late" if of.entry.late else "main"
        head = {"stream": STREAM, "rate": "100", "segment": of.entry.name, "lane": lane, "flags": list(of.entry.flags)}
        self.record("segment", {**head, "entry": entry.to_dict(), "bank": of.plan.bank.id})

    def block(self, of: LiveSegment, number: int) -> None:
        n = min(STEP, len(of.samples) - number * STEP)
        lost = np.flatnonzero((of.samples[number * STEP : number * STEP + n] == -2048).all(axis=1))
        holes = [[int(lost[0]), int(lost[-1]) + 1]] if len(lost) else []
        head = {"stream": STREAM, "segment": of.entry.name, "number": number, "n_samples": n, "holes": holes}
        self.record("block", head, of.blocks[number])

    def seal(self, of: LiveSegment, first: int, stop: int) -> None:
        self.archive.commit(Growth("bed1", START_NS, segments=(of.grown(first, stop),)))
        per = of.entry.shard_samples // STEP
        n_blocks = min(stop * per, len(of.blocks))
        self.record("sealed", {"stream": STREAM, "segment": of.entry.name, "n_blocks": n_blocks})

    def read(self, recording: str = "bed1") -> np.ndarray:
        with sanstream.open(self.root) as archive:
            return archive.recordings[recording].streams[STREAM].read()


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path)


def test_every_sample_is_there_from_the_journal_to_the_shard(state: State) -> None:
    one = segment("0", 0, WHOLE)
    shown = []
    for first in range(0, 9000, 250):
        state.raw(first, WHOLE[first : first + 250])
        shown.append(state.read())
        done = (first + 250) // STEP
        if first + 250 == STEP:
            state.begin(one)
        if (first + 250) % STEP == 0 and done <= 8:
            state.block(one, done - 1)
            shown.append(state.read())
            if done % 2 == 0:
                state.seal(one, done // 2 - 1, done // 2)
                shown.append(state.read())
                for number in state.journal.numbers()[:-1]:
                    state.journal.remove(number)
                shown.append(state.read())
    lengths = [len(s) for s in shown]
    assert lengths == sorted(lengths)
    assert lengths[0] == 250
    assert lengths[-1] == 9000
    for samples in shown:
        assert np.array_equal(samples, WHOLE[: len(samples)])
    with open_archive(state.root, live=False) as archive:
        assert archive.recordings["bed1"].streams[STREAM].n_samples == 8000
    assert sanstream.open(state.root).info()["recordings"][0]["streams"][0]["n_samples"] == 8000
    assert sanstream.open(state.root).verify(deep=True) == []


def test_chunks_out_of_order_twice_and_with_holes_are_laid_on_the_grid(state: State) -> None:
    state.raw(600, WHOLE[600:900])
    state.raw(0, WHOLE[0:300])
    state.raw(200, WHOLE[200:400] + 7, session="t")
    state.raw(0, WHOLE[1000:1100], session="u", base=1000)
    wanted = np.full((1100, 2), -2048)
    for first, stop in ((0, 300), (600, 900), (1000, 1100)):
        wanted[first:stop] = WHOLE[first:stop]
    wanted[300:400] = WHOLE[300:400] + 7
    assert np.array_equal(state.read(), wanted)
    stream = sanstream.open(state.root).recordings["bed1"].streams[STREAM]
    assert np.array_equal(stream.read(250, 1050, ["V"]), wanted[250:1050, 1:])
    lost = stream.read(350, 650, physical=True)
    assert np.array_equal(np.isnan(lost[:, 0]), wanted[350:650, 0] == -2048)
    assert np.array_equal(stream.to_xarray()[5:1000].values, wanted[5:1000])
    assert stream.records().num_rows == 0


def test_blocks_stand_before_raw_samples_and_late_ones_fill_holes(state: State) -> None:
    held = WHOLE[:2000].copy()
    held[500:900] = -2048
    one, late = segment("0", 0, held), segment("late-500", 500, WHOLE[500:700], flags=("late",))
    state.begin(one)
    state.block(one, 0)
    state.begin(late)
    state.block(late, 0)
    state.raw(0, WHOLE[:500] + 50)
    state.raw(900, WHOLE[900:1000] + 50)
    state.raw(1000, WHOLE[1000:1800])
    state.raw(650, WHOLE[650:800] + 3, lane="late", session="l")
    wanted = np.concatenate([held[:1000], WHOLE[1000:1800]])
    wanted[500:700] = WHOLE[500:700]
    wanted[700:800] = WHOLE[700:800] + 3
    assert np.array_equal(state.read(), wanted)
    recording = sanstream.open(state.root).recordings["bed1"].read()
    assert np.array_equal(np.concatenate([s.samples for s in recording.streams[0].segments]), wanted)


def test_a_chunk_that_a_block_lacks_is_shown_wherever_it_stands(state: State) -> None:
    """It fills a hole of a sealed block, or follows a segment that another has followed by now."""
    held = WHOLE[:2000].copy()
    held[500:900] = -2048
    one, next_one = segment("0", 0, held), segment("4000", 4000, WHOLE[4000:5000])
    for of in (one, next_one):
        state.begin(of)
        for number in range(len(of.blocks)):
            state.block(of, number)
    state.seal(one, 0, 1)
    state.raw(600, WHOLE[600:700])
    state.raw(1900, WHOLE[1900:2300])
    state.raw(4100, WHOLE[4100:4200] + 9)
    wanted = np.full((5000, 2), -2048)
    wanted[:2000], wanted[4000:] = held, WHOLE[4000:5000]
    wanted[600:700], wanted[2000:2300] = WHOLE[600:700], WHOLE[2000:2300]
    assert np.array_equal(state.read(), wanted)


def test_events_are_shown_once_from_wherever_they_are(state: State, tmp_path: Path) -> None:
    state.raw(0, WHOLE[:1000])
    events = [event(n, n + 0.5, f"e{n}") for n in range(4)]
    state.archive.commit(Growth("bed1", START_NS, events=tuple(events[:2])))
    state.begin(segment("0", 0, WHOLE))
    for one in events[1:3]:
        state.record("event", dict(one.__dict__))
    state.record("event", dict(event(9, 9.5, "sealed, then dropped by retention").__dict__))
    state.record("events_sealed", {"n": 3})
    for one in events[2:]:
        state.journal.append_event(one)
    state.journal.append_event(Event("bed9", "s", 0, START_NS, "marker", "of no one"))
    state.journal.sync()
    with sanstream.open(state.root) as archive:
        (found,) = archive.recordings["bed1"].annotations
        assert found.columns["text"].tolist() == ["e0", "e1", "e2", "e3"]
        assert list(archive.recordings) == ["bed1"]
    (file,) = sanstream.restore(state.root, to=tmp_path / "out", format="edf")
    edf = edfio.read_edf(file)
    assert np.array_equal(np.stack([s.digital for s in edf.signals], axis=1), WHOLE[:1000])
    assert [(a.onset, a.text) for a in edf.annotations] == [(n + 0.5, f"e{n}") for n in range(4)]


def test_events_that_the_ledger_tells_before_their_recording_are_shown(state: State) -> None:
    for n in range(2):
        state.record("event", dict(event(n, n + 0.5, f"e{n}").__dict__))
    state.begin(segment("0", 0, WHOLE))
    state.raw(0, WHOLE[:1000])
    with sanstream.open(state.root) as archive:
        (found,) = archive.recordings["bed1"].annotations
        assert found.columns["text"].tolist() == ["e0", "e1"]


def test_another_process_reads_the_newest_samples_and_new_recordings(state: State) -> None:
    one = segment("0", 0, WHOLE)
    state.begin(one)
    state.block(one, 0)
    state.raw(1000, WHOLE[1000:1500])
    state.raw(0, WHOLE[:100], recording="bed2")
    code = (
        "import sanstream, sys; a = sanstream.open(sys.argv[1])\n"
        "print([(n, r.start_ns, r.streams['100hz'].n_samples, int(r.streams['100hz'].read().sum()))"
        " for n, r in a.recordings.items()])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(state.root)], capture_output=True, text=True, check=True)
    wanted = [("bed1", START_NS, 1500, int(WHOLE[:1500].sum())), ("bed2", START_NS, 100, int(WHOLE[:100].sum()))]
    assert sorted(eval(done.stdout)) == wanted


def test_a_copy_or_a_missing_state_gives_what_is_sealed(state: State, tmp_path: Path) -> None:
    one = segment("0", 0, WHOLE)
    state.begin(one)
    state.seal(one, 0, 1)
    state.raw(2000, WHOLE[2000:2500])
    assert len(state.read()) == 2500
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", state.root, copy], check=True)
    assert len(sanstream.open(copy).recordings["bed1"].streams[STREAM].read()) == 2000
    state.journal.close()
    state.ledger.close()
    state.state.rename(tmp_path / "elsewhere")
    assert len(state.read()) == 2000
    assert find_problems(LocalObjects(copy), deep=True) == []


def test_a_damaged_state_is_said_and_what_is_sealed_stays_readable(state: State) -> None:
    one = segment("0", 0, WHOLE)
    state.begin(one)
    state.seal(one, 0, 1)
    path = state.state / "ledger.log"
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptError, match="live=False"):
        sanstream.open(state.root)
    assert len(open_archive(state.root, live=False).recordings["bed1"].streams[STREAM].read()) == 2000


def test_segments_that_retention_dropped_do_not_come_back_from_the_ledger(state: State) -> None:
    one, two = segment("0", 0, WHOLE[:2000]), segment("2000", 2000, WHOLE[2000:4000])
    for part in (one, two):
        state.begin(part)
        for number in range(2):
            state.block(part, number)
        state.seal(part, 0, 1)
    state.archive.remove("bed1", [(STREAM, "0")])
    with sanstream.open(state.root) as archive:
        stream = archive.recordings["bed1"].streams[STREAM]
        assert [e.name for e in stream.entry.segments] == ["2000"]
        assert np.array_equal(stream.read(2000), WHOLE[2000:4000])


def test_a_recording_that_was_deleted_is_gone_and_may_begin_anew(state: State) -> None:
    one = segment("0", 0, WHOLE)
    state.raw(0, WHOLE[:1500])
    state.begin(one)
    state.block(one, 0)
    state.record("event", dict(event(0, 1.0, "old").__dict__))
    state.record("forgotten", {})
    assert list(sanstream.open(state.root).recordings) == []
    state.raw(0, WHOLE[100:200], session="new", start_ns=START_NS + 10**12)
    with sanstream.open(state.root) as archive:
        assert archive.recordings["bed1"].start_ns == START_NS + 10**12
        assert archive.recordings["bed1"].annotations == ()
    assert np.array_equal(state.read(), WHOLE[100:200])


def test_raw_samples_of_other_calibration_stay_apart(state: State) -> None:
    other = tuple(replace(c, gain=100.0, missing=-4096, digital_min=-4096) for c in LEADS)
    state.raw(0, WHOLE[:500])
    state.raw(0, WHOLE[500:800] * 2, session="t", base=500, channels=other)
    more = (Channel("X", "mV", 1.0, 0, -9, 9, -9),)
    state.raw(0, np.ones((10, 1), np.int32), session="x", base=800, channels=more)
    stream = sanstream.open(state.root).recordings["bed1"].streams[STREAM]
    assert [c.label for c in stream.channels] == ["II", "V", "X"]
    assert stream.n_samples == 810
    physical = stream.read(0, 800, ["II", "V"], physical=True)
    assert np.allclose(physical[:500], WHOLE[:500] / 200)
    assert np.allclose(physical[500:], WHOLE[500:800] / 50)
    assert stream.rate == Fraction(100)


def test_what_moves_on_while_it_is_read_is_not_missed(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    one = segment("0", 0, WHOLE)
    state.begin(one)
    for first in range(0, 2500, 500):
        state.raw(first, WHOLE[first : first + 500])
    journal, ledger = archive_live_state.read_journal, archive_live_state.read_ledger

    def after_journal(folder: Path, **how: Any) -> object:
        found = list(journal(folder, **how))
        for number in range(2):
            state.block(one, number)
        state.journal.roll()
        for number in state.journal.numbers()[:-1]:
            state.journal.remove(number)
        return found

    def after_ledger(path: Path) -> object:
        found = list(ledger(path))
        state.seal(one, 0, 1)
        state.ledger.compact([])
        return found

    monkeypatch.setattr(archive_live_state, "read_journal", after_journal)
    monkeypatch.setattr(archive_live_state, "read_ledger", after_ledger)
    assert np.array_equal(state.read(), WHOLE[:2500])
    assert np.array_equal(open_archive(state.root, live=False).recordings["bed1"].streams[STREAM].read(), WHOLE[:2000])


def test_readers_never_see_less_while_the_daemon_works(state: State) -> None:
    one = segment("0", 0, WHOLE)
    failed: list[BaseException] = []

    def work() -> None:
        try:
            state.begin(one)
            numbers = []
            for first in range(0, 8000, 100):
                numbers.append((state.raw(first, WHOLE[first : first + 100]), first + 100))
                done = (first + 100) // STEP
                if (first + 100) % STEP == 0:
                    state.block(one, done - 1)
                    gone = {n for n, _ in numbers} - {n for n, stop in numbers if stop > done * STEP}
                    for number in gone - {state.journal.current}:
                        state.journal.remove(number)
                    if done % 2 == 0:
                        state.seal(one, done // 2 - 1, done // 2)
        except BaseException as error:
            failed.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    length, n_reads = 0, 0
    while worker.is_alive() or n_reads == 0:
        with sanstream.open(state.root) as archive:
            if "bed1" not in archive.recordings or STREAM not in archive.recordings["bed1"].streams:
                continue
            samples = archive.recordings["bed1"].streams[STREAM].read()
        assert np.array_equal(samples, WHOLE[: len(samples)])
        assert len(samples) >= length
        length, n_reads = len(samples), n_reads + 1
    worker.join()
    assert not failed
    assert np.array_equal(state.read(), WHOLE[:8000])
