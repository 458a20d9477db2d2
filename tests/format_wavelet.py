"""FORMAT.md clauses 8.1 and 8.2 written from the text alone in plain Python; shares no code with sanstream."""

from __future__ import annotations

from itertools import pairwise

ALPHA, BETA, GAMMA, DELTA_STEP, SCALE, UNSCALE = -25987, -868, 14466, 7266, 18835, 14252


def sizes(n: int) -> list[int]:
    out = [n]
    while out[-1] > 8 and len(out) <= 12:
        out.append((out[-1] + 1) >> 1)
    return out


def lift(v: list[int], first: int, f: int) -> None:
    n = len(v)
    for i in range(first, n, 2):
        left = v[i - 1] if i > 0 else v[1]
        right = v[i + 1] if i + 1 < n else v[n - 2]
        v[i] += (f * (left + right) + 8192) >> 14


def forward(v: list[int]) -> list[int]:
    """Clause 8.2: bands, approximation first."""
    details: list[int] = []
    for _ in sizes(len(v))[1:]:
        for first, f in ((1, ALPHA), (0, BETA), (1, GAMMA), (0, DELTA_STEP)):
            lift(v, first, f)
        details = [(x * UNSCALE + 8192) >> 14 for x in v[1::2]] + details
        v = [(x * SCALE + 8192) >> 14 for x in v[::2]]
    return v + details


def inverse(bands: list[int]) -> list[int]:
    n = sizes(len(bands))
    v = bands[: n[-1]]
    for size, smaller in list(pairwise(n))[::-1]:
        whole = [0] * size
        whole[::2] = [(x * UNSCALE + 8192) >> 14 for x in v]
        whole[1::2] = [(x * SCALE + 8192) >> 14 for x in bands[smaller:size]]
        for first, f in ((0, -DELTA_STEP), (1, -GAMMA), (0, -BETA), (1, -ALPHA)):
            lift(whole, first, f)
        v = whole
    return v
