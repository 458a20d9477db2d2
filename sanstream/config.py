"""What a daemon is told: one frozen dataclass per table of ``ingest.toml``; every key with its default and help."""

# ruff: noqa: RUF009  a key's description is made once, like the field that holds it
from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any

from sanstream.config_values import (
    FLAG,
    FOREVER,
    MAPPING,
    PATH,
    TEXT,
    UNLIMITED,
    VARIABLE,
    WORDS,
    Kind,
    choice,
    count,
    duration,
    share,
    size,
)
from sanstream.errors import InputError
from sanstream.feeds import FeedOptions

GIB = 1 << 30
LOCAL, REMOTE = "local", "remote"
"""What must be durable before a message is acknowledged: the state folder, or the archive."""
SLACK_S = 60
"""With :data:`REMOTE`, how much longer than a shard lasts a message may be unacknowledged: the encoder's time, and the
store's. Segments that something is held longer for are ended."""
LISTEN = "127.0.0.1:9464"
"""Where the daemon answers when nothing else is said."""


def _key(kind: Kind, text: str, default: Any = MISSING, *, name: str = "", shown: str = "") -> Any:
    """Describe one key; ``shown`` is what the reference says of a default that depends on other keys."""
    metadata = {"kind": kind, "help": text, "key": name, "shown": shown}
    return field(default=default, metadata=metadata) if default is not MISSING else field(metadata=metadata)


@dataclass(frozen=True)
class ArchiveSettings:
    """``[archive]``: where samples end up, and for how long."""

    url: str = _key(
        TEXT,
        "Folder of the archive, made when it is not there, or `s3://`, `gs://`, `az://`; these need a `state_dir`.",
    )
    state_dir: Path = _key(
        PATH,
        "Folder for journal, ledger and reservoir, on a local disk and outside the archive; mode 0700.",
        shown="the archive's folder with `.state` appended",
    )
    keep_s: float | None = _key(
        duration("1h", "36500d", absent=FOREVER),
        "Whole segments older than this are deleted; the open day stays.",
        None,
        name="keep",
    )
    max_bytes: int | None = _key(
        size("1MiB", "1048576TiB", absent=UNLIMITED),
        "The oldest whole segments go while the archive is larger; the open day may exceed it.",
        None,
    )
    keep_by: str = _key(
        choice("commit", "signal"),
        "What a segment's age counts from: when it was stored, or its samples' time.",
        "commit",
    )
    shared: bool = _key(
        FLAG, "Other daemons archive the same recordings here, also the same streams one after another.", False
    )
    durability: str = _key(
        choice(LOCAL, REMOTE),
        "When a message is acknowledged: once the state folder's journal has it, or once the archive has its samples,"
        " for a machine whose disk may be lost; `remote` includes `shared`.",
        LOCAL,
    )
    seal_s: float = _key(
        duration("1m", "1h"),
        "With `remote`, signal that is brought to the archive at a time: less, and messages wait less for their"
        " acknowledgement; more, and there are fewer objects and shorter manifests.",
        60.0,
        name="seal",
    )
    effort: str = _key(choice("fast", "default"), "Work that is spent on each block.", "default")
    container: str = _key(choice("zarr"), "What the archive is.", "zarr")

    def __post_init__(self) -> None:
        if self.until_archived:  # a new state folder must find where the lost one had placed its sessions
            object.__setattr__(self, "shared", True)

    @property
    def until_archived(self) -> bool:
        """Whether messages are acknowledged only once the archive has them."""
        return self.durability == REMOTE

    @property
    def held_s(self) -> int:
        """Seconds for which a message may be unacknowledged in the usual course; 0 where the journal is enough."""
        return round(self.seal_s) + SLACK_S if self.until_archived else 0


@dataclass(frozen=True)
class FeedSettings:
    """``[[feed]]``: one source; keys that are not here are the feed's own and checked by it."""

    name: str = _key(TEXT, "Name in metrics and logs; no two feeds share one.", shown="the URL's scheme")
    url: str = _key(TEXT, "Where the samples come from; the scheme chooses the feed. Holds no password.")
    user: str = _key(TEXT, "User name at the broker.", "")
    password_env: str = _key(VARIABLE, "Environment variable that holds the password or token.", "")
    streams: str = _key(TEXT, "Topic, subject or name pattern; empty for the feed's own default.", "")
    resolution: str = _key(
        TEXT, 'Digital step of feeds that send floats: "auto", "exact", or a number with unit such as "0.5uV".', "auto"
    )
    reorder_s: float = _key(
        duration("0s", "10m"),
        "How long late samples are waited for before they become a late segment.",
        5.0,
        name="reorder",
    )
    identity: Mapping[str, str] = field(
        default_factory=dict,
        metadata={
            "kind": MAPPING,
            "help": "What this source calls itself to the recording's name; before `[identity] map`.",
            "key": "",
            "shown": "{}",
        },
    )
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RetrainSettings:
    """``[retrain]``: kernels that follow the signal."""

    mode: str = _key(
        choice("auto", "shadow", "off"),
        "Adopt better kernels, only record what they would have saved, or neither.",
        "auto",
    )
    reservoir_bytes: int = _key(
        size("1MiB", "1024TiB"), "Recent raw windows on disk, all streams together.", 4 * GIB, name="reservoir"
    )
    max_per_day: int = _key(count(0, 96), "Trainings of one stream per day.", 4)
    cooldown_s: float = _key(duration("0s", "30d"), "Pause after a training of a stream.", 6 * 3600.0, name="cooldown")
    warm_up_s: float = _key(
        duration("10s", "30d"), "Signal of a new stream before its first training.", 300.0, name="warm_up"
    )
    delta: float = _key(share(1e-30, 0.1), "ADWIN's chance of a false alarm.", 1e-9)


