"""FORMAT.md clause 9 written from the text alone in plain Python; shares no code with sanstream."""

from __future__ import annotations

import math
from typing import Any

from format_coder import Delta, clamp, half, octave

SAMPLE = (94048, 102240, 135008, 167776, 184160, 200544, 233312, 266080)
WEIGHTS = 1280


def bound(v: int) -> int:
    return clamp(v, -131072, 131072)


class Column:
    """Clause 9.1: the state of one column."""

    def __init__(self, n: int, start: list[int], ridge: int) -> None:
        self.n = n
        self.start = (start + [0] * n)[:n]
        self.weights = [0] * n
        self.cov = [[(1 << ridge) * int(i == j and i < n) for j in range(n + 1)] for i in range(n + 1)]
        self.history, self.lms = [0] * 16, [0] * 16
        self.fast = self.slow = self.error = self.seen = 0


class Predictor:
    """Clause 9 for one group; ``g`` is its GroupDecoder."""

    def __init__(self, g: Any, shape: list[int], delta: Delta) -> None:
        self.g, (self.own, self.cross, self.hop) = g, shape
        self.columns = []
        for c, channel in enumerate(g.columns):
            n = self.own + self.cross * len(g.refs[c]) + (7 if g.kernels else 0)
            start = delta.weights[channel] if delta.weights else [65536]
            self.columns.append(Column(n, start, delta.ridges[channel] if delta.ridges else 12))

    def regressors(self, t: int, c: int) -> list[int]:
        g = self.g
        out = [(g.y[c][t - i] - g.base[c]) >> g.shift[c] if t >= i else 0 for i in range(1, self.own + 1)]
        for r in g.refs[c]:
            for i in range(self.cross):
                u = t - i - (0 if r < c else 1)
                out.append((g.y[r][u] - g.base[r]) >> g.shift[r] if u >= 0 else 0)
        if g.kernels:
            out += [g.san[c][t + i] >> g.shift[c] if 0 <= t + i < g.n else 0 for i in range(-3, 4)]
        return [bound(v) for v in out]

    def decode(self, t: int, c: int, delta: int) -> None:
        """Clause 9.2."""
        g, s = self.g, self.columns[c]
        base, shift = g.base[c], g.shift[c]
        if t in g.missing[c]:
            g.y[c][t] = g.y[c][t - 1] if t > 0 else base
            return
        x = self.regressors(t, c)
        stage = sum(a * (w + v) for a, w, v in zip(x, s.weights, s.start, strict=True)) >> 12
        second = sum(a * b for a, b in zip(s.lms, s.history, strict=True)) >> 16
        total = stage + second
        rounded, fraction = base + ((total + 8) >> 4), ((total + 8) & 15) >> 1
        if shift > 0:
            rounded, fraction = base + ((total << shift) >> 4), 0
        rounded = clamp(rounded, g.low[c], g.high[c])
        quantum = 2 * delta + 1
        contexts, scale, low_bits = self.contexts(t, c, second, rounded, fraction, quantum)
        k = self.error_code([SAMPLE[j] + 32 * v for j, v in enumerate(contexts)], scale, low_bits)
        g.y[c][t] = g.settle(rounded + k * quantum, c)
        if t > 0 and g.y[c][t] == g.y[c][t - 1] and g.y[c][t] in (g.low[c], g.high[c]):
            return
        self.adapt(s, x, bound((g.y[c][t] - base) >> shift), stage, total)

    def contexts(
        self, t: int, c: int, second: int, rounded: int, fraction: int, quantum: int
    ) -> tuple[list[int], int, int]:
        """Clause 9.3."""
        g, s = self.g, self.columns[c]
        shift = g.shift[c]
        f = (s.fast << shift) // quantum
        qa, qb = min(half(f), 30), min(half((s.slow << shift) // quantum), 31)
        if t > 0 and g.y[c][t - 1] in (g.low[c], g.high[c]):
            qa = 31
        e1, e2 = (((s.history[j] >> 4) << shift) // quantum for j in (0, 1))
        nb = 0
        if g.refs[c]:
            r = next((r for r in g.refs[c] if r < c), g.refs[c][-1])
            nb = ((self.columns[r].error >> 4) << g.shift[r]) // quantum
        low_bits = max(octave(f >> 8) - 2, 0)
        l1, l2, lo = (min(octave(abs(v)), 7) for v in (e1, e2, nb))
        dis = clamp(((second >> 1) << shift) // quantum, -15, 15)
        d1 = d2 = dm = 0
        if t >= 3:
            y = g.y[c]
            d1, d2, dm = y[t - 1] - y[t - 2], y[t - 2] - y[t - 3], rounded - y[t - 1]
        return (
            [
                8 * qa + fraction,
                32 * qb + qa,
                4 * (16 * (2 * l1 + (e1 > 0)) + 2 * l2 + (e2 > 0)) + min(low_bits, 3),
                32 * (2 * lo + (nb > 0)) + qa,
                16 * (dis + 16) + (qa >> 1),
                32 * (d1 & 31) + (dm & 31),
                4 * (16 * (d1 & 15) + (d2 & 15)) + (dm & 3),
                2 * (16 * min(octave(abs(d1)), 15) + min(octave(abs(dm)), 15)) + (d1 > 0),
            ],
            qa >> 1,
            low_bits,
        )

    def error_code(self, slots: list[int], scale: int, low_bits: int) -> int:
        """Clause 9.4."""
        run = self.g.run

        def node(j: int) -> int:
            return run.mixed([s + j for s in slots], WEIGHTS + (32 * scale + j) * 8)  # type: ignore[no-any-return]

        if node(0):
            return 0
        negative = node(1)
        u = 0
        while u < 20 and node(2 + u):
            u += 1
        m = u if u < 20 else run.escape() + 19
        first = 0
        for b in range(low_bits):
            if b == 0:
                bit = first = node(22 + (u == 0))
            elif b == 1:
                bit = node(24 + 2 * first + (u == 0))
            else:
                bit = run.plain()
            m = 2 * m + bit
        return -(m + 1) if negative else m + 1

    def adapt(self, s: Column, x: list[int], z: int, stage: int, total: int) -> None:
        """Clause 9.5."""
        error1, s.error = 16 * z - stage, 16 * z - total
        a = min(abs(s.error), 2**40)
        s.fast += (16 * a - s.fast) >> 3
        s.slow += (16 * a - s.slow) >> 6
        gain = (bound(s.error) << 24) // (256 + sum(h * h for h in s.history))
        s.lms = [clamp(w + ((gain * h + 32768) >> 16), -(2**20), 2**20) for w, h in zip(s.lms, s.history, strict=True)]
        s.history = [bound(error1), *s.history[:15]]
        x = [*x, bound(z - (sum(a * b for a, b in zip(x, s.start, strict=True)) >> 16))]
        for i, row in enumerate(s.cov):
            for j in range(i + 1):
                row[j] += x[i] * x[j]
        s.seen += 1
        if s.seen % 32 == 0:
            s.cov = [[v - (v >> 7) for v in row] for row in s.cov]
        if s.seen % (self.hop if s.seen >= 512 else 16) == 0:
            s.weights = solve(s.cov, s.n)


def solve(cov: list[list[int]], n: int) -> list[int]:
    """Clause 9.6."""
    e = [(octave(cov[i][i]) + 1) >> 1 for i in range(n + 1)]
    a = [[0] * (n + 1) for _ in range(n + 1)]
    for i in range(n + 1):
        for j in range(i + 1):
            s = 30 - e[i] - e[j]
            a[i][j] = cov[i][j] << s if s >= 0 else cov[i][j] >> -s
    for j in range(n):
        d = ((a[j][j] + (a[j][j] >> 16) + 1024) << 30) - sum(v * v for v in a[j][:j])
        a[j][j] = math.isqrt(max(d, 2**36))
        for i in range(j + 1, n + 1):
            v = (a[i][j] << 30) - sum(p * q for p, q in zip(a[i][:j], a[j][:j], strict=True))
            a[i][j] = clamp(v // a[j][j], -(2**30), 2**30)
    w = [0] * n
    for j in range(n - 1, -1, -1):
        v = (a[n][j] << 16) - sum(a[k][j] * w[k] for k in range(j + 1, n))
        w[j] = clamp(v // a[j][j], -(2**26), 2**26)
    for j in range(n):
        s = e[n] - e[j]
        w[j] = clamp(w[j] << min(s, 24) if s >= 0 else w[j] >> -s, -(2**21), 2**21)
    return w
