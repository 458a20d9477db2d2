"""The report: a page that stands alone, JSON that is a contract, sound on any signal, whole or not there."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from conftest import Run, make_recording

from sanstream import formats
from sanstream.archive_write import ArchiveWriter
from sanstream.report import report
from sanstream.report.findings import Findings
from sanstream.serves import assess
from sanstream.signal import Channel, Recording, Segment, Stream
from sanstream.simulate import simulate_ecg, simulate_eeg, simulate_ppg

VOID = {"meta", "img", "br"}
LOADS = {"src", "href", "srcset", "data", "poster", "action", "background"}


class Page(HTMLParser):
    """Reads a page: what it loads, its text, and whether its elements close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attributes if name in LOADS]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def archived(recording: Recording, folder: Path, *qualities: str) -> Path:
    with ArchiveWriter(folder / "a.san") as writer:
        writer.add(recording, list(qualities), effort="fast")
        writer.commit()
    return folder / "a.san"


def reported(recording: Recording, folder: Path, *qualities: str, **options: float) -> tuple[Findings, Page]:
    found = report(recording, archived(recording, folder, *qualities), to=folder / "report", **options)
    page = Page((folder / "report" / "report.html").read_text(encoding="utf-8"))
    assert page.open == []
    json.loads((folder / "report" / "report.json").read_text(encoding="utf-8"))
    return found, page


def one_channel(samples: np.ndarray, rate: int, channel: Channel) -> Recording:
    stream = Stream("s", Fraction(rate), (Segment(0, (channel,), samples.astype(np.int32)[:, None]),))
    return Recording("r", (stream,))


