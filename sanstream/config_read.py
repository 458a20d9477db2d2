"""From ``ingest.toml``, or from what stands on the command line, to checked settings."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from sanstream.archive_store import remote_scheme
from sanstream.chunk import check_name
from sanstream.config import (
    REMOTE,
    ArchiveSettings,
    FeedSettings,
    HttpSettings,
    LimitSettings,
    RetrainSettings,
    Settings,
    keys_of,
)
from sanstream.config_listen import check_http
from sanstream.config_quality import check_key, check_quality
from sanstream.config_values import MAPPING
from sanstream.errors import InputError
from sanstream.feeds import feed_class

PASSWORD_ENV = "SANSTREAM_PASSWORD"
"""Variable that a feed given on the command line takes its password from, when it is set."""
MAX_BYTES = 4 << 20
_TABLES = ("archive", "quality", "feed", "retrain", "http", "limits", "identity")
_SECRET = re.compile(r"(^|[_.-])(password|passwd|token|secret|passphrase|api_?key)$", re.IGNORECASE)
_FEED = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
T = TypeVar("T")


def load_settings(
    path: str | Path | None = None,
    *,
    urls: Sequence[str] = (),
    to: str | None = None,
    state_dir: str | None = None,
    qualities: Sequence[str] = (),
    effort: str | None = None,
    name: str | None = None,
    listen: str | None = None,
) -> Settings:
    """Read a configuration file, if there is one, with what the command line adds to it.

    Parameters
    ----------
    path : path-like, optional
        ``ingest.toml``; without it everything but the archive and one URL has a default.
    urls : sequence of str
        Further feeds.
    to : str, optional
        Folder of the archive.
    state_dir : str, optional
        Default: the archive's folder with ``.state`` appended.
    qualities : sequence of str
        ``QUALITY`` for all, or ``MODALITY=QUALITY``, ``LABEL=QUALITY``.
    effort, listen : str, optional
    name : str, optional
        Of the one feed in ``urls``.

    Returns
    -------
    Settings

    Raises
    ------
    InputError
        On anything unknown, misspelt, of the wrong type or out of range; the message says where and what is allowed.
    """
    tables, source = ({}, "command line") if path is None else _read_file(Path(path))
    for table, key, value in (
        ("archive", "url", to),
        ("archive", "state_dir", state_dir),
        ("archive", "effort", effort),
        ("http", "listen", listen),
    ):
        if value is not None:
            _table(tables, table, source)[key] = value
    if name is not None and len(urls) != 1:
        raise InputError(f"a name was given for {len(urls)} feeds", hint="give it with exactly one URL")
    feeds = tables.setdefault("feed", [])
    for url in urls:
        extra = {"password_env": PASSWORD_ENV} if os.environ.get(PASSWORD_ENV) else {}
        feeds.append({"url": url, **({"name": name} if name else {}), **extra})
    for request in qualities:
        head, equals, tail = request.partition("=")
        own = equals and head not in ("prdn", "rmse", "max-error", "bits", "prd")
        _table(tables, "quality", source)[head if own else "default"] = tail if own else request
    return read_settings(tables, source)


def _read_file(path: Path) -> tuple[dict[str, Any], str]:
    data = path.read_bytes() if path.stat().st_size <= MAX_BYTES else b""
    if not data and path.stat().st_size:
        raise InputError(f"{path}: larger than {MAX_BYTES} bytes, no configuration")
    try:
        tables = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: no TOML: {error}") from None
    if not isinstance(tables.get("feed", []), list):
        raise InputError(f"{path}: [feed]: one feed is one [[feed]]", hint="write [[feed]], with two brackets")
    return tables, path.name


def _table(tables: dict[str, Any], name: str, source: str) -> dict[str, Any]:
    found = tables.setdefault(name, {})
    if not isinstance(found, dict):
        raise InputError(f"{source}: [{name}] is no table", hint=f"write [{name}] on a line of its own")
    return found


def read_settings(tables: Mapping[str, Any], source: str) -> Settings:
    """Check the tables of a configuration and return them as settings.

    Raises
    ------
    InputError
    """
    tables = dict(tables)
    for key in tables:
        if key not in _TABLES:
            _refuse(key, _TABLES, source, "table")
    archive = _read_archive(_table(tables, "archive", source), f"{source}: [archive]")
    raw = tables.get("feed", [])
    if not isinstance(raw, list) or not all(isinstance(t, dict) for t in raw):
        raise InputError(f"{source}: [feed]: one feed is one [[feed]]", hint="write [[feed]], with two brackets")
    http = read_table(HttpSettings, _table(tables, "http", source), f"{source}: [http]")
    check_http(http, f"{source}: [http]")
    return Settings(
        archive,
        _read_quality(_table(tables, "quality", source), f"{source}: [quality]"),
        _read_feeds(raw, source),
        read_table(RetrainSettings, _table(tables, "retrain", source), f"{source}: [retrain]"),
        http,
        read_table(LimitSettings, _table(tables, "limits", source), f"{source}: [limits]"),
        _read_identity(_table(tables, "identity", source), f"{source}: [identity]"),
    )


def _refuse(key: str, known: Sequence[str], place: str, what: str = "key") -> None:
    if _SECRET.search(key):
        near = [k for k in known if k.endswith("_env")] or ["password_env"]
        raise InputError(
            f"{place}: {key}: secrets do not stand in the configuration",
            hint=f'put it into an environment variable and name that: {near[0]} = "VARIABLE"',
        )
    near = get_close_matches(key, known, 1)
    raise InputError(
        f"{place}: unknown {what} {key!r}",
        hint=f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}",
    )


def read_table(settings: type[T], table: Mapping[str, Any], place: str, *, others: bool = False) -> T:
    """Check a table's keys; with ``others``, keys that are not its own become ``options``.

    Raises
    ------
    InputError
        On an unknown key, naming the nearest known one, a missing one, or a value that its kind does not allow.
    """
    keys, values, rest = keys_of(settings), {}, {}
    for name, value in table.items():
        if name not in keys:
            if not others or _SECRET.search(name):
                _refuse(name, [*keys], place)
            rest[name] = value
            continue
        try:
            values[keys[name].attribute] = keys[name].kind.read(value)
        except InputError as error:
            hint = error.hint or f"allowed: {keys[name].kind.what}"
            raise InputError(f"{place}: {name}: {error.message}", hint=hint) from None
    for key in keys.values():
        if key.default is MISSING and key.attribute not in values:
            raise InputError(f"{place}: {key.key} is missing", hint=key.help)
    return settings(**values, **({"options": rest} if others else {}))


def _text(value: object, place: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{place}: {value!r:.80} is no text", hint="write it in quotes")
    return value


def _read_archive(table: dict[str, Any], place: str) -> ArchiveSettings:
    url = _text(table.get("url", ""), f"{place}: url")
    if not url:
        raise InputError(f"{place}: no archive is named", hint='say where to: --to DIR, or [archive] url = "DIR"')
    if table.get("durability") == REMOTE and table.get("shared") is False:
        raise InputError(
            f"{place}: shared = false with durability = {REMOTE!r}",
            hint="leave shared out: a new state folder finds its recordings as daemons that share them do",
        )
    try:
        remote = remote_scheme(url)
    except InputError as error:
        raise InputError(f"{place}: url: {error.message}", hint=error.hint) from None
    if remote:
        if not table.get("state_dir"):
            raise InputError(
                f"{place}: state_dir is missing",
                hint='name a folder on a local disk for journal and ledger: --state DIR, or state_dir = "DIR"',
            )
        return read_table(ArchiveSettings, {**table, "url": url.rstrip("/")}, place)
    folder = Path(url.removeprefix("file://")).expanduser()
    state = table.get("state_dir") or f"{folder}.state"
    settings = read_table(ArchiveSettings, {**table, "url": str(folder), "state_dir": state}, place)
    own, other = Path(os.path.abspath(settings.state_dir)), Path(os.path.abspath(folder))
    if own.is_relative_to(other) or other.is_relative_to(own):
        raise InputError(
            f"{place}: state_dir {str(settings.state_dir)!r} and the archive {str(folder)!r} lie inside each other",
            hint="put them side by side",
        )
    return settings


def _read_quality(table: Mapping[str, Any], place: str) -> dict[str, str]:
    found = {"default": "lossless"}
    for key, text in table.items():
        try:
            check_key(key)
        except InputError as error:
            raise InputError(f"{place}: {error.message}", hint=error.hint) from None
        try:
            found[key] = check_quality(text)
        except InputError as error:
            raise InputError(f"{place}: {key}: {error.message}", hint=error.hint) from None
    return found


def _read_identity(table: Mapping[str, Any], place: str) -> dict[str, str]:
    for key in table:
        if key != "map":
            _refuse(key, ["map"], place)
    return _checked_names(table.get("map", {}), f"{place}: map")


def _checked_names(value: object, place: str) -> dict[str, str]:
    try:
        found: dict[str, str] = MAPPING.read(value)
        for name in found.values():
            check_name("recording", name)
    except InputError as error:
        raise InputError(f"{place}: {error.message}", hint=error.hint) from None
    return found


def _read_feeds(tables: Sequence[dict[str, Any]], source: str) -> tuple[FeedSettings, ...]:
    feeds: dict[str, FeedSettings] = {}
    for number, table in enumerate(tables, start=1):
        place = f"{source}: [[feed]] {number}"
        if not _text(table.get("url", ""), f"{place}: url"):
            raise InputError(f"{place}: url is missing", hint='say where from: url = "mqtt://broker:1883"')
        _check_url(table["url"], place)
        name = table.get("name") or _free_name(table["url"], feeds)
        feed = read_table(FeedSettings, {**table, "name": name}, place, others=True)
        if not _FEED.fullmatch(feed.name):
            raise InputError(f"{place}: name {feed.name!r:.80} is no name", hint="use letters, digits and . _ -")
        if feed.name in feeds:
            raise InputError(f"{place}: name {feed.name!r} is taken by another feed", hint="give each its own")
        _check_options(feed, place)
        _checked_names(feed.identity, f"{place}: identity")
        feeds[feed.name] = feed
    return tuple(feeds.values())


def _free_name(url: str, taken: Mapping[str, object]) -> str:
    scheme = re.sub(r"[^A-Za-z0-9]", "-", urlsplit(url).scheme)[:32] or "file"
    number = 1
    while (name := scheme if number == 1 else f"{scheme}-{number}") in taken:
        number += 1
    return name


def _check_url(url: str, place: str) -> None:
    """Refuse secrets in a URL: it stands in process lists and histories."""
    try:
        parts = urlsplit(url)
        secret = parts.password is not None or any(_SECRET.search(k) for k, _ in parse_qsl(parts.query))
    except ValueError as error:
        raise InputError(f"{place}: url: {error}") from None
    if secret:
        raise InputError(
            f"{place}: url holds a secret",
            hint=f'use user = and password_env = "VARIABLE"; on the command line set {PASSWORD_ENV}',
        )


def _check_options(feed: FeedSettings, place: str) -> None:
    """Find misspelt common keys among the feed's own; the rest is checked when the feed is built."""
    common = [k for k in keys_of(FeedSettings) if k not in feed.options]
    for key in feed.options:
        near = get_close_matches(key, common, 1, 0.8)
        if near and key not in feed_class(feed.url).OPTIONS:
            _refuse(key, common, place)
