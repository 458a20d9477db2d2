"""Clauses 2 and 3: the segment coding as JSON, and the limits that it must keep."""

from __future__ import annotations

import contextlib
import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanstream.block_coding import Group, PredictorShape, SegmentCoding
from sanstream.errors import InputError, UnsupportedError

SOUND: dict[str, Any] = {
    "version": 1,
    "segment_id": "0123456789abcdef",
    "rate": "250",
    "digital_min": [-2048, 0, -(2**31)],
    "digital_max": [2047, 0, 2**31 - 1],
    "missing": [-2048, None, 7],
    "window_samples": 2500,
    "block_samples": 15000,
    "coder": "mixing",
    "predictor": [12, 4, 64, 0, 16],
    "groups": [[[2, 0], -1, [[], [2]]], [[1], 0, [[2, 0]]]],
    "bank": {"base": "ab" * 32, "delta": "AAEC"},
}


@st.composite
def codings(draw: st.DrawFn) -> SegmentCoding:
    n = draw(st.integers(1, 40))
    order = draw(st.permutations(range(n)))
    groups: list[Group] = []
    place = 0
    while place < n:
        size = draw(st.integers(1, min(16, n - place)))
        own = tuple(order[place : place + size])
        roots = [-1, *(i for i, g in enumerate(groups) if g.parent < 0)]
        parent = draw(st.sampled_from(roots))
        known = [*own, *(groups[parent].channels if parent >= 0 else ())]
        references = tuple(
            tuple(
                draw(
                    st.lists(st.sampled_from(known), unique=True, max_size=3).map(
                        lambda r, c=c: [x for x in r if x != c]
                    )
                )
            )
            for c in own
        )
        groups.append(Group(own, parent, references if draw(st.booleans()) else ()))
        place += size
    low = [draw(st.integers(-(2**31), 2**31 - 1)) for _ in range(n)]
    high = [draw(st.integers(a, 2**31 - 1)) for a in low]
    missing = [draw(st.none() | st.integers(-(2**31), 2**31 - 1)) for _ in range(n)]
    window = draw(st.integers(1, 2**16))
    blocks = max(1, min(2**20, 2**24 // n) // window)
    return SegmentCoding(
        draw(st.text("0123456789abcdef", min_size=16, max_size=16)),
        draw(st.fractions(Fraction(1, 1000), 10**6, max_denominator=1001)),
        tuple(low), tuple(high), tuple(missing), window, window * draw(st.integers(1, blocks)),
        tuple(groups), "cd" * 32, draw(st.binary(max_size=4096)),
        PredictorShape(draw(st.integers(1, 32)), draw(st.integers(0, 7)), draw(st.integers(8, 4096))),
    )  # fmt: skip


@given(codings())
def test_clause_3_a_coding_survives_json(coding: SegmentCoding) -> None:
    assert SegmentCoding.from_dict(json.loads(json.dumps(coding.to_dict()))) == coding


def test_clause_3_the_sound_example_is_sound() -> None:
    assert SegmentCoding.from_dict(SOUND).to_dict() == SOUND


CHANGES: dict[str, Any] = {
    "segment_id too short": {"segment_id": "0123"},
    "segment_id in capitals": {"segment_id": "0123456789ABCDEF"},
    "rate zero": {"rate": "0"},
    "rate negative": {"rate": "-5"},
    "rate not in lowest terms": {"rate": "500/2"},
    "rate with a zero before it": {"rate": "0250"},
    "window of a fraction": {"window_samples": 2500.0},
    "window as a text": {"window_samples": "2500"},
    "block of truth": {"window_samples": True, "block_samples": True},
    "range of a fraction": {"digital_max": [2047, 0, 7.5]},
    "segment_id a number": {"segment_id": 1234567890123456},
    "delta with bits left over": {"bank": {"base": "ab" * 32, "delta": "AAF="}},
    "rate with a huge exponent": {"rate": "1e999999999"},
    "rate over zero": {"rate": "1/0"},
    "rate a number": {"rate": 250},
    "a channel too few": {"digital_max": [1, 1]},
    "no channels": {"digital_min": [], "digital_max": [], "missing": [], "groups": []},
    "too many channels": {k: [0] * 4097 for k in ("digital_min", "digital_max", "missing")},
    "range upside down": {"digital_min": [5, 1, 0]},
    "range beyond int32": {"digital_max": [2047, 0, 2**31]},
    "range infinite": {"digital_max": [2047, 0, float("inf")]},
    "window zero": {"window_samples": 0},
    "window too long": {"window_samples": 2**16 + 1, "block_samples": 2**16 + 1},
    "block of no whole windows": {"block_samples": 15001},
    "block zero": {"block_samples": 0},
    "block too long": {"window_samples": 2**16, "block_samples": 2**20 + 2**16},
    "block of too many values": {
        "window_samples": 2**16,
        "block_samples": 2**20,
        **{k: [0] * 17 for k in ("digital_min", "digital_max", "missing")},
        "groups": [[[i], -1, []] for i in range(17)],
    },
    "predictor without own taps": {"predictor": [0, 4, 64, 0, 16]},
    "predictor too long": {"predictor": [33, 4, 64, 0, 16]},
    "predictor hop": {"predictor": [12, 4, 7, 0, 16]},
    "predictor incomplete": {"predictor": [12, 4, 64]},
    "predictor ahead": {"coder": "tables", "predictor": [12, 4, 64, 9, 8]},
    "predictor filter": {"coder": "tables", "predictor": [12, 4, 64, 0, 4]},
    "mixing with samples ahead": {"predictor": [12, 4, 64, 1, 16]},
    "unknown coder": {"coder": "huffman"},
    "too many regressors": {"predictor": [32, 16, 64, 0, 16]},
    "channel in two groups": {"groups": [[[0, 1, 2], -1, []], [[2], 0, []]]},
    "channel in no group": {"groups": [[[0, 1], -1, []]]},
    "empty group": {"groups": [[[0, 1, 2], -1, []], [[], 0, []]]},
    "parent after child": {"groups": [[[2, 0], 1, []], [[1], -1, []]]},
    "references too few": {"groups": [[[2, 0], -1, [[]]], [[1], 0, []]]},
    "reference to itself": {"groups": [[[2, 0], -1, [[2], []]], [[1], 0, []]]},
    "reference to a stranger": {"groups": [[[2, 0], -1, [[1], []]], [[1], -1, []]]},
    "groups not a list": {"groups": 7},
    "bank unnamed": {"bank": {"base": "", "delta": ""}},
    "bank elsewhere": {"bank": {"base": "../" * 21 + "x", "delta": ""}},
    "lattices of no channel": {"lattices": []},
    "delta not base64": {"bank": {"base": "ab" * 32, "delta": "!"}},
    "delta too long": {"bank": {"base": "ab" * 32, "delta": "AAAA" * 1366}},
}


@pytest.mark.parametrize(("version", "advice"), [(2, "newer sanstream"), (0, "encode the recording anew")])
def test_clause_13_another_version_is_refused_with_advice(version: int, advice: str) -> None:
    with pytest.raises(UnsupportedError, match=advice):
        SegmentCoding.from_dict({**SOUND, "version": version})


@pytest.mark.parametrize("version", ["1", "2", 2.0, 1.0, None, [], {}, True])
def test_clause_3_a_version_is_an_integer(version: Any) -> None:
    with pytest.raises(InputError, match="version"):
        SegmentCoding.from_dict({**SOUND, "version": version})


def test_clause_13_a_coding_without_a_version_is_older_than_versions() -> None:
    with pytest.raises(UnsupportedError, match="version 0"):
        SegmentCoding.from_dict({k: v for k, v in SOUND.items() if k != "version"})


def test_clause_3_5_the_seal_covers_every_field_and_nothing_else() -> None:
    sound = SegmentCoding.from_dict(SOUND)
    changes = [
        {"segment_id": "0123456789abcdee"}, {"rate": "251"}, {"digital_min": [-2047, 0, -(2**31)]},
        {"digital_max": [2046, 0, 2**31 - 1]}, {"missing": [-2048, None, 8]}, {"window_samples": 1500},
        {"block_samples": 12500}, {"coder": "tables"}, {"predictor": [12, 4, 32, 0, 16]},
        {"groups": [[[2, 0], -1, [[], []]], [[1], 0, [[2, 0]]]]}, {"bank": {"base": "ab" * 32, "delta": "AAED"}},
        {"bank": {"base": "ac" * 32, "delta": "AAEC"}}, {"lattices": [None, None, [2**32, 0]]},
    ]  # fmt: skip
    changes[-1].update(digital_max=[2047, 0, 0], digital_min=[-2048, 0, 0])
    seals = [SegmentCoding.from_dict({**SOUND, **change}).seal for change in changes]
    assert len({sound.seal, *seals}) == len(changes) + 1
    more = {**SOUND, "remark": 1, "bank": {**SOUND["bank"], "data": "AA=="}}
    assert SegmentCoding.from_dict(more).seal == sound.seal


@pytest.mark.parametrize("what", CHANGES)
def test_clause_2_what_a_coding_may_not_say(what: str) -> None:
    with pytest.raises(InputError, match=r"FORMAT\.md, clause 3"):
        SegmentCoding.from_dict({**SOUND, **CHANGES[what]})


@pytest.mark.parametrize("key", [k for k in SOUND if k != "version"])
def test_clause_3_every_field_is_needed(key: str) -> None:
    with pytest.raises(InputError, match="incomplete"):
        SegmentCoding.from_dict({k: v for k, v in SOUND.items() if k != key})


def test_clause_2_groups_are_at_most_three_deep_and_sixteen_wide() -> None:
    deep = [[[i], i - 1, []] for i in range(4)]
    base = {k: [0] * 17 for k in ("digital_min", "digital_max")} | {"missing": [None] * 17}
    four = {k: v[:4] for k, v in base.items()}
    with pytest.raises(InputError, match="4 deep, at most 3"):
        SegmentCoding.from_dict({**SOUND, **four, "groups": deep})
    with pytest.raises(InputError, match="17 channels, allowed 1 to 16"):
        SegmentCoding.from_dict({**SOUND, **base, "groups": [[list(range(17)), -1, []]]})


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(SOUND)), JSON_VALUES)
def test_clause_3_any_json_gives_a_coding_or_a_clear_error(key: str, value: Any) -> None:
    with contextlib.suppress(InputError):
        SegmentCoding.from_dict({**SOUND, key: value})
