"""WIRE.md: what it allows is read, what it does not is refused, and nothing else ever happens."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_cases import DESCRIPTOR, FIRST, FOLDER, JSON, NAME, ROWS, cases, described, head, int16, seal

from sanstream.chunk import Chunk, Event
from sanstream.errors import InputError, UnsupportedError
from sanstream.feeds import FeedOptions, FeedState
from sanstream.feeds.intake import MAX_HELD_S, Intake
from sanstream.signal import Channel
from sanstream.wire import MAX_MESSAGE_BYTES, Floats, decode, encode_chunk, encode_event
from sanstream.wire_channels import Descriptors, UnknownDescriptor, descriptor_of, digest_of, read_descriptor
from sanstream.wire_json import MAX_JSON_BYTES, encode_json

NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
FROZEN = "97d599609bf296a228cadcc483ecab28d8ae4b9993081b7664dfd2d8d5f30692"
CHANNELS = (Channel("II", "mV", 200.0, missing=-32768), Channel("V5", "mV", 200.0, header={"position": 1}))


def chunk(rows: Any = ROWS, **more: Any) -> Chunk:
    fields = {
        "recording": "bed-0012", "stream": "250hz", "session": "q3Zx81Aa", "first_sample": 1000,
        "samples": np.array(rows, np.int32), "rate": Fraction(250), "channels": CHANNELS,
        "device_ns": 1_716_552_000_000_000_000, "arrival_ns": 0,
    }  # fmt: skip
    return Chunk(**(fields | more))


def known(*messages: bytes) -> Descriptors:
    descriptors = Descriptors()
    for message in messages:
        decode(message, descriptors, 0)
    return descriptors


def fields(item: Chunk | Event | Floats) -> dict[str, Any]:
    """What a vector says of a message."""
    if isinstance(item, Event):
        return {
            "kind": "event", "recording": item.recording, "session": item.session, "number": item.number,
            "time_ns": item.time_ns, "event": item.kind, "text": item.text, "duration_ns": item.duration_ns,
        }  # fmt: skip
    values = item.samples if isinstance(item, Chunk) else item.values
    rows = [[None if v != v else v for v in row] for row in values.tolist()]
    return {
        "kind": "samples", "recording": item.recording, "stream": item.stream, "session": item.session,
        "first_sample": item.first_sample, "rate": str(item.rate), "device_ns": item.device_ns,
        "labels": [c.label for c in item.channels], "samples": rows,
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_vector_is_read_or_refused(name: str) -> None:
    vector = json.loads((FOLDER / f"{name}.json").read_text(encoding="ascii"))
    descriptors = known(*map(bytes.fromhex, vector["before"]))
    message = bytes.fromhex(vector["message"])
    if vector.get("refused"):
        with pytest.raises(InputError) as caught:
            decode(message, descriptors, 0)
        assert not isinstance(caught.value, UnknownDescriptor)
    else:
        assert fields(decode(message, descriptors, 0)) == vector["expect"]


def test_clause_9_the_vectors_are_frozen_and_complete() -> None:
    assert sorted(cases()) == NAMES
    for name, case in cases().items():
        assert json.loads((FOLDER / f"{name}.json").read_text(encoding="ascii")) == json.loads(json.dumps(case)), name
    whole = hashlib.sha256()
    for name in NAMES:
        whole.update((FOLDER / f"{name}.json").read_bytes())
    assert whole.hexdigest() == FROZEN


def test_clause_10_a_repeated_head_takes_60_bytes() -> None:
    second = chunk(np.zeros((250, 2), np.int32))
    assert len(encode_chunk(second)) == 1060


@pytest.mark.parametrize(
    "item",
    [
        chunk(),
        chunk([[2**31 - 1, -(2**31)]], device_ns=None, stream="leads"),
        chunk([[1, 2]], rate=Fraction(62500, 1001), stream="62500_1001hz", first_sample=(1 << 60) - 1),
        Event("bed-0012", "s", 3, -5, "marker", "größer", 10**9),
        Event("b", "s" * 128, (1 << 60) - 1, (1 << 62) - 1, "", "", (1 << 62) - 1),
    ],
)
@pytest.mark.parametrize("form", ["binary", "json"])
def test_what_is_written_is_read_again(item: Chunk | Event, form: str) -> None:
    if form == "json":
        message = encode_json(item)
    elif isinstance(item, Event):
        message = encode_event(item)
    else:
        message = encode_chunk(item, descriptor=descriptor_of(item.channels))
    back = decode(message, Descriptors(), 77)
    assert fields(back) == fields(item)
    if isinstance(item, Chunk):
        assert isinstance(back, Chunk)
        assert back.samples.dtype == np.int32
        assert back.arrival_ns == 77
        assert [c.to_dict() | {"header": {}} for c in back.channels] == [
            c.to_dict() | {"header": {}} for c in item.channels
        ]


def test_floats_are_written_and_read_again() -> None:
    values = np.array([[0.1, np.nan], [-2, 3]], np.float32)
    item = Floats("r", "s", "t", 0, values, Fraction(250), CHANNELS, None, 0)
    back = decode(encode_chunk(item, descriptor=descriptor_of(CHANNELS)), Descriptors(), 0)
    assert isinstance(back, Floats)
    assert np.array_equal(back.values, values, equal_nan=True)


def test_channels_are_one_object_for_all_messages_of_a_descriptor() -> None:
    descriptors = known(FIRST)
    a = decode(seal(head() + int16()), descriptors, 0)
    b = decode(seal(head(recording=b"other") + int16()), descriptors, 0)
    assert isinstance(a, Chunk)
    assert isinstance(b, Chunk)
    assert a.channels is b.channels


def test_a_descriptor_keeps_a_channels_values_and_its_lattice_alone() -> None:
    full = Channel("x", "uV", 12.5, 0.5, -5, 5, -9, 24, "trigger", {"lattice": "float32-bits", "edf": {"secret": 1}})
    (back,) = read_descriptor(descriptor_of([full]))
    assert back.to_dict() == full.to_dict() | {"header": {"lattice": "float32-bits"}}


def test_labels_that_repeat_are_made_unique_in_both_forms() -> None:
    descriptor = descriptor_of([Channel("Fp1"), Channel(""), Channel("Fp1"), Channel("Fp1_2"), Channel("Fp1")])
    wanted = ["Fp1", "ch 1", "Fp1_3", "Fp1_2", "Fp1_4"]
    assert [c.label for c in read_descriptor(descriptor)] == wanted
    message = JSON | {"channels": json.loads(descriptor)["channels"], "samples": [[1, 2, 3, 4, 5]]}
    back = decode(json.dumps(message).encode(), Descriptors(), 0)
    assert isinstance(back, Chunk)
    assert [c.label for c in back.channels] == wanted


def test_every_flipped_bit_of_a_binary_message_is_refused() -> None:
    for message in (FIRST, seal(head() + int16()), encode_event(Event("r", "s", 1, 2, "alarm", "text"))):
        for bit in range(8 * len(message)):
            changed = bytearray(message)
            changed[bit // 8] ^= 1 << (bit % 8)
            with pytest.raises(InputError):
                decode(bytes(changed), known(FIRST), 0)


def test_every_flipped_bit_with_a_right_checksum_is_read_or_refused() -> None:
    """Nobody else's error escapes, even from messages that a hostile publisher sealed."""
    for message in (FIRST, encode_event(Event("r", "s", 1, 2, "alarm", "text"))):
        for bit in range(8 * (len(message) - 4)):
            changed = bytearray(message[:-4])
            changed[bit // 8] ^= 1 << (bit % 8)
            read_or_refused(seal(bytes(changed)))


def test_every_flipped_bit_of_a_json_message_is_read_or_refused() -> None:
    message = json.dumps(JSON | {"device_ns": 5, "stream": "leads"}).encode()
    for bit in range(8 * len(message)):
        changed = bytearray(message)
        changed[bit // 8] ^= 1 << (bit % 8)
        read_or_refused(bytes(changed))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    read_or_refused(body)
    read_or_refused(seal(head() + body))
    read_or_refused(seal(head(flags=12, name=digest_of(body)) + len(body).to_bytes(4, "little") + body + b"\0\0"))


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), lambda v: st.lists(v, max_size=3)
)


