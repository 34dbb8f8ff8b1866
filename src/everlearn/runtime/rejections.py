"""The file of rejected records: JSON lines, appended; what was not committed is cut off at the next start."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Sequence
from pathlib import Path

from everlearn.runtime.durable_files import replacing
from everlearn.stream.source import Rejection
from everlearn.types import Example

__all__ = ["RejectionLog", "duplicate", "duplicate_reason", "is_duplicate"]

_DUPLICATE = "duplicate id "


def duplicate(source_name: str, number: int, example: Example) -> Rejection:
    """The rejection of an example whose id was taken before.

    Args:
        source_name: The stream.
        number: Which of its examples it is, from 1.
        example: The example.
    """
    return Rejection(
        place=f"{source_name}, example {number}",
        reason=duplicate_reason(example.id),
        excerpt=(example.text or "")[:200],
    )


def duplicate_reason(example_id: str) -> str:
    """The reason that is written for a repeated id."""
    return f"{_DUPLICATE}{example_id!r}"


def is_duplicate(rejection: Rejection) -> bool:
    """Whether a record was rejected because its id was taken before."""
    return rejection.reason.startswith(_DUPLICATE)


class RejectionLog:
    """Appends rejected records with their place and reason.

    Args:
        path: The JSON lines file.
        num_bytes: Its committed length; anything beyond is of a run that crashed and is cut off.
    """

    def __init__(self, path: Path, num_bytes: int) -> None:
        self._path = path
        size = path.stat().st_size if path.exists() else 0
        if size > num_bytes:
            os.truncate(path, num_bytes)
        self.num_bytes = min(size, num_bytes)

    def append(self, rejections: Sequence[Rejection]) -> None:
        """Write the records; they are durable after :meth:`sync`."""
        if not rejections:
            return
        lines = [
            json.dumps({"place": one.place, "reason": one.reason, "excerpt": one.excerpt}, ensure_ascii=False)
            for one in rejections
        ]
        # An excerpt of a binary file may hold lone surrogates; they are written as "?".
        data = ("\n".join(lines) + "\n").encode("utf-8", errors="replace")
        with self._path.open("ab") as file:
            file.write(data)
        self.num_bytes += len(data)

    def append_file(self, path: Path, num_bytes: int) -> None:
        """Append the committed part of another log."""
        if not path.exists() or not num_bytes:
            return
        with path.open("rb") as other, self._path.open("ab") as file:
            remaining = num_bytes
            while remaining and (chunk := other.read(min(remaining, 1 << 20))):
                file.write(chunk)
                remaining -= len(chunk)
        self.num_bytes += num_bytes - remaining

    def drop_duplicates_of(self, ids: Collection[str]) -> None:
        """Rewrite the file without the records that were rejected for repeating one of these ids."""
        if not self._path.exists():
            return
        reasons = {duplicate_reason(one) for one in ids}
        with self._path.open(encoding="utf-8") as old, replacing(self._path) as temporary:
            with temporary.open("w", encoding="utf-8") as new:
                for line in old:
                    if json.loads(line)["reason"] not in reasons:
                        new.write(line)
            self.num_bytes = temporary.stat().st_size

    def sync(self) -> None:
        """Make everything appended durable."""
        if self._path.exists():
            with self._path.open("ab") as file:
                os.fsync(file.fileno())
