"""MQTT 5 clients, for the feed and for the publisher."""

from __future__ import annotations

from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from sanstream.feeds.broker import Address, tls_context
from sanstream.wire import MAX_MESSAGE_BYTES

PORT = 1883
TLS_PORT = 8883
DEFAULT_TOPIC = "sanstream/#"
RECEIVE_MAXIMUM = 65535
KEEP_ALIVE_S = 30
SESSION_TAKEN = 0x8E
"""The broker's reason for a disconnection: another client came with the same client id."""
PAUSE_S, TAKEN_PAUSE_S = (1, 30), (10, 60)
"""Shortest and longest pause before connecting again; also after another client took the session."""
SHORT_S, MANY_SHORT = 15.0, 3
"""Mosquitto 2.0 ends a session that was taken without a word: so many connections in a row, each so short, say it."""


def new_client(address: Address, ca: str, client_id: str) -> Client:
    """Return a client that is not connected, with login and TLS.

    Raises
    ------
    InputError
        When the certificates cannot be read.
    """
    client = Client(CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5, manual_ack=True)
    client.connect_timeout = 5.0
    client.reconnect_delay_set(*PAUSE_S)
    if address.user:
        client.username_pw_set(address.user, address.password or None)
    context = tls_context(address, ca)
    if context is not None:
        client.tls_set_context(context)
    return client


def connect_properties(session_expiry_s: int) -> Any:
    """Return what a subscriber tells the broker: how long to keep its session, and how much it takes at a time."""
    properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = session_expiry_s
    properties.ReceiveMaximum = RECEIVE_MAXIMUM
    properties.MaximumPacketSize = MAX_MESSAGE_BYTES + 65536
    return properties


def broker_limits(properties: Any) -> str:
    """Say what the broker's answer to a connection limits."""
    said = {
        "packets of up to {} bytes": getattr(properties, "MaximumPacketSize", None),
        "{} unconfirmed messages": getattr(properties, "ReceiveMaximum", None),
        "sessions kept {} s": getattr(properties, "SessionExpiryInterval", None),
        "keep-alive {} s": getattr(properties, "ServerKeepAlive", None),
        "quality of service {} at most": getattr(properties, "MaximumQoS", None),
    }
    found = [text.format(value) for text, value in said.items() if value is not None]
    return ", ".join(found) or "no limits named"
