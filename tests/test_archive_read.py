"""What goes into an archive comes out, whole or in part, from both containers."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from archive_cases import CONTAINERS, LEADS, assert_same, events, leads, patient, tiny, write
from hypothesis import given
from hypothesis import strategies as st

import sanstream
from sanstream.archive import Archive
from sanstream.archive_annotations import pack_annotations, unpack_annotations
from sanstream.archive_channels import pack_channels
from sanstream.archive_parquet import BLOCKS
from sanstream.archive_zarr import array_type
from sanstream.errors import CorruptError, InputError, UnsupportedError
from sanstream.signal import Annotations, Channel
from sanstream.times import Time

PATIENT = patient()


@pytest.fixture(scope="module", params=CONTAINERS)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("read") / "a.san", [PATIENT, tiny()], request.param)


@pytest.fixture
def opened(path: Path) -> Archive:
    return sanstream.open(path)


def expected(first: int, stop: int) -> np.ndarray:
    """The grid of stream 100hz: channels MLII, V5, TRIG, ABP."""
    grid = np.empty((PATIENT.streams[0].n_samples, 4), np.int32)
    grid[:] = [-32768, -1024, -32768, -32768]
    one, two = PATIENT.streams[0].segments
    grid[: one.n_samples, :3] = one.samples
    grid[two.start_sample : two.stop_sample, [0, 3]] = two.samples
    return grid[first:stop]


def test_a_recording_comes_back_as_it_was(opened: Archive) -> None:
    assert list(opened.recordings) == ["bed1", "t"]
    assert_same(opened.recordings["bed1"].read(), PATIENT)
    assert_same(opened.recordings["t"].read(), tiny())


def test_the_whole_grid_has_missing_codes_where_nothing_is(opened: Archive) -> None:
    stream = opened.recordings["bed1"].streams["100hz"]
    assert [c.label for c in stream.channels] == ["MLII", "V5", "TRIG", "ABP"]
    assert np.array_equal(stream.read(), expected(0, stream.n_samples))


@given(st.integers(0, 3450), st.integers(0, 3450), st.lists(st.integers(0, 3), min_size=1, max_size=4))
def test_a_partial_read_equals_the_slice(path: Path, a: int, b: int, channels: list[int]) -> None:
    with sanstream.open(path) as archive:
        stream = archive.recordings["bed1"].streams["100hz"]
        low, high = min(a, b), max(a, b)
        if low < stream.n_samples:
            assert np.array_equal(stream.read(low, high, channels), expected(low, high)[:, channels])


def test_times_may_be_samples_seconds_or_text(opened: Archive) -> None:
    stream = opened.recordings["bed1"].streams["100hz"]
    want = expected(150, 420)
    for t0, t1 in [
        (150, 420),
        (1.5, 4.2),
        (Fraction(3, 2), Fraction(21, 5)),
        ("@150", "@420"),
        ("+1.5s", "+4200ms"),
        (Time(sample=150), Time(seconds=Fraction(42, 10))),
    ]:
        assert np.array_equal(stream.read(t0, t1), want)
    assert stream.read(t1="@7").shape == (7, 4)
    assert stream.read(3400, 10**9).shape == (50, 4)


def test_physical_units_follow_gain_and_baseline_and_gaps_are_nan(opened: Archive) -> None:
    stream = opened.recordings["bed1"].streams["100hz"]
    got = stream.read(channels=["ABP", "V5"], physical=True)
    one, two = PATIENT.streams[0].segments
    assert np.array_equal(got[: one.n_samples, 1], one.channels[1].physical(one.samples[:, 1]), equal_nan=True)
    assert np.isnan(got[2500 // 3 : 2500 // 3 + 7, 1]).all()
    assert np.isnan(got[2500:2800]).all()
    assert np.array_equal(got[2800:3400, 0], (two.samples[:, 1] + 800) / 12.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": ["II"]}, "no channel 'II'; it has MLII, V5, TRIG, ABP"),
        ({"channels": [4]}, "no channel 4"),
        ({"t0": 50.0}, "after its end"),
        ({"t0": 9, "t1": 3}, "9 is after 3"),
        ({"t0": "noon"}, "is not a time"),
    ],
)
def test_what_is_not_there_is_one_clear_line(opened: Archive, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        opened.recordings["bed1"].streams["100hz"].read(**arguments)  # type: ignore[arg-type]


def test_a_stretch_of_a_recording_counts_from_its_own_start(opened: Archive) -> None:
    cut = opened.recordings["bed1"].read(2.0, 29.0)
    assert cut.start_ns == PATIENT.start_ns + 2 * 10**9
    fast, slow = cut.streams
    assert (fast.n_samples, slow.n_samples) == (2700, 575)
    assert [s.start_sample for s in fast.segments] == [0, 2600]
    assert np.array_equal(fast.segments[0].samples, PATIENT.streams[0].segments[0].samples[200:])
    assert np.array_equal(fast.segments[1].samples, PATIENT.streams[0].segments[1].samples[:100])
    own = PATIENT.annotations[0].columns
    held = (own["time_ns"] >= 2 * 10**9) & (own["time_ns"] < 29 * 10**9)
    assert np.array_equal(cut.annotations[0].columns["time_ns"], own["time_ns"][held] - 2 * 10**9)
    assert np.array_equal(cut.annotations[0].columns["sample"], own["sample"][held] - 200)


def test_records_are_an_arrow_table_within_the_stretch(opened: Archive) -> None:
    stream = opened.recordings["bed1"].streams["100hz"]
    table = stream.records(2.0, 12.0)
    assert table.column_names[:6] == ["recording", "stream", "segment", "block", "window", "kernel"]
    times = table["fiducial_time_ns"].to_numpy() - PATIENT.start_ns
    assert ((times >= 2 * 10**9) & (times < 12 * 10**9)).all()


def test_xarray_is_lazy_and_equal(opened: Archive) -> None:
    pytest.importorskip("xarray")
    stream = opened.recordings["bed1"].streams["100hz"]
    array = stream.to_xarray()
    assert array.dims == ("time", "channel")
    assert not array.variable._in_memory
    assert np.array_equal(array[100:300:7, 1].values, expected(100, 300)[::7, 1])
    assert np.array_equal(
        array[{"time": [5, 3, 900], "channel": [2, 0]}].values, expected(0, 901)[[5, 3, 900]][:, [2, 0]]
    )
    assert np.array_equal(array.sel(channel="ABP").values, expected(0, 3450)[:, 3])


def test_zarr_reads_the_same_without_sanstream_or_torch(tmp_path: Path) -> None:
    write(tmp_path / "a.san", [PATIENT])
    code = f"""
