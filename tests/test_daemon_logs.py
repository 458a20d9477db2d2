"""Log lines: one each, private, rare; and no message in the sources that could say more."""

from __future__ import annotations

import ast
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_cases import Ward

import sanstream
from sanstream.daemon.logs import EVERY_S, FIELDS, Lines, Rarely, set_up_logs
from sanstream.daemon.tell import Teller

ROOT = Path(sanstream.__file__).parent
LOG = logging.getLogger("sanstream.test")


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    yield from _set_up(as_json=False)


@pytest.fixture
def json_lines() -> Iterator[io.StringIO]:
    yield from _set_up(as_json=True)


def _set_up(*, as_json: bool) -> Iterator[io.StringIO]:
    root, own = logging.getLogger(), logging.getLogger("sanstream")
    before = root.level, own.level
    stream = io.StringIO()
    handler = set_up_logs(as_json=as_json, stream=stream)
    yield stream
    root.removeHandler(handler)
    root.setLevel(before[0])
    own.setLevel(before[1])


def test_a_line_is_one_line_whatever_stands_in_it(lines: io.StringIO) -> None:
    LOG.info("a\nb\x1b[31m%s", "c\r\nd", extra={"feed": "icu-a", "count": 3})
    (line,) = lines.getvalue().splitlines()
    assert line.endswith("info a b?[31mc d feed=icu-a count=3")


def test_json_lines_hold_the_same_and_only_known_fields(json_lines: io.StringIO) -> None:
    LOG.warning("queue is full", extra={"feed": "icu-a", "stream": "bed-7"})
    found = json.loads(json_lines.getvalue())
    assert found.pop("time").endswith("Z")
    assert found == {"level": "warning", "message": "queue is full", "feed": "icu-a"}


def test_a_feed_is_said_to_be_down_only_when_it_stays_so(lines: io.StringIO, tmp_path: Path) -> None:
    ward, teller = Ward(tmp_path), Teller()
    state = ward.engine.feeds["bed"].state

    def told(*, connected: bool, after_s: float) -> list[str]:
        lines.truncate(0)
        state.connected = connected
        ward.clock.pass_s(after_s)
        teller.look(ward.engine)
        return [line.split("Z ")[1].split(";")[0] for line in lines.getvalue().strip("\0").splitlines()]

    try:
        assert told(connected=False, after_s=0) == told(connected=False, after_s=9) == []
        assert told(connected=True, after_s=0.5) == ["info feed connected feed=bed"]
        assert told(connected=False, after_s=60) == []
        assert told(connected=False, after_s=10) == ["warning feed not connected"]
        assert told(connected=False, after_s=60) == []
        assert told(connected=True, after_s=1) == ["info feed connected feed=bed"]
        assert told(connected=True, after_s=60) == []
    finally:
        ward.engine.close()


def test_urls_and_other_libraries_words_are_not_logged(lines: io.StringIO) -> None:
    LOG.error("cannot reach mqtt://me@broker/ward7/doe now")
    logging.getLogger("nats.aio").error("subject icu.a.doe")
    text = lines.getvalue()
    assert "doe" not in text
    assert "cannot reach (URL) now" in text
    assert "a message of nats" in text


def test_an_exception_is_its_type_and_place(lines: io.StringIO) -> None:
    try:
        raise ValueError("bed-7 of Doe")
    except ValueError:
        LOG.exception("a feed ended")
    (line,) = lines.getvalue().splitlines()
    assert "a feed ended (ValueError at test_daemon_logs.py:" in line
    assert "Doe" not in line


def test_a_repeated_warning_is_counted_not_written() -> None:
    now = [0.0]
    rarely, form = Rarely(lambda: now[0]), Lines(as_json=False)
    written = []
    for second in range(130):
        now[0] = float(second)
        for feed in ("a", "b"):
            record = logging.LogRecord("sanstream", logging.WARNING, "x.py", 7, "dropped %s", (second,), None)
            record.feed = feed
            if rarely.filter(record):
                written.append(form.format(record).partition("warning ")[2])
    held = int(EVERY_S) - 1
    more = f"({held} more like it)"
    assert written == [
        *("dropped 0 feed=a", "dropped 0 feed=b"),
        *(f"dropped 60 {more} feed=a", f"dropped 60 {more} feed=b"),
        *(f"dropped 120 {more} feed=a", f"dropped 120 {more} feed=b"),
    ]


def test_repeats_are_remembered_within_bounds() -> None:
    rarely = Rarely(lambda: 0.0)
    for line in range(5000):
        assert rarely.filter(logging.LogRecord("sanstream", logging.WARNING, "x.py", line, "x", (), None))
    assert len(rarely._seen) <= 1024


LEVELS = ("debug", "info", "warning", "error", "critical", "exception")
WORDS_ALLOWED = ("name", "scheme", "kind", "cause", "outcome", "mode", "version", "__name__")
SAFE = ("error.reason",)
"""What the operating system says of a failed fsync."""
NUMBERS_ALLOWED = ("count", "number", "seconds", "bytes", "errno", "port", "pid", "size", "n_", "_s", "_ns")


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Yield every logging call of the package."""
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                not isinstance(node, ast.Call)
                or not isinstance(node.func, ast.Attribute)
                or node.func.attr not in LEVELS
            ):
                continue
            owner = node.func.value
            name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
            if name.lower().strip("_") in ("log", "logger", "logging"):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def test_no_message_of_the_package_is_put_together_from_what_a_feed_sent() -> None:
    """A message is fixed text; beside it stand only the fields that logs allow, or words and numbers named so."""
    bad = []
    for place, call in calls():
        first = call.args[0] if call.args else None
        if not (isinstance(first, ast.Constant) and isinstance(first.value, str) and "://" not in first.value):
            bad.append(f"{place}: the message is not one fixed text")
        for argument in call.args[1:]:
            word = argument.id if isinstance(argument, ast.Name) else getattr(argument, "attr", "")
            if ast.unparse(argument).startswith("len(") or ast.unparse(argument) in SAFE:
                continue
            if word not in WORDS_ALLOWED and not any(w in word for w in NUMBERS_ALLOWED):
                bad.append(f"{place}: {ast.unparse(argument)} may name somebody")
        for keyword in call.keywords:
            if keyword.arg == "extra" and isinstance(keyword.value, ast.Dict):
                keys = {k.value for k in keyword.value.keys if isinstance(k, ast.Constant)}
                bad += [f"{place}: field {k} is none of {FIELDS}" for k in keys - set(FIELDS)]
    assert bad == []
