"""The file that lists for readers which records gave no example, and why."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from everlearn.journal.records import KeptRejection
from everlearn.stream.source import Rejection

__all__ = ["append_rejections"]

_LINES_AT_ONCE = 1_000


def append_rejections(path: Path, rejections: Iterable[Rejection | KeptRejection]) -> None:
    """Append records with their place and reason to a JSON lines file."""
    rest = iter(rejections)
    while some := list(islice(rest, _LINES_AT_ONCE)):
        lines = [
            json.dumps(
                {"place": rejection.place, "reason": rejection.reason, "excerpt": rejection.excerpt},
                ensure_ascii=False,
            )
            for rejection in some
        ]
        # An excerpt of a binary file may hold lone surrogates; they are written as "?".
        data = ("\n".join(lines) + "\n").encode("utf-8", errors="replace")
        with path.open("ab") as file:
            file.write(data)
