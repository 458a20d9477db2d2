"""CSV, Parquet and NumPy files: integers stay, decimals and floats come back exactly, text as it was written."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import make_recording
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sanstream import formats
from sanstream.errors import InputError, UnsupportedError
from sanstream.formats.csv_text import read_numbers, write_numbers
from sanstream.formats.csv_time import read_times, simplest_between, write_times
from sanstream.formats.lattice import BITS, MISSING, find_lattice, restore_floats
from sanstream.signal import TRIGGER, Recording

RATE = Fraction(250)


def npy_roundtrip(data: np.ndarray, folder: Path) -> Recording:
    np.save(folder / "x.npy", data)
    recording = formats.read(folder / "x.npy", rate=RATE, unit="mV")
    (path,) = formats.write(recording, folder / "out", format="npy")
    assert path.read_bytes() == (folder / "x.npy").read_bytes()
    return recording


@pytest.mark.parametrize("dtype", ["i1", "u1", "<i2", ">i2", "u2", "<i4", ">i4", "u4", "i8", "u8", "?"])
@pytest.mark.parametrize("order", "CF")
def test_integer_arrays_keep_dtype_order_and_values(tmp_path: Path, dtype: str, order: str) -> None:
    data = np.array([[0, 1, 100], [127, 5, 3]], dtype=dtype, order=order)
    recording = npy_roundtrip(data, tmp_path)
    assert np.array_equal(recording.streams[0].segments[0].samples, data)
    assert recording.streams[0].segments[0].channels[0].gain == 1


@pytest.mark.parametrize("dtype", ["u4", "i8", "u8"])
def test_integers_beyond_32_bits_are_refused(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "x.npy", np.array([0, 2**31], dtype=dtype))
    with pytest.raises(UnsupportedError, match=r"'ch0' holds u?int\d\d values from 0 to 2147483648, beyond 32-bit"):
        formats.read(tmp_path / "x.npy", rate=RATE)


@pytest.mark.parametrize("dtype", ["f2", "f4", ">f4", "f8"])
def test_floats_on_a_decimal_grid_become_its_integers(tmp_path: Path, dtype: str) -> None:
    steps = np.random.default_rng(0).integers(-900, 900, 300)
    data = (steps * 0.005).astype(dtype)
    if dtype != "f2":
        recording = npy_roundtrip(data, tmp_path)
        channel = recording.streams[0].segments[0].channels[0]
        assert channel.gain == 200
        assert np.array_equal(recording.streams[0].segments[0].samples[:, 0], steps)
        assert channel.physical(steps) == pytest.approx(steps * 0.005)
    else:
        npy_roundtrip(data, tmp_path)


def test_nan_is_a_missing_sample(tmp_path: Path) -> None:
    data = np.array([0.25, np.nan, -1.5])
    segment = npy_roundtrip(data, tmp_path).streams[0].segments[0]
    assert segment.channels[0].missing == MISSING == segment.samples[1, 0]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_zeros_keep_their_sign(tmp_path: Path, dtype: str) -> None:
    data = np.round(np.random.default_rng(0).normal(size=(200, 2)), 1).astype(dtype)
    assert np.signbit(data[data == 0]).any()
    assert npy_roundtrip(data, tmp_path).streams[0].segments[0].channels[0].gain == 10


def test_float32_off_any_grid_is_kept_as_ordered_bits_and_lossless_only(tmp_path: Path) -> None:
    data = np.random.default_rng(1).normal(size=(500, 2)).astype(np.float32)
    data[:3, 0] = [np.inf, -0.0, np.nan]
    segment = npy_roundtrip(data, tmp_path).streams[0].segments[0]
    assert [c.header["lattice"] for c in segment.channels] == [BITS, BITS]
    assert all(c.kind == TRIGGER for c in segment.channels)
    order = np.argsort(segment.samples[:, 1], kind="stable")
    assert (np.diff(data[order, 1]) >= 0).all()


def test_float64_off_any_grid_is_refused_with_what_to_do(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(1).normal(size=100))
    with pytest.raises(UnsupportedError, match=r"'ch0' holds float64 .*; round them to a step"):
        formats.read(tmp_path / "x.npy", rate=RATE)


@settings(max_examples=80, deadline=None)
@given(arrays(np.float32, st.integers(1, 40), elements=st.floats(width=32)))
def test_any_float32_comes_back_bit_for_bit_or_as_nan(values: np.ndarray) -> None:
    nan = np.isnan(values)
    values[nan] = np.nan
    integers, lattice = find_lattice(values, "x")
    assert np.array_equal(restore_floats(integers, lattice, values.dtype).view(np.int32), values.view(np.int32))


def csv_roundtrip(text: str, folder: Path, rate: Fraction | None = None, encoding: str = "utf-8") -> Recording:
    source = folder / "x.csv"
    source.write_bytes(text.encode(encoding))
    recording = formats.read(source, rate=rate)
    (path,) = formats.write(recording, folder / "out", format="csv")
    assert path.read_bytes() == source.read_bytes()
    return recording


@pytest.mark.parametrize(
    ("text", "rate", "units"),
    [
        ("a,b\n1,2.50\n3,4.00\n", RATE, ["", ""]),
        ("RESP\n.5\n1.\n-0.0\n+3\n1e-3\n", RATE, [""]),
        ("time,II [mV],V (uV)\r\n0.000,1,0.5\r\n0.004,-0.5,\r\n0.008,,1\r\n", None, ["mV", "uV"]),
        ("'Elapsed time','MLII'\n'seconds','mV'\n0.000,-0.145\n0.004,-\n0.008,-0.125", None, ["mV"]),
        ("# rate: 250\n# unit: uV\n1.0\n2.5\nnan\n NaN\n\n", None, ["uV"]),
        ("timestamp;x\n2020-01-01T00:00:00.000;1\n2020-01-01T00:00:00.004;2\n", None, [""]),
        ("\ufeff1\t2\n3\t4\n", RATE, ["", ""]),
        ("time_s,x\n10.0,1\n10.004,2\n10.008,3\n", None, [""]),
        ("Time (ms),x\n0,1\n4,2\n8,3\n", None, [""]),
    ],
)
def test_text_comes_back_as_it_was(tmp_path: Path, text: str, rate: Fraction | None, units: list[str]) -> None:
    recording = csv_roundtrip(text, tmp_path, rate)
    assert recording.streams[0].rate == RATE
    assert [c.unit for c in recording.streams[0].segments[0].channels] == units


@pytest.mark.parametrize(
    ("head", "labels"),
    [
        ('time,"ECG, lead I"', ["ECG, lead I"]),
        ('time,"a ""b"""', ['a "b"']),
        ('"time" , "ECG, lead I [mV]"', ["ECG, lead I"]),
        ("'Elapsed time','ECG, lead I'", ["ECG, lead I"]),
        ("time,O'Hara's", ["O'Hara's"]),
    ],
)
def test_quoted_header_cells_are_one_cell_each(tmp_path: Path, head: str, labels: list[str]) -> None:
    recording = csv_roundtrip(head + "\n0.000,1.288\n0.004,1.449\n", tmp_path)
    assert recording.streams[0].rate == RATE
    assert [c.label for c in recording.streams[0].segments[0].channels] == labels


