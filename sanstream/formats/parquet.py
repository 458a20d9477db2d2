"""Parquet tables: one column a channel, rate and unit in the metadata or given."""

from __future__ import annotations

import base64
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sanstream.errors import InputError, UnsupportedError
from sanstream.formats.columns import one_stream, read_column, tables, write_column
from sanstream.formats.csv_text import pack, unpack
from sanstream.formats.csv_time import NAMES, rows_of_stretch, simplest_between
from sanstream.formats.labels import rate_text
from sanstream.formats.lattice import MISSING, Lattice
from sanstream.signal import Channel, IntSamples, Recording, parse_rate, unique_labels

if TYPE_CHECKING:
    import pyarrow as pa

_RATE_KEYS = (b"rate_hz", b"rate", b"fs", b"sampling_rate", b"sampling_frequency")
_TIME_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def _decimal_column(
    column: pa.ChunkedArray, name: str, unit: str, header: dict[str, Any]
) -> tuple[Channel, IntSamples]:
    import pyarrow as pa

    from sanstream.formats.lattice import lattice_channel

    scale = max(0, column.type.scale)
    values = [None if v is None else int(v.scaleb(scale)) for v in column.to_pylist()]
    present = [v for v in values if v is not None]
    if present and (min(present) <= MISSING or max(present) >= 2**31):
        raise UnsupportedError(f"column {name!r} of {column.type} exceeds 32 bits", hint="use a smaller scale")
    samples = np.array([MISSING if v is None else v for v in values], dtype=np.int32)
    assert pa.types.is_decimal(column.type)
    return lattice_channel(name, unit, Lattice("decimal", scale), samples, header), samples


def _channel(column: pa.ChunkedArray, name: str, unit: str, header: dict[str, Any]) -> tuple[Channel, IntSamples]:
    """Turn one column into a channel: nulls become the missing code."""
    import pyarrow as pa

    header = {**header, "arrow_type": str(column.type)}
    if pa.types.is_decimal(column.type):
        return _decimal_column(column, name, unit, header)
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_boolean(column.type)):
        raise UnsupportedError(f"column {name!r} is {column.type}", hint="keep only time and numbers")
    if column.null_count == 0:
        return read_column(column.to_numpy(), name, unit, header)
    nulls = np.asarray(column.is_null().to_numpy(), dtype=bool)
    if pa.types.is_floating(column.type):
        filled = column.fill_null(float("nan")).to_numpy()
        if bool(np.isnan(filled[~nulls]).any()):
            raise UnsupportedError(f"column {name!r} has both nulls and NaN", hint="replace one by the other")
        channel, samples = read_column(filled, name, unit, {**header, "nulls": True})
        if channel.missing is None:
            raise UnsupportedError(f"column {name!r} has nulls and no grid", hint="round it, or replace the nulls")
        return channel, samples
    zero = False if pa.types.is_boolean(column.type) else 0
    channel, samples = read_column(column.fill_null(zero).to_numpy(), name, unit, {**header, "nulls": True})
    if bool((samples[~nulls] == MISSING).any()):
        raise UnsupportedError(f"column {name!r} has nulls and holds {MISSING}", hint="replace the nulls")
    samples = samples.copy()
    samples[nulls] = MISSING
    return Channel(**{**channel.__dict__, "missing": MISSING}), samples


def _time(column: pa.ChunkedArray, source: Path) -> tuple[Fraction, int | None, str]:
    """Return rate, start and time zone of a time column."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind):
        ticks = column.cast(pa.int64()).to_pylist()
        per_second = _TIME_UNITS[kind.unit]
        times = [Fraction(t, per_second) for t in ticks]
        step = Fraction(1, per_second)
    else:
        times = [Fraction(t).limit_denominator(10**9) for t in column.to_pylist()]
        step = Fraction(1, 10**9)
    n, span = len(times) - 1, times[-1] - times[0]
    if n < 1 or span <= 0:
        raise InputError(f"{source}: the time column does not grow, so the rate is unknown", hint="give --rate")
    exact = all(time - times[0] == row * span / n for row, time in enumerate(times))
    rate = n / span if exact else simplest_between(n / (span + 2 * step), n / max(span - 2 * step, span / 2))
    for row, time in enumerate(times):
        if abs(time - times[0] - row / rate) > 2 * step + Fraction(1, 100) / rate:
            raise InputError(f"{source}: the time column is not evenly spaced at row {row}", hint="give --rate")
    if not pa.types.is_timestamp(kind):
        return rate, None, "unknown"
    zone = "unknown" if kind.tz is None else ("utc" if kind.tz in ("UTC", "+00:00", "Z") else str(kind.tz))
    return rate, int(times[0] * 10**9), zone if zone in ("unknown", "utc") else "utc"


def read(source: Path, *, rate: Fraction | None = None, unit: str | None = None) -> Recording:
    """Read a file.

    Parameters
    ----------
    source : Path
    rate : Fraction, optional
        Samples per second; else from the metadata (``rate_hz``) or a time column.
    unit : str, optional
        Unit of columns whose metadata names none.

    Raises
    ------
    InputError
        When the file is no sound Parquet file, is empty, or its rate is unknown.
    UnsupportedError
        When a column holds no numbers that can be kept exactly.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(source, partitioning=None)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{source}: not a sound Parquet file: {' '.join(str(error).split())}") from error
    metadata = table.schema.metadata or {}
    for key in _RATE_KEYS:
        if rate is None and key in metadata:
            rate = parse_rate(metadata[key].decode("utf-8", "replace"))
    if table.num_rows == 0 or not table.column_names:
        raise InputError(f"{source}: the table is empty", hint="name a file with samples")
    start, zone = None, "unknown"
    timed = [i for i, name in enumerate(table.column_names) if name.lower() in NAMES][:1]
    if timed and (table.column(timed[0]).null_count or table.num_columns == 1):
        timed = []
    if timed and rate is None:
        rate, start, zone = _time(table.column(timed[0]), source)
    if rate is None:
        raise InputError(f"{source}: the file does not say its sampling rate", hint="give it, for example --rate 250")
    saved: dict[str, Any] = {"schema": base64.b64encode(table.schema.serialize().to_pybytes()).decode("ascii")}
    if timed:
        saved["time"] = {"column": timed[0], "cells": _pack_column(table.column(timed[0])), "start_ns": start}
    wanted = [i for i in range(table.num_columns) if i not in timed]
    labels = unique_labels([table.column_names[i] for i in wanted], "ch")
    columns = []
    for label, i in zip(labels, wanted, strict=True):
        own = (table.schema.field(i).metadata or {}).get(b"unit", metadata.get(b"unit", b"")).decode("utf-8", "replace")
        columns.append(_channel(table.column(i), label, own or unit or "", {"position": i}))
    base = one_stream(source.stem, rate, columns, "parquet", {"parquet": saved})
    return Recording(base.name, base.streams, start, zone, (), "parquet", base.attributes)


