"""Looking at a daemon from outside: ask it over HTTP, or read what it last said when it no longer answers."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sanstream.config import LISTEN
from sanstream.daemon.state_files import ADDRESS, STATUS, is_running, read_json
from sanstream.errors import InputError

TOKEN_ENV = "SANSTREAM_TOKEN"
TIMEOUT_S = 10.0
MAX_BYTES = 256 << 20


@dataclass(frozen=True)
class Address:
    """Where a daemon answers.

    Parameters
    ----------
    url : str
    token_env : str
        Variable that holds the token it asks for.
    tls_cert : str
        The one certificate that is trusted there; empty for the system's authorities.
    """

    url: str
    token_env: str = TOKEN_ENV
    tls_cert: str = ""


@dataclass(frozen=True)
class Looked:
    """What was seen.

    Parameters
    ----------
    status : mapping
        The daemon's own words; empty when there are none.
    running : bool
        Whether the daemon said so itself, just now.
    age_s : float
        Age of what it said, seconds.
    asked : str
        Address at which nobody answered, when that is all that is known.
    """

    status: Mapping[str, Any]
    running: bool
    age_s: float = 0.0
    asked: str = ""


def look(*, state_dir: Path | None = None, url: str | None = None) -> Looked:
    """Ask a daemon how it is.

    Parameters
    ----------
    state_dir : Path, optional
        Its state folder; there it has written where it answers.
    url : str, optional
        Where it answers; goes before ``state_dir``. Default: the default address on this machine.

    Returns
    -------
    Looked

    Raises
    ------
    InputError
        When the folder is no state folder, the answer is no daemon's, or the token is missing or wrong.
    """
    if url is not None or state_dir is None:
        asked = url or f"http://{LISTEN}"
        found = ask(Address(asked))
        return Looked({}, False, asked=asked) if found is None else Looked(found, True)
    if not state_dir.is_dir():
        raise InputError(f"{state_dir} is no state folder", hint="name the daemon's [archive] state_dir")
    about = read_json(state_dir / ADDRESS)
    if about is not None and is_running(about.get("pid")):
        address = Address(str(about.get("url")), str(about.get("token_env", "")), str(about.get("tls_cert", "")))
        try:
            found = ask(address)
        except NotServed:
            if read_json(state_dir / STATUS) is None:
                raise
            about = found = None
        if found is not None:
            return Looked(found, True)
    last = read_json(state_dir / STATUS)
    if last is None:
        return Looked({}, False)
    age_s = max(0.0, time.time() - (state_dir / STATUS).stat().st_mtime)
    # one that listens nowhere, or serves only metrics, still writes down how it is
    return Looked(last, about is None and is_running(last.get("pid")) and age_s < 60, age_s)


class NotServed(InputError):
    """A daemon that serves its status to nobody."""


def ask(address: Address) -> dict[str, Any] | None:
    """Return the status that a daemon gives at an address; None when nobody answers there.

    Raises
    ------
    InputError
        When the address is none, or somebody answers there who wants another token, or is no daemon.
    """
    _check(address.url)
    request = urllib.request.Request(address.url.rstrip("/") + "/streams")
    token = os.environ.get(address.token_env, "") if address.token_env else ""
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with _opener(address).open(request, timeout=TIMEOUT_S) as answer:
            found = json.loads(answer.read(MAX_BYTES))
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 403:
            raise NotServed(
                f"{address.url} answers 403: it serves only metrics",
                hint="use --state DIR on its machine, or give it [http] token_env and TLS",
            ) from None
        hint = f"export {address.token_env or TOKEN_ENV}=..." if error.code == 401 else "look into its log"
        raise InputError(f"{address.url} answers {error.code} {error.reason}", hint=hint) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLError):
            raise InputError(f"{address.url}: {error.reason}", hint="set SSL_CERT_FILE, or use --state DIR") from None
        return None
    except (ValueError, RecursionError, http.client.HTTPException):
        raise InputError(f"{address.url} is no sanstream daemon", hint="check the address") from None
    except OSError:
        return None
    if not isinstance(found, dict):
        raise InputError(f"{address.url} is no sanstream daemon", hint="check the address")
    return found


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the token goes nowhere else."""

    def redirect_request(self, *_: Any) -> None:
        """Refuse."""


def _check(url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise InputError(f"{url!r:.80} is no address", hint="write http://127.0.0.1:9464 or http://[::1]:9464")


def _opener(address: Address) -> urllib.request.OpenerDirector:
    context = ssl.create_default_context(cafile=address.tls_cert or None)
    if address.tls_cert:
        # exactly the daemon's own certificate is trusted, whatever name it was made for
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    proxies = urllib.request.ProxyHandler({})
    return urllib.request.build_opener(proxies, _Stay, urllib.request.HTTPSHandler(context=context))
