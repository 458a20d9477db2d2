"""``[quality]``: which quality each channel of a live stream gets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from sanstream.errors import InputError, UnsupportedError
from sanstream.modality import MODALITIES, modality_of
from sanstream.quality import BITS, LOSSLESS, MAX_ERROR, RMSE, Quality, parse_quality
from sanstream.signal import Channel

DEFAULT = "default"
_UNIT = re.compile(r"^(?:rmse|max-error) *= *-?[0-9.eE+-]+ *([^0-9 ].*)$")


def check_quality(text: object) -> str:
    """Return a quality as written when some channel could have it.

    Raises
    ------
    InputError
        On a quality that does not exist, or that needs a whole recording (``bits``).
    """
    if not isinstance(text, str):
        raise InputError(f"{text!r} is no quality", hint='write "prdn=5" or "lossless"')
    found = _UNIT.match(text.strip())
    unit = found.group(1).strip() if found else "adu"
    if parse_quality(text, Channel("any", unit="" if unit == "adu" else unit, gain=1e9)).kind == BITS:
        raise UnsupportedError(
            f"quality {text!r} needs a whole recording", hint="use prdn, rmse, max-error or lossless"
        )
    return text.strip()


def check_key(key: str) -> None:
    """Refuse a key that looks like a misspelt ``default`` or modality; labels that are close to one are not refused.

    Case tells ``Respiration``, a label, from ``respiration``. Names of three letters are close to too many labels.

    Raises
    ------
    InputError
    """
    if key in (DEFAULT, *MODALITIES) or set(key) & set("*?["):
        return
    near = get_close_matches(key.casefold(), [DEFAULT], 1, 0.85)
    near = near or [m for m in get_close_matches(key, MODALITIES, 1, 0.87) if len(m) > 3 and m not in key.casefold()]
    if near:
        raise InputError(
            f"unknown key {key!r}",
            hint=f'did you mean {near[0]!r}? for a channel of that label write "[{key[0]}]{key[1:]}"',
        )


def asked_for(quality: Mapping[str, str], channel: Channel) -> str:
    """Return what is asked of a channel: by its label's pattern, else its modality, else the default."""
    chosen = quality.get(modality_of(channel), quality.get(DEFAULT, LOSSLESS))
    for key, text in quality.items():
        if key not in (DEFAULT, *MODALITIES) and (key == channel.label or fnmatchcase(channel.label, key)):
            chosen = text
    return chosen


def qualities_of(
    quality: Mapping[str, str], channels: Sequence[Channel]
) -> tuple[tuple[Quality, ...], tuple[int, ...]]:
    """Give each channel of a live stream its quality.

    Parameters
    ----------
    quality : mapping of str to str
        ``Settings.quality``.
    channels : sequence of Channel

    Returns
    -------
    qualities : tuple of Quality
        One per channel.
    misfits : tuple of int
        Channels that are lossless because what is asked is in a unit that they do not have: a stream that is
        already flowing cannot be refused.
    """
    chosen, misfits = [], []
    for number, channel in enumerate(channels):
        try:
            chosen.append(_less_rounding(parse_quality(asked_for(quality, channel), channel), channel))
        except InputError:
            chosen.append(Quality(LOSSLESS, 0.0, LOSSLESS))
            misfits.append(number)
    return tuple(chosen), tuple(misfits)


def _less_rounding(quality: Quality, channel: Channel) -> Quality:
    """Take off a bound in digital steps what rounding floats to them has cost already.

    Errors add, in the worst case: a channel that the feed rounded by up to r steps keeps ``max-error`` and ``rmse``
    against the source's floats when its integers keep the bound less r. ``prdn`` is of the integers.
    """
    rounding = float(channel.header.get("rounding", 0.0)) * abs(channel.gain)  # the header has physical units
    if not rounding or quality.kind not in (RMSE, MAX_ERROR):
        return quality
    left = quality.value - rounding
    return parse_quality(f"{quality.kind}={left:.9g}adu", channel) if left > 0 else Quality(LOSSLESS, 0.0, LOSSLESS)
