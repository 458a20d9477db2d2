"""One block: its gaps, its groups one after the other, its bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from sanstream.bank import Bank
from sanstream.block import Gaps, write_block
from sanstream.block_coding import TABLES, SegmentCoding
from sanstream.encode_effort import Effort
from sanstream.encode_kernels import Activated
from sanstream.encode_run import GroupCoder
from sanstream.encode_tables import TableCoder
from sanstream.group_state import Decoded, place_of
from sanstream.quality import Quality


def find_gaps(samples: npt.NDArray[np.int32], coding: SegmentCoding) -> Gaps:
    """Find runs of the missing code per channel; ``()`` when no sample is missing."""
    gaps = []
    for c, code in enumerate(coding.missing):
        hit = samples[:, c] == code if code is not None else np.zeros(len(samples), np.bool_)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], hit, [False]]).astype(np.int8)))
        gaps.append(tuple((int(a), int(b - a)) for a, b in edges.reshape(-1, 2)))
    return tuple(gaps) if any(gaps) else ()


def encode_block(
    samples: npt.NDArray[np.int32],
    number: int,
    coding: SegmentCoding,
    bank: Bank,
    effort: Effort,
    qualities: Sequence[Quality],
    activated: Activated | None,
    allowed: npt.NDArray[np.float64] | None = None,
) -> bytes:
    """Encode one block.

    Parameters
    ----------
    samples : ndarray, shape (n_samples, n_channels), int32
    number : int
        Position of the block in its segment.
    coding, bank, effort, qualities
        As planned for the segment.
    activated : Activated or None
        Candidate activations of the first group.
    allowed : ndarray, shape (n_windows, n_channels), float64, optional
        The error that a window may have at most, whatever its quality allows: RMSE, or the largest where the quality
        bounds that, in digital steps.

    Returns
    -------
    bytes
    """
    gaps = find_gaps(samples, coding)
    done: dict[int, Decoded] = {}
    for coder in group_coders(samples, gaps, coding, bank, effort, qualities, activated, done, allowed):
        done[coder.number] = coder.code()
    return write_block(number, coding, len(samples), gaps, [done[g].run for g in range(len(coding.groups))])


def group_coders(
    samples: npt.NDArray[np.int32],
    gaps: Gaps,
    coding: SegmentCoding,
    bank: Bank,
    effort: Effort,
    qualities: Sequence[Quality],
    activated: Activated | None,
    done: dict[int, Decoded],
    allowed: npt.NDArray[np.float64] | None = None,
) -> Iterator[GroupCoder]:
    """Yield the coder of each group in turn; the caller puts what it gave into ``done`` before the next."""
    mask = np.zeros(samples.shape, np.uint8)
    for c, channel in enumerate(gaps):
        for start, length in channel:
            mask[start : start + length, c] = 1
    for group in range(len(coding.groups)):
        columns = list(place_of(coding, group).columns)
        yield (TableCoder if coding.coder == TABLES else GroupCoder)(
            coding, bank, effort, qualities, group,
            samples[:, columns].astype(np.int64), mask[:, columns], done.get(coding.groups[group].parent),
            activated if group == 0 else None, None if allowed is None else allowed[:, columns],
        )  # fmt: skip
