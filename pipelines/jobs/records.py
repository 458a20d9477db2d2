"""Export the activations of an archive, and what its windows reached, as a Parquet dataset for DuckDB, Spark, Polars.

Usage: python -m pipelines.jobs.records --config pipelines/jobs/records.toml [--json]

No sample is decoded. What the dataset holds already from the same blocks is passed over, what has changed is written
anew, what the archive no longer has is removed: run it as often as you like.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import click

from pipelines.jobs.dataset import NO_ACTIVATIONS, PARTS, Written, export_recording, files_of, read_state, state_key
from pipelines.jobs.place import Place, place_at
from pipelines.jobs.pool import each
from pipelines.jobs.settings import ADDRESS, key, read_job
from sanstream.archive import Archive
from sanstream.archive import open as open_archive
from sanstream.archive_objects import local_path
from sanstream.archive_sealed import compact_json
from sanstream.archive_store import remote_scheme, shown
from sanstream.cli.exits import BAD, main
from sanstream.cli.output import json_option, print_json
from sanstream.config_values import WORDS, count
from sanstream.errors import InputError, SanstreamError

COUNTS = ("recordings", "parts", "skipped", "removed", "rows", "n_bytes", "with_activations")
OWNER = "_archive.json"
"""The key in a dataset that says of which archive it is."""


@dataclass(frozen=True)
class RecordsJob:
    """``records.toml``."""

    archive: str = key(ADDRESS, "The archive.")
    to: str = key(ADDRESS, "The dataset; made when it is not there.")
    recordings: tuple[str, ...] = key(WORDS, "Only these; default: all.", ())
    workers: int = key(count(1, 256), "Processes.", 1)


def run(job: RecordsJob) -> dict[str, Any]:
    """Bring a dataset up to date.

    Returns
    -------
    dict
        Recordings, parts written and skipped, files removed, rows, bytes, parts with activations; ``failed`` names
        recordings that cannot be read, of which the dataset keeps what it has.

    Raises
    ------
    InputError
        When the archive is not there or lacks a recording that was asked for, or the dataset is of another archive.
    """
    _archive.cache_clear()  # it may have grown since
    with open_archive(job.archive, live=False) as held:
        names = list(held.recordings)
    unknown = [n for n in job.recordings if n not in names]
    if unknown:
        raise InputError(f"{job.archive}: holds no recording {unknown[0]!r}", hint="leave recordings out to take all")
    _own(place_at(job.to), job)
    done: dict[str, Any] = dict.fromkeys(COUNTS, 0)
    failed: list[dict[str, str]] = []
    for result in each(_one, ((job.archive, job.to, n) for n in job.recordings or names), job.workers):
        if isinstance(result, Written):
            done["recordings"] += 1
            for name, value in asdict(result).items():
                done[name] = done[name] + value if name in done else value
        else:
            failed.append(result)
    if not job.recordings:
        done["removed"] += sum(_forget(place_at(job.to), set(names)))
    done.pop("recording", None)
    return {"archive": job.archive, "to": job.to, **done, "failed": failed}


def _own(place: Place, job: RecordsJob) -> None:
    """Let a new dataset say of which archive it is, and refuse another's: what is not in the archive is removed."""
    address = shown(job.archive) if remote_scheme(job.archive) else str(local_path(job.archive).resolve())
    data = place.read(OWNER)
    if data is None:
        if place.keys(f"{PARTS}/"):
            raise InputError(f"{job.to}: this dataset does not say of which archive it is", hint="choose another `to`")
        place.put(OWNER, compact_json({"archive": address}))
        return
    try:
        owner = str(json.loads(data)["archive"])
    except (ValueError, LookupError, TypeError):
        raise InputError(f"{job.to}: {OWNER} cannot be read", hint="choose another `to`") from None
    if owner != address:
        raise InputError(
            f"{job.to}: the dataset belongs to {owner}, not to {address}",
            hint=f"choose another `to`; when the archive has moved, write its new address into {OWNER}",
        )


def _one(task: tuple[str, str, str]) -> Written | dict[str, str]:
    url, to, name = task
    try:
        return export_recording(_archive(url).recordings[name], place_at(to))
    except SanstreamError as error:
        return {"recording": name, "error": str(error)}


@lru_cache(maxsize=1)
def _archive(url: str) -> Archive:
    return open_archive(url, live=False)


def _forget(place: Place, names: set[str]) -> Iterator[int]:
    """Remove what stands there of recordings that the archive has no longer."""
    for stored in place.keys(f"{PARTS}/"):
        recording = json.loads(place.read(stored) or b"{}").get("recording")
        if recording is not None and recording not in names:
            files = files_of(read_state(place, recording), recording)
            place.remove(sorted(files))
            place.remove([state_key(recording)])
            yield len(files)


@click.command()
@click.option("--config", type=click.Path(path_type=Path), required=True, help="The job's TOML file.")
@json_option
def records(config: Path, as_json: bool) -> int:
    """Export activations, windows and kernels as a Parquet dataset; no sample is decoded."""
    job = read_job(config, RecordsJob)
    done = run(job)
    if as_json:
        print_json(done)
    else:
        click.echo(
            f"{done['to']}: {done['parts']} parts of {done['recordings']} recordings written, {done['skipped']} kept, "
            f"{done['removed']} files removed, {done['rows']:,} rows, {done['n_bytes']:,} bytes"
        )
    if done["recordings"] and not done["with_activations"]:
        click.echo(f"warning: {job.archive}: {NO_ACTIVATIONS}", err=True)
    for one in done["failed"]:
        click.echo(f"failed: {one['recording']}: {one['error']}", err=True)
    return BAD if done["failed"] else 0


if __name__ == "__main__":
    main(records, "python -m pipelines.jobs.records")
