"""Objects of an object store: s3://, gs://, az:// and memory:// addresses, through obstore.

Credentials, region and endpoint come from the environment as the store's own tools read them (``AWS_ACCESS_KEY_ID``,
``AWS_ENDPOINT_URL``, ``GOOGLE_APPLICATION_CREDENTIALS``, ``AZURE_STORAGE_ACCOUNT_NAME``, ...).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from sanstream.archive_endpoint import check_endpoint, names_plain_http
from sanstream.archive_objects import PARTIAL
from sanstream.archive_refusal import hint_for, is_panic, lacks_bucket, reason
from sanstream.errors import CorruptError, InputError, UnsupportedError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

SCHEMES = ("s3", "gs", "az", "memory")
_RETRY: RetryConfig = {
    "max_retries": 8,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 2},
}
_CLIENT: ClientConfig = {"timeout": "30s", "connect_timeout": "10s"}
_MEMORY: dict[str, ObjectStore] = {}
_MAKING = threading.Lock()


class StoreError(InputError):
    """The store does not do what is asked of it, or cannot be reached; a later try may succeed."""


class Taken(Exception):
    """A conditional write found another object, or another version, than it was told to expect."""


class RemoteObjects:
    """Objects below a prefix of an object store.

    Every write is atomic; a reader sees an object whole or not at all.

    Parameters
    ----------
    url : str
        ``s3://BUCKET/PREFIX``, ``gs://BUCKET/PREFIX``, ``az://CONTAINER/PREFIX`` or ``memory://NAME``, which is gone
        with the process.

    Raises
    ------
    InputError
        When the address cannot be used as it stands.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        parts = _split(self.url)
        if not parts.netloc or parts.query or parts.fragment or parts.username or parts.password:
            raise InputError(
                f"{shown(url)}: not the address of an archive",
                hint=f"use {parts.scheme}://BUCKET/PREFIX; credentials come from the environment",
            )
        self.name = self.url.rpartition("/")[2]
        self._store = _open(self.url)

    def __str__(self) -> str:
        return self.url

    def read(self, key: str) -> bytes:
        """Return the whole object. Raises CorruptError when it is missing."""
        import obstore

        with self._reading(key):
            return bytes(obstore.get(self._store, key).bytes())

    def read_range(self, key: str, start: int, stop: int) -> bytes:
        """Return the bytes ``start`` to ``stop``, fewer when the object ends before."""
        import obstore

        if stop <= start:
            return b""
        with self._reading(key):
            return bytes(obstore.get_range(self._store, key, start=start, end=stop))

    def size(self, key: str) -> int:
        """Return the object's size in bytes. Raises CorruptError when it is missing."""
        import obstore

        with self._reading(key):
            return int(obstore.head(self._store, key)["size"])

    def exists(self, key: str) -> bool:
        """Tell whether the object is there."""
        import obstore

        try:
            with self._reading(key):
                obstore.head(self._store, key)
        except CorruptError:
            return False
        return True

    def keys(self, prefix: str = "") -> Iterator[str]:
        """List all objects below ``prefix``, in order, but those of unfinished writes."""
        import obstore

        with self._reading(prefix):
            found = [m["path"] for chunk in obstore.list(self._store, prefix=prefix or None) for m in chunk]
        yield from sorted(key for key in found if PARTIAL not in key)

    def written(self, prefix: str = "") -> Iterator[tuple[str, int, float]]:
        """List key, bytes and last write (seconds since 1970, by the store's clock) of the objects below ``prefix``.

        Those of unfinished writes are left out.
        """
        import obstore

        with self._reading(prefix):
            for chunk in obstore.list(self._store, prefix=prefix or None):
                for meta in chunk:
                    if PARTIAL not in meta["path"]:
                        yield meta["path"], int(meta["size"]), meta["last_modified"].timestamp()

    def folders(self) -> tuple[list[str], list[str]]:
        """Return the names right below the prefix, of folders and of objects, but those of unfinished writes."""
        import obstore

        with self._reading(""):
            found = obstore.list_with_delimiter(self._store)
        names = [path.rstrip("/") for path in found["common_prefixes"]]
        keys = [meta["path"] for meta in found["objects"]]
        return [n for n in names if PARTIAL not in n], [k for k in keys if PARTIAL not in k]

    def read_version(self, key: str) -> tuple[bytes, Mapping[str, Any]]:
        """Return an object and what names its version, for :meth:`swap`. Raises CorruptError when it is missing."""
        import obstore

        with self._reading(key):
            got = obstore.get(self._store, key)
            meta = got.meta
            return bytes(got.bytes()), _version(meta)

    def put(self, key: str, data: bytes | Path) -> None:
        """Write an object, or replace it; a path is uploaded in parts."""
        import obstore

        with self._writing(key):
            obstore.put(self._store, key, data, use_multipart=None if isinstance(data, Path) else False)

    def make(self, key: str, data: bytes) -> Mapping[str, Any]:
        """Write an object that is not there yet; returns what names its version.

        Raises
        ------
        Taken
            When another is.
        """
        return self._put_if(key, data, "create")

    def swap(self, key: str, data: bytes, version: Mapping[str, Any]) -> Mapping[str, Any]:
        """Replace a version of an object; returns what names the new one.

        Raises
        ------
        Taken
            When another version stands there by now.
        """
        return self._put_if(key, data, dict(version))

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects; what is gone already is passed over."""
        import obstore

        gone = list(keys)
        if gone:
            with self._writing(gone[0]):
                obstore.delete(self._store, gone)

    def _put_if(self, key: str, data: bytes, mode: Any) -> Mapping[str, Any]:
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            with self._writing(key):
                return _version(obstore.put(self._store, key, data, mode=mode))
        except (AlreadyExistsError, PreconditionError, FileNotFoundError):
            # the answer to a first try may have been lost: then what stands there is ours
            try:
                found, version = self.read_version(key)
            except CorruptError:
                raise Taken(key) from None
            if found != data:
                raise Taken(key) from None
            return version

    @contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        try:
            with self._asked(key, "read"):
                yield
        except FileNotFoundError:
            hint = f"run: sanstream verify {shown(self.url)}"
            raise CorruptError(f"{self.name}: {key} is missing", hint=hint) from None

    @contextmanager
    def _writing(self, key: str) -> Iterator[None]:
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self._asked(key, "written", AlreadyExistsError, PreconditionError):
            yield

    @contextmanager
    def _asked(self, key: str, done: str, *answers: type[Exception]) -> Iterator[None]:
        """Turn what a store refuses into StoreError, but what it answers to a question: a missing object, ``answers``.

        A panic of its client is a BaseException of a class that cannot be imported.
        """
        from obstore.exceptions import BaseError

        try:
            yield
        except BaseException as error:
            answer = isinstance(error, (FileNotFoundError, *answers)) and not lacks_bucket(error)
            if answer or not (isinstance(error, BaseError | OSError | ValueError) or is_panic(error)):
                raise
            raise self._failed(key, done, error) from error

    def _failed(self, key: str, done: str, error: BaseException) -> StoreError:
        """Say which object of which store could not be read or written, why, and what to look at."""
        address, why = shown(self.url), reason(error)
        hint = hint_for(why)
        if lacks_bucket(error):
            why, hint = f"bucket {urlsplit(address).netloc!r} does not exist", "make it, or check the address"
        return StoreError(f"{address}/{key} cannot be {done} ({why})", hint=hint)


def _version(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what of an object's metadata names its version."""
    return {k: meta[k] for k in ("e_tag", "version") if meta.get(k) is not None}


