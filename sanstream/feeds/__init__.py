"""Live feeds, one file per transport, found by the scheme of their URL (entry points ``sanstream.feeds``)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from sanstream.chunk import Delivery
from sanstream.errors import InputError

Put = Callable[[Delivery], None]
"""Takes a message; blocks while the queue is full, unless the feed cannot wait. Raises :class:`Stopped` once the
daemon stops."""


class Stopped(Exception):
    """The daemon stops: the feed's ``run`` should return. No error."""


class DescriptorStore(Protocol):
    """Where daemons that share a source keep the channel descriptors that its messages name."""

    def keep(self, descriptor: bytes) -> None:
        """Make a descriptor durable. Raises OSError when that cannot be done now."""

    def find(self, digest: bytes) -> bytes | None:
        """Return a descriptor by its name; None when it is not there, or cannot be read now."""


@dataclass(frozen=True)
class FeedOptions:
    """What the configuration says of one feed.

    Parameters
    ----------
    name : str
    url : str
    password, user : str
        Secrets, already taken from the environment; empty when there are none.
    streams : str
        Topic, subject or name pattern; empty for the transport's own default.
    resolution : str
        For feeds of floats: ``"auto"``, ``"exact"``, or a number with unit such as ``"0.5uV"``.
    identity : mapping of str to str
        ``[identity] map``: what the source calls itself to the recording's name.
    options : mapping
        Everything else in the feed's table, checked by the feed against its own ``OPTIONS``.
    state_dir : Path or None
        Folder, made when needed, for what the feed must know again after a restart; None for nowhere.
    descriptors : DescriptorStore, optional
        Where other daemons take messages of the same source.
    held_s : int
        Seconds for which a message may be unacknowledged in the usual course, until the archive has it; 0 where the
        journal is enough.
    """

    name: str
    url: str
    user: str = ""
    password: str = field(default="", repr=False)
    streams: str = ""
    resolution: str = "auto"
    identity: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    state_dir: Path | None = None
    descriptors: DescriptorStore | None = None
    held_s: int = 0


@dataclass
class FeedState:
    """What a feed says of itself; written by its thread, read by status and metrics.

    Parameters
    ----------
    connected : bool
    error : str
        Why it is not connected; no URL, name or secret in it.
    n_connects : int
    n_warnings : dict of str to int
        Counted oddities, by a short fixed word (``"float_exact"``, ``"clock"``).
    partitions : int or None
        Shares of the source that this daemon has, of those that it divides with others; None where it does not.
    """

    connected: bool = False
    error: str = ""
    n_connects: int = 0
    n_warnings: dict[str, int] = field(default_factory=dict)
    partitions: int | None = None


class Feed(Protocol):
    """One transport. Built from :class:`FeedOptions`; ``run`` is called once, in a thread of its own.

    Attributes
    ----------
    OPTIONS : mapping of str to (type, default, str)
        Keys of its configuration table beyond :class:`FeedOptions`' own: type, default, one line of help with unit.
    can_wait : bool
        Whether the source keeps what is not taken (a broker, a file). If not, the oldest message is dropped when
        the queue is full, and the gap is recorded.
    replays : bool
        Whether a message that was not acknowledged comes again.
    state : FeedState
    """

    OPTIONS: Mapping[str, tuple[type, Any, str]]
    can_wait: bool
    replays: bool
    state: FeedState

    def run(self, put: Put, stop: threading.Event) -> None:
        """Deliver until ``stop`` is set or the source has ended; reconnect with growing pauses meanwhile."""

    def check(self) -> list[str]:
        """Connect once and say what was found and which broker limits will be set, one line each.

        Raises
        ------
        InputError
            When it cannot connect or may not subscribe.
        """


def schemes() -> list[str]:
    """Return the schemes of all feeds that are installed."""
    return sorted(e.name for e in entry_points(group="sanstream.feeds"))


def feed_class(url: str) -> Any:
    """Return the class of the feed for a URL.

    Raises
    ------
    InputError
        When no feed has its scheme, or the library that it needs is not installed.
    """
    scheme = urlsplit(url).scheme or "file"
    found = [e for e in entry_points(group="sanstream.feeds") if e.name == scheme.removesuffix("s") or e.name == scheme]
    if not found:
        near = get_close_matches(scheme, schemes(), 1)
        raise InputError(
            f"no feed has the scheme {scheme!r}",
            hint=f"did you mean {near[0]}:? All: {', '.join(schemes())}"
            if near
            else f"use one of {', '.join(schemes())}",
        )
    try:
        return found[0].load()
    except ModuleNotFoundError as error:
        raise InputError(
            f"feed {scheme!r} needs the package {(error.name or scheme).partition('.')[0]}",
            hint="pip install 'sanstream[live]'",
        ) from None


def make_feed(options: FeedOptions) -> Feed:
    """Build the feed for its URL, its options checked.

    Raises
    ------
    InputError
        On an unknown scheme, an unknown option, or one of the wrong type.
    """
    made = feed_class(options.url)
    for key, value in options.options.items():
        if key not in made.OPTIONS:
            near = get_close_matches(key, made.OPTIONS, 1)
            raise InputError(
                f"feed {options.name!r}: unknown key {key!r}",
                hint=f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(made.OPTIONS) or 'none'}",
            )
        kind = made.OPTIONS[key][0]
        fits = isinstance(value, (int, float) if kind is float else kind)
        if not fits or (isinstance(value, bool) and kind is not bool):
            raise InputError(f"feed {options.name!r}: {key} = {value!r}, expected {kind.__name__}")
    feed: Feed = made(options)
    return feed
