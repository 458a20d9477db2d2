"""Late segments fill what the others lack, everywhere; events of a growing recording go where its samples go."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import edfio
import numpy as np
import pytest
import wfdb
from grow_cases import LEADS, RATE, START_NS, STREAM, event, segment, ward
from hypothesis import given
from hypothesis import strategies as st

import sanstream
from sanstream.archive_grow import GrowingArchive
from sanstream.archive_growth import Growth
from sanstream.archive_layers import Layers, held_before
from sanstream.archive_manifest import MANIFEST, Manifest
from sanstream.archive_objects import LocalObjects
from sanstream.archive_pending import is_growing_key
from sanstream.archive_verify import find_problems
from sanstream.errors import InputError
from sanstream.evaluate import evaluate
from sanstream.signal import Channel, Recording, Segment, Stream

WHOLE = ward(9000)
HELD = WHOLE.copy()
HELD[1500:2500] = -2048
HELD[3200:3300, 1] = -2048


def piece(name: str, first: int, stop: int, of: np.ndarray = HELD, late: bool = False) -> object:
    return segment(name, first, of[first:stop], flags=("late",) if late else ()).grown(0, 99)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samples with a hole in one segment and one between two, some of which came late, and once more."""
    archive = GrowingArchive(tmp_path_factory.mktemp("late") / "a")
    grown = (
        piece("0", 0, 4000),
        piece("late-1000", 1000, 2000, WHOLE, late=True),
        piece("late-1800", 1800, 5500, WHOLE, late=True),
        piece("5000", 5000, 8000),
    )
    events = (
        event(1, 12.5, "VT", duration_s=2.25),
        event(0, 3.0, kind="marker"),
        event(2, 41.0, "lead off, übel"),
        event(0, 20.0, "other", session="s2"),
    )
    archive.commit(Growth("bed1", START_NS, segments=grown[:3], events=events[:2]))  # type: ignore[arg-type]
    archive.commit(Growth("bed1", START_NS, segments=grown[3:], events=events[1:]))  # type: ignore[arg-type]
    return archive.root


def test_late_segments_fill_only_what_is_missing(path: Path) -> None:
    with sanstream.open(path) as archive:
        stream = archive.recordings["bed1"].streams[STREAM]
        assert [s.name for s in stream.entry.segments] == ["0", "5000", "late-1000", "late-1800"]
        assert np.array_equal(stream.read(), WHOLE[:8000])
        for first, stop in ((0, 1), (1400, 1600), (1999, 2501), (3950, 5050), (5400, 5600)):
            assert np.array_equal(stream.read(first, stop, ["V"]), WHOLE[first:stop, 1:])
        assert np.array_equal(stream.read(physical=True), WHOLE[:8000] / 200)
        lazy = stream.to_xarray()
        assert np.array_equal(lazy[1000:6000:7].values, WHOLE[1000:6000:7])


def test_what_was_there_first_stays(tmp_path: Path) -> None:
    archive = GrowingArchive(tmp_path / "a")
    other = WHOLE + 9
    archive.commit(Growth("bed1", START_NS, segments=(piece("late-1000", 1000, 5000, other, late=True),)))  # type: ignore[arg-type]
    archive.commit(Growth("bed1", START_NS, segments=(piece("0", 0, 4000),)))  # type: ignore[arg-type]
    wanted = HELD[:5000].copy()
    wanted[4000:] = other[4000:5000]
    wanted[HELD[:5000] == -2048] = other[:5000][HELD[:5000] == -2048]
    wanted[4000:] = other[4000:5000]
    reader = sanstream.open(archive.root).recordings["bed1"]
    assert np.array_equal(reader.streams[STREAM].read(), wanted)
    (stream,) = reader.read().streams
    assert np.array_equal(np.concatenate([s.samples for s in stream.segments]), wanted)


def test_a_recording_with_late_segments_is_restored_without_overlap(path: Path) -> None:
    reader = sanstream.open(path).recordings["bed1"]
    (stream,) = reader.read().streams
    assert [(s.start_sample, s.stop_sample) for s in stream.segments] == [(0, 4000), (4000, 5000), (5000, 8000)]
    assert np.array_equal(np.concatenate([s.samples for s in stream.segments]), WHOLE[:8000])
    cut = reader.read(15.5, 45.0)
    assert cut.start_ns == START_NS + 15_500_000_000
    assert np.array_equal(np.concatenate([s.samples for s in cut.streams[0].segments]), WHOLE[1550:4500])
    assert cut.annotations[0].columns["text"].tolist() == ["other", "lead off, übel"]


