"""file: a recording replayed at any speed, under the same numbers each time."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from sanstream.chunk import Chunk, Event
from sanstream.errors import InputError
from sanstream.feeds import FeedOptions, make_feed
from sanstream.formats import read, write
from sanstream.signal import Annotations, Channel, Segment, Stream
from sanstream.simulate import simulate_ecg, simulate_eeg

START = 1714564800 * 10**9


def items_of(url: str, **options: object) -> list[Chunk | Event]:
    out: list[Chunk | Event] = []
    feed = make_feed(FeedOptions("file", url, options=options))
    feed.run(lambda delivery: out.extend(delivery.items), threading.Event())
    return out


def joined(items: list[Chunk | Event], stream: str) -> np.ndarray:
    chunks = [i for i in items if isinstance(i, Chunk) and i.stream == stream]
    at = 0
    for chunk in chunks:
        assert chunk.first_sample == at
        at += chunk.n_samples
    return np.concatenate([c.samples for c in chunks])


@pytest.fixture
def ecg(tmp_path: Path) -> Path:
    return write(simulate_ecg(7.3, seed=1, start_ns=START), tmp_path, format="wfdb")[0]


def test_a_wfdb_record_comes_whole_with_its_annotations_at_their_times(ecg: Path) -> None:
    source = read(ecg)
    items = items_of(f"file://{ecg}?speed=0")
    np.testing.assert_array_equal(joined(items, "360hz"), source.streams[0].segments[0].samples)
    events = [i for i in items if isinstance(i, Event)]
    annotations = source.annotations[0]
    assert [e.text for e in events] == annotations.columns["symbol"].tolist()
    assert [e.time_ns - START for e in events] == annotations.columns["time_ns"].tolist()
    assert [e.number for e in events] == list(range(len(events)))
    chunks = [i for i in items if isinstance(i, Chunk)]
    assert [c.device_ns for c in chunks] == [START + i * 10**9 for i in range(8)]
    assert {c.recording for c in chunks} == {"ecg"}
    times = [i.time_ns if isinstance(i, Event) else (i.device_ns or 0) + i.n_samples * 10**9 // 360 for i in items]
    assert times == sorted(times)


def test_a_second_run_sends_the_same_numbers_and_a_changed_file_a_new_session(ecg: Path) -> None:
    def sessions() -> set[str]:
        return {i.session for i in items_of(str(ecg), speed=0)}

    first = sessions()
    assert first == sessions()
    assert len(first) == 1
    data = ecg.with_suffix(".dat")
    data.write_bytes(data.read_bytes())
    assert sessions() != first


def test_rates_become_streams_and_calibration_stays(tmp_path: Path) -> None:
    slow = Stream(
        "50hz", Fraction(50), (Segment(0, (Channel("RESP", "Ohm", 12.5, 3),), np.arange(200, dtype=np.int32)[:, None]),)
    )
    made = simulate_eeg(4, rate_hz=200, n_channels=2, trigger=True, start_ns=START)
    both = replace(made, streams=(replace(made.streams[0], name="200hz"), slow))
    path = write(both, tmp_path, format="bdf")[0]
    source, items = read(path), items_of(f"{path}?speed=0&chunk=0.7")
    for stream in source.streams:
        np.testing.assert_array_equal(joined(items, stream.name), stream.segments[0].samples)
        chunk = next(i for i in items if isinstance(i, Chunk) and i.stream == stream.name)
        for got, want in zip(chunk.channels, stream.segments[0].channels, strict=True):
            assert got.missing is not None
            assert replace(got, missing=want.missing) == want


def test_a_gap_stays_a_gap(tmp_path: Path) -> None:
    made = simulate_ecg(6, rate_hz=100)
    whole = made.streams[0].segments[0]
    parts = (Segment(0, whole.channels, whole.samples[:250]), Segment(400, whole.channels, whole.samples[400:]))
    gapped = replace(made, streams=(replace(made.streams[0], name="100hz", segments=parts),), annotations=())
    path = write(gapped, tmp_path, format="wfdb")[0]
    chunks = [i for i in items_of(f"{path}?speed=0") if isinstance(i, Chunk)]
    held = np.zeros(600, dtype=bool)
    for chunk in chunks:
        held[chunk.first_sample : chunk.first_sample + chunk.n_samples] = (
            chunk.samples[:, 0] != chunk.channels[0].missing
        )
    assert not held[250:400].any()
    assert held[:250].all()
    assert held[400:].all()


def test_durations_and_texts_of_edf_annotations_are_kept(tmp_path: Path) -> None:
    columns = {
        "time_ns": np.array([1_500_000_000], dtype=np.int64),
        "duration_s": np.array([0.25]),
        "text": np.array(["seizure"], dtype=object),
    }
    made = replace(simulate_eeg(4, start_ns=START), annotations=(Annotations("edf", columns),))
    path = write(made, tmp_path, format="edf")[0]
    events = [i for i in items_of(f"file:{path}?speed=0") if isinstance(i, Event)]
    assert [(e.time_ns, e.text, e.duration_ns) for e in events] == [(START + 1_500_000_000, "seizure", 250_000_000)]


def test_speed_is_kept_and_stop_ends_the_wait(ecg: Path) -> None:
    began = time.monotonic()
    items_of(f"{ecg}?speed=40")
    assert time.monotonic() - began >= 6 / 40
    stop, feed = threading.Event(), make_feed(FeedOptions("file", str(ecg), options={"speed": 0.001}))
    thread = threading.Thread(target=feed.run, args=(lambda _: None, stop))
    thread.start()
    stop.set()
    thread.join(20)
    assert not thread.is_alive()


def test_a_recording_without_start_has_the_same_times_each_run(tmp_path: Path) -> None:
    path = write(simulate_ecg(2), tmp_path, format="wfdb")[0]
    runs = [[i.device_ns for i in items_of(f"{path}?speed=0") if isinstance(i, Chunk)] for _ in range(2)]
    assert runs[0] == runs[1]
    assert abs((runs[0][0] or 0) - path.stat().st_mtime_ns) < 4 * 10**9


@pytest.mark.parametrize("url", ["file:///nowhere/rec", "file:", "nowhere.edf", "file:///nowhere/rec?sped=1"])
def test_a_file_that_is_not_there_is_refused_at_once(url: str) -> None:
    with pytest.raises(InputError) as caught:
        make_feed(FeedOptions("file", url))
    assert caught.value.hint


def test_a_cut_file_is_an_error_that_names_what_to_do(ecg: Path) -> None:
    data = ecg.with_suffix(".dat")
    data.write_bytes(data.read_bytes()[:-500])
    feed = make_feed(FeedOptions("file", f"file://{ecg}"))
    with pytest.raises(InputError, match="announced"):
        feed.run(lambda _: None, threading.Event())
    assert feed.state.error
    assert str(ecg) not in feed.state.error


def test_a_recording_that_would_fill_the_memory_is_refused(ecg: Path) -> None:
    feed = make_feed(FeedOptions("file", f"file://{ecg}?max_bytes=1000"))
    with pytest.raises(InputError) as caught:
        feed.run(lambda _: None, threading.Event())
    assert "sanstream archive" in str(caught.value.hint)


def test_check_says_what_is_in_it(ecg: Path) -> None:
    lines = make_feed(FeedOptions("file", f"file://{ecg}")).check()
    assert lines[0] == "stream 360hz: 2 channels, 7.3 s"
