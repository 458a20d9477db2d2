"""Bad input is one clear line, and a failed write leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from conftest import make_recording
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sanstream import formats
from sanstream.errors import InputError, SanstreamError
from sanstream.formats import npy
from sanstream.formats.labels import kind_of, safe_name, stream_name
from sanstream.formats.wfdb_signals import write_file
from sanstream.signal import Channel, Recording, Segment, Stream, unique_labels

RATE = Fraction(100)
HEADER = "r 1 100 10\nr.dat 16 200/mV 12 0 0 0 0 II\n"


def edf(**changes: str) -> bytes:
    from sanstream.formats.edf_header import MAIN, SIGNAL, header_bytes

    main = dict.fromkeys((n for n, _ in MAIN), "") | {
        "version": "0",
        "header_bytes": "512",
        "n_records": "2",
        "record_duration": "1",
        "n_signals": "1",
    }
    signal = dict.fromkeys((n for n, _ in SIGNAL), "") | {
        "label": "x",
        "physical_min": "-1",
        "physical_max": "1",
        "digital_min": "-9",
        "digital_max": "9",
        "samples_per_record": "3",
    }
    for key, value in changes.items():
        (main if key in main and key != "reserved" else signal)[key] = value
    return header_bytes(main, [signal]) + bytes(12)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.edf", None, "no such file"),
        ("none", None, "no such file, and no header none.hea beside it"),
        ("r.hea", HEADER, "signal file r.dat is not in"),
        ("e.hea", "", "no WFDB record line"),
        ("g.hea", "\x00\x01 garbage\n", "no WFDB record line"),
        ("r.hea", "r 2 100 10\nr.dat 16 200 12 0 0 0 0 II\n", "1 lines after the record line, 2 announced"),
        ("r.hea", HEADER.replace(" 100 ", " abc "), "frame rate 'abc' is not a positive number"),
        ("r.hea", HEADER.replace(" 100 ", " 1e999999999 "), "is not a positive number"),
        ("r.hea", HEADER.replace("r.dat", "../r.dat"), "is no signal line"),
        ("r.hea", HEADER.replace("200/mV", "1e999/mV"), "is not finite"),
        ("r.hea", "r 0 100 10\n", "the record has no signals"),
        ("r.hea", "r/1 1 100 10\nx 10\n", "x.hea: no such header"),
        ("x.edf", "", "0 bytes, an EDF or BDF header has at least 256"),
        ("x.edf", "x" * 300, "is neither EDF nor BDF"),
        ("x.edf", edf(n_signals="9999"), "9999 signals announced, at most 4096"),
        ("x.edf", edf(n_signals="two"), "number of signals is 'two'"),
        ("x.edf", edf(n_records="99999999"), "99999999 of data records announced, the file holds 2 data records"),
        ("x.edf", edf(record_duration="0"), "so the rate is unknown"),
        ("x.edf", edf(record_duration="1e999999"), "must be a number"),
        ("x.edf", edf(samples_per_record="0"), "no signal has samples"),
        ("x.edf", edf(digital_min="low"), "digital minimum of 'x' is 'low'"),
        ("x.bdf", b"\xffBIOSEMI", "8 bytes, an EDF or BDF header has at least 256"),
        ("x.csv", "", "no rows"),
        ("x.csv", "a,b\n", "header but no rows"),
        ("x.csv", "1,2\n3\n", "line 2 has 1 cells, the first row 2"),
        ("x.csv", "1\nfoo\n", "'foo' is not a number"),
        ("x.csv", "1\n1e999999999\n", "is not a number below 1e18"),
        ("x.csv", b"PK\0\0", "holds NUL bytes"),
        ("x.parquet", "PAR1 garbage", "not a sound Parquet file"),
        ("x.npy", "garbage", "not a sound .npy file"),
        ("x.npy", "", "not a sound .npy file"),
        ("x.txt", "hello", "unknown kind of file"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path: Path, name: str, content: str | bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        formats.read(tmp_path / name, rate=RATE)
    message = str(caught.value)
    assert said in message
    assert "\n" not in message
    assert str(tmp_path) in message


def test_a_folder_is_no_recording(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder; a recording is a file"):
        formats.read(tmp_path)


@pytest.mark.parametrize(("name", "data"), [("x.npy", None), ("x.csv", b"1\n2\n")])
def test_an_unknown_rate_says_how_to_give_it(tmp_path: Path, name: str, data: bytes | None) -> None:
    if data is None:
        np.save(tmp_path / name, np.arange(5))
    else:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match="does not say its sampling rate; give it, for example --rate 250"):
        formats.read(tmp_path / name)


@pytest.mark.parametrize(
    ("shape", "said"), [((2, 2, 2), "3 dimensions"), ((0,), "is empty"), ((2, 9000), "transpose the array")]
)
def test_array_shapes_that_are_no_recording(tmp_path: Path, shape: tuple[int, ...], said: str) -> None:
    np.save(tmp_path / "x.npy", np.zeros(shape, dtype=np.int16))
    with pytest.raises(InputError, match=said):
        formats.read(tmp_path / "x.npy", rate=RATE)


def test_absurd_declared_sizes_allocate_nothing(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(4, dtype=np.int16))
    data = (tmp_path / "x.npy").read_bytes().replace(b"(4,), }          ", b"(4000000000000,),}", 1)
    (tmp_path / "x.npy").write_bytes(data)
    with pytest.raises(InputError, match="not a sound"):
        formats.read(tmp_path / "x.npy", rate=RATE)
    (tmp_path / "r.hea").write_text(HEADER.replace(" 10\n", " 99999999999\n").replace(" 16 ", " 16x99999999 "))
    (tmp_path / "r.dat").write_bytes(bytes(20))
    with pytest.raises(InputError, match=r"99999999999 frames announced, r.dat holds 0"):
        formats.read(tmp_path / "r")


SOURCES = {
    "x.edf": edf(),
    "r.hea": HEADER.encode(),
    "x.csv": b"time,a [mV]\n0.00,1.5\n0.01,2.5\n",
}


@pytest.mark.parametrize("name", list(SOURCES))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_never_end_in_a_traceback(tmp_path: Path, name: str, data: st.DataObject) -> None:
    content = bytearray(SOURCES[name])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / name).write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    (tmp_path / "r.dat").write_bytes(bytes(20))
    with contextlib.suppress(SanstreamError):
        formats.read(tmp_path / name)


def recording(label: str = "x", wide: int = 5) -> Recording:
    samples = np.array([[1], [wide]], dtype=np.int32)
    segment = Segment(0, (Channel(label, digital_max=2**31 - 1),), samples)
    return Recording("../evil name", (Stream("100hz", RATE, (segment,)),))


def test_unknown_format_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown format 'mat'; use one of wfdb, edf, bdf, csv, parquet, npy"):
        formats.write(recording(), tmp_path, format="mat")


@pytest.mark.parametrize("format", formats.FORMATS)
def test_names_are_path_safe_and_no_file_is_overwritten(tmp_path: Path, format: str) -> None:
    paths = formats.write(recording(), tmp_path / "out", format=format)
    assert all(p.parent == tmp_path / "out" for p in paths)
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    assert set(before) == {p.name for p in paths}
    with pytest.raises(InputError, match="exists already"):
        formats.write(recording(wide=6), tmp_path / "out", format=format)
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(whole: Recording, folder: Path, format: str) -> list[Path]:
        (folder / "half.npy").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(npy, "write", full)
    with pytest.raises(InputError, match="No space left on device"):
        formats.write(recording(), tmp_path / "deep" / "out", format="npy")
    assert not (tmp_path / "deep" / "out").exists()
    with pytest.raises(InputError):
        formats.write(recording(), tmp_path, format="npy")
    assert [p for p in tmp_path.iterdir() if p.name != "deep"] == []


def test_an_archive_cannot_make_the_writer_leave_its_folder(tmp_path: Path) -> None:
    (tmp_path / "r.hea").write_text(HEADER)
    np.arange(10, dtype="<i2").tofile(tmp_path / "r.dat")
    whole = formats.read(tmp_path / "r")
    whole.attributes["wfdb"]["segments"][0]["name"] = "../r"  # type: ignore[index]
    with pytest.raises(InputError, match="not safe"):
        formats.write(whole, tmp_path / "out", format="wfdb")
    assert not (tmp_path / "out").exists()


def test_heavy_libraries_load_only_for_the_format_that_needs_them() -> None:
    code = "import sys, sanstream.formats; print([m for m in ('wfdb','pandas','pyarrow','edfio') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "[]"


def test_labels_rates_and_kinds() -> None:
    assert unique_labels(["a", "a", "a_2", "", "a"]) == ["a", "a_3", "a_2", "signal 3", "a_4"]
    assert [stream_name(Fraction(r)) for r in ("360", "62.4725", "62500/1001")] == [
        "360hz",
        "62.4725hz",
        "62500-1001hz",
    ]
    assert [safe_name(n) for n in ("../x", "", "a b/c", "ü")] == ["x", "recording", "a_b_c", "recording"]
    assert {kind_of(n) for n in ("Status", "TRIG", "EDF Annotations", "STI 014", "Event marker", "counter")} == {
        "trigger"
    }
    assert {kind_of(n) for n in ("II", "Stimulus artefact", "ABP", "C4")} == {"signal"}


@pytest.fixture
def file_limit() -> Iterator[Callable[[int], None]]:
    """Let no file grow beyond so many bytes, as on a disk that fills up."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("fmt", ["16", "212", "24", "61", "508", "516", "524"])
