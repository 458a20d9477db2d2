"""WFDB records come back as they were: every signal format, rate, skew, gap, header field."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import wfdb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sanstream import formats
from sanstream.formats.wfdb_encode import OWN
from sanstream.formats.wfdb_signals import RANGE, write_file
from sanstream.signal import TRIGGER, Channel, Recording, Segment, Stream
from sanstream.simulate import simulate_ecg

FORMATS = sorted(RANGE)


def samples(fmt: str, n: int, seed: int = 0) -> np.ndarray:
    """Full-range noise with both limits and the missing code; a slow walk for format 8."""
    rng = np.random.default_rng(seed)
    if fmt == "8":
        return np.cumsum(rng.integers(-128, 128, n))
    low, high, _ = RANGE[fmt]
    out = rng.integers(low, high + 1, n)
    out[: min(n, 2)] = [low, high][: min(n, 2)]
    return out


def make(folder: Path, name: str, fmt: str, signals: list[np.ndarray], per_frame: list[int], extra: str = "") -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    frames = len(signals[0]) // per_frame[0]
    write_file(folder / f"{name}.dat", fmt, signals, per_frame, [3] * len(signals))
    lines = [f"{name} {len(signals)} 62.4725/999.56(7) {frames}{extra}"]
    for i, (signal, n) in enumerate(zip(signals, per_frame, strict=True)):
        checksum = (int(signal.sum()) + 2**15) % 2**16 - 2**15
        lines.append(f"{name}.dat {fmt}{f'x{n}' if n > 1 else ''} 200.5({i})/mV 12 1024 3 {checksum} 0 lead {i}")
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n# <age>: 44\n#Grüße\n", encoding="utf-8")
    return folder / f"{name}.hea"


def roundtrip(source: Path, out: Path) -> Recording:
    recording = formats.read(source)
    formats.write(recording, out, format="wfdb")
    return recording


def digital(record: Path, **options) -> list[np.ndarray]:
    """Digital samples as the library reads them; through physical units for format 61, where it stumbles else."""
    stem = str(record.with_suffix(""))
    if "61" not in wfdb.rdheader(stem).fmt:
        return wfdb.rdrecord(stem, physical=False, smooth_frames=False, **options).e_d_signal
    r = wfdb.rdrecord(stem, physical=True, smooth_frames=False, **options)
    units = zip(r.e_p_signal, r.adc_gain, r.baseline, strict=True)
    return [np.nan_to_num(np.rint(x * g + b), nan=-32768).astype(int) for x, g, b in units]


def assert_equal_to_wfdb(source: Path, restored: Path) -> None:
    for x, y in zip(digital(source), digital(restored), strict=True):
        assert np.array_equal(x, y)
    a, b = (wfdb.rdheader(str(p.with_suffix(""))) for p in (source, restored))
    for field in ("adc_gain", "baseline", "units", "adc_res", "adc_zero", "sig_name", "comments", "checksum"):
        assert getattr(a, field) == getattr(b, field)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 100])
def test_every_signal_format_gives_back_header_and_samples(tmp_path: Path, fmt: str, n: int) -> None:
    source = make(tmp_path / "a", "r1", fmt, [samples(fmt, n, k) for k in range(3)], [1, 1, 1])
    recording = roundtrip(source, tmp_path / "b")
    assert (tmp_path / "b" / "r1.hea").read_bytes() == source.read_bytes()
    if int(fmt) < 500:
        assert (tmp_path / "b" / "r1.dat").read_bytes() == source.with_suffix(".dat").read_bytes()
    assert_equal_to_wfdb(source, tmp_path / "b" / "r1.hea")
    assert np.array_equal(np.stack(digital(source), axis=1), recording.streams[0].segments[0].samples)
    channel = recording.streams[0].segments[0].channels[0]
    assert channel.missing == RANGE[fmt][2]
    assert (channel.gain, channel.baseline, channel.resolution_bits) == (200.5, 0, 12)
    assert channel.header["adc_zero"] == 1024


@pytest.mark.parametrize("fmt", [f for f in FORMATS if int(f) < 500])
def test_rates_within_a_record_become_streams_and_one_record_again(tmp_path: Path, fmt: str) -> None:
    per_frame = [4, 1, 2, 4]
    source = make(tmp_path / "a", "m", fmt, [samples(fmt, 30 * k, i) for i, k in enumerate(per_frame)], per_frame)
    recording = roundtrip(source, tmp_path / "b")
    assert [s.name for s in recording.streams] == ["249.89hz", "62.4725hz", "124.945hz"]
    assert [s.rate for s in recording.streams] == [Fraction(r) for r in ("249.89", "62.4725", "124.945")]
    assert [len(s.segments[0].channels) for s in recording.streams] == [2, 1, 1]
    assert (tmp_path / "b" / "m.dat").read_bytes() == source.with_suffix(".dat").read_bytes()


@pytest.mark.parametrize("extra_frames", [0, 2, 9])
def test_skew_is_taken_out_and_put_back(tmp_path: Path, extra_frames: int) -> None:
    signals = [samples("16", 40 + extra_frames, 1), samples("16", 2 * (40 + extra_frames), 2)]
    source = make(tmp_path / "a", "k", "16", signals, [1, 2])
    text = source.read_text(encoding="utf-8").replace(f" {40 + extra_frames}\n", " 40\n", 1).replace("16x2", "16x2:4")
    source.write_text(text, encoding="utf-8")
    recording = roundtrip(source, tmp_path / "b")
    fast = recording.streams[1].segments[0].samples[:, 0]
    assert np.array_equal(fast[: 2 * 36], signals[1][8:80])
    raw = (
        wfdb.rdrecord(str(p / "k"), physical=False, smooth_frames=False, ignore_skew=True)
        for p in (tmp_path / "a", tmp_path / "b")
    )
    for x, y in zip(*(r.e_d_signal for r in raw), strict=True):
        assert np.array_equal(x, y)
    assert_equal_to_wfdb(source, tmp_path / "b" / "k.hea")


def test_a_start_finer_than_wfdb_reads_is_written_to_the_microsecond(tmp_path: Path) -> None:
    made = simulate_ecg(2, start_ns=1714564800_123456789)
    path = formats.write(replace(made, source_format="npy"), tmp_path, format="wfdb")[0]
    assert formats.read(path).start_ns == 1714564800_123456000


@pytest.mark.parametrize(
    ("written", "start_ns", "time_of_day"),
    [
        ("", None, None),
        (" 10:44:18.529", None, "10:44:18.529"),
        (" 23:59:59.123456 29/02/2024", 1709251199123456000, None),
        (" 10:44:18.529 04/05/2704", None, "10:44:18.529"),  # beyond 64-bit nanoseconds: kept as text
        (" 1:02:03 04/05/1969", -20905077000000000, None),
    ],
)
def test_start_is_exact_or_absent(tmp_path: Path, written: str, start_ns: int | None, time_of_day: str | None) -> None:
    source = make(tmp_path / "a", "t", "16", [samples("16", 10)], [1], written)
    recording = roundtrip(source, tmp_path / "b")
    assert recording.start_ns == start_ns
    assert recording.attributes.get("time_of_day") == time_of_day
    assert (tmp_path / "b" / "t.hea").read_bytes() == source.read_bytes()


def test_bytes_before_the_samples_come_back(tmp_path: Path) -> None:
    source = make(tmp_path / "a", "o", "16", [samples("16", 20)], [1])
    data = source.with_suffix(".dat")
    data.write_bytes(b"MATLAB-4 header, 24 B..." + data.read_bytes())
    source.write_text(source.read_text(encoding="utf-8").replace(" 16 ", " 16+24 "), encoding="utf-8")
    roundtrip(source, tmp_path / "b")
    assert (tmp_path / "b" / "o.dat").read_bytes() == data.read_bytes()
    assert (tmp_path / "b" / "o.hea").read_bytes() == source.read_bytes()


def test_a_wrong_checksum_stays_and_a_right_one_follows_the_samples(tmp_path: Path) -> None:
    source = make(tmp_path / "a", "c", "16", [samples("16", 20, 1), samples("16", 20, 2)], [1, 1])
    lines = source.read_text(encoding="utf-8").split("\n")
    tokens = lines[1].split(" ")
    tokens[6] = "1"
    lines[1] = " ".join(tokens)
    source.write_text("\n".join(lines), encoding="utf-8")
    recording = formats.read(source)
    stream = recording.streams[0]
    moved = Segment(0, stream.segments[0].channels, stream.segments[0].samples // 2)
    formats.write(replace(recording, streams=(replace(stream, segments=(moved,)),)), tmp_path / "b", format="wfdb")
    header = wfdb.rdheader(str(tmp_path / "b" / "c"))
    assert header.checksum == [1, (int(moved.samples[:, 1].sum()) + 2**15) % 2**16 - 2**15]


def test_labels_are_made_unique_and_come_back_as_they_were(tmp_path: Path) -> None:
    source = make(tmp_path / "a", "u", "16", [samples("16", 5)] * 4, [1] * 4)
    text = source.read_text(encoding="utf-8")
    for old, new in (("lead 0", "II"), ("lead 1", "II"), ("lead 2", ""), ("lead 3", "marker")):
        text = text.replace(old, new)
    source.write_text(text, encoding="utf-8")
    recording = roundtrip(source, tmp_path / "b")
    channels = recording.streams[0].segments[0].channels
    assert [c.label for c in channels] == ["II", "II_2", "signal 2", "marker"]
    assert [c.kind for c in channels][-1] == TRIGGER
    assert (tmp_path / "b" / "u.hea").read_bytes() == source.read_bytes()


def multi(folder: Path, gap: int, *, gain: str = "200.5", layout: bool = False) -> Path:
    for k in range(3):
        header = make(folder, f"s{k}", "212", [samples("212", 50, k), samples("212", 50, k + 9)], [1, 1])
        text = header.read_text(encoding="utf-8").replace("#", "# seg ")
        header.write_text(text.replace("200.5(1)", f"{gain}(1)") if k == 2 else text, encoding="utf-8")
    segments = ["s0 50", "s1 50", f"~ {gap}", "s2 50"]
    if layout:
        (folder / "lay.hea").write_text("lay 2 62.4725 0\n~ 0 1/mV 11 0 0 0 0 lead 0\n~ 0 1/mV 11 0 0 0 0 lead 1\n")
        segments.insert(0, "lay 0")
    lines = [f"rec/{len(segments)} 2 62.4725/999.56(7) {150 + gap} 10:00:00 01/02/2003", *segments, "# whole", ""]
    (folder / "rec.hea").write_bytes("\r\n".join(lines).encode())
    return folder / "rec.hea"


@pytest.mark.parametrize("layout", [False, True])
@pytest.mark.parametrize(
    ("gap", "gain", "stretches"), [(7, "200.5", [157]), (7, "100", [100, 50]), (62 * 3700, "200.5", [100, 50])]
)
def test_segments_and_gaps_come_back_as_one_record(
    tmp_path: Path, gap: int, gain: str, stretches: list[int], layout: bool
) -> None:
    source = multi(tmp_path / "a", gap, gain=gain, layout=layout)
    recording = roundtrip(source, tmp_path / "b")
    (stream,) = recording.streams
    assert [s.n_samples for s in stream.segments] == stretches
    assert stream.n_samples == 150 + gap
    if len(stretches) == 1:
        assert (stream.segments[0].samples[100:107] == -2048).all()
    for path in (tmp_path / "a").iterdir():
        assert (tmp_path / "b" / path.name).read_bytes() == path.read_bytes()


def test_a_stretch_of_a_record_is_written_as_a_new_record(tmp_path: Path) -> None:
    recording = formats.read(multi(tmp_path / "a", 7, gain="100"))
    stream = recording.streams[0]
    first, second = stream.segments
    cut = (Segment(0, first.channels, first.samples[20:]), Segment(87, second.channels, second.samples[:30]))
    part = replace(recording, streams=(Stream(stream.name, stream.rate, cut),), start_ns=10**9)
    (header, *_) = formats.write(part, tmp_path / "b", format="wfdb")
    again = formats.read(header)
    assert [s.start_sample for s in again.streams[0].segments] == [0, 87]
    for a, b in zip(again.streams[0].segments, cut, strict=True):
        assert np.array_equal(a.samples, b.samples)
        assert [(c.label, c.gain, c.baseline) for c in a.channels] == [
            (c.label, c.gain, c.baseline) for c in b.channels
        ]
    assert again.start_ns == 10**9
    assert "# seg " in header.read_text(encoding="utf-8") or "# whole" in header.read_text(encoding="utf-8")


def test_a_record_renamed_by_the_archive_goes_to_its_own_folder(tmp_path: Path) -> None:
    source = make(tmp_path / "a", "r1", "16", [samples("16", 9)], [1])
    recording = formats.read(source)
    formats.write(recording, tmp_path / "b", format="wfdb")
    (header, *_) = formats.write(replace(recording, name="r1_2"), tmp_path / "b", format="wfdb")
    assert header == tmp_path / "b" / "r1_2" / "r1.hea"
    assert header.read_bytes() == source.read_bytes()


channels = st.integers(1, 10)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=arrays(np.int32, st.tuples(st.integers(1, 30), channels), elements=st.integers(-(2**31) + 1, 2**31 - 1)),
    rate=st.fractions(Fraction(1, 100), 10**4, max_denominator=1000),
    fmt=st.sampled_from([*FORMATS, None]),
)
def test_any_integers_can_be_composed(tmp_path_factory: pytest.TempPathFactory, data, rate, fmt) -> None:
    folder = tmp_path_factory.mktemp("any")
    header = {"format": fmt} if fmt else {}
    described = tuple(Channel(f"c{i}", "mV", 2.5, -3, -(2**31), 2**31 - 1, header=header) for i in range(data.shape[1]))
    stream = Stream("x", rate, (Segment(0, described, data),))
    (path, *_) = formats.write(Recording("any thing", (stream,)), folder / "out", format="wfdb")
    again = formats.read(path).streams[0]
    assert np.array_equal(again.segments[0].samples, data)
    assert float(again.rate) == pytest.approx(float(rate), rel=1e-14)


def test_own_formats_are_those_that_the_library_cannot_write() -> None:
    assert set(OWN) == {"8", "61", "160", "310", "311"}
