"""What no kernel can save: the bits that a changed signal's noise takes alone, at the error that the bound allows."""

from __future__ import annotations

import numpy as np

from pipelines.drift import measure
from pipelines.drift.signals import GAIN, LongSignal
from sanstream.encode_live import LiveStart, Part, encode_part, plan_live
from sanstream.quality import parse_quality
from sanstream.signal import IntSamples
from sanstream.simulate_noise import digitise


def floor(seed: int, kind: str, at_minute: int) -> measure.Row:
    """Return bits per sample of wander, muscle noise and spells alone, in the minutes of ``measure.retrained``.

    Every minute is coded with the RMSE that ``prdn=5`` or ``prdn=9`` of the whole signal comes to.
    """
    ward = measure._changed(seed, kind, at_minute)
    signal = ward.signal
    assert isinstance(signal, LongSignal)
    start_s = 60.0 * at_minute + 300 + measure.BLOCK_S * measure.TRAIN_BLOCKS
    row: measure.Row = {}
    whole = [s.samples for s in ward.stretches(start_s, 10)]
    for percent in (5, 9):
        n_bytes = n_values = 0
        for minute, x in enumerate(whole):
            noise = _noise(signal, start_s + measure.BLOCK_S * minute, len(x))
            windows = x.reshape(6, -1, x.shape[1]).astype(float)
            rms = np.sqrt(windows.var(axis=1)).mean(axis=0) * percent / 100
            qualities = tuple(parse_quality(f"rmse={v:.3f}adu", c) for v, c in zip(rms, signal.channels, strict=True))
            start = LiveStart(measure.BANK, None)
            plan = plan_live(
                noise, signal.channels, qualities, signal.rate, segment_id="0" * 16, start=start, effort="fast"
            )
            n_bytes += len(encode_part(Part(plan, 0, noise)))
            n_values += noise.size
        row[f"prdn={percent}"] = round(8 * n_bytes / n_values, 4)
    return row


def _noise(signal: LongSignal, start_s: float, n: int) -> IntSamples:
    """Return a stretch without the heart; its wander and noise are those of :meth:`LongSignal.samples`."""
    out = signal._background(start_s, n)
    for spell in signal._spells:
        if spell.start_s < start_s + n / signal.rate and spell.end_s > start_s:
            signal._disturb(out, spell, start_s)
    return digitise(out, GAIN, 1024, 0, 2047)
