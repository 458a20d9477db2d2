"""The viewer's answers: what is drawn is what the Python API returns, in bounded work."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asgi import Client
from view_cases import GAP, RATE, SECONDS, all_figures, archived, ask, drawn, make

import sanstream
from sanstream.archive import ArchiveWriter
from sanstream.archive_grow import GrowingArchive
from sanstream.evaluate import evaluate
from sanstream.signal import Annotations
from sanstream.view.app import PAGE, make_viewer
from sanstream.view.envelopes import COARSE, FINE, Envelopes, Kept, scattered
from sanstream.view.library import Library


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return archived(tmp_path_factory.mktemp("view") / "a.san")


@pytest.fixture(scope="module")
def client(place: Path) -> Client:
    return Client(make_viewer(Library(str(place), [make()])))


def samples(place: Path, first: int, stop: int) -> np.ndarray:
    with sanstream.open(place) as archive:
        return archive.recordings["bed"].streams["250hz"].read(first, stop, physical=True)


def test_near_by_the_very_samples_are_drawn(client: Client, place: Path) -> None:
    head, low, _ = drawn(client, **{"from": 1000, "to": 2500, "width": 1500})
    assert (head["first"], head["step"], head["n"]) == (1000, 1, 1500)
    np.testing.assert_array_equal(low.T, samples(place, 1000, 2500).astype(np.float32))


@pytest.mark.parametrize("width", [37, 400, 2000])
def test_from_afar_every_pixel_holds_the_extremes_of_its_samples(client: Client, place: Path, width: int) -> None:
    head, low, high = drawn(client, width=width)
    x = samples(place, 0, SECONDS * RATE)
    assert head["n"] <= 2 * width + 1
    for i in range(head["n"]):
        part = x[i * head["step"] : (i + 1) * head["step"]]
        np.testing.assert_array_equal(low[:, i], np.fmin.reduce(part, axis=0).astype(np.float32))
        np.testing.assert_array_equal(high[:, i], np.fmax.reduce(part, axis=0).astype(np.float32))


def test_a_missing_stretch_is_drawn_as_none(client: Client) -> None:
    head, low, _ = drawn(client, **{"from": 99 * RATE, "to": 102 * RATE, "width": 750})
    gone = np.isnan(low[0])
    assert (int(gone.argmax()), int(gone.sum())) == (RATE, RATE)
    assert not np.isnan(low[1]).any()
    assert head["bad"] == []


class Counted:
    """A source that counts what is read."""

    n_samples, n_channels, block_samples = 10 * 2**20, 1, 4096

    def __init__(self) -> None:
        self.read_samples = 0

    def state(self, first: int, stop: int) -> tuple[()]:
        return ()

    def read(self, first: int, stop: int, channels: Any) -> np.ndarray:
        self.read_samples += stop - first
        return np.arange(first, stop, dtype=float)[:, None]


def test_one_answer_does_a_bounded_part_of_the_work_and_the_next_ones_the_rest() -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 0.1
        return now[0]

    source, envelopes = Counted(), Envelopes(clock=clock)
    first = envelopes.draw("x", source, 0, source.n_samples, 500, [0])
    assert not first.complete
    assert 0 < source.read_samples < source.n_samples / 10
    assert np.isfinite(first.low).sum() < first.low.size
    for _ in range(2000):
        last = envelopes.draw("x", source, 0, source.n_samples, 500, [0])
        if last.complete:
            break
    assert last.complete
    assert source.read_samples == source.n_samples, "every sample once"
    np.testing.assert_array_equal(last.low[0], np.arange(last.low.shape[1]) * last.step)
    envelopes.draw("x", source, 0, source.n_samples // 2, 500, [0])
    assert source.read_samples == source.n_samples, "what is kept is not read again"


def test_what_is_kept_is_bounded() -> None:
    kept = Kept(1000)
    for i in range(100):
        kept.put(i, i, 100)
    assert kept.get(0) is None
    assert [kept.get(i) for i in range(90, 100)] == list(range(90, 100))


def test_what_is_drawn_first_is_spread() -> None:
    order = scattered(3, 40)
    assert sorted(order) == list(range(3, 40))
    assert max(np.diff(sorted(order[:8]))) <= 10
    assert COARSE % FINE == 0


def test_a_live_stream_is_drawn_anew_where_it_has_grown(client: Client) -> None:
    source, envelopes = Counted(), Envelopes()
    source.n_samples = 10 * FINE * 500
    before = envelopes.draw("x", source, 0, source.n_samples, 500, [0])
    source.n_samples += 5000
    after = envelopes.draw("x", source, 0, source.n_samples, 500, [0])
    assert np.nanmax(before.high) < np.nanmax(after.high) == source.n_samples - 1


def test_layers_add_up(client: Client, place: Path) -> None:
    span = {"from": 5000, "to": 7500, "width": 2500}
    layers = {k: drawn(client, layer=k, **span)[1] for k in ("decoded", "original", "error", "kernels", "residual")}
    np.testing.assert_allclose(layers["kernels"] + layers["residual"], layers["decoded"], atol=1e-5)
    np.testing.assert_allclose(layers["decoded"] + layers["error"], layers["original"], atol=1e-5)
    x = make().streams[0].segments[0]
    np.testing.assert_allclose(layers["original"][0], x.channels[0].physical(x.samples[5000:7500, 0]), atol=1e-6)
    assert np.abs(layers["kernels"]).max() > 0.3, "beats are told by kernels"
    ratio = np.linalg.norm(layers["error"]) / np.linalg.norm(layers["original"] - layers["original"].mean())
    assert 0.01 < ratio < 0.06


@pytest.mark.parametrize(("first", "width"), [(0, 1500), (777, 1500), (777, 300), (777, 61)])
def test_every_layer_of_a_stretch_lies_on_the_same_places(client: Client, first: int, width: int) -> None:
    asked = {"from": first, "to": SECONDS * RATE - 5, "width": width}
    heads, lows = {}, {}
    for layer in ("decoded", "original", "error", "kernels", "residual"):
        heads[layer], lows[layer], _ = drawn(client, layer=layer, **asked)
    assert len({(h["first"], h["step"], h["n"]) for h in heads.values()}) == 1
    step = heads["kernels"]["step"]
    peaks = ask(client, "activations", **{"from": first, "to": SECONDS * RATE - 5})
    at = (np.array(peaks["sample"]) - heads["kernels"]["first"]) // step
    off = np.ones(heads["kernels"]["n"], bool)
    for k in range(-RATE // step - 1, RATE // step + 2):
        off[np.clip(at + k, 0, len(off) - 1)] = False
    assert not lows["kernels"][:, off].any(), "kernels are drawn where activations stand, and nowhere else"


def test_an_original_that_is_shorter_ends_where_it_ends(place: Path) -> None:
    whole = make()
    (stream,) = whole.streams
    short = replace(whole, streams=(replace(stream, segments=stream.segments[:1], n_samples=-1),))
    client = Client(make_viewer(Library(str(place), [short])))
    for layer in ("original", "error"):
        for width in (4000, 100):
            head, low, _ = drawn(client, layer=layer, width=width, **{"from": 100 * RATE, "to": 300 * RATE})
            assert head["first"] + head["step"] * head["n"] >= GAP[0]
            assert np.isfinite(low).any()
            head, low, _ = drawn(client, layer=layer, width=width, **{"from": 300 * RATE, "to": 310 * RATE})
            assert head["n"] == low.shape[1] == 0


def test_activations_stand_where_the_records_say(client: Client, place: Path) -> None:
    found = ask(client, "activations", **{"from": 0, "to": 60 * RATE})
    with sanstream.open(place) as archive:
        recording = archive.recordings["bed"]
        table = recording.streams["250hz"].records(0, 60 * RATE)
    times = (np.array(table["fiducial_time_ns"]) - recording.start_ns) * RATE / 10**9
    assert len(times) > 30
    np.testing.assert_array_equal(found["sample"], np.round(times))
    assert found["kernel"] == table["kernel_uid"].to_pylist()
    assert ask(client, "activations", **{"from": 0, "to": SECONDS * RATE * 10})["too_many"] in (True, False)


def test_whether_a_stream_has_kernels_is_told(client: Client) -> None:
    told = {n: client.get("/api/recording", params={"recording": n}).json()["streams"][0] for n in ("bed", "bed2")}
    assert {n: t["kernels"] for n, t in told.items()} == {"bed": True, "bed2": False}


def test_the_gallery_holds_the_kernels_that_activations_name(client: Client) -> None:
    kernels = {k["uid"]: k for k in ask(client, "kernels")["kernels"]}
    assert set(ask(client, "activations", **{"from": 0, "to": 60 * RATE})["kernel"]) <= set(kernels)
    taps = next(iter(kernels.values()))["taps"]
    assert len(taps) == 2
    assert max(map(abs, taps[0] or taps[1])) > 0.1, "in millivolts"


def test_figures_are_those_of_the_windows(client: Client, place: Path) -> None:
    found = all_figures(client)
    report = evaluate(make(), place, recording="bed")
    windows = [c.windows for c in report.streams[0].channels]
    assert found["sample"] == windows[0].start.tolist()
    worst = np.maximum(windows[0].prdn, windows[1].prdn)
    np.testing.assert_allclose(found["prdn"], worst, rtol=0.12)
    assert max(found["prdn"]) <= 5
    assert all(0 < p < 2 for p in found["phi"] if p is not None)
    assert 0.1 < np.mean(found["bits"]) < 4


def test_events_gaps_and_segments_are_marked(client: Client) -> None:
    found = ask(client, "marks")
    assert [(e["from_s"], e["text"]) for e in found["events"]] == [(1.0, "N"), (300.0, "V")]
    assert found["gaps"] == [{"from_s": 200.0, "to_s": 260.0}]
    assert [s["from_s"] for s in found["segments"]] == [0.0, 260.0]
    assert ask(client, "marks", **{"from": 100 * RATE, "to": 200 * RATE})["events"] == []


def test_the_next_event_is_found_however_far(client: Client) -> None:
    asked = [("0", "0", 1.0), ("1", "0", 300.0), ("300", "0", None), ("300", "1", 1.0), ("1.0004", "1", None)]
    for at, back, found in asked:
        assert ask(client, "next", at=at, back=back)["at_s"] == found


def test_decisions_of_the_daemon_are_marked(place: Path, tmp_path: Path) -> None:
    start = 1_700_000_000 * 10**9
    row = {
        "signal_ns": start + 90 * 10**9,
        "recording": "bed",
        "stream": "250hz",
        "decision": "adopted",
        "why": "alarm",
    }
    alarm = {"figure": "phi 0", "window": 9, "before": 0.3, "after": 0.5, "sigmas": 6.0}
    rows = [{**row, "alarm": alarm}, {**row, "recording": "bed2"}, {**row, "signal_ns": start - 1}]
    (tmp_path / "audit.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows) + '{"cut')
    found = ask(Client(make_viewer(Library(str(place)), state_dir=tmp_path)), "marks")["decisions"]
    assert [(d["from_s"], d["decision"], d["alarm"]["figure"]) for d in found] == [(90.0, "adopted", "phi 0")]


def test_a_viewer_may_be_prepared_before_anybody_asks(place: Path, tmp_path: Path) -> None:
    made = Client(make_viewer(Library(str(place)), prepared=True))
    assert made.get("/api/recordings").json()["total"] == 2
    GrowingArchive(tmp_path / "empty", state_dir=tmp_path / "state")
    assert Client(make_viewer(Library(str(tmp_path / "empty")), prepared=True)).get("/").status_code == 200


def test_the_nul_at_the_end_of_a_note_is_not_shown(tmp_path: Path) -> None:
    note = Annotations("atr", {"time_ns": np.array([10**9]), "symbol": np.array(["+"]), "aux_note": np.array(["(N\0"])})
    with ArchiveWriter(tmp_path / "a.san") as writer:
        writer.add(replace(make(), annotations=(note,)), effort="fast")
        writer.commit()
    own = Client(make_viewer(Library(str(tmp_path / "a.san"))))
    assert [e["text"] for e in ask(own, "marks", **{"from": 0, "to": 5 * RATE})["events"]] == ["+ (N"]


def test_recordings_are_listed_and_found(client: Client) -> None:
    assert client.get("/api/recordings").json() == {"names": ["bed", "bed2"], "start": 0, "found": 2, "total": 2}
    assert client.get("/api/recordings", params={"find": "D2"}).json()["names"] == ["bed2"]
    assert client.get("/api/recordings", params={"start": 1, "limit": 1}).json()["names"] == ["bed2"]
    about = ask(client, "recording")
    assert (about["start_ns"], about["timezone"]) == (str(1_700_000_000 * 10**9), "utc")
    assert [(c["label"], c["modality"]) for c in about["streams"][0]["channels"]] == [("I", "ecg"), ("II", "ecg")]
    assert about["streams"][0]["quality"] == ["prdn=5", "prdn=5"]


def test_a_recording_that_is_added_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sanstream.view.library._LOCAL_S", 0.0)
    monkeypatch.setattr("sanstream.view.library._SHARE", 0)
    path = tmp_path / "a.san"
    for names in (["one"], ["one", "two"]):
        with ArchiveWriter(tmp_path / names[-1]) as writer:
            for name in names:
                writer.add(make(name), ["prdn=9"], effort="fast")
            writer.commit()
    path.symlink_to(tmp_path / "one")
    library = Library(str(path))
    assert library.names()["names"] == ["one"]
    held = library.archive()
    assert library.archive() is held, "what has not changed is not opened again"
    path.unlink()
    path.symlink_to(tmp_path / "two")
    assert library.names()["names"] == ["one", "two"]


def test_a_block_that_does_not_decode_is_named_and_nothing_wrong_is_drawn(tmp_path: Path, place: Path) -> None:
    import shutil

    shutil.copytree(place, tmp_path / "b.san")
    shard = next((tmp_path / "b.san" / "bed" / "250hz" / "0").glob("c/*/*"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    own = Client(make_viewer(Library(str(tmp_path / "b.san"))))
    head, low, high = drawn(own, width=600)
    assert None in all_figures(own)["prdn"]
    assert len(head["bad"]) == 1
    first, stop, why = head["bad"][0]
    assert "block" in why
    assert "crc" in why.lower() or "checksum" in why.lower()
    assert stop - first <= 70 * RATE
    assert np.isnan(low[:, first // head["step"] + 1 : stop // head["step"] - 1]).all()
    assert np.isfinite(high).sum() > high.size // 2
    with sanstream.open(place) as archive:
        size = archive.recordings["bed"].streams["250hz"].entry.segments[0].coding.block_samples
    assert min(first % size, -first % size) <= size // 1024 + 1, "no more than the block is hidden"
    told = ask(own, "activations", **{"from": 0, "to": SECONDS * RATE})["sample"]
    whole = ask(Client(make_viewer(Library(str(place)))), "activations", **{"from": 0, "to": SECONDS * RATE})["sample"]
    assert set(told) < set(whole)
    beyond = {at for at in whole if not first - size // 16 <= at < stop + size // 16}
    assert beyond <= set(told), "those of sound blocks are there"


@pytest.mark.parametrize(
    ("what", "questions", "code", "word"),
    [
        ("recording", {"recording": "nobody"}, 404, "holds no recording"),
        ("samples", {"stream": "1hz"}, 404, "holds no stream"),
        ("samples", {"from": "x"}, 400, "no number"),
        ("samples", {"from": "nan"}, 400, "no number"),
        ("samples", {"channels": "7"}, 400, "none of the stream's"),
        ("samples", {"channels": "0," * 500}, 400, "none of the stream's"),
        ("samples", {"layer": "../x"}, 400, "unknown"),
        ("samples", {"recording": ""}, 400, "missing"),
        ("recording", {"recording": "../../etc"}, 404, "holds no recording"),
    ],
)
def test_a_wrong_question_is_told_what_is_wrong(
    client: Client, what: str, questions: dict[str, str], code: int, word: str
) -> None:
    answer = client.get(f"/api/{what}", params={"recording": "bed", "stream": "250hz", **questions})
    assert answer.status_code == code
    assert word in answer.json()["error"]


def test_absurd_numbers_cost_nothing(client: Client) -> None:
    head, low, _ = drawn(client, **{"from": -5, "to": 10**300, "width": 10**9})
    assert low.nbytes < 1 << 20
    assert head["first"] == 0
    assert drawn(client, **{"from": 10**15, "to": 5})[0]["n"] == 0


def test_the_page_is_whole_and_loads_nothing_from_elsewhere(client: Client) -> None:
    for name, kind in PAGE.items():
        answer = client.get(f"/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        if not name.startswith("uPlot"):
            assert "https://" not in answer.text, name
            assert "http://" not in answer.text.replace("http://www.w3.org/2000/svg", ""), name
    assert client.get("/").text == client.get("/index.html").text
    assert client.get("/../app.py").status_code == 404
    assert client.get("/api/about").headers["cache-control"] == "no-store"


def test_what_a_daemon_has_just_received_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from live_cases import Ward, feed_seconds
    from live_cases import samples as live_samples

    monkeypatch.setattr("sanstream.view.library._LOCAL_S", 0.0)
    monkeypatch.setattr("sanstream.view.library._SHARE", 0)
    ward, x = Ward(tmp_path), live_samples(100)
    feed_seconds(ward, x[: 70 * RATE])
    client = Client(make_viewer(Library(str(ward.url))))
    about = client.get("/api/recording", params={"recording": "bed1"}).json()
    assert (about["live"], about["streams"][0]["n_samples"]) == (True, 70 * RATE)
    drawn(client, recording="bed1", width=50)
    feed_seconds(ward, x[70 * RATE :], first=70 * RATE)
    head, low, _ = drawn(client, recording="bed1", **{"from": 90 * RATE, "to": 100 * RATE, "width": 2500})
    assert head["n_samples"] == 100 * RATE
    np.testing.assert_allclose(low[0], x[90 * RATE :, 0] / 200, atol=1e-6)
    assert ask(client, "marks", recording="bed1")["gaps"] == []
    all_figures(client, recording="bed1")
    ward.stop()
