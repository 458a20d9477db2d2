"""Spectra, pulses and the pieces they are taken from: known answers."""

from __future__ import annotations

import numpy as np
import pytest

from sanstream.evaluate_signals import Stretch
from sanstream.serves.detectors import NoResultError
from sanstream.serves.pieces import Piece, pieces_of
from sanstream.serves.pulses import KINDS, compare_pulses
from sanstream.serves.spectra import BANDS_HZ, compare_spectra
from sanstream.signal import Channel

RATE = 200.0
T = np.arange(int(60 * RATE)) / RATE
MISSING = -32768


@pytest.mark.parametrize(("hz", "band"), list(zip((2.0, 6.0, 10.0, 20.0, 40.0), BANDS_HZ, strict=True)))
def test_the_power_of_a_sinusoid_is_found_in_its_band(hz: float, band: str) -> None:
    x = 10 * np.sin(2 * np.pi * hz * T)
    found = compare_spectra([Piece(0, x, 0.9 * x)], RATE, unit="uV").bands
    assert found[band].original == pytest.approx(50, rel=0.01)
    assert found[band].change == pytest.approx(100 * (0.81 - 1), abs=1e-6)
    assert found[band].coherence == pytest.approx(1, abs=0.01)  # beside the peak there is rounding alone
    assert sum(found[b].original for b in BANDS_HZ if b != band) < 0.5


def test_coherence_falls_where_the_other_signal_is_another() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, len(T)))
    found = compare_spectra([Piece(0, x, y)], RATE, unit="uV").bands
    assert all(b.coherence is not None and b.coherence < 0.1 for b in found.values())
    same = compare_spectra([Piece(0, x, x)], RATE, unit="uV").bands
    assert all(b.coherence == pytest.approx(1) and b.change == 0 for b in same.values())


def test_a_short_eeg_has_power_but_no_coherence_and_a_slow_one_nothing() -> None:
    x = np.sin(2 * np.pi * 10 * T[:500])
    assert compare_spectra([Piece(0, x, x)], RATE, unit="uV").bands["alpha"].coherence is None
    with pytest.raises(NoResultError, match="too slow"):
        compare_spectra([Piece(0, x, x)], 1.0, unit="uV")
    with pytest.raises(NoResultError, match="no stretch of 2 s"):
        compare_spectra([Piece(0, x[:300], x[:300])], RATE, unit="uV")


def pulses() -> np.ndarray:
    """Return a pressure from 80 to 120 mmHg, one beat a second."""
    phase = T % 1.0
    return 80 + 40 * np.exp(-(((phase - 0.3) / 0.12) ** 2))


def test_systole_and_diastole_are_found_and_compared() -> None:
    x = pulses()
    y = np.where(x > 100, x - 3.0, np.where(x < 82, x + 1.0, x))
    found = compare_pulses([Piece(0, x, y)], RATE, KINDS["pressure"], unit="mmHg")
    assert (found.counts.found, found.counts.missed, found.counts.extra) == (60, 0, 0)
    assert found.original_peak == pytest.approx(120, abs=0.1)
    assert found.original_trough == pytest.approx(80, abs=0.1)
    assert found.peak.mean == pytest.approx(-3, abs=0.01)
    assert found.trough.mean == pytest.approx(1, abs=0.01)


def test_a_late_signal_is_late_by_its_milliseconds() -> None:
    x = pulses()
    found = compare_pulses([Piece(0, x, np.roll(x, 10))], RATE, KINDS["pressure"], unit="mmHg")
    assert found.time_ms.mean == pytest.approx(50, abs=1)


def test_lost_peaks_are_counted() -> None:
    x = pulses()
    y = np.where((T >= 10) & (T < 13), 80.0, x)
    counts = compare_pulses([Piece(0, x, y)], RATE, KINDS["pressure"], unit="mmHg").counts
    assert (counts.found, counts.missed, counts.extra) == (57, 3, 0)


def test_a_flat_or_slow_channel_has_no_peaks() -> None:
    with pytest.raises(NoResultError, match="no peak"):
        compare_pulses([Piece(0, np.ones(1000), np.ones(1000))], RATE, KINDS["ppg"], unit="")
    with pytest.raises(NoResultError, match="too slow"):
        compare_pulses([Piece(0, T, T)], 1.0, KINDS["ppg"], unit="")


def stretch(samples: np.ndarray, start: int = 0, **channel: object) -> Stretch:
    own = Channel("II", "mV", 100.0, missing=MISSING, **channel)  # type: ignore[arg-type]
    return Stretch(start, own, samples.astype(np.int32), samples.astype(np.int32))


def test_short_gaps_are_bridged_and_long_ones_part_pieces() -> None:
    samples = np.arange(3000)
    samples[500:510] = MISSING
    samples[1500:1600] = MISSING
    found = pieces_of([stretch(samples, 1000)], 100.0)
    assert [(p.start, p.stop) for p in found.pieces] == [(1000, 2500), (2600, 4000)]
    assert found.pieces[0].original[495:515] == pytest.approx(np.arange(495, 515) / 100)
    assert found.whole_s == pytest.approx(28.9)


def test_all_missing_all_short_and_none_make_no_piece() -> None:
    assert pieces_of([stretch(np.full(500, MISSING))], 100.0).pieces == ()
    assert pieces_of([stretch(np.arange(150))], 100.0).pieces == ()
    assert pieces_of([], 100.0).pieces == ()


def test_of_a_long_channel_parts_are_taken_spread_over_it() -> None:
    found = pieces_of([stretch(np.zeros(10 * 3600))], 1.0, most_s=3600.0)
    assert found.analysed_s <= 3600 < found.whole_s
    assert found.pieces[0].start == 0
    assert found.pieces[-1].stop == 10 * 3600


def test_segments_that_came_late_are_not_taken_twice() -> None:
    found = pieces_of([stretch(np.zeros(1000)), stretch(np.zeros(1000), 500)], 100.0)
    assert [(p.start, p.stop) for p in found.pieces] == [(0, 1000), (1000, 1500)]
