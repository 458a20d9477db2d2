"""Detect heart beats from activation records alone, and score them against the annotations of MIT-BIH.

Usage: python -m pipelines.codes.beats [--data ../shared/data] [--work work/beats] [--sources TEXT] [--seed 0]
           [--no-peer] [--quick]

Records come from coded blocks of quality ``sparse``; nothing is decoded. Three folds by record: the bank that encodes a
record, the networks that judge its candidates and the choice among sources come from the other two folds. Resumable:
records, detections and the peer's row of each record stand in the work folder while what decides them stays the same.
--quick takes a minute of simulated ECG and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.benchmark import cases
from pipelines.benchmark.own import PACED, ROOT, codec_digest, fold_bank
from pipelines.benchmark.rows import Rows, samples_digest
from pipelines.benchmark.summary import provenance
from pipelines.codes import beat_net, beat_plot, beat_rows
from pipelines.codes.beat_features import Candidates, candidates_of
from pipelines.codes.beat_peer import PEER, peer_beats
from pipelines.codes.beat_records import SHORT, THOROUGH, Records, encode_records, load_records, save_records
from sanstream import formats
from sanstream.bank import Bank
from sanstream.serves import matching
from sanstream.simulate import simulate_ecg

HERE = Path(__file__).resolve().parent
MEASURED = ROOT / "docs" / "measured"
CHOSEN = "source chosen on the other folds"
_PICTURE = ("208", 1105.0, 8.0)


@dataclass(frozen=True)
class Work:
    """Where things are.

    Parameters
    ----------
    data, folder : Path
        Of the databases, and of what is finished.
    seed : int
    """

    data: Path
    folder: Path
    seed: int


@dataclass(frozen=True)
class Item:
    """One record as one source gives it.

    Parameters
    ----------
    name, source : str
    fold : int
    records : Records
    candidates : Candidates
    truth : beat_rows.Truth
    """

    name: str
    source: str
    fold: int
    records: Records
    candidates: Candidates
    truth: beat_rows.Truth

    @property
    def tolerance(self) -> int:
        """Samples within which a detection counts."""
        return round(matching.TOLERANCE_S * self.truth.rate_hz)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _sources() -> str:
    files = [HERE / f"beat_{n}.py" for n in ("candidates", "features", "net", "records")]
    return "".join(f.read_text(encoding="utf-8") for f in (*files, Path(matching.__file__)))


def archived(work: Work, case: cases.Case, source: str, bank: Bank) -> Records:
    """Encode a record, or take what was encoded before."""
    key = codec_digest(bank)[:8] + samples_digest(case.recording)[:8]
    file = work.folder / "records" / f"{case.record}-{source.replace(' ', '-')}-{key}.npz"
    if not file.is_file():
        ((stream, segment),) = cases.segments(case.recording)
        save_records(encode_records(stream, segment, source, bank), file)
        _say(f"{case.record}: encoded, {source}")
    return load_records(file)


def items(work: Work, sources: list[str]) -> list[Item]:
    """Encode all records without a pacemaker."""
    out = []
    for name in cases.records("mitdb", work.data):
        if name in PACED:
            continue
        case = cases.load("mitdb", name, work.data)
        assert case.fold is not None
        bank = fold_bank(case.fold, work.data, work.folder, work.seed)
        (atr,) = (a for a in formats.read(work.data / "mitdb" / name).annotations if a.name == "atr")
        for source in sources:
            records = archived(work, case, source, bank)
            truth = beat_rows.truth_of(atr, records.rate_hz, records.n_samples)
            out.append(Item(name, source, case.fold, records, candidates_of(records), truth))
    return out


def judged(own: list[Item], fold: int, seed: int, epochs: int = 3) -> dict[str, Any]:
    """Train on the other folds, detect on this one.

    Returns
    -------
    dict
        ``detected``: source to record to samples; ``learning``: source to F1 on the other folds, each judged by
        networks that never saw it.
    """
    known = [i for i in own if i.fold != fold]
    examples = [beat_net.Example(i.candidates, i.truth.sample, i.fold) for i in known]
    detector = beat_net.train_detector(examples, known[0].tolerance, epochs=epochs, seed=seed)
    learning: dict[str, list[matching.Counts]] = {}
    for item, logit in zip(known, detector.unseen, strict=True):
        beats = beat_net.detected(item.candidates, logit)
        counts = matching.counts_of(*matching.paired(beats, item.truth.sample, item.tolerance))
        learning.setdefault(item.source, []).append(counts)
    found: dict[str, dict[str, list[int]]] = {}
    for item in (i for i in own if i.fold == fold):
        found.setdefault(item.source, {})[item.name] = detector.detect(item.candidates).tolist()
    return {"detected": found, "learning": {s: matching.gross(c).f1 for s, c in learning.items()}}


def rows_of(own: list[Item], results: dict[int, dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Make the rows of every record, of the source that its other folds chose, and of all sources in sum."""
    best = {fold: max(r["learning"], key=r["learning"].__getitem__) for fold, r in results.items()}
    rows: list[dict[str, Any]] = []
    sums: dict[str, list[tuple[dict[str, matching.Counts], float, int]]] = {CHOSEN: []}
    for item in own:
        detected = np.array(results[item.fold]["detected"][item.source][item.name], np.int64)
        counts, rate = beat_rows.counted(detected, item.truth), item.records.bits_per_sample
        places = np.round(item.candidates.time).astype(np.int64)
        why = beat_rows.causes(detected, places, item.truth)
        sums.setdefault(item.source, []).append((counts, rate, why["no activation"]))
        if item.source == best[item.fold]:
            sums[CHOSEN].append((counts, rate, why["no activation"]))
            rows.append(beat_rows.record_row(item.name, item.source, counts["all"], why, rate))
    lines = []
    for source, parts in sums.items():
        note = "records alone"
        if source == CHOSEN:
            note = "records alone; " + ", ".join(f"fold {f}: {s}" for f, s in sorted(best.items()))
        bits, lost = float(np.mean([p[1] for p in parts])), sum(p[2] for p in parts)
        lines.append(beat_rows.summary_row(source, [p[0] for p in parts], bits=bits, lost=lost, note=note))
    return rows, lines


