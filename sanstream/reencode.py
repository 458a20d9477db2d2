"""The verb reencode(source): another quality, effort, bank, container or layout, on many processes, in pieces."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

import sanstream
from sanstream.archive import Archive
from sanstream.archive import open as open_archive
from sanstream.archive_encode import Progress
from sanstream.archive_manifest import Manifest
from sanstream.archive_write import ArchiveWriter
from sanstream.bank_places import choose_bank
from sanstream.errors import InputError, JobError
from sanstream.quality import check_requests
from sanstream.reencode_assemble import Assembly, assemble
from sanstream.reencode_bounds import RefusedError
from sanstream.reencode_cluster import Cluster, Runner, WorkersLost, check_answers, connected, device_of
from sanstream.reencode_jobs import BANKS, Job, Work, job_done, jobs_of, kept_plan, source_address
from sanstream.reencode_made import Made, parent_of, summary_of
from sanstream.reencode_request import DEFAULT_EFFORT, RETRAIN, Request, check_request
from sanstream.reencode_standing import ChangedError, check_apart, stands
from sanstream.reencode_store import Checkpoints, alone, checkpoints_of, resumable
from sanstream.reencode_targets import targets_of

_STARTS = 20
"""Times that workers are started anew after some died as they began; each of them does what it can."""
_SCHEDULER = re.compile(r"(tcp|tls|ws|wss|ucx)://.+:\d+")
__all__ = ["EFFORTS", "ChangedError", "NothingError", "reencode"]
EFFORTS = ("fast", "default", "thorough")


class NothingError(InputError):
    """The source holds nothing of what is wanted (exit code 2)."""


def reencode(
    source: str | os.PathLike[str],
    *,
    to: str | os.PathLike[str],
    quality: str | Sequence[str] = (),
    effort: str | None = None,
    bank: str | None = None,
    container: str | None = None,
    shard_s: float | None = None,
    join: bool = False,
    between: tuple[int, int] | None = None,
    workers: int | None = None,
    dask: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make an archive anew at another quality, effort, bank, container or layout.

    What is asked of a lossy source holds against the samples before its loss, or is refused. Where neither quality
    nor effort nor bank change, blocks are carried over and nothing is decoded. Killed at any moment, the same call
    goes on where it was; when all is done, it does nothing.

    Parameters
    ----------
    source : path
        An archive; of one that a daemon writes, what is sealed.
    to : path
        The new archive; it appears whole, or not at all. What is done so far stands beside it, hidden.
    quality : str or sequence of str
        ``"prdn=9"``, ``"PLETH=lossless"``; channels that none names keep what they have.
    effort : str, optional
        ``"fast"``, ``"default"`` or ``"thorough"``; default: ``"default"`` where something is encoded.
    bank : str, optional
        Name, hash or file of the bank to start from; ``"retrain"``: the bank, shipped or the segment's own, and
        kernels learned anew from it, that make trial blocks smallest, as ``archive`` does (no kernels at effort
        fast). Default: the bank that each segment has, kernels learned anew from it.
    container : str, optional
        ``"zarr"`` or ``"parquet"``; default: the source's.
    shard_s : float, optional
        Seconds of signal in one object (Zarr); default: an hour at most.
    join : bool
        Make one segment of consecutive ones of the same channels, up to a day long, where they are encoded anew and
        only midnight, size, bank, session or a gap of an hour at most divides them.
    between : (int, int), optional
        Only segments that begin in this time, nanoseconds since 1970.
    workers : int, optional
        Processes on this machine; default: one per core.
    dask : str, optional
        Address of a ``distributed`` scheduler; its workers must reach source and target.
    progress : callable, optional
        Takes a name, the samples done and the samples in all.

    Returns
    -------
    dict
        ``{"recordings": [names], "coded_bytes", "n_samples", "segments": {"encoded", "moved"}, "carried": {"lossy",
        "no_smaller"}, "already": bool}``. ``carried`` counts the segments that were carried over though an effort or a
        bank, or another quality, was asked: their samples have lost something already, and coded anew they would lose
        twice; or they would not get smaller.

    Raises
    ------
    InputError
        On a request that the source cannot give, a target that is not empty, a full disk, or where Dask is missing.
    JobError
        When workers died at a job, again and again.
    CorruptError
        When the source has changed.
    """
    requests = (quality,) if isinstance(quality, str) else tuple(quality)
    if effort is not None and effort not in EFFORTS:
        raise InputError(f"effort {effort!r} is unknown", hint=f"use {', '.join(EFFORTS)}")
    if workers is not None and workers < 1:
        raise InputError(f"{workers} workers are too few", hint="use 1 or more")
    if shard_s is not None and not 0 < shard_s < math.inf:
        raise InputError(f"objects of {shard_s:g} s", hint="give --shard more than 0 seconds")
    if dask is not None and not _SCHEDULER.fullmatch(dask):
        raise InputError(f"{dask!r} is no address of a Dask scheduler", hint="write it as tcp://HOST:PORT")
    check_apart(source, to)
    chosen = choose_bank(bank).bank if bank not in (None, RETRAIN) and bank is not None else None
    request = Request(requests, effort, chosen.id if chosen else bank, join, between, shard_s)
    address = source_address(source)
    with open_archive(address, live=False) as held:
        made = _planned(held, request, address)
        shape = container or held.container
        ids = {m.reader.name: m.id for m in made}
        if stands(to, ids, shape, request):
            return summary_of(_manifests(to, made), made, request, True)
        try:
            ArchiveWriter(to, container=shape, writer=_writer(made)).abort()  # is there room for it?
        except InputError:
            if stands(to, ids, shape, request):  # another process has just made it
                return summary_of(_manifests(to, made), made, request, True)
            raise
        if not any(not t.moved for m in made for t in m.all()):
            return summary_of(_commit(to, shape, made, request, None), made, request, False)
        if dask is not None:
            check_answers(dask)
        with alone(checkpoints_of(to), to) as store:
            if stands(to, ids, shape, request):
                store.clear()
                return summary_of(_manifests(to, made), made, request, True)
            if chosen is not None:
                store.put(f"{BANKS}/{chosen.id}", chosen.data)
            cluster = Cluster(workers or os.cpu_count() or 1, dask, _modules(request))
            try:
                with resumable(to):
                    _encode(address, checkpoints_of(to), store, made, request, cluster, progress)
                    manifests = _commit(to, shape, made, request, store)
            except RefusedError:
                store.clear()
                raise
            store.clear()
        return summary_of(manifests, made, request, False)


