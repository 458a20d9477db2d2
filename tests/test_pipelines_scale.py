"""Scale: archives of many segments are real archives, costs are counted, workers queue as they must."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import sanstream
from pipelines.scale import costs
from pipelines.scale.archives import STREAM, Shape, build
from pipelines.scale.queue import Ward, simulate
from pipelines.scale.scales import scale_rows, worker_rows
from sanstream.archive import verify
from sanstream.archive_store import RemoteObjects
from sanstream.block_coding import SegmentCoding


def test_an_archive_of_many_segments_is_sound(tmp_path: Path) -> None:
    def put(key: str, data: bytes) -> None:
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(data)

    n_objects = build(Shape(3, 4), put)
    assert n_objects == sum(1 for p in tmp_path.rglob("*") if p.is_file())
    assert verify(tmp_path, deep=True) == []
    with sanstream.open(tmp_path) as archive:
        assert list(archive.recordings) == ["bed00000", "bed00001", "bed00002"]
        stream = archive.recordings["bed00001"].streams[STREAM]
        assert (stream.n_samples, len(stream.entry.segments)) == (10_000, 4)
        assert stream.read(0, 10).shape == (10, 2)


def test_segments_that_are_alike_are_what_they_would_be_alone(tmp_path: Path) -> None:
    held: dict[str, bytes] = {}
    build(Shape(1, 3), held.__setitem__)
    url = "memory://alike"
    for key, data in held.items():
        RemoteObjects(url).put(key, data)
    first, second, _ = sanstream.open(url).recordings["bed00000"].streams[STREAM].entry.segments
    assert first.coding.segment_id != second.coding.segment_id
    assert first.coding.seal != second.coding.seal
    assert first.channels is second.channels
    again = SegmentCoding.from_dict({**second.coding.to_dict(), "window_samples": second.coding.window_samples})
    assert again == second.coding
    alone = SegmentCoding(**{f: getattr(second.coding, f) for f in SegmentCoding.__dataclass_fields__})
    assert alone.seal == second.coding.seal


def test_listing_asks_for_every_manifest_once_and_for_no_size(monkeypatch: pytest.MonkeyPatch) -> None:
    url, held = "memory://listing", dict[str, bytes]()
    build(Shape(40, 1), held.__setitem__)
    for key, data in held.items():
        RemoteObjects(url).put(key, data)
    with costs.counted() as seen:
        names = list(sanstream.open(url).recordings)
        assert seen == {"GET": 1}
        info = sanstream.open(url).info()
        assert seen["GET"] == 1 + (1 + 40 + 2)
    assert [r["name"] for r in info["recordings"]] == names
    manifests = sum(len(data) for key, data in held.items() if key.endswith("/manifest.json"))
    own = [len(data) for key, data in held.items() if key.endswith("zarr.json") or key == "catalog.json"]
    assert info["stored_bytes"]["metadata"] == manifests + sum(own)


def test_costs_are_counted(tmp_path: Path) -> None:
    kind = costs.Kind("ECG, 2 leads, 250 Hz", costs.KINDS[0].rate, 2)
    row = costs.ingest(kind, "prdn=5", "fast", tmp_path / "state", hour_s=120)
    # raw samples of two leads, four bytes each at most, and what the ledger says of them
    raw = 250 * 2 * 4 * 3600 / 1e6
    assert 0.4 * raw < row["state MB"] < 2 * raw
    assert row["CPU s"] > 0
    made, read = costs.batch(kind, "prdn=5", "fast", hour_s=120)
    assert 0 < made["store MB"] < raw
    assert made["PUT"] >= 4 * 30
    assert read["GET, 10 s"] <= costs.MOST_GETS
    assert costs.wrong_of([row, made, read]) == []
    assert costs.wrong_of([{**read, "GET, 10 s": 9}])
    assert costs.wrong_of([{**row, "CPU s": 0}])


def test_blocks_that_come_together_wait_for_each_other() -> None:
    ward = Ward(streams=100, workers=2, block_s=60, service_s=0.6, together=True, cores=1)
    assert ward.load == pytest.approx(0.5)
    lags = simulate(ward)
    assert lags.most == pytest.approx(50 * 0.6)
    assert lags.p50 == pytest.approx(25 * 0.6, abs=0.7)


def test_a_death_is_felt_until_what_waited_is_done() -> None:
    ward = Ward(streams=400, workers=4, block_s=60, service_s=0.3, together=False, cores=1)
    lags = simulate(ward)
    assert lags.most < 5
    assert 30 <= lags.after_death < 60
    assert 30 <= lags.recovered_s < 300
    tight = simulate(Ward(streams=700, workers=4, block_s=60, service_s=0.3, together=False, cores=1))
    assert math.isinf(tight.recovered_s), "three workers cannot do what keeps four busy to 7 of 8"
    assert tight.after_death > 600


def test_scales_name_what_saturates_first() -> None:
    kinds = ("ECG, 2 leads, 250 Hz", "ICU bed, 4 waves, 125 Hz")
    rows = [
        {"stream": k, "what": "ingest", "quality": "prdn=5", "effort": "fast", "CPU s": 0.36, "store MB": 0.1,
         "PUT": 3.0, "state MB": 3.6}
        for k in kinds
    ]  # fmt: skip
    laptop, hospital, nation = scale_rows(rows)
    assert hospital["cores"] == pytest.approx(1.0)
    assert hospital["journal and ledger MB/s"] == pytest.approx(10.0)
    assert hospital["PUT/s"] == pytest.approx(10_000 * 3 / 3600)
    assert hospital["PUT, $ a month"] == pytest.approx(10_000 * 3 * 730 / 1e6 * 5)
    assert (hospital["saturates first"], hospital["machines of 2 cores"]) == ("broker", 5)
    assert nation["machines of 2 cores"] == 100
    assert laptop["machines of 2 cores"] == 1
    heavy = scale_rows([{**r, "CPU s": 36.0} for r in rows])[1]
    assert heavy["saturates first"] == "cores"
    assert {r["blocks"] for r in worker_rows(rows)} == {"spread", "all at once"}
    assert np.isfinite([r["lag s, p50"] for r in worker_rows(rows)]).all()
