"""``mllp://0.0.0.0:2575``: HL7 v2 waveforms over MLLP; this end listens, monitors and gateways connect.

Framing is MLLP's (0x0B, message, 0x1C 0x0D), one message at a time per connection. ``AA`` is sent only once all that a
message brought is in the journal; a message that cannot be read gets ``AE`` and is set aside, without any segment that
names a patient. The same message sent again gives the same samples under the same numbers.

What is understood, in ``ORU`` messages:

- **IHE PCD waveforms** (``ORU^R01^ORU_R01``): ``OBX`` of type ``NA``, OBX-3 the MDC code, OBX-4 the sub-id, OBX-5 the
  samples as components, OBX-6 the unit, OBX-14 (else OBR-7, else MSH-7) the time of the first one. Facets are ``OBX``
  whose sub-id adds one number: ``MDC_ATTR_SAMP_RATE`` (Hz) or ``MDC_ATTR_TIME_PD_SAMP`` (ms); what a count is worth by
  ``MDC_ATTR_SCALE_RANGE`` with ``MDC_ATTR_DATA_RANGE``, or by ``MDC_ATTR_NU_MSMT_RES`` where all values are whole.
  Values with decimals are physical, and put on a step as in :mod:`sanstream.feeds.floats`.
- **HL7 chapter 7 waveforms**: ``OBX`` of type ``CD`` (or suffix ``CHN``) defines channels, ``NA`` has one channel or a
  repetition for each, ``MA`` a repetition for each moment; suffix ``TIM`` gives the time, ``ANO`` annotations.
- **Alarms** (``ORU^R40``): their texts become events.

Neighbouring waveforms of one rate, length and time are one stream. An empty component is a missing sample.
Numerics and everything else in a message are acknowledged and not kept (counted ``no_waveform`` when nothing is left).

The recording is named by ``[identity] map``, looked up by PID-3, PV1-3, device and MSH-3 in this order; else after the
device: OBX-18, else PRT-10. A message that neither names gets ``AE`` (counted ``no_device``), and so does one of
several patients, or of another patient or place than its recording's messages of the last ten seconds
(``other_patient``). Patient and place are only looked up and compared, and never written down.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from sanstream.chunk import Delivery
from sanstream.errors import InputError
from sanstream.feeds import FeedOptions, FeedState, Put, Stopped
from sanstream.feeds.address import settings_of
from sanstream.feeds.hl7_intake import Hl7Intake
from sanstream.feeds.hl7_message import redacted, reply

PORT = 2575
_START, _END = b"\x0b", b"\x1c\r"
_MESSAGE_S = 60.0
_NOISE_BYTES = 1024


class MllpFeed:
    """A listener for HL7 v2 waveforms."""

    OPTIONS: Mapping[str, tuple[type, Any, str]] = {
        "listen_anywhere": (bool, False, "allow an address beyond this machine"),
        "max_message": (int, 4 << 20, "bytes of the longest message"),
        "connections": (int, 64, "connections at a time; more are closed at once"),
        "timezone": (str, "+00:00", "offset from UTC of times that name none"),
        "tls_cert": (str, "", "PEM file of this end's certificate; with it all connections are TLS"),
        "tls_key": (str, "", "PEM file of its key"),
        "tls_ca": (str, "", "PEM file of authorities; with it clients must have a certificate of theirs"),
    }
    can_wait = True
    replays = True

    def __init__(self, options: FeedOptions) -> None:
        self._options, self._got = options, settings_of(options, self.OPTIONS)
        if options.held_s:
            raise InputError(
                f'feed {options.name!r}: mllp with durability = "remote": a sender sends nothing more until it has an'
                f" answer, and would wait up to {options.held_s} s for each",
                hint='archive it with a daemon of its own and durability = "local"; its journal keeps what is answered',
            )
        self.host, self._port = address_of(options.url, anywhere=self._got["listen_anywhere"])
        if not 1 << 10 <= self._got["max_message"] <= 64 << 20 or not 1 <= self._got["connections"] <= 4096:
            raise InputError(
                f"mllp: max_message={self._got['max_message']} or connections={self._got['connections']}",
                hint="max_message 1 KiB to 64 MiB, connections 1 to 4096",
            )
        self.state = FeedState()
        self._intake = Hl7Intake(options, self.state, zone_of(self._got["timezone"]))
        self._n_open = 0
        self.port = self._port
        """The port listened at, once it is open; another than asked for when that was 0."""

    def run(self, put: Put, stop: threading.Event) -> None:
        """Listen until ``stop`` is set; a port that is taken is tried again, with growing pauses."""
        context = self._context()
        pause = 0.5
        while not stop.is_set():
            try:
                asyncio.run(self._serve(put, stop, context))
                return
            except OSError as error:
                self.state.error = f"cannot listen ({error.strerror or type(error).__name__})"
                stop.wait(pause)
                pause = min(2 * pause, 30.0)
            except Stopped:
                return
            finally:
                self.state.connected = False

    def _context(self) -> ssl.SSLContext | None:
        got = self._got
        if not got["tls_cert"]:
            if got["tls_key"] or got["tls_ca"]:
                raise InputError("mllp: tls_key or tls_ca without tls_cert", hint="give tls_cert as well")
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(got["tls_cert"], got["tls_key"] or None)
            if got["tls_ca"]:
                context.load_verify_locations(got["tls_ca"])
                context.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ssl.SSLError) as error:
            raise InputError(f"mllp: the TLS files cannot be used ({error.strerror or 'no PEM'})") from None
        return context

    async def _serve(self, put: Put, stop: threading.Event, context: ssl.SSLContext | None) -> None:
        ended = asyncio.Event()
        tasks: set[asyncio.Task[None]] = set()
        with ThreadPoolExecutor(1, "mllp-put") as pool:

            def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                task = asyncio.ensure_future(self._talk(reader, writer, put, pool, ended))
                tasks.add(task)
                task.add_done_callback(tasks.discard)

            server = await asyncio.start_server(
                connected, self.host, self._port, ssl=context, limit=self._got["max_message"] + 16, backlog=64
            )
            self.port = server.sockets[0].getsockname()[1]
            self.state.connected, self.state.error = True, ""
            while not stop.is_set() and not ended.is_set():
                await asyncio.sleep(0.05)
            server.close()
            for task in list(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _talk(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        put: Put,
        pool: ThreadPoolExecutor,
        ended: asyncio.Event,
    ) -> None:
        """Serve one connection until it ends or sends what is no MLLP."""
        self._n_open += 1
        try:
            if self._n_open > self._got["connections"]:
                self._warn("too_many_connections")
                return
            self.state.n_connects += 1
            while (message := await self._message(reader)) is not None:
                answer = await self._handle(message, put, pool)
                writer.write(_START + answer + _END)
                await writer.drain()
        except asyncio.LimitOverrunError:
            self._warn("too_long")
            writer.write(_START + reply(b"", "AR", "message is too long", time.time_ns()) + _END)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            self._warn("cut")
        except Stopped:
            ended.set()
        finally:
            self._n_open -= 1
            writer.close()

    async def _message(self, reader: asyncio.StreamReader) -> bytes | None:
        """Read one framed message; None at the connection's end, or when what comes is no MLLP."""
        noise = 0
        while (byte := await reader.read(1)) != _START:
            noise += 1
            if not byte or noise > _NOISE_BYTES:
                self._warn("noise") if byte else None
                return None
        async with asyncio.timeout(_MESSAGE_S):
            return (await reader.readuntil(_END))[: -len(_END)]

    async def _handle(self, message: bytes, put: Put, pool: ThreadPoolExecutor) -> bytes:
        """Hand a message over, wait until it is durable, and return the answer."""
        loop = asyncio.get_running_loop()
        durable = asyncio.Event()
        acknowledge = partial(_tell, loop, durable)
        code, why = "AA", ""
        try:
            items = self._intake.take(message)
            if not items:
                return reply(message, code, why, time.time_ns())
            delivery = Delivery(items, len(message), acknowledge)
        except (InputError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError) as error:
            # what a message makes go wrong must not end its connection, nor be told with its values
            code, why = "AE", error.message if isinstance(error, InputError) else f"not read ({type(error).__name__})"
            delivery = Delivery((), len(message), acknowledge, redacted(message), why)
        await loop.run_in_executor(pool, put, delivery)
        await durable.wait()
        return reply(message, code, why, time.time_ns())

    def _warn(self, word: str) -> None:
        self.state.n_warnings[word] = self.state.n_warnings.get(word, 0) + 1

    def check(self) -> list[str]:
        """Open the port once.

        Raises
        ------
        InputError
            When it cannot be opened, or the TLS files cannot be used.
        """
        context = self._context()

        async def once() -> int:
            server = await asyncio.start_server(lambda r, w: w.close(), self.host, self._port, ssl=context)
            port: int = server.sockets[0].getsockname()[1]
            server.close()
            await server.wait_closed()
            return port

        try:
            port = asyncio.run(once())
        except OSError as error:
            raise InputError(
                f"mllp: cannot listen at port {self._port} ({error.strerror or type(error).__name__})",
                hint="another program may listen there; choose another port",
            ) from None
        kind = "TLS" if context else "no TLS: use it within a network that you trust"
        return [f"can listen at port {port} ({kind})"]


