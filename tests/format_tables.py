"""FORMAT.md clauses 16 to 18 written from the text alone in plain Python; shares no code with sanstream."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from format_coder import STEPS, Delta, Run, clamp
from format_predictor import bound, solve

SAMPLE, COEFFICIENT, CORRECTION = 0, 1, 2
BOUNDS = (2, 6, 12, 20, 30, 42, 56, 72, 92, 116, 144, 178, 220, 272, 340)
_TEXT = (Path(__file__).resolve().parents[1] / "sanstream" / "FORMAT.md").read_text(encoding="utf-8")


def listed(letter: str) -> bytes:
    """The bytes that clause 17.2 lists after a letter."""
    found = re.search(rf"^{letter}  ([0-9a-f]+)\n   ([0-9a-f]+)$", _TEXT, re.MULTILINE)
    assert found
    return bytes.fromhex(found[1] + found[2])


def level_of(mean: int) -> int:
    return sum(b <= mean for b in BOUNDS)


def reach_of(level: int) -> int:
    return 4 if level < 2 else 8 if level < 6 else 16


class Row:
    """Clause 16.4."""

    def __init__(self, counts: list[int]) -> None:
        self.count, self.due, self.coded = counts, 0, 0

    def renew(self) -> None:
        if sum(self.count) > 131072:
            self.count = [(c + 1) >> 1 for c in self.count]
        size, total = len(self.count), sum(self.count)
        scale = ((4096 - size) << 32) // total
        width = [1 + (c * scale >> 32) for c in self.count]
        width[self.count.index(max(self.count))] += 4096 - sum(width)
        self.first = [0]
        for w in width:
            self.first.append(self.first[-1] + w)
        self.due = max(self.coded >> 1, 12)
        self.coded = min(self.coded + self.due, 1024)


def new_row(family: int, level: int, x: int) -> Row:
    """Clause 17.2."""
    reach = reach_of(level)
    if family == COEFFICIENT:
        zero, tail = listed("Z")[20 * x + level], listed("T")[20 * x + level]
        w = [256 * zero, (65536 - 256 * zero) * (256 - tail) >> 9]
        while len(w) <= reach:
            w.append(w[-1] * tail >> 8)
        return Row([1 + (w[abs(s - reach)] * 1024 >> 16) for s in range(2 * reach)])
    means = [v for v in range(448) if level_of(v) == level] if level < 16 else [(252, 308, 364, 420)[level - 16]]
    m = 2 * sum(means) // len(means) + 8
    theta = ((math.isqrt(65536 + m * m) - 256) << 16) // m
    root = math.isqrt(theta << 16)
    power = [65536]
    for _ in range(2 * reach + 1):
        power.append(power[-1] * root >> 16)
    w = [power[abs(2 * (s - reach) + (level >= 16))] for s in range(2 * reach)]
    return Row([1 + v * 1024 // sum(w) for v in w])


class Words:
    """Clauses 16.3, 16.4 and 17.1."""

    def __init__(self, data: bytes) -> None:
        assert len(data) % 2 == 0
        self.words = [int.from_bytes(data[i : i + 2], "little") for i in range(0, len(data), 2)]
        self.state, self.at = self.words[0] | self.words[1] << 16, 2
        self.rows: dict[tuple[int, int, int], Row] = {}
        self.bands = [Row([256 if s == r else 16 for s in range(16)]) for r in range(16)]

    def refill(self) -> None:
        if self.state < 2**16:
            self.state = self.state << 16 | self.words[self.at]
            self.at += 1

    def symbol(self, row: Row) -> int:
        if row.due == 0:
            row.renew()
        row.due -= 1
        slot = self.state & 4095
        s = sum(f <= slot for f in row.first) - 1
        self.state = (row.first[s + 1] - row.first[s]) * (self.state >> 12) + slot - row.first[s]
        self.refill()
        row.count[s] += 32
        return s

    def bits(self, k: int) -> int:
        out = done = 0
        while k > done:
            few = min(16, k - done)
            out |= (self.state & ((1 << few) - 1)) << done
            self.state >>= few
            self.refill()
            done += few
        return out

    def value(self, family: int, x: int, mean: int) -> int:
        mean, low = clamp(mean, 0, 2**46), 0
        while mean >= 448:
            mean, low = mean >> 1, low + 1
        level = 16 + (mean - 224) // 56 if low else level_of(mean)
        reach = reach_of(level)
        if (family, level, x) not in self.rows:
            self.rows[family, level, x] = new_row(family, level, x)
        s = self.symbol(self.rows[family, level, x])
        high = s - reach
        if s in (0, 2 * reach - 1):
            k = clamp(self.bits(6), 1, 38)
            over = 2 ** (k - 1) + self.bits(k - 1)
            high = 1 - reach - over if s == 0 else reach - 2 + over
        return clamp(high << low | self.bits(low), -(2**36), 2**36)


class Means:
    """Clause 17.5: two running means."""

    def __init__(self) -> None:
        self.fast = self.slow = 512

    def series(self, words: Words, family: int, missing: list[bool]) -> list[int]:
        out = []
        for gone in missing:
            f, s = self.fast, self.slow
            x = (2 * f > s) + (4 * f > 3 * s) + (4 * f > 5 * s) + (f > 2 * s)
            v = 0 if gone else words.value(family, x, (3 * f + 5 * s) >> 3)
            out.append(v)
            if not gone:
                self.fast += ((abs(v) << 7) - f) >> 3
                self.slow += ((abs(v) << 7) - s) >> 5
        return out


def front_length(run: Run) -> int:
    """Clause 16.2."""
    for n in range(4):
        mask = 2 ** (32 - 8 * n) - 1
        if ((run.low + mask) & ~mask) + mask <= run.high:
            return run.at - 4 + n
    return run.at


def coefficients(words: Words, shape: list[int], step: int, other: list[int] | None, starts: list[int],
                 bands: int) -> tuple[list[int], int]:  # fmt: skip
    """Clause 17.4: the coefficients and the new ``bands``."""
    n, n_bands = len(shape), len(starts) - 1
    q = [0] * n
    bands = words.symbol(words.bands[bands])
    for band in range(min(bands, n_bands)):
        a, b = starts[band], starts[band + 1]

        def near(values: list[int], j: int, a: int = a, b: int = b) -> int:
            return abs(values[j]) if a <= j < b else 0

        for i in range(a, b):
            m1, m2, m3 = (near(q, i - j) for j in (1, 2, 3))
            parent = aside = 0
            if band >= 2:
                first, count = starts[band - 1], a - starts[band - 1]
                h = min((i - a) >> 1, count - 1)
                parent = abs(q[first + h])
                aside = abs(q[first + min(h + 1, count - 1)]) + abs(q[first + max(h - 1, 0)])
            if other is not None:
                beside = near(other, i - 1) + near(other, i + 1)
                mean = 32 * m1 + 14 * m2 + 10 * m3 + 10 * parent + 3 * aside + 40 * abs(other[i]) + 4 * beside
            else:
                mean = 56 * m1 + 12 * m2 + 6 * m3 + 16 * parent + 4 * aside
            size = near(shape, i) + (near(shape, i - 1) >> 1) + (near(shape, i + 1) >> 1)
            mean += clamp(size, 0, 2**40) * 8 // STEPS[step]
            q[i] = words.value(COEFFICIENT, min(n_bands - 1 - band, 4), mean)
    return q, bands


class Linear:
    """Clause 18 for one column; ``g`` is its GroupDecoder."""

    def __init__(self, g: Any, c: int, shape: list[int], delta: Delta) -> None:
        self.g, self.c = g, c
        self.own, self.cross, self.hop, self.ahead, self.filter = shape
        self.refs = [r for r in g.refs[c] if r < c] if self.cross else []
        n = self.own + self.cross * len(self.refs) + (7 if g.kernels else 0)
        start = delta.weights[g.columns[c]] if delta.weights else [65536]
        self.weights = (list(start) + [0] * n)[:n]
        ridge = 2 ** min(delta.ridges[g.columns[c]] if delta.ridges else 12, 34)
        self.cov = [[ridge * int(i == j) for j in range(n + 1)] for i in range(n + 1)]
        self.cov[n] = [ridge * w >> 16 for w in self.weights] + [0]
        self.cov[n][n] = 1024 + sum(v * w >> 16 for v, w in zip(self.cov[n], self.weights, strict=False))
        self.n, self.seen, self.lms, self.error1 = n, 0, [0] * self.filter, [0] * g.n

    def z(self, r: int, t: int) -> int:
        g = self.g
        known = 0 <= t < g.done[r]
        return bound((g.y[r][t] - g.base[r]) >> g.shift[r]) if known else 0

    def regressors(self, t: int) -> list[int]:
        g, c = self.g, self.c
        out = [self.z(c, t - i) for i in range(1, self.own + 1)]
        for r in self.refs:
            out += [self.z(r, t + self.ahead - i) for i in range(self.cross)]
        if g.kernels:
            out += [bound(g.san[c][t + 3 - i] >> g.shift[c]) if 0 <= t + 3 - i < g.n else 0 for i in range(7)]
        return out

    def window(self, a: int, b: int, errors: list[int], delta: int) -> None:
        """Clauses 18.3 and 18.4."""
        first = a
        while first < b:
            last = min(b, first + min(self.hop, max(64, self.seen)))
            for t in range(first, last):
                self.sample(t, errors[t - a], delta)
            rows = [[*self.regressors(t), self.z(self.c, t)] for t in range(first, last)]
            for i in range(self.n + 1):
                for j in range(i + 1):
                    total = sum(row[i] * row[j] for row in rows)
                    self.cov[i][j] += total - (self.cov[i][j] * (last - first) >> 13)
            self.weights = solve(self.cov, self.n)
            self.seen += last - first
            first = last

    def sample(self, t: int, error: int, delta: int) -> None:
        g, c = self.g, self.c
        base, shift = g.base[c], g.shift[c]
        g.done[c] = t + 1
        if t in g.missing[c]:
            g.y[c][t] = g.y[c][t - 1] if t > 0 else base
            return
        g.done[c] = t
        stage = sum(x * w for x, w in zip(self.regressors(t), self.weights, strict=True)) >> 12
        history = [self.error1[t - self.filter + i] if t - self.filter + i >= 0 else 0 for i in range(self.filter)]
        total = stage + (sum(x * w for x, w in zip(self.lms, history, strict=True)) >> 16)
        rounded = clamp(base + ((total << shift) >> 4 if shift > 0 else (total + 8) >> 4), g.low[c], g.high[c])
        g.y[c][t] = g.settle(rounded + error * (2 * delta + 1), c)
        g.done[c] = t + 1
        target = 16 * self.z(c, t)
        gain = (bound(target - total) << 26) // (256 + sum(h * h for h in history))
        self.lms = [
            clamp(w + ((gain * h + 32768) >> 16), -(2**20), 2**20) for w, h in zip(self.lms, history, strict=True)
        ]
        self.error1[t] = bound(target - stage)