def test_everything_else_works_on_late_segments(path: Path) -> None:
    with sanstream.open(path) as archive:
        assert archive.verify(deep=True) == []
        found = archive.info()["recordings"][0]["streams"][0]
        assert found["n_samples"] == 8000
        assert [s.get("flags") for s in found["segments"]] == [None, None, ["late"], ["late"]]
        assert archive.recordings["bed1"].streams[STREAM].records().num_rows == 0


def test_evaluate_compares_with_the_source_segment_by_segment(path: Path) -> None:
    plain = tuple(replace(c, missing=None) for c in LEADS)
    source = Recording("bed1", (Stream(STREAM, RATE, (Segment(0, plain, WHOLE[:8000]),)),), START_NS)
    report = evaluate(source, path)
    assert report.broken == ()
    assert [c.name for c in report.streams[0].channels] == ["II", "V"]
    wrong = WHOLE[:8000].copy()
    wrong[1700, 1] += 1
    broken = evaluate(replace(source, streams=(Stream(STREAM, RATE, (Segment(0, plain, wrong),)),)), path).broken
    assert [(b.channel, b.start_sample) for b in broken] == [("V", 1000)]
    longer = Recording("bed1", (Stream(STREAM, RATE, (Segment(0, plain, WHOLE),)),), START_NS)
    with pytest.raises(InputError, match="1000 samples of the source are not in the archive, the first is 8000"):
        evaluate(longer, path)


def test_where_earlier_segments_hold_samples_is_known_without_decoding(path: Path) -> None:
    stream = sanstream.open(path).recordings["bed1"].streams[STREAM]
    held = held_before(stream, stream.entry.segments[3], 900, 6000)
    wanted = np.zeros(5100, bool)
    wanted[: 4000 - 900] = True
    wanted[5000 - 900 :] = True
    wanted[2000 - 900 : 2500 - 900] = False
    assert np.array_equal(held, wanted)


@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.lists(st.booleans(), min_size=1, max_size=20), st.booleans()),
        min_size=1,
        max_size=6,
    )
)
def test_layers_never_overlap_and_the_first_sample_wins(parts: list[tuple[int, list[bool], bool]]) -> None:
    other = (Channel("II", "uV", 1.0, 0, -2048, 2047, -2048), LEADS[1])
    layers, wanted = Layers(), np.full(60, -2048)
    for number, (start, held, foreign) in enumerate(parts):
        samples = np.array([[number * 100 + i if h else -2048] * 2 for i, h in enumerate(held)], np.int32)
        layers.add(Segment(start, other if foreign else LEADS, samples.copy()))
        for i, value in enumerate(samples[:, 0]):
            if wanted[start + i] == -2048:
                wanted[start + i] = value
    grid, end = np.full(60, -2048), 0
    for one in layers.segments():
        assert one.start_sample >= end
        end = one.stop_sample
        grid[one.start_sample : end] = one.samples[:, 0]
    assert np.array_equal(grid, wanted)


def test_events_are_one_set_by_time_without_doubles(path: Path) -> None:
    (events,) = sanstream.open(path).recordings["bed1"].annotations
    assert events.name == "events"
    assert events.columns["text"].tolist() == ["marker", "VT", "other", "lead off, übel"]
    assert events.columns["time_ns"].tolist() == [3 * 10**9, 12_500_000_000, 20 * 10**9, 41 * 10**9]
    assert events.columns["duration_s"].tolist() == [0, 2.25, 0, 0]
    assert events.columns["kind"].tolist() == ["marker", "alarm", "alarm", "alarm"]


def test_a_day_is_restored_to_edf_with_its_events(path: Path, tmp_path: Path) -> None:
    (file,) = sanstream.restore(path, to=tmp_path, format="edf")
    edf = edfio.read_edf(file)
    assert [s.label for s in edf.signals] == ["II", "V"]
    assert np.array_equal(np.stack([s.digital for s in edf.signals], axis=1), WHOLE[:8000])
    assert [(a.onset, a.duration, a.text) for a in edf.annotations] == [
        (3.0, None, "marker"),
        (12.5, 2.25, "VT"),
        (20.0, None, "other"),
        (41.0, None, "lead off, übel"),
    ]