def _tell(loop: asyncio.AbstractEventLoop, durable: asyncio.Event) -> None:
    """Set an event of the feed's loop from the engine's thread; the loop may have ended meanwhile."""
    try:
        loop.call_soon_threadsafe(durable.set)
    except RuntimeError:
        return


def address_of(url: str, *, anywhere: bool) -> tuple[str, int]:
    """Return the address to listen at.

    Raises
    ------
    InputError
        When it is beyond this machine and that was not allowed.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "127.0.0.1", PORT if parts.port is None else parts.port
    except ValueError:
        raise InputError("mllp: the URL's port is no number", hint="write mllp://127.0.0.1:2575") from None
    try:
        local = ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local and not anywhere:
        raise InputError(
            "mllp: the address is beyond this machine",
            hint="set listen_anywhere = true, with tls_cert and tls_key where the network is not your own",
        )
    return host, port


def zone_of(text: str) -> timedelta:
    """Return an offset from UTC such as ``"+01:00"``.

    Raises
    ------
    InputError
        When it is none.
    """
    match = re.fullmatch(r"([+-])(\d{2}):?(\d{2})", text)
    if match is None:
        raise InputError(f"mllp: timezone={text!r:.40}", hint="write an offset such as +01:00")
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return -offset if match[1] == "-" else offset