@pytest.fixture(scope="module")
def ecg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a minute of ECG as WFDB and its archive."""
    folder = tmp_path_factory.mktemp("ecg")
    recording = simulate_ecg(60, rate_hz=250)
    formats.write(recording, folder, format="wfdb")
    archived(formats.read(folder / "ecg"), folder, "prdn=9")
    return folder


def test_the_command_writes_a_page_that_stands_alone(run: Run, ecg: Path, tmp_path: Path) -> None:
    ended = run("evaluate", ecg / "ecg", ecg / "a.san", "--report", tmp_path / "report")
    assert ended.code == 0, ended.err
    assert ended.out.split()[0] == "stream"
    assert sorted(p.name for p in (tmp_path / "report").iterdir()) == ["report.html", "report.json"]
    assert [p.name for p in tmp_path.iterdir()] == ["report"]
    html = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    assert page.open == []
    assert page.loads
    assert all(address.startswith("data:image/svg+xml;base64,") for address in page.loads)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert not re.search(r"@import|url\(", html)
    assert "Every one of 12 windows keeps the quality asked (prdn=9)." in page.text
    assert "atr" in page.text
    assert "Broken windows None" in page.text


def test_report_json_is_the_contract(run: Run, ecg: Path, tmp_path: Path) -> None:
    ended = run("evaluate", ecg / "ecg", ecg / "a.san", "--report", tmp_path / "report", "--json")
    printed = json.loads(ended.out)
    assert set(printed) == {"recording", "streams", "broken"}
    data = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    assert set(data) == {
        *("report_version", "sanstream", "verdict", "archive", "recording", "streams", "broken", "serves", "worst"),
    }
    assert {k: data[k] for k in printed} == printed
    assert set(data["verdict"]) == {"text", "quality_kept", "n_windows", "n_broken", "attention"}
    assert {"banks", "effort", "coded_bytes", "bits_per_sample", "container"} <= set(data["archive"])
    lead = data["serves"][0]
    assert lead["modality"] == "ecg"
    assert {b["detector"] for b in lead["beats"]} >= {"xqrs"}
    assert {"found", "missed", "extra", "sensitivity", "predictivity", "f1"} == set(lead["beats"][0]["decoded"])
    assert {"J+60 ms", "J+80 ms"} == set(lead["st"]["levels"])
    assert {"original", "decoded", "differences", "detector"} == set(lead["rhythm"][0])
    assert data["worst"]["n_one_percent"] == 1 == len(data["worst"]["drawn"])
    assert "original" not in data["worst"]["drawn"][0]


def test_what_is_there_is_not_written_over(run: Run, ecg: Path, tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    ended = run("evaluate", ecg / "ecg", ecg / "a.san", "--report", tmp_path / "report")
    assert (ended.code, ended.out) == (2, "")
    assert "exists already; choose another name" in ended.err
    ended = run("evaluate", ecg / "ecg", ecg / "a.san", "--report", tmp_path / "no" / "report")
    assert ended.code == 2
    assert "no such folder; make it first" in ended.err


def test_a_report_that_fails_leaves_nothing(ecg: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sanstream.report.write.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        report(ecg / "ecg", ecg / "a.san", to=tmp_path / "report")
    assert list(tmp_path.iterdir()) == []


def test_broken_windows_come_first_and_end_with_1(run: Run, ecg: Path, tmp_path: Path) -> None:
    other = simulate_ecg(60, rate_hz=250, seed=1)
    formats.write(other, tmp_path, format="wfdb")
    ended = run("evaluate", tmp_path / "ecg", ecg / "a.san", "--report", tmp_path / "report")
    assert ended.code == 1
    page = Page((tmp_path / "report" / "report.html").read_text(encoding="utf-8"))
    assert "Broken: 12 of 12 windows miss the quality asked (prdn=9)." in page.text
    assert "BROKEN. Asked prdn=9" in page.text
    assert json.loads((tmp_path / "report" / "report.json").read_text())["verdict"]["n_broken"] == 12


def test_lossless_says_that_every_sample_is_the_originals(tmp_path: Path) -> None:
    found, page = reported(simulate_ecg(20, rate_hz=250, n_leads=1), tmp_path, "lossless")
    assert "Every sample of all 2 windows is exactly the original's." in page.text
    assert "img" not in page.tags
    assert not found.attention
    beats = found.served[0].beats[0]
    assert (beats.lost, beats.gained, beats.f1_points) == (0, 0, 0)
    assert found.served[0].rhythm[0].original == found.served[0].rhythm[0].decoded


def test_eeg_is_measured_by_bands_and_ppg_by_peaks(tmp_path: Path) -> None:
    (eeg,), (ppg,) = simulate_eeg(20, n_channels=2).streams, simulate_ppg(30).streams
    found, page = reported(Recording("both", (eeg, ppg)), tmp_path, "prdn=9")
    kinds = {s.channel: s for s in found.served}
    spectra = [s.spectrum for s in kinds.values() if s.spectrum]
    assert len(spectra) == 2
    assert spectra[0].bands["alpha"].coherence is not None
    assert spectra[0].bands["alpha"].coherence > 0.8
    pulses = kinds["PLETH"].pulses
    assert pulses is not None
    assert pulses.counts.found > 30
    assert pulses.counts.missed == 0
    assert "EEG bands" in page.text
    assert "Peaks of pressure" in page.text


@pytest.mark.parametrize("case", ["constant", "missing", "short", "slow", "unknown", "one sample", "trigger"])
def test_odd_channels_say_why_there_is_no_result(case: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wave = (200 * np.sin(np.arange(5000) / 20)).round()
    lead = Channel("II", "mV", 200.0, missing=-32768)
    recording, said = {
        "constant": (one_channel(np.full(5000, 7), 250, lead), "the channel is constant"),
        "missing": (one_channel(np.full(5000, -32768), 250, lead), "no stretch of 2 s without a gap"),
        "short": (one_channel(wave[:100], 250, lead), "no stretch of 2 s without a gap"),
        "slow": (one_channel(wave, 1, lead), "1 Hz is too slow for QRS detection"),
        "unknown": (one_channel(wave, 250, Channel("<b>x&y", "")), "No measure of use for this kind of channel"),
        "one sample": (one_channel(wave[:1], 250, lead), "no stretch of 2 s"),
        "trigger": (one_channel(rng.integers(0, 2, 5000), 250, Channel("T", kind="trigger")), "exactly the original's"),
    }[case]
    _, page = reported(recording, tmp_path, "prdn=5")
    assert said in page.text
    assert "b" not in page.tags, "a label is text, whatever it holds"


def test_gaps_neither_break_detectors_nor_become_beats(tmp_path: Path) -> None:
    recording = simulate_ecg(40, rate_hz=250, n_leads=1)
    (stream,), (segment,) = recording.streams, recording.streams[0].segments
    samples = segment.samples.copy()
    samples[3000:4000] = samples[6000:6010] = -32768
    channel = Channel("MLII", "mV", 200.0, 1024, missing=-32768)
    gapped = Recording("g", (Stream("ecg", stream.rate, (Segment(0, (channel,), samples),)),))
    found, _ = reported(gapped, tmp_path, "prdn=5")
    (served,) = found.served
    assert served.analysed_s == pytest.approx(36)
    assert served.whole_s == pytest.approx(36, abs=0.1)
    for result in served.beats:
        assert not any(12 <= s < 16 for s in result.changed_s)


def test_a_detector_that_is_not_installed_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found, page = reported(simulate_ecg(15, rate_hz=250, n_leads=1), tmp_path, "prdn=9")
    assert [b.detector for b in found.served[0].beats] == ["xqrs"]
    assert "neurokit2 is not installed; pip install 'sanstream[evaluate]' brings it" in page.text


def test_a_fall_of_f1_is_listed_with_what_a_breath_of_noise_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fickle(signal: np.ndarray, rate_hz: float) -> np.ndarray:
        every = np.arange(50, len(signal), 250)
        return every if float(np.abs(np.diff(signal, 2)).max()) > 1 else every[:-3]

    monkeypatch.setattr(assess, "DETECTORS", {"xqrs": fickle})
    monkeypatch.setitem(__import__("sanstream.serves.detectors", fromlist=["x"]).DETECTORS, "xqrs", fickle)
    wave = np.zeros(5000)
    wave[100] = 500
    wave += (100 * np.sin(np.arange(5000) / 40)).round()
    recording = one_channel(wave, 250, Channel("II", "mV", 200.0))
    found, page = reported(recording, tmp_path, "prdn=30")
    assert found.attention[0].measure == "beats"
    assert set(found.served[0].controls) == {"xqrs"}
    control = found.served[0].controls["xqrs"]
    assert control.dither == 0
    assert "plus noise of half a digital step by +0.00" in page.text


def test_of_many_windows_no_more_than_a_page_holds_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sanstream.report.worst.SHARE", 0.5)
    monkeypatch.setattr("sanstream.report.worst.MOST_DRAWN", 5)
    samples = (300 * np.random.default_rng(1).standard_normal((30_000, 2))).round()
    found, page = reported(make_recording(samples), tmp_path, "prdn=20")
    assert (found.n_windows, found.n_worst, len(found.worst)) == (24, 12, 5)
    assert "One per cent of 24 windows are 12; 5 are drawn" in page.text
    assert page.tags.count("h3") == 5
    assert found.worst[0].prdn == max(w.prdn for w in found.worst)
    window = found.worst[-1]
    assert np.allclose(window.original * 200, samples[window.start_sample :][:2500, int(window.channel[-1])])


def test_a_long_lead_is_analysed_in_parts_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sanstream.serves.pieces._PART_S", 10.0)
    found, page = reported(simulate_ecg(60, rate_hz=250, n_leads=1), tmp_path, "prdn=9", most_s=30.0)
    assert (found.served[0].analysed_s, found.served[0].whole_s) == (pytest.approx(30), pytest.approx(60))
    assert "MLII: 30 s of 60 s were analysed" in page.text
