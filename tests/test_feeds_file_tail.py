"""file with tail: what a growing file gains, once and under the same numbers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sanstream.chunk import Chunk, Delivery
from sanstream.errors import InputError
from sanstream.feeds import Feed, FeedOptions, make_feed

Follow = Callable[..., "Followed"]


class Followed:
    """A feed in a thread, and what it gave."""

    def __init__(self, path: Path, **options: object) -> None:
        self.chunks: list[Chunk] = []
        self.stop = threading.Event()
        given = {"tail": True, "poll": 0.01, **options}
        self.feed: Feed = make_feed(FeedOptions("tail", f"file://{path}", options=given))
        self.thread = threading.Thread(target=self.feed.run, args=(self.put, self.stop))
        self.thread.start()

    def put(self, delivery: Delivery) -> None:
        self.chunks += [i for i in delivery.items if isinstance(i, Chunk)]

    def wait(self, n: int) -> list[Chunk]:
        deadline = time.monotonic() + 20
        while sum(c.n_samples for c in self.chunks) < n and time.monotonic() < deadline:
            time.sleep(0.005)
        assert sum(c.n_samples for c in self.chunks) == n
        return self.chunks

    def end(self) -> None:
        self.stop.set()
        self.thread.join(20)
        assert not self.thread.is_alive()


@pytest.fixture
def follow() -> object:
    made: list[Followed] = []

    def start(path: Path, **options: object) -> Followed:
        made.append(Followed(path, **options))
        return made[-1]

    yield start
    for one in made:
        one.end()


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def lines(first: int, last: int) -> bytes:
    return b"".join(b"%d,%.1f\n" % (i, i / 10) for i in range(first, last))


def test_new_whole_lines_become_chunks(tmp_path: Path, follow: Follow) -> None:
    path = tmp_path / "bed.csv"
    path.write_bytes(b"# rate: 10\nII [mV],EEG [uV]\n" + lines(0, 20) + b"20,")
    followed = follow(path)
    followed.wait(20)
    append(path, b"2.0\n" + lines(21, 35))
    chunks = followed.wait(30)
    assert [c.first_sample for c in chunks] == [0, 10, 20]
    physical = np.concatenate([c.channels[0].physical(c.samples[:, 0]) for c in chunks])
    np.testing.assert_array_equal(physical, np.arange(30))
    assert chunks[0].channels[1].unit == "uV"


def test_a_second_run_gives_the_same_chunks(tmp_path: Path, follow: Follow) -> None:
    path = tmp_path / "bed.csv"
    path.write_bytes(b"# rate: 10\na,b\n" + lines(0, 25))
    first = follow(path).wait(20)
    append(path, lines(25, 40))
    second = follow(path).wait(40)
    for a, b in zip(first[:2], second, strict=False):
        assert (a.session, a.first_sample, a.channels) == (b.session, b.first_sample, b.channels)
        np.testing.assert_array_equal(a.samples, b.samples)


def test_an_idle_file_ends_with_its_last_rows(tmp_path: Path, follow: Follow) -> None:
    path = tmp_path / "bed.csv"
    path.write_bytes(b"# rate: 10\n" + lines(0, 13) + b"13,1.3")
    followed = follow(path, idle=0.05)
    followed.thread.join(20)
    assert not followed.thread.is_alive()
    assert sum(c.n_samples for c in followed.chunks) == 14


def test_a_replaced_file_is_a_new_session(tmp_path: Path, follow: Follow) -> None:
    path = tmp_path / "bed.csv"
    path.write_bytes(b"# rate: 10\n" + lines(0, 20))
    followed = follow(path)
    followed.wait(20)
    (tmp_path / "next").write_bytes(b"# rate: 10\n" + lines(500, 520))
    (tmp_path / "next").rename(path)
    chunks = followed.wait(40)
    assert chunks[-1].session != chunks[0].session
    assert chunks[2].first_sample == 0
    assert followed.feed.state.n_warnings["file_replaced"] == 1


def test_a_growing_wfdb_signal_file_is_followed_by_its_header(tmp_path: Path, follow: Follow) -> None:
    x = np.random.default_rng(0).integers(-2000, 2000, size=(450, 2)).astype("<i2")
    (tmp_path / "rec.hea").write_text(
        "rec 2 100 450 12:00:00 01/05/2024\nrec.dat 16+4 200(10)/mV 12 0 0 0 0 II\nrec.dat 16+4 100/mV 12 0 0 0 0 V5\n"
    )
    data = tmp_path / "rec.dat"
    data.write_bytes(b"head" + x.tobytes()[:601])
    followed = follow(tmp_path / "rec")
    followed.wait(100)
    append(data, x.tobytes()[601:1600])
    chunks = followed.wait(400)
    np.testing.assert_array_equal(np.concatenate([c.samples for c in chunks]), x[:400])
    assert [c.device_ns for c in chunks] == [(1714564800 + i) * 10**9 for i in range(4)]
    assert chunks[0].channels[0].baseline == 10
    assert chunks[0].channels[0].missing == -32768


def test_what_cannot_be_followed_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros(3))
    feed = make_feed(FeedOptions("tail", f"file://{path}?tail=true"))
    with pytest.raises(InputError) as caught:
        feed.run(lambda _: None, threading.Event())
    assert caught.value.hint


def test_a_growing_csv_without_a_rate_says_how_to_give_it(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"I,II\n1,2\n")
    with pytest.raises(InputError, match="rate") as caught:
        make_feed(FeedOptions("tail", f"file://{path}?tail=true")).run(lambda _: None, threading.Event())
    assert "rate=250" in caught.value.hint


def test_the_rate_of_a_growing_csv_may_come_after_its_names(tmp_path: Path, follow: Follow) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"I,II\n# rate: 100\n" + lines(0, 200))
    assert follow(path).wait(200)[0].rate == 100
