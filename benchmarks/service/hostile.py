"""``python -m benchmarks.service.hostile URL SECONDS SEED``: sends what nobody should; tells what came back.

A process of its own, so that honest callers that are measured meanwhile do not wait for this one's thread.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import socket
import struct
import sys
import time
from collections import Counter, defaultdict
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import httpx

from benchmarks.service.hostile_requests import KINDS, SLOW, Attack, Routes, targets_in

__all__: list[str] = []

_SENDERS, _SLOW_SENDERS = 8, 24
_SECONDS_TO_ANSWER = 40.0
"""After so long without an answer and without being hung up on, a connection counts as hung."""
_SECONDS_OF_SILENCE = 1.5
"""After so long without anything more, an answer counts as read."""
_MOST_READ = 4 << 20
_MOST_TOLD = 20
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


class _Hostile:
    """Sends until the time is over.

    Args:
        url: Whom to.
        seed: Of what is drawn.
        seconds: How long.
    """

    def __init__(self, url: str, seed: int, seconds: float) -> None:
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        self._targets, self._schemas = targets_in(httpx.get(f"{url}/openapi.json", timeout=60).json())
        self._seed = seed
        self._ends = time.monotonic() + seconds
        self._sent: Counter[str] = Counter()
        self._statuses: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._errors: list[dict[str, str]] = []

    async def run(self) -> dict[str, Any]:
        """All senders, side by side; returns what came of it."""
        kinds = [KINDS] * _SENDERS + [SLOW] * _SLOW_SENDERS
        senders = [self._send_on(number, kinds_of) for number, kinds_of in enumerate(kinds)]
        await asyncio.gather(*senders)
        return {
            "sent": dict(self._sent),
            "answers": {kind: dict(sorted(counts.items())) for kind, counts in self._statuses.items()},
            "errors": self._errors,
        }

    async def _send_on(self, number: int, kinds: Any) -> None:
        chance = random.Random(f"{self._seed}-{number}")
        routes = Routes(self._targets, self._schemas, chance)
        while time.monotonic() < self._ends:
            kind = chance.choice(list(kinds))
            attack = kinds[kind](routes)
            self._sent[kind] += 1
            answer, how = await self._answered(attack)
            statuses = [told.decode() for told in _STATUS.findall(answer)]
            self._statuses[kind].update(statuses or [how])
            if any(status >= "500" for status in statuses) or how == "hung":
                self._note(kind, attack, answer)

    async def _answered(self, attack: Attack) -> tuple[bytes, str]:
        """What came back, and how it ended: "closed", "silent", "gone", "hung" or "refused"."""
        try:
            reader, writer = await asyncio.open_connection(self._host, self._port, limit=_MOST_READ)
        except OSError:
            return b"", "refused"
        sending = asyncio.create_task(_send(writer, attack))
        try:
            if attack.hangs_up:
                await sending
                _reset(writer)
                return b"", "gone"
            return await _read(reader, sending)
        finally:
            sending.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await sending
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def _note(self, kind: str, attack: Attack, answer: bytes) -> None:
        if len(self._errors) < _MOST_TOLD:
            sent = b"".join(attack.pieces)
            self._errors.append(
                {
                    "kind": kind,
                    "sent": sent[:1_500].decode("latin-1"),
                    "answer": answer[-1_000:].decode("latin-1"),
                }
            )


async def _send(writer: asyncio.StreamWriter, attack: Attack) -> None:
    with suppress(OSError):  # it is hung up on: what there is of an answer is read all the same
        for piece in attack.pieces:
            writer.write(piece)
            await writer.drain()
            if attack.seconds:
                await asyncio.sleep(attack.seconds)
        if attack.ends and not attack.hangs_up:
            writer.write_eof()


async def _read(reader: asyncio.StreamReader, sending: asyncio.Task[None]) -> tuple[bytes, str]:
    read, ends = bytearray(), time.monotonic() + _SECONDS_TO_ANSWER
    while len(read) < _MOST_READ:
        seconds = _SECONDS_OF_SILENCE if read else 1.0
        try:
            piece = await asyncio.wait_for(reader.read(1 << 16), seconds)
        except TimeoutError:
            if read:
                return bytes(read), "silent"
            if time.monotonic() > ends:
                return b"", "hung"
            if not sending.done():
                ends = time.monotonic() + _SECONDS_TO_ANSWER
            continue
        except OSError:
            return bytes(read), "closed"
        if not piece:
            return bytes(read), "closed"
        read += piece
    return bytes(read), "silent"


def _reset(writer: asyncio.StreamWriter) -> None:
    """Go away as a machine does that loses its power."""
    told: Any = writer.get_extra_info("socket")
    if told is not None:
        with suppress(OSError):
            told.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_Hostile(sys.argv[1], int(sys.argv[3]), float(sys.argv[2])).run())))
