"""Which channels are coded together, and which help to predict which."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sanstream.block_coding import MAX_GROUP_CHANNELS, MAX_REFERENCES, Group

_LOOK_SAMPLES = 40_000
_LEAST_CORRELATION = 0.1
_MAX_REGRESSORS = 62 - 7


def choose_groups(
    samples: npt.NDArray[np.int32],
    own: int,
    cross: int,
    n_references: int,
    *,
    only_earlier: bool = False,
    reorder: bool = False,
) -> tuple[tuple[Group, ...], int]:
    """Group channels and choose references by the correlation of their differences.

    Parameters
    ----------
    samples : ndarray, shape (n_samples, n_channels)
    own, cross, n_references : int
        Own taps, most taps per reference, most references per channel.
    only_earlier : bool
        Let a channel lean on channels coded before it alone, as coder tables does.
    reorder : bool
        Order the channels of a single group by what they tell, instead of leaving them as they stand.

    Returns
    -------
    groups : tuple of Group
        Groups of 16; the first, which tells most about all channels, is the parent of all others.
    cross : int
        Taps per reference that keep every channel within 62 regressors.
    """
    covariance = _covariance(samples)
    norm = np.sqrt(np.diag(covariance))
    norm[norm == 0] = np.inf
    strength = np.abs(covariance / norm[:, None] / norm[None, :])
    chunks = _chunks(covariance, strength, reorder)
    groups = []
    most = 0
    for number, chunk in enumerate(chunks):
        known = chunks[0] if number else ()
        references = tuple(
            _references(strength, c, known + chunk[:i], () if only_earlier else chunk[i + 1 :], n_references)
            for i, c in enumerate(chunk)
        )
        most = max(most, *(len(r) for r in references))
        groups.append(Group(chunk, 0 if number else -1, references))
    cross = min(cross, (_MAX_REGRESSORS - own) // most) if most else 0
    return tuple(groups), cross


def _chunks(
    covariance: npt.NDArray[np.float64], strength: npt.NDArray[np.float64], reorder: bool
) -> list[tuple[int, ...]]:
    """Split channels into groups of 16: first those that tell most about all, then neighbours with neighbours."""
    n = len(covariance)
    if n <= 2 or (n <= MAX_GROUP_CHANNELS and not reorder):
        return [tuple(range(n))]
    telling = _telling(covariance, min(n, MAX_GROUP_CHANNELS))
    chunks = [tuple(telling)]
    left = [c for c in range(n) if c not in set(telling)]
    while left:
        chunk = [max(left, key=lambda c: (strength[c, left].sum(), -c))]
        left.remove(chunk[0])
        while left and len(chunk) < MAX_GROUP_CHANNELS:
            nearest = strength[np.ix_(left, chunk)].max(axis=1)
            chunk.append(left.pop(int(nearest.argmax())))
        chunks.append(tuple(chunk))
    return chunks


def _telling(covariance: npt.NDArray[np.float64], count: int) -> list[int]:
    """Channels in the order in which each explains most variance of all that those before left over."""
    rest = covariance.copy()
    floor = 1e-9 * max(float(np.diag(covariance).max(initial=0)), 1e-9)
    out: list[int] = []
    for _ in range(count):
        own = np.diag(rest)
        gain = np.where(own > floor, (rest * rest).sum(axis=0) / np.maximum(own, floor), 0.0)
        gain[out] = -1.0
        best = int(gain.argmax())
        out.append(best)
        if own[best] > floor:
            rest = rest - np.outer(rest[:, best], rest[best]) / own[best]
    return out


def _covariance(samples: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    """Covariance of first differences between channels, (n_channels, n_channels)."""
    picks = samples[:: max(1, len(samples) // 4)][:1] if len(samples) < 3 else _stretches(samples)
    d = np.diff(picks.astype(np.float64), axis=0)
    if len(d) < 2:
        return np.zeros((samples.shape[1],) * 2)
    d -= d.mean(axis=0)
    return np.asarray(d.T @ d / len(d))


def _stretches(samples: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    if len(samples) <= _LOOK_SAMPLES:
        return samples
    starts = np.linspace(0, len(samples) - _LOOK_SAMPLES // 4, 4).astype(int)
    return np.concatenate([samples[a : a + _LOOK_SAMPLES // 4] for a in starts])


def _references(
    strength: npt.NDArray[np.float64], channel: int, earlier: tuple[int, ...], later: tuple[int, ...], limit: int
) -> tuple[int, ...]:
    """Best helpers of a channel: earlier ones (whose present sample is known) before later ones."""
    out: list[int] = []
    for others in (earlier, later):
        near = [c for c in others if strength[channel, c] >= _LEAST_CORRELATION]
        out += sorted(near, key=lambda c: -strength[channel, c])
    return tuple(out[: min(limit, MAX_REFERENCES)])
