"""Archive and restore every WFDB, EDF and BDF recording of a folder, and compare with readers of other people.

``python pipelines/roundtrip.py [FOLDER] [--one-per-format] [--container zarr|parquet|none]``

Each recording is archived lossless in both containers and restored (``none``: read and written
without an archive). WFDB records are then read by
``wfdb`` on both sides: digital samples, every header field, comments and every annotation field must
be equal. EDF and BDF files must be equal byte for byte.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sanstream import formats

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
HEADER_FIELDS = (
    "record_name n_sig fs counter_freq base_counter sig_len base_time base_date comments sig_name file_name fmt "
    "samps_per_frame skew byte_offset adc_gain baseline units adc_res adc_zero init_value checksum block_size"
).split()
ANNOTATION_FIELDS = "sample symbol subtype chan num aux_note fs custom_labels".split()


def recordings(folder: Path) -> Iterator[Path]:
    """Yield every record to be tried: masters of multi-segment records stand for their segments."""
    headers = sorted(folder.rglob("*.hea"))
    parts: set[Path] = set()
    for path in headers:
        text = path.read_text(errors="replace")
        first = text.split(maxsplit=1)[0]
        if "/" in first:
            parts |= {path.parent / f"{line.split()[0]}.hea" for line in text.splitlines()[1:] if line.strip()}
    yield from (path for path in headers if path not in parts)
    yield from sorted([*folder.rglob("*.edf"), *folder.rglob("*.bdf")])


def kind(path: Path) -> str:
    """Name what a recording stands for in ``--one-per-format``: its suffix, signal formats and layout."""
    if path.suffix != ".hea":
        return path.suffix
    lines = [s for s in path.read_text(errors="replace").splitlines() if s.strip() and not s.startswith("#")]
    if "/" in lines[0].split()[0]:
        return "wfdb multi-segment"
    return "wfdb " + " ".join(sorted({line.split()[1] for line in lines[1:]}))


def same(a: Any, b: Any) -> bool:
    """Compare header values and annotation columns, absent ones included."""
    if a is None or b is None:
        return a is None and b is None
    if hasattr(a, "equals"):
        return bool(a.equals(b))
    return bool(np.array_equal(np.asarray(a, dtype=object), np.asarray(b, dtype=object)))


def compare_segment(source: Path, restored: Path) -> list[str]:
    """Compare one single-segment record through ``wfdb``; return what differs."""
    import wfdb

    a, b = (wfdb.rdrecord(str(p.with_suffix("")), physical=False, smooth_frames=False) for p in (source, restored))
    wrong = [field for field in HEADER_FIELDS if not same(getattr(a, field), getattr(b, field))]
    for label, x, y in zip(a.sig_name, a.e_d_signal, b.e_d_signal, strict=True):
        if x.shape != y.shape or not np.array_equal(x, y):
            wrong.append(f"samples of {label}")
    return wrong


def compare_wfdb(source: Path, folder: Path) -> list[str]:
    """Compare a WFDB record and its annotation files; return what differs."""
    import wfdb

    header = wfdb.rdheader(str(source.with_suffix("")))
    restored = folder / source.name
    if not restored.exists():
        return [f"{source.name} is not there"]
    wrong = [] if restored.read_bytes() == source.read_bytes() else [f"{source.name}: text"]
    if hasattr(header, "seg_name"):
        for name, length in zip(header.seg_name, header.seg_len, strict=True):
            part = f"{name}.hea"
            if name != "~" and length:
                wrong += [f"{name}: {w}" for w in compare_segment(source.parent / part, folder / part)]
            elif name != "~" and (source.parent / part).read_bytes() != (folder / part).read_bytes():
                wrong.append(f"layout {name}")
    else:
        wrong += compare_segment(source, restored)
    for path in sorted(source.parent.glob(f"{source.stem}.atr")):
        a, b = (wfdb.rdann(str(p / source.stem), path.suffix[1:]) for p in (source.parent, folder))
        wrong += [
            f"annotation {field}" for field in ANNOTATION_FIELDS if not same(getattr(a, field), getattr(b, field))
        ]
    return wrong


def compare(source: Path, folder: Path) -> list[str]:
    """Compare a recording with what was restored of it; return what differs."""
    if source.suffix == ".hea":
        return compare_wfdb(source, folder)
    pairs = [(source, folder / source.name)]
    pairs += [(p, folder / p.name) for p in sorted(source.parent.glob(f"{source.name}.event"))]
    return [f"bytes of {a.name}" for a, b in pairs if not b.exists() or a.read_bytes() != b.read_bytes()]


def carry(source: Path, archive: Path, target: Path, container: str, effort: str) -> None:
    """Take a recording through an archive, or only through ``formats``."""
    if container == "none":
        recording = formats.read(source)
        formats.write(recording, target, format=recording.source_format)
        return
    from sanstream import transfer

    transfer.archive(source, to=archive, quality="lossless", effort=effort, container=container)
    transfer.restore(archive, to=target)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=DATA)
    parser.add_argument("--one-per-format", action="store_true", help="the smallest recording of each kind")
    parser.add_argument(
        "--container", action="append", choices=("zarr", "parquet", "none"), help="default: both archives"
    )
    parser.add_argument("--effort", default="fast", choices=("fast", "default", "thorough"))
    options = parser.parse_args()
    sources = list(recordings(options.folder))
    if not sources:
        print(f"{options.folder}: no WFDB, EDF or BDF recording; nothing compared", file=sys.stderr)
        return 2
    if options.one_per_format:
        by_kind: dict[str, Path] = {}
        for path in sorted(sources, key=lambda p: sum(q.stat().st_size for q in p.parent.glob(f"{p.stem}*"))):
            by_kind.setdefault(kind(path), path)
        sources = list(by_kind.values())
    failed = 0
    for path in sources:
        for container in options.container or ("zarr", "parquet"):
            started = time.monotonic()
            with tempfile.TemporaryDirectory() as scratch:
                target = Path(scratch) / "restored"
                carry(path, Path(scratch) / "archive", target, container, options.effort)
                wrong = compare(path, target)
            failed += bool(wrong)
            verdict = "equal" if not wrong else "DIFFERS: " + ", ".join(wrong)
            print(
                f"{path.relative_to(options.folder)} {container} {time.monotonic() - started:.1f} s {verdict}",
                flush=True,
            )
    print(f"{len(sources)} recordings, {failed} differ")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
