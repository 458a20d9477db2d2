"""Power cuts through a whole engine's life: nothing acknowledged is lost or doubled, and no fsync is idle."""

from __future__ import annotations

from pathlib import Path

from grow_cases import RATE, STREAM, segment, ward
from live_cases import START_NS

import sanstream
from sanstream.archive_grow import GrowingArchive, Growth
from sanstream.durable_power import PowerCut


def test_what_a_killed_process_renamed_last_is_on_the_disk_before_the_next_one_relies_on_it(tmp_path: Path) -> None:
    one = segment("0", 0, ward(4000))
    first, second = (Growth("bed1", START_NS, segments=(one.grown(n, n + 1),)) for n in (0, 1))
    for ignore, kept in ((None, 2), ("seal.settle", 1)):
        root = tmp_path / str(ignore)
        root.mkdir()
        with PowerCut(root, ignore="seal.manifest.folder") as disk:
            archive = GrowingArchive(root / "a")
            archive.commit(first)
            disk.sync_folder(root / "a" / "bed1", "test")
            archive.commit(second)
            # killed before the fsync; the next process finds all there and has nothing to write
            disk._ignore = ignore
            GrowingArchive(root / "a").commit(second)
            disk.cut()
        with sanstream.open(root / "a") as opened:
            assert opened.recordings["bed1"].streams[STREAM].n_samples == kept * one.entry.shard_samples
            assert RATE == opened.recordings["bed1"].streams[STREAM].rate
