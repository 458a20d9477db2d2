"""What a feed's URL and its configuration table say together, and what the sources that it finds are called."""

from __future__ import annotations

import math
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from sanstream.chunk import check_name, safe_name
from sanstream.errors import InputError
from sanstream.feeds import FeedOptions

Table = Mapping[str, tuple[type, Any, str]]
_TRUE = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def settings_of(options: FeedOptions, table: Table) -> dict[str, Any]:
    """Return every key of a feed's table: from its configuration, else from its URL's query, else the default.

    Parameters
    ----------
    options : FeedOptions
    table : mapping of str to (type, default, help)
        The feed's ``OPTIONS``.

    Raises
    ------
    InputError
        On a key that the feed does not know or that stands twice, or a value of the wrong type.
    """
    out = {key: default for key, (_, default, _) in table.items()}
    seen: set[str] = set()
    for key, text in parse_qsl(query_of(options.url), keep_blank_values=True, max_num_fields=64):
        if key not in table:
            near = get_close_matches(key, table, 1)
            raise InputError(
                f"feed {options.name!r}: unknown key {key!r:.40} in its URL",
                hint=f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(table) or 'none'}",
            )
        if key in seen:
            raise InputError(f"feed {options.name!r}: {key} stands twice in its URL", hint=f"write {key}=... once")
        seen.add(key)
        out[key] = _typed(options.name, key, text, table[key][0])
    out |= options.options
    for key, value in out.items():
        if table[key][0] is float:
            out[key] = float(value)
            if not math.isfinite(out[key]):
                raise InputError(f"feed {options.name!r}: {key} = {value}", hint="write a finite number")
    return out


def query_of(url: str) -> str:
    """Return what stands after the question mark of a URL, also of ``stdin:?rate=250``."""
    return urlsplit(url).query


def _typed(feed: str, key: str, text: str, kind: type) -> Any:
    try:
        return _TRUE[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        raise InputError(
            f"feed {feed!r}: {key} = {text!r:.40} in its URL, expected {kind.__name__}", hint=f"write {key}=..."
        ) from None


def named_recording(options: FeedOptions, name: str) -> str:
    """Name the recording of a source whose name is a feed's option: what the operator wrote is never changed.

    Raises
    ------
    InputError
        When the name cannot be a folder's.
    """
    if name in options.identity:
        return recording_of(options, name)
    try:
        return check_name("recording", name)
    except InputError as error:
        raise InputError(f"feed {options.name!r}: name: {error.message}", hint=error.hint) from None


def recording_of(options: FeedOptions, source: str) -> str:
    """Name the recording of a source: through ``[identity] map`` when it is there, else its own name made safe.

    Raises
    ------
    InputError
        When the map gives a name that cannot be a folder's.
    """
    mapped = options.identity.get(source)
    return safe_name(source) if mapped is None else check_name("recording", mapped)
