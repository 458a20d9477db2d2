"""The coding parameters of a segment: the Zarr codec's configuration (FORMAT.md clause 3)."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import astuple, dataclass, field
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from sanstream.block_lattice import STEP_BITS, Lattice, values_at
from sanstream.block_values import octets, rate, text, whole
from sanstream.errors import InputError, UnsupportedError

VERSION = 1
"""Of the bitstream: what decoders give is fixed for ever."""
MIXING, TABLES = "mixing", "tables"
"""Coders of samples."""
MAX_DELTA_BYTES = 4096
MAX_GROUP_CHANNELS = 16
MAX_GROUP_DEPTH = 3
MAX_REFERENCES = 24
MAX_WINDOW_SAMPLES = 1 << 16
MAX_BLOCK_SAMPLES = 1 << 20
MAX_BLOCK_VALUES = 1 << 24
"""Samples of a block times channels: what a reader must be able to hold."""
MAX_CHANNELS = 4096
_ID, _BASE = re.compile(r"[0-9a-f]{16}"), re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Group:
    """Channels that are coded together in one entropy-coder run.

    Parameters
    ----------
    channels : tuple of int
        Channels of the segment, in coding order.
    parent : int
        Group that must be decoded before, smaller than this group's own number; -1 for none.
    references : tuple of tuple of int
        Per channel, the channels (of this group or its ancestors) that help to predict it.
    """

    channels: tuple[int, ...]
    parent: int = -1
    references: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class PredictorShape:
    """Sizes of the sample predictor: own taps, taps per reference, samples between two solutions.

    ``ahead`` of the taps per reference lie after the sample, and ``filter`` taps follow on what is left; with coder
    ``"mixing"`` they are 0 and 16.
    """

    own: int = 12
    cross: int = 4
    hop: int = 64
    ahead: int = 0
    filter: int = 16


@dataclass(frozen=True)
class SegmentCoding:
    """All that a decoder needs besides block bytes.

    Parameters
    ----------
    segment_id : str
        16 hex digits.
    rate : Fraction
        Samples per second.
    digital_min, digital_max : tuple of int
        Inclusive digital range per channel.
    missing : tuple of int or None
        Missing code per channel.
    window_samples : int
        Samples in a full window.
    block_samples : int
        Samples in a full block, a multiple of ``window_samples``.
    groups : tuple of Group
    bank_base : str
        SHA-256 of the bank, hex.
    bank_delta : bytes
        Adapted kernels and predictor starts, at most 4096 bytes.
    predictor : PredictorShape
    coder : str
        ``"mixing"`` (adaptive bits from mixed contexts) or ``"tables"`` (symbols from counted rows).
    lattices : tuple of (int, int), str or None
        Step and offset (Q32) or list of values per channel whose samples are coded by their places; digital range
        and blocks then speak of places. Empty: no channel is.
    """

    segment_id: str
    rate: Fraction
    digital_min: tuple[int, ...]
    digital_max: tuple[int, ...]
    missing: tuple[int | None, ...]
    window_samples: int
    block_samples: int
    groups: tuple[Group, ...]
    bank_base: str
    bank_delta: bytes = b""
    predictor: PredictorShape = field(default_factory=PredictorShape)
    coder: str = MIXING
    lattices: tuple[Lattice | None, ...] = ()

    def __post_init__(self) -> None:
        problem = _problem(self)
        if problem:
            raise InputError(f"segment {self.segment_id!r}: {problem}", hint="see FORMAT.md, clause 3")

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return len(self.digital_min)

    @cached_property
    def seal(self) -> bytes:
        """First 8 bytes of the SHA-256 of the coding's own text (FORMAT.md 3.5): what every checksum starts from."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("ascii")).digest()[:8]

    @cached_property
    def lines(self) -> tuple[list[int], ...]:
        """Groups to decode for each channel, ancestors first."""
        own = {c: ancestry(self.groups, number) for number, group in enumerate(self.groups) for c in group.channels}
        return tuple(own[c] for c in range(self.n_channels))

    def sample_range(self, channel: int) -> tuple[int, int]:
        """Least and largest sample of a channel."""
        ends = self.digital_min[channel], self.digital_max[channel]
        lattice = self.lattices[channel] if self.lattices else None
        if lattice is None:
            return ends
        if isinstance(lattice, str):
            low, high = values_at(np.array(ends), lattice).tolist()
            return low, high
        return (ends[0] * lattice[0] + lattice[1]) >> STEP_BITS, (ends[1] * lattice[0] + lattice[1]) >> STEP_BITS

    def n_blocks(self, n_samples: int) -> int:
        """Blocks in a segment of ``n_samples``."""
        return -(-n_samples // self.block_samples)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values: the codec configuration."""
        return {
            "version": VERSION,
            "segment_id": self.segment_id,
            "rate": str(self.rate),
            "digital_min": list(self.digital_min),
            "digital_max": list(self.digital_max),
            "missing": list(self.missing),
            "window_samples": self.window_samples,
            "block_samples": self.block_samples,
            "coder": self.coder,
            "predictor": list(astuple(self.predictor)),
            "groups": [[list(g.channels), g.parent, [list(r) for r in g.references]] for g in self.groups],
            "bank": {"base": self.bank_base, "delta": base64.b64encode(self.bank_delta).decode("ascii")},
            **({"lattices": [list(v) if isinstance(v, tuple) else v for v in self.lattices]} if self.lattices else {}),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SegmentCoding:
        """Build from :meth:`to_dict` output.

        Raises
        ------
        InputError
            When a field is missing or outside FORMAT.md's limits.
        UnsupportedError
            When the blocks are of another version.
        """
        version = data.get("version", 0) if isinstance(data, Mapping) else None
        if type(version) is not int:
            raise InputError(f"segment coding is malformed (version {version!r})", hint="see FORMAT.md, clause 3")
        if version != VERSION:
            advice = "install a newer sanstream" if version > VERSION else "encode the recording anew"
            raise UnsupportedError(f"blocks are of version {version}, this sanstream reads {VERSION}", hint=advice)
        try:
            return _alike(data) or _parsed(data)
        except (KeyError, IndexError, TypeError, ValueError, ArithmeticError) as error:
            raise InputError(
                f"segment coding is incomplete or malformed ({error})", hint="see FORMAT.md, clause 3"
            ) from None


def _parsed(data: Mapping[str, Any]) -> SegmentCoding:
    return SegmentCoding(
        text(data["segment_id"]),
        rate(data["rate"]),
        tuple(map(whole, data["digital_min"])),
        tuple(map(whole, data["digital_max"])),
        tuple(None if v is None else whole(v) for v in data["missing"]),
        whole(data["window_samples"]),
        whole(data["block_samples"]),
        tuple(
            Group(tuple(map(whole, c)), whole(p), tuple(tuple(map(whole, r)) for r in refs))
            for c, p, refs in data["groups"]
        ),
        text(data["bank"]["base"]),
        octets(data["bank"]["delta"]),
        _shape(data["predictor"]),
        text(data["coder"]),
        _lattices(data["lattices"]) if "lattices" in data else (),
    )


def _alike(data: Mapping[str, Any]) -> SegmentCoding | None:
    """Build from one that differs in id and bank alone, as many segments do; None where it is not sound."""
    name, base, delta = text(data["segment_id"]), text(data["bank"]["base"]), octets(data["bank"]["delta"])
    if not _ID.fullmatch(name) or not _BASE.fullmatch(base) or len(delta) > MAX_DELTA_BYTES:
        return None
    try:
        first = _first(json.dumps({k: v for k, v in data.items() if k not in ("segment_id", "bank")}))
    except (InputError, LookupError, TypeError, ValueError, ArithmeticError):
        return None  # parsed alone, its message names the segment
    coding = copy(first)
    coding.__dict__.pop("seal", None)  # what was checked is not checked again, but its seal is another
    coding.__dict__.update(segment_id=name, bank_base=base, bank_delta=delta)
    return coding


@lru_cache(maxsize=256)
def _first(text: str) -> SegmentCoding:
    return _parsed({**json.loads(text), "segment_id": "0" * 16, "bank": {"base": "0" * 64, "delta": ""}})


def _lattices(values: Any) -> tuple[Lattice | None, ...]:
    if not values:
        raise ValueError("lattices of no channel")
    return tuple(v if v is None or isinstance(v, str) else _pair(*v) for v in values)


def _pair(step: Any, offset: Any) -> tuple[int, int]:
    return whole(step), whole(offset)


def _shape(values: Any) -> PredictorShape:
    own, cross, hop, ahead, taps = map(whole, values)
    return PredictorShape(own, cross, hop, ahead, taps)


def _problem(coding: SegmentCoding) -> str:
    """Say what FORMAT.md forbids in ``coding``; empty when sound."""
    n = len(coding.digital_min)
    if not _ID.fullmatch(coding.segment_id):
        return "the id must be 16 hex digits"
    if not _BASE.fullmatch(coding.bank_base):
        return "the bank must be named by 64 hex digits"
    if coding.rate <= 0:
        return f"rate {coding.rate} is not positive"
    if not 1 <= n <= MAX_CHANNELS or len(coding.digital_max) != n or len(coding.missing) != n:
        return f"digital ranges and missing codes must have one entry per channel, 1 to {MAX_CHANNELS}"
    for low, high in zip(coding.digital_min, coding.digital_max, strict=True):
        if not -(1 << 31) <= low <= high < (1 << 31):
            return f"digital range {low} ... {high} is not an int32 range"
    if coding.lattices and len(coding.lattices) != n:
        return f"{len(coding.lattices)} lattices for {n} channels"
    for channel, lattice in enumerate(coding.lattices):
        if lattice is None:
            continue
        if isinstance(lattice, tuple) and not 1 << STEP_BITS <= lattice[0] < 1 << 62:
            return f"channel {channel} has a lattice of step {lattice[0]}, allowed 2^32 to 2^62"
        if isinstance(lattice, tuple) and any(
            abs(k * lattice[0] + more) >= 1 << 63
            for k in (coding.digital_min[channel], coding.digital_max[channel])
            for more in (0, lattice[1])
        ):
            return f"channel {channel} has a lattice {lattice} whose places leave 64 bits"
        low, high = coding.sample_range(channel)
        if not -(1 << 31) <= low <= high < (1 << 31):
            return f"channel {channel} has samples {low} ... {high} on its lattice, outside int32"
    for code in coding.missing:
        if code is not None and not -(1 << 31) <= code < (1 << 31):
            return f"missing code {code} is not an int32"
    if not 1 <= coding.window_samples <= MAX_WINDOW_SAMPLES:
        return f"window of {coding.window_samples} samples, allowed 1 to {MAX_WINDOW_SAMPLES}"
    if coding.block_samples % coding.window_samples or not 1 <= coding.block_samples <= MAX_BLOCK_SAMPLES:
        return f"block of {coding.block_samples} samples must be whole windows, at most {MAX_BLOCK_SAMPLES}"
    if coding.block_samples * n > MAX_BLOCK_VALUES:
        return f"block of {coding.block_samples} samples in {n} channels, at most {MAX_BLOCK_VALUES} values"
    if len(coding.bank_delta) > MAX_DELTA_BYTES:
        return f"bank delta has {len(coding.bank_delta)} bytes, at most {MAX_DELTA_BYTES}"
    shape = coding.predictor
    if not (1 <= shape.own <= 32 and 0 <= shape.cross <= 16 and 8 <= shape.hop <= 4096):
        return f"predictor {shape} is outside its limits (own 1-32, cross 0-16, hop 8-4096)"
    if coding.coder not in (MIXING, TABLES):
        return f"coder {coding.coder!r} is neither {MIXING!r} nor {TABLES!r}"
    mixing = coding.coder == MIXING
    if (shape.ahead, shape.filter) != (0, 16) if mixing else not (0 <= shape.ahead <= 8 and shape.filter in (0, 8, 16)):
        return f"predictor {shape} is outside its limits (ahead 0-8, filter 0, 8 or 16; with mixing 0 and 16)"
    return _group_problem(coding)


def _group_problem(coding: SegmentCoding) -> str:
    seen = [c for g in coding.groups for c in g.channels]
    if sorted(seen) != list(range(coding.n_channels)):
        return "every channel must be in exactly one group"
    for number, group in enumerate(coding.groups):
        if not 1 <= len(group.channels) <= MAX_GROUP_CHANNELS:
            return f"group {number} has {len(group.channels)} channels, allowed 1 to {MAX_GROUP_CHANNELS}"
        if not -1 <= group.parent < number:
            return f"group {number} names parent {group.parent}, which does not come before it"
        line = ancestry(coding.groups, number)
        if len(line) > MAX_GROUP_DEPTH:
            return f"group {number} is {len(line)} deep, at most {MAX_GROUP_DEPTH}"
        known = {c for g in line for c in coding.groups[g].channels}
        if group.references and len(group.references) != len(group.channels):
            return f"group {number} must name references for each of its channels or for none"
        for channel, references in zip(group.channels, group.references, strict=False):
            if len(references) > MAX_REFERENCES or channel in references or not known.issuperset(references):
                return f"channel {channel} has references {references}, allowed {MAX_REFERENCES} of its group's line"
            if coding.predictor.own + coding.predictor.cross * len(references) + 7 > 62:
                return f"channel {channel} has more than 62 regressors"
    return ""


def ancestry(groups: Sequence[Group], number: int) -> list[int]:
    """List the groups to decode for group ``number``, root first, itself last."""
    line = [number]
    while groups[line[0]].parent >= 0:
        line.insert(0, groups[line[0]].parent)
    return line
