"""``import sanstream.wfdb as wfdb``: what wfdb reads from a record, read from its archive."""

from __future__ import annotations

from datetime import date, time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wfdb
from archive_cases import patient, write

import sanstream
import sanstream.wfdb as own
from sanstream.archive_write import ArchiveWriter
from sanstream.errors import InputError, UnsupportedError
from sanstream.signal import Channel, Recording, Segment, Stream

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
WAYS: list[dict[str, Any]] = [
    {},
    {"physical": False},
    {"sampfrom": 10, "sampto": 200},
    {"smooth_frames": False},
    {"smooth_frames": False, "physical": False, "sampfrom": 3, "sampto": 50},
    {"channels": [1, 0]},
    {"channel_names": ["two"], "return_res": 32},
    {"return_res": 16, "physical": False},
]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record of two rates with missing samples, a start, comments, skew and annotations."""
    folder = tmp_path_factory.mktemp("wfdb")
    rng = np.random.default_rng(0)
    fast = np.cumsum(rng.integers(-5, 6, 2000)).astype(np.int64)
    fast[700:710] = -32768
    slow = np.cumsum(rng.integers(-5, 6, 1000)).astype(np.int64)
    record = wfdb.Record(
        record_name="r1", n_sig=2, fs=100, fmt=["16", "16"], samps_per_frame=[2, 1], sig_len=1000,
        sig_name=["one", "two"], units=["mV", "mmHg"], adc_gain=[200.0, 12.5], baseline=[3, -40],
        e_d_signal=[fast, slow], base_time=time(10, 4, 5), base_date=date(2020, 1, 2),
        comments=["first", "second"], adc_res=[12, 12], adc_zero=[0, 0], block_size=[0, 0],
        file_name=["r1.dat", "r1.dat"], init_value=[int(fast[0]), int(slow[0])],
        checksum=[int(fast.sum() % 65536), int(slow.sum() % 65536)],
    )  # fmt: skip
    record.wrsamp(expanded=True, write_dir=str(folder))
    wfdb.wrann(
        "r1", "atr", np.array([5, 90, 90, 400, 970]), ["N", "V", "+", "N", "~"], subtype=np.array([0, 1, 0, 0, 2]),
        chan=np.array([0, 0, 1, 0, 1]), num=np.array([0, 0, 3, 0, 0]), aux_note=["", "", "(AFIB", "", ""], fs=100,
        write_dir=str(folder),
    )  # fmt: skip
    return folder / "r1"


@pytest.fixture(scope="module")
def archive(source: Path) -> str:
    target = source.parent / "r1.san"
    sanstream.archive(source, to=target, effort="fast")
    return str(target)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if isinstance(a, list) and a and isinstance(a[0], np.ndarray):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def differences(expected: Any, got: Any) -> list[str]:
    return [k for k, v in vars(expected).items() if not same(v, getattr(got, k, None))]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_record_is_what_wfdb_reads_from_the_source(source: Path, archive: str, way: dict[str, Any]) -> None:
    expected = wfdb.rdrecord(str(source), **way)
    assert differences(expected, own.rdrecord(f"{archive}/r1", **way)) == []


def test_header_samples_and_annotations_are_too(source: Path, archive: str) -> None:
    assert differences(wfdb.rdheader(str(source)), own.rdheader(archive)) == []
    signals, fields = wfdb.rdsamp(str(source), sampfrom=3, sampto=40)
    got, known = own.rdsamp(archive, sampfrom=3, sampto=40)
    np.testing.assert_array_equal(got, signals)
    assert known == fields
    for way in ({}, {"sampfrom": 50, "sampto": 500, "shift_samps": True}, {"summarize_labels": True}):
        expected, found = wfdb.rdann(str(source), "atr", **way), own.rdann(f"{archive}/r1", "atr", **way)
        for key in ("sample", "symbol", "subtype", "chan", "num", "aux_note", "fs", "record_name", "extension"):
            assert same(getattr(expected, key), getattr(found, key)), key


def test_lossy_archives_give_what_they_hold(source: Path, tmp_path: Path) -> None:
    sanstream.archive(source, to=tmp_path / "l.san", effort="fast", quality="prdn=9")
    record = own.rdrecord(str(tmp_path / "l.san"), smooth_frames=False)
    with sanstream.open(tmp_path / "l.san") as opened:
        streams = opened.recordings["r1"].streams.values()
        expected = {label.label: s.read(physical=True)[:, i] for s in streams for i, label in enumerate(s.channels)}
    for name, values in zip(record.sig_name, record.e_p_signal, strict=True):
        np.testing.assert_allclose(values, expected[name], rtol=1e-12)


def test_recordings_of_other_origin_become_records(tmp_path: Path) -> None:
    write(tmp_path / "a", [patient("bed1"), patient("bed2")])
    record = own.rdrecord(f"{tmp_path}/a/bed2", smooth_frames=False)
    with sanstream.open(tmp_path / "a") as opened:
        stream = opened.recordings["bed2"].streams["100hz"]
        expected = stream.read(physical=True)
        labels = [c.label for c in stream.channels]
    assert record.sig_name == [*labels, "RESP"]
    assert (record.fs, record.samps_per_frame) == (25, [4] * len(labels) + [1])
    for k in range(len(labels)):
        got = record.e_p_signal[k][: len(expected)]
        np.testing.assert_allclose(got, expected[:, k], rtol=1e-12)
    assert len(own.rdann(f"{tmp_path}/a/bed1", "atr").sample) == 40


def test_archives_in_an_object_store_are_read_too(source: Path) -> None:
    sanstream.archive(source, to="memory://wfdb-reader", effort="fast")
    expected = wfdb.rdrecord(str(source))
    for name in ("memory://wfdb-reader/r1", "memory://wfdb-reader"):
        assert differences(expected, own.rdrecord(name)) == []


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda a: own.rdrecord(f"{a}/r2"), InputError, "name one, such as"),
        (lambda a: own.rdrecord(f"{a}-not"), InputError, "no such folder"),
        (lambda a: own.rdrecord(a, sampfrom=5, sampto=5000), InputError, "of 1000"),
        (lambda a: own.rdrecord(a, channels=[7]), InputError, "it has 0 to 1"),
        (lambda a: own.rdrecord(a, pn_dir="mitdb"), UnsupportedError, "PhysioNet"),
        (lambda a: own.rdann(a, "qrs"), InputError, "it has atr"),
        (lambda a: own.rdrecord(a, physical=False, return_res=8), InputError, "do not fit 8 bits"),
    ],
)
def test_what_is_not_there_is_named(archive: str, call: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        call(archive)


def test_an_archive_of_several_asks_which(tmp_path: Path) -> None:
    write(tmp_path / "a", [patient("bed1", 500), patient("bed2", 500)])
    with pytest.raises(InputError, match="2 recordings"):
        own.rdheader(str(tmp_path / "a"))


def shared_records() -> list[Path]:
    found = [p.with_suffix("") for p in sorted((SHARED / "wfdb-formats").rglob("*.hea"))] if SHARED.is_dir() else []
    return [p for p in found if "/" not in p.with_suffix(".hea").read_text().split()[0] and "layout" not in p.name][:12]


@pytest.mark.shared
@pytest.mark.parametrize("record", shared_records(), ids=lambda p: p.name)
def test_real_records_of_one_segment_are_equal_in_every_field(record: Path, tmp_path: Path) -> None:
    sanstream.archive(record, to=tmp_path / "a", effort="fast")
    for way in ({}, {"physical": False, "smooth_frames": False}):
        assert differences(wfdb.rdrecord(str(record), **way), own.rdrecord(str(tmp_path / "a"), **way)) == []


def test_segments_of_other_gains_are_read_in_physical_units_and_not_as_stored(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = np.cumsum(rng.integers(-5, 6, (3000, 2)), axis=0).astype(np.int32)

    def calibrated(gain: float, baseline: float) -> tuple[Channel, ...]:
        return Channel("II", "mV", gain, baseline, -32768, 32767), Channel("ABP", "mmHg", 10.0, 0, -32768, 32767)

    parts = (Segment(0, calibrated(200.0, 0), x[:1000]), Segment(1500, calibrated(80.0, 37), x[1500:]))
    recording = Recording("r", (Stream("250hz", Fraction(250), parts),), None, "unknown")
    with ArchiveWriter(tmp_path / "a.san") as writer:
        writer.add(recording, effort="fast")
        writer.commit()
    with sanstream.open(tmp_path / "a.san") as archive:
        expected = archive.recordings["r"].streams["250hz"].read(physical=True)
    place = str(tmp_path / "a.san")
    np.testing.assert_allclose(own.rdrecord(place).p_signal, expected, atol=1e-12)
    np.testing.assert_allclose(own.rdsamp(place, 900, 1600)[0], expected[900:1600], atol=1e-12)
    swapped = own.rdrecord(place, channels=[1, 0], smooth_frames=False).e_p_signal
    np.testing.assert_allclose(np.stack(swapped, axis=1), expected[:, ::-1], atol=1e-12)
    with pytest.raises(UnsupportedError, match="'II' change between segments; read it with physical=True"):
        own.rdrecord(place, physical=False)
    stored = own.rdrecord(place, physical=False, channel_names=["ABP"]).d_signal[:, 0]
    np.testing.assert_array_equal(stored[1500:], x[1500:, 1])
