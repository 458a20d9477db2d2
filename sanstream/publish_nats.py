"""Publisher ``nats://``: JetStream with one acknowledgement a message, sent again until it comes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections import OrderedDict, deque
from typing import Any

from sanstream.errors import InputError
from sanstream.feeds.broker import broker_address, pauses, reason_of
from sanstream.feeds.nats_link import ERRORS, PORT, Link, connect, stream_for, subject_name
from sanstream.publish_wire import BrokerPublisher, Outbox, PublishOptions

_TICK_S = 0.2
_AGAIN_S = 5.0
_PATIENCE_S = 10.0


class NatsPublisher(BrokerPublisher):
    """Messages under ``PREFIX.RECORDING.STREAM``, events under ``PREFIX.RECORDING.events``.

    Every message carries a ``Nats-Msg-Id``, so the server itself drops most of what is sent twice.

    Parameters
    ----------
    options : PublishOptions
    """

    def __init__(self, options: PublishOptions) -> None:
        self._options = options
        self._address = broker_address(options.url, PORT, user=options.user, password=options.password)
        self._prefix = self._address.path.replace("/", ".") or "sanstream"
        self.outbox = Outbox(options)
        self._fresh: deque[int] = deque()
        self._sent: OrderedDict[int, float] = OrderedDict()
        self._failure: InputError | None = None
        self._ready = threading.Event()
        self._stop = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="nats-publish", daemon=True)

    def open(self) -> None:
        """Connect, and find or make the stream.

        Raises
        ------
        InputError
            When the first connection fails; later ones are tried again for ever.
        """
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """End the connection; what is not confirmed is not."""
        self._stop.set()
        self._nudge()
        self._thread.join(10)

    def _alive(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _send(self, number: int) -> None:
        self._fresh.append(number)
        self._nudge()

    def _nudge(self) -> None:
        loop = self._loop
        if loop is not None and not self._wake.is_set():
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._wake.set)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        waits = pauses()
        while not self._stop.is_set():
            link = None
            try:
                link = await connect(self._address, self._options.ca, "sanstream-publish")
                js = link.client.jetstream(timeout=5)
                await stream_for(js, f"{self._prefix}.>", "", self._options.create)
                waits = pauses()
                self._ready.set()
                await self._pump(link)
            except (*ERRORS, InputError) as error:
                pause = next(waits)
                # a server that starts again may be without its streams for a moment
                if not self._ready.is_set() or (isinstance(error, InputError) and pause > _PATIENCE_S):
                    self._fail(error)
                    return
                await asyncio.sleep(pause)
            finally:
                if link is not None:
                    with contextlib.suppress(*ERRORS):
                        await link.client.close()

    def _fail(self, error: Exception) -> None:
        self._failure = (
            error
            if isinstance(error, InputError)
            else InputError(f"cannot publish to NATS: {reason_of(error)}", hint="check URL, user, password and server")
        )
        self._ready.set()

    async def _pump(self, link: Link) -> None:
        nc = link.client
        inbox = nc.new_inbox()
        await nc.subscribe(f"{inbox}.*", cb=self._on_answer)
        # whatever the last connection left unconfirmed goes first, in its order
        fresh = set(self._fresh)
        again = deque(n for n in self.outbox.open() if n not in fresh)
        while not (self._stop.is_set() and not self._fresh and not again):
            if link.seen:
                raise link.seen.pop()
            if nc.is_closed:
                raise ConnectionError(None, "connection lost")
            for waiting in (again, self._fresh):
                while waiting:
                    await self._publish(nc, inbox, waiting.popleft())
            late = time.monotonic() - _AGAIN_S
            while self._sent and next(iter(self._sent.values())) < late:
                again.append(self._sent.popitem(last=False)[0])
            if not again and not self._fresh:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), _TICK_S)
            self._wake.clear()

    async def _publish(self, nc: Any, inbox: str, number: int) -> None:
        letter = self.outbox.letter(number)
        if letter is None:
            return
        subject = ".".join((self._prefix, subject_name(letter.recording), subject_name(letter.stream or "events")))
        headers = {"Nats-Msg-Id": letter.key}
        if len(letter.message) + 500 > nc.max_payload:
            limit = f"message of {len(letter.message)} bytes, the server allows {nc.max_payload}"
            self._fail(InputError(limit, hint="raise max_payload, or lower --seconds-per-message"))
            return
        await nc.publish(subject, letter.message, reply=f"{inbox}.{number}", headers=headers)
        self._sent.pop(number, None)
        self._sent[number] = time.monotonic()

    async def _on_answer(self, message: Any) -> None:
        number = int(message.subject.rpartition(".")[2])
        try:
            answer = json.loads(message.data)
        except ValueError:
            return  # no responders: sent again
        if "error" in answer:
            code = int(answer["error"].get("code", 0))
            if 400 <= code < 500:
                self._fail(InputError(f"JetStream refuses a message: {answer['error'].get('description', code)}"))
            return
        self._sent.pop(number, None)
        self.outbox.confirm(number)
