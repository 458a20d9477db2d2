"""The partitions of a NATS feed that are this daemon's: consumers that begin and end with their leases."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import nats.js.errors

from sanstream.chunk import Delivery
from sanstream.errors import InputError
from sanstream.feeds import FeedState
from sanstream.feeds.intake import Intake
from sanstream.feeds.nats_leases import Leases
from sanstream.feeds.nats_link import ERRORS
from sanstream.feeds.nats_pull import Pull, PullLimits

_LOOK_S = 60.0
PARTITION = "{partition}"
"""Stands in the subject for the partition's number."""


class Share:
    """Takes partitions, renews them, and gives them up; lives in the feed's event loop.

    Parameters
    ----------
    subject : str
        With :data:`PARTITION` in it.
    durable : str
        Of the consumers, the partition's number behind it; of the bucket with the leases, too.
    limits : PullLimits
    intake : Intake
    wake : callable
    partitions : int
    lease_s : float
    state : FeedState
        Told how many partitions are ours.

    Attributes
    ----------
    pulls : dict of int to Pull
        The consumers of the partitions that are ours.
    """

    def __init__(
        self, subject: str, durable: str, limits: PullLimits, intake: Intake, wake: Callable[[], None],
        partitions: int, lease_s: float, state: FeedState,
    ) -> None:  # fmt: skip
        self.pulls: dict[int, Pull] = {}
        self._subject, self._durable, self._limits = subject, durable, limits
        self._intake, self._wake, self._state = intake, wake, state
        self._partitions, self._lease_s = partitions, lease_s
        self._leases = Leases(durable, partitions, lease_s)
        self._ended: list[Delivery] = []
        self._turning: asyncio.Task[None] | None = None
        self._due = self._look_due = 0.0
        self._nc: Any = None
        self._stream = ""

    async def check(self, nc: Any) -> list[str]:
        """Say how the partitions are shared."""
        try:
            await nc.jetstream(timeout=5).key_value(self._durable)
        except nats.js.errors.BucketNotFoundError:
            members = "which will be made"
        else:
            await self._leases.open(nc, 1)
            members = f"{await self._leases.members()} daemons share them now"
            self._lease_s = self._leases.lease_s
        first, last = (self._subject.replace(PARTITION, str(n)) for n in (0, self._partitions - 1))
        return [
            f"{self._partitions} partitions, subjects {first} to {last}; what comes under others is not archived",
            f"leases of {self._lease_s:g} s in the bucket {self._durable}, {members}",
        ]

    async def open(self, nc: Any, stream: str) -> None:
        """Go on over a connection with what is still ours."""
        self._nc, self._stream = nc, stream
        replicas = (await nc.jetstream(timeout=5).stream_info(stream)).config.num_replicas
        await self._leases.open(nc, replicas or 1)
        await self._leases.agree()
        await self._refuse_outside(nc, stream)
        kept = dict(self.pulls)
        await self._turn()
        for partition, pull in kept.items():
            if self.pulls.get(partition) is pull:
                await pull.bind(nc, stream)
        self._due = time.monotonic() + self._leases.every_s

    def tend(self) -> None:
        """Begin a turn when it is time; raises what a turn failed with."""
        if self._turning is not None:
            if not self._turning.done():
                return
            done, self._turning = self._turning, None
            done.result()
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + self._leases.every_s
            self._turning = asyncio.get_running_loop().create_task(self._turn())

    def endings(self) -> list[Delivery]:
        """Return word of the tenures that have ended since the last call; nothing of theirs comes after it."""
        ended, self._ended = self._ended, []
        return ended

    async def leave(self) -> None:
        """Let others have everything at once."""
        await self._stop()
        with contextlib.suppress(*ERRORS):
            await self._leases.leave()
        self._state.partitions = 0

    async def close(self) -> None:
        """End what goes over a connection; leases stay until their time is over."""
        await self._stop()
        self._nc = None

    async def _stop(self) -> None:
        turning, self._turning = self._turning, None
        if turning is not None:
            turning.cancel()
            with contextlib.suppress(asyncio.CancelledError, *ERRORS):
                await turning

    async def _refuse_outside(self, nc: Any, stream: str) -> None:
        """Refuse to go on where messages stand under partitions that nobody takes: they would never be archived."""
        if time.monotonic() < self._look_due:
            return
        self._look_due = time.monotonic() + _LOOK_S
        place = self._subject.split(".").index(PARTITION)
        found = await nc.jetstream(timeout=5).stream_info(stream, subjects_filter=self._subject.replace(PARTITION, "*"))
        numbers = {subject.split(".")[place] for subject in found.state.subjects or {}}
        outside = numbers - {str(n) for n in range(self._partitions)}
        if outside:
            raise InputError(
                f"the stream {stream} has messages under partition {min(outside)}, and partitions = {self._partitions} "
                f"takes 0 to {self._partitions - 1}: nobody would archive them",
                hint="set partitions to the number in the server's mappings, in every daemon",
            )

    async def _turn(self) -> None:
        await self._refuse_outside(self._nc, self._stream)
        await self._leases.turn()
        for partition, pull in list(self.pulls.items()):
            if not pull.is_ours():
                await self._lose(partition, pull)
        for partition in self._leases.surplus:
            if partition in self.pulls:
                self.pulls[partition].ends = True
        for partition, pull in list(self.pulls.items()):
            if pull.ends and pull.is_idle:
                await self._lose(partition, pull)
                await self._leases.give_back(partition)
        gained = [p for p in self._leases.held if p not in self.pulls]
        made = {partition: self._pull(partition) for partition in gained}
        await asyncio.gather(*(pull.bind(self._nc, self._stream) for pull in made.values()))
        self.pulls.update(made)
        self._state.partitions = len(self.pulls)
        self._wake()

    def _pull(self, partition: int) -> Pull:
        serial = self._leases.held[partition].serial
        return Pull(
            self._subject.replace(PARTITION, str(partition)), f"{self._durable}-{partition}", self._limits,
            self._intake, self._wake, tenure=f"{self._durable}-{partition}@{serial}",
            is_ours=partial(self._leases.has, partition, serial),
        )  # fmt: skip

    async def _lose(self, partition: int, pull: Pull) -> None:
        del self.pulls[partition]
        await pull.give_up()
        self._intake.forget(pull.tenure)
        self._ended.append(Delivery((), tenure=pull.tenure, ends=True))
