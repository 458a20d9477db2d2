"""A recording as a live feed: at its pace, whole, confirmed, through restarts."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brokers import free_port, mqtt_broker, nats_broker, wait_for
from conftest import Run
from feed_cases import CHANNELS, Running, assert_whole, key, recording
from hypothesis import given
from hypothesis import strategies as st

from sanstream.chunk import Chunk, Event
from sanstream.errors import InputError
from sanstream.formats import write
from sanstream.publish import PUBLISHERS, Published, PublishOptions, publish
from sanstream.publish_wire import REPEAT_MESSAGES, REPEAT_S, Outbox
from sanstream.signal import Recording, Segment, Stream
from sanstream.simulate import simulate_ecg
from sanstream.wire import decode
from sanstream.wire_channels import Descriptors, UnknownDescriptor

SOURCE = recording()


class Fake:
    """A publisher that keeps what it is given, and a clock that only sleeping moves."""

    now = 0.0
    made: list[Fake]

    def __init__(self, options: PublishOptions) -> None:
        self.items: list[Chunk | Event] = []
        self.times: list[float] = []
        self.done: list[str] = []
        Fake.made.append(self)

    def open(self) -> None:
        self.done.append("open")

    def _send(self, item: Chunk | Event) -> None:
        self.items.append(item)
        self.times.append(Fake.now)

    send_chunk = send_event = _send

    def flush(self) -> None:
        self.done.append("flush")

    def close(self) -> None:
        self.done.append("close")


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Fake]:
    monkeypatch.setitem(PUBLISHERS, "fake", f"{__name__}:Fake")
    Fake.made, Fake.now = [], 0.0

    def sleep(seconds: float) -> None:
        Fake.now += seconds

    def call(source: Recording = SOURCE, **more: Any) -> Fake:
        publish(source, PublishOptions("fake:"), clock=lambda: Fake.now, sleep=sleep, **more)
        return Fake.made[-1]

    return call


def chunks(fake: Fake) -> list[Chunk]:
    return [i for i in fake.items if isinstance(i, Chunk)]


def test_samples_go_out_when_they_would_have_been_taken(faked: Callable[..., Fake]) -> None:
    fake = faked(speed=4.0)
    for item, at in zip(fake.items, fake.times, strict=True):
        if isinstance(item, Chunk):
            end = (item.first_sample + item.n_samples) / 100
            assert end / 4 <= at + 1e-9 <= (end + 1) / 4 + 1e-9
    assert fake.done == ["open", "flush", "close"]
    assert Fake.now == pytest.approx(5)


@pytest.mark.parametrize("speed", [0.0, float("inf")])
def test_speed_0_does_not_wait(faked: Callable[..., Fake], speed: float) -> None:
    faked(speed=speed)
    assert Fake.now == 0


def test_all_samples_go_out_once_with_their_gap(faked: Callable[..., Fake]) -> None:
    fake = faked(speed=0)
    numbers = np.concatenate([np.arange(c.first_sample, c.first_sample + c.n_samples) for c in chunks(fake)])
    assert np.array_equal(numbers, np.r_[:500, 550:2000])
    (stream,) = SOURCE.streams
    assert np.array_equal(
        np.concatenate([c.samples for c in chunks(fake)]), np.concatenate([s.samples for s in stream.segments])
    )


def test_device_time_counts_samples_whatever_the_speed(faked: Callable[..., Fake]) -> None:
    fake = faked(speed=7.0, start_ns=10**18)
    assert all(c.device_ns == 10**18 + c.first_sample * 10**7 for c in chunks(fake))


def test_annotations_are_events_at_their_time(faked: Callable[..., Fake]) -> None:
    fake = faked(speed=1.0, start_ns=10**18)
    events = [(i, t) for i, t in zip(fake.items, fake.times, strict=True) if isinstance(i, Event)]
    assert [e.number for e, _ in events] == list(range(20))
    for event, at in events:
        assert (event.kind, event.text) == ("annotation", f"note {event.number}")
        assert event.time_ns == 10**18 + event.number * 10**9
        assert event.number <= at <= event.number + 1


def test_copies_have_names_and_sessions_of_their_own_and_are_spread(faked: Callable[..., Fake]) -> None:
    fake = faked(speed=1.0, streams=4)
    first = [(c.recording, c.session, t) for c, t in zip(fake.items, fake.times, strict=True) if key(c)[3] == 0]
    names = [f"bed-{n:04d}" for n in (1, 2, 3, 4)]
    assert sorted({r for r, _, _ in first}) == names
    assert len({s for _, s, _ in first}) == 4
    assert [t for r, _, t in first if r in names][::2] == pytest.approx([1, 1.25, 1.5, 1.75])


def test_each_run_draws_a_session(faked: Callable[..., Fake]) -> None:
    assert faked(speed=0).items[0].session != faked(speed=0).items[0].session
    assert faked(speed=0, session="mine").items[0].session == "mine"


def test_a_repeated_recording_goes_on_counting(faked: Callable[..., Fake]) -> None:
    fake = faked(speed=0, repeat=3)
    assert max(c.first_sample + c.n_samples for c in chunks(fake)) == 6000
    assert len({key(i) for i in fake.items}) == len(fake.items)
    events = [i for i in fake.items if isinstance(i, Event)]
    assert [e.number for e in events] == list(range(60))
    assert events[40].time_ns - events[20].time_ns == 20 * 10**9


def test_streams_of_other_rates_and_channel_sets_go_out_as_they_are(faked: Callable[..., Fake]) -> None:
    a = Stream("250hz", Fraction(250), (Segment(0, CHANNELS, np.ones((500, 2), np.int32)),))
    b = Stream("odd", Fraction(62500, 1001), (Segment(3, CHANNELS[:1], np.ones((100, 1), np.int32)),))
    fake = faked(Recording("r", (a, b)), speed=0)
    assert {(c.stream, c.rate, len(c.channels)) for c in chunks(fake)} == {
        ("250hz", 250, 2),
        ("odd", Fraction(62500, 1001), 1),
    }
    assert sum(c.n_samples for c in chunks(fake) if c.stream == "odd") == 100


def test_long_messages_are_split(faked: Callable[..., Fake]) -> None:
    stream = Stream("x", Fraction(100_000), (Segment(0, CHANNELS, np.ones((200_000, 2), np.int32)),))
    fake = faked(Recording("r", (stream,)), speed=0, seconds_per_message=2)
    assert max(c.n_samples for c in chunks(fake)) == 65536
    assert sum(c.n_samples for c in chunks(fake)) == 200_000


@pytest.mark.parametrize("wrong", [{"speed": -1}, {"streams": 0}, {"repeat": 0}, {"seconds_per_message": 0}])
def test_impossible_numbers_are_refused(faked: Callable[..., Fake], wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="above 0"):
        faked(**wrong)


def test_a_recording_without_samples_is_refused(faked: Callable[..., Fake]) -> None:
    with pytest.raises(InputError, match="no samples"):
        faked(Recording("r", ()))


def test_an_unknown_scheme_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean mqtt:"):
        publish(SOURCE, PublishOptions("mqqt://localhost"))


# ---- what is on its way


def part(first: int, channels: Any = CHANNELS) -> Chunk:
    return Chunk("r", "x", "s", first, np.ones((10, 2), np.int32), Fraction(100), channels, None, 0)


def test_clause_5_3_a_descriptor_is_repeated_in_time() -> None:
    now = [0.0]
    box = Outbox(PublishOptions("x:"), clock=lambda: now[0])

    def inline(first: int) -> bool:
        letter = box.letter(box.chunk(part(first)))
        assert letter is not None
        try:
            decode(letter.message, Descriptors(), 0)
        except UnknownDescriptor:
            return False
        return True

    found = [inline(n) for n in range(3 * REPEAT_MESSAGES)]
    assert [n for n, i in enumerate(found) if i] == [0, REPEAT_MESSAGES, 2 * REPEAT_MESSAGES]
    assert inline(100)
    now[0] += REPEAT_S - 0.1
    assert not inline(101)
    now[0] += 0.1
    assert inline(102)


def test_a_message_is_kept_until_it_is_confirmed() -> None:
    box = Outbox(PublishOptions("x:"))
    numbers = [box.chunk(part(10 * n)) for n in range(3)]
    box.confirm(numbers[1])
    box.confirm(numbers[1])
    assert box.open() == [numbers[0], numbers[2]]
    assert box.published.samples == {("r", "x"): [[10, 20]]}
    assert box.published.n_messages == 1


def test_a_sender_waits_for_room() -> None:
    box = Outbox(PublishOptions("x:"))
    box.max_messages = 2
    numbers = [box.chunk(part(10 * n)) for n in range(2)]
    waiting = threading.Thread(target=box.wait_room, args=(lambda: None,))
    waiting.start()
    time.sleep(0.05)
    assert waiting.is_alive()
    box.confirm(numbers[0])
    waiting.join(5)
    assert not waiting.is_alive()


@given(st.permutations(list(range(12))), st.sets(st.integers(0, 11)))
def test_confirmed_ranges_are_exact_and_merged(order: list[int], left_out: set[int]) -> None:
    published = Published()
    for n in order:
        if n not in left_out:
            published.add(("r", "x", 10 * n, 10 * n + 10), 1)
    ranges = published.samples.get(("r", "x"), [])
    assert {n for first, stop in ranges for n in range(first // 10, stop // 10)} == set(range(12)) - left_out
    assert all(a[1] < b[0] for a, b in itertools.pairwise(ranges))


# ---- through real brokers


def in_background(*args: Any, **more: Any) -> tuple[threading.Thread, list[Published]]:
    done: list[Published] = []
    thread = threading.Thread(target=lambda: done.append(publish(*args, **more)), daemon=True)
    thread.start()
    return thread, done


@pytest.mark.parametrize("kill", [False, True])
def test_a_nats_server_that_restarts_meanwhile_gets_everything(tmp_path: Path, kill: bool) -> None:
    with nats_broker(tmp_path / "nats") as broker:
        url = f"nats://127.0.0.1:{broker.port}"
        with Running(url) as feed:
            thread, done = in_background(SOURCE, PublishOptions(url, create=True), speed=10.0, streams=4)
            feed.wait(40)
            broker.restart(kill=kill)
            thread.join(30)
            (published,) = done
            assert published.n_samples == 4 * 1950
            assert published.events == {f"bed-{n:04d}": 20 for n in (1, 2, 3, 4)}
            wait_for(lambda: len(set(feed.keys)) == published.n_messages)
    assert_whole(feed.deliveries, SOURCE, 4)


def test_an_mqtt_broker_that_restarts_meanwhile_gets_everything(tmp_path: Path) -> None:
    with mqtt_broker(tmp_path / "mqtt") as broker:
        url = f"mqtt://127.0.0.1:{broker.port}"
        with Running(url) as feed:
            feed.wait_connected()
            thread, done = in_background(SOURCE, PublishOptions(url), speed=10.0, streams=4)
            feed.wait(40)
            broker.restart()
            thread.join(30)
            (published,) = done
            assert published.n_samples == 4 * 1950
            wait_for(lambda: len(set(feed.keys)) == published.n_messages)
    assert_whole(feed.deliveries, SOURCE, 4)


def test_mosquittos_default_limits_are_kept_to(tmp_path: Path) -> None:
    """Its default Receive Maximum is 20; whoever sends more at once is cut off."""
    with mqtt_broker(tmp_path / "mqtt") as broker:
        broker.stop()
        (broker.folder / "plain.conf").write_text(f"listener {broker.port} 127.0.0.1\nallow_anonymous true\n")
        command = broker._command
        broker._command = lambda b: [command(b)[0], "-c", str(broker.folder / "plain.conf")]
        broker.start()
        done = publish(SOURCE, PublishOptions(f"mqtt://127.0.0.1:{broker.port}"), speed=0, streams=5)
    assert done.n_samples == 5 * 1950


def test_a_message_that_the_server_does_not_take_is_a_clear_error(tmp_path: Path) -> None:
    with nats_broker(tmp_path / "nats", max_payload="1KB") as broker:
        options = PublishOptions(f"nats://127.0.0.1:{broker.port}", create=True)
        with pytest.raises(InputError, match="max_payload"):
            publish(SOURCE, options, speed=0, seconds_per_message=20)


def test_without_a_stream_nats_is_a_clear_error(tmp_path: Path) -> None:
    with nats_broker(tmp_path / "nats") as broker, pytest.raises(InputError, match="no JetStream stream"):
        publish(SOURCE, PublishOptions(f"nats://127.0.0.1:{broker.port}"), speed=0)


@pytest.mark.parametrize("scheme", ["nats", "mqtt"])
def test_no_broker_is_a_clear_error(scheme: str) -> None:
    with pytest.raises(InputError, match="connection refused"):
        publish(SOURCE, PublishOptions(f"{scheme}://127.0.0.1:{free_port()}"), speed=0)


@pytest.mark.parametrize(("scheme", "start"), [("nats", nats_broker), ("mqtt", mqtt_broker)])
def test_a_wrong_password_is_a_clear_error(tmp_path: Path, scheme: str, start: Any) -> None:
    with start(tmp_path / "b", password="right") as broker:
        url = f"{scheme}://127.0.0.1:{broker.port}"
        with pytest.raises(InputError, match=r"(?i)authoriz"):
            publish(SOURCE, PublishOptions(url, user="sanstream", password="wrong", create=True), speed=0)


def test_the_command_says_what_was_confirmed(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_SECRET", "right")
    source = write(simulate_ecg(10, seed=1), tmp_path / "r", format="wfdb")[0]
    with nats_broker(tmp_path / "nats", password="right") as broker:
        ended = run(
            "publish", source, "--to", f"nats://127.0.0.1:{broker.port}/ward", "--create", "--speed", "0", "--streams",
            "3", "--user", "sanstream", "--password-env", "BROKER_SECRET", "--json",
        )  # fmt: skip
    assert ended.code == 0, ended.err
    said = json.loads(ended.out)
    assert (said["recordings"], said["samples"]) == (3, 3 * 3600)
    assert said["messages"] == 30 + said["events"]


def test_the_command_names_a_missing_secret(tmp_path: Path, run: Run) -> None:
    source = write(simulate_ecg(10, seed=1), tmp_path / "r", format="wfdb")[0]
    ended = run("publish", source, "--to", "nats://127.0.0.1", "--password-env", "NO_SUCH_SECRET")
    assert ended.code == 2
    assert "NO_SUCH_SECRET" in ended.err