def _pack_column(column: pa.ChunkedArray) -> str:
    """Pack a time column; steps are mostly equal, so differences compress to little."""
    import pyarrow as pa

    if pa.types.is_floating(column.type):
        return pack([float(v).hex() for v in column.to_pylist()])
    return pack(np.diff(column.cast(pa.int64()).to_numpy(), prepend=0).tolist())


def _unpack_column(saved: dict[str, Any], kind: pa.DataType, n: int, rate: Fraction, start_ns: int | None) -> pa.Array:
    """Give back the time column, or the rows of a stretch of it."""
    import pyarrow as pa

    packed = unpack(saved["cells"])
    first = rows_of_stretch(len(packed), n, rate, saved["start_ns"], start_ns) or 0
    if pa.types.is_floating(kind):
        return pa.array([float.fromhex(v) for v in packed[first : first + n]], type=kind)
    values = np.cumsum(np.array(packed, dtype=np.int64))[first : first + n]
    return pa.array(values, type=pa.int64()).cast(kind)


def _array(channel: Channel, samples: IntSamples, kind: pa.DataType) -> pa.Array:
    """Undo :func:`_channel`."""
    import pyarrow as pa

    if pa.types.is_decimal(kind):
        from decimal import Decimal

        values = [None if v == MISSING else Decimal(v).scaleb(-kind.scale) for v in samples.tolist()]
        return pa.array(values, type=kind)
    data = write_column(channel, samples)
    mask = samples == MISSING if channel.header.get("nulls") else None
    if mask is not None and data.dtype.kind != "f":
        data = np.where(mask, 0, samples).astype(data.dtype)
    return pa.array(data, type=kind, mask=mask)


def write(recording: Recording, folder: Path, format: str) -> list[Path]:
    """Write one file per rate: the source's schema for Parquet sources, else digital samples with gain in metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    saved = recording.attributes.get("parquet")
    files = []
    for stem, stream, channels, samples in tables(recording, "parquet"):
        if saved is not None:
            schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(saved["schema"])))
            place = {int(c.header["position"]): (c, samples[:, i]) for i, c in enumerate(channels)}
            arrays = [
                _array(*place[i], field.type)
                if i in place
                else _unpack_column(saved["time"], field.type, len(samples), stream.rate, recording.start_ns)
                for i, field in enumerate(schema)
            ]
            table = pa.table(arrays, schema=schema)
        else:
            table = _foreign(recording, channels, samples, rate_text(stream.rate))
        pq.write_table(table, folder / f"{stem}.parquet")
        files.append(folder / f"{stem}.parquet")
    return files


def _foreign(recording: Recording, channels: tuple[Channel, ...], samples: IntSamples, rate: str) -> pa.Table:
    """Build a table of digital samples whose fields name unit, gain and baseline."""
    import pyarrow as pa

    fields, arrays = [], []
    for i, channel in enumerate(channels):
        column = samples[:, i]
        if channel.holds_float_bits:
            arrays.append(pa.array(channel.physical(column).astype(np.float32), from_pandas=True))
            fields.append(pa.field(channel.label, pa.float32(), metadata={"unit": channel.unit}))
            continue
        mask = None if channel.missing is None else column == channel.missing
        metadata = {"unit": channel.unit, "gain": repr(channel.gain), "baseline": repr(channel.baseline)}
        arrays.append(pa.array(column, mask=mask))
        fields.append(pa.field(channel.label, pa.int32(), metadata=metadata))
    metadata = {"rate_hz": rate}
    if recording.start_ns is not None:
        metadata |= {"start_ns": str(recording.start_ns), "timezone": recording.timezone}
    return pa.table(arrays, schema=pa.schema(fields, metadata=metadata))
