"""lsl: real outlets on loopback."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from lsl_network import need_lsl

from sanstream.chunk import Chunk, Delivery, Event
from sanstream.errors import InputError
from sanstream.feeds import FeedOptions, make_feed
from sanstream.publish import PublishOptions, publish
from sanstream.simulate import simulate_ecg

need_lsl()
pylsl = pytest.importorskip("pylsl")


class Read:
    """A feed in a thread, and what it gave."""

    def __init__(self, url: str, **options: Any) -> None:
        self.chunks: list[Chunk] = []
        self.events: list[Event] = []
        self.stop = threading.Event()
        options = {"chunk": 0.2, **options}
        self.feed = make_feed(FeedOptions("lab", url, options=options))
        self.thread = threading.Thread(target=self.feed.run, args=(self.put, self.stop))
        self.thread.start()

    def put(self, delivery: Delivery) -> None:
        self.chunks += [i for i in delivery.items if isinstance(i, Chunk)]
        self.events += [i for i in delivery.items if isinstance(i, Event)]

    def until(self, done: Any) -> None:
        deadline = time.monotonic() + 20
        while not done(self) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert done(self), (len(self.chunks), len(self.events), self.feed.state)

    def end(self) -> None:
        self.stop.set()
        self.thread.join(20)
        assert not self.thread.is_alive()


@pytest.fixture
def reading() -> Iterator[Any]:
    made: list[Read] = []

    def start(url: str, **options: Any) -> Read:
        made.append(Read(url, **options))
        return made[-1]

    yield start
    for one in made:
        one.end()


def outlet(name: str, kind: str = "EEG", n: int = 2, rate: float = 250, fmt: str = "float32", unit: str = "") -> Any:
    info = pylsl.StreamInfo(name, kind, n, rate, fmt, f"id-{name}")
    if unit:
        channels = info.desc().append_child("channels")
        for label in ("Fp1", "Fp2")[:n]:
            one = channels.append_child("channel")
            one.append_child_value("label", label)
            one.append_child_value("unit", unit)
    return pylsl.StreamOutlet(info, 32)


def connected(read: Read, made: Any) -> None:
    assert made.wait_for_consumers(20)
    read.until(lambda r: r.feed.state.connected)


def push(made: Any, values: np.ndarray, first_stamp: float, rate: float = 250) -> None:
    for at in range(0, len(values), 25):
        part = values[at : at + 25]
        made.push_chunk(np.ascontiguousarray(part), first_stamp + (at + len(part) - 1) / rate)


def n_samples(read: Read) -> int:
    return sum(c.n_samples for c in read.chunks)


def test_a_float_stream_comes_whole_with_labels_units_and_the_clock_of_this_machine(reading: Any) -> None:
    made = outlet("Amp", unit="microvolts")
    read = reading("lsl://Amp")
    connected(read, made)
    x = (np.random.default_rng(0).integers(-9000, 9000, size=(500, 2)) * 0.1).astype(np.float32)
    began = time.time_ns() - round(pylsl.local_clock() * 1e9) + 5 * 10**9
    push(made, x, 5.0)
    read.until(lambda r: n_samples(r) == 500)
    got = np.concatenate([c.channels[0].physical(c.samples[:, 0]) for c in read.chunks])
    np.testing.assert_array_equal(got.astype(np.float32), x[:, 0])
    first = read.chunks[0]
    assert [(c.label, c.unit) for c in first.channels] == [("Fp1", "uV"), ("Fp2", "uV")]
    assert (first.recording, first.stream) == ("Amp", "250hz")
    at = 0
    for chunk in read.chunks:
        assert chunk.first_sample == at
        assert abs((chunk.device_ns or 0) - (began + at * 4_000_000)) < 20_000_000
        at += chunk.n_samples
    assert not read.feed.can_wait
    assert not read.feed.replays


def test_integers_stay_integers_and_a_gap_is_counted_from_time_stamps(reading: Any) -> None:
    made = outlet("Holter", "ECG", 1, fmt="int16")
    read = reading("lsl://?type=ECG&source_id=id-Holter")
    connected(read, made)
    x = np.random.default_rng(0).integers(-3000, 3000, size=(400, 1)).astype(np.int16)
    push(made, x[:200], 100.0)
    push(made, x[200:], 100.0 + (200 + 137) / 250)
    read.until(lambda r: n_samples(r) == 400)
    held = {c.first_sample + k: int(v) for c in read.chunks for k, v in enumerate(c.samples[:, 0])}
    assert sorted(held) == [*range(200), *range(337, 537)]
    np.testing.assert_array_equal([held[k] for k in sorted(held)], x[:, 0])
    assert read.feed.state.n_warnings["gap"] == 1
    assert read.chunks[0].channels[0].missing == -(2**15) - 1


def test_markers_are_events_of_the_signal_recordings(reading: Any) -> None:
    amp, markers = outlet("Amp2", n=1, fmt="int32"), outlet("Keys", "Markers", 1, 0, "string")
    read = reading("lsl://", unit="uV")
    connected(read, amp)
    assert markers.wait_for_consumers(20)
    push(amp, np.zeros((50, 1), dtype=np.int32), 50.0)
    read.until(lambda r: n_samples(r) == 50)
    markers.push_sample(["Größer\tstim 1"], 50.1)
    markers.push_sample(["stop"], 50.2)
    read.until(lambda r: len(r.events) == 2)
    assert [(e.recording, e.kind, e.text, e.number) for e in read.events] == [
        ("Amp2", "marker", "Größer\tstim 1", 0),
        ("Amp2", "marker", "stop", 1),
    ]
    assert abs(read.events[0].time_ns - (read.chunks[0].device_ns or 0) - 10**8) < 20_000_000


def test_an_outlet_that_comes_back_is_read_under_a_new_session(reading: Any) -> None:
    made = outlet("Bed", n=1, fmt="int16")
    read = reading("lsl://Bed")
    connected(read, made)
    push(made, np.ones((100, 1), dtype=np.int16), 10.0)
    read.until(lambda r: n_samples(r) == 100)
    del made
    read.until(lambda r: not r.feed.state.connected)
    made = outlet("Bed", n=1, fmt="int16")
    connected(read, made)
    push(made, np.full((100, 1), 2, dtype=np.int16), 20.0)
    read.until(lambda r: n_samples(r) == 200)
    sessions = [c.session for c in read.chunks]
    assert len(set(sessions)) == 2
    assert read.chunks[-1].recording == read.chunks[0].recording == "Bed"
    assert read.chunks[sessions.index(sessions[-1])].first_sample == 0
    assert read.feed.state.n_connects == 2


@pytest.mark.parametrize("form", ["float32", "int32"])
def test_what_publish_sends_is_read_as_it_was(reading: Any, form: str) -> None:
    recording = replace(simulate_ecg(2, seed=5), name=f"pub-{form}")
    segment = recording.streams[0].segments[0]
    read = reading(f"lsl://pub-{form}", chunk=0.3)
    publish(recording, PublishOptions(f"lsl:?format={form}"), speed=0)
    read.until(lambda r: n_samples(r) == len(segment.samples))
    chunks = sorted(read.chunks, key=lambda c: c.first_sample)
    samples = np.concatenate([c.samples for c in chunks])
    got = chunks[0].channels[0]
    np.testing.assert_array_equal(
        got.physical(samples[:, 0]).astype(np.float32),
        segment.channels[0].physical(segment.samples[:, 0]).astype(np.float32),
    )
    if form == "int32":
        np.testing.assert_array_equal(samples, segment.samples)
        assert (got.gain, got.baseline) == (segment.channels[0].gain, segment.channels[0].baseline)
    read.until(lambda r: len(r.events) == len(recording.annotations[0]))
    assert {e.recording for e in read.events} == {recording.name}
    assert "rounding" not in got.header
    assert chunks[0].recording == recording.name
    assert sum(c.n_samples for c in chunks) == chunks[-1].first_sample + chunks[-1].n_samples


def test_check_lists_what_is_there() -> None:
    made = outlet("Check", "EEG", 2, 500)
    lines = make_feed(FeedOptions("lab", "lsl://Check")).check()
    assert lines == ["Check (EEG): 2 channels, 500 Hz"]
    with pytest.raises(InputError) as caught:
        make_feed(FeedOptions("lab", "lsl://Nobody?wait=0.5")).check()
    assert "Check" in str(caught.value.hint)
    del made


@pytest.mark.parametrize("url", ["lsl://EEG'x", "lsl://?typ=EEG", "lsl://?wait=0", "lsl://?recording=a/b"])
def test_a_wrong_option_is_refused(url: str) -> None:
    with pytest.raises(InputError) as caught:
        make_feed(FeedOptions("lab", url))
    assert caught.value.hint
