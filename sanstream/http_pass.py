"""A browser's way in: the token once in the address, a cookie from then on."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode

QUERY = "token"
_PURPOSE = b"sanstream page"


def cookie_name(token: str) -> str:
    """Return the cookie's name: browsers share cookies among the ports of a host, so each token has its own."""
    return "sanstream_" + hashlib.sha256(token.encode()).hexdigest()[:8]


def cookie_value(token: str) -> str:
    """Return what stands in the cookie: shows that the token was known, and does not tell it."""
    return hmac.new(token.encode(), _PURPOSE, hashlib.sha256).hexdigest()


def carries(cookies: Sequence[str], token: str) -> bool:
    """Tell whether a request's Cookie headers hold the pass of a token."""
    for text in cookies:
        held: SimpleCookie = SimpleCookie()
        try:
            held.load(text)
        except CookieError:
            continue
        own = held.get(cookie_name(token))
        if own is not None and hmac.compare_digest(own.value.encode(), cookie_value(token).encode()):
            return True
    return False


def entrance(path: str, query: str, token: str, *, home: str, secure: bool) -> tuple[str, str] | None:
    """Return where a request with the right token in its address goes on, and the cookie that it gets; None otherwise.

    Parameters
    ----------
    path, query : str
        Of the request.
    token : str
    home : str
        Path that the cookie is for.
    secure : bool
        Whether the connection is TLS.
    """
    pairs = parse_qsl(query, keep_blank_values=True)
    given = [value for name, value in pairs if name == QUERY]
    if len(given) != 1 or not hmac.compare_digest(given[0].encode(), token.encode()):
        return None
    rest = urlencode([(name, value) for name, value in pairs if name != QUERY])
    cookie = f"{cookie_name(token)}={cookie_value(token)}; Path={home}; HttpOnly; SameSite=Lax"
    return path + (f"?{rest}" if rest else ""), cookie + ("; Secure" if secure else "")
