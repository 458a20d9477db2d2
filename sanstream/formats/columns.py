"""Arrays of one rate (NumPy, Parquet) as channels and back: integers as they are, floats on a lattice."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream.errors import InputError, UnsupportedError
from sanstream.formats.csv_text import pack, unpack
from sanstream.formats.grid import flatten, position, widened
from sanstream.formats.labels import kind_of, safe_name, stream_name
from sanstream.formats.lattice import BITS, find_lattice, lattice_channel, lattice_of, restore_floats
from sanstream.signal import Channel, IntSamples, Recording, Segment, Stream

_INT32 = np.iinfo(np.int32)


def integer_column(
    values: npt.NDArray[Any], label: str, unit: str, header: dict[str, Any]
) -> tuple[Channel, IntSamples]:
    """Take integers as they are.

    Raises
    ------
    UnsupportedError
        When they exceed 32 bits.
    """
    if values.dtype != np.bool_ and values.size:
        low, high = int(values.min()), int(values.max())
        if low < _INT32.min or high > _INT32.max:
            raise UnsupportedError(
                f"channel {label!r} holds {values.dtype} values from {low} to {high}, beyond 32-bit integers",
                hint="subtract an offset, or split the channel in two",
            )
    samples = values.astype(np.int32)
    small = values.dtype.itemsize <= 2 and values.dtype != np.bool_
    info = np.iinfo(values.dtype) if small else None
    channel = Channel(
        label=label,
        unit=unit,
        digital_min=int(info.min) if info else (int(samples.min()) if samples.size else 0),
        digital_max=int(info.max) if info else (int(samples.max()) if samples.size else 0),
        kind=kind_of(label),
        header={**header, "dtype": values.dtype.str},
    )
    return widened(channel, samples), samples


def read_column(values: npt.NDArray[Any], label: str, unit: str, header: dict[str, Any]) -> tuple[Channel, IntSamples]:
    """Turn one array of numbers into a channel and its samples.

    Raises
    ------
    UnsupportedError
        When the dtype holds no real numbers, or the values fit no lattice.
    """
    if values.dtype.kind in "iub":
        return integer_column(values, label, unit, header)
    if values.dtype.kind == "f" and values.dtype.itemsize <= 8:
        return _float_column(values, label, unit, {**header, "dtype": values.dtype.str})
    raise UnsupportedError(
        f"channel {label!r} holds {values.dtype} values", hint="integers and floats of at most 64 bits can be held"
    )


def _float_column(
    values: npt.NDArray[Any], label: str, unit: str, header: dict[str, Any]
) -> tuple[Channel, IntSamples]:
    """Put floats on a lattice; zeros with a sign, which rounding leaves, are remembered by their rows."""
    zeros = np.flatnonzero((values == 0) & np.signbit(values))
    integers, lattice = find_lattice(values + values.dtype.type(0) if zeros.size else values, label)
    if zeros.size and lattice.kind == BITS:
        integers, lattice = find_lattice(values, label)
    elif zeros.size:
        header = {**header, "negative_zeros": {"n": len(values), "rows": pack(zeros.tolist())}}
    return lattice_channel(label, unit, lattice, integers, header), integers


def write_column(channel: Channel, samples: IntSamples) -> npt.NDArray[Any]:
    """Undo :func:`read_column`; channels of other origin give the smallest integer dtype that holds them."""
    dtype = channel.header.get("dtype")
    lattice = lattice_of(channel)
    if dtype is not None and lattice is not None:
        out = restore_floats(samples, lattice, np.dtype(str(dtype)))
        zeros = channel.header.get("negative_zeros")
        if zeros is not None and zeros["n"] == len(out):
            rows = np.array(unpack(zeros["rows"]), dtype=np.int64)
            out[rows[out[rows] == 0]] = -0.0
        return out
    if dtype is not None and np.dtype(str(dtype)).kind in "iub":
        return samples.astype(np.dtype(str(dtype)))
    fits = samples.size == 0 or (samples.min() >= -(2**15) and samples.max() < 2**15)
    return samples.astype(np.int16 if fits else np.int32)


def need_rate(rate: Fraction | None, source: Path) -> Fraction:
    """Return the rate, or say how to give one.

    Raises
    ------
    InputError
    """
    if rate is None:
        raise InputError(f"{source}: the file does not say its sampling rate", hint="give it, for example --rate 250")
    return rate


def one_stream(
    name: str, rate: Fraction, columns: Sequence[tuple[Channel, IntSamples]], format: str, attributes: dict[str, Any]
) -> Recording:
    """Build a recording of one stream from columns of equal length."""
    samples = np.ascontiguousarray(np.stack([s for _, s in columns], axis=1))
    segment = Segment(0, tuple(c for c, _ in columns), samples)
    stream = Stream(stream_name(rate), rate, (segment,))
    return Recording(safe_name(name), (stream,), source_format=format, attributes=attributes)


def tables(recording: Recording, target: str) -> list[tuple[str, Stream, tuple[Channel, ...], IntSamples]]:
    """Flatten every stream for a format that holds one rate a file.

    Returns
    -------
    list of (file stem, stream, channels, samples)
        Several streams give several files, named after their rate.
    """
    if not recording.streams:
        raise InputError(f"recording {recording.name!r} has no channels", hint="choose another recording")
    out = []
    for stream in recording.streams:
        channels, samples = flatten(stream, target)
        order = sorted(range(len(channels)), key=lambda i: position(channels[i], i))
        stem = recording.name if len(recording.streams) == 1 else f"{recording.name}_{stream.name}"
        out.append((safe_name(stem), stream, tuple(channels[i] for i in order), samples[:, order]))
    return out