def _modules(request: Request) -> tuple[str, ...]:
    """Return what workers will import; torch, which takes the longest, only where kernels are learned or matched."""
    own = ("sanstream.reencode_jobs",)
    return own if request.effort == "fast" and request.bank != RETRAIN else (*own, "torch", "sanstream.san.matching")


def _planned(held: Archive, request: Request, address: str) -> list[Made]:
    """Divide every recording, and refuse what its manifest tells cannot be given."""
    made = []
    for name, reader in held.recordings.items():
        channels = [c for s in reader.manifest.streams for g in s.segments for c in g.channels]
        shift, targets = targets_of(reader, request)
        if request.between is not None and not any(targets.values()):
            continue
        check_requests(request.qualities, channels)
        for target in (t for ts in targets.values() for t in ts):
            for piece in target.pieces:
                check_request(request, piece.entry, f"{name}/{target.stream}/{piece.entry.name}")
        ids = [t.identity(request.to_dict(), t.moved) for ts in targets.values() for t in ts]
        more = [shift, request.shard_s, sanstream.__version__]
        made.append(Made(reader, shift, targets, _joined_id([*ids, *map(str, more)])))
    if not made:
        raise NothingError(f"{address}: nothing to re-encode", hint="sanstream info says what it holds")
    return made


def _joined_id(parts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _writer(made: Sequence[Made]) -> str:
    return _joined_id([m.id for m in made])[:16]


def _manifests(to: str | os.PathLike[str], made: Sequence[Made]) -> list[Manifest]:
    with open_archive(to, live=False) as held:
        return [held.recordings[m.reader.name].manifest for m in made]


def _encode(
    address: str,
    checkpoints: str,
    store: Checkpoints,
    made: Sequence[Made],
    request: Request,
    cluster: Cluster,
    progress: Progress | None,
) -> None:
    """Do all jobs that are not done; where workers died as they were started, with new ones."""
    for last in (*[False] * _STARTS, True):
        try:
            with connected(cluster) as client:
                _set_works(address, checkpoints, made, request, device_of(client))
                workers = cluster.workers if cluster.address is None else None
                _run(client, workers, store, made, progress)
            return
        except WorkersLost as error:
            if last:
                raise JobError(
                    "worker processes do not start, or die as they do",
                    hint="free memory or use fewer --workers; the same command goes on from here",
                ) from error


def _set_works(address: str, checkpoints: str, made: Sequence[Made], request: Request, device: str) -> None:
    effort = request.effort or DEFAULT_EFFORT
    for one in made:
        for stream, targets in one.targets.items():
            for number, target in enumerate(targets):
                if not target.moved:
                    id_ = target.identity(effort, request.bank, device, sanstream.__version__)
                    work = Work(
                        address, one.reader.manifest.digest, checkpoints, target, id_, effort, request.bank, device
                    )
                    one.works[stream, number] = work


def _run(client: Any, workers: int | None, store: Checkpoints, made: Sequence[Made], progress: Progress | None) -> None:
    works = [w for one in made for w in one.works.values()]
    total = sum(w.target.n_values for w in works)
    done = 0

    def advance(job: Job) -> None:
        nonlocal done
        done += job.n_values
        if progress is not None:
            progress(job.work.target.recording, done, total)

    there = {k for k in store.keys("") if k.count("/") == 1}

    def follow(job: Job) -> list[Job]:
        advance(job)
        return [] if job.stop else _missing(job.work, store, there, advance)

    jobs: list[Job] = []
    for work in works:
        jobs += _missing(work, store, there, advance) if f"{work.id}/plan" in there else [Job(work)]
    Runner(client, follow, workers).run(jobs)


def _missing(work: Work, store: Checkpoints, there: set[str], advance: Callable[[Job], None]) -> list[Job]:
    """Return what a planned segment still needs: its plan again where that is damaged, or its blocks."""
    kept = kept_plan(work, store)
    if kept is None:
        return [Job(work)]
    out = []
    for job in jobs_of(work, kept.plan):
        if job.key in there and job_done(job, store) is not None:
            advance(job)
        else:
            out.append(job)
    return out


def _commit(
    to: str | os.PathLike[str],
    container: str,
    made: Sequence[Made],
    request: Request,
    store: Checkpoints | None,
) -> list[Manifest]:
    """Write the archive, and make it visible."""
    manifests: list[Manifest] = []
    with ArchiveWriter(to, container=container, writer=_writer(made)) as writer:
        for one in made:
            until = None
            if request.between is not None:
                until = Fraction(request.between[1] - (one.reader.start_ns or 0), 10**9)
            assembly = Assembly(
                one.reader, one.targets, one.works, store, one.shift, until, request.shard_s, parent_of(one, request)
            )
            manifests.append(writer.take(assembly.head, partial(assemble, assembly)))
        writer.commit()
    return manifests
