"""``sanstream ingest --check``: everything that can be found out without storing a sample."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from sanstream.archive_commit import locked
from sanstream.archive_descriptors import SharedDescriptors
from sanstream.archive_objects import PARTIAL
from sanstream.archive_store import RemoteObjects, Taken, remote_scheme
from sanstream.config import FeedSettings, Settings, feed_options, secret
from sanstream.config_effective import effective
from sanstream.config_listen import is_loopback
from sanstream.config_values import write_size
from sanstream.daemon.fresh import Fresh
from sanstream.errors import InputError, SanstreamError
from sanstream.feeds import Feed, feed_class, make_feed
from sanstream.http_server import bind

OK, WARNING, FAILED = "ok", "warning", "failed"
MOUNTS = Path("/proc/self/mounts")
_REMOTE = ("nfs", "cifs", "smb", "9p", "fuse", "afs", "ceph", "gluster", "lustre", "virtiofs", "vboxsf")
_FLEETING = ("tmpfs", "ramfs")
_LEAST_FREE = 1 << 30
TLS_TWINS = ("mqtt", "nats", "kafka")
"""Schemes that have a twin with TLS, with an s behind."""


@dataclass(frozen=True)
class Finding:
    """One line of the check: :data:`OK`, :data:`WARNING` or :data:`FAILED`, and what was found."""

    state: str
    text: str

    def __str__(self) -> str:
        return f"{self.state}: {self.text}"


def check(settings: Settings) -> Iterator[Finding]:
    """Connect to every feed, write and sync trial files, look at file systems, space and address.

    Nothing is raised; what is wrong is a finding. Folders that are not there are made, and removed at the end.
    """
    fresh = Fresh(settings)
    try:
        yield from _findings(settings)
    finally:
        fresh.remove_empty()


def _findings(settings: Settings) -> Iterator[Finding]:
    state, remote = settings.archive.state_dir, remote_scheme(settings.archive.url) is not None
    yield from _folder("state folder", state, private=True)
    yield from _file_system("state folder", state, must_be_local=True)
    if remote:
        yield from _tried("archive", partial(_try_store, settings.archive.url))
    else:
        archive = Path(settings.archive.url)
        yield from _folder("archive", archive)
        yield from _file_system("archive", archive, must_be_local=False)
        if settings.archive.shared:
            yield from _lock(archive)
    yield from _space(settings)
    yield from _address(settings)
    if not settings.feeds:
        yield Finding(FAILED, "no feed is configured; give a URL or a [[feed]]")
    for feed in settings.feeds:
        yield from _tried(f"feed {feed.name}", partial(_connect, settings, feed))
        if settings.archive.until_archived and not feed_class(feed.url).replays:
            text = "sends nothing again: until the archive has its samples, they are in the state folder alone"
            yield Finding(WARNING, f"feed {feed.name}: {text}")
        yield from _open_to_see(feed)


def _open_to_see(feed: FeedSettings) -> Iterator[Finding]:
    """Warn of a broker on another machine that is talked to without TLS."""
    parts = urlsplit(feed.url)
    if parts.scheme in TLS_TWINS and not is_loopback(parts.hostname or "localhost"):
        what = "samples, names and the password" if feed.password_env else "samples and names"
        text = f"{what} cross the network unencrypted; use {parts.scheme}s:// unless a tunnel protects them"
        yield Finding(WARNING, f"feed {feed.name}: {text}")


def _try_store(url: str) -> list[str]:
    """Write, read and remove a trial object, and see that the store keeps two writers apart."""
    objects, key = RemoteObjects(url), f"{PARTIAL}check-{secrets.token_hex(4)}"
    version = objects.make(key, b"1")
    try:
        try:
            objects.make(key, b"2")
        except Taken:
            objects.swap(key, b"3", version)
            return ["written, replaced and removed; conditional writes hold"]
        raise InputError(f"{objects.name}: the store overwrites where it was told not to", hint="use one that does not")
    finally:
        objects.remove([key])


def _connect(settings: Settings, feed: FeedSettings) -> list[str]:
    return built(settings, feed).check()


def built(settings: Settings, feed: FeedSettings) -> Feed:
    """Build a feed.

    Raises
    ------
    InputError
        When an option is unknown or wrong, or it shares its source with daemons that do not share the archive.
    """
    options = feed_options(settings, feed)
    if settings.archive.shared:
        options = replace(options, descriptors=SharedDescriptors(settings.archive.url))
    made = make_feed(options)
    if made.state.partitions is not None and not settings.archive.shared:
        raise InputError(
            f"feed {feed.name!r}: has partitions, but the archive is not shared",
            hint="set [archive] shared = true for every daemon that takes some of them",
        )
    return made


def report(settings: Settings) -> str:
    """Return the configuration in force, secrets masked, with whether each one's variable is set."""
    named = [f.password_env for f in settings.feeds] + [settings.http.token_env]
    lines = [
        f"# environment variable {name}: {'set' if os.environ.get(name) else 'NOT SET'}"
        for name in dict.fromkeys(filter(None, named))
    ]
    return effective(settings) + ("\n" + "\n".join(lines) + "\n" if lines else "")


