"""FORMAT.md clauses 5, 6 and the escape of 8.4, from the text alone in plain Python; shares no code with sanstream."""

from __future__ import annotations

import base64
import json
import lzma
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

E = 18374827034086858296


def clamp(v: int, low: int, high: int) -> int:
    return min(max(v, low), high)


def octave(v: int) -> int:
    return max(v, 0).bit_length()


def half(v: int) -> int:
    if v <= 1:
        return max(v, 0)
    return 2 * octave(v) - 2 + ((v >> (octave(v) - 2)) & 1)


def squash_table() -> dict[int, int]:
    table, power = {}, 2**64
    for x in range(2816):
        p = clamp(65536 * 2**64 // (2**64 + power), 1, 65535)
        table[x], table[-x] = p, 65536 - p
        power = power * E >> 64
    return table


def stretch_table() -> list[int]:
    out, x = [], -2816
    for i in range(4096):
        while x < 2815 and SQUASH[x + 1] <= 16 * i + 8:
            x += 1
        out.append(clamp(x, -2815, 2815))
    return out


SQUASH = squash_table()
STRETCH = stretch_table()
RATE = [655360 // (10 * k + 16) for k in range(256)]
CONFIDENCE = [512 * (k + 1) // (2 * k + 3) if k < 30 else 256 for k in range(256)]
STEPS = [((64, 70, 76, 83, 91, 99, 108, 117)[i & 7] << (i >> 3)) >> 3 for i in range(256)]
N_SLOTS, N_WEIGHTS = 282464, 5376


@dataclass
class Models:
    """Clause 6.1."""

    prob: list[int] = field(default_factory=lambda: [32768] * N_SLOTS)
    count: list[int] = field(default_factory=lambda: [0] * N_SLOTS)
    weight: list[int] = field(default_factory=lambda: [19660] * 1248 + [39321] * 32 + [16384] * 4096)

    def copy(self) -> Models:
        return Models(self.prob[:], self.count[:], self.weight[:])


class Run:
    """Clause 5: one run and the models that it adapts."""

    def __init__(self, data: bytes, models: Models) -> None:
        self.data, self.models, self.at = data, models, 0
        self.low, self.high, self.code = 0, 2**32 - 1, 0
        for _ in range(4):
            self.code = self.code << 8 | self.byte()

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1] if self.at <= len(self.data) else 0

    def plain(self, p: int = 32768) -> int:
        span = self.high - self.low
        mid = self.low + (span >> 16) * p + ((span & 0xFFFF) * p >> 16)
        bit = int(self.code <= mid)
        if bit:
            self.high = mid
        else:
            self.low = mid + 1
        while (self.low ^ self.high) & 0xFF000000 == 0:
            self.low = self.low << 8 & 0xFFFFFFFF
            self.high = self.high << 8 & 0xFFFFFFFF | 0xFF
            self.code = self.code << 8 & 0xFFFFFFFF | self.byte()
        return bit

    def _move(self, slot: int, bit: int, limit: int) -> None:
        prob, count = self.models.prob, self.models.count
        prob[slot] += (65535 * bit - prob[slot]) * RATE[count[slot]] >> 16
        count[slot] += count[slot] < limit

    def adaptive(self, slot: int) -> int:
        bit = self.plain(clamp(self.models.prob[slot], 48, 65488))
        self._move(slot, bit, 60)
        return bit

    def mixed(self, slots: Sequence[int], weights: int) -> int:
        m = self.models
        x = [STRETCH[m.prob[s] >> 4] * CONFIDENCE[m.count[s]] >> 8 for s in slots]
        dot = sum(a * m.weight[weights + i] for i, a in enumerate(x)) >> 16
        p = SQUASH[clamp(dot, -2815, 2815)]
        bit = self.plain(p)
        for i, s in enumerate(slots):
            m.weight[weights + i] += (x[i] * (65536 * bit - p) + 32768) >> 16
            self._move(s, bit, 250)
        return bit

    def integer(self, slot: int) -> int:
        e = 0
        while e < 39 and self.adaptive(slot + e):
            e += 1
        if e == 0:
            return 0
        negative, out = self.adaptive(slot + 40), 1
        if e >= 2:
            out = 2 * out + self.adaptive(slot + 41 + e)
        if e >= 3:
            out = 2 * out + self.adaptive(slot + 77 + 2 * min(e, 38) + (out & 1))
        for _ in range(e - 3):
            out = 2 * out + self.plain()
        return -out if negative else out

    def escape(self) -> int:
        k = 0
        while k < 40 and self.plain():
            k += 1
        tail = 1
        for _ in range(k):
            tail = 2 * tail + self.plain()
        return tail


@dataclass
class Kernel:
    uid: str
    fiducial: int
    rows: list[list[int]]


@dataclass
class Bank:
    kernels: list[Kernel]
    models: Models


TABLES = (
    [(25, 160), (8, 8), (16, 8), (16, 16)]
    + [(n, 16) for n in (832, 832, 832, 832, 416, 832, 512, 512)]
    + [(n, 32) for n in (256, 1024, 1024, 512, 512, 1024, 1024, 512)]
)


def read_bank(data: bytes) -> Bank:
    """Clauses 6.2 and 6.3."""
    assert data[:5] == b"SANB\x01"
    body = data[6:] if data[5] == 0 else lzma.decompress(data[6:], format=lzma.FORMAT_XZ)
    n = int.from_bytes(body[:4], "little")
    head, at = json.loads(body[4 : 4 + n]), 4 + n
    kernels = []
    for item in head["kernels"]:
        taps = list(struct.unpack_from(f"<{item['n_taps']}h", body, at))
        kernels.append(Kernel(item["uid"], item["fiducial"], [taps]))
        at += 2 * len(taps)
    models = Models()
    priors = head["priors"]
    if priors is not None:
        levels = body[at : at + N_SLOTS]
        odds = iter(struct.unpack_from(f"<{N_SLOTS - levels.count(0)}b", body, at + N_SLOTS))
        place = first = 0
        for contexts, nodes in TABLES:
            for node in range(nodes):
                for context in range(contexts):
                    level, slot = levels[place], first + context * nodes + node
                    place += 1
                    if level:
                        models.prob[slot] = SQUASH[clamp(priors["step"] * next(odds), -2815, 2815)]
                        models.count[slot] = priors["counts"][level - 1]
            first += contexts * nodes
        moved = struct.unpack(f"<{N_WEIGHTS}h", body[-2 * N_WEIGHTS :])
        models.weight = [w + (m << priors["weight_shift"]) for w, m in zip(models.weight, moved, strict=True)]
    return Bank(kernels, models)


@dataclass
class Delta:
    use_bank: bool = False
    follow: int = 0
    kernels: list[Kernel] = field(default_factory=list)
    shifts: list[int] = field(default_factory=list)
    ridges: list[int] = field(default_factory=list)
    weights: list[list[int]] = field(default_factory=list)


def read_delta(data: bytes, n_channels: int) -> Delta:
    """Clause 6.4."""
    delta = Delta()
    if not data:
        return delta
    run = Run(data, Models([32768] * 640, [0] * 640, []))
    head, tap, weight, ridge = 0, 160, 320, 480
    use_bank, n_kernels, n_rows, n_weights = (run.integer(head) for _ in range(4))
    delta.use_bank = bool(use_bank)
    if use_bank or n_kernels:
        delta.follow = run.integer(head)
        delta.shifts = [clamp(run.integer(ridge), 0, 30) for _ in range(n_channels)]
    for _ in range(n_kernels):
        n_taps, fiducial, top, low = (run.integer(head) for _ in range(4))
        rows = []
        for _ in range(n_rows):
            slope = value = 0
            row = []
            for _ in range(n_taps):
                slope += run.integer(tap)
                value += slope
                row.append(clamp(value, -32768, 32767))
            rows.append(row)
        delta.kernels.append(Kernel(f"{top << 16 | low:08x}", fiducial, rows))
    drop = run.integer(head) if n_weights else 0
    for _ in range(n_channels if n_weights else 0):
        delta.ridges.append(clamp(run.integer(ridge), 0, 40))
        delta.weights.append([clamp(run.integer(weight), -32768, 32768) << drop for _ in range(n_weights)])
    return delta


def place_value(k: int, lattice: Any) -> int:
    """Clause 3.4."""
    if isinstance(lattice, str):
        run = Run(base64.b64decode(lattice), Models([32768] * 320, [0] * 320, []))
        n, first, usual = (run.integer(0) for _ in range(3))
        values = [first]
        for _ in range(n - 1):
            values.append(values[-1] + clamp(usual + run.integer(160), 1, 2**32))
        return values[clamp(k, 0, n - 1)]
    return (k * lattice[0] + lattice[1]) >> 32  # type: ignore[no-any-return]