@dataclass(frozen=True)
class HttpSettings:
    """``[http]``: metrics, health and status."""

    listen: str = _key(
        TEXT,
        "Address and port; port 0 takes a free one, empty turns it off. Beyond loopback it needs token and TLS.",
        LISTEN,
    )
    token_env: str = _key(VARIABLE, "Environment variable that holds the bearer token asked of every request.", "")
    tls_cert: Path | None = _key(PATH, "Certificate chain, PEM.", None)
    tls_key: Path | None = _key(PATH, "Private key, PEM.", None)
    open_metrics: bool = _key(
        FLAG,
        "Serve `/metrics`, `/healthz` and `/readyz`, which name feeds and nothing else, without token; beyond loopback"
        " without token and TLS they are then all that is served.",
        False,
    )
    hosts: tuple[str, ...] = _key(WORDS, "Host names that requests may ask for, beside loopback's and the address.", ())


@dataclass(frozen=True)
class LimitSettings:
    """``[limits]``: what the daemon may take."""

    memory_bytes: int = _key(size("64MiB", "1024TiB"), "Memory for queues and open blocks.", 4 * GIB, name="memory")
    queue_s: float = _key(
        duration("100ms", "1h"),
        "Signal that may wait in a feed's queue before the feed is held up.",
        30.0,
        name="queue",
    )
    journal_bytes: int = _key(
        size("16MiB", "1024TiB"),
        "Raw journal on disk; when it is full nothing more is acknowledged.",
        16 * GIB,
        name="journal",
    )
    poison_bytes: int = _key(
        size("0B", "1024GiB"), "Unreadable messages set aside; the oldest go first.", 64 << 20, name="poison"
    )
    clock_tolerance_s: float = _key(
        duration("1ms", "1h"), "A device's clock may be off its sample count by this before a new segment begins.", 1.0,
        name="clock_tolerance",
    )  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Everything a daemon is told.

    Parameters
    ----------
    archive : ArchiveSettings
    quality : mapping of str to str
        ``"default"``, a modality or a label pattern to a quality; see :func:`sanstream.config_quality.qualities_of`.
    feeds : tuple of FeedSettings
    retrain : RetrainSettings
    http : HttpSettings
    limits : LimitSettings
    identity : mapping of str to str
        ``[identity] map``: what sources call themselves to the recording's name.
    """

    archive: ArchiveSettings
    quality: Mapping[str, str] = field(default_factory=lambda: {"default": "lossless"})
    feeds: tuple[FeedSettings, ...] = ()
    retrain: RetrainSettings = RetrainSettings()
    http: HttpSettings = HttpSettings()
    limits: LimitSettings = LimitSettings()
    identity: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Key:
    """One key of a table, as the file has it.

    Parameters
    ----------
    key : str
        In the file.
    attribute : str
        In the dataclass.
    kind : Kind
    help : str
    default : object
        ``dataclasses.MISSING`` when it must be given.
    shown : str
        Words for a default that depends on other keys.
    """

    key: str
    attribute: str
    kind: Kind
    help: str
    default: Any
    shown: str


def keys_of(table: type) -> dict[str, Key]:
    """Return the keys of one settings class, by their name in the file."""
    found = {}
    for one in dataclasses.fields(table):
        if not one.metadata:
            continue
        about = one.metadata
        default = one.default_factory() if one.default_factory is not MISSING else one.default
        key = Key(about["key"] or one.name, one.name, about["kind"], about["help"], default, about["shown"])
        found[key.key] = key
    return found


def secret(variable: str, place: str) -> str:
    """Take a secret from the environment; empty when no variable is named.

    Raises
    ------
    InputError
        When the variable is not set, or empty.
    """
    if not variable:
        return ""
    value = os.environ.get(variable, "")
    if not value:
        raise InputError(f"{place}: environment variable {variable} is not set", hint=f"export {variable}=...")
    return value


def feed_options(settings: Settings, feed: FeedSettings) -> FeedOptions:
    """Return what a feed is built from, its password taken from the environment.

    Raises
    ------
    InputError
        When the environment lacks the password.
    """
    return FeedOptions(
        name=feed.name,
        url=feed.url,
        user=feed.user,
        password=secret(feed.password_env, f"feed {feed.name!r}"),
        streams=feed.streams,
        resolution=feed.resolution,
        identity={**settings.identity, **feed.identity},
        options=feed.options,
        state_dir=settings.archive.state_dir / "feeds",
        held_s=settings.archive.held_s,
    )
