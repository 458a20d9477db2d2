"""Lossy peers, each brought to the quality asked: SZ3, ZFP, rounding + pcodec, the wavelet of a whole record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.benchmark.bisect import largest
from pipelines.benchmark.lossless import pcodec_bytes

Floats = npt.NDArray[np.float64]

_SZ_FORMS = ("INTERP_LORENZO", "LORENZO_REG", "INTERP")
_TIE = 0.499
"""An integer and its reconstruction rounded differ by at most d when they differ by less than d + 1/2 before."""


@dataclass(frozen=True)
class Decoded:
    """One channel, or several together, coded and back.

    Parameters
    ----------
    coded_bytes : float
        The bare stream; for ideal code lengths no whole number.
    stored_bytes : float or None
        On disk; None for a codec without a file.
    samples : ndarray, shape (n_samples,) or (n_channels, n_samples), float64
    """

    coded_bytes: float
    stored_bytes: float | None
    samples: Floats


@dataclass(frozen=True)
class Lossy:
    """A lossy peer.

    Parameters
    ----------
    name : str
    at_rmse : callable
        Takes one channel, float64, and a bound of its root mean square error.
    at_maximum : callable, optional
        Takes one channel of whole numbers and the largest error allowed, a whole number.
    jointly : callable, optional
        Takes several channels, shape (n_channels, n_samples), and the RMSE bound of each, or the largest error
        allowed in all.
    """

    name: str
    at_rmse: Callable[[Floats, float], Decoded]
    at_maximum: Callable[[Floats, int], Decoded] | None = None
    jointly: Callable[[Floats, list[float] | int], Decoded] | None = None


def rmse(x: Floats, y: Floats) -> float:
    """Root mean square error, of the samples as decoded or rounded to the ADC's integers: the smaller."""
    raw, whole = np.mean((x - y) ** 2), np.mean((x - np.round(y)) ** 2)
    return float(np.sqrt(min(raw, whole)))


# -- SZ3


def sz_pack(x: Floats, bound: float, form: str) -> tuple[npt.NDArray[np.uint8], Any]:
    """Compress with an absolute bound and one of SZ3's predictors; returns the stream and the samples' type."""
    from pysz import sz, szAlgorithm, szConfig, szErrorBoundMode

    config = szConfig()
    config.errorBoundMode, config.absErrorBound = szErrorBoundMode.ABS, float(bound)
    config.cmprAlgo = getattr(szAlgorithm, form)
    kind = np.float32 if np.abs(x).max(initial=0) < 2**15 else np.float64
    return sz.compress(np.ascontiguousarray(x, dtype=kind), config)[0], kind


def sz_unpack(data: npt.NDArray[np.uint8], kind: Any, *shape: int) -> Floats:
    """Decompress what :func:`sz_pack` gave."""
    from pysz import sz

    return np.asarray(sz.decompress(data, kind, shape)[0], dtype=np.float64)


def _sz_decoded(x: Floats, bound: float, form: str) -> Decoded:
    data, kind = sz_pack(x, bound, form)
    return Decoded(len(data), len(data), sz_unpack(data, kind, *x.shape))


def _sz_at_rmse(x: Floats, bound: float) -> Decoded:
    found = []
    for form in _SZ_FORMS:

        def reached(step: float, form: str = form) -> float:
            return rmse(x, _sz_decoded(x, step, form).samples)

        found.append(_sz_decoded(x, largest(reached, bound, start=2 * bound), form))
    return min(found, key=lambda d: d.coded_bytes)


def _sz_at_maximum(x: Floats, most: int) -> Decoded:
    return min((_sz_decoded(x, most + _TIE, form) for form in _SZ_FORMS), key=lambda d: d.coded_bytes)


