"""Where an object store is reached: endpoints that the environment names, and how clients are set up."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sanstream.errors import InputError

if TYPE_CHECKING:
    from obstore.store import ClientConfig

_VARIABLES = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}
_CLIENT: ClientConfig = {"timeout": "30s", "connect_timeout": "10s"}


def check_endpoint(url: str) -> None:
    """Refuse an endpoint in the environment that is no address: the store's own code would not survive it.

    Raises
    ------
    InputError
    """
    for name, value in os.environ.items():
        wanted = name.upper().startswith(_VARIABLES[urlsplit(url).scheme])
        if not wanted or not name.upper().endswith(("ENDPOINT", "ENDPOINT_URL")):
            continue
        try:
            parts = urlsplit(value)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if value and not (good and value.isascii() and not set(value) & set(' \t\r\n<>"{}|^`\\')):
            raise InputError(
                f"{url}: {name} is {value!r:.80}, which is no address of a store",
                hint="write http://HOST:PORT or https://HOST, or unset it",
            )


def client_options() -> ClientConfig:
    """Allow plain HTTP where the environment names such an endpoint, as a store on this machine has it."""
    plain = any(
        v.startswith("http://") for k, v in os.environ.items() if k.upper().endswith(("ENDPOINT", "ENDPOINT_URL"))
    )
    return {**_CLIENT, "allow_http": True} if plain else _CLIENT
