"""Which channels are coded together, and which help to predict which."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sanstream.block_coding import MAX_GROUP_CHANNELS, MAX_REFERENCES, TABLES, Group
from sanstream.encode_effort import Effort

_LOOK_SAMPLES = 40_000
_LEAST_CORRELATION = 0.1
_MAX_REGRESSORS = 62 - 7


def choose_groups(samples: npt.NDArray[np.int32], effort: Effort) -> tuple[tuple[Group, ...], int]:
    """Group channels and choose references by the correlation of their differences.

    Parameters
    ----------
    samples : ndarray, shape (n_samples, n_channels)
    effort : Effort

    Returns
    -------
    groups : tuple of Group
        Groups of 16 in source order; the first is the parent of all others.
    cross : int
        Taps per reference that keep every channel within 62 regressors.
    """
    n_channels = samples.shape[1]
    strength = _correlation(samples)
    chunks = [
        tuple(range(a, min(n_channels, a + MAX_GROUP_CHANNELS))) for a in range(0, n_channels, MAX_GROUP_CHANNELS)
    ]
    groups = []
    most = 0
    for number, chunk in enumerate(chunks):
        known = chunks[0] if number else ()
        references = tuple(_references(strength, c, chunk, known, effort) for c in chunk)
        most = max(most, *(len(r) for r in references))
        groups.append(Group(chunk, 0 if number else -1, references))
    cross = min(effort.cross, (_MAX_REGRESSORS - effort.own) // most) if most else 0
    return tuple(groups), cross


def _correlation(samples: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    """Absolute correlation of first differences between channels, (n_channels, n_channels)."""
    picks = samples[:: max(1, len(samples) // 4)][:1] if len(samples) < 3 else _stretches(samples)
    d = np.diff(picks.astype(np.float64), axis=0)
    if len(d) < 2:
        return np.zeros((samples.shape[1],) * 2)
    d -= d.mean(axis=0)
    norm = np.sqrt((d * d).sum(axis=0))
    norm[norm == 0] = np.inf
    return np.asarray(np.abs((d / norm).T @ (d / norm)))


def _stretches(samples: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    if len(samples) <= _LOOK_SAMPLES:
        return samples
    starts = np.linspace(0, len(samples) - _LOOK_SAMPLES // 4, 4).astype(int)
    return np.concatenate([samples[a : a + _LOOK_SAMPLES // 4] for a in starts])


def _references(
    strength: npt.NDArray[np.float64], channel: int, chunk: tuple[int, ...], known: tuple[int, ...], effort: Effort
) -> tuple[int, ...]:
    """Best helpers of a channel: earlier ones (whose present sample is known) before later ones."""
    others = [c for c in (*known, *chunk) if c != channel and strength[channel, c] >= _LEAST_CORRELATION]
    earlier = set(known) | {c for c in chunk if c < channel}
    if effort.coder == TABLES:
        others = [c for c in others if c in earlier]
    others.sort(key=lambda c: (c not in earlier, -strength[channel, c]))
    return tuple(others[: min(effort.n_references, MAX_REFERENCES)])
