"""Who has which partition: leases in a key-value bucket of JetStream that end unless they are renewed.

A lease is made only where there is none, and renewed only where it is still the one that was made: the server sees to
that (compare and swap). What is not renewed goes with the bucket's time to live.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import nats.js.errors
from nats.js import api

from sanstream.errors import InputError

_MARGIN = 0.8
"""Share of its time for which a lease counts: its holder must stop before the server gives it away."""


@dataclass(frozen=True)
class Lease:
    """A partition that is ours.

    Parameters
    ----------
    partition : int
    revision : int
        What the server calls it.
    until : float
        When it ends unless it is renewed, on the clock that never steps back.
    serial : int
        Counts the leases that were taken, not those that were renewed.
    """

    partition: int
    revision: int
    until: float
    serial: int


class Leases:
    """The share of one daemon: as many partitions as there are for each that lives.

    Parameters
    ----------
    bucket : str
    partitions : int
    lease_s : float
        Seconds for which a lease lasts.
    clock : callable, optional
        Seconds that never step back.

    Attributes
    ----------
    held : dict of int to Lease
        By partition.
    lease_s : float
        Seconds for which a lease lasts: what the bucket says, where it is there already.
    """

    def __init__(
        self, bucket: str, partitions: int, lease_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.held: dict[int, Lease] = {}
        self._bucket, self._partitions, self.lease_s, self._clock = bucket, partitions, lease_s, clock
        self._own = secrets.token_hex(6)
        self._random = random.Random(self._own)
        self._kv: Any = None
        self._js: Any = None
        self._n_members, self._n_taken = 1, 0

    @property
    def every_s(self) -> float:
        """Seconds between two turns."""
        return self.lease_s / 5

    def has(self, partition: int, serial: int | None = None) -> bool:
        """Tell whether a partition is surely ours, and has been since a lease was taken."""
        lease = self.held.get(partition)
        return lease is not None and self._clock() < lease.until and serial in (None, lease.serial)

    @property
    def surplus(self) -> list[int]:
        """Partitions that others should have."""
        return sorted(self.held)[self._fair :]

    async def open(self, nc: Any, replicas: int) -> None:
        """Find or make the bucket; how long its keys last counts for all that share it, whatever each was told."""
        self._js = nc.jetstream(timeout=min(5.0, self.lease_s / 3))
        try:
            self._kv = await self._js.key_value(self._bucket)
        except nats.js.errors.BucketNotFoundError:
            config = api.KeyValueConfig(self._bucket, ttl=self.lease_s, history=1, replicas=replicas)
            self._kv = await self._js.create_key_value(config)
        self.lease_s = (await self._kv.status()).ttl or self.lease_s

    async def agree(self) -> None:
        """Refuse to share with daemons that count other partitions.

        Raises
        ------
        InputError
        """
        for name in await self._names():
            if not name.startswith("member."):
                continue
            try:
                said = (await self._kv.get(name)).value
            except nats.js.errors.KeyNotFoundError:
                continue  # it left
            if said and int(said) != self._partitions:
                raise InputError(
                    f"partitions = {self._partitions}, and another daemon of {self._bucket} has {int(said)}",
                    hint="set partitions to the number in the server's mappings, in every daemon",
                )

    async def turn(self) -> None:
        """Renew what is ours, give up what is lost, and take what is free."""
        for partition in [p for p in self.held if not self.has(p)]:
            del self.held[partition]
        for lease in list(self.held.values()):
            renewed = await self._write(lease.partition, lease.revision, lease.serial)
            if renewed is None:
                del self.held[lease.partition]
            else:
                self.held[lease.partition] = renewed
        await self._kv.put(f"member.{self._own}", str(self._partitions).encode())
        names = await self._names()
        self._n_members = max(1, sum(n.startswith("member.") for n in names))
        free = [p for p in range(self._partitions) if f"partition.{p}" not in names]
        self._random.shuffle(free)
        for partition in free[: max(0, self._fair - len(self.held))]:
            self._n_taken += 1
            taken = await self._write(partition, 0, self._n_taken)
            if taken is not None:
                self.held[partition] = taken

    async def give_back(self, partition: int) -> None:
        """Let others have a partition at once."""
        if self.has(partition):  # else it may be another's by now
            await self._remove(f"partition.{partition}")
        self.held.pop(partition, None)

    async def leave(self) -> None:
        """Let others have everything at once."""
        if self._js is not None:
            for partition in list(self.held):
                await self.give_back(partition)
            await self._remove(f"member.{self._own}")

    async def members(self) -> int:
        """Return how many daemons share the partitions now."""
        return sum(n.startswith("member.") for n in await self._names())

    @property
    def _fair(self) -> int:
        return -(-self._partitions // self._n_members)

    async def _write(self, partition: int, revision: int, serial: int) -> Lease | None:
        began = self._clock()
        try:
            written = await self._kv.update(f"partition.{partition}", self._own.encode(), last=revision)
        except nats.js.errors.KeyWrongLastSequenceError:
            return None
        return Lease(partition, written, began + _MARGIN * self.lease_s, serial)

    async def _names(self) -> set[str]:
        head = f"$KV.{self._bucket}."
        info = await self._js.stream_info(f"KV_{self._bucket}", subjects_filter=">")
        return {subject.removeprefix(head) for subject in info.state.subjects or {}}

    async def _remove(self, name: str) -> None:
        await self._js.purge_stream(f"KV_{self._bucket}", subject=f"$KV.{self._bucket}.{name}")
