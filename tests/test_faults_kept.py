"""Small files that people or a next start rely on survive a power cut, each fsync of theirs being needed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sanstream.daemon.audit import Audit
from sanstream.daemon.pins import pin, read_pins
from sanstream.durable import Disk
from sanstream.durable_power import PowerCut

NAME = "bed1/250hz"


def pinned(root: Path, disk: Disk) -> None:
    pin(root, NAME, "current")


def is_pinned(root: Path) -> bool:
    return dict(read_pins(root).banks) == {NAME: "current"}


def written(root: Path, disk: Disk) -> None:
    audit = Audit(root, disk)
    audit.write({"row": 1})
    audit.close()


def is_written(root: Path) -> bool:
    return Audit(root, Disk()).rows() == [{"row": 1}]


def forgotten(root: Path, disk: Disk) -> None:
    audit = Audit(root, disk)
    audit.keep(lambda row: row["row"] == 1)


def is_forgotten(root: Path) -> bool:
    return Audit(root, Disk()).rows() == [{"row": 1}]


CASES = (
    (pinned, is_pinned, (None, "pins.data", "pins.data.folder")),
    (written, is_written, (None, "audit.data", "audit.folder")),
    (forgotten, is_forgotten, (None, "audit.kept", "audit.folder")),
)


@pytest.mark.parametrize(("act", "holds", "site"), [(a, h, s) for a, h, sites in CASES for s in sites])
def test_what_was_done_survives_unless_an_fsync_is_left_out(
    tmp_path: Path, act: Callable[[Path, Disk], None], holds: Callable[[Path], bool], site: str | None
) -> None:
    (tmp_path / "adaptation.json").write_text(json.dumps({"version": 1, "streams": {NAME: {"bank": "x"}}}))
    if act is forgotten:
        (tmp_path / "audit.1.jsonl").write_text('{"row":2}\n')
        (tmp_path / "audit.jsonl").write_text('{"row":1}\n{"row":2}\n')
    with PowerCut(tmp_path, ignore=site) as disk:
        act(tmp_path, disk)
        disk.cut()
    assert disk.lost
    assert holds(tmp_path) == (site is None)
