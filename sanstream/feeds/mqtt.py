"""Feed ``mqtt://``: MQTT 5, quality of service 1, acknowledged by hand, a session that outlives connections."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import deque
from functools import partial
from typing import Any, ClassVar

from paho.mqtt.client import Client
from paho.mqtt.subscribeoptions import SubscribeOptions

from sanstream.chunk import safe_name
from sanstream.errors import InputError
from sanstream.feeds import FeedOptions, FeedState, Put, Stopped
from sanstream.feeds.address import Table, settings_of
from sanstream.feeds.broker import InOrder, broker_address, reason_of
from sanstream.feeds.intake import Intake
from sanstream.feeds.mqtt_link import (
    DEFAULT_TOPIC,
    KEEP_ALIVE_S,
    MANY_SHORT,
    PAUSE_S,
    PORT,
    RECEIVE_MAXIMUM,
    SESSION_TAKEN,
    SHORT_S,
    TAKEN_PAUSE_S,
    TLS_PORT,
    broker_limits,
    connect_properties,
    new_client,
)

_LOG = logging.getLogger("sanstream.feeds")
MAX_QUEUED_BYTES = 64 << 20
_TICK_S = 0.2
_LAST_ACKS_S = 5.0
_CHECK_S = 10.0
_TAKEN = "another client connects with the same client id; set client_id to another one for each daemon"
_PERHAPS = "the broker ends connections soon; if another client has the same client id, set client_id for each daemon"


class _Epoch:
    """One connection: acknowledgements of an earlier one mean nothing to it."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.order = InOrder()
        self.alive = True

    def acknowledge(self, entry: list[Any]) -> None:
        """Acknowledge a message once all before it are: MQTT asks for that order. From any thread."""
        for mid in self.order.done(entry):
            if self.alive:
                self.client.ack(mid, 1)


