"""Settings of Kafka clients, for the feed and for the publisher."""

from __future__ import annotations

from typing import Any

from sanstream.feeds.broker import Address

PORT = 9092
DEFAULT_TOPIC = "sanstream"


def client_settings(address: Address, ca: str, mechanism: str = "PLAIN") -> dict[str, Any]:
    """Return librdkafka's settings for an address: servers, login, TLS.

    Parameters
    ----------
    address : Address
    ca : str
        PEM file of certificates to trust.
    mechanism : str
        How to log in: ``PLAIN``, ``SCRAM-SHA-256`` or ``SCRAM-SHA-512``.
    """
    out: dict[str, Any] = {
        "bootstrap.servers": ",".join(f"{f'[{h}]' if ':' in h else h}:{p}" for h, p in address.hosts),
        "security.protocol": ("SASL_" if address.user else "") + ("SSL" if address.tls else "PLAINTEXT"),
        "reconnect.backoff.ms": 200,
        "reconnect.backoff.max.ms": 10_000,
        # its lines on stderr hold addresses, which have no place in logs
        "log_level": 0,
    }
    if address.user:
        out |= {"sasl.mechanism": mechanism, "sasl.username": address.user, "sasl.password": address.password}
    if ca:
        out["ssl.ca.location"] = ca
    return out


def error_of(error: Any) -> str:
    """Say what a client's error is without its address: its name in Kafka's protocol."""
    return f"Kafka {error.name().strip('_').lower().replace('_', ' ')}"