@given(st.sampled_from(sorted(JSON)), _VALUES)
def test_any_value_of_a_json_key_is_read_or_refused(key: str, value: Any) -> None:
    read_or_refused(json.dumps(JSON | {key: value}).encode("utf-8", "surrogatepass"))


def read_or_refused(message: bytes) -> None:
    try:
        item = decode(message, known(FIRST), 0)
    except InputError:
        return
    assert isinstance(item, Chunk | Event | Floats)


@pytest.mark.parametrize("message", [FIRST, json.dumps(JSON).encode(), encode_event(Event("r", "s", 1, 2, "a", "t"))])
def test_a_message_cut_short_anywhere_is_refused(message: bytes) -> None:
    for length in range(len(message)):
        with pytest.raises(InputError):
            decode(message[:length], Descriptors(), 0)


def test_absurd_sizes_never_reach_an_allocation() -> None:
    many = json.dumps({"channels": [{"label": ""}] * 4097}).encode()
    absurd = [
        seal(head(flags=12) + b"\xff\xff\xff\xff" + DESCRIPTOR),
        seal(head(flags=12, name=digest_of(many)) + len(many).to_bytes(4, "little") + many),
        b"{" + b"[" * MAX_JSON_BYTES,
        b"SW" + bytes(MAX_MESSAGE_BYTES),
    ]
    for message in absurd:
        tracemalloc.start()
        with pytest.raises(InputError):
            decode(message, Descriptors(), 0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4 << 20


def test_a_message_over_8_mib_is_not_written() -> None:
    with pytest.raises(UnsupportedError, match="8388608"):
        encode_chunk(chunk(np.full((1 << 20, 2), 1 << 20, np.int32)))


def test_the_longest_message_is_written_and_read() -> None:
    rows = (MAX_MESSAGE_BYTES - 64) // 4
    message = encode_chunk(chunk(np.ones((rows, 2), np.int32)))
    assert MAX_MESSAGE_BYTES - 8 < len(message) <= MAX_MESSAGE_BYTES
    descriptors = Descriptors()
    descriptors.learn(digest_of(descriptor_of(CHANNELS)), descriptor_of(CHANNELS))
    back = decode(message, descriptors, 0)
    assert isinstance(back, Chunk)
    assert back.n_samples == rows


def test_descriptors_are_forgotten_beyond_64_mib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sanstream.wire_channels._MAX_KNOWN_BYTES", 20_000)
    descriptors = Descriptors()
    texts = [descriptor_of([Channel(f"lead {n}")]) for n in range(100)]
    for text in texts:
        descriptors.learn(digest_of(text), text)
    assert 10 < len(descriptors) < 40
    assert descriptors.knows(digest_of(texts[-1]))
    with pytest.raises(UnknownDescriptor):
        descriptors.channels(digest_of(texts[0]))


# ---- what a feed makes of messages


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def intake(**options: Any) -> tuple[Intake, Clock, FeedState]:
    clock, state = Clock(), FeedState()
    return Intake(FeedOptions("a", "nats://x", **options), state, clock=clock), clock, state


def nothing() -> None:
    pass


def test_clause_5_4_a_message_waits_for_its_descriptor_and_goes_first() -> None:
    box, _, state = intake()
    assert box.take(seal(head() + int16()), nothing) == []
    assert box.n_held == 1
    out = box.take(FIRST, nothing)
    assert [d.items[0].first_sample for d in out if isinstance(d.items[0], Chunk)] == [1000, 0]
    assert box.n_held == 0
    assert state.n_warnings == {"waited": 1}


def test_clause_5_4_a_message_that_waited_in_vain_is_poison() -> None:
    box, clock, _ = intake()
    message = seal(head() + int16())
    box.take(message, nothing)
    clock.now = MAX_HELD_S - 1
    assert box.expired() == []
    clock.now = MAX_HELD_S
    (poison,) = box.expired()
    assert poison.poison == message
    assert "descriptor" in poison.reason
    assert box.n_held == 0


def test_clause_5_4_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sanstream.feeds.intake.MAX_HELD_BYTES", 1000)
    box, _, _ = intake()
    out = [d for n in range(20) for d in box.take(seal(head(number=n) + int16()), nothing)]
    assert len(out) + box.n_held == 20
    assert 0 < box.n_held < 5
    assert all(d.poison for d in out)


def test_an_unreadable_message_is_poison_with_its_reason_and_handle() -> None:
    done: list[int] = []
    box, _, _ = intake()
    (delivery,) = box.take(b"hello", lambda: done.append(1))
    assert (delivery.items, delivery.poison) == ((), b"hello")
    assert "clause 3" in delivery.reason
    delivery.acknowledge()
    assert done == [1]


def test_the_identity_map_names_recordings_of_samples_and_events() -> None:
    box, _, _ = intake(identity={"bed-0012": "study-7"})
    event = encode_event(Event("bed-0012", "s", 1, 2, "alarm", ""))
    names = [d.items[0].recording for m in (FIRST, event) for d in box.take(m, nothing)]
    assert names == ["study-7", "study-7"]


def test_every_channel_of_a_feed_has_a_missing_code() -> None:
    box, _, _ = intake()
    (delivery,) = box.take(FIRST, nothing)
    assert isinstance(delivery.items[0], Chunk)
    assert all(c.missing is not None for c in delivery.items[0].channels)


def test_clause_5_1_a_channel_that_leaves_no_missing_code_is_refused() -> None:
    box, _, _ = intake()
    wide = {"label": "II", "digital_min": -(2**31), "digital_max": 2**31 - 1}
    (delivery,) = box.take(described((250, 1), [wide]), nothing)
    assert delivery.poison
    assert "uses all 32 bits" in delivery.reason
    (delivery,) = box.take(described((250, 1), [wide | {"missing": 0}]), nothing)
    assert not delivery.poison


def test_clause_7_1_null_is_kept_as_missing_by_the_code_that_the_daemon_gives() -> None:
    box, _, _ = intake()
    (delivery,) = box.take(json.dumps(JSON | {"samples": [[1, None], [2, 3]]}).encode(), nothing)
    (taken,) = delivery.items
    assert isinstance(taken, Chunk)
    assert taken.channels[1].missing == -32769
    assert taken.samples.tolist() == [[1, -32769], [2, 3]]


@pytest.mark.parametrize("resolution", ["auto", "0.5mmHg"])
def test_floats_become_integers_on_one_lattice(resolution: str) -> None:
    box, _, state = intake(resolution=resolution)
    channels = (Channel("II", "mV"),)
    items = []
    for number in range(3):
        values = (np.arange(250)[:, None] * 0.005).astype(np.float32)
        floats = Floats("r", "250hz", "s", 250 * number, values, Fraction(250), channels, None, 0)
        items += box.take(encode_chunk(floats, descriptor=descriptor_of(channels)), nothing)
    chunks = [d.items[0] for d in items]
    assert all(isinstance(c, Chunk) for c in chunks)
    first, *others = chunks
    assert isinstance(first, Chunk)
    assert all(isinstance(c, Chunk) and c.channels is first.channels for c in others)
    assert np.allclose(first.channels[0].physical(first.samples[:, 0]), np.arange(250) * 0.005)
    assert ("resolution_unit" in state.n_warnings) == (resolution != "auto")


def test_the_name_of_a_descriptor_is_that_of_its_bytes() -> None:
    assert digest_of(DESCRIPTOR) == NAME