def peer_line(work: Work, own: list[Item], rows: Rows) -> dict[str, Any] | None:
    """Score the detector of the ``wfdb`` package on raw samples; None when it is not installed."""
    counted = []
    for item in {i.name: i for i in own}.values():
        case = cases.load("mitdb", item.name, work.data)
        ((_, segment),) = cases.segments(case.recording)
        key = (samples_digest(case.recording), PEER, (HERE / "beat_peer.py").read_text(encoding="utf-8"))

        def make(segment: Any = segment, rate: float = item.truth.rate_hz) -> dict[str, Any]:
            return {"detected": peer_beats(segment.samples[:, 0], rate).tolist()}

        try:
            row = rows.get(f"peer {item.name}", key, make)
        except ImportError:
            return None
        counted.append(beat_rows.counted(np.array(row["detected"], np.int64), item.truth))
    return beat_rows.summary_row(PEER, counted, note="raw samples of the first lead, nothing learned")


def run(work: Work, sources: list[str], *, peer: bool) -> None:
    """Run what is missing, write rows and picture."""
    own = items(work, sources)
    rows, results = Rows(work.folder / "rows"), {}
    inputs = [codec_digest(fold_bank(f, work.data, work.folder, work.seed)) for f in range(cases.N_FOLDS)]
    for fold in range(cases.N_FOLDS):
        key = (*inputs, *sources, str(work.seed), _sources())
        results[fold] = rows.get(f"fold {fold}", key, partial(judged, own, fold, work.seed))
        _say(f"fold {fold}: on the other folds {results[fold]['learning']}")
    lines, sums = rows_of(own, results)
    if peer and (line := peer_line(work, own, rows)) is not None:
        sums.append(line)
    made_by = provenance(work.seed)
    for name, table in (("beats", lines), ("beats-summary", sums)):
        text = "".join(json.dumps(row | made_by) + "\n" for row in table)
        (MEASURED / f"{name}.jsonl").write_text(text, encoding="utf-8")
    for row in sums:
        print(json.dumps(row))
    name, start, length = _PICTURE
    item = next(i for i in own if i.name == name)
    detected = np.array(results[item.fold]["detected"][item.source][name], np.int64)
    samples = cases.load("mitdb", name, work.data).recording.streams[0].segments[0].samples
    beat_plot.draw(
        ROOT / "docs" / "codes" / "beats.png", samples, item.records, detected, item.truth, start, length, name
    )


def quick(seed: int) -> dict[str, Any]:
    """Detect beats of six simulated recordings of a minute, two in each fold.

    Returns
    -------
    dict
        The gross row.
    """
    own = []
    for number in range(6):
        recording = simulate_ecg(60, seed=seed + number, heart_rate_bpm=60 + 8 * number, ectopic=0.1)
        (stream,) = recording.streams
        records = encode_records(stream, stream.segments[0], "kernels of 0.15 s", None)
        sample = np.round(recording.annotations[0].columns["time_ns"] * records.rate_hz / 1e9).astype(np.int64)
        truth = beat_rows.Truth(np.sort(sample), ("N",) * len(sample), (), records.rate_hz)
        own.append(Item(str(number), "kernels of 0.15 s", number % 3, records, candidates_of(records), truth))
    results = {fold: judged(own, fold, seed, epochs=40) for fold in range(3)}
    _, (row, *_) = rows_of(own, results)
    return row


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--work", type=Path, default=ROOT / "work" / "beats")
    parser.add_argument("--sources", default="", help="only sources whose names hold one of these texts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-peer", action="store_true", help="leave the detector on raw samples out")
    parser.add_argument("--quick", action="store_true", help="simulated signals, nothing written")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.quick:
        print(json.dumps(quick(options.seed)))
        return
    if not cases.records("mitdb", options.data):
        parser.error(f"no mitdb in {options.data}")
    texts = options.sources.split(",")
    sources = [s for s in (*SHORT, THOROUGH) if any(t in s for t in texts)]
    run(Work(options.data, options.work, options.seed), sources, peer=not options.no_peer)


if __name__ == "__main__":
    main()
