"""Verify archives by the thousand: every object's bytes against its manifest, with deep = true every sample.

Usage: python -m pipelines.jobs.verify --config pipelines/jobs/verify.toml [--json]

One JSON line a recording goes to the report as it is done, and one an archive for what stands beside its recordings. A
run that was cut off goes on where the report ends: what it lists as sound, of the same manifest, is not read again.
Name another report to read everything again ({date} is the day). Ends with 1 when anything is bad, and names it.
"""

# ruff: noqa: RUF009  a key's description is made once, like the field that holds it
from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import click

from pipelines.jobs.pool import each
from pipelines.jobs.settings import key, read_job
from sanstream.archive_manifest import CATALOG, MANIFEST, read_catalog
from sanstream.archive_objects import LocalObjects, Objects, local_path
from sanstream.archive_store import RemoteObjects, remote_scheme
from sanstream.archive_verify import find_problems, find_recording_problems
from sanstream.cli.exits import BAD, main
from sanstream.cli.output import json_option, print_json
from sanstream.config_values import FLAG, PATH, WORDS, count
from sanstream.errors import CorruptError, InputError, SanstreamError

BESIDE = ""
"""In place of a recording's name: what stands beside the recordings of an archive."""
Line = dict[str, Any]


@dataclass(frozen=True)
class VerifyJob:
    """``verify.toml``."""

    report: Path = key(PATH, "The report: JSON lines, added to; `{date}` is today.")
    archives: tuple[str, ...] = key(WORDS, "Archives: folders, or `s3://`, `gs://`, `az://`.", ())
    below: tuple[str, ...] = key(WORDS, "Folders or prefixes of which every archive right below is verified.", ())
    deep: bool = key(FLAG, "Decode everything as well.", False)
    workers: int = key(count(1, 256), "Processes.", 1)


@dataclass(frozen=True)
class Task:
    """One recording, or what stands beside the recordings."""

    archive: str
    recording: str
    deep: bool
    before: str = ""
    """SHA-256 of the manifest that the report lists as sound."""


def run(job: VerifyJob) -> dict[str, Any]:
    """Verify what the report does not list yet.

    Returns
    -------
    dict
        Archives, recordings, how many of these were skipped, bytes, and ``bad``: the lines of the report that name
        problems.

    Raises
    ------
    InputError
        When there is nothing to verify, or an archive is not there.
    """
    _objects.cache_clear()
    report = Path(str(job.report).replace("{date}", datetime.now(UTC).date().isoformat()))
    archives = list(dict.fromkeys([*job.archives, *(a for place in job.below for a in archives_below(place))]))
    if not archives:
        raise InputError("there is no archive to verify", hint="name archives, or a folder below which they stand")
    for archive in archives:
        if not _objects(archive).exists(CATALOG):
            raise InputError(f"{archive}: no archive stands here, {CATALOG} is missing", hint="check the address")
    sound = {(r["archive"], r["recording"]): r["manifest"] for r in read_report(report) if _counts(r, job.deep)}
    done: dict[str, Any] = {"report": str(report), "archives": len(archives), "recordings": 0, "skipped": 0}
    bad = []
    with report.open("a", encoding="utf-8") as out:
        for line in each(_verify, _tasks(archives, job.deep, sound), job.workers):
            done["recordings"] += line["recording"] != BESIDE
            if line.pop("skipped", False):
                done["skipped"] += 1
                continue
            out.write(json.dumps(line, ensure_ascii=False) + "\n")
            out.flush()
            bad += [line] if line["problems"] else []
    return {**done, "bad": bad}


def archives_below(place: str) -> Iterator[str]:
    """Yield the addresses of the archives right below a folder or prefix."""
    if remote_scheme(place):
        for name in RemoteObjects(place).folders()[0]:
            address = f"{place.rstrip('/')}/{name}"
            if RemoteObjects(address).exists(CATALOG):
                yield address
    else:
        yield from (str(found.parent) for found in sorted(local_path(place).glob(f"*/{CATALOG}")))


def read_report(report: Path) -> list[Line]:
    """Return the lines of a report; a last one that was cut off is not there."""
    if not report.is_file():
        return []
    lines = report.read_bytes().splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):
        report.write_bytes(b"".join(lines[:-1]))
        lines.pop()
    return [json.loads(line) for line in lines]


def _counts(line: Line, deep: bool) -> bool:
    return not line["problems"] and bool(line["manifest"]) and (line["deep"] or not deep)


def _tasks(archives: list[str], deep: bool, sound: dict[tuple[str, str], str]) -> Iterator[Task]:
    for archive in archives:
        try:
            _, names = read_catalog(_objects(archive).read(CATALOG), CATALOG)
        except SanstreamError:
            names = []  # what is wrong with it is said of what stands beside
        for name in names:
            yield Task(archive, name, deep, sound.get((archive, name), ""))
        yield Task(archive, BESIDE, deep)


@lru_cache(maxsize=4)
def _objects(archive: str) -> Objects:
    return RemoteObjects(archive) if remote_scheme(archive) else LocalObjects(local_path(archive))


def _verify(task: Task) -> Line:
    line: Line = {"archive": task.archive, "recording": task.recording, "deep": task.deep, "manifest": "", "n_bytes": 0}
    try:
        return _looked_at(task, line)
    except SanstreamError as error:  # a store that is away, a manifest of a newer sanstream: the others go on
        return {**line, "problems": [str(error)]}


def _looked_at(task: Task, line: Line) -> Line:
    objects = _objects(task.archive)
    if task.recording == BESIDE:
        found = find_problems(objects, contents=False)
        # a manifest that cannot be read is its recording's matter; one that no catalog lists has no line of its own
        listed = {f"{name}/{MANIFEST}" for name in _listed(objects)}
        return {**line, "problems": [str(p) for p in found if p.path not in listed]}
    try:
        digest = hashlib.sha256(objects.read(f"{task.recording}/{MANIFEST}")).hexdigest()
    except CorruptError:
        digest = ""
    if digest and digest == task.before:
        return {**line, "skipped": True}
    problems, manifest = find_recording_problems(objects, task.recording, deep=task.deep)
    size = sum(n for n, _ in manifest.objects.values()) if manifest else 0
    return {**line, "manifest": digest, "n_bytes": size, "problems": list(map(str, problems))}


def _listed(objects: Objects) -> list[str]:
    try:
        return read_catalog(objects.read(CATALOG), CATALOG)[1]
    except SanstreamError:
        return []


@click.command()
@click.option("--config", type=click.Path(path_type=Path), required=True, help="The job's TOML file.")
@json_option
def verify(config: Path, as_json: bool) -> int:
    """Verify every archive that the job names; ends with 1 when anything is bad."""
    done = run(read_job(config, VerifyJob))
    if as_json:
        print_json(done)
    else:
        click.echo(
            f"{done['archives']} archives, {done['recordings']} recordings, {done['skipped']} of them verified before: "
            f"{len(done['bad'])} bad; {done['report']}"
        )
    for line in done["bad"]:
        for problem in line["problems"]:
            click.echo(f"bad: {line['archive']}: {problem}", err=True)
    return BAD if done["bad"] else 0


if __name__ == "__main__":
    main(verify, "python -m pipelines.jobs.verify")