def _sz_jointly(x: Floats, bound: list[float] | int) -> Decoded:
    """Two dimensions, every channel scaled to its own bound."""
    if isinstance(bound, int):
        return min((_sz_decoded(x, bound + _TIE, form) for form in _SZ_FORMS), key=lambda d: d.coded_bytes)
    level, scale = np.round(x.mean(axis=1))[:, None], np.array(bound)[:, None]
    y = (x - level) / scale
    found = []
    for form in _SZ_FORMS:

        def reached(step: float, form: str = form) -> float:
            error = _sz_decoded(y, step, form).samples - y
            return float(np.sqrt(np.mean(error**2, axis=1)).max())

        found.append(_sz_decoded(y, largest(reached, 1.0, start=2.0), form))
    best = min(found, key=lambda d: d.coded_bytes)
    size = best.coded_bytes + 8 * len(x)
    return Decoded(size, size, best.samples * scale + level)


# -- ZFP


def zfp_pack(x: Floats, scale: float) -> bytes:
    """Compress ``x * scale`` to an absolute error of 1 (ZFP's own tolerances are powers of two)."""
    import zfpy

    return bytes(zfpy.compress_numpy(np.ascontiguousarray(x * scale), tolerance=1.0))


def zfp_unpack(data: bytes, scale: float) -> Floats:
    """Decompress what :func:`zfp_pack` gave."""
    import zfpy

    return np.asarray(zfpy.decompress_numpy(data), dtype=np.float64) / scale


def _zfp_decoded(x: Floats, step: float) -> Decoded:
    import zfpy

    data = zfp_pack(x, 1 / step)
    bare = len(zfpy.compress_numpy(np.ascontiguousarray(x / step), tolerance=1.0, write_header=False))
    return Decoded(bare, len(data), zfp_unpack(data, 1 / step))


def zfp_step(x: Floats, bound: float) -> float:
    """Find the tolerance at which ZFP's RMSE lies just below a bound."""
    return largest(lambda s: rmse(x, zfp_unpack(zfp_pack(x, 1 / s), 1 / s)), bound, start=4 * bound)


def _zfp_at_rmse(x: Floats, bound: float) -> Decoded:
    level = np.round(x.mean())
    return _shifted(_zfp_decoded(x - level, zfp_step(x - level, bound)), level)


def _shifted(done: Decoded, level: float) -> Decoded:
    """Put back the mean, which four bytes hold; ZFP pays for an offset in every block."""
    return replace(done, coded_bytes=done.coded_bytes + 4, samples=done.samples + level)


def _zfp_at_maximum(x: Floats, most: int) -> Decoded:
    level = np.round(x.mean())
    centred = x - level

    def reached(step: float) -> float:
        return float(np.abs(np.round(zfp_unpack(zfp_pack(centred, 1 / step), 1 / step)) - centred).max())

    return _shifted(_zfp_decoded(centred, largest(reached, most + 0.1, start=2.0 * most)), level)


# -- rounding to a step, then pcodec


def _rounded(x: Floats, step: float) -> Decoded:
    q = np.round(x / step).astype(np.int64)
    data = pcodec_bytes(q)
    return Decoded(len(data), len(data), np.asarray(q * step, dtype=np.float64))


def rounding_step(x: Floats, bound: float) -> float:
    """Find the step at which rounding's RMSE lies just below a bound."""
    return largest(lambda s: rmse(x, np.round(x / s) * s), bound, start=bound * 12**0.5)


def _rounded_at_rmse(x: Floats, bound: float) -> Decoded:
    return _rounded(x, rounding_step(x, bound))


def _rounded_at_maximum(x: Floats, most: int) -> Decoded:
    return _rounded(x, 2 * most + 1)


# -- the wavelet


def _wavelet_at_rmse(x: Floats, bound: float) -> Decoded:
    from pipelines.benchmark.wavelet import wave

    waved = wave(x, bound)
    return Decoded(waved.bits / 8, None, waved.decoded)


WAVELET = "9/7 wavelet (ideal code length)"
LOSSY = (
    Lossy("SZ3", _sz_at_rmse, _sz_at_maximum, _sz_jointly),
    Lossy("ZFP", _zfp_at_rmse, _zfp_at_maximum),
    Lossy("rounding + pcodec 12", _rounded_at_rmse, _rounded_at_maximum),
    Lossy(WAVELET, _wavelet_at_rmse),
)