import sys, zarr
from importlib.metadata import entry_points
if not any(e.name == "sanstream" for e in entry_points(group="zarr.codecs")):
    from zarr.registry import register_codec
    from sanstream.zarr_codec import SanstreamCodec
    register_codec("sanstream", SanstreamCodec)
root = zarr.open_group({str(tmp_path / "a.san")!r}, mode="r")
array = root["bed1"]["100hz"]["0"]
assert array.attrs["labels"] == ["MLII", "V5", "TRIG"]
sys.stdout.buffer.write(array[...].astype("<i4").tobytes())
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    got = np.frombuffer(done.stdout, "<i4").reshape(-1, 3)
    assert np.array_equal(got, PATIENT.streams[0].segments[0].samples)


def test_payloads_are_the_same_in_both_containers(tmp_path: Path) -> None:
    readers = [sanstream.open(write(tmp_path / c, [PATIENT], c)).recordings["bed1"] for c in CONTAINERS]
    streams = [r.streams["100hz"] for r in readers]
    for a, b in zip(*(s.entry.segments for s in streams), strict=True):
        assert a.n_blocks == b.n_blocks
        assert streams[0].blocks(a, 0, a.n_blocks) == streams[1].blocks(b, 0, b.n_blocks)


def test_parquet_rows_are_as_documented(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(write(tmp_path / "a", [PATIENT], "parquet") / "bed1" / BLOCKS)
    assert table.column_names == "recording stream segment block start_ns n_samples bank payload".split()
    rows = [r for r in table.to_pylist() if (r["stream"], r["segment"]) == ("100hz", "2800")]
    assert rows[0]["start_ns"] == PATIENT.start_ns + 28 * 10**9
    assert sum(r["n_samples"] for r in rows) == 600


def test_info_has_the_documented_shape_and_adds_up(path: Path, opened: Archive) -> None:
    info = opened.info()
    assert list(info) == ["format_version", "container", "coded_bytes", "stored_bytes", "recordings"]
    stored = info["stored_bytes"]
    assert list(stored) == ["total", "signal", "bank", "metadata", "annotations"]
    assert stored["total"] == sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
    assert stored["total"] == sum(stored[k] for k in list(stored)[1:])
    assert info["coded_bytes"] == sum(s["coded_bytes"] for r in info["recordings"] for s in r["streams"])
    assert info["coded_bytes"] <= stored["signal"] + stored["metadata"]
    stream = info["recordings"][0]["streams"][0]
    assert list(stream) == "name rate_hz n_samples coded_bytes bits_per_sample channels segments".split()
    assert stream["bits_per_sample"] == 8 * stream["coded_bytes"] / (2500 * 3 + 600 * 2)
    assert list(stream["channels"][0]) == "name unit gain baseline quality reached".split()
    assert list(stream["channels"][0]["reached"]) == "prdn_mean prdn_max rmse_adu max_error_adu phi_mean".split()
    assert list(stream["segments"][0]) == "bank n_blocks n_windows".split()
    assert stream["channels"][0]["quality"] == "lossless"


def test_a_lossy_archive_says_what_was_asked_and_reached(tmp_path: Path) -> None:
    path = write(tmp_path / "a", [PATIENT], requests=["max-error=4adu", "V5=prdn=9"])
    with sanstream.open(path) as archive:
        channels = {c["name"]: c for c in archive.info()["recordings"][0]["streams"][0]["channels"]}
        assert {k: c["quality"] for k, c in channels.items()} == {
            "MLII": "max-error=4adu",
            "V5": "prdn=9",
            "TRIG": "lossless",
            "ABP": "max-error=4adu",
        }
        assert channels["MLII"]["reached"]["max_error_adu"] <= 4
        assert channels["V5"]["reached"]["prdn_max"] <= 9
        assert channels["TRIG"]["reached"]["max_error_adu"] == 0
        assert archive.verify(deep=True) == []
        got = archive.recordings["bed1"].streams["100hz"].read(0, 2500)
        assert np.abs(got[:, 0] - leads(2500)[:, 0]).max() <= channels["MLII"]["reached"]["max_error_adu"]


def test_a_cold_open_is_one_request_for_a_recording(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sanstream.archive_objects import LocalObjects

    keys: list[str] = []
    real = LocalObjects.read
    monkeypatch.setattr(LocalObjects, "read", lambda self, key: (keys.append(key), real(self, key))[1])
    archive = sanstream.open(path)
    _ = archive.recordings["t"].streams["10hz"].n_samples
    assert keys == ["catalog.json", "t/manifest.json"]


def test_a_lost_shard_is_an_error_here(tmp_path: Path) -> None:
    path = write(tmp_path / "a", [PATIENT])
    (path / "bed1/100hz/0/c/0/0").unlink()
    with pytest.raises(CorruptError, match="100hz/0/c/0/0 is missing"):
        sanstream.open(path).recordings["bed1"].streams["100hz"].read()


def test_a_self_contained_array_needs_no_bank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    from sanstream.zarr_codec import SanstreamCodec

    path = write(tmp_path / "a", [tiny()], self_contained=True)
    codec = SanstreamCodec.from_dict(json.loads((path / "t/10hz/0/zarr.json").read_text())["codecs"][0])
    (bank,) = (path / "banks").iterdir()
    assert codec.bank_data == bank.read_bytes()
    assert bank.stem == codec.coding.bank_base


@pytest.mark.parametrize(
    ("what", "message"),
    [("nowhere", "no such folder"), ("empty", "not an archive"), ("ftp://host/a", "ftp:// are not supported")],
)
def test_what_is_no_archive_is_one_clear_line(tmp_path: Path, what: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        sanstream.open(what if "://" in what else tmp_path / what)


def test_an_archive_from_a_newer_version_says_so(tmp_path: Path) -> None:
    from sanstream.archive_sealed import seal_json

    path = write(tmp_path / "a", [tiny()])
    (path / "catalog.json").write_bytes(seal_json({"format_version": 7, "of": "tomorrow"}))
    with pytest.raises(
        UnsupportedError, match=r"written in format version 7, this sanstream reads up to 1; install a newer"
    ):
        sanstream.open(path)


def test_channels_share_what_they_have_in_common() -> None:
    packed = pack_channels(LEADS[:2])
    assert packed["all"] == {
        "unit": "mV",
        "gain": 200.0,
        "baseline": 1024,
        "resolution_bits": 11,
        "digital_min": LEADS[0].digital_min,
        "digital_max": LEADS[0].digital_max,
        "header": {"format": "212"},
    }
    assert packed["each"][1] == {"label": "V5", "header": {"skew": 1}}


@pytest.mark.parametrize(
    ("channels", "kind"),
    [
        ([(-2048, 2047, -2048), (-2048, 2047, -2048)], ("int16", -2048)),
        ([(-2048, 2047, None), (-2048, 2047, -2048)], ("int16", -32768)),
        ([(-32768, 32767, -32768)], ("int16", -32768)),
        ([(-32768, 32767, None)], ("int32", -(2**31))),
        ([(-(2**23), 2**23 - 1, None)], ("int32", -(2**31))),
        ([(0, 40000, 0)], ("int32", 0)),
    ],
)
def test_the_fill_value_is_never_a_plausible_sample(
    channels: list[tuple[int, int, int | None]], kind: tuple[str, int]
) -> None:
    low, high, missing = zip(*channels, strict=True)
    ranges = list(zip(low, high, strict=True))
    coding = SimpleNamespace(sample_range=ranges.__getitem__, missing=missing, n_channels=len(low))
    assert array_type(coding) == kind  # type: ignore[arg-type]


@pytest.mark.parametrize("rates", [(), (Fraction(100),)])
def test_annotations_come_back_with_their_types(rates: tuple[Fraction, ...]) -> None:
    for own in (events(), events(0)):
        data = pack_annotations(own, rates)
        back = unpack_annotations(data, "atr")
        assert back.attributes == own.attributes
        assert list(back.columns) == list(own.columns)
        for key, column in own.columns.items():
            assert back.columns[key].dtype == column.dtype
            assert np.array_equal(back.columns[key], column)


def test_an_annotation_column_of_another_kind_is_refused() -> None:
    mixed = Annotations("e", {"time_ns": np.arange(2), "x": np.array(["a", 3], object)})
    with pytest.raises(UnsupportedError, match="annotations 'e': column 'x' of type object cannot be stored"):
        pack_annotations(mixed)


def test_channel_headers_of_any_shape_come_back(tmp_path: Path) -> None:
    from archive_cases import walk

    from sanstream.signal import Recording, Segment, Stream

    headers = [{"edf": {"label": "a", "x": "1"}, "n": 1}, {"edf": {"label": "b", "x": "1"}, "n": 1.0}, {"edf": {}}]
    channels = tuple(Channel(f"c{i}", baseline=0.5 * i, header=h) for i, h in enumerate(headers))
    stream = Stream("s", Fraction(50), (Segment(0, channels, np.stack([walk(100)] * 3, axis=1)),))
    recording = Recording("r", (stream,))
    back = sanstream.open(write(tmp_path / "a", [recording])).recordings["r"].read()
    assert back.streams[0].segments[0].channels == channels


@pytest.mark.parametrize("when", [(-5, 10), (-0.5, 1.0), (Fraction(-1), None), (0, -5), (None, -1)])
def test_a_time_before_the_start_is_refused(tmp_path: Path, when: tuple[float | None, float | None]) -> None:
    stream = sanstream.open(write(tmp_path / "a", [tiny()])).recordings["t"].streams["10hz"]
    with pytest.raises(InputError, match=r"stream '10hz': .* is before its start; count from 0"):
        stream.read(*when)
    with pytest.raises(InputError):
        stream.records(*when)
