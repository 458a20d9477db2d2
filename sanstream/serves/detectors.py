"""QRS detectors of other people's packages, called alike: XQRS of wfdb, and the one of NeuroKit2 where installed."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from sanstream.errors import InputError, SanstreamError
from sanstream.serves.pieces import FloatArray

SLOWEST_HZ = 50.0
"""Both detectors filter up to 20 Hz; below this rate there is nothing to filter."""
_FLAT = 1e-9
_EXCERPTS, _EXCERPT_S = 9, 10.0


class NoResultError(SanstreamError):
    """A measure that cannot be taken of this signal; the message says why."""


def _xqrs(signal: FloatArray, rate_hz: float) -> npt.NDArray[np.int64]:
    from wfdb import processing

    detector = processing.XQRS(sig=signal, fs=rate_hz)
    detector.detect(verbose=False)
    return np.asarray(detector.qrs_inds, np.int64)


def _neurokit(signal: FloatArray, rate_hz: float) -> npt.NDArray[np.int64]:
    import neurokit2

    # the detector seeks peaks that point up; a lead whose complexes point down is turned round
    n = round(_EXCERPT_S * rate_hz)
    starts = np.linspace(0, max(0, len(signal) - n), _EXCERPTS).astype(int)
    # a few excerpts: ecg_invert needs memory of two seconds for every sample
    down = [neurokit2.ecg_invert(signal[s : s + n], sampling_rate=_whole(rate_hz))[1] for s in starts]
    return _neurokit_as_recorded(-signal if sum(down) > _EXCERPTS / 2 else signal, rate_hz)


def _neurokit_as_recorded(signal: FloatArray, rate_hz: float) -> npt.NDArray[np.int64]:
    import neurokit2

    rate = _whole(rate_hz)
    cleaned = neurokit2.ecg_clean(signal, sampling_rate=rate)
    _, found = neurokit2.ecg_peaks(cleaned, sampling_rate=rate)
    return np.asarray(found["ECG_R_Peaks"], np.int64)


def _whole(rate_hz: float) -> float:
    return int(rate_hz) if rate_hz == int(rate_hz) else rate_hz


DETECTORS: dict[str, Callable[[FloatArray, float], npt.NDArray[np.int64]]] = {"xqrs": _xqrs, "neurokit": _neurokit}
"""``xqrs``: wfdb.processing.XQRS. ``neurokit``: neurokit2's ecg_invert, ecg_clean, ecg_peaks, default methods."""
AS_RECORDED = "neurokit as recorded"
"""``neurokit`` without ecg_invert: known to :func:`detect`, not used by reports."""


def missing_detectors() -> dict[str, str]:
    """Say which detectors are not installed, and how to have them."""
    if importlib.util.find_spec("neurokit2") is not None:
        return {}
    return {"neurokit": "neurokit2 is not installed; pip install 'sanstream[evaluate]' brings it"}


def detect(name: str, signal: FloatArray, rate_hz: float) -> npt.NDArray[np.int64]:
    """Detect QRS complexes.

    Parameters
    ----------
    name : str
        One of :data:`DETECTORS`, or :data:`AS_RECORDED`.
    signal : ndarray, shape (n_samples,), float64
        One lead without gaps.
    rate_hz : float

    Returns
    -------
    ndarray, int64, ascending
        Samples, each once.

    Raises
    ------
    NoResultError
        When the signal is too slow, too flat or too short, or the detector gives up on it.
    InputError
        On another name.
    """
    detectors = {**DETECTORS, AS_RECORDED: _neurokit_as_recorded}
    if name not in detectors:
        raise InputError(f"unknown detector {name!r}", hint=f"use {', '.join(DETECTORS)}")
    if rate_hz < SLOWEST_HZ:
        raise NoResultError(f"{rate_hz:g} Hz is too slow for QRS detection; {SLOWEST_HZ:g} Hz are needed")
    if float(np.ptp(signal)) <= _FLAT:
        return np.zeros(0, np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = detectors[name](signal, rate_hz)
        except Exception as error:  # whatever other people's code dies of, the report goes on and says so
            why = " ".join(str(error).split()) or "no reason given"
            raise NoResultError(f"{name} gave up: {type(error).__name__}: {why}") from error
    found = np.unique(found)
    return found[(found >= 0) & (found < len(signal))]
