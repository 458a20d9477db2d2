"""WFDB annotation files (annot(5)): parsed to columns, written back byte for byte."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream.errors import InputError
from sanstream.signal import Annotations

SYMBOLS = dict(enumerate(' NLRaVFJASEj/Q~ | sT*D"=pB^t+u?![]en@xf()r'))
_CODES = {symbol: code for code, symbol in SYMBOLS.items() if symbol.strip()}
"""Standard annotation codes and their mnemonics (ecgcodes.h); blanks have none."""

_SKIP, _NUM, _SUB, _CHN, _AUX = 59, 60, 61, 62, 63
_FS = re.compile(r"^## time resolution: ([\d.]+)")
_LABEL = re.compile(r"^(\d+) (\S+) (.*)$")
_NOT_ANNOTATORS = set("hea dat mat edf bdf csv tsv txt npy npz parquet json md xws".split())
_STANDARD = set("atr qrs ecg ari ann wqrs gqrs qrsc ecgpuwave wabp st stc event rhy".split())


class _Malformed(Exception):
    pass


def _word(data: bytes, at: int) -> int:
    if at + 2 > len(data):
        raise _Malformed
    return int.from_bytes(data[at : at + 2], "little")


def _parse(data: bytes) -> dict[str, list[Any]]:
    """Return the columns up to the end mark."""
    keys = ("sample", "code", "subtype", "chan", "num", "aux_note")
    columns: dict[str, list[Any]] = {key: [] for key in keys}
    at = sample = chan = num = 0
    while True:
        word = _word(data, at)
        code, interval = word >> 10, word & 0x3FF
        at += 2
        if word == 0:
            return columns
        if code == _SKIP:
            sample += _signed((_word(data, at) << 16) | _word(data, at + 2))
            at += 4
            continue
        if code > _SKIP:
            raise _Malformed
        sample += interval
        subtype, aux = 0, ""
        while (extra := _word(data, at) >> 10) > _SKIP:
            value = data[at] if extra in (_CHN, _AUX) else int.from_bytes(data[at : at + 1], "little", signed=True)
            at += 2
            if extra == _NUM:
                num = value
            elif extra == _SUB:
                subtype = value
            elif extra == _CHN:
                chan = value
            else:
                if at + value > len(data):
                    raise _Malformed
                aux = data[at : at + value].decode("latin-1")
                at += value + (value & 1)
        row: tuple[Any, ...] = (sample, code, subtype, chan, num, aux)
        for key, entry in zip(keys, row, strict=True):
            columns[key].append(entry)


def _signed(value: int) -> int:
    return value - 2**32 if value >= 2**31 else value


def _format(columns: dict[str, npt.NDArray[Any]]) -> bytes:
    """Encode columns as the WFDB library does: extras only where they change."""
    out = bytearray()
    previous = chan = num = 0
    names = ("sample", "code", "subtype", "chan", "num", "aux_note")
    for sample, code, subtype, own_chan, own_num, aux in zip(*(columns[k].tolist() for k in names), strict=True):
        step = sample - previous
        previous = sample
        if not 0 <= step <= 1023:
            out += struct.pack("<HHH", _SKIP << 10, (step >> 16) & 0xFFFF, step & 0xFFFF)
            step = 0
        out += struct.pack("<H", code << 10 | step)
        if subtype:
            out += struct.pack("<H", _SUB << 10 | (subtype & 0xFF))
        if own_chan != chan:
            out += struct.pack("<H", _CHN << 10 | own_chan)
        if own_num != num:
            out += struct.pack("<H", _NUM << 10 | (own_num & 0xFF))
        chan, num = own_chan, own_num
        if aux:
            note = aux.encode("latin-1")
            out += struct.pack("<H", _AUX << 10 | len(note)) + note + b"\0" * (len(note) & 1)
    return bytes(out) + b"\0\0"


def _definitions(columns: dict[str, list[Any]]) -> tuple[Fraction | None, list[list[Any]]]:
    """Read time resolution and custom labels from the notes at sample 0."""
    fs, labels, inside = None, [], False
    for sample, code, note in zip(columns["sample"], columns["code"], columns["aux_note"], strict=True):
        if sample != 0 or code != 22:
            continue
        text = note.rstrip("\0")
        found = _FS.match(text)
        if found and fs is None:
            fs = Fraction(found[1])
        elif text.startswith("## annotation type definitions"):
            inside = True
        elif text.startswith("## end of definitions"):
            inside = False
        elif inside and (label := _LABEL.match(text)):
            labels.append([int(label[1]), label[2], label[3]])
    return fs, labels


def _fingerprint(columns: dict[str, npt.NDArray[Any]]) -> int:
    return zlib.crc32(_format(columns))


def parse(data: bytes, name: str, frame_rate: Fraction) -> Annotations:
    """Read the bytes of an annotation file.

    Parameters
    ----------
    data : bytes
    name : str
        Annotator.
    frame_rate : Fraction
        Frames per second of the record, used when the file gives no time resolution.

    Returns
    -------
    Annotations
        Columns ``time_ns, sample, code, symbol, subtype, chan, num, aux_note``. Notes at sample 0
        that define labels and resolution stay rows. When the file is not what
        :func:`write_annotations` would write, its bytes are kept in ``attributes["raw"]``.

    Raises
    ------
    InputError
        When the bytes are no annotation file.
    """
    try:
        lists = _parse(data)
    except (_Malformed, IndexError):
        raise InputError(f"annotation file {name!r} is cut short or damaged", hint="fetch it again") from None
    fs, labels = _definitions(lists)
    rate = fs or frame_rate
    symbols = {**SYMBOLS, **{code: symbol for code, symbol, _ in labels}}
    columns: dict[str, npt.NDArray[Any]] = {
        key: np.array(lists[key], dtype=np.int64) for key in ("sample", "code", "subtype", "chan", "num")
    }
    columns["aux_note"] = np.array(lists["aux_note"], dtype=object)
    columns["symbol"] = np.array([symbols.get(c, "").strip() or f"[{c}]" for c in lists["code"]], dtype=object)
    columns["time_ns"] = np.array(_times(lists["sample"], rate), dtype=np.int64)
    attributes: dict[str, Any] = {"format": "wfdb", "fs": None if fs is None else str(fs), "custom_labels": labels}
    attributes["frame_rate"] = str(frame_rate)
    written = _format(columns)
    if written != data:
        attributes["raw"] = base64.b64encode(zlib.compress(data, 9)).decode("ascii")
        attributes["raw_rows"] = zlib.crc32(written)
    return Annotations(name, columns, attributes)


def read_beside(folder: Path, record: str, frame_rate: Fraction, skip: set[str]) -> tuple[Annotations, ...]:
    """Read all annotation files ``<record>.<annotator>`` of a folder.

    Parameters
    ----------
    folder : Path
    record : str
        Record name.
    frame_rate : Fraction
    skip : set of str
        File names that are something else (signal files).

    Raises
    ------
    InputError
        When a file of a well-known annotator is damaged. Files of other names that are no
        annotation files are passed over.
    """
    sets = []
    for path in sorted(folder.glob("*")):
        annotator = path.name[len(record) + 1 :]
        if not path.name.startswith(f"{record}.") or not re.fullmatch(r"[A-Za-z0-9_+]{1,20}", annotator):
            continue
        if path.name in skip or annotator.lower() in _NOT_ANNOTATORS or not path.is_file():
            continue
        try:
            sets.append(parse(path.read_bytes(), annotator, frame_rate))
        except InputError:
            if annotator.lower() in _STANDARD:
                raise InputError(f"{path}: annotation file is cut short or damaged", hint="fetch it again") from None
    return tuple(sets)


def to_bytes(annotations: Annotations, frame_rate: Fraction) -> bytes:
    """Give back an annotation file.

    Sets that come from another format get their time as sample and their text as note.
    """
    columns = dict(annotations.columns)
    if annotations.attributes.get("format") == "wfdb" and "code" in columns:
        own = Fraction(annotations.attributes.get("fs") or annotations.attributes.get("frame_rate") or frame_rate)
        if (
            _times(columns["sample"].tolist(), own) != columns["time_ns"].tolist()
        ):  # the recording was cut: positions follow the times
            columns["sample"] = _samples(columns["time_ns"], own)
            return _format(columns)
        raw = annotations.attributes.get("raw")
        if raw is not None and _fingerprint(columns) == annotations.attributes.get("raw_rows"):
            return zlib.decompress(base64.b64decode(raw))
        return _format(columns)
    return _format(_foreign(columns, frame_rate))


def _times(samples: list[int], rate: Fraction) -> list[int]:
    return [s * 10**9 * rate.denominator // rate.numerator for s in samples]


def _samples(time_ns: npt.NDArray[Any], rate: Fraction) -> npt.NDArray[np.int64]:
    return np.array([round(Fraction(int(t), 10**9) * rate) for t in time_ns], dtype=np.int64)


def _foreign(columns: dict[str, npt.NDArray[Any]], rate: Fraction) -> dict[str, npt.NDArray[Any]]:
    n = len(columns["time_ns"])
    order = np.argsort(columns["time_ns"], kind="stable")
    texts = columns.get("text", np.array([""] * n, dtype=object))
    kinds = columns.get("kind", np.array([""] * n, dtype=object))
    # a live annotation whose text is a beat's or rhythm's symbol is that symbol
    codes = [_CODES.get(str(texts[i]), 22) if str(kinds[i]) == "annotation" else 22 for i in order]
    notes = [str(texts[i]).encode("utf-8")[:255].decode("latin-1") for i in order]
    notes = [note if code == 22 else "" for note, code in zip(notes, codes, strict=True)]
    zeros = np.zeros(n, dtype=np.int64)
    out: dict[str, npt.NDArray[Any]] = dict.fromkeys(("subtype", "chan", "num"), zeros)
    out["sample"] = _samples(columns["time_ns"][order], rate)
    out["code"] = np.array(codes, dtype=np.int64)
    out["aux_note"] = np.array(notes, dtype=object)
    return out
