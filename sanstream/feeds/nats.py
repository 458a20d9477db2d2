"""Feed ``nats://``: durable pull consumers of JetStream with explicit acknowledgement, one or one a partition."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

from sanstream.chunk import Delivery, safe_name
from sanstream.errors import InputError
from sanstream.feeds import FeedOptions, FeedState, Put, Stopped
from sanstream.feeds.address import Table, settings_of
from sanstream.feeds.broker import broker_address, pauses, reason_of
from sanstream.feeds.intake import Intake
from sanstream.feeds.nats_limits import check_held
from sanstream.feeds.nats_link import DEFAULT_SUBJECT, ERRORS, PORT, Link, connect, stream_for
from sanstream.feeds.nats_pull import Pull, PullLimits
from sanstream.feeds.nats_share import PARTITION, Share

_TICK_S = 0.2
_LAST_ACKS_S = 5.0
_LEAST_LEASE_S = 3.0
_ACK_WAIT_S = 30.0
_MAX_ACK_PENDING, _HELD_ACK_PENDING = 65536, 262144
"""The latter where messages wait for the archive."""


class NatsFeed:
    """Messages of one JetStream consumer, or of those partitions that this daemon has now."""

    OPTIONS: ClassVar[Table] = {
        "stream": (str, "", "JetStream stream; empty: the one that takes the subjects"),
        "durable": (str, "", "name of the durable consumer; empty: sanstream-NAME"),
        "create": (bool, False, "make the stream, on the server's disk, when there is none"),
        "ack_wait_s": (
            float, 0.0, "seconds after which the server sends an unacknowledged message again; 0: 30, or"
            ' with durability = "remote" a minute more than twice as long as messages wait',
        ),
        "max_ack_pending": (
            int, 0, 'messages that may be unacknowledged at a time; 0: 65536, or 262144 with durability = "remote"',
        ),
        "alone": (bool, True, "no other daemon shares the consumer: what a lost connection had is asked for at once"),
        "partitions": (int, 0, "share the subjects with other daemons: {partition} in streams is 0 to this less 1"),
        "lease_s": (float, 12.0, "seconds after which others take over the partitions of a daemon that is gone"),
        "ca": (str, "", "PEM file of certificates to trust, for natss://"),
    }  # fmt: skip
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
        self._to_put = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._woken = False
        self._check_settings()
        # most that wait are acknowledged before half of it: the server need not be told that they are in progress
        ack_wait_s = 2.0 * options.held_s + 60 if options.held_s else _ACK_WAIT_S
        max_ack_pending = _HELD_ACK_PENDING if options.held_s else _MAX_ACK_PENDING
        limits = self._limits = PullLimits(
            self._settings["ack_wait_s"] or ack_wait_s, self._settings["max_ack_pending"] or max_ack_pending,
            # a message of 8 MiB must fit
            self._settings["alone"], (9 if self._settings["partitions"] else 16) << 20,
        )  # fmt: skip
        self._share: Share | None = None
        self._pulls: dict[int, Pull] = {}
        if self._settings["partitions"]:
            self.state.partitions = 0
            self._share = Share(
                self._subject, self._durable, limits, self._intake, self._nudge, self._settings["partitions"],
                self._settings["lease_s"], self.state,
            )  # fmt: skip
            self._pulls = self._share.pulls
        else:
            self._pulls[0] = Pull(self._subject, self._durable, limits, self._intake, self._nudge)

    def _check_settings(self) -> None:
        settings, name = self._settings, f"feed {self._options.name!r}"
        if 0 != settings["ack_wait_s"] < 1 or settings["max_ack_pending"] < 0:
            raise InputError(f"{name}: ack_wait_s and max_ack_pending must be 1 or more, or 0 for their defaults")
        if not 0 <= settings["partitions"] <= 1024:
            raise InputError(f"{name}: partitions = {settings['partitions']}", hint="0 for no sharing, else up to 1024")
        if settings["lease_s"] < _LEAST_LEASE_S:
            raise InputError(f"{name}: lease_s = {settings['lease_s']:g}", hint=f"{_LEAST_LEASE_S:g} or more")
        if bool(settings["partitions"]) != (PARTITION in self._subject):
            raise InputError(
                f"{name}: partitions = {settings['partitions']} with subjects {self._subject!r}",
                hint=f'partitions go with {PARTITION} in streams: streams = "sanstream.{PARTITION}.>"',
            )

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
            name = await self._stream(js)
            info = await js.stream_info(name)
            held = info.config
            shared = [] if self._share is None else await self._share.check(nc)
            if self._options.held_s:
                n = self._settings["partitions"]
                durables = [f"{self._durable}-{i}" for i in range(n)] or [self._durable]
                shared += await check_held(js, info, durables, self._limits, self._options.held_s)
            limits = f"ack_wait {self._limits.ack_wait_s:g} s, max_ack_pending {self._limits.max_ack_pending}"
            return [
                f"NATS {nc.connected_server_version}, messages of up to {nc.max_payload} bytes",
                f"stream {name}: {info.state.messages} messages, kept in {held.storage},"
                f" max_age {held.max_age or 0:g} s, max_bytes {held.max_bytes}",
                f"durable consumer {self._durable}{'-0 and so on' if self._share else ''}: {limits}",
                *shared,
            ]
        finally:
            await nc.close()

    async def _stream(self, js: Any) -> str:
        subject = self._subject.replace(PARTITION, "*")
        return await stream_for(js, subject, self._settings["stream"], self._settings["create"])

    def run(self, put: Put, stop: threading.Event) -> None:
        """Deliver until ``stop`` is set; then send the acknowledgements that still come, for up to 5 s."""
        asyncio.run(self._run(put, stop))

    async def _run(self, put: Put, stop: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        for pull in self._pulls.values():
            pull.forget()  # of a run that failed
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
        """Make the consumers, or find them as they were made before."""
        js = nc.jetstream(timeout=5)
        stream = await self._stream(js)
        if self._share is not None:
            await self._share.open(nc, stream)
        else:
            await self._pulls[0].bind(nc, stream)
        self.state.connected, self.state.error = True, ""
        self.state.n_connects += 1

    async def _pump(self, link: Link, put: Put, stop: threading.Event, hand: ThreadPoolExecutor) -> None:
        putting: asyncio.Future[None] | None = None
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
                for pull in list(self._pulls.values()):
                    await pull.ask()
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

    def _take(self) -> list[Delivery]:
        deliveries = self._intake.expired()
        for pull in self._pulls.values():
            deliveries += pull.take()
        if self._share is not None:
            deliveries += self._share.endings()
        return deliveries

    def _nudge(self) -> None:
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
        if self._share is not None:
            self._share.tend()
        for pull in list(self._pulls.values()):
            await pull.send()

    async def _sleep(self) -> None:
        if not any(pull.has_acks and pull.is_ours() for pull in self._pulls.values()):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), _TICK_S)
        self._wake.clear()
        self._woken = False

    async def _last_acks(self, link: Link) -> None:
        until = time.monotonic() + _LAST_ACKS_S
        while time.monotonic() < until and not link.client.is_closed:
            before = self._n_outstanding()
            await self._send(link)
            waiting = sum(pull.n_arrived for pull in self._pulls.values())
            if self._n_outstanding() <= self._intake.n_held + waiting + self._to_put:
                break
            if self._n_outstanding() < before:
                until = time.monotonic() + _LAST_ACKS_S
            await self._sleep()
        if self._share is not None and not link.client.is_closed:
            await self._share.leave()

    def _n_outstanding(self) -> int:
        return sum(pull.n_outstanding for pull in self._pulls.values())

    async def _close(self, nc: Any) -> None:
        self.state.connected = False
        if self._share is not None:
            await self._share.close()
        for pull in self._pulls.values():
            pull.unbind()
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
