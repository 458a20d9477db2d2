"""Messages packed by hand from WIRE.md alone; run as a program, it writes the vectors anew."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import google_crc32c

FOLDER = Path(__file__).parent / "wire_vectors"
LEADS = [{"label": "II", "unit": "mV", "gain": 200, "missing": -32768}, {"label": "V5", "unit": "mV", "gain": 200}]
DESCRIPTOR = json.dumps({"channels": LEADS}).encode()
NAME = hashlib.sha256(DESCRIPTOR).digest()[:8]
ROWS = [[1, -2], [300, -400], [32767, -32768]]


def seal(body: bytes) -> bytes:
    return body + struct.pack("<I", google_crc32c.value(body))


def head(
    *, magic: bytes = b"SW", version: int = 1, kind: int = 1, flags: int = 8, recording: bytes = b"bed-0012",
    stream: bytes = b"", session: bytes = b"q3Zx81Aa", number: int = 1000, time_ns: int = 1_716_552_000_000_000_000,
    rate: tuple[int, int] = (250, 1), name: bytes = NAME,
) -> bytes:  # fmt: skip
    fixed = magic + struct.pack(
        "<BBBBBBQqII", version, kind, flags, len(recording), len(stream), len(session), number, time_ns, *rate
    )
    return fixed + name + recording + stream + session


def int16(rows: list[list[int]] = ROWS) -> bytes:
    return b"".join(struct.pack(f"<{len(row)}h", *row) for row in rows)


INLINE = struct.pack("<I", len(DESCRIPTOR)) + DESCRIPTOR
FIRST = seal(head(flags=12, number=0) + INLINE + int16())
EVENT_HEAD = {"kind": 2, "number": 7, "rate": (0, 1), "name": bytes(8)}
JSON = {
    "sanstream": 1, "kind": "samples", "recording": "bed-0012", "session": "s", "first_sample": 5, "rate": "62500/1001",
    "channels": LEADS, "samples": ROWS,
}  # fmt: skip
EXPECT = {
    "kind": "samples", "recording": "bed-0012", "stream": "250hz", "session": "q3Zx81Aa", "first_sample": 1000,
    "rate": "250", "device_ns": 1_716_552_000_000_000_000, "labels": ["II", "V5"], "samples": ROWS,
}  # fmt: skip
EXPECT_EVENT = {
    "kind": "event", "recording": "bed-0012", "session": "q3Zx81Aa", "number": 7,
    "time_ns": 1_716_552_000_000_000_000, "event": "alarm", "text": "Tachykardie über 120", "duration_ns": 5,
}  # fmt: skip


def described(rate: tuple[int, int], channels: list[dict[str, Any]], samples: bytes = b"\1\0") -> bytes:
    text = json.dumps({"channels": channels}).encode()
    name = hashlib.sha256(text).digest()[:8]
    return seal(head(flags=12, rate=rate, name=name) + struct.pack("<I", len(text)) + text + samples)


def cases() -> dict[str, dict[str, Any]]:
    """Return every vector: clause, before, message, expect or refused."""
    event_body = struct.pack("<Q", 5) + b"\5alarm" + "Tachykardie über 120".encode()
    floats = struct.pack("<6f", 0.25, -1.5, float("nan"), 3e5, 0, 1)
    wide = [[2**31 - 1, -(2**31)], [0, 1], [-1, 40000]]
    good: dict[str, tuple[str, bytes, list[bytes], dict[str, Any]]] = {
        "samples_int16": ("4.3", seal(head() + int16()), [FIRST], EXPECT),
        "samples_inline": ("4.1", FIRST, [], EXPECT | {"first_sample": 0}),
        "samples_int32": (
            "4.3", seal(head(flags=9) + b"".join(struct.pack("<2i", *r) for r in wide)), [FIRST],
            EXPECT | {"samples": wide},
        ),
        "samples_float32": (
            "4.4", seal(head(flags=10) + floats), [FIRST],
            EXPECT | {"samples": [[0.25, -1.5], [None, 3e5], [0.0, 1.0]]},
        ),
        "stream_named": (
            "3.3", seal(head(stream=b"leads", rate=(500, 2)) + int16()), [FIRST], EXPECT | {"stream": "leads"},
        ),
        "stream_of_a_fraction": (
            "3.3", seal(head(rate=(125000, 2002)) + int16()), [FIRST],
            EXPECT | {"stream": "62500_1001hz", "rate": "62500/1001"},
        ),
        "no_device_time": (
            "4.6", seal(head(flags=0, time_ns=0) + int16()), [FIRST], EXPECT | {"device_ns": None},
        ),
        "device_time_before_1970": ("4.6", seal(head(time_ns=-5) + int16()), [FIRST], EXPECT | {"device_ns": -5}),
        "descriptor_of_another_recording": (
            "5.4", seal(head(recording=b"bed-0013") + int16()), [FIRST], EXPECT | {"recording": "bed-0013"},
        ),
        "event": ("6.2", seal(head(**EVENT_HEAD) + event_body), [], EXPECT_EVENT),
        "json_samples": (
            "7.1", json.dumps(JSON).encode(), [],
            EXPECT | {"stream": "62500_1001hz", "rate": "62500/1001", "device_ns": None, "session": "s",
                      "first_sample": 5},
        ),
        "json_missing_and_text_integers": (
            "7.2",
            json.dumps(JSON | {"device_ns": "1716552000000000000", "samples": [[None, 1]], "rate": 250}).encode(), [],
            EXPECT | {"session": "s", "first_sample": 5, "samples": [[-32768, 1]]},
        ),
        "json_floats": (
            "7.1", json.dumps(JSON | {"numbers": "float", "rate": "62.5", "samples": [[0.5, None]]}).encode(), [],
            EXPECT | {"session": "s", "first_sample": 5, "rate": "125/2", "stream": "62.5hz", "device_ns": None,
                      "samples": [[0.5, None]]},
        ),
        "json_event": (
            "7.1",
            json.dumps({"sanstream": 1, **EXPECT_EVENT}).encode(), [], EXPECT_EVENT,
        ),
    }  # fmt: skip
    lead = {"label": "I"}
    bad: dict[str, tuple[str, bytes]] = {
        "magic": ("3", seal(head(magic=b"SX") + int16())),
        "version": ("9.1", seal(head(version=2) + int16())),
        "kind": ("9.1", seal(head(kind=3) + int16())),
        "flags_reserved": ("3", seal(head(flags=24) + int16())),
        "number_type_reserved": ("3", seal(head(flags=11) + int16())),
        "checksum": ("3.1", seal(head() + int16())[:-1] + b"\0"),
        "name_with_slash": ("3.2", seal(head(recording=b"a/b") + int16())),
        "name_reserved": ("3.2", seal(head(recording=b"banks") + int16())),
        "name_empty": ("3.2", seal(head(recording=b"") + int16())),
        "name_not_utf8": ("1.2", seal(head(session=b"\xff\xfe") + int16())),
        "session_empty": ("3", seal(head(session=b"") + int16())),
        "names_beyond_the_end": ("3", seal(head(name=NAME)[:44])),
        "rate_zero": ("4.5", seal(head(rate=(0, 1)) + int16())),
        "rate_over_zero": ("4.5", seal(head(rate=(250, 0)) + int16())),
        "rate_too_high": ("4.5", seal(head(rate=(1_000_001, 1)) + int16())),
        "rate_too_low": ("4.5", seal(head(rate=(1, 3601)) + int16())),
        "number_too_high": ("3", seal(head(number=1 << 60) + int16())),
        "time_too_far": ("3", seal(head(time_ns=-(1 << 62)) + int16())),
        "time_without_flag": ("3", seal(head(flags=0) + int16())),
        "no_samples": ("4.2", seal(head())),
        "part_of_a_sample": ("4.2", seal(head() + int16()[:-1])),
        "part_of_a_row": ("4.2", seal(head() + int16()[:-2])),
        "float_infinite": ("4.4", seal(head(flags=10) + struct.pack("<2f", float("inf"), 0))),
        "descriptor_too_long": ("4.1", seal(head(flags=12) + b"\xff\xff\xff\xff" + DESCRIPTOR)),
        "descriptor_other_name": ("5.2", seal(head(flags=12, name=b"12345678") + INLINE + int16())),
        "descriptor_not_json": (
            "5.1", seal(head(flags=12, name=hashlib.sha256(b"{").digest()[:8]) + b"\1\0\0\0{" + int16()),
        ),
        "descriptor_no_channels": ("5.1", described((250, 1), [])),
        "descriptor_unknown_key": ("5.1", described((250, 1), [lead | {"patient": "x"}])),
        "descriptor_no_label": ("5.1", described((250, 1), [{"unit": "mV"}])),
        "descriptor_gain_zero": ("5.1", described((250, 1), [lead | {"gain": 0}])),
        "descriptor_gain_not_finite": ("5.1", described((250, 1), [lead | {"gain": float("nan")}])),
        "descriptor_range": ("5.1", described((250, 1), [lead | {"digital_min": 2, "digital_max": 1}])),
        "descriptor_missing_too_wide": ("5.1", described((250, 1), [lead | {"missing": 2**31}])),
        "descriptor_label_with_newline": ("5.1", described((250, 1), [lead | {"label": "a\nb"}])),
        "descriptor_lattice": ("5.1", described((250, 1), [lead | {"lattice": {"kind": "decimal"}}])),
        "event_with_stream": ("6.1", seal(head(**EVENT_HEAD, stream=b"s") + event_body)),
        "event_with_rate": ("6.1", seal(head(**(EVENT_HEAD | {"rate": (250, 1)})) + event_body)),
        "event_kind_beyond_the_end": ("6.2", seal(head(**EVENT_HEAD) + bytes(8) + b"\6alarm")),
        "event_duration": ("6.2", seal(head(**EVENT_HEAD) + b"\xff" * 8 + b"\0")),
        "json_not_json": ("7.1", b'{"sanstream": 1'),
        "json_deep": ("7.1", b'{"sanstream":' + b"[" * 5000 + b"]" * 5000 + b"}"),
        "json_unknown_key": ("7.2", json.dumps(JSON | {"patient": "x"}).encode()),
        "json_no_session": ("7.1", json.dumps({k: v for k, v in JSON.items() if k != "session"}).encode()),
        "json_rate_too_low": ("4.5", json.dumps(JSON | {"rate": "1/40000"}).encode()),
        "json_version": ("9.1", json.dumps(JSON | {"sanstream": 2}).encode()),
        "json_rows_of_other_lengths": ("7.1", json.dumps(JSON | {"samples": [[1, 2], [3]]}).encode()),
        "json_sample_too_wide": ("7.1", json.dumps(JSON | {"samples": [[1, 2**31]]}).encode()),
        "json_sample_not_whole": ("7.1", json.dumps(JSON | {"samples": [[1, 1.5]]}).encode()),
        "json_null_without_missing": ("7.1", json.dumps(JSON | {"samples": [[1, None]]}).encode()),
        "json_rate": ("7.1", json.dumps(JSON | {"rate": "1e300000000"}).encode()),
        "json_half_a_character": ("1.2", json.dumps(JSON | {"session": "\ud800"}).encode()),
    }  # fmt: skip
    out: dict[str, dict[str, Any]] = {}
    for name, (clause, message, before, expect) in good.items():
        out[name] = {
            "clause": clause, "before": [b.hex() for b in before], "message": message.hex(), "expect": expect,
        }  # fmt: skip
    for name, (clause, message) in bad.items():
        before = [] if name.startswith("descriptor") else [FIRST.hex()]
        out[f"refused_{name}"] = {"clause": clause, "before": before, "message": message.hex(), "refused": True}
    return out


def write() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, case in cases().items():
        (FOLDER / f"{name}.json").write_text(json.dumps(case, ensure_ascii=True) + "\n", encoding="ascii")


if __name__ == "__main__":
    write()