class MqttFeed:
    """Messages of one session, which the broker keeps until they are acknowledged.

    paho's thread reads and keeps the connection alive; ours hands over. Between them lies a queue of 64 MiB: when the
    daemon takes nothing for so long that it fills, the feed disconnects, the broker queues, and the feed comes back.
    """

    OPTIONS: ClassVar[Table] = {
        "client_id": (str, "", "name of the session at the broker; empty: sanstream-NAME"),
        "session_expiry_s": (int, 7 * 86400, "seconds for which the broker keeps the session of an absent daemon"),
        "ca": (str, "", "PEM file of certificates to trust, for mqtts://"),
    }
    can_wait = True
    replays = True

    def __init__(self, options: FeedOptions) -> None:
        self.state = FeedState()
        self._options = options
        self._settings = settings_of(options, self.OPTIONS)
        port = TLS_PORT if options.url.startswith("mqtts") else PORT
        self._address = broker_address(options.url, port, user=options.user, password=options.password)
        path = self._address.path
        self._topic = options.streams or (f"{path}/#" if path else DEFAULT_TOPIC)
        self._client_id = self._settings["client_id"] or f"sanstream-{safe_name(options.name)}"
        self._intake = Intake(options, self.state)
        self._changed = threading.Condition()
        self._queue: deque[tuple[_Epoch, list[Any], bytes]] = deque()
        self._queued_bytes = 0
        self._to_put = 0
        self._pressed = False
        self._epoch: _Epoch | None = None
        self._n_taken = 0
        self._told = ""
        self._n_short = 0
        self._connected_s = 0.0
        if not 0 < self._settings["session_expiry_s"] < 1 << 32:
            raise InputError(f"feed {options.name!r}: session_expiry_s must be 1 to 2^32 - 1")

    def check(self) -> list[str]:
        """Connect under a name of its own, subscribe, and say what the broker allows."""
        said: dict[str, Any] = {}
        done = threading.Event()

        def on_connect(client: Client, _: Any, flags: Any, reason: Any, properties: Any) -> None:
            said["limits"] = broker_limits(properties)
            if reason.is_failure:
                said["error"] = str(reason)
                done.set()
            else:
                client.subscribe(self._topic, options=SubscribeOptions(qos=1, retainHandling=2))

        def on_subscribe(client: Client, _: Any, mid: int, reasons: list[Any], properties: Any) -> None:
            if reasons[0].is_failure:
                said["error"] = f"subscription refused: {reasons[0]}"
            said["qos"] = reasons[0].value
            done.set()

        client = new_client(self._address, self._settings["ca"], f"sanstream-check-{secrets.token_hex(4)}")
        client.on_connect, client.on_subscribe = on_connect, on_subscribe
        host, port = self._address.hosts[0]
        try:
            client.connect(host, port, KEEP_ALIVE_S, clean_start=True)
            client.loop_start()
            if not done.wait(_CHECK_S):
                said["error"] = "no answer in time"
        except (OSError, ValueError) as error:
            said["error"] = reason_of(error)
        finally:
            client.disconnect()
            client.loop_stop()
        if "error" in said:
            raise InputError(
                f"feed {self._options.name!r} cannot use its MQTT broker: {said['error']}",
                hint="check url, user, password, streams and that the broker runs",
            )
        return [
            f"MQTT 5: {said['limits']}; granted quality of service {said['qos']}",
            f"session {self._client_id}: kept {self._settings['session_expiry_s']} s,"
            f" up to {RECEIVE_MAXIMUM} messages unacknowledged",
            "Mosquitto drops what it queues beyond max_queued_messages (1000): set it to 0 as in deploy/mosquitto.conf",
            *self._held(),
        ]

    def _held(self) -> list[str]:
        held_s = self._options.held_s
        if not held_s:
            return []
        return [
            f"acknowledged after the archive has them, up to {held_s} s later and in order: at most"
            f" {RECEIVE_MAXIMUM // held_s} messages a second, since {RECEIVE_MAXIMUM} may be unacknowledged",
            "the broker must send as many: set Mosquitto's max_inflight_messages (20) to 0 as in deploy/mosquitto.conf,"
            " else it sends that many and waits",
        ]

    def run(self, put: Put, stop: threading.Event) -> None:
        """Deliver until ``stop`` is set; then send the acknowledgements that still come, for up to 5 s."""
        while not stop.is_set():
            client = self._start()
            try:
                self._serve(put, stop)
                self._last_acks(stop)
            except Stopped:
                self._last_acks(stop)
                return
            finally:
                client.disconnect()
                client.loop_stop()
                self._end_epoch()

    def _start(self) -> Client:
        """Let paho connect, and connect again with growing pauses, in a thread of its own."""
        self._pressed = False
        client = new_client(self._address, self._settings["ca"], self._client_id)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        properties = connect_properties(self._settings["session_expiry_s"])
        host, port = self._address.hosts[0]
        client.connect_async(host, port, KEEP_ALIVE_S, clean_start=False, properties=properties)
        client.loop_start()
        return client

    def _serve(self, put: Put, stop: threading.Event) -> None:
        while not stop.is_set():
            self._forget_taken()
            with self._changed:
                if not self._queue:
                    if self._pressed:
                        return
                    self._changed.wait(_TICK_S)
                taken = self._queue.popleft() if self._queue else None
            deliveries = self._intake.expired()
            if taken is not None:
                epoch, entry, message = taken
                if epoch.alive:  # otherwise the broker sends it again
                    deliveries += self._intake.take(message, partial(epoch.acknowledge, entry))
            self._to_put = len(deliveries)
            for delivery in deliveries:
                put(delivery)
                self._to_put -= 1
            if taken is not None:
                with self._changed:
                    self._queued_bytes -= len(taken[2])

    def _last_acks(self, stop: threading.Event) -> None:
        """Wait for acknowledgements of what was handed over, as long as they come."""
        epoch = self._epoch
        until = time.monotonic() + _LAST_ACKS_S
        before = -1
        while stop.is_set() and epoch is not None and epoch.alive and time.monotonic() < until:
            left = len(epoch.order)
            if left <= self._intake.n_held + len(self._queue) + self._to_put:
                break
            if left != before:
                until = time.monotonic() + _LAST_ACKS_S
            before = left
            time.sleep(_TICK_S / 4)

    def _end_epoch(self) -> None:
        with self._changed:
            if self._epoch is not None:
                self._epoch.alive = False
                self._epoch = None
            self._queue.clear()
            self._queued_bytes = 0
        self._intake.forget()
        self.state.connected = False

    def _on_connect(self, client: Client, _: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self.state.connected, self.state.error = False, f"refused: {reason}"
            return
        if self.state.n_connects and not flags.session_present:
            self.state.n_warnings["session_lost"] = self.state.n_warnings.get("session_lost", 0) + 1
        with self._changed:
            self._epoch = _Epoch(client)
        client.subscribe(self._topic, options=SubscribeOptions(qos=1))

    def _on_subscribe(self, client: Client, _: Any, mid: int, reasons: list[Any], properties: Any) -> None:
        if reasons[0].is_failure:
            self.state.connected, self.state.error = False, f"subscription refused: {reasons[0]}"
            return
        # while two clients evict each other, the one that is connected now says so, too
        self.state.connected, self.state.error = True, self._told
        self._connected_s = time.monotonic()
        self.state.n_connects += 1

    def _on_connect_fail(self, client: Client, _: Any) -> None:
        self.state.connected, self.state.error = False, "no connection to the broker"

    def _on_disconnect(self, client: Client, _: Any, flags: Any, reason: Any, properties: Any) -> None:
        short = self.state.connected and time.monotonic() - self._connected_s < SHORT_S
        self._n_short = self._n_short + 1 if short and reason.is_failure else 0
        if reason.value == SESSION_TAKEN:
            self._on_taken(client, _TAKEN, TAKEN_PAUSE_S[1])
        elif self._n_short >= MANY_SHORT:
            self._on_taken(client, _PERHAPS, TAKEN_PAUSE_S[0])
        elif self.state.connected and reason.is_failure:  # a refusal has said more
            self.state.error = f"disconnected: {reason}"
        self.state.connected = False
        with self._changed:
            if self._epoch is not None:
                self._epoch.alive = False
            self._changed.notify_all()

    def _on_taken(self, client: Client, cause: str, most: int) -> None:
        """Leave the session to the other client for a while, longer each time: both would take it back for ever."""
        client.reconnect_delay_set(min(most, TAKEN_PAUSE_S[0] << min(self._n_taken, 8)), most)
        self._n_taken += 1
        self._told = self.state.error = cause
        self.state.n_warnings["session_taken"] = self.state.n_warnings.get("session_taken", 0) + 1
        _LOG.warning("%s", cause, extra={"feed": self._options.name})

    def _forget_taken(self) -> None:
        """Count a session as ours again once it outlasted every pause of another client."""
        kept = self.state.connected and time.monotonic() - self._connected_s > 2 * TAKEN_PAUSE_S[1]
        if self._n_taken and kept and self._epoch is not None:
            self._n_taken, self._told, self.state.error = 0, "", ""
            self._epoch.client.reconnect_delay_set(*PAUSE_S)

    def _on_message(self, client: Client, _: Any, message: Any) -> None:
        with self._changed:
            epoch = self._epoch
            if epoch is None or self._pressed:
                return
            entry = epoch.order.add(message.mid) if message.qos else [0, False]
            self._queue.append((epoch, entry, bytes(message.payload)))
            self._queued_bytes += len(message.payload)
            self._pressed = self._queued_bytes > MAX_QUEUED_BYTES
            pressed = self._pressed
            self._changed.notify_all()
        if pressed:
            client.disconnect()
