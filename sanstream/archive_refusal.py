"""Why an object store refused, in a few words, and what to look at."""

from __future__ import annotations

import re

_UNREACHED = "the store cannot be reached"
_PANIC = "the store's client cannot make a request of the address and the environment"
_UNKNOWN = "the store does not know these credentials"
_DENIED = "the store does not allow it to these credentials"
_RIGHTS = "check the credentials, of S3 AWS_ACCESS_KEY_ID, and their rights in this bucket"
_HINTS = {
    _UNREACHED: "check the network, and for a store that is not Amazon's AWS_ENDPOINT_URL",
    _UNKNOWN: _RIGHTS,
    _DENIED: _RIGHTS,
    "the store answered 403": _RIGHTS,
    _PANIC: "check the address, and of S3 AWS_REGION and AWS_ENDPOINT_URL",
}


def lacks_bucket(error: BaseException) -> bool:
    """Tell whether a store says that there is no such bucket; obstore takes that for a missing object."""
    return any(f"<Code>{code}</Code>" in f"{error}" for code in ("NoSuchBucket", "ContainerNotFound"))


def is_panic(error: BaseException) -> bool:
    """Tell whether a store's client, which is not written in Python, came to its wits' end."""
    return type(error).__name__ == "PanicException"


def reason(error: BaseException) -> str:
    """Say shortly why a store refused, without the addresses and answers that its message quotes."""
    from obstore import exceptions

    text = f"{error}"
    if is_panic(error):
        return _PANIC
    kinds = {
        exceptions.UnauthenticatedError: _UNKNOWN,
        exceptions.PermissionDeniedError: _DENIED,
    }
    for kind, said in kinds.items():
        if isinstance(error, kind):
            return said
    status = re.search(r"status(?: code)?:? (\d{3}[^,:\n]{0,40})|Server returned non-2xx status code: (\d{3})", text)
    if status:
        return f"the store answered {next(g for g in status.groups() if g)}".strip()
    for word, said in (
        ("timed out", "the store does not answer in time"),
        ("Missing", "credentials are missing in the environment"),
        ("must be specified", "its account is missing in the environment"),
        ("credential", "no credentials in the environment"),
        ("error sending request", _UNREACHED),
        ("out of range", "it is shorter than expected"),
        ("nvalid range", "it is shorter than expected"),
    ):
        if word in text:
            return said
    return type(error).__name__


def hint_for(why: str) -> str | None:
    """Return what to look at for a reason of :func:`reason`; None where it says so itself."""
    return next((hint for said, hint in _HINTS.items() if said in why), None)