def test_a_day_is_restored_to_wfdb_with_its_events(path: Path, tmp_path: Path) -> None:
    files = sanstream.restore(path, to=tmp_path)
    assert files[0].suffix == ".hea"
    record = wfdb.rdrecord(str(files[0].with_suffix("")), physical=False)
    assert np.array_equal(record.d_signal if record.d_signal is not None else record.e_d_signal, WHOLE[:8000])
    notes = wfdb.rdann(str(files[0].with_suffix("")), "events")
    assert notes.sample.tolist() == [300, 1250, 2000, 4100]
    assert [n.encode("latin-1").decode() for n in notes.aux_note] == ["marker", "VT", "other", "lead off, übel"]


def test_events_of_many_commits_make_few_parts_and_old_parts_go(tmp_path: Path) -> None:
    archive = GrowingArchive(tmp_path / "a")
    day = 86400.0
    for number in range(12):
        growth = Growth(
            "bed1", START_NS, events=(event(number, number * day / 4 + 1), event(number - (number > 0), 0.5))
        )
        archive.commit(growth)
        archive.commit(growth)
    held = archive.manifest("bed1")
    assert held is not None
    assert sorted(held.objects) == [f"annotations/events/{n:08d}.parquet" for n in (3, 7, 11)]
    assert find_problems(LocalObjects(archive.root), deep=True) == []
    (events,) = sanstream.open(archive.root).recordings["bed1"].annotations
    assert events.columns["number"].tolist() == list(range(12))
    archive.remove("bed1", events_until_ns=START_NS + round(1.6 * day * 10**9))
    (events,) = sanstream.open(archive.root).recordings["bed1"].annotations
    assert events.columns["number"].tolist() == list(range(4, 12))
    assert archive.remove("bed1", events_until_ns=START_NS + 9 * 10**15) is None


def test_what_is_left_after_retention_is_restored_from_its_own_start(tmp_path: Path) -> None:
    archive = GrowingArchive(tmp_path / "a")
    growth = Growth("bed1", START_NS, segments=(piece("0", 0, 4000), piece("5000", 5000, 8000)))  # type: ignore[arg-type]
    archive.commit(growth)
    archive.remove("bed1", [(STREAM, "0")])
    reader = sanstream.open(archive.root).recordings["bed1"]
    recording = reader.read()
    assert recording.start_ns == START_NS + 50 * 10**9
    (left,) = recording.streams[0].segments
    assert left.start_sample == 0
    assert np.array_equal(left.samples, HELD[5000:8000])
    assert np.array_equal(reader.read(Fraction(60)).streams[0].segments[0].samples, HELD[6000:8000])


def test_verify_knows_a_commit_under_way(tmp_path: Path) -> None:
    archive = GrowingArchive(tmp_path / "a", state_dir=tmp_path / "state")
    long = segment("0", 0, WHOLE)
    archive.commit(Growth("bed1", START_NS, segments=(long.grown(0, 1),)))
    manifest = archive.root / "bed1" / MANIFEST
    before = manifest.read_bytes()
    archive.commit(Growth("bed1", START_NS, segments=(long.grown(1, 3),), events=(event(0, 1.0),)))
    after = manifest.read_bytes()
    manifest.write_bytes(before)
    assert find_problems(LocalObjects(archive.root), deep=True) == []
    assert np.array_equal(
        sanstream.open(archive.root).recordings["bed1"].streams[STREAM].read(), WHOLE[: long.entry.shard_samples]
    )
    array = archive.root / "bed1" / STREAM / "0" / "zarr.json"
    right = array.read_bytes()
    array.write_bytes(right.replace(b'"time"', b'"tame"'))
    assert [p.path for p in find_problems(LocalObjects(archive.root))] == [f"bed1/{STREAM}/0/zarr.json"]
    array.write_bytes(right)
    (archive.root / "live.json").unlink()
    problems = {p.path: p.what for p in find_problems(LocalObjects(archive.root))}
    assert "sanstream recover" in problems.pop(f"bed1/{STREAM}/0/zarr.json")
    assert all(
        what == "no manifest names it" and is_growing_key(key.partition("/")[2]) for key, what in problems.items()
    )
    manifest.write_bytes(after)
    assert find_problems(LocalObjects(archive.root)) == []
    assert json.loads(after)["grows"] is True
    assert Manifest.from_bytes(after, "m").grows
