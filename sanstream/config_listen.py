"""Addresses that the daemon listens on, and which of them need token and TLS."""

from __future__ import annotations

import ipaddress
import re

from sanstream.config import HttpSettings
from sanstream.errors import InputError

_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9_.-]+)):([0-9]{1,5})")


def split_address(text: str) -> tuple[str, int]:
    """Split ``"127.0.0.1:9464"`` or ``"[::1]:9464"`` into host and port.

    Raises
    ------
    InputError
        When it is neither.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match.group(3)) > 65535:
        raise InputError(f"{text!r} is no address", hint='write "127.0.0.1:9464" or "[::1]:9464"')
    return match.group(1) or match.group(2), int(match.group(3))


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches a host; names other than ``localhost`` are not trusted."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def only_metrics(http: HttpSettings) -> bool:
    """Tell whether metrics and health are all that may be served: opened beyond loopback, without token and TLS."""
    host, _ = split_address(http.listen)
    return not is_loopback(host) and not (http.token_env and http.tls_cert)


def check_http(http: HttpSettings, place: str) -> None:
    """Refuse a listen address beyond loopback without token and TLS.

    Raises
    ------
    InputError
        Also on an address that is none, and on a certificate without key or a key without certificate.
    """
    if (http.tls_cert is None) != (http.tls_key is None):
        raise InputError(f"{place}: tls_cert and tls_key go together", hint="give both or neither")
    if not http.listen:
        return
    try:
        split_address(http.listen)
    except InputError as error:
        raise InputError(f"{place}: listen: {error.message}", hint=error.hint) from None
    if only_metrics(http) and not http.open_metrics:
        raise InputError(
            f"{place}: listen {http.listen!r} is reached from other machines and lacks token or TLS",
            hint="give token_env, tls_cert and tls_key; or open_metrics = true for metrics and health; or 127.0.0.1",
        )
