"""Messages through a socket: the length of the JSON (8 bytes, little-endian), then the JSON."""

from __future__ import annotations

import json
import struct
from typing import IO, Any

__all__ = ["LENGTH", "frame_of", "message_of", "read_message"]

LENGTH = struct.Struct("<Q")


def frame_of(message: Any) -> bytes:
    """A message as it goes through the socket."""
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    return LENGTH.pack(len(text)) + text


def message_of(text: bytes) -> Any:
    """The message that a frame holds behind its length."""
    return json.loads(text.decode("utf-8", "surrogatepass"))


def read_message(file: IO[bytes]) -> Any:
    """The next message; None: the other side has closed the socket, or was killed."""
    try:
        length = file.read(LENGTH.size)
        if len(length) < LENGTH.size:
            return None
        (size,) = LENGTH.unpack(length)
        text = file.read(size)
    except ConnectionResetError:  # it had not read everything
        return None
    return None if len(text) < size else message_of(text)
