"""Whose recording an HL7 message goes to: beds that send at once are kept apart; no patient is ever written down."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator

from sanstream.chunk import check_name
from sanstream.errors import InputError
from sanstream.feeds import FeedOptions
from sanstream.feeds.address import recording_of
from sanstream.feeds.hl7_waves import Observed

HANDOVER_S = 10.0
"""So long the patient before must have been silent until a device is another's."""
_MOST = 20000
_Owner = tuple[bytes, bytes, float]


class Owners:
    """Names recordings, and refuses a patient who sends under another one's device; used by one thread.

    What is kept of a patient and a place is a hash whose key is drawn for each run and never leaves memory.

    Parameters
    ----------
    options : FeedOptions
    warn : callable
        Counts a word.
    clock : callable
        Seconds, monotonic.
    """

    def __init__(
        self, options: FeedOptions, warn: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._options, self._warn, self._clock = options, warn, clock
        self._key = secrets.token_bytes(32)
        self._owners: OrderedDict[str, _Owner] = OrderedDict()

    def recording(self, told: Observed) -> str:
        """Return the recording that a message belongs to.

        Raises
        ------
        InputError
            When nothing names its bed, or another patient's signal came from the same device just now.
        """
        names = self._options.identity
        mapped = next((names[key] for key in keys_of(told) if key and key in names), None)
        if mapped is None and not told.device:
            self._warn("no_device")
            raise InputError(
                "message names no device (OBX-18, PRT-10), and [identity] map has no key for its patient or place",
                hint="send OBX-18, or map PID-3, PV1-3 or, of a sender that is one bed, MSH-3",
            )
        recording = recording_of(self._options, told.device) if mapped is None else check_name("recording", mapped)
        self._claim(recording, told)
        return recording

    def _claim(self, recording: str, told: Observed) -> None:
        now, patient, place = self._clock(), self._hashed(told.patient), self._hashed(told.place)
        before = self._owners.get(recording)
        if before is not None and _differ(before, patient, place) and now - before[2] < HANDOVER_S:
            self._warn("other_patient")
            raise InputError(
                "message of another patient or place than the one before it of the same device",
                hint="a gateway of several beds must send OBX-18 for each, or [identity] map must tell them apart",
            )
        if before is not None and not _differ(before, patient, place):
            patient, place = patient or before[0], place or before[1]
        self._owners[recording] = patient, place, now
        self._owners.move_to_end(recording)
        if len(self._owners) > _MOST:
            self._owners.popitem(last=False)

    def _hashed(self, text: str) -> bytes:
        return hashlib.blake2b(text.encode(), key=self._key, digest_size=16).digest() if text else b""


def _differ(before: _Owner, patient: bytes, place: bytes) -> bool:
    """Compare patients; places where one of the two names no patient."""
    if before[0] and patient:
        return before[0] != patient
    return bool(before[1] and place and before[1] != place)


def keys_of(told: Observed) -> Iterator[str]:
    """Yield what ``[identity] map`` may call a message's bed, the surest first."""
    for text in told.patient.split("~"):
        yield from (text, text.split("^")[0])
    yield from (told.place, "^".join(told.place.split("~")[0].split("^")[:3]))
    yield from (told.device, told.sender)
