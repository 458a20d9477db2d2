"""Connections to NATS, and the JetStream stream that holds a subject; for the feed and for the publisher."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import api

from sanstream.errors import InputError
from sanstream.feeds.broker import Address, tls_context

PORT = 4222
DEFAULT_SUBJECT = "sanstream.>"
ERRORS = (nats.errors.Error, nats.js.errors.Error, OSError, TimeoutError)
"""What connections, requests and publishing raise when the server or the way to it fails."""


@dataclass(frozen=True, eq=False)
class Link:
    """A connection.

    Parameters
    ----------
    client : nats.aio.client.Client
    seen : list of Exception
        The newest error that the server or the network caused; empty when there was none.
    """

    client: Client
    seen: list[Exception]


async def connect(address: Address, ca: str, name: str) -> Link:
    """Connect once; the caller reconnects, since only it knows what to ask for again.

    Raises
    ------
    InputError
        When the certificates cannot be read.
    """
    seen: list[Exception] = []

    async def on_error(error: Exception) -> None:
        seen.append(error)
        del seen[:-1]

    scheme = "tls" if address.tls else "nats"
    servers = [f"{scheme}://{f'[{h}]' if ':' in h else h}:{p}" for h, p in address.hosts]
    options: dict[str, Any] = {"user": address.user, "password": address.password} if address.user else {}
    if address.password and not address.user:
        options["token"] = address.password
    context = tls_context(address, ca)
    if context is not None:
        options["tls"] = context
    client = Client()
    try:
        await client.connect(
            servers, name=name, allow_reconnect=False, max_reconnect_attempts=1, reconnect_time_wait=1,
            connect_timeout=5, ping_interval=10, max_outstanding_pings=2, error_cb=on_error, **options,
        )  # fmt: skip
    except BaseException as error:
        # a login that was refused leaves its socket open
        if client._transport is not None:
            client._transport.close()  # type: ignore[no-untyped-call]
        if isinstance(error, nats.errors.NoServersError) and seen:
            # it hides the reason, which the callback was told
            raise seen[0] from None
        raise
    return Link(client, seen)


def subject_name(text: str) -> str:
    """Make one token of a subject from a name."""
    return re.sub(r"[^A-Za-z0-9_@+=~-]", "_", text) or "_"


async def stream_for(js: Any, subject: str, stream: str, create: bool) -> str:
    """Return the name of the JetStream stream that takes a subject.

    Parameters
    ----------
    js : nats.js.JetStreamContext
    subject : str
        May hold wildcards.
    stream : str
        The one to use; empty to search.
    create : bool
        Whether to make one on disk when there is none.

    Raises
    ------
    InputError
        When there is none, or the server has no JetStream.
    """
    try:
        if stream:
            await js.stream_info(stream)
            return stream
        return str(await js.find_stream_name_by_subject(subject))
    except nats.js.errors.NotFoundError:
        pass
    except (nats.errors.NoRespondersError, nats.js.errors.ServiceUnavailableError):
        raise InputError("the NATS server has no JetStream", hint="start it with jetstream in its settings") from None
    if not create:
        raise InputError(
            "no JetStream stream takes the subjects", hint="make one (nats stream add), or set create = true"
        )
    name = stream or re.sub(r"[^A-Za-z0-9]+", "_", subject).strip("_") or "sanstream"
    await js.add_stream(name=name, subjects=[subject], storage=api.StorageType.FILE)
    return name
