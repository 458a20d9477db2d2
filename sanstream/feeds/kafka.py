"""Feed ``kafka://``: a member of a consumer group that commits only what was acknowledged, in order per partition."""

from __future__ import annotations

import threading
import time
from collections import deque
from functools import partial
from typing import Any, ClassVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from sanstream.chunk import Delivery, safe_name
from sanstream.errors import InputError
from sanstream.feeds import FeedOptions, FeedState, Put, Stopped
from sanstream.feeds.address import Table, settings_of
from sanstream.feeds.broker import InOrder, broker_address
from sanstream.feeds.intake import Intake
from sanstream.feeds.kafka_link import DEFAULT_TOPIC, PORT, client_settings, error_of

MAX_WAITING_BYTES = 32 << 20
_BATCH = 500
_TICK_S = 0.1
_COMMIT_S = 1.0
_LAST_ACKS_S = 5.0
_CHECK_S = 10.0


class _Partition:
    """One partition while it is ours; what is acknowledged later, after it went to another member, counts no more."""

    def __init__(self, topic: str, number: int, tenure: str) -> None:
        self.topic = topic
        self.number = number
        self.tenure = tenure
        self.order = InOrder()
        self.next_offset = -1
        self.committed = -1

    def acknowledge(self, entry: list[Any]) -> None:
        """Note that a message is durable; from any thread."""
        for offset in self.order.done(entry):
            self.next_offset = max(self.next_offset, offset + 1)


