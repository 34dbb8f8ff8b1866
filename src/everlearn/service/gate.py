"""Before anything is asked: bodies within bounds, and answers that browsers handle with care.

Plain ASGI, as it is passed by every request.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from everlearn.service.problems import Problem
from everlearn.service.responses import problem_response
from everlearn.service.service import Service

__all__ = ["Gate"]

_FILES = ("POST", "/v1/jobs")
"""What files are uploaded to: written as they come, they may be larger than what is kept in memory."""
_LEAST_BYTES = 16_384
"""Of a file, so many have to come in the time of a request: a place is not held by a byte now and then."""
_UNREAD = frozenset({408, 413, 415})
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
]


class Gate:
    """Bounds bodies, times requests, and adds headers.

    Args:
        app: What is behind it.
        service: Whose limits hold.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        config = self._service.config
        is_file = (scope["method"], scope["path"]) == _FILES
        most = (config.max_upload_mb if is_file else config.max_body_mb) * 1e6
        headers = dict(scope["headers"])
        started, status, num_bytes, is_read, enough = time.perf_counter(), 0, 0, False, _LEAST_BYTES
        ends = asyncio.get_running_loop().time() + config.request_seconds

        async def receive_bounded() -> Message:
            nonlocal num_bytes, is_read, ends, enough
            if is_read:
                return await receive()  # whether the caller is still there
            try:
                async with asyncio.timeout_at(ends):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"it was not there after {config.request_seconds:g} s") from None
            num_bytes += len(message.get("body", b""))
            if is_file and num_bytes >= enough:  # however long it is, it has to come on
                enough = num_bytes + _LEAST_BYTES
                ends = asyncio.get_running_loop().time() + config.request_seconds
            if num_bytes > most:
                raise HTTPException(413, f"a body may have {most / 1e6:g} MB")
            is_read = not message.get("more_body", False)
            return message

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                # Whoever is refused before the body is there may send on for ever.
                more = _HEADERS if status not in _UNREAD else [*_HEADERS, (b"connection", b"close")]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        try:
            problem = _problem_with(headers, most)
            if problem is not None:
                await problem_response(problem)(scope, receive, send_with_headers)
            else:
                await self._app(scope, receive_bounded, send_with_headers)
        finally:
            route: Any = scope.get("route")
            path = getattr(route, "path", "other")
            self._service.metrics.requests.labels(path, str(status)).observe(time.perf_counter() - started)


def _problem_with(headers: dict[bytes, bytes], most: float) -> Problem | None:
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        return Problem("body-encoded", "bodies are taken as they are, not compressed")
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > most:
        return Problem("body-too-large", f"a body may have {most / 1e6:g} MB")
    return None
