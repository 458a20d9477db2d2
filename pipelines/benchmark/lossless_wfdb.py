"""WFDB's own formats as lossless peers: 212 (two samples in three bytes) and 516 (FLAC)."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from pipelines.benchmark.codec import CannotHold, Lossless, Packed, channel_groups
from sanstream.signal import IntSamples

_RANGE = {"212": 2**11, "516": 2**15}
_CHANNELS_PER_FLAC = 8


def _write(samples: IntSamples, fmt: str) -> Packed:
    import wfdb

    limit = _RANGE[fmt]
    if samples.min() < -limit or samples.max() >= limit:
        raise CannotHold(f"WFDB {fmt} holds {limit.bit_length()} bits")
    n = samples.shape[1]
    size = n if fmt == "212" else _CHANNELS_PER_FLAC
    names = [f"r{i}.dat" for i, g in enumerate(channel_groups(n, size)) for _ in range(g.start, g.stop)]
    with tempfile.TemporaryDirectory() as folder:
        record = wfdb.Record(
            record_name="r", n_sig=n, fs=360, sig_len=len(samples), sig_name=[f"s{i}" for i in range(n)],
            fmt=[fmt] * n, file_name=names, units=["adu"] * n, adc_gain=[1.0] * n, baseline=[0] * n,
            adc_res=[16] * n, adc_zero=[0] * n, block_size=[0] * n, d_signal=samples.astype(np.int64),
        )  # fmt: skip
        record.init_value = [int(v) for v in samples[0]]
        record.checksum = [int(s) % 65536 for s in samples.sum(axis=0, dtype=np.int64)]
        record.wrheader(write_dir=folder)
        record.wr_dat_files(write_dir=folder)
        files = {p.name: p.read_bytes() for p in Path(folder).iterdir()}
    signal = sum(len(data) for name, data in files.items() if name.endswith(".dat"))
    return Packed(files, signal, sum(map(len, files.values())))


def _read(files: dict[str, bytes]) -> IntSamples:
    import wfdb

    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        return np.asarray(wfdb.rdrecord(str(Path(folder) / "r"), physical=False).d_signal).astype(np.int32)


WFDB_212 = Lossless("WFDB 212", ("one file",), lambda samples, _: _write(samples, "212"), _read)
WFDB_516 = Lossless("WFDB 516", ("eight channels a file",), lambda samples, _: _write(samples, "516"), _read)