def _tried(what: str, run: Callable[[], list[str]]) -> Iterator[Finding]:
    try:
        for line in run() or ["connected"]:
            yield Finding(OK, f"{what}: {line}")
    except SanstreamError as error:
        yield Finding(FAILED, f"{what}: {error}")
    except OSError as error:
        yield Finding(FAILED, f"{what}: {error.strerror or type(error).__name__}")
    except Exception as error:
        # a library's own error: the check goes on with the next feed
        yield Finding(FAILED, f"{what}: {type(error).__name__}: {error}")


def _folder(what: str, folder: Path, *, private: bool = False) -> Iterator[Finding]:
    def run() -> list[str]:
        made = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        trial = folder / f".check-{secrets.token_hex(4)}"
        handle = os.open(trial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(handle, b"sanstream")
            os.fsync(handle)
        finally:
            os.close(handle)
            trial.unlink()
        return [f"{folder} can be {'made, ' if made else ''}written and synced"]

    yield from _tried(what, run)
    if private and folder.is_dir() and folder.stat().st_mode & 0o077:
        yield Finding(WARNING, f"{what}: {folder} can be read by others; chmod 700 {folder}")


def file_system(path: Path, mounts: Path = MOUNTS) -> str:
    """Return the type of the file system that a path lies on; empty where that cannot be told."""
    found, longest = "", -1
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
        real = path.resolve()
    except OSError:
        return ""
    for line in lines:
        words = line.split()
        if len(words) < 3:
            continue
        point = Path(words[1].replace("\\040", " "))
        # the last mount on a place hides those before
        if real.is_relative_to(point) and len(point.parts) >= longest:
            found, longest = words[2], len(point.parts)
    return found


def _file_system(what: str, folder: Path, *, must_be_local: bool) -> Iterator[Finding]:
    kind = file_system(folder)
    if kind.startswith(_REMOTE):
        text = f"{what}: {folder} lies on {kind}, which is no local disk"
        yield Finding(WARNING, text + "; its fsync may promise more than it keeps" if must_be_local else text)
    elif kind.startswith(_FLEETING):
        yield Finding(WARNING, f"{what}: {folder} lies on {kind}, in memory; a power cut loses it")
    elif kind == "overlay":
        yield Finding(WARNING, f"{what}: {folder} lies in a container's own layer; mount a volume there")
    elif kind:
        yield Finding(OK, f"{what}: {kind} file system")


def _lock(archive: Path) -> Iterator[Finding]:
    """See that the lock by which daemons share a folder holds between them."""
    kind = file_system(archive)
    if kind.startswith(_REMOTE):
        yield Finding(FAILED, f"archive: daemons cannot share a folder on {kind}; give them an object store")
        return

    def run() -> list[str]:
        with locked(archive):
            return [f"{archive} can be locked; it may be shared by daemons of this machine"]

    yield from _tried("archive", run)


def _space(settings: Settings) -> Iterator[Finding]:
    places = [("state folder", settings.archive.state_dir)]
    if remote_scheme(settings.archive.url) is None:
        places.append(("archive", Path(settings.archive.url)))
    for what, folder in places:
        try:
            free = shutil.disk_usage(folder).free
        except OSError:
            continue
        needed = settings.limits.journal_bytes if what == "state folder" else _LEAST_FREE
        enough = free >= needed
        text = f"{what}: {free / 2**30:.1f} GiB free"
        more = (
            ""
            if enough
            else f"; {'[limits] journal allows' if needed != _LEAST_FREE else 'advised:'} {write_size(needed)}"
        )
        yield Finding(OK if enough else WARNING, text + more)


def _address(settings: Settings) -> Iterator[Finding]:
    http = settings.http
    if not http.listen:
        yield Finding(WARNING, "http: listens nowhere; metrics and sanstream status see only the last snapshot")
        return

    def run() -> list[str]:
        secret(http.token_env, "[http] token_env")
        for file in filter(None, (http.tls_cert, http.tls_key)):
            if not os.access(file, os.R_OK):
                raise InputError(f"{file} cannot be read", hint="check the path and its permissions")
        bind(http.listen).close()
        return [f"{http.listen} is free"]

    yield from _tried("http", run)
