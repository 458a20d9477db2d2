"""Feed ``nats://``: a durable pull consumer of JetStream with explicit acknowledgement."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ClassVar

from nats.js import api

from sanstream.chunk import Delivery, safe_name
from sanstream.errors import InputError
from sanstream.feeds import FeedOptions, FeedState, Put, Stopped
from sanstream.feeds.address import Table, settings_of
from sanstream.feeds.broker import broker_address, pauses, reason_of
from sanstream.feeds.intake import Intake
from sanstream.feeds.nats_link import DEFAULT_SUBJECT, ERRORS, PORT, Link, connect, stream_for

_BATCH, _BATCH_BYTES = 500, 16 << 20
_EXPIRES_S = 5.0
_TICK_S = 0.2
_HURRY_S = 1.0
_LAST_ACKS_S = 5.0


class NatsFeed:
    """Messages of one JetStream consumer, which the server keeps until they are acknowledged.

    Acknowledgements outlive connections: they are sent once there is one again. Messages that wait here or in the
    daemon's queue are reported as in progress, so that the server does not send them twice.
    """

    OPTIONS: ClassVar[Table] = {
        "stream": (str, "", "JetStream stream; empty: the one that takes the subjects"),
        "durable": (str, "", "name of the durable consumer; empty: sanstream-NAME"),
        "create": (bool, False, "make the stream, on the server's disk, when there is none"),
        "ack_wait_s": (float, 30.0, "seconds after which the server sends an unacknowledged message again"),
        "max_ack_pending": (int, 65536, "messages that may be unacknowledged at a time"),
        "alone": (bool, True, "no other daemon shares the consumer: what a lost connection had is asked for at once"),
        "ca": (str, "", "PEM file of certificates to trust, for natss://"),
    }
    can_wait = True
    replays = True

    def __init__(self, options: FeedOptions) -> None:
        self.state = FeedState()
        self._options = options
        self._settings = settings_of(options, self.OPTIONS)
        self._address = broker_address(options.url, PORT, user=options.user, password=options.password)
        path = self._address.path.replace("/", ".")
        self._subject = options.streams or (f"{path}.>" if path else DEFAULT_SUBJECT)
        self._durable = self._settings["durable"] or f"sanstream-{safe_name(options.name).replace('.', '_')}"
        self._intake = Intake(options, self.state)
        self._acks: deque[str] = deque()
        self._outstanding: dict[str, float] = {}
        self._arrived: deque[Any] = deque()
        self._to_put = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._woken = False
        if self._settings["ack_wait_s"] < 1 or self._settings["max_ack_pending"] < 1:
            raise InputError(f"feed {options.name!r}: ack_wait_s and max_ack_pending must be 1 or more")

    def check(self) -> list[str]:
        """Connect, find the stream and say what the server allows."""
        try:
            return asyncio.run(asyncio.wait_for(self._check(), 20))
        except ERRORS as error:
            raise InputError(
                f"feed {self._options.name!r} cannot use its NATS server: {reason_of(error)}",
                hint="check url, user, password and that the server runs",
            ) from None

    async def _check(self) -> list[str]:
        link = await connect(self._address, self._settings["ca"], "sanstream-check")
        nc = link.client
        try:
            js = nc.jetstream(timeout=5)
            name = await stream_for(js, self._subject, self._settings["stream"], self._settings["create"])
            info = await js.stream_info(name)
            held = info.config
            return [
                f"NATS {nc.connected_server_version}, messages of up to {nc.max_payload} bytes",
                f"stream {name}: {info.state.messages} messages, kept in {held.storage},"
                f" max_age {held.max_age or 0:g} s, max_bytes {held.max_bytes}",
                f"durable consumer {self._durable}: ack_wait {self._settings['ack_wait_s']:g} s,"
                f" max_ack_pending {self._settings['max_ack_pending']}",
            ]
        finally:
            await nc.close()

    def run(self, put: Put, stop: threading.Event) -> None:
        """Deliver until ``stop`` is set; then send the acknowledgements that still come, for up to 5 s."""
        asyncio.run(self._run(put, stop))

    async def _run(self, put: Put, stop: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._outstanding.clear()  # of a run that failed: what it did not hand over is sent again
        self._intake.forget()
        waits = pauses()
        hand = ThreadPoolExecutor(1, thread_name_prefix="nats-put")
        try:
            while not stop.is_set():
                link = None
                try:
                    link = await connect(self._address, self._settings["ca"], f"sanstream-{self._options.name}")
                    await self._bind(link.client)
                    waits = pauses()
                    await self._pump(link, put, stop, hand)
                except Stopped:
                    break
                except (*ERRORS, InputError) as error:
                    self.state.connected, self.state.error = False, reason_of(error)
                    await self._rest(next(waits), stop)
                finally:
                    if link is not None:
                        await self._close(link.client)
        finally:
            self.state.connected, self._loop = False, None
            hand.shutdown(wait=False)

    async def _bind(self, nc: Any) -> None:
        """Make the consumer, or find it as it was made before."""
        js = nc.jetstream(timeout=5)
        stream = await stream_for(js, self._subject, self._settings["stream"], self._settings["create"])
        config = api.ConsumerConfig(
            durable_name=self._durable,
            ack_policy=api.AckPolicy.EXPLICIT,
            ack_wait=self._settings["ack_wait_s"],
            max_ack_pending=self._settings["max_ack_pending"],
            filter_subject=self._subject,
        )
        info = await js.add_consumer(stream, config)
        if self._settings["alone"] and (info.num_ack_pending or 0) > len(self._outstanding):
            # sent over a connection that died: a shorter ack_wait, for a moment, has the server send it again now
            await js.add_consumer(stream, config.evolve(ack_wait=_HURRY_S))
            await asyncio.sleep(_HURRY_S + 0.5)
            await js.add_consumer(stream, config)
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{self._durable}"
        self.state.connected, self.state.error = True, ""
        self.state.n_connects += 1

    async def _pump(self, link: Link, put: Put, stop: threading.Event, hand: ThreadPoolExecutor) -> None:
        inbox = link.client.new_inbox()
        await link.client.subscribe(inbox, cb=self._on_message, pending_msgs_limit=-1, pending_bytes_limit=-1)
        putting: asyncio.Future[None] | None = None
        self._asked, self._again = 0, 0.0
        try:
            while not stop.is_set():
                await self._send(link)
                if putting is not None and putting.done():
                    done, putting = putting, None
                    done.result()
                if putting is None:
                    deliveries = self._take()
                    if deliveries:
                        self._to_put = len(deliveries)
                        putting = asyncio.get_running_loop().run_in_executor(hand, self._put_all, put, deliveries)
                        putting.add_done_callback(self._put_done)
                if not self._arrived and (self._asked <= 0 or time.monotonic() > self._expiry):
                    await self._ask(link.client, inbox)
                await self._sleep()
            await self._last_acks(link)
        except Stopped:
            await self._last_acks(link)
            raise
        finally:
            if putting is not None and not stop.is_set():
                # what is on its way into the queue is ours: the next connection goes on after it
                await asyncio.wait([putting])

    def _put_all(self, put: Put, deliveries: Iterable[Delivery]) -> None:
        for delivery in deliveries:
            put(delivery)
            self._to_put -= 1

    def _put_done(self, putting: asyncio.Future[None]) -> None:
        putting.exception()  # looked at here, so that asyncio does not complain when nobody else does
        self._wake.set()

    async def _on_message(self, message: Any) -> None:
        if message.reply:
            self._outstanding[message.reply] = time.monotonic()
        self._arrived.append(message)
        self._wake.set()

    def _take(self) -> list[Delivery]:
        deliveries = self._intake.expired()
        while self._arrived:
            message = self._arrived.popleft()
            if not message.reply:
                self._status(message.headers or {})
                continue
            self._asked -= 1
            deliveries += self._intake.take(message.data, partial(self._acknowledge, message.reply))
        return deliveries

    def _status(self, headers: dict[str, str]) -> None:
        """End the pull request that the server says it is done with."""
        code, text = headers.get("Status", ""), headers.get("Description", "")
        if code == "100":
            return
        if code == "503" or "Deleted" in text or "Shutdown" in text:
            raise ConnectionError(None, "the JetStream consumer does not answer")
        self._asked, self._again = 0, self._again + 0.05

    async def _ask(self, nc: Any, inbox: str) -> None:
        now = time.monotonic()
        if now < self._again:
            return
        request = {"batch": _BATCH, "max_bytes": _BATCH_BYTES, "expires": int(_EXPIRES_S * 1e9)}
        await nc.publish(self._next, json.dumps(request).encode(), reply=inbox)
        self._asked, self._expiry, self._again = _BATCH, now + _EXPIRES_S + 1, now

    def _acknowledge(self, reply: str) -> None:
        self._acks.append(reply)
        loop = self._loop
        if loop is not None and not self._woken:
            self._woken = True
            try:
                loop.call_soon_threadsafe(self._wake.set)
            except RuntimeError:
                self._woken = False

    async def _send(self, link: Link) -> None:
        """Send what was acknowledged, and that the rest is in progress; raise when the connection is gone."""
        nc = link.client
        if link.seen:
            raise link.seen.pop()
        if nc.is_closed:
            raise ConnectionError(None, "connection lost")
        while self._acks:
            await nc.publish(self._acks[0], b"+ACK")
            self._outstanding.pop(self._acks.popleft(), None)
        now, due = time.monotonic(), self._settings["ack_wait_s"] / 2
        if self._outstanding and now - next(iter(self._outstanding.values())) > due:
            late = [reply for reply, since in self._outstanding.items() if now - since > due]
            for reply in late:
                await nc.publish(reply, b"+WPI")
                # to the end: the oldest stands first
                del self._outstanding[reply]
                self._outstanding[reply] = now

    async def _sleep(self) -> None:
        if not self._acks:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), _TICK_S)
        self._wake.clear()
        self._woken = False

    async def _last_acks(self, link: Link) -> None:
        until = time.monotonic() + _LAST_ACKS_S
        while time.monotonic() < until and not link.client.is_closed:
            before = len(self._outstanding)
            await self._send(link)
            if len(self._outstanding) <= self._intake.n_held + len(self._arrived) + self._to_put:
                return
            if len(self._outstanding) < before:
                until = time.monotonic() + _LAST_ACKS_S
            await self._sleep()

    async def _close(self, nc: Any) -> None:
        self.state.connected = False
        while self._arrived:  # taken by nobody: the server sends them again
            self._outstanding.pop(self._arrived.popleft().reply, None)
        try:
            if not nc.is_closed:
                await nc.flush(timeout=2)
            await nc.close()
        except ERRORS:
            pass

    async def _rest(self, seconds: float, stop: threading.Event) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not stop.is_set():
            await asyncio.sleep(min(_TICK_S, seconds))
