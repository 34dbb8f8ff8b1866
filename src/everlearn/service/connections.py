"""Connections with bounds: what is endless, comes byte by byte or is not read takes nobody's place."""

from __future__ import annotations

import asyncio
from asyncio import TimerHandle
from collections.abc import Iterable

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from everlearn.service.problems import Problem
from everlearn.service.responses import problem_response

__all__ = ["BoundedConnection", "bounded"]

_MOST_HEAD_BYTES = 64 << 10
_SECONDS_TO_READ_ANSWER = 1.0


class BoundedConnection(HttpToolsProtocol):
    """A connection of HTTP/1.1 whose requests' heads are bounded, in bytes and in time.

    Attributes:
        seconds: For a head to arrive, from the first byte on; for the first byte of a new connection; for
            what still comes of a request that is answered; and for a caller to read on in an answer.
    """

    seconds = 30.0
    _timer: TimerHandle | None = None
    _write_timer: TimerHandle | None = None
    _cycles: tuple[RequestResponseCycle, ...] = ()
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
        self._unset_write_timer()
        super().connection_lost(exc)
        # Uvicorn tells the request that came last; those before it may be under way, too.
        self._leave(cycle for cycle in self._cycles if not cycle.response_complete)

    def pause_writing(self) -> None:
        """Much of an answer waits to be read."""
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(self.seconds, self._unread)

    def resume_writing(self) -> None:
        """It is read."""
        self._unset_write_timer()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._is_refused:
            return
        was_in_body = self._is_in_body
        super().data_received(data)
        if self._is_refused:
            return
        if not self._is_in_head:
            self._head_bytes = 0
            # Uvicorn waits for ever for the rest of what is answered already, and after an empty line.
            if self._timer is None and (self.cycle is None or self.cycle.response_complete):
                self._timer = self.loop.call_later(self.seconds, self._too_slow)
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
        if self.cycle is not None:
            self._cycles = (*(one for one in self._cycles if not one.response_complete), self.cycle)

    def on_message_complete(self) -> None:
        """A body is there."""
        self._is_in_body = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP; whoever waits for the rest of its body is told that there is none."""
        waiting = [cycle for cycle in self._cycles if not cycle.response_complete]
        is_answerable = len(waiting) < 2 and not any(cycle.response_started for cycle in waiting)
        self._leave(waiting)
        self._refuse(Problem("request-malformed", "it is not a request of HTTP/1.1"), is_answerable)

    def _too_slow(self) -> None:
        self._timer = None
        if self._is_in_head:
            self._refuse(Problem("head-too-slow", f"it was not there after {self.seconds:g} s"))
        else:
            self.transport.close()

    def _refuse(self, problem: Problem, is_answerable: bool | None = None) -> None:
        """Say what is wrong, unless an answer is under way, and hang up."""
        self._unset_timer()
        if is_answerable is None:
            is_answerable = self.cycle is None or self.cycle.response_complete
        if is_answerable and not self.transport.is_closing():
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

    def _leave(self, cycles: Iterable[RequestResponseCycle]) -> None:
        """Let nobody answer any more what there is nobody to answer to."""
        for cycle in cycles:
            cycle.disconnected = True
            cycle.message_event.set()

    def _unread(self) -> None:
        self._write_timer = None
        self.transport.abort()

    def _unset_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _unset_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def bounded(seconds: float) -> type[BoundedConnection]:
    """Connections whose heads may take so long."""
    return type("BoundedConnection", (BoundedConnection,), {"seconds": seconds})
