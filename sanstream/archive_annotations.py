"""An annotation set as a small Parquet file that gives every column back with its type."""

from __future__ import annotations

import io
import json
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from sanstream.archive_sealed import compact_json
from sanstream.errors import CorruptError, UnsupportedError
from sanstream.signal import Annotations

_KEY = b"sanstream"


def pack_annotations(annotations: Annotations, rates: tuple[Fraction, ...] = ()) -> bytes:
    """Return the file of a set.

    Parameters
    ----------
    annotations : Annotations
    rates : tuple of Fraction
        Rates of the recording's streams. When ``time_ns`` is ``sample`` at one of them, to the
        nanosecond, the file says so and leaves the column out: it would take more room than the rest.

    Returns
    -------
    bytes

    Raises
    ------
    UnsupportedError
        When a column holds neither numbers nor texts.
    """
    columns = {name: np.asarray(column) for name, column in annotations.columns.items()}
    meta: dict[str, Any] = {"attributes": dict(annotations.attributes), "columns": _types(columns)}
    clock = _clock(columns, rates)
    if clock is not None:
        meta["clock"] = [str(clock[0]), clock[1]]
        del columns["time_ns"]
    table = pa.table({name: _to_arrow(annotations.name, name, column) for name, column in columns.items()})
    encodings = {n: "DELTA_BINARY_PACKED" for n, c in columns.items() if c.dtype.kind in "iu" and c.dtype.itemsize > 2}
    encodings |= {n: "BYTE_STREAM_SPLIT" for n, c in columns.items() if c.dtype.kind == "f" and c.dtype.itemsize > 2}
    out = io.BytesIO()
    with pq.ParquetWriter(
        out,
        table.schema,
        compression="zstd",
        compression_level=19,
        use_dictionary=[n for n in columns if n not in encodings],
        column_encoding=encodings or None,
        write_statistics=False,
        store_schema=False,
    ) as writer:
        writer.write_table(table)
        # with the Arrow schema, which would hold this otherwise, the file is twice as large
        writer.add_key_value_metadata({_KEY: compact_json(meta)})
    return out.getvalue()


def unpack_annotations(data: bytes, name: str) -> Annotations:
    """Read :func:`pack_annotations` output.

    Raises
    ------
    CorruptError
        When it is no such file.
    """
    try:
        file = pq.ParquetFile(io.BytesIO(data))
        table = file.read()
        meta = json.loads(file.metadata.metadata[_KEY])
        columns: dict[str, npt.NDArray[Any]] = {}
        for column, dtype in meta["columns"].items():
            if column == "time_ns" and "clock" in meta:
                samples = table["sample"].to_numpy().astype(np.int64)
                columns[column] = _times(samples, Fraction(meta["clock"][0]), meta["clock"][1]).astype(dtype)
            elif dtype == "O" or dtype.lstrip("<>=|").startswith("U"):
                columns[column] = np.array(table[column].to_pylist(), dtype=dtype)
            else:
                columns[column] = table[column].to_numpy().astype(dtype)
        return Annotations(name, columns, dict(meta["attributes"]))
    except (pa.ArrowException, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, OSError) as error:
        raise CorruptError(f"annotations {name!r}: not an annotation file ({error!r})") from error


def _to_arrow(events: str, name: str, column: npt.NDArray[Any]) -> pa.Array:
    try:
        if column.dtype.kind in "OU":
            return pa.array(column.tolist(), pa.string())
        return pa.array(column)
    except (pa.ArrowException, UnicodeError) as error:
        raise UnsupportedError(
            f"annotations {events!r}: column {name!r} of type {column.dtype} cannot be stored ({error})",
            hint="use integers, floats or texts",
        ) from error


def _types(columns: dict[str, npt.NDArray[Any]]) -> dict[str, str]:
    return {name: "O" if c.dtype.kind == "O" else c.dtype.newbyteorder("=").str for name, c in columns.items()}


def _clock(columns: dict[str, npt.NDArray[Any]], rates: tuple[Fraction, ...]) -> tuple[Fraction, str] | None:
    sample, time_ns = columns.get("sample"), columns.get("time_ns")
    if sample is None or time_ns is None or sample.dtype.kind not in "iu" or not len(sample):
        return None
    for rate in rates:
        for rounding in ("nearest", "down", "half_even"):
            if np.array_equal(_times(sample.astype(np.int64), rate, rounding), time_ns):
                return rate, rounding
    return None


def _times(samples: npt.NDArray[np.int64], rate: Fraction, rounding: str) -> npt.NDArray[np.int64]:
    """Nanoseconds of samples: ``sample * 10**9 / rate``, rounded."""
    scale, divisor = 10**9 * rate.denominator, rate.numerator
    exact = [int(s) * scale for s in samples]
    if rounding == "down":
        return np.array([e // divisor for e in exact], dtype=np.int64)
    if rounding == "half_even":
        return np.array([round(Fraction(e, divisor)) for e in exact], dtype=np.int64)
    return np.array([(2 * e + divisor) // (2 * divisor) for e in exact], dtype=np.int64)
