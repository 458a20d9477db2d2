"""What stands before every page: the Host header, the method, the bearer token."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import PlainTextResponse, RedirectResponse

from sanstream.http_pass import carries, entrance

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]
METRICS, HEALTH, READY = "/metrics", "/healthz", "/readyz"
OPEN = frozenset({METRICS, HEALTH, READY})
"""Pages that name feeds and nothing else, for Prometheus and a supervisor on another machine."""
PRIVATE = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}
"""Headers of what no one but who asked may see, nor keep."""
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Rules:
    """Who may ask for what.

    Parameters
    ----------
    hosts : frozenset of str
        Lower-case names that requests may ask for, beside loopback's and the address they came in at.
    token : str
        Empty when none is asked.
    open_metrics : bool
        The pages of :data:`OPEN` need no token.
    only_metrics : bool
        Nothing but these is served.
    pages : str
        Path below which a browser may come in with the token in the address, once, and a cookie from then on; empty
        for nowhere.
    """

    hosts: frozenset[str] = frozenset()
    token: str = ""
    open_metrics: bool = False
    only_metrics: bool = False
    pages: str = ""


def host_of(header: str) -> str:
    """Return the host of a Host header in lower case, without port and brackets; empty when it is none."""
    text = header.strip().lower()
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        return host if bracket and (not port or (port[0] == ":" and port[1:].isdigit())) else ""
    host, _, port = text.partition(":")
    return host.rstrip(".") if not port or port.isdigit() else ""


def refusal(rules: Rules, scope: Scope) -> tuple[int, str] | None:
    """Return why a request is refused, as a status code and a sentence; None when it may pass."""
    headers: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    hosts = headers.get("host", [])
    host = host_of(hosts[0]) if len(hosts) == 1 else ""
    if not host:
        return 400, "the Host header is missing or malformed"
    if not (host in _LOOPBACK or host in rules.hosts or _is_own(host, scope)):
        # a page in somebody's browser, whose name was made to point here
        return 421, "this host name is not served; add it to [http] hosts"
    if scope["method"] not in ("GET", "HEAD"):
        return 405, "only GET and HEAD"
    if rules.only_metrics and scope["path"] not in OPEN:
        return 403, "without token and TLS only /metrics, /healthz and /readyz are served"
    if rules.token and not (rules.open_metrics and scope["path"] in OPEN):
        if _is_page(rules, scope) and carries(headers.get("cookie", []), rules.token):
            return None
        sent = headers.get("authorization", [""])
        scheme, _, token = sent[0].partition(" ")
        right = hmac.compare_digest(token.strip().encode("latin-1"), rules.token.encode())
        if len(sent) != 1 or scheme.lower() != "bearer" or not right:
            return 401, "a bearer token is needed"
    return None


def _is_page(rules: Rules, scope: Scope) -> bool:
    return bool(rules.pages) and str(scope["path"]).startswith(rules.pages)


def _is_own(host: str, scope: Scope) -> bool:
    """Tell whether a host is the very address that the connection came in at."""
    server = scope.get("server") or ("", 0)
    try:
        return ipaddress.ip_address(host) == ipaddress.ip_address(str(server[0]).partition("%")[0])
    except ValueError:
        return False


def guarded(app: App, rules: Rules) -> App:
    """Put the rules before an application."""

    async def guard(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        refused = refusal(rules, scope)
        if refused is None:
            await app(scope, receive, send)
            return
        code, why = refused
        if code == 401 and rules.pages and f"{scope['path']}/" == rules.pages:
            query = scope["query_string"].decode("latin-1")
            await RedirectResponse(rules.pages + (f"?{query}" if query else ""), 307, PRIVATE)(scope, receive, send)
            return
        if code == 401 and _is_page(rules, scope):
            query = scope["query_string"].decode("latin-1")
            secure = scope.get("scheme") == "https"
            allowed = entrance(scope["path"], query, rules.token, home=rules.pages, secure=secure)
            if allowed is not None:
                on, cookie = allowed
                await RedirectResponse(on, 303, {"Set-Cookie": cookie, **PRIVATE})(scope, receive, send)
                return
            why = "open the whole address, with its token: ADDRESS?token=TOKEN"
        headers = {"WWW-Authenticate": "Bearer"} if code == 401 else {}
        await PlainTextResponse(why + "\n", code, headers)(scope, receive, send)

    return guard
