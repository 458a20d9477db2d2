"""Figures of every window over time: bits per sample, PRDN, phi by the rule of the drift watch, activations."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream.archive_manifest import RAW, SegmentEntry
from sanstream.archive_read import StreamReader
from sanstream.decode import decode_block, read_figures
from sanstream.drift_windows import PhiRule, bridged, phi_of, phi_rule, watched
from sanstream.errors import CorruptError
from sanstream.group_state import kernel_shapes
from sanstream.quality import PRDN, parse_quality
from sanstream.view.envelopes import Kept, scattered

FloatArray = npt.NDArray[np.float64]
COLUMNS = ("sample", "bits", "prdn", "phi", "activations")
_BYTES = 32 << 20
_BUDGET_S = 0.3


@dataclass(frozen=True)
class Figures:
    """Figures of a stretch.

    Parameters
    ----------
    columns : dict of str to ndarray, shape (n,), float64
        ``sample`` (first of the window), ``bits`` per sample of the block, ``prdn`` (per cent, of the worst channel,
        from the error that the block states and the decoded signal's deviation), ``phi`` (mean of the watched
        channels), ``activations`` of the window.
    complete : bool
        Whether every block was looked at; if not, asking again brings more.
    """

    columns: dict[str, FloatArray]
    complete: bool


class WindowsOverTime:
    """Looks at blocks; what was found is kept.

    Parameters
    ----------
    clock : callable
        Seconds; tests inject one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._kept, self._rules, self._clock = Kept(_BYTES), Kept(_BYTES), clock

    def over(self, key: Hashable, reader: StreamReader, first: int, stop: int, width: int) -> Figures:
        """Return the figures of the windows in ``[first, stop)``; of more than ``width`` blocks an even choice.

        Parameters
        ----------
        key : hashable
            What the stream is, for what is kept.
        reader : StreamReader
        first, stop : int
        width : int
        """
        blocks = [
            (entry, number)
            for entry in reader.segments_between(first, stop)
            if RAW not in entry.flags
            for number in range(
                max(0, first - entry.start_sample) // entry.coding.block_samples,
                -(-(min(stop, entry.stop_sample) - entry.start_sample) // entry.coding.block_samples),
            )
        ]
        step = -(-len(blocks) // max(1, width))
        # the same blocks whatever the stretch, so that what is kept serves the next look
        blocks = [(e, n) for e, n in blocks if step == 1 or n % _power(step) == 0]
        found: list[FloatArray] = []
        until, complete = self._clock() + _BUDGET_S, True
        for place in scattered(0, len(blocks)):
            entry, number = blocks[place]
            own = (key, number, _identity(entry))
            rows = self._kept.get(own)
            if rows is None and (not found or self._clock() < until):
                rows = self._look(key, reader, entry, number)
                self._kept.put(own, rows, rows.nbytes + 200)
            if rows is None:
                complete = False
            else:
                found.append(rows)
        table = np.concatenate(found) if found else np.zeros((0, len(COLUMNS)))
        table = table[np.argsort(table[:, 0], kind="stable")]
        return Figures({name: table[:, i] for i, name in enumerate(COLUMNS)}, complete)

    def _look(self, key: Hashable, reader: StreamReader, entry: SegmentEntry, number: int) -> FloatArray:
        """Return the figures of a block's windows, (n_windows, 5); NaN where the block does not decode."""
        coding, bank = reader.coding(entry), reader.bank(entry)
        origin = entry.start_sample + number * coding.block_samples
        try:
            payload = reader.blocks(entry, number, number + 1)[0]
            figures = read_figures(payload, number, coding, bank)
            samples = decode_block(payload, number, coding, bank)
        except CorruptError:
            return np.array([[origin, *[np.nan] * (len(COLUMNS) - 1)]])
        size = coding.window_samples
        starts = np.arange(0, len(samples), size)
        out = np.zeros((len(starts), len(COLUMNS)))
        out[:, 0] = origin + starts
        out[:, 1] = 8 * len(payload) / samples.size
        gone = np.zeros(samples.shape, bool)
        for c, channel in enumerate(entry.channels):
            if channel.missing is not None:
                gone[:, c] = samples[:, c] == channel.missing
        x = np.where(gone, np.nan, samples)
        asked = (parse_quality(q, c) for q, c in zip(entry.qualities, entry.channels, strict=True))
        promised = np.array([q.value if q.kind == PRDN else np.inf for q in asked])
        for w, start in enumerate(starts.tolist()):
            part = x[start : start + size]
            has = ~np.isnan(part).all(axis=0)
            spread = np.nanstd(part[:, has], axis=0)
            rmse = figures.rmse_adu[w][has]
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = np.where(rmse == 0, 0.0, 100 * rmse / spread)
            # errors are stored rounded up to an eighth of an octave: what was promised holds, too
            ratio = np.minimum(ratio, promised[has])
            out[w, 2] = ratio[np.isfinite(ratio)].max(initial=0.0) if has.any() else np.nan
        out[:, 3] = self._phi(key, reader, entry, samples)
        out[:, 4] = figures.n_activations
        return out

    def _phi(
        self, key: Hashable, reader: StreamReader, entry: SegmentEntry, samples: npt.NDArray[np.int32]
    ) -> FloatArray:
        """Phi of each window, mean of the watched channels; NaN for a short last window and without kernels."""
        size = entry.coding.window_samples
        out = np.full(-(-len(samples) // size), np.nan)
        n = len(samples) // size
        values = []
        for channel, rule in self._rules_of(key, reader, entry):
            windows = np.ascontiguousarray(samples[: n * size, channel]).reshape(n, size)
            values.append(phi_of(bridged(windows, entry.channels[channel]), rule))
        if values and n:
            out[:n] = np.mean(values, axis=0)
        return out

    def _rules_of(self, key: Hashable, reader: StreamReader, entry: SegmentEntry) -> list[tuple[int, PhiRule]]:
        """Return the watched channels of a segment with the kernels it was coded with."""
        own = (key, _identity(entry))
        rules: list[tuple[int, PhiRule]] | None = self._rules.get(own)
        if rules is None:
            rules = []
            for channel in watched(entry.channels):
                taps = [k for k in kernel_shapes(reader.coding(entry), reader.bank(entry), channel) if k.any()]
                if taps:
                    padded = np.zeros((len(taps), max(map(len, taps))), np.float32)
                    for row, k in zip(padded, taps, strict=True):
                        row[: len(k)] = k
                    rules.append((channel, phi_rule(padded, reader.rate, entry.coding.window_samples)))
            self._rules.put(own, rules, 1 << 20)
        return rules


def _identity(entry: SegmentEntry) -> Hashable:
    """Return what tells a segment's blocks from those of one that stood there before; its length may grow."""
    encoded = () if entry.committed_ns else (entry.samples_crc, entry.coded_bytes)
    return entry.name, entry.coding.segment_id, entry.coding.bank_base, entry.qualities, encoded


def _power(step: int) -> int:
    return 1 << (step - 1).bit_length()


def to_json(figures: Figures) -> dict[str, Any]:
    """Return JSON values: numbers of five digits, None for none."""
    out: dict[str, Any] = {"complete": figures.complete}
    for name, column in figures.columns.items():
        if name == "sample":
            out[name] = [int(v) for v in column.tolist()]
        else:
            out[name] = [float(f"{v:.5g}") if np.isfinite(v) else None for v in column.tolist()]
    return out
