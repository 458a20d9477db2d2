"""Channel descriptors outlive the process: a message whose channels were described before a restart is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from durable_cases import Promise, TinyDisk, cut_everywhere, sites_of
from wire_cases import FIRST, JSON, NAME, head, int16, seal

from sanstream.durable import Disk, using
from sanstream.feeds import FeedOptions, FeedState
from sanstream.feeds.intake import Intake
from sanstream.feeds.memory import DescriptorFile
from sanstream.signal import Channel
from sanstream.wire_channels import descriptor_of

LATER = seal(head() + int16())
SITES = ["feed.descriptors", "feed.folder", "feed.folder_made"]
TEXTS = [descriptor_of([Channel(f"lead {n}")]) for n in range(4)]


def intake(folder: Path) -> Intake:
    return Intake(FeedOptions("ward 7", "nats://x", state_dir=folder / "feeds"), FeedState())


def read(folder: Path) -> list[bytes]:
    return list(DescriptorFile(folder / "feeds" / "x").read())


def nothing() -> None:
    pass


def test_a_restarted_feed_knows_the_channels_that_were_described_before(tmp_path: Path) -> None:
    intake(tmp_path).take(FIRST, nothing)
    (delivery,) = intake(tmp_path).take(LATER, nothing)
    assert delivery.items
    assert (tmp_path / "feeds").stat().st_mode & 0o777 == 0o700
    assert [f.stat().st_mode & 0o777 for f in (tmp_path / "feeds").iterdir()] == [0o600]


def test_a_feed_that_only_reads_makes_no_file(tmp_path: Path) -> None:
    box = intake(tmp_path)
    box.take(LATER, nothing)
    box.take(json.dumps(JSON).encode(), nothing)  # JSON always describes its channels
    assert list(tmp_path.iterdir()) == []


def test_each_descriptor_is_kept_once(tmp_path: Path) -> None:
    box = intake(tmp_path)
    for _ in range(5):
        box.take(FIRST, nothing)
    intake(tmp_path).take(FIRST, nothing)
    (file,) = (tmp_path / "feeds").iterdir()
    assert file.read_bytes().count(NAME.hex().encode()) == 1


def test_a_torn_line_is_left_out_and_harms_no_other(tmp_path: Path) -> None:
    file = DescriptorFile(tmp_path / "feeds" / "x")
    file.keep(TEXTS[0])
    path = tmp_path / "feeds" / "x"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert read(tmp_path) in ([], [TEXTS[0]])
        DescriptorFile(path).keep(TEXTS[1])
        assert read(tmp_path)[-1] == TEXTS[1]


def test_a_file_that_grew_too_long_keeps_its_newest_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = DescriptorFile(tmp_path / "feeds" / "x")
    for text in TEXTS:
        file.keep(text)
    monkeypatch.setattr("sanstream.feeds.memory.MAX_FILE_BYTES", (tmp_path / "feeds" / "x").stat().st_size - 1)
    assert read(tmp_path) == TEXTS[-2:]
    monkeypatch.undo()
    assert read(tmp_path) == TEXTS[-2:]


def test_a_full_disk_delays_and_loses_nothing(tmp_path: Path) -> None:
    file = DescriptorFile(tmp_path / "feeds" / "x")
    with using(TinyDisk(10)):
        file.keep(TEXTS[0])
    assert read(tmp_path) == []
    file.keep(TEXTS[1])
    assert read(tmp_path) == TEXTS[:2]


def run(root: Path, disk: Disk, promise: Promise) -> None:
    file = DescriptorFile(root / "feeds" / "x")
    for text in TEXTS:
        promise.may.add(text)
        file.keep(text)
        promise.must.add(text)


def check(root: Path, promise: Promise) -> None:
    assert promise.must <= set(read(root)) <= promise.may


def test_a_power_cut_takes_no_descriptor_that_was_kept(tmp_path: Path) -> None:
    assert sites_of(tmp_path / "sites", run) == SITES
    assert cut_everywhere(tmp_path, run, check) > 20


@pytest.mark.parametrize("site", SITES)
def test_without_any_one_fsync_a_power_cut_would(tmp_path: Path, site: str) -> None:
    with pytest.raises(AssertionError):
        cut_everywhere(tmp_path, run, check, ignore=site)
