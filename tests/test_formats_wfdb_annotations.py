"""WFDB annotation files come back byte for byte, and read as the library reads them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st

from sanstream.errors import InputError
from sanstream.formats.wfdb_annotations import parse, to_bytes
from sanstream.signal import Annotations

RATE = Fraction(360)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Write a file with every field, custom labels and a time resolution."""
    wfdb.wrann(
        "r",
        "atr",
        np.array([5, 100, 5000, 5000, 900000]),
        symbol=["N", "V", "+", "z", '"'],
        subtype=np.array([0, 3, 0, -1, 0]),
        chan=np.array([0, 1, 1, 0, 2]),
        num=np.array([0, 0, 5, 5, 4]),
        aux_note=["", "", "(AFIB", "", "Grüße"],
        fs=250,
        custom_labels=[(42, "z", "my own label")],
        write_dir=str(tmp_path),
    )
    return tmp_path / "r.atr"


def test_all_fields_read_as_the_library_reads_them(written: Path) -> None:
    ours = parse(written.read_bytes(), "atr", RATE)
    theirs = wfdb.rdann(str(written.with_suffix("")), "atr")
    keep = np.array(
        [not (s == 0 and c in (0, 22)) for s, c in zip(ours.columns["sample"], ours.columns["code"], strict=True)]
    )
    for ours_name, theirs_name in (("sample", "sample"), ("symbol", "symbol"), ("subtype", "subtype")):
        assert ours.columns[ours_name][keep].tolist() == list(getattr(theirs, theirs_name))
    for name in ("chan", "num", "aux_note"):
        assert ours.columns[name][keep].tolist() == list(getattr(theirs, name))
    assert ours.attributes["fs"] == "250"
    assert ours.attributes["custom_labels"] == [[42, "z", "my own label"]]
    assert ours.columns["time_ns"][keep][0] == 5 * 4_000_000


def test_the_file_comes_back_byte_for_byte(written: Path) -> None:
    assert to_bytes(parse(written.read_bytes(), "atr", RATE), RATE) == written.read_bytes()


def test_a_file_in_another_layout_keeps_its_bytes() -> None:
    data = bytes.fromhex("05 04") + bytes.fromhex("00ec0000 0a00 0004") + b"\0\0"  # a skip where none is needed
    events = parse(data, "atr", RATE)
    assert "raw" in events.attributes
    assert events.columns["sample"].tolist() == [5, 15]
    assert to_bytes(events, RATE) == data


def test_a_stretch_follows_its_times(written: Path) -> None:
    whole = parse(written.read_bytes(), "atr", RATE)
    keep = whole.columns["sample"] >= 5000
    columns = {k: v[keep] for k, v in whole.columns.items()}
    columns["time_ns"] = columns["time_ns"] - 4_000_000 * 1000
    again = parse(to_bytes(Annotations("atr", columns, whole.attributes), RATE), "atr", Fraction(250))
    assert again.columns["sample"].tolist() == [4000, 4000, 899000]


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_file_cut_short_is_one_clear_error(written: Path, cut: int) -> None:
    with pytest.raises(InputError, match="cut short"):
        parse(written.read_bytes()[:-cut], "atr", RATE)


rows = st.lists(
    st.tuples(
        st.integers(0, 2**31 - 1),
        st.integers(1, 49),
        st.integers(-128, 127),
        st.integers(0, 255),
        st.integers(-128, 127),
        st.text(st.characters(max_codepoint=255), max_size=255),
    ),
    max_size=20,
)


@settings(max_examples=60, deadline=None)
@given(rows, st.fractions(Fraction(1, 60), 10**5, max_denominator=10**4))
def test_any_annotations_come_back(rows, rate: Fraction) -> None:
    rows = sorted(rows, key=lambda r: r[0])
    names = ("sample", "code", "subtype", "chan", "num", "aux_note")
    columns = {
        n: np.array([r[i] for r in rows], dtype=object if n == "aux_note" else np.int64) for i, n in enumerate(names)
    }
    # a zero word would be the end mark
    times = [s * 10**9 * rate.denominator // rate.numerator for s in columns["sample"].tolist()]
    if times and max(times) >= 2**63:
        return
    columns["time_ns"] = np.array(times, dtype=np.int64)
    data = to_bytes(Annotations("x", columns, {"format": "wfdb", "frame_rate": str(rate)}), rate)
    again = parse(data, "x", rate)
    fs = again.attributes["fs"]
    for name in names:
        assert again.columns[name].tolist() == columns[name].tolist()
    assert fs is not None or again.columns["time_ns"].tolist() == times
    assert to_bytes(again, rate) == data
