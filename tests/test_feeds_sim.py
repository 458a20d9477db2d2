"""sim: any number of streams, paced and staggered, and every chunk can be computed again."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from sanstream.chunk import Chunk, Delivery
from sanstream.errors import InputError
from sanstream.feeds import FeedOptions, Stopped, make_feed
from sanstream.feeds.sim import RING_S, sim_samples


def taken(url: str, most: int = 10**6, **options: object) -> list[Chunk]:
    """Run a feed in this thread until it ends or ``most`` chunks came."""
    out: list[Chunk] = []

    def put(delivery: Delivery) -> None:
        if len(out) == most:
            raise Stopped
        out.extend(c for c in delivery.items if isinstance(c, Chunk))

    make_feed(FeedOptions("sim", url, options=options)).run(put, threading.Event())
    return out


URL = "sim://mixed?streams=5&rate=125&leads=3&chunk=0.5&seconds=3.3&speed=0&seed=7"


def test_every_chunk_can_be_computed_again() -> None:
    chunks = taken(URL)
    assert len(chunks) == 5 * 7
    for chunk in chunks:
        number = int(chunk.recording.removeprefix("sim"))
        np.testing.assert_array_equal(chunk.samples, sim_samples(URL, number, chunk.first_sample, chunk.n_samples))
    assert {c.recording for c in chunks} == {f"sim000{i}" for i in range(5)}
    assert sum(c.n_samples for c in chunks) == 5 * round(3.3 * 125)
    assert len({c.session for c in chunks}) == 1


def test_samples_do_not_depend_on_the_cut_and_the_ring_has_no_step() -> None:
    n = RING_S * 125
    whole = sim_samples(URL, 1, 0, 2 * n + 50)
    np.testing.assert_array_equal(whole[n - 40 : n + 60], sim_samples(URL, 1, n - 40, 100))
    np.testing.assert_array_equal(whole[:50], whole[n : n + 50])
    eeg, seam = np.abs(np.diff(whole[:n], axis=0)), (-7919) % n
    assert np.abs(whole[seam] - whole[seam - 1]).max() < 4 * np.percentile(eeg, 99)


def test_streams_are_staggered_and_device_times_follow_sample_numbers() -> None:
    chunks = taken(URL, start="2024-05-01T00:00:00Z")
    start = 1714521600 * 10**9
    for chunk in chunks:
        number = int(chunk.recording.removeprefix("sim"))
        assert chunk.device_ns is not None
        exact = start + number * 62 * 10**9 / (125 * 5) + chunk.first_sample * 8_000_000
        assert abs(chunk.device_ns - exact) <= 1
    first = [c.device_ns for c in chunks if c.first_sample == 0]
    assert len(set(first)) == 5


def test_real_time_is_paced_by_the_clock() -> None:
    began = time.monotonic()
    chunks = taken("sim://ecg?streams=3&chunk=0.1&seconds=0.5&speed=1")
    assert time.monotonic() - began >= 0.5
    assert len(chunks) == 15


def test_a_change_turns_the_signal_into_another() -> None:
    url = "sim://ecg?streams=2&seconds=4&speed=0"
    plain, changed = sim_samples(url, 0, 0, 1000), sim_samples(f"{url}&change=2", 0, 0, 1000)
    np.testing.assert_array_equal(plain[:500], changed[:500])
    assert (plain[500:] != changed[500:]).mean() > 0.5


def test_channels_always_have_a_missing_code_that_is_no_sample() -> None:
    for chunk in taken(URL, 5):
        for channel, samples in zip(chunk.channels, chunk.samples.T, strict=True):
            assert channel.missing is not None
            assert not channel.digital_min <= channel.missing <= channel.digital_max
            assert channel.digital_min <= samples.min()
            assert samples.max() <= channel.digital_max


def test_stop_ends_a_waiting_feed() -> None:
    stop, feed = threading.Event(), make_feed(FeedOptions("sim", "sim://ecg?chunk=100"))
    thread = threading.Thread(target=feed.run, args=(lambda _: None, stop))
    thread.start()
    stop.set()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    "url",
    [
        "sim://xyz",
        "sim://ecg?leads=13",
        "sim://ecg?streams=0",
        "sim://ecg?stream=3",
        "sim://ecg?streams=2&streams=3",
        "sim:eeg",
        "sim://ecg/eeg",
        "sim://ecg#streams=3",
        "sim://ecg?rate=fast",
        "sim://ecg?start=1",
        "sim://ecg?chunk=nan",
        "sim://ecg?chunk=121",
        "sim://ecg?seconds=inf",
        "sim://ecg?speed=-1",
    ],
)
def test_a_wrong_option_is_refused(url: str) -> None:
    with pytest.raises(InputError) as caught:
        make_feed(FeedOptions("sim", url))
    assert caught.value.hint


def test_the_configuration_wins_over_the_url_and_names_can_be_mapped() -> None:
    options = FeedOptions("sim", "sim://ecg?streams=3", options={"streams": 1}, identity={"sim0000": "bed1"})
    feed = make_feed(replace(options, options={**options.options, "seconds": 1.0, "speed": 0.0}))
    seen: list[str] = []
    feed.run(lambda d: seen.extend(i.recording for i in d.items), threading.Event())
    assert seen == ["bed1"]
