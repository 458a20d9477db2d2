"""Choices of a new EDF file: record duration that is exact as text, and physical ranges of eight characters."""

from __future__ import annotations

from fractions import Fraction

from sanstream.errors import UnsupportedError
from sanstream.formats.edf_header import SIGNAL
from sanstream.formats.labels import rate_text
from sanstream.signal import Channel, IntSamples

_LONGEST_RECORD_S = 600


def _text(duration: Fraction) -> str | None:
    """Write a duration exactly in eight characters, or None."""
    text = rate_text(duration)
    return text if "/" not in text and len(text) <= 8 else None


def _without_2_and_5(n: int) -> int:
    for prime in (2, 5):
        while n % prime == 0:
            n //= prime
    return n


def _divisors(n: int) -> list[int]:
    small = [k for k in range(1, int(n**0.5) + 1) if n % k == 0] if n else [1]
    return sorted({*small, *(n // k for k in small)})


def split_duration(n_units: int, base: Fraction, name: str) -> tuple[int, int, str]:
    """Choose data records for a recording.

    Parameters
    ----------
    n_units : int
        Length of the recording in steps of ``1 / base`` seconds.
    base : Fraction
        Greatest common rate.
    name : str
        Recording, for the message.

    Returns
    -------
    per_record : int
        Units of a record.
    n_records : int
        Records; the last may be longer than the data.
    text : str
        Duration in seconds, exact.

    Raises
    ------
    UnsupportedError
        When no duration of at most ten minutes can be written exactly.
    """
    step = _without_2_and_5(base.numerator)
    exact: list[tuple[Fraction, int, str]] = []
    if n_units % step == 0:
        for k in _divisors(n_units // step):
            duration = k * step / base
            text = _text(duration)
            if text and duration <= _LONGEST_RECORD_S:
                exact.append((max(duration, 1 / duration), k * step, text))
    if exact and min(exact)[0] <= 60:
        _, per_record, text = min(exact)
        return per_record, n_units // per_record, text
    for k in range(1, int(_LONGEST_RECORD_S * base) // step + 1):
        text = _text(k * step / base)
        if text and (k * step >= base or k * step >= n_units):
            return k * step, -(-n_units // (k * step)), text
    raise UnsupportedError(
        f"recording {name!r}: no EDF record duration is exact at {rate_text(base)} Hz", hint="use --format wfdb"
    )


def _number(value: Fraction) -> tuple[str, bool]:
    """Write a physical limit in eight characters; tell whether it is exact."""
    text = rate_text(value) if value >= 0 else "-" + rate_text(-value)
    if "/" not in text and len(text) <= 8:
        return text, True
    for digits in range(8, 0, -1):
        text = f"{float(value):.{digits}g}"
        if len(text) <= 8:
            return text, False
    return f"{float(value):.0e}"[:8], False


def scale_fields(channel: Channel, samples: IntSamples, bits: int) -> dict[str, str]:
    """Return a signal's header fields, its calibration as exact as eight characters allow.

    Parameters
    ----------
    channel : Channel
    samples : ndarray, shape (n,), int32
    bits : int
        16 for EDF, 24 for BDF.
    """
    fields = dict.fromkeys((name for name, _ in SIGNAL), "")
    kept = channel.header.get("edf")
    if kept:
        return fields | {str(k): str(v) for k, v in kept.items()}
    limit = 2 ** (bits - 1)
    own = (max(channel.digital_min, -limit), min(channel.digital_max, limit - 1))
    ranges = [r for r in (own, (-limit, limit - 1), (-limit // 2, limit // 2)) if r[0] < r[1]]
    gain, baseline = Fraction(channel.gain), Fraction(channel.baseline)
    choices = []
    for low, high in ranges:
        bottom, top = _number((low - baseline) / gain), _number((high - baseline) / gain)
        choices.append((not (bottom[1] and top[1]), low, high, bottom[0], top[0]))
    _, low, high, bottom_text, top_text = min(choices, key=lambda c: c[0])
    return fields | {
        "label": channel.label.encode("ascii", "replace").decode()[:16],
        "dimension": channel.unit.encode("ascii", "replace").decode()[:8],
        "physical_min": bottom_text,
        "physical_max": top_text,
        "digital_min": str(low),
        "digital_max": str(high),
    }
