"""Qualities: what may be asked, what is refused and how, what was reached."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sanstream import quality as q
from sanstream.errors import InputError
from sanstream.signal import TRIGGER, Channel

ECG = Channel("MLII", unit="mV", gain=200.0, baseline=1024)
PRESSURE = Channel("ABP", unit="mmHg", gain=20.0)
STATUS = Channel("STATUS", kind=TRIGGER)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("lossless", q.LOSSLESS, 0),
        ("sparse", q.SPARSE, 0),
        ("prdn=5", q.PRDN, 5),
        ("prdn=5%", q.PRDN, 5),
        ("prdn=.5", q.PRDN, 0.5),
        ("rmse=2adu", q.RMSE, 2),
        ("rmse=10uV", q.RMSE, 2),
        ("rmse=0.01mV", q.RMSE, 2),
        ("max-error=4adu", q.MAX_ERROR, 4),
        ("max-error=0.02 mV", q.MAX_ERROR, 4),
        ("max-error=4.9adu", q.MAX_ERROR, 4),
    ],
)
def test_a_quality_is_read_in_digital_steps(text: str, kind: str, value: float) -> None:
    found = q.parse_quality(text, ECG)
    assert (found.kind, found.value) == (kind, pytest.approx(value))


def test_a_unit_that_starts_like_a_prefix_is_whole() -> None:
    assert q.parse_quality("max-error=1mmHg", PRESSURE).value == 20


@pytest.mark.parametrize("text", ["rmse=0.4adu", "max-error=0.4adu", "max-error=0.9adu", "prdn=0", "rmse=1uV"])
def test_a_bound_below_half_a_step_is_lossless(text: str) -> None:
    assert q.parse_quality(text, ECG).kind == q.LOSSLESS


@pytest.mark.parametrize("text", ["prdn=5", "sparse", "lossless", "max-error=4adu"])
def test_a_trigger_channel_is_lossless_in_every_mode(text: str) -> None:
    assert q.parse_quality(text, STATUS).kind == q.LOSSLESS


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prd=5", "not offered; use prdn=5"),
        ("best", "unknown quality 'best'; use one of lossless"),
        ("snr=20", "unknown quality"),
        ("prdn", "unknown quality"),
        ("prdn=", "'' is not a number"),
        ("prdn=five", "'five' is not a number"),
        ("prdn=-5", "a bound cannot be below 0; write prdn=5, or lossless"),
        ("max-error=-4adu", "a bound cannot be below 0; write max-error=4adu"),
        ("prdn=-five", "'-five' is not a number"),
        ("prdn=5mV", "prdn is in per cent"),
        ("rmse=10", "names no unit; write rmse=10adu, or rmse=10mV"),
        ("rmse=10mmHg", "'mmHg', channel 'MLII' is in 'mV'; use the channel's unit"),
        ("max-error=1e999adu", "not a number"),
    ],
)
def test_a_bad_quality_is_refused_with_a_way_out(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        q.parse_quality(text, ECG)


def test_a_later_request_wins_and_labels_take_wildcards() -> None:
    channels = [ECG, PRESSURE, Channel("PLETH")]
    chosen = q.choose_qualities(["prdn=5", "P*=lossless", "ABP=max-error=1mmHg"], channels)
    assert [str(c) for c in chosen] == ["prdn=5", "max-error=1mmHg", "lossless"]
    assert [c.kind for c in q.choose_qualities([], channels)] == ["lossless"] * 3


def test_a_label_that_no_channel_has_is_refused_with_the_labels() -> None:
    with pytest.raises(InputError, match=r"names channel 'II'; .*a channel of this recording: MLII, ABP"):
        q.check_requests(["II=prdn=5"], [ECG, PRESSURE])
    q.check_requests(["prdn=5", "A*=lossless"], [ECG, PRESSURE])


def test_prd_figures_follow_their_definitions() -> None:
    x = np.array([1024.0, 1034.0, 1014.0, 1024.0])
    y = x + np.array([1.0, -1.0, 1.0, -1.0])
    assert q.rmse(x, y) == 1.0
    assert q.prdn(x, y) == pytest.approx(100 * 2 / math.sqrt(200))
    assert q.prd(x, y, offset=1024) == pytest.approx(q.prdn(x, y))
    assert q.prd(x, y) == pytest.approx(100 * 2 / np.linalg.norm(x))
    assert q.snr_db(x, y) == pytest.approx(20 * math.log10(100 / q.prdn(x, y)))
    assert q.relative_loss(x, y) == pytest.approx(4 / 20)


def test_phi_counts_numbers() -> None:
    assert q.phi(0, 10, 100, 0.0) == pytest.approx(0.2)
    assert q.phi(30, 20, 100, 0.0) == pytest.approx(0.7)
    assert q.phi(0, 0, 100, 0.6) == pytest.approx(0.6)
    assert q.phi(0, 10, 100, 0.0, n_dims=2) == pytest.approx(0.3)


def test_a_constant_window_has_a_figure() -> None:
    flat = np.full(10, 7.0)
    assert q.prdn(flat, flat) == 0
    assert q.prdn(flat, flat + 1) == math.inf
    assert q.snr_db(flat, flat) == math.inf
    assert q.snr_db(flat, flat + 1) == -math.inf
    assert q.relative_loss(flat, flat + 1) == math.inf
    assert q.rmse([], []) == 0


@given(arrays(np.int32, st.integers(1, 50), elements=st.integers(-(2**23), 2**23)), st.integers(-1000, 1000))
def test_prdn_ignores_a_common_offset(x: np.ndarray, offset: int) -> None:
    y = x + np.arange(len(x)) % 3
    assert q.prdn(x + offset, y + offset) == pytest.approx(q.prdn(x, y), rel=1e-6)


def test_a_bound_under_half_a_step_says_that_it_became_lossless() -> None:
    channels = [Channel("II", "mV", 200.0), Channel("V", "mV", 200.0)]
    notes = q.tightened(["max-error=0.3adu", "V=lossless"], channels)
    assert notes == ["channel 'II': max-error=0.3adu is under half a digital step, stored lossless"]
    assert q.tightened(["prdn=5"], channels) == []
