"""Who may ask: only the page that was opened by the address with the token."""

from __future__ import annotations

import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN_HEADER = "x-cosmos-token"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ALWAYS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class Guard:
    """Middleware that answers 403 to whatever does not come from the page itself.

    The host must be this machine by a name of its own, so that no name of others that leads here (DNS rebinding) gets
    through; the origin, where a browser tells it, must be this server; and every request has the token, in a cookie
    that only this site gets, in a header, or once in the address of the page, which sets the cookie.
    """

    def __init__(self, app: ASGIApp, *, token: str, port: int) -> None:
        self._app, self._token = app, token
        self._cookie = f"cosmos_workbench_{port}"  # cookies know no ports: two workbenches must not share one
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # nothing here speaks WebSocket
            return
        headers = Headers(scope=scope)
        if refusal := self._refusal(headers):
            await PlainTextResponse(refusal, status_code=403)(scope, receive, _with_policy(send))
            return
        given = parse_qs(scope["query_string"].decode("latin-1")).get("t", [""])[0]
        if given and scope["path"] == "/" and self._is_token(given):
            # the token leaves the address, so that no picture of the screen and no history has it
            answer = RedirectResponse("/", status_code=303)
            answer.set_cookie(self._cookie, self._token, httponly=True, samesite="strict", path="/")
            await answer(scope, receive, _with_policy(send))
        elif self._is_token(headers.get(TOKEN_HEADER, "")) or self._is_token(self._from_cookie(headers)):
            await self._app(scope, receive, _with_policy(send))
        else:
            text = "The token is missing or belongs to an earlier start. Open the address that cosmos workbench shows."
            await PlainTextResponse(text, status_code=403)(scope, receive, _with_policy(send))

    def _refusal(self, headers: Headers) -> str:
        host = headers.get("host", "").lower()
        if host not in self._hosts:
            return "This host is not served."
        origin = headers.get("origin")
        if origin is not None and origin.lower() != f"http://{host}":
            return "Other origins are refused."
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not _is_visit(headers):
            return "Other sites are refused."
        return ""

    def _from_cookie(self, headers: Headers) -> str:
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            return ""
        return cookie.value if cookie else ""

    def _is_token(self, text: str) -> bool:
        return secrets.compare_digest(text.encode(), self._token.encode())


def _is_visit(headers: Headers) -> bool:
    """Whether somebody follows a link to the page, such as one in a chat or a terminal in the browser."""
    return headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"


def _with_policy(send: Send) -> Send:
    async def with_policy(message: Message) -> None:
        if message["type"] == "http.response.start":
            names = {name for name, _ in message["headers"]}
            own = [(name.encode(), value.encode()) for name, value in _ALWAYS.items()]
            if b"cache-control" not in names:
                own.append((b"cache-control", b"no-store"))
            message["headers"] = [*message["headers"], *own]
        await send(message)

    return with_policy
