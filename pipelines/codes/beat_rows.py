"""Rows of the beat detector: counts of each record, why beats were lost, and sums over records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream.serves.matching import SYMBOLS, TOLERANCE_S, Counts, counts_of, gross, paired
from sanstream.signal import Annotations

Row = dict[str, Any]
Ints = npt.NDArray[np.int64]
_LEARNING_S = 300.0
_T_WAVE_S = 0.5


@dataclass(frozen=True)
class Truth:
    """What cardiologists annotated.

    Parameters
    ----------
    sample : ndarray, int64, ascending
        Beats.
    symbol : tuple of str
        Of each beat.
    flutter : tuple of (int, int)
        Stretches of ventricular flutter, samples.
    rate_hz : float
    """

    sample: Ints
    symbol: tuple[str, ...]
    flutter: tuple[tuple[int, int], ...]
    rate_hz: float


def truth_of(annotations: Annotations, rate_hz: float, n_samples: int) -> Truth:
    """Pick the beats and the flutter out of a WFDB annotation set.

    Parameters
    ----------
    annotations : Annotations
        With columns ``sample`` and ``symbol``.
    rate_hz : float
    n_samples : int
        Where flutter ends that has no end mark.
    """
    sample = np.asarray(annotations.columns["sample"], np.int64)
    symbol = [str(s) for s in annotations.columns["symbol"]]
    beat = np.isin(symbol, SYMBOLS)
    starts = [int(s) for s, y in zip(sample, symbol, strict=True) if y == "["]
    ends = [int(s) for s, y in zip(sample, symbol, strict=True) if y == "]"]
    flutter = tuple((a, min((b for b in ends if b > a), default=n_samples)) for a in starts)
    return Truth(sample[beat], tuple(y for y, b in zip(symbol, beat, strict=True) if b), flutter, rate_hz)


def counted(detected: Ints, truth: Truth) -> dict[str, Counts]:
    """Count over the whole record, after its first five minutes, and outside flutter (EC57 leaves flutter out).

    Returns
    -------
    dict of str to Counts
        ``"all"``, ``"later"`` and ``"no flutter"``. Pairs are made once, over the whole record.
    """
    good, found = paired(detected, truth.sample, round(TOLERANCE_S * truth.rate_hz))
    start = round(_LEARNING_S * truth.rate_hz)
    own, beats = ~in_flutter(detected, truth), ~in_flutter(truth.sample, truth)
    return {
        "all": counts_of(good, found),
        "later": counts_of(good[detected >= start], found[truth.sample >= start]),
        "no flutter": counts_of(good[own], found[beats]),
    }


def in_flutter(sample: Ints, truth: Truth) -> npt.NDArray[np.bool_]:
    """Tell which samples lie in flutter."""
    out = np.zeros(len(sample), np.bool_)
    for a, b in truth.flutter:
        out |= (sample >= a) & (sample <= b)
    return out


def causes(detected: Ints, candidates: Ints, truth: Truth) -> Row:
    """Say why beats were missed and what was taken for a beat.

    Parameters
    ----------
    detected : ndarray, int64, ascending
    candidates : ndarray, int64, ascending
        All candidates, samples.
    truth : Truth

    Returns
    -------
    dict
        ``no activation``: missed beats that no activation stands for, so that the records lost them. ``judged no``: the
        other missed ones, by symbol. ``flutter``, ``after a beat`` (within half a second: T waves and late halves of
        wide beats) and ``other``: detections without a beat.
    """
    tolerance = round(TOLERANCE_S * truth.rate_hz)
    good, found = paired(detected, truth.sample, tolerance)
    _, reachable = paired(candidates, truth.sample, tolerance)
    lost = ~found & ~reachable
    names = Counter(truth.symbol[i] for i in np.flatnonzero(~found & reachable))
    extra = detected[~good]
    fluttering = in_flutter(extra, truth)
    before = np.searchsorted(truth.sample, extra, "right") - 1
    gap = extra - truth.sample[np.maximum(before, 0)] if len(truth.sample) else np.full(len(extra), 1 << 40)
    late = ~fluttering & (before >= 0) & (gap <= _T_WAVE_S * truth.rate_hz)
    return {
        "no activation": int(lost.sum()),
        "judged no": ", ".join(f"{n} {y}" for y, n in names.most_common()),
        "flutter": int(fluttering.sum()),
        "after a beat": int(late.sum()),
        "other": int((~fluttering & ~late).sum()),
    }


def record_row(name: str, source: str, counts: Counts, why: Row, bits: float) -> Row:
    """Make the row of one record."""
    return {
        "record": name,
        "records source": source,
        "bit/sample": round(bits, 4),
        "beats": counts.found + counts.missed,
        "sensitivity": round(counts.sensitivity, 5),
        "predictivity": round(counts.predictivity, 5),
        "F1": round(counts.f1, 5),
        "missed": counts.missed,
        "no activation": why["no activation"],
        "judged no": why["judged no"],
        "extra": counts.extra,
        "flutter": why["flutter"],
        "after a beat": why["after a beat"],
        "other": why["other"],
    }


def summary_row(
    source: str,
    counted_records: Iterable[dict[str, Counts]],
    *,
    bits: float | None = None,
    lost: int | None = None,
    note: str = "",
) -> Row:
    """Make the gross row of one source over records.

    Parameters
    ----------
    source : str
    counted_records : iterable of dict
        What :func:`counted` gave for each record.
    bits : float, optional
        Mean bits per sample of the records.
    lost : int, optional
        Missed beats for which there is no candidate.
    note : str
    """
    own = list(counted_records)
    sums = {part: gross(c[part] for c in own) for part in ("all", "later", "no flutter")}
    whole = sums["all"]
    return {
        "detector reads": source,
        "bit/sample": None if bits is None else round(bits, 4),
        "records": len(own),
        "beats": whole.found + whole.missed,
        "missed": whole.missed,
        "no activation": lost,
        "extra": whole.extra,
        "sensitivity": round(whole.sensitivity, 5),
        "predictivity": round(whole.predictivity, 5),
        "gross F1": round(whole.f1, 5),
        "mean F1": round(float(np.mean([c["all"].f1 for c in own])), 5) if own else None,
        "gross F1 from minute 5": round(sums["later"].f1, 5),
        "gross F1 without flutter": round(sums["no flutter"].f1, 5),
        "note": note,
    }
