"""What a file is that was sent to be learned, where it is not JSON lines: said at once, not line by line."""

from __future__ import annotations

import json

from everlearn.service.problems import Problem

__all__ = ["HEAD_BYTES", "refuse_other_kind"]

HEAD_BYTES = 65_536
"""So much of a file's beginning is looked at."""

_BOM = b"\xef\xbb\xbf"
_BEGINNINGS = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a ZIP archive, or an office document"),
    (b"\x1f\x8b", "a file compressed with gzip"),
    (b"\x28\xb5\x2f\xfd", "a file compressed with zstd"),
    (b"PAR1", "Parquet"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\xff\xfe", "text in UTF-16"),
    (b"\xfe\xff", "text in UTF-16"),
    (b"<", "HTML or XML"),
)


def refuse_other_kind(head: bytes) -> None:
    """Refuse a file whose first line that is not blank is no JSON object.

    Args:
        head: How the file begins, up to ``HEAD_BYTES``; where that is less than those, all of it.

    Raises:
        Problem: It is of another kind; the detail says what it looks like.
    """
    is_all = len(head) < HEAD_BYTES
    line, end, _ = head.removeprefix(_BOM).lstrip().partition(b"\n")
    if not line:  # whoever reads the lines finds none
        return
    said = _kind_of(line.strip(), is_whole=bool(end) or is_all)
    if said is not None:
        raise Problem("file-unusable", said)


def _kind_of(line: bytes, *, is_whole: bool) -> str | None:
    """What a file looks like by its first line; None: JSON lines."""
    for beginning, kind in _BEGINNINGS:
        if line.startswith(beginning):
            return f"this looks like {kind}"
    if b"\0" in line:
        return "this looks like a binary file"
    if line.startswith(b"["):
        return "this looks like a JSON list: send its objects, one a line, without the list"
    if not is_whole:
        return None if line.startswith(b"{") else "its first line is no JSON object"
    try:
        value = json.loads(line)
    except UnicodeDecodeError:
        return "its first line is not UTF-8"
    except json.JSONDecodeError as error:
        return _kind_of_text(line.decode(), error)
    except (RecursionError, ValueError):  # that line is refused, and told why, when it is learned
        return None
    return None if isinstance(value, dict) else "its first line is JSON, but no object"


def _kind_of_text(line: str, error: json.JSONDecodeError) -> str:
    if line.startswith("{"):
        if error.pos >= len(line):
            return "this looks like JSON over several lines: write each object on a line of its own"
        return f"its first line is no JSON: {error.msg} at character {error.colno}"
    if "\t" in line:
        return "this looks like a table separated by tabs"
    if "," in line or ";" in line:
        return "this looks like CSV"
    return "this looks like plain text"