def shown(url: str) -> str:
    """Return an address without user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _open(url: str) -> ObjectStore:
    from obstore.exceptions import BaseError
    from obstore.store import MemoryStore, from_url

    if urlsplit(url).scheme == "memory":
        with _MAKING:
            return _MEMORY.setdefault(url, MemoryStore())
    check_endpoint(urlsplit(url).scheme, shown(url))
    try:
        return from_url(url, client_options=_client(), retry_config=_RETRY)
    except (BaseError, ValueError) as error:
        raise InputError(f"{shown(url)}: cannot be opened ({reason(error)})") from error


def _client() -> ClientConfig:
    """Allow plain HTTP where the environment names such an endpoint, as a store on this machine has it."""
    return {**_CLIENT, "allow_http": True} if names_plain_http() else _CLIENT


def _split(url: str) -> SplitResult:
    """Take an address apart.

    Raises
    ------
    InputError
    """
    try:
        return urlsplit(url)
    except ValueError as error:  # it may hold a password
        scheme = url.partition("://")[0]
        raise InputError(f"{scheme}://...: not an address ({error})", hint=f"use {scheme}://BUCKET/PREFIX") from None


def remote_scheme(url: str) -> str | None:
    """Return an address's scheme when it is one of :data:`SCHEMES`; None for paths and ``file:``.

    Raises
    ------
    UnsupportedError
        On any other scheme.
    """
    if "://" not in url:
        return None
    scheme = _split(url).scheme
    if scheme in SCHEMES:
        return scheme
    if scheme == "file":
        return None
    raise UnsupportedError(
        f"{shown(url)}: archives on {scheme}:// are not supported",
        hint=f"give a local path or an address of {', '.join(f'{s}://' for s in ('file', *SCHEMES[:-1]))}",
    )
