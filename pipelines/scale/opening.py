"""Open and list archives of very many segments: seconds on this machine, and requests of an object store."""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sanstream
from pipelines.scale.archives import SECONDS, STREAM, Shape, build
from pipelines.scale.servers import BUCKET, s3
from sanstream.archive_store import RemoteObjects

SHAPES = (Shape(100, 100), Shape(1, 10_000), Shape(10_000, 1))
SHORT = (Shape(10, 10), Shape(1, 150), Shape(150, 1))
_ROUNDS = 3
Row = dict[str, Any]


def run(shapes: tuple[Shape, ...], work: Path) -> tuple[list[Row], list[str]]:
    """Measure every shape on a folder and in an S3 server on this machine.

    Parameters
    ----------
    shapes : tuple of Shape
    work : Path
        Archives in it that are whole are not built again.

    Returns
    -------
    rows : list of dict
    wrong : list of str
        What was not listed as it was written, or took other requests than it should; empty when all is well.
    """
    rows: list[Row] = []
    wrong: list[str] = []
    with s3() as requests:
        for shape in shapes:
            root = work / f"{shape.recordings}x{shape.segments}"
            if not (root / "catalog.json").is_file():
                shutil.rmtree(root, ignore_errors=True)
                print(f"building {shape.name}", file=sys.stderr)
                build(shape, lambda key, data, root=root: _write(root / key, data))  # type: ignore[misc]
            url = f"s3://{BUCKET}/{root.name}"
            _upload(root, url)
            for place, address in (("folder", str(root)), ("S3 on this machine", url)):
                row, problems = _measured(shape, place, address, requests)
                rows.append(row)
                wrong += problems
    return rows, wrong


def _measured(shape: Shape, place: str, address: str, requests: Counter[str]) -> tuple[Row, list[str]]:
    rounds = _ROUNDS if place == "folder" else 1
    (names_s, _), names, for_names = _best(lambda: list(sanstream.open(address).recordings), requests, rounds)
    info_s, info, for_info = _best(lambda: sanstream.open(address).info(), requests, rounds)
    row: Row = {
        "recordings x segments": shape.name,
        "place": place,
        "names s": names_s,
        "names and lengths s": info_s[0],
        "of it CPU s": info_s[1],
    }
    row |= {"requests for names": None, "requests for lengths": None}
    wrong = _wrong(shape, names, info)
    if place != "folder":
        row |= {"requests for names": for_names.total(), "requests for lengths": for_info.total()}
        # the catalog; then a manifest a recording, and the sizes of the catalog and the root group
        wanted = ({"GET": 1}, {"GET": 1 + shape.recordings, "HEAD": 2})
        if (dict(for_names), dict(for_info)) != wanted:
            wrong.append(f"{shape.name}: asked {dict(for_names)} and {dict(for_info)}, expected {wanted}")
    return row, wrong


def _best(
    verb: Callable[[], Any], requests: Counter[str], rounds: int
) -> tuple[tuple[float, float], Any, Counter[str]]:
    """Return least seconds and processor seconds of several rounds, what the last gave, and what it asked for."""
    seconds = []
    for _ in range(rounds):
        requests.clear()
        began, used = time.perf_counter(), time.process_time()
        found = verb()
        seconds.append((time.perf_counter() - began, time.process_time() - used))
    return (min(s for s, _ in seconds), min(s for _, s in seconds)), found, Counter(requests)


def _wrong(shape: Shape, names: list[str], info: dict[str, Any]) -> list[str]:
    wanted = [shape.recording(n) for n in range(shape.recordings)]
    length = shape.segments * SECONDS * 250
    lengths = [
        (r["name"], [(s["name"], s["n_samples"], len(s["segments"])) for s in r["streams"]]) for r in info["recordings"]
    ]
    right = [(name, [(STREAM, length, shape.segments)]) for name in wanted]
    return [f"{shape.name}: names or lengths are not as written"] if names != wanted or lengths != right else []


def _upload(root: Path, url: str) -> None:
    """Put what listing reads; shards would only take time."""
    objects = RemoteObjects(url)
    for file in [*root.glob("*/manifest.json"), root / "zarr.json", root / "catalog.json"]:
        objects.put(file.relative_to(root).as_posix(), file.read_bytes())


def _write(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
