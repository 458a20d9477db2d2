"""FORMAT.md clauses 3, 4, 7 and 8 written from the text alone in plain Python; shares no code with sanstream."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import google_crc32c
from format_coder import STEPS, Bank, Run, clamp, half, octave, place_value, read_delta
from format_predictor import Predictor
from format_table_windows import TableWindows
from format_wavelet import forward, inverse, sizes

TOOL, BAND, KERNEL = 4000, 4064, 4192
COEF = (4448, 17760, 31072, 44384, 57696, 64352)
CORR = (77664, 85856)
STEP, DELTA, BASE, RMSE, MAXIMUM, CROSS, SHIFT, CONSTANT, MEAN, TOTAL, FIRST = (160 * i for i in range(11))
GAP, AMPLITUDE = 160 * 11, 160 * 18


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 128:
            return value, at


KEYS = (
    "version segment_id rate digital_min digital_max missing window_samples block_samples coder predictor groups "
    "lattices"
).split()


def seal(coding: dict[str, Any]) -> bytes:
    """Clause 3.5."""
    text = {k: coding[k] for k in KEYS if k in coding}
    text["bank"] = {k: coding["bank"][k] for k in ("base", "delta")}
    return hashlib.sha256(json.dumps(text, sort_keys=True, separators=(",", ":")).encode()).digest()[:8]


def decode(payload: bytes, number: int, coding: dict[str, Any], bank: Bank) -> list[list[int]]:
    """Clause 4: samples by channel."""
    seed = seal(coding) + number.to_bytes(8, "little")
    assert int.from_bytes(payload[:4], "little") == google_crc32c.value(seed + payload[4:])
    flags, at = payload[4], 6
    n = coding["block_samples"]
    if flags & 1:
        n, at = varint(payload, at)
    gaps: list[list[tuple[int, int]]] = [[] for _ in coding["missing"]]
    for c in range(len(gaps) if flags & 2 else 0):
        k, at = varint(payload, at)
        if k == 1:
            gaps[c] = gaps[c - 1]
        end = 0
        for _ in range(k - 1 if k > 1 else 0):
            start, at = varint(payload, at)
            length, at = varint(payload, at)
            gaps[c].append((end + start, end + start + length + 1))
            end = gaps[c][-1][1]
    lengths = []
    for _ in coding["groups"][1:]:
        length, at = varint(payload, at)
        lengths.append(length)
    lengths.append(len(payload) - at - sum(lengths))
    out: list[list[int]] = [[] for _ in gaps]
    groups: list[GroupDecoder] = []
    for length in lengths:
        groups.append(GroupDecoder(payload[at : at + length], n, coding, bank, groups, gaps))
        at += length
        for c, channel in enumerate(groups[-1].columns):
            if c >= groups[-1].n_known:
                out[channel] = groups[-1].y[c][:]
    for c, lattice in enumerate(coding.get("lattices", ())):
        if lattice is not None:
            out[c] = [place_value(k, lattice) for k in out[c]]
    for c, found in enumerate(gaps):
        for a, b in found:
            out[c][a:b] = [coding["missing"][c]] * (b - a)
    return out


class GroupDecoder:
    """Clause 7."""

    def __init__(self, data: bytes, n: int, coding: dict[str, Any], bank: Bank, before: list[GroupDecoder],
                 gaps: list[list[tuple[int, int]]]) -> None:  # fmt: skip
        number = len(before)
        own, parent, references = coding["groups"][number]
        known = before[parent].columns if parent >= 0 else []
        self.columns, self.n_known, self.n = known + own, len(known), n
        self.own = range(self.n_known, len(self.columns))
        self.run = Run(data, bank.models.copy())
        self.low = [coding["digital_min"][c] for c in self.columns]
        self.high = [coding["digital_max"][c] for c in self.columns]
        self.absent = [coding["missing"][c] for c in self.columns]
        self.refs: list[list[int]] = [[] for _ in self.columns]
        for i, named in enumerate(references):
            self.refs[self.n_known + i] = [self.columns.index(r) for r in named]
        self.missing = [{t for a, b in gaps[c] for t in range(a, b)} for c in self.columns]
        self.y = [col[:] for col in before[parent].y] if known else []
        self.san = [col[:] for col in before[parent].san] if known else []
        self.base = before[parent].base[:] if known else []
        self.shift = before[parent].shift[:] if known else []
        self.y += [[0] * n for _ in own]
        self.san += [[0] * n for _ in own]
        delta = read_delta(base64.b64decode(coding["bank"]["delta"]), len(coding["missing"]))
        kernels = bank.kernels if delta.use_bank else delta.kernels
        self.kernels = kernels if kernels and (len(kernels[0].rows) == 1 or number == 0) else []
        self.kernel_shift = [delta.shifts[c] if delta.shifts else 0 for c in self.columns]
        self.window = coding["window_samples"]
        self.plan()
        self.activations()
        last = 0
        for c in self.own:
            last = clamp(last + self.run.integer(BASE), self.low[c], self.high[c])
            self.base.append(last)
            self.shift.append(clamp(self.run.integer(SHIFT), 0, 16))
        self.follow = delta.follow
        self.total = {c: [0] * n for c in self.own}
        self.live = {
            c: [[v << 8 for v in k.rows[i if len(k.rows) > 1 else 0]] for k in self.kernels]
            for i, c in enumerate(self.own)
        }
        self.added = self.taken = 0
        self.cross = {c: [0] * 8 for c in self.own}
        if coding["coder"] == "tables":
            self.synthesise(len(self.tool))
            TableWindows(self, data, coding["predictor"], delta)
            return
        self.predictor = Predictor(self, coding["predictor"][:3], delta)
        for w in range(len(self.tool)):
            self.synthesise(w)
            self.decode_window(w)
            self.teach(min(n, (w + 1) * self.window))
        assert len(data) <= self.run.at <= len(data) + 4

    def plan(self) -> None:
        """Clause 7.1."""
        run = self.run
        last_tool = dict.fromkeys(self.own, 0)
        last = {c: {STEP: 40, DELTA: 0, RMSE: 0, MAXIMUM: 0} for c in self.own}
        self.tool, self.steps, self.delta = [], [], []  # type: ignore[var-annotated]

        def value(c: int, model: int, top: int) -> int:
            last[c][model] = clamp(last[c][model] + run.integer(model), 0, top)
            return last[c][model]

        for _ in range(-(-self.n // self.window)):
            tools, steps, deltas = {}, dict.fromkeys(self.own, 0), dict.fromkeys(self.own, 0)
            for c in self.own:
                tool = 0
                while tool < 4 and run.adaptive(TOOL + 8 * last_tool[c] + tool):
                    tool += 1
                tools[c] = last_tool[c] = tool
                if tool in (0, 2):
                    steps[c] = value(c, STEP, 255)
                if tool in (1, 2):
                    deltas[c] = value(c, DELTA, 2**24)
                if not (tool == 3 or (tool == 1 and deltas[c] == 0)):
                    value(c, RMSE, 255)
                    value(c, MAXIMUM, 255)
            self.tool.append(tools)
            self.steps.append(steps)
            self.delta.append(deltas)

    def activations(self) -> None:
        """Clause 7.2."""
        self.found: list[tuple[int, int, list[int]]] = []
        if not self.kernels:
            return
        run, n_kernels = self.run, len(self.kernels)
        total = clamp(run.integer(TOTAL), 0, self.n // 4 + 16)
        index, kernel, gap_class, any_gap = -4096, 0, 3, 0
        gap_of = [[0] * n_kernels for _ in self.kernels]
        seen = [[0] * n_kernels for _ in self.kernels]
        usual = [[512] * len(self.own) for _ in self.kernels]
        classes = [[2] * len(self.own) for _ in self.kernels]
        for a in range(total):
            u = 0
            while u < n_kernels - 1 and run.adaptive(KERNEL + 16 * kernel + u):
                u += 1
            if a == 0:
                gap = 4096 + run.integer(FIRST)
            else:
                s, g = seen[kernel][u], gap_of[kernel][u]
                d = run.integer(GAP + 160 * gap_class)
                gap = (((g if s else any_gap) + 8) >> 4) + d
                gap_class = (gap_class + (swing(d) if s else gap_class) + 1) >> 1
                gap_of[kernel][u] = g + ((16 * gap - g) >> (1 if s == 1 else 2)) if s else 16 * gap
                seen[kernel][u] = min(s + 1, 2)
                any_gap = 16 * gap if a == 1 else any_gap + ((16 * gap - any_gap) >> 2)
            index, kernel = clamp(index + gap, -4096, self.n - 1), u
            amplitude = []
            for c in range(len(self.own)):
                d = run.integer(AMPLITUDE + 160 * classes[u][c])
                amplitude.append(clamp(((usual[u][c] + 8) >> 4) + d, -32768, 32768))
                classes[u][c] = (classes[u][c] + swing(2 * d) + 1) >> 1
                usual[u][c] += (16 * amplitude[c] - usual[u][c]) >> 2
            self.found.append((u, index, amplitude))

    def synthesise(self, w: int) -> None:
        """Clause 7.4."""
        while self.added < len(self.found) and self.found[self.added][1] < min(self.n, (w + 1) * self.window):
            kernel, index, amplitude = self.found[self.added]
            for i, c in enumerate(self.own):
                for j, tap in enumerate(self.live[c][kernel]):
                    if 0 <= index + j < self.n:
                        self.total[c][index + j] += (amplitude[i] << self.kernel_shift[c]) * (tap >> 8)
            self.added += 1
        for c in self.own:
            self.san[c] = [(v + 32768) >> 16 for v in self.total[c]]

    def teach(self, b: int) -> None:
        """Clause 7.4.1."""
        while self.follow and self.taken < len(self.found):
            kernel, index, amplitude = self.found[self.taken]
            if index + len(self.live[self.own[0]][kernel]) > b:
                break
            for i, c in enumerate(self.own if index >= 0 else ()):
                self.move(self.live[c][kernel], index, amplitude[i], c)
            self.taken += 1

    def move(self, live: list[int], index: int, amplitude: int, c: int) -> None:
        """Clause 7.4.1, one column."""
        n = len(live)
        touched = range(index // self.window, (index + n - 1) // self.window + 1)
        if amplitude == 0 or any(self.tool[w][c] not in (0, 2) for w in touched):
            return
        at = [j for j in range(n) if index + j not in self.missing[c]]
        e = {j: self.y[c][index + j] - self.base[c] - self.san[c][index + j] for j in at}
        mean = sum(e.values()) // n
        gain = (amplitude << 24) // max(amplitude * amplitude, 512)
        for j in at:
            edge = min(j, n - 1 - j)
            d = clamp(e[j] - mean, -(2**22), 2**22) * (2 * edge + 1 if edge < 8 else 16)
            moved = live[j] + ((d * gain) >> (4 + self.follow + self.kernel_shift[c]))
            live[j] = clamp(moved, -(32767 << 8), 32767 << 8)

    def settle(self, v: int, c: int) -> int:
        """Clause 7.5."""
        v = clamp(v, self.low[c], self.high[c])
        if v == self.absent[c]:
            v += 1 if v < self.high[c] else -1
        return v

    def decode_window(self, w: int) -> None:
        """Clauses 7.6 to 7.9."""
        a, b = w * self.window, min(self.n, (w + 1) * self.window)
        other: list[int] | None = None
        for c in self.own:
            tool = self.tool[w][c]
            if tool in (3, 4):
                v = self.base[c] + self.run.integer(CONSTANT if tool == 3 else MEAN)
                v = clamp(v, self.low[c], self.high[c])
                self.y[c][a:b] = [self.settle(v + (self.san[c][t] if tool == 4 else 0), c) for t in range(a, b)]
            if tool in (0, 2):
                other = self.decode_wavelet(w, c, a, b, other)
            else:
                self.cross[c] = [0] * 8
        for t in range(a, b):
            for c in self.own:
                if self.tool[w][c] == 1:
                    self.predictor.decode(t, c, self.delta[w][c])

    def cross_weights(self, w: int, c: int) -> list[int]:
        """Clause 7.8, first sentence."""
        for j, r in enumerate(self.refs[c][:8]):
            allowed = r < c and (r < self.n_known or self.tool[w][r] in (0, 2))
            self.cross[c][j] = clamp(self.cross[c][j] + self.run.integer(CROSS), -4096, 4096) if allowed else 0
        return self.cross[c][:]

    def decode_wavelet(self, w: int, c: int, a: int, b: int, other: list[int] | None) -> list[int]:
        """Clause 7.8."""
        self.cross_weights(w, c)
        n, step = b - a, STEPS[self.steps[w][c]]
        shape = forward([v << 6 for v in self.san[c][a:b]])
        q = coefficients(self.run, n, shape, step, other)
        self.rebuild(w, c, a, q, self.cross[c], corrections(self.run, n) if self.tool[w][c] == 2 else None)
        return q

    def rebuild(self, w: int, c: int, a: int, q: list[int], cross: list[int], corrected: list[int] | None) -> None:
        """Clause 7.8, the samples."""
        refs = self.refs[c][:8]
        residual = [(v + 32) >> 6 for v in inverse([v * STEPS[self.steps[w][c]] for v in q])]
        for i in range(len(q)):
            t = a + i
            lean = sum(k * (self.y[r][t] - self.base[r] - self.san[r][t]) for k, r in zip(cross, refs, strict=False))
            v = self.settle(self.base[c] + self.san[c][t] + ((lean + 16) >> 5) + residual[i], c)
            if corrected:
                v = self.settle(v + corrected[i] * (2 * self.delta[w][c] + 1), c)
            self.y[c][t] = v
        return q


def swing(v: int) -> int:
    return clamp(octave(abs(v)) - 1, 0, 6)


def magnitude(run: Run, slots: list[int], weights: int) -> int:
    n = len(slots)
    if not run.mixed(slots, weights):
        return 0
    m = 1
    while m < 13 and run.mixed([s + m for s in slots], weights + m * n):
        m += 1
    return m if m < 13 else run.escape() + 12


def coefficients(run: Run, n: int, shape: list[int], step: int, other: list[int] | None) -> list[int]:
    """Clause 8.4."""
    n_i = sizes(n)
    levels, has = len(n_i) - 1, int(other is not None)
    oth = other or [0] * n
    starts = [0, *n_i[::-1]]
    q = [0] * n
    zero = 0
    for band in range(levels + 1):
        a, b, depth = starts[band], starts[band + 1], levels - band
        zero = run.adaptive(BAND + 8 * depth + 4 * zero + 2 * has + int(any(oth[a:b])))
        for i in range(a, b) if not zero else ():
            q[i] = one_coefficient(run, q, i, (a, b, band, depth), starts, shape, step, oth, has)
    return q


def one_coefficient(run: Run, q: list[int], i: int, place: tuple[int, int, int, int], starts: list[int],
                    shape: list[int], step: int, oth: list[int], has: int) -> int:  # fmt: skip
    a, b, band, depth = place

    def at(values: list[int], j: int) -> int:
        return abs(values[j]) if a <= j < b else 0

    k = i - a
    m1, m2, m3, m4 = (at(q, i - j) for j in (1, 2, 3, 4))
    p0 = p1 = p2 = g0 = 0
    if band >= 2:
        first, count = starts[band - 1], a - starts[band - 1]
        h = k >> 1
        p0 = abs(q[first + min(h, count - 1)])
        p1 = abs(q[first + h + 1]) if h + 1 < count else 0
        p2 = abs(q[first + h - 1]) if h > 0 else 0
    if band >= 3:
        first, count = starts[band - 2], starts[band - 1] - starts[band - 2]
        g0 = abs(q[first + min(k >> 2, count - 1)])
    s0, s1, s2 = (4 * at(shape, j) // step for j in (i, i - 1, i + 1))
    o0, o1 = at(oth, i), at(oth, i - 1) + at(oth, i + 1)
    near, par = min(half(2 * m1 + m2), 7), min(half(2 * p0 + p1 + p2), 7)
    wide = min(half(m1 + m2 + m3 + m4), 7)
    mass = 6 * m1 + 3 * m2 + 2 * m3 + m4 + 4 * p0 + 2 * (p1 + p2) + 2 * g0 + 4 * o0 + 2 * o1
    contexts = (
        64 * depth + 8 * near + par,
        64 * depth + 8 * wide + min(half(g0 + p0), 7),
        64 * depth + 4 * min(half(s0), 15) + min((near + 1) >> 1, 3),
        64 * depth + 32 * has + 8 * min(half(o0), 3) + 2 * min(half(o1), 3) + min(m1, 1),
        32 * depth + min(2 * half(mass) + (mass & 1), 31),
        64 * depth + 4 * min(half(s0 + ((s1 + s2) >> 1)), 15) + min((par + 1) >> 1, 3),
    )
    m = magnitude(run, [COEF[j] + 16 * x for j, x in enumerate(contexts)], 16 * depth * 6)
    if m == 0:
        return 0
    sign_of = [0 if v == 0 else 1 if v > 0 else 2 for v in (oth[i], q[i - 1] if k > 0 else 0)]
    return -m if run.adaptive(COEF[4] + 16 * (32 * depth + 3 * sign_of[0] + sign_of[1]) + 15) else m


def corrections(run: Run, n: int) -> list[int]:
    """Clause 8.5."""
    out = [0, 0, 0]
    wide = 0
    for _ in range(n):
        m1, m2, m3 = (min(abs(v), 3) for v in out[:-4:-1])
        slots = [CORR[0] + 16 * (64 * m1 + 16 * m2 + 4 * m3), CORR[1] + 16 * min(half(wide), 31)]
        m = magnitude(run, slots, 1248)
        sign = 0 if out[-1] == 0 else 1 if out[-1] > 0 else 2
        out.append(-m if m and run.adaptive(CORR[0] + 16 * sign + 15) else m)
        wide += ((min(m, 64) << 10) - wide) >> 5
    return out[3:]
