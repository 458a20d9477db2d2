"""Quality: what may be asked (parse), and what was reached (PRD, PRDN, RMSE, SNR, phi)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import numpy.typing as npt

from sanstream.errors import InputError
from sanstream.signal import TRIGGER, Channel

FloatArray = npt.NDArray[np.float64]

LOSSLESS = "lossless"
PRDN = "prdn"
RMSE = "rmse"
MAX_ERROR = "max-error"
SPARSE = "sparse"
BITS = "bits"
KINDS = (LOSSLESS, SPARSE, PRDN, RMSE, MAX_ERROR, BITS, "prd")
_ALLOWED = "lossless, sparse, prdn=PERCENT, rmse=NUMBER[UNIT|adu], max-error=NUMBER[UNIT|adu], bits=NUMBER"
_NUMBER = re.compile(r"^([0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+)\s*(.*)$")
# factor from the written prefix to the bare unit, for bounds such as 10uV on a channel in mV
_PREFIX = {"n": 1e-9, "u": 1e-6, "µ": 1e-6, "μ": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3}


@dataclass(frozen=True)
class Quality:
    """One channel's quality.

    Parameters
    ----------
    kind : str
        ``"lossless"``, ``"prdn"``, ``"rmse"``, ``"max-error"``, ``"sparse"``, or ``"bits"`` until the
        encoder has turned it into the RMSE bound with that mean rate.
    value : float
        Per cent for ``prdn``, digital steps (adu) for ``rmse`` and ``max-error``, bits per sample for
        ``bits``; 0 otherwise.
    text : str
        As the user wrote it.
    """

    kind: str
    value: float = 0.0
    text: str = ""

    def __str__(self) -> str:
        return self.text or (self.kind if self.value == 0 else f"{self.kind}={self.value:g}")


def _split_unit(unit: str) -> tuple[float, str]:
    """Split a unit into SI prefix factor and base ("uV" -> 1e-6, "V")."""
    if len(unit) > 1 and unit[0] in _PREFIX and unit not in ("mmHg", "min", "mol"):
        return _PREFIX[unit[0]], unit[1:]
    return 1.0, unit


def _to_adu(amount: float, unit: str, channel: Channel, text: str) -> float:
    if unit in ("", "adu"):
        if unit == "":
            raise InputError(
                f"quality {text!r} names no unit", hint=f"write {text}adu, or {text}{channel.unit or 'mV'}"
            )
        return amount
    factor, base = _split_unit(unit)
    own_factor, own_base = _split_unit(channel.unit)
    if base != own_base:
        raise InputError(
            f"quality {text!r} is in {unit!r}, channel {channel.label!r} is in {channel.unit or 'no unit'!r}",
            hint="use the channel's unit, or adu for digital steps",
        )
    return amount * factor / own_factor * abs(channel.gain)


def parse_quality(text: str, channel: Channel) -> Quality:
    """Read one quality for one channel.

    Parameters
    ----------
    text : str
        ``lossless``, ``sparse``, ``prdn=5``, ``rmse=10uV``, ``rmse=2adu``, ``max-error=4adu``.
    channel : Channel
        Gives unit and gain. A trigger channel is lossless whatever is asked. A bound below half a
        digital step becomes lossless.

    Returns
    -------
    Quality

    Raises
    ------
    InputError
        On an unknown quality, a bad number or a unit that the channel does not have.
    """
    kind, equals, rest = text.strip().partition("=")
    if kind == "prd":
        raise InputError(
            f"quality {text!r}: prd depends on the ADC offset and is not offered", hint=f"use prdn={rest or '5'}"
        )
    if kind in (LOSSLESS, SPARSE) and not equals:
        return Quality(LOSSLESS, 0.0, LOSSLESS) if channel.kind == TRIGGER else Quality(kind, 0.0, kind)
    if kind not in (PRDN, RMSE, MAX_ERROR, BITS) or not equals:
        raise InputError(f"unknown quality {text!r}", hint=f"use one of {_ALLOWED}")
    if _NUMBER.match(rest.strip().removeprefix("-")) and rest.strip().startswith("-"):
        raise InputError(
            f"quality {text!r}: a bound cannot be below 0", hint=f"write {kind}={rest.strip()[1:]}, or lossless"
        )
    match = _NUMBER.match(rest.strip())
    amount = float(match.group(1)) if match else math.nan
    if not math.isfinite(amount) or match is None:
        raise InputError(f"quality {text!r}: {rest!r} is not a number", hint=f"use one of {_ALLOWED}")
    unit = match.group(2).strip()
    if kind == BITS:
        if unit or amount <= 0:
            raise InputError(f"quality {text!r}: bits is a positive number of bits per sample", hint="write bits=0.5")
        value = amount
    elif kind == PRDN:
        if unit not in ("", "%"):
            raise InputError(f"quality {text!r}: prdn is in per cent, found unit {unit!r}", hint="write prdn=5")
        value = amount
    else:
        value = _to_adu(amount, unit, channel, text)
    if channel.kind == TRIGGER or value == 0 or (kind not in (PRDN, BITS) and value < 0.5):
        return Quality(LOSSLESS, 0.0, LOSSLESS)
    if kind == MAX_ERROR:
        value = float(math.floor(value + 1e-9))
        if value < 1:
            return Quality(LOSSLESS, 0.0, LOSSLESS)
    return Quality(kind, value, text.strip())


def choose_qualities(requests: Sequence[str], channels: Sequence[Channel]) -> tuple[Quality, ...]:
    """Give each channel its quality.

    Parameters
    ----------
    requests : sequence of str
        ``QUALITY`` for all channels or ``LABEL=QUALITY`` (shell wildcards allowed) for some; a later
        one wins. Empty means ``lossless``.
    channels : sequence of Channel

    Returns
    -------
    tuple of Quality

    Raises
    ------
    InputError
        On an unknown quality or a label that no channel has.
    """
    texts = asked_of(requests, channels)
    return tuple(parse_quality(text, channel) for text, channel in zip(texts, channels, strict=True))


def asked_of(requests: Sequence[str], channels: Sequence[Channel], base: Sequence[str] = ()) -> list[str]:
    """Return the quality asked of each channel, as written; the later request wins; base: lossless."""
    chosen = list(base) or [LOSSLESS] * len(channels)
    for request in requests:
        head, equals, tail = request.partition("=")
        if equals and head not in KINDS:
            hits = [i for i, c in enumerate(channels) if c.label == head or fnmatchcase(c.label, head)]
            for i in hits:
                chosen[i] = tail
        else:
            chosen = [request] * len(channels)
    return chosen


def tightened(requests: Sequence[str], channels: Sequence[Channel]) -> list[str]:
    """Say which channels are stored lossless because their bound is under half a digital step."""
    notes = []
    for text, channel in zip(asked_of(requests, channels), channels, strict=True):
        stored = parse_quality(text, channel)
        if stored.kind == LOSSLESS and text.strip() != LOSSLESS and channel.kind != TRIGGER:
            notes.append(f"channel {channel.label!r}: {text} is under half a digital step, stored lossless")
    return notes


def check_requests(requests: Sequence[str], channels: Sequence[Channel]) -> None:
    """Refuse a ``LABEL=QUALITY`` whose label no channel of the recording has.

    Raises
    ------
    InputError
    """
    for request in requests:
        head, equals, _ = request.partition("=")
        if not equals or head in KINDS:
            continue
        if not any(c.label == head or fnmatchcase(c.label, head) for c in channels):
            same = [c.label for c in channels if c.label.casefold() == head.casefold()]
            if same:
                raise InputError(
                    f"quality {request!r} names channel {head!r}, the recording has {same[0]!r}",
                    hint=f"write {same[0]}={request.partition('=')[2]}",
                )
            raise InputError(
                f"quality {request!r} names channel {head!r}",
                hint=f"use {_ALLOWED}, or a channel of this recording: {', '.join(c.label for c in channels)}",
            )


def rmse(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Root mean square error of ``y`` against ``x``, in their unit.

    Parameters
    ----------
    x, y : array-like of numbers, one shape
        What it should be, and what it is.

    Returns
    -------
    float
    """
    d = np.asarray(x, dtype=np.float64) - np.asarray(y, dtype=np.float64)
    return float(np.sqrt(np.mean(d * d))) if d.size else 0.0


