"""stdin: raw samples or lines from a pipe; whatever comes, no hang and no traceback."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import sanstream
from sanstream.chunk import Chunk, Delivery
from sanstream.errors import InputError
from sanstream.feeds import FeedOptions
from sanstream.feeds.descriptors import plain_channels
from sanstream.feeds.numbering import Numbering
from sanstream.feeds.replay import timeline
from sanstream.feeds.stdin import StdinFeed
from sanstream.formats import write
from sanstream.publish_stdout import StdoutPublisher
from sanstream.publish_wire import PublishOptions
from sanstream.signal import Recording
from sanstream.simulate import simulate_ecg


def fed(url: str, data: bytes, *, cuts: int = 1) -> tuple[list[Chunk], StdinFeed]:
    """Write ``data`` into a pipe in ``cuts`` parts while the feed reads it to its end."""
    read, write = os.pipe()
    feed = StdinFeed(FeedOptions("stdin", url), source=read)
    out: list[Chunk] = []
    size = -(-len(data) // cuts) or 1

    def writer() -> None:
        with contextlib.suppress(BrokenPipeError):
            for at in range(0, len(data), size):
                os.write(write, data[at : at + size])
        os.close(write)

    thread = threading.Thread(target=writer)
    thread.start()
    try:
        feed.run(lambda delivery: out.extend(i for i in delivery.items if isinstance(i, Chunk)), threading.Event())
    finally:
        os.close(read)
        thread.join(10)
    return out, feed


def joined(chunks: list[Chunk]) -> np.ndarray:
    at = 0
    for chunk in chunks:
        assert chunk.first_sample == at
        at += chunk.n_samples
    return np.concatenate([c.samples for c in chunks])


@pytest.mark.parametrize(("name", "dtype"), [("int16", "<i2"), ("int32", "<i4")])
def test_integers_come_as_they_are_however_the_pipe_cuts_them(name: str, dtype: str) -> None:
    x = np.random.default_rng(0).integers(-30000, 30000, size=(1234, 3)).astype(dtype)
    chunks, feed = fed(f"stdin:?rate=250&channels=3&format={name}&name=bed1&unit=mV&gain=200", x.tobytes(), cuts=57)
    np.testing.assert_array_equal(joined(chunks), x)
    channel = chunks[0].channels[0]
    assert (channel.unit, channel.gain, chunks[0].recording, chunks[0].stream) == ("mV", 200.0, "bed1", "250hz")
    assert channel.missing is not None
    assert not channel.digital_min <= channel.missing <= channel.digital_max
    assert feed.state.n_warnings == {}
    assert len({c.session for c in chunks}) == 1


def test_every_run_draws_its_own_session() -> None:
    sessions = {fed("stdin:?rate=10", b"\0\0")[0][0].session for _ in range(2)}
    assert len(sessions) == 2


def test_floats_are_put_on_their_step() -> None:
    x = (np.random.default_rng(0).integers(-3000, 3000, size=(700, 2)) * 0.1).astype("<f4")
    chunks, _ = fed("stdin:?rate=250&channels=2&format=float32&unit=uV", x.tobytes())
    got = np.concatenate([np.stack([c.channels[k].physical(c.samples[:, k]) for k in (0, 1)], axis=1) for c in chunks])
    np.testing.assert_array_equal(got.astype(np.float32), x)


def test_csv_with_a_head_gives_labels_units_and_times() -> None:
    rows = [f"{1714564800 + i / 100:.2f},{i * 0.5:.1f},{-i}" for i in range(250)]
    text = "# rate: 100\ntime [s],II [mV],EEG C3\n" + "\n".join(rows)
    chunks, _ = fed("stdin:?format=csv&unit=uV", text.encode(), cuts=9)
    assert sum(c.n_samples for c in chunks) == 250
    assert [(c.label, c.unit) for c in chunks[0].channels] == [("II", "mV"), ("EEG C3", "uV")]
    physical = np.concatenate([c.channels[0].physical(c.samples[:, 0]) for c in chunks])
    np.testing.assert_array_equal(physical, np.arange(250) * 0.5)
    assert [c.device_ns for c in chunks] == [1714564800 * 10**9 + c.first_sample * 10**7 for c in chunks]


def test_a_broken_line_is_missing_and_counted_and_keeps_its_place() -> None:
    text = "1,2\n3,4\nx,5\n7\n8,9,10\n,12\n13,14"
    chunks, feed = fed("stdin:?rate=250&format=csv", text.encode())
    samples = joined(chunks)
    assert samples.shape == (7, 2)
    absent = samples == [[c.missing for c in chunks[0].channels]]
    assert absent.all(axis=1).tolist() == [False, False, True, True, True, False, False]
    assert absent[5].tolist() == [True, False]
    assert feed.state.n_warnings["bad_line"] == 3


def test_a_torn_last_sample_is_counted() -> None:
    chunks, feed = fed("stdin:?rate=250&channels=2", b"\1\0\2\0\3")
    assert joined(chunks).tolist() == [[1, 2]]
    assert feed.state.n_warnings == {"torn_end": 1}


def test_samples_faster_than_real_time_are_placed_by_their_number() -> None:
    chunks, _ = fed("stdin:?rate=100", np.zeros(1000, dtype="<i2").tobytes())
    times = [c.device_ns for c in chunks]
    assert None not in times
    assert np.diff([t for t in times if t is not None]).tolist() == [10**9] * (len(times) - 1)
    chunks, _ = fed("stdin:?rate=100&start=2024-05-01T12:00:00Z", np.zeros(10, dtype="<i2").tobytes())
    assert chunks[0].device_ns == 1714564800 * 10**9


def clocked(arrivals_s: list[float], rate: int = 10) -> list[float]:
    """Give chunks of one second to a numbering at these arrivals; return their times in seconds."""
    numbering = Numbering("r", "s", Fraction(rate), plain_channels(["a"], "", 1.0, -5, 5))
    ones = np.ones((rate, 1), dtype=np.int32)
    times = [numbering.chunk(ones, round((1000 + at) * 1e9)).device_ns for at in arrivals_s]
    return [(t or 0) / 1e9 - 1000 for t in times]


def test_a_pause_of_the_source_shows_in_its_times_and_a_burst_does_not() -> None:
    burst = [float(k) for k in range(1, 21)] + [25.0] * 5 + [float(k) for k in range(26, 60)]
    assert clocked(burst) == [float(k) for k in range(59)]
    pause = [float(k) for k in range(1, 21)] + [float(k) for k in range(80, 120)]
    times = clocked(pause)
    assert times[:20] == [float(k) for k in range(20)]
    assert times[35:] == [float(k) for k in range(94, 119)]


def test_an_empty_input_ends_without_a_chunk() -> None:
    assert fed("stdin:?rate=250", b"")[0] == []
    assert fed("stdin:?format=csv", b"")[0] == []


@pytest.mark.parametrize(
    "data",
    [b"\x00" * 3_000_000, bytes(range(256)) * 3000, b"," * 2000 + b"\n" * 50, b"1,2\n" + b"9" * 1_100_000],
    ids=["nul", "bytes", "commas", "long line"],
)
def test_garbage_as_csv_ends_with_an_error_or_bad_lines(data: bytes) -> None:
    refused: list[InputError] = []
    warned = {}
    try:
        warned = fed("stdin:?rate=250&format=csv", data, cuts=5)[1].state.n_warnings
    except InputError as error:
        refused.append(error)
    assert warned or refused[0].hint


def test_csv_without_a_rate_says_how_to_give_it() -> None:
    with pytest.raises(InputError, match="rate"):
        fed("stdin:?format=csv", b"1,2\n3,4\n")


@pytest.mark.parametrize(
    "url", ["stdin:", "stdin:?rate=x", "stdin:?rate=1&format=int8", "stdin:?rate=1&channels=0", "stdin:?rate=1&gain=0"]
)
def test_a_wrong_option_is_refused(url: str) -> None:
    with pytest.raises(InputError) as caught:
        StdinFeed(FeedOptions("stdin", url))
    assert caught.value.hint


def piped(recording: Recording) -> bytes:
    """Return what ``sanstream publish --to -`` writes."""
    out = io.BytesIO()
    made = StdoutPublisher(PublishOptions("-"), out=out)
    made.open()
    for _, item in timeline(recording, name="bed", session="s1", start_ns=10**18):
        made.send_chunk(item) if isinstance(item, Chunk) else made.send_event(item)
    made.flush()
    made.close()
    assert made.outbox.published.n_samples == recording.streams[0].n_samples
    return out.getvalue()


def test_what_publish_writes_to_a_pipe_is_read_as_it_was() -> None:
    recording = simulate_ecg(5, seed=3)
    segment = recording.streams[0].segments[0]
    chunks, feed = fed("stdin:?format=wire", piped(recording), cuts=23)
    np.testing.assert_array_equal(joined(chunks), segment.samples)
    assert {(c.recording, c.session) for c in chunks} == {("bed", "s1")}
    assert [c.gain for c in chunks[0].channels] == [c.gain for c in segment.channels]
    assert feed.state.n_warnings == {}


def test_the_command_writes_messages_and_nothing_else_to_standard_output(tmp_path: Path) -> None:
    recording = simulate_ecg(3, seed=4)
    path = write(recording, tmp_path, format="wfdb")[0]
    command = [sys.executable, "-m", "sanstream", "publish", path, "--to", "-", "--speed", "0"]
    env = {**os.environ, "PYTHONPATH": str(Path(sanstream.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, check=True, env=env)
    chunks, _ = fed("stdin:?format=wire", done.stdout)
    np.testing.assert_array_equal(joined(chunks), recording.streams[0].segments[0].samples)
    assert b"1080 samples" in done.stderr


def test_a_pipe_of_broken_messages_is_poison_or_an_error() -> None:
    data = bytearray(piped(simulate_ecg(2)))
    data[200] ^= 1
    poison: list[Delivery] = []
    read, write = os.pipe()
    os.write(write, bytes(data))
    os.close(write)
    StdinFeed(FeedOptions("stdin", "stdin:?format=wire"), source=read).run(
        lambda d: poison.append(d) if d.poison is not None else None, threading.Event()
    )
    os.close(read)
    assert poison
    with pytest.raises(InputError, match="WIRE"):
        fed("stdin:?format=wire", b"\xff" * 100)


def test_stop_ends_a_silent_pipe() -> None:
    read, write = os.pipe()
    stop = threading.Event()
    feed = StdinFeed(FeedOptions("stdin", "stdin:?rate=250"), source=read)
    taken: list[Delivery] = []
    thread = threading.Thread(target=feed.run, args=(taken.append, stop))
    thread.start()
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    os.close(read)
    os.close(write)
