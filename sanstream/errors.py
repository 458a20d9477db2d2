"""One tree of errors: every message says what failed, where, what was found, what is allowed and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path


class SanstreamError(Exception):
    """Anything that sanstream reports to a caller.

    Parameters
    ----------
    message : str
        What failed and on which object, with what was found and what is allowed.
    hint : str, optional
        What to do next; printed after the message.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message if hint is None else f"{message}; {hint}")
        self.message = message
        self.hint = hint


class InputError(SanstreamError):
    """The caller's request, file or option cannot be used as it stands (exit code 2)."""


class UnsupportedError(InputError):
    """Sound input that this version, or this target format, cannot hold (exit code 2)."""


class CorruptError(SanstreamError):
    """Stored bytes contradict FORMAT.md or their checksum (exit code 1)."""


class BankError(SanstreamError):
    """A bank that an archive needs is missing or is not what its hash says (exit code 2)."""


class BoundError(SanstreamError):
    """A decoded window is worse than the quality it was stored under (exit code 1)."""


class JobError(SanstreamError):
    """Some jobs of a re-encoding could not be done; their archive was not made (exit code 1)."""


class RestoreError(SanstreamError):
    """Some recordings could not be written; all others were (exit code 1).

    Parameters
    ----------
    failures : mapping of str to SanstreamError
        Recordings that left no file, and why.
    written : sequence of Path
        Files of the others.
    """

    def __init__(self, failures: Mapping[str, SanstreamError], written: Sequence[Path]) -> None:
        why = "; ".join(f"{name}: {error}" for name, error in failures.items())
        super().__init__(f"{len(failures)} recordings were not restored: {why}")
        self.failures = dict(failures)
        self.written = list(written)
