"""What the watch looks at: phi by the fixed rule, and whether a window can be judged at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from scipy import fft

from sanstream._loops_pursuit import flithos_of
from sanstream.bank import Bank
from sanstream.encode_kernels import KernelChoice, from_bank
from sanstream.signal import TRIGGER, Channel

FloatArray = npt.NDArray[np.float64]

RULE_HZ = 62.5
"""Windows are averaged down to about this rate: one lead of ten seconds then takes about half a millisecond."""
PIECE_S = 5.0
"""Longer windows are pursued in equal pieces: the work grows faster than their length."""
MAX_CHANNELS = 2
_PATIENCE = 8
_STILL = 1e-2
_LEAST_TAPS = 4
_LOOK_HZ = 125.0
_MOST_MISSING = 0.1
_MOST_AT_RAIL = 0.05
_MOST_FLAT = 0.5
_PERIODS_S = (0.33, 1.7)
_STEEP, _DIRECTED = 0.25, 0.5
_LEAST_SLOPES = 16
_NOISY = 0.15
"""From this share of noise in a window's range on there is nothing to see but noise."""


@dataclass(frozen=True, eq=False)
class PhiRule:
    """Kernels made ready for windows of one length.

    Parameters
    ----------
    factor : int
        Samples averaged into one.
    n : int
        Averaged samples of a piece.
    kernels : ndarray, shape (q, 1, m), float64
    table : ndarray, shape (1, q, q, 2 m - 1), float64
        Inner products of kernels over lags.
    inverse : ndarray, shape (1, q, n), float64
        1/norm of each kernel inside a piece.
    """

    factor: int
    n: int
    kernels: FloatArray
    table: FloatArray
    inverse: FloatArray


def watched(channels: Sequence[Channel]) -> tuple[int, ...]:
    """Return the channels that stand for a stream: the first two that carry a signal."""
    return tuple(c for c, channel in enumerate(channels) if channel.kind != TRIGGER)[:MAX_CHANNELS]


