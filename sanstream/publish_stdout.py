"""Publisher ``-``: messages of WIRE.md on standard output, each after its length, for ``stdin:?format=wire``."""

from __future__ import annotations

import struct
import sys
from typing import BinaryIO

from sanstream.chunk import Chunk, Event
from sanstream.errors import InputError
from sanstream.publish_wire import Outbox, PublishOptions


class StdoutPublisher:
    """Messages on standard output, each after its length (uint32, little-endian).

    Parameters
    ----------
    options : PublishOptions
    out : binary file, optional
        In place of standard output.
    """

    def __init__(self, options: PublishOptions, *, out: BinaryIO | None = None) -> None:
        self.outbox = Outbox(options)
        self._out = out if out is not None else sys.stdout.buffer

    def open(self) -> None:
        """Refuse a terminal."""
        if self._out.isatty():
            raise InputError(
                "messages are binary, and standard output is a terminal",
                hint="pipe them: sanstream publish REC --to - | sanstream ingest 'stdin:?format=wire' --to DIR",
            )

    def send_chunk(self, chunk: Chunk) -> None:
        """Write a chunk; block while the pipe is full."""
        self._write(self.outbox.chunk(chunk))

    def send_event(self, event: Event) -> None:
        """Write an event."""
        self._write(self.outbox.event(event))

    def _write(self, number: int) -> None:
        letter = self.outbox.letter(number)
        assert letter is not None
        try:
            self._out.write(struct.pack("<I", len(letter.message)) + letter.message)
            self._out.flush()  # a reader waits for whole messages, at the signal's own pace
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "closed"
            raise InputError(f"standard output cannot be written ({reason})", hint="look at the reader") from None
        self.outbox.confirm(number)

    def flush(self) -> None:
        """Do nothing: every message is written at once."""

    def close(self) -> None:
        """Leave standard output open; it is not ours."""
