"""What systemd hears, and when its watchdog is fed."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from sanstream.daemon.notify import COMMIT, JOURNAL, Notifier, Watchdog


class Clock:
    now = 0

    def __call__(self) -> int:
        return self.now


def test_systemd_hears_ready_status_stopping_and_the_watchdog(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(5)
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000000"})
        notifier.ready()
        notifier.status("20 streams,\n1 lag")
        notifier.stopping()
        notifier.alive()
        heard = [systemd.recv(200) for _ in range(4)]
    assert heard == [b"READY=1", b"STATUS=20 streams, 1 lag", b"STOPPING=1", b"WATCHDOG=1"]
    assert notifier.watchdog_ns == 30 * 10**9


@pytest.mark.parametrize("address", ["", "nowhere", "/nonexistent/notify", "@sanstream-nobody"])
def test_nobody_who_listens_is_no_error(address: str) -> None:
    Notifier({"NOTIFY_SOCKET": address}).ready()


def test_a_watchdog_of_another_process_is_not_ours() -> None:
    environ = {"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "5", "WATCHDOG_PID": "1"}
    assert Notifier(environ).watchdog_ns == 0
    assert Notifier({"WATCHDOG_USEC": "5"}).watchdog_ns == 0


@pytest.fixture
def fed() -> list[int]:
    return []


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watchdog(fed: list[int], clock: Clock) -> Watchdog:
    return Watchdog(lambda: fed.append(clock.now), 30, clock, limit_ns=60)


def turn(watchdog: Watchdog, clock: Clock, now: int, journal: tuple[int, bool], commit: tuple[int, bool]) -> bool:
    clock.now = now
    watchdog.note(JOURNAL, journal[0], pending=journal[1])
    watchdog.note(COMMIT, commit[0], pending=commit[1])
    return watchdog.poll()


def test_it_is_fed_while_both_loops_advance(watchdog: Watchdog, clock: Clock, fed: list[int]) -> None:
    for now in range(1, 100):
        turn(watchdog, clock, now, (now, True), (now, True))
    assert fed == [10, 20, 30, 40, 50, 60, 70, 80, 90]


def test_a_loop_with_nothing_to_do_counts_as_moving(watchdog: Watchdog, clock: Clock, fed: list[int]) -> None:
    for now in range(1, 40):
        turn(watchdog, clock, now, (0, False), (0, False))
    assert fed == [10, 20, 30]


@pytest.mark.parametrize("hangs", [JOURNAL, COMMIT])
def test_one_loop_that_hangs_starves_it(watchdog: Watchdog, clock: Clock, fed: list[int], hangs: str) -> None:
    for now in range(1, 200):
        journal, commit = (((1 if hangs == name else now), True) for name in (JOURNAL, COMMIT))
        turn(watchdog, clock, now, journal, commit)
    assert fed == [10]
    assert watchdog.stuck()


def test_progress_before_the_last_feeding_does_not_count_again(
    watchdog: Watchdog, clock: Clock, fed: list[int]
) -> None:
    turn(watchdog, clock, 10, (1, True), (1, True))
    clock.now = 100
    assert not watchdog.poll()
    assert fed == [10]


def test_stuck_is_known_without_systemd_and_ends_with_progress(clock: Clock, fed: list[int]) -> None:
    watchdog = Watchdog(lambda: fed.append(0), 0, clock, limit_ns=60)
    turn(watchdog, clock, 60, (0, True), (0, True))
    assert not watchdog.stuck()
    clock.now = 121
    assert watchdog.stuck()
    turn(watchdog, clock, 122, (1, True), (1, True))
    assert not watchdog.stuck()
    assert fed == []
