"""Publisher ``kafka://``: acknowledged by all replicas, retried by the client until the broker has it."""

from __future__ import annotations

from functools import partial
from typing import Any

from confluent_kafka import KafkaException, Producer

from sanstream.errors import InputError
from sanstream.feeds.broker import broker_address
from sanstream.feeds.kafka_link import DEFAULT_TOPIC, PORT, client_settings, error_of
from sanstream.publish_wire import BrokerPublisher, Outbox, PublishOptions


class KafkaPublisher(BrokerPublisher):
    """Messages to one topic under the key ``RECORDING/STREAM``, so that a stream stays in order.

    Parameters
    ----------
    options : PublishOptions
    """

    def __init__(self, options: PublishOptions) -> None:
        address = broker_address(options.url, PORT, user=options.user, password=options.password)
        self._topic = address.path or DEFAULT_TOPIC
        self.outbox = Outbox(options)
        self._error = ""
        self._failure = ""
        settings = client_settings(address, options.ca) | {
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 5,
            "message.timeout.ms": 0,
            "message.max.bytes": (8 << 20) + 65536,
            "error_cb": self._on_error,
        }
        self._producer = Producer(settings)

    def open(self) -> None:
        """Ask the cluster for the topic.

        Raises
        ------
        InputError
            When it does not answer; later it is tried again for ever.
        """
        try:
            self._producer.list_topics(self._topic, timeout=10)
        except KafkaException as error:
            self._failure = self._error or error_of(error.args[0])
            self._alive()

    def close(self) -> None:
        """Drop what is not confirmed."""
        self._producer.purge()
        self._producer.flush(1)

    def _alive(self) -> None:
        if self._failure:
            raise InputError(
                f"cannot publish to Kafka: {self._failure}", hint="check URL, user, password and that it runs"
            )
        self._producer.poll(0.05)

    def _send(self, number: int) -> None:
        letter = self.outbox.letter(number)
        while letter is not None:
            try:
                self._producer.produce(
                    self._topic, letter.message, f"{letter.recording}/{letter.stream}",
                    on_delivery=partial(self._on_delivery, number),
                )  # fmt: skip
                break
            except BufferError:
                self._alive()
            except KafkaException as error:
                self._failure = error_of(error.args[0])
                self._alive()
        self._producer.poll(0)

    def _on_delivery(self, number: int, error: Any, message: Any) -> None:
        if error is None:
            self.outbox.confirm(number)
        elif error.name() not in ("_PURGE_QUEUE", "_PURGE_INFLIGHT"):
            # the client has retried whatever can be
            self._failure = error_of(error)

    def _on_error(self, error: Any) -> None:
        self._error = error_of(error)
        if error.fatal():
            self._failure = self._error
