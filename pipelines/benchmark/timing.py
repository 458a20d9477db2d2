"""What is timed: every codec as a pair of calls on samples in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from pipelines.benchmark import cases
from pipelines.benchmark.bisect import largest
from pipelines.benchmark.codec import CannotHold, Lossless, Packed
from pipelines.benchmark.lossless import LOSSLESS, pcodec_bytes
from pipelines.benchmark.lossy import rmse, rounding_step, sz_pack, sz_unpack, zfp_pack, zfp_step, zfp_unpack
from pipelines.benchmark.measure import rmse_bound, signal
from pipelines.benchmark.own import NAME, requests
from sanstream.bank import Bank
from sanstream.decode import decode_block
from sanstream.encode import encode_blocks, plan_segment
from sanstream.quality import choose_qualities
from sanstream.signal import IntSamples, Segment

EXACT = cases.Figure("lossless", cases.LOSSLESS)
LOSSY = cases.Figure("PRDN 9 %", cases.PRDN, 9)


@dataclass(frozen=True)
class Timed:
    """A codec that is ready to be timed on given samples.

    Parameters
    ----------
    name, quality : str
    encode : callable
        Gives a payload.
    decode : callable
        Takes a payload.
    size : callable
        Takes a payload; bytes.
    """

    name: str
    quality: str
    encode: Callable[[], Any]
    decode: Callable[[Any], Any]
    size: Callable[[Any], float]


def timed_codecs(case: cases.Case, efforts: tuple[str, ...], bank: Bank | None) -> Iterator[Timed]:
    """Yield every codec that is installed and can hold the samples; steps and layouts are chosen beforehand.

    Parameters
    ----------
    case : Case
        Of one stream.
    efforts : tuple of str
        Of sanstream.
    bank : Bank or None
        Sanstream's sizes are those with this bank, which never saw the record.
    """
    ((_, segment),) = cases.segments(case.recording)
    yield from _exact_peers(segment.samples)
    for make in (_sz, _zfp, _rounding):
        try:
            yield make(segment)
        except ImportError:
            continue
    for effort in efforts:
        for figure in (EXACT, LOSSY):
            yield _own(case, figure, effort, bank)


def _exact_peers(samples: IntSamples) -> Iterator[Timed]:
    for peer in LOSSLESS:
        if peer.name.startswith("WFDB"):
            continue  # goes through files
        try:
            _, layout = peer.best(samples)
        except (ImportError, CannotHold):
            continue
        encode = partial(peer.encode, samples, layout)
        yield Timed(peer.name, EXACT.name, encode, partial(_decode, peer), _coded)


def _decode(peer: Lossless, packed: Packed) -> IntSamples:
    return peer.decode(packed.payload)


def _coded(packed: Any) -> float:
    return float(packed.coded_bytes)


def _total(parts: list[Any]) -> float:
    return float(sum(len(p) for p in parts))


def _columns(segment: Segment) -> list[tuple[Any, float]]:
    """Return the channels as floats, each with its error bound."""
    places = range(len(segment.channels))
    return [(signal(segment, i), rmse_bound(segment, i, LOSSY.value)) for i in places if rmse_bound(segment, i, 1)]


def _sz(segment: Segment) -> Timed:
    form = "INTERP_LORENZO"

    def reached(x: Any, step: float) -> float:
        return rmse(x, sz_unpack(*sz_pack(x, step, form), len(x)))

    columns = [(x, largest(partial(reached, x), bound, start=2 * bound)) for x, bound in _columns(segment)]

    def encode() -> list[Any]:
        return [sz_pack(x, step, form) for x, step in columns]

    def decode(parts: list[Any]) -> list[Any]:
        return [sz_unpack(data, kind, len(x)) for (data, kind), (x, _) in zip(parts, columns, strict=True)]

    return Timed("SZ3", LOSSY.name, encode, decode, lambda parts: _total([data for data, _ in parts]))


def _zfp(segment: Segment) -> Timed:
    centred = [(x - np.round(x.mean()), bound) for x, bound in _columns(segment)]
    columns = [(x, 1 / zfp_step(x, bound)) for x, bound in centred]

    def encode() -> list[bytes]:
        return [zfp_pack(x, scale) for x, scale in columns]

    def decode(parts: list[bytes]) -> list[Any]:
        return [zfp_unpack(data, scale) for data, (_, scale) in zip(parts, columns, strict=True)]

    return Timed("ZFP", LOSSY.name, encode, decode, _total)


def _rounding(segment: Segment) -> Timed:
    from pcodec import standalone

    columns = [(x, rounding_step(x, bound)) for x, bound in _columns(segment)]

    def encode() -> list[bytes]:
        return [pcodec_bytes(np.round(x / step)) for x, step in columns]

    def decode(parts: list[bytes]) -> list[Any]:
        return [standalone.simple_decompress(p) * step for p, (_, step) in zip(parts, columns, strict=True)]

    return Timed("rounding + pcodec 12", LOSSY.name, encode, decode, _total)


def _own(case: cases.Case, figure: cases.Figure, effort: str, bank: Bank | None) -> Timed:
    """Planning counts as encoding; timed is the choice among the shipped banks, as for anybody's recording."""
    ((stream, segment),) = cases.segments(case.recording)
    qualities = choose_qualities(requests(case.recording, figure), segment.channels)

    def encode(bank: Bank | None = None) -> tuple[Any, list[bytes]]:
        plan = plan_segment(
            segment.samples, segment.channels, qualities, stream.rate, segment_id="0" * 16, effort=effort, bank=bank
        )
        return plan, list(encode_blocks(segment.samples, plan))

    def size(payload: tuple[Any, list[bytes]]) -> float:
        plan, blocks = payload if bank is None else encode(bank)
        return _total(blocks) + 2 * len(blocks) + len(plan.coding.bank_delta)

    def decode(payload: tuple[Any, list[bytes]]) -> list[IntSamples]:
        plan, blocks = payload
        return [decode_block(data, i, plan.coding, plan.bank) for i, data in enumerate(blocks)]

    return Timed(f"{NAME} {effort}", figure.name, encode, decode, size)
