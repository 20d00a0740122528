"""What stands before every endpoint: who may ask, how much, and what a browser may do with the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException

from steerscope.serve.errors import refusal
from steerscope.serve.limits import MEBIBYTE, Access, Limits

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
OPEN = {"/", "/health"}  # and what the page is made of
UPLOAD = "/v1/vectors/file"
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """Refuses strangers, pages of other sites and bodies that are too large, before they are read."""

    def __init__(self, app: Any, *, access: Access, limits: Limits) -> None:
        self._app, self._access, self._limits = app, access, limits

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        error = self._refusal(scope)
        if error is not None:
            await refusal(error)(scope, receive, sealed)
            return
        await self._app(scope, self._measured(scope, receive), sealed)

    def _refusal(self, scope: Any) -> HTTPException | None:
        headers, path = Headers(scope=scope), scope["path"]
        if not self._access.trusts(headers.get("host", ""), headers.get("origin", "")):
            return HTTPException(
                403, "this server answers no pages of other sites, and on this machine alone."
            )
        is_page = path in OPEN or path.startswith("/page/")
        if not is_page and not self._access.allows(headers.get("authorization", "")):
            return HTTPException(
                401,
                "give the key of this server, as Authorization: Bearer KEY.",
                {"WWW-Authenticate": "Bearer"},
            )
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length[:20]) > self._most(path):
            return self._too_large(path)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        wanted = "application/octet-stream" if path == UPLOAD else "application/json"
        # A page of another site can send any other kind without asking first.
        if scope["method"] in {"POST", "PUT", "PATCH"} and kind != wanted:
            return HTTPException(415, f"send the body as Content-Type: {wanted}.")
        return None

    def _most(self, path: str) -> int:
        return self._limits.upload if path == UPLOAD else self._limits.body

    def _too_large(self, path: str) -> HTTPException:
        most = self._most(path) / MEBIBYTE
        # What is still being sent is not read.
        headers = {"Connection": "close"}
        return HTTPException(
            413, f"the body is larger than the {most:g} MiB that are read.", headers
        )

    def _measured(self, scope: Any, receive: Receive) -> Receive:
        """The body, which may be longer than its length says, or say none."""
        seen, most = 0, self._most(scope["path"])

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > most:
                raise self._too_large(scope["path"])
            return message

        return counted
