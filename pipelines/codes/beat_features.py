"""What tells a beat from a T wave or noise: features of candidates, all ratios within the recording."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.codes.beat_candidates import (
    MERGED_S,
    Events,
    Floats,
    Ints,
    centres,
    events_of,
    gathered,
    peaks,
    typical_peak,
)
from pipelines.codes.beat_records import Records

Features = npt.NDArray[np.float32]
REFRACTORY_S = 0.2
_NEIGHBOURS = 4
_SPANS_S = ((0.08, 0.25), (0.25, 0.42), (0.42, 0.7), (0.7, 1.1))
_LIKE, _COMPARED = 25, 2500
_TOP = 0.6
"""Candidates from this share of the local level on stand for the recording's beats."""


@dataclass(frozen=True)
class Candidates:
    """Candidate beats of one recording, by time.

    Parameters
    ----------
    time : ndarray, shape (n,), float64
        Samples.
    strength : ndarray, shape (n,), float64
        Of a QRS complex, over both leads; 1 is the recording's usual beat on one lead.
    shared : ndarray, shape (n, n_features), float32
        Features of both leads together, and of the neighbours.
    leads : ndarray, shape (n, 2, 3), float32
        Features of each lead.
    signature : ndarray, shape (n, n_kernels * n_channels), float64
        Which kernels fired, how strongly, on which lead.
    rate_hz : float
    """

    time: Floats
    strength: Floats
    shared: Features
    leads: Features
    signature: Floats
    rate_hz: float

    def inputs(self, *, swapped: bool = False) -> Features:
        """Return all features, (n, n_inputs), the two leads in either order."""
        own = self.leads[:, ::-1] if swapped else self.leads
        return np.concatenate([self.shared, own.reshape(len(own), -1)], axis=1)


def _log(x: Floats) -> Floats:
    """Logarithm of a ratio, kept in a range; nothing over nothing counts as nothing."""
    return np.asarray(np.log(np.clip(np.nan_to_num(x, nan=0.0, posinf=50.0), 1e-3, 50.0)))


def _norm(energy: Floats) -> Floats:
    return np.asarray(np.sqrt(energy.sum(axis=1)))


def candidates_of(records: Records) -> Candidates:
    """Turn activations into candidate beats with features.

    Raises
    ------
    ValueError
        When the records are not of two channels.
    """
    if records.amplitude.shape[1] != 2:
        raise ValueError(f"records of {records.amplitude.shape[1]} channels; the detector takes two leads")
    rate, events = records.rate_hz, events_of(records)
    scale = [max(typical_peak(events.time, events.sharp[:, c], rate)[1], 1e-9) for c in range(2)]
    sharp, slow = (events.sharp / scale) ** 2, (events.slow / scale) ** 2
    reach = MERGED_S * rate
    whole = gathered(events.time, sharp, reach)
    chosen = peaks(events.time, whole.sum(axis=1), reach)
    time = centres(events.time, sharp.sum(axis=1), chosen, reach)
    order = np.argsort(time, kind="stable")
    chosen, time = chosen[order], time[order]
    with np.errstate(divide="ignore", invalid="ignore"):
        return _described(events, sharp, slow, chosen, time, rate)


