"""Waveforms as the benchmark hands them over: from a WFDB record, or made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def load(record: Path) -> dict[str, dict[str, Any]]:
    """Read a single-segment WFDB record.

    Parameters
    ----------
    record : Path
        Without extension.

    Returns
    -------
    dict
        By signal name ``units``, ``samples_per_second`` and ``chunks``: dicts with ``start_time``, ``end_time``
        (seconds), ``start_sample``, ``end_sample``, ``gain`` and ``samples`` (float32, NaN where missing).
    """
    import wfdb

    read = wfdb.rdrecord(str(record), return_res=32, smooth_frames=False)
    out = {}
    for i, name in enumerate(read.sig_name):
        per_frame = read.samps_per_frame[i]
        chunk = _chunk(0, read.sig_len * per_frame, read.fs * per_frame, read.adc_gain[i], read.e_p_signal[i])
        chunk["end_time"] = read.sig_len / read.fs
        out[name] = {"units": read.units[i], "samples_per_second": read.fs * per_frame, "chunks": [chunk]}
    return out


def _chunk(start: int, stop: int, rate: float, gain: float, samples: Any) -> dict[str, Any]:
    return {
        "start_time": start / rate,
        "end_time": stop / rate,
        "start_sample": start,
        "end_sample": stop,
        "gain": gain,
        "samples": np.asarray(samples, np.float32),
    }


def made_up(seconds: float, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Make four signals of two rates: gaps as NaN and as time without a chunk, and a gain that changes.

    Returns
    -------
    dict
        As of :func:`load`.
    """
    rng = np.random.default_rng(seed)
    n = int(seconds * 250)
    time_s = np.arange(n) / 250
    beats = np.exp(-((time_s % 0.8 - 0.4) ** 2) / 0.0006) + 0.2 * np.sin(time_s)
    out: dict[str, dict[str, Any]] = {}
    for name, gain in (("II", 200.0), ("V", 409.6)):
        digital = np.rint(beats * gain + 4 * np.cumsum(rng.normal(size=n)) / 250**0.5)
        samples = (digital / gain).astype(np.float32)
        samples[n // 3 : n // 3 + 77] = np.nan
        out[name] = {"units": "mV", "samples_per_second": 250, "chunks": [_chunk(0, n, 250, gain, samples)]}
    cuts = (0, int(0.4 * n // 2), int(0.55 * n // 2), n // 2)
    pulse = np.rint(900 * np.sin(np.arange(n // 2) / 15) + rng.normal(size=n // 2) * 3)
    parts = [
        _chunk(cuts[0], cuts[1], 125, 1023.0, pulse[cuts[0] : cuts[1]] / 1023),
        _chunk(cuts[2], cuts[3], 125, 511.5, pulse[cuts[2] : cuts[3]] / 511.5),
    ]
    out["Pleth"] = {"units": "NU", "samples_per_second": 125, "chunks": parts}
    floats = rng.normal(size=n // 2).astype(np.float32)
    out["Float"] = {"units": "V", "samples_per_second": 125, "chunks": [_chunk(0, n // 2, 125, 1000.0, floats)]}
    return out


def plain(waveforms: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the signals that are integers of one gain: what formats of 16 bits and one gain can hold."""
    return {
        name: waveform
        for name, waveform in waveforms.items()
        if name != "Float" and len({c["gain"] for c in waveform["chunks"]}) == 1
    }
