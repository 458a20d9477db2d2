"""One durable pull consumer of JetStream: what came of it, what may be acknowledged, what is still in progress."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Any

from nats.js import api

from sanstream.chunk import Delivery
from sanstream.feeds.intake import Intake

_BATCH = 500
_EXPIRES_S = 5.0
_HURRY_S = 1.0


@dataclass(frozen=True)
class PullLimits:
    """What a consumer may have.

    Parameters
    ----------
    ack_wait_s : float
        Seconds after which the server sends an unacknowledged message again.
    max_ack_pending : int
        Messages that may be unacknowledged at a time.
    alone : bool
        Nobody else has the consumer: what a lost connection had is asked for at once.
    batch_bytes : int
        Bytes that are asked for at a time.
    """

    ack_wait_s: float
    max_ack_pending: int
    alone: bool
    batch_bytes: int = 16 << 20


class Pull:
    """Messages of one consumer, which the server keeps until they are acknowledged.

    Acknowledgements outlive connections: they are sent once there is one again. Messages that wait here or in the
    daemon's queue are reported as in progress, so that the server does not send them twice.

    Parameters
    ----------
    subject, durable : str
    limits : PullLimits
    intake : Intake
        Shared by the consumers of a feed.
    wake : callable
        Called from any thread when there is something to send.
    tenure : str
        Names the time for which the consumer is ours; empty when it always is.
    is_ours : callable
        Tells whether it still is; when not, nothing is acknowledged any more.
    """

    def __init__(
        self,
        subject: str,
        durable: str,
        limits: PullLimits,
        intake: Intake,
        wake: Callable[[], None],
        tenure: str = "",
        is_ours: Callable[[], bool] = lambda: True,
    ) -> None:
        self.subject, self.durable, self.tenure = subject, durable, tenure
        self.is_ours = is_ours
        self.ends = False
        self._limits, self._intake, self._wake = limits, intake, wake
        self._acks: deque[str] = deque()
        self._outstanding: dict[str, float] = {}
        self._arrived: deque[Any] = deque()
        self._nc: Any = None
        self._next = ""
        self._asked, self._again, self._expiry = 0, 0.0, 0.0

    @property
    def n_outstanding(self) -> int:
        """Messages that the server sent and that are not acknowledged."""
        return len(self._outstanding)

    @property
    def n_arrived(self) -> int:
        """Messages that nobody has looked at."""
        return len(self._arrived)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is unacknowledged and nothing more can come that was asked for."""
        return not self._outstanding and (self._asked <= 0 or time.monotonic() > self._expiry)

    @property
    def has_acks(self) -> bool:
        """Whether acknowledgements wait to be sent."""
        return bool(self._acks)

    async def bind(self, nc: Any, stream: str) -> None:
        """Make the consumer on a connection, or find it as it was made before, and listen."""
        js = nc.jetstream(timeout=5)
        config = api.ConsumerConfig(
            durable_name=self.durable,
            ack_policy=api.AckPolicy.EXPLICIT,
            ack_wait=self._limits.ack_wait_s,
            max_ack_pending=self._limits.max_ack_pending,
            filter_subject=self.subject,
        )
        info = await js.add_consumer(stream, config)
        if self._limits.alone and (info.num_ack_pending or 0) > len(self._outstanding):
            # sent over a connection that died: a shorter ack_wait, for a moment, has the server send it again now
            await js.add_consumer(stream, config.evolve(ack_wait=_HURRY_S))
            await asyncio.sleep(_HURRY_S + 0.5)
            await js.add_consumer(stream, config)
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{self.durable}"
        self._inbox = nc.new_inbox()
        self._subscription = await nc.subscribe(
            self._inbox, cb=self._on_message, pending_msgs_limit=-1, pending_bytes_limit=-1
        )
        self._nc, self._asked, self._again = nc, 0, 0.0

    def unbind(self) -> None:
        """Forget the connection, with what came over it and was taken by nobody: the server sends it again."""
        self._nc = None
        while self._arrived:
            self._outstanding.pop(self._arrived.popleft().reply, None)

    async def give_up(self) -> None:
        """Take nothing more, since the consumer is another's now."""
        nc = self._nc
        self.unbind()
        self._outstanding.clear()
        self._acks.clear()
        if nc is not None and not nc.is_closed:
            await self._subscription.unsubscribe()

    def forget(self) -> None:
        """Forget what a run that failed did not hand over: it is sent again."""
        self._outstanding.clear()

    def take(self) -> list[Delivery]:
        """Return what came since the last call."""
        deliveries: list[Delivery] = []
        while self._arrived:
            message = self._arrived.popleft()
            if not message.reply:
                self._status(message.headers or {})
                continue
            try:
                deliveries += self._intake.take(message.data, partial(self._acknowledge, message.reply), self.tenure)
            except OSError:  # what it brought cannot be made durable: later, over another connection
                self._arrived.appendleft(message)
                if deliveries:
                    break
                raise
            self._asked -= 1
        return deliveries

    async def ask(self) -> None:
        """Ask for more, unless that is done or enough is there."""
        now = time.monotonic()
        if self._nc is None or self.ends or self._arrived or now < self._again or not self.is_ours():
            return
        if self._asked > 0 and now <= self._expiry:
            return
        request = {"batch": _BATCH, "max_bytes": self._limits.batch_bytes, "expires": int(_EXPIRES_S * 1e9)}
        await self._nc.publish(self._next, json.dumps(request).encode(), reply=self._inbox)
        self._asked, self._expiry, self._again = _BATCH, now + _EXPIRES_S + 1, now

    async def send(self) -> None:
        """Send what was acknowledged, and that the rest is in progress."""
        while self._nc is not None and self._acks and self.is_ours():
            await self._nc.publish(self._acks[0], b"+ACK")
            self._outstanding.pop(self._acks.popleft(), None)
        now, due = time.monotonic(), self._limits.ack_wait_s / 2
        if self._nc is None or not self._outstanding or now - next(iter(self._outstanding.values())) <= due:
            return
        # the oldest stands first: what was told goes to the end
        late = [reply for reply, _ in takewhile(lambda one: now - one[1] > due, self._outstanding.items())]
        for reply in late:
            if not self.is_ours():
                return
            await self._nc.publish(reply, b"+WPI")
            del self._outstanding[reply]
            self._outstanding[reply] = now

    async def _on_message(self, message: Any) -> None:
        if message.reply:
            self._outstanding[message.reply] = time.monotonic()
        self._arrived.append(message)
        self._wake()

    def _status(self, headers: dict[str, str]) -> None:
        """End the pull request that the server says it is done with."""
        code, text = headers.get("Status", ""), headers.get("Description", "")
        if code == "100":
            return
        if code == "503" or "Deleted" in text or "Shutdown" in text:
            raise ConnectionError(None, "the JetStream consumer does not answer")
        self._asked, self._again = 0, self._again + 0.05

    def _acknowledge(self, reply: str) -> None:
        self._acks.append(reply)
        self._wake()
