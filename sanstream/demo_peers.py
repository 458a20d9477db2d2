"""Bits per sample of the codecs that people pick today, on the same samples in the same run."""

from __future__ import annotations

import io
import lzma
from collections.abc import Callable

import numpy as np

from sanstream.signal import IntSamples


def measure_peers(samples: IntSamples) -> dict[str, float]:
    """Compress samples with FLAC, xz, zstd and, where installed, pcodec.

    Parameters
    ----------
    samples : ndarray, shape (n_samples, n_channels), int32
        Time first.

    Returns
    -------
    dict of str to float
        Bits per sample of the bare streams, containers and headers left out. A peer that is not
        installed, or cannot hold the samples, is left out.
    """
    peers: dict[str, Callable[[IntSamples], int]] = {
        "FLAC -8": _flac,
        "delta + xz -9": _xz,
        "zstd -19": _zstd,
        "pcodec 12": _pcodec,
    }
    out = {}
    for name, size in peers.items():
        try:
            out[name] = 8 * size(samples) / samples.size
        except (ImportError, OverflowError):
            continue
    return out


def _narrow(samples: IntSamples) -> np.ndarray:
    """Give the samples the narrowest of the usual integer types."""
    fits = samples.size == 0 or (samples.min() >= -(2**15) and samples.max() < 2**15)
    return np.ascontiguousarray(samples, dtype=np.int16 if fits else np.int32)


def _flac(samples: IntSamples) -> int:
    """Size of the frames of FLAC files of two channels each (FLAC relates no more than two)."""
    import soundfile

    narrow = _narrow(samples)
    if narrow.dtype == np.int32:
        if int(np.abs(samples.astype(np.int64)).max()) >= 2**23:
            raise OverflowError("FLAC holds 24 bits here")
        narrow = narrow * 2**8
    total = 0
    for first in range(0, samples.shape[1], 2):
        file = io.BytesIO()
        soundfile.write(
            file,
            narrow[:, first : first + 2],
            1000,
            format="FLAC",
            subtype="PCM_16" if narrow.dtype == np.int16 else "PCM_24",
            compression_level=1.0,
        )
        total += _flac_frames(file.getvalue())
    return total


def _flac_frames(data: bytes) -> int:
    """Count the bytes after FLAC's metadata blocks."""
    position, last = 4, False
    while not last:
        last = bool(data[position] & 0x80)
        position += 4 + int.from_bytes(data[position + 1 : position + 4], "big")
    return len(data) - position


def _xz(samples: IntSamples) -> int:
    narrow = _narrow(np.diff(samples, axis=0, prepend=0).astype(np.int32))
    return len(lzma.compress(narrow.T.tobytes(), format=lzma.FORMAT_RAW, filters=_XZ_FILTERS))


_XZ_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9}]


def _zstd(samples: IntSamples) -> int:
    import pyarrow as pa

    return len(pa.Codec("zstd", compression_level=19).compress(_narrow(samples).T.tobytes(), asbytes=True))


def _pcodec(samples: IntSamples) -> int:
    from pcodec import ChunkConfig, standalone

    config = ChunkConfig(compression_level=12)
    return sum(len(standalone.simple_compress(np.ascontiguousarray(column), config)) for column in _narrow(samples).T)
