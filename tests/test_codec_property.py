"""Any mixture of signals, qualities, ranges and missing codes keeps every promise, with any shipped bank."""

from __future__ import annotations

from typing import Any

import numpy as np
from codec_cases import EFFORTS, Samples, check, code, ecg, eeg
from hypothesis import given, settings
from hypothesis import strategies as st

from sanstream.bank import blank_bank, named_banks
from sanstream.quality import LOSSLESS, MAX_ERROR, PRDN, RMSE, SPARSE, Quality
from sanstream.signal import TRIGGER, Channel

LONGEST = 1300
HEART, BRAIN = ecg(LONGEST / 50, rate=50, leads=4), eeg(LONGEST / 50, rate=50, channels=4)

qualities = st.one_of(
    st.just(Quality(LOSSLESS)),
    st.just(Quality(SPARSE)),
    st.builds(Quality, st.just(PRDN), st.floats(0.01, 60)),
    st.builds(Quality, st.just(RMSE), st.floats(0.5, 500)),
    st.builds(Quality, st.just(MAX_ERROR), st.integers(1, 300).map(float)),
)


@st.composite
def columns(draw: st.DrawFn, n: int) -> tuple[Samples, Channel, Quality]:
    """One channel of ``n`` samples, its range and what is asked of it."""
    rng = np.random.default_rng(draw(st.integers(0, 2**20)))
    kind = draw(st.sampled_from(["heart", "brain", "walk", "noise", "steps", "spikes", "constant"]))
    which = draw(st.integers(0, 3))
    x = {
        "heart": lambda: HEART[:n, which].astype(float),
        "brain": lambda: BRAIN[:n, which].astype(float),
        "walk": lambda: np.cumsum(rng.normal(0, 10, n)),
        "noise": lambda: rng.normal(0, 300, n),
        "steps": lambda: np.repeat(rng.integers(-500, 500, n), 37)[:n].astype(float),
        "spikes": lambda: np.where(rng.random(n) < 0.01, 20000.0, rng.integers(0, 3, n)),
        "constant": lambda: np.full(n, 17.0),
    }[kind]()
    x = (x * draw(st.sampled_from([0.01, 1, 1, 3, 10000]))).round()
    if draw(st.booleans()):
        x = np.clip(x, np.quantile(x, 0.1), np.quantile(x, 0.9)).round()
    x = np.clip(x, -(2**31), 2**31 - 1).astype(np.int64)
    missing = None
    low, high = int(x.min()), int(x.max())
    if draw(st.booleans()):
        missing = draw(st.sampled_from([int(x[n // 2]), low - 1 if low > -(2**31) else high, high, 0]))
        for _ in range(draw(st.integers(0, 3))):
            a = draw(st.integers(0, n - 1))
            x[a : a + draw(st.integers(1, n))] = missing
    slack = draw(st.sampled_from([0, 0, 5000]))
    low, high = max(low - slack, -(2**31)), min(high + slack, 2**31 - 1)
    trigger = draw(st.integers(0, 5)) == 0
    channel = Channel("x", "mV", 1.0, 0, low, high, missing, kind=TRIGGER if trigger else "signal")
    return x.astype(np.int32), channel, draw(qualities)


@settings(max_examples=60)
@given(data=st.data())
def test_any_mixture_keeps_every_promise(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, LONGEST) | st.sampled_from([500, 501, LONGEST]))
    parts: list[Any] = data.draw(st.lists(columns(n), min_size=1, max_size=5))
    bank = data.draw(st.sampled_from([blank_bank(), *named_banks().values()]))
    effort = data.draw(st.sampled_from(EFFORTS))
    x = np.stack([samples for samples, _, _ in parts], axis=1)
    channels = [channel for _, channel, _ in parts]
    check(code(x, [quality for _, _, quality in parts], effort=effort, channels=channels, bank=bank))
