"""The demo: simulated signals archived at three qualities, verified, restored, compared and drawn."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sanstream import formats
from sanstream.archive import open as open_archive
from sanstream.demo_peers import measure_peers
from sanstream.errors import InputError, SanstreamError
from sanstream.evaluate import evaluate
from sanstream.signal import Recording
from sanstream.simulate import simulate_ecg, simulate_eeg
from sanstream.transfer import archive, restore

QUALITIES = ("lossless", "prdn=5", "prdn=9")
PICTURE = "sanstream-demo.png"
_PARTS = ("sources", "archives", "restored", PICTURE)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """One line of the demo's table.

    Parameters
    ----------
    signal : str
    codec, quality : str
    bits_per_sample : float
        Coded bytes of sanstream, bare streams of the others.
    prdn_max : float
        Worst window and channel, per cent.
    """

    signal: str
    codec: str
    quality: str
    bits_per_sample: float
    prdn_max: float


@dataclass(frozen=True)
class DemoReport:
    """What the demo did.

    Parameters
    ----------
    rows : tuple of Row
    picture : Path
    seconds : float
        Wall time.
    """

    rows: tuple[Row, ...]
    picture: Path
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "rows": [dict(row.__dict__) for row in self.rows],
            "picture": str(self.picture),
            "seconds": round(self.seconds, 3),
        }


def run_demo(
    folder: str | Path,
    *,
    seed: int = 0,
    ecg_s: float = 60.0,
    eeg_s: float = 30.0,
    say: Say = lambda _: None,
) -> DemoReport:
    """Generate an ECG (WFDB) and an EEG (EDF), archive, verify, restore, compare and draw them.

    Parameters
    ----------
    folder : path
        Where everything goes; a former demo there is replaced.
    seed : int
        Of the generators.
    ecg_s, eeg_s : float
        Durations.
    say : callable
        Takes a line on what is going on.

    Returns
    -------
    DemoReport

    Raises
    ------
    InputError
        When the folder holds something else.
    SanstreamError
        When an archive is not sound, misses its quality, or does not give back what went in.
    """
    began = time.perf_counter()
    target = Path(folder)
    _clear(target)
    signals = {"ecg": ("wfdb", simulate_ecg(ecg_s, seed=seed)), "eeg": ("edf", simulate_eeg(eeg_s, seed=seed))}
    rows: list[Row] = []
    for name, (format_, recording) in signals.items():
        source = formats.write(recording, target / "sources", format=format_)[0]
        for quality in QUALITIES:
            say(f"{name}: {quality}")
            rows.append(_round_trip(name, source, quality, target))
        samples = np.concatenate([s.samples for s in recording.streams[0].segments])
        peers = [Row(name, peer, "lossless", bits, 0.0) for peer, bits in measure_peers(samples).items()]
        rows[-len(QUALITIES) + 1 : -len(QUALITIES) + 1] = peers
    say("drawing")
    draw(target)
    return DemoReport(tuple(rows), target / PICTURE, time.perf_counter() - began)


def _clear(target: Path) -> None:
    others = sorted({p.name for p in target.iterdir()} - set(_PARTS)) if target.is_dir() else []
    if others or target.is_file():
        raise InputError(f"{target} holds {others[0] if others else 'no folder'}", hint="name another folder with --to")
    if target.is_dir():
        shutil.rmtree(target)


def _round_trip(name: str, source: Path, quality: str, target: Path) -> Row:
    """Archive one source at one quality and check everything that the archive promises."""
    stored = archive_path(target, name, quality)
    stored.parent.mkdir(parents=True, exist_ok=True)
    archive([source], to=stored, quality=[quality])
    with open_archive(stored) as held:
        problems = held.verify(deep=True)
        stream = held.info()["recordings"][0]["streams"][0]
    if problems:
        raise SanstreamError(f"{stored}: {problems[0]}", hint="report this as a bug")
    original = formats.read(source)
    report = evaluate(original, stored)
    if report.broken:
        raise SanstreamError(f"{stored}: {report.broken[0]}", hint="report this as a bug")
    files = restore(stored, to=target / "restored" / f"{name}-{quality}")
    _check_restored(original, formats.read(files[0]), exact=quality == "lossless")
    worst = max(c.summary()["prdn_max"] for s in report.streams for c in s.channels)
    return Row(name, "sanstream", quality, float(stream["bits_per_sample"]), worst)


def _check_restored(original: Recording, restored: Recording, *, exact: bool) -> None:
    for one, two in zip(original.streams, restored.streams, strict=True):
        for a, b in zip(one.segments, two.segments, strict=True):
            if a.channels != b.channels or a.samples.shape != b.samples.shape:
                raise SanstreamError(f"stream {one.name}: restored channels differ", hint="report this as a bug")
            if exact and not np.array_equal(a.samples, b.samples):
                raise SanstreamError(f"stream {one.name}: restored samples differ", hint="report this as a bug")
    counts = [[len(a) for a in r.annotations] for r in (original, restored)]
    if counts[0] != counts[1]:
        raise SanstreamError(f"recording {original.name}: restored annotations differ", hint="report this as a bug")


def archive_path(target: Path, name: str, quality: str) -> Path:
    """Return where the demo keeps the archive of a signal at a quality."""
    return target / "archives" / f"{name}-{quality}.san"


def draw(target: Path) -> None:
    """Draw the demo's picture from its archives."""
    from sanstream.demo_picture import explain
    from sanstream.plot import plot_explained

    parts = []
    for name, source in (("ecg", target / "sources" / "ecg"), ("eeg", target / "sources" / "eeg.edf")):
        with open_archive(archive_path(target, name, QUALITIES[-1])) as held:
            parts.append(explain(held, formats.read(source)))
    plot_explained(parts, target / PICTURE)
