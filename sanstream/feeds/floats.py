"""Feeds of floats: each channel's values become integers, by a step that is declared, found, usual, or none.

In this order, per channel:

1. **declared**: ``resolution = "0.5uV"`` (or a number in the channel's own unit). Values are rounded to it.
2. **found**: a step from which the first values come back bit for bit, as long as its integers fit 24 bits (wider
   ones are mantissas, not an ADC's steps): decimal, binary, or whatever an amplifier's gain makes of it.
3. **usual** for the unit: 0.01 uV for EEG, 1 uV for ECG, 0.01 mmHg and so on. Values are rounded.
4. **exact**: the float32's own bits as order-preserving int32, stored without loss, counted ``float_exact``.

``resolution = "exact"`` leaves out 3. Where values are rounded, the channel's header says so: ``rounding`` is half a
step in the channel's unit, the largest error made before encoding. The daemon takes it off an
absolute bound (``max-error``, ``rmse``), so that this holds for the values sent; ``prdn`` is of the integers.

A later value that the step cannot hold (off a found step, beyond 32 bits) moves the channel to a finer step, then on
through the list: a new descriptor, hence a new segment, never a changed value without a word. NaN and infinities
become the missing code (infinities counted ``float_infinite``); -0.0 becomes 0.0. Doubles that end up as exact bits are
rounded to float32 (counted ``float_rounded``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sanstream.errors import InputError
from sanstream.feeds.steps import find_step, gives
from sanstream.formats.lattice import BITS, MISSING, Lattice
from sanstream.modality import modality_of
from sanstream.signal import TRIGGER, Channel, IntSamples

Floats = npt.NDArray[np.floating[Any]]

_ADC = 1 << 23
_WIDE = (1 << 31) - 1
_KEPT = 4096
_MAX_FINER = 4
_PREFIXES = {"": 1.0, "n": 1e-9, "u": 1e-6, "µ": 1e-6, "μ": 1e-6, "m": 1e-3, "k": 1e3}
_RESOLUTION = re.compile(r"\s*([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*([^\s0-9]{0,16})\s*")
_LONG_UNITS = {"microvolts": "uV", "microvolt": "uV", "millivolts": "mV", "millivolt": "mV", "volts": "V", "volt": "V"}
_VOLTS = {"eeg": 0.01e-6, "ecg": 1e-6, "emg": 0.1e-6}
_USUAL = {"mmHg": 0.01, "kPa": 0.001, "%": 0.01, "degC": 0.001, "°C": 0.001, "bpm": 0.1, "Ohm": 0.001, "g": 1e-4}


def scale_of(unit: str, base: str) -> float | None:
    """Return how many of ``base`` (``"V"``) one ``unit`` (``"uV"``) is; None when it is another quantity."""
    unit = _LONG_UNITS.get(unit.strip().lower(), unit.strip())
    if not unit.endswith(base):
        return None
    return _PREFIXES.get(unit.removesuffix(base))


def usual_step(channel: Channel) -> float | None:
    """Return the usual step of a channel in its own unit; None when its unit is not known."""
    volts = scale_of(channel.unit, "V")
    if volts is None:
        return _USUAL.get(channel.unit.strip())
    fine = channel.unit.strip().lower() in ("uv", "µv", "μv", "nv", "microvolts", "microvolt")
    step = _VOLTS.get(modality_of(channel), 0.01e-6 if fine else 1e-6)
    return float(f"{step / volts:.6g}")


@dataclass(frozen=True)
class _Step:
    """How one channel's floats become integers.

    Parameters
    ----------
    kind : str
        ``"found"``, ``"rounded"``, ``"exact"``, or ``"none"`` as long as nothing but NaN came.
    gain : float
        Steps per unit.
    lattice : Lattice or None
        Of a found step or exact bits.
    wide : bool
        Whether more than 24 bits are needed.
    """

    kind: str
    gain: float
    lattice: Lattice | None
    wide: bool


class FloatLattice:
    """Turns the floats of one stream into integers, chunk after chunk.

    Parameters
    ----------
    channels : sequence of Channel
        Label, unit, kind and header; the rest is found.
    resolution : str
        ``"auto"``, ``"exact"``, or a number with unit: ``"0.5uV"``.
    warn : callable
        Takes a short fixed word for each oddity.

    Raises
    ------
    InputError
        When the resolution cannot be read, or its unit is not the channel's.
    """

    def __init__(
        self, channels: Sequence[Channel], *, resolution: str = "auto", warn: Callable[[str], None] = lambda _: None
    ) -> None:
        self._bare = tuple(channels)
        self._resolution = resolution
        self._declared = [declared_step(resolution, c) for c in channels]
        self._warn = warn
        self._steps: list[_Step | None] = [None] * len(self._bare)
        self._finer = [0] * len(self._bare)
        self._seen: list[Floats] = [np.empty(0)] * len(self._bare)
        self._channels: tuple[Channel, ...] = ()

    def convert(self, values: Floats) -> tuple[tuple[Channel, ...], IntSamples]:
        """Convert a chunk; the first one decides the steps, so it should hold a second or more.

        Parameters
        ----------
        values : ndarray, shape (n_samples, n_channels), float32 or float64

        Returns
        -------
        channels : tuple of Channel
            The same object as long as nothing changed.
        samples : ndarray, shape (n_samples, n_channels), int32
        """
        if values.ndim != 2 or values.shape[1] != len(self._bare) or values.dtype not in (np.float32, np.float64):
            raise InputError(f"values of shape {values.shape} and type {values.dtype} for {len(self._bare)} channels")
        out = np.empty(values.shape, dtype=np.int32)
        changed = not self._channels
        infinite = np.isinf(values)
        if infinite.any():
            self._warn("float_infinite")
            values = np.where(infinite, np.nan, values)
        for number in range(values.shape[1]):
            column = np.ascontiguousarray(values[:, number]) + values.dtype.type(0)
            step = self._steps[number]
            if values.dtype == np.float64 and step is not None and step.kind == "exact":
                self._narrowed(column)
            integers = None if step is None else _apply(step, column)
            while integers is None:
                step = self._next(number, column)
                changed = True
                integers = _apply(step, column)
            out[:, number] = integers
        if changed:
            self._channels = tuple(
                _described(c, s, values.dtype) for c, s in zip(self._bare, self._steps, strict=True) if s is not None
            )
        return self._channels, out

    def _narrowed(self, column: Floats) -> None:
        """Count doubles that float32 cannot hold: rounded, or beyond its range and so missing."""
        with np.errstate(over="ignore"):
            single = column.astype(np.float32)
        if np.isinf(single).any():
            self._warn("float_infinite")
        elif not np.array_equal(single[~np.isnan(column)], column[~np.isnan(column)]):
            self._warn("float_rounded")

    def _next(self, number: int, column: Floats) -> _Step:
        """Choose a step that holds what was seen of a channel and this."""
        past = self._steps[number]
        past = None if past is None or past.kind == "none" else past
        seen = np.concatenate([self._seen[number].astype(column.dtype), column[np.isfinite(column)]])
        self._seen[number] = seen[-_KEPT:]
        if not seen.size:
            return self._set(number, _Step("none", 1.0, Lattice("decimal"), False))
        step = None
        if self._declared[number] is None and (past is None or past.kind == "found"):
            step = self._found(number, seen)
        if step is None and (past is None or past.kind != "exact"):
            step = self._rounded(number, seen, past)
        if step is None or not _holds(step, column):
            step = _Step("exact", 1.0, Lattice(BITS), True)
            self._warn("float_exact")
        elif step.kind == "rounded" and self._declared[number] is None:
            self._warn("float_rounded")
        if past is not None:
            self._warn("float_finer")
        return self._set(number, step)

    def _set(self, number: int, step: _Step) -> _Step:
        self._steps[number] = step
        return step

    def _found(self, number: int, seen: Floats) -> _Step | None:
        self._finer[number] += 1
        if not seen.size or self._finer[number] > _MAX_FINER:
            return None
        limit = _WIDE if self._resolution == "exact" else _ADC - 1
        return _found_step(seen, limit)

    def _rounded(self, number: int, seen: Floats, past: _Step | None) -> _Step | None:
        step = self._declared[number]
        if step is None and self._resolution != "exact":
            step = usual_step(self._bare[number])
            if step is not None and past is not None and past.kind == "found":
                step = min(step, 1.0 / past.gain)
        if step is None:
            return None
        gain = float(f"{1.0 / step:.12g}")
        largest = float(np.abs(seen).max()) * gain
        return _Step("rounded", gain, None, largest >= _ADC // 2)


def _found_step(seen: Floats, limit: int) -> _Step | None:
    lattice = find_step(seen, limit)
    if lattice is None:
        return None
    return _Step("found", lattice.gain, lattice, bool(np.abs(seen).max() * lattice.gain >= _ADC // 2))


def _holds(step: _Step, column: Floats) -> bool:
    return _apply(step, column) is not None


def _apply(step: _Step, column: Floats) -> IntSamples | None:
    """Convert values; None when the step does not hold them all."""
    absent = np.isnan(column)
    if step.kind == "exact":
        with np.errstate(over="ignore"):
            single = column.astype(np.float32)
        bits = single.view(np.int32)
        ordered = np.where(bits < 0, bits ^ 0x7FFFFFFF, bits).astype(np.int32)
        return np.where(absent | np.isinf(single), np.int32(MISSING), ordered)
    whole = np.rint(np.where(absent, 0, column).astype(np.float64) * step.gain)
    if whole.size and np.abs(whole).max() > (_WIDE if step.wide else _ADC - 1):
        return None
    if step.kind == "none" and not absent.all():
        return None
    if step.kind == "found" and step.lattice is not None and not gives(whole, step.lattice, column, ~absent):
        return None
    return np.where(absent, MISSING, whole).astype(np.int32)


def _described(bare: Channel, step: _Step, dtype: np.dtype[Any]) -> Channel:
    """Return the descriptor: ``physical()`` gives the floats back (to the last bit of a double)."""
    header = {**bare.header, "dtype": dtype.newbyteorder("=").str}
    if step.kind == "exact":
        low, high = -(0x7F800000) - 1, 0x7F800000
        header["lattice"] = BITS
        return replace(
            bare, gain=1.0, baseline=0, digital_min=low, digital_max=high, missing=MISSING, kind=TRIGGER, header=header
        )
    if step.lattice is not None:
        header["lattice"] = step.lattice.to_dict()
    else:
        header["rounding"] = 0.5 / step.gain
    most = _WIDE if step.wide else _ADC
    return replace(
        bare, gain=step.gain, baseline=0, digital_min=-most, digital_max=most, missing=MISSING, header=header
    )


def declared_step(resolution: str, channel: Channel) -> float | None:
    """Return the step that a feed's ``resolution`` declares, in the channel's unit; None for auto and exact.

    Raises
    ------
    InputError
        When it is no positive number, or of another quantity than the channel.
    """
    if resolution in ("auto", "exact"):
        return None
    match = _RESOLUTION.fullmatch(resolution)
    try:
        value = float(match[1]) if match else 0.0
    except ValueError:
        value = 0.0
    if match is None or not 0 < value < 1e12:
        raise InputError(f"resolution = {resolution!r:.40}", hint="write auto, exact, or a step such as 0.5uV")
    unit = match[2]
    if not unit or unit == channel.unit:
        return value
    own, given = scale_of(channel.unit, "V"), scale_of(unit, "V")
    if own is None and given is not None:
        return None  # a step in volts says nothing of a channel that is none
    if own is None or given is None:
        raise InputError(
            f"resolution = {resolution!r:.40} for a channel in {channel.unit!r:.20}", hint="use the channels' own unit"
        )
    return float(f"{value * given / own:.12g}")
