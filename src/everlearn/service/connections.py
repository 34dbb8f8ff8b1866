"""Connections with bounds: a head that is endless, or comes byte by byte, takes nobody's memory or place."""

from __future__ import annotations

import asyncio
from asyncio import TimerHandle

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from everlearn.service.problems import Problem
from everlearn.service.responses import problem_response

__all__ = ["BoundedConnection", "bounded"]

_MOST_HEAD_BYTES = 64 << 10
_SECONDS_TO_READ_ANSWER = 1.0


class BoundedConnection(HttpToolsProtocol):
    """A connection of HTTP/1.1 whose requests' heads are bounded, in bytes and in time.

    Attributes:
        seconds: For a head to arrive, from the first byte on; and for the first byte of a new connection.
    """

    seconds = 30.0
    _timer: TimerHandle | None = None
    _head_bytes = 0
    _is_in_head = _is_in_body = False
    _is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.seconds, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._unset_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._is_refused:
            return
        was_in_body = self._is_in_body
        super().data_received(data)
        if not self._is_in_head:
            self._head_bytes = 0
            return
        # What came in one piece with a body's end is bounded by the size of a piece.
        self._head_bytes += 0 if was_in_body else len(data)
        if self._timer is None:
            self._timer = self.loop.call_later(self.seconds, self._too_slow)
        if self._head_bytes > _MOST_HEAD_BYTES:
            self._refuse(Problem("head-too-large", f"a head may have {_MOST_HEAD_BYTES:,} bytes"))

    def on_message_begin(self) -> None:
        """A head begins."""
        self._is_in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A head is there."""
        self._is_in_head, self._is_in_body = False, True
        self._unset_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """A body is there."""
        self._is_in_body = False
        super().on_message_complete()

    def _too_slow(self) -> None:
        self._timer = None
        if self._is_in_head:
            self._refuse(Problem("head-too-slow", f"it was not there after {self.seconds:g} s"))
        else:
            self.transport.close()

    def _refuse(self, problem: Problem) -> None:
        """Say what is wrong, unless an answer is under way, and hang up."""
        self._unset_timer()
        if not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete):
            answer = problem_response(problem)
            head = [f"HTTP/1.1 {problem.kind.status} {problem.kind.title}".encode("ascii", "replace")]
            head += [name + b": " + value for name, value in answer.raw_headers]
            self.transport.write(b"\r\n".join([*head, b"connection: close", b"", bytes(answer.body)]))
            # Hung up on at once, a sender would lose the answer with what it has sent meanwhile.
            self._is_refused = True
            self.transport.write_eof()
            self._timer = self.loop.call_later(_SECONDS_TO_READ_ANSWER, self.transport.close)
            return
        self.transport.close()

    def _unset_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def bounded(seconds: float) -> type[BoundedConnection]:
    """Connections whose heads may take so long."""
    return type("BoundedConnection", (BoundedConnection,), {"seconds": seconds})