def prd(x: npt.ArrayLike, y: npt.ArrayLike, *, offset: float = 0.0) -> float:
    """Percentage root-mean-square difference, ``100 ||x - y|| / ||x - offset||``.

    ``offset=0`` is PRD on stored values, ``offset=1024`` is PRD_1024 (MIT-BIH's ADC zero). Equal
    signals give 0, and an error on a zero denominator gives infinity.

    Parameters
    ----------
    x, y : array-like of numbers, one shape
        What it should be, and what it is.
    offset : float
        What is taken from ``x`` in the denominator.

    Returns
    -------
    float
        Per cent.
    """
    a = np.asarray(x, dtype=np.float64)
    d = float(np.linalg.norm(a - np.asarray(y, dtype=np.float64)))
    n = float(np.linalg.norm(a - offset))
    return 0.0 if d == 0 else (100.0 * d / n if n > 0 else math.inf)


def prdn(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """PRD with the mean of ``x`` removed from the denominator (Zigel et al., IEEE TBME 2000).

    Parameters
    ----------
    x, y : array-like of numbers, one shape
        What it should be, and what it is.

    Returns
    -------
    float
        Per cent.
    """
    a = np.asarray(x, dtype=np.float64)
    return prd(a, y, offset=float(a.mean()) if a.size else 0.0)


def snr_db(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Signal-to-noise ratio, ``20 log10(100 / PRDN)``.

    Parameters
    ----------
    x, y : array-like of numbers, one shape
        What it should be, and what it is.

    Returns
    -------
    float
        Decibel.
    """
    p = prdn(x, y)
    return math.inf if p == 0 else (-math.inf if math.isinf(p) else 20.0 * math.log10(100.0 / p))


def relative_loss(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """RL = mean|y - x| / mean|x| after removal of the mean of ``x`` (SAN paper, eq. for RL).

    Parameters
    ----------
    x, y : array-like of numbers, one shape
        What it should be, and what it is.

    Returns
    -------
    float
    """
    a = np.asarray(x, dtype=np.float64)
    mean = a.mean() if a.size else 0.0
    denominator = float(np.mean(np.abs(a - mean))) if a.size else 0.0
    numerator = float(np.mean(np.abs(np.asarray(y, dtype=np.float64) - a))) if a.size else 0.0
    return 0.0 if numerator == 0 else (numerator / denominator if denominator > 0 else math.inf)


def phi(n_weights: float, n_activations: float, n_samples: int, rl: float, *, n_dims: int = 1) -> float:
    """Flithos, ``sqrt(((W + (D + 1) A) / n)^2 + RL^2)`` (SAN paper). It counts numbers, never bytes.

    Parameters
    ----------
    n_weights : float
        W, numbers in the kernels (0 to leave them out, W/T when T windows share a bank).
    n_activations : float
        A, exact non-zero activations.
    n_samples : int
        n.
    rl : float
        Relative loss.
    n_dims : int
        D, 1 for signals.

    Returns
    -------
    float
    """
    return math.hypot((n_weights + (n_dims + 1) * n_activations) / n_samples, rl)
