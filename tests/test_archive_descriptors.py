"""Channel descriptors beside a shared archive: a message is read whichever daemon was sent its channels."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest
from durable_cases import PowerCut
from wire_cases import FIRST, NAME, head, int16, seal

from sanstream.archive import verify
from sanstream.archive_descriptors import SharedDescriptors, descriptor_key
from sanstream.archive_grow import GrowingArchive
from sanstream.archive_places import Places
from sanstream.archive_store import RemoteObjects, StoreError
from sanstream.feeds import FeedOptions, FeedState
from sanstream.feeds.intake import LOOK_S, MAX_HELD_S, Intake

LATER = seal(head() + int16())
_NUMBERS = count()


@pytest.fixture(params=["folder", "store"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    found = str(tmp_path / "live") if request.param == "folder" else f"memory://descriptors{next(_NUMBERS)}"
    GrowingArchive(found, shared=True)
    return found


class Seconds:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def intake(url: str, clock: Seconds | None = None, state: Path | None = None) -> Intake:
    options = FeedOptions("ward", "nats://x", descriptors=SharedDescriptors(url), state_dir=state)
    return Intake(options, FeedState(), clock=clock or Seconds())


def nothing() -> None:
    pass


def test_another_daemon_reads_what_it_was_not_sent_the_channels_of(url: str) -> None:
    intake(url).take(FIRST, nothing)
    (delivery,) = intake(url).take(LATER, nothing, "p1@1")
    assert delivery.items
    assert delivery.tenure == "p1@1"
    assert verify(url) == []


def test_what_waits_is_read_once_its_channels_come_to_another(url: str) -> None:
    clock = Seconds()
    two = intake(url, clock)
    assert two.take(LATER, nothing, "p1@1") == []
    intake(url).take(FIRST, nothing)
    clock.now = LOOK_S
    assert len(two.take(LATER, nothing)) == 2
    three = intake(url + "x", clock)  # where nobody puts it
    three.take(LATER, nothing)
    clock.now += MAX_HELD_S
    assert [d.reason for d in three.expired()] == ["its channel descriptor did not come in time"]


def test_it_is_looked_for_once_more_before_a_message_is_given_up(url: str) -> None:
    clock = Seconds()
    two = intake(url, clock)
    two.take(LATER, nothing)
    intake(url).take(FIRST, nothing)
    clock.now = MAX_HELD_S
    (delivery,) = two.expired()
    assert delivery.items


def test_what_waits_of_a_tenure_goes_with_it(url: str) -> None:
    two = intake(url)
    two.take(LATER, nothing, "p1@1")
    two.take(LATER, nothing, "p2@1")
    two.forget("p1@1")
    assert two.n_held == 1
    two.forget()
    assert two.n_held == 0


def test_a_descriptor_from_before_the_archive_was_shared_is_put_there(url: str, tmp_path: Path) -> None:
    options = FeedOptions("ward", "nats://x", state_dir=tmp_path / "state")
    Intake(options, FeedState()).take(FIRST, nothing)
    intake(url, state=tmp_path / "state").take(FIRST, nothing)
    assert SharedDescriptors(url).find(NAME) is not None


def test_a_message_is_not_taken_while_its_channels_cannot_be_put_there(monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"memory://descriptors{next(_NUMBERS)}"
    GrowingArchive(url, shared=True)
    box = intake(url)

    def away(*_: object) -> None:
        raise StoreError("the store cannot be reached")

    with monkeypatch.context() as patch:
        patch.setattr(RemoteObjects, "exists", away)
        with pytest.raises(ConnectionError, match="the archive cannot be written to"):
            box.take(FIRST, nothing)
    assert box.take(FIRST, nothing)[0].items
    assert SharedDescriptors(url).find(NAME) is not None


def test_one_that_changed_is_found_by_verify_and_by_nobody_else(url: str) -> None:
    intake(url).take(FIRST, nothing)
    key = descriptor_key(NAME)
    if "://" in url:
        RemoteObjects(url).put(key, b"{}")
    else:
        (Path(url) / key).write_bytes(b"{}")
    assert SharedDescriptors(url).find(NAME) is None
    assert [p.path for p in verify(url)] == [key]


def agreed(root: Path, **how: object) -> None:
    """Agree on places, keep a descriptor, and lose the power."""
    root.mkdir()
    with PowerCut(root, **how) as disk:  # type: ignore[arg-type]
        archive = GrowingArchive(root / "a", shared=True)
        archive.agree("bed1", lambda held: Places("bed1", 7))
        Intake(FeedOptions("w", "nats://x", descriptors=SharedDescriptors(str(root / "a"))), FeedState()).take(
            FIRST, nothing
        )
        disk.cut()


def kept(root: Path) -> bool:
    try:
        places = GrowingArchive(root / "a", shared=True).agree("bed1", lambda held: None)
    except Exception:
        return False
    return places == Places("bed1", 7) and SharedDescriptors(str(root / "a")).find(NAME) is not None


@pytest.mark.parametrize("site", ["", "seal.places", "seal.places.folder", "seal.descriptor", "seal.descriptor.folder"])
def test_what_was_agreed_on_is_on_the_disk(tmp_path: Path, site: str) -> None:
    agreed(tmp_path / "a", ignore=site or None)
    assert kept(tmp_path / "a") == (not site)
