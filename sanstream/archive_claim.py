"""Who writes at a place of an object store: an object made only where none is, renewed while its writer lives."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from sanstream.archive_objects import PARTIAL
from sanstream.archive_sealed import compact_json
from sanstream.archive_store import RemoteObjects, Taken
from sanstream.errors import CorruptError, InputError

CLAIM = f"{PARTIAL}writer.json"
STALE_S = 3600.0
"""A claim that was not renewed for so long is anybody's."""
RENEWED_S = 15.0
SAME_S = 45.0
"""A claim of the same work that is not renewed while it is watched for so long was left by one that was killed."""


class Busy(InputError):
    """Another process is writing there (exit code 2)."""


class Claim:
    """Who writes to an archive of an object store.

    Parameters
    ----------
    objects : RemoteObjects
    clock : callable
        Returns seconds since 1970.
    writer : str, optional
        Name of the work: whoever does the same goes on at once after one that was killed, and not beside one that
        lives. Default: drawn.
    pause : callable
        Waits for some seconds.
    """

    def __init__(
        self,
        objects: RemoteObjects,
        clock: Callable[[], float] = time.time,
        writer: str | None = None,
        *,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._objects, self._clock, self._pause = objects, clock, pause
        self._run = secrets.token_hex(8)
        self._own = writer or self._run
        self._version: Mapping[str, Any] | None = None
        self._renewed = 0.0
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Claim the place; tells whether a writer that is no more had left its claim.

        Raises
        ------
        InputError
            When another writer has it.
        """
        try:
            self._note(self._objects.make(CLAIM, self._data()))
        except Taken:
            self._note(self._take_over())
            return True
        return False

    def renew(self, *, sure: bool = False) -> None:
        """Say that the writer still lives, every few seconds; ``sure`` says it now.

        Raises
        ------
        InputError
            When another has taken the claim over.
        """
        with self._lock:
            if self._version is None:
                raise self._busy()
            if not sure and self._clock() - self._renewed < RENEWED_S:
                return
            try:
                self._note(self._objects.swap(CLAIM, self._data(), self._version))
            except Taken:
                self._version = None
                raise self._busy() from None

    def release(self) -> None:
        """Let others write."""
        with self._lock:
            if self._version is None:
                return
            self._version = None
            with suppress(InputError):
                self._objects.remove([CLAIM])

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Take the claim, renew it from a thread of its own, and release it.

        Raises
        ------
        InputError
            When another writer has it.
        """
        self.take()
        ended = threading.Event()

        def keep() -> None:
            while not ended.wait(RENEWED_S):
                # one that was lost is told by the next renewal that somebody waits for; a store that is away comes back
                with suppress(InputError):
                    self.renew()

        thread = threading.Thread(target=keep, name="claim", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self.release()

    def _take_over(self) -> Mapping[str, Any]:
        data, version, age_s, same = self._seen()
        if same and age_s < SAME_S:
            data, version, age_s = self._watched(data, version, age_s)
        elif not same and age_s < STALE_S:
            raise self._busy(age_s)
        try:
            return self._objects.swap(CLAIM, self._data(), version)
        except Taken:
            raise self._busy() from None

    def _watched(self, data: bytes, version: Mapping[str, Any], age_s: float) -> tuple[bytes, Mapping[str, Any], float]:
        """Wait until a claim of the same work is too old to be that of one that lives."""
        waited = 0.0
        while waited < SAME_S:
            self._pause(1.0)
            waited += 1.0
            found, version, age_s, _ = self._seen()
            if found != data:
                raise self._busy(age_s)
        return data, version, age_s

    def _seen(self) -> tuple[bytes, Mapping[str, Any], float, bool]:
        """Return the claim that stands there, its version, its age, and whether it is of the same work."""
        try:
            data, version = self._objects.read_version(CLAIM)
        except CorruptError:
            raise self._busy() from None
        try:
            held = json.loads(data)
            return data, version, self._clock() - float(held["renewed_s"]), held.get("writer") == self._own
        except (ValueError, KeyError, TypeError, AttributeError):
            return data, version, STALE_S, False

    def _note(self, version: Mapping[str, Any]) -> None:
        self._version = version
        self._renewed = self._clock()

    def _data(self) -> bytes:
        return compact_json({"writer": self._own, "run": self._run, "renewed_s": self._clock()})

    def _busy(self, age_s: float | None = None) -> Busy:
        seen = "" if age_s is None else f", seen {age_s:.0f} s ago"
        return Busy(
            f"{self._objects}: another process is writing to it{seen}",
            hint=f"try again when it is done; one that was killed is passed over {STALE_S / 60:.0f} minutes later",
        )
