"""Decimals and floats on an integer lattice, exactly: the integers plus what turns them back into the same values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream.errors import UnsupportedError
from sanstream.signal import FLOAT32_BITS, SIGNAL, TRIGGER, Channel, IntSamples, floats_of_bits

Floats = npt.NDArray[np.floating[Any]]

MISSING = -(2**31)
"""Integer that stands for NaN and for an empty cell."""

BITS = FLOAT32_BITS
"""Lattice name of order-preserving int32 of float32 bits: lossless only."""

_LIMIT = 2**31 - 1
_MAX_DECIMALS = 12
_MAX_BINARY = 40


@dataclass(frozen=True)
class Lattice:
    """How integers turn into floats.

    ``decimal``: ``(integer * multiple) / 10**digits``; ``binary``: ``(integer * multiple) / 2**digits``;
    ``product``: ``integer * (multiple / 10**digits)``, which rounds otherwise; all in float64.

    Parameters
    ----------
    kind : str
        ``"decimal"``, ``"binary"``, ``"product"`` or ``"float32-bits"``.
    digits : int
        Decimal or binary places.
    multiple : int
        Greatest common divisor taken out of the integers.
    """

    kind: str
    digits: int = 0
    multiple: int = 1

    @property
    def scale(self) -> float:
        """Return the power of ten or two that integers are divided by."""
        return float((2 if self.kind == "binary" else 10) ** self.digits)

    @property
    def gain(self) -> float:
        """Return steps per physical unit."""
        return 1.0 if self.kind == BITS else self.scale / self.multiple

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"kind": self.kind, "digits": self.digits, "multiple": self.multiple}


def take_out_multiple(integers: npt.NDArray[np.int64], present: npt.NDArray[np.bool_]) -> int:
    """Return the greatest common divisor of the present integers, at least 1."""
    used = integers[present]
    return max(1, int(np.gcd.reduce(used))) if used.size else 1


def _same_bits(a: Floats, b: Floats) -> bool:
    view = f"u{a.dtype.itemsize}"
    return bool(np.array_equal(np.ascontiguousarray(a).view(view), np.ascontiguousarray(b).view(view)))


def restore_floats(integers: IntSamples, lattice: Lattice, dtype: np.dtype[Any]) -> Floats:
    """Turn integers back into the floats that they came from, shape kept."""
    if lattice.kind == BITS:
        return floats_of_bits(integers).astype(dtype)
    wide = integers.astype(np.float64)
    if lattice.kind == "product":
        out = wide * (lattice.multiple / lattice.scale)
    else:
        out = (wide * lattice.multiple) / lattice.scale
    out[integers == MISSING] = np.nan
    return out.astype(dtype)


def _try(values: Floats, present: npt.NDArray[np.bool_], kind: str, digits: int) -> tuple[IntSamples, Lattice] | None:
    with np.errstate(all="ignore"):
        scaled = np.rint(np.where(present, values, 0).astype(np.float64) * Lattice(kind, digits).scale)
    if scaled.size and np.abs(scaled).max() > 2**53:
        return None
    integers = scaled.astype(np.int64)
    multiple = take_out_multiple(integers, present)
    integers //= multiple
    if integers.size and np.abs(integers).max() > _LIMIT:
        return None
    integers[~present] = MISSING
    out, lattice = integers.astype(np.int32), Lattice(kind, digits, multiple)
    return (out, lattice) if _same_bits(restore_floats(out, lattice, values.dtype), values) else None


def find_lattice(values: Floats, label: str) -> tuple[IntSamples, Lattice]:
    """Put floats on a lattice from which they come back bit for bit.

    Parameters
    ----------
    values : ndarray, shape (n,), floating
    label : str
        Channel, for the message.

    Returns
    -------
    integers : ndarray, shape (n,), int32
    lattice : Lattice

    Raises
    ------
    UnsupportedError
        When float64 values are on no lattice and are no float32 values either.
    """
    native = values.astype(values.dtype.newbyteorder("="))
    present = np.isfinite(native)
    probe = slice(0, 2000)
    for kind, most in (("decimal", _MAX_DECIMALS), ("product", _MAX_DECIMALS), ("binary", _MAX_BINARY)):
        for digits in range(most + 1):
            if _try(native[probe], present[probe], kind, digits) is None:
                continue
            found = _try(native, present, kind, digits)
            if found is not None:
                return found
    with np.errstate(all="ignore"):
        single = native.astype(np.float32)
    bits = single.view(np.int32)
    integers = np.where(bits < 0, bits ^ 0x7FFFFFFF, bits).astype(np.int32)
    if _same_bits(restore_floats(integers, Lattice(BITS), native.dtype), native):
        return integers, Lattice(BITS)
    raise UnsupportedError(
        f"channel {label!r} holds {native.dtype} values that lie on no decimal or binary grid of 32 bits",
        hint="round them to a step (np.round(x, 6)) or convert them to float32 first",
    )


def lattice_channel(label: str, unit: str, lattice: Lattice, integers: IntSamples, header: dict[str, Any]) -> Channel:
    """Describe a channel whose samples lie on a lattice; ``float32-bits`` is lossless only."""
    present = integers[integers != MISSING]
    bits = lattice.kind == BITS
    low, high = (int(present.min()), int(present.max())) if present.size else (0, 0)
    missing = None if bits or present.size == integers.size else MISSING
    return Channel(
        label=label,
        unit=unit,
        gain=lattice.gain,
        baseline=0,
        digital_min=int(integers.min()) if bits and integers.size else low,
        digital_max=int(integers.max()) if bits and integers.size else high,
        missing=missing,
        kind=TRIGGER if bits else SIGNAL,
        header={**header, "lattice": BITS if bits else lattice.to_dict()},
    )


def lattice_of(channel: Channel) -> Lattice | None:
    """Return the lattice that a channel's header names, if any."""
    named = channel.header.get("lattice")
    if named is None:
        return None
    return Lattice(BITS) if named == BITS else Lattice(str(named["kind"]), int(named["digits"]), int(named["multiple"]))
