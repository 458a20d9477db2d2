"""One tree of errors: every message says what failed, where, what was found, what is allowed and what to do."""

from __future__ import annotations


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