def _described(events: Events, sharp: Floats, slow: Floats, chosen: Ints, time: Floats, rate: float) -> Candidates:
    def spread(energy: Floats, seconds: float) -> Floats:
        return gathered(events.time, energy, seconds * rate)[chosen]

    each, low = np.sqrt(spread(sharp, MERGED_S)), np.sqrt(spread(slow, MERGED_S))
    strength, slowness = _norm(each**2), _norm(low**2)
    local, usual = typical_peak(time, strength, rate)
    local_each = np.stack([typical_peak(time, each[:, c], rate)[0] for c in range(2)], axis=1)
    level, blunt = _log(strength / local), _log(slowness / strength)
    top = level > np.log(_TOP)
    columns = [
        level,
        _log(strength / usual),
        _log(slowness / typical_peak(time, slowness, rate)[0]),
        _log(_norm(spread(sharp, 0.056)) / strength),
        _log(_norm(spread(sharp, 0.2)) / strength),
        _log(_norm(spread(slow, 0.28)) / slowness),
        blunt,
        blunt - (np.median(blunt[top]) if top.any() else 0.0),
        *_neighbours(time, level, rate),
        *_of_kernels(events.kernel[chosen], level, top),
    ]
    noise = np.stack([_running_median(time, each[:, c], rate) for c in range(2)], axis=1) / local_each
    leads = np.stack([_log(each / local_each), _log(noise), _log(low / each)], axis=2)
    shared = np.clip(np.nan_to_num(np.stack(columns, axis=1)), -9, 9)
    signature = _signature(events, sharp, chosen, time, rate) / np.maximum(local, 1e-9)[:, None]
    return Candidates(time, strength, shared.astype(np.float32), leads.astype(np.float32), signature, rate)


def _neighbours(time: Floats, level: Floats, rate: float) -> list[Floats]:
    """How near the neighbours are and how strong beside the candidate; the strongest in spans before and after."""
    n, out = len(time), []
    for step in range(1, _NEIGHBOURS + 1):
        for other in (np.arange(n) - step, np.arange(n) + step):
            there = (other >= 0) & (other < n)
            at = np.clip(other, 0, max(n - 1, 0))
            out.append(np.where(there, np.minimum(np.abs(time[at] - time) / rate, 3.0), 3.0))
            out.append(np.where(there, level[at] - level, -3.0))
    for near, far in _SPANS_S:
        for a, b in ((-far, -near), (near, far)):
            low, high = np.searchsorted(time, time + a * rate), np.searchsorted(time, time + b * rate)
            tallest = [level[p:q].max() if q > p else -4.0 for p, q in zip(low, high, strict=True)]
            out.append(np.array(tallest) - level)
    return out


def _of_kernels(kernel: Ints, level: Floats, top: npt.NDArray[np.bool_]) -> list[Floats]:
    """How strong candidates of the same main kernel are in the median, and its share of the strong ones."""
    usual, share = np.zeros(len(kernel)), np.zeros(len(kernel))
    for k in np.unique(kernel):
        mine = kernel == k
        usual[mine] = np.median(level[mine])
        share[mine] = mine[top].mean() if top.any() else 0.0
    return [usual, share]


def _running_median(time: Floats, strength: Floats, rate: float) -> Floats:
    """Median of all candidates within ten seconds, taken every four seconds: the noise, mostly."""
    if not len(time):
        return np.zeros(0)
    grid = np.arange(0.0, time.max() + 8 * rate, 4 * rate)
    low, high = np.searchsorted(time, grid - 10 * rate), np.searchsorted(time, grid + 10 * rate)
    middle = np.array([np.median(strength[a:b]) if b > a else np.nan for a, b in zip(low, high, strict=True)])
    middle = np.where(np.isnan(middle), np.nanmedian(middle), middle)
    return np.asarray(middle[np.clip(np.round(time / (4 * rate)).astype(np.int64), 0, len(grid) - 1)])


def _signature(events: Events, sharp: Floats, chosen: Ints, time: Floats, rate: float) -> Floats:
    n_kernels = int(events.kernel.max(initial=0)) + 1
    out = np.zeros((len(chosen), n_kernels * 2))
    reach, rows = 0.15 * rate, np.arange(len(chosen))
    for step in range(-6, 7):
        at = np.clip(chosen + step, 0, len(events.time) - 1)
        distance = np.abs(events.time[at] - time)
        there = (at == chosen + step) & (distance < reach)
        weight = np.where(there, np.cos(np.pi / 2 * distance / reach) ** 2, 0.0)
        for c in range(2):
            np.add.at(out, (rows, events.kernel[at] * 2 + c), weight * sharp[at, c])
    return np.asarray(np.sqrt(out))


