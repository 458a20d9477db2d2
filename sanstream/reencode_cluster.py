"""Jobs on a Dask cluster: processes of this machine, or workers anywhere; a job that kills its workers is named."""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver, resource_tracker
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sanstream.errors import InputError, JobError
from sanstream.reencode_jobs import Job, run_job

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster

_DEATHS = 3
"""A job is held to be guilty when so many workers died at it alone."""
_AHEAD = 4
"""Jobs per worker that the scheduler knows of: what it holds does not grow with the archive."""
_PATIENCE = "30s"
_LOOK_S, _FEWER_S, _NOBODY_S = 5, 20, 600
"""Between two looks at the workers; how long some may be missing here, and all on another's cluster."""
_HERE = "127.0.0.1:0"
"""Dask serves HTTP whatever one says: at least to nobody else, and on any free port."""
_ANSWER_S = 5.0
_DROP_S = 1.0
_DEVICES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")


class WorkersLost(Exception):
    """Processes of this machine died as they were started, and nobody starts them again: begin anew."""


@dataclass(frozen=True)
class Cluster:
    """Where jobs run.

    Parameters
    ----------
    workers : int
        Processes of this machine.
    address : str or None
        Of a scheduler of ``distributed``; then ``workers`` is not looked at.
    modules : tuple of str
        What jobs will import: done once for all processes of this machine.
    """

    workers: int
    address: str | None = None
    modules: tuple[str, ...] = ()


def check_installed() -> None:
    """Say what to install where Dask is missing.

    Raises
    ------
    InputError
    """
    if importlib.util.find_spec("distributed") is None:
        raise InputError("re-encoding needs dask and distributed", hint="run: pip install 'sanstream[scale]'")


def check_answers(address: str) -> None:
    """Refuse a scheduler's address where nobody listens, before anything is written.

    Raises
    ------
    InputError
    """
    parts = urlsplit(address)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), _ANSWER_S).close()
    except OSError as error:
        raise _silent(address) from error


def _silent(address: str) -> InputError:
    return InputError(f"{address}: no scheduler answers there", hint="start one with: dask scheduler")


@contextmanager
def connected(cluster: Cluster) -> Iterator[Client]:
    """Start workers, or connect to those that are there."""
    check_installed()
    from distributed import Client

    if cluster.address is not None:
        try:
            client = Client(cluster.address, timeout=_PATIENCE, set_as_default=False)
        except (OSError, ValueError) as error:
            raise _silent(cluster.address) from error
        with client:
            yield client
        return
    with _local(cluster.workers, cluster.modules) as client:
        yield client


@contextmanager
def _local(workers: int, modules: Sequence[str]) -> Iterator[Client]:
    """Start processes of one thread each, which only this process can talk to (TLS)."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    gpu = has_gpu()
    method = "spawn"
    if sys.platform == "linux" and not gpu:  # elsewhere, what has been loaded does not survive a fork
        method = "forkserver"
        _start_fork_server(modules, threads)  # it imports while this process does
    import dask
    from distributed import Client, LocalCluster

    log = logging.getLogger("distributed")
    level = log.level
    log.setLevel(logging.CRITICAL)  # workers that die are counted and named here
    own = {
        "distributed.scheduler.allowed-failures": _DEATHS - 1,
        "distributed.nanny.pre-spawn-environ": threads,
        "distributed.worker.daemon": True,
        "distributed.worker.multiprocessing-method": method,
    }
    try:
        with dask.config.set(own), ExitStack() as closing, ExitStack() as held:
            with _uninterrupted():
                cluster = LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address=_HERE,
                    worker_dashboard_address=_HERE,
                    scheduler_kwargs={"dashboard": False},
                    silence_logs=logging.CRITICAL,
                    security=True,
                    resources={"GPU": 1} if gpu else None,
                )
                held.callback(_close, cluster)
                client = held.enter_context(Client(cluster, set_as_default=False))
            try:
                yield client
            except BaseException:
                held.callback(_drop_workers, cluster)
                raise
            finally:
                closing.enter_context(_uninterrupted())  # a second interrupt would leave it half done
    except RuntimeError as error:
        if "failed to start" in str(error):
            raise WorkersLost from error
        raise
    finally:
        log.setLevel(level)


def _start_fork_server(modules: Sequence[str], environment: Mapping[str, str]) -> None:
    """Start the process that workers are forked from, unless there is one: it has loaded what each would load anew."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        forkserver.set_forkserver_preload(["distributed", *modules])
        with _uninterrupted():
            forkserver.ensure_running()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _close(cluster: LocalCluster) -> None:
    """End the processes; Dask does not expect that some are dying meanwhile."""
    with suppress(AssertionError):
        cluster.close()


