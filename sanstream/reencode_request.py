"""What is asked of a re-encoding, and whether a segment's source can give it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sanstream.archive_manifest import SegmentEntry
from sanstream.errors import InputError
from sanstream.quality import BITS, LOSSLESS, MAX_ERROR, PRDN, RMSE, SPARSE, Quality, asked_of, parse_quality
from sanstream.signal import Channel

RETRAIN = "retrain"
DEFAULT_EFFORT = "default"
"""Of what is encoded where none is asked."""
_REACHED = {PRDN: 1, RMSE: 2, MAX_ERROR: 3}
"""Place among the manifest's figures of what bounds a kind of quality from below."""


@dataclass(frozen=True)
class Request:
    """What is asked.

    Parameters
    ----------
    qualities : tuple of str
        As :func:`~sanstream.quality.choose_qualities` takes them; channels that none names keep what they have.
    effort : str or None
        None: ``"default"`` where something is encoded.
    bank : str or None
        A bank's SHA-256, ``"retrain"``, or None for the bank that the source's segment has.
    join : bool
        Make one segment of consecutive ones that only a day's end, a size, a bank or a short gap divides.
    between : (int, int) or None
        Only segments that begin in this time, nanoseconds since 1970.
    shard_s : float or None
        Seconds of a full shard; None: an hour at most.
    """

    qualities: tuple[str, ...] = ()
    effort: str | None = None
    bank: str | None = None
    join: bool = False
    between: tuple[int, int] | None = None
    shard_s: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return what a manifest keeps of it."""
        return {"quality": list(self.qualities), "effort": self.effort, "bank": self.bank}


def stored_qualities(entry: SegmentEntry) -> tuple[Quality, ...]:
    """Return the qualities that a segment was stored under."""
    return tuple(parse_quality(text, c) for text, c in zip(entry.qualities, entry.channels, strict=True))


def wanted_texts(request: Request, entry: SegmentEntry) -> tuple[str, ...]:
    """Return per channel the quality wanted, as written."""
    return tuple(asked_of(request.qualities, entry.channels, entry.qualities))


def wanted_qualities(texts: Sequence[str], channels: Sequence[Channel]) -> tuple[Quality, ...]:
    """Parse what :func:`wanted_texts` gave."""
    return tuple(parse_quality(text, c) for text, c in zip(texts, channels, strict=True))


def same(a: Quality, b: Quality) -> bool:
    """Tell whether two qualities allow the same."""
    return (a.kind, a.value) == (b.kind, b.value)


def implies(held: Quality, wanted: Quality) -> bool:
    """Tell whether whatever keeps the first quality keeps the second."""
    if held.kind == LOSSLESS or wanted.kind == SPARSE:
        return True
    if held.kind == MAX_ERROR and wanted.kind == RMSE:
        return held.value <= wanted.value
    return held.kind == wanted.kind and held.value <= wanted.value


def is_lossy(entry: SegmentEntry) -> bool:
    """Tell whether a segment may have lost something, at its own encoding or before."""
    return bool(entry.original) or any(q.kind != LOSSLESS for q in stored_qualities(entry))


def is_moved(request: Request, entry: SegmentEntry) -> bool:
    """Tell whether a segment's blocks are carried over as they are.

    They are where no other quality is wanted, and either nothing else or something that only a lossless source can
    give: coded anew at its own bound, a lossy one would lose twice.
    """
    if not entry.n_samples:
        return True
    wanted = wanted_qualities(wanted_texts(request, entry), entry.channels)
    if not all(same(a, b) for a, b in zip(stored_qualities(entry), wanted, strict=True)):
        return False
    return (request.effort is None and request.bank is None) or is_lossy(entry)


def check_request(request: Request, entry: SegmentEntry, where: str) -> None:
    """Refuse what the source's segment cannot give, as far as its manifest tells.

    Raises
    ------
    InputError
        Naming recording, stream, segment and channel, what was asked and what the source holds.
    """
    if is_moved(request, entry):
        return
    held, wanted = stored_qualities(entry), wanted_qualities(wanted_texts(request, entry), entry.channels)
    for place, (has, asked) in enumerate(zip(held, wanted, strict=True)):
        earlier = entry.original[place] if entry.original else None
        if (has.kind == LOSSLESS and not (earlier and any(earlier))) or implies(has, asked):
            continue
        channel = f"{where}, channel {entry.channels[place].label!r}"
        figures = f"it holds {has}"
        if asked.kind == LOSSLESS:
            worst = entry.reached[place][_REACHED[MAX_ERROR]] if earlier is None else earlier[2]
            raise InputError(
                f"{channel}: {asked} asked, {figures}, off by up to {worst:g} adu: what was lost cannot come back",
                hint="encode the original anew, or leave --quality out for this channel",
            )
        if asked.kind == BITS:
            raise InputError(
                f"{channel}: {asked} asked, {figures}: a mean rate says no bound that errors could add up to",
                hint="ask for prdn=, rmse= or max-error=",
            )
        reached = _reached(entry, place, asked.kind)
        if reached > asked.value:
            unit = "%" if asked.kind == PRDN else " adu"
            raise InputError(
                f"{channel}: {asked} asked, {figures}, and has lost {reached:g}{unit} already, "
                f"{asked.value:g}{unit} allowed",
                hint=f"ask for more than {reached:g}{unit}, or encode the original anew",
            )


def _reached(entry: SegmentEntry, place: int, kind: str) -> float:
    reached = float(entry.reached[place][_REACHED[kind]])
    if entry.original:
        # bounds, not figures: of PRDN and RMSE they may lie above what is true, so that only the block can tell
        return reached if kind != MAX_ERROR else entry.original[place][2]
    return reached
