"""The campaign on uses: sums over records, and every record that is worse is listed."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.serves import tables
from pipelines.serves.__main__ import short


def record(name: str, archived: list[int]) -> dict[str, Any]:
    """Return a row of 1 000 beats, of which the original has all."""
    rhythm = {"mean_rr_ms": 800.0, "sdnn_ms": 40.0, "rmssd_ms": 30.0, "pnn50": 5.0, "lf_hf": None}
    level = {"n": 1000, "mean": -2.0, "sd": 10.0, "low": -21.6, "high": 17.6, "largest": 50.0}
    result = {
        "quality": "prdn=5",
        "detector": "xqrs",
        "bits": 0.5,
        "original": [1000, 0, 0],
        "archived": archived,
        "noise": [1000, 0, 0],
        "dither": [1000, 0, 0],
        "shift_sd_ms": 1.0,
        "rhythm": [rhythm, rhythm | {"sdnn_ms": 41.0}],
        "st": {"J+60 ms": level},
        "changed": {"missed": {"V": 9, "N": 1}, "found": {}, "extra": 2},
    }
    return {"record": name, "results": [result, {**result, "detector": "neurokit", "archived": [1000, 0, 0]}]}


def test_every_record_that_is_worse_by_more_than_the_limit_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "NAMES", {"xqrs": "X", "neurokit": "N"})
    rows = [record("a", [1000, 0, 0]), record("b", [990, 10, 2]), record("c", [998, 2, 2])]
    (line,) = tables.record_lines(rows, worse_only=True)
    assert (line["record"], line["detector"], line["points"]) == ("b", "X", round(100 * (1980 / 1992 - 1), 2))
    assert (line["beats now missed"], line["beats now found"], line["false beats"]) == ("9 V, 1 N", "0", "+2")
    assert len(tables.record_lines(rows, worse_only=False)) == 6
    first, second = tables.summary(rows)
    assert (first["beats"], first["worse: archived"], second["worse: archived"]) == (3000, 1, 0)
    assert first["points"] == round(100 * (2 * 2988 / (2 * 2988 + 12 + 4) - 1), 3)
    moved = {r["change of"]: r for r in tables.rhythm_lines(rows)}
    assert moved["SDNN, ms by X"]["median"] == 1.0
    assert moved["LF/HF by X"]["greatest"] is None
    assert moved["ST J+60 ms, 95 % limit, µV"]["greatest"] == 21.6


def test_the_short_form_runs_through() -> None:
    pytest.importorskip("neurokit2")
    lines = short(0)
    assert {line["detector"] for line in lines} == set(tables.NAMES.values())
    assert all(line["F1 % original"] > 95 and abs(line["points"]) < 3 for line in lines)