def _drop_workers(cluster: LocalCluster) -> None:
    """Close workers without waiting for what they are at, which nobody wants any more."""

    async def close() -> None:
        for nanny in cluster.workers.values():
            with suppress(Exception):
                await nanny.close(timeout=_DROP_S)

    with suppress(Exception):
        cluster.sync(close)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hear of an interrupt at the terminal only when this is over.

    Threads and processes that are started meanwhile never hear of it: it is for the thread that waits to answer, and
    Dask's own start does not survive it.
    """
    resource_tracker.ensure_running()  # which else, at the first process, lets its thread hear again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def has_gpu() -> bool:
    """Tell whether this machine has a GPU that torch can use; without a driver's device, torch is not even loaded."""
    if not any(map(os.path.exists, _DEVICES)):
        return False
    import torch

    return bool(torch.cuda.is_available())


def device_of(client: Client) -> str:
    """Return what matching runs on: CUDA where workers declare the resource ``GPU``."""
    declared = client.run_on_scheduler(lambda dask_scheduler: any(dask_scheduler.resources.get("GPU", {}).values()))
    return "cuda" if declared else "cpu"


def _n_workers(client: Client) -> int:
    return len(client.nthreads())


@dataclass
class Runner:
    """Runs jobs, those first whose plans are wanted; each may bring more.

    Parameters
    ----------
    client : Client
    done : callable
        Takes a job that is done; returns the jobs that may follow.
    workers : int or None
        How many there must be, on this machine; None on another's cluster.
    """

    client: Client
    done: Callable[[Job], Sequence[Job]]
    workers: int | None = None
    _ready: deque[Job] = field(default_factory=deque)
    _running: dict[Future, Job] = field(default_factory=dict)
    _suspects: deque[Job] = field(default_factory=deque)
    _alone: set[str] = field(default_factory=set)

    def run(self, jobs: Sequence[Job]) -> None:
        """Run everything.

        Raises
        ------
        JobError
            Naming the jobs at which workers died; all others are done.
        WorkersLost
            When workers of this machine do not come back.
        SanstreamError
            What a job could not do; others may not have run.
        """
        self._ready.extend(jobs)
        guilty: list[Job] = []
        resources = {"GPU": 1} if device_of(self.client) == "cuda" else None
        try:
            while self._ready or self._running or self._suspects:
                self._submit(resources)
                job, killed = self._next()
                if killed and job.key in self._alone:
                    guilty.append(job)
                elif killed:
                    self._suspects.append(job)
                else:
                    self._ready.extend(self.done(job))
        finally:
            self.client.cancel(list(self._running), force=True)
        if guilty:
            names = "; ".join(job.where for job in guilty)
            raise JobError(
                f"workers died {_DEATHS} times, alone, at: {names}",
                hint="the rest is done and kept: the same command goes on from here, with more memory or another bank",
            )

    def _submit(self, resources: dict[str, int] | None) -> None:
        most = _AHEAD * max(1, _n_workers(self.client))
        while self._ready and len(self._running) < most:
            self._start(self._ready.popleft(), resources)
        if not self._running and self._suspects:  # nobody else is there to be blamed for what happens now
            job = self._suspects.popleft()
            self._alone.add(job.key)
            self._start(job, resources)

    def _start(self, job: Job, resources: dict[str, int] | None) -> None:
        future = self.client.submit(run_job, job, pure=False, resources=resources)
        self._running[future] = job

    def _next(self) -> tuple[Job, bool]:
        """Wait for a job; tells whether its workers died."""
        from distributed.scheduler import KilledWorker

        future = self._first()
        job = self._running.pop(future)
        error = future.exception()
        if isinstance(error, KilledWorker):
            return job, True
        if error is not None:
            raise error
        return job, False

    def _first(self) -> Future:
        """Wait for the first that is done, with an eye on the workers."""
        from distributed import wait

        there = time.monotonic()
        while True:
            with suppress(TimeoutError), self.client.as_current():
                done = wait(list(self._running), timeout=_LOOK_S, return_when="FIRST_COMPLETED").done
                return next(f for f in self._running if f in done)
            now, n = time.monotonic(), _n_workers(self.client)
            if n >= (self.workers or 1):
                there = now
            elif self.workers is not None and now - there > _FEWER_S:
                raise WorkersLost
            elif now - there > _NOBODY_S:
                raise JobError(
                    f"no worker for {_NOBODY_S / 60:.0f} minutes, {len(self._running)} jobs wait",
                    hint="start workers, then run the command again: it goes on from here",
                )
