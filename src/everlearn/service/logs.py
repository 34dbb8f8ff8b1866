"""What the log says of requests: each has an id, and (if that is wanted) a line when it is answered.

A line has no text, no key and no address with a query: the route, who asked, what became of it, how long it
took. Only with ``log_texts`` it has the body, too.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from contextvars import ContextVar
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from everlearn.service.author import AUTHOR
from everlearn.service.service import Service

__all__ = ["REQUEST_ID", "RequestIds", "RequestLog"]

_ACCESS = logging.getLogger("everlearn.access")
_HEADER = b"x-request-id"
_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_MOST_CHARS = 2_000

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Of the request that something is done for; None: the service does it by itself."""


class RequestIds(logging.Filter):
    """Lets every line of the log say which request it belongs to."""

    def filter(self, record: logging.LogRecord) -> bool:
        """See logging.Filter."""
        id_ = REQUEST_ID.get()
        if id_ is not None and not hasattr(record, "request_id"):
            record.request_id = id_
        return True


class RequestLog:
    """Gives requests ids, those that they bring or new ones, and writes the lines.

    Args:
        app: What is behind it.
        service: Whose settings say what is written.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == _HEADER), b"")
        id_ = given if _ID.fullmatch(given) else secrets.token_hex(8).encode()
        REQUEST_ID.set(id_.decode("ascii"))
        AUTHOR.set(None)
        if not self._service.config.access_log:
            await self._app(scope, receive, _with_id(send, id_))
            return
        line = _Line(scope, keeps_body=self._service.config.log_texts)
        try:
            await self._app(scope, line.receiving(receive), line.sending(_with_id(send, id_)))
        finally:
            line.write()


class _Line:
    """Gathers what there is to tell of a request.

    Args:
        scope: The request's.
        keeps_body: Whether its body is told, too.
    """

    def __init__(self, scope: Scope, *, keeps_body: bool) -> None:
        self._scope = scope
        self._keeps_body = keeps_body
        self._started = time.perf_counter()
        self._status = 0
        self._num_in = self._num_out = 0
        self._body = bytearray()

    def receiving(self, receive: Receive) -> Receive:
        """``receive``, listened to."""

        async def listened() -> Message:
            message = await receive()
            body = message.get("body", b"")
            self._num_in += len(body)
            if self._keeps_body and len(self._body) < _MOST_CHARS:
                self._body += body[:_MOST_CHARS]
            return message

        return listened

    def sending(self, send: Send) -> Send:
        """``send``, listened to."""

        async def listened(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._status = message["status"]
            else:
                self._num_out += len(message.get("body", b""))
            await send(message)

        return listened

    def write(self) -> None:
        """Write the line; of a caller who has gone before the answer the status is 0."""
        route = getattr(self._scope.get("route"), "path", "other")
        more: dict[str, Any] = {
            "method": self._scope["method"],
            "route": route,
            "status": self._status,
            "milliseconds": round((time.perf_counter() - self._started) * 1e3, 2),
            "bytes_in": self._num_in,
            "bytes_out": self._num_out,
            "author": AUTHOR.get(),
        }
        if self._keeps_body:
            more["body"] = self._body[:_MOST_CHARS].decode("utf-8", "replace")
        _ACCESS.info("request", extra=more)


def _with_id(send: Send, id_: bytes) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (_HEADER, id_)]
        await send(message)

    return sending