def in_context(candidates: Candidates, logit: Floats) -> Features:
    """Describe candidates by what a first judgement said of their neighbours, of the rhythm, and of those like them.

    Parameters
    ----------
    candidates : Candidates
    logit : ndarray, shape (n,), float64
        First judgement.
    """
    n, time = len(logit), candidates.time
    logit = np.clip(logit, -8, 8)
    columns = [logit]
    for step in range(1, _NEIGHBOURS + 1):
        columns += [logit[np.clip(np.arange(n) + s, 0, max(n - 1, 0))] for s in (-step, step)]
    beats = settled(candidates, logit, 0.0)
    columns += _rhythm(time, time[beats] if len(beats) > 10 else time, candidates.rate_hz)
    columns.append(np.isin(np.arange(n), beats).astype(np.float64))
    columns += _alike(candidates, logit)
    return np.nan_to_num(np.stack(columns, axis=1)).astype(np.float32)


def _rhythm(time: Floats, beats: Floats, rate: float) -> list[Floats]:
    """Gaps to the beats before and after, in median beats of the surroundings and in seconds."""
    if len(beats) < 2:
        return [np.zeros(len(time))] * 7
    gap = np.diff(beats, append=2 * beats[-1] - beats[-2])
    around = [gap[max(0, i - 8) : i + 9] for i in range(len(beats))]
    usual = np.array([np.median(g) for g in around])
    uneven = np.array([np.median(np.abs(g / u - 1)) for g, u in zip(around, usual, strict=True)])
    before, after = np.searchsorted(beats, time - 1), np.searchsorted(beats, time + 1)
    last = len(beats) - 1
    far = 2.8 * rate
    past = np.where(before > 0, time - beats[np.clip(before - 1, 0, last)], far)
    future = np.where(after <= last, beats[np.clip(after, 0, last)] - time, far)
    own = usual[np.clip(before, 0, last)]
    ratios = [np.minimum(past / own, 4), np.minimum(future / own, 4), np.minimum((past + future) / own, 6)]
    seconds = [np.minimum(past, far) / rate, np.minimum(future, far) / rate, own / rate]
    return [*ratios, *seconds, uneven[np.clip(before, 0, last)]]


def _alike(candidates: Candidates, logit: Floats) -> list[Floats]:
    """Mean judgement of the candidates elsewhere of most similar signature, and how similar they are."""
    n, own = len(logit), candidates.signature
    some = np.arange(0, n, max(1, n // _COMPARED))
    if len(some) <= _LIKE:
        return [logit, np.zeros(n)]
    there = own[some]
    squares = (there**2).sum(axis=1)
    judged, distance = np.zeros(n), np.zeros(n)
    for a in range(0, n, 1000):
        part = own[a : a + 1000]
        far = (part**2).sum(axis=1)[:, None] + squares - 2 * part @ there.T
        far[np.abs(candidates.time[a : a + 1000, None] - candidates.time[some]) < MERGED_S * candidates.rate_hz] = 1e9
        near = np.argpartition(far, _LIKE, axis=1)[:, :_LIKE]
        judged[a : a + 1000] = logit[some][near].mean(axis=1)
        distance[a : a + 1000] = np.sqrt(np.maximum(np.take_along_axis(far, near, axis=1).mean(axis=1), 0.0))
    return [judged, distance]


def settled(candidates: Candidates, logit: Floats, least: float) -> Ints:
    """Choose candidates of a logit of ``least`` or more, surest first, none within 200 ms of another; ascending."""
    time, reach = candidates.time, REFRACTORY_S * candidates.rate_hz
    dead, kept = np.zeros(len(time), np.bool_), []
    for i in np.argsort(-logit, kind="stable"):
        if logit[i] < least:
            break
        if not dead[i]:
            kept.append(i)
            dead[np.searchsorted(time, time[i] - reach, "right") : np.searchsorted(time, time[i] + reach)] = True
    return np.sort(np.array(kept, np.int64))
