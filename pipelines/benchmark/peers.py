"""Rows of the peers: one codec, one record, one quality."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from pipelines.benchmark import cases
from pipelines.benchmark.codec import CannotHold, Lossless
from pipelines.benchmark.lossless import LOSSLESS, pcodec_bytes
from pipelines.benchmark.lossy import LOSSY, WAVELET, Decoded, Floats, Lossy
from pipelines.benchmark.measure import losses, rmse_bound, signal, worst
from sanstream.signal import Recording

_COMMON = ("codec.py", "peers.py", "measure.py")
_LOSSLESS = (*_COMMON, "lossless.py", "lossless_wfdb.py")
_LOSSY = (*_COMMON, "lossless.py", "lossy.py", "bisect.py")
_WAVELET = (*_LOSSY, "wavelet.py", "wavelet_coder.py")


def peers_of(figure: cases.Figure) -> tuple[Lossless | Lossy, ...]:
    """Return the peers that can be asked for a figure's quality."""
    if figure.kind == cases.LOSSLESS:
        return LOSSLESS
    if figure.kind == cases.PRDN:
        return LOSSY
    return tuple(p for p in LOSSY if p.at_maximum is not None) if figure.kind == cases.MAX_ERROR else ()


def sources_of(peer: Lossless | Lossy) -> tuple[str, ...]:
    """Name the files of this folder that decide a peer's figures."""
    if isinstance(peer, Lossless):
        return _LOSSLESS
    return _WAVELET if peer.name == WAVELET else _LOSSY


def peer_row(peer: Lossless | Lossy, recording: Recording, figure: cases.Figure) -> dict[str, Any]:
    """Code a recording with one peer.

    Parameters
    ----------
    peer : Lossless or Lossy
    recording : Recording
    figure : Figure

    Returns
    -------
    dict
        Sizes and losses; sizes are None when the peer cannot hold the samples.

    Raises
    ------
    ImportError
        When the peer is not installed.
    """
    began = time.perf_counter()
    try:
        row = _lossless(peer, recording) if isinstance(peer, Lossless) else _lossy(peer, recording, figure)
    except CannotHold as error:
        row = {"coded_bytes": None, "stored_bytes": None, "note": str(error)}
    return row | {"seconds": round(time.perf_counter() - began, 2), "broken": 0}


def _lossless(peer: Lossless, recording: Recording) -> dict[str, Any]:
    """Missing samples are stored as the integers that stand for them."""
    best = [peer.best(segment.samples) for _, segment in cases.segments(recording)]
    return {
        "coded_bytes": sum(packed.coded_bytes for packed, _ in best),
        "stored_bytes": sum(packed.stored_bytes for packed, _ in best),
        "prdn": 0.0,
        "prd_raw": 0.0,
        "max_error": 0.0,
        "layout": ", ".join(dict.fromkeys(variant for _, variant in best)),
    }


def _lossy(peer: Lossy, recording: Recording, figure: cases.Figure) -> dict[str, Any]:
    """Missing samples are taken out beforehand and cost the peer nothing."""
    coded, stored, found = 0.0, 0.0, []
    unstored = False
    for _, segment in cases.segments(recording):
        lossy = [i for i in range(len(segment.channels)) if rmse_bound(segment, i, 1) > 0]
        for place in set(range(len(segment.channels))) - set(lossy):
            exact = len(pcodec_bytes(segment.samples[:, place]))
            coded, stored = coded + exact, stored + exact
        signals = [signal(segment, place) for place in lossy]
        bounds = [rmse_bound(segment, place, figure.value) for place in lossy]
        parts = _smallest(peer, signals, bounds if figure.kind == cases.PRDN else int(figure.value))
        decoded = [row for part in parts for row in np.atleast_2d(part.samples)]
        for x, y, place in zip(signals, decoded, lossy, strict=True):
            found.append(losses(x, y, segment.channels[place]))
        coded += sum(part.coded_bytes for part in parts)
        stored += sum(part.stored_bytes or 0 for part in parts)
        unstored |= any(part.stored_bytes is None for part in parts)
    row = worst(found)
    limit = row.get("prdn" if figure.kind == cases.PRDN else "max_error", 0.0)
    if limit > figure.value * (1 + 1e-6):
        raise RuntimeError(f"{peer.name}: {figure.name} asked, {limit:g} reached")
    return {"coded_bytes": float(np.round(coded, 1)), "stored_bytes": None if unstored else stored, **row}


def _smallest(peer: Lossy, signals: list[Floats], bound: list[float] | int) -> list[Decoded]:
    """Code channels one by one, or together where the peer can and that is smaller."""
    if isinstance(bound, list):
        parts = [peer.at_rmse(x, b) for x, b in zip(signals, bound, strict=True)]
    else:
        assert peer.at_maximum is not None
        parts = [peer.at_maximum(x, bound) for x in signals]
    if peer.jointly is None or len(signals) < 2 or len({len(x) for x in signals}) > 1:
        return parts
    joint = peer.jointly(np.stack(signals), bound)
    return [joint] if joint.coded_bytes < sum(part.coded_bytes for part in parts) else parts
