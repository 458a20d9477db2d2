"""Speed of every codec on one core: in memory, interleaved, the best of several; and random access in archives.

Usage: python -m pipelines.benchmark.speed [--data ../shared/data] [--work build/benchmark] [--rounds 5]
           [--records 101,119,208,220] [--efforts fast,default,thorough] [--seconds N] [--to docs/measured]

One process on one core; loops are compiled beforehand. A codec that has used up its time is not run again.
Writes speed.jsonl and access.jsonl. Times are good as ratios in one run: the ratio to FLAC stands beside them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.benchmark import access, cases, summary
from pipelines.benchmark.own import ROOT, fold_bank
from pipelines.benchmark.timing import Timed, timed_codecs

REFERENCE = "FLAC -8"
SPEED_FILE, ACCESS_FILE = "speed.jsonl", "access.jsonl"
_BUDGET_S = 30.0
"""Seconds that one codec may take on one record before it is not repeated."""
_WARM_UP_S = 20.0
"""Length of the signal that compiles the loops."""
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass
class _Clock:
    """Best times of one codec on one record."""

    codec: Timed
    n_samples: int
    encode_s: float = float("inf")
    decode_s: float = float("inf")
    spent_s: float = 0.0
    payload: Any = field(default=None, repr=False)

    def round(self) -> None:
        if self.spent_s > _BUDGET_S:
            return
        encode_s, self.payload = _timed(self.codec.encode)
        decode_s, _ = _timed(lambda: self.codec.decode(self.payload))
        self.encode_s, self.decode_s = min(self.encode_s, encode_s), min(self.decode_s, decode_s)
        self.spent_s += encode_s + decode_s


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    out = call()
    return time.perf_counter() - began, out


def measure_apart(data: Path, work: Path, folder: Path) -> None:
    """Measure in a process of its own, which sees one core and one thread.

    Raises
    ------
    subprocess.CalledProcessError
        When it fails.
    """
    words = ("--data", str(data), "--work", str(work), "--to", str(folder))
    command = [sys.executable, "-m", "pipelines.benchmark.speed", *words]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, **dict.fromkeys(_ONE_THREAD, "1")})


def _pin() -> None:
    """Keep this process on one core; start anew where libraries would still count on more."""
    if any(os.environ.get(name) != "1" for name in _ONE_THREAD):
        os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
        os.execv(sys.executable, [sys.executable, "-m", "pipelines.benchmark.speed", *sys.argv[1:]])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    try:
        from numcodecs import blosc

        blosc.use_threads = False
    except ImportError:
        pass


def _clocks(options: argparse.Namespace, tasks: list[tuple[str, str]]) -> list[_Clock]:
    """Time all codecs on all records; rounds are interleaved."""
    out: list[_Clock] = []
    for database, record in tasks:
        case = cases.load(database, record, options.data, most_s=options.seconds)
        bank = None if case.fold is None else fold_bank(case.fold, options.data, options.work, options.seed)
        efforts = tuple(options.efforts.split(","))
        for codec in timed_codecs(cases.load(database, record, options.data, most_s=_WARM_UP_S), efforts, None):
            codec.decode(codec.encode())
        n = sum(s.samples.size for _, s in cases.segments(case.recording))
        own = [_Clock(codec, n) for codec in timed_codecs(case, efforts, bank)]
        for number in range(options.rounds):
            for clock in own:
                clock.round()
            print(f"{database} {record}: round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
        out += own
    return out


def speed_lines(signals: str, clocks: list[_Clock]) -> list[dict[str, Any]]:
    """Join records: bits are means over records, speeds are all samples by all best times."""
    groups: dict[tuple[str, str], list[_Clock]] = {}
    for clock in clocks:
        groups.setdefault((clock.codec.name, clock.codec.quality), []).append(clock)
    speeds = {
        key: [sum(c.n_samples for c in own) / sum(getattr(c, k) for c in own) for k in ("encode_s", "decode_s")]
        for key, own in groups.items()
    }
    base = next((v for (name, _), v in speeds.items() if name == REFERENCE), [float("nan")] * 2)
    lines = []
    for (name, quality), own in groups.items():
        encode, decode = speeds[name, quality]
        bits = sum(8 * c.codec.size(c.payload) / c.n_samples for c in own) / len(own)
        lines.append(
            {
                "signals": signals,
                "quality": quality,
                "codec": name,
                "bit/sample": round(bits, 3),
                "encode M/s": round(encode / 1e6, 3),
                "decode M/s": round(decode / 1e6, 3),
                "encode / FLAC": round(encode / base[0], 3),
                "decode / FLAC": round(decode / base[1], 3),
            }
        )
    return sorted(lines, key=lambda line: (line["quality"], line["bit/sample"]))


def cpu_name() -> str:
    """Name the processor."""
    info = Path("/proc/cpuinfo")
    names = [t for t in info.read_text().splitlines() if t.startswith("model name")] if info.is_file() else []
    return names[0].partition(":")[2].strip() if names else "unknown processor"


def main() -> None:
    """Measure, print, and write the JSON lines."""
    _pin()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "benchmark")
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "measured")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--records", default="101,119,208,220", help="of mitdb")
    parser.add_argument("--efforts", default="fast,default,thorough")
    parser.add_argument("--seconds", type=float, default=None, help="keep only so much of each record")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    ecg = [("mitdb", r) for r in options.records.split(",") if r in cases.records("mitdb", options.data)]
    eeg = [("eegmmidb", r) for r in cases.records("eegmmidb", options.data)]
    known = summary.provenance(options.seed) | {
        "_cpu": cpu_name(),
        "_rounds": options.rounds,
        "_seconds": options.seconds,
    }
    lines = []
    part = "" if options.seconds is None else f", first {options.seconds:g} s"
    for signals, tasks in (
        (f"mitdb, {len(ecg)} records, both leads{part}", ecg),
        (f"eegmmidb, 64 channels{part}", eeg),
    ):
        if tasks:
            lines += [line | known for line in speed_lines(signals, _clocks(options, tasks))]
    for line in lines:
        print(f"{line['signals']:34s} {line['quality']:9s} {line['codec']:24s} {line['bit/sample']:8.3f} bit/sample  "
              f"{line['encode M/s']:9.3f} / {line['decode M/s']:9.3f} M samples/s")  # fmt: skip
    summary.write(options.to / SPEED_FILE, lines)
    if ecg:
        found = access.measure(cases.load(*ecg[0], options.data), options.seed)
        for line in found:
            print(line)
        summary.write(options.to / ACCESS_FILE, [line | known for line in found])


if __name__ == "__main__":
    main()
