"""Lossless peers with their best settings: FLAC, WavPack, pcodec, xz, zstd, Blosc; WFDB in lossless_wfdb."""

from __future__ import annotations

import io
import lzma
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.benchmark.codec import CannotHold, Lossless, Packed, channel_groups, narrow
from pipelines.benchmark.lossless_wfdb import WFDB_212, WFDB_516
from sanstream.signal import IntSamples

EACH, PAIRS = "each channel", "pairs of channels"
CHANNELS, TIME, DELTA = "channel by channel", "time by time", "differences, channel by channel"
_RATE = 48000
_XZ = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]


def _join(parts: list[npt.NDArray[Any]]) -> IntSamples:
    return np.concatenate(parts, axis=1).astype(np.int32)


# -- FLAC


def flac_frames(data: bytes) -> int:
    """Count the bytes after FLAC's metadata blocks."""
    position, last = 4, False
    while not last:
        last = bool(data[position] & 0x80)
        position += 4 + int.from_bytes(data[position + 1 : position + 4], "big")
    return len(data) - position


def _flac(samples: IntSamples, variant: str) -> Packed:
    import soundfile

    wide = narrow(samples).dtype == np.int32
    if wide and int(np.abs(samples.astype(np.int64)).max()) >= 2**23:
        raise CannotHold("FLAC holds 24 bits")
    pcm = samples * 2**8 if wide else samples.astype(np.int16)
    files = []
    for group in channel_groups(samples.shape[1], 1 if variant == EACH else 2):
        file = io.BytesIO()
        kind = "PCM_24" if wide else "PCM_16"
        soundfile.write(file, pcm[:, group], _RATE, format="FLAC", subtype=kind, compression_level=1.0)
        files.append(file.getvalue())
    return Packed((files, wide), sum(map(flac_frames, files)), sum(map(len, files)))


def _flac_back(payload: tuple[list[bytes], bool]) -> IntSamples:
    import soundfile

    files, wide = payload
    kind = "int32" if wide else "int16"
    read = [soundfile.read(io.BytesIO(f), dtype=kind, always_2d=True)[0] for f in files]
    return _join([r >> 8 for r in read] if wide else read)


# -- WavPack, through FFmpeg's encoder


def _wavpack_stream(samples: npt.NDArray[Any]) -> tuple[bytes, int]:
    """Encode one or two channels: the file, and the bytes of its packets."""
    import av

    layout = "stereo" if samples.shape[1] == 2 else "mono"
    form = "s16p" if samples.dtype == np.int16 else "s32p"
    file, coded = io.BytesIO(), 0
    with av.open(file, "w", format="wv") as container:
        stream = container.add_stream("wavpack", rate=_RATE)
        stream.codec_context.layout, stream.codec_context.format = layout, form
        stream.codec_context.options = {"compression_level": "8"}
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format=form, layout=layout)
        frame.rate, frame.pts = _RATE, 0
        for whole in (frame, None):
            for packet in stream.encode(whole):
                coded += packet.size
                container.mux(packet)
    return file.getvalue(), coded


def _wavpack(samples: IntSamples, variant: str) -> Packed:
    wide = narrow(samples).dtype == np.int32
    groups = channel_groups(samples.shape[1], 1 if variant == EACH else 2)
    done = [_wavpack_stream(samples[:, g].astype(np.int32 if wide else np.int16)) for g in groups]
    return Packed([f for f, _ in done], sum(c for _, c in done), sum(len(f) for f, _ in done))


def _wavpack_back(files: list[bytes]) -> IntSamples:
    import av

    parts = []
    for data in files:
        with av.open(io.BytesIO(data)) as container:
            frames = [f.to_ndarray() for f in container.decode(audio=0)]
        parts.append(np.concatenate(frames, axis=1).T)
    return _join(parts)


# -- pcodec


def pcodec_bytes(values: npt.NDArray[Any]) -> bytes:
    """Compress one channel's integers with pcodec at its highest level."""
    from pcodec import ChunkConfig, standalone

    kind = np.int16 if narrow(values).dtype != np.int32 else np.int32
    return bytes(standalone.simple_compress(values.astype(kind), ChunkConfig(compression_level=12)))


