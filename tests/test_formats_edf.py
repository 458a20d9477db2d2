"""EDF and BDF files come back byte for byte; new ones are read alike by edfio."""

from __future__ import annotations

import warnings
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import edfio
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sanstream import formats
from sanstream.errors import InputError, UnsupportedError
from sanstream.formats.edf_annotations import Tal, format_tals
from sanstream.formats.edf_header import SIGNAL, header_bytes
from sanstream.signal import TRIGGER, Annotations, Channel, Recording, Segment, Stream

BYTES = {"edf": 2, "bdf": 3}


def encode(values: np.ndarray, format: str) -> bytes:
    raw = values.astype("<i4").reshape(-1, 1).view(np.uint8)
    return raw[:, : BYTES[format]].tobytes()


def make(
    path: Path,
    *,
    spr: tuple[int, ...] = (8, 2, 8),
    n_records: int = 5,
    said: str | None = None,
    tals: list[list[Tal]] | None = None,
    raw_tals: list[bytes] | None = None,
    reserved: str = "",
    duration: str = "0.5",
    **main: str,
) -> np.ndarray:
    """Write a file by hand; return its samples, (record, samples of all signals)."""
    format = path.suffix[1:]
    rng = np.random.default_rng(3)
    limit = 2 ** (8 * BYTES[format] - 1)
    data = rng.integers(-limit, limit, (n_records, sum(spr)))
    empty = dict.fromkeys((name for name, _ in SIGNAL), "")
    signals = [
        empty
        | {
            "label": label,
            "transducer": "AgAgCl électrode",
            "dimension": "uV",
            "physical_min": "-500",
            "physical_max": "499.98",
            "digital_min": str(-limit),
            "digital_max": str(limit - 1),
            "prefilter": "HP:0.1Hz  LP:75Hz",
            "samples_per_record": str(n),
            "reserved": "x" * 32,
        }
        for label, n in zip(("EEG Fpz-Cz", "Temp", "Status", "C4", "C5"), spr, strict=False)
    ]
    size = 0
    if tals is not None:
        rows = [b"".join(t.to_bytes() for t in record) for record in tals]
        size = -(-max(map(len, rows)) // BYTES[format]) * BYTES[format]
        raw_tals = [format_tals(record, size) for record in tals]
    if raw_tals is not None:
        size = len(raw_tals[0])
        note = {"label": f"{format.upper()} Annotations", "samples_per_record": str(size // BYTES[format])}
        limits = {"physical_min": "-1", "physical_max": "1", "digital_min": str(-limit), "digital_max": str(limit - 1)}
        signals.insert(1, empty | limits | note)
    fields = {
        "version": "0" if format == "edf" else "\xffBIOSEMI",
        "patient": "MCH-0234567 F 02-MAY-1951 Haagse_Harry",
        "recording": "Startdate 02-MAR-2002 EMG561 BK/JOP Sony. MNC R Median Nerve.",
        "startdate": "17.04.01",
        "starttime": "11.25.00",
        "header_bytes": str(256 * (len(signals) + 1)),
        "reserved": reserved,
        "n_records": said or str(n_records),
        "record_duration": duration,
        "n_signals": str(len(signals)),
        **main,
    }
    out = header_bytes(fields, signals)
    for i in range(n_records):
        parts = [encode(part, format) for part in np.split(data[i], np.cumsum(spr)[:-1])]
        if raw_tals is not None:
            parts.insert(1, raw_tals[i])
        out += b"".join(parts)
    path.write_bytes(out)
    return data


def keeping(n: int, duration: float = 0.5, first: float = 0.0) -> list[list[Tal]]:
    return [[Tal(f"+{first + i * duration:g}", None, ("",))] for i in range(n)]


def roundtrip(source: Path, out: Path) -> Recording:
    recording = formats.read(source)
    (path, *_) = formats.write(recording, out, format=source.suffix[1:])
    assert path.read_bytes() == source.read_bytes()
    return recording


@pytest.mark.parametrize("suffix", ["edf", "bdf"])
@pytest.mark.parametrize("said", [None, "-1"])
def test_a_plain_file_comes_back_byte_for_byte(tmp_path: Path, suffix: str, said: str | None) -> None:
    source = tmp_path / f"plain.{suffix}"
    data = make(source, said=said)
    recording = roundtrip(source, tmp_path / "out")
    fast, slow = recording.streams
    assert (fast.rate, slow.rate) == (16, 4)
    assert np.array_equal(fast.segments[0].samples[:, 0], data[:, :8].reshape(-1))
    assert np.array_equal(slow.segments[0].samples[:, 0], data[:, 8:10].reshape(-1))
    eeg, status = fast.segments[0].channels
    assert (eeg.label, eeg.unit, eeg.header["edf"]["transducer"]) == ("EEG Fpz-Cz", "uV", "AgAgCl électrode")
    assert status.kind == TRIGGER
    assert recording.start_ns == 1015068300 * 10**9
    physical = eeg.physical(np.array([eeg.digital_min, eeg.digital_max]))
    assert physical == pytest.approx([-500, 499.98], rel=1e-12)


@pytest.mark.parametrize("suffix", ["edf", "bdf"])
def test_samples_read_as_edfio_reads_them(tmp_path: Path, suffix: str) -> None:
    source = tmp_path / f"plain.{suffix}"
    make(source, transducer="x")
    recording = formats.read(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = (edfio.read_edf if suffix == "edf" else edfio.read_bdf)(source, header_encoding="latin-1")
    for stream in recording.streams:
        for column, channel in enumerate(stream.segments[0].channels):
            signal = theirs.get_signal(channel.label)
            assert np.array_equal(signal.digital, stream.segments[0].samples[:, column])
            assert signal.data == pytest.approx(channel.physical(stream.segments[0].samples[:, column]), abs=1e-9)


@pytest.mark.parametrize("suffix", ["edf", "bdf"])
def test_annotations_are_parsed_and_given_back(tmp_path: Path, suffix: str) -> None:
    tals = keeping(5, first=0.25)
    tals[0][0] = Tal("+0.25", None, ("", "with the clock"))
    tals[1] += [
        Tal("+0.8", "0.5", ("Sleep stage N2", "again")),
        Tal("-3", None, ("before: Ωμέγα",)),
        Tal("+1", "", ("",)),
    ]
    source = tmp_path / f"plus.{suffix}"
    make(source, tals=tals, reserved=f"{suffix.upper()}+C")
    recording = roundtrip(source, tmp_path / "out")
    (events,) = recording.annotations
    assert events.columns["text"].tolist() == ["with the clock", "Sleep stage N2", "again", "before: Ωμέγα", ""]
    assert events.columns["time_ns"].tolist() == [0, 550_000_000, 550_000_000, -3_250_000_000, 750_000_000]
    assert events.columns["duration_s"].tolist()[1] == 0.5
    assert recording.start_ns == 1015068300 * 10**9 + 250_000_000
    assert not any(c.label.endswith("Annotations") for s in recording.streams for c in s.segments[0].channels)


def test_annotations_in_another_layout_are_kept_as_a_raw_channel(tmp_path: Path) -> None:
    rows = [f"+{i / 2:g}\x14\x14\0\0\0+{i / 2:g}\x14late\x14\0".encode().ljust(40, b"\0") for i in range(5)]
    source = tmp_path / "odd.edf"
    make(source, raw_tals=rows, reserved="EDF+C")
    recording = roundtrip(source, tmp_path / "out")
    raw = [c for s in recording.streams for c in s.segments[0].channels if c.label == "EDF Annotations"]
    assert [c.kind for c in raw] == [TRIGGER]
    assert recording.annotations[0].columns["text"].tolist() == ["late"] * 5


@pytest.mark.parametrize(("gap", "stretches"), [(1.25, 1), (4000.0, 2)])
def test_gaps_of_a_discontinuous_file_come_back(tmp_path: Path, gap: float, stretches: int) -> None:
    onsets = [0, 0.5, 1 + gap, 1.5 + gap, 2 + gap]
    source = tmp_path / "gaps.edf"
    data = make(source, tals=[[Tal(f"+{o:g}", None, ("",))] for o in onsets], reserved="EDF+D")
    recording = roundtrip(source, tmp_path / "out")
    stream = recording.streams[0]
    assert len(stream.segments) == stretches
    assert stream.n_samples == int((2.5 + gap) * 16)
    assert np.array_equal(stream.segments[-1].samples[-24:, 0], data[2:, :8].reshape(-1))
    if stretches == 1:
        assert (stream.segments[0].samples[16 : 16 + int(gap * 16)] == stream.segments[0].channels[0].missing).all()


def test_repeated_labels_and_no_start(tmp_path: Path) -> None:
    source = tmp_path / "x.edf"
    make(source, recording="Startdate X X X X", startdate="01.01.85", starttime="00.00.00")
    data = source.read_bytes().replace(b"Status    ", b"EEG Fpz-Cz")
    source.write_bytes(data)
    recording = roundtrip(source, tmp_path / "out")
    assert [c.label for c in recording.streams[0].segments[0].channels] == ["EEG Fpz-Cz", "EEG Fpz-Cz_2"]
    assert recording.start_ns is None


def channel_recording(data: np.ndarray, rate: Fraction = Fraction(256), **more) -> Recording:
    channels = tuple(
        Channel(f"c{i}", "mV", 200.0, 1024, -(2**15), 2**15 - 1, header={"position": i}) for i in range(data.shape[1])
    )
    return Recording("new one", (Stream("s", rate, (Segment(0, channels, data.astype(np.int32)),)),), **more)


def test_wide_samples_are_refused_naming_bdf(tmp_path: Path) -> None:
    data = np.array([[0], [2**15]])
    with pytest.raises(UnsupportedError, match="'c0' holds 0 to 32768; EDF samples have 16 bits; use --format bdf"):
        formats.write(channel_recording(data), tmp_path / "out", format="edf")
    assert not (tmp_path / "out").exists()
    formats.write(channel_recording(data), tmp_path / "out", format="bdf")
    with pytest.raises(UnsupportedError, match="use --format wfdb"):
        formats.write(channel_recording(data * 2**9), tmp_path / "far", format="bdf")


def holed(values: list[int]) -> Recording:
    recording = channel_recording(np.array(values).reshape(-1, 1))
    stream = recording.streams[0]
    channel = replace(stream.segments[0].channels[0], missing=-(2**31))
    return replace(recording, streams=(replace(stream, segments=(replace(stream.segments[0], channels=(channel,)),)),))


def test_missing_samples_get_the_lowest_value_and_an_annotation(tmp_path: Path) -> None:
    values = [5, 6, -(2**31), -(2**31), 7, 8] * 64
    (file,) = [f for f in formats.write(holed(values), tmp_path, format="edf") if f.suffix == ".edf"]
    got = formats.read(file)
    samples = got.streams[0].segments[0].samples[:, 0]
    assert samples.tolist() == [-32768 if v == -(2**31) else v for v in values]
    assert [str(t) for t in got.annotations[0].columns["text"]].count("No signal") == 64


def test_missing_samples_without_a_code_left_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="'c0' has missing samples, for which a new EDF file has no code left"):
        formats.write(holed([0, -32768, -(2**31)]), tmp_path, format="edf")


def test_a_new_file_keeps_events_and_the_start_to_the_microsecond(tmp_path: Path) -> None:
    columns = {"time_ns": np.array([10**9, 1_500_000_000]), "text": np.array(["a", "b"], dtype=object)}
    recording = channel_recording(
        np.arange(512).reshape(-1, 1), annotations=(Annotations("x", columns),), start_ns=1_700_000_000_123_456_000
    )
    (path,) = formats.write(recording, tmp_path, format="edf")
    again = formats.read(path)
    assert again.start_ns == 1_700_000_000_123_456_000
    assert again.annotations[0].columns["text"].tolist() == ["a", "b"]
    assert again.annotations[0].columns["time_ns"].tolist() == [10**9, 1_500_000_000]
    theirs = edfio.read_edf(path)
    assert [a.text for a in theirs.annotations] == ["a", "b"]
    assert theirs.starttime.microsecond == 123456
    assert np.array_equal(theirs.signals[0].digital, np.arange(512))
    channel = again.streams[0].segments[0].channels[0]
    assert (channel.gain, channel.baseline) == (200.0, 1024)


def test_a_length_that_no_record_divides_is_padded_and_marked(tmp_path: Path) -> None:
    (path,) = formats.write(channel_recording(np.arange(650).reshape(-1, 1), Fraction(360)), tmp_path, format="edf")
    again = formats.read(path)
    assert np.array_equal(again.streams[0].segments[0].samples[:650, 0], np.arange(650))
    assert (again.streams[0].segments[0].samples[650:] == 649).all()
    assert again.annotations[0].columns["text"].tolist() == ["Recording ends"]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=arrays(np.int16, st.tuples(st.integers(1, 700), st.integers(1, 3))),
    rate=st.sampled_from([Fraction(r) for r in ("1", "4", "100", "250", "256", "360", "500", "0.5", "1000")]),
    format=st.sampled_from(["edf", "bdf"]),
)
def test_any_short_integers_can_be_written(tmp_path_factory, data, rate, format) -> None:
    (path, *_) = formats.write(channel_recording(data, rate), tmp_path_factory.mktemp("e"), format=format)
    again = formats.read(path)
    assert again.streams[0].rate == rate
    assert np.array_equal(again.streams[0].segments[0].samples[: len(data)], data)


def test_a_stretch_of_a_file_is_a_new_file(tmp_path: Path) -> None:
    source = tmp_path / "plus.edf"
    tals = keeping(5)
    tals[2].append(Tal("+1.25", None, ("here",)))
    make(source, tals=tals, reserved="EDF+C")
    whole = formats.read(source)
    streams = tuple(
        Stream(s.name, s.rate, (Segment(0, s.segments[0].channels, s.segments[0].samples[int(s.rate) :]),))
        for s in whole.streams
    )
    columns = dict(whole.annotations[0].columns)
    columns["time_ns"] = columns["time_ns"] - 10**9
    events = (Annotations("edf", columns, whole.annotations[0].attributes),)
    part = replace(whole, streams=streams, annotations=events, start_ns=(whole.start_ns or 0) + 10**9)
    (path,) = formats.write(part, tmp_path / "out", format="edf")
    again = formats.read(path)
    assert again.start_ns == part.start_ns
    assert again.annotations[0].columns["time_ns"].tolist() == [250_000_000]
    assert again.attributes["edf"]["main"]["patient"] == whole.attributes["edf"]["main"]["patient"]
    for a, b in zip(again.streams, streams, strict=True):
        assert np.array_equal(a.segments[0].samples, b.segments[0].samples)
        assert [c.gain for c in a.segments[0].channels] == [c.gain for c in b.segments[0].channels]


@pytest.mark.parametrize("cut", [1, 7, 40, 200, 1000])
def test_a_file_cut_short_is_one_clear_error(tmp_path: Path, cut: int) -> None:
    source = tmp_path / "x.edf"
    make(source, n_records=30)
    source.write_bytes(source.read_bytes()[:-cut])
    with pytest.raises(InputError, match=r"announced, the file holds \d+ data records.*fetch it again"):
        formats.read(source)
