"""Values that describe signals: Channel, Segment, Stream, Annotations, Recording.

Samples are the ADC's integers everywhere; physical units are computed from gain and baseline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream.errors import InputError

IntSamples = npt.NDArray[np.int32]

SIGNAL = "signal"
"""Channel kind: an analogue quantity; may be coded within a bound."""
TRIGGER = "trigger"
"""Channel kind: trigger, status, counter or annotation channel; lossless in every mode."""


FLOAT32_BITS = "float32-bits"
"""Value of a channel header's ``lattice``: samples are float32 bits as order-preserving int32, always lossless."""


def floats_of_bits(ordered: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    """Give back float32 values from their bits as order-preserving int32, shape kept."""
    bits = np.where(ordered < 0, ordered ^ 0x7FFFFFFF, ordered).astype(np.int32)
    return bits.view(np.float32)


@dataclass(frozen=True)
class Channel:
    """One channel of a stream, as the recorder described it.

    Parameters
    ----------
    label : str
        Name in the source, unique within its recording after reading.
    unit : str
        Physical unit; empty when the source names none.
    gain : float
        Digital steps per physical unit. ``physical = (digital - baseline) / gain``.
    baseline : int or float
        Digital value of physical zero; a fraction only where the source's own scale puts zero
        between two steps (EDF).
    digital_min, digital_max : int
        Inclusive range of the integers that the source format and its data can hold, missing code
        included only when it lies inside. Decoded samples never leave it.
    missing : int or None
        Integer that stands for "no sample here"; always stored exactly.
    resolution_bits : int
        ADC resolution; 0 when unknown.
    kind : str
        ``"signal"`` or ``"trigger"``.
    header : mapping
        What else the source's header says of this channel, JSON values only, under the names of
        the source format; given back to the writer of the same format.
    """

    label: str
    unit: str = ""
    gain: float = 1.0
    baseline: float = 0
    digital_min: int = -(2**15)
    digital_max: int = 2**15 - 1
    missing: int | None = None
    resolution_bits: int = 0
    kind: str = SIGNAL
    header: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the channel as JSON values.

        Returns
        -------
        dict
        """
        out = {k: v for k, v in self.__dict__.items() if k != "header"}
        out["header"] = dict(self.header)
        return out

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Channel:
        """Build a channel.

        Parameters
        ----------
        data : mapping
            From :meth:`to_dict`.

        Returns
        -------
        Channel
        """
        return cls(**data)

    @property
    def holds_float_bits(self) -> bool:
        """Whether digital samples are no ADC's integers, but the bits of float32 values, in order."""
        return self.header.get("lattice") == FLOAT32_BITS

    def physical(self, digital: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
        """Convert digital samples to physical units; missing samples become NaN.

        Parameters
        ----------
        digital : ndarray of integers, any shape

        Returns
        -------
        ndarray, shape of ``digital``, float64
            In ``unit``.
        """
        if self.holds_float_bits:
            out = floats_of_bits(digital).astype(np.float64)
        else:
            out = digital.astype(np.float64)
            if self.baseline:
                out -= self.baseline
            out /= self.gain
        if self.missing is not None:
            out[digital == self.missing] = np.nan
        return out


@dataclass(frozen=True)
class Segment:
    """A stretch of a stream with one channel set, gain, unit and bank.

    Parameters
    ----------
    start_sample : int
        Position of the first sample on the stream's sample grid.
    channels : tuple of Channel
        The channels of this stretch, in source order.
    samples : ndarray, shape (n_samples, n_channels), int32
        Digital samples, time first.
    """

    start_sample: int
    channels: tuple[Channel, ...]
    samples: IntSamples

    def __post_init__(self) -> None:
        if self.samples.ndim != 2 or self.samples.shape[1] != len(self.channels):
            raise InputError(
                f"segment at sample {self.start_sample}: samples have shape {self.samples.shape}, "
                f"expected (n_samples, {len(self.channels)})"
            )

    @property
    def n_samples(self) -> int:
        """Number of samples per channel."""
        return int(self.samples.shape[0])

    @property
    def stop_sample(self) -> int:
        """One past the last sample's position on the stream's grid."""
        return self.start_sample + self.n_samples


@dataclass(frozen=True)
class Stream:
    """The channels of one recording that share one rate and sample grid.

    Parameters
    ----------
    name : str
        Path-safe name, for example ``"360hz"``.
    rate : Fraction
        Samples per second, exact.
    segments : tuple of Segment
        In time order, without overlap. A stretch between two segments holds no samples.
    n_samples : int, optional
        Length of the grid when the source ends after its last segment; default: end of the last.
    """

    name: str
    rate: Fraction
    segments: tuple[Segment, ...]
    n_samples: int = -1

    def __post_init__(self) -> None:
        if self.rate <= 0:
            raise InputError(f"stream {self.name!r}: rate is {self.rate} Hz, must be positive")
        end = 0
        for segment in self.segments:
            if segment.start_sample < end:
                raise InputError(f"stream {self.name!r}: segments overlap at sample {segment.start_sample}")
            end = segment.stop_sample
        if self.n_samples < 0:
            object.__setattr__(self, "n_samples", end)


@dataclass(frozen=True)
class Annotations:
    """One set of events (a WFDB annotation file, the EDF+ annotation list, a marker stream).

    Parameters
    ----------
    name : str
        Set name: the WFDB annotator (``"atr"``) or ``"edf"``.
    columns : mapping of str to ndarray
        Equal-length 1-D columns (integers, floats or str). ``time_ns`` (int64, from the
        recording's start) is always there; the rest is the source format's own.
    attributes : mapping
        What the set's header says, JSON values only.
    """

    name: str
    columns: Mapping[str, npt.NDArray[Any]]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.columns["time_ns"])


@dataclass(frozen=True)
class Recording:
    """What one source gives; the unit of restore.

    Parameters
    ----------
    name : str
        Path-safe name.
    streams : tuple of Stream
        One per rate and sample grid.
    start_ns : int or None
        Start as nanoseconds since 1970-01-01T00:00:00 of the wall clock in ``timezone``; None
        when the source gives none.
    timezone : str
        ``"utc"``, an offset such as ``"+02:00"``, or ``"unknown"``.
    annotations : tuple of Annotations
    source_format : str
        ``"wfdb"``, ``"edf"``, ``"bdf"``, ``"csv"``, ``"parquet"`` or ``"npy"``.
    attributes : mapping
        Everything else the source's header says, JSON values only.
    """

    name: str
    streams: tuple[Stream, ...]
    start_ns: int | None = None
    timezone: str = "unknown"
    annotations: tuple[Annotations, ...] = ()
    source_format: str = "npy"
    attributes: Mapping[str, Any] = field(default_factory=dict)


def parse_rate(text: str) -> Fraction:
    """Read a rate in hertz: ``"360"``, ``"62.4725"`` or ``"62500/1001"``.

    Raises
    ------
    InputError
        When the text is no positive number.
    """
    try:
        rate = Fraction(text.strip())
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate <= 0:
        raise InputError(f"rate {text!r} is not a positive number", hint="write hertz, such as 250 or 62500/1001")
    return rate


def unique_labels(labels: Sequence[str], default: str = "signal") -> list[str]:
    """Suffix repeated labels (``"II"``, ``"II_2"``) and name the empty ones (``"signal 3"``)."""
    out: list[str] = []
    taken = {label.strip() for label in labels}
    used: set[str] = set()
    numbers: dict[str, int] = {}  # a thousand equal labels are not compared with each other
    for index, label in enumerate(labels):
        base = label.strip() or f"{default} {index}"
        name, number = base, numbers.get(base, 2)
        while name in used or (name != base and name in taken):
            name, number = f"{base}_{number}", number + 1
        numbers[base] = number
        used.add(name)
        out.append(name)
    return out
