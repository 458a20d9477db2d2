"""Objects of an object store: s3://, gs://, az:// and memory:// addresses, through obstore.

Credentials, region and endpoint come from the environment as the store's own tools read them (``AWS_ACCESS_KEY_ID``,
``AWS_ENDPOINT_URL``, ``GOOGLE_APPLICATION_CREDENTIALS``, ``AZURE_STORAGE_ACCOUNT_NAME``, ...).
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from sanstream.archive_objects import PARTIAL
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
_ENDPOINTS = ("ENDPOINT", "ENDPOINT_URL", "ENDPOINT_URL_S3", "GOOGLE_BASE_URL")
"""How the names of variables end that hold a store's address."""
_VARIABLES = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}
_ODD = r"""[\s<>"{}|^`\\]"""
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
            answer = isinstance(error, (FileNotFoundError, *answers)) and not _lacks_bucket(error)
            if answer or not (isinstance(error, BaseError | OSError | ValueError) or _is_panic(error)):
                raise
            raise self._failed(key, done, error) from error

    def _failed(self, key: str, done: str, error: BaseException) -> StoreError:
        """Say which object of which store could not be read or written, why, and what to look at."""
        address, why = shown(self.url), reason(error)
        hint = next((h for said, h in _HINTS.items() if said in why), None)
        if _lacks_bucket(error):
            why, hint = f"bucket {urlsplit(address).netloc!r} does not exist", "make it, or check the address"
        return StoreError(f"{address}/{key} cannot be {done} ({why})", hint=hint)


def _lacks_bucket(error: BaseException) -> bool:
    """Tell whether a store says that there is no such bucket; obstore takes that for a missing object."""
    return any(f"<Code>{code}</Code>" in f"{error}" for code in ("NoSuchBucket", "ContainerNotFound"))


def _is_panic(error: BaseException) -> bool:
    """Tell whether a store's client, which is not written in Python, came to its wits' end."""
    return type(error).__name__ == "PanicException"


def _version(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what of an object's metadata names its version."""
    return {k: meta[k] for k in ("e_tag", "version") if meta.get(k) is not None}


def reason(error: BaseException) -> str:
    """Say shortly why a store refused, without the addresses and answers that its message quotes."""
    from obstore import exceptions

    text = f"{error}"
    if _is_panic(error):
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
    _check_endpoint(url)
    try:
        return from_url(url, client_options=_client(), retry_config=_RETRY)
    except (BaseError, ValueError) as error:
        raise InputError(f"{shown(url)}: cannot be opened ({reason(error)})") from error


def _check_endpoint(url: str) -> None:
    """Refuse an endpoint in the environment that is no address: the store's own code would not survive it.

    Raises
    ------
    InputError
    """
    for name, value in _endpoints():
        if value and name.upper().startswith(_VARIABLES[urlsplit(url).scheme]) and not _is_address(value):
            told = repr(value) if "@" not in value else "one with a password"
            raise InputError(
                f"{shown(url)}: {name} is {told:.80}, which is no address of a store",
                hint="write http://HOST:PORT or https://HOST, or unset it",
            )


def _endpoints() -> Iterator[tuple[str, str]]:
    """Yield the environment's variables that hold the address of some store."""
    for name, value in os.environ.items():
        if name.upper().endswith(_ENDPOINTS):
            yield name, value


def _is_address(value: str) -> bool:
    """Tell whether a text is an address of HTTP: scheme, a host that may exist, and perhaps a port."""
    try:
        parts = urlsplit(value)
        host = parts.hostname or ""
        if not re.fullmatch(r"[a-z0-9_.-]+", host) or host.rpartition(".")[2].isdigit():
            ip_address(host)
        return value.isascii() and parts.scheme in ("http", "https") and parts.port != 0 and not re.search(_ODD, value)
    except ValueError:
        return False


def _client() -> ClientConfig:
    """Allow plain HTTP where the environment names such an endpoint, as a store on this machine has it."""
    plain = any(value.lower().startswith("http://") for _, value in _endpoints())
    return {**_CLIENT, "allow_http": True} if plain else _CLIENT


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
