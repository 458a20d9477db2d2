"""The nightly job: a day that a daemon wrote in many segments becomes one small archive, verified."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from live_cases import RATE, START_NS, Ward, chunk, samples
from reencode_cases import Inline, files

import sanstream
from pipelines.nightly.__main__ import load, main
from sanstream.archive import verify
from sanstream.chunk import Event
from sanstream.errors import InputError

EXAMPLE = Path(main.__code__.co_filename).with_name("nightly.toml")


@pytest.fixture
def live(tmp_path: Path) -> Path:
    """Two days of a ward: three sessions and an event on the first, one on the second."""
    ward = Ward(tmp_path)
    for session, at_s, seconds in (("s1", 0, 150), ("s2", 200, 100), ("s3", 9_000, 70), ("s4", 14 * 3600 + 30, 60)):
        ward.clock.now_ns = START_NS + at_s * 10**9
        x = samples(seconds, seed=at_s)
        for first in range(0, len(x), 10 * RATE):
            ward.give(chunk(x[first : first + 10 * RATE], first, session=session, start_s=at_s))
            ward.clock.pass_s(10)
            ward.turn()
        if session == "s2":
            ward.give(Event("bed1", "s2", 1, START_NS + 210 * 10**9, "alarm", "asystole"))
            ward.turn()
    ward.stop()
    return ward.url


def configure(folder: Path, source: Path, **changes: object) -> Path:
    """Write a configuration from the example."""
    text = EXAMPLE.read_text("utf-8")
    own = {"source": str(source), "target": str(folder / "days"), "effort": "default", "workers": 1, **changes}
    lines = []
    for line in text.splitlines():
        key = line.partition(" =")[0]
        value = own.get(key)
        lines.append(line if value is None else f"{key} = {value!r}".replace("'", '"'))
    (folder / "nightly.toml").write_text("\n".join(lines))
    return folder / "nightly.toml"


def test_a_day_that_is_not_over_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for day in ("2999-01-01", datetime.now(UTC).date().isoformat()):
        monkeypatch.setattr(sys, "argv", ["nightly", str(configure(tmp_path, tmp_path)), "--day", day])
        assert main() == 2
        assert f"{day} is not over" in capsys.readouterr().err
        assert not (tmp_path / "days").exists()


def test_a_day_whose_segments_changed_since_is_said_to_be_so(
    live: Path,
    tmp_path: Path,
    inline: type[Inline],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["nightly", str(configure(tmp_path, live)), "--day", "2026-01-01"])
    assert main() == 0
    before = files(tmp_path / "days")
    ward = Ward(tmp_path)
    ward.clock.now_ns = START_NS + 15 * 3600 * 10**9
    for first in range(0, 60 * RATE, 10 * RATE):  # of a time long past
        ward.give(chunk(samples(60)[first : first + 10 * RATE], first, session="s5", start_s=5_000))
        ward.clock.pass_s(10)
        ward.turn()
    ward.stop()
    capsys.readouterr()
    assert main() == 2
    assert "segments of this day came late, or were deleted; remove it" in capsys.readouterr().err
    assert files(tmp_path / "days") == before


def test_a_day_becomes_one_small_archive_and_stays_it(
    live: Path,
    tmp_path: Path,
    inline: type[Inline],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    day = datetime.fromtimestamp(START_NS / 1e9, UTC).date().isoformat()
    monkeypatch.setattr(sys, "argv", ["nightly", str(configure(tmp_path, live)), "--day", day])
    assert main() == 0
    target = tmp_path / "days" / f"{day}.san"
    assert "2 encoded, 0 carried over; sound" in capsys.readouterr().err
    assert verify(target, deep=True) == []
    before, n_jobs = files(target), len(inline.ran)
    assert len(before) <= 6, "catalog, manifest, blocks, events and banks"
    assert main() == 0
    assert "was there already; sound" in capsys.readouterr().err
    assert (files(target), len(inline.ran)) == (before, n_jobs)
    with sanstream.open(target) as made, sanstream.open(live) as held:
        ours, theirs = made.recordings["bed1"], held.recordings["bed1"]
        assert len(theirs.streams[f"{RATE}hz"].entry.segments) == 3
        first, second = ours.streams[f"{RATE}hz"].entry.segments
        assert (second.start_sample - first.start_sample) == 9_000 * RATE, "more than an hour apart"
        whole, source = ours.read(), theirs.read(None, 14 * 3600.0)
        assert whole.start_ns == source.start_ns == START_NS
        (events,), (known,) = whole.annotations, source.annotations
        assert events.columns["time_ns"].tolist() == known.columns["time_ns"].tolist() == [210 * 10**9]
        n = 300 * RATE
        assert np.array_equal(ours.streams[f"{RATE}hz"].read(0, n), theirs.streams[f"{RATE}hz"].read(0, n))
        late = (9_000 * RATE, 9_070 * RATE)
        assert np.array_equal(ours.streams[f"{RATE}hz"].read(*late), theirs.streams[f"{RATE}hz"].read(*late))


def test_the_second_day_begins_where_it_begins(
    live: Path, tmp_path: Path, inline: type[Inline], monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = str(configure(tmp_path, live, container="zarr"))
    monkeypatch.setattr(sys, "argv", ["nightly", configuration, "--day", "2026-01-02"])
    assert main() == 0
    with sanstream.open(tmp_path / "days" / "2026-01-02.san") as made, sanstream.open(live) as held:
        ours, theirs = made.recordings["bed1"], held.recordings["bed1"].streams[f"{RATE}hz"]
        assert ours.start_ns == START_NS + (14 * 3600 + 30) * 10**9
        stream = ours.streams[f"{RATE}hz"]
        assert stream.n_samples == 60 * RATE, "no empty day before it"
        assert np.array_equal(stream.read(), theirs.read(theirs.n_samples - 60 * RATE))


def test_a_day_without_segments_is_no_failure(
    live: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["nightly", str(configure(tmp_path, live)), "--day", "2026-02-01"])
    assert main() == 0
    assert "no segment began on this day" in capsys.readouterr().err


def test_a_target_that_is_not_sound_is_no_success(
    live: Path,
    tmp_path: Path,
    inline: type[Inline],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["nightly", str(configure(tmp_path, live)), "--day", "2026-01-01"])
    assert main() == 0
    blocks = tmp_path / "days" / "2026-01-01.san" / "bed1" / "blocks.parquet"
    data = bytearray(blocks.read_bytes())
    data[len(data) // 2] ^= 1
    blocks.write_bytes(data)
    capsys.readouterr()
    assert main() == 1
    assert "blocks.parquet: has changed" in capsys.readouterr().err


def test_the_example_is_valid_and_a_wrong_key_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(EXAMPLE).effort == "thorough"
    named = 'source = "a"\ntarget = "b"\n'
    sound = ["prdn=5", "PLETH=lossless", "bits=0.5", "ABP*=rmse=1mmHg", "sparse"]
    (tmp_path / "n.toml").write_text(f"{named}quality = {sound}\ndays_back = 3\n")
    assert load(tmp_path / "n.toml").quality == tuple(sound)
    for text, said in (
        ('source = "a"\ntarget = "b"\nefort = "fast"\n', "efort is unknown; did you mean effort?"),
        ('source = "a"\n', "target is missing"),
        ('source = "a"\ntarget = "b"\nworkers = "2"\n', "workers = '2' is of type str, allowed is int"),
        (f"{named}days_back = 0\n", "days_back = 0 is too small; use 1 or more"),
        (f"{named}workers = 0\n", "workers = 0 is too small"),
        (f'{named}container = "zip"\n', "container = 'zip' is unknown; use zarr, parquet"),
        (f'{named}effort = "most"\n', "effort = 'most' is unknown; use fast, default, thorough"),
        (f'{named}quality = ["PLETH=prnd=5"]\n', "quality: 'PLETH=prnd=5': unknown quality 'prnd=5'"),
        (f"{named}quality = [5]\n", "quality: 5: 5 is no quality"),
    ):
        (tmp_path / "n.toml").write_text(text)
        with pytest.raises(InputError, match=re.escape(said)):
            load(tmp_path / "n.toml")
    monkeypatch.setattr(sys, "argv", ["nightly", str(tmp_path / "n.toml")])
    assert main() == 2
