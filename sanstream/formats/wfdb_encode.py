"""Byte encoders for the signal formats that ``wfdb`` reads but does not write: 8, 61, 160, 310, 311 (signal(5))."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.integer[Any]]

OWN = ("8", "61", "160", "310", "311")
"""The formats written here."""


def interleave(signals: list[IntArray], per_frame: list[int]) -> npt.NDArray[np.int64]:
    """Put signals in file order: frame by frame, each signal's samples of the frame together."""
    frames = [np.asarray(s, dtype=np.int64).reshape(-1, n) for s, n in zip(signals, per_frame, strict=True)]
    return np.concatenate(frames, axis=1).reshape(-1)


def differences_fit(signal: IntArray, initial: int) -> bool:
    """Tell whether format 8 can hold the signal: no step exceeds a signed byte."""
    steps = np.diff(signal.astype(np.int64), prepend=initial)
    return bool(steps.size == 0 or (steps.min() >= -128 and steps.max() <= 127))


def encode(fmt: str, signals: list[IntArray], per_frame: list[int], initial: list[int]) -> bytes:
    """Encode signals of one file.

    Parameters
    ----------
    fmt : str
        One of :data:`OWN`.
    signals : list of ndarray
        Per signal, shape (n_frames * samples per frame,), within the format's range.
    per_frame : list of int
        Samples per frame.
    initial : list of int
        Value before the first sample (format 8).
    """
    if fmt == "8":
        steps: list[IntArray] = []
        for signal, first in zip(signals, initial, strict=True):
            before = np.concatenate([[first], signal[:-1]]).astype(np.int64)
            steps.append(signal.astype(np.int64) - before[: len(signal)])
        return interleave(steps, per_frame).astype(np.int8).tobytes()
    flat = interleave(signals, per_frame)
    if fmt == "61":
        return flat.astype(">i2").tobytes()
    if fmt == "160":
        return (flat + 2**15).astype("<u2").tobytes()
    return _ten_bits(fmt, flat)


def _ten_bits(fmt: str, flat: npt.NDArray[np.int64]) -> bytes:
    """Pack three 10-bit samples into four bytes."""
    padded = np.concatenate([flat, np.zeros(-len(flat) % 3, dtype=np.int64)]).reshape(-1, 3) & 0x3FF
    a, b, c = padded[:, 0], padded[:, 1], padded[:, 2]
    packed = {"310": (a << 1) | ((c & 0x1F) << 11) | (b << 17) | ((c >> 5) << 27), "311": a | (b << 10) | (c << 20)}
    return packed[fmt].astype("<u4").tobytes()
