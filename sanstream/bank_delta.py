"""The delta that adapts a bank to a segment: kernels and predictor starts (FORMAT.md clause 6.4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sanstream._loops_delta import code_sequence
from sanstream.bank import MAX_KERNELS, MAX_TAPS, Kernel
from sanstream.errors import CorruptError

MAX_ROWS = 16
MAX_FOLLOW = 15
MAX_DROP = 12
_HEAD, _TAP, _WEIGHT, _RIDGE = 0, 1, 2, 3


@dataclass(frozen=True)
class Delta:
    """What a segment adds to its bank.

    Parameters
    ----------
    use_bank_kernels : bool
        Kernels are the bank's (``kernels`` is then empty) and only ``shifts`` are the segment's own.
    kernels : tuple of Kernel
        Kernels of the segment, rows in coding order of the first group's channels, or one row.
    shifts : ndarray, shape (n_channels,), int64
        Amplitude shift per channel of the segment.
    follow : int
        How slowly kernels follow what was decoded: a share of 2^-follow per activation; 0 for not at all.
    weights : ndarray, shape (n_channels, n), int64, or None
        Start weights of the sample predictor, Q16.
    ridges : ndarray, shape (n_channels,), int64, or None
        Start diagonal of the predictor's covariance: 2^ridge.
    drop : int
        Start weights are kept in steps of 2^drop / 2^16.
    """

    use_bank_kernels: bool = False
    kernels: tuple[Kernel, ...] = ()
    shifts: npt.NDArray[np.int64] | None = None
    follow: int = 0
    weights: npt.NDArray[np.int64] | None = None
    ridges: npt.NDArray[np.int64] | None = None
    drop: int = 6


def write_delta(delta: Delta, n_channels: int) -> bytes:
    """Return the delta as bytes; nothing to say gives ``b""``."""
    with_kernels = delta.use_bank_kernels or bool(delta.kernels)
    if not with_kernels and delta.weights is None:
        return b""
    values: list[int] = []
    models: list[int] = []

    def put(model: int, *items: int) -> None:
        values.extend(int(v) for v in items)
        models.extend([model] * len(items))

    put(_HEAD, int(delta.use_bank_kernels), len(delta.kernels))
    put(_HEAD, delta.kernels[0].taps.shape[0] if delta.kernels else 0)
    put(_HEAD, 0 if delta.weights is None else delta.weights.shape[1])
    if with_kernels and delta.shifts is not None:
        put(_HEAD, delta.follow)
        put(_RIDGE, *delta.shifts)
    for kernel in delta.kernels:
        number = int(kernel.uid, 16)
        put(_HEAD, kernel.taps.shape[1], kernel.fiducial, number >> 16, number & 0xFFFF)
        for row in kernel.taps.astype(np.int64):
            put(_TAP, *np.diff(row, n=2, prepend=[0, 0]))
    if delta.weights is not None and delta.ridges is not None:
        put(_HEAD, delta.drop)
        for row, ridge in zip(delta.weights, delta.ridges, strict=True):
            put(_RIDGE, int(ridge))
            put(_WEIGHT, *(row >> delta.drop))
    buffer = np.zeros(8 * len(values) + 64, dtype=np.uint8)
    n = code_sequence(buffer, len(buffer), True, np.array(values, np.int64), np.array(models, np.int64))
    return buffer[:n].tobytes()


class _Source:
    """Reads integers one request after the other by decoding a growing prefix once."""

    def __init__(self, data: bytes) -> None:
        self.buffer = np.frombuffer(bytearray(data), dtype=np.uint8)
        self.models: list[int] = []

    def take(self, *models: int) -> npt.NDArray[np.int64]:
        self.models += models
        values = np.zeros(len(self.models), np.int64)
        code_sequence(self.buffer, len(self.buffer), False, values, np.array(self.models, np.int64))
        return values[len(values) - len(models) :]


def read_delta(data: bytes, n_channels: int) -> Delta:
    """Parse a delta.

    Raises
    ------
    CorruptError
        When a count is outside FORMAT.md's limits.
    """
    if not data:
        return Delta()
    source = _Source(data)
    use_bank, n_kernels, n_rows, n_weights = (int(v) for v in source.take(*[_HEAD] * 4))
    if not (0 <= use_bank <= 1 and 0 <= n_kernels <= MAX_KERNELS and 0 <= n_rows <= MAX_ROWS and 0 <= n_weights <= 62):
        raise CorruptError("bank delta: counts are outside FORMAT.md's limits")
    follow = int(source.take(_HEAD)[0]) if use_bank or n_kernels else 0
    if not 0 <= follow <= MAX_FOLLOW:
        raise CorruptError(f"bank delta: kernels follow by 2^-{follow}, allowed 0 to {MAX_FOLLOW}")
    shifts = np.clip(source.take(*[_RIDGE] * n_channels), 0, 30) if use_bank or n_kernels else None
    kernels = []
    for _ in range(n_kernels):
        n_taps, fiducial, high, low = (int(v) for v in source.take(*[_HEAD] * 4))
        if not (1 <= n_taps <= MAX_TAPS and 0 <= high <= 0xFFFF and 0 <= low <= 0xFFFF and 0 <= fiducial < n_taps):
            raise CorruptError("bank delta: a kernel is outside FORMAT.md's limits")
        rows = source.take(*[_TAP] * (n_rows * n_taps)).reshape(n_rows, n_taps)
        taps = np.cumsum(np.cumsum(rows, axis=1), axis=1)
        kernels.append(Kernel(f"{high << 16 | low:08x}", np.clip(taps, -32768, 32767).astype(np.int16), fiducial))
    weights = ridges = None
    drop = 6
    if n_weights:
        drop = int(source.take(_HEAD)[0])
        if not 0 <= drop <= MAX_DROP:
            raise CorruptError(f"bank delta: weights in steps of 2^{drop}, allowed 0 to {MAX_DROP}")
        rows = source.take(*([_RIDGE] + [_WEIGHT] * n_weights) * n_channels).reshape(n_channels, 1 + n_weights)
        ridges = np.clip(rows[:, 0], 0, 40)
        weights = np.clip(rows[:, 1:], -(1 << 15), 1 << 15) << drop
    return Delta(bool(use_bank), tuple(kernels), shifts, follow, weights, ridges, drop)
