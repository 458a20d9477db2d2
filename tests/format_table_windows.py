"""FORMAT.md clause 16, the windows, written from the text alone in plain Python; shares no code with sanstream."""

from __future__ import annotations

from typing import Any

from format_coder import clamp
from format_tables import CORRECTION, SAMPLE, Linear, Means, Words, coefficients, front_length
from format_wavelet import forward, sizes

CONSTANT, MEAN = 160 * 10, 160 * 12


class TableWindows:
    """Clauses 16 to 18: what stands after the bases in a run of coder tables."""

    def __init__(self, g: Any, data: bytes, shape: list[int], delta: Any) -> None:
        self.g = g
        levels, cross = self.levels()
        words = None
        if any(tool not in (3, 4) for tools in g.tool for tool in tools.values()):
            words = Words(data[front_length(g.run) :])
        else:
            assert front_length(g.run) == len(data)
        g.done = [g.n if c < g.n_known else 0 for c in range(len(g.columns))]  # type: ignore[attr-defined]
        self.errors, self.corrections = {c: Means() for c in g.own}, {c: Means() for c in g.own}
        self.bands = dict.fromkeys(g.own, 0)
        linear = {c: Linear(g, c, shape, delta) for c in g.own}
        for w in range(len(g.tool)):
            a, b = w * g.window, min(g.n, (w + 1) * g.window)
            other: list[int] | None = None
            for c in g.own:
                tool = g.tool[w][c]
                missing = [t in g.missing[c] for t in range(a, b)]
                if tool in (3, 4):
                    san = g.san[c][a:b] if tool == 4 else [0] * (b - a)
                    g.y[c][a:b] = [g.settle(levels[w, c] + v, c) for v in san]
                elif tool == 1:
                    assert words
                    linear[c].window(a, b, self.errors[c].series(words, SAMPLE, missing), g.delta[w][c])
                else:
                    assert words
                    other = self.wavelet(words, w, c, a, b, other)
                    corrected = self.corrections[c].series(words, CORRECTION, missing) if tool == 2 else None
                    g.rebuild(w, c, a, other, cross[w, c], corrected)
                g.done[c] = b  # type: ignore[attr-defined]
        assert words is None or (words.state == 2**16 and words.at == len(words.words))

    def levels(self) -> tuple[dict[tuple[int, int], int], dict[tuple[int, int], list[int]]]:
        """Clause 16.1."""
        g, levels, cross = self.g, {}, {}
        for w in range(len(g.tool)):
            for c in g.own:
                tool = g.tool[w][c]
                if tool in (3, 4):
                    v = g.base[c] + g.run.integer(CONSTANT if tool == 3 else MEAN)
                    levels[w, c] = clamp(v, g.low[c], g.high[c])
                if tool in (0, 2):
                    cross[w, c] = g.cross_weights(w, c)
                else:
                    g.cross[c] = [0] * 8
        return levels, cross

    def wavelet(self, words: Words, w: int, c: int, a: int, b: int, other: list[int] | None) -> list[int]:
        g = self.g
        shape = forward([v << 6 for v in g.san[c][a:b]]) if g.found else [0] * (b - a)
        starts = [0, *sizes(b - a)[::-1]]
        q, self.bands[c] = coefficients(words, shape, g.steps[w][c], other, starts, self.bands[c])
        return q
