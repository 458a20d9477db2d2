"""Addresses of object stores that the environment holds: found, and checked before they are used."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import urlsplit

from sanstream.errors import InputError

_BEGIN = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}
_END = ("ENDPOINT", "ENDPOINT_URL", "ENDPOINT_URL_S3", "GOOGLE_BASE_URL")
"""How the names of variables end that hold a store's address."""
_ODD = r"""[\s<>"{}|^`\\]"""


def check_endpoint(scheme: str, archive: str) -> None:
    """Refuse an endpoint in the environment that is no address: the store's own client does not survive it.

    Parameters
    ----------
    scheme : str
        Of the store: ``"s3"``, ``"gs"`` or ``"az"``.
    archive : str
        Its address, for the message.

    Raises
    ------
    InputError
    """
    for name, value in _endpoints():
        if value and name.upper().startswith(_BEGIN[scheme]) and not _is_address(value):
            told = repr(value) if "@" not in value else "one with a password"
            raise InputError(
                f"{archive}: {name} is {told:.80}, which is no address of a store",
                hint="write http://HOST:PORT or https://HOST, or unset it",
            )


def names_plain_http() -> bool:
    """Tell whether the environment names a store that is reached by plain HTTP."""
    return any(value.lower().startswith("http://") for _, value in _endpoints())


def _endpoints() -> Iterator[tuple[str, str]]:
    for name, value in os.environ.items():
        if name.upper().endswith(_END):
            yield name, value


def _is_address(value: str) -> bool:
    """Tell whether a text is an address of HTTP: scheme, a host that may exist, and perhaps a port."""
    try:
        parts = urlsplit(value)
        host = parts.hostname or ""
        if not re.fullmatch(r"[a-z0-9_.-]+", host) or host.rpartition(".")[2].isdigit():
            ip_address(host)
        return value.isascii() and parts.scheme in ("http", "https") and parts.port != 0 and not re.search(_ODD, value)
    except ValueError:
        return False
