"""Places where a beat may be: what each kernel holds of a QRS complex, put where the records put the kernel.

A kernel is looked at once: where its taps are steep as a QRS complex is, and how steep. An activation then says,
without any sample being decoded, that steepness of a known strength stands at a known place. Squares of neighbouring
activations are added, so a complex that took several of them is one candidate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.codes.beat_records import Records

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_SHARP_S, _SLOW_S = 0.010, 0.040
"""Widths of the derivatives of Gaussians that stand for a QRS complex (16 Hz) and for a T wave (4 Hz)."""
_SHARP_REACH_S, _SLOW_REACH_S = 0.067, 0.133
_LEAST_SHARE = 0.2
"""A second place in a kernel counts from this share of the first one's energy on: long kernels may hold two beats."""
APART_S = 0.15
MERGED_S = 0.11


@dataclass(frozen=True)
class Events:
    """Steep places that the activations put down, by time; those of no strength are left out.

    Parameters
    ----------
    time : ndarray, shape (n,), float64
        Samples.
    sharp, slow : ndarray, shape (n, n_channels), float64
        Strengths in digital steps per sample, from the amplitude and the kernel: of a QRS complex and of a T wave.
    kernel : ndarray, shape (n,), int64
    """

    time: Floats
    sharp: Floats
    slow: Floats
    kernel: Ints


def steep_places(taps: Floats, rate_hz: float) -> list[list[tuple[int, Floats, Floats]]]:
    """Find where each kernel is steep.

    Parameters
    ----------
    taps : ndarray, shape (n_kernels, n_channels, n_taps), float64
    rate_hz : float

    Returns
    -------
    list of list of (offset, sharp, slow)
        For each kernel one or more places, the steepest first: samples after the first tap, and root mean square slopes
        of each channel about it, shape (n_channels,), at both widths.
    """
    margin = round(0.22 * rate_hz)
    padded = np.pad(taps, ((0, 0), (0, 0), (margin, margin)))
    sharp = _slope_energy(padded, _SHARP_S * rate_hz, round(_SHARP_REACH_S * rate_hz))
    slow = _slope_energy(padded, _SLOW_S * rate_hz, round(_SLOW_REACH_S * rate_hz))
    apart = round(APART_S * rate_hz)
    out = []
    for own_sharp, own_slow in zip(sharp, slow, strict=True):
        left = own_sharp.sum(axis=0)
        least, places = _LEAST_SHARE * float(left.max(initial=0.0)), []
        while left.max(initial=0.0) > least:
            p = int(left.argmax())
            places.append((p - margin, np.sqrt(own_sharp[:, p]), np.sqrt(own_slow[:, p])))
            left[max(0, p - apart) : p + apart + 1] = 0.0
        out.append(places)
    return out


def _slope_energy(taps: Floats, width: float, reach: int) -> Floats:
    """Squares of the taps' smoothed slope, averaged under a Hann window of ``reach`` samples to both sides."""
    at = np.arange(-round(4 * width), round(4 * width) + 1)
    slope = np.asarray(-at * np.exp(-0.5 * (at / width) ** 2), np.float64)
    slope = slope / np.abs(slope).sum()
    window = np.hanning(2 * reach + 1)
    window /= window.sum()
    out = np.zeros_like(taps)
    for k, c in np.ndindex(*taps.shape[:2]):
        steep = np.convolve(taps[k, c], slope, "same")
        out[k, c] = np.convolve(steep**2, window, "same")
    return out


def events_of(records: Records) -> Events:
    """Put every kernel's steep places where its activations are."""
    time, sharp, slow, kernel = [], [], [], []
    for k, places in enumerate(steep_places(records.taps, records.rate_hz)):
        mine = np.flatnonzero(records.kernel == k)
        size = np.abs(records.amplitude[mine])
        for offset, own_sharp, own_slow in places:
            time.append(records.index[mine] + float(offset))
            sharp.append(size * own_sharp)
            slow.append(size * own_slow)
            kernel.append(np.full(len(mine), k, np.int64))
    n_channels = records.amplitude.shape[1]
    joined = np.concatenate([*time, np.zeros(0)])
    strength = np.concatenate([*sharp, np.zeros((0, n_channels))])
    order = np.argsort(joined, kind="stable")
    order = order[strength[order].sum(axis=1) > 0]
    return Events(
        joined[order],
        strength[order],
        np.concatenate([*slow, np.zeros((0, n_channels))])[order],
        np.concatenate([*kernel, np.zeros(0, np.int64)])[order],
    )


def gathered(time: Floats, energy: Floats, reach: float) -> Floats:
    """Add neighbours' energies under a raised cosine.

    Parameters
    ----------
    time : ndarray, shape (n,), float64, ascending
    energy : ndarray, shape (n, n_channels), float64
    reach : float
        Samples at which the weight has fallen to 0.
    """
    out = energy.copy()
    for step in range(1, len(time)):
        distance = time[step:] - time[:-step]
        if not bool((distance < reach).any()):
            break
        weight = np.where(distance < reach, np.cos(np.pi / 2 * np.minimum(distance / reach, 1)) ** 2, 0.0)[:, None]
        out[step:] += weight * energy[:-step]
        out[:-step] += weight * energy[step:]
    return out


def peaks(time: Floats, energy: Floats, reach: float) -> Ints:
    """Choose events of most gathered energy, none within ``reach`` samples of another; ascending."""
    low, high = np.searchsorted(time, time - reach), np.searchsorted(time, time + reach, "right")
    dead, kept = np.zeros(len(time), np.bool_), []
    for i in np.argsort(-energy, kind="stable"):
        if not dead[i]:
            kept.append(i)
            dead[low[i] : high[i]] = True
    return np.sort(np.array(kept, np.int64))


def centres(time: Floats, energy: Floats, chosen: Ints, reach: float) -> Floats:
    """Return the mean time of each chosen event's surroundings, by energy."""
    out = np.zeros(len(chosen))
    for n, i in enumerate(chosen):
        a, b = np.searchsorted(time, (time[i] - reach, time[i] + reach))
        weight = energy[a:b] * np.cos(np.pi / 2 * (time[a:b] - time[i]) / (reach + 1)) ** 2
        out[n] = float((weight * time[a:b]).sum() / weight.sum())
    return out


def typical_peak(time: Floats, strength: Floats, rate_hz: float, *, around_s: float = 9.0) -> tuple[Floats, float]:
    """Give how strong beats are, near each candidate and in all.

    Returns
    -------
    local : ndarray, shape (n,), float64
        Median, over ``around_s`` seconds to both sides, of the strongest of every two seconds; at least a tenth of the
        second figure.
    whole : float
        The same over the recording, stretches without any left out; 0 when nothing has strength.
    """
    if not bool((strength > 0).any()):
        return np.zeros(len(time)), 0.0
    place = np.maximum(time // (2 * rate_hz), 0).astype(np.int64)
    top = np.zeros(int(place.max()) + 1)
    np.maximum.at(top, place, strength)
    side = round(around_s / 2)
    local = np.array([np.median(top[max(0, i - side) : i + side + 1]) for i in range(len(top))])
    whole = float(np.median(top[top > 0]))
    return np.maximum(local, 0.1 * whole)[place], whole
