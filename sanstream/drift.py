"""The watch over one stream: phi per channel, the loop of two, bits per sample; only windows that can be judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sanstream.drift_series import AXIS, BITS, DELTA, PHI, ROUNDNESS, Series, Shift

_LOUDER = 2.0
"""Fast noise this many times its usual level makes a window unfit to be judged."""
_LEAST_NOISE = 0.012
_STEEP_NOISE = 0.08
"""Up to this share of its range, noise leaves a window's steepest samples their direction."""
_SWAYING = 3.0
_LEAST_SWAY = 0.04
"""Less noise and movement than these shares of the signal's usual range is no reason to look away."""
_REFERENCE = 40
_LEAST_USUAL = 5
_RELEARN = 180
"""After so many windows too noisy by comparison (half an hour) the noise is the new normal."""


@dataclass(frozen=True)
class Look:
    """One window of one channel.

    Parameters
    ----------
    phi : float
    usable : bool
    noise, sway, reach, tempo : float
        As :class:`sanstream.drift_windows.Sight` gives them.
    """

    phi: float
    usable: bool
    noise: float
    sway: float
    reach: float
    tempo: float = 0.0

    @property
    def beside(self) -> tuple[float, float, float, float]:
        """What may excuse another phi: tempo, sway, noise, reach."""
        return self.tempo, self.sway, self.noise, self.reach


@dataclass(frozen=True)
class Loop:
    """What two channels draw in their plane in one window; of an ECG, the QRS loop.

    Parameters
    ----------
    axis : float
        Direction, degrees within -90 and 90.
    roundness : float
        Width over length, 0 for a line.
    """

    axis: float
    roundness: float


@dataclass(frozen=True)
class Alarm:
    """The signal changed.

    Parameters
    ----------
    window : int
        Number of the window, counted from the watch's first, at which that became certain.
    figure : str
        ``"phi 0"``, ``"phi 1"`` (per watched channel), ``"axis"``, ``"roundness"`` or ``"bits"``.
    shift : Shift
    """

    window: int
    figure: str
    shift: Shift


class _Eye:
    """One channel: its series of phi, and how loud it usually is."""

    def __init__(self, series: Series, usual: Sequence[Sequence[float]] = ()) -> None:
        self.series = series
        self.usual = [tuple(u) for u in usual]  # noise, sway and reach of the latest windows admitted
        self.refused = 0
        self.steep = False

    def admits(self, look: Look) -> bool:
        """Tell whether a window is as quiet as the channel's windows usually are, and take note of it.

        ``steep`` then tells whether at least its steepest samples stand out.
        """
        self.steep = look.usable and look.noise <= _STEEP_NOISE * look.reach
        if not look.usable:
            return False
        if len(self.usual) >= _LEAST_USUAL:
            noise, sway, reach = np.median(np.array(self.usual), axis=0).tolist()
            loud = look.noise > max(_LOUDER * noise, noise + _LEAST_NOISE * reach)
            swaying = look.sway > _SWAYING * sway + _LEAST_SWAY * reach
            self.steep &= not swaying
            if loud or swaying:
                self.refused += 1
                if self.refused >= _RELEARN:
                    self.series.restart()
                    self.usual, self.refused = [], 0
                return False
        self.refused = 0
        self.usual = [*self.usual[-(_REFERENCE - 1) :], (look.noise, look.sway, look.reach)]
        return True


