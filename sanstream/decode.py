"""Scaffold of decode.py: lossless zlib of differences."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import google_crc32c
import numpy as np
import numpy.typing as npt

from sanstream.bank import Bank
from sanstream.block import SegmentCoding
from sanstream.errors import CorruptError
from sanstream.signal import IntSamples


@dataclass(frozen=True)
class BlockFigures:
    """What the windows of a block reached."""

    n_samples: int
    rmse_adu: npt.NDArray[np.float64]
    max_error_adu: npt.NDArray[np.float64]
    lossless: npt.NDArray[np.bool_]
    n_activations: npt.NDArray[np.int64]


@dataclass(frozen=True)
class BlockRecords:
    """The activations of a block."""

    kernel: npt.NDArray[np.int64]
    kernel_uid: list[str]
    index: npt.NDArray[np.int64]
    fiducial: npt.NDArray[np.int64]
    amplitude: npt.NDArray[np.float64]


def seal(body: bytes, number: int, coding: SegmentCoding) -> bytes:
    """Put a checksum before a block's body."""
    crc = google_crc32c.value(bytes.fromhex(coding.segment_id) + struct.pack("<Q", number) + body)
    return struct.pack("<I", crc) + body


def _open(payload: bytes, number: int, coding: SegmentCoding) -> IntSamples:
    body = bytes(payload[4:])
    if len(payload) < 6 or seal(body, number, coding) != bytes(payload):
        raise CorruptError(f"segment {coding.segment_id}, block {number}: checksum differs")
    flat = np.frombuffer(zlib.decompress(body), dtype="<i4").reshape(-1, coding.n_channels)
    return np.cumsum(flat, axis=0, dtype=np.int32)


def decode_block(
    payload: bytes, number: int, coding: SegmentCoding, bank: Bank, channels: Sequence[int] | None = None
) -> IntSamples:
    """Decode one block."""
    samples = _open(payload, number, coding)
    return samples if channels is None else np.ascontiguousarray(samples[:, list(channels)])


def read_figures(payload: bytes, number: int, coding: SegmentCoding, bank: Bank) -> BlockFigures:
    """Read what was reached."""
    n = len(_open(payload, number, coding))
    shape = (-(-n // coding.window_samples), coding.n_channels)
    return BlockFigures(n, np.zeros(shape), np.zeros(shape), np.ones(shape, bool), np.zeros(shape[0], np.int64))


def read_records(payload: bytes, number: int, coding: SegmentCoding, bank: Bank) -> BlockRecords:
    """Read the activations."""
    _open(payload, number, coding)
    empty = np.zeros(0, np.int64)
    return BlockRecords(empty, [], empty, empty, np.zeros((0, coding.n_channels)))
