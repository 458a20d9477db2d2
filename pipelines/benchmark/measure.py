"""What a reconstruction lost: all three PRD variants and the largest error, the worst channel of each."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.benchmark.cases import is_lossy
from sanstream.signal import Channel, Segment

Floats = npt.NDArray[np.float64]
CENTRE = 1024
"""Zero of the ADC that PRD_1024 takes off; given only for channels that have it."""


def present(segment: Segment, place: int) -> npt.NDArray[np.bool_]:
    """Tell which samples of a channel are there."""
    return np.asarray(segment.samples[:, place] != segment.channels[place].missing)


def signal(segment: Segment, place: int) -> Floats:
    """Return a channel's samples as floats, missing ones left out."""
    return np.asarray(segment.samples[present(segment, place), place], dtype=np.float64)


def rmse_bound(segment: Segment, place: int, percent: float) -> float:
    """RMSE of a channel at which its PRDN over the record is ``percent``; 0 where nothing may be lost."""
    x = signal(segment, place)
    if len(x) == 0 or not is_lossy(segment.channels[place], x):
        return 0.0
    return percent / 100 * float(x.std())


def losses(x: Floats, y: Floats, channel: Channel) -> dict[str, float]:
    """Compare one channel with its reconstruction.

    Parameters
    ----------
    x, y : ndarray, shape (n_samples,), float64
    channel : Channel
        PRD_1024 is given when its zero is 1024.
    """
    whole = np.round(y)
    error = float(np.sqrt(min(np.sum((x - y) ** 2), np.sum((x - whole) ** 2))))
    norms = {"prdn": x - x.mean(), "prd_raw": x}
    if channel.baseline == CENTRE:
        norms["prd_1024"] = x - CENTRE
    out = {k: 100 * error / float(np.linalg.norm(v)) if error else 0.0 for k, v in norms.items()}
    return out | {"max_error": float(np.abs(x - whole).max(initial=0))}


def worst(found: list[dict[str, float]]) -> dict[str, Any]:
    """Join channels: the greatest of each figure."""
    names = dict.fromkeys(name for f in found for name in f)
    return {name: max(f[name] for f in found if name in f) for name in names}
