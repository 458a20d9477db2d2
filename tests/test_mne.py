"""An archive opened by mne gives what the archive holds: volts, types, gaps, events, start."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from archive_cases import events, walk, write

import sanstream
from sanstream.errors import InputError
from sanstream.signal import TRIGGER, Channel, Recording, Segment, Stream

mne = pytest.importorskip("mne")

from sanstream.mne import read_raw_sanstream  # noqa: E402

CHANNELS = (
    Channel("EEG Cz", "uV", 10.0, 3, missing=-32768),
    Channel("II", "mV", 200.0, 0, missing=-32768),
    Channel("Pleth", "NU", 4096.0, 0, missing=-32768),
    Channel("EMG chin", "V", 1000.0),
    Channel("Status", "", 1.0, 0, 0, 255, kind=TRIGGER),
    Channel("Thorax", "Ohm", 50.0),
)


def night() -> Recording:
    """Two rates, two segments with a hole between them, one channel with a gap of its own, events and a start."""
    samples = np.stack([*(walk(3000, seed=i) for i in range(4)), np.arange(3000) % 7, walk(3000, seed=8)], axis=1)
    samples = samples.astype(np.int32)
    samples[1000:1100, 1] = -32768
    samples[500:520, :3] = -32768
    fast = Stream(
        "100hz", Fraction(100), (Segment(0, CHANNELS, samples[:2000]), Segment(2400, CHANNELS, samples[2000:]))
    )
    slow = Stream("25hz", Fraction(25), (Segment(0, (Channel("RESP", "pm"),), walk(850)[:, None]),))
    start = 1_700_000_000_000_000_000
    return Recording("night", (fast, slow), start, "+02:00", (events(20),))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("mne") / "a.san", [night()])


@pytest.fixture
def raw(archive: Path) -> Iterator[mne.io.BaseRaw]:
    with read_raw_sanstream(archive, stream="100hz", verbose="error") as opened:
        yield opened


def physical(archive: Path, first: int, stop: int) -> np.ndarray:
    with sanstream.open(archive) as opened:
        return opened.recordings["night"].streams["100hz"].read(first, stop, physical=True).T


def test_data_are_the_archives_in_volts_and_zero_where_samples_are_missing(archive: Path, raw: mne.io.BaseRaw) -> None:
    scale = np.array([1e-6, 1e-3, 1, 1, 1, 1])[:, None]
    expected = np.nan_to_num(physical(archive, 0, 3400) * scale)
    np.testing.assert_allclose(raw.get_data(), expected, rtol=1e-12)
    np.testing.assert_allclose(raw.get_data(start=450, stop=2500), expected[:, 450:2500], rtol=1e-12)
    assert not raw.preload


def test_types_follow_what_channels_measure(raw: mne.io.BaseRaw) -> None:
    assert raw.get_channel_types() == ["eeg", "ecg", "misc", "emg", "stim", "misc"]
    assert raw.ch_names == [c.label for c in CHANNELS]
    assert raw.info["sfreq"] == 100


def test_start_is_the_moment_that_clock_and_zone_say(raw: mne.io.BaseRaw) -> None:
    assert raw.info["meas_date"] == datetime.fromtimestamp(1_700_000_000 - 7200, tz=UTC)


def test_gaps_are_bad_annotations(raw: mne.io.BaseRaw) -> None:
    found = [
        (round(a["onset"], 6), round(a["duration"], 6), a["description"], a["ch_names"])
        for a in raw.annotations
        if a["description"].startswith("BAD")
    ]
    assert found == [
        (5.0, 0.2, "BAD_gap", ("EEG Cz", "II", "Pleth")),
        (10.0, 1.0, "BAD_gap", ("II",)),
        (20.0, 4.0, "BAD_ACQ_SKIP", ()),
    ]


def test_events_are_annotations_at_their_time(raw: mne.io.BaseRaw) -> None:
    known = events(20)
    own = [(round(a["onset"], 6), a["description"]) for a in raw.annotations if not a["description"].startswith("BAD")]
    times = np.asarray(known.columns["time_ns"]) / 1e9
    assert own == [(round(t, 6), s) for t, s in zip(times, known.columns["symbol"], strict=True) if t <= 34]


def test_picks_crops_and_copies_read_the_same_samples(raw: mne.io.BaseRaw) -> None:
    whole = raw.get_data()
    np.testing.assert_array_equal(raw.get_data(picks=["II", "EEG Cz"], start=70, stop=90), whole[[1, 0], 70:90])
    cut = raw.copy().pick(["EMG chin", "II"]).crop(3, 26)
    np.testing.assert_array_equal(cut.get_data(), whole[[3, 1], 300:2601])
    np.testing.assert_array_equal(cut.load_data(verbose="error").get_data(), whole[[3, 1], 300:2601])
    again = pickle.loads(pickle.dumps(raw))
    np.testing.assert_array_equal(again.get_data(start=5, stop=25), whole[:, 5:25])


def test_it_can_be_loaded_filtered_and_saved(archive: Path, tmp_path: Path) -> None:
    loaded = read_raw_sanstream(archive, recording="night", stream="100hz", preload=True, verbose="error")
    loaded.crop(6, 9).filter(1, 30, verbose="error")
    loaded.save(tmp_path / "x_raw.fif", verbose="error")
    again = mne.io.read_raw_fif(tmp_path / "x_raw.fif", verbose="error")
    np.testing.assert_allclose(again.get_data(), loaded.get_data(), rtol=1e-5, atol=1e-9)


def test_what_is_not_there_is_named(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="stream=, one of 100hz, 25hz"):
        read_raw_sanstream(archive)
    with pytest.raises(InputError, match="no stream '7hz'"):
        read_raw_sanstream(archive, stream="7hz")
    with pytest.raises(InputError, match="one of night"):
        read_raw_sanstream(archive, recording="day")
    with pytest.raises(InputError, match="no such folder"):
        read_raw_sanstream(tmp_path / "nothing")


@pytest.mark.parametrize(("source_format", "bits"), [("bdf", 0xFE), ("edf", 0x1C_00FE)])
def test_of_a_bdf_status_channel_triggers_are_read_as_mne_reads_them(
    tmp_path: Path, source_format: str, bits: int
) -> None:
    status = np.full((1000, 1), 0x1C_0000, np.int32)
    status[300:310] |= 0xFE
    own = (Channel("Status", "", 1.0, 0, -(1 << 23), (1 << 23) - 1, kind=TRIGGER),)
    stream = Stream("100hz", Fraction(100), (Segment(0, own, status),))
    path = write(tmp_path / "a.san", [Recording("r", (stream,), source_format=source_format)])
    with read_raw_sanstream(path, verbose="error") as raw:
        found = raw.get_data()[0]
        assert set(found[300:310]) == {bits}
        if source_format == "bdf":
            events = mne.find_events(raw, "Status", verbose="error")
            assert events.tolist() == [[300, 0, 0xFE]]
