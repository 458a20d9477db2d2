"""JSON whose first key is its own checksum: manifests, catalogs and places (FORMAT.md 12.1)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sanstream.errors import CorruptError, UnsupportedError

FORMAT_VERSION = 1
_HEAD = b'{"sha256":"'


def compact_json(values: Mapping[str, Any]) -> bytes:
    """Write JSON without spaces."""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def seal_json(values: Mapping[str, Any]) -> bytes:
    """Write JSON whose first key is the SHA-256 of what it would be without that key."""
    body = compact_json(values)
    return _HEAD + hashlib.sha256(body).hexdigest().encode() + b'",' + body[1:]


def open_json(data: bytes, where: str) -> dict[str, Any]:
    """Read :func:`seal_json` output.

    Raises
    ------
    UnsupportedError
        When a newer sanstream wrote it.
    CorruptError
        When a byte has changed.
    """
    try:
        values = json.loads(data)
        version = values.get("format_version")
    except (ValueError, AttributeError, RecursionError) as error:
        raise CorruptError(f"{where}: not JSON ({error})") from error
    wrong = _seal_error(data)
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise UnsupportedError(
            f"{where}: written in format version {version}, this sanstream reads up to {FORMAT_VERSION}"
            + (f" (or changed since: {wrong})" if wrong else ""),
            hint="install a newer sanstream",
        )
    if wrong:
        raise CorruptError(f"{where}: {wrong}")
    if not isinstance(version, int) or version < 0:
        raise CorruptError(f"{where}: format version {version!r}")
    return dict(values)


def is_sealed(data: bytes) -> bool:
    """Tell whether JSON is as :func:`seal_json` wrote it, in whatever version."""
    return not _seal_error(data)


def _seal_error(data: bytes) -> str:
    end = len(_HEAD) + 64
    if data[: len(_HEAD)] != _HEAD or data[end : end + 2] != b'",':
        return "does not begin with its checksum"
    right = hashlib.sha256(b"{" + data[end + 2 :]).hexdigest().encode() == data[len(_HEAD) : end]
    return "" if right else "checksum differs"