def test_a_full_disk_while_signals_are_written(tmp_path: Path, file_limit: Callable[[int], None], fmt: str) -> None:
    noise = np.random.default_rng(1).integers(-100, 100, (2, 20_000))
    source = tmp_path / "r.hea"
    source.write_text(f"r 2 250 20000\nr.dat {fmt} 200 8 0 0 0 0 a\nr.dat {fmt} 200 8 0 0 0 0 b\n")
    write_file(tmp_path / "r.dat", fmt, list(noise), [1, 1], [0, 0])
    recording = formats.read(source)
    size = (tmp_path / "r.dat").stat().st_size
    for limit in (0, 30, 4000, size // 2, size - 4096, size - 1):
        file_limit(limit)
        with pytest.raises(InputError, match=r"out: .*check space and permissions"):
            formats.write(recording, tmp_path / "out", format="wfdb")
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("format", ["edf", "bdf", "csv", "parquet", "npy"])
def test_a_full_disk_while_a_file_is_written(tmp_path: Path, file_limit: Callable[[int], None], format: str) -> None:
    recording = make_recording(np.random.default_rng(1).integers(-9000, 9000, (5000, 2)))
    size = formats.write(recording, tmp_path / "whole", format=format)[0].stat().st_size
    for limit in (0, size // 2, size - 1):
        file_limit(limit)
        with pytest.raises(InputError, match=r"out: .*check space and permissions"):
            formats.write(recording, tmp_path / "out", format=format)
        assert not (tmp_path / "out").exists()