class DriftWatch:
    """Says when a stream's signal has changed for good.

    Besides phi and bits, the loop that two channels draw is watched: electrodes that were moved or swapped may leave
    every beat its shape in each.

    A window that cannot be judged (lead off, flat, at the rails, missing, or far noisier than usual) is not looked
    at, so an alarm always rests on windows from before and after.

    Parameters
    ----------
    n_channels : int
        Watched channels: 0, 1 or 2.
    delta : float
        ADWIN's confidence.
    """

    def __init__(self, n_channels: int, *, delta: float = DELTA) -> None:
        self._eyes = [_Eye(Series(PHI, delta)) for _ in range(n_channels)]
        self._bits = Series(BITS, delta)
        self._loop = {"axis": Series(AXIS, delta), "roundness": Series(ROUNDNESS, delta)}
        self._clear = True
        self._beside: list[tuple[float, float, float, float]] = []
        self.n_windows = 0
        self.n_admitted = 0

    @property
    def phi(self) -> float | None:
        """Mean level of phi over the watched channels; None while there is none."""
        levels = [eye.series.level for eye in self._eyes if len(eye.series.tail)]
        return float(np.mean(levels)) if levels else None

    def update(self, looks: Sequence[Look], loop: Loop | None = None) -> Alarm | None:
        """Take the next window.

        Parameters
        ----------
        looks : sequence of Look
            One per watched channel.
        loop : Loop, optional
            Of the two watched channels, where they draw one.
        """
        alarm = None
        self.n_windows += 1
        admitted = [eye.admits(look) for eye, look in zip(self._eyes, looks, strict=True)]
        self._clear &= all(admitted)
        self._beside += [look.beside for look in looks]
        self.n_admitted += any(admitted)
        for c, (eye, look) in enumerate(zip(self._eyes, looks, strict=True)):
            shift = eye.series.update(look.phi, look.beside) if admitted[c] else None
            if shift is not None and alarm is None:
                alarm = Alarm(self.n_windows, f"phi {c}", shift)
        for name, value, clear in self._sides(loop, all(admitted)):
            shift = self._loop[name].update(value) if clear else None
            if shift is not None and alarm is None:
                alarm = Alarm(self.n_windows, name, shift)
        if alarm is not None:
            self.restart()
        return alarm

    def _sides(self, loop: Loop | None, admitted: bool) -> tuple[tuple[str, float, bool], ...]:
        """Return the loop's figures and whether each can be judged: noise makes a loop rounder, but hardly turns it."""
        if loop is None:
            return ()
        return ("axis", loop.axis, all(eye.steep for eye in self._eyes)), ("roundness", loop.roundness, admitted)

    def end_block(self, bits_per_sample: float) -> Alarm | None:
        """Take a block's bits per sample at the bound; they count only if all its windows could be judged."""
        clear, self._clear = self._clear, True
        beside, self._beside = self._beside, []
        means = np.exp(np.log(np.maximum(beside, 1e-3)).mean(axis=0)) if beside else np.zeros(4)
        tempo, sway, noise, reach = means.tolist()
        shift = self._bits.update(bits_per_sample, (tempo, sway, noise, reach)) if clear else None
        if shift is None:
            return None
        self.restart()
        return Alarm(self.n_windows, "bits", shift)

    def restart_bits(self) -> None:
        """Take the next blocks' bits as the new normal: a new segment began."""
        self._bits.restart()

    def restart(self) -> None:
        """Take what comes next as the new normal: after an alarm, or when the kernels changed."""
        for eye in self._eyes:
            eye.series.restart()
        self._bits.restart()
        for series in self._loop.values():
            series.restart()

    def state(self) -> dict[str, Any]:
        """Return what must be kept, as JSON values."""
        eyes = []
        for eye in self._eyes:
            usual = [[round(float(v), 3) for v in u] for u in eye.usual]
            eyes.append({"series": eye.series.state(), "usual": usual})
        return {
            "eyes": eyes,
            "bits": self._bits.state(),
            "loop": {name: series.state() for name, series in self._loop.items()},
            "n_windows": self.n_windows,
            "n_admitted": self.n_admitted,
            "clear": self._clear,
        }

    @classmethod
    def from_state(cls, data: Mapping[str, Any], *, delta: float = DELTA) -> DriftWatch:
        """Go on from :meth:`state`."""
        out = cls(0, delta=delta)
        out._eyes = [_Eye(Series.from_state(e["series"], PHI, delta), e["usual"]) for e in data["eyes"]]
        out._bits = Series.from_state(data["bits"], BITS, delta)
        for name, state in data.get("loop", {}).items():
            out._loop[name] = Series.from_state(state, out._loop[name].practice, delta)
        out.n_windows, out.n_admitted = int(data["n_windows"]), int(data["n_admitted"])
        out._clear = bool(data["clear"])
        return out