def phi_rule(taps: npt.NDArray[np.float32], rate: Fraction, window_samples: int) -> PhiRule:
    """Make a rule.

    Parameters
    ----------
    taps : ndarray, shape (n_kernels, n_taps)
        Kernels at the stream's rate, any scale.
    rate : Fraction
        Samples per second.
    window_samples : int
    """
    factor = max(1, round(float(rate) / RULE_HZ))
    factor = max(1, min(factor, taps.shape[1] // _LEAST_TAPS, window_samples // _LEAST_TAPS))
    pieces = max(1, round(window_samples / float(rate) / PIECE_S))
    n = max(1, window_samples // factor // pieces)
    kernels = _averaged(taps.astype(np.float64), factor)
    kernels = kernels[np.abs(kernels).max(axis=1) > 0]
    q, m = kernels.shape
    table = np.zeros((1, q, q, 2 * m - 1))
    for i in range(q):
        for j in range(q):
            table[0, i, j] = np.correlate(kernels[i], kernels[j], "full")
    squares = np.concatenate([np.zeros((q, 1)), np.cumsum(kernels**2, axis=1)], axis=1)
    first = np.arange(n) - (m - 1) // 2
    energy = squares[:, np.clip(n - first, 0, m)] - squares[:, np.clip(-first, 0, m)]
    there = energy > 1e-6 * energy.max(axis=1, keepdims=True, initial=1e-30)
    inverse = np.where(there, 1 / np.sqrt(np.maximum(energy, 1e-30)), 0.0)
    return PhiRule(factor, n, np.ascontiguousarray(kernels[:, None]), table, inverse[None])


def bank_taps(bank: Bank, rate: Fraction) -> npt.NDArray[np.float32] | None:
    """Return a bank's kernels at a stream's rate, (n_kernels, n_taps), or None when it has none that fit."""
    found = from_bank(np.array([[0], [1024]], np.int32), rate, bank)
    return None if found is None else found[0].digital()[:, 0]


def taps_for(kernels: KernelChoice | None, row: int, bank: Bank, rate: Fraction) -> npt.NDArray[np.float32] | None:
    """Return the kernels that a stream's channel is pursued with, (n_kernels, n_taps).

    Parameters
    ----------
    kernels : KernelChoice or None
        The stream's own, where it has some; components do not count.
    row : int
        The channel's place in its group.
    bank : Bank
    rate : Fraction
    """
    if kernels is None:
        return bank_taps(bank, rate)
    digital = kernels.leading().digital()
    return digital[:, min(row, digital.shape[1] - 1)]


def phi_of(windows: npt.NDArray[np.int32], rule: PhiRule | None) -> FloatArray:
    """Give phi of windows of one channel by the fixed rule, which knows neither quality nor effort.

    Orthogonal matching pursuit with the phi stop rule (:func:`sanstream.san.pursuit.omp`), means removed,
    W left out; of a window in pieces the mean over them.

    Parameters
    ----------
    windows : ndarray, shape (B, n_samples), int32
        Missing samples already bridged.
    rule : PhiRule or None
        None where there is no kernel: phi is then 1, what an empty record reaches.

    Returns
    -------
    ndarray, shape (B,), float64
    """
    if rule is None or len(windows) == 0 or rule.kernels.shape[0] == 0:
        return np.ones(len(windows))
    low = _averaged(windows, rule.factor)
    pieces = max(1, low.shape[1] // rule.n)
    low = np.ascontiguousarray(low[:, : pieces * rule.n]).reshape(-1, rule.n)
    phi, count = np.zeros(len(low)), np.zeros(len(low), np.int64)
    flithos_of(low, rule.kernels, rule.table, rule.inverse, rule.n, _PATIENCE, _STILL, phi, count)
    return np.asarray(phi.reshape(len(windows), pieces).mean(axis=1))


def _averaged(x: npt.NDArray[np.generic], factor: int) -> FloatArray:
    n = x.shape[1] // factor
    return np.asarray(x[:, : n * factor].reshape(len(x), n, factor).mean(axis=2, dtype=np.float64))


@dataclass(frozen=True)
class Sight:
    """Windows of one channel, looked at; every array has shape (B,).

    Parameters
    ----------
    usable : ndarray of bool
        False for lead off, a flat line, a signal at its rails, mostly missing, or nothing but noise.
    noise, sway : ndarray of float64
        How loud fast noise and slow movement are, digital steps.
    reach : ndarray of float64
        Range of the signal without its slow part, digital steps.
    tempo : ndarray of float64
        Events per second of what repeats, by the autocorrelation of slopes; any number where nothing does.
    """

    usable: npt.NDArray[np.bool_]
    noise: FloatArray
    sway: FloatArray
    reach: FloatArray
    tempo: FloatArray


def look_at(windows: npt.NDArray[np.int32], channel: Channel, rate: Fraction) -> Sight:
    """Tell which windows of one channel can be judged.

    Parameters
    ----------
    windows : ndarray, shape (B, n_samples), int32
    channel : Channel
        Gives the missing code and the rails.
    rate : Fraction
    """
    n = windows.shape[1]
    gone = np.zeros(windows.shape, np.bool_) if channel.missing is None else windows == channel.missing
    railed = ((windows <= channel.digital_min) | (windows >= channel.digital_max)) & ~gone
    flat = (np.diff(windows, axis=1) == 0).mean(axis=1) if n > 1 else np.ones(len(windows))
    x = _averaged(bridged(windows, channel), max(1, round(float(rate) / _LOOK_HZ)))
    second = max(2, round(float(rate) / max(1, round(float(rate) / _LOOK_HZ))))
    noise = 1.4826 / np.sqrt(6) * np.median(np.abs(np.diff(x, n=2, axis=1)), axis=1) if n > 8 else np.zeros(len(x))
    fifth = max(1, second // 5)
    levels = _averaged(x, min(second, x.shape[1]))
    bins = np.median(x[:, : x.shape[1] // fifth * fifth].reshape(len(x), -1, fifth), axis=2)
    # most of such bins lie between beats, whatever their shape; under movement none does
    sway = np.percentile(np.abs(np.diff(bins, axis=1)), 20, axis=1) if bins.shape[1] > 2 else np.zeros(len(x))
    tempo = _tempo(windows, rate)
    sway = np.minimum(sway, _unlike_before(x, tempo, float(rate) / max(1, round(float(rate) / _LOOK_HZ)), fifth))
    steady = x[:, : levels.shape[1] * second].reshape(len(x), levels.shape[1], -1) - levels[:, :, None]
    low, high = np.percentile(steady.reshape(len(x), -1), [0.5, 99.5], axis=1)
    reach = high - low
    usable = (
        (gone.mean(axis=1) <= _MOST_MISSING)
        & (railed.mean(axis=1) <= _MOST_AT_RAIL)
        & (reach >= 8)
        & ((flat <= _MOST_FLAT) | (reach >= 64))
        & (noise <= _NOISY * reach)
    )
    return Sight(np.asarray(usable), np.asarray(noise), np.asarray(sway), np.asarray(reach), tempo)


def _unlike_before(x: FloatArray, tempo: FloatArray, rate_hz: float, width: int) -> FloatArray:
    """Give the median of how far a signal, smoothed, is from itself one event before.

    Between broad beats that come fast there is no quiet stretch, but they repeat; movement does not.

    Parameters
    ----------
    x : ndarray, shape (B, n)
    tempo : ndarray, shape (B,)
        Events per second; 0 for unknown.
    rate_hz : float
        Of ``x``.
    width : int
        Samples that are averaged.

    Returns
    -------
    ndarray, shape (B,)
        Infinite where nothing repeats.
    """
    sums = np.cumsum(np.pad(x, ((0, 0), (1, 0))), axis=1)
    level = (sums[:, width:] - sums[:, :-width]) / width
    out = np.full(len(x), np.inf)
    for row, events in enumerate(tempo):
        lag = round(rate_hz / events) if events > 0 else 0
        if 0 < lag < level.shape[1] // 2:
            out[row] = np.median(np.abs(level[row, lag:] - level[row, :-lag]))
    return out


def _tempo(windows: npt.NDArray[np.int32], rate: Fraction) -> FloatArray:
    factor = max(1, round(float(rate) / RULE_HZ))
    slope = np.abs(np.diff(_averaged(windows, factor), axis=1))
    low, high = (max(1, round(float(rate) / factor * s)) for s in _PERIODS_S)
    if slope.shape[1] <= high:
        return np.zeros(len(windows))
    slope -= slope.mean(axis=1, keepdims=True)
    spectrum = fft.rfft(slope, fft.next_fast_len(2 * slope.shape[1], real=True), axis=1)
    likeness = fft.irfft(spectrum.real**2 + spectrum.imag**2, axis=1)[:, low : high + 1]
    return np.asarray(float(rate) / factor / (low + likeness.argmax(axis=1)))


def loops_of(windows: Sequence[npt.NDArray[np.int32]], channels: Sequence[Channel], rate: Fraction) -> FloatArray:
    """Give the loop that two channels draw in their plane: its axis and how round it is.

    From the second moments of slopes, of the steepest samples of a window alone; of an ECG, of its QRS complexes.

    Parameters
    ----------
    windows : sequence of 2 ndarrays, shape (B, n_samples), int32
        Missing samples already bridged.
    channels : sequence of 2 Channel
        Give the gains.
    rate : Fraction

    Returns
    -------
    ndarray, shape (B, 2), float64
        Degrees within -90 and 90, and width over length; NaN where units differ or slopes have no direction.
    """
    if channels[0].unit != channels[1].unit or windows[0].shape[1] < _LEAST_SLOPES:
        return np.full((len(windows[0]), 2), np.nan)
    factor = max(1, round(float(rate) / _LOOK_HZ))
    slopes = np.stack([_averaged(w, factor) / (c.gain or 1.0) for w, c in zip(windows, channels, strict=True)])
    slopes = slopes[:, :, 2:] - slopes[:, :, :-2]
    energy = (slopes**2).sum(axis=0)
    steep = energy > _STEEP * np.quantile(energy, 0.995, axis=1, keepdims=True)
    a, b = ((slopes[c] ** 2 * steep).sum(axis=1) for c in (0, 1))
    both = (slopes[0] * slopes[1] * steep).sum(axis=1)
    across = np.hypot(a - b, 2 * both)
    axis = 0.5 * np.degrees(np.arctan2(2 * both, a - b))
    roundness = np.sqrt(np.maximum(a + b - across, 0) / np.maximum(a + b + across, 1e-30))
    loops = np.stack([axis, roundness], axis=1)
    return np.where((across > _DIRECTED * (a + b))[:, None], loops, np.nan)


def bridged(windows: npt.NDArray[np.int32], channel: Channel) -> npt.NDArray[np.int32]:
    """Return windows with missing samples replaced by the line between their neighbours."""
    if channel.missing is None or not (gone := windows == channel.missing).any():
        return windows
    out = windows.copy()
    for row, hole in zip(out, gone, strict=True):
        if hole.any():
            at = np.flatnonzero(~hole)
            row[hole] = np.interp(np.flatnonzero(hole), at, row[at]) if len(at) else 0
    return out
