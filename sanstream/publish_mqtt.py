"""Publisher ``mqtt://``: MQTT 5, quality of service 1; what the broker has not confirmed is sent again."""

from __future__ import annotations

import secrets
import threading
from typing import Any

from paho.mqtt.client import Client

from sanstream.errors import InputError
from sanstream.feeds.broker import broker_address, reason_of
from sanstream.feeds.mqtt_link import KEEP_ALIVE_S, PORT, TLS_PORT, new_client
from sanstream.publish_wire import BrokerPublisher, Letter, Outbox, PublishOptions

_IN_FLIGHT = 1000
_FIRST_S = 10.0


class MqttPublisher(BrokerPublisher):
    """Messages under ``PREFIX/RECORDING/STREAM``, events under ``PREFIX/RECORDING/events``.

    Parameters
    ----------
    options : PublishOptions
    """

    def __init__(self, options: PublishOptions) -> None:
        port = TLS_PORT if options.url.startswith("mqtts") else PORT
        self._address = broker_address(options.url, port, user=options.user, password=options.password)
        self._prefix = self._address.path or "sanstream"
        self.outbox = Outbox(options)
        self._lock = threading.Lock()
        self._numbers: dict[int, int] = {}
        self._early: set[int] = set()
        self._failure = ""
        self._max_packet = 1 << 28
        self._ready = threading.Event()
        # this client's own memory holds what is unconfirmed, so a session at the broker is of no use
        self._client = new_client(self._address, options.ca, f"sanstream-publish-{secrets.token_hex(6)}")
        self._client.max_inflight_messages_set(0)
        self._client.max_queued_messages_set(0)
        self._client.on_connect = self._on_connect
        self._client.on_publish = self._on_publish

    def open(self) -> None:
        """Connect.

        Raises
        ------
        InputError
            When the first connection fails; later ones are tried again for ever.
        """
        host, port = self._address.hosts[0]
        try:
            self._client.connect(host, port, KEEP_ALIVE_S)
            self._client.loop_start()
            if not self._ready.wait(_FIRST_S):
                self._failure = self._failure or "no answer in time"
        except (OSError, ValueError) as error:
            self._failure = reason_of(error)
        if self._failure:
            self.close()
            self._alive()

    def close(self) -> None:
        """End the connection; what is not confirmed is not."""
        self._client.disconnect()
        self._client.loop_stop()

    def _alive(self) -> None:
        if self._failure:
            raise InputError(f"cannot publish to MQTT: {self._failure}", hint="check URL, user, password and broker")

    def _topic(self, letter: Letter) -> str:
        return f"{self._prefix}/{letter.recording}/{letter.stream or 'events'}".replace("+", "_")

    def _check_size(self, letter: Letter) -> None:
        # a broker cuts the connection of whoever sends more, again and again
        if len(letter.message) + 500 > self._max_packet:
            self._failure = f"message of {len(letter.message)} bytes, the broker allows {self._max_packet}"
            self._alive()

    def _send(self, number: int) -> None:
        letter = self.outbox.letter(number)
        if letter is not None:
            self._check_size(letter)
            info = self._client.publish(self._topic(letter), letter.message, qos=1)
            with self._lock:
                # the answer may have come before we knew what to
                answered = info.mid in self._early
                if answered:
                    self._early.discard(info.mid)
                else:
                    self._numbers[info.mid] = number
            if answered:
                self.outbox.confirm(number)

    def _on_connect(self, client: Client, _: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            if not self._ready.is_set():
                self._failure = str(reason)
        else:
            self._max_packet = getattr(properties, "MaximumPacketSize", 1 << 28)
            # paho does not heed the broker's Receive Maximum, and brokers disconnect who exceeds it
            self.outbox.max_messages = min(_IN_FLIGHT, getattr(properties, "ReceiveMaximum", 65535))
        self._ready.set()

    def _on_publish(self, client: Client, _: Any, mid: int, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._failure = f"a message was refused: {reason}"
            return
        with self._lock:
            number = self._numbers.pop(mid, None)
            if number is None:
                self._early.add(mid)
        if number is not None:
            self.outbox.confirm(number)