def test_a_quoted_delimiter_needs_no_time_column(tmp_path: Path) -> None:
    recording = csv_roundtrip('"ECG, lead I",b\n1.288,1\n1.449,4\n', tmp_path, RATE)
    assert [c.label for c in recording.streams[0].segments[0].channels] == ["ECG, lead I", "b"]
    (tmp_path / "alone").mkdir()
    alone = csv_roundtrip('"ECG, lead I"\n1.288\n1.449\n', tmp_path / "alone", RATE)
    assert [c.label for c in alone.streams[0].segments[0].channels] == ["ECG, lead I"]


@pytest.mark.parametrize("label", ["ECG, lead I", 'a "b"', "a;b", "#1", "'x'", "x\ty"])
def test_any_label_is_written_so_that_it_reads_back(tmp_path: Path, label: str) -> None:
    recording = make_recording(np.arange(10)[:, None])
    channel = replace(recording.streams[0].segments[0].channels[0], label=label)
    segment = replace(recording.streams[0].segments[0], channels=(channel,))
    labelled = replace(recording, streams=(replace(recording.streams[0], segments=(segment,)),))
    (path,) = formats.write(labelled, tmp_path, format="csv")
    assert formats.read(path).streams[0].segments[0].channels[0].label == label


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("a,b\n1,x\n3,4\n", "x"),
        ("MLII,V1\nnan?,3\n5,6\n", "nan?"),
        ("x\nERR\n5\n", "ERR"),
        ("x\ninf\n5\n", "inf"),
        ("date,x\n2020-01-01,ERR\n2020-01-02,3\n", "ERR"),
        ("a,b\ns,mV\n1,x\n3,4\n", "x"),
    ],
)
def test_a_bad_first_row_is_no_row_of_units(tmp_path: Path, text: str, cell: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(InputError, match=re.escape(f"{cell!r} is not a number")):
        formats.read(tmp_path / "x.csv", rate=RATE)


@pytest.mark.parametrize("text", ["x\n-\n5\n", "x\nNaN\n5\n", "nan\n5\n", "x,y\nNA,1\n5,2\n", "x,y\n,\n5,2\n"])
def test_a_first_row_of_missing_cells_is_a_sample(tmp_path: Path, text: str) -> None:
    segment = csv_roundtrip(text, tmp_path, RATE).streams[0].segments[0]
    assert segment.samples[:, 0].tolist() == [MISSING, 5]


@pytest.mark.parametrize("row", ["s,mV", "sec,%", "[s],[µV]", "'hh:mm:ss.mmm','mV'", "seconds,beats/min", "-,mV", "s,"])
def test_a_row_of_units_is_one(tmp_path: Path, row: str) -> None:
    segment = csv_roundtrip(f"a,b\n{row}\n\n1,2\n3,4\n", tmp_path, RATE).streams[0].segments[0]
    assert segment.samples.tolist() == [[1, 2], [3, 4]]
    assert [c.label for c in segment.channels] == ["a", "b"]


def test_latin_text_and_dates_come_back(tmp_path: Path) -> None:
    recording = csv_roundtrip("Zeit;Öl\n1;2\n", tmp_path, RATE, "latin-1")
    assert recording.streams[0].segments[0].channels[1].label == "Öl"
    dated = csv_roundtrip("date,x\n1999-12-31 23:59:59.5+02:00,1\n1999-12-31 23:59:59.75+02:00,2\n", tmp_path / "..")
    assert (dated.start_ns, dated.timezone) == (946684799_500_000_000, "+02:00")


def test_a_rounded_time_column_gives_the_exact_rate() -> None:
    cells = [f"{k / 360:.3f}" for k in range(400)]
    column = read_times(cells, "x.csv", "", None)
    assert column.rate == 360
    assert "cells" not in column.saved
    assert write_times(column.saved, 400, column.rate) == cells


def test_simplest_fraction_between() -> None:
    assert simplest_between(Fraction("62.4"), Fraction("62.6")) == Fraction(125, 2)
    assert simplest_between(Fraction(359), Fraction(361)) == 359


def test_uneven_times_are_refused_unless_the_rate_is_given(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("t,x\n0,1\n1,2\n2,3\n9,4\n")
    with pytest.raises(InputError, match=r"not evenly spaced: row 1 .*--rate"):
        formats.read(tmp_path / "x.csv")
    csv_roundtrip("t,x\n0,1\n1,2\n2,3\n9,4\n", tmp_path, RATE)


numbers = st.decimals(-20000, 20000, places=4).map(str) | st.integers(-20000, 20000).map(str)
cells = st.lists(
    numbers | st.floats(-100, 100, width=16).map(repr) | st.sampled_from(["", "NaN", "-"]), min_size=1, max_size=30
)


@settings(max_examples=80, deadline=None)
@given(cells)
def test_any_column_of_numbers_gives_back_its_text(column: list[str]) -> None:
    try:
        channel, samples = read_numbers(column, "x", "", "x.csv", {})
    except UnsupportedError:
        return
    assert write_numbers(channel, samples) == column
    for cell, sample in zip(column, samples, strict=True):
        if cell not in ("", "NaN", "-"):
            assert sample / channel.gain == pytest.approx(float(cell), abs=1e-9)


def test_decimals_beyond_32_bits_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("1.12345678901\n2\n")
    with pytest.raises(UnsupportedError, match=r"column 'ch 0': 11 decimals .* more than 32 bits; round"):
        formats.read(tmp_path / "x.csv", rate=RATE)


def test_every_parquet_column_comes_back_with_schema_and_metadata(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    n = 200
    table = pa.table(
        {
            "time": pa.array(np.arange(n) / 250),
            "i2": pa.array(rng.integers(-9, 9, n).astype("i2")),
            "nulls": pa.array([None if i % 7 == 0 else i for i in range(n)], type=pa.int64()),
            "decimal": pa.array([Decimal(i) / 100 for i in range(n)], type=pa.decimal128(10, 2)),
            "rounded": pa.array(np.round(rng.normal(size=n), 3), mask=rng.random(n) < 0.1),
            "single": pa.array(rng.normal(size=n).astype("f4")),
            "flag": pa.array(rng.random(n) < 0.5),
        }
    )
    table = table.replace_schema_metadata({"note": "kept", "unit": "mV"})
    pq.write_table(table, tmp_path / "x.parquet")
    recording = formats.read(tmp_path / "x.parquet")
    (path,) = formats.write(recording, tmp_path / "out", format="parquet")
    assert pq.read_table(path).equals(table, check_metadata=True)
    assert recording.streams[0].rate == RATE
    assert recording.streams[0].segments[0].channels[0].unit == "mV"


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_parquet_timestamps_give_rate_and_start(tmp_path: Path, unit: str) -> None:
    scale = {"ms": 1, "us": 10**3, "ns": 10**6}[unit]
    ticks = (np.arange(10) * 4 + 1_600_000_000_000) * scale
    table = pa.table({"timestamp": pa.array(ticks).cast(pa.timestamp(unit, "UTC")), "x": pa.array(np.arange(10))})
    pq.write_table(table, tmp_path / "x.parquet")
    recording = formats.read(tmp_path / "x.parquet")
    assert (recording.streams[0].rate, recording.start_ns, recording.timezone) == (RATE, 16 * 10**17, "utc")
    (path,) = formats.write(recording, tmp_path / "out", format="parquet")
    assert pq.read_table(path).equals(table)


@pytest.mark.parametrize("format", ["csv", "parquet", "npy"])
def test_several_rates_give_a_file_each(tmp_path: Path, format: str) -> None:
    from test_formats_edf import make

    make(tmp_path / "two.edf")
    recording = formats.read(tmp_path / "two.edf")
    paths = formats.write(recording, tmp_path / "out", format=format)
    assert [p.name for p in paths] == [f"two_16hz.{format}", f"two_4hz.{format}"]
    if format == "parquet":
        again = formats.read(paths[0])
        assert np.array_equal(again.streams[0].segments[0].samples, recording.streams[0].segments[0].samples)
        assert again.streams[0].rate == 16


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_stretch_keeps_its_dates(tmp_path: Path, suffix: str) -> None:
    cells = [f"2020-01-01T00:00:{k * 4 / 1000:06.3f}" for k in range(9)]
    if suffix == "csv":
        (tmp_path / "x.csv").write_text("timestamp,x\n" + "".join(f"{c},{k}\n" for k, c in enumerate(cells)))
    else:
        times = pa.array(cells).cast(pa.timestamp("ms"))
        pq.write_table(pa.table({"timestamp": times, "x": pa.array(range(9))}), tmp_path / "x.parquet")
    whole = formats.read(tmp_path / f"x.{suffix}")
    (stream,) = whole.streams
    cut = replace(stream, segments=(replace(stream.segments[0], samples=stream.segments[0].samples[3:6]),), n_samples=3)
    part = replace(whole, streams=(cut,), start_ns=(whole.start_ns or 0) + 12_000_000)
    (path,) = formats.write(part, tmp_path / "out", format=suffix)
    again = formats.read(path)
    assert again.start_ns == part.start_ns
    assert again.streams[0].segments[0].samples[:, 0].tolist() == [3, 4, 5]