def _pcodec(samples: IntSamples, variant: str) -> Packed:
    parts = [pcodec_bytes(column) for column in samples.T]
    size = sum(map(len, parts))
    return Packed(parts, size, size)


def _pcodec_back(parts: list[bytes]) -> IntSamples:
    from pcodec import standalone

    return _join([np.asarray(standalone.simple_decompress(p))[:, None] for p in parts])


# -- xz, zstd and Blosc, which see bytes


def _laid_out(samples: IntSamples, variant: str) -> tuple[npt.NDArray[Any], tuple[str, str, tuple[int, ...]]]:
    """Order samples for a codec of bytes, and say how to undo it."""
    values: npt.NDArray[Any] = samples if variant == TIME else samples.T
    if variant == DELTA:
        values = np.diff(values.astype(np.int64), axis=1, prepend=0)
    values = narrow(values)
    return values, (variant, values.dtype.str, values.shape)


def _restored(data: bytes, how: tuple[str, str, tuple[int, ...]]) -> IntSamples:
    variant, kind, shape = how
    values = np.frombuffer(data, kind).reshape(shape)
    if variant == DELTA:
        values = np.cumsum(values, axis=1, dtype=np.int64)
    return np.ascontiguousarray(values if variant == TIME else values.T).astype(np.int32)


def _xz_container(payload: object) -> int:
    """Bytes that an .xz file has around its stream."""
    sample = bytes(64)
    bare = lzma.compress(sample, format=lzma.FORMAT_RAW, filters=_XZ)
    return len(lzma.compress(sample, format=lzma.FORMAT_XZ, filters=_XZ)) - len(bare)


def _xz(samples: IntSamples, variant: str) -> Packed:
    values, how = _laid_out(samples, variant)
    data = lzma.compress(values.tobytes(), format=lzma.FORMAT_RAW, filters=_XZ)
    return Packed((data, how), len(data), len(data))


def _xz_back(payload: tuple[bytes, Any]) -> IntSamples:
    data, how = payload
    return _restored(lzma.decompress(data, format=lzma.FORMAT_RAW, filters=_XZ), how)


def _zstd(samples: IntSamples, variant: str) -> Packed:
    import pyarrow as pa

    values, how = _laid_out(samples, variant)
    data = pa.Codec("zstd", compression_level=19).compress(values.tobytes(), asbytes=True)
    return Packed((data, values.nbytes, how), len(data), len(data))


def _zstd_back(payload: tuple[bytes, int, Any]) -> IntSamples:
    import pyarrow as pa

    data, size, how = payload
    return _restored(pa.Codec("zstd").decompress(data, decompressed_size=size, asbytes=True), how)


def _blosc(samples: IntSamples, variant: str) -> Packed:
    from numcodecs import Blosc

    values, how = _laid_out(samples, variant)
    data = bytes(Blosc(cname="zstd", clevel=3, shuffle=Blosc.BITSHUFFLE).encode(values))
    return Packed((data, how), len(data), len(data))


def _blosc_back(payload: tuple[bytes, Any]) -> IntSamples:
    from numcodecs import Blosc

    data, how = payload
    return _restored(bytes(Blosc().decode(data)), how)


def _zarr_metadata(payload: tuple[bytes, Any]) -> int:
    """Bytes of the metadata that Zarr writes beside such an array's only chunk."""
    import zarr
    from zarr.codecs import BloscCodec

    _, (_, kind, shape) = payload
    with tempfile.TemporaryDirectory() as folder:
        zarr.create_array(
            folder,
            shape=shape,
            chunks=shape,
            dtype=kind,
            compressors=BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"),
        )
        return sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file())


LOSSLESS = (
    Lossless("FLAC -8", (EACH, PAIRS), _flac, _flac_back),
    Lossless("WavPack (level 8)", (EACH, PAIRS), _wavpack, _wavpack_back),
    Lossless("pcodec 12", (EACH,), _pcodec, _pcodec_back),
    Lossless("delta + xz -9e", (DELTA,), _xz, _xz_back, _xz_container),
    Lossless("zstd -19", (CHANNELS, TIME), _zstd, _zstd_back),
    Lossless("Blosc zstd 3 bitshuffle", (CHANNELS, TIME), _blosc, _blosc_back, _zarr_metadata),
    WFDB_212,
    WFDB_516,
)