class KafkaFeed:
    """Messages of one consumer group.

    ``run``'s thread polls, so that the group keeps this member however long the daemon takes nothing; another thread
    hands over. Partitions are paused while 32 MiB wait between the two.
    """

    OPTIONS: ClassVar[Table] = {
        "group": (str, "", "consumer group; empty: sanstream-NAME"),
        "session_timeout_s": (float, 45.0, "seconds after which the group gives an absent member's partitions away"),
        "sasl_mechanism": (str, "PLAIN", "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; used when there is a user"),
        "ca": (str, "", "PEM file of certificates to trust, for kafkas://"),
    }
    can_wait = True
    replays = True

    def __init__(self, options: FeedOptions) -> None:
        self.state = FeedState()
        self._options = options
        self._settings = settings_of(options, self.OPTIONS)
        self._address = broker_address(options.url, PORT, user=options.user, password=options.password)
        # a pattern that begins with ^ is a regular expression to Kafka
        self._topic = options.streams or self._address.path or DEFAULT_TOPIC
        self._group = self._settings["group"] or f"sanstream-{safe_name(options.name)}"
        self._intake = Intake(options, self.state)
        self._partitions: dict[tuple[str, int], _Partition] = {}
        self._changed = threading.Condition()
        self._waiting: deque[Delivery] = deque()
        self._waiting_bytes = 0
        self._paused = False
        self._ended: BaseException | None = None
        self._n_assigned = 0
        if not 6 <= self._settings["session_timeout_s"] <= 1800:
            raise InputError(f"feed {options.name!r}: session_timeout_s must be 6 to 1800, as brokers demand")

    def _consumer(self, **more: Any) -> Consumer:
        timeout = int(self._settings["session_timeout_s"] * 1000)
        return Consumer(
            client_settings(self._address, self._settings["ca"], self._settings["sasl_mechanism"])
            | {
                "group.id": self._group,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
                "session.timeout.ms": timeout,
                "heartbeat.interval.ms": max(200, timeout // 10),
                "queued.max.messages.kbytes": 16384,
                "fetch.message.max.bytes": (8 << 20) + 65536,
                "allow.auto.create.topics": False,
                "topic.metadata.refresh.interval.ms": 10_000,
                "error_cb": self._on_error,
            }
            | more
        )

    def check(self) -> list[str]:
        """Ask the cluster for its topics, and say what was found."""
        consumer = self._consumer()
        try:
            found = consumer.list_topics(timeout=_CHECK_S)
        except KafkaException as error:
            reason = self.state.error or error_of(error.args[0])
            raise InputError(
                f"feed {self._options.name!r} cannot use its Kafka cluster: {reason}",
                hint="check url, user, password and that it runs",
            ) from None
        finally:
            consumer.close()
        topic = found.topics.get(self._topic)
        if topic is None and not self._topic.startswith("^"):
            raise InputError(f"feed {self._options.name!r}: the cluster has no such topic", hint="make it first")
        partitions = f"{len(topic.partitions)} partitions" if topic is not None else "a pattern of topics"
        return [
            f"Kafka cluster of {len(found.brokers)} brokers; {partitions}",
            f"group {self._group}: session timeout {self._settings['session_timeout_s']:g} s, offsets committed after"
            f" {'the archive has the samples' if self._options.held_s else 'the journal'}",
            "messages older than the topic's retention are lost to an absent daemon: see retention.ms and message size"
            " max.message.bytes",
            *self._held(),
        ]

    def _held(self) -> list[str]:
        held_s = self._options.held_s
        if not held_s:
            return []
        return [
            f"offsets stay up to {held_s} s behind, and behind the slowest stream: retention must be well above that"
        ]

    def run(self, put: Put, stop: threading.Event) -> None:
        """Deliver until ``stop`` is set; then commit the acknowledgements that still come, for up to 5 s."""
        self._begin()
        consumer = self._consumer()
        hand = threading.Thread(target=self._hand_over, args=(put,), name="kafka-put", daemon=True)
        hand.start()
        try:
            consumer.subscribe(
                [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            self._poll(consumer, stop)
            self._last_acks(consumer)
        finally:
            with self._changed:
                self._ended = self._ended or Stopped()
                self._changed.notify_all()
            hand.join()
            self._commit(consumer, now=True)
            consumer.close()
            self.state.connected = False

    def _begin(self) -> None:
        """Forget what a run that failed left behind: it is not committed, so it comes again."""
        self._ended, self._paused = None, False
        self._waiting.clear()
        self._waiting_bytes = 0
        self._intake.forget()
        self._queue([self._ending(p) for p in self._partitions.values()])
        self._partitions.clear()

    def _poll(self, consumer: Consumer, stop: threading.Event) -> None:
        next_commit = time.monotonic() + _COMMIT_S
        while not stop.is_set() and self._ended is None:
            for message in consumer.consume(_BATCH, _TICK_S):
                self._take(message)
            self._queue(self._intake.expired())
            self._pause(consumer)
            if time.monotonic() >= next_commit:
                self._commit(consumer)
                next_commit = time.monotonic() + _COMMIT_S
        if self._ended is not None and not isinstance(self._ended, Stopped):
            raise self._ended

    def _take(self, message: Any) -> None:
        error = message.error()
        if error is not None:
            if error.code() != KafkaError._PARTITION_EOF:
                self._on_error(error)
            return
        partition = self._partitions.get((message.topic(), message.partition()))
        if partition is None:
            return  # given away meanwhile
        self.state.connected, self.state.error = True, ""
        entry = partition.order.add(message.offset())
        self._queue(self._intake.take(message.value() or b"", partial(partition.acknowledge, entry), partition.tenure))

    def _queue(self, deliveries: list[Delivery]) -> None:
        if deliveries:
            with self._changed:
                self._waiting.extend(deliveries)
                self._waiting_bytes += sum(d.n_bytes for d in deliveries)
                self._changed.notify_all()

    def _pause(self, consumer: Consumer) -> None:
        """Let no more come while much waits; a rebalance in between starts partitions anew, so say it each time."""
        full = self._waiting_bytes > (MAX_WAITING_BYTES // 2 if self._paused else MAX_WAITING_BYTES)
        if full == self._paused:
            return
        try:
            (consumer.pause if full else consumer.resume)(consumer.assignment())
            self._paused = full
        except KafkaException as error:
            self._on_error(error.args[0])

    def _hand_over(self, put: Put) -> None:
        try:
            while True:
                with self._changed:
                    while not self._waiting:
                        if self._ended is not None:
                            return
                        self._changed.wait(1)
                    delivery = self._waiting[0]
                put(delivery)
                with self._changed:
                    self._waiting.popleft()
                    self._waiting_bytes -= delivery.n_bytes
        except BaseException as error:
            self._ended = error

    def _commit(self, consumer: Consumer, *, now: bool = False) -> None:
        offsets = []
        for partition in self._partitions.values():
            if partition.next_offset > partition.committed:
                partition.committed = partition.next_offset
                offsets.append(TopicPartition(partition.topic, partition.number, partition.next_offset))
        if not offsets:
            return
        try:
            if now:
                consumer.commit(offsets=offsets, asynchronous=False)
            else:
                consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            # what was not committed comes again, and is known then
            self._on_error(error.args[0])

    def _last_acks(self, consumer: Consumer) -> None:
        """Wait for acknowledgements of what was handed over, as long as they come."""
        until = time.monotonic() + _LAST_ACKS_S
        before = -1
        while time.monotonic() < until:
            left = sum(len(p.order) for p in self._partitions.values())
            if left <= self._intake.n_held + len(self._waiting):
                return
            if left != before:
                until = time.monotonic() + _LAST_ACKS_S
            before = left
            time.sleep(_TICK_S)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for p in partitions:
            self._n_assigned += 1
            tenure = f"{self._group}:{p.topic}-{p.partition}@{self._n_assigned}"
            self._partitions[p.topic, p.partition] = _Partition(p.topic, p.partition, tenure)
        self.state.partitions = len(self._partitions)
        self._paused = False
        self.state.connected, self.state.error = True, ""
        self.state.n_connects += 1

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._commit(consumer, now=True)
        self._on_lost(consumer, partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        gone = [self._partitions.pop((p.topic, p.partition), None) for p in partitions]
        for partition in filter(None, gone):
            # what waits for its channels comes again, to whoever has it then; what is queued is archived here, too
            self._intake.forget(partition.tenure)
            self._queue([self._ending(partition)])
        self.state.partitions = len(self._partitions)

    def _ending(self, partition: _Partition) -> Delivery:
        """Say, behind all that is queued, that a partition is another member's now."""
        return Delivery((), tenure=partition.tenure, ends=True)

    def _on_error(self, error: Any) -> None:
        if error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._AUTHENTICATION, KafkaError._RESOLVE):
            self.state.connected = False
        if error.code() != KafkaError._TRANSPORT or not self.state.error:
            self.state.error = error_of(error)
