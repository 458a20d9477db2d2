"""mllp: real connections on loopback; acknowledged only when durable, and no patient anywhere."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brokers import program
from hypothesis import given, settings
from hypothesis import strategies as st

from sanstream.chunk import Chunk, Delivery, Event
from sanstream.errors import InputError
from sanstream.feeds import FeedOptions, make_feed
from sanstream.feeds.hl7_message import redacted, reply
from sanstream.feeds.hl7_owner import HANDOVER_S, Owners
from sanstream.feeds.hl7_waves import observed
from sanstream.publish import PublishOptions, publish
from sanstream.publish_mllp import MllpPublisher
from sanstream.simulate import simulate_ecg

START = 1714564800 * 10**9


def message(*segments: str, control: str = "1", patient: str = "SECRET42^^^H^MR", place: str = "") -> bytes:
    head = f"MSH|^~\\&|MON^1^L|ICU|||20240501120000||ORU^R01^ORU_R01|{control}|P|2.6"
    own = [f"PID|1||{patient}||Muster^Max"] * bool(patient) + [f"PV1|1|I|{place}"] * bool(place)
    return ("\r".join([head, *own, *segments]) + "\r").encode()


def bare(device: str = "") -> list[str]:
    """Return a waveform whose OBX-18 is not the usual one."""
    return [s.replace("BED7^^ABC^EUI-64", device) for s in pcd("1^2^3", RES)]


def pcd(
    values: str, *more: str, when: str = "20240501120000.000+0000", label: str = "MDC_ECG_ELEC_POTL_II"
) -> list[str]:
    return [
        f"OBR|1|||69121^MDC_OBS_WAVE_CTS^MDC|||{when}",
        f"OBX|1|NA|131330^{label}^MDC|1.1.1.1|{values}|266418^MDC_DIM_MILLI_VOLT^MDC|||||F|||{when}||||BED7^^ABC^EUI-64",
        "OBX|2|NM|67981^MDC_ATTR_SAMP_RATE^MDC|1.1.1.1.1|250|264608^MDC_DIM_HZ^MDC",
        *more,
    ]


RES = "OBX|3|NM|68162^MDC_ATTR_NU_MSMT_RES^MDC|1.1.1.1.2|0.005|266418^MDC_DIM_MILLI_VOLT^MDC"


class Listening:
    """A feed in a thread; acknowledges what it gives, unless it should not yet."""

    def __init__(self, *, hold: bool = False, **options: Any) -> None:
        identity = options.pop("identity", {})
        self.items: list[Chunk | Event] = []
        self.deliveries: list[Delivery] = []
        self.hold = hold
        self.stop = threading.Event()
        self.feed: Any = make_feed(FeedOptions("hl7", "mllp://127.0.0.1:0", options=options, identity=identity))
        self.thread = threading.Thread(target=self.feed.run, args=(self.put, self.stop))
        self.thread.start()
        self.until(lambda: self.feed.state.connected)

    def put(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        self.items += delivery.items
        if not self.hold:
            delivery.acknowledge()

    @property
    def chunks(self) -> list[Chunk]:
        return [i for i in self.items if isinstance(i, Chunk)]

    def until(self, done: Callable[[], object]) -> None:
        deadline = time.monotonic() + 20
        while not done() and time.monotonic() < deadline:
            time.sleep(0.005)
        assert done()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.feed.port), timeout=20)

    def ask(self, data: bytes) -> str:
        with self.connect() as line:
            line.sendall(b"\x0b" + data + b"\x1c\r")
            return answer(line)

    def end(self) -> None:
        self.stop.set()
        self.thread.join(20)
        assert not self.thread.is_alive()


def answer(line: socket.socket) -> str:
    data = b""
    while not data.endswith(b"\x1c\r"):
        part = line.recv(65536)
        if not part:
            return "closed"
        data += part
    return data.split(b"MSA|")[1][:2].decode()


@pytest.fixture
def listening() -> Iterator[Any]:
    made: list[Listening] = []

    def start(**options: Any) -> Listening:
        made.append(Listening(**options))
        return made[-1]

    yield start
    for one in made:
        one.end()


def test_ihe_pcd_waveforms_become_chunks_of_the_device(listening: Any) -> None:
    served = listening()
    assert served.ask(message(*pcd("1^-2^3^^5", RES))) == "AA"
    (chunk,) = served.chunks
    assert (chunk.recording, chunk.stream, chunk.rate, chunk.first_sample) == ("BED7", "250hz", 250, 0)
    assert chunk.device_ns == START
    channel = chunk.channels[0]
    assert (channel.label, channel.unit, channel.gain) == ("II", "mV", 200.0)
    assert chunk.samples[:, 0].tolist() == [1, -2, 3, channel.missing, 5]
    np.testing.assert_allclose(channel.physical(chunk.samples[:, 0])[:3], [0.005, -0.01, 0.015])


def test_scale_and_data_ranges_give_gain_and_baseline(listening: Any) -> None:
    served = listening()
    ranges = (
        "OBX|3|NR|0^MDC_ATTR_SCALE_RANGE^MDC|1.1.1.1.2|0^4095",
        "OBX|4|NR|0^MDC_ATTR_DATA_RANGE^MDC|1.1.1.1.3|-40^360",
    )
    served.ask(message(*pcd("0^4095^410", *ranges, label="MDC_PRESS_BLD_ART_ABP")))
    channel, samples = served.chunks[0].channels[0], served.chunks[0].samples[:, 0]
    np.testing.assert_allclose(channel.physical(samples), [-40, 360, 410 * 400 / 4095 - 40])
    assert channel.label == "ABP"


def test_decimals_are_physical_and_come_back(listening: Any) -> None:
    served = listening()
    values = np.round(np.random.default_rng(0).standard_normal(250), 3)
    served.ask(message(*pcd("^".join(f"{v:.3f}" for v in values))))
    np.testing.assert_array_equal(served.chunks[0].channels[0].physical(served.chunks[0].samples[:, 0]), values)


def test_chapter_7_channels_multiplexed_and_in_blocks(listening: Any) -> None:
    served = listening(identity={"MON": "bed"})
    head = (
        "OBR|1|||EKG|||20240501120000",
        "OBX|1|TS|0&TIM^EKG^L|1|20240501120001",
        "OBX|2|CD|0&CHN^EKG^L|1|1&I^A&B^0.005&mV^1&0^100^0&4095~2&V5^A&B^0.01&mV^1&10^100^0&4095",
    )
    served.ask(message(*head, "OBX|3|MA|0&WAV^EKG^L|1|1^2~3^4~5^6", "OBX|4|CE|0&ANO^EKG^L|1|1^PVC", control="a"))
    served.ask(message(*head, "OBX|3|NA|0&WAV^EKG^L|1|1^3^5~2^4^6", control="b"))
    for chunk in served.chunks:
        assert chunk.samples.tolist() == [[1, 2], [3, 4], [5, 6]]
        assert [(c.label, c.gain, c.baseline) for c in chunk.channels] == [("I", 200.0, 0), ("V5", 100.0, 10)]
        assert chunk.device_ns == START + 10**9
    (event,) = [i for i in served.items if isinstance(i, Event)]
    assert (event.kind, event.text) == ("annotation", "1 PVC")


def test_the_answer_waits_until_everything_is_durable(listening: Any) -> None:
    served = listening(hold=True)
    with served.connect() as line:
        line.sendall(b"\x0b" + message(*pcd("1^2^3", RES)) + b"\x1c\r")
        served.until(lambda: served.deliveries)
        line.settimeout(0.2)
        with pytest.raises(TimeoutError):
            line.recv(1)
        line.settimeout(20)
        served.deliveries[0].acknowledge()
        assert answer(line) == "AA"


def test_samples_are_counted_on_and_a_lost_message_is_a_gap(listening: Any) -> None:
    served = listening()
    second = "^".join(["7"] * 250)
    for k in (0, 1, 2, 5):
        served.ask(message(*pcd(second, RES, when=f"2024050112000{k}.01+0000"), control=str(k)))
    assert [c.first_sample for c in served.chunks] == [0, 250, 500, 1250]
    assert len({c.session for c in served.chunks}) == 1
    served.ask(message(*pcd(second, RES, when="20240501120001.01+0000"), control="9"))
    assert served.chunks[-1].session != served.chunks[0].session
    assert served.feed.state.n_warnings == {"gap": 1, "clock_back": 1}


def test_the_same_message_again_gives_the_same_numbers(listening: Any) -> None:
    served = listening()
    for _ in range(3):
        served.ask(message(*pcd("1^2^3", RES)))
    assert {(c.session, c.first_sample) for c in served.chunks} == {(served.chunks[0].session, 0)}
    assert served.feed.state.n_warnings == {"resent": 2}


def test_a_patient_is_only_looked_up_and_never_set_aside(listening: Any) -> None:
    served = listening(identity={"SECRET42": "study-1"})
    served.ask(message(*pcd("1^2^3", RES)))
    assert served.chunks[0].recording == "study-1"
    assert served.ask(message(*pcd("1^x^3", RES), control="2")) == "AE"
    poison = served.deliveries[-1]
    assert poison.items == ()
    assert b"OBX|2|NM|67981^MDC_ATTR_SAMP_RATE^MDC|1.1.1.1.1|250|" in (poison.poison or b"")
    for text in (*map(repr, served.deliveries), repr(poison.poison), poison.reason):
        assert "SECRET42" not in text
        assert "Muster" not in text
    assert redacted(b"NK1|SECRET42\nZZZ|SECRET42\rno segment SECRET42") == b"NK1|\rZZZ|"


@pytest.mark.parametrize(
    ("key", "of"),
    [
        ("MRN-D^^^HOSP", {"patient": "MRN-D^^^HOSP"}),
        ("MRN-D", {"patient": "OTHER^^^X~MRN-D^^^HOSP"}),
        ("ICU^1^BEDE", {"place": "ICU^1^BEDE"}),
        ("ICU^1^BEDE", {"place": "ICU^1^BEDE^HOSP^^N"}),
        ("MON", {}),
    ],
)
def test_a_bed_is_named_by_any_field_that_the_map_has(listening: Any, key: str, of: dict[str, str]) -> None:
    served = listening(identity={key: "bed-d"})
    assert served.ask(message(*bare(), **of)) == "AA"
    assert served.chunks[0].recording == "bed-d"


def test_a_message_that_names_no_bed_is_refused(listening: Any) -> None:
    served = listening(identity={"MRN-A": "bed-a", "ICU": "ward"})
    for k, patient in enumerate(("MRN-A^^^H", "MRN-B^^^H", "MRN-C^^^H", "")):
        place = f"ICU^1^BED{k}"
        assert served.ask(message(*bare(), patient=patient, place=place)) == ("AA" if k == 0 else "AE")
    assert {c.recording for c in served.chunks} == {"bed-a"}
    assert served.feed.state.n_warnings == {"no_device": 3}
    for one in served.deliveries:
        assert not any(word in repr(one) + repr(one.poison) for word in ("MRN-", "BED2"))


def test_a_universal_device_id_is_a_name(listening: Any) -> None:
    served = listening()
    assert served.ask(message(*bare("^^00AB^EUI-64"))) == "AA"
    assert served.chunks[0].recording == "00AB"


def test_another_patient_of_a_device_in_use_is_refused() -> None:
    now = [0.0]
    counted: list[str] = []
    owners = Owners(FeedOptions("hl7", "mllp:"), counted.append, lambda: now[0])

    def goes_to(patient: str, place: str) -> str:
        now[0] += 1
        return owners.recording(observed(message(*bare("GW"), patient=patient, place=place)))

    assert goes_to("MRN-A", "ICU^1^1") == goes_to("MRN-A", "ICU^1^2") == goes_to("", "ICU^1^2") == "GW"
    for patient, place in (("MRN-B", "ICU^1^2"), ("", "ICU^1^3")):
        with pytest.raises(InputError, match="another patient or place") as caught:
            goes_to(patient, place)
        assert place not in str(caught.value)
    assert counted == ["other_patient"] * 2
    assert not any(word in repr(owners._owners) for word in ("MRN-", "ICU^"))
    now[0] += HANDOVER_S
    assert goes_to("MRN-B", "ICU^1^2") == "GW"


def test_a_message_of_several_patients_is_refused(listening: Any) -> None:
    served = listening()
    assert served.ask(message(*pcd("1^2^3", RES), "PID|2||OTHER", *pcd("4^5^6", RES))) == "AE"
    assert served.chunks == []


def test_alarms_are_events(listening: Any) -> None:
    served = listening(identity={"SECRET42": "bed"})
    alarm = message("OBR|1", "OBX|1|ST|196670^MDC_EVT_LO^MDC|1.1.1.1|HR low \\T\\ falling").replace(b"^R01", b"^R40")
    assert served.ask(alarm) == "AA"
    (event,) = served.items
    assert (event.kind, event.text, event.time_ns) == ("alarm", "HR low & falling", START)


def test_a_message_without_waveforms_is_acknowledged_and_counted(listening: Any) -> None:
    served = listening()
    assert served.ask(message("OBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC|1|72")) == "AA"
    assert served.deliveries == []
    assert served.feed.state.n_warnings == {"no_waveform": 1}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"MSH",
        b"MSH|^~\\&|",
        b"\xff" * 500,
        b"MSH|^~\\&|A|B|||20240501||ADT^A01|5|P|2.6\r",
        message(*pcd("1^2", "OBX|3|NM|x^MDC_ATTR_SAMP_RATE^MDC|1.1.1.1.1|0")),
        message("OBX|1|NA|1^a^L|1|1^2^3"),
        message(*pcd("1^99999999999")),
        message(*pcd("^".join(["1e99"] * 5))),
        message("OBX|1|CD|0&CHN|1|1^2^3^4^1e9", "OBX|2|MA|0&WAV|1|1^2^3"),
    ],
)
def test_a_message_that_cannot_be_read_is_refused_set_aside_and_the_next_one_taken(listening: Any, data: bytes) -> None:
    served = listening()
    with served.connect() as line:
        line.sendall(b"\x0b" + data + b"\x1c\r")
        first = answer(line)
        line.sendall(b"\x0b" + message(*pcd("1^2^3", RES), control="ok") + b"\x1c\r")
        assert answer(line) == "AA"
    assert first == ("AA" if b"1e99" in data else "AE")
    if first == "AE":
        assert served.deliveries[0].poison is not None
        assert served.deliveries[0].reason


def test_noise_floods_and_half_messages_end_the_connection_and_nothing_else(listening: Any) -> None:
    served = listening(max_message=4096, connections=2)
    with served.connect() as line:
        line.sendall(b"GET / HTTP/1.1\r\n" * 200)
        with contextlib.suppress(ConnectionResetError):
            assert line.recv(100) == b""
    with served.connect() as line:
        with contextlib.suppress(OSError):
            line.sendall(b"\x0b" + b"MSH|" + b"x" * 100_000)
        with contextlib.suppress(ConnectionResetError):
            assert answer(line) in ("AR", "closed")
    with served.connect() as line:
        line.sendall(b"\x0bMSH|^~\\&|half")
    served.until(lambda: served.feed.state.n_warnings.keys() >= {"noise", "too_long", "cut"})
    assert served.ask(message(*pcd("1^2^3", RES))) == "AA"


def test_connections_are_bounded(listening: Any) -> None:
    served = listening(connections=1)
    with served.connect() as line:
        line.sendall(b"\x0b" + message(*pcd("1^2^3", RES)) + b"\x1c\r")
        assert answer(line) == "AA"
        with served.connect() as other:
            assert other.recv(10) == b""
    served.until(lambda: served.feed.state.n_warnings == {"too_many_connections": 1})


def test_what_publish_sends_is_read_as_it_was(listening: Any) -> None:
    served = listening()
    recording = simulate_ecg(4, seed=2, name="bed|7&x")
    recording = replace(recording, name="bed7")
    done = publish(
        recording, PublishOptions(f"mllp://127.0.0.1:{served.feed.port}"), speed=0, session="s", start_ns=START
    )
    segment = recording.streams[0].segments[0]
    np.testing.assert_array_equal(np.concatenate([c.samples for c in served.chunks]), segment.samples)
    assert [c.first_sample for c in served.chunks] == [0, 360, 720, 1080]
    assert {(c.recording, c.stream, c.session) for c in served.chunks} == {("bed7", "ecg", "s")}
    for got, want in zip(served.chunks[0].channels, segment.channels, strict=True):
        assert (got.label, got.unit, got.gain, got.baseline) == (want.label, want.unit, want.gain, want.baseline)
        assert (got.digital_min, got.digital_max) == (want.digital_min, want.digital_max)
    assert done.samples == {("bed7", "ecg"): [[0, 1440]]}
    events = [i for i in served.items if isinstance(i, Event)]
    assert [e.text for e in events] == recording.annotations[0].columns["symbol"].tolist()
    assert [e.number for e in events] == list(range(len(events)))


def test_a_message_whose_answer_was_lost_is_sent_again_under_the_same_numbers(listening: Any) -> None:
    served = listening(hold=True)
    out = MllpPublisher(PublishOptions(f"mllp://127.0.0.1:{served.feed.port}"), pause_s=0.1)
    out.open()
    recording = simulate_ecg(1)
    segment = recording.streams[0].segments[0]
    chunk = Chunk("bed7", "360hz", "s", 5, segment.samples, recording.streams[0].rate, segment.channels, START, START)
    out.send_chunk(chunk)
    served.until(lambda: served.deliveries)
    (line,) = out._lines.values()
    assert line.socket is not None
    line.socket.shutdown(socket.SHUT_RDWR)
    served.hold = False
    out.flush()
    out.close()
    assert [(c.session, c.first_sample) for c in served.chunks] == [("s", 5)] * 2


@pytest.mark.parametrize(
    "url",
    [
        "mllp://0.0.0.0:2575",
        "mllp://ward.example:1",
        "mllp://[::]:1",
        "mllp://:x",
        "mllp:?timezone=x",
        "mllp:?max_message=1",
    ],
)
def test_an_address_beyond_this_machine_or_a_wrong_option_is_refused(url: str) -> None:
    with pytest.raises(InputError) as caught:
        make_feed(FeedOptions("hl7", url))
    assert caught.value.hint
    make_feed(FeedOptions("hl7", "mllp://0.0.0.0:2575", options={"listen_anywhere": True}))


def test_tls_is_spoken_and_clients_without_it_are_not(listening: Any, tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(
        [program("openssl"), *command.split(), *names, "-keyout", key, "-out", cert], check=True, capture_output=True
    )
    served = listening(tls_cert=str(cert), tls_key=str(key))
    with contextlib.suppress(OSError), served.connect() as line:
        line.sendall(b"\x0b" + message(*pcd("1^2^3", RES)) + b"\x1c\r")
        line.recv(100)
    assert served.chunks == []
    options = PublishOptions(f"mllps://localhost:{served.feed.port}", ca=str(cert))
    publish(simulate_ecg(1), options, speed=0)
    assert served.chunks
    with pytest.raises(InputError, match="TLS"):
        make_feed(FeedOptions("hl7", "mllp://127.0.0.1:0", options={"tls_cert": str(tmp_path / "none")})).check()


def test_a_taken_port_is_said_by_check(listening: Any) -> None:
    served = listening()
    with pytest.raises(InputError, match="cannot listen"):
        make_feed(FeedOptions("hl7", f"mllp://127.0.0.1:{served.feed.port}")).check()
    assert make_feed(FeedOptions("hl7", "mllp://127.0.0.1:0")).check()[0].startswith("can listen")


@settings(max_examples=150)
@given(st.binary(max_size=300), st.integers(0, 600), st.integers(1, 40))
def test_any_bytes_are_read_or_refused(noise: bytes, at: int, cut: int) -> None:
    sound = message(*pcd("1^2^3", RES))
    for data in (noise, b"MSH|^~\\&|" + noise, sound[:at] + noise + sound[at + cut :], sound[: at % len(sound)]):
        with contextlib.suppress(InputError):
            observed(data)
        assert reply(data, "AE", "x", START).startswith(b"MSH|")
        assert b"Muster" not in redacted(sound + data)
